//! `components.schemas`: the kinds that are served, their lists, and all they refer to.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Asked, describe};
use crate::Resource;
use crate::schema::{Field, List, Scalar, Shape, Table, Type, TypeId, type_of};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// `batch.v1.Job` as Kubernetes' documents name it: `io.k8s.api.batch.v1.Job`.
pub(super) fn full_name(name: &str) -> String {
    let groups = [
        ("meta.v1.", "io.k8s.apimachinery.pkg.apis.meta.v1."),
        ("watchbell.", "dev.watchbell.api."),
        ("aquasecurity.", "io.github.aquasecurity."),
    ];
    let own = groups.iter().find_map(|(group, full)| Some(format!("{full}{}", name.strip_prefix(group)?)));
    own.unwrap_or_else(|| format!("io.k8s.api.{name}"))
}

/// A reference to a schema.
pub(super) fn reference(full_name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{full_name}")})
}

/// The schema's name of a resource's objects.
pub(super) fn object_name(resource: Resource) -> String {
    full_name(Table::get().type_of(type_of(resource)).name)
}

/// The schema's name of a kind that is asked.
pub(super) fn asked_name(asked: &Asked) -> Option<String> {
    asked_type(asked).map(|id| full_name(Table::get().type_of(id).name))
}

fn asked_type(asked: &Asked) -> Option<TypeId> {
    Table::get().find_kind(asked.group, asked.version, asked.kind)
}

/// The bodies of our own subresources, which no table of Kubernetes has: a name, and which indexes.
pub(super) const TRIGGER: &str = "dev.watchbell.v1alpha1.Trigger";
pub(super) const RERUN: &str = "dev.watchbell.v1alpha1.Rerun";
pub(super) const ROLLBACK: &str = "dev.watchbell.v1alpha1.Rollback";

fn text(description: &str) -> Value {
    json!({"description": description, "type": "string"})
}

fn of_operators() -> [(&'static str, Value); 2] {
    let body = |description: &str, more: Value| {
        let mut properties = json!({
            "apiVersion": text("watchbell.dev/v1alpha1"), "kind": text("The kind of this body."),
            "jobName": text("The new Job's name; without one the server makes one up."),
        });
        if let (Some(properties), Value::Object(more)) = (properties.as_object_mut(), more) {
            properties.extend(more);
        }
        json!({"description": description, "type": "object", "properties": properties})
    };
    let indexes = json!({"indexes": {
        "description": "Which indexes run: All, or those that did not succeed.", "type": "string",
        "enum": ["All", "Failed"], "default": "All",
    }});
    [
        (TRIGGER, body("Starts a CronJob's Job now.", json!({}))),
        (RERUN, body("Runs an ended Job again, as a new one.", indexes)),
    ]
}

fn of_array_operators() -> Value {
    json!({
        "description": "Lets the head of a data array be what an older snapshot was.", "type": "object",
        "required": ["to"],
        "properties": {
            "apiVersion": text("watchbell.dev/v1alpha1"), "kind": text("The kind of this body."),
            "to": text("The snapshot: a tag, its digest or at least four digits of one."),
            "unsignedOk": {
                "description": "Signs also a snapshot that the server did not sign when it became the head; to is its whole digest.",
                "type": "boolean", "default": false,
            },
        },
    })
}

/// The schemas of resources and of what is asked, sorted by name.
pub(super) fn of(served: &[Resource], asked: &[Asked]) -> Map<String, Value> {
    let table = Table::get();
    let find =
        |name: &str| table.find(name).expect("the table holds what every API speaks of; a test checks it");
    let spoken = ["meta.v1.DeleteOptions", "meta.v1.Status", "meta.v1.ListMeta"].map(find);
    let mut scalars = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open: Vec<TypeId> =
        served.iter().map(|r| type_of(*r)).chain(asked.iter().filter_map(asked_type)).chain(spoken).collect();
    let mut schemas = Map::new();
    while let Some(id) = open.pop() {
        let read = table.type_of(id);
        if !seen.insert(read.name) {
            continue;
        }
        schemas.insert(full_name(read.name), type_schema(read));
        for field in &read.fields {
            collect(&field.shape, &mut open, &mut scalars);
        }
    }
    for scalar in scalars {
        schemas.insert(scalar.into(), scalar_definition(scalar));
    }
    for resource in served {
        schemas.insert(format!("{}List", object_name(*resource)), list_schema(*resource));
    }
    schemas.insert(
        format!("{META}.Patch"),
        json!({"description": "A patch, in the form of its media type.", "type": "object"}),
    );
    schemas.insert(format!("{META}.WatchEvent"), watch_event());
    if served.contains(&Resource::CronJob) {
        schemas.extend(of_operators().map(|(name, schema)| (name.to_owned(), schema)));
    }
    if served.contains(&Resource::DataArray) {
        schemas.insert(ROLLBACK.to_owned(), of_array_operators());
    }
    schemas.sort_keys();
    schemas
}

fn collect(shape: &Shape, open: &mut Vec<TypeId>, scalars: &mut BTreeSet<&'static str>) {
    match shape {
        Shape::Object(id) => open.push(*id),
        Shape::List(item) | Shape::Map(item) => collect(item, open, scalars),
        Shape::Scalar(scalar) => scalars.extend(defined_scalar(*scalar)),
    }
}

/// Scalars that have a schema of their own.
fn defined_scalar(scalar: Scalar) -> Option<&'static str> {
    match scalar {
        Scalar::Quantity => Some("io.k8s.apimachinery.pkg.api.resource.Quantity"),
        Scalar::IntOrString => Some("io.k8s.apimachinery.pkg.util.intstr.IntOrString"),
        Scalar::Time => Some("io.k8s.apimachinery.pkg.apis.meta.v1.Time"),
        Scalar::MicroTime => Some("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"),
        Scalar::Any => Some("io.k8s.apimachinery.pkg.runtime.RawExtension"),
        Scalar::Bool | Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::String | Scalar::Bytes => {
            None
        }
    }
}

