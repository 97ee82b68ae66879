//! The process between the spawner and a runtime: the container's parent, from its first instruction to its end.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, set_child_subreaper, set_parent_process_death_signal};

use super::super::kernel::{self, CommandLine};
use super::super::terminal::{self, Terminal};
use super::super::{Cgroup, Failure, failed, report};
use super::Report;
use super::bundle::{BUNDLE, Surroundings};
use super::command::{self, CONTAINER, Streams, call};
use super::message;
use crate::{OciRuntime, RunSpec, StartFailureKind, Usage};

const PID_FILE: &str = "pid";
const CONSOLE: &str = "console";

/// What the shim has from the spawner.
pub(super) struct Shim<'a> {
    pub(super) spec: &'a RunSpec,
    pub(super) runtime: &'a OciRuntime,
    pub(super) cgroup: &'a Cgroup,
    pub(super) command_line: CommandLine,
    pub(super) stdin: Option<BorrowedFd<'a>>,
    pub(super) stdout: BorrowedFd<'a>,
    pub(super) stderr: BorrowedFd<'a>,
    pub(super) way_out: Option<BorrowedFd<'a>>,
    pub(super) control: BorrowedFd<'a>,
    pub(super) status: BorrowedFd<'a>,
}

impl Shim<'_> {
    /// Does not come back. What owns descriptors in the copy of the spawner's memory is never dropped.
    pub(super) fn run(self, surroundings: Surroundings<'_>) -> ! {
        let surroundings = std::mem::ManuallyDrop::new(surroundings);
        let created = self.alone().and_then(|()| surroundings.make()).and_then(|()| self.descriptors());
        let started = created.and_then(|()| self.create()).and_then(|process| self.start().map(|()| process));
        let process = match started {
            Ok(process) => process,
            Err(failure) => {
                // What was created ends with this process's namespaces.
                report(self.status, &failure)
            }
        };
        // The program is executed: nobody writes to it any more.
        self.close(self.status);
        match self.follow(&process) {
            Ok(()) => kernel::exit_now(0),
            Err(error) => {
                tracing::error!("the shim of {} ends its container: {error}", self.spec.id);
                kernel::exit_now(127)
            }
        }
    }

    fn alone(&self) -> Result<(), Failure> {
        // Its copy of the spawner's names paths of the host.
        // SAFETY: this process never looks at its arguments.
        unsafe { self.command_line.blank() };
        let begun = (|| {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // What the runtime leaves behind becomes this process's child, also in the host's pid namespace.
            set_child_subreaper(Some(rustix::process::getpid()))?;
            rustix::thread::set_name(c"watchbell-shim")?;
            // The spawner's would be the runtime's too, which does the work of one pod.
            crate::oom::set(crate::oom::USUAL)
        })();
        begun.map_err(|e| failed("begin the shim of", &self.spec.name, &e))
    }

    /// Nothing of the spawner's stays open: what belongs to other tasks would live as long as this one.
    fn descriptors(&self) -> Result<(), Failure> {
        let streams = [Some(self.stdout), Some(self.stderr), self.stdin, self.way_out];
        let kept =
            streams.into_iter().flatten().chain([self.control, self.status]).chain(self.cgroup.counter_fds());
        // SAFETY: what owns the others is never used or dropped in this process, which ends by exit.
        unsafe { kernel::close_all_but(kept.map(|fd| fd.as_raw_fd())) }
            .map_err(|e| failed("close descriptors of the shim of", &self.spec.name, &e))
    }

    fn create(&self) -> Result<OwnedFd, Failure> {
        let fault = |step: &'static str| move |e: io::Error| failed(step, &self.spec.name, &e);
        let tty = self.spec.interaction.tty;
        let console =
            tty.then(|| Console::listen(CONSOLE)).transpose().map_err(fault("listen for the terminal of"))?;
        let mut args = vec!["create", "--bundle", BUNDLE, "--pid-file", PID_FILE];
        if tty {
            args.extend(["--console-socket", CONSOLE]);
        }
        args.push(CONTAINER);
        // Of a container without input not the host's /dev/null: crun gives the streams that it finds to the container's user.
        let (no_input, _) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|e| fault("make the input of")(e.into()))?;
        let stdin = Some(self.stdin.unwrap_or(no_input.as_fd()));
        let streams = match tty {
            true => Streams::default(),
            false => Streams { stdin, stdout: Some(self.stdout), stderr: Some(self.stderr) },
        };
        call(self.runtime, &args, streams).map_err(|message| self.failed(&message))?;
        // The container alone holds them from here on, so that their end is told.
        for fd in [Some(self.stdout), Some(self.stderr), self.stdin].into_iter().flatten() {
            self.close(fd);
        }
        let process = command::process(PID_FILE).map_err(fault("find the process of"))?;
        if let (Some(console), Some(way)) = (console, self.way_out) {
            let terminal = console.terminal().map_err(fault("take the terminal of"))?;
            terminal::hand_out(&terminal, way).map_err(fault("hand out the terminal of"))?;
        }
        Ok(process)
    }

    fn start(&self) -> Result<(), Failure> {
        call(self.runtime, &["start", CONTAINER], Streams::default()).map_err(|message| self.failed(&message))
    }

    fn delete(&self) -> Result<(), String> {
        call(self.runtime, &["delete", "--force", CONTAINER], Streams::default())
    }

    /// Passes signals on until the container ends, then tells how and has the runtime clear up.
    fn follow(&self, process: &OwnedFd) -> io::Result<()> {
        // What is cloned by the runtime and outlives its call ends as this process's child.
        let children = kernel::child_signals()?;
        loop {
            let [has_ended, is_told, has_child] =
                command::ready([process.as_fd(), self.control, children.as_fd()])?;
            if has_ended {
                break;
            }
            if has_child {
                kernel::reap_all_but(&children, process)?;
            }
            if !is_told {
                continue;
            }
            let mut signal = [0u8; 1];
            // The spawner's end is closed only when the spawner is gone, and with it this process.
            if recv(self.control, &mut signal, RecvFlags::empty())?.0 == 0 {
                return Err(io::Error::other("the spawner has left it"));
            }
            if let Err(message) =
                call(self.runtime, &["kill", CONTAINER, &signal[0].to_string()], Streams::default())
            {
                tracing::warn!("cannot signal {}: {message}", self.spec.id);
            }
        }
        let waited = kernel::wait(process)?;
        // Before the runtime removes the control group.
        let (usage, oom_killed) = self.cgroup.usage()?;
        let usage = Usage { max_rss_bytes: waited.max_rss_bytes, ..usage };
        let report = Report { status: waited.status, usage, oom_killed };
        let bytes = postcard::to_allocvec(&report).map_err(io::Error::other)?;
        send(self.control, &bytes, SendFlags::NOSIGNAL)?;
        if let Err(message) = self.delete() {
            tracing::warn!(
                "{} was not deleted by its runtime, and ends with its shim: {message}",
                self.spec.id
            );
        }
        Ok(())
    }

    fn close(&self, fd: BorrowedFd<'_>) {
        let fd = fd.as_raw_fd() as u32;
        // SAFETY: what owns it is never used or dropped in this process, which ends by exit; the caller is done with it.
        if let Err(error) = unsafe { kernel::close_range(fd, fd, kernel::Descriptors::Close) } {
            tracing::warn!("cannot close a descriptor of the shim of {}: {error}", self.spec.id);
        }
    }

    fn failed(&self, said: &str) -> Failure {
        let kind = message::kind(said);
        let name = &self.spec.name;
        let message = match kind {
            StartFailureKind::CommandNotFound | StartFailureKind::CommandNotExecutable => {
                let program = self.spec.argv.first().map_or("", String::as_str);
                format!("cannot execute {program:?}: {said}; check command and args")
            }
            _ => format!(
                "cannot start {name} by the runtime {:?}: {said}; nothing was started",
                self.runtime.name
            ),
        };
        Failure { kind, step: format!("start by the runtime {}", self.runtime.name), message }
    }
}

/// Where the runtime sends the terminal that it opened inside the container.
pub(super) struct Console(std::os::unix::net::UnixListener);

impl Console {
    pub(super) fn listen(name: &str) -> io::Result<Self> {
        let listener = std::os::unix::net::UnixListener::bind(Path::new(BUNDLE).join(name))?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// The runtime has ended, so it was sent.
    pub(super) fn terminal(self) -> io::Result<Terminal> {
        let (connection, _) = self.0.accept()?;
        connection.set_nonblocking(true)?;
        terminal::from_master(&connection)
    }
}
