use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Fields, Labels};
use crate::{Reason, Resource};

fn labels(pairs: &str) -> BTreeMap<String, String> {
    pairs.split_whitespace().filter_map(|p| p.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
}

#[track_caller]
fn check(selector: &str, matched: &[&str], unmatched: &[&str]) {
    let parsed = Labels::parse(selector).unwrap_or_else(|e| panic!("{selector}: {e}"));
    for set in matched {
        assert!(parsed.matches(&labels(set)), "{selector:?} must match {set:?}");
    }
    for set in unmatched {
        assert!(!parsed.matches(&labels(set)), "{selector:?} must not match {set:?}");
    }
}

#[track_caller]
fn refused(selector: &str, message: &str) {
    let error = Labels::parse(selector).expect_err(selector);
    assert_eq!(error.reason, Reason::BadRequest);
    assert!(error.message.starts_with(message), "{selector:?}: {}", error.message);
}

#[test]
fn labels_are_matched_as_kubernetes_matches_them() {
    check("", &["", "a=1"], &[]);
    check("a=1", &["a=1", "a=1 b=2"], &["", "a=2", "b=1"]);
    check(" a == 1 ", &["a=1"], &["a=2"]);
    check("a!=1", &["", "a=2"], &["a=1"]);
    check("a=", &["a="], &["", "a=1"]);
    check("a", &["a=", "a=1"], &["", "b=1"]);
    check("!a", &["", "b=1"], &["a="]);
    check("a in (1, 2)", &["a=1", "a=2"], &["", "a=3"]);
    check("a notin (1,2),b", &["b=1", "a=3 b="], &["a=1 b=", "a=3"]);
    check("a in (,1)", &["a=", "a=1"], &["", "a=2"]);
    check("a in (1,)", &["a=", "a=1"], &["", "a=2"]);
    check("a>3", &["a=4", "a=10"], &["a=3", "a=x", ""]);
    check("a<3", &["a=2", "a=-1"], &["a=3", "a=x", ""]);
    // The words of the grammar are names where a name stands.
    check("in=notin", &["in=notin"], &["in=in"]);
    check("notin in (in)", &["notin=in"], &[""]);
    check(
        "batch.kubernetes.io/controller-uid=1b4e28ba-2fa1-11d2-883f-0016d3cca427,batch.kubernetes.io/job-name=x",
        &[
            "batch.kubernetes.io/controller-uid=1b4e28ba-2fa1-11d2-883f-0016d3cca427 batch.kubernetes.io/job-name=x",
        ],
        &["batch.kubernetes.io/job-name=x"],
    );
}

#[test]
fn what_is_no_selector_is_refused_in_the_words_of_kubernetes() {
    refused("=1", "found '=', expected: !, identifier, or 'end of string'");
    refused(",", "found ',', expected: !, identifier, or 'end of string'");
    refused("a,", "found '', expected: identifier after ','");
    refused("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
    refused("a=b c", "found 'c', expected: ',' or 'end of string'");
    refused("!a=b", "found '=', expected: ',' or 'end of string'");
    refused("!", "unable to parse requirement: found '', expected: identifier");
    refused("a in x", "unable to parse requirement: found 'x' expected: '('");
    refused("a in (x", "unable to parse requirement: found '', expected: ',' or ')'");
    refused("a in ()", "unable to parse requirement: values: Invalid value: []: for 'in'");
    refused("a>x", "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators");
    refused(
        "a=$(id)",
        "unable to parse requirement: values[0][a]: Invalid value: \"$\": a valid label must be",
    );
    refused("-a", "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of");
    refused("/a", "unable to parse requirement: <nil>: Invalid value: \"/a\": prefix part must be non-empty");
    refused(
        "A/a",
        "unable to parse requirement: <nil>: Invalid value: \"A/a\": prefix part a lowercase RFC 1123",
    );
    refused(
        "a/b/c",
        "unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a qualified name must consist",
    );
    refused(&"a".repeat(64), "unable to parse requirement: <nil>: Invalid value");
    refused(&format!("a={}", "x".repeat(64)), "unable to parse requirement: values[0][a]: Invalid value");
    refused(&"a,".repeat(40_000), "the label selector has 80000 bytes");
}

#[test]
fn a_label_selector_object_is_the_same_thing() {
    let selector = Labels::from_object(&json!({
        "matchLabels": {"tier": "web", "app": "x"},
        "matchExpressions": [
            {"key": "zone", "operator": "In", "values": ["b", "a"]},
            {"key": "env", "operator": "NotIn", "values": ["dev"]},
            {"key": "gpu", "operator": "Exists"},
            {"key": "old", "operator": "DoesNotExist"},
        ],
    }))
    .unwrap();
    assert_eq!(selector.to_string(), "app=x,env notin (dev),gpu,!old,tier=web,zone in (a,b)");
    assert!(selector.matches(&labels("app=x tier=web zone=a gpu=")));
    assert!(!selector.matches(&labels("app=x tier=web zone=c gpu=")));
    assert!(Labels::from_object(&json!({})).unwrap().is_empty());
    for wrong in [
        json!([{"key": "a", "operator": "in", "values": ["x"]}]),
        json!([{"key": "a", "operator": "In"}]),
        json!([{"key": "a", "operator": "Exists", "values": ["x"]}]),
        json!([{"key": "a b", "operator": "Exists"}]),
    ] {
        Labels::from_object(&json!({"matchExpressions": wrong})).unwrap_err();
    }
}

#[track_caller]
fn check_fields(resource: Resource, selector: &str, object: &Value, expected: bool) {
    let fields = Fields::parse(resource, selector).unwrap_or_else(|e| panic!("{selector}: {e}"));
    assert_eq!(fields.matches(object), expected, "{selector}");
}

#[test]
fn fields_are_those_of_the_kind() {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "ml"},
        "spec": {"nodeName": "n", "restartPolicy": "Never"},
        "status": {"phase": "Running"},
    });
    let check = |selector: &str, expected| check_fields(Resource::Pod, selector, &pod, expected);
    check("", true);
    check("metadata.name=p", true);
    check("metadata.name==p,metadata.namespace=ml,,status.phase!=Failed", true);
    check("metadata.name=q", false);
    check("spec.nodeName=", false);
    check("spec.host=n", true);
    check("status.podIP=", true);
    check("status.nominatedNodeName!=", false);
    check("spec.hostNetwork=false", true);

    let event = json!({"involvedObject": {"kind": "Pod", "name": "a,b"}, "reportingComponent": "c", "type": "Normal"});
    let check = |selector: &str, expected| check_fields(Resource::Event, selector, &event, expected);
    check("involvedObject.kind=Pod,involvedObject.name=a\\,b", true);
    check("source=c", true);
    check("type!=Normal", false);

    check_fields(Resource::Job, "status.successful=0", &json!({}), true);
    check_fields(Resource::Job, "status.successful=3", &json!({"status": {"succeeded": 3}}), true);
    check_fields(Resource::Node, "spec.unschedulable=false", &json!({"spec": {}}), true);
    check_fields(
        Resource::Node,
        "spec.unschedulable=false",
        &json!({"spec": {"unschedulable": true}}),
        false,
    );
    check_fields(Resource::Namespace, "status.phase=Active", &json!({"status": {"phase": "Active"}}), true);
    check_fields(Resource::Secret, "type=Opaque", &json!({"type": "Opaque"}), true);
    assert_eq!(Fields::parse(Resource::Pod, "status.phase=X,metadata.name=p").unwrap().name(), Some("p"));
    assert_eq!(Fields::parse(Resource::Pod, "metadata.name!=p").unwrap().name(), None);
}

