//! From facts to checks. Pure: the same facts, the same report.

mod host;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use super::facts::{CgroupVersion, Facts, Feature, Outcome};
use crate::start::landlock_lacks;

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// It is not there.
    Missing,
    /// Tasks run, with less behind what protects them.
    Weaker,
    /// It could not be told.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub verdict: Verdict,
    /// Without it nothing is started.
    pub required: bool,
    pub found: String,
    /// Which protection it is for.
    pub purpose: &'static str,
    /// What to do. Empty where there is nothing to do.
    pub advice: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub checks: Vec<Check>,
}

impl Report {
    /// What keeps tasks from being started.
    pub fn refusals(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|c| c.required && matches!(c.verdict, Verdict::Missing | Verdict::Unknown))
    }

    pub fn can_serve(&self) -> bool {
        self.refusals().next().is_none()
    }
}

/// Judges a host by what was found out.
pub fn judge(facts: &Facts) -> Report {
    let mut checks = vec![kernel(facts), root(facts)];
    checks.extend(FEATURES.iter().map(|rule| feature(facts, rule)));
    checks.extend([control_groups(facts), swap(facts), io_controller(facts), landlock(facts)]);
    checks.extend(host::checks(facts));
    Report { checks }
}

pub(super) fn required(
    name: &'static str,
    purpose: &'static str,
    verdict: Verdict,
    found: impl Into<String>,
    advice: impl Into<String>,
) -> Check {
    Check { required: true, ..optional(name, purpose, verdict, found, advice) }
}

pub(super) fn optional(
    name: &'static str,
    purpose: &'static str,
    verdict: Verdict,
    found: impl Into<String>,
    advice: impl Into<String>,
) -> Check {
    let advice = if verdict == Verdict::Ok { String::new() } else { advice.into() };
    Check { name, verdict, required: false, found: found.into(), purpose, advice }
}

/// The oldest kernel that was tried. 5.19 would be the first whose overlay takes layers with mapped owners.
const KERNEL_MIN: (u32, u32) = (6, 1);

fn kernel(facts: &Facts) -> Check {
    let mut numbers = facts.kernel.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    let verdict = match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= KERNEL_MIN => Verdict::Ok,
        (Some(_), Some(_)) => Verdict::Missing,
        _ => Verdict::Unknown,
    };
    let (major, minor) = KERNEL_MIN;
    required(
        "kernel",
        "every protection below is the kernel's; before 5.19 overlay takes no layers with mapped owners, and none below 6.1 was tried",
        verdict,
        format!("Linux {} on {}", facts.kernel, facts.architecture),
        format!("run Linux {major}.{minor} or newer"),
    )
}

/// What the spawner uses of root's rights, by capabilities(7).
const CAPABILITIES: [(&str, u32); 10] = [
    ("CHOWN", 0),
    ("DAC_OVERRIDE", 1),
    ("FOWNER", 3),
    ("KILL", 5),
    ("SETGID", 6),
    ("SETUID", 7),
    ("SETPCAP", 8),
    ("SYS_ADMIN", 21),
    ("SYS_TIME", 25),
    ("MKNOD", 27),
];

fn root(facts: &Facts) -> Check {
    let caller = facts.caller;
    let lacking: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(_, bit)| caller.capabilities & (1 << bit) == 0)
        .map(|(name, _)| *name)
        .collect();
    let (verdict, found) = if caller.uid != 0 {
        (Verdict::Missing, format!("user {}", caller.uid))
    } else if caller.has_own_users {
        (Verdict::Missing, "root of a user namespace".to_owned())
    } else if lacking.is_empty() {
        (Verdict::Ok, "root".to_owned())
    } else {
        (Verdict::Missing, format!("root without {}", lacking.join(", ")))
    };
    required(
        "root",
        "ids of other ranges are given, and mounts and devices made, by the machine's root alone",
        verdict,
        found,
        "run it as root on the machine itself; in a container, with all capabilities and the machine's users",
    )
}

/// How a thing that was tried is judged.
struct Rule {
    feature: Feature,
    name: &'static str,
    purpose: &'static str,
    advice: &'static str,
    /// What its failure is.
    without: Without,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    NothingStarts,
    ItIsWeaker,
}
use Without::{ItIsWeaker, NothingStarts};

const fn rule(
    feature: Feature,
    name: &'static str,
    without: Without,
    purpose: &'static str,
    advice: &'static str,
) -> Rule {
    Rule { feature, name, purpose, advice, without }
}

const CONFIG_NS: &str = "use a kernel with this namespace (CONFIG_NAMESPACES and its parts), and do not forbid unshare and clone \
                         by a seccomp filter around this process";

