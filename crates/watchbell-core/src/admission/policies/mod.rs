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
use watchbell_api::{ApiError, Reason, Resource, convert};

pub use declared::user_info;
pub use definition::{Binding, Policy};
pub use errors::{expressions as expression_errors, type_check};

use crate::access::Deed;
use crate::request::{DryRun, User};
use definition::Action;
use host::Host;
use params::{Params, Unusable};
use run::{Annotation, Decided, Ran, Shared};

/// Cost of all policies together that judge one request. Kubernetes bounds each policy with each parameter object; here one
/// task writes, and whoever makes many parameter objects, or deletes many objects at once, would hold it up.
const REQUEST_COST_MAX: u64 = 50_000_000;
/// Work and memory that the cost leaves out, as many times what one policy may take.
const REQUEST_POLICIES: u64 = 2;
/// Bytes of parameter objects and namespaces that are read for policies, for one request.
const REQUEST_READ_MAX: usize = 256 << 20;
/// What it is worth to look at the labels of an object.
const LOOK_BYTES: usize = 64;

/// Bytes of an annotation that a policy writes. Source: `maxAuditAnnotationValueLength` of Kubernetes.
const ANNOTATION_BYTES_MAX: usize = 10 * 1024;
/// Of all of them that one request gets: an entry of the audit log is no larger than 64 KiB.
const ANNOTATIONS_BYTES_MAX: usize = 16 * 1024;
/// Failures that an audit entry tells of.
const FAILURES_MAX: usize = 16;
/// Warnings that one object gets.
const WARNINGS_MAX: usize = 16;
/// Bytes of what is said of one failure; the refusal itself may be longer.
const MESSAGE_BYTES_MAX: usize = 1024;
const DENIAL_BYTES_MAX: usize = 8 * 1024;

/// Says how many annotations there was no room for.
const LEFT_OUT: &str = "policies.watchbell.dev/annotations-left-out";

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

    /// The objects of a resource that a `LabelSelector` chooses, of one namespace or of all: at most `max`, in their order.
    fn chosen(&self, resource: Resource, namespace: Option<&str>, selector: &Value, max: usize) -> Chosen;

    /// Whether somebody may, and why.
    fn decide(&self, user: &User, deed: &Deed<'_>) -> (bool, String);
}

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

/// What a selector chose.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    pub places: Vec<Place>,
    /// How many objects were looked at.
    pub looked: usize,
}

/// What the judgements of one request share: however many objects it is about, they come to no more than this together.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Shared,
    read: usize,
    /// The namespace that was read last: a request about many objects mostly is about one namespace.
    namespace: Option<Known>,
}

/// A namespace that was read.
#[derive(Debug, Clone)]
struct Known {
    name: Box<str>,
    /// None: there is none of that name.
    object: Option<Arc<Value>>,
    /// Whether there was as much left as it is.
    is_paid: bool,
}

impl Default for Budget {
    fn default() -> Budget {
        let allowance = watchbell_cel::Allowance::evaluators(REQUEST_POLICIES);
        Budget {
            shared: Shared { cost: REQUEST_COST_MAX, allowance },
            read: REQUEST_READ_MAX,
            namespace: None,
        }
    }
}

impl Budget {
    /// Whether something may have been refused for it alone.
    pub fn is_used_up(&self) -> bool {
        self.shared.is_used_up() || self.read == 0
    }

    /// How much of it is used up, in thousandths: of what there is least left of.
    pub fn used(&self) -> u32 {
        let whole = Budget::default();
        let of = |left: u64, whole: u64| 1000 - 1000 * left.min(whole) / whole.max(1);
        let shares = [
            of(self.shared.cost, whole.shared.cost),
            of(self.shared.allowance.work, whole.shared.allowance.work),
            of(self.shared.allowance.memory, whole.shared.allowance.memory),
            of(self.read as u64, whole.read as u64),
        ];
        shares.into_iter().max().map_or(0, |share| share as u32)
    }

