//! One pod of the agent's.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use watchbell_api::Uid;
use watchbell_api::node::{Assignment, Report};
use watchbell_api::types::pod_status::{ContainerState, ContainerStatus, Phase, PodStatus, Terminated};
use watchbell_core::pod::{BLOCKED, Life, State};
use watchbell_sandbox::{ContainerId, PodEnvironment, TableEntry};

use super::arrays::PodArrays;
use super::plan::Plan;
use super::spec::{Prerequisite, Site};
use super::{Effect, Now, create, ends};
use crate::image::Lease;

/// A pod that was taken up.
pub(super) struct Pod {
    pub(super) assignment: Box<Assignment>,
    pub(super) plan: Arc<Plan>,
    pub(super) life: Life,
    /// Made at the first start.
    pub(super) environment: Option<Arc<PodEnvironment>>,
    /// When its tokens have to be replaced.
    pub(super) refresh_at: Option<Duration>,
    /// What its volumes need, made with the first start.
    pub(super) needed: Vec<Prerequisite>,
    pub(super) arrays: Option<PodArrays>,
    pub(super) leases: Vec<(Arc<str>, Lease)>,
    /// By ordinal.
    pub(super) stop_signals: Vec<i32>,
    /// Runs that the spawner knows and that are not acknowledged.
    pub(super) handed: Vec<ContainerId>,
    /// The starts that were asked for and not told of.
    pub(super) begun: Vec<Begun>,
    /// Failures in a row to make a container's configuration, or what it needs.
    pub(super) tries: u32,
    pub(super) told: PodStatus,
    pub(super) wake_at: Option<Duration>,
    /// Until when the news that it runs is held back.
    pub(super) held_until: Option<Duration>,
    pub(super) is_touched: bool,
    pub(super) is_over: bool,
    /// Nobody asks for it any more: it goes once it is over.
    pub(super) is_forgotten: bool,
    pub(super) removes_logs: bool,
}

/// A start that the spawner has.
pub(super) struct Begun {
    pub(super) id: ContainerId,
    /// The host's id of its user 0, once the spawner told.
    pub(super) host_ids: Option<u32>,
    pub(super) is_executed: bool,
    pub(super) settings: Arc<Value>,
}

impl Pod {
    /// A container cannot be made yet: it is tried again, each time later.
    pub(super) fn back_off(&mut self, ordinal: usize, reason: &'static str, message: String, now: Now) {
        let retry_at = now.mono + BLOCKED.wait(self.tries);
        self.tries = self.tries.saturating_add(1);
        self.life.blocked(ordinal, reason, message, retry_at);
    }

    /// The spawner has given it ids of the host.
    pub(super) fn mapped(&mut self, id: ContainerId, first_host_id: u32) {
        if let Some(begun) = self.begun.iter_mut().find(|begun| begun.id == id) {
            begun.host_ids = Some(first_host_id);
        }
    }

    /// Its program was executed: the journal is told with the next word of the pod.
    pub(super) fn started(&mut self, id: ContainerId) {
        if let Some(begun) = self.begun.iter_mut().find(|begun| begun.id == id) {
            begun.is_executed = true;
        }
    }

    /// What the journal is to be told of starts.
    pub(super) fn take_starts(&mut self) -> impl Iterator<Item = Report> {
        let uid = self.assignment.uid;
        let (told, kept) = std::mem::take(&mut self.begun).into_iter().partition(|begun| begun.is_executed);
        self.begun = kept;
        let told: Vec<Begun> = told;
        told.into_iter().map(move |Begun { id, host_ids, settings, .. }| Report::Started {
            uid,
            container: id.container,
            attempt: id.attempt,
            host_ids,
            settings,
        })
    }

    /// Pods with the same run share images and plan.
    pub(super) fn run(&self) -> Uid {
        self.assignment.job.as_ref().map_or(self.assignment.uid, |(job, _)| *job)
    }

    pub(super) fn id(&self, ordinal: usize) -> ContainerId {
        ContainerId {
            pod_uid: self.assignment.uid.0,
            container: ordinal as u16,
            attempt: self.life.containers[ordinal].restart_count,
        }
    }

    /// The pods of an array speak in warnings alone: nobody reads ten thousand times that all is well.
    pub(super) fn speaks(&self, warning: bool) -> bool {
        warning || self.assignment.index.is_none()
    }

    pub(super) fn event(&self, warning: bool, reason: &'static str, message: String) -> Effect {
        Effect::Report(Report::Event { uid: self.assignment.uid, warning, reason, message })
    }

    /// The spawner says something of one of the pod's runs.
    pub(super) fn learn(&mut self, site: &Site, entry: TableEntry, now: Now) {
        let id = entry.id();
        if !matches!(entry, TableEntry::Starting { .. }) {
            self.tries = 0;
        }
        match entry {
            TableEntry::Starting { .. } => {}
            TableEntry::Running { started_at, .. } => {
                if self.is_present(id) {
                    self.life.running(usize::from(id.container), ends::seconds(started_at));
                }
            }
            TableEntry::Failed(failure) => self.end(id, ends::of_failure(&failure), now),
            TableEntry::Exited(record) => {
                let mut end = ends::of_exit(&record);
                if end.message.is_none() {
                    end.message = create::termination_message(site, &self.assignment, id, end.exit_code);
                }
                self.end(id, end, now);
            }
        }
    }

    /// Whether this is the container's newest run.
    pub(super) fn is_present(&self, id: ContainerId) -> bool {
        self.life.containers.get(usize::from(id.container)).is_some_and(|c| c.restart_count == id.attempt)
    }

    pub(super) fn end(&mut self, id: ContainerId, how: Terminated, now: Now) {
        if self.is_present(id) {
            self.life.ended(usize::from(id.container), how, now.mono);
        }
    }

    pub(super) fn is_alive(&self, ordinal: usize) -> bool {
        matches!(self.life.containers[ordinal].state, State::Starting | State::Running { .. })
    }
}

/// Whether the server should hear of it. That a pending pod has been taken up and found its image, or tries again what it could
/// not do before, is not worth a write: it comes with what follows.
pub(super) fn is_news(told: &PodStatus, status: &PodStatus) -> bool {
    if (told.phase, status.phase) != (Phase::Pending, Phase::Pending) {
        return told != status;
    }
    let differ = |a: &[ContainerStatus], b: &[ContainerStatus]| {
        a.len() != b.len()
            || a.iter().zip(b).any(|(a, b)| {
                !is_same(&a.state, &b.state)
                    || a.restart_count != b.restart_count
                    || a.last_terminated != b.last_terminated
            })
    };
    differ(&told.containers, &status.containers)
        || differ(&told.init_containers, &status.init_containers)
        || told.reason != status.reason
}

/// Whether a container of a pending pod is where it was: one that tries again has nothing to say yet.
fn is_same(told: &ContainerState, state: &ContainerState) -> bool {
    match (told, state) {
        (
            ContainerState::Waiting { reason: before, .. },
            ContainerState::Waiting { reason, message: None },
        ) => before == reason,
        _ => told == state,
    }
}
