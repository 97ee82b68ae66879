//! A plain directory becomes the next snapshot: all of it, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd as _, OwnedFd};
use watchbell_zarr::{EntryKind, Hierarchy, MAX_DOCUMENT_BYTES, Parsed};

use crate::cipher::Role;
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{Manifest, Run, Writer, clash, is_no_path};
use crate::mend;
use crate::meter::Meter;
use crate::object::{self, Incoming, Objects};
use crate::pack;
use crate::parallel::{at_once, in_parallel};
use crate::publish::{self, Conflict, Publication, publish};
use crate::s3::{Bucket, Listed};
use crate::store::{Array, Kind, hold, names, read_bounded};
use crate::tree::difference;
use crate::walk;

/// What an import did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Nothing when the directory holds what the head holds.
    pub publication: Option<Publication>,
    pub keys: u64,
    /// Copied now; the others were taken over from an import that was interrupted.
    pub copied: u64,
    /// Keys whose objects were damaged or missing, and are whole now.
    pub mended: Vec<String>,
}

/// Of one file. A chunk is far smaller.
const MAX_FILE_BYTES: u64 = 1 << 40;
/// So much is copied before it is synced and written down.
const BATCH_FILES: usize = 4096;
const BATCH_BYTES: u64 = 256 << 20;
const MAX_PROGRESS_BYTES: u64 = 4 << 30;

/// How the name of an import's staging directory begins.
pub(crate) const IMPORT: &str = "import-";

/// What is imported: a file, or an object of a bucket.
struct Found {
    key: String,
    size: u64,
    /// Of an object; empty where the content has none.
    etag: String,
}

/// Where from.
enum Source<'a> {
    Directory { root: OwnedFd, shown: String },
    Bucket(&'a Bucket),
}

impl Source<'_> {
    fn shown(&self) -> &str {
        match self {
            Self::Directory { shown, .. } => shown,
            Self::Bucket(bucket) => bucket.shown(),
        }
    }

    /// By which an interrupted import finds what it has staged.
    fn identity(&self) -> String {
        match self {
            Self::Directory { shown, .. } => shown.clone(),
            Self::Bucket(bucket) => bucket.identity(),
        }
    }

    fn find(&self) -> Result<Vec<Found>, Error> {
        match self {
            Self::Directory { root, shown } => find(root, shown),
            Self::Bucket(bucket) => bucket
                .list()?
                .into_iter()
                .map(|Listed { key, size, etag }| {
                    let problem = if size > MAX_FILE_BYTES {
                        "it is too large for a chunk"
                    } else if key.len() > 4096 || is_no_path(&key) {
                        "its key cannot be a file's name"
                    } else {
                        return Ok(Found { key, size, etag });
                    };
                    Err(Error::Foreign {
                        what: format!("{}/{key:?}", self.shown()),
                        problem: problem.to_owned(),
                    })
                })
                .collect(),
        }
    }

    /// A content, and what changes with it.
    fn open(&self, found: &Found) -> Result<(Content<'_>, String), Error> {
        match self {
            Self::Directory { root, shown } => {
                let file = walk::open_file(root.as_fd(), found.key.as_bytes(), shown, found.size)?;
                let mark = mark(&file, shown)?;
                Ok((Content::File(file), mark))
            }
            Self::Bucket(bucket) => Ok((Content::Object(bucket), found.etag.replace([' ', '\n'], ""))),
        }
    }
}

/// An object of a bucket is asked for when its content is needed.
enum Content<'a> {
    File(fs::File),
    Object(&'a Bucket),
}

/// What becomes of an import when the head moved while it was at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMove {
    /// It fails: what was published since would be undone by it.
    #[default]
    Fail,
    /// The snapshot holds what was imported, and nothing of what was published since.
    Replace,
}

/// An import: who makes it and how.
#[derive(Clone, Copy, Debug)]
pub struct Import<'a> {
    pub by: &'a Run,
    pub quota_bytes: Option<u64>,
    pub message: &'a str,
    pub now: jiff::Timestamp,
    pub on_move: OnMove,
}

