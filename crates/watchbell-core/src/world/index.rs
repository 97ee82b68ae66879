//! What is derived from the objects: kept in step by every put and remove, and rebuilt by [`World::reindex`].

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use watchbell_api::types::pod_status::{Phase, PodStatus};
use watchbell_api::{Resource, Uid};

use super::object::{Head, Key, NsName, Stored};
use super::row::NO_INDEX;
use super::template::JobPods;
use super::{World, pods};
use crate::admission::Mode;
use crate::controller::job::ActivePod;

/// A Job's pods, so that a reconcile reads what changed and not all of them.
#[derive(Debug)]
pub(super) struct JobRuntime {
    pub at: NsName,
    /// One for each admission mode its namespace had.
    pub templates: Vec<Arc<JobPods>>,
    /// Pods that have not ended.
    pub active: BTreeMap<(u32, u32), ActivePod>,
    /// Pods that ended and are not counted yet, in their last form.
    pub ended: Vec<Arc<Stored>>,
    /// All pods, by index and attempt.
    pub pods: BTreeMap<(u32, u32), NsName>,
}

impl JobRuntime {
    fn new(at: NsName) -> JobRuntime {
        JobRuntime {
            at,
            templates: Vec::new(),
            active: BTreeMap::new(),
            ended: Vec::new(),
            pods: BTreeMap::new(),
        }
    }

    pub fn template(&self, mode: Mode) -> Option<&Arc<JobPods>> {
        self.templates.iter().find(|t| t.mode == mode)
    }
}

/// The place of a pod among its Job's.
fn slot(pod: &Stored) -> Option<(u32, u32)> {
    match &pod.head {
        Head::ArrayPod(array) => Some((array.index.unwrap_or(NO_INDEX), array.attempt)),
        Head::Json(_) => None,
    }
}

impl World {
    pub(super) fn index(&mut self, old: Option<&Arc<Stored>>, new: Option<&Arc<Stored>>) {
        let Some(object) = new.or(old) else { return };
        self.index_owners(old.map(|o| &**o), new.map(|n| &**n));
        match object.resource {
            Resource::Pod => self.index_pod(old, new),
            Resource::Job => self.index_job(old, new),
            Resource::CronJob => {
                let key = object.key();
                match new {
                    Some(_) => self.mark(key),
                    None => self.clear_timer(&key),
                }
            }
            Resource::Namespace if new.is_some() => self.mark(object.key()),
            _ => {}
        }
        if new.is_none() && object.is_namespaced() && self.namespace_is_ending(&object.namespace) {
            self.mark(Key::new(Resource::Namespace, "", &object.namespace));
        }
        if new.is_none() {
            // What the object owned may have to go: looked at when its owner is gone.
            let orphans: Vec<Key> = self.owned.get(&object.uid).into_iter().flatten().cloned().collect();
            for key in orphans {
                self.mark(key);
            }
        }
    }

    fn index_owners(&mut self, old: Option<&Stored>, new: Option<&Stored>) {
        let json_owners = |object: &Stored| match &object.head {
            Head::Json(head) if !head.owners.is_empty() => head.owners.iter().map(|o| o.uid).collect(),
            _ => Vec::new(),
        };
        let before: Vec<Uid> = old.map(json_owners).unwrap_or_default();
        let after: Vec<Uid> = new.map(json_owners).unwrap_or_default();
        if before == after {
            return;
        }
        let Some(object) = new.or(old) else { return };
        let key = object.key();
        for owner in &before {
            if let Some(set) = self.owned.get_mut(owner) {
                set.remove(&key);
                if set.is_empty() {
                    self.owned.remove(owner);
                }
            }
        }
        for owner in after {
            self.owned.entry(owner).or_default().insert(key.clone());
        }
    }

    fn index_job(&mut self, old: Option<&Arc<Stored>>, new: Option<&Arc<Stored>>) {
        let Some(object) = new.or(old) else { return };
        let at = NsName { namespace: object.namespace.clone(), name: object.name.clone() };
        let before = old.and_then(|o| o.controller());
        let after = new.and_then(|n| n.controller());
        if before != after
            && let Some(cron) = before
            && let Some(children) = self.cron_children.get_mut(&cron)
        {
            children.remove(&at);
            if children.is_empty() {
                self.cron_children.remove(&cron);
            }
        }
        if let Some(cron) = after {
            self.cron_children.entry(cron).or_default().insert(at.clone());
        }
        for cron in [before, after].into_iter().flatten() {
            self.mark_cronjob_of(object, cron);
        }
        match new {
            Some(new) => {
                self.jobs.entry(new.uid).or_insert_with(|| JobRuntime::new(at));
                if old.is_some_and(|o| !same_head(o, new)) {
                    self.keep_old_templates(new.uid);
                }
                self.mark(new.key());
            }
            None => {
                self.clear_timer(&object.key());
                self.jobs.remove(&object.uid);
            }
        }
    }

