//! Users' tokens and certificates: from their creation to their revocation, and those who guess.

use std::io::Read as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::harness::{Harness, config_map};
use crate::kubectl::Kubectl;

const GROUP: &str = "/apis/watchbell.dev/v1alpha1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn token(user: &str, groups: &[&str]) -> Value {
    json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "UserToken", "metadata": {"generateName": format!("{user}-")},
        "spec": {"user": user, "groups": groups, "description": "a test"},
    })
}

/// A new token's name and text.
fn issue(h: &Harness, user: &str, groups: &[&str]) -> (String, String) {
    let made = h.client.post(&format!("{GROUP}/usertokens"), &token(user, groups)).expect(201);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made["metadata"]["name"]), text(&made["status"]["token"]))
}

fn get_with(client: &Client, path: &str, token: &str) -> Answer {
    client.call("GET", path, &[("Authorization", &format!("Bearer {token}"))], b"")
}

fn who(client: &Client, token: &str) -> Answer {
    let headers = [("Authorization", &*format!("Bearer {token}")), ("Content-Type", "application/json")];
    client.call("POST", WHO, &headers, b"{}")
}

#[test]
fn a_token_is_its_user_until_it_is_deleted() {
    let h = Harness::start();
    let (name, text) = issue(&h, "ada", &["ml", "system:masters"]);
    assert!(text.starts_with(&format!("wbt_{name}_")), "a scanner knows it");
    let anonymous = h.client.anonymous();
    let review = who(&anonymous, &text).expect(201);
    assert_eq!(review["status"]["userInfo"]["username"], "ada");
    assert_eq!(
        review["status"]["userInfo"]["groups"],
        json!(["ml", "system:masters", "system:authenticated"])
    );
    let credential = &review["status"]["userInfo"]["extra"]["authentication.kubernetes.io/credential-id"];
    assert_eq!(*credential, json!([format!("UserToken={name}")]));
    get_with(&anonymous, MAPS, &text).expect(200);
    // Neither the token nor its hash is seen again.
    let secret = &text[text.len() - 49..];
    for path in ["usertokens".to_owned(), format!("usertokens/{name}")] {
        for accept in ["application/json", "application/yaml", "application/json;as=Table;v=v1;g=meta.k8s.io"]
        {
            let seen = h.client.get_as(&format!("{GROUP}/{path}"), accept);
            assert!(seen.text.contains(&name) && !seen.text.contains(secret), "{}", seen.text);
            assert!(!seen.text.contains("\"token\"") && !seen.text.contains("igest"), "{}", seen.text);
        }
    }
    let one = h.client.get(&format!("{GROUP}/usertokens/{name}")).expect(200);
    assert_eq!(one["status"]["createdBy"], "kubernetes-admin");
    h.client.delete(&format!("{GROUP}/usertokens/{name}")).expect(200);
    // On the connection that was open.
    get_with(&anonymous, MAPS, &text).expect_refusal(401, "Unauthorized", "Unauthorized");
}

#[test]
fn tokens_and_revocations_outlive_the_server() {
    let h = Harness::start();
    let ((_, kept), (gone, lost)) = (issue(&h, "ada", &["system:masters"]), issue(&h, "bob", &[]));
    h.client.delete(&format!("{GROUP}/usertokens/{gone}")).expect(200);
    let h = Harness::start_in(h.stop());
    who(&h.client.anonymous(), &kept).expect(201);
    who(&h.client.anonymous(), &lost).expect(401);
    // What lies on the disk is sealed: neither the hash nor whose token it is can be read from the journal's file.
    let dir = h.stop();
    let secret = watchbell_identity::user_token::read(&kept).unwrap().secret.digest();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(32).any(|window| window == secret), "{}", path.display());
        }
    }
}

