//! Pods: room for them, reports about them, their end.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use watchbell_api::Resource;
use watchbell_api::node::{Assignment, Command, Report, StopCause};
use watchbell_api::types::pod::PodSpec;
use watchbell_api::types::pod_status::{ContainerState, ContainerStatus, Phase, PodStatus};

use super::object::{Deletion, Head, NsName, Status, Stored, string_map};
use super::World;
use crate::admission::Mode;
use crate::controller::event::{EventKind, PlannedEvent};
use crate::placement::{Demand, Waiting};

/// Kubernetes' default of `terminationGracePeriodSeconds`.
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// A new pod: all its containers wait.
pub(super) fn first_status(object: &Value) -> PodStatus {
    let count = |list: &str| object["spec"][list].as_array().map_or(0, Vec::len);
    status_of(count("initContainers"), count("containers"))
}

pub(super) fn first_status_of(spec: &PodSpec) -> PodStatus {
    status_of(spec.init_containers.len(), spec.containers.len())
}

fn status_of(init_containers: usize, containers: usize) -> PodStatus {
    let reason = if init_containers > 0 { "PodInitializing" } else { "ContainerCreating" };
    PodStatus {
        init_containers: vec![ContainerStatus::waiting("PodInitializing"); init_containers],
        containers: vec![ContainerStatus::waiting(reason); containers],
        ..PodStatus::default()
    }
}

pub(super) fn is_ready(status: &PodStatus) -> bool {
    status.phase == Phase::Running
        && status.containers.iter().all(|c| matches!(c.state, ContainerState::Running { .. }))
}

/// What a pod asks of the machine, and its place in the queue.
pub(super) fn waiting(pod: &Stored) -> Option<Waiting> {
    let spec = pod.pod_spec()?;
    Some(Waiting {
        uid: pod.uid,
        namespace: pod.namespace.clone(),
        priority: spec.priority.unwrap_or(0),
        seq: pod.resource_version,
        request: Demand::of(spec),
    })
}

impl World {
    /// Gives room to pods that wait, as far as there is some.
    pub(super) fn bind_pods(&mut self, now: Timestamp) {
        while let Some(uid) = self.queue.next() {
            let Some(at) = self.pods_by_uid.get(&uid).cloned() else { continue };
            let Some(pod) = self.get_at(Resource::Pod, &at).cloned() else { continue };
            let Some(status) = pod.pod_status() else { continue };
            let mut status = status.clone();
            status.scheduled_at = Some(now.as_second());
            status.reason = None;
            status.message = None;
            let mut bound = (*pod).clone();
            bound.status = Status::Pod(Arc::new(status));
            let bound = self.put(bound);
            if let Some(assignment) = assignment(&bound, self.namespace_mode(&bound.namespace)) {
                self.command(Command::Start(Box::new(assignment)));
            }
        }
    }

    /// Why a pod waits, in Kubernetes' words; `None` when it has room.
    pub fn waiting_reason(&self, pod: &Stored) -> Option<String> {
        self.queue.reason(pod.uid)
    }

    /// Takes what the node says of a pod.
    pub fn report(&mut self, report: Report, now: Timestamp) {
        match report {
            Report::Status { uid, status } => self.report_status(uid, *status, now),
            Report::Event { uid, warning, reason, message } => {
                let Some(at) = self.pods_by_uid.get(&uid).cloned() else { return };
                let Some(pod) = self.get_at(Resource::Pod, &at).cloned() else { return };
                let kind = if warning { EventKind::Warning } else { EventKind::Normal };
                // The pods of an array speak with their Job's voice: one event, not ten thousand.
                let about = self.voice_of(&pod);
                self.emit(&about, &PlannedEvent { kind, reason, message }, now);
            }
        }
    }

    fn voice_of(&self, pod: &Arc<Stored>) -> Arc<Stored> {
        let Head::ArrayPod(array) = &pod.head else { return pod.clone() };
        if array.index.is_none() {
            return pod.clone();
        }
        let job = self.jobs.get(&array.template.job_uid).and_then(|job| self.get_at(Resource::Job, &job.at));
        job.unwrap_or(pod).clone()
    }

    fn report_status(&mut self, uid: watchbell_api::Uid, mut status: PodStatus, now: Timestamp) {
        let Some(at) = self.pods_by_uid.get(&uid).cloned() else {
            // The node speaks of a pod that was removed meanwhile.
            self.command(Command::Acknowledge { uid });
            return;
        };
        let Some(pod) = self.get_at(Resource::Pod, &at).cloned() else { return };
        let Some(before) = pod.pod_status() else { return };
        if before.phase.is_terminal() {
            // Said twice (a restart of the server between the commit and the acknowledgement): the first stands.
            self.command(Command::Acknowledge { uid });
            return;
        }
        if status.scheduled_at.is_none() {
            status.scheduled_at = before.scheduled_at;
        }
        if status.phase.is_terminal() && status.finished_at.is_none() {
            status.finished_at = Some(now.as_second());
        }
        let ended = status.phase.is_terminal();
        if *before != status {
            self.learn_images(&pod, &status);
            let mut next = (*pod).clone();
            next.status = Status::Pod(Arc::new(status));
            self.put(next);
        }
        if ended {
            self.command(Command::Acknowledge { uid });
            if pod.deletion.is_some() {
                self.remove(Resource::Pod, &at);
                self.forget_pod(&pod);
            }
        }
    }

