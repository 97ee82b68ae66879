//! `AuthenticationConfiguration` of apiserver.config.k8s.io: several issuers in one file (KEP-3331).
//!
//! Read strictly: a field that is not known is refused by its path, and so is an expression that does not compile. Rules that
//! were skipped would let in whom they were to keep out.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use watchbell_api::name;

use super::config::{ALGORITHMS, ClaimMapping, IssuerConfig, Mapping, Rule, check_url};
use super::expression::{About, Expression};

/// Kubernetes' bound.
const ISSUERS_MAX: usize = 64;
/// As of an annotation's name: a domain and a path.
const KEY_BYTES_MAX: usize = 510;
/// Kubernetes' rule: an address that its owner never showed to be his may be anybody's.
const UNVERIFIED: &str = "claims.email_verified must be used in claimMappings.username.expression or \
                          claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is \
                          used in claimMappings.username.expression";

/// What is wrong with the file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {cause}")]
pub struct FileError {
    pub field: String,
    pub cause: String,
}

fn wrong<T>(field: impl Into<String>, cause: impl Into<String>) -> Result<T, FileError> {
    Err(FileError { field: field.into(), cause: cause.into() })
}

/// The issuers of a file that was decoded from YAML or JSON.
pub fn read(document: &Value) -> Result<Vec<IssuerConfig>, FileError> {
    let top = Part::of(document, "the file", &["apiVersion", "kind", "jwt", "anonymous"])?;
    let version = top.text("apiVersion")?.unwrap_or_default();
    let Some(("apiserver.config.k8s.io", "v1" | "v1beta1" | "v1alpha1")) = version.split_once('/') else {
        return wrong("apiVersion", format!("{version:?} is not apiserver.config.k8s.io/v1"));
    };
    match top.text("kind")? {
        Some("AuthenticationConfiguration") => {}
        other => {
            return wrong(
                "kind",
                format!("{:?} is not AuthenticationConfiguration", other.unwrap_or_default()),
            );
        }
    }
    if let Some(anonymous) = top.part("anonymous", &["enabled", "conditions"])?
        && anonymous.map.get("enabled") != Some(&Value::Bool(false))
    {
        return wrong(
            "anonymous.enabled",
            "must be false: who says nothing of himself is answered for health alone",
        );
    }
    let list = top.list("jwt")?;
    if list.len() > ISSUERS_MAX {
        return wrong("jwt", format!("has more than {ISSUERS_MAX} issuers"));
    }
    let mut issuers: Vec<IssuerConfig> = Vec::new();
    for (place, entry) in list.iter().enumerate() {
        let path = format!("jwt[{place}]");
        let issuer = issuer(entry, &path)?;
        if issuers.iter().any(|other| other.url == issuer.url) {
            return wrong(format!("{path}.issuer.url"), format!("{:?} stands there twice", issuer.url));
        }
        if issuers.iter().any(|other| other.discovery() == issuer.discovery()) {
            return wrong(format!("{path}.issuer.discoveryURL"), "is that of another issuer of the file");
        }
        issuers.push(issuer);
    }
    Ok(issuers)
}

