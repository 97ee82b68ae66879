//! The files of an image once all layers lie above one another.

use std::collections::{BTreeMap, VecDeque};

use super::{Capabilities, FileFacts, FileId, FileKind};

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
    last_parent: Option<(String, String)>,
}

/// What one layer does to the layers below, in the order of its archive.
#[derive(Debug, Default)]
pub(super) struct LayerChanges {
    /// Paths that are hidden.
    pub(super) whiteouts: Vec<String>,
    /// Directories of which everything below is hidden; empty for the root.
    pub(super) opaque: Vec<String>,
    pub(super) entries: Vec<(Box<str>, Node)>,
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
        tree.place(path, node);
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
            let Some(Node { kind: FileKind::Symlink { target }, .. }) = self.nodes.get(real.as_str()) else {
                continue;
            };
            links += 1;
            if links > LINKS_MAX {
                return None;
            }
            real.truncate(if target.starts_with('/') { 0 } else { parent_length });
            for component in components(target).rev() {
                left.push_front(component.to_owned());
            }
        }
        Some(real)
    }

    /// The path with the links of all parts but the last followed.
    fn real_parent(&mut self, path: &str) -> String {
        let Some((parent, name)) = path.rsplit_once('/') else { return path.to_owned() };
        match &self.last_parent {
            Some((known, real)) if known == parent => return join(real, name),
            _ => {}
        }
        // Links in a circle lead nowhere: what is below them stays where its name says, and nobody finds it.
        let real = self.real_path(parent).unwrap_or_else(|| parent.to_owned());
        let joined = join(&real, name);
        self.last_parent = Some((parent.to_owned(), real));
        joined
    }

    /// Lays a layer above what is here.
    pub(super) fn apply(&mut self, changes: LayerChanges) {
        // These speak of the layers below alone, wherever they stand in the archive.
        for directory in &changes.opaque {
            let real = self.real_path(directory).unwrap_or_else(|| directory.clone());
            self.remove_below(&real);
        }
        for path in &changes.whiteouts {
            let real = self.real_parent(path);
            self.remove(&real);
        }
        for (path, node) in changes.entries {
            self.place(&path, node);
        }
        self.last_parent = None;
    }

    fn place(&mut self, path: &str, mut node: Node) {
        let real = self.real_parent(path);
        if let FileKind::HardLink { target } = &node.kind {
            let target = self.real_parent(target);
            let Some(linked) = self.nodes.get(target.as_str()) else { return };
            node = linked.clone();
        }
        let both_directories = node.kind == FileKind::Directory
            && self.nodes.get(real.as_str()).is_some_and(|old| old.kind == FileKind::Directory);
        if !both_directories {
            self.remove(&real);
        }
        if matches!(node.kind, FileKind::Symlink { .. }) {
            self.last_parent = None;
        }
        self.nodes.insert(real.into(), node);
    }

    fn remove(&mut self, path: &str) {
        if let Some(removed) = self.nodes.remove(path)
            && matches!(removed.kind, FileKind::Symlink { .. })
        {
            self.last_parent = None;
        }
        self.remove_below(path);
    }

    fn remove_below(&mut self, path: &str) {
        if path.is_empty() {
            self.nodes.clear();
            self.last_parent = None;
            return;
        }
        // What follows the slash in the order of characters bounds everything that begins with it.
        let (from, to) = (format!("{path}/"), format!("{path}0"));
        let doomed: Vec<Box<str>> =
            self.nodes.range(Box::from(from)..Box::from(to)).map(|(p, _)| p.clone()).collect();
        for path in doomed {
            self.nodes.remove(&path);
            self.last_parent = None;
        }
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}

fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|c| !matches!(*c, "" | "."))
}
