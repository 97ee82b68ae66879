//! The report as JSON. docs/scan.md describes each field; a change that is not an addition changes `schemaVersion`.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use watchbell_image::Digest;

use super::{Judged, JudgedVulnerability, Report, SecretFinding, SecretPlace, Standing, Unseen};
use crate::configuration::ConfigurationFinding;
use crate::finding::{Class, Severity};
use crate::minimality::{Entry, Minimality};

const SCHEMA_VERSION: u32 = 1;

/// The whole report.
pub fn json(report: &Report) -> Value {
    let counts: Map<String, Value> = report
        .counts()
        .into_iter()
        .map(|(severity, count)| (severity.as_str().to_owned(), count.into()))
        .collect();
    let subject = &report.subject;
    let unread: Map<String, Value> =
        report.uncovered.iter().map(|(ecosystem, count)| (ecosystem.clone(), (*count).into())).collect();
    json!({
        "schemaVersion": SCHEMA_VERSION,
        "time": report.time.to_string(),
        "subject": {
            "name": subject.name,
            "digest": subject.identity.digest,
            "repository": subject.identity.repository,
            "tag": subject.identity.tag,
            "distribution": report.inventory.distribution.as_ref().map(|distribution| json!({
                "id": distribution.id, "version": distribution.version_id, "name": distribution.pretty_name,
            })),
            "layers": subject.layers.iter().zip(0u32..).map(|(digest, number)| json!({
                "digest": digest.as_str(), "createdBy": report.history(number),
            })).collect::<Vec<_>>(),
        },
        "findingsKnown": report.unknown.is_none(),
        "findingsUnknownReason": report.unknown,
        "sources": report.sources.iter().map(|source| json!({
            "name": source.name, "newest": source.newest.and_then(time), "imported": time(source.imported),
        })).collect::<Vec<_>>(),
        "packages": report.inventory.packages.len(),
        "packagesWithoutAdvisories": unread,
        "packagesOfOtherFormat": report.misfiled,
        "packagesNotAskedFor": report.unasked,
        "undetermined": report.undetermined.iter().map(|one| json!({
            "id": one.id, "ecosystem": one.question.ecosystem.to_string(), "name": one.question.name,
            "version": one.question.version,
        })).collect::<Vec<_>>(),
        "packagesOfDistribution": report.questions.owned,
        "counts": counts,
        "unlisted": report.unlisted,
        "vulnerabilities": report.vulnerabilities.iter().map(|one| vulnerability(report, one)).collect::<Vec<_>>(),
        "unsearched": report.unsearched,
        "secrets": report.secrets.iter().map(|one| secret(report, one)).collect::<Vec<_>>(),
        "configuration": report.configuration.iter().map(|one| configuration(report, one)).collect::<Vec<_>>(),
        "minimality": report.minimality.as_ref().map(minimality),
        "gaps": report.inventory.gaps.iter().map(|gap| json!({
            "path": gap.location.path, "layer": gap.location.layer.as_ref().map(Digest::as_str),
            "reason": gap.reason,
        })).collect::<Vec<_>>(),
        "idleEntries": report.idle_entries.iter().map(|entry| json!({
            "file": entry.file, "line": entry.line, "id": entry.id, "expires": entry.expires, "expired": entry.is_expired,
        })).collect::<Vec<_>>(),
        "gate": {
            "failOn": report.gate.fail_on.map(Severity::as_str),
            "failures": report.gate.failures,
            "unseen": report.gate.unseen.iter().map(|unseen| json!({
                "what": unseen.as_str(),
                "ecosystem": match unseen {
                    Unseen::Uncovered { ecosystem, .. } | Unseen::Misfiled { what: ecosystem, .. } => Some(ecosystem),
                    Unseen::Advisories | Unseen::Unasked(_) | Unseen::Gaps(_) => None,
                },
                "count": unseen.count(),
            })).collect::<Vec<_>>(),
            "holds": report.gate.holds(),
        },
    })
}

fn time(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}

fn layer(report: &Report, number: Option<u32>) -> Value {
    number.map_or(Value::Null, |number| {
        json!({
            "number": number,
            "digest": report.layer_digest(number).map(Digest::as_str),
            "createdBy": report.history(number),
        })
    })
}

pub(super) fn standing(standing: &Standing) -> Value {
    match standing {
        Standing::Counts => json!({"counts": true}),
        Standing::Kernel => json!({"counts": false, "because": "kernel"}),
        Standing::Notice => json!({"counts": false, "because": "notice"}),
        Standing::Unfixed => json!({"counts": false, "because": "unfixed"}),
        Standing::Cleared { document, status, justification, text } => json!({
            "counts": false, "because": "vex", "document": document, "status": status, "justification": justification,
            "statement": text,
        }),
        Standing::Accepted { file, line, reason, expires } => json!({
            "counts": false, "because": "ignored", "file": file, "line": line, "reason": reason, "expires": expires,
        }),
    }
}

