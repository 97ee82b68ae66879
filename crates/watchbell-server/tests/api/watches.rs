//! Watches: what is told, in which form, from where on.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::{Harness, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn told(event: &Value) -> (String, String) {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
}

fn version(h: &Harness) -> String {
    h.client.get(MAPS).expect(200)["metadata"]["resourceVersion"].as_str().unwrap().into()
}

fn label(h: &Harness, name: &str, team: &str) {
    let patch = json!({"metadata": {"labels": {"team": team}}});
    h.client.patch(&format!("{MAPS}/{name}"), "application/merge-patch+json", &patch).expect(200);
}

#[track_caller]
fn expect(events: &mut impl Iterator<Item = Value>, list: &[(&str, &str)]) -> Vec<Value> {
    let mut out = Vec::new();
    for (kind, name) in list {
        let event = events.next().expect("the watch ended");
        assert_eq!(told(&event), ((*kind).to_owned(), (*name).to_owned()), "{event}");
        out.push(event);
    }
    out
}

#[test]
fn changes_are_told_in_order() {
    let h = Harness::start();
    let mut events = h.client.watch(&format!("{MAPS}?watch=1&resourceVersion={}", version(&h)), &[]);
    h.client.post(MAPS, &config_map("a", "x")).expect(201);
    label(&h, "a", "y");
    let last = h.client.get(&format!("{MAPS}/a")).expect(200);
    h.client.delete(&format!("{MAPS}/a")).expect(200);
    // Another namespace and another resource are not told.
    h.client.post("/api/v1/namespaces/kube-system/configmaps", &config_map("foreign", "x")).expect(201);
    h.client.post(MAPS, &config_map("b", "x")).expect(201);
    let heard = expect(&mut events, &[("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]);
    assert_eq!(heard[1]["object"], last);
    let version = |event: &Value| {
        event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap()
    };
    assert!(heard.windows(2).all(|pair| version(&pair[0]) < version(&pair[1])));
    assert_eq!(heard[2]["object"]["metadata"]["labels"]["team"], "y");
}

#[test]
fn a_selection_is_entered_and_left() {
    let h = Harness::start();
    h.client.post(MAPS, &config_map("a", "x")).expect(201);
    let from = version(&h);
    let query = format!("watch=1&resourceVersion={from}&labelSelector=team%3Dy");
    let mut events = h.client.watch(&format!("{MAPS}?{query}"), &[]);
    label(&h, "a", "y");
    let inside = h.client.get(&format!("{MAPS}/a")).expect(200);
    label(&h, "a", "z");
    label(&h, "a", "w");
    h.client.delete(&format!("{MAPS}/a")).expect(200);
    h.client.post(MAPS, &config_map("b", "y")).expect(201);
    let heard = expect(&mut events, &[("ADDED", "a"), ("DELETED", "a"), ("ADDED", "b")]);
    // What leaves is shown as it was, at a newer version.
    assert_eq!(heard[1]["object"]["metadata"]["labels"]["team"], "y");
    assert_ne!(heard[1]["object"]["metadata"]["resourceVersion"], inside["metadata"]["resourceVersion"]);
}

#[test]
fn initial_events_and_their_end() {
    let h = Harness::start();
    h.client.post(MAPS, &config_map("a", "x")).expect(201);
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = h.client.watch(&format!("{MAPS}?{query}"), &[]);
    expect(&mut events, &[("ADDED", "a"), ("ADDED", "kube-root-ca.crt")]);
    let end = events.next().unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["kind"], "ConfigMap");
    let annotations = &end["object"]["metadata"]["annotations"];
    assert_eq!(annotations["k8s.io/initial-events-end"], "true");
    // The empty list that client-go puts the events into.
    let blueprint = annotations["kubernetes.io/initial-events-list-blueprint"].as_str().unwrap();
    let list: Value = serde_json::from_slice(&STANDARD.decode(blueprint).unwrap()).unwrap();
    assert_eq!(list, json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {}, "items": []}));
    assert_eq!(end["object"]["metadata"]["resourceVersion"].as_str(), Some(version(&h).as_str()));
    h.client.post(MAPS, &config_map("b", "x")).expect(201);
    expect(&mut events, &[("ADDED", "b")]);
    // Without a version all that is there comes first, without one of a name only that.
    let mut plain = h.client.watch(&format!("{MAPS}?watch=1"), &[]);
    expect(&mut plain, &[("ADDED", "a"), ("ADDED", "b"), ("ADDED", "kube-root-ca.crt")]);
    let mut one = h.client.watch(&format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Db"), &[]);
    expect(&mut one, &[("ADDED", "b")]);
    let mut by_path = h.client.watch(&format!("{MAPS}/b?watch=1"), &[]);
    expect(&mut by_path, &[("ADDED", "b")]);
}

#[test]
fn events_as_table_rows() {
    let h = Harness::start();
    h.client.post(MAPS, &config_map("a", "x")).expect(201);
    let accept = [("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    let mut events = h.client.watch(&format!("{MAPS}?watch=1"), &accept);
    let first = events.next().unwrap();
    assert_eq!((first["type"].as_str(), first["object"]["kind"].as_str()), (Some("ADDED"), Some("Table")));
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    assert!(first["object"]["columnDefinitions"].is_array());
    let second = events.next().unwrap();
    assert_eq!(second["object"]["rows"][0]["object"]["metadata"]["name"], "kube-root-ca.crt");
    assert!(second["object"]["columnDefinitions"].is_null());
}

#[test]
fn metadata_alone() {
    let h = Harness::start();
    let accept = [("Accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")];
    let mut events = h.client.watch(&format!("{MAPS}?watch=1"), &accept);
    let first = events.next().unwrap();
    assert_eq!(first["object"]["kind"], "PartialObjectMetadata");
    assert!(first["object"].get("data").is_none());
}

#[test]
fn a_watch_ends_in_its_time() {
    let h = Harness::start();
    let query = format!("watch=1&timeoutSeconds=1&resourceVersion={}", version(&h));
    let mut events = h.client.watch(&format!("{MAPS}?{query}"), &[]);
    assert_eq!(events.next(), None);
}

#[test]
fn versions_that_cannot_be_watched_from() {
    let h = Harness::start();
    h.client.post(MAPS, &config_map("a", "x")).expect(201);
    // What happened before the start is not remembered.
    let h = Harness::start_in(h.stop());
    h.client.get(&format!("{MAPS}?watch=1&resourceVersion=1")).expect_refusal(
        410,
        "Expired",
        "too old resource version",
    );
    let future = h.client.get(&format!("{MAPS}?watch=1&resourceVersion=99999999"));
    future.expect_refusal(504, "Timeout", "Too large resource version");
    h.client.get(&format!("{MAPS}?watch=1&sendInitialEvents=true")).expect_refusal(
        422,
        "Invalid",
        "NotOlderThan",
    );
    h.client.get(&format!("{MAPS}?watch=1&labelSelector=%3D%3D")).expect(400);
}

#[test]
fn watches_end_with_the_server() {
    let h = Harness::start();
    let mut events = h.client.watch(&format!("{MAPS}?watch=1&resourceVersion={}", version(&h)), &[]);
    h.stop();
    assert_eq!(events.next(), None);
}

#[test]
fn many_watchers_hear_the_same() {
    let h = Harness::start();
    let path = format!("{MAPS}?watch=1&resourceVersion={}", version(&h));
    let mut watchers: Vec<_> = (0..40).map(|_| h.client.watch(&path, &[])).collect();
    for i in 0..20 {
        h.client.post(MAPS, &config_map(&format!("m{i:02}"), "x")).expect(201);
    }
    let heard: Vec<Vec<Value>> = watchers.iter_mut().map(|events| events.take(20).collect()).collect();
    assert!(heard.iter().all(|events| *events == heard[0] && events.len() == 20));
}
