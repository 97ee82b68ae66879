//! What is done with arrays, one function each.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLockWriteGuard};

use jiff::Timestamp;
use rustix::fs::{Mode as FileMode, OFlags, fstat, openat, stat, syncfs};
use serde_json::Value;
use watchbell_api::Uid;
use watchbell_api::array::{
    ARRAY_COMMIT_FAILED, ARRAY_CONFLICT, ArrayRefusal, ArrayRetention, ArrayRun, DataArraySpec,
    HeadSignature, PublishedArray, RolledBack,
};
use watchbell_api::node::Report;
use watchbell_array::{
    Array, Attempt, Committed, Completeness, Disk, Error, IndexCommit, Kind, Part, Publication, Refused,
    Retention, Run, finish_publications, publish_together,
};
use watchbell_core::arrays::SECRET_UPPER;
use watchbell_zarr::{Judge, Mode, ReadScope, Use};

use super::held::{self, Held, Slot, lease_name, passing};
use super::queue::Tools;
use super::{News, Prepared, PreparedArray, Taken, Trouble, Upper, View, Wanted, Work};
use crate::place::volumes_dir;

/// Whether a work is done.
pub(super) enum Done {
    Yes,
    /// It is to be tried again later.
    NotYet(Work),
    /// The same, as soon as who has this array of it locked is done.
    Busy(Work, Arc<str>),
}

/// `is_first`: nothing was told of it before.
pub(super) fn carry_out(tools: &Tools, work: Work, is_first: bool) -> Done {
    match work {
        Work::Prepare(id, wanted) => {
            let prepared = match prepare(tools, &wanted) {
                Err(Trouble::Busy { array, .. }) => return Done::Busy(Work::Prepare(id, wanted), array),
                prepared => prepared.map(Arc::new),
            };
            (tools.hear)(News::Prepared(id, prepared));
        }
        Work::Commit(upper) => {
            let committed = match commit(tools, &upper) {
                // The spawner holds what was written until the next server has taken it.
                Err(_) if tools.is_ending() => return Done::Yes,
                Err(Trouble::Busy { array, .. }) => return Done::Busy(Work::Commit(upper), array),
                Err(Trouble::Passing(why) | Trouble::Lasting(why)) => Err(why),
                Ok(taken) => Ok(taken),
            };
            (tools.hear)(News::Committed(upper.pod, committed));
        }
        Work::Publish { namespace, run, uses } => {
            let result = match publish(tools, &namespace, &run, &uses) {
                // It is asked again by the next server.
                Err(_) if tools.is_ending() => return Done::Yes,
                Err(Unpublished::Passing(message)) => {
                    tracing::warn!(%namespace, job = %run.job_name, "a run is not published yet: {message}");
                    if is_first {
                        (tools.report)(Report::ArraysDelayed { job: run.job, message: message.into() });
                    }
                    return Done::NotYet(Work::Publish { namespace, run, uses });
                }
                Err(Unpublished::Busy(array)) => {
                    return Done::Busy(Work::Publish { namespace, run, uses }, array);
                }
                Err(Unpublished::Lasting(refusal)) => Err(refusal),
                Ok(published) => Ok(published),
            };
            (tools.report)(Report::ArraysPublished { job: run.job, result });
        }
        Work::Abandon { namespace, run } => abandon(tools, &namespace, run),
        Work::Keep { namespace, name, spec, make, .. } => {
            tools.stores.take_up(&(namespace.clone(), name.clone()));
            let error = match keep(tools, &namespace, &name, &spec, make) {
                // Told as a store that is not there.
                Ok(()) | Err(Error::NoArray(_)) => None,
                Err(error) => Some(error.to_string()),
            };
            tools.teller.tell(&namespace, &name, error);
        }
        Work::Remove { namespace, name, runs } => {
            let removed = remove(tools, &namespace, &name, &runs);
            let error = match removed {
                Ok(()) | Err(Error::NoArray(_)) => None,
                Err(error) => Some(error.to_string()),
            };
            tools.teller.tell(&namespace, &name, error);
        }
        Work::RollBack { namespace, name, to, user, unsigned_ok } => {
            let result = match roll_back(tools, &namespace, &name, &to, &user, unsigned_ok) {
                Err(Trouble::Busy { array, .. }) => {
                    return Done::Busy(Work::RollBack { namespace, name, to, user, unsigned_ok }, array);
                }
                Err(Trouble::Passing(why) | Trouble::Lasting(why)) => Err(why),
                Ok(rolled) => Ok(rolled),
            };
            (tools.report)(Report::ArrayRolledBack { namespace, name, to, result });
        }
        Work::Rest { namespace, run } => tools.drafts.rest(&namespace, run),
    }
    Done::Yes
}

