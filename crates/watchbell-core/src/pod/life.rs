//! The life of one pod on its machine.
//!
//! ```text
//!   Idle ──create──▶ Preparing ──▶ Starting ──▶ Running ──▶ Ended ──restart?──▶ Resting ──┐
//!                     │    ▲                                                              │
//!                     ▼    └──────────────────────────── create ◀─────────────────────────┘
//!                   Blocked (no image, no configuration; tried again)
//! ```
//!
//! Init containers go one after the other; a sidecar (an init container with restartPolicy Always, KEP-753) is passed once
//! it runs, is kept running, and ends last, in reverse order. Times are of a clock that never steps; only what is shown to
//! people carries the wall clock's.

use std::sync::Arc;
use std::time::Duration;

use watchbell_api::node::StopCause;
use watchbell_api::types::pod::{self as api, PodSpec};
use watchbell_api::types::pod_status::{
    CRASH_LOOP_BACK_OFF, ContainerState, ContainerStatus, PodStatus, Terminated, TerminatedReason,
};

use super::backoff::{CRASH, CrashBackoff};

/// Kubernetes' default of `terminationGracePeriodSeconds`.
const GRACE_SECONDS: i64 = 30;
/// What kubelet leaves a pod that took more of the disk than it may.
const EVICTION_GRACE: Duration = Duration::from_secs(1);

/// A pod that the node has taken up.
#[derive(Debug, Clone, PartialEq)]
pub struct Life {
    /// Init containers first.
    pub containers: Vec<Container>,
    pub(super) inits: usize,
    pub(super) scheduled_at: Option<i64>,
    /// Unix seconds.
    pub(super) started_at: i64,
    pub(super) disruption: Option<Box<str>>,
    deadline: Option<Duration>,
    grace: Duration,
    pub(super) ending: Option<Ending>,
    pub(super) finished: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    pub state: State,
    /// Of the present run, or the one to come.
    pub restart_count: u32,
    pub last_terminated: Option<Box<Terminated>>,
    pub image_id: Option<Arc<str>>,
    backoff: CrashBackoff,
    /// When the present run ended, by the clock that never steps.
    ended_at: Duration,
    was_told_to_end: bool,
    /// Whether it ran at any time since the pod's environment was made.
    pub(super) has_run: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Nothing was done yet.
    Idle,
    /// Image and configuration are being got.
    Preparing,
    /// It cannot be created for now.
    Blocked {
        reason: &'static str,
        message: Box<str>,
        retry_at: Duration,
    },
    /// The sandbox works on it.
    Starting,
    Running {
        started_at: i64,
    },
    Ended(Terminated),
    /// It will be restarted; its last run is in `last_terminated`.
    Resting {
        until: Duration,
        wait: Duration,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ending {
    pub(super) cause: EndCause,
    kill_at: Duration,
    was_killed: bool,
}

/// Why a pod ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndCause {
    /// All its containers are done; sidecars are still to end.
    Completed,
    InitFailed,
    /// `activeDeadlineSeconds`.
    Deadline,
    Stopped(StopCause),
    /// This node cannot run it at all.
    Refused {
        reason: Box<str>,
        message: Box<str>,
    },
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Get the container's image and configuration and start it; its state is `Preparing`.
    Create { container: usize },
    /// Send its stop signal.
    Terminate { container: usize },
    /// End all processes of the pod at once.
    Kill,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    pub actions: Vec<Action>,
    /// When to look again, if nothing happens before.
    pub wake_at: Option<Duration>,
    /// Nothing of the pod runs any more and nothing will: its status is final.
    pub is_over: bool,
}

impl Step {
    fn wake_at(&mut self, at: Duration) {
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
    }
}

impl Container {
    fn is_alive(&self) -> bool {
        matches!(self.state, State::Starting | State::Running { .. })
    }

