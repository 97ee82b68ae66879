//! GET of one object.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use jiff::Timestamp;
use watchbell_api::ApiError;

use crate::app::{App, Call};
use crate::body::Body;
use crate::hub;
use crate::present::{self, Include};
use crate::request::ObjectPath;
use crate::request::accept::{Answer, Shape};
use crate::request::options::{Version, read_version};
use crate::respond;

pub(crate) fn get(app: &Arc<App>, call: &Call, path: &ObjectPath) -> Result<Response<Body>, ApiError> {
    let answer = Answer::negotiate(&call.accept, &[Shape::Table, Shape::Metadata])?;
    let snapshot = app.state.snapshot();
    if let Version::At(version) = read_version(call.query.get("resourceVersion"))? {
        hub::require_reached(version, snapshot.resource_version())?;
    }
    let name = path.name.as_deref().unwrap_or_default();
    let stored = snapshot
        .get(path.resource.stored(), path.namespace.as_deref().unwrap_or_default(), name)
        .ok_or_else(|| ApiError::not_found(path.resource, name))?;
    let include = Include::read(&call.query)?;
    let now = Timestamp::now().as_second();
    let object =
        present::one(path.resource, answer.shape, include, present::shown(path.resource, stored), now);
    respond::document(StatusCode::OK, answer, &object, call.gzip)
}
