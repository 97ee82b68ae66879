use watchbell_sandbox::{Capabilities, Seccomp, Sharing, Sys, VolumeSource};

use super::*;

/// What the sandbox is asked for.
fn asked(assignment: Assignment, config: ImageConfig, passwd: &str, lookup: Lookup) -> Box<RunSpec> {
    let mut bench = Bench::with(lookup, Vec::new());
    bench.begin(assignment);
    bench.effects();
    let prepared = image("tool", config);
    let mut prepared = Arc::into_inner(prepared).unwrap();
    prepared.passwd = passwd.to_owned();
    bench.fetched(&Arc::new(prepared));
    let effects = bench.effects();
    let spec = bench.started.unwrap_or_else(|| panic!("{effects:?}"));
    spec.check().expect("within the sandbox' bounds");
    spec
}

fn plain(assignment: Assignment) -> Box<RunSpec> {
    asked(assignment, program(), "", nothing())
}

/// As admission fills a pod in that says nothing.
fn strict(mut extra: Value) -> Arc<PodSpec> {
    let context = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]}});
    let mut container = json!({"name": "m", "image": "tool:1", "securityContext": context});
    if let Some(own) = extra.as_object_mut().unwrap().remove("container") {
        container.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    }
    extra["containers"] = json!([container]);
    extra["securityContext"] = json!({"runAsNonRoot": true, "runAsUser": 65534, "runAsGroup": 65534,
        "seccompProfile": {"type": "RuntimeDefault"}, "fsGroup": extra["fsGroup"]});
    spec(extra)
}

#[test]
fn a_strict_pod_gets_nothing_it_did_not_ask_for() {
    let spec = plain(index(1, &strict(json!({}))));
    assert!(spec.capabilities.is_empty() && spec.no_new_privs && spec.root.read_only && !spec.privileged);
    assert_eq!((spec.uid, spec.gid, spec.groups.len()), (65534, 65534, 0));
    assert_eq!((spec.seccomp, spec.sys), (Seccomp::Default, Sys::None));
    assert_eq!(spec.pod.sharing, Sharing::Single);
    assert_eq!(spec.pod.host_namespaces, watchbell_sandbox::HostNamespaces::default());
    assert_eq!(spec.tmp.map(|t| t.bytes), Some(64 << 20), "a scratch /tmp beside the read-only root");
    assert_eq!(spec.limits.memory_bytes, Some(8 << 30), "never more than the machine offers");
    assert_eq!(
        (spec.limits.pids, spec.limits.cpu_quota_us, spec.limits.cpu_weight),
        (Some(1024), None, Some(1))
    );
    assert_eq!(spec.oom_score_adj, 1000);
    assert_eq!(spec.log.path, PathBuf::from("jobs/00000000-0000-0000-0000-000000000abc/1.0.0.0.log"));
    assert!(spec.pod.etc.resolv_conf.is_empty() && spec.pod.etc.hosts.is_empty());
    let core = spec.rlimits.iter().find(|r| r.resource == watchbell_sandbox::RlimitResource::Core);
    assert_eq!(core, None, "the sandbox forbids core files in the way that keeps handlers away too");
}

#[test]
fn a_labelled_namespace_gives_what_kubernetes_gives() {
    let mut assignment = pod(1, &spec(json!({})));
    assignment.private_tmp = false;
    let spec = plain(assignment);
    assert_eq!(spec.capabilities, Capabilities::RUNTIME_DEFAULT);
    assert!(!spec.no_new_privs && !spec.root.read_only);
    assert_eq!((spec.uid, spec.gid, spec.tmp, spec.sys), (0, 0, None, Sys::ReadOnly));
    assert_eq!(spec.seccomp, Seccomp::Default, "the floor of this node");
    assert!(!spec.pod.host_namespaces.users, "and a user namespace");
    assert_eq!(spec.log.path, PathBuf::from("pods/00000000-0000-0000-0000-000000000001/0.0.log"));
}

