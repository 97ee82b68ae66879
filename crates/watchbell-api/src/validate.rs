//! Kubernetes' validation, with its field paths and messages.

use serde_json::Value;

use crate::{FieldError, Resource};

/// A new object, after defaulting.
pub fn create(resource: Resource, object: &Value) -> Vec<FieldError> {
    let _ = (resource, object);
    unimplemented!("bodies follow")
}

/// A changed object: the rules of [`create`] and what may not change.
pub fn update(resource: Resource, old: &Value, new: &Value) -> Vec<FieldError> {
    let _ = (resource, old, new);
    unimplemented!("bodies follow")
}

/// What is accepted and worth a warning.
pub fn warnings(resource: Resource, object: &Value) -> Vec<String> {
    let _ = (resource, object);
    unimplemented!("bodies follow")
}
