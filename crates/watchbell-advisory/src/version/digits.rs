//! Numbers in versions have any length: dates with seconds, counts of commits.

use std::cmp::Ordering;

/// Compares two runs of digits as numbers; an empty run is 0.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Splits `text` behind its leading digits.
pub(super) fn split(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// A number of a version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number<'a>(pub(super) &'a str);

impl Number<'_> {
    pub(super) fn is_zero(self) -> bool {
        self.0.bytes().all(|b| b == b'0')
    }
}

impl Ord for Number<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.0, other.0)
    }
}

impl PartialOrd for Number<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number<'_> {}
