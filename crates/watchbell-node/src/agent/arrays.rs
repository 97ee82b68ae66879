//! Data arrays of pods: had before the first container starts, taken over after the last has ended.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use watchbell_api::Uid;
use watchbell_api::array::{ARRAY, ARRAY_COMMIT_FAILED, ArrayRun};
use watchbell_api::node::{Assignment, Command, Report};
use watchbell_core::arrays::{Uses, quota_bytes, variable_part};
use watchbell_core::pod::{BLOCKED, Container, State};
use watchbell_sandbox::{Layered, LayeredMemory, Mount, PodEnvironment, PodVolume, Scratch, VolumeSource};
use watchbell_zarr::{Mode, ReadScope, Upper, Use};

use super::effect::{Watched, What};
use super::plan::{Machine, scratch};
use super::pod::Pod;
use super::spec::{Given, Prerequisite, Site, has_messages};
use super::{Agent, Effect, Now};
use crate::arrays::{self, Prepared, PreparedArray, Taken, Trouble, View, Wanted, Work};
use crate::image;
use crate::measure::Use as Used;
use crate::place::volumes_dir;

/// The reason of a pod whose arrays cannot be had as it asks.
pub(super) const REFUSED: &str = "ArrayRefused";
const MEASURED: &str = "ArrayUpperMeasured";
/// What a pod may write to an array in memory when it states no quota.
const MEMORY_BYTES: u64 = 1 << 30;
const STOPPED: &str = "it was asked to end before it was done: nothing of what it wrote is committed";
/// Of a status.
const MESSAGE_BYTES_MAX: usize = 2048;

/// The arrays of one pod.
#[derive(Clone)]
pub(super) struct PodArrays {
    pub(super) uses: Arc<[Use]>,
    /// Once they are known; before the first start.
    prepared: Option<Arc<Prepared>>,
    commit: Commit,
    /// Before this server knew of all pods: whether it had ended by itself by then is not known.
    pub(super) was_stopped: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Commit {
    Due,
    Asked,
    /// Or nothing is to be committed.
    Done,
}

/// The arrays of a run. Of pods that see their own chunks alone, each has a state of its own.
#[derive(Default)]
pub(super) struct RunArrays {
    states: HashMap<Option<Uid>, ArraysState>,
    /// Namespace, and whose drafts they are.
    of: Option<(Arc<str>, Uid)>,
}

enum ArraysState {
    /// Being made for these pods' containers.
    Preparing(Vec<(Uid, usize)>),
    Ready(Arc<Prepared>),
    Failed {
        message: String,
        retry_at: Duration,
        tries: u32,
    },
}

impl RunArrays {
    /// What is decrypted stays for the pods that have it, and for nobody else.
    pub(super) fn forget_memory(&mut self) {
        self.states.retain(|_, state| match state {
            ArraysState::Ready(prepared) => !prepared.is_in_memory(),
            ArraysState::Preparing(_) | ArraysState::Failed { .. } => true,
        });
    }

