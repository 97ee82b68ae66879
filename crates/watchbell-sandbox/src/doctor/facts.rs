//! What was found out about a host. Plain data: the judgement of it needs no host.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// All that is known of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// `uname -r`.
    pub kernel: String,
    pub architecture: String,
    pub caller: Caller,
    /// What was tried, each in a process of its own.
    pub features: BTreeMap<Feature, Outcome>,
    /// The version of Landlock that the kernel has; 0: none.
    pub landlock_abi: u32,
    pub control_groups: ControlGroups,
    /// Of /proc/sys, by their dotted names; what this kernel does not have is left out.
    pub settings: BTreeMap<String, String>,
    pub storage: Storage,
    /// `None`: it could not be asked.
    pub clock_synchronised: Option<bool>,
    /// Who else has ids of the ranges that pods get.
    pub id_overlaps: Vec<String>,
    /// /sys/devices/system/cpu/vulnerabilities.
    pub vulnerabilities: BTreeMap<String, String>,
    /// A hard limit of this process; `u64::MAX` is infinity.
    pub open_files_max: u64,
    /// Why the limit of core files cannot be exactly 1, if it cannot.
    pub core_limit_problem: Option<String>,
    /// The name of process 1.
    pub init: String,
    /// The systemd unit that this process is in.
    pub unit: Option<String>,
    /// Where a server would listen.
    pub listen: Option<Listen>,
    /// OCI runtimes that were found; one that is not there is left out.
    pub runtimes: Vec<Runtime>,
    pub device_specs: DeviceSpecs,
}

impl Facts {
    /// Why a thing cannot be done here, if it cannot.
    pub(crate) fn without(&self, feature: Feature) -> Option<String> {
        match self.features.get(&feature) {
            Some(Outcome::Works) => None,
            Some(Outcome::Fails(cause) | Outcome::NotTried(cause)) => Some(cause.clone()),
            None => Some("it was not tried".to_owned()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Caller {
    pub uid: u32,
    /// The effective set.
    pub capabilities: u64,
    /// Its ids are not the machine's: it runs in somebody's container.
    pub has_own_users: bool,
}

/// A thing that is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    UserNamespaces,
    MountNamespaces,
    PidNamespaces,
    IpcNamespaces,
    UtsNamespaces,
    NetworkNamespaces,
    CgroupNamespaces,
    TimeNamespaces,
    /// Of the data directory's file system.
    IdmappedMounts,
    /// The same of a tmpfs.
    IdmappedMemory,
    /// A tmpfs that is never written to a disk.
    UnswappedMemory,
    /// Over the data directory.
    Overlay,
    /// Device nodes can be made and opened.
    Devices,
    Loopback,
    /// All connections of a network namespace are led to sockets in it.
    Doors,
    /// The allow-list of system calls.
    Seccomp,
    SeccompNotification,
    Openat2,
    CloseRange,
    Pidfd,
    Keyring,
    /// A copy of the program in sealed memory.
    SealedProgram,
    CloneIntoCgroup,
    /// A file of the data directory can be a file system.
    Images,
    /// A whole container, up to its program.
    Start,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "outcome", content = "cause")]
pub enum Outcome {
    Works,
    Fails(String),
    NotTried(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CgroupVersion {
    #[default]
    None,
    V1,
    V2,
    /// Controllers on version 1, beside a unified tree.
    Hybrid,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlGroups {
    pub version: CgroupVersion,
    /// Those that limits can be set by, where tasks would be.
    pub controllers: Vec<String>,
    /// Why they cannot be used.
    pub problem: Option<String>,
    /// `None`: it could not be told.
    pub counts_swap: Option<bool>,
    pub has_swap: bool,
}

/// The data directory, or the nearest directory above it that exists.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    pub path: PathBuf,
    pub file_system: String,
    pub free_bytes: u64,
    pub files: u64,
    pub free_files: u64,
    /// Microseconds of an fsync, the median of some.
    pub fsync_us: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listen {
    pub address: String,
    /// A server that runs on the data directory has it already.
    pub is_served: bool,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Runtime {
    pub name: String,
    pub path: PathBuf,
    pub version: Option<String>,
    /// Why it does not tell its version.
    pub problem: Option<String>,
}

/// Container Device Interface.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceSpecs {
    /// How many devices of each kind can be handed out.
    pub devices: BTreeMap<String, usize>,
    /// What cannot be used, with the reason.
    pub problems: Vec<String>,
}
