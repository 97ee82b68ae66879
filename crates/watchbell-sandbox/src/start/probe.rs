//! What this host can do, found out by doing it: each thing in a child of its own, with the code that starts tasks. What is
//! made there (namespaces, mounts, a nameless file) ends with the child; nothing of the host is changed.

mod host;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::MountAttrFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::UnshareFlags;

use super::cgroup::{Cgroups, Probed};
use super::clocks::Clocks;
use super::door::{Door, DoorSockets};
use super::ids::{IdPool, open_namespace};
use super::kernel::{self, Cloned, CommandLine};
use super::stash::{self, Bare, Stash, tmpfs};
use super::{Host, Outcome as Begun, image, mounts, seccomp};
use crate::doctor::{Facts, Feature, Outcome, Report, Verdict};
use crate::{LogTarget, PodEnvironment, RunSpec, Scratch, SeccompBase, StartFailureKind, UidRanges};

/// What the trial's program is called: no image has it, so that a start which comes as far as to look for it is one that
/// worked.
const NO_PROGRAM: &str = "/.watchbell/there is no such program";
const TRIAL: Scratch = Scratch { bytes: 1 << 20, inodes: 64 };
/// A cause is a sentence.
const CAUSE_BYTES_MAX: u64 = 4096;

/// Finds out what the host offers to a server on `data_dir`, which may not be there yet. Pods get ids of `ranges`.
///
/// The calling process must have one thread, because it is cloned; one that has more is told so.
pub fn probe(data_dir: &Path, ranges: UidRanges) -> io::Result<Facts> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a process of several threads cannot look at what the host offers"));
    }
    let storage = host::existing(data_dir)?;
    let uname = rustix::system::uname();
    let caller = host::caller()?;
    let groups = Cgroups::probe();
    Ok(Facts {
        kernel: uname.release().to_string_lossy().into_owned(),
        architecture: uname.machine().to_string_lossy().into_owned(),
        features: features(&storage, ranges, &groups, caller.uid == 0),
        caller,
        landlock_abi: super::landlock_abi().unwrap_or(0),
        control_groups: groups.facts,
        settings: host::settings(),
        clock_synchronised: kernel::clock_is_synchronised().ok(),
        id_overlaps: host::id_overlaps(ranges),
        vulnerabilities: host::vulnerabilities(),
        open_files_max: host::hard_limit(rustix::process::Resource::Nofile),
        core_limit_problem: match attempt(crate::dumps::forbid_core_handlers) {
            Outcome::Works => None,
            Outcome::Fails(cause) | Outcome::NotTried(cause) => Some(cause),
        },
        init: host::read("/proc/1/comm").trim().to_owned(),
        unit: host::unit(&host::read("/proc/self/cgroup")),
        storage: host::storage(storage),
        ..Facts::default()
    })
}

/// Nothing is started where something that is promised cannot be kept; what is weaker than it could be is noted.
pub(super) fn refuse_weaker(report: &Report) -> Result<(), String> {
    let refusals: Vec<String> = report
        .refusals()
        .map(|check| format!("{} ({}): {}; {}", check.name, check.purpose, check.found, check.advice))
        .collect();
    if !refusals.is_empty() {
        return Err(format!(
            "this host does not keep what is promised to tasks; `watchbell doctor` tells more: {}",
            refusals.join("; ")
        ));
    }
    for check in report.checks.iter().filter(|check| check.verdict == Verdict::Weaker) {
        tracing::info!("weaker than it could be: {}: {}; {}", check.name, check.found, check.advice);
    }
    Ok(())
}

