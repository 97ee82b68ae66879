//! `pods/eviction`, and the subresources of Kubernetes that are not served.

use serde_json::{Value, json};
use watchbell_api::node::Command;
use watchbell_api::types::pod_status::{ContainerState, Phase};

use crate::harness::{Harness, job};

fn eviction(path: &str, more: &Value) -> Value {
    let name = path.rsplit('/').next().unwrap();
    let mut object = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object
}

fn disruption(pod: &Value) -> Option<&Value> {
    pod["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == "DisruptionTarget")
}

#[test]
fn an_evicted_pod_says_so_until_it_is_gone() {
    let (h, uid, path) = Harness::with_running_pod();
    let body = eviction(&path, &json!({"deleteOptions": {"gracePeriodSeconds": 7}}));
    let answer = h.client.post(&format!("{path}/eviction"), &body).expect(201);
    assert_eq!(
        (&answer["kind"], &answer["status"], &answer["code"]),
        (&json!("Status"), &json!("Success"), &json!(201))
    );
    let grace = h.command(|command| match command {
        Command::Stop { uid: stopped, grace_seconds, .. } if stopped == uid => Some(grace_seconds),
        _ => None,
    });
    assert_eq!(grace, 7);
    let check = |pod: &Value| {
        let condition = disruption(pod).unwrap_or_else(|| panic!("{pod}"));
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("True"), &json!("EvictionByEvictionAPI"))
        );
        assert_eq!(condition["message"], "Eviction API: evicting");
        assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 7);
    };
    check(&h.client.get(&path).expect(200));
    // What the node says meanwhile does not take it back.
    h.report(uid, Phase::Running, ContainerState::Running { started_at: 2 });
    let pod = h.client.wait_for(&path, "reported", |a| {
        a.body["status"]["containerStatuses"][0]["state"]["running"]["startedAt"] == "1970-01-01T00:00:02Z"
    });
    check(&pod.body);
}

#[test]
fn evictions_are_checked() {
    let (h, _, path) = Harness::with_running_pod();
    let evict = format!("{path}/eviction");
    let post = |path: &str, body: &Value| h.client.post(path, body);
    let dry = eviction(&path, &json!({"deleteOptions": {"dryRun": ["All"]}}));
    post(&evict, &dry).expect(201);
    post(&format!("{evict}?dryRun=All"), &eviction(&path, &json!({}))).expect(201);
    let stale = eviction(&path, &json!({"deleteOptions": {"preconditions": {"uid": "other"}}}));
    post(&evict, &stale).expect_refusal(409, "Conflict", "Precondition failed: UID in precondition: other");
    let mut named = eviction(&path, &json!({}));
    named["metadata"]["name"] = "other".into();
    post(&evict, &named).expect_refusal(
        400,
        "BadRequest",
        "name in URL does not match name in Eviction object",
    );
    post(&evict, &job("a")).expect_refusal(400, "BadRequest", "the path takes Eviction of policy/v1");
    let unknown = eviction(&path, &json!({"spec": {}}));
    post(&format!("{evict}?fieldValidation=Strict"), &unknown).expect_refusal(
        400,
        "BadRequest",
        "unknown field \"spec\"",
    );
    let none = "/api/v1/namespaces/default/pods/none";
    post(&format!("{none}/eviction"), &eviction(none, &json!({}))).expect_refusal(
        404,
        "NotFound",
        "pods \"none\"",
    );
    h.client.get(&evict).expect_refusal(405, "MethodNotAllowed", "");
    // Nothing of it touched the pod.
    let pod = h.client.get(&path).expect(200);
    assert!(disruption(&pod).is_none() && pod["metadata"]["deletionTimestamp"].is_null(), "{pod}");
}

#[test]
fn what_is_not_served_says_what_to_do_instead() {
    let (h, _, path) = Harness::with_running_pod();
    let check = |method: &str, path: &str, words: &str| {
        h.client.call(method, path, &[], b"").expect_refusal(405, "MethodNotAllowed", words);
    };
    check("POST", &format!("{path}/binding"), "pods/binding is not served: this server binds pods itself");
    check("PATCH", &format!("{path}/ephemeralcontainers"), "look into it with `kubectl exec`");
    check("GET", &format!("{path}/portforward"), "pods/portforward is not served");
    check("GET", &format!("{path}/proxy/some/page"), "pods/proxy is not served");
    check("PATCH", &format!("{path}/resize"), "make a new one");
    check("GET", "/api/v1/nodes/watchbell/proxy/logs/", "nodes/proxy is not served");
    h.client.get(&format!("{path}/nonsense")).expect_refusal(404, "NotFound", "");
}

#[test]
fn discovery_names_what_is_done_with_pods() {
    let h = Harness::start();
    let core = h.client.get("/api/v1").expect(200);
    let subs: Vec<(&str, &str)> = core["resources"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|r| Some((r["name"].as_str()?.strip_prefix("pods/")?, r["kind"].as_str()?)))
        .collect();
    assert_eq!(
        subs,
        [
            ("admission", "Pod"),
            ("attach", "PodAttachOptions"),
            ("eviction", "Eviction"),
            ("exec", "PodExecOptions"),
            ("log", "Pod"),
            ("sandbox", "Pod"),
            ("status", "Pod"),
        ]
    );
    let eviction =
        core["resources"].as_array().unwrap().iter().find(|r| r["name"] == "pods/eviction").unwrap();
    assert_eq!((&eviction["group"], &eviction["version"]), (&json!("policy"), &json!("v1")));
}
