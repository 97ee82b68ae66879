//! Where pods may connect to: at their start, and from when on it is something else.

use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::network::{
    ConnectionAt, ConnectionEnd, ConnectionNews, EGRESS_NAMES, EgressWire, Reached, Traffic,
};
use watchbell_api::node::{Command, Report};
use watchbell_api::{Resource, Uid};

use super::fake_node::{Node, ended, running};
use super::{Bench, array, merge, pod, uid_of};
use crate::egress::{Egress, To, WIRE_BYTES_MAX};
use crate::request::Propagation;

/// For the pods with the label `app: APP`, or all.
fn policy(name: &str, app: &str, names: &Value) -> Value {
    let labels = if app.is_empty() { json!({}) } else { json!({"matchLabels": {"app": app}}) };
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "annotations": {EGRESS_NAMES: names.to_string()}},
        "spec": {"podSelector": labels, "policyTypes": ["Egress"]},
    })
}

fn labelled(name: &str, app: &str) -> Value {
    let mut object = pod(name);
    object["metadata"]["labels"] = json!({"app": app});
    object
}

/// Names that a pod may connect to.
fn shown(egress: Option<&EgressWire>) -> Option<Vec<String>> {
    let egress = Egress::from_wire(egress?).expect("what the world makes can be read");
    let name = |to: &To| match to {
        To::Name(name) => name.to_string(),
        other => format!("{other:?}"),
    };
    Some(egress.rules.iter().map(|rule| name(&rule.to)).collect())
}

impl Bench {
    /// What was told of pods since this was asked last: `start` or `change`, the pod, where it may connect to.
    fn doors(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for command in std::mem::take(&mut self.commands) {
            let (what, uid, egress) = match &command {
                Command::Start(pod) => ("start", pod.uid, pod.egress.as_ref()),
                Command::ChangeEgress { uid, egress } => ("change", *uid, egress.as_ref()),
                _ => continue,
            };
            let snapshot = self.world.snapshot();
            let pod = snapshot.list(Resource::Pod, None, None).find(|pod| pod.uid == uid).expect("a pod");
            told.push(format!("{what} {} {:?}", pod.name, shown(egress).unwrap_or(vec!["-".into()])));
        }
        told.sort();
        told
    }
}

