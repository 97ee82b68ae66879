//! Update and patch.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use watchbell_api::error::FieldErrorClass;
use watchbell_api::{ApiError, FieldError, Resource, defaults, patch, validate};

use super::arrays::{array_changes, keep_own_annotations};
use super::object::{Head, JsonHead, Stored};
use super::owners::{Ownership, set_managers};
use super::policies::{Deeds, status_of_policy};
use super::rules::Change;
use super::write::{check_fields, check_type, head, metadata_of};
use super::{World, pods};
use crate::admission::policies::Operation;
use crate::request::{DryRun, Outcome, PatchKind, Request, Subresource, Written};

impl World {
    pub(super) fn patch(
        &mut self,
        request: &Request,
        kind: PatchKind,
        body: &Value,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let make = match kind {
            PatchKind::Json => patch::json_patch,
            PatchKind::Merge => patch::merge,
            PatchKind::StrategicMerge => patch::strategic,
            PatchKind::Apply => return self.apply(request, body, now),
        };
        let old = self.find(request)?;
        let patched = make(request.resource, &old.render(), body)?;
        self.replace(request, &old, patched, Ownership::Update, now)
    }

    pub(super) fn replace(
        &mut self,
        request: &Request,
        old: &Arc<Stored>,
        mut object: Value,
        ownership: Ownership,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let resource = request.resource;
        check_type(resource, &object)?;
        let sent = metadata_of(&mut object)?.shift_remove("managedFields");
        let mut warnings = check_fields(request, &mut object)?;
        let before = old.render();
        let metadata = metadata_of(&mut object)?;
        check_identity(request, old, metadata)?;
        keep_fields(&before["metadata"], metadata, &SERVER_FIELDS);
        // With a status too: what selectors know a namespace by is nobody's to change.
        defaults::apply(resource, &mut object);
        if request.subresource == Subresource::Status {
            if resource == Resource::Pod {
                // As in Kubernetes: who tells how a pod fares does not take it from its Job.
                keep_fields(&before["metadata"], metadata_of(&mut object)?, &["ownerReferences"]);
            }
            let managed = ownership.settle(request, Some(&before), &object, sent, now);
            // The metadata are taken with a status, the spec is not.
            let mut whole = json!({"metadata": object["metadata"].take(), "spec": before["spec"]});
            keep_own_annotations(resource, &before, &mut whole, &request.user.name);
            let mut errors = validate::metadata_update(&before, &whole);
            errors.extend(array_changes(resource, &before, &whole));
            object["metadata"] = whole["metadata"].take();
            if !errors.is_empty() {
                return Err(ApiError::invalid(resource, &request.name, &errors));
            }
            set_managers(&mut object, &managed);
            self.judge_change(request, &before, &object, &mut warnings)?;
            return self.replace_status(request, old, before, &object, warnings);
        }
        let managed = ownership.settle(request, Some(&before), &object, sent, now);
        if let Some(map) = object.as_object_mut() {
            map.shift_remove("status");
        }
        keep_own_annotations(resource, &before, &mut object, &request.user.name);
        let mut errors = validate::update(resource, &before, &object);
        errors.extend(array_changes(resource, &before, &object));
        if errors.is_empty() {
            errors.extend(super::rules::errors(resource, &object));
        }
        errors.extend(new_finalizers(old, &object));
        if !errors.is_empty() {
            return Err(ApiError::invalid(resource, &request.name, &errors));
        }
        self.check_escalation(request, Some(&before), &object)?;
        let spec_changed = before.get("spec") != object.get("spec");
        if spec_changed {
            warnings.extend(validate::warnings(resource, &object));
            warnings.extend(super::rules::warnings(resource, &object));
            warnings.extend(self.image_warnings(resource, &old.namespace, &object, now));
            warnings.extend(pods::images_that_wait(old, &before, &object));
        }
        if spec_changed || !is_judged_by_spec(resource) {
            let change = Change::Update { before: &before };
            self.admit(resource, &old.namespace, &old.name, &mut object, change, &mut warnings)?;
        }
        self.judge_change(request, &before, &object, &mut warnings)?;
        self.bound_network_policies(resource, &old.namespace, &old.name, &object)?;
        set_managers(&mut object, &managed);
        let new_policy =
            (resource == Resource::ValidatingAdmissionPolicy && spec_changed).then(|| object.clone());
        let new_head = head(resource, object)?;
        if old.has_head(&new_head) {
            return Ok(Written { object: before, outcome: Outcome::Done, warnings });
        }
        let mut stored = (**old).clone();
        stored.head = with_head(old, new_head);
        if spec_changed && stored.generation > 0 {
            stored.generation += 1;
        }
        if let Some(policy) = new_policy {
            stored.status = status_of_policy(&policy, stored.generation, &old.status);
        }
        // A pod's quota was asked when it was made.
        if spec_changed && resource != Resource::Pod {
            self.check_quota(Some(old), &stored)
                .map_err(|why| ApiError::forbidden(resource, &old.name, &why))?;
        }
        self.store_changed(request, old, stored, warnings)
    }

