//! Roles and their bindings.

use serde_json::Value;

use super::{AGE, Column, NAME, age, column, list, name, text, wide};

pub(super) static ROLE: [Column; 2] = [NAME, column("Created At", "When it was created.")];

pub(super) static BINDING: [Column; 6] = [
    NAME,
    column("Role", "The role that is given."),
    AGE,
    wide("Users", "The users that hold it."),
    wide("Groups", "The groups that hold it."),
    wide("ServiceAccounts", "The service accounts that hold it."),
];

pub(super) fn role(object: &Value) -> Vec<Value> {
    vec![name(object), text(object, &["metadata", "creationTimestamp"]).into()]
}

pub(super) fn binding(object: &Value, now: i64) -> Vec<Value> {
    let role = format!("{}/{}", text(object, &["roleRef", "kind"]), text(object, &["roleRef", "name"]));
    let of = |kind: &str| {
        let subjects = list(object, &["subjects"]).iter().filter(|subject| text(subject, &["kind"]) == kind);
        let names: Vec<String> = subjects
            .map(|subject| match kind {
                "ServiceAccount" => format!("{}/{}", text(subject, &["namespace"]), text(subject, &["name"])),
                _ => text(subject, &["name"]).to_owned(),
            })
            .collect();
        Value::from(names.join(", "))
    };
    vec![name(object), role.into(), age(object, now), of("User"), of("Group"), of("ServiceAccount")]
}
