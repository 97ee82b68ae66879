//! What objects say of arrays: judged when they come, and again before pods are made.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::array::{ARRAY, ARRAY_COMPLETIONS, ARRAY_GATE};
use watchbell_api::error::FieldErrorClass;
use watchbell_api::{ApiError, FieldError, Resource};

use crate::arrays::{
    ARRAY_DRAFT, ARRAY_GATE_FOR, ARRAY_RUN, ARRAY_USER, COMPARISONS_MAX, JobArrays, NotPlanned,
    OWN_ANNOTATIONS, Uses, Verdicts, is_auto, unplannable,
};
use crate::controller::job::ConditionKind;
use crate::service_account::{account_named, account_of};
use crate::world::World;
use crate::world::object::{Head, Stored};
use crate::world::podsecurity::{at_steps, pod_of};

/// Writes what the server alone says of an object: nothing of it comes from a client.
pub(in crate::world) fn annotate_own(
    resource: Resource,
    object: &mut Value,
    own: BTreeMap<&'static str, String>,
    user: &str,
) {
    if !matches!(resource, Resource::Job | Resource::CronJob) {
        return;
    }
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        OWN_ANNOTATIONS.iter().for_each(|key| drop(annotations.shift_remove(*key)));
    }
    let uses_arrays = array_annotation(resource, object).is_some();
    // A gate need not look at arrays itself.
    if !uses_arrays && !own.contains_key(ARRAY_GATE_FOR) {
        return;
    }
    let user = own.get(ARRAY_USER).map_or(user, String::as_str).to_owned();
    let annotations = &mut object["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = json!({});
    }
    for (key, value) in own {
        if uses_arrays || key == ARRAY_GATE_FOR {
            annotations[key] = value.into();
        }
    }
    if uses_arrays {
        annotations[ARRAY_USER] = user.into();
    }
}

/// The same when an object changes. Who changes what a CronJob runs answers for it from then on.
pub(in crate::world) fn keep_own_annotations(
    resource: Resource,
    before: &Value,
    object: &mut Value,
    user: &str,
) {
    if !matches!(resource, Resource::Job | Resource::CronJob) {
        return;
    }
    let mut own: BTreeMap<&'static str, String> = BTreeMap::new();
    for key in OWN_ANNOTATIONS {
        if let Some(value) = before["metadata"]["annotations"][key].as_str() {
            own.insert(key, value.to_owned());
        }
    }
    if resource == Resource::CronJob && before["spec"]["jobTemplate"] != object["spec"]["jobTemplate"] {
        own.remove(ARRAY_USER);
    }
    annotate_own(resource, object, own, user);
}

/// What of arrays may not change once a Job or a pod is there: its plan, its draft and its rights follow from it.
pub(in crate::world) fn array_changes(resource: Resource, before: &Value, object: &Value) -> Vec<FieldError> {
    let Some((steps, prefix)) = pod_of(resource).filter(|_| resource != Resource::CronJob) else {
        return Vec::new();
    };
    let template = |object: &Value| at_steps(object, steps)["metadata"]["annotations"][ARRAY].clone();
    let own = |object: &Value, key: &str| object["metadata"]["annotations"][key].clone();
    let mut errors = Vec::new();
    let mut refuse = |field: String, detail: &str| {
        errors.push(FieldError::new(FieldErrorClass::Forbidden, field, "", detail.to_owned()));
    };
    if template(before) != template(object) {
        refuse(format!("{prefix}metadata.annotations[{ARRAY}]"), "may not change once the object is there");
    }
    // A gate whose completions are taken away would be complete at once.
    let is_gate = own(before, ARRAY_GATE_FOR).is_string();
    if resource != Resource::Job || (template(before).is_null() && !is_gate) {
        return errors;
    }
    for key in [ARRAY_GATE, ARRAY_COMPLETIONS] {
        if own(before, key) != own(object, key) {
            refuse(format!("metadata.annotations[{key}]"), "may not change once the Job is there");
        }
    }
    if before["spec"]["completions"] != object["spec"]["completions"] {
        refuse(
            "spec.completions".to_owned(),
            match is_gate {
                true => "the Job is a gate: it completes with what it began with",
                false => {
                    "the chunks of the Job's arrays are divided among its completions: they may not change"
                }
            },
        );
    }
    errors
}

/// The annotation of an object's pods.
fn array_annotation(resource: Resource, object: &Value) -> Option<&str> {
    let (steps, _) = pod_of(resource)?;
    at_steps(object, steps)["metadata"]["annotations"][ARRAY].as_str()
}

