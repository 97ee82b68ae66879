//! The CronJob controller: which slot starts a Job, which is skipped and why, which Jobs go.
//!
//! ```text
//!            cursor                                     now                  next
//!   ────────────┼───────●────────●────────●──────────────┼────────────────────●──────▶ time
//!     decided   │       undecided slots: all but the     │  wake_at, and until then
//!     for ever  │       latest are skipped, with reason  │  no work at all
//!                                          └▶ started, or waits for a running Job (Forbid)
//! ```
//!
//! A slot is a second of the clock; its key is (CronJob uid, second). The *cursor* is the last slot that was decided; it
//! is stored in the commit that makes the slot's Job and never moves back, so that neither a crash nor a clock that is
//! set back starts a slot again. What Kubernetes' controller does is done here: the same names, events, order and
//! history. Where it leaves users without a run or without a word, this goes on:
//!
//! - more than 100 missed slots are no special case;
//! - an edit of the schedule never starts slots of the time before the edit;
//! - each slot that did not start has a [`Skipped`] record;
//! - `watchbell.dev/catch-up: none|latest|all` says what becomes of missed slots; `latest` is what Kubernetes does.
//!
//! Source: Kubernetes' `pkg/controller/cronjob` (version 2) and the documentation of the CronJob.

mod children;
mod facts;
mod hold;
mod slots;
mod status;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

pub use facts::{CATCH_UP, CatchUp, CatchUpError, CronJobFacts, Timing, Unschedulable};
pub use slots::{CATCH_UP_MAX, job_name, slot_owner};
pub use status::{CronJobStatus, Held, Hold, JobRef, SkipReason, Skipped, SlotCount, WriteStatusError};

use super::event::PlannedEvent;

/// A Job whose controller is the CronJob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildJob {
    pub name: Arc<str>,
    pub uid: u128,
    /// Unix seconds, as all times here.
    pub created_at: i64,
    pub start_time: Option<i64>,
    pub state: ChildState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildState {
    /// Not finished, suspended ones included.
    Active,
    /// On its way out, not finished: its pods may still run.
    Deleting,
    Succeeded {
        at: i64,
    },
    Failed {
        at: i64,
    },
}

/// All that a decision looks at.
#[derive(Clone, Copy)]
pub struct CronView<'a> {
    pub name: &'a str,
    pub uid: u128,
    pub created_at: i64,
    pub facts: &'a CronJobFacts,
    pub status: &'a CronJobStatus,
    pub children: &'a [ChildJob],
    /// Whether a Job of that name exists in the namespace that is not the CronJob's own.
    pub foreign_job: &'a dyn Fn(&str) -> bool,
    /// Why no slot may start for now.
    pub hold: Option<&'a Hold>,
}

/// What is to be done, in one commit. The Job is made after the deletions; the caller adds its uid to `status.active`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CronPlan {
    pub create: Option<NewJob>,
    pub delete: Vec<JobDelete>,
    /// The new status, when it differs. Must be stored in the commit that makes the Job, or neither.
    pub status: Option<CronJobStatus>,
    pub events: Vec<PlannedEvent>,
    /// Slots that will not start, in the order of time; for the record.
    pub skipped: Vec<Skipped>,
    /// When to look again though nothing changed; `now` for at once. `None`: nothing will become due.
    pub wake_at: Option<i64>,
    /// What the status was before the slot of `create` was counted as started.
    before_create: Option<BeforeCreate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BeforeCreate {
    cursor: i64,
    last_schedule_time: Option<i64>,
}

impl CronPlan {
    /// For a Job that could not be made (a quota, a template that is refused): the slot stays undecided and is tried again,
    /// all else of the plan holds. The caller tells the cause with a `FailedCreate` event.
    pub fn keep_slot_open(&mut self, facts: &CronJobFacts, now: i64) {
        let (Some(job), Some(before), Some(status)) =
            (self.create.take(), self.before_create.take(), self.status.as_mut())
        else {
            return;
        };
        status.cursor = Some(before.cursor);
        status.next = Some(job.slot);
        status.last_schedule_time = before.last_schedule_time;
        self.events.retain(|event| event.reason != slots::SUCCESSFUL_CREATE);
        // The next slot is looked at in its time, too.
        let next = self.wake_at.filter(|&at| at > now);
        self.wake_at = Some(slots::retry_at(job.slot, facts, now)).into_iter().chain(next).min();
    }
}

/// A Job to be made from the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    pub name: String,
    /// The time it was scheduled for, Unix seconds.
    pub slot: i64,
}

/// A Job to be deleted, its pods with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobDelete {
    pub name: Arc<str>,
    pub uid: u128,
    pub why: DeleteReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteReason {
    /// Beyond `successfulJobsHistoryLimit`.
    SuccessfulHistory,
    /// Beyond `failedJobsHistoryLimit`.
    FailedHistory,
    /// Still running when the next slot came, with `concurrencyPolicy: Replace`.
    Replaced,
}

/// Compares what should run with what does, for one CronJob. Same inputs, same plan; at most one new Job a call.
pub fn reconcile(view: &CronView<'_>, now: Timestamp) -> CronPlan {
    let mut plan = CronPlan::default();
    let mut status = view.status.clone();
    children::keep_active_list(view, &mut status, &mut plan);
    children::trim_history(view, &mut plan);
    hold::keep(view, now.as_second(), &mut status, &mut plan);
    slots::decide(view, now.as_second(), &mut status, &mut plan);
    if let Some(last) = plan.skipped.last() {
        status.last_skip = Some(Box::new(last.clone()));
    }
    plan.status = (status != *view.status).then_some(status);
    plan
}
