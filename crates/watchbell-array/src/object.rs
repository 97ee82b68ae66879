//! Objects: contents by digest. They are written beside, renamed into place when they are whole, and never changed.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::cipher::{Role, content_length};
use crate::digest::Digest;
use crate::disk::Disk;
use crate::error::Error;
use crate::meter::Meter;
use crate::pack::{self, Index};
use crate::store::Array;

/// An object's mode. Nothing writes to it again: it is root's, in a directory that is root's alone, and a task sees it below the
/// layer that it writes to. There it is the task's own file, which may be opened for writing: the first write copies it.
pub(crate) const MODE: u32 = 0o644;
/// What is no larger is read whole, and written only when nobody has it yet.
const SMALL: usize = 1 << 20;
/// More small objects than this, written at once, go into one pack.
const PACK_ABOVE: usize = 8;

/// Where objects are found: in place, or in a draft whose run has not published them.
#[derive(Clone, Copy)]
pub(crate) struct Objects<'a> {
    pub(crate) array: &'a Array,
    pub(crate) staging: Option<&'a Path>,
}

impl Array {
    pub(crate) fn objects_dir(&self) -> PathBuf {
        self.dir.join("objects")
    }

    pub(crate) fn object_path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.dir.join("objects").join(&name[..2]).join(&name[2..])
    }
}

/// Where an object is.
pub(crate) enum Located {
    /// A file of its own.
    File(PathBuf),
    Packed(pack::Place),
}

impl Located {
    pub(crate) fn is_below(&self, dir: &Path) -> bool {
        match self {
            Self::File(path) => path.starts_with(dir),
            Self::Packed(place) => place.pack.starts_with(dir),
        }
    }
}

impl Objects<'_> {
    /// In packs first: files are asked of the file system, one by one.
    pub(crate) fn locate(&self, digest: Digest) -> Result<Option<Located>, Error> {
        let placed = self.array.objects_dir();
        for objects in [Some(placed.as_path()), self.staging].into_iter().flatten() {
            let index = self.array.packs(objects)?;
            let found = index.read().unwrap_or_else(PoisonError::into_inner).get(digest)?;
            if let Some(place) = found {
                return Ok(Some(Located::Packed(place)));
            }
        }
        let name = digest.to_string();
        // Below a directory for each first byte.
        let placed_name = format!("{}/{}", &name[..2], &name[2..]);
        for (objects, name) in [(Some(placed.as_path()), placed_name), (self.staging, name)] {
            let Some(objects) = objects else { continue };
            let index = self.array.packs(objects)?;
            if index.read().unwrap_or_else(PoisonError::into_inner).has_file(&name)? {
                return Ok(Some(Located::File(objects.join(name))));
            }
        }
        Ok(None)
    }

    /// Looks again at which packs are there. Who counts on what is in place does it first, with the array's lock held, because a
    /// sweep writes packs anew.
    pub(crate) fn refresh(&self) -> Result<(), Error> {
        self.each_index(|index, objects| {
            index.write().unwrap_or_else(PoisonError::into_inner).refresh(&objects.join(pack::DIR))
        })
    }

    fn each_index(&self, visit: impl Fn(&RwLock<Index>, &Path) -> Result<(), Error>) -> Result<(), Error> {
        let placed = self.array.objects_dir();
        let mut all = [Some(placed.as_path()), self.staging].into_iter().flatten();
        all.try_for_each(|objects| visit(&*self.array.packs(objects)?, objects))
    }

    /// One that a manifest names: that it is missing is damage.
    pub(crate) fn get(&self, digest: Digest) -> Result<Located, Error> {
        if let Some(found) = self.locate(digest)? {
            return Ok(found);
        }
        self.refresh()?;
        if let Some(found) = self.locate(digest)? {
            return Ok(found);
        }
        // It may lie in a pack that cannot be read now.
        self.each_index(|index, _| index.read().unwrap_or_else(PoisonError::into_inner).is_read())?;
        Err(Error::Damaged { what: "object", digest, problem: "it is not there".to_owned() })
    }

    /// The content of one that a manifest names, unchecked, with its length.
    pub(crate) fn open(&self, digest: Digest) -> Result<(Box<dyn Read + '_>, u64), Error> {
        let (stored, length) = self.stored(digest)?;
        let Some(cipher) = self.array.cipher()? else { return Ok((Box::new(stored), length)) };
        let damaged = |problem: String| Error::Damaged { what: "object", digest, problem };
        let content = cipher.reader(stored, length).map_err(|error| damaged(error.to_string()))?;
        let length = content_length(length).ok_or_else(|| damaged("it is cut short".to_owned()))?;
        Ok((Box::new(content), length))
    }

    /// The same as it is kept.
    pub(crate) fn stored(&self, digest: Digest) -> Result<(io::Take<Stored>, u64), Error> {
        match opened(&self.get(digest)?) {
            // A sweep has just written its pack anew.
            Err(error) if error.is_not_found() => {
                self.refresh()?;
                opened(&self.get(digest)?)
            }
            content => content,
        }
    }

    /// The same, checked, at most `max` bytes.
    pub(crate) fn read(&self, digest: Digest, max: u64) -> Result<Vec<u8>, Error> {
        let damaged = |problem: String| Error::Damaged { what: "object", digest, problem };
        let (mut content, length) = self.open(digest)?;
        if length > max {
            return Err(damaged(format!("{length} bytes, and at most {max} are read")));
        }
        let mut bytes = Vec::with_capacity(length as usize);
        content.read_to_end(&mut bytes).map_err(|error| damaged(error.to_string()))?;
        if self.array.digest(&bytes)? != digest {
            return Err(damaged("its content has another digest".to_owned()));
        }
        Ok(bytes)
    }
}

