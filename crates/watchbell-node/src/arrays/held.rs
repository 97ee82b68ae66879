//! Drafts that are open, and the plans of their runs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;
use watchbell_api::Uid;
use watchbell_api::array::ArrayRun;
use watchbell_array::{Array, Draft, Error, Run};
use watchbell_zarr::{Grown, Hierarchy, Plan, Use, grow, plan};

use super::Trouble;

/// Directories that are made in a view so that tasks need not: of a grid with more, tasks make them.
const PARENTS_MAX: usize = 100_000;
/// To find them, for all indices together: many may lie in the same.
const LOOKS_MAX: usize = 1_000_000;

/// A draft of one array, for all that is done with it.
pub(super) struct Held {
    pub(super) draft: Draft,
    pub(super) plan: Arc<Plan>,
}

/// The array that a run writes, by namespace, run and name.
type Key = (Arc<str>, Uid, String);
pub(super) type Slot = Arc<RwLock<Option<Held>>>;

#[derive(Default)]
pub(super) struct Drafts {
    slots: Mutex<HashMap<Key, Place>>,
}

#[derive(Default)]
struct Place {
    slot: Slot,
    /// Nobody has asked for it since its run rested.
    is_resting: bool,
}

impl Drafts {
    pub(super) fn slot(&self, namespace: &Arc<str>, run: Uid, array: &str) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let place = slots.entry((namespace.clone(), run, array.to_owned())).or_default();
        place.is_resting = false;
        place.slot.clone()
    }

    /// Lets go of a run's drafts. One that somebody works with goes with that work.
    pub(super) fn rest(&self, namespace: &str, run: Uid) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for ((of, uid, _), place) in slots.iter_mut() {
            place.is_resting |= **of == *namespace && *uid == run;
        }
        drop(slots);
        self.tidy();
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// After each work: lets go of what rests, and of places with nothing in them.
    pub(super) fn tidy(&self) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Who works with one has a reference, which is given with the lock held.
        slots.retain(|_, Place { slot, is_resting }| {
            let is_empty = || slot.try_read().is_ok_and(|held| held.is_none());
            Arc::strong_count(slot) > 1 || !(*is_resting || is_empty())
        });
    }
}

/// The directory of an array. Names come from an annotation: none leads elsewhere.
pub(super) fn dir(root: &Path, namespace: &str, name: &str) -> Result<PathBuf, Error> {
    Ok(root.join(watchbell_array::valid_name(namespace)?).join(watchbell_array::valid_name(name)?))
}

/// How the names of runs' leases begin.
pub(super) const LEASE: &str = "run-";

/// What a run is called in leases.
pub(super) fn lease_name(run: Uid) -> String {
    format!("{LEASE}{run}")
}

/// Goes on with the draft of a run, if there is one.
pub(super) fn go_on(array: &Array, run: &ArrayRun, of: &Use) -> Result<Option<Held>, Trouble> {
    let uid = run.run.to_string();
    if !array.drafts().map_err(passing)?.contains(&uid) {
        return Ok(None);
    }
    let draft = array.draft(&uid).map_err(passing)?;
    planned(array, draft, run, of).map(Some)
}

/// Begins the draft of a run on what the head is.
pub(super) fn begin(
    array: &Array,
    namespace: &str,
    run: &ArrayRun,
    image: &str,
    of: &Use,
) -> Result<Held, Trouble> {
    let by = Run {
        name: format!("{namespace}/{}", run.job_name),
        uid: run.run.to_string(),
        image: image.to_owned(),
        user: run.user.to_string(),
        started_at: Timestamp::now().as_second(),
    };
    // The head may move between the look at it and the beginning.
    for _ in 0..3 {
        let head = array.head().map_err(passing)?.ok_or(Error::NoSnapshot).map_err(passing)?;
        let (hierarchy, grown) = grown(array, head, of)?;
        // Before anything is written.
        plan_of(&hierarchy, of, grown.as_ref(), run)?;
        let documents = grown.map(|grown| grown.documents).unwrap_or_default();
        let draft = array.begin(&by, &documents).map_err(|error| match error {
            Error::Published { .. } => Trouble::Lasting(error.to_string()),
            other => passing(other),
        })?;
        if draft.base() == head {
            return planned(array, draft, run, of);
        }
        draft.remove().map_err(passing)?;
    }
    Err(Trouble::Passing("the head of the array moves too fast to begin on it".to_owned()))
}

