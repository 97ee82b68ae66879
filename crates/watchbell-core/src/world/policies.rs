//! ValidatingAdmissionPolicies in force: what they say of a request, of a pod that a Job makes, of a session in a container.
//!
//! What the server does on its own account (deletions by owners and ages, statuses, a namespace's furniture) is not judged: a
//! policy that forbade it would leave the machine in a state that nobody asked for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::{ApiError, Resource, validate};

use super::object::{Status, Stored};
use super::{Snapshot, World};
use crate::access::{Decision, Deed};
use crate::admission::policies::{
    Attributes, Binding, Budget, Chosen, Judgement, Operation, Place, Policy, Surroundings, judge, type_check,
};
use crate::request::{
    DeleteOptions, DryRun, FieldValidation, Propagation, Request, Subresource, User, Write,
};
use crate::service_account::Issue;

/// As whom Kubernetes' controllers make what they make.
const CONTROLLERS: &str = "kube-system";
const JOB_CONTROLLER: &str = "job-controller";
const CRON_JOB_CONTROLLER: &str = "cronjob-controller";

impl Surroundings for Snapshot {
    fn policies(&self) -> Vec<(Arc<Policy>, Vec<Arc<Binding>>)> {
        let mut bound: BTreeMap<Arc<str>, Vec<Arc<Binding>>> = BTreeMap::new();
        for object in self.list(Resource::ValidatingAdmissionPolicyBinding, None, None) {
            if let Some(binding) = object.facts().policy_binding() {
                bound.entry(binding.policy.clone()).or_default().push(binding.clone());
            }
        }
        let policy =
            |name: &str| self.get(Resource::ValidatingAdmissionPolicy, "", name)?.facts().policy().cloned();
        bound.into_iter().filter_map(|(name, bindings)| Some((policy(&name)?, bindings))).collect()
    }

    fn object(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        self.get(resource, namespace, name).map(|object| object.render())
    }

    fn chosen(&self, resource: Resource, namespace: Option<&str>, selector: &Value, max: usize) -> Chosen {
        let mut chosen = Chosen::default();
        for object in self.list(resource, namespace, None) {
            chosen.looked += 1;
            if validate::selects(selector, &json!(*object.labels())) {
                let place = Place { namespace: object.namespace.clone(), name: object.name.clone() };
                chosen.places.push(place);
                if chosen.places.len() == max {
                    break;
                }
            }
        }
        chosen
    }

    fn decide(&self, user: &User, deed: &Deed<'_>) -> (bool, String) {
        match self.rbac().decide(user, deed) {
            Decision::Allowed(grant) => (true, grant.to_string()),
            Decision::Denied(lack) => (false, lack.reason()),
        }
    }
}

impl Snapshot {
    /// Whether any policy is in force: most servers have none, and then nothing is made ready to be judged.
    pub(super) fn has_policies(&self) -> bool {
        self.count(Resource::ValidatingAdmissionPolicyBinding) > 0
    }

    /// Whether any policy may be about such a thing.
    fn may_be_judged(&self, operation: Operation, resource: Resource) -> bool {
        self.has_policies() && self.policies().iter().any(|(policy, _)| policy.concerns(operation, resource))
    }

    /// Judges that a session is opened in a container of a pod: `CONNECT` of `pods/exec` or `pods/attach`. Gives what it is
    /// warned about and what its audit entry says of it.
    ///
    /// # Errors
    /// The refusal of the first policy that forbids it.
    pub fn judge_connection(
        &self,
        user: &User,
        subresource: &str,
        namespace: &str,
        name: &str,
        options: &Value,
    ) -> Result<Judgement, ApiError> {
        if !self.has_policies() {
            return Ok(Judgement::default());
        }
        let kind = if subresource == "attach" { "PodAttachOptions" } else { "PodExecOptions" };
        let attributes = Attributes {
            subresource,
            kind: ["", "v1", kind],
            namespace,
            name,
            object: Some(options),
            options: options.clone(),
            ..Attributes::new(Operation::Connect, Resource::Pod, user)
        };
        let mut judgement = judge(&attributes, self, &mut Budget::default());
        match judgement.denial.take() {
            Some(denial) => Err(denial.into_error(Resource::Pod, name)),
            None => Ok(judgement),
        }
    }
}

/// What a request does to an object, for [`World::judge_request`].
#[derive(Clone, Copy)]
pub(super) struct Deeds<'a> {
    pub operation: Operation,
    /// Of the object, for a refusal.
    pub name: &'a str,
    /// As it was asked for; empty where the server makes it up.
    pub asked_name: &'a str,
    pub object: Option<&'a Value>,
    pub old: Option<&'a Value>,
}

impl<'a> Deeds<'a> {
    /// About an object by its name.
    pub(super) fn named(
        operation: Operation,
        name: &'a str,
        object: Option<&'a Value>,
        old: Option<&'a Value>,
    ) -> Deeds<'a> {
        Deeds { operation, name, asked_name: name, object, old }
    }
}

impl World {
    /// Has the policies judge what a request does to an object, as it would be stored.
    pub(super) fn judge_request(
        &mut self,
        request: &Request,
        deeds: Deeds<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        if !self.state.has_policies() {
            return Ok(());
        }
        let user = asks(request);
        let attributes = Attributes {
            // What operators may do apart changes the object itself.
            subresource: match request.subresource {
                Subresource::Status | Subresource::Rollback => request.subresource.as_str(),
                _ => "",
            },
            options: options(request, deeds.operation),
            ..of(request, &user, deeds)
        };
        self.judge_by_policies(&attributes, deeds.name, warnings)
    }

