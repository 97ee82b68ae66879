//! How an entry is shown.

use serde_json::{Value, json};

use super::entries::Entry;
use crate::output;

/// `-o`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line: the log's origin, the index in it, and the entry
    Json,
}

/// Prints an entry on a line of its own.
pub(super) fn print(entry: &Entry<'_>, body: &Value, format: Option<Format>) {
    match format {
        Some(Format::Json) => {
            output::data(&json!({"log": entry.origin, "index": entry.index, "entry": body}).to_string());
        }
        None => output::data(&output::plain(&line(entry.index, body))),
    }
    output::stop_if_lost();
}

/// The body of an entry; one that is no JSON is shown as text.
pub(super) fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

/// `7  2026-01-02T03:04:05Z  ada  create cronjobs ml/train  201`
fn line(index: u64, body: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let reference = &body["objectRef"];
    let mut object = String::new();
    if let Some(resource) = reference["resource"].as_str() {
        object.push_str(resource);
        if let Some(subresource) = reference["subresource"].as_str() {
            object.push('/');
            object.push_str(subresource);
        }
        object.push(' ');
        let parts = [&reference["namespace"], &reference["name"]];
        let parts: Vec<&str> = parts.iter().filter_map(|part| part.as_str()).collect();
        object.push_str(&parts.join("/"));
    }
    let at = text(&body["stageTimestamp"]);
    match body["kind"].as_str() {
        Some("Event") => {
            let code =
                body["responseStatus"]["code"].as_u64().map_or_else(|| "-".into(), |code| code.to_string());
            let who = text(&body["user"]["username"]);
            let message =
                body["responseStatus"]["message"].as_str().map(|m| format!("  {m}")).unwrap_or_default();
            format!("{index}  {at}  {who}  {} {object}  {code}{message}", text(&body["verb"]))
        }
        Some(_) => format!("{index}  {at}  -  {} {object}  {}", text(&body["action"]), body["details"]),
        None => format!("{index}  {body}"),
    }
}
