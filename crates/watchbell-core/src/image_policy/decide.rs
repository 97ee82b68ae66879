//! Whether an image passes. Pure: the same policies, facts and second give the same verdict.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use watchbell_api::image::{
    Exploited, Finding, Findings, ImageFacts, LeftOut, Naming, Severity, Statement, Unknown,
};

use super::in_force::Signer;
use super::{
    Action, Attestation, DigestRule, Gaps, InForce, KnownExploited, Limit, Policy, Presence, Unfixed,
    Vulnerabilities,
};

/// So many findings are told one by one; the others are counted.
const FINDINGS_TOLD: usize = 10;
/// So many paths of an image are told.
const PATHS_TOLD: usize = 3;

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// What the policies say of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// In the order of the policies. Empty: it passes all of them.
    pub reasons: Vec<Reason>,
    /// The first second in which it may be another one though nothing changed.
    pub valid_until: Option<i64>,
}

/// Why one policy does not let an image pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// `ImagePolicy team/strict`
    pub policy: Arc<str>,
    pub action: Action,
    pub rule: Rule,
    /// The advisory that did it, if one did.
    pub advisory: Option<Box<str>>,
    pub what: String,
    pub way_out: String,
}

/// What of a policy was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    Name,
    Digest,
    Signature,
    Attestation,
    Severity,
    KnownExploited,
    Database,
    Coverage,
    Gaps,
    Age,
    Shell,
    Setuid,
    Packages,
    Size,
    Base,
}

impl Verdict {
    /// Whether a container of the image may not start.
    pub fn is_refused(&self) -> bool {
        self.reasons.iter().any(|reason| reason.action == Action::Deny)
    }

    /// The reasons under one action, as one text.
    pub fn told(&self, action: Action) -> String {
        let of = self.reasons.iter().filter(|reason| reason.action == action);
        of.map(ToString::to_string).collect::<Vec<String>>().join("; ")
    }

    /// The advisories that a policy which denies has against it.
    pub fn advisories(&self) -> Vec<Box<str>> {
        let denied = self.reasons.iter().filter(|reason| reason.action == Action::Deny);
        let mut found: Vec<Box<str>> = denied.filter_map(|reason| reason.advisory.clone()).collect();
        found.dedup();
        found
    }
}

/// `ImagePolicy team/strict: the image is not signed by release: …; sign it with …`
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.policy, self.what, self.way_out)
    }
}

impl Rule {
    /// As audit entries name it.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Name => "repositories",
            Rule::Digest => "digest",
            Rule::Signature => "signers",
            Rule::Attestation => "attestations",
            Rule::Severity => "maximumSeverity",
            Rule::KnownExploited => "refuseKnownExploited",
            Rule::Database => "databaseMaximumAgeHours",
            Rule::Coverage => "allowUncovered",
            Rule::Gaps => "allowGaps",
            Rule::Age => "maximumAgeDays",
            Rule::Shell => "noShell",
            Rule::Setuid => "noSetuid",
            Rule::Packages => "maximumPackages",
            Rule::Size => "maximumSize",
            Rule::Base => "baseImages",
        }
    }
}

/// Judges an image by every policy that applies.
pub fn decide(policies: &[InForce], facts: &ImageFacts, now: Timestamp) -> Verdict {
    let mut verdict = Verdict::default();
    for by in policies {
        let mut judge = Judge { by, facts, now: now.as_second(), verdict: &mut verdict };
        judge.name();
        judge.digest();
        judge.signature();
        by.policy.attestations.iter().for_each(|asked| judge.attestation(asked));
        judge.vulnerabilities(&by.policy.vulnerabilities);
        judge.age();
        judge.minimality();
        judge.base();
    }
    verdict
}

/// What is worth a warning of an image that no policy judges; nothing of it holds it up.
pub fn unjudged(facts: &ImageFacts) -> Vec<String> {
    let mut told = Vec::new();
    if !facts.signers.iter().any(|signed| signed.image.is_ok()) {
        told.push("nobody's signature of it was verified, as no ImagePolicy names a signer".to_owned());
    }
    if let Err(why @ Unknown::Because(_)) = &facts.findings {
        told.push(format!("what is known to be wrong with it is unknown: {why}"));
    }
    told
}

struct Judge<'a> {
    by: &'a InForce,
    facts: &'a ImageFacts,
    now: i64,
    verdict: &'a mut Verdict,
}

