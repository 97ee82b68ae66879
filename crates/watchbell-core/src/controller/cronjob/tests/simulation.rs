//! Random histories: the clock jumps, plans are lost, schedules and policies change, Jobs end and vanish.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SCHEDULES: &[(&str, Option<&str>)] = &[
    ("* * * * *", None),
    ("*/7 * * * *", Some("Australia/Lord_Howe")),
    ("30 1,2 * * *", Some("America/New_York")),
    ("0 0 * * 1", None),
    ("@every 37s", None),
    ("@every 2h", Some("Europe/Berlin")),
    ("0 0 30 2 *", None),
];

#[derive(Debug, Clone)]
enum Step {
    /// Time passes, with every wake-up on time.
    Run(i64),
    /// The machine sleeps, or the clock is set forward.
    Leap(i64),
    SetBack(i64),
    Edit(usize),
    Policy(ConcurrencyPolicy),
    CatchUp(&'static str),
    Deadline(Option<i64>),
    Suspend,
    Resume,
    /// The nth unfinished Job ends.
    Finish(usize, bool),
    /// The nth unfinished Job starts to go, or a going one is gone.
    Delete(usize),
    /// Somebody else takes the name of the next slot.
    Squat,
    /// A plan is made and lost.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let policy = prop::sample::select(vec![
        ConcurrencyPolicy::Allow,
        ConcurrencyPolicy::Forbid,
        ConcurrencyPolicy::Replace,
    ]);
    prop_oneof![
        6 => (1i64..4_000).prop_map(Step::Run),
        3 => (1i64..200_000).prop_map(Step::Leap),
        1 => (1i64..100_000).prop_map(Step::SetBack),
        1 => (0..SCHEDULES.len()).prop_map(Step::Edit),
        1 => policy.prop_map(Step::Policy),
        1 => prop::sample::select(vec!["none", "latest", "all"]).prop_map(Step::CatchUp),
        1 => prop::option::of(0i64..3_000).prop_map(Step::Deadline),
        1 => Just(Step::Suspend),
        2 => Just(Step::Resume),
        4 => (0usize..4, any::<bool>()).prop_map(|(nth, ok)| Step::Finish(nth, ok)),
        1 => (0usize..4).prop_map(Step::Delete),
        1 => Just(Step::Squat),
        1 => Just(Step::Crash),
    ]
}

/// What happened to each slot.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Started,
    Skipped,
}

#[derive(Default)]
struct Record {
    fates: BTreeMap<i64, Fate>,
}

/// All slots after `from`, counted from there.
fn slots_after(cron: &Fixture, from: i64) -> impl Iterator<Item = i64> {
    let timing = cron.facts().timing.expect("all schedules of the simulation are good ones");
    let mut at = Timestamp::from_second(from).expect("in range");
    std::iter::from_fn(move || {
        at = timing.schedule.next_after(&timing.time_zone, at)?;
        Some(at.as_second())
    })
}

/// All slots in `(from, to]`, counted from `from`.
fn slots_between(cron: &Fixture, from: i64, to: i64) -> Vec<i64> {
    slots_after(cron, from).take_while(|&slot| slot <= to).collect()
}

