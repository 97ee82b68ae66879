//! Unpacking layers: once, shared, verified, confined.
//!
//! A layer becomes a directory that the kernel's overlay can use as a lower: a whiteout (`.wh.name`) is a character
//! device 0/0, an opaque directory carries `trusted.overlay.opaque`. What stands on the disk is inert by itself:
//!
//! - device nodes of the archive are not created (a container's `/dev` is made for it);
//! - setuid and setgid bits are dropped: every mount is `nosuid`, and the files must not serve someone on the host;
//! - extended attributes are dropped, file capabilities and forged overlay markers with them.
//!
//! What was left out is noted in the layer's record, for inspection and scanning. Owners are the numbers of the archive;
//! containers see the directories through id-mapped mounts.

mod inside;
mod layer;
mod lowers;
mod message;
mod root;
mod unpacker;

use std::fs;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::LayerError;
use crate::store::{Ingest, if_exists, open_lock, remove_tree, sync_dir};
use crate::{Digest, Error, Image, LayerDescriptor, Store};
pub use inside::unpacker_main;
use lowers::Lowers;
use message::Request;
use root::Root;
pub use unpacker::Unpacker;

/// Unpacked files of a layer are below this name.
const ROOT: &str = "root";
const RECORD: &str = "record.json";
/// The form of the record that is written. Records of another form are unpacked anew.
const RECORD_VERSION: u32 = 2;

/// What was noted when a layer was unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnpackRecord {
    pub version: u32,
    pub diff_id: Digest,
    /// Of all files, holes included.
    pub bytes: u64,
    pub entries: u64,
    /// The layer hides everything below it.
    pub opaque_root: bool,
    /// The archive left parent directories out, so that they were taken from the layers below: the result depends on
    /// those.
    pub implicit_parents: bool,
    /// What was left out or changed, at most [`UnpackRecord::SPECIAL_MAX`] of it.
    pub special: Vec<SpecialFile>,
    /// How many more there were.
    pub special_omitted: u64,
}

impl UnpackRecord {
    pub const SPECIAL_MAX: usize = 1_000;
}

/// A file that is not on the disk as the archive has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
#[non_exhaustive]
pub enum SpecialFile {
    /// The setuid or setgid bit was dropped; `mode` is the archive's.
    Setuid { path: String, mode: u32 },
    /// The device node was not created.
    Device { path: String },
    /// The file capabilities were dropped.
    Capabilities { path: String },
    /// Another extended attribute was dropped.
    Xattr { path: String, name: String },
    /// Bookkeeping of the old aufs driver was not created.
    Metadata { path: String },
}

impl Store {
    /// The root directories of the image's layers, bottom first, ready as overlay lowers. Layers that are not unpacked
    /// yet are unpacked now, each once whoever asks at the same time. Layers that another one hides completely are left
    /// out; an image without layers gives none.
    ///
    /// The directories stay as long as the image is in the store or `prune`'s `keep` holds it.
    pub fn unpacked_layers(&self, image: &Image) -> Result<Vec<PathBuf>, Error> {
        let _in_use = self.in_use()?;
        let mut lowers: Vec<PathBuf> = Vec::with_capacity(image.layers.len());
        let mut bytes_left = self.limits().image_unpacked_bytes_max;
        let chain_ids = chain_ids(image.layers.iter().map(|layer| &layer.digest));
        for (layer, chain_id) in image.layers.iter().zip(&chain_ids) {
            let (key, record) = self.unpack_once(layer, chain_id, &lowers, bytes_left)?;
            bytes_left = bytes_left.checked_sub(record.bytes).ok_or_else(|| Error::Layer {
                layer: layer.digest.clone(),
                cause: LayerError::ImageTooLarge { bytes_max: self.limits().image_unpacked_bytes_max },
            })?;
            if record.opaque_root {
                // The kernel does not look for the mark on the root of a lower.
                lowers.clear();
            }
            lowers.push(self.layer_dir(&key).join(ROOT));
        }
        // The kernel refuses a directory that is given twice; the upper one of two equal layers hides the other.
        let mut distinct: Vec<PathBuf> = Vec::with_capacity(lowers.len());
        for lower in lowers.into_iter().rev() {
            if !distinct.contains(&lower) {
                distinct.push(lower);
            }
        }
        distinct.reverse();
        Ok(distinct)
    }

    /// What was noted when the layers were unpacked, bottom first; `None` for one that is not unpacked.
    pub fn unpack_records(&self, image: &Image) -> Result<Vec<Option<UnpackRecord>>, Error> {
        let chain_ids = chain_ids(image.layers.iter().map(|layer| &layer.digest));
        image
            .layers
            .iter()
            .zip(&chain_ids)
            .map(|(layer, chain_id)| Ok(self.unpacked(layer, chain_id)?.map(|(_, record)| record)))
            .collect()
    }

    /// The key and record of a layer that is unpacked. A layer is known by the digest of what was received, which this
    /// process has verified itself; that its content is the diffID's is the word of a process that may have been taken over
    /// by that very content, and then holds for no other layer. One that depends on the layers below is known by the digests
    /// of them all.
    fn unpacked(
        &self,
        layer: &LayerDescriptor,
        chain_id: &Digest,
    ) -> Result<Option<(Digest, UnpackRecord)>, Error> {
        for key in [&layer.digest, chain_id] {
            if let Some(record) = self.read_record(key)?
                && record.diff_id == layer.diff_id
                && (!record.implicit_parents || key == chain_id)
            {
                return Ok(Some((key.clone(), record)));
            }
        }
        Ok(None)
    }

