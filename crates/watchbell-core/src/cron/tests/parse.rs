//! The dialect, field by field.

use proptest::prelude::*;

use super::super::fields::{DayRule, Fields};
use super::super::{ParseError, Schedule, TimeZoneError, time_zone};
use super::schedule;

fn fields(spec: &str) -> Fields {
    *schedule(spec).fields().unwrap_or_else(|| panic!("{spec:?} has no fields"))
}

fn bits(values: impl IntoIterator<Item = u32>) -> u64 {
    values.into_iter().fold(0, |bits, value| bits | 1 << value)
}

#[test]
fn each_field_takes_values_ranges_steps_and_lists() {
    let check = |minute: &str, expect: Vec<u32>| {
        assert_eq!(fields(&format!("{minute} * * * *")).minutes, bits(expect), "{minute:?}");
    };
    check("5", vec![5]);
    check("*", (0..=59).collect());
    check("?", (0..=59).collect());
    check("1,3-5,7", vec![1, 3, 4, 5, 7]);
    check("0-59/20", vec![0, 20, 40]);
    check("*/25", vec![0, 25, 50]);
    check("0/15", vec![0, 15, 30, 45]);
    check("50/3", vec![50, 53, 56, 59]);
    check("10-11/100", vec![10]);
    check("7/9223372036854775807", vec![7]);
    // What Kubernetes' parser lets pass, so that what was accepted there is accepted here.
    check("+5", vec![5]);
    check("007", vec![7]);
    check(",5,,6,", vec![5, 6]);
    check(",", vec![]);
    check("*-3", (0..=59).collect());
    check("*-x-y/30", vec![0, 30]);

    assert_eq!(fields("0 22-23 * * *").hours, bits([22, 23]) as u32);
    assert_eq!(fields("0 0 1,31 * *").days_of_month, bits([1, 31]) as u32);
    assert_eq!(fields("0 0 * jan,MAR-May,12 *").months, bits([1, 3, 4, 5, 12]) as u16);
    assert_eq!(fields("0 0 * * Sun,tue-THU,6").days_of_week, bits([0, 2, 3, 4, 6]) as u8);
    assert_eq!(fields("\t0\u{a0}0 * *  * ").hours, 1);
}

#[test]
fn a_day_field_counts_as_restricted_unless_a_part_is_a_star_without_a_step() {
    let rule = |spec: &str| fields(spec).day_rule;
    for spec in ["0 0 1 * 0", "0 0 */2 * 0", "0 0 1-31 * 0-6", "0 0 1 * */2", "0 0 ?/2 * sun", "0 0 , * ,"] {
        assert_eq!(rule(spec), DayRule::Either, "{spec}");
    }
    for spec in ["0 0 * * 0", "0 0 1 * *", "0 0 ? * 1", "0 0 */1 * 0", "0 0 */2,* * 0", "0 0 * * *"] {
        assert_eq!(rule(spec), DayRule::Both, "{spec}");
    }
}

#[test]
fn descriptors_stand_for_fields() {
    for (descriptor, spec) in [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
    ] {
        assert_eq!(schedule(descriptor), schedule(spec), "{descriptor}");
    }
}

#[test]
fn every_takes_go_durations_and_cuts_them_to_whole_seconds() {
    let check = |duration: &str, seconds: u64| {
        assert_eq!(schedule(&format!("@every {duration}")).interval(), Some(seconds), "{duration:?}");
    };
    check("1h30m", 5400);
    check("90s", 90);
    check("1.5h", 5400);
    check(".5m", 30);
    check("1.m", 60);
    check("2h45m30.999s", 9930);
    check("1s500ms600ms", 2);
    check("1000000us", 1);
    check("3000000\u{b5}s", 3);
    check("3000000\u{3bc}s", 3);
    check("5000000000ns", 5);
    check("0", 1);
    check("10ms", 1);
    check("+10s", 10);
    check("-10s", 1);
    check("2562047h47m16.854775807s", 9_223_372_036);
    check("-2562047h47m16.854775808s", 1);
}

