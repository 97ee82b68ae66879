//! What of a Job may change, and when.

use serde_json::{Value, json};

use super::at::At;
use super::findings::Findings;
use super::job;

pub(super) fn check(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>) {
    let (old_spec, spec) = (old.field("spec"), new.field("spec"));
    job::whole_spec(f, &spec);
    completions(f, &old_spec, &spec);
    f.immutable(&spec.field("selector"), &old_spec.field("selector"));
    template(f, old, new);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        f.immutable(&spec.field(field), &old_spec.field(field));
    }
}

/// An array may grow and shrink, together with its parallelism.
fn completions(f: &mut Findings, old_spec: &At<'_, '_>, spec: &At<'_, '_>) {
    let (old, new) = (old_spec.field("completions"), spec.field("completions"));
    if spec.field("completionMode").text() != "Indexed" {
        f.immutable(&new, &old);
    } else if new.is_set() && new.value != old.value && new.value != spec.field("parallelism").value {
        f.invalid(&new, "can only be modified in tandem with spec.parallelism");
    }
}

/// A suspended Job without pods has not decided where they go and what they get.
fn template(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>) {
    let (old_spec, spec) = (old.field("spec"), new.field("spec"));
    let (old_template, template) = (old_spec.field("template"), spec.field("template"));
    if template.value == old_template.value {
        return;
    }
    let status = old.field("status");
    let is_idle = !status.field("startTime").is_set() || status.field("active").int().unwrap_or(0) == 0;
    let mut before = old_template.value.clone();
    if old_spec.field("suspend").is_true() && is_idle {
        take_directives(&mut before, template.value);
    }
    if before != *template.value {
        f.invalid(&template, "field is immutable");
    }
}

/// Copies what may change from the new template into the old one, so that only the rest is compared.
fn take_directives(old: &mut Value, new: &Value) {
    for (part, fields) in [
        ("metadata", &["labels", "annotations"][..]),
        ("spec", &["nodeSelector", "tolerations", "schedulingGates"][..]),
    ] {
        for field in fields {
            take(&mut old[part], &new[part], field);
        }
    }
    let mut affinity = old["spec"]["affinity"].clone();
    if affinity.is_null() {
        affinity = json!({});
    }
    take(&mut affinity, &new["spec"]["affinity"], "nodeAffinity");
    let is_empty = affinity.as_object().is_none_or(serde_json::Map::is_empty);
    if is_empty && new["spec"]["affinity"].is_null() {
        affinity = Value::Null;
    }
    set(&mut old["spec"], "affinity", affinity);
    for list in ["containers", "initContainers"] {
        let Some(containers) = old["spec"].get_mut(list).and_then(Value::as_array_mut) else { continue };
        for (i, container) in containers.iter_mut().enumerate() {
            take(container, &new["spec"][list][i], "resources");
        }
    }
}

fn take(old: &mut Value, new: &Value, field: &str) {
    set(old, field, new[field].clone());
}

/// Null takes the field away.
fn set(object: &mut Value, field: &str, value: Value) {
    let Some(map) = object.as_object_mut() else { return };
    if value.is_null() {
        map.shift_remove(field);
    } else {
        map.insert(field.into(), value);
    }
}
