//! Moments and spans of time. Zones come from the bundled IANA data alone.

use std::sync::LazyLock;

use jiff::civil::{DateTime, Weekday};
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use super::{Cost, Row, global, member};
use crate::error::EvalError;
use crate::eval::{Evaluator, Outcome};
use crate::value::Value;

const OF_TIMESTAMP: &[&str] = &["(timestamp) -> int", "(timestamp, string) -> int"];
const OF_BOTH: &[&str] = &["(timestamp) -> int", "(timestamp, string) -> int", "(duration) -> int"];

pub(super) const TABLE: &[Row] = &[
    global(
        "timestamp",
        &["(string) -> timestamp", "(int) -> timestamp", "(timestamp) -> timestamp"],
        timestamp,
        Cost::One,
    ),
    global(
        "duration",
        &["(string) -> duration", "(int) -> duration", "(duration) -> duration"],
        duration,
        Cost::One,
    ),
    member("getFullYear", OF_TIMESTAMP, full_year, Cost::One),
    member("getMonth", OF_TIMESTAMP, month, Cost::One),
    member("getDate", OF_TIMESTAMP, date, Cost::One),
    member("getDayOfMonth", OF_TIMESTAMP, day_of_month, Cost::One),
    member("getDayOfWeek", OF_TIMESTAMP, day_of_week, Cost::One),
    member("getDayOfYear", OF_TIMESTAMP, day_of_year, Cost::One),
    member("getHours", OF_BOTH, hours, Cost::One),
    member("getMinutes", OF_BOTH, minutes, Cost::One),
    member("getSeconds", OF_BOTH, seconds, Cost::One),
    member("getMilliseconds", OF_BOTH, milliseconds, Cost::One),
];

static BUNDLED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The longest name of a zone that is looked up.
const ZONE_NAME_MAX: usize = 64;

/// RFC 3339, in the years that CEL knows: 1 to 9999.
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    // Jiff reads more forms than the RFC has.
    let bytes = text.as_bytes();
    let has_form = bytes.len() >= 20
        && bytes[10] == b'T'
        && bytes.iter().enumerate().all(|(at, b)| match at {
            4 | 7 => *b == b'-',
            10 => *b == b'T',
            13 | 16 => *b == b':',
            0..19 => b.is_ascii_digit(),
            _ => b.is_ascii_digit() || matches!(b, b'.' | b':' | b'+' | b'-' | b'Z'),
        });
    let at: Timestamp = if has_form { text.parse().ok()? } else { return None };
    in_range(at)
}

fn in_range(at: Timestamp) -> Option<Timestamp> {
    // The seconds of a moment before 1970 are cut towards it: the first moment is known by its nanoseconds.
    const FIRST: i128 = -62_135_596_800 * 1_000_000_000;
    (at.as_nanosecond() >= FIRST).then_some(at)
}

pub(super) fn shift(at: Timestamp, nanos: i64) -> Option<Timestamp> {
    at.checked_add(SignedDuration::from_nanos(nanos)).ok().and_then(in_range)
}

/// Go's form: `1h30m`, `-1.5s`, `100ms`. Gives nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (is_negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut nanos: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (digits, tail) = rest.split_at(number);
        let length = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, after) = tail.split_at(length);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 20 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(whole.checked_mul(unit)?)?;
        let kept = &fraction[..fraction.len().min(18)];
        if !kept.is_empty() {
            let value: i128 = kept.parse().ok()?;
            nanos = nanos.checked_add(value * unit / 10i128.pow(kept.len() as u32))?;
        }
        rest = after;
    }
    i64::try_from(if is_negative { -nanos } else { nanos }).ok()
}

pub(super) fn show_timestamp(at: Timestamp) -> String {
    at.to_string()
}

/// Seconds, with a fraction where there is one: `5400s`, `1.5s`.
pub(super) fn show_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (seconds, rest) = (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
    match rest {
        0 => format!("{sign}{seconds}s"),
        _ => format!("{sign}{seconds}.{}s", format!("{rest:09}").trim_end_matches('0')),
    }
}

