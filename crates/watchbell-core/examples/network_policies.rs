//! What policies of networks cost: `cargo run --release -p watchbell-core --example network_policies`
//!
//! An array of pods that run, and policies of which every second selects them. What the start of a pod pays, and what a change of one
//! policy costs: the pods are looked at once each, and those that it concerns are told.

#![expect(clippy::disallowed_methods, reason = "a measurement has a clock")]
#![expect(clippy::print_stdout, reason = "its output is for people")]

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::Resource;
use watchbell_api::network::{DESTINATIONS_MAX, EGRESS_NAMES, NETWORK_POLICIES_MAX};
use watchbell_api::node::{Capacity, Command};
use watchbell_core::egress::{Target, Verdict};
use watchbell_core::request::{PatchKind, Request, Subresource, User, Write, WriteOptions};
use watchbell_core::world::{Config, Machine, World};

fn main() {
    for (policies, pods) in
        [(2, 1_000), (2, 10_000), (NETWORK_POLICIES_MAX, 1_000), (NETWORK_POLICIES_MAX, 10_000)]
    {
        let mut world = world(policies, pods);
        let snapshot = world.snapshot();
        let pod = snapshot.list(Resource::Pod, Some("ml"), None).next().expect("a pod").clone();
        let micros = each(200, || drop(black_box(snapshot.egress(&pod))));
        let egress = snapshot.egress(&pod).expect("policies select it");
        let target =
            Target { name: Some("none.example.org"), address: IpAddr::from([8, 8, 8, 8]), port: 443 };
        let judged = each(200, || {
            assert!(matches!(egress.decide(&target, |_| false), Verdict::Refused(_)));
        });
        let begun = Instant::now();
        let told = change(&mut world);
        let millis = begun.elapsed().as_secs_f64() * 1e3;
        assert_eq!(told, pods);
        println!(
            "{policies} policies, {pods} pods: what one may reach {micros:.1} us ({} rules), a connection that none allows {judged:.1} us, \
             a change of one policy for all of them {millis:.1} ms",
            egress.rules.len()
        );
    }
}

/// Microseconds of one of so many.
fn each(times: u32, work: impl Fn()) -> f64 {
    let begun = Instant::now();
    (0..times).for_each(|_| work());
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(times)
}

fn now() -> Timestamp {
    Timestamp::from_second(1_772_323_200).expect("a time of this century")
}

/// As many pods of one array as run, and as many policies with all the destinations that they may have together, but for one.
fn world(policies: usize, pods: usize) -> World {
    let mut world = World::new(Config {
        machine: Machine::default(),
        capacity: Capacity {
            cpu_millis: 1 << 40,
            memory_bytes: 1 << 50,
            pods: 1 << 20,
            ephemeral_storage_bytes: 1 << 50,
        },
        devices: Default::default(),
        hostname: "bench".into(),
        ca_pem: String::new(),
        seed: [0; 32],
    });
    world.furnish(now());
    create(&mut world, "", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ml"}}));
    let names = DESTINATIONS_MAX / policies - 1;
    for n in 0..policies {
        let names: Vec<String> = (0..names).map(|name| format!("h{name}.p{n}.example.org:443")).collect();
        let labels = json!({"matchLabels": {"app": if n % 2 == 0 { "x" } else { "y" }}});
        create(
            &mut world,
            "ml",
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": format!("p{n}"), "annotations": {EGRESS_NAMES: json!(names).to_string()}},
                "spec": {"podSelector": labels, "policyTypes": ["Egress"]},
            }),
        );
    }
    create(
        &mut world,
        "ml",
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "array"},
            "spec": {"completionMode": "Indexed", "completions": pods, "parallelism": pods, "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]},
            }},
        }),
    );
    let mut started = 0;
    while started < pods {
        world.settle(now());
        let stage = world.take_stage(now());
        world.committed();
        started += stage.commands.iter().filter(|command| matches!(command, Command::Start(_))).count();
    }
    world
}

/// One policy opens one name more; how many pods are told.
fn change(world: &mut World) -> usize {
    let body = json!({"metadata": {"annotations": {EGRESS_NAMES: "[\"other.example.org:443\"]"}}});
    write(world, "ml", Resource::NetworkPolicy, "p0", Write::Patch { kind: PatchKind::Merge, body });
    world.settle(now());
    let stage = world.take_stage(now());
    world.committed();
    stage.commands.iter().filter(|command| matches!(command, Command::ChangeEgress { .. })).count()
}

fn create(world: &mut World, namespace: &str, object: Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource =
        Resource::from_kind(&text(&object["apiVersion"]), &text(&object["kind"])).expect("a served kind");
    write(world, namespace, resource, "", Write::Create(object));
}

fn write(world: &mut World, namespace: &str, resource: Resource, name: &str, write: Write) {
    let request = Request {
        user: User { name: "ada".into(), groups: vec!["system:masters".into()], ..User::default() },
        resource,
        namespace: namespace.into(),
        name: name.into(),
        subresource: Subresource::None,
        write,
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
