//! A start for people to read, before it is carried out: the plan itself, and the values that it works with.

use serde::Serialize;

use super::plan::plan;
use crate::{
    CgroupLimits, HostNamespaces, ProcMount, RunSpec, Seccomp, Sharing, UidRanges, Upper, VolumeSource,
};

/// How one container is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub values: Values,
    pub steps: Vec<ExplainedStep>,
}

/// What applies to it. Arguments and variables may hold secrets: they are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Values {
    /// Ids of the host that it gets, as many as a range has: of one that is leased at the start.
    pub host_ids: Option<HostIds>,
    pub run_as_user: u32,
    pub run_as_group: u32,
    pub supplemental_groups: Vec<u32>,
    pub privileged: bool,
    pub capabilities: String,
    pub no_new_privileges: bool,
    pub seccomp: &'static str,
    /// A filter of its own above that one.
    pub has_seccomp_profile: bool,
    pub proc_mount: &'static str,
    /// Namespaces that it shares with the host.
    pub host_namespaces: Vec<&'static str>,
    /// With the other containers of its pod.
    pub shares_namespaces: bool,
    pub read_only_root_filesystem: bool,
    pub layers: usize,
    /// Of the writable layer, when there is one.
    pub writable_bytes: Option<u64>,
    pub tmp_bytes: Option<u64>,
    pub mounts: Vec<ExplainedMount>,
    pub devices: Vec<String>,
    pub limits: Limits,
    pub oom_score_adj: i16,
    /// An OCI runtime that starts it in place of these steps.
    pub runtime: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostIds {
    pub first: u32,
    pub ranges: u16,
    pub range_length: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedMount {
    pub target: String,
    pub source: &'static str,
    pub sub_path: Option<String>,
    pub read_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    pub memory_bytes: Option<u64>,
    pub cpu_quota_us: Option<u64>,
    pub cpu_period_us: u64,
    pub cpu_weight: Option<u16>,
    pub pids: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedStep {
    pub step: String,
    pub closes: &'static str,
    /// Numbers of docs/attacks.md.
    pub attacks: Vec<u8>,
}

/// Explains the start of `spec` by a spawner that has these ranges of ids. The steps are those of [`plan`], which the start
/// carries out.
pub fn explain(spec: &RunSpec, ranges: UidRanges) -> Explanation {
    let steps = plan(spec).into_iter().map(|step| ExplainedStep {
        step: step.to_string(),
        closes: step.closes(),
        attacks: step.attacks().to_vec(),
    });
    Explanation { values: values(spec, ranges), steps: steps.collect() }
}

/// What applies to a start of `spec`, all of it or the start fails.
pub fn values(spec: &RunSpec, ranges: UidRanges) -> Values {
    let HostNamespaces { users, network, pid, ipc } = spec.pod.host_namespaces;
    let each = [("user", users), ("network", network), ("pid", pid), ("ipc", ipc)];
    let CgroupLimits { memory_bytes, cpu_quota_us, cpu_period_us, cpu_weight, pids, .. } = spec.limits;
    Values {
        host_ids: (!users).then_some(HostIds {
            first: ranges.first,
            ranges: ranges.count,
            range_length: crate::spec::IDS,
        }),
        run_as_user: spec.uid,
        run_as_group: spec.gid,
        supplemental_groups: spec.groups.clone(),
        privileged: spec.privileged,
        capabilities: super::plan::capabilities(spec).to_string(),
        no_new_privileges: spec.no_new_privs && !spec.privileged,
        seccomp: match spec.seccomp {
            Seccomp::Unconfined => "Unconfined",
            Seccomp::Default if spec.privileged => "Unconfined",
            Seccomp::Default => "RuntimeDefault",
        },
        has_seccomp_profile: spec.extras.seccomp.is_some(),
        proc_mount: match spec.proc_mount {
            ProcMount::Default => "Default",
            ProcMount::Unmasked => "Unmasked",
        },
        host_namespaces: each.into_iter().filter(|(_, is_host)| *is_host).map(|(name, _)| name).collect(),
        shares_namespaces: spec.pod.sharing == Sharing::Shared,
        read_only_root_filesystem: spec.root.read_only,
        layers: spec.root.layers.len(),
        writable_bytes: (!spec.root.read_only).then_some(spec.root.upper.bytes),
        tmp_bytes: spec.tmp.map(|tmp| tmp.bytes),
        mounts: spec.mounts.iter().map(|mount| explain_mount(spec, mount)).collect(),
        devices: spec.extras.devices.clone(),
        limits: Limits { memory_bytes, cpu_quota_us, cpu_period_us, cpu_weight, pids },
        oom_score_adj: spec.oom_score_adj,
        runtime: spec.extras.runtime.clone(),
    }
}

/// Paths of the host are left out: who may look at a pod need not know where its data lies.
fn explain_mount(spec: &RunSpec, mount: &crate::Mount) -> ExplainedMount {
    let volume = spec.pod.volumes.iter().find(|volume| volume.id == mount.volume);
    ExplainedMount {
        target: mount.target.clone(),
        source: match volume.map(|volume| &volume.source) {
            Some(VolumeSource::Tmpfs { .. }) => "memory",
            Some(VolumeSource::Changing { .. }) => "files in memory, which change",
            Some(VolumeSource::Files { .. }) => "files in memory",
            Some(VolumeSource::Dir { .. }) => "directory of the node",
            Some(VolumeSource::HostPath { .. }) => "path of the host",
            Some(VolumeSource::Layered(layered)) => match layered.upper {
                Some(Upper::Memory(_)) => "directory of the node below memory",
                Some(Upper::Disk { .. }) => "directory of the node below another",
                Some(Upper::Image { .. }) => {
                    "directory of the node below a file system of its own on the disk"
                }
                None => "directory of the node, as it is",
            },
            Some(VolumeSource::LayeredMemory(layered)) => match layered.upper {
                Some(_) => "directory in memory below another",
                None => "directory in memory, as it is",
            },
            None => "none",
        },
        sub_path: mount.sub_path.clone(),
        read_only: mount.read_only,
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::strict;
    use super::*;
    use crate::{Mount, PodVolume};

    #[test]
    fn a_start_is_explained_with_its_values_and_without_secrets() {
        let mut spec = strict();
        spec.env = vec![("TOKEN".to_owned(), "hunter2".to_owned())];
        let pod = std::sync::Arc::make_mut(&mut spec.pod);
        pod.volumes = vec![PodVolume {
            id: 3,
            source: VolumeSource::Dir { path: "/var/lib/watchbell/volumes/x".into() },
        }];
        spec.mounts = vec![Mount {
            target: "/data".to_owned(),
            volume: 3,
            sub_path: Some("a".to_owned()),
            read_only: true,
        }];
        let explanation = explain(&spec, UidRanges::default());
        let printed: Vec<String> = plan(&spec).iter().map(ToString::to_string).collect();
        let told: Vec<&String> = explanation.steps.iter().map(|step| &step.step).collect();
        assert_eq!(told, printed.iter().collect::<Vec<_>>(), "the plan itself");
        let text = format!("{explanation:?}");
        // Arguments, variables and paths of the host.
        assert!(!["hunter2", "--secret", "/var/lib"].iter().any(|secret| text.contains(secret)), "{text}");
        insta::assert_debug_snapshot!(explanation.values);
    }
}
