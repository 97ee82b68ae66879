//! One session: carries bytes both ways until the process, the client or the server ends.
//!
//! Each direction holds a bounded amount and then waits: a process that does not read stops its client, a client that does
//! not read stops its process, and neither stops the other direction. A client whose host vanished is found out by TCP's
//! own probes (see `connection`); one that merely does nothing, such as a pager that waits for a key, is left alone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use watchbell_api::node::{Session, SessionAction, SessionControl, SessionEnd, SessionRequest};
use watchbell_api::{ApiError, Reason};

use super::channels::{Channels, ERROR, STDERR, STDOUT, Said};
use super::end::Outcome;
use super::pipe::Pipe;
use crate::app::App;
use crate::credential::Tenure;
use crate::verbs::closed;
use crate::websocket::{Broken, Close, Message, Socket};

/// How much is read at a time, from the client or the process.
const PIECE: usize = 32 << 10;
/// With so much on its way to the client, no more is taken from the process.
const OUTPUT_BYTES_MAX: usize = 256 << 10;
/// Middleboxes forget silent connections.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Kubernetes' own limit for a session in which nobody says anything.
const IDLE: Duration = Duration::from_secs(4 * 3600);
/// The process has ended and something it started holds its output open: silence of this length is the end.
const DRAIN: Duration = Duration::from_secs(1);
/// How long a client may take to hear the last words.
const FAREWELL: Duration = Duration::from_secs(10);

pub(super) struct Pump {
    reader: ReadHalf<TokioIo<Upgraded>>,
    writer: WriteHalf<TokioIo<Upgraded>>,
    socket: Socket,
    channels: Channels,
}

/// The process's side.
struct Process {
    stdin: Option<Pipe>,
    /// What the client sent and the process has not taken.
    input: Bytes,
    input_ends: bool,
    stdout: Option<Pipe>,
    stderr: Option<Pipe>,
    control: Arc<dyn SessionControl>,
    /// The newest size that the process was not told yet.
    size: Option<(u16, u16)>,
    resizing: Option<JoinHandle<io::Result<()>>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whatever was the reason: nothing that was started for a client goes on without it.
        self.control.end();
    }
}

impl Process {
    fn new(session: Session) -> io::Result<Process> {
        let pipe = |fd: Option<_>| fd.map(Pipe::new).transpose();
        Ok(Process {
            stdin: pipe(session.stdin)?,
            input: Bytes::new(),
            input_ends: false,
            stdout: pipe(session.stdout)?,
            stderr: pipe(session.stderr)?,
            control: session.control,
            size: None,
            resizing: None,
        })
    }

    fn hear(&mut self, said: Said) {
        match said {
            // A process that has closed its input hears nothing more; that is no error.
            Said::Stdin(bytes) if self.stdin.is_some() && !self.input_ends => self.input = bytes,
            Said::StdinEnds => self.input_ends = true,
            Said::Resize { columns, rows } => self.size = Some((columns, rows)),
            Said::Stdin(_) | Said::Nothing => {}
        }
        if self.input_ends && self.input.is_empty() {
            self.stdin = None;
        }
    }

    fn took(&mut self, result: io::Result<usize>) {
        match result {
            Ok(count) => drop(self.input.split_to(count)),
            Err(_) => {
                // It closed its input.
                self.stdin = None;
                self.input = Bytes::new();
            }
        }
        if self.input_ends && self.input.is_empty() {
            self.stdin = None;
        }
    }

    /// Tells the size, one at a time; the newest wins.
    fn resize(&mut self) {
        if self.resizing.is_none()
            && let Some((columns, rows)) = self.size.take()
        {
            let control = self.control.clone();
            self.resizing = Some(spawn_blocking(move || control.resize(columns, rows)));
        }
    }

    fn is_silent(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }
}

impl Pump {
    pub(super) fn new(io: Upgraded, channels: Channels) -> Pump {
        let (reader, writer) = tokio::io::split(TokioIo::new(io));
        Pump { reader, writer, socket: Socket::server(), channels }
    }

