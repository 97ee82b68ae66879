//! Who asks: the one place where a request gets its user.
//!
//! ```text
//!  client certificate ─▶ of our authority, in its time, not revoked ─▶ CN, O
//!  local socket       ─▶ root, or the owner of the data directory   ─▶ local:root, system:masters
//!  bearer token       ─▶ user's token      the hash that was kept   ─▶ as its UserToken says
//!                     ID token of an issuer  signature, times, who  ─▶ as its claims say
//!                       service account's signature, issuer, audience ─▶ as long as account and pod live
//!  none of these, or none that holds       ─▶ 401; after a burst of failures from one address 429
//! ```
//!
//! In this order, and the first that holds counts, as in Kubernetes: who comes with a certificate and a token is whom the
//! certificate names; a certificate that does not hold lets the token speak. Everybody who is known is in
//! `system:authenticated`.
//!
//! What is shown is looked at with each request, so what is revoked no longer counts, on connections that are open too; what
//! flows (watches, followed logs, sessions) ends with what it was opened with: [`Tenure`].

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::timeout;
use watchbell_api::validate::MASTERS;
use watchbell_api::{ApiError, Reason, Resource, Uid};
use watchbell_core::request::User;
use watchbell_core::service_account::Binding;
use watchbell_core::world::{Snapshot, Stored};
use watchbell_identity::jwt::Unverified;
use watchbell_identity::oidc::{Issuer, Verdict};
use watchbell_identity::{AUTHENTICATED, Attempts, CREDENTIAL_ID, Identity, Refusal, user_token};

use crate::access::Held;
use crate::connection::{LocalUser, Peer};
use crate::state::State;

/// Somebody who is known, and by what.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) user: User,
    pub(crate) credential: Credential,
}

/// What somebody showed, as far as it takes to see whether it still counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    Certificate {
        serial_number: Arc<str>,
        ends: i64,
    },
    /// What the kernel says of the other end of the local socket.
    Local,
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
        ends: i64,
    },
}

/// Somebody who is not known.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) why: Refusal,
    /// His address failed too often: how long it has to wait.
    pub(crate) wait: Option<Duration>,
}

impl Refused {
    /// What he hears: nothing of the reason, which would help who guesses.
    pub(crate) fn error(&self) -> ApiError {
        let Some(wait) = self.wait else { return ApiError::new(Reason::Unauthorized, "Unauthorized") };
        let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        let mut error = ApiError::new(
            Reason::TooManyRequests,
            format!("too many requests without an identity from this address: try again in {seconds} s"),
        );
        error.retry_after_seconds = Some(seconds);
        error
    }
}

/// What one way of looking at a request says.
enum Judgement {
    Known(Caller),
    Refused(Refusal),
    /// It is not for this way to say.
    PassedOn,
}

/// How long a request waits for its issuer.
const ISSUER_PATIENCE: Duration = Duration::from_secs(5);

/// The judge of all who ask.
pub(crate) struct Authenticator {
    identity: Arc<Identity>,
    attempts: Mutex<Attempts>,
    issuers: Vec<Issuer>,
    /// Beside root this user of the machine has the rights of its administrator: the data directory is his.
    owner: u32,
    /// What the times of the attempts count from.
    began: Instant,
}

impl Authenticator {
    pub(crate) fn new(identity: Arc<Identity>, owner: u32, issuers: Vec<Issuer>) -> Authenticator {
        Authenticator { identity, attempts: Mutex::default(), issuers, owner, began: Instant::now() }
    }

    /// Who asks.
    pub(crate) async fn authenticate(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        snapshot: &Snapshot,
    ) -> Result<Caller, Refused> {
        let now = Timestamp::now();
        let mut why = Refusal::Nothing;
        for judgement in [certificate(peer, snapshot, now), self.local(peer)] {
            match judgement {
                Judgement::Known(caller) => return Ok(caller),
                Judgement::Refused(refusal) => why = refusal,
                Judgement::PassedOn => {}
            }
        }
        match self.token(headers, snapshot, now).await {
            Judgement::Known(caller) => return Ok(caller),
            Judgement::Refused(refusal) => why = refusal,
            Judgement::PassedOn => {}
        }
        Err(Refused { why, wait: peer.ip().and_then(|address| self.failed(address)) })
    }

