//! SPDX 2.3, JSON.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};
use watchbell_image::Digest;

use super::cyclonedx::evidence_word;
use super::{Subject, TOOL, TOOL_VERSION, licence, references};
use crate::{Inventory, Package};

const NO_ASSERTION: &str = "NOASSERTION";
const SUBJECT: &str = "SPDXRef-Subject";

pub(super) fn write(inventory: &Inventory, subject: &Subject) -> Value {
    let references = references(inventory);
    let identifiers = identifiers(&references);
    let mut extracted: BTreeMap<String, String> = BTreeMap::new();
    let mut packages = vec![root(subject)];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", SUBJECT)];
    for (package, identifier) in inventory.packages.iter().zip(&identifiers) {
        packages.push(self::package(package, identifier, inventory, &mut extracted));
        relationships.push(relationship(SUBJECT, "CONTAINS", identifier));
        if let Some(owner) = package.owned_by.and_then(|owner| identifiers.get(owner)) {
            relationships.push(relationship(owner, "CONTAINS", identifier));
        }
    }
    if let Some(distribution) = &inventory.distribution {
        let identifier = "SPDXRef-OperatingSystem";
        let mut os = json!({
            "SPDXID": identifier, "name": distribution.id, "downloadLocation": NO_ASSERTION, "filesAnalyzed": false,
            "primaryPackagePurpose": "OPERATING-SYSTEM", "licenseConcluded": NO_ASSERTION,
            "licenseDeclared": NO_ASSERTION, "copyrightText": NO_ASSERTION,
        });
        if let Some(version) = &distribution.version_id {
            os["versionInfo"] = json!(version);
        }
        if let Some(pretty) = &distribution.pretty_name {
            os["description"] = json!(pretty);
        }
        packages.push(os);
        relationships.push(relationship(SUBJECT, "CONTAINS", identifier));
    }
    let texts: Vec<Value> = extracted
        .into_iter()
        .map(|(id, name)| json!({"licenseId": id, "name": name, "extractedText": name}))
        .collect();
    let identity = match &subject.digest {
        Some(digest) => digest.hex().to_owned(),
        None => Digest::of(subject.name.as_bytes()).hex().to_owned(),
    };
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.name,
        // Unique to the image and the time, as the specification wants it; nothing is served there.
        "documentNamespace": format!("urn:watchbell:sbom:{identity}:{}", subject.time),
        "creationInfo": {
            "created": subject.time,
            "creators": [format!("Tool: {TOOL}-{TOOL_VERSION}")],
        },
        "packages": packages,
        "relationships": relationships,
    });
    if !texts.is_empty() {
        document["hasExtractedLicensingInfos"] = Value::from(texts);
    }
    if !inventory.gaps.is_empty() {
        let gaps: Vec<String> =
            inventory.gaps.iter().map(|gap| format!("{}: {}", gap.location.path, gap.reason)).collect();
        document["comment"] = json!(format!("not all is known: {}", gaps.join("; ")));
    }
    document
}

fn root(subject: &Subject) -> Value {
    let mut root = json!({
        "SPDXID": SUBJECT, "name": subject.name, "downloadLocation": NO_ASSERTION, "filesAnalyzed": false,
        "licenseConcluded": NO_ASSERTION, "licenseDeclared": NO_ASSERTION, "copyrightText": NO_ASSERTION,
    });
    if let Some(digest) = &subject.digest {
        root["versionInfo"] = json!(digest.as_str());
        root["primaryPackagePurpose"] = json!("CONTAINER");
        let algorithm = if digest.as_str().starts_with("sha512:") { "SHA512" } else { "SHA256" };
        root["checksums"] = json!([{"algorithm": algorithm, "checksumValue": digest.hex()}]);
    }
    root
}

fn package(
    package: &Package,
    identifier: &str,
    inventory: &Inventory,
    extracted: &mut BTreeMap<String, String>,
) -> Value {
    let places: Vec<String> = package
        .locations
        .iter()
        .map(|l| match &l.layer {
            Some(layer) => format!("{layer}/{}", l.path),
            None => l.path.clone(),
        })
        .collect();
    let mut value = json!({
        "SPDXID": identifier,
        "name": package.name,
        "downloadLocation": NO_ASSERTION,
        "filesAnalyzed": false,
        "licenseConcluded": NO_ASSERTION,
        "licenseDeclared": declared(&package.licences, extracted),
        "copyrightText": NO_ASSERTION,
        "sourceInfo": format!("{}: {}", evidence_word(package.evidence), places.join(", ")),
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": package.purl(inventory.distribution.as_ref()),
        }],
    });
    if !package.version.is_empty() {
        value["versionInfo"] = json!(package.version);
    }
    value
}

/// All that is stated together; what is no expression by a reference of the document's own.
fn declared(stated: &[String], extracted: &mut BTreeMap<String, String>) -> String {
    let parts: Vec<String> = stated
        .iter()
        .map(|text| {
            if licence::is_expression(text) {
                return if text.contains(' ') { format!("({text})") } else { text.clone() };
            }
            let mut reference = licence::reference(text);
            let taken = |reference: &str| extracted.get(reference).is_some_and(|known| known != text);
            while taken(&reference) {
                reference.push('-');
            }
            extracted.insert(reference.clone(), text.clone());
            reference
        })
        .collect();
    match parts.as_slice() {
        [] => NO_ASSERTION.to_owned(),
        [only] => only.clone(),
        several => several.join(" AND "),
    }
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to})
}

/// Letters, digits, dots and dashes of the references, made different again where that makes them equal.
fn identifiers(references: &[String]) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    references
        .iter()
        .map(|reference| {
            let text: String = reference
                .trim_start_matches("pkg:")
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
                .collect();
            let mut identifier = format!("SPDXRef-Package-{text}");
            while !taken.insert(identifier.clone()) {
                identifier.push_str("-2");
            }
            identifier
        })
        .collect()
}
