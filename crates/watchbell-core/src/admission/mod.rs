//! What a pod may ask for, and what it gets when it asks for nothing.
//!
//! ```text
//!   namespace without the label  pod-security.kubernetes.io/enforce
//!        └─▶ Strict: unsaid fields are filled in with the strict value, then judged as `restricted`
//!   namespace with the label
//!        └─▶ Labelled(level): judged as Kubernetes judges it, nothing filled in
//! ```
//!
//! Levels and controls: Kubernetes' Pod Security Standards.

mod fill;
mod levels;
mod limit_range;
mod priority;
mod quota;
mod runtime_class;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use watchbell_api::types::pod::PodSpec;
use watchbell_api::{ApiError, Resource};

pub use levels::Violation;
pub use limit_range::{LIMIT_RANGER, LimitRange, joined};
pub use priority::{PriorityClass, refuse as refuse_priority_class};
pub use quota::{Cost, Quota, Stage as PodStage, Used};
pub use runtime_class::RuntimeClass;

/// The label that chooses a namespace's level.
pub const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// The uid and gid of a task that names none (the `nobody` of most systems).
pub const NOBODY: i64 = 65534;

/// A level of the Pod Security Standards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// How the pods of a namespace are judged. Part of the journal's form: variants keep their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Mode {
    Strict,
    Labelled(Level),
}

/// The mode that a namespace's labels choose. An unknown level is `restricted`, as Kubernetes fails closed too.
pub fn mode(labels: &BTreeMap<String, String>) -> Mode {
    match labels.get(ENFORCE).map(String::as_str) {
        None => Mode::Strict,
        Some("privileged") => Mode::Labelled(Level::Privileged),
        Some("baseline") => Mode::Labelled(Level::Baseline),
        Some(_) => Mode::Labelled(Level::Restricted),
    }
}

/// The objects by which pods are admitted: the LimitRanges of their namespace, the classes of all.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub limit_ranges: Vec<Arc<LimitRange>>,
    pub priority_classes: Vec<Arc<PriorityClass>>,
    pub runtime_classes: Vec<Arc<RuntimeClass>>,
}

impl Rules {
    /// Makes a pod effective: what LimitRanges and its classes give it and, in strict mode, the strict value of what it
    /// leaves unsaid. The refusal is in Kubernetes' words; the pod is filled in all the same, to be judged further.
    pub fn fill_in(&self, mode: Mode, pod: &mut Value) -> Result<(), String> {
        for range in &self.limit_ranges {
            range.fill_in(pod);
        }
        let spec = &mut pod["spec"];
        let priority = priority::fill(spec, &self.priority_classes);
        let runtime = runtime_class::fill(spec, &self.runtime_classes);
        fill_unsaid(mode, spec);
        priority.and(runtime)
    }

    /// No object has a say, only the namespace's mode.
    pub fn are_empty(&self) -> bool {
        self.limit_ranges.is_empty() && self.priority_classes.is_empty() && self.runtime_classes.is_empty()
    }

    /// Whether an effective pod spec keeps within the LimitRanges.
    pub fn check(&self, spec: &Value) -> Result<(), String> {
        within(&self.limit_ranges, |range| range.check_pod(spec))
    }

    /// Whether a PersistentVolumeClaim does.
    pub fn check_claim(&self, claim: &Value) -> Result<(), String> {
        within(&self.limit_ranges, |range| range.check_claim(claim))
    }
}

fn within(ranges: &[Arc<LimitRange>], broken: impl Fn(&LimitRange) -> Vec<String>) -> Result<(), String> {
    match ranges.iter().map(|range| broken(range)).find(|broken| !broken.is_empty()) {
        Some(broken) => Err(joined(&broken)),
        None => Ok(()),
    }
}

/// In strict mode, writes the strict value of what a pod spec leaves unsaid.
pub fn fill_unsaid(mode: Mode, spec: &mut Value) {
    match mode {
        Mode::Strict => fill::strict(spec),
        Mode::Labelled(_) => {}
    }
}

/// Judges an effective spec by the namespace's level. `path` is where the spec stands in the object, for the messages.
/// Empty: admitted.
pub fn judge(mode: Mode, spec: &Value, path: &str) -> Vec<Violation> {
    match mode {
        Mode::Strict => levels::judge(Level::Restricted, spec, path),
        Mode::Labelled(level) => levels::judge(level, spec, path),
    }
}

/// The refusal of an object, with each field and the way out.
pub fn refusal(
    resource: Resource,
    name: &str,
    namespace: &str,
    mode: Mode,
    violations: &[Violation],
) -> ApiError {
    let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let list = list.join(", ");
    let detail = match mode {
        Mode::Strict => format!(
            "violates PodSecurity \"restricted:latest\": {list}. The namespace {namespace:?} has no Pod Security level, \
             so the strictest is taken: leave these fields out, or label the namespace {ENFORCE}=baseline (or \
             privileged) if you may and it must be so"
        ),
        Mode::Labelled(level) => format!("violates PodSecurity \"{}:latest\": {list}", level.as_str()),
    };
    ApiError::forbidden(resource, name, &detail)
}

/// What is said when a template could not make pods in its namespace, as Kubernetes warns.
pub fn warning(mode: Mode, violations: &[Violation]) -> String {
    let level = match mode {
        Mode::Strict => Level::Restricted,
        Mode::Labelled(level) => level,
    };
    let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
    format!("would violate PodSecurity \"{}:latest\": {}", level.as_str(), list.join(", "))
}

/// The security settings of a pod in a few words, for the audit journal.
pub fn summary(spec: &PodSpec) -> Value {
    let containers: Vec<Value> = spec
        .init_containers
        .iter()
        .chain(&spec.containers)
        .map(|c| {
            let context = &c.security_context;
            json!({
                "name": c.name, "image": c.image,
                "runAsUser": context.run_as_user.or(spec.security_context.run_as_user),
                "readOnlyRootFilesystem": context.read_only_root_filesystem.unwrap_or(false),
                "allowPrivilegeEscalation": context.allow_privilege_escalation.unwrap_or(true),
                "privileged": context.privileged.unwrap_or(false),
                "addedCapabilities": context.capabilities.as_ref().map(|c| c.add.clone()).unwrap_or_default(),
            })
        })
        .collect();
    json!({
        "containers": containers,
        "hostNetwork": spec.host_network, "hostPID": spec.host_pid, "hostIPC": spec.host_ipc,
    })
}
