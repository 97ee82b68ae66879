//! The Job controller: which pods of one Job start, which end, and when the Job is done.
//!
//! ```text
//!   ended pods ──▶ count ──▶ verdict? ──no──▶ pods: create / delete up to parallelism
//!                    │          │yes
//!                    │          └──▶ FailureTarget / SuccessCriteriaMet: delete what is active,
//!                    │                 Failed / Complete once nothing is terminating and what
//!                    │                 it wrote is published
//!                    └──▶ completed / failed indexes, back-off, counters
//! ```
//!
//! A pure function of what is, as everything here: no pod, no index and no second is read twice. The cost follows the
//! active and the newly ended pods and the ranges of the index sets, never `completions`. Semantics are those of
//! Kubernetes 1.36 (KEP-2214, 2232, 2307, 2879, 3329, 3715, 3850, 3939, 3998, 4368, 5440). Where this differs:
//!
//! * A pod is counted in the transaction that records its end, so `uncountedTerminatedPods` is always empty.
//! * An index in back-off does not hold its place among the `parallelism`: other indexes run meanwhile.
//! * A failed pod counts in `failed` at once, also under `backoffLimitPerIndex`, where Kubernetes waits for its
//!   replacement.
//! * While pods are held back, `active` still says how many run.

use std::collections::BTreeMap;

use watchbell_api::Uid;
use watchbell_api::node::StopCause;
use watchbell_api::types::job::{CompletionMode, JobSpec, PodReplacementPolicy};
use watchbell_api::types::pod::{PodSpec, RestartPolicy};
use watchbell_api::types::pod_status::{Phase, PodStatus};

use super::event::PlannedEvent;
use super::ttl::{Ttl, ttl};
use crate::index_set::IndexSet;

mod backoff;
mod count;
mod event;
mod failure_policy;
mod pods;
mod publication;
mod status;
mod success_policy;
mod tracking;
mod verdict;
mod written;

#[cfg(test)]
mod tests;

pub use event::{pods_created, pods_deleted};
pub use publication::{Answer, ArraysView, Gate, PublicationStep};
pub use status::{
    Condition, ConditionKind, ConditionStatus, Finished, FinishedKind, JobStatus, WriteStatusError,
};

/// The value of `spec.managedBy` that names this controller, as does leaving it out.
pub const CONTROLLER_NAME: &str = "kubernetes.io/job-controller";

/// Annotation of an Indexed Job that runs some of its indexes again: those to run (`1,3-5`). The others count as completed
/// from the start, by the Job that `watchbell.dev/rerun-of` names. Set at creation; a later change means nothing.
pub const RERUN_INDEXES: &str = "watchbell.dev/indexes";

/// The index of a pod without one, in keys.
const NO_INDEX: u32 = u32::MAX;

/// A pod of the Job that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivePod {
    pub uid: Uid,
    pub index: Option<u32>,
    /// Counts up within an index (or within the whole Job without indexes); never used twice.
    pub attempt: u32,
    pub phase: Phase,
    /// The node has it.
    pub scheduled: bool,
    pub ready: bool,
    /// `deletionTimestamp` is set.
    pub deleting: bool,
    pub created_at: i64,
    /// Restarts of all its containers, init containers included.
    pub restarts: u32,
}

/// How a pod left the active ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// Its phase became terminal.
    Ended,
    /// Its object was removed before that: deleted while it waited, or by force. Counts as a failure.
    Removed,
    /// It no longer belongs to the Job (its owner reference or a label was taken off). Counts as nothing.
    Released,
}

/// A pod that is no longer active and not counted yet. Each is handed over exactly once, in the transaction that
/// records its end.
#[derive(Debug, Clone, Copy)]
pub struct EndedPod<'a> {
    pub uid: Uid,
    pub name: &'a str,
    pub index: Option<u32>,
    pub attempt: u32,
    pub departure: Departure,
    pub status: &'a PodStatus,
    pub spec: &'a PodSpec,
}

