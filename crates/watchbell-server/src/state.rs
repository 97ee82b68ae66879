//! The one task that changes the store: requests and the node's reports go in, a committed batch comes out.
//!
//! ```text
//!   requests ─┐
//!   reports  ─┼─▶ world ─▶ stage ─▶ store.commit (one fsync) ─▶ publish ─▶ answers · watches · node commands
//!   clock    ─┘                           └─ failed: roll back, refuse the requests, keep the reports
//! ```
//!
//! While one batch is being made durable the next one gathers in the channel: many changes, one fsync.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::oneshot;
use watchbell_api::node::{Command, Lookup, Report, Tokens};
use watchbell_api::{ApiError, Resource, Uid};
use watchbell_core::request::{Request, Written};
use watchbell_core::world::{AuditRecord, Config, Snapshot, Stored, World};
use watchbell_identity::Identity;
use watchbell_store::{BodyKey, Store};

use crate::blocking::ending;
use crate::hub::{Hub, ObjectBell, Watch};
use crate::intake::Intake;
use crate::journal;
use crate::maintenance;
use crate::metrics::Metrics;
use crate::notes::{ChangeNote, Note, Noted, Notes, Tally};
use crate::pins::Pins;
use crate::request::ObjectPath;
use crate::writer::{CommitFailure, Task};

/// Where the answer to a write goes. Until then what the request takes is held, whether its client still waits or not.
#[derive(Debug)]
pub(crate) struct Answer {
    to: oneshot::Sender<Result<Written, ApiError>>,
    _intake: Option<Intake>,
}

impl Answer {
    pub(crate) fn new(to: oneshot::Sender<Result<Written, ApiError>>, intake: Option<Intake>) -> Answer {
        Answer { to, _intake: intake }
    }

    pub(crate) fn send(self, result: Result<Written, ApiError>) {
        // A client that went away does not hear the answer; what it asked for is done.
        let _ = self.to.send(result);
    }
}

/// An entry of which somebody waits until it is durable.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) record: AuditRecord,
    /// What it is about takes something away: on a full disk it may use the journal's reserve.
    pub(crate) may_use_reserve: bool,
    pub(crate) done: SyncSender<Result<(), ApiError>>,
}

/// What comes to the writer.
#[derive(Debug)]
pub(crate) enum Input {
    Write(Box<Request>, Answer),
    Report(Report),
    Note(Noted),
    /// Something was counted that becomes an entry.
    Counted,
    Record(Box<Awaited>),
    /// What tokens were signed by holds no longer: pods get others.
    RefreshTokens,
    /// The wall clock was set.
    ClockStep,
    /// The journal failed beside the writer, in a way that only a new start can heal.
    Fatal(String),
    End,
}

impl Input {
    /// Nobody waits for it: that a pod is being started, or runs, is true for a while and may be overtaken by its end.
    pub(crate) fn can_wait(&self) -> bool {
        match self {
            Input::Report(Report::Status { status, .. }) => !status.phase.is_terminal(),
            // It comes before the status that it is about.
            Input::Report(Report::Started { .. }) | Input::Note(_) | Input::Counted => true,
            Input::Write(..)
            | Input::Record(..)
            | Input::Report(_)
            | Input::RefreshTokens
            | Input::ClockStep
            | Input::Fatal(_)
            | Input::End => false,
        }
    }
}

/// From which version a watch begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WatchFrom {
    Version(u64),
}

/// A handle to the state: cheap to clone, for any thread.
#[derive(Debug, Clone)]
pub struct State {
    inner: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    inputs: Sender<Input>,
    tally: Arc<Mutex<Tally>>,
    pub(crate) published: ArcSwap<Snapshot>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
    bodies: BodyKey,
    /// Why the writer ended, once it has.
    pub(crate) ended: Mutex<Option<String>>,
}

/// The writer's thread; joined when the server ends.
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<()>,
}

/// The state could not be made from the journal.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot read the journal: {0}")]
    Store(#[from] watchbell_store::Error),
    #[error(transparent)]
    Row(#[from] watchbell_core::world::RowError),
    #[error(
        "cannot read the journal: it holds {name:?} of {resource:?}, which this program does not know; run a newer one"
    )]
    UnknownResource { resource: Box<str>, name: Box<str> },
    #[error("cannot start a thread of the server: {0}")]
    Thread(#[from] std::io::Error),
}

impl State {
    /// Reads the journal into memory and starts the writer. `node` gets the commands of committed batches; the first
    /// ones are all pods it must know, then [`Command::Synced`].
    pub fn start(
        store: Store,
        last_version: u64,
        config: Config,
        node: Sender<Command>,
    ) -> Result<(State, Writer), StartError> {
        let (inputs, receiver) = channel();
        let task = State::task(store, last_version, config, node, inputs.clone())?;
        let shared = task.shared.clone();
        crate::clock::tell_steps(inputs)?;
        let thread = std::thread::Builder::new().name("writer".into()).spawn(move || task.run(&receiver))?;
        Ok((State { inner: shared }, Writer { thread }))
    }

