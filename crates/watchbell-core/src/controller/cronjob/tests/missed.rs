//! Missed slots, edits, and clocks that jump.

use super::*;

#[test]
fn more_than_a_hundred_missed_slots_are_no_trap() {
    let mut cron = Fixture::new("* * * * *", "2026-11-24T02:00:00Z");
    // Asleep for a month.
    let plan = cron.pass_at("2026-12-24T02:00:30Z");
    assert_eq!(started(&plan), Some(second("2026-12-24T02:00:00Z")));
    assert_eq!(
        skips(&plan),
        [(
            second("2026-11-24T02:01:00Z"),
            second("2026-12-24T01:59:00Z"),
            SlotCount::AtLeast(1000),
            SkipReason::Superseded
        )]
    );
    assert_eq!(reasons(&plan), ["MissSchedule", "SuccessfulCreate"]);
    assert_eq!(
        plan.events[0].message,
        "Missed 1000 or more scheduled times to start a job, from Tue, 24 Nov 2026 02:01:00 +0000 to Thu, 24 Dec 2026 \
         01:59:00 +0000: a later slot was due as well, and of missed slots only the latest starts \
         (watchbell.dev/catch-up: latest)"
    );
    assert_eq!(cron.status.last_skip.as_deref(), plan.skipped.last());
}

#[test]
fn a_missed_slot_starts_only_within_the_starting_deadline() {
    let check = |deadline: Option<i64>, now: &str, starts: bool| {
        let mut cron = Fixture::new("0 3 * * *", "2026-11-24T02:00:00Z");
        cron.spec.starting_deadline_seconds = deadline;
        let plan = cron.pass_at(now);
        let slot = second("2026-11-24T03:00:00Z");
        assert_eq!(started(&plan), starts.then_some(slot), "{deadline:?} at {now}");
        let missed = [(slot, slot, SlotCount::Exactly(1), SkipReason::StartingDeadline)];
        assert_eq!(skips(&plan), if starts { &[][..] } else { &missed[..] });
        assert_eq!(reasons(&plan), [if starts { "SuccessfulCreate" } else { "MissSchedule" }]);
        // Decided either way.
        assert_eq!(cron.pass().create, None);
        assert_eq!(cron.pass().events, []);
    };
    check(None, "2026-11-24T23:00:00Z", true);
    check(Some(60), "2026-11-24T03:01:00Z", true);
    check(Some(60), "2026-11-24T03:01:01Z", false);
    check(Some(0), "2026-11-24T03:00:00Z", true);
    check(Some(i64::MAX), "2026-11-24T23:00:00Z", true);
}

#[test]
fn catch_up_none_starts_what_is_on_time_and_nothing_else() {
    let check = |now: &str, starts: bool| {
        let mut cron = Fixture::new("0 * * * *", "2026-11-24T02:00:00Z").catch_up("none");
        let plan = cron.pass_at(now);
        assert_eq!(plan.create.is_some(), starts, "{now}");
        assert_eq!(plan.skipped.is_empty(), starts, "{now}");
        assert!(plan.skipped.iter().all(|skip| skip.reason == SkipReason::CatchUpNone));
    };
    check("2026-11-24T03:00:00Z", true);
    check("2026-11-24T03:01:00Z", true);
    check("2026-11-24T03:01:01Z", false);
    check("2026-11-25T03:30:00Z", false);
    // A slot that finds a Job running does not wait for it.
    let mut cron = Fixture::new("* * * * *", "2026-11-24T02:00:00Z").catch_up("none");
    cron.spec.concurrency_policy = ConcurrencyPolicy::Forbid;
    cron.pass_at("2026-11-24T02:01:00Z");
    let plan = cron.pass_at("2026-11-24T02:02:00Z");
    assert_eq!(plan.skipped[0].reason, SkipReason::JobAlreadyActive);
    assert_eq!(reasons(&plan), ["JobAlreadyActive"]);
}

/// Passes until there is nothing more to do at once.
fn drain(cron: &mut Fixture) -> (Vec<i64>, Vec<Skipped>) {
    let (mut starts, mut skipped) = (Vec::new(), Vec::new());
    loop {
        let plan = cron.pass();
        starts.extend(started(&plan));
        skipped.extend(plan.skipped);
        if plan.wake_at.is_none_or(|at| at > cron.now) {
            return (starts, skipped);
        }
        // One Job a pass.
        assert_eq!(plan.wake_at, Some(cron.now));
    }
}

