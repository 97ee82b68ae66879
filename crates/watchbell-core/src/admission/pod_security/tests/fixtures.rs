//! The published fixtures of the Pod Security Standards, made anew: for each level, release and check the pods that must
//! pass and that must fail.
//!
//! They are those of `k8s.io/pod-security-admission/test` (`fixtures_*.go` and `testdata`, Copyright The Kubernetes Authors,
//! Apache License 2.0): the same smallest valid pods, changed in the same places. What is here is our own way to write the
//! changes down; their files hold each pod in full, once for each level and release.

use serde_json::{Value, json};
use watchbell_api::defaults;

use crate::admission::Level;
use crate::admission::pod_security::{CHECKS, LevelVersion, Version, details, judge};

/// Releases with fixtures.
const RELEASES: std::ops::RangeInclusive<u64> = 0..=37;

/// The smallest pod that passes.
fn minimal(level: Level, minor: u64) -> Value {
    let container = |name: &str| json!({"name": name, "image": "registry.k8s.io/pause"});
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "base"},
        "spec": {"initContainers": [container("initcontainer1")], "containers": [container("container1")]},
    });
    if level < Level::Restricted {
        return pod;
    }
    pod["spec"]["securityContext"]["runAsNonRoot"] = json!(true);
    if minor >= 8 {
        each(&mut pod, |context| context["allowPrivilegeEscalation"] = json!(false));
    }
    if minor >= 19 {
        pod["spec"]["securityContext"]["seccompProfile"] = json!({"type": "RuntimeDefault"});
    }
    if minor >= 22 {
        each(&mut pod, |context| context["capabilities"]["drop"] = json!(["ALL"]));
    }
    pod
}

/// The smallest pods of one operating system.
fn minimal_of(os: &str, minor: u64) -> Value {
    // Nothing that was added since 1.0 is asked of pods that say they are for Windows.
    let of = if os == "windows" && minor >= 25 { 0 } else { minor };
    let mut pod = minimal(Level::Restricted, of);
    pod["spec"]["os"] = json!({"name": os});
    pod
}

fn each(pod: &mut Value, change: impl Fn(&mut Value)) {
    change(context(pod, "containers"));
    change(context(pod, "initContainers"));
}

fn context<'a>(pod: &'a mut Value, list: &str) -> &'a mut Value {
    let context = &mut pod["spec"][list][0]["securityContext"];
    if context.is_null() {
        *context = json!({});
    }
    context
}

type Change = Box<dyn Fn(&mut Value)>;

fn change(change: impl Fn(&mut Value) + 'static) -> Change {
    Box::new(change)
}

/// In the pod's security context.
fn in_pod(field: &'static str, value: Value) -> Change {
    change(move |pod| pod["spec"]["securityContext"][field] = value.clone())
}

/// In the security context of a list's first container.
fn in_first(list: &'static str, field: &'static str, value: Value) -> Change {
    change(move |pod| context(pod, list)[field] = value.clone())
}

fn in_spec(field: &'static str, value: Value) -> Change {
    change(move |pod| pod["spec"][field] = value.clone())
}

fn in_container(list: &'static str, field: &'static str, value: Value) -> Change {
    change(move |pod| pod["spec"][list][0][field] = value.clone())
}

fn all(changes: Vec<Change>) -> Change {
    change(move |pod| changes.iter().for_each(|change| change(pod)))
}

fn annotation(key: &'static str, value: &'static str) -> Change {
    change(move |pod| pod["metadata"]["annotations"][key] = value.into())
}

struct Fixtures {
    /// What the refusal has to say.
    error: &'static str,
    pass: Vec<Change>,
    fail: Vec<Change>,
}

const BOTH: [&str; 2] = ["containers", "initContainers"];

