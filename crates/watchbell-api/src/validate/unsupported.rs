//! What a pod may ask for and this node does not do. It is accepted, so that one manifest serves here and in a cluster,
//! and never in silence.

use super::at::At;
use super::warning::Warnings;

/// The pod runs without it.
const IGNORED: &str = "is not honoured by this node";
/// A pod that ran without it would be told a lie, so the node refuses it.
const FATAL: &str = "is not honoured by this node, and a pod that asks for it fails";

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
    "subdomain",
    "topologySpreadConstraints",
];

const POD_FATAL: [&str; 1] = ["shareProcessNamespace"];

const POD_CONTEXT: [&str; 5] =
    ["appArmorProfile", "fsGroupChangePolicy", "seLinuxChangePolicy", "seLinuxOptions", "windowsOptions"];

const CONTAINER: [&str; 6] =
    ["lifecycle", "livenessProbe", "readinessProbe", "resizePolicy", "startupProbe", "volumeDevices"];

const CONTEXT: [&str; 3] = ["appArmorProfile", "seLinuxOptions", "windowsOptions"];

/// The volumes that are mounted.
const VOLUMES: [&str; 7] =
    ["emptyDir", "configMap", "secret", "downwardAPI", "projected", "hostPath", "persistentVolumeClaim"];

/// Sources of a projected volume that leave their file out.
const PROJECTIONS: [&str; 2] = ["clusterTrustBundle", "podCertificate"];

pub(super) fn pod(w: &mut Warnings, spec: &At<'_, '_>) {
    set(w, spec, &POD, IGNORED);
    set(w, spec, &POD_FATAL, FATAL);
    if spec.field("os").field("name").text() == "windows" {
        w.add(&spec.field("os"), FATAL);
    }
    unless(w, &spec.field("schedulerName"), "default-scheduler", IGNORED);
    let dns = spec.field("dnsPolicy");
    // In the host's network a pod has the host's resolver; elsewhere it has no network to resolve names for.
    if !spec.field("hostNetwork").is_true() || dns.text() == "None" {
        unless(w, &dns, "ClusterFirst", IGNORED);
    }
    let context = spec.field("securityContext");
    set(w, &context, &POD_CONTEXT, IGNORED);
    set(w, &context, &["sysctls"], FATAL);
    unless(w, &context.field("supplementalGroupsPolicy"), "Merge", IGNORED);
    for volume in spec.field("volumes").items() {
        self::volume(w, &volume);
    }
    for list in ["initContainers", "containers"] {
        for container in spec.field(list).items() {
            self::container(w, &container);
        }
    }
}

fn volume(w: &mut Warnings, volume: &At<'_, '_>) {
    for (kind, source) in volume.value.as_object().into_iter().flatten() {
        if kind != "name" && !source.is_null() && !VOLUMES.contains(&kind.as_str()) {
            w.add(&volume.field(kind), FATAL);
        }
    }
    unless(w, &volume.field("emptyDir").field("medium"), "Memory", FATAL);
    for projection in volume.field("projected").field("sources").items() {
        set(w, &projection, &PROJECTIONS, IGNORED);
    }
}

fn container(w: &mut Warnings, container: &At<'_, '_>) {
    set(w, container, &CONTAINER, IGNORED);
    let context = container.field("securityContext");
    set(w, &context, &CONTEXT, IGNORED);
    let resources = container.field("resources");
    set(w, &resources, &["claims"], IGNORED);
    for variable in container.field("env").items() {
        set(w, &variable.field("valueFrom"), &["fileKeyRef"], IGNORED);
    }
    for port in container.field("ports").items() {
        if port.field("hostPort").int().is_some_and(|n| n != 0) {
            w.add(&port.field("hostPort"), IGNORED);
        }
    }
    for mount in container.field("volumeMounts").items() {
        unless(w, &mount.field("mountPropagation"), "None", FATAL);
        unless(w, &mount.field("recursiveReadOnly"), "Disabled", IGNORED);
    }
}

/// A text with one value that is honoured, beside none.
fn unless(w: &mut Warnings, at: &At<'_, '_>, honoured: &str, text: &str) {
    if !at.text().is_empty() && at.text() != honoured {
        w.add(at, text);
    }
}

fn set(w: &mut Warnings, at: &At<'_, '_>, fields: &[&str], text: &str) {
    for field in fields {
        let field = at.field(field);
        if field.is_set() && !field.is_false() {
            w.add(&field, text);
        }
    }
}
