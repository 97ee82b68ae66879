//! What happens when nothing happens.

use std::collections::VecDeque;
use std::time::Duration;

use rustix::event::Timespec;

use super::EventLoop;
use crate::clock;

/// After the end of a task its streams end by themselves, unless somebody else holds them open.
const FINISH_AFTER_NS: i64 = 20_000_000;
const RETRY_KEEPER_NS: i64 = 1_000_000_000;
const HAND_OVER_AGAIN_NS: i64 = 1_000_000_000;
const RETRY_GATE_NS: i64 = 1_000_000_000;
/// How often it is looked who answers for names.
const RESOLVERS_AGAIN_NS: i64 = 10_000_000_000;
/// What is kept mounted for the next task goes when none came for so long.
const FORGET_AFTER_NS: i64 = 5_000_000_000;
/// How often it is looked for runs of which the kernel killed a process for want of memory, where it leaves the others.
const HALF_DEAD_AGAIN_NS: i64 = 1_000_000_000;
const FORGET_MORE_NS: i64 = 10_000_000;
/// How often a cgroup is looked at that is not empty after its first process ended.
const EMPTY_AGAIN_NS: i64 = 2_000_000;
/// A pod between two of its containers, whose scratch volumes would be lost, keeps the spawner this many times longer.
const PATIENCE_WITH_PODS: i64 = 60;

#[derive(Default)]
pub(super) struct Timers {
    /// Serial numbers whose logs are to be finished, in order of time.
    finish: VecDeque<(i64, u64)>,
    /// The same of those whose control group was not empty.
    emptying: VecDeque<(i64, u64)>,
    keeper_at: Option<i64>,
    hand_over_at: Option<i64>,
    gate_at: Option<i64>,
    resolvers_at: Option<i64>,
    idle_since: Option<i64>,
    forget_at: Option<i64>,
    roots_at: Option<i64>,
    half_dead_at: Option<i64>,
}

impl Timers {
    pub(super) fn finish_later(&mut self, serial: u64, now: i64) {
        self.finish.push_back((now + FINISH_AFTER_NS, serial));
    }

    pub(super) fn retry_keeper(&mut self, now: i64) {
        self.keeper_at.get_or_insert(now + RETRY_KEEPER_NS);
    }

    pub(super) fn hand_over_later(&mut self, now: i64) {
        self.hand_over_at.get_or_insert(now + HAND_OVER_AGAIN_NS);
    }

    pub(super) fn retry_gate(&mut self, now: i64) {
        self.gate_at.get_or_insert(now + RETRY_GATE_NS);
    }

    pub(super) fn look_for_resolvers(&mut self, now: i64) {
        self.resolvers_at = Some(now + RESOLVERS_AGAIN_NS);
    }

    /// A task began: what it used may be of use again.
    pub(super) fn forget_later(&mut self, now: i64) {
        self.forget_at = Some(now + FORGET_AFTER_NS);
        // However fast they follow each other: layers of another image, that is removed meanwhile, stay on the disk so long.
        self.roots_at.get_or_insert(now + FORGET_AFTER_NS);
    }

    pub(super) fn look_for_half_dead(&mut self, now: i64) {
        self.half_dead_at.get_or_insert(now + HALF_DEAD_AGAIN_NS);
    }

    pub(super) fn empty_later(&mut self, serial: u64, now: i64) {
        self.emptying.push_back((now + EMPTY_AGAIN_NS, serial));
    }

    fn empty_at(&self) -> Option<i64> {
        self.emptying.front().map(|(at, _)| *at)
    }

    /// The next whose time has come.
    fn next_to_empty(&mut self, now: i64) -> Option<u64> {
        self.emptying.pop_front_if(|(at, _)| *at <= now).map(|(_, serial)| serial)
    }
}

/// Whether its time has come, which it then has no more.
fn is_due(at: &mut Option<i64>, now: i64) -> bool {
    at.take_if(|at| *at <= now).is_some()
}

