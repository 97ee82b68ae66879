//! What changed, for those who watch: one bounded history a resource, read by cursor.
//!
//! A watcher holds no buffer of its own. It reads the shared history from its cursor on; when it is so slow that the
//! history has moved past the cursor it is cut, never waited for (its client lists anew).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use tokio::sync::watch;
use watchbell_api::{ApiError, Cause, Reason, Resource};
use watchbell_core::world::Change;

use crate::authenticate::is_of_credentials;
use crate::metrics::Metrics;
use crate::view::View;

/// How many changes of a resource are remembered.
const HISTORY: usize = 16_384;
/// Of how many of them the bytes are kept once somebody asked for them: watchers that keep up share them.
const ENCODED: usize = 1024;
/// How many changes a watcher takes at a time, so that the lock is held briefly.
const CHUNK: usize = 256;

/// A change, and its newest object in the forms that watchers needed so far.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) change: Change,
    encoded: Mutex<Vec<(Resource, View, Bytes)>>,
}

impl Event {
    fn new(change: Change) -> Event {
        Event { change, encoded: Mutex::new(Vec::new()) }
    }

    /// The object as the change left it; one that is gone is shown as it was, at the version of its end. Made once a form,
    /// by the first watcher that needs it; the others wait for it rather than make it too.
    pub(crate) fn encoded(&self, asked: Resource, view: View, metrics: &Metrics) -> Result<Bytes, ApiError> {
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((.., bytes)) = encoded.iter().find(|(of, form, _)| *of == asked && *form == view) {
            return Ok(bytes.clone());
        }
        let mut out = Vec::with_capacity(2048);
        match &self.change.new {
            Some(stored) => view.stored(asked, stored, &mut out)?,
            None => view.rendered(asked, self.object(), &mut out)?,
        }
        metrics.watch_encoding();
        out.shrink_to_fit();
        let bytes = Bytes::from(out);
        encoded.push((asked, view, bytes.clone()));
        Ok(bytes)
    }

    fn object(&self) -> serde_json::Value {
        let mut object = self.change.object().render();
        object["metadata"]["resourceVersion"] = self.change.resource_version.to_string().into();
        object
    }

    fn forget_encoded(&self) {
        *self.encoded.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
    }
}

#[derive(Debug)]
struct History {
    changes: VecDeque<Arc<Event>>,
    /// Nothing up to and with this version can be told any more.
    forgotten: u64,
}

/// The histories and the bell that rings when they grow.
#[derive(Debug)]
pub(crate) struct Hub {
    histories: Vec<Mutex<History>>,
    version: watch::Sender<u64>,
    /// The version of the last change of what somebody is known by.
    credentials: watch::Sender<u64>,
}

impl Hub {
    /// A hub that knows nothing of what happened up to `version`.
    pub(crate) fn new(version: u64) -> Hub {
        let history = || Mutex::new(History { changes: VecDeque::new(), forgotten: version });
        Hub {
            histories: Resource::all().map(|_| history()).collect(),
            version: watch::Sender::new(version),
            credentials: watch::Sender::new(version),
        }
    }