#[test]
fn errors_name_the_field_the_value_and_the_way_out() {
    let check = |spec: &str, expect: &str| match Schedule::parse(spec) {
        Ok(parsed) => panic!("{spec:?} was accepted: {parsed:?}"),
        Err(error) => assert_eq!(error.to_string(), expect, "{spec:?}"),
    };
    let five = "expected exactly 5 fields (minute, hour, day of month, month, day of week), found";
    check("", "empty spec string");
    check("  ", &format!("{five} 0: \"  \""));
    check("* * * *", &format!("{five} 4: \"* * * *\""));
    check("0 * * * * *", &format!("{five} 6: \"0 * * * * *\""));
    check(" @daily", &format!("{five} 1: \" @daily\""));
    check("60 * * * *", "minute: end of range (60) above maximum (59): \"60\"");
    check("0 24 * * *", "hour: end of range (24) above maximum (23): \"24\"");
    check("0 0 0 * *", "day of month: beginning of range (0) below minimum (1): \"0\"");
    check("0 0 * 0/2 *", "month: beginning of range (0) below minimum (1): \"0/2\"");
    check("0 0 * 13 *", "month: end of range (13) above maximum (12): \"13\"");
    check("0 0 * * 7", "day of week: end of range (7) above maximum (6); Sunday is 0: \"7\"");
    check("0 0 * * 1,sat-mon", "day of week: beginning of range (6) beyond end of range (1): \"sat-mon\"");
    check("5-3 * * * *", "minute: beginning of range (5) beyond end of range (3): \"5-3\"");
    check("*/0 * * * *", "minute: step of range should be a positive number: \"*/0\"");
    check("1-2-3 * * * *", "minute: too many hyphens: \"1-2-3\"");
    check("1/2/3 * * * *", "minute: too many slashes: \"1/2/3\"");
    check("-5 * * * *", "minute: failed to parse int from \"\": \"-5\"");
    check("1- * * * *", "minute: failed to parse int from \"\": \"1-\"");
    check("*/-5 * * * *", "minute: failed to parse int from \"-5\": \"*/-5\"");
    check("** * * * *", "minute: failed to parse int from \"**\": \"**\"");
    check(
        "9223372036854775808 * * * *",
        "minute: failed to parse int from \"9223372036854775808\": \"9223372036854775808\"",
    );
    check("0 0 L * *", "day of month: failed to parse int from \"L\": \"L\"");
    check("0 0 * * fri#1", "day of week: failed to parse int from \"fri#1\": \"fri#1\"");
    check("jan * * * *", "minute: failed to parse int from \"jan\": \"jan\"");
    check("TZ=UTC 0 0 * * *", "cannot use TZ or CRON_TZ in schedule, use the field spec.timeZone instead");
    check(
        "CRON_TZ=UTC 0 0 * * *",
        "cannot use TZ or CRON_TZ in schedule, use the field spec.timeZone instead",
    );
    let descriptors =
        "there are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly and @every DURATION";
    check("@Daily", &format!("unrecognized descriptor: \"@Daily\"; {descriptors}"));
    check("@every", &format!("unrecognized descriptor: \"@every\"; {descriptors}"));
    let invalid = "invalid duration; write numbers with units, such as 1h30m or 90s";
    for duration in
        ["", " 1h", "h", ".s", "-", "9223372037s", "-9223372036854775809ns", "99999999999999999999s"]
    {
        check(
            &format!("@every {duration}"),
            &format!("failed to parse duration {:?}: {invalid}", format!("@every {duration}")),
        );
    }
    check(
        "@every 5",
        "failed to parse duration \"@every 5\": missing unit in duration; the units are h, m, s, ms, us and ns",
    );
    check(
        "@every 1d",
        "failed to parse duration \"@every 1d\": unknown unit in duration; the units are h, m, s, ms, us and ns",
    );
    check(
        &format!("{} * * * *", "x".repeat(1_000_000)),
        &format!("minute: failed to parse int from {0}: {0}", format!("\"{}\"…", "x".repeat(64))),
    );
}

#[test]
fn a_date_that_no_calendar_has_is_parsed_and_known_never_to_fire() {
    for spec in [
        "0 0 30 2 *",
        "0 0 31 2,4,6,9,11 *",
        ", * * * *",
        "0 , * * *",
        "0 0 , * *",
        "0 0 * , *",
        "0 0 * * ,",
        "59 23 31 2 *",
    ] {
        assert!(schedule(spec).never_fires(), "{spec}");
    }
    for spec in ["0 0 29 2 *", "0 0 30 2 1", "0 0 , * 1", "0 0 31 1-2 *", "* * * * *", "@every 10000h"] {
        assert!(!schedule(spec).never_fires(), "{spec}");
    }
}

#[test]
fn a_time_zone_is_a_name_of_the_bundled_data_in_its_own_spelling() {
    assert_eq!(time_zone(None), Ok(jiff::tz::TimeZone::UTC));
    for name in ["UTC", "Etc/UTC", "Etc/GMT+5", "America/Argentina/Buenos_Aires", "Asia/Calcutta"] {
        assert_eq!(time_zone(Some(name)).as_ref().map(jiff::tz::TimeZone::iana_name), Ok(Some(name)));
    }
    assert_eq!(time_zone(Some("")), Err(TimeZoneError::Empty));
    assert_eq!(time_zone(Some("Local")), Err(TimeZoneError::Local));
    let spelled = TimeZoneError::Spelling { name: "europe/berlin".into(), spelled: "Europe/Berlin".into() };
    assert_eq!(time_zone(Some("europe/berlin")), Err(spelled));
    for name in ["Mars/Olympus", "../etc/passwd", "Etc/Unknown", "UTC\0", " UTC", "EST5EDT,M3.2.0,M11.1.0"] {
        assert_eq!(time_zone(Some(name)), Err(TimeZoneError::Unknown(name.into())), "{name:?}");
    }
    let long = "A".repeat(1_000_000);
    assert!(matches!(time_zone(Some(&long)), Err(TimeZoneError::Unknown(shown)) if shown.len() == 64));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,40}", near in "[@*?/,0-9a-fA-F \\-]{0,30}", every in "[0-9.a-zµ+-]{0,12}") {
        for spec in [text, near, format!("@every {every}")] {
            match Schedule::parse(&spec) {
                Ok(_) => {}
                Err(ParseError::Empty) => prop_assert!(spec.is_empty()),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn a_list_of_values_reads_back_as_those_values(minutes in prop::collection::btree_set(0u32..60, 1..60), days in prop::collection::btree_set(1u32..32, 1..31)) {
        let list = |values: &std::collections::BTreeSet<u32>| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let read = fields(&format!("{} 3 {} 2 5", list(&minutes), list(&days)));
        prop_assert_eq!(read.minutes, bits(minutes));
        prop_assert_eq!(u64::from(read.days_of_month), bits(days));
        prop_assert_eq!((read.hours, read.months, read.days_of_week), (1 << 3, 1 << 2, 1 << 5));
    }
}