    /// The Job keeps the list of images its pods resolved to.
    fn learn_images(&mut self, pod: &Stored, status: &PodStatus) {
        let Head::ArrayPod(array) = &pod.head else { return };
        let Some(runtime) = self.jobs.get(&array.template.job_uid) else { return };
        let Some(job) = self.get_at(Resource::Job, &runtime.at).cloned() else { return };
        let Status::Job { status: job_status, images, job_id } = &job.status else { return };
        let mut list: Vec<Arc<str>> = images.to_vec();
        for id in status.init_containers.iter().chain(&status.containers).filter_map(|c| c.image_id.as_ref()) {
            if !list.contains(id) && list.len() < usize::from(u16::MAX) {
                list.push(id.clone());
            }
        }
        if list.len() > images.len() {
            let mut next = (*job).clone();
            next.status = Status::Job { status: job_status.clone(), images: list.into(), job_id: *job_id };
            self.put(next);
        }
    }

    /// Ends a pod: at once when nothing of it runs, else by the node, after its grace period.
    pub(super) fn delete_pod(
        &mut self,
        pod: &Arc<Stored>,
        grace_period_seconds: Option<i64>,
        cause: StopCause,
        now: Timestamp,
    ) -> Option<Arc<Stored>> {
        let at = NsName { namespace: pod.namespace.clone(), name: pod.name.clone() };
        let grace = grace_period_seconds
            .or_else(|| pod.pod_spec().and_then(|s| s.termination_grace_period_seconds))
            .unwrap_or(DEFAULT_GRACE_SECONDS)
            .clamp(0, i64::from(u32::MAX)) as u32;
        let status = pod.pod_status();
        let bound = status.is_some_and(|s| s.scheduled_at.is_some() && !s.phase.is_terminal());
        if !bound {
            let has_finalizers = !pod.finalizers().is_empty();
            if has_finalizers {
                return Some(self.mark_pod_deleted(pod, 0, now));
            }
            self.remove(Resource::Pod, &at);
            self.forget_pod(pod);
            return None;
        }
        self.command(Command::Stop { uid: pod.uid, grace_seconds: grace, cause });
        if grace == 0 && grace_period_seconds == Some(0) {
            // Asked to be forgotten at once (`--force`): the node ends it all the same.
            self.remove(Resource::Pod, &at);
            self.forget_pod(pod);
            return None;
        }
        Some(self.mark_pod_deleted(pod, grace, now))
    }

    fn mark_pod_deleted(&mut self, pod: &Arc<Stored>, grace: u32, now: Timestamp) -> Arc<Stored> {
        let at = now.as_second() + i64::from(grace);
        match pod.deletion {
            // A second delete may only shorten the wait.
            Some(deletion) if deletion.at <= at => pod.clone(),
            _ => {
                let mut marked = (**pod).clone();
                marked.deletion = Some(Deletion { at, grace_seconds: grace });
                self.put(marked)
            }
        }
    }

    /// All pods that the node must know of after a restart, then the word that these are all.
    pub fn node_sync(&self) -> Vec<Command> {
        let mut commands = Vec::new();
        for pod in self.state.list(Resource::Pod, None, None) {
            let Some(status) = pod.pod_status() else { continue };
            if status.phase.is_terminal() || status.scheduled_at.is_none() {
                continue;
            }
            let Some(assignment) = assignment(pod, self.namespace_mode(&pod.namespace)) else { continue };
            commands.push(Command::Start(Box::new(assignment)));
            if let Some(deletion) = pod.deletion {
                commands.push(Command::Stop {
                    uid: pod.uid,
                    grace_seconds: deletion.grace_seconds,
                    cause: StopCause::Deleted,
                });
            }
        }
        commands.push(Command::Synced);
        commands
    }
}

/// A bound pod as the node needs it. `mode` is that of its namespace.
fn assignment(pod: &Stored, mode: Mode) -> Option<Assignment> {
    let status = pod.pod_status()?.clone();
    let spec = pod.pod_spec()?.clone();
    Some(match &pod.head {
        Head::ArrayPod(array) => {
            let template = &array.template;
            let (labels, annotations) = match &array.own {
                Some(own) => (Arc::new(own.labels.clone()), annotations(pod)),
                None => (template.shared_labels_of(array), template.shared_annotations_of(array)),
            };
            Assignment {
                uid: pod.uid,
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                labels,
                annotations,
                spec,
                hostname: template.hostname(array, &pod.name),
                job: Some((template.job_uid, template.job_name.clone())),
                index: array.index,
                attempt: array.attempt,
                private_tmp: template.mode == Mode::Strict,
                status,
            }
        }
        Head::Json(head) => Assignment {
            uid: pod.uid,
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            labels: Arc::new(head.labels.clone()),
            annotations: annotations(pod),
            hostname: spec.hostname.as_deref().map_or_else(|| pod.name.clone(), Into::into),
            spec,
            job: None,
            index: None,
            attempt: 0,
            private_tmp: mode == Mode::Strict,
            status,
        },
    })
}

fn annotations(pod: &Stored) -> Arc<BTreeMap<String, String>> {
    Arc::new(string_map(pod.render()["metadata"].get("annotations")))
}
