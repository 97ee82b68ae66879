//! An object as clients see it, put together from what is kept apart.

use serde_json::{Map, Value};
use watchbell_api::Uid;

use super::NODE_NAME;
use super::managed::{self, Managed};
use super::object::{Head, JsonHead, Status, Stored};
use super::template::TRACKING;
use crate::controller::cronjob::CronJobStatus;

impl Stored {
    /// The whole object, as a client sees it.
    ///
    /// # Panics
    /// If the head is not the JSON object that [`JsonHead::from_value`] made; that is checked when it is loaded.
    pub fn render(&self) -> Value {
        let mut object = self.render_head();
        self.render_pod_marks(&mut object);
        let status = self.render_status();
        let managed = self.managed(status.as_ref());
        let metadata = object
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
            .expect("a head has metadata: from_value put it there");
        if !managed.is_empty() {
            metadata.insert("managedFields".into(), managed.render());
        }
        // What a dry run would have created was never committed.
        if self.resource_version != 0 {
            metadata.insert("resourceVersion".into(), Value::String(self.resource_version.to_string()));
        }
        if self.generation > 0 {
            metadata.insert("generation".into(), self.generation.into());
        }
        if let Some(deletion) = self.deletion {
            metadata.insert("deletionTimestamp".into(), Value::String(rfc3339(deletion.at)));
            metadata.insert("deletionGracePeriodSeconds".into(), deletion.grace_seconds.into());
        }
        if let Some(status) = status {
            object.insert("status".into(), status);
        }
        Value::Object(object)
    }

    /// Who owns its fields; `status` is what is shown of its status.
    pub fn managed(&self, status: Option<&Value>) -> Managed {
        managed::of_status(self, self.written_managed(), status)
    }

    /// The same without what this server owns of the status.
    fn written_managed(&self) -> Managed {
        match (&self.head, self.own_head()) {
            (_, Some(own)) => own.managed.clone(),
            (Head::ArrayPod(pod), None) => pod.template.managed_of(self, pod),
            (Head::Json(own), None) => own.managed.clone(),
        }
    }

    fn render_head(&self) -> Map<String, Value> {
        match &self.head {
            Head::Json(head) => head.to_map(),
            Head::ArrayPod(pod) => match &pod.own {
                Some(own) => own.to_map(),
                None => pod.template.render_head(self, pod),
            },
        }
    }

    /// What a pod's head does not hold because it follows from its state: the node, and that its end is to be counted.
    fn render_pod_marks(&self, object: &mut Map<String, Value>) {
        let Some(status) = self.pod_status() else { return };
        if status.scheduled_at.is_some()
            && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
        {
            spec.insert("nodeName".into(), NODE_NAME.into());
        }
        if self.array_pod().is_some()
            && !status.phase.is_terminal()
            && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
            && let Value::Array(list) =
                metadata.entry("finalizers").or_insert_with(|| Value::Array(Vec::new()))
        {
            list.push(TRACKING.into());
        }
    }

    /// The head as it is stored, or would be if it were the object's own.
    pub(super) fn head_json(&self) -> std::borrow::Cow<'_, [u8]> {
        match self.own_head() {
            Some(own) => std::borrow::Cow::Borrowed(&own.json),
            None => {
                let rendered = JsonHead::from_value(self.resource, Value::Object(self.render_head()));
                std::borrow::Cow::Owned(rendered.expect("a template renders a pod").json.into_vec())
            }
        }
    }

    /// Whether an object with this head would be the same.
    pub(super) fn has_head(&self, head: &JsonHead) -> bool {
        self.written_managed() == head.managed && *self.head_json() == *head.json
    }

    pub fn render_status(&self) -> Option<Value> {
        match &self.status {
            Status::None => None,
            Status::Json(value) => Some((**value).clone()),
            Status::Token(token) => Some(token.render()),
            Status::Job { status, .. } => {
                let facts = self.facts().job()?;
                Some(status.render(&facts.spec))
            }
            Status::CronJob(status) => Some(render_cronjob_status(status, &self.namespace)),
            Status::Pod(status) => {
                let spec = self.pod_spec()?;
                Some(watchbell_api::render_pod::pod_status(
                    self.uid,
                    status,
                    spec,
                    self.created_at,
                    self.deletion.map(|d| d.at),
                ))
            }
        }
    }
}

/// Unix seconds as Kubernetes prints a time: `2026-01-02T03:04:05Z`.
pub fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |t| t.to_string())
}

fn render_cronjob_status(status: &CronJobStatus, namespace: &str) -> Value {
    let mut out = Map::new();
    if !status.active.is_empty() {
        let active = status
            .active
            .iter()
            .map(|job| {
                serde_json::json!({
                    "apiVersion": "batch/v1", "kind": "Job", "name": &*job.name, "namespace": namespace,
                    "uid": Uid(job.uid).to_string(),
                })
            })
            .collect();
        out.insert("active".into(), Value::Array(active));
    }
    if let Some(at) = status.last_schedule_time {
        out.insert("lastScheduleTime".into(), Value::String(rfc3339(at)));
    }
    if let Some(at) = status.last_successful_time {
        out.insert("lastSuccessfulTime".into(), Value::String(rfc3339(at)));
    }
    Value::Object(out)
}
