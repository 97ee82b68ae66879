use proptest::prelude::*;

use super::*;

fn event(text: &str) -> Event {
    let (kind, version) = text.split_once(' ').unwrap();
    let version = version.to_owned();
    match kind {
        "introduced" => Event::Introduced(version),
        "fixed" => Event::Fixed(version),
        "last" => Event::LastAffected(version),
        "limit" => Event::Limit(version),
        other => panic!("{other}"),
    }
}

fn events(texts: &[&str]) -> Vec<Event> {
    texts.iter().map(|text| event(text)).collect()
}

fn printed(texts: &[&str]) -> Vec<String> {
    Interval::from_events(&Ecosystem::Npm, events(texts)).iter().map(ToString::to_string).collect()
}

#[test]
fn events_become_intervals() {
    let check = |texts: &[&str], expect: &[&str]| assert_eq!(printed(texts), expect, "{texts:?}");
    check(&["introduced 0"], &["all versions"]);
    check(&["introduced 0", "fixed 1.2.0"], &["< 1.2.0"]);
    check(&["introduced 1.0.0", "last 1.4.9"], &[">= 1.0.0, <= 1.4.9"]);
    check(&["introduced 1.0.0", "fixed 1.2.0", "introduced 2.0.0"], &[">= 1.0.0, < 1.2.0", ">= 2.0.0"]);
    // In any order.
    check(
        &["fixed 1.2.0", "fixed 2.1.0", "introduced 2.0.0", "introduced 0"],
        &["< 1.2.0", ">= 2.0.0, < 2.1.0"],
    );
    // By version, not by letters.
    check(
        &["introduced 0", "fixed 10.0.0", "introduced 9.0.0", "fixed 2.0.0"],
        &["< 2.0.0", ">= 9.0.0, < 10.0.0"],
    );
    // Nothing is affected.
    check(&["fixed 1.2.0"], &[]);
    check(&["introduced 1.0.0", "fixed 1.0.0"], &[]);
    check(&[], &[]);
    // A fix that another one follows: the first counts.
    check(&["introduced 0", "fixed 1.2.0", "fixed 1.3.0"], &["< 1.2.0"]);
}

#[test]
fn limits_cut_what_is_behind_them() {
    let check = |texts: &[&str], expect: &[&str]| assert_eq!(printed(texts), expect, "{texts:?}");
    check(&["introduced 0", "limit 2.0.0"], &["< 2.0.0"]);
    check(&["introduced 0", "limit *"], &["all versions"]);
    check(&["introduced 0", "fixed 1.0.0", "limit 2.0.0"], &["< 1.0.0"]);
    check(&["introduced 3.0.0", "limit 2.0.0"], &[]);
    check(&["introduced 1.0.0", "last 2.5.0", "limit 2.0.0"], &[">= 1.0.0, < 2.0.0"]);
    // Before any limit is enough.
    check(&["introduced 0", "limit 2.0.0", "limit 3.0.0"], &["< 3.0.0"]);
    let cut = Interval::from_events(&Ecosystem::Npm, events(&["introduced 0", "fixed 3.0.0", "limit 2.0.0"]));
    assert_eq!(cut[0].fixed(), None, "a limit is no fix");
}

#[test]
fn zero_is_before_everything() {
    let debian = Ecosystem::Debian { release: "12".to_owned() };
    let everything = Interval::from_events(&debian, events(&["introduced 0", "fixed 0~rc2-1"]));
    assert!(everything[0].contains(Rules::Dpkg, "0~rc1-1"));
    assert!(!everything[0].contains(Rules::Dpkg, "0-1"));
}

/// The evaluation as the schema states it: every event in turn, without intervals.
fn is_affected(mut events: Vec<Event>, version: &str) -> bool {
    let compare = |a: &str, b: &str| compare_positions(Rules::Semver, a, b);
    let limits: Vec<&Event> = events.iter().filter(|e| matches!(e, Event::Limit(_))).collect();
    if !limits.is_empty()
        && !limits.iter().any(|e| e.version() == "*" || compare(version, e.version()).is_lt())
    {
        return false;
    }
    events.sort_by(|a, b| compare(a.version(), b.version()));
    let mut affected = false;
    for event in &events {
        match event {
            Event::Introduced(v) if compare(version, v).is_ge() => affected = true,
            Event::Fixed(v) if compare(version, v).is_ge() => affected = false,
            Event::LastAffected(v) if compare(version, v).is_gt() => affected = false,
            _ => {}
        }
    }
    affected
}

fn any_events() -> impl Strategy<Value = Vec<Event>> {
    let version =
        || prop_oneof![Just("0".to_owned()), (1..6u8, 0..3u8).prop_map(|(a, b)| format!("{a}.{b}.0"))];
    // One kind of end a range, and versions that occur once: what the schema leaves undefined is left out.
    let unique = proptest::collection::btree_set(version(), 0..7);
    (unique, any::<bool>(), proptest::collection::vec(0..2u8, 8), proptest::option::of(version())).prop_map(
        |(versions, by_last, kinds, limit)| {
            let mut events: Vec<Event> = versions
                .into_iter()
                .zip(kinds)
                .map(|(version, kind)| match (kind, by_last) {
                    (0, _) => Event::Introduced(version),
                    (_, true) => Event::LastAffected(version),
                    (_, false) => Event::Fixed(version),
                })
                .collect();
            events.extend(limit.map(Event::Limit));
            events
        },
    )
}

proptest! {
    #[test]
    fn intervals_hold_what_the_evaluation_of_the_schema_holds(events in any_events(), a in 0..7u8, b in 0..4u8) {
        let version = format!("{a}.{b}.0");
        let intervals = Interval::from_events(&Ecosystem::Npm, events.clone());
        let is_held = intervals.iter().any(|i| i.contains(Rules::Semver, &version));
        prop_assert_eq!(is_held, is_affected(events, &version), "{} in {:?}", version, intervals);
    }
}
