//! Requests. Each is checked whole before anything changes, and stands in the audit journal, refused or not.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use watchbell_api::{ApiError, Reason, Resource, ResourceInfo, schema};

use super::World;
use super::object::{JsonHead, Stored};
use super::owners::Ownership;
use super::{images, issue};
use crate::access::{Decision, Deed};
use crate::admission::policies::Budget;
use crate::request::{FieldValidation, Outcome, PatchKind, Request, Write, Written};
use crate::service_account::Issue;

impl World {
    /// Carries out a request into the stage and records it in the audit journal.
    ///
    /// Whether its user may is decided here, over the state that the change is made to: a right that was taken away while
    /// the request waited is taken away.
    pub fn write(&mut self, request: Request, now: Timestamp) -> Result<Written, ApiError> {
        // What was said of objects that nobody asked for.
        self.admission_notes.clear();
        self.policy_budget = Budget::default();
        let (decision, judged) = self.judge(&request);
        let answer = match (judged, request.resource.stored()) {
            (Err(refusal), _) => Err(refusal),
            (Ok(()), stored) if stored == request.resource => self.dispatch(&request, now),
            (Ok(()), stored) => self.write_in_other_form(&request, stored, now),
        };
        self.audit_request(&request, &decision, &answer, now);
        answer
    }

    /// Whether the request may, and the decision that says why.
    fn judge(&self, request: &Request) -> (Decision, Result<(), ApiError>) {
        let rbac = self.state.rbac();
        if let Some(impersonation) = &request.impersonation
            && let Err((decision, refusal)) = impersonation.decide(rbac)
        {
            return (decision, Err(refusal));
        }
        let deed = request.deed();
        let decision = rbac.decide(&request.user, &deed);
        let judged = decision.require(&request.user, &deed);
        (decision, judged)
    }

    /// Refuses a change that makes an object under a right to something else, unless its user may create too.
    pub(super) fn require_create(&self, request: &Request) -> Result<(), ApiError> {
        let deed = match request.deed() {
            Deed::Resource { group, resource, subresource, namespace, name, .. } => {
                Deed::Resource { verb: "create", group, resource, subresource, namespace, name }
            }
            path @ Deed::Path { .. } => path,
        };
        self.state.rbac().decide(&request.user, &deed).require(&request.user, &deed)
    }

    pub(super) fn dispatch(&mut self, request: &Request, now: Timestamp) -> Result<Written, ApiError> {
        if request.resource.is_list_only() && makes(&request.write) {
            return Err(not_run_here(request.resource));
        }
        issue::refuse_unissued(request)?;
        images::refuse_told(request)?;
        match &request.write {
            Write::Issue { object, issued } => self.issue(request, object.clone(), issued, now),
            Write::Create(object) => self.create(request, object.clone(), now),
            Write::Update(object) => {
                let old = self.find(request)?;
                self.replace(request, &old, object.clone(), Ownership::Update, now)
            }
            Write::Patch { kind, body } => self.patch(request, *kind, body, now),
            Write::Delete(options) => {
                let object = self.find(request)?;
                self.delete_request(request, &object, options, now)
            }
            Write::IssueToken(issue) => self.issue_token(request, issue, now),
            Write::Evict(options) => {
                let pod = self.find(request)?;
                self.evict(request, &pod, options, now)
            }
            Write::DeleteCollection { options, label_selector, field_selector, page } => {
                self.delete_collection(request, options, (label_selector, field_selector), page, now)
            }
            Write::Trigger { job_name } => self.trigger(request, job_name, now),
            Write::Suspend(schedule) => self.suspend(request, *schedule, now),
            Write::Rollback { to, unsigned_ok } => self.rollback_array(request, to, *unsigned_ok, now),
            Write::Rerun { job_name, indexes } => self.rerun(request, job_name, *indexes, now),
        }
    }

