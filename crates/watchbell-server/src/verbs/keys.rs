//! The keys of service accounts' tokens.
//!
//! | request | answer |
//! |---|---|
//! | `GET /apis/watchbell.dev/v1alpha1/tokenkeys` | `{"signing": {"keyID", "since"}, "retired": [{"keyID", "until"}]}` |
//! | `POST …/tokenkeys:rotate` | the same, once a new key signs; tokens of the one before live out their time |
//! | `POST …/tokenkeys:revoke` | the same; tokens of all keys before end now, and pods get others |
//!
//! There is no `dryRun` of these.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use watchbell_api::{ApiError, Reason};
use watchbell_identity::{IdentityError, Rotation};

use crate::app::{App, Call};
use crate::blocking::blocking;
use crate::body::{Arriving, Body};
use crate::notes::{Note, TOKEN_KEYS, keys_in_use};
use crate::request::accept::Answer;
use crate::request::options::refuse_dry_run;
use crate::request::{KeysPath, method_not_allowed};
use crate::respond;

/// The verb that authorization and audit speak of.
pub(crate) fn verb(method: &Method, path: KeysPath) -> Result<&'static str, ApiError> {
    Ok(match (path, method) {
        (KeysPath::All, &Method::GET | &Method::HEAD) => "list",
        (KeysPath::Rotate, &Method::POST) => "rotate",
        (KeysPath::Revoke, &Method::POST) => "revoke",
        _ => return Err(method_not_allowed()),
    })
}

fn rotate(app: &App, rotation: Rotation) -> Result<Value, IdentityError> {
    let (identity, now) = (&app.identity, Timestamp::now());
    identity.tokens().rotate(rotation, now)?;
    // Here, where nobody goes away before it is told.
    if rotation == Rotation::Revoke {
        app.state.keys_revoked();
    }
    app.state.note(Note::Event(keys_in_use(identity.keys_in_use()?, now)));
    Ok(identity.tokens().describe())
}

fn refusal(error: IdentityError) -> ApiError {
    match error {
        error @ IdentityError::TooManyTokenKeys => ApiError::new(Reason::Conflict, error.to_string()),
        error => {
            tracing::error!("the keys of tokens were not changed: {error}");
            ApiError::internal("the keys were not changed; the server's log says why")
        }
    }
}

pub(crate) async fn serve(
    app: &Arc<App>,
    call: &Call,
    source: Option<IpAddr>,
    head: &Parts,
    path: KeysPath,
    incoming: &mut Arriving,
) -> Result<Response<Body>, ApiError> {
    let note = call.change(TOKEN_KEYS, verb(&head.method, path)?, "", head, source);
    let answer = Answer::text(&call.accept)?;
    match path {
        KeysPath::All => {}
        KeysPath::Rotate => refuse_dry_run(&call.query, "tokenkeys:rotate")?,
        KeysPath::Revoke => refuse_dry_run(&call.query, "tokenkeys:revoke")?,
    }
    // Nothing of it counts, but a client that still sends when the answer comes may lose the answer.
    call.intake.read(incoming).await?;
    let rotation = match path {
        KeysPath::All => None,
        KeysPath::Rotate => Some(Rotation::Retire),
        KeysPath::Revoke => Some(Rotation::Revoke),
    };
    let (shared, recorded) = (app.clone(), call.recorded.clone());
    let keys = blocking(move || match rotation {
        None => Ok(shared.identity.tokens().describe()),
        Some(rotation) => {
            shared.state.change(&note, &recorded, || rotate(&shared, rotation).map_err(refusal))
        }
    })
    .await??;
    respond::document(StatusCode::OK, answer, &keys, call.gzip)
}
