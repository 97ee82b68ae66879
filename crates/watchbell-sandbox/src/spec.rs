//! What the node asks for: one pod's surroundings and one container in it.
//!
//! ```text
//!  PodEnvironment ── shared by the pod's containers: namespaces, uid range, pod cgroup, volumes, /etc files
//!    └─ RunSpec ──── one run of one container: root, command, identity, limits, mounts, log
//! ```
//!
//! All of it crosses the socket to the spawner, so everything is plain data. A value outside the bounds of
//! [`RunSpec::check`] is refused there with the field's name; nothing is clamped in silence.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use watchbell_cdi::HandOut;

mod capability;
mod check;
mod seccomp;

pub use capability::{Capabilities, ParseCapabilityError};
pub use check::InvalidSpec;
pub(crate) use check::{IDS, check_changing, check_egress};
pub use seccomp::{SeccompAction, SeccompBase, SeccompCondition, SeccompOp, SeccompProfile, SeccompRule};

/// One run of one container. Starts are idempotent by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerId {
    pub pod_uid: u128,
    /// Ordinal in the pod, init containers first.
    pub container: u16,
    /// How often this container was restarted before; Kubernetes' restart count.
    pub attempt: u32,
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}/{}/{}", self.pod_uid, self.container, self.attempt)
    }
}

/// What the containers of one pod have in common. It is made at the pod's first start and kept until
/// [`Spawner::release_pod`](crate::Spawner::release_pod); later starts of the pod use what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodEnvironment {
    pub uid: u128,
    /// `namespace/name`: for messages, and pods of one namespace share what they may have of the gate.
    pub name: String,
    /// What `hostname` prints inside; at most 63 bytes (64 is the kernel's limit).
    pub hostname: String,
    pub sharing: Sharing,
    pub host_namespaces: HostNamespaces,
    /// Limits over all containers of a [`Sharing::Shared`] pod. A single container has its own.
    pub limits: CgroupLimits,
    pub etc: EtcFiles,
    /// Bound of /dev/shm in bytes; Docker's and containerd's default is 64 MiB.
    pub shm_bytes: u64,
    pub volumes: Vec<PodVolume>,
    /// What may be reached from its network namespace, as the gate reads it; nothing here looks into it. `None`: there is no way out, nor
    /// anything made for one. It crosses beside, since version 9 of the protocol.
    #[serde(skip)]
    pub egress: Option<Arc<[u8]>>,
}

impl PodEnvironment {
    /// Empty where its name has none.
    pub(crate) fn namespace(&self) -> &str {
        self.name.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// Of a pod of one container that asks for nothing.
    pub fn alone(uid: u128) -> Self {
        Self {
            uid,
            name: String::new(),
            hostname: String::new(),
            sharing: Sharing::Single,
            host_namespaces: HostNamespaces::default(),
            limits: CgroupLimits::default(),
            etc: EtcFiles::default(),
            shm_bytes: 0,
            volumes: Vec::new(),
            egress: None,
        }
    }
}

/// Whether containers meet in one set of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sharing {
    /// Only one container ever runs at a time; nothing is held between runs but the uid range and the volumes.
    Single,
    /// net, ipc, uts and user namespaces are held by descriptors (there is no pause process).
    Shared,
}

/// `true`: the host's own namespace is used. All false unless Kubernetes' field says so and the spawner's
/// [`Ceiling`](crate::Ceiling) allows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostNamespaces {
    /// `hostUsers: true`: ids inside are ids outside.
    pub users: bool,
    pub network: bool,
    pub pid: bool,
    pub ipc: bool,
}

/// Files that Kubernetes provides in /etc, read-only. `/etc/hostname` follows from the pod's hostname.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EtcFiles {
    /// Empty: `127.0.0.1 localhost`, `::1 localhost` and the pod's hostname.
    pub hosts: Vec<u8>,
    /// May be empty: a pod without network has no resolver.
    pub resolv_conf: Vec<u8>,
}

/// A volume of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodVolume {
    /// What [`Mount::volume`] names.
    pub id: u16,
    pub source: VolumeSource,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// `emptyDir` with `medium: Memory`, or a bounded scratch directory. Mode 0777 (2777 with a `gid`).
    Tmpfs {
        bytes: u64,
        inodes: u64,
        /// Kubernetes' fsGroup: the directory's group inside the container.
        gid: Option<u32>,
    },
    /// ConfigMap, Secret, downward API, projected: a tmpfs filled by the spawner. The bytes cross in memory (large ones
    /// in a sealed memfd) and are never on a disk. Always read-only inside.
    Files {
        entries: Vec<FileEntry>,
        /// Kubernetes' fsGroup.
        gid: Option<u32>,
    },
    /// A directory on disk that the node made, inside a root of mode 0700. Ids on disk are the container's own; the
    /// mount maps them into the pod's range.
    Dir { path: PathBuf },
    /// A host path, file or directory, as the ceiling allows. Ids are mapped as for [`VolumeSource::Dir`].
    HostPath { path: PathBuf },
    /// As [`VolumeSource::Files`], laid out as Kubernetes' `AtomicWriter` does; [`Spawner::update_files`](crate::Spawner::update_files)
    /// replaces them while the pod runs. Since version 4 of the protocol.
    Changing {
        files: Vec<OwnedFile>,
        /// Kubernetes' fsGroup.
        gid: Option<u32>,
    },
    /// A directory of the node's that stays as it is, whatever its containers write. Since version 6 of the protocol.
    Layered(Layered),
    /// The same of a directory in memory that the spawner holds. Since version 7 of the protocol.
    LayeredMemory(LayeredMemory),
}

