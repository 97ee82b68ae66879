//! The committed state as readers see it: it never changes under them, and taking it costs a few pointers.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use watchbell_api::Resource;

use super::object::{NsName, Stored};

/// All objects at one resource version.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(crate) version: u64,
    pub(crate) maps: Vec<OrdMap<NsName, Arc<Stored>>>,
}

impl Snapshot {
    pub(crate) fn empty() -> Snapshot {
        Snapshot { version: 0, maps: Resource::all().map(|_| OrdMap::new()).collect() }
    }

    pub fn resource_version(&self) -> u64 {
        self.version
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
