//! Limits as the files of both versions want them. A slot remembers what it has, so that the tasks of one array write
//! nothing.

use std::io;
use std::path::{Path, PathBuf};

use super::layout::Controller;
use super::put;
use crate::CgroupLimits;

pub(in crate::start) const DEFAULT_PERIOD_US: u64 = 100_000;
pub(in crate::start) const DEFAULT_WEIGHT: u16 = 100;

/// What was written last; `None`: nothing yet.
#[derive(Debug, Default)]
pub(super) struct Applied(Option<CgroupLimits>);

impl Applied {
    pub(super) fn apply(
        &mut self,
        limits: &CgroupLimits,
        pure_v2: bool,
        dirs: &[(Controller, PathBuf)],
    ) -> io::Result<()> {
        if self.0.as_ref() == Some(limits) {
            return Ok(());
        }
        // Half-written limits are nobody's.
        self.0 = None;
        for (controller, dir) in dirs {
            if pure_v2 { write_v2(*controller, dir, limits)? } else { write_v1(*controller, dir, limits)? }
        }
        self.0 = Some(*limits);
        Ok(())
    }
}

fn or_max(value: Option<u64>) -> String {
    value.map_or_else(|| "max".to_owned(), |v| v.to_string())
}

fn period(limits: &CgroupLimits) -> u64 {
    if limits.cpu_period_us == 0 { DEFAULT_PERIOD_US } else { limits.cpu_period_us }
}

fn write_v2(controller: Controller, dir: &Path, limits: &CgroupLimits) -> io::Result<()> {
    match controller {
        Controller::Memory => {
            put(dir, "memory.max", &or_max(limits.memory_bytes))?;
            if dir.join("memory.swap.max").exists() {
                put(dir, "memory.swap.max", "0")?;
            }
            // One process killed for memory leaves a half-dead task: all of it goes, as kubelet does it.
            put(dir, "memory.oom.group", "1")
        }
        Controller::Cpu => {
            put(dir, "cpu.max", &format!("{} {}", or_max(limits.cpu_quota_us), period(limits)))?;
            put(dir, "cpu.weight", &limits.cpu_weight.unwrap_or(DEFAULT_WEIGHT).to_string())
        }
        Controller::Pids => put(dir, "pids.max", &or_max(limits.pids)),
        Controller::CpuAcct | Controller::Freezer | Controller::Io => Ok(()),
    }
}

fn write_v1(controller: Controller, dir: &Path, limits: &CgroupLimits) -> io::Result<()> {
    match controller {
        Controller::Memory => {
            let bytes = limits.memory_bytes.map_or_else(|| "-1".to_owned(), |b| b.to_string());
            let with_swap = dir.join("memory.memsw.limit_in_bytes").exists();
            // The limit with swap may never be below the one without, in which direction ever they go.
            if with_swap {
                put(dir, "memory.memsw.limit_in_bytes", "-1")?;
            }
            put(dir, "memory.limit_in_bytes", &bytes)?;
            if with_swap {
                put(dir, "memory.memsw.limit_in_bytes", &bytes)?;
            }
            put(dir, "memory.swappiness", "0")
        }
        Controller::Cpu => {
            put(dir, "cpu.cfs_period_us", &period(limits).to_string())?;
            let quota = limits.cpu_quota_us.map_or_else(|| "-1".to_owned(), |q| q.to_string());
            put(dir, "cpu.cfs_quota_us", &quota)?;
            put(dir, "cpu.shares", &shares(limits.cpu_weight.unwrap_or(DEFAULT_WEIGHT)).to_string())
        }
        Controller::Pids => put(dir, "pids.max", &or_max(limits.pids)),
        Controller::CpuAcct | Controller::Freezer | Controller::Io => Ok(()),
    }
}

/// The version 1 shares of a weight: 1024 for a processor asked for, whose weight is 100, as Kubernetes has it.
pub(in crate::start) fn shares(weight: u16) -> u64 {
    u64::from(weight) * 1024 / 100
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn weights_become_shares() {
        // 10m, 100m, a processor and a half, and the most: within the kernel's 2 … 262,144.
        assert_eq!([1, 10, 150, 10_000].map(shares), [10, 102, 1536, 102_400]);
    }

    #[test]
    fn the_same_limits_are_not_written_twice() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [(Controller::Pids, dir.path().to_owned())];
        let limits = CgroupLimits { pids: Some(7), ..CgroupLimits::default() };
        let mut applied = Applied::default();
        applied.apply(&limits, false, &dirs).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("pids.max")).unwrap(), "7");
        fs::remove_file(dir.path().join("pids.max")).unwrap();
        applied.apply(&limits, false, &dirs).unwrap();
        assert!(!dir.path().join("pids.max").exists());
        applied.apply(&CgroupLimits::default(), false, &dirs).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("pids.max")).unwrap(), "max");
    }
}