impl VolumeSource {
    /// Of a directory that stays as it is: where what is written lies, if anything can be.
    pub(crate) fn layer(&self) -> Option<Option<&Upper>> {
        match self {
            Self::Layered(of) => Some(of.upper.as_ref()),
            Self::LayeredMemory(of) => Some(of.upper.as_ref()),
            _ => None,
        }
    }
}

/// A directory that containers see as their own. What they write lies above it, is no program, no device and gives no rights
/// to anybody, and is there until the pod is released: [`Spawner::upper`](crate::Spawner::upper) gives it to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layered {
    /// Below the data paths. All of it is root's on the disk, and inside it is the owner's.
    pub lower: PathBuf,
    /// The owner inside.
    pub uid: u32,
    pub gid: u32,
    /// `None`: nothing can be written.
    pub upper: Option<Upper>,
}

/// A [`Layered`] whose lower lies in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayeredMemory {
    /// Of [`Spawner::memory`](crate::Spawner::memory). All in its [`MEMORY_VIEW`] is root's, and inside it is the owner's.
    pub memory: u64,
    /// The owner inside.
    pub uid: u32,
    pub gid: u32,
    /// `None`: nothing can be written.
    pub upper: Option<Upper>,
}

/// What containers see of such memory: the directory of this name in it.
pub const MEMORY_VIEW: &str = "view";

/// Where what is written above a [`Layered`] lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upper {
    /// In memory, which the containers' limits count, and at most so much.
    Memory(Scratch),
    /// In a directory that the node made for it, empty and inside a root of mode 0700. Nothing bounds it but who measures it.
    Disk { path: PathBuf },
    /// In a file system of its own, in a file that the spawner makes in such a directory. Since version 8 of the protocol.
    Image { path: PathBuf, bound: Scratch },
}

/// A file of a [`VolumeSource::Changing`]. No name in the volume itself begins with `..`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedFile {
    pub file: FileEntry,
    /// The owner inside.
    pub uid: u32,
}

/// A file of a [`VolumeSource::Files`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Relative, without `.` and `..`; directories on the way are made with mode 0755.
    pub path: String,
    /// Permission bits; owner is uid 0 inside.
    pub mode: u16,
    pub contents: Vec<u8>,
}

impl fmt::Debug for FileEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The contents may be a Secret's: they never reach a log.
        write!(f, "FileEntry({}, {:o}, {} bytes)", self.path, self.mode, self.contents.len())
    }
}

/// One run of one container.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    pub id: ContainerId,
    /// The container's name, for messages alone.
    pub name: String,
    pub pod: Arc<PodEnvironment>,
    pub root: Root,
    /// Entrypoint and arguments, never empty. The first is looked up in the container's `PATH` when it has no slash.
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Absolute; made in the skeleton layer when the image lacks it.
    pub cwd: String,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    pub capabilities: Capabilities,
    /// Kubernetes' `allowPrivilegeEscalation: false`.
    pub no_new_privs: bool,
    pub seccomp: Seccomp,
    pub proc_mount: ProcMount,
    pub sys: Sys,
    pub mounts: Vec<Mount>,
    /// A bounded private /tmp, mode 1777. `None`: what the image has, or a volume.
    pub tmp: Option<Scratch>,
    pub rlimits: Vec<Rlimit>,
    /// -1000 … 1000. Lowering below the spawner's own needs CAP_SYS_RESOURCE on the host.
    pub oom_score_adj: i16,
    pub limits: CgroupLimits,
    pub log: LogTarget,
    /// How people reach it while it runs. It crosses beside the spec: spawners of the protocol's first version know none.
    #[serde(skip)]
    pub interaction: Interaction,
    /// What else it asks for. It crosses beside the spec too: spawners before the protocol's third version know none of it,
    /// and are not asked for what they would leave out.
    #[serde(skip)]
    pub extras: Extras,
    /// Kubernetes' `privileged`: every capability, no seccomp, writable /proc and /sys, in the host's user namespace
    /// if the pod says so. Refused unless the ceiling allows it.
    pub privileged: bool,
}

