//! Which volume a claim gets.

use std::collections::BTreeMap;

use serde_json::Value;
use watchbell_api::selector::Labels;

use super::{Claim, Class, PROVISIONER, Volume};

/// What becomes of a claim that is not bound.
#[derive(Debug, Clone, PartialEq)]
pub enum Binding {
    /// To this volume.
    To(String),
    /// To a volume that is made for it.
    Provision,
    Wait(Pending),
}

/// Why a claim waits: the event that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub is_warning: bool,
    pub reason: &'static str,
    pub message: String,
}

fn wait(is_warning: bool, reason: &'static str, message: impl Into<String>) -> Binding {
    Binding::Wait(Pending { is_warning, reason, message: message.into() })
}

/// Decides for one claim, between the volumes that are not being deleted. `class` is the one that the claim names, if it is there; `is_wanted`: a pod asks for the claim.
pub fn bind<'a>(
    claim: &Claim,
    volumes: impl Iterator<Item = &'a Volume>,
    class: Option<&Class>,
    is_wanted: bool,
) -> Binding {
    let mut best: Option<&Volume> = None;
    let mut named = None;
    for volume in volumes {
        if claim.volume_name.as_ref().is_some_and(|name| *name == volume.name) {
            named = Some(volume);
        }
        if fits(claim, volume) && best.is_none_or(|best| rank(claim, volume) < rank(claim, best)) {
            best = Some(volume);
        }
    }
    if let Some(name) = &claim.volume_name {
        return match named {
            None => wait(true, "FailedBinding", format!("volume {name:?} not found")),
            Some(volume) if volume.claim.as_ref().is_some_and(|of| !claim.is(of)) => {
                wait(true, "FailedBinding", format!("volume {name:?} already bound to a different claim."))
            }
            Some(volume) if !suits(claim, volume) => wait(
                true,
                "VolumeMismatch",
                format!(
                    "Cannot bind to requested volume {name:?}: its size, class, accessModes or volumeMode differ"
                ),
            ),
            Some(volume) => Binding::To(volume.name.clone()),
        };
    }
    // Volumes that somebody made by hand wait for the first pod too where the class says so.
    let waits = class.is_some_and(|class| class.waits_for_consumer) && !is_wanted;
    if waits && best.is_none_or(|volume| volume.claim.is_none()) {
        let message = "waiting for first consumer to be created before binding";
        return wait(false, "WaitForFirstConsumer", message);
    }
    if let Some(volume) = best {
        return Binding::To(volume.name.clone());
    }
    match (claim.class.as_deref(), class) {
        (None | Some(""), _) => wait(
            false,
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set",
        ),
        (Some(name), None) => {
            wait(true, "ProvisioningFailed", format!("storageclass.storage.k8s.io {name:?} not found"))
        }
        (Some(_), Some(class)) if class.provisioner == PROVISIONER => provision(claim),
        (Some(_), Some(class)) => wait(
            false,
            "ExternalProvisioning",
            format!(
                "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system \
                 administrator. If volume creation is delayed, please verify that the provisioner is running and \
                 correctly registered.",
                class.provisioner
            ),
        ),
    }
}

/// Whether a folder can be what the claim asks for.
fn provision(claim: &Claim) -> Binding {
    let failed = |why: &str| wait(true, "ProvisioningFailed", format!("failed to provision volume: {why}"));
    if claim.is_block {
        return failed("volumeMode Block is not served by this machine; use Filesystem");
    }
    if claim.selector.as_object().is_some_and(|selector| !selector.is_empty()) {
        return failed("claim.Spec.Selector is not supported for dynamic provisioning");
    }
    Binding::Provision
}

/// The volume waits for any claim like this, or for this one.
fn fits(claim: &Claim, volume: &Volume) -> bool {
    let is_free = match &volume.claim {
        Some(of) => claim.is(of),
        None => true,
    };
    is_free && suits(claim, volume) && is_selected(&claim.selector, &volume.labels)
}

fn suits(claim: &Claim, volume: &Volume) -> bool {
    claim.class.as_deref().unwrap_or_default() == volume.class
        && volume.storage >= claim.storage
        && volume.is_block == claim.is_block
        && claim.access_modes.iter().all(|mode| volume.access_modes.contains(mode))
}

/// Reserved ones first, then the smallest.
fn rank<'a>(claim: &Claim, volume: &'a Volume) -> impl Ord + use<'a> {
    let is_reserved = volume.claim.as_ref().is_some_and(|of| claim.is(of));
    (!is_reserved, volume.storage, volume.name.as_str())
}

fn is_selected(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    if !selector.is_object() {
        return true;
    }
    // One that cannot be read selects nothing.
    Labels::from_object(selector).is_ok_and(|selector| selector.matches(labels))
}
