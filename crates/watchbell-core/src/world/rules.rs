//! Rules that need this crate: schedules and time zones, our annotations, the security level of a namespace.

use serde_json::Value;
use watchbell_api::error::FieldErrorClass;
use watchbell_api::{ApiError, FieldError, Resource, validate};

use super::World;
use crate::admission::{self, Mode, PriorityClass, pod_security, policies};
use crate::arrays::{self, ARRAY_RUN};
use crate::controller::cronjob::{CATCH_UP, CatchUp};
use crate::controller::job::RERUN_INDEXES;
use crate::cron::{ParseError, Schedule, time_zone};
use crate::index_set::IndexSet;
use crate::storage::{CLAIM_PROTECTION, VOLUME_PROTECTION};

/// What is being done to an object.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'a> {
    Create,
    Update { before: &'a Value },
}

impl World {
    pub(super) fn namespace_mode(&self, namespace: &str) -> Mode {
        self.state.namespace_mode(namespace)
    }

    /// Judges what is to be stored by the objects and labels that have a say in it, and fills in what they give it.
    pub(super) fn admit(
        &mut self,
        resource: Resource,
        namespace: &str,
        name: &str,
        object: &mut Value,
        change: Change<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let forbidden = |why: String| ApiError::forbidden(resource, name, &why);
        match (resource, change) {
            (Resource::PriorityClass, _) => {
                let class = PriorityClass::read(object);
                let refusal = admission::refuse_priority_class(&class, &self.priority_classes());
                refusal.map_or(Ok(()), |why| Err(forbidden(why)))
            }
            (Resource::PersistentVolume, Change::Create) => {
                protect(object, VOLUME_PROTECTION);
                Ok(())
            }
            (Resource::DataArray, Change::Create) => {
                protect(object, super::arrays::STORE);
                Ok(())
            }
            (Resource::PersistentVolumeClaim, _) => {
                match change {
                    Change::Create => {
                        protect(object, CLAIM_PROTECTION);
                        self.choose_class(object);
                    }
                    Change::Update { .. } => {
                        self.check_expansion(namespace, name, object).map_err(forbidden)?;
                    }
                }
                self.rules(namespace).check_claim(object).map_err(forbidden)
            }
            (Resource::Pod, Change::Create) => {
                let policy = self.state.pod_policy(namespace);
                let rules = self.rules(namespace);
                let refusal =
                    rules.fill_in(Mode::of(&policy), object).and_then(|()| rules.check(&object["spec"]));
                refusal.map_err(forbidden)?;
                self.judge_arrays(resource, namespace, name, object, warnings)?;
                self.judge_pod(namespace, name, object, warnings)?;
                match validate::filled_in(object) {
                    none if none.is_empty() => Ok(()),
                    errors => Err(ApiError::invalid(resource, name, &errors)),
                }
            }
            (Resource::Pod, Change::Update { before }) => {
                // What was filled in when it was made stays, whatever is said today.
                match pod_security::is_significant(before, object) {
                    true => self.judge_pod(namespace, name, object, warnings),
                    false => Ok(()),
                }
            }
            (Resource::Job | Resource::CronJob, _) => {
                // Of a Job that is there the arrays do not change, and what it began on counts.
                let is_judged = match change {
                    Change::Create => true,
                    Change::Update { before } => {
                        resource == Resource::CronJob && before.get("spec") != object.get("spec")
                    }
                };
                if is_judged {
                    self.judge_arrays(resource, namespace, name, object, warnings)?;
                }
                self.judge_template(resource, namespace, name, object, change, warnings)
            }
            (Resource::Namespace, _) => self.judge_labels(name, object, change, warnings),
            _ => Ok(()),
        }
    }
}

/// Whether what others give to a pod goes with what it asks for, as a LimitRange's default limit with a larger request does not.
pub(super) fn check_filled_in(pod: &Value) -> Result<(), String> {
    let errors: Vec<String> = validate::filled_in(pod).iter().map(ToString::to_string).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.join(", ")) }
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

fn invalid(field: &str, value: &str, detail: String) -> FieldError {
    FieldError::new(FieldErrorClass::Invalid, field, format!("{value:?}"), detail)
}

pub(super) fn errors(resource: Resource, object: &Value) -> Vec<FieldError> {
    let mut found = arrays::errors(resource, object);
    found.extend(match resource {
        Resource::CronJob => cron_job_errors(object),
        Resource::Job => rerun_error(object).into_iter().collect(),
        Resource::ValidatingAdmissionPolicy => policies::expression_errors(object),
        _ => Vec::new(),
    });
    found
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
        // Of a run whose draft is complete only the publication is left.
        Ok(set) if set.is_empty() && object["metadata"]["annotations"][ARRAY_RUN].is_null() => {
            refuse("it names no index")
        }
        Ok(_) => None,
    }
}

fn cron_job_errors(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &object["spec"];
    // That they must be there is said by the rules of the kind, and so is that a schedule has no zone.
    if let Some(schedule) = spec["schedule"].as_str().filter(|text| !text.is_empty()) {
        match Schedule::parse(schedule) {
            Ok(_) | Err(ParseError::TimeZone) => {}
            Err(error) => errors.push(invalid("spec.schedule", schedule, error.to_string())),
        }
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
