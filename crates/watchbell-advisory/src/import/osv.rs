//! The OSV schema, up to version 1.7.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{ImportError, Importer, text};
use crate::identity::is_cve;
use crate::range::{Event, Interval};
use crate::record::{Advisory, Affected, Standing};
use crate::severity::{Score, Severity};
use crate::{Ecosystem, compare, is_version};

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(default)]
    modified: Option<Cow<'a, str>>,
    #[serde(default)]
    published: Option<Cow<'a, str>>,
    #[serde(default)]
    withdrawn: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "or_default")]
    aliases: Vec<Cow<'a, str>>,
    #[serde(default, deserialize_with = "or_default")]
    related: Vec<Cow<'a, str>>,
    #[serde(default, deserialize_with = "or_default")]
    upstream: Vec<Cow<'a, str>>,
    #[serde(default)]
    summary: Option<Cow<'a, str>>,
    #[serde(default)]
    details: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "or_default")]
    severity: Vec<Rating<'a>>,
    #[serde(default, deserialize_with = "or_default")]
    affected: Vec<AffectedPackage<'a>>,
    #[serde(default, deserialize_with = "or_default")]
    references: Vec<Reference<'a>>,
    #[serde(default)]
    database_specific: Value,
}

#[derive(Deserialize)]
struct Rating<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    score: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Reference<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    url: Cow<'a, str>,
}

#[derive(Deserialize)]
struct AffectedPackage<'a> {
    #[serde(borrow, default)]
    package: Option<Package<'a>>,
    #[serde(default, deserialize_with = "or_default")]
    severity: Vec<Rating<'a>>,
    #[serde(default, deserialize_with = "or_default")]
    ranges: Vec<Range<'a>>,
    #[serde(default, deserialize_with = "or_default")]
    versions: Vec<Cow<'a, str>>,
    #[serde(default)]
    ecosystem_specific: Value,
    #[serde(default)]
    database_specific: Value,
}

#[derive(Deserialize)]
struct Package<'a> {
    #[serde(borrow)]
    ecosystem: Cow<'a, str>,
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Range<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default, deserialize_with = "or_default")]
    events: Vec<RawEvent<'a>>,
}

/// One of them is there; some publishers write two into one event.
#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(borrow, default)]
    introduced: Option<Cow<'a, str>>,
    #[serde(default)]
    fixed: Option<Cow<'a, str>>,
    #[serde(default)]
    last_affected: Option<Cow<'a, str>>,
    #[serde(default)]
    limit: Option<Cow<'a, str>>,
}

/// `null` stands for what is not there.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads one record; `place` says where in the file it stands, when it is not the whole.
pub(super) fn read(
    importer: &mut Importer,
    file: &str,
    place: &str,
    bytes: &[u8],
) -> Result<(), ImportError> {
    let record: Record<'_> = match serde_json::from_slice(bytes) {
        Ok(record) => record,
        Err(e) => {
            importer.bad(file, place, e);
            return Ok(());
        }
    };
    let label = if place.is_empty() { record.id.to_string() } else { format!("{place} ({})", record.id) };
    match advisory(importer, file, &label, &record) {
        Ok(advisory) => {
            importer.record(file)?;
            if let Some(second) = advisory.modified.or(advisory.published) {
                importer.dated(second);
            }
            if is_withdrawn(&record, importer.now) {
                importer.counts.withdrawn += 1;
            } else {
                importer.advisory(advisory);
            }
        }
        Err(reason) => importer.bad(file, label, reason),
    }
    Ok(())
}

/// A withdrawal that is announced for later counts from then on.
fn is_withdrawn(record: &Record<'_>, now: i64) -> bool {
    record.withdrawn.as_deref().is_some_and(|time| text::second(time).is_none_or(|second| second <= now))
}

