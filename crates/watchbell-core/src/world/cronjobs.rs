//! CronJobs: gives the controller what it reads, carries out what it plans.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::Resource;
use watchbell_api::node::StopCause;

use super::World;
use super::delete::background;
use super::object::{NsName, Status, Stored};
use super::shown::rfc3339;
use crate::arrays::ARRAY_USER;
use crate::controller::cronjob::{
    self, ChildJob, ChildState, CronJobStatus, CronView, DeleteReason, JobDelete, NewJob, SkipReason,
};
use crate::controller::event::PlannedEvent;
use crate::controller::job::FinishedKind;

/// The slot a Job was made for, as Kubernetes records it.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

impl World {
    pub(super) fn reconcile_cronjob(&mut self, at: &NsName, now: Timestamp) {
        let Some(cron) = self.get_at(Resource::CronJob, at).cloned() else { return };
        let key = cron.key();
        if cron.deletion.is_some() {
            self.clear_timer(&key);
            return;
        }
        let (Some(facts), Some(status)) = (cron.facts().cronjob(), cron.cronjob_status()) else { return };
        let children = self.children(&cron);
        let hold = self.hold_of(&cron, now);
        self.drop_stale_reports(&cron);
        let mut plan = {
            let foreign = |name: &str| {
                self.get(Resource::Job, &cron.namespace, name)
                    .is_some_and(|j| j.controller() != Some(cron.uid))
            };
            cronjob::reconcile(
                &CronView {
                    name: &cron.name,
                    uid: cron.uid.0,
                    created_at: cron.created_at,
                    facts,
                    status,
                    children: &children,
                    foreign_job: &foreign,
                    hold: hold.as_ref(),
                },
                now,
            )
        };
        if let Some(status) = &plan.status {
            self.audit_hold(&cron, status.held.as_deref(), now);
        }
        for skipped in &plan.skipped {
            let mut details = json!({
                "first": rfc3339(skipped.first), "slot": rfc3339(skipped.slot),
                "count": skipped.count.to_string(), "reason": skipped.reason.to_string(),
            });
            if let (SkipReason::ImagePolicy, Some(hold)) = (skipped.reason, &hold) {
                details["why"] = (*hold.why).into();
            }
            self.audit_run(&cron, "skipped", details, now);
        }
        for job in &plan.delete {
            self.delete_child(&cron, job, now);
        }
        let mut active = None;
        if let Some(job) = &plan.create {
            match self.start_job(&cron, job, now) {
                Ok(uid) => active = Some(cronjob::JobRef { name: job.name.as_str().into(), uid }),
                Err(message) => {
                    self.emit(&cron, &PlannedEvent::warning("FailedCreate", message), now);
                    plan.keep_slot_open(facts, now.as_second());
                    self.wait_for_room(cron.key());
                }
            }
        }
        for event in &plan.events {
            self.emit(&cron, event, now);
        }
        let mut status = plan.status;
        if let Some(job) = active {
            status.get_or_insert_with(|| cron.cronjob_status().cloned().unwrap_or_default()).active.push(job);
        }
        if let Some(status) = status
            && cron.cronjob_status() != Some(&status)
        {
            self.put_cronjob_status(&cron, status);
        }
        self.set_timer(&key, plan.wake_at);
    }

    /// A Job that was triggered runs for its CronJob from the beginning, as one of a slot.
    pub(super) fn take_triggered(&mut self, cron: &Stored, name: &str, now: Timestamp) {
        let Some(uid) = self.get(Resource::Job, &cron.namespace, name).map(|job| job.uid.0) else { return };
        let mut status = cron.cronjob_status().cloned().unwrap_or_default();
        status.active.push(cronjob::JobRef { name: name.into(), uid });
        self.put_cronjob_status(cron, status);
        self.emit(cron, &PlannedEvent::normal("SuccessfulCreate", format!("Created job {name}")), now);
    }

