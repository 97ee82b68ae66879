//! What policies of images cost a start: `cargo run --release -p watchbell-core --example image_policies`
//!
//! One policy, and as many as there may be, each of which names a trust root in a ConfigMap. A start whose verdict is kept pays for
//! the versions alone; another for the policies with their keys, and for the verdict. Beside them what reading the ConfigMap
//! anew costs each time, and a verdict over as many findings and exceptions as are looked at.

#![expect(clippy::disallowed_methods, reason = "a measurement has a clock")]
#![expect(clippy::print_stdout, reason = "its output is for people")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::Resource;
use watchbell_api::image::{Contents, Finding, Findings, ImageFacts, Naming, Severity};
use watchbell_api::node::Capacity;
use watchbell_core::image_policy::decide;
use watchbell_core::request::{Request, Subresource, User, Write, WriteOptions};
use watchbell_core::world::{Config, Machine, Snapshot, World};

/// As large as sigstore's public trust root.
const TRUST_ROOT_BYTES: usize = 7 << 10;
const FINDINGS: usize = 2_000;
const EXCEPTIONS: usize = 1_000;
const ROUNDS: usize = 5;

fn main() {
    for (own, cluster) in [(1, 0), (32, 64)] {
        let snapshot = world(own, cluster, signed).snapshot();
        let count = own + cluster;
        let policies = snapshot.image_policies("ml");
        assert_eq!(policies.len(), count);
        show(count, "their versions", 10_000 / count, || {
            black_box(snapshot.image_policies_stamp("ml"));
        });
        show(count, "with their keys", 10_000 / count, || drop(black_box(snapshot.image_policies("ml"))));
        show(count, "a ConfigMap read anew for each", 10_000 / count, || {
            for _ in 0..count {
                read_anew(&snapshot);
            }
        });
    }
    let policies = world(1, 0, excepted).snapshot().image_policies("ml");
    let facts = facts();
    let verdict = decide(&policies, &facts, now());
    assert!(!verdict.is_refused(), "{verdict:?}");
    let what = format!("a verdict over {FINDINGS} findings and {EXCEPTIONS} exceptions");
    show(1, &what, 20, || drop(black_box(decide(&policies, &facts, now()))));
}

/// Prints the median of the rounds, and from where to where they went.
fn show(policies: usize, what: &str, times: usize, work: impl Fn()) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            (0..times).for_each(|_| work());
            begun.elapsed().as_secs_f64() * 1e6 / times as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    let (median, least, most) = (rounds[ROUNDS / 2], rounds[0], rounds[ROUNDS - 1]);
    println!("{policies} policies, {what}: {median:.2} us ({least:.2} to {most:.2})");
}

fn read_anew(snapshot: &Snapshot) {
    let map = snapshot.get(Resource::ConfigMap, "ml", "roots").expect("it was made");
    let object: Value = serde_json::from_slice(map.own_json().expect("of its own")).expect("JSON");
    black_box(object["data"]["root"].as_str().map(Arc::<str>::from));
}

fn signed(namespace: &str) -> Value {
    let mut root = json!({"name": "roots", "key": "root"});
    if namespace != "ml" {
        root["namespace"] = namespace.into();
    }
    let keyless =
        json!({"issuer": "https://ci.example", "subject": "https://git.example/team/**", "trustRoot": root});
    json!({"signers": [{"name": "ci", "keyless": keyless}]})
}

fn excepted(_: &str) -> Value {
    let exception = |n: usize| json!({"id": format!("CVE-2026-{n}"), "reason": "not reachable", "expires": "2099-01-01T00:00:00Z"});
    let exceptions: Vec<Value> = (0..EXCEPTIONS).map(exception).collect();
    json!({"vulnerabilities": {"maximumSeverity": "High", "allowGaps": true, "exceptions": exceptions}})
}

/// Half of the findings are excepted, the others pass.
fn facts() -> ImageFacts {
    let finding = |n: usize| Finding {
        id: format!("CVE-2026-{n}").into(),
        aliases: vec![format!("GHSA-{n}").into()],
        package: "zlib".into(),
        severity: Some(if n < EXCEPTIONS { Severity::Critical } else { Severity::Low }),
        ..Finding::default()
    };
    let list = (0..FINDINGS).map(finding).collect();
    ImageFacts {
        digest: "sha256:d".into(),
        repository: "ghcr.io/team/app".into(),
        tag: None,
        naming: Naming::Digest,
        created_at: None,
        layers: Arc::from([]),
        diff_ids: Arc::from([]),
        size: 1,
        contents: Ok(Arc::new(Contents::default())),
        findings: Ok(Arc::new(Findings { list, ..Findings::default() })),
        signers: Vec::new(),
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_772_323_200).expect("a time of this century")
}

/// A world with so many policies of the namespace and of the cluster.
fn world(own: usize, cluster: usize, spec: impl Fn(&str) -> Value) -> World {
    let mut world = World::new(Config {
        machine: Machine::default(),
        capacity: Capacity { cpu_millis: 1, memory_bytes: 1, pods: 1, ephemeral_storage_bytes: 1 },
        devices: Default::default(),
        hostname: "bench".into(),
        ca_pem: String::new(),
        seed: [0; 32],
    });
    world.furnish(now());
    for namespace in ["ml", "watchbell-system"] {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        create(&mut world, "", object);
        let data = json!({"root": "\"x\"".repeat(TRUST_ROOT_BYTES / 3)});
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "roots"}, "data": data});
        create(&mut world, namespace, map);
    }
    let policy = |kind: &str, n: usize, namespace: &str| {
        json!({
            "apiVersion": "watchbell.dev/v1alpha1", "kind": kind, "metadata": {"name": format!("p{n}")},
            "spec": spec(namespace),
        })
    };
    (0..own).for_each(|n| create(&mut world, "ml", policy("ImagePolicy", n, "ml")));
    (0..cluster).for_each(|n| create(&mut world, "", policy("ClusterImagePolicy", n, "watchbell-system")));
    world.settle(now());
    world.take_stage(now());
    world.committed();
    world
}

fn create(world: &mut World, namespace: &str, object: Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource =
        Resource::from_kind(&text(&object["apiVersion"]), &text(&object["kind"])).expect("a served kind");
    let request = Request {
        user: User { name: "ada".into(), groups: vec!["system:masters".into()], ..User::default() },
        resource,
        namespace: namespace.into(),
        name: String::new(),
        subresource: Subresource::None,
        write: Write::Create(object),
        options: WriteOptions::default(),
        audit_id: "a".into(),
        body_hash: None,
        received: None,
        impersonation: None,
    };
    if let Err(error) = world.write(request, now()) {
        panic!("{error}");
    }
}