fn advisory(
    importer: &mut Importer,
    file: &str,
    label: &str,
    record: &Record<'_>,
) -> Result<Advisory, String> {
    let names = |list: &[Cow<'_, str>]| -> Result<Vec<String>, String> {
        list.iter().map(|name| text::name(name).map(str::to_owned)).collect()
    };
    let second = |time: &Option<Cow<'_, str>>| time.as_deref().and_then(text::second);
    let mut advisory = Advisory {
        id: text::name(&record.id)?.to_owned(),
        aliases: names(&record.aliases)?,
        upstream: names(&record.upstream)?,
        summary: record.summary.as_deref().map(text::line).unwrap_or_default(),
        url: link(&record.references),
        published: second(&record.published),
        modified: second(&record.modified),
        ..Advisory::default()
    };
    if advisory.summary.is_empty() {
        advisory.summary = record.details.as_deref().map(text::opening).unwrap_or_default();
    }
    for affected in &record.affected {
        match statement(importer, affected) {
            Ok(Some(statement)) => advisory.affected.push(statement),
            Ok(None) => {}
            // What it says about other packages stays true.
            Err(reason) => importer.bad(file, label, reason),
        }
    }
    let ratings = record.severity.iter().chain(record.affected.iter().flat_map(|a| &a.severity));
    let (scores, word, unscored) = rated(ratings);
    importer.counts.unscored += unscored;
    advisory.scores = scores;
    let stated = record.database_specific.get("severity").and_then(Value::as_str);
    // Errata of Red Hat's family begin with the word: `Important: kernel security update`.
    let leading = advisory.summary.split_once(": ").map(|(word, _)| word);
    let of_erratum = leading.filter(|_| is_of_distributions(&advisory));
    advisory.severity = stated
        .and_then(Severity::from_word)
        .or(word)
        .or_else(|| of_erratum.and_then(Severity::from_word))
        .unwrap_or_default();
    if is_of_distributions(&advisory) {
        advisory.upstream = mended(&advisory, record)?;
    }
    advisory.is_notice = record
        .affected
        .iter()
        .any(|a| a.database_specific.get("informational").is_some_and(|v| !v.is_null()));
    Ok(advisory)
}

fn is_of_distributions(advisory: &Advisory) -> bool {
    !advisory.affected.is_empty() && advisory.affected.iter().all(|a| a.ecosystem.is_distribution())
}

/// The vulnerabilities that a distribution's record is about, as far as it names them: in `upstream`, in older records in
/// `related` or only as what they refer to. A record that is named after its CVE needs none.
fn mended(advisory: &Advisory, record: &Record<'_>) -> Result<Vec<String>, String> {
    let named = advisory.aliases.iter().any(|name| is_cve(name)) || is_cve(&advisory.id);
    if !advisory.upstream.is_empty() || named {
        return Ok(advisory.upstream.clone());
    }
    let of = |names: &mut dyn Iterator<Item = &str>| -> BTreeSet<String> {
        names.filter(|name| is_cve(name)).map(str::to_owned).collect()
    };
    let related = of(&mut record.related.iter().map(|name| &**name));
    let found = if related.is_empty() {
        let last =
            |reference: &Reference<'_>| reference.url.rsplit('/').next().unwrap_or_default().to_owned();
        let reports: Vec<String> =
            record.references.iter().filter(|r| r.kind == "REPORT").map(last).collect();
        of(&mut reports.iter().map(String::as_str))
    } else {
        related
    };
    Ok(found.into_iter().collect())
}

fn statement(importer: &mut Importer, affected: &AffectedPackage<'_>) -> Result<Option<Affected>, String> {
    let git = affected.ranges.iter().filter(|range| range.kind == "GIT").count();
    importer.counts.git_ranges += git as u64;
    let Some(package) = &affected.package else { return Ok(None) };
    let Some(ecosystem) = Ecosystem::from_osv(text::name(&package.ecosystem)?) else {
        importer.counts.other_ecosystems += 1;
        return Ok(None);
    };
    if !is_for_linux(&affected.ecosystem_specific) {
        importer.counts.other_systems += 1;
        return Ok(None);
    }
    let name = ecosystem.normalize(text::name(&package.name)?).into_owned();
    let mut intervals = Vec::new();
    for range in &affected.ranges {
        match &*range.kind {
            "SEMVER" | "ECOSYSTEM" => {
                intervals.extend(Interval::from_events(&ecosystem, events(&ecosystem, range)?));
            }
            "GIT" => {}
            other => return Err(format!("a range has the unknown type {other:?}")),
        }
    }
    intervals.sort_unstable();
    intervals.dedup();
    let versions = outside(&ecosystem, &intervals, &affected.versions)?;
    if intervals.is_empty() && versions.is_empty() {
        return Ok(None);
    }
    let urgency = ["urgency", "severity"].iter().find_map(|key| {
        let of = |value: &Value| value.get(*key).and_then(Value::as_str).map(str::to_owned);
        of(&affected.ecosystem_specific).or_else(|| of(&affected.database_specific))
    });
    let standing = match urgency.as_deref() {
        Some("end-of-life") => Standing::EndOfLife,
        _ => Standing::Versions,
    };
    let severity = urgency.as_deref().and_then(Severity::from_word).unwrap_or_default();
    Ok(Some(Affected { ecosystem, name, intervals, versions, standing, severity }))
}