    /// A CronJob looks at its Jobs when one appears, ends or goes.
    fn mark_cronjob_of(&mut self, job: &Stored, cron: Uid) {
        let Head::Json(head) = &job.head else { return };
        if let Some(owner) = head.owners.iter().find(|o| o.uid == cron) {
            self.mark(Key::new(Resource::CronJob, &job.namespace, &owner.name));
        }
    }

    fn index_pod(&mut self, old: Option<&Arc<Stored>>, new: Option<&Arc<Stored>>) {
        let Some(object) = new.or(old) else { return };
        let at = NsName { namespace: object.namespace.clone(), name: object.name.clone() };
        match new {
            Some(new) => {
                self.pods_by_uid.insert(new.uid, at.clone());
            }
            None => {
                self.pods_by_uid.remove(&object.uid);
                self.queue.remove(object.uid);
            }
        }
        let running = |pod: &Arc<Stored>| pod.pod_status().is_some_and(|s| !s.phase.is_terminal());
        let was_active = old.is_some_and(running);
        let is_active = new.is_some_and(running);
        if was_active && !is_active {
            self.queue.remove(object.uid);
        }
        if is_active && old.is_none() {
            self.enqueue(object);
        }
        let (Some(job), Some(slot)) = (object.controller(), slot(object)) else { return };
        let Some(runtime) = self.jobs.get_mut(&job) else { return };
        match new {
            Some(_) => {
                runtime.pods.insert(slot, at);
            }
            None => {
                runtime.pods.remove(&slot);
            }
        }
        if is_active {
            runtime.active.insert(slot, active_pod(object));
        } else if was_active {
            runtime.active.remove(&slot);
            // Removed while it ran: its last form says so.
            runtime.ended.push(object.clone());
        }
        if was_active || is_active {
            let key = Key { resource: Resource::Job, at: runtime.at.clone() };
            self.mark(key);
        }
    }

    fn enqueue(&mut self, pod: &Arc<Stored>) {
        let scheduled = pod.pod_status().is_some_and(|s| s.scheduled_at.is_some());
        let Some(waiting) = pods::waiting(pod) else { return };
        if scheduled { self.queue.started(waiting) } else { self.queue.push(waiting) }
    }

    /// Builds every index anew from the objects.
    pub(super) fn reindex(&mut self, now: Timestamp) {
        self.jobs.clear();
        self.cron_children.clear();
        self.owned.clear();
        self.pods_by_uid.clear();
        self.queue = crate::placement::Queue::new(self.config.capacity.clone());
        self.dirty.clear();
        self.is_dirty.clear();
        self.timers.clear();
        self.wake.clear();
        self.events = super::events::Ring::default();
        let everything: Vec<Arc<Stored>> = [Resource::Namespace, Resource::CronJob, Resource::Job]
            .into_iter()
            .chain(Resource::all().filter(|r| {
                !matches!(r, Resource::Namespace | Resource::CronJob | Resource::Job)
            }))
            .flat_map(|resource| self.state.maps[resource as usize].values().cloned().collect::<Vec<_>>())
            .collect();
        let mut events: Vec<Arc<Stored>> = Vec::new();
        for object in &everything {
            self.index(None, Some(object));
            if object.deletion.is_some() {
                self.mark(object.key());
            }
            if object.resource == Resource::Event {
                events.push(object.clone());
            }
            self.remember_template(object);
        }
        events.sort_by_key(|e| e.resource_version);
        for event in events {
            self.events.recall(&event, now);
        }
        self.events_timer();
    }

    /// Pods hold the templates of their Jobs: after a load the Job's runtime learns them from its pods.
    fn remember_template(&mut self, object: &Arc<Stored>) {
        if let Head::ArrayPod(pod) = &object.head
            && let Some(runtime) = self.jobs.get_mut(&pod.template.job_uid)
            && runtime.template(pod.template.mode).is_none()
        {
            runtime.templates.push(pod.template.clone());
        }
    }
}

fn same_head(a: &Stored, b: &Stored) -> bool {
    match (&a.head, &b.head) {
        (Head::Json(a), Head::Json(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

fn active_pod(pod: &Stored) -> ActivePod {
    let (index, attempt) = slot(pod).map_or((None, 0), |(i, a)| (if i == NO_INDEX { None } else { Some(i) }, a));
    let status = pod.pod_status();
    let restarts = |s: &PodStatus| s.init_containers.iter().chain(&s.containers).map(|c| c.restart_count).sum();
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

impl Stored {
    pub(super) fn is_namespaced(&self) -> bool {
        self.resource.is_namespaced()
    }
}
