//! Durations as people write them on the command line: `90s`, `5m`, `1h30m`, `2d`.

use std::time::Duration;

/// Reads a duration; a bare number is seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write it as 90s, 5m, 1h30m or 2d");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = rest[digits..].chars().next().ok_or_else(wrong)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        total = number.checked_mul(seconds).and_then(|n| total.checked_add(n)).ok_or_else(wrong)?;
        rest = &rest[digits + 1..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_secs(total)) }
}

/// An age as kubectl prints it: two units at most.
pub(crate) fn short(seconds: u64) -> String {
    let (d, h, m, s) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) if s == 0 => format!("{m}m"),
        (0, 0, _) => format!("{m}m{s}s"),
        (0, _, 0) => format!("{h}h"),
        (0, ..) => format!("{h}h{m}m"),
        (_, 0, _) => format!("{d}d"),
        _ => format!("{d}d{h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::{parse, short};

    #[test]
    fn durations_are_read_or_refused() {
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(parse(text).ok().map(|d| d.as_secs()), expect, "{text}");
        };
        check("90", Some(90));
        check("90s", Some(90));
        check("1h30m", Some(5400));
        check("2d", Some(172_800));
        for wrong in ["", "m", "5x", "-5s", "1.5h", "99999999999999999999s", "18446744073709551615d", "5é"] {
            check(wrong, None);
        }
    }

    #[test]
    fn ages_have_two_units_at_most() {
        let check = |seconds, expect: &str| assert_eq!(short(seconds), expect);
        check(5, "5s");
        check(60, "1m");
        check(95, "1m35s");
        check(7265, "2h1m");
        check(90_000, "1d1h");
    }
}
