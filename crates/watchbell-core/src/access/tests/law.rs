//! The index against the slow implementation, over objects that come, change and go, with names that collide.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Decision, Deed, Grant, Rbac, RoleRef, Rule, Uncovered, covers};
use super::{insert, remove, slow, user};
use crate::request::User;

const NAMESPACES: [&str; 3] = ["", "a", "b"];
const NAMES: [&str; 3] = ["", "x", "y"];
const RESOURCES: [&str; 3] = ["pods", "jobs", "po"];
const SUBRESOURCES: [&str; 3] = ["", "log", "og"];
const PATHS: [&str; 7] = ["/", "/api", "/api/v1", "/apis", "/healthz", "*", "/api*"];

fn any_of(
    texts: &'static [&'static str],
    at_most: usize,
) -> impl Strategy<Value = Vec<&'static str>> + Clone {
    prop::collection::vec(prop::sample::select(texts), 0..=at_most)
}

pub(in crate::access) fn rule() -> impl Strategy<Value = Value> {
    let verbs = any_of(&["get", "list", "create", "*"], 2);
    let resource = (
        verbs.clone(),
        any_of(&["", "batch", "*"], 2),
        any_of(
            &["pods", "jobs", "po", "*", "pods/log", "jobs/log", "*/log", "*/og", "pods/*", "*/*", "og", "/log"],
            3,
        ),
        any_of(&["x", "y", "", "*"], 1),
    )
        .prop_map(|(verbs, groups, resources, names)| {
            json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names})
        });
    let path = (verbs, any_of(&["/", "/api", "/api/*", "/a*", "*", "/*", "/api**"], 2))
        .prop_map(|(verbs, urls)| json!({"verbs": verbs, "nonResourceURLs": urls}));
    prop_oneof![4 => resource, 1 => path]
}

fn role() -> impl Strategy<Value = Value> {
    let place = prop::sample::select(&NAMESPACES[..]);
    let name = prop::sample::select(&["r", "s"][..]);
    (place, name, prop::collection::vec(rule(), 0..3)).prop_map(|(namespace, name, rules)| match namespace {
        "" => json!({"kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}),
        _ => json!({"kind": "Role", "metadata": {"name": name, "namespace": namespace}, "rules": rules}),
    })
}

fn subject() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(&["ada", "bob", "g", "system:serviceaccount:a:x"][..])
            .prop_map(|name| json!({"kind": "User", "name": name})),
        prop::sample::select(&["g", "h", "ada"][..]).prop_map(|name| json!({"kind": "Group", "name": name})),
        (prop::sample::select(&["x", "y"][..]), prop::option::of(prop::sample::select(&["a", "b"][..])))
            .prop_map(|(name, namespace)| match namespace {
                None => json!({"kind": "ServiceAccount", "name": name}),
                Some(namespace) => json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}),
            }),
    ]
}

fn binding() -> impl Strategy<Value = Value> {
    let subjects = prop::collection::vec(subject(), 0..3);
    let kind = prop::sample::select(&["Role", "ClusterRole"][..]);
    let names = (prop::sample::select(&["m", "n"][..]), prop::sample::select(&["r", "s"][..]));
    (prop::sample::select(&NAMESPACES[..]), names, kind, subjects).prop_map(
        |(namespace, (name, role), kind, subjects)| match namespace {
            "" => json!({"kind": "ClusterRoleBinding", "metadata": {"name": name}, "subjects": subjects,
                         "roleRef": {"kind": "ClusterRole", "name": role}}),
            _ => json!({"kind": "RoleBinding", "metadata": {"name": name, "namespace": namespace},
                        "subjects": subjects, "roleRef": {"kind": kind, "name": role}}),
        },
    )
}

pub(in crate::access) fn deed() -> impl Strategy<Value = Deed<'static>> {
    let verb = || prop::sample::select(&["get", "list", "create", "watch", "*"][..]);
    let resource = (
        verb(),
        prop::sample::select(&["", "batch", "apps"][..]),
        prop::sample::select(&RESOURCES[..]),
        prop::sample::select(&SUBRESOURCES[..]),
        prop::sample::select(&NAMESPACES[..]),
        prop::sample::select(&NAMES[..]),
    )
        .prop_map(|(verb, group, resource, subresource, namespace, name)| Deed::Resource {
            verb,
            group,
            resource,
            subresource,
            namespace,
            name,
        });
    let path = (verb(), prop::sample::select(&PATHS[..])).prop_map(|(verb, path)| Deed::Path { verb, path });
    prop_oneof![4 => resource, 1 => path]
}

