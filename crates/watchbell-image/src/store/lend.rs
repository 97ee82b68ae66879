//! One image of the store as a folder of its own, for a process that is to see nothing else.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use tempfile::TempDir;

use super::{InUse, Store};
use crate::media_type::OCI_MANIFEST;
use crate::{Digest, Error, Image};

/// A folder that is an OCI image layout of one image, whose blobs are those of the store by other names. It goes with the
/// value; what is written into its files is written into the store's, so whoever gets it must not be able to write.
#[derive(Debug)]
pub struct Lent {
    dir: TempDir,
    /// No sweep takes it away meanwhile.
    _in_use: InUse,
}

impl Lent {
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Store {
    /// Lends an image of this store.
    ///
    /// # Errors
    /// A blob of it is missing, or the folder cannot be made.
    pub fn lend(&self, image: &Image) -> Result<Lent, Error> {
        let in_use = self.in_use()?;
        let ingest = self.ingest_dir();
        let dir = tempfile::Builder::new()
            .prefix("lent-")
            .tempdir_in(&ingest)
            .map_err(Error::io("create a folder in", &ingest))?;
        let lent = Lent { dir, _in_use: in_use };
        let manifest = self.read_document(&image.digest)?;
        self.link(&lent, &image.digest)?;
        self.link(&lent, &image.config_digest)?;
        for layer in &image.layers {
            self.link(&lent, &layer.digest)?;
        }
        let media_type = serde_json::from_slice::<serde_json::Value>(&manifest)
            .ok()
            .and_then(|manifest| manifest["mediaType"].as_str().map(str::to_owned))
            .unwrap_or_else(|| OCI_MANIFEST.to_owned());
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [
            {"mediaType": media_type, "digest": image.digest.as_str(), "size": manifest.len()},
        ]});
        for (name, text) in [
            ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#.to_owned()),
            ("index.json", index.to_string()),
        ] {
            let path = lent.path().join(name);
            fs::write(&path, text).map_err(Error::io("write", &path))?;
        }
        Ok(lent)
    }

    /// The same layer may stand in an image more than once.
    fn link(&self, lent: &Lent, digest: &Digest) -> Result<(), Error> {
        let blob = self.blob_path(digest);
        let dir = lent.path().join("blobs").join(digest.algorithm().as_str());
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(Error::io("create", &dir))?;
        match fs::hard_link(&blob, dir.join(digest.hex())) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::MissingBlob { digest: digest.clone() })
            }
            linked => linked.map_err(Error::io("link", &blob)),
        }
    }
}
