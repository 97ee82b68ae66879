//! Packs: the small objects that were written at once, one behind the other in one file. To sync a file costs the same whatever it
//! holds, and ten thousand chunks of an index are one file then.
//!
//! `magic, contents, index: (digest, offset, length) by digest, length of the index, BLAKE3 of the index, magic`. A pack is
//! synced before it has its name, which is the digest of its index; it is never changed.

use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use crate::digest::Digest;
use crate::disk::Disk;
use crate::error::Error;
use crate::store::names;

/// The packs' directory, beside the objects that are files of their own.
pub(crate) const DIR: &str = "packs";
const NAME: &str = "pack-";
/// Of one of which something could not be read when the rest of it was written anew.
const ASIDE: &str = "unread-";
const MAGIC: &[u8; 8] = b"WBPACK\x00\x01";
const ENTRY: usize = 44;
const TRAILER: usize = 8 + 32 + MAGIC.len();
const MAX_INDEX_BYTES: u64 = 4 << 30;

/// Where in a pack an object is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) pack: Arc<Path>,
    file: Option<Arc<File>>,
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

impl Place {
    /// As if it were opened now: one that is held open and was removed since, because it was written anew, is not there.
    pub(crate) fn open(&self) -> Result<Arc<File>, Error> {
        match &self.file {
            Some(file) if is_gone(file) => Err(Error::io("open", &self.pack)(io::ErrorKind::NotFound.into())),
            Some(file) => Ok(file.clone()),
            None => File::open(&self.pack).map(Arc::new).map_err(Error::io("open", &self.pack)),
        }
    }
}

/// Whether a file that is open has no name any more.
fn is_gone(file: &File) -> bool {
    file.metadata().is_ok_and(|of| of.nlink() == 0)
}

/// What the packs of a directory hold: in memory four bytes an object, and the rest is read where it lies.
pub(crate) struct Index {
    /// The directory of objects that the packs' one lies in; nothing where there is none.
    objects: Option<OwnedFd>,
    /// Whether anything but packs may lie there. Who holds a staging directory is the only one to put something into it.
    has_files: AtomicBool,
    packs: BTreeMap<String, Pack>,
    /// What is damaged, with the reason: nothing is found in it.
    pub(crate) broken: BTreeMap<PathBuf, String>,
    /// What could not be read when it was last tried. It may be whole, and is tried again.
    unread: BTreeMap<PathBuf, io::Error>,
}

/// So many packs of a directory are held open; the others are opened each time.
const HELD_OPEN: usize = 32;
/// So many of all directories, however many arrays are in use: a process's descriptors are for more than that.
const ALL_HELD_OPEN: usize = 256;
static ALL_HELD: AtomicUsize = AtomicUsize::new(0);

/// One of [`ALL_HELD_OPEN`].
struct Held;

impl Held {
    fn take() -> Option<Self> {
        let one_more = |held| (held < ALL_HELD_OPEN).then_some(held + 1);
        ALL_HELD.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Self)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        ALL_HELD.fetch_sub(1, Relaxed);
    }
}

impl Index {
    pub(crate) fn of(objects: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = match openat(CWD, objects, flags, Mode::empty()) {
            Err(Errno::NOENT) => None,
            dir => Some(dir.map_err(Error::errno("open", objects))?),
        };
        let has_files = match &dir {
            None => false,
            Some(_) => names(objects)?.iter().any(|name| name != DIR),
        };
        let mut index = Self {
            objects: dir,
            has_files: AtomicBool::new(has_files),
            packs: BTreeMap::new(),
            broken: BTreeMap::new(),
            unread: BTreeMap::new(),
        };
        index.refresh(&objects.join(DIR))?;
        Ok(index)
    }

    /// A file is about to lie there, outside the packs.
    pub(crate) fn note_file(&self) {
        self.has_files.store(true, Relaxed);
    }

