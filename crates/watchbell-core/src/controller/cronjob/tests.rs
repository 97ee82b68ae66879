//! The controller against Kubernetes' documented behaviours, case by case, and against random histories.

mod history;
mod missed;
mod policy;
mod simulation;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use watchbell_api::types::cronjob::{ConcurrencyPolicy, CronJobSpec};

use super::*;
use crate::controller::event::EventKind;

/// A CronJob, its Jobs and a clock, with every plan carried out as the caller does.
struct Fixture {
    spec: CronJobSpec,
    annotations: BTreeMap<String, String>,
    created_at: i64,
    now: i64,
    status: CronJobStatus,
    children: Vec<ChildJob>,
    foreign: BTreeSet<String>,
    uids: u128,
}

impl Fixture {
    /// A CronJob named `report`, created at `now` and reconciled once.
    fn new(schedule: &str, now: &str) -> Fixture {
        let now = second(now);
        let mut fixture = Fixture {
            spec: CronJobSpec {
                schedule: schedule.to_owned(),
                time_zone: None,
                starting_deadline_seconds: None,
                concurrency_policy: ConcurrencyPolicy::Allow,
                suspend: false,
                successful_jobs_history_limit: None,
                failed_jobs_history_limit: None,
                job_template: watchbell_api::types::job::JobTemplate::default(),
            },
            annotations: BTreeMap::new(),
            created_at: now,
            now,
            status: CronJobStatus::default(),
            children: Vec::new(),
            foreign: BTreeSet::new(),
            uids: 0,
        };
        fixture.pass();
        fixture
    }

    fn facts(&self) -> CronJobFacts {
        CronJobFacts::new(&self.spec, &self.annotations).expect("the annotations are known ones")
    }

    fn catch_up(mut self, value: &str) -> Fixture {
        self.annotations.insert(CATCH_UP.to_owned(), value.to_owned());
        self
    }

    fn plan(&self) -> CronPlan {
        let foreign = |name: &str| self.foreign.contains(name);
        let view = CronView {
            name: "report",
            uid: 1,
            created_at: self.created_at,
            facts: &self.facts(),
            status: &self.status,
            children: &self.children,
            foreign_job: &foreign,
            hold: None,
        };
        reconcile(&view, Timestamp::from_second(self.now).expect("the tests stay in range"))
    }

    /// One reconcile, carried out.
    fn pass(&mut self) -> CronPlan {
        let plan = self.plan();
        for job in &plan.delete {
            self.children.retain(|child| child.uid != job.uid);
        }
        if let Some(status) = &plan.status {
            self.status = status.clone();
        }
        if let Some(job) = &plan.create {
            let uid = self.add(&job.name, ChildState::Active);
            self.status.active.push(JobRef { name: job.name.as_str().into(), uid });
        }
        plan
    }

    fn pass_at(&mut self, now: &str) -> CronPlan {
        self.now = second(now);
        self.pass()
    }

    fn add(&mut self, name: &str, state: ChildState) -> u128 {
        self.uids += 1;
        self.children.push(ChildJob {
            name: Arc::from(name),
            uid: self.uids,
            created_at: self.now,
            start_time: Some(self.now),
            state,
        });
        self.uids
    }

    fn finish(&mut self, name: &str, state: ChildState) {
        let job = self.children.iter_mut().find(|job| *job.name == *name);
        job.unwrap_or_else(|| panic!("no job {name}")).state = state;
    }

    fn active(&self) -> Vec<&str> {
        self.status.active.iter().map(|job| &*job.name).collect()
    }
}

fn second(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap_or_else(|e| panic!("{text}: {e}")).as_second()
}

fn started(plan: &CronPlan) -> Option<i64> {
    plan.create.as_ref().map(|job| job.slot)
}

fn reasons(plan: &CronPlan) -> Vec<&'static str> {
    plan.events.iter().map(|event| event.reason).collect()
}

fn skips(plan: &CronPlan) -> Vec<(i64, i64, SlotCount, SkipReason)> {
    plan.skipped.iter().map(|s| (s.first, s.slot, s.count, s.reason)).collect()
}

#[test]
fn starts_each_slot_once_and_sleeps_in_between() {
    let mut cron = Fixture::new("*/10 * * * *", "2026-11-24T02:00:00Z");
    assert_eq!(cron.status.next, Some(second("2026-11-24T02:10:00Z")));
    assert_eq!(cron.plan().wake_at, cron.status.next);
    // The second of its creation is not a slot.
    assert_eq!(started(&cron.plan()), None);

    let plan = cron.pass_at("2026-11-24T02:10:00Z");
    assert_eq!(
        plan.create,
        Some(NewJob { name: "report-29924770".into(), slot: second("2026-11-24T02:10:00Z") })
    );
    assert_eq!(reasons(&plan), ["SuccessfulCreate"]);
    assert_eq!(plan.events[0].message, "Created job report-29924770");
    assert_eq!(plan.wake_at, Some(second("2026-11-24T02:20:00Z")));
    assert_eq!(cron.status.last_schedule_time, Some(second("2026-11-24T02:10:00Z")));
    assert_eq!(cron.active(), ["report-29924770"]);

    // Looking again changes nothing.
    let again = cron.pass();
    assert_eq!(again, CronPlan { wake_at: plan.wake_at, ..CronPlan::default() });
}