#[test]
fn capabilities_are_added_and_dropped_in_order() {
    let check = |asked: Value, expect: &str| {
        let container = json!({"name": "m", "image": "tool:1", "securityContext": {"capabilities": asked}});
        assert_eq!(plain(pod(1, &spec(json!({"containers": [container]})))).capabilities.to_string(), expect);
    };
    check(json!({"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}), "NET_BIND_SERVICE");
    check(json!({"drop": ["all", "CAP_NET_RAW"], "add": ["NET_RAW", "kill"]}), "KILL");
    check(json!({"add": ["ALL"]}), "ALL");
    check(json!({"add": ["ALL"], "drop": ["ALL"]}), "none");
}

#[test]
fn the_environment_is_the_images_then_the_pods_then_the_defaults() {
    let config = ImageConfig {
        env: vec!["A=image".into(), "PATH=/image".into()],
        cmd: vec!["serve".into()],
        working_dir: "srv".into(),
        user: "web".into(),
        stop_signal: "SIGINT".into(),
        ..program()
    };
    let container = json!({"name": "m", "image": "tool:1", "args": ["$(N)"], "env": [
        {"name": "A", "value": "pod"}, {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]});
    let passwd = "web:x:7:8::/home/web:/bin/sh\n";
    let spec = asked(pod(1, &spec(json!({"containers": [container]}))), config, passwd, nothing());
    let env: Vec<String> = spec.env.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(env, ["A=pod", "PATH=/image", "N=p1", "HOSTNAME=p1", "HOME=/home/web"]);
    assert_eq!(spec.argv, ["/main", "p1"]);
    assert_eq!((spec.cwd.as_str(), spec.uid, spec.gid), ("/srv", 7, 8));
}

#[test]
fn the_images_stop_signal_is_sent() {
    let check = |text: &str, signal: i32| {
        let mut bench = Bench::new();
        bench.begin(index(1, &spec(json!({}))));
        bench.effects();
        bench.fetched(&image("tool", ImageConfig { stop_signal: text.into(), ..program() }));
        bench.effects();
        bench.stop(1, 9);
        bench.expect(&[&format!("signal {signal} 1/0/0")]);
    };
    for (text, signal) in [
        ("", 15),
        ("SIGTERM", 15),
        ("sigint", 2),
        ("QUIT", 3),
        ("9", 9),
        ("SIGRTMIN+3", 37),
        ("0", 15),
        ("nonsense", 15),
    ] {
        check(text, signal);
    }
}

#[test]
fn volumes_become_mounts() {
    let lookup: Lookup = Arc::new(|_, _, _| Some(Arc::new(json!({"data": {"k": "v"}}))));
    let spec = strict(json!({
        "fsGroup": 5,
        "volumes": [
            {"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "disk", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "cfg", "configMap": {"name": "c", "defaultMode": 0o400}},
            {"name": "host", "hostPath": {"path": "/opt/x"}},
        ],
        "container": {"env": [{"name": "P", "value": "sub"}], "volumeMounts": [
            {"name": "disk", "mountPath": "/a/b/c"},
            {"name": "cfg", "mountPath": "/a"},
            {"name": "mem", "mountPath": "/tmp"},
            {"name": "host", "mountPath": "/a/b", "readOnly": true, "subPathExpr": "x/$(P)"},
        ]},
    }));
    let spec = asked(index(1, &spec), program(), "", lookup);
    let mounts: Vec<String> = spec
        .mounts
        .iter()
        .map(|m| format!("{} {} {:?} {}", m.target, m.volume, m.sub_path, m.read_only))
        .collect();
    assert_eq!(
        mounts,
        ["/a 2 None true", "/tmp 0 None false", "/a/b 3 Some(\"x/sub\") true", "/a/b/c 1 None false"]
    );
    assert_eq!(spec.tmp, None, "the pod's own /tmp");
    assert_eq!(spec.groups, [5]);
    assert_eq!(spec.pod.volumes[0].source, VolumeSource::Tmpfs { bytes: 1 << 20, inodes: 256, gid: Some(5) });
    let dir = "/data/volumes/00000000-0000-0000-0000-000000000001/disk";
    assert_eq!(spec.pod.volumes[1].source, VolumeSource::Dir { path: dir.into() });
    let VolumeSource::Files { entries, gid } = &spec.pod.volumes[2].source else { panic!() };
    assert_eq!(
        (entries[0].path.as_str(), entries[0].mode, *gid),
        ("k", 0o440, Some(5)),
        "the group may read"
    );
}

#[test]
fn a_sub_path_cannot_lead_out() {
    for (sub, part) in
        [("../x", "must be relative"), ("/x", "must be relative"), ("a/../../x", "must be relative")]
    {
        let spec = strict(json!({
            "volumes": [{"name": "v", "emptyDir": {}}],
            "container": {"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": sub}]},
        }));
        let mut bench = Bench::new();
        bench.begin(pod(1, &spec));
        bench.effects();
        bench.fetched(&image("tool", program()));
        let (effects, _) = bench.agent.settle(bench.now);
        assert!(!effects.iter().any(|e| matches!(e, Effect::Start { .. })));
        let text = format!("{effects:?}");
        assert!(text.contains("CreateContainerConfigError") && text.contains(part), "{text}");
    }
}

#[test]
fn resources_become_limits() {
    let check = |resources: Value, quota: Option<u64>, weight: u16, memory: u64, adjust: i16| {
        let container = json!({"name": "m", "image": "tool:1", "resources": resources});
        let spec = plain(pod(1, &spec(json!({"containers": [container]}))));
        assert_eq!(
            (spec.limits.cpu_quota_us, spec.limits.cpu_weight, spec.limits.memory_bytes, spec.oom_score_adj),
            (quota, Some(weight), Some(memory), adjust)
        );
    };
    check(json!({"limits": {"cpu": "1500m", "memory": "1Gi"}}), Some(150_000), 150, 1 << 30, -997);
    check(json!({"requests": {"cpu": 2}}), None, 200, 8 << 30, 999);
    check(json!({"limits": {"cpu": "1m"}}), Some(1000), 1, 8 << 30, 999);
}

#[test]
fn several_containers_share_one_environment() {
    let containers = json!([{"name": "a", "image": "tool:1"}, {"name": "b", "image": "tool:1"}]);
    let spec = plain(pod(1, &spec(json!({"containers": containers}))));
    assert_eq!(spec.pod.sharing, Sharing::Shared);
    assert_eq!(spec.pod.limits.pids, Some(2048));
    assert_eq!(spec.pod.limits.memory_bytes, Some(8 << 30));
}

#[test]
fn the_hosts_network_brings_the_hosts_names() {
    let mut assignment = pod(1, &spec(json!({"hostNetwork": true})));
    assignment.private_tmp = false;
    let spec = plain(assignment.clone());
    assert!(spec.pod.host_namespaces.network && spec.pod.host_namespaces.users);
    assert_eq!(spec.pod.etc.resolv_conf, b"host's resolver");
    // The machine went into another network since.
    RESOLVER.set("another resolver");
    assert_eq!(plain(assignment).pod.etc.resolv_conf, b"another resolver");
}

#[test]
fn no_secret_shows_in_what_is_logged() {
    let container = json!({"name": "m", "image": "tool:1", "command": ["/x", "hunter2"],
        "env": [{"name": "PASSWORD", "value": "hunter2"}]});
    let spec = plain(pod(1, &spec(json!({"containers": [container]}))));
    assert!(!format!("{spec:?}").contains("hunter2"));
    let effect = Effect::Start { spec, needed: Vec::new() };
    assert!(!format!("{effect:?}").contains("hunter2"));
}

#[test]
fn a_termination_message_has_a_file_where_it_can() {
    let target = |assignment: Assignment| {
        let spec = plain(assignment);
        spec.mounts.iter().find(|m| m.sub_path.as_deref() == Some("0.0")).map(|m| m.target.clone())
    };
    let at = |path: &str| {
        let mount = json!({"name": "v", "mountPath": "/out"});
        strict(json!({
            "volumes": [{"name": "v", "emptyDir": {}}],
            "container": {"terminationMessagePath": path, "volumeMounts": [mount]},
        }))
    };
    let default = "/dev/termination-log";
    assert_eq!(target(pod(1, &at(default))).as_deref(), Some(default));
    assert_eq!(target(index(1, &at(default))), None, "no file for each of ten thousand");
    assert_eq!(target(index(1, &at("/run/message"))).as_deref(), Some("/run/message"));
    assert_eq!(target(pod(1, &at("/out/message"))), None, "the volume holds it");
    for path in ["/dev/other", "/proc/self/x", "/sys/x", "relative", ""] {
        assert_eq!(target(pod(1, &at(path))), None, "{path}");
    }
}

#[test]
fn devices_are_those_that_the_pod_holds() {
    let limits = |count: u32| json!({"limits": {"vendor.com/toy": count}});
    let mut assignment = pod(
        1,
        &spec(json!({"containers": [
            {"name": "m", "image": "tool:1", "resources": limits(2)},
        ]})),
    );
    assignment.status.devices = vec!["vendor.com/toy=0".into(), "vendor.com/toy=7".into()];
    assert_eq!(plain(assignment.clone()).extras.devices, ["vendor.com/toy=0", "vendor.com/toy=7"]);
    // Nobody names his own.
    Arc::make_mut(&mut assignment.annotations).insert("cdi.k8s.io/mine".into(), "vendor.com/toy=9".into());
    let mut bench = Bench::with(nothing(), Vec::new());
    bench.begin(assignment);
    assert_eq!(bench.effects(), ["event 1 Unsupported!", "report 1 Failed Unsupported ContainerCreating"]);
    assert!(bench.started.is_none());
}
