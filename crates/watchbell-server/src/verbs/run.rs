//! The bodies of `cronjobs/trigger`, `cronjobs/suspend`, `jobs/rerun` and `dataarrays/rollback`: what an operator may say who may not say what runs.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST …/cronjobs/NAME/trigger` | none, or a `Trigger` | 201, the Job |
//! | `PATCH …/cronjobs/NAME/suspend` | a merge patch: `{"spec": {"suspend": true}}` | 200, the CronJob |
//! | `POST …/jobs/NAME/rerun` | none, or a `Rerun` | 201, the new Job |
//! | `POST …/dataarrays/NAME/rollback` | a `Rollback` | 200, the DataArray; `status.rollback` is there until it is done |
//!
//! ```text
//! {"apiVersion": "watchbell.dev/v1alpha1", "kind": "Trigger", "jobName": "nightly-now"}
//! {"apiVersion": "watchbell.dev/v1alpha1", "kind": "Rerun", "jobName": "train-again", "indexes": "Failed"}
//! {"apiVersion": "watchbell.dev/v1alpha1", "kind": "Rollback", "to": "good"}
//! ```
//!
//! `jobName` is the new Job's name; without one the server makes one up. `indexes` is `All` (the default) or `Failed`: those
//! that did not succeed. Fields that are not known are refused, whatever `fieldValidation` says: nothing of a Job can be said
//! here.

use serde_json::{Map, Value};
use watchbell_api::{ApiError, Reason};
use watchbell_core::request::{PatchKind, RerunIndexes, Schedule, Write};

pub(crate) const GROUP: &str = "watchbell.dev";
pub(crate) const VERSION: &str = "v1alpha1";
pub(crate) const TRIGGER: &str = "Trigger";
pub(crate) const RERUN: &str = "Rerun";
pub(crate) const ROLLBACK: &str = "Rollback";

pub(crate) fn trigger(body: Option<&Value>) -> Result<Write, ApiError> {
    let fields = fields(TRIGGER, body, &["jobName"])?;
    Ok(Write::Trigger { job_name: text(TRIGGER, &fields, "jobName")?.to_owned() })
}

pub(crate) fn rerun(body: Option<&Value>) -> Result<Write, ApiError> {
    let fields = fields(RERUN, body, &["jobName", "indexes"])?;
    let indexes = match text(RERUN, &fields, "indexes")? {
        "" | "All" => RerunIndexes::All,
        "Failed" => RerunIndexes::Failed,
        other => {
            return Err(ApiError::bad_request(format!(
                "indexes of the {RERUN} is {other:?}: it is All or Failed"
            )));
        }
    };
    Ok(Write::Rerun { job_name: text(RERUN, &fields, "jobName")?.to_owned(), indexes })
}

pub(crate) fn rollback(body: Option<&Value>) -> Result<Write, ApiError> {
    let fields = fields(ROLLBACK, body, &["to", "unsignedOk"])?;
    let unsigned_ok = match fields.get("unsignedOk") {
        None => false,
        Some(Value::Bool(said)) => *said,
        Some(_) => return Err(ApiError::bad_request("unsignedOk of the Rollback is true or false")),
    };
    match text(ROLLBACK, &fields, "to")? {
        "" => Err(ApiError::bad_request(
            "a Rollback needs to: the tag of a snapshot, its digest or at least four digits of one",
        )),
        to => Ok(Write::Rollback { to: to.to_owned(), unsigned_ok }),
    }
}

pub(crate) fn suspend(kind: PatchKind, body: &Value) -> Result<Write, ApiError> {
    if !matches!(kind, PatchKind::Merge | PatchKind::StrategicMerge) {
        return Err(ApiError::new(
            Reason::UnsupportedMediaType,
            "cronjobs/suspend takes a merge patch: application/merge-patch+json",
        ));
    }
    let spec = body.as_object().filter(|patch| patch.len() == 1).and_then(|patch| patch.get("spec"));
    let suspend = spec
        .and_then(Value::as_object)
        .filter(|spec| spec.len() == 1)
        .and_then(|spec| spec.get("suspend"))
        .and_then(Value::as_bool);
    match suspend {
        Some(true) => Ok(Write::Suspend(Schedule::Suspended)),
        Some(false) => Ok(Write::Suspend(Schedule::Running)),
        None => Err(ApiError::bad_request(
            "cronjobs/suspend changes spec.suspend alone: send {\"spec\": {\"suspend\": true}} or false; for anything else \
             patch the CronJob itself",
        )),
    }
}

