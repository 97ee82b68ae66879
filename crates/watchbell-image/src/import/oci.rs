//! The OCI image layout: `index.json` and `blobs/`.

use super::docker::Reported;
use super::source::{blob_name, lacks};
use super::{Imported, Importer};
use crate::document::{Chosen, Document, Index, descend};
use crate::media_type::OCI_INDEX;
use crate::store::IndexEntry;
use crate::{Descriptor, Error, Event, Image, ImageConfig, MediaType, Platform, Reference};

/// Full names stand under the first key (containerd, Docker); under the second often only the tag.
const NAME_KEYS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

impl Importer<'_> {
    pub(super) fn import_oci(&self) -> Result<Vec<Imported>, Error> {
        let bytes = self.source.document("index.json", self.store.limits(), self.origin)?;
        let Document::Index(Index { manifests }) =
            Document::parse(&bytes, Some(OCI_INDEX), self.store.limits(), self.origin)
                .or_else(|_| Document::parse(&bytes, None, self.store.limits(), self.origin))?
        else {
            return Err(self.refuse("its index.json is a manifest, not an index"));
        };
        // Signatures and attestations may stand beside the images.
        let images: Vec<Descriptor> = manifests
            .into_iter()
            .filter(|d| {
                matches!(MediaType::parse(&d.media_type), Some(MediaType::Manifest | MediaType::Index))
            })
            .filter(|d| d.platform.as_ref().is_none_or(|p| p.os != "unknown"))
            .collect();
        self.check_image_count(images.len())?;
        // Before anything is stored: what has no name is of use to no pod.
        if self.name.is_none() {
            for image in &images {
                if layout_name(image)?.is_none() {
                    return Err(self.refuse("it gives its image no name; give one with --name"));
                }
            }
        }
        images.into_iter().map(|descriptor| self.import_layout_image(descriptor)).collect()
    }

    fn import_layout_image(&self, top: Descriptor) -> Result<Imported, Error> {
        let reference = match self.name {
            Some(name) => Some(name.clone()),
            None => layout_name(&top)?,
        };
        let limits = self.store.limits();
        let top_bytes = self.blob_document(&top)?;
        let index = (MediaType::parse(&top.media_type) == Some(MediaType::Index))
            .then(|| (top.digest.clone(), top_bytes.clone()));
        let Chosen { manifest, mut descriptor, bytes } =
            descend(top, top_bytes, &Platform::host(), limits, self.origin, &mut |d| self.blob_document(d))?;
        let config_bytes = self.blob_document(&manifest.config)?;
        let config = ImageConfig::parse(&config_bytes, self.origin)?;
        let index_digest = index.as_ref().map(|(digest, _)| digest.clone());
        let image =
            Image::assemble(descriptor.digest.clone(), index_digest.clone(), &manifest, config, self.origin)?;
        self.announce(reference.as_ref(), &image);
        for layer in &manifest.layers {
            self.import_blob(layer)?;
        }
        self.store.put_verified(&manifest.config.digest, &config_bytes)?;
        self.store.put_verified(&descriptor.digest, &bytes)?;
        if let Some((digest, bytes)) = &index {
            self.store.put_verified(digest, bytes)?;
        }
        descriptor.platform = Some(image.config.platform());
        descriptor.annotations.clear();
        self.store.record(IndexEntry {
            descriptor,
            reference: reference.clone(),
            chosen_from: index_digest,
        })?;
        Ok(Imported { reference, image })
    }

    fn import_blob(&self, layer: &Descriptor) -> Result<(), Error> {
        if self.store.has_blob(&layer.digest, layer.size)? {
            self.progress.event(Event::LayerPresent { layer: &layer.digest, bytes: layer.size });
            return Ok(());
        }
        let (content, _) =
            self.source.open(&blob_name(&layer.digest))?.ok_or_else(|| lacks(&layer.digest, self.origin))?;
        self.progress.event(Event::LayerStarted { layer: &layer.digest, bytes: layer.size, resumed_at: 0 });
        let mut reported = Reported { inner: content, layer: &layer.digest, importer: self };
        self.store.put_stream(&mut reported, Some((&layer.digest, layer.size)), self.origin, "a layer")?;
        self.progress.event(Event::LayerStored { layer: &layer.digest });
        Ok(())
    }

    fn blob_document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        self.source.blob_document(descriptor, self.store.limits(), self.origin)
    }
}

/// The name that the layout gives; a bare tag is none, because it says nothing of the repository.
pub(crate) fn layout_name(descriptor: &Descriptor) -> Result<Option<Reference>, Error> {
    for key in NAME_KEYS {
        if let Some(name) = descriptor.annotations.get(key)
            && name.contains(['/', ':'])
        {
            let reference = Reference::parse(name)?;
            // A name by digest is none of its own.
            return Ok(reference.digest().is_none().then_some(reference));
        }
    }
    Ok(None)
}
