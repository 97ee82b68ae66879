//! The committed state as readers see it: it never changes under them, and taking it costs a few pointers.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use watchbell_api::Resource;

use super::facts::Facts;
use super::object::{NsName, Stored};
use crate::access::{Rbac, RoleRef};
use crate::arrays::Known;

/// The kinds that rights are made of.
const RIGHTS: [Resource; 4] =
    [Resource::Role, Resource::ClusterRole, Resource::RoleBinding, Resource::ClusterRoleBinding];

/// All objects at one resource version.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(crate) version: u64,
    pub(crate) maps: Vec<OrdMap<NsName, Arc<Stored>>>,
    rbac: Rbac,
    /// What is known of the stores of data arrays. Of the node's telling, and told anew after a start.
    pub(super) arrays: OrdMap<NsName, Arc<Known>>,
}

impl Default for Snapshot {
    /// Without any object.
    fn default() -> Snapshot {
        Snapshot::empty()
    }
}

impl Snapshot {
    pub(crate) fn empty() -> Snapshot {
        Snapshot {
            version: 0,
            maps: Resource::all().map(|_| OrdMap::new()).collect(),
            rbac: Rbac::default(),
            arrays: OrdMap::new(),
        }
    }

    pub fn resource_version(&self) -> u64 {
        self.version
    }

    /// Who may do what, by the roles and bindings of this version.
    pub fn rbac(&self) -> &Rbac {
        &self.rbac
    }

    pub(super) fn insert(&mut self, object: &Arc<Stored>) -> Option<Arc<Stored>> {
        let old = self.maps[object.resource as usize].insert(object.at(), object.clone());
        if let Some(old) = &old {
            self.forget_rights(old);
        }
        self.learn_rights(object);
        old
    }

    pub(super) fn remove(&mut self, resource: Resource, at: &NsName) -> Option<Arc<Stored>> {
        let old = self.maps[resource as usize].remove(at)?;
        self.forget_rights(&old);
        Some(old)
    }

    fn learn_rights(&mut self, object: &Stored) {
        match object.facts() {
            Facts::Role(role) => self.rbac.insert_role(object.role_ref(), role.clone()),
            Facts::Binding(binding) => self.rbac.insert_binding(binding),
            _ => {}
        }
    }

    fn forget_rights(&mut self, object: &Stored) {
        match object.facts() {
            Facts::Role(_) => self.rbac.remove_role(&object.role_ref()),
            Facts::Binding(binding) => self.rbac.remove_binding(binding),
            _ => {}
        }
    }

    /// The index of rights built anew.
    pub(super) fn rights_anew(&self) -> Rbac {
        let mut anew = Snapshot::empty();
        for resource in RIGHTS {
            self.list(resource, None, None).for_each(|object| anew.learn_rights(object));
        }
        anew.rbac
    }

    pub fn get(&self, resource: Resource, namespace: &str, name: &str) -> Option<&Arc<Stored>> {
        self.maps[resource as usize].get(&NsName::new(namespace, name))
    }

    pub fn count(&self, resource: Resource) -> usize {
        self.maps[resource as usize].len()
    }

    /// The objects of a resource in the order of (namespace, name), from the first one behind `start_after`.
    pub fn list<'a>(
        &'a self,
        resource: Resource,
        namespace: Option<&'a str>,
        start_after: Option<(&str, &str)>,
    ) -> impl Iterator<Item = &'a Arc<Stored>> + 'a {
        let from = match (start_after, namespace) {
            (Some((ns, name)), _) => Bound::Excluded(NsName::new(ns, name)),
            (None, Some(ns)) => Bound::Included(NsName::new(ns, "")),
            (None, None) => Bound::Unbounded,
        };
        self.maps[resource as usize]
            .range((from, Bound::Unbounded))
            .map(|(_, stored)| stored)
            .take_while(move |stored| namespace.is_none_or(|ns| &*stored.namespace == ns))
    }
}

impl Stored {
    /// How bindings name it, if it is a role.
    fn role_ref(&self) -> RoleRef {
        match &*self.namespace {
            "" => RoleRef::ClusterRole(self.name.clone()),
            _ => RoleRef::Role { namespace: self.namespace.clone(), name: self.name.clone() },
        }
    }
}
