//! Policies of images.

use std::collections::HashSet;

use super::at::At;
use super::findings::Findings;
use super::rbac::Place;
use super::selector;
use super::warning::Warnings;
use crate::name;
use crate::quantity::Quantity;

const PATTERNS_MAX: usize = 256;
const PATTERN_BYTES_MAX: usize = 512;
const SIGNERS_MAX: usize = 32;
const KEY_BYTES_MAX: usize = 8 << 10;
const ATTESTATIONS_MAX: usize = 16;
const EXCEPTIONS_MAX: usize = 1000;
const TEXT_BYTES_MAX: usize = 1024;
const BASES_MAX: usize = 64;
/// As many as an image may have.
const LAYERS_MAX: usize = 128;
const DAYS_MAX: i64 = 36_500;
const HOURS_MAX: i64 = 24 * DAYS_MAX;

/// Where ClusterImagePolicies have their keys. Nobody should be given the role `edit` there.
const SYSTEM_NAMESPACE: &str = "watchbell-system";

const SEVERITIES: [&str; 5] = ["Critical", "High", "Medium", "Low", "None"];
const SLSA: &str = "https://slsa.dev/provenance/";
const PEM: (&str, &str) = ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----");

/// A key that who starts Jobs may replace proves little.
pub(super) fn warnings(w: &mut Warnings, spec: &At<'_, '_>) {
    for signer in spec.field("signers").items() {
        for map in [signer.field("key").field("configMap"), signer.field("keyless").field("trustRoot")] {
            if map.is_set() {
                w.add(
                    &map,
                    "whoever may write ConfigMaps in this namespace, as the role `edit` may, can put another key there; write \
                     `publicKey`, or use a ClusterImagePolicy",
                );
            }
        }
    }
}

pub(super) fn policy(f: &mut Findings, policy: &At<'_, '_>, place: Place) {
    let spec = policy.field("spec");
    let metadata = policy.field("metadata");
    let namespace = metadata.field("namespace");
    f.one_of_if_set(&spec.field("enforcementAction"), &["Deny", "Warn", "Audit"]);
    f.one_of_if_set(&spec.field("digest"), &["Required", "Resolved"]);
    f.in_range(&spec.field("maximumAgeDays"), 1, DAYS_MAX);
    let namespaces = spec.field("namespaceSelector");
    match place {
        Place::Cluster => selector::check(f, &namespaces),
        Place::Namespace if namespaces.is_set() => {
            f.forbidden(
                &namespaces,
                "an ImagePolicy is for its own namespace; use a ClusterImagePolicy for several",
            );
        }
        Place::Namespace => {}
    }
    let registries = spec.field("registries");
    if f.at_most(&registries, PATTERNS_MAX) {
        registries.items().for_each(|at| registry(f, &at));
    }
    let repositories = spec.field("repositories");
    if f.at_most(&repositories, PATTERNS_MAX) {
        repositories.items().for_each(|at| repository(f, &at));
    }
    let keys = ConfigMaps { place, own: namespace.text() };
    let signers = signers(f, &spec.field("signers"), keys);
    let attestations = spec.field("attestations");
    if f.at_most(&attestations, ATTESTATIONS_MAX) {
        attestations.items().for_each(|at| attestation(f, &at, &signers));
    }
    vulnerabilities(f, &spec.field("vulnerabilities"));
    let minimality = spec.field("minimality");
    f.nonnegative(&minimality.field("maximumPackages"));
    let size = minimality.field("maximumSize");
    if size.is_set() && !Quantity::from_value(size.value).is_ok_and(|size| size.as_bytes() > 0) {
        f.invalid(&size, "must be greater than 0");
    }
    let bases = spec.field("baseImages");
    if f.at_most(&bases, BASES_MAX) {
        bases.items().for_each(|at| base(f, &at));
    }
}

/// A pattern that can be matched within its bounds.
fn pattern(f: &mut Findings, at: &At<'_, '_>) -> bool {
    if !f.present(at) {
        return false;
    }
    if at.text().len() > PATTERN_BYTES_MAX {
        f.too_long(at, PATTERN_BYTES_MAX);
        return false;
    }
    true
}

