//! Jobs from creation to their end, through placement and the node's reports.

use serde_json::{Value, json};
use watchbell_api::Resource;
use watchbell_api::node::{Command, Report};

use super::fake_node::{Node, ended, running};
use super::{Bench, array, job, pod, request};
use crate::request::{PatchKind, Propagation, Request, Write};

/// Runs everything there is to its end, each pod with the exit code of its index.
fn run_all(bench: &mut Bench, node: &mut Node, exit_code: impl Fn(u32) -> i32) {
    for _ in 0..200 {
        bench.settle();
        let commands = std::mem::take(&mut bench.commands);
        node.obey(&commands);
        let pods: Vec<_> = node.pods.values().cloned().collect();
        if pods.is_empty() {
            return;
        }
        for pod in pods {
            bench.world.report(running(&pod, bench.now), bench.at());
            bench.step();
            bench.now += 1;
            bench.world.report(ended(&pod, exit_code(pod.index.unwrap_or(0)), bench.now), bench.at());
        }
    }
    panic!("it does not end");
}

#[test]
fn an_array_runs_to_its_end() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(array("a", 7, 3));
    bench.settle();
    let pods = bench.list(Resource::Pod);
    assert_eq!(pods.len(), 3);
    for (index, pod) in pods.iter().enumerate() {
        assert_eq!(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"], index.to_string());
        assert_eq!(pod["metadata"]["finalizers"], json!(["batch.kubernetes.io/job-tracking"]));
        assert_eq!(pod["metadata"]["ownerReferences"][0]["name"], "a");
        assert_eq!(pod["spec"]["nodeName"], "watchbell");
        assert_eq!(pod["spec"]["hostname"], format!("a-{index}"));
        assert_eq!(pod["spec"]["priority"], 0);
        assert_eq!(pod["status"]["phase"], "Pending");
    }
    run_all(&mut bench, &mut node, |_| 0);
    let job = bench.read(Resource::Job, "a");
    assert_eq!(job["status"]["completedIndexes"], "0-6");
    assert_eq!(job["status"]["succeeded"], 7);
    assert_eq!(job["status"]["conditions"][1]["type"], "Complete", "{:#}", job["status"]);
    for pod in bench.list(Resource::Pod) {
        assert_eq!(pod["status"]["phase"], "Succeeded");
        assert_eq!(pod["metadata"]["finalizers"], Value::Null);
        let image = &pod["status"]["containerStatuses"][0]["imageID"];
        assert_eq!(image, "docker.io/library/busybox@sha256:0123456789abcdef");
    }
    assert_eq!(bench.reasons("Job", "a").iter().filter(|r| *r == "SuccessfulCreate").count(), 7);
    assert!(bench.reasons("Job", "a").contains(&"Completed".to_owned()));
    let actions: Vec<&Value> = bench.journal.audit.iter().map(|a| &a.body["action"]).collect();
    for action in ["admitted", "pods-created", "pods-ended", "completed"] {
        assert!(actions.contains(&&json!(action)), "{action} is not in the audit journal");
    }
}

#[test]
fn failures_are_told_to_the_next_attempt() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    let spec =
        json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 1});
    bench.create(job("a", spec));
    bench.settle();
    let annotation = "batch.kubernetes.io/job-index-failure-count";
    let counts = |bench: &Bench| -> Vec<String> {
        let pods = bench.list(Resource::Pod);
        let counts =
            pods.iter().map(|pod| pod["metadata"]["annotations"][annotation].as_str().map(str::to_owned));
        counts.map(Option::unwrap_or_default).collect()
    };
    assert_eq!(counts(&bench), ["0", "0"]);
    run_all(&mut bench, &mut node, |index| i32::from(index == 1));
    bench.sleep(30);
    run_all(&mut bench, &mut node, |index| i32::from(index == 1));
    let mut all = counts(&bench);
    all.sort();
    assert_eq!(all, ["0", "0", "1"]);
    let status = bench.read(Resource::Job, "a")["status"].clone();
    assert_eq!(
        (&status["completedIndexes"], &status["failedIndexes"]),
        (&json!("0"), &json!("1")),
        "{status:#}"
    );
    let conditions = status["conditions"].as_array().expect("conditions");
    assert_eq!(conditions.last().expect("one")["type"], "Failed");
}

