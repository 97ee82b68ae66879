//! A CronJob's spec as the controller reads it, small: hundreds of thousands stay in memory.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use watchbell_api::types::cronjob::{ConcurrencyPolicy, CronJobSpec};

use crate::cron::{ParseError, Schedule, TimeZoneError, time_zone};

/// The annotation that says what becomes of slots that were missed.
pub const CATCH_UP: &str = "watchbell.dev/catch-up";

/// Kubernetes' defaults.
const SUCCESSFUL_JOBS_HISTORY_LIMIT: u32 = 3;
const FAILED_JOBS_HISTORY_LIMIT: u32 = 1;

/// What the controller needs of a CronJob's spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronJobFacts {
    /// A spec that was checked when it was written can still turn out unreadable: time-zone data change.
    pub timing: Result<Timing, Unschedulable>,
    /// Of the texts of schedule and time zone; tells an edit.
    pub timing_hash: u64,
    pub starting_deadline_seconds: Option<i64>,
    pub concurrency_policy: ConcurrencyPolicy,
    pub suspend: bool,
    pub successful_jobs_history_limit: u32,
    pub failed_jobs_history_limit: u32,
    pub catch_up: CatchUp,
}

/// When it fires. The zone is a pointer to shared data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    pub schedule: Schedule,
    pub time_zone: TimeZone,
}

/// Why a CronJob cannot be scheduled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unschedulable {
    #[error("{0}")]
    Schedule(Box<ParseError>),
    #[error("{0}")]
    TimeZone(Box<TimeZoneError>),
}

/// What becomes of slots that were missed: while the machine slept or was down, the CronJob was suspended, or a Job of it
/// ran (`Forbid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CatchUp {
    /// None of them starts.
    None,
    /// The latest one starts, as in Kubernetes.
    #[default]
    Latest,
    /// All start, one after the other from the oldest; of more than [`super::CATCH_UP_MAX`] the newest.
    All,
}

/// A value the annotation does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {CATCH_UP}: {value:?} is not known; it takes none, latest or all")]
pub struct CatchUpError {
    pub value: String,
}

impl From<CatchUpError> for String {
    fn from(error: CatchUpError) -> String {
        error.to_string()
    }
}

impl CatchUp {
    /// Reads the annotation's value.
    pub fn parse(value: &str) -> Result<CatchUp, CatchUpError> {
        match value {
            "none" => Ok(CatchUp::None),
            "latest" => Ok(CatchUp::Latest),
            "all" => Ok(CatchUp::All),
            _ => Err(CatchUpError { value: value.chars().take(64).collect() }),
        }
    }
}

impl CronJobFacts {
    /// Reads a spec and the annotations of its CronJob.
    ///
    /// # Errors
    /// Only for an annotation of ours with a value that is not known. A schedule that cannot be read is kept as such: the
    /// controller says so in an event.
    pub fn new(
        spec: &CronJobSpec,
        annotations: &BTreeMap<String, String>,
    ) -> Result<CronJobFacts, CatchUpError> {
        let time_zone_name = spec.time_zone.as_deref();
        Ok(CronJobFacts {
            timing: Timing::new(&spec.schedule, time_zone_name),
            timing_hash: timing_hash(&spec.schedule, time_zone_name),
            starting_deadline_seconds: spec.starting_deadline_seconds,
            concurrency_policy: spec.concurrency_policy,
            suspend: spec.suspend,
            successful_jobs_history_limit: spec
                .successful_jobs_history_limit
                .unwrap_or(SUCCESSFUL_JOBS_HISTORY_LIMIT),
            failed_jobs_history_limit: spec.failed_jobs_history_limit.unwrap_or(FAILED_JOBS_HISTORY_LIMIT),
            catch_up: annotations
                .get(CATCH_UP)
                .map_or(Ok(CatchUp::default()), |value| CatchUp::parse(value))?,
        })
    }
}

impl Timing {
    /// Reads `spec.schedule` and `spec.timeZone`.
    pub fn new(schedule: &str, zone: Option<&str>) -> Result<Timing, Unschedulable> {
        Ok(Timing {
            time_zone: time_zone(zone).map_err(|e| Unschedulable::TimeZone(Box::new(e)))?,
            schedule: Schedule::parse(schedule).map_err(|e| Unschedulable::Schedule(Box::new(e)))?,
        })
    }
}

/// Stored with the cursor, so it must stay the same from version to version.
fn timing_hash(schedule: &str, time_zone: Option<&str>) -> u64 {
    let digest = Sha256::new()
        .chain_update(schedule)
        .chain_update([0, u8::from(time_zone.is_some())])
        .chain_update(time_zone.unwrap_or_default())
        .finalize();
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(head)
}

const _: () = assert!(size_of::<CronJobFacts>() <= 96);
