//! Which slot starts, which waits, which is skipped.

use jiff::Timestamp;
use watchbell_api::types::cronjob::ConcurrencyPolicy;

use super::children;
use super::{
    BeforeCreate, CatchUp, ChildState, CronJobFacts, CronJobStatus, CronPlan, CronView, DeleteReason, NewJob,
    SkipReason, Skipped, SlotCount, Timing, Unschedulable,
};
use crate::controller::event::PlannedEvent;

/// How many missed slots `watchbell.dev/catch-up: all` makes up for.
pub const CATCH_UP_MAX: usize = 100;

/// The longest wait between two tries to make the Job of a slot.
const RETRY_SECONDS_MAX: i64 = 60;

/// How late a slot may start with `watchbell.dev/catch-up: none`: the due ones of a busy minute are not "missed".
const ON_TIME_SECONDS: i64 = 60;

/// Skipped slots are counted up to here.
const COUNTED_MAX: u32 = 1000;

/// Kubernetes' event for a Job that was made.
pub(super) const SUCCESSFUL_CREATE: &str = "SuccessfulCreate";

/// A clock that is this far behind the last decided slot is spoken of.
const CLOCK_BEHIND_SECONDS: i64 = 600;

/// The name of a slot's Job: `<cronjob>-<minutes since 1970>` as in Kubernetes, and the seconds in two more digits when
/// the slot is off the minute. Unique among the slots of a CronJob, and at most 11 characters longer than its name.
pub fn job_name(cronjob: &str, slot: i64) -> String {
    match (slot.div_euclid(60), slot.rem_euclid(60)) {
        (minutes, 0) => format!("{cronjob}-{minutes}"),
        (minutes, seconds) => format!("{cronjob}-{minutes}{seconds:02}"),
    }
}

/// The CronJob one of whose slots would have a Job of this name; `None`: no slot's Job is named so.
pub fn slot_owner(job: &str) -> Option<&str> {
    let (cronjob, slot) = job.rsplit_once('-')?;
    // A minute before 1970 has a sign, which is no digit: "a--1" is no slot that will come.
    let is_slot = !cronjob.is_empty() && !slot.is_empty() && slot.bytes().all(|b| b.is_ascii_digit());
    is_slot.then_some(cronjob)
}

/// The slots behind the cursor, which is where an interval counts from.
struct Timeline<'a> {
    timing: &'a Timing,
    cursor: i64,
}

impl Timeline<'_> {
    /// The last slot behind the cursor, at or before a second.
    fn at_or_before(&self, second: i64) -> Option<i64> {
        let slot =
            self.timing.schedule.latest(&self.timing.time_zone, instant(self.cursor)?, instant(second)?);
        slot.map(Timestamp::as_second)
    }

    /// The first slot after a second and behind the cursor.
    fn after(&self, second: i64) -> Option<i64> {
        // Where an interval is, a slot can be counted from.
        let from = match self.timing.schedule.interval() {
            Some(_) => self.at_or_before(second).unwrap_or(self.cursor),
            None => second.max(self.cursor),
        };
        let slot = self.timing.schedule.next_after(&self.timing.time_zone, instant(from)?);
        slot.map(Timestamp::as_second)
    }

    /// The slots in `(from, to]` as one record, if there are any.
    fn skipped(&self, from: i64, to: i64, reason: SkipReason) -> Option<Skipped> {
        let first = self.after(from).filter(|&slot| slot <= to)?;
        let last = self.at_or_before(to)?;
        Some(Skipped { first, slot: last, count: self.count(first, last), reason })
    }

    /// How many slots there are from one to another.
    fn count(&self, first: i64, last: i64) -> SlotCount {
        if let Some(interval) = self.timing.schedule.interval() {
            let count = last.abs_diff(first) / interval + 1;
            return u32::try_from(count).map_or(SlotCount::AtLeast(u32::MAX), SlotCount::Exactly);
        }
        let mut count = 1;
        let mut slot = first;
        while slot < last
            && let Some(next) = self.after(slot)
        {
            if count == COUNTED_MAX {
                return SlotCount::AtLeast(count);
            }
            (slot, count) = (next, count + 1);
        }
        SlotCount::Exactly(count)
    }
}

