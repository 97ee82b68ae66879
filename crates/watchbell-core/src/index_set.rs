//! A set of completion indexes as sorted, disjoint ranges; Kubernetes' compact text `1,3-5,7` (KEP-2214).
//!
//! ```text
//!   {0,1,2,3, 7, 9,10}  ──▶  ranges {0→3, 7→7, 9→10}  ──▶  "0-3,7,9,10"
//! ```
//!
//! An array of 100,000 finishes nearly in order, so its set is a handful of ranges. Copies share their structure.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[cfg(test)]
mod tests;

/// A set of `u32`. Cost of every operation follows the number of ranges, never the number of members.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct IndexSet {
    /// First member of a range to its last. Ranges neither overlap nor touch.
    ranges: imbl::OrdMap<u32, u32>,
    len: u64,
}

/// A text that is no list of indexes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIndexSetError {
    #[error("{part:?} is neither an index nor a range first-last")]
    NotARange { part: String },
    #[error("range {first}-{last} ends before it begins")]
    Backwards { first: u32, last: u32 },
    #[error("{part:?} does not come after the range before it; write indexes in increasing order, each once")]
    OutOfOrder { part: String },
    #[error("index {index} is not below {limit}, the number of completions")]
    BeyondLimit { index: u32, limit: u32 },
}

impl IndexSet {
    pub fn new() -> IndexSet {
        IndexSet::default()
    }

    /// How many members there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The ranges, both ends included, in increasing order.
    pub fn ranges(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.ranges.iter().map(|(&first, &last)| (first, last))
    }

    pub fn contains(&self, index: u32) -> bool {
        self.range_of(index).is_some()
    }

    /// The range that holds `index`.
    fn range_of(&self, index: u32) -> Option<(u32, u32)> {
        let (&first, &last) = self.ranges.get_prev(&index)?;
        (last >= index).then_some((first, last))
    }

    /// Adds `index`; false when it was there.
    pub fn insert(&mut self, index: u32) -> bool {
        if self.contains(index) {
            return false;
        }
        let before = index.checked_sub(1).and_then(|left| self.range_of(left));
        let after = index.checked_add(1).and_then(|right| self.ranges.get(&right).copied());
        let first = before.map_or(index, |(first, _)| first);
        if after.is_some() {
            self.ranges.remove(&(index + 1));
        }
        self.ranges.insert(first, after.unwrap_or(index));
        self.len += 1;
        true
    }

    /// Takes `index` out; false when it was not there.
    pub fn remove(&mut self, index: u32) -> bool {
        let Some((first, last)) = self.range_of(index) else { return false };
        self.ranges.remove(&first);
        if first < index {
            self.ranges.insert(first, index - 1);
        }
        if index < last {
            self.ranges.insert(index + 1, last);
        }
        self.len -= 1;
        true
    }

    /// Takes out every member that is not below `limit`.
    pub fn truncate(&mut self, limit: u32) {
        while let Some(&(first, last)) = self.ranges.get_max() {
            if last < limit {
                break;
            }
            self.ranges.remove(&first);
            if first < limit {
                self.ranges.insert(first, limit - 1);
                self.len -= u64::from(last - limit) + 1;
                break;
            }
            self.len -= u64::from(last - first) + 1;
        }
    }

    /// The least number not in the set that is at least `from`. `None`: every number from there on is in it.
    pub fn first_missing(&self, from: u32) -> Option<u32> {
        match self.range_of(from) {
            None => Some(from),
            Some((_, last)) => last.checked_add(1),
        }
    }

    /// The numbers below `limit` that are not in the set.
    pub fn complement(&self, limit: u32) -> IndexSet {
        let mut missing = IndexSet::new();
        // The first number that is not settled yet; one more than a `u32` holds once the last is.
        let mut next = 0u64;
        for (first, last) in self.ranges() {
            if first >= limit {
                break;
            }
            if next < u64::from(first) {
                missing.push_range(next as u32, first - 1);
            }
            next = u64::from(last) + 1;
        }
        if next < u64::from(limit) {
            missing.push_range(next as u32, limit - 1);
        }
        missing
    }

