//! The whole world on a bench: a clock that is a number, a journal that is a map, a node that is played by the test.

mod adoption;
mod arrays;
mod bounds;
mod claims;
mod crons;
mod deletion;
mod devices;
mod doors;
mod fake_node;
mod images;
mod journal;
mod judged;
mod limits;
mod logins;
mod namespaces;
mod operators;
mod owners;
mod podsecurity;
mod policies;
mod replay;
mod requests;
mod rights;
mod rooms;
mod runs;
mod simulation;
mod starts;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::node::{Capacity, Command};
use watchbell_api::{ApiError, Resource, Uid};

use self::journal::Journal;
use super::{Config, Machine, Stage, World};
use crate::request::{
    DeleteOptions, FieldValidation, PatchKind, Propagation, Request, Subresource, User, Write, WriteOptions,
    Written,
};

/// 2026-03-01T00:00:00Z, a Sunday.
const START: i64 = 1_772_323_200;

fn config(seed: u8) -> Config {
    Config {
        machine: Machine::default(),
        capacity: Capacity {
            cpu_millis: 4_000,
            memory_bytes: 8 << 30,
            pods: 100,
            ephemeral_storage_bytes: 1 << 40,
        },
        devices: Default::default(),
        hostname: "bench".into(),
        ca_pem: "-----BEGIN CERTIFICATE-----".into(),
        seed: [seed; 32],
    }
}

struct Bench {
    world: World,
    journal: Journal,
    /// Unix seconds.
    now: i64,
    /// Commands of committed batches that the test has not looked at.
    commands: Vec<Command>,
    config: Config,
    lives: u64,
}

impl Bench {
    /// An empty, furnished world with the labelled namespace `ml`, whose pods are taken as they are.
    fn new() -> Bench {
        Bench::with(config(0))
    }

    fn with(config: Config) -> Bench {
        let mut bench = Bench {
            world: World::new(config.clone()),
            journal: Journal::default(),
            now: START,
            commands: Vec::new(),
            config,
            lives: 0,
        };
        bench.world.furnish(bench.at());
        bench.settle();
        bench.create(labelled_namespace());
        bench.settle();
        bench.commands.clear();
        bench
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_second(self.now).expect("a time of this century")
    }

    /// One batch: reconcile once, make it durable.
    fn step(&mut self) -> Stage {
        self.world.settle(self.at());
        let stage = self.world.take_stage(self.at());
        self.journal.commit(&stage, self.world.resource_version());
        self.world.committed();
        self.commands.extend(stage.commands.iter().cloned());
        self.check();
        // Of many changes the first are enough.
        for stored in stage.changes.iter().take(16).filter_map(|change| change.new.as_ref()) {
            let mut json = Vec::new();
            stored.write_json(&mut json);
            assert_eq!(String::from_utf8(json).expect("text"), stored.render().to_string());
        }
        stage
    }

    fn check(&self) {
        if let Err(broken) = self.world.check_invariants() {
            panic!("{broken}");
        }
    }

