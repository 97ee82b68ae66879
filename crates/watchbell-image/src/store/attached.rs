//! What is attached to an image, kept beside it: `DIR/images/attached/sha256/<hex>`, an OCI index of the artifacts'
//! manifests, which are blobs as their content is. It stays as long as the image.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use super::{Store, if_exists};
use crate::artifact::{Artifact, ArtifactBlob, ArtifactManifest, Attachment, index};
use crate::media_type::{OCI_INDEX, OCI_MANIFEST};
use crate::{Descriptor, Digest, Error};

const ATTACHED_BY: &str = "dev.watchbell.image.attached-by";

impl Store {
    pub(super) fn attached_dir(&self) -> PathBuf {
        self.images.join("attached")
    }

    fn attached_path(&self, subject: &Digest) -> PathBuf {
        self.attached_dir().join(subject.algorithm().as_str()).join(subject.hex())
    }

    /// Keeps what is attached to the image whose manifest or index has the digest `subject`, in place of what was kept
    /// before.
    pub fn keep_attached(&self, subject: &Digest, artifacts: &[Artifact]) -> Result<(), Error> {
        let _in_use = self.in_use()?;
        let mut manifests = Vec::with_capacity(artifacts.len());
        for artifact in artifacts {
            for blob in &artifact.blobs {
                self.put_verified(&blob.descriptor.digest, &blob.bytes)?;
            }
            self.put_verified(&artifact.digest, &artifact.document)?;
            let mut descriptor =
                Descriptor::new(OCI_MANIFEST, artifact.digest.clone(), artifact.document.len() as u64);
            descriptor.annotations.insert(ATTACHED_BY.into(), artifact.attachment.as_str().into());
            manifests.push(descriptor);
        }
        let list = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
        self.replace_file(&self.attached_path(subject), list.to_string().as_bytes())
    }

    /// What was kept as attached to `subject`. `None` when nobody has looked yet; an empty list when there was nothing.
    pub fn attached(&self, subject: &Digest) -> Result<Option<Vec<Artifact>>, Error> {
        let Some(list) = self.attached_list(subject)? else { return Ok(None) };
        let mut found = Vec::with_capacity(list.len());
        for descriptor in list {
            let document = self.read_document(&descriptor.digest)?;
            let manifest = ArtifactManifest::parse(&document, &self.limits, descriptor.digest.as_str())?;
            let mut blobs = Vec::with_capacity(manifest.layers.len());
            for layer in &manifest.layers {
                blobs.push(ArtifactBlob {
                    descriptor: layer.clone(),
                    bytes: self.read_blob(&layer.digest, self.limits.attachments_bytes_max)?,
                });
            }
            let attachment = descriptor
                .annotations
                .get(ATTACHED_BY)
                .and_then(|name| Attachment::parse(name))
                .unwrap_or(Attachment::Referrer);
            found.push(Artifact { digest: descriptor.digest, attachment, manifest, blobs, document });
        }
        Ok(Some(found))
    }

    fn attached_list(&self, subject: &Digest) -> Result<Option<Vec<Descriptor>>, Error> {
        let path = self.attached_path(subject);
        let Some(bytes) = if_exists(fs::read(&path)).map_err(Error::io("read", &path))? else {
            return Ok(None);
        };
        index(&bytes, &self.limits, &path.display().to_string()).map(Some)
    }

    /// The blobs of what is attached to the images `kept`. Lists of other images are removed, and what cannot be read is
    /// forgotten: it can be had again.
    pub(super) fn sweep_attached(&self, kept: &HashSet<Digest>) -> Result<HashSet<PathBuf>, Error> {
        let mut blobs = HashSet::new();
        let mut stay = HashSet::new();
        for subject in kept {
            let Ok(Some(artifacts)) = self.attached(subject) else { continue };
            stay.insert(self.attached_path(subject));
            for artifact in artifacts {
                blobs.extend(artifact.manifest.layers.iter().map(|l| self.blob_path(&l.digest)));
                blobs.insert(self.blob_path(&artifact.digest));
            }
        }
        for algorithm in ["sha256", "sha512"] {
            for path in super::sweep::children(&self.attached_dir().join(algorithm))? {
                if !stay.contains(&path) {
                    fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                }
            }
        }
        Ok(blobs)
    }
}
