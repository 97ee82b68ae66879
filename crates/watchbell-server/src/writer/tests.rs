mod disk;

use std::sync::mpsc::channel;

use watchbell_api::Uid;
use watchbell_api::types::pod_status::{Phase, PodStatus};

use super::*;

/// Longer than any test may take: what returns did not wait for it.
const FOREVER: Duration = Duration::from_secs(3600);

fn told(phase: Phase) -> Input {
    let status = PodStatus { phase, ..PodStatus::default() };
    Input::Report(Report::Status { uid: Uid::default(), status: Box::new(status) })
}

#[test]
fn word_of_a_pod_that_runs_waits_for_word_of_its_end() {
    let (sender, inputs) = channel();
    let node = std::thread::spawn(move || {
        sender.send(told(Phase::Pending)).unwrap();
        sender.send(told(Phase::Succeeded)).unwrap();
        sender
    });
    assert_eq!(gather(told(Phase::Running), &inputs, FOREVER).len(), 3);
    drop(node.join());
}

#[test]
fn who_waits_for_an_answer_or_a_place_does_not_wait_longer() {
    for urgent in [told(Phase::Succeeded), told(Phase::Failed), Input::ClockStep, Input::End] {
        let (_sender, inputs) = channel();
        assert_eq!(gather(urgent, &inputs, FOREVER).len(), 1);
    }
}

#[test]
fn word_of_a_pod_that_runs_does_not_wait_for_ever() {
    let (_sender, inputs) = channel();
    assert_eq!(gather(told(Phase::Running), &inputs, Duration::ZERO).len(), 1);
}

#[test]
fn a_batch_is_bounded() {
    let (sender, inputs) = channel();
    for _ in 0..2 * BATCH {
        sender.send(told(Phase::Running)).unwrap();
    }
    assert_eq!(gather(told(Phase::Running), &inputs, FOREVER).len(), BATCH);
}
