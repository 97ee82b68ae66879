//! One more process in a container that runs.
//!
//! ```text
//!  spawner ── clone into the control group ──▶ helper: hide · close · setns by pidfd ── clone ──▶ process ── … ──▶ exec
//!     ▲                                           │ its number, in shared memory                    ▲      │ terminal
//!     └───────────────── end ─────────────────────┘                                                 │      ▼
//!     └────────────────────────────────── go ───────────────────────────────────────────────────────┘   spawner
//! ```
//!
//! The helper is in nobody's pid namespace but the spawner's; what it clones appears inside with the container's root, no
//! descriptor but its own, and closed to its peers. The spawner waits for none of it: a container whose processor time is used
//! up slows down its own sessions alone.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::kernel::{self, Cloned, CommandLine, SharedWord};
use super::mounts::Common;
use super::plan::{self, Namespace, Step};
use super::program::Program;
use super::runtime::{RuntimeEntry, shim_namespaces};
use super::seccomp::Filter;
use super::terminal::{self, Terminal};
use super::{
    Begun, Cgroup, Failure, Host, Outcome, Ready, as_sandbox_failure, failed, identity, input, output,
    read_report, report, settle,
};
use crate::{ExitStatus, OciRuntime, RunSpec, Streams};

/// A process that enters a container, or has entered it.
pub(crate) struct Entry {
    /// Ends once it has cloned the process, or could not.
    pub(crate) helper: OwnedFd,
    /// Ends without a byte when the program was executed.
    pub(crate) status: OwnedFd,
    /// Known once the helper has ended.
    pub(crate) process: Option<OwnedFd>,
    word: SharedWord,
    go: OwnedFd,
    /// The process is the parent of what was asked for.
    by_runtime: bool,
    report: Vec<u8>,
    way_out: Option<OwnedFd>,
    outer: Outer,
}

/// The outer ends of what was asked for.
#[derive(Default)]
pub(crate) struct Outer {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    pub(crate) terminal: Option<Terminal>,
}

/// What the helper and the process have from the spawner.
struct Inner<'a> {
    spec: &'a RunSpec,
    /// Who starts the process, where it is not this program: `container` is the shim then.
    runtime: Option<&'a OciRuntime>,
    cgroup: &'a Cgroup,
    profile: Option<Filter>,
    command_line: CommandLine,
    /// The container's first process.
    container: BorrowedFd<'a>,
    stdin: BorrowedFd<'a>,
    stdout: BorrowedFd<'a>,
    stderr: BorrowedFd<'a>,
    status: BorrowedFd<'a>,
    way_out: Option<BorrowedFd<'a>>,
    wait: BorrowedFd<'a>,
    word: &'a SharedWord,
}

impl Host {
    /// Begins to start `spec`'s command in the container that `begun` is. On an error nothing of it is left.
    pub(crate) fn enter(
        &mut self,
        begun: &Begun,
        spec: &RunSpec,
        streams: Streams,
    ) -> Result<Entry, Failure> {
        let fault = |step: &'static str| move |e: io::Error| failed(step, &spec.name, &e);
        let runtime = spec.extras.runtime.as_deref().map(|name| self.runtime(name)).transpose()?;
        let gone = || failed("find", &spec.name, &io::ErrorKind::NotFound.into());
        let command_line = self.command_line;
        let profile = self.profile(spec)?;
        let Host { pods, stash, cgroups, .. } = self;
        let pod = pods.get_mut(&spec.pod.uid).ok_or_else(gone)?;
        let cgroup = begun.cgroup.as_ref().ok_or_else(gone)?;
        // A group that limits is no place for a runtime itself.
        let limits_it = runtime.is_some() && !cgroups.tracks_only();
        let clone_into = cgroup.clone_into().filter(|_| !limits_it);
        let null = pod.ids.common(stash, cgroups.views()).and_then(Common::null);
        let null = null.map_err(fault("open /dev/null for"))?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from);
        let mut outer = Outer::default();
        let (mut stdin, mut stdout, mut stderr) = (None, None, None);
        if !streams.tty {
            let out = |asked: bool| asked.then(|| output(&pod.ids, spec)).transpose();
            let made = streams.stdin.then(|| input(&pod.ids, spec)).transpose();
            (outer.stdin, stdin) = made.map_err(fault("make the input pipe of"))?.unzip();
            (outer.stdout, stdout) = out(streams.stdout).map_err(fault("make the output pipe of"))?.unzip();
            (outer.stderr, stderr) = out(streams.stderr).map_err(fault("make the error pipe of"))?.unzip();
        }
        let (way_out, way_in) = match streams.tty {
            true => Some(terminal::way_out().map_err(fault("make a socket for the terminal of"))?).unzip(),
            false => (None, None),
        };
        let (status, status_in) = pipe().map_err(fault("make the status pipe of"))?;
        let (wait, go) = pipe().map_err(fault("make the start pipe of"))?;
        let word = SharedWord::new().map_err(fault("share memory with the process of"))?;
        let inner = Inner {
            spec,
            runtime: runtime.as_ref(),
            cgroup,
            profile,
            command_line,
            container: begun.pidfd.as_fd(),
            stdin: stdin.as_ref().unwrap_or(&null).as_fd(),
            stdout: stdout.as_ref().unwrap_or(&null).as_fd(),
            stderr: stderr.as_ref().unwrap_or(&null).as_fd(),
            status: status_in.as_fd(),
            way_out: way_in.as_ref().map(AsFd::as_fd),
            wait: wait.as_fd(),
            word: &word,
        };
        // SAFETY: the spawner has one thread.
        match unsafe { kernel::clone3(0, clone_into) }.map_err(fault("clone into"))? {
            Cloned::Child => inner.help(&Ready { wait: wait.as_fd(), go: &go }, streams.tty),
            Cloned::Parent { pid, pidfd: helper } => {
                let begun = settle(pid, spec).and_then(|()| go_on(&go)).and_then(|()| {
                    rustix::io::ioctl_fionbio(&status, true)?;
                    Ok(())
                });
                if let Err(error) = begun {
                    kernel::discard(&helper);
                    return Err(failed("prepare the process in", &spec.name, &error));
                }
                let by_runtime = runtime.is_some();
                Ok(Entry {
                    helper,
                    status,
                    process: None,
                    word,
                    go,
                    by_runtime,
                    report: Vec::new(),
                    way_out,
                    outer,
                })
            }
        }
    }
}

