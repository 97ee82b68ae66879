//! `concurrencyPolicy`, `suspend`, and names that are taken.

use super::*;

fn minute(minute: i64) -> i64 {
    second("2026-11-24T02:00:00Z") + 60 * minute
}

#[test]
fn forbid_lets_a_slot_wait_for_the_running_job_and_starts_the_latest_then() {
    let mut cron = Fixture::new("* * * * *", "2026-11-24T02:00:00Z");
    cron.spec.concurrency_policy = ConcurrencyPolicy::Forbid;
    assert_eq!(started(&cron.pass_at("2026-11-24T02:01:00Z")), Some(minute(1)));

    let plan = cron.pass_at("2026-11-24T02:02:00Z");
    assert_eq!((plan.create, &plan.skipped), (None, &vec![]));
    assert_eq!(
        plan.events.iter().map(|e| (e.kind, e.reason)).collect::<Vec<_>>(),
        [(EventKind::Normal, "JobAlreadyActive")]
    );
    assert_eq!(plan.wake_at, Some(minute(3)));
    assert_eq!(cron.status.waiting, Some(minute(2)));
    // Told once.
    assert_eq!(cron.pass().events, []);

    // The next slot takes its place.
    let plan = cron.pass_at("2026-11-24T02:03:00Z");
    assert_eq!(skips(&plan), [(minute(2), minute(2), SlotCount::Exactly(1), SkipReason::JobAlreadyActive)]);
    assert_eq!(reasons(&plan), ["JobAlreadyActive"]);

    // As in Kubernetes, it starts when the Job has ended.
    cron.finish("report-29924761", ChildState::Succeeded { at: minute(3) + 20 });
    let plan = cron.pass_at("2026-11-24T02:03:20Z");
    assert_eq!(started(&plan), Some(minute(3)));
    assert_eq!(reasons(&plan), ["SawCompletedJob", "SuccessfulCreate"]);
    assert_eq!(cron.status.waiting, None);
}

#[test]
fn forbid_heeds_the_starting_deadline() {
    let mut cron = Fixture::new("*/10 * * * *", "2026-11-24T02:00:00Z");
    cron.spec.concurrency_policy = ConcurrencyPolicy::Forbid;
    cron.spec.starting_deadline_seconds = Some(30);
    cron.pass_at("2026-11-24T02:10:00Z");
    // Woken when the waiting slot becomes too late, not only for the next one.
    assert_eq!(cron.pass_at("2026-11-24T02:20:00Z").wake_at, Some(minute(20) + 31));
    let plan = cron.pass_at("2026-11-24T02:20:31Z");
    assert_eq!(skips(&plan), [(minute(20), minute(20), SlotCount::Exactly(1), SkipReason::StartingDeadline)]);
    assert_eq!(reasons(&plan), ["MissSchedule"]);
    assert_eq!(plan.wake_at, Some(minute(30)));
}

#[test]
fn forbid_counts_jobs_made_by_hand_and_jobs_that_are_going() {
    for state in [ChildState::Active, ChildState::Deleting] {
        let mut cron = Fixture::new("* * * * *", "2026-11-24T02:00:00Z");
        cron.spec.concurrency_policy = ConcurrencyPolicy::Forbid;
        cron.add("by-hand", state);
        let plan = cron.pass_at("2026-11-24T02:01:00Z");
        assert_eq!(plan.create, None, "{state:?}");
        assert!(reasons(&plan).contains(&"JobAlreadyActive"));
    }
}

#[test]
fn replace_deletes_what_runs() {
    let mut cron = Fixture::new("* * * * *", "2026-11-24T02:00:00Z");
    cron.spec.concurrency_policy = ConcurrencyPolicy::Replace;
    cron.pass_at("2026-11-24T02:01:00Z");
    let plan = cron.pass_at("2026-11-24T02:02:00Z");
    let deleted: Vec<_> = plan.delete.iter().map(|job| (&*job.name, job.why)).collect();
    assert_eq!(deleted, [("report-29924761", DeleteReason::Replaced)]);
    assert_eq!(reasons(&plan), ["SuccessfulDelete", "SuccessfulCreate"]);
    assert_eq!(cron.active(), ["report-29924762"]);
    // One that is already going is not deleted again.
    cron.finish("report-29924762", ChildState::Deleting);
    let plan = cron.pass_at("2026-11-24T02:03:00Z");
    assert_eq!((started(&plan), plan.delete), (Some(minute(3)), vec![]));
    assert_eq!(cron.active(), ["report-29924763"]);
}

#[test]
fn nothing_starts_while_suspended_and_the_latest_slot_does_on_resume() {
    let mut cron = Fixture::new("* * * * *", "2026-11-24T02:00:00Z");
    cron.pass_at("2026-11-24T02:01:00Z");
    cron.spec.suspend = true;
    let plan = cron.pass_at("2026-11-24T02:01:30Z");
    assert_eq!((plan.create, plan.wake_at), (None, None));
    assert_eq!(cron.pass_at("2026-11-24T02:07:00Z"), CronPlan::default());

    cron.spec.suspend = false;
    let plan = cron.pass_at("2026-11-24T02:09:30Z");
    assert_eq!(skips(&plan), [(minute(2), minute(8), SlotCount::Exactly(7), SkipReason::Suspended)]);
    assert_eq!(started(&plan), Some(minute(9)));
    assert_eq!(reasons(&plan), ["SuccessfulCreate"]);
    assert_eq!(cron.status.suspended_at, None);
}

