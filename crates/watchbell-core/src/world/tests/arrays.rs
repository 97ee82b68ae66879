//! Data arrays in the world: objects and stores, rights, plans, gates, publications, reruns and rollbacks, with a store that
//! the test plays.

mod gates;
mod reruns;
mod rights;
mod rollback;
mod stores;

use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::array::{ArrayFacts, ArrayRefusal, ArrayRun, PublishedArray};
use watchbell_api::node::{Assignment, Command, Report};
use watchbell_api::{ApiError, Resource};

use super::fake_node::{Node, ended, running};
use super::{Bench, cron, job, merge, pod, request, uid_of};
use crate::arrays::tests::facts;
use crate::request::{DeleteOptions, Propagation, Request, RerunIndexes, Subresource, User, Write, Written};

const WRITE: &str = "{name: obs, mount: /data, mode: write, split: {dim: time, into: 2}}";
const READ: &str = "{name: obs, mount: /data}";

fn data_array(name: &str) -> Value {
    json!({"apiVersion": "watchbell.dev/v1alpha1", "kind": "DataArray", "metadata": {"name": name}, "spec": {}})
}

/// Of two indexes.
fn writer(name: &str) -> Value {
    using(
        name,
        WRITE,
        json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimit": 0}),
    )
}

fn using(name: &str, annotation: &str, spec: Value) -> Value {
    let mut whole = job(name, spec);
    merge(
        &mut whole["spec"]["template"],
        json!({"metadata": {"annotations": {"watchbell.dev/array": annotation}}}),
    );
    whole
}

fn merged(spec: &Value, with: Value) -> Value {
    let mut spec = spec.clone();
    merge(&mut spec, with);
    spec
}

fn bind_default(role: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "ml"}],
    })
}

impl Bench {
    /// With the array `obs`, which the account `default` may write.
    fn with_array() -> Bench {
        let mut bench = Bench::new();
        bench.create(data_array("obs"));
        bench.create(bind_default("array-writer"));
        bench.settle();
        bench.tell_array(Some(facts()), None);
        bench.commands.clear();
        bench
    }

    fn tell_array(&mut self, facts: Option<ArrayFacts>, error: Option<&str>) {
        let report = Report::Array {
            namespace: "ml".into(),
            name: "obs".into(),
            facts: facts.map(Arc::new),
            error: error.map(str::to_owned),
        };
        self.world.report(report, self.at());
        self.settle();
    }

    /// Pods that the node was told to start.
    fn started(&self) -> Vec<Assignment> {
        let mut node = Node::default();
        node.obey(&self.commands);
        node.pods.into_values().collect()
    }

    /// Ends all pods of a Job; the index `failing` with 1.
    fn end_all(&mut self, job: &str, failing: Option<u32>) {
        let pods: Vec<Assignment> = self
            .started()
            .into_iter()
            .filter(|pod| pod.job.as_ref().is_some_and(|(_, name)| **name == *job))
            .collect();
        assert!(!pods.is_empty(), "{job} has no pods");
        for pod in pods {
            self.world.report(running(&pod, self.now), self.at());
            let code = i32::from(failing.is_some() && failing == pod.index);
            if let (0, Some(index)) = (code, pod.index) {
                let report = Report::ArrayCommitted {
                    uid: pod.uid,
                    array: "obs".into(),
                    index,
                    attempt: pod.attempt,
                    keys: 4,
                    bytes: 384,
                };
                self.world.report(report, self.at());
            }
            self.world.report(ended(&pod, code, self.now), self.at());
        }
        self.settle();
    }

    fn publications(&self) -> Vec<(Arc<ArrayRun>, Value)> {
        let of = |command: &Command| match command {
            Command::PublishArrays { run, uses, .. } => Some((run.clone(), (**uses).clone())),
            _ => None,
        };
        self.commands.iter().filter_map(of).collect()
    }

    fn abandoned(&self) -> Vec<String> {
        let of = |command: &Command| match command {
            Command::AbandonDrafts { run, .. } => Some(run.to_string()),
            _ => None,
        };
        self.commands.iter().filter_map(of).collect()
    }

