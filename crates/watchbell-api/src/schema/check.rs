//! Reads a value as Go's typed decoder does: wrong JSON types are errors, unknown fields are reported, and what a decoded
//! struct does not hold (nulls, empty optional lists and maps) is gone afterwards. Quantities and times become canonical.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Field, Scalar, Shape, Table, TypeId};
use crate::Resource;
use crate::quantity::Quantity;

/// At most so many findings are reported; a hostile object has as many as it has bytes.
const FINDINGS_MAX: usize = 64;

/// What becomes of unknown fields, beside being reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// They are removed, as decoding into a struct does.
    Unknown,
    Nothing,
}

/// What a value has that its type does not, and what has the wrong JSON type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchemaReport {
    /// The request cannot be served: `400 BadRequest`.
    pub type_errors: Vec<TypeError>,
    /// `spec.template.spec.containers[0].imag`; at most 64.
    pub unknown: Vec<String>,
}

/// A value of the wrong JSON type, worded as Go's decoder words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TypeError {
    /// `spec.template.spec.containers[0].image`
    pub field: String,
    /// `json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.image of type string`
    pub detail: String,
}

/// Checks an object of a resource and brings it into the form in which it is stored. Running it again changes nothing.
pub fn check(resource: Resource, object: &mut Value, prune: Prune) -> SchemaReport {
    check_type(super::type_of(resource), object, prune)
}

/// As [`check`], for any type of the table (options, reviews, the `Eviction` of a pod).
pub fn check_type(id: TypeId, object: &mut Value, prune: Prune) -> SchemaReport {
    let mut checker = Checker { table: Table::get(), prune, report: SchemaReport::default(), path: Vec::new() };
    if checker.value(&Shape::Object(id), None, object) == Keep::No {
        *object = Value::Object(Map::new());
    }
    checker.report
}

#[derive(Clone, Copy)]
enum Segment<'a> {
    Key(&'a str),
    Index(usize),
}

/// Whether a value says anything at all.
#[derive(PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

/// The struct and field that a message names.
#[derive(Clone, Copy)]
struct Owner {
    type_id: TypeId,
    is_required: bool,
}

struct Checker<'t> {
    table: &'t Table,
    prune: Prune,
    report: SchemaReport,
    path: Vec<OwnedSegment>,
}

/// A step of the path. Keys come from the table where they are known; only keys of maps are copied, and only on errors.
enum OwnedSegment {
    Field(&'static str),
    MapKey(*const str),
    Index(usize),
}

impl Checker<'_> {
    fn value(&mut self, shape: &Shape, owner: Option<Owner>, value: &mut Value) -> Keep {
        let _ = (shape, owner, value, self.table, self.prune, &self.path, &self.report);
        unimplemented!("bodies follow")
    }
}
