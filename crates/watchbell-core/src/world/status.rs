//! `…/status`: a foreign controller's status of a Job it manages, and what clients may write of the others.

use std::sync::Arc;

use serde_json::Value;
use watchbell_api::error::FieldErrorClass;
use watchbell_api::{ApiError, FieldError, Resource};

use super::World;
use super::object::{Status, Stored};
use super::update::with_head;
use super::write::head;
use crate::request::{Request, Written};

impl World {
    /// Takes status and metadata of an object; its spec stays.
    pub(super) fn replace_status(
        &mut self,
        request: &Request,
        old: &Arc<Stored>,
        before: Value,
        object: &Value,
        warnings: Vec<String>,
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
            Status::Job { status, images, fills, job_id } => {
                let status = status
                    .with_written(written)
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
            Status::Pod(_) => {
                return Err(ApiError::forbidden(
                    resource,
                    &request.name,
                    "the status of a pod is written by the node alone",
                ));
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
