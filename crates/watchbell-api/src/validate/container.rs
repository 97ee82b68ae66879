//! The containers of a pod: what all have in common, and what tells init containers from the others.

use std::collections::HashSet;

use super::at::At;
use super::findings::Findings;
use super::pod::{Context, Place};
use super::{env, probe, resources, security};
use crate::name;

/// A name of 255 bytes, a tag of 128 and a digest of 135 are the longest that any registry takes (the OCI distribution
/// specification, `pulling-manifests`).
const IMAGE_BYTES_MAX: usize = 1024;
/// Fields that only containers have that run beside others.
const LIFE: [&str; 4] = ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"];

pub(super) fn check(f: &mut Findings, spec: &At<'_, '_>, context: &Context<'_>) {
    let mut names = HashSet::new();
    let is_host_network = spec.field("hostNetwork").is_true();
    let containers = spec.field("containers");
    if containers.len() == 0 {
        f.required(&containers, "");
    }
    let mut host_ports = HashSet::new();
    for container in containers.items() {
        common(f, &container, context);
        unique_name(f, &container, &mut names);
        probe::life(f, &container, context);
        unique_host_ports(f, &container, &mut host_ports);
        if is_host_network {
            host_network_ports(f, &container, context.place);
        }
    }
    for container in spec.field("initContainers").items() {
        common(f, &container, context);
        init(f, &container, context);
        unique_name(f, &container, &mut names);
        // They run one after another.
        unique_host_ports(f, &container, &mut HashSet::new());
    }
    for container in spec.field("ephemeralContainers").items() {
        common(f, &container, context);
        let target = container.field("targetContainerName");
        if !target.text().is_empty() && !names.contains(target.text()) {
            f.not_found(&target);
        }
        unique_name(f, &container, &mut names);
        for field in LIFE.into_iter().chain(["ports", "resizePolicy", "restartPolicy", "restartPolicyRules"])
        {
            let field = container.field(field);
            if field.is_set() {
                f.forbidden(&field, "cannot be set for an Ephemeral Container");
            }
        }
        if container.field("resources").len() > 0 {
            f.forbidden(&container.field("resources"), "cannot be set for an Ephemeral Container");
        }
    }
}

fn init(f: &mut Findings, container: &At<'_, '_>, context: &Context<'_>) {
    let policy = container.field("restartPolicy");
    if policy.text() == "Always" {
        probe::life(f, container, context);
        return;
    }
    for field in LIFE {
        let field = container.field(field);
        if field.is_set() {
            f.forbidden(&field, "may not be set for init containers without restartPolicy=Always");
        }
    }
}

fn unique_name<'v>(f: &mut Findings, container: &At<'v, '_>, names: &mut HashSet<&'v str>) {
    let name = container.field("name");
    if !names.insert(name.text()) && !name.text().is_empty() {
        f.duplicate(&name);
    }
}

fn common(f: &mut Findings, container: &At<'_, '_>, context: &Context<'_>) {
    let name = container.field("name");
    if f.present(&name) {
        f.all_invalid(&name, name::label(name.text()));
    }
    let image = container.field("image");
    if f.present(&image) && context.place == Place::Pod && image.text().trim() != image.text() {
        f.invalid(&image, "must not have leading or trailing whitespace");
    }
    if image.text().len() > IMAGE_BYTES_MAX {
        f.too_long(&image, IMAGE_BYTES_MAX);
    }
    f.one_of(&container.field("terminationMessagePolicy"), &["File", "FallbackToLogsOnError"]);
    ports(f, &container.field("ports"));
    env::variables(f, &container.field("env"), context);
    env::sources(f, &container.field("envFrom"));
    mounts(f, container, context);
    devices(f, container, context);
    f.one_of(&container.field("imagePullPolicy"), &["Always", "IfNotPresent", "Never"]);
    resources::container(f, &container.field("resources"), &context.claims);
    resize_policy(f, &container.field("resizePolicy"), context);
    security::container(f, &container.field("securityContext"), context.host_users);
    restarts(f, container);
}

/// When the container is begun again, apart from what the pod says (KEP-5307).
fn restarts(f: &mut Findings, container: &At<'_, '_>) {
    const RULES_MAX: usize = 20;
    const EXIT_CODES_MAX: usize = 255;
    let (policy, rules) = (container.field("restartPolicy"), container.field("restartPolicyRules"));
    f.one_of_if_set(&policy, &["Always", "Never", "OnFailure"]);
    if rules.len() > 0 && !policy.is_set() {
        f.required(&policy, "must specify restartPolicy when restart rules are used");
    }
    if !f.at_most(&rules, RULES_MAX) {
        return;
    }
    for rule in rules.items() {
        // `RestartAllContainers` is not served: a pod that took it for `Restart` would run on with half of its state.
        unless_supported(f, &rule.field("action"), &["Restart"]);
        let codes = rule.field("exitCodes");
        if codes.is_set() {
            unless_supported(f, &codes.field("operator"), &["In", "NotIn"]);
            f.at_most(&codes.field("values"), EXIT_CODES_MAX);
        } else {
            f.required(&codes, "must be specified");
        }
    }
}

/// As Kubernetes words it here, also when nothing is set.
fn unless_supported(f: &mut Findings, at: &At<'_, '_>, supported: &[&str]) {
    if !supported.contains(&at.text()) {
        f.not_supported(at, supported);
    }
}

