//! Which signed tokens held lately.
//!
//! It makes nobody known: it says whose signature is worth looking at again where most that come are not. Tokens are kept as
//! their SHA-256, so many of them, the oldest go first.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use ring::digest::{SHA256, digest};

/// Tokens that are remembered: 40 bytes each, twice.
const TOKENS_MAX: usize = 8192;
/// So long. A token that is used is remembered anew.
const REMEMBERED: Duration = Duration::from_secs(600);
/// One that was remembered so short a time ago is not remembered again: most requests come with one that just held.
const FRESH: Duration = Duration::from_secs(300);

type Fingerprint = [u8; 32];

/// Tokens by when they held. Times are durations since any fixed moment.
#[derive(Debug, Default)]
pub struct Proven {
    at: HashMap<Fingerprint, Duration>,
    in_order: VecDeque<(Duration, Fingerprint)>,
}

impl Proven {
    /// Notes that a token held.
    pub fn held(&mut self, token: &str, now: Duration) {
        self.forget(now);
        let fingerprint = fingerprint(token);
        if self.at.get(&fingerprint).is_some_and(|at| now.saturating_sub(*at) < FRESH) {
            return;
        }
        self.at.insert(fingerprint, now);
        self.in_order.push_back((now, fingerprint));
        while self.in_order.len() > TOKENS_MAX {
            self.forget_oldest();
        }
    }

    /// Whether it did.
    pub fn has(&self, token: &str, now: Duration) -> bool {
        self.at.get(&fingerprint(token)).is_some_and(|at| now.saturating_sub(*at) < REMEMBERED)
    }

    fn forget(&mut self, now: Duration) {
        while self.in_order.front().is_some_and(|(at, _)| now.saturating_sub(*at) >= REMEMBERED) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((at, fingerprint)) = self.in_order.pop_front()
            // Unless it was remembered again.
            && self.at.get(&fingerprint) == Some(&at)
        {
            self.at.remove(&fingerprint);
        }
    }
}

fn fingerprint(token: &str) -> Fingerprint {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_token_is_remembered_while_it_is_used() {
        let mut proven = Proven::default();
        assert!(!proven.has("a", SECOND));
        proven.held("a", SECOND);
        assert!(proven.has("a", SECOND * 600) && !proven.has("b", SECOND));
        assert!(!proven.has("a", SECOND * 601));
        proven.held("a", SECOND * 400);
        proven.held("b", SECOND * 700);
        assert!(proven.has("a", SECOND * 999) && !proven.has("a", SECOND * 1000));
        proven.held("c", SECOND * 2000);
        assert_eq!((proven.at.len(), proven.in_order.len()), (1, 1), "the others are forgotten");
    }

    #[test]
    fn many_tokens_take_a_bounded_room() {
        let mut proven = Proven::default();
        for n in 0..3 * TOKENS_MAX {
            proven.held(&n.to_string(), SECOND);
        }
        assert_eq!((proven.at.len(), proven.in_order.len()), (TOKENS_MAX, TOKENS_MAX));
        assert!(proven.has(&(3 * TOKENS_MAX - 1).to_string(), SECOND) && !proven.has("0", SECOND));
    }
}
