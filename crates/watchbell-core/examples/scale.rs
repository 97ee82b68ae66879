//! What the control plane costs by itself, without disk, network and containers:
//! `cargo run --release -p watchbell-core --example scale`
//!
//! - 100,000 CronJobs: made, loaded from rows, at rest, and 10,000 of them due in one minute;
//! - an array of 10,000 indexes on a machine with room for 100, one whose pods all wait at once, and one that a quota holds
//!   back to 100.

#![expect(clippy::disallowed_methods, reason = "a measurement has a clock and reads its own memory")]
#![expect(clippy::print_stdout, reason = "its output is for people")]

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::Resource;
use watchbell_api::node::{Assignment, Capacity, Command, Report};
use watchbell_api::types::pod_status::{
    ContainerState, ContainerStatus, Phase, PodStatus, Terminated, TerminatedReason,
};
use watchbell_core::request::{FieldValidation, Request, Subresource, User, Write, WriteOptions};
use watchbell_core::world::{Config, Machine, Row, RowKey, Stage, World};

/// 2026-03-01T00:00:30Z
const START: i64 = 1_772_323_230;
const CRONJOBS: usize = 100_000;
const DUE: usize = 10_000;
const INDEXES: usize = 10_000;
/// What the server takes into one batch.
const BATCH: usize = 1_024;

fn main() {
    memory();
    cronjobs();
    array("of 100 at a time", 100, 100, &[]);
    array("all waiting at once", INDEXES, 100, &[]);
    array("under a quota of 100 pods and a LimitRange", INDEXES, 1_000, &[quota(), limit_range()]);
}

struct Lab {
    world: World,
    rows: HashMap<RowKey, Row>,
    keeps_rows: bool,
    now: i64,
    commands: Vec<Command>,
    puts: usize,
    bytes: usize,
    batches: usize,
    /// Processor time spent in the world.
    spent: Duration,
}

impl Lab {
    fn new(pods: u32) -> Lab {
        let mut lab = Lab {
            world: World::new(config(pods)),
            rows: HashMap::new(),
            keeps_rows: true,
            now: START,
            commands: Vec::new(),
            puts: 0,
            bytes: 0,
            batches: 0,
            spent: Duration::ZERO,
        };
        lab.world.furnish(lab.at());
        lab.settle();
        lab
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_second(self.now).expect("a time of this century")
    }

    fn timed<T>(&mut self, act: impl FnOnce(&mut World) -> T) -> T {
        let before = processor_time();
        let answer = act(&mut self.world);
        self.spent += processor_time() - before;
        answer
    }

    /// One batch; true when more is to be done now.
    fn step(&mut self) -> bool {
        let at = self.at();
        let stage: Stage = self.timed(|world| {
            world.settle(at);
            let stage = world.take_stage(at);
            world.committed();
            stage
        });
        self.batches += 1;
        for key in &stage.deletes {
            self.rows.remove(key);
        }
        for row in stage.rows {
            self.puts += 1;
            self.bytes += row.status.len() + row.head.as_ref().map_or(0, Vec::len);
            if !self.keeps_rows {
                continue;
            }
            let head =
                row.head.clone().or_else(|| self.rows.get(&row.key).and_then(|before| before.head.clone()));
            self.rows.insert(row.key.clone(), Row { head, ..row });
        }
        self.commands.extend(stage.commands);
        self.world.wake_at().is_some_and(|wake| wake <= at)
    }

    fn settle(&mut self) {
        while self.step() {}
    }

    fn create(&mut self, object: Value) {
        let request = create(object);
        let at = self.at();
        let answer = self.timed(|world| world.write(request, at));
        assert!(answer.is_ok(), "{answer:?}");
    }
}

fn make_cronjobs(lab: &mut Lab) {
    for i in 0..CRONJOBS {
        // One in ten is due in the next minute, the others in the course of the day.
        let schedule =
            if i < DUE { "1 * * * *".to_owned() } else { format!("{} {} * * *", i % 60, 2 + i % 11) };
        lab.create(cronjob(&format!("nightly-{i}"), &schedule));
        if i % BATCH == 0 {
            lab.step();
        }
    }
    lab.settle();
}

