//! The bill of materials with its vulnerabilities and what was said of them: CycloneDX 1.6, its VEX part included.

use serde_json::{Value, json};
use watchbell_advisory::{CvssVersion, Score};

use super::{JudgedVulnerability, Report, Standing, json};
use crate::finding::Severity;
use crate::sbom;
use crate::vex::VexStatus;

/// The whole document.
pub fn cyclonedx(report: &Report) -> Value {
    let subject = sbom::Subject {
        name: report.subject.name.clone(),
        digest: report
            .subject
            .identity
            .digest
            .as_deref()
            .and_then(|digest| watchbell_image::Digest::parse(digest).ok()),
        time: report.time.round(jiff::Unit::Second).unwrap_or(report.time).to_string(),
    };
    let mut document = sbom::cyclonedx(&report.inventory, &subject);
    // Without advisories the list is left out: an empty one would say that there are none.
    if report.unknown.is_none() {
        let references = sbom::references(&report.inventory);
        let list: Vec<Value> =
            report.vulnerabilities.iter().map(|one| vulnerability(one, &references)).collect();
        document["vulnerabilities"] = list.into();
    }
    document
}

fn vulnerability(one: &JudgedVulnerability, references: &[String]) -> Value {
    let known = &one.finding.known;
    let about = &known.vulnerability;
    let mut ratings: Vec<Value> = about.scores.iter().map(rating).collect();
    if ratings.is_empty() {
        ratings.push(json!({"severity": severity(known.severity), "method": "other"}));
    }
    let source = source_of(&about.id);
    let mut entry = json!({
        "bom-ref": format!("{}#{}", about.id, one.finding.question.key()),
        "id": about.id,
        "ratings": ratings,
        "affects": one.packages.iter().map(|package| json!({
            "ref": references[package.index],
            "versions": [{"version": package.version, "status": "affected"}],
        })).collect::<Vec<_>>(),
        "properties": [
            {"name": "watchbell:status", "value": known.status.as_str()},
            {"name": "watchbell:class", "value": json::class(known.class)},
            {"name": "watchbell:known-exploited", "value": about.exploited.is_some().to_string()},
        ],
    });
    if let Some(source) = source {
        entry["source"] = source;
    }
    if !about.aliases.is_empty() {
        entry["references"] = about
            .aliases
            .iter()
            .map(|alias| json!({"id": alias, "source": source_of(alias).unwrap_or_else(|| json!({"name": alias.split('-').next()}))}))
            .collect();
    }
    if !about.summary.is_empty() {
        entry["description"] = about.summary.as_str().into();
    }
    if let Some(url) = about.url.as_deref().filter(|url| url.starts_with("https://")) {
        entry["advisories"] = json!([{"url": url}]);
    }
    for (name, seconds) in [("published", about.published), ("updated", about.modified)] {
        if let Some(time) = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
            entry[name] = time.to_string().into();
        }
    }
    if let Some(fixed) = known.fixed.first() {
        entry["recommendation"] = format!("update {} to {fixed}", one.finding.question.name).into();
    }
    if let Some(analysis) = analysis(one) {
        entry["analysis"] = analysis;
    }
    entry
}

/// Who gives names of that form.
fn source_of(id: &str) -> Option<Value> {
    let (name, url) = match id.split('-').next()? {
        "CVE" => ("CVE", format!("https://www.cve.org/CVERecord?id={id}")),
        "GHSA" => ("GitHub Advisory Database", format!("https://github.com/advisories/{id}")),
        "PYSEC" | "RUSTSEC" | "GO" | "PSF" | "DSA" | "DLA" | "ALSA" | "OSV" | "MAL" => {
            ("OSV", format!("https://osv.dev/vulnerability/{id}"))
        }
        _ => return None,
    };
    Some(json!({"name": name, "url": url}))
}

fn rating(score: &Score) -> Value {
    let method = match score.version {
        CvssVersion::V2 => "CVSSv2",
        CvssVersion::V30 => "CVSSv3",
        CvssVersion::V31 => "CVSSv31",
        CvssVersion::V40 => "CVSSv4",
    };
    json!({"score": score.value(), "severity": severity(score.severity()), "method": method, "vector": score.vector})
}

fn severity(severity: Severity) -> &'static str {
    // CycloneDX has the same words.
    severity.as_str()
}

/// States and justifications are those of CycloneDX; each of OpenVEX has one that says the same or less.
fn analysis(one: &JudgedVulnerability) -> Option<Value> {
    match &one.standing {
        Standing::Cleared { status, justification, text, document } => {
            let state = if *status == "fixed" { "resolved" } else { "not_affected" };
            let mut analysis =
                json!({"state": state, "detail": format!("{document}: {text}").trim_end_matches(": ")});
            let word = justification.map(|justification| match justification {
                "vulnerable_code_not_in_execute_path" => "code_not_reachable",
                "vulnerable_code_cannot_be_controlled_by_adversary" => "requires_environment",
                "inline_mitigations_already_exist" => "protected_by_mitigating_control",
                // The component or its vulnerable part is not there.
                _ => "code_not_present",
            });
            if let Some(word) = word {
                analysis["justification"] = word.into();
            }
            Some(analysis)
        }
        Standing::Accepted { file, line, reason, expires } => Some(json!({
            "state": "exploitable", "response": ["will_not_fix"],
            "detail": format!("accepted until {expires}: {reason} ({file}:{line})"),
        })),
        Standing::Kernel => Some(json!({
            "state": "not_affected", "justification": "code_not_present",
            "detail": "the kernel's headers: its code does not run in a container",
        })),
        Standing::Counts | Standing::Notice | Standing::Unfixed => {
            one.remark.as_ref().map(|remark| {
                let state = match remark.status {
                    VexStatus::Affected => "exploitable",
                    VexStatus::UnderInvestigation => "in_triage",
                    // Such a statement clears, and is no remark.
                    VexStatus::NotAffected => "not_affected",
                    VexStatus::Fixed => "resolved",
                };
                json!({"state": state, "detail": remark.text})
            })
        }
    }
}
