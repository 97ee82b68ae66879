//! One more process in a container of a runtime: `exec`, by the process between the spawner and what the runtime starts.
//!
//! Only the runtime knows what its container is: with runc and crun namespaces, with others a machine. So nothing is entered
//! but the shim's own namespaces, where the runtime finds its state.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::set_child_subreaper;

use super::super::kernel::{self, Descriptors};
use super::super::plan::Namespace;
use super::super::terminal;
use super::super::{Failure, failed};
use super::bundle::{BUNDLE, hard_limit, write_for_root};
use super::command::{self, CONTAINER, Streams, call};
use super::shim::Console;
use super::{config, message};
use crate::{ExitStatus, OciRuntime, RunSpec};

/// What the spawner lets the process have besides its streams, which are this process's own.
pub(in crate::start) struct RuntimeEntry<'a> {
    pub(in crate::start) runtime: &'a OciRuntime,
    pub(in crate::start) spec: &'a RunSpec,
    pub(in crate::start) way_out: Option<BorrowedFd<'a>>,
    /// A word or its end means that the client is gone.
    pub(in crate::start) wait: BorrowedFd<'a>,
    pub(in crate::start) status: BorrowedFd<'a>,
}

/// What the shim has of its own.
pub(in crate::start) fn namespaces(spec: &RunSpec) -> Vec<Namespace> {
    match spec.pod.host_namespaces.pid {
        true => vec![Namespace::Mount],
        false => vec![Namespace::Mount, Namespace::Pid, Namespace::Time],
    }
}

impl RuntimeEntry<'_> {
    /// Has the runtime start the process and becomes its parent. Comes back with what failed; else ends as the process does.
    pub(in crate::start) fn run(&self) -> Failure {
        let process = match self.start() {
            Ok(process) => process,
            Err(failure) => return failure,
        };
        // The program is executed: nobody writes to it any more.
        let status = self.status.as_raw_fd() as u32;
        // SAFETY: nobody uses it from here on, and what owns it is never dropped in this process.
        if let Err(error) = unsafe { kernel::close_range(status, status, Descriptors::Close) } {
            return failed("follow the process in", &self.spec.name, &error);
        }
        match self.follow(&process) {
            Ok(ExitStatus::Code(code)) => kernel::exit_now(code.into()),
            Ok(ExitStatus::Signal(signal)) => kernel::end_by(signal),
            Ok(ExitStatus::Lost) | Err(_) => kernel::exit_now(255),
        }
    }

    fn start(&self) -> Result<OwnedFd, Failure> {
        let fault = |step: &'static str| move |e: io::Error| failed(step, &self.spec.name, &e);
        set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|e| failed("enter", &self.spec.name, &e.into()))?;
        rustix::process::chdir(BUNDLE)
            .map_err(|e| failed("find the bundle of", &self.spec.name, &e.into()))?;
        // Numbers of living processes are not used twice, and what is left of a dead one is removed first.
        let own = std::process::id();
        let [told, pid_file, console_path] = ["json", "pid", "sock"].map(|kind| format!("exec-{own}.{kind}"));
        let remove = || {
            for name in [&told, &pid_file, &console_path] {
                match std::fs::remove_file(Path::new(BUNDLE).join(name)) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        tracing::warn!("cannot remove {name} of a session: {e}");
                    }
                    _ => {}
                }
            }
        };
        remove();
        let tty = self.way_out.is_some();
        let process = config::process(self.spec, tty, &hard_limit);
        write_for_root(&Path::new(BUNDLE).join(&told), &process)
            .map_err(fault("tell the command to the runtime of"))?;
        let console = tty.then(|| Console::listen(&console_path)).transpose();
        let console = console.map_err(fault("listen for the terminal in"))?;
        let mut args = vec!["exec", "--detach", "--process", &told, "--pid-file", &pid_file];
        if tty {
            args.extend(["--console-socket", &console_path]);
        }
        args.push(CONTAINER);
        let streams = match tty {
            true => Streams::default(),
            false => Streams {
                stdin: Some(rustix::stdio::stdin()),
                stdout: Some(rustix::stdio::stdout()),
                stderr: Some(rustix::stdio::stderr()),
            },
        };
        let called = call(self.runtime, &args, streams).map_err(|said| {
            let program = self.spec.argv.first().map_or("", String::as_str);
            let message = format!("cannot execute {program:?}: {said}");
            Failure { kind: message::kind(&said), step: "exec by the runtime".to_owned(), message }
        });
        let process = called.and_then(|()| command::process(&pid_file).map_err(fault("find the process in")));
        let process = process.and_then(|process| {
            if let (Some(console), Some(way)) = (console, self.way_out) {
                let terminal = console.terminal().map_err(fault("take the terminal in"))?;
                terminal::hand_out(&terminal, way).map_err(fault("hand out the terminal in"))?;
            }
            // The process alone holds them from here on, so that their end is told.
            let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
            null.and_then(|null| {
                rustix::stdio::dup2_stdin(&null)?;
                rustix::stdio::dup2_stdout(&null)?;
                rustix::stdio::dup2_stderr(&null)
            })
            .map_err(|e| failed("let go of the streams of a process in", &self.spec.name, &e.into()))?;
            Ok(process)
        });
        remove();
        process
    }

    fn follow(&self, process: &OwnedFd) -> io::Result<ExitStatus> {
        let [has_ended, _] = command::ready([process.as_fd(), self.wait])?;
        if !has_ended {
            // The client has left: the process goes, with those of its group.
            for signal in [kernel::signal_group, kernel::signal_one] {
                match signal(process, libc::SIGKILL) {
                    Err(e) if e.raw_os_error() != Some(libc::ESRCH) => return Err(e),
                    _ => {}
                }
            }
        }
        Ok(kernel::wait(process.as_fd())?.status)
    }
}
