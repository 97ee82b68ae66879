//! Operators that reckon, and those that look into lists and maps.

use std::sync::Arc;

use super::{Cost, Row, global, time};
use crate::budget::Budget;
use crate::error::EvalError;
use crate::eval::{Evaluator, Outcome};
use crate::value::{List, Value};

pub(super) const TABLE: &[Row] = &[
    global(
        "_+_",
        &[
            "(int, int) -> int",
            "(uint, uint) -> uint",
            "(double, double) -> double",
            "(string, string) -> string",
            "(bytes, bytes) -> bytes",
            "(list<A>, list<A>) -> list<A>",
            "(duration, duration) -> duration",
            "(timestamp, duration) -> timestamp",
            "(duration, timestamp) -> timestamp",
        ],
        add,
        Cost::Join,
    ),
    global(
        "_-_",
        &[
            "(int, int) -> int",
            "(uint, uint) -> uint",
            "(double, double) -> double",
            "(duration, duration) -> duration",
            "(timestamp, duration) -> timestamp",
            "(timestamp, timestamp) -> duration",
        ],
        subtract,
        Cost::One,
    ),
    global(
        "_*_",
        &["(int, int) -> int", "(uint, uint) -> uint", "(double, double) -> double"],
        multiply,
        Cost::One,
    ),
    global(
        "_/_",
        &["(int, int) -> int", "(uint, uint) -> uint", "(double, double) -> double"],
        divide,
        Cost::One,
    ),
    global("_%_", &["(int, int) -> int", "(uint, uint) -> uint"], modulo, Cost::One),
    global("-_", &["(int) -> int", "(double) -> double"], negate, Cost::One),
    global(
        "_[_]",
        &[
            "(list<A>, int) -> A",
            "(map<A,B>, A) -> B",
            "(optional<list<A>>, int) -> optional<A>",
            "(optional<map<A,B>>, A) -> optional<B>",
        ],
        index,
        Cost::One,
    ),
    global(
        "_[?_]",
        &[
            "(list<A>, int) -> optional<A>",
            "(map<A,B>, A) -> optional<B>",
            "(optional<list<A>>, int) -> optional<A>",
            "(optional<map<A,B>>, A) -> optional<B>",
        ],
        optional_index,
        Cost::One,
    ),
];

fn overflow(of: &str) -> EvalError {
    EvalError::failed(format!("{of} overflow"))
}

fn int<'a>(value: Option<i64>) -> Outcome<'a> {
    value.map(Value::Int).ok_or_else(|| overflow("integer"))
}

fn uint<'a>(value: Option<u64>) -> Outcome<'a> {
    value.map(Value::UInt).ok_or_else(|| overflow("unsigned integer"))
}

fn duration<'a>(value: Option<i64>) -> Outcome<'a> {
    value.map(Value::Duration).ok_or_else(|| overflow("duration"))
}

fn add<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Int(a), Value::Int(b)] => int(a.checked_add(*b)),
        [Value::UInt(a), Value::UInt(b)] => uint(a.checked_add(*b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a + b)),
        [Value::String(a), Value::String(b)] => {
            evaluator.budget.memory(a.len() + b.len())?;
            Ok(Value::from(format!("{}{}", &**a, &**b)))
        }
        [Value::Bytes(a), Value::Bytes(b)] => {
            evaluator.budget.memory(a.len() + b.len())?;
            Ok(Value::Bytes([&**a, &**b].concat().into()))
        }
        [Value::List(a), Value::List(b)] => concat(&mut evaluator.budget, a, b),
        [Value::Duration(a), Value::Duration(b)] => duration(a.checked_add(*b)),
        [Value::Timestamp(at), Value::Duration(by)] | [Value::Duration(by), Value::Timestamp(at)] => {
            time::shift(*at, *by).map(Value::Timestamp).ok_or_else(|| overflow("timestamp"))
        }
        _ => Err(EvalError::no_overload()),
    }
}

