//! The metadata documents of a hierarchy: their names, and their JSON within bounds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value};

use crate::metadata::Format;
use crate::span;

pub(crate) const ZARR_JSON: &str = "zarr.json";
pub(crate) const V2_ARRAY: &str = ".zarray";
pub(crate) const V2_GROUP: &str = ".zgroup";
pub(crate) const V2_ATTRIBUTES: &str = ".zattrs";
/// All documents of a v2 hierarchy in one, at its root.
pub(crate) const V2_CONSOLIDATED: &str = ".zmetadata";

/// Consolidated metadata of thousands of arrays is a few MB.
const MAX_BYTES: usize = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("{key} has {bytes} bytes; at most {MAX_BYTES} are read")]
    TooLong { key: String, bytes: usize },
    #[error("{key} is not UTF-8")]
    Encoding { key: String },
    #[error("{key} is not JSON: {error}")]
    Syntax { key: String, error: serde_json::Error },
    #[error("{key}: {field}: {problem}")]
    Field { key: String, field: String, problem: String },
}

/// Whether a file of this name describes a node and holds no elements.
pub(crate) fn is_name(name: &str) -> bool {
    matches!(name, ZARR_JSON | V2_ARRAY | V2_GROUP | V2_ATTRIBUTES | V2_CONSOLIDATED)
}

pub(crate) fn text<'a>(key: &str, bytes: &'a [u8]) -> Result<&'a str, DocumentError> {
    if bytes.len() > MAX_BYTES {
        return Err(DocumentError::TooLong { key: key.to_owned(), bytes: bytes.len() });
    }
    std::str::from_utf8(bytes).map_err(|_| DocumentError::Encoding { key: key.to_owned() })
}

/// A document's fields. serde_json bounds the nesting (128 levels) by itself.
pub(crate) fn read(key: &str, bytes: &[u8]) -> Result<Map<String, Value>, DocumentError> {
    serde_json::from_str(&hide_literals(text(key, bytes)?))
        .map_err(|error| DocumentError::Syntax { key: key.to_owned(), error })
}

/// A character of Unicode's private use area, so that no attribute has it by chance.
const MARK: char = '\u{f5c7}';
const LITERALS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Python's `json` writes the numbers that JSON has no word for as bare words, and xarray's v2 stores are full of `NaN`. They
/// become marked strings.
fn hide_literals(text: &str) -> Cow<'_, str> {
    if !LITERALS[1..].iter().any(|word| text.contains(word)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 64);
    let (mut rest, mut in_string) = (text, false);
    while let Some(c) = rest.chars().next() {
        let word = (!in_string).then(|| LITERALS.iter().find(|word| rest.starts_with(*word))).flatten();
        if let Some(word) = word {
            out.extend(['"', MARK]);
            out.push_str(word);
            out.push('"');
            rest = &rest[word.len()..];
            continue;
        }
        if c == '"' {
            in_string = !in_string;
        }
        let mut taken = c.len_utf8();
        if in_string && c == '\\' {
            taken += rest[taken..].chars().next().map_or(0, char::len_utf8);
        }
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Cow::Owned(out)
}

/// What a document repeats of those below it, by their place from there (v3: a node's path, v2: a document's key).
pub(crate) fn copies(format: Format, of: &Map<String, Value>) -> Option<&Map<String, Value>> {
    let within = match format {
        Format::V3 => of.get("consolidated_metadata")?.as_object()?,
        Format::V2 => of,
    };
    within.get("metadata")?.as_object()
}

/// Where the same lie in a document's text, by their place.
pub(crate) fn copies_in(format: Format, text: &str) -> BTreeMap<String, Range<usize>> {
    let within = match format {
        Format::V3 => span::member(text, 0..text.len(), "consolidated_metadata"),
        Format::V2 => Some(0..text.len()),
    };
    let copies = within.and_then(|within| span::member(text, within, "metadata"));
    copies.map_or_else(BTreeMap::new, |copies| span::members(text, copies).into_iter().collect())
}

/// The fields of one document, with its key for the errors.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) key: &'a str,
    pub(crate) of: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(crate) fn wrong(&self, field: &str, problem: impl Into<String>) -> DocumentError {
        DocumentError::Field { key: self.key.to_owned(), field: field.to_owned(), problem: problem.into() }
    }

    pub(crate) fn get(&self, field: &str) -> Result<&'a Value, DocumentError> {
        self.of.get(field).ok_or_else(|| self.wrong(field, "is missing"))
    }

    /// The lengths of the dimensions of something, each at least `least`.
    pub(crate) fn lengths(&self, field: &str, value: &Value, least: u64) -> Result<Vec<u64>, DocumentError> {
        let list = value.as_array().ok_or_else(|| self.wrong(field, "must be a list of whole numbers"))?;
        if list.len() > crate::metadata::MAX_DIMENSIONS {
            let most = crate::metadata::MAX_DIMENSIONS;
            return Err(
                self.wrong(field, format!("has {} dimensions; at most {most} are handled", list.len()))
            );
        }
        let length = |value: &Value| value.as_u64().filter(|n| *n >= least && *n <= MAX_LENGTH);
        list.iter()
            .map(|value| {
                length(value).ok_or_else(|| {
                    self.wrong(field, format!("{value} is no length between {least} and {MAX_LENGTH}"))
                })
            })
            .collect()
    }
}

/// Sizes of files are signed: no dimension of a real array is longer.
pub(crate) const MAX_LENGTH: u64 = i64::MAX as u64;
