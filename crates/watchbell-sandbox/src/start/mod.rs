//! From a checked [`RunSpec`] to its program, and the end of what that made.
//!
//! ```text
//!  ids ─ control group ─ clone ──▶ process that waits ──────────────▶ the rest of the plan ──▶ exec
//!                                         ▲                             └─ a failure: told by the status pipe
//!  Host::begin ─ volumes ─ root ─ limits ─┴▶ Begun { pid, pidfd, status, outputs } ── kill, empty ──▶ given back
//! ```
//!
//! The spawner's part never waits for the container: it makes mounts and control groups, clones, and lets the task go on
//! alone.

mod ahead;
mod cgroup;
mod clocks;
mod cloner;
mod devices;
mod door;
mod doors;
mod enter;
mod etc;
mod explain;
mod files;
mod gate;
mod identity;
mod ids;
mod image;
mod kernel;
mod landlock;
mod layered;
mod memory;
mod modes;
mod mounts;
mod overlay;
mod pipes;
mod plan;
mod probe;
mod program;
mod runtime;
mod seccomp;
mod shared;
mod single;
mod stash;
mod task;
mod terminal;
mod throttles;
mod unpacker;
mod upkeep;
mod volumes;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

pub(crate) use cgroup::{Io, limits_above};
pub use explain::{ExplainedMount, ExplainedStep, Explanation, HostIds, Limits, Values, explain, values};
pub use gate::confine_gate;
pub(crate) use landlock::landlock_lacks;
pub use landlock::{Scope, landlock_abi};
pub use plan::{Namespace, Step, Sysfs, plan, plan_entry};
pub use probe::probe;
pub(crate) use seccomp::{LAST_KNOWN, check_program, is_in_default, is_never_allowed};

use crate::doctor::{Feature, judge};
use crate::tracer::Tracer;
use crate::{
    ContainerId, ExitStatus, Mount, OciRuntime, RunSpec, Scratch, SeccompBase, Sharing, StartFailureKind,
    Totals, UidRanges, Usage,
};
use ahead::{Queue, Waiting};
use cgroup::{Cgroup, Cgroups, Memory, PodCgroup};
use clocks::Clocks;
use cloner::{Cloner, Known};
pub(crate) use door::DoorSockets;
pub use door::{DOOR_V4, DOOR_V6};
pub(crate) use enter::{Entry, Outer};
use ids::{IdPool, IdRange, clone_charged_to};
pub(crate) use kernel::discard;
use kernel::{Cloned, CommandLine};
use memory::Memories;
use modes::ExactModes;
use mounts::{LimitFiles, Outfit, Place, Volume};
use pipes::{input, output};
pub(crate) use runtime::ByRuntime;
use seccomp::{Filter, Profiles};
use shared::share_namespaces;
use stash::{Bare, Stash};
use task::{Inner, SharedNamespaces, Task};
pub(crate) use terminal::Terminal;
pub use unpacker::{Confinement, Directory, confined};
use upkeep::kills_what_is_left;

/// The directory of the spawner's own mounts, in its state directory; empty for everybody else.
const STASH: &str = "mounts";
/// A failure report is a few sentences.
const REPORT_BYTES_MAX: usize = 8192;

/// Why a start failed, as it crosses from the task to the spawner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) kind: StartFailureKind,
    pub(crate) step: String,
    pub(crate) message: String,
}

fn failed(step: &str, object: impl Display, cause: &io::Error) -> Failure {
    Failure {
        kind: StartFailureKind::Sandbox,
        step: step.to_owned(),
        message: format!("cannot {step} {object}: {cause}; nothing was started"),
    }
}

fn as_sandbox_failure(step: &Step, cause: &io::Error) -> Failure {
    Failure {
        kind: StartFailureKind::Sandbox,
        step: step.to_string(),
        message: format!(
            "cannot {step}: {cause}; the task was not started, because it would run without this protection"
        ),
    }
}

