//! Which pods of an unfinished Job start and which end, so that as many run as the Job wants (KEP-2214, 2232, 3850).

use std::cmp::Reverse;

use watchbell_api::node::StopCause;
use watchbell_api::types::pod_status::Phase;

use super::status::{Change, ConditionKind, ConditionStatus};
use super::{ActivePod, NewPod, Pass};
use crate::controller::event::PlannedEvent;

/// At most this many pods are created, or deleted for room, in one pass, so that a commit stays small.
const PODS_PER_PASS: usize = 500;

impl<'a> Pass<'a> {
    /// Deletes what is too much or, when nothing is, creates what is missing.
    pub(super) fn manage_pods(&mut self) {
        let kept: Vec<&ActivePod> =
            self.view.active.iter().filter(|(key, pod)| self.is_kept(key, pod)).map(|(_, pod)| pod).collect();
        self.delete_again();
        if self.view.spec.suspend {
            for pod in kept {
                self.delete(pod, StopCause::Suspended);
            }
            return;
        }
        let wanted = self.wanted(kept.len());
        let mut surplus = self.surplus(&kept, wanted);
        if surplus.len() > PODS_PER_PASS {
            surplus.truncate(PODS_PER_PASS);
            self.wake(self.now);
        }
        if !surplus.is_empty() {
            if kept.len() - surplus.len() < wanted {
                self.wake(self.now);
            }
            for pod in surplus {
                self.delete(pod, StopCause::Deleted);
            }
            return;
        }
        let terminating = if self.only_failed_replaced() { self.view.active.len() - kept.len() } else { 0 };
        let missing = wanted.saturating_sub(kept.len() + terminating);
        if missing > 0 {
            self.create(missing);
        }
    }

    /// A pod whose fate is decided and that nobody deletes: the deletion was lost.
    fn delete_again(&mut self) {
        let decided = &self.status.tracking.decided;
        let lost = decided.iter().filter_map(|key| self.view.active.get(key)).filter(|pod| !pod.deleting);
        self.plan.delete.extend(lost.map(|pod| (pod.uid, StopCause::Deleted)));
    }

    /// How many pods should be active, of which `active` are.
    fn wanted(&self, active: usize) -> usize {
        let spec = self.view.spec;
        let parallelism = spec.parallelism.unwrap_or(1);
        match spec.completions {
            // A work queue: its pods know when all is done. After the first success no more are started.
            None if self.status.succeeded > 0 => active,
            None => parallelism as usize,
            Some(completions) => completions.saturating_sub(self.status.succeeded).min(parallelism) as usize,
        }
    }

    /// The pods to delete: those without a place, all but one of each index, and what is beyond `wanted`.
    fn surplus(&self, kept: &[&'a ActivePod], wanted: usize) -> Vec<&'a ActivePod> {
        let beyond = kept.len().saturating_sub(wanted);
        let (mut surplus, mut left) = (Vec::new(), Vec::new());
        // Pods come by index, so those of one index are neighbours.
        for same_index in kept.chunk_by(|a, b| a.index.is_some() && a.index == b.index) {
            let index = same_index[0].index;
            if !self.has_place(index) || index.is_some_and(|index| self.is_settled(index)) {
                surplus.extend(same_index);
                continue;
            }
            let Some(best) = same_index.iter().max_by_key(|pod| loss(pod)) else { continue };
            left.push(*best);
            surplus.extend(same_index.iter().filter(|pod| pod.uid != best.uid));
        }
        if surplus.len() < beyond {
            left.sort_by_key(|pod| loss(pod));
            left.truncate(beyond - surplus.len());
            surplus.append(&mut left);
        }
        surplus
    }

    fn create(&mut self, missing: usize) {
        let per_index = self.view.spec.backoff_limit_per_index.is_some();
        if !per_index && let Some(at) = self.status.tracking.backoff.wait_until(self.now) {
            self.wake(at);
            return;
        }
        let count = missing.min(PODS_PER_PASS);
        match self.index_count() {
            None => self.create_without_index(count),
            Some(completions) => {
                let indexes = self.pending_indexes(count, completions);
                if indexes.len() < count
                    && let Some(at) = self.status.tracking.indexes.next_due()
                {
                    self.wake(at);
                }
                for index in indexes {
                    self.create_index(index);
                }
            }
        }
        if self.plan.create.len() == PODS_PER_PASS && missing > PODS_PER_PASS {
            self.wake(self.now);
        }
    }

    fn create_without_index(&mut self, count: usize) {
        for _ in 0..count {
            let attempt = self.status.tracking.next_attempt;
            self.status.tracking.next_attempt = attempt.saturating_add(1);
            self.plan.create.push(NewPod {
                index: None,
                attempt,
                failure_count: 0,
                ignored_failure_count: 0,
            });
        }
    }

    fn create_index(&mut self, index: u32) {
        let tries = self.status.tracking.indexes.tries(index);
        // Pods of the index that are being deleted have used their attempts too.
        let ending = self.view.active.range((index, 0)..=(index, u32::MAX)).next_back();
        let attempt =
            ending.map_or(tries.attempt, |(&(_, last), _)| tries.attempt.max(last.saturating_add(1)));
        self.status.tracking.indexes.created(attempt);
        self.plan.create.push(NewPod {
            index: Some(index),
            attempt,
            failure_count: tries.failures,
            ignored_failure_count: tries.ignored,
        });
    }

    /// The lowest indexes that may start: not completed, not failed, not in back-off, no pod in their place. Costs the
    /// ranges and the active pods it passes, not the indexes.
    fn pending_indexes(&self, count: usize, completions: u32) -> Vec<u32> {
        let tracking = &self.status.tracking;
        let settled =
            [&self.status.completed_indexes, &self.status.failed_indexes, tracking.indexes.held_back()];
        let ending_holds_place = self.only_failed_replaced();
        let is_taken = |index: u32| {
            let mut pods = self.view.active.range((index, 0)..=(index, u32::MAX));
            pods.any(|(key, pod)| ending_holds_place || self.is_kept(key, pod))
        };
        let mut found = Vec::new();
        let mut candidate = 0;
        while found.len() < count && candidate < completions {
            let free = settled.iter().try_fold(candidate, |index, set| set.first_missing(index));
            match free {
                None => break,
                Some(free) if free > candidate => candidate = free,
                Some(index) => {
                    if !is_taken(index) {
                        found.push(index);
                    }
                    candidate = index + 1;
                }
            }
        }
        found
    }

    /// Keeps the `Suspended` condition in step with the spec. A resumed Job starts anew: its deadline counts from now.
    pub(super) fn note_suspension(&mut self) {
        let (status, reason, message) = if self.view.spec.suspend {
            (ConditionStatus::True, "JobSuspended", "Job suspended")
        } else {
            (ConditionStatus::False, "JobResumed", "Job resumed")
        };
        let change = self.status.set_condition(ConditionKind::Suspended, status, reason, message, self.now);
        if change == Change::AsBefore {
            return;
        }
        if self.view.spec.suspend {
            self.status.start_time = None;
            self.plan.events.push(PlannedEvent::normal("Suspended", message));
        } else {
            self.status.start_time = Some(self.now);
            self.plan.events.push(PlannedEvent::normal("Resumed", message));
        }
    }
}

/// How little is lost with a pod, least first: not with the node, pending, not ready, restarted often, young.
fn loss(pod: &ActivePod) -> impl Ord + use<> {
    (
        pod.scheduled,
        pod.phase == Phase::Running,
        pod.ready,
        Reverse(pod.restarts),
        Reverse(pod.created_at),
        Reverse(pod.index),
        Reverse(pod.attempt),
    )
}
