//! What must hold in every life.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use watchbell_api::types::cronjob::ConcurrencyPolicy;
use watchbell_api::types::job::CompletionMode;
use watchbell_api::types::pod_status::PodStatus;
use watchbell_api::{Resource, Uid};

use super::super::Bench;
use super::is_finished;
use super::worker::Worker;
use crate::controller::job::{FinishedKind, JobStatus};
use crate::world::{Key, Stage, Stored};

/// What a watcher of everything has seen, and what it must never see.
pub(super) struct Laws {
    seen: BTreeMap<Key, Arc<Stored>>,
    gone: BTreeSet<Uid>,
    finished: BTreeSet<Uid>,
    version: u64,
    /// Slots by CronJob and time, with the Job they made.
    slots: BTreeMap<(String, String), String>,
    audit_read: usize,
}

impl Laws {
    pub(super) fn of(bench: &Bench) -> Laws {
        let mut laws = Laws {
            seen: BTreeMap::new(),
            gone: BTreeSet::new(),
            finished: BTreeSet::new(),
            version: 0,
            slots: BTreeMap::new(),
            audit_read: 0,
        };
        laws.catch_up(bench);
        laws
    }

    /// Lists everything anew.
    pub(super) fn catch_up(&mut self, bench: &Bench) {
        let snapshot = bench.world.snapshot();
        self.seen = Resource::all()
            .flat_map(|r| snapshot.list(r, None, None).map(|o| (o.key(), o.clone())).collect::<Vec<_>>())
            .collect();
        self.version = snapshot.resource_version();
    }

    /// Takes the changes of a commit as a watcher does.
    pub(super) fn follow(&mut self, stage: &Stage) {
        // Jobs as they stood before the commit.
        let jobs: BTreeMap<Uid, Arc<Stored>> = self
            .seen
            .values()
            .filter(|object| object.resource == Resource::Job)
            .map(|job| (job.uid, job.clone()))
            .collect();
        for change in &stage.changes {
            assert!(change.resource_version > self.version, "versions do not rise: {change:?}");
            self.version = change.resource_version;
            let key = change.object().key();
            let known = self.seen.get(&key).filter(|known| known.uid == change.object().uid);
            assert_eq!(
                known.map(|known| known.resource_version),
                change.old.as_ref().map(|old| old.resource_version),
                "a change of something that was never told: {key:?}"
            );
            match &change.new {
                Some(new) => {
                    assert!(!self.gone.contains(&new.uid), "{key:?} came back from the dead");
                    self.check_change(&jobs, change.old.as_deref(), new);
                    self.seen.insert(key, new.clone());
                }
                None => {
                    self.gone.insert(change.object().uid);
                    if self.seen.get(&key).is_some_and(|known| known.uid == change.object().uid) {
                        self.seen.remove(&key);
                    }
                }
            }
        }
    }

    fn check_change(&mut self, jobs: &BTreeMap<Uid, Arc<Stored>>, old: Option<&Stored>, new: &Stored) {
        if let Some(status) = new.job_status() {
            let ends = status.is_finished().is_some();
            assert!(
                ends || !self.finished.contains(&new.uid),
                "Job {} was finished and runs again",
                new.name
            );
            if ends {
                self.finished.insert(new.uid);
            }
        }
        let Some(status) = new.pod_status() else { return };
        if let Some(old) = old
            && let Some(before) = old.pod_status()
        {
            if before.scheduled_at.is_some() {
                assert_eq!(old.job_log(), new.job_log(), "the log of pod {} has moved", new.name);
            }
            if before.phase.is_terminal() {
                let end = PodStatus { job_log: before.job_log.clone(), ..status.clone() };
                assert_eq!(*before, end, "pod {} had ended", new.name);
            }
        }
        let Some(pod) = new.array_pod() else { return };
        if let (None, Some(job)) = (old, jobs.get(&pod.template.job_uid))
            && let Some(status) = job.job_status()
        {
            assert!(status.is_finished().is_none(), "pod {} was made for a finished Job", new.name);
            if let Some(index) = pod.index {
                assert!(!status.completed_indexes.contains(index), "index {index} of {} was done", job.name);
                assert!(!status.failed_indexes.contains(index), "index {index} of {} had failed", job.name);
            }
        }
    }

