//! Deletion: who waits for whom, and what the node is told.

use serde_json::{Value, json};
use watchbell_api::node::Command;
use watchbell_api::{Reason, Resource};

use super::fake_node::{Node, ended};
use super::{Bench, array, config_map, cron, job, pod, uid_of};
use crate::request::{DeleteOptions, Page, Propagation, Request, Write};
use crate::world::RECONCILES_PER_BATCH;
use crate::world::object::Key;

fn stops(bench: &Bench) -> usize {
    bench.commands.iter().filter(|c| matches!(c, Command::Stop { .. })).count()
}

#[test]
fn an_object_goes_at_once_or_when_its_last_finalizer_does() {
    let mut bench = Bench::new();
    bench.create(config_map("a"));
    let mut held = config_map("held");
    held["metadata"]["finalizers"] = json!(["example.com/a", "example.com/b"]);
    bench.create(held);
    bench.settle();
    let gone = bench.delete(Resource::ConfigMap, "a", Propagation::Background).object;
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    // Of some kinds the object itself is the answer.
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    bench.create(account);
    let gone = bench.delete(Resource::ServiceAccount, "robot", Propagation::Background).object;
    assert_eq!((&gone["kind"], &gone["metadata"]["name"]), (&json!("ServiceAccount"), &json!("robot")));
    let held = bench.delete(Resource::ConfigMap, "held", Propagation::Background).object;
    assert_eq!(held["metadata"]["deletionTimestamp"], "2026-03-01T00:00:00Z");
    bench.settle();
    assert_eq!(bench.names(Resource::ConfigMap), ["held", "kube-root-ca.crt"]);
    let added = json!({"metadata": {"finalizers": ["example.com/b", "example.com/c"]}});
    let error = bench.try_patch(Resource::ConfigMap, "held", added).expect_err("no new finalizers");
    assert!(error.message.contains("no new finalizers can be added"), "{error}");
    bench.patch(Resource::ConfigMap, "held", json!({"metadata": {"finalizers": ["example.com/b"]}}));
    bench.settle();
    assert_eq!(bench.names(Resource::ConfigMap), ["held", "kube-root-ca.crt"]);
    bench.patch(Resource::ConfigMap, "held", json!({"metadata": {"finalizers": null}}));
    bench.settle();
    assert_eq!(bench.names(Resource::ConfigMap), ["kube-root-ca.crt"]);
}

#[test]
fn what_came_and_went_in_one_batch_is_told_and_not_recorded() {
    let mut bench = Bench::new();
    bench.create(config_map("a"));
    let made = bench.patch(Resource::ConfigMap, "a", json!({"data": {"a": "2"}}));
    bench.delete(Resource::ConfigMap, "a", Propagation::Background);
    let mut stage = bench.world.take_stage(bench.at());
    assert!(stage.changes.is_empty() && stage.rows.is_empty() && stage.deletes.is_empty(), "{stage:?}");
    let told = stage.take_told();
    let [came, went] = &told[..] else { panic!("{told:?}") };
    assert_eq!(made["metadata"]["resourceVersion"], came.resource_version.to_string());
    assert!(came.old.is_none() && came.new.is_some() && went.old.is_some() && went.new.is_none());
    assert_eq!(went.resource_version, bench.world.resource_version());
}

#[test]
fn a_running_pod_is_ended_by_the_node() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    bench.create(pod("p"));
    bench.settle();
    node.obey(&std::mem::take(&mut bench.commands));
    bench.delete(Resource::Pod, "p", Propagation::Background);
    bench.settle();
    let marked = bench.read(Resource::Pod, "p");
    assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-03-01T00:00:30Z");
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(matches!(bench.commands[..], [Command::Stop { grace_seconds: 30, .. }]), "{:?}", bench.commands);
    // Again: nothing new. Shorter: the node is told.
    bench.commands.clear();
    bench.delete(Resource::Pod, "p", Propagation::Background);
    bench.settle();
    assert_eq!(stops(&bench), 0);
    let sooner = DeleteOptions { grace_period_seconds: Some(1), ..DeleteOptions::default() };
    bench.try_delete(Resource::Pod, "p", sooner).expect("accepted");
    bench.settle();
    assert!(matches!(bench.commands[..], [Command::Stop { grace_seconds: 1, .. }]), "{:?}", bench.commands);
    let pod = node.pods.values().next().expect("a pod").clone();
    bench.world.report(ended(&pod, 143, bench.now), bench.at());
    bench.settle();
    assert_eq!(bench.get(Resource::Pod, "p"), None);
    assert!(bench.commands.iter().any(|c| matches!(c, Command::Forget { uid, .. } if *uid == pod.uid)));
}

