//! Nobody gives away what they do not have.

use std::collections::BTreeSet;

use super::role::not_found;
use super::rule::Quoted;
use super::{Rbac, Rule, Uncovered, covers};
use crate::request::User;

/// So many rules that are missing are told of.
const TOLD_MAX: usize = 64;

impl Rbac {
    /// Whether a user holds all that some rules allow, in a namespace (empty: at the cluster scope); if not, Kubernetes' words
    /// for it.
    pub fn confirm_no_escalation(&self, user: &User, namespace: &str, rules: &[Rule]) -> Result<(), String> {
        let held = self.rules_for(user, namespace, usize::MAX);
        let missing = match covers(&held.rules, rules) {
            Ok(()) => return Ok(()),
            Err(Uncovered::Rules(missing)) => missing,
            Err(Uncovered::TooMany) => {
                return Err(format!(
                    "user {:?} (groups={}) is attempting to grant RBAC permissions that are too many to compare with those \
                     held: name fewer verbs, groups, resources and names in a rule, or give them in more than one role",
                    user.name,
                    Quoted(&user.groups)
                ));
            }
        };
        let told: BTreeSet<String> = missing.iter().map(ToString::to_string).collect();
        let mut lines: Vec<String> = told.iter().take(TOLD_MAX).cloned().collect();
        if told.len() > TOLD_MAX {
            lines.push(format!("and {} more", told.len() - TOLD_MAX));
        }
        let mut message = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            Quoted(&user.groups),
            lines.join("\n")
        );
        if !held.missing.is_empty() {
            message.push_str(&format!("; resolution errors: [{}]", not_found(held.missing.iter())));
        }
        Err(message)
    }
}
