//! What all pods of one Job share, and how one of them is told from the others.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use watchbell_api::array::ArrayRun;
use watchbell_api::types::job::JobSpec;
use watchbell_api::types::pod::PodSpec;
use watchbell_api::{Resource, Uid, managed_fields, selector};

use super::managed::Managed;
use super::object::{ArrayPod, Stored, string_map};
use super::rules::check_filled_in;
use super::shape::{Shape, Shapes};
use super::shown::rfc3339;
use super::{CONTROLLER_MANAGER, NODE_NAME};
use crate::admission::pod_security::{self, LevelVersion};
use crate::admission::{Cost, Mode};
use crate::arrays::JobArrays;

/// Label and annotation that carry an index.
pub const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURE_COUNT: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED_FAILURE_COUNT: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// The finalizer by which Kubernetes' Job controller keeps a pod until it is counted; shown only, as clients look for
/// it: a pod is counted in the transaction that records its end.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";

const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_COUNT: u64 = 27 * 27 * 27 * 27 * 27;

/// The pods of a Job under one admission mode.
#[derive(Debug)]
pub struct JobPods {
    pub job_uid: Uid,
    /// The number that names the Job in the journal: the resource version at which it was created.
    pub job_id: u64,
    pub job_name: Arc<str>,
    pub mode: Mode,
    /// Which of the Job's fills made them, and the fill; `None`: the mode alone did.
    pub(super) fill: Option<(u16, Arc<str>)>,
    failures_told: FailuresTold,
    /// For what its pods use data arrays.
    pub arrays: Option<Arc<ArrayRun>>,
    labels: Arc<BTreeMap<String, String>>,
    annotations: Arc<BTreeMap<String, String>>,
    shape: Arc<Shape>,
    /// The managers of a pod's fields, made when the first pod is shown.
    managed: OnceLock<Managed>,
}

/// Whether a pod says how often its index failed before (under `backoffLimitPerIndex`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FailuresTold {
    No,
    ByIndex,
}

/// What a Job's template makes impossible, with the field's path.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct TemplateError(pub(super) String);

impl JobPods {
    /// What a Job's template makes of its pods. Nothing is judged here: pods that are there must
    /// be readable under other rules too.
    ///
    /// `fill`: one of the Job's, by its number: a pod's annotations and spec as admission made them under the LimitRanges
    /// and classes of the time.
    pub(super) fn new(
        shapes: &mut Shapes,
        job: &Value,
        job_uid: Uid,
        job_id: u64,
        spec: &JobSpec,
        mode: Mode,
        fill: Option<(u16, Arc<str>)>,
    ) -> Result<JobPods, TemplateError> {
        let template = &job["spec"]["template"];
        let name = job["metadata"]["name"].as_str().unwrap_or_default();
        let pod = match &fill {
            None => None,
            Some((_, text)) => Some(
                serde_json::from_str::<Value>(text)
                    .map_err(|e| TemplateError(format!("a fill of the Job: {e}")))?,
            ),
        };
        let shape = match &pod {
            None => shapes.of(&template["spec"], mode, spec.completion_mode)?,
            Some(pod) => shapes.of_effective(&pod["spec"])?,
        };
        let annotations = pod.as_ref().unwrap_or(template)["metadata"].get("annotations");
        let job_name: Arc<str> = name.into();
        let arrays = JobArrays::read(job).map(|arrays| Arc::new(arrays.run_of(job_uid, &job_name, spec)));
        Ok(JobPods {
            job_uid,
            job_id,
            job_name,
            arrays,
            mode,
            fill,
            failures_told: match spec.backoff_limit_per_index {
                Some(_) => FailuresTold::ByIndex,
                None => FailuresTold::No,
            },
            labels: Arc::new(string_map(template["metadata"].get("labels"))),
            annotations: Arc::new(string_map(annotations)),
            shape,
            managed: OnceLock::new(),
        })
    }

    /// What a pod takes of quotas.
    pub(super) fn cost(&self) -> &Arc<Cost> {
        self.shape.cost()
    }

    /// Whether classes admit such pods where nobody made one.
    pub(super) fn verdict(&self) -> Result<(), String> {
        self.shape.verdict.clone()
    }

    /// Why a policy refuses such pods.
    pub(super) fn refused_by(&self, policy: LevelVersion) -> Option<String> {
        let violations = match &*self.annotations {
            none if none.is_empty() => pod_security::judge(policy, &Value::Null, &self.shape.json),
            some => pod_security::judge(policy, &json!(some), &self.shape.json),
        };
        (!violations.is_empty()).then(|| pod_security::violates(policy, &violations))
    }

    /// Whether what admission gave such pods goes with what they ask for.
    pub(super) fn check_fill(&self) -> Result<(), String> {
        match self.fill {
            None => Ok(()),
            Some(_) => check_filled_in(
                &json!({"metadata": {"annotations": &*self.annotations}, "spec": self.shape.json}),
            ),
        }
    }

