//! Reasons and details, case by case as in the unit tests of `k8s.io/pod-security-admission/policy`.

use serde_json::{Value, json};

use crate::admission::Level;
use crate::admission::pod_security::{LevelVersion, Version, judge};

/// What one check says of a pod (`None`: it allows it), and the fields that it names.
fn found(check: &str, minor: u64, pod: &Value) -> Option<(String, Vec<String>)> {
    let policy = LevelVersion { level: Level::Restricted, version: Version::Minor(minor) };
    let baseline = LevelVersion { level: Level::Baseline, ..policy };
    let (annotations, spec) = (&pod["metadata"]["annotations"], &pod["spec"]);
    // A check that restricted overrides is heard at baseline only.
    let mut violations = judge(policy, annotations, spec);
    violations.extend(judge(baseline, annotations, spec));
    let violation = violations.into_iter().find(|violation| violation.check.id == check)?;
    Some((format!("{}: {}", violation.reason, violation.detail), violation.fields))
}

fn check(id: &str, minor: u64, spec: Value, expect: Option<&str>) {
    let pod = json!({"spec": spec});
    let found = found(id, minor, &pod);
    assert_eq!(found.as_ref().map(|(words, _)| words.as_str()), expect, "{id} v1.{minor} {pod:#}");
}

fn check_fields(id: &str, minor: u64, pod: &Value, expect: &[&str]) {
    assert_eq!(found(id, minor, pod).expect("refused").1, expect, "{id} {pod:#}");
}

/// Containers with these security contexts, named a, b, c…
fn contexts(contexts: &[Value]) -> Value {
    let list: Vec<Value> = contexts
        .iter()
        .zip('a'..)
        .map(|(context, name)| json!({"name": name.to_string(), "securityContext": context}))
        .collect();
    json!(list)
}

#[test]
fn host_namespaces() {
    check(
        "hostNamespaces",
        0,
        json!({"hostIPC": true, "hostPID": true, "hostNetwork": true}),
        Some("host namespaces: hostNetwork=true, hostPID=true, hostIPC=true"),
    );
    check("hostNamespaces", 0, json!({"hostIPC": false, "hostPID": null}), None);
}

#[test]
fn privileged() {
    let spec = json!({"containers": contexts(&[
        Value::Null, json!({}), json!({"privileged": false}), json!({"privileged": true}), json!({"privileged": true}),
    ])});
    check(
        "privileged",
        0,
        spec,
        Some("privileged: containers \"d\", \"e\" must not set securityContext.privileged=true"),
    );
}

#[test]
fn capabilities() {
    let spec = json!({"containers": contexts(&[
        json!({"capabilities": {"add": ["FOO", "BAR"]}}),
        json!({"capabilities": {"add": ["BAR", "BAZ"]}}),
        json!({"capabilities": {"add": ["NET_BIND_SERVICE", "CHOWN"], "drop": ["ALL", "FOO"]}}),
    ])});
    check(
        "capabilities_baseline",
        0,
        spec.clone(),
        Some(
            "non-default capabilities: containers \"a\", \"b\" must not include \"BAR\", \"BAZ\", \"FOO\" in \
             securityContext.capabilities.add",
        ),
    );
    check(
        "capabilities_restricted",
        22,
        spec.clone(),
        Some(
            "unrestricted capabilities: containers \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"]; \
             containers \"a\", \"b\", \"c\" must not include \"BAR\", \"BAZ\", \"CHOWN\", \"FOO\" in \
             securityContext.capabilities.add",
        ),
    );
    check_fields(
        "capabilities_restricted",
        35,
        &json!({"spec": spec}),
        &[
            "spec.containers[0].securityContext.capabilities.drop",
            "spec.containers[0].securityContext.capabilities.add",
            "spec.containers[1].securityContext.capabilities.drop",
            "spec.containers[1].securityContext.capabilities.add",
            "spec.containers[2].securityContext.capabilities.add",
        ],
    );
    let silent = |os: Value| json!({"os": os, "containers": [{"name": "a"}]});
    let refused = Some(
        "unrestricted capabilities: container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]",
    );
    check("capabilities_restricted", 21, silent(Value::Null), None);
    check("capabilities_restricted", 22, silent(Value::Null), refused);
    check("capabilities_restricted", 24, silent(json!({"name": "windows"})), refused);
    check("capabilities_restricted", 25, silent(json!({"name": "windows"})), None);
    check("capabilities_restricted", 25, silent(json!({"name": "linux"})), refused);
}

