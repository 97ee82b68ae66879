//! Who owns the fields of an object: every write says it, and server-side apply goes by it.

use jiff::Timestamp;
use serde_json::Value;
use watchbell_api::managed_fields::{self, Entry, Force, Writer};
use watchbell_api::{ApiError, Resource};

use super::World;
use super::write::{check_type, metadata_of};
use crate::request::{self, Request, Subresource, Written};

/// How a write comes to its managers.
pub(super) enum Ownership {
    /// The writer owns what it changes.
    Update,
    /// They were settled when the object was applied.
    Applied(Vec<Entry>),
}

impl Ownership {
    /// The managers after a write. `before` is the object as it is shown, `sent` the list in the request's object.
    pub(super) fn settle(
        self,
        request: &Request,
        before: Option<&Value>,
        object: &Value,
        sent: Option<Value>,
        now: Timestamp,
    ) -> Vec<Entry> {
        let by = match self {
            Ownership::Applied(managed) => return managed,
            Ownership::Update => writer(request, now),
        };
        let live = || before.and_then(|before| managed_fields::decode(managers_of(before)).ok());
        let of_request = sent.filter(|_| request.subresource == Subresource::None);
        let managed = match of_request {
            Some(sent) if managed_fields::is_reset(&sent) => Vec::new(),
            // A list that cannot be read counts as not sent, as in Kubernetes: most clients only hand it back.
            Some(sent) => match managed_fields::decode(&sent) {
                Ok(managed) if !managed.is_empty() => managed,
                Ok(_) | Err(_) => live().unwrap_or_default(),
            },
            None => live().unwrap_or_default(),
        };
        managed_fields::update(request.resource, before, object, managed, by)
    }
}

impl World {
    /// Server-side apply: makes the object say what the body says, unless another manager has said otherwise.
    pub(super) fn apply(
        &mut self,
        request: &Request,
        body: &Value,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let resource = request.resource;
        if request.options.field_manager.is_empty() {
            return Err(ApiError::bad_request("fieldManager is required for apply patch"));
        }
        check_type(resource, body)?;
        let mut config = body.clone();
        let metadata = metadata_of(&mut config)?;
        if metadata.get("managedFields").is_some_and(|list| !list.is_null()) {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        metadata.shift_remove("managedFields");
        let force = match request.options.force {
            request::Force::No => Force::No,
            request::Force::Yes => Force::Yes,
        };
        let wrong = |e: managed_fields::ApplyError| e.into_api(resource, &request.namespace, &request.name);
        let found = self.get(resource, &request.namespace, &request.name).cloned();
        let Some(old) = found else {
            if request.subresource != Subresource::None {
                return Err(ApiError::not_found(resource, &request.name));
            }
            self.require_create(request)?;
            if let Some(uid) = metadata.get("uid").and_then(Value::as_str).filter(|uid| !uid.is_empty()) {
                // It means one that is gone, and no other in its place.
                let detail = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(ApiError::conflict(resource, &request.name, &detail));
            }
            check_name(resource, &request.name, metadata.get("name"))?;
            metadata.insert("name".into(), request.name.clone().into());
            let by = writer(request, now);
            let applied =
                managed_fields::apply(resource, None, &config, Vec::new(), by, force).map_err(wrong)?;
            return self.create_applied(request, applied.object, applied.managed, now);
        };
        let mut live = old.render();
        let managed = managed_fields::decode(managers_of(&live)).unwrap_or_default();
        if let Some(metadata) = live["metadata"].as_object_mut() {
            metadata.shift_remove("managedFields");
        }
        let by = writer(request, now);
        let applied =
            managed_fields::apply(resource, Some(&live), &config, managed, by, force).map_err(wrong)?;
        self.replace(request, &old, applied.object, Ownership::Applied(applied.managed), now)
    }
}

fn check_name(resource: Resource, name: &str, found: Option<&Value>) -> Result<(), ApiError> {
    match found {
        None | Some(Value::Null) => Ok(()),
        Some(found) if found == name => Ok(()),
        Some(found) => Err(ApiError::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name}) of the {}",
            found.as_str().unwrap_or_default(),
            resource.info().kind
        ))),
    }
}

fn writer(request: &Request, now: Timestamp) -> Writer<'_> {
    Writer {
        manager: &request.options.field_manager,
        subresource: request.subresource.as_str(),
        now: now.as_second(),
    }
}

fn managers_of(object: &Value) -> &Value {
    &object["metadata"]["managedFields"]
}

/// Writes the managers into an object that is about to be stored.
pub(super) fn set_managers(object: &mut Value, managed: &[Entry]) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    if managed.is_empty() {
        metadata.shift_remove("managedFields");
    } else {
        metadata.insert("managedFields".into(), managed_fields::encode(managed));
    }
}
