//! What is known to be wrong with the packages of an inventory.
//!
//! ```text
//!  Inventory ──questions──▶ (ecosystem, name, version), each once ──Database──▶ Match ──▶ Finding
//! ```
//!
//! A distribution's package is asked for by its source, since that is what advisories speak of: one finding of OpenSSL, whatever
//! number of packages it was cut into. What the distribution owns is not asked for a second time as an application's package:
//! its maintainers patch without changing upstream's version, so their word counts alone.

use std::collections::BTreeMap;

pub use watchbell_advisory::{Class, Severity, Status};
use watchbell_advisory::{Database, Ecosystem, Error, Match, Query};

use crate::{Inventory, Package, PackageKind};

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
    pub question: Question,
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
    /// Packages whose ecosystem no advisories are read of: by kind, how many. Nothing is known of them, which is not the same
    /// as nothing being wrong.
    pub unknown: BTreeMap<PackageKind, usize>,
    /// Packages that the distribution speaks for.
    pub owned: usize,
}

/// What to ask for an inventory: each question once, in one order.
pub fn questions(inventory: &Inventory) -> Questions {
    let distribution = inventory.distribution.as_ref().and_then(|distribution| {
        let known = Ecosystem::from_distribution(&distribution.id, distribution.version_id.as_deref());
        known.or_else(|| {
            // Derivatives that say whose packages they have: Debian's derivatives name its release by codename.
            let is_debian = distribution.id_like.iter().any(|like| like == "debian");
            distribution.codename.as_deref().filter(|_| is_debian).and_then(Ecosystem::debian)
        })
    });
    let mut found = Questions::default();
    let mut by_key: BTreeMap<(Ecosystem, String, String), Vec<usize>> = BTreeMap::new();
    for (at, package) in inventory.packages.iter().enumerate() {
        if package.owned_by.is_some() {
            found.owned += 1;
            continue;
        }
        match ecosystem(package, distribution.as_ref()) {
            Some(ecosystem) => {
                let (name, version) = asked_for(package, &ecosystem);
                let name = ecosystem.normalize(name).into_owned();
                by_key.entry((ecosystem, name, version.to_owned())).or_default().push(at);
            }
            None => *found.unknown.entry(package.kind).or_default() += 1,
        }
    }
    found.questions = by_key
        .into_iter()
        .map(|((ecosystem, name, version), packages)| Question { ecosystem, name, version, packages })
        .collect();
    found
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

/// By which name and version its advisories speak of a package.
fn asked_for<'a>(package: &'a Package, ecosystem: &Ecosystem) -> (&'a str, &'a str) {
    // Advisories of the Red Hat family list what was built.
    let is_by_source =
        matches!(ecosystem, Ecosystem::Debian { .. } | Ecosystem::Ubuntu { .. } | Ecosystem::Alpine { .. });
    match &package.source {
        Some(source) if is_by_source => (&source.name, &source.version),
        _ => (&package.name, &package.version),
    }
}

/// Asks the database. The order is that of the questions, and in each that of the database.
pub fn find(questions: &Questions, database: &Database) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for question in &questions.questions {
        let Question { ecosystem, name, version, .. } = question;
        let matches = database.find(&Query { ecosystem, name, version })?;
        findings.extend(matches.into_iter().map(|known| Finding { question: question.clone(), known }));
    }
    Ok(findings)
}

#[cfg(test)]
pub(crate) mod tests;
