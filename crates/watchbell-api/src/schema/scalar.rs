//! Scalars: what JSON they accept, and their canonical form.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Field, Scalar, Shape};
use crate::quantity::{ParseQuantityError, Quantity};

/// Optional texts that Go holds behind a pointer: the empty one differs from none (it is refused, or it is a choice).
const POINTER_TEXTS: [&str; 24] = [
    "appProtocol",
    "completionMode",
    "fsGroupChangePolicy",
    "holderIdentity",
    "hostnameOverride",
    "localhostProfile",
    "managedBy",
    "mountPropagation",
    "nodeAffinityPolicy",
    "nodeTaintsPolicy",
    "podReplacementPolicy",
    "preemptionPolicy",
    "procMount",
    "recursiveReadOnly",
    "restartPolicy",
    "runtimeClassName",
    "seLinuxChangePolicy",
    "service",
    "storageClassName",
    "succeededIndexes",
    "supplementalGroupsPolicy",
    "timeZone",
    "volumeAttributesClassName",
    "volumeMode",
];

/// Optional booleans that Go holds without a pointer: `false` is the same as none.
const PLAIN_BOOLS: [&str; 9] = [
    "globalDefault",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "readOnly",
    "stdin",
    "stdinOnce",
    "tty",
    "unschedulable",
];

/// Optional numbers that Go holds without a pointer: 0 is the same as none.
const PLAIN_NUMBERS: [&str; 8] = [
    "count",
    "deprecatedCount",
    "failureThreshold",
    "hostPort",
    "initialDelaySeconds",
    "periodSeconds",
    "successThreshold",
    "timeoutSeconds",
];

/// Why a value is not of a scalar type.
pub(super) enum Wrong {
    /// The JSON type itself.
    Type,
    /// What is inside of it.
    Content(String),
}

/// Checks a value that is not null and brings it into its canonical form.
pub(super) fn canonical(kind: Scalar, value: &mut Value) -> Result<(), Wrong> {
    let fits = match kind {
        Scalar::Any => true,
        Scalar::Bool => value.is_boolean(),
        Scalar::String => value.is_string(),
        Scalar::Double => value.is_number(),
        Scalar::Int64 => value.is_i64(),
        Scalar::Int32 => is_int32(value),
        Scalar::IntOrString => value.is_string() || is_int32(value),
        Scalar::Bytes => return check_base64(value),
        Scalar::Quantity => return canonical_quantity(value),
        Scalar::Time | Scalar::MicroTime => return canonical_time(kind, value),
    };
    if fits { Ok(()) } else { Err(Wrong::Type) }
}

fn is_int32(value: &Value) -> bool {
    value.as_i64().is_some_and(|n| i32::try_from(n).is_ok())
}

fn check_base64(value: &Value) -> Result<(), Wrong> {
    let text = value.as_str().ok_or(Wrong::Type)?;
    // Go's decoder skips line ends.
    let compact: Cow<'_, str> =
        if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], "").into() } else { text.into() };
    match STANDARD.decode(compact.as_bytes()) {
        Ok(_) => Ok(()),
        Err(error) => {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) => at,
                base64::DecodeError::InvalidLastSymbol { offset, .. } => offset,
                base64::DecodeError::InvalidLength(length) => length,
                base64::DecodeError::InvalidPadding => compact.len(),
            };
            Err(Wrong::Content(format!("illegal base64 data at input byte {at}")))
        }
    }
}

fn canonical_quantity(value: &mut Value) -> Result<(), Wrong> {
    let parsed = match &*value {
        Value::String(text) => text.trim().parse(),
        Value::Number(_) => Quantity::from_value(value),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(ParseQuantityError),
    };
    let quantity = parsed.map_err(|error| Wrong::Content(error.to_string()))?;
    *value = quantity.to_string().into();
    Ok(())
}

/// RFC 3339, as Go's `time.Parse` reads it; jiff alone is more generous.
fn canonical_time(kind: Scalar, value: &mut Value) -> Result<(), Wrong> {
    let text = value.as_str().ok_or(Wrong::Type)?;
    let parsed = is_rfc3339(text).then(|| text.parse::<Timestamp>().ok()).flatten();
    let Some(time) = parsed else {
        let shown: String = text.chars().take(64).collect();
        return Err(Wrong::Content(format!(
            "parsing time {shown:?} as \"2006-01-02T15:04:05Z07:00\": it is not a time of RFC 3339"
        )));
    };
    *value = match kind {
        Scalar::MicroTime => time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into(),
        _ => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
    };
    Ok(())
}

/// `2006-01-02T15:04:05[.digits](Z|±hh:mm)`, the seconds below 60.
fn is_rfc3339(text: &str) -> bool {
    const FORM: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let bytes = text.as_bytes();
    let matches = |form: &[u8], bytes: &[u8]| {
        form.len() == bytes.len()
            && form.iter().zip(bytes).all(|(f, b)| if *f == b'd' { b.is_ascii_digit() } else { f == b })
    };
    if bytes.len() <= FORM.len() || !matches(FORM, &bytes[..FORM.len()]) || &bytes[17..19] > b"59".as_slice()
    {
        return false;
    }
    let mut rest = &bytes[FORM.len()..];
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    rest == b"Z" || matches(b"+dd:dd", rest) || matches(b"-dd:dd", rest)
}

/// Whether an optional field holds what Go would not write: its zero value, where there is no pointer.
pub(super) fn is_unset(field: &Field, value: &Value) -> bool {
    match value {
        Value::String(text) => {
            text.is_empty()
                && field.shape == Shape::Scalar(Scalar::String)
                && !POINTER_TEXTS.contains(&field.name)
        }
        Value::Bool(set) => !set && PLAIN_BOOLS.contains(&field.name),
        Value::Number(number) => number.as_i64() == Some(0) && PLAIN_NUMBERS.contains(&field.name),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// The zero value of Go, as it stands in JSON.
pub(super) fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Object(_) | Shape::Map(_) => Value::Object(Map::new()),
        Shape::List(_) => Value::Array(Vec::new()),
        Shape::Scalar(kind) => match kind {
            Scalar::Bool => json!(false),
            Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::IntOrString => json!(0),
            Scalar::String | Scalar::Bytes => json!(""),
            Scalar::Quantity => json!("0"),
            Scalar::Time | Scalar::MicroTime | Scalar::Any => Value::Null,
        },
    }
}

/// What Go calls the JSON that was found. A number that only fails to fit is shown.
pub(super) fn json_name(shape: &Shape, value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::String(_) => "string".into(),
        Value::Array(_) => "array".into(),
        Value::Object(_) => "object".into(),
        Value::Number(number) => match shape {
            Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::IntOrString) => format!("number {number}"),
            _ => "number".into(),
        },
    }
}
