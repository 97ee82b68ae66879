//! How users come in: what was given to whom, and what is kept of a secret.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use watchbell_api::ApiError;

use crate::access::{Decision, Rbac, Wish};
use crate::request::User;
use crate::world::rfc3339;

/// The spec of a `UserToken` or a `UserCertificate`: who it makes of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub user: String,
    pub groups: Vec<String>,
    /// How long it is taken.
    pub seconds: i64,
}

impl Grant {
    /// Of an object that was validated.
    pub fn read(object: &Value) -> Grant {
        let spec = &object["spec"];
        let groups = spec["groups"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Grant {
            user: spec["user"].as_str().unwrap_or_default().into(),
            groups: groups.map(str::to_owned).collect(),
            seconds: spec["expirationSeconds"].as_i64().unwrap_or(0),
        }
    }

    /// Whether somebody may give it: who holds what is given acts as its user and with its groups, so whoever gives it must
    /// be allowed to impersonate them.
    ///
    /// # Errors
    /// The refusal, with the decision about what may not be given.
    pub fn may_be_given_by(&self, by: &User, rbac: &Rbac) -> Result<(), (Decision, ApiError)> {
        let wish = Wish { name: self.user.clone(), groups: self.groups.clone(), ..Wish::default() };
        match wish.grant(by.clone()) {
            Ok(Some((_, impersonation))) => impersonation.decide(rbac),
            // It names no user, which validation refuses.
            Ok(None) | Err(_) => Ok(()),
        }
    }
}

/// When a revocation may be taken back: once what it revokes has ended by itself. Unix seconds; `None`: never.
pub fn revoked_until(object: &Value) -> Option<i64> {
    let at = object["spec"]["expirationTimestamp"].as_str()?;
    Some(at.parse::<jiff::Timestamp>().ok()?.as_second())
}

/// What is kept of a user's token. The digest is shown to nobody: [`KeptToken::render`] does not know it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptToken {
    /// SHA-256 of the token's secret.
    pub digest: [u8; 32],
    pub created_by: Box<str>,
    /// Unix seconds.
    pub expires_at: i64,
}

impl KeptToken {
    /// The status of a `UserToken`.
    pub fn render(&self) -> Value {
        let mut status = Map::new();
        status.insert("createdBy".into(), Value::String((*self.created_by).into()));
        status.insert("expirationTimestamp".into(), Value::String(rfc3339(self.expires_at)));
        Value::Object(status)
    }
}

impl fmt::Debug for KeptToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptToken")
            .field("created_by", &self.created_by)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
