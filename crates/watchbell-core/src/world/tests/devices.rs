//! Devices: counted, leased one by one, and remembered.

use serde_json::{Value, json};
use watchbell_api::Resource;
use watchbell_api::node::Report;

use super::fake_node::{Node, ended, running};
use super::{Bench, array, config, pod};
use crate::placement::Pools;

fn toys(count: u32) -> Pools {
    let names = (0..count).map(|i| format!("vendor.com/toy={i}").into()).collect();
    Pools::from([("vendor.com/toy".into(), names)])
}

fn bench(count: u32) -> Bench {
    let mut config = config(1);
    config.devices = toys(count);
    Bench::with(config)
}

fn asking(mut object: Value, count: u32) -> Value {
    let spec = if object["kind"] == "Job" { "/spec/template/spec" } else { "/spec" };
    let limits = json!({"limits": {"vendor.com/toy": count}});
    if object.pointer(spec).is_none_or(|spec| spec["containers"].is_null()) {
        object["spec"]["template"]["spec"]["containers"] = json!([{"name": "main", "image": "busybox:bar"}]);
    }
    object.pointer_mut(spec).expect("a pod spec")["containers"][0]["resources"] = limits;
    object
}

fn held(bench: &Bench, name: &str) -> Vec<String> {
    let pod = bench.read(Resource::Pod, name);
    let resources = &pod["status"]["containerStatuses"][0]["allocatedResourcesStatus"];
    let list = resources[0]["resources"].as_array().cloned().unwrap_or_default();
    list.iter().map(|one| one["resourceID"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn an_array_shares_two_devices() {
    let mut bench = bench(2);
    let mut node = Node::default();
    bench.create(asking(array("a", 6, 6), 1));
    bench.settle();
    for round in 0..3 {
        node.obey(&std::mem::take(&mut bench.commands));
        let devices: Vec<&str> =
            node.pods.values().flat_map(|pod| &pod.status.devices).map(|name| &**name).collect();
        assert_eq!(devices.len(), 2, "round {round}");
        assert_ne!(devices[0], devices[1]);
        for pod in node.pods.values() {
            bench.world.report(running(pod, bench.now), bench.at());
        }
        bench.settle();
        for pod in node.pods.values() {
            assert_eq!(held(&bench, &pod.name), [&*pod.status.devices[0]]);
        }
        // Whatever is lost, not who holds what.
        bench.crash();
        bench.settle();
        for pod in node.pods.values() {
            assert_eq!(held(&bench, &pod.name), [&*pod.status.devices[0]]);
            bench.world.report(ended(pod, 0, bench.now), bench.at());
        }
        bench.settle();
    }
    assert_eq!(bench.read(Resource::Job, "a")["status"]["succeeded"], 6);
}

#[test]
fn the_node_says_what_there_is_and_who_waits_is_told() {
    let mut bench = bench(1);
    let mut node = Node::default();
    let count = |bench: &Bench, list: &str| {
        bench.read(Resource::Node, "watchbell")["status"][list]["vendor.com/toy"].clone()
    };
    assert_eq!((count(&bench, "capacity"), count(&bench, "allocatable")), (json!("1"), json!("1")));
    bench.create(asking(pod("one"), 1));
    bench.create(asking(pod("two"), 1));
    bench.settle();
    assert_eq!(held(&bench, "one"), ["vendor.com/toy=0"]);
    let message = bench.read(Resource::Pod, "two")["status"]["conditions"][0]["message"].clone();
    let expected = "0/1 nodes are available: 1 Insufficient vendor.com/toy (asks 1, 0 of 1 is free).";
    assert_eq!(message, expected);
    // A second one is plugged in.
    let at = bench.at();
    bench.world.report(Report::Devices { pools: toys(2) }, at);
    bench.settle();
    assert_eq!(held(&bench, "two"), ["vendor.com/toy=1"]);
    assert_eq!(count(&bench, "capacity"), "2");
    // Both go. Their pods are told once and run on.
    for _ in 0..2 {
        bench.world.report(Report::Devices { pools: toys(0) }, at);
        bench.settle();
    }
    assert_eq!(count(&bench, "allocatable"), "0");
    for name in ["one", "two"] {
        assert_eq!(bench.reasons("Pod", name).iter().filter(|reason| *reason == "DeviceGone").count(), 1);
        assert_eq!(bench.read(Resource::Pod, name)["spec"]["nodeName"], "watchbell");
    }
    // A pod that has ended still says what it had; others may have it.
    bench.world.report(Report::Devices { pools: toys(1) }, at);
    node.obey(&std::mem::take(&mut bench.commands));
    for pod in node.pods.values() {
        bench.world.report(ended(pod, 0, bench.now), at);
    }
    bench.create(asking(pod("three"), 1));
    bench.settle();
    assert_eq!([held(&bench, "one"), held(&bench, "three")], [["vendor.com/toy=0"], ["vendor.com/toy=0"]]);
}

#[test]
fn a_quota_bounds_devices() {
    let mut bench = bench(4);
    bench.create(json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "toys"},
        "spec": {"hard": {"requests.vendor.com/toy": "2"}},
    }));
    bench.create(asking(pod("one"), 2));
    let error = bench.try_create(asking(pod("two"), 1)).expect_err("over the quota");
    assert!(error.message.contains("requests.vendor.com/toy=1, used: requests.vendor.com/toy=2"), "{error}");
}