    /// It is begun again from the first, whatever it did before.
    fn start_over(&mut self) {
        self.has_run = false;
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Ended(end) => self.last_terminated = Some(Box::new(end)),
            State::Resting { .. } => {}
            state => return self.state = state,
        }
        self.restart_count = self.restart_count.saturating_add(1);
    }
}

impl Life {
    /// Takes a pod up, or over. `found` says what the sandbox knows of a container: the attempt and its state. `wall` is
    /// the time of day in Unix seconds.
    pub fn new(
        spec: &PodSpec,
        status: &PodStatus,
        found: impl Fn(usize) -> Option<(u32, State)>,
        wall: i64,
        now: Duration,
    ) -> Life {
        let started_at = status.started_at.or(status.scheduled_at).unwrap_or(wall);
        let seconds = |s: i64| Duration::from_secs(u64::try_from(s).unwrap_or(0));
        let inits = spec.init_containers.len();
        let statuses = |known: &[ContainerStatus], count: usize| {
            (0..count).map(|i| known.get(i).cloned()).collect::<Vec<_>>()
        };
        let known = statuses(&status.init_containers, inits)
            .into_iter()
            .chain(statuses(&status.containers, spec.containers.len()));
        let known: Vec<Option<ContainerStatus>> = known.collect();
        let containers: Vec<Container> = known
            .iter()
            .enumerate()
            .map(|(i, known)| take_over(known.clone(), found(i), wall, now))
            .collect();
        let is_unknown = (0..known.len()).all(|i| found(i).is_none());
        let is_lost = known.iter().zip(&containers).any(|(known, container)| {
            let known = known.as_ref();
            is_unknown && known.is_some_and(has_begun) || was_lost(known, container)
        });
        let mut life = Life {
            containers,
            inits,
            scheduled_at: status.scheduled_at,
            started_at,
            disruption: status.disruption.clone(),
            deadline: deadline(spec, started_at, wall, now),
            grace: seconds(spec.termination_grace_period_seconds.unwrap_or(GRACE_SECONDS)),
            ending: None,
            finished: false,
        };
        if is_lost {
            life.environment_lost(spec);
        } else if known[inits..].iter().zip(&life.containers[inits..]).any(is_begun) {
            // Each sidecar ran before; one that cannot be begun again holds up nobody.
            life.containers[..inits].iter_mut().for_each(|init| init.has_run = true);
        }
        life
    }

    /// A client changed the spec: the deadline counts from now on as if it had been this one from the beginning.
    pub fn spec_changed(&mut self, spec: &PodSpec, wall: i64, now: Duration) {
        self.deadline = deadline(spec, self.started_at, wall, now);
    }

    /// What the pod's containers shared is gone, and what they left in memory with it: init containers make it anew before others
    /// go on. A pod of which nothing goes on stays as it is, and so does one that has another environment already.
    pub fn environment_lost(&mut self, spec: &PodSpec) {
        let (inits, mains) = self.containers.split_at_mut(self.inits);
        let has_failed = |(init, container): (&Container, &api::Container)| {
            matches!(&init.state, State::Ended(end)
                if end.exit_code != 0 && !spec.restarts(container, end.exit_code, true))
        };
        let is_over = mains.iter().zip(&spec.containers).all(|(main, c)| is_done(spec, c, main))
            || inits.iter().zip(&spec.init_containers).any(has_failed);
        let is_alive = inits.iter().chain(mains.iter()).any(Container::is_alive);
        if self.ending.is_none() && !is_over && !is_alive {
            inits.iter_mut().for_each(Container::start_over);
            // Who waits for its image or the like is begun in its turn, not when that comes.
            if self.inits > 0 {
                let waiting = self.containers.iter_mut().filter(|c| c.state == State::Preparing);
                waiting.for_each(|c| c.state = State::Idle);
            }
        }
    }

    /// The sandbox was asked to start it.
    pub fn starting(&mut self, container: usize, image_id: Arc<str>) {
        let container = &mut self.containers[container];
        container.state = State::Starting;
        container.image_id = Some(image_id);
    }