#[test]
fn ends_are_counted_in_the_transaction_that_records_them() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    for i in 0..40 {
        bench.create(job(&format!("j{i}"), json!({"backoffLimit": 0})));
    }
    bench.settle();
    node.obey(&bench.commands);
    // More objects wait to be looked at than one batch takes.
    for i in 0..600 {
        bench.create(super::cron(&format!("c{i}"), "0 0 1 1 *", json!({})));
    }
    for pod in node.pods.values() {
        bench.world.report(ended(pod, 0, bench.now), bench.at());
    }
    bench.step();
    bench.crash();
    let done =
        |bench: &Bench| bench.list(Resource::Job).iter().filter(|j| j["status"]["succeeded"] == 1).count();
    assert_eq!(done(&bench), 40);
}

#[test]
fn what_is_said_twice_counts_once() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(array("a", 2, 1));
    bench.settle();
    node.obey(&std::mem::take(&mut bench.commands));
    let pod = node.pods.values().next().expect("a pod").clone();
    for _ in 0..3 {
        bench.world.report(ended(&pod, 0, bench.now), bench.at());
    }
    // Nor does a late word bring it back.
    bench.world.report(running(&pod, bench.now), bench.at());
    bench.world.report(ended(&pod, 1, bench.now), bench.at());
    bench.settle();
    bench.world.report(ended(&pod, 1, bench.now), bench.at());
    bench.settle();
    let status = bench.read(Resource::Job, "a")["status"].clone();
    assert_eq!((&status["succeeded"], &status["failed"]), (&json!(1), &Value::Null), "{status:#}");
    let acknowledged =
        bench.commands.iter().filter(|c| matches!(c, Command::Acknowledge { uid } if *uid == pod.uid));
    assert_eq!(acknowledged.count(), 6, "the node may forget it, as often as it asks");
}

#[test]
fn a_template_that_may_not_run_is_told_and_tried_again() {
    let mut bench = Bench::new();
    let mut urgent = job("a", json!({}));
    urgent["spec"]["template"]["spec"]["priorityClassName"] = "urgent".into();
    bench.create(urgent);
    bench.settle();
    assert_eq!(bench.list(Resource::Pod), Vec::<Value>::new());
    assert_eq!(bench.reasons("Job", "a"), ["FailedCreate"]);
    assert_eq!(bench.read(Resource::Job, "a")["status"]["active"], Value::Null);
    bench.sleep(180);
    let events = bench.list(Resource::Event);
    let event = events.iter().find(|e| e["reason"] == "FailedCreate").expect("an event");
    assert_eq!(event["count"], 4, "{event:#}");
}

#[test]
fn a_job_that_is_over_goes_after_its_time() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(job("a", json!({"ttlSecondsAfterFinished": 60})));
    run_all(&mut bench, &mut node, |_| 0);
    let end = bench.now;
    bench.sleep(end + 59 - bench.now);
    assert!(bench.get(Resource::Job, "a").is_some());
    bench.sleep(2);
    assert_eq!(bench.get(Resource::Job, "a"), None);
    assert_eq!(bench.list(Resource::Pod), Vec::<Value>::new());
    assert!(bench.commands.iter().any(|c| matches!(c, Command::ForgetJob { .. })));
    assert!(bench.journal.audit.iter().any(|a| a.body["action"] == "expired"));
}

#[test]
fn suspension_ends_the_pods_and_resuming_starts_anew() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(array("a", 4, 2));
    bench.settle();
    bench.patch(Resource::Job, "a", json!({"spec": {"suspend": true}}));
    bench.settle();
    let stopped = node.obey(&std::mem::take(&mut bench.commands));
    assert_eq!(stopped.len(), 2);
    for pod in node.pods.values() {
        bench.world.report(ended(pod, 143, bench.now), bench.at());
    }
    bench.settle();
    node.obey(&std::mem::take(&mut bench.commands));
    assert_eq!(bench.list(Resource::Pod), Vec::<Value>::new());
    assert_eq!(bench.read(Resource::Job, "a")["status"]["failed"], Value::Null);
    bench.patch(Resource::Job, "a", json!({"spec": {"suspend": false}}));
    run_all(&mut bench, &mut node, |_| 0);
    assert_eq!(bench.read(Resource::Job, "a")["status"]["succeeded"], 4);
}

