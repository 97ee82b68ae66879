//! CronJobs as objects.

use serde_json::{Value, json};

use super::space;
use crate::fixtures::cron_job;
use crate::wire;

#[test]
fn should_support_cronjob_api_operations() {
    let Some(space) = space() else { return };
    let selector = format!("labelSelector=special-label%3D{}", space.name);
    let mut template = cron_job("test-api", "@hourly", "Allow", &json!(["/bin/true"]));
    template["spec"]["schedule"] = json!("* */1 * * ?");
    // Each minute that begins would otherwise change what is watched and written here.
    template["spec"]["suspend"] = json!(true);
    template["metadata"]["labels"] = json!({"special-label": space.name});
    template["spec"]["successfulJobsHistoryLimit"] = json!(1);
    template["spec"]["failedJobsHistoryLimit"] = json!(0);
    let created = space.create("cronjobs", &template);
    let got = space.get("cronjobs", "test-api");
    assert_eq!(got["metadata"]["uid"], created["metadata"]["uid"]);

    let crons = space.path("cronjobs", "");
    let list = space.suite.get(&format!("{crons}?{selector}")).ok();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let watch = |path: &str| {
        let path = format!("{path}?{selector}&resourceVersion={version}&watch=true");
        let answer = space.suite.open("GET", &path, "", Vec::new());
        assert_eq!(answer.status(), 200);
        answer.into_body().into_reader()
    };
    let mut own = watch(&crons);
    let all = space.suite.get(&format!("/apis/batch/v1/cronjobs?{selector}")).ok();
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1));
    let mut everywhere = watch("/apis/batch/v1/cronjobs");

    let note = |key: &str| json!({"metadata": {"annotations": {key: "true"}}});
    let patched = space.patch("cronjobs", "test-api", "merge-patch", &note("patched"));
    assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
    let updated = space.update("cronjobs", "test-api", |cron| {
        cron["metadata"]["annotations"]["updated"] = json!("true");
    });
    assert_eq!(updated["metadata"]["annotations"]["updated"], "true");
    for watch in [&mut own, &mut everywhere] {
        let event = wire::event(watch).unwrap();
        assert_eq!(event["type"], "MODIFIED");
        assert_eq!(event["object"]["metadata"]["annotations"]["patched"], "true");
    }
    drop((own, everywhere));

    let mut patch = note("patchedstatus");
    patch["status"] = json!({"lastScheduleTime": "2026-02-03T04:05:06Z"});
    let patched = space.patch("cronjobs", "test-api/status", "merge-patch", &patch);
    assert_eq!(patched["status"]["lastScheduleTime"], "2026-02-03T04:05:06Z");
    assert_eq!(patched["metadata"]["annotations"]["patchedstatus"], "true");
    let mut whole = space.get("cronjobs", "test-api");
    whole["status"]["lastScheduleTime"] = json!("2026-02-03T04:05:07Z");
    let path = space.path("cronjobs", "test-api/status");
    let updated = space.suite.send("PUT", &path, &whole).ok();
    assert_eq!(updated["status"]["lastScheduleTime"], "2026-02-03T04:05:07Z");
    let got = space.get("cronjobs", "test-api/status");
    assert_eq!(got["metadata"]["uid"], created["metadata"]["uid"]);

    template["metadata"]["name"] = json!("for-removal");
    space.create("cronjobs", &template);
    space.delete("cronjobs", "for-removal", json!({}));
    space.try_get("cronjobs", "for-removal").refused(404, "NotFound");
    space.suite.delete(&format!("{crons}?{selector}"), json!({})).ok();
    assert_eq!(space.list("cronjobs", &selector), Vec::<Value>::new());
}
