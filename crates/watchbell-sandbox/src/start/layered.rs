//! A directory that a pod's containers see as their own and cannot change: read-only, or the lower of an overlay whose upper is
//! kept until the pod is released.
//!
//! ```text
//!   lower ──idmap: root's is the owner's──▶ read-only ───────────────┐
//!   upper: a bounded tmpfs, or with the container's ids an ────────────┴─▶ overlay ──▶ containers
//!      │   image that is a bounded file system, or a directory
//!      └──────────────────────────────────────────────────────────────────────────────▶ server, once they have ended
//! ```
//!
//! A container has the overlay's mount alone: it opens no path that leads to the upper or the lower. What it may not do, the
//! mount does not do for it (nosuid, nodev, noexec), and overlayfs lets nobody make its marks by hand.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, StatVfsMountFlags, Uid, chmodat, chownat, fstatvfs, mkdirat, openat,
};

use super::ids::IdRange;
use super::image;
use super::kernel::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use super::memory::Memories;
use super::mounts::{directory, map_memory, mapped, open_source, scratch_of};
use super::overlay::{OWN_INODES, Overlay, Sync, Writable};
use super::stash::{Stash, Swap};
use crate::{Layered, LayeredMemory, Scratch, Upper};

const ATTRIBUTES: u64 = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

/// What is written.
pub(super) struct Held {
    directory: OwnedFd,
    image: Option<Image>,
}

/// That it lies in an image.
struct Image {
    /// The overlay above it.
    above: OwnedFd,
    /// Who asked for it writes back what is not written yet.
    is_given: Cell<bool>,
}

impl Held {
    pub(super) fn directory(&self) -> io::Result<OwnedFd> {
        if let Some(image) = &self.image {
            image::is_sound(&self.directory, &image.above).map_err(|error| {
                let message = format!(
                    "not all that was written is on the disk of the data directory, which may be full: {error}"
                );
                io::Error::new(error.kind(), message)
            })?;
            image.is_given.set(true);
        }
        self.directory.try_clone()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.image.as_ref().is_some_and(|image| !image.is_given.get())
            && let Err(error) = image::abandon(&self.directory)
        {
            tracing::warn!("what nobody wants is written before it goes: {error}");
        }
    }
}

/// What containers get, and what they write to.
pub(super) fn mount(
    stash: &mut Stash,
    ids: &mut IdRange,
    of: &Layered,
) -> io::Result<(OwnedFd, Option<Held>)> {
    let map = ids.root_as(of.uid, of.gid)?;
    let (lower, _) = mapped(&of.lower, ATTRIBUTES | MOUNT_ATTR_RDONLY, Some(map))?;
    lay(stash, ids, lower, (of.uid, of.gid), of.upper.as_ref(), Swap::Allowed)
}

/// The same above memory. What is written to what is a secret is one too.
pub(super) fn mount_memory(
    stash: &mut Stash,
    ids: &mut IdRange,
    memories: &Memories,
    of: &LayeredMemory,
) -> io::Result<(OwnedFd, Option<Held>)> {
    let map = ids.root_as(of.uid, of.gid)?;
    let lower = memories.view(of.memory)?;
    map_memory(&lower, Some(map))?;
    lay(stash, ids, lower, (of.uid, of.gid), of.upper.as_ref(), Swap::Never)
}

fn lay(
    stash: &mut Stash,
    ids: &IdRange,
    lower: OwnedFd,
    (uid, gid): (u32, u32),
    upper: Option<&Upper>,
    swap: Swap,
) -> io::Result<(OwnedFd, Option<Held>)> {
    let first = ids.first;
    let Some(kind) = upper else { return Ok((lower, None)) };
    // What the owner has inside is this on the mount that holds the upper: as it is on the host, or as it is on the disk.
    let (upper, base, owner) = match kind {
        Upper::Memory(bound) => {
            let bound = Scratch { inodes: bound.inodes.saturating_add(OWN_INODES), ..*bound };
            let upper = scratch_of(ids, bound, 0o700, None, swap)?;
            (upper.try_clone()?, upper, first)
        }
        Upper::Disk { path } => {
            let (mount, opened) = directory(ids, path)?;
            (mount, opened, 0)
        }
        Upper::Image { path, bound } => {
            let upper = image::mount_in(open_source(path)?, *bound)?;
            (upper.try_clone()?, upper, 0)
        }
    };
    for (name, mode, uid, gid) in [("upper", 0o777, uid, gid), ("work", 0o700, 0, 0)] {
        mkdirat(&base, name, Mode::from(0o700))?;
        chmodat(&base, name, Mode::from(mode), AtFlags::empty())?;
        let (uid, gid) = (Some(Uid::from_raw(owner + uid)), Some(Gid::from_raw(owner + gid)));
        chownat(&base, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    // Once it is, the spawner's own ids have no place in it.
    if let Upper::Image { .. } = kind {
        kernel::mount_setattr(&upper, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, ids.map())?;
    }
    // Only an attached mount can be named by a descriptor; the overlay then holds mounts of its own.
    let (lower, upper) = (stash.keep(lower)?, stash.keep(upper)?);
    let open = |name: &str| {
        openat(upper.root(), name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    let (upper_dir, work_dir) = (open("upper")?, open("work")?);
    // Overlayfs makes files of its own as who mounts it, and root has no id on a disk where the container's are.
    let writable =
        Writable { upper: upper_dir.as_fd(), work: work_dir.as_fd(), sync: Sync::Never, maker: first };
    let overlay = Overlay { lowers: vec![lower.root()], writable: Some(writable) };
    let mount = overlay.mount(stash, ATTRIBUTES)?;
    if fstatvfs(&mount)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(io::Error::other(
            "overlayfs takes the upper's file system for reading alone; dmesg says why",
        ));
    }
    let image = match kind {
        Upper::Image { .. } => Some(Image { above: mount.try_clone()?, is_given: Cell::new(false) }),
        Upper::Memory(_) | Upper::Disk { .. } => None,
    };
    Ok((mount, Some(Held { directory: upper_dir, image })))
}
