//! How the gate gives up everything but sockets: those it has, and those that speak TCP and UDP.
//!
//! A straight list; each step needs what a later one takes away. Whoever takes the gate over has the host's network, as every
//! user of the machine has it, and the connections of the pods; no file, no process, no other socket.

use std::ffi::CString;
use std::io;

use rustix::mount::{MountAttrFlags, MoveMountFlags, move_mount};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid, UnshareFlags};

use super::landlock::{Rules, Scope, Tcp, landlock_abi};
use super::stash::{enter_root, tmpfs};
use super::{identity, kernel, seccomp};

/// Names, sockets and what waits for slow peers, with room; beyond, it ends, and the spawner starts another.
const MEMORY_BYTES: u64 = 2 << 30;

/// Called by a process of one thread, which has opened all that it needs but TCP and UDP sockets.
pub fn confine_gate(uid: u32) -> io::Result<()> {
    if let Ok(name) = CString::new("watchbell-gate") {
        rustix::thread::set_name(&name)?;
    }
    let landlock = landlock_abi();
    // An empty root, and the host's mounts are gone.
    kernel::unshare(
        UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP,
    )?;
    let sealed = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = tmpfs(&[("size", "4k"), ("mode", "0555")], sealed)?;
    move_mount(&root, "", rustix::fs::CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    enter_root(&root)?;
    drop(root);
    if let Some(abi) = landlock {
        // No rule: no file at all.
        Rules::new(abi, Scope { abstract_sockets: true, signals: true }, Tcp::Open)?.enforce()?;
    }
    kernel::new_session_keyring()?;
    // Two sockets a connection; a full table is read by an index, not by a name.
    let files = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files })?;
    // Before the hard limits are lowered.
    crate::dumps::forbid_core_files()?;
    for (resource, most) in [(Resource::As, MEMORY_BYTES), (Resource::Core, identity::NO_CORE)] {
        let now = rustix::process::getrlimit(resource);
        let most = Some(now.maximum.map_or(most, |maximum| maximum.min(most)));
        rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })?;
    }
    identity::drop_bounding_set(0)?;
    let (user, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?;
    identity::hide_memory()?;
    rustix::thread::set_no_new_privs(true)?;
    if uid == 0 || rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok() {
        return Err(io::Error::other("the gate still has privileges; it does not run with them"));
    }
    kernel::seccomp(&seccomp::gate_filter(), 0)
}
