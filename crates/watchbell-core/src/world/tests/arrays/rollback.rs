//! Rollbacks through the server.

use serde_json::json;
use watchbell_api::Resource;
use watchbell_api::array::RolledBack;
use watchbell_api::node::{Command, Report};

use super::super::{Bench, request};
use crate::request::{DryRun, Request, Subresource, User, Write, WriteOptions};

#[test]
fn a_rollback_is_asked_for_once_and_told() {
    let mut bench = Bench::with_array();
    for bad in ["", "../head", "a b"] {
        assert_eq!(bench.rollback(bad).unwrap_err().reason.code(), 400, "{bad:?}");
    }
    let dry = Request {
        subresource: Subresource::Rollback,
        write: Write::Rollback { to: "good".into(), unsigned_ok: false },
        options: WriteOptions { dry_run: DryRun::All, ..WriteOptions::default() },
        ..request(Resource::DataArray, "ml", "obs")
    };
    bench.write(dry).unwrap();
    let asked = |bench: &Bench| {
        let of = |command: &&Command| matches!(command, Command::RollbackArray { to, user, .. } if &**to == "good" && &**user == "ada");
        bench.commands.iter().filter(of).count()
    };
    bench.settle();
    assert_eq!(asked(&bench), 0);
    let written = bench.rollback("good").unwrap();
    assert_eq!(written.object["status"]["rollback"]["to"], "good");
    bench.settle();
    assert_eq!(asked(&bench), 1);
    assert_eq!(bench.rollback("good").unwrap_err().reason.code(), 409);
    bench.crash();
    bench.settle();
    assert_eq!(asked(&bench), 1, "the next server tells the node");
    let answer = |bench: &mut Bench, result: Result<RolledBack, String>| {
        let (namespace, name, to) = ("ml".into(), "obs".into(), "good".into());
        bench.world.report(Report::ArrayRolledBack { namespace, name, to, result }, bench.at());
        bench.settle();
    };
    answer(&mut bench, Ok(RolledBack { before: "b".into(), after: "a".into() }));
    let told = bench.of_array("array-rolled-back");
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["user"], &told[0]["before"]), (&json!("ada"), &json!("b")));
    assert!(bench.read(Resource::DataArray, "obs")["status"].get("rollback").is_none());
    bench.rollback("good").unwrap();
    bench.settle();
    answer(&mut bench, Err("there is no such snapshot".into()));
    assert_eq!(bench.last_message("ArrayRollbackFailed"), "Rollback to good: there is no such snapshot");
    assert_eq!(bench.of_array("array-refused")[0]["at"], "rollback");
}

#[test]
fn an_unsigned_snapshot_is_named_by_all_of_its_digest() {
    let mut bench = Bench::with_array();
    let ask = |to: &str| Request {
        subresource: Subresource::Rollback,
        write: Write::Rollback { to: to.into(), unsigned_ok: true },
        ..request(Resource::DataArray, "ml", "obs")
    };
    let error = bench.write(ask("good")).unwrap_err();
    assert!(error.reason.code() == 400 && error.message.contains("the whole digest"), "{error}");
    let digest = "5a".repeat(32);
    let asked = bench.write(ask(&digest)).unwrap().object;
    assert_eq!(asked["status"]["rollback"]["unsignedOk"], true);
    bench.settle();
    // The next server says it, too.
    bench.crash();
    bench.settle();
    let is_asked = |command: &Command| matches!(command, Command::RollbackArray { to, unsigned_ok: true, .. } if **to == *digest);
    assert!(bench.commands.iter().any(is_asked));
    let (namespace, name, to) = ("ml".into(), "obs".into(), digest.as_str().into());
    let result = Ok(RolledBack { before: "b".into(), after: "a".into() });
    bench.world.report(Report::ArrayRolledBack { namespace, name, to, result }, bench.at());
    bench.settle();
    assert_eq!(bench.of_array("array-rolled-back")[0]["unsignedOk"], true);
}

#[test]
fn a_rollback_is_a_right_of_its_own() {
    let mut bench = Bench::with_array();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"},
        "rules": [{"apiGroups": ["watchbell.dev"], "resources": ["dataarrays", "dataarrays/rollback"],
            "verbs": ["create", "update", "patch", "write"]}],
    });
    bench.create(role);
    bench.create(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}],
    }));
    let ask = || Request {
        user: User { name: "eve".into(), ..User::default() },
        subresource: Subresource::Rollback,
        write: Write::Rollback { to: "good".into(), unsigned_ok: false },
        ..request(Resource::DataArray, "ml", "obs")
    };
    assert_eq!(bench.write(ask()).unwrap_err().reason.code(), 403);
    bench.patch(
        Resource::Role,
        "r",
        json!({"rules": [{"apiGroups": ["watchbell.dev"], "resources": ["dataarrays"], "verbs": ["rollback"]}]}),
    );
    bench.write(ask()).unwrap();
}
