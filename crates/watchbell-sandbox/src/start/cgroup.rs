//! Control groups on version 1, version 2 and both at once.
//!
//! ```text
//!   <spawner's own group>/watchbell-<id of the state directory>/     one subtree, in every hierarchy that is used; its
//!        │                                                           own limits hold for all tasks together
//!        ├─ slot-0, slot-1, …      one run at a time; pooled, because making and removing them costs more than a start
//!        └─ pod-<n>/c-<m>          a pod whose containers share its limits
//! ```
//!
//! Where there is a unified tree it tracks (clone into it, `cgroup.kill`, `cgroup.events`), also on a hybrid host whose
//! controllers are on version 1. Without one the freezer does.

mod above;
mod disk;
mod layout;
mod limits;
mod past;
mod probe;
mod shown;

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::stash::Stash;
use crate::{CgroupLimits, RunSpec, Totals, Upper, Usage, VolumeSource};
pub(crate) use above::limits_above;
pub(crate) use disk::Io;
pub(super) use layout::View;
use layout::{Controller, Layout};
use limits::Applied;
pub(super) use limits::{DEFAULT_PERIOD_US, DEFAULT_WEIGHT, shares};
pub(super) use probe::Probed;
use shown::Shown;

// Names of files, as the kernel has them.
const PROCS: &str = "cgroup.procs";
const KILL: &str = "cgroup.kill";
const EVENTS: &str = "cgroup.events";
const FREEZER_STATE: &str = "freezer.state";

/// How long what a dead spawner left may take to end once it was killed.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(10);
/// Slots that are kept while nobody uses them.
const IDLE_SLOTS_MAX: usize = 256;

/// The spawner's subtree.
pub(super) struct Cgroups {
    layout: Layout,
    /// What each run may read and write.
    io: Option<Io>,
    idle: Vec<Cgroup>,
    next_slot: u32,
    next_pod: u32,
}

/// One control group, in every hierarchy that is used. Leased to one run at a time.
pub(crate) struct Cgroup {
    members: Vec<Member>,
    unified: Option<Unified>,
    applied: Applied,
    /// Counters when it was leased.
    oom_before: u64,
    cpu_before: u64,
    is_slot: bool,
    /// Below the subtree.
    name: String,
    /// Where an OCI runtime may make a group of this name too.
    elsewhere: Vec<PathBuf>,
    /// Its files as tasks see them, once one did.
    shown: Option<Shown>,
    /// Never leased again. Linux counts the kills of a group, and takes a clone into one that was ever killed for a fork that
    /// raced with the kill (kill_seq, seen on 6.18): the new process dies at once.
    killed: Cell<bool>,
}

/// What a run leaves in its group once its last process is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// What it wrote went with it; at most cached files are left, which make room by themselves.
    Ended,
    /// What it wrote to memory that the pod keeps (a tmpfs volume, the host's IPC) stays charged to the group until it goes.
    /// The next run must not pay for it.
    MayStay,
}

impl Memory {
    pub(super) fn after(spec: &RunSpec) -> Self {
        let keeps = |volume: u16| {
            let found = spec.pod.volumes.iter().find(|v| v.id == volume);
            found.is_some_and(|v| match &v.source {
                VolumeSource::Tmpfs { .. } | VolumeSource::HostPath { .. } => true,
                source => matches!(source.layer(), Some(Some(Upper::Memory(_)))),
            })
        };
        let writes = spec.mounts.iter().any(|mount| !mount.read_only && keeps(mount.volume));
        if writes || spec.pod.host_namespaces.ipc { Self::MayStay } else { Self::Ended }
    }
}

/// The group in one hierarchy of version 1.
struct Member {
    controller: Controller,
    path: PathBuf,
    procs: File,
    /// What is read at the end of each run.
    counter: Option<File>,
}

/// The group in the unified hierarchy.
struct Unified {
    path: PathBuf,
    dir: File,
    events: File,
    kill: File,
    /// With controllers (pure version 2).
    counters: Option<(File, File)>,
}

