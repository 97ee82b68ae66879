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
fn should_allow_to_use_a_pod_failure_policy_to_ignore_failure_matching_on_exit_code() {
    let Some(space) = space() else { return };
    let name = "fail-pod-ignore-on-exit-code";
    let mut failing = indexed(job_on(name, Does::FailOncePerIndex, "Never", 2, 2, &space.place()));
    failing["spec"]["backoffLimit"] = json!(1);
    failing["spec"]["podFailurePolicy"] = json!({"rules": [on_exit("Ignore", &[42])]});
    space.create("jobs", &failing);
    space.wait_for_completion(name, "CompletionsReached", 2);
}

/// All pods are evicted; `rules` forgive it.
#[track_caller]
fn check_evicted(space: &Space, name: &str, rules: &Value) {
    let mut job = indexed(job_on(name, Does::NotTerminateOncePerIndex, "Never", 2, 2, &space.place()));
    job["spec"]["backoffLimit"] = json!(1);
    job["spec"]["podFailurePolicy"] = json!({"rules": rules});
    let warned = space.try_create("jobs", &job);
    warned.ok();
    space.wait_for_job(name, "has two pods that are ready", |job| job["status"]["ready"] == 2);
    let running = space.wait_for_pods(name, 2, "Running");
    for pod in &running {
        let pod = pod["metadata"]["name"].as_str().unwrap();
        space.evict(pod);
        space.until("the evicted pod is gone", || (space.try_get("pods", pod).code == 404).then_some(()));
    }
    space.wait_for_completion(name, "CompletionsReached", 2);
}

#[test]
fn should_allow_to_use_a_pod_failure_policy_to_ignore_failure_matching_on_disruption_target_condition() {
    let Some(space) = space() else { return };
    let disrupted =
        json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
    check_evicted(&space, "evicted-pod-ignore-on-disruption-condition", &json!([disrupted]));
}

#[test]
fn should_allow_to_use_a_pod_failure_policy_to_ignore_failure_for_an_evicted_pod_matching_on_the_exit_code() {
    let Some(space) = space() else { return };
    check_evicted(&space, "evicted-pod-ignore-on-exit-code", &json!([on_exit("Ignore", &[137])]));
}
