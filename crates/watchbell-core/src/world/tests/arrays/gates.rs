//! Gates: Jobs that look at what is to be published.

use serde_json::json;
use watchbell_api::Resource;

use super::super::fake_node::ended;
use super::super::{Bench, cron, job, uid_of};
use super::{READ, WRITE, using, writer};
use crate::request::Propagation;

impl Bench {
    /// A writer with the gate `check`, all of whose indexes are committed.
    fn gated(annotation: &str) -> Bench {
        let mut bench = Bench::with_array();
        let mut check = cron("check", "@yearly", json!({"suspend": true}));
        check["spec"]["jobTemplate"]["spec"] =
            using("x", annotation, json!({"backoffLimit": 0, "completions": 1}))["spec"].clone();
        bench.create(check);
        let mut job = writer("w");
        job["metadata"]["annotations"] = json!({"watchbell.dev/array-gate": "check"});
        bench.create(job);
        bench.settle();
        bench.end_all("w", None);
        bench
    }
}

#[test]
fn a_gate_reads_the_draft_and_lets_it_out() {
    let mut bench = Bench::gated(READ);
    assert!(bench.publications().is_empty());
    let root = uid_of(&bench.read(Resource::Job, "w"));
    let gate = bench.read(Resource::Job, "w-gate");
    assert_eq!(gate["metadata"]["ownerReferences"][0]["uid"], root.to_string());
    assert_eq!(gate["metadata"]["annotations"]["watchbell.dev/gate-of"], "w");
    let run = bench
        .started()
        .iter()
        .find(|pod| pod.job.as_ref().is_some_and(|(_, name)| **name == *"w-gate"))
        .and_then(|pod| pod.arrays.clone())
        .unwrap();
    assert_eq!(run.draft_of, Some(root));
    assert_ne!(run.run, root);
    bench.end_all("w-gate", None);
    assert_eq!(bench.publications().len(), 1);
    bench.answer("w", Ok("5ca1ab1e"));
    assert_eq!(bench.conditions("w").last().unwrap(), "Complete CompletionsReached");
    assert_eq!(bench.of_array("gate-started").len(), 1);
    bench.delete(Resource::Job, "w", Propagation::Background);
    bench.settle();
    assert!(bench.get(Resource::Job, "w-gate").is_none(), "it goes with its Job");
}

#[test]
fn nobody_makes_a_gate_but_the_server() {
    let mut bench = Bench::with_array();
    let mut check = cron("check", "@yearly", json!({"suspend": true}));
    let spec = json!({"completionMode": "Indexed", "completions": 1, "suspend": true});
    check["spec"]["jobTemplate"]["spec"] = job("x", spec)["spec"].clone();
    bench.create(check);
    let mut written = writer("w");
    written["metadata"]["annotations"] = json!({"watchbell.dev/array-gate": "check"});
    let uid = uid_of(&bench.create(written)).to_string();
    let mut forged = job("w-gate", json!({"completions": 1}));
    forged["metadata"]["annotations"] = json!({
        "watchbell.dev/array-draft": uid, "watchbell.dev/array-gate-for": uid, "watchbell.dev/gate-of": "w",
    });
    forged["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "w", "uid": uid}]);
    bench.create(forged);
    bench.settle();
    bench.end_all("w-gate", None);
    bench.end_all("w", None);
    assert!(bench.publications().is_empty(), "it is another's Job");
    assert!(bench.last_message("FailedCreate").contains("already exists"));
    bench.delete(Resource::Job, "w-gate", Propagation::Background);
    bench.commands.clear();
    bench.sleep(61);
    let gate = bench.read(Resource::Job, "w-gate");
    assert_eq!(gate["metadata"]["annotations"]["watchbell.dev/array-gate-for"], uid);
    let less = json!({"spec": {"completions": 0, "parallelism": 0}});
    let error = bench.try_patch(Resource::Job, "w-gate", less).unwrap_err();
    assert!(error.message.contains("the Job is a gate"), "{error}");
    bench.end_all("w-gate", None);
    assert_eq!(bench.publications().len(), 1, "a gate that uses no array is one all the same");
}

#[test]
fn a_gate_that_fails_publishes_nothing() {
    let mut bench = Bench::gated(READ);
    let pod = bench.started().into_iter().find(|pod| pod.job.as_ref().is_some_and(|j| &*j.1 == "w-gate"));
    bench.world.report(ended(&pod.unwrap(), 1, bench.now), bench.at());
    bench.settle();
    assert_eq!(bench.conditions("w"), ["FailureTarget ArrayGateFailed", "Failed ArrayGateFailed"]);
    assert!(bench.publications().is_empty());
    assert_eq!(bench.of_array("array-refused")[0]["reason"], "ArrayGateFailed");
}

#[test]
fn a_gate_that_cannot_be_made_is_waited_for() {
    let mut bench = Bench::gated(WRITE.replace("into: 2", "into: 1").as_str());
    assert!(bench.last_message("FailedCreate").contains("a gate reads them"));
    assert!(bench.get(Resource::Job, "w-gate").is_none());
    let read = json!({"watchbell.dev/array": READ});
    let patch = json!({"spec": {"jobTemplate": {"spec": {"template": {"metadata": {"annotations": read}}}}}});
    bench.patch(Resource::CronJob, "check", patch);
    bench.sleep(61);
    assert!(bench.get(Resource::Job, "w-gate").is_some());
    let mut missing = writer("m");
    missing["metadata"]["annotations"] = json!({"watchbell.dev/array-gate": "none"});
    let warnings = bench.try_create(missing).unwrap().warnings;
    assert!(warnings[0].contains("nothing is published before there is a CronJob \"none\""), "{warnings:?}");
}