impl Cgroups {
    /// Finds the hierarchies, ends what a spawner before left in this subtree, wherever it lay, and makes the subtree anew.
    pub(super) fn open(name: &str, state_dir: &Path, totals: Totals, io: Option<Io>) -> Result<Self, String> {
        let mut layout = Layout::find(name)?;
        if io.is_some() {
            layout.limit_io();
        }
        let cannot = |step: &str, e: io::Error| {
            format!("cannot {step} where tasks were in {}: {e}", state_dir.display())
        };
        let past = past::read(state_dir, name).map_err(|e| cannot("read", e))?;
        for base in layout.bases().into_iter().chain(past.iter().map(PathBuf::as_path)) {
            end_leftovers(base).map_err(|e| format!("cannot end what is left in {}: {e}", base.display()))?;
        }
        past::write(state_dir, &layout.bases()).map_err(|e| cannot("note", e))?;
        layout.make()?;
        let made = Self { layout, io, idle: Vec::new(), next_slot: 0, next_pod: 0 };
        above::check_swap(&made.layout)?;
        above::bound(&made.layout, totals)?;
        Ok(made)
    }

    /// The hierarchies that tasks are shown.
    pub(super) fn views(&self) -> &[View] {
        &self.layout.views
    }

    /// A group for one run, whose limits are set before anything of the run is in it but what waits for them.
    pub(super) fn lease(&mut self) -> io::Result<Cgroup> {
        match self.idle.pop() {
            Some(group) => Ok(group),
            None => self.lease_new(),
        }
    }

    /// One that no run had before.
    pub(super) fn lease_new(&mut self) -> io::Result<Cgroup> {
        let name = format!("slot-{}", self.next_slot);
        self.next_slot += 1;
        self.make(&name, true)
    }

    /// Sets the limits of a leased group. What is used counts for the run from then on.
    pub(super) fn limit(&self, group: &mut Cgroup, limits: &CgroupLimits) -> io::Result<()> {
        let begun = group.begin(&self.layout, limits);
        if begun.is_err() {
            // What it has now is not known.
            group.killed.set(true);
        }
        begun
    }

    /// A group for one run that an OCI runtime starts. It is never used again: the runtime may have removed it.
    pub(super) fn lease_once(&mut self, limits: &CgroupLimits) -> io::Result<Cgroup> {
        let name = format!("oci-{}", self.next_slot);
        self.next_slot += 1;
        let mut group = self.make(&name, false)?;
        if let Err(error) = group.begin(&self.layout, limits) {
            group.destroy();
            return Err(error);
        }
        Ok(group)
    }

    /// Our subtree in each hierarchy that an OCI runtime needs, by its place below /sys/fs/cgroup.
    pub(super) fn subtrees(&self) -> &[(String, PathBuf)] {
        &self.layout.subtrees
    }

    /// Whether the unified tree only tracks, so that a process in it is under no limit for that.
    pub(super) fn tracks_only(&self) -> bool {
        !self.layout.is_pure_v2()
    }

    /// Whether one process that is killed for want of memory takes the others of its group along.
    pub(super) fn kills_whole_groups(&self) -> bool {
        self.layout.is_pure_v2()
    }

    /// A group that holds those of a pod's containers.
    pub(super) fn pod(&mut self, limits: &CgroupLimits) -> io::Result<PodCgroup> {
        let name = format!("pod-{}", self.next_pod);
        self.next_pod += 1;
        let mut group = self.make(&name, false)?;
        if let Err(error) = self.layout.delegate(&name).and_then(|()| group.begin(&self.layout, limits)) {
            group.destroy();
            return Err(error);
        }
        Ok(PodCgroup { name, group, next: 0 })
    }

    /// A group inside a pod's.
    pub(super) fn lease_in(&mut self, pod: &mut PodCgroup, limits: &CgroupLimits) -> io::Result<Cgroup> {
        let name = format!("{}/c-{}", pod.name, pod.next);
        pod.next += 1;
        let mut group = self.make(&name, false)?;
        if let Err(error) = group.begin(&self.layout, limits) {
            group.destroy();
            return Err(error);
        }
        Ok(group)
    }

