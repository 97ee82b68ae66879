//! The limits of the whole Job: failures, restarts, time.

use serde_json::json;
use watchbell_api::node::StopCause;
use watchbell_api::types::pod::RestartPolicy;

use super::bench::{Bench, End};

#[test]
fn replacements_wait_longer_and_longer() {
    let mut job = Bench::new(json!({"completions": 1, "backoffLimit": 8}));
    let mut waits = Vec::new();
    for _ in 0..8 {
        job.run().end(None, End::Exit(1));
        assert!(job.running().is_empty());
        waits.push(job.sleep());
        assert_eq!(job.running().len(), 1);
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600]);
    job.run().end(None, End::Exit(1));
    assert_eq!(job.counts(), (0, 0, 9, 0));
    assert_eq!(job.conditions(), ["FailureTarget: BackoffLimitExceeded", "Failed: BackoffLimitExceeded"]);
    assert_eq!(job.status.completion_time, None);
    assert_eq!(job.events, ["Warning BackoffLimitExceeded Job has reached the specified backoff limit"]);
}

#[test]
fn a_success_ends_the_wait() {
    let mut job = Bench::new(json!({"completions": 9, "parallelism": 2}));
    job.run().end(None, End::Exit(1));
    assert_eq!(job.running().len(), 1);
    job.end(None, End::Exit(0));
    assert_eq!(job.running().len(), 2);
}

#[test]
fn the_limit_is_six_unless_said() {
    for (limit, failures) in [(json!(null), 7), (json!(0), 1), (json!(2), 3)] {
        let mut job = Bench::new(json!({"completions": 1, "backoffLimit": limit}));
        for _ in 1..failures {
            job.run().end(None, End::Exit(1));
            job.sleep();
        }
        assert!(job.conditions().is_empty());
        job.run().end(None, End::Exit(1));
        assert_eq!(job.counts().2, failures);
        assert_eq!(job.conditions().len(), 2);
    }
}

#[test]
fn the_other_pods_of_a_failed_job_are_ended_first() {
    let mut job = Bench::new(json!({"completions": 5, "parallelism": 3, "backoffLimit": 0}));
    job.run().end(None, End::Exit(1));
    // They count as failed at once, and the Job is failed when they are gone.
    assert_eq!(job.counts(), (0, 0, 3, 2));
    assert_eq!(job.deleted.iter().map(|d| d.1).collect::<Vec<_>>(), [StopCause::JobFailed; 2]);
    assert_eq!(job.conditions(), ["FailureTarget: BackoffLimitExceeded"]);
    assert!(job.status.is_finished().is_none() && job.events.is_empty());
    job.now += 5;
    job.end_deleting();
    assert_eq!(job.counts(), (0, 0, 3, 0));
    assert_eq!(job.status.is_finished().map(|end| end.at), Some(1_005));
}

#[test]
fn pods_that_never_ran_go_at_once() {
    let mut job = Bench::new(json!({"completions": 5, "parallelism": 3, "backoffLimit": 0}));
    job.end(None, End::Exit(1));
    assert_eq!(job.conditions(), ["FailureTarget: BackoffLimitExceeded", "Failed: BackoffLimitExceeded"]);
    assert_eq!(job.counts(), (0, 0, 3, 0));
}

#[test]
fn restarts_within_pods_count_with_on_failure() {
    // Limit, restarts of two pods, fails.
    for (limit, restarts, fails) in
        [(0, (0, 0), false), (0, (1, 0), true), (3, (1, 1), false), (3, (1, 2), true), (1, (1, 0), true)]
    {
        let mut job = Bench::new(json!({"completions": 2, "parallelism": 2, "backoffLimit": limit}));
        job.pod_spec.restart_policy = RestartPolicy::OnFailure;
        job.run();
        for (attempt, count) in [(0, restarts.0), (1, restarts.1)] {
            job.active.get_mut(&(u32::MAX, attempt)).expect("runs").restarts = count;
        }
        job.settle();
        assert_eq!(!job.conditions().is_empty(), fails, "{limit} {restarts:?}");
        if !fails {
            job.pod_spec.restart_policy = RestartPolicy::Never;
            job.settle();
            assert!(job.conditions().is_empty());
        }
    }
}

#[test]
fn the_deadline_counts_from_the_start() {
    let mut job = Bench::new(json!({"completions": 1, "activeDeadlineSeconds": 30}));
    job.run();
    assert_eq!(job.wake_at, Some(1_030));
    job.after(29);
    assert!(job.conditions().is_empty());
    job.after(1);
    assert_eq!(job.conditions(), ["FailureTarget: DeadlineExceeded"]);
    assert_eq!(job.deleted[0].1, StopCause::JobDeadline);
    job.end_deleting();
    assert_eq!(job.conditions(), ["FailureTarget: DeadlineExceeded", "Failed: DeadlineExceeded"]);
    assert_eq!(job.counts(), (0, 0, 1, 0));
    assert_eq!(job.events, ["Warning DeadlineExceeded Job was active longer than specified deadline"]);
}

#[test]
fn the_deadline_does_not_wait_for_a_back_off() {
    let mut job = Bench::new(json!({"completions": 1, "activeDeadlineSeconds": 5}));
    job.run().end(None, End::Exit(1));
    assert_eq!(job.wake_at, Some(1_005));
    job.after(5);
    assert_eq!(job.conditions(), ["FailureTarget: DeadlineExceeded", "Failed: DeadlineExceeded"]);
}

#[test]
fn what_ends_together_is_counted_together() {
    // The last success and a failure beyond the limit in one pass: the failure decides, as in Kubernetes.
    let mut job = Bench::new(json!({"completions": 1, "parallelism": 2, "backoffLimit": 0}));
    assert_eq!(job.running(), [0], "not more than completions");
    job.leave((u32::MAX, 0), End::Exit(1));
    job.settle();
    assert_eq!(job.conditions()[0], "FailureTarget: BackoffLimitExceeded");
}
