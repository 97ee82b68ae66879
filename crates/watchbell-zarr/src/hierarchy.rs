use std::collections::BTreeMap;

use crate::artifact;
use crate::document::{self, DocumentError, Fields};
use crate::key::Parsed;
use crate::metadata::{self, ArrayMetadata, Format, Node};
use crate::path::{NodePath, PathError};

/// All documents of a hierarchy together: they are read whole.
pub const MAX_DOCUMENT_BYTES: u64 = 128 << 20;

/// A hierarchy of more nodes is refused.
pub const MAX_NODES: usize = 20_000;

/// The nodes that a set of documents describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    pub format: Format,
    pub nodes: BTreeMap<NodePath, Node>,
    /// A group repeats the documents below it; whoever changes one must change the other.
    pub is_consolidated: bool,
    /// It is none: what stands for one of a store of artifacts.
    pub is_artifacts: bool,
}

/// What a store of artifacts has in place of documents; it is not one of its files.
pub const ARTIFACTS_DOCUMENT: &str =
    r#"{"zarr_format": 3, "node_type": "group", "attributes": {"watchbell.dev/artifacts": true}}"#;

#[derive(Debug, thiserror::Error)]
pub enum HierarchyError {
    #[error("there is no Zarr hierarchy: neither zarr.json nor .zgroup nor .zarray is at the root")]
    NoRoot,
    #[error(
        "{first} is of Zarr v2 and {second} of v3: convert it to one format, or give one of them an array of its own"
    )]
    TwoFormats { first: String, second: String },
    #[error("more than {MAX_NODES} nodes")]
    TooManyNodes,
    #[error("node {below} lies below the array {array}: only groups have children")]
    BelowArray { below: NodePath, array: NodePath },
    #[error("node {0} is both an array and a group")]
    TwoKinds(NodePath),
    #[error(
        "the documents have more than {MAX_DOCUMENT_BYTES} bytes together; give parts of the hierarchy arrays of their own"
    )]
    TooMuch,
    #[error(
        "{key} repeats the metadata of {node} and is out of date: {problem}; consolidate the metadata again, \
         as `zarr.consolidate_metadata` does, or take the consolidated metadata out"
    )]
    Stale { key: String, node: NodePath, problem: &'static str },
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Document(#[from] DocumentError),
}

impl Hierarchy {
    /// Whether a file of this key has to be given to [`Hierarchy::read`].
    pub fn is_document(key: &str) -> bool {
        document::is_name(key.rsplit('/').next().unwrap_or(key))
    }

    /// Reads the documents of a map, by their keys from the root.
    pub fn of<K: AsRef<str>, V: AsRef<[u8]>>(documents: &BTreeMap<K, V>) -> Result<Self, HierarchyError> {
        Self::read(documents.iter().map(|(key, bytes)| (key.as_ref(), bytes.as_ref())))
    }

    /// Reads the documents, each with its key from the root. Their order plays no part.
    pub fn read<'a>(
        documents: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, HierarchyError> {
        let mut v3 = BTreeMap::new();
        let mut v2 = BTreeMap::new();
        let mut total = 0u64;
        for (key, bytes) in documents {
            total = total.saturating_add(bytes.len() as u64);
            if total > MAX_DOCUMENT_BYTES {
                return Err(HierarchyError::TooMuch);
            }
            let (path, name) = key.rsplit_once('/').unwrap_or(("", key));
            let path = NodePath::new(path)?;
            if name == document::ZARR_JSON {
                v3.insert(path, (key, bytes));
            } else if document::is_name(name) {
                v2.insert((path, name), (key, bytes));
            }
            if v3.len() > MAX_NODES || v2.len() > 3 * MAX_NODES {
                return Err(HierarchyError::TooManyNodes);
            }
        }
        let hierarchy = match (v2.values().next(), v3.values().next()) {
            (None, None) => return Err(HierarchyError::NoRoot),
            (Some((first, _)), Some((second, _))) => {
                return Err(HierarchyError::TwoFormats {
                    first: (*first).to_owned(),
                    second: (*second).to_owned(),
                });
            }
            (None, Some(_)) => read_v3(&v3)?,
            (Some(_), None) => read_v2(&v2)?,
        };
        hierarchy.check()?;
        Ok(hierarchy)
    }

    fn check(&self) -> Result<(), HierarchyError> {
        if !self.nodes.contains_key(&NodePath::root()) {
            return Err(HierarchyError::NoRoot);
        }
        if self.nodes.len() > MAX_NODES {
            return Err(HierarchyError::TooManyNodes);
        }
        for path in self.nodes.keys() {
            let mut above = path.parent();
            while let Some(group) = above {
                if let Some(Node::Array(_)) = self.nodes.get(&group) {
                    return Err(HierarchyError::BelowArray { below: path.clone(), array: group });
                }
                above = group.parent();
            }
        }
        Ok(())
    }

    /// What is wrong with a name in a store of artifacts.
    pub fn artifact_problem(name: &str) -> Option<&'static str> {
        artifact::problem(name)
    }

    pub fn arrays(&self) -> impl Iterator<Item = (&NodePath, &ArrayMetadata)> {
        self.nodes.iter().filter_map(|(path, node)| match node {
            Node::Array(array) => Some((path, array)),
            Node::Group => None,
        })
    }

    /// Whether something is at this path, or below it: not all writers make a document for each group on the way.
    pub(crate) fn is_node(&self, path: &NodePath) -> bool {
        let below = |found: &NodePath| path.strip(found.as_str()).is_some();
        self.nodes.contains_key(path)
            || self.nodes.range(path.first_below()..).next().is_some_and(|(found, _)| below(found))
    }

    pub fn array(&self, path: &NodePath) -> Option<&ArrayMetadata> {
        match self.nodes.get(path) {
            Some(Node::Array(array)) => Some(array),
            _ => None,
        }
    }

    /// The array that a key is below, and what the key names there. Nothing when no array is above it.
    pub fn locate<'a>(&'a self, key: &str) -> Option<(&'a NodePath, Parsed)> {
        let mut end = key.len();
        loop {
            // A part of a chunk's key may be no node name.
            let path = NodePath::new(&key[..end]).ok();
            if let Some((path, Node::Array(array))) = path.and_then(|path| self.nodes.get_key_value(&path)) {
                return Some((path, array.parse(path.strip(key)?)));
            }
            if end == 0 {
                return None;
            }
            end = key[..end].rfind('/').unwrap_or(0);
        }
    }
}

