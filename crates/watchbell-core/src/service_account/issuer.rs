//! Under which names tokens are issued, and for whom they are.
//!
//! Meaning and checks: kube-apiserver's `--service-account-issuer`, `--service-account-jwks-uri` and `--api-audiences`
//! (`pkg/kubeapiserver/options/authentication.go`, `pkg/serviceaccount/openidmetadata.go`).

/// Who signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIssuer {
    /// `iss`
    pub url: String,
    /// Other names under which it issued tokens before: these still hold.
    pub earlier: Vec<String>,
    /// Whom a token is for that names nobody: this server. A token that asks here must be for one of them.
    pub audiences: Vec<String>,
    /// Where others find the keys, if not at this server.
    pub jwks_uri: Option<String>,
}

/// What is wrong with an issuer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    #[error("--service-account-issuer is empty: name the URL at which others find this server")]
    Empty,
    #[error("--service-account-issuer {0:?} is given twice")]
    Twice(String),
    #[error(
        "--service-account-issuer {0:?} has a ':' and is no URL, or is longer than 1024 bytes or not plain text"
    )]
    NoUrl(String),
    #[error("--service-account-jwks-uri {0:?} is no https:// URL")]
    KeysNotHttps(String),
    #[error("an audience of --api-audiences is empty or longer than 1024 bytes")]
    Audience,
}

/// A name is in every token, and a token in every request.
const NAME_BYTES_MAX: usize = 1024;

impl TokenIssuer {
    /// Kubernetes' own name for the API server of a cluster.
    pub const DEFAULT_URL: &str = "https://kubernetes.default.svc.cluster.local";

    /// An issuer whose tokens are for itself, if not for others.
    pub fn new(url: &str) -> TokenIssuer {
        TokenIssuer { url: url.into(), earlier: Vec::new(), audiences: vec![url.into()], jwks_uri: None }
    }

    /// By the flags: the first issuer signs, and tokens of all are taken. Without any it is [`TokenIssuer::DEFAULT_URL`];
    /// without audiences they are for the first issuer.
    pub fn of_flags(
        issuers: &[String],
        audiences: &[String],
        jwks_uri: Option<&str>,
    ) -> Result<TokenIssuer, IssuerError> {
        for (n, issuer) in issuers.iter().enumerate() {
            if issuer.is_empty() {
                return Err(IssuerError::Empty);
            }
            if issuers[..n].contains(issuer) {
                return Err(IssuerError::Twice(issuer.clone()));
            }
            // A name without a colon is one of the time before tokens were discovered, such as `kubernetes/serviceaccount`.
            let is_name = is_plain(issuer) && (!issuer.contains(':') || has_scheme(issuer));
            if !is_name {
                return Err(IssuerError::NoUrl(issuer.clone()));
            }
        }
        if let Some(uri) = jwks_uri.filter(|uri| !is_plain(uri) || !is_https(uri)) {
            return Err(IssuerError::KeysNotHttps(uri.into()));
        }
        if audiences.iter().any(|one| one.is_empty() || one.len() > NAME_BYTES_MAX) {
            return Err(IssuerError::Audience);
        }
        let mut issuer = match issuers {
            [] => TokenIssuer::new(TokenIssuer::DEFAULT_URL),
            [first, earlier @ ..] => TokenIssuer { earlier: earlier.to_vec(), ..TokenIssuer::new(first) },
        };
        if !audiences.is_empty() {
            issuer.audiences = audiences.to_vec();
        }
        issuer.jwks_uri = jwks_uri.map(str::to_owned);
        Ok(issuer)
    }

    /// Whether a token that names this issuer is one of ours.
    pub fn accepts(&self, issuer: &str) -> bool {
        self.url == issuer || self.earlier.iter().any(|earlier| earlier == issuer)
    }

    /// Where the discovery document says that the keys are; `None`: there is no such document, as the issuer is none by OpenID
    /// Connect Discovery (section 3: an https:// URL without query and fragment).
    pub fn keys_at(&self) -> Option<String> {
        (is_https(&self.url) && !self.url.contains(['?', '#'])).then(|| match &self.jwks_uri {
            Some(uri) => uri.clone(),
            None => format!("{}/openid/v1/jwks", self.url.trim_end_matches('/')),
        })
    }
}

fn is_plain(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic())
}

fn has_scheme(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(is_part)
            && !rest.is_empty()
            && !rest.starts_with(['/', '?', '#', ':'])
    })
}

fn is_https(text: &str) -> bool {
    text.strip_prefix("https://")
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(issuers: &[&str], audiences: &[&str]) -> Result<TokenIssuer, IssuerError> {
        let owned = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        TokenIssuer::of_flags(&owned(issuers), &owned(audiences), None)
    }

    #[test]
    fn the_first_signs_and_all_are_taken() {
        assert_eq!(read(&[], &[]), Ok(TokenIssuer::new(TokenIssuer::DEFAULT_URL)));
        let issuer =
            read(&["https://a.example", "https://b.example", "kubernetes/serviceaccount"], &[]).unwrap();
        assert_eq!(
            (issuer.url.as_str(), &issuer.audiences[..]),
            ("https://a.example", &["https://a.example".to_owned()][..])
        );
        for (name, expect) in [
            ("https://a.example", true),
            ("https://b.example", true),
            ("kubernetes/serviceaccount", true),
            ("https://c.example", false),
            ("https://a.example/", false),
            ("", false),
        ] {
            assert_eq!(issuer.accepts(name), expect, "{name}");
        }
        assert_eq!(read(&["https://a.example"], &["x", "y"]).unwrap().audiences, ["x", "y"]);
    }

    #[test]
    fn what_is_no_issuer_is_refused() {
        let check = |issuers: &[&str], expect: IssuerError| {
            assert_eq!(read(issuers, &[]), Err(expect), "{issuers:?}");
        };
        check(&[""], IssuerError::Empty);
        check(&["https://a.example", ""], IssuerError::Empty);
        check(&["a", "b", "a"], IssuerError::Twice("a".into()));
        for wrong in [
            "a:b",
            ":a",
            "://a",
            "1a://b",
            "https://",
            "https:///a",
            "https://a b",
            "a\u{0}",
            "é",
            &"a".repeat(1025),
        ] {
            check(&[wrong], IssuerError::NoUrl(wrong.into()));
        }
        for (audiences, is_wrong) in [(&["a"][..], false), (&["a", ""], true), (&[&*"a".repeat(1025)], true)]
        {
            assert_eq!(read(&[], audiences).is_err(), is_wrong);
        }
        for wrong in ["http://a.example/keys", "https://", "keys", "https://a b"] {
            let refused = TokenIssuer::of_flags(&[], &[], Some(wrong));
            assert_eq!(refused, Err(IssuerError::KeysNotHttps(wrong.into())));
        }
    }

    #[test]
    fn keys_are_found_at_an_issuer_of_openid() {
        let check = |issuer: &str, expect: Option<&str>| {
            assert_eq!(read(&[issuer], &[]).unwrap().keys_at().as_deref(), expect, "{issuer}");
        };
        check("https://a.example", Some("https://a.example/openid/v1/jwks"));
        check("https://a.example/x/", Some("https://a.example/x/openid/v1/jwks"));
        check("http://a.example", None);
        check("https://a.example?x", None);
        check("https://a.example#x", None);
        check("kubernetes/serviceaccount", None);
        let elsewhere = TokenIssuer::of_flags(&[], &[], Some("https://keys.example/jwks")).unwrap();
        assert_eq!(elsewhere.keys_at().as_deref(), Some("https://keys.example/jwks"));
    }
}
