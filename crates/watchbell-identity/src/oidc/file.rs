//! `AuthenticationConfiguration` of apiserver.config.k8s.io: several issuers in one file (KEP-3331).
//!
//! Read strictly: a field that is not known, or that would need CEL, is refused by its path. Rules that were skipped would
//! let in whom they were to keep out.

use serde_json::{Map, Value};

use super::config::{ALGORITHMS, ClaimMapping, IssuerConfig, check_url};

/// Kubernetes' bound.
const ISSUERS_MAX: usize = 64;
const CEL: &str = "CEL expressions are not evaluated here: use `claim`, `prefix` and `requiredValue`";

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
    if !entry.list("userValidationRules")?.is_empty() {
        return wrong(format!("{path}.userValidationRules"), CEL);
    }
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
    if !mappings.list("extra")?.is_empty() {
        return wrong(format!("{}.extra", mappings.path), CEL);
    }
    let Some(username) = mapping(&mappings, "username")? else {
        return wrong(format!("{}.username.claim", mappings.path), "must be set");
    };
    let uid = mappings.part("uid", &["claim", "expression"])?;
    Ok(IssuerConfig {
        discovery_url,
        audiences,
        authority: issuer
            .text("certificateAuthority")?
            .filter(|text| !text.is_empty())
            .map(|pem| pem.as_bytes().to_vec()),
        username,
        groups: mapping(&mappings, "groups")?,
        uid_claim: match uid {
            None => None,
            Some(uid) => {
                uid.refuse_expression()?;
                uid.text("claim")?.filter(|claim| !claim.is_empty()).map(str::to_owned)
            }
        },
        required_claims: required(&entry)?,
        algorithms: ALGORITHMS.to_vec(),
        ..IssuerConfig::new(url)
    })
}

/// A claim with its prefix, which must be said, if only as the empty one.
fn mapping(mappings: &Part<'_>, field: &str) -> Result<Option<ClaimMapping>, FileError> {
    let Some(part) = mappings.part(field, &["claim", "prefix", "expression"])? else { return Ok(None) };
    part.refuse_expression()?;
    let Some(claim) = part.text("claim")?.filter(|claim| !claim.is_empty()) else { return Ok(None) };
    let Some(prefix) = part.text("prefix")? else {
        return wrong(format!("{}.prefix", part.path), "must be set with a claim; \"\" is none");
    };
    Ok(Some(ClaimMapping { claim: claim.into(), prefix: prefix.into() }))
}

fn required(entry: &Part<'_>) -> Result<Vec<(String, String)>, FileError> {
    let mut out: Vec<(String, String)> = Vec::new();
    for (place, rule) in entry.list("claimValidationRules")?.iter().enumerate() {
        let path = format!("{}.claimValidationRules[{place}]", entry.path);
        let rule = Part::of(rule, &path, &["claim", "requiredValue", "expression", "message"])?;
        rule.refuse_expression()?;
        if rule.text("message")?.is_some_and(|text| !text.is_empty()) {
            return wrong(format!("{path}.message"), "goes with an expression alone");
        }
        let claim = rule.need_text("claim")?;
        if out.iter().any(|(known, _)| known == claim) {
            return wrong(format!("{path}.claim"), format!("{claim:?} stands there twice"));
        }
        out.push((claim.into(), rule.text("requiredValue")?.unwrap_or_default().into()));
    }
    Ok(out)
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

    fn refuse_expression(&self) -> Result<(), FileError> {
        match self.text("expression")? {
            Some(text) if !text.is_empty() => wrong(self.at("expression"), CEL),
            _ => Ok(()),
        }
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
        assert_eq!(read[0].username, ClaimMapping { claim: "email".into(), prefix: String::new() });
        assert_eq!(read[0].uid_claim.as_deref(), Some("sub"));
        assert_eq!(read[0].required_claims, [("hd".into(), "lab".into())]);
        assert_eq!(read[1].discovery(), "https://inside.example/other/.well-known/openid-configuration");
        assert_eq!((read[1].audiences.len(), &read[1].groups), (2, &None));
        assert_eq!(
            read_yaml("{apiVersion: apiserver.config.k8s.io/v1, kind: AuthenticationConfiguration}"),
            Ok(vec![])
        );
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
        check("{claim: email, prefix: ''}", "{expression: claims.x}", "username.expression: CEL");
        check("{claim: email, prefix: ''}", "{}", "username.claim: must be set");
        check(
            "{claim: hd, requiredValue: lab}",
            "{expression: 'true'}",
            "claimValidationRules[0].expression: CEL",
        );
        check(
            "{claim: hd, requiredValue: lab}",
            "{requiredValue: lab}",
            "claimValidationRules[0].claim: must be set",
        );
        check(
            "  claimValidationRules:",
            "  userValidationRules: [{expression: x}]\n  claimValidationRules:",
            "CEL",
        );
        check("uid: {claim: sub}", "extra: [{key: a/b, valueExpression: x}]", "claimMappings.extra: CEL");
        check("jwt:", "anonymous: {enabled: true}\njwt:", "anonymous.enabled: ");
        check("jwt:", "jwt: 1\nx:", "is not known");
    }
}
