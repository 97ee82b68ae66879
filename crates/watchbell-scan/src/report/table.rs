//! The report for people: plain words, the worst first.

use std::collections::{BTreeMap, BTreeSet};

use super::{JudgedVulnerability, Report, SecretPlace, Standing, json};
use crate::finding::{Class, Severity, UNVERSIONED};
use crate::minimality::Minimality;

/// How a piece of a line is to be shown where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tint {
    Plain,
    /// Critical and high.
    Bad,
    /// Medium.
    Doubtful,
    /// Headings.
    Strong,
}

/// A line in pieces, without its end.
pub type Line = Vec<(Tint, String)>;

/// Leftovers that are listed; JSON has all.
const LEFTOVERS_SHOWN: usize = 10;
/// Files of one rule that are listed.
const PATHS_SHOWN: usize = 8;
const TITLE_CHARACTERS: usize = 60;

/// The whole report, line by line.
pub fn table(report: &Report) -> Vec<Line> {
    let mut lines = vec![heading(report)];
    vulnerabilities(report, &mut lines);
    secrets(report, &mut lines);
    configuration(report, &mut lines);
    if let Some(minimality) = &report.minimality {
        minimal(minimality, &mut lines);
    }
    layers(report, &mut lines);
    lines
}

/// Foreign text on one line.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn plain(text: impl Into<String>) -> Line {
    vec![(Tint::Plain, text.into())]
}

fn strong(text: impl Into<String>) -> Line {
    vec![(Tint::Strong, text.into())]
}

fn tint(severity: Severity) -> Tint {
    match severity {
        Severity::Critical | Severity::High => Tint::Bad,
        Severity::Medium => Tint::Doubtful,
        Severity::Low | Severity::None | Severity::Unknown => Tint::Plain,
    }
}

fn word(severity: Severity) -> String {
    severity.as_str().to_ascii_uppercase()
}

fn many(count: usize, what: &str) -> String {
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {what}s"),
    }
}

fn heading(report: &Report) -> Line {
    let distribution = report.inventory.distribution.as_ref().map_or_else(
        || "no distribution".to_owned(),
        |known| known.pretty_name.clone().unwrap_or_else(|| known.id.clone()),
    );
    let packages = many(report.inventory.packages.len(), "package");
    strong(format!("{} ({}, {packages})", clean(&report.subject.name), clean(&distribution)))
}

/// Columns two spaces apart; the last is not padded.
fn columns(rows: Vec<Vec<(Tint, String)>>) -> Vec<Line> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|(_, text)| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    rows.into_iter()
        .map(|row| {
            let last = row.len().saturating_sub(1);
            row.into_iter()
                .enumerate()
                .map(|(at, (tint, mut text))| {
                    if at < last {
                        let pad = widths[at] - text.chars().count() + 2;
                        text.extend(std::iter::repeat_n(' ', pad));
                    }
                    (tint, text)
                })
                .collect()
        })
        .collect()
}

fn head(names: &[&str]) -> Vec<(Tint, String)> {
    names.iter().map(|name| (Tint::Strong, (*name).to_owned())).collect()
}

fn vulnerabilities(report: &Report, lines: &mut Vec<Line>) {
    lines.push(Line::new());
    if report.unknown.is_some() {
        lines.push(strong("Vulnerabilities: unknown"));
        return;
    }
    let counts = report.counts();
    let total: usize = counts.values().sum();
    let split: Vec<String> =
        counts.iter().rev().map(|(severity, count)| format!("{} {count}", word(*severity))).collect();
    let split = if split.is_empty() { String::new() } else { format!(" ({})", split.join(", ")) };
    lines.push(strong(format!("Vulnerabilities: {total}{split}")));
    let (kernel, others): (Vec<_>, Vec<_>) =
        report.vulnerabilities.iter().partition(|one| one.finding.known.class == Class::Kernel);
    if !others.is_empty() {
        let mut rows = vec![head(&[
            "SEVERITY",
            "SCORE",
            "VULNERABILITY",
            "PACKAGE",
            "INSTALLED",
            "FIXED IN",
            "LAYER",
            "NOTE",
        ])];
        rows.extend(others.iter().map(|one| row(one)));
        lines.extend(columns(rows));
    }
    if !kernel.is_empty() {
        let packages: BTreeSet<&str> =
            kernel.iter().flat_map(|one| one.packages.iter().map(|package| package.name.as_str())).collect();
        let names: Vec<String> = packages.iter().map(|name| clean(name)).collect();
        lines.push(plain(format!(
            "Apart: {} of the kernel's source, of which the image has headers ({}); its code does not run in a container.",
            many(kernel.len(), "vulnerability"),
            names.join(", ")
        )));
    }
    for (ecosystem, count) in &report.uncovered {
        let why = if ecosystem.starts_with(UNVERSIONED) {
            "whose version is none that advisories can be compared with"
        } else {
            "for which there are no advisories here"
        };
        lines.push(plain(format!("Not known: {} of {}, {why}.", many(*count, "package"), clean(ecosystem))));
    }
    for (what, count) in &report.misfiled {
        lines.push(plain(format!(
            "Not known: {} ({}): the image is not of the distribution that it says.",
            many(*count, "package"),
            clean(what)
        )));
    }
    if report.unasked > 0 {
        lines.push(plain(format!(
            "Not known: {} more, because the image has more findings than are looked at.",
            many(report.unasked, "package")
        )));
    }
    if !report.undetermined.is_empty() {
        let names: BTreeSet<&str> =
            report.undetermined.iter().map(|one| one.question.name.as_str()).collect();
        let shown: Vec<String> = names.iter().take(PATHS_SHOWN).map(|name| clean(name)).collect();
        let more = names.len() - shown.len();
        lines.push(plain(format!(
            "Not known: {} of which nobody found out yet whether they are in {}{}.",
            many(report.undetermined.len(), "vulnerability"),
            shown.join(", "),
            if more > 0 { format!(" and {more} more") } else { String::new() },
        )));
    }
    for (why, count) in &report.unlisted {
        let words = match *why {
            "unfixed" => "without a fix (--ignore-unfixed)",
            _ => "of other severities (--severity)",
        };
        lines.push(plain(format!("Not listed: {} {words}.", many(*count, "finding"))));
    }
}

