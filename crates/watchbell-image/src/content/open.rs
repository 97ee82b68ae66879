//! Images of OCI layout folders and of archives, opened without a store.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::{ImageContent, LayerName, Place};
use crate::digest::{HashingReader, excerpt};
use crate::document::{Chosen, Document, Index, Manifest, descend};
use crate::import::{SavedImage, Source, Spool, blob_name, layout_name};
use crate::media_type::{OCI_CONFIG, OCI_INDEX};
use crate::{
    Algorithm, Compression, Descriptor, Digest, Error, Image, ImageConfig, Limits, MediaType, Platform,
};

impl ImageContent {
    /// The image in the OCI layout folder or the archive (OCI or `docker save`) at `path`. Where it holds several, `name` says
    /// which: a full name or its tag.
    pub fn open(
        path: &Path,
        name: Option<&str>,
        platform: &Platform,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let origin = excerpt(&path.display().to_string());
        let metadata = fs::metadata(path).map_err(Error::io("open", path))?;
        let source = if metadata.is_dir() {
            Source::folder(path)?
        } else if metadata.is_file() {
            let file = File::open(path).map_err(Error::io("open", path))?;
            Source::archive(Spool::from_file(&std::env::temp_dir(), limits, file, &origin)?, limits, &origin)?
        } else {
            return Err(Error::Import { origin, reason: "it is neither a file nor a folder".to_owned() });
        };
        let opening = Opening { source: &source, name, platform, limits, origin: &origin };
        let (image, reference, layers) = if source.has("index.json") {
            opening.layout()?
        } else if source.has("manifest.json") {
            opening.saved()?
        } else {
            return Err(Error::Import {
                origin,
                reason: "it holds neither index.json (OCI layout) nor manifest.json (docker save); \
                         the files of a root file system are read with dir:DIR"
                    .to_owned(),
            });
        };
        Ok(Self::new(image, reference, limits.clone(), Place::Source { source, layers, origin }))
    }
}

struct Opening<'a> {
    source: &'a Source,
    name: Option<&'a str>,
    platform: &'a Platform,
    limits: &'a Limits,
    origin: &'a str,
}

type Opened = (Image, Option<crate::Reference>, Vec<LayerName>);

