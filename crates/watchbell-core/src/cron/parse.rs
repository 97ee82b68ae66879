//! Reads a schedule as Kubernetes' API server does (robfig/cron v3, `ParseStandard`), its leniencies included: `?` is
//! `*`, `5/15` runs to the end of the field, empty parts of a list count for nothing, `*-3` is `*`.

use std::fmt;

use super::every::{DurationError, parse_interval};
use super::fields::{DayRule, Fields};
use super::schedule::Schedule;

/// Why a schedule cannot be read. The text names the field and the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("empty spec string")]
    Empty,
    /// Kubernetes refuses the letters anywhere in a schedule.
    #[error("cannot use TZ or CRON_TZ in schedule, use the field spec.timeZone instead")]
    TimeZone,
    #[error(
        "expected exactly 5 fields (minute, hour, day of month, month, day of week), found {found}: {}",
        excerpt(.spec)
    )]
    FieldCount { found: usize, spec: Box<str> },
    #[error("{field}: {cause}: {}", excerpt(.expr))]
    Field { field: Field, expr: Box<str>, cause: FieldError },
    #[error("failed to parse duration {}: {cause}", excerpt(.descriptor))]
    Duration { descriptor: Box<str>, cause: DurationError },
    #[error(
        "unrecognized descriptor: {}; there are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly \
         and @every DURATION",
        excerpt(.0)
    )]
    Descriptor(Box<str>),
}

/// The fields in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Minute,
    Hour,
    DayOfMonth,
    Month,
    DayOfWeek,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Minute => "minute",
            Field::Hour => "hour",
            Field::DayOfMonth => "day of month",
            Field::Month => "month",
            Field::DayOfWeek => "day of week",
        })
    }
}

/// What is wrong with one part of one field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("too many hyphens")]
    TooManyHyphens,
    #[error("too many slashes")]
    TooManySlashes,
    #[error("failed to parse int from {}", excerpt(.0))]
    NotANumber(Box<str>),
    #[error("beginning of range ({value}) below minimum ({min})")]
    BelowMinimum { value: u64, min: u64 },
    #[error("end of range ({value}) above maximum ({max}){}", if *.max == 6 && *.value == 7 { "; Sunday is 0" } else { "" })]
    AboveMaximum { value: u64, max: u64 },
    #[error("beginning of range ({start}) beyond end of range ({end})")]
    Reversed { start: u64, end: u64 },
    #[error("step of range should be a positive number")]
    ZeroStep,
}

/// A quoted beginning: what a user wrote may be a megabyte long.
fn excerpt(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Field {
    fn bounds(self) -> (u64, u64) {
        match self {
            Field::Minute => (0, 59),
            Field::Hour => (0, 23),
            Field::DayOfMonth => (1, 31),
            Field::Month => (1, 12),
            Field::DayOfWeek => (0, 6),
        }
    }

    fn named(self, name: &str) -> Option<u64> {
        let (names, first): (&[&str], u64) = match self {
            Field::Month => (&MONTHS, 1),
            Field::DayOfWeek => (&WEEKDAYS, 0),
            _ => return None,
        };
        names.iter().position(|n| n.eq_ignore_ascii_case(name)).map(|at| at as u64 + first)
    }
}

/// The values of a field, and whether a part of it is a star without a step, which stands for "not restricted".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Values {
    bits: u64,
    star: Star,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Star {
    Present,
    Absent,
}

pub(super) fn parse(spec: &str) -> Result<Schedule, ParseError> {
    if spec.is_empty() {
        return Err(ParseError::Empty);
    }
    if spec.contains("TZ") {
        return Err(ParseError::TimeZone);
    }
    if spec.starts_with('@') {
        return parse_descriptor(spec);
    }
    let mut words = spec.split_whitespace();
    let [Some(minute), Some(hour), Some(day_of_month), Some(month), Some(day_of_week), None] =
        std::array::from_fn(|_| words.next())
    else {
        return Err(ParseError::FieldCount { found: spec.split_whitespace().count(), spec: spec.into() });
    };
    let minute = parse_field(minute, Field::Minute)?;
    let hour = parse_field(hour, Field::Hour)?;
    let day_of_month = parse_field(day_of_month, Field::DayOfMonth)?;
    let month = parse_field(month, Field::Month)?;
    let day_of_week = parse_field(day_of_week, Field::DayOfWeek)?;
    let day_rule = match (day_of_month.star, day_of_week.star) {
        (Star::Absent, Star::Absent) => DayRule::Either,
        _ => DayRule::Both,
    };
    Ok(Schedule::from_fields(Fields {
        minutes: minute.bits,
        hours: hour.bits as u32,
        days_of_month: day_of_month.bits as u32,
        months: month.bits as u16,
        days_of_week: day_of_week.bits as u8,
        day_rule,
    }))
}

fn parse_descriptor(spec: &str) -> Result<Schedule, ParseError> {
    let fields = match spec {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(duration) = spec.strip_prefix("@every ") else {
                return Err(ParseError::Descriptor(spec.into()));
            };
            return parse_interval(duration)
                .map(Schedule::every)
                .map_err(|cause| ParseError::Duration { descriptor: spec.into(), cause });
        }
    };
    parse(fields)
}