    /// Whether these are the pods that `pod` (of [`super::shape::effective`]) describes.
    pub(super) fn are_like(&self, pod: &Value) -> bool {
        self.shape.json == pod["spec"] && *self.annotations == string_map(pod["metadata"].get("annotations"))
    }

    pub(super) fn fill_number(&self) -> Option<u16> {
        self.fill.as_ref().map(|(number, _)| *number)
    }

    pub fn spec(&self) -> &Arc<PodSpec> {
        &self.shape.spec
    }

    /// The UID of one attempt: derived, so that it need not be stored.
    pub fn pod_uid(&self, index: Option<u32>, attempt: u32) -> Uid {
        let mut hash = Sha256::new();
        hash.update(b"watchbell pod");
        hash.update(self.job_uid.0.to_be_bytes());
        hash.update(index.map_or(u64::MAX, u64::from).to_be_bytes());
        hash.update(attempt.to_be_bytes());
        let digest = hash.finalize();
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&digest[..16]);
        Uid::from_hash(bytes)
    }

    /// `<job>-<index>-<suffix>`, or `<job>-<suffix>` without an index. The suffix is a permutation of the attempt, so
    /// that no two pods of a Job share a name; `salt` avoids a foreign pod's.
    pub fn pod_name(&self, index: Option<u32>, attempt: u32, salt: u8) -> String {
        let start = (self.job_uid.0 as u64)
            ^ (u64::from(index.unwrap_or(u32::MAX)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // 5,000,011 is prime and no multiple of 3: the step visits every suffix before one comes again.
        let step = (u64::from(attempt) + (u64::from(salt) << 20)).wrapping_mul(5_000_011);
        let mut number = (start % SUFFIX_COUNT + step % SUFFIX_COUNT) % SUFFIX_COUNT;
        let mut suffix = [0u8; 5];
        for byte in &mut suffix {
            *byte = SUFFIX_ALPHABET[(number % 27) as usize];
            number /= 27;
        }
        let suffix = str::from_utf8(&suffix).expect("the alphabet is ASCII");
        let tail = match index {
            Some(index) => format!("-{index}-{suffix}"),
            None => format!("-{suffix}"),
        };
        let room = 63usize.saturating_sub(tail.len());
        let stem = &self.job_name[..self.job_name.len().min(room)];
        format!("{}{tail}", stem.trim_end_matches(['-', '.']))
    }

    /// What `hostname` prints inside.
    pub fn hostname(&self, pod: &ArrayPod, pod_name: &Arc<str>) -> Arc<str> {
        match pod.index {
            Some(index) => format!("{}-{index}", self.job_name).into(),
            None => self.shape.spec.hostname.as_deref().map_or_else(|| pod_name.clone(), Into::into),
        }
    }

    pub fn labels_of(&self, pod: &ArrayPod) -> BTreeMap<String, String> {
        let mut labels = (*self.labels).clone();
        if let Some(index) = pod.index {
            labels.insert(COMPLETION_INDEX.into(), index.to_string());
        }
        labels
    }

    pub fn annotations_of(&self, pod: &ArrayPod) -> BTreeMap<String, String> {
        let mut annotations = (*self.annotations).clone();
        if let Some(index) = pod.index {
            annotations.insert(COMPLETION_INDEX.into(), index.to_string());
            if self.failures_told == FailuresTold::ByIndex {
                annotations.insert(FAILURE_COUNT.into(), pod.failure_count.to_string());
            }
            if pod.ignored_failure_count > 0 {
                annotations.insert(IGNORED_FAILURE_COUNT.into(), pod.ignored_failure_count.to_string());
            }
        }
        annotations
    }

    /// Whether a selector chooses the pod. No label is copied: lists ask this of each of a hundred thousand.
    pub fn is_chosen(&self, pod: &ArrayPod, selector: &selector::Labels) -> bool {
        selector.matches_by(|key| match pod.index {
            Some(index) if key == COMPLETION_INDEX => Some(index.to_string().into()),
            _ => self.labels.get(key).map(|value| value.as_str().into()),
        })
    }

    /// As [`JobPods::labels_of`], without a copy where nothing is the pod's own.
    pub fn shared_labels_of(&self, pod: &ArrayPod) -> Arc<BTreeMap<String, String>> {
        if pod.index.is_none() { self.labels.clone() } else { Arc::new(self.labels_of(pod)) }
    }

    pub fn shared_annotations_of(&self, pod: &ArrayPod) -> Arc<BTreeMap<String, String>> {
        if pod.index.is_none() { self.annotations.clone() } else { Arc::new(self.annotations_of(pod)) }
    }

    /// Who owns a pod's fields: the Job controller, as of the pod's creation.
    pub(super) fn managed_of(&self, stored: &Stored, pod: &ArrayPod) -> Managed {
        let made = self.managed.get_or_init(|| {
            // All pods share the list, so it is made without the one annotation that only some of them have: which pod is
            // asked for first must not decide it.
            let plain = ArrayPod { ignored_failure_count: 0, own: None, ..pod.clone() };
            let object = Value::Object(self.render_head(stored, &plain));
            let by = managed_fields::Writer { manager: CONTROLLER_MANAGER, subresource: "", now: 0 };
            let entries = managed_fields::update(Resource::Pod, None, &object, Vec::new(), by);
            Managed::read(Some(managed_fields::encode(&entries)))
        });
        made.at(stored.created_at)
    }

    /// The pod without status and managers, as [`super::object::JsonHead`] would hold it.
    pub fn render_head(&self, stored: &Stored, pod: &ArrayPod) -> Map<String, Value> {
        let mut metadata = json!({
            "name": &*stored.name,
            "generateName": match pod.index {
                Some(index) => format!("{}-{index}-", self.job_name),
                None => format!("{}-", self.job_name),
            },
            "namespace": &*stored.namespace,
            "uid": stored.uid.to_string(),
            "creationTimestamp": rfc3339(stored.created_at),
            "labels": self.labels_of(pod),
        });
        let annotations = self.annotations_of(pod);
        if !annotations.is_empty() {
            metadata["annotations"] = json!(annotations);
        }
        metadata["ownerReferences"] = json!([{
            "apiVersion": "batch/v1", "kind": "Job", "name": &*self.job_name, "uid": self.job_uid.to_string(),
            "controller": true, "blockOwnerDeletion": true,
        }]);
        let mut spec = self.shape.json.clone();
        if pod.index.is_some() {
            spec["hostname"] = Value::String(self.hostname(pod, &stored.name).to_string());
        }
        let mut head = Map::new();
        head.insert("apiVersion".into(), "v1".into());
        head.insert("kind".into(), "Pod".into());
        head.insert("metadata".into(), metadata);
        head.insert("spec".into(), spec);
        head
    }

    /// [`JobPods::render_head`] with the pod's marks, as compact JSON: what stands before the end of the metadata, and the
    /// rest. `None` where it has to be put together field by field.
    pub(super) fn head_parts(&self, stored: &Stored, pod: &ArrayPod) -> Option<(Vec<u8>, Vec<u8>)> {
        let spec = self.shape.open_text()?;
        let status = stored.pod_status()?;
        // Names are quoted as they are: they hold nothing that JSON escapes. Labels and annotations may.
        let index = pod.index.map(|index| index.to_string());
        let own_index = || index.as_deref().map(|index| (COMPLETION_INDEX, index));
        let mut labels: BTreeMap<&str, &str> = pairs(&self.labels);
        labels.extend(own_index());
        let (failures, ignored) = (pod.failure_count.to_string(), pod.ignored_failure_count.to_string());
        let mut annotations: BTreeMap<&str, &str> = pairs(&self.annotations);
        annotations.extend(own_index());
        if index.is_some() && self.failures_told == FailuresTold::ByIndex {
            annotations.insert(FAILURE_COUNT, &failures);
        }
        if index.is_some() && pod.ignored_failure_count > 0 {
            annotations.insert(IGNORED_FAILURE_COUNT, &ignored);
        }
        let mut out = Vec::with_capacity(2048);
        // Writing to memory does not fail.
        let _ = write!(
            out,
            "{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"{}\",\"generateName\":\"{}-",
            stored.name, self.job_name
        );
        if let Some(index) = &index {
            let _ = write!(out, "{index}-");
        }
        let _ = write!(
            out,
            "\",\"namespace\":\"{}\",\"uid\":\"{}\",\"creationTimestamp\":\"{}\",\"labels\":",
            stored.namespace,
            stored.uid,
            rfc3339(stored.created_at)
        );
        let _ = serde_json::to_writer(&mut out, &labels);
        if !annotations.is_empty() {
            out.extend_from_slice(b",\"annotations\":");
            let _ = serde_json::to_writer(&mut out, &annotations);
        }
        let _ = write!(
            out,
            ",\"ownerReferences\":[{{\"apiVersion\":\"batch/v1\",\"kind\":\"Job\",\"name\":\"{}\",\"uid\":\"{}\",\
             \"controller\":true,\"blockOwnerDeletion\":true}}]",
            self.job_name, self.job_uid
        );
        if !status.phase.is_terminal() {
            let _ = write!(out, ",\"finalizers\":[\"{TRACKING}\"]");
        }
        let mut rest = Vec::with_capacity(spec.len() + 128);
        rest.extend_from_slice(b"},\"spec\":");
        rest.extend_from_slice(spec);
        if pod.index.is_some() {
            let _ = write!(rest, ",\"hostname\":\"{}\"", self.hostname(pod, &stored.name));
        }
        if status.scheduled_at.is_some() {
            let _ = write!(rest, ",\"nodeName\":\"{NODE_NAME}\"");
        }
        rest.extend_from_slice(b"}}");
        Some((out, rest))
    }
}

fn pairs(map: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    map.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}
