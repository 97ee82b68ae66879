//! Between the world's rows and the store's: the same thing in two crates that do not know each other.

use serde_json::{Map, Value};
use watchbell_api::Resource;
use watchbell_core::world::{AuditRecord, Row, RowKey, Stage};
use watchbell_store::{AuditEntry, Batch, MAX_AUDIT_BODY_BYTES, Put, Seal, Store};

use crate::state::StartError;

/// Every row of the journal, objects first.
pub(crate) fn rows(store: &mut Store) -> Result<Vec<Row>, StartError> {
    let mut rows = Vec::new();
    store.load_objects(&mut |row| {
        let resource = Resource::from_qualified(&row.resource).ok_or_else(|| {
            StartError::UnknownResource { resource: row.resource.clone(), name: row.name.clone() }
        })?;
        let key = RowKey::Object { resource, namespace: row.namespace.into(), name: row.name.into() };
        let status = row.status.unwrap_or_default();
        rows.push(Row { key, resource_version: row.resource_version, head: Some(row.head), status });
        Ok::<(), StartError>(())
    })?;
    store.load_array_pods(&mut |row| {
        let key = RowKey::ArrayPod { job_id: row.job, index: row.index, attempt: row.attempt };
        let status = row.status.unwrap_or_default();
        rows.push(Row { key, resource_version: row.resource_version, head: row.head, status });
        Ok::<(), StartError>(())
    })?;
    Ok(rows)
}

/// The batch of a stage, whose rows it takes; `before` stands before the stage's own entries.
pub(crate) fn batch<'a>(
    stage: &mut Stage,
    before: impl Iterator<Item = &'a AuditRecord>,
    version: u64,
) -> Batch {
    Batch {
        resource_version: version,
        puts: std::mem::take(&mut stage.rows).into_iter().map(put).collect(),
        deletes: stage.deletes.iter().map(store_key).collect(),
        audit: before.map(audit_entry).chain(stage.audit.iter().map(audit_entry)).collect(),
        may_use_reserve: false,
    }
}

/// Whether a stage is one deletion and nothing beside, which the reserve of a full disk is for. Entries of others, who may be many,
/// are no part of it; what quotas say is, in place of what they said before.
pub(crate) fn is_deletion(stage: &Stage) -> bool {
    let is_of_quota = |row: &Row| {
        matches!(row.key, RowKey::Object { resource: Resource::ResourceQuota, .. }) && row.head.is_none()
    };
    let requests = stage.audit.iter().filter(|entry| entry.body["kind"] == "Event");
    !stage.deletes.is_empty() && stage.rows.iter().all(is_of_quota) && requests.take(2).count() < 2
}

pub(crate) fn audit_entry(record: &AuditRecord) -> AuditEntry {
    AuditEntry {
        at_unix_nanos: i64::try_from(record.at.as_nanosecond()).unwrap_or(i64::MAX),
        body: entry(&record.body),
    }
}

/// The bytes of an audit entry. What somebody made too long for the log is cut, and says so: an entry that the store refuses
/// would take everybody's changes of its batch with it.
fn entry(body: &Value) -> Vec<u8> {
    // About the size of a request's.
    let mut whole = Vec::with_capacity(1024);
    // A vector takes all bytes, and a value always has a form: this cannot fail.
    let _ = serde_json::to_writer(&mut whole, body);
    if whole.len() <= MAX_AUDIT_BODY_BYTES {
        return whole;
    }
    let fits = |bound: Bound| {
        let mut cut = shortened(body, bound);
        cut["truncatedFromBytes"] = whole.len().into();
        let bytes = cut.to_string().into_bytes();
        (bytes.len() <= MAX_AUDIT_BODY_BYTES).then_some(bytes)
    };
    BOUNDS.into_iter().find_map(fits).unwrap_or_else(|| {
        // Nothing but what every entry has.
        let kept = ["kind", "apiVersion", "auditID", "stage", "verb", "action", "stageTimestamp"];
        let least: Map<String, Value> = kept
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), shortened(body.get(key)?, BOUNDS[2]))))
            .chain([("truncatedFromBytes".to_owned(), whole.len().into())])
            .collect();
        Value::Object(least).to_string().into_bytes()
    })
}

/// How much of a text (bytes; of its beginning and its end), a list (items) and a map (fields) stays.
#[derive(Clone, Copy)]
struct Bound {
    text: usize,
    items: usize,
    fields: usize,
}

const BOUNDS: [Bound; 3] = [
    Bound { text: 1024, items: 32, fields: 64 },
    Bound { text: 256, items: 8, fields: 32 },
    // A hash has 85 bytes.
    Bound { text: 96, items: 2, fields: 24 },
];

fn shortened(value: &Value, bound: Bound) -> Value {
    // The end of a command is no less than its beginning.
    let short = |text: &str| match text.len() <= bound.text {
        true => text.to_owned(),
        false => {
            let half = bound.text / 2;
            let (head, tail) = (text.floor_char_boundary(half), text.ceil_char_boundary(text.len() - half));
            format!("{}…{}", &text[..head], &text[tail..])
        }
    };
    match value {
        Value::String(text) => short(text).into(),
        Value::Array(items) => items.iter().take(bound.items).map(|item| shortened(item, bound)).collect(),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .take(bound.fields)
                .map(|(key, value)| (short(key), shortened(value, bound)))
                .collect(),
        ),
        other => other.clone(),
    }
}