#[test]
fn pods_made_before_a_template_changed_keep_theirs() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(array("a", 4, 1));
    bench.settle();
    node.obey(&std::mem::take(&mut bench.commands));
    let first = node.pods.values().next().expect("a pod").clone();
    bench.world.report(ended(&first, 0, bench.now), bench.at());
    bench.patch(Resource::Job, "a", json!({"spec": {"suspend": true}}));
    bench.settle();
    for pod in node.pods.values() {
        bench.world.report(ended(pod, 143, bench.now), bench.at());
    }
    bench.settle();
    let name = &*first.name;
    let before = bench.read(Resource::Pod, name);
    // As the rules of a suspended Job allow; what may change is theirs to say.
    bench.patch(Resource::Job, "a", json!({"spec": {"template": {"metadata": {"labels": {"round": "2"}}}}}));
    bench.settle();
    let mut after = bench.read(Resource::Pod, name);
    after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    assert_eq!(after, before);
    bench.crash();
    let mut reread = bench.read(Resource::Pod, name);
    reread["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    assert_eq!(reread, before);
}

#[test]
fn a_job_of_another_controller_is_left_alone() {
    let mut bench = Bench::new();
    bench.create(job("a", json!({"managedBy": "example.com/queue"})));
    bench.settle();
    assert_eq!(bench.list(Resource::Pod), Vec::<Value>::new());
    assert_eq!(bench.read(Resource::Job, "a")["status"], json!({}));
}

#[test]
fn the_pods_of_an_array_speak_with_the_voice_of_their_job() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(array("a", 20, 20));
    bench.settle();
    node.obey(&bench.commands);
    for pod in node.pods.values() {
        let message = format!("Container image pulled in {} ms", pod.index.unwrap_or(0));
        let event = Report::Event { uid: pod.uid, warning: false, reason: "Pulled", message };
        bench.world.report(event, bench.at());
    }
    bench.settle();
    let pulled: Vec<Value> =
        bench.list(Resource::Event).into_iter().filter(|e| e["reason"] == "Pulled").collect();
    assert_eq!(pulled.len(), 1);
    assert_eq!((&pulled[0]["count"], &pulled[0]["involvedObject"]["name"]), (&json!(20), &json!("a")));
}

#[test]
fn an_array_pod_costs_three_versions_and_a_hundred_bytes() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(array("a", 300, 50));
    run_all(&mut bench, &mut node, |_| 0);
    let (rows, bytes) = bench.journal.array_rows();
    assert_eq!(rows, 300);
    assert!(bytes / rows <= 110, "{} bytes a row", bytes / rows);
    assert_eq!(bench.journal.array_puts, 900, "made and bound, running, ended");
}

/// A selector chooses by the labels that are shown, though those of an array's pods are in no one place.
#[test]
fn a_selector_chooses_by_the_labels_that_are_shown() {
    let mut bench = Bench::new();
    bench.create(array("a", 3, 3));
    let mut alone = pod("alone");
    alone["metadata"]["labels"] = json!({"team": "ml"});
    bench.create(alone);
    bench.settle();
    // One of them has a head of its own.
    bench.patch(
        Resource::Pod,
        &bench.names(Resource::Pod)[0].clone(),
        json!({"metadata": {"labels": {"seen": "yes"}}}),
    );
    bench.settle();
    let mut chosen = 0;
    for text in [
        "batch.kubernetes.io/job-name=a",
        "batch.kubernetes.io/job-completion-index=1",
        "batch.kubernetes.io/job-completion-index in (0,2)",
        "batch.kubernetes.io/job-completion-index>0",
        "!batch.kubernetes.io/job-completion-index",
        "team",
        "team!=ml",
        "seen=yes,job-name=a",
        "none notin (a,b)",
    ] {
        let selector = watchbell_api::selector::Labels::parse(text).unwrap();
        let snapshot = bench.world.snapshot();
        for object in snapshot.list(Resource::Pod, None, None) {
            let expect = selector.matches(&object.labels());
            assert_eq!(object.is_chosen(&selector), expect, "{text} of {}", object.name);
            chosen += usize::from(expect);
        }
    }
    assert_eq!(chosen, 3 + 1 + 2 + 2 + 1 + 1 + 3 + 1 + 4);
}

