//! Growth of a hierarchy before a run: `extend: {dim: time, by: 24}` makes every array with that dimension longer.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::document::{self, DocumentError, Fields};
use crate::hierarchy::{Hierarchy, HierarchyError};
use crate::metadata::Format;
use crate::path::NodePath;
use crate::rule::Extend;

/// What came of a growth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grown {
    pub dimension: String,
    /// In elements.
    pub old_length: u64,
    pub new_length: u64,
    /// The documents that changed, by key.
    pub documents: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    #[error("no array has a dimension {0:?} to extend")]
    NoDimension(String),
    #[error(
        "dimension {dimension:?} is {first} elements long in one array and {second} in another: it cannot be extended as one"
    )]
    Lengths { dimension: String, first: u64, second: u64 },
    #[error("dimension {0:?} would become too long")]
    TooLong(String),
    #[error(transparent)]
    Hierarchy(#[from] HierarchyError),
    #[error(transparent)]
    Document(#[from] DocumentError),
}

/// Makes a dimension longer, in the documents of the arrays that have it and in what the root repeats of them. Everything else in
/// those documents stays as it was.
pub fn grow(documents: &BTreeMap<String, Vec<u8>>, extend: &Extend) -> Result<(Hierarchy, Grown), GrowError> {
    let read = |documents: &BTreeMap<String, Vec<u8>>| {
        Hierarchy::read(documents.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice())))
    };
    let hierarchy = read(documents)?;
    let dimension = &extend.dimension;
    let mut old_length = None;
    let mut axes: BTreeMap<&NodePath, Vec<usize>> = BTreeMap::new();
    for (path, array) in hierarchy.arrays() {
        for (axis, name) in array.dimension_names.iter().enumerate() {
            if name.as_ref() != Some(dimension) {
                continue;
            }
            let length = array.shape[axis];
            match old_length {
                Some(first) if first != length => {
                    return Err(GrowError::Lengths { dimension: dimension.clone(), first, second: length });
                }
                _ => old_length = Some(length),
            }
            axes.entry(path).or_default().push(axis);
        }
    }
    let old_length = old_length.ok_or_else(|| GrowError::NoDimension(dimension.clone()))?;
    let new_length = old_length
        .checked_add(extend.by)
        .filter(|length| *length <= document::MAX_LENGTH)
        .ok_or_else(|| GrowError::TooLong(dimension.clone()))?;
    let name = match hierarchy.format {
        Format::V3 => document::ZARR_JSON,
        Format::V2 => document::V2_ARRAY,
    };
    let mut changed: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (path, axes) in &axes {
        let key = path.key(name);
        let Some(bytes) = documents.get(&key) else { continue };
        let mut fields = document::read(&key, bytes)?;
        set_lengths(&key, &mut fields, axes, new_length)?;
        changed.insert(key, fields);
    }
    if hierarchy.is_consolidated {
        let (key, format) = match hierarchy.format {
            Format::V3 => (document::ZARR_JSON, Format::V3),
            Format::V2 => (document::V2_CONSOLIDATED, Format::V2),
        };
        if let Some(bytes) = documents.get(key) {
            let mut root = match changed.remove(key) {
                Some(root) => root,
                None => document::read(key, bytes)?,
            };
            repeat(key, &mut root, format, &axes, new_length)?;
            changed.insert(key.to_owned(), root);
        }
    }
    let mut written = BTreeMap::new();
    let mut after = documents.clone();
    for (key, fields) in changed {
        let bytes = document::write(&key, &fields)?;
        after.insert(key.clone(), bytes.clone());
        written.insert(key, bytes);
    }
    let grown = Grown { dimension: dimension.clone(), old_length, new_length, documents: written };
    Ok((read(&after)?, grown))
}

fn set_lengths(
    key: &str,
    fields: &mut Map<String, Value>,
    axes: &[usize],
    length: u64,
) -> Result<(), DocumentError> {
    let wrong = || Fields { key, of: &Map::new() }.wrong("shape", "does not fit the array's");
    let shape = fields.get_mut("shape").and_then(Value::as_array_mut).ok_or_else(wrong)?;
    for axis in axes {
        *shape.get_mut(*axis).ok_or_else(wrong)? = length.into();
    }
    Ok(())
}

/// The same in the copies that the root holds. A copy that is not there is no harm: a reader then looks at the document.
fn repeat(
    key: &str,
    root: &mut Map<String, Value>,
    format: Format,
    axes: &BTreeMap<&NodePath, Vec<usize>>,
    length: u64,
) -> Result<(), DocumentError> {
    let within = match format {
        Format::V3 => root.get_mut("consolidated_metadata").and_then(Value::as_object_mut),
        Format::V2 => Some(root),
    };
    let Some(copies) = within.and_then(|of| of.get_mut("metadata")).and_then(Value::as_object_mut) else {
        return Ok(());
    };
    for (path, axes) in axes {
        let name = match format {
            Format::V3 => path.as_str().to_owned(),
            Format::V2 => path.key(document::V2_ARRAY),
        };
        if let Some(copy) = copies.get_mut(&name).and_then(Value::as_object_mut) {
            set_lengths(key, copy, axes, length)?;
        }
    }
    Ok(())
}