    /// The token of a request: each that gives tokens out knows its own, by their form or by the issuer they name.
    async fn token(&self, headers: &HeaderMap, snapshot: &Snapshot, now: Timestamp) -> Judgement {
        let token = match bearer(headers) {
            Ok(None) => return Judgement::PassedOn,
            Err(refusal) => return Judgement::Refused(refusal),
            Ok(Some(token)) => token,
        };
        match self.review(token, &self.identity.issuer().audiences, snapshot, now) {
            Ok((caller, _)) => Judgement::Known(caller),
            // Of another issuer than this server.
            Err(Refusal::Issuer) => match Unverified::parse(token) {
                Ok(token) => self.id_token(&token, now).await,
                Err(error) => Judgement::Refused(error.into()),
            },
            Err(refusal) => Judgement::Refused(refusal),
        }
    }

    /// A token of the issuer that it names, if that is trusted.
    async fn id_token(&self, token: &Unverified<'_>, now: Timestamp) -> Judgement {
        let issuer = token.claimed_issuer();
        let Some(issuer) = self.issuers.iter().find(|known| Some(known.url()) == issuer.as_deref()) else {
            return Judgement::Refused(Refusal::Issuer);
        };
        let refusal = match judged(issuer.verify(token, now.as_second())) {
            Ok(judgement) => return judgement,
            Err(refusal) => refusal,
        };
        // Perhaps the issuer has other keys by now.
        let (tell, told) = oneshot::channel();
        let then = move || {
            // Who waits may have gone.
            let _ = tell.send(());
        };
        if !issuer.ask(then) || timeout(ISSUER_PATIENCE, told).await.is_err() {
            return Judgement::Refused(refusal);
        }
        judged(issuer.verify(token, now.as_second())).unwrap_or_else(Judgement::Refused)
    }

    fn local(&self, peer: &Peer) -> Judgement {
        match peer.local() {
            None => Judgement::PassedOn,
            Some(LocalUser { uid, pid }) if uid == 0 || uid == self.owner => {
                let name = if uid == 0 { "local:root".to_owned() } else { format!("local:{uid}") };
                let extra = [("watchbell.dev/pid", i64::from(pid)), ("watchbell.dev/uid", i64::from(uid))];
                Judgement::Known(Caller {
                    user: User {
                        name,
                        groups: vec![MASTERS.into(), AUTHENTICATED.into()],
                        extra: extra.map(|(key, value)| (key.to_owned(), vec![value.to_string()])).into(),
                        ..User::default()
                    },
                    credential: Credential::Local,
                })
            }
            Some(LocalUser { uid, .. }) => Judgement::Refused(Refusal::LocalUser(uid)),
        }
    }

    /// Whose token it is, and for which of these audiences.
    pub(crate) fn review(
        &self,
        token: &str,
        audiences: &[String],
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<(Caller, Vec<String>), Refusal> {
        if !user_token::is_user_token(token) {
            return self.service_account(token, audiences, snapshot, now);
        }
        // A user's token is for this server.
        let own = &self.identity.issuer().audiences;
        let shared: Vec<String> = audiences.iter().filter(|one| own.contains(one)).cloned().collect();
        if shared.is_empty() {
            return Err(Refusal::Audience);
        }
        Ok((user(token, snapshot, now)?, shared))
    }

    fn service_account(
        &self,
        token: &str,
        audiences: &[String],
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<(Caller, Vec<String>), Refusal> {
        let token = Unverified::parse(token).map_err(|_| Refusal::Malformed)?;
        let issuer = &self.identity.issuer().url;
        if token.claimed_issuer().as_ref() != Some(issuer) {
            return Err(Refusal::Issuer);
        }
        let claims = self.identity.tokens().verify(&token, issuer, audiences, now)?;
        let binding = Binding::read(&claims.all)
            .ok_or_else(|| Refusal::Claims("the token's claims are not a service account's".into()))?;
        binding.still_counts(snapshot, now.as_second())?;
        let user = binding.user(claims.id.as_deref());
        let shared = audiences.iter().filter(|one| claims.audiences.contains(one)).cloned().collect();
        let credential = Credential::ServiceAccount { binding: binding.into(), ends: claims.expires_at };
        Ok((Caller { user, credential }, shared))
    }

    fn failed(&self, address: IpAddr) -> Option<Duration> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.failed(address, self.began.elapsed()).err()
    }
}

fn certificate(peer: &Peer, snapshot: &Snapshot, now: Timestamp) -> Judgement {
    match peer.certificate(now) {
        Err(Refusal::Nothing) => Judgement::PassedOn,
        Err(refusal) => Judgement::Refused(refusal),
        Ok(found) => {
            let credential =
                Credential::Certificate { serial_number: found.serial_number.into(), ends: found.not_after };
            if credential.counts(snapshot, now) {
                Judgement::Known(Caller { user: found.user, credential })
            } else {
                Judgement::Refused(Refusal::Revoked)
            }
        }
    }
}

/// `Err`: it may be known once its issuer was asked.
fn judged(verdict: Verdict) -> Result<Judgement, Refusal> {
    match verdict {
        Verdict::Known { user, ends } => {
            Ok(Judgement::Known(Caller { user, credential: Credential::IdToken { ends } }))
        }
        Verdict::Refused(refusal) => Ok(Judgement::Refused(refusal)),
        Verdict::UnknownKey(refusal) => Err(refusal),
    }
}

/// What stands behind `Bearer` (RFC 6750, section 2.1), in one header alone.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::Malformed);
    }
    let value = value.to_str().map_err(|_| Refusal::Malformed)?.trim();
    let (scheme, token) = value.split_once(' ').ok_or(Refusal::Malformed)?;
    let token = token.trim_start();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.contains(' ') {
        return Err(Refusal::Malformed);
    }
    Ok(Some(token))
}

