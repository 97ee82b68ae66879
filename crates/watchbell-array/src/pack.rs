//! Packs: the small objects that were written at once, one behind the other in one file. To sync a file costs the same whatever it
//! holds, and ten thousand chunks of an index are one file then.
//!
//! `magic, contents, index: (digest, offset, length) by digest, length of the index, BLAKE3 of the index, magic`. A pack is
//! synced before it has its name, which is the digest of its index; it is never changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::digest::Digest;
use crate::disk::Disk;
use crate::error::Error;
use crate::store::names;

/// The packs' directory, beside the objects that are files of their own.
pub(crate) const DIR: &str = "packs";
const NAME: &str = "pack-";
const MAGIC: &[u8; 8] = b"WBPACK\x00\x01";
const ENTRY: usize = 44;
const TRAILER: usize = 8 + 32 + MAGIC.len();
const MAX_INDEX_BYTES: u64 = 4 << 30;

/// Where in a pack an object is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) pack: Arc<Path>,
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

/// What the packs of a directory hold.
#[derive(Default)]
pub(crate) struct Index {
    names: BTreeSet<String>,
    /// What cannot be read, with the reason: nothing is found in it.
    pub(crate) broken: BTreeMap<PathBuf, String>,
    objects: HashMap<Digest, Place>,
}

impl Index {
    pub(crate) fn get(&self, digest: Digest) -> Option<Place> {
        self.objects.get(&digest).cloned()
    }

    /// Takes in what is new in the directory, and forgets what is gone.
    pub(crate) fn refresh(&mut self, dir: &Path) -> Result<(), Error> {
        let found = found(dir)?;
        if self.names.iter().any(|name| !found.contains(name)) {
            *self = Self::default();
        }
        for name in found {
            if !self.names.contains(&name) {
                self.insert(&dir.join(&name), name);
            }
        }
        Ok(())
    }

    pub(crate) fn insert(&mut self, path: &Path, name: String) {
        match read(path) {
            Ok(entries) => {
                let pack: Arc<Path> = path.into();
                self.objects.extend(
                    entries.into_iter().map(|(digest, offset, length)| {
                        (digest, Place { pack: pack.clone(), offset, length })
                    }),
                );
            }
            Err(problem) => drop(self.broken.insert(path.to_owned(), problem)),
        }
        self.names.insert(name);
    }
}

/// The packs of a directory, which may not be there: an array of before has none.
pub(crate) fn found(dir: &Path) -> Result<BTreeSet<String>, Error> {
    match names(dir) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        found => Ok(found?.into_iter().filter(|name| name.starts_with(NAME)).collect()),
    }
}

/// What a pack says that it holds; the problem where that is not to be believed.
pub(crate) fn read(path: &Path) -> Result<Vec<(Digest, u64, u32)>, String> {
    let io = |error: std::io::Error| format!("it cannot be read: {error}");
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let behind = size.checked_sub(TRAILER as u64).ok_or("it is cut short")?;
    let mut trailer = [0; TRAILER];
    file.read_exact_at(&mut trailer, behind).map_err(io)?;
    let (length, rest) = trailer.split_at(8);
    let (digest, magic) = rest.split_at(32);
    let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
    let contents = behind.checked_sub(length).filter(|_| length <= MAX_INDEX_BYTES && magic == MAGIC);
    let contents =
        contents.filter(|_| length.is_multiple_of(ENTRY as u64)).ok_or("it is of another format")?;
    let mut index = vec![0; length as usize];
    file.read_exact_at(&mut index, contents).map_err(io)?;
    if Digest::of(&index).as_bytes() != digest {
        return Err("its index is damaged".to_owned());
    }
    let entry = |bytes: &[u8]| {
        let number = |from, to| bytes.get(from..to);
        let digest = Digest::from_bytes(number(0, 32)?.try_into().ok()?);
        let offset = u64::from_le_bytes(number(32, 40)?.try_into().ok()?);
        let length = u32::from_le_bytes(number(40, 44)?.try_into().ok()?);
        let is_inside = offset.checked_add(u64::from(length)).is_some_and(|end| end <= contents);
        is_inside.then_some((digest, offset, length))
    };
    index.chunks(ENTRY).map(entry).collect::<Option<_>>().ok_or_else(|| "an object lies outside".to_owned())
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
    entries: BTreeMap<Digest, (u64, u32)>,
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
        file.write_all_at(MAGIC, 0).map_err(Error::io("write", &temporary))?;
        let state = State { next: MAGIC.len() as u64, entries: BTreeMap::new() };
        Ok(Self { file, dir: dir.to_owned(), temporary, state: Mutex::new(state) })
    }

    /// Once, however often it is added.
    pub(crate) fn add(&self, digest: Digest, bytes: &[u8]) -> Result<(), Error> {
        let at = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.entries.contains_key(&digest) {
                return Ok(());
            }
            let at = state.next;
            state.next += bytes.len() as u64;
            state.entries.insert(digest, (at, bytes.len() as u32));
            at
        };
        self.file.write_all_at(bytes, at).map_err(Error::io("write", &self.temporary))
    }

    /// Gives the pack its name, durably. Of nothing no pack is made.
    pub(crate) fn finish(self, disk: &Disk) -> Result<Option<PathBuf>, Error> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if state.entries.is_empty() {
            disk.remove(&self.temporary)?;
            return Ok(None);
        }
        let mut index = Vec::with_capacity(state.entries.len() * ENTRY + TRAILER);
        for (digest, (offset, length)) in &state.entries {
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
    for name in names(&dir)?.iter().filter(|name| !name.starts_with(NAME)) {
        disk.remove(&dir.join(name))?;
    }
    Ok(())
}
