//! Which issuers are trusted, and what their claims mean: from Kubernetes' flags or its configuration file.

use super::expression::Expression;
use crate::jwt::Algorithm;

/// One issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// What stands in `iss`, character by character.
    pub url: String,
    /// Where the discovery document lies, if not at `url/.well-known/openid-configuration`.
    pub discovery_url: Option<String>,
    pub audiences: Vec<String>,
    /// PEM; `None`: the authorities of this machine.
    pub authority: Option<Vec<u8>>,
    pub username: Mapping,
    pub groups: Option<Mapping>,
    /// Without a prefix where it is a claim.
    pub uid: Option<Mapping>,
    /// By its key.
    pub extra: Vec<(String, Expression)>,
    pub required_claims: Vec<(String, String)>,
    /// What must be true of the claims, and of the user that they make.
    pub claim_rules: Vec<Rule>,
    pub user_rules: Vec<Rule>,
    pub algorithms: Vec<Algorithm>,
}

/// Where a part of a user comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapping {
    Claim(ClaimMapping),
    Expression(Expression),
}

impl From<ClaimMapping> for Mapping {
    fn from(claim: ClaimMapping) -> Mapping {
        Mapping::Claim(claim)
    }
}

/// What must be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub expression: Expression,
    /// What is said when it is not; empty: the expression.
    pub message: String,
}

/// A claim and what stands before its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimMapping {
    pub claim: String,
    pub prefix: String,
}

impl IssuerConfig {
    /// What Kubernetes' flags are when only the issuer is given.
    pub fn new(url: &str) -> IssuerConfig {
        IssuerConfig {
            url: url.into(),
            discovery_url: None,
            audiences: Vec::new(),
            authority: None,
            username: ClaimMapping { claim: "sub".into(), prefix: default_prefix(url, "sub") }.into(),
            groups: None,
            uid: None,
            extra: Vec::new(),
            required_claims: Vec::new(),
            claim_rules: Vec::new(),
            user_rules: Vec::new(),
            algorithms: vec![Algorithm::Rs256],
        }
    }

    /// Where the discovery document is asked for.
    pub fn discovery(&self) -> String {
        match &self.discovery_url {
            Some(url) => url.clone(),
            None => format!("{}/.well-known/openid-configuration", self.url.trim_end_matches('/')),
        }
    }
}

/// Names other than addresses are the issuer's, so that those of two issuers do not clash.
pub fn default_prefix(url: &str, claim: &str) -> String {
    if claim == "email" { String::new() } else { format!("{url}#") }
}

/// A URL that tokens and keys may come from.
pub fn check_url(url: &str) -> Result<(), String> {
    let Some(rest) = url.strip_prefix("https://") else {
        return Err(format!("{url:?} is not an https:// URL: keys that come otherwise may be anybody's"));
    };
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.is_empty() || authority.contains('@') {
        return Err(format!("{url:?} has no host, or a user in it"));
    }
    if rest.contains(['?', '#']) || rest.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!("{url:?} has a query, a fragment or blanks"));
    }
    Ok(())
}

/// Those of Kubernetes' list that are verified here. Never `none`, never by a shared secret.
pub const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::Es384];

/// An algorithm by its name in a token's header.
pub fn algorithm(name: &str) -> Result<Algorithm, String> {
    ALGORITHMS.into_iter().find(|algorithm| algorithm.name() == name).ok_or_else(|| {
        let known = ALGORITHMS.map(Algorithm::name).join(", ");
        format!("{name:?} is no algorithm that tokens of issuers may be signed by here: {known}")
    })
}
