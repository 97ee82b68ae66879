//! Requests: create, update, patch, delete. Each is checked whole before anything changes.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use watchbell_api::error::FieldErrorClass;
use watchbell_api::node::{Command, StopCause};
use watchbell_api::{ApiError, Cause, FieldError, Reason, Resource, Uid};
use watchbell_api::{defaults, name, patch, schema, selector, validate};

use super::object::{Head, JsonHead, Key, NsName, Status, Stored, rfc3339};
use super::World;
use crate::admission::{self, Mode};
use crate::controller::cronjob::CronJobStatus;
use crate::controller::job::JobStatus;
use crate::cron::Schedule;
use crate::request::{
    DeleteOptions, DryRun, FieldValidation, Outcome, PatchKind, Propagation, Request, Subresource, Write, Written,
};

const FOREGROUND: &str = "foregroundDeletion";
/// Kubernetes' own words when a Job is deleted without a propagation policy.
const ORPHAN_WARNING: &str = "child pods are preserved by default when jobs are deleted; set \
propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";

impl World {
    /// Carries out a request into the stage and records it in the audit journal, refused or not.
    pub fn write(&mut self, request: Request, now: Timestamp) -> Result<Written, ApiError> {
        let answer = self.dispatch(&request, now);
        self.audit_request(&request, &answer, now);
        answer
    }

    fn dispatch(&mut self, request: &Request, now: Timestamp) -> Result<Written, ApiError> {
        match &request.write {
            Write::Create(object) => self.create(request, object.clone(), now),
            Write::Update(object) => {
                let old = self.find(request)?;
                self.replace(request, &old, object.clone(), now)
            }
            Write::Patch { kind, body } => self.patch(request, *kind, body, now),
            Write::Delete(options) => {
                let object = self.find(request)?;
                self.delete_request(request, &object, options, now)
            }
            Write::DeleteCollection { options, label_selector, field_selector } => {
                self.delete_collection(request, options, label_selector, field_selector, now)
            }
        }
    }

    fn find(&self, request: &Request) -> Result<Arc<Stored>, ApiError> {
        self.get(request.resource, &request.namespace, &request.name)
            .cloned()
            .ok_or_else(|| ApiError::not_found(request.resource, &request.name))
    }

    // --- create -----------------------------------------------------------------------------------------------------

    fn create(&mut self, request: &Request, mut object: Value, now: Timestamp) -> Result<Written, ApiError> {
        let resource = request.resource;
        if request.subresource != Subresource::None {
            return Err(ApiError::new(Reason::MethodNotAllowed, "a status is updated, not created"));
        }
        check_type(resource, &object)?;
        let mut warnings = check_fields(request, &mut object)?;
        let metadata = metadata_of(&mut object)?;
        if resource.is_namespaced() {
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
            self.require_namespace(&request.namespace, resource)?;
        } else {
            metadata.shift_remove("namespace");
        }
        if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|v| !v.is_empty()) {
            return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let name = match metadata.get("name").and_then(Value::as_str).filter(|n| !n.is_empty()) {
            Some(name) => name.to_owned(),
            None => match metadata.get("generateName").and_then(Value::as_str).filter(|n| !n.is_empty()) {
                Some(stem) => name::generate(stem, self.random.bytes()),
                None => {
                    let required = FieldError::new(
                        FieldErrorClass::Required,
                        "metadata.name",
                        "",
                        "name or generateName is required",
                    );
                    return Err(ApiError::invalid(resource, "", &[required]));
                }
            },
        };
        let uid = Uid::from_random(self.random.bytes());
        stamp(&mut object, &name, uid, now);
        defaults::apply(resource, &mut object);
        if resource == Resource::Job {
            generate_selector(&mut object, &name, uid);
        }
        let mut errors = validate::create(resource, &object);
        errors.extend(own_rules(resource, &object));
        if !errors.is_empty() {
            return Err(ApiError::invalid(resource, &name, &errors));
        }
        warnings.extend(validate::warnings(resource, &object));
        warnings.extend(own_warnings(resource, &object));
        self.admit(resource, &request.namespace, &name, &mut object, &mut warnings)?;
        if self.get(resource, &request.namespace, &name).is_some() {
            return Err(ApiError::already_exists(resource, &name));
        }
        let status = first_status(resource, &object, self.state.version + 1);
        let stored = Stored {
            resource,
            namespace: if resource.is_namespaced() { request.namespace.as_str().into() } else { "".into() },
            name: name.as_str().into(),
            uid,
            resource_version: 0,
            generation: u32::from(object.get("spec").is_some() && resource != Resource::Namespace),
            created_at: now.as_second(),
            deletion: None,
            head: Head::Json(Arc::new(head(resource, object)?)),
            status,
        };
        if request.options.dry_run == DryRun::All {
            return Ok(Written { object: stored.render(), outcome: Outcome::Created, warnings });
        }
        let stored = self.put(stored);
        if resource == Resource::Namespace {
            self.furnish_namespace(&name, now);
        }
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
            user: crate::request::User::controller(),
            resource,
            namespace: namespace.into(),
            name: String::new(),
            subresource: Subresource::None,
            write: Write::Create(Value::Null),
            options: crate::request::WriteOptions {
                field_validation: FieldValidation::Ignore,
                field_manager: "watchbell".into(),
                ..Default::default()
            },
            audit_id: String::new(),
        };
        let written = self.create(&request, object, now)?;
        let name = written.object["metadata"]["name"].as_str().unwrap_or_default();
        self.get(resource, namespace, name).cloned().ok_or_else(|| ApiError::not_found(resource, name))
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

