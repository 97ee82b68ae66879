//! The checks of `baseline`. Each is what `check_ID.go` of `k8s.io/pod-security-admission/policy` does in Kubernetes 1.36.

use serde_json::Value;

use super::Finding;
use super::pod::{Pod, Setters, Words, annotation_path, containers, plural, pod_context_path, quoted, shown};

const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD_ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";
/// Followed by a container's name.
pub(super) const SECCOMP_CONTAINER_ANNOTATION: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// The capabilities that container runtimes give, without `NET_RAW`.
const CAPABILITIES: [&str; 13] = [
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

/// Settings of the kernel that touch nothing outside the pod: the first of them since 1.0, more since later releases.
const SYSCTLS: [&str; 12] = [
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
const SYSCTLS_1_0: usize = 5;
const SYSCTLS_1_27: usize = 6;
const SYSCTLS_1_29: usize = 10;
const SYSCTLS_1_32: usize = 12;

const SE_LINUX_TYPES_1_0: &[&str] = &["", "container_t", "container_init_t", "container_kvm_t"];
const SE_LINUX_TYPES_1_31: &[&str] =
    &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// A profile that confines: of AppArmor and of seccomp.
pub(super) fn confines(profile: &Value) -> bool {
    matches!(type_of(profile), "RuntimeDefault" | "Localhost")
}

pub(super) fn type_of(profile: &Value) -> &str {
    profile["type"].as_str().unwrap_or_default()
}

pub(super) fn app_armor_profile(pod: &Pod<'_>) -> Option<Finding> {
    const FIELD: &str = "appArmorProfile.type";
    let mut setters = Setters::default();
    let mut values = Words::new();
    let is_bad = |profile: &Value| !profile.is_null() && !confines(profile);
    let profile = pod.context("appArmorProfile");
    if is_bad(profile) {
        setters.add_pod(FIELD);
        values.insert(type_of(profile));
    }
    for container in &pod.containers {
        let profile = container.context("appArmorProfile");
        if is_bad(profile) {
            setters.add(container, FIELD);
            values.insert(type_of(profile));
        }
    }
    let is_bad = |(key, value): &(&str, &str)| {
        key.starts_with(APP_ARMOR_ANNOTATION)
            && !(value.is_empty() || *value == "runtime/default" || value.starts_with("localhost/"))
    };
    let bad: Vec<(&str, &str)> = pod.annotations().filter(is_bad).collect();
    let mut annotations: Vec<String> = bad.iter().map(|(key, value)| shown(key, value)).collect();
    annotations.sort();
    if setters.is_empty() && annotations.is_empty() {
        return None;
    }
    let mut who: Vec<String> = Vec::new();
    if !setters.is_empty() {
        who.push(setters.words());
    }
    if !annotations.is_empty() {
        who.push(plural(annotations.len(), "annotation", "annotations").to_owned());
    }
    let values: Vec<String> = values.into_iter().map(str::to_owned).chain(annotations).collect();
    let mut fields = setters.fields;
    fields.extend(bad.iter().map(|(key, _)| annotation_path(key)));
    Some(Finding {
        reason: plural(values.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles"),
        detail: format!(
            "{} must not set AppArmor profile type to {}",
            who.join(" and "),
            quoted(values.iter())
        ),
        fields,
    })
}

pub(super) fn capabilities(pod: &Pod<'_>) -> Option<Finding> {
    let mut setters = Setters::default();
    let mut added = Words::new();
    for container in &pod.containers {
        let list = container.context("capabilities")["add"].as_array().into_iter().flatten();
        let bad: Words<'_> =
            list.filter_map(Value::as_str).filter(|name| !CAPABILITIES.contains(name)).collect();
        if !bad.is_empty() {
            setters.add(container, "capabilities.add");
            added.extend(bad);
        }
    }
    (!setters.is_empty()).then(|| Finding {
        reason: "non-default capabilities",
        detail: format!(
            "{} must not include {} in securityContext.capabilities.add",
            setters.words(),
            quoted(added.iter())
        ),
        fields: setters.fields,
    })
}

pub(super) fn host_namespaces(pod: &Pod<'_>) -> Option<Finding> {
    let asked: Vec<&str> =
        ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| pod.spec[field] == true).collect();
    let list: Vec<String> = asked.iter().map(|field| format!("{field}=true")).collect();
    (!asked.is_empty()).then(|| Finding {
        reason: "host namespaces",
        detail: list.join(", "),
        fields: asked.iter().map(|field| format!("spec.{field}")).collect(),
    })
}

pub(super) fn host_path_volumes(pod: &Pod<'_>) -> Option<Finding> {
    let volumes = pod.spec["volumes"].as_array().into_iter().flatten().enumerate();
    let bad: Vec<(usize, &Value)> = volumes.filter(|(_, volume)| !volume["hostPath"].is_null()).collect();
    let names: Vec<&str> =
        bad.iter().map(|(_, volume)| volume["name"].as_str().unwrap_or_default()).collect();
    (!bad.is_empty()).then(|| Finding {
        reason: "hostPath volumes",
        detail: format!("{} {}", plural(names.len(), "volume", "volumes"), quoted(names.iter())),
        fields: bad.iter().map(|(i, _)| format!("spec.volumes[{i}].hostPath")).collect(),
    })
}

pub(super) fn host_ports(pod: &Pod<'_>) -> Option<Finding> {
    let mut names = Vec::new();
    let mut fields = Vec::new();
    // As text, so `10` comes before `9`.
    let mut ports: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
    for container in &pod.containers {
        let before = fields.len();
        for (i, port) in container.value["ports"].as_array().into_iter().flatten().enumerate() {
            if let Some(number) = port["hostPort"].as_i64().filter(|&number| number != 0) {
                ports.insert(number.to_string());
                fields.push(container.path(&format!("ports[{i}].hostPort")));
            }
        }
        if fields.len() > before {
            names.push(container.name);
        }
    }
    let list: Vec<&str> = ports.iter().map(String::as_str).collect();
    (!names.is_empty()).then(|| Finding {
        reason: "hostPort",
        detail: format!(
            "{} {} {} {}",
            containers(&names),
            plural(names.len(), "uses", "use"),
            plural(list.len(), "hostPort", "hostPorts"),
            list.join(", ")
        ),
        fields,
    })
}

/// Where a host can stand in a container: what the node is to ask, or to call when it starts or stops one.
const HANDLERS: [&[&str]; 5] = [
    &["livenessProbe"],
    &["readinessProbe"],
    &["startupProbe"],
    &["lifecycle", "postStart"],
    &["lifecycle", "preStop"],
];

pub(super) fn host_probes_and_lifecycle(pod: &Pod<'_>) -> Option<Finding> {
    let mut names = Words::new();
    let mut hosts = Words::new();
    let mut fields = Vec::new();
    for container in &pod.containers {
        for place in HANDLERS {
            let handler = place.iter().fold(container.value, |value, step| &value[*step]);
            for action in ["httpGet", "tcpSocket"] {
                let Some(host) = handler[action]["host"].as_str().filter(|host| !host.is_empty()) else {
                    continue;
                };
                names.insert(container.name);
                hosts.insert(host);
                fields.push(container.path(&format!("{}.{action}.host", place.join("."))));
            }
        }
    }
    let names: Vec<&str> = names.into_iter().collect();
    (!names.is_empty()).then(|| Finding {
        reason: "probe or lifecycle host",
        detail: format!(
            "{} {} {} {}",
            containers(&names),
            plural(names.len(), "uses", "use"),
            plural(hosts.len(), "probe or lifecycle host", "probe or lifecycle hosts"),
            quoted(hosts.iter())
        ),
        fields,
    })
}

pub(super) fn privileged(pod: &Pod<'_>) -> Option<Finding> {
    let mut setters = Setters::default();
    for container in pod.containers.iter().filter(|c| *c.context("privileged") == true) {
        setters.add(container, "privileged");
    }
    (!setters.is_empty()).then(|| Finding {
        reason: "privileged",
        detail: format!("{} must not set securityContext.privileged=true", setters.words()),
        fields: setters.fields,
    })
}

pub(super) fn proc_mount(pod: &Pod<'_>) -> Option<Finding> {
    let mut setters = Setters::default();
    let mut values = Words::new();
    for container in &pod.containers {
        if let Some(value) = container.context("procMount").as_str().filter(|value| *value != "Default") {
            setters.add(container, "procMount");
            values.insert(value);
        }
    }
    (!setters.is_empty()).then(|| Finding {
        reason: "procMount",
        detail: format!(
            "{} must not set securityContext.procMount to {}",
            setters.words(),
            quoted(values.iter())
        ),
        fields: setters.fields,
    })
}

pub(super) fn proc_mount_unless_in_user_namespace(pod: &Pod<'_>) -> Option<Finding> {
    if pod.is_in_user_namespace() { None } else { proc_mount(pod) }
}

pub(super) fn se_linux_options_1_0(pod: &Pod<'_>) -> Option<Finding> {
    se_linux_options(pod, SE_LINUX_TYPES_1_0)
}

pub(super) fn se_linux_options_1_31(pod: &Pod<'_>) -> Option<Finding> {
    se_linux_options(pod, SE_LINUX_TYPES_1_31)
}

fn se_linux_options(pod: &Pod<'_>, allowed: &[&str]) -> Option<Finding> {
    /// The fields of the options that are wrong.
    fn bad_fields(options: &Value, allowed: &[&str]) -> Vec<&'static str> {
        let text = |field: &str| options[field].as_str().unwrap_or_default();
        let mut fields = Vec::new();
        if !allowed.contains(&text("type")) {
            fields.push("type");
        }
        fields.extend(["user", "role"].into_iter().filter(|field| !text(field).is_empty()));
        fields
    }
    let mut setters = Setters::default();
    let mut types = Words::new();
    let mut bad = Words::new();
    let options = pod.context("seLinuxOptions");
    let found = bad_fields(options, allowed);
    if !found.is_empty() {
        setters.pod = true;
        setters.fields.extend(found.iter().map(|f| pod_context_path(&format!("seLinuxOptions.{f}"))));
        if found.contains(&"type") {
            types.insert(type_of(options));
        }
        bad.extend(found);
    }
    for container in &pod.containers {
        let options = container.context("seLinuxOptions");
        let found = bad_fields(options, allowed);
        if found.is_empty() {
            continue;
        }
        setters.containers.push(container.name);
        setters.fields.extend(found.iter().map(|f| container.context_path(&format!("seLinuxOptions.{f}"))));
        if found.contains(&"type") {
            types.insert(type_of(options));
        }
        bad.extend(found);
    }
    if setters.is_empty() {
        return None;
    }
    let mut words = Vec::new();
    if !types.is_empty() {
        words.push(format!("{} {}", plural(types.len(), "type", "types"), quoted(types.iter())));
    }
    for field in ["user", "role"] {
        if bad.contains(field) {
            words.push(format!("{field} may not be set"));
        }
    }
    Some(Finding {
        reason: "seLinuxOptions",
        detail: format!(
            "{} set forbidden securityContext.seLinuxOptions: {}",
            setters.words(),
            words.join("; ")
        ),
        fields: setters.fields,
    })
}

/// Until 1.18 the profile stood in annotations.
pub(super) fn seccomp_annotations(pod: &Pod<'_>) -> Option<Finding> {
    let is_allowed = |value: &str| {
        matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/")
    };
    let mut bad = std::collections::BTreeMap::new();
    let keys = pod.containers.iter().map(|c| format!("{SECCOMP_CONTAINER_ANNOTATION}{}", c.name));
    for key in std::iter::once(SECCOMP_POD_ANNOTATION.to_owned()).chain(keys) {
        if let Some(value) = pod.annotations[&key].as_str().filter(|value| !is_allowed(value)) {
            bad.insert(shown(&key, value), annotation_path(&key));
        }
    }
    let list: Vec<&str> = bad.keys().map(String::as_str).collect();
    (!bad.is_empty()).then(|| Finding {
        reason: "seccompProfile",
        detail: format!("forbidden {} {}", plural(list.len(), "annotation", "annotations"), list.join(", ")),
        fields: bad.values().cloned().collect(),
    })
}

/// The field that came with 1.19.
pub(super) fn seccomp_profile(pod: &Pod<'_>) -> Option<Finding> {
    let (setters, values) = bad_seccomp_profiles(pod);
    (!setters.is_empty()).then(|| seccomp_must_not(setters, &values))
}

/// Who says which profile that does not confine.
pub(super) fn bad_seccomp_profiles<'a>(pod: &Pod<'a>) -> (Setters<'a>, Words<'a>) {
    const FIELD: &str = "seccompProfile.type";
    let mut setters = Setters::default();
    let mut values = Words::new();
    let is_bad = |profile: &Value| !profile.is_null() && !confines(profile);
    let profile = pod.context("seccompProfile");
    if is_bad(profile) {
        setters.add_pod(FIELD);
        values.insert(type_of(profile));
    }
    for container in &pod.containers {
        let profile = container.context("seccompProfile");
        if is_bad(profile) {
            setters.add(container, FIELD);
            values.insert(type_of(profile));
        }
    }
    (setters, values)
}

