//! `pods/log`.

use std::io::Read;
use std::sync::atomic::Ordering;

use serde_json::json;
use watchbell_api::Uid;
use watchbell_api::types::pod_status::{ContainerState, Phase};

use crate::harness::{Harness, job};

const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";

fn running() -> (Harness, Uid, String) {
    let h = Harness::start();
    h.client.post(JOBS, &job("a")).expect(201);
    let (uid, pod) = h.started();
    let path = format!("/api/v1/namespaces/default/pods/{pod}");
    h.client.get(&format!("{path}/log")).expect_refusal(
        400,
        "BadRequest",
        &format!("container \"main\" in pod \"{pod}\" is waiting to start"),
    );
    h.report(uid, Phase::Running, ContainerState::Running { started_at: 1 });
    h.client.wait_for(&path, "running", |answer| answer.body["status"]["phase"] == "Running");
    (h, uid, format!("{path}/log"))
}

#[test]
fn logs_come_as_text() {
    let (h, uid, path) = running();
    h.logs.texts.lock().unwrap().insert((uid, 0), b"one\ntwo\n".to_vec());
    let answer = h.client.get(&format!("{path}?tailLines=5&timestamps=true&limitBytes=100&container=main"));
    assert_eq!((answer.code, answer.text.as_str()), (200, "one\ntwo\n"));
    assert_eq!(answer.header("content-type"), "text/plain");
    let asked = h.logs.asked.lock().unwrap().last().unwrap().clone();
    assert_eq!((asked.pod_uid, asked.container, asked.restart), (uid, 0, 0));
    assert_eq!((asked.tail_lines, asked.limit_bytes, asked.timestamps), (Some(5), Some(100), true));
    assert!(asked.log.is_some() && !asked.follow);
    h.client.get(&format!("{path}?container=x")).expect_refusal(
        400,
        "BadRequest",
        "container x is not valid for pod",
    );
    h.client.get(&format!("{path}?previous=true")).expect_refusal(
        400,
        "BadRequest",
        "previous terminated container \"main\"",
    );
    h.client.get(&format!("{path}?tailLines=-1")).expect_refusal(422, "Invalid", "tailLines");
    h.client.get("/api/v1/namespaces/default/pods/none/log").expect_refusal(
        404,
        "NotFound",
        "pods \"none\" not found",
    );
    h.client.post(&path, &job("x")).expect_refusal(405, "MethodNotAllowed", "");
}

/// Owner references are what a client writes: they open nobody else's log.
#[test]
fn a_pod_has_no_log_of_the_job_that_it_names_as_its_owner() {
    let h = Harness::start();
    let uid = h.client.post(JOBS, &job("a")).expect(201)["metadata"]["uid"].clone();
    let (of_job, _) = h.started();
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": job("a")["spec"]["template"]["spec"],
    });
    pod["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "example.com/v1", "kind": "Workflow", "name": "w", "uid": uid, "controller": true},
    ]);
    h.client.post("/api/v1/namespaces/default/pods", &pod).expect(201);
    let (own, _) = h.started();
    assert_ne!(own, of_job);
    h.report(own, Phase::Running, ContainerState::Running { started_at: 1 });
    let path = "/api/v1/namespaces/default/pods/p";
    h.client.wait_for(path, "running", |answer| answer.body["status"]["phase"] == "Running");
    h.logs.texts.lock().unwrap().insert((own, 0), b"mine\n".to_vec());
    assert_eq!(h.client.get(&format!("{path}/log")).text, "mine\n");
    let asked = h.logs.asked.lock().unwrap().last().unwrap().clone();
    assert_eq!((asked.pod_uid, asked.log), (own, None));
}

#[test]
fn followed_logs_end_with_their_container() {
    let (h, uid, path) = running();
    h.logs.texts.lock().unwrap().insert((uid, 0), b"line\n".to_vec());
    let mut response = h.client.open("GET", &format!("{path}?follow=true"), &[], b"");
    assert_eq!(response.status(), 200);
    h.logs.ended.store(true, Ordering::SeqCst);
    assert_eq!(response.body_mut().read_to_string().unwrap(), "line\n");
}

#[test]
fn followed_logs_end_with_the_server() {
    let (h, uid, path) = running();
    h.logs.texts.lock().unwrap().insert((uid, 0), b"line\n".to_vec());
    let mut response = h.client.open("GET", &format!("{path}?follow=true"), &[], b"");
    let mut reader = response.body_mut().as_reader();
    let mut line = [0; 5];
    reader.read_exact(&mut line).unwrap();
    h.stop();
    assert_eq!(reader.read(&mut line).unwrap(), 0);
}

#[test]
fn a_log_that_is_gone_is_said_so() {
    let (h, _, path) = running();
    h.client.get(&path).expect_refusal(404, "NotFound", "the log of pod");
}
