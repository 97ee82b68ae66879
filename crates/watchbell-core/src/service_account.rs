//! Tokens of service accounts: what stands in them, what they are bound to, and how long they count.
//!
//! ```text
//!   TokenRequest ─▶ issue ─▶ claims ─▶ (signed elsewhere)
//!   claims ─▶ Binding ─▶ still_counts(what is committed, now) ─▶ User
//! ```
//!
//! A token names its account, and the pod, Secret or Node that it is bound to, by name and uid. It counts as long as these
//! are there; so whoever deletes one of them ends its tokens at once.
//!
//! Forms and words: Kubernetes' `pkg/serviceaccount/claims.go` and `pkg/registry/core/serviceaccount/storage/token.go`.

mod issue;
mod issuer;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};
use watchbell_api::{Resource, Uid};

pub use issue::{Issue, LIFE_SECONDS_DEFAULT, LIFE_SECONDS_MAX, issue, issue_for_pod};
pub use issuer::{IssuerError, TokenIssuer};

use crate::request::User;
use crate::world::{Snapshot, Stored};

/// What the names of service accounts begin with, as users.
pub const USER_PREFIX: &str = "system:serviceaccount:";
/// All service accounts; those of one namespace have its name behind a colon.
const GROUP: &str = "system:serviceaccounts";
/// The claim of Kubernetes' own.
const PRIVATE: &str = "kubernetes.io";

/// An object by name and uid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub uid: Uid,
}

/// The object with whose end a token ends, beside its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundKind {
    Pod,
    Secret,
    Node,
}

impl BoundKind {
    const ALL: [BoundKind; 3] = [BoundKind::Pod, BoundKind::Secret, BoundKind::Node];

    fn claim(self) -> &'static str {
        match self {
            BoundKind::Pod => "pod",
            BoundKind::Secret => "secret",
            BoundKind::Node => "node",
        }
    }

    fn resource(self) -> Resource {
        match self {
            BoundKind::Pod => Resource::Pod,
            BoundKind::Secret => Resource::Secret,
            BoundKind::Node => Resource::Node,
        }
    }
}

/// Whose token it is, and what it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub namespace: String,
    pub account: Named,
    pub object: Option<(BoundKind, Named)>,
    /// Where a bound pod runs. It is said, and binds nothing.
    pub node: Option<Named>,
}

/// Why a token counts no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Ended {
    #[error("its service account is gone")]
    AccountGone,
    #[error("its service account was deleted and made anew")]
    AccountReplaced,
    #[error("the object that it is bound to is gone")]
    ObjectGone,
    #[error("the object that it is bound to was deleted and made anew")]
    ObjectReplaced,
    #[error("the pod that it is bound to has ended")]
    PodEnded,
}

impl Binding {
    /// The account as a user (`sub`).
    pub fn username(&self) -> String {
        format!("{USER_PREFIX}{}:{}", self.namespace, self.account.name)
    }

    fn private(&self) -> Value {
        let named = |object: &Named| json!({"name": object.name, "uid": object.uid.to_string()});
        let mut private = json!({"namespace": self.namespace});
        if let Some(node) = &self.node {
            private[BoundKind::Node.claim()] = named(node);
        }
        if let Some((kind, object)) = &self.object {
            private[kind.claim()] = named(object);
        }
        private["serviceaccount"] = named(&self.account);
        private
    }

    /// Reads what the claims of a verified token say. `None`: they are not those of a service account's token.
    pub fn read(claims: &Map<String, Value>) -> Option<Binding> {
        let private = claims.get(PRIVATE)?.as_object()?;
        let named = |claim: &str| -> Option<Option<Named>> {
            let Some(object) = private.get(claim) else { return Some(None) };
            let (name, uid) = (object["name"].as_str()?, object["uid"].as_str()?);
            Some(Some(Named { name: name.to_owned(), uid: uid.parse().ok()? }))
        };
        let mut objects = Vec::new();
        for kind in BoundKind::ALL {
            objects.extend(named(kind.claim())?.map(|object| (kind, object)));
        }
        // A pod's token names its node too.
        let node = match objects.as_slice() {
            [(BoundKind::Pod, _), (BoundKind::Node, _)] => objects.pop().map(|(_, node)| node),
            [] | [_] => None,
            _ => return None,
        };
        let binding = Binding {
            namespace: private.get("namespace")?.as_str()?.to_owned(),
            account: named("serviceaccount")??,
            object: objects.pop(),
            node,
        };
        (claims.get("sub")?.as_str()? == binding.username()).then_some(binding)
    }

