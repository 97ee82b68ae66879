//! A status that a client wrote (`PUT …/jobs/x/status`): a foreign controller's under `managedBy`, or a test's.

use serde_json::Value;

use super::publication::PUBLISHED;
use super::status::{Condition, ConditionKind, ConditionStatus, JobStatus, WriteStatusError};
use crate::index_set::IndexSet;

/// More than any controller writes; bounds what one request may put into the journal.
const CONDITIONS_MAX: usize = 64;
/// Kubernetes bounds indexes below 2³¹.
const INDEX_LIMIT: u32 = i32::MAX as u32;

impl JobStatus {
    /// This status with all shown fields as `written` has them; the bookkeeping stays. What Kubernetes lets no controller
    /// write is refused. `never_begins`: the Job is suspended and has no completions, so it is complete without a start.
    pub fn with_written(&self, written: &Value, never_begins: bool) -> Result<JobStatus, WriteStatusError> {
        let field = Field { object: written, path: String::new() };
        let list = match &written["conditions"] {
            Value::Null => &[],
            Value::Array(list) if list.len() <= CONDITIONS_MAX => list.as_slice(),
            Value::Array(_) => return Err(field.wrong("conditions", &format!("more than {CONDITIONS_MAX}"))),
            _ => return Err(field.wrong("conditions", "not a list")),
        };
        let mut conditions: Vec<Condition> = list
            .iter()
            .enumerate()
            .map(|(i, object)| condition(&Field { object, path: format!("conditions[{i}].") }))
            .collect::<Result<_, _>>()?;
        // Whether a run may be published is not for clients to say.
        conditions.retain(|condition| condition.kind.as_str() != PUBLISHED);
        conditions.extend(self.conditions.iter().filter(|c| c.kind.as_str() == PUBLISHED).cloned());
        let mut next = JobStatus {
            start_time: field.time("startTime")?,
            completion_time: field.time("completionTime")?,
            conditions,
            active: field.count("active")?,
            ready: field.count("ready")?,
            terminating: field.count("terminating")?,
            succeeded: field.count("succeeded")?,
            failed: field.count("failed")?,
            completed_indexes: field.indexes("completedIndexes")?,
            failed_indexes: field.indexes("failedIndexes")?,
            tracking: self.tracking.clone(),
        };
        let step = Step { old: self, new: &next, never_begins };
        step.check().map_err(|(name, problem)| field.wrong(name, problem))?;
        if step.takes_back_indexes() {
            next.tracking.indexes.retire(0);
        }
        Ok(next)
    }

    fn is(&self, kind: ConditionKind) -> bool {
        self.condition(&kind).is_some()
    }
}

/// Conditions that stay once they are true.
const FINAL: [(ConditionKind, &str); 4] = [
    (ConditionKind::Failed, "cannot disable the terminal Failed=True condition"),
    (ConditionKind::Complete, "cannot disable the terminal Complete=True condition"),
    (ConditionKind::FailureTarget, "cannot disable the terminal FailureTarget=True condition"),
    (ConditionKind::SuccessCriteriaMet, "cannot disable the SuccessCriteriaMet=True condition"),
];

/// A status and what a client makes of it.
struct Step<'a> {
    old: &'a JobStatus,
    new: &'a JobStatus,
    never_begins: bool,
}