    pub(super) fn namespace_mode(&self, namespace: &str) -> Mode {
        match self.get(Resource::Namespace, "", namespace) {
            Some(ns) => admission::mode(&ns.labels()),
            None => Mode::Strict,
        }
    }

    /// Judges pods, and the templates of Jobs and CronJobs. A pod is filled in and refused; a template is never
    /// changed, refused only in a namespace without a level, and warned about in one that has it.
    fn admit(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        object: &mut Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let (path, place): (&[&str], &str) = match resource {
            Resource::Pod => (&["spec"], "spec"),
            Resource::Job => (&["spec", "template", "spec"], "spec.template.spec"),
            Resource::CronJob => (
                &["spec", "jobTemplate", "spec", "template", "spec"],
                "spec.jobTemplate.spec.template.spec",
            ),
            _ => return Ok(()),
        };
        let mode = self.namespace_mode(namespace);
        let mut spec = path.iter().fold(&mut *object, |value, step| &mut value[*step]);
        let mut copy;
        if resource != Resource::Pod {
            copy = spec.clone();
            spec = &mut copy;
        }
        let refused = admission::effective(mode, spec, place);
        if refused.is_empty() {
            return Ok(());
        }
        match (resource, mode) {
            (Resource::Pod, _) | (_, Mode::Strict) => {
                Err(admission::refusal(resource, name, namespace, mode, &refused))
            }
            (_, Mode::Labelled(_)) => {
                warnings.push(admission::warning(mode, &refused));
                Ok(())
            }
        }
    }

    // --- update and patch -------------------------------------------------------------------------------------------

    fn patch(
        &mut self,
        request: &Request,
        kind: PatchKind,
        body: &Value,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        if kind == PatchKind::Apply {
            return Err(ApiError::new(
                Reason::UnsupportedMediaType,
                "server-side apply is not served: use client-side apply (kubectl apply without --server-side)",
            ));
        }
        let old = self.find(request)?;
        let current = old.render();
        let patched = match kind {
            PatchKind::Json => patch::json_patch(request.resource, &current, body)?,
            PatchKind::Merge => patch::merge(request.resource, &current, body)?,
            PatchKind::StrategicMerge | PatchKind::Apply => patch::strategic(request.resource, &current, body)?,
        };
        self.replace(request, &old, patched, now)
    }

