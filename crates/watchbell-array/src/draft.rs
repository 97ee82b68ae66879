//! A run's draft: what its indices have committed, seen by nobody until all of it is published.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use rustix::fd::{AsFd as _, BorrowedFd};
use serde::{Deserialize, Serialize};
use watchbell_zarr::{ARTIFACTS_DOCUMENT, Hierarchy, Judge, Verdict, Violation};

use crate::cipher::Role;
use crate::commit::{self, Copying, IndexCommit};
use crate::digest::Digest;
use crate::disk::REMOVED;
use crate::error::Error;
use crate::manifest::{Entry, Manifest, Run, Writer};
use crate::meter::{Holes, Meter};
use crate::object::{self, Incoming, Objects};
use crate::pack;
use crate::parallel::in_parallel;
use crate::snapshot::hex;
use crate::store::{Array, Kind, bounded, hold, names, valid_name};
use crate::view;
use crate::walk;

/// Held by one program at a time: its files say so.
pub struct Draft {
    pub(crate) array: Array,
    pub(crate) dir: PathBuf,
    pub(crate) record: Record,
    pub(crate) base: Manifest,
    /// The base with its growth.
    pub(crate) grown: Manifest,
    numbers: AtomicU64,
    /// That its indices have written, or are writing.
    keys: Mutex<Keys>,
    pub(crate) meter: Meter,
    pub(crate) copying: Mutex<Copying>,
    /// Somebody is done with it.
    pub(crate) copied: Condvar,
    _lock: File,
}

/// How many keys are written; and of which the array has none yet, and which it loses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    written: u64,
    new: u64,
    removed: u64,
}

impl Keys {
    fn plus(self, more: Keys) -> Keys {
        Keys {
            written: self.written + more.written,
            new: self.new + more.new,
            removed: self.removed + more.removed,
        }
    }
}

/// What a draft begins with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    format: u32,
    /// The snapshot that the run reads.
    #[serde(with = "hex")]
    pub(crate) base: Digest,
    pub(crate) run: Run,
    /// Documents that were changed before the run, in the staging directory.
    pub(crate) documents: BTreeMap<String, Document>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Document {
    #[serde(with = "hex")]
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// Who wrote: one attempt of an index, of the image and in the name that it ran with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub number: u32,
    pub image: String,
    pub user: String,
}

/// What an index has committed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    pub index: u32,
    pub attempt: Attempt,
    /// Sorted by key: object and size.
    pub written: Vec<(String, Digest, u64)>,
    /// Owned keys that the index removed; sorted.
    pub removed: Vec<String>,
}

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub committed: BTreeSet<u32>,
    pub keys: u64,
    pub bytes: u64,
}

const RECORD: &str = "draft.json";
pub(crate) const INDICES: &str = "indices";
const MAGIC: &[u8; 8] = b"WBARIX\x00\x02";
/// Of a file from before attempts had an image and a user of their own: it is read with those of its run.
const MAGIC_OF_RUN: &[u8; 8] = b"WBARIX\x00\x01";
const MAX_DRAFT_BYTES: u64 = 1 << 24;
const MAX_INDEX_BYTES: u64 = 1 << 30;
/// After so many nothing is looked for that would say more of what the task meant to do.
const MAX_VIOLATIONS: u32 = 10_000;

