//! A manifest as a plain directory: hard links to objects, which every index gets as the lower of its overlay.

use std::collections::{BTreeSet, HashSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use watchbell_zarr::Hierarchy;

use crate::digest::Digest;
use crate::disk::Disk;
use crate::draft::boot_id;
use crate::error::Error;
use crate::manifest::{Entry, Manifest};
use crate::object::{self, Located, Objects};
use crate::parallel::in_parallel;
use crate::store::{Array, names};
use crate::sweep;

/// A directory's mode in a view: whoever the container is may make files in the upper above it. Nobody else comes this far: the
/// array's own directory is root's alone.
pub(crate) const DIRECTORY_MODE: u32 = 0o777;

impl Array {
    /// The directory of a manifest's content, made if it is not there. It stays while a lease holds its snapshot: who asks has
    /// taken one.
    pub fn view(&self, digest: Digest, manifest: &Manifest) -> Result<PathBuf, Error> {
        let path = self.views()?.join(digest.to_string());
        // A sweep removes what nobody holds, and what is not finished.
        let _kept = self.lock_shared()?;
        if !path.exists() {
            let objects = Objects { array: self, staging: None };
            build(&self.disk, objects, manifest.entries.iter(), &BTreeSet::new(), &path)?;
        }
        Ok(path)
    }

    /// Where the views of this boot of the machine are. Those of another boot may be half on the disk, and nobody is at work above
    /// them: the first view of a boot removes them.
    fn views(&self) -> Result<PathBuf, Error> {
        let dir = self.dir.join(VIEWS).join(boot_id());
        if !dir.exists() {
            let _alone = self.lock()?;
            self.remove_of_other_boots(VIEWS)?;
            self.remove_of_other_boots(UNPACKED)?;
            self.disk.make_dir(&dir)?;
        }
        Ok(dir)
    }

    /// With the lock held: removes what was made in other boots of the machine. How many there were.
    pub(crate) fn remove_of_other_boots(&self, part: &str) -> Result<u64, Error> {
        let (dir, mut removed) = (self.dir.join(part), 0);
        if !dir.exists() {
            return Ok(0);
        }
        for name in names(&dir)?.into_iter().filter(|name| name != boot_id()) {
            self.disk.remove_dir(&dir.join(name))?;
            removed += 1;
        }
        Ok(removed)
    }

    /// A directory of a manifest's documents and of those chunks that `sees` says, at a path of the caller's on the same file
    /// system, who removes it.
    pub fn view_at(
        &self,
        manifest: &Manifest,
        sees: impl Fn(&str) -> bool,
        path: &Path,
    ) -> Result<(), Error> {
        let entries =
            manifest.entries.iter().filter(|entry| Hierarchy::is_document(&entry.key) || sees(&entry.key));
        build(&self.disk, Objects { array: self, staging: None }, entries, &BTreeSet::new(), path)
    }
}

/// Links entries into a directory, which has its name when it is whole. No sync: a view counts in the boot of the
/// machine in which it was made, and its path says which that is. Nothing in one is ever read back into the store.
pub(crate) fn build<'a>(
    disk: &Disk,
    objects: Objects<'_>,
    entries: impl Iterator<Item = &'a Entry>,
    parents: &BTreeSet<String>,
    path: &Path,
) -> Result<(), Error> {
    if objects.array.is_encrypted() {
        return Err(Error::Encrypted);
    }
    // A sweep removes what was unpacked and nothing links to.
    let _kept = objects.array.lock_shared()?;
    let next = unfinished(path);
    let built = fill(disk, objects, entries, parents, &next).and_then(|()| match disk.rename(&next, path) {
        // Somebody else was faster; what he made is the same.
        Err(_) if path.exists() => disk.remove_dir(&next),
        renamed => renamed,
    });
    if let Err(error) = &built {
        // Best effort: it is tried again under another name, perhaps for ever.
        drop(disk.remove_dir(&next));
        if error.is_full() {
            // Nor does what it unpacked stay: the disk would be as full as before, for everybody.
            drop(sweep::remove_unlinked(objects.array));
        }
    }
    built
}

fn fill<'a>(
    disk: &Disk,
    objects: Objects<'_>,
    entries: impl Iterator<Item = &'a Entry>,
    parents: &BTreeSet<String>,
    next: &Path,
) -> Result<(), Error> {
    disk.make_dir_with(next, DIRECTORY_MODE)?;
    let mut made: HashSet<PathBuf> = HashSet::new();
    make_dirs(disk, next, parents.iter().map(String::as_str))?;
    let entries: Vec<&Entry> = entries.collect();
    for entry in &entries {
        make_parents(disk, next, &entry.key, &mut made)?;
    }
    let unpacked = Unpacked::of(objects.array)?;
    // Each object once, so that equal chunks are one file, and then all links to it. In the order of keys: what is read
    // together lies together.
    let (mut seen, mut rest) = (HashSet::new(), Vec::new());
    let mut first: Vec<&Entry> = Vec::new();
    for entry in entries {
        let is_first = !unpacked.known.contains(&entry.digest) && seen.insert(entry.digest);
        if is_first { first.push(entry) } else { rest.push(entry) }
    }
    // Of all of it together, before anything takes room of those that write meanwhile.
    let sizes = in_parallel(first.len(), |at| match objects.get(first[at].digest)? {
        Located::Packed(_) => Ok(first[at].size),
        Located::File(_) => Ok(0),
    })?;
    let bytes = sizes.into_iter().fold(0u64, u64::saturating_add);
    if bytes > 0 {
        objects.array.check_room(bytes)?;
    }
    let to = |entry: &Entry| next.join(&entry.key);
    in_parallel(first.len(), |at| unpacked.first(disk, objects, first[at].digest, &to(first[at])))?;
    in_parallel(rest.len(), |at| unpacked.link(disk, objects, rest[at].digest, &to(rest[at])))?;
    Ok(())
}

