//! A node whose containers are as the test wants them.

use std::collections::BTreeMap;

use watchbell_api::Uid;
use watchbell_api::node::{Assignment, Command, Report};
use watchbell_api::types::pod_status::{
    ContainerState, ContainerStatus, Phase, PodStatus, Terminated, TerminatedReason,
};

/// What the node knows: the pods it was told of.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) pods: BTreeMap<Uid, Assignment>,
}

impl Node {
    /// Carries out the commands of a committed batch. Returns the pods that it was told to stop.
    pub(super) fn obey(&mut self, commands: &[Command]) -> Vec<Uid> {
        let mut stopped = Vec::new();
        for command in commands {
            match command {
                Command::Start(assignment) => {
                    self.pods.entry(assignment.uid).or_insert_with(|| (**assignment).clone());
                }
                Command::Stop { uid, .. } => {
                    if self.pods.contains_key(uid) {
                        stopped.push(*uid);
                    }
                }
                Command::Forget { uid, .. } | Command::Acknowledge { uid } => {
                    self.pods.remove(uid);
                }
                Command::ForgetJob { .. }
                | Command::ChangeSpec { .. }
                | Command::RemoveVolume { .. }
                | Command::RefreshTokens
                | Command::ImagePoliciesChanged
                | Command::ChangeEgress { .. }
                | Command::ConnectionsHeard { .. }
                | Command::ImagesNamed { .. }
                | Command::PublishArrays { .. }
                | Command::AbandonDrafts { .. }
                | Command::KeepArray { .. }
                | Command::RemoveArray { .. }
                | Command::RollbackArray { .. }
                | Command::Synced => {}
            }
        }
        stopped
    }
}

fn status(pod: &Assignment, phase: Phase, state: ContainerState) -> PodStatus {
    PodStatus {
        phase,
        started_at: Some(1),
        containers: vec![
            ContainerStatus {
                state,
                last_terminated: None,
                restart_count: 0,
                image_id: Some("docker.io/library/busybox@sha256:0123456789abcdef".into()),
            };
            pod.spec.containers.len()
        ],
        ..PodStatus::default()
    }
}

pub(super) fn running(pod: &Assignment, now: i64) -> Report {
    let status = status(pod, Phase::Running, ContainerState::Running { started_at: now });
    Report::Status { uid: pod.uid, status: Box::new(status) }
}

/// The pod ended with an exit code.
pub(super) fn ended(pod: &Assignment, exit_code: i32, now: i64) -> Report {
    let phase = if exit_code == 0 { Phase::Succeeded } else { Phase::Failed };
    let end = Terminated {
        exit_code,
        signal: None,
        reason: if exit_code == 0 { TerminatedReason::Completed } else { TerminatedReason::Error },
        message: None,
        started_at: Some(now),
        finished_at: now,
    };
    let mut status = status(pod, phase, ContainerState::Terminated(end));
    status.finished_at = Some(now);
    Report::Status { uid: pod.uid, status: Box::new(status) }
}
