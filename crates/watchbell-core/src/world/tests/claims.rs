//! Claims, their volumes, and the pods that wait for them.

use serde_json::{Value, json};
use watchbell_api::node::{Command, Report};
use watchbell_api::{Reason, Resource};

use super::fake_node::{Node, ended};
use super::{Bench, array, merge, pod};
use crate::request::Propagation;

const CLAIM: Resource = Resource::PersistentVolumeClaim;
const VOLUME: Resource = Resource::PersistentVolume;

fn claim(name: &str, spec: Value) -> Value {
    let mut whole = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    merge(&mut whole, spec);
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": whole})
}

fn volume(name: &str, spec: Value) -> Value {
    let mut whole = json!({
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "5Gi"}, "storageClassName": "local",
        "csi": {"driver": "watchbell.dev/local", "volumeHandle": name},
    });
    merge(&mut whole, spec);
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": whole})
}

fn class(name: &str, extra: Value) -> Value {
    let mut class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
        "provisioner": "watchbell.dev/local",
    });
    merge(&mut class, extra);
    class
}

fn using(name: &str, claim: &str) -> Value {
    let mut object = pod(name);
    object["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    object
}

fn phase(bench: &Bench, resource: Resource, name: &str) -> String {
    bench.read(resource, name)["status"]["phase"].as_str().unwrap_or_default().to_owned()
}

fn check_waits(bench: &Bench, name: &str, message: &str) {
    let pod = bench.read(Resource::Pod, name);
    let condition = &pod["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["reason"]), (&json!("PodScheduled"), &json!("Unschedulable")));
    assert_eq!(condition["message"], format!("0/1 nodes are available: {message}."));
}

fn started(bench: &mut Bench) -> Vec<String> {
    let commands = std::mem::take(&mut bench.commands);
    commands
        .iter()
        .filter_map(|command| match command {
            Command::Start(pod) => Some(pod.name.to_string()),
            _ => None,
        })
        .collect()
}

fn removals(bench: &mut Bench) -> Vec<String> {
    let commands = std::mem::take(&mut bench.commands);
    commands
        .iter()
        .filter_map(|command| match command {
            Command::RemoveVolume { name } => Some(name.to_string()),
            _ => None,
        })
        .collect()
}

fn delete(bench: &mut Bench, resource: Resource, name: &str) {
    bench.delete(resource, name, Propagation::Background);
}

#[test]
fn a_claim_gets_a_volume_of_its_own() {
    let mut bench = Bench::new();
    assert_eq!(bench.read(Resource::StorageClass, "local")["provisioner"], "watchbell.dev/local");
    bench.create(claim("data", json!({})));
    bench.step();
    let bound = bench.read(CLAIM, "data");
    let name = format!("pvc-{}", bound["metadata"]["uid"].as_str().expect("a uid"));
    assert_eq!(bound["spec"]["storageClassName"], "local");
    assert_eq!(bound["spec"]["volumeName"], name);
    assert_eq!(bound["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    assert_eq!(
        bound["status"],
        json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}})
    );
    let volume = bench.read(VOLUME, &name);
    assert_eq!(volume["status"]["phase"], "Bound");
    assert_eq!(volume["metadata"]["finalizers"], json!(["kubernetes.io/pv-protection"]));
    assert_eq!(volume["spec"]["claimRef"]["uid"], bound["metadata"]["uid"]);
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete");
    assert_eq!(bench.reasons("PersistentVolumeClaim", "data"), ["ProvisioningSucceeded"]);
    bench.crash();
    bench.settle();
    assert_eq!(bench.read(CLAIM, "data"), bound, "nothing happens to it by itself");
    // It may grow.
    bench.patch(CLAIM, "data", json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}));
    bench.settle();
    assert_eq!(bench.read(CLAIM, "data")["status"]["capacity"]["storage"], "2Gi");
    assert_eq!(bench.read(VOLUME, &name)["spec"]["capacity"]["storage"], "2Gi");
}

#[test]
fn a_pod_waits_for_its_claim() {
    let mut bench = Bench::new();
    bench.create(using("early", "data"));
    bench.create(claim("none", json!({"storageClassName": ""})));
    bench.create(using("unbound", "none"));
    bench.settle();
    check_waits(&bench, "early", "persistentvolumeclaim \"data\" not found");
    check_waits(&bench, "unbound", "pod has unbound immediate PersistentVolumeClaims");
    assert_eq!(bench.reasons("PersistentVolumeClaim", "none"), ["FailedBinding"]);
    assert_eq!(started(&mut bench), [""; 0]);
    bench.crash();
    bench.settle();
    bench.create(claim("data", json!({})));
    bench.settle();
    assert_eq!(started(&mut bench), ["early"]);
    bench.create(volume("byhand", json!({"storageClassName": null})));
    bench.settle();
    assert_eq!(started(&mut bench), ["unbound"]);
    assert_eq!(bench.read(CLAIM, "none")["spec"]["volumeName"], "byhand");
}

#[test]
fn a_lazy_class_waits_for_the_first_pod() {
    let mut bench = Bench::new();
    bench.create(class("lazy", json!({"volumeBindingMode": "WaitForFirstConsumer"})));
    bench.create(claim("data", json!({"storageClassName": "lazy"})));
    bench.sleep(600);
    assert_eq!(phase(&bench, CLAIM, "data"), "Pending");
    assert_eq!(bench.reasons("PersistentVolumeClaim", "data"), ["WaitForFirstConsumer"]);
    bench.create(using("first", "data"));
    bench.settle();
    assert_eq!(phase(&bench, CLAIM, "data"), "Bound");
    assert_eq!(started(&mut bench), ["first"]);
}