/// What this machine gives to tasks. One in a spawner.
pub(crate) struct Host {
    // Fields are dropped in this order: what is mounted goes before the stash it is mounted in.
    pods: HashMap<u128, Pod>,
    ahead: Queue,
    /// `None` once it was found dead.
    cloner: Option<Cloner>,
    /// Doors that the gate is to be told of, and those that are gone.
    opened: Vec<u128>,
    closed: Vec<u128>,
    /// Of all pods.
    runs: usize,
    ids: IdPool,
    cgroups: Cgroups,
    memories: Memories,
    /// Why what is written to the disk has no file system of its own here, if it has none.
    without_images: Option<String>,
    stash: Stash,
    bare: Bare,
    clocks: Clocks,
    command_line: CommandLine,
    /// What this kernel offers, see [`landlock_abi`].
    landlock: Option<u32>,
    runtimes: Vec<OciRuntime>,
    profiles: Profiles,
    /// Where traces are written, and as whom.
    traces: (PathBuf, u32),
}

/// What a pod holds from its first start until it is released.
struct Pod {
    ids: IdRange,
    volumes: BTreeMap<u16, Volume>,
    shared: Option<SharedNamespaces>,
    cgroup: Option<PodCgroup>,
    /// Runs that are not given back.
    runs: u32,
    released: bool,
    /// The gate has its door.
    announced: bool,
}

/// A start that is under way, or a run.
pub(crate) struct Begun {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    /// Ends without a byte when the program was executed.
    pub(crate) status: OwnedFd,
    /// What the keeper reads: stdout and stderr, or a terminal, which is there once the program was executed.
    pub(crate) outputs: Vec<OwnedFd>,
    /// The container's input, for who attaches.
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) terminal: Option<Terminal>,
    way_out: Option<OwnedFd>,
    tracer: Option<Tracer>,
    id: ContainerId,
    /// The host's id of its user 0, when its pod has ids of its own.
    pub(crate) first_host_id: Option<u32>,
    own_pids: bool,
    /// How often its control group was not empty after its first process was reaped.
    looks: u32,
    report: Vec<u8>,
    cgroup: Option<Cgroup>,
    memory: Memory,
    max_rss_bytes: u64,
    /// It was started by an OCI runtime: `pid` and `pidfd` are its shim's.
    pub(crate) by_runtime: Option<ByRuntime>,
}

impl Begun {
    /// Readable when the tracer has ended, if there is one.
    pub(crate) fn tracer(&self) -> Option<BorrowedFd<'_>> {
        self.tracer.as_ref().and_then(Tracer::pidfd)
    }
}

/// What the status pipe said.
pub(crate) enum Outcome {
    Waiting,
    Executed,
    Failed(Failure),
    /// It was killed before it could say anything.
    Gone,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.want_none();
    }
}

