//! npm, Cargo and Go: Semantic Versioning 2.0.0, section 11.
//!
//! Read as leniently as the ecosystems' own tools do: a leading `v` or `=`, missing numbers (they are 0), a pre-release
//! without its hyphen (`1.2.3beta`). Build metadata (`+…`) has no part in the order, as in Go's `+incompatible`.

use std::cmp::Ordering;

use super::digits::{self, Number};

#[derive(Debug)]
pub(super) struct Version<'a> {
    numbers: Vec<Number<'a>>,
    /// Without identifiers it is the release itself.
    before: Vec<Identifier<'a>>,
}

/// Numbers come before words.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier<'a> {
    Number(Number<'a>),
    Word(&'a str),
}

/// More numbers than anybody writes.
const NUMBERS_MAX: usize = 16;

pub(super) fn parse(text: &str) -> Option<Version<'_>> {
    let (numbers, tail) = numbers(text)?;
    let before = match tail.strip_prefix('-').unwrap_or(tail) {
        "" => Vec::new(),
        tail => tail.split('.').map(identifier).collect::<Option<_>>()?,
    };
    Some(Version { numbers, before })
}

/// Also reads the names of Go's own releases, `1.21rc2`, which its advisories write `1.21.0-rc.2`.
pub(super) fn parse_go(text: &str) -> Option<Version<'_>> {
    let text = text.strip_prefix("go").unwrap_or(text);
    let (numbers, tail) = numbers(text)?;
    if !tail.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return parse(text);
    }
    let word_end = tail.bytes().position(|b| !b.is_ascii_alphabetic())?;
    let (word, number) = tail.split_at(word_end);
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| Version {
        numbers,
        before: vec![Identifier::Word(word), Identifier::Number(Number(number))],
    })
}

/// The numbers, and what follows them up to the build metadata.
fn numbers(text: &str) -> Option<(Vec<Number<'_>>, &str)> {
    let text = text.trim().trim_start_matches(['v', '=', ' ']);
    let text = text.split_once('+').map_or(text, |(version, _)| version);
    let mut numbers = Vec::with_capacity(3);
    let mut rest = text;
    loop {
        let (number, behind) = digits::split(rest);
        if number.is_empty() || numbers.len() == NUMBERS_MAX {
            return None;
        }
        numbers.push(Number(number));
        match behind.strip_prefix('.') {
            Some(next) => rest = next,
            None => return Some((numbers, behind)),
        }
    }
}

fn identifier(text: &str) -> Option<Identifier<'_>> {
    let is_word = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_word {
        return None;
    }
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    Some(if is_number { Identifier::Number(Number(text)) } else { Identifier::Word(text) })
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let zero = Number("0");
        let longest = self.numbers.len().max(other.numbers.len());
        for at in 0..longest {
            let order = self.numbers.get(at).unwrap_or(&zero).cmp(other.numbers.get(at).unwrap_or(&zero));
            if order.is_ne() {
                return order;
            }
        }
        match (self.before.is_empty(), other.before.is_empty()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => self.before.cmp(&other.before),
        }
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version<'_> {}
