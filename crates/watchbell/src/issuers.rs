//! Whose ID tokens `serve` takes: Kubernetes' flags for one issuer, or its configuration file for several.

use std::path::{Path, PathBuf};

use watchbell_identity::jwt::Algorithm;
use watchbell_identity::oidc::{self, ClaimMapping, Issuer, IssuerConfig};

use crate::exit::Failure;

/// As in kube-apiserver.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Users of an OpenID Connect issuer (default: none)")]
pub(crate) struct Issuers {
    /// URL of the issuer, https:// alone, character by character what stands in its tokens
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    oidc_issuer_url: Option<String>,
    /// The audience that its tokens must be for
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    oidc_client_id: Option<String>,
    /// The claim that names the user
    #[arg(long, value_name = "CLAIM", default_value = "sub", requires = "oidc_issuer_url")]
    oidc_username_claim: String,
    /// What stands before the name; `-` is nothing. Unset it is the issuer's URL and `#`, or nothing if the claim is email
    #[arg(long, value_name = "TEXT", requires = "oidc_issuer_url")]
    oidc_username_prefix: Option<String>,
    /// The claim that gives the groups, a string or a list of them; unset: there are none
    #[arg(long, value_name = "CLAIM", requires = "oidc_issuer_url")]
    oidc_groups_claim: Option<String>,
    /// What stands before each group
    #[arg(long, value_name = "TEXT", default_value = "", requires = "oidc_issuer_url")]
    oidc_groups_prefix: String,
    /// A claim that a token must have with this value; several with further --oidc-required-claim
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = pair, requires = "oidc_issuer_url")]
    oidc_required_claim: Vec<(String, String)>,
    /// Authorities that the issuer's own certificate must come from, in PEM; else those that this machine trusts
    #[arg(long, value_name = "FILE", requires = "oidc_issuer_url")]
    oidc_ca_file: Option<PathBuf>,
    /// What tokens may be signed by: RS256, PS256, ES256, ES384
    #[arg(
        long, value_name = "ALGORITHMS", value_delimiter = ',', value_parser = oidc::algorithm, default_value = "RS256",
        requires = "oidc_issuer_url"
    )]
    oidc_signing_algs: Vec<Algorithm>,
    /// An AuthenticationConfiguration of apiserver.config.k8s.io/v1, instead of the flags above
    #[arg(long, value_name = "FILE", conflicts_with = "oidc_issuer_url")]
    authentication_config: Option<PathBuf>,
}

impl Issuers {
    /// Reads and checks what was given.
    pub(crate) fn configs(&self) -> Result<Vec<IssuerConfig>, Failure> {
        if let Some(path) = &self.authentication_config {
            return from_file(path);
        }
        let Some(url) = &self.oidc_issuer_url else { return Ok(Vec::new()) };
        oidc::check_url(url).map_err(|e| Failure::Usage(format!("--oidc-issuer-url {e}")))?;
        let prefix = match self.oidc_username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) if !prefix.is_empty() => prefix.to_owned(),
            _ => oidc::default_prefix(url, &self.oidc_username_claim),
        };
        Ok(vec![IssuerConfig {
            audiences: self.oidc_client_id.iter().cloned().collect(),
            authority: self.oidc_ca_file.as_deref().map(read).transpose()?,
            username: ClaimMapping { claim: self.oidc_username_claim.clone(), prefix }.into(),
            groups: self
                .oidc_groups_claim
                .clone()
                .map(|claim| ClaimMapping { claim, prefix: self.oidc_groups_prefix.clone() }.into()),
            required_claims: self.oidc_required_claim.clone(),
            algorithms: self.oidc_signing_algs.clone(),
            ..IssuerConfig::new(url)
        }])
    }
}

fn from_file(path: &Path) -> Result<Vec<IssuerConfig>, Failure> {
    let wrong =
        |cause: String| Failure::Usage(format!("--authentication-config {}: {cause}", path.display()));
    let documents = watchbell_api::decode::yaml(&read(path)?).map_err(|e| wrong(e.message))?;
    match documents.as_slice() {
        [one] => oidc::read_file(one).map_err(|e| wrong(e.to_string())),
        _ => Err(wrong("it is not one document".into())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| Failure::Usage(format!("cannot read {}: {e}", path.display())))
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

/// Begins to ask the issuers for their keys.
pub(crate) fn start(configs: Vec<IssuerConfig>) -> Result<Vec<Issuer>, Failure> {
    configs
        .into_iter()
        .map(|mut config| {
            if config.authority.is_none() {
                config.authority = watchbell_image::system_authorities();
            }
            let url = config.url.clone();
            Issuer::start(config).map_err(|e| Failure::Refused(format!("the issuer {url}: {e}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        issuers: Issuers,
    }

    fn parse(line: &str) -> Result<Vec<IssuerConfig>, String> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|e| e.to_string())?;
        line.issuers.configs().map_err(|e| e.to_string())
    }

    const BASE: &str = "--oidc-issuer-url https://i.example --oidc-client-id wb";

    #[test]
    fn the_prefix_is_kubernetes_own_by_default() {
        let check = |more: &str, claim: &str, prefix: &str| {
            let config = parse(&format!("{BASE} {more}")).unwrap().remove(0);
            assert_eq!(
                config.username,
                ClaimMapping { claim: claim.into(), prefix: prefix.into() }.into(),
                "{more}"
            );
        };
        check("", "sub", "https://i.example#");
        check("--oidc-username-claim email", "email", "");
        check("--oidc-username-claim email --oidc-username-prefix a:", "email", "a:");
        check("--oidc-username-claim name", "name", "https://i.example#");
        check("--oidc-username-prefix -", "sub", "");
        check("--oidc-username-prefix oidc:", "sub", "oidc:");
    }

    #[test]
    fn flags_are_read_or_refused() {
        let line = "--oidc-groups-claim groups --oidc-groups-prefix g: --oidc-required-claim hd=lab --oidc-required-claim \
                    a=b=c --oidc-signing-algs ES256,RS256";
        let config = parse(&format!("{BASE} {line}")).unwrap().remove(0);
        assert_eq!(config.audiences, ["wb"]);
        assert_eq!(config.groups, Some(ClaimMapping { claim: "groups".into(), prefix: "g:".into() }.into()));
        assert_eq!(config.required_claims, [("hd".into(), "lab".into()), ("a".into(), "b=c".into())]);
        assert_eq!(config.algorithms, [Algorithm::Es256, Algorithm::Rs256]);
        assert_eq!(parse("").unwrap(), []);
        let check = |line: &str, words: &str| {
            let error = parse(line).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        };
        check("--oidc-issuer-url https://i.example", "--oidc-client-id");
        check("--oidc-client-id wb", "--oidc-issuer-url");
        check("--oidc-issuer-url http://i.example --oidc-client-id wb", "is not an https:// URL");
        check(&format!("{BASE} --oidc-signing-algs HS256"), "is no algorithm");
        check(&format!("{BASE} --oidc-signing-algs none"), "is no algorithm");
        check(&format!("{BASE} --oidc-required-claim x"), "is not KEY=VALUE");
        check(&format!("{BASE} --oidc-ca-file /nonexistent"), "cannot read /nonexistent");
        check(&format!("{BASE} --authentication-config x"), "cannot be used with");
    }
}
