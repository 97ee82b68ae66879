//! What a plain YAML scalar means.
//!
//! kubectl reads YAML 1.1 by the rules of go-yaml v2: `yes` and `on` are booleans, `0644` is octal, `1_000` a number, and
//! what looks like a date stays a string. A manifest must mean here what it means there.

use serde_json::{Number, Value};

/// The value of an unquoted scalar.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    let starts_a_number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    if !starts_a_number {
        return Value::String(text.to_owned());
    }
    let plain = text.replace('_', "");
    integer(&plain).or_else(|| float(&plain)).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// `12`, `-3`, `0x1f`, `0o17`, `017`, `0b11`; `None` also when 64 bits do not hold it.
pub(super) fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (radix, digits) = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok().map(Value::from)
}

/// `1.5`, `.5`, `1e3`; a whole one is an integer in JSON, as Go prints it.
pub(super) fn float(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let only_of_a_number =
        unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !only_of_a_number
        || !unsigned.bytes().any(|b| b.is_ascii_digit())
        || unsigned.starts_with(['+', '-', 'e', 'E'])
    {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT_MAX {
        return Some(Value::from(value as i64));
    }
    Number::from_f64(value).map(Value::Number)
}

/// Whether an unquoted scalar of this text would read back as this very string, by the rules above and by YAML 1.2's.
pub(super) fn is_plain_string(text: &str) -> bool {
    let looks_like_a_number_or_date = text.starts_with(|c: char| c.is_ascii_digit())
        || (text.starts_with(['+', '-', '.']) && text.len() > 1);
    !looks_like_a_number_or_date && matches!(resolve(text), Value::String(_)) && !matches!(text, "<<" | "=")
}
