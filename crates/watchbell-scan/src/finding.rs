//! What is known to be wrong with the packages of an inventory.
//!
//! ```text
//!  Inventory ──questions──▶ (ecosystem, name, version), each once ──Database──▶ Match ──▶ Finding
//! ```
//!
//! A distribution's package is asked for by its source, since that is what advisories speak of: one finding of OpenSSL, whatever
//! number of packages it was cut into. What the distribution owns is not asked for a second time as an application's package:
//! its maintainers patch without changing upstream's version, so their word counts alone. That holds for what the distribution
//! installed: the same version of upstream, from the layer that has the distribution's package. What another vendor made in the
//! distribution's format it knows nothing of: that is not asked for under its name, and owns nothing.
//!
//! An image is a stranger's, so asking is bounded: what was not asked for is counted.

mod owner;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use watchbell_advisory::{Class, Severity, Status};
use watchbell_advisory::{Database, Ecosystem, Error, Match, Query, is_version};

use crate::vendor::foreign;
use crate::{Distribution, Inventory, Package, PackageKind};

/// Findings of one image that are looked at; the worst images that are about have a few thousand.
pub const FINDINGS_MAX: usize = 20_000;
/// Statements of an index that are judged for one image: many times what the kernel, the browsers and all else together have.
pub const STATEMENTS_MAX: usize = 2_000_000;
/// What packages without a version are called behind which their ecosystem stands. It comes first, because an image chooses the
/// release of its distribution, and with it how the ecosystem's name ends.
pub const UNVERSIONED: &str = "unversioned:";
/// Vendors beside the distribution that are told by name.
const VENDORS_MAX: usize = 50;
/// Characters of a distribution's or a vendor's name that are told.
const NAME_MAX: usize = 100;

/// One thing to ask the database, and the packages that it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub ecosystem: Ecosystem,
    pub name: String,
    pub version: String,
    /// Their places in [`Inventory::packages`], sorted.
    pub packages: Vec<usize>,
}

/// One vulnerability of one package, or of the packages that were built from one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// All findings of one question share it: it names every package that was built from one source.
    pub question: Arc<Question>,
    pub known: Match,
}

impl Question {
    /// Two findings with one key are the same one, in whatever order images are read: `CVE-… Debian:12/openssl`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.ecosystem, self.name)
    }
}

/// What of an inventory the database is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    pub questions: Vec<Question>,
    /// Packages whose ecosystem no advisories are read of, by what it is called, and those of a distribution's format that
    /// somebody else made, as `deb of Docker`: how many. Nothing is known of them, which is
    /// not the same as nothing being wrong.
    pub unknown: BTreeMap<String, usize>,
    /// Packages of another format than the distribution's that the image says it is, as `deb in Wolfi`: how many. By that one's
    /// names and numbers nothing would be found of them.
    pub misfiled: BTreeMap<String, usize>,
    /// Packages that the distribution speaks for.
    pub owned: usize,
}

/// What the database answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// In the order of the questions, and in each that of the database.
    pub findings: Vec<Finding>,
    /// [`Questions::unknown`], the packages of ecosystems that no source of this database speaks of, and as `unversioned:Go` those
    /// whose version is none by their ecosystem's rules (built from a checkout, a branch), if what is said of the package depends
    /// on its version.
    pub uncovered: BTreeMap<String, usize>,
    /// [`Questions::misfiled`].
    pub misfiled: BTreeMap<String, usize>,
    /// Packages that were not asked for, or not to the end, because what is looked at for one image was spent.
    pub unasked: usize,
    /// Of which nobody found out yet whether the package has them, in the order of findings. They are no findings, and not nothing.
    pub undetermined: Vec<Undetermined>,
}

/// A vulnerability of which its publisher has not found out yet whether it holds for this version.
#[derive(Clone, Debug, PartialEq)]
pub struct Undetermined {
    pub question: Arc<Question>,
    pub id: String,
}

/// What to ask for an inventory: each question once, in one order.
pub fn questions(inventory: &Inventory) -> Questions {
    let distribution = inventory.distribution.as_ref().and_then(ecosystem_of);
    let mut found = Questions::default();
    let mut vendors: BTreeSet<String> = BTreeSet::new();
    let mut by_key: BTreeMap<(Ecosystem, String, String), Vec<usize>> = BTreeMap::new();
    for (at, package) in inventory.packages.iter().enumerate() {
        if owner::speaks_for(inventory, package, distribution.as_ref()) {
            found.owned += 1;
            continue;
        }
        match ecosystem(package, distribution.as_ref()) {
            Some(ecosystem) if !has_format(&ecosystem, package.kind) => {
                *found.misfiled.entry(format!("{} in {ecosystem}", word(package.kind))).or_default() += 1;
            }
            Some(ecosystem) => match foreign(package, &ecosystem) {
                Some(vendor) => {
                    let called = called_of(package.kind, vendor);
                    // An image may name as many vendors as it has packages.
                    let is_told = vendors.contains(&called) || vendors.len() < VENDORS_MAX;
                    let called = if is_told { called } else { called_of(package.kind, "others") };
                    vendors.insert(called.clone());
                    *found.unknown.entry(called).or_default() += 1;
                }
                None => {
                    let (name, version) = asked_for(package, &ecosystem);
                    let name = ecosystem.normalize(name).into_owned();
                    by_key.entry((ecosystem, name, version.to_owned())).or_default().push(at);
                }
            },
            None => {
                *found.unknown.entry(called(package.kind, inventory.distribution.as_ref())).or_default() += 1;
            }
        }
    }
    found.questions = by_key
        .into_iter()
        .map(|((ecosystem, name, version), packages)| Question { ecosystem, name, version, packages })
        .collect();
    found
}

