//! Sessions: processes that enter containers, and clients that watch them.

use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::{EventLoop, SESSIONS, add_to};
use crate::spawner::sessions::{ClientSocket, Session};
use crate::start::{Entry, Outcome, Outer};
use crate::wire::{Part, SessionAsk, SessionReply};
use crate::{
    ContainerId, ExitStatus, RunSpec, SessionFailure, SessionFailureKind, StartFailureKind, Stdin, Streams,
};

/// In the low bits of a session's token.
const SOCKET: u64 = 0;
const HELPER: u64 = 1;
const STATUS: u64 = 2;
const PROCESS: u64 = 3;

/// What a client that watches may lag behind. The kernel gives an ordinary pipe where it is out of larger ones.
const WATCH_BYTES: usize = 1 << 20;

fn token(serial: u64, which: u64) -> EventData {
    EventData::new_u64(SESSIONS | serial << 2 | which)
}

fn refusal(kind: SessionFailureKind, message: impl Into<String>) -> SessionFailure {
    SessionFailure::new(kind, message)
}

impl EventLoop {
    pub(super) fn session_event(&mut self, token: u64) {
        let serial = (token & !SESSIONS) >> 2;
        match token & 3 {
            SOCKET => self.client_left(serial),
            HELPER => self.helper_ended(serial),
            STATUS => self.entry_status(serial),
            _ => self.entry_ended(serial),
        }
    }

    /// An error is a breach of the protocol. All else is told on the session's own socket.
    pub(super) fn open_session(&mut self, ask: SessionAsk, socket: OwnedFd) -> Result<(), String> {
        let socket = ClientSocket::new(socket)?;
        let opened = match ask.command {
            Some(command) => self.exec(ask.id, command, ask.streams).map(|entry| (Some(entry), None)),
            None => self.attach(ask.id, ask.streams).map(|view| (None, Some(view))),
        };
        match opened {
            Ok((entry, view)) => {
                let is_settled = entry.is_none();
                let serial = self.follow(Session {
                    id: ask.id,
                    socket,
                    entry,
                    waits_for_keeper: None,
                    is_settled,
                    is_gone: false,
                    is_told: false,
                });
                if let (Some(serial), Some(view)) = (serial, view) {
                    self.show(serial, view);
                }
            }
            Err(failure) => {
                if let Err(error) = socket.tell(&SessionReply::Refused(failure), []) {
                    tracing::info!("a client of {} left before its answer: {error}", ask.id);
                }
            }
        }
        Ok(())
    }

    fn exec(
        &mut self,
        id: ContainerId,
        command: Vec<String>,
        streams: Streams,
    ) -> Result<Entry, SessionFailure> {
        self.sessions.admit(id)?;
        let Some((_, live)) = self.live.by_id(id).filter(|(_, live)| live.is_running()) else {
            return Err(not_running(id));
        };
        // Its own bounds hold, whoever asks: the container's first command had to keep them too.
        let spec = RunSpec { argv: command, ..(*live.spec).clone() };
        spec.check_command().map_err(|e| refusal(SessionFailureKind::Refused, e.to_string()))?;
        let entered = self.parts.host.enter(&live.begun, &spec, streams);
        entered.map_err(|failure| as_session_failure(failure.kind, failure.message))
    }

    fn attach(&mut self, id: ContainerId, streams: Streams) -> Result<View, SessionFailure> {
        self.sessions.admit(id)?;
        let failed =
            |e: std::io::Error| refusal(SessionFailureKind::Sandbox, format!("cannot attach to {id}: {e}"));
        let Some((serial, live)) = self.live.by_id(id).filter(|(_, live)| live.is_running()) else {
            return Err(not_running(id));
        };
        let interaction = live.spec.interaction;
        let mut parts: Vec<(Part, OwnedFd)> = Vec::new();
        if streams.stdin && interaction.stdin != Stdin::None {
            let input = match (&live.begun.terminal, interaction.stdin) {
                (Some(terminal), _) => Some(terminal.master.try_clone().map_err(failed)?),
                // Its only writing end: when the client lets go of it, the container reads to the end.
                (None, Stdin::Once) => live.begun.stdin.take(),
                (None, _) => live.begun.stdin.as_ref().map(OwnedFd::try_clone).transpose().map_err(failed)?,
            };
            parts.extend(input.map(|fd| (Part::Stdin, fd)));
        }
        if let Some(terminal) = &live.begun.terminal {
            parts.push((Part::Terminal, terminal.master.try_clone().map_err(failed)?));
        }
        let has_stderr = live.begun.terminal.is_none();
        let mut shown = Vec::new();
        let wanted = [streams.stdout, streams.stderr && has_stderr];
        for part in [(wanted[0], Part::Stdout), (wanted[1], Part::Stderr)] {
            if let (true, part) = part {
                let (outer, inner) = watch_pipe().map_err(failed)?;
                parts.push((part, outer));
                shown.push(inner);
            }
        }
        Ok(View { run: serial, wanted, shown, parts })
    }

