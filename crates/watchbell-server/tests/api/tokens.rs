//! Tokens of service accounts: given out, taken, and no longer taken.

use std::io::Read as _;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::types::pod_status::{ContainerState, Phase};
use watchbell_core::service_account::TokenIssuer;
use watchbell_identity::{Identity, Rotation};

use crate::client::Answer;
use crate::harness::{Harness, config_map};
use crate::kubectl::Kubectl;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const KEYS: &str = "/apis/watchbell.dev/v1alpha1/tokenkeys";
const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const NAME: &str = "system:serviceaccount:default:robot";

/// A server with the account `robot`.
fn start() -> Harness {
    let h = Harness::start();
    h.client.post(ACCOUNTS, &json!({"metadata": {"name": "robot"}})).expect(201);
    h
}

fn ask(h: &Harness, spec: Value) -> Answer {
    h.client.post(&format!("{ACCOUNTS}/robot/token"), &json!({"spec": spec}))
}

fn token(h: &Harness, spec: Value) -> String {
    ask(h, spec).expect(201)["status"]["token"].as_str().unwrap().to_owned()
}

fn who(h: &Harness, token: &str) -> Answer {
    let headers = [("Authorization", &*format!("Bearer {token}")), ("Content-Type", "application/json")];
    h.client.anonymous().call("POST", WHO, &headers, b"{}")
}

#[track_caller]
fn is_nobody(h: &Harness, token: &str) {
    who(h, token).expect_refusal(401, "Unauthorized", "Unauthorized");
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// A pod of the account, which runs.
fn run_pod(h: &Harness) -> watchbell_api::Uid {
    h.client
        .post(
            PODS,
            &json!({"metadata": {"name": "p"}, "spec": {
                "serviceAccountName": "robot", "containers": [{"name": "a", "image": "x"}],
            }}),
        )
        .expect(201);
    let (uid, _) = h.started();
    h.report(uid, Phase::Running, ContainerState::Running { started_at: 1 });
    h.client.wait_for(&format!("{PODS}/p"), "running", |answer| answer.body["status"]["phase"] == "Running");
    uid
}

fn to_pod() -> Value {
    json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}})
}

/// The keys of the server, as one has them who stole its directory.
fn stolen(h: &Harness) -> Identity {
    Identity::open(h.dir.path(), h.address(), "testhost").unwrap()
}

#[test]
fn a_token_is_its_account_until_that_is_deleted() {
    let h = start();
    let answer = ask(&h, json!({"expirationSeconds": 600})).expect(201);
    assert_eq!(
        (&answer["kind"], &answer["apiVersion"]),
        (&json!("TokenRequest"), &json!("authentication.k8s.io/v1"))
    );
    assert_eq!(answer["spec"]["audiences"], json!(["https://kubernetes.default.svc.cluster.local"]));
    let text = answer["status"]["token"].as_str().unwrap();
    let claims = claims(text);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
    let info = who(&h, text).expect(201)["status"]["userInfo"].clone();
    assert_eq!(info["username"], NAME);
    assert_eq!(
        info["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    );
    let id = format!("JTI={}", claims["jti"].as_str().unwrap());
    assert_eq!(info["extra"]["authentication.kubernetes.io/credential-id"], json!([id]));
    // What he may is another question.
    let headers = [("Authorization", &*format!("Bearer {text}"))];
    h.client.anonymous().call("GET", "/metrics", &headers, b"").expect_refusal(403, "Forbidden", NAME);
    h.client.delete(&format!("{ACCOUNTS}/robot")).expect(200);
    is_nobody(&h, text);
    h.client.post(ACCOUNTS, &json!({"metadata": {"name": "robot"}})).expect(201);
    is_nobody(&h, text);
}

#[test]
fn a_pods_token_ends_with_the_pod() {
    let h = start();
    let uid = run_pod(&h);
    let text = token(&h, to_pod());
    let extra = who(&h, &text).expect(201)["status"]["userInfo"]["extra"].clone();
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], json!(["p"]));
    assert_eq!(extra["authentication.kubernetes.io/pod-uid"], json!([uid.to_string()]));
    assert_eq!(extra["authentication.kubernetes.io/node-name"], json!(["watchbell"]));
    h.report(uid, Phase::Succeeded, ContainerState::Running { started_at: 1 });
    h.client.wait_for(&format!("{PODS}/p"), "over", |answer| answer.body["status"]["phase"] == "Succeeded");
    is_nobody(&h, &text);
    h.client.delete(&format!("{PODS}/p")).expect(200);
    is_nobody(&h, &text);
}