    fn put_cronjob_status(&mut self, cron: &Stored, status: CronJobStatus) {
        let Some(current) = self.get_at(Resource::CronJob, &cron.at()) else { return };
        let mut next = (**current).clone();
        next.status = Status::CronJob(Arc::new(status));
        self.put(next);
    }

    fn delete_child(&mut self, cron: &Stored, job: &JobDelete, now: Timestamp) {
        let at = NsName { namespace: cron.namespace.clone(), name: job.name.clone() };
        let Some(found) = self.get_at(Resource::Job, &at).filter(|found| found.uid.0 == job.uid).cloned()
        else {
            return;
        };
        let why = match job.why {
            DeleteReason::SuccessfulHistory => "beyond spec.successfulJobsHistoryLimit",
            DeleteReason::FailedHistory => "beyond spec.failedJobsHistoryLimit",
            DeleteReason::Replaced => "replaced by the next slot's",
        };
        self.audit_run(&found, "deleted", json!({"uid": found.uid.to_string(), "reason": why}), now);
        self.delete(&found, &background(), StopCause::Deleted, now);
    }

    fn children(&self, cron: &Stored) -> Vec<ChildJob> {
        self.cron_children
            .get(&cron.uid)
            .into_iter()
            .flatten()
            .filter_map(|at| self.get_at(Resource::Job, at))
            .filter_map(|job| {
                let status = job.job_status()?;
                let state = match status.is_finished() {
                    None if job.deletion.is_some() => ChildState::Deleting,
                    None => ChildState::Active,
                    Some(end) => match end.kind {
                        FinishedKind::Complete => ChildState::Succeeded { at: end.at },
                        FinishedKind::Failed => ChildState::Failed { at: end.at },
                    },
                };
                Some(ChildJob {
                    name: job.name.clone(),
                    uid: job.uid.0,
                    created_at: job.created_at,
                    start_time: status.start_time,
                    state,
                })
            })
            .collect()
    }

    /// Makes the Job of a slot, in the transaction that records the slot as decided.
    fn start_job(&mut self, cron: &Stored, job: &NewJob, now: Timestamp) -> Result<u128, String> {
        let object = cron.render();
        let template = &object["spec"]["jobTemplate"];
        let mut metadata = json!({"name": job.name, "namespace": &*cron.namespace});
        for field in ["labels", "annotations"] {
            if template["metadata"][field].is_object() {
                metadata[field] = template["metadata"][field].clone();
            }
        }
        if !metadata["annotations"].is_object() {
            metadata["annotations"] = json!({});
        }
        metadata["annotations"][SCHEDULED] = slot_text(job.slot, &object["spec"]["timeZone"]).into();
        metadata["ownerReferences"] = json!([{
            "apiVersion": "batch/v1", "kind": "CronJob", "name": &*cron.name, "uid": cron.uid.to_string(),
            "controller": true, "blockOwnerDeletion": true,
        }]);
        if let Some(user) = object["metadata"]["annotations"][ARRAY_USER].as_str() {
            self.own_annotations.insert(ARRAY_USER, user.to_owned());
        }
        let manifest =
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]});
        let made = self
            .create_own(Resource::Job, &cron.namespace, manifest, now)
            .map_err(|e| format!("Error creating job: {}", e.message))?;
        let details = json!({"slot": rfc3339(job.slot), "job": job.name, "uid": made.uid.to_string()});
        self.audit_run(cron, "started", details, now);
        Ok(made.uid.0)
    }
}

/// Kubernetes writes the slot in the CronJob's own time zone.
fn slot_text(slot: i64, time_zone: &Value) -> String {
    let zone = time_zone.as_str().and_then(|name| crate::cron::time_zone(Some(name)).ok());
    match (jiff::Timestamp::from_second(slot), zone) {
        (Ok(at), Some(zone)) => at.display_with_offset(zone.to_offset(at)).to_string(),
        _ => rfc3339(slot),
    }
}