impl Array {
    /// Begins a draft on what the head is, or goes on with the one of the same run. `documents` are those that changed before
    /// the run, such as by [`watchbell_zarr::grow`].
    pub fn begin(&self, run: &Run, documents: &BTreeMap<String, Vec<u8>>) -> Result<Draft, Error> {
        let dir = self.draft_dir(&run.uid)?;
        // Alone: two programs that begin at once would each remove what the other has begun.
        let kept = self.lock()?;
        if dir.join(RECORD).exists() {
            drop(kept);
            return self.draft(&run.uid);
        }
        // What its indices wrote is in a snapshot: on top of that they would do all of it a second time.
        if let Some(done) = self.published_by(&run.uid)? {
            return Err(Error::Published { uid: run.uid.clone(), snapshot: done.digest });
        }
        let base = self.head()?.ok_or(Error::NoSnapshot)?;
        let disk = &self.disk;
        // One that was never finished has no record, and nothing that counts.
        self.forget_packs(&dir.join("objects"));
        disk.remove_dir(&dir)?;
        disk.make_dir(&dir)?;
        let staging = dir.join("objects");
        disk.make_dir(&staging)?;
        disk.make_dir(&dir.join(INDICES))?;
        disk.write_synced(&dir.join("lock"), b"")?;
        let (mut recorded, mut written) = (BTreeMap::new(), Vec::new());
        for (number, (key, bytes)) in documents.iter().enumerate() {
            let copied = object::put(self, &staging, bytes, number as u64)?;
            written.extend(copied.written);
            recorded.insert(key.clone(), Document { digest: copied.digest, size: copied.size });
        }
        object::sync(disk, &staging, &written)?;
        let record = Record { format: 1, base, run: run.clone(), documents: recorded };
        let text = serde_json::to_vec(&record)
            .map_err(|error| Error::Format { path: dir.join(RECORD), problem: error.to_string() })?;
        disk.replace(
            &dir.join(RECORD),
            &bounded(self.sealed(&text, Role::Draft { run: &run.uid })?, MAX_DRAFT_BYTES)?,
        )?;
        disk.sync_dir(&self.dir.join("drafts"))?;
        drop(kept);
        self.draft(&run.uid)
    }

    /// Goes on with the draft of a run. Only one program holds it at a time.
    pub fn draft(&self, uid: &str) -> Result<Draft, Error> {
        let dir = self.draft_dir(uid)?;
        let path = dir.join(RECORD);
        let wrong = |problem: String| Error::Format { path: path.clone(), problem };
        let lock = hold(&dir)?;
        // Another program may have ended it and begun it anew.
        self.forget_packs(&dir.join("objects"));
        let record: Record =
            serde_json::from_slice(&self.read_sealed(&path, MAX_DRAFT_BYTES, Role::Draft { run: uid })?)
                .map_err(|error| wrong(error.to_string()))?;
        if record.format != 1 {
            return Err(wrong(format!("it is of format {}, and this program reads 1", record.format)));
        }
        let base = self.manifest(self.snapshot(record.base)?.manifest)?;
        let documents = record.documents.iter().map(|(key, d)| (key.clone(), (d.digest, d.size, 0)));
        let grown = if record.documents.is_empty() {
            base.clone()
        } else {
            base.with(&[(Writer::default(), record.run.clone())], &BTreeSet::new(), &documents.collect())
        };
        let (array, numbers, meter) = (self.clone(), AtomicU64::new(0), Meter::of_array());
        let (keys, copying, copied) = (Mutex::default(), Mutex::default(), Condvar::new());
        let draft =
            Draft { array, dir, record, base, grown, numbers, keys, meter, copying, copied, _lock: lock };
        draft.remove_uncommitted()?;
        Ok(draft)
    }

    /// The runs that have drafts.
    pub fn drafts(&self) -> Result<Vec<String>, Error> {
        let names = names(&self.dir.join("drafts"))?.into_iter();
        let is_draft = |name: &String| {
            !name.starts_with(REMOVED) && self.dir.join("drafts").join(name).join(RECORD).exists()
        };
        Ok(names.filter(is_draft).collect())
    }

    /// Gives up what a run has committed. Refused while another program, or another part of this one, holds the draft: who holds
    /// it ends it with [`Draft::remove`].
    pub fn abandon(&self, uid: &str) -> Result<(), Error> {
        let dir = self.draft_dir(uid)?;
        // An array that the run never wrote need not be waited for.
        if !dir.exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        let _held = match hold(&dir) {
            // It was never finished, or is gone.
            Err(error) if error.is_not_found() => None,
            held => Some(held?),
        };
        self.disk.remove_dir(&dir)
    }

    fn draft_dir(&self, uid: &str) -> Result<PathBuf, Error> {
        Ok(self.dir.join("drafts").join(valid_name(uid)?))
    }
}

impl Draft {
    pub fn run(&self) -> &Run {
        &self.record.run
    }

    /// The snapshot that the run reads.
    pub fn base(&self) -> Digest {
        self.record.base
    }

