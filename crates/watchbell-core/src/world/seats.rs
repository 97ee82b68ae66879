//! What is derived from pods: their Job's list, their place in the queue, whether a Job might adopt them.

use std::collections::{btree_map, hash_map::Entry};
use std::sync::Arc;

use watchbell_api::types::pod_status::{Phase, PodStatus};
use watchbell_api::{Resource, Uid};

use super::index::{CONTROLLER_UID, JobRuntime, same_head};
use super::object::{Head, Key, NsName, Stored};
use super::row::NO_INDEX;
use super::{World, pods};
use crate::controller::job::{ActivePod, Departure};

/// A pod's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Waits,
    Runs,
}

/// The Job a pod belongs to, and its place among the Job's pods.
fn seat(pod: &Stored) -> Option<(Uid, (u32, u32))> {
    let pod = pod.array_pod()?;
    Some((pod.template.job_uid, (pod.index.unwrap_or(NO_INDEX), pod.attempt)))
}

/// The Job among whose logs those of a pod lie that left it.
pub(super) fn kept_log(pod: &Stored) -> Option<Uid> {
    pod.pod_status()?.job_log.as_ref().map(|log| log.job)
}

/// The fill of its Job that made a pod with a seat.
pub(super) fn fill_number(pod: &Stored) -> Option<u16> {
    pod.array_pod()?.template.fill_number()
}

fn is_running(pod: &Stored) -> bool {
    pod.pod_status().is_some_and(|s| !s.phase.is_terminal())
}

/// A pod keeps its fill for as long as its seat.
impl JobRuntime {
    fn count_fill_of(&mut self, pod: &Stored) {
        if let Some(number) = fill_number(pod) {
            *self.fills.entry(number).or_default() += 1;
        }
    }