fn someone() -> impl Strategy<Value = User> {
    let names = prop::sample::select(
        &[
            "ada",
            "bob",
            "g",
            "system:serviceaccount:a:x",
            "system:serviceaccount:b:y",
            "system:serviceaccount:a",
        ][..],
    );
    let groups = prop::sample::subsequence(vec!["g", "h", "ada", "system:authenticated"], 0..=3);
    (names, groups, prop::bool::weighted(0.02)).prop_map(|(name, mut groups, is_master)| {
        if is_master {
            groups.push("system:masters");
        }
        user(name, &groups)
    })
}

/// What happens to the objects: one comes (or takes the place of its namesake), or goes.
#[derive(Debug, Clone)]
enum Step {
    Put(Value),
    Remove(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        prop_oneof![
            3 => role().prop_map(Step::Put),
            4 => binding().prop_map(Step::Put),
            2 => any::<prop::sample::Index>().prop_map(Step::Remove),
        ],
        1..24,
    )
}

/// The objects after the steps, and the index that was kept beside them.
fn play(steps: &[Step]) -> (Vec<Value>, Rbac) {
    let (mut objects, mut rbac) = (BTreeMap::new(), Rbac::default());
    for step in steps {
        match step {
            Step::Put(object) => {
                let key = (object["kind"].to_string(), object["metadata"].to_string());
                if let Some(old) = objects.insert(key, object.clone()) {
                    remove(&mut rbac, &old);
                }
                insert(&mut rbac, object);
            }
            Step::Remove(which) if !objects.is_empty() => {
                let key = objects.keys().nth(which.index(objects.len())).unwrap().clone();
                remove(&mut rbac, &objects.remove(&key).unwrap());
            }
            Step::Remove(_) => {}
        }
    }
    (objects.into_values().collect(), rbac)
}

fn check(objects: &[Value], rbac: &Rbac, who: &User, deed: &Deed<'_>) {
    match rbac.decide(who, deed) {
        Decision::Allowed(Grant::Masters) => assert!(who.groups.iter().any(|g| g == "system:masters")),
        Decision::Allowed(Grant::Rule(by)) => {
            assert!(slow::allows(objects, who, deed), "{deed:?} is allowed, by {by}");
            // What is named does allow it, by itself.
            let named: Vec<Value> = objects
                .iter()
                .filter(|o| {
                    o.get("roleRef").is_none() || {
                        o["kind"] == by.binding.kind()
                            && o["metadata"]["name"] == *by.binding.name
                            && o["metadata"]["namespace"].as_str().unwrap_or_default()
                                == &*by.binding.namespace
                    }
                })
                .cloned()
                .collect();
            assert!(slow::allows(&named, who, deed), "{deed:?} is not allowed by {by}");
            assert!(slow::rule_allows(&json!(by.rule()), deed), "{deed:?} is not allowed by {}", by.rule());
        }
        Decision::Denied(lack) => {
            assert!(!slow::allows(objects, who, deed), "{deed:?} is refused: {lack}");
            let named =
                lack.missing.iter().map(|(at, _)| format!("{:?}/{:?}", at.kind(), at.name())).collect();
            assert_eq!(slow::missing(objects, who, deed.namespace()), named);
            for near in &lack.near {
                assert!(!slow::rule_allows(&json!(near.by.rule()), deed));
            }
        }
    }
    let rights = rbac.rules_for(who, deed.namespace(), usize::MAX);
    assert_eq!(
        rights.rules.iter().any(|rule| rule.allows(deed)),
        slow::allows(objects, who, deed),
        "the list of rules"
    );
    let missing: std::collections::BTreeSet<&RoleRef> = rights.missing.iter().collect();
    assert_eq!(missing.len(), rights.missing.len(), "each role is missed once");
}

