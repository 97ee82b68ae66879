//! The files of an image once all layers lie above one another.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

use super::overlay::{LayerChanges, Own, lay_out};
use super::pass::Names;
use super::{Capabilities, FileFacts, FileId, FileKind, ReadError};

/// Links on the way to a file before it is given up; Linux stops at 40 too.
const LINKS_MAX: usize = 40;

/// A file, directory or link that is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: FileId,
    /// Never [`FileKind::HardLink`].
    pub kind: FileKind,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    pub capabilities: Capabilities,
}

/// Paths and what lies there. Paths have no leading slash; no part but the last is a link.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<Box<str>, Node>,
}

impl Tree {
    /// One file and nothing else.
    pub(crate) fn of_file(path: &str, facts: &FileFacts<'_>) -> Self {
        let mut tree = Self::default();
        let node = Node {
            id: facts.id,
            kind: facts.kind.clone(),
            mode: facts.mode,
            uid: facts.uid,
            gid: facts.gid,
            size: facts.size,
            capabilities: facts.capabilities,
        };
        tree.nodes.insert(path.into(), node);
        tree
    }

    /// What lies at `path` itself.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Everything, in the order of the paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_ref(), node))
    }

    /// Everything below the directory `path`; the root is the empty path.
    pub fn below<'t>(&'t self, path: &str) -> impl Iterator<Item = (&'t str, &'t Node)> + use<'t> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        self.nodes
            .range(Box::<str>::from(prefix.as_str())..)
            .take_while(move |(p, _)| p.starts_with(&prefix))
            .map(|(path, node)| (path.as_ref(), node))
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What `path` leads to with every link followed as a process in the image would, and where that is. `None` for what is
    /// not there and for links in a circle.
    pub fn resolve(&self, path: &str) -> Option<(String, &Node)> {
        let real = self.real_path(path)?;
        let node = self.nodes.get(real.as_str())?;
        Some((real, node))
    }

    /// The path with every link followed; what is missing on the way stays as it is written. `None` for links in a circle.
    pub(crate) fn real_path(&self, path: &str) -> Option<String> {
        let Ok(real) = follow(path, |here| {
            Ok::<_, Infallible>(match self.nodes.get(here).map(|node| &node.kind) {
                Some(FileKind::Symlink { target }) => Some(target.clone()),
                _ => None,
            })
        });
        real
    }

    /// Lays a layer above what is here.
    pub(super) fn apply(&mut self, changes: LayerChanges, names: &Names) -> Result<(), ReadError> {
        let own = lay_out(changes, self, names)?;
        if own.is_opaque {
            self.nodes.clear();
        }
        // A directory comes before what it has.
        for (path, own) in own.entries {
            match own {
                Own::Whiteout => self.remove(&path),
                Own::Other(node) => {
                    self.remove(&path);
                    self.nodes.insert(path, node);
                }
                Own::Directory { node, is_opaque } => {
                    let is_merged =
                        self.nodes.get(&path).is_none_or(|below| below.kind == FileKind::Directory);
                    if !is_merged {
                        self.remove(&path);
                    } else if is_opaque {
                        remove_below(&mut self.nodes, &path);
                    }
                    node.map(|node| self.nodes.insert(path, node));
                }
            }
        }
        Ok(())
    }

    fn remove(&mut self, path: &str) {
        self.nodes.remove(path);
        remove_below(&mut self.nodes, path);
    }
}

/// Removes what lies below a path.
pub(super) fn remove_below<V>(nodes: &mut BTreeMap<Box<str>, V>, path: &str) {
    // What follows the slash in the order of characters bounds everything that begins with it.
    let (from, to) = (format!("{path}/"), format!("{path}0"));
    let doomed: Vec<Box<str>> = nodes.range(Box::from(from)..Box::from(to)).map(|(p, _)| p.clone()).collect();
    for path in doomed {
        nodes.remove(&path);
    }
}

/// `path` with every link followed: `link` is asked for each place on the way what it leads to. `None` for links in a circle.
pub(super) fn follow<E>(
    path: &str,
    mut link: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<Option<String>, E> {
    let mut left: VecDeque<String> = components(path).map(str::to_owned).collect();
    let mut real = String::new();
    let mut links = 0;
    while let Some(component) = left.pop_front() {
        if component == ".." {
            real.truncate(real.rfind('/').unwrap_or(0));
            continue;
        }
        let parent_length = real.len();
        if !real.is_empty() {
            real.push('/');
        }
        real.push_str(&component);
        let Some(target) = link(&real)? else { continue };
        links += 1;
        if links > LINKS_MAX {
            return Ok(None);
        }
        real.truncate(if target.starts_with('/') { 0 } else { parent_length });
        for component in components(&target).rev() {
            left.push_front(component.to_owned());
        }
    }
    Ok(Some(real))
}

pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}

fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|c| !matches!(*c, "" | "."))
}
