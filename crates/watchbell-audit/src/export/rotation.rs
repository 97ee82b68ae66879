//! When a file is full, what it is called then, and which of the old ones go.

use std::time::Duration;

use jiff::Timestamp;

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
pub fn rotated_name(name: &str, now: Timestamp, last: u64) -> String {
    let (stem, ending) = parts(name);
    format!("{stem}-{}-{last:020}{ending}", now.strftime("%Y%m%dT%H%M%SZ"))
}

/// Whether `candidate` is an old file of `name`.
pub fn is_rotated(name: &str, candidate: &str) -> bool {
    let (stem, ending) = parts(name);
    let middle = candidate.strip_prefix(stem).and_then(|rest| rest.strip_suffix(ending));
    let Some(middle) = middle.and_then(|middle| middle.strip_prefix('-')).map(str::as_bytes) else {
        return false;
    };
    // 20261126T065155Z-00000000000000001234
    middle.len() == 37
        && middle.iter().enumerate().all(|(at, byte)| match at {
            8 => *byte == b'T',
            15 => *byte == b'Z',
            16 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
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
            let first = rotated_name(name, at("2026-11-26T06:51:55Z"), 9);
            let second = rotated_name(name, at("2026-11-26T06:51:55Z"), 10);
            let third = rotated_name(name, at("2027-01-01T00:00:00Z"), 3);
            assert!(first < second && second < third, "{first} {second} {third}");
            for rotated in [&first, &second, &third] {
                assert!(is_rotated(name, rotated), "{rotated}");
                assert!(!is_rotated("other.ndjson", rotated));
            }
            assert!(!is_rotated(name, name));
        }
        assert_eq!(
            rotated_name("audit.ndjson", at("2026-11-26T06:51:55Z"), 1234),
            "audit-20261126T065155Z-00000000000000001234.ndjson"
        );
        for foreign in [
            "audit-old.ndjson",
            "audit-20261126T065155Z-1.ndjson",
            "audit-20261126x065155Z-00000000000000001234.ndjson",
        ] {
            assert!(!is_rotated("audit.ndjson", foreign), "{foreign}");
        }
    }

    #[test]
    fn the_oldest_go() {
        let limits = Limits { count: 2, ..Limits::default() };
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(limits.surplus(names(&["c", "a", "b"])), names(&["a"]));
        assert_eq!(limits.surplus(names(&["a", "b"])), names(&[]));
    }
}
