//! Images as the rest of the program sees them.

use serde::{Deserialize, Serialize};

use super::Store;
use super::index::IndexEntry;
use crate::document::{Document, Manifest};
use crate::{Compression, Descriptor, Digest, Error, ImageConfig, MediaType, Platform, Reference};

/// An image whose manifest and configuration were read and verified.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of its manifest: what runs is pinned to it.
    pub digest: Digest,
    /// The digest of the index through which the manifest was chosen, where there was one. A tag of a registry names
    /// this rather than the manifest.
    pub index_digest: Option<Digest>,
    /// The digest of the configuration; Docker calls it the image ID.
    pub config_digest: Digest,
    pub config: ImageConfig,
    /// Bottom first.
    pub layers: Vec<LayerDescriptor>,
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerDescriptor {
    /// Of the blob as received.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    pub compression: Compression,
    /// Of the uncompressed tar stream.
    pub diff_id: Digest,
}

/// A line of a listing.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    pub digest: Digest,
    pub index_digest: Option<Digest>,
    pub config_digest: Digest,
    /// All names, tags first. Empty for an image imported without a name.
    pub references: Vec<Reference>,
    pub platform: Platform,
    /// Bytes of the compressed layers.
    pub size: u64,
    /// RFC 3339, as the image states it.
    pub created: Option<String>,
}

impl Image {
    /// Puts manifest and configuration together; they must agree on the layers.
    pub(crate) fn assemble(
        digest: Digest,
        index_digest: Option<Digest>,
        manifest: &Manifest,
        config: ImageConfig,
        origin: &str,
    ) -> Result<Self, Error> {
        if config.diff_ids.len() != manifest.layers.len() {
            return Err(Error::document(
                origin,
                "the image configuration",
                format!("it names {} layers, the manifest {}", config.diff_ids.len(), manifest.layers.len()),
            ));
        }
        let layers = manifest
            .layers
            .iter()
            .zip(&config.diff_ids)
            .map(|(Descriptor { media_type, digest, size, .. }, diff_id)| {
                let Some(MediaType::Layer(compression)) = MediaType::parse(media_type) else {
                    unreachable!("the manifest's layers were checked when it was read")
                };
                LayerDescriptor { digest: digest.clone(), size: *size, compression, diff_id: diff_id.clone() }
            })
            .collect();
        Ok(Self { digest, index_digest, config_digest: manifest.config.digest.clone(), config, layers })
    }

    /// Bytes of the compressed layers.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|l| l.size).sum()
    }
}

impl Store {
    /// The image that a name stands for here, or `None`. Nothing is pulled.
    pub fn resolve(&self, reference: &Reference) -> Result<Option<Image>, Error> {
        self.find(reference)?.map(|entry| self.load(&entry)).transpose()
    }

    /// The image with this manifest digest, under whatever name it came.
    pub fn image(&self, manifest_digest: &Digest) -> Result<Option<Image>, Error> {
        let entry = self.entries()?.into_iter().find(|e| e.descriptor.digest == *manifest_digest);
        entry.map(|entry| self.load(&entry)).transpose()
    }

    /// The indexes that this image was chosen from in the repository of `reference`, that of this very name first: who signed
    /// one of them has signed it, too. Any registry may list any image; what others list says nothing of this repository.
    pub fn indexes_of(&self, reference: &Reference, manifest_digest: &Digest) -> Result<Vec<Digest>, Error> {
        let repository = reference.repository();
        let mut of_image = self.entries()?;
        of_image.retain(|e| e.is_of(&repository, manifest_digest));
        of_image.sort_by_key(|e| (e.reference.as_ref() != Some(reference), e.chosen_from.clone()));
        let mut indexes: Vec<Digest> = Vec::new();
        for index in of_image.into_iter().filter_map(|entry| entry.chosen_from) {
            if !indexes.contains(&index) {
                indexes.push(index);
            }
        }
        Ok(indexes)
    }

    /// All images. One that cannot be read is left out with a warning in the log.
    pub fn list(&self) -> Result<Vec<ImageSummary>, Error> {
        let mut summaries: Vec<ImageSummary> = Vec::new();
        for entry in self.entries()? {
            if let Some(known) = summaries.iter_mut().find(|s| s.digest == entry.descriptor.digest) {
                known.references.extend(entry.reference);
                continue;
            }
            let image = match self.load(&entry) {
                Ok(image) => image,
                Err(e) => {
                    tracing::warn!(image = %entry.descriptor.digest, "image left out of the listing: {e}");
                    continue;
                }
            };
            summaries.push(ImageSummary {
                size: image.size(),
                digest: image.digest,
                index_digest: image.index_digest,
                config_digest: image.config_digest,
                references: entry.reference.into_iter().collect(),
                platform: image.config.platform(),
                created: image.config.created,
            });
        }
        for summary in &mut summaries {
            summary.references.sort_by_key(|r| (r.tag().is_none(), r.to_string()));
        }
        summaries.sort_by_key(|s| (s.references.first().map(Reference::familiar), s.digest.clone()));
        Ok(summaries)
    }

    pub(crate) fn load(&self, entry: &IndexEntry) -> Result<Image, Error> {
        let digest = &entry.descriptor.digest;
        let origin = entry.reference.as_ref().map_or_else(|| digest.to_string(), Reference::familiar);
        let manifest = self.read_manifest(digest, &origin)?;
        let config = ImageConfig::parse(&self.read_document(&manifest.config.digest)?, &origin)?;
        Image::assemble(digest.clone(), entry.chosen_from.clone(), &manifest, config, &origin)
    }

    pub(crate) fn read_manifest(&self, digest: &Digest, origin: &str) -> Result<Manifest, Error> {
        match Document::parse(&self.read_document(digest)?, None, &self.limits, origin)? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => Err(Error::document(origin, "the manifest", "it is an index of manifests")),
        }
    }
}