/// RustSec names the systems on which a vulnerability exists, when it is not all.
fn is_for_linux(specific: &Value) -> bool {
    let systems = specific.get("affects").and_then(|affects| affects.get("os")).and_then(Value::as_array);
    systems.is_none_or(|list| list.is_empty() || list.iter().any(|os| os == "linux"))
}

fn events(ecosystem: &Ecosystem, range: &Range<'_>) -> Result<Vec<Event>, String> {
    let mut events = Vec::with_capacity(range.events.len());
    for event in &range.events {
        let mut push = |version: &Option<Cow<'_, str>>, make: fn(String) -> Event, extra: &str| {
            let Some(version) = version else { return Ok::<(), String>(()) };
            let version = text::name(version)?;
            let understood = if version == extra { Some(version) } else { understood(ecosystem, version) };
            let understood = understood.ok_or_else(|| format!("{version:?} is no version of {ecosystem}"))?;
            events.push(make(understood.to_owned()));
            Ok(())
        };
        push(&event.introduced, Event::Introduced, "0")?;
        push(&event.fixed, Event::Fixed, "0")?;
        push(&event.last_affected, Event::LastAffected, "0")?;
        push(&event.limit, Event::Limit, "*")?;
    }
    Ok(events)
}

/// A version as its ecosystem understands it. Some records have a remark behind it, such as `2.6.0-NA`: without that it is one.
fn understood<'a>(ecosystem: &Ecosystem, version: &'a str) -> Option<&'a str> {
    let mut version = version;
    while !is_version(ecosystem, version) {
        (version, _) = version.rsplit_once(|c: char| !c.is_alphanumeric())?;
    }
    Some(version)
}

/// The listed versions that no interval holds: most lists only repeat what the ranges say, and the order of versions is the
/// same for both.
fn outside(
    ecosystem: &Ecosystem,
    intervals: &[Interval],
    versions: &[Cow<'_, str>],
) -> Result<Vec<String>, String> {
    let rules = ecosystem.rules();
    let mut out: Vec<String> = Vec::new();
    for version in versions {
        let version = text::name(version)?;
        if !intervals.iter().any(|interval| interval.contains(rules, version)) {
            out.push(version.to_owned());
        }
    }
    out.sort_by(|a, b| compare(ecosystem, a, b).then_with(|| a.cmp(b)));
    out.dedup_by(|a, b| compare(ecosystem, a, b).is_eq());
    Ok(out)
}

/// Scores, the worst word of those that rate by words, and how many are neither.
fn rated<'a>(ratings: impl Iterator<Item = &'a Rating<'a>>) -> (Vec<Score>, Option<Severity>, u64) {
    let (mut scores, mut word, mut unscored) = (Vec::new(), None, 0);
    for rating in ratings {
        if rating.kind.starts_with("CVSS_") {
            match rating.score.parse::<Score>() {
                Ok(score) => scores.push(score),
                Err(_) => unscored += 1,
            }
        } else {
            word = word.max(Severity::from_word(&rating.score));
        }
    }
    scores.sort_unstable();
    scores.dedup();
    (scores, word, unscored)
}

/// Where the publisher explains it, else where anybody does.
fn link(references: &[Reference<'_>]) -> Option<String> {
    let of = |kind: &str| references.iter().filter(|r| r.kind == kind).find_map(|r| text::link(&r.url));
    of("ADVISORY").or_else(|| of("WEB")).or_else(|| references.iter().find_map(|r| text::link(&r.url)))
}
