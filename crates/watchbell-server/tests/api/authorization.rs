//! Rights as a client meets them: what a role gives, what is refused in which words, who acts as whom, and what becomes of
//! what flows when a right is taken away.

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::harness::{Harness, config_map, job};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const GROUP: &str = "rbac.authorization.k8s.io";

fn role(name: &str, rules: Value) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
}

/// A client that may what the rules say in `default`.
fn may(h: &Harness, user: &str, rules: Value) -> Client {
    h.client.post(&format!("{RBAC}/clusterroles"), &role(user, rules)).expect(201);
    h.bind("default", user, user);
    h.as_user(user, &[])
}

fn rule(group: &str, resources: &[&str], verbs: &[&str], names: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs, "resourceNames": names})
}

fn forbidden(answer: Answer, words: &str) {
    answer.expect_refusal(403, "Forbidden", words);
}

#[test]
fn a_role_that_names_objects_is_about_these() {
    let h = Harness::start();
    for name in ["a", "b"] {
        h.client.post(MAPS, &config_map(name, "x")).expect(201);
    }
    let user = may(&h, "ada", json!([rule("", &["configmaps"], &["get", "list", "watch", "patch"], &["a"])]));
    user.get(&format!("{MAPS}/a")).expect(200);
    forbidden(
        user.get(&format!("{MAPS}/b")),
        "configmaps \"b\" is forbidden: User \"ada\" cannot get resource",
    );
    forbidden(user.get(&format!("{MAPS}/absent")), "configmaps \"absent\" is forbidden");
    forbidden(user.get(MAPS), "configmaps is forbidden: User \"ada\" cannot list resource \"configmaps\"");
    let list = user.get(&format!("{MAPS}?fieldSelector=metadata.name%3Da")).expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    forbidden(user.get(&format!("{MAPS}?fieldSelector=metadata.name%3Db")), "configmaps \"b\" is forbidden");
    // In all namespaces it is a right of the cluster.
    let everywhere = user.get("/api/v1/configmaps?fieldSelector=metadata.name%3Da");
    forbidden(everywhere, "at the cluster scope");
    let first = user.watch(&format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Da"), &[]).next().unwrap();
    assert_eq!(first["object"]["metadata"]["name"], "a");
    // A patch that would create what is not there.
    let apply = |name: &str| {
        let body = config_map(name, "y");
        user.patch(&format!("{MAPS}/{name}?fieldManager=m&force=true"), "application/apply-patch+yaml", &body)
    };
    apply("a").expect(200);
    h.client.delete(&format!("{MAPS}/a")).expect(200);
    forbidden(
        apply("a"),
        "configmaps \"a\" is forbidden: User \"ada\" cannot create resource \"configmaps\"",
    );
    forbidden(user.delete(MAPS), "cannot deletecollection resource \"configmaps\"");
    forbidden(user.put(&format!("{MAPS}/a"), &config_map("a", "z")), "cannot update resource");
}

#[test]
fn a_namespace_lies_in_itself() {
    let h = Harness::start();
    let user = may(&h, "ada", json!([rule("", &["namespaces"], &["get"], &[])]));
    user.get("/api/v1/namespaces/default").expect(200);
    forbidden(
        user.get("/api/v1/namespaces/kube-system"),
        "namespaces \"kube-system\" is forbidden: User \"ada\" cannot get resource \"namespaces\" in API group \"\" in the \
         namespace \"kube-system\"",
    );
    forbidden(user.get("/api/v1/namespaces"), "at the cluster scope");
}

#[test]
fn subresources_are_rights_of_their_own() {
    let (h, _, pod) = Harness::with_running_pod();
    let user = may(&h, "ada", json!([rule("", &["pods"], &["*"], &[])]));
    user.get(&pod).expect(200);
    forbidden(user.get(&format!("{pod}/log")), "cannot get resource \"pods/log\" in API group \"\"");
    forbidden(user.get(&format!("{pod}/exec?command=id")), "cannot get resource \"pods/exec\"");
    forbidden(user.post(&format!("{pod}/eviction"), &json!({})), "cannot create resource \"pods/eviction\"");
    forbidden(user.get(&format!("{pod}/sandbox")), "cannot get resource \"pods/sandbox\"");
    // To look on is not to do: a WebSocket is asked for with GET, and needs `create` all the same.
    let looks = may(&h, "eve", json!([rule("", &["pods/exec"], &["get"], &[])]));
    forbidden(looks.get(&format!("{pod}/exec?command=id")), "cannot create resource \"pods/exec\"");
    assert!(h.sessions.asked.lock().unwrap().is_empty() && h.logs.asked.lock().unwrap().is_empty());
}

#[test]
fn what_flows_ends_with_the_right() {
    let h = Harness::start();
    h.client.post(MAPS, &config_map("a", "x")).expect(201);
    h.bind("default", "view", "ada");
    let user = h.as_user("ada", &[]);
    let mut watch = user.watch(&format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Da"), &[]);
    assert_eq!(watch.next().unwrap()["type"], "ADDED");
    // Other rights come and go without it.
    h.bind("default", "edit", "eve");
    h.client
        .patch(&format!("{MAPS}/a"), "application/merge-patch+json", &json!({"data": {"key": "seen"}}))
        .expect(200);
    assert_eq!(watch.next().unwrap()["object"]["data"]["key"], "seen");
    h.client.delete(&format!("{RBAC}/namespaces/default/rolebindings/ada-view")).expect(200);
    h.client
        .patch(&format!("{MAPS}/a"), "application/merge-patch+json", &json!({"data": {"key": "unseen"}}))
        .expect(200);
    let last = watch.next().unwrap();
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(403)), "{last}");
    assert!(watch.next().is_none(), "nothing comes behind it");
    forbidden(user.get(MAPS), "cannot list resource \"configmaps\"");
}