    /// Has the policies judge an update, with the status that stays.
    fn judge_change(
        &mut self,
        request: &Request,
        before: &Value,
        object: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        if !self.state.has_policies() {
            return Ok(());
        }
        let whole = match request.subresource {
            // A new status comes with all else that is there.
            Subresource::Status => with_parts(before, object, &["metadata", "status"]),
            _ => with_parts(object, before, &["status"]),
        };
        let deeds = Deeds::named(Operation::Update, &request.name, Some(&whole), Some(before));
        self.judge_request(request, deeds, warnings)
    }

    /// Stores the outcome of an update, unless it is a dry run or takes away the last thing a deletion waited for.
    pub(super) fn store_changed(
        &mut self,
        request: &Request,
        old: &Arc<Stored>,
        stored: Stored,
        warnings: Vec<String>,
    ) -> Result<Written, ApiError> {
        if request.options.dry_run == DryRun::All {
            return Ok(Written { object: stored.render(), outcome: Outcome::Done, warnings });
        }
        let had_finalizers = !old.finalizers().is_empty();
        let runs = stored.pod_status().is_some_and(|s| s.scheduled_at.is_some() && !s.phase.is_terminal());
        let may_go = stored.deletion.is_some() && had_finalizers && stored.finalizers().is_empty() && !runs;
        let stored = self.put(stored);
        self.tell_spec(old, &stored);
        if may_go {
            match stored.resource {
                // It waits for its contents too.
                Resource::Namespace => self.mark(stored.key()),
                _ => self.finish_removal(&stored),
            }
        }
        Ok(Written { object: stored.render(), outcome: Outcome::Done, warnings })
    }
}

/// The object with these fields of another, or without them.
fn with_parts(object: &Value, other: &Value, fields: &[&str]) -> Value {
    let mut whole = object.clone();
    let Some(map) = whole.as_object_mut() else { return whole };
    for field in fields {
        match other.get(field) {
            Some(value) => drop(map.insert((*field).into(), value.clone())),
            None => drop(map.shift_remove(*field)),
        }
    }
    whole
}

/// Whether only a change of its `spec` can change what admission says of an object.
fn is_judged_by_spec(resource: Resource) -> bool {
    match resource {
        // Labels, annotations, or what has no spec.
        Resource::Namespace | Resource::PriorityClass => false,
        // Warned about at each update, as Kubernetes does.
        Resource::Pod | Resource::Job | Resource::CronJob => false,
        _ => true,
    }
}

fn check_identity(request: &Request, old: &Stored, metadata: &Map<String, Value>) -> Result<(), ApiError> {
    let text = |field: &str| metadata.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(name) = text("name")
        && name != request.name
    {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            request.name
        )));
    }
    if let Some(namespace) = text("namespace")
        && request.resource.is_namespaced()
        && namespace != request.namespace
    {
        return Err(ApiError::bad_request(format!(
            "the namespace of the object ({namespace}) does not match the namespace on the URL ({})",
            request.namespace
        )));
    }
    if let Some(uid) = text("uid")
        && uid != old.uid.to_string()
    {
        let detail =
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", old.uid);
        return Err(ApiError::conflict(request.resource, &request.name, &detail));
    }
    if let Some(version) = text("resourceVersion")
        && version != old.resource_version.to_string()
    {
        return Err(ApiError::conflict(
            request.resource,
            &request.name,
            "the object has been modified; please apply your changes to the latest version and try again",
        ));
    }
    Ok(())
}

/// What of the metadata belongs to the server.
const SERVER_FIELDS: [&str; 9] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generateName",
];

/// These fields stay as they are.
fn keep_fields(before: &Value, metadata: &mut Map<String, Value>, fields: &[&str]) {
    for &field in fields {
        match before.get(field) {
            Some(value) => {
                metadata.insert(field.into(), value.clone());
            }
            None => {
                metadata.shift_remove(field);
            }
        }
    }
}

/// An object that is being deleted may only lose finalizers.
fn new_finalizers(old: &Stored, object: &Value) -> Option<FieldError> {
    old.deletion?;
    let added: Vec<&str> = object["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|f| *f != super::TRACKING && !old.finalizers().iter().any(|known| known == f))
        .collect();
    (!added.is_empty()).then(|| {
        FieldError::new(
            FieldErrorClass::Forbidden,
            "metadata.finalizers",
            "",
            format!("no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"),
        )
    })
}

/// The head of an updated object. An array pod that lost its Job as controller stands alone.
pub(super) fn with_head(old: &Stored, new_head: JsonHead) -> Head {
    match &old.head {
        Head::ArrayPod(pod) if is_controlled_by(&new_head, pod.template.job_uid) => {
            let mut pod = pod.clone();
            pod.own = Some(Arc::new(new_head));
            Head::ArrayPod(pod)
        }
        _ => Head::Json(Arc::new(new_head)),
    }
}

fn is_controlled_by(head: &JsonHead, uid: watchbell_api::Uid) -> bool {
    head.owners.iter().any(|owner| owner.controller && owner.uid == uid)
}
