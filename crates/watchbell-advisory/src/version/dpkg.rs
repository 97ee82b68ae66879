//! Debian and Ubuntu: `[epoch:]upstream[-revision]` (Debian Policy 5.6.12, deb-version(7)).

use std::cmp::Ordering;

use super::digits;

struct Version<'a> {
    epoch: &'a str,
    upstream: &'a str,
    revision: &'a str,
}

fn split(text: &str) -> Version<'_> {
    let text = text.trim();
    let (epoch, rest) = match text.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => (epoch, rest),
        _ => ("", text),
    };
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    Version { epoch, upstream, revision }
}

/// Total over all texts, the invalid ones too: each byte has a place in the order.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (split(a), split(b));
    digits::compare(a.epoch, b.epoch)
        .then_with(|| part(a.upstream, b.upstream))
        .then_with(|| part(a.revision, b.revision))
}

pub(super) fn is_version(text: &str) -> bool {
    let version = split(text);
    let is_part = |part: &str, extra: &str| {
        part.bytes().all(|b| b.is_ascii_alphanumeric() || extra.as_bytes().contains(&b))
    };
    let epoch_fits =
        version.epoch.parse::<i32>().is_ok() || (version.epoch.is_empty() && !text.contains(':'));
    epoch_fits
        && version.upstream.starts_with(|c: char| c.is_ascii_digit())
        && is_part(version.upstream, ".+-:~")
        && is_part(version.revision, ".+~")
        && !text.trim().ends_with('-')
}

/// Runs without digits and runs of digits in turn. `~` comes before the end, letters before all other characters.
fn part(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (word_a, rest_a) = split_word(a);
        let (word_b, rest_b) = split_word(b);
        let longest = word_a.len().max(word_b.len());
        for at in 0..longest {
            let order = weight(word_a.get(at)).cmp(&weight(word_b.get(at)));
            if order.is_ne() {
                return order;
            }
        }
        let (number_a, rest_a) = digits::split(rest_a);
        let (number_b, rest_b) = digits::split(rest_b);
        let order = digits::compare(number_a, number_b);
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

fn split_word(text: &str) -> (&[u8], &str) {
    let end = text.bytes().position(|b| b.is_ascii_digit()).unwrap_or(text.len());
    (&text.as_bytes()[..end], &text[end..])
}

/// The end of a run weighs as much as a digit behind it does.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(b'~') => -1,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}