const FEATURES: &[Rule] = &[
    rule(
        Feature::Start,
        "container-start",
        NothingStarts,
        "all steps of a hardened start, up to its program, over the data directory; `watchbell explain sandbox` prints them",
        "see the checks below for the step that fails",
    ),
    rule(
        Feature::UserNamespaces,
        "user-namespaces",
        NothingStarts,
        "a break-out is nobody on the host, and a stranger to other pods (CVE-2022-0492, CVE-2024-21626)",
        "raise the sysctl user.max_user_namespaces, and set kernel.unprivileged_userns_clone to 1 where it exists",
    ),
    rule(
        Feature::MountNamespaces,
        "mount-namespaces",
        NothingStarts,
        "the host's file systems are gone for a task, not hidden",
        CONFIG_NS,
    ),
    rule(
        Feature::PidNamespaces,
        "pid-namespaces",
        NothingStarts,
        "no process of others is seen, and none outlives its task",
        CONFIG_NS,
    ),
    rule(
        Feature::NetworkNamespaces,
        "network-namespaces",
        NothingStarts,
        "no network, and no abstract socket of others (CVE-2020-15257)",
        CONFIG_NS,
    ),
    rule(
        Feature::IpcNamespaces,
        "ipc-namespaces",
        NothingStarts,
        "no shared memory or message queue of others",
        CONFIG_NS,
    ),
    rule(Feature::UtsNamespaces, "uts-namespaces", NothingStarts, "a host name of its own", CONFIG_NS),
    rule(
        Feature::CgroupNamespaces,
        "cgroup-namespaces",
        NothingStarts,
        "no path of the host's control groups (CVE-2022-0492)",
        CONFIG_NS,
    ),
    rule(
        Feature::TimeNamespaces,
        "time-namespaces",
        NothingStarts,
        "no clock tells the host's uptime",
        "use a kernel with CONFIG_TIME_NS; in a systemd unit leave out ProtectClock=, which takes CAP_SYS_TIME away",
    ),
    rule(
        Feature::Loopback,
        "loopback",
        NothingStarts,
        "a network namespace with an interface that is the task's alone",
        CONFIG_NS,
    ),
    rule(
        Feature::IdmappedMounts,
        "idmapped-mounts",
        NothingStarts,
        "layers and volumes get a pod's owners without being copied",
        "put the data directory on ext4, xfs, btrfs or f2fs (or, with Linux 6.3, tmpfs)",
    ),
    rule(
        Feature::IdmappedMemory,
        "idmapped-memory",
        ItIsWeaker,
        "a pod sees the plaintext of an encrypted data array, which lies in memory; without it such a pod is refused",
        "run Linux 6.3 or newer",
    ),
    rule(
        Feature::UnswappedMemory,
        "memory-without-swap",
        ItIsWeaker,
        "what was decrypted is never written to a disk",
        "run Linux 6.4 or newer, or turn swap off (swapoff -a)",
    ),
    rule(
        Feature::Overlay,
        "overlay",
        NothingStarts,
        "layers are shared and read-only; each is handed over by descriptor",
        "load the module overlay (modprobe overlay), and put the data directory on a file system that can be its lower layer, \
         which another overlay often cannot",
    ),
    rule(
        Feature::Devices,
        "device-nodes",
        NothingStarts,
        "a /dev of our own with harmless devices alone (CVE-2025-31133, CVE-2025-52565)",
        "a device control group around this process forbids them: run it outside of that container",
    ),
    rule(
        Feature::Seccomp,
        "seccomp",
        NothingStarts,
        "calls that no task needs do not reach the kernel (CVE-2026-31431 among many)",
        "use a kernel with CONFIG_SECCOMP_FILTER",
    ),
    rule(
        Feature::Openat2,
        "openat2",
        NothingStarts,
        "paths of images and manifests do not leave their directory (CVE-2019-19921, CVE-2021-25741, CVE-2024-45310)",
        "a filter around this process refuses openat2: use a container runtime that knows it, or none",
    ),
    rule(
        Feature::CloseRange,
        "close-range",
        NothingStarts,
        "no descriptor of the host is left in a task (CVE-2024-21626)",
        "a filter around this process refuses close_range: use a container runtime that knows it, or none",
    ),
    rule(
        Feature::Pidfd,
        "pidfd",
        NothingStarts,
        "a signal reaches the task that it is meant for, not who has its number now",
        "a filter around this process refuses clone3 or pidfds: use a container runtime that knows them, or none",
    ),
    rule(
        Feature::SealedProgram,
        "sealed-program",
        NothingStarts,
        "what starts tasks is a copy that cannot be overwritten (CVE-2019-5736)",
        "set the sysctl vm.memfd_noexec to 0 or 1",
    ),
    rule(
        Feature::Keyring,
        "keyring",
        NothingStarts,
        "no key of the spawner or of other tasks",
        "raise the sysctl kernel.keys.root_maxkeys",
    ),
    rule(
        Feature::CloneIntoCgroup,
        "clone-into-cgroup",
        ItIsWeaker,
        "the first instruction of a task is counted already, and a group is ended by one write (cgroup.kill)",
        "mount cgroup2 beside version 1 (on /sys/fs/cgroup/unified), or boot with systemd.unified_cgroup_hierarchy=1",
    ),
    rule(
        Feature::Images,
        "bounded-uppers",
        ItIsWeaker,
        "what a task writes to a data array on the disk has a file system of its own, so that it ends at its quota; without it is \
         measured, and a pod evicted after the write",
        "load the module loop (modprobe loop) and ext4; in a container, give it /dev/loop-control and the loop devices",
    ),
    rule(
        Feature::Doors,
        "doors",
        ItIsWeaker,
        "pods that a NetworkPolicy selects connect to what it allows, through the gate; without, they do not start",
        "use a kernel from 5.9 on with CONFIG_BPF_SYSCALL; a container around this process needs CAP_BPF and CAP_NET_ADMIN of the \
         machine",
    ),
    rule(
        Feature::SeccompNotification,
        "seccomp-notification",
        ItIsWeaker,
        "`watchbell trace` learns which calls a job uses",
        "use a kernel with SECCOMP_RET_USER_NOTIF",
    ),
];

