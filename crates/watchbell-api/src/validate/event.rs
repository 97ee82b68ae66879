//! Events. Those of the old form are hardly checked, as in Kubernetes.

use serde_json::{Map, Value};

use super::at::At;
use super::findings::{Findings, cut};
use crate::name;

const TEXT_BYTES_MAX: usize = 128;
const MESSAGE_BYTES_MAX: usize = 1024;

/// The rules of `events.k8s.io/v1`, of an event in its stored form: stricter, and hardly anything may change.
pub(super) fn strict(f: &mut Findings, old: Option<&At<'_, '_>>, event: &At<'_, '_>) {
    if let Some(old) = old {
        if event.field("series").value != old.field("series").value {
            series(f, &event.field("series"));
        }
        for field in KEPT {
            f.immutable(&event.field(field), &old.field(field));
        }
        return;
    }
    series(f, &event.field("series"));
    let time = event.field("eventTime");
    if !time.is_set() {
        f.required(&time, "");
    }
    let kind = event.field("type");
    if !matches!(kind.text(), "Normal" | "Warning") {
        f.invalid_text(&kind, "", format_args!("has invalid value: {}", cut(kind.text())));
    }
    for field in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        let field = event.field(field);
        if field.is_set() && field.value != &Value::Object(Map::new()) {
            f.invalid_text(&field, "", "needs to be unset");
        }
    }
}

/// What the newer form never changes.
const KEPT: [&str; 13] = [
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
];

fn series(f: &mut Findings, series: &At<'_, '_>) {
    if !series.is_set() {
        return;
    }
    if series.field("count").int().unwrap_or(0) < 2 {
        f.invalid_text(&series.field("count"), "", "should be at least 2");
    }
    let last = series.field("lastObservedTime");
    if !last.is_set() {
        f.required(&last, "");
    }
}

pub(super) fn check(f: &mut Findings, event: &At<'_, '_>) {
    let metadata = event.field("metadata");
    let involved = event.field("involvedObject");
    let (own, its) = (metadata.field("namespace"), involved.field("namespace"));
    let agrees = match its.text() {
        // The events of what has no namespace.
        "" => matches!(own.text(), "default" | "kube-system"),
        namespace => own.text() == namespace,
    };
    if !agrees {
        f.invalid_text(&its, its.text(), "does not match event.namespace");
    }
    if !event.field("eventTime").is_set() {
        return;
    }
    let controller = event.field("reportingComponent");
    if f.present(&controller) {
        f.all_invalid(&controller, name::qualified(controller.text()));
    }
    for field in ["reportingInstance", "action", "reason"] {
        let field = event.field(field);
        if f.present(&field) && field.text().len() > TEXT_BYTES_MAX {
            f.invalid(&field, format_args!("can have at most {TEXT_BYTES_MAX} characters"));
        }
    }
    let message = event.field("message");
    if message.text().len() > MESSAGE_BYTES_MAX {
        f.invalid(&message, format_args!("can have at most {MESSAGE_BYTES_MAX} characters"));
    }
}
