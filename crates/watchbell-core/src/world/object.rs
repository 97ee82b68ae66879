//! An object at rest: the bytes its author wrote, a few typed facts for the controllers, and its status apart.
//!
//! ```text
//!   Stored ── head ─┬─ Json      the object without status, resourceVersion and deletion marks, shared by versions
//!                   └─ ArrayPod  (template of the Job, index, attempt): a finished index costs about a hundred bytes
//!          └─ status ─ typed for what the controllers write, JSON for the rest
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use watchbell_api::types::pod::PodSpec;
use watchbell_api::types::pod_status::{JobLog, PodStatus};
use watchbell_api::{Resource, Uid, selector};

use super::NODE_NAME;
use super::adopt::ADOPTED;
use super::facts::Facts;
use super::managed::{self, Managed};
use super::template::{JobPods, TRACKING};
use crate::controller::cronjob::CronJobStatus;
use crate::controller::job::JobStatus;
use crate::image_policy::Text;
use crate::login::KeptToken;

/// Names an object among those of its resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NsName {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl NsName {
    pub fn new(namespace: &str, name: &str) -> NsName {
        NsName { namespace: namespace.into(), name: name.into() }
    }
}

/// Names an object among all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub resource: Resource,
    pub at: NsName,
}

impl Key {
    pub fn new(resource: Resource, namespace: &str, name: &str) -> Key {
        Key { resource, at: NsName::new(namespace, name) }
    }
}

/// One version of an object. Never changed once it is shared.
#[derive(Debug, Clone)]
pub struct Stored {
    pub resource: Resource,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub uid: Uid,
    pub resource_version: u64,
    pub generation: u32,
    pub created_at: i64,
    pub deletion: Option<Deletion>,
    pub head: Head,
    pub status: Status,
}

/// `metadata.deletionTimestamp` and its grace period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Deletion {
    pub at: i64,
    pub grace_seconds: u32,
}

#[derive(Debug, Clone)]
pub enum Head {
    Json(Arc<JsonHead>),
    ArrayPod(Box<ArrayPod>),
}

/// The part of an object that its author wrote.
#[derive(Debug)]
pub struct JsonHead {
    /// The object without `status`, `metadata.{resourceVersion,generation,managedFields,…}`, as compact JSON.
    pub json: Box<[u8]>,
    pub labels: BTreeMap<String, String>,
    pub owners: Vec<Owner>,
    pub finalizers: Vec<String>,
    pub managed: Managed,
    pub facts: Facts,
}

/// One entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub kind: String,
    pub name: String,
    pub uid: Uid,
    pub controller: bool,
    pub block_owner_deletion: bool,
}

/// A pod of a Job that is there and controls it: what it shares with its siblings stands in the template. A pod that is
/// taken from its Job, or outlives it, has a [`Head::Json`] from then on.
#[derive(Debug, Clone)]
pub struct ArrayPod {
    pub template: Arc<JobPods>,
    pub index: Option<u32>,
    pub attempt: u32,
    pub failure_count: u32,
    pub ignored_failure_count: u32,
    /// Changes the name's suffix when a foreign pod holds the name.
    pub salt: u8,
    /// The whole head, once it differs from the template: a client patched the pod, or the Job adopted it.
    pub own: Option<Arc<JsonHead>>,
}

#[derive(Debug, Clone)]
pub enum Status {
    None,
    Json(Arc<Value>),
    /// `images`: what the images of its pods resolved to, so that a pod's row names one by number; `fills`: what admission
    /// made of its template where that follows from other objects, likewise; `job_id`: the version at which the Job was
    /// created, which names it in the journal.
    Job {
        status: Arc<JobStatus>,
        images: Arc<[Arc<str>]>,
        fills: Arc<Fills>,
        job_id: u64,
    },
    CronJob(Arc<CronJobStatus>),
    Pod(Arc<PodStatus>),
    /// Of a user's token, with the hash that is never shown.
    Token(Arc<KeptToken>),
}

/// What admission made of a Job's template, by number: a pod's annotations and spec. One of which no pod is there may be empty.
#[derive(Debug, Default)]
pub struct Fills {
    pub(super) texts: Vec<Arc<str>>,
    pub(super) place: FillsPlace,
}

/// Where a Job's fills stand in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum FillsPlace {
    /// With the head, so that a status does not write them again.
    #[default]
    Head,
    /// As rows of before have them.
    Status,
}

impl Stored {
    pub fn key(&self) -> Key {
        Key { resource: self.resource, at: self.at() }
    }

