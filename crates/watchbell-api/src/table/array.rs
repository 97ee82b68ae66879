//! Data arrays.

use serde_json::Value;

use super::{
    AGE, Column, NAME, age, column, integer, list, name, number, or_none, since, text, wide, wide_integer,
};
use crate::quantity::{Format, Quantity};

pub(super) static COLUMNS: [Column; 12] = [
    NAME,
    column("Head", "The snapshot that readers see."),
    column("Published", "How long ago that was made."),
    integer("Snapshots", "How many snapshots have their content."),
    column("Size", "What the head comes to."),
    AGE,
    wide("Format", "The format of the head."),
    wide("By", "Who made the head."),
    wide_integer("Drafts", "How many runs have begun to write and are not published."),
    wide("Ready", "Whether there is a store and it can be read, or why not."),
    wide("Signed", "Whether the server's key signed the head, or who did."),
    wide("Key", "The key that the store is encrypted with."),
];

/// As many digits of a digest as people read.
const DIGITS_SHOWN: usize = 12;

pub(super) fn cells(object: &Value, now: i64) -> Vec<Value> {
    let status = |field: &'static str| text(object, &["status", field]);
    let head = status("head");
    let has_head = !head.is_empty();
    let size = match has_head {
        true => shown(number(object, &["status", "bytes"])),
        false => String::new(),
    };
    let published = if has_head { since(status("headTime"), now) } else { String::new() };
    vec![
        name(object),
        or_none(head.get(..DIGITS_SHOWN).unwrap_or(head)),
        or_none(&published),
        number(object, &["status", "snapshots"]).into(),
        or_none(&size),
        age(object, now),
        or_none(status("format")),
        or_none(text(object, &["status", "publishedBy", "job"])),
        number(object, &["status", "draftRuns"]).into(),
        condition(object, "Ready"),
        condition(object, "HeadSigned"),
        or_none(text(object, &["spec", "encryption", "key"])),
    ]
}

/// `True`, or the reason why it is not.
fn condition(object: &Value, kind: &str) -> Value {
    let mut all = list(object, &["status", "conditions"]).iter();
    let found = all.find(|condition| text(condition, &["type"]) == kind);
    let field = |name: &'static str| found.map_or("", |condition| text(condition, &[name]));
    or_none(if field("status") == "True" { "True" } else { field("reason") })
}

/// Whole binary units, so that a person can read them; the status has the bytes.
fn shown(bytes: i64) -> String {
    let unit =
        [1i64 << 40, 1 << 30, 1 << 20, 1 << 10].into_iter().find(|unit| bytes >= 10 * unit).unwrap_or(1);
    Quantity::from_units(bytes / unit * unit, Format::BinarySi).to_string()
}
