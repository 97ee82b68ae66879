//! What the audit journal says of the starts of containers: each once, with what it was started with, in the transaction that
//! knows of it.

use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::Uid;
use watchbell_api::node::{Assignment, Report};
use watchbell_api::types::pod_status::{ContainerState, PodStatus};

use super::fake_node::{Node, ended, running};
use super::{Bench, array};

const IMAGE: &str = "docker.io/library/busybox@sha256:0123456789abcdef";

fn settings(container: &str) -> Arc<Value> {
    Arc::new(json!({"container": container, "image": IMAGE, "capabilities": "none"}))
}

fn started(pod: &Assignment, settings: &Arc<Value>, host_ids: u32) -> Report {
    let settings = settings.clone();
    Report::Started { uid: pod.uid, container: 0, attempt: 0, host_ids: Some(host_ids), settings }
}

/// The details of the entries with this action, of the whole journal.
fn entries(bench: &Bench, action: &str) -> Vec<Value> {
    let bodies = bench.journal.audit.iter().map(|record| &record.body);
    bodies.filter(|body| body["action"] == action).map(|body| body["details"].clone()).collect()
}

fn starts(bench: &Bench) -> Vec<Value> {
    let lists = ["pods-started", "pods-ended"].map(|action| entries(bench, action)).concat();
    lists.iter().filter_map(|details| details["started"].as_array()).flatten().cloned().collect()
}

/// Pods of an array of `count` that the node was told to start.
fn pods(bench: &mut Bench, count: u32) -> (Node, Vec<Assignment>) {
    let mut node = Node::default();
    bench.create(array("a", count, count));
    bench.settle();
    node.obey(&std::mem::take(&mut bench.commands));
    let pods: Vec<Assignment> = node.pods.values().cloned().collect();
    assert_eq!(pods.len(), count as usize);
    (node, pods)
}

#[test]
fn an_array_has_its_settings_once_and_each_start_in_a_few_bytes() {
    let mut bench = Bench::new();
    let (_, pods) = pods(&mut bench, 40);
    let settings = settings("main");
    let before = bench.journal.audit.len();
    for (n, pod) in (0u32..).zip(&pods) {
        bench.world.report(started(pod, &settings, 1_000_000 + 65_536 * n), bench.at());
        bench.world.report(ended(pod, 0, bench.now), bench.at());
        if n % 10 == 9 {
            bench.step();
        }
    }
    bench.settle();
    let [confined] = &entries(&bench, "confined")[..] else { panic!("{:?}", entries(&bench, "confined")) };
    assert_eq!(confined["settings"], *settings);
    let [images] = &entries(&bench, "images-resolved")[..] else { panic!() };
    assert_eq!(images["images"], json!([IMAGE]));
    let starts = starts(&bench);
    assert_eq!(starts.len(), 40);
    for start in &starts {
        let index = start[0].as_u64().unwrap();
        assert_eq!(*start, json!([index, 0, 0, 0, confined["name"], start[5]]));
    }
    // What began and ended in one batch is one entry.
    assert_eq!(entries(&bench, "pods-started").len(), 0);
    let bytes: usize = bench.journal.audit[before..].iter().map(|r| r.body.to_string().len()).sum();
    assert!(bytes / 40 < 250, "{} bytes an index", bytes / 40);
}

#[test]
fn a_start_is_recorded_when_it_is_known_and_only_then() {
    let mut bench = Bench::new();
    let (_, pods) = pods(&mut bench, 2);
    let settings = settings("main");
    // The node's word alone changes nothing.
    bench.world.report(started(&pods[0], &settings, 7), bench.at());
    assert!(bench.step().is_empty());
    bench.world.report(running(&pods[0], bench.now), bench.at());
    let stage = bench.step();
    assert_eq!(
        stage.changes.iter().filter(|c| c.object().uid == pods[0].uid).count(),
        1,
        "in one transaction"
    );
    assert_eq!(entries(&bench, "pods-started").len(), 1);
    // Nor does it count twice, in whatever order it is said again.
    bench.world.report(started(&pods[0], &settings, 7), bench.at());
    bench.world.report(running(&pods[0], bench.now), bench.at());
    bench.world.report(ended(&pods[0], 0, bench.now), bench.at());
    bench.settle();
    assert_eq!(starts(&bench).len(), 1);
    // Without the node's word (a server that was away) it is recorded all the same, and says that nothing is known.
    bench.world.report(ended(&pods[1], 0, bench.now), bench.at());
    bench.settle();
    let index = pods[1].index;
    assert_eq!(starts(&bench)[1], json!([index, 0, 0, 0, null, null]));
}