    /// Nobody needs them at hand. Gives whose they are, if they were.
    pub(super) fn rest(&mut self) -> Option<(Arc<str>, Uid)> {
        self.states.clear();
        self.of.take()
    }
}

/// Of a preparation under way: the run, and its pod when that has a state of its own.
pub(super) struct Preparation {
    run: Uid,
    own: Option<Uid>,
    tries: u32,
    /// Of the connection to the spawner.
    connection: u64,
    /// Whose draft it makes or reads.
    of: Arc<ArrayRun>,
}

/// What the pod's annotation says.
pub(super) fn read(pod: &Assignment) -> Result<Option<PodArrays>, String> {
    if pod.arrays.is_none() {
        return Ok(None);
    }
    let wrong = |why: String| format!("annotation {ARRAY}: {why}");
    let text = pod.annotations.get(ARRAY).ok_or_else(|| wrong("it is not there".to_owned()))?;
    let uses: Arc<[Use]> = Uses::read(text).map_err(wrong)?.list.into();
    for of in uses.iter() {
        quota_bytes(of).map_err(|why| wrong(format!("array {:?}: {why}", of.name)))?;
    }
    let writes = uses.iter().any(|of| of.mode == Mode::Write);
    // A pod whose end was told before has committed before.
    let commit = if writes && !pod.status.phase.is_terminal() { Commit::Due } else { Commit::Done };
    Ok(Some(PodArrays { uses, prepared: None, commit, was_stopped: false }))
}

/// Bytes that may be written: whatever is stated, no more than the machine has.
fn bound(of: &Use, machine: &Machine) -> u64 {
    let stated = quota_bytes(of).ok().flatten();
    match of.upper {
        Upper::Memory => stated.unwrap_or(MEMORY_BYTES).min(machine.capacity.memory_bytes),
        Upper::Disk => {
            stated.unwrap_or(machine.empty_dir_bytes).min(machine.capacity.ephemeral_storage_bytes)
        }
    }
}

/// As many files as pages, within reason: an index may own four million chunks and directories.
fn image(bytes: u64) -> Scratch {
    Scratch { bytes, inodes: (bytes / 4096).clamp(64, 1 << 23) }
}

/// The volume of the pod's first array.
fn first_volume(pod: &Assignment) -> u16 {
    pod.spec.volumes.len() as u16 + u16::from(has_messages(pod))
}

/// Where what is written to an array on the disk lies until it is committed.
fn upper_dir(site: &Site, pod: Uid, position: usize) -> PathBuf {
    volumes_dir(&site.data_dir, pod).join(format!(".array-{position}"))
}

/// Adds the pod's arrays to what its containers share. All in them is `owner`'s.
pub(super) fn lay(
    site: &Site,
    pod: &Pod,
    owner: (u32, u32),
    environment: &mut PodEnvironment,
    needed: &mut Vec<Prerequisite>,
) {
    let Some((of_pod, prepared)) = pod.arrays.as_ref().and_then(|a| Some((a, a.prepared.as_ref()?))) else {
        return;
    };
    let uid = pod.assignment.uid;
    for (position, (of, array)) in of_pod.uses.iter().zip(&prepared.arrays).enumerate() {
        let source = volume(site, uid, position, of, array, owner);
        // The spawner holds what containers before this server's time wrote.
        if of.mode == Mode::Write && of.upper == Upper::Disk && pod.handed.is_empty() {
            needed.push(Prerequisite::Upper(upper_dir(site, uid, position)));
        }
        let id = environment.volumes.len() as u16;
        environment.volumes.push(PodVolume { id, source });
    }
}

fn volume(
    site: &Site,
    pod: Uid,
    position: usize,
    of: &Use,
    array: &PreparedArray,
    (uid, gid): (u32, u32),
) -> VolumeSource {
    let bytes = bound(of, &site.machine);
    let upper = match (of.mode, of.upper) {
        (Mode::Read, _) => None,
        (Mode::Write, Upper::Memory) => Some(watchbell_sandbox::Upper::Memory(scratch(bytes))),
        (Mode::Write, Upper::Disk) => {
            let path = upper_dir(site, pod, position);
            Some(match site.machine.without_images {
                None => watchbell_sandbox::Upper::Image { path, bound: image(bytes) },
                Some(_) => watchbell_sandbox::Upper::Disk { path },
            })
        }
    };
    match &array.view {
        View::Directory(path) => VolumeSource::Layered(Layered { lower: path.clone(), uid, gid, upper }),
        View::Memory(view) => VolumeSource::LayeredMemory(LayeredMemory { memory: view.id, uid, gid, upper }),
    }
}

/// What each container of the pod has of its arrays.
pub(super) fn given(pod: &Pod) -> Given {
    match pod.arrays.as_ref().and_then(|arrays| Some((arrays, arrays.prepared.as_ref()?))) {
        Some((arrays, prepared)) => given_of(&pod.assignment, &arrays.uses, prepared),
        None => Given::default(),
    }
}

fn given_of(pod: &Assignment, uses: &[Use], prepared: &Prepared) -> Given {
    let first = first_volume(pod);
    let mount = |(position, of): (usize, &Use)| Mount {
        target: of.mount.clone(),
        volume: first + position as u16,
        sub_path: None,
        read_only: of.mode == Mode::Read,
    };
    Given {
        variables: variables(uses, prepared, pod.index.unwrap_or(0)),
        mounts: uses.iter().enumerate().map(mount).collect(),
    }
}

/// As a pod would have them, for who wants to know how it is started: nothing is prepared for that.
pub(super) fn explained(
    site: &Site,
    pod: &Assignment,
    environment: &mut PodEnvironment,
) -> Result<Given, String> {
    let Some(arrays) = read(pod)? else { return Ok(Given::default()) };
    let dir = site.data_dir.join("arrays").join(&*pod.namespace);
    let like = |of: &Use| PreparedArray {
        snapshot: "".into(),
        view: View::Directory(dir.join(&of.name)),
        plan: None,
    };
    let prepared = Prepared { arrays: arrays.uses.iter().map(like).collect() };
    for (position, (of, array)) in arrays.uses.iter().zip(&prepared.arrays).enumerate() {
        let source = volume(site, pod.uid, position, of, array, (0, 0));
        environment.volumes.push(PodVolume { id: environment.volumes.len() as u16, source });
    }
    Ok(given_of(pod, &arrays.uses, &prepared))
}

/// How a task learns where its arrays are and which elements are its own.
fn variables(uses: &[Use], prepared: &Prepared, index: u32) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut set = |name: String, value: &str| {
        // Names that differ in signs alone share their variables: the first one's count, and the document tells of all.
        if !all.iter().any(|(known, _)| *known == name) {
            all.push((name, value.to_owned()));
        }
    };
    let mut documents = Vec::new();
    for (of, array) in uses.iter().zip(&prepared.arrays) {
        let ranges = array.plan.as_ref().map(|plan| plan.elements(index)).unwrap_or_default();
        let mut prefixes = vec![format!("WATCHBELL_ARRAY_{}", variable_part(&of.name))];
        if uses.len() == 1 {
            prefixes.push("WATCHBELL_ARRAY".to_owned());
        }
        for prefix in prefixes {
            set(format!("{prefix}_PATH"), &of.mount);
            set(format!("{prefix}_SNAPSHOT"), &array.snapshot);
            for range in &ranges {
                let dimension = variable_part(&range.dimension);
                set(format!("{prefix}_{dimension}_START"), &range.start.to_string());
                set(format!("{prefix}_{dimension}_STOP"), &range.stop.to_string());
            }
            if let [range] = &ranges[..] {
                set(format!("{prefix}_START"), &range.start.to_string());
                set(format!("{prefix}_STOP"), &range.stop.to_string());
            }
        }
        let elements: Map<String, Value> =
            ranges.iter().map(|range| (range.dimension.clone(), json!([range.start, range.stop]))).collect();
        documents.push(json!({
            "name": of.name, "path": of.mount, "mode": if of.mode == Mode::Write { "write" } else { "read" },
            "snapshot": &*array.snapshot, "index": index, "elements": elements,
        }));
    }
    set("WATCHBELL_ARRAYS".to_owned(), &Value::from(documents).to_string());
    all
}

