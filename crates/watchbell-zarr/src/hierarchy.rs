use std::collections::BTreeMap;

use crate::document::{self, DocumentError, Fields};
use crate::key::Parsed;
use crate::metadata::{self, ArrayMetadata, Format, Node};
use crate::path::{NodePath, PathError};

/// A hierarchy of more nodes is refused.
pub const MAX_NODES: usize = 20_000;

/// The nodes that a set of documents describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    pub format: Format,
    pub nodes: BTreeMap<NodePath, Node>,
    /// The root repeats all documents; whoever changes one must change the other.
    pub is_consolidated: bool,
}

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

    /// Reads the documents, each with its key from the root. Their order plays no part.
    pub fn read<'a>(
        documents: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, HierarchyError> {
        let mut v3 = BTreeMap::new();
        let mut v2 = BTreeMap::new();
        for (key, bytes) in documents {
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

    pub fn arrays(&self) -> impl Iterator<Item = (&NodePath, &ArrayMetadata)> {
        self.nodes.iter().filter_map(|(path, node)| match node {
            Node::Array(array) => Some((path, array)),
            Node::Group => None,
        })
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
        is_consolidated |= path.is_root() && of.get("consolidated_metadata").is_some_and(|v| !v.is_null());
        nodes.insert(path.clone(), metadata::v3_node(Fields { key, of: &of })?);
    }
    Ok(Hierarchy { format: Format::V3, nodes, is_consolidated })
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
                is_consolidated |= name == document::V2_CONSOLIDATED && path.is_root();
                continue;
            }
        };
        if nodes.insert(path.clone(), node).is_some() {
            return Err(HierarchyError::TwoKinds(path.clone()));
        }
    }
    Ok(Hierarchy { format: Format::V2, nodes, is_consolidated })
}
