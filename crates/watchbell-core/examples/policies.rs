//! What admission policies cost a pod: `cargo run --release -p watchbell-core --example policies`
//!
//! Pods are created by requests, without policies and with ten of the kind that teams write: registries, digests, limits, labels, users,
//! parameters from a ConfigMap. Beside them what an expression costs that goes to its limit.

#![expect(clippy::disallowed_methods, reason = "a measurement has a clock")]
#![expect(clippy::print_stdout, reason = "its output is for people")]

use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::Resource;
use watchbell_api::node::Capacity;
use watchbell_core::request::{Request, Subresource, User, Write, WriteOptions};
use watchbell_core::world::{Config, Machine, World};

const PODS: usize = 2_000;
const ROUNDS: usize = 5;

const EXPRESSIONS: [&str; 10] = [
    "object.spec.containers.all(c, c.image.startsWith('registry.example.com/'))",
    "object.spec.containers.all(c, c.image.matches('^[a-z0-9./:@-]+$'))",
    "object.spec.containers.all(c, has(c.resources) && has(c.resources.limits) && 'memory' in c.resources.limits)",
    "object.spec.containers.all(c, quantity(c.resources.limits['memory']).isLessThan(quantity('64Gi')))",
    "has(object.metadata.labels) && 'team' in object.metadata.labels && object.metadata.labels['team'] in ['ml', 'data']",
    "!has(object.spec.hostNetwork) || !object.spec.hostNetwork",
    "request.userInfo.username != 'nobody' && request.operation == 'CREATE'",
    "object.spec.?securityContext.?runAsNonRoot.orValue(false) || namespaceObject.metadata.name == 'ml'",
    "object.spec.containers.map(c, c.name).distinct().size() == object.spec.containers.size()",
    "object.spec.containers.size() <= int(params.data.most)",
];

fn main() {
    let mut plain: Vec<f64> = (0..ROUNDS).map(|_| a_pod(0)).collect();
    let mut judged: Vec<f64> = (0..ROUNDS).map(|_| a_pod(EXPRESSIONS.len())).collect();
    for (what, rounds) in [("without policies", &mut plain), ("with 10 policies", &mut judged)] {
        rounds.sort_by(f64::total_cmp);
        println!(
            "{what}: {:.1} us a created pod (rounds of {PODS}: {:.1} to {:.1})",
            rounds[ROUNDS / 2],
            rounds[0],
            rounds[ROUNDS - 1]
        );
    }
    println!("10 policies: {:.1} us a pod", judged[ROUNDS / 2] - plain[ROUNDS / 2]);
    for (what, expression) in [
        ("to the limit of its cost", "lists.range(1000).all(x, lists.range(1000).all(y, x + y >= 0))"),
        ("to the limit of its work", "lists.range(1000).all(x, lists.range(90000) == lists.range(90000))"),
    ] {
        let mut world = world();
        bind(&mut world, "p", expression);
        let begun = Instant::now();
        let refused = create(&mut world, pod(0)).is_err();
        println!("an expression {what}: {:.1} ms (refused: {refused})", begun.elapsed().as_secs_f64() * 1e3);
    }
}

/// Microseconds of a created pod under so many policies.
fn a_pod(policies: usize) -> f64 {
    let mut world = world();
    for (n, expression) in EXPRESSIONS.iter().take(policies).enumerate() {
        bind(&mut world, &format!("p{n}"), expression);
    }
    let pods: Vec<Value> = (0..PODS).map(pod).collect();
    let begun = Instant::now();
    for pod in pods {
        create(&mut world, pod).expect("every policy allows it");
    }
    begun.elapsed().as_secs_f64() * 1e6 / PODS as f64
}

fn now() -> Timestamp {
    Timestamp::from_second(1_772_323_200).expect("a time of this century")
}

fn world() -> World {
    let mut world = World::new(Config {
        machine: Machine::default(),
        capacity: Capacity {
            cpu_millis: 4_000,
            memory_bytes: 8 << 30,
            pods: 100,
            ephemeral_storage_bytes: 1 << 40,
        },
        devices: Default::default(),
        hostname: "bench".into(),
        ca_pem: String::new(),
        seed: [0; 32],
    });
    world.furnish(now());
    let labels = json!({"pod-security.kubernetes.io/enforce": "privileged"});
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ml", "labels": labels}});
    create(&mut world, namespace).expect("a namespace");
    let params = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "params"}, "data": {"most": "3"}});
    create(&mut world, params).expect("a ConfigMap");
    world.settle(now());
    world
}

fn bind(world: &mut World, name: &str, expression: &str) {
    let rule =
        json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": expression}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "paramRef": {"name": "params"}},
    });
    create(world, policy).expect("a policy");
    create(world, binding).expect("a binding");
}

fn pod(n: usize) -> Value {
    let limits = json!({"limits": {"memory": "1Gi", "cpu": "1"}});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{n}"), "labels": {"team": "ml", "app": "train"}},
        "spec": {"restartPolicy": "Never", "containers": [
            {"name": "main", "image": "registry.example.com/train:v1", "resources": limits},
            {"name": "side", "image": "registry.example.com/side:v1", "resources": limits},
        ]},
    })
}

fn create(world: &mut World, object: Value) -> Result<(), watchbell_api::ApiError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource =
        Resource::from_kind(&text(&object["apiVersion"]), &text(&object["kind"])).expect("a served kind");
    let request = Request {
        user: User { name: "ada".into(), groups: vec!["system:masters".into()], ..User::default() },
        resource,
        namespace: if resource.is_namespaced() { "ml".into() } else { String::new() },
        name: String::new(),
        subresource: Subresource::None,
        write: Write::Create(object),
        options: WriteOptions::default(),
        audit_id: "a".into(),
        body_hash: None,
        received: None,
        impersonation: None,
    };
    world.write(request, now()).map(drop)
}
