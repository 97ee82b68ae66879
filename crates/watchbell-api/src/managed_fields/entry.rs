//! One entry of `metadata.managedFields`.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::set::FieldSet;

/// What one manager owns by one kind of operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub manager: String,
    pub operation: Operation,
    pub api_version: String,
    /// Unix seconds.
    pub time: Option<i64>,
    /// `status`, or empty.
    pub subresource: String,
    pub fields: FieldSet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

impl Entry {
    /// Whether both stand for the same manager. One that applies is the same in every version.
    pub(super) fn is_of(&self, other: &Entry) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    pub(super) fn order(&self) -> (Operation, i64, &str, &str, &str) {
        (self.operation, self.time.unwrap_or(0), &self.manager, &self.api_version, &self.subresource)
    }

    /// `"kubectl-client-side-apply" using batch/v1`
    pub(super) fn shown(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

/// `[{}]`, by which a client asks to forget all owners. An empty list does not: clients that know nothing of managers
/// send it.
pub fn is_reset(list: &Value) -> bool {
    list.as_array().is_some_and(|list| list.len() == 1 && list[0].as_object().is_some_and(Map::is_empty))
}

/// Reads `metadata.managedFields`. Entries of one manager become one. The error says what is wrong.
pub fn decode(list: &Value) -> Result<Vec<Entry>, String> {
    let mut out: Vec<Entry> = Vec::new();
    for (i, value) in list.as_array().into_iter().flatten().enumerate() {
        let entry = read(value).map_err(|problem| format!("metadata.managedFields[{i}]: {problem}"))?;
        match out.iter_mut().find(|other| other.is_of(&entry)) {
            Some(other) => other.fields = other.fields.union(&entry.fields),
            None => out.push(entry),
        }
    }
    Ok(out)
}

fn read(value: &Value) -> Result<Entry, String> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let operation = match text("operation").as_str() {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        other => return Err(format!("operation: {other:?} must be `Apply` or `Update`")),
    };
    if text("fieldsType") != "FieldsV1" {
        return Err(format!("fieldsType: {:?} must be `FieldsV1`", text("fieldsType")));
    }
    let time = match value.get("time").and_then(Value::as_str) {
        None => None,
        Some(time) => {
            let time: Timestamp = time.parse().map_err(|e| format!("time: {e}"))?;
            Some(time.as_second())
        }
    };
    let empty = json!({});
    let fields = value.get("fieldsV1").filter(|v| !v.is_null()).unwrap_or(&empty);
    Ok(Entry {
        manager: text("manager"),
        operation,
        api_version: text("apiVersion"),
        time,
        subresource: text("subresource"),
        fields: FieldSet::from_json(fields).map_err(|e| e.to_string())?,
    })
}

/// Prints `metadata.managedFields`.
pub fn encode(managed: &[Entry]) -> Value {
    managed.iter().map(print).collect()
}

fn print(entry: &Entry) -> Value {
    let mut out = Map::new();
    out.insert("manager".into(), entry.manager.as_str().into());
    out.insert("operation".into(), entry.operation.as_str().into());
    out.insert("apiVersion".into(), entry.api_version.as_str().into());
    if let Some(time) = entry.time.and_then(|time| Timestamp::from_second(time).ok()) {
        out.insert("time".into(), time.to_string().into());
    }
    out.insert("fieldsType".into(), "FieldsV1".into());
    out.insert("fieldsV1".into(), entry.fields.to_json());
    if !entry.subresource.is_empty() {
        out.insert("subresource".into(), entry.subresource.as_str().into());
    }
    Value::Object(out)
}
