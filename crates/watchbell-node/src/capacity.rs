//! What this machine offers to pods.

use std::fs;
use std::path::Path;

use watchbell_api::node::Capacity;

use crate::Error;

/// Pods at the same time. kubelet's 110 comes from its per-pod cost (a pause container, probes, cgroup polling) and from
/// address ranges, neither of which exists here. The bound is the spawner's number of uid ranges.
const PODS: u32 = 4096;

/// Memory that is left to the system and to Watchbell itself, so that pods which fill their requests do not starve it:
/// a tenth, at least 128 MiB and at most 1 GiB.
fn reserved_bytes(memory: u64) -> u64 {
    (memory / 10).clamp(128 << 20, 1 << 30)
}

/// Measures the machine: the processors that this process may use, the memory of the machine or of the control group it
/// lives in, whichever is less, and the free space of the data directory's file system.
pub fn capacity(data_dir: &Path) -> Result<Capacity, Error> {
    let cpus = std::thread::available_parallelism()
        .map_err(|cause| Error::Capacity { step: "count the processors", cause })?;
    let memory = memory_bytes()?;
    let disk = rustix::fs::statvfs(data_dir).map_err(|e| Error::Io {
        step: "measure the file system of",
        path: data_dir.into(),
        cause: e.into(),
    })?;
    Ok(Capacity {
        // The quota of a control group rounds down to whole processors here, as the pods share what is really there.
        cpu_millis: cpus.get() as u64 * 1000,
        memory_bytes: memory.saturating_sub(reserved_bytes(memory)),
        pods: PODS,
        ephemeral_storage_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
    })
}

fn memory_bytes() -> Result<u64, Error> {
    let path = Path::new("/proc/meminfo");
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let total = total_of(&text).ok_or_else(|| Error::Capacity {
        step: "read MemTotal of /proc/meminfo",
        cause: std::io::ErrorKind::InvalidData.into(),
    })?;
    // Inside a container or a limited unit the whole machine is not ours. Files that are missing set no limit.
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = limits.iter().filter_map(|p| fs::read_to_string(p).ok()?.trim().parse::<u64>().ok()).min();
    Ok(limit.map_or(total, |limit| limit.min(total)))
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The lowest oom_score_adj that may be set here: below its own a process needs CAP_SYS_RESOURCE.
pub(crate) fn oom_score_adj_min() -> i16 {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let mask = effective.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).unwrap_or(0);
    if mask & (1 << CAP_SYS_RESOURCE) != 0 {
        return -1000;
    }
    let own = fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|t| t.trim().parse().ok());
    own.unwrap_or(0)
}

/// containerd's limit of open files, as far as this machine allows it.
pub(crate) fn open_files_max() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.maximum.unwrap_or(u64::MAX).min(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::{capacity, reserved_bytes, total_of};

    #[test]
    fn this_machine_offers_something() {
        let offered = capacity(&std::env::temp_dir()).unwrap();
        assert!(offered.cpu_millis >= 1000 && offered.memory_bytes > 0 && offered.pods >= 110);
    }

    #[test]
    fn meminfo_is_read() {
        assert_eq!(total_of("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total_of("MemTotal: many kB\n"), None);
        assert_eq!(total_of(""), None);
    }

    #[test]
    fn the_system_keeps_some_memory() {
        assert_eq!(reserved_bytes(512 << 20), 128 << 20);
        assert_eq!(reserved_bytes(64 << 30), 1 << 30);
        assert_eq!(reserved_bytes(5 << 30), 512 << 20);
    }
}
