//! Indexed Jobs: indexes, their own back-off and limit (KEP-3850), success policy (KEP-3998), elastic completions.

use serde_json::json;

use super::bench::{Bench, End, key};
use crate::controller::job::{ActivePod, NewPod};
use crate::index_set::IndexSet;

fn indexed(fields: serde_json::Value) -> serde_json::Value {
    let mut all = json!({"completionMode": "Indexed"});
    for (field, value) in fields.as_object().expect("an object") {
        all[field] = value.clone();
    }
    all
}

#[test]
fn the_lowest_indexes_go_first_and_each_once() {
    let mut job = Bench::new(indexed(json!({"completions": 6, "parallelism": 3})));
    job.run().exit(1, 0);
    assert_eq!(job.running(), [0, 2, 3]);
    job.run().exit(0, 1);
    assert_eq!(job.running(), [2, 3]);
    job.sleep();
    assert_eq!(job.running(), [0, 2, 3]);
    job.run().exit(3, 0).run().exit(2, 0).run().exit(5, 0).run().exit(4, 0).run();
    assert_eq!(job.status.completed_indexes.to_string(), "1-5");
    assert_eq!(job.counts(), (1, 5, 1, 0));
    job.exit(0, 0);
    assert_eq!(job.status.completed_indexes.to_string(), "0-5");
    assert_eq!(job.conditions()[1], "Complete: CompletionsReached");
    assert_eq!(job.created.len(), 7);
    assert_eq!(
        job.created.iter().filter(|pod| pod.index == Some(0)).map(|pod| pod.attempt).collect::<Vec<_>>(),
        [0, 1]
    );
}

#[test]
fn an_index_waits_alone_for_its_back_off() {
    let mut job = Bench::new(indexed(json!({"completions": 4, "parallelism": 2, "backoffLimitPerIndex": 2})));
    job.run().exit(0, 1);
    assert_eq!(job.running(), [1, 2], "another index takes the place");
    assert_eq!(job.wake_at, None, "no place is free");
    job.after(10);
    job.run().exit(1, 0);
    assert_eq!(job.running(), [0, 2]);
    assert_eq!(
        job.created.last(),
        Some(&NewPod { index: Some(0), attempt: 1, failure_count: 1, ignored_failure_count: 0 })
    );
    job.run().exit(2, 0).run().exit(3, 0).exit(0, 1);
    assert!(job.running().is_empty());
    assert_eq!(job.sleep(), 20);
    job.run().exit(0, 1);
    assert_eq!(job.status.failed_indexes.to_string(), "0");
    assert_eq!(job.counts(), (0, 3, 3, 0));
    assert_eq!(job.conditions(), ["FailureTarget: FailedIndexes", "Failed: FailedIndexes"]);
    assert_eq!(job.events, ["Warning FailedIndexes Job has failed indexes"]);
}

#[test]
fn all_indexes_run_though_some_fail() {
    let mut job = Bench::new(indexed(json!({"completions": 4, "parallelism": 4, "backoffLimitPerIndex": 0})));
    job.run().exit(0, 1).exit(2, 1);
    assert_eq!(job.status.failed_indexes.to_string(), "0,2");
    assert_eq!(job.running(), [1, 3]);
    assert!(job.conditions().is_empty());
    job.exit(1, 0).exit(3, 0);
    assert_eq!(job.status.completed_indexes.to_string(), "1,3");
    assert_eq!(job.conditions()[1], "Failed: FailedIndexes");
}

#[test]
fn too_many_failed_indexes_end_the_job() {
    let mut job = Bench::new(indexed(
        json!({"completions": 9, "parallelism": 3, "backoffLimitPerIndex": 0, "maxFailedIndexes": 1}),
    ));
    job.run().exit(0, 1);
    assert!(job.conditions().is_empty());
    job.run().exit(1, 1);
    assert_eq!(job.conditions(), ["FailureTarget: MaxFailedIndexesExceeded"]);
    // The two that still ran count as failed pods, not as failed indexes.
    assert_eq!(job.counts(), (0, 0, 4, 2));
    job.end_deleting();
    assert_eq!(job.status.failed_indexes.to_string(), "0,1");
    assert_eq!(job.conditions()[1], "Failed: MaxFailedIndexesExceeded");
}

#[test]
fn the_limit_of_the_job_holds_beside_that_of_an_index() {
    let mut job = Bench::new(indexed(
        json!({"completions": 4, "parallelism": 4, "backoffLimitPerIndex": 5, "backoffLimit": 1}),
    ));
    job.run().exit(0, 1);
    assert!(job.conditions().is_empty());
    job.exit(1, 1);
    assert_eq!(job.conditions(), ["FailureTarget: BackoffLimitExceeded"]);
}

#[test]
fn enough_successes_are_enough() {
    let policy = json!({"rules": [{"succeededIndexes": "0,1", "succeededCount": 1}, {"succeededCount": 3}]});
    let mut job = Bench::new(indexed(json!({"completions": 5, "parallelism": 5, "successPolicy": policy})));
    job.run().exit(4, 0);
    assert!(job.conditions().is_empty());
    job.exit(1, 0);
    assert_eq!(job.conditions(), ["SuccessCriteriaMet: SuccessPolicy"]);
    // What still ran is ended and counts as nothing.
    assert_eq!(job.counts(), (0, 2, 0, 3));
    job.end_deleting();
    assert_eq!(job.conditions(), ["SuccessCriteriaMet: SuccessPolicy", "Complete: SuccessPolicy"]);
    assert_eq!(job.counts(), (0, 2, 0, 0));
    assert_eq!(job.status.completed_indexes.to_string(), "1,4");
    assert_eq!(job.status.render(&job.spec)["conditions"][1]["message"], "Matched rules at index 0");
}

