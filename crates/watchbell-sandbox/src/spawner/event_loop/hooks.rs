//! Hooks of devices: programs that root allowed by path, run one after another before their container begins. The loop
//! waits for none of them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::event::epoll::EventData;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use watchbell_cdi::HostHook;

use super::{EventLoop, HOOKS, add_to};
use crate::spawner::machine::Input;
use crate::start::{discard, reap};
use crate::{ContainerId, ExitStatus, RunSpec, StartFailureKind, clock};

/// Hooks that run.
#[derive(Default)]
pub(super) struct Hooks {
    running: Vec<Running>,
    last: u64,
}

struct Running {
    serial: u64,
    pid: Pid,
    pidfd: OwnedFd,
    hook: HostHook,
    /// By the monotonic clock.
    late_at: i64,
    is_late: bool,
    /// `None`: nobody waits for it any more, and it only has to be reaped.
    start: Option<Start>,
}

/// What goes on once the hook has ended well.
struct Start {
    spec: Box<RunSpec>,
    rest: VecDeque<HostHook>,
}

impl Hooks {
    /// The starts that wait for hooks: they hold their devices already.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &RunSpec> {
        self.running.iter().filter_map(|hook| hook.start.as_ref()).map(|start| &*start.spec)
    }

    pub(super) fn late_at(&self) -> Option<i64> {
        self.running.iter().filter(|hook| !hook.is_late).map(|hook| hook.late_at).min()
    }

    /// The start must not happen any more.
    pub(super) fn cancel(&mut self, id: ContainerId) {
        let is_its = |hook: &&mut Running| hook.start.as_ref().is_some_and(|start| start.spec.id == id);
        for hook in self.running.iter_mut().filter(is_its) {
            hook.start = None;
            hook.kill();
        }
    }
}

impl Running {
    /// It leads a process group of its own.
    fn kill(&self) {
        if let Err(error) = rustix::process::kill_process_group(self.pid, Signal::KILL) {
            tracing::warn!("cannot end the hook {}: {error}", self.hook.path.display());
        }
    }
}

impl EventLoop {
    /// Runs the hooks of a start, then begins it.
    pub(super) fn run_hooks(&mut self, spec: RunSpec) {
        let rest = spec.extras.handed.hooks.iter().cloned().collect();
        self.next_hook(Start { spec: Box::new(spec), rest });
    }

    fn next_hook(&mut self, mut start: Start) {
        let Some(hook) = start.rest.pop_front() else { return self.begin_now(*start.spec) };
        let spawned = self.spawn(&hook, &start.spec).and_then(|(pid, pidfd)| {
            self.hooks.last += 1;
            match add_to(&self.epoll, &pidfd, EventData::new_u64(HOOKS | self.hooks.last)) {
                Ok(()) => Ok((pid, pidfd)),
                Err(error) => {
                    // Nobody would see it end.
                    discard(&pidfd);
                    Err(error)
                }
            }
        });
        match spawned {
            Ok((pid, pidfd)) => {
                let seconds = i64::try_from(hook.timeout_seconds).unwrap_or(i64::MAX);
                let late_at = clock::monotonic().saturating_add(seconds.saturating_mul(1_000_000_000));
                let serial = self.hooks.last;
                self.hooks.running.push(Running {
                    serial,
                    pid,
                    pidfd,
                    hook,
                    late_at,
                    is_late: false,
                    start: Some(start),
                });
            }
            Err(error) => self.refuse(&start.spec, &hook, &format!("it cannot be run: {error}")),
        }
    }

    fn refuse(&mut self, spec: &RunSpec, hook: &HostHook, why: &str) {
        let message = format!(
            "cannot start container {} of pod {}: hook {}: {why}; what it printed is in the spawner's log",
            spec.name,
            spec.pod.name,
            hook.path.display()
        );
        let (kind, step) = (StartFailureKind::Sandbox, "run the hooks of devices".to_owned());
        self.feed(spec.id, Input::NotBegun { kind, step, message });
    }

    pub(super) fn hook_ended(&mut self, serial: u64) {
        let Some(at) = self.hooks.running.iter().position(|hook| hook.serial == serial) else { return };
        let ended = self.hooks.running.swap_remove(at);
        // What it left in its group must not outlive it. Before it is reaped: until then the number of the group is its.
        let ended_group = rustix::process::kill_process_group(ended.pid, Signal::KILL);
        if !matches!(ended_group, Ok(()) | Err(rustix::io::Errno::SRCH)) {
            tracing::warn!("cannot end what the hook {} left", ended.hook.path.display());
        }
        let status = reap(&ended.pidfd);
        let Some(start) = ended.start else { return };
        let why = match status {
            Ok(ExitStatus::Code(0)) => return self.next_hook(start),
            _ if ended.is_late => format!("it did not end within {} seconds", ended.hook.timeout_seconds),
            Ok(ExitStatus::Code(code)) => format!("it ended with exit code {code}"),
            Ok(ExitStatus::Signal(signal)) => format!("it was ended by signal {signal}"),
            Ok(ExitStatus::Lost) => "its end is not known".to_owned(),
            Err(error) => format!("its end cannot be read: {error}"),
        };
        self.refuse(&start.spec, &ended.hook, &why);
    }

    pub(super) fn end_late_hooks(&mut self, now: i64) {
        for hook in self.hooks.running.iter_mut().filter(|hook| !hook.is_late && hook.late_at <= now) {
            hook.is_late = true;
            hook.kill();
        }
    }

    /// Nothing of the spawner's environment, no descriptor but three, the host's mounts, a group of its own; the state of the
    /// container on its input, as the OCI runtime specification has it.
    fn spawn(&self, hook: &HostHook, spec: &RunSpec) -> io::Result<(Pid, OwnedFd)> {
        // Again: it may be another file by now than when the specs were read.
        watchbell_cdi::check_program(&hook.path)?;
        let state = serde_json::json!({
            "ociVersion": "1.2.0",
            "id": format!("{:032x}-{}-{}", spec.id.pod_uid, spec.id.container, spec.id.attempt),
            "status": "creating",
            "bundle": self.parts.state_dir,
            "annotations": {"cdi.k8s.io/watchbell_devices": spec.extras.devices.join(",")},
        });
        let (input, feed) = pipe_with(PipeFlags::CLOEXEC)?;
        // Far less than a pipe holds.
        rustix::io::write(&feed, state.to_string().as_bytes())?;
        drop(feed);
        let mut command = Command::new(&hook.path);
        if let Some((name, args)) = hook.args.split_first() {
            command.arg0(name).args(args);
        }
        command
            .env_clear()
            .envs(hook.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::from(input))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .process_group(0);
        let mounts = self.parts.host_mounts.try_clone()?;
        let ready = move || {
            move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))?;
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            crate::oom::set(crate::oom::USUAL)
        };
        // SAFETY: the spawner has one thread, so its copy may do what it could do itself.
        unsafe { command.pre_exec(ready) };
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok((pid, pidfd)),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error.into())
            }
        }
    }
}
