//! Creation: what the server fills in, checks and refuses.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use watchbell_api::error::FieldErrorClass;
use watchbell_api::managed_fields::Entry;
use watchbell_api::{ApiError, Cause, FieldError, Reason, Resource, Uid, defaults, name, validate};

use super::World;
use super::arrays::annotate_own;
use super::object::{Head, JsonHead, Status, Stored};
use super::owners::{Ownership, set_managers};
use super::policies::{Deeds, status_of_policy};
use super::rules::Change;
use super::shown::rfc3339;
use super::write::{check_fields, check_type, head, metadata_of};
use crate::admission::policies::{Budget, Operation};
use crate::controller::cronjob::CronJobStatus;
use crate::controller::job::JobStatus;
use crate::request::{
    DryRun, FieldValidation, Outcome, Request, Subresource, User, Write, WriteOptions, Written,
};

impl World {
    pub(super) fn create(
        &mut self,
        request: &Request,
        object: Value,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let (stored, warnings) = self.prepare(request, object, Ownership::Update, now)?;
        self.store_new(request, stored, warnings, now)
    }

    /// Creates what was applied and is not there.
    pub(super) fn create_applied(
        &mut self,
        request: &Request,
        object: Value,
        managed: Vec<Entry>,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let (stored, warnings) = self.prepare(request, object, Ownership::Applied(managed), now)?;
        self.store_new(request, stored, warnings, now)
    }

    pub(super) fn store_new(
        &mut self,
        request: &Request,
        stored: Stored,
        warnings: Vec<String>,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        if request.options.dry_run == DryRun::All {
            return Ok(Written { object: stored.render(), outcome: Outcome::Created, warnings });
        }
        let stored = self.insert_new(stored, now);
        Ok(Written { object: stored.render(), outcome: Outcome::Created, warnings })
    }

    /// Stores an object of our own making (a Job of a CronJob, a namespace's furniture): same defaults and checks.
    pub(super) fn create_own(
        &mut self,
        resource: Resource,
        namespace: &str,
        object: Value,
        now: Timestamp,
    ) -> Result<Arc<Stored>, ApiError> {
        let request = Request {
            user: User::controller(),
            resource,
            namespace: namespace.into(),
            name: String::new(),
            subresource: Subresource::None,
            write: Write::Create(Value::Null),
            options: WriteOptions {
                field_manager: super::CONTROLLER_MANAGER.into(),
                field_validation: FieldValidation::Ignore,
                ..WriteOptions::default()
            },
            audit_id: String::new(),
            impersonation: None,
            body_hash: None,
            received: None,
        };
        self.policy_budget = Budget::default();
        let prepared = self.prepare(&request, object, Ownership::Update, now);
        self.policy_share += self.policy_budget.used();
        let (stored, _) = prepared?;
        Ok(self.insert_new(stored, now))
    }

    fn insert_new(&mut self, stored: Stored, now: Timestamp) -> Arc<Stored> {
        let stored = self.put(stored);
        if stored.resource == Resource::Namespace {
            self.furnish_namespace(&stored.name, now);
        }
        stored
    }