    fn replace(
        &mut self,
        request: &Request,
        old: &Arc<Stored>,
        mut object: Value,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let resource = request.resource;
        check_type(resource, &object)?;
        let mut warnings = check_fields(request, &mut object)?;
        let before = old.render();
        let metadata = metadata_of(&mut object)?;
        if let Some(name) = metadata.get("name").and_then(Value::as_str)
            && name != request.name
        {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                request.name
            )));
        }
        if let Some(version) = metadata.get("resourceVersion").and_then(Value::as_str).filter(|v| !v.is_empty())
            && version != old.resource_version.to_string()
        {
            return Err(ApiError::conflict(
                resource,
                &request.name,
                "the object has been modified; please apply your changes to the latest version and try again",
            ));
        }
        if let Some(uid) = metadata.get("uid").and_then(Value::as_str).filter(|u| !u.is_empty())
            && uid != old.uid.to_string()
        {
            let detail = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", old.uid);
            return Err(ApiError::conflict(resource, &request.name, &detail));
        }
        // What belongs to the server stays as it is.
        for field in ["name", "namespace", "uid", "creationTimestamp", "generateName"] {
            match before["metadata"].get(field) {
                Some(value) => {
                    metadata.insert(field.into(), value.clone());
                }
                None => {
                    metadata.shift_remove(field);
                }
            }
        }
        if request.subresource == Subresource::Status {
            return self.replace_status(request, old, &object, warnings);
        }
        defaults::apply(resource, &mut object);
        if let Some(map) = object.as_object_mut() {
            map.shift_remove("status");
        }
        let mut errors = validate::update(resource, &before, &object);
        if errors.is_empty() {
            errors.extend(own_rules(resource, &object));
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid(resource, &request.name, &errors));
        }
        let spec_changed = before.get("spec") != object.get("spec");
        if spec_changed {
            warnings.extend(validate::warnings(resource, &object));
            warnings.extend(own_warnings(resource, &object));
            self.admit(resource, &old.namespace, &old.name, &mut object, &mut warnings)?;
        }
        let new_head = head(resource, object)?;
        let unchanged = match &old.head {
            Head::Json(head) => head.json == new_head.json,
            Head::ArrayPod(pod) => match &pod.own {
                Some(own) => own.json == new_head.json,
                None => serde_json::to_vec(&strip(before.clone())).is_ok_and(|json| *json == *new_head.json),
            },
        };
        if unchanged {
            return Ok(Written { object: before, outcome: Outcome::Done, warnings });
        }
        let mut stored = (**old).clone();
        stored.head = match &old.head {
            Head::Json(_) => Head::Json(Arc::new(new_head)),
            Head::ArrayPod(pod) => {
                let mut pod = pod.clone();
                pod.own = Some(Arc::new(new_head));
                Head::ArrayPod(pod)
            }
        };
        if spec_changed && stored.generation > 0 {
            stored.generation += 1;
        }
        if request.options.dry_run == DryRun::All {
            return Ok(Written { object: stored.render(), outcome: Outcome::Done, warnings });
        }
        if stored.deletion.is_some() && stored.finalizers().is_empty() && resource != Resource::Pod {
            // The last finalizer went: so does the object.
            let rendered = stored.render();
            self.finish_removal(old, now);
            return Ok(Written { object: rendered, outcome: Outcome::Done, warnings });
        }
        let stored = self.put(stored);
        Ok(Written { object: stored.render(), outcome: Outcome::Done, warnings })
    }

    fn replace_status(
        &mut self,
        request: &Request,
        old: &Arc<Stored>,
        object: &Value,
        warnings: Vec<String>,
    ) -> Result<Written, ApiError> {
        match &old.status {
            Status::None | Status::Json(_) => {}
            Status::Job { .. } | Status::CronJob(_) | Status::Pod(_) => {
                return Err(ApiError::forbidden(
                    request.resource,
                    &request.name,
                    "its status is written by the controllers of this server alone",
                ));
            }
        }
        let mut stored = (**old).clone();
        stored.status = match object.get("status") {
            None | Some(Value::Null) => Status::None,
            Some(status) => Status::Json(Arc::new(status.clone())),
        };
        if request.options.dry_run == DryRun::All {
            return Ok(Written { object: stored.render(), outcome: Outcome::Done, warnings });
        }
        let stored = self.put(stored);
        Ok(Written { object: stored.render(), outcome: Outcome::Done, warnings })
    }

    // --- delete -----------------------------------------------------------------------------------------------------

    fn delete_request(
        &mut self,
        request: &Request,
        object: &Arc<Stored>,
        options: &DeleteOptions,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let resource = request.resource;
        if let Some(uid) = &options.precondition_uid
            && *uid != object.uid.to_string()
        {
            let detail = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                object.uid
            );
            return Err(ApiError::conflict(resource, &object.name, &detail));
        }
        if let Some(version) = &options.precondition_resource_version
            && *version != object.resource_version.to_string()
        {
            let detail = format!(
                "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}",
                object.resource_version
            );
            return Err(ApiError::conflict(resource, &object.name, &detail));
        }
        if resource == Resource::Namespace && super::bootstrap::is_permanent(&object.name) {
            return Err(ApiError::forbidden(resource, &object.name, "this namespace may not be deleted"));
        }
        if resource == Resource::Node {
            return Err(ApiError::forbidden(resource, &object.name, "the node is this machine"));
        }
        let mut warnings = Vec::new();
        if resource == Resource::Job && options.propagation_policy.is_none() {
            warnings.push(ORPHAN_WARNING.to_owned());
        }
        if request.options.dry_run == DryRun::All {
            return Ok(Written { object: object.render(), outcome: Outcome::Done, warnings });
        }
        let rendered = self.delete(object, options, StopCause::Deleted, now);
        match rendered {
            Some(still_there) => {
                Ok(Written { object: still_there.render(), outcome: Outcome::Done, warnings })
            }
            None => {
                let info = resource.info();
                let mut details = json!({
                    "name": &*object.name, "kind": info.plural, "uid": object.uid.to_string(),
                });
                if !info.group.is_empty() {
                    details["group"] = info.group.into();
                }
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
                });
                Ok(Written { object: status, outcome: Outcome::Done, warnings })
            }
        }
    }

    fn delete_collection(
        &mut self,
        request: &Request,
        options: &DeleteOptions,
        label_selector: &str,
        field_selector: &str,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let labels = selector::Labels::parse(label_selector)?;
        let fields = selector::Fields::parse(request.resource, field_selector)?;
        let namespace = if request.resource.is_namespaced() { Some(request.namespace.as_str()) } else { None };
        let namespace = namespace.filter(|n| !n.is_empty());
        let chosen: Vec<Arc<Stored>> = self
            .state
            .list(request.resource, namespace, None)
            .filter(|object| labels.matches(&object.labels()))
            .filter(|object| fields.is_empty() || fields.matches(&object.render()))
            .cloned()
            .collect();
        let mut items = Vec::with_capacity(chosen.len());
        for object in chosen {
            items.push(object.render());
            if request.options.dry_run == DryRun::No {
                self.delete(&object, options, StopCause::Deleted, now);
            }
        }
        let info = request.resource.info();
        let list = json!({
            "kind": format!("{}List", info.kind), "apiVersion": info.api_version(),
            "metadata": {"resourceVersion": self.state.version.to_string()}, "items": items,
        });
        Ok(Written { object: list, outcome: Outcome::Done, warnings: Vec::new() })
    }

    /// Begins (and, where nothing stands against it, ends) the deletion of an object. Returns what is still there.
    pub(super) fn delete(
        &mut self,
        object: &Arc<Stored>,
        options: &DeleteOptions,
        cause: StopCause,
        now: Timestamp,
    ) -> Option<Arc<Stored>> {
        if object.resource == Resource::Pod {
            return self.delete_pod(object, options.grace_period_seconds, cause, now);
        }
        let propagation = options.propagation_policy.unwrap_or(match object.resource {
            Resource::Job => Propagation::Orphan,
            _ => Propagation::Background,
        });
        let has_children = !self.dependents(object.uid).is_empty();
        let waits = match propagation {
            Propagation::Foreground => has_children,
            Propagation::Background => false,
            Propagation::Orphan => {
                self.orphan_dependents(object.uid, now);
                false
            }
        };
        if waits || !object.finalizers().is_empty() || object.resource == Resource::Namespace {
            let marked = self.mark_deleted(object, waits, now);
            if waits {
                self.delete_dependents(object.uid, now);
            }
            self.mark(marked.key());
            return Some(marked);
        }
        self.finish_removal(object, now);
        None
    }

    fn mark_deleted(&mut self, object: &Arc<Stored>, foreground: bool, now: Timestamp) -> Arc<Stored> {
        let adds_finalizer = foreground && !object.finalizers().iter().any(|f| f == FOREGROUND);
        if object.deletion.is_some() && !adds_finalizer {
            return object.clone();
        }
        let mut marked = (**object).clone();
        if marked.deletion.is_none() {
            marked.deletion = Some(super::Deletion { at: now.as_second(), grace_seconds: 0 });
            marked.generation += u32::from(marked.generation > 0);
        }
        if adds_finalizer {
            let mut value = object.render();
            let mut list = object.finalizers().to_vec();
            list.push(FOREGROUND.to_owned());
            value["metadata"]["finalizers"] = json!(list);
            if let Ok(new_head) = head(object.resource, value) {
                marked.head = Head::Json(Arc::new(new_head));
            }
        }
        if object.resource == Resource::Namespace {
            marked.status = Status::Json(Arc::new(json!({"phase": "Terminating"})));
        }
        self.put(marked)
    }

    /// The object goes; its dependents are looked at once it is gone.
    pub(super) fn finish_removal(&mut self, object: &Arc<Stored>, now: Timestamp) {
        if object.resource == Resource::Job {
            self.remove_job(object, now);
            return;
        }
        self.remove(object.resource, &NsName { namespace: object.namespace.clone(), name: object.name.clone() });
    }

    /// The last foreground dependent went: so may its owner.
    pub(super) fn drop_foreground_finalizer(&mut self, object: &Arc<Stored>, now: Timestamp) {
        let rest: Vec<&String> = object.finalizers().iter().filter(|f| *f != FOREGROUND).collect();
        if rest.is_empty() {
            self.finish_removal(object, now);
            return;
        }
        let mut value = object.render();
        value["metadata"]["finalizers"] = json!(rest);
        if let Ok(new_head) = head(object.resource, value) {
            let mut stored = (**object).clone();
            stored.head = Head::Json(Arc::new(new_head));
            self.put(stored);
        }
    }

    pub(super) fn waits_for_dependents(object: &Stored) -> bool {
        object.deletion.is_some() && object.finalizers().iter().any(|f| f == FOREGROUND)
    }

    /// Takes the owner out of an object's references; the object stays.
    pub(super) fn release(&mut self, key: &Key, owner: Uid) {
        let Some(object) = self.get_at(key.resource, &key.at).cloned() else { return };
        let mut value = object.render();
        let owner = owner.to_string();
        if let Some(list) = value["metadata"]["ownerReferences"].as_array_mut() {
            list.retain(|o| o["uid"] != owner.as_str());
        }
        if value["metadata"]["ownerReferences"].as_array().is_some_and(Vec::is_empty)
            && let Some(metadata) = value["metadata"].as_object_mut()
        {
            metadata.shift_remove("ownerReferences");
        }
        if let Ok(new_head) = head(object.resource, value) {
            let mut stored = (*object).clone();
            stored.head = Head::Json(Arc::new(new_head));
            self.put(stored);
        }
    }

    /// A pod that stands alone again: its whole head becomes its own (its Job goes and the pod stays).
    pub(super) fn copy_out(&mut self, at: &NsName) -> Option<Arc<Stored>> {
        let pod = self.get_at(Resource::Pod, at)?.clone();
        if !matches!(pod.head, Head::ArrayPod(_)) {
            return Some(pod);
        }
        let new_head = head(Resource::Pod, pod.render()).ok()?;
        // The row moves from the Job's array to the objects: the old one goes, a new one comes.
        self.remove(Resource::Pod, at);
        let mut stored = (*pod).clone();
        stored.head = Head::Json(Arc::new(new_head));
        Some(self.put(stored))
    }

    pub(super) fn forget_pod(&mut self, pod: &Stored) {
        self.command(Command::Forget { uid: pod.uid, job: pod.controller() });
    }

    /// Pods made from the template before it changed keep it.
    pub(super) fn keep_old_templates(&mut self, job: Uid) {
        let Some(runtime) = self.jobs.get_mut(&job) else { return };
        runtime.templates.clear();
        let pods: Vec<NsName> = runtime.pods.values().cloned().collect();
        for at in pods {
            let Some(pod) = self.get_at(Resource::Pod, &at).cloned() else { continue };
            let Head::ArrayPod(array) = &pod.head else { continue };
            if array.own.is_some() {
                continue;
            }
            let Ok(own) = head(Resource::Pod, pod.render()) else { continue };
            let mut stored = (*pod).clone();
            let mut array = array.clone();
            array.own = Some(Arc::new(own));
            stored.head = Head::ArrayPod(array);
            self.put(stored);
        }
    }
}

