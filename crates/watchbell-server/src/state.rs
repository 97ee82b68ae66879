//! The one task that changes the store: requests and the node's reports go in, a committed batch comes out.
//!
//! ```text
//!   requests ─┐
//!   reports  ─┼─▶ world ─▶ stage ─▶ store.commit (one fsync) ─▶ publish ─▶ answers · watches · node commands
//!   clock    ─┘                           └─ failed: roll back, refuse the requests, keep the reports
//! ```
//!
//! While one batch is being made durable the next one gathers in the channel: many changes, one fsync.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::oneshot;
use watchbell_api::node::{Command, Lookup, Report};
use watchbell_api::{ApiError, Reason, Resource};
use watchbell_core::request::{Request, Written};
use watchbell_core::world::{Config, Snapshot, World};
use watchbell_store::Store;

use crate::hub::{Hub, Watch};
use crate::journal;

/// How many inputs one batch takes.
const BATCH: usize = 1024;
/// The longest the writer sleeps: a bound on how late a stepped clock is noticed should the kernel not say so.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How long the writer waits before it tries a refused disk again with the node's reports.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// What comes to the writer.
#[derive(Debug)]
pub(crate) enum Input {
    Write(Box<Request>, oneshot::Sender<Result<Written, ApiError>>),
    Report(Report),
    /// The wall clock was set.
    ClockStep,
    End,
}

/// From which version a watch begins.
#[derive(Debug, Clone, Copy)]
pub enum WatchFrom {
    Version(u64),
    Now,
}

/// A handle to the state: cheap to clone, for any thread.
#[derive(Debug, Clone)]
pub struct State {
    inner: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inputs: Sender<Input>,
    published: ArcSwap<Snapshot>,
    hub: Arc<Hub>,
    /// Why the writer ended, once it has.
    ended: Mutex<Option<String>>,
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
        mut store: Store,
        last_version: u64,
        config: Config,
        node: Sender<Command>,
    ) -> Result<(State, Writer), StartError> {
        let now = Timestamp::now();
        let mut world = World::new(config);
        let rows = journal::rows(&mut store)?;
        world.load(rows, last_version, now)?;
        let (inputs, receiver) = channel();
        let shared = Arc::new(Shared {
            inputs: inputs.clone(),
            published: ArcSwap::from_pointee(world.snapshot()),
            hub: Arc::new(Hub::new(world.resource_version())),
            ended: Mutex::new(None),
        });
        let mut task = Task { world, store, shared: shared.clone(), node, unsaved: Vec::new() };
        task.world.furnish(now);
        let failed = |e: CommitFailure| match e {
            CommitFailure::Refused(error) | CommitFailure::Fatal(error) => StartError::Store(error),
        };
        task.commit(now).map_err(failed)?;
        for command in task.world.node_sync() {
            // The node's end of the channel lives as long as the server.
            let _ = task.node.send(command);
        }
        crate::clock::tell_steps(inputs)?;
        let thread = std::thread::Builder::new().name("writer".into()).spawn(move || task.run(&receiver))?;
        Ok((State { inner: shared }, Writer { thread }))
    }

    /// Asks for a change. The answer comes when it is durable, or refused.
    pub async fn write(&self, request: Request) -> Result<Written, ApiError> {
        let (answer, wait) = oneshot::channel();
        self.inner.inputs.send(Input::Write(Box::new(request), answer)).map_err(|_| self.gone())?;
        wait.await.map_err(|_| self.gone())?
    }

    fn gone(&self) -> ApiError {
        ApiError::new(Reason::ServiceUnavailable, "the server is ending; ask again when it is back")
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
    pub fn watch(
        &self,
        resource: Resource,
        namespace: Option<Arc<str>>,
        from: WatchFrom,
    ) -> Result<Watch, ApiError> {
        let from = match from {
            WatchFrom::Version(version) => version,
            WatchFrom::Now => self.inner.hub.version(),
        };
        self.inner.hub.watch(resource, namespace, from)
    }

    /// Reads objects for the node.
    pub fn lookup(&self) -> Lookup {
        let inner = self.inner.clone();
        Arc::new(move |resource, namespace, name| {
            inner.published.load().get(resource, namespace, name).map(|stored| Arc::new(stored.render()))
        })
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

struct Task {
    world: World,
    store: Store,
    shared: Arc<Shared>,
    node: Sender<Command>,
    /// Reports of batches that the disk refused: they are told again, as the node says a thing once.
    unsaved: Vec<Report>,
}

enum CommitFailure {
    /// Nothing was written; the journal is whole (a full disk).
    Refused(watchbell_store::Error),
    /// What the file holds is not known: only a new start, which replays it, is safe.
    Fatal(watchbell_store::Error),
}

impl Task {
    fn run(mut self, inputs: &Receiver<Input>) {
        loop {
            let first = match inputs.recv_timeout(self.patience()) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let now = Timestamp::now();
            let mut answers = Vec::new();
            let mut reports = std::mem::take(&mut self.unsaved);
            for report in &reports {
                self.world.report(report.clone(), now);
            }
            let mut ends = false;
            for input in first.into_iter().chain(inputs.try_iter().take(BATCH)) {
                match input {
                    Input::Write(request, answer) => answers.push((answer, self.world.write(*request, now))),
                    Input::Report(report) => {
                        self.world.report(report.clone(), now);
                        reports.push(report);
                    }
                    Input::ClockStep => {}
                    Input::End => ends = true,
                }
            }
            self.world.settle(now);
            match self.commit(now) {
                Ok(()) => {
                    for (answer, result) in answers {
                        // A client that went away does not hear the answer; what it asked for is done.
                        let _ = answer.send(result);
                    }
                }
                Err(CommitFailure::Refused(error)) => {
                    tracing::error!("{error}");
                    let refusal =
                        ApiError::new(Reason::InsufficientStorage, format!("nothing was changed: {error}"));
                    for (answer, _) in answers {
                        let _ = answer.send(Err(refusal.clone()));
                    }
                    self.unsaved = reports;
                }
                Err(CommitFailure::Fatal(error)) => {
                    tracing::error!("the journal failed, the server ends and will replay it: {error}");
                    *self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(error.to_string());
                    break;
                }
            }
            if ends {
                break;
            }
        }
        self.shared.hub.close();
    }

    /// How long to wait for input.
    fn patience(&self) -> Duration {
        if !self.unsaved.is_empty() {
            return DISK_RETRY;
        }
        let Some(at) = self.world.wake_at() else { return LONGEST_SLEEP };
        let left = at.duration_since(Timestamp::now());
        Duration::try_from(left).unwrap_or(Duration::ZERO).min(LONGEST_SLEEP)
    }

    fn commit(&mut self, now: Timestamp) -> Result<(), CommitFailure> {
        let stage = self.world.take_stage();
        if stage.is_empty() {
            return Ok(());
        }
        let version = self.world.resource_version();
        if !stage.changes.is_empty() || !stage.audit.is_empty() {
            let batch = journal::batch(&stage, version);
            if let Err(error) = self.store.commit(&batch) {
                let fatal = error.is_fatal();
                self.world.rollback(now);
                return Err(if fatal { CommitFailure::Fatal(error) } else { CommitFailure::Refused(error) });
            }
        }
        self.world.committed();
        self.shared.published.store(Arc::new(self.world.snapshot()));
        self.shared.hub.publish(stage.changes, version);
        for command in stage.commands {
            // The node's end of the channel lives as long as the server.
            let _ = self.node.send(command);
        }
        Ok(())
    }
}