impl Judge<'_> {
    fn policy(&self) -> &Policy {
        &self.by.policy
    }

    fn refuse(&mut self, rule: Rule, what: impl Into<String>, way_out: impl Into<String>) {
        self.refuse_for(rule, None, what, way_out);
    }

    fn refuse_for(
        &mut self,
        rule: Rule,
        advisory: Option<&str>,
        what: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.verdict.reasons.push(Reason {
            policy: self.by.name.clone(),
            action: self.by.policy.action,
            rule,
            advisory: advisory.map(Into::into),
            what: what.into(),
            way_out: way_out.into(),
        });
    }

    /// The verdict holds before this second at most.
    fn until(&mut self, second: i64) {
        let until = &mut self.verdict.valid_until;
        *until = Some(until.map_or(second, |before| before.min(second)));
    }

    fn name(&mut self) {
        let policy = self.policy();
        if policy.registries.is_empty() && policy.repositories.is_empty() {
            return;
        }
        let repository = &*self.facts.repository;
        let registry = repository.split_once('/').map_or(repository, |(registry, _)| registry);
        let is_known = policy.registries.iter().any(|glob| glob.matches(registry))
            || policy.repositories.iter().any(|glob| glob.matches(repository));
        if !is_known {
            self.refuse(
                Rule::Name,
                format!("images of {repository} are not among those that may start"),
                "take the image from one of spec.registries or spec.repositories, or add it there",
            );
        }
    }

    fn digest(&mut self) {
        if self.policy().digest == DigestRule::Required && self.facts.naming == Naming::Tag {
            let (repository, digest) = (&self.facts.repository, &self.facts.digest);
            self.refuse(
                Rule::Digest,
                "the pod does not name its image by digest",
                format!("write {repository}@{digest}"),
            );
        }
    }

    fn signature(&mut self) {
        if is_signed(self.by, self.facts) {
            return;
        }
        let mut whys = Vec::new();
        for signer in &self.by.signers {
            match (&signer.rule, self.facts.signers.iter().find(|signed| signed.signer == signer.id)) {
                (Err(why), _) => whys.push(format!("{}: {why}", signer.name)),
                (Ok(_), None) => whys.push(format!("{}: it was not looked for", signer.name)),
                (Ok(_), Some(signed)) => match &signed.image {
                    Ok(()) => {}
                    Err(why) => whys.push(format!("{}: {why}", signer.name)),
                },
            }
        }
        self.refuse(
            Rule::Signature,
            format!("none of its signers has signed the image ({}){}", whys.join("; "), self.gap()),
            format!("sign {}@{}", self.facts.repository, self.facts.digest),
        );
    }

    /// That there may be more than what was looked at.
    fn gap(&self) -> String {
        let ours = |id: &Arc<str>| self.by.signers.iter().any(|signer| signer.id == *id);
        let gap =
            self.facts.signers.iter().filter(|said| ours(&said.signer)).find_map(|said| said.gap.as_ref());
        gap.map_or_else(String::new, |gap| format!(", and {gap}"))
    }

    fn attestation(&mut self, asked: &Attestation) {
        let of_kind: Vec<&Statement> = statements(self.by, self.facts, asked).collect();
        if of_kind.iter().any(|statement| fits(asked, statement)) {
            return;
        }
        let mut what = match of_kind.first() {
            None => format!("no statement of the type {} is signed by its signers", asked.predicate_type),
            Some(other) => format!(
                "no statement of the type {} has the builder and source that are asked for (one has the builder {:?} and \
                 the sources {:?})",
                asked.predicate_type,
                other.builder.as_deref().unwrap_or_default(),
                other.sources
            ),
        };
        what.push_str(&self.gap());
        self.refuse(
            Rule::Attestation,
            what,
            "attest the image where it is built, or change spec.attestations",
        );
    }

    fn vulnerabilities(&mut self, asked: &Vulnerabilities) {
        if asked.limit.is_none()
            && asked.known_exploited == KnownExploited::AsOthers
            && asked.database_hours.is_none()
        {
            return;
        }
        let findings = match &self.facts.findings {
            Ok(findings) => findings.clone(),
            Err(why) => {
                let rule = if asked.limit.is_some() { Rule::Severity } else { Rule::Database };
                return self.refuse(
                    rule,
                    format!("what is known to be wrong with the image is unknown: {why}"),
                    "see `watchbell db status`, and get a database with `watchbell db update` or `import`",
                );
            }
        };
        if let Some(hours) = asked.database_hours {
            let oldest = match asked.known_exploited {
                KnownExploited::Refused => findings.exploited_at.unwrap_or(findings.database_at),
                KnownExploited::AsOthers => findings.database_at,
            };
            let database_at = oldest.min(findings.database_at);
            let end = database_at.saturating_add(i64::from(hours).saturating_mul(HOUR));
            if self.now >= end {
                let age = self.now.saturating_sub(database_at) / HOUR;
                self.refuse(
                    Rule::Database,
                    format!("the database of advisories is {age} hours old, and may be {hours}"),
                    "get a newer one with `watchbell db update` or `import`",
                );
            } else {
                self.until(end);
            }
        }
        let mut refused: Vec<(Rule, Severity, &Finding)> = Vec::new();
        for finding in &findings.list {
            let severity = counted_as(asked, finding.severity);
            let is_fixed = finding.fixed.is_some();
            let Some(rule) = breaks(asked, severity, finding.exploited, is_fixed) else { continue };
            match asked.exceptions.last_of(finding).map(|exception| exception.expires) {
                Some(expires) if expires > self.now => self.until(expires),
                _ => refused.push((rule, severity, finding)),
            }
        }
        refused
            .sort_by_key(|(rule, severity, _)| (*rule != Rule::KnownExploited, std::cmp::Reverse(*severity)));
        let more = refused.len().saturating_sub(FINDINGS_TOLD);
        for (rule, severity, finding) in refused.iter().take(FINDINGS_TOLD) {
            let (what, way_out) = told(asked, *rule, *severity, finding);
            self.refuse_for(*rule, Some(&finding.id), what, way_out);
        }
        if let Some((rule, ..)) = refused.get(FINDINGS_TOLD) {
            self.refuse(*rule, format!("{more} more findings"), "see them all with `watchbell scan`");
        }
        if asked.limit.is_some() || asked.known_exploited == KnownExploited::Refused {
            self.not_known(asked, &findings);
        }
    }

    /// That nothing was found means something where somebody could have found it.
    fn not_known(&mut self, asked: &Vulnerabilities, findings: &Findings) {
        let counted = |(name, count): &(Box<str>, u32)| format!("{name} ({count} packages)");
        if !findings.misfiled.is_empty() {
            let misfiled: Vec<String> = findings.misfiled.iter().map(counted).collect();
            self.refuse(
                Rule::Coverage,
                format!("it is not of the distribution that it says: {}", list(&misfiled)),
                "build it upon an image with the os-release of its distribution; no allowance covers this",
            );
        }
        let may_be =
            |name: &str| asked.uncovered.iter().any(|allowed| **allowed == *name || **allowed == *"*");
        let uncovered: Vec<&(Box<str>, u32)> =
            findings.uncovered.iter().filter(|(name, _)| !may_be(name)).collect();
        if !uncovered.is_empty() {
            let counts: Vec<String> = uncovered.iter().copied().map(counted).collect();
            let names: Vec<String> = uncovered.iter().map(|(name, _)| format!("{name:?}")).collect();
            self.refuse(
                Rule::Coverage,
                format!(
                    "whether packages of it are well is not known: there are no advisories of {}",
                    list(&counts)
                ),
                format!(
                    "import those advisories with `watchbell db import`, or let these be without any: \
                     spec.vulnerabilities.allowUncovered: [{}]",
                    list(&names)
                ),
            );
        }
        if asked.known_exploited == KnownExploited::Refused && findings.exploited_at.is_none() {
            self.refuse(
                Rule::KnownExploited,
                "which vulnerabilities are exploited is not known: the database has no catalogue of them",
                "import CISA's with `watchbell db import`",
            );
        }
        // Nothing is above the highest severity.
        let counts = asked.known_exploited == KnownExploited::Refused
            || asked.limit != Some(Limit(Some(Severity::Critical)));
        // What could not break the rule if it were in the list does not break it now.
        let could_break = |sort: &&LeftOut| {
            breaks(asked, counted_as(asked, sort.severity), sort.exploited, sort.is_fixed).is_some()
        };
        let more: u64 = findings.left_out.iter().filter(could_break).map(|sort| u64::from(sort.count)).sum();
        if more > 0 || (counts && findings.unasked > 0) {
            let what = format!(
                "the image has more findings than are looked at: {} besides the worst {}, and {} packages were not \
                 looked up",
                more,
                findings.list.len(),
                findings.unasked
            );
            self.refuse(Rule::Severity, what, "rebuild the image on a newer base, with fewer packages");
        }
        if asked.gaps == Gaps::Allowed {
            return;
        }
        let contents = match &self.facts.contents {
            Ok(contents) => contents.clone(),
            // What was found before may be of a bill that is gone: whether it had gaps is not known any more.
            Err(why) => {
                return self.refuse(
                    Rule::Gaps,
                    format!("whether what is in the image is wholly known is unknown: {why}"),
                    "see `watchbell scan`, or set spec.vulnerabilities.allowGaps",
                );
            }
        };
        if contents.gaps > 0 {
            let some: Vec<String> = contents.some_gaps.iter().map(ToString::to_string).collect();
            let more = u64::from(contents.gaps).saturating_sub(some.len() as u64);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            self.refuse(
                Rule::Gaps,
                format!("what is in the image is not wholly known: {}{more}", some.join(", ")),
                "see `watchbell scan`; install what it names by a package manager, or set spec.vulnerabilities.allowGaps",
            );
        }
    }

    fn age(&mut self) {
        let Some(days) = self.policy().maximum_age_days else { return };
        let rebuild = "rebuild the image";
        match self.facts.created_at {
            None => self.refuse(Rule::Age, "the image does not say when it was made", rebuild),
            // A clock may be off by its time zone. Further ahead, the image would be young for as long as it likes.
            Some(at) if at > self.now.saturating_add(DAY) => {
                let ahead = at.saturating_sub(self.now) / DAY;
                self.until(at.saturating_sub(DAY));
                self.refuse(
                    Rule::Age,
                    format!("the image says that it was made in the future, {ahead} days from now"),
                    "rebuild the image, with the time of the build as its `created`",
                );
            }
            Some(at) => {
                let end = at.saturating_add(i64::from(days).saturating_mul(DAY));
                if self.now >= end {
                    let age = self.now.saturating_sub(at) / DAY;
                    self.refuse(
                        Rule::Age,
                        format!("the image is {age} days old, and may be {days}"),
                        rebuild,
                    );
                } else {
                    self.until(end);
                }
            }
        }
    }

    fn minimality(&mut self) {
        let asked = self.policy().minimality.clone();
        if let Some(most) = asked.bytes_max
            && self.facts.size > most
        {
            let what = format!("the image has {} bytes, and may have {most}", self.facts.size);
            self.refuse(Rule::Size, what, "leave out what the program does not need");
        }
        if asked.shells == Presence::Allowed
            && asked.setuid == Presence::Allowed
            && asked.packages_max.is_none()
        {
            return;
        }
        let contents = match &self.facts.contents {
            Ok(contents) => contents.clone(),
            Err(why) => {
                let rule = match (asked.shells, asked.setuid) {
                    (Presence::Refused, _) => Rule::Shell,
                    (_, Presence::Refused) => Rule::Setuid,
                    _ => Rule::Packages,
                };
                let what = format!("what is in the image is unknown: {why}");
                return self.refuse(rule, what, "see `watchbell scan` of the image");
            }
        };
        if asked.shells == Presence::Refused && !contents.shells.is_empty() {
            let what = format!("the image has a shell: {}", some(&contents.shells, contents.shells_more));
            self.refuse(Rule::Shell, what, "build on an image without one, such as a distroless one");
        }
        if asked.setuid == Presence::Refused && !contents.setuid.is_empty() {
            let what = format!(
                "the image has programs with a setuid or setgid bit or with capabilities: {}",
                some(&contents.setuid, contents.setuid_more)
            );
            self.refuse(Rule::Setuid, what, "take those away (chmod a-s, setcap -r) or the programs");
        }
        if let Some(most) = asked.packages_max
            && contents.packages > most
        {
            let what = format!("the image has {} packages, and may have {most}", contents.packages);
            self.refuse(Rule::Packages, what, "leave out what the program does not need");
        }
    }

    fn base(&mut self) {
        let bases = &self.policy().bases;
        let is_on = |layers: &[Arc<str>], base: &[Box<str>]| {
            base.len() <= layers.len() && base.iter().zip(layers).all(|(a, b)| **a == **b)
        };
        let is_known = bases
            .iter()
            .any(|base| is_on(&self.facts.layers, &base.layers) || is_on(&self.facts.diff_ids, &base.layers));
        if !bases.is_empty() && !is_known {
            let names: Vec<&str> = bases.iter().map(|base| &*base.name).collect();
            let what = format!("the image is built on none of {}", names.join(", "));
            self.refuse(
                Rule::Base,
                what,
                "build it on one of them as it is today, or add its layers to spec.baseImages",
            );
        }
    }
}

