//! The report as SARIF 2.1.0 (OASIS Static Analysis Results Interchange Format), as code-scanning views read it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Report, SecretPlace, Standing};
use crate::finding::Severity;

/// The name of our fingerprints; a change of what they are made of changes the number.
const FINGERPRINT: &str = "watchbellScan/v1";

struct Results<'a> {
    report: &'a Report,
    rules: BTreeMap<String, Value>,
    /// With their rule's id; the place in the list of rules is known at the end.
    results: Vec<(String, Value)>,
}

struct Found<'f> {
    rule: &'f str,
    severity: Severity,
    message: String,
    path: Option<&'f str>,
    line: u32,
    /// What stays the same from one build to the next.
    identity: String,
    logical: String,
    standing: &'f Standing,
}

/// The whole log.
pub fn sarif(report: &Report) -> Value {
    let mut all = Results { report, rules: BTreeMap::new(), results: Vec::new() };
    all.vulnerabilities();
    all.secrets();
    all.configuration();
    let order: Vec<&String> = all.rules.keys().collect();
    let results: Vec<Value> = all
        .results
        .iter()
        .map(|(rule, result)| {
            let mut result = result.clone();
            result["ruleIndex"] = order.binary_search(&rule).ok().into();
            result
        })
        .collect();
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "watchbell scan", "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": all.rules.values().collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
            "properties": {
                "imageName": report.subject.name, "imageDigest": report.subject.identity.digest,
                "findingsKnown": report.unknown.is_none(),
            },
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::None | Severity::Unknown => "note",
    }
}

/// What code-scanning views sort by: a score of 0 to 10 as text.
fn number(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "9.5",
        Severity::High => "8.0",
        Severity::Medium => "5.5",
        Severity::Low => "2.0",
        Severity::None | Severity::Unknown => "0.0",
    }
}

impl Results<'_> {
    fn add(&mut self, found: Found<'_>) {
        // A file of an image has no address of its own; its path is relative to the image's root.
        let uri = found.path.map_or_else(|| uri(&self.report.subject.name), uri);
        let mut result = json!({
            "ruleId": found.rule, "level": level(found.severity), "message": {"text": found.message},
            "locations": [{
                "physicalLocation": {
                    "artifactLocation": {"uri": uri},
                    "region": {"startLine": found.line.max(1)},
                },
                "logicalLocations": [{"fullyQualifiedName": found.logical, "kind": "module"}],
            }],
            "partialFingerprints": {FINGERPRINT: fingerprint(&format!("{}\n{}", found.rule, found.identity))},
        });
        let why = match found.standing {
            Standing::Counts => None,
            Standing::Kernel => Some("the kernel's headers: the code does not run in a container".to_owned()),
            Standing::Notice => Some("no vulnerability".to_owned()),
            Standing::Unfixed => Some("not mended yet".to_owned()),
            Standing::Cleared { document, status, text, .. } => {
                Some(format!("{document}: {status} {text}").trim_end().to_owned())
            }
            Standing::Accepted { file, line, reason, expires } => {
                Some(format!("{file}:{line}: {reason} (until {expires})"))
            }
        };
        if let Some(why) = why {
            result["suppressions"] =
                json!([{"kind": "external", "status": "accepted", "justification": why}]);
        }
        self.results.push((found.rule.to_owned(), result));
    }

    fn rule(
        &mut self,
        id: &str,
        severity: Severity,
        title: &str,
        help: &str,
        url: Option<&str>,
        score: Option<f64>,
    ) {
        if self.rules.contains_key(id) {
            return;
        }
        let mut rule = json!({
            "id": id,
            "shortDescription": {"text": title},
            "help": {"text": help},
            "defaultConfiguration": {"level": level(severity)},
            "properties": {
                "tags": ["security"],
                "security-severity": score.map_or_else(|| number(severity).to_owned(), |score| format!("{score:.1}")),
            },
        });
        if let Some(url) = url.filter(|url| url.starts_with("https://")) {
            rule["helpUri"] = url.into();
        }
        self.rules.insert(id.to_owned(), rule);
    }

    fn vulnerabilities(&mut self) {
        for one in &self.report.vulnerabilities {
            let (question, known) = (&one.finding.question, &one.finding.known);
            let about = &known.vulnerability;
            let title = if about.summary.is_empty() { about.id.as_str() } else { about.summary.as_str() };
            let help = match known.fixed.first() {
                Some(fixed) => format!("update {} to {fixed}", question.name),
                None => format!("no version of {} that mends it is known", question.name),
            };
            self.rule(
                &about.id,
                known.severity,
                title,
                &help,
                about.url.as_deref(),
                about.score().map(watchbell_advisory::Score::value),
            );
            let installed: Vec<String> =
                one.packages.iter().map(|p| format!("{} {}", p.name, p.version)).collect();
            let exploited = if about.exploited.is_some() { ", known to be exploited" } else { "" };
            self.add(Found {
                rule: &about.id,
                severity: known.severity,
                message: format!(
                    "{}: {} {} ({}{exploited}); {help}",
                    about.id,
                    question.name,
                    question.version,
                    installed.join(", ")
                ),
                path: one.packages.iter().find_map(|package| package.paths.first()).map(String::as_str),
                line: 1,
                identity: question.key(),
                logical: one.packages.first().map_or_else(|| question.key(), |package| package.purl.clone()),
                standing: &one.standing,
            });
        }
    }

    fn secrets(&mut self) {
        for one in &self.report.secrets {
            let what = &one.what;
            let severity = what.severity();
            self.rule(
                what.rule.id,
                what.rule.severity,
                what.rule.title,
                "revoke it, and build the image without it",
                None,
                None,
            );
            let (path, place) = match &what.place {
                SecretPlace::File { path, .. } => (Some(path.as_str()), format!("/{path}")),
                SecretPlace::Variable(name) => (None, format!("variable {name}")),
                SecretPlace::Label(name) => (None, format!("label {name}")),
                SecretPlace::History(step) => (None, format!("history, step {step}")),
            };
            self.add(Found {
                rule: what.rule.id,
                severity,
                message: format!("{} in {place}: {}", what.rule.title, what.shown),
                path,
                line: what.line,
                identity: place.clone(),
                logical: place,
                standing: &one.standing,
            });
        }
    }

    fn configuration(&mut self) {
        for one in &self.report.configuration {
            let (rule, what) = (one.what.rule, &one.what);
            self.rule(rule.id, rule.severity, rule.title, rule.way_out, None, None);
            let place =
                what.path.as_ref().map_or_else(|| "configuration".to_owned(), |path| format!("/{path}"));
            self.add(Found {
                rule: rule.id,
                severity: rule.severity,
                message: format!("{}: {}", rule.title, what.message),
                path: what.path.as_deref(),
                line: 1,
                identity: place.clone(),
                logical: place,
                standing: &one.standing,
            });
        }
    }
}

fn fingerprint(what: &str) -> String {
    Sha256::digest(what).iter().take(16).fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A path as a relative URI reference (RFC 3986); a colon in its first part would read as a scheme.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.trim_start_matches('/').bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                uri.push(char::from(byte));
            }
            other => {
                // Writing to a String does not fail.
                let _ = write!(uri, "%{other:02X}");
            }
        }
    }
    uri
}
