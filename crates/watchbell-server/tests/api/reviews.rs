//! Who am I, what may I, what may others: reviews, in JSON here and in protobuf from kubectl.

use serde_json::{Value, json};

use crate::harness::Harness;
use crate::kubectl::Kubectl;

const AUTHORIZATION: &str = "/apis/authorization.k8s.io/v1";

fn resource(verb: &str) -> Value {
    json!({"verb": verb, "group": "batch", "resource": "jobs", "namespace": "default"})
}

#[test]
fn who_asks_is_told() {
    let h = Harness::start();
    let review = h.client.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).expect(201);
    assert_eq!(
        (&review["kind"], &review["apiVersion"]),
        (&json!("SelfSubjectReview"), &json!("authentication.k8s.io/v1"))
    );
    assert_eq!(review["status"]["userInfo"]["username"], "kubernetes-admin");
    assert_eq!(review["status"]["userInfo"]["groups"], json!(["system:masters", "system:authenticated"]));
    h.client
        .anonymous()
        .post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({}))
        .expect_refusal(401, "Unauthorized", "");
}

#[test]
fn access_is_reviewed_by_the_decision_that_guards_requests() {
    let h = Harness::start();
    let check = |path: &str, spec: Value, expect: bool| {
        let review = h.client.post(&format!("{AUTHORIZATION}/{path}"), &json!({"spec": spec})).expect(201);
        assert_eq!(review["status"]["allowed"], expect, "{review}");
        review
    };
    check("selfsubjectaccessreviews", json!({"resourceAttributes": resource("create")}), true);
    check(
        "selfsubjectaccessreviews",
        json!({"nonResourceAttributes": {"path": "/metrics", "verb": "get"}}),
        true,
    );
    let of = |user: &str, groups: &[&str]| json!({"user": user, "groups": groups, "resourceAttributes": resource("get")});
    check("subjectaccessreviews", of("ada", &["ml", "system:authenticated"]), false);
    check("subjectaccessreviews", of("ada", &["system:masters"]), true);
    check("subjectaccessreviews", of("system:masters", &[]), false);
    h.bind("default", "view", "ada");
    let allowed = check("subjectaccessreviews", of("ada", &[]), true);
    assert_eq!(
        allowed["status"]["reason"],
        "RBAC: allowed by RoleBinding \"ada-view/default\" of ClusterRole \"view\" to User \"ada\""
    );
    let within = json!({"user": "ada", "resourceAttributes": {
        "verb": "create", "group": "batch", "resource": "jobs", "namespace": "default",
        "fieldSelector": {"rawSelector": "metadata.name=a"},
        "labelSelector": {"requirements": [{"key": "team", "operator": "In", "values": ["a"]}]}}});
    let refused = check("subjectaccessreviews", within, false);
    let reason = refused["status"]["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("RBAC: no rule of the ") && reason.contains("lacks the verb"), "{refused}");
    assert!(refused["status"].get("evaluationError").is_none());
    h.bind("default", "gone", "eve");
    let unknown = check("subjectaccessreviews", of("eve", &[]), false);
    assert_eq!(
        unknown["status"]["evaluationError"],
        "RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found"
    );
    let local = check("namespaces/default/localsubjectaccessreviews", of("bob", &["ml"]), false);
    assert_eq!(local["metadata"]["namespace"], "default");
    let rules = json!({"spec": {"namespace": "default"}});
    let review = h.client.post(&format!("{AUTHORIZATION}/selfsubjectrulesreviews"), &rules).expect(201);
    assert_eq!(review["status"]["incomplete"], false);
    assert_eq!(
        review["status"]["resourceRules"][0],
        json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
    );
}

#[test]
fn reviews_that_ask_nothing_are_refused() {
    let h = Harness::start();
    let check = |path: &str, body: Value, code: u16, reason: &str, words: &str| {
        h.client.post(&format!("{AUTHORIZATION}/{path}"), &body).expect_refusal(code, reason, words);
    };
    let (own, others) = ("selfsubjectaccessreviews", "subjectaccessreviews");
    let both =
        json!({"resourceAttributes": resource("get"), "nonResourceAttributes": {"path": "/", "verb": "get"}});
    check(own, json!({}), 422, "Invalid", "exactly one of nonResourceAttributes or resourceAttributes");
    check(
        own,
        json!({"spec": both}),
        422,
        "Invalid",
        "cannot be specified in combination with resourceAttributes",
    );
    check(
        others,
        json!({"spec": {"resourceAttributes": resource("get")}}),
        422,
        "Invalid",
        "SubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": at least one of user",
    );
    let elsewhere = json!({"spec": {"user": "ada", "resourceAttributes": resource("get")}});
    check(
        "namespaces/other/localsubjectaccessreviews",
        elsewhere,
        422,
        "Invalid",
        "must match metadata.namespace",
    );
    check("selfsubjectrulesreviews", json!({"spec": {}}), 400, "BadRequest", "no namespace on request");
    let selector = |selector: Value| {
        let mut attributes = resource("list");
        attributes["fieldSelector"] = selector;
        json!({"spec": {"resourceAttributes": attributes}})
    };
    check(
        own,
        selector(json!({})),
        422,
        "Invalid",
        "spec.resourceAttributes.fieldSelector.requirements: Required value: when",
    );
    check(
        own,
        selector(json!({"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "Exists"}]})),
        422,
        "Invalid",
        "rawSelector: Invalid value: \"a=b\": may not specified at the same time as requirements",
    );
    check(
        own,
        selector(
            json!({"requirements": [{"key": "", "operator": "In"}, {"key": "a", "operator": "Exists", "values": ["b"]}]}),
        ),
        422,
        "Invalid",
        "requirements[1].values: Forbidden: may not be specified when `operator` is 'Exists'",
    );
    check(own, json!({"kind": "Job"}), 400, "BadRequest", "the kind in the body is \"Job\"");
    check(own, json!({"spec": {"resourceAttributes": {"verb": 1}}}), 400, "BadRequest", "cannot be handled");
    check(
        &format!("{own}?fieldValidation=Strict"),
        json!({"spec": {"x": 1}}),
        400,
        "BadRequest",
        "unknown field \"spec.x\"",
    );
    let path = format!("{AUTHORIZATION}/{own}");
    h.client.get(&path).expect_refusal(405, "MethodNotAllowed", "");
    h.client.get(&format!("{path}/x")).expect(404);
    h.client.get(&format!("{AUTHORIZATION}/localsubjectaccessreviews")).expect(404);
}

#[test]
fn discovery_names_them() {
    let h = Harness::start();
    let list = h.client.get(AUTHORIZATION).expect(200);
    let names: Vec<&str> =
        list["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "localsubjectaccessreviews",
            "selfsubjectaccessreviews",
            "selfsubjectrulesreviews",
            "subjectaccessreviews"
        ]
    );
    assert!(list["resources"].as_array().unwrap().iter().all(|r| r["verbs"] == json!(["create"])));
}

#[test]
fn kubectl_asks_what_it_may() {
    let h = Harness::start();
    let Some(kubectl) = Kubectl::of(&h) else { return };
    assert_eq!(kubectl.ok(&["auth", "can-i", "create", "jobs"], "").trim(), "yes");
    assert_eq!(kubectl.ok(&["auth", "can-i", "get", "/metrics"], "").trim(), "yes");
    let list = kubectl.ok(&["auth", "can-i", "--list"], "");
    assert!(list.contains("*.*"), "{list}");
    assert!(list.contains("selfsubjectreviews.authentication.k8s.io"), "{list}");
    assert!(kubectl.ok(&["auth", "whoami"], "").contains("kubernetes-admin"));
    let review = "apiVersion: authorization.k8s.io/v1\nkind: SubjectAccessReview\nspec:\n  user: ada\n  \
                  resourceAttributes: {verb: get, resource: pods, namespace: default}\n";
    let made = kubectl.ok(&["create", "-f", "-", "-o", "jsonpath={.status.allowed}"], review);
    assert_eq!(made.trim(), "false");
}
