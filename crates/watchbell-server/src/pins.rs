//! Snapshots that clients page through: each page of a list comes from the same state as the first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use watchbell_api::{ApiError, Reason};
use watchbell_core::world::Snapshot;

use crate::limits::{Holder, Number, Places};

/// As long as Kubernetes keeps old versions by default.
const KEPT: Duration = Duration::from_secs(300);
/// Snapshots share what did not change, so one costs the changes since,
const COUNT_MAX: usize = 64;
/// and all of them no more than those since the oldest of them, which is dropped when they come to this.
const BYTES_MAX: u64 = 64 << 20;

/// The snapshots that a continue token may name.
#[derive(Debug)]
pub(crate) struct Pins {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What all changes so far took out of the state, in bytes.
    replaced: u64,
    places: Places,
    /// In the order in which they were last used.
    pins: VecDeque<Pin>,
}

#[derive(Debug)]
struct Pin {
    seen: Seen,
    used: Instant,
    holder: Holder,
    number: Number,
}

/// A state that somebody reads.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) snapshot: Arc<Snapshot>,
    /// How much had been replaced when it was taken, at most.
    replaced: u64,
}

impl Pin {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) >= KEPT
    }
}

impl State {
    fn retain(&mut self, keep: impl Fn(&Pin) -> bool) {
        let places = &mut self.places;
        self.pins.retain(|pin| {
            let stays = keep(pin);
            if !stays {
                places.leave(&pin.holder, pin.number);
            }
            stays
        });
    }
}

