//! rpm: `[epoch:]version[-release]`, compared by `rpmvercmp` with `~` and `^` (rpm-version(7)).

use std::cmp::Ordering;

use super::digits;

pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (split(a), split(b));
    digits::compare(a.0, b.0).then_with(|| label(a.1, b.1)).then_with(|| label(a.2, b.2))
}

pub(super) fn is_version(text: &str) -> bool {
    let (_, version, release) = split(text);
    let is_label = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+~^%{}".contains(&b));
    version.bytes().any(|b| b.is_ascii_alphanumeric()) && is_label(version) && is_label(release)
}

/// Epoch, version, release. An epoch that is not there is 0.
fn split(text: &str) -> (&str, &str, &str) {
    let text = text.trim();
    let (epoch, rest) = match text.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => (epoch, rest),
        // `(none):1.2` is how rpm prints a package without one.
        Some(("(none)", rest)) => ("", rest),
        _ => ("", text),
    };
    let (version, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, version, release)
}

/// Runs of letters and of digits in turn; everything else only separates, but for `~` and `^`.
fn label(a: &str, b: &str) -> Ordering {
    let is_separator = |c: char| !c.is_ascii_alphanumeric() && c != '~' && c != '^';
    let (mut a, mut b) = (a, b);
    while !a.is_empty() || !b.is_empty() {
        a = a.trim_start_matches(is_separator);
        b = b.trim_start_matches(is_separator);
        // A tilde comes before everything, also before the end.
        match (a.strip_prefix('~'), b.strip_prefix('~')) {
            (Some(rest_a), Some(rest_b)) => {
                (a, b) = (rest_a, rest_b);
                continue;
            }
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => {}
        }
        // A caret comes behind the end, and before everything else.
        match (a.strip_prefix('^'), b.strip_prefix('^')) {
            (Some(rest_a), Some(rest_b)) => {
                (a, b) = (rest_a, rest_b);
                continue;
            }
            (Some(_), None) => return if b.is_empty() { Ordering::Greater } else { Ordering::Less },
            (None, Some(_)) => return if a.is_empty() { Ordering::Less } else { Ordering::Greater },
            (None, None) => {}
        }
        if a.is_empty() || b.is_empty() {
            break;
        }
        let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        let order = match (is_number(a), is_number(b)) {
            (true, true) => {
                let ((number_a, rest_a), (number_b, rest_b)) = (digits::split(a), digits::split(b));
                (a, b) = (rest_a, rest_b);
                digits::compare(number_a, number_b)
            }
            (false, false) => {
                let ((word_a, rest_a), (word_b, rest_b)) = (split_word(a), split_word(b));
                (a, b) = (rest_a, rest_b);
                word_a.cmp(word_b)
            }
            // A number is newer than a word.
            (left, right) => left.cmp(&right),
        };
        if order.is_ne() {
            return order;
        }
    }
    // What has something left is newer.
    (!a.is_empty()).cmp(&!b.is_empty())
}

fn split_word(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|b| !b.is_ascii_alphabetic()).unwrap_or(text.len());
    text.split_at(end)
}