// --- before the first start -----------------------------------------------------------------------------------------

fn prepare(tools: &Tools, wanted: &Wanted) -> Result<Prepared, Trouble> {
    let one = |(position, of): (usize, &Use)| {
        let named = |trouble| named(of, trouble);
        let array = open(tools, &wanted.namespace, of).map_err(passing).map_err(named)?;
        if array.is_encrypted() {
            check_secret(&array, of).map_err(named)?;
        }
        match of.mode {
            Mode::Write => prepare_writing(tools, wanted, &array, of),
            Mode::Read => prepare_reading(tools, wanted, &array, of, position),
        }
        .map_err(named)
    };
    let arrays = wanted.uses.iter().enumerate().map(one).collect::<Result<_, _>>()?;
    Ok(Prepared { arrays })
}

fn named(of: &Use, trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Passing(why) => Trouble::Passing(of_array(of, &why)),
        Trouble::Lasting(why) => Trouble::Lasting(of_array(of, &why)),
        Trouble::Busy { array, why } => Trouble::Busy { array, why: of_array(of, &why) },
    }
}

/// An array of a run. Whoever has it locked may take long, and is not waited for here: other arrays need the thread.
fn open(tools: &Tools, namespace: &str, of: &Use) -> Result<Array, Error> {
    Ok(tools.open(namespace, &of.name)?.without_waiting())
}

/// Whether pods can have what is encrypted.
fn check_secret(array: &Array, of: &Use) -> Result<(), Trouble> {
    if !array.is_unlocked() {
        let why = "it is encrypted, and its DataArray does not say under which key: set spec.encryption.key to one that the \
                   server has";
        return Err(Trouble::Lasting(why.to_owned()));
    }
    if of.mode == Mode::Write && of.upper == watchbell_zarr::Upper::Disk {
        return Err(Trouble::Lasting(SECRET_UPPER.to_owned()));
    }
    Ok(())
}

fn prepare_writing(
    tools: &Tools,
    wanted: &Wanted,
    array: &Array,
    of: &Use,
) -> Result<PreparedArray, Trouble> {
    let run = &wanted.run;
    let slot = slot_of(tools, array, &wanted.namespace, run, of)?;
    let mut slot = slot.write().unwrap_or_else(PoisonError::into_inner);
    if slot.is_none() {
        *slot = Some(held::begin(array, &wanted.namespace, run, &wanted.image, of)?);
    }
    let Some(held) = &*slot else { return Err(Trouble::Passing("it is not held".to_owned())) };
    // A view stays as long as its snapshot is leased.
    array.lease(&lease_name(run.run), held.draft.base()).map_err(passing)?;
    let owns = |index| move |key: &str| held.plan.owner(key) == watchbell_zarr::Owner::Index(index);
    let view = match (of.read_scope, wanted.own, array.is_encrypted()) {
        (ReadScope::Own, Some((_, index)), true) => {
            tools.room.view(&wanted.namespace, &held.draft.decrypted(owns(index), &BTreeSet::new()))?
        }
        (_, _, true) => {
            tools.room.view(&wanted.namespace, &held.draft.decrypted(|_| true, &held.parents()))?
        }
        (ReadScope::Own, Some((_, index)), false) => {
            View::Directory(held.draft.view_of(index, owns(index)).map_err(passing)?)
        }
        (_, _, false) => View::Directory(held.view().map_err(passing)?),
    };
    let snapshot = held.draft.base().to_string().into();
    Ok(PreparedArray { snapshot, view, plan: Some(held.plan.clone()) })
}

