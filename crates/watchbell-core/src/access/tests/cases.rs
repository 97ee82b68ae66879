//! Kubernetes' semantics, case by case, and the words.

use serde_json::{Value, json};

use super::super::{Decision, Deed, RoleRef};
use super::{index, user};
use crate::request::User;

/// `VERB GROUP/RESOURCE[/SUBRESOURCE] [NAMESPACE[/NAME]]`, or `VERB PATH`.
fn deed(text: &str) -> Deed<'_> {
    let mut words = text.split(' ');
    let (verb, what) = (words.next().unwrap(), words.next().unwrap());
    if what.starts_with('/') && !what[1..].starts_with('/') && words.clone().next().is_none() {
        return Deed::Path { verb, path: what };
    }
    let mut parts = what.splitn(3, '/');
    let (group, resource) = (parts.next().unwrap(), parts.next().unwrap());
    let (namespace, name) = words.next().unwrap().split_once('/').unwrap();
    Deed::Resource { verb, group, resource, subresource: parts.next().unwrap_or_default(), namespace, name }
}

fn check(objects: &[Value], who: &User, asked: &str, expect: Result<&str, &str>) {
    let got = match index(objects).decide(who, &deed(asked)) {
        Decision::Allowed(grant) => Ok(grant.to_string()),
        Decision::Denied(lack) => Err(lack.to_string()),
    };
    assert_eq!(got.as_deref().map_err(String::as_str), expect, "{asked}");
}

