//! The strict value of every field that a pod leaves unsaid.

use serde_json::{Value, json};

use super::NOBODY;

/// Fills in, never overwrites: what a pod asks for is judged afterwards.
pub(super) fn strict(spec: &mut Value) {
    let Some(pod) = spec.as_object_mut() else { return };
    pod.entry("automountServiceAccountToken").or_insert(Value::Bool(false));
    let is_for_windows = pod.get("os").is_some_and(|os| os["name"] == "windows");
    let context = pod.entry("securityContext").or_insert_with(|| json!({}));
    default(context, "runAsNonRoot", json!(true));
    // The rest is Linux's, and no such pod may have it.
    if is_for_windows {
        return;
    }
    if context["runAsUser"].is_null() {
        // Whose user is not the pod's own choice reads its volumes all the same: a Secret of mode 0400 is root's else.
        default(context, "fsGroup", json!(NOBODY));
    }
    default(context, "runAsUser", json!(NOBODY));
    default(context, "runAsGroup", json!(NOBODY));
    default(context, "seccompProfile", json!({"type": "RuntimeDefault"}));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let context = container.entry("securityContext").or_insert_with(|| json!({}));
            default(context, "allowPrivilegeEscalation", json!(false));
            default(context, "readOnlyRootFilesystem", json!(true));
            default(context, "capabilities", json!({}));
            default(&mut context["capabilities"], "drop", json!(["ALL"]));
        }
    }
}

fn default(object: &mut Value, field: &str, value: Value) {
    if object.is_null() {
        *object = json!({});
    }
    if let Some(map) = object.as_object_mut() {
        let slot = map.entry(field).or_insert(Value::Null);
        if slot.is_null() {
            *slot = value;
        }
    }
}
