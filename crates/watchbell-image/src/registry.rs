//! The client side of the OCI distribution protocol: manifests and blobs of one repository.
//!
//! ```text
//!   GET /v2/NAME/manifests/TAG ──401──▶ token service ──▶ again, with the token
//!   GET /v2/NAME/blobs/DIGEST  ──307──▶ storage of another host: without the token (CVE-2020-15157)
//! ```
//!
//! A registry is hostile: what it sends is bounded, verified by the callers, and it cannot make this machine talk to
//! addresses that it has no business with (see [`address`]).

mod address;
mod auth;
mod credentials;
mod pace;
mod push;
mod referrers;
mod tls;

use std::io::Read;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Response, Uri, header};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, BodyReader, RequestBuilder};

pub use credentials::{CredentialSource, Credentials, Secret};
pub use tls::system_authorities;

use crate::digest::{Hasher, excerpt};
use crate::name::DOCKER_IO;
use crate::store::verify;
use crate::{Descriptor, Digest, Error, Limits, PullOptions, Reference};
use address::{AddressFilter, Reach};
use auth::{Authorization, Challenge};
use pace::{Pace, Paced};

const REDIRECTS_MAX: usize = 5;
/// Of an error or a token answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Whether a registry may be spoken to without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// Only one on this machine's loopback, and only when it does not speak TLS.
    #[default]
    Loopback,
    /// The operator said that this registry has no TLS.
    Allowed,
}

/// One repository of a registry.
pub(crate) struct Registry<'a> {
    reference: &'a Reference,
    limits: &'a Limits,
    /// Scheme, host and port.
    home: Origin,
    /// For the registry itself, and for hosts that it names.
    home_agent: Agent,
    foreign_agent: Agent,
    plain_http: PlainHttp,
    pace: Pace,
    credentials: Option<Credentials>,
    /// When the last request must have been answered.
    deadline: Option<Instant>,
    authorization: Mutex<Option<Authorization>>,
    /// What a token is asked for, in the words of the token service: no more than is needed.
    actions: &'static str,
}

/// Scheme, host and port, compared to decide who may see the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let port = uri.port_u16().unwrap_or(default_port);
        Some(Self { scheme, host: uri.host()?.to_ascii_lowercase(), port })
    }

    fn is_plain(&self) -> bool {
        self.scheme == "http"
    }
}