fn prepare_reading(
    tools: &Tools,
    wanted: &Wanted,
    array: &Array,
    of: &Use,
    position: usize,
) -> Result<PreparedArray, Trouble> {
    let run = &wanted.run;
    if let Some(writer) = run.draft_of {
        if array.drafts().map_err(passing)?.contains(&writer.to_string()) {
            return prepare_preview(tools, wanted, array, of, writer);
        }
        // An array that the run does not write has no draft. Without any, what the gate would see is not what is judged.
        if !has_draft(tools, &wanted.namespace, writer).map_err(passing)? {
            let why = format!(
                "the run {writer} whose draft it looks at has none any more: it was published or given up"
            );
            return Err(Trouble::Lasting(why));
        }
    }
    let lease = lease_name(run.run);
    // All pods of a run read the same, whatever is published meanwhile.
    let snapshot = match array.leased(&lease).map_err(passing)? {
        Some(leased) => leased,
        None => {
            let head = array.head().map_err(passing)?.ok_or(Error::NoSnapshot).map_err(passing)?;
            array.lease(&lease, head).map_err(passing)?;
            head
        }
    };
    let plan = match &of.split {
        None => None,
        Some(_) => {
            let hierarchy = held::read(&held::documents(array, snapshot)?)?;
            Some(Arc::new(held::plan_of(&hierarchy, of, None, run)?))
        }
    };
    let manifest = array.snapshot(snapshot).map_err(passing)?.manifest;
    let entries = array.manifest(manifest).map_err(passing)?;
    let own = match (of.read_scope, wanted.own, &plan) {
        (ReadScope::Own, Some(own), Some(plan)) => Some((own, plan)),
        _ => None,
    };
    let view = match own {
        _ if array.is_encrypted() => {
            let sees = |key: &str| match own {
                None => true,
                Some(((_, index), plan)) => plan.owner(key) == watchbell_zarr::Owner::Index(index),
            };
            tools.room.view(&wanted.namespace, &array.decrypted(&entries, sees))?
        }
        Some(((pod, index), plan)) => {
            let path = volumes_dir(&tools.data_dir, pod).join(format!(".view-{position}"));
            if !path.exists() {
                let parent = volumes_dir(&tools.data_dir, pod);
                let made = DirBuilder::new().recursive(true).mode(0o700).create(&parent);
                made.map_err(|e| Trouble::Passing(format!("cannot make {}: {e}", parent.display())))?;
                let owns = |key: &str| plan.owner(key) == watchbell_zarr::Owner::Index(index);
                array.view_at(&entries, owns, &path).map_err(passing)?;
            }
            View::Directory(path)
        }
        None => View::Directory(array.view(manifest, &entries).map_err(passing)?),
    };
    Ok(PreparedArray { snapshot: snapshot.to_string().into(), view, plan })
}

