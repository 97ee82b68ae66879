//! Roles and their bindings.

use super::at::At;
use super::findings::Findings;
use super::selector;
use crate::name;

/// What a decision has to look at is bounded: rules of a role, words of one list of a rule, bytes of a word. Kubernetes has no
/// such bounds but that of the object as a whole.
const RULES_MAX: usize = 1024;
const WORDS_MAX: usize = 1024;
const WORD_BYTES_MAX: usize = 1024;
const SUBJECTS_MAX: usize = 4096;
/// As long as a name from an issuer may be.
const SUBJECT_BYTES_MAX: usize = 1024;

/// The API group of roles and bindings.
const GROUP: &str = "rbac.authorization.k8s.io";

/// Whether rules and subjects are those of one namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Namespace,
    Cluster,
}

pub(super) fn role(f: &mut Findings, role: &At<'_, '_>, place: Place) {
    let (rules, aggregation) = (role.field("rules"), role.field("aggregationRule"));
    // Rules that are gathered are as many as they are elsewhere.
    if aggregation.is_set() || f.at_most(&rules, RULES_MAX) {
        for rule_at in rules.items() {
            rule(f, &rule_at, place);
        }
    }
    if place == Place::Cluster && aggregation.is_set() {
        let selectors = aggregation.field("clusterRoleSelectors");
        if selectors.len() == 0 {
            f.required(&selectors, "at least one clusterRoleSelector required if aggregationRule is non-nil");
        }
        for selector_at in selectors.items() {
            selector::check(f, &selector_at);
        }
    }
}

fn rule(f: &mut Findings, rule: &At<'_, '_>, place: Place) {
    let verbs = rule.field("verbs");
    if verbs.len() == 0 {
        f.required(&verbs, "verbs must contain at least one value");
    }
    let (groups, resources) = (rule.field("apiGroups"), rule.field("resources"));
    let (names, paths) = (rule.field("resourceNames"), rule.field("nonResourceURLs"));
    for list in [&verbs, &groups, &resources, &names, &paths] {
        words(f, list);
    }
    if paths.len() > 0 {
        if place == Place::Namespace {
            f.invalid(&paths, "namespaced rules cannot apply to non-resource URLs");
        }
        if groups.len() > 0 || resources.len() > 0 || names.len() > 0 {
            f.invalid(&paths, "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if groups.len() == 0 {
        f.required(&groups, "resource rules must supply at least one api group");
    }
    if resources.len() == 0 {
        f.required(&resources, "resource rules must supply at least one resource");
    }
}

fn words(f: &mut Findings, list: &At<'_, '_>) {
    if f.at_most(list, WORDS_MAX) {
        for word in list.items().filter(|word| word.text().len() > WORD_BYTES_MAX) {
            f.too_long(&word, WORD_BYTES_MAX);
        }
    }
}

pub(super) fn binding(f: &mut Findings, binding: &At<'_, '_>, place: Place) {
    let role = binding.field("roleRef");
    let (group, kind, name) = (role.field("apiGroup"), role.field("kind"), role.field("name"));
    if group.text() != GROUP {
        f.not_supported(&group, &[GROUP]);
    }
    let kinds: &[&str] = match place {
        Place::Namespace => &["Role", "ClusterRole"],
        Place::Cluster => &["ClusterRole"],
    };
    if !kinds.contains(&kind.text()) {
        f.not_supported(&kind, kinds);
    }
    if f.present(&name) {
        f.all_invalid(&name, name::path_segment(name.text()));
    }
    let subjects = binding.field("subjects");
    if f.at_most(&subjects, SUBJECTS_MAX) {
        for subject_at in subjects.items() {
            subject(f, &subject_at, place);
        }
    }
}

/// A binding is given to others by changing its subjects; another role is another binding.
pub(super) fn binding_update(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>, place: Place) {
    binding(f, new, place);
    let role = new.field("roleRef");
    if role.value != old.field("roleRef").value {
        f.invalid(&role, "cannot change roleRef");
    }
}

fn subject(f: &mut Findings, subject: &At<'_, '_>, place: Place) {
    let (kind, name, group) = (subject.field("kind"), subject.field("name"), subject.field("apiGroup"));
    let is_named = f.present(&name);
    if name.text().len() > SUBJECT_BYTES_MAX {
        f.too_long(&name, SUBJECT_BYTES_MAX);
    }
    match kind.text() {
        "ServiceAccount" => {
            if is_named {
                f.all_invalid(&name, name::subdomain(name.text()));
            }
            if !group.text().is_empty() {
                f.not_supported(&group, &[""]);
            }
            if place == Place::Cluster {
                f.present(&subject.field("namespace"));
            }
        }
        "User" | "Group" => {
            if !is_named {
                let what = kind.text().to_ascii_lowercase();
                f.invalid_text(&name, "", format_args!("{what} name cannot be empty"));
            }
            if group.text() != GROUP {
                f.not_supported(&group, &[GROUP]);
            }
        }
        _ => f.not_supported(&kind, &["ServiceAccount", "User", "Group"]),
    }
}
