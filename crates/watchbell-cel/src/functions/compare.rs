//! Which of two is larger, whether they are equal, and what is in what.

use std::cmp::Ordering;

use super::{Cost, Row, global, network, semver};
use crate::budget::Budget;
use crate::error::EvalError;
use crate::eval::{CHARACTERS, Evaluator, Outcome};
use crate::value::{Map, Opaque, Value};

macro_rules! ordered {
    () => {
        &[
            "(bool, bool) -> bool",
            "(int, int) -> bool",
            "(int, uint) -> bool",
            "(int, double) -> bool",
            "(uint, uint) -> bool",
            "(uint, int) -> bool",
            "(uint, double) -> bool",
            "(double, double) -> bool",
            "(double, int) -> bool",
            "(double, uint) -> bool",
            "(string, string) -> bool",
            "(bytes, bytes) -> bool",
            "(timestamp, timestamp) -> bool",
            "(duration, duration) -> bool",
        ]
    };
}

pub(super) const TABLE: &[Row] = &[
    global("_==_", &["(A, A) -> bool"], equals, Cost::Smaller),
    global("_!=_", &["(A, A) -> bool"], differs, Cost::Smaller),
    global("_<_", ordered!(), less, Cost::Smaller),
    global("_<=_", ordered!(), less_or_equal, Cost::Smaller),
    global("_>_", ordered!(), greater, Cost::Smaller),
    global("_>=_", ordered!(), greater_or_equal, Cost::Smaller),
    global("@in", &["(A, list<A>) -> bool", "(A, map<A,B>) -> bool"], within, Cost::Within),
];

fn equals<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    equal(&args[0], &args[1], &mut evaluator.budget).map(Value::Bool)
}

fn differs<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    equal(&args[0], &args[1], &mut evaluator.budget).map(|equal| Value::Bool(!equal))
}

fn holds<'a>(
    evaluator: &mut Evaluator<'a, '_>,
    args: &[Value<'a>],
    wanted: impl Fn(Ordering) -> bool,
) -> Outcome<'a> {
    let order = order(&args[0], &args[1], &mut evaluator.budget)?;
    // Not a number is neither less nor more.
    Ok(Value::Bool(order.is_some_and(wanted)))
}

fn less<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    holds(evaluator, args, Ordering::is_lt)
}

fn less_or_equal<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    holds(evaluator, args, Ordering::is_le)
}

fn greater<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    holds(evaluator, args, Ordering::is_gt)
}

fn greater_or_equal<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    holds(evaluator, args, Ordering::is_ge)
}

fn within<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    match args {
        [element, Value::List(list)] => {
            for other in list.iter() {
                if equal(element, &other, &mut evaluator.budget)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        [key, Value::Map(map)] => Ok(Value::Bool(key.as_key().is_some_and(|key| map.get(&key).is_some()))),
        _ => Err(EvalError::no_overload()),
    }
}

/// A number of any kind beside another; `None`: one is no number, or not comparable.
fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Option<Ordering>> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::UInt(value) => Some(i128::from(*value)),
        _ => None,
    };
    let range = |value: &Value<'_>| match value {
        Value::UInt(_) => 0.0..=u64::MAX as f64,
        _ => i64::MIN as f64..=i64::MAX as f64,
    };
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => Some(a.partial_cmp(b)),
        (Value::Double(a), _) => whole(b).map(|whole| double_and_whole(*a, whole, range(b))),
        (_, Value::Double(b)) => {
            whole(a).map(|whole| double_and_whole(*b, whole, range(a)).map(Ordering::reverse))
        }
        _ => Some(Some(whole(a)?.cmp(&whole(b)?))),
    }
}

/// As cel-go has it: as doubles, where the whole number is among those of its type. Of neighbours that are the same double none
/// is larger.
fn double_and_whole(double: f64, whole: i128, range: std::ops::RangeInclusive<f64>) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if double < *range.start() {
        return Some(Ordering::Less);
    }
    if double > *range.end() {
        return Some(Ordering::Greater);
    }
    double.partial_cmp(&(whole as f64))
}

