//! What auditing costs a large array, of all that the control plane does for it: decisions, transactions, the log and its files.
//! No container is started: a node that is not there says at once that each pod ran and ended.
//!
//! `cargo run --release -p watchbell-server --example array_audit [-- INDEXES [ROUNDS]]`
//!
//! *Without* the entries are made and then thrown away, so neither written, hashed, signed nor published: the server itself has no
//! such switch. What making them costs is in both.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::Resource;
use watchbell_api::node::{Assignment, Capacity, Command, Report};
use watchbell_api::types::pod_status::{
    ContainerState, ContainerStatus, Phase, PodStatus, Terminated, TerminatedReason,
};
use watchbell_core::request::{FieldValidation, Request, Subresource, User, Write, WriteOptions};
use watchbell_core::world::{Config, Machine, RowKey, Stage, World};
use watchbell_store::{AuditEntry, Batch, Put, Seal, Store};

/// 2026-03-01T00:00:30Z
const START: i64 = 1_772_323_230;
const PARALLELISM: u32 = 32;
/// Commits between two times that the files are brought up: some tenths of a second, as in the server.
const COMMITS_A_PUBLISH: usize = 64;
const IMAGE: &str =
    "registry.example/ml/features@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let indexes: u32 = args.next().map_or(Ok(10_000), |text| text.parse())?;
    let rounds: usize = args.next().map_or(Ok(5), |text| text.parse())?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..rounds.max(1) {
        with.push(run(indexes, Entries::Kept)?);
        without.push(run(indexes, Entries::Dropped)?);
    }
    let ratio = |(w, o): (&Run, &Run)| w.cpu.as_secs_f64() / o.cpu.as_secs_f64();
    let one = &with[0];
    println!(
        "{indexes} indexes, {PARALLELISM} at a time, {} commits; {} entries, {} bytes an index",
        one.commits,
        one.entries,
        one.entry_bytes / indexes as usize
    );
    println!("processor time and wall time, milliseconds:");
    for pair in with.iter().zip(&without) {
        let (w, o) = pair;
        println!(
            "  with {:>6} {:>6}   without {:>6} {:>6}   {:.2} times the processor time",
            w.cpu.as_millis(),
            w.wall.as_millis(),
            o.cpu.as_millis(),
            o.wall.as_millis(),
            ratio(pair)
        );
    }
    let each = |runs: &[Run]| median(runs.iter().map(|run| run.cpu.as_secs_f64() * 1e6 / f64::from(indexes)));
    println!(
        "median: {:.2} times; {:.1} µs an index with, {:.1} without",
        median(with.iter().zip(&without).map(ratio)),
        each(&with),
        each(&without)
    );
    Ok(())
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Entries {
    Kept,
    Dropped,
}

struct Run {
    cpu: Duration,
    wall: Duration,
    commits: usize,
    entries: usize,
    entry_bytes: usize,
}

fn run(indexes: u32, entries: Entries) -> Result<Run, Failure> {
    let dir = tempfile::tempdir()?;
    let (mut store, _) = Store::open(dir.path())?;
    let mut publisher = store.publisher()?;
    let mut world = World::new(config());
    let now = Timestamp::from_second(START)?;
    world.furnish(now);
    commit(&mut world, &mut store, now, entries)?;
    world.write(create(job(indexes)), now).map_err(|e| e.message)?;
    let settings = Arc::new(settings());
    let (wall, cpu) = (Instant::now(), processor_time());
    let (mut commits, mut count, mut bytes, mut ended) = (0, 0, 0, 0);
    while ended < indexes {
        world.settle(now);
        let done = commit(&mut world, &mut store, now, entries)?;
        commits += 1;
        count += done.entries;
        bytes += done.bytes;
        for command in done.commands {
            if let Command::Start(pod) = command {
                world.report(started(&pod, &settings), now);
                world.report(status(&pod), now);
                ended += 1;
            }
        }
        if entries == Entries::Kept && commits % COMMITS_A_PUBLISH == 0 {
            publisher.publish()?;
        }
    }
    world.settle(now);
    commit(&mut world, &mut store, now, entries)?;
    if entries == Entries::Kept {
        publisher.publish()?;
    }
    let (cpu, wall) = (processor_time() - cpu, wall.elapsed());
    Ok(Run { cpu, wall, commits, entries: count, entry_bytes: bytes })
}

