//! A token bucket: how much of what a container prints is taken, and when to look again. Time is an argument.

use crate::LogRate;

const SECOND: i128 = 1_000_000_000;

/// Bytes that may be taken. A turn takes what it found, so the level may fall below zero; then the container waits.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: LogRate,
    level: i64,
    /// When the level was right, in nanoseconds.
    at: i64,
}

impl Bucket {
    /// Full: what starts may say a lot.
    pub(super) fn new(rate: LogRate, now: i64) -> Self {
        let rate = LogRate { bytes_per_second: rate.bytes_per_second.max(1), ..rate };
        Self { level: i64::try_from(rate.burst_bytes).unwrap_or(i64::MAX), rate, at: now }
    }

    /// Whether more may be taken now.
    pub(super) fn has_some(&mut self, now: i64) -> bool {
        self.refill(now);
        self.level > 0
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.level = self.level.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// When there is something again.
    pub(super) fn some_at(&self) -> i64 {
        let lacks = (1 - i128::from(self.level)).max(0);
        let wait = (lacks * SECOND).div_euclid(i128::from(self.rate.bytes_per_second)) + 1;
        i64::try_from(i128::from(self.at) + wait).unwrap_or(i64::MAX)
    }

    fn refill(&mut self, now: i64) {
        let passed = i128::from(now) - i128::from(self.at);
        let added = passed * i128::from(self.rate.bytes_per_second) / SECOND;
        if added <= 0 {
            // The time counts once it is worth a byte.
            return;
        }
        let full = i128::from(self.rate.burst_bytes).min(i128::from(i64::MAX));
        let level = i128::from(self.level) + added;
        if level >= full {
            (self.level, self.at) = (full as i64, now);
            return;
        }
        self.level = level as i64;
        // What the division left over is not lost.
        let spent = added * SECOND / i128::from(self.rate.bytes_per_second);
        self.at = i64::try_from(i128::from(self.at) + spent).unwrap_or(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use proptest::{collection::vec, prop_assert};

    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn the_burst_first_then_the_rate() {
        let mut bucket = Bucket::new(LogRate { bytes_per_second: 1000, burst_bytes: 500 }, 7);
        assert!(bucket.has_some(7));
        bucket.take(300);
        assert!(bucket.has_some(7));
        // A turn takes all it found, and the debt is waited for.
        bucket.take(1200);
        assert!(!bucket.has_some(7) && !bucket.has_some(7 + 1000 * MS));
        let at = bucket.some_at();
        assert!((7 + 1001 * MS..7 + 1002 * MS).contains(&at), "{at}");
        assert!(!bucket.has_some(at - MS) && bucket.has_some(at));
        // However long nothing comes, no more than the burst is saved up.
        assert!(bucket.has_some(i64::MAX));
        bucket.take(500);
        assert!(!bucket.has_some(i64::MAX));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate_allow(
            bytes_per_second in 1u64..1_000_000_000, burst_bytes in 1u64..1_000_000_000,
            steps in vec((0i64..3_000_000_000, 1usize..70_000), 1..200), start in any::<i32>(),
        ) {
            let mut now = i64::from(start);
            let mut bucket = Bucket::new(LogRate { bytes_per_second, burst_bytes }, now);
            let (mut taken, begin, mut largest) = (0u128, now, 0);
            for (wait, bytes) in steps {
                now += wait;
                if bucket.has_some(now) {
                    bucket.take(bytes);
                    taken += bytes as u128;
                    largest = largest.max(bytes);
                    let passed = (now - begin) as u128;
                    let allowed = u128::from(burst_bytes) + passed * u128::from(bytes_per_second) / 1_000_000_000;
                    prop_assert!(taken <= allowed + largest as u128, "{taken} of {allowed}");
                } else {
                    let at = bucket.some_at();
                    prop_assert!(at > now, "{at} is not after {now}");
                    // Who looks then finds something.
                    prop_assert!(bucket.has_some(at));
                    now = at;
                }
            }
        }
    }
}