impl RunSpec {
    /// A container that asks for nothing and is allowed nothing, by the user that owns nothing; the first of its pod.
    pub fn strict(pod: Arc<PodEnvironment>, layer: PathBuf, argv: Vec<String>, log: LogTarget) -> Self {
        Self {
            id: ContainerId { pod_uid: pod.uid, container: 0, attempt: 0 },
            name: "main".to_owned(),
            pod,
            root: Root { layers: vec![layer], read_only: true, upper: Scratch { bytes: 0, inodes: 0 } },
            argv,
            env: Vec::new(),
            cwd: "/".to_owned(),
            uid: 65_534,
            gid: 65_534,
            groups: Vec::new(),
            capabilities: Capabilities::NONE,
            no_new_privs: true,
            seccomp: Seccomp::Default,
            proc_mount: ProcMount::Default,
            sys: Sys::None,
            mounts: Vec::new(),
            tmp: None,
            rlimits: Vec::new(),
            oom_score_adj: 0,
            limits: CgroupLimits::default(),
            log,
            interaction: Interaction::default(),
            extras: Extras::default(),
            privileged: false,
        }
    }
}

impl fmt::Debug for RunSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments and variables may hold secrets: they never reach a log.
        write!(f, "RunSpec({}, pod {}, container {})", self.id, self.pod.name, self.name)
    }
}

/// What a container may ask for besides; the default is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Extras {
    /// Devices by their full names (`vendor.com/class=name`). The spawner looks them up in root's specs, and refuses one that
    /// another pod's container has.
    pub devices: Vec<String>,
    /// What they are, as the spawner found it. It never crosses: a server has no say in it.
    #[serde(skip)]
    pub handed: HandOut,
    /// The name of an OCI runtime that starts it; `None`: this program does.
    pub runtime: Option<String>,
    /// A filter of the container's own, beside [`Seccomp::Default`].
    pub seccomp: Option<Arc<SeccompProfile>>,
    /// A tracer notes its system calls, in `<log>.trace` beside the log.
    pub trace: bool,
}

/// What of a container's streams is for people who attach. The default is a task's: nothing to read, output to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Interaction {
    pub stdin: Stdin,
    /// Kubernetes' `tty`: the three streams are one terminal of the container's own.
    pub tty: bool,
}

/// Kubernetes' `stdin` and `stdinOnce`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Stdin {
    /// /dev/null.
    #[default]
    None,
    /// Open as long as the container runs; any number of clients write to it.
    Open,
    /// The first client that attaches has it, and its end is the input's end. A terminal stays open.
    Once,
}

/// The root file system: an overlay over the image's unpacked layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Directories of unpacked layers, bottom first. At least one.
    pub layers: Vec<PathBuf>,
    /// `readOnlyRootFilesystem`. Otherwise writes go to a bounded tmpfs that ends with the run.
    pub read_only: bool,
    /// Bounds of the writable layer; ignored when read-only.
    pub upper: Scratch,
}

/// The bound of a tmpfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scratch {
    pub bytes: u64,
    pub inodes: u64,
}

/// A volume seen inside a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside. Symbolic links of the image on the way are followed inside the image's root only.
    pub target: String,
    /// A [`PodVolume::id`].
    pub volume: u16,
    /// Kubernetes' `subPath`, relative: resolved inside the volume by descriptor (CVE-2021-25741); made as a
    /// directory when missing.
    pub sub_path: Option<String>,
    pub read_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// The allow-list of [`crate::start`].
    Default,
    /// None. For namespaces whose policy allows it.
    Unconfined,
}

/// Kubernetes' `procMount`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcMount {
    /// Masked and read-only paths.
    Default,
    /// Neither; Kubernetes allows it only in a user namespace.
    Unmasked,
}

/// Whether /sys is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sys {
    /// An empty place. Nothing of a batch task needs it, and it is attack surface.
    None,
    /// Read-only sysfs with the usual paths masked, as Kubernetes has it.
    ReadOnly,
}

/// One resource limit (setrlimit(2)). Hard limits can only be lowered where the spawner lacks CAP_SYS_RESOURCE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    pub resource: RlimitResource,
    /// `u64::MAX` is infinity.
    pub soft: u64,
    pub hard: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RlimitResource {
    Core,
    Cpu,
    Data,
    FileSize,
    Locks,
    Memlock,
    MessageQueue,
    Nice,
    OpenFiles,
    Processes,
    RealTimePriority,
    RealTimeTime,
    SignalsPending,
    Stack,
}

/// Control group limits. `None` means no limit of that kind below what the parent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CgroupLimits {
    /// Bytes; swap is off, so this is all there is.
    pub memory_bytes: Option<u64>,
    /// CPU time in microseconds in each [`CgroupLimits::cpu_period_us`].
    pub cpu_quota_us: Option<u64>,
    /// 1000 … 1,000,000; 0 stands for 100,000.
    pub cpu_period_us: u64,
    /// cgroup v2 weight, 1 … 10000; `None` is 100. v1 shares are derived from it.
    pub cpu_weight: Option<u16>,
    pub pids: Option<u64>,
}

/// Where stdout and stderr go, in the CRI log format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTarget {
    /// Path of the log file relative to [`SpawnerOptions::log_dir`](crate::SpawnerOptions::log_dir), without `.`, `..`.
    /// The file and its directories are made at the first byte; a task that prints nothing leaves none.
    pub path: PathBuf,
    /// The file is rotated to `<path>.1`, `.2` … when the next line would take it above this.
    pub max_bytes: u64,
    /// Files kept, the current one included, at least 1; what falls off the end is counted as dropped.
    pub max_files: u32,
}
