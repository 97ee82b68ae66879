//! LimitRanges, quotas and classes: who is let in, what is written into pods, and that the counters are exact.

use proptest::prelude::*;
use serde_json::{Value, json};
use watchbell_api::{Reason, Resource};

use super::fake_node::{Node, ended, running};
use super::{Bench, array, config_map, cron, job, merge, pod};
use crate::request::Propagation;
use crate::world::object::{Fills, FillsPlace, Status};

fn limit_range(name: &str, limits: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": name}, "spec": {"limits": limits}})
}

fn quota(name: &str, hard: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}})
}

fn priority_class(name: &str, value: i32, extra: Value) -> Value {
    let mut class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
    });
    merge(&mut class, extra);
    class
}

fn asking(name: &str, cpu: &str) -> Value {
    let mut object = pod(name);
    object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
    object
}

fn check_forbidden(bench: &mut Bench, object: Value, message: &str) {
    match bench.try_create(object) {
        Ok(written) => panic!("accepted: {:#}", written.object),
        Err(error) => {
            assert_eq!(error.reason, Reason::Forbidden, "{error}");
            assert_eq!(error.message, message);
        }
    }
}

fn used(bench: &Bench, name: &str) -> Value {
    bench.read(Resource::ResourceQuota, name)["status"]["used"].clone()
}

/// Runs and ends pods until nothing is to be done.
fn work(bench: &mut Bench, node: &mut Node) {
    for _ in 0..100 {
        bench.settle();
        let commands = std::mem::take(&mut bench.commands);
        node.obey(&commands);
        let Some(next) = node.pods.values().next().cloned() else { return };
        let report = ended(&next, 0, bench.now);
        bench.world.report(report, bench.at());
    }
    panic!("it does not end");
}

#[test]
fn a_limit_range_fills_in_and_bounds() {
    let mut bench = Bench::new();
    bench.create(limit_range(
        "a",
        json!([{"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}}]),
    ));
    let made = bench.create(pod("plain"));
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(*resources, json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "500m"}}));
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container main; cpu limit for container main"
    );
    let mut large = pod("large");
    large["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "2"}});
    check_forbidden(
        &mut bench,
        large,
        "pods \"large\" is forbidden: [maximum cpu usage per Container is 1, but limit is 2]"
            .replace(['[', ']'], "")
            .as_str(),
    );
    // Another one has its say too.
    bench.create(limit_range("b", json!([{"type": "Pod", "max": {"memory": "1Gi"}}])));
    check_forbidden(
        &mut bench,
        pod("other"),
        "pods \"other\" is forbidden: maximum memory usage per Pod is 1Gi.  No limit is specified",
    );
    // What was let in may change all the same.
    bench.settle();
    bench.patch(Resource::Pod, "plain", json!({"metadata": {"labels": {"a": "b"}}}));
    bench.patch(Resource::Pod, "plain", json!({"spec": {"activeDeadlineSeconds": 60}}));
}