/// The store carries it over by the names of resources, which are the server's.
#[test]
fn what_was_revoked_stays_revoked_when_a_backup_is_restored() {
    let h = Harness::start();
    let ((_, kept), (gone, lost)) = (issue(&h, "ada", &["system:masters"]), issue(&h, "bob", &[]));
    let (ada, record) = certify(&h, "ada", &["system:masters"]);
    let dir = h.stop();
    let place = tempfile::tempdir().unwrap();
    let backup = place.path().join("backup");
    watchbell_store::Store::open(dir.path()).unwrap().0.backup(&backup).unwrap();
    let h = Harness::start_in(dir);
    let serial = record["status"]["serialNumber"].as_str().unwrap();
    revoke(&h.client, serial).expect(201);
    h.client.delete(&format!("{GROUP}/usertokens/{gone}")).expect(200);
    let (_, later) = certify(&h, "eve", &[]);
    let dir = h.stop();
    let report = watchbell_store::Store::restore(&backup, dir.path()).unwrap();
    let later = later["metadata"]["name"].as_str().unwrap();
    assert_eq!(
        report.kept,
        Some(watchbell_store::Kept {
            revocations: vec![serial.into()],
            certificates: vec![later.into()],
            tokens: Some(vec![gone]),
        })
    );
    let h = Harness::start_in(dir);
    Client::new(&h.client.server, &ada.ca_pem, ada.identity()).get(MAPS).expect(401);
    who(&h.client.anonymous(), &lost).expect(401);
    who(&h.client.anonymous(), &kept).expect(201);
    let records = h.client.get(&format!("{GROUP}/usercertificates/{later}")).expect(200);
    assert_eq!(records["spec"]["user"], "eve");
}

#[test]
fn what_is_not_a_token_is_nobody() {
    let h = Harness::start();
    let (name, text) = issue(&h, "ada", &["system:masters"]);
    let (_, other) = issue(&h, "ada", &["system:masters"]);
    let stranger = h.client.anonymous();
    let secret_of_other = watchbell_identity::user_token::read(&other).unwrap().secret.token(&name);
    let mut reasons = Vec::new();
    for (wrong, reason) in [
        (text.replace('_', ":"), "malformed-token"),
        (text[..text.len() - 1].to_owned(), "malformed-token"),
        (secret_of_other, "wrong-token"),
        (watchbell_identity::user_token::Secret::new([9; 32]).token("nobody"), "unknown-token"),
        ("a.b.c".into(), "malformed-token"),
        (format!("wbt_{}", "x".repeat(60_000)), "malformed-token"),
    ] {
        get_with(&stranger, MAPS, &wrong).expect_refusal(401, "Unauthorized", "Unauthorized");
        reasons.push(reason);
    }
    for header in
        ["Basic abc", "Bearer", "Bearer  ", &format!("Bearer {text} {text}"), &format!("bearer,{text}")]
    {
        stranger.call("GET", MAPS, &[("Authorization", header)], b"").expect(401);
    }
    let twice = [("Authorization", &*format!("Bearer {text}")), ("Authorization", "Bearer x")];
    stranger.call("GET", MAPS, &twice, b"").expect(401);
    // The right one, in the letters that a scheme may have.
    stranger.call("GET", MAPS, &[("Authorization", &format!("bearer {text}"))], b"").expect(200);
    let metrics = h.client.get("/metrics").text;
    for reason in ["malformed-token", "wrong-token", "unknown-token"] {
        assert!(metrics.contains(&format!("reason=\"{reason}\",code=\"401\"")), "{metrics}");
    }
    assert!(!metrics.contains(&text[20..]), "no secret in a metric");
}