impl Host {
    /// Looks whether the host keeps what is promised, and ends what a spawner before left behind.
    pub(crate) fn open(
        state_dir: &Path,
        ranges: UidRanges,
        shard: u16,
        totals: Totals,
        io: Option<Io>,
    ) -> Result<Host, String> {
        let _modes = ExactModes::begin();
        // Compiled once here; a task that found one missing would compile a copy for itself.
        for base in [SeccompBase::Default, SeccompBase::Floor] {
            seccomp::base(base);
        }
        kernel::find_ignored_signals().map_err(|e| format!("cannot find the ignored signals: {e}"))?;
        let facts = probe::probe(state_dir, ranges).map_err(|e| format!("cannot look at this host: {e}"))?;
        probe::refuse_weaker(&judge(&facts))?;
        let name = format!("watchbell-{:016x}-{shard}", fingerprint(state_dir));
        let cgroups = Cgroups::open(&name, state_dir, totals, io)?;
        let at = state_dir.join(STASH);
        let cannot = |step: &str, e: &dyn Display| format!("cannot {step}: {e}");
        match fs::create_dir(&at) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(cannot("make the directory for mounts", &e));
            }
            _ => {}
        }
        let stash = Stash::new(&at).map_err(|e| cannot("make a mount namespace", &e))?;
        let ids = IdPool::new(ranges);
        let clocks = Clocks::open().map_err(|e| cannot("find the clocks", &e))?;
        let bare = Bare::new().map_err(|e| cannot("make the mount namespace that tasks begin in", &e))?;
        let command_line = CommandLine::find().map_err(|e| cannot("find the command line", &e))?;
        let landlock = landlock_abi();
        let cloner = Cloner::start(&bare, &Known { views: cgroups.views(), landlock, command_line })
            .map_err(|e| cannot("start the process that clones", &e))?;
        Ok(Host {
            pods: HashMap::new(),
            ahead: Queue::new(),
            cloner: Some(cloner),
            opened: Vec::new(),
            closed: Vec::new(),
            runs: 0,
            ids,
            cgroups,
            memories: Memories::default(),
            without_images: facts.without(Feature::Images),
            stash,
            bare,
            clocks,
            command_line,
            landlock,
            runtimes: Vec::new(),
            profiles: Profiles::default(),
            traces: Default::default(),
        })
    }

    /// Begins a start. On an error nothing of it is left.
    pub(crate) fn begin(&mut self, spec: &RunSpec) -> Result<Begun, Failure> {
        let _modes = ExactModes::begin();
        let uid = spec.pod.uid;
        let runtime = spec.extras.runtime.as_deref().map(|name| self.runtime(name)).transpose()?;
        let waiting = match self.pods.contains_key(&uid) {
            true => None,
            false => self.make_pod(spec)?,
        };
        let begun = match (&runtime, spec.pod.sharing) {
            (None, Sharing::Single) => self.begin_single(spec, waiting),
            _ => self.begin_with_group(runtime.as_ref(), spec),
        };
        match begun {
            Ok(mut begun) => {
                self.runs += 1;
                self.ahead.started(self.runs, plan::Basis::of(spec), Instant::now());
                if let Some(pod) = self.pods.get_mut(&uid) {
                    pod.runs += 1;
                    begun.first_host_id = (!pod.ids.is_host()).then_some(pod.ids.first);
                }
                Ok(begun)
            }
            Err(failure) => {
                self.forget_unused(uid);
                Err(failure)
            }
        }
    }

    /// A start into a control group that has its limits: of a pod that shares namespaces, or by a runtime.
    fn begin_with_group(&mut self, runtime: Option<&OciRuntime>, spec: &RunSpec) -> Result<Begun, Failure> {
        let pod = self.pods.get_mut(&spec.pod.uid).and_then(|pod| pod.cgroup.as_mut());
        let leased = match pod {
            Some(pod) => self.cgroups.lease_in(pod, &spec.limits),
            None => self.cgroups.lease_once(&spec.limits),
        };
        let cgroup = leased.map_err(|e| failed("lease a control group for", &spec.name, &e))?;
        let begun = match runtime {
            None => self.begin_shared(spec, &cgroup),
            Some(runtime) => self.begin_by(runtime, spec, &cgroup),
        };
        match begun {
            Ok(mut begun) => {
                begun.cgroup = Some(cgroup);
                Ok(begun)
            }
            Err(failure) => {
                self.cgroups.give_back(cgroup, Memory::after(spec));
                Err(failure)
            }
        }
    }

    /// The pod's own things, at its first start.
    fn make_pod(&mut self, spec: &RunSpec) -> Result<Option<Waiting>, Failure> {
        let pod = &spec.pod;
        let (mut ids, waiting) =
            self.lease_ids(spec).map_err(|e| failed("lease user ids for", &pod.name, &e))?;
        let made = mounts::volumes(&mut self.stash, &self.memories, &mut ids, pod).and_then(|volumes| {
            let first = ids.first;
            ids.etc(&mut self.stash)
                .and_then(|etc| etc.fill(first, pod))
                .map_err(|e| failed("write /etc files for", &pod.name, &e))?;
            let (shared, cgroup) = match pod.sharing {
                Sharing::Single => (None, None),
                Sharing::Shared => {
                    let shared = share_namespaces(spec, &ids, &self.bare, &self.clocks)
                        .map_err(|e| failed("make the namespaces of", &pod.name, &e))?;
                    let cgroup = self
                        .cgroups
                        .pod(&pod.limits)
                        .map_err(|e| failed("make the control group of", &pod.name, &e))?;
                    (Some(shared), Some(cgroup))
                }
            };
            Ok((volumes, shared, cgroup))
        });
        match made {
            Ok((volumes, shared, cgroup)) => {
                self.opened.extend(pod.egress.is_some().then_some(pod.uid));
                self.pods.insert(
                    pod.uid,
                    Pod { ids, volumes, shared, cgroup, runs: 0, released: false, announced: false },
                );
                Ok(waiting)
            }
            Err(failure) => {
                if let Some(waiting) = waiting {
                    self.cgroups.give_back(waiting.discard(), Memory::Ended);
                }
                self.ids.give_back(ids);
                Err(failure)
            }
        }
    }

    /// Starts a container in the namespaces of its pod.
    fn begin_shared(&mut self, spec: &RunSpec, cgroup: &Cgroup) -> Result<Begun, Failure> {
        let outfit = self.outfit(spec, None)?;
        let profile = self.profile(spec)?;
        let gone = || failed("find", "the pod", &io::ErrorKind::NotFound.into());
        let pod = self.pods.get(&spec.pod.uid).ok_or_else(gone)?;
        let shared = pod.shared.as_ref().ok_or_else(gone)?;
        let (inner, held) = pipes::streams(&pod.ids, spec, self.trace(spec)?)?;
        let (wait, go) = pipe_with(PipeFlags::CLOEXEC)
            .map_err(|e| failed("make the start pipe of", &spec.name, &e.into()))?;
        let ready = Ready { wait: wait.as_fd(), go: &go };
        let task = Task::new(spec, outfit, profile, self.landlock, &inner);
        let (pid, pidfd) = clone_into_pod(task, &inner, shared, &ready, cgroup, &self.bare, spec)
            .map_err(|e| failed("start in the namespaces of the pod of", &spec.name, &e))?;
        // The word to go on. A task that was killed meanwhile does not hear it, and the pidfd tells.
        match rustix::io::write(&go, b"g") {
            Ok(_) | Err(Errno::PIPE) => Ok(held.begun(spec, pid, pidfd)),
            Err(error) => {
                kernel::discard(&pidfd);
                Err(failed("let go", &spec.name, &error.into()))
            }
        }
    }

    /// Where traces are written, and the user who does.
    pub(crate) fn with_traces(mut self, log_dir: &Path, uid: u32) -> Self {
        self.traces = (log_dir.to_owned(), uid);
        self
    }

    /// What notes the system calls of a container that is traced, and the way to it.
    fn trace(&self, spec: &RunSpec) -> Result<Option<(Tracer, OwnedFd)>, Failure> {
        let (log_dir, uid) = &self.traces;
        let start = || Tracer::start(log_dir, *uid, &spec.log.path);
        let started = spec.extras.trace.then(start).transpose();
        started.map_err(|e| failed("start a tracer for", &spec.name, &e))
    }

    /// The container's own filter.
    fn profile(&mut self, spec: &RunSpec) -> Result<Option<Filter>, Failure> {
        let compile = |profile| {
            self.profiles
                .get(profile)
                .map_err(|e| failed("compile the system call filter of", &spec.name, &io::Error::other(e)))
        };
        spec.extras.seccomp.as_deref().map(compile).transpose()
    }

    /// `sys` has the files of the control group in it, where a slot shows them.
    fn outfit(&mut self, spec: &RunSpec, sys: Option<OwnedFd>) -> Result<Outfit, Failure> {
        let Host { pods, stash, cgroups, .. } = self;
        let Some(pod) = pods.get_mut(&spec.pod.uid) else {
            return Err(failed("find", "the pod", &io::ErrorKind::NotFound.into()));
        };
        let fault = |step: &'static str| move |e: io::Error| failed(step, &spec.name, &e);
        let mut volumes = Vec::with_capacity(spec.mounts.len());
        let mut targets: Vec<(PathBuf, Place)> = Vec::with_capacity(spec.mounts.len());
        for mount in &spec.mounts {
            let volume = pod.volumes.get(&mount.volume).ok_or_else(|| {
                failed("find", format!("volume {}", mount.volume), &io::ErrorKind::NotFound.into())
            })?;
            let (clone, place) = volume
                .mount(&pod.ids, mount.sub_path.as_deref(), mount.read_only)
                .map_err(|e| failed("mount", format!("the volume at {}", mount.target), &e))?;
            targets.push((PathBuf::from(&mount.target), place));
            volumes.push((PathBuf::from(&mount.target), clone));
        }
        for mount in &spec.extras.handed.mounts {
            let (target, clone, place) = devices::file(mount)
                .map_err(|e| failed("mount", format!("a device's file {}", mount.source.display()), &e))?;
            targets.push((target.clone(), place));
            volumes.push((target, clone));
        }
        let places = mounts::places(spec, &targets);
        let root = mounts::root(stash, &mut pod.ids, spec, places)?;
        let views = cgroups.views();
        let has_devices = !spec.extras.handed.nodes.is_empty();
        let own_dev = has_devices.then(|| devices::dev(&pod.ids, spec)).transpose();
        let own_dev = own_dev.map_err(fault("make the device nodes of"))?;
        let common = pod.ids.common(stash, views).map_err(fault("make /dev for"))?;
        let null = common.null().map_err(fault("open /dev/null for"))?;
        let dev = own_dev.map_or_else(|| common.dev(), Ok).map_err(fault("clone /dev for"))?;
        let (sys, limits) = match sys {
            Some(sys) => (sys, LimitFiles::InSys),
            None => {
                let sys = common.sys(spec).map_err(fault("clone /sys for"))?;
                (sys, LimitFiles::ToMount(views.to_vec()))
            }
        };
        let shm = Scratch { bytes: spec.pod.shm_bytes.max(4096), inodes: 4096 };
        let shm = mounts::scratch(&pod.ids, shm, 0o1777, None).map_err(fault("mount /dev/shm for"))?;
        let tmp = spec
            .tmp
            .map(|bound| mounts::scratch(&pod.ids, bound, 0o1777, None))
            .transpose()
            .map_err(fault("mount /tmp for"))?;
        places_inside(pod, spec, &targets, tmp.as_ref()).map_err(fault("make the mount points of"))?;
        let etc = pod.ids.etc(stash).and_then(|etc| etc.mounts()).map_err(fault("clone /etc files for"))?;
        Ok(Outfit { root, dev, shm, tmp, etc, sys, limits, volumes, null })
    }

    /// Reads what the status pipe has.
    pub(crate) fn read_status(&mut self, begun: &mut Begun) -> Outcome {
        let outcome = read_report(&begun.status, &mut begun.report);
        let Some(way) = begun.way_out.take_if(|_| matches!(outcome, Outcome::Executed)) else {
            return outcome;
        };
        match terminal::receive(way.as_fd()).and_then(|t| Ok((t.master.try_clone()?, t))) {
            Ok((output, terminal)) => {
                begun.outputs = vec![output];
                begun.terminal = Some(terminal);
                Outcome::Executed
            }
            Err(error) => Outcome::Failed(failed("take the terminal of", begun.id, &error)),
        }
    }

    /// Ends every process of the run. With its first process all of its pid namespace ends; only one in the host's needs
    /// the control group for that, which costs the slot.
    pub(crate) fn kill(&mut self, begun: &mut Begun) {
        self.signal(begun, libc::SIGKILL);
        if let Some(cgroup) = &begun.cgroup
            && !begun.own_pids
            && let Err(error) = cgroup.kill()
        {
            tracing::warn!("cannot kill the control group of {}: {error}", begun.id);
        }
    }

    /// Signals the first process. It may have ended.
    pub(crate) fn signal(&mut self, begun: &Begun, signal: i32) {
        // Its shim is ended at once, and all that the runtime made with it.
        if let Some(by) = begun.by_runtime.as_ref().filter(|_| signal != libc::SIGKILL) {
            if let Err(error) = by.signal(signal) {
                tracing::warn!("cannot signal {}: {error}", begun.id);
            }
            return;
        }
        let Some(signal) = rustix::process::Signal::from_named_raw(signal) else { return };
        match rustix::process::pidfd_send_signal(&begun.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => tracing::warn!("cannot signal {}: {error}", begun.id),
        }
    }

    /// Takes the exit status of the first process, which has ended or was killed.
    pub(crate) fn reap(&mut self, begun: &mut Begun) -> io::Result<ExitStatus> {
        let waited = kernel::wait(&begun.pidfd)?;
        begun.max_rss_bytes = waited.max_rss_bytes;
        let told = begun.by_runtime.as_mut().and_then(ByRuntime::ended);
        Ok(told.unwrap_or(waited.status))
    }

    /// Once the first process was reaped: whether the others are gone too. They are killed until they are; then the
    /// control group is given back, and what the run used is told.
    pub(crate) fn empty(&mut self, begun: &mut Begun) -> Option<(Usage, bool)> {
        let Some(cgroup) = begun.cgroup.take() else { return Some((Usage::default(), false)) };
        match cgroup.is_empty() {
            Ok(true) => {}
            Ok(false) | Err(_) => {
                begun.looks += 1;
                if kills_what_is_left(begun.own_pids, begun.looks)
                    && let Err(error) = cgroup.kill()
                {
                    tracing::warn!("cannot kill the control group of {}: {error}", begun.id);
                }
                begun.cgroup = Some(cgroup);
                return None;
            }
        }
        // A runtime removes the group once its shim has read it.
        let told = begun.by_runtime.as_ref().and_then(ByRuntime::usage);
        begun.max_rss_bytes = told.map_or(begun.max_rss_bytes, |(usage, _)| usage.max_rss_bytes);
        // What it has noted is to be there when the end is told.
        if begun.tracer.as_mut().is_some_and(|tracer| !tracer.is_gone()) {
            begun.cgroup = Some(cgroup);
            return None;
        }
        let (usage, oom_killed) = told.map_or_else(|| cgroup.usage(), Ok).unwrap_or_else(|error| {
            // A runtime that could not start it has removed the group already.
            if begun.by_runtime.is_none() || error.raw_os_error() != Some(libc::ENODEV) {
                tracing::warn!("cannot read what {} used: {error}", begun.id);
            }
            (Usage::default(), false)
        });
        self.cgroups.give_back(cgroup, begun.memory);
        self.runs = self.runs.saturating_sub(1);
        let uid = begun.id.pod_uid;
        if let Some(pod) = self.pods.get_mut(&uid) {
            pod.runs = pod.runs.saturating_sub(1);
            if pod.released {
                self.forget_unused(uid);
            }
        }
        Some((Usage { max_rss_bytes: begun.max_rss_bytes, ..usage }, oom_killed))
    }

    /// Gives back what the pod's containers shared, as soon as none of them runs.
    pub(crate) fn release_pod(&mut self, uid: u128) {
        if let Some(pod) = self.pods.get_mut(&uid) {
            pod.released = true;
        }
        self.forget_unused(uid);
    }

    /// Drops a pod of which nothing runs. One that is not released is made anew by its next start.
    fn forget_unused(&mut self, uid: u128) {
        if self.pods.get(&uid).is_some_and(|pod| pod.runs == 0 && (pod.released || pod.volumes.is_empty()))
            && let Some(pod) = self.pods.remove(&uid)
        {
            let Pod { ids, volumes, shared, cgroup, announced, .. } = pod;
            self.closed.extend(announced.then_some(uid));
            drop((volumes, shared));
            if let Some(cgroup) = cgroup {
                cgroup.destroy();
            }
            self.ids.give_back(ids);
        }
    }
}

