//! Every write is judged by roles and bindings where it is made, whatever was decided before.

use serde_json::{Value, json};
use watchbell_api::{Reason, Resource};

use super::{Bench, config_map, create_request, cron, request};
use crate::access::Wish;
use crate::request::{PatchKind, Propagation, Request, Schedule, Subresource, User, Write, WriteOptions};

/// May what `verbs` say with ConfigMaps of `ml`, if the binding is there.
fn staffed(verbs: Value) -> Bench {
    let mut bench = Bench::new();
    bench.create(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "maps", "namespace": "ml"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}],
    }));
    bench.create(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "ada", "namespace": "ml"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "maps"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ada"}],
    }));
    bench.settle();
    bench
}

fn ada() -> User {
    User { name: "ada".into(), ..User::default() }
}

fn by_ada(request: Request) -> Request {
    Request { user: ada(), ..request }
}

fn last_entry(bench: &mut Bench) -> Value {
    bench.step();
    bench.journal.audit.last().expect("an entry").body.clone()
}

#[test]
fn a_right_that_is_taken_away_is_taken_from_what_waits() {
    let mut bench = staffed(json!(["create"]));
    bench.write(by_ada(create_request(config_map("a")))).expect("granted");
    let entry = last_entry(&mut bench);
    assert_eq!(entry["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(
        entry["annotations"]["authorization.k8s.io/reason"],
        "RBAC: allowed by RoleBinding \"ada/ml\" of Role \"maps\" to User \"ada\""
    );
    // In one batch: the binding goes, and what came behind it finds it gone before it is committed.
    bench.delete(Resource::RoleBinding, "ada", Propagation::Background);
    let refused = bench.write(by_ada(create_request(config_map("b")))).expect_err("revoked");
    assert_eq!(
        (refused.reason, refused.message.as_str()),
        (
            Reason::Forbidden,
            "configmaps is forbidden: User \"ada\" cannot create resource \"configmaps\" in API group \"\" in the namespace \
             \"ml\""
        )
    );
    let entry = last_entry(&mut bench);
    assert_eq!(entry["responseStatus"]["code"], 403);
    assert_eq!(entry["annotations"]["authorization.k8s.io/decision"], "forbid");
    bench.settle();
    assert_eq!(bench.get(Resource::ConfigMap, "b"), None);
}

#[test]
fn a_patch_that_creates_needs_the_right_to_create() {
    let apply = |name: &str| {
        let options = WriteOptions { field_manager: "m".into(), ..WriteOptions::default() };
        let write = Write::Patch { kind: PatchKind::Apply, body: config_map(name) };
        by_ada(Request { write, options, ..request(Resource::ConfigMap, "ml", name) })
    };
    let mut bench = staffed(json!(["patch"]));
    bench.create(config_map("there"));
    bench.write(apply("there")).expect("a patch");
    let refused = bench.write(apply("absent")).expect_err("it would create");
    assert_eq!(
        refused.message,
        "configmaps \"absent\" is forbidden: User \"ada\" cannot create resource \"configmaps\" in API group \"\" in the \
         namespace \"ml\""
    );
    let mut bench = staffed(json!(["patch", "create"]));
    bench.write(apply("absent")).expect("both");
}

#[test]
fn what_is_not_there_is_refused_as_what_is() {
    let mut bench = staffed(json!(["create"]));
    bench.create(config_map("there"));
    let mut refusal = |name: &str| {
        let refused = bench.write(by_ada(request(Resource::ConfigMap, "ml", name))).expect_err("a delete");
        (refused.reason, refused.message.replace(name, "NAME"))
    };
    assert_eq!(refusal("there"), refusal("absent"));
    assert_eq!(refusal("there").0, Reason::Forbidden);
}

#[test]
fn who_may_operate_may_not_change() {
    let mut bench = Bench::new();
    bench.create(cron("nightly", "0 3 * * *", json!({})));
    bench.create(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "ada", "namespace": "ml"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cron-operator"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ada"}],
    }));
    bench.settle();
    let nightly = |subresource, write| {
        by_ada(Request { subresource, write, ..request(Resource::CronJob, "ml", "nightly") })
    };
    let trigger = || Write::Trigger { job_name: "now".into() };
    bench.write(nightly(Subresource::Trigger, trigger())).expect("triggered");
    bench.write(nightly(Subresource::Suspend, Write::Suspend(Schedule::Suspended))).expect("suspended");
    let image = json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}}}});
    let patch = Write::Patch { kind: PatchKind::Merge, body: image };
    for request in [
        nightly(Subresource::None, patch),
        nightly(Subresource::None, Write::Update(cron("nightly", "* * * * *", json!({})))),
        nightly(Subresource::None, request(Resource::CronJob, "ml", "nightly").write),
        by_ada(create_request(super::job("mine", json!({})))),
    ] {
        let refused = bench.write(request).expect_err("not an operator's");
        assert_eq!(refused.reason, Reason::Forbidden);
        assert!(refused.message.contains("User \"ada\" cannot "), "{refused}");
    }
}

#[test]
fn who_acts_as_another_stands_in_the_journal_beside_him() {
    let mut bench = staffed(json!(["create"]));
    let as_ada = |by: User| {
        let wish = Wish { name: "ada".into(), ..Wish::default() };
        let (user, impersonation) = wish.grant(by).expect("a wish").expect("a user");
        Request { user, impersonation: Some(impersonation), ..create_request(config_map("a")) }
    };
    let root = create_request(config_map("x")).user;
    let nobody = User { name: "eve".into(), ..User::default() };
    let refused = bench.write(as_ada(nobody)).expect_err("no right to impersonate");
    assert!(refused.message.contains("User \"eve\" cannot impersonate resource \"users\""), "{refused}");
    bench.write(as_ada(root)).expect("root may");
    let entry = last_entry(&mut bench);
    assert_eq!(entry["user"]["groups"], json!(["system:masters"]));
    assert_eq!(entry["impersonatedUser"], json!({"username": "ada", "groups": ["system:authenticated"]}));
}
