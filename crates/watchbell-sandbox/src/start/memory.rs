//! Directories in memory that the server fills and tasks see: the plaintext of what is encrypted on the disk.
//!
//! Each is a tmpfs of its own in the stash, which the host does not see and which goes with this process. The server has a
//! descriptor of its root, mode 0700; tasks get read-only clones of one directory in it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use super::stash::{Kept, Stash, clone_at};
use crate::MEMORY_VIEW;

/// As many at once as anybody has arrays.
const MEMORIES_MAX: usize = 4096;

#[derive(Default)]
pub(super) struct Memories {
    held: BTreeMap<u64, Kept>,
    last: u64,
}

impl Memories {
    /// A number that was never given before, and the root.
    pub(super) fn make(&mut self, stash: &mut Stash, bytes: u64, inodes: u64) -> io::Result<(u64, OwnedFd)> {
        if self.held.len() >= MEMORIES_MAX {
            return Err(io::Error::other("there are 4096 directories in memory already"));
        }
        if bytes == 0 || inodes == 0 {
            return Err(io::Error::other("it must be bounded above 0"));
        }
        // The root is one more.
        let kept = stash.keep(unswapped(bytes, inodes.saturating_add(1))?)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(kept.root(), ".", flags, Mode::empty())?;
        self.last += 1;
        self.held.insert(self.last, kept);
        Ok((self.last, root))
    }

    /// A mount of what tasks see, detached.
    pub(super) fn view(&self, memory: u64) -> io::Result<OwnedFd> {
        let gone = "the memory that it lies in is gone, with the server that had it";
        let kept = self.held.get(&memory).ok_or_else(|| io::Error::other(gone))?;
        clone_at(kept.root(), MEMORY_VIEW)
    }

    pub(super) fn retain(&mut self, is_wanted: impl Fn(u64) -> bool) {
        self.held.retain(|memory, _| is_wanted(*memory));
    }
}

/// A tmpfs that is never swapped, where the kernel can do that (6.4).
fn unswapped(bytes: u64, inodes: u64) -> io::Result<OwnedFd> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let (bytes, inodes) = (bytes.to_string(), inodes.to_string());
    for (key, value) in [("size", bytes.as_str()), ("nr_inodes", &inodes), ("mode", "0700")] {
        fsconfig_set_string(&fs, key, value)?;
    }
    if let Err(error) = fsconfig_set_flag(&fs, "noswap") {
        tracing::warn!(
            "what is decrypted into memory may be swapped: this kernel's tmpfs has no noswap: {error}"
        );
    }
    fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}
