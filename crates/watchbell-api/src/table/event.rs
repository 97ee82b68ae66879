//! Events.

use serde_json::Value;

use super::{Column, Kind, Shown, column, integer, name, number, since, text, wide};

pub(super) static COLUMNS: [Column; 10] = [
    column("Last Seen", "When it happened last."),
    column("Type", "Normal or Warning."),
    column("Reason", "Why, in one word for programs."),
    column("Object", "What it is about."),
    wide("Subobject", "The part of the object."),
    wide("Source", "Who reports it."),
    column("Message", "What happened."),
    wide("First Seen", "When it happened first."),
    Column { shown: Shown::Wide, ..integer("Count", "How often it happened.") },
    Column { name: "Name", kind: Kind::Name, description: "The event's own name.", shown: Shown::Wide },
];

pub(super) fn cells(object: &Value, now: i64) -> Vec<Value> {
    let when = |path: &[&str]| {
        let time = text(object, path);
        since(if time.is_empty() { text(object, &["eventTime"]) } else { time }, now)
    };
    let (last, count) = match object.get("series").filter(|s| s.is_object()) {
        Some(series) => (since(text(series, &["lastObservedTime"]), now), number(series, &["count"])),
        None => (when(&["lastTimestamp"]), number(object, &["count"]).max(1)),
    };
    let kind = text(object, &["involvedObject", "kind"]).to_lowercase();
    let target = match text(object, &["involvedObject", "name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    vec![
        last.into(),
        text(object, &["type"]).into(),
        text(object, &["reason"]).into(),
        target.into(),
        text(object, &["involvedObject", "fieldPath"]).into(),
        source(object).into(),
        text(object, &["message"]).trim().into(),
        when(&["firstTimestamp"]).into(),
        count.into(),
        name(object),
    ]
}

fn source(object: &Value) -> String {
    let first = |a: &'static [&str], b: &'static [&str]| {
        let found = text(object, a);
        if found.is_empty() { text(object, b) } else { found }
    };
    let component = first(&["source", "component"], &["reportingComponent"]);
    let host = first(&["source", "host"], &["reportingInstance"]);
    if host.is_empty() { component.into() } else { format!("{component}, {host}") }
}
