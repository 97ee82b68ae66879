//! What is derived from the objects: kept in step by every put and remove, and rebuilt by [`World::reindex`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use watchbell_api::{Resource, Uid};

use super::facts::JobFacts;
use super::object::{Head, Key, NsName, Stored};
use super::template::JobPods;
use super::{World, events, rights};
use crate::admission::Mode;
use crate::admission::pod_security::Policy;
use crate::arrays::Verdicts;
use crate::controller::job::{ActivePod, Departure, JobStatus, is_foreign};
use crate::placement::Taint;

/// The label of the generated selector: the Job's uid.
pub(super) const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";

/// A Job's pods, so that a reconcile reads what changed and not all of them.
#[derive(Debug)]
pub(super) struct JobRuntime {
    pub at: NsName,
    /// One for each admission mode its namespace had, and each fill that pods have.
    pub templates: Vec<Arc<JobPods>>,
    /// What new pods are made of, as of this count of [`World::rule_changes`] and this policy of the namespace.
    pub admitted: Option<(u64, Policy, Arc<JobPods>)>,
    /// Pods that have not ended.
    pub active: BTreeMap<(u32, u32), ActivePod>,
    /// Pods that left the active ones and are not counted yet, in their last form.
    pub ended: Vec<(Arc<Stored>, Departure)>,
    /// All pods, by index and attempt.
    pub pods: BTreeMap<(u32, u32), NsName>,
    /// The fills that pods name, by number, and how many pods name each.
    pub fills: BTreeMap<u16, u32>,
    /// Commits of indexes on their way into the audit journal.
    pub committed: Vec<super::arrays::IndexCommit>,
    /// Why its arrays keep its pods from being made, as it was told last.
    pub arrays_refused: Option<String>,
    /// Whether what it does with them can be planned.
    pub array_plans: Verdicts,
    /// Pods with a head of their own, whose labels may not fit the Job any more.
    pub suspects: Vec<(u32, u32)>,
    /// Pods without a controller that may fit the Job, until it has looked at them.
    pub strays: BTreeSet<NsName>,
}

impl JobRuntime {
    fn new(at: NsName) -> JobRuntime {
        JobRuntime {
            at,
            templates: Vec::new(),
            admitted: None,
            active: BTreeMap::new(),
            ended: Vec::new(),
            pods: BTreeMap::new(),
            fills: BTreeMap::new(),
            suspects: Vec::new(),
            strays: BTreeSet::new(),
            committed: Vec::new(),
            arrays_refused: None,
            array_plans: Verdicts::default(),
        }
    }

    pub(super) fn template(&self, mode: Mode, fill: Option<u16>) -> Option<&Arc<JobPods>> {
        self.templates.iter().find(|t| t.mode == mode && t.fill_number() == fill)
    }
}

impl World {
    pub(super) fn index(&mut self, old: Option<&Arc<Stored>>, new: Option<&Arc<Stored>>) {
        let Some(object) = new.or(old) else { return };
        self.index_owners(old.map(|o| &**o), new.map(|n| &**n));
        self.index_use(old, new);
        match object.resource {
            Resource::Pod => {
                self.index_pod(old, new);
                self.index_door(old, new);
            }
            Resource::NetworkPolicy => self.index_network_policy(object),
            Resource::Job => self.index_job(old, new),
            Resource::CronJob => match (old, new) {
                (_, None) => self.clear_timer(&object.key()),
                // The status is the controller's own work: what it wrote it need not read.
                (Some(old), Some(new)) if same_to_controller(old, new) => {}
                (_, Some(new)) => self.mark(new.key()),
            },
            Resource::Event => self.index_event(old, new),
            Resource::Namespace => {
                self.index_policy(old.map(|o| &**o), new.map(|n| &**n));
                match new {
                    Some(_) => self.mark(object.key()),
                    None => self.clear_timer(&object.key()),
                }
            }
            Resource::Node => self.index_node(new),
            Resource::PersistentVolumeClaim => self.index_claim(old, new),
            Resource::PersistentVolume => self.index_volume(old, new),
            Resource::StorageClass => self.mark_unbound_claims(),
            Resource::LimitRange
            | Resource::PriorityClass
            | Resource::RuntimeClass
            | Resource::ValidatingAdmissionPolicy
            | Resource::ValidatingAdmissionPolicyBinding => {
                self.index_rule(object);
            }
            Resource::ImagePolicy | Resource::ClusterImagePolicy => self.index_image_policy(),
            Resource::ConfigMap if self.is_read_by_image_policy(object) => self.index_image_policy(),
            Resource::DataArray => self.index_array(object, new.is_none()),
            Resource::ClusterRole => match (old, new) {
                (Some(old), Some(new)) if same_head(old, new) => {}
                _ => self.mark(rights::aggregation_key()),
            },
            Resource::ServiceAccount => {
                let said = |account: Option<&Arc<Stored>>| account.and_then(|o| o.facts().account().cloned());
                if said(old) != said(new) {
                    self.index_rule(object);
                }
            }
            _ => {}
        }
        if new.is_none() {
            if matches!(object.resource, Resource::Pod | Resource::Job) {
                self.starts.forget(object.uid);
            }
            // What the object owned may have to go: looked at when its owner is gone.
            let orphans: Vec<Key> = self.owned.get(&object.uid).into_iter().flatten().cloned().collect();
            for key in orphans {
                self.mark(key);
            }
        }
        if self.is_of_interest_to_namespace(object, new.is_none()) {
            self.mark(Key::new(Resource::Namespace, "", &object.namespace));
        }
    }

