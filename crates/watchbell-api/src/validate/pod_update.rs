//! What of a pod may change.

use std::collections::HashSet;

use serde_json::Value;

use super::at::At;
use super::findings::Findings;
use super::{pod, scheduling};

const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                         `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
                         existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                         previously negative)";

pub(super) fn check(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>) {
    let (old_spec, spec) = (old.field("spec"), new.field("spec"));
    // It was judged when it was made, maybe by rules that said less: its labels may change still, and its finalizers go.
    if old_spec.value == spec.value {
        return;
    }
    pod::pod(f, new);
    for list in ["containers", "initContainers"] {
        let (before, after) = (old_spec.field(list), spec.field(list));
        if before.len() != after.len() {
            f.forbidden(&after, "pod updates may not add or remove containers");
            return;
        }
    }
    deadline(f, &old_spec, &spec);
    added_tolerations(f, &old_spec.field("tolerations"), &spec.field("tolerations"));
    deleted_gates(f, &old_spec.field("schedulingGates"), &spec.field("schedulingGates"));

    let mut before = old_spec.value.clone();
    for list in ["containers", "initContainers"] {
        let containers = before.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for (i, container) in containers.enumerate() {
            copy(container, &spec.value[list][i], "image");
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        copy(&mut before, spec.value, field);
    }
    let grace = "terminationGracePeriodSeconds";
    if before[grace].as_i64().is_some_and(|seconds| seconds < 0) && spec.value[grace] == 1 {
        copy(&mut before, spec.value, grace);
    }
    if old_spec.field("schedulingGates").len() > 0 {
        gated_directives(f, &mut before, &old_spec, &spec);
    }
    if before != *spec.value {
        let changed = first_difference("spec", &before, spec.value);
        f.forbidden(&spec, format_args!("{UPDATABLE}\n{changed} was changed"));
    }
}

/// A pod that waits at a gate may still be given a narrower place.
fn gated_directives(f: &mut Findings, before: &mut Value, old_spec: &At<'_, '_>, spec: &At<'_, '_>) {
    let (old, new) = (old_spec.field("nodeSelector"), spec.field("nodeSelector"));
    if old.entries().any(|(key, value)| new.key(key).value != value.value) {
        f.invalid(&new, "only additions to spec.nodeSelector are allowed (no mutations or deletions)");
    }
    copy(before, spec.value, "nodeSelector");
    if old_spec.field("affinity").value.is_null() {
        copy(before, spec.value, "affinity");
    }
}

/// A deadline may be set, and come nearer.
fn deadline(f: &mut Findings, old_spec: &At<'_, '_>, spec: &At<'_, '_>) {
    let (old, new) = (old_spec.field("activeDeadlineSeconds"), spec.field("activeDeadlineSeconds"));
    match (old.int(), new.int()) {
        (Some(_), None) => f.invalid(&new, "must not update from a positive integer to nil value"),
        (Some(old), Some(after)) if old < after => {
            f.invalid(&new, "must be less than or equal to previous value");
        }
        _ => {}
    }
}

fn added_tolerations(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>) {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(map) = toleration.as_object_mut() {
            map.shift_remove("tolerationSeconds");
        }
        toleration
    };
    let after: Vec<Value> = new.items().map(|toleration| without_seconds(toleration.value)).collect();
    if old.items().any(|toleration| !after.contains(&without_seconds(toleration.value))) {
        f.forbidden(new, "existing toleration can not be modified except its tolerationSeconds");
        return;
    }
    scheduling::tolerations(f, new);
}

fn deleted_gates(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>) {
    let before: HashSet<&str> = old.items().map(|gate| gate.field("name").text()).collect();
    for gate in new.items() {
        let name = gate.field("name");
        if !before.contains(name.text()) {
            f.forbidden(
                &name,
                format_args!("only deletion is allowed, but found new scheduling gate '{}'", name.text()),
            );
        }
    }
}

fn copy(to: &mut Value, from: &Value, field: &str) {
    let Some(map) = to.as_object_mut() else { return };
    match from.get(field) {
        None => {
            map.shift_remove(field);
        }
        Some(value) => {
            map.insert(field.into(), value.clone());
        }
    }
}

/// The path of a field that is not the same in both.
fn first_difference(path: &str, old: &Value, new: &Value) -> String {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let differs = |key: &&String| a.get(*key) != b.get(*key);
            match a.keys().chain(b.keys()).find(differs) {
                Some(key) => {
                    let (a, b) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
                    first_difference(&format!("{path}.{}", super::findings::cut(key)), a, b)
                }
                None => path.to_owned(),
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            match (0..a.len()).find(|i| a[*i] != b[*i]) {
                Some(i) => first_difference(&format!("{path}[{i}]"), &a[i], &b[i]),
                None => path.to_owned(),
            }
        }
        _ => path.to_owned(),
    }
}