#[test]
fn on_resume_the_starting_deadline_and_catch_up_decide() {
    let resumed = |change: fn(&mut Fixture)| {
        let mut cron = Fixture::new("0 * * * *", "2026-11-24T02:00:00Z");
        cron.spec.suspend = true;
        cron.pass_at("2026-11-24T02:00:10Z");
        cron.spec.suspend = false;
        change(&mut cron);
        let plan = cron.pass_at("2026-11-24T04:30:00Z");
        (started(&plan), skips(&plan))
    };
    let (three, four) = (minute(60), minute(120));
    let one = SlotCount::Exactly(1);
    assert_eq!(resumed(|_| {}), (Some(four), vec![(three, three, one, SkipReason::Suspended)]));
    assert_eq!(
        resumed(|cron| cron.spec.starting_deadline_seconds = Some(600)),
        (
            None,
            vec![(three, three, one, SkipReason::Suspended), (four, four, one, SkipReason::StartingDeadline)]
        )
    );
    assert_eq!(
        resumed(|cron| {
            cron.annotations.insert(CATCH_UP.into(), "none".into());
        }),
        (None, vec![(three, three, one, SkipReason::Suspended), (four, four, one, SkipReason::Suspended)])
    );
}

#[test]
fn a_name_that_is_taken_is_a_recorded_reason() {
    let mut cron = Fixture::new("* * * * *", "2026-11-24T02:00:00Z");
    cron.spec.concurrency_policy = ConcurrencyPolicy::Replace;
    cron.add("running", ChildState::Active);
    cron.foreign.insert("report-29924761".into());
    let plan = cron.pass_at("2026-11-24T02:01:00Z");
    assert_eq!(skips(&plan), [(minute(1), minute(1), SlotCount::Exactly(1), SkipReason::ForeignJob)]);
    assert!(reasons(&plan).contains(&"FailedCreate"));
    // Nothing was deleted for a Job that does not start.
    assert_eq!(plan.delete, []);
    assert_eq!(cron.pass().events, []);

    cron.add("report-29924762", ChildState::Failed { at: 1 });
    let plan = cron.pass_at("2026-11-24T02:02:00Z");
    assert_eq!(skips(&plan), [(minute(2), minute(2), SlotCount::Exactly(1), SkipReason::JobExists)]);
    assert_eq!(started(&cron.pass_at("2026-11-24T02:03:00Z")), Some(minute(3)));
}

#[test]
fn a_slot_whose_job_cannot_be_made_stays_open() {
    let mut cron = Fixture::new("*/10 * * * *", "2026-11-24T02:00:00Z");
    cron.pass_at("2026-11-24T02:10:00Z");
    cron.now = minute(40);
    let mut plan = cron.plan();
    assert_eq!(started(&plan), Some(minute(40)));
    plan.keep_slot_open(&cron.facts(), cron.now);
    assert_eq!((&plan.create, plan.wake_at), (&None, Some(minute(40) + 1)));
    assert_eq!(reasons(&plan), ["MissSchedule"]);
    // The slots before it are decided all the same, and told once.
    assert_eq!(plan.skipped.len(), 1);
    cron.status = plan.status.expect("the cursor moved");
    assert_eq!(cron.status.last_schedule_time, Some(minute(10)));
    let plan = cron.pass_at("2026-11-24T02:41:00Z");
    assert_eq!((started(&plan), plan.skipped), (Some(minute(40)), vec![]));
}

#[test]
fn a_slot_is_tried_again_before_it_is_too_late() {
    let tries = |deadline: Option<i64>| {
        let mut cron = Fixture::new("*/10 * * * *", "2026-11-24T02:00:00Z");
        cron.spec.starting_deadline_seconds = deadline;
        cron.now = minute(10);
        let mut late = Vec::new();
        loop {
            let mut plan = cron.plan();
            if started(&plan) != Some(minute(10)) {
                return (late, skips(&plan).len());
            }
            late.push(cron.now - minute(10));
            plan.keep_slot_open(&cron.facts(), cron.now);
            cron.status = plan.status.unwrap_or(cron.status);
            cron.now = plan.wake_at.expect("it is tried again");
        }
    };
    let to_the_next = [0, 1, 2, 4, 8, 16, 32, 64, 124, 184, 244, 304, 364, 424, 484, 544];
    assert_eq!(tries(None), (to_the_next.into(), 1), "the next slot takes over");
    assert_eq!(tries(Some(20)), (vec![0, 1, 2, 4, 8, 16, 20], 1));
    assert_eq!(tries(Some(64)), (vec![0, 1, 2, 4, 8, 16, 32, 64], 1));
    assert_eq!(tries(Some(0)), (vec![0], 1));
}
