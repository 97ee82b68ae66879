//! The threads that work on arrays.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use watchbell_api::array::ArrayRetention;

use super::facts::Teller;
use super::held::Drafts;
use super::{News, Reports, Uppers, Work, work};
use crate::{Error, spawn};

/// Commits of large indices take long, and use several processors each by themselves.
const THREADS: usize = 4;
/// Far behind everything that somebody waits for.
const SWEEP_NICE: i32 = 19;

/// Work that waits, and who does it.
pub(crate) struct Arrays {
    shared: Arc<Shared>,
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
    sweeps: VecDeque<Place>,
    is_closed: bool,
}

/// Namespace and name of an array.
type Place = (Arc<str>, Arc<str>);

/// What the threads work with.
pub(super) struct Tools {
    shared: Arc<Shared>,
    /// DIR/arrays.
    pub(super) root: PathBuf,
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
    pub(crate) fn start(
        data_dir: PathBuf,
        teller: Arc<Teller>,
        uppers: Uppers,
        hear: impl Fn(News) + Send + Sync + 'static,
        report: Reports,
    ) -> Result<Arrays, Error> {
        let shared = Arc::new(Shared::default());
        let tools = Arc::new(Tools {
            shared: shared.clone(),
            root: data_dir.join("arrays"),
            data_dir,
            drafts: Drafts::default(),
            uppers,
            hear: Box::new(hear),
            report,
            teller,
            retention: Mutex::default(),
        });
        let mut threads = Vec::with_capacity(THREADS + 1);
        for n in 0..THREADS {
            let (shared, tools) = (shared.clone(), tools.clone());
            threads.push(spawn(&format!("node-arrays-{n}"), move || {
                while let Some(work) = shared.next() {
                    work::carry_out(&tools, work);
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
        Ok(Arrays { shared, threads: Mutex::new(threads) })
    }

    pub(crate) fn ask(&self, work: Work) {
        self.shared.queue().works.push_back(work);
        self.shared.more.notify_all();
    }

    /// Lets go of everything once what is being done is done: whoever comes next may hold the drafts.
    pub(crate) fn end(&self) {
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

    fn next(&self) -> Option<Work> {
        self.wait(|queue| queue.works.pop_front())
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
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Tools {
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
