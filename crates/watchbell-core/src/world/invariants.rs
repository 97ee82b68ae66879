//! Laws of the state that must hold after every step; tests and the simulation check them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use watchbell_api::{Resource, Uid};

use super::World;
use super::events;
use super::object::{Head, Key, NsName, Status};
use super::row::NO_INDEX;
use super::seats;
use crate::placement::Demand;

impl World {
    /// Compares every index with the objects it is derived from.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_pods()?;
        self.check_owners()?;
        self.check_queue()?;
        self.check_events()?;
        self.check_quotas()?;
        self.check_claims()?;
        if self.state.rights_anew() != *self.state.rbac() {
            return Err("the index of rights differs from the roles and bindings".into());
        }
        for (key, at) in &self.wake {
            if !self.timers.contains(&(*at, key.clone())) {
                return Err(format!("the timer of {key:?} is lost"));
            }
        }
        if self.wake.len() != self.timers.len() {
            return Err("a timer has no owner".into());
        }
        let in_line: BTreeSet<&Key> = self.dirty.iter().chain(&self.urgent).collect();
        match self.is_dirty.iter().find(|key| !in_line.contains(key)) {
            Some(key) => Err(format!("{key:?} is marked and in no line")),
            None => Ok(()),
        }
    }

    fn check_pods(&self) -> Result<(), String> {
        let mut pods: BTreeMap<Uid, BTreeMap<(u32, u32), NsName>> = BTreeMap::new();
        let mut active: BTreeMap<Uid, BTreeSet<(u32, u32)>> = BTreeMap::new();
        let mut fills: BTreeMap<Uid, BTreeMap<u16, u32>> = BTreeMap::new();
        let mut kept_logs: BTreeMap<Uid, u32> = BTreeMap::new();
        for pod in self.state.list(Resource::Pod, None, None) {
            let status = pod.pod_status().ok_or_else(|| format!("pod {} has no status", pod.name))?;
            if self.pods_by_uid.get(&pod.uid) != Some(&pod.at()) {
                return Err(format!("pod {} is not found by its uid", pod.name));
            }
            if let Some(job) = seats::kept_log(pod) {
                *kept_logs.entry(job).or_default() += 1;
            }
            let Head::ArrayPod(array) = &pod.head else { continue };
            let job = array.template.job_uid;
            let Some(runtime) = self.jobs.get(&job) else {
                return Err(format!("pod {} is in the rows of a Job that is gone", pod.name));
            };
            if let Some((number, text)) = &array.template.fill
                && let Some(Status::Job { fills, .. }) =
                    self.get_at(Resource::Job, &runtime.at).map(|job| &job.status)
                && fills.texts.get(usize::from(*number)) != Some(text)
            {
                return Err(format!("pod {} names a fill that its Job does not have", pod.name));
            }
            let seat = (array.index.unwrap_or(NO_INDEX), array.attempt);
            if pods.entry(job).or_default().insert(seat, pod.at()).is_some() {
                return Err(format!("pod {} shares its row with another", pod.name));
            }
            if let Some(number) = seats::fill_number(pod) {
                *fills.entry(job).or_default().entry(number).or_default() += 1;
            }
            if !status.phase.is_terminal() {
                active.entry(job).or_default().insert(seat);
            }
        }
        if self.pods_by_uid.len() != self.state.count(Resource::Pod) {
            return Err("the index of pods by uid holds a pod that is gone".into());
        }
        if !kept_logs.iter().eq(self.kept_logs.iter().collect::<BTreeMap<_, _>>()) {
            return Err(
                "the index of logs that outlive their Jobs differs from the pods that name them".into()
            );
        }
        if self.jobs.len() != self.state.count(Resource::Job) {
            return Err("a Job has no runtime, or a runtime no Job".into());
        }
        for (uid, job) in &self.jobs {
            let name = &job.at.name;
            if self.get_at(Resource::Job, &job.at).is_none_or(|found| found.uid != *uid) {
                return Err(format!("the runtime of Job {name} belongs to none"));
            }
            if pods.remove(uid).unwrap_or_default() != job.pods {
                return Err(format!("Job {name} lists other pods than there are"));
            }
            if fills.remove(uid).unwrap_or_default() != job.fills {
                return Err(format!("Job {name} counts other fills than its pods name"));
            }
            let listed: BTreeSet<(u32, u32)> = job.active.keys().copied().collect();
            if active.remove(uid).unwrap_or_default() != listed {
                return Err(format!("Job {name} lists other active pods than there are"));
            }
            if !job.ended.is_empty() && !self.urgent.iter().any(|key| key.at == job.at) {
                return Err(format!("Job {name} has ended pods that nobody will count"));
            }
        }
        Ok(())
    }

    fn check_owners(&self) -> Result<(), String> {
        let mut owned: BTreeMap<Uid, BTreeSet<Key>> = BTreeMap::new();
        let mut children: BTreeMap<Uid, BTreeSet<NsName>> = BTreeMap::new();
        for resource in Resource::all() {
            for object in self.state.list(resource, None, None) {
                for owner in object.owners() {
                    owned.entry(owner.uid).or_default().insert(object.key());
                }
                if let (Resource::Job, Some(cron)) = (resource, object.controller()) {
                    children.entry(cron).or_default().insert(object.at());
                }
            }
        }
        if !owned.iter().eq(self.owned.iter().collect::<BTreeMap<_, _>>()) {
            return Err("the index of owners differs from the owner references".into());
        }
        if !children.iter().eq(self.cron_children.iter().collect::<BTreeMap<_, _>>()) {
            return Err("the index of CronJobs' Jobs differs from the owner references".into());
        }
        Ok(())
    }

    fn check_queue(&self) -> Result<(), String> {
        let (mut runs, mut waits) = (BTreeSet::new(), BTreeSet::new());
        let mut held: BTreeMap<&Arc<str>, Uid> = BTreeMap::new();
        for pod in self.state.list(Resource::Pod, None, None) {
            let (Some(status), Some(spec)) = (pod.pod_status(), pod.pod_spec()) else { continue };
            if status.phase.is_terminal() {
                continue;
            }
            if status.scheduled_at.is_some() {
                runs.insert(pod.uid);
                if *self.queue.devices_of(pod.uid) != *status.devices {
                    return Err(format!("pod {} holds other devices than its status says", pod.name));
                }
                for name in &status.devices {
                    if held.insert(name, pod.uid).is_some() {
                        return Err(format!("pod {} holds {name}, and so does another", pod.name));
                    }
                }
                let asked = Demand::of(spec).devices;
                if asked.values().sum::<u64>() != status.devices.len() as u64 {
                    return Err(format!(
                        "pod {} holds {:?} and asks for {asked:?}",
                        pod.name, status.devices
                    ));
                }
            } else if pod.deletion.is_none()
                && spec.scheduling_gates.is_empty()
                && self.claim_obstacle(pod).is_none()
            {
                waits.insert(pod.uid);
            }
        }
        if self.queue.running().collect::<BTreeSet<_>>() != runs {
            return Err("the queue holds room for other pods than run".into());
        }
        if self.queue.waiting().collect::<BTreeSet<_>>() != waits {
            return Err("other pods stand in the queue than wait".into());
        }
        Ok(())
    }

    fn check_events(&self) -> Result<(), String> {
        let events: BTreeSet<_> =
            self.state.list(Resource::Event, None, None).filter_map(|event| events::age(event)).collect();
        if events != self.events {
            return Err("the order of events differs from the events".into());
        }
        // Of two that tell the same, a client has written one.
        let told: BTreeMap<_, _> =
            self.state.list(Resource::Event, None, None).filter_map(|event| events::told(event)).collect();
        if self.event_names.iter().any(|(told_by, _)| !told.contains_key(told_by)) {
            return Err("an event is remembered that is gone".into());
        }
        Ok(())
    }
}
