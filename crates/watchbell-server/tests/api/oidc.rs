//! Users of an OpenID Connect issuer that runs beside the server: who comes in, who does not, and what survives the issuer.

use serde_json::{Value, json};
use watchbell_identity::jwt::{Algorithm, SigningKey};
use watchbell_identity::oidc::{ALGORITHMS, ClaimMapping, IssuerConfig, Mapping, read_file};

use crate::client::Answer;
use crate::harness::Harness;
use crate::issuer::{Mood, TestIssuer, key};
use crate::kubectl::Kubectl;

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn who(h: &Harness, token: &str) -> Answer {
    let headers = [("Authorization", &*format!("Bearer {token}")), ("Content-Type", "application/json")];
    h.client.anonymous().call("POST", WHO, &headers, b"{}")
}

fn sign(key: &SigningKey, claims: &Value) -> String {
    key.sign(claims).unwrap()
}

/// With groups, and every algorithm.
fn config(issuer: &TestIssuer) -> IssuerConfig {
    IssuerConfig {
        groups: Some(ClaimMapping { claim: "groups".into(), prefix: "oidc:".into() }.into()),
        algorithms: ALGORITHMS.to_vec(),
        ..issuer.config()
    }
}

#[test]
fn a_token_says_who_somebody_is() {
    for algorithm in ALGORITHMS {
        let key = key(algorithm);
        let issuer = TestIssuer::start(vec![key.clone()]);
        let h = Harness::with_issuers(vec![config(&issuer)]);
        let review = who(&h, &sign(&key, &issuer.claims(json!({})))).expect(201);
        let info = &review["status"]["userInfo"];
        assert_eq!(info["username"], format!("{}#ada", issuer.url), "{algorithm:?}");
        assert_eq!(info["groups"], json!(["oidc:ml", "system:authenticated"]));
    }
}

#[test]
fn what_does_not_hold_is_nobody() {
    let (own, foreign) = (key(Algorithm::Es256), key(Algorithm::Es256));
    let issuer = TestIssuer::start(vec![own.clone()]);
    let bare = |claim: &str| Mapping::from(ClaimMapping { claim: claim.into(), prefix: String::new() });
    let h = Harness::with_issuers(vec![IssuerConfig {
        username: bare("sub"),
        groups: Some(bare("groups")),
        ..config(&issuer)
    }]);
    let now = jiff::Timestamp::now().as_second();
    who(&h, &sign(&own, &issuer.claims(json!({})))).expect(201);
    let check = |token: String, reason: &str| {
        let metrics = || h.client.get("/metrics").text;
        let line = format!("watchbell_authentication_failures_total{{reason=\"{reason}\",code=\"401\"}} ");
        let count = |text: String| -> u64 {
            text.lines().find_map(|l| l.strip_prefix(&line)?.parse().ok()).unwrap_or_default()
        };
        let before = count(metrics());
        who(&h, &token).expect_refusal(401, "Unauthorized", "Unauthorized");
        assert_eq!(count(metrics()), before + 1, "{reason}");
    };
    let with = |others: Value| sign(&own, &issuer.claims(others));
    check(with(json!({"exp": now - 60})), "expired-token");
    check(with(json!({"nbf": now + 600})), "early-token");
    check(with(json!({"aud": "another"})), "wrong-audience");
    check(with(json!({"iss": "https://other.example"})), "wrong-issuer");
    check(with(json!({"iss": format!("{}/", issuer.url)})), "wrong-issuer");
    check(with(json!({"sub": "system:admin"})), "reserved-name");
    check(with(json!({"groups": ["system:masters"]})), "reserved-name");
    check(with(json!({"sub": null})), "wrong-claims");
    check(sign(&foreign, &issuer.claims(json!({}))), "wrong-signature");
    let good = with(json!({}));
    let unsigned = {
        use base64::Engine as _;
        let part = |text: &str| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.", part("{\"alg\":\"none\"}"), good.split('.').nth(1).unwrap())
    };
    check(unsigned, "wrong-signature");
    check(good.replacen('.', "..", 1), "malformed-token");
}

#[test]
fn keys_change_without_a_restart_and_the_issuer_is_not_asked_for_ever() {
    let (first, second, foreign) = (key(Algorithm::Es256), key(Algorithm::Es256), key(Algorithm::Es256));
    let issuer = TestIssuer::start(vec![first.clone()]);
    let h = Harness::with_issuers(vec![config(&issuer)]);
    let with = |key: &SigningKey| sign(key, &issuer.claims(json!({})));
    who(&h, &with(&first)).expect(201);
    issuer.set_keys(vec![first.clone(), second.clone()]);
    who(&h, &with(&second)).expect(201);
    who(&h, &with(&first)).expect(201);
    issuer.set_keys(vec![second.clone()]);
    // It is forgotten when the issuer is next asked; who makes keys up has it asked, but not for ever.
    let before = issuer.asked();
    for _ in 0..20 {
        who(&h, &with(&foreign)).expect(401);
    }
    assert!((1..=2 * 4).contains(&(issuer.asked() - before)), "{} documents", issuer.asked() - before);
    who(&h, &with(&first)).expect(401);
    who(&h, &with(&second)).expect(201);
}

