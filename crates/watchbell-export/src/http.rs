//! One HTTP server that is posted to.

use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderName, Request, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use watchbell_audit::export::backoff;
use watchbell_audit::export::shipper::Answer;

use crate::credentials;
use crate::options::{Endpoint, OptionError};

/// As much of an answer is read: one for a batch has some hundred bytes a document.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of a request and its answer, however slowly they come.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A server, by its address.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    endpoint: Endpoint,
    base: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
}

/// What is sent.
pub(crate) struct Sent<'a> {
    pub(crate) method: &'static str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(HeaderName, &'static str)],
    pub(crate) body: &'a [u8],
}

impl Client {
    /// Looks at the address, the certificates and the credentials; connects to nobody.
    pub(crate) fn new(endpoint: &Endpoint, program: &str) -> Result<Client, OptionError> {
        let base = endpoint.base()?;
        let mut tls = TlsConfig::builder();
        tls = match &endpoint.ca {
            None => tls.root_certs(RootCerts::WebPki),
            Some(path) => {
                let wrong = |cause: String| OptionError::Certificates { path: path.clone(), cause };
                let pem = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
                let certificates: Vec<_> = parse_pem(&pem)
                    .filter_map(|item| match item {
                        Ok(PemItem::Certificate(certificate)) => Some(certificate),
                        _ => None,
                    })
                    .collect();
                if certificates.is_empty() {
                    return Err(wrong("it holds no certificate in PEM form".into()));
                }
                tls.root_certs(RootCerts::new_with_certs(&certificates))
            }
        };
        if let Some(path) = &endpoint.credentials {
            credentials::read(path)
                .map_err(|cause| OptionError::Credentials { path: path.clone(), cause })?;
        }
        let mut config = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            // A redirect would carry the trail to somebody whom the operator did not name.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(program)
            .accept_encoding("identity")
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(WHOLE_TIMEOUT));
        if endpoint.is_local() {
            config = config.proxy(None);
        }
        Ok(Client { agent: config.build().new_agent(), endpoint: endpoint.clone(), base })
    }

    /// Where it sends to.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// One request. `Err`: nothing came back that could be judged, and what to do instead.
    pub(crate) fn call(&self, sent: &Sent<'_>) -> Result<Received, Answer> {
        let mut request = Request::builder()
            .method(sent.method)
            .uri(format!("{}{}", self.base, sent.path))
            .header(header::ACCEPT, "application/json");
        for (name, value) in sent.headers {
            request = request.header(name, *value);
        }
        if let Some(path) = &self.endpoint.credentials {
            let value = credentials::read(path).map_err(|cause| Answer::Hold {
                reason: format!("cannot use the credentials in {}: {cause}", path.display()),
            })?;
            request = request.header(header::AUTHORIZATION, value);
        }
        let again = |what: &str, error: &dyn std::fmt::Display| Answer::Retry {
            after: None,
            reason: format!("{what} {}: {error}", self.base),
        };
        let answer = if sent.method == "GET" {
            request.body(()).map_err(ureq::Error::from).and_then(|request| self.agent.run(request))
        } else {
            request.body(sent.body).map_err(ureq::Error::from).and_then(|request| self.agent.run(request))
        };
        let answer = answer.map_err(|e| again("no answer from", &e))?;
        let status = answer.status().as_u16();
        let retry_after = answer
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(backoff::retry_after);
        let body = answer
            .into_body()
            .into_with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec()
            .map_err(|e| again("the answer broke off from", &e))?;
        Ok(Received { status, retry_after, body })
    }
}
