//! Expressions run, and values as text that two implementations can be compared by.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchbell_cel::{Check, Declarations, Evaluator, Host, List, Map, Type, Value, Verdict, compile};

/// What came of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Value(String),
    /// It does not compile.
    Refused(String),
    Error(String),
}

pub(crate) struct Bindings(pub BTreeMap<String, Value<'static>>);

impl Host<'static> for Bindings {
    fn variable(&self, name: &str) -> Option<Value<'static>> {
        self.0.get(name).cloned()
    }

    fn decide(&self, _: &Check) -> Verdict {
        Verdict::default()
    }
}

/// Runs an expression with variables of these types.
pub(crate) fn run(text: &str, types: &[(String, Type)], bindings: &Bindings) -> Outcome {
    let declare = |all: Declarations, (name, kind): &(String, Type)| {
        all.with(Box::leak(name.clone().into_boxed_str()), kind.clone())
    };
    let declarations = types.iter().fold(Declarations::default(), declare);
    let program = match compile(text, &declarations) {
        Ok(program) => program,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let mut evaluator = Evaluator::new(bindings, &[]);
    match evaluator.run(&program).value {
        Ok(value) => Outcome::Value(shown(&value)),
        Err(error) => Outcome::Error(error.to_string()),
    }
}

pub(crate) fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::UInt(value) => format!("{value}u"),
        Value::Double(value) if value.is_nan() => "NaN".into(),
        Value::Double(value) => format!("{value:?}"),
        Value::String(text) => format!("{:?}", &**text),
        Value::Bytes(bytes) => {
            format!("bytes:{}", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>())
        }
        Value::Timestamp(at) => format!("timestamp:{}", at.as_nanosecond()),
        Value::Duration(nanos) => format!("duration:{nanos}"),
        Value::List(list) => {
            format!("[{}]", list.iter().map(|value| shown(&value)).collect::<Vec<_>>().join(", "))
        }
        Value::Map(map) => {
            let mut entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{}: {}", shown(&key), shown(&value))).collect();
            entries.sort();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Optional(None) => "none".into(),
        Value::Optional(Some(inner)) => format!("some({})", shown(inner)),
        Value::Type(name) => format!("type:{name}"),
        Value::Opaque(opaque) => format!("{opaque:?}"),
    }
}

pub(crate) fn list(values: Vec<Value<'static>>) -> Value<'static> {
    Value::List(List::Made(Arc::new(values)))
}

/// With texts as keys.
pub(crate) fn map(entries: serde_json::Map<String, serde_json::Value>) -> Value<'static> {
    Value::Map(Map::Json(Box::leak(Box::new(entries))))
}
