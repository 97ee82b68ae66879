//! ValidatingAdmissionPolicies and their bindings. Source: `pkg/apis/admissionregistration/v1/defaults.go` of Kubernetes.

use serde_json::json;

use super::{Object, child, child_or_new, fill, items};

pub(super) fn policy(object: &mut Object) {
    let spec = child_or_new(object, "spec");
    fill(spec, "failurePolicy", || "Fail".into());
    if let Some(constraints) = child(spec, "matchConstraints") {
        match_resources(constraints);
    }
}

pub(super) fn binding(object: &mut Object) {
    let spec = child_or_new(object, "spec");
    if let Some(reference) = child(spec, "paramRef") {
        fill(reference, "parameterNotFoundAction", || "Deny".into());
    }
    if let Some(resources) = child(spec, "matchResources") {
        match_resources(resources);
    }
}

fn match_resources(resources: &mut Object) {
    fill(resources, "matchPolicy", || "Equivalent".into());
    fill(resources, "namespaceSelector", || json!({}));
    fill(resources, "objectSelector", || json!({}));
    for field in ["resourceRules", "excludeResourceRules"] {
        for rule in items(resources, field) {
            fill(rule, "scope", || "*".into());
        }
    }
}
