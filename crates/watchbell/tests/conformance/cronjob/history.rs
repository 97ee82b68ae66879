//! Finished Jobs, Jobs that vanish, and what events tell of them.

use serde_json::{Value, json};

use super::space;
use crate::fixtures::cron_job;
use crate::space::Space;

#[test]
fn should_not_emit_unexpected_warnings() {
    let Some(space) = space() else { return };
    space.create("cronjobs", &cron_job("concurrent", "@every 1s", "Allow", &Value::Null));
    space.until("there are two jobs", || (space.list("jobs", "").len() >= 2).then_some(()));
    space.until("one has finished", || (!space.jobs().1.is_empty()).then_some(()));
    let events = space.events_of(&space.get("cronjobs", "concurrent"));
    assert!(events.iter().any(|event| event["reason"] == "SuccessfulCreate"), "{events:#?}");
    let unexpected = |event: &&Value| event["reason"] == "MissingJob" || event["reason"] == "UnexpectedJob";
    assert_eq!(events.iter().find(unexpected), None);
    space.remove_cron("concurrent");
}

#[test]
fn should_remove_from_active_list_jobs_that_have_been_deleted() {
    let Some(space) = space() else { return };
    let mut cron = cron_job("forbid", "@every 1s", "Forbid", &json!(["sleep", "300"]));
    cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(0);
    space.create("cronjobs", &cron);
    let cron = space.wait_for_active("forbid", 1);
    let active = cron["status"]["active"].as_array().unwrap();
    assert_eq!(active.len(), 1);
    let job = active[0]["name"].as_str().unwrap();
    space.delete_and_wait(job);
    space.try_get("jobs", job).refused(404, "NotFound");
    space.until("it is off the list", || {
        let cron = space.get("cronjobs", "forbid");
        let active = cron["status"]["active"].as_array().cloned().unwrap_or_default();
        active.iter().all(|entry| entry["name"] != job).then_some(())
    });
    space.until("an event tells of the missing job", || {
        let events = space.events_of(&space.get("cronjobs", "forbid"));
        events.iter().any(|event| event["reason"] == "MissingJob").then_some(())
    });
    space.remove_cron("forbid");
}

/// One finished Job is kept, and it goes, pods and all, when the next one has finished.
fn ensure_history_limits(space: &Space, cron: &Value) {
    space.create("cronjobs", cron);
    let first = space.until("a job has finished", || space.jobs().1.pop());
    let name = first["metadata"]["name"].as_str().unwrap();
    space.until("the job is gone", || {
        let (_, finished) = space.jobs();
        finished.iter().all(|job| job["metadata"]["name"] != name).then_some(())
    });
    let uid = first["metadata"]["uid"].as_str().unwrap();
    space.until("so are its pods", || {
        space.list("pods", &format!("labelSelector=controller-uid%3D{uid}")).is_empty().then_some(())
    });
    let (_, finished) = space.jobs();
    assert_eq!(finished.len(), 1, "{finished:#?}");
    space.remove_cron(cron["metadata"]["name"].as_str().unwrap());
}

#[test]
fn should_delete_successful_finished_jobs_with_limit_of_one_successful_job() {
    let Some(space) = space() else { return };
    let mut cron = cron_job("successful-jobs-history-limit", "@every 2s", "Allow", &json!(["/bin/true"]));
    cron["spec"]["successfulJobsHistoryLimit"] = json!(1);
    cron["spec"]["failedJobsHistoryLimit"] = json!(0);
    ensure_history_limits(&space, &cron);
}

#[test]
fn should_delete_failed_finished_jobs_with_limit_of_one_job() {
    let Some(space) = space() else { return };
    let mut cron = cron_job("failed-jobs-history-limit", "@every 2s", "Allow", &json!(["/bin/false"]));
    cron["spec"]["successfulJobsHistoryLimit"] = json!(0);
    cron["spec"]["failedJobsHistoryLimit"] = json!(1);
    ensure_history_limits(&space, &cron);
}