    /// The object as it would be stored, and what to warn about. Nothing is changed.
    pub(super) fn prepare(
        &mut self,
        request: &Request,
        mut object: Value,
        ownership: Ownership,
        now: Timestamp,
    ) -> Result<(Stored, Vec<String>), ApiError> {
        let resource = request.resource;
        let own = std::mem::take(&mut self.own_annotations);
        if request.subresource != Subresource::None {
            return Err(ApiError::new(Reason::MethodNotAllowed, "a status is updated, not created"));
        }
        check_type(resource, &object)?;
        let sent = metadata_of(&mut object)?.shift_remove("managedFields");
        let mut warnings = check_fields(request, &mut object)?;
        let metadata = metadata_of(&mut object)?;
        self.place(request, metadata)?;
        if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|v| !v.is_empty()) {
            return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let has_name = text(metadata, "name").is_some();
        let name = self.name_of(resource, metadata)?;
        let uid = Uid::from_random(self.random.bytes());
        stamp(&mut object, &name, uid, now);
        defaults::apply(resource, &mut object);
        let managed = ownership.settle(request, None, &object, sent, now);
        annotate_own(resource, &mut object, own, &request.user.name);
        self.follow_plan(resource, &request.namespace, &name, &mut object)?;
        warnings.extend(
            check_new(resource, &mut object, &name, uid)
                .map_err(|errors| ApiError::invalid(resource, &name, &errors))?,
        );
        self.admit(resource, &request.namespace, &name, &mut object, Change::Create, &mut warnings)?;
        warnings.extend(self.image_warnings(resource, &request.namespace, &object, now));
        self.check_escalation(request, None, &object)?;
        if !is_furniture(request) && self.state.has_policies() {
            let shown = with_first_status(resource, object.clone(), uid, now.as_second())
                .map_err(ApiError::bad_request)?;
            let deeds = Deeds {
                asked_name: if has_name { &name } else { "" },
                ..Deeds::named(Operation::Create, &name, Some(&shown), None)
            };
            self.judge_request(request, deeds, &mut warnings)?;
        }
        if self.get(resource, &request.namespace, &name).is_some() {
            return Err(ApiError::already_exists(resource, &name));
        }
        self.bound_image_policies(resource, &request.namespace, &name)?;
        self.bound_network_policies(resource, &request.namespace, &name, &object)?;
        set_managers(&mut object, &managed);
        let status = match resource {
            Resource::ValidatingAdmissionPolicy => status_of_policy(&object, 1, &Status::None),
            _ => first_status(resource, self.state.version + 1),
        };
        let has_generation = object.get("spec").is_some() && counts_generations(resource);
        let stored = Stored {
            resource,
            namespace: if resource.is_namespaced() { request.namespace.as_str().into() } else { "".into() },
            name: name.as_str().into(),
            uid,
            resource_version: 0,
            generation: u32::from(has_generation),
            created_at: now.as_second(),
            deletion: None,
            head: Head::Json(Arc::new(head(resource, object)?)),
            status,
        };
        if !is_furniture(request) {
            self.check_quota(None, &stored).map_err(|why| ApiError::forbidden(resource, &name, &why))?;
        }
        Ok((stored, warnings))
    }

    /// Writes the request's namespace into the object, or refuses another one.
    fn place(&self, request: &Request, metadata: &mut Map<String, Value>) -> Result<(), ApiError> {
        if !request.resource.is_namespaced() {
            metadata.shift_remove("namespace");
            return Ok(());
        }
        match metadata.get("namespace").and_then(Value::as_str) {
            None | Some("") => {
                metadata.insert("namespace".into(), request.namespace.clone().into());
            }
            Some(namespace) if namespace == request.namespace => {}
            Some(namespace) => {
                return Err(ApiError::bad_request(format!(
                    "the namespace of the provided object does not match the namespace sent on the request \
                     ({namespace:?} and {:?}): write the object's own namespace into the request",
                    request.namespace
                )));
            }
        }
        self.require_namespace(&request.namespace, request.resource)
    }

    fn name_of(&mut self, resource: Resource, metadata: &Map<String, Value>) -> Result<String, ApiError> {
        match (text(metadata, "name"), text(metadata, "generateName")) {
            (Some(name), _) => Ok(name.to_owned()),
            (None, Some(stem)) => Ok(name::generate(stem, self.random.bytes())),
            (None, None) => {
                let required = FieldError::new(
                    FieldErrorClass::Required,
                    "metadata.name",
                    "",
                    "name or generateName is required",
                );
                Err(ApiError::invalid(resource, "", &[required]))
            }
        }
    }

    fn require_namespace(&self, namespace: &str, resource: Resource) -> Result<(), ApiError> {
        let Some(found) = self.get(Resource::Namespace, "", namespace) else {
            return Err(ApiError::not_found(Resource::Namespace, namespace));
        };
        if found.deletion.is_some() {
            let detail = format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            );
            let mut error = ApiError::forbidden(resource, "", &detail);
            error.causes.push(Cause {
                reason: "NamespaceTerminating".into(),
                message: format!("namespace {namespace} is being terminated"),
                field: "metadata.namespace".into(),
            });
            return Err(error);
        }
        Ok(())
    }
}

/// Looks at a new object with its defaults and gives a Job its selector: what is worth a warning, or what is wrong. No other
/// object has a say in it.
///
/// # Errors
/// The fields that are wrong.
pub fn check_new(
    resource: Resource,
    object: &mut Value,
    name: &str,
    uid: Uid,
) -> Result<Vec<String>, Vec<FieldError>> {
    if resource == Resource::Job {
        generate_selector(object, name, uid);
    }
    let mut errors = validate::create(resource, object);
    errors.extend(super::rules::errors(resource, object));
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut warnings = validate::warnings(resource, object);
    warnings.extend(super::rules::warnings(resource, object));
    Ok(warnings)
}

