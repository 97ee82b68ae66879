//! JSON patch (RFC 6902), merge patch (RFC 7386) and Kubernetes' strategic merge patch.
//!
//! All three make the new object from the current one; nothing is checked against the schema here, that is the next
//! step of a write. A patch that cannot be applied is `422 Invalid`, one that is no patch is `400 BadRequest`.

mod json;
mod lists;
mod merge;
mod pointer;
mod strategic;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Map, Value};

use crate::{ApiError, Cause, Reason, Resource};

/// RFC 6902: a list of operations, carried out in order, all or none.
pub fn json_patch(resource: Resource, current: &Value, body: &Value) -> Result<Value, ApiError> {
    let patched = json::apply(current, body).map_err(|e| about(resource, current, e))?;
    if !patched.is_object() {
        let error =
            failed("the patch leaves no object behind".into(), String::new(), "it leaves no object behind");
        return Err(about(resource, current, error));
    }
    Ok(patched)
}

/// RFC 7386: maps are merged, `null` removes, everything else replaces.
pub fn merge(resource: Resource, current: &Value, body: &Value) -> Result<Value, ApiError> {
    object(body, "merge patch").map_err(|e| about(resource, current, e))?;
    let mut patched = current.clone();
    merge::apply(&mut patched, body);
    Ok(patched)
}

/// Kubernetes' own: as a merge patch, but lists are merged by the keys of the schema, and directives (`$patch`,
/// `$retainKeys`, `$setElementOrder/…`, `$deleteFromPrimitiveList/…`) say what a merge cannot.
pub fn strategic(resource: Resource, current: &Value, body: &Value) -> Result<Value, ApiError> {
    let patch = object(body, "strategic merge patch").map_err(|e| about(resource, current, e))?;
    let mut patched = match current {
        Value::Object(map) => map.clone(),
        _ => Map::new(),
    };
    strategic::apply(crate::schema::type_of(resource), &mut patched, patch)
        .map_err(|e| about(resource, current, e))?;
    Ok(Value::Object(patched))
}

fn object<'a>(body: &'a Value, what: &str) -> Result<&'a Map<String, Value>, ApiError> {
    body.as_object().ok_or_else(|| {
        ApiError::bad_request(format!("the body of a {what} is a map of the fields to change"))
    })
}

/// A patch that has the right form and cannot be applied. kubectl prints the cause alone.
fn failed(message: String, field: String, cause: impl fmt::Display) -> ApiError {
    let field = if field.is_empty() { "patch".into() } else { field };
    let mut error = ApiError::new(Reason::Invalid, message);
    error.causes.push(Cause { reason: "FieldValueInvalid".into(), message: cause.to_string(), field });
    error
}

fn about(resource: Resource, current: &Value, error: ApiError) -> ApiError {
    let info = resource.info();
    // As Kubernetes has it: of invalid objects the kind is told, of other requests the resource.
    let kind = if error.reason == Reason::Invalid { info.kind } else { info.plural };
    error.about(kind, info.group, current["metadata"]["name"].as_str().unwrap_or_default())
}
