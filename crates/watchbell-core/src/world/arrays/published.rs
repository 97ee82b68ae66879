//! How a run's drafts become snapshots, or do not.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::array::{
    ARRAY, ARRAY_COMMIT_FAILED, ARRAY_CONFLICT, ARRAY_GATE_FAILED, ArrayRefusal, PublishedArray,
};
use watchbell_api::node::Command;
use watchbell_api::{Resource, Uid};
use watchbell_zarr::Mode;

use super::{AGAIN_SECONDS, cut, short};
use crate::arrays::{ARRAY_DRAFT, ARRAY_GATE_FOR, ARRAY_USER, JobArrays, Uses};
use crate::controller::event::PlannedEvent;
use crate::controller::job::{
    Answer, ArraysView, ConditionKind, FinishedKind, Gate, JobStatus, PublicationStep,
};
use crate::copies;
use crate::world::World;
use crate::world::facts::JobFacts;
use crate::world::object::{Key, Stored};

/// The event of a Job that published.
const PUBLISHED: &str = "ArrayPublished";
const PUBLISHED_LATER: &str = "ArrayPublicationDelayed";

/// How many commits one audit entry tells of: entries are at most 64 KiB.
const COMMITS_PER_ENTRY: usize = 1_000;

/// What the node was asked to publish in this server's life, and what it answered. The answer outlives a stage that is rolled
/// back, and so does the question, once it was committed: the node is never asked a second time while the first is on its way.
#[derive(Debug, Default)]
pub(in crate::world) struct Publications {
    known: HashMap<Uid, Option<Published>>,
    /// Asked in the stage that is not committed.
    staged: Vec<Uid>,
    /// Jobs that went before the node had answered.
    gone: Vec<Gone>,
}

#[derive(Debug)]
struct Gone {
    job: Arc<Stored>,
    /// Its removal is durable.
    is_committed: bool,
    answer: Option<Published>,
    /// The answer stands in the stage that is not committed.
    is_told: bool,
}

type Published = Result<Vec<PublishedArray>, ArrayRefusal>;

impl Publications {
    fn ask(&mut self, job: Uid) {
        self.staged.push(job);
    }

    /// Whether somebody waits for it.
    fn answered(&mut self, job: Uid, result: Published) -> bool {
        if let Some(gone) = self.gone.iter_mut().find(|gone| gone.job.uid == job) {
            gone.answer.get_or_insert(result);
            return false;
        }
        match self.known.get_mut(&job) {
            Some(answer @ None) => {
                *answer = Some(result);
                true
            }
            _ => false,
        }
    }

    fn answer(&self, job: Uid) -> Answer {
        match self.known.get(&job) {
            None if self.staged.contains(&job) => Answer::Asked,
            None => Answer::NotAsked,
            Some(None) => Answer::Asked,
            Some(Some(Ok(_))) => Answer::Published,
            Some(Some(Err(refusal))) => {
                Answer::Refused { reason: refusal.reason, message: cut(&refusal.message).into() }
            }
        }
    }

    pub(in crate::world) fn committed(&mut self) {
        for job in self.staged.drain(..) {
            self.known.entry(job).or_default();
        }
        self.gone.retain(|gone| !gone.is_told);
        self.gone.iter_mut().for_each(|gone| gone.is_committed = true);
    }

    pub(in crate::world) fn rollback(&mut self) {
        self.staged.clear();
        self.gone.retain(|gone| gone.is_committed);
        self.gone.iter_mut().for_each(|gone| gone.is_told = false);
    }

    /// The Job is gone; its run may be published all the same. (Taken back, the stage that removed it asks again.)
    pub(in crate::world) fn forget(&mut self, job: &Arc<Stored>) {
        if let Some(None) = self.known.remove(&job.uid) {
            self.gone.push(Gone { job: job.clone(), is_committed: false, answer: None, is_told: false });
        }
    }
}

/// An index whose work is in the draft.
#[derive(Debug, Clone)]
pub(in crate::world) struct IndexCommit {
    pub array: Arc<str>,
    pub index: u32,
    pub attempt: u32,
    pub keys: u64,
    pub bytes: u64,
}

