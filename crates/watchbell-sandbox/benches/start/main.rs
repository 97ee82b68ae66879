//! The sandbox alone, beside the raw floor, in one interleaved run: no server, no journal, a driver that asks the spawner.
//!
//! `cargo bench -p watchbell-sandbox --bench start -- COUNT ROUNDS AT_ONCE…` (root), by default `500 3 1 2 4 32`.
//!
//! `… -- price COUNT ROUNDS AT_ONCE`, by default `300 3 2`, prints what each protection adds to the floor, and what is left then
//! (`price.rs`).
//!
//! `… -- layered COUNT ROUNDS AT_ONCE`, by default `300 3 2`: the same task with a data array below it, and without (`layered.rs`).
//!
//! `… -- roots COUNT ROUNDS AT_ONCE`, by default `300 3 2`: root file systems of one layer and of ten, read-only and writable (`roots.rs`).
//!
//! *ask to exec* is from the driver's request until the spawner saw the program executed; *ask to end* until its end is known.
//! *CPU* is that of the spawner, the keeper and the tasks together; for the floor of the program and its children. *machine* is
//! what both processors did meanwhile, the kernel's own threads and everybody else included: it means something on a quiet
//! machine only.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

#[path = "../../examples/raw_floor.rs"]
mod raw_floor;

mod layered;
mod price;
mod roots;
mod sandbox;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use sandbox::{Batch, Sandbox};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next().as_ref().and_then(|word| word.to_str()) {
        Some("spawner") => watchbell_sandbox::spawner_main(args),
        Some("keeper") => watchbell_sandbox::keeper_main(args),
        Some("floor") => {
            raw_floor::main();
            ExitCode::SUCCESS
        }
        Some("row") => {
            price::row();
            ExitCode::SUCCESS
        }
        Some("layered") => {
            let (dir, _, mut sandbox) = ready();
            layered::print(&mut sandbox, dir.path(), &numbers());
            ExitCode::SUCCESS
        }
        Some("roots") => {
            let (_dir, _, mut sandbox) = ready();
            roots::print(&mut sandbox, &numbers());
            ExitCode::SUCCESS
        }
        Some("price") => {
            run_price();
            ExitCode::SUCCESS
        }
        _ => {
            run();
            ExitCode::SUCCESS
        }
    }
}

fn numbers() -> Vec<usize> {
    assert!(rustix::process::geteuid().is_root(), "the bench starts containers, which needs root");
    std::env::args().filter_map(|a| a.parse().ok()).collect()
}

/// How many tasks, rounds, and at once.
fn counts(numbers: &[usize]) -> [usize; 3] {
    let number = |at: usize, default: usize| numbers.get(at).copied().unwrap_or(default).max(1);
    [number(0, 300), number(1, 3), number(2, 2)]
}

