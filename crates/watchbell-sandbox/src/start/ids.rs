//! Host user ids for pods: ranges of 65,536, each pod's its own while it lives, so that a break-out is nobody on the host
//! and a stranger to every other pod.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::{Gid, Uid};

use super::cgroup::View;
use super::clocks::Clocks;
use super::etc::Etc;
use super::kernel::{self, Cloned};
use super::mounts::{Common, RootCache};
use super::stash::{Bare, Stash};
use crate::UidRanges;
use crate::spec::IDS;

/// The ranges that are free, and those that were used before with what is cached for them.
pub(super) struct IdPool {
    ranges: UidRanges,
    next: u16,
    idle: Vec<IdRange>,
}

/// One pod's ids.
pub(super) struct IdRange {
    /// The host's id of the container's 0; 0 itself when the pod uses the host's ids.
    pub(super) first: u32,
    /// A user namespace with this mapping that nothing ever runs in: it tells idmapped mounts who is who.
    map: Option<OwnedFd>,
    /// Root file systems that this range mounted before.
    pub(super) roots: RootCache,
    common: Option<Common>,
    etc: Option<Etc>,
    /// Of the host's root to one of the range's ids, and which.
    root_as: Option<((u32, u32), OwnedFd)>,
}

impl IdPool {
    pub(super) fn new(ranges: UidRanges) -> Self {
        Self { ranges, next: 0, idle: Vec::new() }
    }

    pub(super) fn lease(&mut self) -> io::Result<IdRange> {
        if let Some(range) = self.idle.pop() {
            return Ok(range);
        }
        if self.next == self.ranges.count {
            let message = format!("all {} user id ranges are in use; let pods end first", self.ranges.count);
            return Err(io::Error::other(message));
        }
        let first = self.ranges.first + u32::from(self.next) * IDS;
        let map = user_namespace((first, first), IDS)?;
        self.next += 1;
        Ok(IdRange {
            first,
            map: Some(map),
            roots: RootCache::default(),
            common: None,
            etc: None,
            root_as: None,
        })
    }

    /// Whether there is a range for one more.
    pub(super) fn has_room(&self) -> bool {
        !self.idle.is_empty() || self.next < self.ranges.count
    }

    /// Ids are used again once nothing of the pod is left.
    pub(super) fn give_back(&mut self, mut range: IdRange) {
        if range.map.is_some() {
            range.roots.touch();
            self.idle.push(range);
        }
    }
}

impl IdPool {
    pub(super) fn idle(&mut self) -> impl Iterator<Item = &mut IdRange> {
        self.idle.iter_mut()
    }
}

impl IdRange {
    /// For pods with `hostUsers: true`.
    pub(super) fn of_host() -> Self {
        Self { first: 0, map: None, roots: RootCache::default(), common: None, etc: None, root_as: None }
    }

    pub(super) fn map(&self) -> Option<BorrowedFd<'_>> {
        self.map.as_ref().map(AsFd::as_fd)
    }

    /// A mapping by which all that is root's on a disk is of this user and group of the container, and nothing else is anybody's.
    pub(super) fn root_as(&mut self, uid: u32, gid: u32) -> io::Result<BorrowedFd<'_>> {
        if self.root_as.as_ref().is_none_or(|(who, _)| *who != (uid, gid)) {
            let on_host = (self.first + uid, self.first + gid);
            self.root_as = Some(((uid, gid), user_namespace(on_host, 1)?));
        }
        let (_, map) = self.root_as.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(map.as_fd())
    }

    /// /dev and /sys, made once. No other pod has the same: it could watch when this one uses them.
    pub(super) fn common(&mut self, stash: &mut Stash, views: &[View]) -> io::Result<&Common> {
        match &mut self.common {
            Some(common) => Ok(common),
            common => Ok(common.insert(Common::new(stash, views)?)),
        }
    }

    /// The place of the pod's /etc files, made once.
    pub(super) fn etc(&mut self, stash: &mut Stash) -> io::Result<&mut Etc> {
        match &mut self.etc {
            Some(etc) => Ok(etc),
            etc => Ok(etc.insert(Etc::new(stash)?)),
        }
    }

    pub(super) fn is_host(&self) -> bool {
        self.map.is_none()
    }
}