fn registry(f: &mut Findings, at: &At<'_, '_>) {
    if pattern(f, at) && at.text().contains(['/', '@']) {
        f.invalid(at, "must be a registry such as ghcr.io or *.example.com:5000; what has a path belongs to spec.repositories");
    }
}

/// Images are compared by their normalised names, which begin with a registry.
fn repository(f: &mut Findings, at: &At<'_, '_>) {
    if !pattern(f, at) {
        return;
    }
    let (registry, path) = at.text().split_once('/').unwrap_or((at.text(), ""));
    let has_registry = registry == "localhost" || registry.contains(['.', ':', '*']);
    if !has_registry || (path.is_empty() && registry != "**") {
        f.invalid(
            at,
            "must begin with a registry, such as docker.io/library/* or ghcr.io/team/**: images are compared by their full names",
        );
    } else if path.contains([':', '@']) {
        f.invalid(at, "must be a repository, without a tag or a digest");
    }
}

#[derive(Clone, Copy)]
struct ConfigMaps<'a> {
    place: Place,
    own: &'a str,
}

/// The names of the signers.
fn signers<'v>(f: &mut Findings, list: &At<'v, '_>, keys: ConfigMaps<'_>) -> HashSet<&'v str> {
    let mut names = HashSet::new();
    if !f.at_most(list, SIGNERS_MAX) {
        return names;
    }
    for signer in list.items() {
        let name_at = signer.field("name");
        if f.present(&name_at) {
            f.all_invalid(&name_at, name::label(name_at.text()));
            if !names.insert(name_at.text()) {
                f.duplicate(&name_at);
            }
        }
        let (key, keyless) = (signer.field("key"), signer.field("keyless"));
        match (key.is_set(), keyless.is_set()) {
            (true, true) => f.forbidden(&keyless, "may not be set with `key`: a signer is one of the two"),
            (false, false) => f.required(&signer, "must specify `key` or `keyless`"),
            (true, false) => public_key(f, &key, keys),
            (false, true) => identity(f, &keyless, keys),
        }
    }
    names
}

fn public_key(f: &mut Findings, key: &At<'_, '_>, keys: ConfigMaps<'_>) {
    let (inline, map) = (key.field("publicKey"), key.field("configMap"));
    match (inline.is_set(), map.is_set()) {
        (true, true) => f.forbidden(&map, "may not be set with `publicKey`"),
        (false, false) => f.required(key, "must specify `publicKey` or `configMap`"),
        (false, true) => config_map(f, &map, keys),
        (true, false) if inline.text().len() > KEY_BYTES_MAX => f.too_long(&inline, KEY_BYTES_MAX),
        (true, false) => {
            let text = inline.text().trim();
            if !text.starts_with(PEM.0) || !text.ends_with(PEM.1) || text.matches("-----BEGIN").count() > 1 {
                f.invalid(
                    &inline,
                    "must be one public key in PEM, as `cosign generate-key-pair` writes it to cosign.pub",
                );
            }
        }
    }
}

fn identity(f: &mut Findings, keyless: &At<'_, '_>, keys: ConfigMaps<'_>) {
    let issuer = keyless.field("issuer");
    if f.present(&issuer) && (!issuer.text().starts_with("https://") || issuer.text().len() > TEXT_BYTES_MAX)
    {
        f.invalid(&issuer, "must be the address of an OpenID issuer, beginning with https://");
    }
    let subject = keyless.field("subject");
    if pattern(f, &subject) && subject.text().trim_matches(['*', '/']).is_empty() {
        f.invalid(&subject, "must name somebody: with `*` alone anybody whom the issuer knows could sign");
    }
    let root = keyless.field("trustRoot");
    if root.is_set() {
        config_map(f, &root, keys);
    } else {
        f.required(
            &root,
            "signatures are verified without asking anybody, against a trust root that was fetched before",
        );
    }
}