#[test]
fn a_success_policy_forgives_failed_indexes() {
    let policy = json!({"rules": [{"succeededCount": 2}]});
    let mut job = Bench::new(indexed(
        json!({"completions": 3, "parallelism": 3, "backoffLimitPerIndex": 0, "successPolicy": policy}),
    ));
    job.run().exit(0, 1).exit(1, 0);
    assert!(job.conditions().is_empty());
    // All indexes are settled and one failed: this is looked at before the policy.
    job.exit(2, 0);
    assert_eq!(job.conditions()[1], "Failed: FailedIndexes");
}

#[test]
fn an_elastic_job_follows_its_completions() {
    let mut job = Bench::new(indexed(json!({"completions": 4, "parallelism": 4})));
    job.run().exit(3, 0).exit(0, 0);
    job.spec.completions = Some(2);
    job.spec.parallelism = Some(2);
    job.settle();
    // Index 3 is no longer counted, index 2 is ended and counts as nothing.
    assert_eq!(job.counts(), (1, 1, 0, 1));
    assert_eq!(job.status.completed_indexes.to_string(), "0");
    job.end_deleting();
    assert_eq!(job.counts(), (1, 1, 0, 0));
    job.spec.completions = Some(5);
    job.spec.parallelism = Some(5);
    job.settle();
    assert_eq!(job.running(), [1, 2, 3, 4]);
    // Their identities are new ones.
    let again: Vec<_> = job.created[4..].iter().map(|pod| (pod.index, pod.attempt)).collect();
    assert_eq!(again, [(Some(2), 1), (Some(3), 1), (Some(4), 1)]);
}

#[test]
fn of_two_pods_of_an_index_the_further_one_stays() {
    let mut job = Bench::new(indexed(json!({"completions": 2, "parallelism": 2})));
    job.run();
    let stray = |index: Option<u32>, attempt: u32| ActivePod {
        uid: watchbell_api::Uid(900 + u128::from(attempt)),
        index,
        attempt,
        scheduled: false,
        ready: false,
        ..job.active[&(0, 0)].clone()
    };
    let strays = [stray(Some(1), 50), stray(Some(7), 51), stray(None, 52)];
    for pod in strays {
        job.active.insert(key(pod.index, pod.attempt), pod);
    }
    job.settle();
    assert_eq!(job.running(), [0, 1]);
    assert_eq!(job.active.len(), 2);
    assert_eq!(job.counts(), (2, 0, 0, 0));
}

#[test]
fn a_large_array_costs_its_ranges() {
    let mut job = Bench::new(indexed(json!({"completions": 100_000, "parallelism": 10})));
    job.run();
    for index in 0..2_000 {
        job.exit(index, 0);
    }
    assert_eq!(job.status.completed_indexes.to_string(), "0-1999");
    let bytes = postcard::to_allocvec(&job.status).expect("encodes");
    assert!(bytes.len() < 64, "{} bytes", bytes.len());
    assert_eq!(job.running(), (2_000..2_010).collect::<Vec<u32>>());
}

#[test]
fn an_index_whose_pod_is_removed_is_tried_again() {
    let mut job = Bench::new(indexed(json!({"completions": 1, "backoffLimitPerIndex": 1})));
    job.run().end(Some(0), End::Removed);
    assert_eq!(job.counts(), (0, 0, 1, 0));
    job.sleep();
    assert_eq!(job.created.last().map(|pod| (pod.attempt, pod.failure_count)), Some((1, 1)));
}

#[test]
fn a_rerun_runs_only_its_indexes_and_completes_the_whole() {
    let mut job = Bench::idle(indexed(json!({"completions": 6, "parallelism": 6})));
    job.rerun = Some(IndexSet::parse("1,3-4", 6).expect("a set"));
    job.settle();
    assert_eq!(job.running(), [1, 3, 4]);
    assert_eq!(job.status.completed_indexes.to_string(), "0,2,5");
    assert_eq!(job.counts(), (3, 3, 0, 0));
    job.run().exit(3, 0).exit(1, 1);
    job.sleep();
    job.run().exit(1, 0).exit(4, 0);
    assert_eq!(job.status.completed_indexes.to_string(), "0-5");
    assert_eq!(job.conditions()[1], "Complete: CompletionsReached");
}

#[test]
fn a_rerun_of_one_index_of_the_largest_job_costs_no_more() {
    let mut job = Bench::idle(indexed(json!({"completions": i32::MAX, "parallelism": 1})));
    job.rerun = Some(IndexSet::parse("0", 1).expect("a set"));
    job.settle();
    assert_eq!(job.running(), [0]);
    assert_eq!(job.status.completed_indexes.to_string(), "1-2147483646");
    job.run().exit(0, 0);
    assert_eq!(job.conditions()[1], "Complete: CompletionsReached");
}
