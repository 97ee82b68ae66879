//! What an OTLP receiver does with logs in JSON, checked against the messages of `opentelemetry-proto`, and faults by script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::stand::{Reply, Request, Stand};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Busy,
    BadGateway,
    CutBeforeWork,
    CutBeforeAnswer,
    /// This request is taken but for some records.
    Partial,
    /// A warning, and everything is taken.
    Warning,
    BadData,
}

#[derive(Debug, Default)]
pub(crate) struct Inner {
    /// `log.record.uid` of each, in the order of arrival.
    pub(crate) records: Vec<(String, Value)>,
    pub(crate) bodies: Vec<Vec<u8>>,
    pub(crate) violations: Vec<String>,
    pub(crate) faults: VecDeque<Fault>,
}

pub(crate) struct Receiver {
    pub(crate) stand: Stand,
    pub(crate) inner: Arc<Mutex<Inner>>,
}

impl Receiver {
    pub(crate) fn start(faults: &[Fault]) -> Receiver {
        let inner =
            Arc::new(Mutex::new(Inner { faults: faults.iter().copied().collect(), ..Inner::default() }));
        let seen = inner.clone();
        let stand = Stand::start(move |request| seen.lock().unwrap().answer(request));
        Receiver { stand, inner }
    }

    pub(crate) fn check(&self) {
        let inner = self.inner.lock().unwrap();
        assert!(inner.violations.is_empty(), "{:?}", inner.violations);
    }
}

impl Inner {
    fn answer(&mut self, request: &Request) -> Reply {
        let is_asked = request.method == "POST"
            && request.path == "/v1/logs"
            && request.headers.get("content-type").map(String::as_str) == Some("application/json")
            && request.headers.get("content-encoding").map(String::as_str) == Some("gzip");
        if !is_asked {
            self.violations.push(format!("{} {} {:?}", request.method, request.path, request.headers));
            return Reply::json(404, &json!({}));
        }
        let fault = self.faults.pop_front();
        match fault {
            Some(Fault::Busy) => {
                let headers = vec![("retry-after", "0".to_owned())];
                return Reply::Whole { status: 429, headers, body: Vec::new() };
            }
            Some(Fault::BadGateway) => return Reply::json(502, &json!({})),
            Some(Fault::CutBeforeWork) => return Reply::Cut,
            Some(Fault::BadData) => return Reply::json(400, &json!({"code": 3, "message": "no"})),
            _ => {}
        }
        let records = match serde_json::from_slice(&request.body)
            .map_err(|e| e.to_string())
            .and_then(|v| records(&v))
        {
            Ok(records) => records,
            Err(what) => {
                self.violations.push(what);
                return Reply::json(400, &json!({}));
            }
        };
        self.bodies.push(request.body.clone());
        if fault == Some(Fault::Partial) {
            let partial = json!({"rejectedLogRecords": "2", "errorMessage": "too old"});
            return Reply::json(200, &json!({"partialSuccess": partial}));
        }
        self.records.extend(records);
        match fault {
            Some(Fault::CutBeforeAnswer) => Reply::Cut,
            Some(Fault::Warning) => {
                Reply::json(200, &json!({"partialSuccess": {"errorMessage": "soon too old"}}))
            }
            _ => Reply::json(200, &json!({})),
        }
    }
}

/// Fails unless `value` is an object with these keys at most.
fn keys<'a>(value: &'a Value, allowed: &[&str]) -> Result<&'a serde_json::Map<String, Value>, String> {
    let map = value.as_object().ok_or_else(|| format!("no message: {value}"))?;
    match map.keys().find(|key| !allowed.contains(&key.as_str())) {
        Some(key) => Err(format!("a field {key} that no message of these has: {allowed:?}")),
        None => Ok(map),
    }
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>, String> {
    value[key].as_array().ok_or_else(|| format!("{key} is no list in {value}"))
}

/// 64-bit integers are text of digits in proto3's JSON.
fn fixed64(value: &Value) -> Result<u64, String> {
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| format!("{value} is no fixed64"))
}

fn any_value(value: &Value) -> Result<(), String> {
    let kinds =
        ["stringValue", "boolValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue"];
    let map = keys(value, &kinds)?;
    if map.len() > 1 {
        return Err(format!("a oneof has one field: {value}"));
    }
    let Some((kind, inner)) = map.iter().next() else { return Ok(()) };
    match kind.as_str() {
        "stringValue" if inner.is_string() => Ok(()),
        "boolValue" if inner.is_boolean() => Ok(()),
        "doubleValue" if inner.is_number() => Ok(()),
        "intValue" if inner.as_str().is_some_and(|t| t.parse::<i64>().is_ok()) => Ok(()),
        "arrayValue" => {
            keys(inner, &["values"]).and_then(|_| list(inner, "values")?.iter().try_for_each(any_value))
        }
        "kvlistValue" => keys(inner, &["values"]).and_then(|_| attributes(list(inner, "values")?)),
        _ => Err(format!("{value} is no AnyValue")),
    }
}

fn attributes(list: &[Value]) -> Result<(), String> {
    let mut names = std::collections::BTreeSet::new();
    for pair in list {
        keys(pair, &["key", "value"])?;
        let name = pair["key"].as_str().ok_or("a key is text")?;
        if !names.insert(name) {
            return Err(format!("the attribute {name} is there twice"));
        }
        any_value(&pair["value"])?;
    }
    Ok(())
}

/// The records of a request by their ids.
fn records(body: &Value) -> Result<Vec<(String, Value)>, String> {
    keys(body, &["resourceLogs"])?;
    let mut found = Vec::new();
    for resource in list(body, "resourceLogs")? {
        keys(resource, &["resource", "scopeLogs", "schemaUrl"])?;
        keys(&resource["resource"], &["attributes", "droppedAttributesCount"])?;
        attributes(list(&resource["resource"], "attributes")?)?;
        for scope in list(resource, "scopeLogs")? {
            keys(scope, &["scope", "logRecords", "schemaUrl"])?;
            keys(&scope["scope"], &["name", "version", "attributes"])?;
            for record in list(scope, "logRecords")? {
                let known = [
                    "timeUnixNano",
                    "observedTimeUnixNano",
                    "severityNumber",
                    "severityText",
                    "body",
                    "attributes",
                    "eventName",
                ];
                keys(record, &known)?;
                fixed64(&record["timeUnixNano"])?;
                fixed64(&record["observedTimeUnixNano"])?;
                // An enumeration is a number in OTLP's JSON, unlike in proto3's.
                let severity = record["severityNumber"].as_u64().ok_or("severityNumber is a number")?;
                if !(1..=24).contains(&severity) {
                    return Err(format!("severity {severity}"));
                }
                any_value(&record["body"])?;
                let list = list(record, "attributes")?;
                attributes(list)?;
                let uid =
                    list.iter().find(|pair| pair["key"] == "log.record.uid").ok_or("no log.record.uid")?;
                found.push((
                    uid["value"]["stringValue"].as_str().ok_or("a uid is text")?.to_owned(),
                    record.clone(),
                ));
            }
        }
    }
    Ok(found)
}
