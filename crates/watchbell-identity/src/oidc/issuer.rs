//! One issuer: its keys, the thread that asks for them, and the verification of its tokens.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::Agent;
use watchbell_core::request::User;

use super::cache::{Early, KeyCache};
use super::config::IssuerConfig;
use super::{claims, fetch};
use crate::Refusal;
use crate::jwt::{Expect, JwtError, KeySet, Unverified};

/// How far the issuer's clock may be off.
const LEEWAY_SECONDS: i64 = 10;
/// How many may wait for one answer of an issuer.
const WAITING_MAX: usize = 1024;

/// What a token proves.
#[derive(Debug)]
pub enum Verdict {
    Known {
        user: User,
        /// Unix seconds.
        ends: i64,
    },
    Refused(Refusal),
    /// It may become known when the issuer is asked for its keys: [`Issuer::ask`].
    UnknownKey(Refusal),
}

/// What is called once the issuer was asked.
type Then = Box<dyn FnOnce() + Send>;

/// A trusted issuer.
pub struct Issuer {
    config: Arc<IssuerConfig>,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Rings when the thread has something to do.
    bell: Condvar,
    began: Instant,
}

struct State {
    cache: KeyCache<KeySet>,
    waiting: Vec<Then>,
    /// The issuer is being asked.
    asks: bool,
    ends: bool,
}

impl Issuer {
    /// Begins to ask for the keys.
    ///
    /// # Errors
    /// The authority is none, or there is no thread to be had.
    pub fn start(config: IssuerConfig) -> Result<Issuer, String> {
        let agent = fetch::agent(&config)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                cache: KeyCache::new(Duration::ZERO),
                waiting: Vec::new(),
                asks: true,
                ends: false,
            }),
            bell: Condvar::new(),
            began: Instant::now(),
        });
        let issuer = Issuer { config: Arc::new(config), shared };
        let (config, shared) = (issuer.config.clone(), issuer.shared.clone());
        std::thread::Builder::new()
            .name("issuer".into())
            .spawn(move || shared.follow(&agent, &config))
            .map_err(|e| format!("cannot start a thread: {e}"))?;
        Ok(issuer)
    }

    pub fn url(&self) -> &str {
        &self.config.url
    }

    /// Verifies a token that says it is of this issuer.
    pub fn verify(&self, token: &Unverified<'_>, now: i64) -> Verdict {
        let keys = match self.shared.lock().cache.keys(self.shared.began.elapsed()) {
            Ok(keys) => keys,
            Err(cause) => return Verdict::UnknownKey(Refusal::KeysMissing(cause)),
        };
        let config = &*self.config;
        let expect =
            Expect { issuer: &config.url, audiences: &config.audiences, now, leeway_seconds: LEEWAY_SECONDS };
        if !config.algorithms.iter().any(|algorithm| algorithm.name() == token.algorithm()) {
            return Verdict::Refused(Refusal::Signature(
                "its algorithm is not one that this issuer may use".into(),
            ));
        }
        match token.verify(&keys, &expect) {
            Ok((found, _)) => match claims::user(config, &found.all) {
                Ok(user) => Verdict::Known { user, ends: found.expires_at + LEEWAY_SECONDS },
                Err(refusal) => Verdict::Refused(refusal),
            },
            // Where a token names no key, or one that others had before it, that none fits says as much as that none is known.
            Err(error @ (JwtError::UnknownKey | JwtError::OtherAlgorithm | JwtError::Signature)) => {
                Verdict::UnknownKey(error.into())
            }
            Err(error) => Verdict::Refused(error.into()),
        }
    }

    /// Asks the issuer for its keys, or waits with those for whom it is being asked; `then` is called after the answer.
    /// `false`: it was asked moments ago, and `then` is never called.
    pub fn ask(&self, then: impl FnOnce() + Send + 'static) -> bool {
        let mut state = self.shared.lock();
        if state.waiting.len() >= WAITING_MAX {
            return false;
        }
        if !state.asks {
            if state.cache.unknown_key(self.shared.began.elapsed()) == Early::TooSoon {
                return false;
            }
            state.asks = true;
            self.shared.bell.notify_all();
        }
        state.waiting.push(Box::new(then));
        true
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.shared.lock().ends = true;
        self.shared.bell.notify_all();
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("url", &self.config.url).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks when it is time, or when somebody waits, until the issuer is no longer of interest.
    fn follow(&self, agent: &Agent, config: &IssuerConfig) {
        let mut state = self.lock();
        loop {
            if state.ends {
                return;
            }
            let due = state.cache.due().saturating_sub(self.began.elapsed());
            if !state.asks && !due.is_zero() {
                (state, _) = self.bell.wait_timeout(state, due).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.asks = true;
            drop(state);
            let answer = fetch::keys(agent, config);
            state = self.lock();
            let now = self.began.elapsed();
            match answer {
                Ok(keys) => state.cache.fetched(keys, now),
                Err(cause) => {
                    tracing::warn!(issuer = config.url, "the keys of an issuer cannot be had: {cause}");
                    state.cache.failed(cause, now);
                }
            }
            state.asks = false;
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            for then in waiting {
                then();
            }
            state = self.lock();
        }
    }
}