/// Reads a file on from a place. Others may read the same file, each from a place of its own.
pub(crate) struct Stored {
    file: Arc<File>,
    offset: u64,
}

impl Read for Stored {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

fn opened(at: &Located) -> Result<(io::Take<Stored>, u64), Error> {
    match at {
        Located::File(path) => {
            let file = File::open(path).map_err(Error::io("open", path))?;
            let length = file.metadata().map_err(Error::io("look at", path))?.len();
            Ok((Stored { file: Arc::new(file), offset: 0 }.take(length), length))
        }
        Located::Packed(place) => {
            let stored = Stored { file: place.open()?, offset: place.offset };
            Ok((stored.take(u64::from(place.length)), u64::from(place.length)))
        }
    }
}

impl Array {
    /// Whether these bytes, as they are kept, are the object of that name.
    pub(crate) fn is_object(&self, digest: Digest, bytes: Vec<u8>) -> Result<bool, Error> {
        let content = self.opened(bytes, Role::Object)?;
        Ok(content.is_some_and(|content| self.digest(&content).is_ok_and(|found| found == digest)))
    }
}

/// What became of a copy.
pub(crate) struct Copied {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Its place in the staging directory: to be synced.
    pub(crate) written: Option<PathBuf>,
}

/// A content that is copied into a staging directory.
pub(crate) struct Incoming<'a> {
    pub(crate) array: &'a Array,
    pub(crate) staging: &'a Path,
    pub(crate) meter: &'a Meter,
    /// It has no more bytes.
    pub(crate) max: u64,
    /// Its name in an error.
    pub(crate) what: &'a str,
    /// Of its own among those that copy at once: for the temporary name.
    pub(crate) number: u64,
}

impl Incoming<'_> {
    /// Copies what can be read from `source`; what is small into `pack` where there is one.
    pub(crate) fn copy(&self, pack: Option<&pack::Writer>, source: &mut dyn Read) -> Result<Copied, Error> {
        let mut buffer = Vec::with_capacity(self.max.min(SMALL as u64) as usize + 1);
        self.read(source, SMALL as u64 + 1, &mut buffer)?;
        if buffer.len() as u64 > self.max {
            return Err(self.too_large());
        }
        if buffer.len() > SMALL {
            let (temporary, digest, size) = self.write(source, buffer)?;
            // What its name is only its end tells. Where somebody has it, a second one would be counted, and kept, for nothing.
            let objects = Objects { array: self.array, staging: Some(self.staging) };
            return match objects.locate(digest)? {
                Some(at) => {
                    self.array.disk.remove(&temporary)?;
                    self.meter.give_back(size);
                    Ok(found(at, self.staging, digest, size))
                }
                None => place(self.array, self.staging, &temporary, digest, size),
            };
        }
        let digest = self.array.digest(&buffer)?;
        let size = buffer.len() as u64;
        let objects = Objects { array: self.array, staging: Some(self.staging) };
        if let Some(at) = objects.locate(digest)? {
            return Ok(found(at, self.staging, digest, size));
        }
        self.meter.take(self.array, size)?;
        if let Some(pack) = pack {
            pack.add(digest, &self.array.sealed(&buffer, Role::Object)?)?;
            return Ok(Copied { digest, size, written: None });
        }
        stage(self.array, self.staging, digest, &buffer, self.number)
    }

    /// The same as a file of the staging directory, whether somebody has it or not: in place of one that is damaged.
    pub(crate) fn copy_anew(&self, source: &mut dyn Read) -> Result<Copied, Error> {
        let mut buffer = Vec::new();
        self.read(source, SMALL as u64, &mut buffer)?;
        let (temporary, digest, size) = self.write(source, buffer)?;
        place(self.array, self.staging, &temporary, digest, size)
    }

    fn read(&self, source: &mut dyn Read, most: u64, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let read = source.take(most).read_to_end(buffer);
        read.map(drop).map_err(|source| Error::Io { step: "read", path: self.what.into(), source })
    }

    /// Writes what has been read and all that follows it into a file of its own. That file, with the name and the size of the content.
    fn write(&self, source: &mut dyn Read, mut buffer: Vec<u8>) -> Result<(PathBuf, Digest, u64), Error> {
        let (array, disk) = (self.array, &self.array.disk);
        let temporary = temporary(self.staging, self.number);
        let writing = |error| Error::io("write", &temporary)(error);
        let file = disk.create(&temporary, MODE)?;
        let mut sealing = array.cipher()?.map(|cipher| cipher.writer(&file, Role::Object)).transpose()?;
        let mut hasher = array.hasher()?;
        let mut size = 0;
        while !buffer.is_empty() {
            size += buffer.len() as u64;
            if size > self.max {
                disk.remove(&temporary)?;
                return Err(self.too_large());
            }
            self.meter.take(array, buffer.len() as u64)?;
            hasher.update(&buffer);
            match &mut sealing {
                None => (&file).write_all(&buffer).map_err(writing)?,
                Some(sealing) => sealing.write_all(&buffer).map_err(writing)?,
            }
            buffer.clear();
            self.read(source, SMALL as u64, &mut buffer)?;
        }
        if let Some(sealing) = sealing {
            sealing.finish().map_err(writing)?;
        }
        Ok((temporary, Digest::from_hash(hasher.finalize()), size))
    }

    fn too_large(&self) -> Error {
        Error::Foreign { what: self.what.to_owned(), problem: format!("more than {} bytes", self.max) }
    }
}