    /// Pays for what is read; gives whether there was as much.
    fn read(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.read;
        self.read = self.read.saturating_sub(bytes);
        fits
    }
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
pub fn judge(attributes: &Attributes<'_>, surroundings: &dyn Surroundings, budget: &mut Budget) -> Judgement {
    if is_beyond_policies(attributes.resource) {
        return Judgement::default();
    }
    let policies = surroundings.policies();
    let stored = attributes.resource.stored();
    let mut judging = Judging {
        attributes,
        form: stored,
        surroundings,
        budget,
        request: Value::Null,
        failures: Vec::new(),
        more_failures: 0,
        more_warnings: 0,
        judgement: Judgement::default(),
    };
    for (policy, bindings) in &policies {
        judging.policy(policy, bindings);
    }
    if let Some(form) = matching::other_form(stored) {
        let converted =
            |object: Option<&Value>| object.map(|object| convert::from_stored(form, object.clone()));
        let (object, old) = (converted(attributes.object), converted(attributes.old));
        let info = form.info();
        let attributes = Attributes {
            resource: form,
            kind: [info.group, info.version, info.kind],
            object: object.as_ref(),
            old: old.as_ref(),
            ..attributes.clone()
        };
        let mut judging = Judging { attributes: &attributes, form, request: Value::Null, ..judging };
        for (policy, bindings) in &policies {
            judging.policy(policy, bindings);
        }
        return judging.finish();
    }
    judging.finish()
}

/// What policies are made of is not judged by policies: a mistake in one could not be mended.
fn is_beyond_policies(resource: Resource) -> bool {
    matches!(resource, Resource::ValidatingAdmissionPolicy | Resource::ValidatingAdmissionPolicyBinding)
}

/// The beginning of a text.
fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push('…');
    }
    text
}

/// About how many bytes of JSON it is.
fn bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(list) => list.iter().map(bytes).sum::<usize>() + list.len() + 2,
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + 4 + bytes(value)).sum::<usize>() + 2,
        _ => 8,
    }
}

fn too_much() -> Unusable {
    Unusable::Own(format!(
        "what is read for the policies of one request comes to more than {} MiB",
        REQUEST_READ_MAX >> 20
    ))
}

struct Judging<'j> {
    attributes: &'j Attributes<'j>,
    /// The form of the object that is judged now.
    form: Resource,
    surroundings: &'j dyn Surroundings,
    budget: &'j mut Budget,
    /// `AdmissionRequest`, once it is needed.
    request: Value,
    failures: Vec<Value>,
    more_failures: usize,
    more_warnings: usize,
    judgement: Judgement,
}

