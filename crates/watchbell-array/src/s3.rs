//! The part of the S3 protocol that an import and an export need: list, get, put (what is large in parts) and look at. Signed with AWS
//! Signature Version 4.
//!
//! Objects are read by their ETag, so that one that is replaced meanwhile is noticed, and a line that breaks within one goes on where it
//! was. What is written carries the digest of its content, by which a later export knows it.

mod parts;
mod read;

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use ring::{digest, hmac};
use ureq::Agent;
use ureq::http::{Response, StatusCode};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use zeroize::Zeroizing;

use crate::error::Error;
pub(crate) use parts::page as parts_page;

/// Where a bucket is and who asks, as the `AWS_*` variables say.
#[derive(Clone, Default)]
pub struct S3Config {
    /// Of another service than AWS: `https://minio.example:9000`.
    pub endpoint: Option<String>,
    /// Whether the endpoint may be asked without TLS.
    pub allow_http: bool,
    /// `us-east-1` without one.
    pub region: Option<String>,
    /// Without them requests are not signed, which public buckets take.
    pub credentials: Option<S3Credentials>,
    /// From whom the service's certificate must come, in PEM; without them from one of Mozilla's authorities.
    pub authorities: Option<Vec<u8>>,
}

/// Wiped when they are dropped, and printed nowhere.
#[derive(Clone)]
pub struct S3Credentials {
    pub access_key_id: String,
    pub secret_access_key: Zeroizing<String>,
    pub session_token: Option<Zeroizing<String>>,
}

/// All objects of a bucket whose keys begin alike.
pub struct Bucket {
    agent: Agent,
    /// `https://host`, before the path.
    origin: String,
    host: String,
    /// Of the bucket in the path, where it is not in the host.
    path: String,
    region: String,
    credentials: Option<S3Credentials>,
    /// Empty, or ends with a slash.
    prefix: String,
    shown: String,
}

/// The certificates of a file in PEM form; nothing where there is none.
fn roots(pem: &[u8]) -> Option<RootCerts> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    let found: Vec<Certificate<'static>> = parse_pem(pem).filter_map(certificate).collect();
    (!found.is_empty()).then(|| RootCerts::new_with_certs(&found))
}

pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) size: u64,
    pub(crate) etag: String,
}

const MAX_LIST_BYTES: u64 = 16 << 20;
/// Ten million keys and a thousand each.
const MAX_PAGES: u32 = 16_000;
const TRIES: u32 = 5;
/// For an answer to begin, and for each part of it: who stalls does not hold an import or a lease for ever.
const PATIENCE: Duration = Duration::from_secs(60);
/// The name of the metadata that says which content an object has.
pub(crate) const DIGEST: &str = "x-amz-meta-watchbell-digest";

