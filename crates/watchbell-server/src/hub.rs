//! What changed, for those who watch: one bounded history a resource, read by cursor.
//!
//! A watcher holds no buffer of its own. It reads the shared history from its cursor on; when it is so slow that the
//! history has moved past the cursor it is cut, never waited for (its client lists anew).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hyper::body::Bytes;
use tokio::sync::watch;
use watchbell_api::{ApiError, Cause, Reason, Resource, Uid};
use watchbell_core::world::{Change, Stored};

use crate::credential::is_of_credentials;
use crate::metrics::Metrics;
use crate::pins::Pins;
use crate::view::View;

/// How many changes of a resource are remembered,
const HISTORY: usize = 16_384;
/// and how many bytes they may keep that nothing else does: large objects that change often are remembered for a shorter time.
const HISTORY_BYTES: usize = 32 << 20;
/// A change and its object without what the object's author wrote.
const EVENT_BYTES: usize = 1 << 10;
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
    bytes: usize,
    /// Nothing up to and with this version can be told any more.
    forgotten: u64,
}

impl History {
    fn push(&mut self, change: Change) {
        self.bytes += kept_by(&change);
        self.changes.push_back(Arc::new(Event::new(change)));
        // The newest stays: whoever reads it may watch from there.
        while self.changes.len() > 1
            && (self.changes.len() > HISTORY || self.bytes > HISTORY_BYTES)
            && let Some(oldest) = self.changes.pop_front()
        {
            self.bytes -= kept_by(&oldest.change);
            self.forgotten = oldest.change.resource_version;
        }
    }
}

/// How many bytes are kept for a change: those of the form before it, which nothing else keeps, unless the new one shares them.
fn kept_by(change: &Change) -> usize {
    let (old, new) =
        (change.old.as_ref().and_then(|s| s.own_json()), change.new.as_ref().and_then(|s| s.own_json()));
    let is_shared = old.zip(new).is_some_and(|(old, new)| std::ptr::eq(old, new));
    EVENT_BYTES + if is_shared { 0 } else { old.map_or(0, <[u8]>::len) }
}

/// The histories and the bell that rings when they grow.
#[derive(Debug)]
pub(crate) struct Hub {
    histories: Vec<Mutex<History>>,
    version: watch::Sender<u64>,
    /// The version of the last change of what somebody is known by.
    credentials: watch::Sender<u64>,
    /// Objects that somebody waits for.
    awaited: Mutex<HashMap<Uid, watch::Sender<()>>>,
    /// Older states, which keep what the changes replaced.
    pub(crate) pins: Pins,
}

impl Hub {
    /// A hub that knows nothing of what happened up to `version`.
    pub(crate) fn new(version: u64) -> Hub {
        let history = || Mutex::new(History { changes: VecDeque::new(), bytes: 0, forgotten: version });
        Hub {
            histories: Resource::all().map(|_| history()).collect(),
            version: watch::Sender::new(version),
            credentials: watch::Sender::new(version),
            awaited: Mutex::default(),
            pins: Pins::new(),
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
        self.ring_awaited(&changes);
        let replaced: usize = changes.iter().map(kept_by).sum();
        self.pins.replaced(replaced as u64, Instant::now());
        for change in changes {
            let mut history = self.history(change.object().resource);
            history.push(change);
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

    /// Rings for what somebody is known by and is no object.
    pub(crate) fn ring_credentials(&self) {
        self.credentials.send_modify(|_| {});
    }

    pub(crate) fn credentials_bell(&self) -> watch::Receiver<u64> {
        self.credentials.subscribe()
    }

    fn awaited(&self) -> MutexGuard<'_, HashMap<Uid, watch::Sender<()>>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring_awaited(&self, changes: &[Change]) {
        let awaited = self.awaited();
        if awaited.is_empty() {
            return;
        }
        for change in changes {
            if let Some(bell) = awaited.get(&change.object().uid) {
                bell.send_replace(());
            }
        }
    }

    /// Rings with each change of one object.
    pub(crate) fn bell_of(self: &Arc<Self>, uid: Uid) -> ObjectBell {
        let bell = self.awaited().entry(uid).or_insert_with(|| watch::Sender::new(())).subscribe();
        ObjectBell { hub: self.clone(), uid, bell }
    }

    /// The last form of an object that is gone, as long as its end is remembered.
    pub(crate) fn deleted(&self, resource: Resource, name: &str) -> Option<Arc<Stored>> {
        let history = self.history(resource);
        let last = history.changes.iter().rev().find(|event| *event.change.object().name == *name)?;
        match last.change.new {
            None => last.change.old.clone(),
            Some(_) => None,
        }
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
        require_reached(from, newest)?;
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

/// A version that this server has not given out yet: a client of another server, or of one before a restore.
pub(crate) fn require_reached(asked: u64, current: u64) -> Result<(), ApiError> {
    if asked <= current {
        return Ok(());
    }
    let mut error =
        ApiError::new(Reason::Timeout, format!("Too large resource version: {asked}, current: {current}"));
    error.causes.push(Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        field: String::new(),
    });
    error.retry_after_seconds = Some(1);
    Err(error)
}

/// Rings with the changes of one object, while somebody listens.
#[derive(Debug)]
pub(crate) struct ObjectBell {
    hub: Arc<Hub>,
    uid: Uid,
    bell: watch::Receiver<()>,
}

impl ObjectBell {
    /// Forgets that it rang.
    pub(crate) fn hush(&mut self) {
        self.bell.mark_unchanged();
    }

    /// Waits until it rings.
    pub(crate) async fn rings(&mut self) {
        // The sender lives as long as somebody listens.
        let _ = self.bell.changed().await;
    }
}

impl Drop for ObjectBell {
    fn drop(&mut self) {
        let mut awaited = self.hub.awaited();
        // This one still listens.
        if awaited.get(&self.uid).is_some_and(|bell| bell.receiver_count() <= 1) {
            awaited.remove(&self.uid);
        }
    }
}

/// A cursor into the history of one resource.
#[derive(Debug)]
pub(crate) struct Watch {
    hub: Arc<Hub>,
    bell: watch::Receiver<u64>,
    resource: Resource,
    namespace: Option<Arc<str>>,
    /// How far the history was read.
    cursor: u64,
    /// What was read of it and not handed out yet.
    ready: VecDeque<Arc<Event>>,
}

/// What a watcher hears.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    Change(Arc<Event>),
    /// Nothing of interest happened up to [`Watch::handed_out`]: a bookmark may carry it.
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

    /// The version up to which everything was handed out. What was read and still lies ready is beyond it: a bookmark that
    /// named it would have a client that resumes from there miss it.
    pub(crate) fn handed_out(&self) -> u64 {
        match self.ready.front() {
            Some(next) => next.change.resource_version.saturating_sub(1),
            None => self.cursor,
        }
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
pub(crate) mod tests;
