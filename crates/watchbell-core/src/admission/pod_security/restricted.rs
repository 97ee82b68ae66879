//! The checks that `restricted` adds. Each is what `check_ID.go` of `k8s.io/pod-security-admission/policy` does in
//! Kubernetes 1.36.

use serde_json::Value;

use super::Finding;
use super::baseline::{bad_seccomp_profiles, confines, seccomp_must_not};
use super::pod::{Pod, Setters, Words, containers, plural, quoted};

/// Volumes that the platform hands out.
const VOLUMES: [&str; 9] = [
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

/// Volumes that are known and not allowed, in the order in which one is named that says several.
const RESTRICTED_VOLUMES: [&str; 21] = [
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

pub(super) fn volumes(pod: &Pod<'_>) -> Option<Finding> {
    let mut names = Vec::new();
    let mut types = Words::new();
    let mut fields = Vec::new();
    for (i, volume) in pod.spec["volumes"].as_array().into_iter().flatten().enumerate() {
        let has = |source: &&str| !volume[*source].is_null();
        if VOLUMES.iter().any(has) {
            continue;
        }
        names.push(volume["name"].as_str().unwrap_or_default());
        match RESTRICTED_VOLUMES.into_iter().find(has) {
            Some(source) => {
                types.insert(source);
                fields.push(format!("spec.volumes[{i}].{source}"));
            }
            None => {
                types.insert("unknown");
                fields.push(format!("spec.volumes[{i}]"));
            }
        }
    }
    (!names.is_empty()).then(|| Finding {
        reason: "restricted volume types",
        detail: format!(
            "{} {} {} {} {}",
            plural(names.len(), "volume", "volumes"),
            quoted(names.iter()),
            plural(names.len(), "uses", "use"),
            plural(types.len(), "restricted volume type", "restricted volume types"),
            quoted(types.iter())
        ),
        fields,
    })
}

pub(super) fn allow_privilege_escalation(pod: &Pod<'_>) -> Option<Finding> {
    const FIELD: &str = "allowPrivilegeEscalation";
    let mut setters = Setters::default();
    for container in pod.containers.iter().filter(|c| *c.context(FIELD) != false) {
        setters.add(container, FIELD);
    }
    (!setters.is_empty()).then(|| Finding {
        reason: "allowPrivilegeEscalation != false",
        detail: format!("{} must set securityContext.allowPrivilegeEscalation=false", setters.words()),
        fields: setters.fields,
    })
}

pub(super) fn allow_privilege_escalation_unless_windows(pod: &Pod<'_>) -> Option<Finding> {
    if pod.is_for_windows() { None } else { allow_privilege_escalation(pod) }
}

pub(super) fn run_as_non_root(pod: &Pod<'_>) -> Option<Finding> {
    const FIELD: &str = "runAsNonRoot";
    const REASON: &str = "runAsNonRoot != true";
    let of_pod = pod.context(FIELD);
    let mut refusing = Setters::default();
    let mut silent = Setters::default();
    if *of_pod == false {
        refusing.add_pod(FIELD);
    }
    for container in &pod.containers {
        let own = container.context(FIELD);
        if *own == false {
            refusing.add(container, FIELD);
        } else if own.is_null() && *of_pod != true {
            silent.add(container, FIELD);
        }
    }
    if !refusing.is_empty() {
        let detail = format!("{} must not set securityContext.runAsNonRoot=false", refusing.words());
        return Some(Finding { reason: REASON, detail, fields: refusing.fields });
    }
    (!silent.is_empty()).then(|| Finding {
        reason: REASON,
        detail: format!("pod or {} must set securityContext.runAsNonRoot=true", silent.words()),
        fields: silent.fields,
    })
}

pub(super) fn run_as_non_root_unless_in_user_namespace(pod: &Pod<'_>) -> Option<Finding> {
    if pod.is_in_user_namespace() { None } else { run_as_non_root(pod) }
}

pub(super) fn run_as_user(pod: &Pod<'_>) -> Option<Finding> {
    const FIELD: &str = "runAsUser";
    let is_root = |value: &Value| value.as_i64() == Some(0);
    let mut setters = Setters::default();
    if is_root(pod.context(FIELD)) {
        setters.add_pod(FIELD);
    }
    for container in pod.containers.iter().filter(|c| is_root(c.context(FIELD))) {
        setters.add(container, FIELD);
    }
    (!setters.is_empty()).then(|| Finding {
        reason: "runAsUser=0",
        detail: format!("{} must not set runAsUser=0", setters.words()),
        fields: setters.fields,
    })
}

pub(super) fn run_as_user_unless_in_user_namespace(pod: &Pod<'_>) -> Option<Finding> {
    if pod.is_in_user_namespace() { None } else { run_as_user(pod) }
}

pub(super) fn seccomp_profile(pod: &Pod<'_>) -> Option<Finding> {
    let (refusing, values) = bad_seccomp_profiles(pod);
    if !refusing.is_empty() {
        return Some(seccomp_must_not(refusing, &values));
    }
    let is_said_for_all = confines(pod.context("seccompProfile"));
    let mut silent = Setters::default();
    for container in &pod.containers {
        if container.context("seccompProfile").is_null() && !is_said_for_all {
            silent.add(container, "seccompProfile.type");
        }
    }
    (!silent.is_empty()).then(|| Finding {
        reason: "seccompProfile",
        detail: format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            silent.words()
        ),
        fields: silent.fields,
    })
}

pub(super) fn seccomp_profile_unless_windows(pod: &Pod<'_>) -> Option<Finding> {
    if pod.is_for_windows() { None } else { seccomp_profile(pod) }
}

pub(super) fn capabilities(pod: &Pod<'_>) -> Option<Finding> {
    let mut keeping = Vec::new();
    let mut adding = Vec::new();
    let mut added = Words::new();
    let mut fields = Vec::new();
    for container in &pod.containers {
        let capabilities = container.context("capabilities");
        let list = |field: &str| capabilities[field].as_array().into_iter().flatten();
        if !list("drop").any(|name| name == "ALL") {
            keeping.push(container.name);
            fields.push(container.context_path("capabilities.drop"));
        }
        let bad: Words<'_> =
            list("add").filter_map(Value::as_str).filter(|name| *name != "NET_BIND_SERVICE").collect();
        if !bad.is_empty() {
            adding.push(container.name);
            added.extend(bad);
            fields.push(container.context_path("capabilities.add"));
        }
    }
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details
            .push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeping)));
    }
    if !adding.is_empty() {
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&adding),
            quoted(added.iter())
        ));
    }
    (!details.is_empty()).then(|| Finding {
        reason: "unrestricted capabilities",
        detail: details.join("; "),
        fields,
    })
}

pub(super) fn capabilities_unless_windows(pod: &Pod<'_>) -> Option<Finding> {
    if pod.is_for_windows() { None } else { capabilities(pod) }
}
