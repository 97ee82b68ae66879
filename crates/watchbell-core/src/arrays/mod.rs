//! What Jobs say of data arrays: read, checked by itself, and planned with what is known of the arrays. Pure.
//!
//! ```text
//!   annotation ── read ──▶ Uses ── rules: the Job around it ──▶ field errors
//!   node ── ArrayFacts ──▶ Known ── plan(use, completions) ──▶ index → elements, or why not
//! ```
//!
//! The plan here says early what is wrong. The one that holds is made by the node from the snapshot that the run begins on, by
//! the same function.

mod known;
mod rules;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use serde_json::Value;
use watchbell_api::array::{ARRAY, ARRAY_GATE, ArrayRetention, ArrayRun, DataArraySpec};
use watchbell_api::quantity::Quantity;
use watchbell_api::types::job::JobSpec;
use watchbell_api::{Uid, decode};
use watchbell_zarr::{Mode, Use};

use crate::service_account::account_named;

pub use known::{COMPARISONS_MAX, Known, NotPlanned, SECRET_UPPER, Verdicts};
pub use rules::{errors, is_auto, quota_bytes, unplannable};

/// Of a Job that goes on with the draft of an earlier one: the uid of the first of the chain. The server alone writes it.
pub const ARRAY_RUN: &str = "watchbell.dev/array-run";
/// Of a CronJob or Job that uses arrays: who wrote it. The server alone writes it.
pub const ARRAY_USER: &str = "watchbell.dev/array-user";
/// Of a gate: the uid of the Job whose draft it reads. The server alone writes it.
pub const ARRAY_DRAFT: &str = "watchbell.dev/array-draft";

/// Of a gate, whether or not it looks at arrays: the uid of the Job that it is for. The server alone writes it.
pub const ARRAY_GATE_FOR: &str = "watchbell.dev/array-gate-for";

/// What the server alone writes of a Job.
pub const OWN_ANNOTATIONS: [&str; 4] = [ARRAY_RUN, ARRAY_USER, ARRAY_DRAFT, ARRAY_GATE_FOR];

/// An annotation of more bytes is refused.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Values in it, with what aliases stand for.
const NODES_MAX: usize = 100_000;

/// The annotation [`ARRAY`], read.
#[derive(Debug, Clone)]
pub struct Uses {
    pub list: Vec<Use>,
    /// As JSON.
    pub value: Arc<Value>,
}

impl Uses {
    /// Reads JSON or YAML.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn read(text: &str) -> Result<Uses, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("it has {} bytes; at most {TEXT_BYTES_MAX} are read", text.len()));
        }
        let nodes = decode::Nodes::new(NODES_MAX);
        let mut documents = decode::yaml_within(text.as_bytes(), &nodes).map_err(|error| error.message)?;
        let (Some(value), None) = (documents.pop(), documents.pop()) else {
            return Err("it is not one document of JSON or YAML".to_owned());
        };
        let list = watchbell_zarr::uses(&value).map_err(|error| error.to_string())?;
        Ok(Uses { list, value: Arc::new(value) })
    }

    /// Of a pod's or a template's annotations.
    pub fn of(annotations: &Value) -> Option<Result<Uses, String>> {
        annotations[ARRAY].as_str().map(Uses::read)
    }

    pub fn writes(&self) -> bool {
        self.list.iter().any(|one| one.mode != Mode::Read)
    }
}

/// The part of a variable's name that stands for an array or a dimension: `sea-level` is `SEA_LEVEL`.
pub fn variable_part(name: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.chars().map(upper).collect()
}

/// The arrays of one Job.
#[derive(Debug, Clone)]
pub struct JobArrays {
    pub uses: Uses,
    /// The CronJob from which the gate is made.
    pub gate: Option<Arc<str>>,
    /// Of [`ARRAY_RUN`]; else the run is the Job's own.
    pub run: Option<Uid>,
    /// Of [`ARRAY_USER`].
    pub user: Arc<str>,
    /// Of [`ARRAY_DRAFT`].
    pub draft_of: Option<Uid>,
    /// Of its pods, by its template; empty: `default`.
    pub service_account: Arc<str>,
}

impl JobArrays {
    /// Of a Job whose annotations have passed the rules; one from before them that does not is read as without arrays.
    pub fn read(job: &Value) -> Option<JobArrays> {
        let template = &job["spec"]["template"];
        let uses = Uses::of(&template["metadata"]["annotations"])?.ok()?;
        let own = |key: &str| job["metadata"]["annotations"][key].as_str();
        Some(JobArrays {
            uses,
            gate: own(ARRAY_GATE).map(Arc::from),
            run: own(ARRAY_RUN).and_then(|uid| uid.parse().ok()),
            user: own(ARRAY_USER).unwrap_or_default().into(),
            draft_of: own(ARRAY_DRAFT).and_then(|uid| uid.parse().ok()),
            service_account: account_named(&template["spec"]).into(),
        })
    }

    /// For what the pods of the Job use them.
    pub fn run_of(&self, job: Uid, name: &Arc<str>, spec: &JobSpec) -> ArrayRun {
        ArrayRun {
            run: self.run.unwrap_or(job),
            job,
            job_name: name.clone(),
            completions: spec.completions.unwrap_or(1),
            user: self.user.clone(),
            draft_of: self.draft_of,
        }
    }
}

/// What the spec of a DataArray asks of its store.
pub fn wanted(spec: &Value) -> DataArraySpec {
    let count = |field: &str| {
        let count = spec["retention"][field].as_u64().unwrap_or(0);
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let retention = ArrayRetention {
        keep_last: count("keepLast"),
        keep_daily: count("keepDaily"),
        keep_weekly: count("keepWeekly"),
    };
    DataArraySpec {
        quota_bytes: Quantity::from_value(&spec["quota"]).ok().map(|quota| quota.as_bytes()),
        // Who asks for nothing to be kept has filled nothing in: all snapshots are kept.
        retention: (retention != ArrayRetention::default()).then_some(retention),
        key: spec["encryption"]["key"].as_str().map(Arc::from),
        is_artifacts: spec["format"].as_str().map(|format| format == "artifacts"),
    }
}
