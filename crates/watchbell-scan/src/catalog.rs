//! The catalogue of an image: which packages its files tell of.
//!
//! ```text
//!  every file ─Role?─▶ parsed in the pass ─▶ Found ─┐
//!                                                   ├─▶ those that are left ─▶ owners, merging, gaps ─▶ Inventory
//!  Tree of what is left ────────────────────────────┘
//! ```
//!
//! A [`Collector`] is one interest of the pass ([`crate::layers`]), beside which others can have theirs:
//!
//! ```text
//! let collector = Collector::default();
//! let packages = Interest { wants: &|f| collector.wants(f), takes: &|f, c| collector.takes(f, c) };
//! let tree = read_layers(&image, &[packages, others], threads)?;
//! collector.follow_links(&tree, |links| read_layers(&image, &[links], threads).map(drop))?;
//! let inventory = collector.finish(&tree, &image.image.layers);
//! ```

mod apk;
mod assemble;
mod cargo;
mod distribution;
mod dpkg;
mod golang;
mod interpreter;
mod item;
mod java;
mod links;
mod npm;
mod owners;
mod php;
mod python;
mod role;
mod rpm;
mod ruby;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use watchbell_image::{ImageContent, LayerDescriptor};

use crate::elf::{self, Program};
use crate::layers::{
    Capabilities, Directory, FileContent, FileFacts, FileId, FileKind, HEAD_BYTES, Interest, ReadError, Tree,
    WHOLE_BYTES_MAX, Want, read_directory, read_layers,
};
use crate::room::{Room, bytes_of};
use crate::{Distribution, Gap, Inventory, Location};
use item::{ITEMS_MAX, Item, PathSet};
use links::Linked;
use role::Role;

/// Reads all layers, at most `threads` at a time, for their packages alone.
pub fn catalog(image: &ImageContent, threads: usize) -> Result<Inventory, ReadError> {
    let collector = Collector::default();
    let interest = Interest {
        wants: &|facts| collector.wants(facts),
        takes: &|facts, content| collector.takes(facts, content),
    };
    let tree = read_layers(image, &[interest], threads)?;
    collector.follow_links(&tree, |links| read_layers(image, &[links], threads).map(drop))?;
    Ok(collector.finish(&tree, &image.image.layers))
}

/// Reads the files of a directory, as if it were the root of an image.
pub fn catalog_directory(root: &Path) -> Result<Inventory, ReadError> {
    let collector = Collector::default();
    let interest = Interest {
        wants: &|facts| collector.wants(facts),
        takes: &|facts, content| collector.takes(facts, content),
    };
    let Directory { tree, unread } = read_directory(root, &[interest])?;
    collector.follow_links(&tree, |links| read_directory(root, &[links]).map(drop))?;
    Ok(with_unread(collector.finish(&tree, &[]), unread))
}

/// What of a directory could not be read is a gap, as a damaged file of an image is.
pub(crate) fn with_unread(mut inventory: Inventory, unread: Vec<(String, String)>) -> Inventory {
    let gap = |(path, reason)| Gap { location: Location { layer: None, path }, reason };
    inventory.gaps.extend(unread.into_iter().map(gap));
    inventory
}

/// Reads one file, as if nothing else were in the image.
pub fn catalog_file(path: &str, content: Vec<u8>) -> Inventory {
    let collector = Collector::default();
    let id = FileId { layer: 0, entry: 0 };
    let kind = FileKind::File;
    let content = FileContent::of(content);
    let head = content.from(0).unwrap_or_default();
    let facts = FileFacts {
        id,
        path,
        kind: &kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: content.size(),
        capabilities: Capabilities::None,
        head: &head[..head.len().min(HEAD_BYTES)],
    };
    if collector.wants(&facts) > Want::Nothing {
        collector.takes(&facts, &content);
    }
    collector.finish(&Tree::of_file(path, &facts), &[])
}

/// What the files of all layers told, kept until the layers are seen together. An image of 10,000 packages in 20 layers takes
/// some tens of megabytes.
const TOLD_BYTES_MAX: usize = 128 << 20;