/// Whether a run has a draft in any array of its namespace.
fn has_draft(tools: &Tools, namespace: &str, run: Uid) -> Result<bool, Error> {
    let run = run.to_string();
    for name in names(tools, namespace)? {
        let Ok(array) = tools.stores.locked(namespace, &name) else { continue };
        if array.drafts()?.contains(&run) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The arrays of a namespace.
fn names(tools: &Tools, namespace: &str) -> Result<Vec<String>, Error> {
    let path = tools.stores.root.join(namespace);
    match std::fs::read_dir(&path) {
        Ok(entries) => {
            Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::Io { step: "list", path, source }),
    }
}

/// Who looks at a run before it is published sees what would be.
fn prepare_preview(
    tools: &Tools,
    wanted: &Wanted,
    array: &Array,
    of: &Use,
    writer: Uid,
) -> Result<PreparedArray, Trouble> {
    let slot = tools.drafts.slot(&wanted.namespace, writer, &of.name);
    let held = slot.read().unwrap_or_else(PoisonError::into_inner);
    // Its own pods are over: nobody may hold it any more.
    let opened;
    let draft = match &*held {
        Some(held) => &held.draft,
        None => {
            opened = array.draft(&writer.to_string()).map_err(passing)?;
            &opened
        }
    };
    let committed = draft.progress().map_err(passing)?.committed;
    let view = match array.is_encrypted() {
        true => {
            let preview = draft.preview_manifest(&committed).map_err(passing)?;
            tools.room.view(&wanted.namespace, &draft.decrypted_preview(&preview))?
        }
        false => View::Directory(draft.preview(&committed).map_err(passing)?),
    };
    Ok(PreparedArray { snapshot: draft.base().to_string().into(), view, plan: None })
}

// --- after the last end ---------------------------------------------------------------------------------------------

/// What an index wrote to one array.
struct Due<'a> {
    of: &'a Use,
    slot: Slot,
    /// `None`: the index is in the draft already. The first success is the one, and what it wrote may be gone by now.
    dir: Option<Result<OwnedFd, String>>,
    bound: u64,
}

/// An index is in the drafts of all its arrays, or what it wrote to none of them counts.
fn commit(tools: &Tools, upper: &Upper) -> Result<Vec<Taken>, Trouble> {
    let writes = upper.uses.iter().enumerate().filter(|(_, of)| of.mode == Mode::Write);
    let mut due =
        writes.map(|(position, of)| due(tools, upper, position, of)).collect::<Result<Vec<_>, _>>()?;
    // In the order of who publishes them: else each could wait for a draft that the other holds.
    due.sort_by(|a, b| a.of.name.cmp(&b.of.name));
    let slots: Vec<_> =
        due.iter().map(|one| one.slot.read().unwrap_or_else(PoisonError::into_inner)).collect();
    let mut held = Vec::with_capacity(due.len());
    for (one, slot) in due.iter().zip(&slots) {
        held.push(slot.as_ref().ok_or_else(|| no_draft(one.of))?);
    }
    let drafts: Vec<_> = held.iter().map(|held| &held.draft).collect();
    let failed = |at: usize, error: Error| named(due[at].of, passing(error));
    let refused = |Refused { at, error }: Refused| failed(at, error);
    let mut begun = IndexCommit::begin(&drafts, upper.index).map_err(refused)?;
    let mut dirs = Vec::with_capacity(due.len());
    for (at, one) in due.iter().enumerate() {
        dirs.push(match &one.dir {
            Some(dir) if !begun.is_committed(at) => {
                Some(dir.as_ref().map_err(|why| Trouble::Passing(why.clone()))?)
            }
            _ => None,
        });
    }
    // All are judged before anything is copied, which one by itself is when it is staged.
    for (at, ((one, held), dir)) in due.iter().zip(&held).zip(&dirs).enumerate().filter(|_| due.len() > 1) {
        let Some(dir) = dir else { continue };
        let checked =
            held.draft.check_from(&one.judge(held, upper), dir.as_fd(), one.completeness(), one.bound);
        checked.map_err(|error| failed(at, error))?;
    }
    for (at, ((one, held), dir)) in due.iter().zip(&held).zip(&dirs).enumerate() {
        let Some(dir) = dir else { continue };
        let attempt = Attempt {
            number: upper.attempt,
            image: upper.image.to_string(),
            user: upper.run.user.to_string(),
        };
        let judge = one.judge(held, upper);
        let staged = begun.stage(at, &judge, &attempt, dir.as_fd(), one.completeness(), one.bound);
        staged.map_err(|error| failed(at, error))?;
    }
    let committed = begun.commit().map_err(refused)?;
    Ok(due.iter().zip(&committed).map(|(one, committed)| taken(one.of, committed)).collect())
}

fn taken(of: &Use, committed: &Committed) -> Taken {
    Taken {
        array: of.name.as_str().into(),
        attempt: committed.attempt.number,
        keys: (committed.written.len() + committed.removed.len()) as u64,
        bytes: committed.written.iter().map(|(_, _, size)| size).sum(),
    }
}

fn no_draft(of: &Use) -> Trouble {
    Trouble::Passing(of_array(of, &"its run has no draft: it was published or given up meanwhile"))
}

fn due<'a>(tools: &Tools, upper: &Upper, position: usize, of: &'a Use) -> Result<Due<'a>, Trouble> {
    let failed = |error: Error| named(of, passing(error));
    let slot = tools.drafts.slot(&upper.namespace, upper.run.run, &of.name);
    // The draft has its array open.
    let is_empty = slot.read().unwrap_or_else(PoisonError::into_inner).is_none();
    if is_empty {
        let array = open(tools, &upper.namespace, of).map_err(failed)?;
        fill(&slot, &array, &upper.run, of).map_err(|trouble| named(of, trouble))?;
    }
    let is_committed = {
        let held = slot.read().unwrap_or_else(PoisonError::into_inner);
        let held = held.as_ref().ok_or_else(|| no_draft(of))?;
        held.draft.committed(upper.index).map_err(failed)?.is_some()
    };
    let bound = upper.bounds.get(position).copied().unwrap_or(0);
    // Whoever has the draft need not wait for the spawner.
    let dir = (!is_committed).then(|| written(tools, upper, position, of));
    Ok(Due { of, slot, dir, bound })
}