/// In a fresh process, before memory that was given back blurs the figure.
fn memory() {
    let before = resident_bytes();
    let mut lab = Lab::new(110);
    lab.keeps_rows = false;
    make_cronjobs(&mut lab);
    println!("{CRONJOBS} CronJobs");
    println!("  memory        {:>8} B each", resident_bytes().saturating_sub(before) / CRONJOBS);
}

fn cronjobs() {
    let mut lab = Lab::new(110);
    make_cronjobs(&mut lab);
    println!(
        "  created       {:>8.1} µs each, {} B in the journal each",
        micros(lab.spent, CRONJOBS),
        lab.bytes / CRONJOBS
    );
    let rows: Vec<Row> = std::mem::take(&mut lab.rows).into_values().collect();
    let version = lab.world.resource_version();
    let now = lab.now;
    drop(lab);

    let mut again = World::new(config(110));
    let start = processor_time();
    let at = Timestamp::from_second(now).expect("a time of this century");
    // The rows are moved in, as the server reads them from the file.
    again.load(rows, version, at).expect("what was written can be read");
    println!("  loaded        {:>8.1} µs each", micros(processor_time() - start, CRONJOBS));
    let mut lab = Lab {
        world: again,
        rows: HashMap::new(),
        keeps_rows: true,
        now,
        commands: Vec::new(),
        puts: 0,
        bytes: 0,
        batches: 0,
        spent: Duration::ZERO,
    };
    lab.settle();
    println!("  looked at     {:>8.1} µs each, {} rows written", micros(lab.spent, CRONJOBS), lab.puts);
    lab.spent = Duration::ZERO;
    for _ in 0..100 {
        lab.step();
    }
    println!("  at rest       {:>8.1} µs a batch", micros(lab.spent, 100));

    lab.now = START + 30;
    lab.spent = Duration::ZERO;
    lab.batches = 0;
    let mut lateness: Vec<Duration> = Vec::new();
    let mut made = 0;
    loop {
        let more = lab.step();
        let count = lab.world.snapshot().count(Resource::Job);
        lateness.extend(std::iter::repeat_n(lab.spent, count - made));
        made = count;
        if !more {
            break;
        }
    }
    assert_eq!(made, DUE);
    println!("{DUE} due in one minute");
    println!(
        "  each          {:>8.1} µs, {} batches, {} B in the journal",
        micros(lab.spent, DUE),
        lab.batches,
        lab.bytes / DUE
    );
    let at = |part: usize| lateness[(lateness.len() - 1) * part / 100];
    println!(
        "  late by       p50 {:.0?}, p99 {:.0?}, last {:.0?} (of processor time here)",
        at(50),
        at(99),
        at(100)
    );
}

fn quota() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": "default"},
        "spec": {"hard": {"pods": "100", "requests.cpu": "100", "limits.memory": "1Ti", "count/pods": "20000"}},
    })
}

fn limit_range() -> Value {
    json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "usual", "namespace": "default"},
        "spec": {"limits": [{
            "type": "Container", "defaultRequest": {"cpu": "10m", "memory": "1Mi"},
            "default": {"cpu": "1", "memory": "16Mi"},
        }]},
    })
}