    /// Takes a group back whose last process is gone. One that cannot be trusted any more is removed.
    pub(super) fn give_back(&mut self, group: Cgroup, memory: Memory) {
        let trusted = group.is_slot && !group.killed.get() && memory == Memory::Ended;
        if trusted && self.idle.len() < IDLE_SLOTS_MAX && group.is_empty().unwrap_or(false) {
            self.idle.push(group);
        } else {
            group.destroy();
        }
    }

    fn make(&self, name: &str, is_slot: bool) -> io::Result<Cgroup> {
        let mut made: Vec<PathBuf> = Vec::new();
        match self.make_each(name, is_slot, &mut made) {
            Ok(group) => Ok(group),
            Err(error) => {
                for path in made {
                    remove(&path);
                }
                Err(error)
            }
        }
    }

    fn make_each(&self, name: &str, is_slot: bool, made: &mut Vec<PathBuf>) -> io::Result<Cgroup> {
        let mut create = |base: &Path| -> io::Result<PathBuf> {
            let path = base.join(name);
            match fs::create_dir(&path) {
                Ok(()) => made.push(path.clone()),
                // Hierarchies may be mounted together.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(named(&path, e)),
            }
            Ok(path)
        };
        let mut members: Vec<Member> = Vec::new();
        for (controller, base) in &self.layout.v1 {
            let path = create(base)?;
            let procs = open_to_write(&path.join(PROCS))?;
            let counter = match controller {
                Controller::Memory => Some(open_to_read(&path.join("memory.oom_control"))?),
                Controller::CpuAcct => Some(open_to_read(&path.join("cpuacct.usage"))?),
                Controller::Io => {
                    self.io.map_or(Ok(()), |io| io.write_v1(&path))?;
                    None
                }
                Controller::Cpu | Controller::Pids | Controller::Freezer => None,
            };
            members.push(Member { controller: *controller, path, procs, counter });
        }
        let unified = match &self.layout.unified {
            Some(base) => {
                let path = create(base)?;
                let counters = if self.layout.is_pure_v2() {
                    self.io.map_or(Ok(()), |io| io.write_v2(&path))?;
                    Some((open_to_read(&path.join("memory.events"))?, open_to_read(&path.join("cpu.stat"))?))
                } else {
                    None
                };
                Some(Unified {
                    dir: open_to_read(&path)?,
                    events: open_to_read(&path.join(EVENTS))?,
                    kill: open_to_write(&path.join(KILL))?,
                    counters,
                    path,
                })
            }
            None => None,
        };
        Ok(Cgroup {
            members,
            unified,
            applied: Applied::default(),
            oom_before: 0,
            cpu_before: 0,
            is_slot,
            name: name.to_owned(),
            elsewhere: if is_slot {
                Vec::new()
            } else {
                self.layout.others.iter().map(|base| base.join(name)).collect()
            },
            shown: None,
            killed: Cell::new(false),
        })
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for group in self.idle.drain(..) {
            group.destroy();
        }
        for base in self.layout.bases() {
            remove(base);
        }
    }
}

/// The group over a pod's containers.
pub(super) struct PodCgroup {
    name: String,
    group: Cgroup,
    next: u32,
}

impl PodCgroup {
    /// Its containers' groups are gone.
    pub(super) fn destroy(self) {
        self.group.destroy();
    }
}

impl Cgroup {
    fn begin(&mut self, layout: &Layout, limits: &CgroupLimits) -> io::Result<()> {
        self.applied.apply(limits, layout.is_pure_v2(), &self.directories())?;
        (self.oom_before, self.cpu_before) = self.counters()?;
        Ok(())
    }

    fn directories(&self) -> Vec<(Controller, PathBuf)> {
        match &self.unified {
            Some(Unified { path, counters: Some(_), .. }) => {
                [Controller::Memory, Controller::Cpu, Controller::Pids].map(|c| (c, path.clone())).into()
            }
            _ => self.members.iter().map(|m| (m.controller, m.path.clone())).collect(),
        }
    }