fn features(dir: &Path, ranges: UidRanges, groups: &Probed, is_root: bool) -> BTreeMap<Feature, Outcome> {
    // Pods take their ranges from the first on: the last one is the least likely to be somebody's.
    let last = ranges.first + u32::from(ranges.count.saturating_sub(1)) * crate::spec::IDS;
    let ranges = UidRanges { first: last, count: 1 };
    // Who is not root has namespaces only within a user namespace.
    let users = if is_root { UnshareFlags::empty() } else { UnshareFlags::NEWUSER };
    let namespace = |flag: UnshareFlags| attempt(|| kernel::unshare(flag | users));
    let for_root = |work: &dyn Fn() -> io::Result<()>| {
        if is_root { attempt(work) } else { Outcome::NotTried("needs root".to_owned()) }
    };
    let stash = || Stash::new(place_for_mounts(dir));
    BTreeMap::from([
        (Feature::UserNamespaces, for_root(&|| IdPool::new(ranges).lease().map(drop))),
        (Feature::MountNamespaces, namespace(UnshareFlags::NEWNS)),
        (Feature::PidNamespaces, namespace(UnshareFlags::NEWPID)),
        (Feature::IpcNamespaces, namespace(UnshareFlags::NEWIPC)),
        (Feature::UtsNamespaces, namespace(UnshareFlags::NEWUTS)),
        (Feature::NetworkNamespaces, namespace(UnshareFlags::NEWNET)),
        (Feature::CgroupNamespaces, namespace(UnshareFlags::NEWCGROUP)),
        (Feature::TimeNamespaces, for_root(&|| Clocks::open()?.begin())),
        (
            Feature::Loopback,
            attempt(|| kernel::unshare(UnshareFlags::NEWNET | users).and_then(|()| kernel::loopback_up())),
        ),
        (Feature::Doors, for_root(&door)),
        (
            Feature::IdmappedMounts,
            for_root(&|| mounts::directory(&IdPool::new(ranges).lease()?, dir).map(drop)),
        ),
        (
            Feature::IdmappedMemory,
            for_root(&|| {
                let memory = tmpfs(&[("size", "4k")], MountAttrFlags::empty())?;
                mounts::map_memory(&memory, IdPool::new(ranges).lease()?.map())
            }),
        ),
        (Feature::UnswappedMemory, for_root(&stash::has_noswap)),
        (
            Feature::Overlay,
            for_root(&|| {
                let (mut stash, mut ids) = (stash()?, IdPool::new(ranges).lease()?);
                let spec = trial_spec(dir);
                let places = mounts::places(&spec, &[]);
                mounts::root(&mut stash, &mut ids, &spec, places)
                    .map(drop)
                    .map_err(|failure| io::Error::other(failure.message))
            }),
        ),
        (
            Feature::Devices,
            for_root(&|| {
                let (mut stash, mut ids) = (stash()?, IdPool::new(ranges).lease()?);
                ids.common(&mut stash, &groups.views)?.null().map(drop)
            }),
        ),
        (
            Feature::Seccomp,
            attempt(|| {
                rustix::thread::set_no_new_privs(true)?;
                kernel::seccomp(seccomp::base(SeccompBase::Default), 0)
            }),
        ),
        (Feature::SeccompNotification, attempt(kernel::seccomp_can_notify)),
        (
            Feature::Openat2,
            attempt(|| {
                openat2(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
                Ok(())
            }),
        ),
        (
            Feature::CloseRange,
            attempt(|| {
                // SAFETY: descriptors of these numbers are nobody's in this child.
                unsafe { kernel::close_range(1 << 20, 1 << 20, kernel::Descriptors::Close) }
            }),
        ),
        // An attempt is itself a process that is known by its descriptor.
        (Feature::Pidfd, attempt(|| Ok(()))),
        (Feature::Keyring, attempt(kernel::new_session_keyring)),
        (
            Feature::SealedProgram,
            attempt(|| crate::seal::sealed_program(&mut std::fs::File::open("/proc/self/status")?).map(drop)),
        ),
        (
            Feature::CloneIntoCgroup,
            match &groups.own {
                Some(dir) => attempt(|| clone_into(dir)),
                None => Outcome::Fails("there is no unified tree of control groups".to_owned()),
            },
        ),
        (Feature::Images, for_root(&|| image::attempt_in(mounts::open_source(dir)?, TRIAL))),
        (Feature::Start, for_root(&|| start(dir, ranges, groups))),
    ])
}

/// Does something in a child, and says how it went.
fn attempt(work: impl FnOnce() -> io::Result<()>) -> Outcome {
    let tried = || -> io::Result<String> {
        let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
        // SAFETY: this process has one thread; `probe` looked.
        match unsafe { kernel::clone3(0, None) }? {
            Cloned::Child => {
                drop(told);
                let cause = work().err().map(|error| error.to_string()).unwrap_or_default();
                // A parent that is gone needs no answer.
                let _ = std::fs::File::from(tell).write_all(format!("{cause}\n").as_bytes());
                kernel::exit_now(0)
            }
            Cloned::Parent { pidfd, .. } => {
                drop(tell);
                let mut answer = String::new();
                let read = std::fs::File::from(told).take(CAUSE_BYTES_MAX).read_to_string(&mut answer);
                kernel::wait(&pidfd)?;
                read.map(|_| answer)
            }
        }
    };
    match tried() {
        Ok(answer) if answer == "\n" => Outcome::Works,
        Ok(answer) if answer.is_empty() => Outcome::Fails("the attempt was killed".to_owned()),
        Ok(cause) => Outcome::Fails(cause.trim_end().to_owned()),
        Err(error) => Outcome::Fails(error.to_string()),
    }
}

/// A directory that is there everywhere, that nothing below looks into, and that does not hide the data directory.
fn place_for_mounts(dir: &Path) -> &'static Path {
    Path::new(if dir.starts_with("/dev") { "/run" } else { "/dev" })
}

