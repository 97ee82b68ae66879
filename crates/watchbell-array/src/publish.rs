//! Publication: from a draft to the next snapshot, in one change of one ref.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use watchbell_zarr::{Hierarchy, OnConflict};

use crate::digest::Digest;
use crate::draft::{Attempt, Draft, PREVIEW, boot_id};
use crate::error::Error;
use crate::manifest::{Manifest, Run, Writer, above};
use crate::object::{Located, Objects};
use crate::snapshot::{Change, Snapshot};
use crate::store::{Array, Kind, valid_name};
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
    #[error(
        "the array moved from snapshot {} to {} while the run, which makes it longer, worked on the first: run it again",
        base.short(),
        head.short()
    )]
    Grown { base: Digest, head: Digest },
    #[error(
        "the array moved from {} to snapshot {} while the import was at work, which would undo what was published since: import again, \
         which goes on where it was, or with --on-conflict replace",
        base.map_or("no snapshot".to_owned(), |base| format!("snapshot {}", base.short())),
        head.short()
    )]
    Import { base: Option<Digest>, head: Digest },
    #[error("metadata changed between snapshots {} and {}: {key}; run it again", base.short(), head.short())]
    Metadata { base: Digest, head: Digest, key: String },
    #[error("{key} was also written by {by} since; run it again")]
    Key { key: String, by: String },
}

/// How the files are called that say which runs published.
const PUBLISHED: &str = "published";

/// The keys that a run wrote: object, size and who wrote it, by its place in [`Changes::by`].
type Written = BTreeMap<String, (Digest, u64, u32)>;

