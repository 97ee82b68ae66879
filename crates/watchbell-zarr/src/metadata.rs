//! One node's metadata: what of it decides who owns which chunk. Data types, fill values and codecs other than sharding
//! are the library's business.

use serde_json::{Map, Value};

use crate::document::{DocumentError, Fields};
use crate::key::KeyEncoding;

/// numpy's limit.
pub const MAX_DIMENSIONS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    V2,
    V3,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Group,
    Array(ArrayMetadata),
}

/// An array's grid. All lists have one entry a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayMetadata {
    /// In elements.
    pub shape: Vec<u64>,
    /// Elements of what is one key in the store: a chunk, or a shard when the array is sharded. Never zero.
    pub chunk_shape: Vec<u64>,
    /// Of a sharded array: the chunks inside a shard. What zarr-python calls `chunks`.
    pub inner_chunk_shape: Option<Vec<u64>>,
    pub dimension_names: Vec<Option<String>>,
    pub encoding: KeyEncoding,
}

impl ArrayMetadata {
    /// How many chunks (shards) stand along each dimension: the shape divided by the chunk's, rounded up.
    pub fn grid_shape(&self) -> Vec<u64> {
        self.shape.iter().zip(&self.chunk_shape).map(|(length, chunk)| length.div_ceil(*chunk)).collect()
    }

    pub fn is_sharded(&self) -> bool {
        self.inner_chunk_shape.is_some()
    }

    /// The first dimension of that name.
    pub fn axis(&self, dimension: &str) -> Option<usize> {
        self.dimension_names.iter().position(|name| name.as_deref() == Some(dimension))
    }

    /// A name for people: the dimension's own, or its place.
    pub fn axis_name(&self, axis: usize) -> String {
        match self.dimension_names.get(axis) {
            Some(Some(name)) => name.clone(),
            _ => format!("dimension {axis}"),
        }
    }
}

/// What a `zarr.json` says.
pub(crate) fn v3_node(fields: Fields<'_>) -> Result<Node, DocumentError> {
    check_format(fields, 3)?;
    match fields.get("node_type")?.as_str() {
        Some("group") => {
            check_known(fields, "", &["zarr_format", "node_type", "attributes", "consolidated_metadata"])?;
            Ok(Node::Group)
        }
        Some("array") => v3_array(fields).map(Node::Array),
        _ => Err(fields.wrong("node_type", "must be \"array\" or \"group\"")),
    }
}

fn v3_array(fields: Fields<'_>) -> Result<ArrayMetadata, DocumentError> {
    let known = [
        "zarr_format",
        "node_type",
        "shape",
        "data_type",
        "chunk_grid",
        "chunk_key_encoding",
        "fill_value",
        "codecs",
        "attributes",
        "storage_transformers",
        "dimension_names",
    ];
    check_known(fields, "", &known)?;
    if fields.of.get("storage_transformers").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
        return Err(
            fields.wrong("storage_transformers", "none is handled: they may move chunks to other keys")
        );
    }
    let shape = fields.lengths("shape", fields.get("shape")?, 0)?;
    let (grid, configuration) = extension(fields, "chunk_grid", fields.get("chunk_grid")?)?;
    if grid != "regular" {
        return Err(fields.wrong("chunk_grid", format!("{grid:?} is not handled; only \"regular\" is")));
    }
    let at = "chunk_grid.configuration.chunk_shape";
    let Some(value) = configuration.and_then(|c| c.get("chunk_shape")) else {
        return Err(fields.wrong(at, "is missing"));
    };
    let chunk_shape = fields.lengths(at, value, 1)?;
    check_dimensions(fields, at, chunk_shape.len(), shape.len())?;
    let encoding = match fields.of.get("chunk_key_encoding") {
        None => return Err(fields.wrong("chunk_key_encoding", "is missing")),
        Some(value) => key_encoding(fields, value)?,
    };
    let inner_chunk_shape = inner_chunks(fields, &chunk_shape)?;
    let dimension_names = match fields.of.get("dimension_names") {
        None | Some(Value::Null) => vec![None; shape.len()],
        Some(value) => names(fields, "dimension_names", value, shape.len())?,
    };
    Ok(ArrayMetadata { shape, chunk_shape, inner_chunk_shape, dimension_names, encoding })
}

fn key_encoding(fields: Fields<'_>, value: &Value) -> Result<KeyEncoding, DocumentError> {
    let (name, configuration) = extension(fields, "chunk_key_encoding", value)?;
    let separator = match configuration.and_then(|c| c.get("separator")) {
        None => None,
        Some(Value::String(text)) if text == "/" => Some('/'),
        Some(Value::String(text)) if text == "." => Some('.'),
        Some(other) => {
            let problem = format!("{other} is neither \"/\" nor \".\"");
            return Err(fields.wrong("chunk_key_encoding.configuration.separator", problem));
        }
    };
    match name {
        "default" => Ok(KeyEncoding::Default { separator: separator.unwrap_or('/') }),
        "v2" => Ok(KeyEncoding::V2 { separator: separator.unwrap_or('.') }),
        _ => {
            let problem = format!("{name:?} is not handled; only \"default\" and \"v2\" are");
            Err(fields.wrong("chunk_key_encoding", problem))
        }
    }
}