/// The journal tells them apart; who shows one learns nothing of it.
#[test]
fn a_revoked_token_is_no_unknown_one() {
    let h = Harness::start();
    let (name, text) = issue(&h, "ada", &[]);
    h.client.delete(&format!("{GROUP}/usertokens/{name}")).expect(200);
    let guessed = watchbell_identity::user_token::Secret::new([9; 32]).token(&name);
    let unknown = watchbell_identity::user_token::Secret::new([9; 32]).token("nobody");
    let answers = [&text, &guessed, &unknown].map(|token| who(&h.client.anonymous(), token));
    for answer in answers {
        answer.expect_refusal(401, "Unauthorized", "Unauthorized");
    }
    let review = json!({"spec": {"token": text}});
    let told = h.client.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).expect(201);
    assert_eq!(told["status"]["error"], "there is no such token");
    let metrics = h.client.get("/metrics").text;
    for (reason, count) in [("revoked-token", 1), ("unknown-token", 2)] {
        assert!(metrics.contains(&format!("reason=\"{reason}\",code=\"401\"}} {count}")), "{metrics}");
    }
    // Another token of that name is another one.
    let mut again = token("bob", &[]);
    again["metadata"] = json!({"name": name});
    h.client.post(&format!("{GROUP}/usertokens"), &again).expect(201);
    who(&h.client.anonymous(), &text).expect(401);
    assert!(h.client.get("/metrics").text.contains("reason=\"wrong-token\",code=\"401\"} 1"));
    let dir = h.stop();
    let (mut store, _) = watchbell_store::Store::open(dir.path()).unwrap();
    let mut reasons = Vec::new();
    store
        .load_audit::<watchbell_store::Error>(0, &mut |row| {
            let entry: Value = serde_json::from_slice(&row.body).unwrap();
            reasons.extend(entry["annotations"]["watchbell.dev/reason"].as_str().map(str::to_owned));
            Ok(())
        })
        .unwrap();
    assert!(reasons.iter().any(|reason| reason == "revoked-token"), "{reasons:?}");
}

#[test]
fn hostile_headers_end_at_the_door() {
    let h = Harness::start();
    let (_, text) = issue(&h, "ada", &[]);
    // HTTP itself refuses a NUL, a megabyte, and a line that is folded.
    for value in
        [format!("Bearer {text}\u{0}"), format!("Bearer {}", "x".repeat(1 << 20)), "Bearer\r\n a".into()]
    {
        let raw = h
            .client
            .raw(format!("GET {MAPS} HTTP/1.1\r\nHost: x\r\nAuthorization: {value}\r\n\r\n").as_bytes());
        let refused = raw.is_empty() || raw.starts_with("HTTP/1.1 4");
        assert!(refused, "{}", &raw[..raw.len().min(200)]);
    }
    who(&h.client.anonymous(), &text).expect(201);
}

#[test]
fn a_watch_ends_with_the_token_that_opened_it() {
    let h = Harness::start();
    let (name, text) = issue(&h, "ada", &["system:masters"]);
    let version = h.client.get(MAPS).expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let path = format!("{MAPS}?watch=1&resourceVersion={version}");
    let authorization = format!("Bearer {text}");
    let mut mine = h.client.anonymous().watch(&path, &[("Authorization", &authorization)]);
    let mut others = h.client.watch(&path, &[]);
    h.client.post(MAPS, &config_map("a", "x")).expect(201);
    assert_eq!(mine.next().unwrap()["object"]["metadata"]["name"], "a");
    assert_eq!(others.next().unwrap()["object"]["metadata"]["name"], "a");
    h.client.delete(&format!("{GROUP}/usertokens/{name}")).expect(200);
    h.client.post(MAPS, &config_map("b", "x")).expect(201);
    let end = mine.next().unwrap();
    assert_eq!((&end["type"], &end["object"]["code"]), (&json!("ERROR"), &json!(401)), "{end}");
    assert!(mine.next().is_none(), "it ends");
    assert_eq!(others.next().unwrap()["object"]["metadata"]["name"], "b", "others go on");
}

#[test]
fn a_followed_log_ends_with_the_token_that_opened_it() {
    let (h, uid, path) = Harness::with_running_pod();
    h.logs.texts.lock().unwrap().insert((uid, 0), b"line\n".to_vec());
    let (name, text) = issue(&h, "ada", &["system:masters"]);
    let authorization = format!("Bearer {text}");
    let headers = [("Authorization", &*authorization)];
    let response = h.client.anonymous().open("GET", &format!("{path}/log?follow=true"), &headers, b"");
    let mut log = response.into_body().into_reader();
    let mut line = [0; 5];
    log.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"line\n");
    h.client.delete(&format!("{GROUP}/usertokens/{name}")).expect(200);
    // Broken off, so that it cannot be taken for whole.
    assert!(log.read(&mut line).is_err());
}