fn row(one: &JudgedVulnerability) -> Vec<(Tint, String)> {
    let known = &one.finding.known;
    let about = &known.vulnerability;
    let severity = one.severity();
    let mut notes = Vec::new();
    if about.exploited.is_some() {
        notes.push("known exploited".to_owned());
    }
    if let Some(prediction) = about.prediction.filter(|prediction| prediction.probability >= 10_000) {
        notes.push(format!("EPSS {}%", prediction.probability / 1000));
    }
    match &one.standing {
        Standing::Counts => {}
        Standing::Kernel => notes.push("kernel".to_owned()),
        Standing::Notice => notes.push("no vulnerability".to_owned()),
        Standing::Unfixed => notes.push("unfixed".to_owned()),
        Standing::Cleared { status, .. } => notes.push(format!("VEX: {status}")),
        Standing::Accepted { expires, .. } => notes.push(format!("ignored until {expires}")),
    }
    if let Some(remark) = &one.remark {
        notes.push(clean(&remark.text));
    }
    let title: String = about.summary.chars().take(TITLE_CHARACTERS).collect();
    if !title.is_empty() {
        notes.push(clean(&title));
    }
    let tint = if one.standing.counts() { tint(severity) } else { Tint::Plain };
    let fixed =
        known.fixed.first().map_or_else(|| known.status.as_str().to_owned(), |version| clean(version));
    let layer = one.packages.iter().find_map(|package| package.layer);
    vec![
        (tint, word(severity)),
        (Tint::Plain, about.score().map_or_else(String::new, |score| format!("{:.1}", score.value()))),
        (Tint::Plain, clean(&about.id)),
        (Tint::Plain, clean(&one.finding.question.name)),
        (Tint::Plain, clean(&one.finding.question.version)),
        (Tint::Plain, fixed),
        (Tint::Plain, layer.map_or_else(String::new, |layer| layer.to_string())),
        (Tint::Plain, notes.join("; ")),
    ]
}

fn secrets(report: &Report, lines: &mut Vec<Line>) {
    if report.unsearched > 0 {
        lines.push(plain(format!(
            "Not searched for secrets: {} above 8 MiB or in UTF-16.",
            many(report.unsearched, "text")
        )));
    }
    if report.secrets.is_empty() {
        return;
    }
    lines.push(Line::new());
    lines.push(strong(format!("Secrets: {}", report.secrets.len())));
    let mut rows = vec![head(&["SEVERITY", "WHAT", "WHERE", "LAYER", "SHOWN"])];
    for one in &report.secrets {
        let what = &one.what;
        let (place, layer) = match &what.place {
            SecretPlace::File { path, layer, is_hidden } => {
                let hidden =
                    if *is_hidden { " (hidden by a later layer, and still in the image)" } else { "" };
                (format!("/{}:{}{hidden}", clean(path), what.line), layer.to_string())
            }
            SecretPlace::Variable(name) => (format!("variable {}", clean(name)), String::new()),
            SecretPlace::Label(name) => (format!("label {}", clean(name)), String::new()),
            SecretPlace::History(step) => (format!("history, step {step}"), String::new()),
        };
        let mark = match (&one.standing, json::certainty(what)) {
            (Standing::Accepted { expires, .. }, _) => format!(", ignored until {expires}"),
            (_, "plain") => String::new(),
            (_, certainty) => format!(", {certainty}"),
        };
        rows.push(vec![
            (tint(what.severity()), word(what.severity())),
            (Tint::Plain, what.rule.title.to_owned()),
            (Tint::Plain, place),
            (Tint::Plain, layer),
            (Tint::Plain, format!("{}{mark}", clean(&what.shown))),
        ]);
    }
    lines.extend(columns(rows));
}

