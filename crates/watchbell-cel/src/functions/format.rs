//! `'%s has %d'.format([name, count])`, of the extension `strings` in version 2: `ext/formatting.go` of cel-go, for `en_US`. What
//! the specification says of it is version 4, and shows nested values and numbers otherwise.

use super::{Cost, Row, member, numbers, time};
use crate::budget::Budget;
use crate::error::EvalError;
use crate::eval::{CHARACTERS, Evaluator, Outcome};
use crate::value::{Opaque, Value};

pub(super) const TABLE: &[Row] =
    &[member("format", &["(string, list<dyn>) -> string"], format, Cost::Traverse)];

/// Places behind the point.
const PRECISION_MAX: usize = 1_000;

fn format<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(pattern), Value::List(list)] = args else { return Err(EvalError::no_overload()) };
    let budget = &mut evaluator.budget;
    budget.memory(pattern.len())?;
    let mut out = String::new();
    let mut rest = &**pattern;
    let mut next = 0;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let precision = match rest.strip_prefix('.') {
            None => None,
            Some(after) => {
                let length = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
                let precision = after[..length].parse().ok().filter(|&places| places <= PRECISION_MAX);
                rest = &after[length..];
                Some(precision.ok_or_else(|| error("error while converting precision to integer"))?)
            }
        };
        let clause = rest.chars().next().ok_or_else(|| error("unexpected end of string"))?;
        rest = &rest[clause.len_utf8()..];
        let value = list.get(next).ok_or_else(|| error(&format!("index {next} out of range")))?;
        next += 1;
        let before = out.len();
        write(clause, precision, &value, &mut out, budget)?;
        budget.memory(out.len() - before)?;
    }
    out.push_str(rest);
    Ok(Value::from(out))
}

fn error(why: &str) -> EvalError {
    EvalError::failed(why)
}

fn wrong(what: &str, value: &Value<'_>) -> EvalError {
    EvalError::failed(format!("error during formatting: {what}, was given {}", value.type_name()))
}

fn write(
    clause: char,
    precision: Option<usize>,
    value: &Value<'_>,
    out: &mut String,
    budget: &mut Budget,
) -> Result<(), EvalError> {
    let places = precision.unwrap_or(6);
    match clause {
        's' => show(value, Nested::No, out, budget)?,
        'd' => match value {
            Value::Int(value) => out.push_str(&value.to_string()),
            Value::UInt(value) => out.push_str(&value.to_string()),
            other => return Err(wrong("decimal clause can only be used on integers", other)),
        },
        'f' | 'e' => {
            let number = match (value, clause) {
                (Value::Double(value), _) => *value,
                (Value::String(text), _) if &**text == "NaN" => f64::NAN,
                (Value::String(text), _) if &**text == "Infinity" => f64::INFINITY,
                (Value::String(text), _) if &**text == "-Infinity" => f64::NEG_INFINITY,
                (other, 'f') => return Err(wrong("fixed-point clause can only be used on doubles", other)),
                (other, _) => return Err(wrong("scientific clause can only be used on doubles", other)),
            };
            out.push_str(&match clause {
                'f' => numbers::fixed(number, places),
                _ => numbers::scientific(number),
            });
        }
        'b' => match value {
            Value::Int(value) => out.push_str(&signed(*value, |value| format!("{value:b}"))),
            Value::UInt(value) => out.push_str(&format!("{value:b}")),
            Value::Bool(value) => out.push(if *value { '1' } else { '0' }),
            other => return Err(wrong("only integers and bools can be formatted as binary", other)),
        },
        'o' => match value {
            Value::Int(value) => out.push_str(&signed(*value, |value| format!("{value:o}"))),
            Value::UInt(value) => out.push_str(&format!("{value:o}")),
            other => return Err(wrong("octal clause can only be used on integers", other)),
        },
        'x' | 'X' => {
            let text = match value {
                Value::Int(value) => signed(*value, |value| format!("{value:x}")),
                Value::UInt(value) => format!("{value:x}"),
                Value::String(text) => hex(text.as_bytes(), budget)?,
                Value::Bytes(bytes) => hex(bytes, budget)?,
                other => {
                    return Err(wrong(
                        "only integers, byte buffers, and strings can be formatted as hex",
                        other,
                    ));
                }
            };
            out.push_str(&if clause == 'X' { text.to_ascii_uppercase() } else { text });
        }
        other => {
            return Err(error(&format!(
                "could not parse formatting clause: unrecognized formatting clause \"{other}\""
            )));
        }
    }
    Ok(())
}

