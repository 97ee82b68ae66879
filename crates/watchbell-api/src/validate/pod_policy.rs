//! `podFailurePolicy` of a Job.

use std::collections::HashSet;

use super::at::At;
use super::findings::Findings;
use super::job;
use crate::name;

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const CONDITIONS_MAX: usize = 20;

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

pub(super) fn check(f: &mut Findings, spec: &At<'_, '_>, policy: &At<'_, '_>) {
    let rules = policy.field("rules");
    if !f.at_most(&rules, RULES_MAX) {
        return;
    }
    let containers = job::container_names(spec);
    for rule in rules.items() {
        self::rule(f, spec, &rule, &containers);
    }
}

fn rule(f: &mut Findings, spec: &At<'_, '_>, rule: &At<'_, '_>, containers: &HashSet<&str>) {
    let action = rule.field("action");
    match action.text() {
        "" => f.required(&action, valid_values(&ACTIONS)),
        "FailIndex" if !spec.field("backoffLimitPerIndex").is_set() => {
            f.invalid(&action, "requires the backoffLimitPerIndex to be set");
        }
        text if ACTIONS.contains(&text) => {}
        _ => f.not_supported(&action, &ACTIONS),
    }
    let (codes, conditions) = (rule.field("onExitCodes"), rule.field("onPodConditions"));
    if codes.is_set() {
        exit_codes(f, &codes, containers);
    }
    if f.at_most(&conditions, CONDITIONS_MAX) {
        for pattern in conditions.items() {
            condition(f, &pattern);
        }
    }
    match (codes.is_set(), conditions.len() > 0) {
        (true, true) => {
            f.invalid_unshown(rule, "specifying both OnExitCodes and OnPodConditions is not supported");
        }
        (false, false) => {
            f.invalid_unshown(rule, "specifying one of OnExitCodes and OnPodConditions is required");
        }
        (true, false) | (false, true) => {}
    }
}

fn condition(f: &mut Findings, pattern: &At<'_, '_>) {
    const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
    let kind = pattern.field("type");
    f.all_invalid(&kind, name::qualified(kind.text()));
    let status = pattern.field("status");
    match status.text() {
        "" => f.required(&status, valid_values(&STATUSES)),
        text if STATUSES.contains(&text) => {}
        _ => f.not_supported(&status, &STATUSES),
    }
}

fn exit_codes(f: &mut Findings, codes: &At<'_, '_>, containers: &HashSet<&str>) {
    const OPERATORS: [&str; 2] = ["In", "NotIn"];
    let operator = codes.field("operator");
    match operator.text() {
        "" => f.required(&operator, valid_values(&OPERATORS)),
        text if OPERATORS.contains(&text) => {}
        _ => f.not_supported(&operator, &OPERATORS),
    }
    let container = codes.field("containerName");
    if container.is_set() && !containers.contains(container.text()) {
        f.invalid(&container, "must be one of the container or initContainer names in the pod template");
    }
    let values = codes.field("values");
    if values.len() == 0 {
        f.invalid(&values, "at least one value is required");
    }
    if !f.at_most(&values, EXIT_CODES_MAX) {
        return;
    }
    let mut seen = HashSet::new();
    let mut previous = i64::MIN;
    let mut is_ordered = true;
    for value in values.items() {
        let code = value.int().unwrap_or(0);
        if code == 0 && operator.text() == "In" {
            f.invalid(&value, "must not be 0 for the In operator");
        }
        if !seen.insert(code) {
            f.duplicate(&value);
        }
        is_ordered &= previous <= code;
        previous = code;
    }
    if !is_ordered {
        f.invalid(&values, "must be ordered");
    }
}

/// As Go prints a list of texts.
fn valid_values(values: &[&str]) -> String {
    let list: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("valid values: [{}]", list.join(" "))
}
