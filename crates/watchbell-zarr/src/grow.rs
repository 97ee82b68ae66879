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
    let mut changed: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (path, axes) in &axes {
        let key = path.key(name);
        let Some(bytes) = documents.get(&key) else { continue };
        let mut fields = document::read(&key, bytes)?;
        set_lengths(&key, &mut fields, axes, new_length)?;
        changed.insert(key, fields);
    }
    if hierarchy.is_consolidated {
        repeat(documents, hierarchy.format, &mut changed)?;
    }
    let mut written = BTreeMap::new();
    let mut after = documents.clone();
    for (key, fields) in changed {
        let bytes = document::write(&key, &fields)?;
        after.insert(key.clone(), bytes.clone());
        written.insert(key, bytes);
    }
    let grown = Grown { dimension: dimension.clone(), old_length, new_length, documents: written };
    Ok((Hierarchy::of(&after)?, grown))
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

/// Makes what groups repeat of the documents below them anew, out of those documents. What is not repeated stays so.
fn repeat(
    documents: &BTreeMap<String, Vec<u8>>,
    format: Format,
    changed: &mut BTreeMap<String, Map<String, Value>>,
) -> Result<(), DocumentError> {
    let repeats = |key: &&String| format == Format::V3 || key.ends_with(document::V2_CONSOLIDATED);
    for key in documents.keys().filter(repeats) {
        let read = |key: &String| match (changed.get(key), documents.get(key)) {
            (Some(fields), _) => Ok(Some(fields.clone())),
            (None, Some(bytes)) => document::read(key, bytes).map(Some),
            (None, None) => Ok(None),
        };
        let Some(mut fields) = read(key)? else { continue };
        let Some(copies) = document::copies_mut(format, &mut fields) else { continue };
        let base = key.rsplit_once('/').map_or(String::new(), |(base, _)| format!("{base}/"));
        for (place, copy) in copies.iter_mut() {
            let of = match format {
                Format::V3 => format!("{base}{place}/{}", document::ZARR_JSON),
                Format::V2 => format!("{base}{place}"),
            };
            let Some(mut now) = read(&of)? else { continue };
            // A copy of a group says that nothing is repeated in it: this is the place of that.
            let within = copy.as_object_mut().and_then(|copy| copy.shift_remove(CONSOLIDATED));
            now.shift_remove(CONSOLIDATED);
            now.extend(within.map(|within| (CONSOLIDATED.to_owned(), within)));
            *copy = Value::Object(now);
        }
        let is_other = document::read(key, documents.get(key).map_or(&[][..], Vec::as_slice))? != fields;
        if is_other {
            changed.insert(key.clone(), fields);
        }
    }
    Ok(())
}

const CONSOLIDATED: &str = "consolidated_metadata";
