//! Kubernetes' parser searches by stepping: month, day, hour, minute, second, each until it matches, and from the start
//! when one wraps around. This model takes the same steps, Go's choice of an offset for a wall time in a gap or an
//! overlap included. Where the two agree, so do we with Kubernetes; where stepping finds other slots than the wall clock
//! has, which are its defects and not rules that anybody relies on, we follow the wall clock. Each case stands below.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::calendar::{Date, weekday};
use super::super::fields::{DayRule, Fields};
use super::{instant, schedule, shown, slots, zone};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    At(Timestamp),
    Nothing,
    /// The search would step on the spot for ever.
    Hangs,
}

struct Wall {
    date: Date,
    hour: i64,
    minute: i64,
    second: i64,
}

struct Stepper<'a> {
    fields: &'a Fields,
    tz: &'a TimeZone,
}

impl Stepper<'_> {
    fn offset(&self, at: i64) -> i64 {
        self.tz.to_offset(Timestamp::from_second(at).expect("in range")).seconds().into()
    }

    fn wall(&self, at: i64) -> Wall {
        let wall = at + self.offset(at);
        let of_day = wall.rem_euclid(86_400);
        Wall {
            date: Date::from_days(wall.div_euclid(86_400)),
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
        }
    }

    /// Go's `time.Date`: the offset that holds at the wall time taken as UTC, unless the instant that gives lies in
    /// another stretch; then the one that holds there.
    fn date(&self, date: Date, hour: i64) -> i64 {
        let wall = date.to_days() * 86_400 + hour * 3600;
        let offset = self.offset(wall);
        let at = wall - offset;
        let pivot = Timestamp::from_second(wall).expect("in range");
        let behind = Timestamp::from_second(wall + 1).expect("in range");
        let end = self.tz.following(pivot).next().map_or(i64::MAX, |c| c.timestamp().as_second());
        let start = self.tz.preceding(behind).next().map_or(i64::MIN, |c| c.timestamp().as_second());
        if at < start || at >= end { wall - self.offset(at) } else { at }
    }

    fn day_matches(&self, date: Date) -> bool {
        let by_month = self.fields.days_of_month & (1 << date.day) != 0;
        let by_week = self.fields.days_of_week & (1 << weekday(date.to_days())) != 0;
        match self.fields.day_rule {
            DayRule::Both => by_month && by_week,
            DayRule::Either => by_month || by_week,
        }
    }

    fn next(&self, after: i64) -> Outcome {
        const STEPS: u32 = 10_000;
        let mut at = after + 1;
        let last_year = self.wall(at).date.year + 5;
        let mut moved = false;
        let mut steps = 0;
        'wrapped: loop {
            if self.wall(at).date.year > last_year {
                return Outcome::Nothing;
            }
            while self.fields.months & (1 << self.wall(at).date.month) == 0 {
                let wall = self.wall(at);
                let date = if moved { wall.date } else { Date { day: 1, ..wall.date } };
                let hour = if moved { wall.hour } else { 0 };
                moved = true;
                let next = match date.month {
                    12 => Date { year: date.year + 1, month: 1, ..date },
                    month => Date { month: month + 1, ..date },
                };
                at = self.date(next, hour);
                if self.wall(at).date.month == 1 {
                    continue 'wrapped;
                }
            }
            while !self.day_matches(self.wall(at).date) {
                if !moved {
                    moved = true;
                    at = self.date(self.wall(at).date, 0);
                }
                let wall = self.wall(at);
                at = self.date(Date { day: wall.date.day + 1, ..wall.date }, wall.hour);
                let hour = self.wall(at).hour;
                at += if hour > 12 { (24 - hour) * 3600 } else { -hour * 3600 };
                steps += 1;
                if steps > STEPS {
                    return Outcome::Hangs;
                }
                if self.wall(at).date.day == 1 {
                    continue 'wrapped;
                }
            }
            while self.fields.hours & (1 << self.wall(at).hour) == 0 {
                if !moved {
                    moved = true;
                    let wall = self.wall(at);
                    at = self.date(wall.date, wall.hour);
                }
                at += 3600;
                if self.wall(at).hour == 0 {
                    continue 'wrapped;
                }
            }
            while self.fields.minutes & (1 << self.wall(at).minute) == 0 {
                if !moved {
                    moved = true;
                    at -= at.rem_euclid(60);
                }
                at += 60;
                if self.wall(at).minute == 0 {
                    continue 'wrapped;
                }
            }
            let second = self.wall(at).second;
            if second != 0 {
                // Second by second to the next minute, and from the top.
                moved = true;
                at += 60 - second;
                continue 'wrapped;
            }
            return Outcome::At(Timestamp::from_second(at).expect("in range"));
        }
    }
}

