//! Jobs and CronJobs.

use serde_json::Value;

use super::{
    AGE, Column, NAME, age, at, column, human_duration, integer, is_true, list, name, number, seconds,
};
use super::{or_none, since, text, wide};
use crate::selector::Labels;

const CONTAINERS: Column = wide("Containers", "The names of the template's containers.");
const IMAGES: Column = wide("Images", "The images of the template's containers.");
const SELECTOR: Column = wide("Selector", "How its pods are told from others.");

pub(super) static JOB: [Column; 8] = [
    NAME,
    column("Status", "How the job stands."),
    column("Completions", "How many pods have succeeded, of how many."),
    column("Duration", "How long it has run, or ran."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) static CRON_JOB: [Column; 10] = [
    NAME,
    column("Schedule", "When it starts."),
    column("Timezone", "The time zone of the schedule; the server's own when there is none."),
    column("Suspend", "Whether it starts nothing for now."),
    integer("Active", "How many of its jobs run."),
    column("Last Schedule", "When it started last."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) fn job(object: &Value, now: i64) -> Vec<Value> {
    let started = seconds(text(object, &["status", "startTime"]));
    let ended = seconds(text(object, &["status", "completionTime"]));
    let duration = started.map_or_else(String::new, |started| human_duration(ended.unwrap_or(now) - started));
    let mut cells = vec![
        name(object),
        job_status(object).into(),
        completions(object).into(),
        duration.into(),
        age(object, now),
    ];
    cells.extend(template(&object["spec"]));
    cells
}

pub(super) fn cron_job(object: &Value, now: i64) -> Vec<Value> {
    let suspend = match at(object, &["spec", "suspend"]).and_then(Value::as_bool) {
        None => "<unset>",
        Some(true) => "True",
        Some(false) => "False",
    };
    let last = match text(object, &["status", "lastScheduleTime"]) {
        "" => "<none>".into(),
        time => since(time, now),
    };
    let mut cells = vec![
        name(object),
        text(object, &["spec", "schedule"]).into(),
        or_none(text(object, &["spec", "timeZone"])),
        suspend.into(),
        list(object, &["status", "active"]).len().into(),
        last.into(),
        age(object, now),
    ];
    cells.extend(template(&object["spec"]["jobTemplate"]["spec"]));
    cells
}

fn job_status(object: &Value) -> &'static str {
    let conditions = list(object, &["status", "conditions"]);
    if is_true(conditions, "Complete") {
        "Complete"
    } else if is_true(conditions, "Failed") {
        "Failed"
    } else if !text(object, &["metadata", "deletionTimestamp"]).is_empty() {
        "Terminating"
    } else if is_true(conditions, "Suspended") {
        "Suspended"
    } else if is_true(conditions, "FailureTarget") {
        "FailureTarget"
    } else if is_true(conditions, "SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(object: &Value) -> String {
    let succeeded = number(object, &["status", "succeeded"]);
    let parallelism = number(object, &["spec", "parallelism"]);
    match at(object, &["spec", "completions"]).and_then(Value::as_i64) {
        Some(completions) => format!("{succeeded}/{completions}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    }
}

/// The wide cells of a Job's spec.
fn template(spec: &Value) -> [Value; 3] {
    let containers = list(spec, &["template", "spec", "containers"]);
    let joined =
        |field: &str| containers.iter().map(|c| text(c, &[field])).collect::<Vec<_>>().join(",").into();
    let selector = match spec.get("selector") {
        None => String::new(),
        Some(selector) => Labels::from_object(selector).map_or_else(|_| "<error>".into(), |s| s.to_string()),
    };
    [joined("name"), joined("image"), or_none(&selector)]
}
