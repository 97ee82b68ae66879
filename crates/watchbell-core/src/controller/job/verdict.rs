//! The verdict on a Job: found once, recorded as `FailureTarget` or `SuccessCriteriaMet`, and made final as `Failed` or
//! `Complete` when its last pod has ended (KEP-3939, KEP-3998).

use watchbell_api::array::{ARRAY_COMMIT_FAILED, ARRAY_CONFLICT, ARRAY_GATE_FAILED};
use watchbell_api::node::StopCause;
use watchbell_api::types::pod::RestartPolicy;

use super::status::{Condition, ConditionKind, ConditionStatus};
use super::tracking::Tracking;
use super::{Pass, Ttl, publication, success_policy, ttl};
use crate::controller::event::PlannedEvent;

/// Kubernetes' default of `backoffLimit`; with `backoffLimitPerIndex` there is no limit for the Job.
const BACKOFF_LIMIT: u32 = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Failure,
    Success,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    outcome: Outcome,
    reason: Reason,
    message: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reason {
    BackoffLimitExceeded,
    DeadlineExceeded,
    PodFailurePolicy,
    MaxFailedIndexesExceeded,
    FailedIndexes,
    SuccessPolicy,
    CompletionsReached,
    ArrayConflict,
    ArrayCommitFailed,
    ArrayGateFailed,
    /// Read from a condition that a client wrote.
    Other(Box<str>),
}

impl Reason {
    fn as_str(&self) -> &str {
        match self {
            Reason::BackoffLimitExceeded => "BackoffLimitExceeded",
            Reason::DeadlineExceeded => "DeadlineExceeded",
            Reason::PodFailurePolicy => "PodFailurePolicy",
            Reason::MaxFailedIndexesExceeded => "MaxFailedIndexesExceeded",
            Reason::FailedIndexes => "FailedIndexes",
            Reason::SuccessPolicy => "SuccessPolicy",
            Reason::CompletionsReached => "CompletionsReached",
            Reason::ArrayConflict => ARRAY_CONFLICT,
            Reason::ArrayCommitFailed => ARRAY_COMMIT_FAILED,
            Reason::ArrayGateFailed => ARRAY_GATE_FAILED,
            Reason::Other(text) => text,
        }
    }

    /// The reason of the Job's last event, which is a constant.
    fn event(&self) -> &'static str {
        match self {
            Reason::BackoffLimitExceeded => "BackoffLimitExceeded",
            Reason::DeadlineExceeded => "DeadlineExceeded",
            Reason::PodFailurePolicy => "PodFailurePolicy",
            Reason::MaxFailedIndexesExceeded => "MaxFailedIndexesExceeded",
            Reason::FailedIndexes => "FailedIndexes",
            Reason::SuccessPolicy | Reason::CompletionsReached => "Completed",
            Reason::ArrayConflict => ARRAY_CONFLICT,
            Reason::ArrayCommitFailed => ARRAY_COMMIT_FAILED,
            Reason::ArrayGateFailed => ARRAY_GATE_FAILED,
            Reason::Other(_) => "Failed",
        }
    }

    fn of(text: &str) -> Reason {
        let known = [
            Reason::BackoffLimitExceeded,
            Reason::DeadlineExceeded,
            Reason::PodFailurePolicy,
            Reason::MaxFailedIndexesExceeded,
            Reason::FailedIndexes,
            Reason::SuccessPolicy,
            Reason::CompletionsReached,
            Reason::ArrayConflict,
            Reason::ArrayCommitFailed,
            Reason::ArrayGateFailed,
        ];
        known.into_iter().find(|reason| reason.as_str() == text).unwrap_or_else(|| Reason::Other(text.into()))
    }
}

impl Verdict {
    fn failure(reason: Reason, message: &str) -> Verdict {
        Verdict { outcome: Outcome::Failure, reason, message: message.into() }
    }

    pub(super) fn not_published(reason: &str, message: &str) -> Verdict {
        Verdict::failure(Reason::of(reason), message)
    }

    fn recorded(outcome: Outcome, condition: &Condition) -> Verdict {
        Verdict { outcome, reason: Reason::of(&condition.reason), message: condition.message.clone() }
    }
}