impl Bucket {
    /// `url` is `s3://bucket/prefix`.
    pub fn new(url: &str, config: &S3Config) -> Result<Self, Error> {
        let wrong = |problem: &str| Error::Foreign { what: url.to_owned(), problem: problem.to_owned() };
        let rest = url.strip_prefix("s3://").ok_or_else(|| wrong("it is no s3://BUCKET/PREFIX"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = (3..=63).contains(&bucket.len())
            && bucket
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
        if !is_name || bucket.contains("..") {
            return Err(wrong("the bucket's name has 3 to 63 lower-case letters, digits, `-` and `.`"));
        }
        let prefix = prefix.trim_matches('/');
        if prefix.chars().any(char::is_control) || prefix.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(wrong("its prefix has a control character, or a part that is no name"));
        }
        let region = config.region.clone().unwrap_or_else(|| "us-east-1".to_owned());
        let is_region = region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let (origin, path) = match &config.endpoint {
            // The port of the scheme is not sent, and would be signed.
            Some(endpoint) => {
                let endpoint = endpoint.trim_end_matches('/');
                let port = if endpoint.starts_with("https:") { ":443" } else { ":80" };
                (endpoint.strip_suffix(port).unwrap_or(endpoint).to_owned(), format!("/{bucket}"))
            }
            None if !is_region => return Err(wrong("the region has letters, digits and `-`")),
            // A certificate has no room for more labels.
            None if bucket.contains('.') => {
                (format!("https://s3.{region}.amazonaws.com"), format!("/{bucket}"))
            }
            None => (format!("https://{bucket}.s3.{region}.amazonaws.com"), String::new()),
        };
        let host = match (origin.strip_prefix("https://"), origin.strip_prefix("http://")) {
            (Some(host), _) => host,
            (None, Some(host)) if config.allow_http => host,
            (None, Some(_)) => {
                return Err(wrong(
                    "the endpoint is without TLS; AWS_ALLOW_HTTP=true says that this is meant",
                ));
            }
            (None, None) => return Err(wrong("the endpoint is no URL with https://")),
        };
        if host.is_empty() || host.contains(['/', '@', '?', '#']) {
            return Err(wrong("the endpoint is no host with a port"));
        }
        let roots = match &config.authorities {
            None => RootCerts::WebPki,
            Some(pem) => {
                roots(pem).ok_or_else(|| wrong("the authorities hold no certificate in PEM form"))?
            }
        };
        let agent = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .timeout_per_write(Some(PATIENCE))
            .build();
        Ok(Self {
            agent: agent.into(),
            host: host.to_owned(),
            path,
            region,
            credentials: config.credentials.clone(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            shown: url.trim_end_matches('/').to_owned(),
            origin,
        })
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Which bucket it is, also where two services have one of a name.
    pub(crate) fn identity(&self) -> String {
        format!("{}{} {}", self.origin, self.path, self.shown)
    }

    /// All keys below the prefix, without it, sorted.
    pub(crate) fn list(&self) -> Result<Vec<Listed>, Error> {
        let mut found = Vec::new();
        let (mut token, mut bytes) = (None::<String>, 0);
        for _ in 0..MAX_PAGES {
            let mut query = vec![("encoding-type", "url"), ("list-type", "2"), ("prefix", &self.prefix)];
            query.extend(token.as_deref().map(|token| ("continuation-token", token)));
            let mut response = self.ask("GET", "", &query, &[], None)?;
            let mut text = String::new();
            let mut body = response.body_mut().as_reader().take(MAX_LIST_BYTES + 1);
            body.read_to_string(&mut text)
                .map_err(|error| self.wrong("", &format!("its list cannot be read: {error}")))?;
            let page = page(&text).map_err(|problem| self.wrong("", problem))?;
            for Listed { key, size, etag } in page.listed {
                let Some(key) = key.strip_prefix(&self.prefix) else {
                    return Err(self.wrong("", "its list has keys that were not asked for"));
                };
                // Some tools mark directories by an empty object.
                if key.is_empty() || (key.ends_with('/') && size == 0) {
                    continue;
                }
                bytes += key.len() as u64;
                if found.len() as u64 >= crate::MAX_ENTRIES || bytes > crate::walk::MAX_NAME_BYTES {
                    return Err(Error::TooMany { dir: self.shown.clone(), max: crate::MAX_ENTRIES });
                }
                found.push(Listed { key: key.to_owned(), size, etag });
            }
            if page.next.is_none() {
                found.sort_by(|a, b| a.key.cmp(&b.key));
                if found.is_sorted_by(|a, b| a.key < b.key) {
                    return Ok(found);
                }
                return Err(self.wrong("", "its list has a key twice"));
            }
            if page.next == token {
                return Err(self.wrong("", "its list goes on where it was"));
            }
            token = page.next;
        }
        Err(Error::TooMany { dir: self.shown.clone(), max: u64::from(MAX_PAGES) * 1000 })
    }

    /// The digest that an earlier export has given an object.
    pub(crate) fn digest(&self, key: &str) -> Result<Option<String>, Error> {
        let response = self.ask("HEAD", key, &[], &[], None)?;
        Ok(response.headers().get(DIGEST).and_then(|value| value.to_str().ok()).map(str::to_owned))
    }

    /// Writes an object of `size` bytes; `content` gives them anew for each try. What is large is written in parts: `note` is a file in
    /// which stands which of them are there, so that who comes again goes on.
    pub(crate) fn put(
        &self,
        key: &str,
        size: u64,
        digest: &str,
        content: &dyn Fn() -> Result<Box<dyn Read>, Error>,
        note: Option<&Path>,
    ) -> Result<(), Error> {
        if size > parts::ABOVE_BYTES {
            return self.put_parts(key, size, digest, content, note);
        }
        let length = size.to_string();
        let headers = [("content-length", length.as_str()), (DIGEST, digest)];
        self.ask("PUT", key, &[], &headers, Some(content)).map(drop)
    }

    fn wrong(&self, key: &str, problem: &str) -> Error {
        let what = if key.is_empty() { self.shown.clone() } else { format!("{}/{key}", self.shown) };
        Error::Foreign { what, problem: problem.to_owned() }
    }

    /// Asks until there is an answer that stays: a service that is busy or a line that breaks is asked again.
    fn ask(
        &self,
        method: &str,
        key: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: Option<&dyn Fn() -> Result<Box<dyn Read>, Error>>,
    ) -> Result<Response<ureq::Body>, Error> {
        self.ask_for(method, key, query, headers, body)?.map_err(|says| self.wrong(key, &says))
    }

    /// The same. Within, what a service says that knows no such thing (404).
    fn ask_for(
        &self,
        method: &str,
        key: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: Option<&dyn Fn() -> Result<Box<dyn Read>, Error>>,
    ) -> Result<Result<Response<ureq::Body>, String>, Error> {
        let mut last = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(100 << attempt));
            }
            let body = body.map(|body| body()).transpose()?;
            match self.once(method, key, query, headers, body) {
                Err(problem) => last = problem,
                Ok(mut response) => match response.status() {
                    status if status.is_success() => return Ok(Ok(response)),
                    status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                        last = format!("the service says {status}");
                    }
                    StatusCode::PRECONDITION_FAILED => {
                        return Err(self.wrong(key, "it changed while it was read"));
                    }
                    status => {
                        let mut text = String::new();
                        let _ = response.body_mut().as_reader().take(1 << 16).read_to_string(&mut text);
                        let says = format!("the service says {status} {}", code(&text)).trim_end().to_owned();
                        return match status {
                            StatusCode::NOT_FOUND => Ok(Err(says)),
                            _ => Err(self.wrong(key, &says)),
                        };
                    }
                },
            }
        }
        Err(self.wrong(key, &format!("{last}, {TRIES} times")))
    }

    fn once(
        &self,
        method: &str,
        key: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: Option<Box<dyn Read>>,
    ) -> Result<Response<ureq::Body>, String> {
        let name = if key.is_empty() { String::new() } else { format!("{}{key}", self.prefix) };
        let path = format!("{}/{}", self.path, encoded(&name, true));
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", encoded(value, false))).collect();
        let mut sorted = query.clone();
        sorted.sort();
        let query = sorted.join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("{}{path}{mark}{query}", self.origin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in self.signed(method, &path, &query, headers, &time(jiff::Timestamp::now())) {
            request = request.header(name, value);
        }
        let failed = |error: ureq::Error| format!("it cannot be asked: {error}");
        match body {
            None => self.agent.run(request.body(()).map_err(|error| error.to_string())?).map_err(failed),
            Some(body) => {
                let body = ureq::SendBody::from_owned_reader(body);
                self.agent.run(request.body(body).map_err(|error| error.to_string())?).map_err(failed)
            }
        }
    }

    /// The headers of a signature over these. Bodies are not part of it: TLS guards them, or nothing does.
    fn signed(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        time: &str,
    ) -> Vec<(&'static str, String)> {
        const PAYLOAD: &str = "UNSIGNED-PAYLOAD";
        let Some(credentials) = &self.credentials else { return Vec::new() };
        let mut all: Vec<(&str, &str)> = headers.to_vec();
        all.extend([("host", self.host.as_str()), ("x-amz-content-sha256", PAYLOAD), ("x-amz-date", time)]);
        let token = credentials.session_token.as_ref().map(|token| token.as_str());
        all.extend(token.map(|token| ("x-amz-security-token", token)));
        all.sort_unstable();
        let lines: String = all.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let names = all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let request = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{PAYLOAD}");
        let scope = format!("{}/{}/s3/aws4_request", &time[..8], self.region);
        let hash = hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
        let sign =
            |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
        let first = Zeroizing::new(format!("AWS4{}", credentials.secret_access_key.as_str()));
        let mut key = sign(first.as_bytes(), &time[..8]);
        for part in [self.region.as_str(), "s3", "aws4_request"] {
            key = sign(key.as_ref(), part);
        }
        let signature = hex(sign(key.as_ref(), &text).as_ref());
        let id = &credentials.access_key_id;
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        let mut made = vec![
            ("authorization", authorization),
            ("x-amz-content-sha256", PAYLOAD.to_owned()),
            ("x-amz-date", time.to_owned()),
        ];
        made.extend(token.map(|token| ("x-amz-security-token", token.to_owned())));
        made
    }
}