const SPECS: &[&str] = &[
    "30 0 * * *",
    "0 0 * * *",
    "45 1 * * *",
    "0 2 * * *",
    "30 2 * * *",
    "59 23 * * *",
    "0 12 * * *",
    "*/30 1-2 * * *",
    "30 2 * 3,10,11 0",
    "0 0 1 * *",
    "0 1 13 * 5",
    "0 12 27 3 *",
    "0 12 31 12 *",
];

/// Compares what both find from one slot to the next. Returns, a line each, what stepping loses, adds, or hangs on.
fn differences(name: &str, from: &str, until: &str) -> Vec<String> {
    let tz = zone(name);
    let (from, until) = (instant(from), instant(until));
    let mut lines = Vec::new();
    for spec in SPECS {
        let schedule = schedule(spec);
        let stepper = Stepper { fields: schedule.fields().expect("no interval"), tz: &tz };
        let mut theirs = BTreeSet::new();
        let mut at = from;
        while let Outcome::At(next) = stepper.next(at.as_second())
            && next <= until
        {
            theirs.insert(next);
            at = next;
        }
        if stepper.next(at.as_second()) == Outcome::Hangs {
            lines.push(format!("{spec}: hangs after {}", shown(&tz, at)));
            continue;
        }
        let ours: BTreeSet<Timestamp> = slots(&schedule, &tz, from, until).into_iter().collect();
        lines.extend(ours.difference(&theirs).map(|&at| format!("{spec}: loses {}", shown(&tz, at))));
        lines.extend(theirs.difference(&ours).map(|&at| format!("{spec}: adds {}", shown(&tz, at))));
    }
    lines
}

fn check(name: &str, from: &str, until: &str, expect: &[&str]) {
    assert_eq!(differences(name, from, until), expect, "{name}");
}

#[test]
fn stepping_finds_the_same_where_the_clock_changes_by_an_hour() {
    check("UTC", "2026-01-01T00:00:00Z", "2030-01-01T00:00:00Z", &[]);
    check("America/New_York", "2026-01-01T00:00:00Z", "2030-01-01T00:00:00Z", &[]);
    check("Africa/Casablanca", "2026-01-01T00:00:00Z", "2030-01-01T00:00:00Z", &[]);
    check("Europe/Dublin", "2026-01-01T00:00:00Z", "2030-01-01T00:00:00Z", &[]);
    // West of Greenwich also where it is midnight that is left out.
    check("America/Sao_Paulo", "2015-01-01T00:00:00Z", "2019-12-01T00:00:00Z", &[]);
}

/// Steps of an hour land on half past the hour, wrap past the hour that was wanted, and fire 45 1 at 02:45.
#[test]
fn stepping_loses_slots_where_the_clock_changes_by_half_an_hour() {
    check("Australia/Lord_Howe", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", LORD_HOWE);
}

const LORD_HOWE: &[&str] = &[
    "0 0 * * *: loses 2026-04-06T00:00:00+10:30",
    "0 0 * * *: loses 2026-10-05T00:00:00+11",
    "45 1 * * *: adds 2026-10-04T02:45:00+11",
    "0 2 * * *: loses 2026-04-05T02:00:00+10:30",
    "0 12 * * *: loses 2026-04-05T12:00:00+10:30",
    "0 12 * * *: loses 2026-10-04T12:00:00+11",
];

/// Midnight is taken for 23:00 of the day before, and from there a day is left out.
#[test]
fn stepping_loses_a_day_where_midnight_is_left_out_east_of_greenwich() {
    check("Asia/Beirut", "2021-06-01T00:00:00Z", "2023-01-01T00:00:00Z", BEIRUT);
}

const BEIRUT: &[&str] =
    &["30 2 * 3,10,11 0: loses 2022-03-27T02:30:00+03", "0 12 27 3 *: loses 2022-03-27T12:00:00+03"];

/// The day that is left out is taken for the day before it, which is tried again and again.
#[test]
fn stepping_hangs_where_a_day_is_left_out() {
    check("Pacific/Apia", "2011-06-01T00:00:00Z", "2012-06-01T00:00:00Z", APIA);
}

const APIA: &[&str] = &[
    "0 0 1 * *: hangs after 2011-12-01T00:00:00-10",
    "0 1 13 * 5: hangs after 2011-12-23T01:00:00-10",
    "0 12 31 12 *: hangs after 2011-05-31T13:00:00-11",
];
