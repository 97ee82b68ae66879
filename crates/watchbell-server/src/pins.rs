//! Snapshots that clients page through: each page of a list comes from the same state as the first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use watchbell_api::{ApiError, Reason};
use watchbell_core::world::Snapshot;

/// As long as Kubernetes keeps old versions by default.
const KEPT: Duration = Duration::from_secs(300);
/// Snapshots share what did not change, so one costs the changes since.
const COUNT_MAX: usize = 64;

/// The snapshots that a continue token may name.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    pins: Mutex<VecDeque<Pin>>,
}

#[derive(Debug)]
struct Pin {
    snapshot: Arc<Snapshot>,
    used: Instant,
}

impl Pins {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Pin>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a snapshot for the pages to come.
    pub(crate) fn keep(&self, snapshot: &Arc<Snapshot>, now: Instant) {
        let mut pins = self.lock();
        pins.retain(|pin| {
            pin.snapshot.resource_version() != snapshot.resource_version()
                && now.duration_since(pin.used) < KEPT
        });
        if pins.len() == COUNT_MAX {
            pins.pop_front();
        }
        pins.push_back(Pin { snapshot: snapshot.clone(), used: now });
    }

    /// The snapshot of a version, if it is still kept.
    pub(crate) fn at(&self, version: u64) -> Option<Arc<Snapshot>> {
        let pins = self.lock();
        pins.iter().find(|pin| pin.snapshot.resource_version() == version).map(|pin| pin.snapshot.clone())
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
    pub(crate) fn snapshot(&self, pins: &Pins, newest: Arc<Snapshot>) -> Result<Arc<Snapshot>, ApiError> {
        let Some(version) = self.version else { return Ok(newest) };
        pins.at(version).ok_or_else(|| {
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
    use super::Token;

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