/// cel-go leaves both lists as they are and counts 1; here the elements are copied, and paid for as work and memory.
fn concat<'a>(budget: &mut Budget, a: &List<'a>, b: &List<'a>) -> Outcome<'a> {
    let length = a.len() + b.len();
    budget.work(length)?;
    budget.memory(length * size_of::<Value<'a>>())?;
    Ok(Value::from(a.iter().chain(b.iter()).collect::<Vec<_>>()))
}

fn subtract<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Int(a), Value::Int(b)] => int(a.checked_sub(*b)),
        [Value::UInt(a), Value::UInt(b)] => uint(a.checked_sub(*b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a - b)),
        [Value::Duration(a), Value::Duration(b)] => duration(a.checked_sub(*b)),
        [Value::Timestamp(at), Value::Duration(by)] => {
            let shifted = by.checked_neg().and_then(|by| time::shift(*at, by));
            shifted.map(Value::Timestamp).ok_or_else(|| overflow("timestamp"))
        }
        [Value::Timestamp(a), Value::Timestamp(b)] => {
            let nanos = a.as_nanosecond() - b.as_nanosecond();
            duration(i64::try_from(nanos).ok())
        }
        _ => Err(EvalError::no_overload()),
    }
}

fn multiply<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Int(a), Value::Int(b)] => int(a.checked_mul(*b)),
        [Value::UInt(a), Value::UInt(b)] => uint(a.checked_mul(*b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a * b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn divide<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::UInt(_), Value::UInt(0)] => {
            Err(EvalError::failed("division by zero"))
        }
        [Value::Int(a), Value::Int(b)] => int(a.checked_div(*b)),
        [Value::UInt(a), Value::UInt(b)] => uint(a.checked_div(*b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a / b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn modulo<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::UInt(_), Value::UInt(0)] => {
            Err(EvalError::failed("modulus by zero"))
        }
        [Value::Int(a), Value::Int(b)] => int(a.checked_rem(*b)),
        [Value::UInt(a), Value::UInt(b)] => uint(a.checked_rem(*b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn negate<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Int(a)] => int(a.checked_neg()),
        [Value::Double(a)] => Ok(Value::Double(-a)),
        _ => Err(EvalError::no_overload()),
    }
}

/// The place in a list that a number means.
fn place(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Int(at) => Some(i128::from(*at)),
        Value::UInt(at) => Some(i128::from(*at)),
        Value::Double(at) if at.fract() == 0.0 => Some(*at as i128),
        _ => None,
    }
}

/// What is there, `None`: nothing.
fn look<'a>(operand: &Value<'a>, key: &Value<'a>) -> Result<Option<Value<'a>>, EvalError> {
    match operand {
        Value::List(list) => {
            let at = place(key).ok_or_else(EvalError::no_overload)?;
            Ok(usize::try_from(at).ok().and_then(|at| list.get(at)))
        }
        Value::Map(map) => Ok(key.as_key().and_then(|key| map.get(&key))),
        _ => Err(EvalError::no_overload()),
    }
}

fn index<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    if let [Value::Optional(_), _] = args {
        return optional_index(evaluator, args);
    }
    let [operand, key] = args else { return Err(EvalError::no_overload()) };
    look(operand, key)?.ok_or_else(|| match operand {
        Value::List(_) => {
            EvalError::failed(format!("index out of bounds: {}", place(key).unwrap_or_default()))
        }
        _ => match key {
            Value::String(text) => EvalError::no_key(text),
            other => EvalError::no_key(&super::format::shown(other)),
        },
    })
}

fn optional_index<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [Value::Optional(None), _] => Ok(Value::Optional(None)),
        [Value::Optional(Some(inner)), key] => Ok(Value::Optional(look(inner, key)?.map(Arc::new))),
        [operand, key] => Ok(Value::Optional(look(operand, key)?.map(Arc::new))),
        _ => Err(EvalError::no_overload()),
    }
}