/// The order of two values that have one; values of two kinds have none.
pub(crate) fn order(
    a: &Value<'_>,
    b: &Value<'_>,
    budget: &mut Budget,
) -> Result<Option<Ordering>, EvalError> {
    budget.work(1 + a.bytes().min(b.bytes()) / CHARACTERS)?;
    ranked(a, b).ok_or_else(EvalError::no_overload)
}

fn ranked(a: &Value<'_>, b: &Value<'_>) -> Option<Option<Ordering>> {
    numbers(a, b).or_else(|| {
        Some(Some(match (a, b) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
            (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
            _ => return None,
        }))
    })
}

/// Equal by CEL's rules: numbers by their value, what is of two kinds never.
pub(crate) fn equal<'v>(a: &Value<'v>, b: &Value<'v>, budget: &mut Budget) -> Result<bool, EvalError> {
    budget.work(1 + a.bytes().min(b.bytes()) / CHARACTERS)?;
    if let Some(order) = numbers(a, b) {
        return Ok(order == Some(Ordering::Equal));
    }
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => **a == **b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a == b,
        (Value::Optional(a), Value::Optional(b)) => match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => equal(a, b, budget)?,
            _ => false,
        },
        (Value::List(a), Value::List(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(&a, &b, budget)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(a), Value::Map(b)) => maps(a, b, budget)?,
        (Value::Opaque(a), Value::Opaque(b)) => {
            budget.work(a.bytes().min(b.bytes()) / CHARACTERS)?;
            opaques(a, b)
        }
        _ => false,
    })
}

fn maps<'v>(a: &Map<'v>, b: &Map<'v>, budget: &mut Budget) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (key, value) in a.iter() {
        budget.work(1 + key.bytes() / CHARACTERS * (b.len().ilog2() as usize + 1))?;
        match key.as_key().and_then(|key| b.get(&key)) {
            Some(other) if equal(&value, &other, budget)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn opaques(a: &Opaque, b: &Opaque) -> bool {
    match (a, b) {
        (Opaque::Url(a), Opaque::Url(b)) => a.text == b.text,
        (Opaque::Quantity(a), Opaque::Quantity(b)) => a == b,
        (Opaque::Ip(a), Opaque::Ip(b)) => a == b,
        (Opaque::Cidr(a), Opaque::Cidr(b)) => network::is_same(a, b),
        (Opaque::Semver(a), Opaque::Semver(b)) => semver::order(a, b).is_eq(),
        (Opaque::Format(a), Opaque::Format(b)) => a == b,
        _ => false,
    }
}

/// Sorts by what `key` gives of an element. What it may take is paid before it begins, so that the order never breaks off.
///
/// # Errors
/// When elements are of two kinds, or of one that has no order.
pub(crate) fn sort<'v, T, K>(list: &mut [T], key: K, budget: &mut Budget) -> Result<(), EvalError>
where
    K: Fn(&T) -> &Value<'v>,
{
    let Some(first) = list.first() else { return Ok(()) };
    let bytes: usize = list.iter().map(|element| key(element).bytes()).sum();
    budget.work((list.len() + bytes / CHARACTERS) * (list.len().ilog2() as usize + 1))?;
    // Of one kind, as in cel-go; and across kinds of numbers there is no order that holds from one to the next.
    for element in &*list {
        let (first, element) = (key(first), key(element));
        if first.type_name() != element.type_name() {
            return Err(EvalError::failed("list elements must have the same type"));
        }
        ranked(first, element).ok_or_else(EvalError::no_overload)?;
    }
    list.sort_by(|a, b| {
        let (a, b) = (key(a), key(b));
        // What is no number stands before all numbers: every pair has an order.
        let is_number = |value: &Value<'_>| !matches!(value, Value::Double(value) if value.is_nan());
        ranked(a, b).flatten().unwrap_or_else(|| is_number(a).cmp(&is_number(b)))
    });
    Ok(())
}
