//! Rules that need this crate: schedules and time zones, our annotations, the security level of a namespace.

use serde_json::Value;
use watchbell_api::error::FieldErrorClass;
use watchbell_api::{ApiError, FieldError, Resource, defaults};

use super::World;
use crate::admission::{self, Mode, PriorityClass, Rules};
use crate::controller::cronjob::{CATCH_UP, CatchUp};
use crate::controller::job::RERUN_INDEXES;
use crate::cron::{Schedule, time_zone};
use crate::index_set::IndexSet;
use crate::storage::{CLAIM_PROTECTION, VOLUME_PROTECTION};

/// Where the pods of an object are described.
fn pod_spec(resource: Resource) -> Option<(&'static [&'static str], &'static str)> {
    match resource {
        Resource::Pod => Some((&["spec"], "spec")),
        Resource::Job => Some((&["spec", "template", "spec"], "spec.template.spec")),
        Resource::CronJob => Some((
            &["spec", "jobTemplate", "spec", "template", "spec"],
            "spec.jobTemplate.spec.template.spec",
        )),
        _ => None,
    }
}

/// What is being done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Create,
    Update,
}

impl World {
    pub(super) fn namespace_mode(&self, namespace: &str) -> Mode {
        self.state.namespace_mode(namespace)
    }

    /// Judges pods, and the templates of Jobs and CronJobs. A pod is filled in and refused; a template is never
    /// changed, refused only in a namespace without a level, and warned about in one that has it.
    pub(super) fn admit(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        object: &mut Value,
        change: Change,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        if resource == Resource::PriorityClass {
            let class = PriorityClass::read(object);
            return match admission::refuse_priority_class(&class, &self.priority_classes()) {
                Some(why) => Err(ApiError::forbidden(resource, name, &why)),
                None => Ok(()),
            };
        }
        if resource == Resource::PersistentVolume && change == Change::Create {
            protect(object, VOLUME_PROTECTION);
            return Ok(());
        }
        if resource == Resource::PersistentVolumeClaim {
            match change {
                Change::Create => {
                    protect(object, CLAIM_PROTECTION);
                    self.choose_class(object);
                }
                Change::Update => self
                    .check_expansion(namespace, name, object)
                    .map_err(|why| ApiError::forbidden(resource, name, &why))?,
            }
            let admitted = self.rules(namespace).check_claim(object);
            return admitted.map_err(|why| ApiError::forbidden(resource, name, &why));
        }
        let Some((path, place)) = pod_spec(resource) else { return Ok(()) };
        let mode = self.namespace_mode(namespace);
        let rules = self.rules(namespace);
        let (refusal, refused);
        if resource == Resource::Pod && change == Change::Update {
            // What LimitRanges and classes made of it stays, whatever they say today.
            admission::fill_unsaid(mode, &mut object["spec"]);
            refusal = Ok(());
            refused = admission::judge(mode, &object["spec"], place);
        } else if resource == Resource::Pod {
            refusal = rules.fill_in(mode, object).and_then(|()| rules.check(&object["spec"]));
            refused = admission::judge(mode, &object["spec"], place);
        } else {
            let template = path[..path.len() - 1].iter().fold(&*object, |value, step| &value[*step]);
            let (spec, filled) = template_spec(template, mode, &rules);
            refusal = filled;
            refused = admission::judge(mode, &spec, place);
        }
        if let Err(why) = refusal {
            match resource {
                Resource::Pod => return Err(ApiError::forbidden(resource, name, &why)),
                // As in Kubernetes it is the pods that are refused, and the Job says so in its events.
                _ => warnings.push(format!("{place}: pods of this template would be refused: {why}")),
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        match (resource, mode) {
            (Resource::Pod, _) | (_, Mode::Strict) => {
                Err(admission::refusal(resource, name, namespace, mode, &refused))
            }
            (_, Mode::Labelled(_)) => {
                warnings.push(admission::warning(mode, &refused));
                Ok(())
            }
        }
    }
}

/// Nobody takes the object away while it is in use.
fn protect(object: &mut Value, finalizer: &str) {
    let list = &mut object["metadata"]["finalizers"];
    match list.as_array_mut() {
        Some(list) if list.iter().any(|known| known == finalizer) => {}
        Some(list) => list.push(finalizer.into()),
        None => *list = serde_json::json!([finalizer]),
    }
}

/// The spec that the pods of a template would have, and whether LimitRanges and classes admit them.
fn template_spec(template: &Value, mode: Mode, rules: &Rules) -> (Value, Result<(), String>) {
    let mut pod = serde_json::json!({"metadata": {}, "spec": template["spec"]});
    defaults::apply_to_pod_spec(&mut pod["spec"]);
    let admitted = rules.fill_in(mode, &mut pod).and_then(|()| rules.check(&pod["spec"]));
    (pod["spec"].take(), admitted)
}

fn invalid(field: &str, value: &str, detail: String) -> FieldError {
    FieldError::new(FieldErrorClass::Invalid, field, format!("{value:?}"), detail)
}

pub(super) fn errors(resource: Resource, object: &Value) -> Vec<FieldError> {
    match resource {
        Resource::CronJob => cron_job_errors(object),
        Resource::Job => rerun_error(object).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The indexes of a rerun are some of an Indexed Job's.
fn rerun_error(object: &Value) -> Option<FieldError> {
    let text = object["metadata"]["annotations"][RERUN_INDEXES].as_str()?;
    let refuse =
        |detail: &str| Some(invalid(&format!("metadata.annotations[{RERUN_INDEXES}]"), text, detail.into()));
    let completions = object["spec"]["completions"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    if object["spec"]["completionMode"] != "Indexed" {
        return refuse("only a Job with completionMode: Indexed has indexes");
    }
    match IndexSet::parse(text, completions) {
        Err(error) => refuse(&error.to_string()),
        Ok(set) if set.is_empty() => refuse("it names no index"),
        Ok(_) => None,
    }
}

fn cron_job_errors(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &object["spec"];
    // That they must be there is said by the rules of the kind.
    if let Some(schedule) = spec["schedule"].as_str().filter(|text| !text.is_empty())
        && let Err(error) = Schedule::parse(schedule)
    {
        errors.push(invalid("spec.schedule", schedule, error.to_string()));
    }
    if let Some(zone) = spec["timeZone"].as_str().filter(|text| !text.is_empty())
        && let Err(error) = time_zone(Some(zone))
    {
        errors.push(invalid("spec.timeZone", zone, error.to_string()));
    }
    if let Some(catch_up) = object["metadata"]["annotations"][CATCH_UP].as_str()
        && let Err(error) = CatchUp::parse(catch_up)
    {
        errors.push(invalid(&format!("metadata.annotations[{CATCH_UP}]"), catch_up, error.to_string()));
    }
    errors
}

pub(super) fn warnings(resource: Resource, object: &Value) -> Vec<String> {
    if resource != Resource::CronJob {
        return Vec::new();
    }
    let schedule = object["spec"]["schedule"].as_str().unwrap_or_default();
    match Schedule::parse(schedule) {
        Ok(parsed) if parsed.never_fires() => {
            vec![format!("spec.schedule: {schedule:?} never fires: no date of the calendar matches it")]
        }
        _ => Vec::new(),
    }
}
