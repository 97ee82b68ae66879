//! ValidatingAdmissionPolicies: rules that teams write themselves, in Kubernetes' own language.
//!
//! ```text
//!   request ─▶ matching ─▶ each policy, each of its bindings, each of its parameter objects ─▶ run ─▶ decisions
//!                                                                                                     │
//!                  Deny: the refusal      Warn: a warning      Audit: an annotation of the audit entry ◀─┘
//! ```
//!
//! Pure: what there is besides the request is asked of [`Surroundings`], which the state of a server answers, or a few files.
//! Source: `apiserver/pkg/admission/plugin/policy` of Kubernetes; messages are its own.

mod declared;
mod definition;
mod errors;
mod host;
mod matching;
mod params;
mod run;
#[cfg(test)]
mod tests;
mod types;

use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::error::Cause;
use watchbell_api::{ApiError, Reason, Resource};

pub use definition::{Binding, Policy};
pub use errors::{expressions as expression_errors, type_check};

use crate::access::Deed;
use crate::request::{DryRun, User};
use definition::Action;
use host::Host;
use run::{Annotation, Decided, Ran};

/// Cost of all policies together that judge one request. Kubernetes bounds each policy with each parameter object; here one
/// task writes, and whoever makes many parameter objects would hold it up.
const REQUEST_COST_MAX: u64 = 50_000_000;

/// Bytes of an annotation that a policy writes. Source: `maxAuditAnnotationValueLength` of Kubernetes.
const ANNOTATION_BYTES_MAX: usize = 10 * 1024;

/// Where Kubernetes writes what a binding with the action `Audit` found.
pub const VALIDATION_FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// A connection to it is opened: `pods/exec`.
    Connect,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// What is judged.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    pub operation: Operation,
    pub resource: Resource,
    /// Empty: the object itself.
    pub subresource: &'a str,
    /// Group, version and kind of the object in the request, which is not the resource's own for some subresources.
    pub kind: [&'a str; 3],
    /// Of a namespace its own name, as in Kubernetes.
    pub namespace: &'a str,
    /// Empty where the server makes the name up.
    pub name: &'a str,
    pub user: &'a User,
    /// As it would be stored; `None`: it is deleted.
    pub object: Option<&'a Value>,
    /// As it was; `None`: it is new.
    pub old: Option<&'a Value>,
    pub dry_run: DryRun,
    /// `CreateOptions` and the like.
    pub options: Value,
}

impl<'a> Attributes<'a> {
    /// Of an object itself, without options.
    pub fn new(operation: Operation, resource: Resource, user: &'a User) -> Attributes<'a> {
        let info = resource.info();
        let kind = match operation {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
            Operation::Connect => "PodExecOptions",
        };
        Attributes {
            operation,
            resource,
            subresource: "",
            kind: [info.group, info.version, info.kind],
            namespace: "",
            name: "",
            user,
            object: None,
            old: None,
            dry_run: DryRun::No,
            options: json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"}),
        }
    }
}

/// What there is besides the request.
pub trait Surroundings {
    /// Policies with their bindings, each in the order of names. Those without a binding are left out.
    fn policies(&self) -> Vec<(Arc<Policy>, Vec<Arc<Binding>>)>;

    /// An object as it is shown.
    fn object(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value>;

    /// The objects of a resource; `namespace`: of that one.
    fn objects(&self, resource: Resource, namespace: Option<&str>) -> Vec<Value>;

    /// Whether somebody may, and why.
    fn decide(&self, user: &User, deed: &Deed<'_>) -> (bool, String);
}

/// What policies say of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judgement {
    /// The first that forbids it.
    pub denial: Option<Denial>,
    pub warnings: Vec<String>,
    /// For the audit entry of the request.
    pub annotations: Vec<(String, String)>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    pub reason: Reason,
    /// `ValidatingAdmissionPolicy 'x' with binding 'y' denied request: …`
    pub message: String,
}

impl Denial {
    /// The refusal of a request about an object.
    pub fn into_error(self, resource: Resource, name: &str) -> ApiError {
        let mut error = ApiError::forbidden(resource, name, &self.message);
        error.reason = self.reason;
        error.causes.push(Cause { reason: String::new(), message: self.message, field: String::new() });
        error
    }
}

/// Judges a request by all policies that are in force and are about it.
pub fn judge(attributes: &Attributes<'_>, surroundings: &dyn Surroundings) -> Judgement {
    if is_beyond_policies(attributes.resource) {
        return Judgement::default();
    }
    let mut judging = Judging {
        attributes,
        surroundings,
        request: Value::Null,
        namespace: None,
        failures: Vec::new(),
        cost_left: REQUEST_COST_MAX,
        judgement: Judgement::default(),
    };
    for (policy, bindings) in surroundings.policies() {
        judging.policy(&policy, &bindings);
    }
    judging.finish()
}

/// What policies are made of is not judged by policies: a mistake in one could not be mended.
fn is_beyond_policies(resource: Resource) -> bool {
    matches!(resource, Resource::ValidatingAdmissionPolicy | Resource::ValidatingAdmissionPolicyBinding)
}

struct Judging<'j> {
    attributes: &'j Attributes<'j>,
    surroundings: &'j dyn Surroundings,
    /// `AdmissionRequest`, once it is needed.
    request: Value,
    /// The namespace of the object, once it is needed; the inner `None`: there is none.
    namespace: Option<Option<Value>>,
    failures: Vec<Value>,
    cost_left: u64,
    judgement: Judgement,
}

impl Judging<'_> {
    fn policy(&mut self, policy: &Policy, bindings: &[Arc<Binding>]) {
        if !policy.constraints.is_about(self.attributes, || self.namespace_labels()) {
            return;
        }
        if let Some(broken) = policy.broken() {
            self.deny_config(policy, None, &broken);
            return;
        }
        let mut annotations: Vec<(String, Vec<String>)> = Vec::new();
        for binding in bindings {
            let is_about = match &binding.resources {
                Some(resources) => resources.is_about(self.attributes, || self.namespace_labels()),
                None => true,
            };
            if !is_about {
                continue;
            }
            match params::collect(policy, binding, self.attributes.namespace, self.surroundings) {
                Err(why) => self.deny_config(policy, Some(binding), &why),
                Ok(list) => {
                    for params in &list {
                        self.run(policy, binding, params.as_ref(), &mut annotations);
                    }
                }
            }
        }
        for (key, values) in annotations {
            self.judgement.annotations.push((format!("{}/{key}", policy.name), values.join(", ")));
        }
    }

