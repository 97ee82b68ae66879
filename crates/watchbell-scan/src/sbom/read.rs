//! Bills that somebody wrote: CycloneDX (1.2 and later) and SPDX (2.2, 2.3) in JSON.
//!
//! A bill is a claim. What it says is taken for packages with [`Evidence::Document`]; where it contradicts itself, the package
//! URL counts and the contradiction is told as a gap, as is everything that is left out.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use watchbell_image::Digest;

use super::BillForm;
use super::cyclonedx::PROPERTY;
use super::purl::{self, Parsed};
use crate::{Distribution, Evidence, Gap, Inventory, Location, Package, PackageKind, SourcePackage};

/// A document, bytes.
pub(super) const DOCUMENT_BYTES_MAX: usize = 128 << 20;
const COMPONENTS_MAX: usize = 500_000;
/// Names, versions, licences.
const WORD_BYTES_MAX: usize = 1024;
const GAPS_MAX: usize = 50;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    #[error("the bill of materials has {size} bytes, at most {DOCUMENT_BYTES_MAX} are read")]
    TooLarge { size: usize },

    #[error("the bill of materials is not valid JSON: {reason}; give one in CycloneDX's or SPDX's JSON form")]
    Json { reason: String },

    #[error(
        "the document is no bill of materials that is known: it has neither bomFormat (CycloneDX) nor spdxVersion (SPDX 2); \
         give one in CycloneDX's or SPDX's JSON form"
    )]
    Unknown,

    #[error(
        "the bill of materials is of {form} version \"{version}\", which is not read; write it again in {wanted}"
    )]
    Version { form: &'static str, version: String, wanted: &'static str },

    #[error("{field} of the bill of materials is not valid: {reason}")]
    Field { field: String, reason: String },
}

/// A bill that was read.
#[derive(Clone, Debug)]
pub struct ReadDocument {
    pub form: BillForm,
    /// What it says it is of.
    pub subject: Option<String>,
    /// The digest that it says its subject has; whoever found it beside an image compares.
    pub digest: Option<Digest>,
    pub inventory: Inventory,
}

/// Reads a document of either form.
pub fn read_document(bytes: &[u8]) -> Result<ReadDocument, DocumentError> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge { size: bytes.len() });
    }
    let document: Value =
        serde_json::from_slice(bytes).map_err(|e| DocumentError::Json { reason: e.to_string() })?;
    if let Some(version) = document["spdxVersion"].as_str() {
        if !matches!(version, "SPDX-2.2" | "SPDX-2.3") {
            return Err(unsupported("SPDX", version, "SPDX-2.3"));
        }
        return spdx(&document);
    }
    if document["bomFormat"].as_str() == Some("CycloneDX") {
        let version = document["specVersion"].as_str().unwrap_or_default();
        let minor = version.strip_prefix("1.").and_then(|m| m.parse::<u8>().ok());
        if minor.is_none_or(|m| m < 2) {
            return Err(unsupported("CycloneDX", version, "1.6"));
        }
        return cyclonedx(&document);
    }
    Err(DocumentError::Unknown)
}

fn unsupported(form: &'static str, version: &str, wanted: &'static str) -> DocumentError {
    DocumentError::Version { form, version: shown(version), wanted }
}

/// Foreign text for a message.
fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}

/// What is gathered while a document is read.
#[derive(Default)]
struct Reading {
    packages: Vec<Package>,
    /// Where each package stands that the document has a name for.
    by_reference: HashMap<String, usize>,
    owners: Vec<(usize, String)>,
    gaps: Vec<String>,
    omitted_gaps: usize,
    distribution: Option<Distribution>,
    /// Releases that package URLs name, counted.
    releases: BTreeMap<(String, String), usize>,
}