fn issuer(entry: &Value, path: &str) -> Result<IssuerConfig, FileError> {
    let entry =
        Part::of(entry, path, &["issuer", "claimMappings", "claimValidationRules", "userValidationRules"])?;
    let known = [
        "url",
        "discoveryURL",
        "certificateAuthority",
        "audiences",
        "audienceMatchPolicy",
        "egressSelectorType",
    ];
    let issuer = entry.need("issuer", &known)?;
    let url = issuer.need_text("url")?;
    let at = |field: &str| format!("{}.{field}", issuer.path);
    check_url(url).map_err(|cause| FileError { field: at("url"), cause })?;
    let discovery_url = issuer.text("discoveryURL")?.filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(discovery) = &discovery_url {
        check_url(discovery).map_err(|cause| FileError { field: at("discoveryURL"), cause })?;
        if discovery.trim_end_matches('/') == url.trim_end_matches('/') {
            return wrong(at("discoveryURL"), "must not be the issuer's own URL");
        }
    }
    let audiences: Vec<String> = issuer.texts("audiences")?;
    if audiences.is_empty() || audiences.iter().any(String::is_empty) {
        return wrong(at("audiences"), "name at least one, none of them empty");
    }
    match issuer.text("audienceMatchPolicy")?.unwrap_or_default() {
        "MatchAny" => {}
        "" if audiences.len() == 1 => {}
        "" => return wrong(at("audienceMatchPolicy"), "must be MatchAny where there are several audiences"),
        other => return wrong(at("audienceMatchPolicy"), format!("{other:?} is not MatchAny")),
    }
    if issuer.text("egressSelectorType")?.is_some_and(|kind| !kind.is_empty()) {
        return wrong(at("egressSelectorType"), "there are no egress selectors here");
    }
    let mappings = entry.need("claimMappings", &["username", "groups", "uid", "extra"])?;
    let Some(username) = mapping(&mappings, "username")? else {
        return wrong(format!("{}.username", mappings.path), "claim or expression must be set");
    };
    let (required_claims, claim_rules) = claim_rules(&entry)?;
    let extra = extra(&mappings)?;
    if let Mapping::Expression(expression) = &username
        && expression.names_claim("email")
    {
        let of_extra = extra.iter().map(|(_, expression)| expression);
        let of_rules = claim_rules.iter().map(|rule| &rule.expression);
        if !of_extra.chain(of_rules).chain([expression]).any(|e| e.names_claim("email_verified")) {
            return wrong(format!("{}.username.expression", mappings.path), UNVERIFIED);
        }
    }
    Ok(IssuerConfig {
        discovery_url,
        audiences,
        authority: issuer
            .text("certificateAuthority")?
            .filter(|text| !text.is_empty())
            .map(|pem| pem.as_bytes().to_vec()),
        username,
        groups: mapping(&mappings, "groups")?,
        uid: mapping(&mappings, "uid")?,
        extra,
        required_claims,
        claim_rules,
        user_rules: user_rules(&entry)?,
        algorithms: ALGORITHMS.to_vec(),
        ..IssuerConfig::new(url)
    })
}

/// A claim with its prefix, which must be said, if only as the empty one, and which a uid has not; or an expression.
fn mapping(mappings: &Part<'_>, field: &str) -> Result<Option<Mapping>, FileError> {
    let has_prefix = field != "uid";
    let known: &[&str] =
        if has_prefix { &["claim", "prefix", "expression"] } else { &["claim", "expression"] };
    let Some(part) = mappings.part(field, known)? else { return Ok(None) };
    let prefix = part.text("prefix")?;
    match (part.some_text("claim")?, part.some_text("expression")?) {
        (Some(_), Some(_)) => wrong(part.path, "claim and expression can't both be set"),
        (None, Some(_)) if prefix.is_some() => wrong(part.at("prefix"), "goes with a claim alone"),
        (None, Some(text)) => {
            part.claims_expression("expression", text).map(|e| Some(Mapping::Expression(e)))
        }
        (Some(claim), None) => match prefix.or((!has_prefix).then_some("")) {
            Some(prefix) => {
                Ok(Some(Mapping::Claim(ClaimMapping { claim: claim.into(), prefix: prefix.into() })))
            }
            None => wrong(part.at("prefix"), "must be set with a claim; \"\" is none"),
        },
        (None, None) => Ok(None),
    }
}

fn extra(mappings: &Part<'_>) -> Result<Vec<(String, Expression)>, FileError> {
    let mut out: Vec<(String, Expression)> = Vec::new();
    for (place, entry) in mappings.list("extra")?.iter().enumerate() {
        let path = format!("{}.extra[{place}]", mappings.path);
        let entry = Part::of(entry, &path, &["key", "valueExpression"])?;
        let key = entry.need_text("key")?;
        if let Some(cause) = wrong_key(key) {
            return wrong(entry.at("key"), format!("{key:?} {cause}"));
        }
        if out.iter().any(|(known, _)| known == key) {
            return wrong(entry.at("key"), format!("{key:?} stands there twice"));
        }
        let text = entry.need_text("valueExpression")?;
        out.push((key.into(), entry.claims_expression("valueExpression", text)?));
    }
    Ok(out)
}