/// Gathers what the files of all layers tell of packages.
#[derive(Debug)]
pub struct Collector {
    found: Mutex<Vec<Found>>,
    room: Room,
    /// What each file is by a name that it was looked at under.
    named: Mutex<HashSet<(FileId, Role)>>,
    /// Programs of which the part that lists their packages lies between those that are kept of a large one: read again as a whole.
    partial: Mutex<HashMap<FileId, Found>>,
}

/// What one file of one layer told.
#[derive(Debug)]
struct Found {
    id: FileId,
    role: Role,
    /// The name by which it is this, where a link alone gives it that name.
    link: Option<String>,
    what: What,
    /// What could not be read of it.
    problems: Vec<String>,
}

#[derive(Debug)]
enum What {
    Nothing,
    Distribution(Distribution),
    /// Packages, with the way to those inside of an archive.
    Items(Vec<(Item, Option<String>)>),
    /// Paths, hashed; whose they are, the file's own name says.
    Files(PathSet),
    Licences(Vec<String>),
    Program(Box<Program>, Vec<Item>),
}

impl Default for Collector {
    fn default() -> Self {
        Self::within(TOLD_BYTES_MAX)
    }
}

impl Found {
    /// What it takes in memory.
    fn bytes(&self) -> usize {
        let items = |items: &[Item]| items.iter().map(Item::bytes).sum::<usize>();
        let what = match &self.what {
            What::Nothing | What::Distribution(_) => 0,
            What::Items(found) => {
                let way = |inside: &Option<String>| inside.as_ref().map_or(0, String::len);
                found.iter().map(|(item, inside)| item.bytes() + size_of_val(inside) + way(inside)).sum()
            }
            What::Files(files) => files.bytes(),
            What::Licences(licences) => bytes_of(licences),
            What::Program(program, found) => program.bytes() + items(found),
        };
        size_of::<Self>() + self.link.as_ref().map_or(0, String::len) + bytes_of(&self.problems) + what
    }
}

impl Collector {
    /// Keeps at most so much of what files tell.
    fn within(bytes: usize) -> Self {
        let room = Room::new(bytes);
        Self { found: Mutex::default(), room, named: Mutex::default(), partial: Mutex::default() }
    }

    /// For [`Interest::wants`].
    pub fn wants(&self, facts: &FileFacts<'_>) -> Want {
        self.wants_as(facts, None)
    }

    /// For [`Interest::takes`].
    pub fn takes(&self, facts: &FileFacts<'_>, content: &FileContent) {
        self.takes_as(facts, None, content);
    }

    /// `facts` has the path that says what the file is; `link` is the same where only a link leads there.
    fn wants_as(&self, facts: &FileFacts<'_>, link: Option<&str>) -> Want {
        if *facts.kind == FileKind::File
            && let Some(role) = Role::by_name(facts.path)
        {
            self.named.lock().unwrap_or_else(PoisonError::into_inner).insert((facts.id, role));
        }
        let Some(role) = Role::of(facts.path, facts.head) else { return Want::Nothing };
        if role.is_too_large(facts) {
            let problems = vec![format!("it has {} bytes, more than is read of such a file", facts.size)];
            let link = link.map(str::to_owned);
            self.push(Found { id: facts.id, role, link, what: What::Nothing, problems });
        }
        role.wants(facts)
    }

    fn takes_as(&self, facts: &FileFacts<'_>, link: Option<&str>, content: &FileContent) {
        // Others may want files that the catalogue does not.
        let Some(role) = Role::of(facts.path, facts.head) else { return };
        let (what, problems) = read(role, facts, content);
        if let What::Program(program, _) = &what {
            let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
            partial.remove(&facts.id);
            if program.lacks_auditable && content.whole().is_none() && facts.size <= WHOLE_BYTES_MAX {
                let found = Found { id: facts.id, role, link: None, what, problems };
                if self.room.take(found.bytes()) {
                    partial.insert(facts.id, found);
                }
                return;
            }
        }
        if !matches!(what, What::Nothing) || !problems.is_empty() {
            let link = link.map(str::to_owned);
            self.push(Found { id: facts.id, role, link, what, problems });
        }
    }

