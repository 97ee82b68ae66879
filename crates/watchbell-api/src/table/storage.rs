//! Claims, volumes and their classes.

use serde_json::Value;

use super::{AGE, Column, NAME, age, at, column, list, name, text, wide};

pub(super) static CLAIM: [Column; 9] = [
    NAME,
    column("Status", "Pending, Bound or Lost."),
    column("Volume", "The volume it is bound to."),
    column("Capacity", "How much the volume holds."),
    column("Access Modes", "How the volume may be mounted."),
    column("StorageClass", "The class that makes its volume."),
    column("VolumeAttributesClass", "The class of the volume's attributes."),
    AGE,
    wide("VolumeMode", "Filesystem or Block."),
];

pub(super) static VOLUME: [Column; 11] = [
    NAME,
    column("Capacity", "How much it holds."),
    column("Access Modes", "How it may be mounted."),
    column("Reclaim Policy", "What becomes of it without its claim."),
    column("Status", "Available, Bound, Released or Failed."),
    column("Claim", "The claim it is bound to."),
    column("StorageClass", "The class that made it."),
    column("VolumeAttributesClass", "The class of its attributes."),
    column("Reason", "Why it is in its state, in one word for programs."),
    AGE,
    wide("VolumeMode", "Filesystem or Block."),
];

pub(super) static CLASS: [Column; 6] = [
    NAME,
    column("Provisioner", "What makes its volumes."),
    column("ReclaimPolicy", "What becomes of its volumes without their claims."),
    column("VolumeBindingMode", "When claims get their volumes."),
    column("AllowVolumeExpansion", "Whether claims may grow."),
    AGE,
];

const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

pub(super) fn claim(object: &Value, now: i64) -> Vec<Value> {
    let volume = text(object, &["spec", "volumeName"]);
    // What the claim asks for is not yet what it has.
    let (capacity, modes) = match volume {
        "" => ("", String::new()),
        _ => (
            text(object, &["status", "capacity", "storage"]),
            access_modes(list(object, &["status", "accessModes"])),
        ),
    };
    vec![
        name(object),
        phase(object).into(),
        volume.into(),
        capacity.into(),
        modes.into(),
        class(object).into(),
        or_unset(text(object, &["spec", "volumeAttributesClassName"])),
        age(object, now),
        or_unset(text(object, &["spec", "volumeMode"])),
    ]
}

pub(super) fn volume(object: &Value, now: i64) -> Vec<Value> {
    let claim = match at(object, &["spec", "claimRef"]).filter(|claim| claim.is_object()) {
        Some(claim) => format!("{}/{}", text(claim, &["namespace"]), text(claim, &["name"])),
        None => String::new(),
    };
    vec![
        name(object),
        text(object, &["spec", "capacity", "storage"]).into(),
        access_modes(list(object, &["spec", "accessModes"])).into(),
        text(object, &["spec", "persistentVolumeReclaimPolicy"]).into(),
        phase(object).into(),
        claim.into(),
        class(object).into(),
        or_unset(text(object, &["spec", "volumeAttributesClassName"])),
        text(object, &["status", "reason"]).into(),
        age(object, now),
        or_unset(text(object, &["spec", "volumeMode"])),
    ]
}

pub(super) fn storage_class(object: &Value, now: i64) -> Vec<Value> {
    let or = |field: &str, otherwise: &'static str| match text(object, &[field]) {
        "" => Value::from(otherwise),
        set => set.into(),
    };
    let is_default =
        DEFAULT_CLASS.iter().any(|key| text(object, &["metadata", "annotations", key]) == "true");
    let own = text(object, &["metadata", "name"]);
    vec![
        if is_default { format!("{own} (default)").into() } else { own.into() },
        text(object, &["provisioner"]).into(),
        or("reclaimPolicy", "Delete"),
        or("volumeBindingMode", "Immediate"),
        at(object, &["allowVolumeExpansion"]).and_then(Value::as_bool).unwrap_or(false).into(),
        age(object, now),
    ]
}

fn phase(object: &Value) -> &str {
    match text(object, &["metadata", "deletionTimestamp"]) {
        "" => text(object, &["status", "phase"]),
        _ => "Terminating",
    }
}

fn class(object: &Value) -> &str {
    match text(object, &["metadata", "annotations", CLASS_BETA]) {
        "" => text(object, &["spec", "storageClassName"]),
        class => class,
    }
}

fn or_unset(text: &str) -> Value {
    if text.is_empty() { "<unset>".into() } else { text.into() }
}

/// `RWO,ROX`, each once, in Kubernetes' order.
fn access_modes(modes: &[Value]) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let shown: Vec<&str> =
        SHORT.iter().filter(|(mode, _)| modes.iter().any(|m| m == mode)).map(|(_, short)| *short).collect();
    shown.join(",")
}
