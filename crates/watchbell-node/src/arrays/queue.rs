//! The threads that work on arrays.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use watchbell_api::array::ArrayRetention;
use watchbell_array::{Array, Limits};

use super::facts::Teller;
use super::held::Drafts;
use super::{News, Reports, Room, Stores, Uppers, Work, work};
use crate::{Error, HeadKey, spawn};

/// Commits of large indices take long, and use several processors each by themselves.
pub(super) const THREADS: usize = 4;
/// Far behind everything that somebody waits for.
const SWEEP_NICE: i32 = 19;

/// What failed and may go well later is tried again after this; each time after twice as long, up to the second.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_LAST: Duration = Duration::from_secs(60);

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
    /// Since when it is due, and how long it waited.
    later: Vec<(Instant, Duration, Work)>,
    sweeps: VecDeque<Place>,
    is_closed: bool,
}

/// Namespace and name of an array.
type Place = (Arc<str>, Arc<str>);

/// What a thread does next: the work, and how long it was put off when it was tried before.
struct Turn {
    work: Work,
    waited: Option<Duration>,
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
        reserve_bytes: u64,
        head_key: Option<HeadKey>,
    ) -> Result<Arrays, Error> {
        let limits = Limits { reserve_bytes, ..Limits::default() };
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
                while let Some(Turn { work, waited }) = shared.next() {
                    let place = place_of(&work);
                    let done = work::carry_out(&tools, work, waited.is_none());
                    tools.drafts.tidy();
                    if let work::Done::NotYet(work) = done {
                        shared.put_off(work, waited);
                    }
                    shared.is_free(place);
                }
            })?);
        }
        let sweeping = shared.clone();
        threads.push(spawn("node-array-sweep", move || {
            // Of this thread alone; without it a sweep is a little in the way.
            if let Err(error) = rustix::process::setpriority_process(None, SWEEP_NICE) {
                tracing::debug!("sweeps are as urgent as all else: {error}");
            }
            while let Some((namespace, name)) = sweeping.next_sweep() {
                work::sweep(&tools, &namespace, &name);
            }
        })?);
        Ok(Arrays { limits, shared, stores, threads: Mutex::new(threads) })
    }

    pub(crate) fn ask(&self, work: Work) {
        // Before anything that is asked later.
        if let Work::Keep { namespace, name, spec, head_number } = &work {
            self.stores.expect((namespace.clone(), name.clone()), spec, *head_number);
        }
        self.shared.queue().works.push_back(work);
        self.shared.more.notify_all();
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
        self.wait(|queue| {
            let now = Instant::now();
            if let Some(due) = queue.later.iter().position(|(at, ..)| *at <= now) {
                let (_, waited, work) = queue.later.swap_remove(due);
                return Some(Turn { work, waited: Some(waited) });
            }
            let is_free = |work: &Work| place_of(work).is_none_or(|place| !queue.busy.contains(&place));
            let first = queue.works.iter().position(is_free)?;
            let work = queue.works.remove(first)?;
            queue.busy.extend(place_of(&work));
            Some(Turn { work, waited: None })
        })
    }

    fn put_off(&self, work: Work, waited: Option<Duration>) {
        let wait = waited.map_or(AGAIN_FIRST, |waited| (waited * 2).min(AGAIN_LAST));
        self.queue().later.push((Instant::now() + wait, wait, work));
        self.more.notify_all();
    }

    fn is_free(&self, place: Option<Place>) {
        let Some(place) = place else { return };
        self.queue().busy.remove(&place);
        self.more.notify_all();
    }

    fn next_sweep(&self) -> Option<Place> {
        self.wait(|queue| queue.sweeps.pop_front())
    }

    /// `None`: it is over. What waits then is asked for again by the next server.
    fn wait<T>(&self, take: impl Fn(&mut Queue) -> Option<T>) -> Option<T> {
        let mut queue = self.queue();
        loop {
            if queue.is_closed {
                return None;
            }
            if let Some(found) = take(&mut queue) {
                return Some(found);
            }
            let due = queue.later.iter().map(|(at, ..)| *at).min();
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
        if !queue.sweeps.contains(&place) {
            queue.sweeps.push_back(place);
        }
        drop(queue);
        self.shared.more.notify_all();
    }
}
