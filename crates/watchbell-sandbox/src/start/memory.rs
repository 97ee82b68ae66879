//! Directories in memory that the server fills and tasks see: the plaintext of what is encrypted on the disk.
//!
//! Each is a tmpfs of its own in the stash, which the host does not see and which goes with this process. The server has a
//! descriptor of its root, mode 0700; tasks get read-only clones of one directory in it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::MountAttrFlags;

use super::Host;
use super::modes::ExactModes;
use super::stash::{Kept, Stash, Swap, clone_at, tmpfs_of};
use crate::MEMORY_VIEW;

/// As many at once as anybody has arrays.
const MEMORIES_MAX: usize = 4096;

#[derive(Default)]
pub(super) struct Memories {
    held: BTreeMap<u64, Held>,
    last: u64,
}

struct Held {
    kept: Kept,
    bytes: u64,
}

impl Memories {
    /// A number that was never given before, and the root.
    pub(super) fn make(
        &mut self,
        stash: &mut Stash,
        bytes: u64,
        inodes: u64,
        bytes_max: u64,
    ) -> io::Result<(u64, OwnedFd)> {
        if self.held.len() >= MEMORIES_MAX {
            return Err(io::Error::other("there are 4096 directories in memory already"));
        }
        if bytes == 0 || inodes == 0 {
            return Err(io::Error::other("it must be bounded above 0"));
        }
        let held = self.held.values().fold(0, |sum: u64, of| sum.saturating_add(of.bytes));
        if held.saturating_add(bytes) > bytes_max {
            return Err(io::Error::other(format!(
                "{held} of the {bytes_max} bytes for all of them are taken, also by pods from before the server's start, and this \
                 one has {bytes}"
            )));
        }
        // The root is one more.
        let (size, inodes) = (bytes.to_string(), inodes.saturating_add(1).to_string());
        let options = [("size", size.as_str()), ("nr_inodes", &inodes), ("mode", "0700")];
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let kept = stash.keep(tmpfs_of(&options, attributes, Swap::Never)?)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(kept.root(), ".", flags, Mode::empty())?;
        self.last += 1;
        self.held.insert(self.last, Held { kept, bytes });
        Ok((self.last, root))
    }

    /// A mount of what tasks see, detached.
    pub(super) fn view(&self, memory: u64) -> io::Result<OwnedFd> {
        let gone = "the memory that it lies in is gone, with the server that had it";
        let held = self.held.get(&memory).ok_or_else(|| io::Error::other(gone))?;
        clone_at(held.kept.root(), MEMORY_VIEW)
    }

    pub(super) fn retain(&mut self, is_wanted: impl Fn(u64) -> bool) {
        self.held.retain(|memory, _| is_wanted(*memory));
    }
}

impl Host {
    /// A directory in memory for the server to fill.
    pub(crate) fn make_memory(
        &mut self,
        bytes: u64,
        inodes: u64,
        bytes_max: u64,
    ) -> io::Result<(u64, OwnedFd)> {
        let _modes = ExactModes::begin();
        self.memories.make(&mut self.stash, bytes, inodes, bytes_max)
    }

    /// Takes those away that nobody wants any more. What tasks have of them stays theirs.
    pub(crate) fn retain_memories(&mut self, is_wanted: impl Fn(u64) -> bool) {
        self.memories.retain(is_wanted);
    }
}
