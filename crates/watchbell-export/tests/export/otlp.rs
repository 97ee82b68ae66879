use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use watchbell_export::{Endpoint, Options, OtlpOptions};

use crate::elasticsearch::files;
use crate::journal::{append, end, metric, open, options, start, wait_for_all};
use crate::receiver::{Fault, Receiver};

fn to(receiver: &Receiver) -> Options {
    let endpoint = Endpoint { url: receiver.stand.url(), ca: None, credentials: None };
    Options { otlp: Some(OtlpOptions { endpoint }), ..options() }
}

#[test]
fn every_entry_arrives_as_a_record_of_the_protocol() {
    let receiver = Receiver::start(&[Fault::Busy, Fault::BadGateway, Fault::CutBeforeWork, Fault::Warning]);
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 2500);
    let exports = start(&store, dir.path(), &to(&receiver));
    wait_for_all(&exports);
    receiver.check();
    {
        let inner = receiver.inner.lock().unwrap();
        assert!(inner.faults.is_empty());
        let ids: BTreeSet<&str> = inner.records.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!((ids.len(), inner.records.len()), (2500, 2500), "each once");
        let attribute = |record: &Value, name: &str| {
            let list = record["attributes"].as_array().unwrap();
            list.iter().find(|pair| pair["key"] == name).map(|pair| pair["value"].clone())
        };
        for (n, (id, record)) in inner.records.iter().enumerate() {
            assert!(id.ends_with(&format!("-{n}")), "in their order");
            let sequence = attribute(record, "event.sequence").unwrap();
            assert_eq!(sequence["intValue"], n.to_string());
            assert!(attribute(record, "service.name").is_none(), "the resource says it");
        }
        let (_, record) = &inner.records[1];
        assert_eq!(record["eventName"], "watchbell.audit.request");
        assert_eq!((&record["severityNumber"], &record["severityText"]), (&9.into(), &"INFO".into()));
        assert_eq!(attribute(record, "user.name").unwrap()["stringValue"], "ada \"the\" first\n");
    }
    end(store, exports);
}

#[test]
fn a_lost_answer_is_sent_again_under_the_same_names() {
    let receiver = Receiver::start(&[Fault::CutBeforeAnswer]);
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 10);
    let exports = start(&store, dir.path(), &to(&receiver));
    wait_for_all(&exports);
    end(store, exports);
    let inner = receiver.inner.lock().unwrap();
    let ids: BTreeSet<&str> = inner.records.iter().map(|(id, _)| id.as_str()).collect();
    // OTLP has nothing by which a receiver must know a record again; its uid is what we give it for that.
    assert_eq!((ids.len(), inner.records.len()), (10, 20));
}

#[test]
fn what_a_receiver_rejects_is_not_sent_again_and_not_forgotten() {
    for fault in [Fault::Partial, Fault::BadData] {
        let receiver = Receiver::start(&[fault]);
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        append(&mut store, 10);
        let exports = start(&store, dir.path(), &to(&receiver));
        wait_for_all(&exports);
        assert_eq!(metric(&exports, "dead_letters_total"), 10.0);
        let [letters] = &files(dir.path(), ".dead-letters")[..] else { panic!("one file of dead letters") };
        assert_eq!(std::fs::read_to_string(letters).unwrap().lines().count(), 10);
        append(&mut store, 5);
        wait_for_all(&exports);
        end(store, exports);
        let inner = receiver.inner.lock().unwrap();
        assert_eq!(inner.records.len(), 5, "{fault:?}");
    }
}

/// A second opinion: protobuf's own reading of JSON into the published messages.
#[test]
fn the_published_messages_read_the_bodies() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-venv/bin/python");
    let has = Command::new(&python)
        .args(["-c", "import opentelemetry.proto.collector.logs.v1.logs_service_pb2"])
        .output();
    if !has.is_ok_and(|output| output.status.success()) {
        eprintln!("left out: no opentelemetry-proto in target/test-venv (tools/test/setup installs it)");
        return;
    }
    let receiver = Receiver::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, 30);
    let exports = start(&store, dir.path(), &to(&receiver));
    wait_for_all(&exports);
    end(store, exports);
    let body = receiver.inner.lock().unwrap().bodies.concat();
    let file = dir.path().join("body.json");
    std::fs::write(&file, body).unwrap();
    let script = "
import sys
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
request = json_format.Parse(open(sys.argv[1]).read(), ExportLogsServiceRequest())
for record in request.resource_logs[0].scope_logs[0].log_records:
    found = {pair.key: pair.value for pair in record.attributes}
    print(record.severity_number, record.time_unix_nano > 0, record.event_name, found['event.sequence'].int_value)
";
    let output = Command::new(&python).arg("-c").arg(script).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 30);
    assert_eq!(lines[3], "9 True watchbell.audit.run 3");
    assert_eq!(lines[4], "9 True watchbell.audit.request 4");
}
