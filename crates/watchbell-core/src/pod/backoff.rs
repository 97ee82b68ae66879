//! How long to wait before a thing that failed is tried again.

use std::time::Duration;

/// A wait that doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    pub first: Duration,
    pub most: Duration,
}

/// Crashes and image pulls, as kubelet has it.
pub const CRASH: Growth = Growth { first: Duration::from_secs(10), most: Duration::from_secs(300) };
/// A missing ConfigMap or Secret: somebody is likely to be making it.
pub const BLOCKED: Growth = Growth { first: Duration::from_secs(1), most: Duration::from_secs(30) };

/// A run that lasted this long since the last restart starts the count anew.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

impl Growth {
    /// The wait after the `n`th failure in a row, from 0.
    pub fn wait(self, n: u32) -> Duration {
        self.first.saturating_mul(1u32.checked_shl(n).unwrap_or(u32::MAX)).min(self.most)
    }
}

/// The crash back-off of one container. The first restart comes at once, the next after 10 s, 20 s … 300 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct CrashBackoff {
    /// Restarts in a row, and when the last one was.
    restarts: u32,
    restarted_at: Duration,
}

impl CrashBackoff {
    /// What is known after the node itself was restarted: only how often.
    pub(super) fn resumed(restarts: u32, now: Duration) -> CrashBackoff {
        CrashBackoff { restarts, restarted_at: now }
    }

    /// How long after its end at `ended_at` the container rests.
    pub(super) fn rest(&self, ended_at: Duration) -> Duration {
        match self.restarts.checked_sub(1) {
            None => Duration::ZERO,
            Some(_) if self.is_forgiven(ended_at) => Duration::ZERO,
            Some(n) => CRASH.wait(n),
        }
    }

    pub(super) fn restarted(&mut self, ended_at: Duration, now: Duration) {
        self.restarts = if self.is_forgiven(ended_at) { 1 } else { self.restarts.saturating_add(1) };
        self.restarted_at = now;
    }

    fn is_forgiven(&self, ended_at: Duration) -> bool {
        ended_at.saturating_sub(self.restarted_at) > FORGIVEN_AFTER
    }
}
