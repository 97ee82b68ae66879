//! What this server's own parts own: the statuses that its controllers and its node write, and its events.
//!
//! Which fields of a status are theirs follows from the status, so the entry is made when the object is shown: writing a
//! status costs nothing more, and nothing of it is stored. What a client wrote of a status is in the object's own entries,
//! and is left to it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::{Map, Value, json};
use watchbell_api::Resource;
use watchbell_api::managed_fields::{self, FieldSet, Operation, Writer};
use watchbell_api::schema::{self, List, Shape, Table};

use super::{Entry, Managed, intern};
use crate::controller::job::is_foreign;
use crate::world::object::Stored;
use crate::world::{CONTROLLER_MANAGER, NODE_MANAGER};

/// How many forms of statuses are remembered.
const FORMS_MAX: usize = 4096;
/// What an entry of a status contains.
const OF_STATUS: &str = "\"subresource\":\"status\"";

/// The entries of an object with that of its status, which is shown as `status`.
pub(in crate::world) fn of_status(stored: &Stored, mut managed: Managed, status: Option<&Value>) -> Managed {
    if let Some(entry) = status.and_then(|status| entry(stored, &managed, status)) {
        managed.push(entry);
    }
    managed
}

/// Whether an entry is one of those that are made here: an object that a client read and sends back has it.
pub(super) fn is_of_status(entry: &Map<String, Value>) -> bool {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
    text("subresource") == "status"
        && text("operation") == "Update"
        && [CONTROLLER_MANAGER, NODE_MANAGER].contains(&text("manager"))
}

fn entry(stored: &Stored, managed: &Managed, status: &Value) -> Option<Entry> {
    let manager = match stored.resource {
        // A pod that nobody took up has the status it was created with.
        Resource::Pod if stored.pod_status()?.scheduled_at.is_none() => return None,
        Resource::Pod | Resource::Node => NODE_MANAGER,
        // The same of a namespace that is not ending.
        Resource::Namespace if status.get("conditions").is_none() => return None,
        Resource::Job if stored.facts().job().is_some_and(|job| is_foreign(&job.spec)) => return None,
        _ => CONTROLLER_MANAGER,
    };
    let mut foreign = managed.0.iter().filter(|entry| entry.text.contains(OF_STATUS)).peekable();
    let text = if foreign.peek().is_none() {
        remembered(stored.resource, manager, status)
    } else {
        let list: Value = foreign.filter_map(|e| serde_json::from_str::<Value>(&e.text).ok()).collect();
        let theirs = managed_fields::decode(&list).unwrap_or_default();
        let theirs = theirs.iter().fold(FieldSet::default(), |all, entry| all.union(&entry.fields));
        text(stored.resource, manager, status, &theirs)
    }?;
    Some(Entry { text, time: Some(written_at(stored, status)) })
}

/// When a status was last written, as far as it tells.
fn written_at(stored: &Stored, status: &Value) -> i64 {
    let told = match stored.pod_status() {
        Some(pod) => pod.finished_at.or(pod.started_at).or(pod.scheduled_at),
        None => {
            // All have one form, so that the greatest text is the latest time.
            let mut latest = "";
            latest_time(status, &mut latest);
            latest.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
        }
    };
    told.unwrap_or(stored.created_at)
}

fn latest_time<'v>(value: &'v Value, latest: &mut &'v str) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key.ends_with("Time") => *latest = text.as_str().max(latest),
                    _ => latest_time(value, latest),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|item| latest_time(item, latest)),
        _ => {}
    }
}

