//! Patterns in the syntax of RE2, which is Go's. They run in time linear in the text.
//!
//! The crate `regex` knows a little more than RE2 (sets within brackets, Unicode classes behind `\d`, `\w`, `\s`), so a
//! pattern is rewritten until it means there what it means in a cluster.

use std::sync::Arc;

use regex::RegexBuilder;

use super::{Cost, Row, global, member};
use crate::check::Pattern;
use crate::error::EvalError;
use crate::eval::{CHARACTERS, Evaluator, Outcome};
use crate::value::Value;

pub(super) const TABLE: &[Row] = &[
    member("matches", &["(string, string) -> bool"], matches, Cost::Regex),
    global("matches", &["(string, string) -> bool"], matches, Cost::Regex),
    member("find", &["(string, string) -> string"], find, Cost::Regex),
    member(
        "findAll",
        &["(string, string) -> list<string>", "(string, string, int) -> list<string>"],
        find_all,
        Cost::Regex,
    ),
];

/// Bytes that a compiled pattern may take: the smallest of them that is enough is what it counts for.
const SIZES: [usize; 3] = [8 << 10, 32 << 10, 256 << 10];
const PATTERN_MAX: usize = 16 << 10;
/// Groups and brackets within each other.
const NEST_MAX: u32 = 50;
/// What compiling a pattern is worth beside looking at a character.
const COMPILE_WORK: usize = 20_000;
/// A pattern is held forwards and backwards, each with what it has found out while it ran.
const PARTS: usize = 4;

/// Why a text is no pattern that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PatternError {
    TooLarge,
    /// Valid in RE2 up to a thousand.
    TooDeep,
    Wrong(String),
}

/// `bytes_max`: what it may count for.
pub(crate) fn compile(pattern: &str, bytes_max: usize) -> Result<Pattern, PatternError> {
    if pattern.len() > PATTERN_MAX {
        return Err(PatternError::TooLarge);
    }
    let text = as_re2(pattern);
    for bytes in SIZES.into_iter().take_while(|bytes| *bytes <= bytes_max) {
        let built =
            RegexBuilder::new(&text).size_limit(bytes).dfa_size_limit(bytes).nest_limit(NEST_MAX).build();
        match built {
            Ok(regex) => return Ok(Pattern { regex, bytes }),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(error) => {
                let text = error.to_string();
                let why = text.lines().last().unwrap_or("no pattern").trim_start_matches("error: ");
                // The crate tells it in no other way.
                if why.starts_with("exceed the maximum number of nested") {
                    return Err(PatternError::TooDeep);
                }
                return Err(PatternError::Wrong(why.to_owned()));
            }
        }
    }
    Err(PatternError::TooLarge)
}

/// The pattern, as the crate `regex` has to be given it.
fn as_re2(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    // How far in a bracket: `None` outside, else whether a `]` here still is a letter.
    let mut bracket: Option<bool> = None;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        if letter == '\\' {
            let Some(kind) = rest.chars().next() else {
                out.push('\\');
                break;
            };
            rest = &rest[kind.len_utf8()..];
            match kind {
                'd' => out.push_str("[0-9]"),
                'D' => out.push_str("[^0-9]"),
                'w' => out.push_str("[0-9A-Za-z_]"),
                'W' => out.push_str("[^0-9A-Za-z_]"),
                's' => out.push_str("[\\t\\n\\f\\r ]"),
                'S' => out.push_str("[^\\t\\n\\f\\r ]"),
                'b' if bracket.is_none() => out.push_str("(?-u:\\b)"),
                'B' if bracket.is_none() => out.push_str("(?-u:\\B)"),
                'Q' if bracket.is_none() => {
                    let (quoted, after) = rest.split_once("\\E").unwrap_or((rest, ""));
                    out.push_str(&regex::escape(quoted));
                    rest = after;
                }
                other => {
                    out.push('\\');
                    out.push(other);
                }
            }
            bracket = bracket.map(|_| false);
            continue;
        }
        match (letter, bracket) {
            ('[', None) => {
                out.push('[');
                if let Some(after) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = after;
                }
                bracket = Some(true);
                continue;
            }
            (']', Some(true)) => out.push_str("\\]"),
            (']', Some(false)) => {
                out.push(']');
                bracket = None;
                continue;
            }
            ('[', Some(_)) => match rest.strip_prefix(':').and_then(|inner| inner.split_once(":]")) {
                Some((class, after)) if class.chars().all(|c| c.is_ascii_alphabetic() || c == '^') => {
                    out.push_str(&format!("[:{class}:]"));
                    rest = after;
                }
                _ => out.push_str("\\["),
            },
            // Set operators of the crate; letters in RE2.
            ('&' | '~', Some(_)) => {
                out.push('\\');
                out.push(letter);
            }
            ('-', Some(_)) if rest.starts_with('-') => out.push_str("\\-"),
            (other, _) => out.push(other),
        }
        bracket = bracket.map(|_| false);
    }
    out
}

