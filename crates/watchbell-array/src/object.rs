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

/// An object's mode: nobody writes to it again, and who may reach its directory may read it.
pub(crate) const MODE: u32 = 0o444;
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
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
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

/// What became of a copy.
pub(crate) struct Copied {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Its place in the staging directory: to be synced.
    pub(crate) written: Option<PathBuf>,
}

/// Copies what can be read from `source`, at most `max` bytes, into the staging directory of `objects`; what is small into `pack`
/// where there is one. `what` names it in an error, `number` makes the temporary name unique among those that copy at once.
#[expect(
    clippy::too_many_arguments,
    reason = "one straight copy: from where, to where, how much, and its names"
)]
pub(crate) fn copy(
    disk: &Disk,
    objects: Objects<'_>,
    staging: &Path,
    pack: Option<&pack::Writer>,
    meter: &Meter,
    source: &mut dyn Read,
    max: u64,
    what: &str,
    number: u64,
) -> Result<Copied, Error> {
    let reading = |source: std::io::Error| Error::Io { step: "read", path: what.into(), source };
    let mut buffer = Vec::with_capacity(max.min(SMALL as u64) as usize + 1);
    (&mut *source).take(SMALL as u64 + 1).read_to_end(&mut buffer).map_err(reading)?;
    if buffer.len() as u64 > max {
        return Err(too_large(what, max));
    }
    let temporary = staging.join(format!("new-{number}"));
    let create = || disk.create(&temporary, MODE);
    let writing = |error| Error::io("write", &temporary)(error);
    if buffer.len() <= SMALL {
        let digest = objects.array.digest(&buffer)?;
        let size = buffer.len() as u64;
        if let Some(at) = objects.locate(digest)? {
            return Ok(found(at, staging, digest, size));
        }
        meter.take(objects.array, size)?;
        if let Some(pack) = pack {
            pack.add(digest, &objects.array.sealed(&buffer, Role::Object)?)?;
            return Ok(Copied { digest, size, written: None });
        }
        create()?.write_all(&objects.array.sealed(&buffer, Role::Object)?).map_err(writing)?;
        return place(disk, objects.array, &temporary, staging, digest, size);
    }
    write(disk, objects, staging, meter, source, buffer, max, what, number)
}

/// The same as a file of the staging directory, whether somebody has it or not: in place of one that is damaged.
#[expect(
    clippy::too_many_arguments,
    reason = "one straight copy: from where, to where, how much, and its names"
)]
pub(crate) fn copy_anew(
    disk: &Disk,
    objects: Objects<'_>,
    staging: &Path,
    meter: &Meter,
    source: &mut dyn Read,
    max: u64,
    what: &str,
    number: u64,
) -> Result<Copied, Error> {
    let mut buffer = Vec::new();
    let read = (&mut *source).take(SMALL as u64).read_to_end(&mut buffer);
    read.map_err(|source| Error::Io { step: "read", path: what.into(), source })?;
    write(disk, objects, staging, meter, source, buffer, max, what, number)
}

/// Writes what has been read and all that follows it.
#[expect(
    clippy::too_many_arguments,
    reason = "one straight copy: from where, to where, how much, and its names"
)]
fn write(
    disk: &Disk,
    objects: Objects<'_>,
    staging: &Path,
    meter: &Meter,
    source: &mut dyn Read,
    mut buffer: Vec<u8>,
    max: u64,
    what: &str,
    number: u64,
) -> Result<Copied, Error> {
    let temporary = staging.join(format!("new-{number}"));
    let reading = |source: std::io::Error| Error::Io { step: "read", path: what.into(), source };
    let writing = |error| Error::io("write", &temporary)(error);
    let file = disk.create(&temporary, MODE)?;
    let mut sealing = objects.array.cipher()?.map(|cipher| cipher.writer(&file, Role::Object)).transpose()?;
    let mut hasher = objects.array.hasher()?;
    let mut size = 0;
    while !buffer.is_empty() {
        size += buffer.len() as u64;
        if size > max {
            disk.remove(&temporary)?;
            return Err(too_large(what, max));
        }
        meter.take(objects.array, buffer.len() as u64)?;
        hasher.update(&buffer);
        match &mut sealing {
            None => (&file).write_all(&buffer).map_err(writing)?,
            Some(sealing) => sealing.write_all(&buffer).map_err(writing)?,
        }
        buffer.clear();
        (&mut *source).take(SMALL as u64).read_to_end(&mut buffer).map_err(reading)?;
    }
    if let Some(sealing) = sealing {
        sealing.finish().map_err(writing)?;
    }
    place(disk, objects.array, &temporary, staging, Digest::from_hash(hasher.finalize()), size)
}

fn too_large(what: &str, max: u64) -> Error {
    Error::Foreign { what: what.to_owned(), problem: format!("more than {max} bytes") }
}

/// Stages bytes that are in memory.
pub(crate) fn put(
    disk: &Disk,
    objects: Objects<'_>,
    staging: &Path,
    bytes: &[u8],
    number: u64,
) -> Result<Copied, Error> {
    let digest = objects.array.digest(bytes)?;
    let size = bytes.len() as u64;
    if let Some(at) = objects.locate(digest)? {
        return Ok(found(at, staging, digest, size));
    }
    let temporary = staging.join(format!("new-{number}"));
    disk.create(&temporary, MODE)?
        .write_all(&objects.array.sealed(bytes, Role::Object)?)
        .map_err(Error::io("write", &temporary))?;
    place(disk, objects.array, &temporary, staging, digest, size)
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
    disk: &Disk,
    array: &Array,
    temporary: &Path,
    staging: &Path,
    digest: Digest,
    size: u64,
) -> Result<Copied, Error> {
    let path = staging.join(digest.to_string());
    array.packs(staging)?.read().unwrap_or_else(PoisonError::into_inner).note_file();
    disk.rename(temporary, &path)?;
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
