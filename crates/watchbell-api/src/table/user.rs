//! Users' tokens, certificates, and revocations.

use serde_json::Value;

use super::{AGE, Column, NAME, age, column, list, name, or_none, seconds, text, wide};
use crate::table::human_duration;

pub(super) static TOKEN: [Column; 7] = [
    NAME,
    column("User", "Whose token it is."),
    column("Groups", "The groups that it gives."),
    column("Expires", "How long it is still taken."),
    AGE,
    wide("Created-By", "Who asked for it."),
    wide("Description", "What it is for."),
];

pub(super) static CERTIFICATE: [Column; 8] = [
    NAME,
    column("User", "Whose certificate it is."),
    column("Groups", "The groups that it gives."),
    column("Expires", "How long it is still taken."),
    AGE,
    wide("Serial", "Its serial number, by which it is revoked."),
    wide("Created-By", "Who asked for it."),
    wide("Description", "What it is for."),
];

pub(super) static REVOCATION: [Column; 4] =
    [NAME, column("User", "Whose certificate it was."), column("Reason", "Why it is no longer taken."), AGE];

fn groups(object: &Value) -> Value {
    let names: Vec<&str> = list(object, &["spec", "groups"]).iter().filter_map(Value::as_str).collect();
    or_none(&names.join(","))
}

fn expires(object: &Value, now: i64) -> Value {
    match seconds(text(object, &["status", "expirationTimestamp"])) {
        None => "<unknown>".into(),
        Some(at) if at <= now => "expired".into(),
        Some(at) => human_duration(at - now).into(),
    }
}

pub(super) fn token(object: &Value, now: i64) -> Vec<Value> {
    vec![
        name(object),
        text(object, &["spec", "user"]).into(),
        groups(object),
        expires(object, now),
        age(object, now),
        text(object, &["status", "createdBy"]).into(),
        or_none(text(object, &["spec", "description"])),
    ]
}

pub(super) fn certificate(object: &Value, now: i64) -> Vec<Value> {
    let mut cells = token(object, now);
    cells.insert(5, text(object, &["status", "serialNumber"]).into());
    cells
}

pub(super) fn revocation(object: &Value, now: i64) -> Vec<Value> {
    vec![
        name(object),
        or_none(text(object, &["spec", "user"])),
        or_none(text(object, &["spec", "reason"])),
        age(object, now),
    ]
}