    /// Looks at the committed state and the record.
    pub(super) fn check(&mut self, bench: &Bench, worker: &Worker) {
        let snapshot = bench.world.snapshot();
        let shown = Resource::all().map(|resource| snapshot.count(resource)).sum::<usize>();
        assert_eq!(shown, self.seen.len(), "a watcher and a reader see different worlds");
        self.read_record(bench);
        let at_rest = bench.world.wake_at().is_none_or(|at| at > bench.at());
        let mut active: BTreeMap<Uid, u32> = BTreeMap::new();
        for pod in snapshot.list(Resource::Pod, None, None) {
            let runs = pod.pod_status().is_some_and(|status| !status.phase.is_terminal());
            if let Some(array) = pod.array_pod()
                && runs
                && pod.deletion.is_none()
            {
                *active.entry(array.template.job_uid).or_default() += 1;
            }
        }
        let mut unfinished: BTreeMap<Uid, u32> = BTreeMap::new();
        for job in snapshot.list(Resource::Job, None, None) {
            check_counts(job, worker);
            check_publication(job, worker);
            if is_finished(job) {
                continue;
            }
            if let Some(cron) = job.controller() {
                *unfinished.entry(cron).or_default() += 1;
            }
            if at_rest && job.deletion.is_none() {
                check_parallelism(job, active.get(&job.uid).copied().unwrap_or(0));
            }
        }
        for cron in snapshot.list(Resource::CronJob, None, None) {
            let forbids =
                cron.facts().cronjob().is_some_and(|c| c.concurrency_policy == ConcurrencyPolicy::Forbid);
            let running = unfinished.get(&cron.uid).copied().unwrap_or(0);
            assert!(!forbids || running <= 1, "{} forbids what it does", cron.name);
        }
    }

    /// Looks at the node once it was told of a commit: it runs what the journal wants to run, and nothing else.
    pub(super) fn check_node(&self, bench: &Bench, worker: &Worker) {
        let snapshot = bench.world.snapshot();
        for job in snapshot.list(Resource::Job, None, None) {
            let run = run_of(job).filter(|run| worker.abandoned.contains(run));
            assert!(run.is_none() || is_finished(job), "what {} committed was given up", job.name);
        }
        let pods: BTreeMap<Uid, bool> = snapshot
            .list(Resource::Pod, None, None)
            .filter(|pod| {
                pod.pod_status().is_some_and(|s| s.scheduled_at.is_some() && !s.phase.is_terminal())
            })
            .map(|pod| (pod.uid, pod.deletion.is_some()))
            .collect();
        for (uid, is_told_to_stop) in worker.running() {
            match pods.get(&uid) {
                None => panic!("the node runs {uid}, which the journal does not"),
                Some(true) => assert!(is_told_to_stop, "{uid} is being deleted and runs on"),
                Some(false) => assert!(!is_told_to_stop, "{uid} is stopped, and nobody asked for it"),
            }
        }
    }

    fn read_record(&mut self, bench: &Bench) {
        for record in &bench.journal.audit[self.audit_read..] {
            let body = &record.body;
            if body["action"] == "started" {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let slot = (text(&body["objectRef"]["name"]), text(&body["details"]["slot"]));
                let job = text(&body["details"]["uid"]);
                let other = self.slots.insert(slot.clone(), job);
                assert_eq!(other, None, "the slot {slot:?} made two Jobs");
            }
        }
        self.audit_read = bench.journal.audit.len();
    }
}

/// The run of a Job that writes arrays.
fn run_of(job: &Stored) -> Option<Uid> {
    let arrays = job.facts().job()?.arrays.as_ref()?;
    Some(arrays.run.unwrap_or(job.uid))
}

/// A Job that writes arrays is complete exactly if its run is published, and that is done once.
fn check_publication(job: &Stored, worker: &Worker) {
    let Some(run) = run_of(job) else { return };
    let times = worker.published.get(&run).copied().unwrap_or(0);
    assert!(times <= 1, "{} was published {times} times", job.name);
    match job.job_status().and_then(JobStatus::is_finished) {
        Some(end) if end.kind == FinishedKind::Complete => {
            assert_eq!(times, 1, "{} is complete and not published", job.name);
        }
        Some(_) => assert_eq!(times, 0, "{} failed and is published", job.name),
        None => {}
    }
}

/// Whatever is counted as done was done, once.
fn check_counts(job: &Stored, worker: &Worker) {
    let (Some(status), Some(facts)) = (job.job_status(), job.facts().job()) else { return };
    let first = (job.uid, None, Uid(0));
    let of_job: Vec<_> = worker.successes.range(first..).take_while(|(uid, ..)| *uid == job.uid).collect();
    if facts.spec.completion_mode == CompletionMode::NonIndexed {
        assert!(status.succeeded as usize <= of_job.len(), "{status:?} of {of_job:?}");
        return;
    }
    assert_eq!(status.completed_indexes.len(), u64::from(status.succeeded), "{status:?}");
    let really: BTreeSet<Option<u32>> = of_job.iter().map(|(_, index, _)| *index).collect();
    for (first, last) in status.completed_indexes.ranges() {
        for index in first..=last {
            assert!(really.contains(&Some(index)), "index {index} did not succeed: {status:?}");
            assert!(!status.failed_indexes.contains(index), "index {index} failed too: {status:?}");
        }
    }
}

fn check_parallelism(job: &Stored, active: u32) {
    let (Some(status), Some(facts)) = (job.job_status(), job.facts().job()) else { return };
    let parallelism = facts.spec.parallelism.unwrap_or(1);
    // After the first success of a work queue, Kubernetes leaves running what runs.
    let winds_down = facts.spec.completions.is_none() && status.succeeded > 0;
    assert!(active <= parallelism || winds_down, "{active} pods of {} run, not {parallelism}", job.name);
    assert!(!facts.spec.suspend || active == 0, "{} is suspended and runs", job.name);
    assert_eq!(status.active, active, "{status:?}");
}
