//! The threads that work on arrays.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use watchbell_api::array::ArrayRetention;
use watchbell_array::{Array, Limits};
use watchbell_zarr::Use;

use super::facts::Teller;
use super::held::Drafts;
use super::{News, Reports, Room, Stores, Upper, Uppers, Wanted, Work, work};
use crate::{Error, HeadKey, spawn};

/// Commits of large indices take long, and use several processors each by themselves.
pub(super) const THREADS: usize = 4;
/// Of one namespace: the others are for others.
const THREADS_OF_ONE: usize = THREADS / 2;
/// Far behind everything that somebody waits for.
const SWEEP_NICE: i32 = 19;

/// What failed and may go well later is tried again after this; each time after twice as long, up to the second.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_LAST: Duration = Duration::from_secs(60);
/// Of what is locked by another program, whose end nobody tells.
const AGAIN_BUSY_LAST: Duration = Duration::from_secs(8);

/// Work that waits, and who does it.
pub(crate) struct Arrays {
    limits: Limits,
    shared: Arc<Shared>,
    stores: Arc<Stores>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    works: VecDeque<Work>,
    /// Arrays whose store is being made, changed or removed: one thing after another, in the order of the words.
    busy: HashSet<Place>,
    /// Works under way, by namespace.
    at_work: HashMap<Arc<str>, usize>,
    later: Vec<Later>,
    /// What works have found locked that are not done yet: what would lock it anew comes after them.
    awaited: HashMap<Place, usize>,
    sweeps: VecDeque<Sweep>,
    is_closed: bool,
}

/// Namespace and name of an array.
type Place = (Arc<str>, Arc<str>);

/// What is to be tried again.
struct Later {
    at: Instant,
    turn: Turn,
}

/// An array that is to be swept.
struct Sweep {
    place: Place,
    /// When it is tried again, and how long it was put off, where somebody else had it locked.
    again: Option<(Instant, Duration)>,
}

/// What a thread does next.
struct Turn {
    work: Work,
    /// Nothing was told of it before.
    is_first: bool,
    /// How long it was put off when it was tried before.
    waited: Option<Duration>,
    /// The arrays that were locked then, or in the turns before where it needs all of them at once.
    awaits: Vec<Place>,
}

/// What the threads work with.
pub(super) struct Tools {
    shared: Arc<Shared>,
    pub(super) limits: Limits,
    pub(super) head_key: Option<HeadKey>,
    pub(super) stores: Arc<Stores>,
    pub(super) room: Room,
    pub(super) data_dir: PathBuf,
    pub(super) drafts: Drafts,
    pub(super) uppers: Uppers,
    pub(super) hear: Box<dyn Fn(News) + Send + Sync>,
    pub(super) report: Reports,
    pub(super) teller: Arc<Teller>,
    /// What objects ask of their stores, by namespace and name.
    pub(super) retention: Mutex<HashMap<Place, Option<ArrayRetention>>>,
}

impl Arrays {
    /// Until [`Arrays::end`].
    #[expect(clippy::too_many_arguments, reason = "what the threads work with, each of another kind")]
    pub(crate) fn start(
        data_dir: PathBuf,
        teller: Arc<Teller>,
        uppers: Uppers,
        room: Room,
        hear: impl Fn(News) + Send + Sync + 'static,
        report: Reports,
        limits: Limits,
        head_key: Option<HeadKey>,
    ) -> Result<Arrays, Error> {
        let (shared, stores) = (Arc::new(Shared::default()), teller.stores.clone());
        let tools = Arc::new(Tools {
            shared: shared.clone(),
            limits: limits.clone(),
            head_key,
            stores: teller.stores.clone(),
            room,
            data_dir,
            drafts: Drafts::default(),
            uppers,
            hear: Box::new(hear),
            report,
            teller,
            retention: Mutex::default(),
        });
        work::finish(&tools);
        let mut threads = Vec::with_capacity(THREADS + 1);
        for n in 0..THREADS {
            let (shared, tools) = (shared.clone(), tools.clone());
            threads.push(spawn(&format!("node-arrays-{n}"), move || {
                while let Some(Turn { work, is_first, waited, awaits }) = shared.next() {
                    let ending = Ending::of(&work, is_first, waited, awaits);
                    let done = work::carry_out(&tools, work, is_first);
                    tools.drafts.tidy();
                    shared.is_over(ending, done);
                }
            })?);
        }
        let sweeping = shared.clone();
        threads.push(spawn("node-array-sweep", move || {
            // Of this thread alone; without it a sweep is a little in the way.
            if let Err(error) = rustix::process::setpriority_process(None, SWEEP_NICE) {
                tracing::debug!("sweeps are as urgent as all else: {error}");
            }
            while let Some(sweep) = sweeping.next_sweep() {
                let (namespace, name) = &sweep.place;
                let done = work::sweep(&tools, namespace, name);
                sweeping.is_swept(sweep, done);
            }
        })?);
        Ok(Arrays { limits, shared, stores, threads: Mutex::new(threads) })
    }

