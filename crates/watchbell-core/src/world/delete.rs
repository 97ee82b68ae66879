//! Deletion: at once where nothing stands against it, else marked until finalizers, children or processes are gone.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::node::{Command, StopCause};
use watchbell_api::{ApiError, Reason, Resource, Uid, convert, selector, validate};

use super::World;
use super::adopt::drop_owner;
use super::bootstrap::is_permanent;
use super::facts::Facts;
use super::object::{Deletion, Head, JsonHead, Status, Stored};
use super::policies::Deeds;
use crate::admission::policies::Operation;
use crate::request::{DeleteOptions, DryRun, Outcome, Page, Propagation, Request, Written};

const FOREGROUND: &str = "foregroundDeletion";
/// Kubernetes' default of `terminationGracePeriodSeconds`.
const DEFAULT_GRACE_SECONDS: i64 = 30;
/// Kubernetes' own words when a Job is deleted without a propagation policy.
const ORPHAN_WARNING: &str = "child pods are preserved by default when jobs are deleted; set \
propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";

/// Of a deletion of many objects.
const WARNINGS_MAX: usize = 16;

/// The reason of the condition `DisruptionTarget`.
const EVICTED: &str = "EvictionByEvictionAPI";

/// The object goes now, what it owns is collected.
pub(super) fn background() -> DeleteOptions {
    DeleteOptions { propagation_policy: Some(Propagation::Background), ..DeleteOptions::default() }
}

/// Why an object may not be deleted.
fn stays(object: &Stored, now: Timestamp) -> Option<&'static str> {
    let is_system = || validate::SYSTEM_PRIORITIES.iter().any(|(name, _)| *name == &*object.name);
    match object.resource {
        Resource::Namespace if is_permanent(&object.name) => Some("this namespace may not be deleted"),
        Resource::Node => Some("the node is this machine"),
        Resource::PriorityClass if is_system() => {
            Some("this is a system priority class and cannot be deleted")
        }
        Resource::CertificateRevocation => {
            let Facts::RevokedUntil(until) = object.facts() else { return None };
            let is_over = until.is_some_and(|until| until <= now.as_second());
            (!is_over).then_some(
                "what it revokes would be taken again: it stays until the certificate ends; issue another certificate instead",
            )
        }
        Resource::UserCertificate => {
            let Status::Json(status) = &object.status else { return None };
            let ends = status["expirationTimestamp"].as_str().and_then(|ends| ends.parse::<Timestamp>().ok());
            ends.is_some_and(|ends| ends > now).then_some(
                "the certificate would be taken all the same, and nobody would know of it: it stays until the certificate \
                 ends; `watchbell user revoke` ends it now",
            )
        }
        _ => None,
    }
}

impl World {
    pub(super) fn delete_request(
        &mut self,
        request: &Request,
        object: &Arc<Stored>,
        options: &DeleteOptions,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let resource = request.resource;
        check_preconditions(object, options)?;
        if let Some(why) = stays(object, now) {
            return Err(ApiError::forbidden(resource, &object.name, why));
        }
        let mut warnings = Vec::new();
        if resource == Resource::Job && options.propagation_policy.is_none() {
            warnings.push(ORPHAN_WARNING.to_owned());
        }
        if self.judges_deletions(resource.stored()) {
            self.judge_deletion(request, object, &mut warnings)?;
        }
        if request.options.dry_run == DryRun::All {
            return Ok(Written { object: object.render(), outcome: Outcome::Done, warnings });
        }
        let object = match self.delete(object, options, StopCause::Deleted, now) {
            Some(still_there) => still_there.render(),
            None if resource.is_returned_when_deleted() => object.render(),
            None => success(object),
        };
        Ok(Written { object, outcome: Outcome::Done, warnings })
    }

    fn judge_deletion(
        &mut self,
        request: &Request,
        object: &Stored,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let old = object.render();
        let request = Request {
            // Of the stored form; policies about the other one know it too.
            resource: object.resource,
            namespace: object.namespace.to_string(),
            ..request.clone()
        };
        let deeds = Deeds::named(Operation::Delete, &object.name, None, Some(&old));
        self.judge_request(&request, deeds, warnings)
    }

