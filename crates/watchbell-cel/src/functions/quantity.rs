//! Amounts of resources: `quantity('1.5Gi').isGreaterThan(quantity('1Gi'))`.

use std::cmp::Ordering;

use watchbell_api::quantity::{Format, Quantity};

use super::{Cost, Row, global, member, semver};
use crate::error::EvalError;
use crate::eval::{Evaluator, Outcome};
use crate::value::{Opaque, Value};

pub(super) const TABLE: &[Row] = &[
    global("quantity", &["(string) -> kubernetes.Quantity"], quantity, Cost::Traverse),
    global("isQuantity", &["(string) -> bool"], is_quantity, Cost::Traverse),
    member("sign", &["(kubernetes.Quantity) -> int"], sign, Cost::One),
    member("isInteger", &["(kubernetes.Quantity) -> bool"], is_integer, Cost::One),
    member("asInteger", &["(kubernetes.Quantity) -> int"], as_integer, Cost::One),
    member("asApproximateFloat", &["(kubernetes.Quantity) -> double"], as_double, Cost::One),
    member(
        "add",
        &[
            "(kubernetes.Quantity, kubernetes.Quantity) -> kubernetes.Quantity",
            "(kubernetes.Quantity, int) -> kubernetes.Quantity",
        ],
        add,
        Cost::One,
    ),
    member(
        "sub",
        &[
            "(kubernetes.Quantity, kubernetes.Quantity) -> kubernetes.Quantity",
            "(kubernetes.Quantity, int) -> kubernetes.Quantity",
        ],
        sub,
        Cost::One,
    ),
    member("isLessThan", COMPARED, is_less, Cost::One),
    member("isGreaterThan", COMPARED, is_greater, Cost::One),
    member(
        "compareTo",
        &[
            "(kubernetes.Quantity, kubernetes.Quantity) -> int",
            "(kubernetes.Semver, kubernetes.Semver) -> int",
        ],
        compare_to,
        Cost::One,
    ),
];

const COMPARED: &[&str] =
    &["(kubernetes.Quantity, kubernetes.Quantity) -> bool", "(kubernetes.Semver, kubernetes.Semver) -> bool"];

fn one(value: Option<&Value<'_>>) -> Result<Quantity, EvalError> {
    match value {
        Some(Value::Opaque(Opaque::Quantity(quantity))) => Ok(*quantity),
        Some(Value::Int(units)) => Ok(Quantity::from_units(*units, Format::DecimalSi)),
        _ => Err(EvalError::no_overload()),
    }
}

fn read(args: &[Value<'_>]) -> Result<Result<Quantity, String>, EvalError> {
    let text = args[0].as_str().ok_or_else(EvalError::no_overload)?;
    Ok(text.parse::<Quantity>().map_err(|error| error.to_string()))
}

fn quantity<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let quantity = read(args)?.map_err(EvalError::failed)?;
    Ok(Value::Opaque(Opaque::Quantity(quantity)))
}

fn is_quantity<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(read(args)?.is_ok()))
}

fn sign<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(one(args.first())?.as_nanos().signum() as i64))
}

fn is_integer<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(one(args.first())?.is_whole()))
}

fn as_integer<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let quantity = one(args.first())?;
    match quantity.is_whole() {
        true => Ok(Value::Int(quantity.as_units())),
        false => Err(EvalError::failed("cannot convert value to integer")),
    }
}

fn as_double<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Double(one(args.first())?.as_f64()))
}

fn add<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Opaque(Opaque::Quantity(one(args.first())?.plus(one(args.get(1))?))))
}

fn sub<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Opaque(Opaque::Quantity(one(args.first())?.minus(one(args.get(1))?))))
}

fn order(args: &[Value<'_>]) -> Result<Ordering, EvalError> {
    match args {
        [Value::Opaque(Opaque::Quantity(a)), Value::Opaque(Opaque::Quantity(b))] => Ok(a.cmp(b)),
        [Value::Opaque(Opaque::Semver(a)), Value::Opaque(Opaque::Semver(b))] => Ok(semver::order(a, b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn is_less<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(order(args)?.is_lt()))
}

fn is_greater<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(order(args)?.is_gt()))
}

fn compare_to<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(order(args)? as i64))
}
