//! Garbage collection by owner references.

use jiff::Timestamp;
use watchbell_api::node::StopCause;
use watchbell_api::{Resource, Uid};

use std::sync::Arc;

use super::World;
use super::delete::background;
use super::object::{Key, NsName, Owner, Stored};
use crate::request::{DeleteOptions, Propagation};

/// Whether a dependent keeps its owner from going (`blockOwnerDeletion`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dependents {
    All,
    Blocking,
}

impl World {
    /// Everything that names `owner` among its owners.
    pub(super) fn dependents(&self, owner: Uid, which: Dependents) -> Vec<Key> {
        let array = self
            .jobs
            .get(&owner)
            .into_iter()
            .flat_map(|job| job.pods.values())
            .map(|at| Key { resource: Resource::Pod, at: at.clone() });
        let blocks = |key: &&Key| {
            which == Dependents::All
                || self.get_at(key.resource, &key.at).is_some_and(|object| {
                    object.owners().iter().any(|o| o.uid == owner && o.block_owner_deletion)
                })
        };
        let listed = self.owned.get(&owner).into_iter().flatten().filter(blocks).cloned();
        let mut all: Vec<Key> = listed.chain(array).collect();
        // A pod with a head of its own stands in both.
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(super) fn has_blocking_dependents(&self, owner: Uid) -> bool {
        let has_pods = self.jobs.get(&owner).is_some_and(|job| !job.pods.is_empty());
        has_pods || !self.dependents(owner, Dependents::Blocking).is_empty()
    }

    pub(super) fn delete_dependents(&mut self, owner: Uid, now: Timestamp) {
        let options =
            DeleteOptions { propagation_policy: Some(Propagation::Foreground), ..DeleteOptions::default() };
        for key in self.dependents(owner, Dependents::Blocking) {
            if let Some(object) = self.get_at(key.resource, &key.at).cloned()
                && object.deletion.is_none()
            {
                self.delete(&object, &options, StopCause::Deleted, now);
            }
        }
    }

    pub(super) fn orphan_dependents(&mut self, owner: Uid) {
        for key in self.dependents(owner, Dependents::All) {
            let Some(object) = self.get_at(key.resource, &key.at).cloned() else { continue };
            match object.array_pod() {
                Some(_) => self.stand_alone(&object, Some(owner)),
                None => self.disown(&object, owner),
            }
        }
    }

    /// Ends what has no reason to stay: an object whose owners are all gone, one whose deletion waits for nothing more.
    /// True: its controller has nothing to do for it.
    pub(super) fn collect(&mut self, key: &Key, now: Timestamp) -> bool {
        let Some(object) = self.get_at(key.resource, &key.at).cloned() else { return true };
        if Self::waits_for_dependents(&object) {
            if !self.has_blocking_dependents(object.uid) {
                self.drop_foreground_finalizer(&object, now);
                // A Job that another finalizer keeps counts its last pods, in the batch of their end.
                return self.get_at(key.resource, &key.at).is_none();
            }
            self.delete_dependents(object.uid, now);
        }
        if object.deletion.is_some() || object.array_pod().is_some() {
            return false;
        }
        let owners = object.owners();
        if owners.is_empty() || owners.iter().any(|owner| self.may_exist(owner, &object)) {
            return false;
        }
        self.delete(&object, &background(), StopCause::Deleted, now);
        true
    }

    /// Whether an owner is there, or of a kind that is not run here, about which nothing is known.
    fn may_exist(&self, owner: &Owner, object: &Stored) -> bool {
        let known = Resource::all().any(|r| r.info().kind == owner.kind && !r.is_list_only());
        !known || self.owner_of(owner, object).is_some()
    }

    /// The object that an owner reference names: by kind, name and uid, in the namespace of the object or in none.
    pub(super) fn owner_of(&self, owner: &Owner, object: &Stored) -> Option<&Arc<Stored>> {
        Resource::all().filter(|resource| resource.info().kind == owner.kind).find_map(|resource| {
            let namespace = if resource.is_namespaced() { object.namespace.clone() } else { "".into() };
            let at = NsName { namespace, name: owner.name.as_str().into() };
            self.get_at(resource, &at).filter(|found| found.uid == owner.uid)
        })
    }
}