    /// Whether one of that name does.
    pub(crate) fn has_file(&self, name: &str) -> Result<bool, Error> {
        let Some(dir) = self.objects.as_ref().filter(|_| self.has_files.load(Relaxed)) else {
            return Ok(false);
        };
        match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(false),
            found => found.map(|_| true).map_err(Error::errno("look at", Path::new(name))),
        }
    }

    pub(crate) fn get(&self, digest: Digest) -> Result<Option<Place>, Error> {
        let mut unread = None;
        for pack in self.packs.values() {
            match pack.find(digest) {
                Ok(Some(place)) => return Ok(Some(place)),
                Ok(None) => {}
                // A sweep has just written it anew.
                Err(error) if error.is_not_found() => {}
                // Another pack may have it, too.
                Err(error) => unread = unread.or(Some(error)),
            }
        }
        unread.map_or(Ok(None), Err)
    }

    /// That something could not be read: what is found nowhere may lie there.
    pub(crate) fn is_read(&self) -> Result<(), Error> {
        let Some((path, error)) = self.unread.first_key_value() else { return Ok(()) };
        Err(Error::io("read", path)(again(error)))
    }

    /// What `verify` tells of packs.
    pub(crate) fn problems(&self) -> impl Iterator<Item = (&Path, String)> {
        let broken = self.broken.iter().map(|(path, problem)| (path.as_path(), problem.clone()));
        let unread = self.unread.iter();
        broken.chain(unread.map(|(path, error)| (path.as_path(), format!("it cannot be read: {error}"))))
    }

    /// The packs in which something may be found.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.packs.keys()
    }

    /// Takes in what is new in the directory, and forgets what is gone.
    pub(crate) fn refresh(&mut self, dir: &Path) -> Result<(), Error> {
        let found = found(dir)?;
        // One that is held open may have been replaced by one of the same name.
        self.packs.retain(|name, pack| found.contains(name) && !pack.file.as_deref().is_some_and(is_gone));
        self.broken.retain(|path, _| found.iter().any(|name| path.ends_with(name)));
        self.unread.clear();
        for name in found {
            let path = dir.join(&name);
            if !self.packs.contains_key(&name) && !self.broken.contains_key(&path) {
                self.insert(&path, name);
            }
        }
        Ok(())
    }

    pub(crate) fn insert(&mut self, path: &Path, name: String) {
        let held = self.packs.values().filter(|pack| pack.file.is_some()).count();
        match Pack::open(path, held < HELD_OPEN) {
            Ok(Ok(pack)) => drop(self.packs.insert(name, pack)),
            Ok(Err(problem)) => drop(self.broken.insert(path.to_owned(), problem)),
            Err(error) => drop(self.unread.insert(path.to_owned(), error)),
        }
    }
}

/// The same error once more.
fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// A pack whose index was found to be whole, in order and within the file.
struct Pack {
    path: Arc<Path>,
    file: Option<Arc<File>>,
    _held: Option<Held>,
    /// Where the contents end and the index begins.
    contents: u64,
    /// The first four bytes of each digest, in the index's order.
    fronts: Box<[u32]>,
}

impl Pack {
    fn open(path: &Path, may_be_held: bool) -> Read<Self> {
        let mut fronts = Vec::new();
        let read = each(path, &mut |digest, _, _| fronts.push(front(digest)))?;
        Ok(read.map(|(file, contents)| {
            let held = may_be_held.then(Held::take).flatten();
            let file = held.is_some().then(|| Arc::new(file));
            Self { path: path.into(), file, _held: held, contents, fronts: fronts.into() }
        }))
    }

    /// By binary search: in memory among the fronts, then on the disk among those that are equal, which is one unless somebody
    /// made digests that begin the same.
    fn find(&self, digest: Digest) -> Result<Option<Place>, Error> {
        let front = front(digest);
        let mut from = self.fronts.partition_point(|other| *other < front);
        if self.fronts.get(from) != Some(&front) {
            return Ok(None);
        }
        let mut to = self.fronts.partition_point(|other| *other <= front);
        let pack = self.path.clone();
        let mut place = Place { pack, file: self.file.clone(), offset: 0, length: 0 };
        let file = place.open()?;
        while from < to {
            let middle = from + (to - from) / 2;
            let mut bytes = [0; ENTRY];
            let at = self.contents + (middle * ENTRY) as u64;
            file.read_exact_at(&mut bytes, at).map_err(Error::io("read the index of", &self.path))?;
            // It was whole when it was opened. Whoever changed it since leads to no other content: that is hashed.
            let Some((found, offset, length)) = entry(&bytes, self.contents) else {
                let problem = "an object lies outside; `watchbell array verify` says what else is damaged";
                return Err(Error::Format { path: self.path.to_path_buf(), problem: problem.to_owned() });
            };
            match found.cmp(&digest) {
                Ordering::Less => from = middle + 1,
                Ordering::Greater => to = middle,
                Ordering::Equal => {
                    (place.offset, place.length) = (offset, length);
                    return Ok(Some(place));
                }
            }
        }
        Ok(None)
    }
}

