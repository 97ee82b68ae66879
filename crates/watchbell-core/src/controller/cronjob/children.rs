//! The Jobs a CronJob has: its active list and its history.

use std::collections::BTreeSet;

use super::{ChildJob, ChildState, CronJobStatus, CronPlan, CronView, DeleteReason, JobDelete, JobRef};
use crate::controller::event::PlannedEvent;

/// Brings `status.active` and `status.lastSuccessfulTime` in line with the Jobs that are there.
///
/// An unfinished Job that is not in the list (made by hand with the CronJob as its controller) is taken into it: what
/// runs for the CronJob counts, also for `Forbid`. Kubernetes reports it in the same words, again and again, and leaves
/// it out.
pub(super) fn keep_active_list(view: &CronView<'_>, status: &mut CronJobStatus, plan: &mut CronPlan) {
    let listed: BTreeSet<u128> = status.active.iter().map(|job| job.uid).collect();
    let mut gone = listed.clone();
    for child in view.children {
        let in_list = listed.contains(&child.uid);
        match child.state {
            ChildState::Active | ChildState::Deleting if in_list => {
                gone.remove(&child.uid);
            }
            ChildState::Active => {
                status.active.push(JobRef { name: (*child.name).into(), uid: child.uid });
                let message =
                    format!("Saw a job that the controller did not create or forgot: {}", child.name);
                plan.events.push(PlannedEvent::warning("UnexpectedJob", message));
            }
            ChildState::Deleting => {}
            ChildState::Succeeded { at } => {
                status.last_successful_time = status.last_successful_time.max(Some(at));
                saw_completed(child, "Complete", in_list, plan);
            }
            ChildState::Failed { .. } => saw_completed(child, "Failed", in_list, plan),
        }
        if in_list && matches!(child.state, ChildState::Succeeded { .. } | ChildState::Failed { .. }) {
            status.active.retain(|job| job.uid != child.uid);
            gone.remove(&child.uid);
        }
    }
    if gone.is_empty() {
        return;
    }
    status.active.retain(|job| {
        let missing = gone.contains(&job.uid);
        if missing {
            let message = format!("Active job went missing: {}", job.name);
            plan.events.push(PlannedEvent::normal("MissingJob", message));
        }
        !missing
    });
}

fn saw_completed(child: &ChildJob, condition: &str, in_list: bool, plan: &mut CronPlan) {
    if in_list {
        let message = format!("Saw completed job: {}, condition: {condition}", child.name);
        plan.events.push(PlannedEvent::normal("SawCompletedJob", message));
    }
}

/// Deletes the oldest finished Jobs beyond the history limits.
pub(super) fn trim_history(view: &CronView<'_>, plan: &mut CronPlan) {
    let succeeded = view.children.iter().filter(|job| matches!(job.state, ChildState::Succeeded { .. }));
    let failed = view.children.iter().filter(|job| matches!(job.state, ChildState::Failed { .. }));
    trim(succeeded, view.facts.successful_jobs_history_limit, DeleteReason::SuccessfulHistory, plan);
    trim(failed, view.facts.failed_jobs_history_limit, DeleteReason::FailedHistory, plan);
}

fn trim<'a>(
    finished: impl Iterator<Item = &'a ChildJob>,
    limit: u32,
    why: DeleteReason,
    plan: &mut CronPlan,
) {
    let mut oldest_first: Vec<&ChildJob> = finished.collect();
    let surplus = oldest_first.len().saturating_sub(limit as usize);
    if surplus == 0 {
        return;
    }
    // A Job that never started counts as the newest, as in Kubernetes.
    oldest_first.sort_by(|a, b| {
        (a.start_time.is_none(), a.start_time, &a.name).cmp(&(b.start_time.is_none(), b.start_time, &b.name))
    });
    for job in &oldest_first[..surplus] {
        delete(job, why, plan);
    }
}

pub(super) fn delete(job: &ChildJob, why: DeleteReason, plan: &mut CronPlan) {
    plan.delete.push(JobDelete { name: job.name.clone(), uid: job.uid, why });
    plan.events.push(PlannedEvent::normal("SuccessfulDelete", format!("Deleted job {}", job.name)));
}
