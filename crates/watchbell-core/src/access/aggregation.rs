//! ClusterRoles whose rules are those of others, chosen by their labels.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::{Role, Rule};

/// A ClusterRole: its name, its labels, what it says.
pub type Labelled<'a> = (&'a Arc<str>, &'a BTreeMap<String, String>, &'a Role);

/// What the rules of each aggregating role are: those of the roles that its selectors choose, in the order of selectors and
/// names, each once. `roles` are in the order of their names.
///
/// As Kubernetes' controller makes them, but for roles that choose each other in a circle: those get the rules of the others
/// in it and of nobody else, whatever they said before, and there is an end to it.
pub fn aggregate<'a>(roles: &[Labelled<'a>]) -> Vec<(&'a Arc<str>, Vec<Rule>)> {
    let chosen: BTreeMap<usize, Vec<usize>> = roles
        .iter()
        .enumerate()
        .filter_map(|(place, (_, _, role))| {
            let selectors = role.aggregation.as_ref()?;
            let members = selectors.iter().flat_map(|selector| {
                let is_chosen = move |other: &usize| *other != place && selector.matches(roles[*other].1);
                (0..roles.len()).filter(is_chosen)
            });
            Some((place, members.collect()))
        })
        .collect();
    let mut made: BTreeMap<usize, Vec<Rule>> = chosen.keys().map(|place| (*place, Vec::new())).collect();
    // A rule goes through each role at most once on its way.
    for _ in 0..=chosen.len() {
        let mut is_settled = true;
        for (place, members) in &chosen {
            let rules = {
                let mut seen = HashSet::new();
                let of = |member: &usize| made.get(member).unwrap_or(&roles[*member].2.rules);
                let all = members.iter().flat_map(of).filter(|rule| seen.insert(*rule));
                all.cloned().collect::<Vec<Rule>>()
            };
            if made[place] != rules {
                is_settled = false;
                made.insert(*place, rules);
            }
        }
        if is_settled {
            break;
        }
    }
    made.into_iter().map(|(place, rules)| (roles[place].0, rules)).collect()
}
