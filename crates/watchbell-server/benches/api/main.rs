//! What the API costs: the memory under attack, lists of many pods, watchers of a large Job, and an apply loop, each in the forms
//! that clients ask for.
//!
//! `cargo bench -p watchbell-server --bench api` (no root). Fewer pods: `-- PODS SECONDS CONNECTIONS`. The server is a process of its own, with
//! a real journal and a node that starts nothing: every pod is running and done when it is told to start.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

mod attack;
mod client;
mod server;

use std::time::{Duration, Instant};

use client::{Client, Watcher};
use serde_json::{Value, json};
use server::Process;

const PODS: &str = "/api/v1/namespaces/default/pods";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";

/// How long the node takes for a pod while pods are watched: as many end in a second as real containers do here.
const PACE: Duration = Duration::from_micros(2500);

/// Events sent, each counted once a watcher; objects made into bytes for them; open watches.
const EVENTS: &str = "watchbell_watch_events_total ";
const ENCODINGS: &str = "watchbell_watch_encodings_total ";
const WATCHERS: &str = "watchbell_watchers ";

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, dir, delay, pace] = arguments.as_slice()
        && mode == server::MODE
    {
        let micros = |text: &str| Duration::from_micros(text.parse().unwrap());
        server::run(dir.as_ref(), micros(delay), micros(pace));
        return;
    }
    let numbers: Vec<usize> = arguments.iter().filter_map(|a| a.parse().ok()).collect();
    let pods = numbers.first().copied().unwrap_or(10_000);
    let time = Duration::from_secs(numbers.get(1).copied().unwrap_or(5) as u64);
    attack::measure(numbers.get(2).copied().unwrap_or(4096), time);
    lists(pods, time);
    watches(pods);
    applies(time);
}

fn job(name: &str, completions: usize) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {
            "completions": completions, "parallelism": 64, "completionMode": "Indexed",
            "template": {"spec": {"restartPolicy": "Never", "containers": [{
                "name": "main", "image": "busybox:1.36", "command": ["sh", "-c", "exit 0"],
                "env": [{"name": "MODE", "value": "train"}],
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
            }]}},
        },
    })
}

