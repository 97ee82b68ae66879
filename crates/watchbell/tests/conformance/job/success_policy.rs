//! Success before all indexes succeeded.

use serde_json::{Value, json};

use super::{check_at_rest, space};
use crate::fixtures::{Does, indexed, job};

#[track_caller]
fn check(name: &str, does: Does, (parallelism, completions): (u32, u32), rule: &Value, expect: (&str, u32)) {
    let Some(space) = space() else { return };
    let mut job = indexed(job(name, does, "Never", parallelism, completions));
    job["spec"]["backoffLimit"] = json!(i32::MAX);
    job["spec"]["successPolicy"] = json!({"rules": [rule]});
    space.create("jobs", &job);
    space.wait_for_condition(name, "SuccessCriteriaMet", "SuccessPolicy");
    let job = space.wait_for_completion(name, "SuccessPolicy", expect.1);
    assert_eq!(job["status"]["completedIndexes"], expect.0, "{job:#}");
    check_at_rest(&job);
}

#[test]
fn with_success_policy_should_succeeded_when_all_indexes_succeeded() {
    let rule = json!({"succeededCount": 2});
    check("with-success-policy-all-index-succeeded", Does::Nothing, (2, 2), &rule, ("0,1", 2));
}

#[test]
fn with_success_policy_succeeded_indexes_rule_should_succeeded_even_when_some_indexes_remain_pending() {
    let rule = json!({"succeededIndexes": "0"});
    check("with-success-policy-succeeded-indexed", Does::FailOddSucceedEven, (2, 5), &rule, ("0", 1));
}

#[test]
fn with_success_policy_succeeded_count_rule_should_succeeded_even_when_some_indexes_remain_pending() {
    let rule = json!({"succeededCount": 1});
    check("with-success-policy-succeeded-count", Does::FailOddSucceedEven, (2, 5), &rule, ("0", 1));
}

#[test]
fn with_success_policy_met_the_pods_that_still_run_are_ended() {
    let rule = json!({"succeededIndexes": "0", "succeededCount": 1});
    check("with-pods-that-run", Does::NotTerminateOddSucceedEven, (2, 2), &rule, ("0", 1));
}