/// The directory that the index wrote to.
fn written(tools: &Tools, upper: &Upper, position: usize, of: &Use) -> Result<OwnedFd, String> {
    let volume = upper.first_volume + position as u16;
    let dir = (tools.uppers)(upper.pod, volume).map_err(|why| of_array(of, &why))?;
    is_all_there(&dir, &tools.data_dir).map_err(|error| {
        let why = format!("what the index wrote did not get to the disk, which may be full: {error}");
        of_array(of, &why)
    })?;
    Ok(dir)
}

/// What has a file system of its own in a file may have been promised room that the disk around the file does not have. It is
/// written back before a byte of it is read.
fn is_all_there(upper: &OwnedFd, data_dir: &Path) -> io::Result<()> {
    if fstat(upper)?.st_dev == stat(data_dir)?.st_dev {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(syncfs(openat(upper, ".", flags, FileMode::empty())?)?)
}

impl Due<'_> {
    fn completeness(&self) -> Completeness {
        if self.of.require_complete { Completeness::Required } else { Completeness::Optional }
    }

    fn judge<'a>(&self, held: &'a Held, upper: &Upper) -> Judge<'a> {
        Judge { plan: &held.plan, index: upper.index, max_chunk_bytes: self.bound }
    }
}

fn of_array(of: &Use, why: &dyn std::fmt::Display) -> String {
    format!("array {:?}: {why}", of.name)
}

/// The place of a run's draft, with the draft in it if there is one: also for a server that comes after the one that began it.
fn slot_of(
    tools: &Tools,
    array: &Array,
    namespace: &Arc<str>,
    run: &ArrayRun,
    of: &Use,
) -> Result<Slot, Trouble> {
    let slot = tools.drafts.slot(namespace, run.run, &of.name);
    fill(&slot, array, run, of)?;
    Ok(slot)
}

fn fill(slot: &Slot, array: &Array, run: &ArrayRun, of: &Use) -> Result<(), Trouble> {
    let mut held = slot.write().unwrap_or_else(PoisonError::into_inner);
    if held.is_none() {
        *held = held::go_on(array, run, of)?;
    }
    Ok(())
}

// --- publication ----------------------------------------------------------------------------------------------------

/// Why a run is not published.
#[derive(Debug)]
pub(super) enum Unpublished {
    /// It may be later: when there is room, or the disk works again.
    Passing(String),
    Lasting(ArrayRefusal),
    /// Somebody else has this array locked.
    Busy(Arc<str>),
}

impl Unpublished {
    fn of(of: &Use, error: &Error) -> Self {
        let message = of_array(of, error);
        match error {
            Error::Conflict(_) => Self::lasting(ARRAY_CONFLICT, message),
            Error::Busy(_) => Self::Busy(of.name.as_str().into()),
            error if error.is_passing() => Self::Passing(message),
            _ => Self::lasting(ARRAY_COMMIT_FAILED, message),
        }
    }