impl Pins {
    pub(crate) fn new() -> Pins {
        let state = State { replaced: 0, places: Places::new(COUNT_MAX), pins: VecDeque::new() };
        Pins { state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `newest` gives, as of now.
    pub(crate) fn seen(&self, newest: impl FnOnce() -> Arc<Snapshot>) -> Seen {
        // Before it is taken: what is replaced meanwhile counts.
        let replaced = self.lock().replaced;
        Seen { snapshot: newest(), replaced }
    }

    /// Keeps a state for the pages to come. Where all places are taken, whoever has most of them gives up one.
    pub(crate) fn keep(&self, seen: &Seen, holder: &Holder, now: Instant) {
        let mut state = self.lock();
        let version = seen.snapshot.resource_version();
        state.retain(|pin| {
            !pin.is_over(now) && (pin.holder != *holder || pin.seen.snapshot.resource_version() != version)
        });
        let (number, cleared) = state.places.take(holder);
        state.pins.retain(|pin| Some(pin.number) != cleared);
        let (seen, holder) = (seen.clone(), holder.clone());
        state.pins.push_back(Pin { seen, used: now, holder, number });
    }

    /// The state of a version, if it is still kept.
    pub(crate) fn at(&self, version: u64, now: Instant) -> Option<Seen> {
        let state = self.lock();
        let mut alive = state.pins.iter().filter(|pin| !pin.is_over(now));
        alive.find(|pin| pin.seen.snapshot.resource_version() == version).map(|pin| pin.seen.clone())
    }

    /// So many bytes were replaced by others, and are kept by older states alone. They are dropped here, and not only when
    /// the next is kept: without changes none of them costs anything.
    pub(crate) fn replaced(&self, bytes: u64, now: Instant) {
        let mut state = self.lock();
        state.replaced += bytes;
        let oldest = state.replaced.saturating_sub(BYTES_MAX);
        state.retain(|pin| pin.seen.replaced >= oldest && !pin.is_over(now));
    }
}

/// Where the next page begins: opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// `None`: of the newest state, whatever the pages before were of.
    pub(crate) version: Option<u64>,
    /// The last object of the page before.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A token's version when its list may go on with the newest state.
const NEWEST: i64 = -1;

impl Token {
    /// The state that the next page is of. When that of the pages before is no longer kept, the refusal carries a token
    /// with which the list may go on all the same, if its client does not mind that it is of two states.
    pub(crate) fn state(
        &self,
        pins: &Pins,
        newest: impl FnOnce() -> Arc<Snapshot>,
    ) -> Result<Seen, ApiError> {
        let Some(version) = self.version else { return Ok(pins.seen(newest)) };
        pins.at(version, Instant::now()).ok_or_else(|| {
            let mut error = ApiError::new(
                Reason::Expired,
                "The provided continue parameter is too old to display a consistent list result. You can start a new \
                 list without the continue parameter, or use the continue token of this response for the remainder: \
                 the list is then inconsistent, as objects may have come, changed or gone since its first chunk.",
            );
            error.list_continue = Some(Token { version: None, ..self.clone() }.encode());
            error
        })
    }

    pub(crate) fn encode(&self) -> String {
        let version = self.version.and_then(|v| i64::try_from(v).ok()).unwrap_or(NEWEST);
        let text = json!({"v": 1, "rv": version, "ns": self.namespace, "name": self.name}).to_string();
        BASE64_URL_SAFE_NO_PAD.encode(text)
    }

    pub(crate) fn decode(text: &str) -> Result<Token, ApiError> {
        let wrong = || {
            ApiError::bad_request(
                "continue key is not valid: use the one of the page before, or start a new list",
            )
        };
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        match (value["v"].as_u64(), value["rv"].as_i64(), value["ns"].as_str(), value["name"].as_str()) {
            (Some(1), Some(version @ NEWEST..), Some(namespace), Some(name)) => {
                let version = u64::try_from(version).ok();
                Ok(Token { version, namespace: namespace.into(), name: name.into() })
            }
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::tests::Told;

    fn user(name: &str) -> Holder {
        Holder::User(name.into())
    }

    /// A new version, as somebody sees it.
    fn version(told: &mut Told, pins: &Pins, name: &str) -> Seen {
        told.create(name);
        pins.seen(|| Arc::new(told.world.snapshot()))
    }

    #[test]
    fn nobody_loses_pages_to_who_begins_many_lists() {
        let (mut told, pins, now) = (Told::new(), Pins::new(), Instant::now());
        let of_ada = version(&mut told, &pins, "a");
        pins.keep(&of_ada, &user("ada"), now);
        let flood: Vec<u64> = (0..COUNT_MAX + 10)
            .map(|n| {
                let seen = version(&mut told, &pins, &format!("f{n}"));
                pins.keep(&seen, &user("eve"), now);
                seen.snapshot.resource_version()
            })
            .collect();
        let is_kept = |version: u64| pins.at(version, now).is_some();
        assert!(is_kept(of_ada.snapshot.resource_version()));
        assert_eq!(flood.iter().filter(|&&version| is_kept(version)).count(), COUNT_MAX - 1);
        assert!(!is_kept(flood[0]) && is_kept(flood[COUNT_MAX]), "the oldest of hers go");
        // Both at one version: what one loses the other keeps.
        pins.keep(&of_ada, &user("eve"), now);
        for n in 0..COUNT_MAX {
            pins.keep(&version(&mut told, &pins, &format!("g{n}")), &user("eve"), now);
        }
        assert!(is_kept(of_ada.snapshot.resource_version()));
        assert_eq!(pins.lock().pins.len(), COUNT_MAX);
    }

    #[test]
    fn what_is_over_is_neither_given_nor_kept() {
        let (mut told, pins, begin) = (Told::new(), Pins::new(), Instant::now());
        let seen = version(&mut told, &pins, "a");
        pins.keep(&seen, &user("ada"), begin);
        let version = seen.snapshot.resource_version();
        let soon = begin + KEPT - Duration::from_secs(1);
        assert!(pins.at(version, soon).is_some());
        assert!(pins.at(version, begin + KEPT).is_none(), "nobody kept another since");
        // Used again, it begins anew; the next change after its time drops it.
        pins.keep(&seen, &user("ada"), soon);
        assert!(pins.at(version, begin + KEPT).is_some());
        pins.replaced(1, soon + KEPT);
        assert!(pins.lock().pins.is_empty());
        assert_eq!(pins.lock().places.clear_one(), None, "its place is free");
    }

    #[test]
    fn old_states_keep_no_more_than_a_bound() {
        let (mut told, pins, now) = (Told::new(), Pins::new(), Instant::now());
        let old = version(&mut told, &pins, "a");
        pins.keep(&old, &user("ada"), now);
        pins.replaced(BYTES_MAX / 2, now);
        let new = version(&mut told, &pins, "b");
        pins.keep(&new, &user("ada"), now);
        let kept = || [&old, &new].map(|seen| pins.at(seen.snapshot.resource_version(), now).is_some());
        pins.replaced(BYTES_MAX / 2, now);
        assert_eq!(kept(), [true, true]);
        // A page more of it makes it no younger.
        pins.keep(&pins.at(old.snapshot.resource_version(), now).unwrap(), &user("ada"), now);
        pins.replaced(1, now);
        assert_eq!(kept(), [false, true]);
    }

    #[test]
    fn tokens_come_back() {
        for version in [None, Some(0), Some(7)] {
            let token = Token { version, namespace: "ml".into(), name: "train".into() };
            assert_eq!(Token::decode(&token.encode()), Ok(token));
        }
        for foreign in ["", "!", "bnVsbA", "e30", "eyJ2IjoyfQ"] {
            assert!(Token::decode(foreign).is_err(), "{foreign:?}");
        }
    }
}
