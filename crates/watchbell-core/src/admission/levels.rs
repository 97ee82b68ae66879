//! The controls of the Pod Security Standards, one function each, in the order of the standard.

use std::fmt;

use serde_json::Value;

use super::Level;

/// One control that a pod breaks, with the fields that break it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `host namespaces`, `privileged`…: Kubernetes' name of the control.
    pub control: &'static str,
    /// Where and what: `spec.hostNetwork=true`.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.control, self.detail)
    }
}

/// Capabilities a baseline container may add.
const BASELINE_CAPABILITIES: [&str; 13] = [
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

/// Sysctls that touch nothing outside the pod.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// SELinux types a baseline pod may name.
const SELINUX_TYPES: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// Volume sources of the restricted level.
const RESTRICTED_VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// A container, with its path.
struct Container<'a> {
    path: String,
    value: &'a Value,
}

impl Container<'_> {
    fn context(&self, field: &str) -> &Value {
        &self.value["securityContext"][field]
    }
}

struct Judge<'a> {
    pod: &'a Value,
    path: &'a str,
    containers: Vec<Container<'a>>,
    found: Vec<Violation>,
}

/// Everything about `spec` that `level` forbids.
pub(super) fn judge(level: Level, spec: &Value, path: &str) -> Vec<Violation> {
    if level == Level::Privileged {
        return Vec::new();
    }
    let mut containers = Vec::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, value) in spec[list].as_array().into_iter().flatten().enumerate() {
            containers.push(Container { path: format!("{path}.{list}[{i}]"), value });
        }
    }
    let mut judge = Judge { pod: spec, path, containers, found: Vec::new() };
    judge.baseline();
    if level == Level::Restricted {
        judge.restricted();
    }
    judge.found
}