    /// The documents as the run finds them: with their growth.
    pub fn documents(&self) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let staging = self.staging();
        documents(Objects { array: &self.array, staging: Some(&staging) }, &self.grown)
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.dir.join("objects")
    }

    /// The directory that every index gets as its lower.
    pub fn view(&self) -> Result<PathBuf, Error> {
        if self.record.documents.is_empty() {
            return self.array.view(self.array.snapshot(self.record.base)?.manifest, &self.base);
        }
        self.own_view(&BTreeSet::new())
    }

    /// The same with these directories in it, which keys will lie in: a task need not make them.
    pub fn view_with(&self, parents: &BTreeSet<String>) -> Result<PathBuf, Error> {
        let mut missing: BTreeSet<&str> = parents.iter().map(String::as_str).collect();
        for entry in &self.grown.entries {
            let mut key = entry.key.as_str();
            while !missing.is_empty()
                && let Some((parent, _)) = key.rsplit_once('/')
            {
                missing.remove(parent);
                key = parent;
            }
        }
        if missing.is_empty() { self.view() } else { self.own_view(parents) }
    }

    fn own_view(&self, parents: &BTreeSet<String>) -> Result<PathBuf, Error> {
        let path = self.dir.join(format!("{VIEW}{}", boot_id()));
        if !path.exists() {
            let staging = self.staging();
            let objects = Objects { array: &self.array, staging: Some(&staging) };
            view::build(&self.array.disk, objects, self.grown.entries.iter(), parents, &path)?;
        }
        Ok(path)
    }

    /// The same for an index that sees its own chunks alone: `owns` says of a key whether it is.
    pub fn view_of(&self, index: u32, owns: impl Fn(&str) -> bool) -> Result<PathBuf, Error> {
        let views = self.dir.join(format!("{OWN}{}", boot_id()));
        self.array.disk.make_dir(&views)?;
        let path = views.join(index.to_string());
        if !path.exists() {
            let staging = self.staging();
            let objects = Objects { array: &self.array, staging: Some(&staging) };
            let entries =
                self.grown.entries.iter().filter(|e| Hierarchy::is_document(&e.key) || owns(&e.key));
            view::build(&self.array.disk, objects, entries, &BTreeSet::new(), &path)?;
        }
        Ok(path)
    }

    /// What was committed for an index.
    pub fn committed(&self, index: u32) -> Result<Option<Committed>, Error> {
        self.record_at(&self.index_path(index), index)
    }

    /// What counts for an index as soon as it counts in another array.
    pub(crate) fn due(&self, index: u32) -> Result<Option<Committed>, Error> {
        self.record_at(&self.due_path(index), index)
    }

    fn record_at(&self, path: &Path, index: u32) -> Result<Option<Committed>, Error> {
        match path.try_exists().map_err(Error::io("look at", path))? {
            true => read_committed(&self.array, path, &self.record.run, index).map(Some),
            false => Ok(None),
        }
    }

    pub fn progress(&self) -> Result<Progress, Error> {
        let mut progress = Progress::default();
        for index in self.indices()? {
            if let Some(committed) = self.committed(index)? {
                progress.committed.insert(index);
                progress.keys += committed.written.len() as u64;
                progress.bytes += committed.written.iter().map(|(_, _, size)| size).sum::<u64>();
            }
        }
        Ok(progress)
    }

    pub(crate) fn indices(&self) -> Result<Vec<u32>, Error> {
        let mut found: Vec<u32> =
            names(&self.dir.join(INDICES))?.iter().filter_map(|name| name.parse().ok()).collect();
        found.sort_unstable();
        Ok(found)
    }

    pub(crate) fn index_path(&self, index: u32) -> PathBuf {
        self.dir.join(INDICES).join(index.to_string())
    }

    pub(crate) fn due_path(&self, index: u32) -> PathBuf {
        self.dir.join(INDICES).join(commit::due_name(index))
    }

    /// As [`Draft::commit_from`], of the directory at a path of ours.
    pub fn commit(
        &self,
        judge: &Judge<'_>,
        attempt: &Attempt,
        upper: &Path,
        completeness: Completeness,
    ) -> Result<Committed, Error> {
        self.commit_from(judge, attempt, walk::open_root(upper)?.as_fd(), completeness, u64::MAX)
    }

    /// Judges and takes over what an attempt of an index left in the directory `upper`, whose writers are all dead: at most
    /// `max_bytes`. All of it is durable when this returns, or nothing of it counts. An index that is committed stays as it is:
    /// the first success is the one.
    pub fn commit_from(
        &self,
        judge: &Judge<'_>,
        attempt: &Attempt,
        upper: BorrowedFd<'_>,
        completeness: Completeness,
        max_bytes: u64,
    ) -> Result<Committed, Error> {
        let mut begun = IndexCommit::begin(&[self], judge.index).map_err(|refused| refused.error)?;
        begun.stage(0, judge, attempt, upper, completeness, max_bytes)?;
        let made = begun.commit().map_err(|refused| refused.error)?;
        Ok(made.into_iter().next().unwrap_or_default())
    }

    /// With the array's lock held: copies what was judged. The record of that, and as it is kept.
    pub(crate) fn take_over(
        &self,
        index: u32,
        attempt: &Attempt,
        upper: BorrowedFd<'_>,
        files: Files,
        mut removed: Vec<String>,
    ) -> Result<(Committed, Vec<u8>), Error> {
        let shown = shown(index);
        let holes = Holes::of(upper)?;
        let staging = self.staging();
        let objects = Objects { array: &self.array, staging: Some(&staging) };
        objects.refresh()?;
        let first = self.numbers.fetch_add(files.len() as u64, Ordering::Relaxed);
        let pack =
            object::begin_pack(&self.array.disk, &staging, files.iter().map(|(_, size)| *size), first)?;
        let copy = |at: usize| {
            let (key, size) = &files[at];
            let mut file = walk::open_file(upper, key.as_bytes(), &shown, *size)?;
            holes.see(index, &file)?;
            let incoming = Incoming {
                array: &self.array,
                staging: &staging,
                meter: &self.meter,
                max: *size,
                what: key,
                number: first + at as u64,
            };
            incoming.copy(pack.as_ref(), &mut file)
        };
        let copies =
            in_parallel(files.len(), copy).and_then(|copies| self.meter.check(&self.array).map(|()| copies));
        let copies = object::finish_pack(&self.array, &staging, pack, copies)?;
        let (mut written, mut new) = (Vec::with_capacity(files.len()), Vec::new());
        for ((key, _), copied) in files.into_iter().zip(copies) {
            written.push((key, copied.digest, copied.size));
            new.extend(copied.written);
        }
        object::sync(&self.array.disk, &staging, &new)?;
        written.sort();
        removed.sort();
        let committed = Committed { index, attempt: attempt.clone(), written, removed };
        let role = Role::Index { run: &self.record.run.uid, index };
        let encoded = committed.encode();
        let bytes = bounded(self.array.sealed(&encoded, role)?, MAX_INDEX_BYTES)?.into_owned();
        self.meter.take(&self.array, bytes.len() as u64)?;
        Ok((committed, bytes))
    }

    /// Whether [`Draft::commit_from`] would refuse what lies in `upper`. Nothing of it is read or kept.
    pub fn check_from(
        &self,
        judge: &Judge<'_>,
        upper: BorrowedFd<'_>,
        completeness: Completeness,
        max_bytes: u64,
    ) -> Result<(), Error> {
        match self.committed(judge.index)? {
            Some(_) => Ok(()),
            None => self.judged(judge, upper, completeness, max_bytes).map(drop),
        }
    }

    /// The files that are kept, with their sizes, and the keys that are removed.
    pub(crate) fn judged(
        &self,
        judge: &Judge<'_>,
        upper: BorrowedFd<'_>,
        completeness: Completeness,
        max_bytes: u64,
    ) -> Result<(Files, Vec<String>), Error> {
        let index = judge.index;
        let shown = shown(index);
        let (mut files, mut removed, mut first, mut violations) = (Files::new(), Vec::new(), None, 0);
        walk::walk(upper, &shown, &mut |entry| {
            let verdict = match judge.judge(entry) {
                Ok(verdict) => verdict,
                // These say what the task meant to do; of the others the first is told.
                Err(violation @ (Violation::Metadata { .. } | Violation::Opaque { .. })) => {
                    return Err(Error::Violation { index, violation });
                }
                Err(violation) => {
                    violations += 1;
                    let first = first.get_or_insert(violation);
                    if violations > MAX_VIOLATIONS {
                        return Err(Error::Violation { index, violation: first.clone() });
                    }
                    return Ok(false);
                }
            };
            // Whatever is kept was found to be a key of the hierarchy, which is UTF-8.
            let key = || String::from_utf8_lossy(entry.key).into_owned();
            match (verdict, entry.kind) {
                (Verdict::Keep, watchbell_zarr::EntryKind::File { size, .. }) => {
                    let key = key();
                    // A file takes the place of a directory without a word about what was in it.
                    if self.array.kind() == Kind::Artifacts {
                        removed.extend(self.below(&key).filter(|name| *name != key));
                    }
                    files.push((key, size));
                    self.array.check_keys(files.len() as u64)?;
                }
                (Verdict::Remove, _) if self.array.kind() == Kind::Artifacts => {
                    removed.extend(self.below(&key()));
                }
                (Verdict::Remove, _) => removed.push(key()),
                (Verdict::Enter, _) => {
                    // And a directory that of a file.
                    if self.array.kind() == Kind::Artifacts {
                        let key = key();
                        removed.extend(self.grown.get(&key).map(|_| key));
                    }
                    return Ok(true);
                }
                // What is written below now counts before what was removed.
                (Verdict::Replace, _) => {
                    removed.extend(self.below(&key()));
                    return Ok(true);
                }
                (Verdict::Keep | Verdict::Drop, _) => {}
            }
            Ok(false)
        })?;
        if let Some(violation) = first {
            return Err(Error::Violation { index, violation });
        }
        // As the files say, which may have holes: all of it would be read.
        let bytes = files.iter().fold(0u64, |sum, (_, size)| sum.saturating_add(*size));
        if bytes > max_bytes {
            return Err(Error::TooMuch { index, bytes, max: max_bytes });
        }
        if let Completeness::Required = completeness {
            self.check_complete(judge, &files, &removed)?;
        }
        Ok((files, removed))
    }

    /// So many more keys are written: or not, when the run, or the array by it, would have too many.
    pub(crate) fn take_keys(&self, more: Keys) -> Result<(), Error> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = keys.plus(more);
        self.array.check_keys(sum.written)?;
        // What was imported by hand may have more, and be written anew.
        if more.new > more.removed && sum.new > sum.removed {
            self.array.check_keys(self.grown.entries.len() as u64 + sum.new - sum.removed)?;
        }
        *keys = sum;
        Ok(())
    }

    /// The same of what counts in any case.
    pub(crate) fn count_keys(&self, more: Keys) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        *keys = keys.plus(more);
    }

    pub(crate) fn give_back_keys(&self, less: Keys) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        *keys = Keys {
            written: keys.written.saturating_sub(less.written),
            new: keys.new.saturating_sub(less.new),
            removed: keys.removed.saturating_sub(less.removed),
        };
    }

    /// Of an index.
    pub(crate) fn keys_of<'a>(
        &self,
        written: impl ExactSizeIterator<Item = &'a str> + Clone,
        removed: &[String],
    ) -> Keys {
        let is_there = |key: &str| self.grown.get(key).is_some();
        let new = written.clone().filter(|key| !is_there(key)).count();
        let kept: HashSet<&str> = if removed.is_empty() { HashSet::new() } else { written.clone().collect() };
        let removed = removed.iter().filter(|key| is_there(key) && !kept.contains(key.as_str())).count();
        Keys { written: written.len() as u64, new: new as u64, removed: removed as u64 }
    }

    /// A file of the base, and all that lies in a directory of that name.
    fn below<'a>(&'a self, key: &'a str) -> impl Iterator<Item = String> + 'a {
        let from = self.grown.entries.partition_point(|entry| entry.key.as_str() < key);
        let of_name = self.grown.entries[from..].iter().map(|entry| &entry.key);
        let is_below = move |name: &String| {
            name.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        of_name.take_while(move |name| name.starts_with(key)).filter(move |name| is_below(name)).cloned()
    }

    /// Refuses an index that leaves an owned chunk out: neither written nor there before.
    fn check_complete(
        &self,
        judge: &Judge<'_>,
        files: &[(String, u64)],
        removed: &[String],
    ) -> Result<(), Error> {
        let written: HashSet<&str> = files.iter().map(|(key, _)| key.as_str()).collect();
        let removed: HashSet<&str> = removed.iter().map(String::as_str).collect();
        let is_there =
            |key: &str| written.contains(key) || (self.grown.get(key).is_some() && !removed.contains(key));
        let (mut missing, mut first) = (0, None);
        for key in judge.plan.keys(judge.index).filter(|key| !is_there(key)) {
            missing += 1;
            first.get_or_insert(key);
        }
        match first {
            None => Ok(()),
            Some(first) => Err(Error::Incomplete {
                index: judge.index,
                owned: judge.plan.count(judge.index),
                missing,
                first,
            }),
        }
    }

    /// Removes what a crash left: a staged object that no committed index names may be half on the disk, and must not be taken
    /// for a whole one later.
    fn remove_uncommitted(&self) -> Result<(), Error> {
        self.remove_staged()?;
        // No sync made a view durable. One of this boot is whole, and tasks may be at work above it.
        let boot_id = boot_id();
        for name in names(&self.dir)? {
            let of = [VIEW, OWN, PREVIEW].iter().find_map(|kind| name.strip_prefix(kind));
            let path = self.dir.join(&name);
            if is_half(&name) || of.is_some_and(|of| !of.starts_with(boot_id)) {
                self.array.disk.remove_dir(&path)?;
            } else if name.starts_with(OWN) {
                for half in names(&path)?.into_iter().filter(|name| is_half(name)) {
                    self.array.disk.remove_dir(&path.join(half))?;
                }
            }
        }
        Ok(())
    }

    /// Removes the staged objects, and the packs of such alone, that no committed index names, and none that is due, while no index
    /// commits.
    pub(crate) fn remove_staged(&self) -> Result<(), Error> {
        let mut known: BTreeSet<Digest> =
            self.record.documents.values().map(|document| document.digest).collect();
        let mut keys = Keys::default();
        for index in self.indices()? {
            let committed = self.committed(index)?.unwrap_or_default();
            keys = keys.plus(committed.keys(self));
            known.extend(committed.written.iter().map(|(_, digest, _)| *digest));
        }
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys;
        for index in commit::due(&self.dir.join(INDICES))? {
            let due = self.due(index)?.unwrap_or_default();
            known.extend(due.written.iter().map(|(_, digest, _)| *digest));
        }
        let staging = self.staging();
        for name in names(&staging)? {
            // A further copy of an object is as good as the object.
            let of = name.split('.').next().and_then(|of| of.parse().ok());
            if name != pack::DIR && !of.is_some_and(|of| known.contains(&of)) {
                self.array.disk.remove(&staging.join(name))?;
            }
        }
        if pack::remove_unknown(&self.array.disk, &staging, &known)? {
            // What was there would be found still.
            self.array.forget_packs(&staging);
        }
        pack::remove_unfinished(&self.array.disk, &staging)
    }
}

