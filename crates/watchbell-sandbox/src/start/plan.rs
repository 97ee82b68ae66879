//! The steps of a start, in order, as data: pure, so that they can be printed and reviewed before anything runs.
//!
//! The task carries out its part by walking this very list ([`super::task`]): what is printed is what is done. `watchbell
//! explain sandbox` prints it, [`Step::closes`] says what each step is for, [`Step::attacks`] which rows of docs/attacks.md.
//!
//! Why in this order:
//!
//! - *Ids first*: all that is made for a pod belongs to its range, or is mounted through it.
//! - *Control group and clocks before the clone*: the first instruction is counted, and only what is cloned gets new clocks.
//! - *Its memory closed to others before anything else*: it is a copy of what cloned it, until exec.
//! - *User and pid namespace by the clone itself*, and root inside before any other namespace is left: those then belong to the
//!   user namespace, so a right over them is none over the host.
//! - *The host's mounts before the task*: they are gone by pivot_root before anything of it is known. What stays below its root is
//!   a read-only file system of its own, with nothing in it but what covers are made of. /proc and /sys are made before, because the kernel lets a user namespace have its
//!   own only where it can see others. Of /dev, what is the kernel's is made there too, so that nobody waits for it.
//! - */proc before its covers, both before the task*: nobody else sees them yet. Covered, it is moved into the root as one.
//! - *The root before what lies in it*, and everything by a descriptor of the root.
//! - *Volumes last of the mounts*, outer ones before those inside: what a task left in one is met by the resolution within the
//!   root alone, and covers nothing that was checked before.
//! - *A session before its terminal, both before the descriptors are closed*: the terminal comes from the container's own devpts.
//! - *Descriptors closed before the working directory is entered* (CVE-2024-21626).
//! - *The bounding set before the user*, who could not lower it; *the death signal after*, as a change of user clears it.
//! - *No-new-privileges before the filter*, which would need a capability without; the filter before the capabilities go, because
//!   where the former is not set it needs one; a profile of the container's own last, so that it need not allow what a start does.
//! - *The program by the task's own rights*, with nothing of the start left but the closing status pipe.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Capabilities, HostNamespaces, ProcMount, RunSpec, Seccomp, Sharing, Sys, Upper, VolumeSource};

use super::landlock::Scope;

mod attacks;
#[cfg(test)]
pub(super) mod tests;

/// One step of a start. Those of a process that waits cross to it with its task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    // --- the spawner ---
    LeaseIds,
    LeaseControlGroup,
    MakeVolumes(usize),
    LayVolume { bytes: Option<u64>, on_disk: bool, read_only: bool },
    MountRoot { layers: usize, read_only: bool },
    SetLimits,
    BeginClocks { shared: bool },
    OpenDoor,
    HandOutDevices { names: Vec<String>, nodes: usize },
    Clone { user: bool, pid: bool },
    // --- the task, in its own user and pid namespaces and in its control group; up to here it may be made ahead ---
    HideMemory,
    BecomeRootInside,
    LeaveNamespaces { net: bool, ipc: bool, shared: bool },
    LoopbackUp,
    LeaveHostMounts { sysfs: Sysfs, queues: bool },
    MaskProc,
    TakeTask,
    // --- the task that is known ---
    SetHostname,
    AttachRoot,
    MountProc,
    MountSys { read_only: bool },
    HideSys,
    ShowLimits,
    MountDev,
    MountPts,
    MountShm,
    MountQueues,
    MountTmp,
    MountEtc,
    MountVolume(String),
    MountDeviceFile(String),
    EnterRoot,
    RestrictFiles(Scope),
    // --- a process that enters a container which runs ---
    CloneIntoControlGroup,
    HideFromPeers,
    EnterNamespaces(Vec<Namespace>),
    CloneInside,
    // --- both, from here on as the container's own ---
    NewSession,
    OpenTerminal,
    NewKeyring,
    Limits,
    CloseDescriptors,
    EnterDirectory(String),
    DropBoundingSet(Capabilities),
    BecomeUser { uid: u32, gid: u32 },
    DieWithSpawner,
    NoNewPrivileges,
    Filter,
    FilterFurther,
    Trace,
    DropCapabilities(Capabilities),
    Execute(String),
}

/// Which sysfs a container has at /sys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Sysfs {
    #[default]
    None,
    ReadOnly,
    /// Of a privileged one.
    Writable,
}