    pub fn at(&self) -> NsName {
        NsName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    pub fn array_pod(&self) -> Option<&ArrayPod> {
        match &self.head {
            Head::Json(_) => None,
            Head::ArrayPod(pod) => Some(pod),
        }
    }

    /// What the author wrote, where it is the object's own.
    pub(super) fn own_head(&self) -> Option<&JsonHead> {
        match &self.head {
            Head::Json(head) => Some(head),
            Head::ArrayPod(pod) => pod.own.as_deref(),
        }
    }

    /// What the author wrote, as compact JSON, where it is the object's own: forms of one object share it until it changes.
    pub fn own_json(&self) -> Option<&[u8]> {
        self.own_head().map(|head| &*head.json)
    }

    pub fn labels(&self) -> std::borrow::Cow<'_, BTreeMap<String, String>> {
        match (&self.head, self.own_head()) {
            (_, Some(own)) => std::borrow::Cow::Borrowed(&own.labels),
            (Head::ArrayPod(pod), None) => std::borrow::Cow::Owned(pod.template.labels_of(pod)),
            (Head::Json(head), None) => std::borrow::Cow::Borrowed(&head.labels),
        }
    }

    /// Whether a label selector chooses it.
    pub fn is_chosen(&self, selector: &selector::Labels) -> bool {
        match (&self.head, self.own_head()) {
            (_, Some(own)) => selector.matches(&own.labels),
            (Head::ArrayPod(pod), None) => pod.template.is_chosen(pod, selector),
            (Head::Json(head), None) => selector.matches(&head.labels),
        }
    }

    /// The controller among the owners.
    pub fn controller(&self) -> Option<Uid> {
        match &self.head {
            Head::Json(head) => head.owners.iter().find(|o| o.controller).map(|o| o.uid),
            Head::ArrayPod(pod) => Some(pod.template.job_uid),
        }
    }

    /// Where the logs of a pod lie: among those of the Job that made it, or (`None`) by its own uid. Who controls it now says
    /// nothing of that, and its owner references least of all: they are whatever a client wrote.
    pub fn job_log(&self) -> Option<JobLog> {
        if let Some(kept) = self.pod_status().and_then(|status| status.job_log.as_deref()) {
            return Some(*kept);
        }
        let pod = self.array_pod().filter(|pod| pod.attempt < ADOPTED)?;
        Some(JobLog { job: pod.template.job_uid, index: pod.index, attempt: pod.attempt })
    }

    /// Before it follows on `old`: a pod that leaves its Job keeps its logs where they are.
    pub(super) fn keep_job_log(&mut self, old: &Stored) {
        let leaves = old.array_pod().is_some() && self.array_pod().is_none();
        let is_bound = old.pod_status().is_some_and(|status| status.scheduled_at.is_some());
        if let (true, Some(log), Status::Pod(status)) = (leaves && is_bound, old.job_log(), &mut self.status)
        {
            Arc::make_mut(status).job_log = Some(Box::new(log));
        }
    }

    /// The owners that stand in the object itself; the Job of an array pod often does not.
    pub fn owners(&self) -> &[Owner] {
        self.own_head().map_or(&[], |own| &own.owners)
    }

    pub fn finalizers(&self) -> &[String] {
        self.own_head().map_or(&[], |own| &own.finalizers)
    }

    pub fn facts(&self) -> &Facts {
        match &self.head {
            Head::Json(head) => &head.facts,
            Head::ArrayPod(_) => &Facts::None,
        }
    }

    /// A text of a ConfigMap.
    pub(super) fn config_text(&self, key: &str) -> Option<&Text> {
        let head = self.own_head()?;
        match &head.facts {
            Facts::ConfigMap(texts) => texts.get(&head.json, key),
            _ => None,
        }
    }

    pub fn pod_status(&self) -> Option<&PodStatus> {
        match &self.status {
            Status::Pod(status) => Some(status),
            _ => None,
        }
    }

    pub fn job_status(&self) -> Option<&JobStatus> {
        match &self.status {
            Status::Job { status, .. } => Some(status),
            _ => None,
        }
    }

    pub fn token(&self) -> Option<&KeptToken> {
        match &self.status {
            Status::Token(token) => Some(token),
            _ => None,
        }
    }

    pub fn cronjob_status(&self) -> Option<&CronJobStatus> {
        match &self.status {
            Status::CronJob(status) => Some(status),
            _ => None,
        }
    }

    /// The typed spec of a pod, shared with its siblings where it has some.
    pub fn pod_spec(&self) -> Option<&Arc<PodSpec>> {
        match &self.head {
            Head::ArrayPod(pod) => match &pod.own {
                Some(own) => own.facts.pod(),
                None => Some(pod.template.spec()),
            },
            Head::Json(head) => head.facts.pod(),
        }
    }
}

