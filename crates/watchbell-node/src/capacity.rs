//! What this machine offers to pods.

use std::fs;
use std::path::Path;

use watchbell_api::node::Capacity;
use watchbell_sandbox::{Reserved, Totals};

use crate::Error;

/// Pods at the same time. kubelet's 110 comes from its per-pod cost (a pause container, probes, cgroup polling) and from
/// address ranges, neither of which exists here. The bound is the spawner's number of uid ranges.
const PODS: u32 = 4096;

/// What is left to the system and to Watchbell itself. The spawner holds all tasks together to the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    pub reserved: Reserved,
    /// Of the data directory's file system, for the journal, images and logs. `None`: a tenth of it, at most 1 GiB.
    pub disk_bytes: Option<u64>,
}

impl Kept {
    /// Of a file system of so many bytes.
    pub fn disk_of(&self, total: u64) -> u64 {
        self.disk_bytes.unwrap_or((total / 10).min(1 << 30))
    }
}

/// What this machine has, and what of it is for pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Kubernetes' allocatable.
    pub capacity: Capacity,
    pub total: Capacity,
}

/// Measures the machine: the processors that this process may use, the memory of the machine or of the control group it
/// lives in, whichever is less, and the data directory's file system, of which pods get no more than is free now.
pub fn capacity(data_dir: &Path, kept: &Kept) -> Result<Offered, Error> {
    let cpus = std::thread::available_parallelism()
        .map_err(|cause| Error::Capacity { step: "count the processors", cause })?;
    let machine = Totals::of_machine().map_err(Error::measured)?;
    let left = kept.reserved.leave(machine).map_err(Error::measured)?;
    let disk = rustix::fs::statvfs(data_dir).map_err(|e| Error::Io {
        step: "measure the file system of",
        path: data_dir.into(),
        cause: e.into(),
    })?;
    let disk_total = disk.f_blocks.saturating_mul(disk.f_frsize);
    let disk_free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let total = Capacity {
        // The quota of a control group rounds down to whole processors here, as the pods share what is really there.
        cpu_millis: cpus.get() as u64 * 1000,
        memory_bytes: machine.memory_bytes,
        pods: PODS,
        ephemeral_storage_bytes: disk_total,
    };
    let capacity = Capacity {
        memory_bytes: left.memory_bytes,
        ephemeral_storage_bytes: disk_free.saturating_sub(kept.disk_of(disk_total)),
        ..total.clone()
    };
    Ok(Offered { capacity, total })
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
    use super::*;

    #[test]
    fn this_machine_offers_a_part_of_itself() {
        let Offered { capacity, total } = capacity(&std::env::temp_dir(), &Kept::default()).unwrap();
        assert!(capacity.cpu_millis >= 1000 && capacity.memory_bytes > 0 && capacity.pods >= 110);
        assert!(capacity.memory_bytes < total.memory_bytes, "{capacity:?} {total:?}");
        assert!(capacity.ephemeral_storage_bytes < total.ephemeral_storage_bytes);
    }

    #[test]
    fn what_is_kept_is_as_configured_or_a_tenth() {
        assert_eq!(Kept::default().disk_of(5 << 30), 512 << 20);
        assert_eq!(Kept::default().disk_of(1 << 50), 1 << 30);
        assert_eq!(Kept { disk_bytes: Some(7), ..Kept::default() }.disk_of(50 << 30), 7);
        let reserved = Reserved { memory_bytes: Some(u64::MAX), pids: None };
        let error = super::capacity(&std::env::temp_dir(), &Kept { reserved, disk_bytes: None }).unwrap_err();
        assert!(error.to_string().contains("reserve less"), "{error}");
    }
}
