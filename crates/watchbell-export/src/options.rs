//! What to export to, checked before anything is opened.

use std::net::IpAddr;
use std::path::PathBuf;

use ureq::http::Uri;
use watchbell_audit::export::bulk;
use watchbell_audit::export::ecs::{DEFAULT_INDEX, Original};
use watchbell_audit::export::rotation;

/// Where the audit trail goes, beside the journal.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The machine's name, for the documents.
    pub hostname: String,
    /// The program's version, for the documents.
    pub version: String,
    pub original: Original,
    pub file: Option<FileOptions>,
    pub elasticsearch: Option<ElasticsearchOptions>,
    pub otlp: Option<OtlpOptions>,
}

impl Options {
    /// Looks at what can be judged without opening anything.
    pub fn check(&self) -> Result<(), OptionError> {
        if let Some(elasticsearch) = &self.elasticsearch {
            elasticsearch.endpoint.base()?;
            elasticsearch.check()?;
        }
        if let Some(otlp) = &self.otlp {
            otlp.endpoint.base()?;
        }
        Ok(())
    }
}

/// Lines of ECS in a file that is rotated.
#[derive(Debug, Clone)]
pub struct FileOptions {
    pub path: PathBuf,
    pub limits: rotation::Limits,
}

/// The `_bulk` API of Elasticsearch or OpenSearch.
#[derive(Debug, Clone)]
pub struct ElasticsearchOptions {
    pub endpoint: Endpoint,
    /// A data stream (or an index).
    pub index: String,
    pub template: Template,
}

impl ElasticsearchOptions {
    /// With the usual data stream.
    pub fn new(endpoint: Endpoint) -> ElasticsearchOptions {
        ElasticsearchOptions { endpoint, index: DEFAULT_INDEX.into(), template: Template::Leave }
    }
}

/// Whether the index template is installed where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    Leave,
    Install,
}

/// OTLP/HTTP.
#[derive(Debug, Clone)]
pub struct OtlpOptions {
    pub endpoint: Endpoint,
}

/// An HTTP server and how it and we know each other.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `https://HOST[:PORT][/PATH]`; `http` only to this machine itself.
    pub url: String,
    /// Certificates in PEM form: whoever they vouch for, and nobody else. Without it, the authorities that Mozilla trusts.
    pub ca: Option<PathBuf>,
    /// See [`crate`]'s `credentials.rs` for its form.
    pub credentials: Option<PathBuf>,
}

/// An option that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum OptionError {
    #[error("the address {url:?} cannot be exported to: {cause}")]
    Url { url: String, cause: &'static str },
    #[error("{index:?} cannot be the name of a data stream: {cause}")]
    Index { index: String, cause: &'static str },
    #[error("cannot use the certificates in {}: {cause}", path.display())]
    Certificates { path: PathBuf, cause: String },
    #[error("cannot use the credentials in {}: {cause}", path.display())]
    Credentials { path: PathBuf, cause: String },
}

impl Endpoint {
    /// The address without a slash at its end.
    pub(crate) fn base(&self) -> Result<String, OptionError> {
        let wrong = |cause| OptionError::Url { url: without_user(&self.url), cause };
        let uri: Uri = self.url.parse().map_err(|_| wrong("it is no URL"))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it names no host"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong(
                "it holds credentials, which every user of the machine could read; put them into a file",
            ));
        }
        if uri.query().is_some() || self.url.contains('#') {
            return Err(wrong("it may have a path, and no query or fragment"));
        }
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if is_this_machine(host) => {}
            Some("http") => {
                return Err(wrong(
                    "the trail and the credentials would cross the network in the clear; use https",
                ));
            }
            _ => return Err(wrong("it must begin with https://")),
        }
        Ok(self.url.trim_end_matches('/').to_owned())
    }

    pub(crate) fn is_local(&self) -> bool {
        self.url.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(is_this_machine))
    }
}

impl ElasticsearchOptions {
    pub(crate) fn check(&self) -> Result<(), OptionError> {
        bulk::check_index(&self.index)
            .map_err(|cause| OptionError::Index { index: self.index.clone(), cause })
    }
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// For messages: a URL that somebody put a password into.
fn without_user(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://…{}", &url[..scheme], &url[at..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expect: Result<&str, &str>) {
        let endpoint = Endpoint { url: url.into(), ca: None, credentials: None };
        match (endpoint.base(), expect) {
            (Ok(base), Ok(expect)) => assert_eq!(base, expect),
            (Err(error), Err(expect)) => assert!(error.to_string().contains(expect), "{error}"),
            (got, _) => panic!("{url}: {got:?}"),
        }
    }

    #[test]
    fn only_addresses_that_keep_the_trail_to_themselves_are_taken() {
        check("https://es.example:9200/", Ok("https://es.example:9200"));
        check("https://es.example/elastic", Ok("https://es.example/elastic"));
        check("http://127.0.0.1:9200", Ok("http://127.0.0.1:9200"));
        check("http://[::1]:4318/", Ok("http://[::1]:4318"));
        check("http://localhost:9200", Ok("http://localhost:9200"));
        check("http://es.example:9200", Err("in the clear"));
        check("http://127.0.0.1.example", Err("in the clear"));
        check("http://localhost.example", Err("in the clear"));
        check("ftp://es.example", Err("https://"));
        check("es.example:9200", Err(""));
        check("https://es.example/?a=b", Err("no query"));
        check("https://es.example/#a", Err("no"));
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let url = "https://elastic:hunter2@es.example";
        let endpoint = Endpoint { url: url.into(), ca: None, credentials: None };
        let error = endpoint.base().unwrap_err().to_string();
        assert!(error.contains("into a file") && !error.contains("hunter2"), "{error}");
    }
}
