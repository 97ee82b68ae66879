//! What is attached to an image, kept beside it: `DIR/images/attached/sha256/<hex>-<repository>`, an OCI index of the
//! artifacts' manifests, which are blobs as their content is; the repository is named by a hash. It stays as long as the
//! image. What another repository has, or has not, attached to the same image is kept apart: it says nothing of this one.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Store, if_exists};
use crate::artifact::{Artifact, ArtifactBlob, ArtifactManifest, Attached, Attachment, index};
use crate::media_type::{OCI_INDEX, OCI_MANIFEST};
use crate::{Descriptor, Digest, Error, Reference};

const ATTACHED_BY: &str = "dev.watchbell.image.attached-by";

/// A file's name for what concerns an image in one repository.
pub(super) fn name_in(repository: &str, manifest: &Digest) -> String {
    format!("{}-{}", manifest.hex(), &Digest::of(repository.as_bytes()).hex()[..32])
}

impl Store {
    pub(super) fn attached_dir(&self) -> PathBuf {
        self.images.join("attached")
    }

    fn attached_path(&self, reference: &Reference, subject: &Digest) -> PathBuf {
        let name = name_in(&reference.repository(), subject);
        self.attached_dir().join(subject.algorithm().as_str()).join(name)
    }

    /// Keeps what the repository of `reference` has attached to the image whose manifest or index has the digest `subject`.
    /// What was kept of it before stays, as far as there is room: who asks with other credentials may see less. What comes
    /// first is the last to go.
    pub fn keep_attached(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifacts: &[Artifact],
    ) -> Result<(), Error> {
        let _in_use = self.in_use()?;
        let path = self.attached_path(reference, subject);
        // A list that cannot be read has nothing to keep.
        let before = self.attached_list(&path).ok().flatten().unwrap_or_default();
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
        let contents = artifacts.iter().map(|artifact| artifact.manifest.content_bytes());
        let mut bytes = contents.fold(0, u64::saturating_add);
        for descriptor in before {
            if manifests.iter().any(|known| known.digest == descriptor.digest) {
                continue;
            }
            // What cannot be read any more has nothing to keep either.
            let Ok(document) = self.read_document(&descriptor.digest) else { continue };
            let Ok(manifest) = ArtifactManifest::parse(&document, &self.limits, descriptor.digest.as_str())
            else {
                continue;
            };
            let all = bytes.saturating_add(manifest.content_bytes());
            if manifests.len() < self.limits.attachments_max && all <= self.limits.attachments_bytes_max {
                bytes = all;
                manifests.push(descriptor);
            }
        }
        let list = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
        self.replace_file(&path, list.to_string().as_bytes())
    }

    /// What was kept as attached to `subject` in the repository of `reference`. `None` when nobody has looked yet; an empty
    /// list when there was nothing. At most `bytes_max` bytes of content are read, of what was kept first.
    pub fn attached(
        &self,
        reference: &Reference,
        subject: &Digest,
        bytes_max: u64,
    ) -> Result<Option<Attached>, Error> {
        self.attached_at(&self.attached_path(reference, subject), bytes_max)
    }

    /// Names the list of what was kept as attached to `subject` in the repository of `reference`: while it is the same, so is
    /// what [`Store::attached`] gives.
    pub fn attached_mark(&self, reference: &Reference, subject: &Digest) -> Result<Option<Digest>, Error> {
        let path = self.attached_path(reference, subject);
        let list = if_exists(fs::read(&path)).map_err(Error::io("read", &path))?;
        Ok(list.map(|bytes| Digest::of(&bytes)))
    }

    fn attached_at(&self, path: &Path, bytes_max: u64) -> Result<Option<Attached>, Error> {
        let Some(list) = self.attached_list(path)? else { return Ok(None) };
        let mut left = bytes_max;
        let mut found = Attached::default();
        for descriptor in list {
            let document = self.read_document(&descriptor.digest)?;
            let manifest = ArtifactManifest::parse(&document, &self.limits, descriptor.digest.as_str())?;
            let bytes = manifest.content_bytes();
            if bytes > left {
                found.leave_out(1, || format!("no more than {bytes_max} bytes are read of all"));
                continue;
            }
            left -= bytes;
            let mut blobs = Vec::with_capacity(manifest.layers.len());
            for layer in &manifest.layers {
                let bytes = self.read_blob(&layer.digest, layer.size)?;
                blobs.push(ArtifactBlob { descriptor: layer.clone(), bytes });
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

    fn attached_list(&self, path: &Path) -> Result<Option<Vec<Descriptor>>, Error> {
        let Some(bytes) = if_exists(fs::read(path)).map_err(Error::io("read", path))? else {
            return Ok(None);
        };
        index(&bytes, &self.limits, &path.display().to_string()).map(Some)
    }

    /// The blobs of what is attached to the images `kept`. Lists of other images are removed, and what cannot be read is
    /// forgotten: it can be had again.
    pub(super) fn sweep_attached(&self, kept: &HashSet<Digest>) -> Result<HashSet<PathBuf>, Error> {
        let mut blobs = HashSet::new();
        for algorithm in ["sha256", "sha512"] {
            for path in super::sweep::children(&self.attached_dir().join(algorithm))? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let hex = name.split_once('-').map_or("", |(hex, _)| hex);
                let of_kept = kept.iter().any(|d| d.algorithm().as_str() == algorithm && d.hex() == hex);
                let listed = if of_kept { self.attached_list(&path).ok().flatten() } else { None };
                let manifests = listed.and_then(|list| {
                    list.iter().map(|listed| self.attached_blobs(listed)).collect::<Result<Vec<_>, _>>().ok()
                });
                match manifests {
                    Some(manifests) => blobs.extend(manifests.into_iter().flatten()),
                    None => fs::remove_file(&path).map_err(Error::io("remove", &path))?,
                }
            }
        }
        Ok(blobs)
    }

    /// The files of one artifact, if they are all there.
    fn attached_blobs(&self, listed: &Descriptor) -> Result<Vec<PathBuf>, Error> {
        let document = self.read_document(&listed.digest)?;
        let manifest = ArtifactManifest::parse(&document, &self.limits, listed.digest.as_str())?;
        let mut blobs = vec![self.blob_path(&listed.digest)];
        for layer in &manifest.layers {
            let path = self.blob_path(&layer.digest);
            fs::metadata(&path).map_err(Error::io("look at", &path))?;
            blobs.push(path);
        }
        Ok(blobs)
    }
}
