//! An Indexed Job of tasks that do nothing, beside others who start as many, in one interleaved run: raw clones in the same
//! namespaces, the sandbox without a server, `runc`, `crun`, `podman`, HyperQueue, Slurm.
//!
//! `cargo bench -p watchbell --bench array` (root; `make bench-setup` installs the others). Other sizes: `-- TASKS ROUNDS`.
//! `WATCHBELL=PATH` measures another build of the program.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

mod peers;
mod stand;

use std::cell::RefCell;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use peers::alone::Alone;
use peers::oci::Bundle;
use peers::services::{HyperQueue, Slurm};
use peers::{Batch, Took, holder, measured, quantile, tree};
use stand::{Client, Stand, Use, file_bytes, memory_kib, used};

/// How many run at the same time. The others do not get faster by more than this on two processors.
const AT_ONCE: usize = 4;
const RAW_ROOT: &str = "raw clone, a root";
const OURS: [&str; 2] = ["the sandbox alone", "watchbell"];
/// crun before 1.9 does not know a host with both versions of control groups: it is shown one without.
const WITHOUT_UNIFIED: [&str; 5] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "if mountpoint -q /sys/fs/cgroup/unified; then umount -l /sys/fs/cgroup/unified; fi; exec \"$0\" \"$@\"",
];

/// A contender, and what it took in each round; or why it could not.
struct Row<'a> {
    label: String,
    at_once: usize,
    /// So many fewer tasks than the others, so that a slow one does not take all the time.
    fewer: usize,
    run: Box<dyn FnMut(usize) -> Result<Batch, String> + 'a>,
    rounds: Vec<Batch>,
    refusal: Option<String>,
}

