//! The decision: what counts, what is off the gate and why.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use jiff::tz::Offset;

use super::{
    AffectedPackage, Evidence, Gaps, Gate, IdleEntry, Judged, JudgedVulnerability, Knowledge, Options,
    Remark, Report, SecretPlace, Standing, Statements, Subject, Unfixed, Unseen,
};
use crate::finding::{Answer, Class, Finding, Questions, Severity};
use crate::vex::{Claim, Justification, VexDocument, VexStatement};

/// Judges what was found by what people said of it. Pure: the same arguments, the same report.
pub fn judge(evidence: Evidence, statements: &Statements, options: &Options, now: Timestamp) -> Report {
    let today = Offset::UTC.to_datetime(now).date().to_string();
    let mut judge = Judge { statements, today, used: BTreeSet::new(), expired: BTreeSet::new() };
    let Evidence { subject, inventory, knowledge, secrets, unsearched, configuration, minimality } = evidence;
    let (answer, questions, sources, unknown) = match knowledge {
        Knowledge::Known { answer, questions, sources } => (answer, questions, sources, None),
        Knowledge::Unknown(reason) => (Answer::default(), Questions::default(), Vec::new(), Some(reason)),
    };
    let Answer { findings, uncovered, misfiled, unasked, undetermined } = answer;
    let purls: Vec<String> =
        inventory.packages.iter().map(|package| package.purl(inventory.distribution.as_ref())).collect();
    let layers: HashMap<_, u32> = subject.layers.iter().zip(0..).collect();
    let mut vulnerabilities: Vec<JudgedVulnerability> = findings
        .into_iter()
        .map(|finding| {
            let packages: Vec<AffectedPackage> = finding
                .question
                .packages
                .iter()
                .map(|index| {
                    let package = &inventory.packages[*index];
                    AffectedPackage {
                        index: *index,
                        purl: purls[*index].clone(),
                        name: package.name.clone(),
                        version: package.version.clone(),
                        paths: package.locations.iter().map(|location| location.path.clone()).collect(),
                        layer: package
                            .locations
                            .iter()
                            .find_map(|location| layers.get(location.layer.as_ref()?).copied()),
                    }
                })
                .collect();
            judge.vulnerability(finding, packages, &subject, options)
        })
        .collect();
    let mut secrets: Vec<Judged<_>> = secrets
        .into_iter()
        .map(|secret| {
            let path = match &secret.place {
                SecretPlace::File { path, .. } => Some(path.as_str()),
                SecretPlace::Variable(_) | SecretPlace::Label(_) | SecretPlace::History(_) => None,
            };
            let standing =
                judge.accepted(&[secret.rule.id], &[], path.as_slice()).unwrap_or(Standing::Counts);
            Judged { standing, what: secret }
        })
        .collect();
    let mut configuration: Vec<Judged<_>> = configuration
        .into_iter()
        .map(|finding| {
            let path = finding.path.as_deref();
            let standing =
                judge.accepted(&[finding.rule.id], &[], path.as_slice()).unwrap_or(Standing::Counts);
            Judged { standing, what: finding }
        })
        .collect();
    let gate = Gate {
        fail_on: options.fail_on,
        failures: options.fail_on.map_or(0, |least| {
            let is_met = |severity: Severity, standing: &Standing| standing.counts() && severity >= least;
            vulnerabilities.iter().filter(|one| is_met(one.severity(), &one.standing)).count()
                + secrets.iter().filter(|one| is_met(one.what.severity(), &one.standing)).count()
                + configuration.iter().filter(|one| is_met(one.what.rule.severity, &one.standing)).count()
        }),
        unseen: options.fail_on.map_or_else(Vec::new, |_| {
            unseen(unknown.is_some(), &uncovered, &misfiled, unasked, inventory.gaps.len(), options)
        }),
    };
    let mut unlisted: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut is_listed = |severity: Severity, standing: &Standing| {
        let why = match standing {
            Standing::Unfixed => "unfixed",
            _ if !options.listed.is_empty() && !options.listed.contains(&severity) => "severity",
            _ => return true,
        };
        *unlisted.entry(why).or_default() += 1;
        false
    };
    vulnerabilities.retain(|one| is_listed(one.severity(), &one.standing));
    secrets.retain(|one| is_listed(one.what.severity(), &one.standing));
    configuration.retain(|one| is_listed(one.what.rule.severity, &one.standing));
    vulnerabilities.sort_by(|a, b| order(a).cmp(&order(b)));
    secrets.sort_by(|a, b| {
        (Reverse(a.what.severity()), &a.what.place, a.what.line).cmp(&(
            Reverse(b.what.severity()),
            &b.what.place,
            b.what.line,
        ))
    });
    let idle_entries = judge.idle();
    Report {
        subject,
        time: now,
        unknown,
        sources,
        inventory,
        questions,
        uncovered,
        misfiled,
        unasked,
        undetermined,
        vulnerabilities,
        secrets,
        unsearched,
        configuration,
        minimality,
        idle_entries,
        unlisted,
        gate,
    }
}

