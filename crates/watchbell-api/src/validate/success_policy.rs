//! `successPolicy` of an Indexed Job.

use super::at::At;
use super::findings::Findings;

const RULES_MAX: usize = 20;
const INDEXES_BYTES_MAX: usize = 64 << 10;

pub(super) fn check(f: &mut Findings, policy: &At<'_, '_>, completions: i64) {
    let rules = policy.field("rules");
    if rules.len() == 0 {
        f.required(&rules, "at least one rules must be specified when the successPolicy is specified");
    }
    if f.at_most(&rules, RULES_MAX) {
        for rule in rules.items() {
            self::rule(f, &rule, completions);
        }
    }
}

fn rule(f: &mut Findings, rule: &At<'_, '_>, completions: i64) {
    let (indexes, count) = (rule.field("succeededIndexes"), rule.field("succeededCount"));
    if !indexes.is_set() && !count.is_set() {
        f.required(rule, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut total = None;
    if indexes.is_set() {
        if indexes.text().len() > INDEXES_BYTES_MAX {
            f.too_long(&indexes, INDEXES_BYTES_MAX);
        } else {
            match count_indexes(indexes.text(), completions) {
                Ok(counted) => total = Some(counted),
                Err(detail) => {
                    total = Some(0);
                    f.invalid(&indexes, format_args!("error parsing succeededIndexes: {detail}"));
                }
            }
        }
    }
    f.nonnegative(&count);
    let Some(wanted) = count.int() else { return };
    if wanted > completions {
        f.invalid(
            &count,
            format_args!("must be less than or equal to {completions} (the number of specified completions)"),
        );
    }
    if let Some(total) = total.filter(|total| wanted > *total) {
        f.invalid(
            &count,
            format_args!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            ),
        );
    }
}

/// How many indexes `0,2-5` names; they rise and lie below the number of completions.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let mut previous: Option<i64> = None;
    let mut total = 0;
    for interval in text.split(',') {
        let (first, last) = match interval.split_once('-') {
            None => (interval, None),
            Some((_, last)) if last.contains('-') => {
                return Err(format!(
                    "the fragment {interval:?} violates the requirement that an index interval can have at most two parts \
                     separated by '-'"
                ));
            }
            Some((first, last)) => (first, Some(last)),
        };
        let first = index(first, completions)?;
        if let Some(previous) = previous.filter(|previous| *previous >= first) {
            return Err(format!("non-increasing order, previous: {previous}, current: {first}"));
        }
        let last = match last {
            None => first,
            Some(last) => {
                let last = index(last, completions)?;
                if first >= last {
                    return Err(format!("non-increasing order, previous: {first}, current: {last}"));
                }
                last
            }
        };
        total += last - first + 1;
        previous = Some(last);
    }
    Ok(total)
}

fn index(text: &str, completions: i64) -> Result<i64, String> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number: Option<i64> = if is_number { text.parse().ok() } else { None };
    match number {
        None => Err(format!("cannot convert string to integer for index: {:?}", super::findings::cut(text))),
        Some(number) if number >= completions => Err(format!("too large index: {text:?}")),
        Some(number) => Ok(number),
    }
}
