//! What a pod may ask for and this node does not do. It is accepted, so that one manifest serves here and in a cluster,
//! and never in silence.

use super::at::At;
use super::warning::Warnings;

const TEXT: &str = "is not honoured by this node";

const POD: [&str; 11] = [
    "affinity",
    "dnsConfig",
    "ephemeralContainers",
    "hostnameOverride",
    "readinessGates",
    "resourceClaims",
    "resources",
    "schedulingGroup",
    "setHostnameAsFQDN",
    "topologySpreadConstraints",
    "runtimeClassName",
];

const POD_CONTEXT: [&str; 6] = [
    "appArmorProfile",
    "fsGroupChangePolicy",
    "seLinuxChangePolicy",
    "seLinuxOptions",
    "sysctls",
    "windowsOptions",
];

const CONTAINER: [&str; 8] = [
    "lifecycle",
    "livenessProbe",
    "readinessProbe",
    "resizePolicy",
    "restartPolicyRules",
    "startupProbe",
    "stdinOnce",
    "volumeDevices",
];

const CONTEXT: [&str; 3] = ["appArmorProfile", "seLinuxOptions", "windowsOptions"];

/// The volumes that are mounted.
const VOLUMES: [&str; 7] =
    ["emptyDir", "configMap", "secret", "downwardAPI", "projected", "hostPath", "persistentVolumeClaim"];

pub(super) fn pod(w: &mut Warnings, spec: &At<'_, '_>) {
    set(w, spec, &POD);
    if spec.field("os").field("name").text() == "windows" {
        w.add(&spec.field("os"), TEXT);
    }
    let context = spec.field("securityContext");
    set(w, &context, &POD_CONTEXT);
    if context.field("supplementalGroupsPolicy").text() == "Strict" {
        w.add(&context.field("supplementalGroupsPolicy"), TEXT);
    }
    local_seccomp(w, &context);
    for volume in spec.field("volumes").items() {
        for (kind, source) in volume.value.as_object().into_iter().flatten() {
            if kind != "name" && !source.is_null() && !VOLUMES.contains(&kind.as_str()) {
                w.add(&volume.field(kind), TEXT);
            }
        }
        for projection in volume.field("projected").field("sources").items() {
            set(w, &projection, &["clusterTrustBundle", "podCertificate"]);
        }
    }
    for list in ["initContainers", "containers"] {
        for container in spec.field(list).items() {
            self::container(w, &container);
        }
    }
}

fn container(w: &mut Warnings, container: &At<'_, '_>) {
    set(w, container, &CONTAINER);
    let context = container.field("securityContext");
    set(w, &context, &CONTEXT);
    local_seccomp(w, &context);
    if context.field("procMount").text() == "Unmasked" {
        w.add(&context.field("procMount"), TEXT);
    }
    for variable in container.field("env").items() {
        let source = variable.field("valueFrom");
        set(w, &source, &["fileKeyRef"]);
    }
    for port in container.field("ports").items() {
        if port.field("hostPort").int().is_some_and(|n| n != 0) {
            w.add(&port.field("hostPort"), TEXT);
        }
    }
    for mount in container.field("volumeMounts").items() {
        for (field, harmless) in [("mountPropagation", "None"), ("recursiveReadOnly", "Disabled")] {
            let field = mount.field(field);
            if field.is_set() && field.text() != harmless {
                w.add(&field, TEXT);
            }
        }
    }
}

fn local_seccomp(w: &mut Warnings, context: &At<'_, '_>) {
    let profile = context.field("seccompProfile");
    if profile.field("type").text() == "Localhost" {
        w.add(&profile, TEXT);
    }
}

fn set(w: &mut Warnings, at: &At<'_, '_>, fields: &[&str]) {
    for field in fields {
        let field = at.field(field);
        if field.is_set() && !field.is_false() {
            w.add(&field, TEXT);
        }
    }
}
