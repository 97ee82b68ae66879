//! The form of `docker save`: `manifest.json` lists images, each with a configuration and plain tar layers.

use std::io::{BufReader, Read};

use serde::Deserialize;

use super::source::Source;
use super::{Imported, Importer};
use crate::codec::{self, Ceiling, Decoder};
use crate::digest::{HashingReader, excerpt};
use crate::document::Manifest;
use crate::media_type::{OCI_CONFIG, OCI_MANIFEST};
use crate::store::IndexEntry;
use crate::{
    Compression, Descriptor, Digest, Error, Event, Image, ImageConfig, Limits, MediaType, Reference,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SavedImage {
    config: String,
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl SavedImage {
    /// Its configuration, with the digest and the size of it.
    pub(crate) fn read_config(
        &self,
        source: &Source,
        limits: &Limits,
        origin: &str,
    ) -> Result<(Digest, Vec<u8>, ImageConfig), Error> {
        let bytes = source.document(&self.config, limits, origin)?;
        let digest = Digest::of(&bytes);
        // The name of the file is its digest, in both the old form and the new.
        let stated = self.config.strip_prefix("blobs/sha256/").or_else(|| self.config.strip_suffix(".json"));
        if let Some(expected) = stated.and_then(|hex| Digest::parse(&format!("sha256:{hex}")).ok())
            && expected != digest
        {
            return Err(Error::DigestMismatch {
                origin: origin.to_owned(),
                object: "the image configuration",
                expected,
                actual: digest,
            });
        }
        let config = ImageConfig::parse(&bytes, origin)?;
        Ok((digest, bytes, config))
    }

    /// Where the archive has the layers that the configuration speaks of, bottom first.
    pub(crate) fn layer_names(
        &self,
        config: &ImageConfig,
        limits: &Limits,
        origin: &str,
    ) -> Result<Vec<String>, Error> {
        let refuse = |reason: String| Error::Import { origin: origin.to_owned(), reason };
        let names = self.layers.clone().unwrap_or_default();
        if names.len() != config.diff_ids.len() {
            return Err(refuse(format!(
                "its manifest.json names {} layers, the image configuration {}",
                names.len(),
                config.diff_ids.len()
            )));
        }
        if names.len() > limits.layers_max {
            return Err(refuse(format!(
                "it has {} layers, at most {} are mounted",
                names.len(),
                limits.layers_max
            )));
        }
        Ok(names)
    }
}

impl Importer<'_> {
    pub(super) fn import_docker(&self) -> Result<Vec<Imported>, Error> {
        let bytes = self.source.document("manifest.json", self.store.limits(), self.origin)?;
        let saved: Vec<SavedImage> = serde_json::from_slice(&bytes)
            .map_err(|e| self.refuse(format!("its manifest.json is not valid: {e}")))?;
        self.check_image_count(saved.len())?;
        let mut imported = Vec::new();
        for image in saved {
            imported.extend(self.import_saved(image)?);
        }
        Ok(imported)
    }

    fn import_saved(&self, saved: SavedImage) -> Result<Vec<Imported>, Error> {
        let limits = self.store.limits();
        let (config_digest, config_bytes, config) = saved.read_config(self.source, limits, self.origin)?;
        let names = saved.layer_names(&config, limits, self.origin)?;
        let layers = names
            .iter()
            .zip(&config.diff_ids)
            .map(|(name, diff_id)| self.import_saved_layer(name, diff_id))
            .collect::<Result<Vec<_>, _>>()?;
        self.store.put_verified(&config_digest, &config_bytes)?;
        let config_descriptor = Descriptor::new(OCI_CONFIG, config_digest, config_bytes.len() as u64);
        let manifest = Manifest { config: config_descriptor, layers };
        let manifest_bytes = manifest.to_bytes();
        let digest = self.store.put_blob(&manifest_bytes)?;
        let image = Image::assemble(digest.clone(), None, &manifest, config, self.origin)?;
        let references = match self.name {
            Some(name) => vec![Some(name.clone())],
            None => {
                let tags = saved.repo_tags.unwrap_or_default();
                let named =
                    tags.iter().map(|t| Reference::parse(t).map(Some)).collect::<Result<Vec<_>, _>>()?;
                if named.is_empty() { vec![None] } else { named }
            }
        };
        let mut descriptor = Descriptor::new(OCI_MANIFEST, digest, manifest_bytes.len() as u64);
        descriptor.platform = Some(image.config.platform());
        let mut imported = Vec::new();
        for reference in references {
            self.store.record(IndexEntry {
                descriptor: descriptor.clone(),
                reference: reference.clone(),
                chosen_from: None,
            })?;
            self.announce(reference.as_ref(), &image);
            imported.push(Imported { reference, image: image.clone() });
        }
        Ok(imported)
    }

    fn import_saved_layer(&self, name: &str, diff_id: &Digest) -> Result<Descriptor, Error> {
        let missing = || self.refuse(format!("it lacks the layer \"{}\"", excerpt(name)));
        let (content, size) = self.source.open(name)?.ok_or_else(missing)?;
        let mut content = BufReader::with_capacity(256 << 10, content);
        let unreadable = |e: std::io::Error| self.refuse(format!("its layer \"{}\": {e}", excerpt(name)));
        let compression = codec::sniff(&mut content).map_err(unreadable)?;
        let media_type = MediaType::of_layer(compression);
        if compression == Compression::None {
            if self.store.has_blob(diff_id, size)? {
                self.progress.event(Event::LayerPresent { layer: diff_id, bytes: size });
            } else {
                self.progress.event(Event::LayerStarted { layer: diff_id, bytes: size, resumed_at: 0 });
                let mut reported = Reported { inner: content, layer: diff_id, importer: self };
                self.store.put_stream(&mut reported, Some((diff_id, size)), self.origin, "a layer")?;
                self.progress.event(Event::LayerStored { layer: diff_id });
            }
            return Ok(Descriptor::new(media_type, diff_id.clone(), size));
        }
        // The archive states the digest of the uncompressed content only, so that is verified before anything is kept.
        let limits = self.store.limits();
        let ceiling = codec::ceiling(size, limits.image_unpacked_bytes_max, limits);
        let decoder = Ceiling::new(Decoder::new(content, compression), ceiling);
        let mut hashing = HashingReader::new(decoder, diff_id.algorithm());
        std::io::copy(&mut hashing, &mut std::io::sink()).map_err(unreadable)?;
        let (actual, _) = hashing.finish();
        if actual != *diff_id {
            return Err(Error::DigestMismatch {
                origin: self.origin.to_owned(),
                object: "a layer",
                expected: diff_id.clone(),
                actual,
            });
        }
        let (mut content, _) = self.source.open(name)?.ok_or_else(missing)?;
        let (digest, size) = self.store.put_stream(&mut content, None, self.origin, "a layer")?;
        Ok(Descriptor::new(media_type, digest, size))
    }
}

/// Tells the progress while a layer is copied.
pub(super) struct Reported<'a, R> {
    pub(super) inner: R,
    pub(super) layer: &'a Digest,
    pub(super) importer: &'a Importer<'a>,
}

impl<R: Read> Read for Reported<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.importer.progress.event(Event::LayerBytes { layer: self.layer, bytes: n as u64 });
        Ok(n)
    }
}