fn head(resource: Resource, object: Value) -> Result<JsonHead, ApiError> {
    JsonHead::from_value(resource, object).map_err(ApiError::bad_request)
}

/// What [`JsonHead`] does not hold.
fn strip(mut object: Value) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.shift_remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["resourceVersion", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            metadata.shift_remove(field);
        }
    }
    object
}

fn metadata_of(object: &mut Value) -> Result<&mut Map<String, Value>, ApiError> {
    let map = object.as_object_mut().ok_or_else(|| ApiError::bad_request("the body is not a JSON object"))?;
    map.entry("metadata")
        .or_insert_with(|| json!({}))
        .as_object_mut()
        .ok_or_else(|| ApiError::bad_request("metadata is not a JSON object"))
}

fn check_type(resource: Resource, object: &Value) -> Result<(), ApiError> {
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
fn check_fields(request: &Request, object: &mut Value) -> Result<Vec<String>, ApiError> {
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
    if report.unknown.is_empty() {
        return Ok(Vec::new());
    }
    match request.options.field_validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(report.unknown.iter().map(|path| format!("unknown field {path:?}")).collect()),
        FieldValidation::Strict => {
            let list: Vec<String> =
                report.unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
            Err(ApiError::bad_request(format!("strict decoding error: {}", list.join(", "))))
        }
    }
}

