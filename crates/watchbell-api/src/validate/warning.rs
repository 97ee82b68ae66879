//! What is accepted and worth a warning, in Kubernetes' words.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;

use super::at::At;
use super::{unsupported, warning_kinds};
use crate::quantity::Quantity;
use crate::{Resource, name};

/// So many warnings are read by nobody.
const WARNINGS_MAX: usize = 32;

/// A pod's name: the Job's, a hyphen, an index, a hyphen and five characters. Its hostname has no more than a label.
const POD_NAME_LENGTH_MAX: usize = 63;

const DEPRECATED_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

pub(super) const DEPRECATED_NODE_LABELS: [(&str, &str); 5] = [
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
];

pub(super) const DEPRECATED_VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

#[derive(Default)]
pub(super) struct Warnings(Vec<String>);

impl Warnings {
    pub(super) fn add(&mut self, at: &At<'_, '_>, text: impl Display) {
        if self.0.len() < WARNINGS_MAX {
            self.0.push(format!("{at}: {text}"));
        }
    }
}

pub(super) fn of(resource: Resource, object: &At<'_, '_>) -> Vec<String> {
    let mut w = Warnings::default();
    let (metadata, spec) = (object.field("metadata"), object.field("spec"));
    let name = metadata.field("name");
    match resource {
        Resource::Pod => {
            surprising_name(&mut w, &name, "this is used in the Pod's hostname");
            pod(&mut w, &metadata, &spec);
        }
        Resource::Job => {
            surprising_name(&mut w, &name, "this is used in Pod names and hostnames");
            job(&mut w, &name, &spec, 0);
        }
        Resource::CronJob => {
            surprising_name(&mut w, &name, "this is used in Pod names and hostnames");
            let template = spec.field("jobTemplate");
            // A hyphen and the minute of the slot.
            job(&mut w, &name, &template.field("spec"), 11);
        }
        Resource::Node => {
            for taint in spec.field("taints").items() {
                if taint.field("effect").text() == "NoExecute" {
                    w.add(
                        &taint.field("effect"),
                        "keeps new pods away; those that run stay until they are deleted",
                    );
                }
            }
        }
        Resource::PersistentVolumeClaim => warning_kinds::claim(&mut w, object),
        Resource::PersistentVolume => warning_kinds::volume(&mut w, object),
        Resource::StorageClass => warning_kinds::storage_class(&mut w, object),
        Resource::RuntimeClass => warning_kinds::runtime_class(&mut w, object),
        Resource::ImagePolicy => super::image::warnings(&mut w, &spec),
        Resource::NetworkPolicy => warning_kinds::network_policy(&mut w, object),
        _ => {}
    }
    w.0
}

fn surprising_name(w: &mut Warnings, name: &At<'_, '_>, used: &str) {
    let wrong = name::label(name.text());
    if !wrong.is_empty() {
        w.add(
            name,
            format_args!(
                "{used}, which can result in surprising behavior; a DNS label is recommended: [{}]",
                wrong.join(" ")
            ),
        );
    }
}

fn job(w: &mut Warnings, name: &At<'_, '_>, spec: &At<'_, '_>, added_to_name: usize) {
    let (completions, parallelism) = (spec.field("completions"), spec.field("parallelism"));
    if spec.field("completionMode").text() == "Indexed" {
        if completions.int().is_some_and(|n| n > 100_000) && parallelism.int().is_some_and(|n| n > 10_000) {
            w.add(
                &parallelism,
                "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
                 Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
            );
        }
        let last = completions.int().unwrap_or(1).max(1) - 1;
        let length = name.text().len() + added_to_name + 10 + last.to_string().len();
        if length > POD_NAME_LENGTH_MAX {
            w.add(
                name,
                format_args!(
                    "too long for an array of this size: the names of its pods would have {length} characters and are cut \
                     to {POD_NAME_LENGTH_MAX}; shorten it by {}",
                    length - POD_NAME_LENGTH_MAX
                ),
            );
        }
    }
    let template = spec.field("template");
    pod(w, &template.field("metadata"), &template.field("spec"));
}