/// Clones as [`kernel::clone3`] does, among the mounts of `bare`, and with clocks that begin now where `clocks` are given. A
/// user namespace belongs to who makes it, and that user is charged for all that is counted by user in it: inotify instances,
/// message queues, pending signals. So the pod's own first id makes it, and what its tasks hoard is missing to nobody else;
/// root's is the host's own. `None`: root makes it all the same.
///
/// # Safety
/// As for [`kernel::clone3`].
pub(super) unsafe fn clone_charged_to(
    ids: Option<&IdRange>,
    bare: Option<&Bare>,
    clocks: Option<&Clocks>,
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Cloned> {
    let first = ids.filter(|_| namespaces & libc::CLONE_NEWUSER as u64 != 0).map(|ids| ids.first);
    clocks.map_or(Ok(()), Clocks::begin)?;
    // What failed on the way is told once the way back was taken.
    let on_the_way = bare.map_or(Ok(()), Bare::enter).and_then(|()| first.map_or(Ok(()), act_as));
    let mut cloned = on_the_way.and_then(|()| {
        // SAFETY: the caller's promise.
        unsafe { kernel::clone3(namespaces, cgroup) }
    });
    if !matches!(cloned, Ok(Cloned::Child)) {
        // Each step is taken, whatever the one before came to.
        let back = [
            first.map_or(Ok(()), |_| act_as(0)),
            bare.map_or(Ok(()), Bare::leave),
            clocks.map_or(Ok(()), Clocks::go_home),
        ];
        if let Some(error) = back.into_iter().find_map(Result::err) {
            tracing::error!("cannot come back from where tasks begin: {error}");
            if let Ok(Cloned::Parent { pidfd, .. }) = &cloned {
                kernel::discard(pidfd);
                cloned = Err(error);
            }
        }
    }
    cloned
}

/// Changes the effective user alone, and keeps what root may.
pub(super) fn act_as(uid: u32) -> io::Result<()> {
    rustix::thread::set_thread_res_uid(None, Uid::from_raw(uid), None)?;
    let mut sets = rustix::thread::capabilities(None)?;
    sets.effective = sets.permitted;
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// The same with the effective group: what is made is then of the user and the group of that number.
pub(super) fn act_as_both(id: u32) -> io::Result<()> {
    rustix::thread::set_thread_res_gid(None, Gid::from_raw(id), None)?;
    act_as(id)
}

/// Tells a process in a new user namespace who it is: the container's ids 0 … 65,535 are ours from `first` on.
pub(super) fn write_maps(pid: u32, first: u32) -> io::Result<()> {
    write_map(pid, (first, first), IDS)
}

/// So many users and groups, each from an id of its own on.
fn write_map(pid: u32, (uid, gid): (u32, u32), count: u32) -> io::Result<()> {
    for (file, first) in [("uid_map", uid), ("gid_map", gid)] {
        let line = format!("0 {first} {count}");
        let path = format!("/proc/{pid}/{file}");
        std::fs::write(&path, &line)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot write \"{line}\" to {path}: {e}")))?;
    }
    Ok(())
}

/// Makes a user namespace by means of a child that does nothing else.
fn user_namespace(first: (u32, u32), count: u32) -> io::Result<OwnedFd> {
    let (wait, go) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the spawner has one thread.
    match unsafe { kernel::clone3(libc::CLONE_NEWUSER as u64, None) }? {
        Cloned::Child => {
            // Our end of what we wait for the end of.
            drop(go);
            let mut nothing = [0u8; 1];
            let _ = rustix::io::read(&wait, &mut nothing);
            kernel::exit_now(0)
        }
        Cloned::Parent { pid, pidfd } => {
            let opened = write_map(pid, first, count).and_then(|()| open_namespace(pid, "user"));
            drop(go);
            kernel::discard(&pidfd);
            opened
        }
    }
}

/// A process's namespace.
pub(super) fn open_namespace(pid: u32, kind: &str) -> io::Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/{kind}");
    openat(CWD, Path::new(&path), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| io::Error::new(io::Error::from(e).kind(), format!("cannot open {path}: {e}")))
}

/// `/proc/self/fd/N`, for interfaces that take paths only.
pub(super) fn fd_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}
