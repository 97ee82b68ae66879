//! What the controllers need to know of an object, read once when it changes.

use std::sync::Arc;

use serde_json::Value;
use watchbell_api::Resource;
use watchbell_api::types::cronjob::CronJobSpec;
use watchbell_api::types::job::JobSpec;
use watchbell_api::types::pod::PodSpec;

use crate::controller::cronjob::CronJobFacts;

/// The typed part of a head.
#[derive(Debug)]
pub enum Facts {
    None,
    Job(Box<JobFacts>),
    CronJob(Box<CronJobFacts>),
    Pod(Arc<PodSpec>),
}

/// A Job's spec without its pod template, which is made when the first pod is (see [`super::template`]).
#[derive(Debug)]
pub struct JobFacts {
    pub spec: JobSpec,
    pub pod_spec: Arc<PodSpec>,
}

impl Facts {
    /// Reads the facts of an object that passed the schema and was defaulted.
    pub fn read(resource: Resource, object: &Value) -> Result<Facts, String> {
        let spec = &object["spec"];
        let wrong = |e: serde_json::Error| format!("spec: {e}");
        Ok(match resource {
            Resource::Job => Facts::Job(Box::new(JobFacts {
                spec: serde::Deserialize::deserialize(spec).map_err(wrong)?,
                pod_spec: Arc::new(
                    serde::Deserialize::deserialize(&spec["template"]["spec"])
                        .map_err(|e: serde_json::Error| format!("spec.template.spec: {e}"))?,
                ),
            })),
            Resource::CronJob => {
                let typed: CronJobSpec = serde::Deserialize::deserialize(spec).map_err(wrong)?;
                let annotations = super::object::string_map(object["metadata"].get("annotations"));
                Facts::CronJob(Box::new(CronJobFacts::new(&typed, &annotations)?))
            }
            Resource::Pod => Facts::Pod(Arc::new(serde::Deserialize::deserialize(spec).map_err(wrong)?)),
            _ => Facts::None,
        })
    }

    pub fn job(&self) -> Option<&JobFacts> {
        match self {
            Facts::Job(facts) => Some(facts),
            _ => None,
        }
    }

    pub fn cronjob(&self) -> Option<&CronJobFacts> {
        match self {
            Facts::CronJob(facts) => Some(facts),
            _ => None,
        }
    }

    pub fn pod(&self) -> Option<&Arc<PodSpec>> {
        match self {
            Facts::Pod(spec) => Some(spec),
            _ => None,
        }
    }
}
