//! What follows from a pod's spec alone: computed once for all pods of an array.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use watchbell_api::node::Capacity;
use watchbell_api::quantity::Quantity;
use watchbell_api::types::pod::{Container, ImagePullPolicy, PodSpec, Volume};
use watchbell_core::pod::{is_files, oom_score_adj, qos};
use watchbell_sandbox::{
    Capabilities, CgroupLimits, HostNamespaces, ProcMount, Rlimit, RlimitResource, Scratch, Seccomp, Sharing,
};

use crate::measure::Use;

/// Reason of a pod that this node cannot run as it is.
const UNSUPPORTED: &str = "Unsupported";
const CPU_PERIOD_US: u64 = 100_000;
/// The kernel takes no quota below this.
const CPU_QUOTA_US_MIN: u64 = 1000;
/// Nor one above some days; so much is a million processors.
const CPU_QUOTA_US_MAX: u64 = 1_000_000 * CPU_PERIOD_US;
/// What has so few files is not bounded by their number: an emptyDir of a MiB may hold many small ones.
const FILES_MIN: u64 = 1 << 16;
/// However large the directory: files that are empty take no room, and whoever looks at them and removes them takes time.
const FILES_MAX: u64 = 1 << 22;

/// What the node is, as far as plans depend on it.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub capacity: Capacity,
    pub pids_per_container: u64,
    pub scratch_bytes: u64,
    /// Bound of an emptyDir on disk that has no `sizeLimit`.
    pub empty_dir_bytes: u64,
    /// When the disk has less left, a pod goes that holds much of it.
    pub disk_reserve_bytes: u64,
    /// Why what is written to an array on the disk is measured and not bounded, if it is not bounded.
    pub without_images: Option<String>,
    /// The lowest oom_score_adj that can be set here.
    pub oom_score_adj_min: i16,
    /// The hard limit of open files that the spawner has.
    pub open_files_max: u64,
}

#[derive(Debug)]
pub(super) struct Plan {
    /// Keeps the address that names the plan from being used again.
    pub spec: Arc<PodSpec>,
    pub containers: Vec<ContainerPlan>,
    pub sharing: Sharing,
    pub host_namespaces: HostNamespaces,
    pub pod_limits: CgroupLimits,
    pub volumes: Vec<VolumePlan>,
    /// The containers' limits of `ephemeral-storage` together, where one has such a limit: of emptyDirs on disk and logs.
    pub disk_limit: Option<Quantity>,
    /// Why this node cannot run it: reason and message.
    pub refusal: Option<(&'static str, String)>,
}

#[derive(Debug)]
pub(super) struct ContainerPlan {
    pub pull_policy: ImagePullPolicy,
    pub capabilities: Capabilities,
    pub no_new_privs: bool,
    pub seccomp: Seccomp,
    /// The profile of the machine that is laid over the filter.
    pub seccomp_profile: Option<String>,
    pub proc_mount: ProcMount,
    pub privileged: bool,
    pub read_only_root: bool,
    pub limits: CgroupLimits,
    /// Of `ephemeral-storage`.
    pub disk_limit: Option<Quantity>,
    pub oom_score_adj: i16,
    pub rlimits: Vec<Rlimit>,
    /// Positions in `volume_mounts`, parents before what lies below them.
    pub mount_order: Vec<usize>,
    /// For each of `volume_mounts`, the position of its volume.
    pub mount_volumes: Vec<u16>,
    /// Nothing is mounted on /tmp itself.
    pub has_tmp_free: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum VolumePlan {
    Tmpfs {
        bytes: u64,
    },
    Files,
    /// An emptyDir on disk, watched as kubelet does. Without a `sizeLimit` the node's own bound holds.
    Dir {
        bound: Use,
        limit: Option<Quantity>,
    },
    HostPath {
        path: String,
        missing: Missing,
    },
    /// What the claim is bound to, found when the pod begins.
    Claim {
        claim: String,
        read_only: bool,
    },
}

impl Plan {
    /// Whether it has something on the disk that is watched.
    pub(super) fn uses_disk(&self) -> bool {
        let on_disk = |volume: &VolumePlan| {
            matches!(volume, VolumePlan::Dir { .. } | VolumePlan::Claim { read_only: false, .. })
        };
        self.limits_disk() || self.volumes.iter().any(on_disk)
    }

