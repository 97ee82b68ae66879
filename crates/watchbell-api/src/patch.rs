//! JSON patch (RFC 6902), merge patch (RFC 7386) and Kubernetes' strategic merge patch.

use serde_json::Value;

use crate::{ApiError, Resource};

pub fn json_patch(resource: Resource, current: &Value, body: &Value) -> Result<Value, ApiError> {
    let _ = (resource, current, body);
    unimplemented!("bodies follow")
}

pub fn merge(resource: Resource, current: &Value, body: &Value) -> Result<Value, ApiError> {
    let _ = (resource, current, body);
    unimplemented!("bodies follow")
}

pub fn strategic(resource: Resource, current: &Value, body: &Value) -> Result<Value, ApiError> {
    let _ = (resource, current, body);
    unimplemented!("bodies follow")
}
