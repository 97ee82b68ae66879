//! Who a verified ID token is about. Kubernetes' rules (`staging/src/k8s.io/apiserver/plugin/pkg/authenticator/token/oidc`).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use watchbell_api::validate::{LOCAL, SYSTEM};
use watchbell_core::request::User;

use super::config::{ClaimMapping, IssuerConfig, Mapping, Rule};
use super::expression::{Asked, Run};
use crate::refusal::Refusal;

/// A user's or group's name, in bytes.
const NAME_BYTES_MAX: usize = 1024;
const GROUPS_MAX: usize = 1000;
/// Values of one key of what else is known of a user.
const EXTRA_VALUES_MAX: usize = 100;

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
    let asked = Asked { claims, user: None };
    let mut run = Run::new(&asked);
    keep(&config.claim_rules, &mut run)?;
    let name = match &config.username {
        Mapping::Claim(mapping) => username(mapping, claims)?,
        Mapping::Expression(expression) => run.text(expression).map_err(wrong)?,
    };
    let groups = match &config.groups {
        None => Vec::new(),
        Some(Mapping::Claim(mapping)) => groups(mapping, claims)?,
        Some(Mapping::Expression(expression)) => few(run.texts(expression).map_err(wrong)?, GROUPS_MAX)?,
    };
    if name.starts_with(LOCAL) {
        return Err(Refusal::Reserved);
    }
    for text in groups.iter().chain([&name]) {
        check_name(text)?;
    }
    let uid = match &config.uid {
        None => String::new(),
        Some(Mapping::Claim(ClaimMapping { claim, prefix })) => match claims.get(claim) {
            Some(Value::String(uid)) => format!("{prefix}{uid}"),
            _ => return Err(wrong(format!("the claim {claim:?}, which gives the uid, is no string"))),
        },
        Some(Mapping::Expression(expression)) => run.text(expression).map_err(wrong)?,
    };
    let mut extra = BTreeMap::new();
    for (key, expression) in &config.extra {
        let values = few(run.texts(expression).map_err(wrong)?, EXTRA_VALUES_MAX)?;
        if !values.is_empty() {
            extra.insert(key.clone(), values);
        }
    }
    if extra.values().flatten().chain([&uid]).any(|text| text.len() > NAME_BYTES_MAX) {
        return Err(wrong(format!("the uid or a value of the extra is longer than {NAME_BYTES_MAX} bytes")));
    }
    let mut user = User { name, uid, groups, extra };
    if !config.user_rules.is_empty() {
        let info =
            json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        let asked = Asked { claims, user: Some(&info) };
        keep(&config.user_rules, &mut Run::new(&asked))?;
    }
    user.groups.push(crate::AUTHENTICATED.into());
    Ok(user)
}

fn keep<'p>(rules: &'p [Rule], run: &mut Run<'_, 'p>) -> Result<(), Refusal> {
    for Rule { expression, message } in rules {
        if !run.is_true(expression).map_err(wrong)? {
            return Err(wrong(match message.as_str() {
                "" => format!("the rule {:?} does not hold", expression.text()),
                message => message.to_owned(),
            }));
        }
    }
    Ok(())
}

