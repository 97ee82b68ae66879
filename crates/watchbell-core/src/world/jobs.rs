//! Jobs: gives the controller what it reads, carries out what it plans.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use watchbell_api::node::{Command, StopCause};
use watchbell_api::Resource;

use super::object::{ArrayPod, Head, NsName, Status, Stored};
use super::template::JobPods;
use super::{World, pods};
use crate::admission::Mode;
use crate::controller::event::{EventKind, PlannedEvent};
use crate::controller::job::{self, Departure, EndedPod, JobPlan, JobView, NewPod};
use crate::request::{DeleteOptions, Propagation};

impl World {
    pub(super) fn reconcile_job(&mut self, at: &NsName, now: Timestamp) {
        let Some(job) = self.get_at(Resource::Job, at).cloned() else { return };
        if Self::waits_for_dependents(&job) && self.dependents(job.uid).is_empty() {
            self.drop_foreground_finalizer(&job, now);
            return;
        }
        let Some(facts) = job.facts().job() else { return };
        let Status::Job { status, images, job_id } = &job.status else { return };
        let Some(runtime) = self.jobs.get_mut(&job.uid) else { return };
        let ended = std::mem::take(&mut runtime.ended);
        let plan = {
            let ended: Vec<EndedPod<'_>> = ended.iter().filter_map(|pod| ended_pod(pod)).collect();
            job::reconcile(
                &JobView {
                    namespace: &job.namespace,
                    name: &job.name,
                    uid: job.uid,
                    created_at: job.created_at,
                    deleting: job.deletion.is_some(),
                    spec: &facts.spec,
                    pod_spec: &facts.pod_spec,
                    status,
                    active: &runtime.active,
                    ended: &ended,
                },
                now.as_second(),
            )
        };
        let (images, job_id) = (images.clone(), *job_id);
        self.carry_out(&job, images, job_id, plan, &ended, now);
    }

    fn carry_out(
        &mut self,
        job: &Arc<Stored>,
        images: Arc<[Arc<str>]>,
        job_id: u64,
        plan: JobPlan,
        ended: &[Arc<Stored>],
        now: Timestamp,
    ) {
        let key = job.key();
        self.audit_pods(job, &plan, ended, now);
        if plan.delete_job {
            let options =
                DeleteOptions { propagation_policy: Some(Propagation::Background), ..DeleteOptions::default() };
            self.audit_run(Resource::Job, &job.namespace, &job.name, "expired", json!({}), now);
            self.delete(job, &options, StopCause::Deleted, now);
            return;
        }
        for event in &plan.events {
            self.emit(job, event, now);
        }
        for (uid, cause) in &plan.delete {
            let Some(at) = self.pods_by_uid.get(uid).cloned() else { continue };
            let Some(pod) = self.get_at(Resource::Pod, &at).cloned() else { continue };
            self.delete_pod(&pod, None, *cause, now);
        }
        if !plan.create.is_empty() {
            match self.job_template(job, job_id, now) {
                Ok(template) => {
                    for pod in plan.create {
                        self.create_array_pod(job, &template, pod, now);
                    }
                }
                Err(message) => {
                    // Kubernetes does the same: the event says why, and the Job is tried again later.
                    let event = PlannedEvent { kind: EventKind::Warning, reason: "FailedCreate", message };
                    self.emit(job, &event, now);
                    self.set_timer(&key, Some(now.as_second() + 60));
                    return;
                }
            }
        }
        if let Some(status) = plan.status {
            let mut next = (**job).clone();
            // The job may have learned an image in this very batch.
            let images = match self.get_at(Resource::Job, &key.at).map(|j| &j.status) {
                Some(Status::Job { images, .. }) => images.clone(),
                _ => images,
            };
            next.status = Status::Job { status: Arc::new(status), images, job_id };
            self.put(next);
        }
        match plan.wake_at {
            Some(at) if at <= now.as_second() => {
                self.clear_timer(&key);
                self.mark(key);
            }
            at => self.set_timer(&key, at),
        }
    }

