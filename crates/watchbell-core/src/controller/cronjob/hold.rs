//! A CronJob whose image a policy refuses is held, and let go when none does.

use super::{CronJobStatus, CronPlan, CronView, Held};
use crate::controller::event::PlannedEvent;

/// The reasons of the events.
pub(super) const HELD: &str = "ImagePolicyHold";
const RELEASED: &str = "ImagePolicyReleased";

/// Brings `status.held` in line with what holds the CronJob now. People are told when that begins, changes and ends.
pub(super) fn keep(view: &CronView<'_>, now: i64, status: &mut CronJobStatus, plan: &mut CronPlan) {
    let Some(hold) = view.hold else {
        if status.held.take().is_some() {
            let message = "No policy refuses its images any more: slots start again";
            plan.events.push(PlannedEvent::normal(RELEASED, message));
        }
        return;
    };
    let before = status.held.as_deref();
    if before.is_some_and(|held| held.hold == *hold) {
        return;
    }
    // The last words of ages change every day; what is worth an event is another advisory.
    let is_news = before.is_none_or(|held| held.hold.advisories != hold.advisories);
    if is_news {
        plan.events.push(PlannedEvent::warning(HELD, format!("No slot starts: {}", hold.why)));
    }
    let since = before.map_or(now, |held| held.since);
    status.held = Some(Box::new(Held { since, hold: hold.clone() }));
}
