//! What a pod may ask for, and what it gets when it asks for nothing.
//!
//! ```text
//!   namespace without the label  pod-security.kubernetes.io/enforce
//!        └─▶ Strict: unsaid fields are filled in with the strict value, then judged as `restricted`
//!   namespace with the label
//!        └─▶ Labelled(level): judged as Kubernetes judges it, nothing filled in
//! ```
//!
//! Levels and controls: Kubernetes' Pod Security Standards, in [`pod_security`].

mod fill;
mod limit_range;
pub mod origin;
pub mod pod_security;
pub mod policies;
mod priority;
mod quota;
mod runtime_class;
mod service_account;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use watchbell_api::types::pod::PodSpec;
use watchbell_api::{ApiError, Resource};

pub use limit_range::{LIMIT_RANGER, LimitRange, joined};
pub use priority::{PriorityClass, refuse as refuse_priority_class};
pub use quota::{Cost, Quota, Stage as PodStage, Used};
pub use runtime_class::RuntimeClass;
pub use service_account::Account;

use pod_security::{ENFORCE, Policy, Violation};

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

impl Mode {
    /// That of a namespace with this policy.
    pub fn of(policy: &Policy) -> Mode {
        policy.enforce.map_or(Mode::Strict, |enforce| Mode::Labelled(enforce.level))
    }
}

/// The objects by which pods are admitted: the LimitRanges of their namespace, the classes of all.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub limit_ranges: Vec<Arc<LimitRange>>,
    pub priority_classes: Vec<Arc<PriorityClass>>,
    pub runtime_classes: Vec<Arc<RuntimeClass>>,
    /// The service accounts of the namespace, which is named for messages.
    pub accounts: Vec<Arc<Account>>,
    pub namespace: Arc<str>,
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
        // Without a server no account is known, and nothing is said of them.
        let account = match !self.accounts.is_empty() && service_account::concerns(mode, spec) {
            true => service_account::fill(spec, &self.namespace, &self.accounts),
            false => Ok(()),
        };
        priority.and(runtime).and(account)
    }

    /// No object has a say in such a pod, only the namespace's mode.
    pub fn are_silent(&self, mode: Mode, spec: &Value) -> bool {
        self.limit_ranges.is_empty()
            && self.priority_classes.is_empty()
            && self.runtime_classes.is_empty()
            && !service_account::concerns(mode, spec)
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

/// The refusal of an object whose pods break what its namespace enforces. `prefix`: what stands before the paths of a pod's
/// fields in it, `spec.template.`; a pod has none.
pub fn refusal(
    resource: Resource,
    name: &str,
    namespace: &str,
    policy: &Policy,
    prefix: &str,
    violations: &[Violation],
) -> ApiError {
    let mut detail = pod_security::violates(policy.enforced(), violations);
    if policy.enforce.is_none() {
        detail.push_str(&strict_way_out(namespace, prefix, violations));
    }
    ApiError::forbidden(resource, name, &detail)
}

/// What is strict is filled in where nothing is said, so only what is said can break it.
fn strict_way_out(namespace: &str, prefix: &str, violations: &[Violation]) -> String {
    let mut fields: Vec<String> = Vec::new();
    for field in violations.iter().flat_map(|violation| &violation.fields) {
        let field = format!("{prefix}{field}");
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    format!(
        ". The namespace {namespace:?} has no Pod Security level, so the strictest is taken: leave out {}; or, if you may and \
         it must be so, label the namespace {ENFORCE}=baseline (or privileged)",
        fields.join(", ")
    )
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
