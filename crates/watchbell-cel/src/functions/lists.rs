//! Lists: Kubernetes' own library, and the extension `lists`, version 3.

use super::{Cost, Row, compare, global, member};
use crate::budget::Budget;
use crate::error::EvalError;
use crate::eval::{Evaluator, Outcome};
use crate::value::{List, Value};

macro_rules! comparable {
    ($result:literal) => {
        &[
            concat!("(list<int>) -> ", $result),
            concat!("(list<uint>) -> ", $result),
            concat!("(list<double>) -> ", $result),
            concat!("(list<bool>) -> ", $result),
            concat!("(list<duration>) -> ", $result),
            concat!("(list<timestamp>) -> ", $result),
            concat!("(list<string>) -> ", $result),
            concat!("(list<bytes>) -> ", $result),
        ]
    };
}

const OF_ITS_KIND: &[&str] = &[
    "(list<int>) -> int",
    "(list<uint>) -> uint",
    "(list<double>) -> double",
    "(list<bool>) -> bool",
    "(list<duration>) -> duration",
    "(list<timestamp>) -> timestamp",
    "(list<string>) -> string",
    "(list<bytes>) -> bytes",
];

const PLACES: &[&str] = &["(list<A>, A) -> int", "(string, string) -> int", "(string, string, int) -> int"];

pub(super) const TABLE: &[Row] = &[
    member("isSorted", comparable!("bool"), is_sorted, Cost::Parts),
    member(
        "sum",
        &[
            "(list<int>) -> int",
            "(list<uint>) -> uint",
            "(list<double>) -> double",
            "(list<duration>) -> duration",
        ],
        sum,
        Cost::Parts,
    ),
    member("min", OF_ITS_KIND, min, Cost::Parts),
    member("max", OF_ITS_KIND, max, Cost::Parts),
    member("indexOf", PLACES, index_of, Cost::Parts),
    member("lastIndexOf", PLACES, last_index_of, Cost::Parts),
    member("slice", &["(list<A>, int, int) -> list<A>"], slice, Cost::Result),
    member(
        "flatten",
        &["(list<list<A>>) -> list<A>", "(list<dyn>) -> list<dyn>", "(list<dyn>, int) -> list<dyn>"],
        flatten,
        Cost::Result,
    ),
    member("sort", &["(list<A>) -> list<A>"], sort, Cost::Square),
    member("distinct", &["(list<A>) -> list<A>"], distinct, Cost::Square),
    member("reverse", &["(list<A>) -> list<A>"], reverse, Cost::Result),
    global("lists.range", &["(int) -> list<int>"], range, Cost::Result),
];

fn list<'v, 'a>(args: &'v [Value<'a>]) -> Result<&'v List<'a>, EvalError> {
    match args.first() {
        Some(Value::List(list)) => Ok(list),
        _ => Err(EvalError::no_overload()),
    }
}

/// Elements that the result holds are paid for before it is made.
fn room(budget: &mut Budget, elements: usize) -> Result<(), EvalError> {
    budget.work(elements)?;
    budget.memory(elements.saturating_mul(size_of::<Value<'_>>()))
}

fn is_sorted<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let list = list(args)?;
    let mut before: Option<Value<'a>> = None;
    for element in list.iter() {
        if let Some(before) = &before
            && compare::order(before, &element, &mut evaluator.budget)?.is_none_or(std::cmp::Ordering::is_gt)
        {
            return Ok(Value::Bool(false));
        }
        before = Some(element);
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let list = list(args)?;
    evaluator.budget.work(list.len())?;
    let overflow = |of: &str| EvalError::failed(format!("{of} overflow"));
    let mut sum = match list.get(0) {
        // What kind of nothing it is cannot be seen any more; Kubernetes' check has fixed it, and ints are the rule.
        None => return Ok(Value::Int(0)),
        Some(first @ (Value::Int(_) | Value::UInt(_) | Value::Double(_) | Value::Duration(_))) => first,
        Some(_) => return Err(EvalError::no_overload()),
    };
    for element in list.iter().skip(1) {
        sum = match (&sum, &element) {
            (Value::Int(a), Value::Int(b)) => {
                Value::Int(a.checked_add(*b).ok_or_else(|| overflow("integer"))?)
            }
            (Value::UInt(a), Value::UInt(b)) => {
                Value::UInt(a.checked_add(*b).ok_or_else(|| overflow("unsigned integer"))?)
            }
            (Value::Double(a), Value::Double(b)) => Value::Double(a + b),
            (Value::Duration(a), Value::Duration(b)) => {
                Value::Duration(a.checked_add(*b).ok_or_else(|| overflow("duration"))?)
            }
            _ => return Err(EvalError::no_overload()),
        };
    }
    Ok(sum)
}

fn extreme<'a>(
    evaluator: &mut Evaluator<'a, '_>,
    args: &[Value<'a>],
    name: &str,
    wins: impl Fn(std::cmp::Ordering) -> bool,
) -> Outcome<'a> {
    let mut best: Option<Value<'a>> = None;
    for element in list(args)?.iter() {
        best = Some(match best {
            None => element,
            Some(best) => match compare::order(&element, &best, &mut evaluator.budget)?.is_some_and(&wins) {
                true => element,
                false => best,
            },
        });
    }
    best.ok_or_else(|| EvalError::failed(format!("{name} called on empty list")))
}

fn min<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    extreme(evaluator, args, "min", std::cmp::Ordering::is_lt)
}

