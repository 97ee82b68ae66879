//! `dataarrays`, their rollback, and what the indexes of a Job get of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::array::{ArrayFacts, RolledBack};
use watchbell_api::node::{Command, Report};

use crate::harness::{Harness, job};

const ARRAYS: &str = "/apis/watchbell.dev/v1alpha1/namespaces/default/dataarrays";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const HEAD: &str = "c0ffee0123456789";

/// `/t` of 24 by 8 elements, in chunks of 3 by 8.
fn facts() -> ArrayFacts {
    let array = json!({
        "zarr_format": 3, "node_type": "array", "shape": [24, 8], "data_type": "float32", "fill_value": 0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 8]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}], "dimension_names": ["time", "x"],
    });
    let group = br#"{"zarr_format": 3, "node_type": "group", "attributes": {}}"#.to_vec();
    let documents = BTreeMap::from([
        ("zarr.json".to_owned(), group),
        ("t/zarr.json".to_owned(), array.to_string().into_bytes()),
    ]);
    ArrayFacts {
        format: "zarr v3".into(),
        head: Some(HEAD.into()),
        head_at: Some(1_772_323_200),
        documents: Some(Arc::new(documents)),
        snapshots: 2,
        bytes: 20 << 10,
        ..ArrayFacts::default()
    }
}

/// With the array `obs`, whose store the node has made.
fn with_array() -> Harness {
    let h = Harness::start();
    let object = json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "DataArray", "metadata": {"name": "obs"},
        "spec": {"quota": "1Gi"},
    });
    h.client.post(ARRAYS, &object).expect(201);
    let quota = h.command(|command| match command {
        Command::KeepArray { name, spec, .. } if *name == *"obs" => Some(spec.quota_bytes),
        _ => None,
    });
    assert_eq!(quota, Some(1 << 30));
    (h.state.reports())(Report::Array {
        namespace: "default".into(),
        name: "obs".into(),
        facts: Some(Arc::new(facts())),
        error: None,
    });
    h.client.wait_for(&format!("{ARRAYS}/obs"), "known", |answer| answer.body["status"]["head"] == HEAD);
    h
}

fn writer(name: &str, into: u32) -> Value {
    let mut job = job(name);
    job["spec"]["completionMode"] = "Indexed".into();
    job["spec"]["completions"] = into.into();
    let uses =
        json!({"name": "obs", "mount": "/data", "mode": "write", "split": {"dim": "time", "into": into}});
    job["spec"]["template"]["metadata"] = json!({"annotations": {"watchbell.dev/array": uses.to_string()}});
    job
}

#[test]
fn an_array_is_shown_in_columns() {
    let h = with_array();
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = h.client.call("GET", &format!("{ARRAYS}/obs"), &[("Accept", accept)], b"").expect(200);
    let cells = &table["rows"][0]["cells"];
    assert_eq!(cells[0], "obs");
    assert_eq!(cells[1], "c0ffee012345");
    assert_eq!((&cells[3], &cells[4], &cells[6]), (&json!(2), &json!("20Ki"), &json!("zarr v3")));
    // The server writes what it knows; nobody else does.
    h.client.get(&format!("{ARRAYS}/obs/status")).expect(404);
    let fake = json!({"status": {"head": "fake"}});
    let kept = h.client.patch(&format!("{ARRAYS}/obs"), "application/merge-patch+json", &fake).expect(200);
    assert_eq!(kept["status"]["head"], HEAD);
}

#[test]
fn a_plan_is_judged_and_explained() {
    let h = with_array();
    // Of an array that its account may not use that alone is told.
    let made = h.client.post(JOBS, &writer("w", 9));
    let warning = made.header("warning").to_owned();
    made.expect(201);
    assert!(warning.contains("may not write dataarray") && !warning.contains("the most is"), "{warning}");
    let told = h.client.get(&format!("{JOBS}/w/admission")).expect(200);
    assert!(told["arrays"][0]["problem"].as_str().unwrap().contains("may not write dataarray"), "{told}");
    assert!(told["arrays"][0]["head"].is_null(), "{told}");
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": "writes"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "array-writer"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    });
    h.client.post(&format!("/apis/{group}/v1/namespaces/default/rolebindings"), &binding).expect(201);
    let refused = h.client.post(JOBS, &writer("fine", 9));
    refused.expect_refusal(422, "Invalid", "it cannot be split into 9; the most is 8");
    h.client.post(JOBS, &writer("v", 2)).expect(201);
    let told = h.client.get(&format!("{JOBS}/v/admission")).expect(200);
    let ranges = |index: usize| told["arrays"][0]["indices"][index]["elements"][0].clone();
    assert_eq!(ranges(0), json!({"dimension": "time", "start": 0, "stop": 12}));
    assert_eq!(ranges(1), json!({"dimension": "time", "start": 12, "stop": 24}));
    h.client.post(&format!("{JOBS}/w/admission"), &json!({})).expect_refusal(405, "MethodNotAllowed", "");
}

#[test]
fn a_rollback_is_judged_by_its_own_verb() {
    let h = with_array();
    let path = format!("{ARRAYS}/obs/rollback");
    h.bind("default", "view", "vera");
    let viewer = h.as_user("vera", &[]);
    viewer.post(&path, &json!({"to": "good"})).expect_refusal(403, "Forbidden", "rollback");
    h.bind("default", "edit", "ed");
    let editor = h.as_user("ed", &[]);
    editor.post(&path, &json!({})).expect_refusal(400, "BadRequest", "a Rollback needs to");
    editor.post(&path, &json!({"to": "../../etc"})).expect_refusal(400, "BadRequest", "must be a tag");
    editor.get(&path).expect_refusal(403, "Forbidden", "");
    h.client.get(&path).expect_refusal(405, "MethodNotAllowed", "");
    let asked = editor.post(&path, &json!({"to": "good"})).expect(200);
    assert_eq!(
        (&asked["status"]["rollback"]["to"], &asked["status"]["rollback"]["user"]),
        (&json!("good"), &json!("ed"))
    );
    let (to, user) = h.command(|command| match command {
        Command::RollbackArray { to, user, .. } => Some((to, user)),
        _ => None,
    });
    assert_eq!((&*to, &*user), ("good", "ed"));
    editor.post(&path, &json!({"to": "good"})).expect_refusal(
        409,
        "Conflict",
        "another rollback is under way",
    );
    (h.state.reports())(Report::ArrayRolledBack {
        namespace: "default".into(),
        name: "obs".into(),
        to,
        result: Ok(RolledBack { before: HEAD.into(), after: "5ca1ab1e".into() }),
    });
    let done = |answer: &crate::client::Answer| answer.body["status"].get("rollback").is_none();
    h.client.wait_for(&format!("{ARRAYS}/obs"), "rolled back", done);
}
