//! Jobs take in pods that fit their selector and let go those that fit no more.

use serde_json::{Value, json};
use watchbell_api::node::Command;
use watchbell_api::types::pod_status::JobLog;
use watchbell_api::{Resource, Uid};

use super::fake_node::{Node, ended};
use super::{Bench, array, job, pod, pod_template, uid_of};
use crate::request::Propagation;

fn owners(bench: &Bench, name: &str) -> Value {
    bench.read(Resource::Pod, name)["metadata"]["ownerReferences"].clone()
}

fn two_pods() -> (Bench, Vec<String>) {
    let mut bench = Bench::new();
    bench.create(job("a", json!({"parallelism": 2, "completions": 4})));
    bench.settle();
    let names = bench.names(Resource::Pod);
    assert_eq!(names.len(), 2);
    (bench, names)
}

#[test]
fn an_orphan_that_fits_is_adopted_again() {
    let (mut bench, names) = two_pods();
    bench.patch(Resource::Pod, &names[0], json!({"metadata": {"ownerReferences": null}}));
    bench.settle();
    assert_eq!(owners(&bench, &names[0])[0]["name"], "a");
    assert_eq!(bench.names(Resource::Pod), names, "no other pod was made for it");
    let job = bench.read(Resource::Job, "a");
    assert_eq!(job["status"]["active"], 2);
    // The journal knows it as the Job's, under its own name.
    bench.crash();
    assert_eq!(owners(&bench, &names[0])[0]["uid"], uid_of(&job).to_string());
    // And it counts.
    let mut node = Node::default();
    node.obey(&bench.world.node_sync());
    let adopted = node.pods.values().find(|pod| *pod.name == *names[0]).expect("the adopted pod").clone();
    bench.world.report(ended(&adopted, 0, bench.now), bench.at());
    bench.settle();
    assert_eq!(bench.read(Resource::Job, "a")["status"]["succeeded"], 1);
}

#[test]
fn a_pod_that_fits_no_more_is_released_and_replaced() {
    let (mut bench, names) = two_pods();
    let label = json!({"metadata": {"labels": {"batch.kubernetes.io/controller-uid": "other"}}});
    bench.patch(Resource::Pod, &names[0], label);
    bench.settle();
    assert_eq!(owners(&bench, &names[0]), Value::Null);
    let status = bench.read(Resource::Job, "a")["status"].clone();
    assert_eq!((&status["active"], &status["failed"]), (&json!(2), &Value::Null), "it counts as nothing");
    assert_eq!(bench.list(Resource::Pod).len(), 3);
    let before = bench.list(Resource::Pod);
    bench.crash();
    assert_eq!(bench.list(Resource::Pod), before);
}

#[test]
fn a_job_with_a_selector_of_its_own_takes_in_foreign_pods() {
    let mut bench = Bench::new();
    let mut stray = pod("stray");
    stray["metadata"]["labels"] = json!({"app": "a"});
    bench.create(stray);
    bench.create(pod("stranger"));
    bench.settle();
    let mut template = pod_template();
    template["metadata"] = json!({"labels": {"app": "a"}});
    let spec = json!({
        "parallelism": 2, "completions": 2, "manualSelector": true, "template": template,
        "selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]},
    });
    bench.create(job("a", spec));
    bench.settle();
    assert_eq!(owners(&bench, "stray")[0]["name"], "a");
    assert_eq!(owners(&bench, "stranger"), Value::Null);
    assert_eq!(bench.list(Resource::Pod).len(), 3, "one of two pods was there already");
    // One that comes later is one too many.
    let mut late = pod("late");
    late["metadata"]["labels"] = json!({"app": "b"});
    bench.create(late);
    bench.settle();
    let late = bench.get(Resource::Pod, "late");
    assert!(late.is_none_or(|pod| pod["metadata"]["deletionTimestamp"].is_string()));
}

#[test]
fn a_finished_job_takes_in_nothing() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(job("a", json!({})));
    bench.settle();
    node.obey(&std::mem::take(&mut bench.commands));
    for pod in node.pods.values() {
        bench.world.report(ended(pod, 0, bench.now), bench.at());
    }
    bench.settle();
    let uid = uid_of(&bench.read(Resource::Job, "a")).to_string();
    let mut stray = pod("stray");
    stray["metadata"]["labels"] = json!({"batch.kubernetes.io/controller-uid": uid});
    bench.create(stray);
    bench.settle();
    assert_eq!(owners(&bench, "stray"), Value::Null);
}

