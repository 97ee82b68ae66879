//! Writes in a form of an object that is not the stored one: the events of `events.k8s.io/v1`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use watchbell_api::{ApiError, Resource, convert, patch, validate};

use super::World;
use super::object::Stored;
use super::write::{check_fields, check_type};
use crate::request::{PatchKind, Request, Write, Written};

impl World {
    /// Carries out a request on the stored form; what is sent and what is answered are in the form that was asked for.
    pub(super) fn write_in_other_form(
        &mut self,
        asked: &Request,
        stored: Resource,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let mut warnings = Vec::new();
        let write = match &asked.write {
            Write::Create(object) => Write::Create(checked(asked, None, object.clone(), &mut warnings)?),
            Write::Update(object) => {
                let old = self.find(asked)?;
                Write::Update(checked(asked, Some(&old), object.clone(), &mut warnings)?)
            }
            Write::Patch { kind: PatchKind::Apply, body } => {
                check_type(asked.resource, body)?;
                Write::Patch {
                    kind: PatchKind::Apply,
                    body: convert::to_stored(asked.resource, body.clone()),
                }
            }
            Write::Patch { kind, body } => {
                let make = match kind {
                    PatchKind::Json => patch::json_patch,
                    PatchKind::Merge => patch::merge,
                    PatchKind::StrategicMerge | PatchKind::Apply => patch::strategic,
                };
                let old = self.find(asked)?;
                let before = convert::from_stored(asked.resource, old.render());
                let patched = make(asked.resource, &before, body)?;
                Write::Update(checked(asked, Some(&old), patched, &mut warnings)?)
            }
            // No form of an issued object is stored as another.
            Write::Issue { .. } => return self.dispatch(asked, now),
            Write::Delete(options) => Write::Delete(options.clone()),
            Write::Evict(options) => Write::Evict(options.clone()),
            // Its selector names the fields of the form that was asked for. The others are of kinds with one form.
            Write::DeleteCollection { .. }
            | Write::IssueToken(_)
            | Write::Trigger { .. }
            | Write::Suspend(_)
            | Write::Rerun { .. }
            | Write::Rollback { .. } => return self.dispatch(asked, now),
        };
        let request = Request { resource: stored, write, ..asked.clone() };
        let mut written = self.dispatch(&request, now)?;
        written.object = convert::from_stored(asked.resource, written.object);
        warnings.append(&mut written.warnings);
        written.warnings = warnings;
        Ok(written)
    }
}

/// The object in its stored form, once it has passed the rules of the other one.
fn checked(
    asked: &Request,
    old: Option<&Arc<Stored>>,
    mut object: Value,
    warnings: &mut Vec<String>,
) -> Result<Value, ApiError> {
    check_type(asked.resource, &object)?;
    warnings.append(&mut check_fields(asked, &mut object)?);
    let object = convert::to_stored(asked.resource, object);
    let errors = validate::other_form(asked.resource, old.map(|old| old.render()).as_ref(), &object);
    if !errors.is_empty() {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        return Err(ApiError::invalid(asked.resource, name, &errors));
    }
    Ok(object)
}
