//! Users' tokens and certificates: what is shown of them, and what does not come back.

use serde_json::{Value, json};
use watchbell_api::{Reason, Resource};

use super::{Bench, request};
use crate::request::{DeleteOptions, Issued, Page, PatchKind, Request, User, Write};

const DIGEST: [u8; 32] = [0xAB; 32];

fn token(user: &str) -> Value {
    json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "UserToken", "metadata": {"generateName": "ada-"},
        "spec": {"user": user, "groups": ["ml"]},
    })
}

fn issue(resource: Resource, object: Value, issued: Issued) -> Request {
    Request { write: Write::Issue { object, issued }, ..request(resource, "", "") }
}

fn revocation(name: &str, until: Option<&str>) -> Request {
    let mut object = json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "CertificateRevocation", "metadata": {"name": name},
        "spec": {"user": "ada"},
    });
    if let Some(until) = until {
        object["spec"]["expirationTimestamp"] = until.into();
    }
    Request { write: Write::Create(object), ..request(Resource::CertificateRevocation, "", "") }
}

/// The hash as it would look in any text.
fn assert_unseen(text: &str) {
    for form in ["abababab", "ABABABAB", "171,171,171", "q6urq6ur"] {
        assert!(!text.contains(form), "{text}");
    }
}

#[test]
fn a_tokens_hash_is_kept_and_never_shown() {
    let mut bench = Bench::new();
    let issued = Issued::Token { digest: DIGEST };
    let made = bench.write(issue(Resource::UserToken, token("ada"), issued)).unwrap().object;
    let name = made["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("ada-"), "{name}");
    assert_eq!(made["status"]["createdBy"], request(Resource::Pod, "", "").user.name);
    assert_eq!(made["status"]["expirationTimestamp"], "2026-05-30T00:00:00Z", "90 days unless said");
    let stage = bench.step();
    for text in [made.to_string(), format!("{stage:?}").replace(&format!("{:?}", stage.rows), "")] {
        assert_unseen(&text);
    }
    let mut wire = Vec::new();
    bench.world.get(Resource::UserToken, "", &name).unwrap().write_json(&mut wire);
    assert_unseen(&String::from_utf8(wire).unwrap());
    // Journal and back.
    bench.crash();
    let stored = bench.world.get(Resource::UserToken, "", &name).unwrap().clone();
    assert_eq!(stored.token().unwrap().digest, DIGEST);
    assert_eq!(stored.facts().grant().unwrap().groups, ["ml"]);
    // Neither a change of its labels nor a status of a client's own touches it.
    for body in [json!({"metadata": {"labels": {"a": "b"}}}), json!({"status": {"token": "x"}})] {
        let patch = Write::Patch { kind: PatchKind::Merge, body };
        let changed = bench.write(Request { write: patch, ..request(Resource::UserToken, "", &name) });
        assert_unseen(&changed.unwrap().object.to_string());
    }
    bench.step();
    assert_eq!(bench.world.get(Resource::UserToken, "", &name).unwrap().token().unwrap().digest, DIGEST);
    let patch = Write::Patch { kind: PatchKind::Merge, body: json!({"spec": {"user": "bob"}}) };
    let refused = bench.write(Request { write: patch, ..request(Resource::UserToken, "", &name) });
    assert_eq!(refused.unwrap_err().reason, Reason::Invalid);
}

#[test]
fn what_is_issued_is_not_applied() {
    let mut bench = Bench::new();
    let mut body = token("ada");
    body["metadata"] = json!({"name": "a"});
    let apply = Write::Patch { kind: PatchKind::Apply, body: body.clone() };
    for write in [Write::Create(body), apply] {
        let refused = bench.write(Request { write, ..request(Resource::UserToken, "", "a") }).unwrap_err();
        assert_eq!(refused.reason, Reason::MethodNotAllowed, "{refused}");
        assert!(refused.message.contains("kubectl create"), "{refused}");
    }
    assert!(bench.step().rows.is_empty());
}

#[test]
fn a_revocation_stays_until_the_certificate_has_ended() {
    let mut bench = Bench::new();
    bench.write(revocation("0a", None)).unwrap();
    bench.write(revocation("0b", Some("2026-03-01T00:00:30Z"))).unwrap();
    bench.step();
    let delete = |name: &str| Request {
        write: Write::Delete(DeleteOptions::default()),
        ..request(Resource::CertificateRevocation, "", name)
    };
    for name in ["0a", "0b"] {
        let refused = bench.write(delete(name)).unwrap_err();
        assert_eq!(refused.reason, Reason::Forbidden, "{refused}");
    }
    let sweep = Write::DeleteCollection {
        options: DeleteOptions::default(),
        label_selector: String::new(),
        field_selector: String::new(),
        page: Page::default(),
    };
    bench.write(Request { write: sweep, ..request(Resource::CertificateRevocation, "", "") }).unwrap();
    bench.step();
    assert_eq!(bench.names(Resource::CertificateRevocation), ["0a", "0b"]);
    bench.sleep(31);
    bench.write(delete("0b")).unwrap();
    assert!(bench.write(delete("0a")).is_err());
    // Nor does it go with an owner that is not there.
    let body = json!({"metadata": {"ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-0000-0000-000000000001",
    }]}});
    let patch = Write::Patch { kind: PatchKind::Merge, body };
    let refused = bench.write(Request { write: patch, ..request(Resource::CertificateRevocation, "", "0a") });
    assert_eq!(refused.unwrap_err().reason, Reason::Invalid);
}

#[test]
fn the_writer_itself_asks_whether_a_token_may_be_given() {
    let mut bench = Bench::new();
    let group = "rbac.authorization.k8s.io";
    let create = |resource, object| Request { write: Write::Create(object), ..request(resource, "", "") };
    let role = json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": "giver"},
        "rules": [
            {"verbs": ["create"], "apiGroups": ["watchbell.dev"], "resources": ["usertokens", "usercertificates"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["ada"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["ml"]},
        ],
    });
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "giver"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "giver"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "eve"}],
    });
    bench.write(create(Resource::ClusterRole, role)).unwrap();
    bench.write(create(Resource::ClusterRoleBinding, binding)).unwrap();
    // As the server hands it over once it has made the secret, or signed.
    let by_eve = |resource, object, issued| Request {
        user: User { name: "eve".into(), ..User::default() },
        ..issue(resource, object, issued)
    };
    let a_token = |user: &str| by_eve(Resource::UserToken, token(user), Issued::Token { digest: DIGEST });
    bench.write(a_token("ada")).expect("she may");
    let refused = bench.write(a_token("bob")).unwrap_err();
    assert!(refused.message.contains("User \"eve\" cannot impersonate resource \"users\""), "{refused}");
    let mut certificate = token("bob");
    certificate["kind"] = "UserCertificate".into();
    certificate["spec"]["request"] = "eA==".into();
    let refused = bench
        .write(by_eve(Resource::UserCertificate, certificate, Issued::Certificate { status: json!({}) }))
        .unwrap_err();
    assert_eq!(refused.reason, Reason::Forbidden, "{refused}");
    // The right is taken away while the request waits for the writer.
    let delete = Write::Delete(DeleteOptions::default());
    bench.write(Request { write: delete, ..request(Resource::ClusterRoleBinding, "", "giver") }).unwrap();
    assert_eq!(bench.write(a_token("ada")).unwrap_err().reason, Reason::Forbidden);
    let made = bench.step().changes.iter().filter(|c| c.object().resource == Resource::UserToken).count();
    assert_eq!(made, 1);
}
