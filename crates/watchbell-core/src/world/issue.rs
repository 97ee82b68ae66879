//! Objects of which the server itself makes a part: users' tokens and certificates.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use watchbell_api::{ApiError, Reason, Resource};

use super::World;
use super::object::Status;
use super::owners::Ownership;
use crate::login::{Grant, KeptToken};
use crate::request::{Issued, PatchKind, Request, Write, Written};

impl World {
    /// Stores what was issued; of a token its hash alone is known here.
    ///
    /// Whether its user may give it is decided here too, over the state that it is written to: the server asked before it
    /// made the secret or the signature, and the right may have been taken away since.
    pub(super) fn issue(
        &mut self,
        request: &Request,
        object: Value,
        issued: &Issued,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        Grant::read(&object)
            .may_be_given_by(&request.user, self.state.rbac())
            .map_err(|(_, refusal)| refusal)?;
        let (mut stored, warnings) = self.prepare(request, object, Ownership::Update, now)?;
        let created_by = request.user.name.as_str();
        stored.status = match issued {
            Issued::Token { digest } => {
                let seconds = stored.facts().grant().map_or(0, |grant| grant.seconds);
                Status::Token(Arc::new(KeptToken {
                    digest: *digest,
                    created_by: created_by.into(),
                    expires_at: now.as_second().saturating_add(seconds),
                }))
            }
            Issued::Certificate { status } => {
                let mut status = status.clone();
                status["createdBy"] = created_by.into();
                Status::Json(Arc::new(status))
            }
        };
        self.store_new(request, stored, warnings, now)
    }
}

/// What is issued is made by a create request alone: nobody sees the answer to an apply that made it.
pub(super) fn refuse_unissued(request: &Request) -> Result<(), ApiError> {
    let makes = matches!(request.write, Write::Create(_) | Write::Patch { kind: PatchKind::Apply, .. });
    if !makes || !request.resource.is_issued() {
        return Ok(());
    }
    let (what, flag) = match request.resource {
        Resource::UserToken => ("a token is shown once, to who creates it", "user token"),
        _ => ("a certificate is signed when it is asked for", "user add"),
    };
    let plural = request.resource.info().plural;
    Err(ApiError::new(
        Reason::MethodNotAllowed,
        format!("{plural} are not applied: {what}; use `kubectl create` or `watchbell {flag}`"),
    ))
}