    fn answer(&mut self, job: &str, result: Result<&str, ArrayRefusal>) {
        let result = result.map(|snapshot| {
            vec![PublishedArray {
                name: "obs".into(),
                snapshot: snapshot.into(),
                base: "b".into(),
                added: 0,
                changed: 8,
                removed: 0,
            }]
        });
        let job = uid_of(&self.read(Resource::Job, job));
        self.world.report(Report::ArraysPublished { job, result }, self.at());
        self.settle();
    }

    fn conditions(&self, job: &str) -> Vec<String> {
        let job = self.read(Resource::Job, job);
        let list = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
        list.iter()
            .filter(|c| c["status"] == "True")
            .map(|c| format!("{} {}", c["type"].as_str().unwrap(), c["reason"].as_str().unwrap_or("")))
            .collect()
    }

    fn of_array(&self, action: &str) -> Vec<Value> {
        let of = self.journal.audit.iter().filter(|entry| entry.body["action"] == action);
        of.map(|entry| entry.body["details"].clone()).collect()
    }

    fn rerun(&mut self, job: &str, name: &str, indexes: RerunIndexes) -> Written {
        self.try_rerun(job, name, indexes).unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_rerun(&mut self, job: &str, name: &str, indexes: RerunIndexes) -> Result<Written, ApiError> {
        let write = Write::Rerun { job_name: name.into(), indexes };
        self.write(Request { subresource: Subresource::Rerun, write, ..request(Resource::Job, "ml", job) })
    }

    fn rollback(&mut self, to: &str) -> Result<Written, watchbell_api::ApiError> {
        self.write(Request {
            subresource: Subresource::Rollback,
            write: Write::Rollback { to: to.into(), unsigned_ok: false },
            ..request(Resource::DataArray, "ml", "obs")
        })
    }

    fn last_message(&self, reason: &str) -> String {
        let events = self.list(Resource::Event);
        let version =
            |event: &&Value| event["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
        let found = events.iter().filter(|event| event["reason"] == reason).max_by_key(version);
        found.map(|event| event["message"].as_str().unwrap().to_owned()).unwrap_or_default()
    }
}

// --- objects and stores ---------------------------------------------------------------------------------------------

#[test]
fn an_object_asks_for_its_store_and_shows_what_is_in_it() {
    let mut bench = Bench::new();
    let mut object = data_array("obs");
    object["spec"] = json!({"quota": "1Gi", "retention": {"keepLast": 3}});
    bench.create(object);
    bench.settle();
    let kept: Vec<_> = bench
        .commands
        .iter()
        .filter_map(|command| match command {
            Command::KeepArray { name, spec, .. } => Some((name.to_string(), spec.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].1.quota_bytes, Some(1 << 30));
    assert_eq!(kept[0].1.retention.unwrap().keep_last, 3);
    let anew = bench.reloaded().node_sync();
    assert!(anew.iter().any(|c| matches!(c, Command::KeepArray { spec, .. } if *spec == kept[0].1)));
    bench.tell_array(Some(facts()), None);
    let told = bench.read(Resource::DataArray, "obs");
    assert_eq!(told["metadata"]["finalizers"], json!(["watchbell.dev/array-store"]));
    let status = &told["status"];
    assert_eq!((&status["snapshots"], &status["format"]), (&json!(1), &json!("zarr v3")));
    assert_eq!(status["conditions"][0]["status"], "True");
    let version = told["metadata"]["resourceVersion"].clone();
    bench.tell_array(Some(facts()), None);
    assert_eq!(bench.read(Resource::DataArray, "obs")["metadata"]["resourceVersion"], version, "no news");
    bench.tell_array(None, Some("it cannot be read"));
    let status = bench.read(Resource::DataArray, "obs")["status"].clone();
    assert_eq!(status["conditions"][0]["message"], "it cannot be read");
    assert_eq!(status["head"], told["status"]["head"], "what was known stays");
}

#[test]
fn a_store_without_an_object_gets_one() {
    let mut bench = Bench::new();
    bench.tell_array(Some(ArrayFacts { quota_bytes: Some(4096), ..facts() }), None);
    assert_eq!(bench.read(Resource::DataArray, "obs")["spec"], json!({"quota": "4096"}));
    assert_eq!(bench.of_array("array-found").len(), 1);
    // Of a namespace that is not there it waits.
    let report = Report::Array {
        namespace: "later".into(),
        name: "obs".into(),
        facts: Some(Arc::new(facts())),
        error: None,
    };
    bench.world.report(report, bench.at());
    bench.settle();
    assert!(bench.world.snapshot().get(Resource::DataArray, "later", "obs").is_none());
    bench.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "later"}}));
    bench.settle();
    assert!(bench.world.snapshot().get(Resource::DataArray, "later", "obs").is_some());
}