/// What was not looked at, but for what the caller lets pass.
fn unseen(
    is_unknown: bool,
    uncovered: &BTreeMap<String, usize>,
    misfiled: &BTreeMap<String, usize>,
    unasked: usize,
    gaps: usize,
    options: &Options,
) -> Vec<Unseen> {
    let allowed = &options.uncovered_allowed;
    let is_allowed = |ecosystem: &str| allowed.contains(ecosystem) || allowed.contains("*");
    let mut unseen = Vec::new();
    if is_unknown {
        unseen.push(Unseen::Advisories);
    }
    if unasked > 0 {
        unseen.push(Unseen::Unasked(unasked));
    }
    unseen.extend(uncovered.iter().filter(|(ecosystem, _)| !is_allowed(ecosystem)).map(
        |(ecosystem, packages)| Unseen::Uncovered { ecosystem: ecosystem.clone(), packages: *packages },
    ));
    unseen.extend(
        misfiled.iter().map(|(what, packages)| Unseen::Misfiled { what: what.clone(), packages: *packages }),
    );
    if gaps > 0 && options.gaps == Gaps::Count {
        unseen.push(Unseen::Gaps(gaps));
    }
    unseen
}

/// What counts before what does not; then by severity, by what is exploited, by what is likely to be.
fn order(one: &JudgedVulnerability) -> impl Ord + '_ {
    let known = &one.finding.known.vulnerability;
    let kernel = one.standing == Standing::Kernel;
    (
        kernel,
        !one.standing.counts(),
        Reverse(one.severity()),
        known.exploited.is_none(),
        Reverse(known.prediction.map(|prediction| prediction.probability)),
        one.finding.question.name.as_str(),
        known.id.as_str(),
    )
}

struct Judge<'a> {
    statements: &'a Statements,
    today: String,
    /// File and line of entries that took something upon themselves.
    used: BTreeSet<(usize, u32)>,
    /// The same of entries that would have.
    expired: BTreeSet<(usize, u32)>,
}

impl Judge<'_> {
    fn vulnerability(
        &mut self,
        finding: Finding,
        packages: Vec<AffectedPackage>,
        subject: &Subject,
        options: &Options,
    ) -> JudgedVulnerability {
        let known = &finding.known.vulnerability;
        let names: Vec<&str> =
            std::iter::once(known.id.as_str()).chain(known.aliases.iter().map(String::as_str)).collect();
        let purls: Vec<String> = packages.iter().map(|package| package.purl.clone()).collect();
        let paths: Vec<&str> =
            packages.iter().flat_map(|package| package.paths.iter().map(String::as_str)).collect();
        let claim = Claim { vulnerability: &names, packages: &purls, image: &subject.identity };
        let said = VexDocument::judgement(&self.statements.vex, &claim);
        let accepted = self.accepted(&names, &purls, &paths);
        let cleared = said
            .filter(|(_, statement)| statement.status.clears())
            .map(|(document, statement)| cleared(document, statement));
        let remark = said.filter(|(_, statement)| !statement.status.clears()).map(|(document, statement)| {
            Remark { status: statement.status, text: format!("{}: {statement}", document.file) }
        });
        let standing = match finding.known.class {
            _ if cleared.is_some() => cleared,
            _ if accepted.is_some() => accepted,
            Class::Kernel => Some(Standing::Kernel),
            Class::Notice => Some(Standing::Notice),
            Class::Package if options.unfixed == Unfixed::Ignored && finding.known.fixed.is_empty() => {
                Some(Standing::Unfixed)
            }
            Class::Package => None,
        };
        JudgedVulnerability { finding, packages, standing: standing.unwrap_or(Standing::Counts), remark }
    }

    /// The first entry that covers it and still counts. Those whose day is over are noted.
    fn accepted(&mut self, names: &[&str], packages: &[String], paths: &[&str]) -> Option<Standing> {
        let mut accepted = None;
        for (number, file) in self.statements.ignores.iter().enumerate() {
            for entry in file.entries.iter().filter(|entry| entry.covers(names, packages, paths)) {
                if !entry.counts(&self.today) {
                    self.expired.insert((number, entry.line));
                } else {
                    self.used.insert((number, entry.line));
                    accepted.get_or_insert_with(|| Standing::Accepted {
                        file: file.file.clone(),
                        line: entry.line,
                        reason: entry.reason.clone(),
                        expires: entry.expires.clone(),
                    });
                }
            }
        }
        accepted
    }

    /// Entries that did nothing.
    fn idle(&self) -> Vec<IdleEntry> {
        let mut idle = Vec::new();
        for (number, file) in self.statements.ignores.iter().enumerate() {
            for entry in file.entries.iter().filter(|entry| !self.used.contains(&(number, entry.line))) {
                idle.push(IdleEntry {
                    file: file.file.clone(),
                    line: entry.line,
                    id: entry.id.clone(),
                    expires: entry.expires.clone(),
                    is_expired: self.expired.contains(&(number, entry.line)),
                });
            }
        }
        idle
    }
}

fn cleared(document: &VexDocument, statement: &VexStatement) -> Standing {
    Standing::Cleared {
        document: document.file.clone(),
        status: statement.status.as_str(),
        justification: statement.justification.map(Justification::as_str),
        text: statement.text.clone(),
    }
}