#[test]
fn host_path_volumes() {
    let volumes = |names: &[&str]| {
        let mut list: Vec<Value> =
            names.iter().map(|name| json!({"name": name, "hostPath": {"path": "/x"}})).collect();
        list.push(json!({"name": "fine", "emptyDir": {}}));
        json!({"volumes": list})
    };
    check("hostPathVolumes", 0, volumes(&["a"]), Some("hostPath volumes: volume \"a\""));
    check("hostPathVolumes", 35, volumes(&["b", "a"]), Some("hostPath volumes: volumes \"b\", \"a\""));
    check("hostPathVolumes", 0, volumes(&[]), None);
}

#[test]
fn host_ports() {
    let ports = |lists: &[&[i64]]| {
        let list: Vec<Value> = lists
            .iter()
            .zip('a'..)
            .map(|(ports, name)| {
                let ports: Vec<Value> = ports.iter().map(|port| json!({"hostPort": port})).collect();
                json!({"name": name.to_string(), "ports": ports})
            })
            .collect();
        json!({"containers": list})
    };
    check("hostPorts", 0, ports(&[&[0], &[0, 20]]), Some("hostPort: container \"b\" uses hostPort 20"));
    check(
        "hostPorts",
        0,
        ports(&[&[0], &[0, 10, 20], &[0, 10, 30]]),
        Some("hostPort: containers \"b\", \"c\" use hostPorts 10, 20, 30"),
    );
    check("hostPorts", 0, ports(&[&[9, 80]]), Some("hostPort: container \"a\" uses hostPorts 80, 9"));
    check_fields(
        "hostPorts",
        0,
        &json!({"spec": ports(&[&[0], &[0, 20]])}),
        &["spec.containers[1].ports[1].hostPort"],
    );
}

#[test]
fn app_armor_profiles() {
    let unconfined = json!({"appArmorProfile": {"type": "Unconfined"}});
    let fine = json!({"appArmorProfile": {"type": "RuntimeDefault"}});
    const ONE: &str = "forbidden AppArmor profile";
    check(
        "appArmorProfile",
        0,
        json!({"securityContext": unconfined}),
        Some(&format!("{ONE}: pod must not set AppArmor profile type to \"Unconfined\"")),
    );
    check(
        "appArmorProfile",
        0,
        json!({"securityContext": fine, "containers": [{"name": "foo", "securityContext": unconfined}]}),
        Some(&format!("{ONE}: container \"foo\" must not set AppArmor profile type to \"Unconfined\"")),
    );
    check(
        "appArmorProfile",
        0,
        json!({"containers": [{"name": "foo"}], "initContainers": [{"name": "bar", "securityContext": unconfined}]}),
        Some(&format!("{ONE}: container \"bar\" must not set AppArmor profile type to \"Unconfined\"")),
    );
    check("appArmorProfile", 35, json!({"securityContext": fine}), None);
    let key = |name: &str| format!("container.apparmor.security.beta.kubernetes.io/{name}");
    let pod = json!({"metadata": {"annotations": {
        key(""): "bogus", key("a"): "", key("b"): "runtime/default", key("c"): "localhost/", key("d"): "localhost/foo",
        key("e"): "unconfined", key("f"): "unknown", "other": "unconfined",
    }}});
    let (words, fields) = found("appArmorProfile", 0, &pod).expect("refused");
    assert_eq!(
        words,
        format!(
            "forbidden AppArmor profiles: annotations must not set AppArmor profile type to \"{}=\"bogus\"\", \
             \"{}=\"unconfined\"\", \"{}=\"unknown\"\"",
            key(""),
            key("e"),
            key("f")
        )
    );
    assert_eq!(fields, ["", "e", "f"].map(|name| format!("metadata.annotations[{}]", key(name))));
}

