//! An Indexed Job of `true` tasks, beside as many raw clones in the same namespaces and as many `runc run`, in one
//! interleaved run.
//!
//! `cargo bench -p watchbell --bench array` (root; runc installed). Other sizes: `-- COUNT ROUNDS PARALLELISM`.
//! `WATCHBELL=PATH` measures another build of the program.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

mod runc;
mod stand;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use runc::Bundle;
use serde_json::{Value, json};
use stand::{Client, Stand, Use, file_bytes, memory_kib, used};

const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
/// How many of the others run at the same time: on two processors more does not make them faster, fewer makes them wait.
const AT_ONCE: usize = 8;

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let number = |at: usize, default: usize| numbers.get(at).copied().unwrap_or(default);
    let (count, rounds, parallelism) = (number(0, 10_000), number(1, 5).max(1), number(2, 32));
    let batch = (count / rounds).max(1);
    let mut stand = Stand::new();
    let floor = raw_floor();
    let program = stand.build_true();
    let bundle = Bundle::make(&program);
    if bundle.is_none() {
        println!("runc is not installed (Debian: apt-get install runc): its column is left out");
    }
    // An empty journal, to be subtracted.
    stand.launch();
    drop(stand.client());
    stand.stop();
    let empty = file_bytes(&stand.data());
    stand.launch();
    let client = stand.client();
    println!(
        "{rounds} rounds of {batch} tasks, parallelism {parallelism}; a second, CPU milliseconds a task:"
    );

    let mut all: [Vec<Batch>; 3] = Default::default();
    let mut peak = Vec::new();
    for round in 0..rounds {
        let ours = run_job(&stand, &client, &format!("array-{round}"), batch, parallelism);
        peak = stand.processes().into_iter().map(|(name, pid)| (name, memory_kib(pid, "VmHWM"))).collect();
        let raw = run_raw(&floor, &program, batch);
        print!("  round {}: watchbell {ours}; raw {raw}", round + 1);
        all[0].push(ours);
        all[1].push(raw);
        if let Some(bundle) = &bundle {
            let runc = bundle.run(batch, AT_ONCE);
            print!("; runc {runc}");
            all[2].push(runc);
        }
        println!();
    }
    let [ours, raw, runc] = &all;
    println!("median ratio of rates, watchbell to raw: {:.2}", median_ratio(ours, raw));
    if !runc.is_empty() {
        println!("median ratio of rates, watchbell to runc: {:.1}", median_ratio(ours, runc));
    }
    let split: Vec<String> = Use::PARTS
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let sum: f64 = ours.iter().map(|b| b.cpu_ms[at]).sum();
            format!("{name} {:.2}", sum / (batch * rounds) as f64)
        })
        .collect();
    println!("CPU milliseconds a task: {}", split.join(", "));
    let peak: Vec<String> = peak.iter().map(|(name, kib)| format!("{name} {kib} KiB")).collect();
    println!("peak memory: {}", peak.join(", "));
    stand.stop();
    let full = file_bytes(&stand.data());
    // The image is unpacked once, whatever the number of pods.
    for (name, bytes) in full.iter().filter(|(name, _)| !["images", "layers"].contains(&name.as_str())) {
        let before = empty.get(name).copied().unwrap_or(0);
        let grown = bytes.saturating_sub(before);
        if grown > 0 {
            println!("{name}: {:.0} bytes a pod", grown as f64 / (batch * rounds) as f64);
        }
    }
}

/// One batch of one contender.
pub(crate) struct Batch {
    pub(crate) count: usize,
    pub(crate) wall: Duration,
    pub(crate) cpu_ms: Vec<f64>,
}

impl Batch {
    fn rate(&self) -> f64 {
        self.count as f64 / self.wall.as_secs_f64()
    }
}

impl std::fmt::Display for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cpu: f64 = self.cpu_ms.iter().sum();
        write!(f, "{:.0}/s, {:.2} ms", self.rate(), cpu / self.count as f64)
    }
}

fn median_ratio(ours: &[Batch], theirs: &[Batch]) -> f64 {
    let mut ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a.rate() / b.rate()).collect();
    ratios.sort_by(f64::total_cmp);
    let middle = ratios.len() / 2;
    if ratios.len() % 2 == 1 { ratios[middle] } else { (ratios[middle - 1] + ratios[middle]) / 2.0 }
}

fn job(name: &str, completions: usize, parallelism: usize) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {
            "completions": completions, "parallelism": parallelism, "completionMode": "Indexed", "backoffLimit": 0,
            "template": {"spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "main", "image": "true:1", "imagePullPolicy": "Never"}],
            }},
        },
    })
}

/// From the request to the Job's condition.
fn run_job(stand: &Stand, client: &Client, name: &str, count: usize, parallelism: usize) -> Batch {
    let before = used(&stand.processes());
    let begun = Instant::now();
    client.post(JOBS, &job(name, count, parallelism));
    loop {
        let status = client.get(&format!("{JOBS}/{name}"))["status"].take();
        let has = |kind: &str| {
            let conditions = status["conditions"].as_array();
            conditions.is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == "True"))
        };
        if has("Complete") {
            assert_eq!(status["succeeded"], count, "{status}");
            break;
        }
        assert!(!has("Failed"), "{status}");
        assert!(begun.elapsed() < Duration::from_secs(1800), "the Job does not end: {status}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let wall = begun.elapsed();
    Batch { count, wall, cpu_ms: (used(&stand.processes()) - before).parts() }
}

/// Builds the program that may hold the unsafe calls, beside ours.
fn raw_floor() -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "-p",
            "watchbell-sandbox",
            "--example",
            "raw_floor",
        ])
        .status()
        .unwrap();
    assert!(built.success());
    // Beside the profile's directory that this bench was built in.
    let target = Path::new(env!("CARGO_BIN_EXE_watchbell")).ancestors().nth(2).unwrap();
    let path = target.join("release/examples/raw_floor");
    assert!(path.exists(), "{} was not built", path.display());
    path
}

fn run_raw(floor: &Path, program: &Path, count: usize) -> Batch {
    let output =
        Command::new(floor).arg(program).args([count.to_string(), AT_ONCE.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
    Batch { count, wall: Duration::from_secs_f64(numbers[1] / 1e3), cpu_ms: vec![numbers[2]] }
}
