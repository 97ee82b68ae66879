//! What somebody is known by, and for how long that counts.
//!
//! What is shown is looked at with each request, so what is revoked no longer counts, on connections that are open too; what
//! flows (watches, followed logs, sessions) ends with what it was opened with: [`Tenure`].

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use watchbell_api::{ApiError, Reason, Resource, Uid};
use watchbell_core::service_account::Binding;
use watchbell_core::world::{Snapshot, Stored};
use watchbell_identity::jwt::VerifyingKey;
use watchbell_identity::{Identity, TokenKeys};

use crate::access::Held;
use crate::hub::ObjectBell;
use crate::state::State;

/// What somebody showed, as far as it takes to see whether it still counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    Certificate {
        serial_number: Arc<str>,
        ends: i64,
    },
    /// What the kernel says of the other end of the local socket.
    Local {
        uid: u32,
    },
    UserToken {
        name: Arc<str>,
        uid: Uid,
    },
    /// An issuer takes nothing back: it ends when the token does.
    IdToken {
        ends: i64,
    },
    ServiceAccount {
        binding: Arc<Binding>,
        /// What it was signed with.
        key: Arc<VerifyingKey>,
        ends: i64,
    },
}

impl Credential {
    /// Whether it still counts, by what is committed and the keys that verify.
    pub(crate) fn counts(&self, snapshot: &Snapshot, keys: &TokenKeys, now: Timestamp) -> bool {
        match self {
            Credential::Certificate { serial_number, ends } => {
                *ends > now.as_second()
                    && snapshot.get(Resource::CertificateRevocation, "", serial_number).is_none()
            }
            Credential::Local { .. } => true,
            Credential::IdToken { ends } => *ends > now.as_second(),
            Credential::ServiceAccount { binding, key, ends } => {
                *ends > now.as_second()
                    && keys.has(key)
                    && binding.still_counts(snapshot, now.as_second()).is_ok()
            }
            Credential::UserToken { name, uid } => {
                snapshot.get(Resource::UserToken, "", name).is_some_and(|stored| {
                    stored.uid == *uid && stored.deletion.is_none() && until(stored) > now.as_second()
                })
            }
        }
    }

    /// When it ends by itself.
    pub(crate) fn ends(&self, snapshot: &Snapshot) -> i64 {
        match self {
            Credential::Certificate { ends, .. } | Credential::IdToken { ends } => *ends,
            Credential::ServiceAccount { binding, ends, .. } => {
                binding.ends(snapshot).map_or(*ends, |end| end.min(*ends))
            }
            Credential::Local { .. } => i64::MAX,
            Credential::UserToken { name, .. } => {
                snapshot.get(Resource::UserToken, "", name).map_or(0, |stored| until(stored))
            }
        }
    }
}

fn until(token: &Stored) -> i64 {
    token.token().map_or(0, |kept| kept.expires_at)
}

/// Objects by which somebody is known, or may do something: with a change of these, what flows is looked at again.
pub(crate) fn is_of_credentials(resource: Resource) -> bool {
    matches!(
        resource,
        Resource::UserToken
            | Resource::CertificateRevocation
            | Resource::ServiceAccount
            | Resource::Role
            | Resource::RoleBinding
            | Resource::ClusterRole
            | Resource::ClusterRoleBinding
    )
}

/// How long something that flows may go on: as long as what it was opened with counts, and whoever opened it may.
#[derive(Debug, Clone)]
pub(crate) struct Tenure {
    state: State,
    identity: Arc<Identity>,
    credential: Credential,
    held: Held,
}

/// The longest nap: the wall clock may be set.
const NAP: Duration = Duration::from_secs(60);

impl Tenure {
    pub(crate) fn new(state: State, identity: Arc<Identity>, credential: Credential, held: Held) -> Tenure {
        Tenure { state, identity, credential, held }
    }

    /// Whether it counts now; if not, what the client hears of it.
    pub(crate) fn confirm(&self) -> Result<(), ApiError> {
        self.confirm_by(&self.state.snapshot(), Timestamp::now())
    }

    fn confirm_by(&self, snapshot: &Snapshot, now: Timestamp) -> Result<(), ApiError> {
        if !self.credential.counts(snapshot, self.identity.tokens(), now) {
            return Err(ApiError::new(
                Reason::Unauthorized,
                "what this was opened with no longer counts: it was revoked, or has ended",
            ));
        }
        self.held.check(snapshot.rbac())
    }

    /// Waits until it no longer counts, or its user no longer may, and says what the client hears of it.
    pub(crate) async fn over(&self) -> ApiError {
        let mut bell = self.state.credentials_bell();
        // What a token is bound to is one object among many, of which most change without any bearing on it.
        let mut bound = match &self.credential {
            Credential::ServiceAccount { binding, .. } => {
                binding.bound_to().map(|uid| self.state.bell_of(uid))
            }
            _ => None,
        };
        loop {
            bell.mark_unchanged();
            if let Some(bound) = &mut bound {
                bound.hush();
            }
            let snapshot = self.state.snapshot();
            let now = Timestamp::now();
            if let Err(refusal) = self.confirm_by(&snapshot, now) {
                return refusal;
            }
            let left = self.credential.ends(&snapshot).saturating_sub(now.as_second());
            drop(snapshot);
            let nap = Duration::from_secs(u64::try_from(left).unwrap_or(0)).min(NAP);
            tokio::select! {
                // The sender lives as long as the state.
                _ = bell.changed() => {}
                () = changed(&mut bound) => {}
                () = tokio::time::sleep(nap) => {}
            }
        }
    }
}

/// Waits for a change of what a token is bound to; for ever where it is bound to nothing.
async fn changed(bound: &mut Option<ObjectBell>) {
    match bound {
        Some(bound) => bound.rings().await,
        None => std::future::pending().await,
    }
}
