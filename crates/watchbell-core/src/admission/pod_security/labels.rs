//! The labels by which a namespace chooses its policy.

use std::collections::BTreeMap;

use watchbell_api::FieldError;
use watchbell_api::error::FieldErrorClass;

use super::{LevelVersion, Version};
use crate::admission::Level;

pub const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
pub const ENFORCE_VERSION: &str = "pod-security.kubernetes.io/enforce-version";
pub const AUDIT: &str = "pod-security.kubernetes.io/audit";
pub const AUDIT_VERSION: &str = "pod-security.kubernetes.io/audit-version";
pub const WARN: &str = "pod-security.kubernetes.io/warn";
pub const WARN_VERSION: &str = "pod-security.kubernetes.io/warn-version";

/// What a namespace enforces, notes in the audit trail and warns about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy {
    /// `None`: the namespace has no label, so pods are filled in strictly and judged as `restricted:latest`.
    pub enforce: Option<LevelVersion>,
    pub audit: LevelVersion,
    pub warn: LevelVersion,
}

impl Policy {
    /// Of a namespace without a label.
    pub const STRICT: Policy =
        Policy { enforce: None, audit: LevelVersion::PRIVILEGED, warn: LevelVersion::PRIVILEGED };

    /// What a pod must keep within.
    pub fn enforced(&self) -> LevelVersion {
        self.enforce.unwrap_or(LevelVersion::RESTRICTED)
    }
}

/// Reads a namespace's policy. An unknown level or version to enforce is `restricted`, `latest`; one to audit or to warn by
/// is none. Who enforces and does not say by what to warn is warned by the same.
///
/// A version without a level says nothing here: only a level takes a namespace out of strict mode.
pub fn policy(labels: &BTreeMap<String, String>) -> Policy {
    let level = |label: &str| labels.get(label).map(|text| parse_level(text));
    let version = |label: &str| {
        labels.get(label).map_or(Version::Latest, |text| Version::parse(text).unwrap_or(Version::Latest))
    };
    let enforce = level(ENFORCE).map(|level| LevelVersion {
        level: level.unwrap_or(Level::Restricted),
        version: version(ENFORCE_VERSION),
    });
    let lax = |label: &str, version_label: &str| LevelVersion {
        level: level(label).flatten().unwrap_or(Level::Privileged),
        version: version(version_label),
    };
    let mut warn = lax(WARN, WARN_VERSION);
    let is_known = level(ENFORCE).flatten().is_some();
    if let Some(enforce) = enforce.filter(|_| is_known && !labels.contains_key(WARN)) {
        warn.level = enforce.level;
        if enforce.level != Level::Privileged && !labels.contains_key(WARN_VERSION) {
            warn.version = enforce.version;
        }
    }
    Policy { enforce, audit: lax(AUDIT, AUDIT_VERSION), warn }
}

fn parse_level(text: &str) -> Option<Level> {
    [Level::Privileged, Level::Baseline, Level::Restricted].into_iter().find(|level| level.as_str() == text)
}

/// What is wrong with the labels, in Kubernetes' words.
pub fn refuse_labels(labels: &BTreeMap<String, String>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = |label: &str, is_valid: fn(&str) -> bool, detail: &str| {
        if let Some(text) = labels.get(label).filter(|text| !is_valid(text)) {
            let field = format!("metadata.labels[{label}]");
            errors.push(FieldError::new(FieldErrorClass::Invalid, field, format!("{text:?}"), detail));
        }
    };
    for (level, version) in [(ENFORCE, ENFORCE_VERSION), (AUDIT, AUDIT_VERSION), (WARN, WARN_VERSION)] {
        check(level, |text| parse_level(text).is_some(), "must be one of privileged, baseline, restricted");
        check(version, |text| Version::parse(text).is_some(), "must be \"latest\" or \"v1.x\"");
    }
    errors
}
