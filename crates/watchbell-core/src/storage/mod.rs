//! PersistentVolumeClaims: which volume a claim gets, and when a volume goes.
//!
//! ```text
//!   claim ── bind ──▶ a volume that waits and fits (the smallest)        ──▶ Bound
//!                 ──▶ none, and a class of ours: a volume made for it    ──▶ Bound
//!                 ──▶ else Pending, with Kubernetes' reason
//!   claim gone ──▶ its volume is Released: Retain keeps it; Delete removes the folder, then the object
//! ```
//!
//! A volume of ours is a folder below the data directory that has the volume's name. It is made when a pod first mounts
//! it, and its size is not bounded: the capacity is what was asked for, as with most provisioners of local folders.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use watchbell_api::quantity::Quantity;
use watchbell_api::types::pod::PodSpec;

mod bind;

#[cfg(test)]
mod tests;

pub use bind::{Binding, Pending, bind};

/// The provisioner of volumes on a folder of this machine.
pub const PROVISIONER: &str = watchbell_api::node::LOCAL_DRIVER;
/// The class that is always there, and the default unless another one is.
pub const CLASS: &str = "local";
/// Makes a class the one of claims that name none.
pub const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// Keep a claim that pods use, and a volume that is bound.
pub const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
pub const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";
/// Said on a claim: that it was bound, and that it did not name its volume itself.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Said on a claim: who makes its volume.
pub const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// Who made a volume: such a one goes with its claim.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// A PersistentVolumeClaim, as far as binding goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// `None`: the default class was none when it was made. Empty: only volumes without a class.
    pub class: Option<String>,
    pub volume_name: Option<String>,
    pub storage: Quantity,
    pub access_modes: Vec<String>,
    pub is_block: bool,
    pub selector: Value,
}

/// A PersistentVolume, as far as binding goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    pub name: String,
    pub class: String,
    pub storage: Quantity,
    pub access_modes: Vec<String>,
    pub is_block: bool,
    pub labels: BTreeMap<String, String>,
    /// Whom it is bound to, or reserved for (then without a uid).
    pub claim: Option<ClaimRef>,
    pub reclaim: Reclaim,
    pub is_provisioned: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRef {
    pub namespace: String,
    pub name: String,
    pub uid: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reclaim {
    Retain,
    Delete,
}

/// A StorageClass.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    pub name: String,
    pub provisioner: String,
    pub reclaim: Reclaim,
    pub waits_for_consumer: bool,
    pub allows_expansion: bool,
    pub is_default: bool,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn modes(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn storage(value: &Value) -> Quantity {
    Quantity::from_value(&value["storage"]).unwrap_or(Quantity::ZERO)
}

fn reclaim(value: &Value, unsaid: Reclaim) -> Reclaim {
    match value.as_str() {
        Some("Delete") => Reclaim::Delete,
        Some(_) => Reclaim::Retain,
        None => unsaid,
    }
}

impl Claim {
    pub fn read(object: &Value) -> Claim {
        let (metadata, spec) = (&object["metadata"], &object["spec"]);
        Claim {
            namespace: text(&metadata["namespace"]),
            name: text(&metadata["name"]),
            uid: text(&metadata["uid"]),
            class: spec["storageClassName"].as_str().map(str::to_owned),
            volume_name: spec["volumeName"].as_str().filter(|name| !name.is_empty()).map(str::to_owned),
            storage: storage(&spec["resources"]["requests"]),
            access_modes: modes(&spec["accessModes"]),
            is_block: spec["volumeMode"] == "Block",
            selector: spec["selector"].clone(),
        }
    }

    /// One pod at a time may use it.
    pub fn is_for_one_pod(&self) -> bool {
        self.access_modes.iter().any(|mode| mode == "ReadWriteOncePod")
    }

    /// The volume that is made for it: named by the claim's uid, as Kubernetes does.
    pub fn new_volume(&self, class: &Class) -> Value {
        let name = format!("pvc-{}", self.uid);
        let policy = match class.reclaim {
            Reclaim::Retain => "Retain",
            Reclaim::Delete => "Delete",
        };
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
            "spec": {
                "capacity": {"storage": self.storage.to_string()},
                "accessModes": self.access_modes,
                "persistentVolumeReclaimPolicy": policy,
                "storageClassName": class.name,
                "volumeMode": "Filesystem",
                "csi": {"driver": PROVISIONER, "volumeHandle": name},
                "claimRef": self.reference(),
            },
        })
    }

    /// `spec.claimRef` of its volume.
    pub fn reference(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "namespace": self.namespace, "name": self.name, "uid": self.uid,
        })
    }

    /// Whether a volume's reference means this claim.
    pub fn is(&self, claim: &ClaimRef) -> bool {
        claim.namespace == self.namespace
            && claim.name == self.name
            && claim.uid.as_ref().is_none_or(|uid| *uid == self.uid)
    }
}

impl Volume {
    pub fn read(object: &Value) -> Volume {
        let (metadata, spec) = (&object["metadata"], &object["spec"]);
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let claim = &spec["claimRef"];
        Volume {
            name: text(&metadata["name"]),
            class: text(&spec["storageClassName"]),
            storage: storage(&spec["capacity"]),
            access_modes: modes(&spec["accessModes"]),
            is_block: spec["volumeMode"] == "Block",
            labels: labels.map(|(key, value)| (key.clone(), text(value))).collect(),
            claim: claim.is_object().then(|| ClaimRef {
                namespace: text(&claim["namespace"]),
                name: text(&claim["name"]),
                uid: claim["uid"].as_str().filter(|uid| !uid.is_empty()).map(str::to_owned),
            }),
            reclaim: reclaim(&spec["persistentVolumeReclaimPolicy"], Reclaim::Retain),
            is_provisioned: metadata["annotations"][PROVISIONED_BY] == PROVISIONER,
        }
    }
}

impl Class {
    pub fn read(object: &Value) -> Class {
        Class {
            name: text(&object["metadata"]["name"]),
            provisioner: text(&object["provisioner"]),
            reclaim: reclaim(&object["reclaimPolicy"], Reclaim::Delete),
            waits_for_consumer: object["volumeBindingMode"] == "WaitForFirstConsumer",
            allows_expansion: object["allowVolumeExpansion"] == true,
            is_default: object["metadata"]["annotations"][DEFAULT_CLASS] == "true",
        }
    }

    /// The class that is always there. Immediate: there is one machine, so nothing is learned by waiting.
    pub fn built_in() -> Value {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": CLASS, "annotations": {DEFAULT_CLASS: "true"}},
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "Immediate",
            "allowVolumeExpansion": true,
        })
    }
}

/// The folder of a volume of ours: `spec.csi` names our driver and, as its handle, the volume itself.
pub fn folder(volume: &Value) -> Option<&str> {
    let csi = &volume["spec"]["csi"];
    let name = volume["metadata"]["name"].as_str().filter(|name| is_folder_name(name))?;
    (csi["driver"] == PROVISIONER && csi["volumeHandle"] == name).then_some(name)
}

/// The claims that the volumes of a pod name.
pub fn claims_of(spec: &PodSpec) -> impl Iterator<Item = &str> {
    spec.volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref()?["claimName"].as_str())
}

/// What names of objects are made of, and never a way out of the directory.
fn is_folder_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
}