#[test]
fn a_pod_starts_with_what_the_policies_that_select_it_open() {
    let mut bench = Bench::new();
    bench.create(policy("b", "", &json!(["all.org:443"])));
    bench.create(policy("a", "x", &json!(["x.org:443", "*.x.org:80"])));
    let mut ingress = policy("in", "", &json!([]));
    ingress["spec"] = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
    bench.create(ingress);
    bench.create(labelled("one", "x"));
    bench.create(labelled("two", "y"));
    let mut host = labelled("host", "x");
    host["spec"]["hostNetwork"] = true.into();
    bench.create(host);
    bench.settle();
    assert_eq!(
        bench.doors(),
        [r#"start host ["-"]"#, r#"start one ["x.org", "*.x.org", "all.org"]"#, r#"start two ["all.org"]"#,]
    );
    // What readers see is the same.
    let snapshot = bench.world.snapshot();
    let rules = |name: &str| {
        let pod = snapshot.get(Resource::Pod, "ml", name).unwrap();
        snapshot.egress(pod).map(|egress| egress.rules.len())
    };
    assert_eq!((rules("one"), rules("two"), rules("host")), (Some(3), Some(1), None));
    let assignment = snapshot.assignment(snapshot.get(Resource::Pod, "ml", "two").unwrap()).unwrap();
    assert_eq!(shown(assignment.egress.as_ref()), Some(vec!["all.org".into()]));
    let mut not_stored = labelled("three", "x");
    not_stored["metadata"]["namespace"] = "ml".into();
    let assignment = snapshot.assignment_of(not_stored).unwrap();
    assert_eq!(shown(assignment.egress.as_ref()).unwrap().len(), 3);
}

#[test]
fn running_pods_are_told_what_changes_for_them_and_no_others_are() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(policy("p", "x", &json!(["a.org:1"])));
    bench.create(labelled("one", "x"));
    bench.create(labelled("two", "y"));
    bench.create(labelled("over", "x"));
    bench.settle();
    node.obey(&bench.commands);
    assert_eq!(bench.doors(), [r#"start one ["a.org"]"#, r#"start over ["a.org"]"#, r#"start two ["-"]"#]);
    for pod in node.pods.values() {
        let is_over = &*pod.name == "over";
        let report = if is_over { ended(pod, 0, bench.now) } else { running(pod, bench.now) };
        bench.world.report(report, bench.at());
    }
    bench.settle();
    let names = |names: Value| json!({"metadata": {"annotations": {EGRESS_NAMES: names.to_string()}}});
    bench.patch(Resource::NetworkPolicy, "p", names(json!(["b.org:1"])));
    bench.settle();
    assert_eq!(bench.doors(), [r#"change one ["b.org"]"#]);
    // Another that selects nobody, or says nothing, is no news.
    bench.create(policy("z", "z", &json!(["c.org:1"])));
    bench.patch(Resource::NetworkPolicy, "p", json!({"metadata": {"labels": {"a": "b"}}}));
    bench.settle();
    assert_eq!(bench.doors(), [""; 0]);
    bench.patch(Resource::Pod, "one", json!({"metadata": {"labels": {"app": "z"}}}));
    bench.settle();
    assert_eq!(bench.doors(), [r#"change one ["c.org"]"#]);
    bench.delete(Resource::NetworkPolicy, "z", Propagation::Background);
    bench.settle();
    assert_eq!(bench.doors(), [r#"change one ["-"]"#]);
    // It has its door still.
    bench.patch(Resource::NetworkPolicy, "p", json!({"spec": {"podSelector": {"matchLabels": null}}}));
    bench.settle();
    assert_eq!(bench.doors(), [r#"change one ["b.org"]"#]);
    // The other was started without.
    assert_eq!(bench.reasons("Pod", "two"), ["NoWayOut", "Scheduled"]);
    assert_eq!(bench.reasons("Pod", "one"), ["Scheduled"]);
}

#[test]
fn a_restart_and_a_lost_batch_are_made_good() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(policy("p", "", &json!(["a.org:1"])));
    bench.create(labelled("one", "x"));
    bench.settle();
    node.obey(&bench.commands);
    bench.doors();
    bench.crash();
    bench.settle();
    assert_eq!(bench.doors(), [""; 0]);
    bench.commands = bench.world.node_sync();
    assert_eq!(bench.doors(), [r#"start one ["a.org"]"#]);
    let change = |bench: &mut Bench, name: &str| {
        let names = json!([name]).to_string();
        bench.patch(
            Resource::NetworkPolicy,
            "p",
            json!({"metadata": {"annotations": {EGRESS_NAMES: names}}}),
        );
    };
    change(&mut bench, "b.org:1");
    bench.settle();
    assert_eq!(bench.doors(), [r#"change one ["b.org"]"#]);
    // The commit of a change fails: whatever went out with it, the pod is told what holds.
    change(&mut bench, "c.org:1");
    bench.world.settle(bench.at());
    let lost = bench.world.take_stage(bench.at());
    assert!(lost.commands.iter().any(|command| matches!(command, Command::ChangeEgress { .. })));
    bench.world.rollback(bench.at());
    bench.settle();
    assert_eq!(bench.doors(), [r#"change one ["b.org"]"#]);
}

/// On a full disk, where nothing but a deletion has room.
#[test]
fn what_a_deletion_closes_goes_out_with_it() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(policy("p", "x", &json!(["a.org:1"])));
    bench.create(labelled("one", "x"));
    bench.create(labelled("two", "y"));
    bench.settle();
    node.obey(&bench.commands);
    bench.doors();
    bench.create(policy("q", "y", &json!(["b.org:1"])));
    bench.delete(Resource::NetworkPolicy, "p", Propagation::Background);
    let before = bench.world.resource_version();
    bench.world.tell_doors_alone();
    assert_eq!(bench.world.resource_version(), before, "an event is no deletion");
    let stage = bench.world.take_stage(bench.at());
    let is_change = |command: &Command| matches!(command, Command::ChangeEgress { egress: None, .. });
    assert_eq!(stage.commands.iter().filter(|command| is_change(command)).count(), 1);
    bench.journal.commit(&stage, bench.world.resource_version());
    bench.world.committed();
    // It is not said twice, and the other hears of its own.
    bench.settle();
    assert_eq!(bench.doors(), [""; 0]);
    assert_eq!(bench.reasons("Pod", "two"), ["NoWayOut", "Scheduled"]);
}

#[test]
fn the_pods_of_an_array_share_it() {
    let mut bench = Bench::new();
    bench.create(policy("p", "x", &json!(["a.org:1"])));
    let mut job = array("train", 4, 4);
    merge(&mut job["spec"]["template"], json!({"metadata": {"labels": {"app": "x"}}}));
    bench.create(job);
    bench.settle();
    let wires: Vec<EgressWire> = bench
        .commands
        .iter()
        .filter_map(|command| match command {
            Command::Start(pod) => pod.egress.clone(),
            _ => None,
        })
        .collect();
    assert_eq!(wires.len(), 4);
    assert!(wires.iter().all(|wire| Arc::ptr_eq(wire, &wires[0])));
    // One index is chosen by its own label.
    bench.commands.clear();
    let mut third = policy("third", "", &json!(["b.org:1"]));
    third["spec"]["podSelector"] = json!({"matchLabels": {"batch.kubernetes.io/job-completion-index": "3"}});
    bench.create(third);
    bench.settle();
    let told = bench.doors();
    assert!(told.len() == 1 && told[0].ends_with(r#"["a.org", "b.org"]"#), "{told:?}");
}

#[test]
fn how_much_the_policies_of_a_namespace_may_be() {
    let mut bench = Bench::new();
    let many = |first: usize, count: usize| -> Value {
        (first..first + count).map(|n| format!("h{n}.org:443")).collect()
    };
    bench.create(policy("a", "", &many(0, 1000)));
    bench.create(policy("b", "", &many(0, 24)));
    let why = bench.try_create(policy("c", "", &many(0, 1))).unwrap_err().to_string();
    assert!(why.contains("would open 1025 destinations") && why.contains("at most 1024"), "{why}");
    let why = bench.try_patch(
        Resource::NetworkPolicy,
        "b",
        json!({"metadata": {"annotations": {EGRESS_NAMES: many(0, 25).to_string()}}}),
    );
    assert!(why.unwrap_err().to_string().contains("1025 destinations"));
    bench.patch(Resource::NetworkPolicy, "a", json!({"metadata": {"annotations": {EGRESS_NAMES: "[]"}}}));
    // Each peer counts for each port, an exception too.
    let blocks: Value = (0..40)
        .map(|n| json!({"ipBlock": {"cidr": format!("10.{n}.0.0/16"), "except": [format!("10.{n}.1.0/24")]}}))
        .collect();
    let ports: Value = (1..=25).map(|n| json!({"port": n})).collect();
    let why = bench.try_patch(
        Resource::NetworkPolicy,
        "a",
        json!({"spec": {"egress": [{"to": blocks, "ports": ports}]}}),
    );
    assert!(why.unwrap_err().to_string().contains("would open 1064 destinations"));
    // What says nothing of egress weighs nothing.
    let mut ingress = policy("in", "", &json!([]));
    ingress["spec"] = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
    bench.create(ingress);
    // Long names are bounded too.
    let label = "a".repeat(60);
    let long: Value = (0..1000).map(|n| format!("h{n}.{label}.{label}.{label}.{label}:443")).collect();
    let why = bench.try_create(policy(&"n".repeat(200), "", &long)).unwrap_err().to_string();
    assert!(why.contains(&WIRE_BYTES_MAX.to_string()), "{why}");
    for n in 0..125 {
        bench.create(policy(&format!("p{n}"), "", &json!([])));
    }
    let why = bench.try_create(policy("more", "", &json!([]))).unwrap_err().to_string();
    assert!(why.contains("has 128 already"), "{why}");
    // Of those that are there each may be written.
    bench.patch(
        Resource::NetworkPolicy,
        "p0",
        json!({"metadata": {"annotations": {EGRESS_NAMES: "[\"a.org:1\"]"}}}),
    );
    let quoted = bench.try_patch(
        Resource::NetworkPolicy,
        "p0",
        json!({"metadata": {"annotations": {EGRESS_NAMES: "[\"a.org\"]"}}}),
    );
    assert!(quoted.unwrap_err().to_string().contains("has no port"));
}

#[test]
fn each_connection_is_an_entry() {
    let mut bench = Bench::new();
    let mut job = array("train", 1, 1);
    merge(&mut job["spec"]["template"], json!({"metadata": {"labels": {"app": "x"}}}));
    bench.create(job);
    bench.settle();
    let pod = bench.list(Resource::Pod).remove(0);
    let uid = uid_of(&pod);
    let at = ConnectionAt {
        unix_nanos: 1_772_323_200_500_000_000,
        connection: 7,
        name: Some("data.example".into()),
        address: Some("151.101.0.223".parse().unwrap()),
        port: Some(443),
    };
    let asked = ConnectionAt { name: Some("x".repeat(5000).into()), address: None, port: None, ..at.clone() };
    let traffic = Traffic { sent: 10, received: 20 };
    let (address, port) = (at.address, at.port);
    let reached = |name: Option<&str>, count| Reached { name: name.map(Into::into), address, port, count };
    let not_reached = ConnectionEnd::NotReached("it timed out".into());
    for news in [
        ConnectionNews::Allowed { at: at.clone(), policy: "ml/data".into() },
        ConnectionNews::Refused { at: asked, reason: "NoRule".into(), why: "no policy allows it".into() },
        ConnectionNews::Ended { at: at.clone(), how: ConnectionEnd::Closed, traffic, nanos: 1500 },
        ConnectionNews::Ended { at, how: not_reached, traffic: Traffic::default(), nanos: 9 },
        ConnectionNews::Counted {
            allowed: 5,
            refused: 2,
            ended: 3,
            traffic,
            reached: [reached(Some("data.example"), 3), reached(None, 1)].into(),
            others: 1,
        },
    ] {
        bench.world.report(Report::Connection { uid, news: Box::new(news) }, bench.at());
    }
    let news = ConnectionNews::Counted {
        allowed: 0,
        refused: 1,
        ended: 0,
        traffic: Traffic::default(),
        reached: [].into(),
        others: 0,
    };
    bench.world.report(Report::Connection { uid: Uid(9), news: Box::new(news) }, bench.at());
    bench.settle();
    let entries: Vec<&Value> = bench
        .journal
        .audit
        .iter()
        .map(|entry| &entry.body)
        .filter(|body| body["action"].as_str().is_some_and(|action| action.starts_with("connection")))
        .collect();
    let name = pod["metadata"]["name"].as_str().unwrap();
    assert_eq!(
        entries[0]["objectRef"],
        json!({"resource": "pods", "apiVersion": "v1", "namespace": "ml", "name": name})
    );
    let common = json!({"uid": uid.to_string(), "job": "train"});
    let with = |more: Value| {
        let mut whole = common.clone();
        merge(&mut whole, more);
        whole
    };
    let place = json!({"at": "2026-03-01T00:00:00.5Z", "connection": 7, "name": "data.example", "address": "151.101.0.223", "port": 443});
    let placed = |more: Value| {
        let mut whole = with(place.clone());
        merge(&mut whole, more);
        whole
    };
    let check = |n: usize, action: &str, details: Value| {
        assert_eq!((&entries[n]["action"], &entries[n]["details"]), (&json!(action), &details), "{n}");
    };
    check(0, "connection-allowed", placed(json!({"policy": "ml/data"})));
    check(
        1,
        "connection-refused",
        with(json!({
            "at": "2026-03-01T00:00:00.5Z", "connection": 7, "name": "x".repeat(1024), "reason": "NoRule", "why": "no policy allows it",
        })),
    );
    check(
        2,
        "connection-ended",
        placed(json!({"how": "Closed", "nanoseconds": 1500, "sent": 10, "received": 20})),
    );
    check(
        3,
        "connection-ended",
        placed(json!({
            "how": "NotReached", "why": "it timed out", "nanoseconds": 9, "sent": 0, "received": 0,
        })),
    );
    check(
        4,
        "connections-counted",
        with(json!({
            "allowed": 5, "refused": 2, "ended": 3, "sent": 10, "received": 20, "others": 1,
            "reached": [
                {"name": "data.example", "port": 443, "count": 3},
                {"address": "151.101.0.223", "port": 443, "count": 1},
            ],
        })),
    );
    assert_eq!(
        entries[5]["objectRef"],
        json!({"resource": "pods", "apiVersion": "v1", "uid": Uid(9).to_string()})
    );
    assert_eq!(entries.len(), 6);
}

#[test]
fn what_is_not_known_of_connections_is_an_entry() {
    let mut bench = Bench::new();
    let second = 1_000_000_000;
    let (from, until) = (1_772_323_200 * second, 1_772_323_210 * second);
    bench.world.report(Report::GateLost { from, until }, bench.at());
    bench.world.report(Report::ConnectionsTold { serial: 3, lost: 4 }, bench.at());
    bench.settle();
    let entry = |action: &str| {
        let bodies = bench.journal.audit.iter().map(|entry| &entry.body);
        bodies.filter(|body| body["action"] == action).map(|body| body["details"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        entry("gate-lost"),
        [json!({"from": "2026-03-01T00:00:00Z", "until": "2026-03-01T00:00:10Z"})]
    );
    assert_eq!(entry("connections-lost"), [json!({"count": 4})]);
}
