//! Values that may be missing: `object.?spec.?replicas.orValue(1)`.

use std::sync::Arc;

use super::{Cost, Row, global, member};
use crate::budget::Budget;
use crate::error::EvalError;
use crate::eval::{Evaluator, Outcome};
use crate::value::{List, Value};

pub(super) const TABLE: &[Row] = &[
    global("optional.of", &["(A) -> optional<A>"], of, Cost::One),
    global("optional.ofNonZeroValue", &["(A) -> optional<A>"], of_non_zero, Cost::One),
    global("optional.none", &["() -> optional<A>"], none, Cost::One),
    global("optional.unwrap", &["(list<optional<A>>) -> list<A>"], unwrap, Cost::Result),
    member("unwrapOpt", &["(list<optional<A>>) -> list<A>"], unwrap, Cost::Result),
    member("hasValue", &["(optional<A>) -> bool"], has_value, Cost::One),
    member("value", &["(optional<A>) -> A"], value, Cost::One),
    member("or", &["(optional<A>, optional<A>) -> optional<A>"], lazy, Cost::One),
    member("orValue", &["(optional<A>, A) -> A"], lazy, Cost::One),
    member("first", &["(list<A>) -> optional<A>"], first, Cost::One),
    member("last", &["(list<A>) -> optional<A>"], last, Cost::One),
];

fn optional<'v, 'a>(args: &'v [Value<'a>]) -> Result<Option<&'v Arc<Value<'a>>>, EvalError> {
    match args.first() {
        Some(Value::Optional(inner)) => Ok(inner.as_ref()),
        _ => Err(EvalError::no_overload()),
    }
}

fn of<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::some(args[0].clone()))
}

fn of_non_zero<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let is_zero = match &args[0] {
        Value::Null | Value::Optional(None) => true,
        Value::Bool(value) => !value,
        Value::Int(value) | Value::Duration(value) => *value == 0,
        Value::UInt(value) => *value == 0,
        Value::Double(value) => *value == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::Timestamp(_) | Value::Optional(Some(_)) | Value::Type(_) | Value::Opaque(_) => false,
    };
    Ok(if is_zero { Value::Optional(None) } else { Value::some(args[0].clone()) })
}

fn none<'a>(_: &mut Evaluator<'a, '_>, _: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Optional(None))
}

fn unwrap<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(list)] = args else { return Err(EvalError::no_overload()) };
    unwrapped(list, &mut evaluator.budget)
}

fn unwrapped<'a>(list: &List<'a>, budget: &mut Budget) -> Outcome<'a> {
    budget.work(list.len())?;
    budget.memory(list.len() * size_of::<Value<'a>>())?;
    let mut values = Vec::new();
    for element in list.iter() {
        let Value::Optional(inner) = element else { return Err(EvalError::no_overload()) };
        values.extend(inner.map(|inner| (*inner).clone()));
    }
    Ok(Value::from(values))
}

fn has_value<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    optional(args).map(|inner| Value::Bool(inner.is_some()))
}

fn value<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let inner = optional(args)?.ok_or_else(|| EvalError::failed("optional.none() dereference"))?;
    Ok((**inner).clone())
}

/// These two are no calls: what they fall back on is not evaluated first.
fn lazy<'a>(_: &mut Evaluator<'a, '_>, _: &[Value<'a>]) -> Outcome<'a> {
    Err(EvalError::no_overload())
}

fn first<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(list)] = args else { return Err(EvalError::no_overload()) };
    Ok(Value::Optional(list.get(0).map(Arc::new)))
}

fn last<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(list)] = args else { return Err(EvalError::no_overload()) };
    Ok(Value::Optional(list.len().checked_sub(1).and_then(|at| list.get(at)).map(Arc::new)))
}