/// Volumes may be mounted below /tmp and below one another, and the working directory may lie there: what covers the root's
/// own mount points has to have them too.
fn places_inside(
    pod: &Pod,
    spec: &RunSpec,
    targets: &[(PathBuf, Place)],
    tmp: Option<&OwnedFd>,
) -> io::Result<()> {
    let root = (Some(Uid::from_raw(pod.ids.first)), Some(Gid::from_raw(pod.ids.first)));
    let cwd = (PathBuf::from(&spec.cwd), Place::Directory);
    for (target, place) in targets.iter().chain([&cwd]) {
        let below = |mount: &&Mount| {
            let rest = target.strip_prefix(&mount.target).ok();
            rest.is_some_and(|rest| !rest.as_os_str().is_empty())
        };
        let cover =
            spec.mounts.iter().filter(below).max_by_key(|m| Path::new(&m.target).components().count());
        if let Some(cover) = cover {
            // What is read-only to the task stays as it is.
            let Some(volume) = pod.volumes.get(&cover.volume).filter(|_| !cover.read_only) else { continue };
            let rest = target.strip_prefix(&cover.target).unwrap_or(target);
            let path = Path::new(cover.sub_path.as_deref().unwrap_or("")).join(rest);
            volume.make_place(&pod.ids, &path, *place)?;
        } else if let (Some(tmp), Ok(rest)) = (tmp, target.strip_prefix("/tmp")) {
            mounts::make_place(tmp.as_fd(), root, rest, *place)?;
        }
    }
    Ok(())
}

