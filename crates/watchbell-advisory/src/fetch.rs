//! A source's file from where its publisher offers it, if it is another than the one that was fetched before.
//!
//! A transfer that begins with TLS stays with TLS. Nothing but the request's address and what the server said last time goes
//! out; credentials of any kind are not sent.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{HeaderMap, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::source::Origin;

/// What a transfer may cost.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    /// Of the file as it is sent.
    pub bytes_max: u64,
    /// Until the server has begun to answer.
    pub answer_within: Duration,
    /// The whole transfer.
    pub done_within: Duration,
}

impl Default for FetchLimits {
    fn default() -> FetchLimits {
        FetchLimits {
            bytes_max: 4 << 30,
            answer_within: Duration::from_secs(60),
            done_within: Duration::from_secs(3600),
        }
    }
}

/// What the server had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The same as before.
    Unchanged,
    /// Another state, now in the file that was asked for.
    New { origin: Origin },
}

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("cannot fetch {url}: {reason}")]
    Failed { url: String, reason: String },
    #[error("cannot fetch {url}: the server answered {status}")]
    Refused { url: String, status: StatusCode },
    #[error("{url} has more than {max} bytes, the most that is fetched")]
    TooLarge { url: String, max: u64 },
    #[error("cannot {step} {}: {cause}", path.display())]
    Io { step: &'static str, path: PathBuf, cause: io::Error },
}

/// Fetches `url` into the file `into` unless the server says that it is what `known` is.
pub fn fetch(
    url: &str,
    known: Option<&Origin>,
    into: &Path,
    limits: &FetchLimits,
) -> Result<Fetched, FetchError> {
    let failed = |reason: String| FetchError::Failed { url: url.to_owned(), reason };
    let mut request = agent(url, limits).get(url);
    // What was fetched from elsewhere says nothing about this file.
    let known = known.filter(|known| known.location == url);
    if let Some(etag) = known.and_then(|known| known.etag.as_deref()) {
        request = request.header(header::IF_NONE_MATCH, etag);
    }
    if let Some(time) = known.and_then(|known| known.last_modified.as_deref()) {
        request = request.header(header::IF_MODIFIED_SINCE, time);
    }
    let response = request.call().map_err(|e| failed(e.to_string()))?;
    match response.status() {
        StatusCode::NOT_MODIFIED if known.is_some() => return Ok(Fetched::Unchanged),
        StatusCode::OK => {}
        status => return Err(FetchError::Refused { url: url.to_owned(), status }),
    }
    let origin = Origin {
        location: url.to_owned(),
        etag: text(response.headers(), header::ETAG),
        last_modified: text(response.headers(), header::LAST_MODIFIED),
    };
    let io_error = |step| move |cause| FetchError::Io { step, path: into.to_owned(), cause };
    let mut file = File::create(into).map_err(io_error("make"))?;
    let mut body = response.into_body().into_reader().take(limits.bytes_max + 1);
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let n = body.read(&mut buffer).map_err(|e| failed(e.to_string()))?;
        if n == 0 {
            return Ok(Fetched::New { origin });
        }
        bytes += n as u64;
        if bytes > limits.bytes_max {
            return Err(FetchError::TooLarge { url: url.to_owned(), max: limits.bytes_max });
        }
        io::Write::write_all(&mut file, &buffer[..n]).map_err(io_error("write"))?;
    }
}

impl Origin {
    /// When the server says that the file was changed last, in seconds since 1970.
    pub fn modified(&self) -> Option<i64> {
        let time = jiff::fmt::rfc2822::parse(self.last_modified.as_deref()?).ok()?;
        Some(time.timestamp().as_second())
    }
}

/// No longer one is kept.
const HEADER_BYTES_MAX: usize = 1024;

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    (value.len() <= HEADER_BYTES_MAX).then(|| value.to_owned())
}

