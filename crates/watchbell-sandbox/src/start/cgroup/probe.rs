//! What can be told of the control groups without making one.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::layout::{CONTROLLERS, Layout, View};
use super::{Cgroups, read_all};
use crate::doctor::{CgroupVersion, ControlGroups};

const SWAP_V1: &str = "memory.memsw.limit_in_bytes";
const SWAP_V2: &str = "memory.swap.max";

/// What was found.
pub(in crate::start) struct Probed {
    pub(in crate::start) facts: ControlGroups,
    pub(in crate::start) views: Vec<View>,
    /// Where this process is in the unified tree: a process can be started there, whatever the groups above hand down.
    pub(in crate::start) own: Option<PathBuf>,
}

impl Cgroups {
    /// Groups in no hierarchy: they limit nothing, and hold who is in them to nothing.
    pub(in crate::start) fn none(views: Vec<View>) -> Self {
        let layout = Layout {
            v1: Vec::new(),
            unified: None,
            own: None,
            views,
            others: Vec::new(),
            blkio: None,
            hands_io_down: false,
            subtrees: Vec::new(),
        };
        Self { layout, io: None, idle: Vec::new(), next_slot: 0, next_pod: 0 }
    }

    pub(in crate::start) fn probe() -> Probed {
        let mut facts = ControlGroups { has_swap: crate::bounds::has_swap(), ..ControlGroups::default() };
        let layout = match Layout::find("watchbell") {
            Ok(layout) => layout,
            Err(problem) => {
                facts.problem = Some(problem);
                return Probed { facts, views: Vec::new(), own: None };
            }
        };
        facts.version = match (layout.is_pure_v2(), &layout.unified) {
            (true, _) => CgroupVersion::V2,
            (false, Some(_)) => CgroupVersion::Hybrid,
            (false, None) => CgroupVersion::V1,
        };
        let own = |base: &Path| base.parent().unwrap_or(base).to_owned();
        match layout.unified.as_deref().map(own) {
            Some(dir) if layout.is_pure_v2() => {
                let listed = fs::read_to_string(dir.join(CONTROLLERS)).unwrap_or_default();
                facts.controllers = listed.split_whitespace().map(str::to_owned).collect();
                facts.counts_swap = swap_of(&dir);
            }
            _ => {
                facts.controllers = controllers_v1(&read_all("/proc/self/mountinfo").unwrap_or_default());
                let memory = layout.v1.iter().find(|(c, _)| *c == super::Controller::Memory);
                facts.counts_swap = memory.map(|(_, base)| own(base).join(SWAP_V1).exists());
            }
        }
        facts.problem =
            layout.bases().into_iter().map(own).find_map(|dir| {
                access(&dir, Access::WRITE_OK).err().map(|e| format!("{}: {e}", dir.display()))
            });
        Probed { facts, own: layout.own, views: layout.views }
    }
}

/// The root group has no such file, those below it have.
fn swap_of(dir: &Path) -> Option<bool> {
    if dir.join(SWAP_V2).exists() {
        return Some(true);
    }
    let below = fs::read_dir(dir).ok()?.flatten().filter(|e| e.path().join("memory.max").exists());
    let mut has_any = dir.join("memory.max").exists();
    for entry in below {
        if entry.path().join(SWAP_V2).exists() {
            return Some(true);
        }
        has_any = true;
    }
    has_any.then_some(false)
}

/// Of all hierarchies of version 1.
fn controllers_v1(mounts: &str) -> Vec<String> {
    let known = super::layout::KNOWN_V1;
    let mut found: Vec<String> = Vec::new();
    for line in mounts.lines() {
        let Some((_, tail)) = line.split_once(" - cgroup ") else { continue };
        let options = tail.split(' ').nth(1).unwrap_or_default().split(',');
        for name in options.filter(|name| known.contains(name)) {
            if !found.iter().any(|f| f == name) {
                found.push(name.to_owned());
            }
        }
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_of_version_1_are_listed() {
        let mounts = "32 31 0:29 / /x rw - cgroup cgroup rw,cpu,cpuacct\n35 31 0:32 / /y rw - cgroup memory rw,memory\n\
                      41 31 0:38 / /z rw - cgroup2 cgroup2 rw\n42 31 0:38 / /s rw - cgroup systemd rw,name=systemd\n";
        assert_eq!(controllers_v1(mounts), ["cpu", "cpuacct", "memory"]);
    }

    #[test]
    fn whether_swap_is_counted_is_seen_below() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(swap_of(dir.path()), None);
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/memory.max"), "max").unwrap();
        assert_eq!(swap_of(dir.path()), Some(false));
        fs::write(dir.path().join("a/memory.swap.max"), "max").unwrap();
        assert_eq!(swap_of(dir.path()), Some(true));
    }
}