impl Sysfs {
    pub(super) fn of(spec: &RunSpec) -> Self {
        match (spec.privileged, spec.sys) {
            (true, _) => Sysfs::Writable,
            (false, Sys::ReadOnly) => Sysfs::ReadOnly,
            (false, Sys::None) => Sysfs::None,
        }
    }
}

/// What has to be known of a task before its process is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Basis {
    pub(super) host: HostNamespaces,
    pub(super) sysfs: Sysfs,
    /// Whether parts of its /proc are covered.
    pub(super) masks_proc: bool,
}

impl Basis {
    pub(super) fn of(spec: &RunSpec) -> Self {
        Self {
            host: spec.pod.host_namespaces,
            sysfs: Sysfs::of(spec),
            masks_proc: spec.proc_mount == ProcMount::Default && !spec.privileged,
        }
    }
}

/// A kind of namespace that a container has of its own, or its pod's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    User,
    Mount,
    Pid,
    Cgroup,
    Uts,
    Ipc,
    Network,
    Time,
}

/// The steps that start this container. A process that shares no namespaces begins before it knows what it will run: the same
/// steps in the same order, whether it was asked for by then or made ahead.
pub fn plan(spec: &RunSpec) -> Vec<Step> {
    let host = spec.pod.host_namespaces;
    let shared = spec.pod.sharing == Sharing::Shared;
    let mut outfit = vec![Step::MakeVolumes(spec.pod.volumes.len())];
    outfit.extend(spec.pod.volumes.iter().filter_map(|volume| layered(&volume.source)));
    outfit.push(Step::MountRoot { layers: spec.root.layers.len(), read_only: spec.root.read_only });
    if !spec.extras.devices.is_empty() {
        let (names, nodes) = (spec.extras.devices.clone(), spec.extras.handed.nodes.len());
        outfit.push(Step::HandOutDevices { names, nodes });
    }
    outfit.push(Step::SetLimits);
    let mut steps = vec![Step::LeaseIds, Step::LeaseControlGroup];
    if shared {
        steps.extend(outfit.clone());
    }
    if has_clocks(host) {
        steps.push(Step::BeginClocks { shared });
    }
    if spec.pod.egress.is_some() {
        steps.push(Step::OpenDoor);
    }
    steps.push(Step::Clone { user: !host.users, pid: !host.pid });
    if shared {
        steps.extend(task(spec));
    } else {
        steps.extend(before_the_task(Basis::of(spec)));
        steps.extend(outfit);
        steps.push(Step::TakeTask);
        steps.extend(of_the_task(spec));
    }
    steps
}

fn layered(source: &VolumeSource) -> Option<Step> {
    let upper = source.layer()?;
    let bytes = match upper {
        Some(Upper::Memory(bound) | Upper::Image { bound, .. }) => Some(bound.bytes),
        Some(Upper::Disk { .. }) | None => None,
    };
    let on_disk = matches!(upper, Some(Upper::Image { .. }));
    Some(Step::LayVolume { bytes, on_disk, read_only: upper.is_none() })
}

/// Whether the pod has clocks of its own. Who sees the host's processes needs the host's, or the times at which those
/// began would lie in the future.
pub(super) fn has_clocks(host: HostNamespaces) -> bool {
    !host.pid
}

/// The part of a process that is cloned when its task is known, into namespaces that are there.
pub(super) fn task(spec: &RunSpec) -> Vec<Step> {
    let mut steps = before(Basis::of(spec), true);
    steps.extend(of_the_task(spec));
    steps
}

/// What a process does that will be a container by itself: nothing here depends on which.
pub(super) fn before_the_task(basis: Basis) -> Vec<Step> {
    before(basis, false)
}

fn before(basis: Basis, shared: bool) -> Vec<Step> {
    let Basis { host, sysfs, masks_proc } = basis;
    let mut steps = Vec::with_capacity(if shared { 32 } else { 6 });
    steps.push(Step::HideMemory);
    if !host.users {
        steps.push(Step::BecomeRootInside);
    }
    steps.push(Step::LeaveNamespaces { net: !host.network, ipc: !host.ipc, shared });
    if !host.network && !shared {
        steps.push(Step::LoopbackUp);
    }
    steps.push(Step::LeaveHostMounts { sysfs, queues: has_queues(host) });
    if masks_proc {
        steps.push(Step::MaskProc);
    }
    steps
}

/// The host's queues are the host's root's to mount.
fn has_queues(host: HostNamespaces) -> bool {
    !host.ipc || host.users
}

