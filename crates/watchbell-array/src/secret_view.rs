//! What an encrypted array holds, as a plain directory in memory: nothing of it reaches a disk.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, chmodat, fchmod, fstat, fstatfs, mkdirat, openat2,
};
use watchbell_zarr::Hierarchy;

use crate::digest::Digest;
use crate::draft::Draft;
use crate::error::Error;
use crate::manifest::{Entry, Manifest};
use crate::object::{MODE, Objects};
use crate::parallel::in_parallel;
use crate::store::Array;
use crate::view::DIRECTORY_MODE;

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of the kernel.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
/// Memory is had by pages.
const PAGE_BYTES: u64 = 4096;

/// Keys of an array that are to be had as files in memory; also of one that is in the clear.
pub struct Decrypted<'a> {
    array: &'a Array,
    staging: Option<PathBuf>,
    entries: Vec<&'a Entry>,
    /// Directories that are made with those of the keys, each after the ones above it.
    dirs: BTreeSet<String>,
}

impl Array {
    /// A manifest's documents, and those chunks that `sees` says.
    pub fn decrypted<'a>(&'a self, manifest: &'a Manifest, sees: impl Fn(&str) -> bool) -> Decrypted<'a> {
        Decrypted::of(self, None, manifest, sees, &BTreeSet::new())
    }
}

impl Draft {
    /// The same of what a run reads: with its growth, and with these directories, which keys will lie in.
    pub fn decrypted(&self, sees: impl Fn(&str) -> bool, parents: &BTreeSet<String>) -> Decrypted<'_> {
        Decrypted::of(&self.array, Some(self.staging()), &self.grown, sees, parents)
    }

    /// The same of what these indices would publish.
    pub fn decrypted_preview<'a>(&'a self, preview: &'a Manifest) -> Decrypted<'a> {
        Decrypted::of(&self.array, Some(self.staging()), preview, |_| true, &BTreeSet::new())
    }
}

impl<'a> Decrypted<'a> {
    fn of(
        array: &'a Array,
        staging: Option<PathBuf>,
        manifest: &'a Manifest,
        sees: impl Fn(&str) -> bool,
        parents: &BTreeSet<String>,
    ) -> Self {
        let is_seen = |entry: &&Entry| Hierarchy::is_document(&entry.key) || sees(&entry.key);
        let entries: Vec<&Entry> = manifest.entries.iter().filter(is_seen).collect();
        let mut dirs = BTreeSet::new();
        let of_keys = entries.iter().filter_map(|entry| Some(entry.key.rsplit_once('/')?.0));
        let mut before = HashSet::new();
        for dir in of_keys.chain(parents.iter().map(String::as_str)) {
            for above in std::iter::successors(Some(dir), |dir| Some(dir.rsplit_once('/')?.0)) {
                if !before.insert(above) {
                    break;
                }
                dirs.insert(above.to_owned());
            }
        }
        Self { array, staging, entries, dirs }
    }

    /// The memory that all files take.
    pub fn memory_bytes(&self) -> u64 {
        let pages = |entry: &&Entry| entry.size.div_ceil(PAGE_BYTES).saturating_mul(PAGE_BYTES);
        self.entries.iter().map(pages).fold(PAGE_BYTES, u64::saturating_add)
    }

    /// Files and directories, with the one that they lie in.
    pub fn inodes(&self) -> u64 {
        (self.entries.len() + self.dirs.len()) as u64 + 1
    }

    /// Makes the directory `name` in `dir` and decrypts everything into it, checked. `dir` is the caller's own, for him alone, and in
    /// memory; it is taken as it was opened, whatever lies at its path by now. After an error what is there is for the caller to
    /// remove.
    pub fn write(&self, dir: BorrowedFd<'_>, name: &str) -> Result<(), Error> {
        let shown = Path::new(name);
        check_private(dir, shown)?;
        let root = make_dir(dir, name)?;
        self.dirs.iter().try_for_each(|dir| make_dir(root.as_fd(), dir).map(drop))?;
        let objects = Objects { array: self.array, staging: self.staging.as_deref() };
        in_parallel(self.entries.len(), |at| {
            let Entry { key, digest, size, .. } = self.entries[at];
            decrypt(objects, *digest, *size, root.as_fd(), key)
        })?;
        Ok(())
    }
}

fn check_private(dir: BorrowedFd<'_>, shown: &Path) -> Result<(), Error> {
    let kind = fstatfs(dir).map_err(Error::errno("look at the file system of", shown))?.f_type as u64;
    let of = fstat(dir).map_err(Error::errno("look at", shown))?;
    let is_private = FileType::from_raw_mode(of.st_mode) == FileType::Directory
        && of.st_mode & 0o077 == 0
        && of.st_uid == rustix::process::geteuid().as_raw();
    match IN_MEMORY.contains(&kind) && is_private {
        true => Ok(()),
        false => Err(Error::NotPrivate(shown.to_owned())),
    }
}

/// Nothing but what is made here is ever opened.
const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_XDEV);

fn make_dir(root: BorrowedFd<'_>, dir: &str) -> Result<OwnedFd, Error> {
    let path = Path::new(dir);
    mkdirat(root, dir, Mode::from_raw_mode(0o700)).map_err(Error::errno("make the directory", path))?;
    // The caller's umask plays no part.
    chmodat(root, dir, Mode::from_raw_mode(DIRECTORY_MODE), AtFlags::empty())
        .map_err(Error::errno("set the mode of", path))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(root, dir, flags, Mode::empty(), BENEATH).map_err(Error::errno("open", path))
}

fn decrypt(
    objects: Objects<'_>,
    digest: Digest,
    size: u64,
    root: BorrowedFd<'_>,
    key: &str,
) -> Result<(), Error> {
    let damaged = |problem: String| Error::Damaged { what: "object", digest, problem };
    let (mut content, length) = objects.open(digest)?;
    if length != size {
        return Err(damaged(format!("it has {length} bytes, and the manifest says {size}")));
    }
    let path = Path::new(key);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat2(root, key, flags, Mode::from_raw_mode(0o600), BENEATH)
        .map_err(Error::errno("create", path))?;
    fchmod(&file, Mode::from_raw_mode(MODE)).map_err(Error::errno("set the mode of", path))?;
    let mut file = File::from(file);
    let mut hasher = objects.array.hasher()?;
    let mut buffer = zeroize::Zeroizing::new(vec![0; size.clamp(1, 1 << 18) as usize]);
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