/// The inner chunks, when a codec is `sharding_indexed`. One inside another shard changes nothing for its owner.
fn inner_chunks(fields: Fields<'_>, chunk_shape: &[u64]) -> Result<Option<Vec<u64>>, DocumentError> {
    let codecs = fields.get("codecs")?.as_array().ok_or_else(|| fields.wrong("codecs", "must be a list"))?;
    for codec in codecs {
        let (name, configuration) = extension(fields, "codecs", codec)?;
        if name != "sharding_indexed" {
            continue;
        }
        let at = "codecs.sharding_indexed.configuration.chunk_shape";
        let Some(value) = configuration.and_then(|c| c.get("chunk_shape")) else {
            return Err(fields.wrong(at, "is missing"));
        };
        let inner = fields.lengths(at, value, 1)?;
        check_dimensions(fields, at, inner.len(), chunk_shape.len())?;
        return Ok(Some(inner));
    }
    Ok(None)
}

/// What a `.zarray` says, with the attributes of its `.zattrs`.
pub(crate) fn v2_array(
    fields: Fields<'_>,
    attributes: Option<Fields<'_>>,
) -> Result<ArrayMetadata, DocumentError> {
    check_format(fields, 2)?;
    let shape = fields.lengths("shape", fields.get("shape")?, 0)?;
    let chunk_shape = fields.lengths("chunks", fields.get("chunks")?, 1)?;
    check_dimensions(fields, "chunks", chunk_shape.len(), shape.len())?;
    let separator = match fields.of.get("dimension_separator") {
        None | Some(Value::Null) => '.',
        Some(Value::String(text)) if text == "." => '.',
        Some(Value::String(text)) if text == "/" => '/',
        Some(other) => {
            return Err(fields.wrong("dimension_separator", format!("{other} is neither \".\" nor \"/\"")));
        }
    };
    let dimension_names = match attributes.and_then(|a| Some((a, a.of.get("_ARRAY_DIMENSIONS")?))) {
        None => vec![None; shape.len()],
        Some((attributes, value)) => names(attributes, "_ARRAY_DIMENSIONS", value, shape.len())?,
    };
    let encoding = KeyEncoding::V2 { separator };
    Ok(ArrayMetadata { shape, chunk_shape, inner_chunk_shape: None, dimension_names, encoding })
}

pub(crate) fn v2_group(fields: Fields<'_>) -> Result<(), DocumentError> {
    check_format(fields, 2)
}

fn check_format(fields: Fields<'_>, format: u64) -> Result<(), DocumentError> {
    match fields.get("zarr_format")?.as_u64() {
        Some(found) if found == format => Ok(()),
        _ => Err(fields.wrong("zarr_format", format!("must be {format}"))),
    }
}

fn check_dimensions(
    fields: Fields<'_>,
    field: &str,
    found: usize,
    expected: usize,
) -> Result<(), DocumentError> {
    if found == expected {
        return Ok(());
    }
    Err(fields.wrong(field, format!("has {found} dimensions, and the array has {expected}")))
}

fn names(
    fields: Fields<'_>,
    field: &str,
    value: &Value,
    dimensions: usize,
) -> Result<Vec<Option<String>>, DocumentError> {
    let list = value.as_array().ok_or_else(|| fields.wrong(field, "must be a list"))?;
    check_dimensions(fields, field, list.len(), dimensions)?;
    let name = |value: &Value| match value {
        Value::Null => Ok(None),
        Value::String(name) => Ok(Some(name.clone())),
        other => Err(fields.wrong(field, format!("{other} is neither a name nor null"))),
    };
    list.iter().map(name).collect()
}

type Extension<'a> = (&'a str, Option<&'a Map<String, Value>>);

/// The name and configuration of an extension point. Specification 3.1 also allows the bare name.
fn extension<'a>(fields: Fields<'_>, field: &str, value: &'a Value) -> Result<Extension<'a>, DocumentError> {
    match value {
        Value::String(name) => Ok((name, None)),
        Value::Object(object) => {
            let Some(name) = object.get("name").and_then(Value::as_str) else {
                return Err(fields.wrong(field, "must have a name"));
            };
            Ok((name, object.get("configuration").and_then(Value::as_object)))
        }
        _ => Err(fields.wrong(field, "must be a name, or an object with one")),
    }
}

/// A field that is not of the specification must say that it may be passed over (v3 core, section "Extension definitions").
fn check_known(fields: Fields<'_>, within: &str, known: &[&str]) -> Result<(), DocumentError> {
    for (name, value) in fields.of {
        let may_be_ignored = value.get("must_understand").and_then(Value::as_bool) == Some(false);
        if !known.contains(&name.as_str()) && !may_be_ignored {
            let problem = "is not of Zarr v3 and does not say \"must_understand\": false";
            return Err(fields.wrong(&format!("{within}{name}"), problem));
        }
    }
    Ok(())
}