/// `part {"," part}`
fn parse_field(text: &str, field: Field) -> Result<Values, ParseError> {
    let mut all = Values { bits: 0, star: Star::Absent };
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let values =
            parse_part(part, field).map_err(|cause| ParseError::Field { field, expr: part.into(), cause })?;
        all.bits |= values.bits;
        if values.star == Star::Present {
            all.star = Star::Present;
        }
    }
    Ok(all)
}

/// `("*" | "?" | value ["-" value]) ["/" step]`
fn parse_part(part: &str, field: Field) -> Result<Values, FieldError> {
    let (min, max) = field.bounds();
    let mut range_and_step = part.split('/');
    let range = range_and_step.next().unwrap_or_default();
    let step = range_and_step.next();
    let mut low_and_high = range.split('-');
    let low = low_and_high.next().unwrap_or_default();
    let high = low_and_high.next();

    let (start, mut end, mut star) = if low == "*" || low == "?" {
        // What follows a hyphen after a star is not looked at.
        (min, max, Star::Present)
    } else {
        let start = parse_value(low, field)?;
        let end = match high {
            _ if low_and_high.next().is_some() => return Err(FieldError::TooManyHyphens),
            Some(high) => parse_value(high, field)?,
            None => start,
        };
        (start, end, Star::Absent)
    };
    let step = match step {
        None => 1,
        Some(_) if range_and_step.next().is_some() => return Err(FieldError::TooManySlashes),
        Some(step) => {
            let step = parse_number(step)?;
            if high.is_none() {
                end = max;
            }
            if step > 1 {
                star = Star::Absent;
            }
            step
        }
    };
    if start < min {
        return Err(FieldError::BelowMinimum { value: start, min });
    }
    if end > max {
        return Err(FieldError::AboveMaximum { value: end, max });
    }
    if start > end {
        return Err(FieldError::Reversed { start, end });
    }
    if step == 0 {
        return Err(FieldError::ZeroStep);
    }
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    Ok(Values { bits: (start..=end).step_by(step).fold(0, |bits, value| bits | 1 << value), star })
}

fn parse_value(text: &str, field: Field) -> Result<u64, FieldError> {
    field.named(text).map_or_else(|| parse_number(text), Ok)
}

/// A decimal number that fits 63 bits. A plus sign and leading zeros are let pass, as Go's `strconv.Atoi` does.
fn parse_number(text: &str) -> Result<u64, FieldError> {
    match text.parse::<i64>() {
        Ok(number) if number >= 0 => Ok(number as u64),
        _ => Err(FieldError::NotANumber(text.into())),
    }
}
