//! From wall time to instants: the search through the stretches in which a zone's offset stays the same.
//!
//! ```text
//!   at ──────────── stretch, offset −5 h ───────────┤ stretch, offset −4 h ───────────┤ …
//!      wall = at + offset ──▶ next matching wall time ──▶ − offset = found
//!                              found lies inside the stretch: it is the slot; else go on behind it
//! ```
//!
//! Within a stretch wall time and instants run in step, so the civil calendar answers alone. A wall time in a gap is
//! found beyond the end of the stretch before it and too late for the one behind it: it has no slot. A repeated wall
//! time lies in two stretches: it has two.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::fields::Fields;

/// Two offsets of one zone never differ by more: jiff keeps each below 26 hours, east or west.
const OFFSETS_DIFFER_MAX: i64 = 2 * 26 * 3600;

/// How far a slot is looked for: 100 years.
const HORIZON: i64 = 100 * 366 * 86_400;

/// The second an instant lies in, also before 1970.
pub(super) fn floor_second(at: Timestamp) -> i64 {
    at.as_second() - i64::from(at.subsec_nanosecond() < 0)
}

/// The first slot at or after a second.
pub(super) fn next(fields: &Fields, tz: &TimeZone, from: i64) -> Option<Timestamp> {
    let limit = (from + HORIZON).min(Timestamp::MAX.as_second());
    let mut at = from;
    while at <= limit {
        let instant = Timestamp::from_second(at).ok()?;
        let offset = i64::from(tz.to_offset(instant).seconds());
        let found = fields.next_at_or_after(at + offset)? - offset;
        let end = tz.following(instant).next().map_or(i64::MAX, |change| change.timestamp().as_second());
        if found < end {
            return if found <= limit { Timestamp::from_second(found).ok() } else { None };
        }
        // Where no change is near, every wall time behind the stretch is later than the one at `at`, whatever the offset.
        // So nothing matches before `found`, give or take the difference of two offsets, and the changes up to there
        // need no look.
        at = if end - at >= OFFSETS_DIFFER_MAX { end.max(found - OFFSETS_DIFFER_MAX) } else { end };
    }
    None
}

/// The last slot at or before a second.
pub(super) fn prev(fields: &Fields, tz: &TimeZone, from: i64) -> Option<Timestamp> {
    let limit = (from - HORIZON).max(Timestamp::MIN.as_second());
    let mut at = from;
    while at >= limit {
        let instant = Timestamp::from_second(at).ok()?;
        let offset = i64::from(tz.to_offset(instant).seconds());
        let found = fields.prev_at_or_before(at + offset)? - offset;
        // The change at `at` itself begins the stretch, and `preceding` is strict.
        let behind = Timestamp::from_second(at + 1).unwrap_or(Timestamp::MAX);
        let start = tz.preceding(behind).next().map_or(i64::MIN, |change| change.timestamp().as_second());
        if found >= start {
            return if found >= limit { Timestamp::from_second(found).ok() } else { None };
        }
        at = if at - start >= OFFSETS_DIFFER_MAX {
            (start - 1).min(found + OFFSETS_DIFFER_MAX)
        } else {
            start - 1
        };
    }
    None
}
