//! `suspend` (KEP-2232, KEP-5440).

use serde_json::json;
use watchbell_api::node::StopCause;

use super::bench::{Bench, End};

#[test]
fn created_suspended_starts_when_resumed() {
    let mut job = Bench::new(json!({"completions": 1, "suspend": true, "activeDeadlineSeconds": 60}));
    assert!(job.created.is_empty());
    assert_eq!(job.status.start_time, None);
    assert_eq!(job.conditions(), ["Suspended: JobSuspended"]);
    assert_eq!(job.events, ["Normal Suspended Job suspended"]);
    job.after(10_000);
    assert_eq!(job.conditions(), ["Suspended: JobSuspended"]);
    job.spec.suspend = false;
    job.settle();
    assert_eq!(job.running().len(), 1);
    assert_eq!(job.status.start_time, Some(11_000));
    assert_eq!(job.wake_at, Some(11_060));
    assert!(job.conditions().is_empty());
    assert_eq!(job.status.render(&job.spec)["conditions"][0]["reason"], "JobResumed");
    assert_eq!(job.events[1..], ["Normal Resumed Job resumed"]);
}

#[test]
fn suspending_ends_the_pods_and_counts_none() {
    let mut job = Bench::new(json!({"completions": 4, "parallelism": 2, "completionMode": "Indexed"}));
    job.run().exit(0, 0).run();
    job.spec.suspend = true;
    job.settle();
    assert_eq!(job.counts(), (0, 1, 0, 2));
    assert_eq!(job.deleted.iter().map(|d| d.1).collect::<Vec<_>>(), [StopCause::Suspended; 2]);
    assert_eq!(job.status.start_time, None);
    job.end_deleting();
    assert_eq!(job.counts(), (0, 1, 0, 0));
    job.spec.suspend = false;
    job.after(100);
    assert_eq!(job.running(), [1, 2]);
    assert_eq!(job.status.start_time, Some(1_100));
    let again: Vec<_> = job.created[3..].iter().map(|pod| (pod.index, pod.attempt)).collect();
    assert_eq!(again, [(Some(1), 1), (Some(2), 1)]);
}

#[test]
fn a_job_that_never_was_suspended_has_no_such_condition() {
    let job = Bench::new(json!({"completions": 1, "suspend": false}));
    assert_eq!(job.status.render(&job.spec).get("conditions"), None);
    assert!(job.events.is_empty());
}

#[test]
fn a_verdict_is_reached_while_suspended() {
    let mut job = Bench::new(json!({"completions": 2, "parallelism": 2, "backoffLimit": 0}));
    job.run();
    job.spec.suspend = true;
    job.leave((u32::MAX, 0), End::Exit(1));
    job.settle();
    assert_eq!(job.conditions(), ["FailureTarget: BackoffLimitExceeded"]);
}