/// The fixtures of a check at a level and a release.
fn fixtures(check: &str, level: Level, minor: u64) -> Fixtures {
    let profile = |kind: &str| json!({"type": kind});
    let localhost = json!({"type": "Localhost", "localhostProfile": "testing"});
    match check {
        "allowPrivilegeEscalation" => {
            const FIELD: &str = "allowPrivilegeEscalation";
            Fixtures {
                error: FIELD,
                pass: vec![],
                fail: vec![
                    in_first("containers", FIELD, json!(true)),
                    in_first("initContainers", FIELD, json!(true)),
                    in_first("containers", FIELD, Value::Null),
                    in_container("containers", "securityContext", Value::Null),
                ],
            }
        }
        "appArmorProfile" => Fixtures {
            error: "forbidden AppArmor profile",
            pass: vec![annotation(
                "container.apparmor.security.beta.kubernetes.io/container1",
                "localhost/foo",
            )],
            fail: vec![
                annotation("container.apparmor.security.beta.kubernetes.io/container1", "unconfined"),
                annotation("container.apparmor.security.beta.kubernetes.io/initcontainer1", "unconfined"),
            ],
        },
        "capabilities_baseline" => capabilities_baseline(level, minor),
        "capabilities_restricted" => capabilities_restricted(),
        "hostNamespaces" => Fixtures {
            error: "host namespaces",
            pass: vec![],
            fail: ["hostIPC", "hostNetwork", "hostPID"].map(|field| in_spec(field, json!(true))).into(),
        },
        "hostPathVolumes" => {
            let volume = |name: &str, path: &str| json!({"name": name, "hostPath": {"path": path}});
            let empty = json!({"name": "volume-emptydir", "emptyDir": {}});
            Fixtures {
                // At restricted it is another check that says so.
                error: if level == Level::Restricted {
                    "restricted volume types"
                } else {
                    "hostPath volumes"
                },
                pass: vec![],
                fail: vec![
                    in_spec("volumes", json!([empty, volume("volume-hostpath", "/a")])),
                    in_spec(
                        "volumes",
                        json!([volume("volume-hostpath-a", "/a"), volume("volume-hostpath-b", "/b")]),
                    ),
                ],
            }
        }
        "hostPorts" => {
            let host = |port: i32| json!([{"containerPort": port, "hostPort": port}]);
            let mixed =
                |port: i32| json!([{"containerPort": port, "hostPort": port}, {"containerPort": port + 2}]);
            Fixtures {
                error: "hostPort",
                pass: vec![all(vec![
                    in_container("containers", "ports", json!([{"containerPort": 12345}])),
                    in_container("initContainers", "ports", json!([{"containerPort": 12346}])),
                ])],
                fail: vec![
                    in_container("containers", "ports", host(12345)),
                    in_container("initContainers", "ports", host(12346)),
                    all(vec![
                        in_container("containers", "ports", mixed(12345)),
                        in_container("initContainers", "ports", mixed(12346)),
                    ]),
                ],
            }
        }
        "hostProbesAndHostLifecycle" => host_probes(),
        "privileged" => {
            let fail = |list| {
                all(vec![
                    in_first(list, "privileged", json!(true)),
                    in_first(list, "allowPrivilegeEscalation", Value::Null),
                ])
            };
            Fixtures {
                error: "privileged",
                pass: vec![all(BOTH.map(|list| in_first(list, "privileged", json!(false))).into())],
                fail: BOTH.map(fail).into(),
            }
        }
        "procMount" | "procMount_restricted" => proc_mount(check, level, minor),
        "restrictedVolumes" => restricted_volumes(),
        "runAsNonRoot" => {
            const FIELD: &str = "runAsNonRoot";
            let everywhere = |pod: Value, container: Value| {
                all(vec![
                    in_pod(FIELD, pod),
                    in_first("containers", FIELD, container.clone()),
                    in_first("initContainers", FIELD, container),
                ])
            };
            Fixtures {
                error: FIELD,
                pass: vec![everywhere(json!(true), Value::Null), everywhere(Value::Null, json!(true))],
                fail: vec![
                    everywhere(Value::Null, Value::Null),
                    in_pod(FIELD, json!(false)),
                    in_first("containers", FIELD, json!(false)),
                    in_first("initContainers", FIELD, json!(false)),
                ],
            }
        }
        "runAsUser" => {
            const FIELD: &str = "runAsUser";
            Fixtures {
                error: FIELD,
                pass: vec![all(vec![
                    in_pod(FIELD, json!(1000)),
                    in_first("containers", FIELD, json!(1000)),
                    in_first("initContainers", FIELD, json!(1000)),
                ])],
                fail: vec![
                    in_pod(FIELD, json!(0)),
                    in_first("containers", FIELD, json!(0)),
                    in_first("initContainers", FIELD, json!(0)),
                ],
            }
        }
        "seLinuxOptions" => se_linux_options(),
        "seccompProfile_baseline" if minor < 19 => {
            const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
            const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/container1";
            const INIT: &str = "container.seccomp.security.alpha.kubernetes.io/initcontainer1";
            Fixtures {
                error: "seccompProfile",
                pass: vec![all(vec![
                    annotation(POD, "runtime/default"),
                    annotation(CONTAINER, "localhost/testing"),
                ])],
                fail: [POD, CONTAINER, INIT].map(|key| annotation(key, "unconfined")).into(),
            }
        }
        "seccompProfile_baseline" => Fixtures {
            error: "seccompProfile",
            pass: match level {
                Level::Restricted => vec![],
                _ => vec![all(vec![
                    in_pod("seccompProfile", profile("RuntimeDefault")),
                    in_first("containers", "seccompProfile", profile("RuntimeDefault")),
                ])],
            },
            fail: vec![
                in_pod("seccompProfile", profile("Unconfined")),
                in_first("containers", "seccompProfile", profile("Unconfined")),
                in_first("initContainers", "seccompProfile", profile("Unconfined")),
            ],
        },
        "seccompProfile_restricted" => {
            const FIELD: &str = "seccompProfile";
            let spread = |container: Option<Value>, init: Option<Value>| {
                let mut changes = vec![in_pod(FIELD, Value::Null)];
                changes.extend(container.map(|value| in_first("containers", FIELD, value)));
                changes.extend(init.map(|value| in_first("initContainers", FIELD, value)));
                all(changes)
            };
            let default = || Some(profile("RuntimeDefault"));
            Fixtures {
                error: FIELD,
                pass: vec![
                    in_pod(FIELD, profile("RuntimeDefault")),
                    in_pod(FIELD, localhost.clone()),
                    spread(default(), Some(localhost)),
                ],
                fail: vec![
                    spread(None, None),
                    in_pod(FIELD, profile("Unconfined")),
                    spread(default(), None),
                    spread(None, default()),
                    spread(default(), Some(profile("Unconfined"))),
                ],
            }
        }
        "sysctls" => sysctls(minor),
        "windowsHostProcess" => {
            let options = json!({"hostProcess": true});
            Fixtures {
                error: "hostProcess",
                pass: vec![],
                fail: vec![
                    all(vec![
                        in_spec("hostNetwork", json!(true)),
                        in_pod("windowsOptions", options.clone()),
                        in_first("containers", "windowsOptions", json!({})),
                        in_first("initContainers", "windowsOptions", json!({})),
                    ]),
                    all(vec![
                        in_spec("hostNetwork", json!(true)),
                        in_pod("windowsOptions", json!({})),
                        in_first("containers", "windowsOptions", options.clone()),
                        in_first("initContainers", "windowsOptions", options),
                    ]),
                ],
            }
        }
        other => panic!("no fixtures of the check {other}"),
    }
}

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn capability(list: &'static str, field: &'static str, names: &[&str]) -> Change {
    let names = json!(names);
    change(move |pod| context(pod, list)["capabilities"][field] = names.clone())
}