fn clone_into(dir: &Path) -> io::Result<()> {
    let dir = std::fs::File::open(dir)?;
    // SAFETY: the child that tries this has one thread.
    match unsafe { kernel::clone3(0, Some(dir.as_fd())) }? {
        Cloned::Child => kernel::exit_now(0),
        Cloned::Parent { pidfd, .. } => kernel::wait(&pidfd).map(drop),
    }
}

/// Opens one in a network of its own, which ends with the child that tries it.
fn door() -> io::Result<()> {
    kernel::unshare(UnshareFlags::NEWNET)?;
    kernel::loopback_up()?;
    let namespace = open_namespace(std::process::id(), "net")?;
    Door::open(DoorSockets::make()?, namespace.as_fd()).map(drop)
}

/// Starts a container by all steps, but in no control group of its own: to make one would change the host.
fn start(dir: &Path, ranges: UidRanges, groups: &Probed) -> io::Result<()> {
    let mut host = Host {
        pods: HashMap::new(),
        ahead: super::Queue::new(),
        cloner: None,
        opened: Vec::new(),
        closed: Vec::new(),
        runs: 0,
        ids: IdPool::new(ranges),
        cgroups: Cgroups::none(groups.views.clone()),
        memories: super::Memories::default(),
        without_images: None,
        stash: Stash::new(place_for_mounts(dir))?,
        bare: Bare::new()?,
        clocks: Clocks::open()?,
        command_line: CommandLine::find()?,
        landlock: super::landlock_abi(),
        runtimes: Vec::new(),
        profiles: super::Profiles::default(),
        traces: Default::default(),
    };
    let failed = |failure: super::Failure| io::Error::other(failure.message);
    let mut begun = host.begin(&trial_spec(dir)).map_err(failed)?;
    let outcome = loop {
        wait_for(&begun.status)?;
        match host.read_status(&mut begun) {
            Begun::Waiting => {}
            outcome => break outcome,
        }
    };
    host.reap(&mut begun)?;
    match outcome {
        Begun::Failed(failure) => match failure.kind {
            StartFailureKind::Sandbox | StartFailureKind::Refused | StartFailureKind::Cancelled => {
                Err(failed(failure))
            }
            // The data directory may be closed to who is not root there.
            StartFailureKind::CommandNotFound | StartFailureKind::CommandNotExecutable => Ok(()),
        },
        Begun::Executed | Begun::Waiting | Begun::Gone => {
            Err(io::Error::other("the process ended before its program was looked for"))
        }
    }
}

fn wait_for(status: &OwnedFd) -> io::Result<()> {
    poll(&mut [PollFd::new(status, PollFlags::IN)], None)?;
    Ok(())
}

/// What a pod that says nothing gets, with the data directory for its image.
fn trial_spec(dir: &Path) -> RunSpec {
    let pod = PodEnvironment {
        name: "trial".to_owned(),
        hostname: "trial".to_owned(),
        shm_bytes: 1 << 20,
        ..PodEnvironment::alone(0)
    };
    let log = LogTarget { path: PathBuf::from("trial"), max_bytes: 4096, max_files: 1 };
    let mut spec = RunSpec::strict(Arc::new(pod), dir.to_owned(), vec![NO_PROGRAM.to_owned()], log);
    spec.name = "trial".to_owned();
    (spec.root.upper, spec.tmp) = (TRIAL, Some(TRIAL));
    spec
}
