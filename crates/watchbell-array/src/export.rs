//! A snapshot becomes a plain directory that any Zarr library opens.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fd::{AsFd as _, BorrowedFd};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, openat2, renameat, unlinkat};
use watchbell_zarr::{EntryKind, Hierarchy};

use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::Entry;
use crate::object::{self, Objects};
use crate::parallel::{at_once, in_parallel};
use crate::s3::{Bucket, Listed};
use crate::store::Array;
use crate::walk;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    pub keys: u64,
    /// Written now; the others were there already, with the same content.
    pub written: u64,
    pub bytes: u64,
}

/// A file that an export has not finished.
const PARTIAL: &str = ".watchbell-partial";
const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
const BATCH: usize = 4096;

/// Writes a snapshot into `dir`, which is made if it is not there. Files with the right content stay, so that an interrupted export
/// goes on; others of the snapshot's names are replaced; a directory with anything else in it is refused, before it is touched.
pub fn export(
    array: &Array,
    snapshot: Digest,
    dir: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Exported, Error> {
    let _lease = array.read_lease(snapshot)?;
    let manifest = array.manifest(array.snapshot(snapshot)?.manifest)?;
    if !dir.exists() {
        std::fs::DirBuilder::new().mode(0o755).create(dir).map_err(Error::io("make the directory", dir))?;
    }
    let root = walk::open_root(dir)?;
    let shown = dir.display().to_string();
    let mut dirs = HashSet::new();
    let mut partial = Vec::new();
    walk::walk(root.as_fd(), &shown, &mut |entry| {
        let key = std::str::from_utf8(entry.key).unwrap_or_default();
        let begins = |key: &str| {
            let from = manifest.entries.partition_point(|entry| entry.key.as_str() < key);
            manifest.entries.get(from).is_some_and(|entry| entry.key.starts_with(key))
        };
        match entry.kind {
            EntryKind::Directory { .. } if begins(&format!("{key}/")) => {
                dirs.insert(key.to_owned());
                Ok(true)
            }
            EntryKind::File { .. } if key.ends_with(PARTIAL) => {
                partial.push(key.to_owned());
                Ok(false)
            }
            EntryKind::File { .. } if manifest.get(key).is_some() => Ok(false),
            _ => Err(Error::Foreign {
                what: format!("{shown}/{}", entry.key.escape_ascii()),
                problem: "it is not of this snapshot; export to a directory that is empty or not there"
                    .to_owned(),
            }),
        }
    })?;
    for key in partial {
        unlinkat(&root, &key, AtFlags::empty()).map_err(Error::errno("remove", Path::new(&key)))?;
    }
    let mut exported = Exported::default();
    let objects = Objects { array, staging: None };
    for batch in manifest.entries.chunks(BATCH) {
        for entry in batch {
            make_parents(root.as_fd(), &entry.key, &mut dirs)?;
        }
        let written = in_parallel(batch.len(), |at| {
            let entry = &batch[at];
            if is_there(array, root.as_fd(), &entry.key, entry.size, entry.digest)? {
                return Ok(0);
            }
            write(root.as_fd(), &entry.key, objects, entry.digest)?;
            Ok(1u64)
        })?;
        exported.keys += batch.len() as u64;
        exported.written += written.iter().sum::<u64>();
        exported.bytes += batch.iter().map(|entry| entry.size).sum::<u64>();
        progress(exported.keys, exported.bytes);
    }
    array.disk.sync_all(dir)?;
    Ok(exported)
}

/// Writes a snapshot into a bucket below a prefix. Objects that an earlier export wrote with the same content stay; a prefix with
/// anything else below it is refused, before it is touched. Documents come last, so that who reads early finds no hierarchy rather than
/// half of one.
pub fn export_to_bucket(
    array: &Array,
    snapshot: Digest,
    bucket: &Bucket,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Exported, Error> {
    let _lease = array.read_lease(snapshot)?;
    let manifest = array.manifest(array.snapshot(snapshot)?.manifest)?;
    let mut there = HashMap::new();
    for Listed { key, size, .. } in bucket.list()? {
        if manifest.get(&key).is_none() {
            return Err(Error::Foreign {
                what: format!("{}/{}", bucket.shown(), key.escape_debug()),
                problem: "it is not of this snapshot; export to a prefix below which nothing is".to_owned(),
            });
        }
        there.insert(key, size);
    }
    let (documents, chunks): (Vec<&Entry>, Vec<&Entry>) =
        manifest.entries.iter().partition(|entry| Hierarchy::is_document(&entry.key));
    // Those of the groups above after those of what is in them.
    let entries: Vec<&Entry> = chunks.into_iter().chain(documents.into_iter().rev()).collect();
    let objects = Objects { array, staging: None };
    let mut exported = Exported::default();
    // One by one would be slow, and all at once would put the documents first: the last batch is of the last documents.
    for batch in entries.chunks(256) {
        let written = at_once(batch.len(), |at| {
            let Entry { key, digest, size, .. } = batch[at];
            let text = digest.to_string();
            if there.get(key) == Some(size) && bucket.digest(key)?.as_deref() == Some(text.as_str()) {
                return Ok(0);
            }
            // Looked through before it is sent: nobody else would notice the damage.
            let (mut content, _) = objects.open(*digest)?;
            if object::hash(array, &mut content, Path::new(key))? != (*digest, *size) {
                let problem = format!("{key} has another content");
                return Err(Error::Damaged { what: "object", digest: *digest, problem });
            }
            bucket.put(key, *size, &text, &|| owned(array, *digest))?;
            Ok(1u64)
        })?;
        exported.keys += batch.len() as u64;
        exported.written += written.iter().sum::<u64>();
        exported.bytes += batch.iter().map(|entry| entry.size).sum::<u64>();
        progress(exported.keys, exported.bytes);
    }
    Ok(exported)
}

/// A content that can be handed on: a large one of an encrypted array is opened whole for that.
fn owned(array: &Array, digest: Digest) -> Result<Box<dyn Read>, Error> {
    let objects = Objects { array, staging: None };
    if array.is_encrypted() {
        return Ok(Box::new(std::io::Cursor::new(objects.read(digest, u64::MAX)?)));
    }
    Ok(Box::new(objects.stored(digest)?.0))
}

/// Splits a key at its last slash: the directory (`.` for the root) and the name.
fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or((".", key))
}

fn make_parents(root: BorrowedFd<'_>, key: &str, made: &mut HashSet<String>) -> Result<(), Error> {
    let (parent, _) = split(key);
    if parent == "." || made.contains(parent) {
        return Ok(());
    }
    make_parents(root, parent, made)?;
    let (above, name) = split(parent);
    let failed = Error::errno("make the directory", Path::new(parent));
    let dir = open_dir(root, above)?;
    match mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(failed(error)),
    }
    made.insert(parent.to_owned());
    Ok(())
}

