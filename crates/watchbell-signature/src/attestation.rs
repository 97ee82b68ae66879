//! in-toto statements (v0.1 and v1): what is claimed about which digest. Provenance is read as SLSA 0.2 and 1.0 have it; what
//! others claim is handed on as it is.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::dsse::excerpt;
use crate::refused::Reason;
use crate::unique::{self, Unique};

const SUBJECTS_MAX: usize = 1024;
const DIGESTS_MAX: usize = 16;
const DEPENDENCIES_MAX: usize = 4096;
const STATEMENT_TYPES: [&str; 2] = ["https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1"];
/// What `cosign sign` claims since version 3: that the subject is signed, and no more.
pub(crate) const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const PROVENANCE_02: &str = "https://slsa.dev/provenance/v0.2";
const PROVENANCE_1: &str = "https://slsa.dev/provenance/v1";
const VULNERABILITIES: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";

/// A statement whose signature holds and whose subject is the image.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    pub predicate_type: String,
    pub subjects: Vec<StatementSubject>,
    pub predicate: Predicate,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StatementSubject {
    #[serde(default)]
    pub name: String,
    /// Lowercase hexadecimal by algorithm.
    #[serde(default, deserialize_with = "unique::texts")]
    pub digest: std::collections::BTreeMap<String, String>,
}

/// What is claimed.
#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    /// That the image is signed.
    Signature,
    Provenance(Provenance),
    Vulnerabilities(VulnerabilityScan),
    /// A bill of materials: the document.
    CycloneDx(Value),
    Spdx(Value),
    /// An OpenVEX document.
    Vex(Value),
    Other(Value),
}

/// SLSA provenance: how the image was built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// `builder.id`; `runDetails.builder.id`.
    pub builder_id: String,
    pub build_type: String,
    /// What was built: `invocation.configSource.uri`; in version 1 `externalParameters.source` or `.workflow.repository`.
    /// What a build depends on is no source.
    pub source_uri: Option<String>,
    /// `materials`; `resolvedDependencies`: where they came from.
    pub dependencies: Vec<String>,
}

/// cosign's vulnerability predicate.
#[derive(Clone, Debug, PartialEq)]
pub struct VulnerabilityScan {
    pub scanner_uri: String,
    pub scanner_version: Option<String>,
    /// RFC 3339, as it was said.
    pub finished_on: Option<String>,
    pub result: Value,
}

/// Which predicate is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PredicateType {
    /// SLSA provenance, 0.2 or 1.
    Provenance,
    Vulnerabilities,
    CycloneDx,
    Spdx,
    OpenVex,
    /// This URI.
    Uri(String),
}

impl PredicateType {
    /// Reads cosign's short names, or a URI.
    pub fn parse(text: &str) -> PredicateType {
        match text {
            "slsaprovenance" => PredicateType::Provenance,
            "slsaprovenance02" => PredicateType::Uri(PROVENANCE_02.into()),
            "slsaprovenance1" => PredicateType::Uri(PROVENANCE_1.into()),
            "vuln" => PredicateType::Vulnerabilities,
            "cyclonedx" => PredicateType::CycloneDx,
            "spdx" | "spdxjson" => PredicateType::Spdx,
            "openvex" => PredicateType::OpenVex,
            "link" => PredicateType::Uri("https://in-toto.io/Link/v1".into()),
            "custom" => PredicateType::Uri("https://cosign.sigstore.dev/attestation/v1".into()),
            uri => PredicateType::Uri(uri.into()),
        }
    }

    pub(crate) fn is(&self, uri: &str) -> bool {
        match self {
            PredicateType::Provenance => uri == PROVENANCE_02 || uri == PROVENANCE_1,
            PredicateType::Vulnerabilities => uri == VULNERABILITIES,
            // Versions follow.
            PredicateType::CycloneDx => is_below(uri, "https://cyclonedx.org/bom"),
            PredicateType::Spdx => is_below(uri, "https://spdx.dev/Document"),
            PredicateType::OpenVex => is_below(uri, "https://openvex.dev/ns"),
            PredicateType::Uri(asked) => uri == asked,
        }
    }
}

fn is_below(uri: &str, base: &str) -> bool {
    uri.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<StatementSubject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
}

