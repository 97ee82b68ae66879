//! Containers that an OCI runtime starts, from the same [`RunSpec`] and with the same things of the spawner's: ids, volumes,
//! root, control group, pipes.
//!
//! ```text
//!  spawner ── clone ──▶ shim: pid 1 of a pid namespace and alone in a mount namespace
//!     │                   │  /run: bundle (root, volumes, config.json) and the runtime's state     /sys/fs/cgroup: our subtree
//!     │   signal  ──────▶ ├─ create, start ──▶ the container's processes, below the shim's pid namespace
//!     │   ◀── how it ended├─ kill
//!     │                   └─ delete
//!     └─ SIGKILL ──▶ the shim, and with it all of that
//! ```
//!
//! The runtime is a program of others that may hang or leave something behind. So nothing of it is the spawner's to wait for
//! or to clear up: whatever it made ends with the shim's namespaces, and the shim with the spawner. The spawner watches the
//! shim's pidfd as it does a task's.

mod bundle;
mod command;
mod config;
mod entry;
mod message;
mod shim;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use super::ids::clone_charged_to;
use super::kernel::{self, Cloned};
use super::{Begun, Cgroup, Failure, Host, Memory, Ready, failed, pipes, plan};
use crate::{ExitStatus, OciRuntime, RunSpec, Usage};
use bundle::Surroundings;
pub(super) use entry::{RuntimeEntry, namespaces as shim_namespaces};
use shim::Shim;

/// The spawner's end of a shim.
pub(crate) struct ByRuntime {
    /// Signals go there, the report comes from there.
    control: OwnedFd,
    report: Option<Report>,
}

/// What the shim tells before it lets the runtime remove what it made.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Report {
    status: ExitStatus,
    usage: Usage,
    oom_killed: bool,
}

impl ByRuntime {
    /// Has the runtime signal the container. The shim may have ended.
    pub(super) fn signal(&self, signal: i32) -> io::Result<()> {
        match send(&self.control, &[signal as u8], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How the container ended, once the shim has. A shim that was killed says nothing, and its own end tells.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let mut bytes = [0u8; 256];
        let (length, _) = recv(&self.control, &mut bytes, RecvFlags::DONTWAIT).ok()?;
        let report: Report = postcard::from_bytes(&bytes[..length]).ok()?;
        self.report = Some(report);
        Some(report.status)
    }

    pub(super) fn usage(&self) -> Option<(Usage, bool)> {
        self.report.map(|report| (report.usage, report.oom_killed))
    }
}

impl Host {
    /// The runtimes that root named.
    pub(crate) fn with_runtimes(mut self, runtimes: Vec<OciRuntime>) -> Self {
        self.runtimes = runtimes;
        self
    }

    pub(super) fn runtime(&self, name: &str) -> Result<OciRuntime, Failure> {
        let found = self.runtimes.iter().find(|runtime| runtime.name == name);
        let runtime = found.ok_or_else(|| {
            failed("find", format!("the runtime {name:?}"), &io::ErrorKind::NotFound.into())
        })?;
        // It may have been replaced since the spawner looked.
        runtime
            .check()
            .map_err(|e| failed("use", format!("the runtime {name:?}"), &io::Error::other(e.to_string())))?;
        Ok(runtime.clone())
    }

    /// As [`Host::begin`] does it itself, by a runtime.
    pub(super) fn begin_by(
        &mut self,
        runtime: &OciRuntime,
        spec: &RunSpec,
        cgroup: &Cgroup,
    ) -> Result<Begun, Failure> {
        let fault = |step: &'static str| move |e: io::Error| failed(step, &spec.name, &e);
        let mut outfit = self.outfit(spec, None)?;
        let subtrees: Vec<(String, PathBuf)> = self.cgroups.subtrees().to_vec();
        let command_line = self.command_line;
        // A group that limits is no place for the runtime itself.
        let clone_into = cgroup.clone_into().filter(|_| self.cgroups.tracks_only());
        let Some(pod) = self.pods.get(&spec.pod.uid) else {
            return Err(failed("find", "the pod", &io::ErrorKind::NotFound.into()));
        };
        if spec.interaction.tty {
            outfit.dev = super::devices::dev_with_console(&pod.ids, spec).map_err(fault("make /dev for"))?;
        }
        let (inner, held) = pipes::streams(&pod.ids, spec, None)?;
        let (wait, go) = pipe_with(PipeFlags::CLOEXEC)
            .map_err(|e| failed("make the start pipe of", &spec.name, &e.into()))?;
        let (control, control_in) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|e| failed("make the control socket of", &spec.name, &e.into()))?;
        let host = spec.pod.host_namespaces;
        // Its end ends all below it. A container in the host's pid namespace is ended by its control group instead.
        let namespaces = if host.pid { 0 } else { libc::CLONE_NEWPID as u64 };
        let ready = Ready { wait: wait.as_fd(), go: &go };
        // Of a pod with shared namespaces, the shim joins its clocks.
        let has_own = plan::has_clocks(host) && pod.shared.is_none();
        let clocks = has_own.then_some(&self.clocks);
        // SAFETY: the spawner has one thread.
        let (pid, pidfd) = match unsafe { clone_charged_to(None, None, clocks, namespaces, clone_into) }
            .map_err(fault("clone the shim of"))?
        {
            Cloned::Child => {
                if !ready.wait() {
                    kernel::exit_now(127);
                }
                let surroundings = Surroundings {
                    spec,
                    outfit,
                    shared: pod.shared.as_ref(),
                    subtrees,
                    group: cgroup.name(),
                    first_id: pod.ids.first,
                };
                let shim = Shim {
                    spec,
                    runtime,
                    cgroup,
                    command_line,
                    stdin: inner.stdin.as_ref().map(AsFd::as_fd),
                    stdout: inner.stdout.as_fd(),
                    stderr: inner.stderr.as_fd(),
                    way_out: inner.way_out.as_ref().map(AsFd::as_fd),
                    control: control_in.as_fd(),
                    status: inner.status.as_fd(),
                };
                shim.run(surroundings)
            }
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        match rustix::io::write(&go, b"g") {
            Ok(_) | Err(Errno::PIPE) => {}
            Err(error) => {
                kernel::discard(&pidfd);
                return Err(failed("let go", &spec.name, &error.into()));
            }
        }
        Ok(Begun {
            // Its group is made for it alone, and never given to another.
            memory: Memory::MayStay,
            by_runtime: Some(ByRuntime { control, report: None }),
            ..held.begun(spec, pid, pidfd)
        })
    }
}