    /// Answers a client that attaches once the keeper shows it the output: what the client causes by its first word must not
    /// be printed before.
    fn show(&mut self, serial: u64, view: View) {
        let View { run, wanted, shown, parts } = view;
        if let Some(session) = self.sessions.get(serial) {
            session.waits_for_keeper = Some(parts);
        }
        match &mut self.keeper {
            Some(keeper) if !shown.is_empty() => keeper.show(run, serial, wanted, shown),
            // Without a keeper, which is started again soon, nothing is shown: the ends that are dropped here say so.
            _ => self.is_shown(serial),
        }
    }

    /// Everything is in place for a client that attaches.
    pub(super) fn is_shown(&mut self, serial: u64) {
        let Some(session) = self.sessions.get(serial) else { return };
        if let Err(error) = session.tell_opened() {
            tracing::info!("a client of {} left before its answer: {error}", session.id);
            drop(self.sessions.remove(serial));
        }
    }

    /// Nobody shows anything any more: who waits for it goes on without.
    pub(super) fn keeper_is_gone(&mut self) {
        for serial in self.sessions.that_wait_for_the_keeper() {
            self.is_shown(serial);
        }
    }

    /// Looks out for all that can happen to a session. `None`: it is over already.
    fn follow(&mut self, session: Session) -> Option<u64> {
        let id = session.id;
        let serial = self.sessions.insert(session);
        let session = self.sessions.get(serial)?;
        // Nothing is ever read from it; a hang-up is told without being asked for.
        let followed = epoll::add(&self.epoll, session.socket.fd(), token(serial, SOCKET), EventFlags::RDHUP)
            .map_err(std::io::Error::from)
            .and_then(|()| match &session.entry {
                Some(entry) => add_to(&self.epoll, &entry.helper, token(serial, HELPER)),
                None => Ok(()),
            });
        if let Err(error) = followed {
            tracing::error!("cannot follow a session of {id}: {error}");
            // Nobody would see it end. The client sees its socket closed.
            if let Some(mut session) = self.sessions.remove(serial)
                && let Some(entry) = &mut session.entry
                && entry.helper_ended().is_ok()
            {
                entry.kill();
                let _ = entry.reap();
            }
            return None;
        }
        Some(serial)
    }

    /// Its socket was closed, or the server that held it died.
    fn client_left(&mut self, serial: u64) {
        let Some(session) = self.sessions.get(serial) else { return };
        session.is_gone = true;
        let _ = epoll::delete(&self.epoll, session.socket.fd());
        match &session.entry {
            // Its end is followed like any other. Before the helper has ended, that is where it is seen to.
            Some(entry) => entry.kill(),
            None => drop(self.sessions.remove(serial)),
        }
    }

    fn helper_ended(&mut self, serial: u64) {
        let Some(session) = self.sessions.get(serial) else { return };
        let Some(entry) = &mut session.entry else { return };
        let ended = entry.helper_ended();
        let _ = epoll::delete(&self.epoll, &entry.helper);
        if let Err(failure) = ended {
            let reply = SessionReply::Refused(as_session_failure(failure.kind, failure.message));
            // Nothing was started; nothing is left to be done for a client that does not hear it.
            let _ = session.socket.tell(&reply, []);
            return drop(self.sessions.remove(serial));
        }
        let Some(process) = &entry.process else { return };
        let watched = add_to(&self.epoll, process, token(serial, PROCESS))
            .and_then(|()| add_to(&self.epoll, &entry.status, token(serial, STATUS)));
        match watched {
            Ok(()) if session.is_gone => entry.kill(),
            Ok(()) => {
                if let Err(error) = entry.go_on() {
                    tracing::warn!("cannot let a process in {} go on: {error}", session.id);
                    entry.kill();
                }
            }
            Err(error) => {
                tracing::error!("cannot watch a process in {}: {error}", session.id);
                entry.kill();
                let _ = entry.reap();
                let message = format!("cannot watch the process: {error}");
                let reply = SessionReply::Refused(refusal(SessionFailureKind::Sandbox, message));
                let _ = session.socket.tell(&reply, []);
                drop(self.sessions.remove(serial));
            }
        }
    }