    /// A /sys that has this group's files; with `sysfs` its /sys/fs/cgroup alone. `None`: this is no slot, and mounts for one run are
    /// the task's own affair.
    pub(super) fn show(
        &mut self,
        stash: &mut Stash,
        views: &[View],
        is_below_sysfs: bool,
    ) -> io::Result<Option<OwnedFd>> {
        if self.is_slot && self.shown.is_none() {
            let each = views.iter().map(|view| Some((view, self.shown_at(view)?)));
            let Some(each) = each.collect::<Option<Vec<_>>>() else { return Ok(None) };
            self.shown = Some(Shown::new(stash, &each)?);
        }
        self.shown.as_ref().map(|shown| shown.sys(is_below_sysfs)).transpose()
    }

    fn shown_at(&self, view: &View) -> Option<&Path> {
        if view.flags.is_empty() {
            return self.unified.as_ref().map(|unified| unified.path.as_path());
        }
        let is_shown = |member: &&Member| view.flags.contains(&member.controller.name());
        self.members.iter().find(is_shown).map(|member| member.path.as_path())
    }

    /// What clone3 takes to start a process in the group, where the kernel can.
    pub(super) fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(|u| u.dir.as_fd())
    }

    /// Its path below our subtree.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The descriptors that [`Cgroup::usage`] reads.
    pub(super) fn counter_fds(&self) -> Vec<BorrowedFd<'_>> {
        let of_v2 = self.unified.iter().filter_map(|u| u.counters.as_ref()).flat_map(|(a, b)| [a, b]);
        self.members.iter().filter_map(|m| m.counter.as_ref()).chain(of_v2).map(AsFd::as_fd).collect()
    }

    /// By what a process enters each hierarchy that clone3 does not know, once where several are one.
    pub(super) fn doors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let seen = |n: usize, path: &Path| self.members[..n].iter().any(|other| other.path == path);
        let each = self.members.iter().enumerate().filter(move |(n, member)| !seen(*n, &member.path));
        each.map(|(_, member)| member.procs.as_fd())
    }

    /// Moves the calling process into the hierarchies that clone3 does not know.
    pub(super) fn join(&self) -> io::Result<()> {
        let shown = self.members.first().map_or(Path::new("/"), |member| &member.path);
        enter_by(self.doors()).map_err(|e| named(shown, e))
    }

    /// Ends every process in it.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.killed.set(true);
        if let Some(unified) = &self.unified {
            return (&unified.kill).write_all(b"1").map_err(|e| named(&unified.path.join(KILL), e));
        }
        self.members
            .iter()
            .find(|m| m.controller == Controller::Freezer)
            .map_or(Ok(()), |m| freeze_and_kill(&m.path))
    }

    /// Whether no process is in it.
    pub(super) fn is_empty(&self) -> io::Result<bool> {
        if let Some(unified) = &self.unified {
            return match read_at(&unified.events) {
                Ok(events) => Ok(events.contains("populated 0")),
                // A runtime removed it, which the kernel lets nobody do while there is a process in it.
                Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(true),
                Err(e) => Err(e),
            };
        }
        match self.members.first() {
            Some(member) => match fs::read_to_string(member.path.join(PROCS)) {
                Ok(procs) => Ok(procs.trim().is_empty()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
                Err(e) => Err(e),
            },
            None => Ok(true),
        }
    }

    /// What the run used, and whether the kernel killed a process of it for want of memory.
    pub(super) fn usage(&self) -> io::Result<(Usage, bool)> {
        let (oom, cpu) = self.counters()?;
        let usage = Usage { cpu_ns: cpu.saturating_sub(self.cpu_before), ..Usage::default() };
        Ok((usage, oom > self.oom_before))
    }

    /// Whether the kernel has killed a process of the run for want of memory, and would leave it at that: version 1 knows no kill of
    /// the whole group.
    pub(super) fn has_lost_some(&self) -> bool {
        let memory = self.members.iter().find(|member| member.controller == Controller::Memory);
        let counted = memory.and_then(|member| read_at(member.counter.as_ref()?).ok());
        counted.is_some_and(|text| field(&text, "oom_kill") > self.oom_before)
    }

    /// Processes killed for want of memory, and nanoseconds of CPU, since the group was made.
    fn counters(&self) -> io::Result<(u64, u64)> {
        if let Some(Unified { counters: Some((memory, cpu)), .. }) = &self.unified {
            let oom = field(&read_at(memory)?, "oom_kill");
            return Ok((oom, field(&read_at(cpu)?, "usage_usec") * 1000));
        }
        let (mut oom, mut cpu) = (0, 0);
        for member in &self.members {
            match (member.controller, &member.counter) {
                (Controller::Memory, Some(file)) => oom = field(&read_at(file)?, "oom_kill"),
                (Controller::CpuAcct, Some(file)) => cpu = read_at(file)?.trim().parse().unwrap_or(0),
                _ => {}
            }
        }
        Ok((oom, cpu))
    }

    /// Removes it everywhere.
    pub(super) fn destroy(self) {
        let mut paths: Vec<PathBuf> = self.members.iter().map(|m| m.path.clone()).collect();
        paths.extend(self.unified.as_ref().map(|u| u.path.clone()));
        paths.extend(self.elsewhere.clone());
        // Its open files would not stand against the removal; they go first all the same.
        drop(self);
        for path in paths {
            remove(&path);
        }
    }
}