/// The plan that a run began with is made anew from what it began with.
fn planned(array: &Array, draft: Draft, run: &ArrayRun, of: &Use) -> Result<Held, Trouble> {
    let (hierarchy, grown) = grown(array, draft.base(), of)?;
    // What the documents say, and not how: another version of this program may have written them.
    if read(&draft.documents().map_err(passing)?)? != hierarchy {
        return Err(Trouble::Lasting(
            "its run began with another extend; start a Job of its own in place of a rerun".to_owned(),
        ));
    }
    let plan = plan_of(&hierarchy, of, grown.as_ref(), run)?;
    Ok(Held { draft, plan: Arc::new(plan) })
}

/// The hierarchy of a snapshot with the growth that a use asks for.
fn grown(
    array: &Array,
    snapshot: watchbell_array::Digest,
    of: &Use,
) -> Result<(Hierarchy, Option<Grown>), Trouble> {
    let documents = documents(array, snapshot)?;
    match &of.extend {
        None => Ok((read(&documents)?, None)),
        Some(extend) => {
            let (hierarchy, grown) =
                grow(&documents, extend).map_err(|error| Trouble::Lasting(error.to_string()))?;
            Ok((hierarchy, Some(grown)))
        }
    }
}

pub(super) fn documents(
    array: &Array,
    snapshot: watchbell_array::Digest,
) -> Result<BTreeMap<String, Vec<u8>>, Trouble> {
    let manifest = array.snapshot(snapshot).and_then(|snapshot| array.manifest(snapshot.manifest));
    manifest.and_then(|manifest| array.documents(&manifest)).map_err(passing)
}

pub(super) fn read(documents: &BTreeMap<String, Vec<u8>>) -> Result<Hierarchy, Trouble> {
    Hierarchy::of(documents).map_err(|error| Trouble::Lasting(error.to_string()))
}

pub(super) fn plan_of(
    hierarchy: &Hierarchy,
    of: &Use,
    grown: Option<&Grown>,
    run: &ArrayRun,
) -> Result<Plan, Trouble> {
    let none = || Trouble::Lasting("it has no split".to_owned());
    let split = of.split.as_ref().ok_or_else(none)?;
    plan(hierarchy, split, &of.variables, grown, run.completions)
        .map_err(|error| Trouble::Lasting(error.to_string()))
}

impl Held {
    /// What every index sees below its upper.
    pub(super) fn view(&self) -> Result<PathBuf, Error> {
        self.draft.view_with(&self.parents())
    }

    /// The directories that the indices' chunks lie in; none where they are too many.
    pub(super) fn parents(&self) -> BTreeSet<String> {
        let looks = (LOOKS_MAX / self.plan.completions.max(1) as usize).max(1);
        let mut parents = BTreeSet::new();
        for index in 0..self.plan.completions {
            let Some(found) = self.plan.parents(index, looks) else { return BTreeSet::new() };
            parents.extend(found);
            if parents.len() > PARENTS_MAX {
                return BTreeSet::new();
            }
        }
        parents
    }
}

/// Whether it may go well later by itself, or by what is given to the server.
pub(super) fn passing(error: Error) -> Trouble {
    match error {
        Error::WrongKey
        | Error::WrongNamedKey(_)
        | Error::InTheClear(_)
        | Error::Elsewhere { .. }
        | Error::Forged { .. }
        | Error::Older { .. } => Trouble::Lasting(error.to_string()),
        Error::Busy(ref dir) => {
            let array = dir.file_name().unwrap_or_default().to_string_lossy().into();
            Trouble::Busy { array, why: error.to_string() }
        }
        error => Trouble::Passing(error.to_string()),
    }
}
