//! What the node says of pods.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use watchbell_api::node::{Command, Report};
use watchbell_api::types::pod_status::PodStatus;
use watchbell_api::{Resource, Uid, devices};

use super::World;
use super::arrays::IndexCommit;
use super::object::{Head, NsName, Status, Stored};
use crate::controller::event::{EventKind, PlannedEvent};
use crate::placement::Pools;

/// The event of a pod whose device has vanished.
const DEVICE_GONE: &str = "DeviceGone";

impl World {
    /// Takes what the node says of a pod. Said twice it is the same as said once; a pod that ended stays so.
    pub fn report(&mut self, report: Report, now: Timestamp) {
        match report {
            Report::Status { uid, status } => self.report_status(uid, *status, now),
            Report::Started { uid, container, attempt, host_ids, settings } => {
                if self.pod_of(uid).and_then(|pod| pod.pod_status().map(|s| !s.phase.is_terminal()))
                    == Some(true)
                {
                    self.starts.tell(uid, container, attempt, host_ids, settings);
                }
            }
            Report::VolumeRemoved { name, error } => self.report_volume(&name, error, now),
            Report::Image { namespace, image, facts, users } => {
                self.report_image(&namespace, &image, &facts, &users, now);
            }
            Report::ImageJudged { uid, judged } => self.report_judged(uid, &judged, now),
            Report::Connection { uid, news } => self.report_connection(uid, &news, now),
            Report::ConnectionsTold { serial, lost } => self.report_told(serial, lost, now),
            Report::GateLost { from, until } => self.report_gate_lost(from, until, now),
            Report::Array { namespace, name, facts, error } => {
                self.report_array(&NsName { namespace, name }, facts, error, now);
            }
            Report::ArrayCommitted { uid, array, index, attempt, keys, bytes } => {
                self.report_committed(uid, IndexCommit { array, index, attempt, keys, bytes });
            }
            Report::ArraysPublished { job, result } => self.report_published(job, result),
            Report::ArraysDelayed { job, message } => self.report_delayed(job, message, now),
            Report::ArrayRolledBack { namespace, name, to, result } => {
                self.report_rolled_back(&NsName { namespace, name }, &to, result, now);
            }
            Report::Devices { pools } => self.report_devices(pools, now),
            Report::Event { uid, warning, reason, message } => {
                let Some(pod) = self.pod_of(uid) else { return };
                let kind = if warning { EventKind::Warning } else { EventKind::Normal };
                // The pods of an array speak with their Job's voice: one event, not ten thousand.
                let about = self.voice_of(&pod);
                self.emit(&about, &PlannedEvent { kind, reason, message }, now);
            }
        }
    }

    /// Other devices are there: pods that wait for one are looked at again, and who holds one that is gone is told.
    fn report_devices(&mut self, pools: Pools, now: Timestamp) {
        if self.config.devices == pools {
            return;
        }
        let before = std::mem::replace(&mut self.config.devices, pools);
        for uid in self.queue.change_devices(&self.config.devices) {
            if let Some(at) = self.pods_by_uid.get(&uid) {
                self.queued.push(at.clone());
            }
        }
        let is_there = |pools: &Pools, name: &Arc<str>| {
            pools.get(devices::kind_of(name)).is_some_and(|p| p.contains(name))
        };
        let mut lost: Vec<(Uid, Arc<str>)> = Vec::new();
        for uid in self.queue.running() {
            let gone = |name: &&Arc<str>| is_there(&before, name) && !is_there(&self.config.devices, name);
            lost.extend(self.queue.devices_of(uid).iter().filter(gone).map(|name| (uid, name.clone())));
        }
        lost.sort();
        for (uid, name) in lost {
            let Some(pod) = self.pod_of(uid) else { continue };
            let message = format!("device {name} is gone from the machine; the pod is not ended");
            self.emit(&pod, &PlannedEvent::warning(DEVICE_GONE, message), now);
        }
        self.furnish_node(now);
    }

    pub(super) fn pod_of(&self, uid: Uid) -> Option<Arc<Stored>> {
        self.pods_by_uid.get(&uid).and_then(|at| self.get_at(Resource::Pod, at)).cloned()
    }

