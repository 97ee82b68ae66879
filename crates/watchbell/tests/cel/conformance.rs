//! The conformance suite of CEL's specification (`tests/simple/testdata` of cel-spec, as `@bufbuild/cel-spec` publishes it with
//! the bytes of its release).

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value as Json;
use watchbell_cel::{Type, Value};

use crate::values::{Bindings, Outcome, list, map, run, shown};
use crate::{script, target, tell};

/// Sections that are about what Kubernetes does not have in policies, which is why it is not here.
const NOT_THERE: &[(&str, &str)] = &[
    ("bindings_ext", "`cel.bind` is not in Kubernetes' environment of policies"),
    ("block_ext", "`cel.block` is what optimizers write"),
    ("encoders_ext", "`base64` is not in Kubernetes' environment of policies"),
    ("enums", "messages of protobuf"),
    ("math_ext", "`math` is not in Kubernetes' environment of policies"),
    ("proto2", "messages of protobuf"),
    ("proto2_ext", "messages of protobuf"),
    ("proto3", "messages of protobuf"),
    ("wrappers", "messages of protobuf"),
    ("dynamic", "messages of protobuf"),
];

/// What else is not there, by what an expression names.
const NAMES: &[(&str, &str)] =
    &[("TestAllTypes", "messages of protobuf"), ("google.protobuf.", "messages of protobuf")];

/// A value of the suite; `None`: a message of protobuf.
fn value(json: &Json) -> Option<Value<'static>> {
    let (kind, inner) = json.as_object()?.iter().find(|(kind, _)| *kind != "typeUrl")?;
    let text = || inner.as_str().unwrap_or_default();
    Some(match kind.as_str() {
        "nullValue" => Value::Null,
        "boolValue" => Value::Bool(inner.as_bool()?),
        "int64Value" => Value::Int(text().parse().ok()?),
        "uint64Value" => Value::UInt(text().parse().ok()?),
        "doubleValue" => Value::Double(match text() {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            _ => inner.as_f64()?,
        }),
        "stringValue" => Value::from(text().to_owned()),
        "bytesValue" => {
            use base64::Engine as _;
            Value::Bytes(base64::engine::general_purpose::STANDARD.decode(text()).ok()?.into())
        }
        "typeValue" => Value::Type(Box::leak(text().to_owned().into_boxed_str())),
        "listValue" => {
            let values = inner["values"].as_array().into_iter().flatten();
            list(values.map(value).collect::<Option<_>>()?)
        }
        "objectValue" => match inner["@type"].as_str()?.rsplit('/').next()? {
            "google.protobuf.Timestamp" => Value::Timestamp(inner["value"].as_str()?.parse().ok()?),
            "google.protobuf.Duration" => {
                let seconds: f64 = inner["value"].as_str()?.trim_end_matches('s').parse().ok()?;
                Value::Duration((seconds * 1e9).round() as i64)
            }
            _ => return None,
        },
        _ => return None,
    })
}

/// A map is compared as text: its keys may be anything.
fn expected(json: &Json) -> Option<String> {
    if let Some(entries) = json.get("mapValue") {
        let entries = entries["entries"].as_array().into_iter().flatten();
        let shown =
            |entry: &Json| Some(format!("{}: {}", expected(&entry["key"])?, expected(&entry["value"])?));
        let mut entries = entries.map(shown).collect::<Option<Vec<_>>>()?;
        entries.sort();
        return Some(format!("{{{}}}", entries.join(", ")));
    }
    if let Some(values) = json.get("listValue") {
        let values = values["values"].as_array().into_iter().flatten();
        return Some(format!("[{}]", values.map(expected).collect::<Option<Vec<_>>>()?.join(", ")));
    }
    value(json).map(|value| shown(&value))
}

/// A value that a variable has; a map with texts as keys is one that came as JSON.
fn bound(json: &Json) -> Option<Value<'static>> {
    let Some(entries) = json.get("mapValue") else { return value(json) };
    let plain = |json: &Json| match json.as_object()?.iter().next()? {
        (kind, inner) if kind == "stringValue" || kind == "boolValue" || kind == "doubleValue" => {
            Some(inner.clone())
        }
        (kind, inner) if kind == "int64Value" => inner.as_str()?.parse::<i64>().ok().map(Json::from),
        _ => None,
    };
    let entries = entries["entries"].as_array().into_iter().flatten();
    let entries = entries
        .map(|entry| Some((entry["key"]["stringValue"].as_str()?.to_owned(), plain(&entry["value"])?)));
    Some(map(entries.collect::<Option<_>>()?))
}

/// A declared type, as far as it is known here.
fn kind(json: &Json) -> Type {
    if let Some(name) = json["primitive"].as_str() {
        return match name {
            "BOOL" => Type::Bool,
            "INT64" => Type::Int,
            "UINT64" => Type::UInt,
            "DOUBLE" => Type::Double,
            "STRING" => Type::String,
            "BYTES" => Type::Bytes,
            _ => Type::Dyn,
        };
    }
    if let Some(list) = json.get("listType") {
        return Type::list(kind(&list["elemType"]));
    }
    if let Some(map) = json.get("mapType") {
        return Type::map(kind(&map["keyType"]), kind(&map["valueType"]));
    }
    match json["wellKnown"].as_str() {
        Some("TIMESTAMP") => Type::Timestamp,
        Some("DURATION") => Type::Duration,
        _ => Type::Dyn,
    }
}

