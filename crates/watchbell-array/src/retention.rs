use std::collections::BTreeSet;

use crate::digest::Digest;

/// Which snapshots are kept; the head and tagged ones always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The newest so many.
    pub last: u32,
    /// The newest of each of so many days (UTC) that have one.
    pub daily: u32,
    /// The newest of each of so many weeks (UTC, from Monday) that have one.
    pub weekly: u32,
}

/// One snapshot, as retention sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub digest: Digest,
    /// Seconds since 1970.
    pub created_at: i64,
}

const DAY_SECONDS: i64 = 86_400;
/// 1970-01-01 was a Thursday.
const MONDAY_DAYS: i64 = 3;

/// The snapshots to keep of `chain`, newest first. The clock plays no part: days without a snapshot do not count, so that a
/// machine that was off for a month keeps what it had.
pub fn kept(chain: &[Kept], retention: &Retention) -> BTreeSet<Digest> {
    let day = |at: i64| at.div_euclid(DAY_SECONDS);
    let week = |at: i64| (day(at) + MONDAY_DAYS).div_euclid(7);
    let mut kept: BTreeSet<Digest> =
        chain.iter().take(retention.last.max(1) as usize).map(|s| s.digest).collect();
    for (count, period) in [(retention.daily, &day as &dyn Fn(i64) -> i64), (retention.weekly, &week)] {
        let mut seen = BTreeSet::new();
        for snapshot in chain {
            let new = !seen.contains(&period(snapshot.created_at));
            if new && seen.len() < count as usize {
                seen.insert(period(snapshot.created_at));
                kept.insert(snapshot.digest);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests;
