use serde_json::{Value, json};

use super::{LIMIT_RANGER, LimitRange, joined};

fn range(limits: Value) -> LimitRange {
    LimitRange::read(&json!({"spec": {"limits": limits}}))
}

fn pod(containers: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})
}

#[test]
fn what_is_unsaid_is_filled_in() {
    let range = range(json!([{
        "type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"},
    }]));
    let mut given = pod(json!([
        {"name": "a"},
        {"name": "b", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2", "memory": "1Mi"}}},
    ]));
    given["spec"]["initContainers"] = json!([{"name": "i", "resources": {"limits": {"memory": "2Gi"}}}]);
    range.fill_in(&mut given);
    let containers = &given["spec"]["containers"];
    assert_eq!(
        containers[0]["resources"],
        json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "500m", "memory": "1Gi"}})
    );
    assert_eq!(
        containers[1]["resources"],
        json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2", "memory": "1Mi"}})
    );
    assert_eq!(
        given["metadata"]["annotations"][LIMIT_RANGER],
        "LimitRanger plugin set: cpu request for container a; cpu, memory limit for container a; \
         cpu request for init container i; cpu limit for init container i"
    );
    // What has all gets nothing, and no annotation.
    let mut full = pod(json!([containers[1].clone()]));
    let before = full.clone();
    range.fill_in(&mut full);
    assert_eq!(full, before);
}

#[test]
fn bounds_of_containers_and_pods() {
    let check = |limits: Value, resources: Value, expect: &str| {
        let given =
            pod(json!([{"name": "a", "resources": resources}, {"name": "b", "resources": resources}]));
        let broken = range(limits).check_pod(&given["spec"]);
        // Both containers break the same, which is said once.
        assert_eq!(joined(&broken), if expect.is_empty() { "[]" } else { expect });
    };
    let container = |bounds: Value| {
        let mut bounds = bounds;
        bounds["type"] = "Container".into();
        json!([bounds])
    };
    let asks = |request: &str, limit: &str| json!({"requests": {"cpu": request}, "limits": {"cpu": limit}});
    check(container(json!({"max": {"cpu": "500m"}})), asks("100m", "0.5"), "");
    check(
        container(json!({"max": {"cpu": "500m"}})),
        asks("100m", "1"),
        "maximum cpu usage per Container is 500m, but limit is 1",
    );
    check(
        container(json!({"max": {"cpu": "500m"}})),
        json!({}),
        "maximum cpu usage per Container is 500m.  No limit is specified",
    );
    check(
        container(json!({"min": {"memory": "10Mi"}})),
        asks("1", "1"),
        "minimum memory usage per Container is 10Mi.  No request is specified",
    );
    check(
        container(json!({"min": {"cpu": "50m"}, "max": {"cpu": "2"}})),
        asks("40m", "3"),
        "[minimum cpu usage per Container is 50m, but request is 40m, maximum cpu usage per Container is 2, but limit is 3]",
    );
    check(
        container(json!({"maxLimitRequestRatio": {"cpu": "2"}})),
        asks("100m", "250m"),
        "cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000",
    );
    check(container(json!({"maxLimitRequestRatio": {"cpu": "2.5"}})), asks("100m", "250m"), "");
    check(
        container(json!({"maxLimitRequestRatio": {"cpu": "2"}})),
        json!({"limits": {"cpu": "1"}}),
        "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
    );
    check(
        json!([{"type": "Pod", "max": {"cpu": "1500m"}}]),
        asks("500m", "1"),
        "maximum cpu usage per Pod is 1500m, but limit is 2",
    );
    check(json!([{"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]), json!({}), "");
}

#[test]
fn an_init_container_counts_alone_and_a_sidecar_with_the_others() {
    let range = range(json!([{"type": "Pod", "max": {"cpu": "4"}}]));
    let limits = |cpu: &str| json!({"limits": {"cpu": cpu}});
    let mut given = pod(json!([{"name": "a", "resources": limits("2")}]));
    given["spec"]["initContainers"] = json!([{"name": "i", "resources": limits("4")}]);
    assert!(range.check_pod(&given["spec"]).is_empty());
    given["spec"]["initContainers"] =
        json!([{"name": "s", "restartPolicy": "Always", "resources": limits("3")}]);
    assert_eq!(range.check_pod(&given["spec"]), ["maximum cpu usage per Pod is 4, but limit is 5"]);
}

#[test]
fn bounds_of_claims() {
    let range = range(json!([
        {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}},
        {"type": "Container", "max": {"cpu": "1"}},
    ]));
    let check = |storage: &str, expect: &[&str]| {
        let claim = json!({"spec": {"resources": {"requests": {"storage": storage}}}});
        assert_eq!(range.check_claim(&claim), expect);
    };
    check("1Gi", &[]);
    check("2Gi", &[]);
    check("3Gi", &["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"]);
    check("1Mi", &["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"]);
}
