//! What containers were started with: told by the node, recorded in the transaction that first knows of the start.
//!
//! ```text
//!   Report::Started ──▶ told ──┐
//!   Report::Status ── a run more than before ──▶ due ──▶ entries of the batch: `confined` once for each difference of a run,
//!                                                        `pods-started` with the rest, or within `pods-ended`
//! ```
//!
//! The status decides that there is an entry, so that none is missing whatever becomes of the word about the settings; an array
//! of ten thousand pods has its settings once, and some thirty bytes for each start.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use watchbell_api::types::pod_status::{ContainerState, ContainerStatus, PodStatus};
use watchbell_api::{Resource, Uid};

use super::World;
use super::object::{Head, NsName, Stored};

/// Starts that one entry tells of: entries are at most 64 KiB.
const STARTS_PER_ENTRY: usize = 500;
/// Runs of one container between two reports that are told apart.
const RUNS_MAX: u32 = 16;
/// Differences of one run that are known by name; more are told again.
const KNOWN_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Starts {
    /// By pod, ordinal and attempt, until the status of the pod says the same.
    told: HashMap<Uid, Vec<Told>>,
    /// What of it this batch used: the node says a thing once, and a batch may be refused.
    used: Vec<(Uid, Told)>,
    /// By the object that speaks of them: a Job, or a pod of its own.
    due: BTreeMap<Uid, Due>,
    /// The settings that each run's entries have named.
    known: HashMap<Uid, Vec<Known>>,
}

#[derive(Debug, Clone)]
struct Told {
    container: u16,
    attempt: u32,
    host_ids: Option<u32>,
    settings: Arc<Value>,
}

#[derive(Debug)]
struct Due {
    about: Arc<Stored>,
    /// Index, attempt of the pod, ordinal of the container, its run, name of its settings, first host id.
    starts: Vec<Value>,
    /// Settings that no entry has named yet.
    news: Vec<Known>,
}

#[derive(Debug, Clone)]
struct Known {
    settings: Arc<Value>,
    name: Arc<str>,
}

impl Starts {
    /// The node says with what a container was started.
    pub(super) fn tell(
        &mut self,
        pod: Uid,
        container: u16,
        attempt: u32,
        host_ids: Option<u32>,
        settings: Arc<Value>,
    ) {
        let told = self.told.entry(pod).or_default();
        told.retain(|told| (told.container, told.attempt) != (container, attempt));
        told.push(Told { container, attempt, host_ids, settings });
    }

    /// A pod has ended, or it or a Job is gone.
    pub(super) fn forget(&mut self, object: Uid) {
        self.told.remove(&object);
        self.known.remove(&object);
    }

    pub(super) fn committed(&mut self) {
        self.used.clear();
    }

    /// Nothing that was named or is due stands in the journal for sure.
    pub(super) fn rollback(&mut self) {
        self.due.clear();
        self.known.clear();
        for (pod, Told { container, attempt, host_ids, settings }) in std::mem::take(&mut self.used) {
            self.tell(pod, container, attempt, host_ids, settings);
        }
    }

    fn take(&mut self, pod: Uid, container: u16, attempt: u32) -> Option<Told> {
        let told = self.told.get_mut(&pod)?;
        let place = told.iter().position(|t| (t.container, t.attempt) == (container, attempt))?;
        let told = told.swap_remove(place);
        self.used.push((pod, told.clone()));
        Some(told)
    }

    /// The name of settings among those of a run: the beginning of their hash, so that it means the same in every entry.
    fn name(&mut self, run: Uid, settings: &Arc<Value>, news: &mut Vec<Known>) -> Arc<str> {
        let known = self.known.entry(run).or_default();
        let is_it = |known: &&Known| Arc::ptr_eq(&known.settings, settings) || known.settings == *settings;
        if let Some(known) = known.iter().find(is_it) {
            return known.name.clone();
        }
        let hash = Sha256::digest(settings.to_string());
        let name: String = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        let new = Known { settings: settings.clone(), name: name.into() };
        if known.len() >= KNOWN_MAX {
            known.remove(0);
        }
        known.push(new.clone());
        let name = new.name.clone();
        news.push(new);
        name
    }
}

