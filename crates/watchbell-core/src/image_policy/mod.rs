//! Which images may start, decided by what is known of them.
//!
//! ```text
//!   ImagePolicy, ClusterImagePolicy ─▶ in force for a namespace ─┐
//!                                                                 ├─ decide(policies, facts, now) ─▶ Verdict
//!   image ─ digest, contents, findings, signers ─▶ ImageFacts ───┘
//! ```
//!
//! Every policy has to let an image pass. What a policy asks for and nobody knows is a reason to refuse.

mod decide;
mod exceptions;
mod glob;
mod in_force;
mod report;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use watchbell_api::image::Severity;
use watchbell_api::quantity::Quantity;
use watchbell_api::selector::Labels;

pub use decide::{Reason, Rule, Verdict, decide, unjudged};
pub use exceptions::{Exception, Exceptions};
pub use glob::Glob;
pub use in_force::{InForce, Needs, Signer, SignerRule, is_examined, is_lasting, missing, needs};
pub use report::{FindingCounts, NOT_KNOWN, ReportOf, report, report_name};

/// What becomes of a container whose image does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It starts, and the audit trail says so.
    Audit,
    /// The same, and an event.
    Warn,
    /// It does not start.
    Deny,
}

/// A policy, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub action: Action,
    /// Of a ClusterImagePolicy.
    pub namespaces: Option<Labels>,
    pub registries: Vec<Glob>,
    pub repositories: Vec<Glob>,
    pub digest: DigestRule,
    pub signers: Vec<SignerSpec>,
    pub attestations: Vec<Attestation>,
    pub vulnerabilities: Vulnerabilities,
    pub maximum_age_days: Option<u32>,
    pub minimality: Minimality,
    pub bases: Vec<Base>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestRule {
    Required,
    Resolved,
}

/// A signer as the policy describes him.
#[derive(Debug, Clone, PartialEq)]
pub struct SignerSpec {
    pub name: Arc<str>,
    pub by: SignedBy,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SignedBy {
    Key(TextSource),
    Identity { issuer: Arc<str>, subject: Glob, trust_root: TextSource },
}

/// A text, or where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextSource {
    Inline(Text),
    /// An empty namespace is the policy's own.
    ConfigMap {
        namespace: Arc<str>,
        name: Arc<str>,
        key: Arc<str>,
    },
}

/// A text that something is verified by: a key, a trust root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub text: Arc<str>,
    /// Names the text, whatever space is around it: hashing it anew would cost more than all else of a judgement.
    hash: [u8; 32],
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text { text: text.into(), hash: Sha256::digest(text.trim()).into() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    pub predicate_type: Box<str>,
    /// Names of signers; all where there is none.
    pub signers: Vec<Arc<str>>,
    pub builder: Option<Glob>,
    pub source: Option<Glob>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vulnerabilities {
    pub limit: Option<Limit>,
    pub known_exploited: KnownExploited,
    pub unfixed: Unfixed,
    pub unscored: Option<Severity>,
    pub exceptions: Exceptions,
    pub database_hours: Option<u32>,
    /// Ecosystems that may have no advisories in the database.
    pub uncovered: Vec<Box<str>>,
    pub gaps: Gaps,
}

/// What becomes of an image of which something is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gaps {
    #[default]
    Refused,
    Allowed,
}