/// How the names of a draft's views begin. The boot of the machine in which they were made follows.
const VIEW: &str = "view-";
const OWN: &str = "own-";
pub(crate) const PREVIEW: &str = "preview-";

/// Whether a view was not finished, or is being removed.
fn is_half(name: &str) -> bool {
    name.starts_with(REMOVED) || name.contains(view::UNFINISHED)
}

/// A machine that does not say which boot it is in makes each view anew.
pub(crate) fn boot_id() -> &'static str {
    static ID: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    ID.get_or_init(|| match fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim_end().to_owned(),
        Err(_) => format!("{:016x}", view::random()),
    })
}

fn read_committed(array: &Array, path: &Path, run: &Run, index: u32) -> Result<Committed, Error> {
    let bytes = array.read_sealed(path, MAX_INDEX_BYTES, Role::Index { run: &run.uid, index })?;
    let wrong = |problem: String| Error::Format { path: path.to_owned(), problem };
    let committed = Committed::decode(&bytes, run).map_err(wrong)?;
    if committed.index != index {
        return Err(wrong("it is of another index".to_owned()));
    }
    Ok(committed)
}

impl Committed {
    pub(crate) fn keys(&self, draft: &Draft) -> Keys {
        draft.keys_of(self.written.iter().map(|(key, ..)| key.as_str()), &self.removed)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        // Into memory, of lists with a known length alone: nothing that can fail.
        let content = postcard::to_allocvec(self).unwrap_or_default();
        [&MAGIC[..], Digest::of(&content).as_bytes(), &content].concat()
    }

