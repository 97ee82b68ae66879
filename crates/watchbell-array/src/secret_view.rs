//! What an encrypted array holds, as a plain directory in memory: nothing of it reaches a disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use watchbell_zarr::Hierarchy;

use crate::digest::Digest;
use crate::draft::Draft;
use crate::error::Error;
use crate::manifest::{Entry, Manifest};
use crate::object::{MODE, Objects};
use crate::parallel::in_parallel;
use crate::store::Array;
use crate::view;

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of the kernel.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

impl Array {
    /// Decrypts a manifest's documents, and those chunks that `sees` says, into an empty directory of the caller's: on a tmpfs, for
    /// its owner alone, who removes it. At most `max_bytes`; also of an array that is in the clear.
    pub fn decrypt_into(
        &self,
        manifest: &Manifest,
        sees: impl Fn(&str) -> bool,
        dir: &Path,
        max_bytes: u64,
    ) -> Result<(), Error> {
        write(Objects { array: self, staging: None }, manifest, sees, dir, max_bytes)
    }
}

impl Draft {
    /// The same of what a run reads: with its growth.
    pub fn decrypt_into(&self, sees: impl Fn(&str) -> bool, dir: &Path, max_bytes: u64) -> Result<(), Error> {
        let staging = self.staging();
        let objects = Objects { array: &self.array, staging: Some(&staging) };
        write(objects, &self.grown, sees, dir, max_bytes)
    }
}

fn write(
    objects: Objects<'_>,
    manifest: &Manifest,
    sees: impl Fn(&str) -> bool,
    dir: &Path,
    max_bytes: u64,
) -> Result<(), Error> {
    let opened = File::open(dir).map_err(Error::io("open", dir))?;
    let of = rustix::fs::fstatfs(&opened).map_err(Error::errno("look at the file system of", dir))?;
    let mode = opened.metadata().map_err(Error::io("look at", dir))?.mode();
    if !IN_MEMORY.contains(&(of.f_type as u64)) || mode & 0o077 != 0 {
        return Err(Error::NotPrivate(dir.to_owned()));
    }
    let entries: Vec<&Entry> = manifest
        .entries
        .iter()
        .filter(|entry| Hierarchy::is_document(&entry.key) || sees(&entry.key))
        .collect();
    let bytes = entries.iter().fold(0u64, |sum, entry| sum.saturating_add(entry.size));
    if bytes > max_bytes {
        let problem = format!("{bytes} bytes would be decrypted into memory, and at most {max_bytes} may be");
        return Err(Error::Foreign { what: dir.display().to_string(), problem });
    }
    let parents: BTreeSet<&str> =
        entries.iter().filter_map(|entry| Some(entry.key.rsplit_once('/')?.0)).collect();
    view::make_dirs(&objects.array.disk, dir, parents.into_iter())?;
    in_parallel(entries.len(), |at| {
        let Entry { key, digest, size, .. } = entries[at];
        decrypt(objects, *digest, *size, &dir.join(key))
    })?;
    Ok(())
}

fn decrypt(objects: Objects<'_>, digest: Digest, size: u64, path: &Path) -> Result<(), Error> {
    let damaged = |problem: String| Error::Damaged { what: "object", digest, problem };
    let (mut content, length) = objects.open(digest)?;
    if length != size {
        return Err(damaged(format!("it has {length} bytes, and the manifest says {size}")));
    }
    let mut options = File::options();
    let mut file =
        options.write(true).create_new(true).mode(MODE).open(path).map_err(Error::io("create", path))?;
    let mut hasher = objects.array.hasher()?;
    let mut buffer = zeroize::Zeroizing::new(vec![0; 1 << 18]);
    loop {
        let length = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(damaged(error.to_string())),
        };
        hasher.update(&buffer[..length]);
        file.write_all(&buffer[..length]).map_err(Error::io("write", path))?;
    }
    match Digest::from_hash(hasher.finalize()) == digest {
        true => Ok(()),
        false => Err(damaged("its content has another digest".to_owned())),
    }
}
