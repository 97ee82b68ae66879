//! What the node finds out of an image, and what policies are decided by.
//!
//! What is not known is [`Unknown`], with the reason: a policy that needs it refuses, and says why.

use std::sync::Arc;

use crate::Resource;

/// Why something of an image is not known, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// Nobody has looked.
    NotYet,
    /// Somebody has, and could not find out.
    Because(Box<str>),
}

/// All that is known of one image under one of its names.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFacts {
    /// Of the manifest: `sha256:…`.
    pub digest: Arc<str>,
    /// Normalised, with the registry: `docker.io/library/busybox`.
    pub repository: Arc<str>,
    pub tag: Option<Arc<str>>,
    /// Whether the pod names the image by its digest.
    pub naming: Naming,
    /// When the image says it was made; Unix seconds.
    pub created_at: Option<i64>,
    /// Bottom first, as they are received; and the same uncompressed.
    pub layers: Arc<[Arc<str>]>,
    pub diff_ids: Arc<[Arc<str>]>,
    /// Of the layers together, as they are received; bytes.
    pub size: u64,
    pub contents: Result<Arc<Contents>, Unknown>,
    pub findings: Result<Arc<Findings>, Unknown>,
    /// What each signer that was asked for has said of the image.
    pub signers: Vec<Signed>,
}

/// How a pod names an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    Digest,
    Tag,
}

/// What is in an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    pub packages: u32,
    /// Paths of shells, and of programs with a setuid or setgid bit or with capabilities; some, if there are very many.
    pub shells: Vec<Box<str>>,
    pub setuid: Vec<Box<str>>,
    /// How many there are besides.
    pub shells_more: u32,
    pub setuid_more: u32,
    /// `debian`, `12`.
    pub distribution: Option<(Box<str>, Box<str>)>,
    /// How many things could not be read or are not known, so that the packages may not be all; and some of them in words.
    pub gaps: u32,
    pub some_gaps: Vec<Box<str>>,
}

/// What one database of advisories has against an image.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Findings {
    /// Differs from one database to the next.
    pub generation: u64,
    /// When the data was as it is: of all sources that speak of packages of the image, the oldest; Unix seconds.
    pub database_at: i64,
    /// The same of the catalogue of exploited vulnerabilities. None: the database has none.
    pub exploited_at: Option<i64>,
    /// By advisory, then package; of very many the worst.
    pub list: Vec<Finding>,
    /// Findings that are not in the list, by what policies look at.
    pub left_out: Vec<LeftOut>,
    /// Packages of which the database has no advisories, by their ecosystem, with how many they are. That nothing is found in
    /// them says nothing.
    pub uncovered: Vec<(Box<str>, u32)>,
    /// Packages of another format than that of the distribution that the image says it is, as `deb in Wolfi`: nothing would be
    /// found of them, whatever the database has.
    pub misfiled: Vec<(Box<str>, u32)>,
    /// Packages that were not looked up, because there are more findings than are looked at.
    pub unasked: u32,
}

impl Findings {
    /// How many findings are not in the list.
    pub fn more(&self) -> u64 {
        self.left_out.iter().map(|sort| u64::from(sort.count)).sum()
    }
}

/// Findings of one sort that are counted alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// None where nobody scored them.
    pub severity: Option<Severity>,
    pub exploited: Exploited,
    /// Whether there is a version without them.
    pub is_fixed: bool,
    pub count: u32,
}

/// An advisory that holds for a package of an image.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Finding {
    /// The name that people know it by: a CVE number where there is one.
    pub id: Box<str>,
    pub aliases: Vec<Box<str>>,
    pub package: Box<str>,
    pub version: Box<str>,
    /// The first version without it.
    pub fixed: Option<Box<str>>,
    /// None where nobody scored it.
    pub severity: Option<Severity>,
    pub exploited: Exploited,
    /// The package as a package URL, and where in the image it is.
    pub purl: Box<str>,
    pub path: Box<str>,
    pub title: Box<str>,
    pub score: Option<f64>,
    /// Of CVSS.
    pub vector: Box<str>,
    pub link: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

/// Whether an advisory is in the catalogue of known exploited vulnerabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exploited {
    #[default]
    NotKnown,
    Known,
}

/// What was verified of one signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Of the signer as the policy describes it: who has the same key or identity is the same signer.
    pub signer: Arc<str>,
    /// Whether he signed the image, or why not.
    pub image: Result<(), Unknown>,
    /// What else he signed about it, of the types that were asked for.
    pub statements: Vec<Statement>,
    pub asked: Vec<Box<str>>,
    /// That more is attached to the image than could be looked at, so that what was not found may be there.
    pub gap: Option<Box<str>>,
}

/// An in-toto statement about the image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statement {
    pub predicate_type: Box<str>,
    /// Of a SLSA provenance.
    pub builder: Option<Box<str>>,
    pub sources: Vec<Box<str>>,
}

/// A container of an object that stays, and so the image it refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageUser {
    /// A CronJob, or a Job that is no CronJob's.
    pub resource: Resource,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub container: Box<str>,
}

/// What policies said of an image when a container was to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageJudged {
    pub container: Box<str>,
    /// As the pod names it, and the digest that this is here.
    pub image: Arc<str>,
    pub digest: Arc<str>,
    pub outcome: ImageOutcome,
    pub reasons: Vec<JudgedReason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageOutcome {
    Refused,
    /// It starts, and people are told.
    Warned,
    /// It starts, and the audit trail alone tells.
    Noted,
    /// No policy applies: it starts, and people are told what that leaves open.
    Unjudged,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedReason {
    /// `ImagePolicy team/strict`; empty where none applies.
    pub policy: Arc<str>,
    /// The field of the policy.
    pub rule: Box<str>,
    pub advisory: Option<Box<str>>,
    pub message: Box<str>,
}

impl Severity {
    pub const ALL: [Severity; 4] = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

    /// `Critical`
    pub fn name(self) -> &'static str {
        match self {
            Severity::Low => "Low",
            Severity::Medium => "Medium",
            Severity::High => "High",
            Severity::Critical => "Critical",
        }
    }

    pub fn parse(name: &str) -> Option<Severity> {
        Severity::ALL.into_iter().find(|severity| severity.name() == name)
    }
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unknown::NotYet => f.write_str("nobody has looked yet"),
            Unknown::Because(why) => f.write_str(why),
        }
    }
}
