//! Manifests and indexes: what a registry serves under a tag or digest.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::media_type::{DOCKER_MANIFEST_V1, OCI_MANIFEST};
use crate::{Digest, Error, Limits, MediaType, Platform};

/// A content descriptor (OCI image specification, `descriptor.md`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(crate) fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.into(), digest, size, platform: None, annotations: BTreeMap::new() }
    }
}

/// A document, told apart by its content and not by the media type alone (CVE-2021-41190): one that could be read as
/// both a manifest and an index is neither.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

#[derive(Clone, Debug)]
pub(crate) struct Index {
    pub(crate) manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyDocument {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ManifestOut<'a> {
    schema_version: u32,
    media_type: &'static str,
    config: &'a Descriptor,
    layers: &'a [Descriptor],
}

impl Document {
    /// Reads `bytes`; `claimed` is the media type by which it was served or described.
    pub(crate) fn parse(
        bytes: &[u8],
        claimed: Option<&str>,
        limits: &Limits,
        origin: &str,
    ) -> Result<Self, Error> {
        let refuse = |reason: String| Error::document(origin, "the manifest", reason);
        if let Some(claimed) = claimed
            && DOCKER_MANIFEST_V1.contains(&claimed)
        {
            return Err(refuse(
                "it has the obsolete schema 1; push the image again with a current tool".to_owned(),
            ));
        }
        let document: AnyDocument = serde_json::from_slice(bytes).map_err(|e| refuse(e.to_string()))?;
        if document.schema_version != 2 || document.fs_layers.is_some() {
            return Err(refuse(format!(
                "schemaVersion is {}, only 2 is supported; push the image again with a current tool",
                document.schema_version
            )));
        }
        let is_manifest = document.config.is_some() || document.layers.is_some();
        let is_index = document.manifests.is_some();
        if is_manifest && is_index {
            return Err(refuse("it is both a manifest (config, layers) and an index (manifests)".to_owned()));
        }
        for (source, media_type) in [("served as", claimed), ("labelled", document.media_type.as_deref())] {
            let Some(media_type) = media_type else { continue };
            let agrees = match MediaType::parse(media_type) {
                Some(MediaType::Manifest) => is_manifest,
                Some(MediaType::Index) => is_index,
                _ => false,
            };
            if !agrees {
                let content = if is_index { "an index" } else { "a manifest" };
                return Err(refuse(format!(
                    "it is {source} {} but its content is that of {content}",
                    crate::digest::excerpt(media_type)
                )));
            }
        }
        if let (Some(claimed), Some(labelled)) = (claimed, &document.media_type)
            && claimed != labelled
        {
            return Err(refuse(format!(
                "it is served as {claimed} but labelled {}",
                crate::digest::excerpt(labelled)
            )));
        }
        match document {
            AnyDocument { manifests: Some(manifests), .. } => {
                if manifests.len() > limits.index_entries_max {
                    return Err(refuse(format!(
                        "it lists {} manifests, at most {} are read",
                        manifests.len(),
                        limits.index_entries_max
                    )));
                }
                Ok(Self::Index(Index { manifests }))
            }
            AnyDocument { config: Some(config), layers: Some(layers), .. } => {
                let manifest = Manifest { config, layers };
                manifest.check(limits, origin)?;
                Ok(Self::Manifest(manifest))
            }
            _ => Err(refuse("it has neither config and layers nor manifests".to_owned())),
        }
    }
}

impl Manifest {
    fn check(&self, limits: &Limits, origin: &str) -> Result<(), Error> {
        if MediaType::parse(&self.config.media_type) != Some(MediaType::Config) {
            return Err(Error::document(
                origin,
                "the manifest",
                format!(
                    "its config is of type {}: this is an artifact, not a container image",
                    crate::digest::excerpt(&self.config.media_type)
                ),
            ));
        }
        if self.layers.len() > limits.layers_max {
            return Err(Error::Limit {
                origin: origin.to_owned(),
                object: "the manifest".to_owned(),
                reason: format!("{} layers, at most {} are mounted", self.layers.len(), limits.layers_max),
            });
        }
        for layer in &self.layers {
            if !matches!(MediaType::parse(&layer.media_type), Some(MediaType::Layer(_))) {
                return Err(Error::document(
                    origin,
                    "the manifest",
                    format!(
                        "layer {} is of type {}, which cannot be unpacked",
                        layer.digest,
                        crate::digest::excerpt(&layer.media_type)
                    ),
                ));
            }
        }
        let total = self.layers.iter().try_fold(0u64, |sum, l| sum.checked_add(l.size));
        if total.is_none_or(|t| t > limits.image_compressed_bytes_max) {
            return Err(Error::Limit {
                origin: origin.to_owned(),
                object: "the manifest".to_owned(),
                reason: format!(
                    "its layers have more than {} bytes together",
                    limits.image_compressed_bytes_max
                ),
            });
        }
        if self.config.size > limits.document_bytes_max {
            return Err(Error::Limit {
                origin: origin.to_owned(),
                object: "the image configuration".to_owned(),
                reason: format!("{} bytes, at most {} are read", self.config.size, limits.document_bytes_max),
            });
        }
        Ok(())
    }