fn max<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    extreme(evaluator, args, "max", std::cmp::Ordering::is_gt)
}

#[derive(Clone, Copy, PartialEq)]
enum From {
    Start,
    End,
}

fn index_of<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    find(evaluator, args, From::Start)
}

fn last_index_of<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    find(evaluator, args, From::End)
}

fn find<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>], from: From) -> Outcome<'a> {
    let budget = &mut evaluator.budget;
    let found = match args {
        [Value::List(list), wanted] => {
            let mut found = None;
            for (at, element) in list.iter().enumerate() {
                if compare::equal(&element, wanted, budget)? {
                    found = Some(at);
                    if from == From::Start {
                        break;
                    }
                }
            }
            found
        }
        [Value::String(text), Value::String(part)] => in_text(text, part, None, from, budget)?,
        [Value::String(text), Value::String(part), Value::Int(bound)] => {
            in_text(text, part, Some(*bound), from, budget)?
        }
        _ => return Err(EvalError::no_overload()),
    };
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

/// The place of a text in another, in characters. `bound`: where it begins at the earliest, from the end at the latest.
fn in_text(
    text: &str,
    part: &str,
    bound: Option<i64>,
    from: From,
    budget: &mut Budget,
) -> Result<Option<usize>, EvalError> {
    budget.work(text.len() / 4)?;
    let length = text.chars().count();
    let bound = match bound {
        None => None,
        Some(bound) => match usize::try_from(bound) {
            Ok(bound) if bound <= length => Some(bound),
            _ => return Err(EvalError::failed(format!("index out of range: {bound}"))),
        },
    };
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    let found = match from {
        From::Start => {
            let start = byte(bound.unwrap_or(0));
            text[start..].find(part).map(|at| start + at)
        }
        From::End => {
            let last = bound.map_or(text.len(), byte);
            let end = text.floor_char_boundary((last + part.len()).min(text.len()));
            text[..end].rfind(part)
        }
    };
    Ok(found.map(|at| text[..at].chars().count()))
}

fn slice<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::List(list), Value::Int(start), Value::Int(end)] = args else {
        return Err(EvalError::no_overload());
    };
    if *start < 0 || *end < 0 {
        return Err(EvalError::failed(format!(
            "cannot slice({start}, {end}), negative indexes not supported"
        )));
    }
    if start > end {
        return Err(EvalError::failed(format!(
            "cannot slice({start}, {end}), start index must be less than or equal to end index"
        )));
    }
    let (start, end) = (*start as usize, *end as usize);
    if end > list.len() {
        return Err(EvalError::failed(format!(
            "cannot slice({start}, {end}), list is length {}",
            list.len()
        )));
    }
    room(&mut evaluator.budget, end - start)?;
    Ok(Value::from((start..end).filter_map(|at| list.get(at)).collect::<Vec<_>>()))
}

fn flatten<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let depth = match args {
        [Value::List(_)] => 1,
        [Value::List(_), Value::Int(depth)] => *depth,
        _ => return Err(EvalError::no_overload()),
    };
    let depth = u32::try_from(depth).map_err(|_| EvalError::failed("level must be non-negative"))?;
    let mut flat = Vec::new();
    flatten_into(list(args)?, depth, &mut flat, &mut evaluator.budget)?;
    Ok(Value::from(flat))
}

fn flatten_into<'a>(
    list: &List<'a>,
    depth: u32,
    flat: &mut Vec<Value<'a>>,
    budget: &mut Budget,
) -> Result<(), EvalError> {
    for element in list.iter() {
        match element {
            Value::List(inner) if depth > 0 => flatten_into(&inner, depth - 1, flat, budget)?,
            other => {
                room(budget, 1)?;
                flat.push(other);
            }
        }
    }
    Ok(())
}

fn sort<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let list = list(args)?;
    room(&mut evaluator.budget, list.len())?;
    let mut sorted: Vec<Value<'a>> = list.iter().collect();
    compare::sort(&mut sorted, |element| element, &mut evaluator.budget)?;
    Ok(Value::from(sorted))
}

fn distinct<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut known: Vec<Value<'a>> = Vec::new();
    for element in list(args)?.iter() {
        let mut is_new = true;
        for other in &known {
            if compare::equal(other, &element, &mut evaluator.budget)? {
                is_new = false;
                break;
            }
        }
        if is_new {
            room(&mut evaluator.budget, 1)?;
            known.push(element);
        }
    }
    Ok(Value::from(known))
}

fn reverse<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let list = list(args)?;
    room(&mut evaluator.budget, list.len())?;
    Ok(Value::from((0..list.len()).rev().filter_map(|at| list.get(at)).collect::<Vec<_>>()))
}

fn range<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Int(end)] = args else { return Err(EvalError::no_overload()) };
    let end = usize::try_from(*end).unwrap_or(0);
    room(&mut evaluator.budget, end)?;
    Ok(Value::from((0..end).map(|at| Value::Int(at as i64)).collect::<Vec<_>>()))
}
