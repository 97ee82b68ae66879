//! The JSON of Debian's security tracker: source package, then CVE, then release by codename.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ImportError, Importer, text};
use crate::range::Interval;
use crate::record::{Affected, Standing};
use crate::severity::Severity;
use crate::{Ecosystem, is_version};

#[derive(Deserialize)]
struct Issue {
    #[serde(default)]
    description: String,
    releases: BTreeMap<String, Release>,
}

#[derive(Deserialize)]
struct Release {
    status: String,
    fixed_version: Option<String>,
    urgency: Option<String>,
    nodsa: Option<String>,
    nodsa_reason: Option<String>,
}

/// A package's issues, left as text: a bad one spoils no other.
type Packages<'a> = BTreeMap<String, BTreeMap<String, &'a RawValue>>;

pub(super) fn read(importer: &mut Importer, file: &str, bytes: &[u8]) -> Result<(), ImportError> {
    let packages: Packages<'_> = match serde_json::from_slice(bytes) {
        Ok(packages) => packages,
        Err(e) => {
            importer.bad(file, "", format!("it has none of the known shapes: {e}"));
            return Ok(());
        }
    };
    let is_tracker = |raw: &&RawValue| serde_json::from_str::<Issue>(raw.get()).is_ok();
    if !packages.values().flat_map(BTreeMap::values).any(is_tracker) {
        importer.bad(file, "", "it has none of the known shapes");
        return Ok(());
    }
    for (package, issues) in &packages {
        for (id, raw) in issues {
            match issue(importer, package, id, raw.get()) {
                Ok(()) => importer.record(file)?,
                Err(reason) => importer.bad(file, format!("{package}, {id}"), reason),
            }
        }
    }
    Ok(())
}

fn issue(importer: &mut Importer, package: &str, id: &str, raw: &str) -> Result<(), String> {
    let issue: Issue = serde_json::from_str(raw).map_err(|e| e.to_string())?;
    let (package, id) = (text::name(package)?, text::name(id)?);
    let mut statements = Vec::new();
    for (codename, release) in &issue.releases {
        match Ecosystem::debian(codename) {
            Some(ecosystem) => statements.push(statement(ecosystem, package, release)?),
            None => importer.counts.other_ecosystems += 1,
        }
    }
    let advisory = importer.advisory_of(id);
    if advisory.summary.is_empty() {
        advisory.summary = text::opening(&issue.description);
    }
    advisory.affected.extend(statements);
    Ok(())
}

fn statement(ecosystem: Ecosystem, package: &str, release: &Release) -> Result<Affected, String> {
    let urgency = release.urgency.as_deref().unwrap_or_default();
    let everything = || vec![Interval::everything()];
    let (standing, intervals) = match (release.status.as_str(), release.fixed_version.as_deref()) {
        ("resolved", Some("0")) => (Standing::NotAffected, Vec::new()),
        ("resolved", Some(fixed)) if is_version(&ecosystem, fixed) => {
            (Standing::Versions, vec![Interval::before(fixed)])
        }
        ("resolved", fixed) => {
            return Err(format!("it is resolved in {fixed:?}, which is no version of Debian"));
        }
        ("undetermined", _) => (Standing::Undetermined, everything()),
        ("open", _) if urgency == "end-of-life" => (Standing::EndOfLife, everything()),
        ("open", _) => match (release.nodsa_reason.as_deref(), release.nodsa.as_deref()) {
            (Some("ignored"), _) => (Standing::Ignored, everything()),
            (Some("postponed"), _) => (Standing::Postponed, everything()),
            (None | Some(""), None) => (Standing::Open, everything()),
            _ => (Standing::NoAdvisory, everything()),
        },
        (other, _) => return Err(format!("the status {other:?} is unknown")),
    };
    let severity = Severity::from_word(urgency).unwrap_or_default();
    Ok(Affected { ecosystem, name: package.to_owned(), intervals, versions: Vec::new(), standing, severity })
}
