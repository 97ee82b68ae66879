//! Reads a value as Go's typed decoder does: wrong JSON types are errors, unknown fields are reported, and what a decoded
//! struct does not hold (nulls, empty optional lists, maps and texts) is gone afterwards. Quantities and times become
//! canonical.

use std::fmt;

use serde_json::{Map, Value};

use super::{Shape, Table, TypeId, scalar};
use crate::Resource;

/// At most so many findings are reported; a hostile object has as many as it has bytes.
const FINDINGS_MAX: usize = 64;

/// How much of a key and of a whole path is shown.
const KEY_SHOWN_MAX: usize = 128;
const PATH_SHOWN_MAX: usize = 1024;

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
    /// The request cannot be served: `400 BadRequest`; at most 64.
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
    let mut checker = Checker { table: Table::get(), prune, report: SchemaReport::default() };
    if object.is_null() {
        *object = Value::Object(Map::new());
    }
    checker.value(&Shape::Object(id), None, &Path::Root, object);
    checker.report
}

/// Where the checker is, as a list on the stack: nothing is allocated unless a finding prints it.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    MapKey(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    /// `spec.containers[0].image`, cut where it gets absurd.
    fn shown(&self) -> String {
        let mut text = self.to_string();
        if let Some((cut, _)) = text.char_indices().nth(PATH_SHOWN_MAX) {
            text.truncate(cut);
            text.push('…');
        }
        text
    }

    /// The fields alone, as Go's decoder names them: `spec.containers.image`.
    fn go_fields(&self) -> String {
        match self {
            Path::Root => String::new(),
            Path::MapKey(parent, _) | Path::Index(parent, _) => parent.go_fields(),
            Path::Field(parent, name) => match parent.go_fields() {
                before if before.is_empty() => (*name).to_owned(),
                before => format!("{before}.{name}"),
            },
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, key) | Path::MapKey(Path::Root, key) => f.write_str(cut(key)),
            Path::Field(parent, key) | Path::MapKey(parent, key) => write!(f, "{parent}.{}", cut(key)),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

fn cut(key: &str) -> &str {
    key.char_indices().nth(KEY_SHOWN_MAX).map_or(key, |(end, _)| &key[..end])
}

/// Whether a value says anything at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

struct Checker<'t> {
    table: &'t Table,
    prune: Prune,
    report: SchemaReport,
}

impl Checker<'_> {
    /// `owner` is the innermost Go struct, which messages name.
    fn value(&mut self, shape: &Shape, owner: Option<TypeId>, path: &Path<'_>, value: &mut Value) -> Keep {
        match (shape, &mut *value) {
            (_, Value::Null) => return Keep::No,
            (Shape::Object(id), Value::Object(map)) => {
                self.object(*id, path, map);
                return Keep::Yes;
            }
            (Shape::List(item), Value::Array(items)) => {
                for (i, entry) in items.iter_mut().enumerate() {
                    self.entry(item, owner, &Path::Index(path, i), entry);
                }
                return if items.is_empty() { Keep::No } else { Keep::Yes };
            }
            (Shape::Map(item), Value::Object(map)) => {
                for (key, entry) in map.iter_mut() {
                    self.entry(item, owner, &Path::MapKey(path, key), entry);
                }
                return if map.is_empty() { Keep::No } else { Keep::Yes };
            }
            (Shape::Scalar(kind), _) => match scalar::canonical(*kind, value) {
                Ok(()) => return Keep::Yes,
                Err(scalar::Wrong::Content(detail)) => {
                    self.type_error(path, format!("{}: {detail}", path.shown()));
                    return Keep::Yes;
                }
                Err(scalar::Wrong::Type) => {}
            },
            (Shape::Object(_) | Shape::List(_) | Shape::Map(_), _) => {}
        }
        let into = match owner {
            Some(id) => format!("struct field {}.{}", self.table.type_of(id).go_name(), path.go_fields()),
            None => "value".to_owned(),
        };
        let found = scalar::json_name(shape, value);
        let wanted = self.go_type(shape);
        self.type_error(path, format!("json: cannot unmarshal {found} into Go {into} of type {wanted}"));
        Keep::Yes
    }

    fn object(&mut self, id: TypeId, path: &Path<'_>, map: &mut Map<String, Value>) {
        let table = self.table;
        let of = table.type_of(id);
        map.retain(|key, value| match of.field(key) {
            Some(field) => {
                let keep = self.value(&field.shape, Some(id), &Path::Field(path, field.name), value);
                match keep {
                    Keep::No => field.is_required && !value.is_null(),
                    Keep::Yes => field.is_required || !scalar::is_unset(field, value),
                }
            }
            None => {
                if self.report.unknown.len() < FINDINGS_MAX {
                    self.report.unknown.push(Path::Field(path, key).shown());
                }
                self.prune == Prune::Nothing
            }
        });
    }

    /// An entry of a list or map stays where it is; a null one is the zero value there.
    fn entry(&mut self, shape: &Shape, owner: Option<TypeId>, path: &Path<'_>, entry: &mut Value) {
        if entry.is_null() {
            *entry = scalar::zero(shape);
        }
        self.value(shape, owner, path, entry);
    }

    fn type_error(&mut self, path: &Path<'_>, detail: String) {
        if self.report.type_errors.len() < FINDINGS_MAX {
            self.report.type_errors.push(TypeError { field: path.shown(), detail });
        }
    }

    /// `[]v1.Container`
    fn go_type(&self, shape: &Shape) -> String {
        match shape {
            Shape::Scalar(kind) => kind.go_name().to_owned(),
            Shape::List(item) => format!("[]{}", self.go_type(item)),
            Shape::Map(item) => format!("map[string]{}", self.go_type(item)),
            Shape::Object(id) => {
                let name = self.table.type_of(*id).name;
                let package = name.rfind('.').and_then(|dot| name[..dot].rfind('.'));
                package.map_or(name, |dot| &name[dot + 1..]).to_owned()
            }
        }
    }
}