#[test]
fn an_object_goes_when_its_store_is_gone() {
    let mut bench = Bench::with_array();
    bench.create(writer("w"));
    bench.settle();
    bench.delete(Resource::DataArray, "obs", Propagation::Background);
    bench.settle();
    let removals =
        |bench: &Bench| bench.commands.iter().filter(|c| matches!(c, Command::RemoveArray { .. })).count();
    assert_eq!(removals(&bench), 0, "a Job uses it");
    assert!(bench.last_message("ArrayInUse").contains("when job w has ended"));
    bench.end_all("w", Some(1));
    assert_eq!(removals(&bench), 1);
    // What the Job that failed keeps for a rerun goes with it.
    let failed = uid_of(&bench.read(Resource::Job, "w"));
    let runs = bench.commands.iter().find_map(|command| match command {
        Command::RemoveArray { runs, .. } => Some(runs.clone()),
        _ => None,
    });
    assert_eq!(*runs.unwrap(), [failed]);
    bench.tell_array(Some(facts()), Some("a reader holds a lease"));
    assert_eq!(removals(&bench), 1);
    bench.sleep(61);
    assert_eq!(removals(&bench), 2, "it is tried again");
    bench.crash();
    bench.settle();
    assert_eq!(removals(&bench), 1, "the next server tells the node anew");
    bench.tell_array(None, None);
    assert!(bench.get(Resource::DataArray, "obs").is_none());
}

#[test]
fn a_job_without_pods_and_an_array_that_goes_do_not_wait_for_each_other() {
    let mut bench = Bench::with_array();
    let mut later = writer("later");
    later["spec"]["suspend"] = true.into();
    bench.create(later);
    bench.settle();
    bench.delete(Resource::DataArray, "obs", Propagation::Background);
    bench.create(writer("late"));
    bench.settle();
    assert!(bench.last_message("FailedCreate").contains("is being deleted"));
    assert!(bench.started().is_empty());
    assert!(bench.commands.iter().any(|command| matches!(command, Command::RemoveArray { .. })));
}

#[test]
fn a_job_that_has_begun_ends_before_its_array_goes() {
    let mut bench = Bench::with_array();
    let mut one_by_one = writer("w");
    one_by_one["spec"]["parallelism"] = 1.into();
    bench.create(one_by_one);
    bench.settle();
    bench.delete(Resource::DataArray, "obs", Propagation::Background);
    bench.end_all("w", None);
    bench.end_all("w", None);
    assert_eq!(bench.publications().len(), 1);
    let goes = |bench: &Bench| bench.commands.iter().any(|c| matches!(c, Command::RemoveArray { .. }));
    assert!(!goes(&bench));
    bench.answer("w", Ok("5ca1ab1e"));
    assert!(goes(&bench));
}

#[test]
fn a_store_that_could_not_be_kept_is_asked_for_again() {
    let mut bench = Bench::with_array();
    let asked =
        |bench: &Bench| bench.commands.iter().filter(|c| matches!(c, Command::KeepArray { .. })).count();
    bench.tell_array(Some(facts()), Some("no space left on device"));
    assert_eq!(asked(&bench), 0);
    bench.sleep(61);
    assert_eq!(asked(&bench), 1);
    bench.tell_array(Some(facts()), Some("no space left on device"));
    bench.sleep(61);
    assert_eq!(asked(&bench), 2);
    bench.tell_array(Some(facts()), None);
    bench.sleep(600);
    assert_eq!(asked(&bench), 2);
    assert_eq!(bench.read(Resource::DataArray, "obs")["status"]["conditions"][0]["status"], "True");
}

#[test]
fn what_a_commit_that_failed_knew_of_a_store_stays() {
    let mut bench = Bench::with_array();
    bench.world.rollback(bench.at());
    assert!(bench.world.snapshot().array("ml", "obs").is_some());
    bench.world.settle(bench.at());
    assert!(bench.world.state.array("ml", "obs").is_some());
}