#[test]
fn se_linux_options() {
    let options = |options: &[Value]| {
        let list: Vec<Value> = options.iter().map(|options| json!({"seLinuxOptions": options})).collect();
        contexts(&list)
    };
    let some = || {
        options(&[
            json!({"type": "container_t"}),
            json!({"type": "container_init_t"}),
            json!({"type": "container_kvm_t"}),
            json!({"type": "container_engine_t"}),
            json!({"type": "bar"}),
            json!({"user": "bar"}),
            json!({"role": "baz"}),
        ])
    };
    let pod = |options: Value| json!({"seLinuxOptions": options});
    let all = json!({"type": "foo", "user": "bar", "role": "baz"});
    let both = json!({"securityContext": pod(all.clone()), "containers": some()});
    const SET: &str = "set forbidden securityContext.seLinuxOptions:";
    let only = "user may not be set; role may not be set";
    check(
        "seLinuxOptions",
        31,
        both.clone(),
        Some(&format!(
            "seLinuxOptions: pod and containers \"e\", \"f\", \"g\" {SET} types \"bar\", \"foo\"; {only}"
        )),
    );
    check(
        "seLinuxOptions",
        30,
        both,
        Some(&format!(
            "seLinuxOptions: pod and containers \"d\", \"e\", \"f\", \"g\" {SET} types \"bar\", \"container_engine_t\", \
             \"foo\"; {only}"
        )),
    );
    check(
        "seLinuxOptions",
        31,
        json!({"securityContext": pod(all)}),
        Some(&format!("seLinuxOptions: pod {SET} type \"foo\"; {only}")),
    );
    check(
        "seLinuxOptions",
        31,
        json!({"securityContext": pod(json!({})), "containers": some()}),
        Some(&format!("seLinuxOptions: containers \"e\", \"f\", \"g\" {SET} type \"bar\"; {only}")),
    );
    for (field, words) in
        [("type", "type \"bad\""), ("user", "user may not be set"), ("role", "role may not be set")]
    {
        check(
            "seLinuxOptions",
            31,
            json!({"securityContext": pod(json!({field: "bad"}))}),
            Some(&format!("seLinuxOptions: pod {SET} {words}")),
        );
    }
    check("seLinuxOptions", 31, json!({"securityContext": pod(json!({"level": "s0:c1"}))}), None);
}

#[test]
fn proc_mounts() {
    let spec = |host_users: Value| {
        json!({"hostUsers": host_users, "containers": contexts(&[
            Value::Null, json!({}), json!({"procMount": "Default"}), json!({"procMount": "Unmasked"}),
            json!({"procMount": "other"}),
        ])})
    };
    let refused = Some(
        "procMount: containers \"d\", \"e\" must not set securityContext.procMount to \"Unmasked\", \"other\"",
    );
    check("procMount", 0, spec(json!(false)), refused);
    check("procMount", 34, spec(json!(false)), refused);
    check("procMount", 35, spec(json!(true)), refused);
    check("procMount", 35, spec(Value::Null), refused);
    check("procMount", 35, spec(json!(false)), None);
    check("procMount_restricted", 34, spec(Value::Null), None);
    check("procMount_restricted", 35, spec(json!(false)), refused);
}

