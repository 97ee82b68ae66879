//! Clock changes: ten years of each zone against a walk from minute to minute, and the transitions by hand.

use jiff::Timestamp;
use jiff::civil::{DateTime, Weekday};

use super::{instant, schedule, shown, slots, zone};

/// A schedule and, independent of the parser, what its wall times are.
type Case = (&'static str, fn(DateTime) -> bool);

const CASES: &[Case] = &[
    ("30 0 * * *", |t| t.hour() == 0 && t.minute() == 30),
    ("0 0 * * *", |t| t.hour() == 0 && t.minute() == 0),
    ("15 1 * * *", |t| t.hour() == 1 && t.minute() == 15),
    ("45 1 * * *", |t| t.hour() == 1 && t.minute() == 45),
    ("0 2 * * *", |t| t.hour() == 2 && t.minute() == 0),
    ("30 2 * * *", |t| t.hour() == 2 && t.minute() == 30),
    ("0 3 * * *", |t| t.hour() == 3 && t.minute() == 0),
    ("59 23 * * *", |t| t.hour() == 23 && t.minute() == 59),
    ("0 12 * * *", |t| t.hour() == 12 && t.minute() == 0),
    ("0 * * * *", |t| t.minute() == 0),
    ("*/20 1-2 * * *", |t| t.minute() % 20 == 0 && (1..=2).contains(&t.hour())),
    ("30 2 * 3,10,11 0", |t| {
        t.hour() == 2
            && t.minute() == 30
            && matches!(t.month(), 3 | 10 | 11)
            && t.weekday() == Weekday::Sunday
    }),
    ("0 12 29-31 12 *", |t| t.month() == 12 && t.day() >= 29 && t.hour() == 12 && t.minute() == 0),
    ("0 0 13 * 5", |t| (t.day() == 13 || t.weekday() == Weekday::Friday) && t.hour() == 0 && t.minute() == 0),
    ("30 1 29 2 *", |t| t.month() == 2 && t.day() == 29 && t.hour() == 1 && t.minute() == 30),
];

/// Finds every slot of ten years three ways.
fn ten_years(name: &str, from: &str) {
    let tz = zone(name);
    let from = instant(from);
    let until = Timestamp::from_second(from.as_second() + 3653 * 86_400).expect("within jiff's range");
    let mut walked = vec![Vec::new(); CASES.len()];
    for minute in from.as_second() / 60 + 1..=until.as_second() / 60 {
        let at = Timestamp::from_second(minute * 60).expect("within jiff's range");
        let wall = tz.to_offset(at).to_datetime(at);
        for ((_, matches), found) in CASES.iter().zip(&mut walked) {
            if matches(wall) {
                found.push(at);
            }
        }
    }
    for ((spec, _), walked) in CASES.iter().zip(walked) {
        let schedule = schedule(spec);
        assert_eq!(slots(&schedule, &tz, from, until), walked, "{spec} in {name}, forwards");
        let mut backwards: Vec<Timestamp> =
            std::iter::successors(schedule.prev_at_or_before(&tz, until), |&at| {
                schedule.prev_at_or_before(&tz, at - jiff::SignedDuration::from_secs(1))
            })
            .take_while(|&at| at > from)
            .collect();
        backwards.reverse();
        assert_eq!(backwards, walked, "{spec} in {name}, backwards");
    }
}

#[test]
fn new_york() {
    ten_years("America/New_York", "2020-01-01T00:00:00Z");
}

#[test]
fn lord_howe_shifts_by_half_an_hour() {
    ten_years("Australia/Lord_Howe", "2020-01-01T00:00:00Z");
}

#[test]
fn sao_paulo_changed_at_midnight_until_2019() {
    ten_years("America/Sao_Paulo", "2010-01-01T00:00:00Z");
}

#[test]
fn casablanca_changes_around_ramadan() {
    ten_years("Africa/Casablanca", "2020-01-01T00:00:00Z");
}

#[test]
fn apia_skipped_a_day_in_2011() {
    ten_years("Pacific/Apia", "2005-01-01T00:00:00Z");
}

/// The slots of a schedule between two instants, as the wall clock shows them.
fn check(name: &str, spec: &str, from: &str, until: &str, expect: &[&str]) {
    let tz = zone(name);
    let found: Vec<String> = slots(&schedule(spec), &tz, instant(from), instant(until))
        .into_iter()
        .map(|at| shown(&tz, at))
        .collect();
    assert_eq!(found, expect, "{spec} in {name}");
}

#[test]
fn a_gap_is_skipped() {
    // 02:00 to 03:00 does not happen on 8 March 2026.
    let (from, until) = ("2026-03-07T12:00:00Z", "2026-03-09T12:00:00Z");
    check("America/New_York", "30 2 * * *", from, until, &["2026-03-09T02:30:00-04"]);
    check(
        "America/New_York",
        "0 3 * * *",
        from,
        until,
        &["2026-03-08T03:00:00-04", "2026-03-09T03:00:00-04"],
    );
    check(
        "America/New_York",
        "0 1-3 8 3 *",
        from,
        until,
        &["2026-03-08T01:00:00-05", "2026-03-08T03:00:00-04"],
    );
    check("America/New_York", "0-59 2 8 3 *", from, "2026-12-31T00:00:00Z", &[]);
}

#[test]
fn an_overlap_runs_twice() {
    // 01:00 to 02:00 happens twice on 1 November 2026.
    let (from, until) = ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z");
    let twice = ["2026-11-01T01:30:00-04", "2026-11-01T01:30:00-05"];
    check("America/New_York", "30 1 * * *", from, until, &twice);
    check("America/New_York", "30 1 1 11 *", from, until, &twice);
    check("America/New_York", "0 2 * * *", from, until, &["2026-11-01T02:00:00-05"]);
    check(
        "America/New_York",
        "0 0-2 * * *",
        from,
        until,
        &[
            "2026-11-01T00:00:00-04",
            "2026-11-01T01:00:00-04",
            "2026-11-01T01:00:00-05",
            "2026-11-01T02:00:00-05",
        ],
    );
}

#[test]
fn half_an_hour_at_lord_howe() {
    // Forward on 4 October 2026: 02:00 to 02:30. Back on 5 April 2026: 02:00 to 01:30.
    let spring = ("2026-10-03T14:00:00Z", "2026-10-04T12:59:00Z");
    check("Australia/Lord_Howe", "0,15,30 2 * * *", spring.0, spring.1, &["2026-10-04T02:30:00+11"]);
    check("Australia/Lord_Howe", "0 12 * * *", spring.0, spring.1, &["2026-10-04T12:00:00+11"]);
    let autumn = ("2026-04-04T13:10:00Z", "2026-04-05T13:20:00Z");
    check(
        "Australia/Lord_Howe",
        "15,45 1 * * *",
        autumn.0,
        autumn.1,
        &["2026-04-05T01:15:00+11", "2026-04-05T01:45:00+11", "2026-04-05T01:45:00+10:30"],
    );
    check("Australia/Lord_Howe", "0 2 * * *", autumn.0, autumn.1, &["2026-04-05T02:00:00+10:30"]);
}

#[test]
fn midnight_gaps() {
    // São Paulo, 4 November 2018: 00:00 to 01:00, west of Greenwich.
    let (from, until) = ("2018-11-03T12:00:00Z", "2018-11-05T12:00:00Z");
    check("America/Sao_Paulo", "0 0 * * *", from, until, &["2018-11-05T00:00:00-02"]);
    check("America/Sao_Paulo", "0 1 4 11 *", from, until, &["2018-11-04T01:00:00-02"]);
    check("America/Sao_Paulo", "0 12 4 11 *", from, until, &["2018-11-04T12:00:00-02"]);
    // Back on 17 February 2019: midnight to 23:00 of the day before.
    let (from, until) = ("2019-02-16T12:00:00Z", "2019-02-18T00:00:00Z");
    check(
        "America/Sao_Paulo",
        "30 23 * * *",
        from,
        until,
        &["2019-02-16T23:30:00-02", "2019-02-16T23:30:00-03"],
    );
    check("America/Sao_Paulo", "0 0 * * *", from, until, &["2019-02-17T00:00:00-03"]);
    // Beirut, 27 March 2022, east of Greenwich.
    let (from, until) = ("2022-03-01T00:00:00Z", "2022-04-01T00:00:00Z");
    check("Asia/Beirut", "0 12 27 3 *", from, until, &["2022-03-27T12:00:00+03"]);
}

#[test]
fn a_day_that_never_was() {
    // Samoa went from 29 to 31 December 2011.
    let (from, until) = ("2011-12-28T12:00:00Z", "2012-01-01T10:00:00Z");
    check(
        "Pacific/Apia",
        "0 12 * * *",
        from,
        until,
        &[
            "2011-12-28T12:00:00-10",
            "2011-12-29T12:00:00-10",
            "2011-12-31T12:00:00+14",
            "2012-01-01T12:00:00+14",
        ],
    );
    check("Pacific/Apia", "0 12 30 12 *", from, until, &[]);
    check("Pacific/Apia", "0 12 31 12 *", from, until, &["2011-12-31T12:00:00+14"]);
}