impl Judging<'_> {
    fn policy(&mut self, policy: &Policy, bindings: &[Arc<Binding>]) {
        if policy.constraints.form(self.attributes, || self.namespace_labels()) != Some(self.form) {
            return;
        }
        if let Some(broken) = policy.broken() {
            self.deny_config(policy, None, Unusable::Config(broken));
            return;
        }
        let mut annotations: Vec<(String, Vec<String>)> = Vec::new();
        for binding in bindings {
            let is_about = match &binding.resources {
                Some(resources) => resources.form(self.attributes, || self.namespace_labels()).is_some(),
                None => true,
            };
            if is_about && let Err(why) = self.binding(policy, binding, &mut annotations) {
                self.deny_config(policy, Some(binding), why);
            }
        }
        for (key, values) in annotations {
            let value = cut(values.join(", "), ANNOTATION_BYTES_MAX);
            self.judgement.annotations.push((format!("{}/{key}", policy.name), value));
        }
    }

    /// Runs the policy with each of its parameters.
    fn binding(
        &mut self,
        policy: &Policy,
        binding: &Binding,
        annotations: &mut Vec<(String, Vec<String>)>,
    ) -> Result<(), Unusable> {
        let mut looked = 0;
        let params =
            params::collect(policy, binding, self.attributes.namespace, self.surroundings, &mut looked);
        self.pay(looked * LOOK_BYTES)?;
        match params? {
            Params::None => self.run(policy, binding, None, annotations)?,
            Params::Named(object) => {
                self.pay(bytes(&object))?;
                self.run(policy, binding, Some(&object), annotations)?;
            }
            Params::Chosen(resource, places) => {
                for place in places {
                    let found = self.surroundings.object(resource, &place.namespace, &place.name);
                    let Some(object) = found else { continue };
                    self.pay(bytes(&object))?;
                    self.run(policy, binding, Some(&object), annotations)?;
                }
            }
        }
        Ok(())
    }

    fn pay(&mut self, bytes: usize) -> Result<(), Unusable> {
        if self.budget.read(bytes) { Ok(()) } else { Err(too_much()) }
    }

    fn run(
        &mut self,
        policy: &Policy,
        binding: &Binding,
        params: Option<&Value>,
        annotations: &mut Vec<(String, Vec<String>)>,
    ) -> Result<(), Unusable> {
        if self.request.is_null() {
            self.request = host::request(self.attributes);
        }
        let namespace = self.look_up_namespace();
        if !namespace.is_paid {
            return Err(too_much());
        }
        let host = Host {
            attributes: self.attributes,
            surroundings: self.surroundings,
            request: &self.request,
            params,
            namespace: namespace.object.as_deref(),
        };
        let Ran { decided, annotations: written } = run::run(policy, &host, &mut self.budget.shared);
        for (index, decision) in decided.into_iter().enumerate() {
            if let Some(decision) = decision {
                self.carry_out(policy, binding, index, decision);
            }
        }
        for annotation in written {
            match annotation {
                Annotation::Written { key, value } => {
                    let value = cut(value, ANNOTATION_BYTES_MAX);
                    let at = annotations.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
                        annotations.push((key, Vec::new()));
                        annotations.len() - 1
                    });
                    let values = &mut annotations[at].1;
                    // What is beyond would be cut off in the end.
                    let length: usize = values.iter().map(String::len).sum();
                    if length <= ANNOTATION_BYTES_MAX && !values.contains(&value) {
                        values.push(value);
                    }
                }
                Annotation::Failed { why } => {
                    self.deny(policy, Some(binding), Decided { message: why, reason: Reason::Invalid });
                }
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, policy: &Policy, binding: &Binding, index: usize, decision: Decided) {
        for action in &binding.actions {
            match action {
                Action::Deny => self.deny(policy, Some(binding), decision.clone()),
                Action::Warn if self.judgement.warnings.len() >= WARNINGS_MAX => self.more_warnings += 1,
                Action::Warn => {
                    let warning = format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                        policy.name, binding.name, decision.message
                    );
                    self.judgement.warnings.push(cut(warning, MESSAGE_BYTES_MAX));
                }
                Action::Audit if self.failures.len() >= FAILURES_MAX => self.more_failures += 1,
                Action::Audit => self.failures.push(json!({
                    "message": cut(decision.message.clone(), MESSAGE_BYTES_MAX),
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
        let message = cut(message, DENIAL_BYTES_MAX);
        self.judgement.denial.get_or_insert(Denial { reason: decision.reason, message });
    }

    /// A policy or a binding that cannot be used, as `failurePolicy` has it; for a bound of our own it is a refusal in any case.
    fn deny_config(&mut self, policy: &Policy, binding: Option<&Binding>, why: Unusable) {
        let why = match why {
            Unusable::Config(_) if policy.ignores_failures => return,
            Unusable::Config(why) | Unusable::Own(why) => why,
        };
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
        let namespace = self.look_up_namespace();
        Some(namespace.object.map(|found| found["metadata"]["labels"].clone()).unwrap_or_default())
    }

    /// The namespace of the object. Too much of it is told where a policy is to run.
    fn look_up_namespace(&mut self) -> Known {
        let attributes = self.attributes;
        // A namespace is in none.
        let name = if attributes.resource == Resource::Namespace { "" } else { attributes.namespace };
        if let Some(known) = self.budget.namespace.as_ref().filter(|known| *known.name == *name) {
            return known.clone();
        }
        let object = match name {
            "" => None,
            name => self.surroundings.object(Resource::Namespace, "", name),
        };
        let is_paid = self.budget.read(object.as_ref().map_or(0, bytes));
        let object = object.map(|object| Arc::new(host::namespace(object)));
        let known = Known { name: name.into(), object, is_paid };
        self.budget.namespace = Some(known.clone());
        known
    }

    fn finish(mut self) -> Judgement {
        let Judgement { warnings, annotations, .. } = &mut self.judgement;
        if self.more_warnings > 0 {
            warnings.push(format!("{} more failures of policies are not shown", self.more_warnings));
        }
        if self.more_failures > 0 {
            self.failures.push(json!({"message": format!("{} more are left out", self.more_failures)}));
        }
        let mut room = ANNOTATIONS_BYTES_MAX;
        let before = annotations.len();
        annotations.retain(|(key, value)| match room.checked_sub(key.len() + value.len()) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        });
        if annotations.len() < before {
            annotations.push((LEFT_OUT.into(), (before - annotations.len()).to_string()));
        }
        if !self.failures.is_empty() {
            annotations.push((VALIDATION_FAILURE.into(), Value::from(self.failures).to_string()));
        }
        self.judgement
    }
}
