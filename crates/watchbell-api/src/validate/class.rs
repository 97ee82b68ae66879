//! PriorityClasses, RuntimeClasses and Leases.

use std::collections::HashSet;

use super::at::At;
use super::findings::Findings;
use super::{metadata, resources, scheduling};
use crate::name;

/// Names that begin so are Kubernetes' own.
const SYSTEM: &str = "system-";
/// The PriorityClasses that every cluster has.
pub const SYSTEM_PRIORITIES: [(&str, i32); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
const USER_VALUE_MAX: i64 = 1_000_000_000;

pub(super) fn priority(f: &mut Findings, class: &At<'_, '_>) {
    let metadata = class.field("metadata");
    let (name, value) = (metadata.field("name"), class.field("value"));
    let number = value.int().unwrap_or(0);
    if name.text().starts_with(SYSTEM) {
        let known = SYSTEM_PRIORITIES.iter().find(|(known, _)| *known == name.text());
        let wrong = match known {
            None => Some(format!("{} is not a known system priority class", name.text())),
            Some((_, wanted)) if i64::from(*wanted) != number => {
                Some(format!("value of {} PriorityClass must be {wanted}", name.text()))
            }
            Some(_) if class.field("globalDefault").is_true() => {
                Some(format!("globalDefault of {} PriorityClass must be false", name.text()))
            }
            Some(_) => None,
        };
        if let Some(wrong) = wrong {
            f.forbidden(
                &name,
                format_args!(
                    "priority class names with '{SYSTEM}' prefix are reserved for system use only. error: {wrong}"
                ),
            );
        }
    } else if number > USER_VALUE_MAX {
        f.forbidden(
            &value,
            format_args!("maximum allowed value of a user defined priority is {USER_VALUE_MAX}"),
        );
    }
    f.one_of(&class.field("preemptionPolicy"), &["Never", "PreemptLowerPriority"]);
}

pub(super) fn priority_update(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>) {
    let value = new.field("value");
    if value.value != old.field("value").value {
        f.forbidden(&value, "may not be changed in an update.");
    }
    f.immutable(&new.field("preemptionPolicy"), &old.field("preemptionPolicy"));
}

pub(super) fn runtime(f: &mut Findings, class: &At<'_, '_>) {
    let handler = class.field("handler");
    f.all_invalid(&handler, name::label(handler.text()));
    let overhead = class.field("overhead");
    resources::overhead(f, &overhead.field("podFixed"));
    let scheduling = class.field("scheduling");
    metadata::labels(f, &scheduling.field("nodeSelector"));
    let tolerations = scheduling.field("tolerations");
    scheduling::tolerations(f, &tolerations);
    let mut seen = HashSet::new();
    for toleration in tolerations.items() {
        let key = ["key", "operator", "value", "effect"].map(|field| toleration.field(field).text());
        if !seen.insert(key) {
            f.duplicate(&toleration);
        }
    }
}

pub(super) fn runtime_update(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>) {
    runtime(f, new);
    f.immutable(&new.field("handler"), &old.field("handler"));
}

pub(super) fn lease(f: &mut Findings, lease: &At<'_, '_>) {
    let spec = lease.field("spec");
    let seconds = spec.field("leaseDurationSeconds");
    if seconds.int().is_some_and(|n| n <= 0) {
        f.invalid(&seconds, "must be greater than 0");
    }
    f.nonnegative(&spec.field("leaseTransitions"));
}
