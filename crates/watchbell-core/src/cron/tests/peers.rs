//! Against `croner`, an independent implementation: the same slots wherever the dialects agree, and each difference that
//! is known by name.

use std::cmp::Ordering;

use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::time::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::super::Schedule;
use super::{instant, schedule, shown, slots, zone};

/// An instant in a zone, for croner.
#[derive(Debug, Clone)]
struct Zoned {
    tz: TimeZone,
    at: Timestamp,
}

impl Zoned {
    fn wall(&self) -> DateTime {
        self.tz.to_offset(self.at).to_datetime(self.at)
    }
}

impl CronDateTime for Zoned {
    fn to_civil(&self) -> CivilDateTime {
        let t = self.wall();
        CivilDateTime::new(
            CivilDate::from_parts_unchecked(t.year().into(), t.month() as u32, t.day() as u32),
            CivilTime::from_parts_unchecked(t.hour() as u32, t.minute() as u32, t.second() as u32),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(self.wall().weekday().to_sunday_zero_offset() as u32)
    }

    fn resolve_civil(&self, t: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let year = i16::try_from(t.year()).map_err(|_| CronError::InvalidDate)?;
        let (hour, minute, second) = (t.hour() as i8, t.minute() as i8, t.second() as i8);
        let wall = DateTime::new(year, t.month() as i8, t.day() as i8, hour, minute, second, 0)
            .map_err(|_| CronError::InvalidDate)?;
        let ambiguous = self.tz.to_ambiguous_timestamp(wall);
        let at = |found: Result<Timestamp, jiff::Error>| {
            found.map(|at| Zoned { tz: self.tz.clone(), at }).map_err(|_| CronError::InvalidTime)
        };
        Ok(match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => Resolution::Single(at(ambiguous.compatible())?),
            AmbiguousOffset::Fold { .. } => {
                Resolution::Ambiguous(at(ambiguous.earlier())?, at(ambiguous.later())?)
            }
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        let at = self.at.checked_add(SignedDuration::from_secs(seconds)).ok()?;
        Some(Zoned { tz: self.tz.clone(), at })
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

fn croner(spec: &str) -> Result<Cron, CronError> {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(spec)
}

/// Croner's slots in `(from, until]`.
fn theirs(spec: &str, tz: &TimeZone, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let cron = croner(spec).unwrap_or_else(|e| panic!("croner refuses {spec:?}: {e}"));
    let start = Zoned { tz: tz.clone(), at: from };
    std::iter::successors(cron.find_next_occurrence(&start, false).ok(), |at| {
        cron.find_next_occurrence(at, false).ok()
    })
    .map(|found| found.at)
    .take_while(|&at| at <= until)
    .collect()
}

/// A field in the part of the dialect that both read alike.
fn common(min: u32, max: u32) -> impl Strategy<Value = String> {
    let range = (min..=max).prop_flat_map(move |a| (Just(a), a..=max));
    let part = prop_oneof![
        2 => (min..=max).prop_map(|value| value.to_string()),
        1 => range.clone().prop_map(|(a, b)| format!("{a}-{b}")),
        1 => (range, 1..=max).prop_map(|((a, b), step)| format!("{a}-{b}/{step}")),
    ];
    prop_oneof![
        2 => Just("*".to_owned()),
        1 => (2..=max).prop_map(|step| format!("*/{step}")),
        4 => prop::collection::vec(part, 1..3).prop_map(|parts| parts.join(",")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_same_slots_where_the_clock_does_not_change(
        (minute, hour, day, month, weekday) in
            (common(0, 59), common(0, 23), common(1, 31), common(1, 12), common(0, 6)),
        second in 0i64..4_102_444_800,
    ) {
        let spec = format!("{minute} {hour} {day} {month} {weekday}");
        let ours = schedule(&spec);
        let (tz, from) = (TimeZone::UTC, Timestamp::from_second(second).expect("in range"));
        let mut at = from;
        let mut there = Zoned { tz: tz.clone(), at: from };
        let cron = croner(&spec).expect("a common expression");
        for _ in 0..5 {
            match ours.next_after(&tz, at) {
                None => {
                    prop_assert!(cron.find_next_occurrence(&there, false).is_err(), "{spec}");
                    break;
                }
                Some(next) => {
                    there = cron.find_next_occurrence(&there, false).map_err(|e| TestCaseError::fail(format!("{spec}: {e}")))?;
                    prop_assert_eq!(there.at, next, "{}", spec);
                    at = next;
                }
            }
        }
    }
}

/// Who of the two reads an expression.
#[derive(Debug, PartialEq, Eq)]
enum Reader {
    Kubernetes,
    Croner,
}

#[test]
fn differences_of_the_dialect_by_name() {
    use Reader::{Croner, Kubernetes};
    for (name, spec, reader) in [
        ("7 is Sunday", "0 0 * * 7", Croner),
        ("last day of the month", "0 0 L * *", Croner),
        ("nearest weekday", "0 0 15W * *", Croner),
        ("nth weekday of the month", "0 0 * * 1#2", Croner),
        ("last weekday of the month", "0 0 * * 5L", Croner),
        ("a plus sign joins the day fields", "0 0 13 * +fri", Croner),
        ("white space around a descriptor", " @daily ", Croner),
        ("descriptors in capitals", "@DAILY", Croner),
        ("a start with a step runs to the end", "0/15 0 * * *", Kubernetes),
        ("intervals", "@every 90s", Kubernetes),
        ("a question mark in every field", "? 0 * * *", Kubernetes),
        ("a plus sign before a number", "+5 0 * * *", Kubernetes),
        ("a star with a range", "*-3 0 * * *", Kubernetes),
    ] {
        let reads = (Schedule::parse(spec).is_ok(), croner(spec).is_ok());
        assert_eq!(reads, (reader == Kubernetes, reader == Croner), "{name}: {spec:?}");
    }
}

/// Croner moves what falls into a gap behind it and runs fixed times once in an overlap; Kubernetes skips and repeats.
#[test]
fn differences_at_clock_changes_by_name() {
    let check = |name: &str, spec: &str, from: &str, until: &str, ours: &[&str], croners: &[&str]| {
        let tz = zone("America/New_York");
        let (from, until) = (instant(from), instant(until));
        let show = |found: Vec<Timestamp>| found.into_iter().map(|at| shown(&tz, at)).collect::<Vec<_>>();
        assert_eq!(show(slots(&schedule(spec), &tz, from, until)), ours, "{name}");
        assert_eq!(show(theirs(spec, &tz, from, until)), croners, "{name}, croner");
    };
    let spring = ("2026-03-08T05:00:00Z", "2026-03-08T12:00:00Z");
    let autumn = ("2026-11-01T04:00:00Z", "2026-11-01T12:00:00Z");
    check("a fixed time in a gap", "30 2 * * *", spring.0, spring.1, &[], &["2026-03-08T03:00:00-04"]);
    check(
        "a fixed time in an overlap",
        "30 1 * * *",
        autumn.0,
        autumn.1,
        &["2026-11-01T01:30:00-04", "2026-11-01T01:30:00-05"],
        &["2026-11-01T01:30:00-04"],
    );
    let both = ["2026-11-01T01:00:00-04", "2026-11-01T01:00:00-05", "2026-11-01T02:00:00-05"];
    check(
        "each hour in an overlap: no difference",
        "0 * 1 11 *",
        autumn.0,
        "2026-11-01T07:00:00Z",
        &both,
        &both,
    );
}
