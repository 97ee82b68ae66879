//! `podReplacementPolicy` (KEP-3939): whether a pod that is being deleted is replaced before it has ended.

use serde_json::json;

use super::bench::{Bench, End};

fn job(policy: &str) -> Bench {
    let mut job = Bench::new(json!({
        "completionMode": "Indexed", "completions": 2, "parallelism": 2, "podReplacementPolicy": policy,
        "backoffLimitPerIndex": 3,
    }));
    job.run();
    job
}

#[test]
fn by_default_deletion_is_failure_at_once() {
    let mut job = job("TerminatingOrFailed");
    job.delete((0, 0));
    job.settle();
    assert_eq!(job.counts(), (1, 0, 1, 1));
    job.sleep();
    assert_eq!(job.running(), [0, 1]);
    assert_eq!(job.counts(), (2, 0, 1, 1));
    assert_eq!(job.created.last().map(|pod| (pod.attempt, pod.failure_count)), Some((1, 1)));
    // Its end, however good, was counted before.
    job.leave((0, 0), End::Exit(0));
    job.settle();
    assert_eq!(job.counts(), (2, 0, 1, 0));
    job.exit(0, 0).exit(1, 0);
    assert_eq!(job.status.completed_indexes.to_string(), "0,1");
    assert_eq!(job.created.len(), 3);
}

#[test]
fn failed_waits_for_the_end() {
    let mut job = job("Failed");
    job.delete((0, 0));
    job.settle();
    job.after(3_600);
    assert_eq!(job.counts(), (1, 0, 0, 1));
    assert_eq!(job.running(), [1]);
    job.end_deleting();
    assert_eq!(job.counts(), (1, 0, 1, 0));
    job.sleep();
    assert_eq!(job.running(), [0, 1]);
}

#[test]
fn failed_counts_a_good_end_as_success() {
    let mut job = job("Failed");
    job.delete((0, 0));
    job.settle();
    job.leave((0, 0), End::Exit(0));
    job.settle();
    assert_eq!(job.counts(), (1, 1, 0, 0));
}

#[test]
fn terminating_pods_take_part_of_the_parallelism_only_with_failed() {
    for (policy, running) in [("TerminatingOrFailed", 3), ("Failed", 2)] {
        let mut job = Bench::new(json!({"completions": 9, "parallelism": 3, "podReplacementPolicy": policy}));
        job.run();
        job.delete((u32::MAX, 0));
        job.settle();
        job.after(600);
        assert_eq!(job.running().len(), running, "{policy}");
    }
}

#[test]
fn a_job_is_not_complete_while_a_pod_ends() {
    let mut job = Bench::new(json!({"completions": 1}));
    job.run();
    job.delete((u32::MAX, 0));
    job.settle();
    job.sleep();
    job.run().end(None, End::Exit(0));
    assert_eq!(job.conditions(), ["SuccessCriteriaMet: CompletionsReached"]);
    assert_eq!(job.counts(), (0, 1, 1, 1));
    job.end_deleting();
    assert_eq!(job.conditions()[1], "Complete: CompletionsReached");
}

#[test]
fn a_pod_deleted_while_it_waited_is_a_failure() {
    for policy in ["TerminatingOrFailed", "Failed"] {
        let mut job = Bench::new(json!({"completions": 1, "podReplacementPolicy": policy}));
        job.delete((u32::MAX, 0));
        job.settle();
        assert_eq!(job.counts(), (0, 0, 1, 0), "{policy}");
    }
}
