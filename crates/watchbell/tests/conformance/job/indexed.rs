//! Indexed Jobs, and limits for each index.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::space;
use crate::fixtures::{Does, indexed, job, on_exit, per_index};

#[test]
fn should_create_pods_for_an_indexed_job_with_completion_indexes_and_specified_hostname() {
    let Some(space) = space() else { return };
    space.create("jobs", &indexed(job("indexed-job", Does::Succeed, "Never", 2, 4)));
    space.wait_for_completion("indexed-job", "CompletionsReached", 4);
    let mut seen = BTreeSet::new();
    for pod in space.pods_of("indexed-job") {
        assert_eq!(pod["status"]["phase"], "Succeeded");
        let index =
            pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str().unwrap();
        assert_eq!(pod["spec"]["hostname"], format!("indexed-job-{index}"));
        seen.insert(index.to_owned());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}

#[test]
fn should_create_pods_with_completion_indexes_for_an_indexed_job() {
    let Some(space) = space() else { return };
    space.create("jobs", &indexed(job("indexed-job", Does::Succeed, "Never", 2, 4)));
    space.wait_for_completion("indexed-job", "CompletionsReached", 4);
    let pods = space.pods_of("indexed-job");
    let seen = pods
        .iter()
        .map(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"].as_str().unwrap());
    assert_eq!(seen.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}

/// The failed and the completed indexes, and how often pods failed and succeeded.
fn outcome(job: &Value) -> (&str, &str, u64, u64) {
    let status = &job["status"];
    let text = |field: &str| status[field].as_str().unwrap_or_default();
    let count = |field: &str| status[field].as_u64().unwrap_or_default();
    (text("failedIndexes"), text("completedIndexes"), count("failed"), count("succeeded"))
}

#[test]
fn should_execute_all_indexes_despite_some_failing_when_using_backoff_limit_per_index() {
    let Some(space) = space() else { return };
    let name = "with-backoff-limit-per-index";
    space.create("jobs", &per_index(job(name, Does::FailOddSucceedEven, "Never", 2, 4), 1));
    space.wait_for_condition(name, "FailureTarget", "FailedIndexes");
    let job = space.wait_for_condition(name, "Failed", "FailedIndexes");
    assert_eq!(outcome(&job), ("1,3", "0,2", 4, 2));
}

#[test]
fn should_terminate_job_execution_when_the_number_of_failed_indexes_exceeds_max_failed_indexes() {
    let Some(space) = space() else { return };
    let name = "with-max-failed-indexes";
    let mut failing = per_index(job(name, Does::Fail, "Never", 1, 4), 0);
    failing["spec"]["maxFailedIndexes"] = json!(0);
    space.create("jobs", &failing);
    space.wait_for_condition(name, "FailureTarget", "MaxFailedIndexesExceeded");
    let job = space.wait_for_condition(name, "Failed", "MaxFailedIndexesExceeded");
    assert_eq!(outcome(&job), ("0", "", 1, 0));
}

#[test]
fn should_mark_indexes_as_failed_when_the_fail_index_action_is_matched_in_pod_failure_policy() {
    let Some(space) = space() else { return };
    let name = "matching-fail-index-action";
    let mut failing = per_index(job(name, Does::FailOddSucceedEven, "Never", 2, 2), 1);
    failing["spec"]["podFailurePolicy"] = json!({"rules": [on_exit("FailIndex", &[1])]});
    space.create("jobs", &failing);
    space.wait_for_condition(name, "FailureTarget", "FailedIndexes");
    let job = space.wait_for_condition(name, "Failed", "FailedIndexes");
    assert_eq!(outcome(&job), ("1", "0", 1, 1));
}

#[test]
fn should_record_the_failure_count_in_the_pod_annotation_when_using_backoff_limit_per_index() {
    let Some(space) = space() else { return };
    let name = "e2e-backofflimitperindex";
    space.create("jobs", &per_index(job(name, Does::Fail, "Never", 2, 2), 1));
    // As an informer sees them, until each index had its two pods.
    let selector = format!("labelSelector=batch.kubernetes.io%2Fjob-name%3D{name}");
    let seen = RefCell::new(BTreeSet::new());
    let list = format!(
        "{selector}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    space.watch_until(&space.path("pods", ""), &list, |event| {
        let annotations = &event["object"]["metadata"]["annotations"];
        let text =
            |name: &str| annotations[format!("batch.kubernetes.io/{name}")].as_str().unwrap().to_owned();
        if event["type"] != "BOOKMARK" {
            seen.borrow_mut().insert((text("job-completion-index"), text("job-index-failure-count")));
        }
        seen.borrow().len() == 4
    });
    let counts = ["0", "1"].map(|index| ["0", "1"].map(|count| (index.to_owned(), count.to_owned())));
    assert_eq!(seen.into_inner(), counts.concat().into_iter().collect());
    let job = space.wait_for_condition(name, "Failed", "FailedIndexes");
    assert_eq!(outcome(&job), ("0,1", "", 4, 0));
}
