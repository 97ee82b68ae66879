//! Known answers of the RFCs, tokens that must be refused, and laws.

use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};

use serde_json::json;

use super::*;

/// RFC 7515 appendix A.2 and A.3: one payload, which ended in 2011.
const PAYLOAD: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const RS256_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5\
    jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN\
    9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVm\
    tVrBp0igcN_IoypGlUPQGe77Rw";
const RSA_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR\
    T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTB\
    EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcD\
    TW9gb54h4FRWyuXpoQ";
const ES256_SIGNATURE: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

fn ec_jwk() -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

fn rsa_jwk() -> Value {
    json!({"kty": "RSA", "n": RSA_N, "e": "AQAB"})
}

fn ed_jwk() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

fn set(jwks: &[Value]) -> KeySet {
    KeySet { keys: jwks.iter().map(|jwk| VerifyingKey::from_jwk(jwk).unwrap()).collect() }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn the_examples_of_the_rfcs_verify() {
    let all = set(&[rsa_jwk(), ec_jwk(), ed_jwk()]);
    let check = |token: &str, expect: &[u8]| {
        let parsed = Unverified::parse(token).unwrap();
        assert_eq!(parsed.verified_payload(&all), Ok(expect), "{token}");
        let others = set(&[json!({
            "kty": "EC", "crv": "P-384",
            "x": encode([1; 48]), "y": encode([2; 48]),
        })]);
        assert_eq!(parsed.verified_payload(&others), Err(JwtError::OtherAlgorithm));
        assert_eq!(parsed.verified_payload(&KeySet::default()), Err(JwtError::UnknownKey));
    };
    let payload = BASE64_URL_SAFE_NO_PAD.decode(PAYLOAD).unwrap();
    check(&format!("eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}.{RS256_SIGNATURE}"), &payload);
    check(&format!("eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}.{ES256_SIGNATURE}"), &payload);
    // RFC 8037 appendix A.4.
    check(
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylG\
         jg5BhVsPt9g7sVvpAr_MuM0KAg",
        b"Example of Ed25519 signing",
    );
}

#[test]
fn thumbprints_are_those_of_the_rfcs() {
    let check = |jwk: Value, expect: &str| {
        assert_eq!(VerifyingKey::from_jwk(&jwk).unwrap().thumbprint(), expect);
    };
    // RFC 8037 appendix A.3.
    check(ed_jwk(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    // RFC 7638 section 3.1.
    check(
        json!({
            "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMst\
                  n64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5\
                  hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDK\
                  gw",
        }),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
    );
}

/// A key of each algorithm.
fn signers() -> Vec<SigningKey> {
    let random = ring::rand::SystemRandom::new();
    let make = |algorithm, der: &[u8]| SigningKey::from_pkcs8(algorithm, der).unwrap();
    let ecdsa = |kind| EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
    let rsa = include_str!("rsa_test_key.b64").replace('\n', "");
    let rsa = BASE64_STANDARD.decode(rsa).unwrap();
    vec![
        make(Algorithm::Es256, ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING).as_ref()),
        make(Algorithm::Es384, ecdsa(&ring::signature::ECDSA_P384_SHA384_FIXED_SIGNING).as_ref()),
        make(Algorithm::EdDsa, Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()),
        make(Algorithm::Rs256, &rsa),
        make(Algorithm::Ps256, &rsa),
    ]
}

const NOW: i64 = 1_800_000_000;

fn expect(audiences: &[String]) -> Expect<'_> {
    Expect { issuer: "https://issuer", audiences, now: NOW, leeway_seconds: 30 }
}

fn claims() -> Value {
    json!({"iss": "https://issuer", "sub": "ada", "aud": "api", "exp": NOW + 600, "iat": NOW, "nbf": NOW, "jti": "1"})
}

fn audiences() -> Vec<String> {
    vec!["other".into(), "api".into()]
}

#[test]
fn what_is_signed_verifies_with_its_own_key_and_no_other() {
    let signers = signers();
    for (n, signer) in signers.iter().enumerate() {
        let token = signer.sign(&claims()).unwrap();
        let published = KeySet { keys: vec![signer.public().clone()] }.to_jwks().to_string();
        let keys = KeySet::from_jwks(published.as_bytes()).unwrap();
        assert_eq!(keys.keys, [signer.public().clone()]);
        let read = verify(&token, &keys, &expect(&audiences())).unwrap();
        assert_eq!((read.subject.as_deref(), read.id.as_deref()), (Some("ada"), Some("1")));
        assert_eq!((read.expires_at, read.audiences), (NOW + 600, vec!["api".to_owned()]));
        for (m, other) in signers.iter().enumerate().filter(|(m, _)| *m != n) {
            // The other key under this one's name.
            let keys =
                KeySet { keys: vec![other.public().clone().named(signer.public().id().unwrap().into())] };
            let refused = verify(&token, &keys, &expect(&audiences())).unwrap_err();
            assert_eq!(refused, JwtError::OtherAlgorithm, "{n} {m}");
        }
    }
}

/// Signs whatever header and payload with the ES256 key, and looks how it is refused.
fn check(header: &str, payload: &str, expect_error: JwtError) {
    let signer = signers().remove(0);
    let token = signer.sign_parts(header.as_bytes(), payload.as_bytes()).unwrap();
    let keys = KeySet { keys: vec![signer.public().clone()] };
    assert_eq!(verify(&token, &keys, &expect(&audiences())), Err(expect_error), "{header} {payload}");
}

#[test]
fn headers_that_leave_a_choice_are_refused() {
    let check = |header: &str, expect| check(header, &claims().to_string(), expect);
    let twice = JwtError::Header("is no JSON object with each member once");
    check(r#"{"alg":"none"}"#, JwtError::OtherAlgorithm);
    check(r#"{"alg":"None"}"#, JwtError::OtherAlgorithm);
    check(r#"{"alg":"HS256"}"#, JwtError::OtherAlgorithm);
    check(r#"{"alg":"es256"}"#, JwtError::OtherAlgorithm);
    check(r#"{"alg":"RS256"}"#, JwtError::OtherAlgorithm);
    check(r#"{"alg":"ES384"}"#, JwtError::OtherAlgorithm);
    check(r#"{"alg":""}"#, JwtError::OtherAlgorithm);
    check(r#"{"alg":null}"#, JwtError::Header("names no algorithm"));
    check(r#"{"alg":["ES256"]}"#, JwtError::Header("names no algorithm"));
    check(r#"{"typ":"JWT"}"#, JwtError::Header("names no algorithm"));
    check(r#"{"alg":"none","alg":"ES256"}"#, twice.clone());
    check(r#"{"alg":"ES256","kid":"a","kid":"b"}"#, twice.clone());
    check(r#"{"alg":"ES256","x":{"y":1,"y":2}}"#, twice.clone());
    check(r#"{"alg":"ES256"}{}"#, twice.clone());
    check(r#"["ES256"]"#, twice.clone());
    check("", twice);
    check(r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, JwtError::Header("has critical members"));
    check(r#"{"alg":"ES256","crit":[]}"#, JwtError::Header("has critical members"));
    check(r#"{"alg":"ES256","kid":1}"#, JwtError::Header("has a kid that is no text"));
    check(r#"{"alg":"ES256","typ":1}"#, JwtError::Header("has a typ that is no text"));
    check(r#"{"alg":"ES256","kid":"../../etc/passwd"}"#, JwtError::UnknownKey);
    let long = format!(r#"{{"alg":"ES256","x":"{}"}}"#, "x".repeat(3000));
    check(&long, JwtError::Header("is too long"));
}

#[test]
fn a_key_in_the_token_is_not_taken() {
    let (ours, theirs) = (signers().remove(0), signers().remove(0));
    let header =
        json!({"alg": "ES256", "jwk": theirs.public().to_jwk(), "jku": "https://evil/keys"}).to_string();
    let token = theirs.sign_parts(header.as_bytes(), claims().to_string().as_bytes()).unwrap();
    let keys = KeySet { keys: vec![ours.public().clone()] };
    assert_eq!(verify(&token, &keys, &expect(&audiences())), Err(JwtError::Signature));
}

#[test]
fn payloads_that_leave_a_choice_are_refused() {
    let check_payload = |payload: &str, wrong| check(r#"{"alg":"ES256"}"#, payload, JwtError::Payload(wrong));
    let twice = "is no JSON object with each claim once";
    check_payload(r#"{"iss":"https://issuer","aud":"other","aud":"api","exp":1900000000}"#, twice);
    check_payload(r#"{"iss":"https://issuer","aud":"api","exp":1900000000,"k":{"a":1,"a":2}}"#, twice);
    check_payload("null", twice);
    let check = |claim: &str, value: Value, wrong| {
        let mut claims = claims();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(claim);
        } else {
            claims[claim] = value;
        }
        check_payload(&claims.to_string(), wrong);
    };
    check("iss", Value::Null, "names no issuer");
    check("iss", json!(["https://issuer"]), "has an iss that is no text");
    check("sub", json!(7), "has a sub that is no text");
    check("jti", json!({}), "has a jti that is no text");
    let audience = "has an aud that is neither a text nor a short list of them";
    check("aud", json!({"api": true}), audience);
    check("aud", json!(["api", 1]), audience);
    check("aud", json!(vec!["api"; 65]), audience);
    check("exp", Value::Null, "has no end");
    for date in
        [json!("1900000000"), json!(true), json!(-1), json!(253_402_300_800_i64), json!(1e18), json!(-0.5)]
    {
        for claim in ["exp", "nbf", "iat"] {
            check(claim, date.clone(), "has a date that is none");
        }
    }
}

#[test]
fn tokens_are_for_their_time_and_their_audience() {
    let signer = signers().remove(0);
    let keys = KeySet { keys: vec![signer.public().clone()] };
    let check = |changes: Value, outcome: Result<(), JwtError>| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let token = signer.sign(&claims).unwrap();
        let got = verify(&token, &keys, &expect(&audiences()));
        assert_eq!(got.map(drop), outcome, "{changes}");
    };
    check(json!({"exp": NOW - 29}), Ok(()));
    check(json!({"exp": NOW - 30}), Err(JwtError::Expired(NOW - 30)));
    check(json!({"exp": NOW as f64 + 0.5}), Ok(()));
    check(json!({"nbf": NOW + 30}), Ok(()));
    check(json!({"nbf": NOW + 31}), Err(JwtError::NotYet(NOW + 31)));
    check(json!({"iat": NOW + 31}), Err(JwtError::NotYet(NOW + 31)));
    check(json!({"aud": ["x", "api"]}), Ok(()));
    check(json!({"aud": ["x", "API", "api "]}), Err(JwtError::OtherAudience));
    check(json!({"aud": []}), Err(JwtError::OtherAudience));
    check(json!({"iss": "https://issuer/"}), Err(JwtError::OtherIssuer));
}

#[test]
fn other_forms_of_a_token_are_refused() {
    let signer = signers().remove(0);
    let keys = KeySet { keys: vec![signer.public().clone()] };
    let token = signer.sign(&claims()).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let check = |token: String, error: JwtError| {
        assert_eq!(verify(&token, &keys, &expect(&audiences())), Err(error), "{token}");
    };
    for token in [
        String::new(),
        "..".into(),
        format!("{header}.{payload}"),
        format!("{token}."),
        format!("{token}.{signature}"),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}=="),
        format!("{header}.{payload}+.{signature}"),
        json!({"payload": payload, "signatures": []}).to_string(),
    ] {
        let error = match token.as_str() {
            ".." => JwtError::Header("is no JSON object with each member once"),
            _ => JwtError::NotCompact,
        };
        check(token, error);
    }
    check(format!("{header}.{payload}."), JwtError::Signature);
    // CVE-2022-21449: a signature of zeros.
    check(format!("{header}.{payload}.{}", encode([0; 64])), JwtError::Signature);
    // The DER form of a signature, and one that is too long.
    check(format!("{header}.{payload}.{}", encode([0x30; 70])), JwtError::Signature);
    check("x".repeat(TOKEN_BYTES_MAX + 1), JwtError::TooLong);
}

#[test]
fn keys_that_cannot_sign_are_not_taken() {
    let check = |mut jwk: Value, changes: Value, expect: Result<(), KeyError>| {
        jwk.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        assert_eq!(VerifyingKey::from_jwk(&jwk).map(drop), expect, "{jwk}");
    };
    check(ec_jwk(), json!({"use": "sig", "alg": "ES256", "key_ops": ["verify"]}), Ok(()));
    check(ec_jwk(), json!({"use": "enc"}), Err(KeyError::Unusable));
    check(ec_jwk(), json!({"key_ops": ["deriveKey"]}), Err(KeyError::Unusable));
    check(ec_jwk(), json!({"alg": "HS256"}), Err(KeyError::Unusable));
    check(ec_jwk(), json!({"crv": "secp256k1"}), Err(KeyError::Unusable));
    check(ec_jwk(), json!({"x": encode([1; 31])}), Err(KeyError::Member("x or y")));
    check(ec_jwk(), json!({"kid": 7}), Err(KeyError::Member("kid")));
    check(ed_jwk(), json!({"crv": "X25519"}), Err(KeyError::Unusable));
    check(rsa_jwk(), json!({"alg": "RS512"}), Err(KeyError::Unusable));
    check(rsa_jwk(), json!({"n": encode([0xff; 128])}), Err(KeyError::Member("n or e")));
    check(rsa_jwk(), json!({"n": encode([0; 256])}), Err(KeyError::Member("n or e")));
    check(json!({"kty": "oct", "k": "c2VjcmV0"}), json!({}), Err(KeyError::Unusable));
    check(json!({}), json!({}), Err(KeyError::Unusable));
    // Among others they do no harm.
    let document = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}, ec_jwk(), {"kty": "EC"}, 7]}).to_string();
    assert_eq!(KeySet::from_jwks(document.as_bytes()).unwrap(), set(&[ec_jwk()]));
    for document in ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
        assert_eq!(KeySet::from_jwks(document.as_bytes()), Err(KeyError::NotASet), "{document}");
    }
    let many = json!({"keys": vec![ec_jwk(); 65]}).to_string();
    assert_eq!(KeySet::from_jwks(many.as_bytes()), Err(KeyError::NotASet));
    // A point that is not on the curve verifies nothing.
    let token = format!("eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}.{ES256_SIGNATURE}");
    let off = set(&[json!({"kty": "EC", "crv": "P-256", "x": encode([1; 32]), "y": encode([1; 32])})]);
    assert_eq!(Unverified::parse(&token).unwrap().verified_payload(&off), Err(JwtError::Signature));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever one character of a token becomes: it is refused, and nothing panics.
    #[test]
    fn a_changed_token_is_refused(place in any::<prop::sample::Index>(), with in "[A-Za-z0-9_.=-]") {
        let signer = &signers()[2];
        let keys = KeySet { keys: vec![signer.public().clone()] };
        let token = signer.sign(&claims()).unwrap();
        let place = place.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(place..=place, &with);
        prop_assume!(changed != token);
        prop_assert!(verify(&changed, &keys, &expect(&audiences())).is_err());
    }

    #[test]
    fn foreign_bytes_are_read_without_a_panic(text in ".{0,200}", a in "\\PC{0,40}", b in "\\PC{0,80}") {
        let _ = Unverified::parse(&text).map(|token| token.claimed_issuer());
        let token = format!("{}.{}.{}", encode(&a), encode(&b), encode(&a));
        let _ = Unverified::parse(&token).map(|token| token.claimed_issuer());
        let _ = KeySet::from_jwks(text.as_bytes());
    }

    #[test]
    fn what_is_said_is_what_is_read(sub in "\\PC{0,30}", aud in "\\PC{1,30}", life in 1i64..1_000_000, extra in "\\PC{0,30}") {
        let signer = &signers()[2];
        let keys = KeySet { keys: vec![signer.public().clone()] };
        let said = json!({"iss": "https://issuer", "sub": sub, "aud": [aud], "exp": NOW + life, "x": {"y": extra}});
        let token = signer.sign(&said).unwrap();
        let read = verify(&token, &keys, &expect(std::slice::from_ref(&aud))).unwrap();
        prop_assert_eq!(read.subject, Some(sub));
        prop_assert_eq!(Value::Object(read.all), said);
    }
}
