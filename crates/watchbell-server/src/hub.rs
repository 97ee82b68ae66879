//! What changed, for those who watch: one bounded history a resource, read by cursor.
//!
//! A watcher holds no buffer of its own. It reads the shared history from its cursor on; when it is so slow that the
//! history has moved past the cursor it is cut, never waited for (its client lists anew).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use watchbell_api::{ApiError, Reason, Resource};
use watchbell_core::world::Change;

/// How many changes of a resource are remembered.
const HISTORY: usize = 16_384;
/// How many changes a watcher takes at a time, so that the lock is held briefly.
const CHUNK: usize = 256;

#[derive(Debug)]
struct History {
    changes: VecDeque<Arc<Change>>,
    /// Nothing up to and with this version can be told any more.
    forgotten: u64,
}

/// The histories and the bell that rings when they grow.
#[derive(Debug)]
pub struct Hub {
    histories: Vec<Mutex<History>>,
    version: watch::Sender<u64>,
}

impl Hub {
    /// A hub that knows nothing of what happened up to `version`.
    pub fn new(version: u64) -> Hub {
        let history = || Mutex::new(History { changes: VecDeque::new(), forgotten: version });
        Hub { histories: Resource::all().map(|_| history()).collect(), version: watch::Sender::new(version) }
    }

    fn history(&self, resource: Resource) -> MutexGuard<'_, History> {
        self.histories[resource as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the changes of a committed batch, in the order of their versions, then rings.
    pub fn publish(&self, changes: Vec<Change>, version: u64) {
        for change in changes {
            let mut history = self.history(change.object().resource);
            if history.changes.len() == HISTORY
                && let Some(oldest) = history.changes.pop_front()
            {
                history.forgotten = oldest.resource_version;
            }
            history.changes.push_back(Arc::new(change));
        }
        self.version.send_replace(version);
    }

    /// Every watcher ends.
    pub fn close(&self) {
        self.version.send_replace(u64::MAX);
    }

    /// The newest version that can be watched from.
    pub fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// A watcher of the changes behind version `from`.
    pub fn watch(
        self: &Arc<Self>,
        resource: Resource,
        namespace: Option<Arc<str>>,
        from: u64,
    ) -> Result<Watch, ApiError> {
        let forgotten = self.history(resource).forgotten;
        if from < forgotten {
            return Err(ApiError::new(
                Reason::Expired,
                format!("too old resource version: {from} ({forgotten}): list again and watch from there"),
            ));
        }
        Ok(Watch {
            hub: self.clone(),
            bell: self.version.subscribe(),
            resource,
            namespace,
            cursor: from,
            ready: VecDeque::new(),
        })
    }
}

/// A cursor into the history of one resource.
#[derive(Debug)]
pub struct Watch {
    hub: Arc<Hub>,
    bell: watch::Receiver<u64>,
    resource: Resource,
    namespace: Option<Arc<str>>,
    cursor: u64,
    ready: VecDeque<Arc<Change>>,
}

/// What a watcher hears.
#[derive(Debug, Clone)]
pub enum Heard {
    Change(Arc<Change>),
    /// Nothing (of interest) happened up to this version: a bookmark may carry it.
    UpTo(u64),
}

impl Watch {
    /// The next change; `None` when the watcher was too slow or the server ends.
    pub async fn next(&mut self) -> Option<Arc<Change>> {
        loop {
            match self.hear().await? {
                Heard::Change(change) => return Some(change),
                Heard::UpTo(_) => {}
            }
        }
    }

    /// As [`Watch::next`], and says how far the history was read when nothing in it was of interest.
    pub async fn hear(&mut self) -> Option<Heard> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(Heard::Change(change));
            }
            let version = *self.bell.borrow_and_update();
            if version == u64::MAX {
                return None;
            }
            if version > self.cursor {
                self.fill(version)?;
                if self.ready.is_empty() {
                    return Some(Heard::UpTo(self.cursor));
                }
                continue;
            }
            self.bell.changed().await.ok()?;
        }
    }

    /// The version up to which everything was heard.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    fn fill(&mut self, version: u64) -> Option<()> {
        let history = self.hub.history(self.resource);
        if self.cursor < history.forgotten {
            return None;
        }
        let start = history.changes.partition_point(|c| c.resource_version <= self.cursor);
        let mut taken = 0;
        for change in history.changes.range(start..) {
            if taken == CHUNK {
                return Some(());
            }
            taken += 1;
            self.cursor = change.resource_version;
            if self.namespace.as_ref().is_none_or(|ns| *ns == change.object().namespace) {
                self.ready.push_back(change.clone());
            }
        }
        // The bell rings after the histories grew, so all up to the version it named was read.
        self.cursor = self.cursor.max(version);
        Some(())
    }
}