/// Writes the server's part of the metadata, in Kubernetes' order.
fn stamp(object: &mut Value, name: &str, uid: Uid, now: Timestamp) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    let written = std::mem::take(metadata);
    metadata.insert("name".into(), name.into());
    for (key, value) in written {
        match key.as_str() {
            "name" | "uid" | "creationTimestamp" | "deletionTimestamp" | "generation" | "selfLink" => {}
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

/// Rules that need this crate: a CronJob's schedule and time zone.
fn own_rules(resource: Resource, object: &Value) -> Vec<FieldError> {
    if resource != Resource::CronJob {
        return Vec::new();
    }
    let schedule = object["spec"]["schedule"].as_str().unwrap_or_default();
    match Schedule::parse(schedule) {
        Ok(_) => Vec::new(),
        Err(_) if schedule.is_empty() => Vec::new(),
        Err(error) => vec![FieldError::new(
            FieldErrorClass::Invalid,
            "spec.schedule",
            format!("{schedule:?}"),
            error.to_string(),
        )],
    }
}

fn own_warnings(resource: Resource, object: &Value) -> Vec<String> {
    if resource != Resource::CronJob {
        return Vec::new();
    }
    let schedule = object["spec"]["schedule"].as_str().unwrap_or_default();
    match Schedule::parse(schedule) {
        Ok(parsed) if parsed.never_fires() => {
            vec![format!("spec.schedule: {schedule:?} never fires: no date of the calendar matches it")]
        }
        _ => Vec::new(),
    }
}

fn first_status(resource: Resource, object: &Value, version: u64) -> Status {
    match resource {
        Resource::Job => {
            Status::Job { status: Arc::new(JobStatus::default()), images: Arc::from([]), job_id: version }
        }
        Resource::CronJob => Status::CronJob(Arc::new(CronJobStatus::default())),
        Resource::Pod => Status::Pod(Arc::new(super::pods::first_status(object))),
        Resource::Namespace => Status::Json(Arc::new(json!({"phase": "Active"}))),
        _ => Status::None,
    }
}
