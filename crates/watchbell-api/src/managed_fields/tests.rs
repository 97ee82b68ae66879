mod apply;
mod sets;
mod updates;

use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_772_323_200;

fn by(manager: &str) -> Writer<'_> {
    Writer { manager, subresource: "", now: NOW }
}

fn job(spec: Value) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "ml"}, "spec": spec})
}

fn containers(list: Value) -> Value {
    job(json!({"template": {"spec": {"containers": list}}}))
}

/// The paths of an entry, as conflicts name them.
fn paths(fields: &FieldSet) -> Vec<String> {
    fields.paths().iter().map(|path| shown(path)).collect()
}

/// `manager Operation: paths`
fn told(managed: &[Entry]) -> Vec<String> {
    managed
        .iter()
        .map(|e| format!("{} {:?}: {}", e.manager, e.operation, paths(&e.fields).join(" ")))
        .collect()
}
