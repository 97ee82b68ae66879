//! Policies of images.

use super::{Object, child_or_new, fill};

pub(super) fn policy(object: &mut Object) {
    let spec = child_or_new(object, "spec");
    fill(spec, "enforcementAction", || "Deny".into());
    fill(spec, "digest", || "Resolved".into());
    if spec.get("vulnerabilities").is_some_and(serde_json::Value::is_object) {
        fill(child_or_new(spec, "vulnerabilities"), "unscored", || "Medium".into());
    }
}
