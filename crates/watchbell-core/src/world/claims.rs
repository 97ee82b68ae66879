//! PersistentVolumeClaims and their volumes: binding, protection, reclaiming; and which pods wait for them.
//!
//! ```text
//!   claim ──▶ storage::bind ──▶ Bound ──▶ its pods join the queue
//!     │ deleted: waits while a pod that has its place uses it (pvc-protection)
//!     ▼
//!   volume Released ── Delete ──▶ Command::RemoveVolume ──▶ folder gone ──▶ Report ──▶ object gone
//!                   └─ Retain ──▶ stays; a volume of that name finds the folder again
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use watchbell_api::Resource;
use watchbell_api::node::{Command, StopCause};

use super::World;
use super::delete::background;
use super::object::{Key, NsName, Status, Stored};
use crate::controller::event::{EventKind, PlannedEvent};
use crate::storage::{
    self, BIND_COMPLETED, BOUND_BY_CONTROLLER, Binding, CLAIM_PROTECTION, Claim, Class, Pending, Reclaim,
    STORAGE_PROVISIONER, VOLUME_PROTECTION, bind, claims_of,
};

/// How long after a folder could not be removed it is tried again.
const REMOVE_AGAIN_SECONDS: i64 = 60;

/// What was said of a claim that waits.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    Nothing,
    /// By the server before this one: not said again.
    Before,
    This(Pending),
}

fn phase(object: &Stored) -> &str {
    match &object.status {
        Status::Json(status) => status["phase"].as_str().unwrap_or_default(),
        _ => "",
    }
}

/// What the pods of a claim look at.
fn readiness(claim: &Stored) -> (bool, bool, bool) {
    let alone = claim.facts().claim().is_some_and(Claim::is_for_one_pod);
    (phase(claim) == "Bound", claim.deletion.is_some(), alone)
}

fn volume_at(name: &str) -> NsName {
    NsName::new("", name)
}

impl World {
    // --- pods -------------------------------------------------------------------------------------------------------

