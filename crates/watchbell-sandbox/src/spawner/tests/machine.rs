use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::{collection::vec, prop_assert, prop_assert_eq};

use crate::spawner::machine::{Effect, Input, Machine, RUNS_MAX};
use crate::spawner::record::{Record, append, header, load};
use crate::wire::blank_pod;
use crate::{
    ContainerId, Event, ExitRecord, ExitStatus, LogSummary, LogTarget, PodEnvironment, RunSpec, Sharing,
    StartFailure, StartFailureKind, TableEntry, Usage,
};

pub(super) fn environment(uid: u128) -> PodEnvironment {
    PodEnvironment { name: "ml/train".to_owned(), hostname: "train".to_owned(), ..(*blank_pod(uid)).clone() }
}

pub(super) fn spec(pod_uid: u128, attempt: u32) -> RunSpec {
    let log = LogTarget { path: "a.log".into(), max_bytes: 4096, max_files: 1 };
    let argv = vec!["/bin/true".to_owned()];
    RunSpec {
        id: id(pod_uid, attempt),
        ..RunSpec::strict(blank_pod(pod_uid), "/data/layer".into(), argv, log)
    }
}

fn id(pod_uid: u128, attempt: u32) -> ContainerId {
    ContainerId { pod_uid, container: 0, attempt }
}

/// Feeds inputs into one run of pod 1 and names what comes out.
struct Script {
    machine: Machine,
    out: Vec<Effect>,
}

impl Script {
    fn new(sharing: Sharing) -> Self {
        let mut machine = Machine::default();
        machine.add_pod(Arc::new(PodEnvironment { sharing, ..environment(1) }), 10);
        Self { machine, out: Vec::new() }
    }

    fn feed(&mut self, attempt: u32, input: Input) -> Vec<&'static str> {
        self.machine.run(id(1, attempt), input, 100, &mut self.out);
        self.names()
    }

    fn names(&mut self) -> Vec<&'static str> {
        self.out.drain(..).map(|effect| name(&effect)).collect()
    }
}

fn name(effect: &Effect) -> &'static str {
    match effect {
        Effect::Record(Record::Asked { .. }) => "record asked",
        Effect::Record(Record::Running { .. }) => "record running",
        Effect::Record(Record::Failed(_)) => "record failed",
        Effect::Record(Record::Exited(_)) => "record exited",
        Effect::Record(Record::Forgotten { .. }) => "record forgotten",
        Effect::Begin(_) => "begin",
        Effect::Unqueue(_) => "unqueue",
        Effect::Watch(_) => "watch",
        Effect::Signal(..) => "signal",
        Effect::Kill(_) => "kill",
        Effect::Empty(_) => "empty",
        Effect::Drop(_) => "drop",
        Effect::ReleasePod(_) => "release pod",
        Effect::Tell(Event::Started { .. }) => "tell started",
        Effect::Tell(Event::StartFailed(_)) => "tell failed",
        Effect::Tell(Event::Exited(_)) => "tell exited",
        Effect::Tell(Event::Disconnected) => "tell disconnected",
        Effect::Tell(Event::LogTrouble { .. }) => "tell trouble",
        Effect::Tell(Event::Mapped { .. }) => "tell ids",
        Effect::Tell(Event::Connections { .. }) => "tell connections",
        Effect::Tell(Event::GateLost { .. }) => "tell of a gate",
    }
}

fn emptied() -> Input {
    Input::Emptied { usage: Usage::default(), oom_killed: false }
}

fn log() -> Input {
    Input::LogComplete(LogSummary::default())
}

fn not_executed() -> Input {
    Input::NotExecuted {
        kind: StartFailureKind::CommandNotFound,
        step: String::new(),
        message: String::new(),
    }
}

#[test]
fn a_run_is_recorded_before_it_begins_and_told_when_all_of_it_is_over() {
    let mut script = Script::new(Sharing::Single);
    assert_eq!(script.feed(0, Input::Start), ["record asked", "begin"]);
    assert_eq!(script.feed(0, Input::Start), [""; 0]);
    assert_eq!(script.feed(0, Input::Begun { pid: 7 }), [""; 0]);
    assert_eq!(script.feed(0, Input::Executed), ["record running", "watch", "tell started"]);
    assert_eq!(script.feed(0, Input::Signal(15)), ["signal"]);
    assert_eq!(script.feed(0, Input::Ended(ExitStatus::Code(3))), ["empty"]);
    assert_eq!(script.feed(0, Input::Signal(15)), [""; 0]);
    assert_eq!(script.feed(0, Input::Acknowledge), [""; 0], "not over yet");
    assert_eq!(script.feed(0, emptied()), [""; 0], "its log is not complete");
    assert_eq!(script.feed(0, log()), ["drop", "record exited", "tell exited"]);
    assert_eq!(script.feed(0, log()), [""; 0]);
    assert_eq!(script.feed(0, Input::Start), [""; 0], "once");
    assert_eq!(script.feed(0, Input::Acknowledge), ["record forgotten"]);
    assert!(script.machine.table().next().is_none());
}