fn suites() -> Option<Vec<Json>> {
    let modules = target().join("test-node/node_modules");
    if !modules.join("@bufbuild/cel-spec").exists() {
        tell(&format!("left out: no @bufbuild/cel-spec in {}; run tools/test/setup", modules.display()));
        return None;
    }
    let output = Command::new("node").arg(script("suites.js")).env("NODE_PATH", modules).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Differences of one test each, with the reason.
const NAMED: &[(&str, &str)] = &[
    ("conversions/double/string_neg_zero", SIGN),
    ("fp_math/fp_math/negative_zero", SIGN),
    ("conversions/double/string_exp_pos_neg", ROUNDED),
    ("conversions/double/string_exp_neg_neg", ROUNDED),
    (
        "timestamps/timestamp_conversions/toString_timestamp_nanos",
        "moments end on the 30th of December 9999 (docs)",
    ),
    (
        "timestamps/duration_converters/get_milliseconds",
        "cel-go gives all milliseconds, and leaves this test out too",
    ),
    ("string_ext/format/%e", FORMAT),
    ("string_ext/format/%.6e", FORMAT),
    ("string_ext/format/%d", FORMAT),
    ("string_ext/format/%f", FORMAT),
    ("string_ext/format/%s", FORMAT),
    ("string_ext/format/str_var", FORMAT),
];

const SIGN: &str = "the suite as it is published has lost the sign of zero";
const ROUNDED: &str = "the suite as it is published has another number than the specification's text";
/// Facts of that version stand in watchbell-cel's own tests.
const FORMAT: &str = "Kubernetes has strings version 2, the suite is about version 4, which writes numbers and what is nested otherwise";

/// Why a test does not apply or comes out otherwise; `None`: it should not.
fn reason(place: &str, entry: &Json, ours: &Outcome) -> Option<&'static str> {
    let test = &entry["test"];
    let text = test["expr"].as_str().unwrap();
    let suite = place.split('/').next().unwrap();
    let absent = NOT_THERE.iter().find(|(known, _)| *known == suite);
    if let Some((_, why)) = absent.or_else(|| NAMES.iter().find(|(word, _)| text.contains(word))) {
        return Some(why);
    }
    let declared = || test["typeEnv"].as_array().into_iter().flatten();
    if declared().any(|one| one.get("function").is_some()) {
        return Some("functions of the suite's own");
    }
    if declared().any(|one| one["ident"]["type"].get("messageType").is_some()) {
        return Some("messages of protobuf");
    }
    if test["container"].as_str().is_some_and(|container| !container.is_empty()) {
        return Some("policies have no container of names");
    }
    match ours {
        Outcome::Refused(_) if test["disableCheck"] == true => {
            Some("an expression is always checked before it runs")
        }
        Outcome::Refused(why) if why.contains("expected type '") => {
            Some("Kubernetes wants the elements of one list or map to be of one type")
        }
        _ => NAMED.iter().find(|(known, _)| is_named(known, place, text)).map(|(_, why)| *why),
    }
}

/// By its place, or of the formats by what is formatted.
fn is_named(known: &str, place: &str, text: &str) -> bool {
    match known.strip_prefix("string_ext/format/") {
        Some(clause) => place.starts_with("string_ext/format") && text.contains(clause),
        None => place == known || place.starts_with(&format!("{known}/")),
    }
}

fn fits(test: &Json, ours: &Outcome) -> bool {
    // Only the check is asked for.
    if test["checkOnly"] == true
        || (test.get("typedResult").is_some() && test["typedResult"].get("result").is_none())
    {
        return !matches!(ours, Outcome::Refused(_));
    }
    let wanted = test.get("value").or_else(|| test["typedResult"].get("result"));
    let may_fail = test.get("evalError").is_some() || test.get("anyEvalErrors").is_some();
    match (ours, wanted) {
        (Outcome::Value(ours), Some(wanted)) => expected(wanted).as_ref() == Some(ours),
        (Outcome::Refused(_) | Outcome::Error(_), _) => may_fail,
        // What says nothing else is true.
        (Outcome::Value(ours), None) => !may_fail && ours == "true",
    }
}

#[test]
fn values_are_those_of_the_specification() {
    let Some(suites) = suites() else { return };
    let mut agreed = 0;
    let mut explained: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unexplained = Vec::new();
    let mut used = BTreeMap::new();
    for entry in &suites {
        let test = &entry["test"];
        let (text, place) = (
            test["expr"].as_str().unwrap(),
            format!("{}/{}", entry["sections"].as_str().unwrap(), entry["name"].as_str().unwrap()),
        );
        let mut types: Vec<(String, Type)> = Vec::new();
        for declared in test["typeEnv"].as_array().into_iter().flatten() {
            types.push((declared["name"].as_str().unwrap().to_owned(), kind(&declared["ident"]["type"])));
        }
        let mut values = BTreeMap::new();
        for (name, given) in test["bindings"].as_object().into_iter().flatten() {
            if !types.iter().any(|(known, _)| known == name) {
                types.push((name.clone(), Type::Dyn));
            }
            values.extend(bound(&given["value"]).map(|value| (name.clone(), value)));
        }
        let ours = run(text, &types, &Bindings(values));
        if fits(test, &ours) {
            agreed += 1;
            continue;
        }
        match reason(&place, entry, &ours) {
            Some(why) => {
                *explained.entry(why).or_default() += 1;
                for (known, _) in NAMED.iter().filter(|(known, _)| is_named(known, &place, text)) {
                    used.insert(*known, ());
                }
            }
            None => unexplained.push(format!("{place}: {text}\n  here {ours:?}\n  there {test}")),
        }
    }
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    let stale: Vec<&str> =
        NAMED.iter().map(|(known, _)| *known).filter(|known| !used.contains_key(known)).collect();
    assert!(stale.is_empty(), "named and not different: {stale:?}");
    assert!(agreed > 1_200, "{agreed} of {} agree: {explained:?}", suites.len());
    tell(&format!("{agreed} of {} agree; explained: {explained:#?}", suites.len()));
}
