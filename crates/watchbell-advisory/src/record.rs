//! What a publisher says, in one form whatever file it came from.

use serde::{Deserialize, Serialize};

use crate::Ecosystem;
use crate::range::Interval;
use crate::severity::{Score, Severity};

/// One record of one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advisory {
    pub id: String,
    /// The same vulnerability under other names.
    pub aliases: Vec<String>,
    /// What this record passes on: of a distribution the vulnerabilities that it mends.
    pub upstream: Vec<String>,
    /// In one line, cut to [`SUMMARY_BYTES_MAX`].
    pub summary: String,
    /// Where to read on.
    pub url: Option<String>,
    /// Seconds since 1970; `None`: not said.
    pub published: Option<i64>,
    pub modified: Option<i64>,
    pub scores: Vec<Score>,
    /// In the publisher's own word.
    pub severity: Severity,
    /// It says something else than that there is a vulnerability: the package has no maintainer any longer.
    pub is_notice: bool,
    pub affected: Vec<Affected>,
}

/// Longer summaries are cut at a character.
pub const SUMMARY_BYTES_MAX: usize = 300;

/// What a record says about one package.
#[derive(Clone, Debug, PartialEq)]
pub struct Affected {
    pub ecosystem: Ecosystem,
    /// Normalised.
    pub name: String,
    pub intervals: Vec<Interval>,
    /// Affected ones that lie in no interval, sorted.
    pub versions: Vec<String>,
    pub standing: Standing,
    /// The publisher's word on this package where it has one: Debian's urgency.
    pub severity: Severity,
}

/// What a distribution decided about a package in a release, beyond the versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Standing {
    /// The versions say all.
    #[default]
    Versions,
    /// The package of this release never had the vulnerability.
    NotAffected,
    /// Known, and no fix yet.
    Open,
    /// No security advisory will be made: it comes with a point release, or never.
    NoAdvisory,
    /// It will not be mended.
    Ignored,
    /// It waits for the next update.
    Postponed,
    /// The package is not supported any longer.
    EndOfLife,
    /// Whether it is affected is not known.
    Undetermined,
}

/// In the catalogue of vulnerabilities that are known to be exploited.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Exploited {
    /// `2025-08-25`
    pub added: String,
    /// By when agencies of the United States must have acted.
    pub due: Option<String>,
    pub in_ransomware: bool,
}

/// The Exploit Prediction Scoring System's estimate for the next 30 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Prediction {
    /// Of exploitation, in 100,000ths.
    pub probability: u32,
    /// The share of vulnerabilities that are scored the same or lower, in 100,000ths.
    pub percentile: u32,
}
