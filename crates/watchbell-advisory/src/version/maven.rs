//! Maven: the order of `ComparableVersion` of Maven 4, also taken for programs that follow no ecosystem's rules, because it
//! knows `rc` and `alpha` as older and any other word (`1.1.1k` of OpenSSL) as newer than the release.
//!
//! A version is a list of numbers, qualifiers and, behind each hyphen or change between digits and letters, a list within.

use std::cmp::Ordering;

use super::digits::{self, Number};

/// The bound of Maven itself: each hyphen nests a list.
const LENGTH_MAX: usize = 256;

#[derive(Debug)]
enum Item {
    Number(String),
    Qualifier(Qualifier),
    /// `rc1`, also written `rc-1`.
    Numbered(Qualifier, String),
    List(Vec<Item>),
}

/// Known ones in their order, then the others by their letters.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Qualifier {
    Alpha,
    Beta,
    Milestone,
    Candidate,
    Snapshot,
    /// `ga`, `final`, `release`: the same as no qualifier.
    Release,
    ServicePack,
    Other(String),
}

pub(super) fn compare(a: &str, b: &str) -> Ordering {
    match (a.len() <= LENGTH_MAX, b.len() <= LENGTH_MAX) {
        (true, true) => list_with_list(&parse(a), &parse(b)),
        (false, false) => a.cmp(b),
        (left, right) => left.cmp(&right),
    }
}

impl Qualifier {
    fn new(text: &str, followed_by_digit: bool) -> Qualifier {
        match text {
            "a" if followed_by_digit => Qualifier::Alpha,
            "b" if followed_by_digit => Qualifier::Beta,
            "m" if followed_by_digit => Qualifier::Milestone,
            "alpha" => Qualifier::Alpha,
            "beta" => Qualifier::Beta,
            "milestone" => Qualifier::Milestone,
            "rc" | "cr" => Qualifier::Candidate,
            "snapshot" => Qualifier::Snapshot,
            "" | "ga" | "final" | "release" => Qualifier::Release,
            "sp" => Qualifier::ServicePack,
            other => Qualifier::Other(other.to_owned()),
        }
    }
}

/// What the text between two separators is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Word,
    Digits,
    /// A word with its number.
    Both,
}

fn item(shape: Shape, text: &str) -> Item {
    match shape {
        Shape::Word => Item::Qualifier(Qualifier::new(text, false)),
        Shape::Digits => Item::Number(text.to_owned()),
        Shape::Both => {
            let text = text.replace('-', "");
            let digit = text.bytes().position(|b| b.is_ascii_digit()).unwrap_or(text.len());
            let (word, number) = text.split_at(digit);
            Item::Numbered(Qualifier::new(word, true), number.to_owned())
        }
    }
}

/// The lists from the outermost to the one that is written to.
struct Nest {
    open: Vec<Vec<Item>>,
}

impl Nest {
    fn push(&mut self, item: Item) {
        self.open.last_mut().expect("the outermost list is never closed while reading").push(item);
    }

    fn is_empty(&self) -> bool {
        self.open.last().is_some_and(Vec::is_empty)
    }

    fn nest(&mut self) {
        self.open.push(Vec::new());
    }

    fn close(mut self) -> Vec<Item> {
        let mut inner: Option<Vec<Item>> = None;
        while let Some(mut list) = self.open.pop() {
            list.extend(inner.take().map(Item::List));
            inner = Some(normalized(list));
        }
        inner.unwrap_or_default()
    }
}

fn parse(text: &str) -> Vec<Item> {
    let text = text.to_lowercase();
    let bytes = text.as_bytes();
    let mut nest = Nest { open: vec![Vec::new()] };
    let (mut is_digit, mut is_numbered, mut start) = (false, false, 0);
    let shape = |is_digit: bool, is_numbered: bool| match (is_numbered, is_digit) {
        (true, _) => Shape::Both,
        (false, true) => Shape::Digits,
        (false, false) => Shape::Word,
    };
    let zero = || Item::Number("0".to_owned());
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'.' => {
                let found =
                    if at == start { zero() } else { item(shape(is_digit, is_numbered), &text[start..at]) };
                nest.push(found);
                is_numbered = false;
                start = at + 1;
            }
            b'-' => {
                if at == start {
                    nest.push(zero());
                } else {
                    // `rc-1` is `rc1`.
                    if !is_digit && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
                        is_numbered = true;
                        continue;
                    }
                    nest.push(item(shape(is_digit, is_numbered), &text[start..at]));
                }
                start = at + 1;
                nest.nest();
                is_numbered = false;
            }
            b'0'..=b'9' => {
                if !is_digit && at > start {
                    is_numbered = true;
                    if !nest.is_empty() {
                        nest.nest();
                    }
                }
                is_digit = true;
            }
            _ => {
                if is_digit && at > start {
                    nest.push(item(shape(true, is_numbered), &text[start..at]));
                    start = at;
                    nest.nest();
                    is_numbered = false;
                }
                is_digit = false;
            }
        }
    }
    if text.len() > start {
        // `.X` at the end is `-X`.
        if !is_digit && !nest.is_empty() {
            nest.nest();
        }
        nest.push(item(shape(is_digit, is_numbered), &text[start..]));
    }
    nest.close()
}

