//! `VulnerabilityReport` in the form of trivy-operator (`aquasecurity.github.io/v1alpha1`, its CRD of 2025), so that what
//! reads its reports reads these.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use watchbell_api::image::{Exploited, Finding, Findings, ImageFacts, Severity};
use watchbell_api::name::SUBDOMAIN_LENGTH_MAX;

use super::fingerprint;

/// So many findings stand in a report, the worst; the counts are of all. A report is far below what an object may come to.
const ITEMS_MAX: usize = 1000;
const UNCOVERED_TOLD: usize = 20;

/// What of the image nobody could look up, in words: that a report has no findings of it says nothing.
pub const NOT_KNOWN: &str = "watchbell.dev/not-known";

/// Whose image is reported on.
#[derive(Debug, Clone, Copy)]
pub struct ReportOf<'a> {
    /// `CronJob` or `Job`.
    pub kind: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    pub container: &'a str,
}

/// How many findings a report counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FindingCounts([u64; 5]);

impl FindingCounts {
    /// Severities as people read them, and the fields of a report's summary.
    const FIELDS: [(&str, &str); 5] = [
        ("Critical", "criticalCount"),
        ("High", "highCount"),
        ("Medium", "mediumCount"),
        ("Low", "lowCount"),
        ("Unknown", "unknownCount"),
    ];

    fn of(findings: &Findings) -> FindingCounts {
        let severities = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low].map(Some);
        let of =
            |severity| findings.list.iter().filter(|finding| finding.severity == severity).count() as u64;
        let [critical, high, medium, low] = severities.map(of);
        FindingCounts([critical, high, medium, low, of(None)])
    }

    /// The fields of a report's summary.
    fn summary(self) -> Map<String, Value> {
        let fields = Self::FIELDS.iter().zip(self.0);
        fields.map(|((_, field), count)| ((*field).to_owned(), count.into())).collect()
    }

    pub fn read(report: &Value) -> FindingCounts {
        let summary = &report["report"]["summary"];
        FindingCounts(Self::FIELDS.map(|(_, field)| summary[field].as_u64().unwrap_or(0)))
    }

    pub fn add(&mut self, other: &FindingCounts) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
    }

    /// By severity, the worst first.
    pub fn by_severity(self) -> [(&'static str, u64); 5] {
        std::array::from_fn(|n| (Self::FIELDS[n].0, self.0[n]))
    }
}

/// `cronjob-nightly-main`, as trivy-operator names them; cut and made unique where that is too long.
pub fn report_name(of: &ReportOf<'_>) -> String {
    let name = format!("{}-{}-{}", of.kind.to_ascii_lowercase(), of.name, of.container);
    if name.len() <= SUBDOMAIN_LENGTH_MAX {
        return name;
    }
    let mark = fingerprint(&[name.as_bytes()]);
    format!("{}-{}", name[..SUBDOMAIN_LENGTH_MAX - mark.len() - 1].trim_end_matches(['-', '.']), mark)
}

/// The report on an image whose findings are known. `since` is when they were first what they are.
pub fn report(of: &ReportOf<'_>, facts: &ImageFacts, findings: &Findings, since: Timestamp) -> Value {
    let (registry, repository) = facts.repository.split_once('/').unwrap_or(("", &facts.repository));
    let distribution = facts.contents.as_ref().ok().and_then(|contents| contents.distribution.as_ref());
    let mut worst: Vec<&Finding> = findings.list.iter().collect();
    worst.sort_by_key(|finding| std::cmp::Reverse((finding.exploited == Exploited::Known, finding.severity)));
    let os = distribution.map_or(json!({}), |(id, version)| json!({"family": id, "name": version}));
    let mut artifact = json!({"repository": repository, "digest": &*facts.digest});
    if let Some(tag) = &facts.tag {
        artifact["tag"] = (**tag).into();
    }
    let mut labels = json!({
        "trivy-operator.resource.kind": of.kind, "trivy-operator.resource.namespace": of.namespace,
        "app.kubernetes.io/managed-by": "watchbell",
    });
    let mut annotations = Map::new();
    // Names can be longer than the value of a label may be; trivy-operator hashes those.
    for (label, value) in [("resource.name", of.name), ("container.name", of.container)] {
        if watchbell_api::name::label_value(value).is_empty() {
            labels[format!("trivy-operator.{label}")] = value.into();
        } else {
            annotations.insert(format!("trivy-operator.{label}"), value.into());
        }
    }
    if let Some(told) = not_known(facts, findings) {
        annotations.insert(NOT_KNOWN.into(), told.into());
    }
    let mut metadata = json!({
        "name": report_name(of), "namespace": of.namespace, "labels": labels,
        "ownerReferences": [{
            "apiVersion": "batch/v1", "kind": of.kind, "name": of.name, "uid": of.uid,
            "controller": true, "blockOwnerDeletion": false,
        }],
    });
    if !annotations.is_empty() {
        metadata["annotations"] = annotations.into();
    }
    json!({
        "apiVersion": "aquasecurity.github.io/v1alpha1", "kind": "VulnerabilityReport", "metadata": metadata,
        "report": {
            "updateTimestamp": since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "scanner": {"name": "Watchbell", "vendor": "Watchbell", "version": env!("CARGO_PKG_VERSION")},
            "registry": {"server": registry},
            "artifact": artifact,
            "os": os,
            "summary": FindingCounts::of(findings).summary(),
            "vulnerabilities": worst.into_iter().take(ITEMS_MAX).map(item).collect::<Vec<Value>>(),
        },
    })
}

fn not_known(facts: &ImageFacts, findings: &Findings) -> Option<String> {
    let uncovered = findings.uncovered.iter().take(UNCOVERED_TOLD);
    let mut told: Vec<String> = uncovered
        .map(|(name, count)| format!("{count} packages of {name}, without advisories here"))
        .collect();
    let misfiled = findings.misfiled.iter().take(UNCOVERED_TOLD);
    told.extend(
        misfiled.map(|(name, count)| format!("{count} packages not of the image's distribution: {name}")),
    );
    let not_listed = findings.more() + u64::from(findings.unasked);
    if not_listed > 0 {
        told.push(format!("{not_listed} findings or packages beyond what is looked at"));
    }
    let gaps = facts.contents.as_ref().map_or(0, |contents| contents.gaps);
    if gaps > 0 {
        told.push(format!("{gaps} places that could not be read or are of no package"));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

fn item(finding: &Finding) -> Value {
    let severity = finding.severity.map_or("UNKNOWN".to_owned(), |s| s.name().to_ascii_uppercase());
    // The form has no place for it.
    let exploited = if finding.exploited == Exploited::Known { "[known to be exploited] " } else { "" };
    let mut item = json!({
        "vulnerabilityID": finding.id, "resource": finding.package, "installedVersion": finding.version,
        "fixedVersion": finding.fixed.as_deref().unwrap_or_default(), "severity": severity,
        "title": format!("{exploited}{}", finding.title), "publishedDate": "", "lastModifiedDate": "",
        "links": [],
    });
    for (field, text) in
        [("packagePURL", &finding.purl), ("packagePath", &finding.path), ("primaryLink", &finding.link)]
    {
        if !text.is_empty() {
            item[field] = (**text).into();
        }
    }
    if let Some(score) = finding.score {
        item["score"] = score.into();
        let version = if finding.vector.starts_with("CVSS:4") { "V40" } else { "V3" };
        if finding.vector.starts_with("CVSS:") {
            item["cvss"] = json!({"osv": {
                format!("{version}Score"): score, format!("{version}Vector"): finding.vector,
            }});
        }
    }
    item
}