    pub(crate) fn ask(&self, work: Work) {
        // Before anything that is asked later.
        if let Work::Keep { namespace, name, spec, head_number, .. } = &work {
            self.stores.expect((namespace.clone(), name.clone()), spec, *head_number);
        }
        self.shared.queue().works.push_back(work);
        self.shared.more.notify_all();
    }

    #[cfg(test)]
    pub(super) fn awaited(&self) -> usize {
        self.shared.queue().awaited.len()
    }

    /// Lets go of everything once what is being done is done, or given up where that would take long: whoever comes next may
    /// hold the drafts.
    pub(crate) fn end(&self) {
        self.limits.is_stopped.store(true, Ordering::Relaxed);
        self.shared.queue().is_closed = true;
        self.shared.more.notify_all();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A panic was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Turn> {
        self.wait(|queue, now| {
            let has_room = |work: &Work| {
                queue.at_work.get(namespace_of(work)).is_none_or(|threads| *threads < THREADS_OF_ONE)
            };
            let is_due = |later: &Later| later.at <= now && has_room(&later.turn.work);
            if let Some(due) = queue.later.iter().position(is_due) {
                let Later { turn, .. } = queue.later.swap_remove(due);
                queue.begin(&turn.work);
                return Some(turn);
            }
            let is_free = |work: &Work| place_of(work).is_none_or(|place| !queue.busy.contains(&place));
            // Commits take long, and lock an array together: one after the other would keep all else from it for ever.
            let is_awaited = |work: &Work| match work {
                Work::Commit(_) if !queue.awaited.is_empty() => {
                    arrays_of(work).iter().any(|place| queue.awaited.contains_key(place))
                }
                _ => false,
            };
            let first =
                queue.works.iter().position(|work| has_room(work) && is_free(work) && !is_awaited(work))?;
            let work = queue.works.remove(first)?;
            queue.begin(&work);
            queue.busy.extend(place_of(&work));
            Some(Turn { work, is_first: true, waited: None, awaits: Vec::new() })
        })
    }

    /// After a work, which may be put off.
    fn is_over(&self, ending: Ending, done: work::Done) {
        let Ending { namespace, place, arrays, is_commit, is_first, waited, awaits } = ending;
        let mut queue = self.queue();
        if let Some(threads) = queue.at_work.get_mut(&namespace) {
            *threads -= 1;
            if *threads == 0 {
                queue.at_work.remove(&namespace);
            }
        }
        // What comes later about the same store comes after it, also where it is put off.
        if let Some(place) = place
            && !matches!(done, work::Done::Busy(..))
        {
            queue.busy.remove(&place);
        }
        if !is_commit {
            awaits.iter().for_each(|place| queue.await_no_more(place));
        }
        let again = |last| waited.map_or(AGAIN_FIRST, |waited: Duration| (waited * 2).min(last));
        match done {
            work::Done::Yes => queue.is_unlocked(&arrays),
            work::Done::NotYet(work) => {
                queue.is_unlocked(&arrays);
                queue.put_off(again(AGAIN_LAST), work, false, Vec::new());
            }
            work::Done::Busy(work, name) => {
                let place = (namespace, name);
                // Else two arrays of a publication could be locked in turns.
                let mut awaits = if matches!(work, Work::Publish { .. }) { awaits } else { Vec::new() };
                if !awaits.contains(&place) {
                    awaits.push(place);
                }
                // Commits have nothing to wait for in each other.
                if !is_commit {
                    awaits.iter().for_each(|place| queue.await_more(place));
                }
                queue.put_off(again(AGAIN_BUSY_LAST), work, is_first, awaits);
            }
        }
        drop(queue);
        self.more.notify_all();
    }

    fn next_sweep(&self) -> Option<Sweep> {
        self.wait(|queue, now| {
            let is_due = |sweep: &Sweep| sweep.again.is_none_or(|(at, _)| at <= now);
            let due = queue.sweeps.iter().position(is_due)?;
            queue.sweeps.remove(due)
        })
    }

    /// After a sweep, which comes after those of other arrays when somebody else has this one locked.
    fn is_swept(&self, sweep: Sweep, swept: work::Swept) {
        let Sweep { place, again } = sweep;
        let mut queue = self.queue();
        if again.is_some() {
            queue.await_no_more(&place);
        }
        match swept {
            work::Swept::Yes => queue.is_unlocked(&[place]),
            work::Swept::Busy => {
                // One that was asked for meanwhile is this one.
                queue.sweeps.retain(|sweep| sweep.place != place);
                queue.await_more(&place);
                let wait = again.map_or(AGAIN_FIRST, |(_, waited)| (waited * 2).min(AGAIN_BUSY_LAST));
                queue.sweeps.push_back(Sweep { place, again: Some((Instant::now() + wait, wait)) });
            }
        }
        drop(queue);
        self.more.notify_all();
    }

    /// `None`: it is over. What waits then is asked for again by the next server.
    fn wait<T>(&self, take: impl Fn(&mut Queue, Instant) -> Option<T>) -> Option<T> {
        let mut queue = self.queue();
        loop {
            if queue.is_closed {
                return None;
            }
            let now = Instant::now();
            if let Some(found) = take(&mut queue, now) {
                return Some(found);
            }
            // What is due already waits for room, of which it is told.
            let later = queue.later.iter().map(|later| later.at);
            let sweeps = queue.sweeps.iter().filter_map(|sweep| sweep.again).map(|(at, _)| at);
            let due = later.chain(sweeps).filter(|at| *at > now).min();
            queue = match due {
                None => self.more.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let patience = at.saturating_duration_since(Instant::now());
                    self.more.wait_timeout(queue, patience).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Queue {
    fn begin(&mut self, work: &Work) {
        *self.at_work.entry(namespace_of(work).clone()).or_default() += 1;
    }

    fn put_off(&mut self, wait: Duration, work: Work, is_first: bool, awaits: Vec<Place>) {
        let turn = Turn { work, is_first, waited: Some(wait), awaits };
        self.later.push(Later { at: Instant::now() + wait, turn });
    }

    fn await_more(&mut self, place: &Place) {
        *self.awaited.entry(place.clone()).or_default() += 1;
    }

    fn await_no_more(&mut self, place: &Place) {
        if let Some(works) = self.awaited.get_mut(place) {
            *works -= 1;
            if *works == 0 {
                self.awaited.remove(place);
            }
        }
    }

    fn is_unlocked(&mut self, arrays: &[Place]) {
        let now = Instant::now();
        for later in &mut self.later {
            if later.turn.awaits.iter().any(|place| arrays.contains(place)) {
                later.at = now;
            }
        }
        for Sweep { place, again } in &mut self.sweeps {
            if let Some((at, _)) = again
                && arrays.contains(place)
            {
                *at = now;
            }
        }
    }
}

/// What is free again when a work is over, and how it was begun.
struct Ending {
    namespace: Arc<str>,
    place: Option<Place>,
    arrays: Vec<Place>,
    is_commit: bool,
    is_first: bool,
    waited: Option<Duration>,
    awaits: Vec<Place>,
}

impl Ending {
    fn of(work: &Work, is_first: bool, waited: Option<Duration>, awaits: Vec<Place>) -> Self {
        Self {
            namespace: namespace_of(work).clone(),
            place: place_of(work),
            arrays: arrays_of(work),
            is_commit: matches!(work, Work::Commit(_)),
            is_first,
            waited,
            awaits,
        }
    }
}

fn namespace_of(work: &Work) -> &Arc<str> {
    match work {
        Work::Prepare(_, Wanted { namespace, .. })
        | Work::Commit(Upper { namespace, .. })
        | Work::Publish { namespace, .. }
        | Work::Abandon { namespace, .. }
        | Work::Keep { namespace, .. }
        | Work::Remove { namespace, .. }
        | Work::RollBack { namespace, .. }
        | Work::Rest { namespace, .. } => namespace,
    }
}

/// The arrays that a work may lock for long, or find locked.
fn arrays_of(work: &Work) -> Vec<Place> {
    let of = |namespace: &Arc<str>, uses: &[Use]| {
        uses.iter().map(|of| (namespace.clone(), of.name.as_str().into())).collect()
    };
    match work {
        Work::Prepare(_, Wanted { namespace, uses, .. }) | Work::Commit(Upper { namespace, uses, .. }) => {
            of(namespace, uses)
        }
        Work::Publish { namespace, uses, .. } => {
            watchbell_zarr::uses(uses).map_or_else(|_| Vec::new(), |uses| of(namespace, &uses))
        }
        Work::Keep { .. } | Work::Remove { .. } | Work::RollBack { .. } => {
            place_of(work).into_iter().collect()
        }
        // Short.
        Work::Abandon { .. } | Work::Rest { .. } => Vec::new(),
    }
}

/// The array whose store a work is about, and nothing else.
fn place_of(work: &Work) -> Option<Place> {
    match work {
        Work::Keep { namespace, name, .. }
        | Work::Remove { namespace, name, .. }
        | Work::RollBack { namespace, name, .. } => Some((namespace.clone(), name.clone())),
        Work::Prepare(..)
        | Work::Commit(_)
        | Work::Publish { .. }
        | Work::Abandon { .. }
        | Work::Rest { .. } => None,
    }
}

impl Tools {
    /// An array, within what this machine allows; its heads are signed.
    pub(super) fn open(&self, namespace: &str, name: &str) -> Result<Array, watchbell_array::Error> {
        let array = self.stores.open(namespace, name)?.within(self.limits.clone());
        Ok(match &self.head_key {
            Some(key) => array.signing(key.signer.clone()),
            None => array,
        })
    }

    /// Whether what is begun is given up: whoever comes next does it.
    pub(super) fn is_ending(&self) -> bool {
        self.limits.is_stopped.load(Ordering::Relaxed)
    }

    /// When nothing else is to be done.
    pub(super) fn sweep_later(&self, namespace: &Arc<str>, name: &Arc<str>) {
        let place = (namespace.clone(), name.clone());
        let mut queue = self.shared.queue();
        if !queue.sweeps.iter().any(|sweep| sweep.place == place) {
            queue.sweeps.push_back(Sweep { place, again: None });
        }
        drop(queue);
        self.shared.more.notify_all();
    }
}
