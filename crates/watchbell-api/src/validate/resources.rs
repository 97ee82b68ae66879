//! Requests and limits.

use super::at::At;
use super::findings::Findings;
use crate::name;
use crate::quantity::Quantity;

/// Kubernetes' own resources that a quota can bound by amount.
const MEASURED: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

/// Those that it bounds by number.
const COUNTED: [&str; 9] = [
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

const NOT_STANDARD: &str = "must be a standard resource type or fully qualified";

pub(super) fn container(f: &mut Findings, resources: &At<'_, '_>, claims: &[&str]) {
    lists(f, resources, Scope::Container);
    let mut seen = std::collections::HashSet::new();
    for claim in resources.field("claims").items() {
        let name = claim.field("name");
        if f.present(&name) {
            if !seen.insert((name.text(), claim.field("request").text())) {
                f.duplicate_text(&claim, name.text());
            }
            if !claims.contains(&name.text()) {
                f.not_found(&name);
            }
        }
    }
}

pub(super) fn pod_level(f: &mut Findings, resources: &At<'_, '_>) {
    if !resources.is_set() {
        return;
    }
    let claims = resources.field("claims");
    if claims.is_set() {
        f.forbidden(&claims, "claims may not be set for Resources at pod-level");
    }
    lists(f, resources, Scope::Pod);
}

pub(super) fn overhead(f: &mut Findings, overhead: &At<'_, '_>) {
    for (name, amount) in overhead.entries() {
        resource_name(f, &amount, name, Scope::Container);
        self::amount(f, &amount, name);
    }
}

/// A resource of a container, by its name in a list of amounts.
pub(super) fn container_name(f: &mut Findings, at: &At<'_, '_>, name: &str) {
    resource_name(f, at, name, Scope::Container);
}

/// Any resource.
pub(super) fn any_name(f: &mut Findings, at: &At<'_, '_>, name: &str) {
    let wrong = name::qualified(name);
    let is_form = wrong.is_empty();
    for detail in wrong {
        f.invalid_text(at, name, detail);
    }
    if is_form && !name.contains('/') && !is_standard(name) {
        f.invalid_text(at, name, NOT_STANDARD);
    }
}

/// What a quota bounds.
pub(super) fn quota_name(f: &mut Findings, at: &At<'_, '_>, name: &str) {
    any_name(f, at, name);
    if !name.contains('/') && !is_quota_standard(name) {
        f.invalid_text(at, name, "must be a standard resource for quota");
    }
}

pub(super) fn quota_amount(f: &mut Findings, at: &At<'_, '_>, name: &str) {
    amount(f, at, name);
    if COUNTED.contains(&name)
        && let Ok(quantity) = Quantity::from_value(at.value)
        && !quantity.is_whole()
    {
        f.invalid(at, "must be an integer");
    }
}

/// Whether Kubernetes itself knows a name in a quota.
pub(super) fn is_quota_standard(name: &str) -> bool {
    MEASURED.contains(&name)
        || COUNTED.contains(&name)
        || is_huge(name.strip_prefix("requests.").unwrap_or(name))
}

fn is_standard(name: &str) -> bool {
    name == "storage" || is_quota_standard(name)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Container,
    Pod,
}

fn lists(f: &mut Findings, resources: &At<'_, '_>, scope: Scope) {
    let (limits, requests) = (resources.field("limits"), resources.field("requests"));
    for (name, limit) in limits.entries() {
        resource_name(f, &limit, name, scope);
        amount(f, &limit, name);
    }
    for (name, request) in requests.entries() {
        resource_name(f, &request, name, scope);
        amount(f, &request, name);
        let Ok(asked) = Quantity::from_value(request.value) else { continue };
        match Quantity::from_value(limits.key(name).value) {
            Ok(limit) if !may_overcommit(name) && asked != limit => f.invalid_text(
                &requests,
                &asked.to_string(),
                format_args!("must be equal to {name} limit of {limit}"),
            ),
            Ok(limit) if asked > limit => f.invalid_text(
                &requests,
                &asked.to_string(),
                format_args!("must be less than or equal to {name} limit of {limit}"),
            ),
            Ok(_) => {}
            Err(_) if !may_overcommit(name) => {
                f.required(&limits, "Limit must be set for non overcommitable resources");
            }
            Err(_) => {}
        }
    }
    let has = |list: &At<'_, '_>, is: fn(&str) -> bool| list.entries().any(|(name, _)| is(name));
    let is_compute = |name: &str| matches!(name, "cpu" | "memory");
    if (has(&limits, is_huge) || has(&requests, is_huge))
        && !has(&limits, is_compute)
        && !has(&requests, is_compute)
    {
        f.forbidden(resources, "HugePages require cpu or memory");
    }
}

fn amount(f: &mut Findings, at: &At<'_, '_>, name: &str) {
    match Quantity::from_value(at.value) {
        // The schema has refused it already, where it was asked.
        Err(error) => f.invalid(at, error),
        Ok(quantity) if quantity.is_negative() => f.invalid(at, "must be greater than or equal to 0"),
        Ok(quantity) if is_extended(name) && !quantity.is_whole() => f.invalid(at, "must be an integer"),
        Ok(_) => {}
    }
}

fn resource_name(f: &mut Findings, at: &At<'_, '_>, name: &str, scope: Scope) {
    let wrong = name::qualified(name);
    if !wrong.is_empty() {
        for detail in wrong {
            f.invalid_text(at, name, detail);
        }
        return;
    }
    let is_container = matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge(name);
    match scope {
        Scope::Pod if !(matches!(name, "cpu" | "memory") || is_huge(name)) => {
            let supported = ["cpu", "hugepages-", "memory"];
            f.invalid_text(at, name, format_args!("supported values: {supported:?}"));
        }
        Scope::Pod => {}
        Scope::Container if !name.contains('/') => {
            if is_container {
                return;
            }
            if !is_standard(name) {
                f.invalid_text(at, name, NOT_STANDARD);
            }
            f.invalid_text(at, name, "must be a standard resource for containers");
        }
        Scope::Container if !is_native(name) && !is_extended(name) => {
            f.invalid_text(at, name, "doesn't follow extended resource name standard");
        }
        Scope::Container => {}
    }
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && name::qualified(&format!("requests.{name}")).is_empty()
}

/// More may be promised than there is of what can be taken back.
pub(super) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge(name)
}
