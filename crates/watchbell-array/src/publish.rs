//! Publication: from a draft to the next snapshot, in one change of one ref.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use watchbell_zarr::{Hierarchy, OnConflict};

use crate::digest::Digest;
use crate::draft::{Draft, PREVIEW, boot_id};
use crate::error::Error;
use crate::manifest::{Manifest, Run, above};
use crate::object::{Located, Objects};
use crate::snapshot::{Change, Snapshot};
use crate::store::{Array, Kind};
use crate::tree::difference;
use crate::view;

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    pub digest: Digest,
    pub snapshot: Snapshot,
}

/// Somebody else published since the run began, and the run's chunks cannot go on top of that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error(
        "the array moved from snapshot {} to {} while the run worked on the first: run it again, or set onConflict: rebase",
        base.short(),
        head.short()
    )]
    Moved { base: Digest, head: Digest },
    #[error("metadata changed between snapshots {} and {}: {key}; run it again", base.short(), head.short())]
    Metadata { base: Digest, head: Digest, key: String },
    #[error("{key} was also written by {by} since; run it again")]
    Key { key: String, by: String },
}

type Written = BTreeMap<String, (Digest, u64, u32, u32)>;

impl Draft {
    /// Makes one snapshot of what all `indices` committed and lets the head be it. Done again after a crash it ends the same way,
    /// and only once.
    pub fn publish(
        &self,
        indices: &BTreeSet<u32>,
        on_conflict: OnConflict,
        quota_bytes: Option<u64>,
        message: &str,
        now: jiff::Timestamp,
    ) -> Result<Publication, Error> {
        let _lock = self.array.lock()?;
        let next = match self.judge(indices, on_conflict, quota_bytes)? {
            Judged::Done(done) => return Ok(done),
            Judged::Due(next) => next,
        };
        let made = self.prepare(&next, message, now)?;
        self.array.move_head(made.digest)?;
        Ok(made)
    }

    /// With the lock held: what would be published, or why it cannot be. Nothing is changed.
    pub(crate) fn judge(
        &self,
        indices: &BTreeSet<u32>,
        on_conflict: OnConflict,
        quota_bytes: Option<u64>,
    ) -> Result<Judged, Error> {
        let head = self.array.head()?.ok_or(Error::NoSnapshot)?;
        if let Some(done) = self.published()? {
            // Whether the head's new name was on the disk when it was last tried nobody knows.
            self.array.disk.sync_dir(&self.array.dir.join("refs"))?;
            return Ok(Judged::Done(done));
        }
        let (written, removed) = self.changes(indices)?;
        let rebased;
        let before = if head == self.record.base {
            &self.base
        } else {
            rebased = self.rebase(head, on_conflict, &written, &removed)?;
            &rebased
        };
        check_quota(&self.array, quota_bytes)?;
        let after = before.with(&self.record.run, &removed, &written);
        Next::of(Some((head, before)), after).map(Judged::Due)
    }

    /// With the lock held: all that the next head needs, durable.
    pub(crate) fn prepare(
        &self,
        next: &Next,
        message: &str,
        now: jiff::Timestamp,
    ) -> Result<Publication, Error> {
        next.prepare(&self.array, &self.staging(), &self.record.run, message, now)
    }

    /// What [`Draft::publish`] would make of these indices.
    pub fn preview_manifest(&self, indices: &BTreeSet<u32>) -> Result<Manifest, Error> {
        let (written, removed) = self.changes(indices)?;
        let after = self.base.with(&self.record.run, &removed, &written);
        after.check()?;
        Ok(after)
    }

    /// The directory of that: for who looks at it before.
    pub fn preview(&self, indices: &BTreeSet<u32>) -> Result<PathBuf, Error> {
        let after = self.preview_manifest(indices)?;
        let digest = Digest::of(&after.encode());
        let path = self.dir.join(format!("{PREVIEW}{}-{digest}", boot_id()));
        if !path.exists() {
            let staging = self.staging();
            let objects = Objects { array: &self.array, staging: Some(&staging) };
            view::build(&self.array.disk, objects, after.entries.iter(), &BTreeSet::new(), &path)?;
        }
        Ok(path)
    }

