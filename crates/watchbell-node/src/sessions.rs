//! `exec` and `attach`: finds the container's present run and asks the spawner.
//!
//! A command that cannot be executed is no error of the request: as in a shell, its words stand on standard error and its exit
//! code is 127 (not found) or 126, so that scripts can tell it from a container that is not there.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;
use watchbell_api::node::{
    Assignment, Session, SessionAction, SessionControl, SessionEnd, SessionRequest, Sessions,
};
use watchbell_api::{ApiError, Reason, Uid};
use watchbell_image::Store;
use watchbell_sandbox::{
    ExitStatus, SandboxSession, SessionFailure, SessionFailureKind, SessionLink, Spawner, Streams, UidRanges,
};

use crate::agent::{Site, pull_secrets};
use crate::arrays::MemoryDir;
use crate::image::{self, InUse};
use crate::logs::Live;

#[cfg(test)]
mod tests;

/// By a shell's convention.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// The connection to the spawner, which the executor replaces when it breaks.
pub(crate) struct SharedSpawner(Mutex<Spawner>);

impl SharedSpawner {
    pub(crate) fn new(spawner: Spawner) -> Self {
        Self(Mutex::new(spawner))
    }

    pub(crate) fn set(&self, spawner: Spawner) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = spawner;
    }

    fn get(&self) -> Spawner {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn metrics(&self) -> String {
        let name = "watchbell_spawner_outdated";
        let help = "Whether the spawner, which runs tasks still, was started with other settings or by another version.";
        let is_outdated = u8::from(self.get().is_outdated());
        format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {is_outdated}\n")
    }

    /// What a pod wrote into a volume. It blocks, also as long as the connection is being made anew.
    pub(crate) fn upper(&self, pod: Uid, volume: u16) -> Result<OwnedFd, String> {
        const TRIES: u32 = 50;
        const BETWEEN: Duration = Duration::from_millis(200);
        for _ in 0..TRIES {
            match self.get().upper(pod.0, volume) {
                Err(watchbell_sandbox::Error::Connection { .. }) => std::thread::sleep(BETWEEN),
                answer => return answer.map_err(|error| error.to_string()),
            }
        }
        Err("the spawner, which holds what the pod wrote, does not answer".to_owned())
    }
}

impl SharedSpawner {
    /// A directory in memory. It blocks until the spawner answers.
    pub(crate) fn memory(&self, bytes: u64, inodes: u64, bytes_max: u64) -> Result<MemoryDir, String> {
        let memory = self.get().memory(bytes, inodes, bytes_max).map_err(|error| error.to_string())?;
        let dir = memory.dir().try_clone_to_owned().map_err(|error| error.to_string())?;
        Ok(MemoryDir { id: memory.id(), dir, held: Box::new(memory) })
    }
}

pub(crate) struct NodeSessions {
    pub(crate) site: Arc<Site>,
    pub(crate) ranges: UidRanges,
    pub(crate) store: Store,
    pub(crate) in_use: Arc<InUse>,
    pub(crate) live: Arc<Live>,
    pub(crate) spawner: Arc<SharedSpawner>,
}

impl Sessions for NodeSessions {
    fn explain(&self, pod: &Assignment) -> Result<Value, ApiError> {
        let credentials = pull_secrets(&self.site, pod);
        self.site.explain(pod, self.ranges, |name| {
            image::present(&self.store, &self.in_use, name, credentials.clone())
        })
    }

    fn open(&self, request: &SessionRequest) -> Result<Session, ApiError> {
        let verb = match &request.action {
            SessionAction::Exec { .. } => "exec in",
            SessionAction::Attach => "attach to",
        };
        let refuse = |failure: &SessionFailure| as_api_error(verb, failure);
        let Some(id) = self.live.newest(request.pod_uid.0, request.container) else {
            let message = "it is not running".to_owned();
            return Err(refuse(&SessionFailure { kind: SessionFailureKind::NotRunning, message }));
        };
        let SessionRequest { stdin, stdout, stderr, tty, .. } = *request;
        let streams = Streams { stdin, stdout, stderr: stderr && !tty, tty };
        let spawner = self.spawner.get();
        let opened = match &request.action {
            SessionAction::Exec { command } => spawner.exec(id, command.clone(), streams),
            SessionAction::Attach => spawner.attach(id, streams),
        };
        match (opened, &request.action) {
            (Ok(session), _) => Ok(joined(session, streams)),
            (Err(failure), SessionAction::Exec { command }) => {
                match not_executed(command, &failure) {
                    // Somebody must be there to read it.
                    Some((text, code)) if stdout || streams.stderr => {
                        told(&text, code, streams).map_err(|e| {
                            ApiError::internal(format!("cannot tell why {command:?} did not start: {e}"))
                        })
                    }
                    _ => Err(refuse(&failure)),
                }
            }
            (Err(failure), SessionAction::Attach) => Err(refuse(&failure)),
        }
    }
}