    /// The start never reached the sandbox: it is asked again.
    pub fn not_started(&mut self, container: usize) {
        let container = &mut self.containers[container];
        if matches!(container.state, State::Starting) {
            container.state = State::Idle;
        }
    }

    /// What was ordered to end may not have heard of it: the next step says it again.
    pub fn repeat_orders(&mut self) {
        for container in &mut self.containers {
            container.was_told_to_end = false;
        }
        if let Some(ending) = &mut self.ending {
            ending.was_killed = false;
        }
    }

    /// It runs, since this Unix second.
    pub fn running(&mut self, container: usize, started_at: i64) {
        let container = &mut self.containers[container];
        if matches!(container.state, State::Starting) {
            container.state = State::Running { started_at };
            container.has_run = true;
        }
    }

    pub fn ended(&mut self, container: usize, how: Terminated, now: Duration) {
        let container = &mut self.containers[container];
        if container.is_alive() {
            container.has_run |= how.started_at.is_some();
            container.state = State::Ended(how);
            container.ended_at = now;
        }
    }

    /// It could not be created, or what it needs not be made; `retry_at` is when that is tried again.
    pub fn blocked(&mut self, container: usize, reason: &'static str, message: String, retry_at: Duration) {
        let container = &mut self.containers[container];
        if matches!(container.state, State::Preparing | State::Starting) {
            container.state = State::Blocked { reason, message: message.into(), retry_at };
        }
    }

    /// What blocked it may be gone: tried again now. Gives whether anything was blocked.
    pub fn look_again(&mut self, now: Duration) -> bool {
        let mut was_blocked = false;
        for container in &mut self.containers {
            if let State::Blocked { retry_at, .. } = &mut container.state {
                *retry_at = now;
                was_blocked = true;
            }
        }
        was_blocked
    }

    /// Ends the pod, at the latest after `grace`. Said again, it can only become sooner.
    pub fn stop(&mut self, cause: StopCause, grace: Duration, now: Duration) {
        if cause == StopCause::Preempted {
            self.disruption = Some("PreemptionByScheduler".into());
        }
        match &mut self.ending {
            Some(ending) => ending.kill_at = ending.kill_at.min(now + grace),
            None => self.end(EndCause::Stopped(cause), grace, now),
        }
    }

    /// This node cannot run the pod.
    pub fn refuse(&mut self, reason: &str, message: &str, now: Duration) {
        if self.ending.is_none() {
            self.end(EndCause::Refused { reason: reason.into(), message: message.into() }, self.grace, now);
        }
    }

    /// The pod takes more of this node than it may.
    pub fn evict(&mut self, message: &str, now: Duration) {
        if self.ending.is_none() {
            self.disruption = Some("TerminationByKubelet".into());
            let cause = EndCause::Refused { reason: "Evicted".into(), message: message.into() };
            self.end(cause, EVICTION_GRACE, now);
        }
    }

    /// All its containers have ended, and what came of it does not count.
    pub fn fail(&mut self, reason: &str, message: &str) {
        if let Some(ending) = &mut self.ending {
            ending.cause = EndCause::Refused { reason: reason.into(), message: message.into() };
        }
    }

