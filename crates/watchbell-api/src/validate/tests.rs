mod bounds;
mod data;
mod honest;
mod images;
mod job;
mod job_policies;
mod metadata;
mod pod;
mod policies;
mod rbac;
mod storage;
mod typed;
mod update;
mod warnings;

use serde_json::{Value, json};

use super::{create, update};
use crate::{Resource, decode, defaults, schema};

/// An object as it stands when it is judged: read from YAML, checked against the schema, defaulted. What every object has
/// is filled in where the text leaves it out.
#[track_caller]
fn object(resource: Resource, yaml: &str) -> Value {
    let mut object = decode::yaml(yaml.as_bytes()).unwrap().pop().unwrap_or_else(|| json!({}));
    let metadata = object.as_object_mut().unwrap().entry("metadata").or_insert_with(|| json!({}));
    let metadata = metadata.as_object_mut().unwrap();
    metadata.entry("name").or_insert_with(|| json!("a"));
    if resource.is_namespaced() {
        metadata.entry("namespace").or_insert_with(|| json!("ns"));
    }
    let report = schema::check(resource, &mut object, schema::Prune::Unknown);
    assert_eq!(report, schema::SchemaReport::default(), "{yaml}");
    defaults::apply(resource, &mut object);
    object
}

/// What is wrong with a new object.
#[track_caller]
fn check(resource: Resource, yaml: &str, expected: &[&str]) {
    let object = object(resource, yaml);
    let found: Vec<String> = create(resource, &object).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{yaml}");
}

/// What is wrong with a change.
#[track_caller]
fn check_update(resource: Resource, old: &str, new: &str, expected: &[&str]) {
    let (old, new) = (object(resource, old), object(resource, new));
    let found: Vec<String> = update(resource, &old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

/// A Job with some fields, its template after them.
fn job_yaml(fields: &str) -> String {
    let fields = fields.trim_matches('\n').replace('\n', "\n  ");
    format!(
        "metadata: {{name: a, uid: u}}\nspec:\n  {fields}\n  manualSelector: true\n  selector: {{matchLabels: {{a: b}}}}\n  \
         template:\n    metadata: {{labels: {{a: b}}}}\n    spec:\n      restartPolicy: Never\n      \
         containers: [{{name: c, image: i}}]\n"
    )
}

/// A pod with some fields of its spec beside one good container.
fn pod_yaml(fields: &str) -> String {
    let fields = fields.trim_matches('\n').replace('\n', "\n  ");
    format!("spec:\n  containers: [{{name: c, image: i}}]\n  {fields}\n")
}

/// A pod whose only container has some fields.
fn container_yaml(fields: &str) -> String {
    let fields = fields.trim_matches('\n').replace('\n', "\n    ");
    format!("spec:\n  volumes: [{{name: v}}]\n  containers:\n  - name: c\n    image: i\n    {fields}\n")
}
