//! From a checked [`RunSpec`] to the `config.json` of the OCI runtime specification. Pure: the same container, told to somebody
//! else. What stands here is what [`super::super::plan()`] does, step for step.

use std::path::Path;

use serde_json::{Value, json};
use watchbell_cdi::NodeKind;

use super::super::cgroup::{DEFAULT_PERIOD_US, DEFAULT_WEIGHT, shares};
use super::super::identity::{NO_CORE, OPEN_FILES};
use super::super::mounts::{CGROUP_PLACE, has_sysfs};
use super::super::plan::capabilities;
use super::super::program::DEFAULT_PATH;
use super::super::seccomp::oci_profile;
use super::super::task::{MASKED, READ_ONLY, SYS_MASKED, WRITE_ONLY};
use crate::spec::IDS;
use crate::{ProcMount, RlimitResource, RunSpec, Seccomp, Sharing, VolumeSource};

/// The release of the specification whose fields are used. runc of Debian 12 knows no newer one.
const OCI_VERSION: &str = "1.0.2";

// What lies in the bundle.
pub(super) const ROOT: &str = "rootfs";
pub(super) const DEV: &str = "dev";
pub(super) const SHM: &str = "shm";
pub(super) const TMP: &str = "tmp";
pub(super) const SYS: &str = "sys";
pub(super) const ETC: &str = "etc";
pub(super) const VOLUMES: &str = "volumes";
pub(super) const NAMESPACES: &str = "ns";

/// What the spec does not say.
pub(super) struct Given<'a> {
    /// Where the bundle is mounted.
    pub(super) bundle: &'a Path,
    /// The container's control group, as the runtime sees it: below `/sys/fs/cgroup` there is our subtree alone.
    pub(super) cgroup: &'a str,
    /// Where a hierarchy is below /sys/fs/cgroup, of those that tasks are shown; empty: it is the place itself.
    pub(super) views: &'a [String],
    /// What the machine's processors tell of their heat, below /sys.
    pub(super) throttles: &'a [String],
    /// The host's id of the container's 0.
    pub(super) first_id: u32,
    /// The hard limit of the spawner itself, which no container exceeds.
    pub(super) hard_limit: &'a dyn Fn(RlimitResource) -> u64,
}

/// The bundle's configuration.
pub(super) fn config(spec: &RunSpec, given: &Given<'_>) -> Value {
    let host = spec.pod.host_namespaces;
    let is_shared = spec.pod.sharing == Sharing::Shared;
    let mut config = json!({
        "ociVersion": OCI_VERSION,
        "process": process(spec, spec.interaction.tty, given.hard_limit),
        "root": {"path": given.bundle.join(ROOT), "readonly": spec.root.read_only},
        "mounts": mounts(spec, given),
        "linux": {
            "namespaces": namespaces(spec, given.bundle),
            "cgroupsPath": given.cgroup,
            "resources": resources(spec),
        },
    });
    if !host.network && !is_shared {
        config["hostname"] = json!(spec.pod.hostname);
    }
    let linux = &mut config["linux"];
    if !host.users {
        let map = json!([{"containerID": 0, "hostID": given.first_id, "size": IDS}]);
        linux["uidMappings"] = map.clone();
        linux["gidMappings"] = map;
    }
    if !spec.privileged {
        let below = |dir: &str, names: &[&str]| -> Vec<String> {
            names.iter().map(|name| format!("{dir}/{name}")).collect()
        };
        let mut masked = Vec::new();
        if spec.proc_mount == ProcMount::Default {
            masked.extend(below("/proc", &MASKED));
            // A runtime covers a file with /dev/null, which takes what is written.
            linux["readonlyPaths"] = json!(below("/proc", &[&READ_ONLY[..], &[WRITE_ONLY]].concat()));
        }
        if has_sysfs(spec) {
            masked.extend(below("/sys", &SYS_MASKED));
            masked.extend(given.throttles.iter().map(|path| format!("/sys/{path}")));
        }
        linux["maskedPaths"] = json!(masked);
        if spec.seccomp == Seccomp::Default {
            linux["seccomp"] = oci_profile();
        }
    }
    config
}

