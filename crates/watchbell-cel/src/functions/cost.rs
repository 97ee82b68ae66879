//! What a call costs. Source: `costCall` of cel-go's `interpreter/runtimecost.go` and Kubernetes' `library/cost.go`.

use crate::budget::Budget;
use crate::error::EvalError;
use crate::value::{List, Map, Value};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Cost {
    /// As good as nothing, whatever the size of what it is about.
    One,
    Fixed(u64),
    /// The first text is gone through.
    Traverse,
    /// It is gone through, and a result is made.
    TraverseTwice,
    /// Of the result.
    ResultTwice,
    /// All parts of the first argument, down to the last.
    Parts,
    /// Text by pattern.
    Regex,
    /// The elements of the second argument.
    Within,
    /// The smaller of both.
    Smaller,
    /// Numbers at once, texts and bytes by their sizes.
    Join,
    Substring,
    ContainsIp,
    ContainsCidr,
    /// Each of the one with each of the other, so many times.
    Product(u64),
    /// A text by a named form, whose pattern is some sixty letters long.
    Validate,
    /// One, and the elements of the result.
    Result,
    /// One, and each element of the first with each.
    Square,
}

fn tenth(size: usize) -> u64 {
    (size as u64).div_ceil(10)
}

/// The size, for whose counting a long text is looked at.
fn size(value: Option<&Value<'_>>, budget: &mut Budget) -> Result<usize, EvalError> {
    let Some(value) = value else { return Ok(0) };
    if let Value::String(text) = value {
        budget.work(text.len() / 16)?;
    }
    Ok(value.size())
}

impl Cost {
    pub(crate) fn of(
        self,
        args: &[Value<'_>],
        result: Option<&Value<'_>>,
        budget: &mut Budget,
    ) -> Result<u64, EvalError> {
        let (first, second) = (args.first(), args.get(1));
        Ok(match self {
            Cost::One => 1,
            Cost::Fixed(cost) => cost,
            Cost::Traverse => tenth(size(first, budget)?),
            Cost::TraverseTwice => tenth(size(first, budget)? * 2),
            Cost::ResultTwice => tenth(size(result, budget)? * 2),
            Cost::Parts => first.map_or(Ok(0), |value| parts(value, budget))?,
            Cost::Regex => tenth(size(first, budget)? + 1) * (size(second, budget)? as u64).div_ceil(4),
            Cost::Within => match second {
                Some(Value::List(list)) => list.len() as u64,
                _ => 1,
            },
            Cost::Smaller => tenth(size(first, budget)?.min(size(second, budget)?)),
            Cost::Join => match first {
                Some(Value::String(_) | Value::Bytes(_)) => {
                    tenth(size(first, budget)? + size(second, budget)?)
                }
                _ => 1,
            },
            Cost::Substring => tenth(size(first, budget)?) * tenth(size(second, budget)?),
            Cost::ContainsIp => {
                let text = if let Some(Value::String(_)) = second { tenth(size(second, budget)?) } else { 0 };
                tenth(size(first, budget)? * 2) + text
            }
            Cost::ContainsCidr => {
                let text = if let Some(Value::String(_)) = second { tenth(size(second, budget)?) } else { 0 };
                let own = size(first, budget)?;
                tenth(own * 2) + tenth(own) + 1 + text
            }
            Cost::Product(factor) => {
                1 + (size(first, budget)? as u64)
                    .saturating_mul(size(second, budget)? as u64)
                    .saturating_mul(factor)
            }
            Cost::Validate => (size(second, budget)? as u64 + 1).div_ceil(10) * 15,
            Cost::Result => 1 + size(result, budget)? as u64,
            Cost::Square => {
                let own = size(first, budget)? as u64;
                1 + own.saturating_mul(own)
            }
        })
    }
}

fn parts(value: &Value<'_>, budget: &mut Budget) -> Result<u64, EvalError> {
    budget.work(1)?;
    Ok(match value {
        Value::String(text) => text.len() as u64 / 10,
        Value::Bytes(bytes) => bytes.len() as u64 / 10,
        Value::List(List::Made(list)) => {
            let mut sum = 0;
            for element in list.iter() {
                sum += parts(element, budget)?;
            }
            sum
        }
        Value::List(list) => {
            let mut sum = 0;
            for element in list.iter() {
                sum += parts(&element, budget)?;
            }
            sum
        }
        Value::Map(Map::Json(map)) => {
            let mut sum = 0;
            for (key, value) in *map {
                sum += key.len() as u64 / 10 + parts(&Value::from(value), budget)?;
            }
            sum
        }
        Value::Map(map) => {
            let mut sum = 0;
            for (key, value) in map.iter() {
                sum += parts(&key, budget)? + parts(&value, budget)?;
            }
            sum
        }
        _ => 1,
    })
}