/// A key of what else is known of a user: a domain, a slash and a path, of which Kubernetes keeps its own domains.
fn wrong_key(key: &str) -> Option<&'static str> {
    let Some((domain, path)) = key.split_once('/') else { return Some("is no domain with a path behind it") };
    let is_path = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:%@/".contains(c);
    if key.len() > KEY_BYTES_MAX || !name::subdomain(domain).is_empty() {
        Some("does not begin with a domain")
    } else if path.is_empty() || !path.chars().all(is_path) {
        Some("has no path behind its domain")
    } else if key.chars().any(|c| c.is_ascii_uppercase()) {
        Some("is not in lower case")
    } else {
        let own = |own: &str| domain == own || domain.strip_suffix(own).is_some_and(|sub| sub.ends_with('.'));
        (own("kubernetes.io") || own("k8s.io")).then_some("is of a domain that Kubernetes keeps to itself")
    }
}

type ClaimRules = (Vec<(String, String)>, Vec<Rule>);

/// The values that claims must have, and the rules.
fn claim_rules(entry: &Part<'_>) -> Result<ClaimRules, FileError> {
    let (mut values, mut rules): ClaimRules = (Vec::new(), Vec::new());
    for (place, rule) in entry.list("claimValidationRules")?.iter().enumerate() {
        let path = format!("{}.claimValidationRules[{place}]", entry.path);
        let part = Part::of(rule, &path, &["claim", "requiredValue", "expression", "message"])?;
        if part.some_text("expression")?.is_some() {
            for field in ["claim", "requiredValue"] {
                if part.some_text(field)?.is_some() {
                    return wrong(part.at(field), "can't be set with an expression");
                }
            }
            rules.push(self::rule(&part, About::Claims)?);
            continue;
        }
        if part.some_text("message")?.is_some() {
            return wrong(part.at("message"), "goes with an expression alone");
        }
        let claim = part.need_text("claim")?;
        if values.iter().any(|(known, _)| known == claim) {
            return wrong(part.at("claim"), format!("{claim:?} stands there twice"));
        }
        values.push((claim.into(), part.text("requiredValue")?.unwrap_or_default().into()));
    }
    once(entry, "claimValidationRules", &rules)?;
    Ok((values, rules))
}

fn user_rules(entry: &Part<'_>) -> Result<Vec<Rule>, FileError> {
    let mut rules = Vec::new();
    for (place, rule) in entry.list("userValidationRules")?.iter().enumerate() {
        let path = format!("{}.userValidationRules[{place}]", entry.path);
        rules.push(self::rule(&Part::of(rule, &path, &["expression", "message"])?, About::User)?);
    }
    once(entry, "userValidationRules", &rules)?;
    Ok(rules)
}

fn rule(part: &Part<'_>, about: About) -> Result<Rule, FileError> {
    let text = part.need_text("expression")?;
    let expression = Expression::rule(text, about)
        .map_err(|cause| FileError { field: part.at("expression"), cause: format!("{text:?}: {cause}") })?;
    Ok(Rule { expression, message: part.text("message")?.unwrap_or_default().into() })
}

fn once(entry: &Part<'_>, field: &str, rules: &[Rule]) -> Result<(), FileError> {
    let mut known = BTreeSet::new();
    match rules.iter().find(|rule| !known.insert(rule.expression.text())) {
        Some(twice) => wrong(entry.at(field), format!("{:?} stands there twice", twice.expression.text())),
        None => Ok(()),
    }
}

/// An object of the file, with its path.
struct Part<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Part<'a> {
    fn of(value: &'a Value, path: &str, known: &[&str]) -> Result<Part<'a>, FileError> {
        let Value::Object(map) = value else { return wrong(path, "is no object") };
        let part = Part { map, path: path.into() };
        match map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => wrong(part.at(key), "is not known here"),
            None => Ok(part),
        }
    }

    fn at(&self, field: &str) -> String {
        if self.path == "the file" { field.into() } else { format!("{}.{field}", self.path) }
    }

    fn part(&self, field: &str, known: &[&str]) -> Result<Option<Part<'a>>, FileError> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => Part::of(value, &self.at(field), known).map(Some),
        }
    }

    fn need(&self, field: &str, known: &[&str]) -> Result<Part<'a>, FileError> {
        match self.part(field, known)? {
            Some(part) => Ok(part),
            None => wrong(self.at(field), "must be set"),
        }
    }

    fn text(&self, field: &str) -> Result<Option<&'a str>, FileError> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => wrong(self.at(field), "is no string"),
        }
    }

    fn need_text(&self, field: &str) -> Result<&'a str, FileError> {
        match self.text(field)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => wrong(self.at(field), "must be set"),
        }
    }

    fn list(&self, field: &str) -> Result<&'a [Value], FileError> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => wrong(self.at(field), "is no list"),
        }
    }

    fn texts(&self, field: &str) -> Result<Vec<String>, FileError> {
        let texts: Option<Vec<String>> =
            self.list(field)?.iter().map(|value| value.as_str().map(str::to_owned)).collect();
        match texts {
            Some(texts) => Ok(texts),
            None => wrong(self.at(field), "is no list of strings"),
        }
    }

    /// One that is not empty.
    fn some_text(&self, field: &str) -> Result<Option<&'a str>, FileError> {
        Ok(self.text(field)?.filter(|text| !text.is_empty()))
    }

    fn claims_expression(&self, field: &str, text: &str) -> Result<Expression, FileError> {
        Expression::of_claims(text)
            .map_err(|cause| FileError { field: self.at(field), cause: format!("{text:?}: {cause}") })
    }
}