impl Reading {
    fn gap(&mut self, reason: String) {
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push(reason);
        } else {
            self.omitted_gaps += 1;
        }
    }

    /// Judges a component by its package URL. `name` and `version` are what it says beside that.
    fn component(&mut self, purl: &str, name: &str, version: &str) -> Option<Package> {
        let parsed = match purl::parse(purl) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => {
                self.gap(format!("\"{}\" is of an ecosystem that is not known here", shown(purl)));
                return None;
            }
            Err(e) => {
                self.gap(e.to_string());
                return None;
            }
        };
        let is_word = |word: &str| word.len() <= WORD_BYTES_MAX && !word.chars().any(char::is_control);
        if !is_word(&parsed.name) || !is_word(&parsed.version) || parsed.name.is_empty() {
            self.gap(format!("\"{}\" has a name or a version that no package has", shown(purl)));
            return None;
        }
        if !version.is_empty() && !agrees(&parsed, name, version) {
            self.gap(format!(
                "it calls \"{}\" {} {}: the package URL counts",
                shown(purl),
                shown(name),
                shown(version)
            ));
        }
        if let Some(release) = &parsed.distribution {
            *self.releases.entry((parsed.namespace.clone(), release.clone())).or_default() += 1;
        }
        Some(Package {
            kind: parsed.kind,
            name: parsed.name,
            version: parsed.version,
            architecture: parsed.architecture,
            source: parsed.source,
            licences: Vec::new(),
            evidence: Evidence::Document,
            locations: Vec::new(),
            vendor: None,
            owned_by: None,
        })
    }

    fn push(&mut self, package: Package, reference: &str) -> Result<(), DocumentError> {
        if self.packages.len() >= COMPONENTS_MAX {
            return Err(DocumentError::Field {
                field: "the list of components".to_owned(),
                reason: format!("it has more than {COMPONENTS_MAX}"),
            });
        }
        if !reference.is_empty()
            && self.by_reference.insert(reference.to_owned(), self.packages.len()).is_some()
        {
            self.gap(format!("it has two components called \"{}\"", shown(reference)));
        }
        self.packages.push(package);
        Ok(())
    }

    fn finish(mut self, form: BillForm, subject: Option<String>, digest: Option<Digest>) -> ReadDocument {
        for (index, reference) in std::mem::take(&mut self.owners) {
            match self.by_reference.get(&reference) {
                Some(owner) if *owner != index => self.packages[index].owned_by = Some(*owner),
                _ => self.gap(format!("it names an owner \"{}\" that it does not have", shown(&reference))),
            }
        }
        if self.distribution.is_none() {
            // The release that most packages name.
            let most =
                self.releases.iter().max_by_key(|(release, count)| (**count, std::cmp::Reverse(*release)));
            self.distribution = most.map(|((namespace, release), _)| {
                let id = if namespace.is_empty() {
                    release.split('-').next().unwrap_or(release).to_owned()
                } else {
                    namespace.clone()
                };
                let version = release.strip_prefix(&id).and_then(|v| v.strip_prefix('-')).map(str::to_owned);
                Distribution { id, version_id: version, ..Distribution::default() }
            });
        }
        if self.releases.len() > 1 {
            self.gap("its packages are of several releases of distributions".to_owned());
        }
        if self.omitted_gaps > 0 {
            self.gaps.push(format!("{} more of the like", self.omitted_gaps));
        }
        let location = Location { layer: None, path: subject.clone().unwrap_or_default() };
        let gaps = self.gaps.into_iter().map(|reason| Gap { location: location.clone(), reason }).collect();
        let inventory = Inventory { distribution: self.distribution, packages: self.packages, gaps };
        ReadDocument { form, subject, digest, inventory }
    }
}

