//! Taking pods up, and over from before a restart.

use std::collections::HashMap;
use std::sync::Arc;

use watchbell_api::Uid;
use watchbell_api::node::Assignment;
use watchbell_api::types::pod_status::ContainerStatus;
use watchbell_core::pod::{Life, State};
use watchbell_image::Digest;
use watchbell_sandbox::{ExitRecord, ExitStatus, LogSummary, TableEntry, Usage};

use super::pod::Pod;
use super::remembered::{self, Remembered};
use super::{Agent, Effect, Now, create, ends, has_run, spec, tokens};
use crate::place::{LogPlace, images_file};

impl Agent {
    pub(super) fn start(&mut self, assignment: Box<Assignment>, now: Now) {
        let uid = assignment.uid;
        if self.pods.contains_key(&uid) {
            return;
        }
        let entries = self.unclaimed.as_mut().and_then(|u| u.remove(&uid.0)).unwrap_or_default();
        let (run, is_job) = match &assignment.job {
            Some((job, _)) => (*job, true),
            None => (uid, false),
        };
        let plan = self.runs.join(run, is_job, &assignment.spec, &self.site.machine);
        let site = &self.site;
        let newest = |ordinal: usize| {
            let of_container = entries.iter().filter(|e| usize::from(e.id().container) == ordinal);
            of_container.max_by_key(|e| e.id().attempt)
        };
        let life = Life::new(
            &assignment.spec,
            &assignment.status,
            |ordinal| newest(ordinal).map(|e| (e.id().attempt, state(site, &assignment, e))),
            now.wall,
            now.mono,
        );
        let mut handed = Vec::new();
        for entry in &entries {
            let id = entry.id();
            if newest(usize::from(id.container)).is_some_and(|n| n.id() == id) {
                handed.push(id);
            } else {
                self.effects.push(Effect::AcknowledgeRun(id));
            }
        }
        let told = assignment.status.clone();
        let arrays = super::arrays::read(&assignment);
        let mut pod = Pod {
            stop_signals: vec![ends::SIGTERM; plan.containers.len()],
            plan,
            life,
            environment: None,
            // How old the tokens of a pod that runs are is not known.
            refresh_at: (!handed.is_empty() && tokens::has_tokens(&assignment)).then_some(now.mono),
            needed: Vec::new(),
            arrays: arrays.as_ref().ok().cloned().flatten(),
            leases: Vec::new(),
            handed,
            begun: Vec::new(),
            tries: 0,
            told,
            wake_at: None,
            held_until: None,
            is_touched: false,
            is_over: false,
            is_forgotten: false,
            removes_logs: false,
            assignment,
        };
        self.remember_images(&mut pod);
        self.effects.extend(Self::renewed_egress(&pod));
        self.greet(&mut pod, arrays.err(), now);
        self.watch.begin(&pod);
        self.site.here.begin(LogPlace::of(&pod.assignment), uid);
        self.pods.insert(uid, pod);
        self.touch(uid);
    }

    /// What the pod ran with before stays what its run uses, and nobody removes it. A start that the journal was not told of was
    /// written down before.
    fn remember_images(&mut self, pod: &mut Pod) {
        let remembered = self.remembered(pod);
        let status = &pod.assignment.status;
        let known = |c: &ContainerStatus| c.image_id.clone();
        let ids: Vec<_> = status.init_containers.iter().chain(&status.containers).map(known).collect();
        for (ordinal, image_id) in ids.into_iter().enumerate().take(pod.plan.containers.len()) {
            let name = &spec::container_at(&pod.assignment.spec, ordinal).image;
            let of_name = remembered.iter().rev().find(|image| image.name == *name);
            // Its name may have been changed since: that counts from the next restart on.
            let of_run = image_id.as_deref().and_then(|id| {
                let mut of_id = remembered.iter().rev().filter(|image| image.image_id == id);
                of_name.filter(|image| image.image_id == id).or_else(|| of_id.next())
            });
            if let Some(written) = of_run.or(of_name) {
                pod.stop_signals[ordinal] = written.stop_signal;
            }
            let named = of_name.map(|image| Arc::<str>::from(image.image_id.as_str()));
            let was_renamed = of_run.is_some_and(|image| image.name != *name);
            let pinned = if was_renamed { named.clone() } else { image_id.clone().or_else(|| named.clone()) };
            if let (Some(pinned), Some(run)) = (pinned, self.runs.get(pod.run())) {
                let place = run.image(name, pod.plan.containers[ordinal].pull_policy);
                run.images[place].pinned.get_or_insert(pinned);
            }
            let Some(image_id) = image_id.or(named) else { continue };
            if pod.handed.iter().any(|id| usize::from(id.container) == ordinal) {
                pod.life.containers[ordinal].image_id.get_or_insert_with(|| image_id.clone());
            }
            if pod.is_alive(ordinal)
                && let Some(digest) = image_id.rsplit_once('@').and_then(|(_, d)| Digest::parse(d).ok())
            {
                let lease = self.in_use.hold(digest);
                pod.leases.push((image_id, lease));
            }
        }
    }

    /// What a server before this one wrote of the run's images; of a pod that is new there is nothing to know.
    fn remembered(&self, pod: &Pod) -> Vec<Remembered> {
        let status = &pod.assignment.status;
        let mut known = status.init_containers.iter().chain(&status.containers);
        if pod.handed.is_empty() && known.all(|container| container.image_id.is_none()) {
            return Vec::new();
        }
        let path = images_file(&self.site.data_dir, &LogPlace::of(&pod.assignment));
        remembered::read(&path).unwrap_or_else(|error| {
            tracing::error!(path = %path.display(), "cannot read which images a run has: {error}");
            Vec::new()
        })
    }

