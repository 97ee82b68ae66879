//! One object in two forms: an event of `v1` and of `events.k8s.io/v1` is the same object, stored in the first form.
//!
//! Both have the same fields under other names. What stands in both under the same name keeps it, and everything keeps
//! its place.

use serde_json::{Map, Value};

use crate::Resource;

/// Fields of an event in `v1` and in `events.k8s.io/v1`.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// The name in the stored form of a field in the form of a resource; other names are the same in both.
pub fn stored_field(resource: Resource, field: &str) -> &str {
    if resource != Resource::EventsEvent {
        return field;
    }
    EVENT_FIELDS.iter().find(|(_, asked)| *asked == field).map_or(field, |(stored, _)| stored)
}

/// An object that came in the form of `resource`, in the form in which it is stored.
pub fn to_stored(resource: Resource, object: Value) -> Value {
    match resource {
        Resource::EventsEvent => rename(object, Resource::Event, |(stored, asked)| (asked, stored)),
        _ => object,
    }
}

/// A stored object, or a list of them, in the form of `resource`. What is of another kind (a `Status`) stays as it is.
pub fn from_stored(resource: Resource, object: Value) -> Value {
    match resource {
        Resource::EventsEvent => rename(object, Resource::EventsEvent, |names| names),
        _ => object,
    }
}

fn rename(
    object: Value,
    into: Resource,
    direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str) + Copy,
) -> Value {
    let Value::Object(map) = object else { return object };
    let kind = map.get("kind").and_then(Value::as_str).unwrap_or_default();
    if kind != "Event" && kind != "EventList" {
        return Value::Object(map);
    }
    let is_list = kind == "EventList";
    let renamed: Map<String, Value> = map
        .into_iter()
        .map(|(key, value)| match key.as_str() {
            "apiVersion" => (key, into.info().api_version().into()),
            "items" if is_list => {
                let items = match value {
                    Value::Array(items) => {
                        items.into_iter().map(|item| rename(item, into, direction)).collect()
                    }
                    other => other,
                };
                (key, items)
            }
            _ => {
                let name = EVENT_FIELDS.iter().map(|names| direction(*names)).find(|(from, _)| *from == key);
                (name.map_or(key, |(_, to)| to.into()), value)
            }
        })
        .collect();
    Value::Object(renamed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_has_two_forms() {
        let core = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "ml"},
            "involvedObject": {"kind": "Job", "name": "train"}, "reason": "Started", "message": "it began",
            "source": {"component": "c"}, "firstTimestamp": "2026-01-01T00:00:00Z",
            "lastTimestamp": "2026-01-01T00:00:01Z", "count": 2, "type": "Normal",
            "eventTime": "2026-01-01T00:00:00.000001Z", "action": "Start", "reportingComponent": "a/b",
            "reportingInstance": "i", "related": {"kind": "Pod"},
            "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000001Z"},
        });
        let events = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "namespace": "ml"},
            "regarding": {"kind": "Job", "name": "train"}, "reason": "Started", "note": "it began",
            "deprecatedSource": {"component": "c"}, "deprecatedFirstTimestamp": "2026-01-01T00:00:00Z",
            "deprecatedLastTimestamp": "2026-01-01T00:00:01Z", "deprecatedCount": 2, "type": "Normal",
            "eventTime": "2026-01-01T00:00:00.000001Z", "action": "Start", "reportingController": "a/b",
            "reportingInstance": "i", "related": {"kind": "Pod"},
            "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000001Z"},
        });
        let asked = Resource::EventsEvent;
        assert_eq!(from_stored(asked, core.clone()).to_string(), events.to_string(), "in the same order");
        assert_eq!(to_stored(asked, events.clone()).to_string(), core.to_string());
        assert_eq!(from_stored(Resource::Event, core.clone()), core);
        let list = |api_version: &str, item: &Value| json!({"apiVersion": api_version, "kind": "EventList", "items": [item]});
        assert_eq!(from_stored(asked, list("v1", &core)), list("events.k8s.io/v1", &events));
        let status = json!({"apiVersion": "v1", "kind": "Status", "message": "gone"});
        assert_eq!(from_stored(asked, status.clone()), status);
        for field in events.as_object().expect("an object").keys() {
            assert!(core.get(stored_field(asked, field)).is_some(), "{field}");
        }
    }
}
