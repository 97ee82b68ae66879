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
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::oneshot;
use watchbell_api::node::{Command, Lookup, Report};
use watchbell_api::{ApiError, Reason, Resource};
use watchbell_core::request::{Request, Write, Written};
use watchbell_core::world::{Config, Snapshot, Stage, World};
use watchbell_store::Store;

use crate::hub::{Hub, Watch};
use crate::journal;
use crate::maintenance::{self, Checkpoints};
use crate::metrics::Metrics;

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
    /// The journal failed beside the writer, in a way that only a new start can heal.
    Fatal(String),
    End,
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
struct Shared {
    inputs: Sender<Input>,
    published: ArcSwap<Snapshot>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
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
            metrics: Arc::default(),
            ended: Mutex::new(None),
        });
        let checkpoints = maintenance::start(store.maintenance()?, inputs.clone())?;
        let mut task = Task { world, store, shared: shared.clone(), node, unsaved: Vec::new(), checkpoints };
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
    pub(crate) fn watch(
        &self,
        resource: Resource,
        namespace: Option<Arc<str>>,
        from: WatchFrom,
    ) -> Result<Watch, ApiError> {
        let WatchFrom::Version(version) = from;
        self.inner.hub.watch(resource, namespace, version)
    }

    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        self.inner.metrics.clone()
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
    checkpoints: Checkpoints,
}

enum CommitFailure {
    /// Nothing was written; the journal is whole (a full disk).
    Refused(watchbell_store::Error),
    /// What the file holds is not known: only a new start, which replays it, is safe.
    Fatal(watchbell_store::Error),
}

type Answer = oneshot::Sender<Result<Written, ApiError>>;

/// Whether the writer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    End,
}

impl Task {
    fn run(mut self, inputs: &Receiver<Input>) {
        loop {
            let first = match inputs.recv_timeout(self.patience()) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let is_idle = first.is_none();
            let inputs = first.into_iter().chain(inputs.try_iter().take(BATCH)).collect();
            if self.batch(inputs) == Next::End {
                break;
            }
            if is_idle {
                self.checkpoints.idle();
            }
        }
        self.shared.hub.close();
        self.checkpoints.end();
    }

    /// Takes what came in, decides, makes it durable, then answers.
    fn batch(&mut self, inputs: Vec<Input>) -> Next {
        let now = Timestamp::now();
        let mut next = Next::Go;
        let mut writes = Vec::new();
        let mut reports = std::mem::take(&mut self.unsaved);
        let is_disk_full = !reports.is_empty();
        for input in inputs {
            match input {
                Input::Write(request, answer) => writes.push((request, answer)),
                Input::Report(report) => reports.push(report),
                Input::ClockStep => {}
                Input::Fatal(cause) => return self.fail(&cause),
                Input::End => next = Next::End,
            }
        }
        if is_disk_full {
            // What only takes away may use the journal's reserve, alone in its batch.
            let (deletes, others): (Vec<_>, Vec<_>) = writes
                .into_iter()
                .partition(|(r, _)| matches!(r.write, Write::Delete(_) | Write::DeleteCollection { .. }));
            writes = others;
            for (request, answer) in deletes {
                let result = self.world.write(*request, now);
                if self.finish(vec![(answer, result)], Vec::new(), now) == Next::End {
                    return Next::End;
                }
            }
        }
        for report in &reports {
            self.world.report(report.clone(), now);
        }
        // Deletions may be tried again: they hold nothing large.
        let mut again = Vec::new();
        let mut answers = Vec::new();
        for (request, answer) in writes {
            again.push(matches!(request.write, Write::Delete(_)).then(|| request.clone()));
            answers.push((answer, self.world.write(*request, now)));
        }
        self.world.settle(now);
        match self.commit(now) {
            Ok(()) => {
                for (answer, result) in answers {
                    // A client that went away does not hear the answer; what it asked for is done.
                    let _ = answer.send(result);
                }
                next
            }
            Err(CommitFailure::Refused(error)) => {
                self.unsaved = reports;
                for ((answer, result), request) in answers.into_iter().zip(again) {
                    let outcome = match request {
                        Some(request) => {
                            let result = self.world.write(*request, now);
                            self.finish(vec![(answer, result)], Vec::new(), now)
                        }
                        None => {
                            refuse(answer, result, &error);
                            Next::Go
                        }
                    };
                    if outcome == Next::End {
                        return Next::End;
                    }
                }
                next
            }
            Err(CommitFailure::Fatal(error)) => self.fail(&error.to_string()),
        }
    }

    /// Makes durable what the world has staged, then answers.
    fn finish(
        &mut self,
        answers: Vec<(Answer, Result<Written, ApiError>)>,
        reports: Vec<Report>,
        now: Timestamp,
    ) -> Next {
        match self.commit(now) {
            Ok(()) => {
                for (answer, result) in answers {
                    let _ = answer.send(result);
                }
            }
            Err(CommitFailure::Refused(error)) => {
                for (answer, result) in answers {
                    refuse(answer, result, &error);
                }
                self.unsaved.extend(reports);
            }
            Err(CommitFailure::Fatal(error)) => return self.fail(&error.to_string()),
        }
        Next::Go
    }

    fn fail(&mut self, cause: &str) -> Next {
        tracing::error!("the journal failed, the server ends and will replay it: {cause}");
        *self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause.to_owned());
        Next::End
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
        if (!stage.changes.is_empty() || !stage.audit.is_empty())
            && let Err(error) = self.make_durable(&stage, version)
        {
            self.world.rollback(now);
            if error.is_fatal() {
                return Err(CommitFailure::Fatal(error));
            }
            tracing::error!("{error}");
            self.shared.metrics.commit_refused();
            return Err(CommitFailure::Refused(error));
        }
        self.world.committed();
        self.shared.published.store(Arc::new(self.world.snapshot()));
        let durable_at = Timestamp::now();
        for change in &stage.changes {
            self.shared.metrics.change(change, durable_at);
        }
        self.shared.hub.publish(stage.changes, version);
        for command in stage.commands {
            // The node's end of the channel lives as long as the server.
            let _ = self.node.send(command);
        }
        Ok(())
    }

    fn make_durable(&mut self, stage: &Stage, version: u64) -> Result<(), watchbell_store::Error> {
        let batch = journal::batch(stage, version);
        let started = Instant::now();
        let committed = self.store.commit(&batch)?;
        self.shared.metrics.committed(started.elapsed(), committed.wal_bytes);
        if self.checkpoints.after_commit(committed.wal_bytes) == maintenance::Due::Here
            && let Err(error) = self.store.checkpoint()
        {
            if error.is_fatal() {
                return Err(error);
            }
            // The batch is durable; the WAL shrinks when there is room again.
            tracing::warn!("the journal's WAL stays large: {error}");
        }
        Ok(())
    }
}

/// Answers a request whose batch was not written: an error stays the error it was.
fn refuse(answer: Answer, result: Result<Written, ApiError>, cause: &watchbell_store::Error) {
    let refusal = || ApiError::new(Reason::InsufficientStorage, format!("nothing was changed: {cause}"));
    let _ = answer.send(result.and_then(|_| Err(refusal())));
}
