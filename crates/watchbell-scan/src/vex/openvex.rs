//! OpenVEX documents (specification 0.2.0): who says that a product has a vulnerability, or has it not, and why.

use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;

use super::purl::PurlPattern;
use super::{Claim, ImageIdentity};

/// Larger documents are refused.
const BYTES_MAX: usize = 64 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VexStatus {
    NotAffected,
    Affected,
    Fixed,
    UnderInvestigation,
}

impl VexStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            VexStatus::NotAffected => "not_affected",
            VexStatus::Affected => "affected",
            VexStatus::Fixed => "fixed",
            VexStatus::UnderInvestigation => "under_investigation",
        }
    }

    /// Whether it takes a finding off the gate.
    pub fn clears(self) -> bool {
        match self {
            VexStatus::NotAffected | VexStatus::Fixed => true,
            VexStatus::Affected | VexStatus::UnderInvestigation => false,
        }
    }
}

/// Why a product is not affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Justification {
    ComponentNotPresent,
    VulnerableCodeNotPresent,
    VulnerableCodeNotInExecutePath,
    VulnerableCodeCannotBeControlledByAdversary,
    InlineMitigationsAlreadyExist,
}

impl Justification {
    pub fn as_str(self) -> &'static str {
        match self {
            Justification::ComponentNotPresent => "component_not_present",
            Justification::VulnerableCodeNotPresent => "vulnerable_code_not_present",
            Justification::VulnerableCodeNotInExecutePath => "vulnerable_code_not_in_execute_path",
            Justification::VulnerableCodeCannotBeControlledByAdversary => {
                "vulnerable_code_cannot_be_controlled_by_adversary"
            }
            Justification::InlineMitigationsAlreadyExist => "inline_mitigations_already_exist",
        }
    }
}

/// What a statement is about: packages by URL, an image by URL or digest, and in it maybe only some of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    names: Vec<PurlPattern>,
    /// `sha256:…`, lower case.
    digests: Vec<String>,
    subcomponents: Vec<PurlPattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VexStatement {
    /// All names of the vulnerability.
    pub vulnerability: Vec<String>,
    pub products: Vec<Product>,
    pub status: VexStatus,
    pub justification: Option<Justification>,
    /// The impact statement, else the action statement; may be empty.
    pub text: String,
    /// Of the statement, else of its document.
    time: Timestamp,
}

/// A document that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VexDocument {
    /// As on the command line.
    pub file: String,
    pub id: String,
    pub author: String,
    pub statements: Vec<VexStatement>,
}

/// Why a document is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot take the VEX document {file}: {reason}")]
pub struct VexError {
    file: String,
    reason: String,
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "@context")]
    context: String,
    #[serde(rename = "@id", default)]
    id: String,
    #[serde(default)]
    author: String,
    #[serde(default)]
    timestamp: String,
    statements: Vec<StatementDocument>,
}

#[derive(Deserialize)]
struct StatementDocument {
    vulnerability: VulnerabilityDocument,
    #[serde(default)]
    products: Vec<ProductDocument>,
    status: VexStatus,
    #[serde(default)]
    justification: Option<Justification>,
    #[serde(default)]
    impact_statement: String,
    #[serde(default)]
    action_statement: String,
    #[serde(default)]
    timestamp: String,
}

/// A name alone in documents of version 0.0, an object since.
struct VulnerabilityDocument(Vec<String>);

impl<'de> Deserialize<'de> for VulnerabilityDocument {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let mut names: Vec<String> = Vec::new();
        names.extend(value.as_str().map(str::to_owned));
        names.extend(value["name"].as_str().map(str::to_owned));
        // An address that ends in the name.
        names.extend(value["@id"].as_str().and_then(|id| id.rsplit('/').next()).map(str::to_owned));
        names.extend(
            value["aliases"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|name| name.as_str())
                .map(str::to_owned),
        );
        names.retain(|name| !name.is_empty());
        names.dedup();
        if names.is_empty() {
            Err(serde::de::Error::custom("the vulnerability has no name"))
        } else {
            Ok(Self(names))
        }
    }
}

