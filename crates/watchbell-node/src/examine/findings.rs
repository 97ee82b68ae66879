//! From a bill of materials and a database of advisories to what policies look at.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use watchbell_advisory::{Class, Database, Severity as Rated, Source};
use watchbell_api::image::{Exploited, Finding, Findings, LeftOut, Severity};
use watchbell_scan::Inventory;
use watchbell_scan::finding::{Finding as Found, Questions, find, questions};

/// Findings of one image that are kept, the worst.
const KEPT_MAX: usize = 2_000;

/// What the database has against the packages.
///
/// # Errors
/// The database cannot be read.
pub(super) fn of(inventory: &Inventory, database: &Database, generation: u64) -> Result<Findings, String> {
    let asked = questions(inventory);
    let answer = find(&asked, database).map_err(|error| error.to_string())?;
    // Code of a kernel does not run in a container, and a notice is no vulnerability.
    let counted = answer.findings.into_iter().filter(|found| found.known.class == Class::Package);
    let mut list: Vec<Finding> = counted.filter_map(|found| finding(inventory, found)).collect();
    // What nobody scored is in the middle, where policies put it unless they say otherwise.
    list.sort_by_key(|Finding { exploited, severity, fixed, .. }| {
        Reverse((*exploited == Exploited::Known, severity.unwrap_or(Severity::Medium), fixed.is_some()))
    });
    let left_out = left_out(&list[list.len().min(KEPT_MAX)..]);
    list.truncate(KEPT_MAX);
    list.sort_by(|a, b| (&a.id, &a.package, &a.version).cmp(&(&b.id, &b.package, &b.version)));
    let exploited = database.sources().iter().filter(|source| source.counts.exploited > 0);
    Ok(Findings {
        generation,
        database_at: oldest(&asked, database),
        exploited_at: exploited.map(Source::as_of).max(),
        list,
        left_out,
        uncovered: counts(answer.uncovered),
        misfiled: counts(answer.misfiled),
        unasked: count(answer.unasked),
    })
}

fn counts(of: BTreeMap<String, usize>) -> Vec<(Box<str>, u32)> {
    of.into_iter().map(|(name, n)| (name.into(), count(n))).collect()
}

/// How many of each sort there are.
fn left_out(findings: &[Finding]) -> Vec<LeftOut> {
    let mut counts: BTreeMap<_, u32> = BTreeMap::new();
    for finding in findings {
        let is_exploited = finding.exploited == Exploited::Known;
        *counts.entry((finding.severity, is_exploited, finding.fixed.is_some())).or_default() += 1;
    }
    let sort = |((severity, is_exploited, is_fixed), count)| LeftOut {
        severity,
        exploited: if is_exploited { Exploited::Known } else { Exploited::NotKnown },
        is_fixed,
        count,
    };
    counts.into_iter().map(sort).collect()
}

/// Of all sources that speak of an ecosystem that was asked for. One that is fresh does not make up for one that is not: they
/// need not speak of the same packages.
fn oldest(asked: &Questions, database: &Database) -> i64 {
    let ecosystems: BTreeSet<_> = asked.questions.iter().map(|question| &question.ecosystem).collect();
    let of_image = ecosystems.into_iter().flat_map(|ecosystem| database.sources_of(ecosystem));
    let oldest = of_image.map(Source::as_of).min();
    // No source has anything to do with the image, so any may stand for the database.
    oldest.or_else(|| database.sources().iter().map(Source::as_of).min()).unwrap_or(0)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A finding is of one package, or of all that were built of one source: then it goes by the source's name.
fn finding(inventory: &Inventory, found: Found) -> Option<Finding> {
    let Found { question, known } = found;
    let package = inventory.packages.get(*question.packages.first()?)?;
    let (name, version) = match question.packages.len() {
        1 => (package.name.as_str(), package.version.as_str()),
        _ => (question.name.as_str(), question.version.as_str()),
    };
    let vulnerability = known.vulnerability;
    let score = vulnerability.score();
    Some(Finding {
        severity: match known.severity {
            Rated::Critical => Some(Severity::Critical),
            Rated::High => Some(Severity::High),
            Rated::Medium => Some(Severity::Medium),
            Rated::Low | Rated::None => Some(Severity::Low),
            Rated::Unknown => None,
        },
        exploited: match vulnerability.exploited {
            Some(_) => Exploited::Known,
            None => Exploited::NotKnown,
        },
        package: name.into(),
        version: version.into(),
        fixed: known.fixed.first().map(|fixed| fixed.as_str().into()),
        purl: package.purl(inventory.distribution.as_ref()).into(),
        path: package.locations.first().map_or("", |place| place.path.as_str()).into(),
        title: vulnerability.summary.as_str().into(),
        score: score.map(watchbell_advisory::Score::value),
        vector: score.map_or("", |score| score.vector.as_str()).into(),
        link: vulnerability.url.as_deref().unwrap_or_default().into(),
        aliases: vulnerability.aliases.iter().map(|alias| alias.as_str().into()).collect(),
        id: vulnerability.id.into(),
    })
}
