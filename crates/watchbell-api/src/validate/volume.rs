//! Volumes and their sources.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::at::At;
use super::container::descending_path;
use super::env::{self, Referrer};
use super::findings::Findings;
use crate::name;
use crate::quantity::Quantity;

const MODE_MAX: i64 = 0o777;
const MODE_WORDS: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// What a source cannot be without.
const NEEDED: [(&str, &[&str]); 20] = [
    ("secret", &["secretName"]),
    ("configMap", &["name"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("hostPath", &["path"]),
    ("nfs", &["server", "path"]),
    ("gitRepo", &["repository"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("glusterfs", &["endpoints", "path"]),
    ("rbd", &["monitors", "image"]),
    ("cephfs", &["monitors"]),
    ("cinder", &["volumeID"]),
    ("azureFile", &["secretName", "shareName"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("vsphereVolume", &["volumePath"]),
    ("portworxVolume", &["volumeID"]),
    ("flexVolume", &["driver"]),
    ("csi", &["driver"]),
    ("ephemeral", &["volumeClaimTemplate"]),
];

/// Checks the volumes. Those that are in order are what mounts may name.
pub(super) fn check<'v>(f: &mut Findings, volumes: &At<'v, '_>) -> HashMap<&'v str, &'v Value> {
    let mut names = HashMap::new();
    for volume in volumes.items() {
        let name = volume.field("name");
        source(f, &volume);
        if f.present(&name) {
            f.all_invalid(&name, name::label(name.text()));
        }
        // A name that is refused is still not missing where it is mounted.
        if names.insert(name.text(), volume.value).is_some() && !name.text().is_empty() {
            f.duplicate(&name);
        }
    }
    names
}

fn source(f: &mut Findings, volume: &At<'_, '_>) {
    let Some(fields) = volume.value.as_object() else { return };
    let kinds: Vec<&str> = fields
        .iter()
        .filter(|(kind, source)| *kind != "name" && !source.is_null())
        .map(|(kind, _)| kind.as_str())
        .collect();
    let Some((first, others)) = kinds.split_first() else {
        f.required(volume, "must specify a volume type");
        return;
    };
    for kind in others {
        f.forbidden(&volume.field(kind), "may not specify more than 1 volume type");
    }
    let source = volume.field(first);
    for (kind, needed) in NEEDED {
        for field in needed.iter().filter(|_| kind == *first) {
            let field = source.field(field);
            if field.text().is_empty() && field.len() == 0 {
                f.required(&field, "");
            }
        }
    }
    match *first {
        "emptyDir" => {
            let limit = source.field("sizeLimit");
            if Quantity::from_value(limit.value).is_ok_and(|limit| limit.is_negative()) {
                f.forbidden(&limit, "SizeLimit field must be a valid resource quantity");
            }
        }
        "hostPath" => {
            let path = source.field("path");
            if path.text().split('/').any(|part| part == "..") {
                f.invalid(&path, "must not contain '..'");
            }
            const TYPES: [&str; 8] = [
                "",
                "BlockDevice",
                "CharDevice",
                "Directory",
                "DirectoryOrCreate",
                "File",
                "FileOrCreate",
                "Socket",
            ];
            f.one_of_if_set(&source.field("type"), &TYPES);
        }
        "secret" | "configMap" => {
            mode(f, &source.field("defaultMode"));
            key_files(f, &source.field("items"), &mut |_, _| {});
        }
        "downwardAPI" => {
            mode(f, &source.field("defaultMode"));
            for file in source.field("items").items() {
                pod_file(f, &file);
            }
        }
        "projected" => projected(f, &source),
        "image" => f.one_of_if_set(&source.field("pullPolicy"), &["Always", "IfNotPresent", "Never"]),
        _ => {}
    }
}

fn projected(f: &mut Findings, source: &At<'_, '_>) {
    mode(f, &source.field("defaultMode"));
    let mut taken: HashSet<String> = HashSet::new();
    let mut take = |f: &mut Findings, path: &At<'_, '_>| {
        if !path.text().is_empty() && !taken.insert(path.text().to_owned()) {
            f.invalid(path, "conflicting duplicate paths");
        }
    };
    for projection in source.field("sources").items() {
        let mut count = 0;
        for kind in ["secret", "configMap"] {
            let source = projection.field(kind);
            if source.is_set() {
                count += 1;
                f.present(&source.field("name"));
                key_files(f, &source.field("items"), &mut take);
            }
        }
        let downward = projection.field("downwardAPI");
        if downward.is_set() {
            count += 1;
            for file in downward.field("items").items() {
                pod_file(f, &file);
                take(f, &file.field("path"));
            }
        }
        let token = projection.field("serviceAccountToken");
        if token.is_set() {
            count += 1;
            let seconds = token.field("expirationSeconds");
            if seconds.int().is_some_and(|n| n < 600) {
                f.invalid(&seconds, "may not specify a duration less than 10 minutes");
            }
            if seconds.int().is_some_and(|n| n > 1 << 32) {
                f.invalid(&seconds, "may not specify a duration larger than 2^32 seconds");
            }
            file_path(f, &token.field("path"));
            take(f, &token.field("path"));
        }
        let bundle = projection.field("clusterTrustBundle");
        if bundle.is_set() {
            count += 1;
            if bundle.field("name").is_set() == bundle.field("signerName").is_set() {
                f.required(&bundle, "either name or signerName must be specified");
            }
            file_path(f, &bundle.field("path"));
            take(f, &bundle.field("path"));
        }
        count += usize::from(projection.field("podCertificate").is_set());
        if count > 1 {
            f.forbidden(&projection, "may not specify more than 1 volume type per source");
        }
    }
}

/// `items` of a ConfigMap or Secret: a key and the file it becomes.
fn key_files(f: &mut Findings, items: &At<'_, '_>, take: &mut dyn FnMut(&mut Findings, &At<'_, '_>)) {
    for item in items.items() {
        f.present(&item.field("key"));
        let path = item.field("path");
        file_path(f, &path);
        take(f, &path);
        mode(f, &item.field("mode"));
    }
}

/// A file with a field of the pod, or an amount of one of its containers.
fn pod_file(f: &mut Findings, file: &At<'_, '_>) {
    file_path(f, &file.field("path"));
    let (field, resource) = (file.field("fieldRef"), file.field("resourceFieldRef"));
    match (field.is_set(), resource.is_set()) {
        (true, has_resource) => {
            env::field_reference(f, &field, Referrer::File);
            if has_resource {
                f.invalid_text(
                    file,
                    "resource",
                    "fieldRef and resourceFieldRef can not be specified simultaneously",
                );
            }
        }
        (false, true) => env::resource_reference(f, &resource, Referrer::File),
        (false, false) => f.required(file, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(f, &file.field("mode"));
}

/// Names that begin with two dots are the node's own.
fn file_path(f: &mut Findings, path: &At<'_, '_>) {
    f.present(path);
    descending_path(f, path);
    if path.text().starts_with("..") && !path.text().starts_with("../") && path.text() != ".." {
        f.invalid(path, "must not start with '..'");
    }
}

fn mode(f: &mut Findings, mode: &At<'_, '_>) {
    if mode.int().is_some_and(|n| !(0..=MODE_MAX).contains(&n)) {
        f.invalid(mode, MODE_WORDS);
    }
}
