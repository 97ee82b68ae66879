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
    /// This status with all shown fields as `written` has them; the bookkeeping stays.
    pub fn with_written(&self, written: &Value) -> Result<JobStatus, WriteStatusError> {
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
        Ok(JobStatus {
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