/// What is asked for, for messages.
#[derive(Clone, Copy)]
struct Step(&'static str);

impl<'a> Registry<'a> {
    /// Prepares the client. Nothing is sent, but for a registry on the loopback of which it must be found out whether it
    /// speaks TLS.
    pub(crate) fn connect(
        reference: &'a Reference,
        options: &PullOptions,
        limits: &'a Limits,
    ) -> Result<Self, Error> {
        let host = api_host(reference.domain());
        let on_loopback = address::is_loopback_name(reference.domain());
        if address::is_forbidden_literal(reference.domain()) {
            return Err(Error::Reference {
                input: reference.familiar(),
                reason: "its registry is an address that only this machine and its link reach",
            });
        }
        let tls = tls::config(options.ca.as_deref())?;
        let agent = |reach: Reach| {
            let mut config = Agent::config_builder()
                .tls_config(tls.clone())
                .http_status_as_error(false)
                // Redirects are followed here, because it depends on the target what may be sent along.
                .max_redirects(0)
                .max_redirects_will_error(false)
                .user_agent(concat!("watchbell/", env!("CARGO_PKG_VERSION")))
                // A compressed answer would make sizes and ranges mean something else.
                .accept_encoding("identity")
                .timeout_resolve(Some(CONNECT_TIMEOUT))
                .timeout_connect(Some(CONNECT_TIMEOUT))
                .timeout_recv_response(Some(options.stall_timeout))
                .timeout_per_read(Some(options.stall_timeout))
                .timeout_per_write(Some(options.stall_timeout));
            if on_loopback {
                config = config.proxy(None);
            }
            Agent::with_parts(config.build(), DefaultConnector::default(), AddressFilter::new(reach))
        };
        let foreign_reach = if on_loopback { Reach::Loopback } else { Reach::Beyond };
        let scheme = |scheme: &str| -> Result<Origin, Error> {
            format!("{scheme}://{host}").parse().ok().and_then(|uri| Origin::of(&uri)).ok_or_else(|| {
                Error::Reference { input: reference.familiar(), reason: "the registry is not a host name" }
            })
        };
        let mut registry = Self {
            reference,
            limits,
            home: scheme("https")?,
            home_agent: agent(Reach::Loopback),
            foreign_agent: agent(foreign_reach),
            plain_http: options.plain_http,
            pace: Pace { bytes_min: options.stall_bytes_min, span: options.stall_timeout },
            credentials: options.credentials.find(reference)?,
            deadline: options.total_timeout.map(|timeout| Instant::now() + timeout),
            authorization: Mutex::new(None),
            actions: "pull",
        };
        match options.plain_http {
            PlainHttp::Allowed => registry.home = scheme("http")?,
            PlainHttp::Loopback if on_loopback && options.ca.is_none() => {
                let plain = scheme("http")?;
                if registry.speaks(&registry.home).is_err() && registry.speaks(&plain) == Ok(true) {
                    registry.home = plain;
                }
            }
            PlainHttp::Loopback => {}
        }
        Ok(registry)
    }

    /// The same registry, to push to.
    pub(crate) fn pushing(self) -> Self {
        Self { actions: "pull,push", ..self }
    }

    /// Whether a registry answers there. `Err` when nobody does.
    fn speaks(&self, origin: &Origin) -> Result<bool, ()> {
        let answer = self.home_agent.get(self.url(origin, "/v2/")).call().map_err(|_| ())?;
        Ok(matches!(answer.status().as_u16(), 200 | 401 | 403))
    }

    /// The document that the reference names, and a descriptor of it.
    pub(crate) fn document(&self) -> Result<(Descriptor, Vec<u8>), Error> {
        let name = match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => unreachable!("a reference has a tag or a digest"),
        };
        let (media_type, bytes) = self.manifest(name)?;
        let algorithm = self.reference.digest().map_or(crate::Algorithm::Sha256, Digest::algorithm);
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&bytes);
        let digest = hasher.finish();
        let size = bytes.len() as u64;
        if let Some(expected) = self.reference.digest() {
            verify(&self.origin(), "the manifest", expected, size, &digest, size)?;
        }
        Ok((Descriptor::new(media_type.unwrap_or_else(|| guessed_type(&bytes)), digest, size), bytes))
    }

    /// A manifest that an index lists.
    pub(crate) fn listed(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let (_, bytes) = self.manifest(descriptor.digest.as_str())?;
        self.verified(descriptor, "a manifest", bytes)
    }

    /// A small blob: the image configuration.
    pub(crate) fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let step = Step("the configuration");
        let answer = self.get(step, &self.blob_path(&descriptor.digest), &HeaderMap::new())?;
        let bytes = self.read_bounded(step, answer, descriptor.size.min(self.limits.document_bytes_max))?;
        self.verified(descriptor, "the image configuration", bytes)
    }

    /// The content of a layer from the byte `from` on, as the registry answers it: whole (200) or as asked (206).
    pub(crate) fn layer(&self, digest: &Digest, from: u64) -> Result<LayerAnswer, Error> {
        let step = Step("a layer");
        let mut headers = HeaderMap::new();
        if from > 0 {
            let range = format!("bytes={from}-").parse().expect("digits make a header value");
            headers.insert(header::RANGE, range);
        }
        let answer = match self.send(step, &self.blob_path(digest), &headers)? {
            answer if answer.status().as_u16() == 416 && from > 0 => return Ok(LayerAnswer::NoSuchRange),
            answer => self.accepted(step, answer)?,
        };
        if answer.status().as_u16() == 200 {
            return Ok(LayerAnswer::Whole(Box::new(self.content(answer))));
        }
        let range = answer.headers().get(header::CONTENT_RANGE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let start =
            range.strip_prefix("bytes ").and_then(|r| r.split_once('-')).and_then(|(s, _)| s.parse().ok());
        if start != Some(from) {
            return Err(self.protocol(step, format!("asked from byte {from} it sent \"{}\"", excerpt(range))));
        }
        Ok(LayerAnswer::Rest(Box::new(self.content(answer))))
    }

    /// Whether it has asked who we are.
    pub(crate) fn is_guarded(&self) -> bool {
        self.authorization().is_some()
    }

    /// Registry and repository, for messages.
    pub(crate) fn origin(&self) -> String {
        self.reference.familiar()
    }

    fn manifest(&self, name: &str) -> Result<(Option<String>, Vec<u8>), Error> {
        let step = Step("the manifest");
        let answer = self.send_for_manifest(step, name)?;
        let answer = self.accepted(step, answer)?;
        self.read_manifest(step, answer)
    }

    fn send_for_manifest(&self, step: Step, name: &str) -> Result<Response<Body>, Error> {
        use crate::media_type::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
        let mut headers = HeaderMap::new();
        let accept = [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST].join(", ");
        headers.insert(header::ACCEPT, accept.parse().expect("media types make a header value"));
        self.send(step, &format!("/v2/{}/manifests/{name}", self.reference.path()), &headers)
    }

    fn read_manifest(&self, step: Step, answer: Response<Body>) -> Result<(Option<String>, Vec<u8>), Error> {
        let media_type = answer
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.split(';').next())
            .map(str::trim)
            // Simple file servers know no better; the content then says what it is.
            .filter(|t| !matches!(*t, "" | "application/json" | "application/octet-stream" | "text/plain"))
            .map(str::to_owned);
        Ok((media_type, self.read_bounded(step, answer, self.limits.document_bytes_max)?))
    }

    fn verified(
        &self,
        descriptor: &Descriptor,
        object: &'static str,
        bytes: Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        let mut hasher = Hasher::new(descriptor.digest.algorithm());
        hasher.update(&bytes);
        let size = bytes.len() as u64;
        verify(&self.origin(), object, &descriptor.digest, descriptor.size, &hasher.finish(), size)?;
        Ok(bytes)
    }

    fn blob_path(&self, digest: &Digest) -> String {
        format!("/v2/{}/blobs/{digest}", self.reference.path())
    }

    fn url(&self, origin: &Origin, path: &str) -> String {
        format!("{}://{}:{}{path}", origin.scheme, origin.host, origin.port)
    }

    /// A successful answer.
    fn get(&self, step: Step, path: &str, headers: &HeaderMap) -> Result<Response<Body>, Error> {
        let answer = self.send(step, path, headers)?;
        self.accepted(step, answer)
    }

    fn accepted(&self, step: Step, answer: Response<Body>) -> Result<Response<Body>, Error> {
        match answer.status().as_u16() {
            200 | 206 => Ok(answer),
            status => Err(self.refused(step, status, answer)),
        }
    }

    /// Sends a request, answers a challenge once, and follows redirects.
    fn send(&self, step: Step, path: &str, headers: &HeaderMap) -> Result<Response<Body>, Error> {
        let known = self.authorization().clone();
        let answer = self.send_with(step, path, headers, known.as_ref())?;
        if answer.status().as_u16() != 401 {
            return Ok(answer);
        }
        // `send_with` returns a 401 of the registry itself only: another host gets no credentials to try.
        let challenge = Challenge::choose(answer.headers());
        let Some(challenge) = challenge else { return Ok(answer) };
        let fresh = match self.authorization().clone() {
            // Another thread has got a new token meanwhile.
            Some(other) if Some(&other) != known.as_ref() => other,
            _ => self.authorize(step, &challenge)?,
        };
        *self.authorization() = Some(fresh.clone());
        self.send_with(step, path, headers, Some(&fresh))
    }

    /// The request with the time that is left for it.
    fn in_time<B>(&self, step: Step, request: RequestBuilder<B>) -> Result<RequestBuilder<B>, Error> {
        let Some(deadline) = self.deadline else { return Ok(request) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.broken_off(step, "no time is left, it answers too slowly"));
        }
        Ok(request.config().timeout_global(Some(left)).build())
    }

    fn authorization(&self) -> std::sync::MutexGuard<'_, Option<Authorization>> {
        self.authorization.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn send_with(
        &self,
        step: Step,
        path: &str,
        headers: &HeaderMap,
        authorization: Option<&Authorization>,
    ) -> Result<Response<Body>, Error> {
        let mut uri: Uri = self
            .url(&self.home, path)
            .parse()
            .map_err(|_| self.protocol(step, "the address of the request is not valid".to_owned()))?;
        for _ in 0..=REDIRECTS_MAX {
            let origin = Origin::of(&uri)
                .ok_or_else(|| self.protocol(step, "it redirects to no web address".to_owned()))?;
            let at_home = origin == self.home;
            let mut request = self.agent_for(step, &origin)?.get(uri.clone());
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(authorization) = authorization.filter(|_| at_home) {
                request = request.header(header::AUTHORIZATION, authorization.header());
            }
            let request = self.in_time(step, request)?;
            let answer = request.call().map_err(|e| self.unreachable(step, &origin, &e))?;
            let status = answer.status().as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                if status == 401 && !at_home {
                    return Err(self.refused(step, status, answer));
                }
                return Ok(answer);
            }
            let location = answer.headers().get(header::LOCATION).and_then(|v| v.to_str().ok()).unwrap_or("");
            uri = absolute(location, &origin)
                .ok_or_else(|| self.protocol(step, format!("it redirects to \"{}\"", excerpt(location))))?;
        }
        Err(self.protocol(step, format!("it redirects more than {REDIRECTS_MAX} times")))
    }

    /// Who may be spoken to, and by which agent. TLS is never given up on the way.
    fn agent_for(&self, step: Step, origin: &Origin) -> Result<&Agent, Error> {
        if *origin == self.home {
            return Ok(&self.home_agent);
        }
        if origin.is_plain() && !self.home.is_plain() && self.plain_http != PlainHttp::Allowed {
            return Err(
                self.protocol(step, format!("it sends us from https to http://{}", excerpt(&origin.host)))
            );
        }
        if address::is_forbidden_literal(&origin.host) {
            return Err(self.protocol(
                step,
                format!("it sends us to {}, an address of this machine or its link", excerpt(&origin.host)),
            ));
        }
        Ok(&self.foreign_agent)
    }

    /// What an answer holds, as long as it comes.
    fn content(&self, answer: Response<Body>) -> Paced<BodyReader<'static>> {
        Paced::new(answer.into_body().into_reader(), self.pace)
    }

    fn read_bounded(&self, step: Step, answer: Response<Body>, max: u64) -> Result<Vec<u8>, Error> {
        let too_large = |size: &str| Error::Limit {
            origin: self.origin(),
            object: step.0.to_owned(),
            reason: format!("the registry sends {size} bytes, at most {max} are read"),
        };
        if let Some(length) = answer.body().content_length()
            && length > max
        {
            return Err(too_large(&length.to_string()));
        }
        let mut bytes = Vec::new();
        let read = self.content(answer).take(max + 1).read_to_end(&mut bytes);
        read.map_err(|e| self.broken_off(step, &e.to_string()))?;
        if bytes.len() as u64 > max {
            return Err(too_large("more"));
        }
        Ok(bytes)
    }

    /// A connection that ended before the answer did.
    pub(crate) fn broken_off_layer(&self, cause: &str) -> Error {
        self.broken_off(Step("a layer"), cause)
    }

    fn broken_off(&self, step: Step, cause: &str) -> Error {
        Error::Unreachable {
            registry: self.reference.domain().to_owned(),
            step: step.0,
            reference: self.origin(),
            cause: excerpt(cause),
        }
    }

    fn unreachable(&self, step: Step, origin: &Origin, error: &ureq::Error) -> Error {
        let mut cause = error.to_string();
        if *origin != self.home {
            cause = format!("{} (at {}, where the registry sends us)", cause, excerpt(&origin.host));
        }
        Error::Unreachable {
            registry: self.reference.domain().to_owned(),
            step: step.0,
            reference: self.origin(),
            cause,
        }
    }

    fn refused(&self, step: Step, status: u16, answer: Response<Body>) -> Error {
        let mut body = Vec::new();
        // What cannot be read of a refusal only makes its message shorter.
        let _ = self.content(answer).take(ANSWER_BYTES_MAX).read_to_end(&mut body);
        let hint = match status {
            401 if self.credentials.is_none() => {
                "; it asks for credentials: log in with `docker login` or give them"
            }
            401 | 403 => "; the credentials do not allow it",
            404 => "; check the name and the tag",
            429 => "; it limits how often may be pulled: log in, or try later",
            500..=599 => "; try later",
            _ => "",
        };
        Error::Refused {
            registry: self.reference.domain().to_owned(),
            step: step.0,
            reference: self.origin(),
            status,
            detail: auth::error_detail(&body),
            hint,
        }
    }

    fn protocol(&self, step: Step, reason: String) -> Error {
        Error::Protocol {
            registry: self.reference.domain().to_owned(),
            step: step.0,
            reference: self.origin(),
            reason,
        }
    }
}

