//! What is told of stores, once, and what they keep for whom.

use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_api::Resource;
use watchbell_api::array::{ArrayEncryption, ArrayFacts, HeadSignature};
use watchbell_api::node::{Command, Report};

use super::super::{Bench, uid_of};
use super::{READ, data_array, merged, using, writer};
use crate::arrays::tests::facts;
use crate::arrays::wanted;
use crate::request::Propagation;

/// The word about a head is kept with what the object says of it: both or none, and once.
#[test]
fn a_head_that_moved_is_told_once_whatever_the_disk_took() {
    let mut bench = Bench::with_array();
    let head = facts().head.unwrap();
    let moved = |to: &str| {
        let facts = Arc::new(ArrayFacts { head: Some(to.into()), ..facts() });
        Report::Array { namespace: "ml".into(), name: "obs".into(), facts: Some(facts), error: None }
    };
    let told = |bench: &Bench| -> Vec<(Value, Value)> {
        let all = bench.of_array("array-changed");
        all.iter().map(|told| (told["before"].clone(), told["after"].clone())).collect()
    };
    // What is kept of the store for the first time is no change.
    assert_eq!(told(&bench), []);
    bench.world.report(moved("aa"), bench.at());
    // The disk is full; the writer says again what was not kept.
    bench.world.rollback(bench.at());
    bench.settle();
    assert_eq!(told(&bench), []);
    bench.world.report(moved("aa"), bench.at());
    bench.settle();
    bench.world.report(moved("aa"), bench.at());
    bench.settle();
    assert_eq!(told(&bench), [(json!(head), json!("aa"))]);
    assert_eq!(bench.last_message("ArrayChanged"), "The head is snapshot aa");
    // What was not kept before a crash, or moved while no server ran, is told by the next.
    bench.world.report(moved("bb"), bench.at());
    bench.crash();
    for _ in 0..2 {
        bench.world.report(moved("cc"), bench.at());
        bench.settle();
        bench.crash();
    }
    assert_eq!(told(&bench)[1..], [(json!("aa"), json!("cc"))]);
}

/// A key that was lost and made anew does not go unnoticed; nor does it speak each time that somebody looks.
#[test]
fn a_head_of_another_key_is_warned_of_once() {
    let mut bench = Bench::with_array();
    let signed = |signature: HeadSignature| {
        let signing_key = Some("watchbell-array+1234abcd+Aa".into());
        Some(ArrayFacts { signing_key, signature, ..facts() })
    };
    let shown = |bench: &Bench| {
        let status = bench.read(Resource::DataArray, "obs")["status"].clone();
        let all = status["conditions"].as_array().unwrap().clone();
        let text = |of: &Value| format!("{} {} {}", of["type"], of["status"], of["reason"]).replace('"', "");
        all.iter().map(text).collect::<Vec<_>>()
    };
    let warned = |bench: &Bench| {
        bench.list(Resource::Event).iter().filter(|of| of["reason"] == "ArrayHeadOfOtherKey").count()
    };
    // A server without a key says nothing of signatures.
    assert_eq!(shown(&bench), ["Ready True StoreReady"]);
    bench.tell_array(signed(HeadSignature::Unsigned), None);
    assert_eq!(shown(&bench)[1], "HeadSigned False Unsigned");
    bench.tell_array(signed(HeadSignature::Server), None);
    assert_eq!(shown(&bench)[1], "HeadSigned True SignedByServer");
    assert_eq!(warned(&bench), 0);
    let other = || signed(HeadSignature::Other("no signature of the key".into()));
    bench.tell_array(other(), None);
    assert_eq!(shown(&bench), ["Ready True StoreReady", "HeadSigned False OtherKey"]);
    let message = bench.last_message("ArrayHeadOfOtherKey");
    assert!(message.contains("DIR/arrays.key was lost and made anew"), "{message}");
    bench.tell_array(other(), Some("no space left on device"));
    assert_eq!(shown(&bench), ["Ready False StoreFailed", "HeadSigned False OtherKey"]);
    bench.crash();
    bench.tell_array(other(), None);
    assert_eq!(warned(&bench), 1);
}

