//! Kinds that are little more than their name.

use serde_json::Value;

use super::{AGE, Column, NAME, age, at, column, list, name, text};

pub(super) static NAMESPACE: [Column; 3] = [NAME, column("Status", "Active, or Terminating."), AGE];
pub(super) static CONFIG_MAP: [Column; 3] = [NAME, column("Data", "How many keys it holds."), AGE];
pub(super) static SECRET: [Column; 4] = [
    NAME,
    column("Type", "What kind of secret it is, for programs that use it."),
    column("Data", "How many keys it holds."),
    AGE,
];
pub(super) static SERVICE_ACCOUNT: [Column; 3] =
    [NAME, column("Secrets", "How many secrets pods of this account may use."), AGE];

/// Of what there never is one.
pub(super) static OTHER: [Column; 2] = [NAME, AGE];

pub(super) fn other(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), age(object, now)]
}

pub(super) fn namespace(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), text(object, &["status", "phase"]).into(), age(object, now)]
}

pub(super) fn config_map(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), (count(object, "data") + count(object, "binaryData")).into(), age(object, now)]
}

pub(super) fn secret(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), text(object, &["type"]).into(), count(object, "data").into(), age(object, now)]
}

pub(super) fn service_account(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), list(object, &["secrets"]).len().into(), age(object, now)]
}

fn count(object: &Value, field: &str) -> usize {
    at(object, &[field]).and_then(Value::as_object).map_or(0, serde_json::Map::len)
}
