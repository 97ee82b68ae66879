//! What holds for every schedule, zone and instant.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::super::Schedule;
use super::{instant, schedule, slots, zone};

const ZONES: &[&str] = &[
    "UTC",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Asia/Beirut",
    "Asia/Tehran",
    "Asia/Kathmandu",
    "Antarctica/Troll",
    "Europe/Dublin",
    "Pacific/Kiritimati",
];

/// A field as people write it, within its bounds.
fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
    let range = (min..=max).prop_flat_map(move |a| (Just(a), a..=max));
    let part = prop_oneof![
        3 => Just("*".to_owned()),
        1 => (2..=max).prop_map(|step| format!("*/{step}")),
        4 => (min..=max).prop_map(|value| value.to_string()),
        2 => range.clone().prop_map(|(a, b)| format!("{a}-{b}")),
        1 => (range, 1..=max).prop_map(|((a, b), step)| format!("{a}-{b}/{step}")),
        1 => (min..=max, 1..=max).prop_map(|(a, step)| format!("{a}/{step}")),
    ];
    prop::collection::vec(part, 1..3).prop_map(|parts| parts.join(","))
}

fn any_spec() -> impl Strategy<Value = String> {
    (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6))
        .prop_map(|(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}"))
}

/// Half of the instants lie near a change of the zone's clock.
fn any_instant(tz: &TimeZone, second: i64, near: Option<i64>) -> Timestamp {
    let at = Timestamp::from_second(second).expect("the strategy stays in range");
    match (near, tz.following(at).next()) {
        (Some(distance), Some(change)) => change
            .timestamp()
            .saturating_add(SignedDuration::from_secs(distance))
            .expect("seconds are no span"),
        _ => at,
    }
}

/// Years 1971 to 2150: offsets are whole minutes there, so a slot lies on a UTC minute.
const SECONDS: std::ops::Range<i64> = 31_536_000..5_680_281_600;

/// A search that steps from minute to minute, over at most `minutes`.
fn walk(schedule: &Schedule, tz: &TimeZone, after: Timestamp, minutes: i64) -> Option<Timestamp> {
    let first = after.as_second().div_euclid(60) + 1;
    (first..first + minutes)
        .map(|minute| Timestamp::from_second(minute * 60).expect("within jiff's range"))
        .find(|&at| schedule.matches(tz, at))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_next_slot_is_later_matches_and_nothing_matches_before_it(
        spec in any_spec(),
        name in prop::sample::select(ZONES),
        second in SECONDS,
        near in prop::option::of(-100_000i64..100_000),
    ) {
        let (schedule, tz) = (schedule(&spec), zone(name));
        let after = any_instant(&tz, second, near);
        let walked = walk(&schedule, &tz, after, 3_000);
        match schedule.next_after(&tz, after) {
            Some(next) => {
                prop_assert!(next > after);
                prop_assert!(schedule.matches(&tz, next));
                prop_assert!(walked.is_none_or(|walked| walked == next), "walked to {walked:?}, found {next}");
                // Nothing lies in the last stretch before it either: walking from there finds it.
                let close = after.max(next - SignedDuration::from_secs(3_000 * 60));
                prop_assert_eq!(walk(&schedule, &tz, close, 3_001), Some(next));
                prop_assert!(!schedule.never_fires());

                // The search backwards is the inverse.
                prop_assert_eq!(schedule.prev_at_or_before(&tz, next), Some(next));
                let before = next - SignedDuration::from_nanos(1);
                let previous = schedule.prev_at_or_before(&tz, before);
                prop_assert!(previous.is_none_or(|previous| previous <= after), "{previous:?}");
                if let Some(previous) = previous {
                    prop_assert!(schedule.matches(&tz, previous));
                    prop_assert_eq!(schedule.next_after(&tz, previous), Some(next));
                }
                prop_assert_eq!(schedule.latest(&tz, after, next), Some(next));
                prop_assert_eq!(schedule.latest(&tz, after, before), None);
            }
            None => {
                prop_assert!(schedule.never_fires());
                prop_assert_eq!(walked, None);
                prop_assert_eq!(schedule.prev_at_or_before(&tz, after), None);
            }
        }
    }

    #[test]
    fn an_interval_counts_from_the_last_slot(seconds in 1u64..1_000_000, from in SECONDS, elapsed in 0i64..10_000_000) {
        let schedule = schedule(&format!("@every {seconds}s"));
        let from = Timestamp::from_second(from).expect("in range");
        let until = from + SignedDuration::from_secs(elapsed);
        let next = schedule.next_after(&TimeZone::UTC, from);
        prop_assert_eq!(next, Some(from + SignedDuration::from_secs(seconds as i64)));
        // Nanoseconds of the start are cut, as Kubernetes does.
        prop_assert_eq!(schedule.next_after(&TimeZone::UTC, from + SignedDuration::from_millis(999)), next);
        let latest = schedule.latest(&TimeZone::UTC, from, until);
        let stepped = (elapsed as u64 / seconds).min(3);
        prop_assert_eq!(latest.is_some(), stepped > 0);
        if let Some(latest) = latest {
            prop_assert!(latest <= until && until < latest + SignedDuration::from_secs(seconds as i64));
            prop_assert_eq!((latest.as_second() - from.as_second()) as u64 % seconds, 0);
        }
    }
}