impl Entry {
    /// Takes the helper, which has ended. From then on there is a process, or there never will be.
    pub(crate) fn helper_ended(&mut self) -> Result<(), Failure> {
        let ended = kernel::wait(&self.helper);
        if let Some(pid) = rustix::process::Pid::from_raw(self.word.get().cast_signed()) {
            // It is our child and not reaped, so the number is still its.
            let opened = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
            self.process =
                Some(opened.map_err(|e| failed("find", "the process in the container", &e.into()))?);
            return Ok(());
        }
        match read_report(&self.status, &mut self.report) {
            Outcome::Failed(failure) => Err(failure),
            Outcome::Executed | Outcome::Waiting | Outcome::Gone => {
                let how = match ended {
                    Ok(waited) => format!("it was ended ({:?})", waited.status),
                    Err(error) => error.to_string(),
                };
                Err(failed("enter", "the container", &io::Error::other(how)))
            }
        }
    }

    /// The word to go on. A process that was killed meanwhile does not hear it.
    pub(crate) fn go_on(&self) -> io::Result<()> {
        go_on(&self.go)
    }

    /// Reads what the status pipe has.
    pub(crate) fn read_status(&mut self) -> Outcome {
        read_report(&self.status, &mut self.report)
    }

    /// What the client gets, once the program was executed.
    pub(crate) fn take_streams(&mut self) -> io::Result<Outer> {
        let mut outer = std::mem::take(&mut self.outer);
        if let Some(way) = self.way_out.take() {
            outer.terminal = Some(terminal::receive(way.as_fd())?);
        }
        Ok(outer)
    }

    /// Ends the process and those of its own process group, as far as they are known yet.
    pub(crate) fn kill(&self) {
        let Some(process) = &self.process else { return };
        if self.by_runtime {
            // It ends what it started, and then itself.
            if let Err(error) = go_on(&self.go) {
                tracing::warn!("cannot end a process that entered a container: {error}");
            }
            return;
        }
        // Before it has begun its session it leads no group; afterwards what it started may be in it.
        for signal in [kernel::signal_group, kernel::signal_one] {
            match signal(process, libc::SIGKILL) {
                Ok(()) => {}
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
                Err(error) => tracing::warn!("cannot kill a process that entered a container: {error}"),
            }
        }
    }

    /// Takes the exit status of the process, which has ended or was killed.
    pub(crate) fn reap(&self) -> io::Result<ExitStatus> {
        let process = self.process.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(kernel::wait(process)?.status)
    }
}

