//! The node's state machine: commands and events go in, effects come out. It does nothing by itself.
//!
//! ```text
//!   Command ─┐                    ┌─ Start · Signal · KillPod · ReleasePod · AcknowledgeRun ─▶ spawner
//!   Event ───┼─▶ Agent ─ settle ──┼─ Fetch ─▶ image threads ─▶ Fetched ─▶ Agent
//!   Fetched ─┘                    └─ Report ─▶ server
//! ```
//!
//! A batch of inputs is taken first and each pod is looked at once afterwards, so that a task which starts and ends in
//! between costs one report.

mod adopt;
mod arrays;
mod claim;
mod connections;
mod create;
mod effect;
mod ends;
mod explain;
mod judged;
mod plan;
mod pod;
pub(crate) mod remembered;
mod runs;
mod settings;
mod spec;
mod tokens;
mod trouble;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use watchbell_api::Uid;
use watchbell_api::node::{Command, Report};
use watchbell_api::types::pod_status::{JobLog, Phase, PodStatus};
use watchbell_core::pod::Action;
use watchbell_sandbox::{Event, StartFailure, StartFailureKind, TableEntry};

use crate::arrays::News;
use crate::examine::{self, Question};
use crate::image::{FetchRequest, InUse};
use crate::place::LogPlace;
use pod::{Pod, is_news};
use runs::Runs;

pub(crate) use create::pull_secrets;
pub(crate) use effect::{Disk, Effect, Input, Measured, Now, Watched, What};
pub(crate) use plan::Machine;
pub(crate) use spec::{Prerequisite, Site};

/// That a pod runs is held back so long: a task that ends within it costs the server one write instead of two.
const HOLD: Duration = Duration::from_millis(10);

pub(crate) struct Agent {
    site: Arc<Site>,
    in_use: Arc<InUse>,
    pods: HashMap<Uid, Pod>,
    runs: Runs,
    /// Under way, by their numbers.
    fetches: HashMap<u64, Fetch>,
    next_fetch: u64,
    /// What has to be found out of images, and the containers that wait for it.
    questions: HashMap<u64, (Question, Vec<(Uid, usize)>)>,
    next_question: u64,
    /// Arrays that are being prepared, and for which runs.
    preparations: HashMap<u64, arrays::Preparation>,
    next_preparation: u64,
    /// Connections to the spawner, before this one.
    connection: u64,
    /// Runs that were given up while pods of theirs are still here.
    abandoned: Vec<(Arc<str>, Uid)>,
    /// What the spawner runs and no pod has claimed; `None` once all pods are known.
    unclaimed: Option<HashMap<u128, Vec<TableEntry>>>,
    wakes: BinaryHeap<Reverse<(Duration, Uid)>>,
    watch: watch::Watch,
    touched: Vec<Uid>,
    /// How far the gate's notices came in this round, and how many before found no room.
    connections_heard: Option<(u64, u64)>,
    effects: Vec<Effect>,
}

/// A fetch under way, and which images of which runs it is for. Without it, nobody waits for the image any more.
struct Fetch {
    request: FetchRequest,
    wanted_by: Vec<(Uid, usize)>,
    _wanted: Arc<()>,
}

