//! Jobs: gives the controller what it reads, carries out what it plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::node::{Command, StopCause};
use watchbell_api::{Resource, Uid};

use super::World;
use super::delete::background;
use super::object::{ArrayPod, Head, JsonHead, NsName, Status, Stored};
use super::template::JobPods;
use crate::admission::policies::Budget;
use crate::controller::event::PlannedEvent;
use crate::controller::job::{
    self, Departure, EndedPod, Finished, FinishedKind, JobPlan, JobStatus, JobView, NewPod,
};

/// How long a Job waits whose pods could not be made.
const RETRY_SECONDS: i64 = 60;
/// How many pods one audit entry tells of: entries are at most 64 KiB.
const PODS_PER_ENTRY: usize = 1_000;
/// Likewise of what policies say of them.
const NOTES_MAX: usize = 16;
const NOTE_CHARS_MAX: usize = 1_024;

impl World {
    pub(super) fn reconcile_job(&mut self, at: &NsName, now: Timestamp) {
        let Some(job) = self.get_at(Resource::Job, at).cloned() else { return };
        self.claim_pods(&job);
        let Some(facts) = job.facts().job() else { return };
        let Some(status) = job.job_status() else { return };
        let Some(runtime) = self.jobs.get_mut(&job.uid) else { return };
        let ended = std::mem::take(&mut runtime.ended);
        let arrays = self.arrays_view(&job, facts);
        let Some(runtime) = self.jobs.get(&job.uid) else { return };
        let plan = {
            let ended: Vec<EndedPod<'_>> =
                ended.iter().filter_map(|(pod, departure)| ended_pod(pod, *departure)).collect();
            job::reconcile(
                &JobView {
                    namespace: &job.namespace,
                    name: &job.name,
                    uid: job.uid,
                    created_at: job.created_at,
                    deleting: job.deletion.is_some(),
                    spec: &facts.spec,
                    restart_policy: facts.restart_policy,
                    rerun: facts.rerun.as_ref(),
                    status,
                    active: &runtime.active,
                    ended: &ended,
                    arrays,
                },
                now.as_second(),
            )
        };
        self.audit_commits(&job, now);
        self.audit_ended(&job, &ended, now);
        self.carry_out(&job, plan, now);
    }

    fn carry_out(&mut self, job: &Arc<Stored>, mut plan: JobPlan, now: Timestamp) {
        if plan.delete_job {
            self.audit_run(job, "expired", json!({}), now);
            self.delete(job, &background(), StopCause::Deleted, now);
            return;
        }
        for event in &plan.events {
            self.emit(job, event, now);
        }
        self.delete_pods_of(job, &plan, now);
        let before = job.job_status().cloned().unwrap_or_default();
        if !plan.create.is_empty() {
            let admitted = self.admit_arrays(job, now);
            let (made, refusal) = match admitted.and_then(|()| self.job_template(job)) {
                Ok(template) => self.create_pods(job, &template, &plan.create, now),
                Err(why) => (0, Some(Held::Refused(why))),
            };
            if let Some(Held::Later) = refusal {
                plan = plan.having_created(made, &before);
                plan.wake_at = Some(now.as_second());
            }
            // Kubernetes does the same: the event says why, and the Job is tried again later. Here it is tried as soon as a
            // quota has room, or what admits its pods changes.
            // Those of a pass that was cut short come at once, whatever one of them is called.
            let goes_on = made > 0 && matches!(refusal, Some(Held::Nameless(_)));
            let why = match refusal {
                None | Some(Held::Later) => None,
                Some(Held::Refused(why)) => {
                    self.wait_for_room(job.key());
                    Some(format!("pods \"{}-\" is forbidden: {why}", job.name))
                }
                Some(Held::Nameless(why)) => Some(why),
            };
            if let Some(why) = why {
                let message = format!("Error creating: {why}");
                self.emit(job, &PlannedEvent::warning("FailedCreate", message), now);
                plan = plan.having_created(made, &before);
                let retry = now.as_second() + RETRY_SECONDS;
                let wake = plan.wake_at.filter(|&at| goes_on || at > now.as_second());
                plan.wake_at = Some(wake.unwrap_or(retry).min(retry));
            }
        }
        if let Some(step) = plan.publication {
            let retry = self.take_publication_step(job, step, now);
            plan.wake_at = plan.wake_at.into_iter().chain(retry).min();
        }
        if let Some(status) = plan.status {
            if let (None, Some(end)) = (before.is_finished(), status.is_finished()) {
                self.tell_publication(job, &status, now);
                self.let_go_of_read(job, end.kind);
                self.audit_end(job, &status, end, now);
            }
            self.put_job_status(job, status);
        }
        self.set_timer(&job.key(), plan.wake_at);
    }

    fn put_job_status(&mut self, job: &Stored, status: JobStatus) {
        // The Job may have learned an image in this very batch.
        let Some(current) = self.get_at(Resource::Job, &job.at()) else { return };
        let Status::Job { images, fills, job_id, .. } = &current.status else { return };
        let (images, fills, job_id) = (images.clone(), fills.clone(), *job_id);
        let mut next = (**current).clone();
        next.status = Status::Job { status: Arc::new(status), images, fills, job_id };
        self.put(next);
    }