    /// Reads again what a link gives a name that tells of packages, a database that was moved and linked to its place, and large
    /// programs whose list of packages was not among what was kept of them. Most images have nothing of the kind, and `read`,
    /// a pass over the same files, is not called.
    pub fn follow_links<E>(
        &self,
        tree: &Tree,
        read: impl FnOnce(Interest<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let linked = self.linked(tree);
        let partial: HashSet<FileId> = {
            let partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
            // What a later layer hides is not in the image.
            tree.iter().map(|(_, node)| node.id).filter(|id| partial.contains_key(id)).collect()
        };
        if linked.files.is_empty() && partial.is_empty() {
            return Ok(());
        }
        let names = |facts: &FileFacts<'_>| linked.files.get(&facts.id).into_iter().flatten();
        read(Interest {
            wants: &|facts| {
                let wanted =
                    names(facts).map(|path| self.wants_as(&FileFacts { path, ..facts.clone() }, Some(path)));
                let again = if partial.contains(&facts.id) { Want::Whole } else { Want::Nothing };
                wanted.max().unwrap_or(Want::Nothing).max(again)
            },
            takes: &|facts, content| {
                if partial.contains(&facts.id) {
                    self.takes_as(facts, None, content);
                }
                names(facts).for_each(|path| {
                    self.takes_as(&FileFacts { path, ..facts.clone() }, Some(path), content);
                });
            },
        })
    }

    fn linked(&self, tree: &Tree) -> Linked {
        links::linked(tree, &self.named.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, mut found: Found) {
        if let What::Items(items) = &mut found.what {
            items.shrink_to_fit();
        }
        if !self.room.take(found.bytes()) {
            return;
        }
        self.found.lock().unwrap_or_else(PoisonError::into_inner).push(found);
    }

    /// Puts together what is left in the image. `layers` are its layers, bottom first; none for a directory.
    pub fn finish(self, tree: &Tree, layers: &[LayerDescriptor]) -> Inventory {
        let unread = self.linked(tree);
        let left_out = self.room.left_out();
        let partial = self.partial.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut found = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.extend(partial.into_values());
        // The pass tells files of several layers in any order.
        found.sort_by(|a, b| (a.id, &a.link).cmp(&(b.id, &b.link)));
        let mut inventory = assemble::inventory(found, &unread, tree, layers);
        if left_out > 0 {
            let reason = format!(
                "its files tell of more packages and paths than are kept of one image: {left_out} of them are left out"
            );
            inventory.gaps.push(Gap::of_all(reason));
        }
        inventory
    }
}

fn read(role: Role, facts: &FileFacts<'_>, content: &FileContent) -> (What, Vec<String>) {
    let (what, mut problems) =
        if role == Role::Program { program(facts, content) } else { text(role, facts, content) };
    let count = match &what {
        What::Items(items) => items.len(),
        What::Program(_, items) => items.len(),
        What::Nothing | What::Distribution(_) | What::Files(_) | What::Licences(_) => 0,
    };
    if count >= ITEMS_MAX {
        problems.push(format!("it tells of more than {ITEMS_MAX} packages"));
    }
    let is_cut = match &what {
        What::Files(files) => files.is_full(),
        What::Items(items) => items.iter().any(|(item, _)| item.files.is_full()),
        What::Nothing | What::Distribution(_) | What::Licences(_) | What::Program(..) => false,
    };
    if is_cut {
        problems.push("it lists more files than are looked at of one package".to_owned());
    }
    (what, problems)
}

fn text(role: Role, facts: &FileFacts<'_>, content: &FileContent) -> (What, Vec<String>) {
    let Some(bytes) = content.whole() else {
        return (What::Nothing, vec![format!("it has {} bytes, more than is read of one file", facts.size)]);
    };
    let directory = facts.path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let file_name = facts.path.rsplit('/').next().unwrap_or(facts.path);
    let above = directory.rsplit_once('/').map_or("", |(above, _)| above);
    let items = |items: Vec<Item>| What::Items(items.into_iter().map(|item| (item, None)).collect());
    let one = |item: Option<Item>| item.map_or(What::Nothing, |item| items(vec![item]));
    let checked = |read: Result<Vec<Item>, String>| match read {
        Ok(read) => (items(read), Vec::new()),
        Err(reason) => (What::Nothing, vec![format!("it cannot be read: {reason}")]),
    };
    let what = match role {
        Role::OsRelease => distribution::read(bytes).map_or(What::Nothing, What::Distribution),
        Role::DpkgStatus | Role::DpkgStatusOfOne => items(dpkg::status(bytes)),
        Role::DpkgFiles => What::Files(dpkg::files(bytes)),
        Role::DebianCopyright => What::Licences(dpkg::licences(bytes)),
        Role::ApkInstalled => {
            let (read, problem) = apk::installed(bytes);
            return (items(read), problem.into_iter().collect());
        }
        Role::Rpm(form) => {
            let (read, problem) = rpm::installed(bytes, form);
            return (items(read), problem.into_iter().collect());
        }
        Role::PythonMetadata => one(python::metadata(bytes)),
        // Paths of `RECORD` begin beside the `.dist-info`, those of `installed-files.txt` in the `.egg-info`.
        Role::PythonRecord if file_name == "RECORD" => What::Files(python::record(bytes, above)),
        Role::PythonRecord => What::Files(python::record(bytes, directory)),
        Role::Conda => {
            return checked(python::conda(bytes, above).map(|item| item.into_iter().collect()));
        }
        Role::Requirements => items(python::requirements(bytes)),
        Role::PythonTomlLock => return checked(python::toml_lock(bytes)),
        Role::PipfileLock => return checked(python::pipfile_lock(bytes)),
        Role::NpmPackage => return checked(npm::package(bytes).map(|item| item.into_iter().collect())),
        Role::NpmLock => return checked(npm::package_lock(bytes)),
        Role::YarnLock => items(npm::yarn_lock(bytes)),
        Role::PnpmLock => return checked(npm::pnpm_lock(bytes)),
        Role::BunLock => return checked(npm::bun_lock(bytes)),
        Role::CondaLock => return checked(python::conda_lock(bytes)),
        Role::CargoLock => return checked(cargo::lock(bytes)),
        Role::Gemspec => one(ruby::gemspec(bytes, file_name.trim_end_matches(".gemspec"))),
        Role::GemfileLock => items(ruby::lock(bytes)),
        Role::ComposerInstalled => return checked(php::installed(bytes)),
        Role::ComposerLock => return checked(php::lock(bytes)),
        Role::Jar => {
            let jar = java::read(bytes, file_name);
            return (What::Items(jar.items), jar.gaps);
        }
        Role::JavaRelease => one(interpreter::java_release(bytes)),
        Role::Program => What::Nothing,
    };
    (what, Vec::new())
}

fn program(facts: &FileFacts<'_>, content: &FileContent) -> (What, Vec<String>) {
    let program = match Program::read(content) {
        Ok(program) if program.role == elf::Role::Other => return (What::Nothing, Vec::new()),
        Ok(program) => program,
        Err(reason) => return (What::Nothing, vec![reason.to_owned()]),
    };
    let mut items = Vec::new();
    let mut problems = Vec::new();
    if let Some(go) = &program.go {
        items.extend(golang::modules(go));
    }
    if let Some(section) = &program.auditable {
        match cargo::auditable(section) {
            Ok(crates) => items.extend(crates),
            Err(reason) => problems.push(reason),
        }
    }
    if interpreter::is_interpreter(facts.path) {
        items.extend(content.whole().and_then(|bytes| interpreter::read(bytes, facts.path)));
    }
    // Of the modules only the packages are still needed.
    if program.lacks_auditable {
        let reason = "its list of crates (section .dep-v0) is not where it says, or not among what is kept of so large a program";
        problems.push(reason.to_owned());
    }
    let program = Program { go: None, auditable: None, ..program };
    (What::Program(Box::new(program), items), problems)
}

#[cfg(test)]
mod tests;
