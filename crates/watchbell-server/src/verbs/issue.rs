//! What the server itself makes for a new object: the secret of a user's token, the signature under a user's certificate.
//!
//! Who holds such a thing acts as the user and with the groups it gives. So who asks for one must be allowed to impersonate
//! them, as Kubernetes has it of who acts as another.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::error::FieldErrorClass;
use watchbell_api::{ApiError, FieldError, Resource, defaults, validate};
use watchbell_core::login::Grant;
use watchbell_core::request::{Issued, User};
use watchbell_core::world::rfc3339;
use watchbell_identity::Subject;
use watchbell_identity::user_token::Secret;

use crate::app::{App, Call};
use crate::credential::Credential;

/// What was made: what the writer keeps, and what only who asked gets.
pub(super) struct Made {
    pub(super) kept: Issued,
    pub(super) secret: Option<Secret>,
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Made").field("kept", &self.kept).finish_non_exhaustive()
    }
}

/// Makes what a new object lacks.
pub(super) fn make(app: &App, user: &User, resource: Resource, object: &Value) -> Result<Made, ApiError> {
    let mut filled = object.clone();
    defaults::apply(resource, &mut filled);
    let grant = Grant::read(&filled);
    // Nothing is made for who may not give it; the writer asks again when it is recorded.
    grant.may_be_given_by(user, app.state.snapshot().rbac()).map_err(|(_, refusal)| refusal)?;
    if resource == Resource::UserToken {
        let secret = Secret::new(random()?);
        return Ok(Made { kept: Issued::Token { digest: secret.digest() }, secret: Some(secret) });
    }
    // Nothing is signed that the writer would refuse to record.
    let unnamed = |error: &FieldError| error.field != "metadata.name";
    let errors: Vec<FieldError> = validate::create(resource, &filled).into_iter().filter(unnamed).collect();
    if !errors.is_empty() {
        return Err(ApiError::invalid(resource, name(object), &errors));
    }
    let request = &object["spec"]["request"];
    let pem = BASE64_STANDARD.decode(request.as_str().unwrap_or_default()).unwrap_or_default();
    let subject = Subject { user: &grant.user, groups: &grant.groups, seconds: grant.seconds };
    let signed =
        app.identity.sign_user(&pem, subject, random()?, Timestamp::now()).map_err(|cause| match cause {
            watchbell_identity::SignError::Authority(cause) => ApiError::internal(cause),
            cause => {
                let error = FieldError::new(FieldErrorClass::Invalid, "spec.request", "", cause.to_string());
                ApiError::invalid(resource, name(object), &[error])
            }
        })?;
    let status = json!({
        "certificate": BASE64_STANDARD.encode(&signed.pem),
        "expirationTimestamp": rfc3339(signed.not_after),
        "serialNumber": signed.serial_number,
    });
    Ok(Made { kept: Issued::Certificate { status }, secret: None })
}

/// Nobody takes away the certificate that he asks with: where it is the last way in, everybody would be locked out.
pub(super) fn refuse_own_revocation(call: &Call, name: &str) -> Result<(), ApiError> {
    match &call.credential {
        Credential::Certificate { serial_number, .. } if **serial_number == *name => {
            Err(ApiError::forbidden(
                Resource::CertificateRevocation,
                name,
                "this request came with that very certificate, and with it you would lock yourself out: revoke it as root of the \
             server's machine, as `watchbell --kubeconfig DIR/admin.sock user revoke …` does, or with a token or certificate of \
             another administrator",
            ))
        }
        _ => Ok(()),
    }
}

pub(super) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn random<const N: usize>() -> Result<[u8; N], ApiError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| ApiError::internal(format!("cannot draw random bytes: {e}")))?;
    Ok(bytes)
}