fn front(digest: Digest) -> u32 {
    let [a, b, c, d, ..] = *digest.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// The packs of a directory, which may not be there: an array of before has none.
pub(crate) fn found(dir: &Path) -> Result<BTreeSet<String>, Error> {
    found_as(dir, NAME)
}

/// Those that were set aside: nothing is found in them.
pub(crate) fn set_aside(dir: &Path) -> Result<BTreeSet<String>, Error> {
    found_as(dir, ASIDE)
}

fn found_as(dir: &Path, kind: &str) -> Result<BTreeSet<String>, Error> {
    match names(dir) {
        Err(error) if error.is_not_found() => Ok(BTreeSet::new()),
        found => Ok(found?.into_iter().filter(|name| name.starts_with(kind)).collect()),
    }
}

/// What a pack is called once it is set aside.
pub(crate) fn aside_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{ASIDE}{}", name.trim_start_matches(NAME)))
}

/// An object's bytes in a pack.
pub(crate) fn bytes_at(file: &File, offset: u64, length: u32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// What came of a pack that was read: within, the problem when its content is not to be believed. That it could not be read says
/// nothing of its content.
pub(crate) type Read<T> = io::Result<Result<T, String>>;

/// What a pack says that it holds.
pub(crate) fn read(path: &Path) -> Read<Vec<(Digest, u64, u32)>> {
    let mut entries = Vec::new();
    let read = each(path, &mut |digest, offset, length| entries.push((digest, offset, length)))?;
    Ok(read.map(|_| entries))
}

/// Visits what a pack says that it holds, a piece of its index at a time. Only once this has gone well is any of it to be believed.
/// Gives back the file, and where its contents end.
fn each(path: &Path, visit: &mut dyn FnMut(Digest, u64, u32)) -> Read<(File, u64)> {
    const PIECE: u64 = 16_384 * ENTRY as u64;
    let damaged = |problem: &str| Ok(Err(problem.to_owned()));
    let file = File::open(path)?;
    let Some(behind) = file.metadata()?.len().checked_sub(TRAILER as u64) else {
        return damaged("it is cut short");
    };
    let mut trailer = [0; TRAILER];
    file.read_exact_at(&mut trailer, behind)?;
    let (length, rest) = trailer.split_at(8);
    let (digest, magic) = rest.split_at(32);
    let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
    let contents = behind.checked_sub(length).filter(|_| length <= MAX_INDEX_BYTES && magic == MAGIC);
    let Some(contents) = contents.filter(|_| length.is_multiple_of(ENTRY as u64)) else {
        return damaged("it is of another format");
    };
    let (mut hasher, mut at, mut before, mut problem) = (blake3::Hasher::new(), contents, None, None);
    let mut piece = vec![0; length.min(PIECE) as usize];
    while at < behind {
        let piece = &mut piece[..(behind - at).min(PIECE) as usize];
        file.read_exact_at(piece, at)?;
        hasher.update(piece);
        for bytes in piece.chunks(ENTRY) {
            match entry(bytes, contents) {
                None => problem = Some("an object lies outside"),
                Some((digest, ..)) if before.is_some_and(|before| before >= digest) => {
                    problem = Some("its index is out of order");
                }
                Some((digest, offset, length)) if problem.is_none() => {
                    before = Some(digest);
                    visit(digest, offset, length);
                }
                Some(_) => {}
            }
        }
        at += piece.len() as u64;
    }
    if hasher.finalize().as_bytes() != digest {
        return damaged("its index is damaged");
    }
    problem.map_or(Ok(Ok((file, contents))), damaged)
}

/// An entry of an index; nothing where it leads out of the contents.
fn entry(bytes: &[u8], contents: u64) -> Option<(Digest, u64, u32)> {
    let digest = Digest::from_bytes(bytes.get(..32)?.try_into().ok()?);
    let offset = u64::from_le_bytes(bytes.get(32..40)?.try_into().ok()?);
    let length = u32::from_le_bytes(bytes.get(40..ENTRY)?.try_into().ok()?);
    let is_inside = offset.checked_add(u64::from(length)).is_some_and(|end| end <= contents);
    is_inside.then_some((digest, offset, length))
}

/// A pack that is being written, by several threads.
pub(crate) struct Writer {
    file: File,
    dir: PathBuf,
    temporary: PathBuf,
    state: Mutex<State>,
}

struct State {
    next: u64,
    /// What was added last and is not in the file yet.
    buffer: Vec<u8>,
    entries: HashMap<Digest, (u64, u32)>,
}

impl State {
    /// The buffer, and where in the file it belongs.
    fn take(&mut self) -> (Vec<u8>, u64) {
        let buffer = std::mem::take(&mut self.buffer);
        let at = self.next - buffer.len() as u64;
        (buffer, at)
    }
}

impl Writer {
    /// `number` makes the temporary name unique among those that write at once.
    pub(crate) fn create(disk: &Disk, dir: &Path, number: u64) -> Result<Self, Error> {
        if !dir.exists() {
            disk.make_dir(dir)?;
            disk.sync_dir(dir.parent().unwrap_or(dir))?;
        }
        let temporary = dir.join(format!("new-{number}"));
        let file = disk.create(&temporary, 0o400)?;
        let buffer = MAGIC.to_vec();
        let state = State { next: buffer.len() as u64, buffer, entries: HashMap::new() };
        Ok(Self { file, dir: dir.to_owned(), temporary, state: Mutex::new(state) })
    }

    /// Once, however often it is added.
    pub(crate) fn add(&self, digest: Digest, bytes: &[u8]) -> Result<(), Error> {
        /// A write costs the same for a chunk as for many.
        const BUFFER: usize = 1 << 20;
        let (full, at) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let at = state.next;
            match state.entries.entry(digest) {
                Entry::Occupied(_) => return Ok(()),
                Entry::Vacant(place) => place.insert((at, bytes.len() as u32)),
            };
            state.next += bytes.len() as u64;
            state.buffer.extend_from_slice(bytes);
            if state.buffer.len() < BUFFER {
                return Ok(());
            }
            state.take()
        };
        self.file.write_all_at(&full, at).map_err(Error::io("write", &self.temporary))
    }

    /// Gives the pack its name, durably. Of nothing no pack is made.
    pub(crate) fn finish(self, disk: &Disk) -> Result<Option<PathBuf>, Error> {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if state.entries.is_empty() {
            disk.remove(&self.temporary)?;
            return Ok(None);
        }
        let (rest, at) = state.take();
        self.file.write_all_at(&rest, at).map_err(Error::io("write", &self.temporary))?;
        let mut entries: Vec<_> = state.entries.into_iter().collect();
        entries.sort_unstable_by_key(|(digest, _)| *digest);
        let mut index = Vec::with_capacity(entries.len() * ENTRY + TRAILER);
        for (digest, (offset, length)) in &entries {
            index.extend(digest.as_bytes());
            index.extend(offset.to_le_bytes());
            index.extend(length.to_le_bytes());
        }
        let (digest, length) = (Digest::of(&index), index.len() as u64);
        index.extend(length.to_le_bytes());
        index.extend(digest.as_bytes());
        index.extend(MAGIC);
        self.file.write_all_at(&index, state.next).map_err(Error::io("write", &self.temporary))?;
        disk.sync_file(&self.file, &self.temporary)?;
        let path = self.dir.join(format!("{NAME}{digest}"));
        disk.rename(&self.temporary, &path)?;
        disk.sync_dir(&self.dir)?;
        Ok(Some(path))
    }

    /// Writes a pack of what `fill` adds; after an error nothing of it is left.
    pub(crate) fn write<T>(
        disk: &Disk,
        dir: &Path,
        number: u64,
        fill: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<(Option<PathBuf>, T), Error> {
        let writer = Self::create(disk, dir, number)?;
        let temporary = writer.temporary.clone();
        let written = fill(&writer).and_then(|came| Ok((writer.finish(disk)?, came)));
        if written.is_err() {
            // Best effort: whoever writes packs here next removes it first.
            drop(disk.remove(&temporary));
        }
        written
    }

    pub(crate) fn give_up(self, disk: &Disk) -> Result<(), Error> {
        disk.remove(&self.temporary)
    }
}

/// Removes what was never finished below a directory of objects that nobody else writes to.
pub(crate) fn remove_unfinished(disk: &Disk, objects: &Path) -> Result<(), Error> {
    let dir = objects.join(DIR);
    if !dir.exists() {
        return Ok(());
    }
    for name in names(&dir)?.iter().filter(|name| !name.starts_with(NAME) && !name.starts_with(ASIDE)) {
        disk.remove(&dir.join(name))?;
    }
    Ok(())
}

/// Removes the packs of which no object is known; says whether there was one. One that cannot be read, or is damaged, stays.
pub(crate) fn remove_unknown(disk: &Disk, objects: &Path, known: &BTreeSet<Digest>) -> Result<bool, Error> {
    let dir = objects.join(DIR);
    let mut was_there = false;
    for name in found(&dir)? {
        let path = dir.join(name);
        let mut is_known = false;
        if let Ok(Ok(_)) = each(&path, &mut |digest, _, _| is_known |= known.contains(&digest))
            && !is_known
        {
            disk.remove(&path)?;
            was_there = true;
        }
    }
    Ok(was_there)
}

#[cfg(test)]
mod tests;