    /// Batches until nothing is to be done now.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.step();
            if self.world.wake_at().is_none_or(|at| at > self.at()) {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Lets time pass, each due moment in its turn.
    fn sleep(&mut self, seconds: i64) {
        let end = self.now + seconds;
        self.settle();
        while let Some(at) = self.world.wake_at().map(Timestamp::as_second).filter(|&at| at <= end) {
            self.now = at.max(self.now);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// The server is killed: what was not committed is lost, the next one reads the journal.
    fn crash(&mut self) {
        self.lives += 1;
        self.config.seed[8..16].copy_from_slice(&self.lives.to_be_bytes());
        self.commands.clear();
        self.world = self.reloaded();
    }

    fn reloaded(&self) -> World {
        let mut world = World::new(self.config.clone());
        world
            .load(self.journal.rows(), self.journal.version, self.at())
            .expect("what was written can be read");
        if let Err(broken) = world.check_invariants() {
            panic!("after a reload: {broken}");
        }
        world
    }

    // --- requests ---------------------------------------------------------------------------------------------------

    fn write(&mut self, request: Request) -> Result<Written, ApiError> {
        self.world.write(request, self.at())
    }

    fn try_create(&mut self, object: Value) -> Result<Written, ApiError> {
        self.write(create_request(object))
    }

    fn create(&mut self, object: Value) -> Value {
        match self.try_create(object.clone()) {
            Ok(written) => written.object,
            Err(error) => panic!("{object:#}: {error}"),
        }
    }

    fn try_patch(&mut self, resource: Resource, name: &str, body: Value) -> Result<Written, ApiError> {
        self.write(Request {
            write: Write::Patch { kind: PatchKind::Merge, body },
            ..request(resource, namespace_of(resource), name)
        })
    }

    fn patch(&mut self, resource: Resource, name: &str, body: Value) -> Value {
        self.try_patch(resource, name, body).unwrap_or_else(|error| panic!("{error}")).object
    }

    fn try_delete(
        &mut self,
        resource: Resource,
        name: &str,
        options: DeleteOptions,
    ) -> Result<Written, ApiError> {
        self.write(Request {
            write: Write::Delete(options),
            ..request(resource, namespace_of(resource), name)
        })
    }

    fn delete(&mut self, resource: Resource, name: &str, propagation: Propagation) -> Written {
        let options = DeleteOptions { propagation_policy: Some(propagation), ..DeleteOptions::default() };
        self.try_delete(resource, name, options).unwrap_or_else(|error| panic!("{error}"))
    }

    // --- what is --------------------------------------------------------------------------------------------------

    /// An object as committed, in the namespace `ml` where it has one.
    fn get(&self, resource: Resource, name: &str) -> Option<Value> {
        self.world.snapshot().get(resource, namespace_of(resource), name).map(|stored| stored.render())
    }

    fn read(&self, resource: Resource, name: &str) -> Value {
        self.get(resource, name).unwrap_or_else(|| panic!("{} {name} is not there", resource.info().kind))
    }

    fn list(&self, resource: Resource) -> Vec<Value> {
        let namespace = resource.is_namespaced().then_some("ml");
        self.world.snapshot().list(resource, namespace, None).map(|stored| stored.render()).collect()
    }

    fn names(&self, resource: Resource) -> Vec<String> {
        self.list(resource)
            .iter()
            .map(|o| o["metadata"]["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Reasons of the events about an object, sorted.
    fn reasons(&self, kind: &str, name: &str) -> Vec<String> {
        let mut reasons: Vec<String> = self
            .list(Resource::Event)
            .iter()
            .filter(|e| e["involvedObject"]["kind"] == kind && e["involvedObject"]["name"] == name)
            .filter_map(|e| e["reason"].as_str().map(str::to_owned))
            .collect();
        reasons.sort();
        reasons
    }
}

fn namespace_of(resource: Resource) -> &'static str {
    if resource.is_namespaced() { "ml" } else { "" }
}

fn request(resource: Resource, namespace: &str, name: &str) -> Request {
    Request {
        user: User { name: "ada".into(), groups: vec!["system:masters".into()], ..User::default() },
        resource,
        namespace: namespace.into(),
        name: name.into(),
        subresource: Subresource::None,
        write: Write::Delete(DeleteOptions::default()),
        options: WriteOptions { field_validation: FieldValidation::Strict, ..WriteOptions::default() },
        audit_id: "a".into(),
        impersonation: None,
        body_hash: None,
        received: None,
    }
}

fn create_request(object: Value) -> Request {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource =
        Resource::from_kind(&text(&object["apiVersion"]), &text(&object["kind"])).expect("a served kind");
    let namespace = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => namespace.to_owned(),
        None => namespace_of(resource).to_owned(),
    };
    Request { write: Write::Create(object), ..request(resource, &namespace, "") }
}

fn uid_of(object: &Value) -> Uid {
    object["metadata"]["uid"].as_str().and_then(|uid| uid.parse().ok()).expect("an object has a uid")
}

// --- objects --------------------------------------------------------------------------------------------------------

/// The namespace of the tests: its pods are taken as they are.
fn labelled_namespace() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "ml", "labels": {"pod-security.kubernetes.io/enforce": "privileged"}},
    })
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

fn pod_template() -> Value {
    json!({"spec": {"restartPolicy": "Never", "containers": [
        {"name": "main", "image": "busybox:bar", "imagePullPolicy": "Never"},
    ]}})
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_template()["spec"]})
}

/// A Job with the given fields in its spec.
fn job(name: &str, spec: Value) -> Value {
    let mut whole = json!({"template": pod_template()});
    merge(&mut whole, spec);
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": whole})
}

fn array(name: &str, completions: u32, parallelism: u32) -> Value {
    job(name, json!({"completionMode": "Indexed", "completions": completions, "parallelism": parallelism}))
}

/// A CronJob with the given fields in its spec.
fn cron(name: &str, schedule: &str, spec: Value) -> Value {
    let mut whole = json!({
        "schedule": schedule,
        "jobTemplate": {"spec": {"template": pod_template()}},
    });
    merge(&mut whole, spec);
    json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": whole})
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