impl Opening<'_> {
    fn refuse(&self, reason: impl Into<String>) -> Error {
        Error::Import { origin: self.origin.to_owned(), reason: reason.into() }
    }

    fn layout(&self) -> Result<Opened, Error> {
        let (limits, origin) = (self.limits, self.origin);
        let bytes = self.source.document("index.json", limits, origin)?;
        let Document::Index(Index { manifests }) =
            Document::parse(&bytes, Some(OCI_INDEX), limits, origin)
                .or_else(|_| Document::parse(&bytes, None, limits, origin))?
        else {
            return Err(self.refuse("its index.json is a manifest, not an index"));
        };
        // Signatures and attestations may stand beside the images.
        let images = manifests
            .into_iter()
            .filter(|d| {
                matches!(MediaType::parse(&d.media_type), Some(MediaType::Manifest | MediaType::Index))
            })
            .filter(|d| d.platform.as_ref().is_none_or(|p| p.os != "unknown"))
            .map(|d| (d.annotations.values().cloned().collect::<Vec<String>>(), d))
            .collect();
        let top: Descriptor = self.choose(images)?;
        let reference = layout_name(&top)?;
        let top_bytes = self.source.blob_document(&top, limits, origin)?;
        let index = (MediaType::parse(&top.media_type) == Some(MediaType::Index)).then(|| top.digest.clone());
        let Chosen { manifest, descriptor, .. } =
            descend(top, top_bytes, self.platform, limits, origin, &mut |d| {
                self.source.blob_document(d, limits, origin)
            })?;
        let config =
            ImageConfig::parse(&self.source.blob_document(&manifest.config, limits, origin)?, origin)?;
        let image = Image::assemble(descriptor.digest, index, &manifest, config, origin)?;
        let layers =
            image.layers.iter().map(|l| LayerName { name: blob_name(&l.digest), content: None }).collect();
        Ok((image, reference, layers))
    }

    fn saved(&self) -> Result<Opened, Error> {
        let bytes = self.source.document("manifest.json", self.limits, self.origin)?;
        let saved: Vec<SavedImage> = serde_json::from_slice(&bytes)
            .map_err(|e| self.refuse(format!("its manifest.json is not valid: {e}")))?;
        let images = saved.into_iter().map(|s| (s.repo_tags.clone().unwrap_or_default(), s)).collect();
        let saved: SavedImage = self.choose(images)?;
        let reference = match saved.repo_tags.as_deref() {
            Some([tag, ..]) => Some(crate::Reference::parse(tag)?),
            _ => None,
        };
        let (config_digest, config_bytes, config) =
            saved.read_config(self.source, self.limits, self.origin)?;
        let names = saved.layer_names(&config, self.limits, self.origin)?;
        let mut descriptors = Vec::new();
        let mut layers = Vec::new();
        for (name, diff_id) in names.into_iter().zip(&config.diff_ids) {
            let (descriptor, content) = self.saved_layer(&name, diff_id)?;
            descriptors.push(descriptor);
            layers.push(LayerName { name, content });
        }
        let config_descriptor = Descriptor::new(OCI_CONFIG, config_digest, config_bytes.len() as u64);
        let manifest = Manifest { config: config_descriptor, layers: descriptors };
        let digest = Digest::of(&manifest.to_bytes());
        Ok((Image::assemble(digest, None, &manifest, config, self.origin)?, reference, layers))
    }

    /// A plain layer is known by its diffID. Of a compressed one the archive states no digest: it is made here, and what comes
    /// out is compared with the diffID when the layer is read.
    fn saved_layer(&self, name: &str, diff_id: &Digest) -> Result<(Descriptor, Option<Digest>), Error> {
        let missing = || self.refuse(format!("it lacks the layer \"{}\"", excerpt(name)));
        let unreadable = |e: io::Error| self.refuse(format!("its layer \"{}\": {e}", excerpt(name)));
        let (mut content, size) = self.source.open(name)?.ok_or_else(missing)?;
        let mut head = Vec::new();
        content.by_ref().take(4).read_to_end(&mut head).map_err(unreadable)?;
        let compression = Compression::sniff(&head);
        let media_type = MediaType::of_layer(compression);
        if compression == Compression::None {
            return Ok((Descriptor::new(media_type, diff_id.clone(), size), None));
        }
        let (content, _) = self.source.open(name)?.ok_or_else(missing)?;
        let mut hashing = HashingReader::new(content, Algorithm::Sha256);
        io::copy(&mut hashing, &mut io::sink()).map_err(unreadable)?;
        let (digest, size) = hashing.finish();
        Ok((Descriptor::new(media_type, digest, size), Some(diff_id.clone())))
    }

    /// The one that is meant, of several with their names.
    fn choose<T>(&self, mut images: Vec<(Vec<String>, T)>) -> Result<T, Error> {
        if images.len() > self.limits.index_entries_max {
            return Err(self.refuse(format!("it holds {} images", images.len())));
        }
        let offered = || {
            let mut names: Vec<String> =
                images.iter().flat_map(|(names, _)| names.iter().map(|n| excerpt(n))).collect();
            names.sort();
            names.dedup();
            names.truncate(20);
            names.join(", ")
        };
        let is_meant = |names: &[String], wanted: &str| {
            names.iter().any(|n| {
                n == wanted || n.rsplit_once(':').is_some_and(|(_, tag)| tag == wanted && !tag.contains('/'))
            })
        };
        let position = match self.name {
            None if images.len() == 1 => Some(0),
            None if images.is_empty() => return Err(self.refuse("it holds no image")),
            None => {
                return Err(self.refuse(format!(
                    "it holds {} images; say which by its tag: {}",
                    images.len(),
                    offered()
                )));
            }
            Some(wanted) => images.iter().position(|(names, _)| is_meant(names, wanted)),
        };
        let position = position.ok_or_else(|| {
            let wanted = excerpt(self.name.unwrap_or_default());
            self.refuse(format!("it holds no image \"{wanted}\"; it has: {}", offered()))
        })?;
        Ok(images.swap_remove(position).1)
    }
}
