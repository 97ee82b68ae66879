//! Image references, parsed and normalised as Docker and containerd do.
//!
//! ```text
//!   busybox:bar                     docker.io/library/busybox:bar
//!   localhost:5000/a/b@sha256:…     localhost:5000/a/b@sha256:…
//!   └──── domain ─┘└path┘└digest┘
//! ```
//!
//! The grammar is that of the distribution project's reference package (`reference.ParseNormalizedNamed`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::excerpt;
use crate::{Digest, Error};

/// The domain of a name that states none.
pub(crate) const DOCKER_IO: &str = "docker.io";
/// The path prefix of an unqualified name of that domain.
const OFFICIAL: &str = "library";
const TAG_LEN_MAX: usize = 128;
const NAME_LEN_MAX: usize = 255;
const DEFAULT_TAG: &str = "latest";

/// A normalised reference: a repository, and a tag, a digest or both. With neither, the tag is `latest`. With both, the
/// digest decides.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads what a user or a manifest wrote.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |reason: &'static str| Error::Reference { input: excerpt(text), reason };
        if text.is_empty() {
            return Err(refuse("it is empty"));
        }
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(refuse(
                "64 hexadecimal digits are an image ID, not a name; write name@sha256:<digits>",
            ));
        }
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let digest = Digest::parse(digest)
                    .map_err(|_| refuse("what follows @ is not sha256:<64 lowercase hexadecimal digits>"))?;
                (rest, Some(digest))
            }
        };
        // A colon after the last slash begins a tag; one before it belongs to the domain's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let (domain, path) = split_domain(name);
        if let Some(reason) = domain_fault(&domain) {
            return Err(refuse(reason));
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(refuse("the repository name must be lowercase"));
        }
        if !path.split('/').all(is_path_component) {
            return Err(refuse(
                "a repository name is made of lowercase letters and digits, separated by single . _ / or by __ or -",
            ));
        }
        if domain.len() + 1 + path.len() > NAME_LEN_MAX {
            return Err(refuse("the repository name is longer than 255 characters"));
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(refuse("a tag is 1 to 128 letters, digits, _ . -, and does not begin with . or -"));
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some(DEFAULT_TAG.to_owned()),
        };
        Ok(Self { domain, path, tag, digest })
    }

    /// The registry, with its port where one is stated: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's name at the registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Domain and path: `docker.io/library/busybox`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository, named by digest alone.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), tag: None, ..self.clone() }
    }

    /// As a user of Docker writes it: `busybox:bar`.
    pub fn familiar(&self) -> String {
        let repository = if self.domain == DOCKER_IO {
            match self.path.strip_prefix(OFFICIAL).and_then(|p| p.strip_prefix('/')) {
                Some(short) if !short.contains('/') => short.to_owned(),
                // `docker.io/localhost/x` shortened would read as the domain `localhost`; such a path keeps its domain.
                _ if split_domain(&self.path).0 != DOCKER_IO => self.repository(),
                _ => self.path.clone(),
            }
        } else {
            self.repository()
        };
        self.with_suffix(repository)
    }

    fn with_suffix(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

/// The first component is a domain when it could not be a plain path component: it has a dot, a colon or an uppercase
/// letter, or is `localhost`.
fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DOCKER_IO, name),
    };
    // The index service of old and the registry are one domain.
    let domain = if domain.strip_prefix("index.") == Some(DOCKER_IO) { DOCKER_IO } else { domain };
    if domain == DOCKER_IO && !path.contains('/') {
        return (domain.to_owned(), format!("{OFFICIAL}/{path}"));
    }
    (domain.to_owned(), path.to_owned())
}

fn domain_fault(domain: &str) -> Option<&'static str> {
    let (host, port) = if let Some(rest) = domain.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else {
            return Some("the IPv6 address of the registry is not closed by ]");
        };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Some("the registry in [ ] is not an IPv6 address");
        }
        match rest.strip_prefix(':') {
            None if rest.is_empty() => return None,
            None => return Some("only :port may follow the registry's IPv6 address"),
            Some(port) => ("ipv6", Some(port)),
        }
    } else {
        match domain.split_once(':') {
            None => (domain, None),
            Some((host, port)) => (host, Some(port)),
        }
    };
    if let Some(port) = port
        && (port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err())
    {
        return Some("the registry's port is not a number below 65536");
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    (!host.split('.').all(label)).then_some("the registry is not a host name")
}

fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().is_some_and(alphanumeric) || !bytes.last().is_some_and(alphanumeric) {
        return false;
    }
    // Between alphanumeric runs: one dot, one or two underscores, or any number of dashes.
    bytes.split(alphanumeric).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

fn is_tag(tag: &str) -> bool {
    (1..=TAG_LEN_MAX).contains(&tag.len())
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && !tag.starts_with(['.', '-'])
}

/// The canonical form, domain and all: `docker.io/library/busybox:bar`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.repository()))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({self})")
    }
}

impl FromStr for Reference {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests;