fn agent(url: &str, limits: &FetchLimits) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .https_only(url.starts_with("https:"))
        .timeout_connect(Some(limits.answer_within))
        .timeout_recv_response(Some(limits.answer_within))
        .timeout_global(Some(limits.done_within))
        .user_agent(concat!("watchbell/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(authorities()).build());
    config.build().into()
}

/// Those of the system, or Mozilla's where it has none.
fn authorities() -> RootCerts {
    let Some(pem) = watchbell_image::system_authorities() else { return RootCerts::WebPki };
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    RootCerts::new_with_certs(&certificates)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use tempfile::TempDir;

    use super::*;

    /// Answers one request after the other with what is given, and returns the requests' heads.
    fn server(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/all.json", listener.local_addr().unwrap());
        let thread = thread::spawn(move || {
            let answer = |answer: &String| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while !head.ends_with("\r\n\r\n") {
                    assert_ne!(reader.read_line(&mut head).unwrap(), 0);
                }
                // Whoever has read enough goes away.
                let _ = stream.write_all(answer.as_bytes());
                head.to_lowercase()
            };
            answers.iter().map(answer).collect()
        });
        (address, thread)
    }

    fn ok(headers: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        )
    }

    #[test]
    fn a_file_is_fetched_once_and_again_only_when_it_changed() {
        let dir = TempDir::new().unwrap();
        let into = dir.path().join("file");
        let validators = "ETag: \"one\"\r\nLast-Modified: Sun, 01 Jun 2025 10:00:00 GMT\r\n";
        let unchanged = "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_owned();
        let (url, thread) = server(vec![ok(validators, "{}"), unchanged, ok("", "[]")]);
        let limits = FetchLimits::default();
        let Fetched::New { origin } = fetch(&url, None, &into, &limits).unwrap() else {
            panic!("nothing is known")
        };
        assert_eq!(std::fs::read_to_string(&into).unwrap(), "{}");
        assert_eq!(origin.modified(), Some(1_748_772_000));
        assert_eq!(fetch(&url, Some(&origin), &into, &limits).unwrap(), Fetched::Unchanged);
        let elsewhere = Origin { location: "http://elsewhere/".to_owned(), ..origin };
        fetch(&url, Some(&elsewhere), &into, &limits).unwrap();
        assert_eq!(std::fs::read_to_string(&into).unwrap(), "[]");
        let heads = thread.join().unwrap();
        assert!(!heads[0].contains("if-none-match"), "{}", heads[0]);
        assert!(heads[1].contains("if-none-match: \"one\"\r\n"), "{}", heads[1]);
        assert!(heads[1].contains("if-modified-since: sun, 01 jun 2025 10:00:00 gmt\r\n"), "{}", heads[1]);
        assert!(!heads[2].contains("if-"), "{}", heads[2]);
    }

    #[test]
    fn what_is_too_large_cut_short_or_refused_is_an_error() {
        let dir = TempDir::new().unwrap();
        let into = dir.path().join("file");
        let limits = FetchLimits { bytes_max: 1000, ..FetchLimits::default() };
        let large = ok("", &"x".repeat(1001));
        let cut = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 100\r\n\r\nhalf".to_owned();
        let missing = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned();
        // A server that calls everything unchanged, also what was never fetched.
        let unchanged = "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_owned();
        let (url, thread) = server(vec![large, cut, missing, unchanged]);
        let error = |expect: &str| {
            let text = fetch(&url, None, &into, &limits).unwrap_err().to_string();
            assert!(text.contains(&url) && text.contains(expect), "{text}");
        };
        error("more than 1000 bytes");
        error("cannot fetch");
        error("404");
        error("304");
        thread.join().unwrap();
        let text = fetch("http://127.0.0.1:1/", None, &into, &limits).unwrap_err().to_string();
        assert!(text.starts_with("cannot fetch http://127.0.0.1:1/"), "{text}");
    }

    #[test]
    fn a_redirection_does_not_leave_tls() {
        // The agent refuses the address before it asks anybody.
        let request =
            agent("https://publisher.example/", &FetchLimits::default()).get("http://127.0.0.1:1/").call();
        assert!(matches!(request, Err(ureq::Error::RequireHttpsOnly(_))), "{request:?}");
    }
}