fn instant(second: i64) -> Option<Timestamp> {
    Timestamp::from_second(second).ok()
}

/// Decides what is due at `now`, moves the cursor, and says when to look again.
pub(super) fn decide(view: &CronView<'_>, now: i64, status: &mut CronJobStatus, plan: &mut CronPlan) {
    let timing = match &view.facts.timing {
        Ok(timing) => timing,
        Err(unschedulable) => {
            plan.events.push(unschedulable_event(unschedulable));
            return;
        }
    };
    let cursor = begin(view, now, status, plan);
    let mut timeline = Timeline { timing, cursor };
    status.next = timeline.after(cursor);

    if view.facts.suspend {
        status.suspended_at.get_or_insert(now);
        return;
    }
    let suspended_at = status.suspended_at.take();
    match timeline.at_or_before(now) {
        None => {
            status.waiting = None;
            plan.wake_at = status.next;
            say_why_nothing_is_due(timing, cursor, now, plan);
        }
        Some(latest) => {
            settle(view, now, latest, suspended_at, &mut timeline, status, plan);
            status.cursor = Some(timeline.cursor);
            status.next = timeline.after(timeline.cursor);
            plan.wake_at = match status.waiting {
                // The next slot, or the end of the time in which this one may start. The end of the running Job wakes, too.
                Some(slot) => {
                    let too_late =
                        deadline(view.facts).map(|seconds| slot.saturating_add(seconds).saturating_add(1));
                    [timeline.after(now), too_late].into_iter().flatten().min()
                }
                None => status.next.map(|next| next.max(now)),
            };
        }
    }
}

/// Where to count from: the cursor; at first the creation; after an edit of the schedule the time of the edit, so that
/// it starts nothing of the past.
fn begin(view: &CronView<'_>, now: i64, status: &mut CronJobStatus, plan: &mut CronPlan) -> i64 {
    let cursor = match status.cursor {
        None => view.created_at,
        Some(cursor) if status.schedule_hash == view.facts.timing_hash => cursor,
        Some(cursor) => {
            if let Some(due) = status.next.filter(|&next| next <= now) {
                // The earlier schedule is gone; it is known when its next slot was, not how many followed.
                plan.skipped.push(Skipped {
                    first: due,
                    slot: due,
                    count: SlotCount::AtLeast(1),
                    reason: SkipReason::ScheduleChanged,
                });
            }
            status.waiting = None;
            // Not before the cursor: with the clock set back, a slot that was decided must stay so.
            cursor.max(now)
        }
    };
    status.cursor = Some(cursor);
    status.schedule_hash = view.facts.timing_hash;
    cursor
}

fn unschedulable_event(unschedulable: &Unschedulable) -> PlannedEvent {
    let reason = match unschedulable {
        Unschedulable::Schedule(_) => "UnparseableSchedule",
        Unschedulable::TimeZone(_) => "UnknownTimeZone",
    };
    let field = match unschedulable {
        Unschedulable::Schedule(_) => "unparseable schedule",
        Unschedulable::TimeZone(_) => "invalid timeZone",
    };
    PlannedEvent::warning(reason, format!("{field}: {unschedulable}"))
}

fn say_why_nothing_is_due(timing: &Timing, cursor: i64, now: i64, plan: &mut CronPlan) {
    if timing.schedule.never_fires() {
        let message = "invalid schedule: no date of the calendar matches it, so it never fires";
        plan.events.push(PlannedEvent::warning("InvalidSchedule", message));
    } else if cursor.saturating_sub(now) > CLOCK_BEHIND_SECONDS {
        let message = format!(
            "the clock is {} s behind the last decided slot ({}), so nothing starts until then; if the clock was wrong \
             before and is right now, delete this CronJob and create it again",
            cursor.abs_diff(now),
            rfc1123(cursor),
        );
        plan.events.push(PlannedEvent::warning("ClockBehind", message));
    }
}

