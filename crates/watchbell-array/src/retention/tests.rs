use std::collections::BTreeSet;

use super::{DAY_SECONDS, Kept, Retention, kept};
use crate::digest::Digest;

/// Snapshots at these hours since Monday, 1970-01-05, newest first.
fn chain(hours: &[i64]) -> Vec<Kept> {
    let of = |hour: &i64| Kept {
        digest: Digest::of(&hour.to_le_bytes()),
        created_at: 4 * DAY_SECONDS + hour * 3600,
    };
    hours.iter().map(of).collect()
}

#[test]
fn the_newest_of_each_period_are_kept() {
    let hours = [24 * 15 + 2, 24 * 15 + 1, 24 * 8 + 5, 24 * 8 + 1, 24 * 7, 24 * 6 + 23, 24 * 2, 3, 2];
    let cases: [(_, &[i64]); 6] = [
        ((0, 0, 0), &[24 * 15 + 2]),
        ((2, 0, 0), &[24 * 15 + 2, 24 * 15 + 1]),
        ((1, 3, 0), &[24 * 15 + 2, 24 * 8 + 5, 24 * 7]),
        ((1, 0, 3), &[24 * 15 + 2, 24 * 8 + 5, 24 * 6 + 23]),
        ((1, 2, 9), &[24 * 15 + 2, 24 * 8 + 5, 24 * 6 + 23]),
        ((99, 0, 0), &hours),
    ];
    for ((last, daily, weekly), expected) in cases {
        let expected: BTreeSet<Digest> = chain(expected).into_iter().map(|kept| kept.digest).collect();
        assert_eq!(
            kept(&chain(&hours), &Retention { last, daily, weekly }),
            expected,
            "{last} {daily} {weekly}"
        );
    }
}
