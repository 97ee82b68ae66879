//! When Jobs are started, and beside which others.

use std::time::Duration;

use serde_json::{Value, json};

use super::space;
use crate::fixtures::cron_job;

fn sleeps() -> Value {
    json!(["sleep", "300"])
}

/// Pods of these tests need not be given time to end.
fn hasty(mut cron: Value) -> Value {
    cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(0);
    cron
}

#[test]
fn should_schedule_multiple_jobs_concurrently() {
    let Some(space) = space() else { return };
    space.create("cronjobs", &hasty(cron_job("concurrent", "@every 1s", "Allow", &sleeps())));
    space.wait_for_active("concurrent", 2);
    assert!(space.jobs().0.len() >= 2);
    space.remove_cron("concurrent");
}

#[test]
fn should_not_schedule_jobs_when_suspended() {
    let Some(space) = space() else { return };
    let mut cron = cron_job("suspended", "@every 1s", "Allow", &sleeps());
    cron["spec"]["suspend"] = json!(true);
    space.create("cronjobs", &cron);
    for _ in 0..12 {
        let cron = space.get("cronjobs", "suspended");
        assert_eq!(cron["status"]["active"], Value::Null);
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(space.list("jobs", ""), Vec::<Value>::new());
    space.remove_cron("suspended");
}

#[test]
fn should_not_schedule_new_jobs_when_forbid_concurrent() {
    let Some(space) = space() else { return };
    space.create("cronjobs", &hasty(cron_job("forbid", "@every 1s", "Forbid", &sleeps())));
    let cron = space.wait_for_active("forbid", 1);
    assert_eq!(cron["status"]["active"].as_array().map(Vec::len), Some(1));
    for _ in 0..12 {
        let (active, _) = space.jobs();
        assert_eq!(active.len(), 1);
        let cron = space.get("cronjobs", "forbid");
        assert_eq!(cron["status"]["active"].as_array().map(Vec::len), Some(1));
        std::thread::sleep(Duration::from_millis(200));
    }
    space.remove_cron("forbid");
}

#[test]
fn should_replace_jobs_when_replace_concurrent() {
    let Some(space) = space() else { return };
    space.create("cronjobs", &hasty(cron_job("replace", "@every 2s", "Replace", &sleeps())));
    let cron = space.wait_for_active("replace", 1);
    assert_eq!(cron["status"]["active"].as_array().map(Vec::len), Some(1));
    let (active, _) = space.jobs();
    let first = active[0]["metadata"]["name"].as_str().unwrap();
    space.until("another Job takes its place", || {
        let mut alive = space.list("jobs", "");
        alive.retain(|job| job["metadata"]["deletionTimestamp"].is_null());
        assert!(alive.len() <= 1, "more than one job runs: {alive:#?}");
        (alive.len() == 1 && alive[0]["metadata"]["name"] != first).then_some(())
    });
    space.remove_cron("replace");
}

#[test]
fn should_be_able_to_schedule_after_more_than_100_missed_schedule() {
    let Some(space) = space() else { return };
    let mut cron = hasty(cron_job("concurrent", "@every 1s", "Forbid", &sleeps()));
    // Neither may come from a client.
    cron["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
    cron["status"]["lastScheduleTime"] = json!("2020-01-02T00:00:00Z");
    let made = space.create("cronjobs", &cron);
    assert_ne!(made["metadata"]["creationTimestamp"], "2020-01-01T00:00:00Z");
    assert_eq!(made["status"]["lastScheduleTime"], Value::Null);
    // This may: the status is written apart from the rest, and now more than 100 slots are missed.
    let missed = json!({"status": {"lastScheduleTime": "2020-01-02T00:00:00Z"}});
    space.patch("cronjobs", "concurrent/status", "merge-patch", &missed);
    space.wait_for_active("concurrent", 1);
    assert!(!space.jobs().0.is_empty());
    space.remove_cron("concurrent");
}

#[test]
fn should_set_the_cronjob_scheduled_timestamp_annotation_on_a_job() {
    let Some(space) = space() else { return };
    space.create("cronjobs", &hasty(cron_job("annotated", "@every 1s", "Forbid", &sleeps())));
    space.wait_for_active("annotated", 1);
    let (active, _) = space.jobs();
    let at = active[0]["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"].as_str();
    let at: jiff::Timestamp = at.unwrap().parse().unwrap();
    let cron = space.get("cronjobs", "annotated");
    let last: jiff::Timestamp = cron["status"]["lastScheduleTime"].as_str().unwrap().parse().unwrap();
    assert!(at <= last, "{at} {last}");
    space.remove_cron("annotated");
}

#[test]
fn should_support_timezone() {
    let Some(space) = space() else { return };
    let mut cron = cron_job("cronjob-with-timezone", "*/1 * * * ?", "Allow", &json!(["/bin/false"]));
    cron["spec"]["timeZone"] = json!("bad-time-zone");
    space.try_create("cronjobs", &cron).refused(422, "Invalid");
    cron["spec"]["timeZone"] = json!("Asia/Kathmandu");
    space.create("cronjobs", &cron);
}