// --- plans and rights ----------------------------------------------------------------------------------------------

#[test]
fn a_plan_that_cannot_be_is_refused_at_once() {
    let mut bench = Bench::with_array();
    let nine = WRITE.replace('2', "9");
    let spec = json!({"completionMode": "Indexed", "completions": 9});
    let error = bench.try_create(using("j", &nine, spec.clone())).unwrap_err();
    assert!(error.message.contains("the most is 8"), "{error}");
    let mut nightly = cron("c", "@daily", json!({}));
    nightly["spec"]["jobTemplate"]["spec"] = using("j", &nine, spec)["spec"].clone();
    let error = bench.try_create(nightly).unwrap_err();
    assert!(error.message.contains("the most is 8"), "{error}");
    assert_eq!(bench.try_create(writer("good")).unwrap().warnings, [""; 0]);
}

#[test]
fn completions_follow_the_plan() {
    let mut bench = Bench::with_array();
    let per_chunk = WRITE.replace("{dim: time, into: 2}", "perChunk");
    let mut auto = using("j", &per_chunk, json!({"completionMode": "Indexed", "parallelism": 3}));
    auto["metadata"]["annotations"] = json!({"watchbell.dev/array-completions": "auto"});
    let made = bench.create(auto.clone());
    assert_eq!((&made["spec"]["completions"], &made["spec"]["parallelism"]), (&json!(8), &json!(3)));
    // A CronJob's follow it when they are made.
    let mut nightly = cron("c", "@daily", json!({}));
    nightly["spec"]["jobTemplate"] = json!({"metadata": auto["metadata"], "spec": auto["spec"]});
    bench.create(nightly);
    bench.sleep(86_400);
    let made = bench.list(Resource::Job).into_iter().find(|job| job["metadata"]["name"] != "j").unwrap();
    assert_eq!(made["spec"]["completions"], 8);
    assert_eq!(made["metadata"]["annotations"]["watchbell.dev/array-user"], "ada");
    let unknown = per_chunk.replace("obs", "other");
    auto["spec"]["template"]["metadata"]["annotations"]["watchbell.dev/array"] = unknown.into();
    let error = bench.try_create(auto).unwrap_err();
    assert!(error.message.contains("nothing is known of it"), "{error}");
}

#[test]
fn pods_wait_for_array_and_right() {
    let mut bench = Bench::new();
    let warnings = bench.try_create(writer("w")).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains(
            "`kubectl create rolebinding default-array-writer -n ml --clusterrole=array-writer --serviceaccount=ml:default`"
        ),
        "{warnings:?}"
    );
    let mut other = Bench::new();
    other.create(bind_default("array-writer"));
    let warnings = other.try_create(writer("w")).unwrap().warnings;
    assert!(warnings[0].contains("dataarray \"obs\" is not there"), "{warnings:?}");
    bench.settle();
    assert!(bench.started().is_empty());
    assert!(bench.last_message("FailedCreate").contains("may not write dataarray"));
    bench.create(bind_default("array-reader"));
    bench.sleep(61);
    assert!(bench.started().is_empty(), "a reader does not write");
    bench.create(bind_default("array-writer"));
    bench.sleep(61);
    assert!(bench.last_message("FailedCreate").contains("is not there, or its store"));
    bench.tell_array(Some(ArrayFacts { head: None, documents: None, ..facts() }), None);
    assert!(bench.last_message("FailedCreate").contains("has no snapshot yet"));
    assert!(bench.started().is_empty());
    bench.tell_array(Some(facts()), None);
    let started = bench.started();
    assert_eq!(started.len(), 2);
    let run = started[0].arrays.clone().unwrap();
    let uid = uid_of(&bench.read(Resource::Job, "w"));
    assert_eq!((run.run, run.job, run.completions, &*run.user), (uid, uid, 2, "ada"));
    assert_eq!(bench.of_array("array-refused").len(), 3, "each reason once");
    let plain = bench.create(job("plain", json!({})));
    bench.settle();
    let started = bench.started();
    let plain = started.iter().find(|pod| pod.job.as_ref().is_some_and(|(uid, _)| *uid == uid_of(&plain)));
    assert!(plain.unwrap().arrays.is_none());
}