/// The images that the pod's containers ran, each once.
fn images(containers: &[Container]) -> Arc<str> {
    let mut found: Vec<&str> = Vec::new();
    for image in containers.iter().filter_map(|container| container.image_id.as_deref()) {
        if !found.contains(&image) {
            found.push(image);
        }
    }
    found.join(", ").into()
}

/// The uppers of the pod that lie on the disk. An image bounds itself, and counts with what else the pod has there.
pub(super) fn watched(site: &Site, pod: &Pod, out: &mut Vec<Watched>) {
    let uid = pod.assignment.uid;
    let uses = pod.arrays.iter().flat_map(|arrays| arrays.uses.iter()).enumerate();
    for (position, of) in uses.filter(|(_, of)| of.mode == Mode::Write && of.upper == Upper::Disk) {
        let is_bounded = site.machine.without_images.is_none();
        let bytes = if is_bounded { u64::MAX } else { bound(of, &site.machine) };
        out.push(Watched {
            pod: uid,
            what: What::Upper(of.name.clone(), bytes),
            path: upper_dir(site, uid, position),
            most: Used { bytes, inodes: u64::MAX },
        });
    }
}

/// That what a pod writes to the disk is not bounded, where it is not.
fn measured(site: &Site, pod: &Pod) -> Option<Effect> {
    let why = site.machine.without_images.as_ref().filter(|_| uses_disk(pod))?;
    let message = format!(
        "what it writes to arrays with `upper: disk` is measured and not bounded, because this node has no images of file systems \
         (`watchbell doctor`, bounded-uppers): {why}"
    );
    Some(pod.event(true, MEASURED, message))
}

