//! `status` of a Job: what clients see, and the bookkeeping that they do not.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use watchbell_api::types::job::{CompletionMode, JobSpec};

use super::tracking::Tracking;
use crate::index_set::IndexSet;

/// The state of a Job as the journal keeps it (postcard; its row carries the version of this form).
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct JobStatus {
    /// Unix seconds, as all times here.
    pub start_time: Option<i64>,
    /// Set only when the Job completes, never when it fails.
    pub completion_time: Option<i64>,
    pub conditions: Vec<Condition>,
    /// Pods that neither ended nor are being deleted.
    pub active: u32,
    pub ready: u32,
    /// Pods that are being deleted and have not ended.
    pub terminating: u32,
    pub succeeded: u32,
    pub failed: u32,
    pub completed_indexes: IndexSet,
    pub failed_indexes: IndexSet,
    pub(super) tracking: Tracking,
}

/// One of `status.conditions`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: ConditionKind,
    pub status: ConditionStatus,
    pub last_probe_time: Option<i64>,
    pub last_transition_time: Option<i64>,
    pub reason: Box<str>,
    pub message: Box<str>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum ConditionKind {
    Suspended,
    Complete,
    Failed,
    /// The Job will fail; its pods are being ended.
    FailureTarget,
    /// The Job will complete; its remaining pods are being ended.
    SuccessCriteriaMet,
    /// Written by somebody else.
    Other(Box<str>),
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// How a Job ended, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    pub kind: FinishedKind,
    pub at: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishedKind {
    Complete,
    Failed,
}

/// A status that a client wrote and that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("status.{field}: {problem}")]
pub struct WriteStatusError {
    /// Path below `status`.
    pub field: String,
    pub problem: String,
}

impl ConditionKind {
    pub fn as_str(&self) -> &str {
        match self {
            ConditionKind::Suspended => "Suspended",
            ConditionKind::Complete => "Complete",
            ConditionKind::Failed => "Failed",
            ConditionKind::FailureTarget => "FailureTarget",
            ConditionKind::SuccessCriteriaMet => "SuccessCriteriaMet",
            ConditionKind::Other(kind) => kind,
        }
    }

    pub(super) fn of(text: &str) -> ConditionKind {
        match text {
            "Suspended" => ConditionKind::Suspended,
            "Complete" => ConditionKind::Complete,
            "Failed" => ConditionKind::Failed,
            "FailureTarget" => ConditionKind::FailureTarget,
            "SuccessCriteriaMet" => ConditionKind::SuccessCriteriaMet,
            other => ConditionKind::Other(other.into()),
        }
    }
}

impl ConditionStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        }
    }
}

/// Whether a call changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Changed,
    AsBefore,
}

impl JobStatus {
    /// The condition of this kind that is true.
    pub fn condition(&self, kind: &ConditionKind) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.kind == *kind && c.status == ConditionStatus::True)
    }

    /// Complete or failed, and since when. A finished Job never starts anything again.
    pub fn is_finished(&self) -> Option<Finished> {
        let (condition, kind) = self.conditions.iter().find_map(|condition| {
            let kind = match condition.kind {
                ConditionKind::Complete => FinishedKind::Complete,
                ConditionKind::Failed => FinishedKind::Failed,
                _ => return None,
            };
            (condition.status == ConditionStatus::True).then_some((condition, kind))
        })?;
        // Only a foreign controller's condition can lack its time.
        let at = condition.last_transition_time.or(self.completion_time).or(self.start_time).unwrap_or(0);
        Some(Finished { kind, at })
    }

    /// Makes the condition so. One that would be false and never was true is not added.
    pub(super) fn set_condition(
        &mut self,
        kind: ConditionKind,
        status: ConditionStatus,
        reason: &str,
        message: &str,
        now: i64,
    ) -> Change {
        let condition = Condition {
            kind,
            status,
            last_probe_time: Some(now),
            last_transition_time: Some(now),
            reason: reason.into(),
            message: message.into(),
        };
        match self.conditions.iter_mut().find(|c| c.kind == condition.kind) {
            Some(old)
                if old.status == status
                    && old.reason == condition.reason
                    && old.message == condition.message =>
            {
                Change::AsBefore
            }
            Some(old) => {
                *old = condition;
                Change::Changed
            }
            None if status == ConditionStatus::False => Change::AsBefore,
            None => {
                self.conditions.push(condition);
                Change::Changed
            }
        }
    }

    /// `status` as Kubernetes writes it, fields in its order. `ready` and `terminating` are 0 and not absent once the
    /// controller has looked at the Job; before that the status is empty.
    pub fn render(&self, spec: &JobSpec) -> Value {
        let mut out = Map::new();
        let mut put = |field: &str, value: Value| out.insert(field.into(), value);
        if !self.conditions.is_empty() {
            put("conditions", self.conditions.iter().map(Condition::render).collect());
        }
        if let Some(at) = self.start_time {
            put("startTime", time(at));
        }
        if let Some(at) = self.completion_time {
            put("completionTime", time(at));
        }
        for (field, count) in
            [("active", self.active), ("succeeded", self.succeeded), ("failed", self.failed)]
        {
            if count > 0 {
                put(field, count.into());
            }
        }
        let synced = self.tracking.synced;
        if synced || self.terminating > 0 {
            put("terminating", self.terminating.into());
        }
        if !self.completed_indexes.is_empty() {
            put("completedIndexes", self.completed_indexes.to_string().into());
        }
        let counts_indexes = synced
            && spec.completion_mode == CompletionMode::Indexed
            && spec.backoff_limit_per_index.is_some();
        if counts_indexes || !self.failed_indexes.is_empty() {
            put("failedIndexes", self.failed_indexes.to_string().into());
        }
        if synced {
            put("uncountedTerminatedPods", json!({}));
        }
        if synced || self.ready > 0 {
            put("ready", self.ready.into());
        }
        Value::Object(out)
    }
}

impl Condition {
    fn render(&self) -> Value {
        let mut out = Map::new();
        out.insert("type".into(), self.kind.as_str().into());
        out.insert("status".into(), self.status.as_str().into());
        if let Some(at) = self.last_probe_time {
            out.insert("lastProbeTime".into(), time(at));
        }
        if let Some(at) = self.last_transition_time {
            out.insert("lastTransitionTime".into(), time(at));
        }
        for (field, text) in [("reason", &self.reason), ("message", &self.message)] {
            if !text.is_empty() {
                out.insert(field.into(), Value::String(text.to_string()));
            }
        }
        Value::Object(out)
    }
}

/// `2026-01-02T03:04:05Z`
fn time(seconds: i64) -> Value {
    let text =
        jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string());
    Value::String(text)
}