    pub(crate) fn decode(bytes: &[u8], run: &Run) -> Result<Self, String> {
        let cut = || "it is cut short".to_owned();
        let (magic, rest) = bytes.split_at_checked(MAGIC.len()).ok_or_else(cut)?;
        let (digest, rest) = rest.split_at_checked(32).ok_or_else(cut)?;
        if Digest::of(rest).as_bytes() != digest {
            return Err("its content is damaged".to_owned());
        }
        let damaged = |error: postcard::Error| error.to_string();
        if magic == MAGIC {
            postcard::from_bytes(rest).map_err(damaged)
        } else if magic == MAGIC_OF_RUN {
            let (index, number, written, removed) = postcard::from_bytes(rest).map_err(damaged)?;
            let attempt = Attempt { number, image: run.image.clone(), user: run.user.clone() };
            Ok(Self { index, attempt, written, removed })
        } else {
            Err("it is of another format".to_owned())
        }
    }
}

pub(crate) type Files = Vec<(String, u64)>;

/// What errors call an upper.
fn shown(index: u32) -> String {
    format!("the upper of index {index}")
}

/// Whether an index must have written all its chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    Required,
    Optional,
}

/// The metadata documents of a manifest, by key.
pub(crate) fn documents(
    objects: Objects<'_>,
    manifest: &Manifest,
) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    const MAX_DOCUMENT_BYTES: u64 = 64 << 20;
    if objects.array.kind() == Kind::Artifacts {
        return Ok(BTreeMap::from([("zarr.json".to_owned(), ARTIFACTS_DOCUMENT.as_bytes().to_vec())]));
    }
    let read = |entry: &Entry| Ok((entry.key.clone(), objects.read(entry.digest, MAX_DOCUMENT_BYTES)?));
    manifest.entries.iter().filter(|entry| Hierarchy::is_document(&entry.key)).map(read).collect()
}