/// `20261126T163000Z`.
fn time(now: jiff::Timestamp) -> String {
    now.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// By the rules of the signature: letters, digits and `-._~` stay, and slashes of a path.
fn encoded(text: &str, is_path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let stays = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (is_path && byte == b'/');
        if stays { out.push(byte as char) } else { out.push_str(&format!("%{byte:02X}")) }
    }
    out
}

/// The other way, of a key in a list; nothing where it is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || (bytes.next()? as char).to_digit(16);
                (digit()? << 4 | digit()?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

/// What an answer says of an error: AccessDenied, NoSuchBucket, …, a code of letters.
fn code(text: &str) -> String {
    let code = elements(text, "Code").next().unwrap_or_default();
    code.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}

pub(crate) struct Page {
    pub(crate) listed: Vec<Listed>,
    /// What the next page is asked for with; nothing of the last one.
    pub(crate) next: Option<String>,
}

/// Reads a page of a list of version 2. One that may not be all that the service meant is refused: what a list leaves out would be taken
/// for what is not there.
pub(crate) fn page(text: &str) -> Result<Page, &'static str> {
    if text.len() as u64 > MAX_LIST_BYTES {
        return Err("a page of its list has more than 16 MiB");
    }
    let root = text.find("<ListBucketResult").map(|at| &text[at..]);
    let root = root.and_then(|root| root.trim_end().strip_suffix("</ListBucketResult>"));
    let root = root.ok_or("what it says is no whole list of S3")?;
    let one = |name: &str| {
        let mut all = elements(root, name);
        all.next().filter(|_| all.next().is_none())
    };
    let is_encoded = one("EncodingType") == Some("url");
    let mut listed = Vec::new();
    for entry in elements(root, "Contents") {
        let text = |name: &str| elements(entry, name).next().map(unescaped);
        let (Some(key), Some(size)) = (text("Key"), text("Size").and_then(|size| size.parse().ok())) else {
            return Err("its list is of another form");
        };
        let key = if is_encoded { decoded(&key).ok_or("a key of its list is not UTF-8")? } else { key };
        listed.push(Listed { key, size, etag: text("ETag").unwrap_or_default() });
    }
    // An element that was not understood is an object that is missing.
    if root.matches("<Contents").count() != listed.len() {
        return Err("its list is of another form");
    }
    let next = one("NextContinuationToken").map(unescaped).filter(|token| !token.is_empty());
    match (one("IsTruncated"), &next) {
        (Some("true"), Some(_)) | (Some("false"), None) => Ok(Page { listed, next }),
        (Some("true"), None) => Err("its list is cut, and does not say how to go on (no ListObjectsV2)"),
        _ => Err("its list does not say whether it is whole"),
    }
}

/// The texts of all elements of a name, without attributes, in a flat document of S3.
fn elements<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let from = &rest[rest.find(&open)? + open.len()..];
        let end = from.find(&close)?;
        rest = &from[end + close.len()..];
        Some(&from[..end])
    })
}

fn unescaped(text: &str) -> String {
    const NAMED: [(&str, &str); 5] =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&apos;", "'")];
    let text = NAMED.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    text.replace("&amp;", "&")
}

#[cfg(test)]
mod tests;