    fn delete_pods_of(&mut self, job: &Arc<Stored>, plan: &JobPlan, now: Timestamp) {
        let mut told: Vec<(Option<u32>, Arc<str>)> = Vec::new();
        for (uid, cause) in &plan.delete {
            let Some(at) = self.pods_by_uid.get(uid).cloned() else { continue };
            let Some(pod) = self.get_at(Resource::Pod, &at).cloned() else { continue };
            told.push((place(&pod).0, pod.name.clone()));
            self.delete_pod(&pod, None, *cause, now);
        }
        let told: Vec<(Option<u32>, &str)> = told.iter().map(|(index, name)| (*index, &**name)).collect();
        for event in job::pods_deleted(&told) {
            self.emit(job, &event, now);
        }
    }

    /// Makes pods until a quota or a policy refuses one; the others are made though one of them finds no name. Returns how
    /// many were made, and what holds up the rest.
    fn create_pods(
        &mut self,
        job: &Arc<Stored>,
        template: &Arc<JobPods>,
        pods: &[NewPod],
        now: Timestamp,
    ) -> (usize, Option<Held>) {
        let mut told: Vec<(Option<u32>, Arc<str>)> = Vec::with_capacity(pods.len());
        let mut refusal = None;
        let is_judged = self.judges_pods();
        if is_judged && self.policy_share >= super::POLICY_SHARE {
            return (0, Some(Held::Later));
        }
        let mut budget = Budget::default();
        let mut notes: BTreeMap<String, String> = BTreeMap::new();
        let mut created: Vec<Value> = Vec::with_capacity(pods.len());
        for pod in pods {
            if let Err(why) = self.check_cost(&job.namespace, None, template.cost()) {
                refusal = Some(Held::Refused(why));
                break;
            }
            let new = match self.array_pod(job, template, *pod, now) {
                Ok(new) => new,
                Err(why) => {
                    refusal = Some(Held::Nameless(why));
                    continue;
                }
            };
            if is_judged {
                match self.judge_made_pod(&new, &mut budget) {
                    Ok(annotations) if notes.len() < NOTES_MAX => notes.extend(annotations),
                    Ok(_) => {}
                    // Those before it used up what a pass may cost.
                    Err(_) if budget.is_used_up() && !created.is_empty() => {
                        refusal = Some(Held::Later);
                        break;
                    }
                    Err(why) => {
                        refusal = Some(Held::Refused(why));
                        break;
                    }
                }
            }
            if created.is_empty() {
                self.keep_template(job, template, now);
            }
            created.push(json!([pod.index, pod.attempt]));
            let made = self.put(new);
            told.push((pod.index, made.name.clone()));
        }
        self.policy_share += budget.used();
        self.audit_notes(job, notes, now);
        let told: Vec<(Option<u32>, &str)> = told.iter().map(|(index, name)| (*index, &**name)).collect();
        for event in job::pods_created(&told) {
            self.emit(job, &event, now);
        }
        for chunk in created.chunks(PODS_PER_ENTRY) {
            let details = json!({"uid": job.uid.to_string(), "created": chunk});
            self.audit_run(job, "pods-created", details, now);
        }
        (created.len(), refusal)
    }

    /// One entry for all pods of a run that ended in a pass, not one each.
    fn audit_ended(&mut self, job: &Stored, ended: &[(Arc<Stored>, Departure)], now: Timestamp) {
        // What began and ended in one batch, as short tasks do, is one entry.
        let mut started = match ended.len() {
            0 => None,
            count => self.starts_due(job.uid, PODS_PER_ENTRY.saturating_sub(count), now),
        };
        for chunk in ended.chunks(PODS_PER_ENTRY) {
            let ended: Vec<Value> = chunk
                .iter()
                .filter_map(|(pod, departure)| {
                    let status = pod.pod_status()?;
                    let (index, attempt) = place(pod);
                    let exit = status.containers.iter().find_map(|c| c.terminated()).map(|t| t.exit_code);
                    let how = match departure {
                        Departure::Ended => status.phase.as_str(),
                        Departure::Removed => "Removed",
                        Departure::Released => "Released",
                    };
                    Some(json!([index, attempt, how, exit]))
                })
                .collect();
            let mut details = json!({"uid": job.uid.to_string(), "ended": ended});
            if let Some(started) = started.take() {
                details["started"] = started.into();
            }
            self.audit_run(job, "pods-ended", details, now);
        }
    }

    fn audit_end(&mut self, job: &Stored, status: &JobStatus, end: Finished, now: Timestamp) {
        let action = match end.kind {
            FinishedKind::Complete => "completed",
            FinishedKind::Failed => "failed",
        };
        let reason = status.conditions.last().map(|condition| condition.reason.clone());
        let details = json!({
            "uid": job.uid.to_string(), "reason": reason,
            "succeeded": status.succeeded, "failed": status.failed,
        });
        self.audit_run(job, action, details, now);
    }

