//! Pod Security admission: what of a request the standards forbid, warn about and note in the audit trail. As
//! `k8s.io/pod-security-admission/admission` does it, with one addition: a namespace without a level is strict, and refuses
//! the templates too of which no pod could ever start.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::types::pod_status::Phase;
use watchbell_api::{ApiError, Resource, Uid, defaults};

use super::object::{Status, Stored, string_map};
use super::rules::{Change, check_filled_in};
use super::{Snapshot, World};
use crate::admission::pod_security::{
    self, ExistingPod, Policy, existing_pods, judge, policy, refuse_labels, would_violate,
};
use crate::admission::{self, Level, Mode, Rules};
use crate::controller::event::PlannedEvent;

/// What Kubernetes' audit events carry.
const ENFORCE_POLICY: &str = "pod-security.kubernetes.io/enforce-policy";
const AUDIT_VIOLATIONS: &str = "pod-security.kubernetes.io/audit-violations";
const LABEL_ERROR: &str = "pod-security.kubernetes.io/error";

/// The reason of a pod that waited until its namespace did not admit it any more, and of the event about it.
pub(super) const POD_SECURITY: &str = "PodSecurity";

/// Where the pods of an object are described: the steps to the pod or its template, and what they put before its fields.
pub fn pod_of(resource: Resource) -> Option<(&'static [&'static str], &'static str)> {
    match resource {
        Resource::Pod => Some((&[], "")),
        Resource::Job => Some((&["spec", "template"], "spec.template.")),
        Resource::CronJob => {
            Some((&["spec", "jobTemplate", "spec", "template"], "spec.jobTemplate.spec.template."))
        }
        _ => None,
    }
}

/// What [`pod_of`] leads to.
pub fn at_steps<'a>(object: &'a Value, steps: &[&str]) -> &'a Value {
    steps.iter().fold(object, |value, step| &value[*step])
}

impl World {
    /// Judges a pod as it would be stored.
    pub(super) fn judge_pod(
        &mut self,
        namespace: &str,
        name: &str,
        pod: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let policy = self.noted_policy(namespace);
        let (annotations, spec) = (&pod["metadata"]["annotations"], &pod["spec"]);
        self.note(ENFORCE_POLICY, policy.enforced().to_string());
        let violations = judge(policy.enforced(), annotations, spec);
        self.note_audit_violations(&policy, annotations, spec);
        if !violations.is_empty() {
            return Err(admission::refusal(Resource::Pod, name, namespace, &policy, "", &violations));
        }
        warnings.extend(warning(&policy, annotations, spec));
        Ok(())
    }

    /// Judges the template of a Job or a CronJob, which stays as it is written. Where a level is set it is the pods that are
    /// refused; here is only warned and noted. Where none is, a template of which no pod could start is refused.
    pub(super) fn judge_template(
        &mut self,
        resource: Resource,
        namespace: &str,
        name: &str,
        object: &Value,
        change: Change<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let Some((steps, prefix)) = pod_of(resource) else { return Ok(()) };
        let template = at_steps(object, steps);
        let policy = self.noted_policy(namespace);
        let (annotations, spec) = (&template["metadata"]["annotations"], &template["spec"]);
        self.note_audit_violations(&policy, annotations, spec);
        let is_new = match change {
            Change::Create => true,
            Change::Update { before } => before.get("spec") != object.get("spec"),
        };
        if is_new {
            let (pod, filled) = effective(template, Mode::of(&policy), &self.rules(namespace));
            if let Err(why) = filled {
                // As in Kubernetes it is the pods that are refused, and the Job says so in its events.
                warnings.push(format!("{prefix}spec: pods of this template would be refused: {why}"));
            }
            if policy.enforce.is_none() {
                let violations = judge(policy.enforced(), &pod["metadata"]["annotations"], &pod["spec"]);
                if !violations.is_empty() {
                    return Err(admission::refusal(resource, name, namespace, &policy, prefix, &violations));
                }
            }
        }
        warnings.extend(warning(&policy, annotations, spec));
        Ok(())
    }

    /// Judges the labels of a namespace, and warns of pods that a new level would not have let in.
    pub(super) fn judge_labels(
        &mut self,
        name: &str,
        object: &Value,
        change: Change<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let labels = string_map(object["metadata"].get("labels"));
        let errors = refuse_labels(&labels);
        let Change::Update { before } = change else {
            return match errors.is_empty() {
                true => Ok(()),
                false => Err(ApiError::invalid(Resource::Namespace, name, &errors)),
            };
        };
        let old_labels = string_map(before["metadata"].get("labels"));
        // What was wrong before may stay wrong: an update of something else is not held up by it.
        if !errors.is_empty() && errors != refuse_labels(&old_labels) {
            return Err(ApiError::invalid(Resource::Namespace, name, &errors));
        }
        if let Some(enforce) = pod_security::has_tightened(&policy(&old_labels), &policy(&labels)) {
            let pods = self.state.list(Resource::Pod, Some(name), None);
            let pods = pods.map(|pod| ExistingPod {
                name: pod.name.clone(),
                controller: controller_of(pod),
                pod: pod.clone(),
            });
            warnings.extend(existing_pods(name, enforce, pods.collect(), |pod| pod.render()));
        }
        Ok(())
    }