/// A name is asked for where there are several keys alone (OpenID Connect Core, section 10.1).
#[test]
fn a_key_without_a_name_of_its_own_changes_too() {
    use base64::Engine as _;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    let random = ring::rand::SystemRandom::new();
    let part = |bytes: &[u8]| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes);
    for name in [None, Some("the-key")] {
        let [(first, first_pair), (second, second_pair)] = [(); 2].map(|()| {
            let der = rcgen::KeyPair::generate().unwrap().serialize_der();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random).unwrap();
            (std::sync::Arc::new(SigningKey::from_pkcs8(Algorithm::Es256, &der).unwrap()), pair)
        });
        let issuer = TestIssuer::start(vec![first]);
        issuer.name_keys(name);
        let h = Harness::with_issuers(vec![config(&issuer)]);
        let with = |pair: &EcdsaKeyPair| {
            let mut header = json!({"alg": "ES256"});
            if let Some(name) = name {
                header["kid"] = name.into();
            }
            let claims = issuer.claims(json!({}));
            let signed =
                format!("{}.{}", part(header.to_string().as_bytes()), part(claims.to_string().as_bytes()));
            let signature = pair.sign(&random, signed.as_bytes()).unwrap();
            format!("{signed}.{}", part(signature.as_ref()))
        };
        who(&h, &with(&first_pair)).expect(201);
        issuer.set_keys(vec![second]);
        // On a machine that stands still for a while the first answer may come before the issuer's.
        assert!((0..4).any(|_| who(&h, &with(&second_pair)).code == 201), "{name:?}");
        who(&h, &with(&first_pair)).expect(401);
    }
}

#[test]
fn a_file_s_expressions_say_who_somebody_is() {
    let own = key(Algorithm::Es256);
    let issuer = TestIssuer::start(vec![own.clone()]);
    let authority = issuer.config().authority.map(|pem| String::from_utf8(pem).unwrap());
    let file = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "jwt": [{
            "issuer": {"url": issuer.url, "audiences": ["watchbell"], "certificateAuthority": authority},
            "claimMappings": {
                "username": {"expression": "claims.email_verified ? claims.email : ''"},
                "groups": {"expression": "claims.groups.map(g, 'lab:' + g)"},
                "extra": [{"key": "lab.example/project", "valueExpression": "claims.project"}],
            },
            "claimValidationRules": [{"expression": "claims.exp - claims.iat <= 86400", "message": "a day at most"}],
            "userValidationRules": [{"expression": "!user.groups.exists(g, g == 'lab:guest')"}],
        }],
    });
    let h = Harness::with_issuers(read_file(&file).unwrap());
    let of = |others: Value| {
        let mut claims =
            issuer.claims(json!({"email": "ada@lab.example", "email_verified": true, "project": "maps"}));
        claims.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
        who(&h, &sign(&own, &claims))
    };
    let review = of(json!({})).expect(201);
    let info = &review["status"]["userInfo"];
    assert_eq!(info["username"], "ada@lab.example");
    assert_eq!(info["groups"], json!(["lab:ml", "system:authenticated"]));
    assert_eq!(info["extra"], json!({"lab.example/project": ["maps"]}));
    for refused in [
        json!({"email_verified": false}),
        json!({"email_verified": "yes"}),
        json!({"groups": ["guest"]}),
        json!({"iat": 0}),
        json!({"project": 7}),
    ] {
        of(refused).expect_refusal(401, "Unauthorized", "Unauthorized");
    }
}

#[test]
fn an_issuer_that_is_down_is_believed_by_its_last_keys() {
    let own = key(Algorithm::Es256);
    let issuer = TestIssuer::start(vec![own.clone()]);
    let h = Harness::with_issuers(vec![config(&issuer)]);
    let token = sign(&own, &issuer.claims(json!({})));
    who(&h, &token).expect(201);
    issuer.set_mood(Mood::Broken);
    who(&h, &sign(&key(Algorithm::Es256), &issuer.claims(json!({})))).expect(401);
    who(&h, &token).expect(201);
    drop(issuer);
    who(&h, &token).expect(201);
}

