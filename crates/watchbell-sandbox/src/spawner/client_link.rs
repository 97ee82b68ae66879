//! The spawner's end of the server: one at a time, never waited for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{socket_peercred, socket_type};

use crate::Event;
use crate::wire::{Filled, Frame, Inbox, OLDEST, Outbox, Reply, WireError};

/// A spec has at most 4 MiB of strings and some MiB of paths; environments above 64 KiB come in sealed memory.
const REQUEST_MAX: u32 = 16 << 20;
/// What may wait for a server that does not read. Above it the connection is dropped: all of it is in the table.
const WAITING_MAX: usize = 16 << 20;

pub(crate) struct ClientLink {
    socket: OwnedFd,
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) greeted: bool,
    /// Of the protocol, once greeted.
    pub(crate) version: u32,
    inbox: Inbox,
    outbox: Outbox,
    waiting_max: usize,
}

impl ClientLink {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let peer = socket_peercred(&socket)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self {
            socket,
            pid: peer.pid.as_raw_nonzero().get().unsigned_abs(),
            uid: peer.uid.as_raw(),
            greeted: false,
            version: OLDEST,
            inbox: Inbox::new(REQUEST_MAX),
            outbox: Outbox::default(),
            waiting_max: WAITING_MAX,
        })
    }

    /// The connection that the server which started this process gave it, if standard input is one.
    pub(crate) fn from_stdin(stdin: OwnedFd) -> Option<Self> {
        socket_type(&stdin).ok()?;
        Self::new(stdin).ok()
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The other side hung up.
    pub(crate) fn is_gone(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// Says why there is no spawner, as far as the socket takes it at once.
    pub(crate) fn refuse(&mut self, reason: &str) {
        self.send_last(&Reply::Refused { reason: reason.to_owned() });
    }

    pub(crate) fn send_last(&mut self, reply: &Reply) {
        self.outbox.push(reply, []);
        if let Err(error) = self.outbox.flush(self.socket.as_fd()) {
            tracing::info!("the server (pid {}) left before its answer: {error}", self.pid);
        }
    }

    pub(crate) fn send(&mut self, reply: &Reply) {
        self.outbox.push(reply, []);
    }

    /// An older server is not told what it does not know of.
    pub(crate) fn tell(&mut self, event: Event) {
        if self.greeted && self.version >= event.since() {
            self.outbox.push(&Reply::Event(event), []);
        }
    }

    /// What waits now is the table; it does not count as slowness.
    pub(crate) fn allow_what_waits(&mut self) {
        self.waiting_max = self.outbox.len() + WAITING_MAX;
    }

    pub(crate) fn fill(&mut self) -> io::Result<Filled> {
        self.inbox.fill(self.socket.as_fd())
    }

    pub(crate) fn next(&mut self) -> Result<Option<Frame>, WireError> {
        self.inbox.next()
    }

    /// Sends what the socket takes; `false` when something waits.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        let all = self.outbox.flush(self.socket.as_fd())?;
        if self.outbox.len() > self.waiting_max {
            return Err(io::Error::other("it does not read what it is told"));
        }
        Ok(all)
    }
}
