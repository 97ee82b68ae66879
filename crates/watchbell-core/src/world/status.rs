//! `…/status`: a foreign controller's status of a Job it manages, and what clients may write of the others.

use std::sync::Arc;

use serde_json::Value;
use watchbell_api::error::FieldErrorClass;
use watchbell_api::render_pod::DERIVED_CONDITIONS;
use watchbell_api::types::pod_status::PodStatus;
use watchbell_api::{ApiError, FieldError, Resource};

use super::World;
use super::object::{Status, Stored};
use super::update::with_head;
use super::write::head;
use crate::request::{Request, Written};

/// All conditions that clients wrote on a pod, as JSON.
const CONDITIONS_BYTES_MAX: usize = 16 << 10;

impl World {
    /// Takes status and metadata of an object; its spec stays.
    pub(super) fn replace_status(
        &mut self,
        request: &Request,
        old: &Arc<Stored>,
        before: Value,
        object: &Value,
        mut warnings: Vec<String>,
    ) -> Result<Written, ApiError> {
        let resource = request.resource;
        let invalid = |field: String, problem: String| {
            let error = FieldError::new(FieldErrorClass::Invalid, field, "", problem);
            ApiError::invalid(resource, &request.name, &[error])
        };
        let written = &object["status"];
        let status = match &old.status {
            Status::None | Status::Json(_) => match written {
                Value::Null => Status::None,
                written if resource == Resource::Namespace => {
                    // Whether it ends is told by its deletion.
                    let mut status = written.clone();
                    status["phase"] = before["status"]["phase"].clone();
                    Status::Json(Arc::new(status))
                }
                written => Status::Json(Arc::new(written.clone())),
            },
            // Such objects have no status that clients write.
            Status::Token(token) => Status::Token(token.clone()),
            Status::Job { status, images, fills, job_id } => {
                let facts = old.facts().job();
                let never_begins = facts.is_some_and(|f| f.spec.suspend && f.spec.completions == Some(0));
                let status = status
                    .with_written(written, never_begins)
                    .map_err(|e| invalid(format!("status.{}", e.field), e.problem))?;
                let (images, fills) = (images.clone(), fills.clone());
                Status::Job { status: Arc::new(status), images, fills, job_id: *job_id }
            }
            Status::CronJob(status) => {
                let status = status
                    .with_written(written)
                    .map_err(|e| invalid(format!("status.{}", e.field), e.problem))?;
                Status::CronJob(Arc::new(status))
            }
            Status::Pod(status) => {
                let written = pod_status(status, &before["status"], written, &mut warnings)
                    .map_err(|error| ApiError::invalid(resource, &request.name, &[error]))?;
                Status::Pod(Arc::new(written))
            }
        };
        let mut kept = before;
        kept["metadata"] = object["metadata"].clone();
        let new_head = head(resource, kept)?;
        let mut stored = (**old).clone();
        if !old.has_head(&new_head) {
            stored.head = with_head(old, new_head);
        }
        stored.status = status;
        let stored_key = stored.key();
        let answer = self.store_changed(request, old, stored, warnings)?;
        // The controllers overlook a new status, as they are the ones that write it.
        self.mark(stored_key);
        Ok(answer)
    }
}

/// What a client may write of a pod's status: the words on it, conditions of his own, and that it is to be disrupted. The
/// rest is what the node saw, and stays.
fn pod_status(
    status: &PodStatus,
    before: &Value,
    written: &Value,
    warnings: &mut Vec<String>,
) -> Result<PodStatus, FieldError> {
    let mut out = status.clone();
    // What was not shown, such as why a pod waits for room, is not taken away by who did not see it.
    for (field, place) in [("reason", &mut out.reason), ("message", &mut out.message)] {
        if written[field] != before[field] {
            *place = written[field].as_str().filter(|text| !text.is_empty()).map(Box::from);
        }
    }
    let conditions = written["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let type_of = |condition: &Value| condition["type"].as_str().unwrap_or_default().to_owned();
    let mut own: Vec<&Value> = Vec::new();
    for (place, condition) in conditions.iter().enumerate() {
        let kind = type_of(condition);
        let field = format!("status.conditions[{place}].type");
        if kind.is_empty() {
            return Err(FieldError::new(FieldErrorClass::Required, field, "", "a condition has a type"));
        }
        if own.iter().any(|other| type_of(other) == kind) {
            return Err(FieldError::new(FieldErrorClass::Duplicate, field, format!("{kind:?}"), ""));
        }
        let known = before["conditions"].as_array().into_iter().flatten().find(|c| type_of(c) == kind);
        match kind.as_str() {
            "DisruptionTarget" if condition["status"] == "True" => {
                out.disruption = Some(condition["reason"].as_str().unwrap_or_default().into());
            }
            kind if DERIVED_CONDITIONS.contains(&kind) => {
                if known != Some(condition) {
                    warnings.push(format!(
                        "the condition {kind} of a pod follows from what the node sees: it stays"
                    ));
                }
            }
            _ => own.push(condition),
        }
    }
    let list = serde_json::json!(own).to_string();
    if list.len() > CONDITIONS_BYTES_MAX {
        let detail = format!("may not be more than {CONDITIONS_BYTES_MAX} bytes");
        return Err(FieldError::new(FieldErrorClass::TooLong, "status.conditions", "", detail));
    }
    out.written_conditions = (!own.is_empty()).then(|| list.into());
    for (field, value) in before.as_object().into_iter().flatten() {
        let is_ours = !matches!(field.as_str(), "reason" | "message" | "conditions");
        // A client that does not know a field leaves it out.
        if is_ours && written.get(field).is_some_and(|w| w != value) {
            warnings.push(format!("status.{field} of a pod is what the node sees: it stays"));
        }
    }
    Ok(out)
}
