//! The groups above ours, and what all tasks get together.

use std::fs;
use std::io;
use std::path::Path;

use super::layout::{Controller, Layout};
use super::put;
use crate::Totals;

/// What the groups above allow; `None` where they set no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Above {
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) pids: Option<u64>,
}

/// The least limit of the groups that the tasks' subtree will lie in. Without hierarchies there is none.
pub(crate) fn limits_above() -> Above {
    // The name is nobody's: only what lies above is looked at.
    let Ok(layout) = Layout::find("watchbell") else { return Above::default() };
    let least = |controller: Controller, name_v1: &str, name_v2: &str| {
        let (base, name) = match layout.v1.iter().find(|(c, _)| *c == controller) {
            Some((_, base)) => (base, name_v1),
            None => (layout.unified.as_ref()?, name_v2),
        };
        least_limit(base.parent()?, name)
    };
    Above {
        memory_bytes: least(Controller::Memory, "memory.limit_in_bytes", "memory.max"),
        pids: least(Controller::Pids, "pids.max", "pids.max"),
    }
}

/// `max`, and what version 1 says instead, are more than any machine has: they lose against every limit.
fn least_limit(own: &Path, name: &str) -> Option<u64> {
    own.ancestors()
        .filter_map(|dir| fs::read_to_string(dir.join(name)).ok()?.trim().parse::<u64>().ok())
        .filter(|limit| *limit > 0)
        .min()
}

/// Bounds the subtree itself. The groups inside have limits of their own; this one holds for their sum, and stays where a
/// pod's own limits are whatever its namespace allows.
pub(super) fn bound(layout: &Layout, totals: Totals) -> Result<(), String> {
    for (controller, base) in layout.limited() {
        bound_one(layout.is_pure_v2(), controller, base, totals)
            .map_err(|e| format!("cannot limit what all tasks take together: {e}"))?;
    }
    Ok(())
}

fn bound_one(is_v2: bool, controller: Controller, base: &Path, totals: Totals) -> io::Result<()> {
    let memory = totals.memory_bytes.to_string();
    match (controller, is_v2) {
        (Controller::Memory, true) => {
            put(base, "memory.max", &memory)?;
            put_if_there(base, "memory.swap.max", "0")
        }
        (Controller::Memory, false) => {
            // The limit with swap may never be below the one without: a fresh group has none of either.
            put(base, "memory.limit_in_bytes", &memory)?;
            put_if_there(base, "memory.memsw.limit_in_bytes", &memory)
        }
        (Controller::Pids, _) => put(base, "pids.max", &totals.pids.to_string()),
        _ => Ok(()),
    }
}

fn put_if_there(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    if dir.join(file).exists() { put(dir, file, value) } else { Ok(()) }
}

/// A kernel that can swap and does not count it would let a task go beyond its limit by as much as there is swap.
pub(super) fn check_swap(layout: &Layout) -> Result<(), String> {
    let file = if layout.is_pure_v2() { "memory.swap.max" } else { "memory.memsw.limit_in_bytes" };
    let memory = layout.limited().find(|(c, _)| *c == Controller::Memory).map(|(_, base)| base);
    let is_counted = memory.is_none_or(|base| base.join(file).exists());
    if is_counted || !crate::bounds::has_swap() {
        return Ok(());
    }
    Err(format!(
        "this machine swaps and its kernel does not count that ({file} is missing), so no memory limit would hold; \
         start the kernel with swapaccount=1, or switch swap off (swapoff -a)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_counts() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("a/b");
        fs::create_dir_all(&own).unwrap();
        assert_eq!(least_limit(&own, "pids.max"), None);
        for (place, limit) in [("a/b", "max\n"), ("a", "700\n"), ("", "9223372036854771712\n")] {
            fs::write(dir.path().join(place).join("pids.max"), limit).unwrap();
        }
        assert_eq!(least_limit(&own, "pids.max"), Some(700));
    }

    #[test]
    fn a_swap_file_that_is_missing_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let totals = Totals { memory_bytes: 1 << 30, pids: 1000 };
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).ok();
        bound_one(false, Controller::Memory, dir.path(), totals).unwrap();
        assert_eq!(read("memory.limit_in_bytes").as_deref(), Some("1073741824"));
        assert_eq!(read("memory.memsw.limit_in_bytes"), None);
        fs::write(dir.path().join("memory.swap.max"), "max").unwrap();
        bound_one(true, Controller::Memory, dir.path(), totals).unwrap();
        bound_one(true, Controller::Pids, dir.path(), totals).unwrap();
        assert_eq!(read("memory.swap.max").as_deref(), Some("0"));
        assert_eq!(read("pids.max").as_deref(), Some("1000"));
    }
}
