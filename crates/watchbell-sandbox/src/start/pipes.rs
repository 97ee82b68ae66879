//! The pipes between a container's streams and those who read and write them.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Gid, Uid, fchown};
use rustix::pipe::{PipeFlags, pipe_with};

use super::cgroup::Memory;
use super::ids::IdRange;
use super::task::Inner;
use super::{Begun, Failure, failed, terminal};
use crate::tracer::Tracer;
use crate::{RunSpec, Stdin};

/// The outer ends, while there is no run yet.
pub(super) struct Held {
    status: OwnedFd,
    outputs: Vec<OwnedFd>,
    stdin: Option<OwnedFd>,
    way_out: Option<OwnedFd>,
    tracer: Option<Tracer>,
}

impl Held {
    /// Of a process of our own, whose control group is added.
    pub(super) fn begun(self, spec: &RunSpec, pid: u32, pidfd: OwnedFd) -> Begun {
        let Held { status, outputs, stdin, way_out, tracer } = self;
        Begun {
            pid,
            pidfd,
            status,
            outputs,
            stdin,
            terminal: None,
            way_out,
            tracer,
            id: spec.id,
            first_host_id: None,
            own_pids: !spec.pod.host_namespaces.pid,
            looks: 0,
            report: Vec::new(),
            cgroup: None,
            memory: Memory::after(spec),
            max_rss_bytes: 0,
            by_runtime: None,
        }
    }
}

/// What a task prints to and reads from, and where it reports.
pub(super) fn streams(
    ids: &IdRange,
    spec: &RunSpec,
    tracer: Option<(Tracer, OwnedFd)>,
) -> Result<(Inner, Held), Failure> {
    let fault = |step: &'static str| move |e: io::Error| failed(step, &spec.name, &e);
    let (stdout_out, stdout) = output(ids, spec).map_err(fault("make the output pipe of"))?;
    let (stderr_out, stderr) = output(ids, spec).map_err(fault("make the error pipe of"))?;
    let has_input = spec.interaction.stdin != Stdin::None && !spec.interaction.tty;
    let made = has_input.then(|| input(ids, spec)).transpose();
    let (stdin_out, stdin) = made.map_err(fault("make the input pipe of"))?.unzip();
    let made = spec.interaction.tty.then(terminal::way_out).transpose();
    let (way_out, way_in) = made.map_err(fault("make a socket for the terminal of"))?.unzip();
    let (status_out, status) = pipe_with(PipeFlags::CLOEXEC)
        .map_err(|e| failed("make the status pipe of", &spec.name, &e.into()))?;
    rustix::io::ioctl_fionbio(&status_out, true).map_err(|e| failed("watch", &spec.name, &e.into()))?;
    let (tracer, tracer_in) = tracer.unzip();
    let held = Held {
        tracer,
        status: status_out,
        // What a container with a terminal could print besides is nobody's.
        outputs: if spec.interaction.tty { Vec::new() } else { vec![stdout_out, stderr_out] },
        stdin: stdin_out,
        way_out,
    };
    Ok((Inner { stdin, stdout, stderr, way_out: way_in, tracer: tracer_in, status }, held))
}

/// Both ends of a pipe whose inner one the task may open again by /dev/stdout, whoever it is.
pub(super) fn output(ids: &IdRange, spec: &RunSpec) -> io::Result<(OwnedFd, OwnedFd)> {
    let (outer, inner) = pipe_with(PipeFlags::CLOEXEC)?;
    give(&inner, ids, spec)?;
    Ok((outer, inner))
}

/// As [`output`], the other way: the writing end comes first.
pub(super) fn input(ids: &IdRange, spec: &RunSpec) -> io::Result<(OwnedFd, OwnedFd)> {
    let (inner, outer) = pipe_with(PipeFlags::CLOEXEC)?;
    give(&inner, ids, spec)?;
    Ok((outer, inner))
}

/// The kernel makes a pipe for its owner alone (0600, fs/pipe.c).
fn give(inner: &OwnedFd, ids: &IdRange, spec: &RunSpec) -> io::Result<()> {
    let (uid, gid) = (ids.first + spec.uid, ids.first + spec.gid);
    Ok(fchown(inner, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}
