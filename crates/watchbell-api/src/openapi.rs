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
use crate::resource::Scope;
use crate::schema::Table;

/// A kind that is asked with POST and answered, and never stored: a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub scope: Scope,
}

/// The document of a group and version (`batch`, `v1`; the core group is empty), or `None` when it is not served. `asked`: what
/// is asked, of all groups.
pub fn v3(group: &str, version: &str, asked: &[Asked]) -> Option<Value> {
    let served: Vec<Resource> =
        Resource::all().filter(|r| (r.info().group, r.info().version) == (group, version)).collect();
    let asked: Vec<Asked> =
        asked.iter().filter(|a| (a.group, a.version) == (group, version)).copied().collect();
    if served.is_empty() && asked.is_empty() {
        return None;
    }
    Some(document(&served, &asked))
}

/// The Swagger 2.0 document of everything.
pub fn v2(asked: &[Asked]) -> Value {
    let all: Vec<Resource> = Resource::all().collect();
    swagger::convert(document(&all, asked))
}

fn document(served: &[Resource], asked: &[Asked]) -> Value {
    let mut paths = Map::new();
    for resource in served {
        paths::add(*resource, &mut paths);
    }
    for asked in asked {
        paths::add_asked(asked, &mut paths);
    }
    paths.sort_keys();
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": format!("v{}", Table::get().version)},
        "paths": paths,
        "components": {
            "schemas": schemas::of(served, asked),
            "securitySchemes": {"BearerToken": {
                "type": "apiKey", "description": "Bearer token authentication", "name": "authorization", "in": "header",
            }},
        },
    })
}