    fn forget_fill_of(&mut self, pod: &Stored) {
        if let Some(number) = fill_number(pod)
            && let btree_map::Entry::Occupied(mut count) = self.fills.entry(number)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl World {
    pub(super) fn index_pod(&mut self, old: Option<&Arc<Stored>>, new: Option<&Arc<Stored>>) {
        let Some(object) = new.or(old) else { return };
        let at = object.at();
        match new {
            Some(new) if old.is_none() => {
                self.pods_by_uid.insert(new.uid, at.clone());
            }
            Some(_) => {}
            None => {
                self.pods_by_uid.remove(&object.uid);
                self.unsure.remove(&object.uid);
            }
        }
        self.index_kept_log(old, new);
        self.index_claims_of(old, new, &at);
        self.index_room(old, new, &at);
        self.index_loose_pod(old, new, &at);
        let (before, after) = (old.and_then(|o| seat(o)), new.and_then(|n| seat(n)));
        if let (Some(old), Some((job, seat))) = (old, before)
            && before != after
        {
            self.leave_seat(old, job, seat, new);
        }
        if let (Some(new), Some((job, seat))) = (new, after) {
            let before = old.filter(|_| before == after);
            self.take_seat(before, new, job, seat, at);
        }
    }

    fn index_kept_log(&mut self, old: Option<&Arc<Stored>>, new: Option<&Arc<Stored>>) {
        let (before, after) = (old.and_then(|old| kept_log(old)), new.and_then(|new| kept_log(new)));
        if before == after {
            return;
        }
        if let Some(job) = after {
            *self.kept_logs.entry(job).or_default() += 1;
        }
        if let Some(Entry::Occupied(mut count)) = before.map(|job| self.kept_logs.entry(job)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// The pod is gone, or another's now.
    fn leave_seat(&mut self, old: &Arc<Stored>, job: Uid, seat: (u32, u32), new: Option<&Arc<Stored>>) {
        let Some(runtime) = self.jobs.get_mut(&job) else { return };
        runtime.pods.remove(&seat);
        runtime.forget_fill_of(old);
        let was_active = runtime.active.remove(&seat).is_some();
        // A Job that is being deleted waits for its last pod.
        let key = Key { resource: Resource::Job, at: runtime.at.clone() };
        self.mark(key);
        if was_active {
            let departure = if new.is_some() { Departure::Released } else { Departure::Removed };
            self.note_ended(job, old.clone(), departure);
        }
    }

    fn take_seat(
        &mut self,
        old: Option<&Arc<Stored>>,
        new: &Arc<Stored>,
        job: Uid,
        seat: (u32, u32),
        at: NsName,
    ) {
        let Some(runtime) = self.jobs.get_mut(&job) else { return };
        if old.is_none() {
            runtime.pods.insert(seat, at);
            runtime.count_fill_of(new);
        }
        let own = |pod: &Stored| pod.array_pod().and_then(|pod| pod.own.clone());
        if let Some(own_head) = own(new)
            && old.and_then(|old| own(old)).is_none_or(|before| !Arc::ptr_eq(&before, &own_head))
        {
            runtime.suspects.push(seat);
            let key = Key { resource: Resource::Job, at: runtime.at.clone() };
            self.mark(key);
        }
        let Some(runtime) = self.jobs.get_mut(&job) else { return };
        if is_running(new) {
            let pod = active_pod(new);
            let before = runtime.active.insert(seat, pod.clone());
            // The controller knows of a pod that it made; where it is bound is nothing to it.
            if before.is_some_and(|before| before != ActivePod { scheduled: before.scheduled, ..pod }) {
                let key = Key { resource: Resource::Job, at: runtime.at.clone() };
                self.mark(key);
            }
        } else if runtime.active.remove(&seat).is_some() {
            self.note_ended(job, new.clone(), Departure::Ended);
        }
    }

    fn note_ended(&mut self, job: Uid, pod: Arc<Stored>, departure: Departure) {
        let Some(runtime) = self.jobs.get_mut(&job) else { return };
        runtime.ended.push((pod, departure));
        if runtime.ended.len() == 1 {
            let key = Key { resource: Resource::Job, at: runtime.at.clone() };
            self.mark_urgent(key);
        }
    }

    /// The queue holds each pod that runs or may: not one that is being deleted before it ran, is held by a gate, or
    /// waits for its claims.
    pub(super) fn index_room(&mut self, old: Option<&Arc<Stored>>, new: Option<&Arc<Stored>>, at: &NsName) {
        let Some(object) = new.or(old) else { return };
        let uid = object.uid;
        match new.and_then(|new| self.place_of(new)) {
            None => {
                self.queue.remove(uid);
                if new.is_some_and(|pod| is_running(pod) && pod.deletion.is_none()) && old.is_none() {
                    // Held from the start: it is told so.
                    self.queued.push(at.clone());
                }
            }
            // The queue itself said so, or it ran before.
            Some(Place::Runs) if self.queue.is_running(uid) => {}
            Some(Place::Runs) => {
                if let Some(waiting) = self.waiting(object) {
                    self.queue.started(waiting);
                }
            }
            Some(Place::Waits) if self.queue.is_waiting(uid) && !is_asked_otherwise(old, object) => {}
            Some(Place::Waits) => {
                if let Some(waiting) = self.waiting(object) {
                    self.queue.push(waiting);
                    self.queued.push(at.clone());
                }
            }
        }
    }

    fn place_of(&self, pod: &Stored) -> Option<Place> {
        let status = pod.pod_status()?;
        let spec = pod.pod_spec()?;
        if status.phase.is_terminal() {
            return None;
        }
        match status.scheduled_at {
            Some(_) => Some(Place::Runs),
            None if pod.deletion.is_some() || !spec.scheduling_gates.is_empty() => None,
            None if self.claim_obstacle(pod).is_some() => None,
            None => Some(Place::Waits),
        }
    }

    fn index_loose_pod(&mut self, old: Option<&Arc<Stored>>, new: Option<&Arc<Stored>>, at: &NsName) {
        let is_loose = |pod: &Arc<Stored>| {
            matches!(pod.head, Head::Json(_))
                && pod.controller().is_none()
                && pod.deletion.is_none()
                && is_running(pod)
        };
        match new.filter(|pod| is_loose(pod)) {
            Some(pod) => {
                self.loose_pods.insert(at.clone());
                let changed = old.is_none_or(|old| !same_head(old, pod));
                if changed {
                    self.show_jobs_that_may_adopt(pod, at);
                }
            }
            None if old.is_some() => {
                self.loose_pods.remove(at);
            }
            None => {}
        }
    }

    fn show_jobs_that_may_adopt(&mut self, pod: &Stored, at: &NsName) {
        let named: Option<Uid> = pod.labels().get(CONTROLLER_UID).and_then(|uid| uid.parse().ok());
        let manual = self.manual_jobs.iter().filter(|job| job.namespace == pod.namespace);
        let manual = manual.filter_map(|job| self.get_at(Resource::Job, job)).map(|job| job.uid);
        for uid in manual.chain(named).collect::<Vec<_>>() {
            let Some(runtime) = self.jobs.get_mut(&uid) else { continue };
            runtime.strays.insert(at.clone());
            let key = Key { resource: Resource::Job, at: runtime.at.clone() };
            self.mark(key);
        }
    }
}

/// A pod that waits may be given tolerations and a narrower node selector.
fn is_asked_otherwise(old: Option<&Arc<Stored>>, new: &Stored) -> bool {
    let (Some(old), Some(new)) = (old.and_then(|old| old.pod_spec()), new.pod_spec()) else { return false };
    !Arc::ptr_eq(old, new) && (old.tolerations != new.tolerations || old.node_selector != new.node_selector)
}

fn active_pod(pod: &Stored) -> ActivePod {
    let (index, attempt) = pod.array_pod().map_or((None, 0), |pod| (pod.index, pod.attempt));
    let status = pod.pod_status();
    let restarts =
        |s: &PodStatus| s.init_containers.iter().chain(&s.containers).map(|c| c.restart_count).sum();
    ActivePod {
        uid: pod.uid,
        index,
        attempt,
        phase: status.map_or(Phase::Pending, |s| s.phase),
        scheduled: status.is_some_and(|s| s.scheduled_at.is_some()),
        ready: status.is_some_and(pods::is_ready),
        deleting: pod.deletion.is_some(),
        created_at: pod.created_at,
        restarts: status.map_or(0, restarts),
    }
}
