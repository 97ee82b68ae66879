//! The OpenAPI documents that clients validate against and explain from, made from the schema table.
//!
//! ```text
//!   schema table ──schemas──▶ components.schemas ┐
//!   resources    ──paths────▶ paths              ├─▶ v3(group, version)
//!   descriptions.txt ────────────────────────────┘        └──swagger──▶ v2()
//! ```
//!
//! Names, extensions and operations are Kubernetes' own: `kubectl apply` looks for the `fieldValidation` parameter of a
//! kind's patch operation and for the merge keys of its fields, `kubectl explain` for the kind of a path.

mod describe;
mod paths;
mod schemas;
mod swagger;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use crate::Resource;
use crate::schema::Table;

/// The document of a group and version (`batch`, `v1`; the core group is empty), or `None` when it is not served.
pub fn v3(group: &str, version: &str) -> Option<Value> {
    let served: Vec<Resource> =
        Resource::all().filter(|r| (r.info().group, r.info().version) == (group, version)).collect();
    if served.is_empty() {
        return None;
    }
    Some(document(&served))
}

/// The Swagger 2.0 document of everything.
pub fn v2() -> Value {
    let all: Vec<Resource> = Resource::all().collect();
    swagger::convert(document(&all))
}

fn document(served: &[Resource]) -> Value {
    let mut paths = Map::new();
    for resource in served {
        paths::add(*resource, &mut paths);
    }
    paths.sort_keys();
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": format!("v{}", Table::get().version)},
        "paths": paths,
        "components": {
            "schemas": schemas::of(served),
            "securitySchemes": {"BearerToken": {
                "type": "apiKey", "description": "Bearer token authentication", "name": "authorization", "in": "header",
            }},
        },
    })
}
