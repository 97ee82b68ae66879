//! `batch/v1` CronJob.

use serde::{Deserialize, Serialize};

use super::job::JobTemplate;

/// `spec` of a CronJob, after defaulting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CronJobSpec {
    pub schedule: String,
    #[serde(default)]
    pub time_zone: Option<String>,
    #[serde(default)]
    pub starting_deadline_seconds: Option<i64>,
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,
    #[serde(default)]
    pub suspend: bool,
    #[serde(default)]
    pub successful_jobs_history_limit: Option<u32>,
    #[serde(default)]
    pub failed_jobs_history_limit: Option<u32>,
    pub job_template: JobTemplate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ConcurrencyPolicy {
    #[default]
    Allow,
    Forbid,
    Replace,
}
