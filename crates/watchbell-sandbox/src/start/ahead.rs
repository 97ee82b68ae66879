//! Processes that wait for their task: begun before it is known, or at least before its mounts are made.
//!
//! ```text
//!  spawner ──▶ cloner ── clone, maps, go ──▶ process: joins its control group, leaves namespaces and mounts … waits
//!     │                                                                                               ▲
//!     └── the spec and its steps, in a packet; with it the mounts, the outputs, the status pipe ──────┘──▶ the rest
//! ```
//!
//! What takes longest of a start waits for the whole machine: a move into version 1 control groups, a network namespace, letting
//! go of mounts. Most of that is over when a task is asked for and a process waits already. It has an id range and a control group that are free,
//! no descriptor but its line, and a user, pid and mount namespace of its own; so nobody sees it but the host's root. It serves
//! one task and is gone. Nothing that a pod had ever waits.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use super::cgroup::{Cgroup, View, enter_by};
use super::cloner::{Cloner, Known};
use super::etc::ETC_FILES;
use super::ids::IdRange;
use super::kernel::{self, Instruction};
use super::mounts::{LimitFiles, Outfit};
use super::plan::{self, Basis, Step};
use super::task::{self, Inner, Made, Task};
use super::{as_sandbox_failure, failed, report};
use crate::seal::{read_sealed, sealed_bytes};
use crate::{Extras, HostNamespaces, Interaction, PodEnvironment, RunSpec};

/// How many wait at most: as many starts as a few processors carry out at a time.
const WAITING_MAX: usize = 4;
/// Starts that follow each other more slowly gain nothing that is worth a process.
const SOON: Duration = Duration::from_secs(1);
/// What Linux carries with one packet (SCM_MAX_FD).
const FDS_PER_PACKET: usize = 253;
/// A larger spec goes in sealed memory.
const IN_PACKET_MAX: usize = 32 << 10;
/// More than the bounds of a spec allow.
const SPEC_BYTES_MAX: u64 = 64 << 20;

/// A process that waits for its task.
pub(super) struct Waiting {
    pub(super) cgroup: Cgroup,
    basis: Basis,
    line: OwnedFd,
    /// Its number, once it was asked of the cloner.
    process: Option<(u32, OwnedFd)>,
}

/// What crosses to it: the steps are decided by now. Descriptors follow in the order of [`descriptors`].
#[derive(Serialize, Deserialize)]
struct Errand {
    spec: RunSpec,
    interaction: Interaction,
    extras: Extras,
    /// Its own filter, ready to be loaded.
    profile: Option<Vec<Instruction>>,
    steps: Vec<Step>,
    tmp: bool,
    limits_in_sys: bool,
    volumes: Vec<PathBuf>,
    stdin: bool,
    way_out: bool,
    tracer: bool,
}