impl World {
    /// Sets the completions of a new Job that follow the plan.
    pub(in crate::world) fn follow_plan(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        object: &mut Value,
    ) -> Result<(), ApiError> {
        if resource != Resource::Job || !is_auto(object) {
            return Ok(());
        }
        // What is wrong with it is said with all else that is.
        let Some(Ok(uses)) = Uses::of(&object["spec"]["template"]["metadata"]["annotations"]) else {
            return Ok(());
        };
        let mut comparisons = COMPARISONS_MAX;
        for one in uses.list.iter().filter(|one| one.split.is_some()) {
            let refuse = |why: &str| {
                let detail = format!("array {:?}: {why}", one.name);
                let field = format!("metadata.annotations[{ARRAY_COMPLETIONS}]");
                let error = FieldError::new(FieldErrorClass::Invalid, field, "\"auto\"", detail);
                ApiError::invalid(resource, name, &[error])
            };
            // What an array is like is told to nobody who may not use it.
            let account = account_named(&object["spec"]["template"]["spec"]);
            self.state.array_right(namespace, account, one).map_err(|why| refuse(&why))?;
            let Some(known) = self.state.array(namespace, &one.name) else {
                return Err(refuse("nothing is known of it, so there is no plan to follow"));
            };
            let indices = known.indices(one, &mut comparisons);
            let indices = indices.map_err(|why| refuse(&why.to_string()))?;
            if let Some(indices) = indices {
                object["spec"]["completions"] = indices.into();
                return Ok(());
            }
        }
        Ok(())
    }

    /// Judges what an object that is to be stored says of arrays by what is known of them and who may use them. Only a plan
    /// that no run could ever follow refuses a Job; the rest is warned of, and keeps its pods waiting. Of an array that may not be
    /// used that alone is told: neither its plan nor whether it is there.
    pub(in crate::world) fn judge_arrays(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        object: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let Some((steps, prefix)) = pod_of(resource) else { return Ok(()) };
        let template = at_steps(object, steps);
        let Some(Ok(uses)) = Uses::of(&template["metadata"]["annotations"]) else { return Ok(()) };
        let field = format!("{prefix}metadata.annotations[{ARRAY}]");
        let job = match resource {
            Resource::CronJob => &object["spec"]["jobTemplate"],
            _ => object,
        };
        // The draft that it goes on with, or looks at, has its own base.
        let has_base = own(object, ARRAY_RUN).or(own(object, ARRAY_DRAFT)).is_some();
        let account = account_named(&template["spec"]);
        let refused: BTreeMap<&str, String> = uses
            .list
            .iter()
            .filter_map(|one| {
                Some((one.name.as_str(), self.state.array_right(namespace, account, one).err()?))
            })
            .collect();
        if !has_base {
            let known = |array: &str| match refused.contains_key(array) {
                true => None,
                false => self.state.array(namespace, array).map(|known| &**known),
            };
            let errors = unplannable(resource, object, known);
            if !errors.is_empty() {
                return Err(ApiError::invalid(resource, name, &errors));
            }
        }
        for one in &uses.list {
            let why = match (refused.get(one.name.as_str()), self.state.array(namespace, &one.name)) {
                (Some(why), _) => why.clone(),
                (None, None) => not_known(&one.name),
                (None, Some(known)) if known.facts.head.is_none() => {
                    format!("dataarray {:?}: {}", one.name, NotPlanned::NoSnapshot)
                }
                (None, Some(_)) => continue,
            };
            if resource == Resource::Pod {
                return Err(ApiError::forbidden(resource, name, &format!("{field}: {why}")));
            }
            warnings.push(format!("{field}: no pod of it starts: {why}"));
        }
        if let Some(gate) = job["metadata"]["annotations"][ARRAY_GATE].as_str()
            && self.get(Resource::CronJob, namespace, gate).is_none()
        {
            warnings.push(format!(
                "{}metadata.annotations[{ARRAY_GATE}]: nothing is published before there is a CronJob {gate:?}",
                if resource == Resource::CronJob { "spec.jobTemplate." } else { "" }
            ));
        }
        Ok(())
    }