/// What a run changes.
#[derive(Default)]
struct Changes {
    by: Vec<(Writer, Run)>,
    written: Written,
    removed: BTreeSet<String>,
}

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
        let changes = self.changes(indices)?;
        let rebased;
        let before = if head == self.record.base {
            &self.base
        } else {
            rebased = self.rebase(head, on_conflict, &changes.written, &changes.removed)?;
            &rebased
        };
        let after = before.with(&changes.by, &changes.removed, &changes.written);
        // What was imported by hand may have more, and be written anew.
        if after.entries.len() > before.entries.len() {
            self.array.check_keys(after.entries.len() as u64)?;
        }
        let by = together(&self.record.run, &changes.by);
        let next = Next::of(Some((head, before)), after, by)?;
        check_quota(&self.array, quota_bytes, &next)?;
        Ok(Judged::Due(next))
    }

    /// With the lock held: all that the next head needs, durable.
    pub(crate) fn prepare(
        &self,
        next: &Next,
        message: &str,
        now: jiff::Timestamp,
    ) -> Result<Publication, Error> {
        next.prepare(&self.array, &self.staging(), message, now)
    }

    /// What [`Draft::publish`] would make of these indices.
    pub fn preview_manifest(&self, indices: &BTreeSet<u32>) -> Result<Manifest, Error> {
        let changes = self.changes(indices)?;
        let after = self.base.with(&changes.by, &changes.removed, &changes.written);
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
    fn changes(&self, indices: &BTreeSet<u32>) -> Result<Changes, Error> {
        let Changes { mut by, mut written, mut removed } = Changes::default();
        let run = &self.record.run;
        let mut missing = Vec::new();
        for index in indices {
            let Some(committed) = self.committed(*index)? else {
                missing.push(index.to_string());
                continue;
            };
            let at = by.len() as u32;
            let Attempt { number, image, user } = committed.attempt;
            let of = Run { image, user, ..run.clone() };
            by.push((Writer { run: 0, index: committed.index, attempt: number }, of));
            written.extend(committed.written.into_iter().map(|(key, d, size)| (key, (d, size, at))));
            removed.extend(committed.removed);
        }
        if !missing.is_empty() {
            return Err(Error::Unfinished(missing.join(", ")));
        }
        // They were made before any index began.
        let at = by.len() as u32;
        let documents = &self.record.documents;
        if !documents.is_empty() {
            by.push((Writer::default(), run.clone()));
        }
        written.extend(documents.iter().map(|(key, d)| (key.clone(), (d.digest, d.size, at))));
        Ok(Changes { by, written, removed })
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
        // No `onConflict` would help it.
        if !self.record.documents.is_empty() {
            return Err(Conflict::Grown { base, head }.into());
        }
        if on_conflict == OnConflict::Fail {
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

/// A run with all who wrote for it, where its indices ran of several images or in several names.
fn together(run: &Run, by: &[(Writer, Run)]) -> Run {
    let all = |of: fn(&Run) -> &str| {
        let found: BTreeSet<&str> = by.iter().map(|(_, run)| of(run)).collect();
        if found.is_empty() { of(run).to_owned() } else { Vec::from_iter(found).join(", ") }
    };
    Run { image: all(|run| &run.image), user: all(|run| &run.user), ..run.clone() }
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
        let noted = self.dir.join(PUBLISHED);
        // All of the history need not be read for a run that is new. (Of an encrypted array a file that is missing proves nothing.)
        if !self.is_encrypted() && noted.exists() && !noted.join(valid_name(uid)?).exists() {
            return Ok(None);
        }
        let mut found = None;
        self.history(|digest, snapshot, _| {
            if snapshot.by.uid == uid {
                found = Some(Publication { digest, snapshot: snapshot.clone() });
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// With the lock held: notes that a run publishes, before it has.
    fn note_publication(&self, uid: &str) -> Result<(), Error> {
        let dir = self.dir.join(PUBLISHED);
        if !dir.exists() {
            self.note_all_publications(&dir)?;
        }
        // An import has no uid.
        if uid.is_empty() {
            return Ok(());
        }
        let path = dir.join(valid_name(uid)?);
        if !path.exists() {
            self.disk.create(&path, 0o600)?;
        }
        self.disk.sync_dir(&dir)
    }

    /// A store from before these notes gets those of all its snapshots.
    fn note_all_publications(&self, dir: &Path) -> Result<(), Error> {
        let mut uids = BTreeSet::new();
        self.history(|_, snapshot, _| {
            uids.insert(snapshot.by.uid.clone());
            true
        })?;
        let next = dir.with_extension("next");
        self.disk.remove_dir(&next)?;
        self.disk.make_dir(&next)?;
        for uid in uids.iter().filter(|uid| valid_name(uid).is_ok()) {
            self.disk.create(&next.join(uid), 0o600)?;
        }
        self.disk.sync_dir(&next)?;
        self.disk.rename(&next, dir)?;
        self.disk.sync_dir(&self.dir)
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

fn check_quota(array: &Array, quota_bytes: Option<u64>, next: &Next) -> Result<(), Error> {
    let Some(quota) = quota_bytes else { return Ok(()) };
    // A publication that failed may have left its manifest, which is used then.
    let is_there = array.manifest_path(array.digest(&next.manifest)?).exists();
    let more = if is_there { 0 } else { next.manifest.len() as u64 };
    let bytes = array.used_bytes()?.saturating_add(more);
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
    by: Run,
    after: Manifest,
    /// The same as it is kept.
    manifest: Vec<u8>,
    /// The objects that its parent does not have.
    new: BTreeSet<Digest>,
    change: Change,
}

impl Next {
    fn of(before: Option<(Digest, &Manifest)>, after: Manifest, by: Run) -> Result<Self, Error> {
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
        let manifest = after.encode();
        Ok(Self { parent: before.map(|(digest, _)| digest), by, after, manifest, new, change })
    }

    /// With the lock held: objects into place, manifest, snapshot, and the signature of a head. Each is durable before the next
    /// begins, and nobody sees any of it.
    fn prepare(
        &self,
        array: &Array,
        staging: &Path,
        message: &str,
        now: jiff::Timestamp,
    ) -> Result<Publication, Error> {
        let by = &self.by;
        array.note_publication(&by.uid)?;
        place(array, staging, &self.new)?;
        let snapshot = Snapshot {
            format: 1,
            parent: self.parent,
            manifest: array.digest(&self.manifest)?,
            created_at: now.as_second(),
            message: message.to_owned(),
            by: by.clone(),
            change: self.change,
            keys: self.after.entries.len() as u64,
            bytes: self.after.bytes(),
        };
        let digest = array.put_snapshot(&snapshot, &self.manifest)?;
        array.sign_head(digest, now).inspect_err(|_| array.take_back(digest))?;
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
    let next = Next::of(before, after, by.clone())?;
    check_quota(array, quota_bytes, &next)?;
    let made = next.prepare(array, staging, message, now)?;
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