    /// Opens the session and carries it to its end.
    pub(super) async fn run(mut self, app: &App, tenure: &Tenure, request: SessionRequest) -> Outcome {
        // Clients wait for a sign that the connection stands: a message with nothing in it.
        let first = if request.stdout {
            STDOUT
        } else if request.stderr {
            STDERR
        } else {
            ERROR
        };
        self.channels.send(&mut self.socket, first, b"");
        let is_attach = request.action == SessionAction::Attach;
        let outcome = match self.open(app, request).await {
            Ok(process) => self.carry(app, tenure, process, is_attach).await,
            Err(outcome) => outcome,
        };
        if !matches!(outcome, Outcome::ClientGone) {
            // A client that does not listen to the end misses nothing but the end.
            let _ = timeout(FAREWELL, self.part(&outcome)).await;
        }
        outcome
    }

    async fn open(&mut self, app: &App, request: SessionRequest) -> Result<Process, Outcome> {
        let sessions = app.sessions.clone();
        let opening = spawn_blocking(move || sessions.open(&request));
        let mut bell = app.state.bell();
        let opened = tokio::select! {
            opened = opening => opened,
            // What is opened after that ends as nobody takes it.
            () = closed(&mut bell) => return Err(Outcome::ServerEnds),
        };
        let session = match opened {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => return Err(Outcome::Failed(error)),
            Err(_) => return Err(Outcome::ServerEnds),
        };
        Process::new(session).map_err(|error| {
            tracing::error!("the streams of a session cannot be used: {error}");
            Outcome::Failed(ApiError::internal(
                "the streams of the process cannot be used; the server's log says why",
            ))
        })
    }