#[test]
fn both_ends_of_time_and_a_hundred_years_are_searched_without_panic() {
    let ends =
        [Timestamp::MIN, Timestamp::MAX, instant("9999-12-30T21:59:00Z"), instant("-009999-01-03T00:00:00Z")];
    let all = [
        "* * * * *",
        "0 0 29 2 *",
        "0 0 29 2 1",
        "0 0 30 2 *",
        "59 23 31 12 *",
        "0 0 1 1 0",
        "@every 2562047h",
        "@every 1s",
    ];
    for name in ZONES {
        let tz = zone(name);
        for spec in all {
            let schedule = schedule(spec);
            for end in ends {
                for distance in [-31_622_400, -86_400, -61, -1, 0, 1, 61, 86_400] {
                    let Ok(at) = end.checked_add(SignedDuration::from_secs(distance)) else { continue };
                    let next = schedule.next_after(&tz, at);
                    let previous = schedule.prev_at_or_before(&tz, at);
                    assert!(next.is_none_or(|next| next > at), "{spec} {name} {at}");
                    assert!(previous.is_none_or(|previous| previous <= at), "{spec} {name} {at}");
                    assert_eq!(schedule.matches(&tz, at), previous == Some(at), "{spec} {name} {at}");
                }
            }
        }
    }
    assert_eq!(schedule("0 0 1 1 *").next_after(&TimeZone::UTC, instant("9999-01-01T00:00:00Z")), None);
    assert_eq!(schedule("@every 2h").next_after(&TimeZone::UTC, Timestamp::MAX), None);
}

#[test]
fn a_hundred_years_of_leap_days() {
    let century = |spec: &str| {
        slots(
            &schedule(spec),
            &zone("Europe/Dublin"),
            instant("2026-01-01T00:00:00Z"),
            instant("2126-01-01T00:00:00Z"),
        )
    };
    // Every fourth year, 2100 left out.
    assert_eq!(century("0 0 29 2 *").len(), 24);
    // Either rule: all Mondays of February, and the 29th where it is no Monday.
    let mondays = century("0 0 * 2 1").len();
    let leap_mondays = century("0 0 29 2 *")
        .iter()
        .filter(|at| {
            zone("Europe/Dublin").to_offset(**at).to_datetime(**at).weekday() == jiff::civil::Weekday::Monday
        })
        .count();
    assert_eq!(century("0 0 29 2 1").len(), mondays + 24 - leap_mondays);
    assert_eq!(century("0 0 30 2 *").len(), 0);
    // Over a century that is no leap year the next one is eight years away.
    let tz = TimeZone::UTC;
    assert_eq!(
        schedule("0 0 29 2 *").next_after(&tz, instant("2096-03-01T00:00:00Z")),
        Some(instant("2104-02-29T00:00:00Z"))
    );
    assert_eq!(
        schedule("0 0 29 2 *").prev_at_or_before(&tz, instant("2104-02-28T00:00:00Z")),
        Some(instant("2096-02-29T00:00:00Z"))
    );
}

#[test]
fn a_slot_strictly_after_means_so_to_the_nanosecond() {
    let (schedule, tz) = (schedule("0 12 * * *"), TimeZone::UTC);
    let noon = instant("2026-06-01T12:00:00Z");
    assert_eq!(schedule.next_after(&tz, instant("2026-06-01T11:59:59.999999999Z")), Some(noon));
    assert_eq!(schedule.next_after(&tz, noon), Some(instant("2026-06-02T12:00:00Z")));
    assert_eq!(schedule.prev_at_or_before(&tz, instant("2026-06-01T12:00:00.000000001Z")), Some(noon));
    assert!(!schedule.matches(&tz, instant("2026-06-01T12:00:00.5Z")));
    // Before 1970 the second of a negative fraction is the one below.
    assert_eq!(
        schedule.next_after(&tz, instant("1969-12-31T11:59:59.5Z")),
        Some(instant("1969-12-31T12:00:00Z"))
    );
    assert_eq!(
        schedule.prev_at_or_before(&tz, instant("1969-12-31T11:59:59.5Z")),
        Some(instant("1969-12-30T12:00:00Z"))
    );
}