fn configuration(report: &Report, lines: &mut Vec<Line>) {
    let counting: Vec<_> = report.configuration.iter().filter(|one| one.standing.counts()).collect();
    if counting.is_empty() {
        return;
    }
    lines.push(Line::new());
    lines.push(strong(format!("Configuration: {}", counting.len())));
    let mut by_rule: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    for one in counting {
        let at = crate::configuration::RULES
            .iter()
            .position(|rule| rule.id == one.what.rule.id)
            .unwrap_or(usize::MAX);
        by_rule.entry(at).or_default().push(&one.what);
    }
    for findings in by_rule.values() {
        let rule = findings[0].rule;
        let mut shown: Vec<String> = findings
            .iter()
            .take(PATHS_SHOWN)
            .map(|finding| {
                finding
                    .path
                    .as_ref()
                    .map_or_else(|| clean(&finding.message), |path| format!("/{}", clean(path)))
            })
            .collect();
        if findings.len() > PATHS_SHOWN {
            shown.push(format!("and {} more", findings.len() - PATHS_SHOWN));
        }
        lines.push(vec![
            (tint(rule.severity), format!("{:<9}", word(rule.severity))),
            (Tint::Plain, format!("{} [{}]: {}", rule.title, rule.id, shown.join(", "))),
        ]);
        lines.push(plain(format!("          way out: {}", rule.way_out)));
    }
}

fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (name, unit) in UNITS {
        if bytes >= unit {
            return format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit);
        }
    }
    format!("{bytes} B")
}

fn list(paths: &[String]) -> String {
    let mut shown: Vec<String> =
        paths.iter().take(PATHS_SHOWN).map(|path| format!("/{}", clean(path))).collect();
    if paths.len() > PATHS_SHOWN {
        shown.push(format!("and {} more", paths.len() - PATHS_SHOWN));
    }
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

fn minimal(report: &Minimality, lines: &mut Vec<Line>) {
    lines.push(Line::new());
    lines.push(strong("Minimality"));
    let mut rows = vec![
        ("size", format!("{} in {}", size(report.bytes), many(report.files, "file"))),
        ("executables", report.executables.to_string()),
        ("shells", list(&report.shells)),
        ("package managers", list(&report.package_managers)),
        ("setuid", list(&report.setuid)),
        ("interpreters", list(&report.interpreters)),
    ];
    let (_, means) = json::entry(&report.entry);
    let program =
        report.program.as_ref().map_or_else(String::new, |program| format!("/{}: ", clean(program)));
    rows.push(("starts", format!("{program}{}", clean(&means))));
    if report.program.is_some() {
        rows.push((
            "could load",
            format!(
                "{} in {}, of {} of the {} that list their files",
                size(report.reached_bytes),
                many(report.reached_files, "file"),
                report.reached_packages,
                many(report.packages, "package"),
            ),
        ));
        rows.push((
            "distance",
            format!(
                "{} and {} more than the same program needs",
                size(report.distance_bytes()),
                many(report.packages.saturating_sub(report.reached_packages), "package"),
            ),
        ));
        let biggest: Vec<String> = report
            .leftovers
            .iter()
            .take(LEFTOVERS_SHOWN)
            .map(|leftover| format!("{} {}", clean(&leftover.name), size(leftover.bytes)))
            .collect();
        if !biggest.is_empty() {
            rows.push(("biggest unused", biggest.join(", ")));
        }
    }
    if !report.missing_libraries.is_empty() {
        let names: Vec<String> = report.missing_libraries.iter().map(|name| clean(name)).collect();
        rows.push(("missing", names.join(", ")));
    }
    for (name, value) in rows {
        lines.push(plain(format!("{name:<17} {value}")));
    }
}

/// What made the layers that findings are in.
fn layers(report: &Report, lines: &mut Vec<Line>) {
    let of_packages =
        report.vulnerabilities.iter().flat_map(|one| one.packages.iter().filter_map(|package| package.layer));
    let of_secrets = report.secrets.iter().filter_map(|one| match one.what.place {
        SecretPlace::File { layer, .. } => Some(layer),
        SecretPlace::Variable(_) | SecretPlace::Label(_) | SecretPlace::History(_) => None,
    });
    let numbers: BTreeSet<u32> = of_packages.chain(of_secrets).collect();
    let known: Vec<(u32, String)> =
        numbers.into_iter().filter_map(|number| Some((number, report.history(number)?))).collect();
    if known.is_empty() {
        return;
    }
    lines.push(Line::new());
    lines.push(strong("Layers"));
    for (number, command) in known {
        const CHARACTERS: usize = 100;
        let mut shown: String = clean(&command).chars().take(CHARACTERS).collect();
        if shown.len() < command.len() {
            shown.push('…');
        }
        lines.push(plain(format!("{number:>3}  {shown}")));
    }
}