#[test]
fn what_is_known_may_decide() {
    let check = |selector: &str, expected: Option<bool>| {
        let fields = Fields::parse(Resource::Pod, selector).expect(selector);
        let known = |path: &str| (path == "status.phase").then_some("Running");
        assert_eq!(fields.decide(known), expected, "{selector}");
    };
    check("", Some(true));
    check("status.phase=Running", Some(true));
    check("status.phase!=Running", Some(false));
    check("metadata.name=a", None);
    check("metadata.name=a,status.phase=Running", None);
    check("metadata.name=a,status.phase=Failed", Some(false));
}

#[test]
fn a_field_that_is_not_offered_is_refused() {
    let refused = |resource, selector: &str, message: &str| {
        let error = Fields::parse(resource, selector).expect_err(selector);
        assert_eq!((error.reason, error.message.as_str()), (Reason::BadRequest, message));
    };
    refused(Resource::Pod, "spec.priority=1", "field label not supported: spec.priority");
    refused(Resource::Node, "metadata.namespace=x", "field label not supported: metadata.namespace");
    refused(Resource::Job, "spec.suspend=true", "field label \"spec.suspend\" not supported for Job");
    refused(
        Resource::CronJob,
        "spec.suspend=true",
        "\"spec.suspend\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    );
    refused(Resource::Pod, "a", "invalid selector: 'a'; can't understand 'a'");
    refused(Resource::Pod, "metadata.name=a=b", "invalid field selector: unescaped character in value: =");
    refused(Resource::Pod, "metadata.name=a\\b", "invalid field selector: invalid escape sequence: \\b");
}

proptest! {
    /// Anything is either refused or printed so that it reads back the same.
    #[test]
    fn a_printed_selector_reads_back(text in "([a-c!=<>(), 0-9]|in|notin){0,12}") {
        if let Ok(parsed) = Labels::parse(&text) {
            prop_assert_eq!(Labels::parse(&parsed.to_string()).unwrap(), parsed);
        }
    }

    #[test]
    fn any_bytes_are_survived(text in ".{0,40}") {
        let _ = Labels::parse(&text);
        for resource in Resource::all() {
            let _ = Fields::parse(resource, &text);
        }
    }
}

#[test]
fn events_are_selected_by_the_names_of_each_form() {
    let stored = json!({
        "metadata": {"name": "e", "namespace": "ml"}, "involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Ran",
        "reportingComponent": "kubelet", "type": "Normal",
    });
    for (selector, matches) in [
        ("regarding.kind=Pod,regarding.name=p", true),
        ("regarding.name!=p", false),
        ("reportingController=kubelet,type=Normal,reason=Ran,metadata.name=e", true),
    ] {
        let fields = Fields::parse(Resource::EventsEvent, selector).unwrap();
        assert_eq!(fields.matches(&stored), matches, "{selector}");
    }
    for unknown in ["involvedObject.kind=Pod", "regarding.shape=x", "note=x", "regarding=x"] {
        let error = Fields::parse(Resource::EventsEvent, unknown).unwrap_err();
        assert!(error.message.starts_with("field label not supported: "), "{}", error.message);
    }
    let error = Fields::parse(Resource::PersistentVolume, "spec.storageClassName=x").unwrap_err();
    assert_eq!(error.reason, Reason::BadRequest);
}
