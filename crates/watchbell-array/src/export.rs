//! A snapshot becomes a plain directory that any Zarr library opens.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fd::{AsFd as _, BorrowedFd};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, fchmod, mkdirat, openat2, renameat, unlinkat};
use watchbell_zarr::{EntryKind, Hierarchy};

use crate::cipher::{Reader, Role};
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{Entry, Manifest};
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

impl Exported {
    /// A batch is there: of each of its keys the size, and whether it was written.
    fn count(&mut self, sizes: impl Iterator<Item = u64>, written: &[bool]) {
        self.keys += written.len() as u64;
        self.written += written.iter().filter(|was_written| **was_written).count() as u64;
        self.bytes += sizes.sum::<u64>();
    }
}

/// The directory of files that an export has not finished.
const PARTIAL: &str = ".watchbell-partial";
const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
const BATCH: usize = 4096;
/// Of an array's directory: uploads to buckets that were begun.
const UPLOADS: &str = "uploads";

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
    // What is sealed is in the clear there: that is its owner's to show.
    let (dir_mode, file_mode) = if array.is_encrypted() { (0o700, 0o600) } else { (0o755, 0o644) };
    if !dir.exists() {
        let made = std::fs::DirBuilder::new().mode(dir_mode).create(dir);
        made.map_err(Error::io("make the directory", dir))?;
    }
    let unfinished = unfinished(&manifest);
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
            EntryKind::Directory { .. } if key == unfinished => Ok(true),
            EntryKind::File { .. } if is_unfinished(key, &unfinished) => {
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
    if array.is_encrypted() {
        // Those that were there too, before anything is written into them.
        let mode = Mode::from_raw_mode(dir_mode);
        fchmod(&root, mode).map_err(Error::errno("set the mode of", dir))?;
        for key in &dirs {
            let setting = Error::errno("set the mode of", Path::new(key));
            fchmod(open_dir(root.as_fd(), key)?, mode).map_err(setting)?;
        }
    }
    for key in partial {
        unlinkat(&root, &key, AtFlags::empty()).map_err(Error::errno("remove", Path::new(&key)))?;
    }
    make_dir(root.as_fd(), &unfinished, 0o700)?;
    let beside = open_dir(root.as_fd(), &unfinished)?;
    let mut exported = Exported::default();
    let objects = Objects { array, staging: None };
    for batch in manifest.entries.chunks(BATCH) {
        for entry in batch {
            make_parents(root.as_fd(), &entry.key, dir_mode, &mut dirs)?;
        }
        let first = exported.keys;
        let written = in_parallel(batch.len(), |at| {
            let entry = &batch[at];
            let mode = Mode::from_raw_mode(file_mode);
            if let Some(file) = there(array, root.as_fd(), &entry.key, entry.size, entry.digest)? {
                if array.is_encrypted() {
                    fchmod(file, mode).map_err(Error::errno("set the mode of", Path::new(&entry.key)))?;
                }
                return Ok(false);
            }
            let partial = format!("{:016x}", first + at as u64);
            write(root.as_fd(), (beside.as_fd(), &partial, mode), &entry.key, objects, entry.digest)?;
            Ok(true)
        })?;
        exported.count(batch.iter().map(|entry| entry.size), &written);
        progress(exported.keys, exported.bytes);
    }
    unlinkat(&root, &unfinished, AtFlags::REMOVEDIR)
        .map_err(Error::errno("remove", Path::new(&unfinished)))?;
    array.disk.sync_all(dir)?;
    Ok(exported)
}

