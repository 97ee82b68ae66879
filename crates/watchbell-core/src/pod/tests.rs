//! Tables of kubelet's rules.

mod config;
mod files;
mod identity;
mod laws;
mod life;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::node::Capacity;
use watchbell_api::types::pod::PodSpec;
use watchbell_api::{Resource, Uid};

use super::PodFacts;

pub(super) const CAPACITY: Capacity =
    Capacity { cpu_millis: 4000, memory_bytes: 8 << 30, pods: 110, ephemeral_storage_bytes: 100 << 30 };

pub(super) fn spec(value: Value) -> PodSpec {
    serde_json::from_value(value).expect("a pod spec")
}

/// Runs `test` with the facts of a pod and the objects of its namespace.
pub(super) fn with_facts<T>(spec: &PodSpec, test: impl FnOnce(&PodFacts<'_>) -> T) -> T {
    let labels = BTreeMap::from([("app".to_owned(), "x".to_owned()), ("z".to_owned(), "a \"b\"".to_owned())]);
    let annotations = BTreeMap::from([("note".to_owned(), "line\nbreak".to_owned())]);
    test(&PodFacts {
        uid: Uid(7),
        namespace: "ml",
        name: "train-3-abcde",
        labels: &labels,
        annotations: &annotations,
        spec,
        node_name: "watchbell",
        host_ip: "127.0.0.1",
        pod_ip: "",
        capacity: &CAPACITY,
    })
}

pub(super) fn objects(resource: Resource, name: &str) -> Option<Arc<Value>> {
    let value = match (resource, name) {
        (Resource::ConfigMap, "cfg") => json!({
            "data": {"color": "red", "bad=name": "1", "path.txt": "p"}, "binaryData": {"bytes": "AP8="},
        }),
        (Resource::Secret, "sec") => json!({"data": {"user": "YWRtaW4=", "broken": "%%"}}),
        _ => return None,
    };
    Some(Arc::new(value))
}
