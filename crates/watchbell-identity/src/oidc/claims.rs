//! Who a verified ID token is about. Kubernetes' rules (`staging/src/k8s.io/apiserver/plugin/pkg/authenticator/token/oidc`).

use serde_json::{Map, Value};
use watchbell_api::validate::{LOCAL, SYSTEM};
use watchbell_core::request::User;

use super::config::{ClaimMapping, IssuerConfig};
use crate::refusal::Refusal;

/// A user's or group's name, in bytes.
const NAME_BYTES_MAX: usize = 1024;
const GROUPS_MAX: usize = 1000;

/// The user of the claims of a token that this issuer signed and whose time and audience were checked.
pub(super) fn user(config: &IssuerConfig, claims: &Map<String, Value>) -> Result<User, Refusal> {
    for (claim, wanted) in &config.required_claims {
        match claims.get(claim) {
            None => return Err(wrong(format!("the required claim {claim:?} is not in the token"))),
            Some(Value::String(value)) if value == wanted => {}
            // What the token says instead is no business of a log.
            Some(Value::String(_)) => {
                return Err(wrong(format!("the required claim {claim:?} does not have the required value")));
            }
            Some(_) => return Err(wrong(format!("the required claim {claim:?} is no string"))),
        }
    }
    let name = username(&config.username, claims)?;
    let mut groups = match &config.groups {
        Some(mapping) => groups(mapping, claims)?,
        None => Vec::new(),
    };
    if name.starts_with(LOCAL) {
        return Err(Refusal::Reserved);
    }
    for text in groups.iter().chain([&name]) {
        check_name(text)?;
    }
    let uid = match &config.uid_claim {
        None => String::new(),
        Some(claim) => match claims.get(claim) {
            Some(Value::String(uid)) => uid.clone(),
            _ => return Err(wrong(format!("the claim {claim:?}, which gives the uid, is no string"))),
        },
    };
    groups.push(crate::AUTHENTICATED.into());
    Ok(User { name, uid, groups, ..User::default() })
}

fn wrong(cause: impl Into<String>) -> Refusal {
    Refusal::Claims(cause.into())
}

fn username(mapping: &ClaimMapping, claims: &Map<String, Value>) -> Result<String, Refusal> {
    let claim = &mapping.claim;
    let Some(Value::String(name)) = claims.get(claim) else {
        return Err(wrong(format!("the claim {claim:?}, which names the user, is missing or no string")));
    };
    if name.is_empty() {
        return Err(wrong(format!("the claim {claim:?}, which names the user, is empty")));
    }
    // An address that its owner never showed to be his may be anybody's.
    if claim == "email" {
        match claims.get("email_verified") {
            None | Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err(wrong("the email is not verified")),
            Some(_) => return Err(wrong("the claim \"email_verified\" is no boolean")),
        }
    }
    Ok(format!("{}{name}", mapping.prefix))
}

fn groups(mapping: &ClaimMapping, claims: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let claim = &mapping.claim;
    let not_list = || {
        wrong(format!(
            "the claim {claim:?}, which gives the groups, is neither a string nor a list of strings"
        ))
    };
    let Some(value) = claims.get(claim) else {
        // A distributed claim would have to be fetched from where the token says.
        if claims.get("_claim_names").and_then(|names| names.get(claim)).is_some() {
            return Err(wrong(format!(
                "the claim {claim:?} is a distributed one, which is not fetched: have the issuer put the groups into the token"
            )));
        }
        return Ok(Vec::new());
    };
    let list = match value {
        Value::String(one) => vec![one.as_str()],
        Value::Array(list) => {
            list.iter().map(Value::as_str).collect::<Option<Vec<&str>>>().ok_or_else(not_list)?
        }
        _ => return Err(not_list()),
    };
    if list.len() > GROUPS_MAX {
        return Err(wrong(format!("the claim {claim:?} has more than {GROUPS_MAX} groups")));
    }
    Ok(list.into_iter().map(|group| format!("{}{group}", mapping.prefix)).collect())
}