    /// Whether the account and the bound object are there, and the very ones.
    pub fn still_counts(&self, state: &Snapshot, now: i64) -> Result<(), Ended> {
        let account = state
            .get(Resource::ServiceAccount, &self.namespace, &self.account.name)
            .filter(|account| account.deletion.is_none())
            .ok_or(Ended::AccountGone)?;
        if account.uid != self.account.uid {
            return Err(Ended::AccountReplaced);
        }
        let Some((kind, named)) = &self.object else { return Ok(()) };
        let namespace = if *kind == BoundKind::Node { "" } else { &self.namespace };
        let object = state.get(kind.resource(), namespace, &named.name).ok_or(Ended::ObjectGone)?;
        if object.uid != named.uid {
            return Err(Ended::ObjectReplaced);
        }
        match kind {
            BoundKind::Pod => pod_counts(object, now),
            BoundKind::Secret | BoundKind::Node => match object.deletion {
                None => Ok(()),
                Some(_) => Err(Ended::ObjectGone),
            },
        }
    }

    /// The object, beside the account, each of whose changes may end the token.
    pub fn bound_to(&self) -> Option<Uid> {
        self.object.as_ref().map(|(_, named)| named.uid)
    }

    /// The first second at which the token counts no longer though nothing changes: a pod's time to end is over. `None`: it
    /// counts as long as nothing changes.
    pub fn ends(&self, state: &Snapshot) -> Option<i64> {
        let (BoundKind::Pod, named) = self.object.as_ref()? else { return None };
        let pod = state.get(Resource::Pod, &self.namespace, &named.name)?;
        Some(pod.deletion?.at.saturating_add(1))
    }

    /// The user that a token's bearer is. `id` is the token's own (`jti`).
    pub fn user(&self, id: Option<&str>) -> User {
        let mut user = User {
            name: self.username(),
            uid: self.account.uid.to_string(),
            groups: vec![GROUP.into(), format!("{GROUP}:{}", self.namespace), "system:authenticated".into()],
            ..User::default()
        };
        let mut add = |key: &str, value: String| {
            user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
        };
        if let Some(id) = id {
            add("credential-id", format!("JTI={id}"));
        }
        let pod = self.object.as_ref().filter(|(kind, _)| *kind == BoundKind::Pod).map(|(_, pod)| pod);
        let node = self.object.as_ref().filter(|(kind, _)| *kind == BoundKind::Node).map(|(_, node)| node);
        if let Some(pod) = pod {
            add("pod-name", pod.name.clone());
            add("pod-uid", pod.uid.to_string());
        }
        if let Some(node) = self.node.as_ref().or(node) {
            add("node-name", node.name.clone());
            add("node-uid", node.uid.to_string());
        }
        user
    }
}

/// A pod that has ended needs no token, and one whose time to end is over has none.
fn pod_counts(pod: &Stored, now: i64) -> Result<(), Ended> {
    let has_ended = pod.pod_status().is_some_and(|status| status.phase.is_terminal());
    let is_late = pod.deletion.is_some_and(|deletion| deletion.at < now);
    if has_ended || is_late { Err(Ended::PodEnded) } else { Ok(()) }
}

/// When a token in a volume is replaced, as kubelet does: at four fifths of its life, or after a day. Unix seconds.
pub fn refresh_at(issued_at: i64, expires_at: i64) -> i64 {
    let life = expires_at.saturating_sub(issued_at);
    issued_at.saturating_add((life / 5 * 4 + life % 5 * 4 / 5).clamp(1, 24 * 3600))
}

/// The account that a pod runs as, by its spec as it is written.
pub fn account_named(spec: &serde_json::Value) -> &str {
    spec["serviceAccountName"].as_str().filter(|name| !name.is_empty()).unwrap_or("default")
}

/// The same of a spec that was read.
pub fn account_of(spec: &watchbell_api::types::pod::PodSpec) -> &str {
    spec.service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default")
}