#[test]
fn seccomp_annotations() {
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    let check = |annotations: Value, expect: Option<String>| {
        let pod = json!({
            "metadata": {"annotations": annotations},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]},
        });
        let words = found("seccompProfile_baseline", 18, &pod).map(|(words, _)| words);
        assert_eq!(words, expect, "{pod:#}");
        assert!(found("seccompProfile_baseline", 19, &pod).is_none(), "the field took its place");
    };
    let (a, b) = (format!("{CONTAINER}a"), format!("{CONTAINER}b"));
    check(
        json!({POD: "unconfined"}),
        Some(format!("seccompProfile: forbidden annotation {POD}=\"unconfined\"")),
    );
    check(
        json!({&a: "unconfined", &b: "unknown"}),
        Some(format!("seccompProfile: forbidden annotations {a}=\"unconfined\", {b}=\"unknown\"")),
    );
    check(
        json!({POD: "unconfined", &a: "unconfined", &b: "unknown"}),
        Some(format!(
            "seccompProfile: forbidden annotations {a}=\"unconfined\", {b}=\"unknown\", {POD}=\"unconfined\""
        )),
    );
    check(json!({POD: "runtime/default", &a: "docker/default", &b: "localhost/x"}), None);
    // Of a container that is not there.
    check(json!({format!("{CONTAINER}z"): "unconfined"}), None);
}

#[test]
fn seccomp_profiles() {
    let profile = |kind: &str| json!({"seccompProfile": {"type": kind}});
    let containers = || {
        contexts(&[
            Value::Null,
            json!({}),
            profile("Unconfined"),
            profile("Unconfined"),
            profile("RuntimeDefault"),
            profile("Localhost"),
        ])
    };
    let must_not = |who: &str| {
        format!("seccompProfile: {who} must not set securityContext.seccompProfile.type to \"Unconfined\"")
    };
    let must = |who: &str| {
        format!(
            "seccompProfile: pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
             \"Localhost\""
        )
    };
    let with = |pod: Value, containers: Value| json!({"securityContext": pod, "containers": containers});
    for (id, minor) in [("seccompProfile_baseline", 19), ("seccompProfile_restricted", 25)] {
        let one = json!([{"name": "a"}]);
        check(id, minor, with(profile("Unconfined"), one.clone()), Some(&must_not("pod")));
        let both = with(profile("Unconfined"), containers());
        check(id, minor, both, Some(&must_not("pod and containers \"c\", \"d\"")));
        let some = with(profile("RuntimeDefault"), containers());
        check(id, minor, some, Some(&must_not("containers \"c\", \"d\"")));
        check(id, minor, with(profile("Localhost"), one), None);
    }
    let silent = |os: &str| json!({"os": {"name": os}, "containers": [{"name": "a"}]});
    let id = "seccompProfile_restricted";
    check(id, 18, silent("linux"), None);
    check(id, 19, silent("windows"), Some(&must("container \"a\"")));
    check(id, 25, silent("windows"), None);
    check(id, 25, silent("linux"), Some(&must("container \"a\"")));
    let fallthrough =
        contexts(&[Value::Null, json!({}), profile("RuntimeDefault"), profile("RuntimeDefault")]);
    check(id, 25, json!({"containers": fallthrough}), Some(&must("containers \"a\", \"b\"")));
    check("seccompProfile_baseline", 35, silent("linux"), None);
}

#[test]
fn sysctls() {
    let spec = |names: &[&str]| {
        let list: Vec<Value> = names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
        json!({"securityContext": {"sysctls": list}})
    };
    check("sysctls", 0, spec(&["a", "b"]), Some("forbidden sysctls: a, b"));
    check("sysctls", 32, spec(&["kernel.shm_rmid_forced", "b"]), Some("forbidden sysctls: b"));
    for (name, since) in [
        ("net.ipv4.ip_unprivileged_port_start", 0),
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_keepalive_time", 29),
        ("net.ipv4.tcp_keepalive_probes", 29),
        ("net.ipv4.tcp_rmem", 32),
        ("net.ipv4.tcp_wmem", 32),
    ] {
        if let Some(before) = u64::checked_sub(since, 1) {
            check("sysctls", before, spec(&[name]), Some(&format!("forbidden sysctls: {name}")));
        }
        check("sysctls", since, spec(&[name]), None);
        check("sysctls", u64::MAX, spec(&[name]), None);
    }
}