impl Agent {
    /// `table` is what the spawner knows at the start.
    pub(crate) fn new(site: impl Into<Arc<Site>>, in_use: Arc<InUse>, table: Vec<TableEntry>) -> Agent {
        let mut unclaimed: HashMap<u128, Vec<TableEntry>> = HashMap::new();
        for entry in table {
            unclaimed.entry(entry.id().pod_uid).or_default().push(entry);
        }
        Agent {
            site: site.into(),
            in_use,
            pods: HashMap::new(),
            runs: Runs::default(),
            fetches: HashMap::new(),
            next_fetch: 0,
            questions: HashMap::new(),
            next_question: 0,
            preparations: HashMap::new(),
            next_preparation: 0,
            connection: 0,
            abandoned: Vec::new(),
            unclaimed: Some(unclaimed),
            wakes: BinaryHeap::new(),
            watch: watch::Watch::default(),
            touched: Vec::new(),
            connections_heard: None,
            effects: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, input: Input, now: Now) {
        match input {
            Input::Command(command) => self.command(command, now),
            Input::Sandbox(event) => self.event(event, now),
            Input::Reconnected(table) => self.reconnected(table, now),
            Input::Fetched(id, fetched) => self.fetched(id, fetched, now),
            Input::ImagesCame(names) => self.images_came(&names, now),
            Input::Examiner(examine::News::Answered(id)) => self.examined(id, now),
            Input::Examiner(examine::News::TurnedAway(id)) => self.turned_away(id, now),
            Input::Examiner(examine::News::OtherAdvisories) => self.judge_again(now),
            Input::Array(News::Prepared(id, prepared)) => self.arrays_prepared(id, prepared, now),
            Input::Array(News::Committed(uid, committed)) => self.arrays_committed(uid, committed),
            Input::Measured(exceeded) => self.measured(exceeded, now),
            Input::FolderRemoved { name, error } => {
                self.effects.push(Effect::Report(Report::VolumeRemoved { name, error }));
            }
            Input::NotStarted(failure) => {
                let id = failure.id;
                if let Some(pod) = self.pods.get_mut(&Uid(id.pod_uid)) {
                    pod.handed.retain(|handed| *handed != id);
                    pod.end(id, ends::of_failure(&failure), now);
                    self.effects.push(failed(&failure));
                    self.touch(Uid(id.pod_uid));
                }
            }
            Input::NotMade { id, message } => self.not_made(id, &message, now),
        }
    }

    /// Looks at every pod that something happened to. Gives what to do, and when to call again at the latest.
    pub(crate) fn settle(&mut self, now: Now) -> (Vec<Effect>, Option<Duration>) {
        while let Some(Reverse((at, uid))) = self.wakes.peek().copied()
            && at <= now.mono
        {
            self.wakes.pop();
            if let Some(pod) = self.pods.get_mut(&uid)
                && pod.wake_at == Some(at)
            {
                pod.wake_at = None;
                self.touch(uid);
            }
        }
        self.look_at_sizes(now);
        // In the order in which things happened; what a step touches is looked at in the next round.
        while !self.touched.is_empty() {
            for uid in std::mem::take(&mut self.touched) {
                let Some(mut pod) = self.pods.remove(&uid) else { continue };
                pod.is_touched = false;
                self.step(&mut pod, now);
                if pod.is_over && pod.is_forgotten {
                    self.release(pod, now);
                } else {
                    self.pods.insert(uid, pod);
                }
            }
        }
        self.tell_heard();
        let idle = self.runs.tidy(now.mono);
        self.rest_arrays();
        let wake = self.wakes.peek().map(|Reverse((at, _))| *at);
        (std::mem::take(&mut self.effects), idle.into_iter().chain(wake).chain(self.look_at()).min())
    }

    fn touch(&mut self, uid: Uid) {
        if let Some(pod) = self.pods.get_mut(&uid)
            && !pod.is_touched
        {
            pod.is_touched = true;
            self.touched.push(uid);
        }
    }

    fn command(&mut self, command: Command, now: Now) {
        match command {
            Command::Start(assignment) => self.start(assignment, now),
            Command::Stop { uid, grace_seconds, cause } => {
                let Some(pod) = self.pods.get_mut(&uid) else {
                    tracing::debug!(%uid, "asked to stop a pod that is not here");
                    return;
                };
                pod.life.stop(cause, Duration::from_secs(grace_seconds.into()), now.mono);
                if let (true, Some(arrays)) = (self.unclaimed.is_some(), &mut pod.arrays) {
                    arrays.was_stopped = true;
                }
                self.touch(uid);
            }
            Command::ChangeSpec { uid, spec } => {
                if let Some(pod) = self.pods.get_mut(&uid) {
                    pod.life.spec_changed(&spec, now.wall, now.mono);
                    pod.assignment.spec = spec;
                    self.touch(uid);
                }
            }
            Command::Forget { uid, log } => self.forget(uid, log, now),
            Command::ForgetJob { uid } => {
                if self.runs.forget(uid) {
                    self.effects.push(Effect::RemoveLogs(job_logs(uid)));
                }
            }
            Command::RemoveVolume { name } => self.effects.push(Effect::RemoveFolder(name)),
            Command::RefreshTokens => self.renew_tokens(now),
            Command::Synced => {
                self.synced();
                self.in_use.complete();
            }
            Command::ImagePoliciesChanged => self.policies_changed(now),
            Command::ChangeEgress { uid, egress } => self.change_egress(uid, egress),
            Command::ConnectionsHeard { serial } => self.effects.push(Effect::HeardConnections(serial)),
            Command::ImagesNamed { namespace, images } => {
                self.effects.push(Effect::LookAt { namespace, images });
            }
            Command::PublishArrays { .. }
            | Command::AbandonDrafts { .. }
            | Command::KeepArray { .. }
            | Command::RemoveArray { .. }
            | Command::RollbackArray { .. } => self.array_command(command),
            Command::Acknowledge { uid } => match self.pods.get(&uid) {
                Some(pod) if pod.is_over => {
                    if let Some(pod) = self.pods.remove(&uid) {
                        self.release(pod, now);
                    }
                }
                // The server does not know it any more: it is to end.
                Some(_) => self.abandon(uid, now),
                None => {}
            },
        }
    }

    fn forget(&mut self, uid: Uid, log: Option<JobLog>, now: Now) {
        match self.pods.get_mut(&uid) {
            Some(pod) => {
                // The logs of a Job's pods stay until the Job goes.
                pod.removes_logs = matches!(LogPlace::of(&pod.assignment), LogPlace::Pod { .. });
                self.abandon(uid, now);
            }
            None if log.is_none() => {
                self.effects.push(Effect::RemoveLogs(LogPlace::Pod { pod: uid }.dir()));
            }
            None => {}
        }
    }

    fn abandon(&mut self, uid: Uid, now: Now) {
        if let Some(pod) = self.pods.get_mut(&uid) {
            pod.is_forgotten = true;
            pod.life.stop(watchbell_api::node::StopCause::Deleted, Duration::ZERO, now.mono);
            self.touch(uid);
        }
    }

    /// The pod is over and its end is known: nothing of it stays.
    fn release(&mut self, pod: Pod, now: Now) {
        for id in &pod.handed {
            self.effects.push(Effect::AcknowledgeRun(*id));
        }
        let uid = pod.assignment.uid;
        self.watch.end(uid);
        self.site.here.end(LogPlace::of(&pod.assignment), uid);
        self.leave_arrays(&pod);
        let volumes = spec::has_directory(&pod.assignment, &pod.plan);
        self.effects.push(Effect::ReleasePod { uid, volumes });
        if pod.removes_logs {
            self.effects.push(Effect::RemoveLogs(LogPlace::Pod { pod: uid }.dir()));
        }
        let run = pod.run();
        if self.runs.leave(run, now.mono) {
            self.effects.push(Effect::RemoveLogs(job_logs(run)));
        }
    }

    fn event(&mut self, event: Event, now: Now) {
        let (id, entry) = match event {
            Event::Started { id, pid, at } => (id, TableEntry::Running { id, pid, started_at: at }),
            Event::StartFailed(failure) => (failure.id, TableEntry::Failed(failure)),
            Event::Exited(record) => (record.id, TableEntry::Exited(record)),
            Event::LogTrouble { id, trouble } => return self.log_trouble(id, &trouble),
            Event::Mapped { id, first_host_id } => {
                if let Some(pod) = self.pods.get_mut(&Uid(id.pod_uid)) {
                    pod.mapped(id, first_host_id);
                }
                return;
            }
            Event::Connections { serial, lost, notice } => return self.connections(serial, lost, &notice),
            Event::GateLost { serial, from, until } => return self.gate_lost(serial, from, until),
            // The executor connects again and tells the table.
            Event::Disconnected => return,
        };
        let uid = Uid(id.pod_uid);
        let Some(pod) = self.pods.get_mut(&uid) else {
            match &mut self.unclaimed {
                Some(unclaimed) => {
                    let entries = unclaimed.entry(id.pod_uid).or_default();
                    entries.retain(|e| e.id() != id);
                    entries.push(entry);
                }
                // The rest of a pod that was released.
                None if !matches!(entry, TableEntry::Running { .. }) => {
                    self.effects.push(Effect::AcknowledgeRun(id));
                }
                None => {}
            }
            return;
        };
        let has_started = matches!(entry, TableEntry::Running { .. });
        let failure = match &entry {
            TableEntry::Failed(failure) if failure.kind != StartFailureKind::Cancelled => {
                Some(failed(failure))
            }
            _ => None,
        };
        if has_run(&entry) {
            pod.started(id);
        }
        pod.learn(&self.site, entry, now);
        let is_known = usize::from(id.container) < pod.plan.containers.len();
        if let Some(event) = failure.filter(|_| is_known) {
            self.effects.push(event);
        }
        if has_started && is_known && pod.speaks(false) {
            let name = &spec::container_at(&pod.assignment.spec, usize::from(id.container)).name;
            let message = format!("Started container {name}");
            let event = Report::Event { uid, warning: false, reason: "Started", message };
            self.effects.push(Effect::Report(event));
        }
        // Runs before this one are history.
        let effects = &mut self.effects;
        pod.handed.retain(|handed| {
            let is_old = handed.container == id.container && handed.attempt < id.attempt;
            if is_old {
                effects.push(Effect::AcknowledgeRun(*handed));
            }
            !is_old
        });
        self.touch(uid);
    }

    fn step(&mut self, pod: &mut Pod, now: Now) {
        if pod.is_over {
            return;
        }
        let wake_at = loop {
            let step = pod.life.step(&pod.assignment.spec, now.mono);
            let mut is_settled = true;
            for action in &step.actions {
                match *action {
                    Action::Create { container } => {
                        self.create(pod, container, now);
                        is_settled = false;
                    }
                    Action::Terminate { container } => {
                        let signal = pod.stop_signals[container];
                        self.effects.push(Effect::Signal { id: pod.id(container), signal });
                        let name = &spec::container_at(&pod.assignment.spec, container).name;
                        self.tell(pod, false, "Killing", || format!("Stopping container {name}"));
                    }
                    Action::Kill => self.effects.push(Effect::KillPod(pod.assignment.uid.0)),
                }
            }
            if step.is_over {
                // It is over once what it wrote counts.
                if self.is_committing(pod) {
                    pod.wake_at = None;
                    return;
                }
                pod.is_over = true;
            }
            if is_settled {
                break step.wake_at;
            }
        };
        if !pod.is_over {
            self.refresh_tokens(pod, now);
        }
        let status = pod.life.status(&pod.assignment.spec);
        if pod.is_over {
            pod.leases.clear();
            self.leave_fetches(pod);
        }
        let mut wake_at = wake_at.into_iter().chain(pod.refresh_at.filter(|_| !pod.is_over)).min();
        if pod.is_over || is_news(&pod.told, &status) {
            let begins = (pod.told.phase, status.phase) == (Phase::Pending, Phase::Running);
            let held_until = *pod.held_until.get_or_insert(now.mono + HOLD);
            if begins && now.mono < held_until {
                wake_at = Some(wake_at.map_or(held_until, |at| at.min(held_until)));
            } else {
                self.report(pod, status);
            }
        }
        if let Some(at) = wake_at
            && pod.wake_at != wake_at
        {
            self.wakes.push(Reverse((at, pod.assignment.uid)));
        }
        pod.wake_at = wake_at;
    }

    fn report(&mut self, pod: &mut Pod, status: PodStatus) {
        pod.held_until = None;
        pod.told = status.clone();
        // The server has forgotten a pod that nobody asks for.
        if !pod.is_forgotten {
            // Before the status that says that they run or ran.
            self.effects.extend(pod.take_starts().map(Effect::Report));
            let report = Report::Status { uid: pod.assignment.uid, status: Box::new(status) };
            self.effects.push(Effect::Report(report));
        }
    }

    /// Tells a person, through the pod's events.
    fn tell(&mut self, pod: &Pod, warning: bool, reason: &'static str, message: impl FnOnce() -> String) {
        if pod.speaks(warning) {
            self.effects.push(pod.event(warning, reason, message()));
        }
    }
}

/// Whether its program was executed.
fn has_run(entry: &TableEntry) -> bool {
    matches!(entry, TableEntry::Running { .. } | TableEntry::Exited(_))
}

/// What kubelet says of a container that could not be started.
fn failed(failure: &StartFailure) -> Effect {
    let (uid, message) = (Uid(failure.id.pod_uid), format!("Error: {}", failure.message));
    Effect::Report(Report::Event { uid, warning: true, reason: "Failed", message })
}

fn job_logs(job: Uid) -> PathBuf {
    LogPlace::Job { job, index: None, attempt: 0 }.dir()
}
