//! A file system of its own for what a pod writes, in one file of the data directory's disk: whatever is done in it, it takes no
//! more of the disk than the file is long, nor more files.
//!
//! ```text
//!  file: holes, and an empty ext4 (image/ext4.rs) ── loop device, which goes with its mount ──▶ mount
//! ```
//!
//! The spawner makes the file system itself and nobody else can open the file: the kernel reads no bytes of others as ext4.

mod ext4;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{CWD, Mode, OFlags, fstatvfs, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use super::kernel;
use crate::Scratch;
use ext4::Layout;

/// Of the file in the directory that the node made for it.
const NAME: &str = "image";
/// Others take free loop devices too.
const TRIES: usize = 64;
/// So much is written faster than it is dropped.
const DIRTY_MIN: u64 = 16 << 20;

/// An empty file system, bounded, on a file of its own in the directory; detached.
pub(super) fn mount_in(dir: impl AsFd, bound: Scratch) -> io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    mount(&File::from(openat(dir, NAME, flags, Mode::from(0o600))?), bound)
}

/// The same on a file without a name, to see whether it can be done.
pub(super) fn attempt_in(dir: impl AsFd, bound: Scratch) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    mount(&File::from(openat(dir, ".", flags, Mode::from(0o600))?), bound).map(drop)
}

fn mount(file: &File, bound: Scratch) -> io::Result<OwnedFd> {
    let layout = Layout::of(bound)?;
    file.set_len(layout.bytes())?;
    for (at, bytes) in layout.written() {
        file.write_all_at(&bytes, at)?;
    }
    let (device, path) = attach(file)?;
    let fs = fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "source", path)?;
    // What is removed inside is free outside again.
    fsconfig_set_flag(&fs, "discard")?;
    // Nothing of it outlives the machine: the disk itself is not waited for, and no table is zeroed ahead.
    fsconfig_set_flag(&fs, "nobarrier")?;
    fsconfig_set_flag(&fs, "noinit_itable")?;
    fsconfig_set_string(&fs, "errors", "remount-ro")?;
    fsconfig_create(&fs)?;
    drop(device);
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// A loop device on the file. It goes when neither this descriptor nor a mount has it open.
fn attach(file: &File) -> io::Result<(OwnedFd, String)> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let cannot = |what: &str, error: io::Error| {
        io::Error::new(error.kind(), format!("cannot {what}: {error} (it needs loop devices: modprobe loop)"))
    };
    let control = openat(CWD, "/dev/loop-control", flags, Mode::empty())
        .map_err(|e| cannot("open /dev/loop-control", e.into()))?;
    for _ in 0..TRIES {
        let number = kernel::free_loop(&control).map_err(|e| cannot("find a free loop device", e))?;
        let path = format!("/dev/loop{number}");
        let device = openat(CWD, &path, flags, Mode::empty())
            .map_err(|e| cannot(&format!("open {path}"), e.into()))?;
        match kernel::configure_loop(&device, file) {
            Ok(()) => return Ok((device, path)),
            Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {}
            Err(error) => return Err(cannot(&format!("configure {path}"), error)),
        }
    }
    Err(io::Error::other("others took every loop device that was free"))
}

/// Whether all that was written to the file system is in it, as far as was tried until now. `above` is the overlay whose upper lies
/// there, mounted `volatile`: what once failed to be written back, it never forgets.
pub(super) fn is_sound(below: impl AsFd, above: impl AsFd) -> io::Result<()> {
    let open = |dir: &dyn AsFd| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(dir.as_fd(), ".", flags, Mode::empty())
    };
    // Overlayfs has nothing of its own to write, so this waits for no disk.
    rustix::fs::syncfs(open(&above)?)?;
    // A change lets ext4 see whether its own blocks were written; if they were not it takes no more changes.
    let below = open(&below)?;
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
    Ok(rustix::fs::futimens(&below, &times)?)
}

/// Drops what was not written to the file yet: the file goes, and whoever unmounts it would write all of it before.
pub(super) fn abandon(below: impl AsFd) -> io::Result<()> {
    let root = openat(&below, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstatvfs(&root)?;
    if (stat.f_blocks - stat.f_bfree).saturating_mul(stat.f_frsize) < DIRTY_MIN {
        return Ok(());
    }
    kernel::shut_down(&root)
}
