//! The rules, each with its reason and the way out. docs/lint.md shows the same table, and a test compares them.

use std::sync::OnceLock;

use watchbell_core::admission::pod_security::CHECKS;
use watchbell_scan::dockerfile::{self, Level};

use super::Severity;

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) severity: Severity,
    /// What is wrong where it speaks.
    pub(super) summary: String,
    pub(super) why: &'static str,
    pub(super) way_out: &'static str,
}

/// What stands before the identifier of a check of the Pod Security Standards.
const POD_SECURITY: &str = "pod-security/";

#[rustfmt::skip]
const OWN: [(&str, Severity, &str, &str, &str); 17] = [
    ("yaml", Severity::Error, "the text is no YAML that can be read in one way only",
        "what can be read in two ways is read otherwise by the next program", "correct the text at the place"),
    ("kind", Severity::Error, "no such object, or one without a name",
        "the server does not take it", "write apiVersion, kind and metadata.name of a kind that is served"),
    ("unknown-field", Severity::Error, "the kind has no such field",
        "what it was to do is not done", "correct its name or its place"),
    ("wrong-type", Severity::Error, "a value of another type than its field's",
        "the server does not take it", "write a value of the field's type"),
    ("invalid", Severity::Error, "a value that Kubernetes' validation refuses",
        "the server does not take it", "write what the message asks for"),
    ("accepted-with-warning", Severity::Warning, "the server would warn about it",
        "it does not do what it seems to", "do what the message says"),
    ("admission-policy", Severity::Error, "a policy of --policy denies it",
        "a server where the policy is in force does not take it", "do what the message says, or change the policy"),
    ("admission-policy-warning", Severity::Warning, "a policy of --policy warns about it or notes it",
        "a server where the policy is in force warns about it", "do what the message says, or change the policy"),
    ("not-honoured", Severity::Warning, "a field that this node does not act upon",
        "it works in a cluster and does nothing here", "leave it out, or know that it does nothing here"),
    ("schedule-never", Severity::Error, "no date of the calendar matches the schedule",
        "the CronJob never starts anything", "correct the schedule; `watchbell explain-schedule` shows its times"),
    ("schedule-clock-change", Severity::Warning, "a change of the clocks leaves out a time of the schedule, or repeats one",
        "the run of that day does not happen, or happens twice",
        "take an hour that the zone's clock always has, once; or leave timeZone out, which is UTC"),
    ("image-reference", Severity::Error, "the image's name cannot be read",
        "no image can be found by it", "write name:tag or name@sha256:digest"),
    ("image-latest", Severity::Warning, "the image has the tag latest, or none, and no digest",
        "what runs is what somebody pushed last", "name a version, best with its digest"),
    ("image-digest", Severity::Note, "the image has a tag and no digest",
        "a tag can be moved; a digest is the content", "write name:tag@sha256:digest"),
    ("no-limits", Severity::Warning, "a container without a limit of memory or processor",
        "one task that runs away takes what all others need", "set resources.limits, or a LimitRange in the namespace"),
    ("secret-in-env", Severity::Warning, "an environment variable holds what looks like a secret",
        "whoever can read the object, its history or the manifest can read the secret",
        "put it into a Secret and take it from there by valueFrom.secretKeyRef"),
    ("duplicate", Severity::Warning, "two objects of one kind have one name in one namespace",
        "the one that is applied last is what is left", "rename or remove one of them"),
];

/// All rules: our own, then one for each check of the Pod Security Standards, then those of Dockerfiles.
pub(super) fn all() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(|| {
        let own = OWN.iter().map(|&(id, severity, summary, why, way_out)| Rule {
            id: id.into(),
            severity,
            summary: summary.into(),
            why,
            way_out,
        });
        let checks = CHECKS.iter().map(|check| Rule {
            id: format!("{POD_SECURITY}{}", check.id),
            severity: Severity::Error,
            summary: format!("forbidden from the level {} on", check.level.as_str()),
            why: check.why,
            way_out: check.way_out,
        });
        let dockerfile = dockerfile::RULES.iter().map(|rule| Rule {
            id: rule.id.into(),
            severity: match rule.level {
                Level::Note => Severity::Note,
                Level::Warning => Severity::Warning,
                Level::Error => Severity::Error,
            },
            summary: rule.summary.into(),
            why: rule.why,
            way_out: rule.way_out,
        });
        own.chain(checks).chain(dockerfile).collect()
    })
}

/// The rule of that name.
///
/// # Panics
/// When there is none: names are written in this module's neighbours, and their tests use each.
pub(super) fn named(id: &str) -> &'static Rule {
    all().iter().find(|rule| rule.id == id).expect("a rule of the table")
}

/// The rule of a check of the Pod Security Standards.
pub(super) fn of_check(id: &str) -> &'static Rule {
    named(&format!("{POD_SECURITY}{id}"))
}

#[cfg(test)]
mod tests {
    use super::all;

    /// The table of docs/lint.md.
    fn table() -> String {
        let mut text =
            String::from("| rule | severity | what it says | why | the way out |\n|---|---|---|---|---|\n");
        for rule in all() {
            let severity = rule.severity.as_str();
            text.push_str(&format!(
                "| `{}` | {severity} | {} | {} | {} |\n",
                rule.id, rule.summary, rule.why, rule.way_out
            ));
        }
        text
    }

    #[test]
    fn the_documentation_has_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/lint.md");
        let text = std::fs::read_to_string(path).expect("docs/lint.md");
        assert!(text.contains(&table()), "docs/lint.md is to have this table:\n{}", table());
    }

    #[test]
    fn each_rule_has_a_name_of_its_own_and_says_all() {
        let mut seen = std::collections::BTreeSet::new();
        for rule in all() {
            assert!(seen.insert(&rule.id), "{}", rule.id);
            for text in [&*rule.summary, rule.why, rule.way_out] {
                assert!(!text.is_empty() && !text.contains(['|', '\n']), "{}", rule.id);
            }
        }
    }
}