    /// How many members both sets have. Costs the ranges of both.
    pub fn intersection_len(&self, other: &IndexSet) -> u64 {
        let mut shared = 0;
        self.each_shared(other, |first, last| shared += u64::from(last - first) + 1);
        shared
    }

    /// What both sets have. Costs the ranges of both.
    pub fn intersection(&self, other: &IndexSet) -> IndexSet {
        let mut both = IndexSet::new();
        self.each_shared(other, |first, last| {
            both.ranges.insert(first, last);
            both.len += u64::from(last - first) + 1;
        });
        both
    }

    fn each_shared(&self, other: &IndexSet, mut visit: impl FnMut(u32, u32)) {
        let (mut left, mut right) = (self.ranges().peekable(), other.ranges().peekable());
        while let (Some(&(a_first, a_last)), Some(&(b_first, b_last))) = (left.peek(), right.peek()) {
            let (first, last) = (a_first.max(b_first), a_last.min(b_last));
            if first <= last {
                visit(first, last);
            }
            if a_last <= b_last {
                left.next();
            } else {
                right.next();
            }
        }
    }

    /// Reads Kubernetes' text. Members must be in increasing order and below `limit`; the empty text is the empty set.
    pub fn parse(text: &str, limit: u32) -> Result<IndexSet, ParseIndexSetError> {
        let mut set = IndexSet::new();
        if text.is_empty() {
            return Ok(set);
        }
        let mut end: Option<u32> = None;
        for part in text.split(',') {
            let (first, last) = parse_range(part)?;
            if end.is_some_and(|end| first <= end) {
                return Err(ParseIndexSetError::OutOfOrder { part: part.to_owned() });
            }
            if last >= limit {
                return Err(ParseIndexSetError::BeyondLimit { index: last, limit });
            }
            set.push_range(first, last);
            end = Some(last);
        }
        Ok(set)
    }

    /// Adds a range that begins after the last member.
    fn push_range(&mut self, first: u32, last: u32) {
        let start = match self.ranges.get_max() {
            Some(&(start, end)) if end.checked_add(1) == Some(first) => start,
            _ => first,
        };
        self.ranges.insert(start, last);
        self.len += u64::from(last - first) + 1;
    }
}

fn parse_range(part: &str) -> Result<(u32, u32), ParseIndexSetError> {
    // `u32::from_str` alone would take a plus sign.
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten()
    };
    let range = match part.split_once('-') {
        None => number(part).map(|index| (index, index)),
        Some((first, last)) => number(first).zip(number(last)),
    };
    let (first, last) = range.ok_or_else(|| ParseIndexSetError::NotARange { part: part.to_owned() })?;
    if last < first {
        return Err(ParseIndexSetError::Backwards { first, last });
    }
    Ok((first, last))
}

impl FromIterator<u32> for IndexSet {
    fn from_iter<I: IntoIterator<Item = u32>>(indexes: I) -> IndexSet {
        let mut set = IndexSet::new();
        for index in indexes {
            set.insert(index);
        }
        set
    }
}

/// Two neighbours are written `3,4` and not `3-4`, as Kubernetes writes them.
impl fmt::Display for IndexSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.ranges().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match last - first {
                0 => write!(f, "{first}")?,
                1 => write!(f, "{first},{last}")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for IndexSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// In the journal: for each range the gap before it and its length less one, so that small numbers stay one byte.
impl Serialize for IndexSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut end = 0u64;
        serializer.collect_seq(self.ranges().map(|(first, last)| {
            let gap = u64::from(first) - end;
            end = u64::from(last) + 1;
            (gap as u32, last - first)
        }))
    }
}

impl<'de> Deserialize<'de> for IndexSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<IndexSet, D::Error> {
        let mut set = IndexSet::new();
        let mut end = 0u64;
        for (gap, length_less_one) in Vec::<(u32, u32)>::deserialize(deserializer)? {
            let first = end + u64::from(gap);
            let last = first + u64::from(length_less_one);
            let (Ok(first), Ok(last)) = (u32::try_from(first), u32::try_from(last)) else {
                return Err(serde::de::Error::custom("a range of indexes lies beyond 32 bits"));
            };
            set.push_range(first, last);
            end = u64::from(last) + 1;
        }
        Ok(set)
    }
}
