//! ValidatingAdmissionPolicies and their bindings, but for their expressions, which need an interpreter. Source:
//! `pkg/apis/admissionregistration/validation` of Kubernetes.

use std::collections::HashSet;

use super::at::At;
use super::findings::Findings;
use super::selector;
use crate::name;

const AUDIT_ANNOTATIONS_MAX: usize = 20;
const MATCH_CONDITIONS_MAX: usize = 64;
/// Kubernetes has no bound but the size of the object.
const VARIABLES_MAX: usize = 100;
const VALIDATIONS_MAX: usize = 100;
const VALUE_EXPRESSION_BYTES_MAX: usize = 5 * 1024;

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
/// What Kubernetes' validation takes; its documentation names Unauthorized too.
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];

pub(super) fn policy(f: &mut Findings, policy: &At<'_, '_>) {
    let metadata = policy.field("metadata");
    let spec = policy.field("spec");
    f.one_of(&spec.field("failurePolicy"), &FAILURE_POLICIES);
    let kind = spec.field("paramKind");
    if kind.is_set() {
        param_kind(f, &kind);
    }
    let constraints = spec.field("matchConstraints");
    if constraints.is_set() {
        match_resources(f, &constraints);
        let rules = constraints.field("resourceRules");
        if rules.len() == 0 {
            f.required(&rules, "");
        }
    } else {
        f.required(&constraints, "");
    }
    match_conditions(f, &spec.field("matchConditions"));
    let variables = spec.field("variables");
    f.at_most(&variables, VARIABLES_MAX);
    for variable in variables.items() {
        for field in ["name", "expression"] {
            let value = variable.field(field);
            if value.text().trim().is_empty() {
                f.required(&value, format_args!("{field} is not specified"));
            }
        }
    }
    let (validations, annotations) = (spec.field("validations"), spec.field("auditAnnotations"));
    if validations.len() == 0 && annotations.len() == 0 {
        for list in [&validations, &annotations] {
            f.required(list, "validations or auditAnnotations must contain at least one item");
        }
    }
    f.at_most(&validations, VALIDATIONS_MAX);
    for item in validations.items() {
        validation(f, &item);
    }
    audit_annotations(f, metadata.field("name").text(), &annotations);
}

fn param_kind(f: &mut Findings, kind: &At<'_, '_>) {
    let (version, word) = (kind.field("apiVersion"), kind.field("kind"));
    let parts: Vec<&str> = version.text().split('/').collect();
    match parts.as_slice() {
        [""] => f.required(&version, ""),
        [_] | [_, _] => {
            let (group, number) = match parts.as_slice() {
                [group, number] => (*group, *number),
                _ => ("", parts[0]),
            };
            if !group.is_empty() {
                for wrong in name::subdomain(group) {
                    f.invalid_text(&version, group, wrong);
                }
            }
            if number.is_empty() {
                f.invalid(&version, "version must be specified");
            } else {
                for wrong in name::dns1035_label(number) {
                    f.invalid_text(&version, number, wrong);
                }
            }
        }
        _ => f.invalid(&version, format_args!("unexpected GroupVersion string: {}", version.text())),
    }
    if word.text().is_empty() {
        f.required(&word, "");
    } else {
        let wrong = name::dns1035_label(&word.text().to_lowercase());
        if !wrong.is_empty() {
            f.invalid(
                &word,
                format_args!("may have mixed case, but should otherwise match: {}", wrong.join(",")),
            );
        }
    }
}

fn match_resources(f: &mut Findings, resources: &At<'_, '_>) {
    f.one_of(&resources.field("matchPolicy"), &MATCH_POLICIES);
    for field in ["namespaceSelector", "objectSelector"] {
        let place = resources.field(field);
        match place.is_set() {
            true => selector::check(f, &place),
            false => f.required(&place, ""),
        }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for rule in resources.field(field).items() {
            named_rule(f, &rule);
        }
    }
}

fn named_rule(f: &mut Findings, rule: &At<'_, '_>) {
    let mut known = HashSet::new();
    for item in rule.field("resourceNames").items() {
        f.all_invalid(&item, name::path_segment(item.text()));
        if !known.insert(item.text()) {
            f.duplicate(&item);
        }
    }
    let operations = rule.field("operations");
    if operations.len() == 0 {
        f.required(&operations, "");
    }
    wildcard(f, &operations, "if '*' is present, must not specify other operations");
    for operation in operations.items() {
        if !OPERATIONS.contains(&operation.text()) {
            f.not_supported(&operation, &OPERATIONS);
        }
    }
    for (field, words) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let list = rule.field(field);
        if list.len() == 0 {
            f.required(&list, "");
        }
        wildcard(f, &list, &format!("if '*' is present, must not specify other {words}"));
    }
    for version in rule.field("apiVersions").items() {
        f.present(&version);
    }
    resources(f, &rule.field("resources"));
    f.one_of_if_set(&rule.field("scope"), &SCOPES);
}

fn wildcard(f: &mut Findings, list: &At<'_, '_>, why: &str) {
    if list.len() > 1 && list.items().any(|item| item.text() == "*") {
        f.invalid(list, why);
    }
}

