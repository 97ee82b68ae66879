//! The active list and finished Jobs.

use super::*;

#[test]
fn finished_and_missing_jobs_leave_the_active_list() {
    let mut cron = Fixture::new("* * * * *", "2026-11-24T02:00:00Z");
    for minute in 1..=3 {
        cron.pass_at(&format!("2026-11-24T02:0{minute}:00Z"));
    }
    // Several Jobs at a time, with Allow.
    assert_eq!(cron.active(), ["report-29924761", "report-29924762", "report-29924763"]);

    cron.finish("report-29924761", ChildState::Succeeded { at: cron.now + 5 });
    cron.finish("report-29924762", ChildState::Failed { at: cron.now + 6 });
    cron.children.retain(|job| &*job.name != "report-29924763");
    cron.now += 10;
    let plan = cron.pass();
    let told: Vec<_> = plan.events.iter().map(|e| (e.reason, e.message.as_str())).collect();
    assert_eq!(
        told,
        [
            ("SawCompletedJob", "Saw completed job: report-29924761, condition: Complete"),
            ("SawCompletedJob", "Saw completed job: report-29924762, condition: Failed"),
            ("MissingJob", "Active job went missing: report-29924763"),
        ]
    );
    assert_eq!(cron.active(), [""; 0]);
    assert_eq!(cron.status.last_successful_time, Some(cron.now - 5));
    // The slots of Jobs that vanished stay decided.
    assert_eq!(cron.pass().create, None);
}

#[test]
fn the_last_successful_time_is_the_latest_completion_also_of_jobs_not_in_the_list() {
    let mut cron = Fixture::new("0 0 1 1 *", "2026-11-24T02:00:00Z");
    cron.add("by-hand", ChildState::Succeeded { at: 500 });
    cron.add("earlier", ChildState::Succeeded { at: 400 });
    let plan = cron.pass();
    assert_eq!(cron.status.last_successful_time, Some(500));
    assert_eq!(reasons(&plan), [""; 0]);
}

#[test]
fn an_unexpected_job_is_taken_into_the_list_and_told_once() {
    let mut cron = Fixture::new("0 0 1 1 *", "2026-11-24T02:00:00Z");
    cron.add("by-hand", ChildState::Active);
    let plan = cron.pass();
    assert_eq!(plan.events[0].reason, "UnexpectedJob");
    assert_eq!(plan.events[0].message, "Saw a job that the controller did not create or forgot: by-hand");
    assert_eq!(cron.active(), ["by-hand"]);
    assert_eq!(cron.pass().events, []);
}

#[test]
fn the_oldest_finished_jobs_beyond_the_limits_go() {
    let check = |successful: Option<u32>, failed: Option<u32>, expect: &[(&str, DeleteReason)]| {
        let mut cron = Fixture::new("0 0 1 1 *", "2026-11-24T02:00:00Z");
        cron.spec.successful_jobs_history_limit = successful;
        cron.spec.failed_jobs_history_limit = failed;
        // In no order; d and e started at the same time, f never.
        for (name, start, state) in [
            ("c", Some(30), ChildState::Succeeded { at: 31 }),
            ("a", Some(10), ChildState::Succeeded { at: 99 }),
            ("e", Some(40), ChildState::Succeeded { at: 41 }),
            ("d", Some(40), ChildState::Succeeded { at: 42 }),
            ("f", None, ChildState::Succeeded { at: 1 }),
            ("y", Some(20), ChildState::Failed { at: 21 }),
            ("x", Some(10), ChildState::Failed { at: 11 }),
            ("z", Some(5), ChildState::Active),
            ("w", Some(4), ChildState::Deleting),
        ] {
            cron.add(name, state);
            cron.children.last_mut().expect("just added").start_time = start;
        }
        let plan = cron.pass();
        let deleted: Vec<_> = plan.delete.iter().map(|job| (&*job.name, job.why)).collect();
        assert_eq!(deleted, expect);
        let told = plan.events.iter().filter(|event| event.reason == "SuccessfulDelete").count();
        assert_eq!(told, expect.len());
    };
    use DeleteReason::{FailedHistory, SuccessfulHistory};
    check(None, None, &[("a", SuccessfulHistory), ("c", SuccessfulHistory), ("x", FailedHistory)]);
    check(
        Some(1),
        Some(2),
        &[
            ("a", SuccessfulHistory),
            ("c", SuccessfulHistory),
            ("d", SuccessfulHistory),
            ("e", SuccessfulHistory),
        ],
    );
    check(Some(9), Some(0), &[("x", FailedHistory), ("y", FailedHistory)]);
    check(Some(u32::MAX), Some(1), &[("x", FailedHistory)]);
}

#[test]
fn a_suspended_cronjob_still_keeps_its_lists() {
    let mut cron = Fixture::new("* * * * *", "2026-11-24T02:00:00Z");
    cron.pass_at("2026-11-24T02:01:00Z");
    cron.spec.suspend = true;
    cron.spec.successful_jobs_history_limit = Some(0);
    cron.finish("report-29924761", ChildState::Succeeded { at: cron.now });
    let plan = cron.pass_at("2026-11-24T02:02:00Z");
    assert_eq!(reasons(&plan), ["SawCompletedJob", "SuccessfulDelete"]);
    assert_eq!(plan.wake_at, None);
}
