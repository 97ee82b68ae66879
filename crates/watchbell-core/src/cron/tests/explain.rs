//! What people read.

use super::super::explain;
use super::{instant, schedule, zone};

fn check(spec: &str, name: &str, from: &str, count: usize, expect: &str) {
    let told = explain(&schedule(spec), &zone(name), instant(from), count).to_string();
    assert_eq!(told, expect, "{spec} in {name}");
}

#[test]
fn slots_and_the_clock_changes_that_matter() {
    check(
        "30 1 * * *",
        "America/New_York",
        "2026-10-31T12:00:00Z",
        3,
        "next times in America/New_York:\n  \
           Sun 2026-11-01 01:30:00 -04  (2026-11-01T05:30:00Z)  first of two: the clock will go back over it\n  \
           Sun 2026-11-01 01:30:00 -05  (2026-11-01T06:30:00Z)  second of two: the clock went back over it\n  \
           Mon 2026-11-02 01:30:00 -05  (2026-11-02T06:30:00Z)\n\
         note: on 2026-11-01 the clock goes back from 02:00:00 to 01:00:00: the slot at 2026-11-01T01:30:00 runs twice\n",
    );
    check(
        "*/15 2 * * *",
        "America/New_York",
        "2026-11-24T00:00:00Z",
        1,
        "next times in America/New_York:\n  \
           Tue 2026-11-24 02:00:00 -05  (2026-11-24T07:00:00Z)\n\
         note: on 2027-03-14 the clock goes forward from 02:00:00 to 03:00:00: 4 slots from 2027-03-14T02:00:00 to \
         2027-03-14T02:45:00 are skipped\n",
    );
    check(
        "0 12 * * *",
        "Pacific/Apia",
        "2011-12-29T23:00:00Z",
        1,
        "next times in Pacific/Apia:\n  \
           Sat 2011-12-31 12:00:00 +14  (2011-12-30T22:00:00Z)\n\
         note: on 2011-12-30 the clock goes forward from 00:00:00 to 2011-12-31T00:00:00: the slot at 2011-12-30T12:00:00 \
         is skipped\n",
    );
}

#[test]
fn without_clock_changes() {
    check(
        "0 12 * * 1",
        "UTC",
        "2026-11-24T00:00:00Z",
        1,
        "next times in UTC:\n  Mon 2026-11-30 12:00:00 +00\n",
    );
    check(
        "@every 90s",
        "America/New_York",
        "2026-11-24T00:00:00Z",
        1,
        "every 90 s of elapsed time since the last start; clock changes do not matter\n\
         next times in America/New_York:\n  Mon 2026-11-23 19:01:30 -05  (2026-11-24T00:01:30Z)\n",
    );
    check(
        "0 0 30 2 *",
        "UTC",
        "2026-11-24T00:00:00Z",
        5,
        "never fires: no date of the calendar matches within 100 years\n",
    );
}
