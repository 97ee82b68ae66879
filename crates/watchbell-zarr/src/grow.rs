//! Growth of a hierarchy before a run: `extend: {dim: time, by: 24}` makes every array with that dimension longer.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Map;

use crate::document::{self, DocumentError, Fields};
use crate::hierarchy::{Hierarchy, HierarchyError};
use crate::metadata::Format;
use crate::path::NodePath;
use crate::rule::Extend;
use crate::span;

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

/// Makes a dimension longer, in the documents of the arrays that have it and in what groups repeat of them. Every other byte of
/// those documents stays as it was.
pub fn grow(documents: &BTreeMap<String, Vec<u8>>, extend: &Extend) -> Result<(Hierarchy, Grown), GrowError> {
    let hierarchy = Hierarchy::of(documents)?;
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
    let grown: BTreeMap<String, &Vec<usize>> =
        axes.iter().map(|(path, axes)| (path.key(name), axes)).collect();
    let (mut written, mut after) = (BTreeMap::new(), documents.clone());
    for (key, bytes) in documents {
        let repeats = hierarchy.is_consolidated
            && (hierarchy.format == Format::V3 || key.ends_with(document::V2_CONSOLIDATED));
        if !repeats && !grown.contains_key(key) {
            continue;
        }
        let text = document::text(key, bytes)?;
        let mut changes = Vec::new();
        if let Some(axes) = grown.get(key) {
            set_lengths(key, text, 0..text.len(), axes, new_length, &mut changes)?;
        }
        if repeats {
            let base = key.rsplit_once('/').map_or(String::new(), |(base, _)| format!("{base}/"));
            for (place, copy) in document::copies_in(hierarchy.format, text) {
                let of = match hierarchy.format {
                    Format::V3 => format!("{base}{place}/{}", document::ZARR_JSON),
                    Format::V2 => format!("{base}{place}"),
                };
                if let Some(axes) = grown.get(&of) {
                    set_lengths(key, text, copy, axes, new_length, &mut changes)?;
                }
            }
        }
        if !changes.is_empty() {
            let bytes = span::replaced(text, changes).into_bytes();
            after.insert(key.clone(), bytes.clone());
            written.insert(key.clone(), bytes);
        }
    }
    let after = Hierarchy::of(&after)?;
    // A bare word may be a member's name for who reads: what comes behind it is not found to be changed.
    for (path, axes) in &axes {
        let shape = after.array(path).map(|array| array.shape.as_slice()).unwrap_or_default();
        if axes.iter().any(|axis| shape.get(*axis) != Some(&new_length)) {
            let (key, problem) =
                (path.key(name), "is not found where it is read: write the document anew as JSON");
            return Err(Fields { key: &key, of: &Map::new() }.wrong("shape", problem).into());
        }
    }
    let grown = Grown { dimension: dimension.clone(), old_length, new_length, documents: written };
    Ok((after, grown))
}

/// The lengths of these axes in the shape of what describes an array.
fn set_lengths(
    key: &str,
    text: &str,
    of: Range<usize>,
    axes: &[usize],
    length: u64,
    changes: &mut Vec<(Range<usize>, String)>,
) -> Result<(), DocumentError> {
    let wrong = || Fields { key, of: &Map::new() }.wrong("shape", "does not fit the array's");
    let shape = span::elements(text, span::member(text, of, "shape").ok_or_else(wrong)?);
    for axis in axes {
        changes.push((shape.get(*axis).cloned().ok_or_else(wrong)?, length.to_string()));
    }
    Ok(())
}
