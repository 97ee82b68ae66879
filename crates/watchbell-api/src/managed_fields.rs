//! Who owns which field: `metadata.managedFields` and server-side apply.
//!
//! ```text
//!   update: object before, object after ──▶ what changed is its manager's, and nobody else's
//!   apply:  object, configuration ──▶ merged ──▶ without what the manager applied before and gave up ──▶ conflicts?
//! ```
//!
//! How a value is divided into fields stands in the schema table: structs and maps by name, lists by their keys or as
//! sets, everything else as a whole. The rules are those of Kubernetes' structured merge.

mod apply;
mod entry;
mod set;
mod walk;

#[cfg(test)]
mod tests;

pub use apply::{Applied, ApplyError, Conflict, Force, apply};
pub use entry::{Entry, Operation, decode, encode, is_reset};
pub use set::{FieldSet, ParseFieldsError, PathElement, shown};

use serde_json::Value;

use crate::Resource;
use crate::schema;
use walk::{Difference, Rule};

/// At most so many entries of updates are kept; the oldest become one.
const UPDATE_MANAGERS_MAX: usize = 10;
/// What the merged entry is called.
const ANCIENT: &str = "ancient-changes";
/// Whoever changed an object before its fields were tracked.
const BEFORE_APPLY: &str = "before-first-apply";

/// Who writes.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    pub manager: &'a str,
    /// `status`, or empty.
    pub subresource: &'a str,
    /// Unix seconds.
    pub now: i64,
}

impl Writer<'_> {
    fn entry(&self, resource: Resource, operation: Operation) -> Entry {
        Entry {
            manager: if self.manager.is_empty() { "unknown".into() } else { self.manager.into() },
            operation,
            api_version: resource.info().api_version(),
            time: Some(self.now),
            subresource: self.subresource.into(),
            fields: FieldSet::default(),
        }
    }
}

/// The fields that an object or a configuration states.
pub fn fields_of(resource: Resource, object: &Value) -> FieldSet {
    walk::fields(rule(resource), object)
}

/// What of the object the writer made, when it was created; or changed, when it was there.
///
/// `managed` are the entries of the object that is there. Where it has none its fields are not tracked until somebody
/// applies it.
pub fn update(
    resource: Resource,
    before: Option<&Value>,
    after: &Value,
    mut managed: Vec<Entry>,
    by: Writer<'_>,
) -> Vec<Entry> {
    if before.is_some() && managed.is_empty() {
        return managed;
    }
    let empty = Value::Object(serde_json::Map::new());
    let mut difference = Difference::between(rule(resource), before.unwrap_or(&empty), after);
    if before.is_none() {
        walk::forget_inherent(schema::type_of(resource), &mut difference.added);
    }
    let changed = owned(difference.changed(), by.subresource);
    let removed = owned(difference.removed, by.subresource);
    let mut own = by.entry(resource, Operation::Update);
    own.fields = changed.clone();
    for entry in &mut managed {
        entry.fields = entry.fields.difference(&changed).difference(&removed);
    }
    if !own.fields.is_empty() {
        match managed.iter_mut().find(|entry| entry.is_of(&own)) {
            Some(entry) => {
                entry.fields = entry.fields.union(&own.fields);
                entry.time = own.time;
            }
            None => managed.push(own),
        }
    }
    settle(managed)
}

fn rule<'t>(resource: Resource) -> Rule<'t> {
    Rule::of_type(schema::type_of(resource))
}

/// What can be owned: not what identifies the object or belongs to the server, and by a subresource only its part.
fn owned(fields: FieldSet, subresource: &str) -> FieldSet {
    let mut identity = FieldSet::default();
    for name in ["apiVersion", "kind", "metadata"] {
        identity.insert(&[PathElement::field(name)]);
    }
    for name in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        identity.insert(&[PathElement::field("metadata"), PathElement::field(name)]);
    }
    fields.difference(&identity).without(if subresource == "status" { "spec" } else { "status" })
}

/// Drops entries that own nothing, merges the oldest updates, and brings the rest in Kubernetes' order.
fn settle(mut managed: Vec<Entry>) -> Vec<Entry> {
    managed.retain(|entry| !entry.fields.is_empty());
    merge_oldest(&mut managed);
    managed.sort_by(|a, b| a.order().cmp(&b.order()));
    managed
}

fn merge_oldest(managed: &mut Vec<Entry>) {
    let is_update = |entry: &Entry| entry.operation == Operation::Update;
    let count = managed.iter().filter(|entry| is_update(entry)).count();
    if count <= UPDATE_MANAGERS_MAX {
        return;
    }
    managed.sort_by(|a, b| a.order().cmp(&b.order()));
    // The first of a version is only moved when a second one joins it, so one more is taken than goes.
    let mut left = count - UPDATE_MANAGERS_MAX + 1;
    let mut kept: Vec<Entry> = Vec::new();
    let mut ancient: Vec<Entry> = Vec::new();
    for entry in managed.drain(..) {
        if left == 0 || !is_update(&entry) {
            kept.push(entry);
            continue;
        }
        left -= 1;
        match ancient.iter_mut().find(|bucket| bucket.api_version == entry.api_version) {
            Some(bucket) => {
                bucket.manager = ANCIENT.into();
                bucket.subresource.clear();
                bucket.fields = bucket.fields.union(&entry.fields);
                bucket.time = entry.time;
            }
            None => ancient.push(entry),
        }
    }
    kept.extend(ancient);
    *managed = kept;
}