type V2Documents<'a> = BTreeMap<(NodePath, &'a str), (&'a str, &'a [u8])>;

fn read_v3(documents: &BTreeMap<NodePath, (&str, &[u8])>) -> Result<Hierarchy, HierarchyError> {
    let (mut nodes, mut is_consolidated) = (BTreeMap::new(), false);
    for (path, (key, bytes)) in documents {
        let of = document::read(key, bytes)?;
        is_consolidated |= document::copies(Format::V3, &of).is_some();
        nodes.insert(path.clone(), metadata::v3_node(Fields { key, of: &of })?);
    }
    // A reader believes the copies: they must lead it to the same chunks.
    for (path, (key, bytes)) in documents.iter().filter(|_| is_consolidated) {
        let of = document::read(key, bytes)?;
        for (name, copy) in document::copies(Format::V3, &of).into_iter().flatten() {
            let below = NodePath::new(&path.key(name))?;
            let of = copy.as_object().ok_or_else(|| no_object(key, name))?;
            compare(key, &nodes, below, &metadata::v3_node(Fields { key, of })?)?;
        }
    }
    let is_artifacts = nodes.len() == 1
        && documents
            .values()
            .all(|(key, bytes)| *key == document::ZARR_JSON && *bytes == ARTIFACTS_DOCUMENT.as_bytes());
    Ok(Hierarchy { format: Format::V3, nodes, is_consolidated, is_artifacts })
}

fn read_v2(documents: &V2Documents<'_>) -> Result<Hierarchy, HierarchyError> {
    let (mut nodes, mut is_consolidated) = (BTreeMap::new(), false);
    for ((path, name), (key, bytes)) in documents {
        let node = match *name {
            document::V2_ARRAY => {
                let attributes = match documents.get(&(path.clone(), document::V2_ATTRIBUTES)) {
                    Some((key, bytes)) => Some((*key, document::read(key, bytes)?)),
                    None => None,
                };
                let attributes = attributes.as_ref().map(|(key, of)| Fields { key, of });
                Node::Array(metadata::v2_array(Fields { key, of: &document::read(key, bytes)? }, attributes)?)
            }
            document::V2_GROUP => {
                metadata::v2_group(Fields { key, of: &document::read(key, bytes)? })?;
                Node::Group
            }
            name => {
                is_consolidated |= name == document::V2_CONSOLIDATED;
                continue;
            }
        };
        if nodes.insert(path.clone(), node).is_some() {
            return Err(HierarchyError::TwoKinds(path.clone()));
        }
    }
    for ((path, name), (key, bytes)) in documents {
        if *name != document::V2_CONSOLIDATED {
            continue;
        }
        let of = document::read(key, bytes)?;
        let Some(copies) = document::copies(Format::V2, &of) else { continue };
        for (name, copy) in copies {
            let (below, name) = name.rsplit_once('/').unwrap_or(("", name));
            let of = Fields { key, of: copy.as_object().ok_or_else(|| no_object(key, name))? };
            let node = match name {
                document::V2_ARRAY => {
                    let beside = if below.is_empty() { String::new() } else { format!("{below}/") };
                    let attributes = copies.get(&format!("{beside}{}", document::V2_ATTRIBUTES));
                    let attributes = attributes.and_then(serde_json::Value::as_object);
                    Node::Array(metadata::v2_array(of, attributes.map(|of| Fields { key, of }))?)
                }
                document::V2_GROUP => Node::Group,
                _ => continue,
            };
            compare(key, &nodes, NodePath::new(&path.key(below))?, &node)?;
        }
    }
    Ok(Hierarchy { format: Format::V2, nodes, is_consolidated, is_artifacts: false })
}

fn no_object(key: &str, name: &str) -> DocumentError {
    let field = format!("metadata.{name}");
    DocumentError::Field { key: key.to_owned(), field, problem: "must be an object".to_owned() }
}

/// A copy that is not there is no harm: a reader then looks at the document.
fn compare(
    key: &str,
    nodes: &BTreeMap<NodePath, Node>,
    node: NodePath,
    copy: &Node,
) -> Result<(), HierarchyError> {
    let problem = match nodes.get(&node) {
        None => "there is no such node",
        Some(found) if found != copy => "its shape, chunks, dimensions or kind are others",
        Some(_) => return Ok(()),
    };
    Err(HierarchyError::Stale { key: key.to_owned(), node, problem })
}