fn scalar_definition(name: &str) -> Value {
    match name.rsplit('.').next() {
        Some("Quantity") => json!({
            "description": "An amount: a number with an optional suffix (m, k, M, G, Ki, Mi, Gi and so on).",
            "oneOf": [{"type": "string"}, {"type": "number"}],
        }),
        Some("IntOrString") => json!({
            "description": "A whole number or a string.",
            "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}],
        }),
        Some("Time") => {
            json!({"description": "A time, RFC 3339, in seconds.", "type": "string", "format": "date-time"})
        }
        Some("MicroTime") => {
            json!({"description": "A time, RFC 3339, in microseconds.", "type": "string", "format": "date-time"})
        }
        _ => json!({"description": "Any JSON.", "type": "object"}),
    }
}

fn type_schema(read: &Type) -> Value {
    let mut schema = Map::new();
    if let Some(text) = describe::type_named(read.name) {
        schema.insert("description".into(), text.into());
    }
    schema.insert("type".into(), "object".into());
    let required: Vec<&str> = read.fields.iter().filter(|f| f.is_required).map(|f| f.name).collect();
    if !required.is_empty() {
        schema.insert("required".into(), required.into());
    }
    let properties: Map<String, Value> =
        read.fields.iter().map(|field| (field.name.to_owned(), field_schema(read, field))).collect();
    if !properties.is_empty() {
        schema.insert("properties".into(), Value::Object(properties));
    }
    if let Some([group, version, kind]) = read.kind {
        schema.insert("x-kubernetes-group-version-kind".into(), json!([gvk(group, version, kind)]));
    }
    if read.is_atomic {
        schema.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    Value::Object(schema)
}

pub(super) fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "kind": kind, "version": version})
}

fn field_schema(owner: &Type, field: &Field) -> Value {
    let mut schema = shape_schema(&field.shape);
    if let Some(text) = describe::field_of(owner, field.name) {
        // In front, where a reader looks for it.
        schema.shift_insert(0, "description".into(), text.into());
    }
    if let Some(key) = field.patch.merge_key {
        schema.insert("x-kubernetes-patch-merge-key".into(), key.into());
    }
    let strategy: Vec<&str> = [("merge", field.patch.is_merged), ("retainKeys", field.patch.retains_keys)]
        .into_iter()
        .filter_map(|(word, is_set)| is_set.then_some(word))
        .collect();
    if !strategy.is_empty() {
        schema.insert("x-kubernetes-patch-strategy".into(), strategy.join(",").into());
    }
    let is_map = matches!(field.shape, Shape::Map(_));
    match &field.list {
        List::Unstated => {}
        List::Atomic if is_map => {
            schema.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        List::Atomic => {
            schema.insert("x-kubernetes-list-type".into(), "atomic".into());
        }
        List::Set => {
            schema.insert("x-kubernetes-list-type".into(), "set".into());
        }
        List::Map(keys) => {
            schema.insert("x-kubernetes-list-map-keys".into(), json!(keys));
            schema.insert("x-kubernetes-list-type".into(), "map".into());
        }
    }
    Value::Object(schema)
}

/// The schema of a value. References stand in an `allOf`, because beside a `$ref` nothing else is read.
fn shape_schema(shape: &Shape) -> Map<String, Value> {
    let plain = |kind: &str, format: &str| {
        let mut schema = Map::new();
        schema.insert("type".into(), kind.into());
        if !format.is_empty() {
            schema.insert("format".into(), format.into());
        }
        schema
    };
    let all_of = |name: &str| {
        let mut schema = Map::new();
        schema.insert("allOf".into(), json!([reference(name)]));
        schema
    };
    match shape {
        Shape::Object(id) => all_of(&full_name(Table::get().type_of(*id).name)),
        Shape::List(item) => {
            let mut schema = plain("array", "");
            schema.insert("items".into(), Value::Object(shape_schema(item)));
            schema
        }
        Shape::Map(item) => {
            let mut schema = plain("object", "");
            schema.insert("additionalProperties".into(), Value::Object(shape_schema(item)));
            schema
        }
        Shape::Scalar(scalar) => match scalar {
            Scalar::Bool => plain("boolean", ""),
            Scalar::Int32 => plain("integer", "int32"),
            Scalar::Int64 => plain("integer", "int64"),
            Scalar::Double => plain("number", "double"),
            Scalar::String => plain("string", ""),
            Scalar::Bytes => plain("string", "byte"),
            Scalar::Quantity | Scalar::IntOrString | Scalar::Time | Scalar::MicroTime | Scalar::Any => {
                all_of(defined_scalar(*scalar).unwrap_or_default())
            }
        },
    }
}

fn list_schema(resource: Resource) -> Value {
    let info = resource.info();
    json!({
        "description": format!("A list of objects of kind {}.", info.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "items": {"type": "array", "items": {"allOf": [reference(&object_name(resource))]}},
            "kind": {"type": "string"},
            "metadata": {"allOf": [reference(&format!("{META}.ListMeta"))]},
        },
        "x-kubernetes-group-version-kind": [gvk(info.group, info.version, &format!("{}List", info.kind))],
    })
}

fn watch_event() -> Value {
    json!({
        "description": "What happened to an object that is watched.",
        "type": "object",
        "required": ["type", "object"],
        "properties": {
            "object": {
                "description": "The object as it is now; of ERROR a Status.", "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
            },
            "type": {"description": "ADDED, MODIFIED, DELETED, BOOKMARK or ERROR.", "type": "string"},
        },
    })
}