fn config_map(f: &mut Findings, map: &At<'_, '_>, keys: ConfigMaps<'_>) {
    let namespace = map.field("namespace");
    match keys.place {
        // Who edits a namespace writes its ConfigMaps, and with one a key of his own.
        Place::Cluster => {
            if f.present(&namespace) && namespace.text() != SYSTEM_NAMESPACE {
                f.forbidden(
                    &namespace,
                    format_args!(
                        "the ConfigMaps of a ClusterImagePolicy lie in the namespace {SYSTEM_NAMESPACE}, which editors of other \
                         namespaces do not write"
                    ),
                );
            }
        }
        Place::Namespace => {
            if namespace.is_set() && namespace.text() != keys.own {
                f.forbidden(&namespace, "the ConfigMap of an ImagePolicy lies in the policy's own namespace");
            }
        }
    }
    let name_at = map.field("name");
    if f.present(&name_at) {
        f.all_invalid(&name_at, name::subdomain(name_at.text()));
    }
    let key = map.field("key");
    if f.present(&key) {
        f.all_invalid(&key, name::data_key(key.text()));
    }
}

fn attestation(f: &mut Findings, at: &At<'_, '_>, signers: &HashSet<&str>) {
    let kind = at.field("predicateType");
    if f.present(&kind) && kind.text().len() > TEXT_BYTES_MAX {
        f.too_long(&kind, TEXT_BYTES_MAX);
    }
    if signers.is_empty() {
        f.required(
            &at.field("signers"),
            "a statement is worth what its signer is: spec.signers must name one",
        );
    }
    for signer in at.field("signers").items() {
        if !signers.is_empty() && !signers.contains(signer.text()) {
            f.not_found(&signer);
        }
    }
    for field in ["builder", "source"] {
        let condition = at.field(field);
        if condition.is_set() && pattern(f, &condition) && !kind.text().starts_with(SLSA) {
            f.forbidden(
                &condition,
                format_args!("may only be set with a predicateType that begins with {SLSA}"),
            );
        }
    }
}

fn vulnerabilities(f: &mut Findings, at: &At<'_, '_>) {
    f.one_of_if_set(&at.field("maximumSeverity"), &SEVERITIES);
    f.one_of_if_set(&at.field("unscored"), &SEVERITIES[..4]);
    f.in_range(&at.field("databaseMaximumAgeHours"), 1, HOURS_MAX);
    let uncovered = at.field("allowUncovered");
    if f.at_most(&uncovered, PATTERNS_MAX) {
        for name in uncovered.items() {
            pattern(f, &name);
        }
    }
    let exceptions = at.field("exceptions");
    if !f.at_most(&exceptions, EXCEPTIONS_MAX) {
        return;
    }
    for exception in exceptions.items() {
        let id = exception.field("id");
        if f.present(&id) && (id.text().len() > 128 || !id.text().bytes().all(|b| b.is_ascii_graphic())) {
            f.invalid(&id, "must be the name of an advisory, such as CVE-2026-1234");
        }
        if exception.field("package").text().len() > TEXT_BYTES_MAX {
            f.too_long(&exception.field("package"), TEXT_BYTES_MAX);
        }
        let reason = exception.field("reason");
        if reason.text().trim().is_empty() {
            f.required(&reason, "whoever reads it later must know why");
        } else if reason.text().len() > TEXT_BYTES_MAX {
            f.too_long(&reason, TEXT_BYTES_MAX);
        }
        f.present(&exception.field("expires"));
    }
}

fn base(f: &mut Findings, at: &At<'_, '_>) {
    let name_at = at.field("name");
    if f.present(&name_at) && name_at.text().len() > TEXT_BYTES_MAX {
        f.too_long(&name_at, TEXT_BYTES_MAX);
    }
    let layers = at.field("layers");
    if layers.len() == 0 {
        f.required(&layers, "must list the base image's layers from the bottom");
    } else if f.at_most(&layers, LAYERS_MAX) {
        for layer in layers.items().filter(|layer| !is_digest(layer.text())) {
            f.invalid(&layer, "must be sha256: and 64 hexadecimal digits");
        }
    }
}

fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