fn capabilities_baseline(level: Level, minor: u64) -> Fixtures {
    let restricted = level == Level::Restricted && minor >= 22;
    Fixtures {
        error: if restricted { "unrestricted capabilities" } else { "non-default capabilities" },
        pass: match restricted {
            true => vec![],
            false => vec![all(BOTH.map(|list| capability(list, "add", &DEFAULT_CAPABILITIES)).into())],
        },
        fail: vec![
            capability("containers", "add", &["NET_RAW"]),
            capability("initContainers", "add", &["NET_RAW"]),
            capability("containers", "add", &["chown"]),
            capability("containers", "add", &["CAP_CHOWN"]),
        ],
    }
}

fn capabilities_restricted() -> Fixtures {
    // To drop each by its name does not do.
    const EACH: [&str; 37] = [
        "SYS_TIME",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "NET_ADMIN",
        "SYSLOG",
        "CHOWN",
        "NET_RAW",
        "DAC_OVERRIDE",
        "FOWNER",
        "DAC_READ_SEARCH",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_BOOT",
        "LEASE",
        "SETFCAP",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
    ];
    let both = |field, names: &[&str]| BOTH.map(|list| capability(list, field, names));
    let with = |add: &[&str]| {
        let mut changes: Vec<Change> = both("drop", &["ALL"]).into();
        changes.extend(both("add", add));
        all(changes)
    };
    Fixtures {
        error: "unrestricted capabilities",
        pass: vec![with(&["NET_BIND_SERVICE"])],
        fail: vec![
            capability("containers", "drop", &[]),
            capability("initContainers", "drop", &[]),
            all(both("drop", &EACH).into()),
            with(&DEFAULT_CAPABILITIES),
        ],
    }
}