/// The answer to a request for a layer's content.
pub(crate) enum LayerAnswer {
    /// From the first byte on.
    Whole(Box<dyn Read + Send>),
    /// From the byte asked for.
    Rest(Box<dyn Read + Send>),
    /// There is nothing from that byte on.
    NoSuchRange,
}

/// The host that serves the API for a domain: for the default domain it is another.
fn api_host(domain: &str) -> String {
    if domain == DOCKER_IO { format!("registry-1.{DOCKER_IO}") } else { domain.to_owned() }
}

/// The media type that a document itself states, for registries that serve none.
fn guessed_type(bytes: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Labelled {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    match serde_json::from_slice::<Labelled>(bytes) {
        Ok(Labelled { media_type: Some(label), .. }) => label,
        Ok(Labelled { manifests: Some(_), .. }) => crate::media_type::OCI_INDEX.to_owned(),
        // What is no document at all is refused where it is read as one.
        _ => crate::media_type::OCI_MANIFEST.to_owned(),
    }
}

/// Where a `Location` leads, seen from `origin`.
fn absolute(location: &str, origin: &Origin) -> Option<Uri> {
    let text = if let Some(rest) = location.strip_prefix("//") {
        format!("{}://{rest}", origin.scheme)
    } else if location.starts_with('/') {
        format!("{}://{}:{}{location}", origin.scheme, origin.host, origin.port)
    } else {
        location.to_owned()
    };
    let uri: Uri = text.parse().ok()?;
    // A user name in an address is a way to disguise the host.
    (!uri.authority()?.as_str().contains('@')).then_some(uri)
}
