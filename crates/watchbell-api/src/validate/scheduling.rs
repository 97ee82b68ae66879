//! Where a pod may go: affinity, tolerations, spread, gates.

use std::collections::HashSet;

use super::at::At;
use super::findings::Findings;
use super::selector;
use crate::name;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn check(f: &mut Findings, spec: &At<'_, '_>) {
    let affinity = spec.field("affinity");
    node_affinity(f, &affinity.field("nodeAffinity"));
    for kind in ["podAffinity", "podAntiAffinity"] {
        let kind = affinity.field(kind);
        for term in kind.field(REQUIRED).items() {
            pod_term(f, &term);
        }
        for term in kind.field(PREFERRED).items() {
            weight(f, &term.field("weight"));
            pod_term(f, &term.field("podAffinityTerm"));
        }
    }
    tolerations(f, &spec.field("tolerations"));
    spread(f, &spec.field("topologySpreadConstraints"));
    gates(f, &spec.field("schedulingGates"));
    for gate in spec.field("readinessGates").items() {
        let kind = gate.field("conditionType");
        f.all_invalid(&kind, name::qualified(kind.text()));
    }
}

fn node_affinity(f: &mut Findings, affinity: &At<'_, '_>) {
    let required = affinity.field(REQUIRED);
    if required.is_set() {
        node_selector(f, &required);
    }
    for term in affinity.field(PREFERRED).items() {
        weight(f, &term.field("weight"));
        node_term(f, &term.field("preference"));
    }
}

pub(super) fn node_selector(f: &mut Findings, selector: &At<'_, '_>) {
    let terms = selector.field("nodeSelectorTerms");
    if terms.len() == 0 {
        f.required(&terms, "must have at least one node selector term");
    }
    for term in terms.items() {
        node_term(f, &term);
    }
}

fn weight(f: &mut Findings, weight: &At<'_, '_>) {
    if !(1..=100).contains(&weight.int().unwrap_or(0)) {
        f.invalid(weight, "must be in the range 1-100");
    }
}

fn node_term(f: &mut Findings, term: &At<'_, '_>) {
    for requirement in term.field("matchExpressions").items() {
        let (key, values) = (requirement.field("key"), requirement.field("values"));
        let operator = requirement.field("operator");
        match operator.text() {
            "In" | "NotIn" if values.len() == 0 => {
                f.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if values.len() > 0 => {
                f.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "Gt" | "Lt" if values.len() != 1 => {
                f.required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            _ => f.invalid(&operator, "not a valid selector operator"),
        }
        f.all_invalid(&key, name::qualified(key.text()));
    }
    for requirement in term.field("matchFields").items() {
        let (key, values) = (requirement.field("key"), requirement.field("values"));
        let operator = requirement.field("operator");
        match operator.text() {
            "In" | "NotIn" if values.len() != 1 => {
                f.required(
                    &values,
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                );
            }
            "In" | "NotIn" => {}
            _ => f.invalid(&operator, "not a valid selector operator"),
        }
        if key.text() != "metadata.name" {
            f.invalid(&key, "not a valid field selector key");
        }
    }
}

fn pod_term(f: &mut Findings, term: &At<'_, '_>) {
    for field in ["labelSelector", "namespaceSelector"] {
        selector::check(f, &term.field(field));
    }
    for namespace in term.field("namespaces").items() {
        f.all_invalid(&namespace, name::label(namespace.text()));
    }
    topology_key(f, &term.field("topologyKey"));
}

fn topology_key(f: &mut Findings, key: &At<'_, '_>) {
    if key.text().is_empty() {
        f.required(key, "can not be empty");
    } else {
        f.all_invalid(key, name::qualified(key.text()));
    }
}

pub(super) fn tolerations(f: &mut Findings, tolerations: &At<'_, '_>) {
    for toleration in tolerations.items() {
        let (key, operator) = (toleration.field("key"), toleration.field("operator"));
        let (value, effect) = (toleration.field("value"), toleration.field("effect"));
        if !key.text().is_empty() {
            f.all_invalid(&key, name::qualified(key.text()));
        } else if operator.text() != "Exists" {
            f.invalid_text(
                &operator,
                operator.text(),
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if toleration.field("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
            f.invalid(&effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator.text() {
            "" | "Equal" => {
                let wrong = name::label_value(value.text());
                if !wrong.is_empty() {
                    f.invalid_text(&operator, value.text(), wrong.join(";"));
                }
            }
            "Exists" => {
                if !value.text().is_empty() {
                    f.invalid_text(
                        &operator,
                        value.text(),
                        "value must be empty when `operator` is 'Exists'",
                    );
                }
            }
            _ => f.not_supported(&operator, &["Equal", "Exists"]),
        }
        if !effect.text().is_empty() {
            f.one_of(&effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
    }
}

fn spread(f: &mut Findings, constraints: &At<'_, '_>) {
    let mut seen = HashSet::new();
    for constraint in constraints.items() {
        let skew = constraint.field("maxSkew");
        if skew.int().unwrap_or(0) <= 0 {
            f.invalid(&skew, "must be greater than zero");
        }
        let (key, when) = (constraint.field("topologyKey"), constraint.field("whenUnsatisfiable"));
        topology_key(f, &key);
        if !matches!(when.text(), "DoNotSchedule" | "ScheduleAnyway") {
            f.not_supported(&when, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        if !seen.insert((key.text(), when.text())) {
            f.duplicate_text(&constraint, &format!("{{{}, {}}}", key.text(), when.text()));
        }
        let domains = constraint.field("minDomains");
        if domains.is_set() {
            if domains.int().unwrap_or(0) <= 0 {
                f.invalid(&domains, "must be greater than zero");
            }
            if when.text() != "DoNotSchedule" {
                f.invalid(
                    &domains,
                    format_args!(
                        "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}",
                        when.text()
                    ),
                );
            }
        }
        selector::check(f, &constraint.field("labelSelector"));
    }
}

fn gates(f: &mut Findings, gates: &At<'_, '_>) {
    let mut seen = HashSet::new();
    for gate in gates.items() {
        let name = gate.field("name");
        for detail in name::qualified(name.text()) {
            f.invalid_text(&gate, name.text(), detail);
        }
        if !seen.insert(name.text()) {
            f.duplicate_text(&gate, name.text());
        }
    }
}