#[test]
fn a_label_of_ones_own_changes_nothing_else() {
    let (mut bench, names) = two_pods();
    bench.patch(Resource::Pod, &names[0], json!({"metadata": {"labels": {"seen": "yes"}}}));
    bench.settle();
    let pod = bench.read(Resource::Pod, &names[0]);
    assert_eq!(pod["metadata"]["labels"]["seen"], "yes");
    assert_eq!(pod["metadata"]["finalizers"], json!(["batch.kubernetes.io/job-tracking"]));
    bench.crash();
    assert_eq!(bench.read(Resource::Pod, &names[0]), pod);
    let mut node = Node::default();
    node.obey(&bench.world.node_sync());
    for pod in node.pods.values() {
        bench.world.report(ended(pod, 0, bench.now), bench.at());
    }
    bench.settle();
    assert_eq!(bench.read(Resource::Pod, &names[0])["metadata"]["finalizers"], Value::Null);
    assert_eq!(bench.read(Resource::Job, "a")["status"]["succeeded"], 2);
}

#[test]
fn a_job_without_indexes_keeps_pods_that_had_some() {
    let mut bench = Bench::new();
    let mut template = pod_template();
    template["metadata"] = json!({"labels": {"app": "a"}});
    let mut first = array("first", 2, 2);
    first["spec"]["template"] = template.clone();
    bench.create(first);
    bench.settle();
    let names = bench.names(Resource::Pod);
    bench.delete(Resource::Job, "first", Propagation::Orphan);
    bench.settle();
    assert_eq!(owners(&bench, &names[0]), Value::Null);
    let spec = json!({
        "parallelism": 2, "completions": 2, "manualSelector": true, "template": template,
        "selector": {"matchLabels": {"app": "a"}},
    });
    bench.create(job("second", spec));
    bench.settle();
    assert_eq!(bench.names(Resource::Pod), names, "no other pods were made for them");
    for name in &names {
        let pod = bench.read(Resource::Pod, name);
        assert_eq!(pod["metadata"]["ownerReferences"][0]["name"], "second");
        assert_eq!(pod["metadata"]["deletionTimestamp"], Value::Null);
        assert!(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].is_string());
    }
    bench.crash();
    let mut node = Node::default();
    node.obey(&bench.world.node_sync());
    for pod in node.pods.values() {
        bench.world.report(ended(pod, 0, bench.now), bench.at());
    }
    bench.settle();
    let status = bench.read(Resource::Job, "second")["status"].clone();
    assert_eq!((&status["succeeded"], &status["failed"]), (&json!(2), &Value::Null));
}

#[test]
fn a_job_of_another_controller_takes_in_nothing() {
    let mut bench = Bench::new();
    let mut template = pod_template();
    template["metadata"] = json!({"labels": {"app": "a"}});
    let spec = json!({
        "managedBy": "example.com/queue", "manualSelector": true, "template": template,
        "selector": {"matchLabels": {"app": "a"}},
    });
    bench.create(job("selects", spec));
    let uid = uid_of(&bench.create(job("named", json!({"managedBy": "example.com/queue"})))).to_string();
    bench.settle();
    for (name, labels) in
        [("a", json!({"app": "a"})), ("b", json!({"batch.kubernetes.io/controller-uid": uid}))]
    {
        let mut stray = pod(name);
        stray["metadata"]["labels"] = labels;
        bench.create(stray);
    }
    bench.settle();
    for job in ["selects", "named"] {
        bench.patch(Resource::Job, job, json!({"metadata": {"labels": {"seen": "yes"}}}));
    }
    bench.settle();
    assert_eq!([owners(&bench, "a"), owners(&bench, "b")], [Value::Null, Value::Null]);
    // Nor after a restart, when its own controller suspends it.
    bench.crash();
    bench.patch(Resource::Job, "selects", json!({"spec": {"suspend": true}}));
    bench.settle();
    assert_eq!(owners(&bench, "a"), Value::Null);
}