impl Array {
    /// The metadata documents of a manifest of this array, by key.
    pub fn documents(&self, manifest: &Manifest) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        documents(Objects { array: self, staging: None }, manifest)
    }

    /// The hierarchy of a manifest of this array.
    pub fn hierarchy(&self, manifest: &Manifest) -> Result<Hierarchy, Error> {
        Ok(Hierarchy::of(&self.documents(manifest)?)?)
    }
}

/// What the sweep asks of drafts without holding them.
impl Array {
    pub(crate) fn draft_base(&self, uid: &str) -> Result<Digest, Error> {
        Ok(self.draft_record(uid)?.base)
    }

    fn draft_record(&self, uid: &str) -> Result<Record, Error> {
        let path = self.draft_dir(uid)?.join(RECORD);
        serde_json::from_slice(&self.read_sealed(&path, MAX_DRAFT_BYTES, Role::Draft { run: uid })?)
            .map_err(|error| Error::Format { path, problem: error.to_string() })
    }

    /// The objects that a draft names, wherever they are, of those records that `is_new` to whom it is asked for.
    pub(crate) fn draft_objects(
        &self,
        uid: &str,
        found: &mut BTreeSet<Digest>,
        mut is_new: impl FnMut(&Path) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let dir = self.draft_dir(uid)?;
        let run = Run { uid: uid.to_owned(), ..Run::default() };
        if is_new(&dir.join(RECORD))? {
            let record = self.draft_record(uid)?;
            found.extend(record.documents.values().map(|document| document.digest));
        }
        let dir = dir.join(INDICES);
        // One that is due counts as soon as another array has its own.
        let due = commit::due(&dir)?.into_iter().map(|index| (index, commit::due_name(index)));
        let committed = names(&dir)?.into_iter().filter_map(|name| Some((name.parse().ok()?, name)));
        for (index, name) in due.chain(committed) {
            let path = dir.join(name);
            if is_new(&path)? {
                let committed = read_committed(self, &path, &run, index)?;
                found.extend(committed.written.into_iter().map(|(_, digest, _)| digest));
            }
        }
        Ok(())
    }
}