/// What is known of one Job.
#[derive(Debug, Clone)]
pub struct JobView<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: Uid,
    pub created_at: i64,
    /// `deletionTimestamp` is set.
    pub deleting: bool,
    pub spec: &'a JobSpec,
    pub restart_policy: RestartPolicy,
    /// Of [`RERUN_INDEXES`].
    pub rerun: Option<&'a IndexSet>,
    pub status: &'a JobStatus,
    /// By index (`u32::MAX` without one) and attempt.
    pub active: &'a BTreeMap<(u32, u32), ActivePod>,
    pub ended: &'a [EndedPod<'a>],
    /// Of a Job that writes data arrays.
    pub arrays: Option<ArraysView>,
}

/// A pod to create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewPod {
    pub index: Option<u32>,
    pub attempt: u32,
    /// Annotation `batch.kubernetes.io/job-index-failure-count`, present (also when 0) under `backoffLimitPerIndex`.
    pub failure_count: u32,
    /// Annotation `batch.kubernetes.io/job-index-ignored-failure-count`, present when not 0.
    pub ignored_failure_count: u32,
}

/// What is to be done, all in one transaction.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobPlan {
    /// `None`: unchanged.
    pub status: Option<JobStatus>,
    pub create: Vec<NewPod>,
    pub delete: Vec<(Uid, StopCause)>,
    pub events: Vec<PlannedEvent>,
    /// Unix second at which to look again even if nothing changes; `now` when a pass was cut short.
    pub wake_at: Option<i64>,
    pub publication: Option<PublicationStep>,
    /// `ttlSecondsAfterFinished` has passed: delete the Job, and do nothing else of the plan.
    pub delete_job: bool,
}

impl JobPlan {
    /// The plan for the case that only the first `made` pods could be created: all else is done, and no pod is counted
    /// that is not there. What ended is counted either way, as it is handed over only once.
    pub fn having_created(mut self, made: usize, before: &JobStatus) -> JobPlan {
        let missing = self.create.len().saturating_sub(made) as u32;
        self.create.truncate(made);
        let mut status = self.status.take().unwrap_or_else(|| before.clone());
        status.active = status.active.saturating_sub(missing);
        self.status = Some(status).filter(|status| status != before);
        self
    }
}

/// Whether another controller manages the Job (`spec.managedBy`, KEP-4368): its pods and status are not for this one.
pub fn is_foreign(spec: &JobSpec) -> bool {
    spec.managed_by.as_ref().is_some_and(|name| name != CONTROLLER_NAME)
}

/// Compares desired with observed for one Job. Same inputs, same plan. `now`: Unix seconds.
pub fn reconcile(view: &JobView<'_>, now: i64) -> JobPlan {
    if let Some(end) = view.status.is_finished() {
        return after_the_end(view, end, now);
    }
    if is_foreign(view.spec) {
        return JobPlan::default();
    }
    let mut pass = Pass::new(view, now);
    pass.start();
    pass.count();
    match pass.verdict() {
        Some(verdict) => {
            pass.end_pods(&verdict);
            pass.take_stock();
            pass.conclude(&verdict);
        }
        None => {
            if !view.deleting {
                pass.manage_pods();
            }
            pass.take_stock();
            if let Some(verdict) = pass.completed() {
                pass.end_pods(&verdict);
                pass.conclude(&verdict);
            } else if !view.deleting {
                pass.note_suspension();
            }
        }
    }
    pass.plan()
}

fn after_the_end(view: &JobView<'_>, end: Finished, now: i64) -> JobPlan {
    let mut plan = JobPlan::default();
    if !view.deleting {
        match ttl(view.spec.ttl_seconds_after_finished, end.at, now) {
            Ttl::None => {}
            Ttl::At(at) => plan.wake_at = Some(at),
            Ttl::Expired => plan.delete_job = true,
        }
    }
    plan
}

