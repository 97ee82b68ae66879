//! `spec.successPolicy`: when an Indexed Job is a success before every index is (KEP-3998).

use watchbell_api::types::job::{SuccessPolicy, SuccessPolicyRule};

use crate::index_set::IndexSet;

/// The message of the condition, when a rule is met. Rules are tried in order.
pub(super) fn met(policy: &SuccessPolicy, completions: u32, completed: &IndexSet) -> Option<String> {
    if completed.is_empty() {
        return None;
    }
    let number = policy.rules.iter().position(|rule| rule_met(rule, completions, completed))?;
    Some(format!("Matched rules at index {number}"))
}

fn rule_met(rule: &SuccessPolicyRule, completions: u32, completed: &IndexSet) -> bool {
    let enough = |count: u64| rule.succeeded_count.is_some_and(|wanted| count >= u64::from(wanted));
    let Some(text) = &rule.succeeded_indexes else { return enough(completed.len()) };
    // Validation checked the text; a Job scaled down since then has lost the indexes beyond its completions.
    let Ok(mut wanted) = IndexSet::parse(text, u32::MAX) else { return false };
    wanted.truncate(completions);
    if wanted.is_empty() {
        return false;
    }
    let succeeded = wanted.intersection_len(completed);
    succeeded == wanted.len() || enough(succeeded)
}

#[cfg(test)]
mod tests {
    use watchbell_api::types::job::{SuccessPolicy, SuccessPolicyRule};

    use super::met;
    use crate::index_set::IndexSet;

    /// The table of KEP-3998, and its edges.
    #[test]
    fn rules() {
        type Rule<'a> = (Option<&'a str>, Option<u32>);
        let check = |rules: &[Rule<'_>], completed: &str, expect: Option<usize>| {
            let rules = rules
                .iter()
                .map(|(indexes, count)| SuccessPolicyRule {
                    succeeded_indexes: indexes.map(str::to_owned),
                    succeeded_count: *count,
                })
                .collect();
            let completed = IndexSet::parse(completed, 10).expect("a set");
            let message = expect.map(|number| format!("Matched rules at index {number}"));
            assert_eq!(met(&SuccessPolicy { rules }, 10, &completed), message, "{completed}");
        };
        check(&[(None, Some(2))], "", None);
        check(&[(None, Some(0))], "", None);
        check(&[(None, Some(2))], "7", None);
        check(&[(None, Some(2))], "3,7", Some(0));
        check(&[(Some("0"), None)], "1-9", None);
        check(&[(Some("0"), None)], "0", Some(0));
        check(&[(Some("0,2-4"), None)], "0,2,3", None);
        check(&[(Some("0,2-4"), None)], "0-5", Some(0));
        check(&[(Some("0,2-4"), Some(1))], "1,5-9", None);
        check(&[(Some("0,2-4"), Some(1))], "3", Some(0));
        check(&[(Some("0,2-4"), Some(2))], "3", None);
        check(&[(Some("0"), None), (Some("1-3"), Some(2))], "2,3", Some(1));
        // Indexes beyond the completions are not waited for.
        check(&[(Some("8-12"), None)], "8,9", Some(0));
        check(&[(Some("10-12"), None)], "0-9", None);
    }
}
