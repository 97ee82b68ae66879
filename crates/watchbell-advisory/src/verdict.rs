//! What is known of one package at one version.

use crate::range::Interval;
use crate::record::{Advisory, Exploited, Prediction, Standing};
use crate::severity::{Score, Severity};

/// One vulnerability, and what it means for the package that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    pub vulnerability: Vulnerability,
    pub status: Status,
    pub class: Class,
    /// By the score where there is one, else in the words of those who speak here.
    pub severity: Severity,
    /// The runs of affected versions that hold this one. Empty when the version is listed by itself.
    pub affected: Vec<Interval>,
    /// Versions that mend it: first the one for this version's branch, then those of later branches.
    pub fixed: Vec<String>,
    /// Who says so, in the order of sources; at least one.
    pub statements: Vec<Statement>,
}

/// A vulnerability as all sources together describe it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vulnerability {
    /// A CVE where one is known.
    pub id: String,
    /// Sorted.
    pub aliases: Vec<String>,
    /// May be empty.
    pub summary: String,
    pub url: Option<String>,
    /// Seconds since 1970.
    pub published: Option<i64>,
    pub modified: Option<i64>,
    /// The latest version of CVSS first, in it the highest.
    pub scores: Vec<Score>,
    /// The worst of publishers' words; for when there is no score.
    pub word: Severity,
    pub exploited: Option<Exploited>,
    pub prediction: Option<Prediction>,
}

/// One record's part in a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The record's own id: `GHSA-…`, `ALSA-…`.
    pub advisory: String,
    pub source: String,
    pub status: Status,
    /// The publisher's word, on this package where it has one.
    pub severity: Severity,
    pub url: Option<String>,
}

/// What holds for the version that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Affected, and a version that mends it is known.
    Fixable,
    /// Affected, and none is known.
    Open,
    /// Affected; the distribution makes no advisory for it.
    NoAdvisory,
    /// Affected; the distribution waits for a later update.
    Postponed,
    /// Affected; it will not be mended.
    Ignored,
    /// Affected; the package gets no updates any longer.
    EndOfLife,
    /// Nobody found out yet; or what was asked for is no version, and not all versions are affected.
    Undetermined,
    /// This version has the fix, a backported one too.
    Fixed,
    /// This version never had it.
    NotAffected,
}

impl Status {
    /// Whether the package is vulnerable as far as anybody knows. [`Status::Undetermined`] is no finding.
    pub fn is_affected(self) -> bool {
        match self {
            Status::Fixable
            | Status::Open
            | Status::NoAdvisory
            | Status::Postponed
            | Status::Ignored
            | Status::EndOfLife => true,
            Status::Undetermined | Status::Fixed | Status::NotAffected => false,
        }
    }

    /// One word with hyphens, for tables and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Fixable => "fixable",
            Status::Open => "open",
            Status::NoAdvisory => "no-advisory",
            Status::Postponed => "postponed",
            Status::Ignored => "ignored",
            Status::EndOfLife => "end-of-life",
            Status::Undetermined => "undetermined",
            Status::Fixed => "fixed",
            Status::NotAffected => "not-affected",
        }
    }

    pub(crate) fn of_standing(standing: Standing) -> Status {
        match standing {
            Standing::Versions | Standing::Open => Status::Open,
            Standing::NotAffected => Status::NotAffected,
            Standing::NoAdvisory => Status::NoAdvisory,
            Standing::Ignored => Status::Ignored,
            Standing::Postponed => Status::Postponed,
            Standing::EndOfLife => Status::EndOfLife,
            Standing::Undetermined => Status::Undetermined,
        }
    }
}

/// What kind of finding it is; a gate may judge each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Package,
    /// Of the distribution's kernel, of which a container has headers at most: its code does not run there.
    Kernel,
    /// No vulnerability: the package has no maintainer, or is unsound in a way that nobody reaches yet.
    Notice,
}

impl Vulnerability {
    /// Adds what one more record says.
    pub(crate) fn add(&mut self, record: &Advisory) {
        if self.summary.is_empty() {
            self.summary.clone_from(&record.summary);
        }
        self.url = self.url.take().or_else(|| record.url.clone());
        self.published = self.published.into_iter().chain(record.published).min();
        self.modified = self.modified.max(record.modified);
        self.scores.extend(record.scores.iter().cloned());
        self.word = self.word.max(record.severity);
    }

    /// The score that counts.
    pub fn score(&self) -> Option<&Score> {
        self.scores.first()
    }

    /// By the score, else by publishers' words.
    pub fn severity(&self) -> Severity {
        self.score().map_or(self.word, Score::severity)
    }
}
