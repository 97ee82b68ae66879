//! Names that tell of packages and that a file has by a link alone: symbolic links to it or to a directory above it, and hard
//! links. Each is resolved within the image, as a package manager in it would.

use std::collections::{BTreeMap, HashSet};

use super::role::Role;
use crate::layers::{FileId, FileKind, Tree};

/// Names that links to directories give which are looked at.
const NAMES_MAX: usize = 1_000_000;
/// Files that are read by such a name.
const FILES_MAX: usize = 10_000;

/// Where package managers look: several links may stand in such a path.
const PLACES: [&str; 14] = [
    "etc/os-release",
    "usr/lib/os-release",
    "var/lib/dpkg/status",
    "lib/apk/db/installed",
    "usr/lib/apk/db/installed",
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages.db",
    "var/lib/rpm/Packages",
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/Packages.db",
    "usr/lib/sysimage/rpm/Packages",
    "usr/share/rpm/rpmdb.sqlite",
    "usr/share/rpm/Packages.db",
    "usr/share/rpm/Packages",
];
/// The same of directories.
const DIRECTORIES: [&str; 2] = ["var/lib/dpkg/status.d", "var/lib/dpkg/info"];

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Linked {
    /// The names that were not looked at.
    pub(super) files: BTreeMap<FileId, Vec<String>>,
    /// There are more links than are followed.
    pub(super) is_cut: bool,
}

/// `named`: what each file is by the names that it was looked at under.
pub(super) fn linked(tree: &Tree, named: &HashSet<(FileId, Role)>) -> Linked {
    let mut links =
        Links { tree, named, found: HashSet::new(), names_left: NAMES_MAX, linked: Linked::default() };
    for (path, node) in tree.iter() {
        match &node.kind {
            FileKind::File => links.name(path, node.id, node.size),
            FileKind::Symlink { .. } => links.follow(path),
            _ => {}
        }
    }
    PLACES.iter().chain(&DIRECTORIES).for_each(|place| links.follow(place));
    links.linked
}

struct Links<'a> {
    tree: &'a Tree,
    named: &'a HashSet<(FileId, Role)>,
    found: HashSet<(FileId, Role)>,
    names_left: usize,
    linked: Linked,
}

impl Links<'_> {
    /// Takes note of a file under a name, if it is something by that name that it is by no other.
    fn name(&mut self, path: &str, id: FileId, size: u64) {
        let Some(role) = Role::by_name(path).filter(|_| size > 0) else { return };
        if self.named.contains(&(id, role)) || self.found.contains(&(id, role)) {
            return;
        }
        if self.found.len() >= FILES_MAX {
            self.linked.is_cut = true;
            return;
        }
        self.found.insert((id, role));
        self.linked.files.entry(id).or_default().push(path.to_owned());
    }

    /// Where a path leads, and below it. An archive need not have directories, so what is no file may be one.
    fn follow(&mut self, path: &str) {
        let tree = self.tree;
        let Some(real) = tree.real_path(path) else { return };
        match tree.get(&real) {
            Some(node) if node.kind == FileKind::File => return self.name(path, node.id, node.size),
            Some(node) if node.kind != FileKind::Directory => return,
            _ if real == path => return,
            _ => {}
        }
        for (below, node) in tree.below(&real) {
            let Some(left) = self.names_left.checked_sub(1) else {
                self.linked.is_cut = true;
                return;
            };
            self.names_left = left;
            let name = format!("{path}/{}", below[real.len()..].trim_start_matches('/'));
            match &node.kind {
                FileKind::File => self.name(&name, node.id, node.size),
                FileKind::Symlink { .. } if Role::by_name(&name).is_some() => {
                    if let Some((_, node)) = tree.resolve(below)
                        && node.kind == FileKind::File
                    {
                        self.name(&name, node.id, node.size);
                    }
                }
                _ => {}
            }
        }
    }
}