    /// One entry for all that a pass did to a run's pods.
    fn audit_pods(&mut self, job: &Stored, plan: &JobPlan, ended: &[Arc<Stored>], now: Timestamp) {
        if plan.create.is_empty() && ended.is_empty() {
            return;
        }
        let started: Vec<_> = plan.create.iter().map(|p| json!([p.index, p.attempt])).collect();
        let ended: Vec<_> = ended
            .iter()
            .filter_map(|pod| {
                let status = pod.pod_status()?;
                let (index, attempt) = place(pod);
                let exit = status.containers.iter().find_map(|c| c.terminated()).map(|t| t.exit_code);
                Some(json!([index, attempt, status.phase.as_str(), exit]))
            })
            .collect();
        let details = json!({"uid": job.uid.to_string(), "created": started, "ended": ended});
        self.audit_run(Resource::Job, &job.namespace, &job.name, "pods", details, now);
    }

    fn job_template(&mut self, job: &Arc<Stored>, job_id: u64, now: Timestamp) -> Result<Arc<JobPods>, String> {
        let mode: Mode = self.namespace_mode(&job.namespace);
        let Some(runtime) = self.jobs.get(&job.uid) else { return Err("the Job is gone".into()) };
        if let Some(template) = runtime.template(mode) {
            return Ok(template.clone());
        }
        let Some(facts) = job.facts().job() else { return Err("the Job has no spec".into()) };
        let template = JobPods::new(&job.render(), job.uid, job_id, facts.spec.completion_mode, mode)
            .map_err(|e| format!("Error creating: pods are forbidden: {e}"))?;
        let template = Arc::new(template);
        let settings = crate::admission::summary(&template.spec);
        self.audit_run(Resource::Job, &job.namespace, &job.name, "admitted", settings, now);
        if let Some(runtime) = self.jobs.get_mut(&job.uid) {
            runtime.templates.push(template.clone());
        }
        Ok(template)
    }

    fn create_array_pod(&mut self, job: &Stored, template: &Arc<JobPods>, pod: NewPod, now: Timestamp) {
        let mut salt = 0u8;
        let name = loop {
            let name = template.pod_name(pod.index, pod.attempt, salt);
            if self.get(Resource::Pod, &job.namespace, &name).is_none() {
                break name;
            }
            // 255 foreign pods of our names: give up with an event rather than touch one of them.
            let Some(next) = salt.checked_add(1) else {
                let message = format!("every name for index {:?} is taken, the last one {name}", pod.index);
                let event = PlannedEvent { kind: EventKind::Warning, reason: "FailedCreate", message };
                self.emit(job, &event, now);
                return;
            };
            salt = next;
        };
        let status = pods::first_status_of(&template.spec);
        self.put(Stored {
            resource: Resource::Pod,
            namespace: job.namespace.clone(),
            name: name.into(),
            uid: template.pod_uid(pod.index, pod.attempt),
            resource_version: 0,
            generation: 1,
            created_at: now.as_second(),
            deletion: None,
            head: Head::ArrayPod(Box::new(ArrayPod {
                template: template.clone(),
                index: pod.index,
                attempt: pod.attempt,
                failure_count: pod.failure_count,
                salt,
                own: None,
            })),
            status: Status::Pod(Arc::new(status)),
        });
    }

    /// The Job goes: ended pods with it, running ones stand alone until they end (they are collected next).
    pub(super) fn remove_job(&mut self, job: &Arc<Stored>, _now: Timestamp) {
        let pods: Vec<NsName> =
            self.jobs.get(&job.uid).map(|r| r.pods.values().cloned().collect()).unwrap_or_default();
        for at in pods {
            let Some(pod) = self.get_at(Resource::Pod, &at).cloned() else { continue };
            let running = pod.pod_status().is_some_and(|s| !s.phase.is_terminal() && s.scheduled_at.is_some());
            if running {
                self.copy_out(&at);
            } else {
                self.remove(Resource::Pod, &at);
            }
        }
        self.remove(
            Resource::Job,
            &NsName { namespace: job.namespace.clone(), name: job.name.clone() },
        );
        self.command(Command::ForgetJob { uid: job.uid });
    }
}

fn place(pod: &Stored) -> (Option<u32>, u32) {
    match &pod.head {
        Head::ArrayPod(array) => (array.index, array.attempt),
        Head::Json(_) => (None, 0),
    }
}

fn ended_pod(pod: &Arc<Stored>) -> Option<EndedPod<'_>> {
    let (index, attempt) = place(pod);
    let status = pod.pod_status()?;
    let departure = if status.phase.is_terminal() { Departure::Ended } else { Departure::Removed };
    Some(EndedPod {
        uid: pod.uid,
        name: &pod.name,
        index,
        attempt,
        departure,
        status,
        spec: pod.pod_spec()?,
    })
}