/// Whether something of the pod's arrays has to be watched.
pub(super) fn uses_disk(pod: &Pod) -> bool {
    let mut uses = pod.arrays.iter().flat_map(|arrays| arrays.uses.iter());
    uses.any(|of| of.mode == Mode::Write && of.upper == Upper::Disk)
}

impl Agent {
    /// Whether the pod's arrays are there. Otherwise the container waits for them, or is blocked.
    pub(super) fn has_arrays(
        &mut self,
        pod: &mut Pod,
        ordinal: usize,
        image: &image::Prepared,
        now: Now,
    ) -> bool {
        let (Some(arrays), Some(array_run)) = (&mut pod.arrays, &pod.assignment.arrays) else { return true };
        if arrays.prepared.is_some() {
            return true;
        }
        let (uid, index) = (pod.assignment.uid, pod.assignment.index.unwrap_or(0));
        let has_own = arrays.uses.iter().any(|of| of.read_scope == ReadScope::Own);
        let own = has_own.then_some(uid);
        let run_uid = pod.assignment.job.as_ref().map_or(uid, |(job, _)| *job);
        let Some(run) = self.runs.get(run_uid) else { return false };
        let tries = match run.arrays.states.get_mut(&own) {
            Some(ArraysState::Ready(prepared)) => {
                arrays.prepared = Some(prepared.clone());
                self.effects.extend(measured(&self.site, pod));
                return true;
            }
            Some(ArraysState::Preparing(waiters)) => {
                waiters.push((uid, ordinal));
                return false;
            }
            Some(ArraysState::Failed { message, retry_at, .. }) if now.mono < *retry_at => {
                let (message, retry_at) = (message.clone(), *retry_at);
                pod.life.blocked(ordinal, "ContainerCreating", message, retry_at);
                return false;
            }
            Some(ArraysState::Failed { tries, .. }) => *tries,
            None => 0,
        };
        run.arrays.of = Some((pod.assignment.namespace.clone(), array_run.run));
        run.arrays.states.insert(own, ArraysState::Preparing(vec![(uid, ordinal)]));
        let id = self.next_preparation;
        self.next_preparation += 1;
        self.preparations.insert(
            id,
            Preparation { run: run_uid, own, tries, connection: self.connection, of: array_run.clone() },
        );
        let wanted = Wanted {
            namespace: pod.assignment.namespace.clone(),
            run: array_run.clone(),
            uses: arrays.uses.clone(),
            image: image.image_id.clone(),
            own: own.map(|uid| (uid, index)),
        };
        self.effects.push(Effect::Array(Work::Prepare(id, wanted)));
        false
    }

