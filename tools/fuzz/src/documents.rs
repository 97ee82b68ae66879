//! Manifests, bodies of requests, and patches.

use serde_json::Value;
use watchbell_api::{Resource, decode, defaults, managed_fields, patch, protobuf, table, validate};

/// What is printed reads back as the same.
pub fn yaml(data: &[u8]) {
    for document in decode::yaml(data).unwrap_or_default() {
        if let Ok(text) = decode::to_yaml(&document) {
            assert_eq!(decode::yaml(text.as_bytes()).expect(&text), [document], "{text}");
        }
    }
}

/// What is printed reads back as the same.
pub fn json(data: &[u8]) {
    if let Ok(value) = decode::json(data) {
        assert_eq!(decode::json(value.to_string().as_bytes()).expect("printed JSON is JSON"), value);
    }
}

/// The kind that a document says it is of.
fn resource(object: &Value) -> Option<Resource> {
    Resource::from_kind(object["apiVersion"].as_str()?, object["kind"].as_str()?)
}

/// Defaults are there after the first time; what is valid can be sent as protobuf and shown as a row.
pub fn object(data: &[u8]) {
    let Ok(mut object) = decode::json(data) else { return };
    let Some(resource) = resource(&object) else { return };
    if !validate::create(resource, &object).is_empty() {
        return;
    }
    defaults::apply(resource, &mut object);
    let once = object.clone();
    defaults::apply(resource, &mut object);
    assert_eq!(object, once);
    let _ = validate::warnings(resource, &object);
    let _ = managed_fields::fields_of(resource, &object);
    let _ = validate::update(resource, &object, &object);
    let columns = table::columns(resource).as_array().map_or(0, Vec::len);
    assert_eq!(table::cells(resource, &object, 1_700_000_000).len(), columns);
    stable(&object);
}

/// What was decoded can be sent again.
pub fn protobuf(data: &[u8]) {
    if let Ok(object) = protobuf::decode(data) {
        stable(&object);
    }
}

/// What has a number survives the way there and back, whatever else the object held.
fn stable(object: &Value) {
    let again = |object: &Value| {
        let bytes = protobuf::encode(object).ok()?;
        Some(protobuf::decode(&bytes).expect("what we encode we decode"))
    };
    if let Some(once) = again(object) {
        assert_eq!(again(&once).as_ref(), Some(&once));
    }
}

/// Two JSON documents with a zero byte between them: an object and a patch of it. A merge patch done twice does nothing more.
pub fn patch(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let mut next = || parts.next().and_then(|part| decode::json(part).ok());
    let (Some(current), Some(body)) = (next(), next()) else { return };
    let Some(resource) = resource(&current) else { return };
    let _ = patch::json_patch(resource, &current, &body);
    let _ = patch::strategic(resource, &current, &body);
    if let Ok(once) = patch::merge(resource, &current, &body) {
        assert_eq!(patch::merge(resource, &once, &body).expect("it was taken once"), once);
    }
}
