//! The index template: composable, of a data stream, with a mapping for every field of [`FIELDS`] and for no other.

use serde_json::{Map, Value, json};

use super::fields::{FIELDS, Field, FieldType};

/// What the template is called.
pub const TEMPLATE_NAME: &str = "watchbell-audit";
/// Data streams that it is for: every namespace of our dataset.
pub const INDEX_PATTERN: &str = "logs-watchbell.audit-*";
/// Above Elasticsearch's own template for `logs-*-*`, which has 100.
const PRIORITY: u32 = 200;
/// How long documents are kept. The audit log itself is not bound to it.
const RETENTION: &str = "365d";
/// Longer values are stored but not searchable; Lucene refuses terms above 32,766 bytes.
const IGNORE_ABOVE: u32 = 1024;
/// ECS' own bound of a query.
const QUERY_IGNORE_ABOVE: u32 = 2083;

/// Which engine the template is for; they share its form but not all of its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// From 8.11 on, because of `lifecycle`.
    Elasticsearch,
    /// From 2.15 on, because of `wildcard`. It has no `lifecycle` in templates: retention there is a policy of its own (ISM).
    OpenSearch,
}

/// The body of `PUT _index_template/watchbell-audit`.
pub fn template(engine: Engine) -> Value {
    let mut properties = Map::new();
    for field in FIELDS {
        insert(&mut properties, field.name, mapping(field, engine));
    }
    let mut template = json!({
        // A field that nobody mapped is kept in _source and makes no mapping of its own; a wrong mapping would refuse
        // documents later.
        "mappings": {"dynamic": false, "date_detection": false, "properties": properties},
    });
    if engine == Engine::Elasticsearch {
        template["lifecycle"] = json!({"data_retention": RETENTION});
    }
    json!({
        "index_patterns": [INDEX_PATTERN],
        "data_stream": {},
        "priority": PRIORITY,
        "template": template,
        "_meta": {"description": "the audit trail of Watchbell", "ecs_version": super::ecs::ECS_VERSION},
    })
}

fn mapping(field: &Field, engine: Engine) -> Value {
    match (field.kind, engine) {
        // Kept for who wants to check the entry's hash, not to be searched.
        (FieldType::Keyword, _) if field.name == "event.original" => {
            json!({"type": "keyword", "index": false, "doc_values": false})
        }
        (FieldType::Keyword, _) if field.name == "url.query" => {
            json!({"type": "keyword", "ignore_above": QUERY_IGNORE_ABOVE})
        }
        (FieldType::Keyword, _) => json!({"type": "keyword", "ignore_above": IGNORE_ABOVE}),
        (FieldType::Flattened, Engine::Elasticsearch) => {
            json!({"type": "flattened", "ignore_above": IGNORE_ABOVE})
        }
        (FieldType::Flattened, Engine::OpenSearch) => json!({"type": "flat_object"}),
        // Its constant_keyword wants the value in the mapping; we have one template for all namespaces.
        (FieldType::ConstantKeyword, Engine::OpenSearch) => {
            json!({"type": "keyword", "ignore_above": IGNORE_ABOVE})
        }
        (kind, _) => json!({"type": kind.as_str()}),
    }
}

fn insert(properties: &mut Map<String, Value>, name: &str, mapping: Value) {
    let Some((parent, rest)) = name.split_once('.') else {
        properties.insert(name.into(), mapping);
        return;
    };
    let object = properties.entry(parent).or_insert_with(|| json!({"properties": {}}));
    if let Some(below) = object.get_mut("properties").and_then(Value::as_object_mut) {
        insert(below, rest, mapping);
    }
}