/// A new object as policies see it: with the status that the server gives it, whatever its author says of one.
///
/// # Errors
/// What of it cannot be stored.
pub fn with_first_status(
    resource: Resource,
    mut object: Value,
    uid: Uid,
    created_at: i64,
) -> Result<Value, String> {
    let stored = Stored {
        resource,
        namespace: "".into(),
        name: "".into(),
        uid,
        resource_version: 0,
        generation: 0,
        created_at,
        deletion: None,
        head: Head::Json(Arc::new(JsonHead::from_value(resource, object.clone())?)),
        status: first_status(resource, 0),
    };
    if let Some(map) = object.as_object_mut() {
        map.shift_remove("status");
        map.extend(stored.render_status().map(|status| ("status".to_owned(), status)));
    }
    Ok(object)
}

/// Kinds whose changes are counted, as in Kubernetes.
fn counts_generations(resource: Resource) -> bool {
    matches!(
        resource,
        Resource::Pod
            | Resource::Job
            | Resource::CronJob
            | Resource::NetworkPolicy
            | Resource::ValidatingAdmissionPolicy
            | Resource::ValidatingAdmissionPolicyBinding
    )
}

fn text<'m>(metadata: &'m Map<String, Value>, field: &str) -> Option<&'m str> {
    metadata.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// What every namespace has stands beside its quotas.
fn is_furniture(request: &Request) -> bool {
    request.user == User::controller()
        && matches!(request.resource, Resource::ServiceAccount | Resource::ConfigMap)
}

/// Writes the server's part of the metadata, in Kubernetes' order.
fn stamp(object: &mut Value, name: &str, uid: Uid, now: Timestamp) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    let written = std::mem::take(metadata);
    metadata.insert("name".into(), name.into());
    for (key, value) in written {
        match key.as_str() {
            "name"
            | "uid"
            | "creationTimestamp"
            | "deletionTimestamp"
            | "generation"
            | "selfLink"
            | "deletionGracePeriodSeconds" => {}
            _ => {
                metadata.insert(key, value);
            }
        }
    }
    metadata.insert("uid".into(), uid.to_string().into());
    metadata.insert("creationTimestamp".into(), rfc3339(now.as_second()).into());
}

/// Kubernetes' labels and selector of a Job (both the plain and the prefixed ones), unless `manualSelector`.
fn generate_selector(object: &mut Value, name: &str, uid: Uid) {
    if object["spec"]["manualSelector"] == true {
        return;
    }
    let uid = uid.to_string();
    let template = &mut object["spec"]["template"];
    if !template["metadata"].is_object() {
        template["metadata"] = json!({});
    }
    if !template["metadata"]["labels"].is_object() {
        template["metadata"]["labels"] = json!({});
    }
    let labels = &mut template["metadata"]["labels"];
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", uid.as_str()),
        ("batch.kubernetes.io/job-name", name),
        ("controller-uid", uid.as_str()),
        ("job-name", name),
    ] {
        labels[key] = value.into();
    }
    let labels = labels.clone();
    if object["spec"]["selector"].is_null() {
        object["spec"]["selector"] = json!({});
    }
    if !object["spec"]["selector"]["matchLabels"].is_object() {
        object["spec"]["selector"]["matchLabels"] = json!({});
    }
    object["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"] = uid.into();
    let own_labels = &mut object["metadata"]["labels"];
    if own_labels.as_object().is_none_or(Map::is_empty) {
        *own_labels = labels;
    }
}

fn first_status(resource: Resource, version: u64) -> Status {
    match resource {
        Resource::Job => Status::Job {
            status: Arc::new(JobStatus::default()),
            images: Arc::from([]),
            fills: Arc::default(),
            job_id: version,
        },
        Resource::CronJob => Status::CronJob(Arc::new(CronJobStatus::default())),
        Resource::Pod => Status::Pod(Arc::default()),
        Resource::Namespace => Status::Json(Arc::new(json!({"phase": "Active"}))),
        Resource::PersistentVolumeClaim | Resource::PersistentVolume => {
            Status::Json(Arc::new(json!({"phase": "Pending"})))
        }
        Resource::ResourceQuota => Status::Json(Arc::new(json!({}))),
        _ => Status::None,
    }
}