struct Done {
    commands: Vec<Command>,
    entries: usize,
    bytes: usize,
}

fn commit(world: &mut World, store: &mut Store, now: Timestamp, entries: Entries) -> Result<Done, Failure> {
    let stage = world.take_stage(now);
    let batch = batch(&stage, world.resource_version(), entries);
    let (entries, bytes) = (batch.audit.len(), batch.audit.iter().map(|entry| entry.body.len()).sum());
    if store.commit(&batch)?.wal_bytes > 16 << 20 {
        store.checkpoint()?;
    }
    world.committed();
    Ok(Done { commands: stage.commands, entries, bytes })
}

/// As the server makes it.
fn batch(stage: &Stage, version: u64, entries: Entries) -> Batch {
    let key = |key: &RowKey| match key {
        RowKey::Object { resource, namespace, name } => {
            watchbell_store::RowKey::object(&resource.info().qualified(), namespace, name)
        }
        RowKey::ArrayPod { job_id, index, attempt } => {
            watchbell_store::RowKey::ArrayPod { job: *job_id, index: *index, attempt: *attempt }
        }
    };
    let audit = stage.audit.iter().map(|record| AuditEntry {
        at_unix_nanos: i64::try_from(record.at.as_nanosecond()).unwrap_or(i64::MAX),
        body: record.body.to_string().into_bytes(),
    });
    let puts = stage.rows.iter().map(|row| Put {
        key: key(&row.key),
        resource_version: row.resource_version,
        head: row.head.clone(),
        status: Some(row.status.clone()),
        seal: Seal::Plain,
    });
    Batch {
        resource_version: version,
        puts: puts.collect(),
        deletes: stage.deletes.iter().map(key).collect(),
        audit: if entries == Entries::Kept { audit.collect() } else { Vec::new() },
        may_use_reserve: false,
    }
}

fn started(pod: &Assignment, settings: &Arc<Value>) -> Report {
    Report::Started {
        uid: pod.uid,
        container: 0,
        attempt: 0,
        host_ids: Some(1_000_000 + 65_536 * (pod.index.unwrap_or(0) % 64)),
        settings: settings.clone(),
    }
}

fn status(pod: &Assignment) -> Report {
    let end = Terminated {
        exit_code: 0,
        signal: None,
        reason: TerminatedReason::Completed,
        message: None,
        started_at: Some(START),
        finished_at: START,
    };
    let status = PodStatus {
        phase: Phase::Succeeded,
        started_at: Some(START),
        finished_at: Some(START),
        containers: vec![ContainerStatus {
            state: ContainerState::Terminated(end),
            last_terminated: None,
            restart_count: 0,
            image_id: Some(IMAGE.into()),
        }],
        ..PodStatus::default()
    };
    Report::Status { uid: pod.uid, status: Box::new(status) }
}

fn settings() -> Value {
    json!({
        "container": "main", "image": IMAGE, "network": "none", "userNamespace": true, "runAsUser": 65534,
        "runAsGroup": 65534, "privileged": false, "capabilities": "none", "noNewPrivileges": true,
        "seccomp": "RuntimeDefault", "hasSeccompProfile": false, "procMount": "Default",
        "sharesNamespaces": false, "readOnlyRootFilesystem": true,
        "limits": {"memoryBytes": 1 << 30, "cpuQuotaUs": null, "cpuPeriodUs": 0, "cpuWeight": 10, "pids": 1024},
        "oomScoreAdj": 1000,
    })
}

fn job(indexes: u32) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train", "namespace": "default"},
        "spec": {
            "completionMode": "Indexed", "completions": indexes, "parallelism": PARALLELISM,
            "template": {"spec": {"restartPolicy": "Never", "containers": [{
                "name": "main", "image": "registry.example/ml/features:v12", "command": ["/bin/features"],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            }]}},
        },
    })
}

fn create(object: Value) -> Request {
    Request {
        user: User { name: "ada".into(), groups: vec!["system:masters".into()], ..User::default() },
        resource: Resource::Job,
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

fn config() -> Config {
    Config {
        machine: Machine::default(),
        capacity: Capacity {
            cpu_millis: 1_000_000,
            memory_bytes: 1 << 50,
            pods: 1000,
            ephemeral_storage_bytes: 1 << 50,
        },
        devices: Default::default(),
        hostname: "bench".into(),
        ca_pem: "-".into(),
        seed: [7; 32],
    }
}

/// Of this process, all threads.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
