//! What becomes of each run. Pure: inputs in, effects out; nothing a client sends makes it panic.
//!
//! ```text
//!  Start ──▶ Queued ──Begun──▶ Starting ──Executed──▶ Running ──Ended──▶ Ending ──Emptied, LogComplete──▶ Exited
//!              │                  │                                                                        │
//!              └──── NotBegun ────┴─ NotExecuted ─▶ Failing ──Ended, Emptied──▶ Failed ── Acknowledge ─▶ (gone)
//! ```

mod pods;

use std::collections::{BTreeMap, HashMap};

use super::record::Record;
use crate::{
    ContainerId, Event, ExitRecord, ExitStatus, LogSummary, Sharing, StartFailure, StartFailureKind,
    TableEntry, UnixNanos, Usage,
};
use pods::Pod;

/// Runs that are not acknowledged. A client that asks for more does not acknowledge.
pub(crate) const RUNS_MAX: usize = 1 << 16;
#[derive(Debug, Clone, PartialEq, Eq)]
enum Run {
    /// Waits for its turn, its spec held by the event loop.
    Queued,
    /// Cloned; the program is not executed yet.
    Starting {
        pid: u32,
        cancelled: bool,
    },
    /// `log` is there when it closed both of its streams itself.
    Running {
        pid: u32,
        started_at: UnixNanos,
        log: Option<LogSummary>,
    },
    /// The program was not executed; what was begun goes away.
    Failing {
        failure: StartFailure,
        reaped: bool,
    },
    /// Its first process ended.
    Ending(Ending),
    Failed(StartFailure),
    Exited(ExitRecord),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Ending {
    pid: u32,
    started_at: UnixNanos,
    finished_at: UnixNanos,
    status: ExitStatus,
    /// Of its cgroup, which is empty and given back.
    emptied: Option<(Usage, bool)>,
    log: Option<LogSummary>,
}

impl Run {
    fn is_over(&self) -> bool {
        matches!(self, Run::Failed(_) | Run::Exited(_))
    }
}

/// What happens to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// Asked for, and within the ceiling.
    Start,
    /// Asked for, and never begun.
    Refuse(StartFailureKind, String),
    Begun {
        pid: u32,
    },
    /// Beginning failed and left nothing.
    NotBegun {
        kind: StartFailureKind,
        step: String,
        message: String,
    },
    Executed,
    /// The task itself reported that a step before the program failed.
    NotExecuted {
        kind: StartFailureKind,
        step: String,
        message: String,
    },
    /// The first process was reaped.
    Ended(ExitStatus),
    /// No process of it is left, and its cgroup is given back.
    Emptied {
        usage: Usage,
        oom_killed: bool,
    },
    LogComplete(LogSummary),
    Signal(i32),
    Acknowledge,
}

/// What the event loop has to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Write into the table before any effect after it.
    Record(Record),
    /// Begin this start when its turn comes.
    Begin(ContainerId),
    /// Its turn must not come any more.
    Unqueue(ContainerId),
    /// Hand its pipes to the keeper.
    Watch(ContainerId),
    Signal(ContainerId, i32),
    /// Kill all of it.
    Kill(ContainerId),
    /// Watch its cgroup get empty, killing what is left, then give it back.
    Empty(ContainerId),
    /// Nothing of it is held any more.
    Drop(ContainerId),
    /// Give back what the pod's containers shared.
    ReleasePod(u128),
    Tell(Event),
}

#[derive(Debug, Default)]
pub(crate) struct Machine {
    runs: BTreeMap<ContainerId, Run>,
    pods: HashMap<u128, Pod>,
    pod_bytes: u64,
    active: usize,
}

impl Machine {
    /// Continues with the table of a spawner before this one, nothing of whose runs is left.
    pub(crate) fn restore(entries: impl IntoIterator<Item = TableEntry>) -> Self {
        let runs = entries.into_iter().filter_map(|entry| match entry {
            TableEntry::Failed(failure) => Some((failure.id, Run::Failed(failure))),
            TableEntry::Exited(record) => Some((record.id, Run::Exited(record))),
            TableEntry::Starting { .. } | TableEntry::Running { .. } => None,
        });
        Self { runs: runs.collect(), ..Self::default() }
    }

    /// Neither a run that is not over nor a pod.
    pub(crate) fn is_idle(&self) -> bool {
        self.active == 0 && self.pods.is_empty()
    }

    pub(crate) fn has_active(&self) -> bool {
        self.active > 0
    }

    pub(crate) fn table(&self) -> impl Iterator<Item = TableEntry> {
        self.runs.iter().map(|(&id, run)| match run {
            Run::Queued | Run::Starting { .. } | Run::Failing { .. } => TableEntry::Starting { id },
            Run::Running { pid, started_at, .. } => {
                TableEntry::Running { id, pid: *pid, started_at: *started_at }
            }
            Run::Ending(ending) => TableEntry::Running { id, pid: ending.pid, started_at: ending.started_at },
            Run::Failed(failure) => TableEntry::Failed(failure.clone()),
            Run::Exited(record) => TableEntry::Exited(record.clone()),
        })
    }

