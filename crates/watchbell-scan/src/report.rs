//! The verdict on one image: everything that was found, what people said of it, and whether the gate holds.
//!
//! ```text
//!  Inventory · findings · secrets · configuration · minimality ─┐
//!  VEX documents · ignore files · options · now ────────────────┴─judge─▶ Report ─▶ table · JSON · SARIF · CycloneDX
//! ```
//!
//! [`judge()`] is pure: the same evidence at the same time gives the same report.

mod cyclonedx;
mod json;
mod judge;
mod sarif;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use watchbell_advisory::Source;
use watchbell_image::{Digest, ImageConfig};

use crate::Inventory;
use crate::configuration::ConfigurationFinding;
use crate::finding::{Answer, Finding, Questions, Severity, UNVERSIONED, Undetermined};
use crate::minimality::Minimality;
use crate::secret::{self, Certainty};
use crate::vex::{IgnoreFile, ImageIdentity, VexDocument, VexStatus};

pub use cyclonedx::cyclonedx;
pub use json::json;
pub use judge::judge;
pub use sarif::sarif;
pub use table::{Line, Tint, table};

/// What was looked at.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// As its user calls it.
    pub name: String,
    pub identity: ImageIdentity,
    /// Nothing for a directory or a document.
    pub config: Option<ImageConfig>,
    /// Of the layers as they are stored, bottom first.
    pub layers: Vec<Digest>,
}

/// What is known of vulnerabilities.
#[derive(Clone, Debug)]
pub enum Knowledge {
    /// There is no database, or it was not asked; why, in words. Nothing is said of findings then, also not that there are none.
    Unknown(String),
    Known {
        answer: Answer,
        questions: Questions,
        sources: Vec<Source>,
    },
}

/// Where a secret lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretPlace {
    File {
        path: String,
        /// From 0 at the bottom.
        layer: u32,
        /// A later layer hides the file: it is in the image all the same.
        is_hidden: bool,
    },
    /// A variable of the image's configuration.
    Variable(String),
    Label(String),
    /// A step of the image's history, from 0.
    History(usize),
}

/// A secret in an image. It does not hold the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFinding {
    pub rule: &'static secret::Rule,
    pub place: SecretPlace,
    pub line: u32,
    pub certainty: Certainty,
    /// What may be printed of it.
    pub shown: String,
}

impl SecretFinding {
    /// A key that needs a passphrase, and one that everybody has anyway, are no emergency.
    pub fn severity(&self) -> Severity {
        match self.certainty {
            Certainty::Plain => self.rule.severity,
            Certainty::Encrypted | Certainty::TestData => Severity::Low,
        }
    }
}

/// Everything that a verdict rests on.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub subject: Subject,
    pub inventory: Inventory,
    pub knowledge: Knowledge,
    pub secrets: Vec<SecretFinding>,
    /// Texts that were not looked through for secrets.
    pub unsearched: usize,
    pub configuration: Vec<ConfigurationFinding>,
    pub minimality: Option<Minimality>,
}

/// Whether what nobody has mended yet counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unfixed {
    #[default]
    Counts,
    Ignored,
}

/// What the caller decides.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The least severity that makes the gate fail; nothing: it never does.
    pub fail_on: Option<Severity>,
    /// What is listed; empty: all. The gate does not depend on it.
    pub listed: BTreeSet<Severity>,
    pub unfixed: Unfixed,
    /// Ecosystems without advisories that the gate lets pass, as [`Report::uncovered`] calls them; `*` is all.
    pub uncovered_allowed: BTreeSet<String>,
    pub gaps: Gaps,
}

/// Whether the gate lets an image pass of which something could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gaps {
    #[default]
    Count,
    Allowed,
}

/// What people said.
#[derive(Clone, Debug, Default)]
pub struct Statements {
    pub vex: Vec<VexDocument>,
    pub ignores: Vec<IgnoreFile>,
}

/// Why a finding is off the gate, or on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Counts,
    /// The distribution's kernel, of which a container has headers: its code does not run there.
    Kernel,
    /// No vulnerability, but worth knowing: a package without a maintainer.
    Notice,
    /// Nobody has mended it, and the caller asked to leave such ones out.
    Unfixed,
    /// A VEX statement says that the product is not affected, or mended.
    Cleared {
        document: String,
        status: &'static str,
        justification: Option<&'static str>,
        text: String,
    },
    /// An entry of an ignore file takes it upon itself.
    Accepted {
        file: String,
        line: u32,
        reason: String,
        expires: String,
    },
}

impl Standing {
    pub fn counts(&self) -> bool {
        match self {
            Standing::Counts => true,
            Standing::Kernel
            | Standing::Notice
            | Standing::Unfixed
            | Standing::Cleared { .. }
            | Standing::Accepted { .. } => false,
        }
    }
}

/// A package of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffectedPackage {
    /// Its place in the inventory.
    pub index: usize,
    pub purl: String,
    pub name: String,
    pub version: String,
    pub paths: Vec<String>,
    /// From 0 at the bottom; the layer that has its first path.
    pub layer: Option<u32>,
}

/// One vulnerability of one package, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedVulnerability {
    pub finding: Finding,
    pub packages: Vec<AffectedPackage>,
    pub standing: Standing,
    /// What a VEX document says that does not clear it: affected, or still looked into.
    pub remark: Option<Remark>,
}

