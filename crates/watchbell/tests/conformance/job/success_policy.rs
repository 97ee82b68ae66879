//! Success before all indexes succeeded.

use serde_json::{Value, json};

use super::space;
use crate::fixtures::{Does, indexed, job};

#[track_caller]
fn check(name: &str, does: Does, (parallelism, completions): (u32, u32), rule: &Value, expect: (&str, u32)) {
    let Some(space) = space() else { return };
    let mut job = indexed(job(name, does, "Never", parallelism, completions));
    job["spec"]["successPolicy"] = json!({"rules": [rule]});
    space.create("jobs", &job);
    space.wait_for_condition(name, "SuccessCriteriaMet", "SuccessPolicy");
    let job = space.wait_for_completion(name, "SuccessPolicy", expect.1);
    let status = &job["status"];
    assert_eq!(status["completedIndexes"], expect.0, "{job:#}");
    assert_eq!(status["active"].as_u64().unwrap_or_default(), 0);
    assert_eq!((status["terminating"].as_u64(), status["ready"].as_u64()), (Some(0), Some(0)));
}

#[test]
fn with_success_policy_should_succeed_when_all_indexes_succeeded() {
    let rule = json!({"succeededIndexes": "0-1"});
    check("with-success-policy-all-index-succeeded", Does::Succeed, (2, 2), &rule, ("0,1", 2));
}

#[test]
fn with_success_policy_succeeded_indexes_rule_should_succeed_even_when_some_indexes_remain_pending() {
    let rule = json!({"succeededIndexes": "0"});
    check("with-succeeded-indexes", Does::NotTerminateOddSucceedEven, (2, 2), &rule, ("0", 1));
}

#[test]
fn with_success_policy_succeeded_count_rule_should_succeed_even_when_some_indexes_remain_pending() {
    let rule = json!({"succeededCount": 1});
    check("with-succeeded-count", Does::NotTerminateOddSucceedEven, (2, 2), &rule, ("0", 1));
}
