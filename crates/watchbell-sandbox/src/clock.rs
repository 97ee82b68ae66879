//! The two clocks. Only the processes of this crate read them, never what decides.

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::UnixNanos;

fn nanos(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

/// The wall clock.
pub(crate) fn now() -> UnixNanos {
    nanos(clock_gettime(ClockId::Realtime))
}

/// Nanoseconds since some point, never backwards.
pub(crate) fn monotonic() -> i64 {
    nanos(clock_gettime(ClockId::Monotonic))
}
