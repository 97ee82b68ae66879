//! The status of a pod as clients see it: conditions and container states from the compact [`PodStatus`].

use serde_json::Value;

use crate::types::pod::PodSpec;
use crate::types::pod_status::PodStatus;

/// `status` of a pod created at `created_at` and, perhaps, being deleted at `deleting_at` (Unix seconds).
pub fn pod_status(status: &PodStatus, spec: &PodSpec, created_at: i64, deleting_at: Option<i64>) -> Value {
    let _ = (status, spec, created_at, deleting_at);
    unimplemented!("bodies follow")
}