fn open_dir(root: BorrowedFd<'_>, path: &str) -> Result<rustix::fd::OwnedFd, Error> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat2(root, path, flags, Mode::empty(), RESOLVE)
        .map_err(Error::errno("open the directory", Path::new(path)))
}

fn is_there(
    array: &Array,
    root: BorrowedFd<'_>,
    key: &str,
    size: u64,
    digest: Digest,
) -> Result<bool, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file: File = match openat2(root, key, flags, Mode::empty(), RESOLVE) {
        Ok(file) => file.into(),
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        Err(error) => return Err(Error::errno("open", Path::new(key))(error)),
    };
    let reading = Error::io("read", Path::new(key));
    if file.metadata().map_err(Error::io("look at", Path::new(key)))?.len() != size {
        return Ok(false);
    }
    let mut hasher = array.hasher()?;
    std::io::copy(&mut Read::take(&mut file, size), &mut hasher).map_err(reading)?;
    Ok(Digest::from_hash(hasher.finalize()) == digest)
}

/// Copies an object beside its name, checks it, and gives it the name.
fn write(root: BorrowedFd<'_>, key: &str, objects: Objects<'_>, digest: Digest) -> Result<(), Error> {
    let (parent, name) = split(key);
    let dir = open_dir(root, parent)?;
    let partial = format!("{name}{PARTIAL}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut target: File = openat2(&dir, &partial, flags, Mode::from_raw_mode(0o644), RESOLVE)
        .map_err(Error::errno("create", Path::new(key)))?
        .into();
    let (mut source, _) = objects.open(digest)?;
    let mut hasher = objects.array.hasher()?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let length = source.read(&mut buffer).map_err(Error::io("read the object of", Path::new(key)))?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
        std::io::Write::write_all(&mut target, &buffer[..length])
            .map_err(Error::io("write", Path::new(key)))?;
    }
    if Digest::from_hash(hasher.finalize()) != digest {
        let _ = unlinkat(&dir, &partial, AtFlags::empty());
        return Err(Error::Damaged { what: "object", digest, problem: format!("{key} has another content") });
    }
    renameat(&dir, &partial, &dir, name).map_err(Error::errno("rename to", Path::new(key)))
}
