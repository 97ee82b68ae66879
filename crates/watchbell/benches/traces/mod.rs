//! What the three processes hold, and what there is of the host's because of them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::stand::{Stand, memory_kib};

/// Memory may differ by so much, and by a tenth, from one look to the next without growing.
const SLACK_KIB: u64 = 4 << 10;
/// The spawner ends when it has had no server for ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of one process of the three.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    name: String,
    pid: u32,
    descriptors: usize,
    /// Of them, of namespaces.
    namespaces: usize,
    threads: u64,
    mounts: usize,
    resident_kib: u64,
}

#[derive(Debug)]
pub(crate) struct Traces {
    held: Vec<Held>,
    /// Below the three, zombies included, but for them.
    pub(crate) processes: usize,
    /// The control groups that the spawner made: those of runs are pooled, so there are as many as ran at once.
    subtree: String,
    groups: usize,
    logs: usize,
    run_bytes: u64,
}

impl Traces {
    pub(crate) fn of(stand: &Stand) -> Traces {
        let three = stand.processes();
        let pids: Vec<u32> = three.iter().map(|(_, pid)| *pid).collect();
        let spawner = three.iter().find(|(name, _)| name == "spawner").expect("a spawner").1;
        let held = three.into_iter().map(|(name, pid)| Held::of(name, pid)).collect();
        let subtree = subtree_of(spawner);
        let (logs, _) = files(&stand.data().join("logs"));
        let (_, run_bytes) = files(&stand.data().join("run"));
        Traces { held, processes: below(&pids), groups: groups(&subtree).len(), subtree, logs, run_bytes }
    }

    /// All but memory, which is never twice the same.
    pub(crate) fn same_things(&self, other: &Traces) -> bool {
        let things = |all: &[Held]| {
            let one = |h: &Held| (h.pid, h.descriptors, h.namespaces, h.threads, h.mounts);
            all.iter().map(one).collect::<Vec<_>>()
        };
        things(&self.held) == things(&other.held)
            && (self.processes, self.groups, self.logs) == (other.processes, other.groups, other.logs)
    }

    /// What there is more of than there was.
    pub(crate) fn grown_since(&self, before: &Traces) -> Vec<String> {
        let mut faults = Vec::new();
        for now in &self.held {
            let Some(then) = before.held.iter().find(|then| then.pid == now.pid) else {
                faults.push(format!("the {} is another process than before", now.name));
                continue;
            };
            let mut more = |what: &str, then: u64, now_has: u64, slack: u64| {
                if now_has > then + slack {
                    faults.push(format!("the {} has {now_has} {what}, halfway {then}", now.name));
                }
            };
            more("descriptors", then.descriptors as u64, now.descriptors as u64, 2);
            more("namespaces open", then.namespaces as u64, now.namespaces as u64, 0);
            more("threads", then.threads, now.threads, 0);
            more("mounts", then.mounts as u64, now.mounts as u64, 0);
            more("KiB resident", then.resident_kib, now.resident_kib, then.resident_kib / 10 + SLACK_KIB);
        }
        let mut more = |what: &str, then: u64, now: u64| {
            if now > then {
                faults.push(format!("{now} {what}, halfway {then}"));
            }
        };
        more("processes", before.processes as u64, self.processes as u64);
        more("control groups", before.groups as u64, self.groups as u64);
        more("log files", before.logs as u64, self.logs as u64);
        more("bytes in run/", before.run_bytes + (2 << 20), self.run_bytes);
        faults
    }
}

impl fmt::Display for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for held in &self.held {
            let Held { name, descriptors, namespaces, threads, mounts, resident_kib, .. } = held;
            write!(
                f,
                "{name} {resident_kib} KiB, {descriptors} descriptors ({namespaces} of namespaces), {threads} threads, \
                 {mounts} mounts; "
            )?;
        }
        write!(
            f,
            "{} processes below, {} control groups, {} log files, run/ {} KiB",
            self.processes,
            self.groups,
            self.logs,
            self.run_bytes / 1024
        )
    }
}