#[test]
fn tokens_that_prove_nothing_are_nobody() {
    let h = start();
    let good = token(&h, json!({}));
    let (ours, theirs) =
        (stolen(&h), Identity::open(tempfile::tempdir().unwrap().path(), h.address(), "x").unwrap());
    let now = Timestamp::now().as_second();
    let signed = |identity: &Identity, change: Value| {
        let mut claims = claims(&good);
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        identity.tokens().sign(&claims).unwrap()
    };
    who(&h, &signed(&ours, json!({}))).expect(201);
    for (what, token) in [
        ("of another's key", signed(&theirs, json!({}))),
        ("for another audience", signed(&ours, json!({"aud": ["vault"]}))),
        ("for nobody", signed(&ours, json!({"aud": []}))),
        ("of another issuer", signed(&ours, json!({"iss": "https://issuer"}))),
        ("ended", signed(&ours, json!({"exp": now - 60}))),
        ("not begun", signed(&ours, json!({"nbf": now + 60}))),
        ("without an end", signed(&ours, json!({"exp": null}))),
        (
            "of another account by its name",
            signed(&ours, json!({"sub": "system:serviceaccount:kube-system:default"})),
        ),
        ("not of an account", signed(&ours, json!({"kubernetes.io": null}))),
        ("a name of the system", signed(&ours, json!({"sub": "system:admin"}))),
    ] {
        let answer = who(&h, &token);
        assert_eq!(answer.code, 401, "{what}: {}", answer.text);
    }
}

