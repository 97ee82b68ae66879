//! How much of an image its entry point could ever load, and how far it is from an image of just that.
//!
//! ```text
//!  ENTRYPOINT, CMD ─PATH─▶ program ─┬─ ELF: its loader, the libraries it names, theirs …
//!                                   ├─ script: its interpreter, and for shells the programs that its commands name
//!                                   └─ Python, Node, Java …: the interpreter with its whole library, as a class
//!  reached files ──owner──▶ packages ──▶ what is left over, the biggest first
//! ```
//!
//! What a program opens by name while it runs (`dlopen`, plug-ins, data) cannot be seen from outside. So the answer names how
//! it was found, and counts what every program may open: the name service's libraries, certificates, time zones, accounts.

mod collect;
mod linker;
mod owners;
mod reach;

use watchbell_image::ImageConfig;

pub use collect::MinimalityCollector;

use crate::layers::{FileKind, Tree};
use crate::surface;

/// How the entry point's files were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The image starts nothing by itself.
    None,
    /// It is not there; the words are what was looked for.
    Missing(String),
    /// Linked with nothing.
    Static,
    /// Linked with libraries.
    Dynamic,
    /// A script, whose interpreter and commands were followed.
    Script,
    /// Its interpreter decides while it runs: the class that was counted as reached.
    Interpreted(&'static str),
}

/// A package or directory of which nothing is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// `deb perl-base`, or `/usr/share/doc` for files that no package owns.
    pub name: String,
    pub bytes: u64,
    pub files: usize,
}

/// The whole report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minimality {
    /// As the image's configuration has it.
    pub command: Vec<String>,
    /// The file that is started, links followed.
    pub program: Option<String>,
    pub entry: Entry,
    /// Sums over the files that are left once all layers lie above one another.
    pub bytes: u64,
    pub files: usize,
    /// Packages whose files are listed in the image.
    pub packages: usize,
    pub executables: usize,
    pub shells: Vec<String>,
    pub package_managers: Vec<String>,
    /// Set-group-ID and file capabilities too.
    pub setuid: Vec<String>,
    pub interpreters: Vec<String>,
    pub reached_bytes: u64,
    pub reached_files: usize,
    pub reached_packages: usize,
    /// Libraries that a reached program names and the image does not have.
    pub missing_libraries: Vec<String>,
    /// Biggest first; what lies in packages of which something is reached is not among them.
    pub leftovers: Vec<Leftover>,
}

/// Shown of the report; sums count all.
const LISTED_MAX: usize = 1000;

/// Names of programs that run other languages' texts.
const INTERPRETERS: [&str; 20] = [
    "python3",
    "python",
    "python2",
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "perl",
    "ruby",
    "node",
    "nodejs",
    "php",
    "lua",
    "java",
    "tclsh",
    "guile",
    "mawk",
    "gawk",
];

impl Minimality {
    /// Bytes that an image of just the reached files would not have.
    pub fn distance_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.reached_bytes)
    }
}

/// Puts the report together once the layers were read.
pub fn report(collector: MinimalityCollector, tree: &Tree, config: Option<&ImageConfig>) -> Minimality {
    let collected = collector.into_collected();
    let owners = owners::Owners::of(tree, &collected);
    let command: Vec<String> = config
        .map(|config| config.entrypoint.iter().chain(&config.cmd).cloned().collect())
        .unwrap_or_default();
    let reached = reach::reach(tree, &collected, config, &command);
    let mut report = Minimality {
        command,
        program: reached.program,
        entry: reached.entry,
        bytes: 0,
        files: 0,
        packages: owners.len(),
        executables: 0,
        shells: surface::shells(tree).map(|(path, _)| path).take(LISTED_MAX).collect(),
        package_managers: crate::configuration::package_managers(tree),
        setuid: Vec::new(),
        interpreters: interpreters(tree),
        reached_bytes: 0,
        reached_files: 0,
        reached_packages: 0,
        missing_libraries: reached.missing.into_iter().take(LISTED_MAX).collect(),
        leftovers: Vec::new(),
    };
    let mut usage = owners::Usage::default();
    for (path, node) in tree.iter() {
        if matches!(node.kind, FileKind::Directory) {
            continue;
        }
        let is_reached = reached.paths.contains(path);
        let bytes = if node.kind == FileKind::File { node.size } else { 0 };
        report.bytes += bytes;
        report.files += 1;
        if is_reached {
            report.reached_bytes += bytes;
            report.reached_files += 1;
        }
        if node.kind == FileKind::File && node.mode & 0o111 != 0 {
            report.executables += 1;
            if surface::is_privileged(node) && report.setuid.len() < LISTED_MAX {
                report.setuid.push(path.to_owned());
            }
        }
        usage.count(owners.owner(path), path, bytes, is_reached);
    }
    report.reached_packages = usage.reached_packages();
    report.leftovers = usage.leftovers(&owners);
    report.leftovers.truncate(LISTED_MAX);
    report
}

fn interpreters(tree: &Tree) -> Vec<String> {
    crate::configuration::programs(tree, &INTERPRETERS).into_iter().map(|(path, _)| path).collect()
}

#[cfg(test)]
mod tests;
