//! From statements about a package to one verdict a vulnerability.
//!
//! Statements of one source add up: affected if any of them says so. Between sources a distribution's word that a version is
//! fixed or was never affected wins, because one of them may know of a backport that the other does not; but not the word of a
//! source that is a week or more older than one that says affected, since the issue may have been opened again. Outside
//! distributions affected wins, because what one data base lacks another may have.
//!
//! A text that is no version by its ecosystem's rules (`(devel)`, `dev-main`, none at all) is in no run of versions and outside of
//! none: whether it is affected nobody can tell, unless all versions are.

use std::collections::BTreeMap;

use crate::database::{Database, Rows};
use crate::index::{Entry, PackageBlock, Span};
use crate::range::Interval;
use crate::record::Standing;
use crate::severity::Severity;
use crate::source::Source;
use crate::verdict::{Class, Match, Statement, Status};
use crate::version::Rules;
use crate::{Error, Query};

/// By how much a source may be older than another for its word to win.
const STALE_SECONDS: i64 = 7 * 86_400;

/// Which verdicts somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Findings,
    /// What nobody found out yet, too.
    Doubts,
    Everything,
}

/// One statement, judged.
struct Judged<'a> {
    entry: &'a Entry<'a>,
    status: Status,
    /// That hold the version.
    affected: Vec<Span<'a>>,
    /// That mend this version's branch and later ones; for a fixed version the one it has reached.
    fixed: Vec<&'a str>,
}

pub(crate) fn matches(
    database: &Database,
    query: &Query<'_>,
    name: &str,
    block: &PackageBlock<'_>,
    wanted: Wanted,
) -> Result<Vec<Match>, Error> {
    let rules = query.ecosystem.rules();
    let judged: Vec<Judged<'_>> =
        block.entries.iter().map(|entry| judge(rules, query.version, entry)).collect();
    let mut by_vulnerability: BTreeMap<u32, Vec<&Judged<'_>>> = BTreeMap::new();
    for one in &judged {
        for number in &one.entry.vulnerabilities {
            by_vulnerability.entry(*number).or_default().push(one);
        }
    }
    let mut rows = Rows::new(database);
    let mut matches = Vec::new();
    for (number, judged) in by_vulnerability {
        let status = combine(database, query, &judged);
        let is_wanted = match wanted {
            Wanted::Findings => status.is_affected(),
            Wanted::Doubts => status.is_affected() || status == Status::Undetermined,
            Wanted::Everything => true,
        };
        if is_wanted {
            matches.push(found(database, &mut rows, query, name, number, status, &judged)?);
        }
    }
    matches.sort_by(|a, b| a.vulnerability.id.cmp(&b.vulnerability.id));
    Ok(matches)
}

