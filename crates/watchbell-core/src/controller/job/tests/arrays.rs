//! Jobs that write data arrays: they end when what they wrote is published, or is not to be.

use serde_json::json;

use super::bench::{Bench, End};
use crate::controller::job::{Answer, ArraysView, FinishedKind, Gate, JobStatus, PublicationStep};

fn view(gate: Gate, answer: Answer) -> Option<ArraysView> {
    Some(ArraysView { gate, refused: None, answer })
}

/// Of two indexes that have ended well, with this gate.
fn written(gate: Gate) -> Bench {
    let mut job = Bench::idle(json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2}));
    job.arrays = view(gate, Answer::NotAsked);
    job.pass();
    for pod in job.active.values_mut() {
        pod.scheduled = true;
    }
    for index in 0..2 {
        job.leave((index, 0), End::Exit(0));
    }
    job.pass();
    job
}

fn refused(reason: &'static str) -> Answer {
    Answer::Refused { reason, message: "it moved".into() }
}

#[test]
fn a_job_is_complete_when_its_run_is_published() {
    let mut job = written(Gate::None);
    assert_eq!(job.steps, [PublicationStep::Publish]);
    assert_eq!(job.conditions(), ["SuccessCriteriaMet: CompletionsReached"]);
    job.arrays = view(Gate::None, Answer::Asked);
    job.settle();
    assert_eq!(job.steps, [PublicationStep::Publish], "it is asked once in a server's life");
    job.arrays = view(Gate::None, Answer::Published);
    job.settle();
    assert_eq!(
        job.conditions(),
        [
            "SuccessCriteriaMet: CompletionsReached",
            "watchbell.dev/ArraysPublished: Published",
            "Complete: CompletionsReached",
        ]
    );
    assert!(job.status.completion_time.is_some());
}

#[test]
fn what_is_not_published_fails_the_job() {
    let mut job = written(Gate::None);
    job.arrays = view(Gate::None, refused("ArrayConflict"));
    job.settle();
    assert_eq!(job.conditions(), ["FailureTarget: ArrayConflict", "Failed: ArrayConflict"]);
    assert_eq!(job.events.last().unwrap(), "Warning ArrayConflict it moved");
    assert_eq!(job.counts(), (0, 2, 0, 0), "the indexes succeeded all the same");
}

#[test]
fn a_gate_goes_first() {
    let mut job = written(Gate::Wanted);
    assert_eq!(job.steps, [PublicationStep::MakeGate]);
    job.arrays = view(Gate::Running, Answer::NotAsked);
    job.settle();
    assert_eq!(job.steps, [PublicationStep::MakeGate]);
    job.arrays = view(Gate::Passed, Answer::NotAsked);
    job.pass();
    assert_eq!(job.steps, [PublicationStep::MakeGate, PublicationStep::Publish]);
    // The run may be published by now: the gate has no say any more.
    job.arrays = view(Gate::Failed, Answer::Asked);
    job.settle();
    assert_eq!(job.status.is_finished(), None);

    let mut job = written(Gate::Failed);
    assert_eq!(job.conditions(), ["FailureTarget: ArrayGateFailed", "Failed: ArrayGateFailed"]);
    job.settle();
    assert!(job.steps.is_empty());
}

#[test]
fn a_gate_is_waited_for_so_long_and_no_longer() {
    for (deadline, seconds) in [(None, 86_400), (Some(600), 600)] {
        for gate in [Gate::Wanted, Gate::Running] {
            let mut job = written(gate);
            job.spec.active_deadline_seconds = deadline;
            job.pass();
            assert_eq!(job.wake_at, Some(job.now + seconds));
            job.now += seconds - 1;
            job.pass();
            assert_eq!(job.status.is_finished(), None);
            job.now += 1;
            job.settle();
            assert_eq!(job.conditions(), ["FailureTarget: ArrayGateFailed", "Failed: ArrayGateFailed"]);
        }
    }
    // What is asked for is waited for.
    let mut job = written(Gate::None);
    job.arrays = view(Gate::Running, Answer::Asked);
    job.now += 100_000;
    job.settle();
    assert_eq!(job.status.is_finished(), None);
}

#[test]
fn of_a_run_that_is_whole_only_the_publication_is_left() {
    let mut job = Bench::idle(json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2}));
    job.rerun = Some(crate::index_set::IndexSet::new());
    job.arrays = view(Gate::None, Answer::NotAsked);
    job.settle();
    assert!(job.created.is_empty());
    assert_eq!(job.steps.first(), Some(&PublicationStep::Publish));
}

#[test]
fn a_right_is_asked_for_before_the_first_publication_alone() {
    let lost = |answer| Some(ArraysView { gate: Gate::None, refused: Some("it may not".into()), answer });
    let mut job = written(Gate::Wanted);
    job.arrays = lost(Answer::NotAsked);
    job.settle();
    assert_eq!(job.conditions(), ["FailureTarget: ArrayCommitFailed", "Failed: ArrayCommitFailed"]);
    let mut job = written(Gate::None);
    // After a restart: what was asked for may be done.
    job.arrays = lost(Answer::NotAsked);
    job.pass();
    assert_eq!(job.steps, [PublicationStep::Publish; 2]);
    assert_eq!(job.status.is_finished(), None);
}