    /// What a person should know of a pod that begins.
    fn greet(&mut self, pod: &mut Pod, arrays: Option<String>, now: Now) {
        let is_new = pod.handed.is_empty();
        let named = names_devices(&pod.assignment).map(|message| ("Unsupported", message));
        let arrays = arrays.map(|message| (super::arrays::REFUSED, message));
        if let Some((reason, message)) = pod.plan.refusal.clone().or(named).or(arrays)
            && is_new
        {
            pod.life.refuse(reason, &message, now.mono);
            self.tell(pod, true, reason, || message);
        }
    }

    /// All pods are known: what else runs is nobody's.
    pub(super) fn synced(&mut self) {
        let Some(unclaimed) = self.unclaimed.take() else { return };
        self.drop_strangers(unclaimed);
        self.commit_adopted();
        self.abandon_drafts();
        self.effects.push(Effect::SweepVolumes(self.pods.keys().copied().collect()));
        self.site.here.complete();
        self.effects.push(Effect::SweepLogs);
    }

    fn drop_strangers(&mut self, strangers: HashMap<u128, Vec<TableEntry>>) {
        for (pod_uid, entries) in strangers {
            let uid = Uid(pod_uid);
            tracing::info!(%uid, "ending a pod that the server does not know");
            for entry in entries {
                if matches!(entry, TableEntry::Failed(_) | TableEntry::Exited(_)) {
                    self.effects.push(Effect::AcknowledgeRun(entry.id()));
                }
            }
            self.effects.push(Effect::ReleasePod { uid, volumes: true });
        }
    }

    /// After the connection to the spawner broke: its table is the truth. A start that it does not have never arrived; a
    /// run that it does not have is lost.
    pub(super) fn reconnected(&mut self, table: Vec<TableEntry>, now: Now) {
        self.forget_memory();
        let mut by_pod: HashMap<u128, Vec<TableEntry>> = HashMap::new();
        for entry in table {
            by_pod.entry(entry.id().pod_uid).or_default().push(entry);
        }
        let uids: Vec<Uid> = self.pods.keys().copied().collect();
        for uid in uids {
            let entries = by_pod.remove(&uid.0).unwrap_or_default();
            let Some(pod) = self.pods.get_mut(&uid) else { continue };
            // With what its containers shared, and what they left there in memory.
            let mut is_lost = entries.is_empty() && !pod.handed.is_empty();
            pod.handed.retain(|id| entries.iter().any(|e| e.id() == *id));
            self.effects.extend(Self::renewed_egress(pod));
            pod.life.repeat_orders();
            for ordinal in 0..pod.life.containers.len() {
                if !pod.is_alive(ordinal) {
                    continue;
                }
                let id = pod.id(ordinal);
                match (entries.iter().find(|e| e.id() == id), &pod.life.containers[ordinal].state) {
                    (Some(entry), _) => {
                        if has_run(entry) {
                            pod.started(id);
                        }
                        is_lost |=
                            matches!(entry, TableEntry::Exited(record) if record.status == ExitStatus::Lost);
                        pod.learn(&self.site, entry.clone(), now);
                    }
                    (None, State::Starting) => pod.life.not_started(ordinal),
                    (None, state) => {
                        let started_at = match state {
                            State::Running { started_at } => *started_at,
                            _ => now.wall,
                        };
                        let record = ExitRecord {
                            id,
                            status: ExitStatus::Lost,
                            oom_killed: false,
                            started_at: started_at.saturating_mul(1_000_000_000),
                            finished_at: now.wall.saturating_mul(1_000_000_000),
                            usage: Usage::default(),
                            log: LogSummary::default(),
                        };
                        pod.end(id, ends::of_exit(&record), now);
                        is_lost = true;
                    }
                }
            }
            if is_lost {
                pod.environment = None;
                pod.life.environment_lost(&pod.assignment.spec);
            }
            self.touch(uid);
        }
        match &mut self.unclaimed {
            Some(unclaimed) => *unclaimed = by_pod,
            None => self.drop_strangers(by_pod),
        }
    }
}

/// A row of the spawner's table as a container's state.
fn state(site: &spec::Site, assignment: &Assignment, entry: &TableEntry) -> State {
    match entry {
        TableEntry::Starting { .. } => State::Starting,
        TableEntry::Running { started_at, .. } => State::Running { started_at: ends::seconds(*started_at) },
        TableEntry::Failed(failure) => State::Ended(ends::of_failure(failure)),
        TableEntry::Exited(record) => {
            let mut end = ends::of_exit(record);
            if end.message.is_none() {
                end.message = create::termination_message(site, assignment, record.id, end.exit_code);
            }
            State::Ended(end)
        }
    }
}

/// Devices that a pod names itself, by the annotation that containerd and CRI-O honour. Here each is leased to one pod at a
/// time, so nobody names another's.
fn names_devices(pod: &Assignment) -> Option<String> {
    let (key, value) = pod.annotations.iter().find(|(key, _)| key.starts_with("cdi.k8s.io/"))?;
    let kind = value.split([',', '=']).next().unwrap_or_default();
    let kind = if kind.contains('/') { kind } else { "vendor.com/class" };
    Some(format!(
        "annotation {key}: devices are leased and not named; leave it out, and ask for them in a container's \
         resources.limits (\"{kind}\": 1)"
    ))
}