/// A name in the root that no key of the snapshot begins with.
fn unfinished(manifest: &Manifest) -> String {
    let is_taken = |name: &String| {
        let from = manifest.entries.partition_point(|entry| entry.key < *name);
        let rest = |entry: &Entry| entry.key.strip_prefix(name.as_str()).map(str::to_owned);
        // Keys between the name and those below it begin with it, too: `-` and `.` come before `/`.
        let mut below = manifest.entries[from..].iter().map_while(rest);
        below.any(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mut name = PARTIAL.to_owned();
    while is_taken(&name) {
        name.push('_');
    }
    name
}

fn is_unfinished(key: &str, dir: &str) -> bool {
    key.strip_prefix(dir)
        .and_then(|rest| rest.strip_prefix('/'))
        .is_some_and(|name| name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit()))
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
    let objects = Objects { array, staging: None };
    let mut exported = Exported::default();
    for batch in steps(&manifest.entries) {
        let written = at_once(batch.len(), |at| {
            let Entry { key, digest, size, .. } = batch[at];
            let text = digest.to_string();
            if there.get(key) == Some(size) && bucket.digest(key)?.as_deref() == Some(text.as_str()) {
                return Ok(false);
            }
            // Looked through before it is sent: nobody else would notice the damage.
            let (mut content, _) = objects.open(*digest)?;
            if object::hash(array, &mut content, Path::new(key))? != (*digest, *size) {
                let problem = format!("{key} has another content");
                return Err(Error::Damaged { what: "object", digest: *digest, problem });
            }
            let note = upload_note(array, bucket, key, &text)?;
            bucket.put(key, *size, &text, &|| owned(array, *digest), note.as_deref())?;
            Ok(true)
        })?;
        exported.count(batch.iter().map(|entry| entry.size), &written);
        progress(exported.keys, exported.bytes);
    }
    Ok(exported)
}

/// The file that says which parts of an upload are there. Of an encrypted array there is none: nothing would tell whose parts they are.
fn upload_note(
    array: &Array,
    bucket: &Bucket,
    key: &str,
    digest: &str,
) -> Result<Option<std::path::PathBuf>, Error> {
    if array.is_encrypted() {
        return Ok(None);
    }
    let dir = array.dir.join(UPLOADS);
    array.disk.make_dir(&dir)?;
    let name = Digest::of(format!("{}\n{key}\n{digest}", bucket.identity()).as_bytes());
    Ok(Some(dir.join(name.to_string())))
}

/// What is written at once, step after step: chunks, then documents, the deepest first and those of the root last. Attributes of v2 come
/// before what makes a node of them, and what says all of a hierarchy after that.
fn steps(entries: &[Entry]) -> impl Iterator<Item = Vec<&Entry>> {
    const BATCH: usize = 256;
    let (mut documents, chunks): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().partition(|entry| Hierarchy::is_document(&entry.key));
    let step = |entry: &&Entry| {
        let (dir, name) = split(&entry.key);
        let depth = if dir == "." { 0 } else { dir.split('/').count() };
        let rank = match name {
            ".zattrs" => 0,
            ".zmetadata" => 2,
            _ => 1,
        };
        (std::cmp::Reverse(depth), rank)
    };
    documents.sort_by_key(step);
    let chunks: Vec<Vec<&Entry>> = chunks.chunks(BATCH).map(<[&Entry]>::to_vec).collect();
    let documents: Vec<Vec<&Entry>> = documents
        .chunk_by(|a, b| step(a) == step(b))
        .flat_map(|step| step.chunks(BATCH).map(<[&Entry]>::to_vec))
        .collect();
    chunks.into_iter().chain(documents)
}

/// A content that can be handed on.
fn owned(array: &Array, digest: Digest) -> Result<Box<dyn Read>, Error> {
    let (stored, length) = Objects { array, staging: None }.stored(digest)?;
    let Some(cipher) = array.shared_cipher()? else { return Ok(Box::new(stored)) };
    let damaged =
        |error: std::io::Error| Error::Damaged { what: "object", digest, problem: error.to_string() };
    Ok(Box::new(Reader::new(cipher, stored, length, Role::Object).map_err(damaged)?))
}

/// Splits a key at its last slash: the directory (`.` for the root) and the name.
fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or((".", key))
}

