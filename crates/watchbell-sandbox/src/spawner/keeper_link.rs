//! The spawner's end of the keeper: starts it, hands it pipes, starts it again when it dies.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Gid, Uid};

use crate::keeper::KeeperArgs;
use crate::wire::{Filled, Inbox, Notice, Order, Outbox, decode};
use crate::{LogTarget, oom, part};

/// A notice is four numbers, or a sentence.
const NOTICE_MAX: u32 = 4096;

pub(crate) struct KeeperLink {
    child: Child,
    socket: OwnedFd,
    inbox: Inbox,
    outbox: Outbox,
}

/// Makes the log directory the keeper's: it writes there and nowhere else, the server's group reads.
pub(crate) fn prepare_log_dir(args: &KeeperArgs, client_uid: u32) -> io::Result<()> {
    std::fs::create_dir_all(&args.log_dir)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(&args.log_dir, flags, Mode::empty())?;
    rustix::fs::fchown(&dir, Some(Uid::from_raw(args.uid)), Some(Gid::from_raw(client_uid)))?;
    // The set-group-id bit hands the group on to what is made below.
    rustix::fs::fchmod(&dir, Mode::from(0o2750))?;
    Ok(())
}

impl KeeperLink {
    pub(crate) fn start(args: &KeeperArgs) -> io::Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let child = part::start("keeper", args.write(), theirs, oom::USUAL)?;
        Ok(Self { child, socket: ours, inbox: Inbox::new(NOTICE_MAX), outbox: Outbox::default() })
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn watch(&mut self, serial: u64, target: LogTarget, pipes: Vec<OwnedFd>) {
        self.outbox.push(&Order::Watch { serial, target }, pipes);
    }

    /// Shows a run's output to a client; `pipes` has an end for each of `streams` that is wanted.
    pub(crate) fn show(&mut self, serial: u64, session: u64, streams: [bool; 2], pipes: Vec<OwnedFd>) {
        self.outbox.push(&Order::Show { serial, session, streams }, pipes);
    }

    pub(crate) fn finish(&mut self, serial: u64) {
        self.outbox.push(&Order::Finish { serial }, []);
    }

    /// Sends what waits; `false` when the socket is full.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        self.outbox.flush(self.socket.as_fd())
    }

    /// Takes notices; an error or the end means that it died.
    pub(crate) fn take(&mut self, out: &mut Vec<Notice>) -> io::Result<()> {
        let filled = self.inbox.fill(self.socket.as_fd())?;
        while let Some(frame) = self.inbox.next().map_err(io::Error::other)? {
            out.push(decode(&frame.body).map_err(io::Error::other)?);
        }
        match filled {
            Filled::End => Err(io::ErrorKind::UnexpectedEof.into()),
            Filled::Bytes(_) | Filled::WouldBlock => Ok(()),
        }
    }

    /// Waits until it has written what it has and ended.
    pub(crate) fn end(self) -> io::Result<()> {
        let Self { mut child, socket, .. } = self;
        drop(socket);
        child.wait().map(drop)
    }

    /// It failed: makes sure that it is gone.
    pub(crate) fn discard(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