    fn index_owners(&mut self, old: Option<&Stored>, new: Option<&Stored>) {
        let uids = |object: &Stored| object.owners().iter().map(|o| o.uid).collect::<Vec<Uid>>();
        let before: Vec<Uid> = old.map(uids).unwrap_or_default();
        let after: Vec<Uid> = new.map(uids).unwrap_or_default();
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
        // Whoever waits for its dependents to go may go now.
        for owner in old.map(Stored::owners).unwrap_or_default() {
            if let Some(found) = self.owner_of(owner, object)
                && found.deletion.is_some()
            {
                let key = found.key();
                self.mark(key);
            }
        }
        if !after.is_empty() {
            // Its owner may be gone already.
            self.mark(key.clone());
        }
        for owner in after {
            self.owned.entry(owner).or_default().insert(key.clone());
        }
    }

    fn index_job(&mut self, old: Option<&Arc<Stored>>, new: Option<&Arc<Stored>>) {
        let Some(object) = new.or(old) else { return };
        let at = object.at();
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
        let outline = |job: &Arc<Stored>| {
            let finished = job.job_status().and_then(JobStatus::is_finished).is_some();
            (job.controller(), finished, job.deletion.is_some())
        };
        if old.map(outline) != new.map(outline) {
            self.mark_arrays_of(object);
            // Each by the object that names it: a Job that was released says nothing of whose it was.
            for job in [old, new].into_iter().flatten() {
                if let Some(cron) = job.controller() {
                    self.mark_cronjob_of(job, cron);
                }
            }
        }
        match new {
            Some(new) => {
                self.jobs.entry(new.uid).or_insert_with(|| JobRuntime::new(at.clone()));
                let selects = |facts: &JobFacts| facts.selector.is_some() && !is_foreign(&facts.spec);
                let is_manual = new.facts().job().is_some_and(selects);
                if is_manual {
                    self.manual_jobs.insert(at);
                }
                if !old.is_some_and(|old| same_to_controller(old, new)) {
                    if is_manual {
                        self.show_strays(new);
                    }
                    if let Some(old) = old {
                        self.keep_old_templates(old, new);
                    }
                    self.mark(new.key());
                }
            }
            None => {
                self.clear_timer(&object.key());
                self.manual_jobs.remove(&at);
                self.jobs.remove(&object.uid);
                self.publications.forget(object);
            }
        }
    }

    /// A CronJob looks at its Jobs when one appears, ends or goes.
    fn mark_cronjob_of(&mut self, job: &Stored, cron: Uid) {
        if let Some(owner) = job.owners().iter().find(|o| o.uid == cron) {
            let key = Key::new(Resource::CronJob, &job.namespace, &owner.name);
            self.mark(key);
        }
    }