/// A URL alone in documents of version 0.0, an object since.
struct ProductDocument(serde_json::Value);

impl<'de> Deserialize<'de> for ProductDocument {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_json::Value::deserialize(deserializer).map(Self)
    }
}

impl VexDocument {
    /// Reads a document; `file` is what messages call it.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<VexDocument, VexError> {
        let refuse = |reason: String| VexError { file: file.to_owned(), reason };
        if bytes.len() > BYTES_MAX {
            return Err(refuse(format!("it has more than {} MiB", BYTES_MAX >> 20)));
        }
        let document: Document =
            serde_json::from_slice(bytes).map_err(|e| refuse(format!("it is no OpenVEX document: {e}")))?;
        if !document.context.starts_with("https://openvex.dev/ns") {
            return Err(refuse(format!(
                "its @context is {:?} and not OpenVEX's (https://openvex.dev/ns)",
                document.context
            )));
        }
        let mut statements = Vec::new();
        for (at, statement) in document.statements.into_iter().enumerate() {
            let number = at + 1;
            let named = |reason: &str| {
                refuse(format!("statement {number} ({}): {reason}", statement.vulnerability.0.join(", ")))
            };
            if statement.status == VexStatus::NotAffected
                && statement.justification.is_none()
                && statement.impact_statement.is_empty()
            {
                return Err(named("not_affected needs a justification or an impact_statement"));
            }
            if statement.status == VexStatus::Affected && statement.action_statement.is_empty() {
                return Err(named("affected needs an action_statement"));
            }
            if statement.products.is_empty() {
                return Err(named("it names no products, so it would say nothing about this image"));
            }
            let stated = match statement.timestamp.as_str() {
                "" => document.timestamp.as_str(),
                own => own,
            };
            // Without it nobody could say which of two statements is the newer.
            let time = stated
                .parse::<Timestamp>()
                .map_err(|e| named(&format!("its timestamp {stated:?} is none of RFC 3339: {e}")))?;
            let products: Vec<Product> = statement
                .products
                .iter()
                .map(|product| read_product(&product.0).map_err(|reason| named(&reason)))
                .collect::<Result<_, _>>()?;
            statements.push(VexStatement {
                products,
                vulnerability: statement.vulnerability.0,
                status: statement.status,
                justification: statement.justification,
                text: if statement.impact_statement.is_empty() {
                    statement.action_statement
                } else {
                    statement.impact_statement
                },
                time,
            });
        }
        Ok(VexDocument { file: file.to_owned(), id: document.id, author: document.author, statements })
    }

    /// Products that name an image by the last part of its name alone, as `pkg:oci/app` does: everybody's image of that name is
    /// meant.
    pub fn vague_products(&self) -> Vec<String> {
        let products = self.statements.iter().flat_map(|statement| &statement.products);
        let names = products.filter(|product| product.digests.is_empty()).flat_map(|product| &product.names);
        let mut vague: Vec<String> = names.filter(|name| is_vague(name)).map(ToString::to_string).collect();
        vague.sort();
        vague.dedup();
        vague
    }

    /// What is said of a finding. Each of its packages is judged by the newest statement about it, and of equally new ones by the
    /// last: only where all are cleared is the finding.
    pub(crate) fn judgement<'d>(
        documents: &'d [VexDocument],
        claim: &Claim<'_>,
    ) -> Option<(&'d VexDocument, &'d VexStatement)> {
        let newest = |purl: &String| {
            let purl = PurlPattern::parse(purl)?;
            let all =
                documents.iter().flat_map(|document| document.statements.iter().map(move |s| (document, s)));
            all.filter(|(_, statement)| statement.speaks_of(claim, &purl))
                .max_by(|(_, a), (_, b)| a.time.cmp(&b.time))
        };
        let said: Vec<Option<(&VexDocument, &VexStatement)>> = claim.packages.iter().map(newest).collect();
        let clears =
            |one: &Option<(&VexDocument, &VexStatement)>| one.is_some_and(|(_, s)| s.status.clears());
        if said.iter().all(clears) {
            return said.into_iter().flatten().next();
        }
        said.into_iter().flatten().find(|(_, statement)| !statement.status.clears())
    }
}