#[test]
fn windows_host_processes() {
    let host = json!({"windowsOptions": {"hostProcess": true}});
    check(
        "windowsHostProcess",
        0,
        json!({"securityContext": host, "containers": contexts(&[
            Value::Null, json!({"windowsOptions": {"hostProcess": false}}), host.clone(), host.clone(),
        ])}),
        Some(
            "hostProcess: pod and containers \"c\", \"d\" must not set securityContext.windowsOptions.hostProcess=true",
        ),
    );
}

#[test]
fn hosts_of_probes_and_hooks() {
    let id = "hostProbesAndHostLifecycle";
    let http = |host: &str| json!({"httpGet": {"host": host, "port": 80}});
    let tcp = |host: &str| json!({"tcpSocket": {"host": host, "port": 80}});
    let spec = json!({"containers": [
        {"name": "valid", "livenessProbe": http("")},
        {"name": "z", "livenessProbe": http("a.com")},
        {"name": "b", "lifecycle": {"preStop": tcp("b.com")}, "startupProbe": http("a.com")},
    ]});
    check(id, 33, spec.clone(), None);
    check(
        id,
        34,
        spec.clone(),
        Some(
            "probe or lifecycle host: containers \"b\", \"z\" use probe or lifecycle hosts \"a.com\", \"b.com\"",
        ),
    );
    check_fields(
        id,
        34,
        &json!({"spec": spec}),
        &[
            "spec.containers[1].livenessProbe.httpGet.host",
            "spec.containers[2].startupProbe.httpGet.host",
            "spec.containers[2].lifecycle.preStop.tcpSocket.host",
        ],
    );
    for host in ["bad.host", "127.0.0.1", "::1", "8.8.8.8"] {
        check(
            id,
            u64::MAX,
            json!({"initContainers": [{"name": "i", "readinessProbe": tcp(host)}]}),
            Some(&format!(
                "probe or lifecycle host: container \"i\" uses probe or lifecycle host \"{host}\""
            )),
        );
    }
    check(
        id,
        34,
        json!({"containers": [{"name": "a", "lifecycle": {"postStart": http("h")}}]}),
        Some("probe or lifecycle host: container \"a\" uses probe or lifecycle host \"h\""),
    );
}

#[test]
fn restricted_volumes() {
    let allowed = [
        "emptyDir",
        "secret",
        "persistentVolumeClaim",
        "downwardAPI",
        "configMap",
        "projected",
        "csi",
        "ephemeral",
        "image",
    ];
    let restricted = [
        "hostPath",
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "gitRepo",
        "nfs",
        "iscsi",
        "glusterfs",
        "rbd",
        "flexVolume",
        "cinder",
        "cephfs",
        "flocker",
        "fc",
        "azureFile",
        "vsphereVolume",
        "quobyte",
        "azureDisk",
        "photonPersistentDisk",
        "portworxVolume",
        "scaleIO",
        "storageos",
    ];
    let volume = |(i, kind): (usize, &&str)| json!({"name": format!("v{i}"), *kind: {}});
    let fine: Vec<Value> = allowed.iter().enumerate().map(volume).collect();
    check("restrictedVolumes", 0, json!({"volumes": fine}), None);
    let mut all: Vec<Value> = restricted.iter().enumerate().map(volume).collect();
    all.push(json!({"name": "unknown"}));
    let mut names: Vec<String> = (0..restricted.len()).map(|i| format!("\"v{i}\"")).collect();
    names.push("\"unknown\"".into());
    let mut kinds: Vec<String> = restricted.iter().map(|kind| format!("\"{kind}\"")).collect();
    kinds.push("\"unknown\"".into());
    kinds.sort();
    check(
        "restrictedVolumes",
        0,
        json!({"volumes": all}),
        Some(&format!(
            "restricted volume types: volumes {} use restricted volume types {}",
            names.join(", "),
            kinds.join(", ")
        )),
    );
    check(
        "restrictedVolumes",
        35,
        json!({"volumes": [{"name": "a", "nfs": {}}]}),
        Some("restricted volume types: volume \"a\" uses restricted volume type \"nfs\""),
    );
}