#[test]
fn what_a_run_began_on_counts_wherever_the_head_is() {
    let mut bench = Bench::with_array();
    let per_chunk = WRITE.replace("{dim: time, into: 2}", "perChunk");
    bench.create(using(
        "w",
        &per_chunk,
        json!({"completionMode": "Indexed", "completions": 8, "parallelism": 1}),
    ));
    bench.settle();
    // Somebody publishes a hierarchy that makes other plans.
    let mut other = facts();
    let documents = other.documents.as_ref().unwrap().iter().map(|(key, bytes)| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        (key.clone(), text.replace("\"shape\":[24,8]", "\"shape\":[240,8]").into_bytes())
    });
    other.documents = Some(Arc::new(documents.collect()));
    other.head = Some("0ther".into());
    bench.tell_array(Some(other), None);
    assert!(
        bench
            .try_create(using("x", &per_chunk, json!({"completionMode": "Indexed", "completions": 8})))
            .is_err()
    );
    bench.patch(Resource::Job, "w", json!({"spec": {"parallelism": 8}}));
    bench.settle();
    assert_eq!(bench.started().len(), 8);
    assert_eq!(bench.of_array("array-changed")[0]["after"], "0ther");
}

#[test]
fn a_pod_alone_reads_what_its_account_may() {
    let mut bench = Bench::with_array();
    let reader = |name: &str, account: &str| {
        let mut pod = pod(name);
        pod["metadata"]["annotations"] = json!({"watchbell.dev/array": READ});
        pod["spec"]["serviceAccountName"] = account.into();
        pod["spec"]["automountServiceAccountToken"] = false.into();
        pod
    };
    bench.create(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "other"}}));
    let error = bench.try_create(reader("p", "other")).unwrap_err();
    assert!(error.message.contains("service account \"other\" may not use dataarray \"obs\""), "{error}");
    bench.create(reader("p", "default"));
    bench.settle();
    let started = bench.started();
    assert_eq!(started[0].arrays.as_ref().unwrap().run, started[0].uid);
    let error = bench
        .try_patch(
            Resource::Pod,
            "p",
            json!({"metadata": {"annotations": {"watchbell.dev/array": "{name: secret, mount: /data}"}}}),
        )
        .unwrap_err();
    assert!(error.message.contains("may not change"), "{error}");
}

/// All the machine has.
fn whole(mut object: Value, pointer: &str) -> Value {
    object.pointer_mut(pointer).unwrap()["containers"][0]["resources"] =
        json!({"requests": {"cpu": "4"}, "limits": {"cpu": "4"}});
    object
}

#[test]
fn a_pod_that_waited_is_asked_for_its_right_again() {
    let free = |bench: &mut Bench| {
        let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        bench.try_delete(Resource::Pod, "first", options).unwrap();
        bench.settle();
    };
    let waiting = || {
        let mut bench = Bench::with_array();
        bench.create(whole(pod("first"), "/spec"));
        bench.settle();
        let mut alone = whole(pod("alone"), "/spec");
        alone["metadata"]["annotations"] = json!({"watchbell.dev/array": READ});
        bench.create(alone);
        bench.create(whole(using("r", READ, json!({"completions": 1})), "/spec/template/spec"));
        bench.settle();
        assert_eq!(bench.started().len(), 1, "the others wait");
        bench.commands.clear();
        bench
    };
    let mut bench = waiting();
    bench.delete(Resource::RoleBinding, "array-writer", Propagation::Background);
    free(&mut bench);
    assert!(bench.started().is_empty());
    let alone = bench.read(Resource::Pod, "alone");
    assert_eq!(
        (&alone["status"]["phase"], &alone["status"]["reason"]),
        (&json!("Failed"), &json!("ArrayRefused"))
    );
    assert!(alone["status"]["message"].as_str().unwrap().contains("may not use dataarray"));
    let failed =
        bench.list(Resource::Pod).iter().filter(|pod| pod["status"]["reason"] == "ArrayRefused").count();
    assert_eq!(failed, 2, "that of the Job too");
    bench.sleep(61);
    assert!(bench.last_message("FailedCreate").contains("may not use dataarray"), "no other is made");
    assert_eq!(bench.of_array("refused-at-start").len(), 2);

    let mut bench = waiting();
    bench.delete(Resource::DataArray, "obs", Propagation::Background);
    free(&mut bench);
    let alone = bench.read(Resource::Pod, "alone");
    assert!(alone["status"]["message"].as_str().unwrap().contains("is being deleted"));
    let goes = |bench: &Bench| bench.commands.iter().any(|c| matches!(c, Command::RemoveArray { .. }));
    assert!(!goes(&bench), "the Job has begun");
    bench.end_all("r", None);
    assert!(goes(&bench));
}