/// No issuer makes anybody one of the system's own, whatever the prefix.
fn check_name(name: &str) -> Result<(), Refusal> {
    if name.starts_with(SYSTEM) {
        return Err(Refusal::Reserved);
    }
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(wrong("a name in it is empty, too long, or has control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> IssuerConfig {
        IssuerConfig {
            audiences: vec!["watchbell".into(), "other".into()],
            username: ClaimMapping { claim: "sub".into(), prefix: "oidc:".into() },
            groups: Some(ClaimMapping { claim: "groups".into(), prefix: "g:".into() }),
            ..IssuerConfig::new("https://issuer.example")
        }
    }

    fn check(config: &IssuerConfig, claims: Value, expect: Result<(&str, &[&str]), &str>) {
        let Value::Object(map) = &claims else { panic!("claims are an object") };
        match (user(config, map), expect) {
            (Ok(user), Ok((name, groups))) => {
                let all: Vec<&str> = groups.iter().copied().chain(["system:authenticated"]).collect();
                assert_eq!(
                    (user.name.as_str(), user.groups),
                    (name, all.iter().map(|g| (*g).to_owned()).collect())
                );
            }
            (Err(refusal), Err(words)) => {
                assert!(refusal.to_string().contains(words), "{claims}: {refusal} lacks {words}");
            }
            (got, expect) => panic!("{claims}: {got:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn names_and_groups_have_their_prefixes() {
        let config = config();
        let of = |claims: Value, expect| {
            let mut all = json!({"aud": "watchbell", "sub": "ada"});
            all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
            check(&config, all, expect);
        };
        of(json!({}), Ok(("oidc:ada", &[])));
        of(json!({"groups": "ml"}), Ok(("oidc:ada", &["g:ml"])));
        of(json!({"groups": ["ml", "ops"], "aud": ["x", "other"]}), Ok(("oidc:ada", &["g:ml", "g:ops"])));
        of(json!({"groups": ["ml", 1]}), Err("neither a string nor a list"));
        of(json!({"groups": {}}), Err("neither a string nor a list"));
        of(json!({"groups": vec!["g"; 1001]}), Err("more than 1000"));
        of(json!({"_claim_names": {"groups": "src"}}), Err("a distributed one"));
        of(json!({"sub": 7}), Err("missing or no string"));
        of(json!({"sub": ""}), Err("is empty"));
        of(json!({"sub": "a\u{0}"}), Err("control characters"));
    }

    #[test]
    fn nobody_becomes_one_of_the_systems_own() {
        let bare = IssuerConfig {
            username: ClaimMapping { claim: "sub".into(), prefix: String::new() },
            groups: Some(ClaimMapping { claim: "groups".into(), prefix: String::new() }),
            ..config()
        };
        check(&bare, json!({"aud": "other", "sub": "system:admin"}), Err("the system's own"));
        check(
            &bare,
            json!({"aud": "other", "sub": "ada", "groups": ["ml", "system:masters"]}),
            Err("the system's own"),
        );
        check(&bare, json!({"aud": "other", "sub": "ada", "groups": ["systems"]}), Ok(("ada", &["systems"])));
        // Nor one of those whom the kernel vouches for.
        check(&bare, json!({"aud": "other", "sub": "local:root"}), Err("the system's own"));
        check(
            &bare,
            json!({"aud": "other", "sub": "local", "groups": ["local:a"]}),
            Ok(("local", &["local:a"])),
        );
        let split = IssuerConfig {
            username: ClaimMapping { claim: "sub".into(), prefix: "sys".into() },
            ..bare.clone()
        };
        check(&split, json!({"aud": "other", "sub": "tem:admin"}), Err("the system's own"));
    }

    #[test]
    fn an_email_must_be_verified() {
        let mail = IssuerConfig {
            username: ClaimMapping { claim: "email".into(), prefix: String::new() },
            groups: None,
            ..config()
        };
        let of = |verified: Value, expect| {
            let mut claims = json!({"aud": "other", "email": "a@b.example", "groups": ["ml"]});
            if !verified.is_null() {
                claims["email_verified"] = verified;
            }
            check(&mail, claims, expect);
        };
        of(Value::Null, Ok(("a@b.example", &[])));
        of(json!(true), Ok(("a@b.example", &[])));
        of(json!(false), Err("not verified"));
        of(json!("true"), Err("no boolean"));
    }

    #[test]
    fn required_claims_are_required() {
        let strict = IssuerConfig { required_claims: vec![("hd".into(), "lab".into())], ..config() };
        let of = |hd: Value, expect| check(&strict, json!({"aud": "other", "sub": "a", "hd": hd}), expect);
        of(json!("lab"), Ok(("oidc:a", &[])));
        of(json!("Lab"), Err("does not have the required value"));
        of(json!(["lab"]), Err("is no string"));
        check(&strict, json!({"aud": "other", "sub": "a"}), Err("is not in the token"));
    }
}
