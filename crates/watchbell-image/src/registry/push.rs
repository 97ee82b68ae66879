//! Attaching to an image at a registry: blobs, a manifest that names its subject, and where the registry keeps no list of
//! referrers by itself, the index under the tag that stands for one (OCI distribution 1.1, "Pushing manifests with subject").

use serde_json::{Value, json};
use ureq::Body;
use ureq::http::{HeaderMap, Response, Uri, header};

use super::auth::{Authorization, Challenge};
use super::{Origin, Registry, Step, absolute};
use crate::artifact::{ArtifactSource, Attachment, index};
use crate::digest::excerpt;
use crate::layout::NewBlob;
use crate::media_type::{OCI_INDEX, OCI_MANIFEST};
use crate::{Descriptor, Digest, Error};

const EMPTY: &str = "application/vnd.oci.empty.v1+json";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Head,
    Post,
    Put,
}

impl Registry<'_> {
    /// Pushes `blobs` as one artifact of `subject`; gives back its descriptor.
    pub(crate) fn attach(
        &self,
        subject: &Descriptor,
        artifact_type: &str,
        blobs: &[NewBlob],
    ) -> Result<Descriptor, Error> {
        let mut layers = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let mut descriptor = self.push_blob(&blob.media_type, &blob.bytes)?;
            descriptor.annotations.extend(blob.annotations.iter().cloned());
            layers.push(descriptor);
        }
        let config = self.push_blob(EMPTY, b"{}")?;
        let document = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": config,
            "layers": layers,
            "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": subject.size},
        })
        .to_string();
        let descriptor =
            Descriptor::new(OCI_MANIFEST, Digest::of(document.as_bytes()), document.len() as u64);
        let answer = self.push_manifest(descriptor.digest.as_str(), OCI_MANIFEST, document.as_bytes())?;
        // A registry that lists referrers says so by this header.
        if answer.headers().get("OCI-Subject").is_none() {
            self.add_to_tag(&subject.digest, &descriptor, artifact_type)?;
        }
        Ok(descriptor)
    }

    /// Adds a line to the index under the tag. Two who do so at one time may lose one of the lines: the protocol has no other
    /// way.
    fn add_to_tag(&self, subject: &Digest, added: &Descriptor, artifact_type: &str) -> Result<(), Error> {
        let tag = Attachment::Referrer.tag(subject);
        let mut lines: Vec<Value> = match self.tagged(&tag)? {
            None => Vec::new(),
            Some((_, bytes)) => {
                // Read as whoever looks for attachments reads it; kept as it is.
                if index(&bytes, self.limits, &Registry::origin(self))?
                    .iter()
                    .any(|line| line.digest == added.digest)
                {
                    return Ok(());
                }
                let known: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                known["manifests"].as_array().cloned().unwrap_or_default()
            }
        };
        if lines.len() >= self.limits.attachments_max {
            return Err(Error::Limit {
                origin: Registry::origin(self),
                object: format!("the list of what is attached to {subject}"),
                reason: format!(
                    "it has {} entries, and no more than {} are read; delete some at the registry",
                    lines.len(),
                    self.limits.attachments_max
                ),
            });
        }
        let mut line = json!(added);
        line["artifactType"] = json!(artifact_type);
        lines.push(line);
        let document = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": lines}).to_string();
        self.push_manifest(&tag, OCI_INDEX, document.as_bytes()).map(|_| ())
    }

    fn push_manifest(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<Response<Body>, Error> {
        let step = Step("the push of a manifest");
        let path = format!("/v2/{}/manifests/{name}", self.reference.path());
        let answer = self.submit(step, Method::Put, &self.url(&self.home, &path), Some(media_type), bytes)?;
        self.created(step, answer, 201)
    }

    fn push_blob(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, Error> {
        let step = Step("the push of a blob");
        let digest = Digest::of(bytes);
        let descriptor = Descriptor::new(media_type, digest.clone(), bytes.len() as u64);
        let known =
            self.submit(step, Method::Head, &self.url(&self.home, &self.blob_path(&digest)), None, b"")?;
        if known.status().as_u16() == 200 {
            return Ok(descriptor);
        }
        let start = self.url(&self.home, &format!("/v2/{}/blobs/uploads/", self.reference.path()));
        let answer = self.submit(step, Method::Post, &start, None, b"")?;
        let answer = self.created(step, answer, 202)?;
        let location = answer.headers().get(header::LOCATION).and_then(|v| v.to_str().ok()).unwrap_or("");
        let elsewhere =
            || self.protocol(step, format!("it has the content sent to \"{}\"", excerpt(location)));
        let uri = absolute(location, &self.home).ok_or_else(elsewhere)?;
        // The content and the token go to the registry that the user named, and to nobody whom it names.
        if Origin::of(&uri).as_ref() != Some(&self.home) {
            return Err(elsewhere());
        }
        let separator = if uri.query().is_some() { '&' } else { '?' };
        let uri = format!("{uri}{separator}digest={}", digest.as_str().replace(':', "%3A"));
        let answer = self.submit(step, Method::Put, &uri, Some("application/octet-stream"), bytes)?;
        self.created(step, answer, 201)?;
        Ok(descriptor)
    }

    fn created(&self, step: Step, answer: Response<Body>, wanted: u16) -> Result<Response<Body>, Error> {
        match answer.status().as_u16() {
            status if status == wanted => Ok(answer),
            status if status < 400 => Err(self.protocol(step, format!("it answers with status {status}"))),
            status => Err(self.refused(step, status, answer)),
        }
    }

    /// Sends something to the registry itself, and answers a challenge once. Redirects are not followed: content goes nowhere
    /// else.
    fn submit(
        &self,
        step: Step,
        method: Method,
        uri: &str,
        media_type: Option<&str>,
        body: &[u8],
    ) -> Result<Response<Body>, Error> {
        let known = self.authorization().clone();
        let answer = self.submit_with(step, method, uri, media_type, body, known.as_ref())?;
        if answer.status().as_u16() != 401 {
            return Ok(answer);
        }
        let Some(challenge) = Challenge::choose(answer.headers()) else { return Ok(answer) };
        let fresh = self.authorize(step, &challenge)?;
        *self.authorization() = Some(fresh.clone());
        self.submit_with(step, method, uri, media_type, body, Some(&fresh))
    }

    fn submit_with(
        &self,
        step: Step,
        method: Method,
        uri: &str,
        media_type: Option<&str>,
        body: &[u8],
        authorization: Option<&Authorization>,
    ) -> Result<Response<Body>, Error> {
        let uri: Uri = uri
            .parse()
            .map_err(|_| self.protocol(step, "the address of the request is not valid".to_owned()))?;
        let mut headers = HeaderMap::new();
        if let Some(media_type) = media_type {
            let value =
                media_type.parse().map_err(|_| self.protocol(step, "a media type is none".to_owned()))?;
            headers.insert(header::CONTENT_TYPE, value);
        }
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization.header().clone());
        }
        let agent = &self.home_agent;
        let sent = match method {
            Method::Head => with(agent.head(uri), &headers).call(),
            Method::Post => with(agent.post(uri), &headers).send(body),
            Method::Put => with(agent.put(uri), &headers).send(body),
        };
        sent.map_err(|e| self.unreachable(step, &self.home, &e))
    }
}

fn with<B>(mut request: ureq::RequestBuilder<B>, headers: &HeaderMap) -> ureq::RequestBuilder<B> {
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
}