#[test]
fn a_pod_that_runs_keeps_its_array() {
    let mut bench = Bench::with_array();
    let mut alone = pod("alone");
    alone["metadata"]["annotations"] = json!({"watchbell.dev/array": READ});
    bench.create(alone);
    bench.settle();
    bench.delete(Resource::DataArray, "obs", Propagation::Background);
    bench.settle();
    let goes = |bench: &Bench| bench.commands.iter().any(|c| matches!(c, Command::RemoveArray { .. }));
    assert!(!goes(&bench));
    assert!(bench.last_message("ArrayInUse").contains("pod alone"));
    let [pod] = &bench.started()[..] else { panic!() };
    bench.world.report(ended(pod, 0, bench.now), bench.at());
    bench.sleep(61);
    assert!(goes(&bench));
}

#[test]
fn nobody_says_whose_draft_a_job_goes_on_with() {
    let mut bench = Bench::with_array();
    let mut forged = writer("w");
    forged["metadata"]["annotations"] = json!({
        "watchbell.dev/array-run": "00000000-0000-4000-8000-000000000001", "watchbell.dev/array-user": "root",
        "watchbell.dev/array-draft": "00000000-0000-4000-8000-000000000001",
    });
    let made = bench.create(forged);
    assert_eq!(made["metadata"]["annotations"], json!({"watchbell.dev/array-user": "ada"}));
    let patch = json!({"metadata": {"annotations": {
        "watchbell.dev/array-run": "00000000-0000-4000-8000-000000000001", "watchbell.dev/array-user": null, "a": "b",
    }}});
    let patched = bench.patch(Resource::Job, "w", patch);
    assert_eq!(patched["metadata"]["annotations"], json!({"watchbell.dev/array-user": "ada", "a": "b"}));
    let by_status = |annotations: Value| Request {
        subresource: Subresource::Status,
        write: Write::Patch {
            kind: crate::request::PatchKind::Merge,
            body: json!({"metadata": {"annotations": annotations}}),
        },
        ..request(Resource::Job, "ml", "w")
    };
    let forged = json!({"watchbell.dev/array-run": "00000000-0000-4000-8000-000000000001", "c": "d"});
    let patched = bench.write(by_status(forged)).unwrap().object;
    assert_eq!(
        patched["metadata"]["annotations"],
        json!({"watchbell.dev/array-user": "ada", "a": "b", "c": "d"})
    );
    assert!(bench.write(by_status(json!({"watchbell.dev/array-gate": "g"}))).is_err());
    for (what, patch) in [
        ("completions", json!({"spec": {"completions": 3, "parallelism": 3}})),
        ("array-gate", json!({"metadata": {"annotations": {"watchbell.dev/array-gate": "g"}}})),
    ] {
        let error = bench.try_patch(Resource::Job, "w", patch).unwrap_err();
        assert!(error.message.contains(what), "{error}");
    }
}

#[test]
fn who_changes_what_a_cron_job_runs_answers_for_it() {
    let mut bench = Bench::with_array();
    let mut nightly = cron("c", "@daily", json!({}));
    nightly["spec"]["jobTemplate"] = json!({"spec": writer("w")["spec"]});
    bench.create(nightly);
    let user = |bench: &Bench| {
        bench.world.state.get(Resource::CronJob, "ml", "c").unwrap().render()["metadata"]["annotations"]
            ["watchbell.dev/array-user"]
            .clone()
    };
    let grace = |body: Value| Request {
        user: User { name: "grace".into(), groups: vec!["system:masters".into()], ..User::default() },
        write: Write::Patch { kind: crate::request::PatchKind::Merge, body },
        ..request(Resource::CronJob, "ml", "c")
    };
    bench.write(grace(json!({"spec": {"suspend": true}}))).unwrap();
    assert_eq!(user(&bench), "ada");
    bench.write(grace(json!({"spec": {"jobTemplate": {"spec": {"parallelism": 1}}}}))).unwrap();
    assert_eq!(user(&bench), "grace");
}

