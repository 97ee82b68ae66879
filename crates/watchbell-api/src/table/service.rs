//! Services.

use serde_json::{Map, Value};

use super::{AGE, Column, NAME, age, at, column, list, name, number, or_none, text, wide};

pub(super) static COLUMNS: [Column; 7] = [
    NAME,
    column("Type", "How it is reached."),
    column("Cluster-IP", "Its address inside the cluster."),
    column("External-IP", "Its addresses outside."),
    column("Port(s)", "The ports it listens on."),
    AGE,
    wide("Selector", "The labels of its pods."),
];

pub(super) fn cells(object: &Value, now: i64) -> Vec<Value> {
    let spec = &object["spec"];
    let inside = match list(spec, &["clusterIPs"]).first().and_then(Value::as_str) {
        Some(first) => first,
        None => text(spec, &["clusterIP"]),
    };
    let outside: Vec<&str> = list(spec, &["externalIPs"]).iter().filter_map(Value::as_str).collect();
    let ports: Vec<String> = list(spec, &["ports"])
        .iter()
        .map(|port| {
            let (number, protocol) = (number(port, &["port"]), text(port, &["protocol"]));
            match at(port, &["nodePort"]).and_then(Value::as_i64) {
                Some(node) if node > 0 => format!("{number}:{node}/{protocol}"),
                _ => format!("{number}/{protocol}"),
            }
        })
        .collect();
    let labels = at(spec, &["selector"]).and_then(Value::as_object);
    let mut labels: Vec<String> = labels
        .into_iter()
        .flat_map(Map::iter)
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    labels.sort_unstable();
    vec![
        name(object),
        text(spec, &["type"]).into(),
        or_none(inside),
        or_none(&outside.join(",")),
        or_none(&ports.join(",")),
        age(object, now),
        or_none(&labels.join(",")),
    ]
}
