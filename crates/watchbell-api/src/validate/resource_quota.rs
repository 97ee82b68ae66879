//! ResourceQuotas.

use std::collections::HashSet;

use super::at::At;
use super::findings::Findings;
use super::resources;

/// The scopes that are known, and what of a quota each can be about.
const SCOPES: [(&str, About); 7] = [
    ("Terminating", About::Pods),
    ("NotTerminating", About::Pods),
    ("BestEffort", About::PodCount),
    ("NotBestEffort", About::Pods),
    ("PriorityClass", About::Pods),
    ("CrossNamespacePodAffinity", About::Pods),
    ("VolumeAttributesClass", About::Claims),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    PodCount,
    Pods,
    Claims,
}

const CONFLICTS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

const ONLY_EXISTS: &str = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
ResourceQuotaScopeCrossNamespacePodAffinity";

pub(super) fn check(f: &mut Findings, quota: &At<'_, '_>) {
    let spec = quota.field("spec");
    let hard = spec.field("hard");
    for (resource, amount) in hard.entries() {
        resources::quota_name(f, &amount, resource);
        resources::quota_amount(f, &amount, resource);
    }
    scopes(f, &hard, &spec.field("scopes"));
    selector(f, &hard, &spec.field("scopeSelector"));
}

pub(super) fn update(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>) {
    check(f, new);
    let (old, new) = (old.field("spec"), new.field("spec"));
    let (old, new) = (old.field("scopes"), new.field("scopes"));
    let set = |scopes: &At<'_, '_>| -> HashSet<String> {
        scopes.items().map(|scope| scope.text().to_owned()).collect()
    };
    if set(&old) != set(&new) {
        f.invalid(&new, "field is immutable");
    }
}

fn scopes(f: &mut Findings, hard: &At<'_, '_>, scopes: &At<'_, '_>) {
    let mut seen = HashSet::new();
    for scope in scopes.items() {
        match about(scope.text()) {
            None => f.invalid(scopes, "unsupported scope"),
            Some(about) => {
                if hard.entries().any(|(resource, _)| !fits(about, resource)) {
                    f.invalid(scopes, "unsupported scope applied to resource");
                }
            }
        }
        seen.insert(scope.text());
    }
    conflicts(f, scopes, &seen);
}

fn selector(f: &mut Findings, hard: &At<'_, '_>, selector: &At<'_, '_>) {
    let expressions = selector.field("matchExpressions");
    let mut seen = HashSet::new();
    for requirement in expressions.items() {
        // Kubernetes' own paths name the list, not its items.
        let (scope, operator) = (requirement.field("scopeName"), requirement.field("operator"));
        let values = requirement.field("values");
        match about(scope.text()) {
            None => f.invalid_text(&expressions.field("scopeName"), scope.text(), "unsupported scope"),
            Some(about) => {
                if hard.entries().any(|(resource, _)| !fits(about, resource)) {
                    f.invalid(&expressions, "unsupported scope applied to resource");
                }
            }
        }
        let takes_values = matches!(scope.text(), "PriorityClass" | "VolumeAttributesClass");
        if about(scope.text()).is_some() && !takes_values && operator.text() != "Exists" {
            f.invalid_text(&expressions.field("operator"), operator.text(), ONLY_EXISTS);
        }
        match operator.text() {
            "In" | "NotIn" if values.len() == 0 => f.required(
                &expressions.field("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            "Exists" | "DoesNotExist" if values.len() > 0 => f.invalid_unshown(
                &expressions.field("values"),
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => f.invalid_text(&expressions.field("operator"), other, "not a valid selector operator"),
        }
        seen.insert(scope.text());
    }
    conflicts(f, &expressions, &seen);
}

fn conflicts(f: &mut Findings, at: &At<'_, '_>, seen: &HashSet<&str>) {
    for pair in CONFLICTS {
        if pair.iter().all(|scope| seen.contains(scope)) {
            f.invalid(at, "conflicting scopes");
        }
    }
}

fn about(scope: &str) -> Option<About> {
    SCOPES.iter().find(|(known, _)| *known == scope).map(|(_, about)| *about)
}

/// Whether a quota of a scope can bound a resource. What is not Kubernetes' own fits everywhere.
fn fits(about: About, resource: &str) -> bool {
    if !resources::is_quota_standard(resource) {
        return true;
    }
    match about {
        About::PodCount => resource == "pods",
        About::Pods => matches!(
            resource,
            "pods" | "cpu" | "memory" | "limits.cpu" | "limits.memory" | "requests.cpu" | "requests.memory"
        ),
        About::Claims => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
    }
}
