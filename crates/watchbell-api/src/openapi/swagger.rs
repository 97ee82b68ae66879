//! The same document as Swagger 2.0, for clients that know no other.

use serde_json::{Map, Value, json};

/// Rewrites an OpenAPI 3.0 document.
pub(super) fn convert(document: Value) -> Value {
    let take = |path: &[&str]| path.iter().try_fold(&document, |value, key| value.get(key)).cloned();
    let mut paths = Map::new();
    for (path, item) in take(&["paths"]).as_ref().and_then(Value::as_object).into_iter().flatten() {
        let item: Map<String, Value> = item
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| {
                let value = match value.as_array() {
                    Some(parameters) => parameters.iter().map(parameter).collect(),
                    None => operation(value),
                };
                (key.clone(), value)
            })
            .collect();
        paths.insert(path.clone(), item.into());
    }
    let mut definitions = take(&["components", "schemas"]).unwrap_or_default();
    rewrite(&mut definitions);
    json!({
        "swagger": "2.0",
        "info": take(&["info"]),
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": take(&["components", "securitySchemes"]),
        "security": [{"BearerToken": []}],
    })
}

fn operation(operation: &Value) -> Value {
    let mut out = Map::new();
    for (key, value) in operation.as_object().into_iter().flatten() {
        match key.as_str() {
            "parameters" => {
                let list: Vec<Value> = value.as_array().into_iter().flatten().map(parameter).collect();
                out.insert(key.clone(), list.into());
            }
            "requestBody" => {
                let content = value["content"].as_object();
                out.insert(
                    "consumes".into(),
                    content.into_iter().flatten().map(|(m, _)| m.as_str()).collect(),
                );
                let mut schema =
                    content.and_then(|c| c.values().next()).map(|c| c["schema"].clone()).unwrap_or_default();
                rewrite(&mut schema);
                let mut body = json!({"name": "body", "in": "body", "schema": schema});
                if value["required"] == true {
                    body["required"] = true.into();
                }
                let parameters = out.entry("parameters").or_insert_with(|| json!([]));
                if let Some(list) = parameters.as_array_mut() {
                    list.insert(0, body);
                }
            }
            "responses" => {
                let mut produces: Vec<Value> = Vec::new();
                let mut responses = Map::new();
                for (code, response) in value.as_object().into_iter().flatten() {
                    let mut plain = json!({"description": response["description"]});
                    for (media_type, content) in response["content"].as_object().into_iter().flatten() {
                        let media_type = Value::from(media_type.as_str());
                        if !produces.contains(&media_type) {
                            produces.push(media_type);
                        }
                        plain["schema"] = content["schema"].clone();
                    }
                    rewrite(&mut plain);
                    responses.insert(code.clone(), plain);
                }
                out.insert("produces".into(), produces.into());
                out.insert(key.clone(), responses.into());
            }
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    out.into()
}

/// A parameter's schema stands beside its name.
fn parameter(parameter: &Value) -> Value {
    let mut out = Map::new();
    for (key, value) in parameter.as_object().into_iter().flatten() {
        match value.as_object() {
            Some(schema) => out.extend(schema.clone()),
            None => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    out.into()
}

/// References lead to `definitions` and stand for themselves; of alternatives there are none: what is a string or a
/// number is a string.
fn rewrite(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(rewrite),
        Value::Object(map) => {
            if let Some(Value::Array(parts)) = map.get_mut("allOf")
                && let [part] = parts.as_mut_slice()
            {
                let reference = part["$ref"].take();
                map.shift_remove("allOf");
                map.insert("$ref".into(), reference);
            }
            if map.shift_remove("oneOf").is_some() {
                map.insert("type".into(), "string".into());
            }
            if let Some(Value::String(target)) = map.get_mut("$ref") {
                *target = target.replacen("#/components/schemas/", "#/definitions/", 1);
            }
            map.values_mut().for_each(rewrite);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