    pub(crate) fn is_queued(&self, id: ContainerId) -> bool {
        matches!(self.runs.get(&id), Some(Run::Queued))
    }

    /// Whether a start of this run would be a new one.
    pub(crate) fn is_new(&self, id: ContainerId) -> bool {
        !self.runs.contains_key(&id)
    }

    /// Feeds one happening into one run.
    pub(crate) fn run(&mut self, id: ContainerId, input: Input, now: UnixNanos, out: &mut Vec<Effect>) {
        match input {
            Input::Start => self.start(id, now, out),
            Input::Refuse(kind, message) => {
                if !self.is_new(id) {
                    return;
                }
                let step = "check the request".to_owned();
                let mut failure = StartFailure { id, at: now, kind, step, message };
                if self.has_room() {
                    self.fail(failure, out);
                } else {
                    // Told and not kept: there is nothing to acknowledge, and asked for again it is a new start.
                    shorten_texts(&mut failure);
                    out.push(Effect::Tell(Event::StartFailed(failure)));
                }
            }
            Input::Acknowledge => {
                if self.runs.get(&id).is_some_and(Run::is_over) {
                    self.runs.remove(&id);
                    out.push(Effect::Record(Record::Forgotten { id }));
                }
            }
            input => self.advance(id, input, now, out),
        }
    }

    fn start(&mut self, id: ContainerId, now: UnixNanos, out: &mut Vec<Effect>) {
        if !self.is_new(id) {
            return;
        }
        if !self.has_room() {
            let why = format!(
                "cannot start {id}: {RUNS_MAX} runs are not acknowledged; the server has to do so first"
            );
            return self.run(id, Input::Refuse(StartFailureKind::Refused, why), now, out);
        }
        let busy = self.active_of(id.pod_uid);
        let refusal = match self.pods.get(&id.pod_uid) {
            None => Some((StartFailureKind::Refused, "its pod was not sent, or there was no room for it")),
            Some(pod) if pod.releasing => Some((StartFailureKind::Cancelled, "its pod is released")),
            Some(pod) if pod.environment.sharing == Sharing::Single && busy => {
                Some((StartFailureKind::Refused, "another container of this single-container pod still runs"))
            }
            Some(_) => None,
        };
        if let Some((kind, why)) = refusal {
            return self.run(id, Input::Refuse(kind, format!("cannot start {id}: {why}")), now, out);
        }
        self.runs.insert(id, Run::Queued);
        self.active += 1;
        if let Some(pod) = self.pods.get_mut(&id.pod_uid) {
            pod.active += 1;
            pod.used = true;
        }
        out.push(Effect::Record(Record::Asked { id, at: now }));
        out.push(Effect::Begin(id));
    }

    fn active_of(&self, pod_uid: u128) -> bool {
        self.pods.get(&pod_uid).is_some_and(|pod| pod.active > 0)
    }