impl JsonHead {
    /// Splits an object: what stays in the head is kept as bytes, in its author's order.
    pub fn from_value(resource: Resource, mut object: Value) -> Result<JsonHead, String> {
        let map = object.as_object_mut().ok_or("an object is a JSON object")?;
        map.shift_remove("status");
        let metadata =
            map.get_mut("metadata").and_then(Value::as_object_mut).ok_or("an object has metadata")?;
        for field in
            ["resourceVersion", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"]
        {
            metadata.shift_remove(field);
        }
        let managed = Managed::read(metadata.shift_remove(MANAGED));
        if resource == Resource::Pod {
            forget_pod_marks(map);
        }
        let json = serde_json::to_vec(&object).map_err(|e| e.to_string())?.into_boxed_slice();
        JsonHead::read(resource, &object, json, managed)
    }

    /// Reads a head that was written by [`JsonHead::to_row`]; `row` are its bytes.
    pub(super) fn from_row(resource: Resource, mut object: Value, row: &[u8]) -> Result<JsonHead, String> {
        let Some(list) = object.as_object_mut().and_then(|map| map.shift_remove(MANAGED)) else {
            return JsonHead::read(resource, &object, row.into(), Managed::default());
        };
        if list == OWN_EVENT {
            let json = row.strip_suffix(managed_tail(b"0").as_slice()).map(|stem| [stem, b"}"].concat());
            let json = json.ok_or("its managers do not stand at its end")?;
            let mut head = JsonHead::read(resource, &object, json.into(), Managed::default())?;
            let second = head.facts.event().map_or(0, |event| event.last_at);
            head.managed = managed::of_event(&object, second);
            return Ok(head);
        }
        let json = match row.strip_suffix(managed_tail(list.to_string().as_bytes()).as_slice()) {
            Some(stem) => [stem, b"}"].concat(),
            None => serde_json::to_vec(&object).map_err(|e| e.to_string())?,
        };
        JsonHead::read(resource, &object, json.into(), Managed::read(Some(list)))
    }

    fn read(
        resource: Resource,
        object: &Value,
        json: Box<[u8]>,
        managed: Managed,
    ) -> Result<JsonHead, String> {
        let metadata = &object["metadata"];
        let labels = string_map(metadata.get("labels"));
        let owners = metadata.get("ownerReferences").map(owners).unwrap_or_default();
        let finalizers = metadata
            .get("finalizers")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default();
        let facts = Facts::read(resource, object)?;
        Ok(JsonHead { json, labels, owners, finalizers, managed, facts })
    }

    /// The head without its managers.
    pub(super) fn to_map(&self) -> Map<String, Value> {
        serde_json::from_slice(&self.json).expect("a head is the JSON that from_value wrote")
    }

    /// The head as it lies in the journal: the managers stand beside the metadata, so that the rest is read as it is.
    pub(super) fn to_row(&self) -> Vec<u8> {
        self.add_to_row(Vec::new())
    }

    /// The same after what stands before it.
    pub(super) fn add_to_row(&self, mut row: Vec<u8>) -> Vec<u8> {
        row.extend_from_slice(&self.json);
        let is_own_event =
            self.facts.event().is_some_and(|event| managed::is_of_event(&self.managed, event.last_at));
        if is_own_event {
            row.pop();
            row.extend_from_slice(&managed_tail(OWN_EVENT.to_string().as_bytes()));
        } else if !self.managed.is_empty() {
            row.pop();
            row.extend_from_slice(&managed_tail(&self.managed.json()));
        }
        row
    }
}

const MANAGED: &str = "managedFields";
/// Stands in a row for the managers of an event that this server told: they follow from the event.
const OWN_EVENT: i32 = 0;

/// The end of a row with managers.
fn managed_tail(list: &[u8]) -> Vec<u8> {
    [b",\"", MANAGED.as_bytes(), b"\":", list, b"}"].concat()
}

/// The counterpart of [`Stored::render_pod_marks`].
fn forget_pod_marks(pod: &mut Map<String, Value>) {
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut)
        && spec.get("nodeName").is_some_and(|name| name == NODE_NAME)
    {
        spec.shift_remove("nodeName");
    }
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(list) = metadata.get_mut("finalizers").and_then(Value::as_array_mut)
    {
        list.retain(|finalizer| finalizer != TRACKING);
        if list.is_empty() {
            metadata.shift_remove("finalizers");
        }
    }
}

pub(crate) fn string_map(value: Option<&Value>) -> BTreeMap<String, String> {
    value
        .and_then(Value::as_object)
        .map(|map| map.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect())
        .unwrap_or_default()
}

fn owners(list: &Value) -> Vec<Owner> {
    let text = |o: &Value, field: &str| o.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let flag = |o: &Value, field: &str| o.get(field).and_then(Value::as_bool).unwrap_or(false);
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|o| {
            Some(Owner {
                kind: text(o, "kind"),
                name: text(o, "name"),
                uid: text(o, "uid").parse().ok()?,
                controller: flag(o, "controller"),
                block_owner_deletion: flag(o, "blockOwnerDeletion"),
            })
        })
        .collect()
}