#[cfg(test)]
mod tests {
    use watchbell_api::decode;

    use super::*;

    const GOOD: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: https://issuer.example/realm
    audiences: [watchbell]
    certificateAuthority: PEM
  claimMappings:
    username: {claim: email, prefix: ''}
    groups: {claim: groups, prefix: 'oidc:'}
    uid: {claim: sub}
  claimValidationRules:
  - {claim: hd, requiredValue: lab}
- issuer:
    url: https://other.example
    discoveryURL: https://inside.example/other/.well-known/openid-configuration
    audiences: [a, b]
    audienceMatchPolicy: MatchAny
  claimMappings:
    username: {claim: sub, prefix: 'other:'}
";

    fn read_yaml(text: &str) -> Result<Vec<IssuerConfig>, FileError> {
        read(&decode::yaml(text.as_bytes()).unwrap().remove(0))
    }

    fn check(from: &str, to: &str, expect: &str) {
        assert!(GOOD.contains(from), "{from}");
        let error = read_yaml(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(expect), "{error} lacks {expect}");
    }

    #[test]
    fn a_file_is_read() {
        let read = read_yaml(GOOD).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].url, "https://issuer.example/realm");
        assert_eq!(read[0].discovery(), "https://issuer.example/realm/.well-known/openid-configuration");
        assert_eq!(read[0].authority.as_deref(), Some(b"PEM".as_slice()));
        assert_eq!(read[0].username, ClaimMapping { claim: "email".into(), prefix: String::new() }.into());
        assert_eq!(read[0].uid, Some(ClaimMapping { claim: "sub".into(), prefix: String::new() }.into()));
        assert_eq!(read[0].required_claims, [("hd".into(), "lab".into())]);
        assert_eq!(read[1].discovery(), "https://inside.example/other/.well-known/openid-configuration");
        assert_eq!((read[1].audiences.len(), &read[1].groups), (2, &None));
        assert_eq!(
            read_yaml("{apiVersion: apiserver.config.k8s.io/v1, kind: AuthenticationConfiguration}"),
            Ok(vec![])
        );
    }

    #[test]
    fn expressions_are_read() {
        let text = GOOD
            .replacen("{claim: email, prefix: ''}", "{expression: 'claims.email_verified ? claims.email : \"\"'}", 1)
            .replacen("{claim: groups, prefix: 'oidc:'}", "{expression: claims.roles}", 1)
            .replacen(
                "uid: {claim: sub}",
                "uid: {expression: claims.sub}\n    extra: [{key: lab.example/project, valueExpression: claims.project}]",
                1,
            )
            .replacen(
                "- {claim: hd, requiredValue: lab}",
                "- {expression: 'claims.exp - claims.nbf < 90000', message: too long}\n  - {claim: hd, requiredValue: lab}\n  \
                 userValidationRules: [{expression: '!user.username.startsWith(\"x\")'}]",
                1,
            );
        let read = read_yaml(&text).unwrap();
        let Mapping::Expression(name) = &read[0].username else { panic!("{:?}", read[0].username) };
        assert_eq!(name.text(), "claims.email_verified ? claims.email : \"\"");
        assert!(matches!(
            (&read[0].groups, &read[0].uid),
            (Some(Mapping::Expression(_)), Some(Mapping::Expression(_)))
        ));
        assert_eq!(read[0].extra[0].0, "lab.example/project");
        assert_eq!(read[0].claim_rules[0].message, "too long");
        assert_eq!(read[0].required_claims, [("hd".into(), "lab".into())]);
        assert_eq!(read[0].user_rules[0].expression.text(), "!user.username.startsWith(\"x\")");
    }

    #[test]
    fn expressions_that_cannot_hold_are_refused_by_their_path() {
        let name = "{claim: email, prefix: ''}";
        check(
            name,
            "{expression: claims.}",
            "jwt[0].claimMappings.username.expression: \"claims.\": compilation failed",
        );
        check(name, "{expression: user.username}", "undeclared reference to 'user'");
        check(
            name,
            "{claim: sub, expression: claims.sub}",
            "username: claim and expression can't both be set",
        );
        check(name, "{prefix: 'x:', expression: claims.sub}", "username.prefix: goes with a claim alone");
        for unverified in ["claims.email", "claims[\"email\"]", "\"x\" + claims.?email.orValue(\"\")"] {
            check(name, &format!("{{expression: '{unverified}'}}"), "claims.email_verified must be used");
        }
        let rule = "{claim: hd, requiredValue: lab}";
        check(
            rule,
            "{expression: claims.hd}",
            "claimValidationRules[0].expression: \"claims.hd\": must evaluate to bool",
        );
        check(rule, "{expression: 'true', claim: hd}", "claimValidationRules[0].claim: can't be set");
        check(rule, "{claim: hd, message: x}", "claimValidationRules[0].message: goes with an expression");
        check(
            rule,
            "{expression: 'true'}\n  - {expression: 'true'}",
            "claimValidationRules: \"true\" stands there twice",
        );
        let rules = "  claimValidationRules:";
        let user_rules = |text: &str| format!("  userValidationRules: [{{expression: {text}}}]\n{rules}");
        check(
            rules,
            &user_rules("claims.x"),
            "jwt[0].userValidationRules[0].expression: \"claims.x\": compilation failed",
        );
        check(rules, &user_rules("user.name == \"a\""), "undefined field 'name'");
        let uid = "uid: {claim: sub}";
        check(
            uid,
            "uid: {claim: sub, expression: claims.sub}",
            "uid: claim and expression can't both be set",
        );
        let key = |key: &str| format!("extra: [{{key: '{key}', valueExpression: claims.sub}}]");
        check(uid, &key("project"), "extra[0].key: \"project\" is no domain with a path");
        check(uid, &key("lab.example/Project"), "is not in lower case");
        check(uid, &key("-lab/project"), "does not begin with a domain");
        check(uid, &key("authentication.kubernetes.io/pod-name"), "a domain that Kubernetes keeps to itself");
        check(uid, "extra: [{key: a.example/b}]", "extra[0].valueExpression: must be set");
        let twice = "extra: [{key: a.example/b, valueExpression: claims.x}, {key: a.example/b, valueExpression: claims.y}]";
        check(uid, twice, "extra[1].key: \"a.example/b\" stands there twice");
    }

    #[test]
    fn what_is_not_understood_is_refused_by_its_path() {
        check("k8s.io/v1", "k8s.io/v2", "apiVersion: ");
        check("AuthenticationConfiguration", "Other", "kind: ");
        check(
            "certificateAuthority",
            "certificateAuthorities",
            "jwt[0].issuer.certificateAuthorities: is not known",
        );
        check("url: https://issuer", "url: http://issuer", "jwt[0].issuer.url: ");
        check("url: https://issuer.example/realm", "url: https://other.example", "jwt[1].issuer.url: ");
        check("url: https://issuer.example", "url: https://u@issuer.example", "a user in it");
        check("url: https://issuer.example/realm", "url: https://issuer.example/?a=b", "a query");
        check("audiences: [watchbell]", "audiences: []", "jwt[0].issuer.audiences: ");
        check("audienceMatchPolicy: MatchAny", "audienceMatchPolicy: MatchAll", "is not MatchAny");
        check("    audienceMatchPolicy: MatchAny\n", "", "must be MatchAny");
        check(
            "{claim: email, prefix: ''}",
            "{claim: email}",
            "jwt[0].claimMappings.username.prefix: must be set",
        );
        check("{claim: email, prefix: ''}", "{}", "username: claim or expression must be set");
        check(
            "{claim: hd, requiredValue: lab}",
            "{requiredValue: lab}",
            "claimValidationRules[0].claim: must be set",
        );
        check("jwt:", "anonymous: {enabled: true}\njwt:", "anonymous.enabled: ");
        check("jwt:", "jwt: 1\nx:", "is not known");
    }
}
