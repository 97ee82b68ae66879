//! The threads that work on arrays.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

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
    queue: Mutex<VecDeque<Work>>,
    more: Condvar,
}

/// Namespace and name of an array.
type Place = (Arc<str>, Arc<str>);

/// What the threads work with.
pub(super) struct Tools {
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
    pub(super) sweeps: Sender<Place>,
}

impl Arrays {
    /// The threads live as long as the process.
    pub(crate) fn start(
        data_dir: PathBuf,
        teller: Arc<Teller>,
        uppers: Uppers,
        hear: impl Fn(News) + Send + Sync + 'static,
        report: Reports,
    ) -> Result<Arc<Arrays>, Error> {
        let (sweeps, to_sweep) = channel();
        let tools = Arc::new(Tools {
            root: data_dir.join("arrays"),
            data_dir,
            drafts: Drafts::default(),
            uppers,
            hear: Box::new(hear),
            report,
            teller,
            retention: Mutex::default(),
            sweeps,
        });
        let arrays = Arc::new(Arrays { queue: Mutex::default(), more: Condvar::new() });
        for n in 0..THREADS {
            let (arrays, tools) = (arrays.clone(), tools.clone());
            spawn(&format!("node-arrays-{n}"), move || {
                loop {
                    work::carry_out(&tools, arrays.next());
                }
            })?;
        }
        spawn("node-array-sweep", move || {
            // Of this thread alone; without it a sweep is a little in the way.
            if let Err(error) = rustix::process::setpriority_process(None, SWEEP_NICE) {
                tracing::debug!("sweeps are as urgent as all else: {error}");
            }
            while let Ok((namespace, name)) = to_sweep.recv() {
                work::sweep(&tools, &namespace, &name);
            }
        })?;
        Ok(arrays)
    }

    pub(crate) fn ask(&self, work: Work) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(work);
        self.more.notify_one();
    }

    fn next(&self) -> Work {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(work) = queue.pop_front() {
                return work;
            }
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