#[test]
fn a_followed_log_ends_with_the_right() {
    let (h, uid, pod) = Harness::with_running_pod();
    h.logs.texts.lock().unwrap().insert((uid, 0), b"first\n".to_vec());
    h.bind("default", "view", "ada");
    let user = h.as_user("ada", &[]);
    let mut flow = user.open("GET", &format!("{pod}/log?follow=true"), &[], b"").into_body().into_reader();
    let mut first = [0; 6];
    std::io::Read::read_exact(&mut flow, &mut first).unwrap();
    assert_eq!(&first, b"first\n");
    h.client.delete(&format!("{RBAC}/namespaces/default/rolebindings/ada-view")).expect(200);
    let mut rest = Vec::new();
    // It is cut, not closed in order: what comes behind is not known.
    assert!(std::io::Read::read_to_end(&mut flow, &mut rest).is_err());
    assert!(rest.is_empty());
}

#[test]
fn one_acts_as_another_who_may() {
    let h = Harness::start();
    h.bind("default", "view", "bob");
    let call = |client: &Client, headers: &[(&str, &str)], path: &str| client.call("GET", path, headers, b"");
    // The administrator may become anybody, and then may no more than he.
    let as_bob = [("Impersonate-User", "bob")];
    call(&h.client, &as_bob, MAPS).expect(200);
    forbidden(
        call(&h.client, &as_bob, "/api/v1/namespaces/default/secrets"),
        "User \"bob\" cannot list resource",
    );
    let groups = [
        ("Impersonate-User", "nobody"),
        ("Impersonate-Group", "dev"),
        ("Impersonate-Group", "system:masters"),
    ];
    call(&h.client, &groups, MAPS).expect(200);
    let who = h.client.call(
        "POST",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        &[
            ("Content-Type", "application/json"),
            ("Impersonate-User", "carol"),
            ("Impersonate-Uid", "u7"),
            ("Impersonate-Extra-Scopes", "a"),
            ("Impersonate-Extra-acme.com%2Fproject", "b"),
        ],
        b"{}",
    );
    assert_eq!(
        who.expect(201)["status"]["userInfo"],
        json!({
            "username": "carol", "uid": "u7", "groups": ["system:authenticated"],
            "extra": {"scopes": ["a"], "acme.com/project": ["b"]},
        })
    );
    let account = [("Impersonate-User", "system:serviceaccount:default:bot")];
    forbidden(call(&h.client, &account, MAPS), "User \"system:serviceaccount:default:bot\" cannot list");
    call(&h.client, &[("Impersonate-Group", "dev")], MAPS).expect_refusal(
        400,
        "BadRequest",
        "without impersonating a user",
    );
    call(&h.client, &[("Impersonate-Nobody", "x")], MAPS).expect_refusal(400, "BadRequest", "is not known");
    // Others need the right, name by name.
    let user = h.as_user("ada", &[]);
    forbidden(
        call(&user, &as_bob, MAPS),
        "users \"bob\" is forbidden: User \"ada\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
    );
    h.client
        .post(
            &format!("{RBAC}/clusterroles"),
            &role("as-bob", json!([rule("", &["users"], &["impersonate"], &["bob"])])),
        )
        .expect(201);
    let binding = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "ada"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "as-bob"},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": "ada"}],
    });
    h.client.post(&format!("{RBAC}/clusterrolebindings"), &binding).expect(201);
    call(&user, &as_bob, MAPS).expect(200);
    let higher = [("Impersonate-User", "bob"), ("Impersonate-Group", "system:masters")];
    forbidden(call(&user, &higher, MAPS), "groups \"system:masters\" is forbidden");
    forbidden(call(&user, &account, MAPS), "serviceaccounts \"bot\" is forbidden");
    forbidden(user.get(MAPS), "User \"ada\" cannot list");
}