fn user(token: &str, snapshot: &Snapshot, now: Timestamp) -> Result<Caller, Refusal> {
    let Some(shown) = user_token::read(token) else { return Err(Refusal::Malformed) };
    let Some(stored) = snapshot.get(Resource::UserToken, "", shown.name) else {
        return Err(Refusal::UnknownToken);
    };
    let (Some(kept), Some(grant)) = (stored.token(), stored.facts().grant()) else {
        return Err(Refusal::UnknownToken);
    };
    // First of all: who does not have the secret learns nothing else of the token, not by time either.
    if !shown.secret.matches(&kept.digest) {
        return Err(Refusal::WrongToken);
    }
    if stored.deletion.is_some() {
        return Err(Refusal::UnknownToken);
    }
    if kept.expires_at <= now.as_second() {
        return Err(Refusal::Expired);
    }
    let mut groups = grant.groups.clone();
    groups.push(AUTHENTICATED.into());
    let extra = [(CREDENTIAL_ID.to_owned(), vec![format!("UserToken={}", shown.name)])].into();
    Ok(Caller {
        user: User { name: grant.user.clone(), groups, extra, ..User::default() },
        credential: Credential::UserToken { name: stored.name.clone(), uid: stored.uid },
    })
}

impl Credential {
    /// Whether it still counts, by what is committed.
    fn counts(&self, snapshot: &Snapshot, now: Timestamp) -> bool {
        match self {
            Credential::Certificate { serial_number, ends } => {
                *ends > now.as_second()
                    && snapshot.get(Resource::CertificateRevocation, "", serial_number).is_none()
            }
            Credential::Local => true,
            Credential::IdToken { ends } => *ends > now.as_second(),
            Credential::ServiceAccount { binding, ends } => {
                *ends > now.as_second() && binding.still_counts(snapshot, now.as_second()).is_ok()
            }
            Credential::UserToken { name, uid } => {
                snapshot.get(Resource::UserToken, "", name).is_some_and(|stored| {
                    stored.uid == *uid && stored.deletion.is_none() && until(stored) > now.as_second()
                })
            }
        }
    }

