//! A session as the server holds it: streams, and a socket whose end is the session's end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};

use super::Spawner;
use crate::wire::{EXEC_SINCE, Filled, Inbox, Part, Request, SessionAsk, SessionReply, decode};
use crate::{ContainerId, ExitStatus, SessionFailure, SessionFailureKind, Streams};

/// A reply is a failure's text at most.
const REPLY_MAX: u32 = 64 << 10;
/// A container that has used up its processor time starts a process slowly.
const PATIENCE: Duration = Duration::from_secs(60);

/// The streams of a process in a container. What was not asked for, or is not there, is `None`.
pub struct SandboxSession {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    /// With a terminal: its outer end, whose size can be set.
    pub terminal: Option<OwnedFd>,
    pub link: SessionLink,
}

/// Holds the session open: when it is dropped, or its process ends, the spawner ends what was started for it.
pub struct SessionLink {
    socket: OwnedFd,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    inbox: Inbox,
    ended: Option<ExitStatus>,
}

impl Spawner {
    /// Starts one more process in a container that runs, with the identity and the limits of its first one. Returns when the
    /// program was executed.
    pub fn exec(
        &self,
        id: ContainerId,
        command: Vec<String>,
        streams: Streams,
    ) -> Result<SandboxSession, SessionFailure> {
        self.open_session(SessionAsk { id, command: Some(command), streams })
    }

    /// Joins the streams of a container's own process: its output from now on, its input if it takes any.
    pub fn attach(&self, id: ContainerId, streams: Streams) -> Result<SandboxSession, SessionFailure> {
        self.open_session(SessionAsk { id, command: None, streams })
    }

    fn open_session(&self, ask: SessionAsk) -> Result<SandboxSession, SessionFailure> {
        if self.shared.version < EXEC_SINCE {
            let message = "the spawner that runs the containers is of an older version and knows neither exec nor attach; it \
                           is replaced once its tasks have ended";
            return Err(SessionFailure::new(SessionFailureKind::Refused, message));
        }
        let broken = |cause: io::Error| {
            let message = format!("cannot open a session: the spawner does not answer: {cause}");
            SessionFailure::new(SessionFailureKind::Connection, message)
        };
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|e| broken(e.into()))?;
        set_socket_timeout(&ours, Timeout::Recv, Some(PATIENCE)).map_err(|e| broken(e.into()))?;
        self.send(|sending| {
            sending.outbox.push(&Request::Session(ask), [theirs]);
            Ok(())
        })
        .map_err(|error| SessionFailure::new(SessionFailureKind::Connection, error.to_string()))?;
        let mut inbox = Inbox::new(REPLY_MAX);
        let Some((reply, fds)) = next(&mut inbox, &ours).map_err(broken)? else {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        };
        set_socket_timeout(&ours, Timeout::Recv, None).map_err(|e| broken(e.into()))?;
        match reply {
            SessionReply::Opened { parts } if parts.len() == fds.len() => {
                let waiting = Mutex::new(Waiting { inbox, ended: None });
                let link = SessionLink { socket: ours, waiting };
                let mut session =
                    SandboxSession { stdin: None, stdout: None, stderr: None, terminal: None, link };
                for (part, fd) in parts.into_iter().zip(fds) {
                    *match part {
                        Part::Stdin => &mut session.stdin,
                        Part::Stdout => &mut session.stdout,
                        Part::Stderr => &mut session.stderr,
                        Part::Terminal => &mut session.terminal,
                    } = Some(fd);
                }
                Ok(session)
            }
            SessionReply::Refused(failure) => Err(failure),
            SessionReply::Opened { .. } | SessionReply::Ended(_) => {
                Err(broken(io::ErrorKind::InvalidData.into()))
            }
        }
    }
}

impl SessionLink {
    /// Blocks until the process has ended: the one that was started, or the container's own.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = waiting.ended {
            return Ok(status);
        }
        match next(&mut waiting.inbox, &self.socket)? {
            Some((SessionReply::Ended(status), _)) => {
                waiting.ended = Some(status);
                Ok(status)
            }
            Some(_) => Err(io::ErrorKind::InvalidData.into()),
            None => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the session was ended")),
        }
    }

    /// Ends the session: what was started for it is killed, and [`SessionLink::wait`] returns.
    pub fn end(&self) {
        // The spawner may be gone, and with it all that it started.
        let _ = shutdown(&self.socket, Shutdown::Write);
    }
}

fn next(inbox: &mut Inbox, socket: &OwnedFd) -> io::Result<Option<(SessionReply, Vec<OwnedFd>)>> {
    loop {
        if let Some(frame) = inbox.next().map_err(io::Error::other)? {
            let reply = decode(&frame.body).map_err(io::Error::other)?;
            return Ok(Some((reply, frame.fds)));
        }
        match inbox.fill(socket.as_fd())? {
            Filled::Bytes(_) => {}
            Filled::End => return Ok(None),
            Filled::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use crate::client::Shared;
    use crate::spawner::Guard;
    use crate::{Ceiling, ContainerId, SessionFailureKind, Spawner, Streams};

    /// A connection to whoever holds the other end.
    pub(in crate::client) fn connected(version: u32) -> std::io::Result<(Spawner, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let sending = Mutex::default();
        let guard = Guard::new(Ceiling::default(), Path::new("/data/run"));
        let socket = Arc::new(ours.into());
        let without_images = None;
        let shared = Arc::new(Shared { socket, version, without_images, guard, is_outdated: false, sending });
        Ok((Spawner { shared }, theirs))
    }

    #[test]
    fn an_older_spawner_is_not_asked_what_it_does_not_know() -> std::io::Result<()> {
        let (spawner, theirs) = connected(1)?;
        let id = ContainerId { pod_uid: 1, container: 0, attempt: 0 };
        let exec = spawner.exec(id, vec!["sh".to_owned()], Streams::default());
        let attach = spawner.attach(id, Streams::default());
        for failure in [exec.err(), attach.err()] {
            let failure = failure.ok_or_else(|| std::io::Error::other("it was asked"))?;
            assert_eq!(failure.kind, SessionFailureKind::Refused);
            assert!(failure.message.contains("older version"), "{failure}");
        }
        theirs.set_nonblocking(true)?;
        assert!(std::io::Read::read(&mut &theirs, &mut [0; 1]).is_err(), "nothing was sent");
        Ok(())
    }

    #[test]
    fn a_spawner_that_is_gone_is_told_as_that() -> std::io::Result<()> {
        let (spawner, theirs) = connected(2)?;
        drop(theirs);
        let id = ContainerId { pod_uid: 1, container: 0, attempt: 0 };
        let failure = spawner.attach(id, Streams::default()).err();
        assert_eq!(failure.map(|f| f.kind), Some(SessionFailureKind::Connection));
        Ok(())
    }
}