/// One look at a Job: the status as it becomes, and the plan as it grows.
struct Pass<'a> {
    view: &'a JobView<'a>,
    now: i64,
    status: JobStatus,
    plan: JobPlan,
    /// Message of the first pod that a rule of the failure policy fails the Job for.
    fail_job: Option<String>,
    /// The completed indexes or their number changed, so the success policy may be met now.
    completed_changed: bool,
}

impl<'a> Pass<'a> {
    fn new(view: &'a JobView<'a>, now: i64) -> Pass<'a> {
        Pass {
            view,
            now,
            status: view.status.clone(),
            plan: JobPlan::default(),
            fail_job: None,
            completed_changed: false,
        }
    }

    fn start(&mut self) {
        let spec = self.view.spec;
        if !self.status.tracking.synced
            && let (Some(completions), Some(rerun)) = (self.index_count(), self.view.rerun)
        {
            self.status.completed_indexes = rerun.complement(completions);
            self.status.succeeded = self.status.completed_indexes.len() as u32;
            self.completed_changed = true;
        }
        self.status.tracking.synced = true;
        if self.status.start_time.is_none() && !spec.suspend {
            self.status.start_time = Some(self.now);
        }
        if let Some(completions) = self.index_count()
            && self.status.tracking.indexes.scale(completions)
        {
            self.status.completed_indexes.truncate(completions);
            self.status.failed_indexes.truncate(completions);
            self.completed_changed = true;
        }
        // A Job that is suspended or being deleted starts nothing, so no index needs to be let go.
        if !self.view.deleting && !spec.suspend {
            self.status.tracking.indexes.release_due(self.now);
        }
    }

    /// `completions` of an Indexed Job; `None` for any other.
    fn index_count(&self) -> Option<u32> {
        let spec = self.view.spec;
        // Validation requires completions of an Indexed Job.
        (spec.completion_mode == CompletionMode::Indexed).then(|| spec.completions.unwrap_or(0))
    }

    /// Whether a pod has a place in the Job: it has an index within the completions exactly if the Job is indexed.
    fn has_place(&self, index: Option<u32>) -> bool {
        match (self.index_count(), index) {
            (None, None) => true,
            (Some(completions), Some(index)) => index < completions,
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// A replacement waits until the pod it replaces has ended (KEP-3939). A failure policy implies it, as its rules
    /// read how a pod ended.
    fn only_failed_replaced(&self) -> bool {
        let spec = self.view.spec;
        spec.pod_replacement_policy == Some(PodReplacementPolicy::Failed) || spec.pod_failure_policy.is_some()
    }

    /// The pod neither ends nor is about to.
    fn is_kept(&self, key: &(u32, u32), pod: &ActivePod) -> bool {
        !pod.deleting && !self.status.tracking.decided.contains(key)
    }

    /// Ends a pod whose end counts as nothing from here on.
    fn delete(&mut self, pod: &ActivePod, cause: StopCause) {
        self.status.tracking.decided.insert(key(pod.index, pod.attempt));
        self.plan.delete.push((pod.uid, cause));
    }

    fn wake(&mut self, at: i64) {
        self.plan.wake_at = Some(self.plan.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Counts the pods as they are once the plan is carried out.
    fn take_stock(&mut self) {
        let (mut active, mut ready, mut terminating) = (self.plan.create.len() as u32, 0, 0);
        for (key, pod) in self.view.active {
            if self.is_kept(key, pod) {
                active += 1;
                ready += u32::from(pod.ready);
            } else {
                terminating += 1;
            }
        }
        self.status.active = active;
        self.status.ready = ready;
        self.status.terminating = terminating;
    }

    fn plan(self) -> JobPlan {
        let Pass { view, status, mut plan, .. } = self;
        if status != *view.status {
            plan.status = Some(status);
        }
        plan
    }
}

fn key(index: Option<u32>, attempt: u32) -> (u32, u32) {
    (index.unwrap_or(NO_INDEX), attempt)
}