pub(super) fn class(class: Class) -> &'static str {
    match class {
        Class::Package => "package",
        Class::Kernel => "kernel",
        Class::Notice => "notice",
    }
}

fn vulnerability(report: &Report, one: &JudgedVulnerability) -> Value {
    let (question, known) = (&one.finding.question, &one.finding.known);
    let about = &known.vulnerability;
    json!({
        "id": about.id,
        "aliases": about.aliases,
        "severity": known.severity.as_str(),
        "scores": about.scores.iter().map(|score| json!({
            "version": score.version.to_string(), "score": score.value(), "vector": score.vector,
        })).collect::<Vec<_>>(),
        "summary": about.summary,
        "url": about.url,
        "published": about.published.and_then(time),
        "ecosystem": question.ecosystem.to_string(),
        "name": question.name,
        "version": question.version,
        "status": known.status.as_str(),
        "class": class(known.class),
        "fixedVersions": known.fixed,
        "knownExploited": about.exploited.as_ref().map(|exploited| json!({
            "added": exploited.added, "due": exploited.due, "ransomware": exploited.in_ransomware,
        })),
        "epss": about.prediction.map(|prediction| json!({
            "probability": f64::from(prediction.probability) / 100_000.0,
            "percentile": f64::from(prediction.percentile) / 100_000.0,
        })),
        "packages": one.packages.iter().map(|package| json!({
            "purl": package.purl, "name": package.name, "version": package.version, "paths": package.paths,
            "layer": layer(report, package.layer),
        })).collect::<Vec<_>>(),
        "statements": known.statements.iter().map(|statement| json!({
            "advisory": statement.advisory, "source": statement.source, "status": statement.status.as_str(),
            "severity": statement.severity.as_str(), "url": statement.url,
        })).collect::<Vec<_>>(),
        "standing": standing(&one.standing),
        "vexRemark": one.remark.as_ref().map(|remark| &remark.text),
    })
}

fn secret(report: &Report, one: &Judged<SecretFinding>) -> Value {
    let what = &one.what;
    let (place, number) = match &what.place {
        SecretPlace::File { path, layer, is_hidden } => {
            (json!({"path": path, "line": what.line, "hidden": is_hidden}), Some(*layer))
        }
        SecretPlace::Variable(name) => (json!({"variable": name}), None),
        SecretPlace::Label(name) => (json!({"label": name}), None),
        SecretPlace::History(step) => (json!({"historyStep": step}), None),
    };
    json!({
        "rule": what.rule.id, "title": what.rule.title, "severity": what.severity().as_str(),
        "certainty": certainty(what), "shown": what.shown, "place": place, "layer": layer(report, number),
        "standing": standing(&one.standing),
    })
}

pub(super) fn certainty(secret: &SecretFinding) -> &'static str {
    match secret.certainty {
        crate::secret::Certainty::Plain => "plain",
        crate::secret::Certainty::Encrypted => "encrypted",
        crate::secret::Certainty::TestData => "test-data",
    }
}

fn configuration(report: &Report, one: &Judged<ConfigurationFinding>) -> Value {
    let what = &one.what;
    json!({
        "rule": what.rule.id, "title": what.rule.title, "severity": what.rule.severity.as_str(), "path": what.path,
        "message": what.message, "wayOut": what.rule.way_out, "layer": layer(report, what.layer),
        "standing": standing(&one.standing),
    })
}

pub(super) fn entry(entry: &Entry) -> (&'static str, String) {
    match entry {
        Entry::None => ("none", "the image starts nothing by itself".to_owned()),
        Entry::Missing(word) => ("missing", format!("{word:?} is not in the image")),
        Entry::Static => ("static", "a static program".to_owned()),
        Entry::Dynamic => ("dynamic", "a program and the libraries that it names".to_owned()),
        Entry::Script => ("script", "a script, its interpreter and the programs that it names".to_owned()),
        Entry::Interpreted(class) => ("interpreted", (*class).to_owned()),
    }
}

fn minimality(report: &Minimality) -> Value {
    let (kind, words) = entry(&report.entry);
    json!({
        "command": report.command, "program": report.program, "entry": kind, "entryMeans": words,
        "bytes": report.bytes, "files": report.files, "packages": report.packages, "executables": report.executables,
        "shells": report.shells, "packageManagers": report.package_managers, "setuid": report.setuid,
        "interpreters": report.interpreters,
        "reached": {"bytes": report.reached_bytes, "files": report.reached_files, "packages": report.reached_packages},
        "distance": {
            "bytes": report.distance_bytes(),
            "packages": report.packages.saturating_sub(report.reached_packages),
        },
        "missingLibraries": report.missing_libraries,
        "leftovers": report.leftovers.iter().map(|leftover| json!({
            "name": leftover.name, "bytes": leftover.bytes, "files": leftover.files,
        })).collect::<Vec<_>>(),
    })
}
