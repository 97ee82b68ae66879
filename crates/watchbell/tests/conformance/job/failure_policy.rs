//! Rules of a pod failure policy, and pods that are evicted.

use serde_json::{Value, json};

use super::space;
use crate::fixtures::{Does, indexed, job_on, on_exit};
use crate::space::Space;

#[test]
fn should_allow_to_use_the_pod_failure_policy_on_exit_code_to_fail_the_job_early() {
    let Some(space) = space() else { return };
    let name = "pod-failure-failjob";
    let mut failing = job_on(name, Does::FailOnce, "Never", 2, 4, &space.place());
    failing["spec"]["podFailurePolicy"] = json!({"rules": [on_exit("FailJob", &[1])]});
    space.create("jobs", &failing);
    space.wait_for_condition(name, "FailureTarget", "PodFailurePolicy");
    space.wait_for_condition(name, "Failed", "PodFailurePolicy");
}

#[test]
fn should_allow_to_use_the_pod_failure_policy_to_not_count_the_failure_towards_the_backoff_limit() {
    let Some(space) = space() else { return };
    let name = "pod-failure-ignore";
    let mut failing = job_on(name, Does::FailOnce, "Never", 2, 4, &space.place());
    failing["spec"]["backoffLimit"] = json!(0);
    failing["spec"]["podFailurePolicy"] = json!({"rules": [on_exit("Ignore", &[1])]});
    space.create("jobs", &failing);
    space.wait_for_condition(name, "SuccessCriteriaMet", "CompletionsReached");
    space.wait_for_completion(name, "CompletionsReached", 4);
}

/// Index 0 is evicted; `rules` forgive it.
#[track_caller]
fn check_evicted(space: &Space, name: &str, rules: &Value) {
    let mut job = indexed(job_on(name, Does::NotTerminateOnce, "Never", 2, 4, &space.place()));
    job["spec"]["backoffLimit"] = json!(0);
    job["spec"]["podFailurePolicy"] = json!({"rules": rules});
    space.create("jobs", &job);
    space.wait_for_pods(name, 3, "Succeeded");
    let running = space.wait_for_pods(name, 1, "Running");
    let pod = running[0]["metadata"]["name"].as_str().unwrap();
    space.evict(pod);
    space.until("the evicted pod is gone", || (space.try_get("pods", pod).code == 404).then_some(()));
    space.wait_for_condition(name, "SuccessCriteriaMet", "CompletionsReached");
    space.wait_for_completion(name, "CompletionsReached", 4);
}

#[test]
#[ignore = "evictions are not served yet"]
fn should_allow_to_use_a_pod_failure_policy_to_ignore_failure_for_an_evicted_pod_matching_on_the_exit_code() {
    let Some(space) = space() else { return };
    check_evicted(&space, "evicted-pod-ignore-on-exit-code", &json!([on_exit("Ignore", &[1, 137])]));
}

#[test]
#[ignore = "evictions are not served yet"]
fn should_allow_to_use_a_pod_failure_policy_to_ignore_failure_matching_on_disruption_target_condition() {
    let Some(space) = space() else { return };
    let disrupted =
        json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
    let rules = json!([on_exit("Ignore", &[1]), disrupted]);
    check_evicted(&space, "evicted-pod-ignore-on-disruption-condition", &rules);
}
