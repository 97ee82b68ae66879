//! When a file is full, what it is called then, and which of the old ones go.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// How an old file's name says when it was closed.
const STAMP: &str = "%Y%m%dT%H%M%SZ";

/// How large, how many, how old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A file is not made longer than this, but for one line that is longer by itself.
    pub bytes: u64,
    /// Files that are kept beside the one that is written.
    pub count: usize,
    /// A file that was begun so long ago is closed with its next line.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: 100 << 20, count: 10, age: Duration::from_secs(24 * 3600) }
    }
}

/// Whether to go on in the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    GoOn,
    Rotate,
}

impl Limits {
    /// Before `more` bytes are written to a file of `length` bytes that was begun `age` ago. An empty file is never rotated.
    pub fn due(&self, length: u64, age: Duration, more: u64) -> Due {
        if length > 0 && (length.saturating_add(more) > self.bytes || age >= self.age) {
            Due::Rotate
        } else {
            Due::GoOn
        }
    }

    /// Of the old files' names, those to remove: the oldest ones beyond the count.
    pub fn surplus(&self, mut names: Vec<String>) -> Vec<String> {
        names.sort();
        names.truncate(names.len().saturating_sub(self.count));
        names
    }
}

/// `audit.ndjson` is called `audit-20261126T065155Z-00000000000000001234.ndjson` once it is full: the names sort by age, end
/// alike, and never come again. `last` is the index of the last entry in it.
///
/// `newest` is the greatest name of an old file. A clock that went back, or an index after a restore, makes no name below it: the
/// file that was just closed would be taken for the oldest.
pub fn rotated_name(name: &str, now: Timestamp, last: u64, newest: Option<&str>) -> String {
    let (stem, ending) = parts(name);
    let named = |at: Timestamp| format!("{stem}-{}-{last:020}{ending}", at.strftime(STAMP));
    let by_clock = named(now);
    match newest.filter(|newest| by_clock.as_str() <= *newest).and_then(|newest| stamp_of(name, newest)) {
        Some(stamp) => named(stamp.saturating_add(SignedDuration::from_secs(1)).unwrap_or(stamp)),
        None => by_clock,
    }
}

/// Whether `candidate` is an old file of `name`.
pub fn is_rotated(name: &str, candidate: &str) -> bool {
    stamp_of(name, candidate).is_some()
}

/// The time in an old file's name.
fn stamp_of(name: &str, candidate: &str) -> Option<Timestamp> {
    let (stem, ending) = parts(name);
    let middle = candidate.strip_prefix(stem)?.strip_suffix(ending)?.strip_prefix('-')?;
    // 20261126T065155Z-00000000000000001234
    let has_form = middle.len() == 37
        && middle.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            16 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let stamp = middle.get(..16).filter(|_| has_form)?;
    TimeZone::UTC.to_timestamp(DateTime::strptime(STAMP, stamp).ok()?).ok()
}

fn parts(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        // A leading dot is no ending.
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_closed_when_it_is_full_or_old_and_never_when_it_is_empty() {
        let limits = Limits { bytes: 100, count: 2, age: Duration::from_secs(60) };
        let young = Duration::from_secs(1);
        assert_eq!(limits.due(90, young, 10), Due::GoOn);
        assert_eq!(limits.due(90, young, 11), Due::Rotate);
        assert_eq!(limits.due(0, young, 1000), Due::GoOn);
        assert_eq!(limits.due(1, Duration::from_secs(60), 1), Due::Rotate);
        assert_eq!(limits.due(0, Duration::from_secs(6000), 1), Due::GoOn);
        assert_eq!(limits.due(u64::MAX, young, u64::MAX), Due::Rotate);
    }

    #[test]
    fn names_sort_by_age_and_are_known_again() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for name in ["audit.ndjson", "audit", ".audit", "a.b.c"] {
            let first = rotated_name(name, at("2026-11-26T06:51:55Z"), 9, None);
            let second = rotated_name(name, at("2026-11-26T06:51:55Z"), 10, Some(&first));
            let third = rotated_name(name, at("2027-01-01T00:00:00Z"), 3, Some(&second));
            assert!(first < second && second < third, "{first} {second} {third}");
            for rotated in [&first, &second, &third] {
                assert!(is_rotated(name, rotated), "{rotated}");
                assert!(!is_rotated("other.ndjson", rotated));
            }
            assert!(!is_rotated(name, name));
        }
        assert_eq!(
            rotated_name("audit.ndjson", at("2026-11-26T06:51:55Z"), 1234, None),
            "audit-20261126T065155Z-00000000000000001234.ndjson"
        );
        for foreign in [
            "audit-old.ndjson",
            "audit-20261126T065155Z-1.ndjson",
            "audit-20261126x065155Z-00000000000000001234.ndjson",
            "audit-20261326T065155Z-00000000000000001234.ndjson",
        ] {
            assert!(!is_rotated("audit.ndjson", foreign), "{foreign}");
        }
    }

    #[test]
    fn names_rise_though_the_clock_goes_back_and_indexes_come_again() {
        let check = |now: &str, last: u64, expect: &str| {
            let newest = "audit-20270101T235959Z-00000000000000000500";
            let name = rotated_name("audit", now.parse().unwrap(), last, Some(newest));
            assert_eq!(name, expect);
            assert!(newest < name.as_str());
        };
        check("2027-01-02T00:00:00Z", 3, "audit-20270102T000000Z-00000000000000000003");
        check("2027-01-01T23:59:59Z", 501, "audit-20270101T235959Z-00000000000000000501");
        // After a restore in the same second.
        check("2027-01-01T23:59:59Z", 400, "audit-20270102T000000Z-00000000000000000400");
        check("2027-01-01T23:59:59Z", 500, "audit-20270102T000000Z-00000000000000000500");
        check("2026-01-01T00:00:00Z", 9, "audit-20270102T000000Z-00000000000000000009");
    }

    #[test]
    fn the_oldest_go() {
        let limits = Limits { count: 2, ..Limits::default() };
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(limits.surplus(names(&["c", "a", "b"])), names(&["a"]));
        assert_eq!(limits.surplus(names(&["a", "b"])), names(&[]));
    }
}