/// Without the zeros and empty lists that say nothing: at the end, and before a qualifier.
fn normalized(mut list: Vec<Item>) -> Vec<Item> {
    for at in (0..list.len()).rev() {
        if !is_null(&list[at]) {
            continue;
        }
        let says_nothing = match list.get(at + 1) {
            None | Some(Item::Qualifier(_)) => true,
            Some(Item::List(inner)) => {
                matches!(inner.first(), Some(Item::Qualifier(_) | Item::Numbered(..)))
            }
            Some(Item::Number(_) | Item::Numbered(..)) => false,
        };
        if says_nothing {
            list.remove(at);
        }
    }
    match list.pop() {
        Some(Item::List(inner)) if list.is_empty() => inner,
        last => {
            list.extend(last);
            list
        }
    }
}

fn is_null(item: &Item) -> bool {
    match item {
        Item::Number(number) => Number(number).is_zero(),
        Item::List(list) => list.is_empty(),
        // A qualifier read from a text is never empty.
        Item::Qualifier(_) | Item::Numbered(..) => false,
    }
}

/// What follows nothing on the other side.
fn with_nothing(item: &Item) -> Ordering {
    match item {
        Item::Number(number) if Number(number).is_zero() => Ordering::Equal,
        Item::Number(_) => Ordering::Greater,
        Item::Qualifier(qualifier) => qualifier.cmp(&Qualifier::Release),
        Item::Numbered(qualifier, number) => {
            qualifier.cmp(&Qualifier::Release).then_with(|| digits::compare(number, ""))
        }
        Item::List(list) => {
            list.iter().map(with_nothing).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        }
    }
}

fn compare_items(a: &Item, b: &Item) -> Ordering {
    use Item::{List, Number, Numbered, Qualifier};
    match (a, b) {
        (Number(a), Number(b)) => digits::compare(a, b),
        (Number(_), _) => Ordering::Greater,
        (_, Number(_)) => Ordering::Less,
        (Qualifier(a), Qualifier(b)) => a.cmp(b),
        (Numbered(a, number_a), Numbered(b, number_b)) => {
            a.cmp(b).then_with(|| digits::compare(number_a, number_b))
        }
        (Numbered(word, number), Qualifier(other)) => word.cmp(other).then_with(|| numbered(word, number)),
        (Qualifier(other), Numbered(word, number)) => {
            other.cmp(word).then_with(|| numbered(word, number).reverse())
        }
        (List(a), List(b)) => list_with_list(a, b),
        (List(list), single) => list_with_single(list, single),
        (single, List(list)) => list_with_single(list, single).reverse(),
    }
}

/// `X1` against `X`: newer, but `ga0` is `ga`.
fn numbered(word: &Qualifier, number: &str) -> Ordering {
    if *word == Qualifier::Release { digits::compare(number, "") } else { Ordering::Greater }
}

fn list_with_single(list: &[Item], single: &Item) -> Ordering {
    let Some((first, rest)) = list.split_first() else { return with_nothing(single).reverse() };
    compare_items(first, single)
        .then_with(|| rest.iter().map(with_nothing).find(|order| order.is_ne()).unwrap_or(Ordering::Equal))
}

fn list_with_list(a: &[Item], b: &[Item]) -> Ordering {
    for at in 0..a.len().max(b.len()) {
        let order = match (a.get(at), b.get(at)) {
            (Some(a), Some(b)) => compare_items(a, b),
            (Some(a), None) => with_nothing(a),
            (None, Some(b)) => with_nothing(b).reverse(),
            (None, None) => Ordering::Equal,
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}
