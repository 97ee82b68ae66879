//! From one type to another.

use watchbell_api::quantity::Quantity;

use super::{Cost, Row, global, member, numbers, time};
use crate::error::EvalError;
use crate::eval::{Evaluator, Outcome};
use crate::value::{Opaque, Value};

pub(super) const TABLE: &[Row] = &[
    global(
        "int",
        &[
            "(int) -> int",
            "(uint) -> int",
            "(double) -> int",
            "(string) -> int",
            "(timestamp) -> int",
            "(duration) -> int",
        ],
        int,
        Cost::One,
    ),
    global(
        "uint",
        &["(uint) -> uint", "(int) -> uint", "(double) -> uint", "(string) -> uint"],
        uint,
        Cost::One,
    ),
    global(
        "double",
        &["(double) -> double", "(int) -> double", "(uint) -> double", "(string) -> double"],
        double,
        Cost::One,
    ),
    global("bool", &["(bool) -> bool", "(string) -> bool"], boolean, Cost::One),
    global(
        "string",
        &[
            "(string) -> string",
            "(bool) -> string",
            "(int) -> string",
            "(uint) -> string",
            "(double) -> string",
            "(bytes) -> string",
            "(timestamp) -> string",
            "(duration) -> string",
            "(net.IP) -> string",
            "(net.CIDR) -> string",
        ],
        string,
        Cost::Traverse,
    ),
    global("bytes", &["(bytes) -> bytes", "(string) -> bytes"], bytes, Cost::Traverse),
    global("dyn", &["(A) -> dyn"], same, Cost::One),
    global("type", &["(A) -> type<A>"], type_of, Cost::One),
    global("size", SIZES, size, Cost::One),
    member("size", SIZES, size, Cost::One),
];

const SIZES: &[&str] = &["(string) -> int", "(bytes) -> int", "(list<A>) -> int", "(map<A,B>) -> int"];

fn failed<'a>(from: &str, to: &str) -> Outcome<'a> {
    Err(EvalError::failed(format!("type conversion error from '{from}' to '{to}'")))
}

fn overflow(of: &str) -> EvalError {
    EvalError::failed(format!("{of} overflow"))
}

fn int<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let value = match &args[0] {
        Value::Int(value) => Some(*value),
        Value::UInt(value) => i64::try_from(*value).ok(),
        // The ends themselves are not exact as doubles.
        Value::Double(value) => {
            (*value > i64::MIN as f64 && *value < i64::MAX as f64).then_some(*value as i64)
        }
        Value::String(text) => match text.parse() {
            Ok(value) => Some(value),
            Err(_) => return failed("string", "int"),
        },
        // The second that it lies in, before 1970 too.
        Value::Timestamp(at) => i64::try_from(at.as_nanosecond().div_euclid(1_000_000_000)).ok(),
        Value::Duration(nanos) => Some(*nanos),
        _ => return Err(EvalError::no_overload()),
    };
    value.map(Value::Int).ok_or_else(|| overflow("integer"))
}

fn uint<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let value = match &args[0] {
        Value::UInt(value) => Some(*value),
        Value::Int(value) => u64::try_from(*value).ok(),
        Value::Double(value) => (*value >= 0.0 && *value < u64::MAX as f64).then_some(*value as u64),
        Value::String(text) => match text.parse() {
            Ok(value) => Some(value),
            Err(_) => return failed("string", "uint"),
        },
        _ => return Err(EvalError::no_overload()),
    };
    value.map(Value::UInt).ok_or_else(|| overflow("unsigned integer"))
}

fn double<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Double(match &args[0] {
        Value::Double(value) => *value,
        Value::Int(value) => *value as f64,
        Value::UInt(value) => *value as f64,
        Value::String(text) => match text.parse() {
            Ok(value) => value,
            Err(_) => return failed("string", "double"),
        },
        _ => return Err(EvalError::no_overload()),
    }))
}

fn boolean<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::String(text) => match &**text {
            "true" | "TRUE" | "True" | "t" | "T" | "1" => Ok(Value::Bool(true)),
            "false" | "FALSE" | "False" | "f" | "F" | "0" => Ok(Value::Bool(false)),
            _ => failed("string", "bool"),
        },
        _ => Err(EvalError::no_overload()),
    }
}

fn string<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(match &args[0] {
        text @ Value::String(_) => text.clone(),
        Value::Bool(value) => Value::from(value.to_string()),
        Value::Int(value) => Value::from(value.to_string()),
        Value::UInt(value) => Value::from(value.to_string()),
        Value::Double(value) => Value::from(numbers::general(*value)),
        Value::Bytes(bytes) => {
            evaluator.budget.memory(bytes.len())?;
            match std::str::from_utf8(bytes) {
                Ok(text) => Value::from(text.to_owned()),
                Err(_) => return Err(EvalError::failed("invalid UTF-8 in bytes, cannot convert to string")),
            }
        }
        Value::Timestamp(at) => Value::from(time::show_timestamp(*at)),
        Value::Duration(nanos) => Value::from(time::show_duration(*nanos)),
        Value::Opaque(Opaque::Ip(ip)) => Value::from(ip.to_string()),
        Value::Opaque(Opaque::Cidr(cidr)) => Value::from(cidr.to_string()),
        Value::Opaque(Opaque::Quantity(quantity)) => Value::from(Quantity::to_string(quantity)),
        _ => return Err(EvalError::no_overload()),
    })
}

fn bytes<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        bytes @ Value::Bytes(_) => Ok(bytes.clone()),
        Value::String(text) => {
            evaluator.budget.memory(text.len())?;
            Ok(Value::Bytes(text.as_bytes().into()))
        }
        _ => Err(EvalError::no_overload()),
    }
}

fn same<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(args[0].clone())
}

fn type_of<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Type(args[0].type_name()))
}

fn size<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        value @ (Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_)) => {
            Ok(Value::Int(i64::try_from(value.size()).unwrap_or(i64::MAX)))
        }
        _ => Err(EvalError::no_overload()),
    }
}
