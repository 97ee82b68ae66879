//! The shape of every kind, from one generated table, and the check that a value has it.
//!
//! The table drives what is a known field, which JSON type it has, how lists merge in a strategic merge patch, what the
//! OpenAPI documents say, and where defaults apply ([`crate::defaults`] walks by it).

mod check;
mod scalar;
mod table;

#[cfg(test)]
mod tests;

pub use check::{Prune, SchemaReport, TypeError, check, check_type};
pub use table::{Field, List, Patch, Scalar, Shape, Table, Type, TypeId};

use crate::Resource;

/// The type of a resource's objects.
pub fn type_of(resource: Resource) -> TypeId {
    let info = resource.info();
    Table::get()
        .find_kind(info.group, info.version, info.kind)
        .expect("the table holds every resource that is served; a test checks it")
}
