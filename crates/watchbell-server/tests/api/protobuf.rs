//! Answers in protobuf: the same objects as in JSON.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use watchbell_api::protobuf::{self, MEDIA_TYPE, decode};

use crate::client::Raw;
use crate::harness::{Harness, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PARTIAL: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const PARTIAL_LIST: &str =
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

fn get(h: &Harness, path: &str, accept: &str) -> Raw {
    h.client.bytes("GET", path, &[("Accept", accept)], b"")
}

#[track_caller]
fn media(raw: &Raw, code: u16, expected: &str) {
    assert_eq!(raw.code, code, "{}", raw.content.escape_ascii());
    assert_eq!(raw.headers["content-type"], expected);
    assert_eq!(raw.headers["content-length"].to_str().unwrap(), raw.content.len().to_string());
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// What the JSON form says, brought to what protobuf can say: the zero of a field that is no pointer is no news.
fn plain(object: &Value) -> Value {
    decode(&protobuf::encode(object).unwrap()).unwrap()
}

#[test]
fn objects_and_refusals_are_those_of_json() {
    let h = Harness::start();
    h.client.post(MAPS, &config_map("a", "x")).expect(201);
    for path in [
        &format!("{MAPS}/a"),
        "/api/v1/namespaces/default",
        "/api/v1/namespaces/default/configmaps/kube-root-ca.crt",
    ] {
        let raw = get(&h, path, MEDIA_TYPE);
        media(&raw, 200, MEDIA_TYPE);
        assert_eq!(decode(&raw.content).unwrap(), plain(&h.client.get(path).expect(200)));
    }
    let raw = get(&h, &format!("{MAPS}/none"), "application/vnd.kubernetes.protobuf,application/json");
    media(&raw, 404, MEDIA_TYPE);
    assert_eq!(decode(&raw.content).unwrap(), plain(&h.client.get(&format!("{MAPS}/none")).expect(404)));
    // Who takes nothing that there is hears why in JSON.
    let refusal = h.client.get_as(MAPS, "text/html");
    refusal.expect_refusal(
        406,
        "NotAcceptable",
        "application/json, application/yaml, application/vnd.kubernetes",
    );
    let raw = get(&h, "/apis/none/v1/things", "text/html");
    assert_eq!((raw.code, &raw.headers["content-type"]), (404, &"application/json".parse().unwrap()));
}

#[test]
fn writes_are_answered_in_kind() {
    let h = Harness::start();
    let body = protobuf::encode(&config_map("a", "x")).unwrap();
    let headers = [("Content-Type", MEDIA_TYPE), ("Accept", MEDIA_TYPE)];
    let made = h.client.bytes("POST", MAPS, &headers, &body);
    media(&made, 201, MEDIA_TYPE);
    let object = decode(&made.content).unwrap();
    assert_eq!(object, plain(&h.client.get(&format!("{MAPS}/a")).expect(200)));
    let again = h.client.bytes("POST", MAPS, &headers, &body);
    media(&again, 409, MEDIA_TYPE);
    assert_eq!(decode(&again.content).unwrap()["reason"], "AlreadyExists");
    let partial = [("Content-Type", "application/merge-patch+json"), ("Accept", PARTIAL)];
    let patched = h.client.bytes("PATCH", &format!("{MAPS}/a"), &partial, br#"{"data":{"b":"c"}}"#);
    media(&patched, 200, MEDIA_TYPE);
    let live = h.client.get(&format!("{MAPS}/a")).expect(200);
    let partial = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": live["metadata"]});
    assert_eq!(patched.content, protobuf::encode(&partial).unwrap());
    let options =
        protobuf::encode(&json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}));
    let gone = h.client.bytes("DELETE", &format!("{MAPS}/a"), &headers, &options.unwrap());
    media(&gone, 200, MEDIA_TYPE);
    let status = decode(&gone.content).unwrap();
    assert_eq!((&status["kind"], &status["status"]), (&json!("Status"), &json!("Success")));
}

#[test]
fn lists_are_the_same() {
    let h = Harness::start();
    for name in ["a", "b", "c"] {
        h.client.post(MAPS, &config_map(name, "x")).expect(201);
    }
    for query in ["", "?limit=2", "?labelSelector=none"] {
        let path = format!("{MAPS}{query}");
        let raw = get(&h, &path, MEDIA_TYPE);
        media(&raw, 200, MEDIA_TYPE);
        let json = h.client.get(&path).expect(200);
        assert_eq!(shown(&raw.content), shown(&protobuf::encode(&json).unwrap()), "{query}");
        let partial = get(&h, &path, PARTIAL_LIST);
        media(&partial, 200, MEDIA_TYPE);
        let json =
            h.client.get_as(&path, &PARTIAL_LIST.replace("vnd.kubernetes.protobuf", "json")).expect(200);
        assert_eq!(partial.content, protobuf::encode(&json).unwrap(), "{query}");
    }
    // No Table in protobuf: the next that the client takes.
    let accept = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json";
    let list = h.client.get_as(MAPS, accept);
    assert_eq!(list.header("content-type"), "application/json");
    assert_eq!(list.body["kind"], "ConfigMapList");
}

/// What is too large to be kept is gone through twice, and is the same.
#[test]
fn a_list_that_is_not_kept_is_the_same() {
    let h = Harness::start();
    for n in 0..8 {
        let mut map = config_map(&format!("m{n}"), "x");
        map["data"]["large"] = "x".repeat(200_000).into();
        h.client.post(MAPS, &map).expect(201);
    }
    for query in ["", "?limit=7", "?labelSelector=team%3Dx"] {
        let path = format!("{MAPS}{query}");
        let raw = get(&h, &path, MEDIA_TYPE);
        assert!(raw.content.len() > 1 << 20);
        media(&raw, 200, MEDIA_TYPE);
        let json = h.client.get(&path).expect(200);
        assert!(raw.content == protobuf::encode(&json).unwrap(), "{query}");
        let headers = [("Accept", MEDIA_TYPE), ("Accept-Encoding", "gzip")];
        let zipped = h.client.bytes("GET", &path, &headers, b"");
        let mut content = Vec::new();
        flate2::read::GzDecoder::new(&zipped.content[..]).read_to_end(&mut content).unwrap();
        assert!(content == raw.content, "{query}");
    }
}

#[test]
fn a_large_list_is_compressed_as_in_json() {
    let h = Harness::start();
    for name in ["a", "b", "c"] {
        let mut map = config_map(name, "x");
        map["data"]["large"] = "x".repeat(60_000).into();
        h.client.post(MAPS, &map).expect(201);
    }
    let plain = get(&h, MAPS, MEDIA_TYPE);
    assert!(!plain.headers.contains_key("content-encoding"));
    let headers = [("Accept", MEDIA_TYPE), ("Accept-Encoding", "gzip")];
    let zipped = h.client.bytes("GET", MAPS, &headers, b"");
    assert_eq!(zipped.headers["content-encoding"], "gzip");
    let mut content = Vec::new();
    flate2::read::GzDecoder::new(&zipped.content[..]).read_to_end(&mut content).unwrap();
    assert_eq!(content, plain.content);
}

#[test]
fn discovery_is_had_in_protobuf_and_documents_are_not() {
    let h = Harness::start();
    for path in ["/api", "/apis", "/apis/batch", "/api/v1", "/apis/batch/v1"] {
        let raw = get(&h, path, MEDIA_TYPE);
        media(&raw, 200, MEDIA_TYPE);
        let mut json = h.client.get(path).expect(200);
        if path == "/api" {
            json["apiVersion"] = "v1".into();
        }
        assert_eq!(raw.content, protobuf::encode(&json).unwrap(), "{path}");
    }
    // Aggregated discovery is left to JSON, which clients offer beside it.
    let aggregated = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let accept = format!("{MEDIA_TYPE};{aggregated},application/json;{aggregated},application/json");
    assert_eq!(h.client.get_as("/apis", &accept).expect(200)["kind"], "APIGroupDiscoveryList");
    for path in ["/version", "/", "/openapi/v3"] {
        assert_eq!(get(&h, path, MEDIA_TYPE).headers["content-type"], "application/json", "{path}");
    }
}

/// The events of a watch in protobuf, one behind the other.
struct Frames(Box<dyn Read + Send>);

impl Frames {
    fn of(h: &Harness, query: &str, accept: &str) -> Frames {
        let response = h.client.open("GET", &format!("{MAPS}?watch=1{query}"), &[("Accept", accept)], b"");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
        assert!(!response.headers().contains_key("content-encoding"));
        Frames(Box::new(response.into_body().into_reader()))
    }

    /// The type of the next event and its object in its envelope.
    fn next(&mut self) -> (String, Vec<u8>) {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame).unwrap();
        assert_eq!(frame[0], 0x0a);
        let end = 2 + usize::from(frame[1]);
        let start = frame.windows(4).position(|bytes| bytes == b"k8s\0").unwrap();
        (String::from_utf8(frame[2..end].to_vec()).unwrap(), frame[start..].to_vec())
    }

    #[track_caller]
    fn expect(&mut self, kind: &str, object: &Value) {
        let (found, bytes) = self.next();
        let shown = bytes.escape_ascii().to_string();
        assert_eq!((found.as_str(), bytes), (kind, protobuf::encode(object).unwrap()), "{object}\n{shown}");
    }
}

