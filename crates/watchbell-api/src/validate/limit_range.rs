//! LimitRanges.

use std::collections::{BTreeSet, HashSet};

use super::at::At;
use super::findings::Findings;
use super::resources;
use crate::name;
use crate::quantity::Quantity;

const TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];
const AMOUNTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

pub(super) fn check(f: &mut Findings, range: &At<'_, '_>) {
    let spec = range.field("spec");
    let limits = spec.field("limits");
    let mut seen = HashSet::new();
    for item in limits.items() {
        let kind = item.field("type");
        f.all_invalid(&kind, name::qualified(kind.text()));
        if !kind.text().contains('/') && !TYPES.contains(&kind.text()) {
            f.invalid(&kind, "must be a standard limit type or fully qualified");
        }
        if !seen.insert(kind.text()) {
            f.duplicate(&kind);
        }
        names(f, &item);
        amounts(f, &item);
    }
}

fn names(f: &mut Findings, item: &At<'_, '_>) {
    let kind = item.field("type");
    let is_pod = kind.text() == "Pod";
    for list in AMOUNTS {
        let list_at = item.field(list);
        if is_pod && matches!(list, "default" | "defaultRequest") {
            if list_at.len() > 0 {
                f.forbidden(&list_at, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        if list == "maxLimitRequestRatio" {
            continue;
        }
        for (resource, amount) in list_at.entries() {
            match kind.text() {
                "Pod" | "Container" => resources::container_name(f, &amount, resource),
                _ => resources::any_name(f, &amount, resource),
            }
        }
    }
    let has_storage = |list: &str| item.field(list).key("storage").is_set();
    if kind.text() == "PersistentVolumeClaim" && !has_storage("min") && !has_storage("max") {
        f.required(
            &item.field("limits"),
            "either minimum or maximum storage value is required, but neither was provided",
        );
    }
}

/// What must not be more than what: the amount that is told, both, and how it is worded.
fn amounts(f: &mut Findings, item: &At<'_, '_>) {
    let lists = AMOUNTS.map(|list| item.field(list));
    let [max, min, default, request, ratio] = &lists;
    let keys: BTreeSet<&str> = lists.iter().flat_map(|list| list.entries().map(|(key, _)| key)).collect();
    for key in keys {
        let read = |list: &At<'_, '_>| Quantity::from_value(list.key(key).value).ok();
        let (max_q, min_q, default_q, request_q) = (read(max), read(min), read(default), read(request));
        let mut at_most =
            |low: Option<Quantity>, high: Option<Quantity>, at: &At<'_, '_>, words: [&str; 2]| {
                if let (Some(low), Some(high)) = (low, high)
                    && low > high
                {
                    f.invalid(
                        &at.key(key),
                        format_args!("{} value {low} is greater than {} value {high}", words[0], words[1]),
                    );
                }
            };
        at_most(min_q, max_q, min, ["min", "max"]);
        at_most(min_q, request_q, request, ["min", "default request"]);
        at_most(request_q, max_q, request, ["default request", "max"]);
        at_most(request_q, default_q, request, ["default request", "default limit"]);
        at_most(min_q, default_q, default, ["min", "default"]);
        at_most(default_q, max_q, default, ["default", "max"]);
        if let Some(ratio_q) = read(ratio) {
            let one = Quantity::from_millis(1000);
            if ratio_q < one {
                f.invalid(&ratio.key(key), format_args!("ratio {ratio_q} is less than 1"));
            }
            if let (Some(max_q), Some(min_q)) = (max_q, min_q)
                && !min_q.is_zero()
                && ratio_q.as_f64() > max_q.as_f64() / min_q.as_f64()
            {
                let largest = max_q.as_f64() / min_q.as_f64();
                f.invalid(
                    &ratio.key(key),
                    format_args!("ratio {ratio_q} is greater than max/min = {largest:.6}"),
                );
            }
        }
        if let (Some(default_q), Some(request_q)) = (default_q, request_q)
            && !resources::may_overcommit(key)
            && default_q != request_q
        {
            f.invalid(
                &request.key(key),
                format_args!(
                    "default value {default_q} must equal to defaultRequest value {request_q} in {key}"
                ),
            );
        }
    }
}
