//! Lists as sets.

use super::{Cost, Row, compare, global};
use crate::budget::Budget;
use crate::error::EvalError;
use crate::eval::{Evaluator, Outcome};
use crate::value::{List, Value};

const SIGNATURE: &[&str] = &["(list<A>, list<A>) -> bool"];

pub(super) const TABLE: &[Row] = &[
    global("sets.contains", SIGNATURE, contains, Cost::Product(1)),
    global("sets.equivalent", SIGNATURE, equivalent, Cost::Product(2)),
    global("sets.intersects", SIGNATURE, intersects, Cost::Product(1)),
];

fn lists<'v, 'a>(args: &'v [Value<'a>]) -> Result<(&'v List<'a>, &'v List<'a>), EvalError> {
    match args {
        [Value::List(a), Value::List(b)] => Ok((a, b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn has<'a>(list: &List<'a>, wanted: &Value<'a>, budget: &mut Budget) -> Result<bool, EvalError> {
    for element in list.iter() {
        if compare::equal(&element, wanted, budget)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_all<'a>(list: &List<'a>, wanted: &List<'a>, budget: &mut Budget) -> Result<bool, EvalError> {
    for element in wanted.iter() {
        if !has(list, &element, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn contains<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (list, wanted) = lists(args)?;
    has_all(list, wanted, &mut evaluator.budget).map(Value::Bool)
}

fn equivalent<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (a, b) = lists(args)?;
    let budget = &mut evaluator.budget;
    Ok(Value::Bool(has_all(a, b, budget)? && has_all(b, a, budget)?))
}

fn intersects<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (a, b) = lists(args)?;
    for element in a.iter() {
        if has(b, &element, &mut evaluator.budget)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