    /// Deletes a pod for the place it takes. The condition it gets on the way tells its Job that this is no failure.
    pub(super) fn evict(
        &mut self,
        request: &Request,
        pod: &Arc<Stored>,
        options: &DeleteOptions,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        check_preconditions(pod, options)?;
        let mut warnings = Vec::new();
        self.judge_eviction(request, pod, &mut warnings)?;
        if request.options.dry_run == DryRun::No {
            let marked = self.disrupt(pod, EVICTED);
            self.delete(&marked, options, StopCause::Deleted, now);
        }
        let object = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
        });
        Ok(Written { object, outcome: Outcome::Created, warnings })
    }

    /// Says why a pod is ended that did nothing wrong, in a form that outlives the server.
    pub(super) fn disrupt(&mut self, pod: &Arc<Stored>, reason: &str) -> Arc<Stored> {
        let mut marked = (**pod).clone();
        if let Status::Pod(status) = &mut marked.status
            && !status.phase.is_terminal()
        {
            Arc::make_mut(status).disruption = Some(reason.into());
        }
        self.put(marked)
    }

    pub(super) fn delete_collection(
        &mut self,
        request: &Request,
        options: &DeleteOptions,
        (label_selector, field_selector): (&str, &str),
        page: &Page,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let resource = request.resource;
        if matches!(resource, Resource::Namespace | Resource::Node) {
            return Err(ApiError::new(
                Reason::MethodNotAllowed,
                format!("{} are deleted one by one: name the one that is to go", resource.info().plural),
            ));
        }
        let labels = selector::Labels::parse(label_selector)?;
        let fields = selector::Fields::parse(resource, field_selector)?;
        let namespace = Some(request.namespace.as_str()).filter(|n| !n.is_empty());
        let start_after =
            page.start_after.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str()));
        let mut all = self
            .state
            .list(resource.stored(), namespace, start_after)
            .filter(|object| object.is_chosen(&labels))
            .filter(|object| stays(object, now).is_none())
            .filter(|object| fields.is_empty() || fields.matches(&object.render()));
        let limit = if page.limit == 0 { usize::MAX } else { page.limit };
        let chosen: Vec<Arc<Stored>> = all.by_ref().take(limit).cloned().collect();
        let left = all.count();
        // All of them or none, here as below.
        chosen.iter().try_for_each(|object| check_preconditions(object, options))?;
        let mut warnings = Vec::new();
        if self.judges_deletions(resource.stored()) {
            // All of them or none: what one policy forbids is not half done.
            for object in &chosen {
                let mut said = Vec::new();
                self.judge_deletion(request, object, &mut said)?;
                said.retain(|warning| !warnings.contains(warning));
                warnings.extend(said.into_iter().take(WARNINGS_MAX.saturating_sub(warnings.len())));
            }
        }
        let mut items = Vec::with_capacity(chosen.len());
        for object in chosen {
            items.push(convert::from_stored(resource, object.render()));
            if request.options.dry_run == DryRun::No {
                // One of them may have gone with another, or changed with it.
                let current =
                    self.get_at(resource.stored(), &object.at()).filter(|o| o.uid == object.uid).cloned();
                if let Some(current) = current {
                    self.delete(&current, options, StopCause::Deleted, now);
                }
            }
        }
        let info = resource.info();
        let mut metadata = json!({"resourceVersion": self.state.version.to_string()});
        if left > 0 {
            metadata["remainingItemCount"] = left.into();
        }
        let list = json!({
            "kind": format!("{}List", info.kind), "apiVersion": info.api_version(), "metadata": metadata, "items": items,
        });
        Ok(Written { object: list, outcome: Outcome::Done, warnings })
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
        if propagation == Propagation::Orphan {
            self.orphan_dependents(object.uid);
        }
        // The last word counts: a deletion in the background takes back one in the foreground.
        let waits = propagation == Propagation::Foreground && self.has_blocking_dependents(object.uid);
        let mut finalizers: Vec<String> =
            object.finalizers().iter().filter(|f| *f != FOREGROUND).cloned().collect();
        if waits {
            finalizers.push(FOREGROUND.to_owned());
        }
        if finalizers.is_empty() && object.resource != Resource::Namespace {
            self.finish_removal(object);
            return None;
        }
        let mut marked = (**object).clone();
        let newly = marked.deletion.is_none();
        if newly {
            marked.deletion = Some(Deletion { at: now.as_second(), grace_seconds: 0 });
            marked.generation += u32::from(marked.generation > 0);
        }
        if object.resource == Resource::Namespace {
            marked.status = Status::Json(Arc::new(json!({"phase": "Terminating"})));
        }
        if finalizers != object.finalizers() {
            marked.head = with_finalizers(object, &finalizers);
        } else if !newly {
            return Some(object.clone());
        }
        let marked = self.put(marked);
        if waits {
            self.delete_dependents(marked.uid, now);
        }
        self.mark(marked.key());
        Some(marked)
    }

    /// The object goes; its dependents are looked at once it is gone.
    pub(super) fn finish_removal(&mut self, object: &Arc<Stored>) {
        if object.resource == Resource::Job {
            self.remove_job(object);
            return;
        }
        self.remove(object.resource, &object.at());
        if object.resource == Resource::Pod {
            self.forget_pod(object);
        }
    }

    /// The last foreground dependent went: so may its owner.
    pub(super) fn drop_foreground_finalizer(&mut self, object: &Arc<Stored>, now: Timestamp) {
        self.delete(object, &background(), StopCause::Deleted, now);
    }

    /// Nothing stands for the finalizer any more. The object goes with its last one, if it is to go.
    pub(super) fn drop_finalizer(&mut self, object: &Arc<Stored>, finalizer: &str) {
        let left: Vec<String> = object.finalizers().iter().filter(|f| *f != finalizer).cloned().collect();
        if left.is_empty() && object.deletion.is_some() {
            self.finish_removal(object);
        } else if left.len() < object.finalizers().len() {
            let head = with_finalizers(object, &left);
            self.put(Stored { head, ..(**object).clone() });
        }
    }

    pub(super) fn waits_for_dependents(object: &Stored) -> bool {
        object.deletion.is_some() && object.finalizers().iter().any(|f| f == FOREGROUND)
    }

    /// Takes the owner out of an object's references; the object stays.
    pub(super) fn disown(&mut self, object: &Arc<Stored>, owner: Uid) {
        let mut value = object.render();
        drop_owner(&mut value, owner);
        let mut stored = (**object).clone();
        stored.head = head_of(object.resource, value);
        self.put(stored);
    }

    // --- pods -------------------------------------------------------------------------------------------------------

    /// Ends a pod: at once when nothing of it runs, else by the node, after its grace period.
    pub(super) fn delete_pod(
        &mut self,
        pod: &Arc<Stored>,
        grace_period_seconds: Option<i64>,
        cause: StopCause,
        now: Timestamp,
    ) -> Option<Arc<Stored>> {
        let grace = grace_period_seconds
            .or_else(|| pod.pod_spec().and_then(|s| s.termination_grace_period_seconds))
            .unwrap_or(DEFAULT_GRACE_SECONDS);
        // Kubernetes takes a negative period as one second.
        let grace = if grace < 0 { 1 } else { u32::try_from(grace).unwrap_or(u32::MAX) };
        let runs = pod.pod_status().is_some_and(|s| s.scheduled_at.is_some() && !s.phase.is_terminal());
        let holds = !pod.finalizers().is_empty();
        if !runs {
            if holds {
                return Some(self.mark_pod_deleted(pod, 0, now));
            }
            self.finish_removal(pod);
            return None;
        }
        let forgotten_at_once = grace_period_seconds == Some(0) && !holds;
        if forgotten_at_once {
            // `--force`: the object goes now, the node ends the processes all the same.
            self.command(Command::Stop { uid: pod.uid, grace_seconds: 0, cause });
            self.finish_removal(pod);
            return None;
        }
        let marked = self.mark_pod_deleted(pod, grace, now);
        if marked.deletion != pod.deletion {
            self.command(Command::Stop { uid: pod.uid, grace_seconds: grace, cause });
        }
        Some(marked)
    }

    fn mark_pod_deleted(&mut self, pod: &Arc<Stored>, grace: u32, now: Timestamp) -> Arc<Stored> {
        let at = now.as_second().saturating_add(i64::from(grace));
        match pod.deletion {
            // A second delete may only shorten the wait.
            Some(deletion) if deletion.at <= at => pod.clone(),
            _ => {
                let mut marked = (**pod).clone();
                marked.deletion = Some(Deletion { at, grace_seconds: grace });
                marked.generation += u32::from(pod.deletion.is_none());
                self.put(marked)
            }
        }
    }

    pub(super) fn forget_pod(&mut self, pod: &Stored) {
        let log = pod.job_log();
        self.command(Command::Forget { uid: pod.uid, log });
        self.abandon_pod(pod);
        if let Some(log) = log {
            self.forget_logs_of(log.job);
        }
    }
}

