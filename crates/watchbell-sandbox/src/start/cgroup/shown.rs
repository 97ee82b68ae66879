//! The files of a slot as its tasks see them: one tree of mounts for all that have the slot in turn, instead of a new file system of
//! each hierarchy for every task.
//!
//! What a task's own control group namespace would show is the same directory: its group, and nothing above. The mounts are
//! read-only, the files the host's root's.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::mount::{MountAttrFlags, MoveMountFlags, move_mount};

use super::super::kernel::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use super::super::stash::{Kept, Stash, clone_at, clone_tree_at, tmpfs};
use super::layout::View;

const ATTRIBUTES: u64 = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
/// Below the tree's root, which is /sys.
const PLACE: &str = "fs/cgroup";

pub(super) struct Shown(Kept);

impl Shown {
    pub(super) fn new(stash: &mut Stash, views: &[(&View, &Path)]) -> io::Result<Self> {
        let sys = tmpfs(&[("mode", "0555"), ("size", "4k"), ("nr_inodes", "16")], MountAttrFlags::empty())?;
        for dir in ["fs", PLACE] {
            mkdirat(&sys, dir, Mode::from(0o555))?;
        }
        let place = |view: &View| Path::new(PLACE).join(&view.place);
        for (view, _) in views.iter().filter(|(view, _)| !view.place.is_empty()) {
            mkdirat(&sys, place(view), Mode::from(0o555))?;
        }
        kernel::mount_setattr(&sys, ATTRIBUTES, None)?;
        let kept = stash.keep(sys)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for (view, group) in views {
            let files = clone_at(openat(CWD, *group, flags, Mode::empty())?, "")?;
            kernel::mount_setattr(&files, ATTRIBUTES, None)?;
            let at = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(&files, "", kept.root(), place(view), at)?;
        }
        Ok(Self(kept))
    }

    /// All of it, or what lies at /sys/fs/cgroup.
    pub(super) fn sys(&self, is_below_sysfs: bool) -> io::Result<OwnedFd> {
        clone_tree_at(self.0.root(), if is_below_sysfs { PLACE } else { "" })
    }
}