#[test]
fn a_claim_stays_while_a_pod_uses_it_and_its_folder_goes_with_it() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(claim("data", json!({})));
    bench.create(using("user", "data"));
    bench.settle();
    let name = bench.read(CLAIM, "data")["spec"]["volumeName"].as_str().expect("a volume").to_owned();
    node.obey(&std::mem::take(&mut bench.commands));
    delete(&mut bench, CLAIM, "data");
    delete(&mut bench, VOLUME, &name);
    bench.settle();
    assert!(bench.read(CLAIM, "data")["metadata"]["deletionTimestamp"].is_string());
    bench.create(using("late", "data"));
    bench.settle();
    check_waits(&bench, "late", "persistentvolumeclaim \"data\" is being deleted");
    assert_eq!(removals(&mut bench), [""; 0]);
    let user = node.pods.values().next().expect("it runs").clone();
    bench.world.report(ended(&user, 0, bench.now), bench.at());
    bench.settle();
    assert_eq!(bench.get(CLAIM, "data"), None);
    assert_eq!(phase(&bench, VOLUME, &name), "Released");
    assert_eq!(removals(&mut bench), [name.as_str()]);
    check_waits(&bench, "late", "persistentvolumeclaim \"data\" not found");
    // Killed before the node has said a word: it is told again.
    bench.crash();
    let told = bench.world.node_sync();
    assert!(told.iter().any(|c| matches!(c, Command::RemoveVolume { name: told } if **told == *name)));
    bench.settle();
    let failed = Report::VolumeRemoved { name: name.as_str().into(), error: Some("busy".into()) };
    bench.world.report(failed, bench.at());
    bench.settle();
    assert_eq!(phase(&bench, VOLUME, &name), "Failed");
    bench.commands.clear();
    bench.sleep(61);
    assert!(!removals(&mut bench).is_empty(), "it is tried again");
    let done = Report::VolumeRemoved { name: name.as_str().into(), error: None };
    bench.world.report(done, bench.at());
    bench.settle();
    assert_eq!(bench.get(VOLUME, &name), None);
}

#[test]
fn a_retained_volume_stays_until_somebody_decides() {
    let mut bench = Bench::new();
    bench.create(class("keep", json!({"reclaimPolicy": "Retain"})));
    bench.create(claim("data", json!({"storageClassName": "keep"})));
    bench.settle();
    let name = bench.read(CLAIM, "data")["spec"]["volumeName"].as_str().expect("a volume").to_owned();
    delete(&mut bench, CLAIM, "data");
    bench.settle();
    assert_eq!(phase(&bench, VOLUME, &name), "Released");
    bench.create(claim("data", json!({"storageClassName": "keep", "volumeName": name})));
    bench.settle();
    assert_eq!(phase(&bench, CLAIM, "data"), "Pending", "the volume is that of the claim before");
    // Somebody lets it go.
    bench.patch(VOLUME, &name, json!({"spec": {"claimRef": null}}));
    bench.settle();
    assert_eq!(phase(&bench, CLAIM, "data"), "Bound");
    delete(&mut bench, CLAIM, "data");
    delete(&mut bench, VOLUME, &name);
    bench.settle();
    assert_eq!(bench.get(VOLUME, &name), None);
    assert_eq!(removals(&mut bench), [""; 0], "the folder stays");
    // Its data is found again under its name.
    bench.create(volume(&name, json!({"storageClassName": "keep"})));
    bench.create(claim("again", json!({"storageClassName": "keep"})));
    bench.settle();
    assert_eq!(bench.read(CLAIM, "again")["spec"]["volumeName"], name);
}

#[test]
fn one_pod_at_a_time_where_the_claim_says_so() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(claim("data", json!({"accessModes": ["ReadWriteOncePod"]})));
    let mut fit = array("fit", 3, 3);
    fit["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    bench.create(fit);
    for round in 0..3 {
        bench.settle();
        node.obey(&std::mem::take(&mut bench.commands));
        assert_eq!(node.pods.len(), 1, "round {round}");
        if round == 1 {
            bench.crash();
            node = Node::default();
            node.obey(&bench.world.node_sync());
            assert_eq!(node.pods.len(), 1, "after the crash");
        }
        let pod = node.pods.values().next().expect("it runs").clone();
        bench.world.report(ended(&pod, 0, bench.now), bench.at());
    }
    bench.settle();
    assert_eq!(bench.read(Resource::Job, "fit")["status"]["succeeded"], 3);
}

#[test]
fn what_cannot_be_is_refused() {
    let mut bench = Bench::new();
    bench.create(class("fixed", json!({})));
    bench.create(claim("data", json!({"storageClassName": "fixed"})));
    bench.settle();
    let grow = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let refused = bench.try_patch(CLAIM, "data", grow).expect_err("its class does not allow it");
    assert!(matches!(refused.reason, Reason::Forbidden | Reason::Invalid), "{refused}");
    // A claim that lost its volume says so.
    let name = bench.read(CLAIM, "data")["spec"]["volumeName"].as_str().expect("a volume").to_owned();
    bench.patch(VOLUME, &name, json!({"metadata": {"finalizers": null}}));
    delete(&mut bench, VOLUME, &name);
    bench.settle();
    assert_eq!(phase(&bench, CLAIM, "data"), "Lost");
    assert!(bench.reasons("PersistentVolumeClaim", "data").contains(&"ClaimLost".to_owned()));
}
