//! Environment variables, and the references to a pod's own fields and resources.

use super::at::At;
use super::findings::Findings;
use super::pod::Context;
use crate::name;
use crate::quantity::Quantity;

/// Where a reference stands decides what it may name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Referrer {
    Variable,
    File,
}

const VARIABLE_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Fields that exist and that no reference may name.
const OTHER_FIELDS: [&str; 3] = ["spec.restartPolicy", "spec.schedulerName", "status.phase"];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn variables(f: &mut Findings, env: &At<'_, '_>, context: &Context<'_>) {
    for variable in env.items() {
        let name = variable.field("name");
        if f.present(&name) {
            f.all_invalid(&name, name::variable(name.text()));
        }
        let source = variable.field("valueFrom");
        if source.is_set() {
            value_from(f, &source, !variable.field("value").text().is_empty(), context);
        }
    }
}

fn value_from(f: &mut Findings, source: &At<'_, '_>, has_value: bool, context: &Context<'_>) {
    let (field, resource) = (source.field("fieldRef"), source.field("resourceFieldRef"));
    let (map, secret, file) =
        (source.field("configMapKeyRef"), source.field("secretKeyRef"), source.field("fileKeyRef"));
    if field.is_set() {
        field_reference(f, &field, Referrer::Variable);
    }
    if resource.is_set() {
        resource_reference(f, &resource, Referrer::Variable);
    }
    for reference in [&map, &secret] {
        if reference.is_set() {
            let (name, key) = (reference.field("name"), reference.field("key"));
            f.all_invalid(&name, name::subdomain(name.text()));
            if f.present(&key) {
                f.all_invalid(&key, name::data_key(key.text()));
            }
        }
    }
    if file.is_set() {
        let (volume, path, key) = (file.field("volumeName"), file.field("path"), file.field("key"));
        f.present(&path);
        super::container::descending_path(f, &path);
        f.present(&key);
        match context.volumes.get(volume.text()) {
            _ if !f.present(&volume) => {}
            None => f.not_found(&volume),
            Some(source) if source.get("emptyDir").is_none() => {
                f.invalid(&volume, "referenced volume must be of type emptyDir");
            }
            Some(_) => {}
        }
    }
    let sources = [&field, &resource, &map, &secret, &file].iter().filter(|source| source.is_set()).count();
    if sources == 0 {
        f.invalid_text(
            source,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if has_value {
        f.invalid_text(source, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        f.invalid_text(source, "", "may not have more than one field specified at a time");
    }
}

pub(super) fn sources(f: &mut Findings, env_from: &At<'_, '_>) {
    for source in env_from.items() {
        let prefix = source.field("prefix");
        if !prefix.text().is_empty() {
            f.all_invalid(&prefix, name::variable(prefix.text()));
        }
        let mut count = 0;
        for reference in ["configMapRef", "secretRef"] {
            let reference = source.field(reference);
            if reference.is_set() {
                count += 1;
                let name = reference.field("name");
                if f.present(&name) {
                    f.all_invalid(&name, name::subdomain(name.text()));
                }
            }
        }
        match count {
            0 => f.invalid_text(&source, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => f.invalid_text(&source, "", "may not have more than one field specified at a time"),
        }
    }
}

/// `fieldRef`
pub(super) fn field_reference(f: &mut Findings, reference: &At<'_, '_>, referrer: Referrer) {
    let (version, path) = (reference.field("apiVersion"), reference.field("fieldPath"));
    if !f.present(&version) || !f.present(&path) {
        return;
    }
    let text = path.text();
    if version.text() != "v1" {
        let version = super::findings::cut(version.text());
        f.invalid(&path, format_args!("error converting fieldPath: unsupported pod version: {version}"));
        return;
    }
    if let Some((base, key)) = text.strip_suffix("']").and_then(|text| text.split_once("['")) {
        match base {
            "metadata.annotations" => {
                for detail in name::qualified(&key.to_ascii_lowercase()) {
                    f.invalid_text(reference, key, detail);
                }
            }
            "metadata.labels" => {
                for detail in name::qualified(key) {
                    f.invalid_text(reference, key, detail);
                }
            }
            _ => f.invalid(
                &path,
                format_args!(
                    "error converting fieldPath: field label does not support subscript: {}",
                    super::findings::cut(text)
                ),
            ),
        }
        return;
    }
    let supported: &[&str] = match referrer {
        Referrer::Variable => &VARIABLE_FIELDS,
        Referrer::File => &FILE_FIELDS,
    };
    if supported.contains(&text) {
        return;
    }
    let exists = [&VARIABLE_FIELDS[..], &FILE_FIELDS, &OTHER_FIELDS].concat().contains(&text);
    if exists {
        f.not_supported(&path, supported);
    } else {
        let text = super::findings::cut(text);
        f.invalid(&path, format_args!("error converting fieldPath: field label not supported: {text}"));
    }
}

/// `resourceFieldRef`
pub(super) fn resource_reference(f: &mut Findings, reference: &At<'_, '_>, referrer: Referrer) {
    let (container, resource) = (reference.field("containerName"), reference.field("resource"));
    let text = resource.text();
    let is_huge = text.starts_with("requests.hugepages-") || text.starts_with("limits.hugepages-");
    if referrer == Referrer::File && container.text().is_empty() {
        f.required(&container, "");
    } else if f.present(&resource) && !RESOURCES.contains(&text) && !is_huge {
        f.not_supported(&resource, &RESOURCES);
    }
    let divisor = reference.field("divisor");
    let amount = match Quantity::from_value(divisor.value) {
        Ok(amount) if !amount.is_zero() => amount.to_string(),
        _ => return,
    };
    const SIZES: [&str; 13] =
        ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let (kind, supported): (&str, &[&str]) = match text {
        "limits.cpu" | "requests.cpu" => ("cpu", &["1m", "1"]),
        "limits.memory" | "requests.memory" => ("memory", &SIZES),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => ("local ephemeral storage", &SIZES),
        _ if is_huge => ("hugepages", &SIZES),
        _ => return,
    };
    if !supported.contains(&amount.as_str()) {
        let list = if kind == "cpu" { "1m and 1".to_owned() } else { supported.join(", ") };
        f.invalid_text(
            &divisor,
            text,
            format_args!("only divisor's values {list} are supported with the {kind} resource"),
        );
    }
}
