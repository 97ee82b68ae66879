//! Suspended Jobs, and what may be changed while they are.

use serde_json::{Value, json};

use super::space;
use crate::fixtures::{Does, job};
use crate::space::Space;

fn suspend(space: &Space, name: &str, suspended: bool) -> Value {
    space.update("jobs", name, |job| job["spec"]["suspend"] = json!(suspended))
}

fn is_suspended(job: &Value) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    conditions.is_some_and(|list| list.iter().any(|c| c["type"] == "Suspended" && c["status"] == "True"))
}

#[test]
fn should_not_create_pods_when_created_in_suspend_state() {
    let Some(space) = space() else { return };
    let name = "suspend-true-to-false";
    let mut suspended = job(name, Does::Succeed, "Never", 2, 4);
    suspended["spec"]["suspend"] = json!(true);
    space.create("jobs", &suspended);
    space.wait_for_job(name, "is suspended", is_suspended);
    assert_eq!(space.pods_of(name), Vec::<Value>::new());
    suspend(&space, name, false);
    space.wait_for_condition(name, "SuccessCriteriaMet", "CompletionsReached");
    space.wait_for_completion(name, "CompletionsReached", 4);
}

#[test]
fn should_delete_pods_when_suspended() {
    let Some(space) = space() else { return };
    let name = "suspend-false-to-true";
    let mut running = job(name, Does::NotTerminate, "Never", 2, 4);
    running["spec"]["suspend"] = json!(false);
    space.create("jobs", &running);
    space.wait_for_pods(name, 2, "Running");
    suspend(&space, name, true);
    space.until("its pods are gone", || space.pods_of(name).is_empty().then_some(()));
    let job = space.get("jobs", name);
    assert!(is_suspended(&job), "{job:#}");
}

#[test]
fn should_recreate_pods_only_after_they_have_failed_if_pod_replacement_policy_is_set_to_failed() {
    let Some(space) = space() else { return };
    let name = "pod-recreate-failed";
    let mut job = job(name, Does::EndSlowly, "Never", 1, 1);
    job["spec"]["backoffLimit"] = json!(1);
    job["spec"]["podReplacementPolicy"] = json!("Failed");
    space.create("jobs", &job);
    let pods = space.wait_for_pods(name, 1, "Running");
    let pod = pods[0]["metadata"]["name"].as_str().unwrap();
    space.delete("pods", pod, json!({"gracePeriodSeconds": 30}));
    let counts = |job: &Value| {
        let count = |field: &str| job["status"][field].as_u64().unwrap_or_default();
        (count("active"), count("failed"), job["status"]["terminating"].as_u64())
    };
    space.wait_for_job(name, "has one pod that ends", |job| counts(job) == (0, 0, Some(1)));
    space.wait_for_job(name, "has a new pod", |job| counts(job) == (1, 1, Some(0)));
    let now = space.pods_of(name);
    assert!(now.iter().any(|p| p["metadata"]["name"] != pod), "{now:#?}");
    space.patch("jobs", name, "merge-patch", &json!({"spec": {"suspend": true}}));
}

#[test]
fn should_update_the_status_ready_field() {
    let Some(space) = space() else { return };
    let mut job = job("all-ready", Does::NotTerminate, "Never", 2, 4);
    job["spec"]["suspend"] = json!(true);
    space.create("jobs", &job);
    let ready =
        |count: u32| space.wait_for_job("all-ready", "is as ready", |job| job["status"]["ready"] == count);
    ready(0);
    suspend(&space, "all-ready", false);
    ready(2);
    suspend(&space, "all-ready", true);
    ready(0);
}

#[test]
fn should_allow_to_change_the_pod_resources_of_a_suspended_job() {
    let Some(space) = space() else { return };
    let name = "mutable-resources";
    let mut suspended = job(name, Does::Succeed, "Never", 1, 1);
    suspended["spec"]["suspend"] = json!(true);
    suspended["spec"]["template"]["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": "50m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "32Mi"}});
    space.create("jobs", &suspended);
    space.wait_for_job(name, "is suspended", is_suspended);
    let wanted =
        json!({"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "60m", "memory": "24Mi"}});
    space.update("jobs", name, |job| {
        job["spec"]["template"]["spec"]["containers"][0]["resources"] = wanted.clone();
    });
    suspend(&space, name, false);
    space.wait_for_completion(name, "CompletionsReached", 1);
    let pods = space.pods_of(name);
    assert_eq!(pods.len(), 1);
    assert_eq!(pods[0]["spec"]["containers"][0]["resources"], wanted);
}

#[test]
fn should_allow_to_change_the_pod_resources_of_a_job_that_ran_and_was_suspended() {
    let Some(space) = space() else { return };
    let name = "mutable-again";
    space.create("jobs", &job(name, Does::NotTerminate, "Never", 1, 1));
    space.wait_for_pods(name, 1, "Running");
    suspend(&space, name, true);
    space.until("its pods are gone", || space.pods_of(name).is_empty().then_some(()));
    space.wait_for_job(name, "is suspended", is_suspended);
    let wanted = json!({"requests": {"cpu": "30m"}});
    space.update("jobs", name, |job| {
        let pod = &mut job["spec"]["template"]["spec"];
        pod["containers"][0]["resources"] = wanted.clone();
        pod["nodeSelector"] = json!({"kubernetes.io/os": "linux"});
    });
    suspend(&space, name, false);
    let pods = space.wait_for_pods(name, 1, "Running");
    assert_eq!(pods[0]["spec"]["containers"][0]["resources"], wanted);
    assert_eq!(pods[0]["spec"]["nodeSelector"]["kubernetes.io/os"], "linux");
}

#[test]
fn should_not_allow_to_change_the_pod_resources_of_a_job_that_runs() {
    let Some(space) = space() else { return };
    let name = "immutable-resources";
    space.create("jobs", &job(name, Does::NotTerminate, "Never", 1, 1));
    space.wait_for_pods(name, 1, "Running");
    let patch = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "c", "resources": {"requests": {"cpu": "70m"}}},
    ]}}}});
    space.try_patch("jobs", name, "strategic-merge-patch", &patch).refused(422, "Invalid");
}
