//! `cronjobs/trigger`, `cronjobs/suspend` and `jobs/rerun`: what runs is what the server has, whatever is sent.

use serde_json::{Value, json};
use watchbell_api::types::pod_status::{ContainerState, Phase, Terminated, TerminatedReason};

use crate::harness::{Harness, job};

const BATCH: &str = "/apis/batch/v1/namespaces/default";
const MERGE: &str = "application/merge-patch+json";

fn nightly() -> Value {
    let template = json!({"metadata": {"labels": {"team": "a"}}, "spec": job("x")["spec"]});
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 * * *", "suspend": true, "jobTemplate": template},
    })
}

#[test]
fn a_trigger_makes_the_job_of_the_server() {
    let h = Harness::start();
    let cron = h.client.post(&format!("{BATCH}/cronjobs"), &nightly()).expect(201);
    let path = format!("{BATCH}/cronjobs/nightly/trigger");
    let made = h.client.post(&path, &json!({"jobName": "now"})).expect(201);
    assert_eq!((&made["kind"], &made["metadata"]["name"]), (&json!("Job"), &json!("now")));
    assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], cron["metadata"]["uid"]);
    let stored = h.client.get(&format!("{BATCH}/jobs/now")).expect(200);
    assert_eq!(stored["metadata"]["uid"], made["metadata"]["uid"]);
    // Nothing need be sent, and nothing of the Job can be.
    let bare = h.client.call("POST", &path, &[], b"").expect(201);
    assert!(
        bare["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("nightly-manual-")),
        "{bare}"
    );
    let template = json!({"spec": {"template": {"spec": {"containers": []}}}});
    h.client.post(&path, &template).expect_refusal(400, "BadRequest", "unknown field \"spec\"");
    let job_for_a_trigger = h.client.post(&path, &job("evil"));
    job_for_a_trigger.expect_refusal(400, "BadRequest", "the kind in the body is \"Job\"");
    h.client.post(&path, &json!({"jobName": "now"})).expect_refusal(
        409,
        "AlreadyExists",
        "\"now\" already exists",
    );
    h.client.post(&path, &json!({"jobName": "Not A Name"})).expect_refusal(422, "Invalid", "metadata.name");
    let absent = h.client.post(&format!("{BATCH}/cronjobs/absent/trigger"), &json!({}));
    absent.expect_refusal(404, "NotFound", "cronjobs.batch \"absent\" not found");
    h.client.get(&path).expect_refusal(405, "MethodNotAllowed", "");
    let dry = h.client.post(&format!("{path}?dryRun=All"), &json!({"jobName": "tried"})).expect(201);
    assert_eq!(dry["metadata"]["name"], "tried");
    h.client.get(&format!("{BATCH}/jobs/tried")).expect(404);
    let jobs = h.client.get(&format!("{BATCH}/jobs")).expect(200);
    assert_eq!(jobs["items"].as_array().map(Vec::len), Some(2), "{jobs}");
}

#[test]
fn a_suspension_is_one_field_and_no_way_to_others() {
    let h = Harness::start();
    let before = h.client.post(&format!("{BATCH}/cronjobs"), &nightly()).expect(201);
    let path = format!("{BATCH}/cronjobs/nightly/suspend");
    let changed = h.client.patch(&path, MERGE, &json!({"spec": {"suspend": false}})).expect(200);
    assert_eq!((&changed["kind"], &changed["spec"]["suspend"]), (&json!("CronJob"), &json!(false)));
    let more = json!({"spec": {"suspend": true, "schedule": "* * * * *"}});
    h.client.patch(&path, MERGE, &more).expect_refusal(400, "BadRequest", "spec.suspend alone");
    let list = json!([{"op": "replace", "path": "/spec/schedule", "value": "* * * * *"}]);
    let by_list = h.client.patch(&path, "application/json-patch+json", &list);
    by_list.expect_refusal(415, "UnsupportedMediaType", "merge patch");
    h.client.put(&path, &nightly()).expect_refusal(405, "MethodNotAllowed", "");
    let mut after = h.client.get(&format!("{BATCH}/cronjobs/nightly")).expect(200);
    assert_eq!(after["spec"]["suspend"], false);
    after["spec"]["suspend"] = true.into();
    assert_eq!(after["spec"], before["spec"]);
}

#[test]
fn a_rerun_is_of_a_job_that_ended() {
    let h = Harness::start();
    h.client.post(&format!("{BATCH}/jobs"), &job("once")).expect(201);
    let (uid, _) = h.started();
    let path = format!("{BATCH}/jobs/once/rerun");
    h.client.post(&path, &json!({})).expect_refusal(409, "Conflict", "it has not ended");
    let end = Terminated {
        exit_code: 0,
        signal: None,
        reason: TerminatedReason::Completed,
        message: None,
        started_at: Some(1),
        finished_at: 2,
    };
    h.report(uid, Phase::Succeeded, ContainerState::Terminated(end));
    h.client.wait_for(&format!("{BATCH}/jobs/once"), "complete", |a| a.body["status"]["succeeded"] == 1);
    let wrong = h.client.post(&path, &json!({"indexes": "0-3"}));
    wrong.expect_refusal(400, "BadRequest", "it is All or Failed");
    h.client.post(&path, &json!({"indexes": "Failed"})).expect_refusal(409, "Conflict", "no index is left");
    let again = h.client.post(&path, &json!({"jobName": "twice"})).expect(201);
    assert_eq!(again["metadata"]["annotations"]["watchbell.dev/rerun-of"], "once");
    h.client.get(&format!("{BATCH}/jobs/twice")).expect(200);
}