/// A run that is over keeps nothing, also when the server was killed before it could say so.
#[test]
fn what_a_reader_kept_is_let_go_by_the_next_server() {
    let mut bench = Bench::with_array();
    let only = json!({"completionMode": "Indexed", "completions": 1});
    for name in ["done", "at-it"] {
        bench.create(using(name, READ, only.clone()));
    }
    bench.create(using("failed", READ, merged(&only, json!({"backoffLimit": 0}))));
    bench.create(writer("writes"));
    bench.settle();
    bench.end_all("done", None);
    bench.end_all("failed", Some(0));
    bench.end_all("writes", Some(1));
    let uid = |name: &str| uid_of(&bench.read(Resource::Job, name));
    let over = [uid("done"), uid("failed")];
    let all = [over[0], over[1], uid("at-it"), uid("writes")];
    // The node did not hear of it.
    bench.commands.clear();
    bench.crash();
    bench.tell_array(Some(ArrayFacts { drafts: all.into(), ..facts() }), None);
    let mut let_go = bench.abandoned();
    let_go.sort();
    let mut over = over.map(|uid| uid.to_string());
    over.sort();
    assert_eq!(let_go, over, "one is at work, and one may be gone on with");
}

#[test]
fn an_encrypted_store_stays_what_it_is() {
    let mut bench = Bench::new();
    let mut object = data_array("obs");
    object["spec"] = json!({"encryption": {"key": "obs"}, "format": "zarr"});
    bench.create(object);
    // Until there is a store, the object may be another.
    let key = |name: &str| json!({"spec": {"encryption": {"key": name}}});
    bench.try_patch(Resource::DataArray, "obs", key("own")).unwrap();
    assert!(bench.try_patch(Resource::DataArray, "obs", key("../key")).is_err());
    let of = |head_number: u64, is_locked: bool| {
        let encryption = ArrayEncryption { key: Some("own".into()), head_number, is_locked };
        ArrayFacts { encryption: Some(encryption), ..facts() }
    };
    bench.tell_array(Some(of(4, false)), None);
    let status = bench.read(Resource::DataArray, "obs")["status"].clone();
    assert_eq!(status["encryption"], json!({"key": "own", "headNumber": 4}));
    // A node that does not know yet by which key it is opened tells of what anybody may have put there.
    for unread in [of(1, true), of(0, true), ArrayFacts { head: None, ..of(0, true) }, facts()] {
        bench.tell_array(Some(unread.clone()), None);
        assert_eq!(bench.read(Resource::DataArray, "obs")["status"], status);
        bench.tell_array(Some(unread), Some("an older one"));
        let now = bench.read(Resource::DataArray, "obs")["status"].clone();
        assert_eq!((&now["encryption"], &now["head"]), (&status["encryption"], &status["head"]));
        assert_eq!(now["conditions"][0]["message"], "an older one");
        bench.tell_array(Some(of(4, false)), None);
        assert_eq!(bench.read(Resource::DataArray, "obs")["status"]["conditions"][0]["status"], "True");
    }
    // The node knows of key and head before any pod.
    let anew = bench.reloaded().node_sync();
    let Command::KeepArray { spec, head_number: 4, .. } = &anew[0] else { panic!("{anew:?}") };
    assert_eq!((spec.key.as_deref(), spec.is_artifacts), (Some("own"), Some(false)));
    // The key may have another name; else nothing of it changes.
    bench.try_patch(Resource::DataArray, "obs", key("new-name")).unwrap();
    for (patch, why) in [
        (json!({"spec": {"encryption": null}}), "spec.encryption: Forbidden"),
        (json!({"spec": {"format": "artifacts"}}), "spec.format: Invalid value"),
    ] {
        let error = bench.try_patch(Resource::DataArray, "obs", patch).unwrap_err();
        assert!(error.message.contains(why), "{}", error.message);
    }
    // One in the clear does not become one that is not.
    bench.create(data_array("plain"));
    let report = Report::Array {
        namespace: "ml".into(),
        name: "plain".into(),
        facts: Some(Arc::new(facts())),
        error: None,
    };
    bench.world.report(report, bench.at());
    bench.settle();
    let error = bench.try_patch(Resource::DataArray, "plain", key("own")).unwrap_err();
    assert!(error.message.contains("the store is in the clear"), "{}", error.message);
}