    fn read_record(&self, key: &Digest) -> Result<Option<UnpackRecord>, Error> {
        let path = self.layer_dir(key).join(RECORD);
        let bytes = if_exists(fs::read(&path)).map_err(Error::io("read", &path))?;
        Ok(bytes
            .and_then(|b| serde_json::from_slice::<UnpackRecord>(&b).ok())
            .filter(|record| record.version == RECORD_VERSION))
    }

    fn unpack_once(
        &self,
        layer: &LayerDescriptor,
        chain_id: &Digest,
        lowers: &[PathBuf],
        bytes_left: u64,
    ) -> Result<(Digest, UnpackRecord), Error> {
        if let Some(found) = self.unpacked(layer, chain_id)? {
            return Ok(found);
        }
        let lock_path = self.layer_work_dir().join(layer.digest.hex()).with_extension("lock");
        let lock = open_lock(&lock_path)?;
        lock.lock().map_err(Error::io("lock", &lock_path))?;
        if let Some(found) = self.unpacked(layer, chain_id)? {
            return Ok(found);
        }
        let partial = self.layer_work_dir().join(layer.digest.hex()).with_extension("partial");
        // Left by one who was killed; nobody else works on it while the lock is held.
        remove_tree(&partial)?;
        let of = format!("layer {}", layer.digest);
        let share = self.share(&of)?;
        let allowed = self.within(&share, bytes_left);
        let unpacked = match self.unpack_into(&partial, layer, lowers, allowed) {
            Err(Error::Layer { cause: LayerError::ImageTooLarge { .. }, .. }) if allowed < bytes_left => {
                Err(self.too_large_for(&share, &of)?)
            }
            other => other,
        };
        let placed = unpacked.and_then(|record| {
            let key = if record.implicit_parents { chain_id } else { &layer.digest };
            self.place_layer(&partial, key)?;
            Ok((key.clone(), record))
        });
        if placed.is_err()
            && let Err(e) = remove_tree(&partial)
        {
            tracing::warn!("after a failed unpack: {e}");
        }
        placed
    }

    fn unpack_into(
        &self,
        dir: &Path,
        layer: &LayerDescriptor,
        lowers: &[PathBuf],
        bytes_left: u64,
    ) -> Result<UnpackRecord, Error> {
        let root_path = dir.join(ROOT);
        DirBuilder::new().mode(0o700).create(dir).map_err(Error::io("create", dir))?;
        DirBuilder::new().mode(0o755).create(&root_path).map_err(Error::io("create", &root_path))?;
        let root = Root::open(&root_path)?;
        let lowers = lowers.iter().map(|l| Root::open(l)).collect::<Result<Vec<_>, _>>()?;
        let request = Request {
            compression: layer.compression,
            size: layer.size,
            diff_id: layer.diff_id.clone(),
            limits: self.limits().clone(),
            bytes_left,
        };
        let blob = self.open_blob(&layer.digest)?;
        let record = self
            .unpacker()
            .unpack(blob, &request, &root_path, &root, &mut Lowers::new(&lowers))
            .map_err(|cause| self.blame_blob(layer, cause))?;
        let mut file = Ingest::new(self)?;
        let json = serde_json::to_vec(&record).expect("strings and numbers always serialize");
        file.write(&json)?;
        file.place(&dir.join(RECORD))?;
        root.sync_file_system().map_err(Error::io("sync", &root_path))?;
        Ok(record)
    }

    /// A layer that does not unpack is the image's fault or the disk's: the blob is hashed again to tell.
    fn blame_blob(&self, layer: &LayerDescriptor, cause: LayerError) -> Error {
        if matches!(
            cause,
            LayerError::Io { .. }
                | LayerError::Limit { .. }
                | LayerError::ImageTooLarge { .. }
                | LayerError::Entry { .. }
                | LayerError::Unpacker { .. }
        ) {
            return Error::Layer { layer: layer.digest.clone(), cause };
        }
        match self.rehash_blob(&layer.digest) {
            Ok(actual) if actual != layer.digest => {
                Error::CorruptBlob { digest: layer.digest.clone(), actual }
            }
            Ok(_) => Error::Layer { layer: layer.digest.clone(), cause },
            Err(unreadable) => unreadable,
        }
    }

    fn place_layer(&self, partial: &Path, key: &Digest) -> Result<(), Error> {
        let place = self.layer_dir(key);
        // Only a record of another form can stand there: one of this form would have been found.
        remove_tree(&place)?;
        fs::rename(partial, &place).map_err(Error::io("place", &place))?;
        sync_dir(place.parent().expect("a layer's directory has a parent"))
    }
}

/// A name for every layer with those below it, as the OCI image specification makes chain IDs (`config.md`), of the digests
/// of what was received.
pub(crate) fn chain_ids<'a>(digests: impl Iterator<Item = &'a Digest>) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::new();
    for digest in digests {
        let id = match chain.last() {
            None => digest.clone(),
            Some(below) => Digest::of(format!("{below} {digest}").as_bytes()),
        };
        chain.push(id);
    }
    chain
}

#[cfg(test)]
mod tests;
