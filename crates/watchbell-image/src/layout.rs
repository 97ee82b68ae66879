//! A folder that is an OCI image layout (`oci:DIR:TAG`): read where it lies, and added to.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde_json::Value;

use crate::artifact::{
    ArtifactManifest, ArtifactSource, Attached, Attachment, Listed, Listing, attached, index,
};
use crate::digest::{Hasher, excerpt};
use crate::media_type::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use crate::store::verify;
use crate::{Descriptor, Digest, Error, Limits};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// `cosign save` tells by this annotation what a line of the index is.
const COSIGN_KIND: &str = "kind";

/// An OCI image layout in a folder.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    dir: OwnedFd,
    limits: Limits,
}

/// A blob that is put into a layout, by its media type.
#[derive(Clone, Debug)]
pub struct NewBlob {
    pub media_type: String,
    pub bytes: Vec<u8>,
    pub annotations: Vec<(String, String)>,
}

/// What a new attachment's manifest says beside its content.
#[derive(Clone, Debug)]
pub enum NewManifest {
    /// A referrer of `subject` with this artifact type.
    Referrer { artifact_type: String, subject: Digest },
    /// Under a tag, as images are: with an image's configuration.
    Tagged { tag: String },
}

impl Layout {
    /// Opens the folder. Its files are read beneath it and nowhere else.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let dir =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::io("open", path)(e.into()))?;
        Ok(Self { path: path.to_owned(), dir, limits: Limits::default() })
    }

    /// The document that `tag` names, its digest verified. Without a tag the layout must hold one image.
    pub fn image(&self, tag: Option<&str>) -> Result<(Descriptor, Vec<u8>), Error> {
        let mut found = Vec::new();
        for descriptor in self.entries()? {
            let is_meant = match tag {
                Some(tag) => is_tagged(&descriptor, tag),
                None => is_image(&descriptor) && !self.is_referrer(&descriptor)?,
            };
            if is_meant {
                found.push(descriptor);
            }
        }
        let [descriptor] = found.as_slice() else {
            let wanted =
                tag.map_or("one image".to_owned(), |tag| format!("one image tagged \"{}\"", excerpt(tag)));
            let reason = format!("{} lines of its index.json name {wanted}; write oci:DIR:TAG", found.len());
            return Err(self.refuse(reason));
        };
        Ok((descriptor.clone(), self.document(descriptor)?))
    }

    /// Whether its manifest names a subject.
    fn is_referrer(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        if descriptor.media_type != OCI_MANIFEST {
            return Ok(false);
        }
        let manifest = ArtifactManifest::parse(&self.document(descriptor)?, &self.limits, &self.origin());
        Ok(manifest.is_ok_and(|m| m.subject.is_some()))
    }

    /// What is attached to the image with the digest `subject`, as [`crate::attached_remote`].
    pub fn attached(
        &self,
        subject: &Digest,
        wanted: &dyn Fn(Attachment, &ArtifactManifest) -> bool,
    ) -> Result<Attached, Error> {
        attached(self, subject, &self.limits, wanted)
    }

    /// Adds an artifact of these blobs and returns its digest. What has the same tag is replaced.
    pub fn attach(&self, manifest: &NewManifest, blobs: &[NewBlob]) -> Result<Digest, Error> {
        // A line that is no image would stop the store's own sweep.
        if self.path.join("index.lock").exists() {
            let reason = "it is a store of watchbell's own; copy the image into a layout beside it first";
            return Err(self.refuse(reason.to_owned()));
        }
        let mut layers = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let mut descriptor = self.put(&blob.media_type, &blob.bytes)?;
            descriptor.annotations.extend(blob.annotations.iter().cloned());
            layers.push(descriptor);
        }
        let mut document = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST});
        let mut line = serde_json::Map::new();
        match manifest {
            NewManifest::Referrer { artifact_type, subject } => {
                const EMPTY: &str = "application/vnd.oci.empty.v1+json";
                let subject = self
                    .entries()?
                    .into_iter()
                    .find(|d| d.digest == *subject)
                    .ok_or_else(|| self.refuse(format!("it holds no image {subject}")))?;
                document["artifactType"] = artifact_type.as_str().into();
                document["config"] = value(&self.put(EMPTY, b"{}")?);
                document["subject"] = serde_json::json!({
                    "mediaType": subject.media_type, "digest": subject.digest, "size": subject.size,
                });
                line.insert("artifactType".into(), artifact_type.as_str().into());
            }
            NewManifest::Tagged { tag } => {
                // Registries of before 1.1 take image manifests alone, so the configuration is one.
                let diff_ids: Vec<&str> = layers.iter().map(|l| l.digest.as_str()).collect();
                let config = serde_json::json!({
                    "architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
                });
                document["config"] = value(&self.put(OCI_CONFIG, config.to_string().as_bytes())?);
                line.insert("annotations".into(), serde_json::json!({REF_NAME: tag}));
            }
        }
        document["layers"] = layers.iter().map(value).collect();
        let descriptor = self.put(OCI_MANIFEST, document.to_string().as_bytes())?;
        let Value::Object(mut described) = value(&descriptor) else {
            unreachable!("a descriptor is an object")
        };
        described.extend(line);
        self.add_line(Value::Object(described))?;
        Ok(descriptor.digest)
    }

    /// Writes `line` into index.json in place of those with its tag or its digest; what else stands there stays as it is.
    fn add_line(&self, line: Value) -> Result<(), Error> {
        let path = self.path.join("index.json");
        let bytes =
            self.read("index.json", self.limits.document_bytes_max)?.ok_or_else(|| self.no_index())?;
        let mut index: Value = serde_json::from_slice(&bytes).map_err(|e| self.refuse(e.to_string()))?;
        let lines = index
            .get_mut("manifests")
            .and_then(Value::as_array_mut)
            .ok_or_else(|| self.refuse("its index.json lists no manifests".to_owned()))?;
        let name = |line: &Value| line["annotations"][REF_NAME].as_str().map(str::to_owned);
        lines.retain(|old| {
            old["digest"] != line["digest"] && (name(&line).is_none() || name(old) != name(&line))
        });
        lines.push(line);
        self.replace(&path, index.to_string().as_bytes())
    }

    fn put(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, Error> {
        let digest = Digest::of(bytes);
        let path = self.path.join(blob_name(&digest));
        if !path.exists() {
            self.replace(&path, bytes)?;
        }
        Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
    }

    /// A crash leaves the old file or the new one.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let dir = path.parent().unwrap_or(&self.path);
        let mut file = tempfile::NamedTempFile::new_in(dir).map_err(Error::io("create a file in", dir))?;
        file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(Error::io("write", path))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(mode).map_err(Error::io("write", path))?;
        file.persist(path).map_err(|e| Error::io("place", path)(e.error))?;
        Ok(())
    }

    fn entries(&self) -> Result<Vec<Descriptor>, Error> {
        let bytes =
            self.read("index.json", self.limits.document_bytes_max)?.ok_or_else(|| self.no_index())?;
        index(&bytes, &self.limits, &self.origin())
    }

    /// The content under `name`, or `None` when there is none.
    fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, Error> {
        let at = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = match rustix::fs::openat2(&self.dir, name, flags, Mode::empty(), resolve) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(e) => return Err(Error::io("open", &at)(e.into())),
        };
        if !file.metadata().map_err(Error::io("look at", &at))?.is_file() {
            return Err(self.refuse(format!("its {name} is not a regular file")));
        }
        let mut bytes = Vec::new();
        file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(Error::io("read", &at))?;
        if bytes.len() as u64 > max {
            return Err(self.refuse(format!("its {name} has more than {max} bytes")));
        }
        Ok(Some(bytes))
    }

    fn read_verified(&self, descriptor: &Descriptor, max: u64) -> Result<Vec<u8>, Error> {
        let name = blob_name(&descriptor.digest);
        let bytes = self
            .read(&name, max.min(descriptor.size))?
            .ok_or_else(|| self.refuse(format!("it lacks blob {}", descriptor.digest)))?;
        let mut hasher = Hasher::new(descriptor.digest.algorithm());
        hasher.update(&bytes);
        let size = bytes.len() as u64;
        verify(&self.origin(), "a blob", &descriptor.digest, descriptor.size, &hasher.finish(), size)?;
        Ok(bytes)
    }

    fn no_index(&self) -> Error {
        self.refuse("it has no index.json, so it is no OCI image layout".to_owned())
    }

    fn refuse(&self, reason: String) -> Error {
        Error::document(&self.origin(), "the OCI image layout", reason)
    }
}

