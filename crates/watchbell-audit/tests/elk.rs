//! The files of `examples/elk`: well formed, and every field that they name is one that documents have and the template
//! maps, with a type that fits its use.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use watchbell_audit::export::ecs::DEFAULT_INDEX;
use watchbell_audit::export::fields::{FieldType, find};
use watchbell_audit::export::template::{Engine, INDEX_PATTERN, template};

fn file(name: &str) -> String {
    let path = format!("{}/../../examples/elk/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn the_template_files_are_what_the_program_prints() {
    for (name, engine) in [
        ("index-template.json", Engine::Elasticsearch),
        ("index-template-opensearch.json", Engine::OpenSearch),
    ] {
        let there: Value = serde_json::from_str(&file(name)).unwrap();
        assert!(
            there == template(engine),
            "write {name} anew by `watchbell audit export template --engine …`"
        );
    }
}

/// What a saved object refers to by which name.
fn references(object: &Value) -> BTreeMap<String, (String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = object["references"].as_array().unwrap().iter();
    list.map(|r| (text(&r["name"]), (text(&r["type"]), text(&r["id"])))).collect()
}

/// The fields that a query in Kibana's language names.
fn query_fields(query: &str) -> Vec<String> {
    let mut fields = Vec::new();
    for (at, _) in query.match_indices(':') {
        let before = query[..at].trim_end();
        let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '@');
        let start = before.rfind(|c| !is_of_a_name(c)).map_or(0, |n| n + 1);
        fields.push(before[start..].to_owned());
    }
    fields
}

/// Whether an operation makes sense with a field of this type.
fn fits(operation: &str, kind: FieldType) -> bool {
    match operation {
        "date_histogram" => kind == FieldType::Date,
        "sum" => kind == FieldType::Long,
        "terms" => matches!(kind, FieldType::Keyword | FieldType::Ip | FieldType::Boolean | FieldType::Long),
        other => panic!("an operation {other} that is not known here"),
    }
}

#[test]
fn the_dashboard_names_fields_that_there_are_and_objects_that_there_are() {
    let text = file("kibana.ndjson");
    assert!(text.ends_with('\n'));
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: BTreeSet<(String, String)> = objects
        .iter()
        .map(|o| (o["type"].as_str().unwrap().to_owned(), o["id"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(ids.len(), objects.len(), "no two objects have one name");
    let mut panels = 0;
    for object in &objects {
        let references = references(object);
        for target in references.values() {
            assert!(ids.contains(target), "{target:?} is in no line");
        }
        let attributes = &object["attributes"];
        match object["type"].as_str().unwrap() {
            "index-pattern" => {
                assert_eq!(attributes["title"], INDEX_PATTERN);
                assert!(find(attributes["timeFieldName"].as_str().unwrap()).is_some());
            }
            "lens" => {
                let state = &attributes["state"];
                for field in query_fields(state["query"]["query"].as_str().unwrap()) {
                    assert!(find(&field).is_some(), "{}: {field}", object["id"]);
                }
                for (name, layer) in state["datasourceStates"]["formBased"]["layers"].as_object().unwrap() {
                    let view = &references[&format!("indexpattern-datasource-layer-{name}")];
                    assert_eq!(view.0, "index-pattern");
                    let columns = layer["columns"].as_object().unwrap();
                    let order: BTreeSet<&str> = layer["columnOrder"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|c| c.as_str().unwrap())
                        .collect();
                    assert_eq!(order, columns.keys().map(String::as_str).collect());
                    for column in columns.values() {
                        let source = column["sourceField"].as_str().unwrap();
                        let operation = column["operationType"].as_str().unwrap();
                        if (source, operation) == ("___records___", "count") {
                            continue;
                        }
                        let field = find(source).unwrap_or_else(|| panic!("{}: {source}", object["id"]));
                        assert!(fits(operation, field.kind), "{operation} of {source}");
                    }
                    // What is drawn is computed.
                    let drawn = state["visualization"].to_string();
                    for column in columns.keys() {
                        assert!(
                            drawn.contains(&format!("\"{column}\"")),
                            "{}: {column} is not drawn",
                            object["id"]
                        );
                    }
                }
            }
            "dashboard" => {
                let list: Vec<Value> =
                    serde_json::from_str(attributes["panelsJSON"].as_str().unwrap()).unwrap();
                for panel in &list {
                    let (index, name) =
                        (panel["panelIndex"].as_str().unwrap(), panel["panelRefName"].as_str().unwrap());
                    assert_eq!(references[&format!("{index}:{name}")].0, "lens");
                }
                assert_eq!(list.len(), references.len());
                panels += list.len();
                let parts =
                    [&attributes["optionsJSON"], &attributes["kibanaSavedObjectMeta"]["searchSourceJSON"]];
                for part in parts {
                    serde_json::from_str::<Value>(part.as_str().unwrap()).unwrap();
                }
            }
            other => panic!("an object of the type {other}"),
        }
    }
    assert_eq!(panels, objects.len() - 2, "every drawing is on the dashboard");
}

#[test]
fn the_queries_of_this_test_are_read_as_kibana_reads_them() {
    let fields = query_fields("a.b : \"x\" and not event.action : (\"c\" or \"d\") and @timestamp:*");
    assert_eq!(fields, ["a.b", "event.action", "@timestamp"]);
}

#[test]
fn filebeat_and_logstash_write_into_the_data_stream_under_the_names_of_the_log() {
    let filebeat = file("filebeat.yml");
    let events = saphyr_parser::Parser::new_from_str(&filebeat);
    for event in events {
        event.expect("filebeat.yml is YAML");
    }
    assert!(filebeat.contains("document_id: \"event.id\"") && find("event.id").is_some());
    assert!(filebeat.contains(&format!("index: \"{DEFAULT_INDEX}\"")));
    let logstash = file("logstash.conf");
    assert!(logstash.contains("document_id => \"%{[event][id]}\""));
    assert!(
        logstash.contains(&format!("index => \"{DEFAULT_INDEX}\""))
            && logstash.contains("action => \"create\"")
    );
    let count = |c: char| logstash.chars().filter(|d| *d == c).count();
    assert_eq!(count('{'), count('}'));
    // What is taken away before the document is stored is nothing of ours.
    for ours in ["\"[log]\"", "\"@version\""] {
        assert!(logstash.contains(ours));
        assert!(find(ours.trim_matches(['"', '[', ']'])).is_none());
    }
}
