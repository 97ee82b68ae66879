//! Kubernetes' validation, with its field paths and messages.
//!
//! Objects have passed the schema and got their defaults. What is found is bounded in number and size, and so is the time
//! it takes: an absurd object is refused as quickly as a good one is accepted.

mod admission_policy;
mod array;
mod at;
mod class;
mod container;
mod cron_job;
mod data;
mod env;
mod event;
mod findings;
mod image;
mod job;
mod job_update;
mod limit_range;
mod metadata;
mod network_policy;
mod pod;
mod pod_policy;
mod pod_update;
mod probe;
mod rbac;
mod resource_quota;
mod resources;
mod scheduling;
mod security;
mod selector;
mod storage;
mod success_policy;
mod unsupported;
mod user;
mod volume;
mod warning;
mod warning_kinds;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use self::class::SYSTEM_PRIORITIES;
pub use self::user::{LOCAL, MASTERS, SYSTEM};

use self::at::At;
use self::findings::Findings;
use self::rbac::Place;
use crate::{FieldError, Resource};

/// Whether a `LabelSelector` selects what has these labels. An empty selector selects everything.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    selector::matches(&At::root(selector), &At::root(labels))
}

/// A new object, after defaulting.
pub fn create(resource: Resource, object: &Value) -> Vec<FieldError> {
    let mut f = Findings::default();
    let object = At::root(object);
    metadata::create(&mut f, resource, &object.field("metadata"));
    match resource {
        Resource::ConfigMap => data::config_map(&mut f, &object),
        Resource::Secret => data::secret(&mut f, &object),
        Resource::Pod => pod::create(&mut f, &object),
        Resource::Event => event::check(&mut f, &object),
        Resource::Job => job::create(&mut f, &object),
        Resource::CronJob => cron_job::create(&mut f, &object),
        Resource::ResourceQuota => resource_quota::check(&mut f, &object),
        Resource::LimitRange => limit_range::check(&mut f, &object),
        Resource::PersistentVolumeClaim => storage::claim(&mut f, &object),
        Resource::PersistentVolume => storage::volume(&mut f, &object),
        Resource::StorageClass => storage::storage_class(&mut f, &object),
        Resource::PriorityClass => class::priority(&mut f, &object),
        Resource::RuntimeClass => class::runtime(&mut f, &object),
        Resource::NetworkPolicy => network_policy::check(&mut f, &object),
        Resource::Lease => class::lease(&mut f, &object),
        Resource::UserToken => user::token(&mut f, &object),
        Resource::UserCertificate => user::certificate(&mut f, &object),
        Resource::CertificateRevocation => user::revocation(&mut f, &object),
        Resource::ImagePolicy => image::policy(&mut f, &object, Place::Namespace),
        Resource::ClusterImagePolicy => image::policy(&mut f, &object, Place::Cluster),
        Resource::DataArray => array::check(&mut f, &object),
        Resource::Role => rbac::role(&mut f, &object, Place::Namespace),
        Resource::ClusterRole => rbac::role(&mut f, &object, Place::Cluster),
        Resource::RoleBinding => rbac::binding(&mut f, &object, Place::Namespace),
        Resource::ClusterRoleBinding => rbac::binding(&mut f, &object, Place::Cluster),
        Resource::ValidatingAdmissionPolicy => admission_policy::policy(&mut f, &object),
        Resource::ValidatingAdmissionPolicyBinding => admission_policy::binding(&mut f, &object),
        _ => {}
    }
    f.into_errors()
}

/// A pod, or what a template makes, once admission filled in what others give it: its annotations and its spec. What its author
/// wrote has passed before.
pub fn filled_in(pod: &Value) -> Vec<FieldError> {
    let mut f = Findings::default();
    let pod = At::root(pod);
    metadata::annotations(&mut f, &pod.field("metadata").field("annotations"));
    pod::spec(&mut f, &pod.field("spec"), pod::Place::Template);
    f.into_errors()
}

/// What of a change is the same for every kind: the rules of `metadata`.
pub fn metadata_update(old: &Value, new: &Value) -> Vec<FieldError> {
    let mut f = Findings::default();
    metadata::update(&mut f, &At::root(old).field("metadata"), &At::root(new).field("metadata"));
    f.into_errors()
}

/// A changed object: the rules of [`create`] and what may not change.
pub fn update(resource: Resource, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut f = Findings::default();
    let (old, new) = (At::root(old), At::root(new));
    metadata::update(&mut f, &old.field("metadata"), &new.field("metadata"));
    match resource {
        Resource::ConfigMap => {
            data::immutable(&mut f, &old, &new);
            data::config_map(&mut f, &new);
        }
        Resource::Secret => {
            f.immutable(&new.field("type"), &old.field("type"));
            data::immutable(&mut f, &old, &new);
            data::secret(&mut f, &new);
        }
        Resource::Pod => pod_update::check(&mut f, &old, &new),
        Resource::Event => event::check(&mut f, &new),
        Resource::Job => job_update::check(&mut f, &old, &new),
        Resource::CronJob => cron_job::update(&mut f, &old, &new),
        Resource::ResourceQuota => resource_quota::update(&mut f, &old, &new),
        Resource::LimitRange => limit_range::check(&mut f, &new),
        Resource::PersistentVolumeClaim => storage::claim_update(&mut f, &old, &new),
        Resource::PersistentVolume => storage::volume_update(&mut f, &old, &new),
        Resource::StorageClass => storage::storage_class_update(&mut f, &old, &new),
        Resource::PriorityClass => class::priority_update(&mut f, &old, &new),
        Resource::RuntimeClass => class::runtime_update(&mut f, &old, &new),
        Resource::NetworkPolicy => network_policy::check(&mut f, &new),
        Resource::Lease => class::lease(&mut f, &new),
        Resource::UserToken | Resource::UserCertificate => user::update(&mut f, &old, &new),
        Resource::CertificateRevocation => {
            user::update(&mut f, &old, &new);
            user::revocation(&mut f, &new);
        }
        Resource::ImagePolicy => image::policy(&mut f, &new, Place::Namespace),
        Resource::ClusterImagePolicy => image::policy(&mut f, &new, Place::Cluster),
        Resource::DataArray => {
            array::check(&mut f, &new);
            array::update(&mut f, &old, &new);
        }
        Resource::Role => rbac::role(&mut f, &new, Place::Namespace),
        Resource::ClusterRole => rbac::role(&mut f, &new, Place::Cluster),
        Resource::RoleBinding => rbac::binding_update(&mut f, &old, &new, Place::Namespace),
        Resource::ClusterRoleBinding => rbac::binding_update(&mut f, &old, &new, Place::Cluster),
        Resource::ValidatingAdmissionPolicy => admission_policy::policy(&mut f, &new),
        Resource::ValidatingAdmissionPolicyBinding => admission_policy::binding(&mut f, &new),
        _ => {}
    }
    f.into_errors()
}

/// What a form of an object that is not the stored one asks beyond the rules of that. Both objects are in the stored form.
pub fn other_form(resource: Resource, old: Option<&Value>, new: &Value) -> Vec<FieldError> {
    let mut f = Findings::default();
    if resource == Resource::EventsEvent {
        event::strict(&mut f, old.map(At::root).as_ref(), &At::root(new));
    }
    f.into_errors()
}

/// What is accepted and worth a warning: what Kubernetes warns about, and what this node does not do.
pub fn warnings(resource: Resource, object: &Value) -> Vec<String> {
    warning::of(resource, &At::root(object))
}
