//! Jobs as objects: their status, labels, watches, deletion, and the pods they own.

use serde_json::{Value, json};

use super::space;
use crate::fixtures::{Does, job};

#[test]
fn should_remove_pods_when_job_is_deleted() {
    let Some(space) = space() else { return };
    space.create("jobs", &job("all-pods-removed", Does::NotTerminate, "Never", 2, 4));
    space.wait_for_pods("all-pods-removed", 2, "Running");
    space.delete_and_wait("all-pods-removed");
    assert_eq!(space.pods_of("all-pods-removed"), Vec::<Value>::new());
}

#[test]
fn should_delete_a_job() {
    let Some(space) = space() else { return };
    space.create("jobs", &job("foo", Does::NotTerminate, "Never", 2, 4));
    space.wait_for_pods("foo", 2, "Running");
    space.delete_and_wait("foo");
    space.try_get("jobs", "foo").refused(404, "NotFound");
}

#[test]
fn should_adopt_matching_orphans_and_release_non_matching_pods() {
    let Some(space) = space() else { return };
    let job = space.create("jobs", &job("adopt-release", Does::NotTerminate, "Never", 2, 4));
    let pods = space.wait_for_pods("adopt-release", 2, "Running");
    let pod = pods[0]["metadata"]["name"].as_str().unwrap();
    // A Go client leaves an empty list out.
    space.update("pods", pod, |pod| {
        pod["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    });
    let controller = |pod: &Value| {
        let owners = pod["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        owners.into_iter().find(|owner| owner["controller"] == true)
    };
    let owner = space.until("the Job adopts the pod", || controller(&space.get("pods", pod)));
    assert_eq!(
        (&owner["kind"], &owner["name"], &owner["uid"]),
        (&json!("Job"), &json!("adopt-release"), &job["metadata"]["uid"])
    );
    space.update("pods", pod, |pod| {
        pod["metadata"].as_object_mut().unwrap().remove("labels");
    });
    space.until("the Job releases the pod", || controller(&space.get("pods", pod)).is_none().then_some(()));
}

#[test]
fn should_apply_changes_to_a_job_status() {
    let Some(space) = space() else { return };
    let name = "suspend-false-to-true";
    let job = space.create("jobs", &job(name, Does::NotTerminate, "Never", 2, 4));
    space.wait_for_pods(name, 2, "Running");
    let time = |job: &Value| {
        let conditions = job["status"]["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|c| c["type"] == "CustomConditionType");
        found.map(|c| c["lastTransitionTime"].clone())
    };
    let condition = |at: &str| json!({"type": "CustomConditionType", "status": "True", "lastProbeTime": null, "lastTransitionTime": at});
    let first = "2026-02-03T04:05:06Z";
    let patch = json!({
        "metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"conditions": [condition(first)]},
    });
    let patched = space.patch("jobs", &format!("{name}/status"), "merge-patch", &patch);
    assert_eq!(time(&patched), Some(json!(first)), "{patched:#}");
    assert_eq!(patched["metadata"]["annotations"]["patchedstatus"], "true");
    let second = "2026-02-03T04:05:07Z";
    // Read from the Job itself, as the test does.
    let updated = loop {
        let mut job = space.get("jobs", name);
        assert!(time(&job).is_some(), "{job:#}");
        for condition in job["status"]["conditions"].as_array_mut().unwrap() {
            if condition["type"] == "CustomConditionType" {
                condition["lastTransitionTime"] = json!(second);
            }
        }
        let path = space.path("jobs", &format!("{name}/status"));
        let answer = space.suite.send("PUT", &path, &job);
        if answer.code != 409 {
            break answer.ok();
        }
    };
    assert_eq!(time(&updated), Some(json!(second)), "{updated:#}");
    let got = space.get("jobs", &format!("{name}/status"));
    assert_eq!(got["metadata"]["uid"], job["metadata"]["uid"]);
}

#[test]
fn should_manage_the_lifecycle_of_a_job() {
    let Some(space) = space() else { return };
    let name = "e2e-x7k2p";
    let label = json!({"e2e-job-label": format!("{name}-{}", space.name)});
    let selector = format!("labelSelector=e2e-job-label%3D{name}-{}", space.name);
    let jobs = space.path("jobs", "");
    let everywhere = format!("/apis/batch/v1/jobs?{selector}");
    let listed = space.suite.get(&format!("{jobs}?{selector}")).ok();
    let begin = listed["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut suspended = job(name, Does::Succeed, "Never", 2, 4);
    suspended["metadata"]["labels"] = label;
    suspended["spec"]["suspend"] = json!(true);
    space.create("jobs", &suspended);

    let patch = json!({"metadata": {"labels": {name: "patched"}}});
    let patched = space.patch("jobs", name, "strategic-merge-patch", &patch);
    assert_eq!(patched["metadata"]["labels"][name], "patched");
    let since = |version: &str| format!("resourceVersion={version}&allowWatchBookmarks=true&{selector}");
    space.watch_until(&jobs, &since(&begin), |event| {
        event["type"] == "MODIFIED" && event["object"]["metadata"]["labels"][name] == "patched"
    });
    let updated = space.update("jobs", name, |job| {
        job["spec"]["suspend"] = json!(false);
        job["metadata"]["annotations"]["updated"] = json!("true");
    });
    assert_eq!(updated["metadata"]["annotations"]["updated"], "true");
    let version = patched["metadata"]["resourceVersion"].as_str().unwrap();
    space.watch_until(&jobs, &since(version), |event| {
        event["type"] == "MODIFIED" && event["object"]["metadata"]["annotations"]["updated"] == "true"
    });
    let all = space.suite.get(&everywhere).ok();
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1));
    space.wait_for_completion(name, "CompletionsReached", 4);

    let options = json!({"propagationPolicy": "Background"});
    space.suite.delete(&format!("{jobs}?{selector}"), options).ok();
    let version = updated["metadata"]["resourceVersion"].as_str().unwrap();
    space.watch_until(&jobs, &since(version), |event| event["type"] == "DELETED");
    let all = space.suite.get(&everywhere).ok();
    assert_eq!(all["items"], json!([]));
}
