//! Rules of a container's own about when it is started again.

use serde_json::json;

use super::{check_at_rest, space};
use crate::fixtures::{Does, job, job_on, on_exit};

#[test]
fn containers_restarted_by_container_restart_policy_should_not_trigger_pod_failure_policy() {
    let Some(space) = space() else { return };
    let mut job = job_on("managed-by", Does::FailOnce, "Never", 1, 1, &space.place());
    job["spec"]["backoffLimit"] = json!(1);
    let mut rule = on_exit("FailJob", &[1]);
    rule["onExitCodes"]["containerName"] = json!("c");
    job["spec"]["podFailurePolicy"] = json!({"rules": [rule]});
    job["spec"]["template"]["spec"]["containers"][0]["restartPolicy"] = json!("OnFailure");
    space.create("jobs", &job);
    let done = space.wait_for_completion("managed-by", "CompletionsReached", 1);
    check_at_rest(&done);
}

#[test]
fn should_not_trigger_the_pod_failure_policy_when_a_container_restart_rule_matches() {
    let Some(space) = space() else { return };
    let name = "restart-rules";
    let mut job = job(name, Does::FailOnce, "Never", 1, 1);
    job["spec"]["backoffLimit"] = json!(0);
    job["spec"]["podFailurePolicy"] = json!({"rules": [on_exit("FailJob", &[1])]});
    let container = &mut job["spec"]["template"]["spec"]["containers"][0];
    container["restartPolicy"] = json!("Never");
    container["restartPolicyRules"] =
        json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]);
    space.create("jobs", &job);
    space.wait_for_completion(name, "CompletionsReached", 1);
    let pods = space.pods_of(name);
    assert_eq!(pods.len(), 1, "{pods:#?}");
    assert_eq!(pods[0]["status"]["containerStatuses"][0]["restartCount"], 1);
}

#[test]
fn should_trigger_the_pod_failure_policy_when_no_container_restart_rule_matches() {
    let Some(space) = space() else { return };
    let name = "no-restart-rule";
    let mut job = job(name, Does::Fail, "Never", 1, 1);
    job["spec"]["podFailurePolicy"] = json!({"rules": [on_exit("FailJob", &[1])]});
    let container = &mut job["spec"]["template"]["spec"]["containers"][0];
    container["restartPolicy"] = json!("Never");
    container["restartPolicyRules"] =
        json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    space.create("jobs", &job);
    space.wait_for_condition(name, "Failed", "PodFailurePolicy");
}
