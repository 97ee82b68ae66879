//! The steps by which a process becomes the container's: the same for its first one and for those that enter later.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use super::kernel;
use super::plan::Step;
use super::seccomp::{self, Filter};
use crate::{RlimitResource, RunSpec, SeccompBase};

/// What programs expect when nothing is said: enough for most, few enough for those that loop over all.
pub(super) const OPEN_FILES: u64 = 1024;

/// No core file, and no core handler either: one that `core_pattern` pipes to runs as root on the host and reads what the
/// task made of itself (CVE-2025-4598, CVE-2025-5054). A limit of 0 does not keep the kernel from starting it, this one does
/// (core(5)).
pub(super) const NO_CORE: u64 = 1;

pub(super) fn carry_out(spec: &RunSpec, profile: Option<&Filter>, step: &Step) -> io::Result<()> {
    match step {
        Step::BecomeRootInside => become_root(),
        Step::NewSession => {
            rustix::process::setsid()?;
            Ok(())
        }
        Step::NewKeyring => kernel::new_session_keyring(),
        Step::Limits => {
            kernel::reset_signals()?;
            rustix::process::umask(Mode::from(0o022));
            limits(spec)
        }
        Step::EnterDirectory(dir) => {
            rustix::process::chdir(dir.as_str())?;
            let here = rustix::process::getcwd(Vec::new())?;
            if here.as_bytes().first() != Some(&b'/') {
                return Err(io::Error::other("it lies outside the container's root"));
            }
            Ok(())
        }
        Step::DropBoundingSet(kept) => drop_bounding_set(kept.bits()),
        Step::BecomeUser { uid, gid } => {
            // Kept until the filter is in place, which may need CAP_SYS_ADMIN; dropped two steps later.
            rustix::thread::set_keep_capabilities(true)?;
            let groups: Vec<Gid> = spec.groups.iter().map(|g| Gid::from_raw(*g)).collect();
            rustix::thread::set_thread_groups(&groups)?;
            let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            rustix::thread::set_keep_capabilities(false)?;
            Ok(())
        }
        Step::NoNewPrivileges => Ok(rustix::thread::set_no_new_privs(true)?),
        Step::Filter => {
            may_filter()?;
            let base = spec.extras.seccomp.as_ref().map_or(SeccompBase::Default, |profile| profile.base);
            kernel::seccomp(seccomp::base(base), 0)
        }
        Step::FilterFurther => {
            let missing = || io::Error::other("the spawner did not hand it over");
            let log = spec.extras.seccomp.as_ref().is_some_and(|profile| profile.log);
            let flags = if log { libc::SECCOMP_FILTER_FLAG_LOG } else { 0 };
            kernel::seccomp(profile.ok_or_else(missing)?, flags)
        }
        Step::DropCapabilities(kept) => {
            let mut kept = CapabilitySet::from_bits_truncate(kept.bits());
            if spec.privileged {
                // All that there is: in the host's user namespace the spawner's own bound holds (some machines lack
                // CAP_SYS_RESOURCE).
                kept &= rustix::thread::capabilities(None)?.permitted;
            }
            let sets =
                CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
            Ok(rustix::thread::set_capabilities(None, sets)?)
        }
        _ => Err(io::Error::other("it is not a step of this process")),
    }
}

/// Nobody but the host's root reads this process's memory and descriptors or traces it, until exec gives it memory of its own: a
/// change of ids would do so too, but a container with the host's users may have none. The files of /proc/self are root's of
/// the host from here on; the start writes to none.
pub(super) fn hide_memory() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// A change of ids clears the signal, so it is asked for after them; and a spawner that was gone by then does not send it.
pub(super) fn die_with_spawner(status: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if has_reader(status)? { Ok(()) } else { Err(io::Error::other("the spawner is gone")) }
}

/// Whether anybody holds the other end of a pipe: of that of a start, the spawner alone does.
fn has_reader(pipe: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::new(&pipe, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(retry_on_intr(|| poll(&mut fds, Some(&at_once)))? == 0)
}

/// A filter needs no-new-privileges or a capability, which is kept until the capabilities are dropped: more filters may follow.
pub(super) fn may_filter() -> io::Result<()> {
    if !rustix::thread::no_new_privs()? {
        let mut sets = rustix::thread::capabilities(None)?;
        sets.effective |= CapabilitySet::SYS_ADMIN;
        rustix::thread::set_capabilities(None, sets)?;
    }
    Ok(())
}

/// Becomes root of the user namespace that this process is in.
pub(super) fn become_root() -> io::Result<()> {
    rustix::thread::set_thread_groups(&[])?;
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

fn limits(spec: &RunSpec) -> io::Result<()> {
    let set = |resource, soft: u64, hard: u64| -> io::Result<()> {
        let now = rustix::process::getrlimit(resource);
        // What the spawner itself may not exceed is the most there is.
        let hard = now.maximum.map_or(hard, |most| most.min(hard));
        let number = |n: u64| (n != u64::MAX).then_some(n);
        let new = Rlimit { current: number(soft.min(hard)), maximum: number(hard) };
        Ok(rustix::process::setrlimit(resource, new)?)
    };
    let said = |wanted| spec.rlimits.iter().any(|r| r.resource == wanted);
    if !said(RlimitResource::OpenFiles) {
        let hard = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        set(Resource::Nofile, OPEN_FILES, hard)?;
    }
    if !said(RlimitResource::Core) {
        set(Resource::Core, NO_CORE, NO_CORE)?;
    }
    for limit in &spec.rlimits {
        let least = if limit.resource == RlimitResource::Core { NO_CORE } else { 0 };
        set(resource(limit.resource), limit.soft.max(least), limit.hard.max(least))?;
    }
    Ok(())
}

pub(super) fn drop_bounding_set(kept: u64) -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    for number in 0..64u32 {
        if kept & (1 << number) != 0 {
            continue;
        }
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Beyond the last capability that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

pub(super) fn resource(resource: RlimitResource) -> Resource {
    match resource {
        RlimitResource::Core => Resource::Core,
        RlimitResource::Cpu => Resource::Cpu,
        RlimitResource::Data => Resource::Data,
        RlimitResource::FileSize => Resource::Fsize,
        RlimitResource::Locks => Resource::Locks,
        RlimitResource::Memlock => Resource::Memlock,
        RlimitResource::MessageQueue => Resource::Msgqueue,
        RlimitResource::Nice => Resource::Nice,
        RlimitResource::OpenFiles => Resource::Nofile,
        RlimitResource::Processes => Resource::Nproc,
        RlimitResource::RealTimePriority => Resource::Rtprio,
        RlimitResource::RealTimeTime => Resource::Rttime,
        RlimitResource::SignalsPending => Resource::Sigpending,
        RlimitResource::Stack => Resource::Stack,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::has_reader;

    #[test]
    fn a_pipe_tells_that_its_reader_is_gone() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        assert!(has_reader(writer.as_fd()).unwrap());
        // As full as it may be.
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while rustix::io::write(&writer, &[0; 4096]).is_ok() {}
        assert!(has_reader(writer.as_fd()).unwrap());
        drop(reader);
        assert!(!has_reader(writer.as_fd()).unwrap());
    }
}
