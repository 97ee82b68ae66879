//! RubyGems: `Gem::Version`. Runs of digits and runs of letters are segments; a word is older than any number.

use std::cmp::Ordering;

use super::digits::{self, Number};

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment<'a> {
    Word(&'a str),
    Number(Number<'a>),
}

impl Segment<'_> {
    fn is_zero(&self) -> bool {
        matches!(self, Segment::Number(number) if number.is_zero())
    }
}

#[derive(Debug)]
pub(super) struct Version<'a> {
    /// Without the zeros that change nothing: at the end, and before the first word.
    segments: Vec<Segment<'a>>,
}

/// A gem's version has dots between letters and digits, and may have a part behind one hyphen or more.
pub(super) fn parse(text: &str) -> Option<Version<'_>> {
    let text = text.trim();
    let mut segments = Vec::new();
    for (at, part) in text.split('-').enumerate() {
        // A hyphen is read as `.pre.`.
        if at > 0 {
            segments.push(Segment::Word("pre"));
        }
        for piece in part.split('.') {
            let is_piece = !piece.is_empty() && piece.bytes().all(|b| b.is_ascii_alphanumeric());
            if !is_piece {
                return None;
            }
            let mut rest = piece;
            while !rest.is_empty() {
                let (number, behind) = digits::split(rest);
                if number.is_empty() {
                    let end = rest.bytes().position(|b| b.is_ascii_digit()).unwrap_or(rest.len());
                    segments.push(Segment::Word(&rest[..end]));
                    rest = &rest[end..];
                } else {
                    segments.push(Segment::Number(Number(number)));
                    rest = behind;
                }
            }
        }
    }
    if !matches!(segments.first(), Some(Segment::Number(_))) {
        return None;
    }
    Some(Version { segments: canonical(segments) })
}

fn canonical(segments: Vec<Segment<'_>>) -> Vec<Segment<'_>> {
    let first_word = segments.iter().position(|s| matches!(s, Segment::Word(_))).unwrap_or(segments.len());
    let mut behind = segments;
    let mut numbers: Vec<_> = behind.drain(..first_word).collect();
    for part in [&mut numbers, &mut behind] {
        while part.last().is_some_and(Segment::is_zero) {
            part.pop();
        }
    }
    numbers.append(&mut behind);
    numbers
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let zero = Segment::Number(Number("0"));
        let longest = self.segments.len().max(other.segments.len());
        for at in 0..longest {
            let order = self.segments.get(at).unwrap_or(&zero).cmp(other.segments.get(at).unwrap_or(&zero));
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
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