/// Moves the calling process. The rights to do so are those of who opened the doors.
pub(super) fn enter_by<'a>(doors: impl IntoIterator<Item = BorrowedFd<'a>>) -> io::Result<()> {
    for door in doors {
        rustix::io::write(door, b"0")?;
    }
    Ok(())
}

/// `key value`, a line each.
fn field(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(k, _)| *k == key)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

fn read_at(file: &File) -> io::Result<String> {
    let mut buffer = [0u8; 2048];
    let length = file.read_at(&mut buffer, 0)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn put(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    let path = dir.join(file);
    fs::write(&path, value).map_err(|e| named(&path, e))
}

fn open_to_write(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path).map_err(|e| named(path, e))
}

fn open_to_read(path: &Path) -> io::Result<File> {
    File::open(path).map_err(|e| named(path, e))
}

fn remove(path: &Path) {
    match fs::remove_dir(path) {
        Ok(()) => {}
        // Several hierarchies may be one mount.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => tracing::warn!("cannot remove the control group {}: {e}", path.display()),
    }
}

fn freeze_and_kill(dir: &Path) -> io::Result<()> {
    fs::write(dir.join(FREEZER_STATE), "FROZEN")?;
    let killed = kill_each(dir);
    fs::write(dir.join(FREEZER_STATE), "THAWED")?;
    killed
}

fn kill_each(dir: &Path) -> io::Result<()> {
    for line in fs::read_to_string(dir.join(PROCS))?.lines() {
        let Some(pid) = line.parse().ok().and_then(rustix::process::Pid::from_raw) else { continue };
        match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Kills what runs in `base` and below, and removes the directories. Nothing happens where there is none.
fn end_leftovers(base: &Path) -> io::Result<()> {
    if !base.exists() {
        return Ok(());
    }
    let begun = Instant::now();
    loop {
        let dirs = tree(base)?;
        if base.join(KILL).exists() {
            fs::write(base.join(KILL), "1")?;
        } else {
            for dir in &dirs {
                if dir.join(FREEZER_STATE).exists() { freeze_and_kill(dir)? } else { kill_each(dir)? }
            }
        }
        // Children first.
        if dirs.iter().rev().all(|dir| fs::remove_dir(dir).is_ok()) {
            return Ok(());
        }
        if begun.elapsed() > LEFTOVER_PATIENCE {
            let message = "its processes do not end; a file system that hangs may hold them";
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        // The kernel has no call that waits for a version 1 group to become empty.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A directory and all below it, parents first.
fn tree(base: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![base.to_owned()];
    let mut at = 0;
    while at < found.len() {
        for entry in fs::read_dir(&found[at])? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                found.push(entry.path());
            }
        }
        at += 1;
    }
    Ok(found)
}

fn read_all(path: &str) -> Result<String, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .map_err(|e| format!("cannot read {path}: {e}"))?;
    Ok(text)
}