    pub(super) fn lasting(reason: &'static str, message: String) -> Self {
        Self::Lasting(ArrayRefusal { reason, message: message.into(), published: Vec::new() })
    }

    /// The arrays before it have new heads: that is told with it.
    pub(super) fn after(self, published: &[PublishedArray]) -> Self {
        match self {
            Self::Lasting(mut refusal) if !published.is_empty() => {
                let names: Vec<&str> = published.iter().map(|one| &*one.name).collect();
                refusal.message =
                    format!("{} (published before: {})", refusal.message, names.join(", ")).into();
                refusal.published = published.to_vec();
                Self::Lasting(refusal)
            }
            other => other,
        }
    }
}

fn publish(
    tools: &Tools,
    namespace: &Arc<str>,
    run: &ArrayRun,
    uses: &Value,
) -> Result<Vec<PublishedArray>, Unpublished> {
    let wrong = |message: String| Unpublished::lasting(ARRAY_COMMIT_FAILED, message);
    let uses = watchbell_zarr::uses(uses).map_err(|error| wrong(format!("annotation: {error}")))?;
    let mut opened = Vec::new();
    for of in uses.iter().filter(|of| of.mode == Mode::Write) {
        let failed = |error: Error| Unpublished::of(of, &error);
        let array = open(tools, namespace, of).map_err(failed)?;
        let slot = slot_of(tools, &array, namespace, run, of).map_err(|trouble| match trouble {
            Trouble::Busy { array, .. } => Unpublished::Busy(array),
            Trouble::Passing(why) => Unpublished::Passing(of_array(of, &why)),
            Trouble::Lasting(why) => wrong(of_array(of, &why)),
        })?;
        opened.push((of, array, slot));
    }
    // In the order of who commits to them.
    opened.sort_by(|(a, ..), (b, ..)| a.name.cmp(&b.name));
    let mut held: Vec<_> =
        opened.iter().map(|(_, _, slot)| slot.write().unwrap_or_else(PoisonError::into_inner)).collect();
    let made = publish_all(namespace, run, &opened, &held).map_err(|why| {
        // By a server from before, which published one after another.
        let before = |(of, array, _): &(&Use, Array, Slot)| {
            let made = array.published_by(&run.run.to_string()).ok().flatten()?;
            Some(told(of, &made))
        };
        why.after(&opened.iter().filter_map(before).collect::<Vec<_>>())
    })?;
    for ((of, array, _), held) in opened.iter().zip(&mut held) {
        let ended = held.take().map_or(Ok(()), |held| held.draft.remove());
        // A sweep removes what is left.
        if let Err(error) = ended.and_then(|()| array.give_back(&lease_name(run.run))) {
            tracing::warn!(array = of.name, "cannot end the draft of a run that is published: {error}");
        }
        tools.sweep_later(namespace, &of.name.as_str().into());
    }
    Ok(opened.iter().zip(&made).map(|((of, ..), made)| told(of, made)).collect())
}