impl ArtifactSource for Layout {
    fn origin(&self) -> String {
        excerpt(&self.path.display().to_string())
    }

    fn tagged(&self, tag: &str) -> Result<Option<(Descriptor, Vec<u8>)>, Error> {
        let kind = match tag.rsplit_once('.') {
            Some((_, "sig")) => Some("dev.cosignproject.cosign/sigs"),
            Some((_, "att")) => Some("dev.cosignproject.cosign/atts"),
            _ => None,
        };
        let entries = self.entries()?;
        let found = entries.iter().find(|d| is_tagged(d, tag)).or_else(|| {
            entries
                .iter()
                .find(|d| kind.is_some() && d.annotations.get(COSIGN_KIND).map(String::as_str) == kind)
        });
        found.map(|d| Ok((d.clone(), self.document(d)?))).transpose()
    }

    /// A layout has no list; a line of its index.json may be a manifest that names the image.
    fn referrers(&self, subject: &Digest) -> Result<Option<Listing>, Error> {
        let mut lines = Vec::new();
        for descriptor in self.entries()? {
            if descriptor.media_type != OCI_MANIFEST || descriptor.digest == *subject {
                continue;
            }
            let document = self.document(&descriptor)?;
            let manifest = ArtifactManifest::parse(&document, &self.limits, &self.origin());
            if manifest.is_ok_and(|m| m.subject.as_ref() == Some(subject)) {
                lines.push(Listed { descriptor, artifact_type: None });
            }
        }
        Ok((!lines.is_empty()).then_some(Listing { lines, cut: None }))
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        self.read_verified(descriptor, self.limits.document_bytes_max)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        self.read_verified(descriptor, self.limits.attachments_bytes_max)
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

fn value(descriptor: &Descriptor) -> Value {
    serde_json::to_value(descriptor).expect("strings and numbers always serialize")
}

/// Tools write the tag, or a full name that ends with it.
fn is_tagged(descriptor: &Descriptor, tag: &str) -> bool {
    descriptor
        .annotations
        .get(REF_NAME)
        .is_some_and(|name| name == tag || name.rsplit_once(':').is_some_and(|(_, t)| t == tag))
}

/// A line that could be an image: what is attached to another by a tag or an artifact type is none.
fn is_image(descriptor: &Descriptor) -> bool {
    let is_document = descriptor.media_type == OCI_MANIFEST || descriptor.media_type == OCI_INDEX;
    let name = descriptor.annotations.get(REF_NAME).map_or("", String::as_str);
    let kind = descriptor.annotations.get(COSIGN_KIND).map_or("", String::as_str);
    let is_attached = name.starts_with("sha256-") || kind.ends_with("/sigs") || kind.ends_with("/atts");
    is_document && !is_attached
}

#[cfg(test)]
mod tests;