/// The number of a container's last run that was executed.
fn last_run(status: &ContainerStatus) -> Option<u32> {
    match &status.state {
        ContainerState::Running { .. } => Some(status.restart_count),
        ContainerState::Terminated(end) if end.started_at.is_some() => Some(status.restart_count),
        ContainerState::Terminated(_) | ContainerState::Waiting { .. } => {
            let before = status.last_terminated.as_ref().filter(|end| end.started_at.is_some());
            before.and_then(|_| status.run_before())
        }
    }
}

/// Init containers first.
fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    status.init_containers.iter().chain(&status.containers)
}

impl World {
    /// The status of a pod is about to change: what of it began is due.
    pub(super) fn note_starts(&mut self, pod: &Arc<Stored>, before: &PodStatus, status: &PodStatus) {
        let known: Vec<Option<u32>> = containers(before).map(last_run).collect();
        for (ordinal, container) in containers(status).enumerate() {
            let Some(last) = last_run(container) else { continue };
            let first = known.get(ordinal).copied().flatten().map_or(0, |run| run.saturating_add(1));
            for attempt in first.max(last.saturating_sub(RUNS_MAX))..=last {
                let told = self.starts.take(pod.uid, ordinal as u16, attempt);
                // Of runs in between only the node's word says whether they were executed.
                if told.is_some() || attempt == last {
                    self.note_start(pod, ordinal, attempt, told);
                }
            }
        }
    }

    fn note_start(&mut self, pod: &Arc<Stored>, ordinal: usize, attempt: u32, told: Option<Told>) {
        let about = self.run_of(pod);
        let (index, pod_attempt) = pod.array_pod().map_or((None, 0), |array| (array.index, array.attempt));
        let mut news = Vec::new();
        let name = told.as_ref().map(|told| self.starts.name(about.uid, &told.settings, &mut news));
        let host_ids = told.and_then(|told| told.host_ids);
        let due = self.starts.due.entry(about.uid);
        let due = due.or_insert_with(|| Due { about, starts: Vec::new(), news: Vec::new() });
        due.starts.push(json!([index, pod_attempt, ordinal, attempt, name.as_deref(), host_ids]));
        due.news.append(&mut news);
    }

    /// The Job of a pod that a Job made, or the pod itself.
    pub(super) fn run_of(&self, pod: &Arc<Stored>) -> Arc<Stored> {
        let Head::ArrayPod(array) = &pod.head else { return pod.clone() };
        let at: Option<&NsName> = self.jobs.get(&array.template.job_uid).map(|job| &job.at);
        at.and_then(|at| self.get_at(Resource::Job, at)).unwrap_or(pod).clone()
    }

    /// What is due of a run, at most `most` starts, to stand in an entry that is written anyway. The settings that they name
    /// are recorded before.
    pub(super) fn starts_due(&mut self, run: Uid, most: usize, now: Timestamp) -> Option<Vec<Value>> {
        let due = self.starts.due.get(&run).filter(|due| due.starts.len() <= most)?;
        debug_assert!(!due.starts.is_empty());
        let due = self.starts.due.remove(&run)?;
        self.audit_settings(&due, now);
        Some(due.starts)
    }

    /// Records what is due and stands in no entry yet.
    pub(super) fn audit_starts(&mut self, now: Timestamp) {
        for (_, due) in std::mem::take(&mut self.starts.due) {
            self.audit_settings(&due, now);
            for started in due.starts.chunks(STARTS_PER_ENTRY) {
                let details = json!({"uid": due.about.uid.to_string(), "started": started});
                self.audit_run(&due.about, "pods-started", details, now);
            }
        }
    }

    fn audit_settings(&mut self, due: &Due, now: Timestamp) {
        for Known { settings, name } in &due.news {
            let details = json!({"uid": due.about.uid.to_string(), "name": &**name, "settings": **settings});
            self.audit_run(&due.about, "confined", details, now);
        }
    }

    /// The images that a run stands for by digest are known.
    pub(super) fn audit_images(&mut self, about: &Stored, images: &[Arc<str>], now: Timestamp) {
        let images: Vec<&str> = images.iter().map(|image| &**image).collect();
        let details = json!({"uid": about.uid.to_string(), "images": images});
        self.audit_run(about, "images-resolved", details, now);
    }
}