#[test]
fn what_a_refused_batch_used_is_there_for_the_next() {
    let mut bench = Bench::new();
    let (_, pods) = pods(&mut bench, 1);
    let settings = settings("main");
    // The node says it once; the batch with the status is refused.
    bench.world.report(started(&pods[0], &settings, 7), bench.at());
    bench.step();
    bench.world.report(running(&pods[0], bench.now), bench.at());
    bench.world.settle(bench.at());
    let stage = bench.world.take_stage(bench.at());
    assert!(stage.audit.iter().any(|record| record.body["action"] == "confined"));
    bench.world.rollback(bench.at());
    assert_eq!(starts(&bench).len(), 0);
    bench.world.report(running(&pods[0], bench.now), bench.at());
    bench.settle();
    assert_eq!((entries(&bench, "confined").len(), starts(&bench).len()), (1, 1));
    assert_eq!(starts(&bench)[0][5], 7);
}

#[test]
fn other_settings_of_a_run_have_another_name_that_means_the_same_after_a_crash() {
    let mut bench = Bench::new();
    let (_, pods) = pods(&mut bench, 3);
    let names = |bench: &Bench| -> Vec<Value> {
        entries(bench, "confined").iter().map(|details| details["name"].clone()).collect()
    };
    for (pod, container) in pods.iter().zip(["main", "main", "other"]) {
        bench.world.report(started(pod, &settings(container), 1), bench.at());
        bench.world.report(running(pod, bench.now), bench.at());
    }
    bench.settle();
    let before = names(&bench);
    assert_eq!(before.len(), 2);
    assert_ne!(before[0], before[1]);
    bench.crash();
    bench.create(array("b", 1, 1));
    bench.settle();
    let mut node = Node::default();
    node.obey(&bench.commands);
    let pod = node.pods.values().next().cloned().unwrap();
    bench.world.report(started(&pod, &settings("main"), 1), bench.at());
    bench.world.report(running(&pod, bench.now), bench.at());
    bench.settle();
    assert_eq!(names(&bench)[2..], before[..1]);
}

#[test]
fn a_pod_of_its_own_has_its_images_starts_and_end_recorded() {
    let mut bench = Bench::new();
    let object = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ml"},
        "spec": {"containers": [{"name": "main", "image": "busybox"}]},
    });
    bench.create(object);
    bench.settle();
    let mut node = Node::default();
    node.obey(&bench.commands);
    let pod = node.pods.values().next().cloned().unwrap();
    bench.world.report(started(&pod, &settings("main"), 9), bench.at());
    bench.world.report(running(&pod, bench.now), bench.at());
    bench.settle();
    // It was restarted twice before the next word; of the run in between the node has told.
    for attempt in [1, 2] {
        let settings = settings("main");
        bench.world.report(
            Report::Started { uid: pod.uid, container: 0, attempt, host_ids: None, settings },
            bench.at(),
        );
    }
    let Report::Status { uid, mut status } = running(&pod, bench.now) else { unreachable!() };
    status.containers[0].restart_count = 2;
    bench.world.report(Report::Status { uid, status: status.clone() }, bench.at());
    bench.settle();
    // A run that waits to be restarted is none yet.
    status.containers[0].state = ContainerState::Waiting { reason: "CrashLoopBackOff".into(), message: None };
    status.containers[0].restart_count = 3;
    bench.world.report(Report::Status { uid, status }, bench.at());
    bench.settle();
    let runs: Vec<Value> = starts(&bench).iter().map(|start| start[3].clone()).collect();
    assert_eq!(runs, [0, 1, 2]);
    bench.world.report(ended(&pod, 3, bench.now), bench.at());
    bench.settle();
    let about: Vec<&Value> = bench.journal.audit.iter().map(|record| &record.body).collect();
    for action in ["images-resolved", "confined", "pods-started", "pods-ended"] {
        let entry = about.iter().find(|body| body["action"] == action).unwrap_or_else(|| panic!("{action}"));
        assert_eq!(
            (&entry["objectRef"]["resource"], &entry["objectRef"]["name"]),
            (&"pods".into(), &"p".into())
        );
    }
    assert_eq!(entries(&bench, "pods-ended")[0]["ended"], json!([[null, 0, "Failed", 3]]));
}

#[test]
fn a_start_that_failed_is_none() {
    let mut bench = Bench::new();
    let (_, pods) = pods(&mut bench, 1);
    let Report::Status { uid, mut status } = ended(&pods[0], 128, bench.now) else { unreachable!() };
    let PodStatus { containers, .. } = &mut *status;
    if let ContainerState::Terminated(end) = &mut containers[0].state {
        end.started_at = None;
    }
    bench.world.report(Report::Status { uid, status }, bench.at());
    bench.settle();
    assert_eq!(starts(&bench).len(), 0);
    // Word of a pod that nobody knows is nothing.
    bench.world.report(
        Report::Started {
            uid: Uid(0xdead),
            container: 0,
            attempt: 0,
            host_ids: None,
            settings: settings("main"),
        },
        bench.at(),
    );
    assert!(bench.step().is_empty());
}
