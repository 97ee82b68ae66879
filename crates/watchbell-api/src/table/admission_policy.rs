//! ValidatingAdmissionPolicies and their bindings.

use serde_json::Value;

use super::{AGE, Column, NAME, age, at, column, integer, list, name, text};

pub(super) static POLICY: [Column; 4] = [
    NAME,
    integer("Validations", "How many expressions judge a request."),
    column("ParamKind", "The kind of the objects that the policy takes its parameters from."),
    AGE,
];

pub(super) static BINDING: [Column; 4] = [
    NAME,
    column("PolicyName", "The policy that it puts into force."),
    column("ParamRef", "The object that the policy takes its parameters from."),
    AGE,
];

const UNSET: &str = "<unset>";

pub(super) fn policy(object: &Value, now: i64) -> Vec<Value> {
    let kind = match at(object, &["spec", "paramKind"]).filter(|kind| kind.is_object()) {
        Some(kind) => format!("{}/{}", text(kind, &["apiVersion"]), text(kind, &["kind"])),
        None => UNSET.into(),
    };
    let validations = list(object, &["spec", "validations"]).len();
    vec![name(object), validations.into(), kind.into(), age(object, now)]
}

pub(super) fn binding(object: &Value, now: i64) -> Vec<Value> {
    let reference = at(object, &["spec", "paramRef"]).filter(|reference| reference.is_object());
    let params = match reference.map(|of| (text(of, &["namespace"]), text(of, &["name"]), of.get("selector")))
    {
        Some(("", params, _)) if !params.is_empty() => params.into(),
        Some((namespace, params, _)) if !params.is_empty() => format!("{namespace}/{params}"),
        Some((_, _, Some(selector))) if selector.is_object() => selector.to_string(),
        _ => UNSET.into(),
    };
    vec![name(object), text(object, &["spec", "policyName"]).into(), params.into(), age(object, now)]
}
