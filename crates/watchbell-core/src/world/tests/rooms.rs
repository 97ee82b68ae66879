//! Room on the machine: who waits, what he is told, and that he is told once.

use serde_json::{Value, json};
use watchbell_api::Resource;

use super::fake_node::{Node, ended};
use super::{Bench, array, config, pod};
use crate::request::Propagation;

fn asking(name: &str, cpu: &str) -> Value {
    let mut object = pod(name);
    object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
    object
}

fn scheduled(bench: &Bench, name: &str) -> Value {
    let pod = bench.read(Resource::Pod, name);
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let condition = conditions.iter().find(|c| c["type"] == "PodScheduled").cloned();
    condition.unwrap_or_else(|| panic!("{name} has no condition PodScheduled: {:#}", pod["status"]))
}

fn check_waits(bench: &Bench, name: &str, reason: &str, message: &str) {
    let condition = scheduled(bench, name);
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("False"), &json!(reason)),
        "{condition:#}"
    );
    let told = condition["message"].as_str().unwrap_or_default();
    assert!(told.contains(message), "{told}");
    let pod = bench.read(Resource::Pod, name);
    assert_eq!((&pod["spec"]["nodeName"], &pod["status"]["containerStatuses"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_pod_without_room_says_why() {
    let mut bench = Bench::new();
    bench.create(asking("big", "3"));
    bench.create(asking("second", "2"));
    bench.create(asking("huge", "5"));
    let mut gpu = pod("gpu");
    gpu["spec"]["containers"][0]["resources"] = json!({"limits": {"nvidia.com/gpu": "1"}});
    bench.create(gpu);
    let mut elsewhere = pod("elsewhere");
    elsewhere["spec"]["nodeSelector"] = json!({"disk": "ssd"});
    bench.create(elsewhere);
    let mut gated = pod("gated");
    gated["spec"]["schedulingGates"] = json!([{"name": "example.com/quota"}]);
    bench.create(gated);
    bench.settle();
    assert_eq!(scheduled(&bench, "big")["status"], "True");
    check_waits(&bench, "second", "Unschedulable", "0/1 nodes are available: 1 Insufficient cpu");
    check_waits(&bench, "huge", "Unschedulable", "1 Insufficient cpu (asks 5, the machine has 4)");
    check_waits(&bench, "gpu", "Unschedulable", "1 Insufficient nvidia.com/gpu (the machine has none)");
    check_waits(&bench, "elsewhere", "Unschedulable", "1 node(s) didn't match Pod's node affinity/selector");
    check_waits(
        &bench,
        "gated",
        "SchedulingGated",
        "Scheduling is blocked due to non-empty scheduling gates",
    );
    assert_eq!(bench.reasons("Pod", "big"), ["Scheduled"]);
    assert_eq!(bench.reasons("Pod", "huge"), ["FailedScheduling"]);
    assert_eq!(bench.reasons("Pod", "gated"), [""; 0]);
    // What they were told stays; nothing is written while they wait.
    let version = bench.world.resource_version();
    bench.sleep(600);
    assert_eq!(bench.world.resource_version(), version);
    bench.crash();
    bench.settle();
    assert_eq!(bench.world.resource_version(), version);
    // Room comes, the node is labelled, the gate is lifted.
    let force = crate::request::DeleteOptions { grace_period_seconds: Some(0), ..Default::default() };
    bench.try_delete(Resource::Pod, "big", force).expect("accepted");
    bench.patch(Resource::Node, "watchbell", json!({"metadata": {"labels": {"disk": "ssd"}}}));
    bench.patch(Resource::Pod, "gated", json!({"spec": {"schedulingGates": null}}));
    bench.settle();
    for name in ["second", "elsewhere", "gated"] {
        assert_eq!(scheduled(&bench, name)["status"], "True", "{name}");
        assert_eq!(bench.read(Resource::Pod, name)["spec"]["nodeName"], "watchbell");
    }
}

#[test]
fn a_wide_array_is_told_once_that_it_waits() {
    let mut small = config(1);
    small.capacity.pods = 10;
    let mut bench = Bench::with(small);
    let mut node = Node::default();
    bench.create(array("a", 100, 100));
    bench.settle();
    assert_eq!(bench.journal.array_puts, 100, "made, and bound or told why not, in one");
    assert_eq!(bench.reasons("Job", "a").iter().filter(|r| *r == "FailedScheduling").count(), 1);
    for _ in 0..10 {
        node.obey(&std::mem::take(&mut bench.commands));
        assert_eq!(node.pods.len(), 10);
        for pod in node.pods.values() {
            bench.world.report(ended(pod, 0, bench.now), bench.at());
        }
        bench.settle();
    }
    assert_eq!(bench.read(Resource::Job, "a")["status"]["succeeded"], 100);
    // 10 in 2 versions (bound, ended), 90 in 3 (told, bound, ended).
    assert_eq!(bench.journal.array_puts, 290);
}

#[test]
fn a_pod_that_is_deleted_while_it_waits_leaves_the_line() {
    let mut bench = Bench::new();
    bench.create(asking("big", "3"));
    let mut held = asking("held", "2");
    held["metadata"]["finalizers"] = json!(["example.com/a"]);
    bench.create(held);
    bench.settle();
    bench.delete(Resource::Pod, "held", Propagation::Background);
    let force = crate::request::DeleteOptions { grace_period_seconds: Some(0), ..Default::default() };
    bench.try_delete(Resource::Pod, "big", force).expect("accepted");
    bench.settle();
    assert_eq!(bench.read(Resource::Pod, "held")["spec"]["nodeName"], Value::Null);
    bench.patch(Resource::Pod, "held", json!({"metadata": {"finalizers": null}}));
    bench.settle();
    assert_eq!(bench.get(Resource::Pod, "held"), None);
}

#[test]
fn priority_goes_first() {
    let mut bench = Bench::new();
    bench.create(asking("big", "4"));
    bench.settle();
    bench.create(asking("first", "3"));
    let mut urgent = asking("urgent", "3");
    urgent["spec"]["priorityClassName"] = "system-cluster-critical".into();
    bench.create(urgent);
    bench.settle();
    let force = crate::request::DeleteOptions { grace_period_seconds: Some(0), ..Default::default() };
    bench.try_delete(Resource::Pod, "big", force).expect("accepted");
    bench.settle();
    assert_eq!(scheduled(&bench, "urgent")["status"], "True");
    assert_eq!(scheduled(&bench, "first")["status"], "False");
}
