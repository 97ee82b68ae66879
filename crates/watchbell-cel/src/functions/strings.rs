//! Texts: CEL's own functions and the extension `strings`, version 2. Places are counted in characters.

use super::{Cost, Row, global, member};
use crate::error::EvalError;
use crate::eval::{Evaluator, Outcome};
use crate::value::Value;

pub(super) const TABLE: &[Row] = &[
    member("contains", &["(string, string) -> bool"], contains, Cost::Substring),
    member("startsWith", &["(string, string) -> bool"], starts_with, Cost::Traverse),
    member("endsWith", &["(string, string) -> bool"], ends_with, Cost::Traverse),
    member("charAt", &["(string, int) -> string"], char_at, Cost::One),
    member("lowerAscii", &["(string) -> string"], lower, Cost::Traverse),
    member("upperAscii", &["(string) -> string"], upper, Cost::Traverse),
    member(
        "replace",
        &["(string, string, string) -> string", "(string, string, string, int) -> string"],
        replace,
        Cost::TraverseTwice,
    ),
    member(
        "split",
        &["(string, string) -> list<string>", "(string, string, int) -> list<string>"],
        split,
        Cost::TraverseTwice,
    ),
    member(
        "substring",
        &["(string, int) -> string", "(string, int, int) -> string"],
        substring,
        Cost::Traverse,
    ),
    member("trim", &["(string) -> string"], trim, Cost::Traverse),
    member(
        "join",
        &["(list<string>) -> string", "(list<string>, string) -> string"],
        join,
        Cost::ResultTwice,
    ),
    global("strings.quote", &["(string) -> string"], quote, Cost::Traverse),
];

fn texts<'v>(args: &'v [Value<'_>]) -> Result<(&'v str, &'v str), EvalError> {
    match args {
        [Value::String(a), Value::String(b), ..] => Ok((a, b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn text<'v>(args: &'v [Value<'_>]) -> Result<&'v str, EvalError> {
    args.first().and_then(Value::as_str).ok_or_else(EvalError::no_overload)
}

fn contains<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, part) = texts(args)?;
    evaluator.budget.work(text.len() / 8)?;
    Ok(Value::Bool(text.contains(part)))
}

fn starts_with<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, part) = texts(args)?;
    Ok(Value::Bool(text.starts_with(part)))
}

fn ends_with<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, part) = texts(args)?;
    Ok(Value::Bool(text.ends_with(part)))
}

/// Characters are found by walking along the text.
fn walk<'a>(evaluator: &mut Evaluator<'a, '_>, text: &str) -> Result<(), EvalError> {
    evaluator.budget.work(text.len() / 8)
}

fn char_at<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(text), Value::Int(at)] = args else { return Err(EvalError::no_overload()) };
    walk(evaluator, text)?;
    let found = usize::try_from(*at).ok().and_then(|at| match text.chars().nth(at) {
        Some(letter) => Some(letter.to_string()),
        // One behind the last is allowed, and empty.
        None => (text.chars().count() == at).then(String::new),
    });
    found.map(Value::from).ok_or_else(|| EvalError::failed(format!("index out of range: {at}")))
}

fn lower<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let text = text(args)?;
    evaluator.budget.memory(text.len())?;
    Ok(Value::from(text.to_ascii_lowercase()))
}

fn upper<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let text = text(args)?;
    evaluator.budget.memory(text.len())?;
    Ok(Value::from(text.to_ascii_uppercase()))
}

fn replace<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, old, new, limit) = match args {
        [Value::String(text), Value::String(old), Value::String(new)] => (text, old, new, -1),
        [Value::String(text), Value::String(old), Value::String(new), Value::Int(limit)] => {
            (text, old, new, *limit)
        }
        _ => return Err(EvalError::no_overload()),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    evaluator.budget.work(text.len() / 8)?;
    let count = text.match_indices(&**old).take(limit).count();
    evaluator.budget.memory(text.len().saturating_add(count.saturating_mul(new.len())))?;
    Ok(Value::from(text.replacen(&**old, new, limit)))
}

fn split<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, separator, limit) = match args {
        [Value::String(text), Value::String(separator)] => (text, separator, -1),
        [Value::String(text), Value::String(separator), Value::Int(limit)] => (text, separator, *limit),
        _ => return Err(EvalError::no_overload()),
    };
    if limit == 0 {
        return Ok(Value::from(Vec::new()));
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    evaluator.budget.work(text.len() / 8)?;
    // Without a separator each character stands alone.
    let parts: Box<dyn Iterator<Item = &str>> = match separator.is_empty() {
        true => Box::new(characters(text, limit)),
        false => Box::new(text.splitn(limit, &**separator)),
    };
    let mut list = Vec::new();
    for part in parts {
        evaluator.budget.memory(part.len() + size_of::<Value<'a>>())?;
        list.push(Value::from(part.to_owned()));
    }
    Ok(Value::from(list))
}

/// At most `limit` parts: characters, and what is left as the last.
fn characters(text: &str, limit: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text).filter(|text| !text.is_empty());
    let mut count = 0;
    std::iter::from_fn(move || {
        let text = rest?;
        count += 1;
        let end = match count == limit {
            true => text.len(),
            false => text.ceil_char_boundary(1),
        };
        let (part, after) = text.split_at(end);
        rest = Some(after).filter(|after| !after.is_empty());
        Some(part)
    })
}

fn substring<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, start, end) = match args {
        [Value::String(text), Value::Int(start)] => (text, *start, None),
        [Value::String(text), Value::Int(start), Value::Int(end)] => (text, *start, Some(*end)),
        _ => return Err(EvalError::no_overload()),
    };
    walk(evaluator, text)?;
    let length = text.chars().count() as i64;
    let end = end.unwrap_or(length);
    for at in [start, end] {
        if !(0..=length).contains(&at) {
            return Err(EvalError::failed(format!("index out of range: {at}")));
        }
    }
    if start > end {
        return Err(EvalError::failed(format!("invalid substring range. start: {start}, end: {end}")));
    }
    evaluator.budget.memory(text.len())?;
    Ok(Value::from(text.chars().skip(start as usize).take((end - start) as usize).collect::<String>()))
}

fn trim<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let text = text(args)?;
    evaluator.budget.memory(text.len())?;
    Ok(Value::from(text.trim().to_owned()))
}

fn join<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (list, separator) = match args {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(separator)] => (list, &**separator),
        _ => return Err(EvalError::no_overload()),
    };
    let mut joined = String::new();
    for (at, element) in list.iter().enumerate() {
        let Value::String(part) = element else { return Err(EvalError::no_overload()) };
        let separator = if at == 0 { "" } else { separator };
        evaluator.budget.memory(separator.len() + part.len())?;
        evaluator.budget.work(1)?;
        joined.push_str(separator);
        joined.push_str(&part);
    }
    Ok(Value::from(joined))
}

fn quote<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let text = text(args)?;
    evaluator.budget.memory(text.len() * 2 + 2)?;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    Ok(Value::from(quoted))
}