impl<'a> Row<'a> {
    fn new(label: &str, at_once: usize, run: impl FnMut(usize) -> Result<Batch, String> + 'a) -> Row<'a> {
        let run = Box::new(run);
        Row { label: label.to_owned(), at_once, fewer: 1, run, rounds: Vec::new(), refusal: None }
    }

    fn round(&mut self, count: usize) {
        if self.refusal.is_none() {
            match (self.run)((count / self.fewer).max(self.at_once)) {
                Ok(batch) => self.rounds.push(batch),
                Err(reason) => self.refusal = Some(reason),
            }
        }
    }

    /// The middle one of a figure of all rounds.
    fn median(&self, figure: impl Fn(&Batch) -> f64) -> f64 {
        quantile(&mut self.rounds.iter().map(figure).collect::<Vec<_>>(), 0.5).unwrap_or(f64::NAN)
    }

    fn median_ratio(&self, other: &Row<'_>) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        quantile(&mut pairs.map(|(a, b)| a.rate() / b.rate()).collect::<Vec<_>>(), 0.5).unwrap_or(f64::NAN)
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // The sandbox alone is this very program, as it is the server's.
    match args.next().as_ref().and_then(|word| word.to_str()) {
        Some("spawner") => return watchbell_sandbox::spawner_main(args),
        Some("keeper") => return watchbell_sandbox::keeper_main(args),
        _ => {}
    }
    holder::serve().unwrap_or_else(|| {
        run();
        ExitCode::SUCCESS
    })
}

fn run() {
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let number = |at: usize, default: usize| numbers.get(at).copied().unwrap_or(default);
    let (count, rounds) = (number(0, 1_000), number(1, 3).max(1));
    let name = format!("bench{}", std::process::id());
    let mut stand = Stand::new();
    let (floor, program) = (raw_floor(), stand.build_true(&name));
    let bundle = Bundle::make(&program);
    // An empty journal, to be subtracted.
    stand.launch();
    drop(stand.client());
    stand.stop();
    let empty = file_bytes(&stand.data());
    stand.launch();
    let client = stand.client();
    let mut queue = HyperQueue::start(&bench_python(), &program, AT_ONCE);
    let slurm = Slurm::start(&program, AT_ONCE);
    let alone = RefCell::new(Alone::launch(&program));
    let ours = RefCell::new((vec![0.0; Use::PARTS.len()], 0usize));

    let mut rows = Vec::new();
    for at_once in [1, 2, AT_ONCE, 32] {
        let (name, floor, program, stand, client, ours) = (&name, &floor, &program, &stand, &client, &ours);
        for (label, words) in [("raw clone, no mount", &[][..]), (RAW_ROOT, &["root"][..])] {
            rows.push(Row::new(label, at_once, move |n| run_raw(name, floor, program, [n, at_once], words)));
        }
        let alone = &alone;
        rows.push(Row::new("the sandbox alone", at_once, move |n| {
            let pids = alone.borrow().pids();
            measured(name, pids, n, at_once, || Ok(alone.borrow_mut().run(n, at_once)))
        }));
        rows.push(Row::new("watchbell", at_once, move |n| run_job(stand, client, name, n, at_once, ours)));
    }
    for (label, at_once, before, words, fewer) in [
        ("runc run", 1, &[][..], bundle.run("runc"), 4),
        ("runc run", AT_ONCE, &[][..], bundle.run("runc"), 4),
        ("crun run", 1, &WITHOUT_UNIFIED[..], bundle.run("crun"), 4),
        ("crun run", AT_ONCE, &WITHOUT_UNIFIED[..], bundle.run("crun"), 4),
        ("podman run (crun)", AT_ONCE, &WITHOUT_UNIFIED[..], bundle.podman(), 25),
    ] {
        let name = &name;
        let mut row = Row::new(label, at_once, move |n| run_many(name, before, &words, n, at_once));
        row.fewer = fewer;
        rows.push(row);
    }
    rows.push(Row::new("HyperQueue, no isolation", AT_ONCE, |n| {
        let queue = queue.as_mut().map_err(|reason| reason.clone())?;
        service(&name, queue.pid(), n, || queue.run(n))
    }));
    let mut row = Row::new("Slurm array, no isolation", AT_ONCE, |n| {
        let slurm = slurm.as_ref().map_err(Clone::clone)?;
        service(&name, slurm.pid(), n, || slurm.run(n))
    });
    row.fewer = 20;
    rows.push(row);

    println!(
        "{rounds} rounds, {count} tasks a row and round (podman, Slurm, runc, crun fewer); load {}",
        load()
    );
    let null = std::fs::metadata("/dev/null").unwrap();
    for round in 1..=rounds {
        for row in &mut rows {
            row.round(count);
            // podman hands the host's to crun, which gives it to the container's user.
            chown("/dev/null", Some(null.uid()), Some(null.gid())).unwrap();
        }
        let rates = rows.iter().filter_map(|row| {
            Some(format!("{} @{} {:.0}/s", row.label, row.at_once, row.rounds.get(round - 1)?.rate()))
        });
        println!("round {round}: {}", rates.collect::<Vec<_>>().join("; "));
    }
    print_table(&rows);
    drop(rows);
    print_ours(&mut stand, &ours.into_inner(), &empty);
}

fn print_table(rows: &[Row<'_>]) {
    println!();
    println!(
        "| | at once | tasks | tasks/s | of the first raw | CPU ms a task | due to begun p50 | p99 | peak memory |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        if let Some(reason) = &row.refusal {
            println!("| {} | {} | not measured: {reason} |", row.label, row.at_once);
            continue;
        }
        let raw = rows.iter().find(|r| r.label.starts_with("raw") && r.at_once == row.at_once);
        let tasks: usize = row.rounds.iter().map(|b| b.count).sum();
        let mut late: Vec<f64> = row.rounds.iter().flat_map(|b| b.latencies_ms.iter().copied()).collect();
        let share = |late: &mut [f64], share| match quantile(late, share) {
            // Some of the kernel's events were lost.
            Some(_) if late.len() < tasks * 9 / 10 => format!("{} of {tasks} seen", late.len()),
            Some(ms) => format!("{ms:.1} ms"),
            None => "not seen".to_owned(),
        };
        println!(
            "| {} | {} | {tasks} | {:.0} | {:.2} | {:.2} | {} | {} | {:.0} MiB |",
            row.label,
            row.at_once,
            row.median(Batch::rate),
            raw.map_or(f64::NAN, |raw| row.median_ratio(raw)),
            row.median(Batch::cpu_a_task),
            share(&mut late, 0.5),
            share(&mut late, 0.99),
            row.median(|b| b.peak_kib as f64) / 1024.0,
        );
    }
    println!();
    for ours in rows.iter().filter(|r| OURS.contains(&&*r.label) && !r.rounds.is_empty()) {
        let others = rows.iter().filter(|r| r.at_once == ours.at_once && !OURS.contains(&&*r.label));
        let ratios = others.filter(|r| !r.rounds.is_empty());
        let ratios = ratios.map(|row| format!("{} {:.2}", row.label, ours.median_ratio(row)));
        let ratios = ratios.collect::<Vec<_>>().join("; ");
        println!("{} at {}, median ratio of rates to: {ratios}", ours.label, ours.at_once);
    }
}

/// Where our part of the CPU time, the memory and the disk went.
fn print_ours(
    stand: &mut Stand,
    (split, tasks): &(Vec<f64>, usize),
    empty: &std::collections::BTreeMap<String, u64>,
) {
    let split: Vec<String> =
        Use::PARTS.iter().zip(split).map(|(name, ms)| format!("{name} {:.2}", ms / *tasks as f64)).collect();
    println!("watchbell, CPU milliseconds a task: {}", split.join(", "));
    let peak = stand.processes().into_iter();
    let peak: Vec<String> =
        peak.map(|(name, pid)| format!("{name} {} KiB", memory_kib(pid, "VmHWM"))).collect();
    println!("watchbell, peak resident: {}", peak.join(", "));
    stand.stop();
    // The image is unpacked once, whatever the number of pods.
    for (name, bytes) in file_bytes(&stand.data()) {
        let grown = bytes.saturating_sub(empty.get(&name).copied().unwrap_or(0));
        if !["images", "layers"].contains(&name.as_str()) && grown > 0 {
            println!("{name}: {:.0} bytes a pod", grown as f64 / *tasks as f64);
        }
    }
}

/// From the request to the Job's condition.
fn run_job(
    stand: &Stand,
    client: &Client,
    name: &str,
    count: usize,
    at_once: usize,
    all: &RefCell<(Vec<f64>, usize)>,
) -> Result<Batch, String> {
    let processes = stand.processes();
    let roots = processes.iter().map(|(_, pid)| *pid).collect();
    let mut all = all.borrow_mut();
    measured(name, roots, count, at_once, || {
        let before = used(&processes);
        let job = format!("array-{}", all.1);
        let wall = client.run_job(&job, count, at_once);
        let parts = (used(&processes) - before).parts();
        all.0.iter_mut().zip(&parts).for_each(|(sum, part)| *sum += part);
        all.1 += count;
        Ok(Took { wall_ms: Some(wall.as_secs_f64() * 1e3), cpu_ms: parts.iter().sum() })
    })
}

/// Builds the program that may hold the unsafe calls, beside ours.
fn raw_floor() -> PathBuf {
    let words = "build --quiet --release --locked -p watchbell-sandbox --example raw_floor";
    assert!(Command::new(env!("CARGO")).args(words.split(' ')).status().unwrap().success());
    let path = target().join("release/examples/raw_floor");
    assert!(path.exists(), "{} was not built", path.display());
    path
}

/// Above the profile's directory that this bench was built in.
fn target() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_watchbell")).ancestors().nth(2).unwrap()
}

fn bench_python() -> PathBuf {
    target().join("bench-venv/bin/python")
}

fn run_raw(
    name: &str,
    floor: &Path,
    program: &Path,
    [count, at_once]: [usize; 2],
    words: &[&str],
) -> Result<Batch, String> {
    let child = Command::new(floor)
        .arg(program)
        .args([count.to_string(), at_once.to_string()])
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    measured(name, vec![child.id()], count, at_once, || {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        match numbers[..] {
            [_, wall, cpu_ms] if output.status.success() => Ok(Took { wall_ms: Some(wall), cpu_ms }),
            _ => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    })
}

/// A process a task.
fn run_many(
    name: &str,
    before: &[&str],
    words: &[String],
    count: usize,
    at_once: usize,
) -> Result<Batch, String> {
    let program = &words[0];
    if !Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success()) {
        return Err(format!("{program} is not installed (make bench-setup)"));
    }
    let child = holder::many(before, count, at_once, words).map_err(|e| e.to_string())?;
    measured(name, vec![child.id()], count, at_once, || holder::start(child))
}

fn service(
    name: &str,
    pid: u32,
    count: usize,
    run: impl FnOnce() -> Result<(), String>,
) -> Result<Batch, String> {
    measured(name, vec![pid], count, AT_ONCE, || {
        let before = tree::cpu_ms(&[pid]);
        run()?;
        Ok(Took { wall_ms: None, cpu_ms: tree::cpu_ms(&[pid]) - before })
    })
}

/// Of the last minute, ours included.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}