/// What the task does once it is known, in its namespaces.
pub(super) fn of_the_task(spec: &RunSpec) -> Vec<Step> {
    let mut steps = Vec::with_capacity(32);
    if spec.pod.sharing == Sharing::Single && !spec.pod.host_namespaces.network {
        steps.push(Step::SetHostname);
    }
    steps.extend([Step::AttachRoot, Step::MountProc]);
    steps.push(match Sysfs::of(spec) {
        Sysfs::None => Step::HideSys,
        sysfs => Step::MountSys { read_only: sysfs == Sysfs::ReadOnly },
    });
    steps.push(Step::ShowLimits);
    steps.extend([Step::MountDev, Step::MountPts, Step::MountShm]);
    if has_queues(spec.pod.host_namespaces) {
        steps.push(Step::MountQueues);
    }
    if spec.tmp.is_some() {
        steps.push(Step::MountTmp);
    }
    steps.push(Step::MountEtc);
    let volumes = spec.mounts.iter().map(|m| (m.target.as_str(), Step::MountVolume(m.target.clone())));
    let files = spec.extras.handed.mounts.iter();
    let files = files.map(|m| (m.target.as_str(), Step::MountDeviceFile(m.target.clone())));
    let mut mounts: Vec<(&str, Step)> = volumes.chain(files).collect();
    // A mount inside another comes after it.
    mounts.sort_by_key(|(target, _)| (target.matches('/').count(), *target));
    steps.extend(mounts.into_iter().map(|(_, step)| step));
    steps.extend([Step::EnterRoot, Step::NewSession]);
    if spec.interaction.tty {
        steps.push(Step::OpenTerminal);
    }
    // Needs a descriptor, of which there may be none within the limits before the spawner's are closed.
    steps.extend(restriction(spec).map(Step::RestrictFiles));
    steps.extend([Step::NewKeyring, Step::Limits, Step::CloseDescriptors]);
    become_container(spec, Who::First, &mut steps);
    steps
}

/// Where Landlock's rules apply. They forbid mounts, so a container that was allowed to go without the filter, as nested
/// containers must, goes without them too. A process that enters later has none: under rules of its own it could not look at
/// the very processes it was started to look at (/proc/1/fd), nor signal them.
fn restriction(spec: &RunSpec) -> Option<Scope> {
    let host = spec.pod.host_namespaces;
    let shared = spec.pod.sharing == crate::Sharing::Shared;
    (spec.seccomp != Seccomp::Unconfined && !spec.privileged).then_some(Scope {
        // Of a network that is the pod's own, these are sockets of its other containers.
        abstract_sockets: host.network || !shared,
        // Who asked for the host's processes may signal them, as far as ids and capabilities go.
        signals: !host.pid,
    })
}

/// The steps that start one more process in a container which runs, with the spec's command.
pub fn plan_entry(spec: &RunSpec, tty: bool) -> Vec<Step> {
    let mut steps = vec![Step::CloneIntoControlGroup];
    steps.extend(entry_helper(spec));
    steps.extend(entry_process(spec, tty));
    steps
}

/// What is done before anybody in the container can see the process.
pub(super) fn entry_helper(spec: &RunSpec) -> Vec<Step> {
    vec![
        Step::HideFromPeers,
        Step::CloseDescriptors,
        Step::EnterNamespaces(own_namespaces(spec)),
        Step::CloneInside,
    ]
}

/// What the process itself does, inside.
pub(super) fn entry_process(spec: &RunSpec, tty: bool) -> Vec<Step> {
    let mut steps = Vec::with_capacity(16);
    if !spec.pod.host_namespaces.users {
        steps.push(Step::BecomeRootInside);
    }
    steps.push(Step::NewSession);
    if tty {
        steps.push(Step::OpenTerminal);
    }
    steps.extend([Step::NewKeyring, Step::Limits]);
    become_container(spec, Who::Later, &mut steps);
    steps
}

/// What the container does not share with the host: as [`task`] made them.
fn own_namespaces(spec: &RunSpec) -> Vec<Namespace> {
    let host = spec.pod.host_namespaces;
    let shared = spec.pod.sharing == Sharing::Shared;
    let each = [
        (Namespace::User, !host.users),
        (Namespace::Mount, true),
        (Namespace::Pid, !host.pid),
        (Namespace::Cgroup, true),
        (Namespace::Uts, shared || !host.network),
        (Namespace::Ipc, !host.ipc),
        (Namespace::Network, !host.network),
        (Namespace::Time, has_clocks(host)),
    ];
    each.into_iter().filter(|(_, is_own)| *is_own).map(|(kind, _)| kind).collect()
}