    /// The OCI manifest document of an image assembled here.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let out = ManifestOut {
            schema_version: 2,
            media_type: OCI_MANIFEST,
            config: &self.config,
            layers: &self.layers,
        };
        serde_json::to_vec(&out).expect("strings and numbers always serialize")
    }
}

impl Index {
    /// The entry for `wanted`. An entry without a platform is taken when it is the only image: old and single-platform
    /// indexes have such.
    pub(crate) fn choose(&self, wanted: &Platform, origin: &str) -> Result<&Descriptor, Error> {
        let images = || {
            self.manifests.iter().filter(|d| {
                matches!(MediaType::parse(&d.media_type), Some(MediaType::Manifest | MediaType::Index))
                    // BuildKit's attestations stand beside the images under this platform.
                    && d.platform.as_ref().is_none_or(|p| p.os != "unknown")
            })
        };
        if let Some(found) = images().find(|d| d.platform.as_ref().is_some_and(|p| p.satisfies(wanted))) {
            return Ok(found);
        }
        let mut unstated = images().filter(|d| d.platform.is_none());
        if let (Some(only), None) = (unstated.next(), unstated.next()) {
            return Ok(only);
        }
        let mut offered: Vec<String> = images()
            .filter_map(|d| d.platform.as_ref())
            .map(|p| crate::digest::excerpt(&p.to_string()))
            .collect();
        offered.sort();
        offered.dedup();
        offered.truncate(20);
        let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
        Err(Error::NoPlatform { origin: origin.to_owned(), wanted: wanted.to_string(), offered })
    }
}

/// The manifest for one platform, reached from what a name stands for.
pub(crate) struct Chosen {
    pub(crate) manifest: Manifest,
    pub(crate) descriptor: Descriptor,
    /// The document itself; its digest was verified.
    pub(crate) bytes: Vec<u8>,
}

/// Goes from a document down through indexes to the manifest for `wanted`. `fetch` returns the verified content of a
/// descriptor. The way down is bounded: a chain of indexes is no image.
pub(crate) fn descend(
    descriptor: Descriptor,
    bytes: Vec<u8>,
    wanted: &Platform,
    limits: &Limits,
    origin: &str,
    fetch: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, Error>,
) -> Result<Chosen, Error> {
    let (mut descriptor, mut bytes) = (descriptor, bytes);
    for _ in 0..=limits.index_depth_max {
        match Document::parse(&bytes, Some(&descriptor.media_type), limits, origin)? {
            Document::Manifest(manifest) => return Ok(Chosen { manifest, descriptor, bytes }),
            Document::Index(index) => {
                let next = index.choose(wanted, origin)?.clone();
                if next.size > limits.document_bytes_max {
                    return Err(Error::Limit {
                        origin: origin.to_owned(),
                        object: format!("manifest {}", next.digest),
                        reason: format!(
                            "{} bytes, at most {} are read",
                            next.size, limits.document_bytes_max
                        ),
                    });
                }
                bytes = fetch(&next)?;
                descriptor = next;
            }
        }
    }
    Err(Error::Limit {
        origin: origin.to_owned(),
        object: "the index".to_owned(),
        reason: format!("indexes are nested more than {} deep", limits.index_depth_max),
    })
}

#[cfg(test)]
mod tests;