// --- publication ----------------------------------------------------------------------------------------------------

#[test]
fn a_run_is_published_when_all_indexes_are_committed() {
    let mut bench = Bench::with_array();
    bench.create(writer("w"));
    bench.settle();
    bench.end_all("w", None);
    assert_eq!(bench.conditions("w"), ["SuccessCriteriaMet CompletionsReached"]);
    let asked = bench.publications();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].1["split"], json!({"dim": "time", "into": 2}));
    let uid = uid_of(&bench.read(Resource::Job, "w"));
    assert_eq!((asked[0].0.run, asked[0].0.job), (uid, uid));
    let committed = bench.of_array("array-committed");
    let list: Vec<Value> =
        committed.iter().flat_map(|e| e["committed"].as_array().unwrap().clone()).collect();
    assert_eq!(list, [json!([0, 0, 4, 384]), json!([1, 0, 4, 384])]);
    bench.answer("w", Ok("5ca1ab1e5ca1ab1e"));
    assert_eq!(bench.conditions("w").last().unwrap(), "Complete CompletionsReached");
    let published = bench.of_array("array-published");
    assert_eq!(published.len(), 1);
    assert_eq!((&published[0]["array"], &published[0]["user"]), (&json!("obs"), &json!("ada")));
    assert!(bench.last_message("ArrayPublished").contains("Published snapshot 5ca1ab1e5ca1 of array obs"));
    bench.answer("w", Ok("5ca1ab1e5ca1ab1e"));
    assert_eq!(bench.of_array("array-published").len(), 1, "an answer that comes twice is one");
    assert_eq!(bench.abandoned(), [uid.to_string()], "what it only read is let go");
}

#[test]
fn after_a_crash_the_node_is_asked_again() {
    let mut bench = Bench::with_array();
    bench.create(writer("w"));
    bench.settle();
    bench.end_all("w", None);
    bench.crash();
    bench.settle();
    assert_eq!(bench.publications().len(), 1);
    bench.answer("w", Ok("5ca1ab1e"));
    assert_eq!(bench.conditions("w").last().unwrap(), "Complete CompletionsReached");
    bench.crash();
    bench.settle();
    assert!(bench.publications().is_empty());
}

#[test]
fn a_question_whose_commit_failed_is_asked_anew_and_an_answer_outlives_one() {
    let mut bench = Bench::with_array();
    bench.create(writer("w"));
    bench.settle();
    for pod in bench.started() {
        bench.world.report(ended(&pod, 0, bench.now), bench.at());
    }
    bench.world.settle(bench.at());
    bench.world.take_stage(bench.at());
    bench.world.rollback(bench.at());
    // The node says again what it said.
    bench.end_all("w", None);
    assert_eq!(bench.publications().len(), 1);
    let job = uid_of(&bench.read(Resource::Job, "w"));
    bench.world.report(Report::ArraysPublished { job, result: Ok(Vec::new()) }, bench.at());
    bench.world.settle(bench.at());
    bench.world.take_stage(bench.at());
    bench.world.rollback(bench.at());
    bench.settle();
    assert_eq!(bench.publications().len(), 1, "it is not asked while its answer is known");
    assert_eq!(bench.conditions("w").last().unwrap(), "Complete CompletionsReached");
}

#[test]
fn what_a_job_published_that_is_gone_is_told() {
    let mut bench = Bench::with_array();
    let job = uid_of(&bench.create(writer("w")));
    bench.settle();
    bench.end_all("w", None);
    bench.delete(Resource::Job, "w", Propagation::Background);
    bench.settle();
    assert!(bench.get(Resource::Job, "w").is_none());
    let made = PublishedArray {
        name: "obs".into(),
        snapshot: "5ca1ab1e".into(),
        base: "b".into(),
        added: 0,
        changed: 8,
        removed: 0,
    };
    bench.world.report(Report::ArraysPublished { job, result: Ok(vec![made]) }, bench.at());
    bench.world.settle(bench.at());
    bench.world.take_stage(bench.at());
    bench.world.rollback(bench.at());
    bench.settle();
    let told = bench.of_array("array-published");
    assert_eq!(told.len(), 1, "also when the journal took it the second time");
    assert_eq!((&told[0]["uid"], &told[0]["user"]), (&json!(job.to_string()), &json!("ada")));
    bench.settle();
    assert_eq!(bench.of_array("array-published").len(), 1);
}

