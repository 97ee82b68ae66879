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

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher as _;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::digest::excerpt;
use crate::{Descriptor, Digest, Error, Limits};

/// Blobs of one referrer: signatures have one or a few, and each is a request, of which nobody may cause thousands.
const REFERRER_BLOBS_MAX: usize = 8;

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

impl ArtifactManifest {
    /// What all its content comes to.
    pub(crate) fn content_bytes(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size))
    }
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

/// What was read of what is attached to an image. Whoever may push to a repository attaches what he likes, so that more than is
/// read is no error: it would keep the signature beside it from being read for ever.
#[derive(Debug, Default)]
pub struct Attached {
    artifacts: Vec<Artifact>,
    /// How much was not read, and why something was not.
    left_out: usize,
    why: Option<String>,
}

impl Attached {
    /// That there is more than was read, in words. What was not found may be there then.
    pub fn gap(&self) -> Option<String> {
        let why = self.why.as_ref()?;
        Some(format!("{} of what is attached to it could not be looked at: {why}", self.left_out))
    }

    pub(crate) fn push(&mut self, artifact: Artifact) {
        self.artifacts.push(artifact);
    }

    pub(crate) fn leave_out(&mut self, count: usize, why: impl FnOnce() -> String) {
        self.left_out += count;
        if count > 0 {
            self.why.get_or_insert_with(why);
        }
    }
}

impl std::ops::Deref for Attached {
    type Target = [Artifact];

    fn deref(&self) -> &[Artifact] {
        &self.artifacts
    }
}

impl IntoIterator for Attached {
    type Item = Artifact;
    type IntoIter = std::vec::IntoIter<Artifact>;

    fn into_iter(self) -> Self::IntoIter {
        self.artifacts.into_iter()
    }
}

/// A line of a list: what it says that it is, is a hint at most.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub descriptor: Descriptor,
    pub artifact_type: Option<String>,
}

/// A list of referrers, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub lines: Vec<Listed>,
    /// Why it was not read to its end.
    pub cut: Option<String>,
}

/// Where artifacts are read from. Answers are verified against the descriptor that is asked for.
pub(crate) trait ArtifactSource {
    /// For messages.
    fn origin(&self) -> String;
    /// The document under a tag, or `None` when there is no such tag.
    fn tagged(&self, tag: &str) -> Result<Option<(Descriptor, Vec<u8>)>, Error>;
    /// What is said to refer to `subject`, or `None` when the place keeps no such list by itself.
    fn referrers(&self, subject: &Digest) -> Result<Option<Listing>, Error>;
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error>;
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error>;
}

/// Reads what is attached to `subject` and whose manifest is `wanted`, within the limits. What is listed but names another
/// subject by its own manifest is passed over. Of very many, first what a list says to be signatures, the newest first; and as
/// many by lot, another one each time: who pushes a thousand referrers hides none for long.
///
/// # Errors
/// The place cannot be asked.
pub(crate) fn attached(
    source: &dyn ArtifactSource,
    subject: &Digest,
    limits: &Limits,
    wanted: &dyn Fn(Attachment, &ArtifactManifest) -> bool,
) -> Result<Attached, Error> {
    let state = std::hash::RandomState::new();
    attached_by(source, subject, limits, wanted, &|digest| state.hash_one(digest))
}

/// The same with the lots.
pub(crate) fn attached_by(
    source: &dyn ArtifactSource,
    subject: &Digest,
    limits: &Limits,
    wanted: &dyn Fn(Attachment, &ArtifactManifest) -> bool,
    lot: &dyn Fn(&Digest) -> u64,
) -> Result<Attached, Error> {
    let mut reader = Reader {
        source,
        limits,
        subject,
        wanted,
        lot,
        found: Vec::new(),
        manifests_left: limits.attachments_bytes_max,
        contents_left: limits.attachments_bytes_max,
        read: Attached::default(),
    };
    match reader.look() {
        // What was read until then is as good as it was.
        Err(error) if !reader.read.is_empty() => reader.read.leave_out(1, || error.to_string()),
        other => other?,
    }
    Ok(reader.read)
}

/// Whether the cause is the artifact, which is passed over, or the place, which cannot be asked for others either.
fn is_of_place(error: &Error) -> bool {
    match error {
        Error::Refused { status, .. } => !matches!(status, 400 | 404 | 405 | 410 | 416),
        Error::Unreachable { .. } | Error::Credentials { .. } | Error::Io { .. } => true,
        _ => false,
    }
}

/// An artifact whose content is not read yet.
struct Found {
    attachment: Attachment,
    digest: Digest,
    manifest: ArtifactManifest,
    document: Vec<u8>,
}