#[test]
fn by_force_the_object_goes_now_and_the_processes_too() {
    let mut bench = Bench::new();
    bench.create(pod("p"));
    bench.settle();
    bench.commands.clear();
    let force = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    bench.try_delete(Resource::Pod, "p", force).expect("accepted");
    bench.settle();
    assert_eq!(bench.get(Resource::Pod, "p"), None);
    let told = &bench.commands[..];
    assert!(matches!(told, [Command::Stop { grace_seconds: 0, .. }, Command::Forget { .. }]), "{told:?}");
}

#[test]
fn a_finalizer_keeps_a_pod_that_ended() {
    let mut bench = Bench::new();
    let mut node = Node::default();
    let mut held = pod("p");
    held["metadata"]["finalizers"] = json!(["example.com/a"]);
    bench.create(held);
    bench.settle();
    node.obey(&std::mem::take(&mut bench.commands));
    bench.delete(Resource::Pod, "p", Propagation::Background);
    bench.settle();
    let pod = node.pods.values().next().expect("a pod").clone();
    bench.world.report(ended(&pod, 143, bench.now), bench.at());
    bench.settle();
    assert_eq!(bench.read(Resource::Pod, "p")["status"]["phase"], "Failed");
    bench.patch(Resource::Pod, "p", json!({"metadata": {"finalizers": null}}));
    bench.settle();
    assert_eq!(bench.get(Resource::Pod, "p"), None);
}

/// A CronJob with one Job of two pods, one of which has ended.
fn family() -> (Bench, Node) {
    let mut bench = Bench::new();
    let mut node = Node::default();
    let spec = json!({"jobTemplate": {"spec": {
        "completionMode": "Indexed", "completions": 5, "parallelism": 2,
    }}});
    bench.create(cron("c", "* * * * *", spec));
    bench.sleep(60);
    node.obey(&std::mem::take(&mut bench.commands));
    let first = node.pods.values().next().expect("a pod").clone();
    bench.world.report(ended(&first, 0, bench.now), bench.at());
    bench.settle();
    bench.patch(Resource::CronJob, "c", json!({"spec": {"suspend": true}}));
    bench.settle();
    node.obey(&std::mem::take(&mut bench.commands));
    assert_eq!((bench.list(Resource::Job).len(), bench.list(Resource::Pod).len()), (1, 3));
    assert_eq!(node.pods.len(), 2);
    (bench, node)
}

fn end_all(bench: &mut Bench, node: &mut Node) {
    for pod in node.pods.values() {
        bench.world.report(ended(pod, 143, bench.now), bench.at());
    }
    bench.settle();
    node.obey(&std::mem::take(&mut bench.commands));
}

#[test]
fn in_the_background_the_owner_goes_first() {
    let (mut bench, mut node) = family();
    bench.delete(Resource::CronJob, "c", Propagation::Background);
    bench.settle();
    assert_eq!(bench.get(Resource::CronJob, "c"), None);
    assert_eq!(bench.list(Resource::Job), Vec::<Value>::new());
    let left = bench.list(Resource::Pod);
    assert_eq!(left.len(), 2, "the ended pod is gone, those that run are being ended");
    assert!(left.iter().all(|pod| pod["metadata"]["deletionTimestamp"].is_string()));
    assert_eq!(stops(&bench), 2);
    end_all(&mut bench, &mut node);
    assert_eq!(bench.list(Resource::Pod), Vec::<Value>::new());
}