fn deadline(facts: &CronJobFacts) -> Option<i64> {
    facts.starting_deadline_seconds.map(|seconds| seconds.max(0))
}

/// When a slot whose Job could not be made is tried again: each time it waits as long as it is late, so that the waits
/// double, up to [`RETRY_SECONDS_MAX`]. The last second of its deadline is not missed, and nor is its end.
pub(super) fn retry_at(slot: i64, facts: &CronJobFacts, now: i64) -> i64 {
    let retry = now.saturating_add(now.saturating_sub(slot).clamp(1, RETRY_SECONDS_MAX));
    match deadline(facts).map(|seconds| slot.saturating_add(seconds)) {
        Some(last) if now < last => retry.min(last),
        Some(_) => now.saturating_add(1),
        None => retry,
    }
}

/// Decides all slots up to `latest`, the last one that is due, except one that waits. Moves the timeline's cursor.
fn settle(
    view: &CronView<'_>,
    now: i64,
    latest: i64,
    suspended_at: Option<i64>,
    timeline: &mut Timeline<'_>,
    status: &mut CronJobStatus,
    plan: &mut CronPlan,
) {
    // Slots before this second are too late.
    let earliest = deadline(view.facts).map_or(i64::MIN, |seconds| now.saturating_sub(seconds));
    let catch_up = match (view.facts.catch_up, view.facts.concurrency_policy) {
        // Each would at once be replaced by the one behind it.
        (CatchUp::All, ConcurrencyPolicy::Replace) => CatchUp::Latest,
        (catch_up, _) => catch_up,
    };
    let target = match catch_up {
        CatchUp::None | CatchUp::Latest => latest,
        CatchUp::All => oldest_to_make_up_for(timeline, latest, earliest),
    };
    let waited = status.waiting.take();
    skip_before(target, earliest, catch_up, waited, suspended_at, timeline, plan);

    // What stands behind a skipped slot is settled by the next pass.
    let late = now - target > ON_TIME_SECONDS;
    if target < earliest {
        return skip(target, SkipReason::StartingDeadline, timeline, plan);
    }
    if catch_up == CatchUp::None && late {
        let suspended = suspended_at.is_some_and(|since| target > since);
        let reason = if suspended { SkipReason::Suspended } else { SkipReason::CatchUpNone };
        return skip(target, reason, timeline, plan);
    }
    if view.hold.is_some() {
        return skip(target, SkipReason::ImagePolicy, timeline, plan);
    }
    let name = job_name(view.name, target);
    if view.facts.concurrency_policy == ConcurrencyPolicy::Forbid && is_running(view, status) {
        if waited != Some(target) {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.events.push(PlannedEvent::normal("JobAlreadyActive", message));
        }
        if catch_up == CatchUp::None {
            return skip(target, SkipReason::JobAlreadyActive, timeline, plan);
        }
        status.waiting = Some(target);
        return;
    }
    if view.children.iter().any(|job| *job.name == *name) {
        return skip(target, SkipReason::JobExists, timeline, plan);
    }
    if (view.foreign_job)(&name) {
        let message = format!(
            "Error creating job: job {name:?} exists and is not controlled by this CronJob; delete or rename it to let \
             such a slot start"
        );
        plan.events.push(PlannedEvent::warning("FailedCreate", message));
        return skip(target, SkipReason::ForeignJob, timeline, plan);
    }
    if view.facts.concurrency_policy == ConcurrencyPolicy::Replace {
        replace_active(view, status, plan);
    }
    plan.events.push(PlannedEvent::normal(SUCCESSFUL_CREATE, format!("Created job {name}")));
    plan.create = Some(NewJob { name, slot: target });
    plan.before_create =
        Some(BeforeCreate { cursor: timeline.cursor, last_schedule_time: status.last_schedule_time });
    status.last_schedule_time = Some(target);
    timeline.cursor = target;
}

