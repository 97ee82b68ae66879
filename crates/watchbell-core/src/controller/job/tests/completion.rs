//! When a Job is complete; work queues; `parallelism` moved while it runs; time to live.

use serde_json::json;

use super::bench::{Bench, End};
use crate::controller::job::FinishedKind;

const COMPLETE: [&str; 2] = ["SuccessCriteriaMet: CompletionsReached", "Complete: CompletionsReached"];

#[test]
fn one_pod_by_default() {
    let mut job = Bench::new(json!({"completions": 1}));
    assert_eq!(job.counts(), (1, 0, 0, 0));
    assert_eq!(job.status.start_time, Some(1_000));
    job.now = 1_010;
    job.run().end(None, End::Exit(0));
    assert_eq!(job.counts(), (0, 1, 0, 0));
    assert_eq!(job.conditions(), COMPLETE);
    assert_eq!(job.status.completion_time, Some(1_010));
    assert_eq!(job.status.is_finished().map(|end| (end.kind, end.at)), Some((FinishedKind::Complete, 1_010)));
    assert_eq!(job.events, ["Normal Completed Job completed"]);
}

#[test]
fn never_more_pods_than_completions_are_left() {
    let mut job = Bench::new(json!({"completions": 5, "parallelism": 3}));
    job.run();
    assert_eq!(job.running(), [0, 1, 2]);
    job.end(None, End::Exit(0)).run().end(None, End::Exit(0)).run();
    assert_eq!(job.running().len(), 3);
    job.end(None, End::Exit(0));
    assert_eq!(job.running().len(), 2);
    job.end(None, End::Exit(0)).end(None, End::Exit(0));
    assert_eq!(job.conditions(), COMPLETE);
    assert_eq!(job.created.len(), 5);
}

#[test]
fn a_work_queue_ends_with_its_pods() {
    let mut job = Bench::new(json!({"parallelism": 3}));
    job.run().end(None, End::Exit(0));
    assert_eq!(job.counts(), (2, 1, 0, 0));
    assert!(job.conditions().is_empty());
    // After the first success a failure is not replaced.
    job.end(None, End::Exit(1)).after(3_600);
    assert_eq!(job.counts(), (1, 1, 1, 0));
    job.end(None, End::Exit(0));
    assert_eq!(job.counts(), (0, 2, 1, 0));
    assert_eq!(job.conditions(), COMPLETE);
}

#[test]
fn nothing_to_do_is_done_at_once() {
    let job = Bench::new(json!({"completions": 0}));
    assert_eq!(job.conditions(), COMPLETE);
    assert!(job.created.is_empty());
    let job = Bench::new(json!({"completions": 0, "completionMode": "Indexed"}));
    assert_eq!(job.conditions(), COMPLETE);
}

#[test]
fn parallelism_is_followed() {
    let mut job = Bench::new(json!({"completions": 10, "parallelism": 0}));
    assert_eq!(job.counts(), (0, 0, 0, 0));
    assert!(job.conditions().is_empty() && job.wake_at.is_none());
    job.spec.parallelism = Some(4);
    job.settle();
    assert_eq!(job.running(), [0, 1, 2, 3]);
    // Those that wait go first, then the youngest.
    for attempt in [0, 2] {
        let pod = job.active.get_mut(&(u32::MAX, attempt)).expect("created");
        (pod.scheduled, pod.ready) = (true, true);
    }
    job.spec.parallelism = Some(2);
    job.settle();
    assert_eq!(job.running(), [0, 2]);
    job.spec.parallelism = Some(1);
    job.settle();
    assert_eq!(job.running(), [0]);
    assert_eq!(job.counts(), (1, 0, 0, 1));
    // A pod deleted for room is nobody's failure and no success.
    job.leave((u32::MAX, 2), End::Exit(0));
    job.settle();
    assert_eq!(job.counts(), (1, 0, 0, 0));
    job.spec.parallelism = Some(2);
    job.settle();
    assert_eq!(job.running(), [0, 4]);
}

#[test]
fn large_numbers_come_in_bounded_passes() {
    let mut job =
        Bench::idle(json!({"completions": 2_000, "parallelism": 1_200, "completionMode": "Indexed"}));
    let first = job.pass();
    assert_eq!(first.create.len(), 500);
    assert_eq!(first.wake_at, Some(job.now));
    job.settle();
    assert_eq!(job.counts(), (1_200, 0, 0, 0));
    assert_eq!(job.status.start_time, Some(1_000));
    job.spec.parallelism = Some(100);
    assert_eq!(job.pass().delete.len(), 500);
    job.settle();
    assert_eq!(job.running(), (0..100).collect::<Vec<u32>>());
}

#[test]
fn more_successes_than_wanted_are_told() {
    let mut job = Bench::new(json!({"completions": 2, "parallelism": 2}));
    job.run();
    job.spec.completions = Some(1);
    for attempt in [0, 1] {
        job.leave((u32::MAX, attempt), End::Exit(0));
    }
    job.settle();
    assert_eq!(job.conditions(), COMPLETE);
    assert!(job.events[0].starts_with("Warning TooManySucceededPods"), "{:?}", job.events);
}

#[test]
fn a_finished_job_lives_its_time() {
    let mut job = Bench::new(json!({"completions": 1, "ttlSecondsAfterFinished": 60}));
    job.run().end(None, End::Exit(0));
    assert_eq!(job.wake_at, Some(1_060));
    job.after(59);
    assert!(!job.gone);
    job.after(1);
    assert!(job.gone);
    let mut job = Bench::new(json!({"completions": 1, "ttlSecondsAfterFinished": 0}));
    job.run();
    job.deleting = true;
    job.end(None, End::Exit(0));
    assert!(!job.gone, "somebody deletes it already");
    job.deleting = false;
    job.settle();
    assert!(job.gone);
}

#[test]
fn a_job_of_another_controller_is_left_alone() {
    let mut job = Bench::new(json!({"completions": 1, "managedBy": "acme.io/queue"}));
    assert!(job.created.is_empty());
    assert_eq!(job.status.render(&job.spec), json!({}));
    job.spec.managed_by = Some("kubernetes.io/job-controller".into());
    job.settle();
    assert_eq!(job.created.len(), 1);
}

#[test]
fn a_job_being_deleted_starts_nothing() {
    let mut job = Bench::new(json!({"completions": 2, "parallelism": 1}));
    job.deleting = true;
    job.run().end(None, End::Exit(0));
    assert_eq!(job.counts(), (0, 1, 0, 0));
    assert_eq!(job.created.len(), 1);
}

#[test]
fn a_released_pod_is_replaced_and_counts_as_nothing() {
    let mut job = Bench::new(json!({"completions": 2, "parallelism": 1, "completionMode": "Indexed"}));
    job.run().end(Some(0), End::Released);
    assert_eq!(job.counts(), (1, 0, 0, 0));
    assert_eq!(
        job.created.iter().map(|pod| (pod.index, pod.attempt)).collect::<Vec<_>>(),
        [(Some(0), 0), (Some(0), 1)]
    );
}

#[test]
fn what_cannot_be_created_is_not_counted() {
    let mut job = Bench::new(json!({"completions": 3, "parallelism": 1}));
    job.run();
    job.leave((u32::MAX, 0), End::Exit(0));
    let before = job.status.clone();
    let after = job.pass().having_created(0, &before);
    let status = after.status.expect("the success is counted");
    assert_eq!((status.succeeded, status.active), (1, 0));
    assert!(after.create.is_empty());
}