fn host_probes() -> Fixtures {
    let http = |host: &str| match host {
        "" => json!({"httpGet": {"port": 8080}}),
        host => json!({"httpGet": {"host": host, "port": 8080}}),
    };
    let tcp = |host: &str| match host {
        "" => json!({"tcpSocket": {"port": 8080}}),
        host => json!({"tcpSocket": {"host": host, "port": 8080}}),
    };
    Fixtures {
        error: "probe or lifecycle host",
        pass: vec![
            change(|_| {}),
            in_container("containers", "livenessProbe", http("")),
            in_container("containers", "readinessProbe", tcp("")),
        ],
        fail: vec![
            in_container("containers", "livenessProbe", http("bad.host")),
            all(vec![
                in_container("initContainers", "restartPolicy", json!("Always")),
                in_container("initContainers", "readinessProbe", tcp("8.8.8.8")),
            ]),
            in_container("containers", "lifecycle", json!({"postStart": http("bad.host")})),
            in_container("containers", "livenessProbe", http("127.0.0.1")),
            in_container("containers", "readinessProbe", tcp("::1")),
        ],
    }
}

fn proc_mount(check: &str, level: Level, minor: u64) -> Fixtures {
    let one = |list, value: &str, host_users: bool| {
        all(vec![in_first(list, "procMount", json!(value)), in_spec("hostUsers", json!(host_users))])
    };
    let both = |value: &str| {
        all(vec![
            in_first("containers", "procMount", json!(value)),
            in_first("initContainers", "procMount", json!(value)),
            in_spec("hostUsers", json!(false)),
        ])
    };
    let is_relaxed = check == "procMount" && minor >= 35;
    let mut pass = vec![both("Default")];
    if is_relaxed && level != Level::Restricted {
        pass.push(both("Unmasked"));
    }
    Fixtures { error: "procMount", pass, fail: BOTH.map(|list| one(list, "Unmasked", is_relaxed)).into() }
}

fn restricted_volumes() -> Fixtures {
    let allowed = json!([
        // Without a source it is an emptyDir.
        {"name": "volume0"},
        {"name": "volume1", "emptyDir": {}},
        {"name": "volume2", "secret": {"secretName": "test"}},
        {"name": "volume3", "persistentVolumeClaim": {"claimName": "test"}},
        {"name": "volume4", "downwardAPI": {"items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        ]}},
        {"name": "volume5", "configMap": {"name": "test"}},
        {"name": "volume6", "projected": {"sources": []}},
    ]);
    let iqn = "iqn.2001-04.com.example:storage.kube.sys1.xyz";
    let restricted = [
        json!({"gcePersistentDisk": {"pdName": "test"}}),
        json!({"awsElasticBlockStore": {"volumeID": "test"}}),
        json!({"gitRepo": {"repository": "github.com/kubernetes/kubernetes"}}),
        json!({"nfs": {"server": "test", "path": "/test"}}),
        json!({"iscsi": {"targetPortal": "test", "iqn": iqn, "lun": 0}}),
        json!({"glusterfs": {"path": "test", "endpoints": "test"}}),
        json!({"rbd": {"monitors": ["test"], "image": "test"}}),
        json!({"flexVolume": {"driver": "test"}}),
        json!({"cinder": {"volumeID": "test"}}),
        json!({"cephfs": {"monitors": ["test"]}}),
        json!({"flocker": {"datasetName": "test"}}),
        json!({"fc": {"wwids": ["test"]}}),
        json!({"azureFile": {"secretName": "test", "shareName": "test"}}),
        json!({"vsphereVolume": {"volumePath": "test"}}),
        json!({"quobyte": {"registry": "localhost:1234", "volume": "test"}}),
        json!({"azureDisk": {"diskName": "test", "diskURI": "https://test.blob.core.windows.net/test/test.vhd"}}),
        json!({"portworxVolume": {"volumeID": "test", "fsType": "ext4"}}),
        json!({"scaleIO": {"volumeName": "test", "gateway": "localhost", "system": "test", "secretRef": null}}),
        json!({"storageos": {"volumeName": "test"}}),
        json!({"hostPath": {"path": "/dev/null"}}),
    ];
    let volume = |mut source: Value| {
        source["name"] = "volume1".into();
        in_spec("volumes", json!([source]))
    };
    Fixtures {
        error: "restricted volume types",
        pass: vec![in_spec("volumes", allowed)],
        fail: restricted.map(volume).into(),
    }
}

fn se_linux_options() -> Fixtures {
    const FIELD: &str = "seLinuxOptions";
    Fixtures {
        error: FIELD,
        pass: vec![
            in_first("initContainers", FIELD, json!({})),
            all(vec![
                in_pod(FIELD, json!({"type": "container_t"})),
                in_first("containers", FIELD, json!({"type": "container_init_t", "level": "somevalue"})),
                in_first("initContainers", FIELD, json!({"type": "container_kvm_t"})),
            ]),
        ],
        fail: vec![
            in_pod(FIELD, json!({"type": "somevalue"})),
            in_first("containers", FIELD, json!({"type": "somevalue"})),
            in_first("initContainers", FIELD, json!({"type": "somevalue"})),
            in_pod(FIELD, json!({"user": "somevalue"})),
            in_pod(FIELD, json!({"role": "somevalue"})),
        ],
    }
}

fn sysctls(minor: u64) -> Fixtures {
    let mut list = vec![
        ("kernel.shm_rmid_forced", "0"),
        ("net.ipv4.ip_local_port_range", "1024 65535"),
        ("net.ipv4.tcp_syncookies", "0"),
        ("net.ipv4.ping_group_range", "1 0"),
        ("net.ipv4.ip_unprivileged_port_start", "1024"),
    ];
    if minor >= 27 {
        list.push(("net.ipv4.ip_local_reserved_ports", "1024-4999"));
    }
    if minor >= 29 {
        list.extend([
            ("net.ipv4.tcp_keepalive_time", "7200"),
            ("net.ipv4.tcp_fin_timeout", "60"),
            ("net.ipv4.tcp_keepalive_intvl", "75"),
            ("net.ipv4.tcp_keepalive_probes", "9"),
        ]);
    }
    if minor >= 32 {
        list.extend([
            ("net.ipv4.tcp_rmem", "4096 131072 6291456"),
            ("net.ipv4.tcp_wmem", "4096 16384 4194304"),
        ]);
    }
    let list: Vec<Value> = list.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    Fixtures {
        error: "forbidden sysctl",
        pass: vec![in_pod("sysctls", Value::Null), in_pod("sysctls", json!(list))],
        fail: vec![in_pod("sysctls", json!([{"name": "othersysctl", "value": "other"}]))],
    }
}

/// One fixture: where it comes from, the pod, and what its refusal says (`None`: it passes).
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) policy: LevelVersion,
    pub(crate) pod: Value,
    pub(crate) refused: Option<&'static str>,
}