#[test]
fn in_the_foreground_the_owner_goes_last() {
    let (mut bench, mut node) = family();
    let answer = bench.delete(Resource::CronJob, "c", Propagation::Foreground).object;
    assert_eq!(answer["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    bench.settle();
    for resource in [Resource::CronJob, Resource::Job] {
        let object = bench.list(resource).remove(0);
        assert_eq!(object["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    }
    assert_eq!(stops(&bench), 2);
    end_all(&mut bench, &mut node);
    for resource in [Resource::CronJob, Resource::Job, Resource::Pod] {
        assert_eq!(bench.list(resource), Vec::<Value>::new());
    }
}

#[test]
fn the_last_word_on_a_deletion_counts() {
    let (mut bench, _) = family();
    bench.delete(Resource::CronJob, "c", Propagation::Foreground);
    bench.settle();
    bench.delete(Resource::CronJob, "c", Propagation::Background);
    bench.settle();
    assert_eq!(bench.get(Resource::CronJob, "c"), None);
    assert_eq!(bench.list(Resource::Job).len(), 1, "it waits for its own pods");
}

#[test]
fn orphans_stay() {
    let (mut bench, mut node) = family();
    bench.delete(Resource::CronJob, "c", Propagation::Orphan);
    bench.settle();
    let job = bench.list(Resource::Job).remove(0);
    assert_eq!(job["metadata"]["ownerReferences"], Value::Null);
    // Without a word of propagation a Job's pods are orphaned, and that is warned about.
    let name = job["metadata"]["name"].as_str().expect("a name");
    let written = bench.try_delete(Resource::Job, name, DeleteOptions::default()).expect("accepted");
    assert!(written.warnings[0].starts_with("child pods are preserved by default"), "{:?}", written.warnings);
    bench.settle();
    let pods = bench.list(Resource::Pod);
    assert_eq!(pods.len(), 3);
    for pod in &pods {
        assert_eq!(pod["metadata"]["ownerReferences"], Value::Null);
        assert_eq!(pod["metadata"]["finalizers"], Value::Null);
        assert_eq!(pod["metadata"]["deletionTimestamp"], Value::Null);
    }
    assert_eq!(stops(&bench), 0);
    bench.crash();
    assert_eq!(bench.list(Resource::Pod), pods);
    end_all(&mut bench, &mut node);
    assert_eq!(bench.list(Resource::Pod).len(), 3);
}

#[test]
fn owners_of_any_kind_take_their_dependents_along() {
    let mut bench = Bench::new();
    let owner = bench.create(config_map("owner"));
    let reference = |blocks: bool| {
        json!([{
            "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid_of(&owner).to_string(),
            "blockOwnerDeletion": blocks,
        }])
    };
    for (name, blocks) in [("blocks", true), ("follows", false)] {
        let mut dependent = config_map(name);
        dependent["metadata"]["ownerReferences"] = reference(blocks);
        dependent["metadata"]["finalizers"] = json!(["example.com/a"]);
        bench.create(dependent);
    }
    let mut foreign = config_map("foreign");
    foreign["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": uid_of(&owner).to_string()}]);
    bench.create(foreign);
    bench.settle();
    bench.delete(Resource::ConfigMap, "owner", Propagation::Foreground);
    bench.settle();
    let deleting = |bench: &Bench, name: &str| {
        bench.read(Resource::ConfigMap, name)["metadata"]["deletionTimestamp"].is_string()
    };
    assert!(deleting(&bench, "owner") && deleting(&bench, "blocks") && !deleting(&bench, "follows"));
    bench.patch(Resource::ConfigMap, "blocks", json!({"metadata": {"finalizers": null}}));
    bench.settle();
    assert_eq!(bench.names(Resource::ConfigMap), ["follows", "foreign", "kube-root-ca.crt"]);
    assert!(deleting(&bench, "follows"));
    // Of a Deployment nothing is known here, so its dependent is nobody's to delete.
    assert!(!deleting(&bench, "foreign"));
}

#[test]
fn an_object_of_an_owner_that_is_gone_goes() {
    let mut bench = Bench::new();
    let mut late = config_map("late");
    late["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "00000000-0000-4000-8000-000000000000",
    }]);
    bench.create(late);
    bench.step();
    bench.settle();
    assert_eq!(bench.get(Resource::ConfigMap, "late"), None);
}

#[test]
fn a_collection_is_deleted_by_selector() {
    let mut bench = Bench::new();
    for (name, team) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let mut object = array(name, 3, 1);
        object["metadata"]["labels"] = json!({"team": team});
        bench.create(object);
    }
    bench.settle();
    let mut request = super::request(Resource::Job, "ml", "");
    request.write = Write::DeleteCollection {
        options: DeleteOptions {
            propagation_policy: Some(Propagation::Background),
            ..DeleteOptions::default()
        },
        label_selector: "team=x".into(),
        field_selector: String::new(),
        page: Page::default(),
    };
    let deleted = bench.write(request.clone()).expect("accepted").object;
    assert_eq!(deleted["items"].as_array().map(Vec::len), Some(2));
    bench.settle();
    assert_eq!(bench.names(Resource::Job), ["b"]);
    request.resource = Resource::Namespace;
    request.namespace.clear();
    assert!(bench.write(request).is_err());
}

/// Three maps named `a`, `b` and `c`, and what deletes some of those of their team.
fn team() -> (Bench, impl Fn(DeleteOptions, Page) -> Request) {
    let mut bench = Bench::new();
    for name in ["a", "b", "c"] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({"team": "x"});
        bench.create(object);
    }
    bench.settle();
    let sweep = |options, page| Request {
        write: Write::DeleteCollection {
            options,
            label_selector: "team=x".into(),
            field_selector: String::new(),
            page,
        },
        ..super::request(Resource::ConfigMap, "ml", "")
    };
    (bench, sweep)
}

