//! The table: every check of the standards, from which release on which of its functions counts, and what a check of
//! `restricted` stands for.

use super::pod::Pod;
use super::{Finding, LevelVersion, baseline, restricted};
use crate::admission::Level;

/// The newest release that changed a check, as of Kubernetes 1.36: what `latest` means.
pub const NEWEST_MINOR: u64 = 35;

type Judge = fn(&Pod<'_>) -> Option<Finding>;

/// A check as of a release.
struct Since {
    minor: u64,
    judge: Judge,
}

/// One check of the standards.
#[derive(Debug)]
pub struct Check {
    /// Kubernetes' identifier: `capabilities_baseline`.
    pub id: &'static str,
    /// `baseline`: judged there and in `restricted`.
    pub level: Level,
    versions: &'static [Since],
    /// The baseline checks that need not be asked where this one is: it forbids more.
    overrides: &'static [&'static str],
    /// What a pod could do without it.
    pub why: &'static str,
    /// What its author can write instead.
    pub way_out: &'static str,
}

impl std::fmt::Debug for Since {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "v1.{}", self.minor)
    }
}

impl Check {
    /// The releases in which it changed, oldest first.
    pub fn releases(&self) -> impl Iterator<Item = u64> {
        self.versions.iter().map(|since| since.minor)
    }

    fn at(&self, minor: u64) -> Option<Judge> {
        self.versions.iter().rev().find(|since| since.minor <= minor).map(|since| since.judge)
    }
}

/// The checks that a policy asks, in the order in which Kubernetes tells of them.
pub(super) fn applicable(policy: LevelVersion) -> impl Iterator<Item = (&'static Check, Judge)> {
    let minor = policy.version.minor();
    let is_overridden = move |check: &Check| {
        policy.level == Level::Restricted
            && CHECKS.iter().any(|other| other.at(minor).is_some() && other.overrides.contains(&check.id))
    };
    CHECKS
        .iter()
        .filter(move |check| check.level <= policy.level && !is_overridden(check))
        .filter_map(move |check| Some((check, check.at(minor)?)))
}