/// What somebody left empty removes no history.
#[test]
fn a_retention_that_says_nothing_keeps_everything() {
    for retention in [json!({}), json!(null), json!({"keepLast": 0, "keepDaily": null, "keepWeekly": 0})] {
        assert_eq!(wanted(&json!({"retention": retention})).retention, None, "{retention}");
    }
    let weekly = wanted(&json!({"retention": {"keepLast": 0, "keepWeekly": 4}})).retention.unwrap();
    assert_eq!((weekly.keep_last, weekly.keep_weekly), (0, 4));
}

#[test]
fn a_store_that_held_something_and_is_gone_is_missed() {
    let mut bench = Bench::with_array();
    let before = bench.read(Resource::DataArray, "obs")["status"].clone();
    let is_missed = |bench: &mut Bench| {
        bench.tell_array(None, None);
        let status = bench.read(Resource::DataArray, "obs")["status"].clone();
        let ready = &status["conditions"][0];
        assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("StoreMissing")));
        assert!(ready["message"].as_str().unwrap().contains("snapshot 3f2a9c5d1e7b was its head"), "{ready}");
        assert_eq!(status["head"], before["head"]);
    };
    is_missed(&mut bench);
    assert!(bench.world.snapshot().array("ml", "obs").is_none(), "nothing is planned with it");
    // It is looked for, by this server and the next, and none is made.
    bench.sleep(61);
    let anew = bench.reloaded().node_sync();
    let mut asked = bench.commands.iter().chain(&anew).filter(|c| matches!(c, Command::KeepArray { .. }));
    assert!(asked.clone().count() >= 2);
    assert!(asked.all(|command| matches!(command, Command::KeepArray { make: false, .. })));
    is_missed(&mut bench);
    let told = bench.list(Resource::Event);
    assert_eq!(told.iter().filter(|event| event["reason"] == "ArrayStoreMissing").count(), 1);
    // Put back, it is as before.
    bench.tell_array(Some(facts()), None);
    let status = bench.read(Resource::DataArray, "obs")["status"].clone();
    assert_eq!((&status["head"], &status["conditions"][0]["status"]), (&before["head"], &json!("True")));
    // Deleted and made again, it begins anew.
    is_missed(&mut bench);
    bench.delete(Resource::DataArray, "obs", Propagation::Background);
    bench.tell_array(None, None);
    bench.commands.clear();
    bench.create(data_array("obs"));
    bench.settle();
    assert!(bench.commands.iter().any(|command| matches!(command, Command::KeepArray { make: true, .. })));
}

#[test]
fn an_empty_store_that_somebody_took_away_is_made_again() {
    for empty in [
        ArrayFacts { head: None, ..facts() },
        // As a store of artifacts begins.
        ArrayFacts { head_at: Some(0), ..facts() },
    ] {
        let mut bench = Bench::with_array();
        bench.tell_array(Some(empty), None);
        bench.tell_array(None, None);
        assert!(
            bench.commands.iter().any(|command| matches!(command, Command::KeepArray { make: true, .. }))
        );
        assert_eq!(bench.read(Resource::DataArray, "obs")["status"]["conditions"][0]["reason"], "NoStore");
    }
}