    fn history(&self, resource: Resource) -> MutexGuard<'_, History> {
        self.histories[resource as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the changes of a committed batch, in the order of their versions, then rings.
    pub(crate) fn publish(&self, changes: Vec<Change>, version: u64) {
        // Before the others: who is no longer known hears no more of them.
        if changes.iter().any(|change| is_of_credentials(change.object().resource)) {
            self.credentials.send_replace(version);
        }
        for change in changes {
            let mut history = self.history(change.object().resource);
            if history.changes.len() == HISTORY
                && let Some(oldest) = history.changes.pop_front()
            {
                history.forgotten = oldest.change.resource_version;
            }
            history.changes.push_back(Arc::new(Event::new(change)));
            if let Some(place) = history.changes.len().checked_sub(ENCODED) {
                history.changes[place].forget_encoded();
            }
        }
        // Once closed it stays so, whatever the writer still does.
        self.version.send_if_modified(|current| {
            let is_open = *current != u64::MAX;
            if is_open {
                *current = version;
            }
            is_open
        });
    }

    /// Every watcher ends.
    pub(crate) fn close(&self) {
        self.version.send_replace(u64::MAX);
    }

    /// Rings with each batch, and once more when the server ends (see [`Hub::is_closed`]).
    pub(crate) fn bell(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(crate) fn credentials_bell(&self) -> watch::Receiver<u64> {
        self.credentials.subscribe()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.version() == u64::MAX
    }

    /// The newest version that can be watched from.
    pub(crate) fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// A watcher of the changes behind version `from`, which nobody can have read if it is beyond `read`.
    pub(crate) fn watch(
        self: &Arc<Self>,
        resource: Resource,
        namespace: Option<Arc<str>>,
        from: u64,
        read: u64,
    ) -> Result<Watch, ApiError> {
        let newest = self.version().max(read);
        if from > newest && newest != u64::MAX {
            let message = format!("Too large resource version: {from}, current: {newest}");
            let mut error = ApiError::new(Reason::Timeout, message);
            error.causes.push(Cause {
                reason: "ResourceVersionTooLarge".into(),
                message: "Too large resource version".into(),
                field: String::new(),
            });
            error.retry_after_seconds = Some(1);
            return Err(error);
        }
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
pub(crate) struct Watch {
    hub: Arc<Hub>,
    bell: watch::Receiver<u64>,
    resource: Resource,
    namespace: Option<Arc<str>>,
    cursor: u64,
    ready: VecDeque<Arc<Event>>,
}

/// What a watcher hears.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    Change(Arc<Event>),
    /// Nothing of interest happened up to the cursor: a bookmark may carry it.
    UpTo,
}

impl Watch {
    /// The next change that was read already.
    pub(crate) fn ready(&mut self) -> Option<Arc<Event>> {
        self.ready.pop_front()
    }

    /// The next change, or how far the history was read when nothing in it was of interest. `None` when the watcher was
    /// too slow or the server ends.
    pub(crate) async fn hear(&mut self) -> Option<Heard> {
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
                    return Some(Heard::UpTo);
                }
                continue;
            }
            self.bell.changed().await.ok()?;
        }
    }

    /// The version up to which everything was heard.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    fn fill(&mut self, version: u64) -> Option<()> {
        let history = self.hub.history(self.resource);
        if self.cursor < history.forgotten {
            return None;
        }
        let start = history.changes.partition_point(|e| e.change.resource_version <= self.cursor);
        for (taken, event) in history.changes.range(start..).enumerate() {
            if taken == CHUNK {
                return Some(());
            }
            self.cursor = event.change.resource_version;
            if self.namespace.as_ref().is_none_or(|ns| *ns == event.change.object().namespace) {
                self.ready.push_back(event.clone());
            }
        }
        // The bell rings after the histories grew, so all up to the version it named was read.
        self.cursor = self.cursor.max(version);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use watchbell_api::{Reason, Resource};

    use super::{Heard, Hub};

    #[test]
    fn who_read_a_batch_may_watch_from_it_before_it_is_told() {
        let hub = Arc::new(Hub::new(5));
        let watch = |from, read| hub.watch(Resource::Pod, None, from, read);
        assert_eq!(watch(8, 7).unwrap_err().reason, Reason::Timeout);
        assert_eq!(watch(4, 7).unwrap_err().reason, Reason::Expired);
        let mut early = watch(7, 7).unwrap();
        hub.publish(Vec::new(), 7);
        hub.publish(Vec::new(), 8);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let heard = runtime.block_on(early.hear());
        assert!(matches!(heard, Some(Heard::UpTo)) && early.cursor() == 8, "{heard:?}");
    }
}
