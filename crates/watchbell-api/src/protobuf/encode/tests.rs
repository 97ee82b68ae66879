use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::Reason;
use crate::protobuf::{Encoder, decode, encode, watch_event};
use crate::schema::{Scalar, Shape, Table, TypeId};

#[track_caller]
fn check(object: Value, expected: &[u8]) {
    let bytes = encode(&object).unwrap();
    let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
    assert_eq!(shown(&bytes), shown(expected));
}

/// What client-go 0.32 reads as the same object as the JSON.
#[test]
fn known_bytes() {
    check(
        json!({
            "kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s", "creationTimestamp": null},
            "data": {"b": "Yg==", "a": ""},
        }),
        b"k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\x14\n\x03\n\x01s\x12\x05\n\x01a\x12\0\x12\x06\n\x01b\x12\x01b\x1a\0\"\0",
    );
    check(
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no",
            "reason": "NotFound", "details": {"name": "a", "kind": "pods"}, "code": 404,
        }),
        b"k8s\0\n\x0c\n\x02v1\x12\x06Status\x12'\n\0\x12\x07Failure\x1a\x02no\"\x08NotFound*\x09\n\x01a\x1a\x04pods0\x94\x03\
          \x1a\0\"\0",
    );
    check(
        json!({
            "kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"},
            "items": [{"metadata": {"name": "a"}, "status": {"phase": "Running"}}, {"metadata": {}}],
        }),
        b"k8s\0\n\r\n\x02v1\x12\x07PodList\x12\x1b\n\x03\x12\x017\x12\x10\n\x03\n\x01a\x1a\x09\n\x07Running\x12\x02\n\0\x1a\0\"\0",
    );
    check(
        json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}, "spec": {"x": 1},
        }),
        b"k8s\0\n'\n\x0emeta.k8s.io/v1\x12\x15PartialObjectMetadata\x12\x05\n\x03\n\x01a\x1a\0\"\0",
    );
    check(
        json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1",
            "resources": [{"name": "pods", "namespaced": true, "kind": "Pod", "verbs": ["get", "list"]}],
        }),
        b"k8s\0\n\x15\n\x02v1\x12\x0fAPIResourceList\x12 \n\x02v1\x12\x1a\n\x04pods\x10\x01\x1a\x03Pod\"\x0b\n\x03get\n\x04list\
          \x1a\0\"\0",
    );
}

/// Every kind of scalar, and the places where a message is cut in two.
#[test]
fn every_scalar_comes_back() {
    for object in [
        json!({
            "kind": "Event", "apiVersion": "v1", "metadata": {"name": "e", "creationTimestamp": "2026-01-02T03:00:00Z"},
            "involvedObject": {}, "eventTime": "1969-12-31T23:59:59.123456Z", "count": -3,
            "firstTimestamp": "0001-01-01T00:00:01Z",
        }),
        json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {
                "labels": {"b": "1", "a": ""},
                "managedFields": [{
                    "manager": "kubectl", "operation": "Update", "apiVersion": "v1", "time": "2026-01-02T03:00:00Z",
                    "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:containers": {"k:{\"name\":\"é\"}": {".": {}}}}},
                }],
            },
            "spec": {
                "containers": [{
                    "name": "a", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
                    "livenessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 5},
                    "readinessProbe": {"tcpSocket": {"port": 80}},
                    "envFrom": [{"configMapRef": {"name": "c", "optional": false}}],
                }],
                "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "w"}],
                "securityContext": {"supplementalGroups": [1, -200, 3_000_000_000_i64], "runAsNonRoot": false},
                "hostUsers": false,
            },
            "status": {
                "phase": "Running",
                "containerStatuses": [{
                    "name": "a", "ready": false, "restartCount": 0, "image": "", "imageID": "",
                    "volumeMounts": [{"name": "v", "mountPath": "/v", "volumeStatus": {"image": {"imageRef": "x"}}}],
                }],
            },
        }),
        json!({
            "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
            "spec": {"token": "t"}, "status": {"user": {"username": "u", "extra": {"a": ["x", "y"], "b": []}}},
        }),
    ] {
        assert_eq!(decode(&encode(&object).unwrap()).unwrap(), object, "{object:#}");
    }
}

#[test]
fn lengths_grow_with_what_they_measure() {
    for size in [0, 1, 126, 127, 128, 129, 16_383, 16_384, 3_000_000] {
        let text = "x".repeat(size);
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}, "data": {"k": text}});
        assert_eq!(decode(&encode(&object).unwrap()).unwrap(), object, "{size}");
    }
}

#[test]
fn a_list_in_pieces_is_the_list() {
    let list = json!({
        "kind": "ConfigMapList", "apiVersion": "v1", "items": [{"metadata": {"name": "a"}}, {"data": {"a": "b"}}],
    });
    let encoder = Encoder::of("v1", "ConfigMapList").unwrap();
    let mut message = Vec::new();
    for item in list["items"].as_array().unwrap() {
        encoder.item(item, &mut message).unwrap();
    }
    assert_eq!(
        [&encoder.head(message.len()), &message[..], Encoder::tail()].concat(),
        encode(&list).unwrap()
    );
    assert!(Encoder::of("v1", "ConfigMap").unwrap().item(&list, &mut message).is_err());
}