/// Whether what a component says of itself is what its package URL says: names are spelt in several ways, versions are not.
fn agrees(parsed: &Parsed, name: &str, version: &str) -> bool {
    let plain = |text: &str| {
        let last = text.rsplit(['/', ':']).next().unwrap_or(text);
        last.to_lowercase().replace(['_', '.'], "-")
    };
    let bare = |version: &str| version.trim_start_matches('v').trim_start_matches("go").to_owned();
    let is_same_version = version == parsed.version
        || bare(version) == bare(&parsed.version)
        // Of rpm some leave the epoch out.
        || parsed.version.split_once(':').is_some_and(|(_, rest)| rest == version)
        || version.split_once(':').is_some_and(|(_, rest)| rest == parsed.version);
    is_same_version && (name.is_empty() || plain(name) == plain(&parsed.name))
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn word(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    (!text.is_empty() && text.len() <= WORD_BYTES_MAX && !text.chars().any(char::is_control))
        .then(|| text.to_owned())
}

fn cyclonedx(document: &Value) -> Result<ReadDocument, DocumentError> {
    let mut reading = Reading::default();
    let root = &document["metadata"]["component"];
    let digest = digest_of(text(root, "version")).or_else(|| {
        root["hashes"].as_array()?.iter().find_map(|hash| {
            (text(hash, "alg") == "SHA-256")
                .then(|| digest_of(&format!("sha256:{}", text(hash, "content"))))?
        })
    });
    // Components may hold others; the JSON's own depth is bounded by its parser.
    let mut left: Vec<&Value> = document["components"].as_array().into_iter().flatten().rev().collect();
    while let Some(component) = left.pop() {
        left.extend(component["components"].as_array().into_iter().flatten().rev());
        if text(component, "type") == "operating-system" {
            let properties = properties(component);
            let property =
                |names: [&str; 2]| names.iter().find_map(|n| properties.get(n).map(|v| (*v).to_owned()));
            reading.distribution = word(&component["name"]).map(|id| Distribution {
                id: property(["syft:distro:id", ""]).unwrap_or(id),
                id_like: property(["watchbell:id-like", "syft:distro:idLike:0"])
                    .map(|l| l.split_whitespace().map(str::to_owned).collect())
                    .unwrap_or_default(),
                version_id: word(&component["version"]),
                codename: property(["watchbell:codename", "syft:distro:versionCodename"]),
                pretty_name: word(&component["description"]),
            });
            continue;
        }
        let purl = text(component, "purl");
        if purl.is_empty() {
            // Files and the like are no packages.
            if matches!(text(component, "type"), "library" | "application" | "framework") {
                reading.gap(format!("component \"{}\" has no package URL", shown(text(component, "name"))));
            }
            continue;
        }
        let (name, version) = (text(component, "name"), text(component, "version"));
        let Some(mut package) = reading.component(purl, name, version) else { continue };
        for licence in component["licenses"].as_array().into_iter().flatten() {
            let stated = [&licence["expression"], &licence["license"]["id"], &licence["license"]["name"]];
            package.licences.extend(stated.into_iter().find_map(word));
        }
        let group = text(component, "group");
        respell(&mut package, if group.is_empty() { name.to_owned() } else { format!("{group}/{name}") });
        for occurrence in component["evidence"]["occurrences"].as_array().into_iter().flatten() {
            if let Some(path) = occurrence["location"].as_str() {
                let layer = digest_of(text(occurrence, "additionalContext"));
                package.locations.push(Location { layer, path: path.to_owned() });
            }
        }
        package.locations.sort();
        let properties = properties(component);
        if let (Some(name), Some(version)) =
            (properties.get("watchbell:source:name"), properties.get("watchbell:source:version"))
        {
            package.source = Some(SourcePackage { name: (*name).to_owned(), version: (*version).to_owned() });
        }
        package.vendor = properties
            .get("watchbell:vendor")
            .filter(|vendor| vendor.len() <= WORD_BYTES_MAX)
            .map(|vendor| (*vendor).to_owned());
        if let Some(owner) = properties.get("watchbell:owned-by") {
            reading.owners.push((reading.packages.len(), (*owner).to_owned()));
        }
        reading.push(package, text(component, "bom-ref"))?;
    }
    for (name, gap) in pairs(&document["metadata"]) {
        if name == format!("{PROPERTY}gap") {
            reading.gap(format!("it says of itself: {}", shown(gap)));
        }
    }
    Ok(reading.finish(BillForm::CycloneDx, word(&root["name"]), digest))
}

/// Gives a package its very own words back, which a package URL has in lower case: advisories of Go and npm tell names apart
/// by case.
fn respell(package: &mut Package, name: String) {
    let folded = match package.kind {
        PackageKind::Pypi => name.to_lowercase().replace('_', "-"),
        PackageKind::Golang | PackageKind::Npm | PackageKind::Composer => name.to_lowercase(),
        _ => return,
    };
    if folded == package.name.to_lowercase() && word(&Value::from(name.as_str())).is_some() {
        package.name = name;
    }
}

fn pairs(value: &Value) -> impl Iterator<Item = (&str, &str)> {
    value["properties"].as_array().into_iter().flatten().map(|p| (text(p, "name"), text(p, "value")))
}

fn properties(value: &Value) -> HashMap<&str, &str> {
    pairs(value).collect()
}

fn digest_of(text: &str) -> Option<Digest> {
    Digest::parse(text).ok()
}

fn spdx(document: &Value) -> Result<ReadDocument, DocumentError> {
    let mut reading = Reading::default();
    let described: Vec<&str> = document["relationships"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|r| {
            text(r, "relationshipType") == "DESCRIBES" && text(r, "spdxElementId") == "SPDXRef-DOCUMENT"
        })
        .map(|r| text(r, "relatedSpdxElement"))
        .chain(document["documentDescribes"].as_array().into_iter().flatten().filter_map(Value::as_str))
        .collect();
    let mut digest = None;
    for package in document["packages"].as_array().into_iter().flatten() {
        let identifier = text(package, "SPDXID");
        let (name, version) = (text(package, "name"), text(package, "versionInfo"));
        let is_root = described.contains(&identifier);
        if is_root && digest.is_none() {
            digest = digest_of(version).or_else(|| {
                package["checksums"].as_array()?.iter().find_map(|c| {
                    (text(c, "algorithm") == "SHA256")
                        .then(|| digest_of(&format!("sha256:{}", text(c, "checksumValue"))))?
                })
            });
        }
        if text(package, "primaryPackagePurpose") == "OPERATING-SYSTEM" {
            reading.distribution = word(&package["name"]).map(|id| Distribution {
                id,
                version_id: word(&package["versionInfo"]),
                pretty_name: word(&package["description"]),
                ..Distribution::default()
            });
            continue;
        }
        let purl = package["externalRefs"]
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|r| (text(r, "referenceType") == "purl").then(|| text(r, "referenceLocator")));
        let Some(purl) = purl else {
            if !is_root {
                reading.gap(format!("package \"{}\" has no package URL", shown(name)));
            }
            continue;
        };
        if purl.starts_with("pkg:oci/") && is_root {
            continue;
        }
        let Some(mut found) = reading.component(purl, name, version) else { continue };
        respell(&mut found, name.to_owned());
        found
            .licences
            .extend(word(&package["licenseDeclared"]).filter(|l| l != "NOASSERTION" && l != "NONE"));
        reading.push(found, identifier)?;
    }
    for relationship in document["relationships"].as_array().into_iter().flatten() {
        if text(relationship, "relationshipType") != "CONTAINS" {
            continue;
        }
        let ends = [text(relationship, "spdxElementId"), text(relationship, "relatedSpdxElement")];
        let [owner, owned] = ends.map(|end| reading.by_reference.get(end).copied());
        if let (Some(owner), Some(owned)) = (owner, owned)
            && owner != owned
        {
            reading.packages[owned].owned_by = Some(owner);
        }
    }
    Ok(reading.finish(BillForm::Spdx, word(&document["name"]), digest))
}
