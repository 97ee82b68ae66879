//! Garbage collection by owner references, and the end of namespaces.

use std::sync::Arc;

use jiff::Timestamp;
use watchbell_api::node::StopCause;
use watchbell_api::{Resource, Uid};

use super::World;
use super::object::{Key, NsName, Stored};
use crate::request::{DeleteOptions, Propagation};

impl World {
    /// Everything that names `owner` among its owners.
    pub(super) fn dependents(&self, owner: Uid) -> Vec<Key> {
        let array = self
            .jobs
            .get(&owner)
            .into_iter()
            .flat_map(|job| job.pods.values())
            .map(|at| Key { resource: Resource::Pod, at: at.clone() });
        self.owned.get(&owner).into_iter().flatten().cloned().chain(array).collect()
    }

    pub(super) fn delete_dependents(&mut self, owner: Uid, now: Timestamp) {
        let options = DeleteOptions { propagation_policy: Some(Propagation::Foreground), ..DeleteOptions::default() };
        for key in self.dependents(owner) {
            if let Some(object) = self.get_at(key.resource, &key.at).cloned()
                && object.deletion.is_none()
            {
                self.delete(&object, &options, StopCause::Deleted, now);
            }
        }
    }

    pub(super) fn orphan_dependents(&mut self, owner: Uid, _now: Timestamp) {
        for key in self.dependents(owner) {
            if key.resource == Resource::Pod {
                self.copy_out(&key.at);
            }
            self.release(&key, owner);
        }
    }

    /// An object whose owners are all gone goes too.
    pub(super) fn collect(&mut self, key: &Key, now: Timestamp) {
        let Some(object) = self.get_at(key.resource, &key.at).cloned() else { return };
        let owners = object.owner_uids();
        if owners.is_empty() || owners.iter().any(|uid| self.exists(*uid, &object)) {
            return;
        }
        let options = DeleteOptions { propagation_policy: Some(Propagation::Background), ..DeleteOptions::default() };
        if object.deletion.is_none() {
            self.delete(&object, &options, StopCause::Deleted, now);
        }
    }

    /// Whether an owner is still there. Owners are found by name and uid, in the namespace of the object.
    fn exists(&self, uid: Uid, object: &Stored) -> bool {
        if self.jobs.contains_key(&uid) || self.pods_by_uid.contains_key(&uid) {
            return true;
        }
        let super::Head::Json(head) = &object.head else { return false };
        let Some(owner) = head.owners.iter().find(|o| o.uid == uid) else { return false };
        Resource::all().filter(|r| r.info().kind == owner.kind).any(|resource| {
            let namespace = if resource.is_namespaced() { &*object.namespace } else { "" };
            self.get(resource, namespace, &owner.name).is_some_and(|found| found.uid == uid)
        })
    }

    pub(super) fn namespace_is_ending(&self, namespace: &str) -> bool {
        self.get(Resource::Namespace, "", namespace).is_some_and(|ns| ns.deletion.is_some())
    }

    /// A namespace that is being deleted is emptied, then goes.
    pub(super) fn reconcile_namespace(&mut self, name: &str, now: Timestamp) {
        let Some(namespace) = self.get(Resource::Namespace, "", name).cloned() else { return };
        if namespace.deletion.is_none() {
            return;
        }
        let contents: Vec<Arc<Stored>> = Resource::all()
            .filter(|r| r.is_namespaced())
            .flat_map(|r| self.state.list(r, Some(name), None).cloned().collect::<Vec<_>>())
            .collect();
        if contents.is_empty() {
            if namespace.finalizers().is_empty() {
                self.remove(Resource::Namespace, &NsName::new("", name));
            }
            return;
        }
        let options = DeleteOptions { propagation_policy: Some(Propagation::Background), ..DeleteOptions::default() };
        for object in contents {
            if object.deletion.is_none() && self.get_at(object.resource, &object.key().at).is_some() {
                self.delete(&object, &options, StopCause::Deleted, now);
            }
        }
        // Events of the deletions above may have come after the list was made.
        self.mark(Key::new(Resource::Namespace, "", name));
    }
}