    /// Whether the pod is on its way out.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Whether it is on its way out because its containers had done what they were to do, and nobody asked it to end before.
    pub fn has_completed(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.cause == EndCause::Completed)
    }

    fn end(&mut self, cause: EndCause, grace: Duration, now: Duration) {
        self.ending = Some(Ending { cause, kill_at: now + grace, was_killed: false });
    }

    /// What to do now.
    pub fn step(&mut self, spec: &PodSpec, now: Duration) -> Step {
        let mut step = Step::default();
        match self.deadline {
            Some(at) if self.ending.is_none() && now >= at => self.end(EndCause::Deadline, self.grace, now),
            Some(at) if self.ending.is_none() => step.wake_at(at),
            _ => {}
        }
        if self.ending.is_none() {
            self.advance(spec, now, &mut step);
        }
        if self.ending.is_some() {
            self.wind_down(spec, now, &mut step);
        }
        step
    }

    fn advance(&mut self, spec: &PodSpec, now: Duration, step: &mut Step) {
        let mains = &self.containers[self.inits..];
        let begun = self.are_inits_passed(spec);
        if mains.iter().any(|c| c.state != State::Idle)
            && mains.iter().zip(&spec.containers).all(|(state, c)| is_done(spec, c, state))
        {
            self.end(EndCause::Completed, self.grace, now);
            return;
        }
        for (i, container) in spec.init_containers.iter().enumerate() {
            if PodSpec::is_sidecar(container) {
                self.go_on(i, now, step);
                if !begun && !self.containers[i].has_run {
                    return;
                }
            } else if !begun {
                match &self.containers[i].state {
                    State::Ended(end) if spec.restarts(container, end.exit_code, true) => {
                        self.go_on(i, now, step);
                    }
                    State::Ended(end) if end.exit_code == 0 => continue,
                    State::Ended(_) => self.end(EndCause::InitFailed, self.grace, now),
                    _ => self.go_on(i, now, step),
                }
                return;
            }
        }
        for (i, container) in (self.inits..).zip(&spec.containers) {
            if !is_done(spec, container, &self.containers[i]) {
                self.go_on(i, now, step);
            }
        }
    }

    /// Begins a container, or begins it again once its rest is over.
    fn go_on(&mut self, i: usize, now: Duration, step: &mut Step) {
        let container = &mut self.containers[i];
        if let State::Ended(end) = &container.state {
            container.last_terminated = Some(Box::new(end.clone()));
            let wait = container.backoff.rest(container.ended_at);
            container.state = State::Resting { until: container.ended_at + wait, wait };
        }
        match container.state {
            State::Idle => {}
            State::Resting { until, .. } if now >= until => {
                container.backoff.restarted(container.ended_at, now);
                container.restart_count = container.restart_count.saturating_add(1);
            }
            State::Blocked { retry_at, .. } if now >= retry_at => {}
            State::Resting { until: at, .. } | State::Blocked { retry_at: at, .. } => {
                return step.wake_at(at);
            }
            State::Preparing | State::Starting | State::Running { .. } | State::Ended(_) => return,
        }
        container.state = State::Preparing;
        step.actions.push(Action::Create { container: i });
    }

    fn wind_down(&mut self, spec: &PodSpec, now: Duration, step: &mut Step) {
        let Some(ending) = &mut self.ending else { return };
        step.actions.clear();
        step.wake_at = None;
        for container in &mut self.containers {
            match &container.state {
                State::Preparing => container.state = State::Idle,
                State::Resting { .. } => {
                    // It will not be restarted: its last run was the end of it.
                    container.state = match container.last_terminated.take() {
                        Some(end) => State::Ended(*end),
                        None => State::Idle,
                    };
                }
                _ => {}
            }
        }
        if !self.containers.iter().any(Container::is_alive) {
            self.finished = true;
            step.is_over = true;
            return;
        }
        if now >= ending.kill_at {
            if !ending.was_killed {
                ending.was_killed = true;
                step.actions.push(Action::Kill);
            }
            return;
        }
        step.wake_at(ending.kill_at);
        let is_sidecar = |i: usize| spec.init_containers.get(i).is_some_and(PodSpec::is_sidecar);
        let alive = |containers: &[Container], sidecars: bool| -> Vec<usize> {
            (0..containers.len()).filter(|&i| is_sidecar(i) == sidecars && containers[i].is_alive()).collect()
        };
        let mut next = alive(&self.containers, false);
        if next.is_empty() {
            // What was started first serves the others the longest.
            next.extend(alive(&self.containers, true).pop());
        }
        for i in next {
            if !self.containers[i].was_told_to_end {
                self.containers[i].was_told_to_end = true;
                step.actions.push(Action::Terminate { container: i });
            }
        }
    }
}