/// The fields of a body of ours, with none that is not known.
fn fields(kind: &str, body: Option<&Value>, known: &[&str]) -> Result<Map<String, Value>, ApiError> {
    let map = match body {
        None | Some(Value::Null) => return Ok(Map::new()),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(ApiError::bad_request("the body is not a JSON object")),
    };
    let api_version = format!("{GROUP}/{VERSION}");
    for (field, expect) in [("kind", kind), ("apiVersion", &api_version)] {
        if let Some(value) = map.get(field)
            && value != expect
        {
            return Err(ApiError::bad_request(format!(
                "the {field} in the body is {value}, and the path takes {kind} of {api_version}"
            )));
        }
    }
    let unknown =
        |key: &&String| !matches!(key.as_str(), "kind" | "apiVersion") && !known.contains(&key.as_str());
    match map.keys().find(unknown) {
        Some(key) => Err(ApiError::bad_request(format!(
            "unknown field {key:?}: a {kind} has {}; what runs is what the object says",
            known.join(" and ")
        ))),
        None => Ok(map.clone()),
    }
}

fn text<'a>(kind: &str, fields: &'a Map<String, Value>, field: &str) -> Result<&'a str, ApiError> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(other) => {
            Err(ApiError::bad_request(format!("{field} of the {kind} is {other}: it is a string")))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operator_can_name_a_job_and_no_more() {
        let check = |made: Result<Write, ApiError>, expect: Result<&str, &str>| match (made, expect) {
            (Ok(write), Ok(expect)) => assert_eq!(format!("{write:?}"), expect),
            (Err(error), Err(words)) => assert!(error.message.contains(words), "{error}"),
            (made, expect) => panic!("{made:?} is not {expect:?}"),
        };
        check(trigger(None), Ok("Trigger { job_name: \"\" }"));
        check(trigger(Some(&json!({"jobName": "a"}))), Ok("Trigger { job_name: \"a\" }"));
        check(
            trigger(Some(&json!({"kind": "Trigger", "apiVersion": "watchbell.dev/v1alpha1"}))),
            Ok("Trigger { job_name: \"\" }"),
        );
        check(trigger(Some(&json!({"kind": "Job"}))), Err("the kind in the body is \"Job\""));
        check(trigger(Some(&json!({"spec": {}}))), Err("unknown field \"spec\""));
        check(trigger(Some(&json!({"jobName": 1}))), Err("jobName of the Trigger is 1"));
        check(trigger(Some(&json!([]))), Err("not a JSON object"));
        check(rerun(None), Ok("Rerun { job_name: \"\", indexes: All }"));
        check(
            rerun(Some(&json!({"indexes": "Failed", "jobName": "b"}))),
            Ok("Rerun { job_name: \"b\", indexes: Failed }"),
        );
        check(rerun(Some(&json!({"indexes": "1-3"}))), Err("it is All or Failed"));
        check(rerun(Some(&json!({"metadata": {}}))), Err("unknown field \"metadata\""));
        check(rollback(Some(&json!({"to": "good"}))), Ok("Rollback { to: \"good\", unsigned_ok: false }"));
        let unsigned = json!({"to": "good", "unsignedOk": true});
        check(rollback(Some(&unsigned)), Ok("Rollback { to: \"good\", unsigned_ok: true }"));
        check(rollback(Some(&json!({"to": "good", "unsignedOk": "yes"}))), Err("is true or false"));
        check(rollback(None), Err("a Rollback needs to"));
        check(rollback(Some(&json!({"to": "good", "force": true}))), Err("unknown field \"force\""));
    }

    #[test]
    fn a_suspension_is_that_one_field() {
        let check = |body: Value, expect: Option<Schedule>| {
            let made = suspend(PatchKind::Merge, &body);
            match (made, expect) {
                (Ok(Write::Suspend(schedule)), Some(expect)) => assert_eq!(schedule, expect),
                (Err(error), None) => assert!(error.message.contains("spec.suspend alone"), "{error}"),
                (made, expect) => panic!("{body}: {made:?} is not {expect:?}"),
            }
        };
        check(json!({"spec": {"suspend": true}}), Some(Schedule::Suspended));
        check(json!({"spec": {"suspend": false}}), Some(Schedule::Running));
        check(json!({"spec": {"suspend": true, "schedule": "@daily"}}), None);
        check(json!({"spec": {"suspend": true}, "metadata": {"labels": {"a": "b"}}}), None);
        check(json!({"spec": {"suspend": null}}), None);
        check(json!({"spec": {"suspend": "true"}}), None);
        check(json!({"spec": {}}), None);
        check(json!([{"op": "replace", "path": "/spec/suspend", "value": true}]), None);
        let json_patch = suspend(PatchKind::Json, &json!([])).unwrap_err();
        assert_eq!(json_patch.reason.code(), 415);
    }
}
