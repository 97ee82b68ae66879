//! The node of the simulation. It outlives the server; when it dies itself its tasks die with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use watchbell_api::Uid;
use watchbell_api::array::{ARRAY_COMMIT_FAILED, ARRAY_CONFLICT, ArrayRefusal, ArrayRun, PublishedArray};
use watchbell_api::node::{Assignment, Command, Report};
use watchbell_api::types::pod_status::Phase;

use super::super::fake_node::{ended, running};
use super::Random;
use crate::arrays::tests::facts;

fn committed(pod: &Assignment, index: u32) -> Report {
    Report::ArrayCommitted {
        uid: pod.uid,
        array: "obs".into(),
        index,
        attempt: pod.attempt,
        keys: 1,
        bytes: 1,
    }
}

#[derive(Debug)]
struct Task {
    pod: Assignment,
    state: State,
    is_told_to_stop: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Starting {
        at: i64,
        ends_at: i64,
        exit_code: i32,
    },
    Running {
        ends_at: i64,
        exit_code: i32,
    },
    /// Told until it is acknowledged.
    Ended {
        at: i64,
        exit_code: i32,
    },
}

#[derive(Debug, Default)]
pub(super) struct Worker {
    tasks: BTreeMap<Uid, Task>,
    messages: Vec<Report>,
    /// Said once already, said again sometimes.
    old_messages: Vec<Report>,
    /// Since the server came back.
    listed: BTreeSet<Uid>,
    /// Pods that were seen to end well: (job, index) and the pod.
    pub(super) successes: BTreeSet<(Uid, Option<u32>, Uid)>,
    /// The store of the array `obs`, once the node was told to keep it.
    has_store: bool,
    /// What the indices of a run have committed, and the runs that were published, with how often.
    drafts: BTreeMap<Uid, BTreeSet<u32>>,
    pub(super) published: BTreeMap<Uid, u32>,
    /// Runs that were given up since somebody looked.
    pub(super) abandoned: Vec<Uid>,
    /// No task fails or dawdles any more.
    pub(super) fair: bool,
}

impl Worker {
    pub(super) fn obey(&mut self, commands: &[Command], now: i64, random: &mut Random) {
        for command in commands {
            match command {
                Command::Start(pod) => self.start(pod, now, random),
                Command::Stop { uid, grace_seconds, .. } => self.stop(*uid, *grace_seconds, now),
                Command::Forget { uid, .. } => {
                    self.tasks.remove(uid);
                }
                Command::Acknowledge { uid } => {
                    if self.tasks.get(uid).is_some_and(|task| matches!(task.state, State::Ended { .. })) {
                        self.tasks.remove(uid);
                    }
                }
                Command::ForgetJob { .. }
                | Command::ChangeSpec { .. }
                | Command::RefreshTokens
                | Command::ImagePoliciesChanged
                | Command::ChangeEgress { .. }
                | Command::ConnectionsHeard { .. }
                | Command::ImagesNamed { .. }
                | Command::RollbackArray { .. } => {}
                Command::KeepArray { make, .. } => {
                    self.has_store |= make;
                    self.tell_store(None);
                }
                Command::RemoveArray { runs, .. } => {
                    for run in runs.iter() {
                        self.drafts.remove(run);
                        self.abandoned.push(*run);
                    }
                    let error = (!self.fair && random.one_in(3)).then(|| "busy".to_owned());
                    self.has_store &= error.is_some();
                    self.tell_store(error);
                }
                Command::AbandonDrafts { run, .. } => {
                    self.drafts.remove(run);
                    self.abandoned.push(*run);
                }
                Command::PublishArrays { run, .. } => {
                    let result = self.publish(run, random);
                    self.messages.push(Report::ArraysPublished { job: run.job, result });
                }
                Command::RemoveVolume { name } => {
                    let error = (!self.fair && random.one_in(3)).then(|| "busy".to_owned());
                    self.messages.push(Report::VolumeRemoved { name: name.clone(), error });
                }
                Command::Synced => {
                    let listed = std::mem::take(&mut self.listed);
                    // What ended stays until it is acknowledged; what runs unknown to the journal ends.
                    self.tasks.retain(|uid, task| {
                        listed.contains(uid) || matches!(task.state, State::Ended { .. })
                    });
                }
            }
        }
    }

    fn start(&mut self, pod: &Assignment, now: i64, random: &mut Random) {
        self.listed.insert(pod.uid);
        if self.tasks.contains_key(&pod.uid) {
            return;
        }
        let state = if pod.status.phase == Phase::Running {
            // It ran, and the node lost sight of it.
            State::Ended { at: now, exit_code: 137 }
        } else {
            let at = now + random.below(5) as i64;
            let (long, exit_code) = match random.below(10) {
                _ if self.fair => (20, 0),
                0 => (4_000, 0),
                1 => (60, 40),
                2 => (60, 41),
                3..=4 => (60, 1),
                _ => (60, 0),
            };
            State::Starting { at, ends_at: at + random.below(long) as i64, exit_code }
        };
        self.tasks.insert(pod.uid, Task { pod: pod.clone(), state, is_told_to_stop: false });
        self.work(now);
    }