/// Whether the image has what a policy asks of its signers.
pub(super) fn is_vouched_for(by: &InForce, facts: &ImageFacts) -> bool {
    is_signed(by, facts) && by.policy.attestations.iter().all(|asked| is_stated(by, facts, asked))
}

/// Whether there is such a statement.
pub(super) fn is_stated(by: &InForce, facts: &ImageFacts, asked: &Attestation) -> bool {
    statements(by, facts, asked).any(|statement| fits(asked, statement))
}

/// One of the signers is enough.
pub(super) fn is_signed(by: &InForce, facts: &ImageFacts) -> bool {
    let has_signed = |signer: &Signer| {
        signer.rule.is_ok()
            && facts.signers.iter().any(|signed| signed.signer == signer.id && signed.image.is_ok())
    };
    by.signers.is_empty() || by.signers.iter().any(has_signed)
}

/// Those who may make a statement.
pub(super) fn signers_of<'a>(by: &'a InForce, asked: &'a Attestation) -> impl Iterator<Item = &'a Signer> {
    by.signers.iter().filter(|signer| {
        signer.rule.is_ok() && (asked.signers.is_empty() || asked.signers.contains(&signer.name))
    })
}

/// What those who may make a statement have said.
fn statements<'a>(
    by: &'a InForce,
    facts: &'a ImageFacts,
    asked: &'a Attestation,
) -> impl Iterator<Item = &'a Statement> {
    let signed = signers_of(by, asked)
        .filter_map(|signer| facts.signers.iter().find(|signed| signed.signer == signer.id));
    let said = signed.flat_map(|signed| &signed.statements);
    said.filter(|statement| statement.predicate_type == asked.predicate_type)
}