/// A user's client with a certificate that the server signed, and its record.
pub(crate) fn certify(h: &Harness, user: &str, groups: &[&str]) -> (Client, Value) {
    let pair = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::new(Vec::new()).unwrap().serialize_request(&pair).unwrap();
    let object = json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "UserCertificate", "metadata": {"generateName": "c-"},
        "spec": {"user": user, "groups": groups, "request": BASE64_STANDARD.encode(request.pem().unwrap()),
                 "expirationSeconds": 3600},
    });
    let made = h.client.post(&format!("{GROUP}/usercertificates"), &object).expect(201);
    let pem = BASE64_STANDARD.decode(made["status"]["certificate"].as_str().unwrap()).unwrap();
    let key = pair.serialize_pem();
    (Client::new(&h.client.server, &h.client.ca_pem, Some((&pem, key.as_bytes()))), made)
}

pub(crate) fn revoke(client: &Client, serial_number: &str) -> Answer {
    let object = json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "CertificateRevocation", "metadata": {"name": serial_number},
        "spec": {"user": "ada", "reason": "lost"},
    });
    client.post(&format!("{GROUP}/certificaterevocations"), &object)
}

#[test]
fn a_body_that_comes_after_the_revocation_is_not_taken() {
    let h = Harness::start();
    let (ada, record) = certify(&h, "ada", &["system:masters"]);
    let body = config_map("late", "x").to_string();
    let mut stream = ada.connect();
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\
         Expect: 100-continue\r\n\r\n",
        body.len()
    );
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    // It asks for the body, so it has looked at who sends it.
    let mut word = [0; 12];
    stream.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"HTTP/1.1 100");
    revoke(&h.client, record["status"]["serialNumber"].as_str().unwrap()).expect(201);
    std::io::Write::write_all(&mut stream, body.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // The server closes as it likes.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("HTTP/1.1 401"), "{answer}");
    h.client.get(&format!("{MAPS}/late")).expect(404);
}

#[test]
fn no_certificate_is_without_its_record() {
    let h = Harness::start();
    let (_, record) = certify(&h, "ada", &["ml"]);
    let path = format!("{GROUP}/usercertificates");
    let mut object = json!({"metadata": {"generateName": "c-"}, "spec": record["spec"].clone()});
    let dry = h.client.post(&format!("{path}?dryRun=All"), &object).expect(201);
    assert!(dry["status"].is_null(), "{dry}");
    object["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Namespace", "name": "x", "uid": "0"}]);
    h.client.post(&path, &object).expect_refusal(422, "Invalid", "does not go with another object");
    let name = record["metadata"]["name"].as_str().unwrap();
    h.client.delete(&format!("{path}/{name}")).expect_refusal(
        403,
        "Forbidden",
        "`watchbell user revoke` ends it",
    );
    assert_eq!(h.client.get(&path).expect(200)["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_certificate_is_revoked_by_its_serial_number_on_open_connections_too() {
    let h = Harness::start();
    let (ada, record) = certify(&h, "ada", &["ml", "system:masters"]);
    let (bob, _) = certify(&h, "bob", &["system:masters"]);
    let review = ada.post(WHO, &json!({})).expect(201);
    let info = &review["status"]["userInfo"];
    assert_eq!(
        (&info["username"], &info["groups"]),
        (&json!("ada"), &json!(["ml", "system:masters", "system:authenticated"]))
    );
    let credential = info["extra"]["authentication.kubernetes.io/credential-id"][0].as_str().unwrap();
    assert!(credential.starts_with("X509SHA256=") && credential.len() == 11 + 64, "{credential}");
    let mut watch = ada.watch(&format!("{MAPS}?watch=1"), &[]);
    h.client.post(MAPS, &config_map("a", "x")).expect(201);
    while watch.next().unwrap()["object"]["metadata"]["name"] != "a" {}
    let serial = record["status"]["serialNumber"].as_str().unwrap();
    revoke(&h.client, serial).expect(201);
    ada.get(MAPS).expect_refusal(401, "Unauthorized", "Unauthorized");
    assert_eq!(watch.last().unwrap()["object"]["code"], 401);
    bob.get(MAPS).expect(200);
    // Another certificate of the same user is another matter, and a revocation is not taken back.
    let (again, _) = certify(&h, "ada", &["system:masters"]);
    again.get(MAPS).expect(200);
    h.client.delete(&format!("{GROUP}/certificaterevocations/{serial}")).expect_refusal(
        403,
        "Forbidden",
        "it stays until the certificate ends",
    );
    assert!(h.client.get("/metrics").text.contains("reason=\"revoked-certificate\""));
    let h = Harness::start_in(h.stop());
    let ada = Client::new(&h.client.server, &ada.ca_pem, ada.identity());
    ada.get(MAPS).expect(401);
}

#[test]
fn nobody_locks_himself_out_and_a_lost_admin_certificate_is_replaced() {
    let h = Harness::start();
    let config = h.dir.path().join("admin.kubeconfig");
    let before = std::fs::read(&config).unwrap();
    let serial = h.admin_serial_number();
    revoke(&h.client, &serial).expect_refusal(403, "Forbidden", "you would lock yourself out");
    let apply = json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "CertificateRevocation", "metadata": {"name": serial}, "spec": {},
    });
    let path = format!("{GROUP}/certificaterevocations/{serial}?fieldManager=me");
    h.client.patch(&path, "application/apply-patch+yaml", &apply).expect_refusal(
        403,
        "Forbidden",
        "lock yourself",
    );
    h.client.get(MAPS).expect(200);
    // Another administrator may, and the machine's root finds a new certificate in the file.
    let (other, _) = certify(&h, "bob", &["system:masters"]);
    revoke(&other, &serial).expect(201);
    h.client.get(MAPS).expect(401);
    other
        .wait_for(MAPS, "asked for while the file is written", |_| std::fs::read(&config).unwrap() != before);
    Client::of_kubeconfig(&config).get(MAPS).expect(200);
    assert_ne!(h.admin_serial_number(), serial);
}