#[test]
fn a_pod_that_finds_no_name_is_made_once_one_is_free() {
    let mut bench = Bench::new();
    // More than one pass makes.
    let mut suspended = array("a", 1100, 1100);
    suspended["spec"]["suspend"] = true.into();
    bench.create(suspended);
    bench.settle();
    let stored = bench.world.get(Resource::Job, "ml", "a").cloned().expect("it was made");
    let template = bench.world.job_template(&stored).expect("it is admitted");
    let names: Vec<String> = (0..=u8::MAX).map(|salt| template.pod_name(Some(1), 0, salt)).collect();
    for name in &names {
        let mut foreign = pod(name);
        foreign["spec"]["schedulingGates"] = json!([{"name": "example.com/wait"}]);
        bench.create(foreign);
    }
    bench.patch(Resource::Job, "a", json!({"spec": {"suspend": false}}));
    bench.settle();
    assert_eq!(bench.read(Resource::Job, "a")["status"]["active"], 1099, "the others are made");
    let events = bench.list(Resource::Event);
    let failed = events.iter().find(|event| event["reason"] == "FailedCreate").expect("it is told");
    assert_eq!(
        failed["message"],
        format!(
            "Error creating: pods \"{}\" already exists, as do all other names for index 1; delete the pods whose names \
             begin with \"a-1-\" and that are not the Job's",
            names[255]
        )
    );
    bench.delete(Resource::Pod, &names[7], Propagation::Background);
    bench.sleep(60);
    assert_eq!(bench.read(Resource::Job, "a")["status"]["active"], 1100);
    let made = bench.read(Resource::Pod, &names[7]);
    assert_eq!(made["metadata"]["ownerReferences"][0]["name"], "a");
}

#[test]
fn the_node_hears_what_is_changed_of_its_pods() {
    let mut bench = Bench::new();
    let mut gated = pod("gated");
    gated["spec"]["schedulingGates"] = json!([{"name": "example.com/a"}]);
    bench.create(gated);
    bench.create(pod("p"));
    bench.settle();
    bench.commands.clear();
    let changed = |bench: &mut Bench, name: &str, body: Value| {
        let request = Request {
            write: Write::Patch { kind: PatchKind::StrategicMerge, body },
            ..request(Resource::Pod, "ml", name)
        };
        let warnings = bench.write(request).unwrap_or_else(|error| panic!("{error}")).warnings;
        bench.settle();
        let told = std::mem::take(&mut bench.commands).into_iter();
        let specs =
            told.filter_map(|c| if let Command::ChangeSpec { spec, .. } = c { Some(spec) } else { None });
        let specs = specs.map(|spec| (spec.active_deadline_seconds, spec.containers[0].image.clone()));
        (specs.collect::<Vec<_>>(), warnings)
    };
    let image = json!({"spec": {"containers": [{"name": "main", "image": "busybox:other"}]}});
    let deadline = json!({"spec": {"activeDeadlineSeconds": 5}});
    assert_eq!(changed(&mut bench, "p", json!({"metadata": {"labels": {"a": "b"}}})).0, []);
    let (told, warnings) = changed(&mut bench, "p", deadline.clone());
    assert_eq!((told, warnings), (vec![(Some(5), "busybox:bar".to_owned())], vec![]));
    let (told, warnings) = changed(&mut bench, "p", image.clone());
    assert_eq!(told, [(Some(5), "busybox:other".to_owned())]);
    assert!(warnings[0].starts_with("spec.containers[0].image: the container is not ended"), "{warnings:?}");
    // What has not begun begins with it.
    for body in [deadline, image] {
        assert_eq!(changed(&mut bench, "gated", body), (vec![], vec![]));
    }
}