    /// What policies have to say of pods of the Job, each thing once.
    fn audit_notes(&mut self, job: &Stored, notes: BTreeMap<String, String>, now: Timestamp) {
        if notes.is_empty() {
            return;
        }
        let notes: BTreeMap<String, String> = notes
            .into_iter()
            .take(NOTES_MAX)
            .map(|(key, note)| (key, note.chars().take(NOTE_CHARS_MAX).collect()))
            .collect();
        self.audit_run(job, "policies", json!({"uid": job.uid.to_string(), "annotations": notes}), now);
    }

    /// The next pod of the Job, or why it has no name.
    fn array_pod(
        &self,
        job: &Stored,
        template: &Arc<JobPods>,
        pod: NewPod,
        now: Timestamp,
    ) -> Result<Stored, String> {
        let mut salt = 0u8;
        let name: Arc<str> = loop {
            let name: Arc<str> = template.pod_name(pod.index, pod.attempt, salt).into();
            let at = NsName { namespace: job.namespace.clone(), name: name.clone() };
            if self.get_at(Resource::Pod, &at).is_none() {
                break name;
            }
            // 256 foreign pods of our names: give up rather than touch one of them.
            salt = salt.checked_add(1).ok_or_else(|| taken(job, pod.index, &name))?;
        };
        Ok(Stored {
            resource: Resource::Pod,
            namespace: job.namespace.clone(),
            name,
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
                ignored_failure_count: pod.ignored_failure_count,
                salt,
                own: None,
            })),
            status: Status::Pod(Arc::default()),
        })
    }

    /// The Job goes: ended pods with it, running ones stand alone until they end (they are collected next).
    pub(super) fn remove_job(&mut self, job: &Arc<Stored>) {
        let pods: Vec<NsName> =
            self.jobs.get(&job.uid).map(|r| r.pods.values().cloned().collect()).unwrap_or_default();
        for at in pods {
            let Some(pod) = self.get_at(Resource::Pod, &at).cloned() else { continue };
            let runs = pod.pod_status().is_some_and(|s| !s.phase.is_terminal() && s.scheduled_at.is_some());
            if runs || !pod.finalizers().is_empty() {
                self.stand_alone(&pod, None);
                continue;
            }
            self.remove(Resource::Pod, &at);
            // The logs of one that it took in do not lie among its own.
            if pod.job_log().is_none_or(|log| log.job != job.uid) {
                self.forget_pod(&pod);
            }
        }
        self.remove(Resource::Job, &job.at());
        self.abandon_drafts(job);
        self.forget_logs_of(job.uid);
    }

    /// The logs of a Job go once it is gone and no pod is left whose logs lie among them.
    pub(super) fn forget_logs_of(&mut self, job: Uid) {
        if !self.jobs.contains_key(&job) && !self.kept_logs.contains_key(&job) {
            self.command(Command::ForgetJob { uid: job });
        }
    }

    /// Pods made from the template before it changed keep it.
    pub(super) fn keep_old_templates(&mut self, old: &Stored, new: &Stored) {
        let Some(runtime) = self.jobs.get_mut(&new.uid) else { return };
        if runtime.pods.is_empty() && runtime.templates.is_empty() {
            return;
        }
        let template = |job: &Stored| job.render()["spec"]["template"].take();
        if template(old) == template(new) {
            return;
        }
        runtime.templates.clear();
        runtime.admitted = None;
        let pods: Vec<NsName> = runtime.pods.values().cloned().collect();
        for at in pods {
            let Some(pod) = self.get_at(Resource::Pod, &at).cloned() else { continue };
            let Some(array) = pod.array_pod().filter(|array| array.own.is_none()) else { continue };
            let own = JsonHead::from_value(Resource::Pod, pod.render())
                .expect("a pod that was rendered can be read");
            let mut array = array.clone();
            array.own = Some(Arc::new(own));
            let mut stored = (*pod).clone();
            stored.head = Head::ArrayPod(Box::new(array));
            self.put(stored);
        }
    }
}

/// Why not all pods of a pass were made.
enum Held {
    Refused(String),
    /// All names of a pod are others'.
    Nameless(String),
    /// The others come in the next batch: what may be done in one is done.
    Later,
}

fn taken(job: &Stored, index: Option<u32>, name: &str) -> String {
    let (of, stem) = match index {
        Some(index) => (format!(" for index {index}"), format!("{}-{index}-", job.name)),
        None => (String::new(), format!("{}-", job.name)),
    };
    format!(
        "pods \"{name}\" already exists, as do all other names{of}; delete the pods whose names begin with \"{stem}\" and \
         that are not the Job's"
    )
}

fn place(pod: &Stored) -> (Option<u32>, u32) {
    pod.array_pod().map_or((None, 0), |pod| (pod.index, pod.attempt))
}

fn ended_pod(pod: &Stored, departure: Departure) -> Option<EndedPod<'_>> {
    let (index, attempt) = place(pod);
    Some(EndedPod {
        uid: pod.uid,
        name: &pod.name,
        index,
        attempt,
        departure,
        status: pod.pod_status()?,
        spec: pod.pod_spec()?,
    })
}
