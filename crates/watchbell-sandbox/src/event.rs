//! What the spawner tells: outcomes of starts, ends of runs, and its table to a server that connects.

use serde::{Deserialize, Serialize};

use crate::ContainerId;
use crate::wire::{DOORS_SINCE, GATE_LOST_SINCE, MAPPED_SINCE, OLDEST, TROUBLE_SINCE};

/// Nanoseconds since 1970-01-01T00:00:00Z by the wall clock.
pub type UnixNanos = i64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The program was executed. It may have ended since.
    Started { id: ContainerId, pid: u32, at: UnixNanos },
    /// It was not executed, and nothing of it is left. Kept in the table until acknowledged.
    StartFailed(StartFailure),
    /// Its last process ended and its log is complete. Kept in the table until acknowledged.
    Exited(ExitRecord),
    /// The connection is gone; no event follows. Connect again: events since are in the table.
    Disconnected,
    // --- since version 3 of the protocol ---
    /// Something is wrong with the log of a run that goes on. It is told once to the server that is connected; the run's
    /// [`LogSummary`] has the sum.
    LogTrouble { id: ContainerId, trouble: LogTrouble },
    // --- since version 5 of the protocol ---
    /// A run begins with ids of its pod's own: the host's id of its user 0. It comes before [`Event::Started`], and not at all
    /// for a pod with the host's ids.
    Mapped { id: ContainerId, first_host_id: u32 },
    // --- since version 9 of the protocol ---
    /// What the gate says of connections: a [`Notice`](crate::gate::Notice) in its wire form, to be read as what a stranger wrote. It is kept,
    /// and told to each server that connects, until [`Spawner::heard`](crate::Spawner::heard). `lost`: so many before it found no room.
    /// An empty notice is the count alone.
    Connections { serial: u64, lost: u64, notice: Vec<u8> },
    // --- since version 10 of the protocol ---
    /// A gate has died. Of what it had not said from then on nothing is known: connections that began, and how those ended that were
    /// open. It is numbered and kept as they are.
    GateLost { serial: u64, from: UnixNanos, until: UnixNanos },
}

impl Event {
    /// The version of the protocol that it came with.
    pub(crate) fn since(&self) -> u32 {
        match self {
            Event::LogTrouble { .. } => TROUBLE_SINCE,
            Event::Mapped { .. } => MAPPED_SINCE,
            Event::Connections { .. } => DOORS_SINCE,
            Event::GateLost { .. } => GATE_LOST_SINCE,
            _ => OLDEST,
        }
    }
}

/// Why a start failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailure {
    pub id: ContainerId,
    pub at: UnixNanos,
    pub kind: StartFailureKind,
    /// The step that failed, as [`plan`](crate::plan) words it.
    pub step: String,
    /// Step, object, cause and way out in one sentence.
    pub message: String,
}

/// What Kubernetes would show differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartFailureKind {
    /// No such program in the image (exit code 127 by a shell's convention).
    CommandNotFound,
    /// It is there and cannot be executed: not executable, wrong architecture, missing interpreter (126).
    CommandNotExecutable,
    /// The spec is outside its bounds or above the spawner's ceiling.
    Refused,
    /// A step of the sandbox failed; nothing weaker was started (128, `StartError`).
    Sandbox,
    /// Signalled or killed by [`kill_pod`](crate::Spawner::kill_pod) before it was executed.
    Cancelled,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    pub id: ContainerId,
    pub status: ExitStatus,
    /// The kernel killed a process of this container for its memory limit.
    pub oom_killed: bool,
    pub started_at: UnixNanos,
    pub finished_at: UnixNanos,
    pub usage: Usage,
    pub log: LogSummary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    Code(u8),
    Signal(i32),
    /// The spawner that ran it died too: what it did is unknown, nothing of it runs any more.
    Lost,
}

impl ExitStatus {
    /// Kubernetes' `exitCode`: 128 + signal when killed by one; a lost container is 137, as kubelet words it.
    pub fn code(self) -> i32 {
        match self {
            ExitStatus::Code(code) => i32::from(code),
            ExitStatus::Signal(signal) => 128 + signal,
            ExitStatus::Lost => 137,
        }
    }
}

/// What a run used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time of all its processes.
    pub cpu_ns: u64,
    /// Largest resident set of any one of its processes.
    pub max_rss_bytes: u64,
}

/// What becomes of a log while its run goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogTrouble {
    /// Lines are lost: the file cannot be written, for this reason. The container does not wait for the disk.
    Lost { cause: String },
    /// It prints faster than the rate that is allowed, and waits.
    Held,
}

/// What the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogSummary {
    /// Bytes that the task wrote.
    pub bytes: u64,
    /// Lines that the task ended.
    pub lines: u64,
    /// Bytes of those that the log no longer holds: rotated away, or refused by a full disk.
    pub dropped_bytes: u64,
}

/// One row of the spawner's table, handed over when a server connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableEntry {
    /// Asked for, not yet executed; an event will follow.
    Starting {
        id: ContainerId,
    },
    Running {
        id: ContainerId,
        pid: u32,
        started_at: UnixNanos,
    },
    Failed(StartFailure),
    /// Ended, and not acknowledged. A [`ExitStatus::Lost`] ran under a spawner that died.
    Exited(ExitRecord),
}

impl TableEntry {
    pub fn id(&self) -> ContainerId {
        match self {
            TableEntry::Starting { id } | TableEntry::Running { id, .. } => *id,
            TableEntry::Failed(failure) => failure.id,
            TableEntry::Exited(record) => record.id,
        }
    }
}
