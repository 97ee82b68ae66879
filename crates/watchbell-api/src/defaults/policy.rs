//! Limits, classes, claims and policies.

use serde_json::{Value, json};

use super::{Object, child, child_or_new, fill, items};

/// What a container gets that says nothing: the largest limit where no other is given, the limit as request, and the
/// smallest request otherwise.
pub(super) fn limit_range(object: &mut Object) {
    let Some(spec) = child(object, "spec") else { return };
    for item in items(spec, "limits").filter(|item| item.get("type").is_some_and(|t| t == "Container")) {
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            let Some(Value::Object(amounts)) = item.get(from).cloned() else { continue };
            let target = child_or_new(item, to);
            for (resource, amount) in amounts {
                target.entry(resource).or_insert(amount);
            }
        }
    }
}

pub(super) fn claim(object: &mut Object) {
    let spec = child_or_new(object, "spec");
    fill(spec, "volumeMode", || "Filesystem".into());
    // The old and the new field of a claim's source say the same.
    let set = |spec: &Object, field: &str| spec.get(field).filter(|v| v.is_object()).cloned();
    match (set(spec, "dataSource"), set(spec, "dataSourceRef")) {
        (Some(source), None) => {
            spec.insert("dataSourceRef".into(), source);
        }
        (None, Some(source)) if source.get("namespace").is_none() => {
            spec.insert("dataSource".into(), source);
        }
        _ => {}
    }
}

pub(super) fn volume(object: &mut Object) {
    let spec = child_or_new(object, "spec");
    fill(spec, "persistentVolumeReclaimPolicy", || "Retain".into());
    fill(spec, "volumeMode", || "Filesystem".into());
    if let Some(path) = child(spec, "hostPath") {
        path.entry("type").or_insert_with(|| "".into());
    }
}

pub(super) fn storage_class(object: &mut Object) {
    fill(object, "reclaimPolicy", || "Delete".into());
    fill(object, "volumeBindingMode", || "Immediate".into());
}

pub(super) fn priority_class(object: &mut Object) {
    fill(object, "preemptionPolicy", || "PreemptLowerPriority".into());
}

/// A policy is about what comes in, and about what goes out where it says anything of that.
pub(super) fn network_policy(object: &mut Object) {
    let spec = child_or_new(object, "spec");
    for rules in ["ingress", "egress"] {
        for rule in items(spec, rules) {
            for port in items(rule, "ports") {
                fill(port, "protocol", || "TCP".into());
            }
        }
    }
    let says_egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
    if spec.get("policyTypes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let types = if says_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.insert("policyTypes".into(), types);
    }
}