#[test]
fn catch_up_all_starts_the_missed_slots_one_a_pass_oldest_first_and_at_most_a_hundred() {
    let mut cron = Fixture::new("0 * * * *", "2026-11-24T02:00:00Z").catch_up("all");
    cron.now = second("2026-11-24T07:10:00Z");
    let (starts, skipped) = drain(&mut cron);
    let hours: Vec<i64> = (3..=7).map(|hour| second(&format!("2026-11-24T0{hour}:00:00Z"))).collect();
    assert_eq!((starts, skipped), (hours, vec![]));

    let mut cron = Fixture::new("* * * * *", "2026-11-24T02:00:00Z").catch_up("all");
    cron.now = second("2026-11-24T05:00:00Z");
    let (starts, skipped) = drain(&mut cron);
    assert_eq!((starts.len(), starts[99]), (CATCH_UP_MAX, cron.now));
    assert!(starts.is_sorted());
    assert_eq!(skipped.len(), 1);
    assert_eq!((skipped[0].count, skipped[0].reason), (SlotCount::Exactly(80), SkipReason::CatchUpLimit));

    // What is too late for the deadline is told as such.
    let mut cron = Fixture::new("* * * * *", "2026-11-24T02:00:00Z").catch_up("all");
    cron.spec.starting_deadline_seconds = Some(150);
    cron.now = second("2026-11-24T02:10:00Z");
    let (starts, skipped) = drain(&mut cron);
    assert_eq!(starts.len(), 3);
    assert_eq!((skipped[0].count, skipped[0].reason), (SlotCount::Exactly(7), SkipReason::StartingDeadline));

    // With Replace each would be deleted by the next: only the latest starts.
    let mut cron = Fixture::new("* * * * *", "2026-11-24T02:00:00Z").catch_up("all");
    cron.spec.concurrency_policy = ConcurrencyPolicy::Replace;
    cron.now = second("2026-11-24T02:10:00Z");
    assert_eq!(drain(&mut cron).0, [cron.now]);
}

#[test]
fn catch_up_all_with_forbid_runs_them_one_after_the_other() {
    let mut cron = Fixture::new("0 * * * *", "2026-11-24T02:00:00Z").catch_up("all");
    cron.spec.concurrency_policy = ConcurrencyPolicy::Forbid;
    cron.now = second("2026-11-24T05:10:00Z");
    for hour in 3..=5 {
        let (starts, skipped) = drain(&mut cron);
        assert_eq!((starts, skipped), (vec![second(&format!("2026-11-24T0{hour}:00:00Z"))], vec![]));
        let name = cron.active()[0].to_owned();
        cron.finish(&name, ChildState::Succeeded { at: cron.now });
    }
    assert_eq!(drain(&mut cron), (vec![], vec![]));
}

#[test]
fn an_edit_of_the_schedule_starts_nothing_of_the_past() {
    let mut cron = Fixture::new("0 3 * * *", "2026-11-24T02:00:00Z");
    cron.pass_at("2026-11-24T03:00:00Z");
    // By the new schedule 12:00 would have been missed.
    cron.spec.schedule = "0 12 * * *".into();
    let plan = cron.pass_at("2026-11-24T15:00:00Z");
    assert_eq!((plan.create, &plan.skipped), (None, &vec![]));
    assert_eq!(plan.wake_at, Some(second("2026-11-25T12:00:00Z")));
    // Nor does another zone.
    cron.spec.time_zone = Some("Pacific/Auckland".into());
    assert_eq!(cron.pass_at("2026-11-24T16:00:00Z").create, None);
    assert_eq!(cron.status.next, Some(second("2026-11-24T23:00:00Z")));
    // Other edits leave the cursor alone.
    cron.spec.starting_deadline_seconds = Some(100);
    assert_eq!(started(&cron.pass_at("2026-11-24T23:00:10Z")), Some(second("2026-11-24T23:00:00Z")));
}

#[test]
fn a_slot_that_was_due_when_the_schedule_was_edited_is_recorded() {
    let mut cron = Fixture::new("0 * * * *", "2026-11-24T02:00:00Z");
    cron.spec.concurrency_policy = ConcurrencyPolicy::Forbid;
    cron.pass_at("2026-11-24T03:00:00Z");
    cron.pass_at("2026-11-24T04:00:00Z");
    cron.spec.schedule = "30 * * * *".into();
    let plan = cron.pass_at("2026-11-24T04:45:00Z");
    let four = second("2026-11-24T04:00:00Z");
    assert_eq!(skips(&plan), [(four, four, SlotCount::AtLeast(1), SkipReason::ScheduleChanged)]);
    assert_eq!((plan.create, cron.status.waiting), (None, None));
}

#[test]
fn a_clock_that_is_set_back_repeats_nothing() {
    let mut cron = Fixture::new("*/10 * * * *", "2026-11-24T02:00:00Z");
    cron.pass_at("2026-11-24T02:10:00Z");
    cron.pass_at("2026-11-24T02:20:00Z");
    let plan = cron.pass_at("2026-11-24T02:15:00Z");
    assert_eq!((plan.create, plan.wake_at), (None, Some(second("2026-11-24T02:30:00Z"))));
    assert_eq!(cron.pass_at("2026-11-24T02:20:00Z").create, None);
    assert_eq!(started(&cron.pass_at("2026-11-24T02:30:00Z")), Some(second("2026-11-24T02:30:00Z")));

    // Far back, it is said. An edit does not open decided slots again either.
    let plan = cron.pass_at("2026-11-23T02:30:00Z");
    assert_eq!(reasons(&plan), ["ClockBehind"]);
    cron.spec.schedule = "*/5 * * * *".into();
    let plan = cron.pass();
    assert_eq!((plan.create, plan.wake_at), (None, Some(second("2026-11-24T02:35:00Z"))));
}

#[test]
fn a_clock_that_is_set_forward_follows_catch_up() {
    for (catch_up, starts) in [("none", 0), ("latest", 1), ("all", 100)] {
        let mut cron = Fixture::new("0 0 * * *", "2026-11-24T02:00:00Z").catch_up(catch_up);
        cron.now = second("2036-11-24T02:00:00Z");
        assert_eq!(drain(&mut cron).0.len(), starts, "{catch_up}");
    }
}