fn pattern<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Result<Arc<Pattern>, EvalError> {
    let Some(Value::String(pattern)) = args.get(1) else { return Err(EvalError::no_overload()) };
    let text = args[0].as_str().ok_or_else(EvalError::no_overload)?;
    evaluator.pattern(pattern, text.len())
}

impl<'a> Evaluator<'a, '_> {
    /// A pattern is compiled once for all expressions of an evaluator; its use is paid for before.
    fn pattern(&mut self, pattern: &str, text_length: usize) -> Result<Arc<Pattern>, EvalError> {
        let literal = self.literals.and_then(|literals| literals.get(pattern));
        let pattern = match literal.or_else(|| self.patterns.get(pattern)) {
            Some(known) => known.clone(),
            None => self.compile_pattern(pattern)?,
        };
        // At worst each character meets each part of the pattern.
        self.budget.work(text_length.saturating_mul(4 + pattern.bytes / 2048))?;
        Ok(pattern)
    }

    fn compile_pattern(&mut self, pattern: &str) -> Result<Arc<Pattern>, EvalError> {
        self.budget.work(COMPILE_WORK + pattern.len() * 100)?;
        let compiled = compile(pattern, SIZES[SIZES.len() - 1]).map_err(|why| match why {
            PatternError::TooLarge => EvalError::own("a pattern is too large"),
            PatternError::TooDeep => EvalError::own("a pattern is nested too deeply"),
            PatternError::Wrong(why) => EvalError::failed(format!("error parsing regexp: {why}")),
        })?;
        self.budget.work(compiled.bytes)?;
        self.budget.memory(pattern.len() + compiled.bytes * PARTS)?;
        let compiled = Arc::new(compiled);
        self.patterns.insert(pattern.into(), compiled.clone());
        Ok(compiled)
    }
}

fn matches<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let regex = &pattern(evaluator, args)?.regex;
    Ok(Value::Bool(regex.is_match(args[0].as_str().unwrap_or_default())))
}

fn find<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let regex = &pattern(evaluator, args)?.regex;
    let found = regex.find(args[0].as_str().unwrap_or_default()).map_or("", |found| found.as_str());
    evaluator.budget.memory(found.len())?;
    Ok(Value::from(found.to_owned()))
}

fn find_all<'a>(evaluator: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let limit = match args.get(2) {
        None => usize::MAX,
        Some(Value::Int(limit)) => usize::try_from(*limit).unwrap_or(usize::MAX),
        Some(_) => return Err(EvalError::no_overload()),
    };
    let regex = &pattern(evaluator, args)?.regex;
    let mut found = Vec::new();
    let text = args[0].as_str().unwrap_or_default();
    for part in regex.find_iter(text).take(limit) {
        // Where a match ends is known only once it cannot be longer: each may look at the whole rest.
        evaluator.budget.work((text.len() - part.start()) / (2 * CHARACTERS))?;
        evaluator.budget.memory(part.len() + size_of::<Value<'a>>())?;
        found.push(Value::from(part.as_str().to_owned()));
    }
    Ok(Value::from(found))
}

#[cfg(test)]
mod tests {
    use super::{PatternError, as_re2, compile};

    #[test]
    fn a_pattern_means_what_it_means_in_go() {
        for (pattern, text, expect) in [
            (r"^\d+$", "123", true),
            // Digits of other scripts are none.
            (r"^\d+$", "١٢٣", false),
            (r"^\w$", "é", false),
            (r"^[^\d]$", "x", true),
            (r"[a&&b]", "&", true),
            (r"^[[]$", "[", true),
            (r"^[]a]+$", "]a", true),
            (r"^[[:alpha:]]+$", "abc", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"\bfoo\b", "a foo b", true),
            (r"^[a\-z]$", "-", true),
            (r"(?i)^ABC$", "abc", true),
        ] {
            let regex = compile(pattern, 1 << 20)
                .unwrap_or_else(|why| panic!("{pattern} ({}): {why:?}", as_re2(pattern)));
            assert_eq!(regex.regex.is_match(text), expect, "{pattern} on {text:?}, as {}", as_re2(pattern));
        }
    }

    #[test]
    fn what_would_not_be_linear_or_is_too_large_is_refused() {
        for pattern in [r"(a)\1", r"(?=a)", "((a{1000}){1000}){1000}", "(", "[z-a]", &"(".repeat(100)] {
            assert!(compile(pattern, 1 << 20).is_err(), "{pattern}");
        }
        assert_eq!(compile("a{100}b{500}c{900}", 8 << 10).unwrap_err(), PatternError::TooLarge);
        // A bound of ours, not a mistake: a policy that ignores mistakes must not be passed by it.
        let nested = |depth: usize| compile(&format!("{}a{}", "(".repeat(depth), ")".repeat(depth)), 1 << 20);
        assert!(nested(49).is_ok());
        assert_eq!(nested(51).unwrap_err(), PatternError::TooDeep);
        assert!(compile("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", 8 << 10).is_ok());
    }
}
