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
//! What is shown is looked at with each request: `credential.rs` says what counts. A `TokenReview` judges a token by the same
//! function, so what this server would take it says it takes.
//!
//! A certificate is verified once a minute and connection, and a user's token costs one hash; a signature is dear. So from an
//! address that has failed too often signatures are not looked at, but for tokens that held before: who guesses costs no more
//! than an answer, and who shares an address with them goes on.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::timeout;
use watchbell_api::validate::{LOCAL, MASTERS};
use watchbell_api::{ApiError, Reason, Resource};
use watchbell_core::request::User;
use watchbell_core::service_account::Binding;
use watchbell_core::world::Snapshot;
use watchbell_identity::jwt::Unverified;
use watchbell_identity::oidc::{Issuer, Verdict};
use watchbell_identity::{AUTHENTICATED, Attempts, CREDENTIAL_ID, Identity, Proven, Refusal, user_token};

use crate::connection::{LocalUser, Peer};
use crate::credential::Credential;
use crate::limits::Holder;
use crate::state::State;

/// Somebody who is known, and by what.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) user: User,
    pub(crate) credential: Credential,
}

impl Caller {
    /// For whom what this request takes is held. Whoever acts as another takes it for himself.
    pub(crate) fn holder(&self) -> Holder {
        match &self.credential {
            Credential::Local { uid } => Holder::Local(*uid),
            _ => Holder::User(self.user.name.as_str().into()),
        }
    }
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
    /// Signed tokens that held lately.
    proven: Mutex<Proven>,
    issuers: Vec<Issuer>,
    /// Beside root this user of the machine has the rights of its administrator: the data directory is his.
    owner: u32,
    /// What the times of the attempts count from.
    began: Instant,
}

impl Authenticator {
    pub(crate) fn new(identity: Arc<Identity>, owner: u32, issuers: Vec<Issuer>) -> Authenticator {
        let (attempts, proven) = (Mutex::default(), Mutex::default());
        Authenticator { identity, attempts, proven, issuers, owner, began: Instant::now() }
    }

    /// Who asks.
    pub(crate) async fn authenticate(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        state: &State,
    ) -> Result<Caller, Refused> {
        let (now, snapshot) = (Timestamp::now(), state.snapshot());
        let mut why = Refusal::Nothing;
        for judgement in [self.certificate(peer, &snapshot, now), self.local(peer)] {
            match judgement {
                Judgement::Known(caller) => return Ok(caller),
                Judgement::Refused(refusal) => why = refusal,
                Judgement::PassedOn => {}
            }
        }
        let token = match bearer(headers) {
            Ok(None) => None,
            Ok(Some(token)) if self.is_too_dear(peer, token) => {
                why = Refusal::NotLookedAt;
                None
            }
            Ok(Some(token)) => Some(token),
            Err(refusal) => {
                why = refusal;
                None
            }
        };
        if let Some(token) = token {
            match self.judge(token, &self.identity.issuer().audiences, state, now).await {
                Ok((caller, _)) => {
                    self.remember(token);
                    return Ok(caller);
                }
                Err(refusal) => why = refusal,
            }
        }
        Err(Refused { why, wait: peer.ip().and_then(|address| self.failed(address)) })
    }

    /// Who is known by the connection alone, whatever is asked over it.
    pub(crate) fn by_connection(&self, peer: &Peer, snapshot: &Snapshot) -> Option<Caller> {
        [self.certificate(peer, snapshot, Timestamp::now()), self.local(peer)].into_iter().find_map(
            |judgement| match judgement {
                Judgement::Known(caller) => Some(caller),
                Judgement::Refused(_) | Judgement::PassedOn => None,
            },
        )
    }

    /// Whose token it is, and for which of these audiences: each that gives tokens out knows its own, by their form or by the
    /// issuer they name.
    pub(crate) async fn judge(
        &self,
        token: &str,
        audiences: &[String],
        state: &State,
        now: Timestamp,
    ) -> Result<(Caller, Vec<String>), Refusal> {
        // Tokens that say nothing of whom they are for here are for this server.
        let for_us = || {
            let own = &self.identity.issuer().audiences;
            let shared: Vec<String> = audiences.iter().filter(|one| own.contains(one)).cloned().collect();
            if shared.is_empty() { Err(Refusal::Audience) } else { Ok(shared) }
        };
        if user_token::is_user_token(token) {
            let shared = for_us()?;
            return match user(token, &state.snapshot(), now) {
                Err(Refusal::UnknownToken) => Err(revoked_or_unknown(token, state)),
                known => known.map(|caller| (caller, shared)),
            };
        }
        let token = Unverified::parse(token).map_err(|_| Refusal::Malformed)?;
        let issuer = token.claimed_issuer().ok_or(Refusal::Issuer)?;
        if self.identity.issuer().accepts(&issuer) {
            return self.service_account(&token, &issuer, audiences, &state.snapshot(), now);
        }
        let shared = for_us()?;
        self.id_token(&token, &issuer, now).await.map(|caller| (caller, shared))
    }

