//! An index is committed: in the drafts of all arrays that it wrote, or in none.
//!
//! ```text
//!  one attempt at a time ─▶ all judged, copied and synced ─▶ indices/N.due of each ─▶ indices/N of each
//!                           └─── refused or stopped here: nothing of it counts ───┘   └─ stopped here: who comes next goes on
//! ```

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::PoisonError;

use rustix::fd::BorrowedFd;
use watchbell_zarr::Judge;

use crate::draft::{Attempt, Committed, Completeness, Draft, Keys};
use crate::error::Error;
use crate::object::Objects;
use crate::store::names;
use crate::together::Refused;

/// What an attempt of an index wrote to the arrays of its run. While this is there no other attempt of the index is committed to them.
pub struct IndexCommit<'a> {
    index: u32,
    parts: Vec<Part<'a>>,
    /// The locks of the arrays: what is found to be there is not swept before the index counts on it, and no sweep misses a record
    /// that gets another name.
    kept: Vec<File>,
}

struct Part<'a> {
    draft: &'a Draft,
    index: u32,
    /// It was before.
    committed: Option<Committed>,
    /// What is copied, with its record as it is kept.
    staged: Option<(Committed, Vec<u8>)>,
    /// That the draft counts for what is being committed.
    keys: Keys,
    /// It has staged what counts nowhere.
    has_failed: bool,
    /// The same of a record of before that was due and is forgotten.
    has_forgotten: bool,
}

/// Who copies into a draft at this moment.
#[derive(Default)]
pub(crate) struct Copying {
    indices: BTreeSet<u32>,
    /// One of them failed: what it has staged is nobody's, unless another has found it and counts on it.
    has_failed: bool,
}

/// How the name of a record ends that counts as soon as the index is committed to another array of its run.
const DUE: &str = ".due";

/// The indices of which there is a record that is due.
pub(crate) fn due(indices: &Path) -> Result<Vec<u32>, Error> {
    let of = |name: &String| name.strip_suffix(DUE)?.parse().ok();
    Ok(names(indices)?.iter().filter_map(of).collect())
}

pub(crate) fn due_name(index: u32) -> String {
    format!("{index}{DUE}")
}

impl<'a> IndexCommit<'a> {
    /// Waits for another attempt of the index that is at it. One that was stopped when it counted in some of the arrays counts in all
    /// of them then, if all that it wrote is there; one that counted in none is forgotten.
    pub fn begin(drafts: &[&'a Draft], index: u32) -> Result<Self, Refused> {
        for at in in_order(drafts) {
            drafts[at].begin_turn(index);
        }
        let part = |draft: &&'a Draft| Part {
            draft,
            index,
            committed: None,
            staged: None,
            keys: Keys::default(),
            has_failed: false,
            has_forgotten: false,
        };
        let mut begun = Self { index, parts: drafts.iter().map(part).collect(), kept: Vec::new() };
        for (at, part) in begun.parts.iter_mut().enumerate() {
            part.committed = part.draft.committed(index).map_err(Refused::of(at))?;
        }
        let mut due = Vec::new();
        for (at, part) in begun.parts.iter().enumerate() {
            if part.is_due().map_err(Refused::of(at))? {
                due.push(at);
            }
        }
        if !due.is_empty() {
            begun.go_on(&due)?;
        }
        Ok(begun)
    }

    /// Lets what is due count, or forgets it.
    fn go_on(&mut self, due: &[usize]) -> Result<(), Refused> {
        self.keep()?;
        let committed = |part: &Part<'_>| part.committed.is_some();
        let is_whole = self.parts.iter().enumerate().all(|(at, part)| committed(part) || due.contains(&at));
        let mut counts = is_whole && self.parts.iter().any(committed);
        for at in due.iter().copied().filter(|at| !committed(&self.parts[*at])) {
            counts = counts && self.parts[at].is_there().map_err(Refused::of(at))?;
        }
        for at in due.iter().copied() {
            self.parts[at].go_on(counts).map_err(Refused::of(at))?;
        }
        Ok(())
    }

    /// Whether the index is in the draft already. The first success is the one.
    pub fn is_committed(&self, at: usize) -> bool {
        self.parts[at].committed.is_some()
    }

    /// Judges and copies what the attempt left in the directory `upper`, whose writers are all dead: at most `max_bytes`. All of it is
    /// durable when this returns, and nothing of it counts yet.
    pub fn stage(
        &mut self,
        at: usize,
        judge: &Judge<'_>,
        attempt: &Attempt,
        upper: BorrowedFd<'_>,
        completeness: Completeness,
        max_bytes: u64,
    ) -> Result<(), Error> {
        if self.is_committed(at) {
            return Ok(());
        }
        let (files, removed) = self.parts[at].draft.judged(judge, upper, completeness, max_bytes)?;
        self.keep().map_err(|refused| refused.error)?;
        let part = &mut self.parts[at];
        let keys = part.draft.keys_of(files.iter().map(|(key, _)| key.as_str()), &removed);
        part.draft.take_keys(keys)?;
        part.keys = keys;
        part.has_failed = true;
        part.staged = Some(part.draft.take_over(self.index, attempt, upper, files, removed)?);
        Ok(())
    }