impl Held {
    fn of(name: String, pid: u32) -> Held {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let links = entries(&proc.join("fd"));
        let namespaces = links.iter().filter_map(|link| std::fs::read_link(link).ok());
        // `net:[4026531840]`, as the links below ns are.
        let is_namespace = |link: &PathBuf| {
            let kind = link.to_string_lossy();
            kind.contains(":[")
                && !["pipe:", "socket:", "anon_inode:"].iter().any(|other| kind.starts_with(other))
        };
        let status = std::fs::read_to_string(proc.join("status")).unwrap_or_default();
        let threads =
            status.lines().find_map(|l| l.strip_prefix("Threads:")?.trim().parse().ok()).unwrap_or(0);
        let mounts = std::fs::read_to_string(proc.join("mountinfo")).unwrap_or_default().lines().count();
        Held {
            name,
            pid,
            descriptors: links.len(),
            namespaces: namespaces.filter(is_namespace).count(),
            threads,
            mounts,
            resident_kib: memory_kib(pid, "VmRSS"),
        }
    }
}

/// Once the server has ended and its spawner has noticed that nobody needs it: what is left of them anywhere.
pub(crate) fn left_on_host(stand: &Stand, last: &Traces) -> Vec<String> {
    let begun = Instant::now();
    let lives = |held: &Held| Path::new(&format!("/proc/{}", held.pid)).exists();
    while last.held.iter().any(lives) && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(200));
    }
    let processes = last.held.iter().filter(|h| lives(h)).map(|h| format!("process {} ({})", h.pid, h.name));
    let dir = stand.data().display().to_string();
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = mountinfo.lines().filter(|line| line.contains(&dir)).map(|line| format!("mount {line}"));
    let groups = groups(&last.subtree).into_iter().map(|path| format!("control group {}", path.display()));
    processes.chain(mounts).chain(groups).collect()
}

/// The name of the subtree of control groups that a spawner made, read off what it has open.
fn subtree_of(spawner: u32) -> String {
    let links = entries(&PathBuf::from(format!("/proc/{spawner}/fd")));
    let mut targets = links.iter().filter_map(|link| std::fs::read_link(link).ok());
    let name = targets.find_map(|target| {
        let inside = target.strip_prefix("/sys/fs/cgroup").ok()?;
        let mut names = inside.iter().filter_map(|name| name.to_str());
        names.find(|name| name.starts_with("watchbell-")).map(str::to_owned)
    });
    name.expect("the spawner has its control groups open")
}

/// All control groups of a subtree, in every hierarchy.
fn groups(subtree: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = pending.pop() {
        for entry in entries(&dir) {
            // Groups of others come and go.
            if entry.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
                if entry.iter().any(|name| name == subtree) {
                    found.push(entry.clone());
                }
                pending.push(entry);
            }
        }
    }
    found
}

/// Processes below some, zombies included, in all generations.
fn below(roots: &[u32]) -> usize {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
    };
    let is_below = |pid: u32| {
        let line = std::iter::successors(Some(pid), |pid| parent(*pid).filter(|pid| *pid > 1));
        !roots.contains(&pid) && line.skip(1).any(|ancestor| roots.contains(&ancestor))
    };
    let pids =
        entries(Path::new("/proc")).into_iter().filter_map(|entry| entry.file_name()?.to_str()?.parse().ok());
    pids.filter(|pid| is_below(*pid)).count()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir)
        .map_or_else(|_| Vec::new(), |all| all.flatten().map(|entry| entry.path()).collect())
}

/// How many files lie below a directory, and their bytes.
fn files(dir: &Path) -> (usize, u64) {
    let (mut count, mut bytes) = (0, 0);
    for entry in entries(dir) {
        let Ok(meta) = entry.symlink_metadata() else { continue };
        if meta.is_dir() {
            let (more, of_bytes) = files(&entry);
            (count, bytes) = (count + more, bytes + of_bytes);
        } else {
            (count, bytes) = (count + 1, bytes + meta.len());
        }
    }
    (count, bytes)
}