impl Judge<'_> {
    fn refuse(&mut self, control: &'static str, detail: String) {
        self.found.push(Violation { control, detail });
    }

    fn refuse_all(&mut self, control: &'static str, details: Vec<String>) {
        for detail in details {
            self.refuse(control, detail);
        }
    }

    /// The pod's security context and every container's, with their paths.
    fn contexts(&self) -> Vec<(String, &Value)> {
        let pod = (format!("{}.securityContext", self.path), &self.pod["securityContext"]);
        std::iter::once(pod)
            .chain(
                self.containers
                    .iter()
                    .map(|c| (format!("{}.securityContext", c.path), &c.value["securityContext"])),
            )
            .collect()
    }

    fn baseline(&mut self) {
        self.host_process();
        self.host_namespaces();
        self.privileged();
        self.capabilities_baseline();
        self.host_path_volumes();
        self.host_ports();
        self.host_probes();
        self.app_armor();
        self.selinux();
        self.proc_mount();
        self.seccomp_baseline();
        self.sysctls();
    }

    fn restricted(&mut self) {
        self.volume_types();
        self.privilege_escalation();
        self.run_as_non_root();
        self.run_as_user();
        self.seccomp_restricted();
        self.capabilities_restricted();
    }

    fn host_process(&mut self) {
        let details = self
            .contexts()
            .into_iter()
            .filter(|(_, c)| c["windowsOptions"]["hostProcess"] == true)
            .map(|(path, _)| format!("{path}.windowsOptions.hostProcess=true"))
            .collect();
        self.refuse_all("hostProcess", details);
    }

    fn host_namespaces(&mut self) {
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            if self.pod[field] == true {
                self.refuse("host namespaces", format!("{}.{field}=true", self.path));
            }
        }
    }

    fn privileged(&mut self) {
        let details = self
            .containers
            .iter()
            .filter(|c| *c.context("privileged") == true)
            .map(|c| format!("{}.securityContext.privileged=true", c.path))
            .collect();
        self.refuse_all("privileged", details);
    }

    fn added(&self, allowed: &[&str]) -> Vec<String> {
        let mut details = Vec::new();
        for container in &self.containers {
            for name in container.context("capabilities")["add"].as_array().into_iter().flatten() {
                let name = name.as_str().unwrap_or_default();
                if !allowed.contains(&name) {
                    details.push(format!("{}.securityContext.capabilities.add={name}", container.path));
                }
            }
        }
        details
    }

    fn capabilities_baseline(&mut self) {
        let details = self.added(&BASELINE_CAPABILITIES);
        self.refuse_all("non-default capabilities", details);
    }

    fn volumes(&self) -> impl Iterator<Item = (usize, &Value)> {
        self.pod["volumes"].as_array().into_iter().flatten().enumerate()
    }

    fn host_path_volumes(&mut self) {
        let details = self
            .volumes()
            .filter(|(_, v)| !v["hostPath"].is_null())
            .map(|(i, _)| format!("{}.volumes[{i}].hostPath", self.path))
            .collect();
        self.refuse_all("hostPath volumes", details);
    }

    fn host_ports(&mut self) {
        let mut details = Vec::new();
        for container in &self.containers {
            for (i, port) in container.value["ports"].as_array().into_iter().flatten().enumerate() {
                if port["hostPort"].as_i64().unwrap_or(0) != 0 {
                    details.push(format!("{}.ports[{i}].hostPort={}", container.path, port["hostPort"]));
                }
            }
        }
        self.refuse_all("hostPort", details);
    }

    fn host_probes(&mut self) {
        let mut details = Vec::new();
        for container in &self.containers {
            let places = [
                ("livenessProbe", &container.value["livenessProbe"]),
                ("readinessProbe", &container.value["readinessProbe"]),
                ("startupProbe", &container.value["startupProbe"]),
                ("lifecycle.postStart", &container.value["lifecycle"]["postStart"]),
                ("lifecycle.preStop", &container.value["lifecycle"]["preStop"]),
            ];
            for (place, value) in places {
                for action in ["httpGet", "tcpSocket"] {
                    if value[action]["host"].as_str().is_some_and(|h| !h.is_empty()) {
                        details.push(format!("{}.{place}.{action}.host", container.path));
                    }
                }
            }
        }
        self.refuse_all("probe or lifecycle host", details);
    }

    fn app_armor(&mut self) {
        let details = self
            .contexts()
            .into_iter()
            .filter(|(_, c)| c["appArmorProfile"]["type"] == "Unconfined")
            .map(|(path, _)| format!("{path}.appArmorProfile.type=Unconfined"))
            .collect();
        self.refuse_all("forbidden AppArmor profiles", details);
    }

    fn selinux(&mut self) {
        let mut details = Vec::new();
        for (path, context) in self.contexts() {
            let options = &context["seLinuxOptions"];
            let kind = options["type"].as_str().unwrap_or_default();
            if !SELINUX_TYPES.contains(&kind) {
                details.push(format!("{path}.seLinuxOptions.type={kind}"));
            }
            for field in ["user", "role"] {
                if options[field].as_str().is_some_and(|t| !t.is_empty()) {
                    details.push(format!("{path}.seLinuxOptions.{field}"));
                }
            }
        }
        self.refuse_all("seLinuxOptions", details);
    }

    fn proc_mount(&mut self) {
        let details = self
            .containers
            .iter()
            .filter(|c| c.context("procMount").as_str().is_some_and(|m| m != "Default"))
            .map(|c| format!("{}.securityContext.procMount={}", c.path, c.context("procMount")))
            .collect();
        self.refuse_all("procMount", details);
    }

    fn seccomp_baseline(&mut self) {
        let details = self
            .contexts()
            .into_iter()
            .filter(|(_, c)| c["seccompProfile"]["type"] == "Unconfined")
            .map(|(path, _)| format!("{path}.seccompProfile.type=Unconfined"))
            .collect();
        self.refuse_all("seccompProfile", details);
    }

    fn sysctls(&mut self) {
        let details = self.pod["securityContext"]["sysctls"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|s| s["name"].as_str())
            .filter(|name| !SAFE_SYSCTLS.contains(name))
            .map(|name| format!("{}.securityContext.sysctls={name}", self.path))
            .collect();
        self.refuse_all("forbidden sysctls", details);
    }

    fn volume_types(&mut self) {
        let mut details = Vec::new();
        for (i, volume) in self.volumes() {
            for (source, value) in volume.as_object().into_iter().flatten() {
                if source != "name" && !value.is_null() && !RESTRICTED_VOLUMES.contains(&source.as_str()) {
                    details.push(format!("{}.volumes[{i}].{source}", self.path));
                }
            }
        }
        self.refuse_all("restricted volume types", details);
    }

    fn privilege_escalation(&mut self) {
        let details = self
            .containers
            .iter()
            .filter(|c| *c.context("allowPrivilegeEscalation") != false)
            .map(|c| format!("{}.securityContext.allowPrivilegeEscalation must be false", c.path))
            .collect();
        self.refuse_all("allowPrivilegeEscalation != false", details);
    }

    fn run_as_non_root(&mut self) {
        let pod = &self.pod["securityContext"]["runAsNonRoot"];
        let mut details = Vec::new();
        if *pod == false {
            details.push(format!("{}.securityContext.runAsNonRoot must be true", self.path));
        }
        for container in &self.containers {
            let own = container.context("runAsNonRoot");
            if *own == false || (own.is_null() && *pod != true) {
                details.push(format!("{}.securityContext.runAsNonRoot must be true", container.path));
            }
        }
        self.refuse_all("runAsNonRoot != true", details);
    }

    fn run_as_user(&mut self) {
        let details = self
            .contexts()
            .into_iter()
            .filter(|(_, c)| c["runAsUser"].as_i64() == Some(0))
            .map(|(path, _)| format!("{path}.runAsUser=0"))
            .collect();
        self.refuse_all("runAsUser=0", details);
    }

    fn seccomp_restricted(&mut self) {
        let named = |v: &Value| matches!(v["type"].as_str(), Some("RuntimeDefault" | "Localhost"));
        let pod = &self.pod["securityContext"]["seccompProfile"];
        let details = self
            .containers
            .iter()
            .filter(|c| {
                let own = c.context("seccompProfile");
                if own.is_null() { !named(pod) } else { !named(own) }
            })
            .map(|c| {
                format!("{}.securityContext.seccompProfile.type must be RuntimeDefault or Localhost", c.path)
            })
            .collect();
        self.refuse_all("seccompProfile", details);
    }

    fn capabilities_restricted(&mut self) {
        let mut details: Vec<String> = self
            .containers
            .iter()
            .filter(|c| {
                !c.context("capabilities")["drop"].as_array().is_some_and(|d| d.iter().any(|v| v == "ALL"))
            })
            .map(|c| format!("{}.securityContext.capabilities.drop must include ALL", c.path))
            .collect();
        details.extend(self.added(&["NET_BIND_SERVICE"]));
        self.refuse_all("unrestricted capabilities", details);
    }
}