/// Which process of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    First,
    /// One that entered. What people do in a container is no part of what its program needs.
    Later,
}

/// The end of both plans: who the process is, and its program.
fn become_container(spec: &RunSpec, who: Who, steps: &mut Vec<Step>) {
    steps.push(Step::EnterDirectory(spec.cwd.clone()));
    steps.push(Step::DropBoundingSet(capabilities(spec)));
    steps.push(Step::BecomeUser { uid: spec.uid, gid: spec.gid });
    steps.push(Step::DieWithSpawner);
    if spec.no_new_privs && !spec.privileged {
        steps.push(Step::NoNewPrivileges);
    }
    let filtered = spec.seccomp == Seccomp::Default && !spec.privileged;
    if filtered {
        steps.push(Step::Filter);
    }
    let profile = (filtered && spec.extras.seccomp.is_some()).then_some(Step::FilterFurther);
    let traced = (who == Who::First && spec.extras.trace).then_some(Step::Trace);
    let drop = Step::DropCapabilities(capabilities(spec));
    // As late as may be, so that a profile need not allow what the start does. Without no-new-privileges a filter needs a
    // capability, and the profile has to allow capset.
    if spec.no_new_privs {
        steps.push(drop);
        steps.extend(profile);
        steps.extend(traced);
    } else {
        steps.extend(profile);
        steps.extend(traced);
        steps.push(drop);
    }
    steps.push(Step::Execute(spec.argv.first().cloned().unwrap_or_default()));
}

/// What is left to the task.
pub(super) fn capabilities(spec: &RunSpec) -> Capabilities {
    if spec.privileged { Capabilities::ALL } else { spec.capabilities }
}