    fn tell_store(&mut self, error: Option<String>) {
        let facts = self.has_store.then(|| Arc::new(facts()));
        self.messages.push(Report::Array { namespace: "ml".into(), name: "obs".into(), facts, error });
    }

    /// As the store does it: once, and then the same again; what is refused may be published later.
    fn publish(&mut self, run: &ArrayRun, random: &mut Random) -> Result<Vec<PublishedArray>, ArrayRefusal> {
        let refuse = |reason, message: &str| {
            Err(ArrayRefusal { reason, message: message.into(), published: Vec::new() })
        };
        if self.published.contains_key(&run.run) {
            return Ok(Vec::new());
        }
        let draft = self.drafts.get(&run.run);
        if !(0..run.completions).all(|index| draft.is_some_and(|draft| draft.contains(&index))) {
            return refuse(ARRAY_COMMIT_FAILED, "not all is committed");
        }
        if !self.fair && random.one_in(5) {
            return refuse(ARRAY_CONFLICT, "the array moved");
        }
        *self.published.entry(run.run).or_default() += 1;
        self.drafts.remove(&run.run);
        Ok(Vec::new())
    }

    fn stop(&mut self, uid: Uid, grace_seconds: u32, now: i64) {
        let latest = now + i64::from(grace_seconds);
        let Some(task) = self.tasks.get_mut(&uid) else { return };
        task.is_told_to_stop = true;
        match &mut task.state {
            State::Starting { ends_at, exit_code, .. } | State::Running { ends_at, exit_code } => {
                if *ends_at > latest {
                    *ends_at = latest;
                    *exit_code = 143;
                }
            }
            State::Ended { .. } => {}
        }
    }

    /// Time went by.
    pub(super) fn work(&mut self, now: i64) {
        for task in self.tasks.values_mut() {
            if let State::Starting { at, ends_at, exit_code } = task.state
                && at <= now
            {
                task.state = State::Running { ends_at, exit_code };
                self.messages.push(running(&task.pod, at));
            }
            if let State::Running { ends_at, exit_code } = task.state
                && ends_at <= now
            {
                task.state = State::Ended { at: ends_at, exit_code };
                if let (0, Some(run), Some(index)) = (exit_code, &task.pod.arrays, task.pod.index) {
                    self.drafts.entry(run.run).or_default().insert(index);
                    self.messages.push(committed(&task.pod, index));
                }
                self.messages.push(ended(&task.pod, exit_code, ends_at));
            }
            if let (State::Ended { exit_code: 0, .. }, Some((job, _))) = (task.state, &task.pod.job) {
                self.successes.insert((*job, task.pod.index, task.pod.uid));
            }
        }
    }

    /// The clock was set: what was to come moves with it.
    pub(super) fn shift(&mut self, seconds: i64) {
        for task in self.tasks.values_mut() {
            match &mut task.state {
                State::Starting { at, ends_at, .. } => {
                    *at += seconds;
                    *ends_at += seconds;
                }
                State::Running { ends_at, .. } => *ends_at += seconds,
                State::Ended { .. } => {}
            }
        }
    }

    pub(super) fn next_at(&self) -> Option<i64> {
        self.tasks
            .values()
            .filter_map(|task| match task.state {
                State::Starting { at, .. } => Some(at),
                State::Running { ends_at, .. } => Some(ends_at),
                State::Ended { .. } => None,
            })
            .min()
    }

    /// The machine's tasks die; the node comes back and knows of none.
    pub(super) fn die(&mut self) {
        self.tasks.clear();
        self.messages.clear();
        self.old_messages.clear();
    }

    pub(super) fn lose_messages(&mut self) {
        self.messages.clear();
        self.listed.clear();
    }

    /// The server is back: everything is told again.
    pub(super) fn resend(&mut self) {
        self.tell_store(None);
        for task in self.tasks.values() {
            match task.state {
                State::Starting { .. } => {}
                State::Running { .. } => self.messages.push(running(&task.pod, 1)),
                State::Ended { at, exit_code } => self.messages.push(ended(&task.pod, exit_code, at)),
            }
        }
    }

    pub(super) fn messages(&mut self, random: &mut Random) -> Vec<Report> {
        let keep = if random.one_in(3) { self.messages.len() / 2 } else { self.messages.len() };
        let mut said: Vec<Report> = self.messages.drain(..keep).collect();
        if random.one_in(3) && !self.old_messages.is_empty() {
            said.push(random.pick(&self.old_messages));
        }
        // What is told of a store last is the newest: no older word of it comes after that.
        self.old_messages.extend(said.iter().filter(|of| !matches!(of, Report::Array { .. })).cloned());
        said
    }

    pub(super) fn all_messages(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.messages)
    }

    /// Pods whose processes run, and whether they were told to stop.
    pub(super) fn running(&self) -> impl Iterator<Item = (Uid, bool)> + '_ {
        let runs = self.tasks.iter().filter(|(_, task)| !matches!(task.state, State::Ended { .. }));
        runs.map(|(uid, task)| (*uid, task.is_told_to_stop))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }
}
