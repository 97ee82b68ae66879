//! CronJobs: gives the controller what it reads, carries out what it plans.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::Resource;
use watchbell_api::node::StopCause;

use super::World;
use super::object::{Key, NsName, Status, Stored, rfc3339};
use crate::controller::cronjob::{self, ChildJob, ChildState, CronView, NewJob};
use crate::controller::event::{EventKind, PlannedEvent};
use crate::controller::job::FinishedKind;
use crate::request::{DeleteOptions, Propagation};

/// The slot a Job was made for, as Kubernetes records it.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

impl World {
    pub(super) fn reconcile_cronjob(&mut self, at: &NsName, now: Timestamp) {
        let Some(cron) = self.get_at(Resource::CronJob, at).cloned() else { return };
        let key = cron.key();
        if cron.deletion.is_some() {
            if Self::waits_for_dependents(&cron) && self.dependents(cron.uid).is_empty() {
                self.drop_foreground_finalizer(&cron, now);
            }
            self.clear_timer(&key);
            return;
        }
        let (Some(facts), Some(status)) = (cron.facts().cronjob(), cron.cronjob_status()) else { return };
        let children = self.children(&cron);
        let plan = {
            let foreign = |name: &str| {
                self.get(Resource::Job, &cron.namespace, name).is_some_and(|j| j.controller() != Some(cron.uid))
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
                },
                now,
            )
        };
        for skipped in &plan.skipped {
            let details = json!({"slot": rfc3339(skipped.slot), "reason": skipped.reason.to_string()});
            self.audit_run(Resource::CronJob, &cron.namespace, &cron.name, "skipped", details, now);
        }
        for event in &plan.events {
            self.emit(&cron, event, now);
        }
        for job in &plan.delete {
            let Some(found) = self.get(Resource::Job, &cron.namespace, &job.name).cloned() else { continue };
            if found.uid.0 != job.uid {
                continue;
            }
            let options =
                DeleteOptions { propagation_policy: Some(Propagation::Background), ..DeleteOptions::default() };
            self.delete(&found, &options, StopCause::Deleted, now);
        }
        let mut status = plan.status;
        if let Some(job) = &plan.create {
            match self.start_job(&cron, job, now) {
                Ok(uid) => {
                    let entry = cronjob::JobRef { name: job.name.as_str().into(), uid };
                    let status = status.get_or_insert_with(|| cron.cronjob_status().cloned().unwrap_or_default());
                    if !status.active.iter().any(|j| j.uid == uid) {
                        status.active.push(entry);
                    }
                }
                Err(message) => {
                    // The slot stays open: the cursor is not moved, and it is tried again in a minute.
                    let event = PlannedEvent { kind: EventKind::Warning, reason: "FailedCreate", message };
                    self.emit(&cron, &event, now);
                    self.set_timer(&key, Some(now.as_second() + 60));
                    return;
                }
            }
        }
        if let Some(status) = status
            && cron.cronjob_status() != Some(&status)
        {
            let mut next = (*cron).clone();
            next.status = Status::CronJob(Arc::new(status));
            self.put(next);
        }
        match plan.wake_at {
            Some(at) if at <= now.as_second() => self.mark(key),
            at => self.set_timer(&key, at),
        }
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
        let manifest =
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]});
        let made = self
            .create_own(Resource::Job, &cron.namespace, manifest, now)
            .map_err(|e| format!("Error creating job: {}", e.message))?;
        let details = json!({"slot": rfc3339(job.slot), "job": job.name, "uid": made.uid.to_string()});
        self.audit_run(Resource::CronJob, &cron.namespace, &cron.name, "started", details, now);
        Ok(made.uid.0)
    }

    /// The next times of a CronJob, for people: the timer that is set for it.
    pub fn next_wake(&self, cron: &Stored) -> Option<i64> {
        self.wake.get(&Key::new(Resource::CronJob, &cron.namespace, &cron.name)).copied()
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