    /// What the run changes: all keys that were written, with who wrote them, and those that were removed.
    fn changes(&self, indices: &BTreeSet<u32>) -> Result<(Written, BTreeSet<String>), Error> {
        let (mut written, mut removed) = (Written::new(), BTreeSet::new());
        let mut missing = Vec::new();
        for index in indices {
            let Some(committed) = self.committed(*index)? else {
                missing.push(index.to_string());
                continue;
            };
            let by = (committed.index, committed.attempt);
            written.extend(committed.written.into_iter().map(|(key, d, size)| (key, (d, size, by.0, by.1))));
            removed.extend(committed.removed);
        }
        if !missing.is_empty() {
            return Err(Error::Unfinished(missing.join(", ")));
        }
        let documents = &self.record.documents;
        written.extend(documents.iter().map(|(key, d)| (key.clone(), (d.digest, d.size, 0, 0))));
        Ok((written, removed))
    }

    /// The snapshot that this run has published already: a crash came between the head's change and the draft's end.
    fn published(&self) -> Result<Option<Publication>, Error> {
        let mut found = None;
        let base = self.record.base;
        self.array.history(|digest, snapshot, _| {
            if digest == base {
                return false;
            }
            if snapshot.by.uid == self.record.run.uid {
                found = Some(Publication { digest, snapshot: snapshot.clone() });
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// The head's manifest, when the run's changes can go on top of it.
    fn rebase(
        &self,
        head: Digest,
        on_conflict: OnConflict,
        written: &Written,
        removed: &BTreeSet<String>,
    ) -> Result<Manifest, Error> {
        let base = self.record.base;
        if on_conflict == OnConflict::Fail || !self.record.documents.is_empty() {
            return Err(Conflict::Moved { base, head }.into());
        }
        let theirs = self.array.manifest(self.array.snapshot(head)?.manifest)?;
        let difference = difference(&self.base, &theirs);
        for key in difference.keys() {
            if self.array.kind() == Kind::Zarr && Hierarchy::is_document(key) {
                return Err(Conflict::Metadata { base, head, key: key.to_owned() }.into());
            }
            if written.contains_key(key) || removed.contains(key) || meets(written, key) {
                let by =
                    theirs.get(key).map_or("another run".to_owned(), |e| theirs.writer(e).0.name.clone());
                return Err(Conflict::Key { key: key.to_owned(), by }.into());
            }
        }
        Ok(theirs)
    }

    /// Ends the draft: of what was published, or of what is given up.
    pub fn remove(self) -> Result<(), Error> {
        self.array.forget_packs(&self.staging());
        self.array.disk.remove_dir(&self.dir)
    }
}

/// Whether a key is a directory of one that was written, or lies below one.
fn meets(written: &Written, key: &str) -> bool {
    let below = format!("{key}/");
    written.range(below.clone()..).next().is_some_and(|(next, _)| next.starts_with(&below))
        || above(key).any(|dir| written.contains_key(dir))
}

impl Array {
    /// The newest snapshot that a run published; its content may be swept.
    pub fn published_by(&self, uid: &str) -> Result<Option<Publication>, Error> {
        let mut found = None;
        self.history(|digest, snapshot, _| {
            if snapshot.by.uid == uid {
                found = Some(Publication { digest, snapshot: snapshot.clone() });
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// Makes a snapshot with the content of an older one, on top of the head: nothing that was published is lost. Nothing when the
    /// head has that content already.
    pub fn rollback(
        &self,
        to: Digest,
        by: &Run,
        message: &str,
        now: jiff::Timestamp,
    ) -> Result<Option<Publication>, Error> {
        let _lock = self.lock()?;
        let head = self.head()?.ok_or(Error::NoSnapshot)?;
        let before = self.manifest(self.snapshot(head)?.manifest)?;
        let after = self.manifest(self.snapshot(to)?.manifest)?;
        if difference(&before, &after).keys().next().is_none() {
            return Ok(None);
        }
        // All its objects are in place; nothing is staged.
        let nowhere = self.dir.join("drafts");
        publish(self, Some((head, &before)), after, &nowhere, by, None, message, now).map(Some)
    }
}

fn check_quota(array: &Array, quota_bytes: Option<u64>) -> Result<(), Error> {
    let Some(quota) = quota_bytes else { return Ok(()) };
    let bytes = array.used_bytes()?;
    if bytes > quota { Err(Error::Quota { bytes, quota }) } else { Ok(()) }
}

/// What a run comes to.
pub(crate) enum Judged {
    /// It was published before.
    Done(Publication),
    Due(Next),
}

/// A snapshot that may be made.
pub(crate) struct Next {
    parent: Option<Digest>,
    after: Manifest,
    /// The objects that its parent does not have.
    new: BTreeSet<Digest>,
    change: Change,
}

impl Next {
    fn of(before: Option<(Digest, &Manifest)>, after: Manifest) -> Result<Self, Error> {
        // Nobody could read it as a directory.
        after.check()?;
        let nothing = Manifest::default();
        let difference = difference(before.map_or(&nothing, |(_, manifest)| manifest), &after);
        let change = Change {
            added: difference.added.len() as u64,
            changed: difference.changed.len() as u64,
            removed: difference.removed.len() as u64,
        };
        let new = difference
            .added
            .iter()
            .chain(&difference.changed)
            .filter_map(|key| after.get(key).map(|entry| entry.digest))
            .collect();
        Ok(Self { parent: before.map(|(digest, _)| digest), after, new, change })
    }

    /// With the lock held: objects into place, manifest, snapshot, and the signature of a head. Each is durable before the next
    /// begins, and nobody sees any of it.
    fn prepare(
        &self,
        array: &Array,
        staging: &Path,
        by: &Run,
        message: &str,
        now: jiff::Timestamp,
    ) -> Result<Publication, Error> {
        place(array, staging, &self.new)?;
        let manifest = self.after.encode();
        let snapshot = Snapshot {
            format: 1,
            parent: self.parent,
            manifest: array.digest(&manifest)?,
            created_at: now.as_second(),
            message: message.to_owned(),
            by: by.clone(),
            change: self.change,
            keys: self.after.entries.len() as u64,
            bytes: self.after.bytes(),
        };
        let digest = array.put_snapshot(&snapshot, &manifest)?;
        array.sign_head(digest, now)?;
        Ok(Publication { digest, snapshot })
    }
}

/// With the lock held: all that the next head needs, and then the head.
#[expect(
    clippy::too_many_arguments,
    reason = "one straight list of what a snapshot is made of, called twice"
)]
pub(crate) fn publish(
    array: &Array,
    before: Option<(Digest, &Manifest)>,
    after: Manifest,
    staging: &Path,
    by: &Run,
    quota_bytes: Option<u64>,
    message: &str,
    now: jiff::Timestamp,
) -> Result<Publication, Error> {
    let next = Next::of(before, after)?;
    check_quota(array, quota_bytes)?;
    let made = next.prepare(array, staging, by, message, now)?;
    array.move_head(made.digest)?;
    Ok(made)
}

/// Moves staged objects, whose content is durable, to where all snapshots find them.
pub(crate) fn place(array: &Array, staging: &Path, new: &BTreeSet<Digest>) -> Result<(), Error> {
    let (disk, objects) = (&array.disk, Objects { array, staging: Some(staging) });
    let (mut touched, mut packs) = (BTreeSet::new(), BTreeSet::new());
    objects.refresh()?;
    let mut is_packed = false;
    for digest in new {
        let at = objects.get(*digest)?;
        // Also of what is there: who put it there may have been stopped before the sync.
        let is_staged = at.is_below(staging);
        match at {
            Located::File(path) => {
                let placed = array.object_path(*digest);
                if is_staged {
                    disk.rename(&path, &placed)?;
                }
                touched.extend(placed.parent().map(Path::to_owned));
            }
            Located::Packed(place) => {
                is_packed = true;
                if is_staged {
                    packs.insert(place.pack);
                }
            }
        }
    }
    if is_packed {
        touched.insert(array.packs_dir()?);
    }
    for pack in &packs {
        disk.rename(pack, &array.packs_dir()?.join(pack.file_name().unwrap_or_default()))?;
    }
    if !packs.is_empty() {
        objects.refresh()?;
        array.forget_packs(staging);
    }
    if touched.is_empty() {
        return Ok(());
    }
    /// More directories than this are synced with their file system at once.
    const ONE_BY_ONE: usize = 8;
    if touched.len() > ONE_BY_ONE {
        return disk.sync_all(&array.dir);
    }
    touched.iter().try_for_each(|dir| disk.sync_dir(dir))
}