impl Step<'_> {
    /// Kubernetes' rules, as far as they read the status alone (KEP-4368). One is asked only where what it reads changed, so
    /// that nobody is kept from writing an annotation by what stood there before.
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        use ConditionKind::{Complete, Failed, FailureTarget, SuccessCriteriaMet};
        let (old, new) = (self.old, self.new);
        for (kind, problem) in FINAL {
            if old.is(kind.clone()) && !new.is(kind) {
                return Err(("conditions", problem));
            }
        }
        let finished = new.is_finished().is_some();
        let is_new_end = finished && old.is_finished().is_none();
        let changed = |kind: ConditionKind| old.is(kind.clone()) != new.is(kind);
        let has_changed = [Complete, Failed, FailureTarget, SuccessCriteriaMet].map(changed).contains(&true);
        let times_changed = old.start_time != new.start_time || old.completion_time != new.completion_time;
        let has_begun = new.start_time.is_some() || self.never_begins;
        let rules = [
            (
                has_changed && new.is(Complete) && new.is(Failed),
                "conditions",
                "cannot set Complete=True and Failed=True conditions",
            ),
            (
                has_changed && new.is(Complete) && new.is(FailureTarget),
                "conditions",
                "cannot set Complete=True and FailureTarget=True conditions",
            ),
            (
                has_changed && new.is(SuccessCriteriaMet) && (new.is(Failed) || new.is(FailureTarget)),
                "conditions",
                "cannot set SuccessCriteriaMet=True and Failed=True or FailureTarget=True conditions",
            ),
            (
                has_changed && new.is(Failed) && !new.is(FailureTarget),
                "conditions",
                "cannot set Failed=True condition without the FailureTarget=True condition",
            ),
            (
                has_changed && new.is(Complete) && !new.is(SuccessCriteriaMet),
                "conditions",
                "cannot set Complete=True condition without the SuccessCriteriaMet=True condition",
            ),
            (
                (is_new_end || old.active != new.active) && finished && new.active > 0,
                "active",
                "active>0 is invalid for finished job",
            ),
            (
                (is_new_end || old.terminating != new.terminating) && finished && new.terminating > 0,
                "terminating",
                "terminating>0 is invalid for finished job",
            ),
            (
                (is_new_end || old.start_time != new.start_time) && finished && !has_begun,
                "startTime",
                "startTime is required for finished job",
            ),
            (
                (changed(Complete) || times_changed) && new.is(Complete) && new.completion_time.is_none(),
                "completionTime",
                "completionTime is required for Complete jobs",
            ),
            (
                (changed(Complete) || times_changed) && !new.is(Complete) && new.completion_time.is_some(),
                "completionTime",
                "cannot set completionTime when there is no Complete=True condition",
            ),
            (
                times_changed && new.completion_time.is_some() && new.completion_time < new.start_time,
                "completionTime",
                "completionTime cannot be set before startTime",
            ),
            (
                matches!((old.completion_time, new.completion_time), (Some(old), Some(new)) if old != new),
                "completionTime",
                "completionTime cannot be mutated",
            ),
            (
                (old.ready, old.active) != (new.ready, new.active) && new.ready > new.active,
                "ready",
                "cannot set more ready pods than active",
            ),
            (
                self.indexes_changed() && new.failed_indexes.intersection_len(&new.completed_indexes) > 0,
                "failedIndexes",
                "failedIndexes and completedIndexes overlap",
            ),
            (new.failed < old.failed, "failed", "cannot decrease the failed counter"),
            (
                u64::from(old.succeeded.saturating_sub(new.succeeded)) > self.completed_taken_back(),
                "succeeded",
                "cannot decrease the succeeded counter by more than the completed indexes that are taken back",
            ),
        ];
        match rules.into_iter().find(|(is_broken, ..)| *is_broken) {
            Some((_, field, problem)) => Err((field, problem)),
            None => Ok(()),
        }
    }

    fn indexes_changed(&self) -> bool {
        self.old.completed_indexes != self.new.completed_indexes
            || self.old.failed_indexes != self.new.failed_indexes
    }

    /// How many fewer indexes are completed. An elastic Job that is scaled down has fewer.
    fn completed_taken_back(&self) -> u64 {
        self.old.completed_indexes.len().saturating_sub(self.new.completed_indexes.len())
    }

    /// Whether an index that was settled is to be run anew: what is known of its pods was forgotten.
    fn takes_back_indexes(&self) -> bool {
        let (old, new) = (self.old, self.new);
        // Those that are settled now are disjoint, or nothing changed.
        self.indexes_changed()
            && [&old.completed_indexes, &old.failed_indexes].into_iter().any(|before| {
                let kept = before.intersection_len(&new.completed_indexes)
                    + before.intersection_len(&new.failed_indexes);
                kept < before.len()
            })
    }
}

fn condition(field: &Field<'_>) -> Result<Condition, WriteStatusError> {
    let kind = field.text("type")?;
    if kind.is_empty() {
        return Err(field.wrong("type", "required"));
    }
    let status = match field.text("status")? {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        "Unknown" => ConditionStatus::Unknown,
        _ => return Err(field.wrong("status", "not one of True, False, Unknown")),
    };
    Ok(Condition {
        kind: ConditionKind::of(kind),
        status,
        last_probe_time: field.time("lastProbeTime")?,
        last_transition_time: field.time("lastTransitionTime")?,
        reason: field.text("reason")?.into(),
        message: field.text("message")?.into(),
    })
}

/// Reads the fields of one object and names them in errors.
struct Field<'a> {
    object: &'a Value,
    path: String,
}

impl<'a> Field<'a> {
    fn wrong(&self, name: &str, problem: &str) -> WriteStatusError {
        WriteStatusError { field: format!("{}{name}", self.path), problem: problem.to_owned() }
    }

    fn text(&self, name: &str) -> Result<&'a str, WriteStatusError> {
        match &self.object[name] {
            Value::Null => Ok(""),
            Value::String(text) => Ok(text),
            _ => Err(self.wrong(name, "not a string")),
        }
    }

    fn count(&self, name: &str) -> Result<u32, WriteStatusError> {
        match &self.object[name] {
            Value::Null => Ok(0),
            value => value
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .ok_or_else(|| self.wrong(name, "not a count from 0 to 4294967295")),
        }
    }

    fn time(&self, name: &str) -> Result<Option<i64>, WriteStatusError> {
        match self.text(name)? {
            "" => Ok(None),
            text => match text.parse::<jiff::Timestamp>() {
                Ok(at) => Ok(Some(at.as_second())),
                Err(_) => Err(self.wrong(name, "not a time of the form 2026-01-02T03:04:05Z")),
            },
        }
    }

    fn indexes(&self, name: &str) -> Result<IndexSet, WriteStatusError> {
        IndexSet::parse(self.text(name)?, INDEX_LIMIT).map_err(|e| self.wrong(name, &e.to_string()))
    }
}
