//! Tokens of service accounts: `serviceaccounts/token` gives them out, `tokenreviews` says whose one is, and what nodes need
//! for the volumes of pods.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::node::{IssuedToken, TokenQuery, Tokens};
use watchbell_api::{ApiError, Uid};
use watchbell_core::request::{DryRun, Request, Subresource, User, Write, WriteOptions};
use watchbell_core::service_account::{self, Issue};
use watchbell_core::world::NODE_NAME;
use watchbell_identity::{Identity, Refusal};

use super::asked;
use super::write::sent;
use crate::app::{App, Call};
use crate::authenticate::Caller;
use crate::body::{Arriving, Body};
use crate::notes::issued_for_pod;
use crate::request::ObjectPath;
use crate::request::accept::Answer;
use crate::request::options::write_options;
use crate::respond;
use crate::state::State;

fn fresh_id() -> Result<Uid, ApiError> {
    let mut random = [0u8; 16];
    getrandom::fill(&mut random)
        .map_err(|e| ApiError::internal(format!("the kernel gives no randomness: {e}")))?;
    Ok(Uid::from_random(random))
}

fn sign(identity: &Identity, issue: &Issue) -> Result<String, ApiError> {
    let signed = identity.tokens().sign(&issue.claims);
    signed.map_err(|e| ApiError::internal(format!("cannot sign a token: {e}")))
}

/// `POST serviceaccounts/NAME/token`: the answer goes out once the record that it was given out is durable.
pub(crate) async fn issue(
    app: &Arc<App>,
    call: &Call,
    path: &ObjectPath,
    incoming: &mut Arriving,
) -> Result<Response<Body>, ApiError> {
    let answer = Answer::negotiate(&call.accept, &[])?;
    let mut object = sent(call, incoming).await?;
    let options = write_options(&call.query, None)?;
    let mut warnings = asked::check(&mut object, &asked::TOKEN_REQUEST, &options)?;
    let place = (path.namespace.as_deref().unwrap_or_default(), path.name.as_deref().unwrap_or_default());
    let now = Timestamp::now().as_second();
    let state = app.state.snapshot();
    let issue = service_account::issue(&state, place, object, app.identity.issuer(), now, fresh_id()?)?;
    drop(state);
    let token = sign(&app.identity, &issue)?;
    let dry_run = options.dry_run;
    let request = Request {
        user: call.held.user.clone(),
        resource: path.resource,
        namespace: place.0.into(),
        name: place.1.into(),
        subresource: Subresource::Token,
        write: Write::IssueToken(Box::new(issue)),
        options: WriteOptions { dry_run, ..WriteOptions::default() },
        audit_id: call.audit_id.clone(),
        impersonation: call.held.impersonation.clone(),
        body_hash: None,
        received: Some(call.received),
    };
    call.recorded.store(true, Ordering::Relaxed);
    let mut written = app.state.write_with(request, &call.intake).await?;
    if dry_run == DryRun::No {
        written.object["status"]["token"] = token.into();
    }
    let mut response = respond::document(StatusCode::CREATED, answer, &written.object, call.gzip)?;
    warnings.append(&mut written.warnings);
    respond::warn(&mut response, &warnings);
    Ok(response)
}

/// The status of a `TokenReview`: whose token it is, and for which of the audiences that were asked for.
pub(crate) async fn review(app: &App, spec: &Value) -> Value {
    let own = &app.identity.issuer().audiences;
    let asked: Vec<String> = spec["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let audiences = if asked.is_empty() { own } else { &asked };
    let token = spec["token"].as_str().unwrap_or_default();
    match app.authenticator.judge(token, audiences, &app.state, Timestamp::now()).await {
        Ok((Caller { user, .. }, audiences)) => {
            json!({"authenticated": true, "user": user.info(), "audiences": audiences})
        }
        // That a token was revoked is for the audit journal.
        Err(Refusal::RevokedToken) => json!({"error": Refusal::UnknownToken.to_string()}),
        Err(refusal) => json!({"error": refusal.to_string()}),
    }
}

/// What the node asks for the volumes of its pods: it gets a token once the record that it was given out is durable.
pub(crate) fn for_node(state: State, identity: Arc<Identity>) -> Tokens {
    Arc::new(move |query: &TokenQuery| {
        let now = Timestamp::now();
        let pod = (&*query.namespace, &*query.pod_name, query.pod_uid);
        let issue = service_account::issue_for_pod(
            &state.snapshot(),
            pod,
            &query.audience,
            query.expiration_seconds,
            identity.issuer(),
            now.as_second(),
            fresh_id()?,
        )?;
        let token = sign(&identity, &issue)?;
        state.record(issued_for_pod(&node_user(), &issue, now))?;
        Ok(IssuedToken { token, issued_at: now.as_second(), expires_at: issue.expires_at })
    })
}

/// As a node of Kubernetes is known.
fn node_user() -> User {
    User {
        name: format!("system:node:{NODE_NAME}"),
        groups: vec!["system:nodes".into(), "system:authenticated".into()],
        ..User::default()
    }
}
