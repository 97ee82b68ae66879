//! Jobs of another controller.

use std::time::Duration;

use serde_json::{Value, json};

use super::space;
use crate::fixtures::{Does, job};

#[test]
fn should_allow_to_delegate_reconciliation_to_external_controller() {
    let Some(space) = space() else { return };
    let mut job = job("managed-by", Does::Succeed, "Never", 2, 4);
    job["spec"]["managedBy"] = json!("example.com/custom-job-controller");
    space.create("jobs", &job);
    // Time in which the built-in controller would have written something.
    for _ in 0..10 {
        let status = space.get("jobs", "managed-by")["status"].clone();
        assert!(matches!(&status, Value::Null) || status == json!({}), "{status:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(space.pods_of("managed-by"), Vec::<Value>::new());

    // The other controller ends it.
    let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap().to_string();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
    space.update("jobs", "managed-by/status", |job| {
        job["status"] =
            json!({"startTime": now, "conditions": [condition("FailureTarget"), condition("Failed")]});
    });
    let job = space.get("jobs", "managed-by");
    assert_eq!(job["status"]["conditions"][1]["type"], "Failed", "{job:#}");
}
