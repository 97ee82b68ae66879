//! What stands between the last pod of a Job that writes data arrays and its end: the gate, and the publication.
//!
//! ```text
//!   SuccessCriteriaMet ──▶ gate? ──passed──▶ may it write? ──▶ Publishing (durable) ──▶ ask the node ──▶ Complete
//!                            │failed            │no                                          └ refused ─▶ Failed
//!                            └──────────────────┴──▶ Failed
//! ```
//!
//! `Publishing` is recorded in the transaction that asks for the first time. From then on neither gate nor rights are looked
//! at again: the run may be published already, and only the node's answer says whether the Job is complete. It is asked again
//! after a restart, which ends the same way.

use watchbell_api::array::{ARRAY_COMMIT_FAILED, ARRAY_GATE_FAILED};

use super::status::{Condition, ConditionKind, ConditionStatus, JobStatus};
use super::{Pass, verdict::Verdict};

/// The condition that says how far a publication is; clients cannot write it.
pub(super) const PUBLISHED: &str = "watchbell.dev/ArraysPublished";

/// How long a gate is waited for, from the end of the last pod, where the Job states no `activeDeadlineSeconds`.
const GATE_SECONDS_MAX: i64 = 86_400;

/// The arrays of a Job that writes some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArraysView {
    pub gate: Gate,
    /// Why its service account may not write any more.
    pub refused: Option<Box<str>>,
    pub answer: Answer,
}

/// The Job that looks at the draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    None,
    /// It is to be made.
    Wanted,
    Running,
    Passed,
    Failed,
}

/// What this server's life knows of the node's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    NotAsked,
    Asked,
    Published,
    Refused { reason: &'static str, message: Box<str> },
}

/// What the caller is to do beside the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicationStep {
    MakeGate,
    /// Send the command to the node.
    Publish,
}

/// Whether a Job that succeeded may end.
pub(super) enum Outcome {
    Wait,
    Ends,
    Refused { reason: &'static str, message: Box<str> },
}

impl Pass<'_> {
    /// The next step of a Job whose pods have all ended well.
    pub(super) fn publication(&mut self) -> Outcome {
        let Some(arrays) = &self.view.arrays else { return Outcome::Ends };
        let now = self.now;
        match &arrays.answer {
            Answer::Published => {
                self.note_publication(
                    ConditionStatus::True,
                    "Published",
                    "All indexes are in the new snapshots",
                );
                return Outcome::Ends;
            }
            Answer::Refused { reason, message } => {
                return Outcome::Refused { reason, message: message.clone() };
            }
            Answer::Asked => return Outcome::Wait,
            Answer::NotAsked => {}
        }
        if !self.status.is_publishing() {
            if self.view.deleting {
                return Outcome::Wait;
            }
            match arrays.gate {
                Gate::None | Gate::Passed => {}
                gate @ (Gate::Wanted | Gate::Running) => {
                    let until = self.gate_deadline();
                    if until <= now {
                        let message = "the gate did not complete in time: nothing was published".into();
                        return Outcome::Refused { reason: ARRAY_GATE_FAILED, message };
                    }
                    self.wake(until);
                    if gate == Gate::Wanted {
                        self.plan.publication = Some(PublicationStep::MakeGate);
                    }
                    return Outcome::Wait;
                }
                Gate::Failed => {
                    let message = "the gate Job did not complete: nothing was published".into();
                    return Outcome::Refused { reason: ARRAY_GATE_FAILED, message };
                }
            }
            if let Some(why) = &arrays.refused {
                return Outcome::Refused { reason: ARRAY_COMMIT_FAILED, message: why.clone() };
            }
            self.status.conditions.push(Condition {
                kind: ConditionKind::Other(PUBLISHED.into()),
                status: ConditionStatus::Unknown,
                last_probe_time: Some(now),
                last_transition_time: Some(now),
                reason: "Publishing".into(),
                message: "All indexes are committed; the drafts become snapshots".into(),
            });
        }
        self.plan.publication = Some(PublicationStep::Publish);
        Outcome::Wait
    }

    /// A gate has as long as the pods had: that the last of them ended late is not its fault.
    fn gate_deadline(&self) -> i64 {
        let met = self.status.condition(&ConditionKind::SuccessCriteriaMet);
        let since = met.and_then(|condition| condition.last_transition_time).unwrap_or(self.now);
        since.saturating_add(self.view.spec.active_deadline_seconds.unwrap_or(GATE_SECONDS_MAX))
    }

    /// The Job fails after all: nothing of it is published.
    pub(super) fn refuse_publication(&mut self, reason: &str, message: &str) -> Verdict {
        let now = self.now;
        if self.status.is_publishing() {
            self.note_publication(ConditionStatus::False, reason, message);
        }
        let kind = ConditionKind::SuccessCriteriaMet;
        self.status.set_condition(kind, ConditionStatus::False, reason, message, now);
        Verdict::not_published(reason, message)
    }

    fn note_publication(&mut self, status: ConditionStatus, reason: &str, message: &str) {
        let kind = ConditionKind::Other(PUBLISHED.into());
        self.status.set_condition(kind, status, reason, message, self.now);
    }
}

impl JobStatus {
    fn is_publishing(&self) -> bool {
        self.conditions.iter().any(|c| c.kind.as_str() == PUBLISHED && c.status == ConditionStatus::Unknown)
    }
}
