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
        }, {"type": "SuccessCriteriaMet", "status": "True"}, {"type": "acme.io/Seen", "status": "Unknown"}],
        "startTime": "2026-01-02T03:00:00Z", "completionTime": "2026-01-02T03:04:05Z",
        "succeeded": 5, "completedIndexes": "0-4", "failedIndexes": "7",
    });
    let status = JobStatus::default().with_written(&written, false).expect("is a status");
    assert_eq!(status.render(&spec), written);
    assert_eq!(status.is_finished().map(|end| end.at), Some(1_767_323_045));
}

#[test]
fn what_is_no_status_is_refused_by_field() {
    let check = |written: Value, expect: &str| {
        let error = JobStatus::default().with_written(&written, false).expect_err("is no status");
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

fn conditions(kinds: &[&str]) -> Value {
    kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect()
}

#[test]
fn no_client_writes_what_cannot_follow() {
    let check = |before: &Value, change: Value, expect: &str| {
        let before = JobStatus::default().with_written(before, false).expect("is a status");
        let mut written = before.render(&spec(json!({"completionMode": "Indexed", "completions": 9})));
        for (field, value) in change.as_object().expect("an object") {
            written[field] = value.clone();
        }
        match before.with_written(&written, false) {
            Ok(_) => assert_eq!(expect, "", "{change}"),
            Err(error) => assert_eq!(error.to_string(), expect, "{change}"),
        }
    };
    let at = |minute: u32| json!(format!("2026-01-02T03:{minute:02}:00Z"));
    let runs = json!({
        "startTime": at(4), "active": 2, "ready": 1, "succeeded": 3, "failed": 2, "completedIndexes": "0-2",
        "failedIndexes": "5",
    });
    check(&runs, json!({"active": 3, "ready": 2, "succeeded": 4, "completedIndexes": "0-3"}), "");
    check(&runs, json!({"failed": 1}), "status.failed: cannot decrease the failed counter");
    let fewer = "status.succeeded: cannot decrease the succeeded counter by more than the completed indexes that are taken \
                 back";
    check(&runs, json!({"succeeded": 2}), fewer);
    check(&runs, json!({"succeeded": 1, "completedIndexes": "0,1"}), fewer);
    check(&runs, json!({"succeeded": 2, "completedIndexes": "0,1"}), "");
    check(&runs, json!({"ready": 3}), "status.ready: cannot set more ready pods than active");
    let overlap = "status.failedIndexes: failedIndexes and completedIndexes overlap";
    check(&runs, json!({"failedIndexes": "2,5"}), overlap);
    let early = "status.completionTime: cannot set completionTime when there is no Complete=True condition";
    check(&runs, json!({"completionTime": at(9)}), early);

    let end = |kinds: &[&str], more: Value| {
        let mut end = json!({"conditions": conditions(kinds), "active": 0, "ready": 0});
        for (field, value) in more.as_object().expect("an object") {
            end[field] = value.clone();
        }
        end
    };
    let (complete, failed) = (["SuccessCriteriaMet", "Complete"], ["FailureTarget", "Failed"]);
    check(&runs, end(&complete, json!({"completionTime": at(9)})), "");
    check(&runs, end(&failed, json!({})), "");
    let cases = [
        (&complete[..], json!({}), "completionTime: completionTime is required for Complete jobs"),
        (
            &complete,
            json!({"completionTime": at(3)}),
            "completionTime: completionTime cannot be set before startTime",
        ),
        (&failed, json!({"active": 1}), "active: active>0 is invalid for finished job"),
        (&failed, json!({"terminating": 1}), "terminating: terminating>0 is invalid for finished job"),
        (&failed, json!({"startTime": null}), "startTime: startTime is required for finished job"),
        (
            &["Failed"],
            json!({}),
            "conditions: cannot set Failed=True condition without the FailureTarget=True condition",
        ),
        (
            &["Complete"],
            json!({"completionTime": at(9)}),
            "conditions: cannot set Complete=True condition without the SuccessCriteriaMet=True condition",
        ),
        (
            &["FailureTarget", "Failed", "Complete"],
            json!({"completionTime": at(9)}),
            "conditions: cannot set Complete=True and Failed=True conditions",
        ),
        (
            &["FailureTarget", "Complete"],
            json!({"completionTime": at(9)}),
            "conditions: cannot set Complete=True and FailureTarget=True conditions",
        ),
        (
            &["FailureTarget", "SuccessCriteriaMet"],
            json!({}),
            "conditions: cannot set SuccessCriteriaMet=True and Failed=True or FailureTarget=True conditions",
        ),
    ];
    for (kinds, more, expect) in cases {
        check(&runs, end(kinds, more), &format!("status.{expect}"));
    }

    let done = json!({
        "conditions": conditions(&complete), "startTime": at(4), "completionTime": at(9), "succeeded": 9,
        "completedIndexes": "0-8",
    });
    check(&done, json!({}), "");
    let disabled = "status.conditions: cannot disable the terminal Complete=True condition";
    check(&done, json!({"conditions": null}), disabled);
    check(&done, json!({"conditions": [{"type": "Complete", "status": "False"}]}), disabled);
    check(
        &done,
        json!({"completionTime": at(10)}),
        "status.completionTime: completionTime cannot be mutated",
    );
    let ends = json!({"conditions": conditions(&["FailureTarget"]), "startTime": at(4)});
    let disabled = "status.conditions: cannot disable the terminal FailureTarget=True condition";
    check(&ends, json!({"conditions": []}), disabled);
    let meets = json!({"conditions": conditions(&["SuccessCriteriaMet"]), "startTime": at(4)});
    let disabled = "status.conditions: cannot disable the SuccessCriteriaMet=True condition";
    check(&meets, json!({"conditions": []}), disabled);
    // That it is suspended is for its spec to say.
    let never_began = json!({
        "conditions": conditions(&["Suspended", "SuccessCriteriaMet", "Complete"]), "completionTime": at(9),
    });
    check(&json!({}), never_began.clone(), "status.startTime: startTime is required for finished job");
    let begun = JobStatus::default().with_written(&never_began, true);
    begun.expect("a suspended Job of no completions never begins");
}

#[test]
fn an_index_that_a_client_takes_back_runs_as_another_pod() {
    for (limit, exit_code) in [(None, 0), (Some(0), 1)] {
        let mut fields = json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3});
        if let Some(limit) = limit {
            fields["backoffLimitPerIndex"] = limit.into();
        }
        let mut job = Bench::new(fields);
        job.run().exit(0, exit_code);
        assert_eq!(job.running(), [1, 2]);
        let mut written = job.status.render(&job.spec);
        for (field, value) in
            [("completedIndexes", json!("")), ("failedIndexes", json!("")), ("succeeded", json!(0))]
        {
            written[field] = value;
        }
        job.status =
            job.status.with_written(&written, false).expect("an elastic Job may have been scaled down");
        job.settle();
        assert_eq!(job.running(), [0, 1, 2]);
        let again = job.created.last().map(|pod| (pod.index, pod.attempt));
        assert_eq!(again, Some((Some(0), 1)), "no attempt is used twice");
    }
}