/// The two ends of the word to go on.
struct Ready<'a> {
    wait: BorrowedFd<'a>,
    go: &'a OwnedFd,
}

impl Ready<'_> {
    /// Waits in the child. `false`: the spawner died.
    fn wait(&self) -> bool {
        // Our copy of the writing end would keep the pipe open for ever.
        // SAFETY: the child never uses `go`, and leaves by exec or exit without dropping it.
        let closed = unsafe {
            use std::os::fd::AsRawFd;
            let fd = self.go.as_raw_fd() as u32;
            kernel::close_range(fd, fd, kernel::Descriptors::Close)
        };
        let mut word = [0u8; 1];
        closed.is_ok() && matches!(rustix::io::read(self.wait, &mut word), Ok(1))
    }
}

/// A process in a pod's namespaces, from its first instruction to exec.
fn child(task: Task<'_>, inner: &Inner, ready: &Ready<'_>) -> ! {
    if !ready.wait() {
        kernel::exit_now(127);
    }
    let steps = plan::task(task.spec);
    let failure = task.run(&steps);
    report(inner.status.as_fd(), &failure)
}

/// Reads what a status pipe has.
fn read_report(status: &OwnedFd, report: &mut Vec<u8>) -> Outcome {
    let mut buffer = [0u8; 4096];
    loop {
        match rustix::io::read(status, &mut buffer) {
            Ok(0) if report.is_empty() => return Outcome::Executed,
            Ok(0) => {
                return match postcard::from_bytes(report) {
                    Ok(failure) => Outcome::Failed(failure),
                    Err(_) => Outcome::Gone,
                };
            }
            Ok(read) => {
                // Nothing of the container's runs while the pipe is open, but bounds cost nothing.
                let room = REPORT_BYTES_MAX.saturating_sub(report.len());
                report.extend_from_slice(&buffer[..read.min(room)]);
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Outcome::Waiting,
            Err(_) => return Outcome::Gone,
        }
    }
}

fn report(status: BorrowedFd<'_>, failure: &Failure) -> ! {
    let mut failure = failure.clone();
    let mut end = failure.message.len().min(REPORT_BYTES_MAX / 2);
    while !failure.message.is_char_boundary(end) {
        end -= 1;
    }
    failure.message.truncate(end);
    if let Ok(bytes) = postcard::to_allocvec(&failure) {
        // Nobody is left to be told when this fails; the exit code says that something did.
        let _ = rustix::io::write(status, &bytes);
    }
    kernel::exit_now(127)
}

/// What a process gets from outside before it may go on.
fn settle(pid: u32, spec: &RunSpec) -> io::Result<()> {
    let path = format!("/proc/{pid}/oom_score_adj");
    fs::write(&path, spec.oom_score_adj.to_string())
        .map_err(|e| io::Error::new(e.kind(), format!("cannot write {} to {path}: {e}", spec.oom_score_adj)))
}

/// Starts a process in namespaces that exist: a helper joins them and clones the task, which becomes the spawner's own
/// child. The helper is gone before this returns, so it is under no limit of the container's: the spawner would wait for it as
/// long as they do.
fn clone_into_pod(
    task: Task<'_>,
    inner: &Inner,
    shared: &SharedNamespaces,
    ready: &Ready<'_>,
    cgroup: &Cgroup,
    bare: &Bare,
    spec: &RunSpec,
) -> io::Result<(u32, OwnedFd)> {
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
    let (wait, go) = pipe_with(PipeFlags::CLOEXEC)?;
    let helper_ready = Ready { wait: wait.as_fd(), go: &go };
    // SAFETY: the spawner has one thread.
    match unsafe { clone_charged_to(None, Some(bare), None, 0, None) }? {
        Cloned::Child => {
            if !helper_ready.wait() {
                kernel::exit_now(127);
            }
            if let Err(error) = identity::hide_memory() {
                report(inner.status.as_fd(), &failed("hide the memory of", &spec.name, &error));
            }
            let own_pids = !spec.pod.host_namespaces.pid;
            let joined = task::join(shared).and_then(|()| {
                if own_pids { kernel::unshare(rustix::thread::UnshareFlags::NEWPID) } else { Ok(()) }
            });
            let cloned = joined.and_then(|()| {
                // SAFETY: this copy of the spawner has one thread too.
                unsafe { kernel::clone3(libc::CLONE_PARENT as u64, cgroup.clone_into()) }
            });
            match cloned {
                Ok(Cloned::Child) => {
                    // Before anything else: a move waits for every fork and exit on the machine, and so keeps this start waiting
                    // and no other.
                    if let Err(error) = cgroup.join() {
                        let failure = failed("join the control group of", &spec.name, &error);
                        report(inner.status.as_fd(), &failure)
                    }
                    child(task, inner, ready)
                }
                Ok(Cloned::Parent { pid, .. }) => {
                    let _ = rustix::io::write(&tell, &pid.to_ne_bytes());
                    kernel::exit_now(0)
                }
                Err(error) => {
                    let failure = failed("join the namespaces of", &spec.pod.name, &error);
                    report(inner.status.as_fd(), &failure)
                }
            }
        }
        Cloned::Parent { pid, pidfd } => {
            drop(tell);
            if let Err(error) = settle(pid, spec) {
                kernel::discard(&pidfd);
                return Err(error);
            }
            rustix::io::write(&go, b"g")?;
            let mut bytes = [0u8; 4];
            let read = rustix::io::read(&told, &mut bytes);
            // It ends by itself; this reaps it.
            let _ = rustix::process::waitid(
                rustix::process::WaitId::PidFd(pidfd.as_fd()),
                rustix::process::WaitIdOptions::EXITED,
            );
            if !matches!(read, Ok(4)) {
                return Err(io::Error::other("the helper could not join the pod's namespaces"));
            }
            let pid = u32::from_ne_bytes(bytes);
            let child = rustix::process::Pid::from_raw(pid.cast_signed())
                .ok_or_else(|| io::Error::other("the helper told no process"))?;
            // It is our child and not reaped, so the number is still its.
            let pidfd = rustix::process::pidfd_open(child, rustix::process::PidfdFlags::empty())?;
            Ok((pid, pidfd))
        }
    }
}

/// Takes the status of a child that is no container.
pub(crate) fn reap(pidfd: &OwnedFd) -> io::Result<ExitStatus> {
    Ok(kernel::wait(pidfd)?.status)
}

/// FNV-1a of the state directory: names its control groups, so that two data directories never meet.
fn fingerprint(path: &Path) -> u64 {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
