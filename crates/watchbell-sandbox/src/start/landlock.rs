//! A second fence around the task's files, where the kernel has Landlock: should a descriptor, a mount or a bug lead out of the
//! container's root, nothing there can be opened.
//!
//! The kernel walks from a file up to the root of its mounts and looks for a rule on the way. The task's rules stand on its own
//! root and on its own mounts, so whatever lies elsewhere has none, however it was reached (CVE-2024-21626 gave a descriptor,
//! CVE-2025-52881 a mount). A process under such rules mounts nothing either.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::fs::FileType;

use serde::{Deserialize, Serialize};

use super::kernel::checked;

/// The first under which files can be moved between directories: Linux 5.19. With 1, whoever is restricted may not do that at all.
const ABI_MIN: u32 = 2;
/// The first that knows what changes a file's length: Linux 6.2.
const ABI_TRUNCATE: u32 = 3;
/// The first that knows TCP: Linux 6.7.
const ABI_TCP: u32 = 4;
/// The first with scopes: Linux 6.12.
const ABI_SCOPES: u32 = 6;

/// `LANDLOCK_ACCESS_FS_*` of linux/landlock.h.
mod right {
    pub(super) const EXECUTE: u64 = 1;
    pub(super) const WRITE_FILE: u64 = 1 << 1;
    pub(super) const READ_FILE: u64 = 1 << 2;
    pub(super) const READ_DIR: u64 = 1 << 3;
    pub(super) const MAKE_CHAR: u64 = 1 << 6;
    pub(super) const MAKE_BLOCK: u64 = 1 << 11;
    pub(super) const TRUNCATE: u64 = 1 << 14;
    /// All up to TRUNCATE. What an ioctl may do to a device is left open: a device can be opened in /dev alone.
    pub(super) const ALL: u64 = (1 << 15) - 1;
    /// Those that a rule on anything but a directory may name.
    pub(super) const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE;
}

/// What may be done below a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// The same, and nothing is run.
    Look,
    /// Files that exist; none is made or removed.
    Use,
    /// All but device nodes.
    Change,
    /// That, and whiteouts, which are character devices without a number.
    Unpack,
}

impl Access {
    const fn rights(self) -> u64 {
        let read = right::EXECUTE | right::READ_FILE | right::READ_DIR;
        match self {
            Access::Read => read,
            Access::Look => read & !right::EXECUTE,
            Access::Use => read | right::WRITE_FILE | right::TRUNCATE,
            Access::Change => right::ALL & !(right::MAKE_CHAR | right::MAKE_BLOCK),
            Access::Unpack => right::ALL & !(right::MAKE_BLOCK | right::EXECUTE),
        }
    }
}

/// Which ways to processes outside are closed too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Abstract sockets of others (CVE-2020-15257): off where containers of one pod meet by them.
    pub abstract_sockets: bool,
    /// Signals to others.
    pub signals: bool,
}

/// The version of Landlock's interface that this kernel offers; `None` where it is not compiled in or not switched on
/// (`lsm=` on the kernel's command line). Changes nothing.
pub fn landlock_abi() -> Option<u32> {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the kernel reads no memory and makes no descriptor.
    let result =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u64>(), 0usize, VERSION) };
    u32::try_from(result).ok().filter(|abi| *abi >= ABI_MIN)
}

/// `struct landlock_ruleset_attr` as far as it is used.
#[repr(C)]
struct Attributes {
    files: u64,
    network: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: i32,
}

/// Whether TCP is left to the network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tcp {
    /// A task has a network of its own, in which frameworks meet at the loopback.
    Open,
    Closed,
}

/// All rights to files that a version knows.
const fn known(abi: u32) -> u64 {
    if abi >= ABI_TRUNCATE { right::ALL } else { right::ALL & !right::TRUNCATE }
}

/// What of ours a version leaves to the other layers. Empty: nothing.
pub(crate) fn landlock_lacks(abi: u32) -> Vec<&'static str> {
    [
        (ABI_TRUNCATE, "shortening files"),
        (ABI_TCP, "connections of unpackers"),
        (ABI_SCOPES, "signals and abstract sockets"),
    ]
    .into_iter()
    .filter_map(|(first, what)| (abi < first).then_some(what))
    .collect()
}

/// What is permitted, until it is put in force.
pub(super) struct Rules {
    fd: OwnedFd,
    /// Rights that the rules are about.
    known: u64,
}

impl Rules {
    /// Nothing is permitted yet. `abi` is what [`landlock_abi`] said.
    pub(super) fn new(abi: u32, scope: Scope, tcp: Tcp) -> io::Result<Self> {
        let scoped = match abi {
            ABI_SCOPES.. => u64::from(scope.abstract_sockets) | u64::from(scope.signals) << 1,
            _ => 0,
        };
        // Binding and connecting.
        let network = if abi >= ABI_TCP && tcp == Tcp::Closed { 0b11 } else { 0 };
        let attributes = Attributes { files: known(abi), network, scoped };
        // SAFETY: the kernel reads a structure of this size, which outlives the call.
        let fd = checked(unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                &raw const attributes,
                size_of::<Attributes>(),
                0u32,
            )
        })?;
        // SAFETY: the kernel has just made this descriptor, which nobody else knows.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd as i32) }, known: known(abi) })
    }

    /// Permits something at and below what `place` is.
    pub(super) fn allow(&self, place: impl AsFd, access: Access) -> io::Result<()> {
        const PATH_BENEATH: u32 = 1;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode);
        let bound = if kind == FileType::Directory { right::ALL } else { right::OF_FILES };
        let rule =
            Beneath { allowed: access.rights() & bound & self.known, parent: place.as_fd().as_raw_fd() };
        // SAFETY: the kernel reads a structure of this layout, which outlives the call; the descriptor lives as long.
        let result = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.fd.as_raw_fd(),
                PATH_BENEATH,
                &raw const rule,
                0u32,
            )
        };
        checked(result).map(drop)
    }

    /// Puts this thread, and what it becomes, under the rules. Needs no-new-privileges or CAP_SYS_ADMIN.
    pub(super) fn enforce(self) -> io::Result<()> {
        // SAFETY: no memory is passed.
        let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.fd.as_raw_fd(), 0u32) };
        checked(result).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::{ABI_MIN, Access, known, landlock_lacks, right};

    #[test]
    fn an_older_version_is_asked_for_what_it_knows() {
        // EINVAL answers a right that the kernel does not know.
        assert_eq!([2, 3, 6].map(known), [0x3fff, 0x7fff, 0x7fff]);
        assert_eq!(landlock_lacks(ABI_MIN).len(), 3);
        assert_eq!(landlock_lacks(4), ["signals and abstract sockets"]);
        assert_eq!(landlock_lacks(6), [""; 0]);
    }

    #[test]
    fn rights_grow_and_devices_are_in_none() {
        let [read, used, changed] = [Access::Read, Access::Use, Access::Change].map(Access::rights);
        assert_eq!((read & used, used & changed), (read, used));
        assert_eq!(read & (right::WRITE_FILE | right::TRUNCATE), 0);
        assert_eq!(changed & (right::MAKE_CHAR | right::MAKE_BLOCK), 0);
        assert_eq!((changed | right::MAKE_CHAR | right::MAKE_BLOCK, right::ALL), (right::ALL, 0x7fff));
    }
}
