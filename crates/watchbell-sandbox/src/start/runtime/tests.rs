use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::super::plan::tests::strict;
use super::config::{Given, config};
use crate::{
    Capabilities, CgroupLimits, HostNamespaces, Interaction, Mount, PodVolume, ProcMount, Rlimit,
    RlimitResource, RunSpec, Scratch, Seccomp, Sharing, Stdin, Sys, VolumeSource,
};

fn given(spec: &RunSpec) -> Value {
    let views = ["memory".to_owned(), "cpu".to_owned()];
    let given = Given {
        bundle: Path::new("/run"),
        cgroup: "/oci-7",
        views: &views,
        throttles: &["devices/system/cpu/cpu0/thermal_throttle".to_owned()],
        first_id: 0x5000_0000,
        hard_limit: &|_| 1 << 20,
    };
    config(spec, &given)
}

/// All but the list of system calls, which has tests of its own.
fn printed(spec: &RunSpec) -> String {
    let mut config = given(spec);
    if let Some(list) = config["linux"].get_mut("seccomp") {
        *list = "…".into();
    }
    serde_json::to_string_pretty(&config).unwrap()
}

#[test]
fn a_strict_container() {
    let mut spec = strict();
    spec.limits = CgroupLimits {
        memory_bytes: Some(64 << 20),
        cpu_quota_us: Some(50_000),
        pids: Some(1024),
        ..CgroupLimits::default()
    };
    insta::assert_snapshot!(printed(&spec));
}

fn with_volumes() -> RunSpec {
    let mut spec = strict();
    let pod = Arc::make_mut(&mut spec.pod);
    pod.sharing = Sharing::Shared;
    let volume = |id: u16, source: VolumeSource| PodVolume { id, source };
    pod.volumes = vec![
        volume(0, VolumeSource::Files { entries: Vec::new(), gid: None }),
        volume(1, VolumeSource::Dir { path: "/data/volumes/x".into() }),
    ];
    let mount = |target: &str, volume: u16, read_only: bool| Mount {
        target: target.to_owned(),
        volume,
        sub_path: None,
        read_only,
    };
    // Inner before outer.
    spec.mounts = vec![mount("/data/inner", 0, false), mount("/data", 1, false), mount("/ro", 1, true)];
    spec
}

#[test]
fn a_baseline_container_of_a_shared_pod() {
    let mut spec = with_volumes();
    (spec.uid, spec.gid, spec.groups, spec.tmp) = (0, 0, vec![7], None);
    (spec.root.read_only, spec.no_new_privs, spec.sys) = (false, false, Sys::ReadOnly);
    spec.capabilities = Capabilities::RUNTIME_DEFAULT;
    spec.interaction = Interaction { stdin: Stdin::Open, tty: true };
    spec.rlimits = vec![Rlimit { resource: RlimitResource::OpenFiles, soft: 1 << 30, hard: u64::MAX }];
    spec.env = vec![("PATH".into(), "/bin".into()), ("A".into(), "1".into())];
    insta::assert_snapshot!(printed(&spec));
}

#[test]
fn a_privileged_container_of_the_host() {
    let mut spec = strict();
    let host = HostNamespaces { users: true, network: true, pid: true, ipc: true };
    Arc::make_mut(&mut spec.pod).host_namespaces = host;
    spec.privileged = true;
    insta::assert_snapshot!(printed(&spec));
}

/// The fields of the OCI runtime specification 1.0.2 (config.md and config-linux.md), as far as they are used: runc and crun
/// ignore what they do not know, so a wrong name would be a protection that is not there.
mod oci {
    use serde::Deserialize;