/// `pods`, `pods/log`, `*`, `*/scale`, `pods/*`, `*/*`.
fn resources(f: &mut Findings, list: &At<'_, '_>) {
    if list.len() == 0 {
        f.required(list, "");
    }
    let (mut whole, mut parts) = (HashSet::new(), HashSet::new());
    let (mut has_all, mut has_star, mut has_plain) = (false, false, false);
    for item in list.items() {
        if !f.present(&item) {
            continue;
        }
        has_all |= item.text() == "*/*";
        has_star |= item.text() == "*";
        let Some((resource, part)) = item.text().split_once('/') else {
            has_plain |= item.text() != "*";
            continue;
        };
        if whole.contains(resource) {
            f.invalid(&item, format_args!("if '{resource}/*' is present, must not specify {}", item.text()));
        }
        if parts.contains(part) {
            f.invalid(&item, format_args!("if '*/{part}' is present, must not specify {}", item.text()));
        }
        if part == "*" {
            whole.insert(resource);
        }
        if resource == "*" {
            parts.insert(part);
        }
    }
    if list.len() > 1 && has_all {
        f.invalid(list, "if '*/*' is present, must not specify other resources");
    }
    if has_star && has_plain {
        f.invalid(list, "if '*' is present, must not specify other resources without subresources");
    }
}

fn match_conditions(f: &mut Findings, conditions: &At<'_, '_>) {
    f.at_most(conditions, MATCH_CONDITIONS_MAX);
    let mut known = HashSet::new();
    for condition in conditions.items() {
        let (expression, word) = (condition.field("expression"), condition.field("name"));
        if expression.text().trim().is_empty() {
            f.required(&expression, "");
        }
        if f.present(&word) {
            f.all_invalid(&word, name::qualified(word.text()));
            if !known.insert(word.text()) {
                f.duplicate(&word);
            }
        }
    }
}

fn validation(f: &mut Findings, validation: &At<'_, '_>) {
    let (expression, message) = (validation.field("expression"), validation.field("message"));
    let words = validation.field("messageExpression");
    if expression.text().trim().is_empty() {
        f.required(&expression, "expression is not specified");
    }
    if !words.text().is_empty() && words.text().trim().is_empty() {
        f.invalid(&words, "must be non-empty if specified");
    }
    let trimmed = message.text().trim();
    if !message.text().is_empty() && trimmed.is_empty() {
        f.invalid(&message, "message must be non-empty if specified");
    } else if trimmed.contains(['\n', '\r']) {
        f.invalid(&message, "message must not contain line breaks");
    }
    f.one_of_if_set(&validation.field("reason"), &REASONS);
}

fn audit_annotations(f: &mut Findings, policy: &str, annotations: &At<'_, '_>) {
    if annotations.len() > AUDIT_ANNOTATIONS_MAX {
        f.invalid(
            annotations,
            format_args!("must not have more than {AUDIT_ANNOTATIONS_MAX} auditAnnotations"),
        );
    }
    let mut known = HashSet::new();
    for annotation in annotations.items() {
        let (key, expression) = (annotation.field("key"), annotation.field("valueExpression"));
        let whole = format!("{policy}/{}", key.text());
        for wrong in name::qualified(&whole) {
            f.invalid_text(&key, &whole, wrong);
        }
        let trimmed = expression.text().trim();
        if trimmed.is_empty() {
            f.required(&expression, "valueExpression is not specified");
        } else if trimmed.len() > VALUE_EXPRESSION_BYTES_MAX {
            f.required(
                &expression,
                format_args!("must not exceed {VALUE_EXPRESSION_BYTES_MAX} bytes in length"),
            );
        }
        if !known.insert(key.text()) {
            f.duplicate(&key);
        }
    }
}

pub(super) fn binding(f: &mut Findings, binding: &At<'_, '_>) {
    let spec = binding.field("spec");
    let policy = spec.field("policyName");
    if f.present(&policy) {
        f.all_invalid(&policy, name::subdomain(policy.text()));
    }
    let reference = spec.field("paramRef");
    if reference.is_set() {
        param_ref(f, &reference);
    }
    let resources = spec.field("matchResources");
    if resources.is_set() {
        match_resources(f, &resources);
    }
    actions(f, &spec.field("validationActions"));
}

fn param_ref(f: &mut Findings, reference: &At<'_, '_>) {
    let (word, chosen) = (reference.field("name"), reference.field("selector"));
    let exclusive = "name and selector are mutually exclusive";
    if !word.text().is_empty() {
        f.all_invalid(&word, name::path_segment(word.text()));
        if chosen.is_set() {
            f.forbidden(&word, exclusive);
        }
    }
    if chosen.is_set() {
        selector::check(f, &chosen);
        if !word.text().is_empty() {
            f.forbidden(&chosen, exclusive);
        }
    }
    if word.text().is_empty() && !chosen.is_set() {
        f.required(reference, "one of name or selector must be specified");
    }
    f.one_of(&reference.field("parameterNotFoundAction"), &["Deny", "Allow"]);
}

fn actions(f: &mut Findings, actions: &At<'_, '_>) {
    let mut known = HashSet::new();
    for action in actions.items() {
        if !ACTIONS.contains(&action.text()) {
            f.not_supported(&action, &ACTIONS);
        }
        if !known.insert(action.text()) {
            f.duplicate(&action);
        }
    }
    if known.contains("Deny") && known.contains("Warn") {
        f.invalid(
            actions,
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response and \
             headers serves no purpose)",
        );
    }
    if known.is_empty() {
        f.required(actions, "at least one validation action is required");
    }
}
