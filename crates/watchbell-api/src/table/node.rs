//! Nodes.

use serde_json::Value;

use super::{AGE, Column, NAME, age, at, column, list, name, or_none, text, wide};

pub(super) static COLUMNS: [Column; 10] = [
    NAME,
    column("Status", "Ready or not, and whether pods may be placed on it."),
    column("Roles", "The roles its labels give it."),
    AGE,
    column("Version", "The version of the program that runs its pods."),
    wide("Internal-IP", "Its address inside the cluster."),
    wide("External-IP", "Its address outside the cluster."),
    wide("OS-Image", "Its operating system."),
    wide("Kernel-Version", "Its kernel."),
    wide("Container-Runtime", "What starts its containers."),
];

pub(super) fn cells(object: &Value, now: i64) -> Vec<Value> {
    let mut status = Vec::new();
    for condition in list(object, &["status", "conditions"]) {
        if text(condition, &["type"]) == "Ready" {
            status.push(if text(condition, &["status"]) == "True" { "Ready" } else { "NotReady" });
        }
    }
    if status.is_empty() {
        status.push("Unknown");
    }
    if at(object, &["spec", "unschedulable"]).and_then(Value::as_bool) == Some(true) {
        status.push("SchedulingDisabled");
    }
    let address = |kind: &str| {
        let found = list(object, &["status", "addresses"]).iter().find(|a| text(a, &["type"]) == kind);
        or_none(found.map_or("", |a| text(a, &["address"])))
    };
    let info = |field: &str| {
        let text = text(object, &["status", "nodeInfo", field]);
        Value::from(if text.is_empty() { "<unknown>" } else { text })
    };
    vec![
        name(object),
        status.join(",").into(),
        roles(object).into(),
        age(object, now),
        text(object, &["status", "nodeInfo", "kubeletVersion"]).into(),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn roles(object: &Value) -> String {
    let labels = at(object, &["metadata", "labels"]).and_then(Value::as_object);
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".into() } else { roles.join(",") }
}