    /// Why a pod cannot be placed for its claims' sake, in the scheduler's words.
    pub(super) fn claim_obstacle(&self, pod: &Stored) -> Option<String> {
        claims_of(pod.pod_spec()?).find_map(|name| {
            let at = NsName { namespace: pod.namespace.clone(), name: name.into() };
            let Some(claim) = self.get_at(Resource::PersistentVolumeClaim, &at) else {
                return Some(format!("persistentvolumeclaim {name:?} not found"));
            };
            if claim.deletion.is_some() {
                return Some(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            match phase(claim) {
                "Bound" => {}
                "Lost" => {
                    let volume = claim.facts().claim().and_then(|claim| claim.volume_name.clone());
                    return Some(format!(
                        "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {:?}",
                        volume.unwrap_or_default()
                    ));
                }
                _ => return Some("pod has unbound immediate PersistentVolumeClaims".to_owned()),
            }
            let alone = claim.facts().claim().is_some_and(Claim::is_for_one_pod);
            (alone && self.is_held_by_another(&at, pod)).then(|| {
                "1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
                    .to_owned()
            })
        })
    }

    /// Another pod that uses the claim has its place, or stands in the queue for one.
    fn is_held_by_another(&self, claim: &NsName, pod: &Stored) -> bool {
        self.claim_users.get(claim).into_iter().flatten().any(|at| {
            *at.name != *pod.name
                && self
                    .get_at(Resource::Pod, at)
                    .is_some_and(|other| self.queue.is_running(other.uid) || self.queue.is_waiting(other.uid))
        })
    }

    /// A pod that has not ended uses its claims.
    pub(super) fn index_claims_of(
        &mut self,
        old: Option<&Arc<Stored>>,
        new: Option<&Arc<Stored>>,
        at: &NsName,
    ) {
        let names = |pod: Option<&Arc<Stored>>| -> BTreeSet<String> {
            let live = pod.filter(|pod| pod.pod_status().is_some_and(|s| !s.phase.is_terminal()));
            let spec = live.and_then(|pod| pod.pod_spec());
            spec.map(|spec| claims_of(spec).map(str::to_owned).collect()).unwrap_or_default()
        };
        let (before, after) = (names(old), names(new));
        if before == after {
            return;
        }
        for name in before.symmetric_difference(&after) {
            let claim = NsName { namespace: at.namespace.clone(), name: name.as_str().into() };
            if after.contains(name) {
                self.claim_users.entry(claim.clone()).or_default().insert(at.clone());
            } else if let Some(users) = self.claim_users.get_mut(&claim) {
                users.remove(at);
                if users.is_empty() {
                    self.claim_users.remove(&claim);
                }
            }
            let matters = self
                .get_at(Resource::PersistentVolumeClaim, &claim)
                .is_some_and(|claim| readiness(claim) != (true, false, false));
            if matters {
                self.mark(Key { resource: Resource::PersistentVolumeClaim, at: claim });
            }
        }
    }

    /// Pods that wait for a claim are looked at again.
    fn recheck_users(&mut self, claim: &NsName) {
        let users: Vec<NsName> = self.claim_users.get(claim).into_iter().flatten().cloned().collect();
        for at in users {
            let Some(pod) = self.get_at(Resource::Pod, &at).cloned() else { continue };
            if pod.pod_status().is_some_and(|status| status.scheduled_at.is_none()) {
                self.index_room(Some(&pod), Some(&pod), &at);
                // What it waits for may have another name now.
                self.queued.push(at);
            }
        }
    }

    // --- claims -----------------------------------------------------------------------------------------------------

    pub(super) fn index_claim(&mut self, old: Option<&Arc<Stored>>, new: Option<&Arc<Stored>>) {
        let Some(object) = new.or(old) else { return };
        let at = object.at();
        let key = object.key();
        match new {
            Some(new) if phase(new) != "Bound" => {
                self.unbound_claims.entry(at.clone()).or_insert(Told::Nothing);
            }
            _ => {
                self.unbound_claims.remove(&at);
            }
        }
        let same_head = matches!((old, new), (Some(old), Some(new)) if super::index::same_head(old, new));
        if new.is_none() {
            self.clear_timer(&key);
            if let Some(name) = object.facts().claim().and_then(|claim| claim.volume_name.as_ref()) {
                self.mark(Key { resource: Resource::PersistentVolume, at: volume_at(name) });
            }
        } else if !same_head || old.map(|o| o.deletion) != new.map(|n| n.deletion) {
            self.mark(key);
        }
        if old.map(|old| readiness(old)) != new.map(|new| readiness(new)) {
            self.recheck_users(&at);
        }
    }

    /// A claim that names no class gets the default one; the newest, where there are several.
    pub(super) fn choose_class(&self, claim: &mut Value) {
        if !claim["spec"]["storageClassName"].is_null() {
            return;
        }
        let all = self.state.list(Resource::StorageClass, None, None);
        let defaults =
            all.filter(|class| class.facts().storage_class().is_some_and(|class| class.is_default));
        if let Some(class) =
            defaults.max_by_key(|class| (class.created_at, std::cmp::Reverse(class.name.clone())))
        {
            claim["spec"]["storageClassName"] = (*class.name).into();
        }
    }

    /// A claim may ask for more only where its volume was made for it, by a class that allows it.
    pub(super) fn check_expansion(&self, namespace: &str, name: &str, new: &Value) -> Result<(), String> {
        let Some(old) = self.get(Resource::PersistentVolumeClaim, namespace, name) else { return Ok(()) };
        let Some(before) = old.facts().claim() else { return Ok(()) };
        if Claim::read(new).storage <= before.storage {
            return Ok(());
        }
        let class = self.get(Resource::StorageClass, "", before.class.as_deref().unwrap_or_default());
        if class.and_then(|class| class.facts().storage_class()).is_some_and(|class| class.allows_expansion) {
            return Ok(());
        }
        Err("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support \
             resize"
            .to_owned())
    }

    pub(super) fn mark_unbound_claims(&mut self) {
        let claims: Vec<NsName> = self.unbound_claims.keys().cloned().collect();
        for at in claims {
            self.mark(Key { resource: Resource::PersistentVolumeClaim, at });
        }
    }

    pub(super) fn reconcile_claim(&mut self, at: &NsName, now: Timestamp) {
        let Some(object) = self.get_at(Resource::PersistentVolumeClaim, at).cloned() else { return };
        let Some(claim) = object.facts().claim() else { return };
        if object.deletion.is_some() {
            if !self.is_mounted(at) {
                self.drop_finalizer(&object, CLAIM_PROTECTION);
            }
            return;
        }
        let class_name = claim.class.as_deref().unwrap_or_default();
        let class = self.get(Resource::StorageClass, "", class_name).cloned();
        let class = class.as_ref().and_then(|class| class.facts().storage_class());
        if phase(&object) == "Bound" || phase(&object) == "Lost" {
            self.look_at_bound(&object, claim, class, now);
            if claim.is_for_one_pod() {
                self.recheck_users(at);
            }
            return;
        }
        let is_wanted = self.claim_users.contains_key(at);
        let volumes = self.state.list(Resource::PersistentVolume, None, None);
        let volumes = volumes.filter(|v| v.deletion.is_none()).filter_map(|v| v.facts().volume());
        match bind(claim, volumes, class, is_wanted) {
            Binding::To(name) => self.bind_claim(&object, claim, &name),
            Binding::Provision => {
                let Some(class) = class else { return };
                self.provision(&object, claim, class, now);
            }
            Binding::Wait(pending) => self.say_it_waits(&object, pending, now),
        }
    }

    /// Whether a pod that has its place uses the claim.
    fn is_mounted(&self, at: &NsName) -> bool {
        self.claim_users.get(at).into_iter().flatten().any(|pod| {
            let status = self.get_at(Resource::Pod, pod).and_then(|pod| pod.pod_status());
            status.is_some_and(|status| status.scheduled_at.is_some())
        })
    }

    fn say_it_waits(&mut self, claim: &Arc<Stored>, pending: Pending, now: Timestamp) {
        let Some(told) = self.unbound_claims.get_mut(&claim.at()) else { return };
        let before = std::mem::replace(told, Told::This(pending.clone()));
        if before == Told::Before || before == Told::This(pending.clone()) {
            return;
        }
        let kind = if pending.is_warning { EventKind::Warning } else { EventKind::Normal };
        self.emit(claim, &PlannedEvent { kind, reason: pending.reason, message: pending.message }, now);
    }

    fn provision(&mut self, object: &Arc<Stored>, claim: &Claim, class: &Class, now: Timestamp) {
        let made = self.create_own(Resource::PersistentVolume, "", claim.new_volume(class), now);
        match made {
            Ok(volume) => {
                let message = format!("Successfully provisioned volume {}", volume.name);
                self.emit(object, &PlannedEvent::normal("ProvisioningSucceeded", message), now);
                self.bind_claim(object, claim, &volume.name);
            }
            Err(error) => {
                let message = format!("failed to provision volume: {}", error.message);
                let reason = "ProvisioningFailed";
                self.say_it_waits(object, Pending { is_warning: true, reason, message }, now);
            }
        }
    }

    /// Claim and volume name each other, in one transaction.
    fn bind_claim(&mut self, object: &Arc<Stored>, claim: &Claim, volume: &str) {
        let Some(volume) = self.get_at(Resource::PersistentVolume, &volume_at(volume)).cloned() else {
            return;
        };
        let mut value = volume.render();
        let is_provisioned = volume.facts().volume().is_some_and(|volume| volume.is_provisioned);
        let was_reserved = volume.facts().volume().is_some_and(|volume| volume.claim.is_some());
        value["spec"]["claimRef"] = claim.reference();
        value["spec"]["claimRef"]["resourceVersion"] = object.resource_version.to_string().into();
        if !was_reserved {
            annotate(&mut value, BOUND_BY_CONTROLLER, "yes");
        }
        let (modes, capacity) = (value["spec"]["accessModes"].clone(), value["spec"]["capacity"].clone());
        self.put_with_status(&volume, value, json!({"phase": "Bound"}));
        let mut value = object.render();
        annotate(&mut value, BIND_COMPLETED, "yes");
        if claim.volume_name.is_none() {
            annotate(&mut value, BOUND_BY_CONTROLLER, "yes");
        }
        if is_provisioned {
            annotate(&mut value, STORAGE_PROVISIONER, storage::PROVISIONER);
        }
        value["spec"]["volumeName"] = (*volume.name).into();
        let status = json!({"phase": "Bound", "accessModes": modes, "capacity": capacity});
        self.put_with_status(object, value, status);
    }

    /// A bound claim loses its volume, or asks for more of it.
    fn look_at_bound(&mut self, object: &Arc<Stored>, claim: &Claim, class: Option<&Class>, now: Timestamp) {
        let name = claim.volume_name.clone().unwrap_or_default();
        let volume = self.get_at(Resource::PersistentVolume, &volume_at(&name)).cloned();
        let volume = volume
            .filter(|v| v.facts().volume().and_then(|v| v.claim.as_ref()).is_some_and(|of| claim.is(of)));
        let Some(volume) = volume else {
            if phase(object) == "Bound" {
                self.put_status(object, json!({"phase": "Lost"}));
                let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
                self.emit(object, &PlannedEvent::warning("ClaimLost", message), now);
            }
            return;
        };
        let Some(facts) = volume.facts().volume() else { return };
        let grows = claim.storage > facts.storage
            && facts.is_provisioned
            && class.is_some_and(|class| class.allows_expansion);
        if grows {
            let mut value = volume.render();
            value["spec"]["capacity"]["storage"] = claim.storage.to_string().into();
            self.put_value(&volume, value);
            let mut status = object.render()["status"].take();
            status["capacity"]["storage"] = claim.storage.to_string().into();
            self.put_status(object, status);
            let message = format!("Resized volume {name} to {}", claim.storage);
            self.emit(object, &PlannedEvent::normal("VolumeResizeSuccessful", message), now);
        }
    }

    // --- volumes ----------------------------------------------------------------------------------------------------

    pub(super) fn index_volume(&mut self, old: Option<&Arc<Stored>>, new: Option<&Arc<Stored>>) {
        let Some(object) = new.or(old) else { return };
        let same_head = matches!((old, new), (Some(old), Some(new)) if super::index::same_head(old, new));
        if same_head && old.map(|o| o.deletion) == new.map(|n| n.deletion) {
            return;
        }
        match new {
            Some(new) => self.mark(new.key()),
            None => {
                self.clear_timer(&object.key());
                if let Some(of) = object.facts().volume().and_then(|volume| volume.claim.as_ref()) {
                    let at = NsName::new(&of.namespace, &of.name);
                    self.mark(Key { resource: Resource::PersistentVolumeClaim, at });
                }
            }
        }
        self.mark_unbound_claims();
    }

    pub(super) fn reconcile_volume(&mut self, at: &NsName, now: Timestamp) {
        let Some(object) = self.get_at(Resource::PersistentVolume, at).cloned() else { return };
        let Some(volume) = object.facts().volume() else { return };
        let bound = volume.claim.as_ref().filter(|of| of.uid.is_some());
        let Some(of) = bound else {
            if object.deletion.is_some() {
                self.drop_finalizer(&object, VOLUME_PROTECTION);
            } else if phase(&object) != "Available" {
                self.put_status(&object, json!({"phase": "Available"}));
            }
            return;
        };
        let claim = self.get(Resource::PersistentVolumeClaim, &of.namespace, &of.name);
        if claim.and_then(|claim| claim.facts().claim()).is_some_and(|claim| claim.is(of)) {
            // Its claim keeps it, also when it is to go.
            return;
        }
        match volume.reclaim {
            Reclaim::Retain if object.deletion.is_some() => self.drop_finalizer(&object, VOLUME_PROTECTION),
            Reclaim::Retain => {
                if phase(&object) != "Released" {
                    self.put_status(&object, json!({"phase": "Released"}));
                }
            }
            Reclaim::Delete if volume.is_provisioned && storage::folder(&object.render()).is_some() => {
                // Told once; after a restart [`World::volumes_to_remove`] tells it again.
                if phase(&object) != "Released" {
                    self.put_status(&object, json!({"phase": "Released"}));
                    self.command(Command::RemoveVolume { name: object.name.clone() });
                }
            }
            Reclaim::Delete if object.deletion.is_some() => self.drop_finalizer(&object, VOLUME_PROTECTION),
            Reclaim::Delete => {
                let message = "no volume plugin of this machine removes what it did not make itself";
                self.fail_to_remove(&object, message, now);
            }
        }
    }

    fn fail_to_remove(&mut self, volume: &Arc<Stored>, why: &str, now: Timestamp) {
        if phase(volume) != "Failed" {
            self.emit(volume, &PlannedEvent::warning("VolumeFailedDelete", why.to_owned()), now);
            self.put_status(volume, json!({"phase": "Failed", "message": why}));
        }
    }

    /// Volumes whose folders the node was told to remove, and has not.
    pub(super) fn volumes_to_remove(&self) -> Vec<Command> {
        let is_leaving = |volume: &&Arc<Stored>| {
            let facts = volume.facts().volume();
            ["Released", "Failed"].contains(&phase(volume))
                && facts.is_some_and(|volume| volume.is_provisioned && volume.reclaim == Reclaim::Delete)
                && storage::folder(&volume.render()).is_some()
        };
        let all = self.state.list(Resource::PersistentVolume, None, None);
        all.filter(is_leaving).map(|volume| Command::RemoveVolume { name: volume.name.clone() }).collect()
    }

    pub(super) fn report_volume(&mut self, name: &str, error: Option<String>, now: Timestamp) {
        let Some(volume) = self.get_at(Resource::PersistentVolume, &volume_at(name)).cloned() else { return };
        if let Some(why) = error {
            self.fail_to_remove(&volume, &why, now);
            self.set_timer(&volume.key(), Some(now.as_second() + REMOVE_AGAIN_SECONDS));
            return;
        }
        if !["Released", "Failed"].contains(&phase(&volume)) {
            return;
        }
        if let Some(marked) = self.delete(&volume, &background(), StopCause::Deleted, now) {
            self.drop_finalizer(&marked, VOLUME_PROTECTION);
        }
    }

    fn put_status(&mut self, object: &Stored, status: Value) {
        let Some(current) = self.get_at(object.resource, &object.at()) else { return };
        let next = Stored { status: Status::Json(Arc::new(status)), ..(**current).clone() };
        self.put(next);
    }

    fn put_with_status(&mut self, object: &Stored, value: Value, status: Value) {
        let next = Stored { status: Status::Json(Arc::new(status)), ..object.clone() };
        self.put_value(&next, value);
    }

    /// For tests: the index of users is what the pods say.
    pub(super) fn check_claims(&self) -> Result<(), String> {
        let mut users: HashMap<NsName, BTreeSet<NsName>> = HashMap::new();
        for pod in self.state.list(Resource::Pod, None, None) {
            let (Some(status), Some(spec)) = (pod.pod_status(), pod.pod_spec()) else { continue };
            for name in claims_of(spec).filter(|_| !status.phase.is_terminal()) {
                let claim = NsName { namespace: pod.namespace.clone(), name: name.into() };
                users.entry(claim).or_default().insert(pod.at());
            }
        }
        if users != self.claim_users {
            return Err("the users of claims differ from what pods name".into());
        }
        let all = self.state.list(Resource::PersistentVolumeClaim, None, None);
        let unbound: BTreeMap<NsName, ()> =
            all.filter(|claim| phase(claim) != "Bound").map(|claim| (claim.at(), ())).collect();
        if !unbound.keys().eq(self.unbound_claims.keys()) {
            return Err("other claims are held as unbound than are".into());
        }
        Ok(())
    }
}

fn annotate(object: &mut Value, key: &str, value: &str) {
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = Value::Object(Map::new());
    }
    object["metadata"]["annotations"][key] = value.into();
}
