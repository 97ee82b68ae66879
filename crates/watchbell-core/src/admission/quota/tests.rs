use serde_json::{Value, json};
use watchbell_api::Resource;

use super::{Cost, Quota, Stage, Used};

fn quota(spec: Value) -> Quota {
    Quota::read(&json!({"spec": spec}))
}

fn pod(spec: Value) -> Cost {
    Cost::of_pod(&serde_json::from_value(spec).expect("a pod spec"))
}

fn asks(request: Value, limit: Value) -> Value {
    json!([{"name": "main", "resources": {"requests": request, "limits": limit}}])
}

#[test]
fn what_a_pod_takes() {
    let check = |spec: Value, expect: Value| {
        let names = expect.as_object().expect("amounts").keys();
        let quota = quota(json!({"hard": names.map(|n| (n.clone(), json!("1000Gi"))).collect::<Value>()}));
        let mut used = Used::nothing_of(&quota);
        used.add(&pod(spec.clone()), Stage::Lives);
        assert_eq!(used.render(), expect, "{spec}");
        used.take(&pod(spec.clone()), Stage::Lives);
        assert_eq!(used, Used::nothing_of(&quota), "{spec}");
    };
    let full = json!({"containers": asks(json!({"cpu": "500m", "memory": "1Gi", "example.com/gpu": "2"}), json!({"cpu": 1}))});
    check(
        full,
        json!({
            "count/pods": "1", "pods": "1", "cpu": "500m", "requests.cpu": "500m", "limits.cpu": "1", "memory": "1Gi",
            "requests.memory": "1Gi", "limits.memory": "0", "requests.example.com/gpu": "2", "services": "0",
        }),
    );
    // An init container runs alone; a sidecar and the overhead run beside the others.
    let mut spec = json!({"containers": asks(json!({"cpu": "1"}), json!({}))});
    spec["initContainers"] = asks(json!({"cpu": "3"}), json!({}));
    check(spec.clone(), json!({"requests.cpu": "3", "limits.cpu": "0"}));
    spec["initContainers"][0]["restartPolicy"] = "Always".into();
    spec["overhead"] = json!({"cpu": "250m"});
    check(spec, json!({"requests.cpu": "4250m", "limits.cpu": "0"}));
}

#[test]
fn a_pod_that_ended_counts_as_an_object_alone() {
    let quota = quota(json!({"hard": {"pods": 1, "count/pods": 5, "requests.cpu": 1}}));
    let cost = pod(json!({"containers": asks(json!({"cpu": "1"}), json!({}))}));
    let mut used = Used::nothing_of(&quota);
    used.add(&cost, Stage::Ended);
    assert_eq!(used.render(), json!({"count/pods": "1", "pods": "0", "requests.cpu": "0"}));
    assert_eq!(quota.exceeded(&used, None, &cost), None);
    used.add(&cost, Stage::Lives);
    assert_eq!(
        quota.exceeded(&used, None, &cost).as_deref(),
        Some("requested: pods=1,requests.cpu=1, used: pods=1,requests.cpu=1, limited: pods=1,requests.cpu=1")
    );
}

#[test]
fn what_must_be_said() {
    let check = |hard: Value, resources: Value, expect: Option<&str>| {
        let cost = pod(json!({"containers": [
            {"name": "b", "resources": resources}, {"name": "a", "resources": resources},
        ]}));
        assert_eq!(quota(json!({"hard": hard})).missing(&cost).as_deref(), expect);
    };
    check(json!({"pods": 1, "requests.example.com/gpu": 1}), json!({}), None);
    check(json!({"limits.cpu": 1}), json!({"limits": {"cpu": 1}}), None);
    check(
        json!({"limits.cpu": 1, "memory": 1}),
        json!({}),
        Some("must specify limits.cpu for: a,b; memory for: a,b"),
    );
}

#[test]
fn scopes_choose_pods() {
    let scoped = |scope: &str| json!({"hard": {"pods": 1}, "scopes": [scope]});
    let classes = |operator: &str, values: Value| {
        json!({"hard": {"pods": 1}, "scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": operator, "values": values},
        ]}})
    };
    let idle = json!({"containers": [{"name": "a"}]});
    let burst = json!({"containers": asks(json!({"cpu": 1}), json!({})), "activeDeadlineSeconds": 5});
    let high = json!({"containers": [{"name": "a"}], "priorityClassName": "high"});
    let check = |spec: Value, expect: [bool; 3]| {
        let quota = quota(spec.clone());
        let covers = [&idle, &burst, &high].map(|p| quota.covers(&pod(p.clone())));
        assert_eq!(covers, expect, "{spec}");
        let map = Cost::of_object(Resource::ConfigMap, || Value::Null).expect("it is counted");
        assert!(!quota.covers(&map), "a quota with scopes counts pods alone");
    };
    check(scoped("BestEffort"), [true, false, true]);
    check(scoped("NotBestEffort"), [false, true, false]);
    check(scoped("Terminating"), [false, true, false]);
    check(scoped("NotTerminating"), [true, false, true]);
    check(scoped("PriorityClass"), [false, false, true]);
    check(classes("In", json!(["high", "low"])), [false, false, true]);
    check(classes("NotIn", json!(["high"])), [true, true, false]);
    check(classes("DoesNotExist", Value::Null), [true, true, false]);
}

#[test]
fn a_scope_chooses_claims() {
    let term = |operator: &str, values: Value| {
        json!({"hard": {"persistentvolumeclaims": 1}, "scopeSelector": {"matchExpressions": [
            {"scopeName": "VolumeAttributesClass", "operator": operator, "values": values},
        ]}})
    };
    let claim = |class: &str| {
        let claim = json!({"spec": {"volumeAttributesClassName": class}});
        Cost::of_object(Resource::PersistentVolumeClaim, || claim).expect("it is counted")
    };
    let check = |spec: Value, expect: [bool; 3]| {
        let quota = quota(spec.clone());
        assert_eq!(["", "fast", "slow"].map(|class| quota.covers(&claim(class))), expect, "{spec}");
        let map = Cost::of_object(Resource::ConfigMap, || Value::Null).expect("it is counted");
        assert!(!quota.covers(&map) && !quota.covers(&pod(json!({"containers": [{"name": "a"}]}))));
    };
    check(json!({"hard": {}, "scopes": ["VolumeAttributesClass"]}), [false, true, true]);
    check(term("In", json!(["fast"])), [false, true, false]);
    check(term("NotIn", json!(["fast"])), [true, false, true]);
    check(term("DoesNotExist", Value::Null), [true, false, false]);
    // A scope of pods is about no claim.
    check(json!({"hard": {}, "scopes": ["PriorityClass"]}), [false; 3]);
}

#[test]
fn objects_are_counted() {
    let quota = quota(json!({"hard": {"configmaps": 1, "count/jobs.batch": 1, "count/configmaps": 7}}));
    let mut used = Used::nothing_of(&quota);
    let of = |resource| Cost::of_object(resource, || Value::Null);
    for resource in [Resource::ConfigMap, Resource::Job, Resource::Secret] {
        used.add(&of(resource).expect("it is counted"), Stage::Lives);
    }
    assert_eq!(used.render(), json!({"configmaps": "1", "count/configmaps": "1", "count/jobs.batch": "1"}));
    let refused = quota.exceeded(&used, None, &of(Resource::ConfigMap).expect("it is counted"));
    assert_eq!(
        refused.as_deref(),
        Some("requested: configmaps=1, used: configmaps=1, limited: configmaps=1")
    );
    assert_eq!(of(Resource::Event), None);
    assert_eq!(of(Resource::Node), None);
}
