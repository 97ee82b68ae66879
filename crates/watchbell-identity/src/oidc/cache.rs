//! When an issuer's keys are asked for, and how long they are trusted. Times are durations since any fixed moment.

use std::sync::Arc;
use std::time::Duration;

/// Keys are asked for anew this often.
pub(super) const REFRESH: Duration = Duration::from_secs(10 * 60);
/// After a failure it is tried again after this, then after twice as long, up to [`REFRESH`].
const RETRY: Duration = Duration::from_secs(5);
/// Keys whose issuer cannot be reached are trusted so long after they were last had.
pub(super) const TRUSTED: Duration = Duration::from_secs(12 * 3600);
/// A token that none of the keys signed has them asked for at once: so often, then once an interval.
const UNKNOWN_BURST: u32 = 4;
const UNKNOWN_INTERVAL: Duration = Duration::from_secs(15);

/// The keys of one issuer, or why there are none.
#[derive(Debug)]
pub(super) struct KeyCache<K> {
    keys: Option<(Arc<K>, Duration)>,
    /// Failures since the last success, and what the last one said.
    failures: u32,
    cause: String,
    due: Duration,
    /// When the bucket of early asks is full again.
    unknown_full_at: Duration,
}

/// Whether the keys are asked for early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Early {
    Ask,
    /// They were asked for moments ago.
    TooSoon,
}

impl<K> KeyCache<K> {
    pub(super) fn new(now: Duration) -> KeyCache<K> {
        KeyCache {
            keys: None,
            failures: 0,
            cause: "they were not asked for yet".into(),
            due: now,
            unknown_full_at: now,
        }
    }

    /// When the keys are to be asked for next.
    pub(super) fn due(&self) -> Duration {
        self.due
    }

    /// None of them signed a token: the issuer may have changed its keys. Who makes such tokens up does not make this server ask
    /// for ever.
    pub(super) fn unknown_key(&mut self, now: Duration) -> Early {
        let full_at = self.unknown_full_at.max(now) + UNKNOWN_INTERVAL;
        if full_at - now > UNKNOWN_INTERVAL * UNKNOWN_BURST {
            return Early::TooSoon;
        }
        self.unknown_full_at = full_at;
        Early::Ask
    }

    pub(super) fn fetched(&mut self, keys: K, now: Duration) {
        self.keys = Some((Arc::new(keys), now));
        self.failures = 0;
        self.due = now + REFRESH;
    }

    pub(super) fn failed(&mut self, cause: String, now: Duration) {
        self.due = now + RETRY.saturating_mul(1 << self.failures.min(10)).min(REFRESH);
        self.failures = self.failures.saturating_add(1);
        self.cause = cause;
    }

    /// The keys, if they may still be trusted.
    pub(super) fn keys(&self, now: Duration) -> Result<Arc<K>, String> {
        match &self.keys {
            Some((keys, at)) if now.saturating_sub(*at) <= TRUSTED => Ok(keys.clone()),
            Some((_, at)) => Err(format!(
                "they were last had {} hours ago, which is too long: {}",
                now.saturating_sub(*at).as_secs() / 3600,
                self.cause
            )),
            None => Err(self.cause.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn keys_outlive_their_issuer_for_a_while() {
        let mut cache = KeyCache::new(SECOND);
        assert_eq!(cache.due(), SECOND, "at once");
        cache.failed("no route".into(), SECOND);
        assert_eq!(cache.keys(SECOND).unwrap_err(), "no route");
        cache.fetched("keys", HOUR);
        assert_eq!(cache.due(), HOUR + REFRESH);
        cache.failed("no route".into(), HOUR + REFRESH);
        assert_eq!(*cache.keys(HOUR + TRUSTED).unwrap(), "keys");
        let late = cache.keys(HOUR + TRUSTED + SECOND).unwrap_err();
        assert!(late.contains("12 hours") && late.contains("no route"), "{late}");
        cache.fetched("new", HOUR * 20);
        assert_eq!(*cache.keys(HOUR * 21).unwrap(), "new");
    }

    #[test]
    fn failures_are_tried_again_more_and_more_slowly() {
        let mut cache = KeyCache::<()>::new(SECOND);
        let mut waits = Vec::new();
        for _ in 0..12 {
            let now = cache.due();
            cache.failed("x".into(), now);
            waits.push((cache.due() - now).as_secs());
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600, 600, 600]);
    }

    proptest! {
        /// However many tokens name keys that are not known, the issuer is asked at a bounded rate.
        #[test]
        fn unknown_keys_ask_at_a_bounded_rate(steps in prop::collection::vec(0u64..20_000, 1..300)) {
            let mut cache = KeyCache::<()>::new(Duration::ZERO);
            let mut now = Duration::ZERO;
            let mut asked = 0;
            for millis in steps {
                now += Duration::from_millis(millis);
                asked += u128::from(cache.unknown_key(now) == Early::Ask);
            }
            prop_assert!(asked >= 1);
            prop_assert!(asked <= u128::from(UNKNOWN_BURST) + now.as_millis() / UNKNOWN_INTERVAL.as_millis());
        }
    }
}
