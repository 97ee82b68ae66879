//! Kubernetes' defaults, filled into an object that passed the schema.
//!
//! What an author wrote keeps its place; what is filled in is appended. A part of the wrong JSON type is left alone: the
//! schema has already refused it.

mod admission_policy;
mod image;
mod job;
mod pod;
mod policy;
mod rbac;

#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::Resource;

type Object = Map<String, Value>;

/// How long a user's token or certificate is taken that says nothing: 90 days.
const USER_SECONDS: i64 = 90 * 86_400;

/// Fills in what Kubernetes' API server fills in. Running it again changes nothing.
pub fn apply(resource: Resource, object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    match resource {
        Resource::Namespace => namespace(object),
        Resource::Secret => secret(object),
        Resource::Pod => pod::pod(child_or_new(object, "spec")),
        Resource::Job => job::job(object),
        Resource::CronJob => job::cron_job(object),
        Resource::Node => node(object),
        Resource::LimitRange => policy::limit_range(object),
        Resource::PersistentVolumeClaim => policy::claim(object),
        Resource::PersistentVolume => policy::volume(object),
        Resource::StorageClass => policy::storage_class(object),
        Resource::PriorityClass => policy::priority_class(object),
        Resource::NetworkPolicy => policy::network_policy(object),
        Resource::UserToken | Resource::UserCertificate => {
            fill(child_or_new(object, "spec"), "expirationSeconds", || USER_SECONDS.into());
        }
        Resource::ImagePolicy | Resource::ClusterImagePolicy => image::policy(object),
        Resource::RoleBinding | Resource::ClusterRoleBinding => rbac::binding(object),
        Resource::ValidatingAdmissionPolicy => admission_policy::policy(object),
        Resource::ValidatingAdmissionPolicyBinding => admission_policy::binding(object),
        _ => {}
    }
}

/// As [`apply`] does for a pod, for the spec of one that is made from a template and not from a request.
pub fn apply_to_pod_spec(spec: &mut Value) {
    if let Some(spec) = spec.as_object_mut() {
        pod::pod(spec);
    }
}

/// The label by which selectors find a namespace by name, and the finalizer that empties it before it goes.
fn namespace(object: &mut Object) {
    let metadata = child_or_new(object, "metadata");
    if let Some(name) = metadata.get("name").and_then(Value::as_str).filter(|n| !n.is_empty()) {
        let name = Value::from(name);
        child_or_new(metadata, "labels").insert("kubernetes.io/metadata.name".into(), name);
    }
    let spec = child_or_new(object, "spec");
    match spec.get_mut("finalizers").and_then(Value::as_array_mut) {
        Some(list) if list.iter().any(|f| f == "kubernetes") => {}
        Some(list) => list.push("kubernetes".into()),
        None => {
            spec.insert("finalizers".into(), json!(["kubernetes"]));
        }
    }
}

/// `stringData` is a write-only convenience: it goes into `data`, over what stands there.
fn secret(object: &mut Object) {
    if let Some(Value::Object(plain)) = object.shift_remove("stringData") {
        let data = child_or_new(object, "data");
        for (key, value) in plain {
            let text = value.as_str().unwrap_or_default();
            data.insert(key, STANDARD.encode(text).into());
        }
        if data.is_empty() {
            object.shift_remove("data");
        }
    }
    fill(object, "type", || "Opaque".into());
}

fn node(object: &mut Object) {
    if let Some(status) = child(object, "status")
        && !status.contains_key("allocatable")
        && let Some(capacity) = status.get("capacity").cloned()
    {
        status.insert("allocatable".into(), capacity);
    }
}

/// Sets a field that is absent, null or an empty text.
fn fill(object: &mut Object, field: &str, value: impl FnOnce() -> Value) {
    let unset = match object.get(field) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    };
    if unset {
        object.insert(field.into(), value());
    }
}

/// As [`fill`], for numbers of which Go does not tell 0 from none.
fn fill_nonzero(object: &mut Object, field: &str, value: i64) {
    if object.get(field).is_some_and(|v| v == 0) {
        object.insert(field.into(), value.into());
    } else {
        fill(object, field, || value.into());
    }
}

fn child<'a>(object: &'a mut Object, field: &str) -> Option<&'a mut Object> {
    object.get_mut(field).and_then(Value::as_object_mut)
}

/// The object at a field, made when there is none.
fn child_or_new<'a>(object: &'a mut Object, field: &str) -> &'a mut Object {
    let slot = object.entry(field).or_insert(Value::Null);
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut().expect("it was just made an object")
}

/// The objects of a list.
fn items<'a>(object: &'a mut Object, field: &str) -> impl Iterator<Item = &'a mut Object> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}