fn go_on(go: &OwnedFd) -> io::Result<()> {
    match rustix::io::write(go, b"g") {
        Ok(_) | Err(rustix::io::Errno::PIPE) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Inner<'_> {
    /// The helper, from its first instruction to its end.
    fn help(self, ready: &Ready<'_>, tty: bool) -> ! {
        if !ready.wait() {
            kernel::exit_now(127);
        }
        // A runtime moves what it starts by itself, and is under no limit of the container's.
        if self.runtime.is_none()
            && let Err(error) = self.cgroup.join()
        {
            report(self.status, &failed("join the control group of", &self.spec.name, &error));
        }
        for step in plan::entry_helper(self.spec) {
            let done = match &step {
                Step::HideFromPeers => self.hide(),
                Step::CloseDescriptors => self.descriptors(),
                Step::EnterNamespaces(_) if self.runtime.is_some() => self.enter(&shim_namespaces(self.spec)),
                Step::EnterNamespaces(kinds) => self.enter(kinds),
                Step::CloneInside => self.clone(tty),
                _ => Err(io::Error::other("it is not the helper's step")),
            };
            if let Err(cause) = done {
                report(self.status, &as_sandbox_failure(&step, &cause));
            }
        }
        kernel::exit_now(0)
    }

    fn hide(&self) -> io::Result<()> {
        identity::hide_memory()?;
        // SAFETY: neither the helper nor what it clones looks at its arguments; both end by exec or exit.
        unsafe { self.command_line.blank() };
        Ok(())
    }

    /// Before any namespace is entered, so that nothing of the host is there to be found (CVE-2024-21626).
    fn descriptors(&self) -> io::Result<()> {
        rustix::stdio::dup2_stdin(self.stdin)?;
        rustix::stdio::dup2_stdout(self.stdout)?;
        rustix::stdio::dup2_stderr(self.stderr)?;
        let kept = [Some(self.container), Some(self.status), self.way_out, Some(self.wait)];
        // SAFETY: what owns the others lives in this process's copy of the spawner's memory, which exec or exit ends without
        // running destructors; nothing but the kept ones is used from here on.
        unsafe { kernel::close_all_but(kept.into_iter().flatten().map(|fd| fd.as_raw_fd())) }
    }

    fn enter(&self, kinds: &[Namespace]) -> io::Result<()> {
        let flags = kinds.iter().fold(ThreadNameSpaceType::empty(), |flags, kind| {
            flags
                | match kind {
                    Namespace::User => ThreadNameSpaceType::USER,
                    Namespace::Mount => ThreadNameSpaceType::MOUNT,
                    Namespace::Pid => ThreadNameSpaceType::PROCESS_ID,
                    Namespace::Cgroup => ThreadNameSpaceType::CONTROL_GROUP,
                    Namespace::Uts => ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME,
                    Namespace::Ipc => ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION,
                    Namespace::Network => ThreadNameSpaceType::NETWORK,
                    Namespace::Time => ThreadNameSpaceType::TIME,
                }
        });
        // One call: the user namespace comes first in it, and all of it or nothing is done.
        Ok(move_into_thread_name_spaces(self.container, flags)?)
    }

    fn clone(&self, tty: bool) -> io::Result<()> {
        // Faulted in now: the kernel only then writes to it for certain.
        let _ = self.word.get();
        // SAFETY: this copy of the spawner has one thread too.
        match unsafe { kernel::clone_brother(self.word, 0, None) }? {
            Cloned::Parent { .. } => Ok(()),
            Cloned::Child => {
                let failure = self.run(tty);
                report(self.status, &failure)
            }
        }
    }

    /// The process, from its first instruction to exec. Comes back with what failed.
    fn run(&self, tty: bool) -> Failure {
        // Until the spawner knows that it is there. Its end, or that the client left, ends this one.
        let mut word = [0u8; 1];
        if !matches!(rustix::io::read(self.wait, &mut word), Ok(1)) {
            kernel::exit_now(127);
        }
        if let Some(runtime) = self.runtime {
            let Inner { spec, way_out, wait, status, .. } = *self;
            return RuntimeEntry { runtime, spec, way_out, wait, status }.run();
        }
        let program = match Program::new(self.spec) {
            Ok(program) => program,
            Err(failure) => return failure,
        };
        for step in plan::entry_process(self.spec, tty) {
            let done = match &step {
                Step::Execute(name) => return program.execute(name),
                Step::OpenTerminal => self.terminal(),
                Step::DieWithSpawner => identity::die_with_spawner(self.status),
                step => identity::carry_out(self.spec, self.profile.as_ref(), step),
            };
            if let Err(cause) = done {
                return as_sandbox_failure(&step, &cause);
            }
        }
        failed("carry out", "the plan", &io::Error::other("the plan ends without a program"))
    }

    fn terminal(&self) -> io::Result<()> {
        let way = self.way_out.ok_or(io::ErrorKind::NotFound)?;
        let terminal = terminal::open(self.spec.uid)?;
        rustix::stdio::dup2_stdin(&terminal.slave)?;
        rustix::stdio::dup2_stdout(&terminal.slave)?;
        rustix::stdio::dup2_stderr(&terminal.slave)?;
        terminal::hand_out(&terminal, way)
    }
}