fn check_preconditions(object: &Stored, options: &DeleteOptions) -> Result<(), ApiError> {
    let check = |what: &str, wanted: &Option<String>, found: String| match wanted {
        Some(wanted) if *wanted != found => {
            let detail = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            );
            Err(ApiError::conflict(object.resource, &object.name, &detail))
        }
        _ => Ok(()),
    };
    check("UID", &options.precondition_uid, object.uid.to_string())?;
    check("ResourceVersion", &options.precondition_resource_version, object.resource_version.to_string())
}

/// The `Status` that says that an object is gone.
fn success(object: &Stored) -> Value {
    let info = object.resource.info();
    let mut details = json!({"name": &*object.name, "kind": info.plural, "uid": object.uid.to_string()});
    if !info.group.is_empty() {
        details["group"] = info.group.into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

fn with_finalizers(object: &Stored, finalizers: &[String]) -> Head {
    let mut value = object.render();
    match finalizers {
        [] => {
            if let Some(metadata) = value["metadata"].as_object_mut() {
                metadata.shift_remove("finalizers");
            }
        }
        list => value["metadata"]["finalizers"] = json!(list),
    }
    head_of(object.resource, value)
}

/// # Panics
/// Never: an object that was stored can be read back after a change of its metadata.
fn head_of(resource: Resource, value: Value) -> Head {
    Head::Json(Arc::new(JsonHead::from_value(resource, value).expect("a stored object can be read back")))
}
