//! `LabelSelector`: its form, and whether labels match it.

use super::at::At;
use super::findings::Findings;
use super::metadata;
use crate::name;

pub(super) fn check(f: &mut Findings, selector: &At<'_, '_>) {
    metadata::labels(f, &selector.field("matchLabels"));
    for requirement in selector.field("matchExpressions").items() {
        let (key, values) = (requirement.field("key"), requirement.field("values"));
        let operator = requirement.field("operator");
        match operator.text() {
            "In" | "NotIn" if values.len() == 0 => {
                f.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if values.len() > 0 => {
                f.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => f.invalid(&operator, "not a valid selector operator"),
        }
        f.all_invalid(&key, name::qualified(key.text()));
        for value in values.items() {
            f.all_invalid(&value, name::label_value(value.text()));
        }
    }
}

/// An empty selector matches everything.
pub(super) fn matches(selector: &At<'_, '_>, labels: &At<'_, '_>) -> bool {
    let equal = selector.field("matchLabels");
    let expressions = selector.field("matchExpressions");
    equal.entries().all(|(key, value)| labels.key(key).value == value.value)
        && expressions.items().all(|requirement| {
            let key = requirement.field("key");
            let label = labels.key(key.text());
            let is_among = || requirement.field("values").items().any(|value| value.value == label.value);
            match requirement.field("operator").text() {
                "In" => label.is_set() && is_among(),
                "NotIn" => !label.is_set() || !is_among(),
                "Exists" => label.is_set(),
                "DoesNotExist" => !label.is_set(),
                _ => false,
            }
        })
}
