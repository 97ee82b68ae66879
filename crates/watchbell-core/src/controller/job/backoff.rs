//! How long a failed pod's replacement waits: 10 s, doubled with each failure in a row, at most 10 minutes.

use serde::{Deserialize, Serialize};

const FIRST_SECONDS: i64 = 10;
pub(super) const LONGEST_SECONDS: i64 = 600;

/// Seconds from a failure to the next start, after this many failures in a row.
pub(super) fn delay_seconds(failures: u32) -> i64 {
    match failures {
        0 => 0,
        // 10·2⁶ is beyond the longest.
        n => (FIRST_SECONDS << (n - 1).min(6)).min(LONGEST_SECONDS),
    }
}

/// The back-off of a whole Job, where indexes have none of their own.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub(super) struct JobBackoff {
    /// Since the last success.
    failures: u32,
    last_failure: i64,
}

impl JobBackoff {
    /// Takes in the pods of one pass: when the last success among them was, and when each failure.
    pub(super) fn count(&mut self, last_success: Option<i64>, failures: &[i64]) {
        if last_success.is_some() {
            *self = JobBackoff::default();
        }
        for &at in failures {
            if last_success.is_none_or(|success| at > success) {
                self.failures += 1;
                self.last_failure = if self.failures == 1 { at } else { self.last_failure.max(at) };
            }
        }
    }

    /// When the next pod may start; `None`: now. A failure that lies in the future (the clock was set back) is taken to
    /// have just happened, so that no wait is longer than its delay.
    pub(super) fn wait_until(&mut self, now: i64) -> Option<i64> {
        if self.failures == 0 {
            return None;
        }
        self.last_failure = self.last_failure.min(now);
        Some(self.last_failure.saturating_add(delay_seconds(self.failures))).filter(|&at| at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::{JobBackoff, delay_seconds};

    #[test]
    fn doubles_up_to_ten_minutes() {
        let delays: Vec<i64> = (0..10).map(delay_seconds).collect();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
        assert_eq!(delay_seconds(u32::MAX), 600);
    }

    /// Cases of Kubernetes' `TestNewBackoffRecord`, in our words.
    #[test]
    fn a_success_forgets_the_failures_before_it() {
        let check = |before: (u32, i64), success: Option<i64>, failures: &[i64], expect: (u32, i64)| {
            let mut backoff = JobBackoff { failures: before.0, last_failure: before.1 };
            backoff.count(success, failures);
            assert_eq!((backoff.failures, backoff.last_failure), expect);
        };
        check((0, 0), None, &[], (0, 0));
        check((0, 0), None, &[100], (1, 100));
        check((2, 50), None, &[70, 60], (4, 70));
        check((2, 50), Some(60), &[], (0, 0));
        check((2, 50), Some(60), &[55, 60], (0, 0));
        check((2, 50), Some(60), &[70, 55, 65], (2, 70));
    }

    #[test]
    fn a_clock_set_back_does_not_lengthen_the_wait() {
        let mut backoff = JobBackoff { failures: 2, last_failure: 10_000 };
        assert_eq!(backoff.wait_until(10_005), Some(10_020));
        assert_eq!(backoff.wait_until(10_020), None);
        assert_eq!(backoff.wait_until(4_000), Some(4_020));
        assert_eq!(backoff.wait_until(4_020), None);
    }
}