    macro_rules! object {
        ($name:ident { $($field:ident: $kind:ty),* }) => {
            #[derive(Deserialize)]
            #[serde(deny_unknown_fields, rename_all = "camelCase")]
            #[expect(dead_code, reason = "that it can be read is the test")]
            pub(super) struct $name { $(#[serde(default)] $field: Option<$kind>),* }
        };
    }
    object!(Config { oci_version: String, process: Process, root: Root, hostname: String, mounts: Vec<Mount>, linux: Linux });
    object!(Process {
        terminal: bool, user: User, args: Vec<String>, env: Vec<String>, cwd: String, capabilities: Capabilities,
        rlimits: Vec<Rlimit>, no_new_privileges: bool, oom_score_adj: i32
    });
    object!(User { uid: u32, gid: u32, umask: u32, additional_gids: Vec<u32> });
    object!(Capabilities {
        bounding: Vec<String>, effective: Vec<String>, inheritable: Vec<String>, permitted: Vec<String>, ambient: Vec<String>
    });
    object!(Rlimit { r#type: String, soft: u64, hard: u64 });
    object!(Root { path: String, readonly: bool });
    object!(Mount { destination: String, r#type: String, source: String, options: Vec<String> });
    object!(Linux {
        namespaces: Vec<Namespace>, uid_mappings: Vec<IdMapping>, gid_mappings: Vec<IdMapping>, cgroups_path: String,
        resources: Resources, seccomp: Seccomp, masked_paths: Vec<String>, readonly_paths: Vec<String>
    });
    object!(Namespace { r#type: NamespaceKind, path: String });
    object!(Resources { memory: Memory, cpu: Cpu, pids: Pids, devices: Vec<Device> });
    object!(Device { allow: bool, r#type: String, major: i64, minor: i64, access: String });
    object!(Memory { limit: i64, swap: i64 });
    object!(Cpu { shares: u64, quota: i64, period: u64 });
    object!(Pids { limit: i64 });
    object!(Seccomp {
        default_action: Action, default_errno_ret: u32, architectures: Vec<String>, syscalls: Vec<Syscall>
    });
    object!(Syscall { names: Vec<String>, action: Action, errno_ret: u32, args: Vec<Arg> });
    object!(Arg { index: u32, value: u64, value_two: u64, op: Operator });

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub(super) enum NamespaceKind {
        Pid,
        Network,
        Mount,
        Ipc,
        Uts,
        User,
        Cgroup,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct IdMapping {
        #[serde(rename = "containerID")]
        _container: u32,
        #[serde(rename = "hostID")]
        _host: u32,
        #[serde(rename = "size")]
        _size: u32,
    }

    #[derive(Deserialize)]
    pub(super) enum Action {
        #[serde(rename = "SCMP_ACT_ALLOW")]
        Allow,
        #[serde(rename = "SCMP_ACT_ERRNO")]
        Errno,
        #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
        KillProcess,
    }

    #[derive(Deserialize)]
    pub(super) enum Operator {
        #[serde(rename = "SCMP_CMP_MASKED_EQ")]
        MaskedEqual,
    }
}

#[test]
fn every_field_is_one_of_the_specification() {
    let mut all = vec![strict(), with_volumes()];
    for bits in 0..64u32 {
        let has = |bit: u32| bits & (1 << bit) != 0;
        let mut spec = with_volumes();
        let pod = Arc::make_mut(&mut spec.pod);
        pod.sharing = if has(0) { Sharing::Shared } else { Sharing::Single };
        let host = has(1);
        pod.host_namespaces = HostNamespaces { users: host, network: host, pid: host, ipc: host };
        spec.seccomp = if has(2) { Seccomp::Default } else { Seccomp::Unconfined };
        spec.proc_mount = if has(3) { ProcMount::Default } else { ProcMount::Unmasked };
        spec.sys = if has(4) { Sys::ReadOnly } else { Sys::None };
        spec.privileged = has(5);
        let limit = |bit: u32| has(bit).then_some(1 << 20);
        spec.limits = CgroupLimits {
            memory_bytes: limit(1),
            cpu_quota_us: limit(2),
            pids: limit(3),
            ..CgroupLimits::default()
        };
        all.push(spec);
    }
    for spec in all {
        let config = given(&spec);
        serde_json::from_value::<oci::Config>(config.clone())
            .unwrap_or_else(|error| panic!("{error}: {config:#}"));
    }
}

#[test]
fn what_protects_is_left_out_only_where_it_is_asked_for() {
    let with = |change: fn(&mut RunSpec)| {
        let mut spec = strict();
        change(&mut spec);
        given(&spec)["linux"].clone()
    };
    let strict = with(|_| {});
    assert!(strict["seccomp"].is_object() && !strict["maskedPaths"].as_array().unwrap().is_empty());
    assert!(with(|s| s.seccomp = Seccomp::Unconfined)["seccomp"].is_null());
    assert!(with(|s| s.privileged = true)["maskedPaths"].is_null());
    let unmasked = with(|s| s.proc_mount = ProcMount::Unmasked);
    assert!(unmasked["maskedPaths"].as_array().unwrap().is_empty() && unmasked["readonlyPaths"].is_null());
    let kinds = |linux: &Value| {
        let all = linux["namespaces"].as_array().unwrap().iter();
        all.map(|ns| ns["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&strict), ["user", "pid", "network", "ipc", "uts", "mount", "cgroup"]);
    let host = with(|s| {
        let all = HostNamespaces { users: true, network: true, pid: true, ipc: true };
        Arc::make_mut(&mut s.pod).host_namespaces = all;
    });
    assert_eq!(kinds(&host), ["mount", "cgroup"]);
    assert!(host["uidMappings"].is_null() && strict["uidMappings"].is_array());
}

#[test]
fn only_a_privileged_container_has_all_devices() {
    let rules = |change: fn(&mut RunSpec)| {
        let mut spec = strict();
        change(&mut spec);
        given(&spec)["linux"]["resources"]["devices"].clone()
    };
    let none = serde_json::json!([{"allow": false, "access": "rwm"}]);
    assert_eq!(rules(|_| {}), none);
    let of_host = |s: &mut RunSpec| Arc::make_mut(&mut s.pod).host_namespaces.users = true;
    assert_eq!(rules(of_host), none);
    assert_eq!(rules(|s| s.privileged = true), Value::Null);
}

/// moby's `daemon/pkg/oci/defaults.go` and Kubernetes' `pkg/securitycontext/util.go` (v1.34) have the same lists.
#[test]
fn what_docker_and_kubernetes_cover_is_covered() {
    let mut spec = strict();
    spec.sys = Sys::ReadOnly;
    let linux = given(&spec)["linux"].clone();
    let covered: Vec<&str> =
        linux["maskedPaths"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    let read_only: Vec<&str> =
        linux["readonlyPaths"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    for path in [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
        "/sys/devices/system/cpu/cpu0/thermal_throttle",
    ] {
        assert!(covered.contains(&path), "{path}: {covered:?}");
    }
    for path in ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"] {
        assert!(read_only.contains(&path), "{path}: {read_only:?}");
    }
}

#[test]
fn every_scratch_is_bounded_and_none_is_a_path_of_the_host() {
    let mut spec = with_volumes();
    spec.tmp = Some(Scratch { bytes: 1, inodes: 1 });
    for mount in given(&spec)["mounts"].as_array().unwrap() {
        let source = mount["source"].as_str().unwrap();
        let is_ours = source.starts_with("/run/") || source.starts_with("/sys/fs/cgroup/");
        assert!(is_ours || !source.contains('/'), "{mount}");
        // The spawner makes and bounds all scratch.
        assert_ne!(mount["type"], "tmpfs", "{mount}");
    }
}