#[test]
fn a_conflict_fails_the_job_and_a_rerun_begins_anew() {
    let mut bench = Bench::with_array();
    bench.create(writer("w"));
    bench.settle();
    bench.end_all("w", None);
    let refusal =
        ArrayRefusal { reason: "ArrayConflict", message: "the array moved".into(), published: Vec::new() };
    bench.answer("w", Err(refusal));
    assert_eq!(bench.conditions("w"), ["FailureTarget ArrayConflict", "Failed ArrayConflict"]);
    let refused = bench.of_array("array-refused");
    assert_eq!((&refused[0]["reason"], &refused[0]["at"]), (&json!("ArrayConflict"), &json!("publication")));
    assert!(bench.of_array("array-published").is_empty());
    bench.rerun("w", "again", RerunIndexes::All);
    bench.settle();
    let again = bench.read(Resource::Job, "again");
    assert_eq!(again["metadata"]["annotations"].get("watchbell.dev/array-run"), None);
}

#[test]
fn what_a_refused_run_published_before_is_in_the_trail() {
    let mut bench = Bench::with_array();
    bench.create(writer("w"));
    bench.settle();
    bench.end_all("w", None);
    let job = uid_of(&bench.read(Resource::Job, "w"));
    bench.world.report(Report::ArraysDelayed { job, message: "no room".into() }, bench.at());
    bench.settle();
    assert_eq!(bench.last_message("ArrayPublicationDelayed"), "Not published yet, tried again: no room");
    assert!(bench.conditions("w").iter().all(|condition| !condition.starts_with("Failed")));
    let one = PublishedArray {
        name: "first".into(),
        snapshot: "5a".into(),
        base: "4b".into(),
        added: 1,
        changed: 0,
        removed: 0,
    };
    let refusal =
        ArrayRefusal { reason: "ArrayConflict", message: "the second moved".into(), published: vec![one] };
    bench.answer("w", Err(refusal));
    assert_eq!(bench.conditions("w").last().unwrap(), "Failed ArrayConflict");
    assert_eq!(bench.of_array("array-published")[0]["array"], "first");
    assert_eq!(bench.of_array("array-refused").len(), 1);
}

#[test]
fn what_was_read_is_let_go() {
    let mut bench = Bench::with_array();
    bench.create(using("r", READ, json!({"completions": 1})));
    bench.settle();
    let job = uid_of(&bench.read(Resource::Job, "r"));
    bench.end_all("r", None);
    assert_eq!(bench.abandoned(), [job.to_string()]);
    let mut reader = pod("p");
    reader["metadata"]["annotations"] = json!({"watchbell.dev/array": READ});
    let alone = uid_of(&bench.create(reader));
    bench.delete(Resource::Pod, "p", Propagation::Background);
    bench.settle();
    assert_eq!(bench.abandoned().last(), Some(&alone.to_string()));
}

#[test]
fn drafts_that_a_crash_left_are_abandoned() {
    let mut bench = Bench::with_array();
    bench.create(writer("w"));
    bench.settle();
    let kept = uid_of(&bench.read(Resource::Job, "w"));
    let lost = watchbell_api::Uid(7);
    bench.crash();
    bench.settle();
    bench.tell_array(Some(ArrayFacts { drafts: vec![lost, kept], ..facts() }), None);
    assert_eq!(bench.abandoned(), [lost.to_string()]);
}

#[test]
fn a_right_that_was_taken_away_keeps_a_run_from_being_published() {
    let mut bench = Bench::with_array();
    bench.create(writer("w"));
    bench.settle();
    bench.delete(Resource::RoleBinding, "array-writer", Propagation::Background);
    bench.end_all("w", None);
    assert!(bench.publications().is_empty());
    assert_eq!(bench.conditions("w"), ["FailureTarget ArrayCommitFailed", "Failed ArrayCommitFailed"]);
    assert!(bench.of_array("array-refused")[0]["message"].as_str().unwrap().contains("may not write"));
}