impl Waiting {
    /// Asks for one, and has the spawner's end of its line.
    pub(super) fn ask(cloner: &Cloner, ids: &IdRange, cgroup: &Cgroup, basis: Basis) -> io::Result<OwnedFd> {
        let (line, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        cloner.ask(ids, cgroup, basis, &theirs)?;
        Ok(line)
    }

    /// The one that was asked for.
    pub(super) fn new(cgroup: Cgroup, basis: Basis, line: OwnedFd) -> Self {
        Self { cgroup, basis, line, process: None }
    }

    /// Hears of the cloner that it is there, before anything else is asked for.
    pub(super) fn settle(&mut self, cloner: &Cloner) -> io::Result<()> {
        if self.process.is_none() {
            self.process = Some(cloner.cloned()?);
        }
        Ok(())
    }

    pub(super) fn pid(&self) -> io::Result<u32> {
        self.process.as_ref().map(|(pid, _)| *pid).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// One that was killed from outside, the machine out of memory for one, serves no task.
    pub(super) fn is_fit(&self) -> bool {
        self.process.as_ref().is_some_and(|(_, pidfd)| !has_something(pidfd))
    }

    /// Gives it its task. It is not waited for: the line has room for all of it.
    pub(super) fn hand_over(
        &self,
        spec: &RunSpec,
        profile: Option<&[Instruction]>,
        outfit: &Outfit,
        inner: &Inner,
    ) -> io::Result<()> {
        // What the process needs of the pod; its volumes, Secrets among them, are mounted already.
        let pod = PodEnvironment {
            name: spec.pod.name.clone(),
            hostname: spec.pod.hostname.clone(),
            sharing: spec.pod.sharing,
            host_namespaces: spec.pod.host_namespaces,
            limits: spec.pod.limits,
            shm_bytes: spec.pod.shm_bytes,
            ..PodEnvironment::alone(spec.pod.uid)
        };
        let errand = Errand {
            spec: RunSpec { pod: pod.into(), ..spec.clone() },
            interaction: spec.interaction,
            extras: spec.extras.clone(),
            profile: profile.map(<[Instruction]>::to_vec),
            steps: plan::of_the_task(spec),
            tmp: outfit.tmp.is_some(),
            limits_in_sys: outfit.limits == LimitFiles::InSys,
            volumes: outfit.volumes.iter().map(|(target, _)| target.clone()).collect(),
            stdin: inner.stdin.is_some(),
            way_out: inner.way_out.is_some(),
            tracer: inner.tracer.is_some(),
        };
        let bytes = postcard::to_allocvec(&errand).map_err(io::Error::other)?;
        let sealed = if bytes.len() > IN_PACKET_MAX { Some(sealed_bytes(&bytes)?) } else { None };
        let body = if sealed.is_some() { &[] } else { bytes.as_slice() };
        let fds: Vec<BorrowedFd<'_>> =
            sealed.iter().map(AsFd::as_fd).chain(descriptors(outfit, inner)).collect();
        let header = u32::try_from(fds.len()).map_err(io::Error::other)?.to_le_bytes();
        for (n, fds) in fds.chunks(FDS_PER_PACKET).enumerate() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_PACKET))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(fds));
            let first = [IoSlice::new(&header), IoSlice::new(body)];
            let packet = if n == 0 { &first[..] } else { &first[..1] };
            sendmsg(&self.line, packet, &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        }
        Ok(())
    }

    /// Ends it. Its control group is free again.
    pub(super) fn discard(self) -> Cgroup {
        if let Some((_, pidfd)) = &self.process {
            kernel::discard(pidfd);
        }
        self.cgroup
    }

    /// It has its task.
    pub(super) fn into_parts(self) -> io::Result<(u32, OwnedFd, Cgroup)> {
        let (pid, pidfd) = self.process.ok_or(io::ErrorKind::NotFound)?;
        Ok((pid, pidfd, self.cgroup))
    }
}

/// Whether there is something to read now, or an end to see.
pub(super) fn has_something(fd: impl AsFd) -> bool {
    !matches!(poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}

/// Those that wait, each with the id range that its pod will have.
pub(super) struct Queue {
    waiting: VecDeque<(IdRange, Waiting)>,
    /// How many there should be.
    wanted: usize,
    /// Of the last start: the next one is likely to want the same.
    pub(super) basis: Basis,
    last_start: Option<Instant>,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::new(), wanted: 0, basis: Basis::default(), last_start: None }
    }

    /// The one that waits longest.
    pub(super) fn pop(&mut self) -> Option<(IdRange, Waiting)> {
        self.waiting.pop_front()
    }

    /// The one that waits longest of those that fit.
    pub(super) fn take(&mut self, basis: Basis) -> Option<(IdRange, Waiting)> {
        let at = self.waiting.iter().position(|(_, waiting)| waiting.basis == basis)?;
        self.waiting.remove(at)
    }

    /// Whether the next to be taken is known to be there.
    pub(super) fn has_settled(&self, basis: Basis) -> bool {
        let next = self.waiting.iter().find(|(_, waiting)| waiting.basis == basis);
        next.is_some_and(|(_, next)| next.process.is_some())
    }

    /// Whether one was asked for and nothing was heard of it yet.
    pub(super) fn is_asking(&self) -> bool {
        self.waiting.back().is_some_and(|(_, last)| last.process.is_none())
    }

    pub(super) fn ranges(&mut self) -> impl Iterator<Item = &mut IdRange> {
        self.waiting.iter_mut().map(|(ids, _)| ids)
    }

    pub(super) fn push(&mut self, ids: IdRange, waiting: Waiting) {
        self.waiting.push_back((ids, waiting));
    }

    /// A task was started while so many run: when the next comes as soon as this one did, some wait for it.
    pub(super) fn started(&mut self, running: usize, basis: Basis, now: Instant) {
        // Those of pods with some of the host's namespaces are not made ahead.
        self.basis = Basis { host: HostNamespaces::default(), ..basis };
        if self.last_start.is_some_and(|last| now.duration_since(last) < SOON) {
            self.wanted = self.wanted.max(running.min(WAITING_MAX));
        }
        self.last_start = Some(now);
    }

    pub(super) fn is_short(&self) -> bool {
        self.waiting.len() < self.wanted
    }

    /// Hears of the one that was asked for last. When there is none after all, it is handed back.
    pub(super) fn settle(&mut self, cloner: &Cloner) -> Option<(io::Error, IdRange, Cgroup)> {
        let (_, last) = self.waiting.back_mut()?;
        let error = last.settle(cloner).err()?;
        let (ids, waiting) = self.waiting.pop_back()?;
        Some((error, ids, waiting.discard()))
    }

    /// No more are wanted than there are.
    pub(super) fn be_content(&mut self) {
        self.wanted = self.wanted.min(self.waiting.len());
    }

    pub(super) fn want_none(&mut self) {
        self.wanted = 0;
    }
}