fn ports(f: &mut Findings, ports: &At<'_, '_>) {
    let mut names = HashSet::new();
    for port in ports.items() {
        let name = port.field("name");
        if !name.text().is_empty() {
            let wrong = name::port(name.text());
            if wrong.is_empty() && !names.insert(name.text()) {
                f.duplicate(&name);
            }
            f.all_invalid(&name, wrong);
        }
        let number = port.field("containerPort");
        if number.int().unwrap_or(0) == 0 {
            f.required(&number, "");
        } else {
            f.in_range(&number, 1, 65535);
        }
        let host = port.field("hostPort");
        if host.int() != Some(0) {
            f.in_range(&host, 1, 65535);
        }
        f.one_of(&port.field("protocol"), &["SCTP", "TCP", "UDP"]);
    }
}

fn unique_host_ports(f: &mut Findings, container: &At<'_, '_>, taken: &mut HashSet<String>) {
    for port in container.field("ports").items() {
        let host = port.field("hostPort");
        let Some(number) = host.int().filter(|n| *n != 0) else { continue };
        let key = format!("{}/{}/{number}", port.field("protocol").text(), port.field("hostIP").text());
        if taken.contains(&key) {
            f.duplicate_text(&host, &key);
        } else {
            taken.insert(key);
        }
    }
}

fn host_network_ports(f: &mut Findings, container: &At<'_, '_>, place: Place) {
    for port in container.field("ports").items() {
        let (host, inner) = (port.field("hostPort"), port.field("containerPort"));
        let number = host.int().unwrap_or(0);
        if (place == Place::Pod || number != 0) && Some(number) != inner.int() {
            f.invalid(&host, "must match `containerPort` when `hostNetwork` is true");
        }
    }
}

fn mounts(f: &mut Findings, container: &At<'_, '_>, context: &Context<'_>) {
    let mut paths = HashSet::new();
    let context_of = container.field("securityContext");
    let is_privileged = context_of.field("privileged").is_true();
    for mount in container.field("volumeMounts").items() {
        let (name, path) = (mount.field("name"), mount.field("mountPath"));
        f.present(&name);
        if !context.volumes.contains_key(name.text()) {
            f.not_found(&name);
        }
        f.present(&path);
        if !paths.insert(path.text()) {
            f.invalid(&path, "must be unique");
        }
        let (sub, expression) = (mount.field("subPath"), mount.field("subPathExpr"));
        descending_path(f, &sub);
        if !expression.text().is_empty() {
            if !sub.text().is_empty() {
                f.invalid(&expression, "subPathExpr and subPath are mutually exclusive");
            }
            descending_path(f, &expression);
        }
        let propagation = mount.field("mountPropagation");
        f.one_of_if_set(&propagation, &["Bidirectional", "HostToContainer", "None"]);
        if propagation.text() == "Bidirectional" && !is_privileged {
            f.forbidden(
                &propagation,
                "Bidirectional mount propagation is available only to privileged containers",
            );
        }
        let recursive = mount.field("recursiveReadOnly");
        f.one_of_if_set(&recursive, &["Disabled", "Enabled", "IfPossible"]);
        if matches!(recursive.text(), "Enabled" | "IfPossible") {
            if !mount.field("readOnly").is_true() {
                f.forbidden(&recursive, "may only be specified when readOnly is true");
            }
            if !matches!(propagation.text(), "" | "None") {
                f.forbidden(
                    &recursive,
                    "may only be specified when mountPropagation is None or not specified",
                );
            }
        }
    }
}

fn devices(f: &mut Findings, container: &At<'_, '_>, context: &Context<'_>) {
    let mounts = container.field("volumeMounts");
    let mounted: HashSet<&str> = mounts.items().map(|mount| mount.field("name").text()).collect();
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    for device in container.field("volumeDevices").items() {
        let (name, path) = (device.field("name"), device.field("devicePath"));
        if f.present(&name) && !names.insert(name.text()) {
            f.invalid(&name, "must be unique");
        }
        match context.volumes.get(name.text()) {
            None => f.not_found(&name),
            Some(source)
                if source.get("persistentVolumeClaim").is_none() && source.get("ephemeral").is_none() =>
            {
                f.invalid(
                    &name,
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                );
            }
            Some(_) => {}
        }
        if f.present(&path) && !paths.insert(path.text()) {
            f.invalid(&path, "must be unique");
        }
        if path.text().split('/').any(|part| part == "..") {
            f.invalid(&path, "can not contain backsteps ('..')");
        }
        if mounted.contains(name.text()) {
            f.invalid(&name, "must not already exist in volumeMounts");
        }
    }
}

fn resize_policy(f: &mut Findings, policy: &At<'_, '_>, context: &Context<'_>) {
    let mut seen = HashSet::new();
    for item in policy.items() {
        let (resource, restart) = (item.field("resourceName"), item.field("restartPolicy"));
        f.one_of(&resource, &["cpu", "memory"]);
        if !seen.insert(resource.text()) {
            f.duplicate_text(&item, resource.text());
        }
        f.one_of(&restart, &["NotRequired", "RestartContainer"]);
        if context.restart_policy == "Never" && restart.text() == "RestartContainer" {
            f.invalid(&restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}

/// A relative path that leads down only.
pub(super) fn descending_path(f: &mut Findings, path: &At<'_, '_>) {
    if path.text().starts_with('/') {
        f.invalid(path, "must be a relative path");
    }
    if path.text().split('/').any(|part| part == "..") {
        f.invalid(path, "must not contain '..'");
    }
}