    /// Moves a run that is not over. What does not fit its state is late news and changes nothing.
    fn advance(&mut self, id: ContainerId, input: Input, now: UnixNanos, out: &mut Vec<Effect>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        match (&mut *run, input) {
            (Run::Queued, Input::Begun { pid }) => *run = Run::Starting { pid, cancelled: false },
            (Run::Queued, Input::NotBegun { kind, step, message }) => {
                self.end_failed(StartFailure { id, at: now, kind, step, message }, out);
            }
            (Run::Queued, Input::Signal(signal)) => {
                out.push(Effect::Unqueue(id));
                let failure = cancelled(id, now, signal);
                self.end_failed(failure, out);
            }
            (Run::Starting { cancelled, .. }, Input::Signal(_)) => {
                // The task may be between two steps, where most signals would be lost.
                *cancelled = true;
                out.push(Effect::Kill(id));
            }
            (Run::Starting { pid, .. }, Input::Executed) => {
                let pid = *pid;
                *run = Run::Running { pid, started_at: now, log: None };
                out.push(Effect::Record(Record::Running { id, pid, at: now }));
                out.push(Effect::Watch(id));
                out.push(Effect::Tell(Event::Started { id, pid, at: now }));
            }
            (Run::Starting { .. }, Input::NotExecuted { kind, step, message }) => {
                let failure = StartFailure { id, at: now, kind, step, message };
                *run = Run::Failing { failure, reaped: false };
                out.push(Effect::Kill(id));
            }
            (Run::Starting { cancelled: true, .. }, Input::Ended(_)) => {
                *run = Run::Failing { failure: cancelled_while_starting(id, now), reaped: true };
                out.push(Effect::Empty(id));
            }
            (Run::Starting { .. }, Input::Ended(status)) => {
                let failure = StartFailure {
                    id,
                    at: now,
                    kind: StartFailureKind::Sandbox,
                    step: "set up the container".to_owned(),
                    message: format!("cannot start {id}: it ended before its program ran ({})", word(status)),
                };
                *run = Run::Failing { failure, reaped: true };
                out.push(Effect::Empty(id));
            }
            (Run::Failing { reaped, .. }, Input::Ended(_)) => {
                *reaped = true;
                out.push(Effect::Empty(id));
            }
            (Run::Failing { failure, reaped: true }, Input::Emptied { .. }) => {
                let failure = failure.clone();
                out.push(Effect::Drop(id));
                self.end_failed(failure, out);
            }
            (Run::Running { .. }, Input::Signal(signal)) => out.push(Effect::Signal(id, signal)),
            (&mut Run::Running { pid, started_at, log }, Input::Ended(status)) => {
                *run = Run::Ending(Ending {
                    pid,
                    started_at,
                    // A wall clock that was set back must not make a run end before it began.
                    finished_at: now.max(started_at),
                    status,
                    emptied: None,
                    log,
                });
                out.push(Effect::Empty(id));
            }
            (Run::Running { log, .. }, Input::LogComplete(summary)) => *log = Some(summary),
            (Run::Ending(ending), Input::Emptied { usage, oom_killed }) => {
                ending.emptied.get_or_insert((usage, oom_killed));
                self.end_if_complete(id, out);
            }
            (Run::Ending(ending), Input::LogComplete(summary)) => {
                ending.log.get_or_insert(summary);
                self.end_if_complete(id, out);
            }
            _ => {}
        }
    }

    fn end_if_complete(&mut self, id: ContainerId, out: &mut Vec<Effect>) {
        let Some(Run::Ending(ending)) = self.runs.get(&id) else { return };
        let (Some((usage, oom_killed)), Some(log)) = (ending.emptied, ending.log) else { return };
        let record = ExitRecord {
            id,
            status: ending.status,
            oom_killed,
            started_at: ending.started_at,
            finished_at: ending.finished_at,
            usage,
            log,
        };
        out.push(Effect::Drop(id));
        out.push(Effect::Record(Record::Exited(record.clone())));
        out.push(Effect::Tell(Event::Exited(record.clone())));
        self.runs.insert(id, Run::Exited(record));
        self.one_is_over(id.pod_uid, out);
    }

    fn has_room(&self) -> bool {
        self.runs.len() < RUNS_MAX
    }

    fn fail(&mut self, mut failure: StartFailure, out: &mut Vec<Effect>) {
        shorten_texts(&mut failure);
        out.push(Effect::Record(Record::Failed(failure.clone())));
        out.push(Effect::Tell(Event::StartFailed(failure.clone())));
        self.runs.insert(failure.id, Run::Failed(failure));
    }

    /// Fails a run that was counted as active.
    fn end_failed(&mut self, failure: StartFailure, out: &mut Vec<Effect>) {
        let pod_uid = failure.id.pod_uid;
        self.fail(failure, out);
        self.one_is_over(pod_uid, out);
    }

    fn one_is_over(&mut self, pod_uid: u128, out: &mut Vec<Effect>) {
        self.active = self.active.saturating_sub(1);
        if let Some(pod) = self.pods.get_mut(&pod_uid) {
            pod.active = pod.active.saturating_sub(1);
            if pod.releasing && pod.active == 0 {
                self.remove_pod(pod_uid);
                out.push(Effect::ReleasePod(pod_uid));
            }
        }
    }
}

/// Bound of the texts of a failure.
const TEXT_MAX: usize = 4096;

/// They hold names that a server chose: a record has a bound, and must be readable again.
fn shorten_texts(failure: &mut StartFailure) {
    shorten(&mut failure.step);
    shorten(&mut failure.message);
}

fn shorten(text: &mut String) {
    if text.len() > TEXT_MAX {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        text.push('…');
    }
}

fn cancelled(id: ContainerId, at: UnixNanos, signal: i32) -> StartFailure {
    StartFailure {
        id,
        at,
        kind: StartFailureKind::Cancelled,
        step: "wait for its turn".to_owned(),
        message: format!("{id} was ended by signal {signal} before it began"),
    }
}

fn cancelled_while_starting(id: ContainerId, at: UnixNanos) -> StartFailure {
    StartFailure {
        id,
        at,
        kind: StartFailureKind::Cancelled,
        step: "set up the container".to_owned(),
        message: format!("{id} was ended before its program ran"),
    }
}

fn word(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exit code {code}"),
        ExitStatus::Signal(signal) => format!("signal {signal}"),
        ExitStatus::Lost => "lost".to_owned(),
    }
}
