//! How long to wait before the same is tried again.

use std::time::Duration;

/// Between the first failure and the next attempt, at most; doubled with each further one.
pub const FIRST: Duration = Duration::from_millis(500);
/// The longest wait that is our own choice.
pub const LONGEST: Duration = Duration::from_secs(60);
/// The longest wait that a server may ask for: beyond it, it is asked again anyway.
pub const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// A random number below one, brought by the caller: half of each wait is random, so that many senders that failed at the same
/// moment do not come back at the same moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter(f64);

impl Jitter {
    /// Of sixteen random bits.
    pub fn from_random(random: u16) -> Jitter {
        Jitter(f64::from(random) / 65536.0)
    }
}

/// The wait before attempt number `attempt` (the first repetition is 1). What the server asked for is waited in full, and a
/// random part of our own wait on top.
pub fn delay(attempt: u32, asked: Option<Duration>, jitter: Jitter) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let own = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let half = own / 2;
    match asked {
        Some(asked) => asked.min(LONGEST_ASKED) + half.mul_f64(jitter.0),
        None => half + half.mul_f64(jitter.0),
    }
}

/// The wait when nothing but a person can help: a wrong password, a wrong address.
pub fn hold(jitter: Jitter) -> Duration {
    LONGEST / 2 + (LONGEST / 2).mul_f64(jitter.0)
}

/// `Retry-After` in its form of seconds (RFC 9110, section 10.2.3). The form of a date is not what these servers send, and
/// would need clocks that agree.
pub fn retry_after(header: &str) -> Option<Duration> {
    let text = header.trim();
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| Duration::from_secs(text.parse().unwrap_or(u64::MAX)).min(LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_wait_grows_up_to_a_bound_and_is_never_nothing(attempt in 1u32.., random: u16) {
            let jitter = Jitter::from_random(random);
            let wait = delay(attempt, None, jitter);
            prop_assert!(wait >= FIRST / 2 && wait <= LONGEST);
            prop_assert!(delay(attempt.saturating_add(1), None, jitter) >= wait);
        }

        #[test]
        fn what_the_server_asks_for_is_waited_in_full(attempt in 1u32..40, seconds in 0u64..10_000, random: u16) {
            let asked = Duration::from_secs(seconds);
            let wait = delay(attempt, Some(asked), Jitter::from_random(random));
            prop_assert!(wait >= asked.min(LONGEST_ASKED) && wait <= asked + LONGEST);
        }
    }

    #[test]
    fn only_whole_seconds_are_read() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("0"), Some(Duration::ZERO));
        assert_eq!(retry_after("99999999999999999999999"), Some(LONGEST_ASKED));
        for text in ["", "-1", "1.5", "soon", "Fri, 31 Dec 1999 23:59:59 GMT", "+3"] {
            assert_eq!(retry_after(text), None, "{text}");
        }
    }
}
