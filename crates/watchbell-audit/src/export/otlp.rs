//! Logs by OTLP/HTTP in its JSON encoding (OTLP 1.x, `opentelemetry-proto`'s `collector/logs/v1`).
//!
//! The JSON encoding is proto3's mapping with two differences: enumerations are numbers, and trace ids would be hexadecimal
//! (we have none). 64-bit integers are text.
//!
//! OTLP has no name for a record by which a receiver must know it again: a batch whose answer was lost is sent twice. Each
//! record carries `log.record.uid` (OpenTelemetry's attribute for this) with [`super::Entry::id`], so that the receiver can.

use serde::Deserialize;
use serde_json::{Value, json};

use super::bulk::{HttpAnswer, excerpt};
use super::ecs::{self, Kind, Level};
use super::entry::Entry;
use super::fields::{self, FieldType};
use super::shipper::{Answer, Item, Outcome};

pub const CONTENT_TYPE: &str = "application/json";
/// Below the receiver's address.
pub const PATH: &str = "/v1/logs";
/// What lies deeper in an attribute is its JSON as text.
const DEPTH_MAX: usize = 16;

/// The record of an entry: one line of JSON.
pub fn record(context: &ecs::Context, entry: &Entry) -> Vec<u8> {
    let mut document = Vec::with_capacity(1024);
    let summary = ecs::write(context, entry, &mut document);
    let fields: Value = serde_json::from_slice(&document).unwrap_or_default();
    let (number, text) = match summary.level {
        Level::Info => ("9", "INFO"),
        Level::Warning => ("13", "WARN"),
        Level::Error => ("17", "ERROR"),
    };
    let event = match summary.kind {
        Kind::Request => "watchbell.audit.request",
        Kind::Run => "watchbell.audit.run",
        Kind::Server => "watchbell.audit.server",
        Kind::Unreadable => "watchbell.audit.unreadable",
    };
    let time = entry.at_unix_nanos.max(0).to_string();
    let mut record = Vec::with_capacity(3 * document.len());
    raw(&mut record, &["{\"timeUnixNano\":\"", &time, "\",\"observedTimeUnixNano\":\"", &time, "\""]);
    raw(
        &mut record,
        &[",\"severityNumber\":", number, ",\"severityText\":\"", text, "\",\"eventName\":\"", event],
    );
    raw(&mut record, &["\",\"body\":{\"stringValue\":"]);
    quoted(&mut record, &summary.message);
    raw(&mut record, &["},\"attributes\":["]);
    attribute(&mut record, "log.record.uid", &Value::String(entry.id()));
    let is_elsewhere = |name: &str| {
        // The record's own fields, and the resource's, say these.
        matches!(name, "@timestamp" | "message")
            || ["service.", "host.", "data_stream."].iter().any(|p| name.starts_with(p))
    };
    flatten(&mut String::new(), &fields, &mut |name, value| {
        if !is_elsewhere(name) {
            record.push(b',');
            attribute(&mut record, name, value);
        }
    });
    raw(&mut record, &["]}"]);
    record
}

/// The body of a request with these records.
pub fn body(context: &ecs::Context, items: &[Item]) -> Vec<u8> {
    let resource = [
        ("service.name", "watchbell"),
        ("service.version", &context.version),
        ("service.instance.id", &context.hostname),
        ("host.name", &context.hostname),
    ];
    let scope = json!({"name": ecs::DATASET, "version": context.version});
    let mut body = Vec::with_capacity(items.iter().map(|item| item.document.len() + 1).sum::<usize>() + 512);
    body.extend_from_slice(b"{\"resourceLogs\":[{\"resource\":{\"attributes\":");
    for (n, (name, value)) in resource.into_iter().enumerate() {
        body.push(if n == 0 { b'[' } else { b',' });
        attribute(&mut body, name, &Value::from(value));
    }
    body.push(b']');
    body.extend_from_slice(b"},\"scopeLogs\":[{\"scope\":");
    body.extend_from_slice(scope.to_string().as_bytes());
    body.extend_from_slice(b",\"logRecords\":[");
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&item.document);
    }
    body.extend_from_slice(b"]}]}]}");
    body
}

