//! What the controller remembers of a CronJob. Times are Unix seconds.
//!
//! It is stored as it stands here: fields and variants are only ever added at the end, under a new version of the
//! journal's format.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The status as the API shows it, and the cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CronJobStatus {
    /// Jobs that were started and not seen to finish.
    pub active: Vec<JobRef>,
    /// The latest slot that started.
    pub last_schedule_time: Option<i64>,
    /// When a Job last succeeded.
    pub last_successful_time: Option<i64>,
    /// The last slot that was decided, or where counting began: at the creation, or at an edit of the schedule. It never
    /// moves back.
    pub cursor: Option<i64>,
    /// Of the schedule and time zone the cursor belongs to.
    pub schedule_hash: u64,
    /// The first slot behind the cursor: the next one to be decided.
    pub next: Option<i64>,
    /// A slot that is due and waits for a running Job to end (`Forbid`).
    pub waiting: Option<i64>,
    /// Since when the CronJob is suspended.
    pub suspended_at: Option<i64>,
    /// The last slots that were skipped.
    pub last_skip: Option<Box<Skipped>>,
    /// Since when and why a policy refuses an image of it. It lies beside the rest in the journal.
    #[serde(skip)]
    pub held: Option<Box<Held>>,
}

/// A policy refuses an image of the CronJob: no slot starts until none does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub since: i64,
    pub hold: Hold,
}

/// Why a CronJob is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The reasons of the policies, with the way out.
    pub why: Box<str>,
    /// The advisories that did it, if some did.
    pub advisories: Vec<Box<str>>,
}

/// A Job in the active list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRef {
    pub name: Box<str>,
    pub uid: u128,
}

/// Neighbouring slots that did not start and never will, for one reason. One slot most of the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub first: i64,
    /// The last of them.
    pub slot: i64,
    pub count: SlotCount,
    pub reason: SkipReason,
}

/// How many slots; a year of minutes is not counted through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotCount {
    Exactly(u32),
    AtLeast(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SkipReason {
    /// Too late for `startingDeadlineSeconds`.
    StartingDeadline,
    /// A later slot was due too, and of the missed ones only the latest starts.
    Superseded,
    /// Missed, and `watchbell.dev/catch-up: none`.
    CatchUpNone,
    /// Missed, and more were missed than are made up for.
    CatchUpLimit,
    /// Passed while the CronJob was suspended.
    Suspended,
    /// `concurrencyPolicy: Forbid`, and a Job was running.
    JobAlreadyActive,
    /// A Job of the name exists that is not the CronJob's.
    ForeignJob,
    /// The CronJob has a Job of the name already.
    JobExists,
    /// Was due by the schedule or time zone before the edit.
    ScheduleChanged,
    /// A policy refuses an image of the CronJob.
    ImagePolicy,
}

/// A status that a client wrote and that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("status.{field}: {problem}")]
pub struct WriteStatusError {
    /// Path below `status`.
    pub field: String,
    pub problem: String,
}

impl CronJobStatus {
    /// This status with the shown times as `written` has them. What is active follows from the Jobs that are there, and
    /// the cursor is nobody else's.
    pub fn with_written(&self, written: &Value) -> Result<CronJobStatus, WriteStatusError> {
        let time = |field: &str| match &written[field] {
            Value::Null => Ok(None),
            value => match value.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
                Some(at) => Ok(Some(at.as_second())),
                None => Err(WriteStatusError {
                    field: field.to_owned(),
                    problem: "not a time of the form 2026-01-02T03:04:05Z".to_owned(),
                }),
            },
        };
        Ok(CronJobStatus {
            last_schedule_time: time("lastScheduleTime")?,
            last_successful_time: time("lastSuccessfulTime")?,
            ..self.clone()
        })
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SkipReason::StartingDeadline => "it was too late to start: spec.startingDeadlineSeconds had passed",
            SkipReason::Superseded => {
                "a later slot was due as well, and of missed slots only the latest starts (watchbell.dev/catch-up: latest)"
            }
            SkipReason::CatchUpNone => "it was missed, and missed slots do not start (watchbell.dev/catch-up: none)",
            SkipReason::CatchUpLimit => "it was missed, and only the newest 100 missed slots start",
            SkipReason::Suspended => "the CronJob was suspended",
            SkipReason::JobAlreadyActive => "a Job was still running, and spec.concurrencyPolicy is Forbid",
            SkipReason::ForeignJob => "a Job of its name exists that this CronJob does not control",
            SkipReason::JobExists => "this CronJob already has a Job of its name",
            SkipReason::ScheduleChanged => "the schedule was changed before it could start",
            SkipReason::ImagePolicy => "a policy refuses its image (see the event ImagePolicyHold)",
        })
    }
}

impl fmt::Display for SlotCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SlotCount::Exactly(count) => write!(f, "{count}"),
            SlotCount::AtLeast(count) => write!(f, "{count} or more"),
        }
    }
}

/// `slot 2026-11-24T02:00:00Z: the CronJob was suspended`
impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == SlotCount::Exactly(1) {
            write!(f, "slot {}: {}", At(self.slot), self.reason)
        } else {
            write!(f, "{} slots from {} to {}: {}", self.count, At(self.first), At(self.slot), self.reason)
        }
    }
}

/// Unix seconds as RFC 3339.
struct At(i64);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_second(self.0) {
            Ok(at) => at.fmt(f),
            Err(_) => self.0.fmt(f),
        }
    }
}