fn make_parents(root: BorrowedFd<'_>, key: &str, mode: u32, made: &mut HashSet<String>) -> Result<(), Error> {
    let (parent, _) = split(key);
    if parent == "." || made.contains(parent) {
        return Ok(());
    }
    make_parents(root, parent, mode, made)?;
    make_dir(root, parent, mode)?;
    made.insert(parent.to_owned());
    Ok(())
}

fn make_dir(root: BorrowedFd<'_>, path: &str, mode: u32) -> Result<(), Error> {
    let (above, name) = split(path);
    let dir = open_dir(root, above)?;
    match mkdirat(&dir, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(Error::errno("make the directory", Path::new(path))(error)),
    }
}

fn open_dir(root: BorrowedFd<'_>, path: &str) -> Result<rustix::fd::OwnedFd, Error> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat2(root, path, flags, Mode::empty(), RESOLVE)
        .map_err(Error::errno("open the directory", Path::new(path)))
}

/// The file of a key, if it has the content.
fn there(
    array: &Array,
    root: BorrowedFd<'_>,
    key: &str,
    size: u64,
    digest: Digest,
) -> Result<Option<File>, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file: File = match openat2(root, key, flags, Mode::empty(), RESOLVE) {
        Ok(file) => file.into(),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(Error::errno("open", Path::new(key))(error)),
    };
    let reading = Error::io("read", Path::new(key));
    if file.metadata().map_err(Error::io("look at", Path::new(key)))?.len() != size {
        return Ok(None);
    }
    let mut hasher = array.hasher()?;
    std::io::copy(&mut Read::take(&mut file, size), &mut hasher).map_err(reading)?;
    Ok((Digest::from_hash(hasher.finalize()) == digest).then_some(file))
}

/// Copies an object to `beside`, checks it, and gives it its name.
fn write(
    root: BorrowedFd<'_>,
    beside: (BorrowedFd<'_>, &str, Mode),
    key: &str,
    objects: Objects<'_>,
    digest: Digest,
) -> Result<(), Error> {
    let (parent, name) = split(key);
    let dir = open_dir(root, parent)?;
    let (beside, partial, mode) = beside;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut target: File = openat2(beside, partial, flags, mode, RESOLVE)
        .map_err(Error::errno("create", Path::new(key)))?
        .into();
    let (mut source, _) = objects.open(digest)?;
    let mut hasher = objects.array.hasher()?;
    let mut buffer = zeroize::Zeroizing::new(vec![0; 1 << 18]);
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
        let _ = unlinkat(beside, partial, AtFlags::empty());
        return Err(Error::Damaged { what: "object", digest, problem: format!("{key} has another content") });
    }
    renameat(beside, partial, &dir, name).map_err(Error::errno("rename to", Path::new(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_follow_chunks_and_the_root_is_last() {
        let entry = |key: &str| Entry { key: key.to_owned(), digest: Digest::of(b""), size: 0, writer: 0 };
        let mut keys: Vec<String> = (0..300).map(|chunk| format!("g/a/c/{chunk}")).collect();
        keys.extend(
            ["zarr.json", "g/zarr.json", "g/a/zarr.json", "b/zarr.json", "a/zarr.json"].map(str::to_owned),
        );
        keys.extend([".zattrs", ".zgroup", ".zmetadata", "v/.zarray", "v/.zattrs", "v/0"].map(str::to_owned));
        keys.sort();
        let entries: Vec<Entry> = keys.iter().map(|key| entry(key)).collect();
        let steps: Vec<Vec<&str>> =
            steps(&entries).map(|step| step.into_iter().map(|entry| entry.key.as_str()).collect()).collect();
        assert_eq!((steps[0].len(), steps[1].len()), (256, 45));
        let expected: [&[&str]; 6] = [
            &["g/a/zarr.json"],
            &["v/.zattrs"],
            &["a/zarr.json", "b/zarr.json", "g/zarr.json", "v/.zarray"],
            &[".zattrs"],
            &[".zgroup", "zarr.json"],
            &[".zmetadata"],
        ];
        assert_eq!(steps[2..], expected);
    }
}