    /// When it ends by itself.
    fn ends(&self, snapshot: &Snapshot) -> i64 {
        match self {
            Credential::Certificate { ends, .. }
            | Credential::IdToken { ends }
            | Credential::ServiceAccount { ends, .. } => *ends,
            Credential::Local => i64::MAX,
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
    credential: Credential,
    held: Held,
}

/// The longest nap: the wall clock may be set.
const NAP: Duration = Duration::from_secs(60);

impl Tenure {
    pub(crate) fn new(state: State, credential: Credential, held: Held) -> Tenure {
        Tenure { state, credential, held }
    }

    /// Whether it counts now; if not, what the client hears of it.
    pub(crate) fn confirm(&self) -> Result<(), ApiError> {
        self.confirm_by(&self.state.snapshot(), Timestamp::now())
    }

    fn confirm_by(&self, snapshot: &Snapshot, now: Timestamp) -> Result<(), ApiError> {
        if !self.credential.counts(snapshot, now) {
            return Err(ApiError::new(
                Reason::Unauthorized,
                "what this was opened with no longer counts: it was revoked, or has ended",
            ));
        }
        self.held.check(snapshot.rbac())
    }

    /// Waits until it no longer counts, or its user no longer may, and says what the client hears of it.
    pub(crate) async fn over(&self) -> ApiError {
        // What a token is bound to may be any pod, which few wait for: they hear of all changes.
        let mut bell = match &self.credential {
            Credential::ServiceAccount { binding, .. } if binding.object.is_some() => self.state.bell(),
            _ => self.state.credentials_bell(),
        };
        loop {
            bell.mark_unchanged();
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
                () = tokio::time::sleep(nap) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use watchbell_api::node::Capacity;
    use watchbell_core::request::{Issued, Request, Write};
    use watchbell_core::world::{Config, World};
    use watchbell_identity::user_token::Secret;

    use super::*;

    #[test]
    fn a_token_stands_alone_behind_its_scheme() {
        let check = |values: &[&[u8]], expect: Result<Option<&str>, Refusal>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
            }
            assert_eq!(bearer(&headers), expect, "{values:?}");
        };
        check(&[], Ok(None));
        check(&[b"Bearer abc"], Ok(Some("abc")));
        check(&[b"bEARER   abc"], Ok(Some("abc")));
        for wrong in [&b""[..], b"abc", b"Bearer", b"Bearer ", b"Basic abc", b"Bearer a b", b"Bearer \xff"] {
            check(&[wrong], Err(Refusal::Malformed));
        }
        check(&[b"Bearer abc", b"Bearer def"], Err(Refusal::Malformed));
    }

    /// A world in which a token was given out at the beginning of time.
    fn with_token(secret: &Secret) -> (Snapshot, String) {
        let config = Config {
            machine: Default::default(),
            capacity: Capacity { cpu_millis: 1, memory_bytes: 1, pods: 1, ephemeral_storage_bytes: 1 },
            devices: Default::default(),
            hostname: "host".into(),
            ca_pem: String::new(),
            seed: [1; 32],
        };
        let mut world = World::new(config);
        let object = serde_json::json!({
            "apiVersion": "watchbell.dev/v1alpha1", "kind": "UserToken", "metadata": {"name": "a"},
            "spec": {"user": "ada", "groups": ["ml"], "expirationSeconds": 600},
        });
        let request = Request {
            user: User::controller(),
            impersonation: None,
            resource: Resource::UserToken,
            namespace: String::new(),
            name: String::new(),
            subresource: Default::default(),
            write: Write::Issue { object, issued: Issued::Token { digest: secret.digest() } },
            options: Default::default(),
            audit_id: String::new(),
        };
        world.write(request, Timestamp::UNIX_EPOCH).unwrap();
        world.take_stage(Timestamp::UNIX_EPOCH);
        world.committed();
        (world.snapshot(), secret.token("a"))
    }

    #[test]
    fn a_token_counts_until_its_time_is_over() {
        let secret = Secret::new([5; 32]);
        let (snapshot, token) = with_token(&secret);
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let Ok(caller) = user(&token, &snapshot, at(599)) else { panic!("it is not known") };
        assert_eq!((caller.user.name.as_str(), &caller.user.groups[0]), ("ada", &"ml".to_owned()));
        assert!(
            caller.credential.counts(&snapshot, at(599)) && !caller.credential.counts(&snapshot, at(600))
        );
        assert_eq!(caller.credential.ends(&snapshot), 600);
        let refused = |token: &str, now: i64, expect: Refusal| match user(token, &snapshot, at(now)) {
            Err(refusal) => assert_eq!(refusal, expect),
            _ => panic!("{expect:?}"),
        };
        refused(&token, 600, Refusal::Expired);
        // Who does not have the secret does not learn that its time is over.
        refused(&Secret::new([6; 32]).token("a"), 600, Refusal::WrongToken);
        refused(&secret.token("b"), 0, Refusal::UnknownToken);
    }
}