/// A rule that is said to be missing is wanted, and what it allows is not held: where it has no wildcard, to the letter.
fn check_missing(held: &[Rule], wanted: &[Rule], missing: &Rule) {
    let texts = [&missing.verbs, &missing.api_groups, &missing.resources, &missing.non_resource_urls];
    if texts.iter().any(|list| list.iter().any(|text| text.contains('*'))) {
        return;
    }
    for verb in &missing.verbs {
        let deed = match (missing.resources.first(), missing.non_resource_urls.first()) {
            (Some(whole), _) => {
                let (resource, subresource) = whole.split_once('/').unwrap_or((whole, ""));
                // Of a name that nobody holds apart from the others.
                let name = missing.resource_names.first().map_or("none of them", String::as_str);
                let group = &missing.api_groups[0];
                Deed::Resource { verb, group, resource, subresource, namespace: "", name }
            }
            (None, Some(path)) => Deed::Path { verb, path },
            (None, None) => panic!("{missing} allows nothing"),
        };
        assert!(wanted.iter().any(|rule| rule.allows(&deed)), "{missing} is not wanted");
        assert!(!held.iter().any(|rule| rule.allows(&deed)), "{missing} is held");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_index_decides_as_the_slow_one(
        steps in steps(),
        asked in prop::collection::vec((someone(), deed()), 24),
    ) {
        let (objects, rbac) = play(&steps);
        for (who, deed) in &asked {
            check(&objects, &rbac, who, deed);
        }
    }

    /// Somebody who holds more roles than are looked through.
    #[test]
    fn many_roles_of_one_subject_are_decided_by_as_the_slow_one_does(
        rules in prop::collection::vec(prop::collection::vec(rule(), 0..3), 17..25),
        missing in 0usize..4,
        asked in prop::collection::vec(deed(), 12),
    ) {
        let ada = json!([{"kind": "User", "name": "ada"}]);
        let count = rules.len();
        let mut objects: Vec<Value> = (0..count + missing)
            .map(|n| json!({"kind": "ClusterRoleBinding", "metadata": {"name": n.to_string()}, "subjects": ada,
                            "roleRef": {"kind": "ClusterRole", "name": n.to_string()}}))
            .collect();
        objects.extend(rules.into_iter().enumerate().map(|(n, rules)| {
            json!({"kind": "ClusterRole", "metadata": {"name": n.to_string()}, "rules": rules})
        }));
        let mut rbac = Rbac::default();
        objects.iter().for_each(|object| insert(&mut rbac, object));
        for deed in &asked {
            check(&objects, &rbac, &user("ada", &[]), deed);
        }
        // Nothing of it is left when all of it is gone.
        objects.iter().for_each(|object| remove(&mut rbac, object));
        prop_assert_eq!(rbac, Rbac::default());
    }

    /// Whoever may give rules away may do all that they allow.
    #[test]
    fn what_is_covered_is_allowed(
        held in prop::collection::vec(rule(), 0..4),
        wanted in prop::collection::vec(rule(), 0..3),
        deeds in prop::collection::vec(deed(), 32),
    ) {
        let read = |rules: &[Value]| -> Vec<Rule> { serde_json::from_value(json!(rules)).unwrap() };
        let (held, wanted) = (read(&held), read(&wanted));
        let uncovered = covers(&held, &wanted);
        if let Err(Uncovered::Rules(missing)) = &uncovered {
            missing.iter().for_each(|rule| check_missing(&held, &wanted, rule));
        }
        for deed in &deeds {
            let is_held = held.iter().any(|rule| rule.allows(deed));
            let is_wanted = wanted.iter().any(|rule| rule.allows(deed));
            prop_assert!(uncovered.is_err() || is_held || !is_wanted, "{deed:?} would be given away");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Somebody who holds many roles that say the same, whose rules are sifted; before a role changes and after.
    #[test]
    fn what_is_sifted_is_decided_as_the_slow_one_does(
        rules in prop::collection::vec(rule(), 1..4),
        other in prop::collection::vec(rule(), 0..3),
        asked in prop::collection::vec(deed(), 6),
    ) {
        // More than are looked at role by role.
        const COUNT: usize = 66;
        let role = |n: usize, rules: &[Value]| {
            json!({"kind": "ClusterRole", "metadata": {"name": format!("{n:03}")}, "rules": rules})
        };
        let mut objects: Vec<Value> = (0..COUNT).map(|n| role(n, &rules)).collect();
        objects.extend((0..COUNT).map(|n| {
            json!({"kind": "ClusterRoleBinding", "metadata": {"name": n.to_string()},
                   "subjects": [{"kind": "User", "name": "ada"}],
                   "roleRef": {"kind": "ClusterRole", "name": format!("{n:03}")}})
        }));
        let mut rbac = Rbac::default();
        objects.iter().for_each(|object| insert(&mut rbac, object));
        let ada = user("ada", &[]);
        for deed in &asked {
            check(&objects, &rbac, &ada, deed);
        }
        let (before, unchanged) = (rbac.clone(), objects.clone());
        for (place, rules) in [(57, &other), (5, &rules)] {
            let changed = role(place, rules);
            remove(&mut rbac, &objects[place]);
            insert(&mut rbac, &changed);
            objects[place] = changed;
            for deed in &asked {
                check(&objects, &rbac, &ada, deed);
                // What both were made from is shared; what was learned from one must not count for the other.
                check(&unchanged, &before, &ada, deed);
            }
        }
        remove(&mut rbac, &objects.remove(COUNT));
        for deed in &asked {
            check(&objects, &rbac, &ada, deed);
        }
    }
}