/// All arrays have a new head, or none has.
fn publish_all(
    namespace: &str,
    run: &ArrayRun,
    opened: &[(&Use, Array, Slot)],
    held: &[RwLockWriteGuard<'_, Option<Held>>],
) -> Result<Vec<Publication>, Unpublished> {
    let indices: BTreeSet<u32> = (0..run.completions).collect();
    let (mut parts, mut places, mut made) = (Vec::new(), Vec::new(), Vec::new());
    for (at, ((of, array, _), held)) in opened.iter().zip(held).enumerate() {
        let failed = |error: Error| Unpublished::of(of, &error);
        made.push(match &**held {
            Some(held) => {
                let quota_bytes = array.quota_bytes().map_err(failed)?;
                parts.push(Part { draft: &held.draft, on_conflict: of.on_conflict, quota_bytes });
                places.push(at);
                None
            }
            // It was, and its answer did not arrive.
            None => Some(array.published_by(&run.run.to_string()).map_err(failed)?.ok_or_else(|| {
                let message = of_array(of, &"the run has no draft, and published none");
                Unpublished::lasting(ARRAY_COMMIT_FAILED, message)
            })?),
        });
    }
    let message = format!("job {namespace}/{}", run.job_name);
    let published = publish_together(&parts, &indices, &message, Timestamp::now())
        .map_err(|Refused { at, error }| Unpublished::of(opened[places[at]].0, &error))?;
    for (at, published) in places.into_iter().zip(published) {
        made[at] = Some(published);
    }
    Ok(made.into_iter().flatten().collect())
}

/// What a server that was stopped had begun to publish is carried out, before anything else is.
pub(super) fn finish(tools: &Tools) {
    let namespaces = match std::fs::read_dir(&tools.stores.root) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::warn!("cannot look for publications that were begun: {error}");
            return;
        }
    };
    for namespace in namespaces.filter(|path| path.is_dir()) {
        // The heads are the new ones already: this only tidies up, and the next start tries it again.
        if let Err(error) = finish_publications(&namespace, &Disk::default()) {
            tracing::warn!("cannot end a publication that was begun: {error}");
        }
    }
}

fn told(of: &Use, made: &Publication) -> PublishedArray {
    let base = made.snapshot.parent.map(|parent| parent.to_string()).unwrap_or_default();
    PublishedArray {
        name: of.name.as_str().into(),
        snapshot: made.digest.to_string().into(),
        base: base.into(),
        added: made.snapshot.change.added,
        changed: made.snapshot.change.changed,
        removed: made.snapshot.change.removed,
    }
}

fn abandon(tools: &Tools, namespace: &Arc<str>, run: Uid) {
    let names = match names(tools, namespace) {
        Ok(names) => names,
        Err(error) => {
            tracing::warn!("cannot look for the drafts of a run: {error}");
            return;
        }
    };
    for name in names {
        // Nothing of it is read.
        let Ok(array) = tools.stores.locked(namespace, &name) else { continue };
        if let Err(error) = give_up(tools, &array, namespace, &name, run) {
            tracing::warn!(array = name, "cannot give up the draft of a run: {error}");
        }
    }
    tools.drafts.rest(namespace, run);
}

fn give_up(tools: &Tools, array: &Array, namespace: &Arc<str>, name: &str, run: Uid) -> Result<(), Error> {
    let slot = tools.drafts.slot(namespace, run, name);
    let mut slot = slot.write().unwrap_or_else(PoisonError::into_inner);
    *slot = None;
    array.abandon(&run.to_string())?;
    array.give_back(&lease_name(run))
}

// --- stores ---------------------------------------------------------------------------------------------------------

fn keep(
    tools: &Tools,
    namespace: &Arc<str>,
    name: &Arc<str>,
    spec: &DataArraySpec,
    make: bool,
) -> Result<(), Error> {
    let array =
        match tools.stores.open(namespace, name) {
            Err(Error::NoArray(_)) if make => {
                let parent = tools.stores.root.join(&**namespace);
                DirBuilder::new().recursive(true).mode(0o700).create(&parent).map_err(|source| {
                    Error::Io { step: "make the directory", path: parent.clone(), source }
                })?;
                tools.stores.create(namespace, name, spec)?
            }
            opened => opened?,
        };
    // What is expected by now may be what a later word asks for.
    if spec.key.is_some() && !array.is_encrypted() {
        return Err(Error::InTheClear(spec.key.as_deref().map(str::to_owned)));
    }
    let is_artifacts = array.kind() == Kind::Artifacts;
    if spec.is_artifacts.is_some_and(|asked| asked != is_artifacts) {
        let (holds, asked) = if is_artifacts { ("artifacts", "zarr") } else { ("zarr", "artifacts") };
        let problem = format!("it holds {holds}, and spec.format says {asked}");
        return Err(Error::Foreign { what: "the store".to_owned(), problem });
    }
    array.note_object()?;
    if array.quota_bytes()? != spec.quota_bytes {
        array.set_quota(spec.quota_bytes)?;
    }
    let mut retention = tools.retention.lock().unwrap_or_else(PoisonError::into_inner);
    let before = retention.insert((namespace.clone(), name.clone()), spec.retention);
    if before.is_some_and(|before| before != spec.retention) {
        tools.sweep_later(namespace, name);
    }
    Ok(())
}

