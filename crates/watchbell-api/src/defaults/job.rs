//! Defaults of `batch/v1`.

use serde_json::{Value, json};

use crate::array::ARRAY_COMPLETIONS;

use super::{Object, child, child_or_new, fill, items, pod};

/// By this label a template is known to carry the labels that the server generates.
const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";

pub(super) fn job(object: &mut Object) {
    follow_plan(object);
    let spec = child_or_new(object, "spec");
    let is_set = |spec: &Object, field: &str| spec.get(field).is_some_and(|v| !v.is_null());
    // Only a Job that says neither is a single run; parallelism alone makes a work queue without a fixed count.
    if !is_set(spec, "parallelism") && !is_set(spec, "completions") {
        spec.insert("completions".into(), json!(1));
    }
    fill(spec, "parallelism", || json!(1));
    let backoff_limit = if is_set(spec, "backoffLimitPerIndex") { i32::MAX } else { 6 };
    fill(spec, "backoffLimit", || json!(backoff_limit));
    default(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", || json!(false));
    let replacement = if is_set(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    default(spec, "podReplacementPolicy", replacement);
    fill(spec, "manualSelector", || json!(false));
    shared_spec(spec);

    // The labels of the template become the Job's own, when it has none. On create that waits until the server has put
    // its own labels there.
    let is_manual = spec.get("manualSelector") == Some(&Value::Bool(true));
    let labels = spec.get("template").and_then(|t| t["metadata"]["labels"].as_object()).cloned();
    if let Some(labels) = labels.filter(|labels| is_manual || labels.contains_key(CONTROLLER_UID)) {
        let metadata = child_or_new(object, "metadata");
        if metadata.get("labels").and_then(Value::as_object).is_none_or(Object::is_empty) {
            metadata.insert("labels".into(), Value::Object(labels));
        }
    }
}

/// The Job inside is defaulted when it is made; until then only its pod template is.
pub(super) fn cron_job(object: &mut Object) {
    let spec = child_or_new(object, "spec");
    fill(spec, "concurrencyPolicy", || "Allow".into());
    fill(spec, "suspend", || json!(false));
    fill(spec, "successfulJobsHistoryLimit", || json!(3));
    fill(spec, "failedJobsHistoryLimit", || json!(1));
    let template = child_or_new(spec, "jobTemplate");
    follow_plan(template);
    child_or_new(template, "metadata");
    shared_spec(child_or_new(template, "spec"));
}

/// Completions that follow the plan of an array are not for the author to count; until there is a plan they are one.
fn follow_plan(job: &mut Object) {
    let is_auto = job.get("metadata").is_some_and(|m| m["annotations"][ARRAY_COMPLETIONS] == "auto");
    if let Some(spec) =
        child(job, "spec").filter(|spec| is_auto && spec.get("completionMode") == Some(&"Indexed".into()))
    {
        fill(spec, "completions", || json!(1));
    }
}

/// What a Job has in common with the one inside a CronJob.
fn shared_spec(spec: &mut Object) {
    if let Some(policy) = child(spec, "podFailurePolicy") {
        for rule in items(policy, "rules") {
            for pattern in items(rule, "onPodConditions") {
                fill(pattern, "status", || "True".into());
            }
        }
    }
    let template = child_or_new(spec, "template");
    child_or_new(template, "metadata");
    pod::spec(child_or_new(template, "spec"));
}

/// As [`fill`], for a text whose empty value is refused instead of taken for none.
fn default(object: &mut Object, field: &str, value: &str) {
    let slot = object.entry(field).or_insert(Value::Null);
    if slot.is_null() {
        *slot = value.into();
    }
}
