//! Namespaces: what is always in them, and their end.

use std::sync::Arc;

use jiff::Timestamp;
use watchbell_api::Resource;
use watchbell_api::node::StopCause;

use super::World;
use super::delete::background;
use super::object::{NsName, Stored};

/// The account of pods that name none, and the authority that signed this server's certificate.
pub(super) const DEFAULT_ACCOUNT: &str = "default";
pub(super) const ROOT_CA: &str = "kube-root-ca.crt";

/// How many objects of ending namespaces are deleted in one batch.
pub(super) const DELETES_PER_BATCH: usize = 1_000;

impl World {
    pub(super) fn namespace_is_ending(&self, namespace: &str) -> bool {
        self.get(Resource::Namespace, "", namespace).is_some_and(|ns| ns.deletion.is_some())
    }

    /// Whether a change of an object is one its namespace looks at: one less to wait for, or its furniture.
    pub(super) fn is_of_interest_to_namespace(&self, object: &Stored, gone: bool) -> bool {
        match (object.resource, &*object.name) {
            (Resource::ServiceAccount, DEFAULT_ACCOUNT) | (Resource::ConfigMap, ROOT_CA) => true,
            (resource, _) => gone && resource.is_namespaced() && self.namespace_is_ending(&object.namespace),
        }
    }

    /// A namespace has its furniture; one that is being deleted is emptied, then goes.
    pub(super) fn reconcile_namespace(&mut self, name: &str, now: Timestamp) {
        let Some(namespace) = self.get(Resource::Namespace, "", name).cloned() else { return };
        if namespace.deletion.is_none() {
            self.furnish_namespace(name, now);
            self.adopt_stores(name, now);
            return;
        }
        // What can make new objects goes first.
        let makers = [Resource::CronJob, Resource::Job];
        let others = Resource::all().filter(|r| r.is_namespaced() && !makers.contains(r));
        let mut is_empty = true;
        for resource in makers.into_iter().chain(others) {
            let contents: Vec<Arc<Stored>> = self.state.list(resource, Some(name), None).cloned().collect();
            for object in contents {
                if object.deletion.is_some() {
                    is_empty = false;
                    continue;
                }
                if self.deletes_left == 0 {
                    self.set_timer(&namespace.key(), Some(now.as_second()));
                    return;
                }
                self.deletes_left -= 1;
                is_empty &= self.delete(&object, &background(), StopCause::Deleted, now).is_none();
            }
        }
        if is_empty && namespace.finalizers().is_empty() {
            self.remove(Resource::Namespace, &NsName::new("", name));
        }
    }
}