    /// What the writer's thread is to run.
    pub(crate) fn task(
        mut store: Store,
        last_version: u64,
        config: Config,
        node: Sender<Command>,
        inputs: Sender<Input>,
    ) -> Result<Task, StartError> {
        let now = Timestamp::now();
        let mut world = World::new(config);
        let rows = journal::rows(&mut store)?;
        world.load(rows, last_version, now)?;
        let tally: Arc<Mutex<Tally>> = Arc::default();
        let shared = Arc::new(Shared {
            inputs: inputs.clone(),
            tally: tally.clone(),
            published: ArcSwap::from_pointee(world.snapshot()),
            hub: Arc::new(Hub::new(world.resource_version())),
            metrics: Arc::default(),
            bodies: store.body_key()?,
            ended: Mutex::new(None),
        });
        let checkpoints = maintenance::start(store.maintenance()?, inputs)?;
        let log_files = crate::log_files::start(store.publisher()?)?;
        let mut task = Task {
            world,
            store,
            shared: shared.clone(),
            node,
            unsaved: Vec::new(),
            was_refused: false,
            notes: Notes::new(tally),
            checkpoints,
            log_files,
            reserve_due: None,
        };
        task.world.furnish(now);
        let failed = |e: CommitFailure| match e {
            CommitFailure::Refused { cause, .. } | CommitFailure::Fatal(cause) => StartError::Store(cause),
        };
        task.commit(now).map_err(failed)?;
        for command in task.world.node_sync() {
            // The node's end of the channel lives as long as the server.
            let _ = task.node.send(command);
        }
        Ok(task)
    }

    /// Asks for a change. The answer comes when it is durable, or refused.
    pub async fn write(&self, request: Request) -> Result<Written, ApiError> {
        self.send(request, None).await
    }

    /// The same; what the request takes is held until the writer is done with it.
    pub(crate) async fn write_with(&self, request: Request, intake: &Intake) -> Result<Written, ApiError> {
        self.send(request, Some(intake.clone())).await
    }

    async fn send(&self, request: Request, intake: Option<Intake>) -> Result<Written, ApiError> {
        let (to, wait) = oneshot::channel();
        let answer = Answer::new(to, intake);
        self.inner.inputs.send(Input::Write(Box::new(request), answer)).map_err(|_| ending())?;
        wait.await.map_err(|_| ending())?
    }

    /// What the audit entry keeps in the place of a body. Nothing of one that may hold a secret, however well it is salted.
    pub(crate) fn body_hash(&self, path: &ObjectPath, audit_id: &str, body: &[u8]) -> Option<Box<str>> {
        let may_be_secret = matches!(path.resource, Resource::Secret) || path.resource.is_issued();
        (!body.is_empty() && !may_be_secret).then(|| self.inner.bodies.hash(audit_id, body).into())
    }

    /// The same of a command. Its beginning and end stand in the entry, so it is no secret.
    pub(crate) fn command_hash(&self, audit_id: &str, command: &[u8]) -> Box<str> {
        self.inner.bodies.hash(audit_id, command).into()
    }

    /// Leaves a note for the audit journal. Nobody waits for it; when the writer has ended there is no journal.
    pub(crate) fn note(&self, note: Note) {
        let mut tally = self.inner.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let input = match note {
            Note::Stranger(address, why) => tally.stranger(address, why).then_some(Input::Counted),
            Note::Request(record) => {
                let now = tally.now();
                let admitted = tally.request(record, now);
                admitted.map(|record| Input::Note(Noted { record, may_be_lost: true }))
            }
            Note::Event(record) => {
                tally.goes();
                Some(Input::Note(Noted { record, may_be_lost: false }))
            }
        };
        drop(tally);
        if let Some(input) = input {
            let _ = self.inner.inputs.send(input);
        }
    }

    /// Writes an entry into the audit journal, and waits until it is durable. Not for a thread of the runtime.
    pub(crate) fn record(&self, record: AuditRecord) -> Result<(), ApiError> {
        self.await_record(record, false)
    }

    /// The same of a begin, and tells who waits for that; whether it may begin.
    pub(crate) fn begins(&self, begun: AuditRecord, told: oneshot::Sender<Result<(), ApiError>>) -> bool {
        let recorded = self.record(begun);
        let may = recorded.is_ok();
        // Who went away does not hear it.
        let _ = told.send(recorded);
        may
    }

    fn await_record(&self, record: AuditRecord, may_use_reserve: bool) -> Result<(), ApiError> {
        let (done, wait) = sync_channel(1);
        let awaited = Awaited { record, may_use_reserve, done };
        self.inner.inputs.send(Input::Record(Box::new(awaited))).map_err(|_| ending())?;
        wait.recv().map_err(|_| ending())?
    }

