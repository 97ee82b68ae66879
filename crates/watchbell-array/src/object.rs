//! Objects: contents by digest. They are written beside, renamed into place when they are whole, and never changed.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::disk::Disk;
use crate::error::Error;
use crate::store::Array;

/// An object's mode: nobody writes to it again, and who may reach its directory may read it.
const MODE: u32 = 0o444;
/// What is no larger is read whole, and written only when nobody has it yet.
const SMALL: usize = 1 << 20;

/// Where objects are found: in place, or in a draft whose run has not published them.
#[derive(Clone, Copy)]
pub(crate) struct Objects<'a> {
    pub(crate) array: &'a Array,
    pub(crate) staging: Option<&'a Path>,
}

impl Array {
    pub(crate) fn object_path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.dir.join("objects").join(&name[..2]).join(&name[2..])
    }
}

impl Objects<'_> {
    pub(crate) fn find(&self, digest: Digest) -> Option<PathBuf> {
        let placed = self.array.object_path(digest);
        if placed.exists() {
            return Some(placed);
        }
        self.staging.map(|dir| dir.join(digest.to_string())).filter(|path| path.exists())
    }

    /// One that a manifest names: that it is missing is damage.
    pub(crate) fn get(&self, digest: Digest) -> Result<PathBuf, Error> {
        self.find(digest).ok_or_else(|| Error::Damaged {
            what: "object",
            digest,
            problem: "it is not there".to_owned(),
        })
    }
}

/// What became of a copy.
pub(crate) struct Copied {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Its place in the staging directory: to be synced.
    pub(crate) written: Option<PathBuf>,
    /// Nobody had it before.
    pub(crate) is_new: bool,
}

/// Copies what can be read from `source`, at most `max` bytes, into the staging directory of `objects`. `what` names it in an
/// error, `number` makes the temporary name unique among those that copy at once.
pub(crate) fn copy(
    disk: &Disk,
    objects: Objects<'_>,
    staging: &Path,
    source: &mut File,
    max: u64,
    what: &str,
    number: u64,
) -> Result<Copied, Error> {
    let reading = |source: std::io::Error| Error::Io { step: "read", path: what.into(), source };
    let too_large = || Error::Foreign { what: what.to_owned(), problem: format!("more than {max} bytes") };
    let mut buffer = Vec::new();
    Read::take(&mut *source, SMALL as u64 + 1).read_to_end(&mut buffer).map_err(reading)?;
    if buffer.len() as u64 > max {
        return Err(too_large());
    }
    let temporary = staging.join(format!("new-{number}"));
    let create = || disk.create(&temporary, MODE);
    let writing = |error| Error::io("write", &temporary)(error);
    if buffer.len() <= SMALL {
        let digest = Digest::of(&buffer);
        let size = buffer.len() as u64;
        if let Some(path) = objects.find(digest) {
            return Ok(found(path, staging, digest, size));
        }
        create()?.write_all(&buffer).map_err(writing)?;
        return place(disk, &temporary, staging, digest, size);
    }
    let mut file = create()?;
    let mut hasher = blake3::Hasher::new();
    let mut size = 0;
    while !buffer.is_empty() {
        size += buffer.len() as u64;
        if size > max {
            disk.remove(&temporary)?;
            return Err(too_large());
        }
        hasher.update(&buffer);
        file.write_all(&buffer).map_err(writing)?;
        buffer.clear();
        Read::take(&mut *source, SMALL as u64).read_to_end(&mut buffer).map_err(reading)?;
    }
    place(disk, &temporary, staging, Digest::from_hash(hasher.finalize()), size)
}

/// Stages bytes that are in memory.
pub(crate) fn put(
    disk: &Disk,
    objects: Objects<'_>,
    staging: &Path,
    bytes: &[u8],
    number: u64,
) -> Result<Copied, Error> {
    let digest = Digest::of(bytes);
    let size = bytes.len() as u64;
    if let Some(path) = objects.find(digest) {
        return Ok(found(path, staging, digest, size));
    }
    let temporary = staging.join(format!("new-{number}"));
    disk.create(&temporary, MODE)?.write_all(bytes).map_err(Error::io("write", &temporary))?;
    place(disk, &temporary, staging, digest, size)
}

/// Somebody has it. One that is staged may not be on the disk yet: whoever counts on it syncs it too.
fn found(path: PathBuf, staging: &Path, digest: Digest, size: u64) -> Copied {
    Copied { digest, size, written: path.starts_with(staging).then_some(path), is_new: false }
}

fn place(disk: &Disk, temporary: &Path, staging: &Path, digest: Digest, size: u64) -> Result<Copied, Error> {
    let path = staging.join(digest.to_string());
    disk.rename(temporary, &path)?;
    Ok(Copied { digest, size, written: Some(path), is_new: true })
}

/// Makes what was staged durable: one by one when it is little, else with the whole file system.
pub(crate) fn sync(disk: &Disk, staging: &Path, written: &[PathBuf]) -> Result<(), Error> {
    const ONE_BY_ONE: usize = 8;
    if written.is_empty() {
        return Ok(());
    }
    if written.len() > ONE_BY_ONE {
        return disk.sync_all(staging);
    }
    for path in written {
        let file = File::open(path).map_err(Error::io("open", path))?;
        disk.sync_file(&file, path)?;
    }
    disk.sync_dir(staging)
}

/// Hashes a file.
pub(crate) fn hash(path: &Path) -> Result<(Digest, u64), Error> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut hasher = blake3::Hasher::new();
    let size = std::io::copy(&mut file, &mut hasher).map_err(Error::io("read", path))?;
    Ok((Digest::from_hash(hasher.finalize()), size))
}