    pub(super) fn arrays_prepared(&mut self, id: u64, result: Result<Arc<Prepared>, Trouble>, now: Now) {
        let Some(Preparation { run, own, tries, connection, .. }) = self.preparations.remove(&id) else {
            return;
        };
        let result = match result {
            Ok(prepared) if connection != self.connection && prepared.is_in_memory() => {
                Err(Trouble::Passing("the spawner, which held it in memory, is another by now".to_owned()))
            }
            result => result,
        };
        // It was held back for this.
        self.abandon_drafts();
        let Some(run) = self.runs.get(run) else { return };
        let state = match &result {
            Ok(prepared) => ArraysState::Ready(prepared.clone()),
            Err(
                Trouble::Passing(message) | Trouble::Lasting(message) | Trouble::Busy { why: message, .. },
            ) => ArraysState::Failed {
                message: message.clone(),
                retry_at: now.mono + BLOCKED.wait(tries),
                tries: tries.saturating_add(1),
            },
        };
        let before = run.arrays.states.insert(own, state);
        let Some(ArraysState::Preparing(waiters)) = before else { return };
        let mut is_first = tries == 0;
        for (uid, ordinal) in waiters {
            let Some(mut pod) = self.pods.remove(&uid) else { continue };
            if matches!(pod.life.containers[ordinal].state, State::Preparing) {
                match &result {
                    Ok(_) => self.create(&mut pod, ordinal, now),
                    Err(Trouble::Passing(message) | Trouble::Busy { why: message, .. }) => {
                        if std::mem::take(&mut is_first) {
                            self.tell(&pod, true, "FailedMount", || message.clone());
                        }
                        self.create(&mut pod, ordinal, now);
                    }
                    Err(Trouble::Lasting(message)) => {
                        pod.life.refuse(REFUSED, message, now.mono);
                        if std::mem::take(&mut is_first) {
                            self.tell(&pod, true, REFUSED, || message.clone());
                        }
                    }
                }
            }
            self.pods.insert(uid, pod);
            self.touch(uid);
        }
    }

    /// The spawner is another, or has let go of what this connection had: what pods would be started above is made anew.
    pub(super) fn forget_memory(&mut self) {
        self.connection += 1;
        self.runs.all().for_each(|run| run.arrays.forget_memory());
        for arrays in self.pods.values_mut().filter_map(|pod| pod.arrays.as_mut()) {
            arrays.prepared.take_if(|prepared| prepared.is_in_memory());
        }
    }

    /// Whether a pod, all of whose containers have ended, waits until what it wrote is taken over. Of one that failed, or that
    /// nobody asks for any more, nothing is. Nor of one that was asked to end: how far it came nobody knows, whatever its exit
    /// code, so that it has failed.
    pub(super) fn is_committing(&mut self, pod: &mut Pod) -> bool {
        let (Some(arrays), Some(run)) = (&mut pod.arrays, &pod.assignment.arrays) else { return false };
        match arrays.commit {
            Commit::Done => return false,
            Commit::Asked => return true,
            Commit::Due => {}
        }
        use watchbell_api::types::pod_status::Phase;
        let is_well = pod.life.status(&pod.assignment.spec).phase == Phase::Succeeded;
        if !is_well || pod.is_forgotten {
            arrays.commit = Commit::Done;
            return false;
        }
        // Whether it was asked to end before this server's time is not known yet.
        if self.unclaimed.is_some() {
            return true;
        }
        if arrays.was_stopped || !pod.life.has_completed() {
            arrays.commit = Commit::Done;
            pod.life.fail(ARRAY_COMMIT_FAILED, STOPPED);
            return false;
        }
        arrays.commit = Commit::Asked;
        self.effects.push(Effect::Array(Work::Commit(arrays::Upper {
            pod: pod.assignment.uid,
            namespace: pod.assignment.namespace.clone(),
            run: run.clone(),
            uses: arrays.uses.clone(),
            index: pod.assignment.index.unwrap_or(0),
            attempt: pod.assignment.attempt,
            image: images(&pod.life.containers),
            first_volume: first_volume(&pod.assignment),
            bounds: arrays.uses.iter().map(|of| bound(of, &self.site.machine)).collect(),
        })));
        true
    }

