//! What all tasks of a machine are held to together, so that no task starves the server, the spawner or the host.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::start;

const MIB: u64 = 1 << 20;

/// Fixed when a spawner starts, as its [`Ceiling`](crate::Ceiling) is. The default reserves a part of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bounds {
    pub reserved: Reserved,
    pub log_rate: LogRate,
    pub io: IoLimits,
}

/// What of the machine is never a task's. `None`: [`Reserved::of`] chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reserved {
    pub memory_bytes: Option<u64>,
    pub pids: Option<u64>,
}

/// What a container may read from and write to the disk of the data directory, a second. `None`: as fast as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IoLimits {
    pub read_bps: Option<u64>,
    pub write_bps: Option<u64>,
    pub read_iops: Option<u64>,
    pub write_iops: Option<u64>,
}

impl IoLimits {
    /// Why they cannot be kept for what lies in this directory.
    pub fn obstacle(self, dir: &Path) -> Option<String> {
        if self == Self::default() { None } else { start::Io::find(self, dir).err() }
    }
}

/// How much of what one container prints is taken: a token bucket. Who prints faster waits at its pipe; nothing is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRate {
    pub bytes_per_second: u64,
    pub burst_bytes: u64,
}

impl Default for LogRate {
    fn default() -> Self {
        Self { bytes_per_second: 10 * MIB, burst_bytes: 64 * MIB }
    }
}

/// An amount of what a control group counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub memory_bytes: u64,
    pub pids: u64,
}

impl Totals {
    /// What there is: the machine's, or what the control groups above allow, whichever is less.
    pub fn of_machine() -> Result<Totals, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|e| format!("cannot read {path}: {e}"));
        let meminfo = read("/proc/meminfo")?;
        let memory = total_of(&meminfo).ok_or("/proc/meminfo has no line MemTotal")?;
        // The kernel refuses a process above either.
        let count = |path: &str| {
            read(path)?.trim().parse::<u64>().map_err(|e| format!("cannot read a number in {path}: {e}"))
        };
        let pids = count("/proc/sys/kernel/pid_max")?.min(count("/proc/sys/kernel/threads-max")?);
        let above = start::limits_above();
        Ok(Totals {
            memory_bytes: above.memory_bytes.map_or(memory, |limit| limit.min(memory)),
            pids: above.pids.map_or(pids, |limit| limit.min(pids)),
        })
    }
}

impl Reserved {
    /// What is kept of a machine: as configured; else of its memory a tenth, at least 128 MiB and at most 1 GiB, and of its
    /// processes a tenth, at most 4096; and never more than half.
    pub fn of(&self, machine: Totals) -> Totals {
        let memory = (machine.memory_bytes / 10).clamp(128 * MIB, 1024 * MIB);
        let pids = (machine.pids / 10).min(4096);
        Totals {
            memory_bytes: self.memory_bytes.unwrap_or(memory.min(machine.memory_bytes / 2)),
            pids: self.pids.unwrap_or(pids.min(machine.pids / 2)),
        }
    }

    /// What tasks may take together.
    pub fn leave(&self, machine: Totals) -> Result<Totals, String> {
        let kept = self.of(machine);
        let left = |what: &str, kept: u64, all: u64| {
            all.checked_sub(kept).filter(|left| *left > 0).ok_or_else(|| {
                format!("{kept} {what} are reserved for the system, and the machine has {all}; reserve less")
            })
        };
        Ok(Totals {
            memory_bytes: left("bytes of memory", kept.memory_bytes, machine.memory_bytes)?,
            pids: left("processes", kept.pids, machine.pids)?,
        })
    }
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Whether this machine can swap at all.
pub(crate) fn has_swap() -> bool {
    swaps(&fs::read_to_string(Path::new("/proc/swaps")).unwrap_or_default()) > 0
}

fn swaps(text: &str) -> usize {
    text.lines().skip(1).filter(|line| !line.trim().is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_keeps_a_part() {
        let check = |memory_mib: u64, pids: u64, kept_mib: u64, kept_pids: u64| {
            let machine = Totals { memory_bytes: memory_mib * MIB, pids };
            let kept = Reserved::default().of(machine);
            assert_eq!((kept.memory_bytes / MIB, kept.pids), (kept_mib, kept_pids), "{machine:?}");
            let left = Reserved::default().leave(machine).unwrap();
            assert_eq!(left.memory_bytes + kept.memory_bytes, machine.memory_bytes);
        };
        check(512, 32_768, 128, 3276);
        check(64 << 10, 4_194_304, 1024, 4096);
        check(5 << 10, 100, 512, 10);
        // A machine so small that the least would be all of it.
        check(200, 4, 100, 0);
    }

    #[test]
    fn nobody_reserves_all_of_it() {
        let machine = Totals { memory_bytes: 1024 * MIB, pids: 1000 };
        let check = |reserved: Reserved, word: &str| {
            let error = reserved.leave(machine).unwrap_err();
            assert!(error.contains(word) && error.ends_with("reserve less"), "{error}");
        };
        check(Reserved { memory_bytes: Some(1024 * MIB), ..Reserved::default() }, "memory");
        check(Reserved { pids: Some(1001), ..Reserved::default() }, "processes");
        let exact = Reserved { memory_bytes: Some(24 * MIB), pids: Some(1) };
        assert_eq!(exact.leave(machine), Ok(Totals { memory_bytes: 1000 * MIB, pids: 999 }));
    }

    #[test]
    fn this_machine_is_measured() {
        let machine = Totals::of_machine().unwrap();
        assert!(machine.memory_bytes > 64 * MIB && machine.pids > 100, "{machine:?}");
        assert_eq!(total_of("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 * MIB));
        assert_eq!(total_of("MemTotal: many kB\n"), None);
        assert_eq!(swaps("Filename\tType\tSize\tUsed\tPriority\n"), 0);
        assert_eq!(swaps("Filename\tType\n/dev/zram0 partition 1 0 -2\n"), 1);
    }
}
