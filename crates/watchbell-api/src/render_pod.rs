//! The status of a pod as clients see it: conditions and container states from the compact [`PodStatus`].
//!
//! Reasons and messages are those of Kubernetes' scheduler and kubelet, because clients wait for them by name.

mod conditions;
mod containers;
mod qos;
#[cfg(test)]
mod tests;

pub use conditions::DERIVED_CONDITIONS;
use serde_json::{Map, Value, json};

use crate::Uid;
use crate::types::pod::PodSpec;
use crate::types::pod_status::PodStatus;

/// `status` of a pod created at `created_at` and, perhaps, being deleted at `deleting_at` (Unix seconds).
pub fn pod_status(
    uid: Uid,
    status: &PodStatus,
    spec: &PodSpec,
    created_at: i64,
    deleting_at: Option<i64>,
) -> Value {
    let pod = Pod { uid, status, spec, created_at, deleting_at };
    let mut out = Map::new();
    out.insert("phase".into(), status.phase.as_str().into());
    let conditions = conditions::of(&pod);
    if !conditions.is_empty() {
        out.insert("conditions".into(), conditions.into());
    }
    if !pod.is_waiting_for_room() {
        for (key, text) in [("reason", &status.reason), ("message", &status.message)] {
            if let Some(text) = text {
                out.insert(key.into(), Value::from(&**text));
            }
        }
    }
    if let Some(ip) = &status.pod_ip {
        out.insert("podIP".into(), Value::from(&**ip));
        out.insert("podIPs".into(), json!([{"ip": &**ip}]));
    }
    if let Some(at) = status.started_at {
        out.insert("startTime".into(), time(at));
    }
    for (key, list) in [
        ("initContainerStatuses", containers::of(&pod, &status.init_containers, &spec.init_containers)),
        ("containerStatuses", containers::of(&pod, &status.containers, &spec.containers)),
    ] {
        if !list.is_empty() {
            out.insert(key.into(), list.into());
        }
    }
    out.insert("qosClass".into(), qos::class(spec).into());
    Value::Object(out)
}

/// What the parts of the status are made from.
struct Pod<'a> {
    uid: Uid,
    status: &'a PodStatus,
    spec: &'a PodSpec,
    created_at: i64,
    deleting_at: Option<i64>,
}

impl Pod<'_> {
    /// Not bound to the machine: `reason` and `message` say what it waits for, and belong to a condition.
    fn is_waiting_for_room(&self) -> bool {
        self.status.scheduled_at.is_none() && !self.status.phase.is_terminal()
    }
}

/// Unix seconds as Kubernetes prints a time: `2026-01-02T03:04:05Z`.
fn time(seconds: i64) -> Value {
    jiff::Timestamp::from_second(seconds).map_or(Value::Null, |t| Value::String(t.to_string()))
}
