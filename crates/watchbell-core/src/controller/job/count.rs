//! Counting: what the pods that ended mean to the counters, the indexes and the back-off.

use watchbell_api::types::pod::PodSpec;
use watchbell_api::types::pod_status::Phase;

use super::failure_policy::{Judgement, judge};
use super::tracking::Counting;
use super::{Departure, EndedPod, Pass, key};

/// The ends of one pass, for the back-off of the whole Job.
#[derive(Default)]
struct Ends {
    last_success: Option<i64>,
    failures: Vec<i64>,
}

impl Pass<'_> {
    pub(super) fn count(&mut self) {
        let mut ends = Ends::default();
        for pod in self.view.ended {
            let decided = self.status.tracking.decided.remove(&key(pod.index, pod.attempt)).is_some();
            if !decided && pod.departure != Departure::Released && self.has_place(pod.index) {
                let at = finish_time(pod, self.now);
                if pod.departure == Departure::Ended && pod.status.phase == Phase::Succeeded {
                    self.count_success(pod.index);
                    ends.last_success = ends.last_success.max(Some(at));
                } else {
                    let judgement =
                        judge(self.view.spec.pod_failure_policy.as_ref(), self.view.namespace, pod);
                    self.count_failure(pod.index, judgement, at);
                    ends.failures.push(at);
                }
            }
            self.remember_attempt(pod);
        }
        self.count_deleting(&mut ends);
        self.forget_ended_decisions();
        if let Some(completed) = self.index_count().map(|_| self.status.completed_indexes.len()) {
            self.status.succeeded = completed as u32;
        }
        if self.view.spec.backoff_limit_per_index.is_none() {
            self.status.tracking.backoff.count(ends.last_success, &ends.failures);
        }
    }

    /// Without [`Pass::only_failed_replaced`] a pod has failed as soon as it is being deleted, so that its replacement
    /// need not wait for its end.
    fn count_deleting(&mut self, ends: &mut Ends) {
        if self.only_failed_replaced() {
            return;
        }
        for (&key, pod) in self.view.active {
            if pod.deleting && !self.status.tracking.decided.contains(&key) {
                self.status.tracking.decided.insert(key);
                if self.has_place(pod.index) {
                    self.count_failure(pod.index, Judgement::Count, self.now);
                    ends.failures.push(self.now);
                }
            }
        }
    }

    fn count_success(&mut self, index: Option<u32>) {
        match index {
            None => self.status.succeeded = self.status.succeeded.saturating_add(1),
            Some(index) => {
                if !self.status.failed_indexes.contains(index) && self.status.completed_indexes.insert(index)
                {
                    self.completed_changed = true;
                    self.status.tracking.indexes.settle(index);
                }
            }
        }
    }

    fn count_failure(&mut self, index: Option<u32>, judgement: Judgement, at: i64) {
        let counting = if judgement == Judgement::Ignore { Counting::Ignored } else { Counting::Counted };
        if counting == Counting::Counted {
            self.status.failed = self.status.failed.saturating_add(1);
        }
        if let (Some(index), Some(limit)) = (index, self.view.spec.backoff_limit_per_index)
            && !self.is_settled(index)
        {
            let tries = self.status.tracking.indexes.tries(index);
            let exhausted = counting == Counting::Counted && tries.failures >= limit;
            if exhausted || judgement == Judgement::FailIndex {
                self.status.failed_indexes.insert(index);
                self.status.tracking.indexes.settle(index);
            } else {
                self.status.tracking.indexes.failed(index, counting, at);
            }
        }
        if let Judgement::FailJob(message) = judgement {
            self.fail_job.get_or_insert(message);
        }
    }

    pub(super) fn is_settled(&self, index: u32) -> bool {
        self.status.completed_indexes.contains(index) || self.status.failed_indexes.contains(index)
    }

    /// The index's next pod must not be taken for this one.
    fn remember_attempt(&mut self, pod: &EndedPod<'_>) {
        if let Some(index) = pod.index
            && self.has_place(pod.index)
            && !self.is_settled(index)
        {
            self.status.tracking.indexes.ended(index, pod.attempt);
        }
    }

    fn forget_ended_decisions(&mut self) {
        let active = self.view.active;
        let gone: Vec<_> =
            self.status.tracking.decided.iter().filter(|&key| !active.contains_key(key)).copied().collect();
        for key in gone {
            self.status.tracking.decided.remove(&key);
        }
    }
}

/// When the last container of a pod ended (sidecars included: they end last), else when its phase became terminal,
/// else now. Never later than now.
fn finish_time(pod: &EndedPod<'_>, now: i64) -> i64 {
    let sidecars = pod
        .spec
        .init_containers
        .iter()
        .zip(&pod.status.init_containers)
        .filter(|(container, _)| PodSpec::is_sidecar(container))
        .map(|(_, state)| state);
    let ends: Option<Vec<i64>> = pod
        .status
        .containers
        .iter()
        .chain(sidecars)
        .map(|state| state.terminated().map(|end| end.finished_at))
        .collect();
    let last = ends.and_then(|ends| ends.into_iter().max());
    last.or(pod.status.finished_at).unwrap_or(now).min(now)
}
