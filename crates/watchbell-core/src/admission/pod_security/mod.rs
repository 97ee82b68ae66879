//! The Pod Security Standards, judged as Kubernetes 1.36 judges them (`k8s.io/pod-security-admission`): the same checks, in
//! their versions, in its order and words.
//!
//! ```text
//!   labels of a namespace ─▶ Policy { enforce, audit, warn }, each a level and a version
//!   a pod as it would run ─▶ judge(level:version) ─▶ violations: reason (detail), …
//!                               └─▶ CHECKS: which function of a check counts at which version
//! ```
//!
//! Nothing here changes a pod, and nothing is remembered: what it was asked to judge is all that it knows.

mod baseline;
mod change;
mod checks;
mod labels;
mod namespace;
mod pod;
mod restricted;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;

use serde_json::Value;

pub use change::is_significant;
pub use checks::{CHECKS, Check, NEWEST_MINOR};
pub use labels::{
    AUDIT, AUDIT_VERSION, ENFORCE, ENFORCE_VERSION, Policy, WARN, WARN_VERSION, policy, refuse_labels,
};
pub use namespace::{EXISTING_PODS_MAX, ExistingPod, existing_pods, has_tightened};

use super::Level;
use pod::Pod;

/// A version of the standards: those of one Kubernetes release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `v1.N`, also of a release that is not out yet: then the newest checks count.
    Minor(u64),
    Latest,
}

impl Version {
    /// Reads `latest` or `v1.N`.
    pub fn parse(text: &str) -> Option<Version> {
        if text == "latest" {
            return Some(Version::Latest);
        }
        let digits = text.strip_prefix("v1.")?;
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_number || (digits.len() > 1 && digits.starts_with('0')) {
            return None;
        }
        // Kubernetes reads it into a signed number of 64 bits.
        digits.parse().ok().filter(|&minor| i64::try_from(minor).is_ok()).map(Version::Minor)
    }

    /// The release whose checks count.
    fn minor(self) -> u64 {
        match self {
            Version::Minor(minor) => minor.min(NEWEST_MINOR),
            Version::Latest => NEWEST_MINOR,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Minor(minor) => write!(f, "v1.{minor}"),
            Version::Latest => f.write_str("latest"),
        }
    }
}

/// `restricted:v1.35`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LevelVersion {
    pub level: Level,
    pub version: Version,
}

impl LevelVersion {
    pub const PRIVILEGED: LevelVersion = LevelVersion::latest(Level::Privileged);
    pub const RESTRICTED: LevelVersion = LevelVersion::latest(Level::Restricted);

    pub const fn latest(level: Level) -> LevelVersion {
        LevelVersion { level, version: Version::Latest }
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level.as_str(), self.version)
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    reason: &'static str,
    detail: String,
    fields: Vec<String>,
}

/// One check that a pod breaks.
#[derive(Debug, Clone)]
pub struct Violation {
    pub check: &'static Check,
    /// Kubernetes' `ForbiddenReason`: `host namespaces`.
    pub reason: &'static str,
    /// Kubernetes' `ForbiddenDetail`: `hostNetwork=true, hostPID=true`.
    pub detail: String,
    /// The fields that are wrong or missing, from the pod on: `spec.hostNetwork`, `metadata.annotations[…]`.
    pub fields: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.detail)
    }
}

/// What of a pod a level forbids, in Kubernetes' order: of a pod or a pod template, by its annotations and its spec with the
/// defaults. Empty: allowed.
pub fn judge(policy: LevelVersion, annotations: &Value, spec: &Value) -> Vec<Violation> {
    let pod = Pod::new(annotations, spec);
    checks::applicable(policy)
        .filter_map(|(check, judge)| {
            let Finding { reason, detail, fields } = judge(&pod)?;
            Some(Violation { check, reason, detail, fields })
        })
        .collect()
}

/// `host namespaces (hostNetwork=true), privileged (…)`
pub fn details(violations: &[Violation]) -> String {
    let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
    list.join(", ")
}

/// `host namespaces, privileged`: for a glance at many pods.
pub fn reasons(violations: &[Violation]) -> String {
    let list: Vec<&str> = violations.iter().map(|violation| violation.reason).collect();
    list.join(", ")
}

/// `violates PodSecurity "restricted:v1.35": …`
pub fn violates(policy: LevelVersion, violations: &[Violation]) -> String {
    format!("violates PodSecurity \"{policy}\": {}", details(violations))
}

/// `would violate PodSecurity "restricted:v1.35": …`
pub fn would_violate(policy: LevelVersion, violations: &[Violation]) -> String {
    format!("would violate PodSecurity \"{policy}\": {}", details(violations))
}