/// Runs a Job to its end and returns how long it took.
fn run(client: &mut Client, name: &str, completions: usize) -> Duration {
    let begun = Instant::now();
    client.call("POST", JOBS, JSON, Some((JSON, job(name, completions).to_string().as_bytes())));
    loop {
        let body = client.call("GET", &format!("{JOBS}/{name}"), JSON, None);
        let found: Value = serde_json::from_slice(&body).unwrap();
        if !found["status"]["completionTime"].is_null() {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(600), "the Job did not end: {}", found["status"]);
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn lists(pods: usize, time: Duration) {
    let server = Process::start(Duration::ZERO, Duration::ZERO);
    let mut client = server.client();
    run(&mut client, "many", pods);
    println!("a list of {pods} pods, one client; server CPU a list and its peak memory:");
    let rest = server.memory_kib("VmRSS");
    println!("  at rest: {rest} KiB");
    let describe = format!("{PODS}?fieldSelector=status.phase%3DRunning");
    let one = format!("{PODS}?labelSelector=batch.kubernetes.io%2Fjob-completion-index%3D7");
    for (what, path, accept, gzip) in [
        ("JSON", PODS, JSON, false),
        ("JSON, gzip", PODS, JSON, true),
        ("protobuf", PODS, PROTOBUF, false),
        ("Table", PODS, TABLE, false),
        ("by a field that none has", &describe, JSON, false),
        ("by a label that one has", &one, JSON, false),
    ] {
        server.forget_peak();
        let (before, begun) = (server.cpu_ms(), Instant::now());
        let (mut count, mut bytes) = (0, 0);
        while begun.elapsed() < time {
            bytes = client.list(path, accept, gzip);
            count += 1;
        }
        println!(
            "  {what}: {:.1}/s, {bytes} bytes, {:.1} ms CPU, peak {} KiB",
            f64::from(count) / begun.elapsed().as_secs_f64(),
            (server.cpu_ms() - before) as f64 / f64::from(count),
            server.memory_kib("VmHWM"),
        );
    }
}

fn watches(pods: usize) {
    println!("a Job of {pods} indexes, 64 at a time, while pods are watched:");
    for (watchers, what, accept) in [
        (0, "no watcher", JSON),
        (1, "1 watcher, JSON", JSON),
        (100, "100 watchers, JSON", JSON),
        (100, "100 watchers, protobuf", PROTOBUF),
        (100, "100 watchers, Table", TABLE),
    ] {
        let server = Process::start(Duration::ZERO, PACE);
        println!("  {what}: {}", watched(&server, "many", pods, watchers, accept));
    }
    let small = pods / 10;
    println!("what a watcher costs beside more pods (a Job of {small} indexes, 10 watchers):");
    for stored in [small, pods] {
        let server = Process::start(Duration::ZERO, PACE);
        run(&mut server.client(), "stored", stored);
        let idle = watched(&server, "unwatched", small, 0, JSON);
        let with = watched(&server, "watched", small, 10, JSON);
        println!("  {stored} stored: without {idle}\n    with {with}");
    }
}

fn watched(server: &Process, name: &str, pods: usize, watchers: usize, accept: &'static str) -> String {
    let mut client = server.client();
    let version = client.version(PODS);
    let path = format!("{PODS}?watch=1&resourceVersion={version}");
    let listening: Vec<Watcher> = (0..watchers).map(|_| server.watch(&path, accept)).collect();
    server.forget_peak();
    let (before, counted) = (server.cpu_ms(), [EVENTS, ENCODINGS].map(|name| server.counted(name)));
    let took = run(&mut client, name, pods);
    let used = server.cpu_ms() - before;
    let [events, encodings, kept] = [EVENTS, ENCODINGS, WATCHERS].map(|name| server.counted(name));
    let bytes: usize = listening.into_iter().map(Watcher::end).sum();
    let (events, encodings) = (events - counted[0], encodings - counted[1]);
    format!(
        "{:.2} s, {:.0} indexes/s, {kept} of {watchers} watched to the end, {events} events ({:.0}/s, {:.0} MB), {encodings} encodings, {:.2} s CPU, peak {} KiB",
        took.as_secs_f64(),
        pods as f64 / took.as_secs_f64(),
        events as f64 / took.as_secs_f64(),
        bytes as f64 / 1e6,
        used as f64 / 1000.0,
        server.memory_kib("VmHWM"),
    )
}

fn applies(time: Duration) {
    println!("server-side apply of a ConfigMap, a new value each time; every answer is durable:");
    for (what, delay) in
        [("fsync of this disk", Duration::ZERO), ("3 ms added to each fsync", Duration::from_millis(3))]
    {
        for clients in [1, 8] {
            let server = Process::start(delay, Duration::ZERO);
            let before = server.cpu_ms();
            let begun = Instant::now();
            let counts: Vec<u32> = std::thread::scope(|scope| {
                let loops: Vec<_> = (0..clients)
                    .map(|n| {
                        let mut client = server.client();
                        scope.spawn(move || apply_loop(&mut client, n, begun + time))
                    })
                    .collect();
                loops.into_iter().map(|handle| handle.join().unwrap()).collect()
            });
            let count: u32 = counts.iter().sum();
            println!(
                "  {what}, {clients} clients: {:.0}/s, {:.2} ms CPU a request",
                f64::from(count) / begun.elapsed().as_secs_f64(),
                (server.cpu_ms() - before) as f64 / f64::from(count),
            );
        }
    }
}

fn apply_loop(client: &mut Client, number: usize, end: Instant) -> u32 {
    let path = format!("/api/v1/namespaces/default/configmaps/m{number}?fieldManager=bench&force=true");
    let mut count = 0;
    while Instant::now() < end {
        let body = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{number}"), "labels": {"app": "bench"}},
            "data": {"round": count.to_string(), "text": "the quick brown fox"},
        });
        client.call(
            "PATCH",
            &path,
            JSON,
            Some(("application/apply-patch+yaml", body.to_string().as_bytes())),
        );
        count += 1;
    }
    count
}