fn team_names(bench: &Bench) -> Vec<String> {
    bench.names(Resource::ConfigMap).into_iter().filter(|name| name.len() == 1).collect()
}

#[test]
fn what_a_deletion_requires_it_requires_of_each_object_of_a_collection() {
    let (mut bench, sweep) = team();
    let a = bench.read(Resource::ConfigMap, "a");
    let of_a = [
        DeleteOptions { precondition_uid: Some(uid_of(&a).to_string()), ..DeleteOptions::default() },
        DeleteOptions {
            precondition_resource_version: a["metadata"]["resourceVersion"].as_str().map(str::to_owned),
            ..DeleteOptions::default()
        },
    ];
    for options in of_a {
        let refused = bench.write(sweep(options, Page::default())).expect_err("not of the others");
        assert!(refused.reason == Reason::Conflict && refused.message.contains("\"b\""), "{refused}");
        bench.settle();
        assert_eq!(team_names(&bench), ["a", "b", "c"], "all of them or none");
    }
    let options =
        DeleteOptions { precondition_uid: Some(uid_of(&a).to_string()), ..DeleteOptions::default() };
    bench.write(sweep(options, Page { limit: 1, start_after: None })).expect("it is so of this one");
    bench.settle();
    assert_eq!(team_names(&bench), ["b", "c"]);
}

#[test]
fn a_collection_is_deleted_page_by_page() {
    let (mut bench, sweep) = team();
    let first =
        bench.write(sweep(DeleteOptions::default(), Page { limit: 1, start_after: None })).unwrap().object;
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().expect("a list");
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a".to_owned()], &json!(2)));
    // What came meanwhile lies before the page that is next.
    let mut late = config_map("a");
    late["metadata"]["labels"] = json!({"team": "x"});
    bench.create(late);
    let rest = Page { limit: 2, start_after: Some(("ml".into(), "a".into())) };
    let second = bench.write(sweep(DeleteOptions::default(), rest)).unwrap().object;
    assert_eq!(names(&second), ["b", "c"]);
    assert!(second["metadata"].get("remainingItemCount").is_none(), "{second}");
    bench.settle();
    assert_eq!(team_names(&bench), ["a"]);
}

#[test]
fn a_deleted_job_tells_its_cronjob() {
    let (mut bench, _) = family();
    bench.patch(Resource::CronJob, "c", json!({"spec": {"suspend": false}}));
    let name = bench.names(Resource::Job).remove(0);
    bench.delete(Resource::Job, &name, Propagation::Background);
    bench.settle();
    assert_eq!(bench.read(Resource::CronJob, "c")["status"]["active"], Value::Null);
    assert!(bench.reasons("CronJob", "c").contains(&"MissingJob".to_owned()));
}

#[test]
fn pods_that_wait_go_with_their_job_without_a_word_to_the_node() {
    let mut bench = Bench::new();
    let mut wide = job("wide", json!({"completionMode": "Indexed", "completions": 300, "parallelism": 300}));
    wide["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "2"}});
    bench.create(wide);
    bench.settle();
    assert_eq!(bench.list(Resource::Pod).len(), 300);
    bench.delete(Resource::Job, "wide", Propagation::Background);
    bench.settle();
    assert_eq!(bench.list(Resource::Pod).len(), 2);
    assert_eq!(stops(&bench), 2);
}

#[test]
fn pods_of_a_job_that_another_finalizer_keeps_are_counted_in_the_batch_of_their_end() {
    let mut bench = Bench::new();
    let mut held = array("a", 2, 2);
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    // They wait for ever, so they go at once.
    held["spec"]["template"]["spec"]["nodeSelector"] = json!({"nowhere": "here"});
    bench.create(held);
    bench.settle();
    for i in 0..RECONCILES_PER_BATCH {
        bench.world.mark(Key::new(Resource::ConfigMap, "ml", &format!("line-{i}")));
    }
    bench.delete(Resource::Job, "a", Propagation::Foreground);
    bench.step();
    assert_eq!(bench.names(Resource::Pod), [""; 0]);
    let job = bench.read(Resource::Job, "a");
    assert_eq!((&job["status"]["failed"], &job["status"]["active"]), (&json!(2), &Value::Null));
    bench.settle();
    assert_eq!(bench.read(Resource::Job, "a")["metadata"]["finalizers"], json!(["example.com/hold"]));
    bench.patch(Resource::Job, "a", json!({"metadata": {"finalizers": null}}));
    bench.settle();
    assert_eq!(bench.names(Resource::Job), [""; 0]);
}