/// Without empty ones.
fn few(mut texts: Vec<String>, max: usize) -> Result<Vec<String>, Refusal> {
    texts.retain(|text| !text.is_empty());
    match texts.len() > max {
        true => Err(wrong(format!("an expression gives more than {max} groups or values"))),
        false => Ok(texts),
    }
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
    use super::super::expression::{About, Expression};
    use super::*;

    fn config() -> IssuerConfig {
        IssuerConfig {
            audiences: vec!["watchbell".into(), "other".into()],
            username: ClaimMapping { claim: "sub".into(), prefix: "oidc:".into() }.into(),
            groups: Some(ClaimMapping { claim: "groups".into(), prefix: "g:".into() }.into()),
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
            username: ClaimMapping { claim: "sub".into(), prefix: String::new() }.into(),
            groups: Some(ClaimMapping { claim: "groups".into(), prefix: String::new() }.into()),
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
            username: ClaimMapping { claim: "sub".into(), prefix: "sys".into() }.into(),
            ..bare.clone()
        };
        check(&split, json!({"aud": "other", "sub": "tem:admin"}), Err("the system's own"));
    }

    #[test]
    fn an_email_must_be_verified() {
        let mail = IssuerConfig {
            username: ClaimMapping { claim: "email".into(), prefix: String::new() }.into(),
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

    fn given(text: &str) -> Mapping {
        Mapping::Expression(Expression::of_claims(text).unwrap())
    }

    fn rule(text: &str, about: About, message: &str) -> Rule {
        Rule { expression: Expression::rule(text, about).unwrap(), message: message.into() }
    }

    #[test]
    fn expressions_make_a_user() {
        let expression = |text| Expression::of_claims(text).unwrap();
        let config = IssuerConfig {
            username: given("claims.tenant + ':' + claims.sub"),
            groups: Some(given("claims.roles.split(',')")),
            uid: Some(given("claims.?oid.orValue('none')")),
            extra: vec![
                ("lab.example/project".into(), expression("claims.?project.orValue('')")),
                ("lab.example/scopes".into(), expression("claims.scopes")),
            ],
            ..config()
        };
        let of = |claims: Value| {
            let Value::Object(map) = &claims else { panic!("claims are an object") };
            user(&config, map)
        };
        let ada =
            of(json!({"tenant": "lab", "sub": "ada", "roles": "ml,,ops", "scopes": ["a", "", "b"]})).unwrap();
        assert_eq!((ada.name.as_str(), ada.uid.as_str()), ("lab:ada", "none"));
        assert_eq!(ada.groups, ["ml", "ops", "system:authenticated"]);
        let scopes = ("lab.example/scopes".to_owned(), vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(ada.extra, BTreeMap::from([scopes]), "what is empty is not there");

        let refused = |claims: Value| of(claims).unwrap_err().to_string();
        let base = json!({"tenant": "lab", "sub": "ada", "roles": "ml", "scopes": null});
        let with = |field: &str, value: Value| {
            let mut claims = base.clone();
            claims[field] = value;
            claims
        };
        assert!(of(base.clone()).unwrap().extra.is_empty());
        // An error does not tell what stands in the token.
        assert!(refused(with("sub", json!(7))).contains("cannot be evaluated for this token"));
        assert!(
            refused(with("scopes", json!({"secret": 1}))).ends_with("neither a string nor a list of strings")
        );
        assert!(refused(with("scopes", json!(["a", 1]))).ends_with("neither a string nor a list of strings"));
        assert!(refused(with("scopes", json!(vec!["x"; 101]))).contains("more than 100"));
        assert!(refused(with("oid", json!("x".repeat(2000)))).contains("longer than 1024 bytes"));
        assert!(refused(with("tenant", json!("system"))).contains("the system's own"));
        assert!(refused(with("roles", json!("ml,system:masters"))).contains("the system's own"));
        let bare = IssuerConfig { username: given("claims.sub"), groups: None, ..self::config() };
        check(&bare, json!({"sub": ""}), Err("empty"));
        check(&bare, json!({"sub": 7}), Err("gives no string"));
        check(&bare, json!({"sub": "local:root"}), Err("the system's own"));
    }

    #[test]
    fn rules_keep_who_does_not_fit_out() {
        let config = IssuerConfig {
            claim_rules: vec![
                rule("claims.exp - claims.nbf <= 86400", About::Claims, "a token lives a day at most"),
                rule("claims.hd == 'lab'", About::Claims, ""),
            ],
            user_rules: vec![
                rule("!user.username.endsWith('root')", About::User, "root does not come this way"),
                rule(
                    "user.groups.all(g, g != 'g:guest') && user.uid == '' && user.extra.size() == 0",
                    About::User,
                    "",
                ),
            ],
            ..config()
        };
        let of = |sub: &str, groups: Value, nbf: i64, hd: &str, expect: Result<(&str, &[&str]), &str>| {
            check(
                &config,
                json!({"sub": sub, "groups": groups, "nbf": nbf, "exp": 86_400, "hd": hd}),
                expect,
            );
        };
        of("ada", json!(["ml"]), 0, "lab", Ok(("oidc:ada", &["g:ml"])));
        of("ada", json!(["ml"]), -1, "lab", Err("a token lives a day at most"));
        of("ada", json!(["ml"]), 0, "other", Err("the rule \"claims.hd == 'lab'\" does not hold"));
        of("root", json!(["ml"]), 0, "lab", Err("root does not come this way"));
        of("ada", json!(["guest"]), 0, "lab", Err("does not hold"));
        // A rule that cannot be evaluated holds for nobody.
        check(&config, json!({"sub": "ada", "hd": "lab"}), Err("cannot be evaluated"));
    }

    #[test]
    fn what_an_expression_costs_is_bounded() {
        let all = "claims.groups.all(a, claims.groups.all(b, claims.groups.all(c, a + b + c != 'x')))";
        let config =
            IssuerConfig { claim_rules: vec![rule(all, About::Claims, "")], groups: None, ..config() };
        check(&config, json!({"sub": "ada", "groups": vec!["g"; 4]}), Ok(("oidc:ada", &[])));
        check(&config, json!({"sub": "ada", "groups": vec!["g"; 2000]}), Err("cannot be evaluated"));
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
