//! The OCI command line: one call of the runtime at a time, each with a bound.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::super::kernel;
use super::bundle::{BUNDLE, STATE};
use super::message;
use crate::OciRuntime;

/// kubelet's `runtimeRequestTimeout`: a runtime that takes longer hangs.
const PATIENCE_SECONDS: i64 = 120;
/// What is looked at of its log.
const LOG_MAX: u64 = 1 << 20;
/// One in each bundle.
pub(super) const CONTAINER: &str = "container";

/// Streams of a call; what is left out is an empty pipe, and one that nobody reads. Never the host's /dev/null: crun gives the
/// streams that it finds to the container's user.
#[derive(Default)]
pub(super) struct Streams<'a> {
    pub(super) stdin: Option<BorrowedFd<'a>>,
    pub(super) stdout: Option<BorrowedFd<'a>>,
    pub(super) stderr: Option<BorrowedFd<'a>>,
}

/// Calls the runtime, which ignores no signal that the container should have, and waits for its end. What it says of a failure comes back as one line.
pub(super) fn call(runtime: &OciRuntime, args: &[&str], streams: Streams<'_>) -> Result<(), String> {
    // What does not fit into the pipe is lost, and holds nobody up.
    let pipes = pipe_with(PipeFlags::CLOEXEC)
        .and_then(|empty| Ok((empty.0, pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)));
    let (empty, (_unread, sink)) = pipes.map_err(|e| format!("{}: {e}", runtime.name))?;
    let stream = |fd: Option<BorrowedFd<'_>>, otherwise: &OwnedFd| match fd {
        Some(fd) => fd.try_clone_to_owned().map(Stdio::from),
        None => otherwise.try_clone().map(Stdio::from),
    };
    let bundle = Path::new(BUNDLE);
    // Sessions call beside the shim.
    let log = bundle.join(format!("log-{}.json", std::process::id()));
    let begun = (|| {
        let mut command = Command::new(&runtime.path);
        // SAFETY: it makes system calls alone.
        unsafe { command.pre_exec(kernel::reset_signals) };
        command
            .arg("--root")
            .arg(bundle.join(STATE))
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "json"])
            .args(args)
            .current_dir(bundle)
            // Nothing of the server's or of root's surroundings.
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(stream(streams.stdin, &empty)?)
            .stdout(stream(streams.stdout, &sink)?)
            .stderr(stream(streams.stderr, &sink)?)
            .spawn()
    })();
    let verb = args.first().copied().unwrap_or_default();
    let cannot = |why: &dyn std::fmt::Display| format!("{} {verb}: {why}", runtime.name);
    let ended = begun.and_then(wait).map_err(|e| cannot(&e));
    let said = read_bounded(&log).unwrap_or_default();
    // It is there once the runtime had something to say, and nobody looks at it again.
    let _ = fs::remove_file(&log);
    let ended = ended?;
    if ended.success() {
        return Ok(());
    }
    Err(cannot(
        &message::last_error(&said).unwrap_or_else(|| format!("it ended with {ended} and no message")),
    ))
}

/// Waits for the end of a call, and ends one that hangs.
fn wait(mut child: Child) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let patience = Timespec { tv_sec: PATIENCE_SECONDS, tv_nsec: 0 };
    let ended = loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience)) {
            Err(rustix::io::Errno::INTR) => {}
            ended => break ended?,
        }
    };
    if ended == 0 {
        child.kill()?;
        child.wait()?;
        let message = format!("it did not answer within {PATIENCE_SECONDS} seconds and was ended");
        return Err(io::Error::new(io::ErrorKind::TimedOut, message));
    }
    child.wait()
}

/// The process that a call has left behind, by the number in its `--pid-file`. It is this one's child since the call has
/// ended, and not reaped, so the number is still its.
pub(super) fn process(pid_file: &str) -> io::Result<OwnedFd> {
    let text = read_bounded(&Path::new(BUNDLE).join(pid_file))?;
    let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
    let pid =
        number.and_then(Pid::from_raw).ok_or_else(|| io::Error::other("the runtime told no process"))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LOG_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Waits until something is to be read of one of them, or it has ended.
pub(super) fn ready<const N: usize>(all: [BorrowedFd<'_>; N]) -> io::Result<[bool; N]> {
    let mut fds = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    loop {
        match poll(&mut fds, None) {
            Ok(_) => return Ok(fds.map(|fd| !fd.revents().is_empty())),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