/// Directories, each with those above it, as views have them.
fn make_dirs<'a>(disk: &Disk, root: &Path, dirs: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    let mut made = HashSet::new();
    for dir in dirs {
        make_parents(disk, root, &format!("{dir}/"), &mut made)?;
    }
    Ok(())
}

fn make_parents(disk: &Disk, root: &Path, key: &str, made: &mut HashSet<PathBuf>) -> Result<(), Error> {
    let mut missing = Vec::new();
    let mut rest = key;
    while let Some((parent, _)) = rest.rsplit_once('/') {
        let path = root.join(parent);
        if made.contains(&path) {
            break;
        }
        missing.push(path);
        rest = parent;
    }
    for path in missing.into_iter().rev() {
        disk.make_dir_with(&path, DIRECTORY_MODE)?;
        made.insert(path);
    }
    Ok(())
}

/// Objects of packs as files that can be linked to: each made in the view that asks first, and kept by another name for all views
/// of this boot of the machine. No sync waits for them: the packs have the content, and after another boot a file may be half of it.
struct Unpacked {
    /// One directory: a file system lays files of many directories far apart.
    dir: PathBuf,
    /// What was there when a view began. No sweep is at work since.
    known: HashSet<Digest>,
}

impl Unpacked {
    fn of(array: &Array) -> Result<Self, Error> {
        let dir = array.dir.join(UNPACKED).join(boot_id());
        if !dir.exists() {
            array.disk.make_dir(dir.parent().unwrap_or(&dir))?;
            array.disk.make_dir(&dir)?;
        }
        let known = names(&dir)?.iter().filter_map(|name| name.parse().ok()).collect();
        Ok(Self { dir, known })
    }

    /// Of an object that was not known.
    fn first(&self, disk: &Disk, objects: Objects<'_>, digest: Digest, to: &Path) -> Result<(), Error> {
        let file = match objects.get(digest)? {
            Located::File(path) => return link(disk, objects, &path, digest, to),
            Located::Packed(_) => self.dir.join(digest.to_string()),
        };
        let bytes = objects.read(digest, u64::from(u32::MAX))?;
        objects.array.check_room(bytes.len() as u64)?;
        disk.create(to, object::MODE)?.write_all(&bytes).map_err(Error::io("write", to))?;
        match disk.link(to, &file) {
            // Somebody else was faster: this view has a file of its own.
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(Error::errno("link an object to", &file)(error)),
        }
    }

    /// Of one that was, or is now.
    fn link(&self, disk: &Disk, objects: Objects<'_>, digest: Digest, to: &Path) -> Result<(), Error> {
        let file = match self.known.contains(&digest) {
            true => self.dir.join(digest.to_string()),
            false => match objects.get(digest)? {
                Located::File(path) => path,
                Located::Packed(_) => self.dir.join(digest.to_string()),
            },
        };
        link(disk, objects, &file, digest, to)
    }
}

/// Links an object's file. A file system bounds the links of an inode (ext4: 65,000), and equal chunks are one object: at the bound
/// a copy takes its place, and then that one's.
fn link(disk: &Disk, objects: Objects<'_>, file: &Path, digest: Digest, to: &Path) -> Result<(), Error> {
    let mut copy = 0;
    loop {
        let from = if copy == 0 { file.to_owned() } else { with_number(file, copy) };
        if copy > 0 && !from.exists() {
            copy_whole(disk, objects, file, &from, digest)?;
        }
        match disk.link(&from, to) {
            Ok(()) => return disk.let_owner_write(to, object::MODE),
            Err(Errno::MLINK) => copy += 1,
            Err(error) => return Err(Error::errno("link an object to", to)(error)),
        }
    }
}

pub(crate) const UNPACKED: &str = "unpacked";
pub(crate) const VIEWS: &str = "views";
/// What the name of something that is not whole has in it.
pub(crate) const UNFINISHED: &str = ".next-";

/// The name of an object's further copies.
pub(crate) fn with_number(path: &Path, copy: u32) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{copy}"));
    path.with_file_name(name)
}

fn copy_whole(
    disk: &Disk,
    objects: Objects<'_>,
    from: &Path,
    to: &Path,
    digest: Digest,
) -> Result<(), Error> {
    let next = unfinished(to);
    let copied = copy_to(disk, objects, from, &next, digest).and_then(|()| disk.rename(&next, to));
    if copied.is_err() {
        // As with a view.
        drop(disk.remove(&next));
    }
    copied
}

fn copy_to(disk: &Disk, objects: Objects<'_>, from: &Path, next: &Path, digest: Digest) -> Result<(), Error> {
    let mut source = std::fs::File::open(from).map_err(Error::io("open", from))?;
    objects.array.check_room(source.metadata().map_err(Error::io("look at", from))?.len())?;
    let mut file = disk.create(next, object::MODE)?;
    std::io::copy(&mut source, &mut file).map_err(Error::io("copy to", next))?;
    let mut copied = std::fs::File::open(next).map_err(Error::io("open", next))?;
    if object::hash(objects.array, &mut copied, next)?.0 != digest {
        return Err(Error::Damaged {
            what: "object",
            digest,
            problem: "its content has another digest".to_owned(),
        });
    }
    disk.sync_file(&file, next)
}

/// What is not whole yet is called as nobody else's is.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!("{UNFINISHED}{:016x}", random()));
    path.with_file_name(name)
}

/// For a name that nobody else takes; a kernel without random numbers gets the one name, and `create` refuses a second of it.
pub(crate) fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}
