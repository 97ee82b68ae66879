//! What is attached to an image beside its layers: signatures, attestations, bills of materials.
//!
//! ```text
//!   referrers API ─┐                                    manifest: artifactType, subject, layers
//!   tag sha256-HEX ┼─ index ─ descriptor ─▶ the manifest itself ─▶ blobs that somebody wants
//!   tag sha256-HEX.sig|.att|.sbom ────────────┘
//! ```
//!
//! A descriptor that lists an artifact is believed about its digest and its size, which are verified, and about nothing
//! else: registries and tools fill in other types there than the manifest has.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::excerpt;
use crate::{Descriptor, Digest, Error, Limits};

/// An artifact that is attached to an image: its manifest, and what was read of its content.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The digest of its manifest.
    pub digest: Digest,
    pub attachment: Attachment,
    pub manifest: ArtifactManifest,
    /// The content that was wanted, in the manifest's order; digests and sizes were verified.
    pub blobs: Vec<ArtifactBlob>,
    /// The manifest as it was received.
    pub(crate) document: Vec<u8>,
}

/// One blob of an artifact.
#[derive(Clone, Debug)]
pub struct ArtifactBlob {
    pub descriptor: Descriptor,
    pub bytes: Vec<u8>,
}

/// How an artifact is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attachment {
    /// A manifest that names the image as its subject (OCI distribution 1.1), listed by the referrers API or by the tag
    /// `sha256-HEX`.
    Referrer,
    /// cosign's tag `sha256-HEX.sig`.
    Signatures,
    /// cosign's tag `sha256-HEX.att`.
    Attestations,
    /// cosign's tag `sha256-HEX.sbom`.
    Sbom,
}

impl Attachment {
    pub(crate) const BY_TAG: [Self; 3] = [Self::Signatures, Self::Attestations, Self::Sbom];

    /// The tag under which `subject` has such an attachment.
    pub fn tag(self, subject: &Digest) -> String {
        let suffix = match self {
            Self::Referrer => "",
            Self::Signatures => ".sig",
            Self::Attestations => ".att",
            Self::Sbom => ".sbom",
        };
        // A tag has no colon, and at most 128 characters; the specification cuts longer digests.
        let mut tag = format!("{}-{}", subject.algorithm().as_str(), subject.hex());
        tag.truncate(128 - suffix.len());
        tag.push_str(suffix);
        tag
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Referrer => "referrer",
            Self::Signatures => "sig",
            Self::Attestations => "att",
            Self::Sbom => "sbom",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Referrer, Self::Signatures, Self::Attestations, Self::Sbom]
            .into_iter()
            .find(|a| a.as_str() == text)
    }
}

/// The manifest of an artifact: an image manifest whose content need not be an image's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactManifest {
    /// `artifactType`, else the type of the configuration.
    pub artifact_type: String,
    pub layers: Vec<Descriptor>,
    /// The digest that the manifest itself names as what it is attached to.
    pub subject: Option<Digest>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyManifest {
    schema_version: u32,
    artifact_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl ArtifactManifest {
    /// Reads a manifest; of its own type only the content decides.
    pub(crate) fn parse(bytes: &[u8], limits: &Limits, origin: &str) -> Result<Self, Error> {
        let refuse = |reason: String| Error::document(origin, "the manifest of an attachment", reason);
        let manifest: AnyManifest = serde_json::from_slice(bytes).map_err(|e| refuse(e.to_string()))?;
        if manifest.schema_version != 2 {
            return Err(refuse(format!("schemaVersion is {}, only 2 is read", manifest.schema_version)));
        }
        if manifest.layers.len() > limits.layers_max {
            return Err(refuse(format!(
                "it has {} layers, at most {} are read",
                manifest.layers.len(),
                limits.layers_max
            )));
        }
        let artifact_type =
            manifest.artifact_type.filter(|t| !t.is_empty()).unwrap_or(manifest.config.media_type);
        Ok(Self {
            artifact_type,
            layers: manifest.layers,
            subject: manifest.subject.map(|s| s.digest),
            annotations: manifest.annotations.unwrap_or_default(),
        })
    }
}

/// Where artifacts are read from. Answers are verified against the descriptor that is asked for.
pub(crate) trait ArtifactSource {
    /// For messages.
    fn origin(&self) -> String;
    /// The document under a tag, or `None` when there is no such tag.
    fn tagged(&self, tag: &str) -> Result<Option<(Descriptor, Vec<u8>)>, Error>;
    /// What is said to refer to `subject`, or `None` when the place keeps no such list by itself.
    fn referrers(&self, subject: &Digest) -> Result<Option<Vec<Descriptor>>, Error>;
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error>;
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error>;
}

/// Reads everything attached to `subject` whose manifest is `wanted`. What is listed but names another subject by its own
/// manifest is passed over.
pub(crate) fn attached(
    source: &dyn ArtifactSource,
    subject: &Digest,
    limits: &Limits,
    wanted: &dyn Fn(Attachment, &ArtifactManifest) -> bool,
) -> Result<Vec<Artifact>, Error> {
    let origin = source.origin();
    let mut reader = Reader { source, limits, origin: &origin, subject, found: Vec::new(), bytes: 0 };
    let mut listed = source.referrers(subject)?.unwrap_or_default();
    // Also where the list is empty: it may be younger than the tag.
    if listed.is_empty()
        && let Some((_, bytes)) = source.tagged(&Attachment::Referrer.tag(subject))?
    {
        listed = index(&bytes, limits, &origin)?;
    }
    reader.check_count(listed.len())?;
    for descriptor in listed {
        if reader.found.iter().any(|artifact| artifact.digest == descriptor.digest) {
            continue;
        }
        reader.check_size(&descriptor)?;
        let document = source.document(&descriptor)?;
        reader.take(Attachment::Referrer, descriptor.digest, document, wanted)?;
    }
    for attachment in Attachment::BY_TAG {
        if let Some((descriptor, document)) = source.tagged(&attachment.tag(subject))? {
            reader.take(attachment, descriptor.digest, document, wanted)?;
        }
    }
    Ok(reader.found)
}

struct Reader<'a> {
    source: &'a dyn ArtifactSource,
    limits: &'a Limits,
    origin: &'a str,
    subject: &'a Digest,
    found: Vec<Artifact>,
    /// Of all blobs so far.
    bytes: u64,
}

