//! The tracer process: `<exe> tracer …`, one for each run that is traced. Notes which system calls a container makes, without
//! privileges, and says to each that it may go on.
//!
//! ```text
//!  task ── its last filter's listener, by a socket ──▶ tracer ── at the end, a line a call ──▶ <log dir>/<log of the run>.trace
//!       ◀── go on ───────────────────────────────────
//! ```
//!
//! A call that an earlier filter refuses never gets here: refusals outrank questions, so nothing is widened by asking. The
//! answer is always to go on, and is given without looking at the task's memory, so there is nothing to be deceived about.

mod counts;
mod link;
mod listener;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::LogTarget;
use crate::clock;
use crate::keeper::{LogFile, Records, Stamp, Stream, StreamName, confine_in};
use crate::syscalls::Arch;
use crate::wire::{Filled, Inbox};
use counts::Counts;
use listener::Listener;

pub(crate) use link::Tracer;
pub(crate) use listener::{HandOver, hand_over};

/// The least that there is.
const NICENESS: i32 = 19;
/// A trace has a line for each of some hundred calls.
const FILE_MAX: u64 = 1 << 20;

/// The command line, as the spawner writes it.
struct TracerArgs {
    log_dir: PathBuf,
    uid: u32,
    /// Of the trace, below the directory.
    path: PathBuf,
}

impl TracerArgs {
    fn write(&self) -> [OsString; 3] {
        [self.log_dir.clone().into(), self.uid.to_string().into(), self.path.clone().into()]
    }

    fn parse(args: impl Iterator<Item = OsString>) -> io::Result<Self> {
        let args: Vec<OsString> = args.collect();
        let wrong = || io::Error::other("a tracer is started by the spawner alone");
        let [log_dir, uid, path] = args.as_slice() else { return Err(wrong()) };
        let uid = uid.to_str().and_then(|uid| uid.parse().ok()).ok_or_else(wrong)?;
        Ok(Self { log_dir: log_dir.into(), uid, path: path.into() })
    }
}

/// Where the trace of a run lies, by the place of its log.
pub fn trace_path(log: &Path) -> PathBuf {
    let mut path = log.as_os_str().to_owned();
    path.push(".trace");
    path.into()
}

/// Runs the tracer until nothing of its container is left. `args` are those after the word `tracer`; the caller has directed
/// `tracing` to standard error.
pub fn tracer_main(args: impl Iterator<Item = OsString>) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("a tracer ends, and what it watches fails: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: impl Iterator<Item = OsString>) -> io::Result<()> {
    let args = TracerArgs::parse(args)?;
    let (root, socket) = confine_in(&args.log_dir, args.uid)?;
    // What it works is not counted as its task's: it takes what is left over, and so the task waits.
    rustix::process::nice(NICENESS)?;
    let Some(listener) = receive(&socket)? else { return Ok(()) };
    drop(socket);
    let mut counts = Counts::default();
    listener.answer_all(&mut counts)?;
    write(&root, args.path, &counts.lines(Arch::NATIVE))
}

/// The listener; `None` when the start failed before there was one.
fn receive(socket: &OwnedFd) -> io::Result<Option<Listener>> {
    let mut inbox = Inbox::new(64);
    loop {
        if let Some(frame) = inbox.next().map_err(io::Error::other)? {
            return Ok(frame.fds.into_iter().next().map(Listener::new));
        }
        if matches!(inbox.fill(socket.as_fd())?, Filled::End) {
            return Ok(None);
        }
    }
}

/// In the form of a log, so that it is read, bounded and removed like one.
fn write(root: &OwnedFd, path: PathBuf, lines: &str) -> io::Result<()> {
    let (mut stream, mut records) = (Stream::new(StreamName::Stdout), Records::default());
    let stamp = Stamp::new(clock::now());
    stream.feed(lines.as_bytes(), &stamp, &mut records);
    stream.finish(&stamp, &mut records);
    LogFile::new(LogTarget { path, max_bytes: FILE_MAX, max_files: 1 }).write(root.as_fd(), &records)
}