    /// Whether any container has a limit of `ephemeral-storage`, for which logs count.
    pub(super) fn limits_disk(&self) -> bool {
        self.disk_limit.is_some()
    }
}

impl VolumePlan {
    /// Whatever a mount says.
    pub(super) fn is_read_only(&self) -> bool {
        matches!(self, VolumePlan::Files | VolumePlan::Claim { read_only: true, .. })
    }
}

/// What becomes of a host path that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is made, as container runtimes do it.
    MakeDirectory,
    MakeFile,
    /// The start fails.
    Fail,
}

impl Missing {
    /// By `type` of a hostPath.
    pub(super) fn of(kind: &str) -> Missing {
        match kind {
            "" | "DirectoryOrCreate" => Missing::MakeDirectory,
            "FileOrCreate" => Missing::MakeFile,
            _ => Missing::Fail,
        }
    }
}

impl Plan {
    pub(super) fn new(spec: &Arc<PodSpec>, machine: &Machine) -> Plan {
        let mut refusal = refuse(spec);
        let mut volumes = Vec::with_capacity(spec.volumes.len());
        for volume in &spec.volumes {
            volumes.push(plan_volume(volume, machine).unwrap_or_else(|message| {
                refusal.get_or_insert((UNSUPPORTED, message));
                VolumePlan::Files
            }));
        }
        let class = qos(spec);
        let containers: Vec<ContainerPlan> = spec
            .init_containers
            .iter()
            .chain(&spec.containers)
            .map(|container| {
                let adjust =
                    oom_score_adj(class, container, &machine.capacity).max(machine.oom_score_adj_min);
                plan_container(spec, container, machine, adjust, &mut refusal)
            })
            .collect();
        let has_sidecars = spec.init_containers.iter().any(PodSpec::is_sidecar);
        let host = spec.host_network || spec.host_pid || spec.host_ipc;
        let privileged = containers.iter().any(|c| c.privileged);
        Plan {
            spec: spec.clone(),
            sharing: if spec.containers.len() == 1 && !has_sidecars {
                Sharing::Single
            } else {
                Sharing::Shared
            },
            host_namespaces: HostNamespaces {
                // What shares the host's namespaces cannot live in a user namespace of its own; everything else does,
                // unless it asks not to.
                users: spec.host_users.unwrap_or(host || privileged),
                network: spec.host_network,
                pid: spec.host_pid,
                ipc: spec.host_ipc,
            },
            pod_limits: pod_limits(&containers, machine),
            disk_limit: pod_disk_limit(spec, &containers),
            containers,
            volumes,
            refusal,
        }
    }
}

/// Fields that promise something this node does not keep: a pod that ran without it would be told a lie.
fn refuse(spec: &PodSpec) -> Option<(&'static str, String)> {
    // What restricts a Linux pod is not asked of another's.
    if !matches!(spec.os.name.as_str(), "" | "linux") {
        let message = "Failed to admit pod as the OS field doesn't match node OS";
        return Some(("PodOSNotSupported", message.to_owned()));
    }
    if !spec.security_context.sysctls.is_empty() {
        let message = "spec.securityContext.sysctls: this node sets none; leave them out".to_owned();
        return Some(("SysctlForbidden", message));
    }
    if spec.share_process_namespace == Some(true) {
        let message =
            "spec.shareProcessNamespace: every container has its own process namespace here; leave it out";
        return Some((UNSUPPORTED, message.to_owned()));
    }
    None
}

fn plan_volume(volume: &Volume, machine: &Machine) -> Result<VolumePlan, String> {
    let name = &volume.name;
    if is_files(volume) {
        return Ok(VolumePlan::Files);
    }
    if let Some(dir) = &volume.empty_dir {
        let limit =
            dir.size_limit.as_ref().and_then(|v| Quantity::from_value(v).ok()).filter(|q| !q.is_zero());
        return match dir.medium.as_str() {
            "" => Ok(VolumePlan::Dir {
                bound: files_in(limit.map_or(machine.empty_dir_bytes, |q| q.as_bytes())),
                limit,
            }),
            "Memory" => Ok(VolumePlan::Tmpfs {
                bytes: limit.map_or(machine.capacity.memory_bytes, |q| q.as_bytes()).clamp(4096, 1 << 50),
            }),
            medium => Err(format!(
                "volume {name:?}: emptyDir medium {medium:?} is not served by this node; use Memory or leave it out"
            )),
        };
    }
    if let Some(host) = &volume.host_path {
        return Ok(VolumePlan::HostPath { path: host.path.clone(), missing: Missing::of(&host.kind) });
    }
    if let Some(source) = &volume.persistent_volume_claim {
        let claim = source["claimName"].as_str().unwrap_or_default().to_owned();
        return Ok(VolumePlan::Claim { claim, read_only: source["readOnly"] == true });
    }
    Err(format!(
        "volume {name:?}: its source is not served by this node; use emptyDir, configMap, secret, downwardAPI, projected, \
         persistentVolumeClaim or hostPath"
    ))
}

fn plan_container(
    spec: &PodSpec,
    container: &Container,
    machine: &Machine,
    oom_score_adj: i16,
    refusal: &mut Option<(&'static str, String)>,
) -> ContainerPlan {
    let context = &container.security_context;
    let privileged = context.privileged == Some(true);
    let mut refuse = |message: String| {
        refusal.get_or_insert((UNSUPPORTED, format!("container {:?}: {message}", container.name)));
    };
    let profile = context.seccomp_profile.as_ref().or(spec.security_context.seccomp_profile.as_ref());
    let seccomp = match profile.map(|p| p.kind.as_str()) {
        // Kubernetes starts what says nothing unconfined; the allow-list is this node's floor.
        None | Some("RuntimeDefault" | "") => Seccomp::Default,
        Some("Unconfined") => Seccomp::Unconfined,
        Some("Localhost") => Seccomp::Default,
        Some(other) => {
            refuse(format!("seccompProfile type {other:?} is not served by this node; use RuntimeDefault"));
            Seccomp::Default
        }
    };
    // A privileged container has no filter at all, as in Kubernetes.
    let seccomp_profile = profile
        .filter(|profile| profile.kind == "Localhost" && !privileged)
        .map(|profile| profile.localhost_profile.clone().unwrap_or_default());
    let capabilities = capabilities(container, privileged).unwrap_or_else(|message| {
        refuse(message);
        Capabilities::NONE
    });
    let mut mount_volumes = Vec::with_capacity(container.volume_mounts.len());
    for mount in &container.volume_mounts {
        let position = spec.volumes.iter().position(|v| v.name == mount.name);
        mount_volumes.push(position.and_then(|p| u16::try_from(p).ok()).unwrap_or_else(|| {
            refuse(format!("volumeMount {:?} names no volume of the pod", mount.name));
            0
        }));
        if !matches!(mount.mount_propagation.as_deref(), None | Some("" | "None")) {
            refuse(format!("mountPropagation of {:?} is not served by this node; use None", mount.name));
        }
    }
    let names = |path: &str| path.split('/').filter(|c| !c.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let mut mount_order: Vec<usize> = (0..container.volume_mounts.len()).collect();
    mount_order.sort_by_key(|&i| names(&container.volume_mounts[i].mount_path).len());
    ContainerPlan {
        pull_policy: container.image_pull_policy.unwrap_or_else(|| default_policy(&container.image)),
        capabilities,
        no_new_privs: context.allow_privilege_escalation == Some(false) && !privileged,
        seccomp,
        seccomp_profile,
        proc_mount: match context.proc_mount.as_deref() {
            Some("Unmasked") => ProcMount::Unmasked,
            _ => ProcMount::Default,
        },
        privileged,
        read_only_root: context.read_only_root_filesystem == Some(true),
        limits: limits(container, machine),
        disk_limit: amount(&container.resources.limits, "ephemeral-storage"),
        oom_score_adj,
        // Core files are the sandbox' matter: it forbids them to everybody.
        rlimits: vec![Rlimit {
            resource: RlimitResource::OpenFiles,
            soft: machine.open_files_max,
            hard: machine.open_files_max,
        }],
        has_tmp_free: !container.volume_mounts.iter().any(|m| names(&m.mount_path) == ["tmp"]),
        mount_order,
        mount_volumes,
    }
}

/// `Always` for `latest`, as Kubernetes fills it in.
fn default_policy(image: &str) -> ImagePullPolicy {
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.rsplit_once(':') {
        _ if image.contains('@') => ImagePullPolicy::IfNotPresent,
        None | Some((_, "latest")) => ImagePullPolicy::Always,
        Some(_) => ImagePullPolicy::IfNotPresent,
    }
}

/// containerd's order: `ALL` of either list first, then the names that are added, then those dropped.
fn capabilities(container: &Container, privileged: bool) -> Result<Capabilities, String> {
    if privileged {
        return Ok(Capabilities::ALL);
    }
    let Some(asked) = &container.security_context.capabilities else {
        return Ok(Capabilities::RUNTIME_DEFAULT);
    };
    let is_all = |name: &String| name.eq_ignore_ascii_case("ALL");
    let mut set = Capabilities::RUNTIME_DEFAULT;
    if asked.add.iter().any(is_all) {
        set = Capabilities::ALL;
    }
    if asked.drop.iter().any(is_all) {
        set = Capabilities::NONE;
    }
    let parse = |name: &String| name.parse::<Capabilities>().map_err(|e| e.to_string());
    for name in asked.add.iter().filter(|n| !is_all(n)) {
        set = set.with(parse(name)?);
    }
    for name in asked.drop.iter().filter(|n| !is_all(n)) {
        set = set.without(parse(name)?);
    }
    Ok(set)
}

fn amount(map: &BTreeMap<String, Value>, name: &str) -> Option<Quantity> {
    map.get(name).and_then(|v| Quantity::from_value(v).ok()).filter(|q| !q.is_zero())
}

fn limits(container: &Container, machine: &Machine) -> CgroupLimits {
    let millis = |map| amount(map, "cpu").map(|q| u64::try_from(q.as_millis()).unwrap_or(0));
    let resources = &container.resources;
    let cpu_limit = millis(&resources.limits);
    let cpu_request = millis(&resources.requests).or(cpu_limit);
    CgroupLimits {
        // Without a limit of its own a container may take what the machine offers to pods, never what the system needs.
        memory_bytes: Some(
            amount(&resources.limits, "memory").map_or(machine.capacity.memory_bytes, |q| q.as_bytes()),
        ),
        cpu_quota_us: cpu_limit.map(|millis| {
            millis.saturating_mul(CPU_PERIOD_US / 1000).clamp(CPU_QUOTA_US_MIN, CPU_QUOTA_US_MAX)
        }),
        cpu_period_us: if cpu_limit.is_some() { CPU_PERIOD_US } else { 0 },
        cpu_weight: Some(weight(cpu_request.unwrap_or(0))),
        pids: Some(machine.pids_per_container),
    }
}

/// One processor asked for is the kernel's usual weight of 100.
fn weight(cpu_millis: u64) -> u16 {
    u16::try_from((cpu_millis / 10).clamp(1, 10_000)).unwrap_or(10_000)
}

fn pod_limits(containers: &[ContainerPlan], machine: &Machine) -> CgroupLimits {
    let sum = |of: fn(&CgroupLimits) -> Option<u64>| -> Option<u64> {
        containers.iter().try_fold(0u64, |sum, c| Some(sum.saturating_add(of(&c.limits)?)))
    };
    let quota = sum(|l| l.cpu_quota_us);
    let weight: u64 = containers.iter().map(|c| u64::from(c.limits.cpu_weight.unwrap_or(1))).sum();
    CgroupLimits {
        memory_bytes: sum(|l| l.memory_bytes).map(|bytes| bytes.min(machine.capacity.memory_bytes)),
        cpu_quota_us: quota,
        cpu_period_us: if quota.is_some() { CPU_PERIOD_US } else { 0 },
        cpu_weight: Some(u16::try_from(weight.clamp(1, 10_000)).unwrap_or(10_000)),
        pids: sum(|l| l.pids),
    }
}

/// As Kubernetes adds up limits: of what runs together, or of an init container, whichever is more.
fn pod_disk_limit(spec: &PodSpec, containers: &[ContainerPlan]) -> Option<Quantity> {
    let (mut together, mut largest) = (Quantity::ZERO, Quantity::ZERO);
    for (ordinal, container) in containers.iter().enumerate() {
        let Some(limit) = container.disk_limit else { continue };
        match spec.init_containers.get(ordinal) {
            Some(init) if !PodSpec::is_sidecar(init) => largest = largest.max(limit),
            _ => together = together.plus(limit),
        }
    }
    Some(together.max(largest)).filter(|limit| !limit.is_zero())
}

/// The bound of a directory of so many bytes: a file takes a block, but for empty ones.
fn files_in(bytes: u64) -> Use {
    Use { bytes, inodes: (bytes / 4096).clamp(FILES_MIN, FILES_MAX) }
}

/// The bound of a tmpfs of so many bytes: as many files as pages, within reason.
pub(super) fn scratch(bytes: u64) -> Scratch {
    Scratch { bytes, inodes: (bytes / 4096).clamp(64, 1 << 20) }
}
