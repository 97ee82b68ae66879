//! The forms in which objects are shown: whole, as rows of a Table, or their metadata alone.

use serde_json::{Map, Value, json};
use watchbell_api::{ApiError, Resource, convert, table};
use watchbell_core::world::Stored;

use crate::request::Query;
use crate::request::accept::Shape;

/// What stands in a row's `object` (`includeObject` of meta/v1's TableOptions).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Object,
}

impl Include {
    pub(crate) fn read(query: &Query) -> Result<Include, ApiError> {
        match query.get("includeObject") {
            None | Some("Metadata") => Ok(Include::Metadata),
            Some("None") => Ok(Include::Nothing),
            Some("Object") => Ok(Include::Object),
            Some(other) => Err(ApiError::bad_request(format!(
                "includeObject is {other:?}: None, Metadata and Object are known"
            ))),
        }
    }
}

/// A stored object in the form of the resource that was asked for.
pub(crate) fn shown(resource: Resource, stored: &Stored) -> Value {
    convert::from_stored(resource, stored.render())
}

/// One object in the form asked for. A `Status` stays one.
pub(crate) fn one(resource: Resource, shape: Shape, include: Include, object: Value, now: i64) -> Value {
    let is_object = object["kind"] == resource.info().kind;
    match shape {
        Shape::Table if is_object => {
            let version = object["metadata"]["resourceVersion"].clone();
            json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version},
                "columnDefinitions": table::columns(resource), "rows": [row(resource, include, object, now)],
            })
        }
        Shape::Metadata if is_object => metadata_only(object),
        _ => object,
    }
}

/// A row of a Table.
pub(crate) fn row(resource: Resource, include: Include, object: Value, now: i64) -> Value {
    let cells = table::cells(resource, &object, now);
    match include {
        Include::Nothing => json!({"cells": cells}),
        Include::Metadata => json!({"cells": cells, "object": metadata_only(object)}),
        Include::Object => json!({"cells": cells, "object": object}),
    }
}

pub(crate) fn metadata_only(mut object: Value) -> Value {
    let mut out = Map::new();
    out.insert("kind".into(), "PartialObjectMetadata".into());
    out.insert("apiVersion".into(), "meta.k8s.io/v1".into());
    out.insert("metadata".into(), object["metadata"].take());
    Value::Object(out)
}

/// What names the kind of a list and what its elements are called.
pub(crate) fn list_frame(resource: Resource, shape: Shape) -> (String, String, &'static str) {
    let info = resource.info();
    match shape {
        Shape::Table => ("Table".into(), "meta.k8s.io/v1".into(), "rows"),
        Shape::MetadataList | Shape::Metadata => {
            ("PartialObjectMetadataList".into(), "meta.k8s.io/v1".into(), "items")
        }
        _ => (format!("{}List", info.kind), info.api_version(), "items"),
    }
}