/// Hands out every leaf below an object by its name with dots. Annotations and the like are leaves: their keys are not ours.
fn flatten(name: &mut String, value: &Value, each: &mut dyn FnMut(&str, &Value)) {
    let Value::Object(map) = value else { return each(name, value) };
    if fields::find(name).is_some_and(|field| field.kind == FieldType::Flattened) {
        return each(name, value);
    }
    let length = name.len();
    for (key, below) in map {
        if length > 0 {
            name.push('.');
        }
        name.push_str(key);
        flatten(name, below, each);
        name.truncate(length);
    }
}

/// Text goes out as it is made: trees of values in between cost more than all the rest.
fn raw(to: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| to.extend_from_slice(part.as_bytes()));
}

/// As JSON has it.
fn quoted(to: &mut Vec<u8>, text: &str) {
    // A vector takes all bytes, and text always has a form: this cannot fail.
    let _ = serde_json::to_writer(to, text);
}

fn attribute(to: &mut Vec<u8>, name: &str, value: &Value) {
    raw(to, &["{\"key\":"]);
    quoted(to, name);
    raw(to, &[",\"value\":"]);
    any_value(to, value, 0);
    to.push(b'}');
}

/// `AnyValue` of `common.proto`. Nothing (a JSON null) is a value without any of its fields.
fn any_value(to: &mut Vec<u8>, value: &Value, depth: usize) {
    to.push(b'{');
    match value {
        _ if depth >= DEPTH_MAX => {
            raw(to, &["\"stringValue\":"]);
            quoted(to, &value.to_string());
        }
        Value::Null => {}
        Value::Bool(truth) => raw(to, &["\"boolValue\":", if *truth { "true" } else { "false" }]),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => raw(to, &["\"intValue\":\"", &whole.to_string(), "\""]),
            None => raw(to, &["\"doubleValue\":", &number.to_string()]),
        },
        Value::String(text) => {
            raw(to, &["\"stringValue\":"]);
            quoted(to, text);
        }
        Value::Array(list) => {
            raw(to, &["\"arrayValue\":{\"values\":["]);
            for (n, below) in list.iter().enumerate() {
                if n > 0 {
                    to.push(b',');
                }
                any_value(to, below, depth + 1);
            }
            raw(to, &["]}"]);
        }
        Value::Object(map) => {
            raw(to, &["\"kvlistValue\":{\"values\":["]);
            for (n, (key, below)) in map.iter().enumerate() {
                raw(to, &[if n > 0 { "," } else { "" }, "{\"key\":"]);
                quoted(to, key);
                raw(to, &[",\"value\":"]);
                any_value(to, below, depth + 1);
                to.push(b'}');
            }
            raw(to, &["]}"]);
        }
    }
    to.push(b'}');
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Response {
    partial_success: Option<PartialSuccess>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PartialSuccess {
    /// A number or, as proto3's JSON has it, text.
    rejected_log_records: Value,
    error_message: String,
}

/// What an answer to `sent` means (OTLP specification, "OTLP/HTTP Response").
///
/// Retryable are 429, 502, 503 and 504; what is rejected is not sent again. Other statuses are not retryable either, which a
/// sender of telemetry answers by dropping: an audit trail is held back instead, and asked for again at the longest interval,
/// because most of them (401, 403, 404, 405, 500) say nothing of the records.
pub fn judge(sent: &[Item], answer: HttpAnswer<'_>) -> Answer {
    match answer.status {
        200 => judge_partial(sent, answer.body),
        400 => Answer::Refused { reason: format!("the receiver answered 400: {}", excerpt(answer.body)) },
        413 => Answer::TooLarge,
        429 | 502 | 503 | 504 => Answer::Retry {
            after: answer.retry_after,
            reason: format!("the receiver answered {}: {}", answer.status, excerpt(answer.body)),
        },
        status => {
            Answer::Hold { reason: format!("the receiver answered {status}: {}", excerpt(answer.body)) }
        }
    }
}

fn judge_partial(sent: &[Item], body: &[u8]) -> Answer {
    let all = |outcome: Outcome| Answer::Items(vec![outcome; sent.len()]);
    // An empty message may be sent as nothing at all.
    if body.is_empty() {
        return all(Outcome::Done);
    }
    let parsed = match serde_json::from_slice::<Value>(body) {
        // An object, and not something else that has a form in JSON.
        Ok(value @ Value::Object(_)) => serde_json::from_value::<Response>(value),
        Ok(_) => Err(serde::de::Error::custom("it is no object")),
        Err(error) => Err(error),
    };
    let Ok(response) = parsed else {
        let reason = format!("what answered 200 is no OTLP receiver: {}", excerpt(body));
        return Answer::Hold { reason };
    };
    let Some(partial) = response.partial_success else { return all(Outcome::Done) };
    let rejected = match &partial.rejected_log_records {
        Value::Null => 0,
        Value::Number(number) => number.as_u64().unwrap_or(u64::MAX),
        Value::String(text) => text.parse().unwrap_or(u64::MAX),
        _ => u64::MAX,
    };
    if rejected == 0 {
        // A warning: everything was taken.
        return all(Outcome::Done);
    }
    let reason = format!(
        "{rejected} of the {} records of one request were rejected, and the receiver does not say which: {}",
        sent.len(),
        excerpt(partial.error_message.as_bytes())
    );
    all(Outcome::Dead { reason })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(status: u16, body: &str, expect: &str) {
        let item = Item { index: 0, id: "e-0".into(), document: Vec::new(), at_unix_nanos: 0 };
        let after = Some(Duration::from_secs(3));
        let got = match judge(&[item], HttpAnswer { status, retry_after: after, body: body.as_bytes() }) {
            Answer::Items(outcomes) => match &outcomes[..] {
                [Outcome::Done] => "done",
                [Outcome::Dead { .. }] => "dead",
                _ => "other",
            },
            Answer::Retry { after, .. } => {
                assert_eq!(after, Some(Duration::from_secs(3)));
                "retry"
            }
            Answer::Hold { .. } => "hold",
            Answer::TooLarge => "too large",
            Answer::Refused { .. } => "refused",
        };
        assert_eq!(got, expect, "{status} {body}");
    }

    #[test]
    fn answers_mean_what_the_specification_says() {
        check(200, "", "done");
        check(200, "{}", "done");
        check(200, r#"{"partialSuccess":{}}"#, "done");
        check(200, r#"{"partialSuccess":null}"#, "done");
        check(200, r#"{"partialSuccess":{"rejectedLogRecords":"0","errorMessage":"be careful"}}"#, "done");
        check(200, r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"no"}}"#, "dead");
        check(200, r#"{"partialSuccess":{"rejectedLogRecords":1}}"#, "dead");
        check(200, r#"{"partialSuccess":{"rejectedLogRecords":"many"}}"#, "dead");
        check(200, r#"{"unknownField":1}"#, "done");
        for status in [429, 502, 503, 504] {
            check(status, "", "retry");
        }
        check(400, "", "refused");
        check(413, "", "too large");
        for status in [401, 403, 404, 405, 500, 302, 201] {
            check(status, "", "hold");
        }
    }

    #[test]
    fn what_is_no_receiver_swallows_nothing() {
        for body in ["<html>welcome</html>", "[]", "true", "{\"partialSuccess\":3}", "{", "\"ok\""] {
            check(200, body, "hold");
        }
    }

    #[test]
    fn what_lies_too_deep_is_text() {
        let deep = (0..100).fold(json!("\u{7}\"x"), |below, _| json!([below]));
        let mut written = Vec::new();
        any_value(&mut written, &deep, 0);
        let mut value: Value = serde_json::from_slice(&written).unwrap();
        for _ in 0..DEPTH_MAX {
            value = value["arrayValue"]["values"][0].take();
        }
        let text = value["stringValue"].as_str().unwrap();
        let rest: Value = serde_json::from_str(text).unwrap();
        assert_eq!(rest, (0..100 - DEPTH_MAX).fold(json!("\u{7}\"x"), |below, _| json!([below])));
    }

    #[test]
    fn values_have_the_form_of_the_protocol() {
        let value = json!({"a": [1, -2, 0.5, true, null, "x"], "b": {"c": {}}});
        let mut written = Vec::new();
        any_value(&mut written, &value, 0);
        assert_eq!(
            serde_json::from_slice::<Value>(&written).unwrap(),
            json!({"kvlistValue": {"values": [
                {"key": "a", "value": {"arrayValue": {"values": [
                    {"intValue": "1"}, {"intValue": "-2"}, {"doubleValue": 0.5}, {"boolValue": true}, {},
                    {"stringValue": "x"},
                ]}}},
                {"key": "b", "value": {"kvlistValue": {"values": [
                    {"key": "c", "value": {"kvlistValue": {"values": []}}},
                ]}}},
            ]}})
        );
    }
}