#[test]
fn the_journal_says_who_was_let_in_and_why() {
    let h = Harness::start();
    h.bind("default", "edit", "ada");
    let user = h.as_user("ada", &["team"]);
    user.post(MAPS, &config_map("made", "x")).expect(201);
    user.get(&format!("{MAPS}/made")).expect(200);
    forbidden(user.get("/api/v1/nodes"), "cannot list resource \"nodes\"");
    forbidden(user.post("/api/v1/namespaces", &json!({})), "cannot create resource \"namespaces\"");
    let headers = [("Impersonate-User", "bob")];
    forbidden(h.client.call("GET", MAPS, &headers, b""), "User \"bob\" cannot list");
    let dir = h.stop();
    let (mut store, _) = watchbell_store::Store::open(dir.path()).unwrap();
    let mut entries: Vec<Value> = Vec::new();
    store
        .load_audit::<watchbell_store::Error>(0, &mut |row| {
            entries.push(serde_json::from_slice(&row.body).unwrap());
            Ok(())
        })
        .unwrap();
    let find = |verb: &str, resource: &str, code: u64| -> &Value {
        entries
            .iter()
            .find(|e| {
                e["verb"] == verb
                    && e["objectRef"]["resource"] == resource
                    && e["responseStatus"]["code"] == code
                    && (e["user"]["username"] == "ada" || e.get("impersonatedUser").is_some())
            })
            .unwrap_or_else(|| panic!("no entry {verb} {resource} {code}: {entries:#?}"))
    };
    let annotation = |entry: &Value, name: &str| {
        entry["annotations"][format!("authorization.k8s.io/{name}")].as_str().unwrap_or("nothing").to_owned()
    };
    for (verb, code) in [("create", 201), ("get", 200)] {
        let entry = find(verb, "configmaps", code);
        assert_eq!(annotation(entry, "decision"), "allow");
        assert_eq!(
            annotation(entry, "reason"),
            "RBAC: allowed by RoleBinding \"ada-edit/default\" of ClusterRole \"edit\" to User \"ada\""
        );
        assert_eq!(entry["level"], "Metadata");
    }
    for (verb, resource) in [("list", "nodes"), ("create", "namespaces")] {
        let entry = find(verb, resource, 403);
        assert_eq!(annotation(entry, "decision"), "forbid");
        assert!(annotation(entry, "reason").starts_with("RBAC: "), "{entry}");
        assert_eq!(entry["level"], "Metadata");
    }
    let acted = find("list", "configmaps", 403);
    assert_eq!(acted["user"]["username"], "kubernetes-admin");
    assert_eq!(acted["impersonatedUser"]["username"], "bob");
}

#[test]
fn an_operator_of_runs_cannot_say_what_runs() {
    let h = Harness::start();
    let batch = "/apis/batch/v1/namespaces/default";
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": job("x")["spec"]}},
    });
    h.client.post(&format!("{batch}/cronjobs"), &cron).expect(201);
    h.bind("default", "cron-operator", "ops");
    let ops = h.as_user("ops", &[]);
    ops.post(&format!("{batch}/cronjobs/nightly/trigger"), &json!({"jobName": "now"})).expect(201);
    let suspend = json!({"spec": {"suspend": true}});
    let merge = "application/merge-patch+json";
    ops.patch(&format!("{batch}/cronjobs/nightly/suspend"), merge, &suspend).expect(200);
    ops.get(&format!("{batch}/jobs/now")).expect(200);
    forbidden(
        ops.patch(&format!("{batch}/cronjobs/nightly"), merge, &suspend),
        "cannot patch resource \"cronjobs\"",
    );
    forbidden(
        ops.post(&format!("{batch}/jobs"), &job("mine")),
        "cannot create resource \"jobs\" in API group \"batch\"",
    );
    forbidden(ops.delete(&format!("{batch}/jobs/now")), "cannot delete resource \"jobs\"");
    forbidden(ops.get("/api/v1/namespaces/default/secrets"), "cannot list resource \"secrets\"");
}

#[test]
fn a_list_of_ones_own_rights_is_bounded_and_says_so() {
    let h = Harness::start();
    let ada = may(&h, "ada", json!([rule("", &["configmaps"], &["get"], &[])]));
    let ask = || {
        let review = json!({"spec": {"namespace": "default"}});
        ada.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review).expect(201)["status"]
            .clone()
    };
    assert_eq!(ask()["incomplete"], false);
    for n in 0..3 {
        let names: Vec<String> = (0..1024).map(|m| format!("{n}-{m}-{}", "x".repeat(1000))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let name = format!("long-{n}");
        let long = role(&name, json!([rule("", &["configmaps"], &["get"], &names)]));
        h.client.post(&format!("{RBAC}/clusterroles"), &long).expect(201);
        h.bind("default", &name, "ada");
    }
    let told = ask();
    assert_eq!(told["incomplete"], true);
    assert_eq!(told["evaluationError"], "there are more rules than are told");
    assert!(told.to_string().len() < 2 << 20);
    // What is not told counts all the same.
    let first = format!("2-0-{}", "x".repeat(1000));
    let review = json!({"spec": {"resourceAttributes": {
        "namespace": "default", "verb": "get", "resource": "configmaps", "name": first}}});
    let told = ada.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).expect(201);
    assert_eq!(told["status"]["allowed"], true);
}