pub(super) fn seccomp_must_not(setters: Setters<'_>, values: &Words<'_>) -> Finding {
    Finding {
        reason: "seccompProfile",
        detail: format!(
            "{} must not set securityContext.seccompProfile.type to {}",
            setters.words(),
            quoted(values.iter())
        ),
        fields: setters.fields,
    }
}

pub(super) fn sysctls_1_0(pod: &Pod<'_>) -> Option<Finding> {
    sysctls(pod, &SYSCTLS[..SYSCTLS_1_0])
}

pub(super) fn sysctls_1_27(pod: &Pod<'_>) -> Option<Finding> {
    sysctls(pod, &SYSCTLS[..SYSCTLS_1_27])
}

pub(super) fn sysctls_1_29(pod: &Pod<'_>) -> Option<Finding> {
    sysctls(pod, &SYSCTLS[..SYSCTLS_1_29])
}

pub(super) fn sysctls_1_32(pod: &Pod<'_>) -> Option<Finding> {
    sysctls(pod, &SYSCTLS[..SYSCTLS_1_32])
}

fn sysctls(pod: &Pod<'_>, allowed: &[&str]) -> Option<Finding> {
    let list = pod.context("sysctls").as_array().into_iter().flatten().enumerate();
    let names = list.map(|(i, sysctl)| (i, sysctl["name"].as_str().unwrap_or_default()));
    let bad: Vec<(usize, &str)> = names.filter(|(_, name)| !allowed.contains(name)).collect();
    let names: Vec<&str> = bad.iter().map(|(_, name)| *name).collect();
    (!bad.is_empty()).then(|| Finding {
        reason: "forbidden sysctls",
        detail: names.join(", "),
        fields: bad.iter().map(|(i, _)| pod_context_path(&format!("sysctls[{i}].name"))).collect(),
    })
}

pub(super) fn windows_host_process(pod: &Pod<'_>) -> Option<Finding> {
    const FIELD: &str = "windowsOptions.hostProcess";
    let mut setters = Setters::default();
    if pod.context("windowsOptions")["hostProcess"] == true {
        setters.add_pod(FIELD);
    }
    for container in &pod.containers {
        if container.context("windowsOptions")["hostProcess"] == true {
            setters.add(container, FIELD);
        }
    }
    (!setters.is_empty()).then(|| Finding {
        reason: "hostProcess",
        detail: format!("{} must not set securityContext.windowsOptions.hostProcess=true", setters.words()),
        fields: setters.fields,
    })
}