    fn entry_status(&mut self, serial: u64) {
        let Some(session) = self.sessions.get(serial) else { return };
        let Some(entry) = &mut session.entry else { return };
        if session.is_settled {
            return;
        }
        let outcome = match entry.read_status() {
            Outcome::Waiting => return,
            Outcome::Executed => entry.take_streams().map_err(|error| {
                let message = format!("cannot take the streams of the process: {error}");
                refusal(SessionFailureKind::Sandbox, message)
            }),
            Outcome::Failed(failure) => Err(as_session_failure(failure.kind, failure.message)),
            Outcome::Gone => {
                let message = "the process was ended before its program ran";
                Err(refusal(SessionFailureKind::Sandbox, message))
            }
        };
        session.is_settled = true;
        let _ = epoll::delete(&self.epoll, &entry.status);
        let told = match outcome.map(parts_of) {
            Ok(Ok((parts, fds))) => session.socket.tell(&SessionReply::Opened { parts }, fds),
            Ok(Err(error)) => Err(error),
            Err(failure) => {
                // It ends by itself, or has ended; nothing follows.
                let told = session.socket.tell(&SessionReply::Refused(failure), []);
                session.is_told = true;
                entry.kill();
                told
            }
        };
        if let Err(error) = told {
            tracing::info!("a client of {} left before its answer: {error}", session.id);
            entry.kill();
        }
    }

    fn entry_ended(&mut self, serial: u64) {
        // What it reported before comes first.
        self.entry_status(serial);
        let Some(session) = self.sessions.get(serial) else { return };
        let Some(entry) = &session.entry else { return };
        let status = match entry.reap() {
            Ok(status) => status,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return,
            Err(error) => {
                tracing::error!("cannot wait for a process in {}: {error}", session.id);
                ExitStatus::Lost
            }
        };
        if !session.is_told {
            // Who does not hear it has hung up.
            let _ = session.socket.tell(&SessionReply::Ended(status), []);
        }
        drop(self.sessions.remove(serial));
    }

    /// The container's first process ended: those who watch it are told. What entered it ends by itself.
    pub(super) fn tell_watchers(&mut self, id: ContainerId, status: ExitStatus) {
        let watchers: Vec<u64> =
            self.sessions.of(id).filter(|(_, s)| s.entry.is_none()).map(|(serial, _)| serial).collect();
        for serial in watchers {
            if let Some(mut session) = self.sessions.remove(serial) {
                // Who does not hear it has hung up.
                let _ = session.tell_opened();
                let _ = session.socket.tell(&SessionReply::Ended(status), []);
            }
        }
    }
}

/// What a client that attaches gets, and what the keeper needs for it.
struct View {
    run: u64,
    /// Of stdout and stderr; `shown` has a writing end for each.
    wanted: [bool; 2],
    shown: Vec<OwnedFd>,
    parts: Vec<(Part, OwnedFd)>,
}

fn not_running(id: ContainerId) -> SessionFailure {
    refusal(SessionFailureKind::NotRunning, format!("container {id} is not running"))
}

fn as_session_failure(kind: StartFailureKind, message: String) -> SessionFailure {
    let kind = match kind {
        StartFailureKind::CommandNotFound => SessionFailureKind::CommandNotFound,
        StartFailureKind::CommandNotExecutable => SessionFailureKind::CommandNotExecutable,
        StartFailureKind::Refused => SessionFailureKind::Refused,
        StartFailureKind::Sandbox | StartFailureKind::Cancelled => SessionFailureKind::Sandbox,
    };
    refusal(kind, message)
}

/// What is sent to the client: of a terminal one end for each use.
fn parts_of(outer: Outer) -> std::io::Result<(Vec<Part>, Vec<OwnedFd>)> {
    let mut parts: Vec<(Part, OwnedFd)> = Vec::new();
    if let Some(terminal) = outer.terminal {
        parts.push((Part::Stdin, terminal.master.try_clone()?));
        parts.push((Part::Stdout, terminal.master.try_clone()?));
        parts.push((Part::Terminal, terminal.master));
    }
    let pipes = [(Part::Stdin, outer.stdin), (Part::Stdout, outer.stdout), (Part::Stderr, outer.stderr)];
    parts.extend(pipes.into_iter().filter_map(|(part, fd)| Some((part, fd?))));
    Ok(parts.into_iter().unzip())
}

/// Both ends of a pipe for output that is shown; the keeper's never blocks it.
fn watch_pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (outer, inner) = pipe_with(PipeFlags::CLOEXEC)?;
    // As large as it may be.
    let _ = fcntl_setpipe_size(&inner, WATCH_BYTES);
    fcntl_setfl(&inner, OFlags::NONBLOCK)?;
    Ok((outer, inner))
}
