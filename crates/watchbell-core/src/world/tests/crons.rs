//! CronJobs in the world: one Job a slot, whatever happens to the server and the clock.

use serde_json::{Value, json};
use watchbell_api::Resource;

use super::fake_node::{Node, ended};
use super::{Bench, START, cron, job};

fn name(slot: i64) -> String {
    format!("c-{}", slot / 60)
}

fn end_all(bench: &mut Bench, exit_code: i32) {
    let mut node = Node::default();
    node.obey(&bench.world.node_sync());
    for pod in node.pods.values() {
        bench.world.report(ended(pod, exit_code, bench.now), bench.at());
    }
    bench.settle();
}

#[test]
fn each_slot_makes_its_job() {
    let mut bench = Bench::new();
    bench.create(cron("c", "*/5 * * * *", json!({"timeZone": "Europe/Berlin"})));
    bench.sleep(299);
    assert_eq!(bench.list(Resource::Job), Vec::<Value>::new());
    bench.sleep(1);
    let made = bench.read(Resource::Job, &name(START + 300));
    let meta = &made["metadata"];
    let scheduled = &meta["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"];
    assert_eq!(scheduled, "2026-03-01T01:05:00+01:00");
    assert_eq!(
        (&meta["ownerReferences"][0]["kind"], &meta["ownerReferences"][0]["name"]),
        (&json!("CronJob"), &json!("c"))
    );
    let status = bench.read(Resource::CronJob, "c")["status"].clone();
    assert_eq!(status["active"][0]["name"], name(START + 300));
    assert_eq!(status["lastScheduleTime"], "2026-03-01T00:05:00Z");
    assert_eq!(bench.reasons("CronJob", "c"), ["SuccessfulCreate"]);
    assert!(bench.journal.audit.iter().any(|a| a.body["action"] == "started"));
    end_all(&mut bench, 0);
    let status = bench.read(Resource::CronJob, "c")["status"].clone();
    assert_eq!(
        (&status["active"], &status["lastSuccessfulTime"]),
        (&Value::Null, &json!("2026-03-01T00:05:00Z"))
    );
    assert_eq!(bench.reasons("CronJob", "c"), ["SawCompletedJob", "SuccessfulCreate"]);
}

#[test]
fn a_zone_in_a_schedule_is_told_once() {
    let mut bench = Bench::new();
    for schedule in ["CRON_TZ=Europe/Berlin 0 3 * * *", "TZ=UTC 0 3 * * *"] {
        let error = bench.try_create(cron("c", schedule, json!({}))).expect_err("refused");
        let causes: Vec<(&str, &str)> = error.causes.iter().map(|c| (&*c.field, &*c.message)).collect();
        assert_eq!(causes.len(), 1, "{causes:?}");
        assert_eq!(causes[0].0, "spec.schedule");
        assert!(causes[0].1.contains("use timeZone field instead"), "{causes:?}");
    }
}

#[test]
fn a_crash_neither_loses_nor_doubles_a_slot() {
    for committed in [false, true] {
        let mut bench = Bench::new();
        bench.create(cron("c", "* * * * *", json!({})));
        bench.settle();
        bench.now += 60;
        if committed {
            bench.step();
        } else {
            bench.world.settle(bench.at());
            assert!(!bench.world.take_stage(bench.at()).is_empty());
        }
        bench.crash();
        bench.settle();
        assert_eq!(bench.names(Resource::Job), [name(START + 60)], "committed: {committed}");
        bench.sleep(30);
        assert_eq!(bench.list(Resource::Job).len(), 1);
    }
}

#[test]
fn the_clock_may_step() {
    let mut bench = Bench::new();
    bench.create(cron("c", "* * * * *", json!({"successfulJobsHistoryLimit": 100})));
    bench.sleep(120);
    assert_eq!(bench.list(Resource::Job).len(), 2);
    // Back by ninety seconds: what was started is not started again.
    bench.now -= 90;
    bench.settle();
    bench.sleep(89);
    assert_eq!(bench.list(Resource::Job).len(), 2);
    bench.sleep(61);
    assert_eq!(bench.names(Resource::Job), [1, 2, 3].map(|i| name(START + i * 60)));
    // Forward by an hour: the latest slot makes up for all.
    bench.now += 3600;
    bench.settle();
    assert_eq!(bench.list(Resource::Job).len(), 4);
    assert!(bench.get(Resource::Job, &name(START + 180 + 3600)).is_some());
    let skipped = bench.journal.audit.iter().find(|a| a.body["action"] == "skipped").expect("a record");
    assert_eq!(skipped.body["details"]["count"], "59");
}

#[test]
fn missed_slots_by_the_annotation() {
    let check = |catch_up: &str, expect: usize| {
        let mut bench = Bench::new();
        let mut object = cron("c", "* * * * *", json!({}));
        object["metadata"]["annotations"] = json!({"watchbell.dev/catch-up": catch_up});
        bench.create(object);
        bench.settle();
        bench.now += 310;
        bench.crash();
        bench.settle();
        // The slot of the last minute is on time, ten seconds late.
        assert_eq!(bench.list(Resource::Job).len(), expect, "{catch_up}");
    };
    check("latest", 1);
    check("all", 5);
    check("none", 1);
}