#[test]
fn an_event_stands_behind_its_length() {
    let mut out = b"before".to_vec();
    watch_event("ADDED", &[7; 200], &mut out);
    let expected = [b"before\0\0\0\xd5\n\x05ADDED\x12\xcb\x01\n\xc8\x01".as_slice(), &[7; 200]].concat();
    assert_eq!(out, expected);
}

#[test]
fn what_has_no_such_form_is_refused() {
    for (version, kind) in
        [("meta.k8s.io/v1", "Table"), ("v1", "Nothing"), ("v1", "List"), ("v1", ""), ("", "Pod")]
    {
        let error = encode(&json!({"kind": kind, "apiVersion": version})).unwrap_err();
        assert_eq!(error.reason, Reason::NotAcceptable, "{version} {kind}");
    }
    for object in [
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": 1}),
        json!({"kind": "Pod", "apiVersion": "v1", "spec": {"containers": {}}}),
        json!({"kind": "Pod", "apiVersion": "v1", "spec": {"priority": 1.5}}),
        json!({"kind": "Secret", "apiVersion": "v1", "data": {"a": "?"}}),
    ] {
        let error = encode(&object).unwrap_err();
        assert_eq!(error.reason, Reason::InternalError, "{object}");
        assert!(error.message.contains("as protobuf: "), "{error}");
    }
}

/// A value of a type with some of its fields, all of which say something: the way back drops the others.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn object(&mut self, id: TypeId, depth: u32) -> Value {
        let of = Table::get().type_of(id);
        let mut map = Map::new();
        for field in &of.fields {
            // What says the kind stands in the envelope alone.
            let is_kind = (of.kind.is_some() || of.name == "meta.v1.DeleteOptions")
                && matches!(field.name, "kind" | "apiVersion");
            // Without a number.
            let is_newer = matches!(
                field.name,
                "schedulingGroup" | "nodeAllocatableResourceClaimStatuses" | "shardInfo"
            );
            if !is_kind && !is_newer && self.roll(3) == 0 {
                map.extend(self.value(&field.shape, depth + 1).map(|value| (field.name.to_owned(), value)));
            }
        }
        Value::Object(map)
    }

    fn value(&mut self, shape: &Shape, depth: u32) -> Option<Value> {
        if depth > 12 && !matches!(shape, Shape::Scalar(_)) {
            return None;
        }
        let some = |items: Vec<Value>| (!items.is_empty()).then_some(items);
        Some(match shape {
            Shape::Object(id) => self.object(*id, depth),
            Shape::List(item) => {
                Value::from(some((0..=self.roll(3)).filter_map(|_| self.value(item, depth + 1)).collect())?)
            }
            Shape::Map(item) => {
                let entries =
                    (0..=self.roll(3)).filter_map(|i| Some((format!("k{i}"), self.value(item, depth + 1)?)));
                let map: Map<String, Value> = entries.collect();
                (!map.is_empty()).then_some(Value::Object(map))?
            }
            Shape::Scalar(kind) => self.scalar(*kind),
        })
    }

    fn scalar(&mut self, kind: Scalar) -> Value {
        let number = self.roll(1 << 31) as i64 + 1;
        let pick = self.roll(3);
        match kind {
            Scalar::Bool => json!(true),
            Scalar::Int32 => json!(if pick == 0 { -number } else { number.min(i64::from(i32::MAX)) }),
            Scalar::Int64 => json!(if pick == 0 { -number << 20 } else { number << 20 }),
            Scalar::Double => json!(number as f64 / 8.0),
            Scalar::String => json!(format!("é{number}")),
            Scalar::Bytes => json!("AQID"),
            Scalar::Quantity => json!(["1", "500m", "64Mi"][pick as usize]),
            Scalar::IntOrString => {
                if pick == 0 {
                    json!("50%")
                } else {
                    json!(number - 5)
                }
            }
            Scalar::Time => json!("2026-01-02T03:04:05Z"),
            Scalar::MicroTime => json!("2026-01-02T03:04:05.000678Z"),
            Scalar::Any => json!({"f:a": {".": number}}),
        }
    }
}

proptest! {
    /// What is written is read back, whatever the kind.
    #[test]
    fn the_way_back_is_the_same(seed in any::<u64>(), which in any::<prop::sample::Index>()) {
        let kinds: Vec<[&str; 3]> = Table::get().types().filter_map(|t| t.kind).collect();
        let [group, version, kind] = kinds[which.index(kinds.len())];
        let id = Table::get().find_kind(group, version, kind).unwrap();
        let mut object = Dice(seed).object(id, 0);
        let api_version = if group.is_empty() { version.into() } else { format!("{group}/{version}") };
        object["kind"] = kind.into();
        object["apiVersion"] = api_version.into();
        let bytes = encode(&object).unwrap();
        prop_assert_eq!(decode(&bytes).unwrap(), object);
    }
}
