//! The sessions that are open. They live and end with their sockets and are in no table: a spawner that dies takes them along.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use serde::Serialize;

use crate::start::Entry;
use crate::wire::{Outbox, Part, SessionReply};
use crate::{ContainerId, SessionFailure, SessionFailureKind};

/// All that may be open at once, and those of one container: each is a process and some descriptors of this one's.
pub(crate) const SESSIONS_MAX: usize = 256;
pub(crate) const SESSIONS_OF_CONTAINER_MAX: usize = 32;

pub(crate) struct Session {
    /// The container.
    pub(crate) id: ContainerId,
    pub(crate) socket: ClientSocket,
    /// `None`: it watches the container's own process.
    pub(crate) entry: Option<Entry>,
    /// What the client gets once the keeper shows it the output.
    pub(crate) waits_for_keeper: Option<Vec<(Part, OwnedFd)>>,
    /// Whether the program was executed, or the client was told that it was not.
    pub(crate) is_settled: bool,
    /// The client hung up or asked for the end. It may still hear how that was.
    pub(crate) is_gone: bool,
    /// The last word was said.
    pub(crate) is_told: bool,
}

impl Session {
    /// Tells a client that attaches what it gets, once.
    pub(crate) fn tell_opened(&mut self) -> io::Result<()> {
        let Some(parts) = self.waits_for_keeper.take() else { return Ok(()) };
        let (parts, fds): (Vec<Part>, Vec<OwnedFd>) = parts.into_iter().unzip();
        self.socket.tell(&SessionReply::Opened { parts }, fds)
    }
}

/// The client's end. It was made by a server that may have been taken over: nothing ever waits for it.
pub(crate) struct ClientSocket(OwnedFd);

impl ClientSocket {
    /// Anything but a stream socket of this machine is refused.
    pub(crate) fn new(fd: OwnedFd) -> Result<Self, String> {
        match (socket_domain(&fd), socket_type(&fd)) {
            (Ok(AddressFamily::UNIX), Ok(SocketType::STREAM)) => Ok(Self(fd)),
            _ => Err("a request came with something else than a socket".to_owned()),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Says it, at once or not at all.
    pub(crate) fn tell(
        &self,
        reply: &impl Serialize,
        fds: impl IntoIterator<Item = OwnedFd>,
    ) -> io::Result<()> {
        let mut outbox = Outbox::default();
        outbox.push(reply, fds);
        match outbox.flush_at_once(self.fd()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        }
    }
}

#[derive(Default)]
pub(crate) struct Sessions {
    by_serial: HashMap<u64, Session>,
    last: u64,
}

impl Sessions {
    /// Whether there is room for one more.
    pub(crate) fn admit(&self, id: ContainerId) -> Result<(), SessionFailure> {
        let too_many = |what: &str, most: usize| {
            let message = format!("{most} sessions are open {what}, which is the most; close one first");
            Err(SessionFailure::new(SessionFailureKind::TooMany, message))
        };
        if self.by_serial.len() >= SESSIONS_MAX {
            return too_many("on this machine", SESSIONS_MAX);
        }
        if self.of(id).count() >= SESSIONS_OF_CONTAINER_MAX {
            return too_many("in this container", SESSIONS_OF_CONTAINER_MAX);
        }
        Ok(())
    }

    /// Serial numbers are never used twice: an event that is late finds nothing.
    pub(crate) fn insert(&mut self, session: Session) -> u64 {
        self.last += 1;
        self.by_serial.insert(self.last, session);
        self.last
    }

    pub(crate) fn get(&mut self, serial: u64) -> Option<&mut Session> {
        self.by_serial.get_mut(&serial)
    }

    pub(crate) fn remove(&mut self, serial: u64) -> Option<Session> {
        self.by_serial.remove(&serial)
    }

    pub(crate) fn that_wait_for_the_keeper(&self) -> Vec<u64> {
        let waits = |session: &Session| session.waits_for_keeper.is_some();
        self.by_serial.iter().filter(|(_, s)| waits(s)).map(|(serial, _)| *serial).collect()
    }

    /// Those of a container.
    pub(crate) fn of(&self, id: ContainerId) -> impl Iterator<Item = (u64, &Session)> {
        self.by_serial.iter().filter(move |(_, s)| s.id == id).map(|(serial, s)| (*serial, s))
    }
}
