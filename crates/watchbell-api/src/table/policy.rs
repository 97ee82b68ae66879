//! Kinds that say what others may do or how they are treated.

use serde_json::{Map, Value};

use super::{AGE, Column, Kind, NAME, age, at, column, integer, name, number, or_none, text};
use crate::selector::Labels;

pub(super) static RESOURCE_QUOTA: [Column; 4] = [
    NAME,
    column("Request", "What is used and what may be used, but for limits."),
    column("Limit", "The limits that are used and that may be used."),
    AGE,
];

pub(super) static LIMIT_RANGE: [Column; 2] = [NAME, column("Created At", "When it was created.")];

pub(super) static PRIORITY_CLASS: [Column; 5] = [
    NAME,
    integer("Value", "The priority of its pods."),
    Column {
        kind: Kind::Boolean,
        ..column("Global-Default", "Whether pods that name no class are of this one.")
    },
    AGE,
    column("PreemptionPolicy", "Whether its pods may take the room of others."),
];

pub(super) static RUNTIME_CLASS: [Column; 3] =
    [NAME, column("Handler", "What starts the containers of its pods."), AGE];

pub(super) static NETWORK_POLICY: [Column; 3] = [NAME, column("Pod-Selector", "The pods it is about."), AGE];

pub(super) static LEASE: [Column; 3] = [NAME, column("Holder", "Who holds it."), AGE];

pub(super) fn resource_quota(object: &Value, now: i64) -> Vec<Value> {
    let map = |field: &str| at(object, &["status", field]).and_then(Value::as_object);
    let used = map("used");
    let mut hard: Vec<(&String, &Value)> = map("hard").into_iter().flat_map(Map::iter).collect();
    hard.sort_unstable_by_key(|(resource, _)| *resource);
    let of = |are_limits: bool| {
        let shown: Vec<String> = hard
            .iter()
            .filter(|(resource, _)| resource.starts_with("limits") == are_limits)
            .map(|(resource, hard)| {
                let used = used.and_then(|used| used.get(*resource)).and_then(Value::as_str).unwrap_or("0");
                format!("{resource}: {used}/{}", hard.as_str().unwrap_or("0"))
            })
            .collect();
        Value::from(shown.join(", "))
    };
    vec![name(object), of(false), of(true), age(object, now)]
}

pub(super) fn limit_range(object: &Value) -> Vec<Value> {
    vec![name(object), text(object, &["metadata", "creationTimestamp"]).into()]
}

pub(super) fn priority_class(object: &Value, now: i64) -> Vec<Value> {
    vec![
        name(object),
        number(object, &["value"]).into(),
        (at(object, &["globalDefault"]) == Some(&Value::Bool(true))).into(),
        age(object, now),
        text(object, &["preemptionPolicy"]).into(),
    ]
}

pub(super) fn runtime_class(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), text(object, &["handler"]).into(), age(object, now)]
}

pub(super) fn network_policy(object: &Value, now: i64) -> Vec<Value> {
    let selector = at(object, &["spec", "podSelector"]).map_or_else(String::new, |selector| {
        Labels::from_object(selector).map_or_else(|_| "<error>".into(), |s| s.to_string())
    });
    vec![name(object), or_none(&selector), age(object, now)]
}

pub(super) fn lease(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), text(object, &["spec", "holderIdentity"]).into(), age(object, now)]
}
