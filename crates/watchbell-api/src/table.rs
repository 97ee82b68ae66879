//! `meta.k8s.io/v1` Table: the columns and rows that `kubectl get` prints.

use serde_json::Value;

use crate::Resource;

/// The `columnDefinitions` of a resource.
pub fn columns(resource: Resource) -> Value {
    let _ = resource;
    unimplemented!("bodies follow")
}

/// The cells of one object at `now` (Unix seconds), in the order of [`columns`].
pub fn cells(resource: Resource, object: &Value, now: i64) -> Vec<Value> {
    let _ = (resource, object, now);
    unimplemented!("bodies follow")
}
