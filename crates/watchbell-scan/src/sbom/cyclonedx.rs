//! CycloneDX 1.6, JSON.

use serde_json::{Map, Value, json};
use watchbell_image::Digest;

use super::{Subject, TOOL, TOOL_VERSION, licence, references};
use crate::{Distribution, Evidence, Inventory, Package, PackageKind};

/// The names of our own properties begin so.
pub(super) const PROPERTY: &str = "watchbell:";

pub(super) fn evidence_word(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Installed => "installed",
        Evidence::Binary => "binary",
        Evidence::FileName => "file-name",
        Evidence::LockFile => "lock-file",
        Evidence::Document => "document",
    }
}

pub(super) fn write(inventory: &Inventory, subject: &Subject) -> Value {
    let references = references(inventory);
    let mut components: Vec<Value> = Vec::new();
    components.extend(inventory.distribution.as_ref().map(distribution));
    components.extend(inventory.packages.iter().zip(&references).map(|(package, reference)| {
        let owner = package.owned_by.and_then(|owner| references.get(owner));
        component(package, reference, owner.map(String::as_str), inventory.distribution.as_ref())
    }));
    let gaps: Vec<Value> = inventory
        .gaps
        .iter()
        .map(|gap| property("gap", format!("{}: {}", gap.location.path, gap.reason)))
        .collect();
    let mut subject_component = json!({
        "bom-ref": subject_reference(subject),
        "type": if subject.digest.is_some() { "container" } else { "file" },
        "name": subject.name,
    });
    if let Some(digest) = &subject.digest {
        subject_component["version"] = json!(digest.as_str());
        let algorithm = if digest.as_str().starts_with("sha512:") { "SHA-512" } else { "SHA-256" };
        subject_component["hashes"] = json!([{"alg": algorithm, "content": digest.hex()}]);
    }
    let mut metadata = json!({
        "timestamp": subject.time,
        "tools": {"components": [{"type": "application", "name": TOOL, "version": TOOL_VERSION}]},
        "component": subject_component,
    });
    if !gaps.is_empty() {
        metadata["properties"] = Value::from(gaps);
    }
    let aggregate = if inventory.gaps.is_empty() { "unknown" } else { "incomplete" };
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial_number(inventory, subject),
        "version": 1,
        "metadata": metadata,
        "components": components,
        "compositions": [{"aggregate": aggregate, "assemblies": [subject_reference(subject)]}],
    })
}

fn subject_reference(subject: &Subject) -> String {
    match &subject.digest {
        Some(digest) => digest.as_str().to_owned(),
        None => format!("subject:{}", subject.name),
    }
}

/// A UUID of version 8 (RFC 9562): its bits are a hash of what the document is of and says.
fn serial_number(inventory: &Inventory, subject: &Subject) -> String {
    let mut text = format!("{}\n{}\n{TOOL_VERSION}\n", subject_reference(subject), subject.time);
    for package in &inventory.packages {
        text.push_str(&format!(
            "{}\n{:?}\n",
            package.purl(inventory.distribution.as_ref()),
            package.locations
        ));
    }
    let digest = Digest::of(text.as_bytes());
    let hex = digest.hex();
    // The variant's two bits are 10.
    let variant = ["8", "9", "a", "b"][usize::from(hex.as_bytes()[16] & 3)];
    format!(
        "urn:uuid:{}-{}-8{}-{variant}{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..32]
    )
}

fn distribution(distribution: &Distribution) -> Value {
    let mut component = json!({
        "bom-ref": format!("os:{}@{}", distribution.id, distribution.version_id.as_deref().unwrap_or_default()),
        "type": "operating-system",
        "name": distribution.id,
    });
    if let Some(version) = &distribution.version_id {
        component["version"] = json!(version);
    }
    if let Some(pretty) = &distribution.pretty_name {
        component["description"] = json!(pretty);
    }
    let mut properties = Vec::new();
    properties.extend(distribution.codename.as_ref().map(|name| property("codename", name.clone())));
    if !distribution.id_like.is_empty() {
        properties.push(property("id-like", distribution.id_like.join(" ")));
    }
    if !properties.is_empty() {
        component["properties"] = Value::from(properties);
    }
    component
}

fn component(
    package: &Package,
    reference: &str,
    owner: Option<&str>,
    distribution: Option<&Distribution>,
) -> Value {
    let mut component = Map::new();
    let mut set = |key: &str, value: Value| {
        component.insert(key.to_owned(), value);
    };
    set("bom-ref", json!(reference));
    set("type", json!("library"));
    match package.name.split_once(':') {
        Some((group, name)) if package.kind == PackageKind::Maven => {
            set("group", json!(group));
            set("name", json!(name));
        }
        _ => set("name", json!(package.name)),
    }
    if !package.version.is_empty() {
        set("version", json!(package.version));
    }
    let licences = licences(&package.licences);
    if !licences.is_empty() {
        set("licenses", Value::from(licences));
    }
    set("purl", json!(package.purl(distribution)));
    let occurrences: Vec<Value> = package
        .locations
        .iter()
        .map(|location| match &location.layer {
            Some(layer) => json!({"location": location.path, "additionalContext": layer.as_str()}),
            None => json!({"location": location.path}),
        })
        .collect();
    if !occurrences.is_empty() {
        set("evidence", json!({"occurrences": occurrences}));
    }
    let mut properties = vec![property("evidence", evidence_word(package.evidence).to_owned())];
    if let Some(source) = &package.source {
        properties.push(property("source:name", source.name.clone()));
        properties.push(property("source:version", source.version.clone()));
    }
    properties.extend(package.vendor.as_ref().map(|vendor| property("vendor", vendor.clone())));
    properties.extend(owner.map(|owner| property("owned-by", owner.to_owned())));
    set("properties", Value::from(properties));
    Value::Object(component)
}

/// Either one expression, or any number of identifiers and names (`licenseChoice` of the schema).
fn licences(stated: &[String]) -> Vec<Value> {
    if let [only] = stated
        && licence::identifier(only).is_none()
        && licence::is_expression(only)
    {
        return vec![json!({"expression": only})];
    }
    stated
        .iter()
        .map(|text| match licence::identifier(text) {
            Some(id) => json!({"license": {"id": id}}),
            None => json!({"license": {"name": text}}),
        })
        .collect()
}

fn property(name: &str, value: String) -> Value {
    json!({"name": format!("{PROPERTY}{name}"), "value": value})
}
