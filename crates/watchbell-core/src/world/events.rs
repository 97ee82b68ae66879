//! Events (the kind): what `kubectl describe` shows beside an object.
//!
//! One object for each (object, reason, message without numbers): a repetition raises its count. They are kept for an
//! hour, at most [`LIMIT`] of them; the oldest goes first. They are a help to people, never a record: that is the audit
//! journal's task.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use watchbell_api::Resource;

use super::object::{Head, JsonHead, Key, NsName, Status, Stored, rfc3339};
use super::{NODE_NAME, World};
use crate::controller::event::{EventKind, PlannedEvent};

/// How many events are kept.
const LIMIT: usize = 10_000;
/// How long an event is kept, as Kubernetes' API server does by default.
const TTL_SECONDS: i64 = 3600;

/// The events in the order of their last change.
#[derive(Debug, Default)]
pub(super) struct Ring {
    order: VecDeque<(i64, NsName)>,
}

impl Ring {
    pub(super) fn recall(&mut self, event: &Stored, now: Timestamp) {
        let at = event.created_at.min(now.as_second());
        self.order.push_back((at, NsName { namespace: event.namespace.clone(), name: event.name.clone() }));
    }
}

impl World {
    pub(super) fn emit(&mut self, about: &Stored, event: &PlannedEvent, now: Timestamp) {
        let kind = match event.kind {
            EventKind::Normal => "Normal",
            EventKind::Warning => "Warning",
        };
        let second = now.as_second();
        let namespace = if about.namespace.is_empty() { "default" } else { &about.namespace };
        let name = event_name(about, kind, event.reason, &event.message);
        let info = about.resource.info();
        let (count, first) = match self.get(Resource::Event, namespace, &name) {
            Some(before) => {
                let value = before.render();
                let count = value["count"].as_u64().unwrap_or(1) + 1;
                (count, value["firstTimestamp"].as_str().unwrap_or_default().to_owned())
            }
            None => (1, rfc3339(second)),
        };
        let before = self.get(Resource::Event, namespace, &name).cloned();
        let uid = before.as_ref().map_or_else(|| watchbell_api::Uid::from_random(self.random.bytes()), |b| b.uid);
        let created_at = before.as_ref().map_or(second, |b| b.created_at);
        let source = match about.resource {
            Resource::Job => "job-controller",
            Resource::CronJob => "cronjob-controller",
            Resource::Pod => "kubelet",
            _ => "watchbell",
        };
        let object: Value = json!({
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
            "reason": event.reason, "message": event.message, "type": kind,
            "count": count, "firstTimestamp": first, "lastTimestamp": rfc3339(second), "eventTime": null,
            "source": {"component": source, "host": NODE_NAME},
            "reportingComponent": source, "reportingInstance": NODE_NAME,
        });
        let head = JsonHead::from_value(Resource::Event, object).expect("an event of ours is a JSON object with metadata");
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
        let at = NsName { namespace: stored.namespace.clone(), name: stored.name.clone() };
        self.put(stored);
        if count == 1 {
            self.events.order.push_back((second, at));
            if self.events.order.len() == 1 {
                self.events_timer();
            }
        }
        while self.events.order.len() > LIMIT {
            self.drop_oldest_event();
        }
    }

    fn drop_oldest_event(&mut self) {
        if let Some((_, at)) = self.events.order.pop_front() {
            self.remove(Resource::Event, &at);
        }
    }

    /// One timer for all events: the oldest one's end.
    pub(super) fn events_timer(&mut self) {
        let at = self.events.order.front().map(|(at, _)| at + TTL_SECONDS);
        self.set_timer(&Key::new(Resource::Event, "", ""), at);
    }

    pub(super) fn expire_events(&mut self, now: Timestamp) {
        let second = now.as_second();
        while self.events.order.front().is_some_and(|(at, _)| at + TTL_SECONDS <= second) {
            self.drop_oldest_event();
        }
        self.events_timer();
    }
}

/// `<object>.<16 hex digits>`: the same event again has the same name. Numbers in the message do not count, so that
/// "created pod x-17" and "created pod x-18" of an array are one event.
fn event_name(about: &Stored, kind: &str, reason: &str, message: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(about.uid.0.to_be_bytes());
    hash.update(kind);
    hash.update([0]);
    hash.update(reason);
    hash.update([0]);
    for byte in message.bytes().filter(|b| !b.is_ascii_digit()) {
        hash.update([byte]);
    }
    let digest = hash.finalize();
    let mut number = [0u8; 8];
    number.copy_from_slice(&digest[..8]);
    let stem = &about.name[..about.name.len().min(236)];
    format!("{stem}.{:016x}", u64::from_be_bytes(number))
}