impl Reader<'_> {
    fn check_count(&self, count: usize) -> Result<(), Error> {
        if count > self.limits.attachments_max {
            return Err(Error::Limit {
                origin: self.origin.to_owned(),
                object: format!("the list of what is attached to {}", self.subject),
                reason: format!("{count} entries, at most {} are read", self.limits.attachments_max),
            });
        }
        Ok(())
    }

    fn check_size(&self, descriptor: &Descriptor) -> Result<(), Error> {
        if descriptor.size > self.limits.document_bytes_max {
            return Err(Error::Limit {
                origin: self.origin.to_owned(),
                object: format!("attachment {}", descriptor.digest),
                reason: format!(
                    "its manifest has {} bytes, at most {} are read",
                    descriptor.size, self.limits.document_bytes_max
                ),
            });
        }
        Ok(())
    }

    fn take(
        &mut self,
        attachment: Attachment,
        digest: Digest,
        document: Vec<u8>,
        wanted: &dyn Fn(Attachment, &ArtifactManifest) -> bool,
    ) -> Result<(), Error> {
        let manifest = match ArtifactManifest::parse(&document, self.limits, self.origin) {
            Ok(manifest) => manifest,
            // An index may refer to an image too; whoever asked wants manifests with content.
            Err(e) => {
                tracing::debug!(attachment = %digest, "passed over: {e}");
                return Ok(());
            }
        };
        if manifest.subject.as_ref().is_some_and(|named| named != self.subject) {
            tracing::warn!(attachment = %digest, image = %self.subject, "listed for an image that it does not name");
            return Ok(());
        }
        if !wanted(attachment, &manifest) {
            return Ok(());
        }
        let mut blobs = Vec::with_capacity(manifest.layers.len());
        for descriptor in &manifest.layers {
            self.bytes = self.bytes.saturating_add(descriptor.size);
            if self.bytes > self.limits.attachments_bytes_max {
                return Err(Error::Limit {
                    origin: self.origin.to_owned(),
                    object: format!("what is attached to {}", self.subject),
                    reason: format!("more than {} bytes together", self.limits.attachments_bytes_max),
                });
            }
            blobs.push(ArtifactBlob { descriptor: descriptor.clone(), bytes: self.source.blob(descriptor)? });
        }
        self.found.push(Artifact { digest, attachment, manifest, blobs, document });
        Ok(())
    }
}

/// The entries of an index, whatever it calls itself.
pub(crate) fn index(bytes: &[u8], limits: &Limits, origin: &str) -> Result<Vec<Descriptor>, Error> {
    #[derive(Deserialize)]
    struct List {
        manifests: Option<Vec<Descriptor>>,
    }
    let refuse = |reason: String| Error::document(origin, "the list of attachments", reason);
    let list: List = serde_json::from_slice(bytes).map_err(|e| refuse(excerpt(&e.to_string())))?;
    let manifests = list.manifests.ok_or_else(|| refuse("it lists no manifests".to_owned()))?;
    if manifests.len() > limits.index_entries_max {
        return Err(refuse(format!(
            "it lists {} manifests, at most {} are read",
            manifests.len(),
            limits.index_entries_max
        )));
    }
    Ok(manifests)
}