/// Whoever runs this test owns the data directory, so the socket knows him.
#[test]
fn the_local_socket_knows_the_owner_of_the_directory() {
    use std::io::{Read as _, Write as _};
    let h = Harness::start();
    let path = h.dir.path().join(watchbell_server::ADMIN_SOCKET);
    let ask = |request: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream.write_all(format!("{request}\r\nHost: x\r\nConnection: close\r\n").as_bytes()).unwrap();
        stream.write_all(b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = ask(&format!("POST {WHO} HTTP/1.1"));
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    for words in ["\"username\":\"local:", "system:masters", "system:authenticated", "watchbell.dev/uid"] {
        assert!(answer.contains(words), "{answer} lacks {words}");
    }
    // It is replaced by the next server, and gone with the last.
    let dir = h.stop();
    let path = dir.path().join(watchbell_server::ADMIN_SOCKET);
    assert!(!path.exists());
    std::fs::write(&path, "left behind").unwrap();
    let h = Harness::start_in(dir);
    assert!(
        std::os::unix::net::UnixStream::connect(h.dir.path().join(watchbell_server::ADMIN_SOCKET)).is_ok()
    );
}

#[test]
fn who_makes_a_token_must_be_allowed_to_be_its_user() {
    let h = Harness::start();
    let (ada, _) = certify(&h, "ada", &["ml"]);
    let path = format!("{GROUP}/usertokens");
    ada.post(&path, &token("bob", &["system:masters"])).expect_refusal(
        403,
        "Forbidden",
        "User \"ada\" cannot",
    );
    for (object, words) in [
        (token("system:admin", &[]), "names with the prefix \"system:\""),
        (token("system:serviceaccount:ml:x", &[]), "names with the prefix \"system:\""),
        (token("bob", &["system:nodes"]), "groups with the prefix \"system:\""),
    ] {
        let mut object = object;
        object["metadata"] = json!({"name": "x"});
        h.client.post(&path, &object).expect_refusal(422, "Invalid", words);
    }
    let certificate = json!({"metadata": {"name": "x"}, "spec": {"user": "bob", "request": "eA=="}});
    h.client.post(&format!("{GROUP}/usercertificates"), &certificate).expect_refusal(
        422,
        "Invalid",
        "spec.request: Invalid value: it is no PKCS #10",
    );
    let applied = json!({
        "apiVersion": "watchbell.dev/v1alpha1", "kind": "UserToken", "metadata": {"name": "x"}, "spec": {"user": "bob"},
    });
    h.client
        .patch(&format!("{path}/x?fieldManager=me"), "application/apply-patch+yaml", &applied)
        .expect_refusal(405, "MethodNotAllowed", "use `kubectl create` or `watchbell user token`");
    // A dry run makes nothing, so there is nothing to be shown.
    let dry = h.client.post(&format!("{path}?dryRun=All"), &token("bob", &[])).expect(201);
    assert!(dry["status"]["token"].is_null(), "{dry}");
    assert_eq!(h.client.get(&path).expect(200)["items"], json!([]));
}

#[test]
fn who_fails_often_has_to_wait_and_others_do_not() {
    let h = Harness::start();
    let (_, text) = issue(&h, "ada", &["system:masters"]);
    let signed = || {
        let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
        h.client.post(path, &json!({"spec": {}})).expect(201)["status"]["token"].as_str().unwrap().to_owned()
    };
    let held = signed();
    who(&h.client.anonymous(), &held).expect(201);
    let stranger = h.client.anonymous();
    let mut codes = Vec::new();
    while codes.last() != Some(&429) {
        let answer = get_with(&stranger, MAPS, "wbt_guess");
        if answer.code == 429 {
            assert!(
                (1..=2).contains(&answer.header("retry-after").parse::<u32>().unwrap()),
                "{}",
                answer.text
            );
            assert_eq!(answer.body["reason"], "TooManyRequests");
        }
        codes.push(answer.code);
    }
    // A signature is not looked at from here any more, but for a token that held before. A place comes back each second, so one that is
    // asked about too late is tried again with another.
    assert_eq!(who(&h.client.anonymous(), &held).code, 201);
    loop {
        let fresh = signed();
        while get_with(&stranger, MAPS, "wbt_guess").code != 429 {}
        match who(&h.client.anonymous(), &fresh).code {
            429 => break,
            code => assert_eq!(code, 201),
        }
    }
    assert!(h.client.get("/metrics").text.contains("reason=\"not-looked-at\",code=\"429\""));
    assert!(codes.starts_with(&[401; 30]), "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, 401 | 429)), "{codes:?}");
    // Who can say who he is waits for nobody, from the same address neither; health is told to everybody.
    h.client.get(MAPS).expect(200);
    get_with(&stranger, MAPS, &text).expect(200);
    assert_eq!(stranger.get("/readyz").code, 200);
    assert!(h.client.get("/metrics").text.contains("reason=\"malformed-token\",code=\"429\""));
}

#[test]
fn kubectl_comes_with_a_token() {
    let h = Harness::start();
    let Some(kubectl) = Kubectl::of(&h) else { return };
    let manifest = "apiVersion: watchbell.dev/v1alpha1\nkind: UserToken\nmetadata: {generateName: ci-}\n\
                    spec: {user: ci, groups: ['system:masters']}\n";
    let text = kubectl.ok(&["create", "-f", "-", "-o", "jsonpath={.status.token}"], manifest);
    let ca = h.dir.path().join("pki/ca.crt");
    let flags = [
        "--kubeconfig=/dev/null",
        &format!("--server={}", h.client.server),
        &format!("--certificate-authority={}", ca.display()),
        &format!("--token={text}"),
    ];
    fn with<'a>(flags: &[&'a str], words: &[&'a str]) -> Vec<&'a str> {
        [flags, words].concat()
    }
    let seen = kubectl.ok(&with(&flags, &["auth", "whoami", "-o", "jsonpath={.status.userInfo}"]), "");
    assert!(seen.contains("\"username\":\"ci\"") && seen.contains("system:masters"), "{seen}");
    let list = kubectl.ok(&["get", "usertokens"], "");
    assert!(list.contains("ci-") && list.contains("system:masters") && !list.contains(&text[20..]), "{list}");
    assert!(kubectl.ok(&["explain", "usertoken.spec.groups"], "").contains("impersonate"));
    kubectl.ok(&["delete", "usertokens", "--all"], "");
    kubectl.refused(&with(&flags, &["get", "pods"]), "", "You must be logged in");
}
