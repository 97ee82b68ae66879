//! What is told of an array to whom.

use serde_json::json;
use watchbell_api::Resource;

use super::super::{Bench, cron};
use super::{WRITE, using};
use crate::request::Propagation;

/// Whoever may write a Job need not know what the arrays of others are like.
#[test]
fn nothing_is_told_of_an_array_that_may_not_be_used() {
    let mut bench = Bench::with_array();
    bench.delete(Resource::RoleBinding, "array-writer", Propagation::Background);
    let is_right_alone = |said: &str| {
        said.contains("service account \"default\" may not write dataarray")
            && !["most", "chunk", "time", "known", "not there", "snapshot"]
                .iter()
                .any(|word| said.contains(word))
    };
    let nine = WRITE.replace('2', "9");
    let spec = json!({"completionMode": "Indexed", "completions": 9});
    let warnings = bench.try_create(using("j", &nine, spec.clone())).unwrap().warnings;
    assert!(warnings.len() == 1 && is_right_alone(&warnings[0]), "{warnings:?}");
    let mut nightly = cron("c", "@daily", json!({}));
    nightly["spec"]["jobTemplate"]["spec"] = using("j", &nine, spec)["spec"].clone();
    let warnings = bench.try_create(nightly).unwrap().warnings;
    assert!(warnings.len() == 1 && is_right_alone(&warnings[0]), "{warnings:?}");
    for name in ["obs", "none"] {
        let per_chunk = WRITE.replace("{dim: time, into: 2}", "perChunk").replace("obs", name);
        let mut auto = using("auto", &per_chunk, json!({"completionMode": "Indexed"}));
        auto["metadata"]["annotations"] = json!({"watchbell.dev/array-completions": "auto"});
        let error = bench.try_create(auto).unwrap_err();
        assert!(is_right_alone(&error.message), "{error}");
    }
    bench.settle();
    let snapshot = bench.world.snapshot();
    let told = snapshot.explain_job(snapshot.get(Resource::Job, "ml", "j").unwrap());
    let told = &told["arrays"][0];
    assert!(is_right_alone(told["problem"].as_str().unwrap()), "{told}");
    assert!(told["head"].is_null() && told["indices"].is_null(), "{told}");
}