fn fits(asked: &Attestation, statement: &Statement) -> bool {
    let builder = asked
        .builder
        .as_ref()
        .is_none_or(|glob| statement.builder.as_deref().is_some_and(|builder| glob.matches(builder)));
    let source =
        asked.source.as_ref().is_none_or(|glob| statement.sources.iter().any(|source| glob.matches(source)));
    builder && source
}

fn counted_as(asked: &Vulnerabilities, severity: Option<Severity>) -> Severity {
    severity.or(asked.unscored).unwrap_or(Severity::Medium)
}

/// What a finding breaks, exceptions aside. An exploited one counts though nobody has a fix.
fn breaks(asked: &Vulnerabilities, severity: Severity, exploited: Exploited, is_fixed: bool) -> Option<Rule> {
    if asked.known_exploited == KnownExploited::Refused && exploited == Exploited::Known {
        return Some(Rule::KnownExploited);
    }
    let Limit(limit) = asked.limit?;
    let counts = asked.unfixed == Unfixed::Counts || is_fixed;
    (counts && limit.is_none_or(|limit| severity > limit)).then_some(Rule::Severity)
}

fn told(asked: &Vulnerabilities, rule: Rule, severity: Severity, finding: &Finding) -> (String, String) {
    let Finding { id, package, version, fixed, .. } = finding;
    let scored = match finding.severity {
        Some(_) => severity.name().to_owned(),
        None => format!("unscored, counts as {}", severity.name()),
    };
    let why = match (rule, asked.limit) {
        (Rule::KnownExploited, _) => "is known to be exploited".to_owned(),
        (_, Some(Limit(Some(limit)))) => format!("is above {}", limit.name()),
        _ => "is one more than may be".to_owned(),
    };
    let ended = asked.exceptions.last_of(finding).map(|e| {
        let at =
            Timestamp::from_second(e.expires).map_or_else(|_| e.expires.to_string(), |at| at.to_string());
        format!(", and the exception for it ({}) ended at {at}", e.reason)
    });
    let what = format!("{id} ({scored}) in {package} {version} {why}{}", ended.unwrap_or_default());
    let way_out = match fixed {
        Some(fixed) => {
            format!("rebuild the image with {package} {fixed}, or add an exception with a reason and an end")
        }
        None => {
            "there is no fix yet: add an exception with a reason and an end, or leave the package out".into()
        }
    };
    (what, way_out)
}

/// So many ecosystems are told.
const ECOSYSTEMS_TOLD: usize = 5;

fn list(names: &[String]) -> String {
    let shown = names[..names.len().min(ECOSYSTEMS_TOLD)].join(", ");
    match names.len().saturating_sub(ECOSYSTEMS_TOLD) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn some(paths: &[Box<str>], unlisted: u32) -> String {
    let shown = paths.iter().take(PATHS_TOLD).map(|path| format!("/{path}")).collect::<Vec<_>>().join(", ");
    match paths.len().saturating_sub(PATHS_TOLD) + unlisted as usize {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
