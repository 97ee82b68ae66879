use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::{create, update, warnings};
use crate::{ApiError, Resource, defaults};

/// Absurd objects, refused shortly and soon. The bound on time only tells linear work from worse.
#[track_caller]
fn check(resource: Resource, mut object: Value, expected: &str) {
    defaults::apply(resource, &mut object);
    let began = Instant::now();
    let errors = create(resource, &object);
    let _ = (update(resource, &object, &object), warnings(resource, &object));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(!errors.is_empty() && errors.len() <= 64, "{} errors", errors.len());
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let message = ApiError::invalid(resource, name, &errors).message;
    assert!(message.contains(expected), "{}", &message[..message.len().min(2000)]);
    assert!(message.len() < 64 << 10, "{} bytes", message.len());
}

#[test]
fn absurd_sizes() {
    let metadata = json!({"name": "a", "namespace": "ns"});
    check(
        Resource::Pod,
        json!({"metadata": metadata, "spec": {"containers": vec![json!({}); 20_000]}}),
        "spec.containers: Too many: 20000: must have at most 1000 items",
    );
    check(
        Resource::Pod,
        json!({"metadata": {"name": "x".repeat(10 << 20), "namespace": "ns"}, "spec": {"containers": [{"name": "a", "image": "i"}]}}),
        "must be no more than 253 bytes",
    );
    let labels: serde_json::Map<String, Value> =
        (0..20_000).map(|i| (format!("bad key {i}"), json!("bad value"))).collect();
    check(
        Resource::ConfigMap,
        json!({"metadata": {"name": "a", "namespace": "ns", "labels": labels}}),
        "name part",
    );
    let env: Vec<Value> = (0..20_000).map(|i| json!({"name": format!("A{}", i % 7), "value": "="})).collect();
    check(
        Resource::Pod,
        json!({"metadata": metadata, "spec": {"containers": [{"name": "", "image": "i", "env": env}]}}),
        "spec.containers[0].name: Required value",
    );
    check(
        Resource::CronJob,
        json!({"metadata": metadata, "spec": {"schedule": "TZ".repeat(5 << 20), "jobTemplate": {}}}),
        "cannot use TZ or CRON_TZ in schedule",
    );
    check(
        Resource::Pod,
        json!({"metadata": metadata, "spec": {"containers": [{"name": "a", "image": "i".repeat(1025)}]}}),
        "spec.containers[0].image: Too long: may not be more than 1024 bytes",
    );
    check(
        Resource::CronJob,
        json!({"metadata": metadata, "spec": {"schedule": " ".repeat(1025), "jobTemplate": {}}}),
        "spec.schedule: Too long: may not be more than 1024 bytes",
    );
    let mounts: Vec<Value> =
        (0..20_000).map(|i| json!({"name": "v", "mountPath": format!("/{i}")})).collect();
    check(
        Resource::Pod,
        json!({"metadata": metadata, "spec": {"containers": [{"name": "a", "image": "i", "volumeMounts": mounts}]}}),
        "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
    );
}

/// Whatever the schema would have refused is survived here.
#[test]
fn wrong_types_do_not_panic() {
    for wrong in [
        json!(null),
        json!(1),
        json!("x"),
        json!([]),
        json!([1]),
        json!({"spec": 1, "metadata": []}),
        json!({"spec": {"template": [], "containers": 1, "jobTemplate": "x"}}),
    ] {
        for resource in Resource::all() {
            let _ = (create(resource, &wrong), update(resource, &wrong, &wrong), warnings(resource, &wrong));
            let good =
                json!({"metadata": {"name": "a"}, "spec": {"suspend": true, "template": {"spec": {}}}});
            let _ = (update(resource, &good, &wrong), update(resource, &wrong, &good));
        }
    }
}
