//! Jobs that run to their end, good or bad.

use serde_json::json;

use super::{check_at_rest, space};
use crate::fixtures::{Does, job, job_on};

#[test]
fn should_run_a_job_to_completion_when_tasks_succeed() {
    let Some(space) = space() else { return };
    space.create("jobs", &job("all-succeed", Does::Succeed, "Never", 2, 4));
    space.wait_for_condition("all-succeed", "SuccessCriteriaMet", "CompletionsReached");
    space.wait_for_completion("all-succeed", "CompletionsReached", 4);
    let pods = space.pods_of("all-succeed");
    assert_eq!(pods.iter().filter(|pod| pod["status"]["phase"] == "Succeeded").count(), 4);
}

#[test]
fn should_run_a_job_to_completion_when_tasks_sometimes_fail_and_are_locally_restarted() {
    let Some(space) = space() else { return };
    space.create("jobs", &job("fail-once-local", Does::FailOnce, "OnFailure", 2, 4));
    space.wait_for_completion("fail-once-local", "CompletionsReached", 4);
}

#[test]
fn should_run_a_job_to_completion_when_tasks_sometimes_fail_and_are_not_locally_restarted() {
    let Some(space) = space() else { return };
    let place = space.place();
    space.create("jobs", &job_on("fail-once-non-local", Does::FailOnce, "Never", 2, 4, &place));
    space.wait_for_condition("fail-once-non-local", "SuccessCriteriaMet", "CompletionsReached");
    check_at_rest(&space.wait_for_completion("fail-once-non-local", "CompletionsReached", 4));
}

#[test]
fn should_fail_when_exceeds_active_deadline() {
    let Some(space) = space() else { return };
    let mut late = job("exceed-active-deadline", Does::NotTerminate, "Never", 2, 4);
    late["spec"]["activeDeadlineSeconds"] = json!(1);
    space.create("jobs", &late);
    space.wait_for_condition("exceed-active-deadline", "FailureTarget", "DeadlineExceeded");
    check_at_rest(&space.wait_for_condition("exceed-active-deadline", "Failed", "DeadlineExceeded"));
}

#[test]
fn should_fail_to_exceed_backoff_limit() {
    let Some(space) = space() else { return };
    let mut failing = job("backofflimit", Does::Fail, "Never", 1, 1);
    failing["spec"]["backoffLimit"] = json!(1);
    space.create("jobs", &failing);
    space.wait_for_condition("backofflimit", "FailureTarget", "BackoffLimitExceeded");
    check_at_rest(&space.wait_for_condition("backofflimit", "Failed", "BackoffLimitExceeded"));
    let pods = space.pods_of("backofflimit");
    assert_eq!(pods.len(), 2);
    assert!(pods.iter().all(|pod| pod["status"]["phase"] == "Failed"), "{pods:#?}");
}

#[test]
fn should_run_a_job_to_completion_with_cpu_requests() {
    let Some(space) = space() else { return };
    let strict = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
    });
    let probe = json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "without-label", "labels": {"name": "restricted"}, "annotations": {}},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "without-label", "image": crate::fixtures::PAUSE, "resources": {}, "securityContext": strict,
            }],
            "terminationGracePeriodSeconds": 1,
        },
        "status": {},
    });
    space.create("pods", &probe);
    let node = space.until("the pod runs", || {
        let pod = space.get("pods", "without-label");
        (pod["status"]["phase"] == "Running").then(|| pod["spec"]["nodeName"].as_str().unwrap().to_owned())
    });
    space.delete("pods", "without-label", json!({"gracePeriodSeconds": 0}));
    let node = space.suite.get(&format!("/api/v1/nodes/{node}")).ok();
    let cores = node["status"]["allocatable"]["cpu"].as_str().unwrap();
    // Whole cores, rounded up, as a Go client reads the quantity.
    let milli =
        cores.strip_suffix('m').map_or_else(|| cores.parse::<u32>().unwrap() * 1000, |m| m.parse().unwrap());
    let request = milli.div_ceil(1000) / 5;

    let mut many = job("all-succeed", Does::Succeed, "Never", 90, 90);
    many["spec"]["backoffLimit"] = json!(0);
    let pod = &mut many["spec"]["template"]["spec"];
    pod["containers"][0]["resources"] = json!({"requests": {"cpu": request.to_string()}});
    pod["nodeSelector"] = json!({"kubernetes.io/hostname": node["metadata"]["name"]});
    space.create("jobs", &many);
    space.wait_for_condition("all-succeed", "SuccessCriteriaMet", "CompletionsReached");
    space.wait_for_completion("all-succeed", "CompletionsReached", 90);
    let pods = space.pods_of("all-succeed");
    assert_eq!(pods.iter().filter(|pod| pod["status"]["phase"] == "Succeeded").count(), 90);
}