fn remove(tools: &Tools, namespace: &Arc<str>, name: &Arc<str>, runs: &[Uid]) -> Result<(), Error> {
    let array = tools.stores.locked(namespace, name)?;
    for run in runs {
        give_up(tools, &array, namespace, name, *run)?;
        tools.drafts.rest(namespace, *run);
    }
    array.delete()?;
    tools.stores.forget(&(namespace.clone(), name.clone()));
    Ok(())
}

fn roll_back(
    tools: &Tools,
    namespace: &str,
    name: &str,
    to: &str,
    user: &str,
    unsigned_ok: bool,
) -> Result<RolledBack, Trouble> {
    let array = tools.open(namespace, name).map_err(passing)?.without_waiting();
    let target = array.resolve(to).map_err(passing)?;
    let before = array.head().and_then(|head| head.ok_or(Error::NoSnapshot)).map_err(passing)?;
    // The signature would say that this server stands for a content that it never saw.
    if let Some(key) = &tools.head_key
        && !(unsigned_ok && to.parse() == Ok(target))
    {
        let problem = match (key.check)(&array, target) {
            HeadSignature::Server => None,
            HeadSignature::Unsigned => Some("it is not signed".into()),
            HeadSignature::Other(problem) => Some(problem),
        };
        if let Some(problem) = problem {
            return Err(Trouble::Lasting(format!(
                "snapshot {target} was not signed by this server: {problem}; when it is what you mean, name its whole digest \
                 and say unsignedOk: true"
            )));
        }
    }
    let now = Timestamp::now();
    let by = Run {
        name: "rollback".to_owned(),
        user: user.to_owned(),
        started_at: now.as_second(),
        ..Run::default()
    };
    let made =
        array.rollback(target, &by, &format!("rolled back to {}", target.short()), now).map_err(passing)?;
    let (before, after) = match made {
        Some(made) => (made.snapshot.parent.unwrap_or(before), made.digest),
        None => (before, before),
    };
    Ok(RolledBack { before: before.to_string().into(), after: after.to_string().into() })
}

/// Whether an array was swept, or it was tried in vain.
pub(super) enum Swept {
    Yes,
    /// Somebody else has it locked: it is to be tried again.
    Busy,
}

/// Removes what no snapshot that is kept needs.
pub(super) fn sweep(tools: &Tools, namespace: &Arc<str>, name: &Arc<str>) -> Swept {
    let retention = {
        let all = tools.retention.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&(namespace.clone(), name.clone())).copied().flatten()
    };
    let retention = retention.map(|ArrayRetention { keep_last, keep_daily, keep_weekly }| Retention {
        last: keep_last,
        daily: keep_daily,
        weekly: keep_weekly,
    });
    // Other arrays are swept while somebody has this one locked.
    let opened = tools.open(namespace, name).map(Array::without_waiting);
    let swept = opened.and_then(|array| watchbell_array::sweep(&array, retention.as_ref()));
    if let Err(Error::Busy(_)) = swept {
        return Swept::Busy;
    }
    // What cannot be read stops every sweep: nothing is freed until somebody looks.
    let problem = swept.as_ref().err().filter(|error| !matches!(error, Error::NoArray(_)));
    tools.teller.swept(namespace, name, problem.map(|error| format!("it is not swept: {error}")));
    match swept {
        Ok(swept) => tracing::debug!(%namespace, %name, ?swept, "an array was swept"),
        Err(Error::NoArray(_)) => {}
        Err(error) => tracing::warn!(%namespace, %name, "cannot sweep an array: {error}"),
    }
    Swept::Yes
}