    /// The token was judged by what was committed; meanwhile its account or what it is bound to may have gone.
    fn issue_token(&mut self, request: &Request, issue: &Issue, now: Timestamp) -> Result<Written, ApiError> {
        issue.binding.still_counts(&self.state, now.as_second()).map_err(|ended| {
            let name = &issue.binding.account.name;
            ApiError::conflict(Resource::ServiceAccount, name, &format!("the token would not count: {ended}"))
        })?;
        let (object, mut warnings) = (issue.object.clone(), issue.warnings.clone());
        self.judge_token(request, issue, &mut warnings)?;
        Ok(Written { object, outcome: Outcome::Created, warnings })
    }

    pub(super) fn find(&self, request: &Request) -> Result<Arc<Stored>, ApiError> {
        self.get(request.resource.stored(), &request.namespace, &request.name)
            .cloned()
            .ok_or_else(|| ApiError::not_found(request.resource, &request.name))
    }
}

/// Whether a write can make an object that was not there.
fn makes(write: &Write) -> bool {
    matches!(write, Write::Create(_) | Write::Patch { kind: PatchKind::Apply, .. })
}

fn not_run_here(resource: Resource) -> ApiError {
    let ResourceInfo { kind, .. } = resource.info();
    ApiError::new(
        Reason::MethodNotAllowed,
        format!("Watchbell runs Jobs, CronJobs and Pods; {kind} needs a Kubernetes cluster"),
    )
}

/// What an object may come to, its managers included: patches add to it one by one, so the bound of one request does not bound
/// it. etcd takes 1.5 MiB in protobuf; JSON has binary data in base64, which is a third longer.
pub(super) const OBJECT_BYTES_MAX: usize = 2 << 20;

/// The head of an object that somebody wants to store.
pub(super) fn head(resource: Resource, object: Value) -> Result<JsonHead, ApiError> {
    let head = JsonHead::from_value(resource, object).map_err(ApiError::bad_request)?;
    let bytes = head.json.len() + head.managed.bytes();
    if bytes > OBJECT_BYTES_MAX {
        return Err(ApiError::new(
            Reason::RequestEntityTooLarge,
            format!(
                "the {} would come to {bytes} bytes, its managed fields included: limit is {OBJECT_BYTES_MAX}; split it, or \
                 keep its data elsewhere",
                resource.info().kind
            ),
        ));
    }
    Ok(head)
}

pub(super) fn metadata_of(object: &mut Value) -> Result<&mut Map<String, Value>, ApiError> {
    let map = object.as_object_mut().ok_or_else(|| ApiError::bad_request("the body is not a JSON object"))?;
    map.entry("metadata")
        .or_insert_with(|| json!({}))
        .as_object_mut()
        .ok_or_else(|| ApiError::bad_request("metadata is not a JSON object"))
}

pub(super) fn check_type(resource: Resource, object: &Value) -> Result<(), ApiError> {
    let info = resource.info();
    let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    if api_version == info.api_version() && kind == info.kind {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "the object in the body is {kind:?} of {api_version:?}, and the path is that of {} of {}",
        info.kind,
        info.api_version()
    )))
}

/// Unknown fields by the request's `fieldValidation`, wrong types always.
pub(super) fn check_fields(request: &Request, object: &mut Value) -> Result<Vec<String>, ApiError> {
    let report = schema::check(request.resource, object, schema::Prune::Unknown);
    if !report.type_errors.is_empty() {
        let list: Vec<String> = report.type_errors.iter().map(ToString::to_string).collect();
        let info = request.resource.info();
        return Err(ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {}",
            info.kind,
            info.version,
            info.kind,
            list.join("; ")
        )));
    }
    let unknown = report.unknown.iter().map(|path| format!("unknown field {path:?}"));
    match request.options.field_validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(unknown.collect()),
        FieldValidation::Strict if report.unknown.is_empty() => Ok(Vec::new()),
        FieldValidation::Strict => {
            let list: Vec<String> = unknown.collect();
            Err(ApiError::bad_request(format!("strict decoding error: {}", list.join(", "))))
        }
    }
}