fn signed(value: i64, digits: impl Fn(u64) -> String) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", digits(value.unsigned_abs()))
}

fn hex(bytes: &[u8], budget: &mut Budget) -> Result<String, EvalError> {
    budget.memory(bytes.len() * 2)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[derive(Clone, Copy, PartialEq)]
enum Nested {
    No,
    Yes,
}

/// A text inside a list is quoted; one that stands alone is not.
fn show(value: &Value<'_>, nested: Nested, out: &mut String, budget: &mut Budget) -> Result<(), EvalError> {
    budget.work(1)?;
    match value {
        Value::String(text) => {
            budget.memory(text.len())?;
            match nested {
                Nested::No => out.push_str(text),
                Nested::Yes => out.push_str(&format!("{:?}", &**text)),
            }
        }
        Value::Bytes(bytes) => {
            budget.memory(bytes.len())?;
            let text = String::from_utf8_lossy(bytes);
            match nested {
                Nested::No => out.push_str(&text),
                Nested::Yes => out.push_str(&format!("b{text:?}")),
            }
        }
        Value::Double(value) if nested == Nested::Yes => match numbers::special(*value) {
            Some(text) => out.push_str(&format!("{text:?}")),
            None => out.push_str(&format!("{value:.6}")),
        },
        Value::Timestamp(at) if nested == Nested::Yes => {
            out.push_str(&format!("timestamp({:?})", time::show_timestamp(*at)));
        }
        Value::Duration(nanos) if nested == Nested::Yes => {
            out.push_str(&format!("duration({:?})", time::show_duration(*nanos)));
        }
        Value::List(list) => {
            out.push('[');
            for (at, element) in list.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                show(&element, Nested::Yes, out, budget)?;
            }
            out.push(']');
        }
        Value::Map(map) => {
            budget.work(map.len())?;
            budget.memory(map.len() * size_of::<(Value<'_>, Value<'_>, String)>())?;
            let mut entries = Vec::with_capacity(map.len());
            for (key, value) in map.iter() {
                let mut text = String::new();
                show(&key, Nested::Yes, &mut text, budget)?;
                entries.push((text, value));
            }
            let bytes: usize = entries.iter().map(|(key, _)| key.len()).sum();
            budget.work(bytes / CHARACTERS * (map.len().max(1).ilog2() as usize + 1))?;
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            out.push('{');
            for (at, (key, value)) in entries.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                out.push_str(key);
                out.push(':');
                show(value, Nested::Yes, out, budget)?;
            }
            out.push('}');
        }
        Value::Optional(_)
        | Value::Opaque(Opaque::Authorizer(_) | Opaque::Decision(_) | Opaque::Format(_)) => {
            return Err(wrong(
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps",
                value,
            ));
        }
        simple => out.push_str(&shown(simple)),
    }
    Ok(())
}

/// A simple value in words, for messages too.
pub(super) fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::UInt(value) => value.to_string(),
        Value::Double(value) => numbers::general(*value),
        Value::String(text) => text.to_string(),
        Value::Timestamp(at) => time::show_timestamp(*at),
        Value::Duration(nanos) => time::show_duration(*nanos),
        Value::Type(name) => (*name).into(),
        Value::Opaque(Opaque::Ip(ip)) => ip.to_string(),
        Value::Opaque(Opaque::Cidr(cidr)) => cidr.to_string(),
        Value::Opaque(Opaque::Quantity(quantity)) => quantity.to_string(),
        Value::Opaque(Opaque::Url(url)) => url.text.to_string(),
        other => other.type_name().into(),
    }
}