#[test]
fn a_task_that_closes_its_streams_runs_on() {
    let mut script = Script::new(Sharing::Single);
    script.feed(0, Input::Start);
    script.feed(0, Input::Begun { pid: 7 });
    script.feed(0, Input::Executed);
    assert_eq!(script.feed(0, log()), [""; 0]);
    script.feed(0, Input::Ended(ExitStatus::Code(0)));
    assert_eq!(script.feed(0, emptied()), ["drop", "record exited", "tell exited"]);
}

#[test]
fn a_start_that_fails_is_told_when_nothing_is_left() {
    let mut script = Script::new(Sharing::Single);
    script.feed(0, Input::Start);
    script.feed(0, Input::Begun { pid: 7 });
    assert_eq!(script.feed(0, not_executed()), ["kill"]);
    assert_eq!(script.feed(0, Input::Ended(ExitStatus::Signal(9))), ["empty"]);
    assert_eq!(script.feed(0, emptied()), ["drop", "record failed", "tell failed"]);
    assert!(!script.machine.has_active());
}

#[test]
fn what_is_cancelled_before_it_runs_is_no_exit() {
    let mut script = Script::new(Sharing::Single);
    script.feed(0, Input::Start);
    assert_eq!(script.feed(0, Input::Signal(15)), ["unqueue", "record failed", "tell failed"]);

    let mut script = Script::new(Sharing::Single);
    script.feed(0, Input::Start);
    script.feed(0, Input::Begun { pid: 7 });
    assert_eq!(script.feed(0, Input::Signal(15)), ["kill"]);
    assert_eq!(script.feed(0, Input::Ended(ExitStatus::Signal(9))), ["empty"]);
    script.machine.run(id(1, 0), emptied(), 100, &mut script.out);
    let told = script.out.iter().find_map(|effect| match effect {
        Effect::Tell(Event::StartFailed(failure)) => Some(failure.kind),
        _ => None,
    });
    assert_eq!(told, Some(StartFailureKind::Cancelled));
}

#[test]
fn a_message_is_as_long_as_a_record_may_be() {
    let mut script = Script::new(Sharing::Single);
    let message = "ß".repeat(5 << 20);
    script.machine.run(id(1, 0), Input::Refuse(StartFailureKind::Refused, message), 100, &mut script.out);
    let mut bytes = header(b"db822348-22ed-4fd9-8029-74b33bf9c874");
    for effect in &script.out {
        if let Effect::Record(record) = effect {
            append(&mut bytes, record);
        }
    }
    append(&mut bytes, &Record::Asked { id: id(2, 0), at: 1 });
    let loaded = load(&bytes, b"db822348-22ed-4fd9-8029-74b33bf9c874", 100);
    assert_eq!(loaded.map(|loaded| loaded.entries.len()), Ok(2));
}

#[test]
fn starts_that_cannot_be_are_refused() {
    let mut script = Script::new(Sharing::Single);
    script.feed(0, Input::Start);
    assert_eq!(script.feed(1, Input::Start), ["record failed", "tell failed"], "the first still runs");
    script.machine.run(id(2, 0), Input::Start, 100, &mut script.out);
    assert_eq!(script.names(), ["record failed", "tell failed"], "its pod was not sent");

    let mut script = Script::new(Sharing::Shared);
    assert_eq!(script.feed(0, Input::Start), ["record asked", "begin"]);
    assert_eq!(script.feed(1, Input::Start), ["record asked", "begin"]);
}

/// Whoever asked would wait for ever for a start that nobody remembers.
#[test]
fn a_start_beyond_the_bound_is_told_and_not_kept() {
    let full = (0..RUNS_MAX as u32).map(|attempt| {
        let (step, message) = (String::new(), String::new());
        let kind = StartFailureKind::Cancelled;
        TableEntry::Failed(StartFailure { id: id(2, attempt), at: 1, kind, step, message })
    });
    let mut script = Script { machine: Machine::restore(full), out: Vec::new() };
    script.machine.add_pod(Arc::new(environment(1)), 10);
    assert_eq!(script.feed(0, Input::Start), ["tell failed"]);
    let refuse = || Input::Refuse(StartFailureKind::Refused, "x".repeat(1 << 20));
    script.machine.run(id(1, 0), refuse(), 100, &mut script.out);
    let [Effect::Tell(Event::StartFailed(failure))] = &script.out[..] else { panic!("{:?}", script.names()) };
    assert!(failure.kind == StartFailureKind::Refused && failure.message.len() < 5000);
    script.out.clear();
    // Once there is room, the same start is a new one.
    script.machine.run(id(2, 0), Input::Acknowledge, 100, &mut script.out);
    script.out.clear();
    assert_eq!(script.feed(0, Input::Start), ["record asked", "begin"]);
}