fn median(all: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = all.collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// One that has warmed up, with its directory and the program of its tasks.
fn ready() -> (tempfile::TempDir, std::path::PathBuf, Sandbox) {
    let dir = tempfile::tempdir().expect("a directory for the bench");
    let program = build_true(dir.path());
    let mut sandbox = Sandbox::launch(dir.path(), &program);
    sandbox.run(32, 8);
    (dir, program, sandbox)
}

fn run_price() {
    let [count, rounds, at_once] = counts(&numbers());
    let (_dir, program, mut sandbox) = ready();
    price::print(&program, [count, rounds, at_once], || {
        let batch = sandbox.run(count, at_once);
        [batch.wall_ms, batch.cpu_ms].map(|ms| ms / count as f64)
    });
}

fn run() {
    let numbers = numbers();
    let number = |at: usize, default: usize| numbers.get(at).copied().unwrap_or(default);
    let (count, rounds) = (number(0, 500), number(1, 3).max(1));
    let at_once: &[usize] = numbers.get(2..).filter(|n| !n.is_empty()).unwrap_or(&[1, 2, 4, 32]);
    let (_dir, program, mut sandbox) = ready();
    for at_once in at_once {
        let mut ratios: Vec<[[f64; 2]; 2]> = Vec::new();
        for round in 0..rounds {
            let ours = measured(|| sandbox.run(count, *at_once));
            let floor = measured(|| run_floor(&program, count, *at_once, &[]));
            let rooted = measured(|| run_floor(&program, count, *at_once, &["root"]));
            println!("{at_once} at once, round {}:\n  sandbox {ours}\n  floor   {floor}", round + 1);
            println!("  a root  {rooted}");
            let times = |floor: &Batch| [floor.rate() / ours.rate(), ours.cpu_ms / floor.cpu_ms];
            ratios.push([times(&floor), times(&rooted)]);
        }
        for (at, name) in ["the floor", "the floor with a root"].into_iter().enumerate() {
            let [wall, cpu] = [0, 1].map(|which| median(ratios.iter().map(|r| r[at][which])));
            println!(
                "{at_once} at once: {wall:.2} times {name} in wall time, {cpu:.2} times in CPU time (medians)"
            );
        }
    }
}

impl Batch {
    fn rate(&self) -> f64 {
        self.count as f64 / self.wall_ms * 1e3
    }
}

impl std::fmt::Display for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = |ms: f64| ms / self.count as f64;
        write!(
            f,
            "{:5.0}/s, {:.2} ms CPU a task{}, machine {:.2} ms",
            self.rate(),
            each(self.cpu_ms),
            self.note,
            each(self.machine_ms)
        )?;
        for (what, sorted) in [("exec", &self.to_exec), ("end", &self.to_end)] {
            if let Some(last) = sorted.len().checked_sub(1) {
                let (p50, p99) = (sorted[last / 2], sorted[last * 99 / 100]);
                write!(f, "; ask to {what} p50 {p50:.2} p99 {p99:.2} ms")?;
            }
        }
        Ok(())
    }
}

/// Adds what the machine as a whole did, and puts times in order.
fn measured(work: impl FnOnce() -> Batch) -> Batch {
    let before = machine_ms();
    let mut batch = work();
    batch.machine_ms = machine_ms() - before;
    batch.to_exec.sort_by(f64::total_cmp);
    batch.to_end.sort_by(f64::total_cmp);
    batch
}

/// Busy milliseconds of all processors since the machine was booted.
fn machine_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").expect("/proc/stat");
    let numbers: Vec<f64> =
        stat.lines().next().unwrap_or_default().split_whitespace().filter_map(|n| n.parse().ok()).collect();
    // All but idle and iowait, in hundredths of a second.
    numbers.iter().enumerate().filter(|(at, _)| ![3, 4].contains(at) && *at < 7).map(|(_, n)| n * 10.0).sum()
}

fn build_true(dir: &Path) -> std::path::PathBuf {
    let (source, program) = (dir.join("true.c"), dir.join("true"));
    std::fs::write(&source, "int main(void) { return 0; }\n").expect("a source file");
    let compiled = Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source).status();
    assert!(compiled.is_ok_and(|status| status.success()), "a C compiler that links statically is needed");
    program
}

/// A process of its own, so that its memory is small and its CPU time its own.
fn run_floor(program: &Path, count: usize, at_once: usize, words: &[&str]) -> Batch {
    let begun = Instant::now();
    let output = Command::new("/proc/self/exe")
        .arg("floor")
        .arg(program)
        .args([count.to_string(), at_once.to_string(), "times".to_owned()])
        .args(words)
        .output()
        .expect("the floor runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    assert!(numbers.len() >= 3, "{text} after {:?}", begun.elapsed());
    Batch {
        count,
        wall_ms: numbers[1],
        cpu_ms: numbers[2],
        machine_ms: 0.0,
        to_exec: Vec::new(),
        to_end: numbers[3..].to_vec(),
        note: String::new(),
    }
}