fn role(name: &str, rules: Value) -> Value {
    match name.split_once('/') {
        Some((namespace, name)) => {
            json!({"kind": "Role", "metadata": {"namespace": namespace, "name": name}, "rules": rules})
        }
        None => json!({"kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}),
    }
}

fn bind(name: &str, role: (&str, &str), subjects: Value) -> Value {
    let role = json!({"kind": role.0, "name": role.1});
    match name.split_once('/') {
        Some((namespace, name)) => json!({
            "kind": "RoleBinding", "metadata": {"namespace": namespace, "name": name},
            "roleRef": role, "subjects": subjects,
        }),
        None => json!({
            "kind": "ClusterRoleBinding", "metadata": {"name": name}, "roleRef": role, "subjects": subjects,
        }),
    }
}

const NOBODY: &str = "RBAC: no binding gives the user or its groups any role here";

#[test]
fn subjects_and_scopes() {
    let jobs = json!([{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list"]}]);
    let objects = [
        role("reader", jobs.clone()),
        role("ml/reader", jobs),
        bind("all", ("ClusterRole", "reader"), json!([{"kind": "Group", "name": "ops"}])),
        bind(
            "ml/one",
            ("Role", "reader"),
            json!([{"kind": "User", "name": "bob"}, {"kind": "User", "name": "ada"}]),
        ),
        bind("ml/two", ("ClusterRole", "reader"), json!([{"kind": "ServiceAccount", "name": "runner"}])),
        bind(
            "etl/two",
            ("ClusterRole", "reader"),
            json!([{"kind": "ServiceAccount", "name": "runner", "namespace": "ml"}]),
        ),
        bind("etl/role", ("Role", "reader"), json!([{"kind": "User", "name": "ada"}])),
    ];
    let ada = user("ada", &["system:authenticated"]);
    let ops = user("eve", &["x", "ops"]);
    let runner = user("system:serviceaccount:ml:runner", &["system:serviceaccounts"]);
    check(
        &objects,
        &ada,
        "get batch/jobs ml/x",
        Ok(r#"RBAC: allowed by RoleBinding "one/ml" of Role "reader" to User "ada""#),
    );
    check(
        &objects,
        &ada,
        "list batch/jobs ml/",
        Ok(r#"RBAC: allowed by RoleBinding "one/ml" of Role "reader" to User "ada""#),
    );
    // A binding inside a namespace never reaches out of it.
    check(&objects, &ada, "list batch/jobs /", Err(NOBODY));
    check(&objects, &ada, "list batch/jobs default/", Err(NOBODY));
    check(
        &objects,
        &ops,
        "list batch/jobs /",
        Ok(r#"RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "reader" to Group "ops""#),
    );
    check(
        &objects,
        &ops,
        "get batch/jobs any/x",
        Ok(r#"RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "reader" to Group "ops""#),
    );
    check(
        &objects,
        &runner,
        "get batch/jobs ml/x",
        Ok(r#"RBAC: allowed by RoleBinding "two/ml" of ClusterRole "reader" to ServiceAccount "runner/ml""#),
    );
    check(
        &objects,
        &runner,
        "get batch/jobs etl/x",
        Ok(r#"RBAC: allowed by RoleBinding "two/etl" of ClusterRole "reader" to ServiceAccount "runner/ml""#),
    );
    check(&objects, &user("runner", &[]), "get batch/jobs ml/x", Err(NOBODY));
    check(&objects, &user("system:serviceaccount:etl:runner", &[]), "get batch/jobs ml/x", Err(NOBODY));
    // Names are compared to the letter, a user's name with users alone.
    for stranger in [user("Ada", &[]), user("ops", &[]), user("eve", &["ada", "OPS"]), user("", &[""])] {
        check(&objects, &stranger, "get batch/jobs ml/x", Err(NOBODY));
    }
    // A Role is looked for beside its binding, not where it happens to be.
    check(
        &objects,
        &ada,
        "get batch/jobs etl/x",
        Err(
            "RBAC: no rule of the 1 role held here allows it; RoleBinding \"role/etl\" of Role \"reader\": there is no such Role",
        ),
    );
    check(
        &objects,
        &user("eve", &["system:masters"]),
        "escalate x/y /",
        Ok(r#"allowed to members of the group "system:masters""#),
    );
}

/// One rule, held by everybody.
fn check_rule(rule: Value, allowed: &[&str], refused: &[&str]) {
    let objects =
        [role("r", json!([rule])), bind("b", ("ClusterRole", "r"), json!([{"kind": "Group", "name": "g"}]))];
    let rbac = index(&objects);
    for text in allowed {
        assert!(rbac.decide(&user("ada", &["g"]), &deed(text)).is_allowed(), "{rule} does not allow {text}");
    }
    for text in refused {
        assert!(!rbac.decide(&user("ada", &["g"]), &deed(text)).is_allowed(), "{rule} allows {text}");
    }
}

#[test]
fn resources() {
    check_rule(
        json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}),
        &["get /pods a/x", "get /pods a/"],
        &[
            "get /pods/log a/x",
            "list /pods a/",
            "get apps/pods a/x",
            "get /pod a/x",
            "get /podss a/x",
            "get /pods",
        ],
    );
    check_rule(
        json!({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}),
        &["get /pods/log a/x"],
        &["get /pods a/x", "get /jobs/log a/x", "get /pods/logs a/x"],
    );
    check_rule(
        json!({"apiGroups": ["*"], "resources": ["*/scale"], "verbs": ["*"]}),
        &["get apps/jobs/scale a/x", "delete /pods/scale a/x"],
        &["get apps/jobs a/x", "get apps/jobs/upscale a/x", "get apps/scale a/x"],
    );
    check_rule(
        json!({"apiGroups": [""], "resources": ["*"], "verbs": ["get"]}),
        &["get /pods a/x", "get /pods/log a/x"],
        &["get batch/jobs a/x"],
    );
    // No such wildcards.
    check_rule(
        json!({"apiGroups": [""], "resources": ["pods/*", "p*"], "verbs": ["g*"]}),
        &[],
        &["get /pods/log a/x", "get /pods a/x"],
    );
}

#[test]
fn names() {
    check_rule(
        json!({"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["*"], "resourceNames": ["x", "y"]}),
        // A list of one name is of that name.
        &["get batch/jobs a/x", "delete batch/jobs a/y", "list batch/jobs a/x"],
        // What names nothing is not of that name: neither a list nor a create nor a deletecollection.
        &[
            "get batch/jobs a/z",
            "list batch/jobs a/",
            "create batch/jobs a/",
            "deletecollection batch/jobs a/",
        ],
    );
    check_rule(
        json!({"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["*"], "resourceNames": ["*"]}),
        &["get batch/jobs a/*"],
        &["get batch/jobs a/x"],
    );
}

#[test]
fn paths() {
    check_rule(
        json!({"nonResourceURLs": ["/healthz", "/api/*"], "verbs": ["get"]}),
        &["get /healthz", "get /api/", "get /api/v1/x"],
        &["get /api", "post /healthz", "get /healthz/", "get /", "get /pods a/x"],
    );
    check_rule(
        json!({"nonResourceURLs": ["*"], "verbs": ["*"]}),
        &["get /", "post /x/y"],
        &["get /pods a/x"],
    );
    check_rule(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}), &[], &["get /healthz"]);
}

#[test]
fn what_was_missing() {
    let rules = json!([
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["delete"], "resourceNames": ["x"]},
        {"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get"]},
    ]);
    let objects = [
        role("ml/r", rules),
        bind("ml/b", ("Role", "r"), json!([{"kind": "User", "name": "ada"}])),
        bind("ml/c", ("ClusterRole", "gone"), json!([{"kind": "User", "name": "ada"}])),
        bind("ml/d", ("ClusterRole", "gone"), json!([{"kind": "User", "name": "ada"}])),
    ];
    let ada = user("ada", &[]);
    let gone = r#"; RoleBinding "c/ml" of ClusterRole "gone": there is no such ClusterRole"#;
    let by = r#"; RoleBinding "b/ml" of Role "r" to User "ada" comes near in its"#;
    let refused = |asked: &str, near: &[&str]| {
        let near: String = near.iter().map(|near| format!("{by} {near}")).collect();
        let expect = format!("RBAC: no rule of the 2 roles held here allows it{gone}{near}");
        check(&objects, &ada, asked, Err(&expect));
    };
    refused(
        "delete batch/jobs ml/y",
        &[
            r#"rules[0], which lacks the verb and has ["get" "list"]"#,
            r#"rules[1], which lacks the resource name and has ["x"]"#,
        ],
    );
    refused("get /pods/log ml/y", &[r#"rules[2], which lacks the resource and has ["pods" "secrets"]"#]);
    refused("get apps/jobs ml/y", &[r#"rules[0], which lacks the API group and has ["batch"]"#]);
    refused("create /configmaps ml/", &[]);
    let Decision::Denied(lack) = index(&objects).decide(&ada, &deed("create /pods ml/")) else { panic!() };
    assert_eq!(lack.reason(), r#"RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#);
}

#[test]
fn a_list_of_rights() {
    let get = |resource: &str| json!([{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]);
    let ada = json!([{"kind": "User", "name": "ada"}, {"kind": "Group", "name": "g"}]);
    let objects = [
        role("all", get("nodes")),
        role("ml/r", get("pods")),
        bind("one", ("ClusterRole", "all"), ada.clone()),
        bind("ml/two", ("ClusterRole", "all"), ada.clone()),
        bind("ml/three", ("Role", "r"), ada.clone()),
        bind("etl/four", ("Role", "gone"), ada),
    ];
    let rbac = index(&objects);
    let check = |groups: &[&str], namespace: &str, rules: &[&str], missing: &[RoleRef]| {
        let rights = rbac.rules_for(&user("ada", groups), namespace, usize::MAX);
        assert_eq!(rights.rules.iter().map(ToString::to_string).collect::<Vec<_>>(), rules);
        assert_eq!(rights.missing, missing);
    };
    let (nodes, pods) = (
        r#"{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}"#,
        r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#,
    );
    check(&["g"], "", &[nodes], &[]);
    check(&["g"], "ml", &[nodes, pods], &[]);
    check(&[], "etl", &[nodes], &[RoleRef::Role { namespace: "etl".into(), name: "gone".into() }]);
    let everything =
        [r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#, r#"{NonResourceURLs:["*"], Verbs:["*"]}"#];
    check(&["system:masters"], "ml", &[everything[0], everything[1], nodes, pods], &[]);
}

#[test]
fn what_is_told_of_a_refusal_is_bounded() {
    let names: Vec<String> = (0..5_000).map(|n| format!("{n}{}", "x".repeat(1_000))).collect();
    let mut objects = vec![role(
        "wide",
        json!([{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": names, "resourceNames": []}]),
    )];
    let whom = |name: &str| json!([{"kind": "User", "name": name}]);
    objects.push(bind("wide", ("ClusterRole", "wide"), whom("ada")));
    let gone = (0..100).map(|n| bind(&format!("b{n}"), ("ClusterRole", &format!("gone{n}")), whom("bob")));
    objects.extend(gone);
    let index = index(&objects);
    let lack = |name: &str| match index.decide(&user(name, &[]), &deed("get batch/jobs ml/a")) {
        Decision::Denied(lack) => lack,
        Decision::Allowed(grant) => panic!("{grant}"),
    };
    let told = lack("ada").to_string();
    assert!(told.contains("\"15xxx") && told.contains("x\"… and 4984 more]"), "{told}");
    assert!(told.len() < 8 << 10, "{}", told.len());
    let lack = lack("bob");
    assert!(lack.to_string().len() < 8 << 10 && lack.reason().len() < 8 << 10, "{lack}");
    let wanted = [crate::access::Rule {
        verbs: names,
        api_groups: vec!["batch".into()],
        resources: vec!["pods".into()],
        ..Default::default()
    }];
    let refused = index.confirm_no_escalation(&user("bob", &[]), "ml", &wanted).unwrap_err();
    assert!(refused.contains("and 4984 more]") && refused.contains("and 84 more]"), "{refused}");
    assert!(refused.len() < 16 << 10, "{}", refused.len());
}