#[test]
fn an_issuer_that_says_what_it_may_not_is_not_believed() {
    for mood in [Mood::OtherIssuer, Mood::PlainKeys, Mood::Redirects, Mood::Endless, Mood::Broken] {
        let own = key(Algorithm::Es256);
        let issuer = TestIssuer::start(vec![own.clone()]);
        issuer.set_mood(mood);
        let h = Harness::with_issuers(vec![config(&issuer)]);
        let token = sign(&own, &issuer.claims(json!({})));
        who(&h, &token).expect_refusal(401, "Unauthorized", "");
        assert!(h.client.get("/metrics").text.contains("reason=\"issuer-unreachable\""), "{mood:?}");
        if mood == Mood::Redirects {
            assert!(issuer.asked() <= 3 * 4, "{} requests", issuer.asked());
        }
        // It thinks better of it, and is asked again by who comes next.
        issuer.set_mood(Mood::Well);
        who(&h, &token).expect(201);
    }
}

#[test]
fn an_issuer_with_another_certificate_is_not_believed() {
    let own = key(Algorithm::Es256);
    let (issuer, other) = (TestIssuer::start(vec![own.clone()]), TestIssuer::start(Vec::new()));
    let h =
        Harness::with_issuers(vec![IssuerConfig { authority: other.config().authority, ..config(&issuer) }]);
    who(&h, &sign(&own, &issuer.claims(json!({})))).expect(401);
    assert_eq!(issuer.asked(), 0);
}

#[test]
fn a_token_ends_by_itself() {
    let own = key(Algorithm::Es256);
    let issuer = TestIssuer::start(vec![own.clone()]);
    let h = Harness::with_issuers(vec![config(&issuer)]);
    // It is taken for as long as the clocks may differ (10 s), which is nearly over; or over, where the machine is busy.
    let ends = jiff::Timestamp::now().as_second() - 8;
    let token = sign(&own, &issuer.claims(json!({"exp": ends})));
    while who(&h, &token).code == 201 {
        assert!(jiff::Timestamp::now().as_second() <= ends + 11, "it outlives itself");
        std::thread::yield_now();
    }
    who(&h, &token).expect(401);
}

#[test]
fn kubectl_comes_with_an_id_token() {
    let own = key(Algorithm::Rs256);
    let issuer = TestIssuer::start(vec![own.clone()]);
    let h = Harness::with_issuers(vec![config(&issuer)]);
    let Some(kubectl) = Kubectl::of(&h) else { return };
    let ca = h.dir.path().join("pki/ca.crt");
    let seen = kubectl.ok(
        &[
            "--kubeconfig=/dev/null",
            &format!("--server={}", h.client.server),
            &format!("--certificate-authority={}", ca.display()),
            &format!("--token={}", sign(&own, &issuer.claims(json!({})))),
            "auth",
            "whoami",
        ],
        "",
    );
    assert!(seen.contains(&format!("{}#ada", issuer.url)) && seen.contains("oidc:ml"), "{seen}");
}

/// A review says of a token what the server itself would.
#[test]
fn tokens_of_issuers_are_reviewed() {
    let key = key(Algorithm::Es256);
    let issuer = TestIssuer::start(vec![key.clone()]);
    let h = Harness::with_issuers(vec![config(&issuer)]);
    let review = |token: &str, audiences: Value| {
        let spec = json!({"spec": {"token": token, "audiences": audiences}});
        h.client.post("/apis/authentication.k8s.io/v1/tokenreviews", &spec).expect(201)["status"].clone()
    };
    let good = sign(&key, &issuer.claims(json!({})));
    let own = "https://kubernetes.default.svc.cluster.local";
    for audiences in [json!([]), json!([own, "vault"])] {
        let status = review(&good, audiences);
        assert_eq!(
            (&status["authenticated"], &status["audiences"]),
            (&json!(true), &json!([own])),
            "{status}"
        );
        assert_eq!(status["user"], who(&h, &good).expect(201)["status"]["userInfo"]);
    }
    for (token, audiences) in [
        (good.clone(), json!(["vault"])),
        (sign(&key, &issuer.claims(json!({"aud": "another"}))), json!([])),
        (sign(&key, &issuer.claims(json!({"iss": "https://other.example"}))), json!([])),
        (sign(&key, &issuer.claims(json!({"sub": null}))), json!([])),
    ] {
        let status = review(&token, audiences);
        assert!(status["authenticated"].is_null() && status["error"].is_string(), "{status}");
    }
    // Keys that are new are asked for, as for a request.
    let next = crate::issuer::key(Algorithm::Rs256);
    issuer.set_keys(vec![next.clone()]);
    assert_eq!(review(&sign(&next, &issuer.claims(json!({}))), json!([]))["authenticated"], true);
}
