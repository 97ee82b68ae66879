//! `…/status` as clients write it.

use serde_json::{Value, json};
use watchbell_api::Uid;
use watchbell_api::types::pod_status::{ContainerState, Phase};

use crate::client::Answer;
use crate::harness::{Harness, job};

const STRATEGIC: &str = "application/strategic-merge-patch+json";
const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

fn running() -> (Harness, Uid, String) {
    let h = Harness::start();
    h.client.post("/apis/batch/v1/namespaces/default/jobs", &job("a")).expect(201);
    let (uid, pod) = h.started();
    h.report(uid, Phase::Running, ContainerState::Running { started_at: 1 });
    let path = format!("/api/v1/namespaces/default/pods/{pod}");
    h.client.wait_for(&path, "running", |answer| answer.body["status"]["phase"] == "Running");
    (h, uid, path)
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let list = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

fn warnings(answer: &Answer) -> String {
    let values = answer.headers.get_all("warning").iter().filter_map(|v| v.to_str().ok());
    values.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_clients_write_of_a_pod_stays_and_what_the_node_sees_does_too() {
    let (h, uid, path) = running();
    let status = format!("{path}/status");
    let own = json!({"type": "example.com/Warm", "status": "True", "reason": "Primed"});
    let patch = json!({"status": {"message": "by hand", "reason": "E2E", "conditions": [own]}});
    let answer = h.client.patch(&status, STRATEGIC, &patch);
    assert_eq!(warnings(&answer), "");
    let pod = answer.expect(200);
    assert_eq!((&pod["status"]["message"], &pod["status"]["reason"]), (&json!("by hand"), &json!("E2E")));
    assert_eq!(condition(&pod, "example.com/Warm"), &own);
    assert_eq!(condition(&pod, "Ready")["status"], "True");
    // A whole status is put: the node's part is not the client's to change, and he hears that.
    let mut put = h.client.get(&status).expect(200);
    put["status"]["phase"] = "Failed".into();
    put["status"]["conditions"].as_array_mut().unwrap().push(json!({"type": "Odd", "status": "False"}));
    let answer = h.client.put(&status, &put);
    assert!(
        warnings(&answer).contains("status.phase of a pod is what the node sees: it stays"),
        "{}",
        warnings(&answer)
    );
    let pod = answer.expect(200);
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(condition(&pod, "Odd")["status"], "False");
    let remove = json!([{"op": "remove", "path": "/status/message"}]);
    assert!(h.client.patch(&status, JSON, &remove).expect(200)["status"]["message"].is_null());
    // The node's next word leaves them, and so does a new start.
    h.report(uid, Phase::Running, ContainerState::Running { started_at: 2 });
    let pod = h.client.wait_for(&path, "reported", |a| {
        a.body["status"]["containerStatuses"][0]["state"]["running"]["startedAt"] == "1970-01-01T00:00:02Z"
    });
    assert_eq!(condition(&pod.body, "example.com/Warm"), &own);
    let h = Harness::start_in(h.stop());
    let pod = h.client.get(&path).expect(200);
    assert_eq!(condition(&pod, "example.com/Warm"), &own);
    assert_eq!(pod["metadata"]["name"], path.rsplit('/').next().unwrap());
}

#[test]
fn a_pod_may_be_said_to_be_disrupted() {
    let (h, _, path) = running();
    let target = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"});
    let patch = json!({"status": {"conditions": [target]}});
    let pod = h.client.patch(&format!("{path}/status"), STRATEGIC, &patch).expect(200);
    assert_eq!(condition(&pod, "DisruptionTarget")["reason"], "DeletionByTaintManager");
}

#[test]
fn a_status_of_a_pod_is_checked() {
    let (h, _, path) = running();
    let check = |conditions: Value, code: u16, words: &str| {
        let patch = json!({"status": {"conditions": conditions}});
        let answer = h.client.patch(&format!("{path}/status"), MERGE, &patch);
        let reason = if code == 422 { "Invalid" } else { "BadRequest" };
        answer.expect_refusal(code, reason, words);
    };
    check(json!([{"type": "", "status": "True"}]), 422, "status.conditions[0].type: Required value");
    check(
        json!([{"type": "A", "status": "True"}, {"type": "A", "status": "True"}]),
        422,
        "Duplicate value: \"A\"",
    );
    check(json!([{"type": 1, "status": "True"}]), 400, "cannot");
    let long = json!([{"type": "A", "status": "True", "message": "x".repeat(20_000)}]);
    check(long, 422, "may not be more than 16384 bytes");
    h.client.post(&format!("{path}/status"), &json!({})).expect_refusal(405, "MethodNotAllowed", "");
}

#[test]
fn the_status_of_every_kind_is_patched_and_applied() {
    let h = Harness::start();
    h.client.post("/apis/batch/v1/namespaces/default/jobs", &job("a")).expect(201);
    let mut cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}, "spec": {"schedule": "0 0 1 1 *"},
    });
    cron["spec"]["jobTemplate"]["spec"] = job("a")["spec"].clone();
    h.client.post("/apis/batch/v1/namespaces/default/cronjobs", &cron).expect(201);
    let check = |path: &str, kind: &str, patch: Value, at: &str, expect: Value| {
        let status = format!("{path}/status");
        let patch = json!({"status": patch});
        let got = h.client.patch(&status, MERGE, &patch).expect(200);
        assert_eq!(got.pointer(at), Some(&expect), "{got}");
        let api_version = got["apiVersion"].clone();
        let name = got["metadata"]["name"].clone();
        let mut applied = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
        applied["status"] = patch["status"].clone();
        let got =
            h.client.patch(&format!("{status}?fieldManager=other&force=true"), APPLY, &applied).expect(200);
        assert_eq!(got.pointer(at), Some(&expect), "{got}");
        let managers = got["metadata"]["managedFields"].as_array().unwrap();
        assert!(
            managers.iter().any(|m| m["manager"] == "other"
                && m["subresource"] == "status"
                && m["operation"] == "Apply"),
            "{managers:?}"
        );
        let read = h.client.get(&status).expect(200);
        assert_eq!(h.client.put(&status, &read).expect(200)["metadata"]["name"], name);
    };
    let time = "2026-01-02T03:04:05Z";
    check(
        "/apis/batch/v1/namespaces/default/cronjobs/c",
        "CronJob",
        json!({"lastScheduleTime": time}),
        "/status/lastScheduleTime",
        json!(time),
    );
    let condition =
        json!({"type": "Odd", "status": "True", "lastTransitionTime": time, "reason": "r", "message": "m"});
    check(
        "/api/v1/namespaces/default",
        "Namespace",
        json!({"conditions": [condition]}),
        "/status/conditions/0/type",
        json!("Odd"),
    );
    check(
        "/apis/batch/v1/namespaces/default/jobs/a",
        "Job",
        json!({"conditions": [condition]}),
        "/status/conditions/0/type",
        json!("Odd"),
    );
    let node = h.client.get("/api/v1/nodes").expect(200)["items"][0]["metadata"]["name"].clone();
    check(
        &format!("/api/v1/nodes/{}", node.as_str().unwrap()),
        "Node",
        json!({"capacity": {"example.com/dongle": "3"}}),
        "/status/capacity/example.com~1dongle",
        json!("3"),
    );
}