/// The entry without its time. Statuses of one form have the same.
fn remembered(resource: Resource, manager: &str, status: &Value) -> Option<Arc<str>> {
    type Forms = Mutex<HashMap<(Resource, u64), Option<Arc<str>>>>;
    static FORMS: LazyLock<(RandomState, Forms)> = LazyLock::new(Default::default);
    let (state, forms) = &*FORMS;
    let mut hasher = state.build_hasher();
    let fields = Table::get().type_of(schema::type_of(resource)).field("status");
    if let Some(Shape::Object(of)) = fields.map(|field| &field.shape) {
        let of = Table::get().type_of(*of);
        for (key, value) in status.as_object().into_iter().flatten() {
            key.hash(&mut hasher);
            // A list that is owned as a whole has no form.
            let is_whole = of.field(key).is_some_and(|field| {
                matches!(field.shape, Shape::List(_)) && matches!(field.list, List::Atomic | List::Unstated)
            });
            if !is_whole {
                form(value, &mut hasher);
            }
        }
    }
    let key = (resource, hasher.finish());
    if let Some(known) = forms.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return known.clone();
    }
    let made = text(resource, manager, status, &FieldSet::default());
    let mut forms = forms.lock().unwrap_or_else(PoisonError::into_inner);
    if forms.len() >= FORMS_MAX {
        forms.clear();
    }
    forms.insert(key, made.clone());
    made
}

/// What decides about the fields of a value: its keys, and what tells items of lists apart.
fn form(value: &Value, hasher: &mut impl Hasher) {
    match value {
        Value::Object(map) => {
            map.len().hash(hasher);
            for (key, value) in map {
                key.hash(hasher);
                match (key.as_str(), value) {
                    ("type" | "name" | "ip" | "uid", Value::String(text)) => text.hash(hasher),
                    _ => form(value, hasher),
                }
            }
        }
        Value::Array(list) => {
            list.len().hash(hasher);
            for item in list {
                match item {
                    Value::String(text) => text.hash(hasher),
                    item => form(item, hasher),
                }
            }
        }
        Value::Null => hasher.write_u8(0),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => hasher.write_u8(1),
    }
}

fn text(resource: Resource, manager: &str, status: &Value, theirs: &FieldSet) -> Option<Arc<str>> {
    let mut status = status.clone();
    if let Some(map) = status.as_object_mut() {
        // Set when the object was created, whoever created it.
        let given: &[&str] = match resource {
            Resource::Pod => &["qosClass"],
            Resource::Namespace => &["phase"],
            _ => &[],
        };
        map.retain(|key, _| !given.contains(&key.as_str()));
        if map.is_empty() {
            return None;
        }
    }
    let fields = managed_fields::fields_of(resource, &json!({"status": status})).difference(theirs);
    if fields.is_empty() {
        return None;
    }
    let entry = managed_fields::Entry {
        manager: manager.into(),
        operation: Operation::Update,
        api_version: resource.info().api_version(),
        time: None,
        subresource: "status".into(),
        fields,
    };
    let list = managed_fields::encode(&[entry]);
    Some(intern(&list[0].to_string()))
}

/// The managers of an event by its origin: the node, or a controller.
static EVENTS: Mutex<Vec<(bool, Managed)>> = Mutex::new(Vec::new());

/// Whether these are the managers of an event that this server told.
pub(in crate::world) fn is_of_event(managed: &Managed, second: i64) -> bool {
    let forms = EVENTS.lock().unwrap_or_else(PoisonError::into_inner);
    forms.iter().any(|(_, known)| known.at(second) == *managed)
}

/// The managers of an event that this server tells, which was made whole.
pub(in crate::world) fn of_event(event: &Value, second: i64) -> Managed {
    // The node's events name it; apart from that all have one form.
    let is_of_node = event["source"].get("host").is_some();
    let mut forms = EVENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, known)) = forms.iter().find(|(of_node, _)| *of_node == is_of_node) {
        return known.at(second);
    }
    let manager = if is_of_node { NODE_MANAGER } else { CONTROLLER_MANAGER };
    let by = Writer { manager, subresource: "", now: 0 };
    let entries = managed_fields::update(Resource::Event, None, event, Vec::new(), by);
    let made = Managed::read(Some(managed_fields::encode(&entries)));
    forms.push((is_of_node, made.clone()));
    made.at(second)
}