impl EventLoop {
    /// When this spawner ends if nothing more happens.
    fn ends_at(&self) -> Option<i64> {
        let idle = i64::from(self.parts.settings.idle_seconds) * 1_000_000_000;
        let patience = if self.parts.machine.holds_scratch() { PATIENCE_WITH_PODS } else { 1 };
        self.timers.idle_since.map(|since| since.saturating_add(idle.saturating_mul(patience)))
    }

    pub(super) fn timeout(&self) -> Option<Timespec> {
        let timers = &self.timers;
        let queue = (!self.queue.is_empty() || self.parts.host.is_short()).then_some(i64::MIN);
        let finish = timers.finish.front().map(|(at, _)| *at);
        let each = [
            queue,
            timers.empty_at(),
            finish,
            timers.keeper_at,
            timers.hand_over_at,
            timers.gate_at,
            timers.resolvers_at,
            timers.forget_at,
            timers.roots_at,
            timers.half_dead_at,
            self.hooks.late_at(),
            self.ends_at(),
        ];
        let next = each.into_iter().flatten().min()?;
        let wait = next.saturating_sub(clock::monotonic()).max(0);
        Some(Timespec { tv_sec: wait / 1_000_000_000, tv_nsec: wait % 1_000_000_000 })
    }

    pub(super) fn keep_time(&mut self) {
        let now = clock::monotonic();
        while let Some((_, serial)) = self.timers.finish.pop_front_if(|(at, _)| *at <= now) {
            if self.live.get(serial).is_some_and(|live| live.watched) {
                self.finish_log(serial);
            }
        }
        while let Some(serial) = self.timers.next_to_empty(now) {
            self.empty(serial);
        }
        self.end_late_hooks(now);
        if is_due(&mut self.timers.keeper_at, now) {
            self.retry_keeper();
        }
        if is_due(&mut self.timers.hand_over_at, now) {
            self.hand_over_waiting_logs();
        }
        if is_due(&mut self.timers.gate_at, now) {
            self.retry_gate();
        }
        if is_due(&mut self.timers.resolvers_at, now) {
            self.look_for_resolvers();
        }
        if is_due(&mut self.timers.half_dead_at, now) {
            self.end_half_dead();
        }
        if is_due(&mut self.timers.forget_at, now) {
            self.parts.host.want_none();
            if self.live.is_empty() {
                self.timers.roots_at = Some(now);
            } else {
                self.timers.forget_later(now);
            }
        }
        if is_due(&mut self.timers.roots_at, now) {
            // Without a task for so long, all of them go.
            let is_idle = self.timers.forget_at.is_none();
            let unused = if is_idle { 0 } else { FORGET_AFTER_NS.unsigned_abs() };
            let more = self.parts.host.forget_roots(Duration::from_nanos(unused));
            let again = if more { FORGET_MORE_NS } else { FORGET_AFTER_NS };
            self.timers.roots_at = (more || !is_idle).then_some(now + again);
        }
        self.watch_idleness(now);
    }

    fn watch_idleness(&mut self, now: i64) {
        if self.client.is_some() {
            self.timers.idle_since = None;
            return;
        }
        if self.orphaned {
            self.parts.machine.release_all(clock::now(), &mut self.effects);
            self.ends = !self.parts.machine.has_active();
            return;
        }
        if self.parts.machine.has_active() {
            self.timers.idle_since = None;
            return;
        }
        self.timers.idle_since.get_or_insert(now);
        if self.ends_at().is_some_and(|at| at <= now) {
            tracing::info!("neither task nor server: the spawner ends");
            self.parts.machine.release_all(clock::now(), &mut self.effects);
            self.ends = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_not_put_off_by_those_that_follow() {
        let mut timers = Timers::default();
        let half = EMPTY_AGAIN_NS / 2;
        for serial in 0..10 {
            let now = half * serial;
            timers.empty_later(serial as u64, now);
            let due: Vec<u64> = std::iter::from_fn(|| timers.next_to_empty(now)).collect();
            let expect: Vec<u64> =
                serial.checked_sub(2).filter(|due| *due >= 0).map(|due| due as u64).into_iter().collect();
            assert_eq!(due, expect, "after {now} ns");
        }
        assert_eq!(timers.empty_at(), Some(half * 8 + EMPTY_AGAIN_NS));
    }
}