#[test]
fn privilege_escalation() {
    let id = "allowPrivilegeEscalation";
    let spec = json!({"containers": contexts(&[
        Value::Null, json!({}), json!({"allowPrivilegeEscalation": true}), json!({"allowPrivilegeEscalation": false}),
    ])});
    const REASON: &str = "allowPrivilegeEscalation != false";
    let must = |who: &str| format!("{REASON}: {who} must set securityContext.allowPrivilegeEscalation=false");
    check(id, 7, spec.clone(), None);
    check(id, 8, spec.clone(), Some(&must("containers \"a\", \"b\", \"c\"")));
    check(id, 25, spec, Some(&must("containers \"a\", \"b\", \"c\"")));
    let silent = |os: &str| json!({"os": {"name": os}, "containers": [{"name": "a"}]});
    check(id, 24, silent("windows"), Some(&must("container \"a\"")));
    check(id, 25, silent("windows"), None);
    check(id, 25, silent("linux"), Some(&must("container \"a\"")));
}

#[test]
fn run_as_non_root() {
    let id = "runAsNonRoot";
    let set = |value: bool| json!({"runAsNonRoot": value});
    let some = || contexts(&[Value::Null, json!({}), set(false), set(false), set(true), set(true)]);
    let words = |words: &str| format!("runAsNonRoot != true: {words}");
    check(
        id,
        0,
        json!({"containers": [{"name": "a"}]}),
        Some(&words("pod or container \"a\" must set securityContext.runAsNonRoot=true")),
    );
    check(
        id,
        0,
        json!({"securityContext": set(false), "containers": [{"name": "a"}]}),
        Some(&words("pod must not set securityContext.runAsNonRoot=false")),
    );
    check(
        id,
        0,
        json!({"securityContext": set(true), "containers": some()}),
        Some(&words("containers \"c\", \"d\" must not set securityContext.runAsNonRoot=false")),
    );
    check(
        id,
        0,
        json!({"securityContext": set(false), "containers": some()}),
        Some(&words("pod and containers \"c\", \"d\" must not set securityContext.runAsNonRoot=false")),
    );
    check(
        id,
        0,
        json!({"containers": contexts(&[Value::Null, json!({}), set(true), set(true)])}),
        Some(&words("pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true")),
    );
    check(id, 0, json!({"securityContext": set(true), "containers": [{"name": "a"}]}), None);
    let inside = json!({"hostUsers": false, "containers": [{"name": "a"}]});
    let refused = words("pod or container \"a\" must set securityContext.runAsNonRoot=true");
    check(id, 34, inside.clone(), Some(&refused));
    check(id, 35, inside, None);
}

#[test]
fn run_as_user() {
    let id = "runAsUser";
    let set = |uid: i64| json!({"runAsUser": uid});
    let some = || contexts(&[Value::Null, json!({}), set(0), set(0), set(1), set(1)]);
    let words = |who: &str| format!("runAsUser=0: {who} must not set runAsUser=0");
    check(id, 22, json!({"securityContext": set(0)}), None);
    check(id, 23, json!({"securityContext": set(0)}), Some(&words("pod")));
    check(
        id,
        23,
        json!({"securityContext": set(1), "containers": some()}),
        Some(&words("containers \"c\", \"d\"")),
    );
    check(
        id,
        23,
        json!({"securityContext": set(0), "containers": some()}),
        Some(&words("pod and containers \"c\", \"d\"")),
    );
    check(id, 23, json!({"containers": [{"name": "a"}]}), None);
    let inside = json!({"hostUsers": false, "securityContext": set(0)});
    check(id, 34, inside.clone(), Some(&words("pod")));
    check(id, 35, inside, None);
}
