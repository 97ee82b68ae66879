//! One layer as the unpacker lays it out, and what it then shows above the layers below.
//!
//! What is judged must be what runs. So a layer gets a tree of its own here, made entry by entry by the rules of
//! `watchbell-image`'s unpacker (`unpack/layer.rs`, `unpack/root.rs`, `unpack/lowers.rs`), and lies above the others by those of the
//! kernel's overlay. What the unpacker refuses never runs; here it lands anywhere.

use std::collections::BTreeMap;

use super::pass::Names;
use super::tree::{Node, Tree, follow, join, remove_below};
use super::{FileKind, ReadError};

/// What an entry of a layer does; its path stands beside it.
#[derive(Debug)]
pub(super) enum Change {
    Entry(Node),
    /// What the layers below have there is hidden.
    Whiteout,
    /// All that the layers below have in this directory is hidden; the empty path is the root.
    Opaque,
}

/// In the order of the archive.
pub(super) type LayerChanges = Vec<(Box<str>, Change)>;

/// What stands under a path of the layer's own tree.
pub(super) enum Own {
    Whiteout,
    /// `node` is of its own entry; a directory that was only passed through has none.
    Directory {
        node: Option<Node>,
        is_opaque: bool,
    },
    Other(Node),
}

pub(super) struct OwnTree {
    /// Every directory above one of these is among them.
    pub(super) entries: BTreeMap<Box<str>, Own>,
    pub(super) is_opaque: bool,
}

/// Makes a layer's own tree.
pub(super) fn lay_out(changes: LayerChanges, lower: &Tree, names: &Names) -> Result<OwnTree, ReadError> {
    let own = OwnTree { entries: BTreeMap::new(), is_opaque: false };
    let mut layout = Layout { own, lower, names, last_parent: None };
    for (path, change) in changes {
        match change {
            Change::Entry(node) => layout.entry(&path, node)?,
            Change::Whiteout => layout.whiteout(&path)?,
            Change::Opaque if path.is_empty() => layout.own.is_opaque = true,
            Change::Opaque => layout.opaque(&path)?,
        }
    }
    Ok(layout.own)
}

struct Layout<'a> {
    own: OwnTree,
    lower: &'a Tree,
    names: &'a Names,
    /// The directory of the entry before, as it is written and as it is.
    last_parent: Option<(String, String)>,
}

impl Layout<'_> {
    fn entry(&mut self, path: &str, mut node: Node) -> Result<(), ReadError> {
        let real = self.place(path)?;
        if let FileKind::HardLink { target } = &node.kind {
            let Some(linked) = self.linked(target) else { return Ok(()) };
            node = linked;
        }
        let is_directory = node.kind == FileKind::Directory;
        let is_opaque = match self.own.entries.get_mut(real.as_str()) {
            Some(Own::Directory { node: known, .. }) if is_directory => {
                *known = Some(node);
                return Ok(());
            }
            None => false,
            Some(existing) => {
                // Removed and made anew in one layer: nothing of the old one may show.
                let is_opaque = matches!(existing, Own::Whiteout);
                self.remove(&real);
                is_opaque
            }
        };
        let own =
            if is_directory { Own::Directory { node: Some(node), is_opaque } } else { Own::Other(node) };
        self.own.entries.insert(real.into(), own);
        Ok(())
    }

    fn whiteout(&mut self, path: &str) -> Result<(), ReadError> {
        let real = self.place(path)?;
        match self.own.entries.get_mut(real.as_str()) {
            None => drop(self.own.entries.insert(real.into(), Own::Whiteout)),
            Some(Own::Directory { is_opaque, .. }) => *is_opaque = true,
            // The layer's own file hides the lower one as it is.
            Some(Own::Whiteout | Own::Other(_)) => {}
        }
        Ok(())
    }

    fn opaque(&mut self, path: &str) -> Result<(), ReadError> {
        let real = self.directory(path)?;
        if let Some(Own::Directory { is_opaque, .. }) = self.own.entries.get_mut(real.as_str()) {
            *is_opaque = true;
        }
        Ok(())
    }

    /// Where what stands at `path` goes: the links of all parts but the last followed, as they are at this entry.
    fn place(&mut self, path: &str) -> Result<String, ReadError> {
        let Some((parent, name)) = path.rsplit_once('/') else { return Ok(path.to_owned()) };
        let real = match &self.last_parent {
            Some((known, real)) if known == parent => join(real, name),
            _ => {
                let real = self.directory(parent)?;
                let joined = join(&real, name);
                self.last_parent = Some((parent.to_owned(), real));
                joined
            }
        };
        // A short path may lead to a very long one.
        self.names.take(real.len().saturating_sub(path.len()) as u64)?;
        Ok(real)
    }

    /// Where the directory `path` is. What the layer does not have on the way is taken from the layers below, or made.
    fn directory(&mut self, path: &str) -> Result<String, ReadError> {
        let real = follow(path, |here| -> Result<_, ReadError> {
            match self.own.entries.get_mut(here) {
                Some(Own::Other(Node { kind: FileKind::Symlink { target }, .. })) => {
                    return Ok(Some(target.clone()));
                }
                Some(Own::Other(_) | Own::Directory { .. }) => return Ok(None),
                Some(removed @ Own::Whiteout) => {
                    *removed = Own::Directory { node: None, is_opaque: true };
                    return Ok(None);
                }
                None => {}
            }
            self.names.take_entry(here)?;
            let below = if self.own.is_opaque { None } else { self.lower.get(here) };
            let (own, target) = match below {
                Some(link @ Node { kind: FileKind::Symlink { target }, .. }) => {
                    (Own::Other(link.clone()), Some(target.clone()))
                }
                _ => (Own::Directory { node: None, is_opaque: false }, None),
            };
            self.own.entries.insert(here.into(), own);
            Ok(target)
        })?;
        // Links in a circle lead nowhere: what is below them stays where its name says, and nobody finds it.
        Ok(real.unwrap_or_else(|| path.to_owned()))
    }

    /// The file that a hard link names: one of this layer. One of a layer below is refused here, but other unpackers take it.
    fn linked(&self, target: &str) -> Option<Node> {
        let (parent, name) = target.rsplit_once('/').unwrap_or(("", target));
        let own = |path: &str| match self.own.entries.get(path) {
            Some(Own::Other(node)) => Some(node),
            _ => None,
        };
        let Ok(real) = follow(parent, |here| {
            Ok::<_, std::convert::Infallible>(match own(here).map(|node| &node.kind) {
                Some(FileKind::Symlink { target }) => Some(target.clone()),
                _ => None,
            })
        });
        let linked = real.and_then(|real| own(&join(&real, name)));
        let lower = || self.lower.get(&join(&self.lower.real_path(parent)?, name));
        linked.or_else(lower).filter(|node| node.kind != FileKind::Directory).cloned()
    }

    /// Removes what stands at `path` with all below it.
    fn remove(&mut self, path: &str) {
        self.own.entries.remove(path);
        remove_below(&mut self.own.entries, path);
        // It may have been on the way.
        self.last_parent = None;
    }
}

#[cfg(test)]
mod tests;