fn array(what: &str, parallelism: usize, pods: u32, policies: &[Value]) {
    let mut lab = Lab::new(pods);
    for policy in policies {
        lab.create(policy.clone());
    }
    lab.create(json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "array", "namespace": "default"},
        "spec": {
            "completionMode": "Indexed", "completions": INDEXES, "parallelism": parallelism,
            "template": template(),
        },
    }));
    let mut ended = 0;
    while ended < INDEXES {
        lab.step();
        let started: Vec<Assignment> = std::mem::take(&mut lab.commands)
            .into_iter()
            .filter_map(|command| match command {
                Command::Start(pod) => Some(*pod),
                _ => None,
            })
            .collect();
        let at = lab.at();
        let reports: Vec<Report> = started.iter().map(|pod| running(pod, lab.now)).collect();
        lab.timed(|world| reports.into_iter().for_each(|report| world.report(report, at)));
        lab.step();
        ended += started.len();
        let reports: Vec<Report> = started.iter().map(|pod| succeeded(pod, lab.now)).collect();
        lab.timed(|world| reports.into_iter().for_each(|report| world.report(report, at)));
    }
    lab.settle();
    let snapshot = lab.world.snapshot();
    let job = snapshot.get(Resource::Job, "default", "array").expect("the Job");
    assert_eq!(job.job_status().map(|status| status.succeeded), Some(INDEXES as u32));
    let rows = lab.rows.iter().filter(|(key, _)| matches!(key, RowKey::ArrayPod { .. }));
    let bytes: usize = rows.map(|(_, row)| row.status.len()).sum();
    println!("an array of {INDEXES}, {what}");
    println!("  each index    {:>8.1} µs, {} batches", micros(lab.spent, INDEXES), lab.batches);
    println!(
        "  journal       {:>8.1} rows and {} B an index; a finished one is {} B",
        lab.puts as f64 / INDEXES as f64,
        lab.bytes / INDEXES,
        bytes / INDEXES
    );
}

fn micros(spent: Duration, count: usize) -> f64 {
    spent.as_secs_f64() * 1e6 / count as f64
}

/// Of this thread, so that a busy machine does not count: the first number of `schedstat`, exact to a tick.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn config(pods: u32) -> Config {
    Config {
        machine: Machine::default(),
        capacity: Capacity {
            cpu_millis: 1_000_000,
            memory_bytes: 1 << 50,
            pods,
            ephemeral_storage_bytes: 1 << 50,
        },
        devices: Default::default(),
        hostname: "bench".into(),
        ca_pem: "-".into(),
        seed: [7; 32],
    }
}

fn create(object: Value) -> Request {
    let kind = object["kind"].as_str().unwrap_or_default();
    let version = object["apiVersion"].as_str().unwrap_or_default();
    Request {
        user: User { name: "ada".into(), groups: vec!["system:masters".into()], ..User::default() },
        resource: Resource::from_kind(version, kind).expect("a served kind"),
        namespace: "default".into(),
        name: String::new(),
        subresource: Subresource::None,
        write: Write::Create(object),
        options: WriteOptions { field_validation: FieldValidation::Strict, ..WriteOptions::default() },
        audit_id: "7f3c".into(),
        impersonation: None,
        body_hash: None,
        received: None,
    }
}

fn template() -> Value {
    json!({"spec": {"restartPolicy": "Never", "containers": [{
        "name": "main", "image": "registry.example/ml/features:v12", "command": ["/bin/features", "--date", "today"],
        "env": [{"name": "MODEL", "value": "weather"}, {"name": "REGION", "value": "nyc"}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }]}})
}

fn cronjob(name: &str, schedule: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "features", "team": "weather"}},
        "spec": {
            "schedule": schedule, "timeZone": "America/New_York", "concurrencyPolicy": "Forbid",
            "jobTemplate": {"spec": {"backoffLimit": 2, "template": template()}},
        },
    })
}

fn running(pod: &Assignment, now: i64) -> Report {
    report(pod, Phase::Running, ContainerState::Running { started_at: now }, now)
}

fn succeeded(pod: &Assignment, now: i64) -> Report {
    let end = Terminated {
        exit_code: 0,
        signal: None,
        reason: TerminatedReason::Completed,
        message: None,
        started_at: Some(now),
        finished_at: now,
    };
    report(pod, Phase::Succeeded, ContainerState::Terminated(end), now)
}

fn report(pod: &Assignment, phase: Phase, state: ContainerState, now: i64) -> Report {
    let container = ContainerStatus {
        state,
        last_terminated: None,
        restart_count: 0,
        image_id: Some("registry.example/ml/features@sha256:3b9fd1c0".into()),
    };
    let status =
        PodStatus { phase, started_at: Some(now), containers: vec![container], ..PodStatus::default() };
    Report::Status { uid: pod.uid, status: Box::new(status) }
}