fn timestamp<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let at = match &args[0] {
        Value::Timestamp(at) => Some(*at),
        Value::Int(second) => Timestamp::from_second(*second).ok().and_then(in_range),
        Value::String(text) => match parse_timestamp(text) {
            Some(at) => Some(at),
            None => {
                let shown: String = text.chars().take(64).collect();
                return Err(EvalError::failed(format!("cannot parse {shown:?} as a timestamp of RFC 3339")));
            }
        },
        _ => return Err(EvalError::no_overload()),
    };
    at.map(Value::Timestamp).ok_or_else(|| EvalError::failed("timestamp overflow"))
}

fn duration<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::Duration(nanos) | Value::Int(nanos) => Ok(Value::Duration(*nanos)),
        Value::String(text) => parse_duration(text).map(Value::Duration).ok_or_else(|| {
            let shown: String = text.chars().take(64).collect();
            EvalError::failed(format!("time: invalid duration {shown:?}"))
        }),
        _ => Err(EvalError::no_overload()),
    }
}

/// A zone by its name or as `+02:00`.
fn zone(name: &str) -> Result<TimeZone, EvalError> {
    let unknown = || {
        let shown: String = name.chars().take(ZONE_NAME_MAX).collect();
        EvalError::failed(format!("unknown time zone {shown}"))
    };
    if name.is_empty() || name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    if let Some((hours, minutes)) = name.split_once(':') {
        let (sign, hours) = match hours.strip_prefix('-') {
            Some(hours) => (-1, hours),
            None => (1, hours.strip_prefix('+').unwrap_or(hours)),
        };
        let (hours, minutes) = (hours.parse::<u8>().ok(), minutes.parse::<u8>().ok());
        let (Some(hours @ 0..=23), Some(minutes @ 0..=59)) = (hours, minutes) else { return Err(unknown()) };
        let seconds = sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60);
        return Offset::from_seconds(seconds).map(TimeZone::fixed).map_err(|_| unknown());
    }
    match name.len() <= ZONE_NAME_MAX {
        true => BUNDLED.get(name).map_err(|_| unknown()),
        false => Err(unknown()),
    }
}

enum Moment {
    Civil(DateTime),
    Span(i64),
}

fn moment(args: &[Value<'_>]) -> Result<Moment, EvalError> {
    match args {
        [Value::Timestamp(at)] => Ok(Moment::Civil(TimeZone::UTC.to_datetime(*at))),
        [Value::Timestamp(at), Value::String(name)] => Ok(Moment::Civil(zone(name)?.to_datetime(*at))),
        [Value::Duration(nanos)] => Ok(Moment::Span(*nanos)),
        _ => Err(EvalError::no_overload()),
    }
}

fn part<'a>(
    args: &[Value<'a>],
    of_date: impl Fn(DateTime) -> i64,
    of_span: impl Fn(i64) -> Option<i64>,
) -> Outcome<'a> {
    match moment(args)? {
        Moment::Civil(date) => Ok(Value::Int(of_date(date))),
        Moment::Span(nanos) => of_span(nanos).map(Value::Int).ok_or_else(EvalError::no_overload),
    }
}

fn none(_: i64) -> Option<i64> {
    None
}

fn full_year<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |date| i64::from(date.year()), none)
}

fn month<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |date| i64::from(date.month()) - 1, none)
}

fn date<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |date| i64::from(date.day()), none)
}

fn day_of_month<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |date| i64::from(date.day()) - 1, none)
}

fn day_of_week<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |date| i64::from(Weekday::to_sunday_zero_offset(date.weekday())), none)
}

fn day_of_year<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |date| i64::from(date.day_of_year()) - 1, none)
}

fn hours<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |date| i64::from(date.hour()), |nanos| Some(nanos / 3_600_000_000_000))
}

fn minutes<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |date| i64::from(date.minute()), |nanos| Some(nanos / 60_000_000_000))
}

fn seconds<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |date| i64::from(date.second()), |nanos| Some(nanos / 1_000_000_000))
}

fn milliseconds<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |date| i64::from(date.subsec_nanosecond() / 1_000_000), |nanos| Some(nanos / 1_000_000))
}