fn put(row: Row) -> Put {
    let seal = match &row.key {
        RowKey::Object { resource: Resource::Secret | Resource::UserToken, .. } => Seal::Secret,
        _ => Seal::Plain,
    };
    Put {
        key: store_key(&row.key),
        resource_version: row.resource_version,
        head: row.head,
        status: Some(row.status),
        seal,
    }
}

fn store_key(key: &RowKey) -> watchbell_store::RowKey {
    match key {
        RowKey::Object { resource, namespace, name } => watchbell_store::RowKey::Object {
            resource: resource.info().qualified().into(),
            namespace: (**namespace).into(),
            name: (**name).into(),
        },
        RowKey::ArrayPod { job_id, index, attempt } => {
            watchbell_store::RowKey::ArrayPod { job: *job_id, index: *index, attempt: *attempt }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_reserve_is_for_one_deletion_alone() {
        let key = |resource: Resource| RowKey::Object { resource, namespace: "n".into(), name: "x".into() };
        let row = |resource: Resource, head: Option<Vec<u8>>| Row {
            key: key(resource),
            resource_version: 2,
            head,
            status: vec![1],
        };
        let entries = |kinds: &[&str]| -> Vec<AuditRecord> {
            let of =
                |kind: &&str| AuditRecord { at: jiff::Timestamp::UNIX_EPOCH, body: json!({"kind": kind}) };
            kinds.iter().map(of).collect()
        };
        let check = |deletes: usize, rows: Vec<Row>, kinds: &[&str], expect: bool| {
            let deletes = vec![key(Resource::ConfigMap); deletes];
            let said = format!("{deletes:?} {rows:?} {kinds:?}");
            let stage = Stage { deletes, rows, audit: entries(kinds), ..Stage::default() };
            assert_eq!(is_deletion(&stage), expect, "{said}");
        };
        check(1, Vec::new(), &["Event"], true);
        check(9, Vec::new(), &["RunEvent", "Event", "RunEvent"], true);
        check(1, Vec::new(), &["RunEvent"], true);
        check(0, Vec::new(), &["Event"], false);
        check(1, Vec::new(), &["Event", "Event"], false);
        check(1, vec![row(Resource::ConfigMap, None)], &["Event"], false);
        let quota = |head: Option<Vec<u8>>| row(Resource::ResourceQuota, head);
        check(1, vec![quota(None), quota(None)], &["Event"], true);
        check(1, vec![quota(Some(vec![1]))], &["Event"], false);
        check(0, vec![quota(None)], &["Event"], false);
        check(1, vec![quota(None), row(Resource::Job, None)], &["Event"], false);
    }

    /// What stays of an entry fits, is JSON, and says what it was.
    fn check(body: &Value, expect_field: &str) -> Value {
        let bytes = entry(body);
        assert!(bytes.len() <= MAX_AUDIT_BODY_BYTES, "{} bytes", bytes.len());
        let read: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(read["auditID"], "id");
        assert!(!read[expect_field].is_null(), "{expect_field} of {read}");
        read
    }

    #[test]
    fn a_long_entry_shows_how_a_text_ends() {
        let command = format!("true{}; evil", " ".repeat(4000));
        let hash = "h".repeat(85);
        let annotations = |text: &str| json!({"command": command, "command-hash": hash, "other": text});
        let read =
            check(&json!({"auditID": "id", "annotations": annotations(&"é".repeat(70_000))}), "annotations");
        let noted = read["annotations"]["command"].as_str().unwrap();
        assert!(noted.starts_with("true ") && noted.ends_with(" ; evil") && noted.len() < 1100, "{noted}");
        let other = read["annotations"]["other"].as_str().unwrap();
        assert_eq!(other, format!("{0}…{0}", "é".repeat(256)));
        // However little of it stays.
        let deep = vec![json!({"a": vec!["\u{1}".repeat(1000); 32]}); 32];
        let read =
            check(&json!({"auditID": "id", "annotations": annotations(""), "details": deep}), "annotations");
        assert!(read["annotations"]["command"].as_str().unwrap().ends_with(" ; evil"));
        assert_eq!(read["annotations"]["command-hash"], hash);
    }

    #[test]
    fn no_entry_is_too_long_for_the_log() {
        let small = json!({"auditID": "id", "verb": "get"});
        assert_eq!(entry(&small), small.to_string().into_bytes());
        let text = json!({"auditID": "id", "details": {"image": "é".repeat(70_000)}});
        let read = check(&text, "details");
        assert!(read["truncatedFromBytes"].as_u64().unwrap() > 140_000);
        let list = json!({"auditID": "id", "details": {"containers": vec![json!({"image": "i".repeat(300)}); 2000]}});
        check(&list, "details");
        let quotes = json!({"auditID": "id", "user": {"extra": {"a": vec!["\"".repeat(64 << 10); 9]}}});
        check(&quotes, "user");
        let keys: Map<String, Value> = (0..90_000).map(|i| (i.to_string(), json!(i))).collect();
        check(&json!({"auditID": "id", "user": keys}), "user");
        let mut deep = json!({"a": "x".repeat(60)});
        for _ in 0..4 {
            deep = Value::Object((0..20).map(|i| (i.to_string(), deep.clone())).collect());
        }
        check(&json!({"auditID": "id", "verb": "get", "details": deep}), "verb");
    }
}
