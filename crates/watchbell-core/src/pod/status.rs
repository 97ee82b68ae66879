//! The status of a pod as the server keeps it, from its life.

use watchbell_api::types::pod::PodSpec;
use watchbell_api::types::pod_status::{
    CRASH_LOOP_BACK_OFF, ContainerState, ContainerStatus, Phase, PodStatus, TerminatedReason,
};

use super::life::{Container, EndCause, Life, State};

/// The reason of the condition `DisruptionTarget`, as Kubernetes has it of a pod whose node is gone.
const LOST: &str = "DeletionByPodGC";

impl Life {
    pub fn status(&self, spec: &PodSpec) -> PodStatus {
        let (reason, message): (Option<Box<str>>, Option<Box<str>>) =
            match self.ending.as_ref().map(|e| &e.cause) {
                Some(EndCause::Deadline) => (
                    Some("DeadlineExceeded".into()),
                    Some("Pod was active on the node longer than the specified deadline".into()),
                ),
                Some(EndCause::Refused { reason, message }) => (Some(reason.clone()), Some(message.clone())),
                Some(EndCause::Completed | EndCause::InitFailed | EndCause::Stopped(_)) | None => {
                    (None, None)
                }
            };
        let phase = self.phase(spec);
        let (inits, mains) = self.containers.split_at(self.inits);
        let initialized = mains.iter().any(|c| c.state != State::Idle) || self.are_inits_passed(spec);
        let waiting_for = if initialized { "ContainerCreating" } else { "PodInitializing" };
        PodStatus {
            phase,
            scheduled_at: self.scheduled_at,
            started_at: Some(self.started_at),
            finished_at: self.finished.then(|| self.last_end()).flatten(),
            reason,
            message,
            disruption: self.disruption.clone().or_else(|| self.is_lost(phase).then(|| LOST.into())),
            written_conditions: None,
            devices: Vec::new(),
            job_log: None,
            pod_ip: None,
            init_containers: inits.iter().map(|c| container_status(c, "PodInitializing")).collect(),
            containers: mains.iter().map(|c| container_status(c, waiting_for)).collect(),
        }
    }

    /// Whether the pod failed by nothing but that its machine lost it: no container failed of itself, and nobody ended it.
    fn is_lost(&self, phase: Phase) -> bool {
        let nobody_ended_it = matches!(
            self.ending.as_ref().map(|e| &e.cause),
            Some(EndCause::Completed | EndCause::InitFailed)
        );
        let mut failures = self.containers.iter().filter_map(|container| match &container.state {
            State::Ended(end) if end.exit_code != 0 => Some(end.reason),
            _ => None,
        });
        phase == Phase::Failed
            && nobody_ended_it
            && failures.all(|reason| reason == TerminatedReason::ContainerStatusUnknown)
    }

    fn phase(&self, spec: &PodSpec) -> Phase {
        let (_, mains) = self.containers.split_at(self.inits);
        if self.finished {
            let succeeded = mains.iter().all(|c| matches!(&c.state, State::Ended(end) if end.exit_code == 0));
            return match self.ending.as_ref().map(|e| &e.cause) {
                Some(EndCause::Completed | EndCause::Stopped(_)) if succeeded => Phase::Succeeded,
                _ => Phase::Failed,
            };
        }
        if !mains.iter().any(|c| c.state != State::Idle) && !self.are_inits_passed(spec) {
            return Phase::Pending;
        }
        let has_ended = |c: &Container| matches!(c.state, State::Ended(_)) || c.last_terminated.is_some();
        let runs = |c: &Container| matches!(c.state, State::Running { .. });
        let all_begun = mains.iter().all(|c| runs(c) || has_ended(c));
        if all_begun || mains.iter().any(has_ended) { Phase::Running } else { Phase::Pending }
    }

    pub(super) fn are_inits_passed(&self, spec: &PodSpec) -> bool {
        self.containers[..self.inits].iter().zip(&spec.init_containers).all(|(state, container)| {
            if PodSpec::is_sidecar(container) {
                state.has_run
            } else {
                matches!(&state.state, State::Ended(end) if end.exit_code == 0)
            }
        })
    }

    fn last_end(&self) -> Option<i64> {
        let ends = self.containers.iter().filter_map(|c| match &c.state {
            State::Ended(end) => Some(end.finished_at),
            _ => None,
        });
        ends.max()
    }

    /// Whether a container that ended like this is begun again while the pod lives.
    pub fn will_restart(&self, spec: &PodSpec, container: usize, exit_code: i32) -> bool {
        if self.is_ending() {
            return false;
        }
        match spec.init_containers.get(container) {
            Some(init) => spec.restarts(init, exit_code, true),
            None => spec.restarts(&spec.containers[container - self.inits], exit_code, false),
        }
    }
}

fn container_status(container: &Container, waiting_for: &str) -> ContainerStatus {
    let waiting =
        |reason: &str, message: Option<Box<str>>| ContainerState::Waiting { reason: reason.into(), message };
    let state = match &container.state {
        State::Idle | State::Preparing | State::Starting => waiting(waiting_for, None),
        State::Blocked { reason, message, .. } => waiting(reason, Some(message.clone())),
        State::Running { started_at } => ContainerState::Running { started_at: *started_at },
        State::Ended(end) => ContainerState::Terminated(end.clone()),
        State::Resting { wait, .. } => {
            let message = format!("back-off {}s restarting failed container", wait.as_secs());
            waiting(CRASH_LOOP_BACK_OFF, Some(message.into()))
        }
    };
    ContainerStatus {
        state,
        last_terminated: container.last_terminated.clone(),
        restart_count: container.restart_count,
        image_id: container.image_id.clone(),
    }
}