/// Of the due slots the oldest that is in time and among the newest [`CATCH_UP_MAX`].
fn oldest_to_make_up_for(timeline: &Timeline<'_>, latest: i64, earliest: i64) -> i64 {
    std::iter::successors(Some(latest), |slot| timeline.at_or_before(slot - 1))
        .take(CATCH_UP_MAX)
        .take_while(|&slot| slot == latest || slot >= earliest)
        .last()
        .unwrap_or(latest)
}

/// Records the slots between the cursor and `target` as skipped and puts the cursor on the last of them.
fn skip_before(
    target: i64,
    earliest: i64,
    catch_up: CatchUp,
    waited: Option<i64>,
    suspended_at: Option<i64>,
    timeline: &mut Timeline<'_>,
    plan: &mut CronPlan,
) {
    let Some(last) = timeline.at_or_before(target - 1) else { return };
    let missed = match catch_up {
        CatchUp::None => SkipReason::CatchUpNone,
        CatchUp::Latest => SkipReason::Superseded,
        CatchUp::All => SkipReason::CatchUpLimit,
    };
    // In the order of time: the one that waited, those before the suspension and those during it; of the rest, those that
    // are too late anyway and those that are not.
    let mut from = timeline.cursor;
    let mut skip_until = |to: i64, reason: SkipReason, plan: &mut CronPlan| {
        if to > from {
            if let Some(skipped) = timeline.skipped(from, to, reason) {
                missed_event(&skipped, plan);
                plan.skipped.push(skipped);
            }
            from = to;
        }
    };
    if let Some(waited) = waited {
        skip_until(waited.min(last), SkipReason::JobAlreadyActive, plan);
    }
    let until = suspended_at.map_or(last, |since| since.min(last));
    skip_until(until.min(earliest.saturating_sub(1)), SkipReason::StartingDeadline, plan);
    skip_until(until, missed, plan);
    skip_until(last, SkipReason::Suspended, plan);
    timeline.cursor = last;
}

/// Records one slot as skipped and puts the cursor on it.
fn skip(slot: i64, reason: SkipReason, timeline: &mut Timeline<'_>, plan: &mut CronPlan) {
    let skipped = Skipped { first: slot, slot, count: SlotCount::Exactly(1), reason };
    missed_event(&skipped, plan);
    plan.skipped.push(skipped);
    timeline.cursor = slot;
}

/// Kubernetes' event for a missed slot. The other reasons have an event of their own, or were asked for.
fn missed_event(skipped: &Skipped, plan: &mut CronPlan) {
    match skipped.reason {
        SkipReason::StartingDeadline
        | SkipReason::Superseded
        | SkipReason::CatchUpNone
        | SkipReason::CatchUpLimit
        | SkipReason::ImagePolicy => {}
        SkipReason::Suspended
        | SkipReason::JobAlreadyActive
        | SkipReason::ForeignJob
        | SkipReason::JobExists
        | SkipReason::ScheduleChanged => return,
    }
    let message = if skipped.count == SlotCount::Exactly(1) {
        format!("Missed scheduled time to start a job: {}: {}", rfc1123(skipped.slot), skipped.reason)
    } else {
        format!(
            "Missed {} scheduled times to start a job, from {} to {}: {}",
            skipped.count,
            rfc1123(skipped.first),
            rfc1123(skipped.slot),
            skipped.reason
        )
    };
    plan.events.push(PlannedEvent::warning("MissSchedule", message));
}

fn rfc1123(second: i64) -> String {
    instant(second)
        .map_or_else(|| second.to_string(), |at| at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string())
}

/// Whether a Job of the CronJob runs; one that is being deleted may still.
fn is_running(view: &CronView<'_>, status: &CronJobStatus) -> bool {
    !status.active.is_empty() || view.children.iter().any(|job| job.state == ChildState::Deleting)
}

fn replace_active(view: &CronView<'_>, status: &mut CronJobStatus, plan: &mut CronPlan) {
    for job in view.children.iter().filter(|job| job.state == ChildState::Active) {
        children::delete(job, DeleteReason::Replaced, plan);
    }
    status.active.clear();
}