#[test]
fn jobs_of_an_overlap_have_names_of_their_own() {
    let mut cron = Fixture::new("30 1 * * *", "2026-10-31T12:00:00Z");
    cron.spec.time_zone = Some("America/New_York".into());
    cron.now += 1;
    cron.pass();
    let first = cron.pass_at("2026-11-01T05:30:00Z").create.expect("01:30 daylight time");
    let second = cron.pass_at("2026-11-01T06:30:00Z").create.expect("01:30 standard time");
    assert_eq!((first.name.as_str(), second.name.as_str()), ("report-29891850", "report-29891910"));
}

#[test]
fn names_gain_seconds_off_the_minute() {
    assert_eq!(job_name("a", 0), "a-0");
    assert_eq!(job_name("a", 1_795_485_000), "a-29924750");
    assert_eq!(job_name("a", 1_795_485_005), "a-2992475005");
    assert_eq!(job_name(&"x".repeat(52), 1_795_485_030).len(), 63);

    let mut cron = Fixture::new("@every 90s", "2026-11-24T02:00:07Z");
    let plan = cron.pass_at("2026-11-24T02:01:37Z");
    assert_eq!(plan.create.map(|job| job.name), Some("report-2992476137".into()));
    // An interval is counted from slot to slot, not from when it was looked at.
    assert_eq!(plan.wake_at, Some(second("2026-11-24T02:03:07Z")));
    let plan = cron.pass_at("2026-11-24T02:03:20Z");
    assert_eq!(started(&plan), Some(second("2026-11-24T02:03:07Z")));
}

#[test]
fn what_cannot_be_scheduled_is_said_and_not_looked_at_again() {
    let check = |schedule: &str, zone: Option<&str>, reason: &str, message: &str| {
        let mut cron = Fixture::new("* * * * *", "2026-11-24T02:00:00Z");
        cron.spec.schedule = schedule.into();
        cron.spec.time_zone = zone.map(Into::into);
        let plan = cron.pass_at("2026-11-24T03:00:00Z");
        let event = plan.events.last().expect("an event");
        assert_eq!((event.kind, event.reason, event.message.as_str()), (EventKind::Warning, reason, message));
        assert_eq!((plan.create, plan.wake_at), (None, None));
    };
    check(
        "61 * * * *",
        None,
        "UnparseableSchedule",
        "unparseable schedule: minute: end of range (61) above maximum (59): \"61\"",
    );
    check(
        "0 0 * * *",
        Some("Mars/Olympus"),
        "UnknownTimeZone",
        "invalid timeZone: unknown time zone \"Mars/Olympus\"; give a name of the IANA data such as Europe/Berlin, or leave \
         the field out for UTC",
    );
    check(
        "0 0 30 2 *",
        None,
        "InvalidSchedule",
        "invalid schedule: no date of the calendar matches it, so it never fires",
    );
}

#[test]
fn an_annotation_of_ours_with_an_unknown_value_is_refused() {
    let cron = Fixture::new("* * * * *", "2026-11-24T02:00:00Z").catch_up("everything");
    let error = CronJobFacts::new(&cron.spec, &cron.annotations).expect_err("no such value");
    assert_eq!(
        error.to_string(),
        "annotation watchbell.dev/catch-up: \"everything\" is not known; it takes none, latest or all"
    );
}

#[test]
fn a_status_is_stored_and_read_back() {
    let skip =
        Skipped { first: 1, slot: 61, count: SlotCount::AtLeast(2), reason: SkipReason::ScheduleChanged };
    assert_eq!(
        skip.to_string(),
        "2 or more slots from 1970-01-01T00:00:01Z to 1970-01-01T00:01:01Z: the schedule was changed before it could start"
    );
    let status = CronJobStatus {
        active: vec![JobRef { name: "report-1".into(), uid: u128::MAX }],
        last_schedule_time: Some(-1),
        last_successful_time: None,
        cursor: Some(i64::MAX),
        schedule_hash: 7,
        next: None,
        waiting: Some(3),
        suspended_at: Some(4),
        last_skip: Some(Box::new(skip)),
        held: None,
    };
    let bytes = postcard::to_allocvec(&status).expect("a status is plain data");
    assert_eq!(postcard::from_bytes::<CronJobStatus>(&bytes), Ok(status));
}