fn joined(session: SandboxSession, streams: Streams) -> Session {
    let SandboxSession { stdin, stdout, stderr, terminal, link } = session;
    Session {
        // A terminal comes with both directions.
        stdin: stdin.filter(|_| streams.stdin),
        stdout: stdout.filter(|_| streams.stdout),
        stderr: stderr.filter(|_| streams.stderr),
        control: Arc::new(Control { link, terminal }),
    }
}

struct Control {
    link: SessionLink,
    terminal: Option<OwnedFd>,
}

impl SessionControl for Control {
    fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(terminal, size)?)
    }

    fn wait(&self) -> io::Result<SessionEnd> {
        Ok(match self.link.wait()? {
            ExitStatus::Code(code) => SessionEnd::Exited(code),
            // Signals end at 64.
            ExitStatus::Signal(signal) => SessionEnd::Signalled(u8::try_from(signal).unwrap_or(u8::MAX)),
            ExitStatus::Lost => return Err(io::Error::other("how the process ended is not known")),
        })
    }

    fn end(&self) {
        self.link.end();
    }
}

/// Nothing runs; what there is to say is said.
struct Over(u8);

impl SessionControl for Over {
    fn resize(&self, _columns: u16, _rows: u16) -> io::Result<()> {
        Ok(())
    }

    fn wait(&self) -> io::Result<SessionEnd> {
        Ok(SessionEnd::Exited(self.0))
    }

    fn end(&self) {}
}

/// What runc says of a command that it cannot execute, and the exit code.
fn not_executed(command: &[String], failure: &SessionFailure) -> Option<(String, u8)> {
    let name = command.first()?;
    let (why, code) = match failure.kind {
        SessionFailureKind::CommandNotFound if name.contains('/') => {
            (format!("stat {name}: no such file or directory"), NOT_FOUND)
        }
        SessionFailureKind::CommandNotFound => ("executable file not found in $PATH".to_owned(), NOT_FOUND),
        SessionFailureKind::CommandNotExecutable => (failure.message.clone(), NOT_EXECUTABLE),
        _ => return None,
    };
    let text = format!(
        "OCI runtime exec failed: exec failed: unable to start container process: exec: {name:?}: {why}"
    );
    Some((text, code))
}

/// A session of a process that never ran.
fn told(text: &str, code: u8, streams: Streams) -> io::Result<Session> {
    let ended = |text: &str| -> io::Result<OwnedFd> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        // A pipe takes 64 KiB without a reader; this is a few sentences and a name.
        rustix::io::ioctl_fionbio(&write, true)?;
        let mut write = File::from(write);
        let end = text.floor_char_boundary(4000);
        write.write_all(&text.as_bytes()[..end])?;
        write.write_all(if streams.tty { b"\r\n" } else { b"\n" })?;
        Ok(read)
    };
    let (on_stdout, on_stderr) = if streams.stderr { ("", text) } else { (text, "") };
    let stdout = match (streams.stdout, on_stdout) {
        (false, _) => None,
        (true, "") => Some(pipe_with(PipeFlags::CLOEXEC)?.0),
        (true, text) => Some(ended(text)?),
    };
    let stderr = if streams.stderr { Some(ended(on_stderr)?) } else { None };
    Ok(Session { stdin: None, stdout, stderr, control: Arc::new(Over(code)) })
}

fn as_api_error(verb: &str, failure: &SessionFailure) -> ApiError {
    let reason = match failure.kind {
        SessionFailureKind::NotRunning | SessionFailureKind::Refused => Reason::BadRequest,
        SessionFailureKind::TooMany => Reason::TooManyRequests,
        SessionFailureKind::Connection => Reason::ServiceUnavailable,
        SessionFailureKind::CommandNotFound
        | SessionFailureKind::CommandNotExecutable
        | SessionFailureKind::Sandbox => Reason::InternalError,
    };
    ApiError::new(reason, format!("cannot {verb} the container: {failure}"))
}
