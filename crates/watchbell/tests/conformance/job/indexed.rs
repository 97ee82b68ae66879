//! Indexed Jobs, and limits for each index.

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
    space.create("jobs", &per_index(job(name, Does::Fail, "Never", 1, 1), 1));
    let job = space.wait_for_condition(name, "Failed", "FailedIndexes");
    assert_eq!(outcome(&job), ("0", "", 2, 0));
    let mut pods = space.list("pods", &format!("labelSelector=batch.kubernetes.io%2Fjob-name%3D{name}"));
    pods.sort_by_key(|pod| pod["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap());
    let counts = pods.iter().map(|pod| {
        pod["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"].as_str().unwrap()
    });
    assert_eq!(counts.collect::<Vec<_>>(), ["0", "1"]);
}
