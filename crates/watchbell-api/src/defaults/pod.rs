//! Defaults of pods, and of the pod templates of Jobs and CronJobs.

use serde_json::{Value, json};

use super::{Object, child, child_or_new, fill, fill_nonzero, items};
use crate::quantity::Quantity;

/// Files of ConfigMaps, Secrets and the like: 0644.
const FILE_MODE: u32 = 0o644;

/// Volume sources with fields of fixed defaults.
const VOLUME_DEFAULTS: [(&str, &str, &str); 10] = [
    ("iscsi", "iscsiInterface", "default"),
    ("rbd", "pool", "rbd"),
    ("rbd", "user", "admin"),
    ("rbd", "keyring", "/etc/ceph/keyring"),
    ("azureDisk", "cachingMode", "ReadWrite"),
    ("azureDisk", "kind", "Shared"),
    ("azureDisk", "fsType", "ext4"),
    ("scaleIO", "storageMode", "ThinProvisioned"),
    ("scaleIO", "fsType", "xfs"),
    ("hostPath", "type", ""),
];

/// The spec of a pod: the defaults of a template, and those that only a pod gets.
pub(super) fn pod(pod: &mut Object) {
    spec(pod);
    for list in ["containers", "initContainers"] {
        for container in items(pod, list) {
            requests_from_limits(child_or_new(container, "resources"));
        }
    }
    fill(pod, "enableServiceLinks", || json!(true));
    if pod.get("hostNetwork") == Some(&json!(true)) {
        for list in ["containers", "initContainers"] {
            for container in items(pod, list) {
                for port in items(container, "ports") {
                    if let Some(number) = port.get("containerPort").and_then(Value::as_i64) {
                        fill_nonzero(port, "hostPort", number);
                    }
                }
            }
        }
    }
}

/// A pod's spec, wherever it stands.
pub(super) fn spec(spec: &mut Object) {
    for volume in items(spec, "volumes") {
        self::volume(volume);
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(spec, list) {
            self::container(container);
        }
    }
    fill(spec, "dnsPolicy", || "ClusterFirst".into());
    fill(spec, "restartPolicy", || "Always".into());
    if !spec.get("securityContext").is_some_and(Value::is_object) {
        spec.insert("securityContext".into(), json!({}));
    }
    fill(spec, "terminationGracePeriodSeconds", || json!(30));
    fill(spec, "schedulerName", || "default-scheduler".into());
    round_up(spec, "overhead");
    // The old name of the field is kept in step with the new one.
    let account = ["serviceAccountName", "serviceAccount"]
        .iter()
        .find_map(|field| spec.get(*field).filter(|v| v.as_str().is_some_and(|name| !name.is_empty())))
        .cloned();
    if let Some(account) = account {
        spec.insert("serviceAccountName".into(), account.clone());
        spec.insert("serviceAccount".into(), account);
    }
}

fn container(container: &mut Object) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = pull_policy(image);
    for variable in items(container, "env") {
        if let Some(source) = child(variable, "valueFrom") {
            pod_references(source);
        }
    }
    for port in items(container, "ports") {
        fill(port, "protocol", || "TCP".into());
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = child(container, name) {
            self::probe(probe);
        }
    }
    if let Some(lifecycle) = child(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(get) = child(lifecycle, hook).and_then(|hook| child(hook, "httpGet")) {
                http_get(get);
            }
        }
    }
    let resources = child_or_new(container, "resources");
    round_up(resources, "limits");
    round_up(resources, "requests");
    fill(container, "terminationMessagePath", || "/dev/termination-log".into());
    fill(container, "terminationMessagePolicy", || "File".into());
    fill(container, "imagePullPolicy", || policy.into());
}

/// `Always` for the tag `latest`, said or unsaid.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = match last.split_once(':') {
        Some((_, tag)) => tag,
        None if digest.is_some() || name.is_empty() => "",
        None => "latest",
    };
    if tag == "latest" { "Always" } else { "IfNotPresent" }
}

fn probe(probe: &mut Object) {
    if let Some(get) = child(probe, "httpGet") {
        http_get(get);
    }
    if let Some(grpc) = child(probe, "grpc") {
        fill(grpc, "service", || "".into());
    }
    for (field, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        fill_nonzero(probe, field, value);
    }
}

fn http_get(get: &mut Object) {
    fill(get, "path", || "/".into());
    fill(get, "scheme", || "HTTP".into());
}

/// `fieldRef` and `resourceFieldRef`, of a variable or of a file.
fn pod_references(source: &mut Object) {
    if let Some(field) = child(source, "fieldRef") {
        fill(field, "apiVersion", || "v1".into());
    }
    if let Some(resource) = child(source, "resourceFieldRef") {
        fill(resource, "divisor", || "0".into());
    }
}

fn volume(volume: &mut Object) {
    if !volume.iter().any(|(field, source)| field != "name" && !source.is_null()) {
        volume.insert("emptyDir".into(), json!({}));
    }
    for (name, field, value) in VOLUME_DEFAULTS {
        if let Some(source) = child(volume, name) {
            fill(source, field, || value.into());
        }
    }
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        let Some(source) = child(volume, name) else { continue };
        fill(source, "defaultMode", || json!(FILE_MODE));
        for file in items(source, "items") {
            pod_references(file);
        }
        for projection in items(source, "sources") {
            if let Some(token) = child(projection, "serviceAccountToken") {
                fill(token, "expirationSeconds", || json!(3600));
            }
            for file in child(projection, "downwardAPI").into_iter().flat_map(|source| items(source, "items"))
            {
                pod_references(file);
            }
        }
    }
    if let Some(image) = child(volume, "image") {
        let policy = pull_policy(image.get("reference").and_then(Value::as_str).unwrap_or_default());
        fill(image, "pullPolicy", || policy.into());
    }
    if let Some(claim) = child(volume, "ephemeral")
        .and_then(|source| child(source, "volumeClaimTemplate"))
        .and_then(|template| child(template, "spec"))
    {
        fill(claim, "volumeMode", || "Filesystem".into());
        if let Some(resources) = child(claim, "resources") {
            round_up(resources, "limits");
            round_up(resources, "requests");
        }
    }
}

/// What is limited and not asked for is asked for as much as it is limited.
fn requests_from_limits(resources: &mut Object) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    if limits.is_empty() {
        return;
    }
    let requests = child_or_new(resources, "requests");
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

/// Amounts are kept to a thousandth.
fn round_up(object: &mut Object, field: &str) {
    for amount in child(object, field).into_iter().flat_map(|list| list.values_mut()) {
        if let Ok(quantity) = Quantity::from_value(amount) {
            *amount = quantity.round_up_to_millis().to_string().into();
        }
    }
}