#[test]
fn a_watch_tells_what_one_in_json_tells() {
    let h = Harness::start();
    h.client.post(MAPS, &config_map("a", "x")).expect(201);
    let query = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut json = h.client.watch(&format!("{MAPS}?watch=1{query}"), &[]);
    let mut frames = Frames::of(&h, query, "application/vnd.kubernetes.protobuf;stream=watch");
    let mut partial = Frames::of(&h, query, PARTIAL);
    h.client.post(MAPS, &config_map("b", "x")).expect(201);
    let patch = json!({"metadata": {"labels": {"team": "y"}}});
    h.client.patch(&format!("{MAPS}/b"), "application/merge-patch+json", &patch).expect(200);
    h.client.delete(&format!("{MAPS}/b")).expect(200);
    let mut kinds = Vec::new();
    for event in json.by_ref() {
        let kind = event["type"].as_str().unwrap().to_owned();
        if kind == "BOOKMARK" {
            // Each carries the empty list in its own form.
            let list = json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {}});
            let (of_frames, object) = frames.next();
            let object = decode(&object).unwrap();
            assert_eq!(
                object["metadata"]["annotations"]["kubernetes.io/initial-events-list-blueprint"],
                STANDARD.encode(protobuf::encode(&list).unwrap())
            );
            assert_eq!((of_frames, partial.next().0), (kind.clone(), kind.clone()));
            kinds.push(kind);
            continue;
        }
        frames.expect(&kind, &event["object"]);
        let mut object = event["object"].clone();
        object["kind"] = "PartialObjectMetadata".into();
        object["apiVersion"] = "meta.k8s.io/v1".into();
        partial.expect(&kind, &object);
        kinds.push(kind);
        if kinds.last().is_some_and(|kind| kind == "DELETED") {
            break;
        }
    }
    let told: Vec<&str> = kinds.iter().map(String::as_str).filter(|kind| *kind != "BOOKMARK").collect();
    assert!(told.ends_with(&["ADDED", "MODIFIED", "DELETED"]), "{kinds:?}");
    assert!(kinds.contains(&"BOOKMARK".to_owned()));
}

/// However many listen, an object of an event is made into bytes once a form.
#[test]
fn watchers_share_the_bytes_of_an_event() {
    let h = Harness::start();
    let from = h.client.get(MAPS).expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let query = format!("&resourceVersion={from}");
    let table = [("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let path = format!("{MAPS}?watch=1{query}");
    let mut lines: Vec<_> = (0..4).map(|_| h.client.watch(&path, &[])).collect();
    lines.extend((0..4).map(|_| h.client.watch(&path, &table)));
    let mut frames: Vec<_> = (0..4).map(|_| Frames::of(&h, &query, MEDIA_TYPE)).collect();
    for i in 0..5 {
        h.client.post(MAPS, &config_map(&format!("m{i}"), "x")).expect(201);
        lines.iter_mut().for_each(|lines| drop(lines.next().unwrap()));
        frames.iter_mut().for_each(|frames| drop(frames.next()));
    }
    let metrics = h.client.get("/metrics").text;
    let counted = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    assert_eq!(counted("watchbell_watch_events_total "), 5 * 12);
    assert_eq!(counted("watchbell_watch_encodings_total "), 5 * 3);
}
