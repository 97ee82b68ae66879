//! Asks an issuer for its keys: the discovery document, then what it names. Everything is bounded, and comes over TLS.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::config::IssuerConfig;
use crate::jwt::KeySet;

/// For one request, its redirects included.
const PATIENCE: Duration = Duration::from_secs(10);
const REDIRECTS_MAX: u32 = 3;
const DOCUMENT_BYTES_MAX: u64 = 256 << 10;

/// A client that trusts the issuer's authority alone.
pub(super) fn agent(config: &IssuerConfig) -> Result<Agent, String> {
    let roots = match &config.authority {
        None => RootCerts::WebPki,
        Some(pem) => {
            let found: Vec<Certificate<'static>> = parse_pem(pem)
                .filter_map(Result::ok)
                .filter_map(|item| match item {
                    PemItem::Certificate(certificate) => Some(certificate),
                    _ => None,
                })
                .collect();
            if found.is_empty() {
                return Err("the certificate authority holds no certificate in PEM".into());
            }
            RootCerts::new_with_certs(&found)
        }
    };
    Ok(Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .https_only(true)
        .max_redirects(REDIRECTS_MAX)
        .timeout_global(Some(PATIENCE))
        .build()
        .new_agent())
}

/// The keys that the issuer publishes now.
pub(super) fn keys(agent: &Agent, config: &IssuerConfig) -> Result<KeySet, String> {
    let place = config.discovery();
    let document = get(agent, &place)?;
    let document: Value =
        serde_json::from_slice(&document).map_err(|e| format!("{place} is no JSON document: {e}"))?;
    if document["issuer"] != config.url.as_str() {
        return Err(format!(
            "{place} is of another issuer than {:?}: character by character, a slash at the end counts",
            config.url
        ));
    }
    let keys = document["jwks_uri"].as_str().unwrap_or_default();
    if !keys.starts_with("https://") {
        return Err(format!("{place} names no https:// URL as its jwks_uri"));
    }
    let set = KeySet::from_jwks(&get(agent, keys)?).map_err(|e| format!("{keys}: {e}"))?;
    if set.keys.is_empty() {
        return Err(format!("{keys} has no key that is understood here"));
    }
    Ok(set)
}

fn get(agent: &Agent, url: &str) -> Result<Vec<u8>, String> {
    let failed = |e: ureq::Error| format!("cannot get {url}: {e}");
    let mut answer = agent.get(url).header("Accept", "application/json").call().map_err(failed)?;
    answer.body_mut().with_config().limit(DOCUMENT_BYTES_MAX).read_to_vec().map_err(failed)
}
