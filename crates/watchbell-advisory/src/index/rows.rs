//! What the blocks hold.

use serde::{Deserialize, Serialize};

use crate::Ecosystem;
use crate::range::{End, Interval};
use crate::record::{Exploited, Prediction, Standing};
use crate::severity::Severity;
use crate::version::Rules;

/// Everything said about one package.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PackageBlock<'a> {
    /// Again, because hashes may be equal.
    #[serde(borrow)]
    pub(crate) key: &'a str,
    pub(crate) entries: Vec<Entry<'a>>,
}

/// One statement about it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry<'a> {
    pub(crate) advisory: u32,
    pub(crate) source: u16,
    pub(crate) vulnerabilities: Vec<u32>,
    pub(crate) standing: Standing,
    pub(crate) severity: Severity,
    #[serde(borrow)]
    pub(crate) intervals: Vec<Span<'a>>,
    pub(crate) versions: Vec<&'a str>,
}

/// An [`Interval`] that lends from the block.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Span<'a> {
    pub(crate) introduced: &'a str,
    #[serde(borrow)]
    pub(crate) end: SpanEnd<'a>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum SpanEnd<'a> {
    Open,
    Fixed(&'a str),
    LastAffected(&'a str),
    Limit(&'a str),
}

impl<'a> From<&'a Interval> for Span<'a> {
    fn from(interval: &'a Interval) -> Span<'a> {
        let end = match &interval.end {
            End::Open => SpanEnd::Open,
            End::Fixed(version) => SpanEnd::Fixed(version),
            End::LastAffected(version) => SpanEnd::LastAffected(version),
            End::Limit(version) => SpanEnd::Limit(version),
        };
        Span { introduced: &interval.introduced, end }
    }
}

impl<'a> Span<'a> {
    pub(crate) fn contains(&self, rules: Rules, version: &str) -> bool {
        let is_behind_start = self.introduced == "0" || rules.compare(version, self.introduced).is_ge();
        is_behind_start
            && match self.end {
                SpanEnd::Open => true,
                SpanEnd::Fixed(end) | SpanEnd::Limit(end) => rules.compare(version, end).is_lt(),
                SpanEnd::LastAffected(last) => rules.compare_to_stated(version, last).is_le(),
            }
    }

    /// Whether it holds every version there is.
    pub(crate) fn is_everything(&self) -> bool {
        self.introduced == "0" && matches!(self.end, SpanEnd::Open)
    }

    pub(crate) fn fixed(&self) -> Option<&'a str> {
        match self.end {
            SpanEnd::Fixed(version) => Some(version),
            SpanEnd::Open | SpanEnd::LastAffected(_) | SpanEnd::Limit(_) => None,
        }
    }

    pub(crate) fn to_interval(self) -> Interval {
        let end = match self.end {
            SpanEnd::Open => End::Open,
            SpanEnd::Fixed(version) => End::Fixed(version.to_owned()),
            SpanEnd::LastAffected(version) => End::LastAffected(version.to_owned()),
            SpanEnd::Limit(version) => End::Limit(version.to_owned()),
        };
        Interval { introduced: self.introduced.to_owned(), end }
    }
}

/// A record without what it says about packages.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AdvisoryRow<'a> {
    pub(crate) source: u16,
    #[serde(borrow)]
    pub(crate) id: &'a str,
    pub(crate) aliases: Vec<&'a str>,
    pub(crate) upstream: Vec<&'a str>,
    pub(crate) summary: &'a str,
    pub(crate) url: Option<&'a str>,
    pub(crate) published: Option<i64>,
    pub(crate) modified: Option<i64>,
    /// Tenths and vector.
    pub(crate) scores: Vec<(u8, &'a str)>,
    pub(crate) severity: Severity,
    pub(crate) is_notice: bool,
}

/// A vulnerability; what it is, its records say.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VulnerabilityRow<'a> {
    #[serde(borrow)]
    pub(crate) id: &'a str,
    pub(crate) aliases: Vec<&'a str>,
    /// Those that speak of it alone, in the order of sources and ids.
    pub(crate) records: Vec<u32>,
    pub(crate) exploited: Option<Exploited>,
    pub(crate) prediction: Option<Prediction>,
}

/// One source's entries about vulnerabilities that no record of it describes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Marks {
    pub(crate) source: u16,
    pub(crate) exploited: Vec<(String, Exploited)>,
    pub(crate) predictions: Vec<(String, Prediction)>,
}

/// Under which a package is kept. The name is normalised.
pub(crate) fn package_key(ecosystem: &Ecosystem, name: &str) -> String {
    format!("{ecosystem}\n{name}")
}
