//! What an operator of runs may do: trigger, suspend, rerun. What runs is the object's, whatever the request says.

use serde_json::{Value, json};
use watchbell_api::{Reason, Resource};

use super::fake_node::{Node, ended};
use super::{Bench, array, cron, job, request};
use crate::request::{DryRun, Outcome, Request, RerunIndexes, Schedule, Subresource, Write};

fn operate(resource: Resource, name: &str, subresource: Subresource, write: Write) -> Request {
    Request { subresource, write, ..request(resource, "ml", name) }
}

fn trigger(cron: &str, job_name: &str) -> Request {
    operate(Resource::CronJob, cron, Subresource::Trigger, Write::Trigger { job_name: job_name.into() })
}

fn suspend(cron: &str, schedule: Schedule) -> Request {
    operate(Resource::CronJob, cron, Subresource::Suspend, Write::Suspend(schedule))
}

fn rerun(job: &str, indexes: RerunIndexes) -> Request {
    let write = Write::Rerun { job_name: String::new(), indexes };
    operate(Resource::Job, job, Subresource::Rerun, write)
}

/// Ends what runs: each pod with the code of its index.
fn end_all(bench: &mut Bench, exit_code: impl Fn(u32) -> i32) {
    let mut node = Node::default();
    node.obey(&bench.world.node_sync());
    for pod in node.pods.values() {
        let code = exit_code(pod.index.unwrap_or(0));
        bench.world.report(ended(pod, code, bench.now), bench.at());
    }
    bench.settle();
}

#[test]
fn a_trigger_makes_the_job_of_the_template_in_the_transaction_of_its_entry() {
    let mut bench = Bench::new();
    bench.create(cron(
        "nightly",
        "0 3 * * *",
        json!({"suspend": true, "jobTemplate": {"spec": {"completions": 2}}}),
    ));
    bench.settle();
    let entries = bench.journal.audit.len();
    let made = bench.write(trigger("nightly", "now")).expect("triggered");
    assert_eq!(made.outcome, Outcome::Created);
    assert_eq!((&made.object["kind"], &made.object["spec"]["completions"]), (&json!("Job"), &json!(2)));
    let stage = bench.step();
    assert!(stage.changes.iter().any(|change| &*change.object().name == "now"));
    let entry = &bench.journal.audit[entries].body;
    assert_eq!((&entry["verb"], &entry["objectRef"]["resource"]), (&json!("create"), &json!("cronjobs")));
    assert_eq!(
        (&entry["objectRef"]["name"], &entry["objectRef"]["subresource"]),
        (&json!("nightly"), &json!("trigger"))
    );
    assert_eq!(entry["annotations"]["watchbell.dev/job"], "now");
    assert_eq!(entry["objectRef"].get("uid"), None, "the Job's uid is not the CronJob's");
    let job = bench.read(Resource::Job, "now");
    assert_eq!(job["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"], "manual");
    assert_eq!(job["metadata"]["ownerReferences"][0]["name"], "nightly");
    // Without a name one is made up, and none is taken twice.
    let other = bench.write(trigger("nightly", "")).expect("triggered").object["metadata"]["name"].clone();
    assert!(other.as_str().is_some_and(|name| name.starts_with("nightly-manual-")), "{other}");
    let again = bench.write(trigger("nightly", "now")).expect_err("taken");
    assert_eq!(again.reason, Reason::AlreadyExists);
    let missing = bench.write(trigger("absent", "x")).expect_err("absent");
    assert_eq!(missing.message, "cronjobs.batch \"absent\" not found");
}

/// A Job with the CronJob as its controller that somebody else made is told as a warning, as in Kubernetes.
#[test]
fn a_triggered_job_is_the_cronjobs_own() {
    let mut bench = Bench::new();
    bench.create(cron("nightly", "0 3 * * *", json!({})));
    bench.settle();
    bench.write(trigger("nightly", "now")).expect("triggered");
    bench.settle();
    let active = bench.read(Resource::CronJob, "nightly")["status"]["active"].clone();
    let names: Vec<&Value> = active.as_array().expect("a list").iter().map(|job| &job["name"]).collect();
    assert_eq!(names, ["now"]);
    let events = bench.list(Resource::Event);
    let told = |kind: &str| -> Vec<(&str, &str)> {
        let of = events.iter().filter(|event| event["involvedObject"]["kind"] == kind);
        of.map(|event| (event["type"].as_str().unwrap(), event["message"].as_str().unwrap())).collect()
    };
    assert_eq!(told("CronJob"), [("Normal", "Created job now")]);
}

