//! What is worth a warning of the kinds that are no pods.

use super::at::At;
use super::storage::CLASS_BETA;
use super::warning::{DEPRECATED_NODE_LABELS, DEPRECATED_VOLUMES, Warnings};
use crate::network::EGRESS_NAMES;
use crate::node::LOCAL_DRIVER;
use crate::quantity::Quantity;

const NOT_MOUNTED: &str = "is not mounted by this node, and a pod that uses a claim of it fails";

pub(super) fn claim(w: &mut Warnings, claim: &At<'_, '_>) {
    class_annotation(w, claim);
    let spec = claim.field("spec");
    for list in ["requests", "limits"] {
        let resources = spec.field("resources");
        let amounts = resources.field(list);
        let amount = amounts.key("storage");
        if let Ok(quantity) = Quantity::from_value(amount.value)
            && !quantity.is_whole()
        {
            w.add(
                &amount,
                format_args!("fractional byte value \"{quantity}\" is invalid, must be an integer"),
            );
        }
    }
    if spec.field("volumeMode").text() == "Block" {
        w.add(&spec.field("volumeMode"), "block devices are not made by this node");
    }
}

pub(super) fn volume(w: &mut Warnings, volume: &At<'_, '_>) {
    class_annotation(w, volume);
    let spec = volume.field("spec");
    let policy = spec.field("persistentVolumeReclaimPolicy");
    if policy.text() == "Recycle" {
        w.add(
            &policy,
            "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
        );
    }
    for (kind, text) in DEPRECATED_VOLUMES {
        if spec.field(kind).is_set() {
            w.add(&spec.field(kind), text);
        }
    }
    for kind in super::storage::SOURCES {
        let source = spec.field(kind);
        let is_mounted = match kind {
            "hostPath" | "local" => true,
            "csi" => source.field("driver").text() == LOCAL_DRIVER,
            _ => false,
        };
        if source.is_set() && !is_mounted {
            w.add(&source, NOT_MOUNTED);
        }
    }
}

pub(super) fn storage_class(w: &mut Warnings, class: &At<'_, '_>) {
    let provisioner = class.field("provisioner");
    if provisioner.text() != LOCAL_DRIVER {
        w.add(
            &provisioner,
            format_args!(
                "{LOCAL_DRIVER} alone makes volumes here; claims of this class wait for a volume that somebody else makes"
            ),
        );
    }
    for topology in class.field("allowedTopologies").items() {
        for requirement in topology.field("matchLabelExpressions").items() {
            deprecated_label(w, &requirement.field("key"), requirement.field("key").text());
        }
    }
}

pub(super) fn runtime_class(w: &mut Warnings, class: &At<'_, '_>) {
    let scheduling = class.field("scheduling");
    let selector = scheduling.field("nodeSelector");
    for (key, at) in selector.entries() {
        deprecated_label(w, &at, key);
    }
}

/// What opens something in a cluster and nothing here.
pub(super) fn network_policy(w: &mut Warnings, policy: &At<'_, '_>) {
    let (metadata, spec) = (policy.field("metadata"), policy.field("spec"));
    let annotations = metadata.field("annotations");
    let names = annotations.key(EGRESS_NAMES);
    if names.is_set() && !spec.field("policyTypes").items().any(|kind| kind.text() == "Egress") {
        w.add(&names, "has no effect: spec.policyTypes does not hold Egress");
    }
    for rule in spec.field("egress").items() {
        let (ports, peers) = (rule.field("ports"), rule.field("to"));
        // The way to a cluster's DNS: here names are resolved without one.
        if ports.len() > 0 && ports.items().all(|port| port.field("port").int() == Some(53)) {
            continue;
        }
        for port in ports.items() {
            let (protocol, number) = (port.field("protocol"), port.field("port"));
            if protocol.is_set() && protocol.text() != "TCP" {
                w.add(&protocol, "opens nothing here: a pod connects by TCP alone");
            } else if number.is_set() && number.int().is_none() {
                w.add(
                    &number,
                    "opens nothing here: a port without a number is a pod's, and pods take no connections",
                );
            }
        }
        for peer in peers.items().filter(|peer| !peer.field("ipBlock").is_set()) {
            w.add(&peer, "opens nothing here: pods take no connections");
        }
    }
}

fn class_annotation(w: &mut Warnings, object: &At<'_, '_>) {
    let metadata = object.field("metadata");
    let annotations = metadata.field("annotations");
    let class = annotations.key(CLASS_BETA);
    if class.is_set() {
        w.add(&class, "deprecated since v1.8; use \"storageClassName\" attribute instead");
    }
}

fn deprecated_label(w: &mut Warnings, at: &At<'_, '_>, key: &str) {
    if let Some((_, instead)) = DEPRECATED_NODE_LABELS.iter().find(|(label, _)| *label == key) {
        w.add(at, format_args!("deprecated since v1.14; use \"{instead}\" instead"));
    }
}
