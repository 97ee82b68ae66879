//! Protobuf as a Go client speaks it: every body but a patch, and every answer.

use std::io::Read;

use serde_json::{Value, json};
use watchbell_api::protobuf::{self, Encoder};

const MAGIC: &[u8] = b"k8s\0";

/// The bytes of an object.
pub(crate) fn encode(object: &Value) -> Vec<u8> {
    protobuf::encode(object).unwrap_or_else(|e| panic!("{e:?}: {object:#}"))
}

/// An object, a list, a refusal; anything else is a text.
pub(crate) fn decode(body: &[u8]) -> Value {
    let Some(envelope) = body.strip_prefix(MAGIC) else {
        return serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into());
    };
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for (number, bytes) in fields(envelope) {
        match number {
            1 => {
                for (number, bytes) in fields(bytes) {
                    let text = String::from_utf8(bytes.to_vec()).unwrap();
                    if number == 1 { api_version = text } else { kind = text }
                }
            }
            2 => raw = bytes,
            _ => {}
        }
    }
    match kind.strip_suffix("List") {
        Some(item) => list(&api_version, &kind, item, raw),
        None => protobuf::decode(body).unwrap_or_else(|e| panic!("{e:?}: {}", body.escape_ascii())),
    }
}

fn list(api_version: &str, kind: &str, item: &str, raw: &[u8]) -> Value {
    let encoder = Encoder::of(api_version, item).unwrap();
    let (mut metadata, mut items) = (json!({}), Vec::new());
    for (number, bytes) in fields(raw) {
        if number == 2 {
            let whole = [&encoder.head(bytes.len()), bytes, Encoder::tail()].concat();
            items.push(protobuf::decode(&whole).unwrap());
            continue;
        }
        for (number, bytes) in fields(bytes) {
            let name = ["", "selfLink", "resourceVersion", "continue", "remainingItemCount"][number as usize];
            metadata[name] = String::from_utf8_lossy(bytes).into();
        }
    }
    json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items})
}

/// The next event of a watch; `None` at its end.
pub(crate) fn event(stream: &mut dyn Read) -> Option<Value> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).unwrap();
    let mut event = json!({});
    for (number, bytes) in fields(&frame) {
        match number {
            1 => event["type"] = String::from_utf8_lossy(bytes).into(),
            _ => event["object"] = decode(fields(bytes).remove(0).1),
        }
    }
    Some(event)
}

/// The fields of a message that have a length; numbers are not needed here.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        match key & 7 {
            0 => drop(varint(&mut bytes)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                let (field, rest) = bytes.split_at(length);
                found.push((key >> 3, field));
                bytes = rest;
            }
            wire => panic!("wire type {wire}"),
        }
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return value;
        }
        shift += 7;
    }
}