/// Baseline's first, then restricted's, each by its identifier.
pub static CHECKS: [Check; 19] = [
    Check {
        id: "appArmorProfile",
        level: Level::Baseline,
        versions: &[Since { minor: 0, judge: baseline::app_armor_profile }],
        overrides: &[],
        why: "a container without its AppArmor profile may do what the profile keeps from it",
        way_out: "use appArmorProfile.type RuntimeDefault or Localhost, or leave it out",
    },
    Check {
        id: "capabilities_baseline",
        level: Level::Baseline,
        versions: &[Since { minor: 0, judge: baseline::capabilities }],
        overrides: &[],
        why: "capabilities beyond the usual ones reach the kernel's network, clock, modules or other processes",
        way_out: "leave the capability out of securityContext.capabilities.add",
    },
    Check {
        id: "hostNamespaces",
        level: Level::Baseline,
        versions: &[Since { minor: 0, judge: baseline::host_namespaces }],
        overrides: &[],
        why: "in the host's namespaces a container sees the machine's processes, network and shared memory",
        way_out: "leave hostNetwork, hostPID and hostIPC out",
    },
    Check {
        id: "hostPathVolumes",
        level: Level::Baseline,
        versions: &[Since { minor: 0, judge: baseline::host_path_volumes }],
        overrides: &[],
        why: "a path of the machine is shared with everybody who has it, and may be the machine itself",
        way_out: "use a persistentVolumeClaim, an emptyDir, a configMap or an image volume",
    },
    Check {
        id: "hostPorts",
        level: Level::Baseline,
        versions: &[Since { minor: 0, judge: baseline::host_ports }],
        overrides: &[],
        why: "a port of the machine can be taken from the service that others believe to speak with",
        way_out: "leave hostPort out",
    },
    Check {
        id: "hostProbesAndHostLifecycle",
        level: Level::Baseline,
        versions: &[Since { minor: 34, judge: baseline::host_probes_and_lifecycle }],
        overrides: &[],
        why: "a probe with a host makes the node itself send requests to where the pod may not",
        way_out: "leave host out of the probes and hooks: the pod itself is asked",
    },
    Check {
        id: "privileged",
        level: Level::Baseline,
        versions: &[Since { minor: 0, judge: baseline::privileged }],
        overrides: &[],
        why: "a privileged container is root of the machine",
        way_out: "leave privileged out",
    },
    Check {
        id: "procMount",
        level: Level::Baseline,
        versions: &[
            Since { minor: 0, judge: baseline::proc_mount },
            Since { minor: 35, judge: baseline::proc_mount_unless_in_user_namespace },
        ],
        overrides: &[],
        why: "an unmasked /proc shows and changes settings of the kernel",
        way_out: "leave procMount out, or set hostUsers: false (from v1.35 on)",
    },
    Check {
        id: "seLinuxOptions",
        level: Level::Baseline,
        versions: &[
            Since { minor: 0, judge: baseline::se_linux_options_1_0 },
            Since { minor: 31, judge: baseline::se_linux_options_1_31 },
        ],
        overrides: &[],
        why: "another SELinux type, user or role takes the container out of its confinement",
        way_out: "leave seLinuxOptions out, or use one of the container types",
    },
    Check {
        id: "seccompProfile_baseline",
        level: Level::Baseline,
        versions: &[
            Since { minor: 0, judge: baseline::seccomp_annotations },
            Since { minor: 19, judge: baseline::seccomp_profile },
        ],
        overrides: &[],
        why: "without a filter every system call of the kernel can be attacked",
        way_out: "use seccompProfile.type RuntimeDefault or Localhost, or leave it out",
    },
    Check {
        id: "sysctls",
        level: Level::Baseline,
        versions: &[
            Since { minor: 0, judge: baseline::sysctls_1_0 },
            Since { minor: 27, judge: baseline::sysctls_1_27 },
            Since { minor: 29, judge: baseline::sysctls_1_29 },
            Since { minor: 32, judge: baseline::sysctls_1_32 },
        ],
        overrides: &[],
        why: "such a setting of the kernel reaches beyond the pod",
        way_out: "leave the sysctl out",
    },
    Check {
        id: "windowsHostProcess",
        level: Level::Baseline,
        versions: &[Since { minor: 0, judge: baseline::windows_host_process }],
        overrides: &[],
        why: "a HostProcess container runs on the machine itself",
        way_out: "leave windowsOptions.hostProcess out",
    },
    Check {
        id: "allowPrivilegeEscalation",
        level: Level::Restricted,
        versions: &[
            Since { minor: 8, judge: restricted::allow_privilege_escalation },
            Since { minor: 25, judge: restricted::allow_privilege_escalation_unless_windows },
        ],
        overrides: &[],
        why: "a set-user-ID program in the image could make its user root",
        way_out: "set securityContext.allowPrivilegeEscalation: false in each container",
    },
    Check {
        id: "capabilities_restricted",
        level: Level::Restricted,
        versions: &[
            Since { minor: 22, judge: restricted::capabilities },
            Since { minor: 25, judge: restricted::capabilities_unless_windows },
        ],
        overrides: &["capabilities_baseline"],
        why: "what a program does not need it cannot misuse",
        way_out: "set securityContext.capabilities.drop: [ALL] in each container and add at most NET_BIND_SERVICE",
    },
    Check {
        id: "procMount_restricted",
        level: Level::Restricted,
        versions: &[Since { minor: 35, judge: baseline::proc_mount }],
        overrides: &["procMount"],
        why: "an unmasked /proc shows and changes settings of the kernel",
        way_out: "leave procMount out",
    },
    Check {
        id: "restrictedVolumes",
        level: Level::Restricted,
        versions: &[Since { minor: 0, judge: restricted::volumes }],
        overrides: &["hostPathVolumes"],
        why: "only volumes that the platform hands out are known to be safe to share",
        way_out: "use configMap, csi, downwardAPI, emptyDir, ephemeral, image, persistentVolumeClaim, projected or secret",
    },
    Check {
        id: "runAsNonRoot",
        level: Level::Restricted,
        versions: &[
            Since { minor: 0, judge: restricted::run_as_non_root },
            Since { minor: 35, judge: restricted::run_as_non_root_unless_in_user_namespace },
        ],
        overrides: &[],
        why: "root in a container is one mistake away from root outside",
        way_out: "set runAsNonRoot: true in the pod's securityContext, or hostUsers: false (from v1.35 on)",
    },
    Check {
        id: "runAsUser",
        level: Level::Restricted,
        versions: &[
            Since { minor: 23, judge: restricted::run_as_user },
            Since { minor: 35, judge: restricted::run_as_user_unless_in_user_namespace },
        ],
        overrides: &[],
        why: "root in a container is one mistake away from root outside",
        way_out: "use a runAsUser other than 0, or leave it out, or set hostUsers: false (from v1.35 on)",
    },
    Check {
        id: "seccompProfile_restricted",
        level: Level::Restricted,
        versions: &[
            Since { minor: 19, judge: restricted::seccomp_profile },
            Since { minor: 25, judge: restricted::seccomp_profile_unless_windows },
        ],
        overrides: &["seccompProfile_baseline"],
        why: "without a filter every system call of the kernel can be attacked",
        way_out: "set seccompProfile: {type: RuntimeDefault} in the pod's securityContext",
    },
];