struct Reader<'a> {
    source: &'a dyn ArtifactSource,
    limits: &'a Limits,
    subject: &'a Digest,
    wanted: &'a dyn Fn(Attachment, &ArtifactManifest) -> bool,
    lot: &'a dyn Fn(&Digest) -> u64,
    found: Vec<Found>,
    /// Bytes that may still be read.
    manifests_left: u64,
    contents_left: u64,
    read: Attached,
}

impl Reader<'_> {
    /// What lies under cosign's tags comes first and whole: nobody can put others in front of it.
    fn look(&mut self) -> Result<(), Error> {
        self.tag(Attachment::Signatures)?;
        self.tag(Attachment::Attestations)?;
        self.contents()?;
        let lines = self.listing()?;
        let outcome = self.chosen(lines).into_iter().try_for_each(|line| {
            if line.descriptor.size > self.manifests_left {
                self.too_large();
                return Ok(());
            }
            let document = self.source.document(&line.descriptor);
            if let Some(document) = self.unless_broken(document)? {
                self.take(Attachment::Referrer, line.descriptor.digest, document);
            }
            Ok(())
        });
        self.contents()?;
        outcome?;
        self.tag(Attachment::Sbom)?;
        self.contents()
    }

    fn tag(&mut self, attachment: Attachment) -> Result<(), Error> {
        let found = self.source.tagged(&attachment.tag(self.subject));
        if let Some((descriptor, document)) = self.unless_broken(found)?.flatten() {
            self.take(attachment, descriptor.digest, document);
        }
        Ok(())
    }

    fn listing(&mut self) -> Result<Vec<Listed>, Error> {
        let listing = self.source.referrers(self.subject);
        let mut listing = self.unless_broken(listing)?.flatten().unwrap_or_default();
        // Also where the list is empty: it may be younger than the tag.
        if listing.lines.is_empty() {
            let tagged = self.source.tagged(&Attachment::Referrer.tag(self.subject));
            if let Some((_, bytes)) = self.unless_broken(tagged)?.flatten() {
                let lines = lines(&bytes, &self.source.origin());
                listing.lines = self.unless_broken(lines)?.unwrap_or_default();
            }
        }
        if let Some(why) = listing.cut.take() {
            self.read.leave_out(1, || why);
        }
        Ok(listing.lines)
    }

    /// So many as are looked at.
    fn chosen(&mut self, mut lines: Vec<Listed>) -> Vec<Listed> {
        let mut seen = HashSet::new();
        lines.retain(|line| seen.insert(line.descriptor.digest.clone()));
        let all = lines.len();
        lines.retain(|line| line.descriptor.size <= self.limits.document_bytes_max);
        let most = self.limits.document_bytes_max;
        self.read.leave_out(all - lines.len(), || format!("its manifest has more than {most} bytes"));
        lines.sort_by_cached_key(|line| {
            let created = line.descriptor.annotations.get("org.opencontainers.image.created");
            let created = created.and_then(|text| text.parse::<jiff::Timestamp>().ok());
            (rank(line), std::cmp::Reverse(created))
        });
        let most = self.limits.attachments_max;
        if lines.len() > most {
            let more = lines.len() - most;
            self.read.leave_out(more, || {
                format!("no more than {most} are looked at each time, some of them by lot")
            });
            let mut rest = lines.split_off(most.div_ceil(2));
            rest.sort_by_cached_key(|line| (self.lot)(&line.descriptor.digest));
            rest.truncate(most - lines.len());
            // In turn, for the time may be over before all of them are read.
            let mut by_lot = rest.into_iter();
            lines = lines.into_iter().flat_map(|line| std::iter::once(line).chain(by_lot.next())).collect();
        }
        lines
    }

    /// `None` for what is broken by itself.
    fn unless_broken<T>(&mut self, read: Result<T, Error>) -> Result<Option<T>, Error> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) if is_of_place(&error) => Err(error),
            Err(error) => {
                self.read.leave_out(1, || error.to_string());
                Ok(None)
            }
        }
    }

    fn take(&mut self, attachment: Attachment, digest: Digest, document: Vec<u8>) {
        let manifest = match ArtifactManifest::parse(&document, self.limits, &self.source.origin()) {
            Ok(manifest) => manifest,
            // An index may refer to an image too; whoever asked wants manifests with content.
            Err(e) => {
                tracing::debug!(attachment = %digest, "passed over: {e}");
                return;
            }
        };
        if manifest.subject.as_ref().is_some_and(|named| named != self.subject) {
            tracing::warn!(attachment = %digest, image = %self.subject, "listed for an image that it does not name");
            return;
        }
        if !(self.wanted)(attachment, &manifest) {
            return;
        }
        if attachment == Attachment::Referrer && manifest.layers.len() > REFERRER_BLOBS_MAX {
            return self.read.leave_out(1, || {
                format!(
                    "no more than {REFERRER_BLOBS_MAX} blobs are fetched of one that is no tag of cosign's"
                )
            });
        }
        let Some(left) = self.manifests_left.checked_sub(document.len() as u64) else {
            return self.too_large();
        };
        self.manifests_left = left;
        self.found.push(Found { attachment, digest, manifest, document });
    }

    fn too_large(&mut self) {
        let Limits { attachment_bytes_max: one, attachments_bytes_max: all, .. } = self.limits;
        self.read.leave_out(1, || format!("no more than {one} bytes are read of one, and {all} of all"));
    }

    /// Reads what was found: in its order until half of the bytes are used, and by lot what still fits.
    fn contents(&mut self) -> Result<(), Error> {
        let Limits { attachment_bytes_max: most, attachments_bytes_max: all, .. } = *self.limits;
        let mut later = Vec::new();
        let mut is_read = vec![false; self.found.len()];
        for (n, found) in self.found.iter().enumerate() {
            let bytes = found.manifest.content_bytes();
            if bytes <= most.min(self.contents_left.saturating_sub(all / 2)) {
                self.contents_left -= bytes;
                is_read[n] = true;
            } else {
                later.push(n);
            }
        }
        later.sort_by_cached_key(|n| (self.lot)(&self.found[*n].digest));
        for n in later {
            let bytes = self.found[n].manifest.content_bytes();
            if bytes <= most.min(self.contents_left) {
                self.contents_left -= bytes;
                is_read[n] = true;
            } else {
                self.too_large();
            }
        }
        let found = std::mem::take(&mut self.found).into_iter().zip(is_read);
        for Found { attachment, digest, manifest, document } in
            found.filter(|(_, read)| *read).map(|(found, _)| found)
        {
            let read = |layer: &Descriptor| {
                let bytes = self.source.blob(layer)?;
                Ok(ArtifactBlob { descriptor: layer.clone(), bytes })
            };
            match manifest.layers.iter().map(read).collect::<Result<Vec<_>, Error>>() {
                Ok(blobs) => self.read.push(Artifact { digest, attachment, manifest, blobs, document }),
                Err(error) => drop(self.unless_broken::<()>(Err(error))?),
            }
        }
        Ok(())
    }
}

