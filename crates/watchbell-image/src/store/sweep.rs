//! Removing images and what nothing refers to any more.

use std::collections::HashSet;
use std::fs::{self, TryLockError};
use std::path::{Path, PathBuf};

use super::index::{IndexEntry, no_such_image};
use super::{Store, if_exists, open_lock};
use crate::unpack::chain_ids;
use crate::{Digest, Error, Reference};

/// What a removal freed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Manifests that are no longer known.
    pub images: Vec<Digest>,
    pub blobs: usize,
    /// Of the blobs.
    pub bytes: u64,
    /// Unpacked layers.
    pub layers: usize,
    /// Set when files were left because an image is being pulled, imported or unpacked; the next prune takes them.
    pub deferred: bool,
}

impl Store {
    /// Forgets images without a tag and deletes what is then unused. `keep` says which manifests are in use, by a
    /// running container for example: those stay.
    pub fn prune(&self, keep: &dyn Fn(&Digest) -> bool) -> Result<PruneReport, Error> {
        self.forget(|entry| entry.reference.as_ref().is_none_or(|r| r.tag().is_none()), keep)
    }

    /// As [`Store::prune`], and forgets tagged images that are not kept too.
    pub fn prune_unused(&self, keep: &dyn Fn(&Digest) -> bool) -> Result<PruneReport, Error> {
        self.forget(|_| true, keep)
    }

    /// Takes the name away; when that was the image's last and `keep` does not hold it, deletes the image.
    pub fn remove(
        &self,
        reference: &Reference,
        keep: &dyn Fn(&Digest) -> bool,
    ) -> Result<PruneReport, Error> {
        let entry = self.find(reference)?.ok_or_else(|| no_such_image(reference))?;
        let digest = entry.descriptor.digest;
        if reference.digest().is_none() {
            self.untag(reference)?;
        }
        let by_digest = reference.digest().is_some();
        self.forget(
            |e| {
                e.descriptor.digest == digest
                    && (by_digest || e.reference.as_ref().is_none_or(|r| r.tag().is_none()))
            },
            keep,
        )
    }

    /// Deletes the image with all its names, if only pods' pulls brought it and `keep` does not hold it.
    pub fn remove_pulled_for_pods(
        &self,
        manifest: &Digest,
        keep: &dyn Fn(&Digest) -> bool,
    ) -> Result<PruneReport, Error> {
        self.forget_from(|entries| {
            // Nobody can make it the administrator's meanwhile: that takes the index's lock.
            if !keep(manifest) && self.is_of_pods(entries, manifest)? {
                entries.retain(|e| e.descriptor.digest != *manifest);
            }
            Ok(())
        })
    }

    fn forget(
        &self,
        unwanted: impl Fn(&IndexEntry) -> bool,
        keep: &dyn Fn(&Digest) -> bool,
    ) -> Result<PruneReport, Error> {
        self.forget_from(|entries| {
            entries.retain(|e| !unwanted(e) || keep(&e.descriptor.digest));
            Ok(())
        })
    }

    fn forget_from(
        &self,
        take_out: impl FnOnce(&mut Vec<IndexEntry>) -> Result<(), Error>,
    ) -> Result<PruneReport, Error> {
        let forgotten = self.change_index(|entries| {
            let before: HashSet<Digest> = entries.iter().map(|e| e.descriptor.digest.clone()).collect();
            take_out(entries)?;
            let after: HashSet<Digest> = entries.iter().map(|e| e.descriptor.digest.clone()).collect();
            let mut forgotten: Vec<Digest> = before.difference(&after).cloned().collect();
            forgotten.sort();
            Ok(forgotten)
        })?;
        let mut report = PruneReport { images: forgotten, ..PruneReport::default() };
        self.sweep(&mut report)?;
        Ok(report)
    }

    /// Deletes every blob and unpacked layer that no line of the index reaches. An image that cannot be read stops the
    /// sweep: what it needs is unknown.
    fn sweep(&self, report: &mut PruneReport) -> Result<(), Error> {
        let lock_path = self.images.join("use.lock");
        let lock = open_lock(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                report.deferred = true;
                return Ok(());
            }
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", &lock_path)(e)),
        }
        let mut blobs: HashSet<PathBuf> = HashSet::new();
        let mut layers: HashSet<PathBuf> = HashSet::new();
        let mut images: HashSet<Digest> = HashSet::new();
        let entries = self.entries()?;
        self.sweep_pulled(&entries)?;
        for entry in entries {
            let digest = &entry.descriptor.digest;
            let manifest = self.read_manifest(digest, digest.as_str())?;
            let of_image = manifest.layers.iter().map(|l| &l.digest).chain([digest, &manifest.config.digest]);
            blobs.extend(of_image.chain(&entry.chosen_from).map(|d| self.blob_path(d)));
            let received = || manifest.layers.iter().map(|l| &l.digest);
            layers.extend(received().chain(&chain_ids(received())).map(|d| self.layer_dir(d)));
            images.extend([digest].into_iter().chain(&entry.chosen_from).cloned());
        }
        blobs.extend(self.sweep_attached(&images)?);
        for algorithm in ["sha256", "sha512"] {
            for path in children(&self.images.join("blobs").join(algorithm))? {
                if !blobs.contains(&path) {
                    let size = path.metadata().map_err(Error::io("look at", &path))?.len();
                    fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                    report.blobs += 1;
                    report.bytes += size;
                }
            }
            for path in children(&self.layers.join(algorithm))? {
                if !layers.contains(&path) {
                    // Renamed first: a half-removed layer must not be found under the name of a whole one.
                    let name = path.file_name().expect("a directory's child has a name");
                    let doomed = self.layer_work_dir().join(name).with_extension("removed");
                    remove_tree(&doomed)?;
                    fs::rename(&path, &doomed).map_err(Error::io("move aside", &path))?;
                    report.layers += 1;
                }
            }
        }
        // Nobody unpacks or receives while the lock is held exclusively, so all of this is left over.
        for path in children(&self.layer_work_dir())? {
            remove_tree(&path)?;
        }
        for path in children(&self.ingest_dir())? {
            remove_tree(&path)?;
        }
        Ok(())
    }
}

pub(super) fn children(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    fs::read_dir(dir)
        .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect())
        .map_err(Error::io("list", dir))
}

/// Removes a file or a directory with all below it; `std` does this by descriptors and follows no symbolic link.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Error> {
    let Some(metadata) = if_exists(path.symlink_metadata()).map_err(Error::io("look at", path))? else {
        return Ok(());
    };
    let removed = if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(Error::io("remove", path))
}