/// What a pass of a Job costs does not follow the pods that stand about.
#[test]
fn a_job_looks_once_at_each_pod_that_it_may_adopt() {
    let mut bench = Bench::new();
    let labelled = |name: &str, app: &str| {
        let mut stray = pod(name);
        stray["metadata"]["labels"] = json!({"app": app});
        stray
    };
    for name in ["s0", "s1", "s2"] {
        bench.create(labelled(name, "other"));
    }
    let mut template = pod_template();
    template["metadata"] = json!({"labels": {"app": "a"}});
    let manual = json!({
        "parallelism": 1, "completions": 4, "manualSelector": true, "template": template,
        "selector": {"matchLabels": {"app": "a"}},
    });
    let manual = uid_of(&bench.create(job("manual", manual)));
    let plain = uid_of(&bench.create(job("plain", json!({}))));
    let strays = |bench: &Bench, job| {
        bench.world.jobs[&job].strays.iter().map(|at| at.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(strays(&bench, manual), ["s0", "s1", "s2"], "all that there are, when it is new");
    assert_eq!(strays(&bench, plain), [""; 0], "nobody can have named it yet");
    bench.settle();
    assert_eq!(strays(&bench, manual), [""; 0]);
    // Whatever makes it look again, it does not look at those.
    let pods = bench.names(Resource::Pod);
    let own = pods.iter().find(|name| name.starts_with("manual-")).expect("its pod");
    bench.delete(Resource::Pod, own, Propagation::Background);
    assert_eq!(strays(&bench, manual), [""; 0]);
    bench.settle();
    // A pod that comes, or changes, is shown to whom it may concern.
    bench.create(labelled("s3", "other"));
    bench.patch(Resource::Pod, "s1", json!({"metadata": {"labels": {"app": "a"}}}));
    assert_eq!((strays(&bench, manual), strays(&bench, plain)), (vec!["s1".into(), "s3".into()], vec![]));
    bench.settle();
    assert_eq!(
        (owners(&bench, "s1")[0]["name"].as_str(), owners(&bench, "s3")),
        (Some("manual"), Value::Null)
    );
    let named = json!({"metadata": {"labels": {"batch.kubernetes.io/controller-uid": plain.to_string()}}});
    bench.patch(Resource::Pod, "s2", named);
    assert_eq!(strays(&bench, plain), ["s2"]);
    bench.settle();
    assert_eq!(owners(&bench, "s2")[0]["name"], "plain");
    // After a restart nothing is known of what was looked at.
    bench.crash();
    assert_eq!(strays(&bench, manual), ["s0", "s3"]);
    bench.settle();
    assert_eq!((strays(&bench, manual), owners(&bench, "s0")), (vec![], Value::Null));
}

/// Where the logs of a pod lie, as its readers are told and the node.
fn log(bench: &Bench, name: &str) -> Option<JobLog> {
    let snapshot = bench.world.snapshot();
    let stored = snapshot.get(Resource::Pod, "ml", name).expect("the pod is there");
    let assignment = snapshot.assignment(stored).expect("it is a pod");
    assert_eq!(assignment.log, stored.job_log(), "who writes it and who reads it");
    stored.job_log()
}

fn release(bench: &mut Bench, name: &str) {
    let label = json!({"metadata": {"labels": {"batch.kubernetes.io/controller-uid": "other"}}});
    bench.patch(Resource::Pod, name, label);
    bench.settle();
}

fn forgotten_jobs(bench: &Bench) -> Vec<Uid> {
    let jobs = bench.commands.iter();
    jobs.filter_map(|c| if let Command::ForgetJob { uid } = c { Some(*uid) } else { None }).collect()
}

#[test]
fn a_log_stays_where_it_is_whoever_controls_its_pod() {
    let mut bench = Bench::new();
    bench.create(array("a", 4, 2));
    bench.settle();
    let a = uid_of(&bench.read(Resource::Job, "a"));
    let names = bench.names(Resource::Pod);
    let place = |index| Some(JobLog { job: a, index: Some(index), attempt: 0 });
    assert_eq!((log(&bench, &names[0]), log(&bench, &names[1])), (place(0), place(1)));
    // It is let go, and another Job takes it in, with one that nobody made.
    release(&mut bench, &names[0]);
    assert_eq!((owners(&bench, &names[0]), log(&bench, &names[0])), (Value::Null, place(0)));
    bench.create(pod("stray"));
    bench.settle();
    for name in [&names[0], "stray"] {
        bench.patch(Resource::Pod, name, json!({"metadata": {"labels": {"app": "b"}}}));
    }
    let mut template = pod_template();
    template["metadata"] = json!({"labels": {"app": "b"}});
    let spec = json!({
        "parallelism": 2, "completions": 2, "manualSelector": true, "template": template,
        "selector": {"matchLabels": {"app": "b"}},
    });
    bench.create(job("b", spec));
    bench.settle();
    for name in [&names[0], "stray"] {
        assert_eq!(owners(&bench, name)[0]["name"], "b");
    }
    let all = |bench: &Bench| (log(bench, &names[0]), log(bench, &names[1]), log(bench, "stray"));
    assert_eq!(all(&bench), (place(0), place(1), None));
    // Its Job goes, and it stays; a client takes the other one away from its Job.
    bench.delete(Resource::Job, "a", Propagation::Orphan);
    bench.settle();
    assert_eq!(all(&bench), (place(0), place(1), None));
    bench.crash();
    assert_eq!(all(&bench), (place(0), place(1), None));
    let mut node = Node::default();
    node.obey(&bench.world.node_sync());
    let pod = node.pods.values().find(|pod| *pod.name == *names[1]).expect("a pod").clone();
    bench.world.report(ended(&pod, 0, bench.now), bench.at());
    bench.settle();
    assert_eq!(all(&bench), (place(0), place(1), None));
}

#[test]
fn the_logs_of_a_job_go_with_the_last_pod_that_names_them() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(array("a", 2, 2));
    bench.settle();
    node.obey(&std::mem::take(&mut bench.commands));
    let a = uid_of(&bench.read(Resource::Job, "a"));
    let names = bench.names(Resource::Pod);
    release(&mut bench, &names[0]);
    bench.settle();
    node.obey(&std::mem::take(&mut bench.commands));
    let (stays, go): (Vec<_>, Vec<_>) = node.pods.values().cloned().partition(|pod| *pod.name == *names[0]);
    bench.world.report(ended(&stays[0], 0, bench.now), bench.at());
    bench.settle();
    // Those that run are ended first, the one that was let go stays.
    bench.delete(Resource::Job, "a", Propagation::Background);
    bench.settle();
    assert_eq!(bench.get(Resource::Job, "a"), None);
    assert_eq!(forgotten_jobs(&bench), []);
    bench.crash();
    bench.settle();
    for pod in &go {
        bench.world.report(ended(pod, 143, bench.now), bench.at());
    }
    bench.settle();
    assert_eq!(bench.names(Resource::Pod), names[..1]);
    assert_eq!(forgotten_jobs(&bench), []);
    bench.delete(Resource::Pod, &names[0], Propagation::Background);
    bench.settle();
    assert_eq!(forgotten_jobs(&bench), [a]);
}

#[test]
fn the_log_of_a_pod_that_was_taken_in_goes_with_its_job() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    let mut stray = pod("stray");
    stray["metadata"]["labels"] = json!({"app": "a"});
    bench.create(stray);
    bench.settle();
    node.obey(&std::mem::take(&mut bench.commands));
    let mut template = pod_template();
    template["metadata"] = json!({"labels": {"app": "a"}});
    let spec = json!({
        "manualSelector": true, "template": template, "selector": {"matchLabels": {"app": "a"}},
    });
    bench.create(job("a", spec));
    bench.settle();
    assert_eq!(bench.names(Resource::Pod), ["stray"]);
    let stray = node.pods.values().next().expect("a pod").clone();
    bench.world.report(ended(&stray, 0, bench.now), bench.at());
    bench.settle();
    bench.commands.clear();
    bench.delete(Resource::Job, "a", Propagation::Background);
    bench.settle();
    let forgotten = bench
        .commands
        .iter()
        .any(|command| matches!(command, Command::Forget { uid, log: None } if *uid == stray.uid));
    assert!(forgotten, "{:?}", bench.commands);
}

/// A controller that is not one of this server's has no logs here.
#[test]
fn the_log_of_a_pod_with_a_foreign_controller_goes_with_it() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    let mut owned = pod("p");
    owned["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "example.com/v1", "kind": "Workflow", "name": "w", "controller": true,
        "uid": "00000000-0000-0000-0000-0000000000aa",
    }]);
    bench.create(owned);
    bench.settle();
    assert_eq!(log(&bench, "p"), None);
    node.obey(&std::mem::take(&mut bench.commands));
    let pod = node.pods.values().next().expect("a pod").clone();
    bench.world.report(ended(&pod, 0, bench.now), bench.at());
    bench.settle();
    bench.delete(Resource::Pod, "p", Propagation::Background);
    bench.settle();
    let told = bench.commands.last();
    assert!(matches!(told, Some(Command::Forget { log: None, .. })), "{told:?}");
}