    /// Lets the index count, in the order of the drafts. After an error it counts nowhere.
    pub fn commit(mut self) -> Result<Vec<Committed>, Refused> {
        let is_missing = |part: &Part<'_>| part.committed.is_none() && part.staged.is_none();
        if let Some(at) = self.parts.iter().position(is_missing) {
            return Err(Refused { at, error: Error::Unfinished(self.index.to_string()) });
        }
        if let Err(refused) = self.record() {
            self.take_back();
            return Err(refused);
        }
        let made = |part: &mut Part<'_>| {
            part.has_failed = false;
            let staged = part.staged.take().map(|(committed, _)| committed);
            staged.or(part.committed.take()).unwrap_or_default()
        };
        Ok(self.parts.iter_mut().map(made).collect())
    }

    fn record(&self) -> Result<(), Refused> {
        let staged: Vec<(usize, &Part<'_>, &[u8])> = self
            .parts
            .iter()
            .enumerate()
            .filter_map(|(at, part)| Some((at, part, part.staged.as_ref()?.1.as_slice())))
            .collect();
        if let [(at, part, record)] = staged[..] {
            let written = part.draft.array.disk.replace(&part.draft.index_path(self.index), record);
            return written.map_err(Refused::of(at));
        }
        for (at, part, record) in &staged {
            let written = part.draft.array.disk.replace(&part.draft.due_path(self.index), record);
            written.map_err(Refused::of(*at))?;
        }
        staged.iter().try_for_each(|(at, part, _)| part.count().map_err(Refused::of(*at)))
    }

    /// What counts is due again before anything is forgotten: stopped in between, the index counts everywhere later, or nowhere.
    fn take_back(&self) {
        let staged = || self.parts.iter().filter(|part| part.staged.is_some());
        // Where one counts on, all the others stay due, and count as soon as somebody comes.
        if staged().try_for_each(Part::count_no_more).is_ok() {
            // Where one stays it is forgotten later: none counts.
            drop(staged().try_for_each(|part| part.remove(&part.draft.due_path(self.index))));
        }
    }

    fn keep(&mut self) -> Result<(), Refused> {
        if !self.kept.is_empty() {
            return Ok(());
        }
        let drafts: Vec<&Draft> = self.parts.iter().map(|part| part.draft).collect();
        for at in in_order(&drafts) {
            let lock = drafts[at].array.lock_shared().map_err(Refused::of(at))?;
            self.kept.push(lock);
        }
        Ok(())
    }
}

/// In which several arrays are locked, always: else two could each wait for what the other holds.
pub(crate) fn in_order(drafts: &[&Draft]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..drafts.len()).collect();
    order.sort_by_key(|at| &drafts[*at].array.dir);
    order
}

impl Part<'_> {
    fn is_due(&self) -> Result<bool, Error> {
        let due = self.draft.due_path(self.index);
        due.try_exists().map_err(Error::io("look at", &due))
    }

    /// Whether all that the record names that is due is there: an older program removes what only such a record names.
    fn is_there(&self) -> Result<bool, Error> {
        let Some(due) = self.draft.due(self.index)? else { return Ok(false) };
        let staging = self.draft.staging();
        let objects = Objects { array: &self.draft.array, staging: Some(&staging) };
        objects.refresh()?;
        for (_, digest, _) in &due.written {
            match objects.get(*digest) {
                Err(Error::Damaged { .. }) => return Ok(false),
                found => found.map(drop)?,
            }
        }
        Ok(true)
    }

    fn go_on(&mut self, counts: bool) -> Result<(), Error> {
        if counts && self.committed.is_none() {
            self.count()?;
            self.committed = self.draft.committed(self.index)?;
            if let Some(committed) = &self.committed {
                self.draft.count_keys(committed.keys(self.draft));
            }
            return Ok(());
        }
        // With what it has staged.
        self.has_forgotten = true;
        self.remove(&self.draft.due_path(self.index))
    }

    /// Lets the record that is due count.
    fn count(&self) -> Result<(), Error> {
        let (disk, path) = (&self.draft.array.disk, self.draft.index_path(self.index));
        disk.rename(&self.draft.due_path(self.index), &path)?;
        disk.sync_dir(path.parent().unwrap_or(&path))
    }

    /// Makes a record due that counts.
    fn count_no_more(&self) -> Result<(), Error> {
        let (disk, path) = (&self.draft.array.disk, self.draft.index_path(self.index));
        if !path.try_exists().map_err(Error::io("look at", &path))? {
            return Ok(());
        }
        disk.rename(&path, &self.draft.due_path(self.index))?;
        disk.sync_dir(path.parent().unwrap_or(&path))
    }

    fn remove(&self, record: &Path) -> Result<(), Error> {
        let disk = &self.draft.array.disk;
        disk.remove(record)?;
        disk.sync_dir(record.parent().unwrap_or(record))
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if self.has_failed {
            self.draft.give_back_keys(self.keys);
        }
        self.draft.end_turn(self.index, self.has_failed || self.has_forgotten);
    }
}

impl Draft {
    fn begin_turn(&self, index: u32) {
        let copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        let is_at_it = |copying: &mut Copying| copying.indices.contains(&index);
        let waited = self.copied.wait_while(copying, is_at_it);
        waited.unwrap_or_else(PoisonError::into_inner).indices.insert(index);
    }

    fn end_turn(&self, index: u32, has_failed: bool) {
        let mut copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        copying.indices.remove(&index);
        copying.has_failed |= has_failed;
        // Staged objects count to the quota. Nobody begins another commit while they are looked at.
        if copying.indices.is_empty() && copying.has_failed {
            // What cannot be removed now is looked at after the next commit, or when the draft is opened next.
            copying.has_failed = self.remove_staged().is_err();
            self.meter.forget();
        }
        drop(copying);
        self.copied.notify_all();
    }
}