/// A machine that was off counts: the deadline is about the time of day.
fn deadline(spec: &PodSpec, started_at: i64, wall: i64, now: Duration) -> Option<Duration> {
    let elapsed = Duration::from_secs(u64::try_from(wall - started_at).unwrap_or(0));
    let seconds = u64::try_from(spec.active_deadline_seconds?).unwrap_or(0);
    Some((now + Duration::from_secs(seconds)).saturating_sub(elapsed))
}

/// Ended, and not to be restarted.
fn is_done(spec: &PodSpec, container: &api::Container, state: &Container) -> bool {
    matches!(&state.state, State::Ended(end) if !spec.restarts(container, end.exit_code, false))
}

/// Puts together what the journal and the sandbox know of a container. The sandbox is right about the newest run.
fn take_over(
    known: Option<ContainerStatus>,
    found: Option<(u32, State)>,
    wall: i64,
    now: Duration,
) -> Container {
    let known = known.unwrap_or_else(|| ContainerStatus::waiting("ContainerCreating"));
    let mut last_terminated = known.last_terminated;
    let mut restart_count = known.restart_count;
    let state = match (found, known.state) {
        (Some((attempt, state)), before) if attempt >= known.restart_count => {
            if let ContainerState::Terminated(end) = before
                && attempt > known.restart_count
            {
                last_terminated = Some(Box::new(end));
            }
            restart_count = attempt;
            state
        }
        (_, ContainerState::Terminated(end)) => State::Ended(end),
        (_, ContainerState::Running { started_at }) => State::Ended(lost(Some(started_at), wall)),
        (_, ContainerState::Waiting { reason, .. }) if &*reason == CRASH_LOOP_BACK_OFF => {
            let wait = CRASH.wait(restart_count);
            State::Resting { until: now + wait, wait }
        }
        (_, ContainerState::Waiting { .. }) => State::Idle,
    };
    let ran = |end: &Terminated| end.started_at.is_some();
    let has_run = match &state {
        State::Running { .. } => true,
        State::Ended(end) => ran(end),
        State::Resting { .. } => last_terminated.as_deref().is_some_and(ran),
        // It is being begun: what waits for it hears soon that it runs.
        State::Idle | State::Preparing | State::Blocked { .. } | State::Starting => false,
    };
    Container {
        state,
        restart_count,
        last_terminated,
        has_run,
        image_id: known.image_id,
        backoff: CrashBackoff::resumed(restart_count, now),
        ended_at: now,
        was_told_to_end: false,
    }
}

/// Whether the journal knows of a run.
fn has_begun(known: &ContainerStatus) -> bool {
    known.last_terminated.is_some() || !matches!(known.state, ContainerState::Waiting { .. })
}

/// Whether it runs, or did when the journal heard of it last.
fn is_begun((known, container): (&Option<ContainerStatus>, &Container)) -> bool {
    let ran = |known: &ContainerStatus| matches!(known.state, ContainerState::Running { .. });
    container.is_alive() || known.as_ref().is_some_and(ran)
}

/// Whether its newest run was lost with the pod's environment, and the journal does not say so yet.
fn was_lost(known: Option<&ContainerStatus>, container: &Container) -> bool {
    let is_unknown = |end: &Terminated| end.reason == TerminatedReason::ContainerStatusUnknown;
    let told = known.and_then(|known| match known.terminated() {
        Some(end) if known.restart_count == container.restart_count => Some(end),
        None if known.run_before() == Some(container.restart_count) => known.last_terminated.as_deref(),
        _ => None,
    });
    matches!(&container.state, State::Ended(end) if is_unknown(end)) && !told.is_some_and(is_unknown)
}

/// A run that neither spawner nor machine knows any more.
fn lost(started_at: Option<i64>, wall: i64) -> Terminated {
    Terminated {
        exit_code: 137,
        signal: None,
        reason: TerminatedReason::ContainerStatusUnknown,
        message: Some("the container was not found when the node came back; how it ended is unknown".into()),
        started_at,
        finished_at: wall,
    }
}