/// A statement that does not clear a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    pub status: VexStatus,
    /// The document and its words.
    pub text: String,
}

impl JudgedVulnerability {
    pub fn severity(&self) -> Severity {
        self.finding.known.severity
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Judged<T> {
    pub what: T,
    pub standing: Standing,
}

/// An entry of an ignore file that no longer counts, or that nothing was found for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleEntry {
    pub file: String,
    pub line: u32,
    pub id: String,
    pub expires: String,
    /// It would have covered a finding, but its day is over.
    pub is_expired: bool,
}

/// The verdict.
#[derive(Clone, Debug)]
pub struct Report {
    pub subject: Subject,
    pub time: Timestamp,
    /// Why nothing is said of vulnerabilities; nothing when it is known.
    pub unknown: Option<String>,
    pub sources: Vec<Source>,
    pub inventory: Inventory,
    pub questions: Questions,
    /// Packages of ecosystems without advisories here: how many.
    pub uncovered: BTreeMap<String, usize>,
    /// Packages of another format than that of the distribution that the image says it is, as `deb in Wolfi`: how many.
    pub misfiled: BTreeMap<String, usize>,
    /// Packages that were not asked for, because there are more findings than are looked at.
    pub unasked: usize,
    /// What nobody found out yet, of this version.
    pub undetermined: Vec<Undetermined>,
    /// The worst first.
    pub vulnerabilities: Vec<JudgedVulnerability>,
    pub secrets: Vec<Judged<SecretFinding>>,
    /// Texts that were not looked through for secrets: told, and off the gate.
    pub unsearched: usize,
    pub configuration: Vec<Judged<ConfigurationFinding>>,
    pub minimality: Option<Minimality>,
    pub idle_entries: Vec<IdleEntry>,
    /// Findings that are not listed, by why: `kernel`, `unfixed`, `severity` and so on.
    pub unlisted: BTreeMap<&'static str, usize>,
    pub gate: Gate,
}

/// Whether the gate holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    pub fail_on: Option<Severity>,
    /// Findings at or above it that count.
    pub failures: usize,
    /// What was not looked at, so that no finding says nothing; empty where nobody asked for a gate.
    pub unseen: Vec<Unseen>,
}

impl Gate {
    pub fn holds(&self) -> bool {
        self.failures == 0 && self.unseen.is_empty()
    }
}

/// What a gate cannot see past. An image policy refuses the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// There are no advisories at all.
    Advisories,
    /// Packages that no advisories speak of.
    Uncovered { ecosystem: String, packages: usize },
    /// Packages that cannot be of the distribution that the image says it is. No option lets them pass.
    Misfiled { what: String, packages: usize },
    /// Packages behind what is looked at for one image.
    Unasked(usize),
    /// Places that could not be read.
    Gaps(usize),
}

impl Unseen {
    /// One word, for documents.
    pub fn as_str(&self) -> &'static str {
        match self {
            Unseen::Advisories => "advisories",
            Unseen::Uncovered { .. } => "uncovered",
            Unseen::Misfiled { .. } => "misfiled",
            Unseen::Unasked(_) => "unasked",
            Unseen::Gaps(_) => "gaps",
        }
    }

    /// How many packages or places; nothing where there is no number.
    pub fn count(&self) -> Option<usize> {
        match self {
            Unseen::Advisories => None,
            Unseen::Uncovered { packages: count, .. }
            | Unseen::Misfiled { packages: count, .. }
            | Unseen::Unasked(count)
            | Unseen::Gaps(count) => Some(*count),
        }
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unseen::Advisories => f.write_str("there are no advisories"),
            Unseen::Uncovered { ecosystem, packages } if ecosystem.starts_with(UNVERSIONED) => {
                write!(
                    f,
                    "packages have no version that advisories can be compared with ({packages} of {ecosystem})"
                )
            }
            Unseen::Uncovered { ecosystem, packages } => {
                write!(f, "there are no advisories of {ecosystem} ({packages} of its packages are here)")
            }
            Unseen::Misfiled { what, packages } => {
                write!(
                    f,
                    "what it says of its distribution is not so: it has {packages} packages of the kind {what}"
                )
            }
            Unseen::Unasked(packages) => {
                write!(f, "there are more findings than are looked at ({packages} packages are behind them)")
            }
            Unseen::Gaps(places) => write!(f, "not all could be read (gaps: {places})"),
        }
    }
}

impl Report {
    /// Vulnerabilities that count, by severity.
    pub fn counts(&self) -> BTreeMap<Severity, usize> {
        let mut counts = BTreeMap::new();
        for vulnerability in self.vulnerabilities.iter().filter(|one| one.standing.counts()) {
            *counts.entry(vulnerability.severity()).or_default() += 1;
        }
        counts
    }

    /// The step of the history that made a layer.
    pub(crate) fn history(&self, layer: u32) -> Option<String> {
        crate::configuration::history_of(self.subject.config.as_ref()?, layer)
    }

    pub(crate) fn layer_digest(&self, layer: u32) -> Option<&Digest> {
        self.subject.layers.get(layer as usize)
    }
}

#[cfg(test)]
mod tests;
