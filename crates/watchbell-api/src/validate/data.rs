//! ConfigMaps and Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::at::At;
use super::findings::Findings;
use crate::name;

/// The values together.
const BYTES_MAX: usize = 1 << 20;

pub(super) fn config_map(f: &mut Findings, map: &At<'_, '_>) {
    let (data, binary) = (map.field("data"), map.field("binaryData"));
    let mut bytes = 0;
    for (key, value) in data.entries() {
        for detail in name::data_key(key) {
            f.invalid_text(&value, key, detail);
        }
        bytes += value.text().len();
    }
    for (key, value) in binary.entries() {
        for detail in name::data_key(key) {
            f.invalid_text(&value, key, detail);
        }
        if data.key(key).is_set() {
            f.invalid_text(&value, key, "duplicate of key present in data");
        }
        bytes += decoded_length(value.text());
    }
    if bytes > BYTES_MAX {
        f.object_too_long(BYTES_MAX);
    }
}

pub(super) fn secret(f: &mut Findings, secret: &At<'_, '_>) {
    let data = secret.field("data");
    let mut bytes = 0;
    for (key, value) in data.entries() {
        for detail in name::data_key(key) {
            f.invalid_text(&value, key, detail);
        }
        bytes += decoded_length(value.text());
    }
    if bytes > BYTES_MAX {
        f.too_long(&data, BYTES_MAX);
    }
    // A field whose value is not there, or not even empty.
    let mut needs = |key: &str| {
        if !data.key(key).is_set() {
            f.required(&data.key(key), "");
        }
    };
    match secret.field("type").text() {
        "kubernetes.io/service-account-token" => {
            let metadata = secret.field("metadata");
            let annotations = metadata.field("annotations");
            f.present(&annotations.key("kubernetes.io/service-account.name"));
        }
        "kubernetes.io/dockercfg" => docker_config(f, &data.key(".dockercfg")),
        "kubernetes.io/dockerconfigjson" => docker_config(f, &data.key(".dockerconfigjson")),
        "kubernetes.io/basic-auth" if !data.key("username").is_set() && !data.key("password").is_set() => {
            needs("username");
            needs("password");
        }
        "kubernetes.io/ssh-auth" => needs("ssh-privatekey"),
        "kubernetes.io/tls" => {
            needs("tls.crt");
            needs("tls.key");
        }
        _ => {}
    }
}

fn docker_config(f: &mut Findings, at: &At<'_, '_>) {
    if !at.is_set() {
        f.required(at, "");
        return;
    }
    let is_object = STANDARD
        .decode(at.text())
        .is_ok_and(|bytes| serde_json::from_slice::<Value>(&bytes).is_ok_and(|value| value.is_object()));
    if !is_object {
        f.invalid_text(at, "<secret contents redacted>", "it is not a JSON object");
    }
}

/// What a ConfigMap or Secret that was declared immutable keeps.
pub(super) fn immutable(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>) {
    if !old.field("immutable").is_true() {
        return;
    }
    const DETAIL: &str = "field is immutable when `immutable` is set";
    if !new.field("immutable").is_true() {
        f.forbidden(&new.field("immutable"), DETAIL);
    }
    for field in ["data", "binaryData"] {
        if new.field(field).value != old.field(field).value {
            f.forbidden(&new.field(field), DETAIL);
        }
    }
}

/// The length of what base64 stands for.
fn decoded_length(text: &str) -> usize {
    let digits = text.bytes().filter(|b| !matches!(b, b'=' | b'\r' | b'\n')).count();
    digits / 4 * 3 + (digits % 4).saturating_sub(1)
}
