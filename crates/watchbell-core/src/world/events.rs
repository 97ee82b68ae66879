//! Events (the kind): what `kubectl describe` shows beside an object.
//!
//! One object for each (object, reason, message without numbers): a repetition raises its count. They are kept for an
//! hour, at most [`LIMIT`] of them; the oldest goes first. They are a help to people, never a record: that is the audit
//! journal's task.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use watchbell_api::{Resource, Uid};

use super::object::{Head, JsonHead, Key, NsName, Status, Stored};
use super::shown::rfc3339;
use super::{NODE_NAME, World, managed, pods};
use crate::controller::event::{EventKind, PlannedEvent};

/// How many events are kept.
pub(super) const LIMIT: usize = 10_000;
/// How long an event is kept, as Kubernetes' API server does by default.
pub(super) const TTL_SECONDS: i64 = 3600;
/// Kubernetes' bound of an event's message.
const MESSAGE_BYTES_MAX: usize = 1024;

/// One timer for all events: the oldest one's end. No event has an empty name.
pub(super) fn timer_key() -> Key {
    Key::new(Resource::Event, "", "")
}

impl World {
    pub(super) fn emit(&mut self, about: &Stored, event: &PlannedEvent, now: Timestamp) {
        let namespace = if about.namespace.is_empty() { "default" } else { &about.namespace };
        if self.namespace_is_ending(namespace) {
            return;
        }
        let kind = match event.kind {
            EventKind::Normal => "Normal",
            EventKind::Warning => "Warning",
        };
        let source = match about.resource {
            _ if [pods::SCHEDULED, pods::FAILED_SCHEDULING, pods::PREEMPTED].contains(&event.reason) => {
                "default-scheduler"
            }
            Resource::Job => "job-controller",
            Resource::CronJob => "cronjob-controller",
            Resource::Pod => "kubelet",
            Resource::PersistentVolumeClaim | Resource::PersistentVolume => "persistentvolume-controller",
            _ => "watchbell",
        };
        let second = now.as_second();
        let message = shortened(&event.message);
        let told = identity(&about.uid.to_string(), &about.name, kind, event.reason, message);
        let before = self
            .event_names
            .get(&(namespace.into(), told))
            .and_then(|name| self.get(Resource::Event, namespace, name))
            .cloned();
        let facts = before.as_ref().and_then(|before| before.facts().event());
        let (count, first_at) = facts.map_or((1, second), |f| (f.count.saturating_add(1), f.first_at));
        let (name, uid, created_at) = match &before {
            Some(before) => (before.name.to_string(), before.uid, before.created_at),
            None => {
                let name = self.next_event_name(namespace, &about.name, now);
                (name, Uid::from_random(self.random.bytes()), second)
            }
        };
        let info = about.resource.info();
        let mut object: Value = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {
                "name": name, "namespace": namespace, "uid": uid.to_string(),
                "creationTimestamp": rfc3339(created_at),
            },
            "involvedObject": {
                "apiVersion": info.api_version(), "kind": info.kind, "namespace": &*about.namespace,
                "name": &*about.name, "uid": about.uid.to_string(),
                "resourceVersion": about.resource_version.to_string(),
            },
            "reason": event.reason, "message": message, "type": kind,
            "count": count, "firstTimestamp": rfc3339(first_at), "lastTimestamp": rfc3339(second),
            "eventTime": null, "source": {"component": source},
            "reportingComponent": source, "reportingInstance": "",
        });
        // What runs pods is on a machine; a controller is on none.
        if source == "kubelet" {
            object["source"]["host"] = json!(NODE_NAME);
            object["reportingInstance"] = json!(NODE_NAME);
        }
        let managed = managed::of_event(&object, second);
        let mut head = JsonHead::from_value(Resource::Event, object)
            .expect("an event of ours is a JSON object with metadata");
        head.managed = managed;
        let stored = Stored {
            resource: Resource::Event,
            namespace: namespace.into(),
            name: name.as_str().into(),
            uid,
            resource_version: 0,
            generation: 0,
            created_at,
            deletion: None,
            head: Head::Json(Arc::new(head)),
            status: Status::None,
        };
        self.put(stored);
        self.bound_events();
    }

    /// `<object>.<nanoseconds of the time as 16 hex digits>`, as Kubernetes has it: by name, what was told later comes later, also
    /// within one second and one decision.
    fn next_event_name(&mut self, namespace: &str, about: &str, now: Timestamp) -> String {
        let stem = &about[..about.floor_char_boundary(236)];
        let at = u64::try_from(now.as_nanosecond()).unwrap_or(0);
        self.last_event_at = at.max(self.last_event_at.saturating_add(1));
        loop {
            let name = format!("{stem}.{:016x}", self.last_event_at);
            // A client's, or of before a restart whose clock went back.
            if self.get(Resource::Event, namespace, &name).is_none() {
                return name;
            }
            self.last_event_at = self.last_event_at.saturating_add(1);
        }
    }

    /// The oldest events make room; clients write some too.
    fn bound_events(&mut self) {
        while self.events.len() > LIMIT {
            self.drop_oldest_event();
        }
    }

    fn drop_oldest_event(&mut self) {
        if let Some((_, at)) = self.events.first().cloned() {
            self.remove(Resource::Event, &at);
        }
    }

    pub(super) fn expire_events(&mut self, now: Timestamp) {
        let second = now.as_second();
        while self.events.first().is_some_and(|(at, _)| at.saturating_add(TTL_SECONDS) <= second) {
            self.drop_oldest_event();
        }
        self.bound_events();
    }
}

fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)]
}

/// What is the same for an event that is told again. Numbers do not count, and of an array's pods only the first ten are told by
/// name, so that a large array leaves room for the events of others.
pub(super) fn identity(uid: &str, name: &str, kind: &str, reason: &str, message: &str) -> u64 {
    let mut hash = Sha256::new();
    for part in [uid, kind, reason] {
        hash.update(part);
        hash.update([0]);
    }
    for word in message.split(' ').filter(|word| !is_array_pod(name, word)) {
        hash.update(word.chars().filter(|c| c.is_alphabetic()).collect::<String>());
        hash.update(" ");
    }
    let digest = hash.finalize();
    let mut number = [0u8; 8];
    number.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(number)
}

/// `<job>-<index>-<suffix>`, with an index from 10 on.
fn is_array_pod(job: &str, word: &str) -> bool {
    let index = word
        .strip_prefix(job)
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.split_once('-'))
        .map(|(index, _)| index);
    index.is_some_and(|index| index.len() > 1 && index.bytes().all(|b| b.is_ascii_digit()))
}

/// Where an event stands in the order of age. A client may tell today of what happened long ago.
pub(super) fn age(event: &Stored) -> Option<(i64, NsName)> {
    Some((event.facts().event()?.last_at.max(event.created_at), event.at()))
}

/// What an event tells: its namespace, and what it has in common with its like.
type Told = (Arc<str>, u64);

/// What an event tells, and its name.
pub(super) fn told(event: &Stored) -> Option<(Told, Arc<str>)> {
    Some(((event.namespace.clone(), event.facts().event()?.identity), event.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::is_array_pod;

    #[test]
    fn names_of_array_pods_are_told_from_other_words() {
        let check = |job, word, expect| assert_eq!(is_array_pod(job, word), expect, "{word} of {job}");
        check("fit", "fit-17-x7k2p", true);
        check("fit-1", "fit-1-17-x7k2p", true);
        check("fit", "fit-9-x7k2p", false);
        check("fit", "fit-x7k2p", false);
        check("fit", "fit-late-x7k2p", false);
        check("fit", "fit--x7k2p", false);
        check("fit", "fitting-17-x7k2p", false);
        check("fit", "Created", false);
    }
}
