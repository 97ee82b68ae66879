//! The status of a pod as the node reports it and the journal keeps it. Times are Unix seconds, as Kubernetes
//! shows them; conditions are derived when the object is shown, so that a finished index stays small.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Uid;

/// Why a container waits that has ended and is not begun again yet.
pub const CRASH_LOOP_BACK_OFF: &str = "CrashLoopBackOff";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Phase {
    #[default]
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    pub fn is_terminal(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PodStatus {
    pub phase: Phase,
    /// When the pod was bound to this machine; `None`: it waits for room (`reason` and `message` say for what).
    pub scheduled_at: Option<i64>,
    /// When the node took it up (`status.startTime`).
    pub started_at: Option<i64>,
    /// When the phase became terminal.
    pub finished_at: Option<i64>,
    /// `DeadlineExceeded`, `Evicted`, `Unschedulable`…
    pub reason: Option<Box<str>>,
    pub message: Option<Box<str>>,
    /// Set when the pod is ended from outside: the `DisruptionTarget` condition's reason
    /// (`DeletionByPodGC`, `DeletionByTaintManager`, `EvictionByEvictionAPI`, `PreemptionByScheduler`, `TerminationByKubelet`).
    pub disruption: Option<Box<str>>,
    /// Conditions of clients' own types, as the JSON list they wrote.
    pub written_conditions: Option<Box<str>>,
    /// The devices that the pod holds until it has ended, and then held, by their full names (`vendor.com/class=name`).
    pub devices: Vec<Arc<str>>,
    /// Where its logs lie, if that no longer follows from whose pod it is.
    pub job_log: Option<Box<JobLog>>,
    /// Addresses of the pod; always empty for a task without a network.
    pub pod_ip: Option<Box<str>>,
    pub init_containers: Vec<ContainerStatus>,
    pub containers: Vec<ContainerStatus>,
}

/// The place of a pod's logs among those of a Job. It is settled before anything is written and never moves, whoever
/// controls the pod later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLog {
    pub job: Uid,
    pub index: Option<u32>,
    pub attempt: u32,
}

/// One container. Its name is that of the spec at the same position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    pub state: ContainerState,
    /// The end of the run before this one, when it was restarted.
    pub last_terminated: Option<Box<Terminated>>,
    pub restart_count: u32,
    /// The image by digest (`docker.io/library/busybox@sha256:…`), once resolved.
    pub image_id: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    Waiting { reason: Box<str>, message: Option<Box<str>> },
    Running { started_at: i64 },
    Terminated(Terminated),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminated {
    /// 0 to 255; 128 + signal when a signal ended it.
    pub exit_code: i32,
    pub signal: Option<i32>,
    pub reason: TerminatedReason,
    pub message: Option<Box<str>>,
    pub started_at: Option<i64>,
    pub finished_at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TerminatedReason {
    Completed,
    Error,
    OomKilled,
    /// The start failed before the program ran (`ContainerCannotRun`, `StartError`).
    StartError,
    ContainerCannotRun,
    /// The node lost sight of it: both the server and the spawner died, or the machine did.
    ContainerStatusUnknown,
    DeadlineExceeded,
}

impl TerminatedReason {
    pub fn as_str(self) -> &'static str {
        match self {
            TerminatedReason::Completed => "Completed",
            TerminatedReason::Error => "Error",
            TerminatedReason::OomKilled => "OOMKilled",
            TerminatedReason::StartError => "StartError",
            TerminatedReason::ContainerCannotRun => "ContainerCannotRun",
            TerminatedReason::ContainerStatusUnknown => "ContainerStatusUnknown",
            TerminatedReason::DeadlineExceeded => "DeadlineExceeded",
        }
    }
}

impl ContainerStatus {
    pub fn waiting(reason: &str) -> ContainerStatus {
        ContainerStatus {
            state: ContainerState::Waiting { reason: reason.into(), message: None },
            last_terminated: None,
            restart_count: 0,
            image_id: None,
        }
    }

    /// The number of the run whose end is `last_terminated`: the one after it is counted when the rest before it is over.
    pub fn run_before(&self) -> Option<u32> {
        self.last_terminated.as_ref()?;
        match &self.state {
            ContainerState::Waiting { reason, .. } if &**reason == CRASH_LOOP_BACK_OFF => {
                Some(self.restart_count)
            }
            _ => self.restart_count.checked_sub(1),
        }
    }

    pub fn terminated(&self) -> Option<&Terminated> {
        match &self.state {
            ContainerState::Terminated(end) => Some(end),
            ContainerState::Waiting { .. } | ContainerState::Running { .. } => None,
        }
    }
}
