//! Challenges and tokens (distribution's token authentication; RFC 7235, RFC 6750).

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::http::{HeaderMap, HeaderValue, Uri, header};

use super::{ANSWER_BYTES_MAX, Credentials, Origin, Registry, Step};
use crate::Error;
use crate::digest::excerpt;

/// What goes into the `Authorization` header; shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Authorization(HeaderValue);

impl Authorization {
    fn new(text: &str) -> Option<Self> {
        let mut value = HeaderValue::from_str(text).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }

    pub(super) fn header(&self) -> &HeaderValue {
        &self.0
    }
}

/// What a registry asks for with a 401.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// The best challenge of the answer's `WWW-Authenticate` headers: a token rather than the password.
    pub(super) fn choose(headers: &HeaderMap) -> Option<Self> {
        let mut challenges: Vec<Self> = headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(parse_challenges)
            .collect();
        challenges.sort_by_key(|c| matches!(c, Self::Basic));
        challenges.into_iter().next()
    }
}

/// Reads `Scheme key="value", key=value, Scheme2 …`. What is of no known scheme is passed over.
fn parse_challenges(text: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let word_end = rest.find(|c: char| " \t,=".contains(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(word_end);
        if let Some(value) = after.strip_prefix('=') {
            let (value, after) = parse_value(value);
            if let Some((_, parameters)) = found.last_mut() {
                parameters.push((word.to_ascii_lowercase(), value));
            }
            rest = after;
        } else {
            if !word.is_empty() {
                found.push((word.to_ascii_lowercase(), Vec::new()));
            }
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    found
        .into_iter()
        .filter_map(|(scheme, mut parameters)| {
            let mut take = |key: &str| {
                let at = parameters.iter().position(|(k, _)| k == key)?;
                Some(parameters.swap_remove(at).1)
            };
            match scheme.as_str() {
                "basic" => Some(Challenge::Basic),
                "bearer" => Some(Challenge::Bearer { realm: take("realm")?, service: take("service") }),
                _ => None,
            }
        })
        .collect()
}

/// A token or a quoted string with its escapes; returns what follows.
fn parse_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl Registry<'_> {
    /// Gets what the challenge asks for. Only a challenge of the registry itself comes here (CVE-2020-15157).
    pub(super) fn authorize(&self, step: Step, challenge: &Challenge) -> Result<Authorization, Error> {
        let (realm, service) = match challenge {
            Challenge::Basic => {
                let Some(Credentials::Basic { username, password }) = &self.credentials else {
                    return Err(self.no_credentials("it asks for a user name and a password"));
                };
                return Ok(basic(username, password));
            }
            Challenge::Bearer { realm, service } => (realm, service.as_deref()),
        };
        let uri: Uri = realm
            .parse()
            .map_err(|_| self.protocol(step, format!("its token service is \"{}\"", excerpt(realm))))?;
        let origin = Origin::of(&uri)
            .filter(|_| !uri.authority().is_some_and(|a| a.as_str().contains('@')))
            .ok_or_else(|| self.protocol(step, format!("its token service is \"{}\"", excerpt(realm))))?;
        let agent = self.agent_for(step, &origin)?;
        // The scope is what is needed, whatever wider one the registry may ask for.
        let scope = format!("repository:{}:{}", self.reference.path(), self.actions);
        let mut query = format!("scope={}", percent_encoded(&scope));
        if let Some(service) = service {
            query.push_str(&format!("&service={}", percent_encoded(service)));
        }
        let sent = match &self.credentials {
            Some(Credentials::IdentityToken(token)) => {
                let form = format!(
                    "{query}&grant_type=refresh_token&client_id=watchbell&refresh_token={}",
                    percent_encoded(token)
                );
                let request = self.in_time(step, agent.post(uri))?;
                request
                    .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .send(form.as_bytes())
            }
            credentials => {
                let separator = if realm.contains('?') { '&' } else { '?' };
                let mut request = self.in_time(step, agent.get(format!("{realm}{separator}{query}")))?;
                if let Some(Credentials::Basic { username, password }) = credentials {
                    request = request.header(header::AUTHORIZATION, basic(username, password).header());
                }
                request.call()
            }
        };
        let answer = sent.map_err(|e| self.unreachable(Step("a token"), &origin, &e))?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(self.refused(Step("a token"), status, answer));
        }
        let mut body = Vec::new();
        self.content(answer)
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut body)
            .map_err(|e| self.broken_off(Step("a token"), &e.to_string()))?;
        let token: Option<String> =
            serde_json::from_slice::<TokenAnswer>(&body).ok().and_then(|a| a.token.or(a.access_token));
        token
            .filter(|t| !t.is_empty())
            .and_then(|t| Authorization::new(&format!("Bearer {t}")))
            .ok_or_else(|| self.protocol(step, "its token service answers without a token".to_owned()))
    }

    fn no_credentials(&self, reason: &str) -> Error {
        Error::Credentials {
            registry: self.reference.domain().to_owned(),
            reason: format!("{reason}, and none is known; log in with `docker login` or give them"),
        }
    }
}

fn basic(username: &str, password: &str) -> Authorization {
    Authorization::new(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
        .expect("base64 makes a header value")
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What a registry's error document says, as ` (CODE: message)`.
pub(super) fn error_detail(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<ErrorItem>,
    }
    #[derive(Deserialize)]
    struct ErrorItem {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    match serde_json::from_slice::<Errors>(body).ok().and_then(|e| e.errors.into_iter().next()) {
        Some(ErrorItem { code, message }) => format!(" ({}: {})", excerpt(&code), excerpt(&message)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_real_registries_are_read() {
        let check = |text: &str, expect: &[Challenge]| assert_eq!(parse_challenges(text), expect, "{text}");
        let bearer = |realm: &str, service: Option<&str>| Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
        };
        check(
            r#"Bearer realm="https://auth.example.org/token",service="registry.example.org",scope="repository:a/b:pull,push""#,
            &[bearer("https://auth.example.org/token", Some("registry.example.org"))],
        );
        check(r#"Basic realm="Registry Realm""#, &[Challenge::Basic]);
        check("BASIC", &[Challenge::Basic]);
        check(
            r#"Negotiate, Basic realm="a, b", Bearer realm=https://x/t"#,
            &[Challenge::Basic, bearer("https://x/t", None)],
        );
        check(r#"Bearer realm="a\"b""#, &[bearer("a\"b", None)]);
        check("Bearer service=x", &[]);
        check(r#"Bearer realm="unclosed"#, &[bearer("unclosed", None)]);
        check("", &[]);
        check(",,=,=", &[]);
    }

    #[test]
    fn a_token_is_preferred_to_the_password() {
        let mut headers = HeaderMap::new();
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=x"));
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=https://x"));
        assert!(matches!(Challenge::choose(&headers), Some(Challenge::Bearer { .. })));
    }

    #[test]
    fn error_documents_are_shown_escaped() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"gone\u001b[31m"}]}"#;
        assert_eq!(error_detail(body), " (MANIFEST_UNKNOWN: gone\\u{1b}[31m)");
        assert_eq!(error_detail(b"<html>"), "");
    }
}