#[test]
fn a_job_that_is_being_deleted_publishes_nothing_new() {
    let mut job = written(Gate::Running);
    job.deleting = true;
    job.arrays = view(Gate::Passed, Answer::NotAsked);
    job.settle();
    assert!(job.steps.is_empty());
}

#[test]
fn a_failed_job_publishes_nothing() {
    let spec = json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimit": 0});
    let mut job = Bench::idle(spec);
    job.arrays = view(Gate::None, Answer::NotAsked);
    job.pass();
    job.leave((0, 0), End::Exit(0));
    job.leave((1, 0), End::Exit(1));
    job.settle();
    assert_eq!(job.conditions(), ["FailureTarget: BackoffLimitExceeded", "Failed: BackoffLimitExceeded"]);
    assert!(job.steps.is_empty());
}

#[test]
fn clients_do_not_say_how_far_a_publication_is() {
    let job = written(Gate::Running);
    let write = |status: &JobStatus, state: &str| {
        let condition =
            json!({"type": "watchbell.dev/ArraysPublished", "status": state, "reason": "Publishing"});
        let mut whole = status.render(&job.spec);
        let others = whole["conditions"].as_array().into_iter().flatten();
        let others = others.filter(|other| other["type"] != condition["type"]).cloned();
        whole["conditions"] = others.chain([condition.clone()]).collect();
        status.with_written(&whole, false).unwrap()
    };
    let forged = write(&job.status, "Unknown");
    assert_eq!(forged.conditions, job.status.conditions);
    let asked = written(Gate::None).status;
    let kept = write(&asked, "False");
    assert_eq!(kept.conditions, asked.conditions);
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// The node as its store behaves: what is published stays so, what is refused may be published when it is asked again.
#[derive(Default)]
struct Store {
    snapshots: u32,
    /// Commands on their way, and answers.
    asked: u32,
    answers: Vec<Answer>,
}

impl Store {
    fn carry_out(&mut self, random: &mut Random) {
        self.asked -= 1;
        let answer = match random.below(4) {
            _ if self.snapshots > 0 => Answer::Published,
            0 => refused("ArrayConflict"),
            _ => {
                self.snapshots += 1;
                Answer::Published
            }
        };
        self.answers.push(answer);
    }
}

/// The server is killed between any two steps, the node answers late or never, gates and rights come and go: a run is
/// published at most once, and its Job is complete exactly if it is.
#[test]
fn a_job_is_complete_exactly_if_it_is_published_whenever_the_server_dies() {
    for seed in 0..2_000 {
        let mut random = Random(seed);
        let gated = random.below(2) == 0;
        let mut job = written(if gated { Gate::Wanted } else { Gate::None });
        let (mut gate, mut answer) = (job.arrays.as_ref().unwrap().gate, Answer::NotAsked);
        let (mut store, mut has_passed, mut may_write) = (Store::default(), !gated, true);
        for _ in 0..60 {
            for step in job.steps.drain(..) {
                match step {
                    PublicationStep::MakeGate => gate = Gate::Running,
                    PublicationStep::Publish => {
                        assert!(has_passed, "seed {seed}: asked before the gate passed");
                        (store.asked, answer) = (store.asked + 1, Answer::Asked);
                    }
                }
            }
            match random.below(8) {
                // The server dies, and the node with it: perhaps in the middle of a publication that is done all the same.
                0 => {
                    if store.asked > 0 && random.below(2) == 0 {
                        store.carry_out(&mut random);
                    }
                    (store.asked, answer) = (0, Answer::NotAsked);
                    store.answers.clear();
                }
                1 if gate == Gate::Running => {
                    gate = if random.below(4) == 0 { Gate::Failed } else { Gate::Passed };
                    has_passed |= gate == Gate::Passed;
                }
                // Somebody deletes the gate.
                2 if gated && random.below(3) == 0 => gate = Gate::Wanted,
                3 if random.below(6) == 0 => may_write = !may_write,
                4 | 5 if store.asked > 0 => store.carry_out(&mut random),
                6 if !store.answers.is_empty() => answer = store.answers.remove(0),
                _ => {}
            }
            let refused = (!may_write).then(|| "it may not".into());
            job.arrays = Some(ArraysView { gate, refused, answer: answer.clone() });
            let was = job.status.is_finished();
            job.pass();
            assert!(store.snapshots <= 1, "seed {seed}");
            let Some(end) = job.status.is_finished() else { continue };
            assert!(was.is_none_or(|was| was == end), "seed {seed}: it ended twice");
            if end.kind == FinishedKind::Complete {
                assert_eq!(store.snapshots, 1, "seed {seed}: complete and not published");
            } else {
                assert_eq!(store.snapshots, 0, "seed {seed}: failed and published");
            }
            if was.is_some() {
                break;
            }
        }
    }
}