/// Whose packages an image has that says it is this.
pub(crate) fn ecosystem_of(distribution: &Distribution) -> Option<Ecosystem> {
    let known = Ecosystem::from_distribution(&distribution.id, distribution.version_id.as_deref());
    known.or_else(|| {
        // Derivatives that say whose packages they have: Debian's derivatives name its release by codename.
        let is_debian = distribution.id_like.iter().any(|like| like == "debian");
        distribution.codename.as_deref().filter(|_| is_debian).and_then(Ecosystem::debian)
    })
}

fn ecosystem(package: &Package, distribution: Option<&Ecosystem>) -> Option<Ecosystem> {
    Some(match package.kind {
        PackageKind::Deb | PackageKind::Rpm | PackageKind::Apk => distribution?.clone(),
        // Conda's builds of Python packages keep their names; the others have no advisories of their own.
        PackageKind::Pypi => Ecosystem::PyPI,
        PackageKind::Npm => Ecosystem::Npm,
        PackageKind::Cargo => Ecosystem::CratesIo,
        PackageKind::Golang => Ecosystem::Go,
        PackageKind::Maven => Ecosystem::Maven,
        PackageKind::Gem => Ecosystem::RubyGems,
        PackageKind::Composer => Ecosystem::Packagist,
        PackageKind::Generic => Ecosystem::Upstream,
        PackageKind::Conda => return None,
    })
}

/// Whether packages of this kind can be the ecosystem's. Only images of strangers have others: an os-release that was replaced.
fn has_format(ecosystem: &Ecosystem, kind: PackageKind) -> bool {
    // The others are chosen by the kind.
    ecosystem.package_format().is_none_or(|format| format == word(kind))
}

/// By which name and version its advisories speak of a package.
fn asked_for<'a>(package: &'a Package, ecosystem: &Ecosystem) -> (&'a str, &'a str) {
    match &package.source {
        Some(source) if ecosystem.is_by_source() => (&source.name, &source.version),
        _ => (&package.name, &package.version),
    }
}

/// What packages without advisories are called: by kind, or by their distribution as the image names it. That may be anything, so
/// it is told apart from what no image can choose: `os:devuan 5`.
fn called(kind: PackageKind, distribution: Option<&Distribution>) -> String {
    match (kind, distribution) {
        (
            PackageKind::Deb | PackageKind::Rpm | PackageKind::Apk,
            Some(Distribution { id, version_id, .. }),
        ) => {
            let words = [Some(id), version_id.as_ref()].into_iter().flatten().map(String::as_str);
            format!("os:{}", shown(&words.collect::<Vec<_>>().join(" ")))
        }
        _ => word(kind),
    }
}

/// What packages are called that another vendor than the distribution made: `deb of Docker`.
fn called_of(kind: PackageKind, vendor: &str) -> String {
    format!("{} of {}", word(kind), shown(if vendor.is_empty() { "nobody" } else { vendor }))
}

/// A name of the image's choosing.
fn shown(name: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    name.chars().take(NAME_MAX).map(shown).collect()
}

fn word(kind: PackageKind) -> String {
    format!("{kind:?}").to_ascii_lowercase()
}

/// Asks the database.
pub fn find(questions: &Questions, database: &Database) -> Result<Answer, Error> {
    find_within(questions, database, FINDINGS_MAX, STATEMENTS_MAX)
}

fn find_within(
    questions: &Questions,
    database: &Database,
    findings_max: usize,
    mut statements_left: usize,
) -> Result<Answer, Error> {
    let mut answer = Answer {
        uncovered: questions.unknown.clone(),
        misfiled: questions.misfiled.clone(),
        ..Answer::default()
    };
    let mut covered: BTreeMap<&Ecosystem, bool> = BTreeMap::new();
    for question in &questions.questions {
        let Question { ecosystem, name, version, packages } = question;
        let is_covered =
            covered.entry(ecosystem).or_insert_with(|| database.sources_of(ecosystem).next().is_some());
        if !*is_covered {
            *answer.uncovered.entry(ecosystem.to_string()).or_default() += packages.len();
        }
        // What is said in passing of those that are not covered is true all the same.
        let left = findings_max.saturating_sub(answer.findings.len() + answer.undetermined.len());
        if statements_left == 0 || left == 0 {
            answer.unasked += packages.len();
            continue;
        }
        let query = Query { ecosystem, name, version };
        let matches = database.find_within(&query, &mut statements_left)?;
        if matches.as_ref().is_none_or(|matches| matches.len() > left) {
            answer.unasked += packages.len();
        }
        let mut matches = matches.unwrap_or_default();
        if !matches.is_empty() {
            let is_doubtful = |known: &Match| known.status == Status::Undetermined;
            if !is_version(ecosystem, version) && matches.iter().any(is_doubtful) {
                matches.retain(|known| !is_doubtful(known));
                if *is_covered {
                    *answer.uncovered.entry(format!("{UNVERSIONED}{ecosystem}")).or_default() +=
                        packages.len();
                }
            }
            let question = Arc::new(question.clone());
            for known in matches.into_iter().take(left) {
                let question = question.clone();
                if known.status == Status::Undetermined {
                    answer.undetermined.push(Undetermined { question, id: known.vulnerability.id });
                } else {
                    answer.findings.push(Finding { question, known });
                }
            }
        }
    }
    Ok(answer)
}

#[cfg(test)]
pub(crate) mod tests;
