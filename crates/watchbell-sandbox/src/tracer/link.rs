//! A tracer as the spawner sees it: started before the task is cloned, waited for at the end; its task does not outlive it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Child;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{TracerArgs, trace_path};
use crate::{oom, part};

/// Looks at one that should have ended, a few milliseconds apart, before it is ended.
const LOOKS_MAX: u32 = 2000;

pub(crate) struct Tracer {
    child: Child,
    /// None only while it is being started.
    pidfd: Option<OwnedFd>,
    has_ended: bool,
    looks: u32,
}

impl Tracer {
    /// Starts one; the other end of its socket is for the task.
    pub(crate) fn start(log_dir: &Path, uid: u32, log: &Path) -> io::Result<(Self, OwnedFd)> {
        let (theirs, tasks) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let path: PathBuf = trace_path(log);
        let args = TracerArgs { log_dir: log_dir.to_owned(), uid, path }.write();
        let child = part::start("tracer", args, theirs, oom::EARLY)?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        let mut tracer = Self { child, pidfd: None, has_ended: false, looks: 0 };
        tracer.pidfd = Some(pidfd?);
        Ok((tracer, tasks))
    }

    /// Readable when it has ended.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Whether it has written its trace and is gone. Asked once nothing of the container is left, when it ends by itself.
    pub(crate) fn is_gone(&mut self) -> bool {
        if self.has_ended {
            return true;
        }
        self.looks += 1;
        if self.looks == LOOKS_MAX {
            tracing::error!("a tracer does not end; it is killed, and its trace is lost");
            // It may end this very moment.
            let _ = self.child.kill();
        }
        self.has_ended = match self.child.try_wait() {
            Ok(None) => false,
            Ok(Some(status)) if status.success() => true,
            Ok(Some(status)) => {
                tracing::error!("a tracer failed ({status}): there is no trace of what it watched");
                true
            }
            Err(error) => {
                tracing::error!("cannot wait for a tracer: {error}");
                true
            }
        };
        self.has_ended
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if !self.has_ended {
            // The start failed: nobody will ever ask it anything.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
