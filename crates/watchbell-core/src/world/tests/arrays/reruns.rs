//! Reruns of Jobs that write arrays: who goes on with a draft, and when.

use serde_json::json;
use watchbell_api::Resource;
use watchbell_api::array::ArrayRefusal;

use super::super::{Bench, uid_of};
use super::{using, writer};
use crate::request::{Propagation, RerunIndexes};

#[test]
fn a_rerun_of_what_failed_goes_on_with_the_draft() {
    let mut bench = Bench::with_array();
    bench.create(writer("w"));
    bench.settle();
    bench.end_all("w", Some(1));
    assert!(bench.publications().is_empty());
    let root = uid_of(&bench.read(Resource::Job, "w"));
    bench.rerun("w", "second", RerunIndexes::Failed);
    bench.settle();
    let run = bench.started().iter().find_map(|pod| {
        pod.job.as_ref().filter(|(_, name)| **name == *"second")?;
        assert_eq!(pod.index, Some(1), "the other is committed");
        pod.arrays.clone()
    });
    let run = run.unwrap();
    assert_eq!((run.run, run.completions), (root, 2));
    bench.end_all("second", Some(1));
    // The first is gone: the draft stays as long as one of the chain is there.
    bench.delete(Resource::Job, "w", Propagation::Background);
    bench.settle();
    assert!(bench.abandoned().is_empty());
    bench.rerun("second", "third", RerunIndexes::Failed);
    bench.settle();
    bench.end_all("third", None);
    let asked = bench.publications();
    assert_eq!((asked.len(), asked[0].0.run), (1, root));
    bench.answer("third", Ok("5ca1ab1e"));
    assert_eq!(bench.conditions("third").last().unwrap(), "Complete CompletionsReached");
    assert_eq!(bench.abandoned(), [root.to_string()], "it is published: nobody goes on with it");
    let error = bench.try_rerun("second", "fourth", RerunIndexes::Failed).unwrap_err();
    assert!(error.message.contains("job \"third\" has published its run"), "{error}");
}

#[test]
fn a_draft_goes_with_the_last_of_its_jobs() {
    let mut bench = Bench::with_array();
    bench.create(writer("w"));
    bench.settle();
    bench.end_all("w", Some(1));
    let root = uid_of(&bench.read(Resource::Job, "w"));
    bench.rerun("w", "second", RerunIndexes::Failed);
    bench.settle();
    bench.end_all("second", Some(1));
    bench.delete(Resource::Job, "w", Propagation::Background);
    bench.settle();
    assert!(bench.abandoned().is_empty());
    bench.delete(Resource::Job, "second", Propagation::Background);
    bench.settle();
    assert_eq!(bench.abandoned(), [root.to_string()]);
}

#[test]
fn one_job_at_a_time_goes_on_with_a_run() {
    let mut bench = Bench::with_array();
    bench.create(writer("w"));
    bench.settle();
    bench.end_all("w", Some(1));
    bench.rerun("w", "second", RerunIndexes::Failed);
    let error = bench.try_rerun("w", "third", RerunIndexes::Failed).unwrap_err();
    assert!(error.message.contains("job \"second\" goes on with its run and has not ended"), "{error}");
    bench.rerun("w", "anew", RerunIndexes::All);
}

#[test]
fn a_run_that_is_whole_is_published_by_a_rerun_that_runs_nothing() {
    let mut bench = Bench::with_array();
    bench.create(writer("w"));
    bench.settle();
    bench.end_all("w", None);
    let refusal =
        ArrayRefusal { reason: "ArrayCommitFailed", message: "over its quota".into(), published: Vec::new() };
    bench.answer("w", Err(refusal));
    let root = uid_of(&bench.read(Resource::Job, "w"));
    bench.commands.clear();
    bench.rerun("w", "again", RerunIndexes::Failed);
    bench.settle();
    assert!(bench.started().is_empty());
    let asked = bench.publications();
    assert_eq!((asked.len(), asked[0].0.run), (1, root));
    bench.answer("again", Ok("5ca1ab1e"));
    assert_eq!(bench.conditions("again").last().unwrap(), "Complete CompletionsReached");
    // Of a Job without indexes another pod would not count.
    let one = "{name: obs, mount: /data, mode: write, split: {dim: time, into: 1}}";
    bench.create(using("one", one, json!({"completions": 1, "backoffLimit": 0})));
    bench.settle();
    bench.end_all("one", None);
    bench.answer(
        "one",
        Err(ArrayRefusal { reason: "ArrayConflict", message: "it moved".into(), published: Vec::new() }),
    );
    let error = bench.try_rerun("one", "more", RerunIndexes::Failed).unwrap_err();
    assert!(error.message.contains("run the whole Job again"), "{error}");
}
