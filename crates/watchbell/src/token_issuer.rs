//! Under which names `serve` issues tokens of service accounts: Kubernetes' flags.

use watchbell_core::service_account::TokenIssuer;
use watchbell_identity::oidc::IssuerConfig;

use crate::exit::Failure;

/// As in kube-apiserver.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Tokens of service accounts")]
pub(crate) struct TokenIssuerArgs {
    /// Who issues them (`iss`), best an https:// URL at which others find this server; of several flags the first issues, and
    /// tokens of all are taken (default: `https://kubernetes.default.svc.cluster.local`)
    #[arg(long, value_name = "URL")]
    service_account_issuer: Vec<String>,
    /// Where the issuer's discovery document says that the keys are; else at the issuer, /openid/v1/jwks
    #[arg(long, value_name = "URL")]
    service_account_jwks_uri: Option<String>,
    /// Whom tokens must be for that ask here, parted by commas; those that name nobody are for all of them [default: the
    /// issuer]
    #[arg(long, value_name = "AUDIENCES", value_delimiter = ',')]
    api_audiences: Vec<String>,
}

impl TokenIssuerArgs {
    /// Reads and checks what was given, beside the trusted issuers of others.
    pub(crate) fn issuer(&self, others: &[IssuerConfig]) -> Result<TokenIssuer, Failure> {
        let issuer = TokenIssuer::of_flags(
            &self.service_account_issuer,
            &self.api_audiences,
            self.service_account_jwks_uri.as_deref(),
        )
        .map_err(Failure::usage)?;
        match others.iter().find(|other| issuer.accepts(&other.url)) {
            None => Ok(issuer),
            Some(other) => Err(Failure::Usage(format!(
                "the OpenID Connect issuer {:?} is this server's own name for tokens of service accounts: name another with \
                 --service-account-issuer",
                other.url
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        issuer: TokenIssuerArgs,
    }

    fn parse(line: &str, others: &[&str]) -> Result<TokenIssuer, String> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|e| e.to_string())?;
        let others: Vec<IssuerConfig> = others.iter().map(|url| IssuerConfig::new(url)).collect();
        line.issuer.issuer(&others).map_err(|e| e.to_string())
    }

    #[test]
    fn flags_are_read_or_refused() {
        assert_eq!(parse("", &[]), Ok(TokenIssuer::new(TokenIssuer::DEFAULT_URL)));
        let line = "--service-account-issuer https://a.example --service-account-issuer https://b.example --api-audiences x,y";
        let issuer = parse(line, &["https://c.example"]).unwrap();
        assert_eq!(
            (issuer.url.as_str(), &issuer.earlier[..]),
            ("https://a.example", &["https://b.example".to_owned()][..])
        );
        assert_eq!(issuer.audiences, ["x", "y"]);
        let check = |line: &str, others: &[&str], words: &str| {
            let error = parse(line, others).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        };
        check(line, &["https://b.example"], "this server's own name");
        check("", &[TokenIssuer::DEFAULT_URL], "this server's own name");
        check("--service-account-issuer a:b", &[], "is no URL");
        check("--service-account-jwks-uri http://a.example", &[], "is no https:// URL");
        check("--api-audiences x,,y", &[], "an audience of --api-audiences");
    }
}
