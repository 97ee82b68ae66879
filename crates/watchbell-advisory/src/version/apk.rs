//! Alpine: `1.2.3b_pre4_p5~1a2b-r6` as apk-tools 2.14 and 3 order it.
//!
//! A version is a row of tokens. Where two rows first differ in the kind of their tokens, the one with a suffix that marks
//! something before the release (`_alpha`, `_beta`, `_pre`, `_rc`) is older; else the kind decides, and the end is the last.

use std::cmp::Ordering;

use super::digits;

/// In the order in which they may follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    First,
    Digit,
    Letter,
    Suffix,
    SuffixNumber,
    Commit,
    Revision,
    End,
    Invalid,
}

/// Older than the release itself up to here.
const BEFORE_RELEASE: usize = 4;
const SUFFIXES: [&str; 9] = ["alpha", "beta", "pre", "rc", "cvs", "svn", "git", "hg", "p"];

#[derive(Clone, Copy)]
struct Tokens<'a> {
    kind: Kind,
    /// The token's text: digits, a letter, a suffix without its underscore.
    text: &'a str,
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn new(text: &'a str) -> Tokens<'a> {
        let (number, rest) = digits::split(text);
        let kind = if number.is_empty() { Kind::Invalid } else { Kind::First };
        Tokens { kind, text: number, rest }
    }

    fn next(self) -> Tokens<'a> {
        let invalid = Tokens { kind: Kind::Invalid, text: "", rest: "" };
        let number = |kind: Kind, text: &'a str| {
            let (number, rest) = digits::split(text);
            if number.is_empty() { invalid } else { Tokens { kind, text: number, rest } }
        };
        let Some(first) = self.rest.chars().next() else {
            return Tokens { kind: Kind::End, text: "", rest: "" };
        };
        match first {
            'a'..='z' if self.kind <= Kind::Digit => {
                Tokens { kind: Kind::Letter, text: &self.rest[..1], rest: &self.rest[1..] }
            }
            '.' if self.kind <= Kind::Digit => number(Kind::Digit, &self.rest[1..]),
            '0'..='9' if self.kind == Kind::Suffix => number(Kind::SuffixNumber, self.rest),
            '_' if self.kind <= Kind::SuffixNumber => {
                let rest = &self.rest[1..];
                let end = rest.bytes().position(|b| !b.is_ascii_lowercase()).unwrap_or(rest.len());
                let (suffix, rest) = rest.split_at(end);
                if !SUFFIXES.contains(&suffix) {
                    return invalid;
                }
                Tokens { kind: Kind::Suffix, text: suffix, rest }
            }
            '~' if self.kind < Kind::Commit => {
                let rest = &self.rest[1..];
                let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                let end = rest.bytes().position(|b| !is_hex(b)).unwrap_or(rest.len());
                let (hash, rest) = rest.split_at(end);
                if hash.is_empty() { invalid } else { Tokens { kind: Kind::Commit, text: hash, rest } }
            }
            '-' if self.kind < Kind::Revision && self.rest.starts_with("-r") => {
                number(Kind::Revision, &self.rest[2..])
            }
            _ => invalid,
        }
    }

    fn suffix(self) -> usize {
        SUFFIXES.iter().position(|suffix| *suffix == self.text).unwrap_or(SUFFIXES.len())
    }

    fn is_before_release(self) -> bool {
        self.kind == Kind::Suffix && self.suffix() < BEFORE_RELEASE
    }

    fn compare_value(self, other: Tokens<'_>) -> Ordering {
        match self.kind {
            // As a fraction when either begins with zero.
            Kind::Digit if self.text.starts_with('0') || other.text.starts_with('0') => {
                self.text.cmp(other.text)
            }
            Kind::First | Kind::Digit | Kind::SuffixNumber | Kind::Revision => {
                digits::compare(self.text, other.text)
            }
            Kind::Suffix => self.suffix().cmp(&other.suffix()),
            Kind::Letter | Kind::Commit => self.text.cmp(other.text),
            Kind::End | Kind::Invalid => Ordering::Equal,
        }
    }
}

pub(super) fn is_version(text: &str) -> bool {
    let mut token = Tokens::new(text);
    while token.kind < Kind::End {
        token = token.next();
    }
    token.kind == Kind::End
}

/// Both are versions.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (Tokens::new(a), Tokens::new(b));
    while a.kind == b.kind && a.kind < Kind::End {
        let order = a.compare_value(b);
        if order.is_ne() {
            return order;
        }
        (a, b) = (a.next(), b.next());
    }
    match (a.is_before_release(), b.is_before_release()) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        // The kind that comes later in the row is older.
        _ => b.kind.cmp(&a.kind),
    }
}