impl VexStatement {
    fn speaks_of(&self, claim: &Claim<'_>, purl: &PurlPattern) -> bool {
        let is_it = |name: &String| claim.vulnerability.iter().any(|known| known.eq_ignore_ascii_case(name));
        self.vulnerability.iter().any(is_it)
            && self.products.iter().any(|product| product.covers(claim.image, purl))
    }
}

impl Product {
    fn covers(&self, image: &ImageIdentity, purl: &PurlPattern) -> bool {
        if self.is_image(image) {
            return self.subcomponents.is_empty()
                || self.subcomponents.iter().any(|pattern| pattern.matches(purl));
        }
        // A package is its own product; parts of it are not looked into.
        self.subcomponents.is_empty() && self.names.iter().any(|pattern| pattern.matches(purl))
    }

    fn is_image(&self, image: &ImageIdentity) -> bool {
        let has_digest = |digest: &str| image.digest.as_deref() == Some(digest);
        if self.digests.iter().any(|digest| has_digest(digest)) {
            return true;
        }
        self.names.iter().filter(|name| matches!(name.kind(), "oci" | "docker")).any(|name| {
            let Some(repository) = image.repository.as_deref() else {
                return name.version().is_some_and(has_digest);
            };
            // pkg:oci has the last part of the name, and the whole in a qualifier.
            let is_named = match name.qualifier("repository_url") {
                Some(url) => url == repository,
                None => {
                    let last = repository.rsplit('/').next().unwrap_or(repository);
                    name.path() == last
                        || name.path() == repository
                        || repository.ends_with(&format!("/{}", name.path()))
                }
            };
            let is_tag = name.qualifier("tag").is_none_or(|tag| image.tag.as_deref() == Some(tag));
            let is_version = name.version().is_none_or(|version| {
                has_digest(version) || (!version.contains(':') && image.tag.as_deref() == Some(version))
            });
            is_named && is_tag && is_version
        })
    }
}

/// Whether it is an image that has neither a digest nor a repository.
fn is_vague(name: &PurlPattern) -> bool {
    let has_digest = name.version().is_some_and(|version| version.contains(':'));
    name.kind() == "oci" && !has_digest && name.qualifier("repository_url").is_none()
}

fn read_product(value: &serde_json::Value) -> Result<Product, String> {
    let mut product = Product { names: Vec::new(), digests: Vec::new(), subcomponents: Vec::new() };
    let mut seen: Vec<&str> = Vec::new();
    seen.extend(value.as_str());
    seen.extend(value["@id"].as_str());
    seen.extend(value["identifiers"]["purl"].as_str());
    for name in &seen {
        if name.starts_with("pkg:") {
            let purl = PurlPattern::parse(name).ok_or_else(|| format!("{name:?} is no package URL"))?;
            product.names.push(purl);
        }
    }
    for (algorithm, digest) in value["hashes"].as_object().into_iter().flatten() {
        if matches!(algorithm.as_str(), "sha-256" | "sha256")
            && let Some(digest) = digest.as_str()
        {
            product
                .digests
                .push(format!("sha256:{}", digest.trim_start_matches("sha256:").to_ascii_lowercase()));
        }
    }
    if product.names.is_empty() && product.digests.is_empty() {
        return Err(format!(
            "the product {} has neither a package URL nor a sha-256 hash",
            seen.first().unwrap_or(&"")
        ));
    }
    for part in value["subcomponents"].as_array().into_iter().flatten() {
        let name = part
            .as_str()
            .or(part["@id"].as_str())
            .or(part["identifiers"]["purl"].as_str())
            .unwrap_or_default();
        let purl =
            PurlPattern::parse(name).ok_or_else(|| format!("the subcomponent {name:?} is no package URL"))?;
        product.subcomponents.push(purl);
    }
    Ok(product)
}

impl fmt::Display for VexStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.status.as_str())?;
        if let Some(justification) = self.justification {
            write!(f, ", {}", justification.as_str())?;
        }
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

#[cfg(test)]
mod tests;