impl Pass<'_> {
    /// The verdict, recorded before or reached now. The order is Kubernetes': what was recorded stands, then a rule of
    /// the failure policy, the limits of the Job, its indexes, and last the success policy.
    pub(super) fn verdict(&mut self) -> Option<Verdict> {
        if let Some(condition) = self.status.condition(&ConditionKind::SuccessCriteriaMet) {
            return Some(Verdict::recorded(Outcome::Success, condition));
        }
        if let Some(condition) = self.status.condition(&ConditionKind::FailureTarget) {
            return Some(Verdict::recorded(Outcome::Failure, condition));
        }
        if let Some(message) = &self.fail_job {
            return Some(Verdict::failure(Reason::PodFailurePolicy, message));
        }
        if self.backoff_limit_exceeded() {
            let message = "Job has reached the specified backoff limit";
            return Some(Verdict::failure(Reason::BackoffLimitExceeded, message));
        }
        if let Some(at) = self.deadline() {
            if at <= self.now {
                let message = "Job was active longer than specified deadline";
                return Some(Verdict::failure(Reason::DeadlineExceeded, message));
            }
            self.wake(at);
        }
        self.verdict_on_indexes()
    }

    fn backoff_limit_exceeded(&self) -> bool {
        let spec = self.view.spec;
        let limit = match (spec.backoff_limit, spec.backoff_limit_per_index) {
            (Some(limit), _) => limit,
            (None, Some(_)) => u32::MAX,
            (None, None) => BACKOFF_LIMIT,
        };
        // Containers restarted within their pod count as well, but only those of pods that still run.
        let restarts: u64 = match self.view.restart_policy {
            RestartPolicy::OnFailure => self.view.active.values().map(|pod| u64::from(pod.restarts)).sum(),
            RestartPolicy::Never | RestartPolicy::Always => 0,
        };
        self.status.failed > limit || restarts >= u64::from(limit.max(1))
    }

    /// When the Job will have been active for too long; a suspended Job is not active.
    fn deadline(&self) -> Option<i64> {
        let spec = self.view.spec;
        let start = self.status.start_time.filter(|_| !spec.suspend)?;
        Some(start.saturating_add(spec.active_deadline_seconds?))
    }

    fn verdict_on_indexes(&self) -> Option<Verdict> {
        let spec = self.view.spec;
        let completions = self.index_count()?;
        if spec.backoff_limit_per_index.is_some() {
            let failed = self.status.failed_indexes.len();
            if spec.max_failed_indexes.is_some_and(|most| failed > u64::from(most)) {
                let message = "Job has exceeded the specified maximal number of failed indexes";
                return Some(Verdict::failure(Reason::MaxFailedIndexesExceeded, message));
            }
            if failed > 0 && failed + self.status.completed_indexes.len() >= u64::from(completions) {
                return Some(Verdict::failure(Reason::FailedIndexes, "Job has failed indexes"));
            }
        }
        let policy = spec.success_policy.as_ref().filter(|_| self.completed_changed)?;
        let message = success_policy::met(policy, completions, &self.status.completed_indexes)?;
        Some(Verdict { outcome: Outcome::Success, reason: Reason::SuccessPolicy, message: message.into() })
    }

    /// Success without a policy: enough pods succeeded and none is left. Without `completions` one success is enough,
    /// and the other pods end by themselves.
    pub(super) fn completed(&self) -> Option<Verdict> {
        let wanted = self.view.spec.completions.unwrap_or(1);
        (self.status.succeeded >= wanted && self.status.active == 0).then(|| Verdict {
            outcome: Outcome::Success,
            reason: Reason::CompletionsReached,
            message: "Reached expected number of succeeded pods".into(),
        })
    }

    /// Deletes what is active. Of a failing Job these pods count as failed; of a successful one as nothing.
    pub(super) fn end_pods(&mut self, verdict: &Verdict) {
        let cause = match (verdict.outcome, &verdict.reason) {
            (Outcome::Success, _) => StopCause::Deleted,
            (Outcome::Failure, Reason::DeadlineExceeded) => StopCause::JobDeadline,
            (Outcome::Failure, _) => StopCause::JobFailed,
        };
        for (key, pod) in self.view.active {
            if self.is_kept(key, pod) {
                self.delete(pod, cause);
                if verdict.outcome == Outcome::Failure && self.has_place(pod.index) {
                    self.status.failed = self.status.failed.saturating_add(1);
                }
            } else if verdict.outcome == Outcome::Success {
                self.status.tracking.decided.insert(*key);
            }
        }
    }

    /// Records the verdict, and the end once no pod is left.
    pub(super) fn conclude(&mut self, verdict: &Verdict) {
        let (interim, last) = match verdict.outcome {
            Outcome::Failure => (ConditionKind::FailureTarget, ConditionKind::Failed),
            Outcome::Success => (ConditionKind::SuccessCriteriaMet, ConditionKind::Complete),
        };
        let (reason, message, now) = (verdict.reason.as_str(), &verdict.message, self.now);
        self.status.set_condition(interim, ConditionStatus::True, reason, message, now);
        if self.status.terminating > 0 {
            return;
        }
        if verdict.outcome == Outcome::Success {
            match self.publication() {
                publication::Outcome::Wait => return,
                publication::Outcome::Ends => {}
                publication::Outcome::Refused { reason, message } => {
                    let refused = self.refuse_publication(reason, &message);
                    return self.conclude(&refused);
                }
            }
        }
        self.status.set_condition(last, ConditionStatus::True, reason, message, now);
        self.status.tracking = Tracking { synced: true, ..Tracking::default() };
        // Neither a deadline nor a back-off concerns it any more.
        self.plan.wake_at = None;
        match verdict.outcome {
            Outcome::Failure => {
                self.plan.events.push(PlannedEvent::warning(verdict.reason.event(), message.as_ref()));
            }
            Outcome::Success => {
                self.status.completion_time = Some(now);
                if self.view.spec.completions.is_some_and(|wanted| self.status.succeeded > wanted) {
                    let message = "Too many succeeded pods running after completion count reached";
                    self.plan.events.push(PlannedEvent::warning("TooManySucceededPods", message));
                }
                self.plan.events.push(PlannedEvent::normal("Completed", "Job completed"));
            }
        }
        match ttl(self.view.spec.ttl_seconds_after_finished, now, now) {
            Ttl::None => {}
            Ttl::At(at) => self.wake(at),
            Ttl::Expired => self.wake(now),
        }
    }
}