impl World {
    /// What the Job's controller reads of its arrays.
    pub(in crate::world) fn arrays_view(&self, job: &Stored, facts: &JobFacts) -> Option<ArraysView> {
        let arrays = facts.arrays.as_ref().filter(|arrays| arrays.uses.writes())?;
        let mut writes = arrays.uses.list.iter().filter(|one| one.mode != Mode::Read);
        let refused = writes
            .find_map(|one| self.state.array_right(&job.namespace, &arrays.service_account, one).err())
            .map(|why| format!("nothing is published: {why}").into());
        Some(ArraysView {
            gate: self.gate_of(job, arrays),
            refused,
            answer: self.publications.answer(job.uid),
        })
    }

    fn gate_of(&self, job: &Stored, arrays: &JobArrays) -> Gate {
        if arrays.gate.is_none() {
            return Gate::None;
        }
        let name = copies::gate_name(&job.name, &job.uid.to_string());
        let found = self.get(Resource::Job, &job.namespace, &name);
        // Another's Job of that name is in the way: making ours says so.
        let Some(gate) = found.filter(|gate| is_gate_of(gate, job)) else { return Gate::Wanted };
        match gate.job_status().and_then(JobStatus::is_finished).map(|end| end.kind) {
            None => Gate::Running,
            Some(FinishedKind::Complete) => Gate::Passed,
            Some(FinishedKind::Failed) => Gate::Failed,
        }
    }

    /// Returns when to look again.
    pub(in crate::world) fn take_publication_step(
        &mut self,
        job: &Arc<Stored>,
        step: PublicationStep,
        now: Timestamp,
    ) -> Option<i64> {
        let facts = job.facts().job()?;
        let arrays = facts.arrays.clone()?;
        let again = Some(now.as_second() + AGAIN_SECONDS);
        match step {
            PublicationStep::MakeGate => match self.make_gate(job, &arrays, now) {
                Ok(()) => None,
                Err(why) => {
                    let message = format!("Error creating the gate: {why}");
                    self.emit(job, &PlannedEvent::warning("FailedCreate", message), now);
                    again
                }
            },
            PublicationStep::Publish => {
                let run = Arc::new(arrays.run_of(job.uid, &job.name, &facts.spec));
                let uses = arrays.uses.value.clone();
                self.command(Command::PublishArrays { namespace: job.namespace.clone(), run, uses });
                self.publications.ask(job.uid);
                None
            }
        }
    }

    fn make_gate(&mut self, job: &Arc<Stored>, arrays: &JobArrays, now: Timestamp) -> Result<(), String> {
        let cron_name = arrays.gate.as_deref().unwrap_or_default();
        let cron = self
            .get(Resource::CronJob, &job.namespace, cron_name)
            .filter(|cron| cron.deletion.is_none())
            .cloned()
            .ok_or_else(|| format!("there is no CronJob {cron_name:?}"))?;
        let uid = job.uid.to_string();
        let name = copies::gate_name(&job.name, &uid);
        let gate = copies::gate(&cron.render(), &name, (&job.name, &uid));
        let uses = Uses::of(&gate["spec"]["template"]["metadata"]["annotations"]);
        if uses.is_some_and(|uses| uses.is_ok_and(|uses| uses.writes())) {
            return Err(format!("the template of CronJob {cron_name:?} writes arrays; a gate reads them"));
        }
        self.own_annotations.insert(ARRAY_USER, arrays.user.to_string());
        self.own_annotations.insert(ARRAY_GATE_FOR, uid.clone());
        self.own_annotations.insert(ARRAY_DRAFT, arrays.run.unwrap_or(job.uid).to_string());
        let made = self
            .create_own(Resource::Job, &job.namespace, gate, now)
            .map_err(|error| format!("job {name:?}: {}", error.message))?;
        let details =
            json!({"uid": uid, "gate": name, "gateUid": made.uid.to_string(), "cronjob": cron_name});
        self.audit_run(job, "gate-started", details, now);
        let message = format!("Created job {name}, which looks at what is to be published");
        self.emit(job, &PlannedEvent::normal("GateCreated", message), now);
        Ok(())
    }

