//! Numbers as text, as Go writes them.

/// The shortest text, with an exponent where it is below -4 or above 5. Go: `FormatFloat(value, 'g', -1, 64)`.
pub(crate) fn general(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.into();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    match !(-4..6).contains(&exponent) {
        true => with_exponent(digits, exponent),
        false => format!("{value}"),
    }
}

/// With so many places behind the point, and a comma between thousands, as `%f` prints it for `en_US`.
pub(crate) fn fixed(value: f64, places: usize) -> String {
    if let Some(text) = infinite(value) {
        return text.into();
    }
    let text = format!("{value:.places$}");
    let (sign, digits) = text.strip_prefix('-').map_or(("", &*text), |digits| ("-", digits));
    let (whole, fraction) =
        digits.split_once('.').map_or((digits, ""), |(whole, _)| (whole, &digits[whole.len()..]));
    let mut grouped = String::with_capacity(text.len() + whole.len() / 3);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
}

/// Six places and a power of ten, as `%e` prints it for `en_US`. It takes a precision for a width, so there are always six.
pub(crate) fn scientific(value: f64) -> String {
    if let Some(text) = infinite(value) {
        return text.into();
    }
    let text = format!("{value:.6e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(("", exponent), |exponent| ("⁻", exponent));
    let raised = |digit: char| digit.to_digit(10).and_then(|digit| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(digit as usize));
    let exponent: String = format!("{exponent:0>2}").chars().filter_map(raised).collect();
    format!("{digits}\u{202f}×\u{202f}10{sign}{exponent}")
}

fn infinite(value: f64) -> Option<&'static str> {
    match value {
        f64::INFINITY => Some("∞"),
        f64::NEG_INFINITY => Some("-∞"),
        value if value.is_nan() => Some("NaN"),
        _ => None,
    }
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
