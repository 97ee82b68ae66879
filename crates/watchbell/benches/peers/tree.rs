//! What a contender and all that it started take: CPU time and memory of a tree of processes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A sample costs some milliseconds, which everybody pays alike.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// Processes by their parents.
fn children() -> HashMap<u32, Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        if let Some(parent) = stat(pid).and_then(|fields| fields[1].parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

/// Fields of `/proc/PID/stat` from the third on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<String> = stat.rsplit(") ").next()?.split(' ').map(str::to_owned).collect();
    (fields.len() > 14).then_some(fields)
}

/// The roots and all below them.
fn members(roots: &[u32]) -> Vec<u32> {
    let children = children();
    let mut members = roots.to_vec();
    let mut at = 0;
    while let Some(pid) = members.get(at) {
        members.extend(children.get(pid).into_iter().flatten().filter(|pid| !roots.contains(pid)));
        at += 1;
    }
    members
}

/// CPU milliseconds so far of all that live and of all that they reaped. The kernel tells each in steps of ten.
pub(crate) fn cpu_ms(roots: &[u32]) -> f64 {
    let ticks = |pid: u32| {
        let fields = stat(pid).unwrap_or_default();
        (11..15).map(|n| fields.get(n).and_then(|t| t.parse::<u64>().ok()).unwrap_or(0)).sum::<u64>()
    };
    members(roots).into_iter().map(ticks).sum::<u64>() as f64 * 10.0
}

/// Memory in KiB, what several processes share counted once.
pub(crate) fn memory_kib(roots: &[u32]) -> u64 {
    let one = |pid: u32| {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find(|l| l.starts_with("Pss:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0u64)
    };
    members(roots).into_iter().map(one).sum()
}

/// Looks at the memory again and again.
pub(crate) struct Sampler {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Sampler {
    pub(crate) fn start(roots: Vec<u32>) -> Sampler {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            let mut peak = memory_kib(&roots);
            while !over.load(Ordering::Relaxed) {
                std::thread::park_timeout(SAMPLE_EVERY);
                peak = peak.max(memory_kib(&roots));
            }
            peak
        });
        Sampler { is_over, thread }
    }

    /// The highest of all samples.
    pub(crate) fn peak_kib(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().unwrap()
    }
}