    /// The node's labels and taints decide whether pods may run here: those that wait are asked again.
    fn index_node(&mut self, new: Option<&Arc<Stored>>) {
        let Some(node) = new else { return };
        let taints = Taint::of_node(&node.render());
        if self.queue.node() == (&*node.labels(), &*taints) {
            return;
        }
        for uid in self.queue.change_node(node.labels().into_owned(), taints) {
            if let Some(at) = self.pods_by_uid.get(&uid) {
                self.queued.push(at.clone());
            }
        }
    }

    fn index_event(&mut self, old: Option<&Arc<Stored>>, new: Option<&Arc<Stored>>) {
        let oldest = |world: &World| world.events.first().map(|(at, _)| *at);
        let before = oldest(self);
        if let Some(entry) = old.and_then(|event| events::age(event)) {
            self.events.remove(&entry);
        }
        if let Some((told, name)) = old.and_then(|event| events::told(event))
            && self.event_names.get(&told) == Some(&name)
        {
            self.event_names.remove(&told);
        }
        if let Some((told, name)) = new.and_then(|event| events::told(event)) {
            self.event_names.insert(told, name);
        }
        if let Some(entry) = new.and_then(|event| events::age(event)) {
            self.events.insert(entry);
            // A client's event is bounded with the others.
            if self.events.len() > events::LIMIT {
                self.mark(events::timer_key());
            }
        }
        let after = oldest(self);
        if before != after {
            self.set_timer(&events::timer_key(), after.map(|at| at.saturating_add(events::TTL_SECONDS)));
        }
    }

    /// Builds every index anew from the objects.
    pub(super) fn reindex(&mut self, now: Timestamp) {
        self.jobs.clear();
        self.manual_jobs.clear();
        self.loose_pods.clear();
        self.cron_children.clear();
        self.owned.clear();
        self.pods_by_uid.clear();
        self.kept_logs.clear();
        self.queue = super::empty_queue(&self.config);
        self.queued.clear();
        self.events.clear();
        self.event_names.clear();
        self.dirty.clear();
        self.is_dirty.clear();
        self.urgent.clear();
        self.timers.clear();
        self.wake.clear();
        self.quotas.clear();
        self.quota_news.clear();
        self.refused.clear();
        self.freed.clear();
        self.claim_users.clear();
        self.unbound_claims.clear();
        self.unsure.clear();
        self.arrays_told.clear();
        self.doors = super::doors::Doors::default();
        self.last_second = now.as_second();
        // What others refer to comes first. A quota counts what is there when it comes.
        let first = [Resource::Namespace, Resource::Node, Resource::CronJob, Resource::Job];
        let last = [Resource::ResourceQuota];
        let rest = Resource::all().filter(|resource| !first.contains(resource) && !last.contains(resource));
        for resource in first.into_iter().chain(rest).chain(last) {
            let mut objects: Vec<Arc<Stored>> =
                self.state.maps[resource as usize].values().cloned().collect();
            // Who has a claim for itself keeps it.
            objects.sort_by_key(|object| object.pod_status().is_some_and(|s| s.scheduled_at.is_none()));
            for object in objects {
                self.index(None, Some(&object));
                if object.deletion.is_some() {
                    self.mark(object.key());
                }
                self.remember_template(&object);
            }
        }
        self.doubt_who_waits();
        self.remember_arrays();
        self.unbound_claims.values_mut().for_each(|told| *told = super::claims::Told::Before);
        self.forget_door_changes();
        // Whoever waited was told why before, and a waiting pod keeps what it was told.
        self.queued.retain(|at| {
            let status = self.state.maps[Resource::Pod as usize].get(at).and_then(|pod| pod.pod_status());
            status.is_some_and(|status| status.reason.is_none())
        });
    }

    /// Pods hold the templates of their Jobs: after a load the Job's runtime learns them from its pods.
    fn remember_template(&mut self, object: &Arc<Stored>) {
        if let Some(pod) = object.array_pod()
            && pod.own.is_none()
            && let Some(runtime) = self.jobs.get_mut(&pod.template.job_uid)
            && runtime.template(pod.template.mode, pod.template.fill_number()).is_none()
        {
            runtime.templates.push(pod.template.clone());
        }
    }
}

fn same_to_controller(old: &Stored, new: &Stored) -> bool {
    same_head(old, new) && old.deletion == new.deletion
}

pub(super) fn same_head(a: &Stored, b: &Stored) -> bool {
    match (&a.head, &b.head) {
        (Head::Json(a), Head::Json(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}