    /// Whether it would cost a signature to look at, and comes from where too many did not hold.
    fn is_too_dear(&self, peer: &Peer, token: &str) -> bool {
        if user_token::is_user_token(token) || peer.is_known() {
            return false;
        }
        let Some(address) = peer.ip() else { return false };
        let waits = {
            let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
            attempts.wait(address, self.began.elapsed()).is_some()
        };
        waits && !self.proven.lock().unwrap_or_else(PoisonError::into_inner).has(token, self.began.elapsed())
    }

    /// A signature held: it is worth to look at again.
    fn remember(&self, token: &str) {
        if !user_token::is_user_token(token) {
            self.proven.lock().unwrap_or_else(PoisonError::into_inner).held(token, self.began.elapsed());
        }
    }

    /// A token of an issuer of others, if that is trusted.
    async fn id_token(&self, token: &Unverified<'_>, url: &str, now: Timestamp) -> Result<Caller, Refusal> {
        let issuer = self.issuers.iter().find(|known| known.url() == url).ok_or(Refusal::Issuer)?;
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
            return Err(refusal);
        }
        judged(issuer.verify(token, now.as_second())).unwrap_or_else(Err)
    }

    fn certificate(&self, peer: &Peer, snapshot: &Snapshot, now: Timestamp) -> Judgement {
        match peer.certificate(now) {
            Err(Refusal::Nothing) => Judgement::PassedOn,
            Err(refusal) => Judgement::Refused(refusal),
            Ok(found) => {
                let credential = Credential::Certificate {
                    serial_number: found.serial_number.into(),
                    ends: found.not_after,
                };
                if credential.counts(snapshot, self.identity.tokens(), now) {
                    Judgement::Known(Caller { user: found.user, credential })
                } else {
                    Judgement::Refused(Refusal::Revoked)
                }
            }
        }
    }

    fn local(&self, peer: &Peer) -> Judgement {
        match peer.local() {
            None => Judgement::PassedOn,
            Some(LocalUser { uid, pid }) if uid == 0 || uid == self.owner => {
                let name = if uid == 0 { format!("{LOCAL}root") } else { format!("{LOCAL}{uid}") };
                let extra = [("watchbell.dev/pid", i64::from(pid)), ("watchbell.dev/uid", i64::from(uid))];
                Judgement::Known(Caller {
                    user: User {
                        name,
                        groups: vec![MASTERS.into(), AUTHENTICATED.into()],
                        extra: extra.map(|(key, value)| (key.to_owned(), vec![value.to_string()])).into(),
                        ..User::default()
                    },
                    credential: Credential::Local { uid },
                })
            }
            Some(LocalUser { uid, .. }) => Judgement::Refused(Refusal::LocalUser(uid)),
        }
    }

    fn service_account(
        &self,
        token: &Unverified<'_>,
        issuer: &str,
        audiences: &[String],
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<(Caller, Vec<String>), Refusal> {
        let (claims, key) = self.identity.tokens().verify(token, issuer, audiences, now)?;
        let binding = Binding::read(&claims.all)
            .ok_or_else(|| Refusal::Claims("the token's claims are not a service account's".into()))?;
        binding.still_counts(snapshot, now.as_second())?;
        let user = binding.user(claims.id.as_deref());
        let shared = audiences.iter().filter(|one| claims.audiences.contains(one)).cloned().collect();
        let credential =
            Credential::ServiceAccount { binding: binding.into(), key: key.into(), ends: claims.expires_at };
        Ok((Caller { user, credential }, shared))
    }

    fn failed(&self, address: IpAddr) -> Option<Duration> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.failed(address, self.began.elapsed()).err()
    }
}

/// `Err`: it may be known once its issuer was asked.
fn judged(verdict: Verdict) -> Result<Result<Caller, Refusal>, Refusal> {
    match verdict {
        Verdict::Known { user, ends } => Ok(Ok(Caller { user, credential: Credential::IdToken { ends } })),
        Verdict::Refused(refusal) => Ok(Err(refusal)),
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

/// Why a token has no record. Who shows the secret of one that was taken back learns no more than others; the audit journal
/// does: a token that was revoked and is still shown is somebody's who should no longer have it.
fn revoked_or_unknown(token: &str, state: &State) -> Refusal {
    let revoked = user_token::read(token).and_then(|shown| {
        let gone = state.deleted(Resource::UserToken, shown.name)?;
        shown.secret.matches(&gone.token()?.digest).then_some(Refusal::RevokedToken)
    });
    revoked.unwrap_or(Refusal::UnknownToken)
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
        return Err(Refusal::RevokedToken);
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
            body_hash: None,
            received: None,
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
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::open(dir.path(), ([127, 0, 0, 1], 1).into(), "host").unwrap();
        let counts = |seconds| caller.credential.counts(&snapshot, identity.tokens(), at(seconds));
        assert!(counts(599) && !counts(600));
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