#[test]
fn a_trigger_can_be_tried_without_effect() {
    let mut bench = Bench::new();
    bench.create(cron("nightly", "0 3 * * *", json!({})));
    bench.settle();
    let mut dry = trigger("nightly", "now");
    dry.options.dry_run = DryRun::All;
    assert_eq!(bench.write(dry).expect("checked").object["metadata"]["name"], "now");
    bench.settle();
    assert_eq!(bench.get(Resource::Job, "now"), None);
}

#[test]
fn a_suspension_changes_one_field() {
    let mut bench = Bench::new();
    bench.create(cron("tick", "* * * * *", json!({})));
    bench.settle();
    let before = bench.read(Resource::CronJob, "tick");
    let mut check = |schedule: Schedule, expect: bool| {
        bench.write(suspend("tick", schedule)).expect("changed");
        bench.settle();
        let mut after = bench.read(Resource::CronJob, "tick");
        assert_eq!(after["spec"]["suspend"], expect);
        after["spec"]["suspend"] = before["spec"]["suspend"].clone();
        assert_eq!(after["spec"], before["spec"]);
        for field in ["labels", "annotations", "uid", "ownerReferences", "finalizers"] {
            assert_eq!(after["metadata"][field], before["metadata"][field], "{field}");
        }
        bench.now += 60;
        bench.settle();
        bench.list(Resource::Job).len()
    };
    assert_eq!(check(Schedule::Suspended, true), 0);
    // The newest slot that was missed meanwhile, as in Kubernetes, and the next.
    assert_eq!(check(Schedule::Running, false), 2);
}

#[test]
fn a_rerun_is_of_what_ended() {
    let mut bench = Bench::new();
    let mut failing = array("half", 4, 4);
    failing["spec"]["backoffLimitPerIndex"] = 0.into();
    bench.create(failing);
    bench.create(job("done", json!({})));
    bench.settle();
    let early = bench.write(rerun("half", RerunIndexes::All)).expect_err("it runs");
    assert_eq!(early.reason, Reason::Conflict);
    assert!(early.message.contains("it has not ended"), "{early}");
    end_all(&mut bench, |index| i32::try_from(index % 2).expect("a bit"));
    let made = bench.write(rerun("half", RerunIndexes::Failed)).expect("made").object;
    assert_eq!(
        made["metadata"]["annotations"],
        json!({"watchbell.dev/rerun-of": "half", "watchbell.dev/indexes": "1,3"})
    );
    assert_eq!(
        made["spec"]["template"]["spec"],
        bench.read(Resource::Job, "half")["spec"]["template"]["spec"]
    );
    let nothing_left = bench.write(rerun("done", RerunIndexes::Failed)).expect_err("it completed");
    assert!(nothing_left.message.contains("no index is left"), "{nothing_left}");
    let whole = bench.write(rerun("done", RerunIndexes::All)).expect("made").object;
    assert_eq!(whole["metadata"]["annotations"]["watchbell.dev/indexes"], Value::Null);
    bench.settle();
}

#[test]
fn nobody_takes_a_slots_name_by_a_trigger_or_a_rerun() {
    let mut bench = Bench::new();
    bench.create(cron("nightly", "0 3 * * *", json!({})));
    bench.create(cron("hourly", "0 * * * *", json!({})));
    bench.create(job("done", json!({})));
    bench.settle();
    end_all(&mut bench, |_| 0);
    let again = |name: &str| {
        let write = Write::Rerun { job_name: name.into(), indexes: RerunIndexes::All };
        operate(Resource::Job, "done", Subresource::Rerun, write)
    };
    // 2026-03-01T03:00:00Z, the next night; whose slot it would be makes no difference.
    let tomorrow = 1_772_334_000 / 60;
    for name in [
        format!("nightly-{tomorrow}"),
        format!("nightly-{tomorrow}30"),
        format!("hourly-{tomorrow}"),
        "nightly-1".into(),
    ] {
        for refused in [bench.write(trigger("nightly", &name)), bench.write(again(&name))] {
            let refused = refused.expect_err("it is a slot's");
            assert_eq!(refused.reason, Reason::Invalid);
            assert!(refused.message.contains("own slots"), "{refused}");
        }
    }
    for name in ["nightly-1a", "nightly-", "absent-29540340"] {
        // What no label is, is refused for that.
        if let Err(error) = bench.write(trigger("nightly", name)) {
            assert!(!error.message.contains("own slots"), "{error}");
        }
    }
    bench.settle();
    bench.sleep(86_400);
    assert!(bench.names(Resource::Job).contains(&format!("nightly-{tomorrow}")), "the slot ran");
}