    /// Whether pods of the Job may be made now.
    pub(in crate::world) fn admit_arrays(&mut self, job: &Arc<Stored>, now: Timestamp) -> Result<(), String> {
        let Some(facts) = job.facts().job() else { return Ok(()) };
        let Some(arrays) = &facts.arrays else { return Ok(()) };
        // Once it has begun, what it began on counts, wherever the head is, and the array stays until it has ended.
        let completions = (!has_begun(job)).then_some(facts.spec.completions.unwrap_or(1));
        let Some(runtime) = self.jobs.get_mut(&job.uid) else { return Ok(()) };
        let mut plans = std::mem::take(&mut runtime.array_plans);
        let refused = self.arrays_refusal(&job.namespace, arrays, completions, &mut plans);
        let Some(runtime) = self.jobs.get_mut(&job.uid) else { return Ok(()) };
        runtime.array_plans = plans;
        if runtime.arrays_refused != refused {
            runtime.arrays_refused.clone_from(&refused);
            if let Some(why) = &refused {
                self.audit_run(
                    job,
                    "array-refused",
                    json!({"uid": job.uid.to_string(), "at": "start", "message": why}),
                    now,
                );
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Why a pod that waited may not use its arrays any more. Those of a Job that has begun stay until it has ended.
    pub(in crate::world) fn arrays_refused_at_start(&self, pod: &Stored) -> Option<String> {
        let right = |account: &str, uses: &Uses| {
            let may = |one| self.state.array_right(&pod.namespace, account, one).err();
            uses.list.iter().find_map(may)
        };
        if let Some(of_job) = pod.array_pod() {
            of_job.template.arrays.as_ref()?;
            let runtime = self.jobs.get(&of_job.template.job_uid)?;
            let job = self.get_at(Resource::Job, &runtime.at)?;
            let arrays = job.facts().job()?.arrays.as_ref()?;
            return right(&arrays.service_account, &arrays.uses);
        }
        let uses = uses_of_pod(pod)?;
        let account = pod.pod_spec().map_or("default", |spec| account_of(spec));
        let goes = |name: &str| {
            let object = self.get(Resource::DataArray, &pod.namespace, name);
            object.is_some_and(|object| object.deletion.is_some())
        };
        right(account, &uses).or_else(|| {
            let one = uses.list.iter().find(|one| goes(&one.name))?;
            Some(format!("dataarray {:?} is being deleted", one.name))
        })
    }

    /// `completions`: the Job has not begun. The plan is to be looked at, and an array that is being deleted gets no more users.
    fn arrays_refusal(
        &self,
        namespace: &str,
        arrays: &JobArrays,
        completions: Option<u32>,
        plans: &mut Verdicts,
    ) -> Option<String> {
        let has_base = arrays.run.is_some() || arrays.draft_of.is_some();
        let mut comparisons = COMPARISONS_MAX;
        arrays.uses.list.iter().enumerate().find_map(|(position, one)| {
            if let Err(why) = self.state.array_right(namespace, &arrays.service_account, one) {
                return Some(why);
            }
            let object = self.get(Resource::DataArray, namespace, &one.name);
            if completions.is_some() && object.is_some_and(|object| object.deletion.is_some()) {
                return Some(format!("dataarray {:?} is being deleted", one.name));
            }
            let Some(known) = self.state.array(namespace, &one.name) else {
                return Some(not_known(&one.name));
            };
            let completions = completions?;
            let plan = || known.plan(one, completions, &mut comparisons).map(drop);
            match plans.of(position, known, plan) {
                Ok(()) | Err(NotPlanned::TooLarge) => None,
                Err(NotPlanned::Illegal(_)) if has_base => None,
                Err(why) => Some(format!("dataarray {:?}: {why}", one.name)),
            }
        })
    }
}

/// Whether a Job has had pods, or is done with them: its run may keep something of its arrays.
pub(super) fn has_begun(job: &Stored) -> bool {
    let (Some(facts), Some(status)) = (job.facts().job(), job.job_status()) else { return false };
    // A rerun counts from the start what an earlier Job did.
    let inherited = facts
        .rerun
        .as_ref()
        .map_or(0, |rerun| u64::from(facts.spec.completions.unwrap_or(0)).saturating_sub(rerun.len()));
    status.active + status.terminating + status.failed > 0
        || u64::from(status.succeeded) > inherited
        || status.condition(&ConditionKind::SuccessCriteriaMet).is_some()
}

/// The arrays of a pod that no Job made.
pub(super) fn uses_of_pod(pod: &Stored) -> Option<Uses> {
    let Head::Json(_) = &pod.head else { return None };
    Uses::of(&pod.render()["metadata"]["annotations"])?.ok()
}

fn own<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}

fn not_known(array: &str) -> String {
    format!("dataarray {array:?} is not there, or its store was not looked at yet")
}
