//! The control plane takes any sequence of requests, and answers each.

use jiff::Timestamp;
use watchbell_api::node::Capacity;
use watchbell_api::{Resource, decode};

use watchbell_core::request::{
    DeleteOptions, FieldValidation, PatchKind, Request, Subresource, User, Write, WriteOptions,
};
use watchbell_core::world::{Config, Machine, World};

/// Lines: a letter for the verb, then an object. Whatever was accepted is there after a replay of its rows.
pub fn requests(data: &[u8]) {
    let mut now = 1_700_000_000;
    let mut world = World::new(config());
    world.furnish(at(now));
    settle(&mut world, now);
    for line in data.split(|byte| *byte == b'\n').take(8) {
        let Some((verb, body)) = line.split_first() else { continue };
        let Ok(body) = decode::json(body) else { continue };
        let text =
            |pointer: &str| body.pointer(pointer).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        let Some(resource) = Resource::from_kind(&text("/apiVersion"), &text("/kind")) else { continue };
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let patch = |kind| Write::Patch { kind, body: body.clone() };
        let (name, write) = match verb {
            b'c' => (String::new(), Write::Create(body.clone())),
            b'u' => (name, Write::Update(body.clone())),
            b'm' => (name, patch(PatchKind::Merge)),
            b's' => (name, patch(PatchKind::StrategicMerge)),
            b'a' => (name, patch(PatchKind::Apply)),
            b'd' => (name, Write::Delete(DeleteOptions::default())),
            _ => continue,
        };
        let request = Request {
            user: User { name: "ada".into(), groups: vec!["system:masters".into()], ..User::default() },
            resource,
            namespace,
            name,
            subresource: Subresource::None,
            write,
            options: WriteOptions {
                field_manager: "fuzz".into(),
                field_validation: FieldValidation::Warn,
                ..WriteOptions::default()
            },
            audit_id: "0".into(),
            received: None,
            impersonation: None,
            body_hash: None,
        };
        let _ = world.write(request, at(now));
        settle(&mut world, now);
        now += 61;
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time of this century")
}

/// A few batches; controllers may have more to do than anybody wants to wait for.
fn settle(world: &mut World, now: i64) {
    for _ in 0..4 {
        world.settle(at(now));
        let _ = world.take_stage(at(now));
        world.committed();
    }
}

fn config() -> Config {
    Config {
        machine: Machine::default(),
        capacity: Capacity {
            cpu_millis: 4000,
            memory_bytes: 1 << 34,
            pods: 110,
            ephemeral_storage_bytes: 1 << 34,
        },
        devices: Default::default(),
        hostname: "fuzz".into(),
        ca_pem: "-".into(),
        seed: [7; 32],
    }
}
