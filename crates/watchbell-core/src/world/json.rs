//! An object's JSON without a detour over values: its head lies in memory as the bytes that clients get, or follows from
//! the template of an array pod, and only what is kept apart is put in.
//!
//! The result is, byte for byte, `stored.render().to_string()`.

use std::borrow::Cow;
use std::io::Write;

use watchbell_api::Resource;

use super::object::{Head, Stored};
use super::shown::rfc3339;

/// What stands before the end of the metadata, and the rest.
type Parts<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

impl Stored {
    /// Writes the object as clients see it.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let Some((before, after)) = self.json_parts() else {
            // Writing to memory does not fail.
            let _ = serde_json::to_writer(out, &self.render());
            return;
        };
        let status = self.render_status();
        out.extend_from_slice(&before);
        let managed = self.managed(status.as_ref());
        if !managed.is_empty() {
            out.extend_from_slice(b",\"managedFields\":");
            managed.write_json(out);
        }
        if self.resource_version != 0 {
            let _ = write!(out, ",\"resourceVersion\":\"{}\"", self.resource_version);
        }
        if self.generation > 0 {
            let _ = write!(out, ",\"generation\":{}", self.generation);
        }
        if let Some(deletion) = self.deletion {
            let _ = write!(
                out,
                ",\"deletionTimestamp\":\"{}\",\"deletionGracePeriodSeconds\":{}",
                rfc3339(deletion.at),
                deletion.grace_seconds
            );
        }
        out.extend_from_slice(&after);
        if let Some(status) = status {
            // The object's own end comes after its status.
            out.pop();
            out.extend_from_slice(b",\"status\":");
            let _ = serde_json::to_writer(&mut *out, &status);
            out.push(b'}');
        }
    }

    /// The head with the marks of a pod, cut where its metadata ends. `None` where it has to be put together field by field.
    fn json_parts(&self) -> Option<Parts<'_>> {
        match &self.head {
            Head::ArrayPod(pod) if pod.own.is_none() => {
                let (before, after) = pod.template.head_parts(self, pod)?;
                Some((before.into(), after.into()))
            }
            // A pod's own head lacks what follows from its status.
            Head::Json(head) if self.resource != Resource::Pod => {
                let (before, after) = split_at_metadata_end(&head.json)?;
                Some((before.into(), after.into()))
            }
            Head::Json(_) | Head::ArrayPod(_) => None,
        }
    }
}

/// Splits a compact JSON object before the brace that closes its `metadata`; `None` where these are missing or empty, to
/// which nothing can be added with a comma.
fn split_at_metadata_end(json: &[u8]) -> Option<(&[u8], &[u8])> {
    const KEY: &[u8] = b"\"metadata\":{";
    let mut depth = 0usize;
    let mut place = 0;
    let mut in_metadata = false;
    while let Some(byte) = json.get(place) {
        match byte {
            b'"' => {
                let is_key =
                    depth == 1 && json[place..].starts_with(KEY) && matches!(json[place - 1], b'{' | b',');
                if is_key {
                    if json.get(place + KEY.len()) == Some(&b'}') {
                        return None;
                    }
                    in_metadata = true;
                }
                place = string_end(json, place)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if in_metadata && depth == 1 {
                    return Some(json.split_at(place));
                }
            }
            _ => {}
        }
        place += 1;
    }
    None
}

/// The place behind the string that begins at `start`.
fn string_end(json: &[u8], start: usize) -> Option<usize> {
    let mut place = start + 1;
    loop {
        match json.get(place)? {
            b'"' => return Some(place + 1),
            b'\\' => place += 2,
            _ => place += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::{Value, json};
    use watchbell_api::Uid;

    use super::*;
    use crate::world::{Deletion, JsonHead, Status};

    fn check(object: Value, generation: u32, deletion: Option<Deletion>, status: Status) {
        let head = JsonHead::from_value(Resource::ConfigMap, object).unwrap();
        let stored = Stored {
            resource: Resource::ConfigMap,
            namespace: "default".into(),
            name: "a".into(),
            uid: Uid(7),
            resource_version: 42,
            generation,
            created_at: 0,
            deletion,
            head: Head::Json(Arc::new(head)),
            status,
        };
        let mut out = Vec::new();
        stored.write_json(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), stored.render().to_string());
    }

    #[test]
    fn it_is_what_render_gives() {
        let deletion = Some(Deletion { at: 1_700_000_000, grace_seconds: 30 });
        let status = || Status::Json(Arc::new(json!({"phase": "Active", "list": [1, {"a": "}"}]})));
        let tricks = json!({
            "spec": {"metadata": {"a": {}}, "text": "\"metadata\":{ \\\" } ]"},
            "metadata": {"name": "a", "annotations": {"metadata": "{\"metadata\":{\"x\":\"}\"}}"}, "labels": {}},
            "data": {"metadata": "y", "é\"": "\u{1}\\"},
        });
        check(tricks.clone(), 0, None, Status::None);
        check(tricks.clone(), 3, deletion, status());
        check(json!({"metadata": {}}), 1, deletion, status());
        check(json!({"metadata": {}, "data": {"metadata": "x"}}), 0, None, Status::None);
        check(json!({"metadata": {"name": "a"}}), 0, None, status());
        let managed = json!([{
            "manager": "x", "operation": "Update", "apiVersion": "v1", "time": "2026-03-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}},
        }, {"manager": "y"}]);
        check(
            json!({"metadata": {"name": "a", "managedFields": managed}, "data": {}}),
            2,
            deletion,
            status(),
        );
        check(json!({"list": [{"metadata": {"b": 1}}], "metadata": {"name": "a"}}), 2, None, Status::None);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\"\\\\{}\\[\\],:a-z\u{e9}\n]{0,12}".prop_map(Value::from),
        ];
        let key = prop_oneof![Just("metadata".to_owned()), "[\"\\\\{}a-c]{0,4}"];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_what_render_gives_of_anything(
            before in any_value(), metadata in any_value(), after in any_value(), generation in 0u32..3,
        ) {
            let metadata = if metadata.is_object() { metadata } else { json!({"name": "a", "x": metadata}) };
            check(json!({"kind": before, "metadata": metadata, "data": after}), generation, None, Status::None);
        }
    }
}