/// Stages bytes that are in memory.
pub(crate) fn put(array: &Array, staging: &Path, bytes: &[u8], number: u64) -> Result<Copied, Error> {
    let digest = array.digest(bytes)?;
    match (Objects { array, staging: Some(staging) }).locate(digest)? {
        Some(at) => Ok(found(at, staging, digest, bytes.len() as u64)),
        None => stage(array, staging, digest, bytes, number),
    }
}

/// Of which nobody has the object yet.
fn stage(array: &Array, staging: &Path, digest: Digest, bytes: &[u8], number: u64) -> Result<Copied, Error> {
    let temporary = temporary(staging, number);
    array
        .disk
        .create(&temporary, MODE)?
        .write_all(&array.sealed(bytes, Role::Object)?)
        .map_err(Error::io("write", &temporary))?;
    place(array, staging, &temporary, digest, bytes.len() as u64)
}

fn temporary(staging: &Path, number: u64) -> PathBuf {
    staging.join(format!("new-{number}"))
}

/// Somebody has it. One that is staged as a file may not be on the disk yet: whoever counts on it syncs it too.
fn found(at: Located, staging: &Path, digest: Digest, size: u64) -> Copied {
    let written = match at {
        Located::File(path) if path.starts_with(staging) => Some(path),
        Located::File(_) | Located::Packed(_) => None,
    };
    Copied { digest, size, written }
}

fn place(
    array: &Array,
    staging: &Path,
    temporary: &Path,
    digest: Digest,
    size: u64,
) -> Result<Copied, Error> {
    let path = staging.join(digest.to_string());
    array.packs(staging)?.read().unwrap_or_else(PoisonError::into_inner).note_file();
    array.disk.rename(temporary, &path)?;
    Ok(Copied { digest, size, written: Some(path) })
}

/// A pack for what is copied at once, when it is worth one; `finish_pack` ends it.
pub(crate) fn begin_pack(
    disk: &Disk,
    staging: &Path,
    sizes: impl Iterator<Item = u64>,
    number: u64,
) -> Result<Option<pack::Writer>, Error> {
    match sizes.filter(|size| *size <= SMALL as u64).count() {
        0..=PACK_ABOVE => Ok(None),
        _ => pack::Writer::create(disk, &staging.join(pack::DIR), number).map(Some),
    }
}

/// Makes the pack of what `came` of the copies durable, and lets it be found; after an error it is given up.
pub(crate) fn finish_pack<T>(
    array: &Array,
    staging: &Path,
    pack: Option<pack::Writer>,
    came: Result<T, Error>,
) -> Result<T, Error> {
    match (pack, came) {
        (Some(pack), Err(error)) => {
            pack.give_up(&array.disk)?;
            Err(error)
        }
        (Some(pack), Ok(came)) => {
            if let Some(path) = pack.finish(&array.disk)? {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let index = array.packs(staging)?;
                index.write().unwrap_or_else(PoisonError::into_inner).insert(&path, name);
            }
            Ok(came)
        }
        (None, came) => came,
    }
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

/// Hashes a content.
pub(crate) fn hash(array: &Array, content: &mut dyn Read, path: &Path) -> Result<(Digest, u64), Error> {
    let mut hasher = array.hasher()?;
    let size = io::copy(content, &mut hasher).map_err(Error::io("read", path))?;
    Ok((Digest::from_hash(hasher.finalize()), size))
}