#[derive(Deserialize)]
struct With<P> {
    predicate: P,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Provenance02 {
    builder: Id,
    #[serde(default)]
    build_type: String,
    invocation: Option<Invocation>,
    #[serde(default)]
    materials: Vec<Resource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    config_source: Option<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    uri: Option<String>,
}

#[derive(Deserialize)]
struct Id {
    #[serde(default)]
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Provenance1 {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    #[serde(default)]
    build_type: String,
    #[serde(default)]
    external_parameters: Unique,
    #[serde(default)]
    resolved_dependencies: Vec<Resource>,
}

#[derive(Deserialize)]
struct RunDetails {
    builder: Id,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vulnerabilities {
    scanner: Scanner,
    metadata: Option<ScanMetadata>,
}

#[derive(Deserialize)]
struct Scanner {
    uri: String,
    version: Option<String>,
    #[serde(default)]
    result: Unique,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScanMetadata {
    scan_finished_on: Option<String>,
}

impl Statement {
    /// Reads a payload; whose it is is not judged here. Where a field stands twice in what is understood here, two readers could
    /// differ, and it is refused.
    ///
    /// # Errors
    /// [`Reason::Malformed`], [`Reason::OtherClaim`].
    pub fn parse(payload: &[u8]) -> Result<Statement, Reason> {
        let head: Head = read(payload)?;
        if !STATEMENT_TYPES.contains(&head.statement_type.as_str()) {
            return Err(Reason::OtherClaim(excerpt(&head.statement_type)));
        }
        if head.subject.len() > SUBJECTS_MAX || head.subject.iter().any(|s| s.digest.len() > DIGESTS_MAX) {
            return Err(Reason::malformed("statement", "it names too many subjects or digests"));
        }
        let asked = |kind: PredicateType| kind.is(&head.predicate_type);
        let predicate = if head.predicate_type == COSIGN_SIGN {
            Predicate::Signature
        } else if head.predicate_type == PROVENANCE_02 {
            provenance_02(read::<With<_>>(payload)?.predicate)?
        } else if head.predicate_type == PROVENANCE_1 {
            provenance_1(read::<With<_>>(payload)?.predicate)?
        } else if head.predicate_type == VULNERABILITIES {
            let With { predicate: Vulnerabilities { scanner, metadata } } = read(payload)?;
            Predicate::Vulnerabilities(VulnerabilityScan {
                scanner_uri: scanner.uri,
                scanner_version: scanner.version,
                finished_on: metadata.and_then(|m| m.scan_finished_on),
                result: scanner.result.0,
            })
        } else {
            let With { predicate: Unique(predicate) } = read(payload)?;
            if asked(PredicateType::CycloneDx) {
                Predicate::CycloneDx(predicate)
            } else if asked(PredicateType::Spdx) {
                Predicate::Spdx(predicate)
            } else if asked(PredicateType::OpenVex) {
                Predicate::Vex(predicate)
            } else {
                Predicate::Other(predicate)
            }
        };
        Ok(Statement { predicate_type: head.predicate_type, subjects: head.subject, predicate })
    }

    /// Whether one of the subjects has this digest.
    pub(crate) fn is_about(&self, digest: &watchbell_image::Digest) -> bool {
        let algorithm = digest.algorithm().as_str();
        self.subjects.iter().any(|s| s.digest.get(algorithm).map(String::as_str) == Some(digest.hex()))
    }
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Reason> {
    crate::proto::read(payload, crate::bundle::BYTES_MAX)
        .map_err(|reason| Reason::malformed("statement", reason))
}

fn provenance_02(predicate: Provenance02) -> Result<Predicate, Reason> {
    Ok(Predicate::Provenance(Provenance {
        builder_id: predicate.builder.id,
        build_type: predicate.build_type,
        source_uri: predicate.invocation.and_then(|i| i.config_source).and_then(|s| s.uri),
        dependencies: uris(predicate.materials)?,
    }))
}

fn provenance_1(predicate: Provenance1) -> Result<Predicate, Reason> {
    let definition = predicate.build_definition;
    let dependencies = uris(definition.resolved_dependencies)?;
    let Unique(parameters) = &definition.external_parameters;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let source_uri = text(&parameters["source"])
        .or_else(|| text(&parameters["source"]["uri"]))
        .or_else(|| text(&parameters["workflow"]["repository"]));
    Ok(Predicate::Provenance(Provenance {
        builder_id: predicate.run_details.builder.id,
        build_type: definition.build_type,
        source_uri,
        dependencies,
    }))
}

fn uris(resources: Vec<Resource>) -> Result<Vec<String>, Reason> {
    if resources.len() > DEPENDENCIES_MAX {
        return Err(Reason::malformed("statement", "it names more than 4096 dependencies"));
    }
    Ok(resources.into_iter().filter_map(|r| r.uri).collect())
}

#[cfg(test)]
mod tests;