    /// The node says what became of a publication.
    pub(in crate::world) fn report_published(&mut self, uid: Uid, result: Published) {
        let at = self.jobs.get(&uid).map(|runtime| runtime.at.clone());
        if let (true, Some(at)) = (self.publications.answered(uid, result), at) {
            self.mark_urgent(Key { resource: Resource::Job, at });
        }
    }

    /// A publication is tried again: why it does not end is told to who looks at the Job.
    pub(in crate::world) fn report_delayed(&mut self, uid: Uid, message: Box<str>, now: Timestamp) {
        let Some(at) = self.jobs.get(&uid).map(|runtime| runtime.at.clone()) else { return };
        if let Some(job) = self.get(Resource::Job, &at.namespace, &at.name).cloned() {
            let message = format!("Not published yet, tried again: {message}");
            self.emit(&job, &PlannedEvent::warning(PUBLISHED_LATER, message), now);
        }
    }

    fn tell_published(
        &mut self,
        job: &Arc<Stored>,
        user: &str,
        published: &[PublishedArray],
        now: Timestamp,
    ) {
        for one in published {
            self.audit_published(job, one, user, now);
            let message = format!(
                "Published snapshot {} of array {}: {} keys added, {} changed, {} removed",
                short(&one.snapshot),
                one.name,
                one.added,
                one.changed,
                one.removed
            );
            self.emit(job, &PlannedEvent::normal(PUBLISHED, message), now);
        }
    }

    /// What was published of Jobs that are gone is told, too.
    pub(in crate::world) fn tell_gone(&mut self, now: Timestamp) {
        let mut told = Vec::new();
        for gone in self.publications.gone.iter_mut().filter(|gone| !gone.is_told) {
            let Some(answer) = &gone.answer else { continue };
            gone.is_told = true;
            told.push((gone.job.clone(), answer.clone()));
        }
        for (job, answer) in told {
            let user = job.facts().job().and_then(|f| f.arrays.as_ref()).map(|arrays| arrays.user.clone());
            let published = match &answer {
                Ok(published) => published,
                Err(refusal) => &refusal.published,
            };
            for one in published {
                self.audit_published(&job, one, user.as_deref().unwrap_or_default(), now);
            }
        }
    }

    fn audit_published(&mut self, job: &Stored, one: &PublishedArray, user: &str, now: Timestamp) {
        let details = json!({
            "uid": job.uid.to_string(), "array": &*one.name, "snapshot": &*one.snapshot, "base": &*one.base,
            "added": one.added, "changed": one.changed, "removed": one.removed, "user": user,
        });
        self.audit_run(job, "array-published", details, now);
    }

    /// The Job ends: what became of its run is told in the same transaction.
    pub(in crate::world) fn tell_publication(
        &mut self,
        job: &Arc<Stored>,
        status: &JobStatus,
        now: Timestamp,
    ) {
        let facts = job.facts().job();
        let Some(arrays) = facts.and_then(|f| f.arrays.clone()).filter(|a| a.uses.writes()) else { return };
        let uid = job.uid.to_string();
        match self.publications.known.get(&job.uid).cloned() {
            Some(Some(Ok(published))) => return self.tell_published(job, &arrays.user, &published, now),
            // These have new heads, whatever became of the others.
            Some(Some(Err(refusal))) => self.tell_published(job, &arrays.user, &refusal.published, now),
            _ => {}
        }
        let refusals = [ARRAY_CONFLICT, ARRAY_COMMIT_FAILED, ARRAY_GATE_FAILED];
        let failed = status.condition(&ConditionKind::Failed);
        if let Some(end) = failed.filter(|end| refusals.contains(&&*end.reason)) {
            let details = json!({
                "uid": uid, "at": "publication", "reason": &*end.reason, "message": &*end.message,
            });
            self.audit_run(job, "array-refused", details, now);
        }
    }

    /// An index's work is in the draft.
    pub(in crate::world) fn report_committed(&mut self, uid: Uid, commit: IndexCommit) {
        let Some(job) = self.pod_of(uid).and_then(|pod| pod.controller()) else { return };
        let Some(runtime) = self.jobs.get_mut(&job) else { return };
        runtime.committed.push(commit);
        let key = Key { resource: Resource::Job, at: runtime.at.clone() };
        self.mark_urgent(key);
    }