    async fn carry(&mut self, app: &App, tenure: &Tenure, mut process: Process, is_attach: bool) -> Outcome {
        let over = tenure.over();
        tokio::pin!(over);
        let control = process.control.clone();
        let mut waiting = spawn_blocking(move || control.wait());
        let mut ended: Option<SessionEnd> = None;
        let mut bell = app.state.bell();
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut from_client, mut out, mut err) = (vec![0; PIECE], vec![0; PIECE], vec![0; PIECE]);
        let mut must_flush = false;
        let mut said_at = Instant::now();
        loop {
            process.resize();
            if let Some(end) = ended
                && process.is_silent()
            {
                return if is_attach { Outcome::Detached } else { Outcome::Ended(end) };
            }
            let waiting_out = self.socket.output();
            let has_room = waiting_out.len() < OUTPUT_BYTES_MAX;
            let Process { stdin, input, stdout, stderr, resizing, .. } = &mut process;
            tokio::select! {
                // The client speaks: not before the process has taken what it said.
                read = self.reader.read(&mut from_client), if input.is_empty() && has_room => {
                    match read {
                        Ok(count @ 1..) => self.socket.take(&from_client[..count]),
                        Ok(0) | Err(_) => return Outcome::ClientGone,
                    }
                    match self.hear(&mut process) {
                        Ok(true) if ended.is_none() => said_at = Instant::now(),
                        Ok(_) => {}
                        Err(outcome) => return outcome,
                    }
                }
                pushed = push(&mut self.writer, waiting_out), if must_flush || !waiting_out.is_empty() => match pushed {
                    Ok(count) => {
                        self.socket.sent(count);
                        must_flush = count > 0;
                    }
                    Err(_) => return Outcome::ClientGone,
                },
                written = write(stdin.as_ref(), input), if !input.is_empty() => {
                    process.took(written);
                    // What came behind it and was decoded with it.
                    if process.input.is_empty()
                        && let Err(outcome) = self.hear(&mut process)
                    {
                        return outcome;
                    }
                }
                read = read(stdout.as_ref(), &mut out), if stdout.is_some() && has_room => {
                    said_at = Instant::now();
                    self.pass(STDOUT, stdout, read, &out);
                }
                read = read(stderr.as_ref(), &mut err), if stderr.is_some() && has_room => {
                    said_at = Instant::now();
                    self.pass(STDERR, stderr, read, &err);
                }
                end = &mut waiting, if ended.is_none() => match end {
                    Ok(Ok(end)) => {
                        ended = Some(end);
                        said_at = Instant::now();
                    }
                    Ok(Err(error)) => {
                        tracing::warn!("a session's process cannot be followed: {error}");
                        let message = "the process was lost sight of; the server's log says why";
                        return Outcome::Failed(ApiError::internal(message));
                    }
                    Err(_) => return Outcome::ServerEnds,
                },
                resized = finished(resizing), if resizing.is_some() => {
                    *resizing = None;
                    if let Err(error) = resized {
                        tracing::debug!("a session's window keeps its size: {error}");
                    }
                }
                _ = ping.tick(), if has_room => self.socket.ping(),
                () = sleep_until(said_at + DRAIN), if ended.is_some() && has_room => {
                    process.stdout = None;
                    process.stderr = None;
                }
                () = sleep_until(said_at + IDLE) => return Outcome::Idle,
                () = closed(&mut bell) => return Outcome::ServerEnds,
                error = &mut over => return Outcome::Failed(error),
            }
        }
    }

    /// Takes what the client said, up to something that the process must take first. Whether there was anything.
    fn hear(&mut self, process: &mut Process) -> Result<bool, Outcome> {
        let mut was_spoken = false;
        while process.input.is_empty() {
            let message = match self.socket.message() {
                Ok(Some(Message::Close(_))) => return Err(Outcome::ClientGone),
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => return Err(self.broken(&error)),
            };
            was_spoken |= message != Message::Alive;
            let said = self.channels.read(message).map_err(|words| self.broken(&Broken::Protocol(words)))?;
            process.hear(said);
        }
        Ok(was_spoken)
    }

    fn broken(&mut self, error: &Broken) -> Outcome {
        let message = format!("the session was ended: {error}");
        match error {
            Broken::CutOff => Outcome::ClientGone,
            Broken::TooLarge => Outcome::Failed(ApiError::new(Reason::RequestEntityTooLarge, message)),
            Broken::Protocol(_) => Outcome::Failed(ApiError::bad_request(message)),
        }
    }

    /// Passes on what the process said; its last word ends the stream.
    fn pass(&mut self, channel: u8, from: &mut Option<Pipe>, read: io::Result<usize>, buffer: &[u8]) {
        match read {
            Ok(count @ 1..) => self.channels.send(&mut self.socket, channel, &buffer[..count]),
            Ok(0) => *from = None,
            Err(error) => {
                tracing::warn!("an output of a session cannot be read: {error}");
                *from = None;
            }
        }
    }

    /// Says how it ended, closes, and waits for the client to do so too.
    async fn part(&mut self, outcome: &Outcome) -> io::Result<()> {
        if self.channels.has_status {
            let status = outcome.status().to_string();
            self.channels.send(&mut self.socket, ERROR, status.as_bytes());
        } else if let Some(words) = outcome.complaint() {
            self.channels.send(&mut self.socket, ERROR, words.as_bytes());
        }
        match outcome {
            Outcome::ServerEnds => self.socket.close(Close::GoingAway, "the server is ending"),
            Outcome::Failed(error) if error.reason == Reason::RequestEntityTooLarge => {
                self.socket.close(Close::TooLarge, &error.message);
            }
            _ => self.socket.close(Close::Normal, ""),
        }
        self.writer.write_all(self.socket.output()).await?;
        self.writer.shutdown().await?;
        // Bytes that nobody reads would make the kernel cut the connection before the client has read ours.
        let mut buffer = vec![0; PIECE];
        while self.reader.read(&mut buffer).await? > 0 {}
        Ok(())
    }
}

/// Writes what fits; when there is nothing to write, lets go what TLS still holds.
async fn push(writer: &mut WriteHalf<TokioIo<Upgraded>>, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        writer.flush().await?;
        return Ok(0);
    }
    match writer.write(bytes).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

async fn read(pipe: Option<&Pipe>, buffer: &mut [u8]) -> io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.read(buffer).await,
        None => Ok(0),
    }
}

/// Input for which there is no process any more is thrown away.
async fn write(pipe: Option<&Pipe>, bytes: &[u8]) -> io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.write(bytes).await,
        None => Ok(bytes.len()),
    }
}

async fn finished(task: &mut Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    match task {
        Some(task) => task.await.unwrap_or(Ok(())),
        None => Ok(()),
    }
}