/// Kubernetes: "a LimitRange does not check the consistency of the default values it applies".
#[test]
fn a_default_that_does_not_go_with_a_request_is_refused() {
    let mut bench = Bench::new();
    bench.create(limit_range(
        "r",
        json!([{"type": "Container", "default": {"cpu": "500m"}, "max": {"cpu": "1"}}]),
    ));
    let words = "spec.containers[0].resources.requests: Invalid value: \"700m\": must be less than or equal to cpu limit of 500m";
    let error = bench.try_create(asking("a", "700m")).expect_err("refused");
    assert_eq!((error.reason, error.message), (Reason::Invalid, format!("Pod \"a\" is invalid: {words}")));
    let mut fit = array("fit", 1, 1);
    fit["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "700m"}});
    let written = bench.try_create(fit).expect("a template is not refused");
    assert_eq!(
        written.warnings,
        [format!("spec.template.spec: pods of this template would be refused: {words}")]
    );
    bench.settle();
    assert_eq!(bench.names(Resource::Pod), Vec::<String>::new());
    let failed = bench.list(Resource::Event).into_iter().find(|event| event["reason"] == "FailedCreate");
    let message = failed.map(|event| event["message"].clone()).unwrap_or_default();
    assert_eq!(message, format!("Error creating: pods \"fit-\" is forbidden: {words}"));
    // A limit of its own, and all is well.
    let mut own = asking("b", "700m");
    own["spec"]["containers"][0]["resources"]["limits"] = json!({"cpu": "1"});
    bench.create(own);
}

#[test]
fn pods_of_a_job_keep_what_a_limit_range_gave_them() {
    let mut bench = Bench::new();
    let range =
        |cpu: &str| json!([{"type": "Container", "default": {"cpu": cpu}, "defaultRequest": {"cpu": "10m"}}]);
    bench.create(limit_range("r", range("500m")));
    bench.create(array("fit", 4, 2));
    bench.settle();
    let limits = |bench: &Bench| -> Vec<Value> {
        let pods = bench.list(Resource::Pod);
        pods.iter().map(|pod| pod["spec"]["containers"][0]["resources"]["limits"]["cpu"].clone()).collect()
    };
    assert_eq!(limits(&bench), ["500m", "500m"]);
    let before = bench.list(Resource::Pod);
    assert_eq!(
        before[0]["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container main; cpu limit for container main"
    );
    bench.patch(Resource::LimitRange, "r", json!({"spec": {"limits": range("700m")}}));
    bench.settle();
    bench.crash();
    bench.settle();
    assert_eq!(bench.list(Resource::Pod), before, "the pods are read as they were made");
    // New pods follow the new rule.
    let pod = before[0]["metadata"]["name"].as_str().expect("a name").to_owned();
    bench.patch(Resource::Job, "fit", json!({"spec": {"parallelism": 4}}));
    bench.settle();
    assert_eq!(bench.read(Resource::Pod, &pod), before[0]);
    let mut all = limits(&bench);
    all.sort_by_key(ToString::to_string);
    assert_eq!(all, ["500m", "500m", "700m", "700m"]);
    bench.crash();
    bench.settle();
    let mut again = limits(&bench);
    again.sort_by_key(ToString::to_string);
    assert_eq!(again, all);
}

/// What the LimitRange gives to pods, another thing each time.
fn change_default(bench: &mut Bench, cpu_millis: u32) {
    let limits = json!([{"type": "Container", "default": {"cpu": format!("{cpu_millis}m")}}]);
    bench.patch(Resource::LimitRange, "r", json!({"spec": {"limits": limits}}));
    bench.settle();
}

/// An array under the LimitRange `r` whose pods wait for others to let them begin.
fn gated_array(name: &str, parallelism: u32) -> Value {
    let mut job = array(name, 10, parallelism);
    job["spec"]["template"]["spec"]["schedulingGates"] = json!([{"name": "example.com/wait"}]);
    job
}

fn fills(bench: &Bench, job: &str) -> std::sync::Arc<Fills> {
    match &bench.world.get(Resource::Job, "ml", job).expect("it is there").status {
        Status::Job { fills, .. } => fills.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_kept_of_what_made_no_pod() {
    let mut bench = Bench::new();
    bench.create(quota("q", json!({"pods": "0"})));
    bench.create(limit_range("r", json!([{"type": "Container", "default": {"cpu": "1"}}])));
    bench.create(gated_array("fit", 1));
    let entries =
        |bench: &Bench| bench.journal.audit.iter().filter(|e| e.body["action"] == "admitted").count();
    for change in 1..=20 {
        change_default(&mut bench, change);
    }
    assert_eq!(fills(&bench, "fit").texts.len(), 0);
    assert_eq!(entries(&bench), 0);
    bench.delete(Resource::ResourceQuota, "q", Propagation::Background);
    bench.settle();
    assert_eq!(bench.names(Resource::Pod).len(), 1);
    assert_eq!((fills(&bench, "fit").texts.len(), entries(&bench)), (1, 1));
    // Pods that went leave nothing behind, and those that stay have what they were made with.
    for change in 21..=40 {
        bench.patch(Resource::Job, "fit", json!({"spec": {"suspend": true}}));
        change_default(&mut bench, change);
        bench.patch(Resource::Job, "fit", json!({"spec": {"suspend": false}}));
        bench.settle();
    }
    bench.patch(Resource::Job, "fit", json!({"spec": {"parallelism": 2}}));
    bench.settle();
    change_default(&mut bench, 41);
    bench.patch(Resource::Job, "fit", json!({"spec": {"parallelism": 3}}));
    bench.settle();
    let of_pods = |bench: &Bench| {
        let pods = bench.list(Resource::Pod);
        pods.iter()
            .map(|pod| pod["spec"]["containers"][0]["resources"]["limits"].clone())
            .collect::<Vec<Value>>()
    };
    let mut limits = of_pods(&bench);
    limits.sort_by_key(ToString::to_string);
    assert_eq!(limits, [json!({"cpu": "40m"}), json!({"cpu": "40m"}), json!({"cpu": "41m"})]);
    assert_eq!(fills(&bench, "fit").texts.iter().filter(|text| !text.is_empty()).count(), 2);
    let uid = bench.world.get(Resource::Job, "ml", "fit").expect("it is there").uid;
    assert_eq!(bench.world.jobs[&uid].templates.len(), 2);
    let pods_of_fills = |bench: &Bench| {
        bench.world.jobs[&uid].fills.values().copied().collect::<std::collections::BTreeSet<u32>>()
    };
    assert_eq!(pods_of_fills(&bench), [1, 2].into());
    let before = bench.list(Resource::Pod);
    bench.crash();
    bench.settle();
    assert_eq!(bench.list(Resource::Pod), before);
    assert_eq!(pods_of_fills(&bench), [1, 2].into());
    bench.patch(Resource::Job, "fit", json!({"spec": {"suspend": true}}));
    bench.settle();
    assert_eq!(pods_of_fills(&bench), [].into());
}

#[test]
fn what_admission_makes_of_a_job_is_bounded_and_not_written_with_its_status() {
    let mut bench = Bench::new();
    bench.create(limit_range("r", json!([{"type": "Container", "default": {"cpu": "1"}}])));
    let mut large = array("large", 10, 1);
    // Two such forms fit, with their pods.
    let text = "x".repeat(1_900_000);
    large["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": text}]);
    bench.create(large);
    bench.settle();
    let mut node = Node::default();
    node.obey(&std::mem::take(&mut bench.commands));
    let before = bench.journal.bytes;
    let first = node.pods.values().next().cloned().expect("a pod that runs");
    bench.world.report(running(&first, bench.now), bench.at());
    bench.world.report(ended(&first, 0, bench.now), bench.at());
    bench.settle();
    assert_eq!(bench.read(Resource::Job, "large")["status"]["succeeded"], 1);
    assert!(bench.journal.bytes - before < 100_000, "{} bytes for a status", bench.journal.bytes - before);
    for change in 2..=3 {
        change_default(&mut bench, change);
        bench.patch(Resource::Job, "large", json!({"spec": {"parallelism": change}}));
        bench.settle();
    }
    assert_eq!(bench.names(Resource::Pod).len(), 3, "the last is not made");
    let failed = bench.list(Resource::Event).into_iter().find(|event| event["reason"] == "FailedCreate");
    let message = failed.map(|event| event["message"].clone()).unwrap_or_default();
    assert!(
        message.as_str().is_some_and(|text| text.contains("the limit is 4194304; delete pods")),
        "{message}"
    );
    let texts = &fills(&bench, "large").texts;
    assert_eq!(texts.len(), 2);
    assert!(texts.iter().map(|text| text.len()).sum::<usize>() <= 4 << 20);
}

/// Rows of before had the fills beside the status.
#[test]
fn fills_are_read_where_they_stood_before() {
    let mut bench = Bench::new();
    bench.create(limit_range("r", json!([{"type": "Container", "default": {"cpu": "1"}}])));
    bench.create(gated_array("fit", 2));
    bench.settle();
    let pods = bench.list(Resource::Pod);
    let mut job = (**bench.world.get(Resource::Job, "ml", "fit").expect("it is there")).clone();
    let Status::Job { fills: now, .. } = &mut job.status else { panic!("{job:?}") };
    *now = std::sync::Arc::new(Fills { texts: now.texts.clone(), place: FillsPlace::Status });
    bench.world.put(job);
    let check = |bench: &mut Bench, place: FillsPlace| {
        bench.settle();
        bench.crash();
        bench.settle();
        assert_eq!(fills(bench, "fit").place, place);
        let names = bench.names(Resource::Pod);
        assert!(pods.iter().all(|pod| bench.list(Resource::Pod).contains(pod)), "{names:?}");
    };
    check(&mut bench, FillsPlace::Status);
    // A status alone, and a head alone, stay what they were.
    bench.patch(Resource::Job, "fit", json!({"spec": {"parallelism": 3}}));
    check(&mut bench, FillsPlace::Status);
    bench.patch(Resource::Job, "fit", json!({"metadata": {"labels": {"a": "b"}}}));
    check(&mut bench, FillsPlace::Status);
    change_default(&mut bench, 2);
    bench.patch(Resource::Job, "fit", json!({"spec": {"parallelism": 4}}));
    check(&mut bench, FillsPlace::Head);
    bench.patch(Resource::Job, "fit", json!({"metadata": {"labels": {"a": "c"}}}));
    check(&mut bench, FillsPlace::Head);
}

#[test]
fn a_job_whose_pods_break_a_bound_waits_until_it_is_changed() {
    let mut bench = Bench::new();
    bench.create(limit_range("r", json!([{"type": "Container", "max": {"cpu": "1"}}])));
    let mut large = array("large", 1, 1);
    large["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "2"}});
    let written = bench.try_create(large).expect("a template is not refused");
    assert!(
        written.warnings.iter().any(|w| w.contains("maximum cpu usage per Container is 1")),
        "{:?}",
        written.warnings
    );
    bench.settle();
    assert_eq!(bench.reasons("Job", "large"), ["FailedCreate"]);
    assert_eq!(bench.read(Resource::Job, "large")["status"].get("active"), None);
    bench.delete(Resource::LimitRange, "r", Propagation::Background);
    bench.settle();
    assert_eq!(bench.reasons("Job", "large"), ["FailedCreate", "SuccessfulCreate"]);
}

#[test]
fn a_quota_says_what_is_used_in_the_transaction_that_uses_it() {
    let mut bench = Bench::new();
    bench.create(config_map("before"));
    bench.create(quota(
        "q",
        json!({"configmaps": "3", "pods": "2", "requests.cpu": "1", "count/jobs.batch": "1"}),
    ));
    bench.step();
    // The namespace's own is counted, as in Kubernetes.
    assert_eq!(
        used(&bench, "q"),
        json!({"configmaps": "2", "pods": "0", "requests.cpu": "0", "count/jobs.batch": "0"})
    );
    bench.create(asking("a", "600m"));
    let stage = bench.step();
    assert!(stage.changes.iter().any(|c| c.object().resource == Resource::ResourceQuota));
    assert_eq!(used(&bench, "q")["requests.cpu"], "600m");
    check_forbidden(
        &mut bench,
        asking("b", "500m"),
        "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: \
         requests.cpu=1",
    );
    check_forbidden(
        &mut bench,
        pod("silent"),
        "pods \"silent\" is forbidden: failed quota: q: must specify requests.cpu for: main",
    );
    bench.create(config_map("third"));
    check_forbidden(
        &mut bench,
        config_map("fourth"),
        "configmaps \"fourth\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=3, limited: \
         configmaps=3",
    );
    // What the server makes by itself stands beside quotas.
    bench.delete(Resource::ConfigMap, "kube-root-ca.crt", Propagation::Background);
    bench.create(config_map("instead"));
    bench.settle();
    assert!(bench.get(Resource::ConfigMap, "kube-root-ca.crt").is_some());
    assert_eq!(used(&bench, "q")["configmaps"], "4");
    bench.delete(Resource::Pod, "a", Propagation::Background);
    bench.patch(Resource::ResourceQuota, "q", json!({"spec": {"hard": {"secrets": "1", "pods": null}}}));
    bench.step();
    let status = bench.read(Resource::ResourceQuota, "q")["status"].clone();
    assert_eq!(
        status["hard"],
        json!({"configmaps": "3", "requests.cpu": "1", "count/jobs.batch": "1", "secrets": "1"})
    );
    assert_eq!(status["used"]["secrets"], "0");
}

#[test]
fn a_quota_bounds_the_claims_of_a_class() {
    let mut bench = Bench::new();
    let mut fast = quota("fast", json!({"persistentvolumeclaims": "1"}));
    fast["spec"]["scopeSelector"] = json!({"matchExpressions": [
        {"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["fast"]},
    ]});
    bench.create(fast);
    let claim = |name: &str, class: Value| {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                "volumeAttributesClassName": class,
            },
        })
    };
    bench.create(claim("plain", Value::Null));
    bench.create(claim("first", json!("fast")));
    bench.step();
    assert_eq!(used(&bench, "fast"), json!({"persistentvolumeclaims": "1"}));
    check_forbidden(
        &mut bench,
        claim("second", json!("fast")),
        "persistentvolumeclaims \"second\" is forbidden: exceeded quota: fast, requested: persistentvolumeclaims=1, used: \
         persistentvolumeclaims=1, limited: persistentvolumeclaims=1",
    );
    bench.create(claim("slow", json!("slow")));
}

#[test]
fn an_array_over_quota_goes_on_as_its_pods_end() {
    let mut bench = Bench::new();
    bench.create(quota("q", json!({"pods": "3"})));
    bench.create(array("fit", 10, 10));
    bench.settle();
    assert_eq!(bench.names(Resource::Pod).len(), 3);
    assert_eq!(used(&bench, "q"), json!({"pods": "3"}));
    assert_eq!(bench.read(Resource::Job, "fit")["status"]["active"], 3);
    let failed: Vec<Value> =
        bench.list(Resource::Event).into_iter().filter(|event| event["reason"] == "FailedCreate").collect();
    assert_eq!(
        failed[0]["message"],
        "Error creating: pods \"fit-\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3"
    );
    assert_eq!(failed[0]["count"], 1, "it is not tried again for nothing");
    // Time alone is no reason to try at once, and to try now and then is.
    bench.sleep(30);
    assert_eq!(bench.list(Resource::Event).iter().filter(|e| e["reason"] == "FailedCreate").count(), 1);
    let mut node = Node::default();
    work(&mut bench, &mut node);
    let status = bench.read(Resource::Job, "fit")["status"].clone();
    assert_eq!((&status["succeeded"], &status["completedIndexes"]), (&json!(10), &json!("0-9")));
    assert_eq!(used(&bench, "q"), json!({"pods": "0"}));
    // A CronJob's Jobs are counted too.
    bench.create(quota("jobs", json!({"count/jobs.batch": "1"})));
    bench.create(cron("night", "* * * * *", json!({})));
    bench.sleep(60);
    assert!(
        bench.reasons("CronJob", "night").contains(&"FailedCreate".to_owned()),
        "{:?}",
        bench.reasons("CronJob", "night")
    );
}

#[test]
fn a_slot_with_a_short_deadline_starts_when_room_comes() {
    let mut bench = Bench::new();
    bench.create(quota("jobs", json!({"count/jobs.batch": "1"})));
    bench.create(job("first", json!({"suspend": true})));
    bench.create(cron("night", "0 * * * *", json!({"startingDeadlineSeconds": 20})));
    bench.sleep(3600);
    assert_eq!(bench.reasons("CronJob", "night"), ["FailedCreate"]);
    bench.sleep(7);
    bench.delete(Resource::Job, "first", Propagation::Background);
    bench.settle();
    let made = bench.list(Resource::Job);
    assert_eq!(made.len(), 1);
    assert_eq!(made[0]["metadata"]["ownerReferences"][0]["name"], "night");
    assert_eq!(bench.reasons("CronJob", "night"), ["FailedCreate", "SuccessfulCreate"]);
    // Room that comes too late is too late.
    bench.sleep(3600 - 7 + 21);
    let reasons = bench.reasons("CronJob", "night");
    assert!(reasons.contains(&"MissSchedule".to_owned()), "{reasons:?}");
}

#[test]
fn a_class_decides_the_priority_of_pods() {
    let mut bench = Bench::new();
    bench.create(priority_class("high", 1000, json!({"globalDefault": true})));
    check_forbidden(
        &mut bench,
        priority_class("other", 5, json!({"globalDefault": true})),
        "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass high is already marked as default. Only \
         one default can exist",
    );
    assert_eq!(bench.create(pod("a"))["spec"]["priority"], 1000);
    bench.create(array("fit", 1, 1));
    bench.settle();
    bench.delete(Resource::PriorityClass, "high", Propagation::Background);
    bench.settle();
    bench.crash();
    bench.settle();
    for made in bench.list(Resource::Pod) {
        assert_eq!(
            (&made["spec"]["priority"], &made["spec"]["priorityClassName"]),
            (&json!(1000), &json!("high"))
        );
    }
    assert_eq!(bench.create(pod("b"))["spec"]["priority"], 0);
}

#[test]
fn a_pod_of_high_priority_takes_the_room_of_an_array() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(priority_class("high", 1000, json!({})));
    let mut fit = array("fit", 4, 4);
    merge(
        &mut fit["spec"],
        json!({"backoffLimit": 0, "podReplacementPolicy": "Failed", "podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]}}),
    );
    fit["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
    bench.create(fit);
    bench.settle();
    node.obey(&std::mem::take(&mut bench.commands));
    assert_eq!(node.pods.len(), 4);
    let mut urgent = asking("urgent", "2");
    urgent["spec"]["priorityClassName"] = "high".into();
    bench.create(urgent);
    bench.settle();
    assert!(
        bench.reasons("Job", "fit").contains(&"Preempted".to_owned()),
        "{:?}",
        bench.reasons("Job", "fit")
    );
    // A server that is killed here has not forgotten whom it ended, and why.
    bench.crash();
    bench.settle();
    let ending: Vec<String> = bench
        .list(Resource::Pod)
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_string())
        .filter_map(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(ending.len(), 2);
    let victims: Vec<_> =
        node.pods.values().filter(|pod| ending.contains(&pod.uid.to_string())).cloned().collect();
    for pod in victims {
        assert_eq!(bench.read(Resource::Pod, "urgent")["spec"].get("nodeName"), None);
        bench.world.report(ended(&pod, 143, bench.now), bench.at());
        bench.settle();
    }
    assert_eq!(bench.read(Resource::Pod, "urgent")["spec"]["nodeName"], "watchbell");
    bench.sleep(60);
    let job = bench.read(Resource::Job, "fit")["status"].clone();
    assert_eq!(job.get("failed"), None, "{job:#}");
    assert_eq!(job["active"], 4, "after their back-off the two are made again, and wait");
}

/// However many there are: one batch looks at some of them.
#[test]
fn room_is_made_for_a_large_array() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(priority_class("high", 1000, json!({})));
    for (name, class) in [("low", Value::Null), ("urgent", json!("high"))] {
        let mut job = array(name, 80, 80);
        let spec = &mut job["spec"]["template"]["spec"];
        spec["containers"][0]["resources"] = json!({"requests": {"cpu": "50m"}});
        spec["priorityClassName"] = class;
        bench.create(job);
        bench.settle();
        node.obey(&std::mem::take(&mut bench.commands));
    }
    let pods = bench.list(Resource::Pod);
    let ends = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(ends.count(), 80);
}

#[derive(Debug, Clone)]
enum Op {
    Pod { cpu: u8, ends: bool },
    Array { completions: u8, parallelism: u8 },
    Map,
    Delete(u8),
    End(u8),
    Quota { pods: u8, cpu: u8, scope: u8 },
    Crash,
    Rollback,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let one = prop_oneof![
        4 => (0u8..4, any::<bool>()).prop_map(|(cpu, ends)| Op::Pod { cpu, ends }),
        2 => (1u8..6, 1u8..6).prop_map(|(completions, parallelism)| Op::Array { completions, parallelism }),
        1 => Just(Op::Map),
        4 => any::<u8>().prop_map(Op::Delete),
        6 => any::<u8>().prop_map(Op::End),
        2 => (0u8..6, 0u8..5, 0u8..4).prop_map(|(pods, cpu, scope)| Op::Quota { pods, cpu, scope }),
        1 => Just(Op::Crash),
        1 => Just(Op::Rollback),
    ];
    proptest::collection::vec(one, 0..40)
}

/// No more than the hard amount of pods live at once, whatever was there when the quota came.
fn check_bounds(bench: &Bench, made_under: &mut std::collections::BTreeMap<String, i64>) {
    for quota in bench.list(Resource::ResourceQuota) {
        let name = quota["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let number = |value: &Value| value.as_str().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let (hard, used) = (number(&quota["spec"]["hard"]["pods"]), number(&quota["status"]["used"]["pods"]));
        let first = *made_under.entry(name.clone()).or_insert(used);
        assert!(used <= hard.max(first), "quota {name}: {used} of {hard}, {first} at first");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// The bench compares the counters with a slow recount after each step, and after each reload.
    #[test]
    fn counters_are_what_a_recount_gives(ops in ops()) {
        let mut bench = Bench::new();
        let mut node = Node::default();
        let mut made_under = std::collections::BTreeMap::new();
        for (step, op) in ops.into_iter().enumerate() {
            match op {
                Op::Pod { cpu, ends } => {
                    let mut object = asking(&format!("p{step}"), &format!("{}m", u32::from(cpu) * 250));
                    if ends {
                        object["spec"]["activeDeadlineSeconds"] = 1000.into();
                    }
                    let _ = bench.try_create(object);
                }
                Op::Array { completions, parallelism } => {
                    bench.create(array(&format!("j{step}"), completions.into(), parallelism.into()));
                }
                Op::Map => {
                    let _ = bench.try_create(config_map(&format!("m{step}")));
                }
                Op::Delete(which) => {
                    let all: Vec<(Resource, String)> = [Resource::Pod, Resource::Job, Resource::ConfigMap, Resource::ResourceQuota]
                        .into_iter()
                        .flat_map(|resource| bench.names(resource).into_iter().map(move |name| (resource, name)))
                        .collect();
                    if let Some((resource, name)) = all.get(usize::from(which) % all.len().max(1)) {
                        bench.delete(*resource, name, Propagation::Background);
                    }
                }
                Op::End(which) => {
                    let place = usize::from(which) % node.pods.len().max(1);
                    if let Some(pod) = node.pods.values().nth(place).cloned() {
                        let report = ended(&pod, i32::from(which % 2), bench.now);
                        bench.world.report(report, bench.at());
                    }
                }
                Op::Quota { pods, cpu, scope } => {
                    let mut object = quota(&format!("q{step}"), json!({"pods": pods.to_string()}));
                    match scope {
                        0 => object["spec"]["hard"]["requests.cpu"] = cpu.to_string().into(),
                        1 => object["spec"]["hard"]["count/pods"] = (pods * 2).to_string().into(),
                        2 => object["spec"]["scopes"] = json!(["Terminating"]),
                        _ => object["spec"]["hard"]["configmaps"] = pods.to_string().into(),
                    }
                    let _ = bench.try_create(object);
                }
                Op::Crash => {
                    bench.crash();
                    node = Node::default();
                    let commands = bench.world.node_sync();
                    node.obey(&commands);
                }
                Op::Rollback => {
                    bench.world.rollback(bench.at());
                    bench.check();
                }
            }
            bench.settle();
            let commands = std::mem::take(&mut bench.commands);
            for uid in node.obey(&commands) {
                if let Some(pod) = node.pods.get(&uid).cloned() {
                    bench.world.report(ended(&pod, 143, bench.now), bench.at());
                }
            }
            bench.settle();
            let commands = std::mem::take(&mut bench.commands);
            node.obey(&commands);
            check_bounds(&bench, &mut made_under);
        }
    }
}