    pub(super) fn arrays_committed(&mut self, uid: Uid, result: Result<Vec<Taken>, String>) {
        let Some(mut pod) = self.pods.remove(&uid) else { return };
        if let Some(arrays) = &mut pod.arrays {
            arrays.commit = Commit::Done;
        }
        let index = pod.assignment.index.unwrap_or(0);
        match result {
            Ok(taken) if !pod.is_forgotten => {
                self.effects.extend(taken.into_iter().map(|Taken { array, attempt, keys, bytes }| {
                    Effect::Report(Report::ArrayCommitted { uid, array, index, attempt, keys, bytes })
                }));
            }
            Ok(_) => {}
            Err(mut message) => {
                message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
                pod.life.fail(ARRAY_COMMIT_FAILED, &message);
                self.tell(&pod, true, ARRAY_COMMIT_FAILED, || message);
            }
        }
        self.pods.insert(uid, pod);
        self.touch(uid);
    }

    pub(super) fn array_command(&mut self, command: Command) {
        let work = match command {
            Command::PublishArrays { namespace, run, uses } => {
                // No pod of it comes any more.
                if let Some(of_job) = self.runs.get(run.job) {
                    of_job.arrays.forget_memory();
                }
                Work::Publish { namespace, run, uses }
            }
            Command::KeepArray { namespace, name, spec, head_number, make } => {
                Work::Keep { namespace, name, spec, head_number, make }
            }
            Command::RemoveArray { namespace, name, runs } => {
                // Of a pod that was deleted by force the end may still be on its way.
                let runs = runs.iter().copied().filter(|run| !self.has_run(*run)).collect();
                Work::Remove { namespace, name, runs }
            }
            Command::RollbackArray { namespace, name, to, user, unsigned_ok } => {
                Work::RollBack { namespace, name, to, user, unsigned_ok }
            }
            Command::AbandonDrafts { namespace, run } => {
                // What lies below the overlays of pods that still end stays until they have.
                self.abandoned.push((namespace, run));
                return self.abandon_drafts();
            }
            _ => return,
        };
        self.effects.push(Effect::Array(work));
    }

    /// All pods are known, and who was asked to end: what others wrote is taken over.
    pub(super) fn commit_adopted(&mut self) {
        let is_due = |pod: &&Pod| pod.arrays.as_ref().is_some_and(|arrays| arrays.commit == Commit::Due);
        let due: Vec<Uid> = self.pods.values().filter(is_due).map(|pod| pod.assignment.uid).collect();
        due.into_iter().for_each(|uid| self.touch(uid));
    }

    /// Whether a pod is here that uses what a run keeps, or it is being made: given up now, it would be made all the same.
    fn has_run(&self, run: Uid) -> bool {
        let of_pods = self.pods.values().filter_map(|pod| pod.assignment.arrays.as_ref());
        let made = self.preparations.values().map(|preparation| &preparation.of);
        of_pods.chain(made).any(|of| of.run == run || of.draft_of == Some(run))
    }

    /// Gives up the drafts of runs that have no pod here any more.
    pub(super) fn abandon_drafts(&mut self) {
        // Before all pods are known, one of them may be at work with it.
        if self.unclaimed.is_some() {
            return;
        }
        let (kept, gone) =
            std::mem::take(&mut self.abandoned).into_iter().partition(|(_, run)| self.has_run(*run));
        self.abandoned = kept;
        let gone: Vec<(Arc<str>, Uid)> = gone;
        let works = gone.into_iter().map(|(namespace, run)| Work::Abandon { namespace, run });
        self.effects.extend(works.map(Effect::Array));
    }

    /// A pod is gone: what was only kept for it goes too.
    pub(super) fn leave_arrays(&mut self, pod: &Pod) {
        let Some(run) = &pod.assignment.arrays else { return };
        if let Some(of_run) = self.runs.get(pod.run()) {
            of_run.arrays.states.remove(&Some(pod.assignment.uid));
        }
        if pod.assignment.job.is_none() {
            // A pod alone is a run that nobody goes on with.
            self.abandoned.push((pod.assignment.namespace.clone(), run.run));
        }
        if !self.abandoned.is_empty() {
            self.abandon_drafts();
        }
    }

    pub(super) fn rest_arrays(&mut self) {
        let rested = self.runs.take_rested().into_iter();
        let works = rested.map(|(namespace, run)| Work::Rest { namespace, run });
        self.effects.extend(works.map(Effect::Array));
    }
}