#[test]
fn what_was_not_signed_is_not_taken() {
    let h = start();
    let good = token(&h, json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let (payload, signature) = (parts[1], parts[2]);
    let jwks = h.client.get("/openid/v1/jwks").expect(200);
    let encode = |text: String| BASE64_URL_SAFE_NO_PAD.encode(text);
    let kid = jwks["keys"][0]["kid"].as_str().unwrap();
    let mut tokens = Vec::new();
    for algorithm in ["none", "None", "NONE", "nOnE", "HS256", "HS512", "RS256"] {
        let header = encode(json!({"alg": algorithm, "kid": kid}).to_string());
        tokens.extend([format!("{header}.{payload}."), format!("{header}.{payload}.{signature}")]);
        // The public key as the key of a MAC (CVE-2016-10555).
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, jwks["keys"][0].to_string().as_bytes());
        let mac = ring::hmac::sign(&key, format!("{header}.{payload}").as_bytes());
        tokens.push(format!("{header}.{payload}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac)));
    }
    let other = encode(claims(&good).to_string().replace("robot", "admin"));
    tokens.push(format!("{}.{other}.{signature}", parts[0]));
    tokens.push(format!("{}.{payload}.", parts[0]));
    tokens.push(format!("{}.{payload}.{}", parts[0], BASE64_URL_SAFE_NO_PAD.encode([0; 64])));
    tokens.push(format!("{}.{payload}", parts[0]));
    // Fewer than the burst after which an address has to wait.
    for token in tokens {
        let answer = who(&h, &token);
        assert!([401, 429].contains(&answer.code), "{token}: {}", answer.text);
    }
    who(&h, &good).expect(201);
}

#[test]
fn requests_for_tokens_are_refused_in_the_words_of_kubernetes() {
    let h = start();
    let check =
        |spec: Value, code: u16, reason: &str, words: &str| ask(&h, spec).expect_refusal(code, reason, words);
    check(
        json!({"expirationSeconds": 60}),
        422,
        "Invalid",
        "may not specify a duration less than 10 minutes",
    );
    check(to_pod(), 404, "NotFound", "pods \"p\" not found");
    let other =
        json!({"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "kube-root-ca.crt"}});
    check(other, 400, "BadRequest", "cannot bind token to object of type");
    let nobody = format!("{ACCOUNTS}/nobody/token");
    h.client.post(&nobody, &json!({"spec": {}})).expect_refusal(
        404,
        "NotFound",
        "serviceaccounts \"nobody\" not found",
    );
    h.client.get(&format!("{ACCOUNTS}/robot/token")).expect_refusal(405, "MethodNotAllowed", "");
    let long = ask(&h, json!({"expirationSeconds": 1_000_000}));
    assert!(
        long.header("warning").contains("requested expiration of 1000000 seconds shortened to 86400 seconds")
    );
    assert_eq!(long.expect(201)["spec"]["expirationSeconds"], 86_400);
    let dry = h.client.post(&format!("{ACCOUNTS}/robot/token?dryRun=All"), &json!({"spec": {}})).expect(201);
    assert_eq!(dry["status"]["token"], Value::Null);
    // Who may not, may not.
    let text = token(&h, json!({}));
    let headers = [("Authorization", &*format!("Bearer {text}")), ("Content-Type", "application/json")];
    let path = format!("{ACCOUNTS}/robot/token");
    h.client.anonymous().call("POST", &path, &headers, br#"{"spec":{}}"#).expect_refusal(
        403,
        "Forbidden",
        "cannot create resource \"serviceaccounts/token\"",
    );
}

#[test]
fn tokens_are_reviewed() {
    let h = start();
    let review = |token: &str, audiences: Value| {
        h.client.post(REVIEWS, &json!({"spec": {"token": token, "audiences": audiences}})).expect(201)["status"].clone()
    };
    let vault = token(&h, json!({"audiences": ["vault", "store"]}));
    is_nobody(&h, &vault);
    assert_eq!(review(&vault, json!([]))["error"], "the token is for another audience");
    let known = review(&vault, json!(["store", "x"]));
    assert_eq!((&known["authenticated"], &known["audiences"]), (&json!(true), &json!(["store"])));
    assert_eq!(known["user"]["username"], NAME);
    let own = token(&h, json!({}));
    assert_eq!(review(&own, json!([]))["authenticated"], true);
    let refused = review("a.b.c", json!([]));
    assert!(refused["authenticated"].is_null() && refused["error"].is_string(), "{refused}");
    h.client.post(REVIEWS, &json!({"spec": {}})).expect_refusal(
        422,
        "Invalid",
        "token is required for TokenReview",
    );
    h.client.delete(&format!("{ACCOUNTS}/robot")).expect(200);
    assert_eq!(review(&own, json!([]))["authenticated"], Value::Null);
}

#[test]
fn keys_are_published_and_outlive_the_server() {
    let h = start();
    let text = token(&h, json!({}));
    let document = h.client.get("/.well-known/openid-configuration").expect(200);
    assert_eq!(document["issuer"], claims(&text)["iss"]);
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["ES256"]));
    let jwks = h.client.get("/openid/v1/jwks");
    assert_eq!(jwks.header("content-type"), "application/jwk-set+json");
    let jwks = jwks.expect(200);
    assert!(jwks["keys"][0]["d"].is_null(), "the private key stays at home");
    let keys = watchbell_identity::jwt::KeySet::from_jwks(jwks.to_string().as_bytes()).unwrap();
    let parsed = watchbell_identity::jwt::Unverified::parse(&text).unwrap();
    parsed.verified_payload(&keys).unwrap();
    h.client.anonymous().get("/openid/v1/jwks").expect(401);
    // Every service account may look at them.
    let headers = [("Authorization", &*format!("Bearer {text}"))];
    for path in ["/openid/v1/jwks", "/.well-known/openid-configuration"] {
        h.client.anonymous().call("GET", path, &headers, b"").expect(200);
    }
    let h = Harness::start_in(h.stop());
    who(&h, &text).expect(201);
    // A key that others have is taken out of use; its tokens end.
    let dir = h.stop();
    let identity = Identity::open(dir.path(), "127.0.0.1:1".parse().unwrap(), "testhost").unwrap();
    identity.tokens().rotate(Rotation::Revoke, Timestamp::now()).unwrap();
    let h = Harness::start_in(dir);
    is_nobody(&h, &text);
    who(&h, &token(&h, json!({}))).expect(201);
}

#[test]
fn no_token_is_written_down() {
    let h = start();
    run_pod(&h);
    let texts = [token(&h, json!({})), token(&h, to_pod())];
    for text in &texts {
        who(&h, text).expect(201);
    }
    let dir = h.stop();
    let mut pending = vec![dir.path().to_path_buf()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for text in &texts {
            let signature = text.rsplit('.').next().unwrap().as_bytes();
            let found = bytes.windows(signature.len()).any(|window| window == signature);
            assert!(!found, "{}", path.display());
        }
    }
}

#[test]
fn kubectl_asks_for_tokens_and_comes_with_them() {
    let h = start();
    let Some(kubectl) = Kubectl::of(&h) else { return };
    run_pod(&h);
    let text = kubectl.ok(&["create", "token", "robot"], "");
    let text = text.trim();
    let authority = h.dir.path().join("pki/ca.crt");
    let server = format!("--server=https://{}", h.address());
    let authority = format!("--certificate-authority={}", authority.display());
    let token = format!("--token={text}");
    let who = kubectl.ok(&["--kubeconfig=/dev/null", &server, &authority, &token, "auth", "whoami"], "");
    assert!(who.contains(NAME) && who.contains("system:serviceaccounts:default"), "{who}");
    let bound = kubectl.ok(
        &[
            "create",
            "token",
            "robot",
            "--duration=20m",
            "--audience=vault",
            "--audience=store",
            "--bound-object-kind=Pod",
            "--bound-object-name=p",
        ],
        "",
    );
    let claims = claims(bound.trim());
    assert_eq!(claims["aud"], json!(["vault", "store"]));
    assert_eq!(claims["kubernetes.io"]["pod"]["name"], "p");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 1200);
    let wrong = [
        "create",
        "token",
        "robot",
        "--bound-object-kind=Pod",
        "--bound-object-name=p",
        "--bound-object-uid=1",
    ];
    kubectl.refused(&wrong, "", "does not match the UID in record");
    kubectl.refused(
        &["create", "token", "robot", "--duration=1m"],
        "",
        "may not specify a duration less than 10 minutes",
    );
    kubectl.refused(&["create", "token", "nobody"], "", "serviceaccounts \"nobody\" not found");
}

/// Of several issuers the first signs, and tokens of all are taken; the documents follow it.
#[test]
fn a_server_may_change_the_name_under_which_it_issues() {
    let read = |issuers: &[&str], audiences: &[&str]| {
        let owned = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        TokenIssuer::of_flags(&owned(issuers), &owned(audiences), None).unwrap()
    };
    let (old, new) = ("https://old.example", "https://new.example/x");
    let h = Harness::with_token_issuer(tempfile::tempdir().unwrap(), read(&[old], &["here"]));
    h.client.post(ACCOUNTS, &json!({"metadata": {"name": "robot"}})).expect(201);
    let of_old = token(&h, json!({}));
    assert_eq!((&claims(&of_old)["iss"], &claims(&of_old)["aud"]), (&json!(old), &json!(["here"])));
    who(&h, &of_old).expect(201);
    is_nobody(&h, &token(&h, json!({"audiences": ["vault"]})));

    let h = Harness::with_token_issuer(h.stop(), read(&[new, old], &["here", "there"]));
    let of_new = token(&h, json!({}));
    assert_eq!((&claims(&of_new)["iss"], &claims(&of_new)["aud"]), (&json!(new), &json!(["here", "there"])));
    for text in [&of_old, &of_new, &token(&h, json!({"audiences": ["there", "vault"]}))] {
        who(&h, text).expect(201);
    }
    let told = h.client.get("/.well-known/openid-configuration").expect(200);
    assert_eq!((&told["issuer"], &told["jwks_uri"]), (&json!(new), &json!(format!("{new}/openid/v1/jwks"))));
    let review =
        h.client.post(REVIEWS, &json!({"spec": {"token": of_old, "audiences": ["here"]}})).expect(201);
    assert_eq!(
        (&review["status"]["authenticated"], &review["status"]["audiences"]),
        (&json!(true), &json!(["here"]))
    );

    // What is no longer an issuer issued nothing; one that OpenID does not know is not described.
    let h = Harness::with_token_issuer(h.stop(), read(&["kubernetes/serviceaccount", new], &["here"]));
    is_nobody(&h, &of_old);
    who(&h, &of_new).expect(201);
    who(&h, &token(&h, json!({}))).expect(201);
    h.client.get("/.well-known/openid-configuration").expect_refusal(404, "NotFound", "");
    h.client.get("/openid/v1/jwks").expect(200);
}

#[test]
fn the_key_is_rotated_and_revoked_while_the_server_runs() {
    let h = start();
    let first = token(&h, json!({}));
    let before = h.client.get(KEYS).expect(200);
    assert_eq!(before["retired"], json!([]));
    let rotated = h.client.post(&format!("{KEYS}:rotate"), &json!({})).expect(200);
    assert_eq!(rotated["retired"][0]["keyID"], before["signing"]["keyID"]);
    assert_ne!(rotated["signing"]["keyID"], before["signing"]["keyID"]);
    let second = token(&h, json!({}));
    for text in [&first, &second] {
        who(&h, text).expect(201);
    }
    let revoked = h.client.post(&format!("{KEYS}:revoke"), &json!({})).expect(200);
    assert_eq!(revoked["retired"], json!([]));
    for text in [&first, &second] {
        is_nobody(&h, text);
    }
    // The node asks for the tokens of its pods anew.
    h.command(|command| matches!(command, watchbell_api::node::Command::RefreshTokens).then_some(()));
    let third = token(&h, json!({}));
    who(&h, &third).expect(201);
    // Rotating is no right to revoke, nor is administering what a namespace holds.
    h.bind("default", "admin", "ada");
    let ada = h.as_user("ada", &[]);
    for verb in ["rotate", "revoke"] {
        let words = format!("cannot {verb} resource \"tokenkeys\" in API group \"watchbell.dev\"");
        ada.post(&format!("{KEYS}:{verb}"), &json!({})).expect_refusal(403, "Forbidden", &words);
    }
    h.client.delete(&format!("{KEYS}:revoke")).expect_refusal(405, "MethodNotAllowed", "");
    who(&h, &third).expect(201);
    let dir = h.stop();
    let (mut store, _) = watchbell_store::Store::open(dir.path()).unwrap();
    let (mut verbs, mut changes) = (Vec::new(), 0);
    store
        .load_audit::<watchbell_store::Error>(0, &mut |row| {
            let entry: Value = serde_json::from_slice(&row.body).unwrap();
            changes += u32::from(entry["action"] == "keys-in-use");
            if entry["objectRef"]["resource"] == "tokenkeys" {
                verbs.push((
                    entry["verb"].as_str().unwrap().to_owned(),
                    entry["responseStatus"]["code"].clone(),
                ));
            }
            Ok(())
        })
        .unwrap();
    for wanted in [("rotate", 200), ("revoke", 200), ("rotate", 403), ("revoke", 403)] {
        assert!(verbs.contains(&(wanted.0.to_owned(), json!(wanted.1))), "{verbs:?}");
    }
    assert_eq!(changes, 3, "the keys of the start, and of each change");
    drop(store);
    let h = Harness::start_in(dir);
    is_nobody(&h, &first);
    who(&h, &third).expect(201);
}

/// What is opened with a token of the account `robot`, which may edit what is in the namespace.
pub(crate) fn token_of_an_editor(h: &Harness) -> String {
    h.client.post(ACCOUNTS, &json!({"metadata": {"name": "robot"}})).expect(201);
    h.bind("default", "edit", NAME);
    token(h, json!({}))
}

#[test]
fn what_flows_ends_with_the_key_that_is_revoked() {
    let (h, uid, pod) = Harness::with_running_pod();
    h.logs.texts.lock().unwrap().insert((uid, 0), b"line\n".to_vec());
    let robot = h.client.with_token(&token_of_an_editor(&h));
    h.client.post(MAPS, &config_map("a", "x")).expect(201);
    let mut watch = robot.watch(&format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Da"), &[]);
    assert_eq!(watch.next().unwrap()["type"], "ADDED");
    let mut log = robot.open("GET", &format!("{pod}/log?follow=true"), &[], b"").into_body().into_reader();
    let mut line = [0; 5];
    log.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"line\n");
    let change = |value: &str| {
        let change = json!({"data": {"key": value}});
        h.client.patch(&format!("{MAPS}/a"), "application/merge-patch+json", &change).expect(200);
    };
    // Another key signs, and this one still verifies.
    h.client.post(&format!("{KEYS}:rotate"), &json!({})).expect(200);
    change("seen");
    assert_eq!(watch.next().unwrap()["object"]["data"]["key"], "seen");
    h.client.post(&format!("{KEYS}:revoke"), &json!({})).expect(200);
    change("unseen");
    let last = watch.next().unwrap();
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(401)), "{last}");
    assert!(watch.next().is_none(), "nothing comes behind it");
    // Broken off, so that it cannot be taken for whole.
    assert!(log.read(&mut line).is_err());
}
