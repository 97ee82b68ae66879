//! Which package of the distribution a file belongs to.

use std::collections::HashMap;

use super::item::{PathSet, hash};
use crate::layers::{FileKind, Tree};

/// Links at the root that are looked at: each is tried for each file.
const ALIASES_MAX: usize = 100;

/// Links at the root and their targets, both as prefixes: `lib/` is `usr/lib/` where `/lib` leads to `/usr/lib`. A data base
/// has a path as the package was built with it, the tree as it really lies there.
pub(super) struct Owners {
    by_path: HashMap<u64, usize>,
    aliases: Vec<(String, String)>,
}

impl Owners {
    pub(super) fn new(tree: &Tree) -> Self {
        let aliases = tree
            .iter()
            .filter(|(path, node)| !path.contains('/') && matches!(node.kind, FileKind::Symlink { .. }))
            .filter_map(|(path, _)| tree.real_path(path).map(|real| (format!("{real}/"), format!("{path}/"))))
            .take(ALIASES_MAX)
            .collect();
        Self { by_path: HashMap::new(), aliases }
    }

    pub(super) fn add(&mut self, package: usize, files: &PathSet) {
        for hash in &files.hashes {
            self.by_path.entry(*hash).or_insert(package);
        }
    }

    /// The package that the file at `path` is of.
    pub(super) fn of(&self, path: &str) -> Option<usize> {
        if let Some(owner) = self.by_path.get(&hash(path)) {
            return Some(*owner);
        }
        let other_names = self.aliases.iter().filter_map(|(real, alias)| {
            path.strip_prefix(real.as_str()).map(|rest| format!("{alias}{rest}"))
        });
        other_names.filter_map(|name| self.by_path.get(&hash(&name))).next().copied()
    }
}
