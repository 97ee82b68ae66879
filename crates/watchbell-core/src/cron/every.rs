//! The interval of `@every`: a duration as Go's `time.ParseDuration` reads it.

/// Why a duration cannot be read, in Go's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("invalid duration; write numbers with units, such as 1h30m or 90s")]
    Invalid,
    #[error("missing unit in duration; the units are h, m, s, ms, us and ns")]
    MissingUnit,
    #[error("unknown unit in duration; the units are h, m, s, ms, us and ns")]
    UnknownUnit,
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Reads the interval in whole seconds: fractions of a second are cut off, and anything below a second, negative
/// durations too, is one second.
pub(super) fn parse_interval(text: &str) -> Result<u64, DurationError> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    // Go's one number without a unit.
    let nanos = if unsigned == "0" { 0 } else { parse_unsigned(unsigned)? };
    // The most negative duration has no positive counterpart: the only value beyond i64::MAX that Go takes.
    if nanos > i64::MAX as u64 && !(negative && nanos == 1 << 63) {
        return Err(DurationError::Invalid);
    }
    Ok(if negative { 1 } else { (nanos / NANOS_PER_SECOND).max(1) })
}

/// The sum of all `number unit` pairs, in nanoseconds.
fn parse_unsigned(text: &str) -> Result<u64, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Invalid);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = take_while(rest, |c| c.is_ascii_digit());
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => take_while(after, |c| c.is_ascii_digit()),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(DurationError::Invalid);
        }
        let (unit, after) = take_while(after, |c| c != '.' && !c.is_ascii_digit());
        let nanos_per_unit: u64 = match unit {
            "" => return Err(DurationError::MissingUnit),
            "ns" => 1,
            // The micro sign and the Greek letter.
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => NANOS_PER_SECOND,
            "m" => 60 * NANOS_PER_SECOND,
            "h" => 3600 * NANOS_PER_SECOND,
            _ => return Err(DurationError::UnknownUnit),
        };
        let whole: u64 =
            if whole.is_empty() { 0 } else { whole.parse().map_err(|_| DurationError::Invalid)? };
        total = whole
            .checked_mul(nanos_per_unit)
            .and_then(|nanos| nanos.checked_add(fraction_of(fraction, nanos_per_unit)))
            .and_then(|nanos| total.checked_add(nanos))
            .filter(|&nanos| nanos <= 1 << 63)
            .ok_or(DurationError::Invalid)?;
        rest = after;
    }
    Ok(total)
}

/// `0.digits` of a unit. Digits beyond a nanosecond of an hour change nothing and are left out.
fn fraction_of(digits: &str, nanos_per_unit: u64) -> u64 {
    let mut value: u128 = 0;
    let mut scale: u128 = 1;
    for digit in digits.bytes().take(18) {
        value = value * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    (value * u128::from(nanos_per_unit) / scale) as u64
}

fn take_while(text: &str, accept: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !accept(c)).unwrap_or(text.len()))
}