    /// Changes what is no object, between two entries: nothing is done before the first one is durable. `is_recorded` tells when it
    /// is. Not for a thread of the runtime.
    pub(crate) fn change(
        &self,
        note: &ChangeNote,
        is_recorded: &AtomicBool,
        change: impl FnOnce() -> Result<Value, ApiError>,
    ) -> Result<Value, ApiError> {
        self.await_record(note.asked(Timestamp::now()), true)?;
        is_recorded.store(true, Ordering::Relaxed);
        let result = change();
        self.note(Note::Event(note.ended(Timestamp::now(), result.as_ref())));
        result
    }

    /// Keys of tokens were revoked: what flows is looked at again, and the node asks for the tokens of its pods anew.
    pub(crate) fn keys_revoked(&self) {
        self.inner.hub.ring_credentials();
        // When the writer has ended the node has too, and asks when it begins again.
        let _ = self.inner.inputs.send(Input::RefreshTokens);
    }

    /// Where the node's reports go.
    pub fn reports(&self) -> impl Fn(Report) + Send + Sync + 'static {
        let inputs = Mutex::new(self.inner.inputs.clone());
        move |report| {
            let inputs = inputs.lock().unwrap_or_else(PoisonError::into_inner);
            // When the writer has ended the node keeps its records; they are read at the next start.
            let _ = inputs.send(Input::Report(report));
        }
    }

    /// The committed state.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.published.load_full()
    }

    /// The changes of a resource, from a version on.
    pub(crate) fn watch(
        &self,
        resource: Resource,
        namespace: Option<Arc<str>>,
        from: WatchFrom,
    ) -> Result<Watch, ApiError> {
        let WatchFrom::Version(version) = from;
        // Readers see a batch an instant before watchers hear of it: who read it may watch from there.
        let read = self.inner.published.load().resource_version();
        self.inner.hub.watch(resource, namespace, version, read)
    }

    /// Older states, for the pages of lists.
    pub(crate) fn pins(&self) -> &Pins {
        &self.inner.hub.pins
    }

    /// Shows what somebody else counts on the server's page of metrics.
    pub fn show_metrics(&self, render: impl Fn() -> String + Send + Sync + 'static) {
        self.inner.metrics.show_also(Box::new(render));
    }

    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        self.inner.metrics.clone()
    }

    /// Rings with changes of what somebody is known by.
    pub(crate) fn credentials_bell(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.hub.credentials_bell()
    }

    /// Rings with the changes of one object.
    pub(crate) fn bell_of(&self, uid: Uid) -> ObjectBell {
        self.inner.hub.bell_of(uid)
    }

    /// The last form of an object that is gone, as long as its end is remembered: since the server started at most.
    pub(crate) fn deleted(&self, resource: Resource, name: &str) -> Option<Arc<Stored>> {
        self.inner.hub.deleted(resource, name)
    }

    pub(crate) fn bell(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.hub.bell()
    }

    /// Whether changes are no longer taken.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.hub.is_closed()
    }

    /// Ends all watches; the writer goes on.
    pub(crate) fn close_watches(&self) {
        self.inner.hub.close();
    }

    /// Waits until the writer ended by itself, and says why.
    pub(crate) async fn ended(&self) -> String {
        let mut bell = self.bell();
        loop {
            // The bell's last ring comes after the cause was noted.
            let _ = bell.wait_for(|version| *version == u64::MAX).await;
            match self.failure() {
                Some(cause) => return cause,
                // It was told to end: whoever did that does not wait for a failure.
                None => std::future::pending::<()>().await,
            }
        }
    }

    /// Reads objects for the node.
    pub fn lookup(&self) -> Lookup {
        let inner = self.inner.clone();
        Arc::new(move |resource, namespace, name| {
            inner.published.load().get(resource, namespace, name).map(|stored| Arc::new(stored.render()))
        })
    }

    /// Gives the committed state, for the node's judgement of images.
    pub fn snapshots(&self) -> Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync> {
        let inner = self.inner.clone();
        Arc::new(move || inner.published.load_full())
    }

    /// Gives the node tokens for the volumes of its pods.
    pub fn tokens(&self, identity: Arc<Identity>) -> Tokens {
        crate::verbs::token::for_node(self.clone(), identity)
    }

    /// Ends the writer after what it has in hand.
    pub fn end(&self) {
        let _ = self.inner.inputs.send(Input::End);
        self.inner.hub.close();
    }

    /// Why the writer ended by itself, if it did: the journal failed in a way that only a new start can heal.
    pub fn failure(&self) -> Option<String> {
        self.inner.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Writer {
    /// Waits for the writer's end.
    pub fn join(self) {
        // A panic of the writer was reported by the panic hook; the process ends either way.
        let _ = self.thread.join();
    }
}