/// By what a list says of it: signatures before what may be one, and bills of materials last.
fn rank(line: &Listed) -> u8 {
    const SIGNATURES: [&str; 5] = ["sigstore", "cosign", "in-toto", "dsse", "notary"];
    const BILLS: [&str; 3] = ["cyclonedx", "spdx", "syft"];
    let said = line.artifact_type.as_deref().unwrap_or(&line.descriptor.media_type).to_ascii_lowercase();
    let is_of = |words: &[&str]| words.iter().any(|word| said.contains(word));
    match (is_of(&SIGNATURES), is_of(&BILLS)) {
        (true, _) => 0,
        (false, false) => 1,
        (false, true) => 2,
    }
}

/// The lines of a list of referrers, however many they are.
pub(crate) fn lines(bytes: &[u8], origin: &str) -> Result<Vec<Listed>, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        media_type: String,
        digest: Digest,
        size: u64,
        artifact_type: Option<String>,
        annotations: Option<BTreeMap<String, String>>,
    }
    let line = |Line { media_type, digest, size, artifact_type, annotations }| {
        let mut descriptor = Descriptor::new(media_type, digest, size);
        descriptor.annotations = annotations.unwrap_or_default();
        Listed { descriptor, artifact_type }
    };
    Ok(manifests(bytes, origin)?.into_iter().map(line).collect())
}

fn manifests<T: DeserializeOwned>(bytes: &[u8], origin: &str) -> Result<Vec<T>, Error> {
    #[derive(Deserialize)]
    struct List<T> {
        manifests: Option<Vec<T>>,
    }
    let list: List<T> =
        serde_json::from_slice(bytes).map_err(|e| no_list(origin, excerpt(&e.to_string())))?;
    list.manifests.ok_or_else(|| no_list(origin, "it lists no manifests".to_owned()))
}

fn no_list(origin: &str, reason: String) -> Error {
    Error::document(origin, "the list of attachments", reason)
}

/// The entries of an index, whatever it calls itself.
pub(crate) fn index(bytes: &[u8], limits: &Limits, origin: &str) -> Result<Vec<Descriptor>, Error> {
    let manifests: Vec<Descriptor> = manifests(bytes, origin)?;
    if manifests.len() > limits.index_entries_max {
        let (count, most) = (manifests.len(), limits.index_entries_max);
        return Err(no_list(origin, format!("it lists {count} manifests, at most {most} are read")));
    }
    Ok(manifests)
}

#[cfg(test)]
mod tests;