/// What a user who is not root cannot do says nothing of what root can.
const AS_ROOT: &str = "run it as root to know";

fn feature(facts: &Facts, rule: &Rule) -> Check {
    let is_root = facts.caller.uid == 0;
    let (verdict, found) = match (facts.features.get(&rule.feature), rule.without) {
        (Some(Outcome::Works), _) => (Verdict::Ok, "works".to_owned()),
        (Some(Outcome::Fails(cause)), _) if !is_root => {
            (Verdict::Unknown, format!("not for this user: {cause}"))
        }
        (Some(Outcome::Fails(cause)), NothingStarts) => (Verdict::Missing, cause.clone()),
        (Some(Outcome::Fails(cause)), ItIsWeaker) => (Verdict::Weaker, cause.clone()),
        (Some(Outcome::NotTried(why)), _) => (Verdict::Unknown, why.clone()),
        (None, _) => (Verdict::Unknown, "not tried".to_owned()),
    };
    let check =
        optional(rule.name, rule.purpose, verdict, found, if is_root { rule.advice } else { AS_ROOT });
    Check { required: rule.without == NothingStarts, ..check }
}

impl fmt::Display for CgroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CgroupVersion::None => "none",
            CgroupVersion::V1 => "version 1",
            CgroupVersion::V2 => "version 2",
            CgroupVersion::Hybrid => "version 1 beside a unified tree",
        })
    }
}

fn control_groups(facts: &Facts) -> Check {
    let groups = &facts.control_groups;
    let lacking: Vec<&str> = ["memory", "cpu", "pids"]
        .into_iter()
        .filter(|name| !groups.controllers.iter().any(|c| c == name))
        .collect();
    let is_root = facts.caller.uid == 0;
    let (verdict, found) = match &groups.problem {
        Some(problem) if !is_root => (Verdict::Unknown, format!("not for this user: {problem}")),
        Some(problem) => (Verdict::Missing, problem.clone()),
        None if lacking.is_empty() => {
            (Verdict::Ok, format!("{}: {}", groups.version, groups.controllers.join(", ")))
        }
        None => (Verdict::Missing, format!("{} without {}", groups.version, lacking.join(", "))),
    };
    required(
        "control-groups",
        "memory, fork and CPU exhaustion end at a task's limits, and no process of it is forgotten",
        verdict,
        found,
        "as root, mount cgroup2 on /sys/fs/cgroup with the controllers memory, cpu and pids; in a systemd unit say Delegate=yes",
    )
}

fn swap(facts: &Facts) -> Check {
    let groups = &facts.control_groups;
    let (verdict, found) = match (groups.has_swap, groups.counts_swap) {
        (false, _) => (Verdict::Ok, "no swap"),
        (true, Some(true)) => (Verdict::Ok, "swap is counted, and off for tasks"),
        (true, Some(false)) => (Verdict::Weaker, "swap is not counted"),
        (true, None) => (Verdict::Unknown, "there is swap; whether it is counted cannot be told"),
    };
    optional(
        "swap-accounting",
        "a memory limit is all the memory there is; no secret of a task is written to a disk",
        verdict,
        found,
        "boot with swapaccount=1, or turn swap off (swapoff -a)",
    )
}

fn io_controller(facts: &Facts) -> Check {
    let has = facts.control_groups.controllers.iter().any(|c| c == "io" || c == "blkio");
    let (verdict, found) = if has { (Verdict::Ok, "there") } else { (Verdict::Weaker, "not there") };
    optional(
        "io-controller",
        "disk traffic of one task can be held back for the others",
        verdict,
        found,
        "hand the controller io down to where the spawner runs (in a systemd unit: Delegate=yes)",
    )
}

fn landlock(facts: &Facts) -> Check {
    let abi = facts.landlock_abi;
    let lacks = landlock_lacks(abi).join(", ");
    let (verdict, found) = match (abi, lacks.as_str()) {
        (0, _) => (Verdict::Weaker, "not there".to_owned()),
        (_, "") => (Verdict::Ok, format!("ABI {abi}")),
        (_, lacks) => (Verdict::Weaker, format!("ABI {abi}, which leaves to the other layers: {lacks}")),
    };
    optional(
        "landlock",
        "a second layer below the mounts: files and signals that a process may reach",
        verdict,
        found,
        "boot with lsm=landlock,… and a kernel with CONFIG_SECURITY_LANDLOCK; Linux 6.12 has all of it",
    )
}