    /// The policy of a namespace. That its labels are wrong is noted, as each request is judged by what they fall back to.
    fn noted_policy(&mut self, namespace: &str) -> Policy {
        let labels = self.get(Resource::Namespace, "", namespace).map(|found| found.labels().into_owned());
        let labels = labels.unwrap_or_default();
        let errors = refuse_labels(&labels);
        if !errors.is_empty() {
            let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
            self.note(LABEL_ERROR, format!("Failed to parse policy: {}", list.join(", ")));
        }
        policy(&labels)
    }

    fn note_audit_violations(&mut self, policy: &Policy, annotations: &Value, spec: &Value) {
        let violations = judge(policy.audit, annotations, spec);
        if !violations.is_empty() {
            self.note(AUDIT_VIOLATIONS, would_violate(policy.audit, &violations));
        }
    }

    /// A word of admission for the audit entry of the request at hand.
    fn note(&mut self, key: &'static str, value: String) {
        self.admission_notes.insert(key.into(), value);
    }

    /// What a pod that waited breaks of what its namespace enforces now.
    pub(super) fn refused_at_start(&self, pod: &Stored) -> Option<String> {
        let policy = self.state.pod_policy(&pod.namespace);
        if policy.enforced().level == Level::Privileged {
            return None;
        }
        let object = pod.render();
        let violations = judge(policy.enforced(), &object["metadata"]["annotations"], &object["spec"]);
        (!violations.is_empty()).then(|| pod_security::violates(policy.enforced(), &violations))
    }

    /// Ends a pod before it started: it is not admitted any more.
    pub(super) fn refuse_start(
        &mut self,
        pod: &Arc<Stored>,
        reason: &'static str,
        why: String,
        now: Timestamp,
    ) {
        let Some(status) = pod.pod_status() else { return };
        let mut status = status.clone();
        status.phase = Phase::Failed;
        status.reason = Some(reason.into());
        status.message = Some(why.as_str().into());
        // It is none of the program's doing.
        status.disruption = Some(reason.into());
        let mut next = (**pod).clone();
        next.status = Status::Pod(Arc::new(status));
        let next = self.put(next);
        self.audit_run(&next, "refused-at-start", json!({"uid": next.uid.to_string(), "why": why}), now);
        let about = self.voice_of(&next);
        self.emit(&about, &PlannedEvent::warning(reason, why), now);
    }

    /// Where a namespace asks for more than before, the pods that wait are judged again before they start.
    pub(super) fn index_policy(&mut self, old: Option<&Stored>, new: Option<&Stored>) {
        let (Some(old), Some(new)) = (old, new) else { return };
        if policy(&old.labels()) == policy(&new.labels()) {
            return;
        }
        let waiting = self.state.list(Resource::Pod, Some(&new.name), None).filter(|pod| waits(pod));
        let waiting: Vec<Uid> = waiting.map(|pod| pod.uid).collect();
        self.unsure.extend(waiting);
        // Jobs whose pods were refused may have them now.
        self.freed.insert(new.name.clone());
    }

    /// What was not judged under the labels of today is not known after a load: all that wait are judged once more.
    pub(super) fn doubt_who_waits(&mut self) {
        let waiting = self.state.list(Resource::Pod, None, None).filter(|pod| waits(pod));
        self.unsure = waiting.map(|pod| pod.uid).collect();
    }
}

impl Snapshot {
    /// What a namespace enforces; a namespace that is not there is strict.
    pub fn pod_policy(&self, namespace: &str) -> Policy {
        let found = self.get(Resource::Namespace, "", namespace);
        found.map_or(Policy::STRICT, |namespace| policy(&namespace.labels()))
    }
}

/// The pod that a template makes, and whether LimitRanges and classes admit it.
fn effective(template: &Value, mode: Mode, rules: &Rules) -> (Value, Result<(), String>) {
    let annotations = &template["metadata"]["annotations"];
    let mut pod = json!({"metadata": {"annotations": annotations}, "spec": template["spec"]});
    defaults::apply_to_pod_spec(&mut pod["spec"]);
    let admitted = rules.fill_in(mode, &mut pod).and_then(|()| rules.check(&pod["spec"]));
    let admitted = admitted.and_then(|()| check_filled_in(&pod));
    (pod, admitted)
}

fn warning(policy: &Policy, annotations: &Value, spec: &Value) -> Option<String> {
    let violations = judge(policy.warn, annotations, spec);
    (!violations.is_empty()).then(|| would_violate(policy.warn, &violations))
}

fn waits(pod: &Stored) -> bool {
    pod.pod_status().is_some_and(|status| status.scheduled_at.is_none() && !status.phase.is_terminal())
}

fn controller_of(pod: &Stored) -> Option<Uid> {
    pod.array_pod().map(|pod| pod.template.job_uid).or_else(|| pod.controller())
}
