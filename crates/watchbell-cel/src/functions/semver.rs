//! Versions by Semantic Versioning 2.0.0.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Cost, Row, global, member};
use crate::error::EvalError;
use crate::eval::{Evaluator, Outcome};
use crate::value::{Opaque, Value};

pub(super) const TABLE: &[Row] = &[
    global(
        "semver",
        &["(string) -> kubernetes.Semver", "(string, bool) -> kubernetes.Semver"],
        semver,
        Cost::Traverse,
    ),
    global("isSemver", &["(string) -> bool", "(string, bool) -> bool"], is_semver, Cost::Traverse),
    member("major", &["(kubernetes.Semver) -> int"], major, Cost::One),
    member("minor", &["(kubernetes.Semver) -> int"], minor, Cost::One),
    member("patch", &["(kubernetes.Semver) -> int"], patch, Cost::One),
];

#[derive(Debug)]
pub struct Semver {
    core: [u64; 3],
    /// What stands behind the `-`; empty: a release.
    pre: Vec<Box<str>>,
}

const LENGTH_MAX: usize = 256;

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn parse(text: &str) -> Option<Semver> {
    if text.len() > LENGTH_MAX {
        return None;
    }
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let is_part =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let has_no_zero = |part: &str| part.len() == 1 || !part.starts_with('0');
    let parts: Vec<&str> = core.split('.').collect();
    let &[major, minor, patch] = parts.as_slice() else { return None };
    let mut numbers = [0; 3];
    for (number, part) in numbers.iter_mut().zip([major, minor, patch]) {
        *number = (is_number(part) && has_no_zero(part)).then(|| part.parse().ok())??;
    }
    let pre: Vec<Box<str>> = match pre {
        None => Vec::new(),
        Some(pre) => pre.split('.').map(Into::into).collect(),
    };
    let pre_fits = pre.iter().all(|part| is_part(part) && (!is_number(part) || has_no_zero(part)));
    let build_fits = build.is_none_or(|build| build.split('.').all(is_part));
    (pre_fits && build_fits).then_some(Semver { core: numbers, pre })
}

/// Without a `v`, with as many parts as there must be, without zeroes before a number.
fn normalized(text: &str) -> String {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, tail) = text.split_at(end);
    let mut parts: Vec<&str> = core
        .split('.')
        .map(|part| match is_number(part) {
            true => Some(part.trim_start_matches('0')).filter(|part| !part.is_empty()).unwrap_or("0"),
            false => part,
        })
        .collect();
    while parts.len() < 3 {
        parts.push("0");
    }
    format!("{}{tail}", parts.join("."))
}

/// Build metadata plays no part.
pub(crate) fn order(a: &Semver, b: &Semver) -> Ordering {
    a.core.cmp(&b.core).then_with(|| match (a.pre.is_empty(), b.pre.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            let parts = a.pre.iter().zip(&b.pre).map(|(a, b)| match (is_number(a), is_number(b)) {
                // Numbers without leading zeroes: the longer one is the larger one.
                (true, true) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => a.cmp(b),
            });
            parts.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.pre.len().cmp(&b.pre.len()))
        }
    })
}

fn read(args: &[Value<'_>]) -> Result<Option<Semver>, EvalError> {
    match args {
        [Value::String(text)] | [Value::String(text), Value::Bool(false)] => Ok(parse(text)),
        [Value::String(text), Value::Bool(true)] if text.len() <= LENGTH_MAX => Ok(parse(&normalized(text))),
        [Value::String(_), Value::Bool(true)] => Ok(None),
        _ => Err(EvalError::no_overload()),
    }
}

fn semver<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let version = read(args)?.ok_or_else(|| EvalError::failed("no version of the form major.minor.patch"))?;
    Ok(Value::Opaque(Opaque::Semver(Arc::new(version))))
}

fn is_semver<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(read(args)?.is_some()))
}

fn part<'a>(args: &[Value<'a>], at: usize) -> Outcome<'a> {
    let [Value::Opaque(Opaque::Semver(version))] = args else { return Err(EvalError::no_overload()) };
    i64::try_from(version.core[at]).map(Value::Int).map_err(|_| EvalError::failed("integer overflow"))
}

fn major<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, 0)
}

fn minor<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, 1)
}

fn patch<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, 2)
}
