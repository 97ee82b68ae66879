//! Composer: what `composer/semver` makes of a version, in the order of PHP's `version_compare`.

use std::cmp::Ordering;

use super::digits::{self, Number};

/// A version in Composer's normal form. A branch (`dev-main`) is none: Composer orders it with nothing.
#[derive(Debug)]
pub(super) struct Version<'a> {
    /// Four, or the parts of a date.
    numbers: Vec<Number<'a>>,
    stability: Stability,
    /// Behind the stability's word: `beta2.1`.
    behind: Vec<Number<'a>>,
    is_dev: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stability {
    Alpha,
    Beta,
    Candidate,
    Stable,
    Patch,
}

const WORDS: [(&str, Stability); 9] = [
    ("stable", Stability::Stable),
    ("alpha", Stability::Alpha),
    ("beta", Stability::Beta),
    ("patch", Stability::Patch),
    ("rc", Stability::Candidate),
    ("pl", Stability::Patch),
    ("a", Stability::Alpha),
    ("b", Stability::Beta),
    ("p", Stability::Patch),
];

pub(super) fn parse(text: &str) -> Option<Version<'_>> {
    let text = text.trim();
    let text = text.split_once('@').map_or(text, |(version, _)| version);
    let text = text.split_once('+').map_or(text, |(version, _)| version);
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let (numbers, tail) = classic(text).or_else(|| date(text))?;
    modifier(numbers, tail)
}

/// One to four numbers, of which the first has at most five digits.
fn classic(text: &str) -> Option<(Vec<Number<'_>>, &str)> {
    let (first, mut rest) = digits::split(text);
    if !(1..=5).contains(&first.len()) {
        return None;
    }
    let mut numbers = vec![Number(first)];
    while numbers.len() < 4 {
        let Some((number, behind)) = rest.strip_prefix('.').map(digits::split).filter(|(n, _)| !n.is_empty())
        else {
            break;
        };
        numbers.push(Number(number));
        rest = behind;
    }
    numbers.resize(4, Number("0"));
    // A fifth number is none of this form.
    let is_longer =
        rest.strip_prefix(['.', '-', '_']).unwrap_or(rest).starts_with(|c: char| c.is_ascii_digit());
    (!is_longer).then_some((numbers, rest))
}

/// `20240131`, `2024.01.31`, `2024-01-31-120000`.
fn date(text: &str) -> Option<(Vec<Number<'_>>, &str)> {
    let mut numbers = Vec::new();
    let mut rest = text;
    loop {
        let (number, behind) = digits::split(rest);
        let fits = if numbers.is_empty() { number.len() >= 4 } else { (1..=12).contains(&number.len()) };
        if !fits || numbers.len() == 8 {
            return None;
        }
        numbers.push(Number(number));
        match behind.strip_prefix(['.', '-', ':']) {
            Some(next) if next.starts_with(|c: char| c.is_ascii_digit()) => rest = next,
            _ => return Some((numbers, behind)),
        }
    }
}

fn modifier<'a>(numbers: Vec<Number<'a>>, tail: &'a str) -> Option<Version<'a>> {
    let mut version = Version { numbers, stability: Stability::Stable, behind: Vec::new(), is_dev: false };
    let mut rest = tail.strip_prefix(['.', '_', '-']).unwrap_or(tail);
    let word = WORDS
        .iter()
        .find(|(word, _)| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)));
    if let Some((word, stability)) = word {
        rest = &rest[word.len()..];
        version.stability = *stability;
        loop {
            let (number, behind) = digits::split(rest.strip_prefix(['.', '-']).unwrap_or(rest));
            if number.is_empty() {
                break;
            }
            if *stability != Stability::Stable {
                version.behind.push(Number(number));
            }
            rest = behind;
        }
    }
    let dev = rest.strip_prefix(['.', '-']).unwrap_or(rest);
    let is_dev = dev.eq_ignore_ascii_case("dev");
    // `1.0-stable-dev` is `1.0`: Composer reads no further than `stable`.
    version.is_dev = is_dev && word.is_none_or(|(word, _)| *word != "stable");
    (is_dev || rest.is_empty()).then_some(version)
}

/// Parts in `version_compare`'s words: each has a rank, and a number only equals a number.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Dev,
    Before(Stability),
    End,
    Number(Number<'a>),
    Patch,
}

impl<'a> Version<'a> {
    fn parts(&self) -> Vec<Part<'a>> {
        let mut parts: Vec<Part<'a>> = self.numbers.iter().map(|n| Part::Number(*n)).collect();
        match self.stability {
            Stability::Stable => {}
            Stability::Patch => parts.push(Part::Patch),
            before => parts.push(Part::Before(before)),
        }
        parts.extend(self.behind.iter().map(|n| Part::Number(*n)));
        if self.is_dev {
            parts.push(Part::Dev);
        }
        parts
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.parts(), other.parts());
        for at in 0..a.len().max(b.len()) {
            let order = a.get(at).unwrap_or(&Part::End).cmp(b.get(at).unwrap_or(&Part::End));
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