    fn run(
        &mut self,
        policy: &Policy,
        binding: &Binding,
        params: Option<&Value>,
        annotations: &mut Vec<(String, Vec<String>)>,
    ) {
        if self.request.is_null() {
            self.request = host::request(self.attributes);
        }
        self.look_up_namespace();
        let host = Host {
            attributes: self.attributes,
            surroundings: self.surroundings,
            request: &self.request,
            params,
            namespace: self.namespace.as_ref().and_then(Option::as_ref),
        };
        let Ran { decided, annotations: written, cost } = run::run(policy, &host, self.cost_left);
        self.cost_left = self.cost_left.saturating_sub(cost);
        for (index, decision) in decided.into_iter().enumerate() {
            if let Some(decision) = decision {
                self.carry_out(policy, binding, index, decision);
            }
        }
        for annotation in written {
            match annotation {
                Annotation::Written { key, mut value } => {
                    value.truncate(value.floor_char_boundary(ANNOTATION_BYTES_MAX));
                    let at = annotations.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
                        annotations.push((key, Vec::new()));
                        annotations.len() - 1
                    });
                    if !annotations[at].1.contains(&value) {
                        annotations[at].1.push(value);
                    }
                }
                Annotation::Failed { why } => {
                    self.deny(policy, Some(binding), Decided { message: why, reason: Reason::Invalid });
                }
            }
        }
    }

    fn carry_out(&mut self, policy: &Policy, binding: &Binding, index: usize, decision: Decided) {
        for action in &binding.actions {
            match action {
                Action::Deny => self.deny(policy, Some(binding), decision.clone()),
                Action::Warn => self.judgement.warnings.push(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                    policy.name, binding.name, decision.message
                )),
                Action::Audit => self.failures.push(json!({
                    "message": decision.message,
                    "policy": &*binding.policy,
                    "binding": &*binding.name,
                    "expressionIndex": index,
                    "validationActions": binding.actions.iter().map(|action| action.as_str()).collect::<Vec<_>>(),
                })),
            }
        }
    }

    fn deny(&mut self, policy: &Policy, binding: Option<&Binding>, decision: Decided) {
        let binding = binding.map_or(String::new(), |binding| format!(" with binding '{}'", binding.name));
        let message = format!(
            "ValidatingAdmissionPolicy '{}'{binding} denied request: {}",
            policy.name, decision.message
        );
        self.judgement.denial.get_or_insert(Denial { reason: decision.reason, message });
    }

    /// A policy or a binding that cannot be used, as `failurePolicy` has it.
    fn deny_config(&mut self, policy: &Policy, binding: Option<&Binding>, why: &str) {
        if policy.ignores_failures {
            return;
        }
        let what = if binding.is_some() { "binding" } else { "policy" };
        let message = format!("failed to configure {what}: {why}");
        self.deny(policy, binding, Decided { message, reason: Reason::Invalid });
    }

    /// The labels that a `namespaceSelector` looks at; `None`: the object is in no namespace.
    fn namespace_labels(&mut self) -> Option<Value> {
        let attributes = self.attributes;
        if attributes.resource == Resource::Namespace {
            let object = attributes.object.or(attributes.old)?;
            return Some(object["metadata"]["labels"].clone());
        }
        if attributes.namespace.is_empty() {
            return None;
        }
        self.look_up_namespace();
        let labels =
            self.namespace.as_ref().and_then(Option::as_ref).map(|found| &found["metadata"]["labels"]);
        Some(labels.cloned().unwrap_or_default())
    }

    fn look_up_namespace(&mut self) {
        if self.namespace.is_some() {
            return;
        }
        let attributes = self.attributes;
        // A namespace is in none.
        let found = match attributes.resource == Resource::Namespace || attributes.namespace.is_empty() {
            true => None,
            false => self.surroundings.object(Resource::Namespace, "", attributes.namespace),
        };
        self.namespace = Some(found.map(host::namespace));
    }

    fn finish(mut self) -> Judgement {
        if !self.failures.is_empty() {
            let list = Value::from(std::mem::take(&mut self.failures));
            self.judgement.annotations.push((VALIDATION_FAILURE.into(), list.to_string()));
        }
        self.judgement
    }
}