/// All of them, in the order of Kubernetes' `testdata`.
pub(crate) fn all_fixtures() -> Vec<Fixture> {
    let mut list = Vec::new();
    for level in [Level::Baseline, Level::Restricted] {
        for minor in RELEASES {
            let policy = LevelVersion { level, version: Version::Minor(minor) };
            let mut add = |verdict: &str, name: String, mut pod: Value, refused| {
                pod["metadata"]["name"] = name.clone().into();
                let name = format!("{}/v1.{minor}/{verdict}/{name}", level.as_str());
                list.push(Fixture { name, policy, pod, refused });
            };
            add("pass", "base".into(), minimal(level, minor), None);
            if level == Level::Restricted && minor >= 25 {
                for os in ["linux", "windows"] {
                    add("pass", format!("base-{os}"), minimal_of(os, minor), None);
                }
            }
            for check in &CHECKS {
                if check.level > level || check.releases().all(|since| since > minor) {
                    continue;
                }
                let id = check.id.to_lowercase().replace('_', "-");
                let fixtures = fixtures(check.id, level, minor);
                let cases = [("pass", &fixtures.pass, None), ("fail", &fixtures.fail, Some(fixtures.error))];
                for (verdict, changes, refused) in cases {
                    for (i, change) in changes.iter().enumerate() {
                        let mut pod = minimal(level, minor);
                        change(&mut pod);
                        add(verdict, format!("{id}{i}"), pod, refused);
                    }
                }
            }
        }
    }
    list
}

#[test]
fn every_fixture_is_judged_as_kubernetes_judges_it() {
    let fixtures = all_fixtures();
    let mut wrong = Vec::new();
    for fixture in &fixtures {
        let mut pod = fixture.pod.clone();
        // They reach admission with the defaults of the API.
        defaults::apply_to_pod_spec(&mut pod["spec"]);
        let violations = judge(fixture.policy, &pod["metadata"]["annotations"], &pod["spec"]);
        let words = details(&violations);
        let is_right = match fixture.refused {
            None => violations.is_empty(),
            Some(error) => words.contains(error),
        };
        if !is_right {
            wrong.push(format!("{}: {words:?}", fixture.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), fixtures.len(), wrong.join("\n"));
    // What has no fixture is not shown to be judged right.
    assert!(fixtures.len() > 3_000, "{}", fixtures.len());
}
