//! `pods/sandbox`: how the containers of a pod are started, step by step. GET explains one that is stored; POST one that is
//! sent, as it would be if it were created, which it is not.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use watchbell_api::node::Assignment;
use watchbell_api::{ApiError, Resource};
use watchbell_core::request::{DryRun, Request, Subresource, Write, WriteOptions};

use crate::app::{App, Call};
use crate::blocking::blocking;
use crate::body::{Arriving, Body};
use crate::request::ObjectPath;
use crate::request::accept::Answer;
use crate::respond;

pub(crate) async fn of_stored(
    app: &Arc<App>,
    call: &Call,
    path: &ObjectPath,
) -> Result<Response<Body>, ApiError> {
    let name = path.name.as_deref().unwrap_or_default();
    let snapshot = app.state.snapshot();
    let pod = snapshot
        .get(Resource::Pod, path.namespace.as_deref().unwrap_or_default(), name)
        .ok_or_else(|| ApiError::not_found(Resource::Pod, name))?;
    let assignment = snapshot.assignment(pod).ok_or_else(|| ApiError::internal("a pod has no spec"))?;
    explained(app, call, assignment).await
}

pub(crate) async fn of_sent(
    app: &Arc<App>,
    call: &Call,
    path: &ObjectPath,
    incoming: &mut Arriving,
) -> Result<Response<Body>, ApiError> {
    let object = super::write::sent(call, incoming).await?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if path.name.as_deref() != Some(name) {
        return Err(ApiError::bad_request(format!("the name in the path is not that of the pod, {name:?}")));
    }
    let request = Request {
        user: call.held.user.clone(),
        resource: Resource::Pod,
        namespace: path.namespace.clone().unwrap_or_default(),
        name: String::new(),
        subresource: Subresource::None,
        write: Write::Create(object),
        options: WriteOptions { dry_run: DryRun::All, ..WriteOptions::default() },
        audit_id: call.audit_id.clone(),
        impersonation: call.held.impersonation.clone(),
        body_hash: None,
        received: Some(call.received),
    };
    let written = app.state.write_with(request, &call.intake).await?;
    let assignment = app.state.snapshot().assignment_of(written.object).map_err(ApiError::internal)?;
    explained(app, call, assignment).await
}

async fn explained(app: &Arc<App>, call: &Call, assignment: Assignment) -> Result<Response<Body>, ApiError> {
    let answer = Answer::text(&call.accept)?;
    let sessions = app.sessions.clone();
    let value = blocking(move || sessions.explain(&assignment)).await??;
    respond::document(StatusCode::OK, answer, &value, call.gzip)
}