/// The highest severity that passes; `None`: no finding does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub Option<Severity>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KnownExploited {
    #[default]
    AsOthers,
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unfixed {
    #[default]
    Counts,
    LeftAside,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Minimality {
    pub shells: Presence,
    pub setuid: Presence,
    pub packages_max: Option<u32>,
    pub bytes_max: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    #[default]
    Allowed,
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    pub name: Box<str>,
    pub layers: Vec<Box<str>>,
}

impl Policy {
    /// The ConfigMaps that a policy of the namespace `own` has something from, by namespace and name.
    pub fn config_maps<'a>(&'a self, own: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.signers.iter().filter_map(move |signer| {
            let (SignedBy::Key(source) | SignedBy::Identity { trust_root: source, .. }) = &signer.by;
            match source {
                TextSource::Inline(_) => None,
                TextSource::ConfigMap { namespace, name, .. } => {
                    Some((if namespace.is_empty() { own } else { namespace }, &**name))
                }
            }
        })
    }

    /// Reads a policy that passed validation and was defaulted.
    ///
    /// # Errors
    /// What validation should have refused.
    pub fn read(object: &Value) -> Result<Policy, String> {
        let spec = &object["spec"];
        let namespaces = match &spec["namespaceSelector"] {
            Value::Null => None,
            selector => Some(
                Labels::from_object(selector)
                    .map_err(|e| format!("spec.namespaceSelector: {}", e.message))?,
            ),
        };
        Ok(Policy {
            action: match text(&spec["enforcementAction"]) {
                "Audit" => Action::Audit,
                "Warn" => Action::Warn,
                _ => Action::Deny,
            },
            namespaces,
            registries: texts(&spec["registries"]).map(Glob::new).collect(),
            repositories: texts(&spec["repositories"]).map(Glob::new).collect(),
            digest: match text(&spec["digest"]) {
                "Required" => DigestRule::Required,
                _ => DigestRule::Resolved,
            },
            signers: items(&spec["signers"]).map(signer).collect(),
            attestations: items(&spec["attestations"]).map(attestation).collect(),
            vulnerabilities: vulnerabilities(&spec["vulnerabilities"])?,
            maximum_age_days: number(&spec["maximumAgeDays"]),
            minimality: minimality(&spec["minimality"])?,
            bases: items(&spec["baseImages"])
                .map(|base| Base {
                    name: text(&base["name"]).into(),
                    layers: texts(&base["layers"]).map(Into::into).collect(),
                })
                .collect(),
        })
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    items(value).filter_map(Value::as_str)
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|n| u32::try_from(n).ok())
}

fn signer(value: &Value) -> SignerSpec {
    let map = |at: &Value| TextSource::ConfigMap {
        namespace: text(&at["namespace"]).into(),
        name: text(&at["name"]).into(),
        key: text(&at["key"]).into(),
    };
    let by = match (&value["key"], &value["keyless"]) {
        (key, Value::Null) => SignedBy::Key(match key["publicKey"].as_str() {
            Some(pem) => TextSource::Inline(pem.into()),
            None => map(&key["configMap"]),
        }),
        (_, keyless) => SignedBy::Identity {
            issuer: text(&keyless["issuer"]).into(),
            subject: Glob::new(text(&keyless["subject"])),
            trust_root: map(&keyless["trustRoot"]),
        },
    };
    SignerSpec { name: text(&value["name"]).into(), by }
}

fn attestation(value: &Value) -> Attestation {
    Attestation {
        predicate_type: text(&value["predicateType"]).into(),
        signers: texts(&value["signers"]).map(Into::into).collect(),
        builder: value["builder"].as_str().map(Glob::new),
        source: value["source"].as_str().map(Glob::new),
    }
}

fn vulnerabilities(value: &Value) -> Result<Vulnerabilities, String> {
    let exception = |value: &Value| -> Result<Exception, String> {
        let expires: jiff::Timestamp = text(&value["expires"])
            .parse()
            .map_err(|e| format!("spec.vulnerabilities.exceptions: expires: {e}"))?;
        let (id, reason) = (text(&value["id"]), text(&value["reason"]));
        Ok(Exception::new(id, value["package"].as_str(), reason, expires.as_second()))
    };
    Ok(Vulnerabilities {
        limit: value["maximumSeverity"].as_str().map(|name| Limit(Severity::parse(name))),
        known_exploited: match value["refuseKnownExploited"] == true {
            true => KnownExploited::Refused,
            false => KnownExploited::AsOthers,
        },
        unfixed: match value["ignoreUnfixed"] == true {
            true => Unfixed::LeftAside,
            false => Unfixed::Counts,
        },
        unscored: Severity::parse(text(&value["unscored"])),
        exceptions: items(&value["exceptions"]).map(exception).collect::<Result<_, _>>()?,
        database_hours: number(&value["databaseMaximumAgeHours"]),
        uncovered: texts(&value["allowUncovered"]).map(Into::into).collect(),
        gaps: match value["allowGaps"] == true {
            true => Gaps::Allowed,
            false => Gaps::Refused,
        },
    })
}

fn minimality(value: &Value) -> Result<Minimality, String> {
    let presence = |value: &Value| match *value == true {
        true => Presence::Refused,
        false => Presence::Allowed,
    };
    let bytes_max = match &value["maximumSize"] {
        Value::Null => None,
        size => Some(
            Quantity::from_value(size).map_err(|e| format!("spec.minimality.maximumSize: {e}"))?.as_bytes(),
        ),
    };
    Ok(Minimality {
        shells: presence(&value["noShell"]),
        setuid: presence(&value["noSetuid"]),
        packages_max: number(&value["maximumPackages"]),
        bytes_max,
    })
}

/// Names what some texts say together.
fn fingerprint(parts: &[&[u8]]) -> Arc<str> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>().into()
}
