//! `status` as clients see it, and as foreign controllers write it.

use serde_json::{Value, json};

use super::bench::{Bench, End, spec};
use crate::controller::job::JobStatus;

#[test]
fn fields_and_their_order() {
    let mut job = Bench::idle(
        json!({"completionMode": "Indexed", "completions": 4, "parallelism": 3, "backoffLimitPerIndex": 0}),
    );
    assert_eq!(job.status.render(&job.spec), json!({}));
    job.settle();
    assert_eq!(
        job.status.render(&job.spec).to_string(),
        r#"{"startTime":"1970-01-01T00:16:40Z","active":3,"terminating":0,"failedIndexes":"","uncountedTerminatedPods":{},"ready":0}"#
    );
    job.run().exit(0, 0).exit(1, 1).run();
    assert_eq!(
        job.status.render(&job.spec).to_string(),
        concat!(
            r#"{"startTime":"1970-01-01T00:16:40Z","active":2,"succeeded":1,"failed":1,"terminating":0,"#,
            r#""completedIndexes":"0","failedIndexes":"1","uncountedTerminatedPods":{},"ready":2}"#
        )
    );
}

#[test]
fn a_finished_job() {
    let mut job = Bench::new(json!({"completions": 1}));
    job.run().end(None, End::Exit(0));
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "lastProbeTime": "1970-01-01T00:16:40Z",
            "lastTransitionTime": "1970-01-01T00:16:40Z", "reason": "CompletionsReached",
            "message": "Reached expected number of succeeded pods",
        })
    };
    assert_eq!(
        job.status.render(&job.spec),
        json!({
            "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
            "startTime": "1970-01-01T00:16:40Z", "completionTime": "1970-01-01T00:16:40Z", "succeeded": 1,
            "terminating": 0, "uncountedTerminatedPods": {}, "ready": 0,
        })
    );
}

#[test]
fn what_a_client_writes_reads_back() {
    let spec = spec(json!({"managedBy": "acme.io/queue", "completions": 5, "completionMode": "Indexed"}));
    let written = json!({
        "conditions": [{
            "type": "Complete", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z", "reason": "Done",
        }, {"type": "acme.io/Seen", "status": "Unknown"}],
        "startTime": "2026-01-02T03:00:00Z", "completionTime": "2026-01-02T03:04:05Z",
        "succeeded": 5, "terminating": 2, "completedIndexes": "0-4", "failedIndexes": "7", "ready": 1,
    });
    let status = JobStatus::default().with_written(&written).expect("is a status");
    assert_eq!(status.render(&spec), written);
    assert_eq!(status.is_finished().map(|end| end.at), Some(1_767_323_045));
}

#[test]
fn what_is_no_status_is_refused_by_field() {
    let check = |written: Value, expect: &str| {
        let error = JobStatus::default().with_written(&written).expect_err("is no status");
        assert_eq!(error.to_string(), expect);
    };
    check(json!({"active": -1}), "status.active: not a count from 0 to 4294967295");
    check(json!({"startTime": "yesterday"}), "status.startTime: not a time of the form 2026-01-02T03:04:05Z");
    check(json!({"conditions": [{"status": "True"}]}), "status.conditions[0].type: required");
    check(
        json!({"conditions": [{"type": "A", "status": "yes"}]}),
        "status.conditions[0].status: not one of True, False, Unknown",
    );
    check(
        json!({"completedIndexes": "3-"}),
        "status.completedIndexes: \"3-\" is neither an index nor a range first-last",
    );
    check(json!({"conditions": vec![json!({}); 65]}), "status.conditions: more than 64");
}