/// One pass, with everything that must hold of it.
fn pass(cron: &mut Fixture, record: &mut Record) -> CronPlan {
    let before = cron.status.clone();
    let edited = before.cursor.is_some() && before.schedule_hash != cron.facts().timing_hash;
    let unfinished = |cron: &Fixture| {
        cron.children
            .iter()
            .filter(|job| matches!(job.state, ChildState::Active | ChildState::Deleting))
            .count()
    };
    let running = unfinished(cron);
    let plan = cron.pass();
    let cursor = cron.status.cursor.expect("set by the first pass");
    assert!(before.cursor.is_none_or(|before| before <= cursor), "the cursor moved back");

    // A slot starts once, when it is due, and never under Forbid while something runs.
    if let Some(job) = &plan.create {
        assert_eq!(job.name, job_name("report", job.slot));
        assert!(job.slot <= cron.now && job.slot <= cursor);
        assert_eq!(
            record.fates.insert(job.slot, Fate::Started),
            None,
            "slot {} was decided before",
            job.slot
        );
        match cron.spec.concurrency_policy {
            ConcurrencyPolicy::Forbid => assert_eq!(running, 0, "Forbid was violated"),
            ConcurrencyPolicy::Replace => assert_eq!(cron.status.active.len(), 1),
            ConcurrencyPolicy::Allow => {}
        }
        assert!(!cron.spec.suspend);
    }

    // Between the old and the new cursor every slot has a fate.
    if edited {
        let due = before.next.filter(|&next| next <= cron.now);
        let recorded = plan.skipped.first().filter(|skip| skip.reason == SkipReason::ScheduleChanged);
        assert_eq!(recorded.map(|skip| skip.first), due);
        if let Some(due) = due {
            assert_eq!(record.fates.insert(due, Fate::Skipped), None);
        }
        assert_eq!(plan.create, None, "an edit started a slot of the past");
    } else if let Some(before) = before.cursor {
        let mut told = plan.skipped.iter().flat_map(|skip| {
            let slots: Vec<i64> = slots_between(cron, before, skip.slot)
                .into_iter()
                .filter(|&slot| slot >= skip.first)
                .collect();
            assert_eq!((slots.first(), slots.last()), (Some(&skip.first), Some(&skip.slot)), "{skip}");
            match skip.count {
                SlotCount::Exactly(count) => assert_eq!(slots.len(), count as usize, "{skip}"),
                SlotCount::AtLeast(count) => assert!(slots.len() >= count as usize, "{skip}"),
            }
            slots
        });
        for slot in slots_between(cron, before, cursor) {
            if started(&plan) != Some(slot) {
                assert_eq!(told.next(), Some(slot), "a slot without a reason");
                assert_eq!(record.fates.insert(slot, Fate::Skipped), None);
            }
        }
        assert_eq!(told.next(), None, "a reason without a slot");
    }

    // What is left to do has a wake-up.
    let next = slots_after(cron, cursor).next();
    assert_eq!(cron.status.next, next);
    if cron.spec.suspend {
        assert_eq!(plan.wake_at, None);
    } else if let Some(wake_at) = plan.wake_at {
        let undecided = slots_between(cron, cursor, wake_at);
        let waiting = cron.status.waiting;
        assert!(wake_at >= cron.now);
        assert!(
            wake_at == cron.now
                || undecided.iter().all(|slot| *slot == wake_at || *slot <= cron.now && waiting.is_some()),
            "{undecided:?} before {wake_at}"
        );
    } else {
        assert_eq!(next, None, "nobody wakes for {next:?}");
    }
    if plan.wake_at != Some(cron.now) {
        // Settled: the same look again does nothing.
        let again = cron.plan();
        assert_eq!((again.create, again.status, again.delete, again.skipped), (None, None, vec![], vec![]));
        assert_eq!(again.wake_at, plan.wake_at);
        assert!(
            again.events.iter().all(|e| matches!(e.reason, "ClockBehind" | "InvalidSchedule")),
            "{:?}",
            again.events
        );
    }
    plan
}

fn settle(cron: &mut Fixture, record: &mut Record) -> Option<i64> {
    loop {
        let plan = pass(cron, record);
        if plan.wake_at != Some(cron.now) {
            return plan.wake_at;
        }
    }
}

fn nth_unfinished(cron: &mut Fixture, nth: usize) -> Option<&mut ChildJob> {
    cron.children
        .iter_mut()
        .filter(|job| matches!(job.state, ChildState::Active | ChildState::Deleting))
        .nth(nth)
}

fn take(step: &Step, cron: &mut Fixture, record: &mut Record) {
    let now = cron.now;
    match step {
        Step::Run(seconds) => {
            let end = now + seconds;
            while let Some(wake_at) = settle(cron, record).filter(|&at| at <= end) {
                cron.now = wake_at;
            }
            cron.now = end;
        }
        Step::Leap(seconds) => cron.now += seconds,
        Step::SetBack(seconds) => cron.now -= seconds,
        Step::Edit(nth) => {
            let (schedule, zone) = SCHEDULES[*nth];
            cron.spec.schedule = schedule.to_owned();
            cron.spec.time_zone = zone.map(str::to_owned);
        }
        Step::Policy(policy) => cron.spec.concurrency_policy = *policy,
        Step::CatchUp(value) => {
            cron.annotations.insert(CATCH_UP.to_owned(), (*value).to_owned());
        }
        Step::Deadline(seconds) => cron.spec.starting_deadline_seconds = *seconds,
        Step::Suspend => cron.spec.suspend = true,
        Step::Resume => cron.spec.suspend = false,
        Step::Finish(nth, ok) => {
            if let Some(job) = nth_unfinished(cron, *nth) {
                job.state =
                    if *ok { ChildState::Succeeded { at: now } } else { ChildState::Failed { at: now } };
            }
        }
        Step::Delete(nth) => {
            if let Some(job) = nth_unfinished(cron, *nth) {
                if job.state == ChildState::Deleting {
                    let uid = job.uid;
                    cron.children.retain(|job| job.uid != uid);
                } else {
                    job.state = ChildState::Deleting;
                }
            }
        }
        Step::Squat => {
            if let Some(next) = cron.status.next {
                cron.foreign.insert(job_name("report", next));
            }
        }
        Step::Crash => drop(cron.plan()),
    }
    settle(cron, record);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_history_doubles_a_slot_or_loses_one(first in 0..SCHEDULES.len(), steps in prop::collection::vec(step(), 1..40)) {
        let (schedule, zone) = SCHEDULES[first];
        // Just before New York's clock goes back.
        let mut cron = Fixture::new(schedule, "2026-10-31T23:59:00Z");
        let mut record = Record::default();
        cron.spec.time_zone = zone.map(str::to_owned);
        for step in &steps {
            take(step, &mut cron, &mut record);
        }
        let started = record.fates.values().filter(|&fate| *fate == Fate::Started).count();
        prop_assert_eq!(cron.status.last_schedule_time.is_some(), started > 0);
    }
}
