//! `podFailurePolicy` (KEP-3329): the rules against pods, and what they do to the Job.

use serde_json::{Value, json};

use super::bench::{Bench, End};

fn job(rules: Value, fields: Value) -> Bench {
    let mut all = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3, "podFailurePolicy": {"rules": rules}});
    for (field, value) in fields.as_object().expect("an object") {
        all[field] = value.clone();
    }
    let mut bench = Bench::new(all);
    bench.run();
    bench
}

fn on_exit(action: &str, operator: &str, values: &[i32]) -> Value {
    json!({"action": action, "onExitCodes": {"operator": operator, "values": values}})
}

#[test]
fn a_fatal_exit_code_fails_the_job() {
    let mut job =
        job(json!([on_exit("Ignore", "In", &[40]), on_exit("FailJob", "In", &[41, 42])]), json!({}));
    job.exit(1, 42);
    assert_eq!(job.conditions(), ["FailureTarget: PodFailurePolicy"]);
    assert_eq!(job.counts(), (0, 0, 3, 2));
    job.end_deleting();
    let condition = &job.status.render(&job.spec)["conditions"][1];
    assert_eq!(condition["type"], "Failed");
    assert_eq!(
        condition["message"],
        "Container main for pod ml/train-1-0 failed with exit code 42 matching FailJob rule at index 1"
    );
    assert_eq!(job.events.len(), 1);
    assert!(job.events[0].starts_with("Warning PodFailurePolicy Container main"));
}

#[test]
fn a_disruption_is_ignored() {
    let rule = json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]});
    let mut job = job(json!([rule]), json!({"backoffLimit": 0}));
    job.end(Some(0), End::Disrupted);
    assert_eq!(job.counts(), (2, 0, 0, 0));
    assert!(job.conditions().is_empty());
    // It waits all the same.
    assert_eq!(job.sleep(), 10);
    job.run().exit(0, 1);
    assert_eq!(job.conditions(), ["FailureTarget: BackoffLimitExceeded"]);
}

#[test]
fn a_condition_fails_the_job_with_its_name() {
    let rule =
        json!({"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
    let mut job = job(json!([rule]), json!({}));
    job.end(Some(2), End::Disrupted);
    let message = &job.status.render(&job.spec)["conditions"][0]["message"];
    assert_eq!(message, "Pod ml/train-2-0 has condition DisruptionTarget matching FailJob rule at index 0");
}

#[test]
fn the_first_rule_that_matches_decides() {
    // Rules, exit code, (counted failures, Job failed, index failed).
    let count = || on_exit("Count", "In", &[5]);
    let cases: [(Value, i32, (u32, bool, bool)); 9] = [
        (json!([]), 5, (1, false, false)),
        (json!([count(), on_exit("FailJob", "NotIn", &[7])]), 5, (1, false, false)),
        (json!([on_exit("FailJob", "NotIn", &[7]), count()]), 5, (3, true, false)),
        (json!([on_exit("FailJob", "NotIn", &[5])]), 5, (1, false, false)),
        (json!([on_exit("Ignore", "In", &[5])]), 5, (0, false, false)),
        (json!([on_exit("FailIndex", "In", &[5])]), 5, (1, false, true)),
        (json!([on_exit("FailIndex", "In", &[6])]), 5, (1, false, false)),
        (
            json!([{"action": "FailJob", "onExitCodes": {"containerName": "init", "operator": "In", "values": [5]}}]),
            5,
            (1, false, false),
        ),
        (
            json!([{"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [5]}}]),
            5,
            (3, true, false),
        ),
    ];
    for (rules, code, (failed, job_failed, index_failed)) in cases {
        let mut job = job(rules.clone(), json!({"backoffLimitPerIndex": 3}));
        job.exit(0, code);
        assert_eq!(job.status.failed, failed, "{rules}");
        assert_eq!(!job.conditions().is_empty(), job_failed, "{rules}");
        assert_eq!(job.status.failed_indexes.contains(0), index_failed, "{rules}");
    }
}

#[test]
fn ignored_failures_do_not_use_up_an_index() {
    let mut job = job(
        json!([on_exit("Ignore", "In", &[9])]),
        json!({"backoffLimitPerIndex": 1, "parallelism": 1, "completions": 1}),
    );
    let mut waits = Vec::new();
    for _ in 0..4 {
        job.run().exit(0, 9);
        waits.push(job.sleep());
    }
    assert_eq!(waits, [10, 20, 40, 80]);
    let last = job.created.last().expect("created");
    assert_eq!((last.failure_count, last.ignored_failure_count), (0, 4));
    job.run().exit(0, 1);
    assert!(job.status.failed_indexes.is_empty());
    job.sleep();
    job.run().exit(0, 1);
    assert!(job.status.failed_indexes.contains(0));
    assert_eq!(job.status.failed, 2);
}

#[test]
fn a_rule_is_not_asked_after_the_verdict() {
    let policy = json!({"rules": [{"succeededCount": 1}]});
    let mut job = job(json!([on_exit("FailJob", "In", &[143])]), json!({"successPolicy": policy}));
    job.exit(0, 0);
    job.end_deleting();
    assert_eq!(job.conditions()[1], "Complete: SuccessPolicy");
    assert_eq!(job.counts(), (0, 1, 0, 0));
}
