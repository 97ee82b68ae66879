//! Alpine's secdb: for each package of a repository the versions that mended something.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ImportError, Importer, text};
use crate::range::Interval;
use crate::record::{Affected, Standing};
use crate::severity::Severity;
use crate::{Ecosystem, is_version};

#[derive(Deserialize)]
struct Document<'a> {
    distroversion: String,
    /// `main` or `community`.
    reponame: Option<String>,
    #[serde(borrow)]
    packages: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Entry {
    pkg: Package,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    /// By the version that mended; `0`: what never affected the package.
    secfixes: BTreeMap<String, Option<Vec<String>>>,
}

pub(super) fn read(importer: &mut Importer, file: &str, bytes: &[u8]) -> Result<(), ImportError> {
    let document: Document<'_> = match serde_json::from_slice(bytes) {
        Ok(document) => document,
        Err(e) => {
            importer.bad(file, "", e);
            return Ok(());
        }
    };
    let release = document.distroversion.strip_prefix('v').unwrap_or(&document.distroversion);
    let release = release.split_once("-").map_or(release, |(release, _)| release);
    if text::name(release).is_err() {
        importer.bad(file, "", format!("{:?} is no release of Alpine", document.distroversion));
        return Ok(());
    }
    let ecosystem = Ecosystem::Alpine { release: release.to_owned() };
    // One that does not say which part of the release it is speaks for none.
    let repository = document.reponame.as_deref().unwrap_or_default();
    if !repository.is_empty() && text::name(repository).is_err() {
        importer.bad(file, "", format!("{repository:?} is no repository of Alpine"));
        return Ok(());
    }
    let repository = (ecosystem.clone(), repository.to_owned());
    for (at, raw) in document.packages.iter().enumerate() {
        let package = match serde_json::from_str::<Entry>(raw.get()) {
            Ok(entry) => entry.pkg,
            Err(e) => {
                importer.bad(file, format!("package {at}"), e);
                continue;
            }
        };
        importer.record(file)?;
        match fixes(importer, &ecosystem, &package) {
            Ok(statements) => importer.of_repository(&repository, statements),
            Err(reason) => importer.bad(file, package.name, reason),
        }
    }
    Ok(())
}

fn fixes(importer: &mut Importer, ecosystem: &Ecosystem, package: &Package) -> Result<u64, String> {
    let name = text::name(&package.name)?;
    let mut statements = 0;
    for (version, ids) in &package.secfixes {
        let version = version.trim();
        let statement = |standing, intervals| Affected {
            ecosystem: ecosystem.clone(),
            name: name.to_owned(),
            intervals,
            versions: Vec::new(),
            standing,
            severity: Severity::Unknown,
        };
        let statement = if version == "0" {
            statement(Standing::NotAffected, Vec::new())
        } else if is_version(ecosystem, version) {
            statement(Standing::Versions, vec![Interval::before(version)])
        } else {
            return Err(format!("{version:?} is no version of Alpine"));
        };
        // Some entries have two names, or a remark behind them.
        for id in ids.iter().flatten().flat_map(|entry| entry.split_whitespace()) {
            let id = id.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            if is_id(id) {
                importer.advisory_of(id).affected.push(statement.clone());
                statements += 1;
            }
        }
    }
    Ok(statements)
}

/// `CVE-2024-3094`, `XSA-123`, `GHSA-…`, not words of a remark.
fn is_id(text: &str) -> bool {
    let has_scheme = text.split_once('-').is_some_and(|(scheme, _)| {
        (2..=12).contains(&scheme.len()) && scheme.bytes().all(|b| b.is_ascii_uppercase())
    });
    has_scheme && text.bytes().any(|b| b.is_ascii_digit()) && text.len() <= 64
}
