//! From statements about a package to one verdict a vulnerability.
//!
//! Statements of one source add up: affected if any of them says so. Between sources a distribution's word that a version is
//! fixed or was never affected wins, because one of them may know of a backport that the other does not; outside
//! distributions affected wins, because what one data base lacks another may have.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::database::{Database, vulnerability};
use crate::index::{Entry, PackageBlock};
use crate::range::Interval;
use crate::record::Standing;
use crate::severity::Severity;
use crate::verdict::{Class, Match, Statement, Status};
use crate::version::Rules;
use crate::{Error, Query};

/// One statement, judged.
struct Judged<'a> {
    entry: &'a Entry<'a>,
    status: Status,
    /// That hold the version.
    affected: Vec<Interval>,
    /// That mend this version's branch and later ones; for a fixed version the one it has reached.
    fixed: Vec<String>,
}

pub(crate) fn matches(
    database: &Database,
    query: &Query<'_>,
    name: &str,
    block: &PackageBlock<'_>,
) -> Result<Vec<Match>, Error> {
    let rules = query.ecosystem.rules();
    let mut by_vulnerability: BTreeMap<u32, Vec<Judged<'_>>> = BTreeMap::new();
    for entry in &block.entries {
        for number in &entry.vulnerabilities {
            by_vulnerability.entry(*number).or_default().push(judge(rules, query.version, entry));
        }
    }
    let mut matches = Vec::new();
    for (number, judged) in by_vulnerability {
        let status = combine(query, &judged);
        let bytes = database.reader.vulnerability(number)?;
        let row = database.vulnerability_row(&bytes)?;
        let vulnerability = vulnerability(&row);
        let mut statements = Vec::with_capacity(judged.len());
        for one in &judged {
            let bytes = database.reader.advisory(one.entry.advisory)?;
            let row = database.advisory_row(&bytes)?;
            statements.push(Statement {
                advisory: row.id.to_owned(),
                source: database.source_name(one.entry.source)?.to_owned(),
                status: one.status,
                severity: if one.entry.severity == Severity::Unknown {
                    row.severity
                } else {
                    one.entry.severity
                },
                url: row.url.map(str::to_owned),
            });
        }
        statements.dedup();
        let word = statements.iter().map(|s| s.severity).max().unwrap_or_default();
        let severity = match vulnerability.severity() {
            Severity::Unknown => word,
            known => known,
        };
        let speaking = || judged.iter().filter(|one| one.status.is_affected() == status.is_affected());
        let mut affected: Vec<Interval> = speaking().flat_map(|one| one.affected.iter().cloned()).collect();
        affected.sort_unstable();
        affected.dedup();
        let class = match (query.ecosystem.is_kernel(name), row.is_notice) {
            (true, _) => Class::Kernel,
            (false, true) => Class::Notice,
            (false, false) => Class::Package,
        };
        matches.push(Match {
            vulnerability,
            status,
            class,
            severity,
            affected,
            fixed: in_order(rules, speaking().flat_map(|one| one.fixed.iter().cloned()).collect()),
            statements,
        });
    }
    Ok(matches)
}

fn judge<'a>(rules: Rules, version: &str, entry: &'a Entry<'a>) -> Judged<'a> {
    let judged = |status, affected, fixed| Judged { entry, status, affected, fixed };
    if matches!(entry.standing, Standing::NotAffected | Standing::Undetermined) {
        return judged(Status::of_standing(entry.standing), Vec::new(), Vec::new());
    }
    let intervals: Vec<Interval> = entry.intervals.iter().map(|span| span.to_interval()).collect();
    let affected: Vec<Interval> =
        intervals.iter().filter(|interval| interval.contains(rules, version)).cloned().collect();
    let is_listed = entry.versions.iter().any(|listed| rules.compare(listed, version).is_eq());
    let fixes = || intervals.iter().filter_map(Interval::fixed);
    if affected.is_empty() && !is_listed {
        // The last fix that this version has reached.
        let reached =
            fixes().filter(|fixed| rules.compare(fixed, version).is_le()).max_by(|a, b| rules.compare(a, b));
        return match reached {
            Some(fixed) => judged(Status::Fixed, Vec::new(), vec![fixed.to_owned()]),
            None => judged(Status::NotAffected, Vec::new(), Vec::new()),
        };
    }
    let later: Vec<String> =
        fixes().filter(|fixed| rules.compare(fixed, version).is_gt()).map(str::to_owned).collect();
    let status = match Status::of_standing(entry.standing) {
        Status::Open if !later.is_empty() => Status::Fixable,
        status => status,
    };
    judged(status, affected, later)
}

fn combine(query: &Query<'_>, judged: &[Judged<'_>]) -> Status {
    let mut by_source: BTreeMap<u16, Vec<Status>> = BTreeMap::new();
    for one in judged {
        by_source.entry(one.entry.source).or_default().push(one.status);
    }
    // In one source affected wins: it comes first in the order.
    let verdicts: Vec<Status> = by_source.into_values().filter_map(|of| of.into_iter().min()).collect();
    let cleared = verdicts.iter().copied().filter(|s| !s.is_affected() && *s != Status::Undetermined).min();
    let affected = verdicts.iter().copied().filter(|s| s.is_affected()).min();
    let (first, second) =
        if query.ecosystem.is_distribution() { (cleared, affected) } else { (affected, cleared) };
    first.or(second).unwrap_or(Status::Undetermined)
}

/// Ascending by the rules, without repetitions.
fn in_order(rules: Rules, mut versions: Vec<String>) -> Vec<String> {
    versions.sort_by(|a, b| rules.compare(a, b).then_with(|| a.cmp(b)));
    versions.dedup_by(|a, b| rules.compare(a, b) == Ordering::Equal);
    versions
}