fn pod(w: &mut Warnings, metadata: &At<'_, '_>, spec: &At<'_, '_>) {
    for (key, _) in spec.field("nodeSelector").entries() {
        if let Some((_, instead)) = DEPRECATED_NODE_LABELS.iter().find(|(label, _)| *label == key) {
            w.add(
                &spec.field("nodeSelector").key(key),
                format_args!("deprecated since v1.14; use \"{instead}\" instead"),
            );
        }
    }
    let annotations = metadata.field("annotations");
    for (key, text) in DEPRECATED_ANNOTATIONS {
        if annotations.key(key).is_set() {
            w.add(&annotations.key(key), text);
        }
    }
    for (key, annotation) in annotations.entries().filter(|(key, _)| key.starts_with("cdi.k8s.io/")) {
        w.add(
            &annotation,
            format_args!(
                "a pod that names devices fails on this node ({key}); ask for them in a container's resources.limits"
            ),
        );
    }
    for volume in spec.field("volumes").items() {
        for (kind, text) in DEPRECATED_VOLUMES {
            if volume.field(kind).is_set() {
                w.add(&volume.field(kind), text);
            }
        }
    }
    duplicates(w, &spec.field("hostAliases"), "ip");
    duplicates(w, &spec.field("imagePullSecrets"), "name");
    for secret in spec.field("imagePullSecrets").items() {
        if secret.field("name").text().is_empty() {
            w.add(&secret.field("name"), "invalid empty name \"\"");
        }
    }
    fractions(w, &spec.field("overhead"));
    let context = spec.field("securityContext");
    annotation_without_field(w, &context, &annotations, "seccomp.security.alpha.kubernetes.io/pod");
    for constraint in spec.field("topologySpreadConstraints").items() {
        let selector = constraint.field("labelSelector");
        if !selector.is_set() {
            w.add(&selector, "a null labelSelector results in matching no pod");
        }
    }
    let mut ports: HashMap<String, String> = HashMap::new();
    for list in ["initContainers", "containers"] {
        for container in spec.field(list).items() {
            let key =
                format!("container.seccomp.security.alpha.kubernetes.io/{}", container.field("name").text());
            annotation_without_field(w, &container.field("securityContext"), &annotations, &key);
            let profile =
                format!("container.apparmor.security.beta.kubernetes.io/{}", container.field("name").text());
            let profile = annotations.key(&profile);
            if profile.is_set() {
                w.add(&profile, "deprecated since v1.30; use the \"appArmorProfile\" field instead");
            }
            let resources = container.field("resources");
            fractions(w, &resources.field("limits"));
            fractions(w, &resources.field("requests"));
            zeros(w, &resources.field("limits"));
            variables(w, &container.field("env"));
            for port in container.field("ports").items() {
                self::port(w, &port, &mut ports);
            }
        }
    }
    let grace = spec.field("terminationGracePeriodSeconds");
    if grace.int().is_some_and(|seconds| seconds < 0) {
        w.add(&grace, "must be >= 0; negative values are invalid and will be treated as 1");
    }
    unsupported::pod(w, spec);
}

fn annotation_without_field(w: &mut Warnings, context: &At<'_, '_>, annotations: &At<'_, '_>, key: &str) {
    let annotation = annotations.key(key);
    if annotation.is_set() && !context.field("seccompProfile").is_set() {
        w.add(&annotation, "non-functional in v1.27+; use the \"seccompProfile\" field instead");
    }
}

fn duplicates(w: &mut Warnings, list: &At<'_, '_>, field: &str) {
    let mut seen = HashSet::new();
    for item in list.items() {
        let value = item.field(field);
        if !seen.insert(value.text()) {
            w.add(&value, format_args!("duplicate {field} {:?}", super::findings::cut(value.text())));
        }
    }
}

/// A part of a byte.
fn fractions(w: &mut Warnings, amounts: &At<'_, '_>) {
    for name in ["memory", "ephemeral-storage"] {
        let amount = amounts.key(name);
        if let Ok(quantity) = Quantity::from_value(amount.value)
            && !quantity.is_whole()
        {
            w.add(
                &amount,
                format_args!("fractional byte value \"{quantity}\" is invalid, must be an integer"),
            );
        }
    }
}

/// Read as "nothing" it would be the opposite of what holds.
fn zeros(w: &mut Warnings, limits: &At<'_, '_>) {
    for name in ["cpu", "memory", "ephemeral-storage"] {
        let limit = limits.key(name);
        if Quantity::from_value(limit.value).is_ok_and(|quantity| quantity.is_zero()) {
            w.add(&limit, "0 is no limit, as if it were left out; say how much the container may have");
        }
    }
}

/// A second definition is fine only when it builds on the first.
fn variables(w: &mut Warnings, env: &At<'_, '_>) {
    let mut seen = HashSet::new();
    for variable in env.items() {
        let name = variable.field("name").text();
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        let value = variable.field("value").text();
        if variable.field("valueFrom").is_set() || value == reference || !value.contains(&reference) {
            let name = super::findings::cut(name);
            w.add(
                &variable,
                format_args!("hides previous definition of {name:?}, which may be dropped when using apply"),
            );
        }
    }
}

fn port(w: &mut Warnings, port: &At<'_, '_>, seen: &mut HashMap<String, String>) {
    let number = port.field("containerPort").int().unwrap_or(0);
    let key = format!("{number}/{}", port.field("protocol").text());
    let here = port.to_string();
    let outside = |at: &At<'_, '_>| {
        format!("{}/{}", at.field("hostIP").text(), at.field("hostPort").int().unwrap_or(0))
    };
    let exact = format!("{key} {}", outside(port));
    if let Some(other) = seen.get(&exact) {
        w.add(port, format_args!("duplicate port definition with {other}"));
    } else if let Some(other) = seen.get(&key) {
        w.add(port, format_args!("overlapping port definition with {other}"));
    }
    seen.entry(exact).or_insert_with(|| here.clone());
    seen.entry(key).or_insert(here);
}
