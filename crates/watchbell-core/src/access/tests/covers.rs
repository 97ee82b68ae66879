//! What covers what: the cases of Kubernetes' own comparison of rules.

use serde_json::{Value, json};

use super::super::{Rule, Uncovered, covers};

fn rules(list: Value) -> Vec<Rule> {
    serde_json::from_value(list).unwrap()
}

fn check(held: Value, wanted: Value, missing: &[&str]) {
    let got = match covers(&rules(held.clone()), &rules(wanted.clone())) {
        Ok(()) => Vec::new(),
        Err(Uncovered::Rules(rules)) => rules.iter().map(ToString::to_string).collect(),
        Err(Uncovered::TooMany) => vec!["too many".to_owned()],
    };
    assert_eq!(got, missing, "{held} covers {wanted}");
}

fn of(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!([{"apiGroups": groups, "resources": resources, "verbs": verbs}])
}

#[test]
fn lists_and_wildcards() {
    let read = of(&["batch"], &["jobs"], &["get", "list"]);
    check(read.clone(), read.clone(), &[]);
    check(of(&["*"], &["*"], &["*"]), read.clone(), &[]);
    check(
        read.clone(),
        of(&["batch"], &["jobs", "cronjobs"], &["get", "delete"]),
        &[
            r#"{APIGroups:["batch"], Resources:["jobs"], Verbs:["delete"]}"#,
            r#"{APIGroups:["batch"], Resources:["cronjobs"], Verbs:["get" "delete"]}"#,
        ],
    );
    check(
        read.clone(),
        of(&["*"], &["jobs"], &["get"]),
        &[r#"{APIGroups:["*"], Resources:["jobs"], Verbs:["get"]}"#],
    );
    check(
        read,
        of(&["batch"], &["jobs"], &["*"]),
        &[r#"{APIGroups:["batch"], Resources:["jobs"], Verbs:["*"]}"#],
    );
    check(json!([]), json!([]), &[]);
    check(json!([]), of(&[""], &["pods"], &[]), &[]);
    // Each part by one rule; which one does not matter.
    let apart = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]);
    check(apart, of(&[""], &["pods"], &["get", "list"]), &[]);
}

#[test]
fn subresources() {
    let scale = of(&["apps"], &["*/scale"], &["get"]);
    check(scale.clone(), of(&["apps"], &["jobs/scale"], &["get"]), &[]);
    check(scale.clone(), scale.clone(), &[]);
    check(
        scale.clone(),
        of(&["apps"], &["jobs", "jobs/scales", "jobs/scale/x"], &["get"]),
        &[
            r#"{APIGroups:["apps"], Resources:["jobs"], Verbs:["get"]}"#,
            r#"{APIGroups:["apps"], Resources:["jobs/scales"], Verbs:["get"]}"#,
            r#"{APIGroups:["apps"], Resources:["jobs/scale/x"], Verbs:["get"]}"#,
        ],
    );
    check(
        of(&["apps"], &["jobs"], &["get"]),
        of(&["apps"], &["jobs/scale"], &["get"]),
        &[r#"{APIGroups:["apps"], Resources:["jobs/scale"], Verbs:["get"]}"#],
    );
    check(
        of(&["apps"], &["jobs/scale"], &["get"]),
        scale,
        &[r#"{APIGroups:["apps"], Resources:["*/scale"], Verbs:["get"]}"#],
    );
}

#[test]
fn names() {
    let named = |names: &[&str]| json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": names}]);
    check(named(&["a", "b"]), named(&["a"]), &[]);
    check(named(&[]), named(&["a"]), &[]);
    check(
        named(&["a"]),
        named(&["a", "c"]),
        &[r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["c"], Verbs:["get"]}"#],
    );
    check(named(&["a"]), named(&[]), &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#]);
    // No name is a wildcard.
    check(
        named(&["*"]),
        named(&["a"]),
        &[r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["a"], Verbs:["get"]}"#],
    );
}

#[test]
fn paths() {
    let paths = |urls: &[&str], verbs: &[&str]| json!([{"nonResourceURLs": urls, "verbs": verbs}]);
    check(paths(&["*"], &["*"]), paths(&["/api", "/api/*", "*"], &["get"]), &[]);
    check(paths(&["/api/*"], &["get"]), paths(&["/api/v1", "/api/*", "/api/v1/*"], &["get"]), &[]);
    check(
        paths(&["/api/*"], &["get"]),
        paths(&["/api", "*"], &["get", "post"]),
        &[
            r#"{NonResourceURLs:["/api"], Verbs:["get"]}"#,
            r#"{NonResourceURLs:["/api"], Verbs:["post"]}"#,
            r#"{NonResourceURLs:["*"], Verbs:["get"]}"#,
            r#"{NonResourceURLs:["*"], Verbs:["post"]}"#,
        ],
    );
    // Everything that is a resource is no path, and the other way round.
    check(
        of(&["*"], &["*"], &["*"]),
        paths(&["/"], &["get"]),
        &[r#"{NonResourceURLs:["/"], Verbs:["get"]}"#],
    );
    check(
        paths(&["*"], &["*"]),
        of(&[""], &["pods"], &["get"]),
        &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#],
    );
}

#[test]
fn absurd_rules_are_not_taken_apart() {
    let many: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let absurd = json!([{"apiGroups": many, "resources": many, "verbs": many, "resourceNames": many}]);
    check(of(&[""], &["pods"], &["get"]), absurd.clone(), &["too many"]);
    // Somebody who holds very many rules is told so earlier.
    let held: Vec<Value> =
        many.iter().map(|n| json!({"apiGroups": [n], "resources": ["x"], "verbs": ["get"]})).collect();
    let wide = json!([{"apiGroups": many, "resources": many, "verbs": ["get"]}]);
    check(json!(held), wide.clone(), &["too many"]);
    assert!(matches!(covers(&[], &rules(wide)), Err(Uncovered::Rules(missing)) if missing.len() == 40_000));
    // Whoever may everything need not count.
    check(of(&["*"], &["*"], &["*"]), absurd, &[]);
}
