//! Numbers as text, as Go writes them.

/// The shortest text that means the number, without an exponent. Go: `FormatFloat(value, 'f', -1, 64)`.
pub(crate) fn plain(value: f64) -> String {
    match special(value) {
        Some(text) => text.into(),
        None => format!("{value}"),
    }
}

/// The shortest text, with an exponent where it is below -4 or above 20. Go: `FormatFloat(value, 'g', -1, 64)`, whose bound
/// for the shortest form is 21.
pub(crate) fn general(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.into();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    match !(-4..21).contains(&exponent) {
        true => with_exponent(digits, exponent),
        false => plain(value),
    }
}

/// Go: `FormatFloat(value, 'e', precision, 64)`.
pub(crate) fn scientific(value: f64, precision: usize) -> String {
    if let Some(text) = special(value) {
        return text.into();
    }
    let text = format!("{value:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    with_exponent(digits, exponent.parse().unwrap_or(0))
}

fn with_exponent(digits: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// What is not a number that can be written out.
pub(crate) fn special(value: f64) -> Option<&'static str> {
    match value {
        value if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}