impl Step {
    /// What the step closes, for those who review it.
    pub fn closes(&self) -> &'static str {
        match self {
            Step::LeaseIds => {
                "a break-out is nobody on the host, and a stranger to every other pod; what it hoards is counted for it alone"
            }
            Step::MakeVolumes(_) => {
                "volumes enter as mounts; Secrets are in memory only; subPath is resolved by descriptor (CVE-2021-25741)"
            }
            Step::LayVolume { .. } => {
                "what all pods read is changed by none; what one writes is apart, bounded, and gives neither rights nor programs"
            }
            Step::MountRoot { .. } => {
                "layers are shared and read-only; nosuid, nodev; the task opens no path of the host"
            }
            Step::LeaseControlGroup => "no process outlives the task",
            Step::SetLimits => "memory, fork and CPU exhaustion",
            Step::BeginClocks { .. } => {
                "the host's uptime is not read from a clock: neither how old its kernel is, nor which pods it runs together"
            }
            Step::OpenDoor => {
                "no packet leaves: connections end inside, at sockets of the gate, which knows whose they are and decides by name and port"
            }
            Step::Clone { .. } => "the task sees no process of others; its end ends all it started",
            Step::HideMemory => {
                "until its program begins, no peer traces it or reads the memory and descriptors that it has from the spawner"
            }
            Step::BecomeRootInside => "no id of the host is left from here on",
            Step::LeaveNamespaces { .. } => {
                "no network, no shared memory, no abstract sockets of others (CVE-2020-15257)"
            }
            Step::LoopbackUp | Step::SetHostname => "a loopback and a name of its own",
            Step::TakeTask => {
                "what waited knew of no pod, was seen by none, and serves once: namespaces are never used again"
            }
            Step::AttachRoot => "mounts of others do not reach it, nor its own them",
            Step::MountProc => {
                "a /proc that is a symbolic link in the image (CVE-2019-19921); processes of others"
            }
            Step::MaskProc => {
                "kernel settings and memory; covered by descriptors that were checked, before the task runs (CVE-2025-31133, \
                 CVE-2025-52565, CVE-2025-52881)"
            }
            Step::MountSys { .. } => "unless privileged, /sys is read-only, firmware and power covered",
            Step::HideSys => "/sys has nothing of the machine",
            Step::ShowLimits => {
                "a runtime that takes the machine's memory for its own is killed; read-only, from its own group on"
            }
            Step::MountDev => "harmless devices only, read-only; a /dev that is a link in the image",
            Step::MountQueues => {
                "message queues of its own; as a place, so that rules can tell them from files of others"
            }
            Step::MountPts | Step::MountShm => "terminals and shared memory of its own, bounded",
            Step::MountTmp => "scratch that is bounded in bytes and files",
            Step::MountEtc => "name resolution as the pod's policy has it",
            Step::MountVolume(_) => "the target is resolved inside the image's root only",
            Step::MountDeviceFile(_) => {
                "read-only, without setuid and devices; owners of the host stay nobody inside"
            }
            Step::HandOutDevices { .. } => {
                "found in root's own specs by name; nodes are made anew with the container's owners, the host's stay as they are"
            }
            Step::LeaveHostMounts { .. } => "the host's file systems are gone, not hidden",
            Step::EnterRoot => {
                "nothing lies outside its root but an empty file and directories, read-only and of nobody else"
            }
            Step::CloneIntoControlGroup => "the container's limits count it from its first instruction",
            Step::HideFromPeers => {
                "no peer traces it or reads its memory and descriptors (CVE-2016-9962), nor the host's paths in its command line"
            }
            Step::EnterNamespaces(_) => {
                "all at once, by the descriptor of the container's process: no path of it is opened from outside"
            }
            Step::CloneInside => "it is seen inside only once nothing of the host is left in it",
            Step::OpenTerminal => {
                "a terminal of the container's own devpts, checked by descriptor (CVE-2025-52565); no peer holds the other end"
            }
            Step::NewSession => "no controlling terminal to type into (TIOCSTI)",
            Step::NewKeyring => "no keys of the spawner or of other tasks",
            Step::Limits => {
                "open files bounded; no core file, nor the host's handler of such files, which is root (CVE-2025-4598, CVE-2025-5054)"
            }
            Step::RestrictFiles(_) => {
                "what lies outside its root is not opened, whatever leads there; no mounts, no device nodes (CVE-2024-21626, \
                 CVE-2025-52881)"
            }
            Step::CloseDescriptors => "no descriptor but three (CVE-2024-21626)",
            Step::EnterDirectory(_) => "entered after the descriptors are closed (CVE-2024-21626)",
            Step::DropBoundingSet(_) => {
                "no program gives capabilities back; none are inheritable (CVE-2022-24769)"
            }
            Step::BecomeUser { .. } => "no root inside, unless asked for and allowed",
            Step::DieWithSpawner => "no task without somebody who watches it",
            Step::NoNewPrivileges => "setuid programs and file capabilities give nothing",
            Step::Filter => "all of the kernel that a task does not need",
            Step::FilterFurther => {
                "all of the rest that the machine's administrator wants this program to do without"
            }
            Step::Trace => "nothing more: what it notes makes a smaller profile",
            Step::DropCapabilities(_) => "nothing that only the start needed is left",
            Step::Execute(_) => "the program, found inside the root by the task's own rights",
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Namespace::User => "user",
            Namespace::Mount => "mount",
            Namespace::Pid => "pid",
            Namespace::Cgroup => "cgroup",
            Namespace::Uts => "uts",
            Namespace::Ipc => "ipc",
            Namespace::Network => "network",
            Namespace::Time => "time",
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = |is_own: bool| if is_own { "own" } else { "the host's" };
        match self {
            Step::LeaseIds => f.write_str("lease a range of 65536 user ids"),
            Step::MakeVolumes(count) => write!(f, "make {count} volumes of the pod, once"),
            Step::LayVolume { read_only: true, .. } => {
                f.write_str("mount a directory of the node, read-only")
            }
            Step::LayVolume { bytes: Some(bytes), on_disk: true, .. } => {
                write!(f, "mount a directory of the node below a file system of {bytes} bytes on the disk")
            }
            Step::LayVolume { bytes: Some(bytes), .. } => {
                write!(f, "mount a directory of the node below {bytes} bytes of memory")
            }
            Step::LayVolume { bytes: None, .. } => {
                f.write_str("mount a directory of the node below one that is new, and measured")
            }
            Step::MountRoot { layers, read_only } => {
                let mode = if *read_only { "read-only" } else { "writable in memory" };
                write!(f, "mount {layers} layers as one root, {mode}")
            }
            Step::LeaseControlGroup => f.write_str("lease a control group"),
            Step::SetLimits => f.write_str("set the limits of the control group"),
            Step::BeginClocks { shared: false } => f.write_str("begin clocks of its own"),
            Step::BeginClocks { shared: true } => f.write_str("begin the pod's clocks, once"),
            Step::OpenDoor => f.write_str("lead the pod's connections to the gate, once"),
            Step::Clone { user, pid } => {
                write!(f, "clone: {} user namespace, {} pids", own(*user), own(*pid))
            }
            Step::HideMemory => f.write_str("close its memory to others, from before the clone on"),
            Step::BecomeRootInside => f.write_str("become the user namespace's root"),
            Step::LeaveNamespaces { net, ipc, shared } => {
                let whose = if *shared { "the pod's" } else { "own" };
                let part = |is_own: bool| if is_own { whose } else { "the host's" };
                write!(
                    f,
                    "enter namespaces: own mounts and control groups, {} network, {} ipc",
                    part(*net),
                    part(*ipc)
                )
            }
            Step::LoopbackUp => f.write_str("bring the loopback interface up"),
            Step::TakeTask => f.write_str("take the task and its mounts from the spawner"),
            Step::SetHostname => f.write_str("set the host name"),
            Step::AttachRoot => f.write_str("attach the root"),
            Step::MountProc => f.write_str("attach its /proc"),
            Step::MaskProc => f.write_str("cover parts of that /proc"),
            Step::MountSys { read_only: true } => f.write_str("mount /sys read-only"),
            Step::MountSys { read_only: false } => f.write_str("mount /sys"),
            Step::HideSys => f.write_str("cover /sys"),
            Step::ShowLimits => f.write_str("mount /sys/fs/cgroup read-only"),
            Step::MountDev => f.write_str("mount /dev"),
            Step::MountPts => f.write_str("mount /dev/pts"),
            Step::MountShm => f.write_str("mount /dev/shm"),
            Step::MountQueues => f.write_str("mount /dev/mqueue"),
            Step::MountTmp => f.write_str("mount /tmp"),
            Step::MountEtc => f.write_str("mount /etc/hosts, hostname and resolv.conf"),
            Step::MountVolume(target) => write!(f, "mount the volume at {target}"),
            Step::MountDeviceFile(target) => write!(f, "mount a device's file at {target}"),
            Step::HandOutDevices { names, nodes } => {
                write!(f, "hand out {} ({nodes} device nodes)", names.join(", "))
            }
            Step::LeaveHostMounts { sysfs, queues } => {
                f.write_str("make its own /proc")?;
                for (is_made, place) in [(*sysfs != Sysfs::None, "/sys"), (*queues, "/dev/mqueue")] {
                    if is_made {
                        write!(f, ", {place}")?;
                    }
                }
                f.write_str(" and /dev/pts, and let go of the host's mounts")
            }
            Step::EnterRoot => f.write_str("enter the root"),
            Step::CloneIntoControlGroup => f.write_str("clone into the container's control group"),
            Step::HideFromPeers => f.write_str("be closed to others and blank the command line"),
            Step::EnterNamespaces(kinds) => {
                f.write_str("enter the container's namespaces:")?;
                for (i, kind) in kinds.iter().enumerate() {
                    write!(f, "{} {kind}", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Step::CloneInside => f.write_str("clone the process, inside"),
            Step::OpenTerminal => f.write_str("open a terminal"),
            Step::NewSession => f.write_str("begin a session"),
            Step::NewKeyring => f.write_str("take an empty keyring"),
            Step::Limits => f.write_str("set resource limits, signals and umask"),
            Step::RestrictFiles(scope) => {
                f.write_str("restrict to its own files")?;
                for (is_closed, what) in
                    [(scope.abstract_sockets, "abstract sockets"), (scope.signals, "processes")]
                {
                    if is_closed {
                        write!(f, ", its own {what}")?;
                    }
                }
                f.write_str(" (where the kernel has Landlock)")
            }
            Step::CloseDescriptors => f.write_str("close every descriptor but three"),
            Step::EnterDirectory(dir) => write!(f, "enter {dir}"),
            Step::DropBoundingSet(kept) => write!(f, "bound capabilities to {kept}"),
            Step::BecomeUser { uid, gid } => write!(f, "become user {uid}, group {gid}"),
            Step::DieWithSpawner => f.write_str("die with the spawner"),
            Step::NoNewPrivileges => f.write_str("give up gaining privileges"),
            Step::Filter => f.write_str("filter system calls"),
            Step::FilterFurther => f.write_str("filter system calls by a profile of the machine too"),
            Step::Trace => f.write_str("have system calls noted"),
            Step::DropCapabilities(kept) => write!(f, "keep capabilities {kept}"),
            Step::Execute(program) => write!(f, "execute {program}"),
        }
    }
}
