//! The content store of one data directory.
//!
//! ```text
//!  DIR/images/oci-layout, index.json       an OCI image layout that other tools can read
//!            /blobs/sha256/<hex>           manifests, configurations, layers as received
//!            /attached/sha256/<hex>        signatures and the like of that image: an index of their manifests
//!            /pulled/sha256/<hex>          who has pulled that image, where it is not for all
//!            /ingest/                      what is being received; partial downloads
//!            /index.lock                   held to change index.json
//!            /use.lock                     shared by whoever adds or unpacks, exclusive for who sweeps
//!  DIR/layers/sha256/<hex>/{root,record.json}   an unpacked layer and what was noted about it
//!            /work/                        being unpacked or removed
//! ```
//!
//! A file under its final name is whole and durable: it was written under another name, synced and renamed.

mod attached;
mod blob;
mod image;
mod index;
mod lend;
mod pulled;
mod room;
mod sweep;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use image::{Image, ImageSummary, LayerDescriptor};
pub use lend::Lent;
pub use pulled::PulledFor;
pub use sweep::PruneReport;

pub(crate) use blob::{Ingest, verify};
pub(crate) use index::IndexEntry;
pub(crate) use pulled::Shown;
pub(crate) use room::LOOK_EVERY_BYTES;
pub(crate) use sweep::remove_tree;

use crate::media_type::OCI_INDEX;
use crate::{Digest, Error, Limits, Unpacker};

/// The store of one data directory. Cheap to open; any number may be open at once, in any number of processes.
#[derive(Clone, Debug)]
pub struct Store {
    images: PathBuf,
    layers: PathBuf,
    limits: Limits,
    unpacker: Unpacker,
    /// To be left free on the disk.
    reserve_bytes: u64,
    /// Shares of it that are given.
    given: Arc<AtomicU64>,
}

/// Held while blobs or layers are added that nothing refers to yet, so that no sweep takes them away.
#[derive(Debug)]
pub(crate) struct InUse {
    _lock: File,
}

impl Store {
    /// Opens the store below `data_dir` and creates what is missing of it, readable by its owner alone.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        Self::open_with(data_dir, Limits::default())
    }

    /// Opens the store with other bounds than the default ones.
    pub fn open_with(data_dir: &Path, limits: Limits) -> Result<Self, Error> {
        let store = Self {
            images: data_dir.join("images"),
            layers: data_dir.join("layers"),
            limits,
            unpacker: Unpacker::default(),
            reserve_bytes: 0,
            given: Arc::default(),
        };
        for dir in [
            store.images.join("blobs/sha256"),
            store.images.join("blobs/sha512"),
            store.attached_dir().join("sha256"),
            store.attached_dir().join("sha512"),
            store.pulled_dir().join("sha256"),
            store.pulled_dir().join("sha512"),
            store.ingest_dir(),
            store.layers.join("sha256"),
            store.layers.join("sha512"),
            store.layer_work_dir(),
        ] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(Error::io("create the store's directory", &dir))?;
        }
        let layout = store.images.join("oci-layout");
        if !layout.exists() {
            store.replace_file(&layout, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        let _lock = store.lock_index()?;
        if !store.index_path().exists() {
            let empty = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}"#);
            store.replace_file(&store.index_path(), empty.as_bytes())?;
        }
        Ok(store)
    }

    /// The store, with layers unpacked in another way than by a process of this program.
    pub fn unpacking_by(self, unpacker: Unpacker) -> Self {
        Self { unpacker, ..self }
    }

    pub(crate) fn unpacker(&self) -> &Unpacker {
        &self.unpacker
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.images.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }

    pub(crate) fn ingest_dir(&self) -> PathBuf {
        self.images.join("ingest")
    }

    fn index_path(&self) -> PathBuf {
        self.images.join("index.json")
    }

    /// The directory of the unpacked layer that is known by `key`.
    pub(crate) fn layer_dir(&self, key: &Digest) -> PathBuf {
        self.layers.join(key.algorithm().as_str()).join(key.hex())
    }

    pub(crate) fn layer_work_dir(&self) -> PathBuf {
        self.layers.join("work")
    }

    /// Announces additions; see [`InUse`].
    pub(crate) fn in_use(&self) -> Result<InUse, Error> {
        let path = self.images.join("use.lock");
        let file = open_lock(&path)?;
        file.lock_shared().map_err(Error::io("lock", &path))?;
        Ok(InUse { _lock: file })
    }

    fn lock_index(&self) -> Result<File, Error> {
        let path = self.images.join("index.lock");
        let file = open_lock(&path)?;
        file.lock().map_err(Error::io("lock", &path))?;
        Ok(file)
    }

    /// Replaces a small file so that a crash leaves the old or the new content.
    fn replace_file(&self, path: &Path, content: &[u8]) -> Result<(), Error> {
        let mut ingest = Ingest::new(self)?;
        ingest.write(content)?;
        ingest.place(path)
    }
}

/// Opens a lock file. Lock files are never removed while others may wait for them.
pub(crate) fn open_lock(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("open the lock file", path))
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(Error::io("sync", dir))
}

/// `Ok(None)` where `result` says that there is no such file.
pub(crate) fn if_exists<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests;
