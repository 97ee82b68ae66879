//! An image read where it lies: in the store, in an OCI layout folder, in an archive. Nothing of it is copied or unpacked.
//!
//! ```text
//!  store ──────────┐
//!  oci:DIR[:TAG] ──┼─▶ ImageContent ──layer(n)──▶ LayerBytes ──▶ LayerReader ──▶ entry, its content, entry, …
//!  archive ────────┘   (manifest,                 decompressed,   checked paths,
//!                       config)                   verified        bounded numbers
//! ```

mod layer;
mod open;

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

pub use layer::{LayerBytes, LayerReader};

use crate::import::Source;
use crate::{Digest, Error, Image, Limits, Reference, Store};

/// An image whose manifest and configuration were read and verified, and whose layers can be read.
pub struct ImageContent {
    pub image: Image,
    /// The name under which it lies there, if it has one.
    pub reference: Option<Reference>,
    limits: Limits,
    /// Of what its layers may unpack to, bytes.
    unpacked_left: AtomicU64,
    place: Place,
}

enum Place {
    Store(Store),
    /// The layers' names, bottom first.
    Source {
        source: Source,
        layers: Vec<LayerName>,
        origin: String,
    },
}

/// Where a layer lies in a folder or an archive.
struct LayerName {
    name: String,
    /// Of the uncompressed content, where the digest of the blob is known from these very bytes alone and so proves nothing.
    content: Option<Digest>,
}

impl Store {
    /// The content of an image of this store.
    pub fn content(&self, image: Image, reference: Option<Reference>) -> ImageContent {
        ImageContent::new(image, reference, self.limits().clone(), Place::Store(self.clone()))
    }
}

impl ImageContent {
    fn new(image: Image, reference: Option<Reference>, limits: Limits, place: Place) -> Self {
        let unpacked_left = AtomicU64::new(limits.image_unpacked_bytes_max);
        Self { image, reference, limits, unpacked_left, place }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The uncompressed archive of the layer at `index`, bottom first. Whoever reads it to its end without an error has read
    /// what the image's manifest names.
    pub fn layer(&self, index: usize) -> Result<LayerBytes<'_>, Error> {
        let content = match &self.place {
            Place::Store(_) => None,
            Place::Source { layers, .. } => layers[index].content.as_ref(),
        };
        LayerBytes::new(self.open_blob(index)?, &self.image.layers[index], content, &self.limits)
    }

    fn open_blob(&self, index: usize) -> Result<Box<dyn Read + Send + '_>, Error> {
        let descriptor = &self.image.layers[index];
        Ok(match &self.place {
            Place::Store(store) => Box::new(store.open_blob(&descriptor.digest)?),
            Place::Source { source, layers, origin } => {
                let name = &layers[index].name;
                let (blob, _) = source.open(name)?.ok_or_else(|| Error::Import {
                    origin: origin.clone(),
                    reason: format!("it lacks the layer \"{}\"", crate::digest::excerpt(name)),
                })?;
                Box::new(blob)
            }
        })
    }

    /// The entries of `bytes`, which is what [`ImageContent::layer`] gave for `index` or what was read through it.
    pub fn entries<R: Read>(&self, index: usize, bytes: R) -> LayerReader<'_, R> {
        LayerReader::new(bytes, self, &self.image.layers[index].digest)
    }

    /// Takes `bytes` off what all layers together may hold.
    fn take_unpacked(&self, bytes: u64) -> bool {
        self.unpacked_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes))
            .is_ok()
    }
}

#[cfg(test)]
mod tests;