#[test]
fn a_pod_is_released_when_its_last_run_is_over() {
    let mut script = Script::new(Sharing::Shared);
    for attempt in [0, 1] {
        script.feed(attempt, Input::Start);
        script.feed(attempt, Input::Begun { pid: 7 });
        script.feed(attempt, Input::Executed);
    }
    script.machine.release_pod(1, 100, &mut script.out);
    assert_eq!(script.names(), ["kill", "kill"]);
    assert_eq!(script.feed(2, Input::Start), ["record failed", "tell failed"]);
    for attempt in [0, 1] {
        script.feed(attempt, Input::Ended(ExitStatus::Signal(9)));
        script.feed(attempt, emptied());
    }
    assert_eq!(script.feed(0, log()), ["drop", "record exited", "tell exited"]);
    assert_eq!(script.feed(1, log()), ["drop", "record exited", "tell exited", "release pod"]);
    assert!(script.machine.is_idle());
}

#[derive(Debug, Clone)]
enum Step {
    Pod(u128),
    Run(ContainerId, Input),
    Kill(u128),
    Release(u128),
    ReleaseAll,
    ClientGone,
}

fn step() -> impl Strategy<Value = Step> {
    let input = prop_oneof![
        3 => Just(Input::Start),
        1 => Just(Input::Refuse(StartFailureKind::Refused, "no".to_owned())),
        3 => Just(Input::Begun { pid: 7 }),
        1 => Just(Input::NotBegun { kind: StartFailureKind::Sandbox, step: String::new(), message: String::new() }),
        3 => Just(Input::Executed),
        1 => Just(not_executed()),
        3 => any::<u8>().prop_map(|code| Input::Ended(ExitStatus::Code(code))),
        3 => Just(emptied()),
        3 => Just(log()),
        1 => any::<i32>().prop_map(Input::Signal),
        2 => Just(Input::Acknowledge),
    ];
    let uid = || 0_u128..3;
    prop_oneof![
        2 => uid().prop_map(Step::Pod),
        20 => (uid(), 0_u32..3, input).prop_map(|(uid, attempt, input)| Step::Run(id(uid, attempt), input)),
        1 => uid().prop_map(Step::Kill),
        1 => uid().prop_map(Step::Release),
        1 => Just(Step::ReleaseAll),
        1 => Just(Step::ClientGone),
    ]
}

proptest! {
    /// Any order of anything: no panic, and the laws hold.
    #[test]
    fn laws_hold_whatever_comes(steps in vec(step(), 0..200)) {
        let mut machine = Machine::default();
        // What the table's file would say, and what is held.
        let mut recorded: BTreeMap<ContainerId, &'static str> = BTreeMap::new();
        let mut told = BTreeSet::new();
        for step in steps {
            let mut out = Vec::new();
            match step {
                Step::Pod(uid) => {
                    let sharing = if uid == 0 { Sharing::Shared } else { Sharing::Single };
                    machine.add_pod(Arc::new(PodEnvironment { sharing, ..environment(uid) }), 10);
                }
                Step::Run(id, input) => machine.run(id, input, 100, &mut out),
                Step::Kill(uid) => machine.kill_pod(uid, 100, &mut out),
                Step::Release(uid) => machine.release_pod(uid, 100, &mut out),
                Step::ReleaseAll => machine.release_all(100, &mut out),
                Step::ClientGone => machine.forget_unused_pods(),
            }
            for effect in out {
                match effect {
                    Effect::Record(Record::Forgotten { id }) => {
                        prop_assert!(told.remove(&id), "forgotten before it was told");
                        recorded.remove(&id);
                    }
                    Effect::Record(Record::Asked { id, .. }) => {
                        prop_assert!(recorded.insert(id, "asked").is_none(), "asked twice");
                    }
                    Effect::Record(Record::Running { id, .. }) => {
                        prop_assert_eq!(recorded.insert(id, "running"), Some("asked"));
                    }
                    Effect::Record(Record::Failed(failure)) => {
                        let before = recorded.insert(failure.id, "over");
                        prop_assert!(before.is_none() || before == Some("asked"));
                    }
                    Effect::Record(Record::Exited(record)) => {
                        prop_assert_eq!(recorded.insert(record.id, "over"), Some("running"));
                    }
                    Effect::Begin(id) => prop_assert_eq!(recorded.get(&id), Some(&"asked")),
                    Effect::Tell(Event::Started { id, .. }) => prop_assert_eq!(recorded.get(&id), Some(&"running")),
                    Effect::Tell(Event::StartFailed(StartFailure { id, .. }) | Event::Exited(ExitRecord { id, .. })) => {
                        prop_assert_eq!(recorded.get(&id), Some(&"over"));
                        prop_assert!(told.insert(id), "told twice");
                    }
                    _ => {}
                }
            }
            // What a connecting server is told is what the file says.
            for entry in machine.table() {
                let known = recorded.get(&entry.id()).copied();
                let expect: &[Option<&str>] = match entry {
                    TableEntry::Starting { .. } => &[Some("asked")],
                    TableEntry::Running { .. } => &[Some("running")],
                    TableEntry::Failed(_) | TableEntry::Exited(_) => &[Some("over")],
                };
                prop_assert!(expect.contains(&known), "{:?} is {:?}", entry, known);
            }
            prop_assert_eq!(machine.table().count(), recorded.len());
            let active = recorded.values().filter(|state| **state != "over").count();
            prop_assert_eq!(machine.has_active(), active > 0);
        }
    }
}