impl Import<'_> {
    /// Imports the hierarchy in `dir`. It is checked before anything is copied: every file is a document or the canonical name of a
    /// chunk. An import that was interrupted goes on where it was; a file that changed since is read again. `progress` hears of keys
    /// and bytes that are done.
    pub fn directory(
        &self,
        array: &Array,
        dir: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Imported, Error> {
        let source = Source::Directory { root: walk::open_root(dir)?, shown: dir.display().to_string() };
        self.import(array, &source, progress)
    }

    /// The same of all objects of a bucket below a prefix. An interrupted one goes on: an object with the ETag that it had is not read
    /// again.
    pub fn bucket(
        &self,
        array: &Array,
        bucket: &Bucket,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Imported, Error> {
        self.import(array, &Source::Bucket(bucket), progress)
    }

    fn import(
        &self,
        array: &Array,
        source: &Source<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Imported, Error> {
        let head = array.head()?;
        let shown = source.shown();
        let found = source.find()?;
        if found.is_empty() {
            // A store of artifacts would be emptied by a mistyped name.
            let problem =
                "there is no file in it, and an import of nothing would remove all that the array holds";
            return Err(Error::Foreign { what: shown.to_owned(), problem: problem.to_owned() });
        }
        let is_key = |key: &str| found.binary_search_by(|found| found.key.as_str().cmp(key)).is_ok();
        if let Some((file, below)) = clash(found.iter().map(|found| found.key.as_str()), is_key) {
            return Err(Error::Clash { file: format!("{shown}/{file}"), below: format!("{shown}/{below}") });
        }
        match array.kind() {
            Kind::Zarr => check(source, &found)?,
            Kind::Artifacts => check_names(shown, &found)?,
        }
        let place = array
            .dir
            .join("drafts")
            .join(format!("{IMPORT}{}", array.digest(source.identity().as_bytes())?.short()));
        let staging = place.join("objects");
        let _held = {
            // A sweep removes what nobody holds.
            let _kept = array.lock_shared()?;
            array.disk.make_dir(&place)?;
            array.disk.make_dir(&staging)?;
            array.disk.write_synced(&place.join("lock"), b"")?;
            hold(&place)?
        };
        // One that goes on began where the one did that was interrupted.
        let began = Began::at(array, &place);
        let began_on = match began.read()? {
            Some(head) => head,
            None => {
                began.write(head)?;
                head
            }
        };
        if array.signer.is_some() {
            // What lies there would be signed for what was read.
            array.forget_packs(&staging);
            array.disk.remove_dir(&staging)?;
            array.disk.remove(&place.join("progress"))?;
            array.disk.make_dir(&staging)?;
        }
        let mut done = Done::read(array, &place)?;
        let mut copied = 0;
        let meter = Meter::within(self.quota_bytes);
        let (publication, mended) = loop {
            let written = stage(array, source, &found, &staging, &mut done, &mut copied, &meter, progress)?;
            let damaged = mend::damaged(array, &staging)?;
            let _lock = array.lock()?;
            // A sweep may have taken what was in place when it was looked for: then it is copied now.
            let objects = Objects { array, staging: Some(&staging) };
            objects.refresh()?;
            if is_all_there(objects, &written)? {
                let mended = mend(array, &staging, &written, &damaged)?;
                let finished = finish(array, self, began_on, &staging, &written);
                if let Err(Error::Conflict(Conflict::Import { .. })) = finished {
                    // Whoever imports again has heard of it.
                    began.remove()?;
                }
                break (finished?, mended);
            }
        };
        array.forget_packs(&staging);
        array.disk.remove_dir(&place)?;
        Ok(Imported { publication, keys: found.len() as u64, copied, mended })
    }
}

/// [`Import::directory`], unless the head moves.
pub fn import(
    array: &Array,
    dir: &Path,
    by: &Run,
    quota_bytes: Option<u64>,
    message: &str,
    now: jiff::Timestamp,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Imported, Error> {
    let import = Import { by, quota_bytes, message, now, on_move: OnMove::Fail };
    import.directory(array, dir, progress)
}

/// With the lock held: the keys whose objects were damaged, or missing though the head names them. They are in place now.
fn mend(array: &Array, staging: &Path, written: &Written, damaged: &[Digest]) -> Result<Vec<String>, Error> {
    let mut mended: BTreeSet<Digest> = mend::mend(array, staging, damaged)?.into_iter().collect();
    if let Some(head) = array.head()? {
        let before = array.manifest(array.snapshot(head)?.manifest)?;
        let named: BTreeSet<Digest> = before.entries.iter().map(|entry| entry.digest).collect();
        let in_place = Objects { array, staging: None };
        let mut missing = BTreeSet::new();
        for (digest, ..) in written.values().filter(|(digest, ..)| named.contains(digest)) {
            if in_place.locate(*digest)?.is_none() {
                missing.insert(*digest);
            }
        }
        publish::place(array, staging, &missing)?;
        mended.extend(missing);
    }
    let of = written.iter().filter(|(_, (digest, ..))| mended.contains(digest));
    Ok(of.map(|(key, _)| key.clone()).collect())
}

/// Whether an object is in place, whatever is in it.
fn is_in_place(array: &Array, digest: Digest) -> Result<bool, Error> {
    Ok(Objects { array, staging: None }.locate(digest)?.is_some())
}

type Written = BTreeMap<String, (Digest, u64, u32)>;

fn is_all_there(objects: Objects<'_>, written: &Written) -> Result<bool, Error> {
    for (digest, ..) in written.values() {
        if objects.locate(*digest)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Copies what is not there yet, a batch at a time, each durable and written down before the next.
#[expect(
    clippy::too_many_arguments,
    reason = "the one loop of an import, with what it reads and what it fills"
)]
fn stage(
    array: &Array,
    source: &Source<'_>,
    found: &[Found],
    staging: &Path,
    done: &mut Done,
    copied: &mut u64,
    meter: &Meter,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Written, Error> {
    let objects = Objects { array, staging: Some(staging) };
    let (mut written, mut bytes, mut next) = (Written::new(), 0, 0);
    while next < found.len() {
        let batch = &found[next..batch_end(found, next)];
        let pack =
            object::begin_pack(&array.disk, staging, batch.iter().map(|found| found.size), next as u64)?;
        let work = |at: usize| {
            let Found { key, size, etag } = &batch[at];
            let (content, mark) = source.open(&batch[at])?;
            if !mark.is_empty()
                && let Some(digest) = done.get(key, *size, &mark)
                && objects.locate(digest)?.is_some()
                // Where mending was interrupted a whole file lies beside the damaged pack, which is read first.
                && (!is_in_place(array, digest)? || mend::is_whole(array, digest)?)
            {
                return Ok((mark, None, digest));
            }
            let incoming =
                Incoming { array, staging, meter, max: *size, what: key, number: (next + at) as u64 };
            let copy = |content: &mut dyn Read| incoming.copy(pack.as_ref(), content);
            let (copied, is_same) = match content {
                Content::File(mut file) => {
                    let copied = copy(&mut file)?;
                    (copied, self::mark(&file, source.shown())? == mark)
                }
                Content::Object(bucket) => (copy(&mut bucket.get(key, etag, *size)?)?, true),
            };
            // What is in place under its name is no longer that: the content is here, and is kept beside it until it is replaced.
            let may_be_damaged = copied.written.is_none() && is_in_place(array, copied.digest)?;
            let (copied, is_same) = match may_be_damaged && !mend::is_whole(array, copied.digest)? {
                false => (copied, is_same),
                true => match source.open(&batch[at])? {
                    (Content::File(mut file), now) => {
                        (incoming.copy_anew(&mut file)?, is_same && now == mark)
                    }
                    (Content::Object(bucket), _) => {
                        (incoming.copy_anew(&mut bucket.get(key, etag, *size)?)?, is_same)
                    }
                },
            };
            if copied.size != *size || !is_same {
                let problem = "it changed while it was read".to_owned();
                return Err(Error::Foreign { what: format!("{}/{key}", source.shown()), problem });
            }
            let digest = copied.digest;
            Ok((mark, Some(copied), digest))
        };
        let results = match source {
            Source::Directory { .. } => in_parallel(batch.len(), work),
            Source::Bucket(_) => at_once(batch.len(), work),
        };
        let results = object::finish_pack(array, staging, pack, results)?;
        let new: Vec<PathBuf> =
            results.iter().filter_map(|(_, copied, _)| copied.as_ref()?.written.clone()).collect();
        object::sync(&array.disk, staging, &new)?;
        let mut lines = String::new();
        for (Found { key, size, .. }, (mark, was_copied, digest)) in batch.iter().zip(results) {
            if was_copied.is_some() {
                *copied += 1;
                lines.push_str(&format!("{digest} {size} {mark} {key}\n"));
                done.known.insert(key.clone(), (digest, *size, mark));
            }
            bytes += size;
            written.insert(key.clone(), (digest, *size, 0));
        }
        done.append(array, &lines)?;
        meter.check(array)?;
        next += batch.len();
        progress(next as u64, bytes);
    }
    Ok(written)
}

/// With the lock held. `began_on`: the head when the import began.
fn finish(
    array: &Array,
    import: &Import<'_>,
    began_on: Option<Digest>,
    staging: &Path,
    written: &Written,
) -> Result<Option<Publication>, Error> {
    let Import { by, quota_bytes, message, now, on_move } = *import;
    let head = array.head()?;
    let before = match head {
        None => Manifest::default(),
        Some(head) => array.manifest(array.snapshot(head)?.manifest)?,
    };
    // What is as it was stays whose it was.
    let is_new = |key: &String, digest: &Digest| before.get(key).is_none_or(|entry| entry.digest != *digest);
    let changed = written.iter().filter(|(key, (digest, ..))| is_new(key, digest));
    let changed: BTreeMap<_, _> = changed.map(|(key, what)| (key.clone(), *what)).collect();
    let removed: BTreeSet<String> = before
        .entries
        .iter()
        .filter(|entry| !written.contains_key(&entry.key))
        .map(|entry| entry.key.clone())
        .collect();
    let after = before.with(&[(Writer::default(), by.clone())], &removed, &changed);
    if head.is_some() && difference(&before, &after).keys().next().is_none() {
        return Ok(None);
    }
    if let (OnMove::Fail, Some(now)) = (on_move, head.filter(|head| Some(*head) != began_on)) {
        return Err(Conflict::Import { base: began_on, head: now }.into());
    }
    let before = head.map(|digest| (digest, &before));
    publish(array, before, after, staging, by, quota_bytes, message, now).map(Some)
}

fn batch_end(found: &[Found], start: usize) -> usize {
    let mut bytes = 0;
    let mut end = start;
    while end < found.len() && end - start < BATCH_FILES && bytes < BATCH_BYTES {
        bytes += found[end].size;
        end += 1;
    }
    end
}

/// The regular files below the directory; anything else there is refused.
fn find(root: &OwnedFd, shown: &str) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    walk::walk(root.as_fd(), shown, &mut |entry| {
        let refused = |problem: &str| Error::Foreign {
            what: format!("{shown}/{}", entry.key.escape_ascii()),
            problem: problem.to_owned(),
        };
        match entry.kind {
            EntryKind::Directory { .. } => Ok(true),
            EntryKind::File { links, .. } if links != 1 => Err(refused(&format!(
                "it has {links} names (hard links), and one of the others may change it; import a copy of the directory (cp -r)"
            ))),
            EntryKind::File { size, .. } if size <= MAX_FILE_BYTES => {
                let key = std::str::from_utf8(entry.key).map_err(|_| refused("its name is not UTF-8"))?;
                if key.chars().any(char::is_control) {
                    return Err(refused("its name has a control character"));
                }
                found.push(Found { key: key.to_owned(), size, etag: String::new() });
                Ok(false)
            }
            EntryKind::File { .. } => Err(refused("it is too large for a chunk")),
            _ => Err(refused("only regular files and directories belong in a Zarr hierarchy")),
        }
    })?;
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

fn check_names(shown: &str, found: &[Found]) -> Result<(), Error> {
    for Found { key, .. } in found {
        if let Some(problem) = Hierarchy::artifact_problem(key) {
            return Err(Error::Foreign { what: format!("{shown}/{key}"), problem: problem.to_owned() });
        }
    }
    Ok(())
}

/// Reads the hierarchy and refuses what is no part of it.
fn check(source: &Source<'_>, found: &[Found]) -> Result<(), Error> {
    let shown = source.shown();
    let mut documents = Vec::new();
    let mut total = 0;
    for of in found.iter().filter(|found| Hierarchy::is_document(&found.key)) {
        let Found { key, size, etag } = of;
        total += size;
        if total > MAX_DOCUMENT_BYTES {
            return Err(watchbell_zarr::HierarchyError::TooMuch.into());
        }
        let mut bytes = Vec::new();
        let reading = Error::io("read", Path::new(key));
        let read = match source.open(of)?.0 {
            Content::File(file) => file.take(*size).read_to_end(&mut bytes),
            Content::Object(bucket) => bucket.get(key, etag, *size)?.take(*size).read_to_end(&mut bytes),
        };
        read.map_err(reading)?;
        documents.push((key.as_str(), bytes));
    }
    let hierarchy = Hierarchy::read(documents.iter().map(|(key, bytes)| (*key, bytes.as_slice())))?;
    for Found { key, .. } in found.iter().filter(|found| !Hierarchy::is_document(&found.key)) {
        let problem = match hierarchy.locate(key) {
            Some((_, Parsed::Chunk(_))) => continue,
            Some((_, Parsed::NotCanonical(problem))) => problem,
            Some((_, Parsed::Foreign)) | None => {
                "it is no chunk of this hierarchy; take it out of the directory"
            }
        };
        return Err(Error::Foreign { what: format!("{shown}/{key}"), problem: problem.to_owned() });
    }
    Ok(())
}

/// What changes with a file's content, whoever sets its times: its inode, and when that was changed.
fn mark(file: &fs::File, shown: &str) -> Result<String, Error> {
    let of = file.metadata().map_err(Error::io("look at", Path::new(shown)))?;
    let (modified, changed) = ((of.mtime(), of.mtime_nsec()), (of.ctime(), of.ctime_nsec()));
    Ok(format!("{}:{}:{}.{}:{}.{}", of.dev(), of.ino(), modified.0, modified.1, changed.0, changed.1))
}

/// The head as it was when an import began, or that there was none. Of an encrypted array it is followed by a code.
struct Began<'a> {
    array: &'a Array,
    path: PathBuf,
    /// What the code is of.
    name: String,
}

const NO_HEAD: &str = "none";

impl<'a> Began<'a> {
    fn at(array: &'a Array, place: &Path) -> Self {
        let import = place.file_name().unwrap_or_default().to_string_lossy();
        Self { array, path: place.join("head"), name: format!("drafts/{import}/head") }
    }

    /// Nothing of an import that begins.
    fn read(&self) -> Result<Option<Option<Digest>>, Error> {
        let bytes = match read_bounded(&self.path, 1 << 10) {
            Err(error) if error.is_not_found() => return Ok(None),
            bytes => bytes?,
        };
        let text = String::from_utf8_lossy(&bytes);
        let (says, code) = match text.trim_end().split_once(' ') {
            Some((says, code)) => (says, code.parse().ok()),
            None => (text.trim_end(), None),
        };
        if self.array.code(&self.name, says)? != code {
            return Err(Error::Forged { what: self.name.clone() });
        }
        let problem =
            "it holds no snapshot's digest; `watchbell array gc` removes the import that was interrupted";
        let wrong = || Error::Format { path: self.path.clone(), problem: problem.to_owned() };
        match says {
            NO_HEAD => Ok(Some(None)),
            digest => digest.parse().map(|digest| Some(Some(digest))).map_err(|_| wrong()),
        }
    }

    fn write(&self, head: Option<Digest>) -> Result<(), Error> {
        let says = head.map_or(NO_HEAD.to_owned(), |head| head.to_string());
        let line = match self.array.code(&self.name, &says)? {
            None => format!("{says}\n"),
            Some(code) => format!("{says} {code}\n"),
        };
        self.array.disk.replace(&self.path, line.as_bytes())
    }

    fn remove(&self) -> Result<(), Error> {
        self.array.disk.remove(&self.path)
    }
}

/// What is copied and durable, a line a file: `DIGEST SIZE MODIFIED KEY`. Of an encrypted array the lines of each batch are sealed, after
/// their length in four bytes.
struct Done {
    path: PathBuf,
    /// The name of the import's directory.
    import: String,
    batches: u32,
    known: BTreeMap<String, (Digest, u64, String)>,
}

impl Done {
    /// Reads what an interrupted import left. Objects that are not written down may be half on the disk: they are removed.
    fn read(array: &Array, place: &Path) -> Result<Self, Error> {
        let path = place.join("progress");
        let import = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut done = Self { path, import, batches: 0, known: BTreeMap::new() };
        if done.path.exists() {
            done.read_all(array)?;
        }
        let staging = place.join("objects");
        let digests: BTreeSet<String> = done.known.values().map(|(digest, ..)| digest.to_string()).collect();
        for name in names(&staging)? {
            if name != pack::DIR && !digests.contains(&name) {
                array.disk.remove(&staging.join(name))?;
            }
        }
        pack::remove_unfinished(&array.disk, &staging)?;
        Ok(done)
    }

    fn read_all(&mut self, array: &Array) -> Result<(), Error> {
        let bytes = read_bounded(&self.path, MAX_PROGRESS_BYTES)?;
        let (mut rest, mut whole) = (bytes.as_slice(), 0);
        if !array.is_encrypted() {
            whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            self.read_lines(&String::from_utf8_lossy(&bytes[..whole]));
            rest = &[];
        }
        while let Some((length, after)) = rest.split_first_chunk()
            && let Some((sealed, after)) = after.split_at_checked(u32::from_le_bytes(*length) as usize)
            && let Some(lines) = array.opened(sealed.to_vec(), self.role())?
        {
            self.read_lines(&String::from_utf8_lossy(&lines));
            self.batches += 1;
            whole += length.len() + sealed.len();
            rest = after;
        }
        // What comes next would not be found behind what a crash cut short.
        if whole < bytes.len() {
            array.disk.replace(&self.path, &bytes[..whole])?;
        }
        Ok(())
    }

    fn read_lines(&mut self, text: &str) {
        for line in text.lines() {
            let mut parts = line.splitn(4, ' ');
            let (digest, size, mark, key) = (parts.next(), parts.next(), parts.next(), parts.next());
            let (Some(digest), Some(size), Some(mark), Some(key)) = (
                digest.and_then(|d| d.parse::<Digest>().ok()),
                size.and_then(|n| n.parse().ok()),
                mark.map(str::to_owned),
                key,
            ) else {
                break;
            };
            self.known.insert(key.to_owned(), (digest, size, mark));
        }
    }

    fn role(&self) -> Role<'_> {
        Role::Progress { import: &self.import, batch: self.batches }
    }

    fn get(&self, key: &str, size: u64, mark: &str) -> Option<Digest> {
        self.known.get(key).filter(|(_, s, m)| *s == size && m == mark).map(|(digest, ..)| *digest)
    }

    fn append(&mut self, array: &Array, lines: &str) -> Result<(), Error> {
        if lines.is_empty() {
            return Ok(());
        }
        let sealed;
        let bytes = match array.is_encrypted() {
            false => lines.as_bytes(),
            // Names of chunks are not written in the clear.
            true => {
                let lines = array.sealed(lines.as_bytes(), self.role())?;
                sealed = [&(lines.len() as u32).to_le_bytes()[..], &lines].concat();
                self.batches += 1;
                &sealed
            }
        };
        let mut options = OpenOptions::new();
        let mut file =
            options.create(true).append(true).open(&self.path).map_err(Error::io("open", &self.path))?;
        array.disk.append(&mut file, &self.path, bytes)
    }
}