/// Every descriptor that crosses, in order.
fn descriptors<'a>(outfit: &'a Outfit, inner: &'a Inner) -> Vec<BorrowedFd<'a>> {
    // Named one by one, so that one more cannot be forgotten here.
    let Outfit { root, dev, shm, tmp, etc, sys, limits: _, volumes, null } = outfit;
    let Inner { stdin, stdout, stderr, way_out, tracer, status } = inner;
    let mut all = vec![root.as_fd(), dev.as_fd(), shm.as_fd(), sys.as_fd(), null.as_fd()];
    all.extend(etc.iter().map(|(_, file)| file.as_fd()));
    all.extend(tmp.iter().map(AsFd::as_fd));
    all.extend(volumes.iter().map(|(_, mount)| mount.as_fd()));
    all.extend([stdout.as_fd(), stderr.as_fd(), status.as_fd()]);
    all.extend(stdin.iter().chain(way_out).chain(tracer).map(AsFd::as_fd));
    all
}

/// The other way round.
fn outfit_of(errand: &Errand, fds: Vec<OwnedFd>, views: &[View]) -> Option<(Outfit, Inner)> {
    let mut fds = fds.into_iter();
    let mut next = || fds.next();
    let (root, dev, shm, sys, null) = (next()?, next()?, next()?, next()?, next()?);
    let mut etc = Vec::with_capacity(ETC_FILES.len());
    for name in ETC_FILES {
        etc.push((name.to_owned(), next()?));
    }
    let tmp = if errand.tmp { Some(next()?) } else { None };
    let mut volumes = Vec::with_capacity(errand.volumes.len());
    for target in &errand.volumes {
        volumes.push((target.clone(), next()?));
    }
    let (stdout, stderr, status) = (next()?, next()?, next()?);
    let stdin = if errand.stdin { Some(next()?) } else { None };
    let way_out = if errand.way_out { Some(next()?) } else { None };
    let tracer = if errand.tracer { Some(next()?) } else { None };
    let limits = if errand.limits_in_sys { LimitFiles::InSys } else { LimitFiles::ToMount(views.to_vec()) };
    let outfit = Outfit { root, dev, shm, tmp, etc, sys, limits, volumes, null };
    Some((outfit, Inner { stdin, stdout, stderr, way_out, tracer, status }))
}

