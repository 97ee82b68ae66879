//! What the published suite asks before and after its tests.

use serde_json::{Value, json};

use crate::space::{Space, is_left_out};

/// GET; the answer.
#[track_caller]
fn get(space: &Space, path: &str) -> Value {
    let answer = space.suite.get(path);
    assert_eq!(answer.code, 200, "{path}: {:#}", answer.body);
    answer.body
}

#[test]
fn the_set_up_of_the_suite_finds_a_cluster() {
    if is_left_out() {
        return;
    }
    let space = Space::new("setup", "restricted");
    let version = get(&space, "/version");
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("36")), "{version:#}");

    for path in ["/api", "/apis", "/api/v1", "/apis/batch/v1", "/openapi/v3"] {
        let mut answer = space.suite.open("GET", path, "", Vec::new());
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.body_mut().read_to_vec().unwrap().len() > 20, "{path}");
    }

    // Every node is ready, schedulable and without taints.
    let nodes = get(&space, "/api/v1/nodes?fieldSelector=spec.unschedulable%3Dfalse&resourceVersion=0");
    let nodes = nodes["items"].as_array().unwrap();
    assert!(!nodes.is_empty());
    for node in nodes {
        let conditions = node["status"]["conditions"].as_array().unwrap();
        let status = |kind: &str| {
            conditions.iter().find(|c| c["type"] == kind).map(|c| c["status"].as_str().unwrap().to_owned())
        };
        assert_eq!(status("Ready").as_deref(), Some("True"), "{node:#}");
        assert_ne!(status("NetworkUnavailable").as_deref(), Some("True"));
        assert_eq!(node["spec"]["taints"], Value::Null);
        assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], node["metadata"]["name"]);
        assert!(node["status"]["addresses"].as_array().is_some_and(|list| !list.is_empty()), "{node:#}");
        // How a failed test looks at the node: said clearly, and not as a broken server.
        let proxy = format!("/api/v1/nodes/{}/proxy/pods", node["metadata"]["name"].as_str().unwrap());
        let answer = space.suite.get(&proxy);
        assert!((400..500).contains(&answer.code), "{answer:?}");
        assert_eq!(answer.body["kind"], "Status", "{answer:?}");
    }

    for path in [
        "/api/v1/namespaces/kube-system/pods",
        "/api/v1/namespaces/kube-system/replicationcontrollers",
        "/apis/apps/v1/namespaces/kube-system/daemonsets",
        "/apis/apps/v1/namespaces/kube-system/replicasets",
        "/api/v1/services",
        "/api/v1/events",
    ] {
        let list = get(&space, path);
        assert!(list["items"].is_array(), "{path}: {list:#}");
        assert!(list["metadata"]["resourceVersion"].is_string(), "{path}: {list:#}");
    }
    // The suite reads the family of addresses from it.
    let service = get(&space, "/api/v1/namespaces/default/services/kubernetes");
    assert_eq!(service["spec"]["clusterIP"], "None", "{service:#}");
}