    pub(super) fn voice_of(&self, pod: &Arc<Stored>) -> Arc<Stored> {
        let Head::ArrayPod(array) = &pod.head else { return pod.clone() };
        if array.index.is_none() {
            return pod.clone();
        }
        let job = self.jobs.get(&array.template.job_uid).and_then(|job| self.get_at(Resource::Job, &job.at));
        job.unwrap_or(pod).clone()
    }

    fn report_status(&mut self, uid: Uid, mut status: PodStatus, now: Timestamp) {
        let Some(pod) = self.pod_of(uid) else {
            // The node speaks of a pod that was removed meanwhile.
            self.command(Command::Acknowledge { uid });
            return;
        };
        let Some(before) = pod.pod_status() else { return };
        if before.phase.is_terminal() {
            // Said twice (a restart of the server between the commit and the acknowledgement): the first stands.
            self.command(Command::Acknowledge { uid });
            return;
        }
        if before.scheduled_at.is_none() {
            // The node was never told of it.
            return;
        }
        status.scheduled_at = before.scheduled_at;
        // An eviction is nothing that the node knows of, nor is what clients wrote, nor what a Job did with the pod.
        if status.disruption.is_none() {
            status.disruption.clone_from(&before.disruption);
        }
        status.written_conditions.clone_from(&before.written_conditions);
        status.devices.clone_from(&before.devices);
        status.job_log.clone_from(&before.job_log);
        let ended = status.phase.is_terminal();
        if ended {
            status.finished_at.get_or_insert(now.as_second());
        }
        if *before != status {
            self.learn_images(&pod, before, &status, now);
            self.note_starts(&pod, before, &status);
            if ended {
                self.audit_own_end(&pod, &status, now);
                self.starts.forget(uid);
            }
            let mut next = (*pod).clone();
            next.status = Status::Pod(Arc::new(status));
            self.put(next);
        }
        if ended {
            self.command(Command::Acknowledge { uid });
            if pod.deletion.is_some() && pod.finalizers().is_empty() {
                self.remove(Resource::Pod, &pod.at());
                self.forget_pod(&pod);
            }
        }
    }

    /// The Job keeps the list of images its pods resolved to. What is new of it, or of a pod of its own, is recorded.
    fn learn_images(&mut self, pod: &Arc<Stored>, before: &PodStatus, status: &PodStatus, now: Timestamp) {
        fn used(status: &PodStatus) -> impl Iterator<Item = &Arc<str>> {
            status.init_containers.iter().chain(&status.containers).filter_map(|c| c.image_id.as_ref())
        }
        let Head::ArrayPod(array) = &pod.head else {
            let mut new: Vec<Arc<str>> = Vec::new();
            for id in used(status) {
                if !new.contains(id) && !used(before).any(|known| known == id) {
                    new.push(id.clone());
                }
            }
            if !new.is_empty() {
                self.audit_images(pod, &new, now);
            }
            return;
        };
        let Some(runtime) = self.jobs.get(&array.template.job_uid) else { return };
        let Some(job) = self.get_at(Resource::Job, &runtime.at).cloned() else { return };
        let Status::Job { status: job_status, images, fills, job_id } = &job.status else { return };
        let mut list: Vec<Arc<str>> = Vec::new();
        for id in used(status) {
            let known = images.contains(id) || list.contains(id);
            if !known && images.len() + list.len() < usize::from(u16::MAX) {
                list.push(id.clone());
            }
        }
        if list.is_empty() {
            return;
        }
        self.audit_images(&job, &list, now);
        let images = images.iter().cloned().chain(list).collect();
        let (status, fills, job_id) = (job_status.clone(), fills.clone(), *job_id);
        let mut next = (*job).clone();
        next.status = Status::Job { status, images, fills, job_id };
        self.put(next);
    }

    /// The end of a pod that no Job counts.
    fn audit_own_end(&mut self, pod: &Arc<Stored>, status: &PodStatus, now: Timestamp) {
        if matches!(pod.head, Head::ArrayPod(_)) {
            return;
        }
        let exit = status.containers.iter().find_map(|c| c.terminated()).map(|end| end.exit_code);
        let ended = json!([[null, 0, status.phase.as_str(), exit]]);
        let mut details = json!({"uid": pod.uid.to_string(), "ended": ended});
        if let Some(started) = self.starts_due(pod.uid, usize::MAX, now) {
            details["started"] = started.into();
        }
        self.audit_run(pod, "pods-ended", details, now);
    }
}