/// The process, from the word to go on to exec.
pub(super) fn wait(line: &OwnedFd, doors: &[OwnedFd], basis: Basis, known: &Known<'_>) -> ! {
    let begun = begin(line, doors, basis);
    // Without an errand the spawner wants none any more, or is gone.
    let Ok(Some((errand, fds))) = receive(line) else { kernel::exit_now(0) };
    let Some((outfit, inner)) = outfit_of(&errand, fds, known.views) else { kernel::exit_now(127) };
    let spec = RunSpec { interaction: errand.interaction, extras: errand.extras, ..errand.spec };
    // What was made depends on it: covers that are not there would be missed by nobody.
    if Basis::of(&spec) != basis {
        let cause = io::Error::other("it was made for another kind of task");
        report(inner.status.as_fd(), &failed("use the process that waits for", &spec.name, &cause));
    }
    let made = match begun {
        Ok(made) => made,
        Err((Some(step), cause)) => report(inner.status.as_fd(), &as_sandbox_failure(&step, &cause)),
        Err((None, cause)) => {
            report(inner.status.as_fd(), &failed("join the control group of", &spec.name, &cause))
        }
    };
    let profile = errand.profile.map(Into::into);
    let task = Task::new(&spec, outfit, profile, known.landlock, &inner).with(made);
    let failure = task.run(&errand.steps);
    report(inner.status.as_fd(), &failure)
}

/// All that can be done while the task is not known. What failed is told to the task's start.
fn begin(line: &OwnedFd, doors: &[OwnedFd], basis: Basis) -> Result<Made, (Option<Step>, io::Error)> {
    let other = |error: io::Error| (None, error);
    let kept = doors.iter().chain([line]).map(AsRawFd::as_raw_fd);
    // SAFETY: what owns the others lives in this process's copy of the cloner's memory, which exec or exit ends without running
    // destructors; nothing but the kept ones is used from here on.
    unsafe { kernel::close_all_but(kept) }.map_err(other)?;
    rustix::thread::set_name(c"watchbell-ahead").map_err(|e| other(e.into()))?;
    // Before anything else: a move waits for every fork and exit on the machine, and so keeps this start waiting and no other.
    enter_by(doors.iter().map(AsFd::as_fd)).map_err(other)?;
    let mut made = Made::default();
    for step in plan::before_the_task(basis) {
        task::before_it_is_known(&step, &mut made).map_err(|cause| (Some(step), cause))?;
    }
    Ok(made)
}

/// Waits for the errand. `None`: there will be none.
fn receive(line: &OwnedFd) -> io::Result<Option<(Errand, Vec<OwnedFd>)>> {
    let (mut fds, mut body, mut expected) = (Vec::new(), Vec::new(), None);
    while expected.is_none_or(|expected| fds.len() < expected) {
        // As large as what comes: each page of a buffer is one more that this process must get.
        let length = match recv(line, [0u8; 0].as_mut_slice(), RecvFlags::PEEK | RecvFlags::TRUNC) {
            Err(Errno::INTR) => continue,
            length => length?.1,
        };
        if length > 4 + IN_PACKET_MAX {
            return Err(io::Error::other("a packet that no spawner sends"));
        }
        let mut bytes = vec![0u8; length];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_PACKET))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let packet = &mut [IoSliceMut::new(&mut bytes)];
        let received = match recvmsg(line, packet, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => continue,
            Ok(received) if received.bytes == 0 => return Ok(None),
            received => received?,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                fds.extend(more);
            }
        }
        if expected.is_none()
            && let Some((header, rest)) = bytes[..received.bytes].split_first_chunk::<4>()
        {
            expected = Some(u32::from_le_bytes(*header) as usize);
            body = rest.to_vec();
        }
    }
    if body.is_empty() {
        body = read_sealed(fds.remove(0), SPEC_BYTES_MAX)?;
    }
    Ok(Some((postcard::from_bytes(&body).map_err(io::Error::other)?, fds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_wait_when_starts_follow_each_other() {
        let begun = Instant::now();
        // When tasks were started, in milliseconds, and how many ran by then; how many should wait.
        let check = |starts: &[(u64, usize)], expect: usize| {
            let mut queue = Queue::new();
            for (at, running) in starts {
                queue.started(*running, Basis::default(), begun + Duration::from_millis(*at));
            }
            assert_eq!(queue.wanted, expect, "{starts:?}");
            assert_eq!(queue.is_short(), expect > 0);
            queue.want_none();
            assert!(!queue.is_short());
        };
        check(&[], 0);
        check(&[(0, 1)], 0);
        check(&[(0, 1), (5000, 1)], 0);
        check(&[(0, 1), (999, 1)], 1);
        check(&[(0, 1), (5, 2), (9, 3)], 3);
        check(&[(0, 1), (5, 100)], WAITING_MAX);
        check(&[(0, 1), (5, 3), (5000, 1)], 3);
    }
}