#[test]
fn forbid_waits_and_replace_replaces() {
    let check = |policy: &str, running: usize, total: usize| {
        let mut bench = Bench::new();
        bench.create(cron("c", "* * * * *", json!({"concurrencyPolicy": policy})));
        bench.sleep(200);
        let jobs = bench.list(Resource::Job);
        let active = jobs.iter().filter(|job| job["status"]["active"] == 1).count();
        assert_eq!((active, jobs.len()), (running, total), "{policy}");
        bench
    };
    check("Allow", 3, 3);
    let mut bench = check("Forbid", 1, 1);
    assert!(bench.reasons("CronJob", "c").contains(&"JobAlreadyActive".to_owned()));
    end_all(&mut bench, 0);
    assert_eq!(bench.names(Resource::Job), [name(START + 60), name(START + 180)]);
    let bench = check("Replace", 1, 1);
    assert_eq!(bench.names(Resource::Job), [name(START + 180)]);
    let deleting =
        bench.list(Resource::Pod).iter().filter(|p| p["metadata"]["deletionTimestamp"].is_string()).count();
    assert_eq!(deleting, 2);
}

#[test]
fn a_foreign_job_of_the_name_is_left_alone_and_told() {
    let mut bench = Bench::new();
    let foreign = bench.create(job(&name(START + 60), json!({"suspend": true})));
    bench.create(cron("c", "* * * * *", json!({})));
    bench.sleep(60);
    assert_eq!(bench.names(Resource::Job), [name(START + 60)]);
    assert_eq!(bench.read(Resource::Job, &name(START + 60))["metadata"]["uid"], foreign["metadata"]["uid"]);
    assert_eq!(bench.reasons("CronJob", "c"), ["FailedCreate"]);
    let skipped = bench.journal.audit.iter().find(|a| a.body["action"] == "skipped").expect("a record");
    assert_eq!(
        skipped.body["details"]["reason"],
        "a Job of its name exists that this CronJob does not control"
    );
    bench.sleep(60);
    assert!(bench.get(Resource::Job, &name(START + 120)).is_some(), "the next slot is not held up");
}

#[test]
fn a_job_that_cannot_be_made_keeps_its_slot_open() {
    let mut bench = Bench::new();
    bench.create(cron("c", "0 * * * *", json!({})));
    let mut root = cron("r", "0 * * * *", json!({}));
    root["spec"]["jobTemplate"]["spec"]["template"]["spec"]["hostNetwork"] = true.into();
    bench.create(root);
    bench.settle();
    // The namespace loses its label: what was accepted in it is not any more.
    bench.patch(
        Resource::Namespace,
        "ml",
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": null}}}),
    );
    bench.sleep(3600 + 90);
    assert_eq!(bench.names(Resource::Job), [name(START + 3600)]);
    assert_eq!(bench.reasons("CronJob", "r"), ["FailedCreate"]);
    bench.patch(
        Resource::Namespace,
        "ml",
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}),
    );
    bench.sleep(60);
    let slot = format!("r-{}", (START + 3600) / 60);
    assert_eq!(bench.names(Resource::Job), [name(START + 3600), slot]);
    assert_eq!(bench.reasons("CronJob", "r"), ["FailedCreate", "SuccessfulCreate"]);
}

#[test]
fn history_is_kept_short() {
    let mut bench = Bench::new();
    bench.create(cron(
        "c",
        "* * * * *",
        json!({"successfulJobsHistoryLimit": 2, "failedJobsHistoryLimit": 1}),
    ));
    for minute in 0..8 {
        bench.sleep(60);
        end_all(&mut bench, i32::from(minute % 2 == 0));
        bench.sleep(0);
    }
    // A failed pod is tried again, so those Jobs still run: back-off goes on.
    bench.patch(Resource::CronJob, "c", json!({"spec": {"suspend": true}}));
    bench.sleep(1200);
    end_all(&mut bench, 0);
    bench.sleep(1200);
    end_all(&mut bench, 0);
    let jobs = bench.list(Resource::Job);
    assert_eq!(jobs.len(), 2, "{:?}", bench.names(Resource::Job));
    assert_eq!(bench.list(Resource::Pod).iter().filter(|p| p["status"]["phase"] == "Succeeded").count(), 2);
    assert!(bench.journal.audit.iter().any(|a| a.body["action"] == "deleted"));
}

#[test]
fn a_suspended_cronjob_starts_nothing() {
    let mut bench = Bench::new();
    bench.create(cron("c", "* * * * *", json!({"suspend": true})));
    bench.sleep(300);
    assert_eq!(bench.list(Resource::Job), Vec::<Value>::new());
    bench.patch(Resource::CronJob, "c", json!({"spec": {"suspend": false}}));
    bench.sleep(60);
    assert!(bench.get(Resource::Job, &name(START + 360)).is_some());
}