/// One process of the container: its first one, or one that enters later.
pub(super) fn process(spec: &RunSpec, tty: bool, hard_limit: &dyn Fn(RlimitResource) -> u64) -> Value {
    let mut env: Vec<String> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !spec.env.iter().any(|(name, _)| name == "PATH") {
        // Runtimes look the program up in this alone.
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    let kept: Vec<String> = capabilities(spec).names().map(|name| format!("CAP_{name}")).collect();
    json!({
        "terminal": tty,
        "user": {"uid": spec.uid, "gid": spec.gid, "umask": 0o022, "additionalGids": spec.groups},
        "args": spec.argv,
        "env": env,
        "cwd": spec.cwd,
        "capabilities": {
            "bounding": kept,
            "effective": kept,
            "permitted": kept,
            "inheritable": [],
            "ambient": [],
        },
        "noNewPrivileges": spec.no_new_privs && !spec.privileged,
        "oomScoreAdj": spec.oom_score_adj,
        "rlimits": rlimits(spec, hard_limit),
    })
}

fn rlimits(spec: &RunSpec, hard_limit: &dyn Fn(RlimitResource) -> u64) -> Vec<Value> {
    let said = |wanted| spec.rlimits.iter().any(|limit| limit.resource == wanted);
    let mut all: Vec<(RlimitResource, u64, u64)> = Vec::new();
    if !said(RlimitResource::OpenFiles) {
        all.push((RlimitResource::OpenFiles, OPEN_FILES, u64::MAX));
    }
    if !said(RlimitResource::Core) {
        all.push((RlimitResource::Core, NO_CORE, NO_CORE));
    }
    all.extend(spec.rlimits.iter().map(|limit| (limit.resource, limit.soft, limit.hard)));
    let bounded = |(resource, soft, hard): (RlimitResource, u64, u64)| {
        let least = if resource == RlimitResource::Core { NO_CORE } else { 0 };
        let hard = hard.max(least).min(hard_limit(resource));
        json!({"type": rlimit_name(resource), "soft": soft.max(least).min(hard), "hard": hard})
    };
    all.into_iter().map(bounded).collect()
}

fn namespaces(spec: &RunSpec, bundle: &Path) -> Vec<Value> {
    let host = spec.pod.host_namespaces;
    let is_shared = spec.pod.sharing == Sharing::Shared;
    // (kind, whether the container has one that is not the host's, whether it is its pod's)
    let each = [
        ("user", !host.users, is_shared),
        ("pid", !host.pid, false),
        ("network", !host.network, is_shared),
        ("ipc", !host.ipc, is_shared),
        // The host's name is the host's as long as its network is.
        ("uts", is_shared || !host.network, is_shared),
        ("mount", true, false),
        ("cgroup", true, false),
    ];
    let own = each.into_iter().filter(|(_, is_own, _)| *is_own);
    own.map(|(kind, _, of_pod)| match of_pod {
        true => json!({"type": kind, "path": bundle.join(NAMESPACES).join(kind)}),
        false => json!({"type": kind}),
    })
    .collect()
}

fn mounts(spec: &RunSpec, given: &Given<'_>) -> Vec<Value> {
    let bundle = given.bundle;
    let mut all = Vec::new();
    let mut fs = |place: &str, kind: &str, options: &[&str]| {
        all.push(json!({"destination": place, "type": kind, "source": kind, "options": options}));
    };
    fs("/proc", "proc", &["nosuid", "noexec", "nodev"]);
    let sysfs: &[&str] = &["nosuid", "noexec", "nodev", "ro"];
    if has_sysfs(spec) {
        fs("/sys", "sysfs", if spec.privileged { &sysfs[..3] } else { sysfs });
    }
    let bind = |place: &str, source: &Path, options: &[&str]| {
        let options: Vec<&str> = ["bind", "private"].iter().chain(options).copied().collect();
        json!({"destination": place, "type": "bind", "source": source, "options": options})
    };
    if !has_sysfs(spec) {
        all.push(bind("/sys", &bundle.join(SYS), &["ro", "nosuid", "nodev", "noexec"]));
    } else if given.views.iter().any(|view| !view.is_empty()) {
        all.push(bind(&format!("/{CGROUP_PLACE}"), &bundle.join(SYS), &["ro", "nosuid", "nodev", "noexec"]));
    }
    for view in given.views {
        let place = Path::new("/").join(CGROUP_PLACE).join(view);
        let source = place.join(given.cgroup.trim_start_matches('/'));
        // A view that is the place itself must not end in a slash.
        let place = place.to_string_lossy().trim_end_matches('/').to_owned();
        all.push(bind(&place, &source, &["ro", "nosuid", "nodev", "noexec"]));
    }
    // One with a console in it, which is the runtime's to cover, is nobody else's.
    let dev: &[&str] = if spec.interaction.tty { &["nosuid", "noexec"] } else { &["ro", "nosuid", "noexec"] };
    all.push(bind("/dev", &bundle.join(DEV), dev));
    all.push(json!({
        "destination": "/dev/pts", "type": "devpts", "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
    }));
    all.push(bind("/dev/shm", &bundle.join(SHM), &["nosuid", "nodev"]));
    if spec.tmp.is_some() {
        all.push(bind("/tmp", &bundle.join(TMP), &["nosuid", "nodev"]));
    }
    for name in super::super::etc::ETC_FILES {
        let source = bundle.join(ETC).join(name);
        all.push(bind(&format!("/etc/{name}"), &source, &["ro", "nosuid", "nodev", "noexec"]));
    }
    for (n, target, options) in volumes(spec) {
        all.push(bind(target, &bundle.join(VOLUMES).join(n.to_string()), &options));
    }
    all
}

/// Volumes and files of devices, each by its number in the bundle. A mount inside another comes after it.
fn volumes(spec: &RunSpec) -> Vec<(usize, &str, Vec<&'static str>)> {
    let source =
        |id: u16| spec.pod.volumes.iter().find(|volume| volume.id == id).map(|volume| &volume.source);
    let own = spec.mounts.iter().map(|mount| {
        let mut options = vec!["nosuid", "nodev"];
        if let Some(VolumeSource::HostPath { .. }) = source(mount.volume) {
            // What is mounted below it is there too, and as the volume's own mount is.
            options.extend(["rbind", "rprivate"]);
        }
        let (read_only, no_exec) = match source(mount.volume) {
            Some(VolumeSource::Files { .. } | VolumeSource::Changing { .. }) => (true, false),
            // What the mount has already, the runtime cannot leave out.
            source => {
                source.and_then(VolumeSource::layer).map_or((false, false), |upper| (upper.is_none(), true))
            }
        };
        if mount.read_only || read_only {
            options.push("ro");
        }
        if no_exec {
            options.push("noexec");
        }
        (mount.target.as_str(), options)
    });
    let of_devices = spec.extras.handed.mounts.iter().map(|mount| {
        let mut options = vec!["nosuid", "nodev", "ro"];
        if mount.no_exec {
            options.push("noexec");
        }
        (mount.target.as_str(), options)
    });
    let numbered = own.chain(of_devices).enumerate();
    let mut all: Vec<_> = numbered.map(|(n, (target, options))| (n, target, options)).collect();
    all.sort_by_key(|(_, target, _)| (target.matches('/').count(), *target));
    all
}

/// The limits that the control group has already; a runtime that is told nothing may set what it thinks best.
fn resources(spec: &RunSpec) -> Value {
    let limits = &spec.limits;
    let mut resources = json!({});
    let nodes = spec.extras.handed.nodes.iter().filter_map(|node| {
        let kind = match node.kind {
            NodeKind::Character => "c",
            NodeKind::Block => "b",
            NodeKind::Fifo => return None,
        };
        let access: String = [(node.access.read, 'r'), (node.access.write, 'w')]
            .iter()
            .filter(|(may, _)| *may)
            .map(|(_, c)| *c)
            .collect();
        Some(json!({"allow": true, "type": kind, "major": node.major, "minor": node.minor, "access": access}))
    });
    let nodes: Vec<Value> = nodes.collect();
    // Said even where no device is handed out: without a rule crun sets none, and whoever is root on the host may make a node of
    // any device. The harmless ones are allowed by every runtime.
    if !spec.privileged || !nodes.is_empty() {
        let none = json!({"allow": false, "access": "rwm"});
        resources["devices"] = [none].into_iter().chain(nodes).collect();
    }
    if let Some(bytes) = limits.memory_bytes {
        resources["memory"] = json!({"limit": bytes, "swap": bytes});
    }
    let period = if limits.cpu_period_us == 0 { DEFAULT_PERIOD_US } else { limits.cpu_period_us };
    let mut cpu = json!({"shares": shares(limits.cpu_weight.unwrap_or(DEFAULT_WEIGHT))});
    if let Some(quota) = limits.cpu_quota_us {
        cpu["quota"] = json!(quota);
        cpu["period"] = json!(period);
    }
    resources["cpu"] = cpu;
    if let Some(pids) = limits.pids {
        resources["pids"] = json!({"limit": pids});
    }
    resources
}

fn rlimit_name(resource: RlimitResource) -> &'static str {
    match resource {
        RlimitResource::Core => "RLIMIT_CORE",
        RlimitResource::Cpu => "RLIMIT_CPU",
        RlimitResource::Data => "RLIMIT_DATA",
        RlimitResource::FileSize => "RLIMIT_FSIZE",
        RlimitResource::Locks => "RLIMIT_LOCKS",
        RlimitResource::Memlock => "RLIMIT_MEMLOCK",
        RlimitResource::MessageQueue => "RLIMIT_MSGQUEUE",
        RlimitResource::Nice => "RLIMIT_NICE",
        RlimitResource::OpenFiles => "RLIMIT_NOFILE",
        RlimitResource::Processes => "RLIMIT_NPROC",
        RlimitResource::RealTimePriority => "RLIMIT_RTPRIO",
        RlimitResource::RealTimeTime => "RLIMIT_RTTIME",
        RlimitResource::SignalsPending => "RLIMIT_SIGPENDING",
        RlimitResource::Stack => "RLIMIT_STACK",
    }
}