fn found(
    database: &Database,
    rows: &mut Rows<'_>,
    query: &Query<'_>,
    name: &str,
    number: u32,
    status: Status,
    judged: &[&Judged<'_>],
) -> Result<Match, Error> {
    let rules = query.ecosystem.rules();
    let vulnerability = rows.vulnerability(number)?;
    let mut statements = Vec::with_capacity(judged.len());
    let mut is_notice = true;
    for one in judged {
        let record = rows.advisory(one.entry.advisory)?;
        is_notice &= record.is_notice;
        statements.push(Statement {
            advisory: record.id.clone(),
            source: database.source_name(one.entry.source)?.to_owned(),
            status: one.status,
            severity: if one.entry.severity == Severity::Unknown {
                record.severity
            } else {
                one.entry.severity
            },
            url: record.url.clone(),
        });
    }
    statements.dedup();
    let word = statements.iter().map(|s| s.severity).max().unwrap_or_default();
    let severity = match vulnerability.severity() {
        Severity::Unknown => word,
        known => known,
    };
    let speaking = || judged.iter().filter(|one| one.status.is_affected() == status.is_affected());
    let mut affected: Vec<Interval> =
        speaking().flat_map(|one| one.affected.iter().map(|span| span.to_interval())).collect();
    affected.sort_unstable();
    affected.dedup();
    let class = match (query.ecosystem.is_kernel(name), is_notice) {
        (true, _) => Class::Kernel,
        (false, true) => Class::Notice,
        (false, false) => Class::Package,
    };
    let fixed = in_order(rules, speaking().flat_map(|one| one.fixed.iter().copied()).collect());
    Ok(Match { vulnerability, status, class, severity, affected, fixed, statements })
}

fn judge<'a>(rules: Rules, version: &str, entry: &'a Entry<'a>) -> Judged<'a> {
    let judged = |status, affected, fixed| Judged { entry, status, affected, fixed };
    if matches!(entry.standing, Standing::NotAffected | Standing::Undetermined) {
        return judged(Status::of_standing(entry.standing), Vec::new(), Vec::new());
    }
    let is_version = rules.is_version(version);
    let affected: Vec<Span<'a>> = entry
        .intervals
        .iter()
        .filter(|span| if is_version { span.contains(rules, version) } else { span.is_everything() })
        .copied()
        .collect();
    let is_listed = entry.versions.iter().any(|listed| rules.compare_to_stated(version, listed).is_eq());
    // Of what has no place in the order nothing is known, unless it is said of all versions.
    if !is_version && affected.is_empty() && !is_listed {
        return judged(Status::Undetermined, Vec::new(), Vec::new());
    }
    let fixes = || entry.intervals.iter().filter_map(Span::fixed);
    if affected.is_empty() && !is_listed {
        // The last fix that this version has reached.
        let reached =
            fixes().filter(|fixed| rules.compare(fixed, version).is_le()).max_by(|a, b| rules.compare(a, b));
        return match reached {
            Some(fixed) => judged(Status::Fixed, Vec::new(), vec![fixed]),
            None => judged(Status::NotAffected, Vec::new(), Vec::new()),
        };
    }
    let later: Vec<&str> = fixes().filter(|fixed| rules.compare(fixed, version).is_gt()).collect();
    let status = match Status::of_standing(entry.standing) {
        Status::Open if !later.is_empty() => Status::Fixable,
        status => status,
    };
    judged(status, affected, later)
}

fn combine(database: &Database, query: &Query<'_>, judged: &[&Judged<'_>]) -> Status {
    let mut by_source: BTreeMap<u16, Status> = BTreeMap::new();
    for one in judged {
        // In one source affected wins: it comes first in the order.
        by_source.entry(one.entry.source).and_modify(|s| *s = one.status.min(*s)).or_insert(one.status);
    }
    let as_of = |place: u16| database.sources().get(usize::from(place)).map_or(0, Source::as_of);
    let newest_affected =
        by_source.iter().filter(|(_, s)| s.is_affected()).map(|(place, _)| as_of(*place)).max();
    let is_stale = |place: u16| {
        newest_affected.is_some_and(|newest| newest.saturating_sub(as_of(place)) >= STALE_SECONDS)
    };
    let cleared = by_source
        .iter()
        .filter(|(place, s)| !s.is_affected() && **s != Status::Undetermined && !is_stale(**place))
        .map(|(_, status)| *status)
        .min();
    let affected = by_source.values().copied().filter(|s| s.is_affected()).min();
    let (first, second) =
        if query.ecosystem.is_distribution() { (cleared, affected) } else { (affected, cleared) };
    first.or(second).unwrap_or(Status::Undetermined)
}

/// Ascending by the rules, without repetitions.
fn in_order(rules: Rules, mut versions: Vec<&str>) -> Vec<String> {
    versions.sort_by(|a, b| rules.compare(a, b).then_with(|| a.cmp(b)));
    versions.dedup_by(|a, b| rules.compare(a, b).is_eq());
    versions.into_iter().map(str::to_owned).collect()
}
