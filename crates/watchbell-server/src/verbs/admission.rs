//! `pods/admission`: what admission makes of a pod and why, field by field. GET explains one that is stored; POST one that is
//! sent, as it would be if it were created, which it is not. `cronjobs/admission`: what policies of images make of a CronJob.
//! `jobs/admission`: what the indexes of a Job get of the data arrays that it uses.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use watchbell_api::{ApiError, Reason, Resource};

use crate::app::{App, Call};
use crate::body::{Arriving, Body};
use crate::request::ObjectPath;
use crate::request::accept::Answer;
use crate::respond;

pub(crate) fn of_stored(app: &Arc<App>, call: &Call, path: &ObjectPath) -> Result<Response<Body>, ApiError> {
    let answer = Answer::text(&call.accept)?;
    let name = path.name.as_deref().unwrap_or_default();
    let snapshot = app.state.snapshot();
    let object = snapshot
        .get(path.resource, path.namespace.as_deref().unwrap_or_default(), name)
        .ok_or_else(|| ApiError::not_found(path.resource, name))?;
    let told = match path.resource {
        Resource::CronJob => snapshot.explain_cronjob(object),
        Resource::Job => snapshot.explain_job(object),
        _ => snapshot.explain_pod(object),
    };
    respond::document(StatusCode::OK, answer, &told, call.gzip)
}

pub(crate) async fn of_sent(
    app: &Arc<App>,
    call: &Call,
    path: &ObjectPath,
    incoming: &mut Arriving,
) -> Result<Response<Body>, ApiError> {
    let answer = Answer::text(&call.accept)?;
    if path.resource != Resource::Pod {
        let message = "only a pod can be sent to see what admission makes of it";
        return Err(ApiError::new(Reason::MethodNotAllowed, message));
    }
    let object = super::write::sent(call, incoming).await?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if path.name.as_deref() != Some(name) {
        return Err(ApiError::bad_request(format!("the name in the path is not that of the pod, {name:?}")));
    }
    let namespace = path.namespace.as_deref().unwrap_or_default();
    let told = app.state.snapshot().explain_sent(namespace, object)?;
    respond::document(StatusCode::OK, answer, &told, call.gzip)
}