    /// One entry for all commits of a run in a pass, for each array.
    pub(in crate::world) fn audit_commits(&mut self, job: &Stored, now: Timestamp) {
        let Some(runtime) = self.jobs.get_mut(&job.uid) else { return };
        let mut commits = std::mem::take(&mut runtime.committed);
        commits.sort_by(|a, b| (&a.array, a.index, a.attempt).cmp(&(&b.array, b.index, b.attempt)));
        for of_array in commits.chunk_by(|a, b| a.array == b.array) {
            for chunk in of_array.chunks(COMMITS_PER_ENTRY) {
                let list: Vec<Value> =
                    chunk.iter().map(|c| json!([c.index, c.attempt, c.keys, c.bytes])).collect();
                let details =
                    json!({"uid": job.uid.to_string(), "array": &*chunk[0].array, "committed": list});
                self.audit_run(job, "array-committed", details, now);
            }
        }
    }

    /// The Job is gone. When no other goes on with its run, what that committed goes too, and what it read is let go.
    pub(in crate::world) fn abandon_drafts(&mut self, job: &Stored) {
        let Some(arrays) = job.facts().job().and_then(|facts| facts.arrays.clone()) else { return };
        let run = arrays.run.unwrap_or(job.uid);
        if !self.runs_with_jobs(&job.namespace).contains(&run) {
            self.command(Command::AbandonDrafts { namespace: job.namespace.clone(), run });
        }
    }

    /// A Job has ended. Of one that only read, or that published, nothing is to be kept; another may go on with a failed one's
    /// draft, and reads what that read.
    pub(in crate::world) fn let_go_of_read(&mut self, job: &Stored, end: FinishedKind) {
        let Some(arrays) = job.facts().job().and_then(|facts| facts.arrays.clone()) else { return };
        if !arrays.uses.writes() || end == FinishedKind::Complete {
            let run = arrays.run.unwrap_or(job.uid);
            self.command(Command::AbandonDrafts { namespace: job.namespace.clone(), run });
        }
    }

    /// The same of a pod that has a run of its own, and is gone.
    pub(in crate::world) fn abandon_pod(&mut self, pod: &Stored) {
        let is_alone = pod.array_pod().is_none();
        if is_alone && pod.render()["metadata"]["annotations"][ARRAY].is_string() {
            self.command(Command::AbandonDrafts { namespace: pod.namespace.clone(), run: pod.uid });
        }
    }

    /// The same without what [`World::let_go_of_read`] has let go.
    pub(super) fn runs_to_keep(&self, namespace: &str) -> HashSet<Uid> {
        let (mut kept, mut published) = (HashSet::new(), HashSet::new());
        for job in self.state.list(Resource::Job, Some(namespace), None) {
            let Some(arrays) = job.facts().job().and_then(|facts| facts.arrays.as_ref()) else { continue };
            let run = arrays.run.unwrap_or(job.uid);
            match job.job_status().and_then(JobStatus::is_finished).map(|end| end.kind) {
                Some(FinishedKind::Complete) if arrays.uses.writes() => drop(published.insert(run)),
                Some(_) if !arrays.uses.writes() => {}
                _ => drop(kept.insert(run)),
            }
        }
        kept.retain(|run| !published.contains(run));
        kept
    }

    /// The runs of a namespace whose drafts a Job may still go on with.
    pub(super) fn runs_with_jobs(&self, namespace: &str) -> HashSet<Uid> {
        let jobs = self.state.list(Resource::Job, Some(namespace), None);
        jobs.filter_map(|job| Some(job.facts().job()?.arrays.as_ref()?.run.unwrap_or(job.uid))).collect()
    }
}

/// An owner can be written by whoever may make Jobs: what the server alone writes counts.
fn is_gate_of(gate: &Stored, job: &Stored) -> bool {
    gate.facts().job().and_then(|facts| facts.gate_for) == Some(job.uid)
}