    fn judge_by_policies(
        &mut self,
        attributes: &Attributes<'_>,
        name: &str,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let Judgement { denial, warnings: said, annotations } =
            judge(attributes, &self.state, &mut self.policy_budget);
        warnings.extend(said);
        for (key, value) in annotations {
            // What the server says itself no policy says otherwise.
            self.admission_notes.entry(Cow::Owned(key)).or_insert(value);
        }
        match denial {
            Some(denial) => Err(denial.into_error(attributes.resource, name)),
            None => Ok(()),
        }
    }

    /// Whether deletions of such objects are to be judged.
    pub(super) fn judges_deletions(&self, resource: Resource) -> bool {
        self.state.may_be_judged(Operation::Delete, resource)
    }

    pub(super) fn judge_eviction(
        &mut self,
        request: &Request,
        pod: &Stored,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        if !self.state.has_policies() {
            return Ok(());
        }
        let body = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": &*pod.name, "namespace": &*pod.namespace},
        });
        let deeds = Deeds::named(Operation::Create, &pod.name, Some(&body), None);
        let attributes = Attributes {
            subresource: "eviction",
            kind: ["policy", "v1", "Eviction"],
            options: options(request, Operation::Create),
            ..of(request, &request.user, deeds)
        };
        self.judge_by_policies(&attributes, deeds.name, warnings)
    }

    /// The token itself is shown to no policy: its words could give it away.
    pub(super) fn judge_token(
        &mut self,
        request: &Request,
        issue: &Issue,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        if !self.state.has_policies() {
            return Ok(());
        }
        let mut body = issue.object.clone();
        if let Some(map) = body.as_object_mut() {
            map.shift_remove("status");
        }
        let deeds = Deeds::named(Operation::Create, &request.name, Some(&body), None);
        let attributes = Attributes {
            subresource: "token",
            kind: ["authentication.k8s.io", "v1", "TokenRequest"],
            options: options(request, Operation::Create),
            ..of(request, &request.user, deeds)
        };
        self.judge_by_policies(&attributes, deeds.name, warnings)
    }

    /// Whether pods that Jobs make are to be judged.
    pub(super) fn judges_pods(&self) -> bool {
        self.state.may_be_judged(Operation::Create, Resource::Pod)
    }

    /// Judges a pod that a Job is about to make, as Kubernetes judges it when its job controller asks for it. Gives the
    /// annotations for the audit trail.
    ///
    /// # Errors
    /// Why it may not be made.
    pub(super) fn judge_made_pod(
        &self,
        pod: &Stored,
        budget: &mut Budget,
    ) -> Result<Vec<(String, String)>, String> {
        let user = User::service_account(CONTROLLERS, JOB_CONTROLLER);
        let object = pod.render();
        let attributes = Attributes {
            namespace: &pod.namespace,
            // The job controller has names of pods made up.
            name: "",
            object: Some(&object),
            ..Attributes::new(Operation::Create, Resource::Pod, &user)
        };
        let Judgement { denial, annotations, .. } = judge(&attributes, &self.state, budget);
        match denial {
            Some(denial) => Err(denial.message),
            None => Ok(annotations),
        }
    }
}

/// The status of a policy: what the check of types found, for this generation of it.
pub(super) fn status_of_policy(object: &Value, generation: u32, before: &Status) -> Status {
    let mut status = match before {
        Status::Json(status) => (**status).clone(),
        _ => json!({}),
    };
    status["observedGeneration"] = generation.into();
    status["typeChecking"] = type_check(object);
    Status::Json(Arc::new(status))
}

/// As whom policies see who asks: Kubernetes' CronJob controller is a service account.
fn asks(request: &Request) -> Cow<'_, User> {
    match request.resource {
        Resource::Job if request.user == User::controller() => {
            Cow::Owned(User::service_account(CONTROLLERS, CRON_JOB_CONTROLLER))
        }
        _ => Cow::Borrowed(&request.user),
    }
}

fn of<'a>(request: &'a Request, user: &'a User, deeds: Deeds<'a>) -> Attributes<'a> {
    let is_namespace = request.resource == Resource::Namespace;
    Attributes {
        namespace: if is_namespace { deeds.name } else { &request.namespace },
        name: deeds.asked_name,
        object: deeds.object,
        old: deeds.old,
        dry_run: request.options.dry_run,
        ..Attributes::new(deeds.operation, request.resource, user)
    }
}

/// `CreateOptions`, `UpdateOptions` or `DeleteOptions` of `meta.k8s.io/v1`.
fn options(request: &Request, operation: Operation) -> Value {
    let mut options = Attributes::new(operation, request.resource, &request.user).options;
    if request.options.dry_run == DryRun::All {
        options["dryRun"] = json!(["All"]);
    }
    match &request.write {
        Write::Delete(how) | Write::DeleteCollection { options: how, .. }
            if operation == Operation::Delete =>
        {
            deletion(&mut options, how);
        }
        _ => {
            if !request.options.field_manager.is_empty() {
                options["fieldManager"] = request.options.field_manager.as_str().into();
            }
            options["fieldValidation"] = match request.options.field_validation {
                FieldValidation::Strict => "Strict",
                FieldValidation::Warn => "Warn",
                FieldValidation::Ignore => "Ignore",
            }
            .into();
        }
    }
    options
}

fn deletion(options: &mut Value, how: &DeleteOptions) {
    if let Some(seconds) = how.grace_period_seconds {
        options["gracePeriodSeconds"] = seconds.into();
    }
    if let Some(propagation) = how.propagation_policy {
        options["propagationPolicy"] = match propagation {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
        .into();
    }
    let preconditions =
        [("uid", &how.precondition_uid), ("resourceVersion", &how.precondition_resource_version)];
    for (field, value) in preconditions {
        if let Some(value) = value {
            options["preconditions"][field] = value.as_str().into();
        }
    }
}
