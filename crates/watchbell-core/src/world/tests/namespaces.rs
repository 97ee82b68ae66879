//! Namespaces: their furniture, and how they end.

use serde_json::{Value, json};
use watchbell_api::Resource;

use super::fake_node::{Node, ended};
use super::{Bench, array, config_map, cron, request};
use crate::request::{PatchKind, Propagation, Request, Subresource, Write};

#[test]
fn what_is_always_there() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.names(Resource::Namespace),
        ["default", "kube-node-lease", "kube-public", "kube-system", "ml"]
    );
    assert_eq!(bench.names(Resource::ServiceAccount), ["default"]);
    assert_eq!(bench.names(Resource::ConfigMap), ["kube-root-ca.crt"]);
    assert_eq!(bench.names(Resource::Node), ["watchbell"]);
    // It is made again, and set right again.
    bench.delete(Resource::ServiceAccount, "default", Propagation::Background);
    bench.patch(Resource::ConfigMap, "kube-root-ca.crt", json!({"data": {"ca.crt": "mine"}}));
    bench.settle();
    assert_eq!(bench.names(Resource::ServiceAccount), ["default"]);
    let authority = bench.read(Resource::ConfigMap, "kube-root-ca.crt");
    assert_eq!(authority["data"]["ca.crt"], "-----BEGIN CERTIFICATE-----");
    bench.delete(Resource::ConfigMap, "kube-root-ca.crt", Propagation::Background);
    bench.settle();
    assert_eq!(bench.names(Resource::ConfigMap), ["kube-root-ca.crt"]);
    for name in ["default", "kube-system"] {
        let error = bench.try_delete(Resource::Namespace, name, Default::default()).expect_err("it stays");
        assert!(error.message.contains("may not be deleted"), "{error}");
    }
}

/// Selectors know it by this label, so it says what the namespace is called, whatever the way in.
#[test]
fn nobody_gives_a_namespace_anothers_name() {
    let mut bench = Bench::new();
    for subresource in [Subresource::None, Subresource::Status] {
        for label in [json!("kube-system"), Value::Null] {
            let body = json!({"metadata": {"labels": {"kubernetes.io/metadata.name": label, "team": "a"}}});
            let patch = Request {
                subresource,
                write: Write::Patch { kind: PatchKind::Merge, body },
                ..request(Resource::Namespace, "", "ml")
            };
            let labels = bench.write(patch).expect("allowed").object["metadata"]["labels"].clone();
            assert_eq!(
                (&labels["kubernetes.io/metadata.name"], &labels["team"]),
                (&json!("ml"), &json!("a"))
            );
        }
    }
}

#[test]
fn a_namespace_is_emptied_then_goes() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(config_map("a"));
    let mut held = config_map("held");
    held["metadata"]["finalizers"] = json!(["example.com/a"]);
    bench.create(held);
    bench.create(array("array", 9, 3));
    bench.create(cron("c", "* * * * *", json!({})));
    bench.sleep(60);
    node.obey(&std::mem::take(&mut bench.commands));
    assert_eq!(node.pods.len(), 4);
    let answer = bench.delete(Resource::Namespace, "ml", Propagation::Background).object;
    assert_eq!(answer["status"]["phase"], "Terminating");
    bench.settle();
    let error = bench.try_create(config_map("late")).expect_err("nothing new");
    assert!(error.message.contains("because it is being terminated"), "{error}");
    assert_eq!(error.causes[0].reason, "NamespaceTerminating");
    assert_eq!(bench.names(Resource::ConfigMap), ["held"]);
    assert_eq!(bench.list(Resource::Job), Vec::<Value>::new());
    // It waits for its last process, in peace.
    assert!(bench.world.wake_at().is_none_or(|at| at > bench.at()));
    bench.sleep(120);
    assert_eq!(bench.list(Resource::Event), Vec::<Value>::new());
    for pod in node.pods.values() {
        bench.world.report(ended(pod, 137, bench.now), bench.at());
    }
    bench.settle();
    assert_eq!(bench.list(Resource::Pod), Vec::<Value>::new());
    assert!(bench.names(Resource::Namespace).contains(&"ml".to_owned()));
    bench.crash();
    bench.settle();
    bench.patch(Resource::ConfigMap, "held", json!({"metadata": {"finalizers": null}}));
    bench.settle();
    assert!(!bench.names(Resource::Namespace).contains(&"ml".to_owned()));
    // The name is free again.
    bench.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ml"}}));
    bench.settle();
    assert_eq!(bench.names(Resource::ServiceAccount), ["default"]);
}

#[test]
fn thousands_of_objects_go_in_many_batches() {
    let mut bench = Bench::new();
    for i in 0..2_500 {
        bench.create(config_map(&format!("c{i}")));
    }
    bench.settle();
    bench.delete(Resource::Namespace, "ml", Propagation::Background);
    let stage = bench.step();
    assert!(stage.deletes.len() <= 1_100, "{}", stage.deletes.len());
    bench.settle();
    assert!(!bench.names(Resource::Namespace).contains(&"ml".to_owned()));
}
