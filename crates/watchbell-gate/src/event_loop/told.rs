//! What the gate tells, within its rates.

use rustix::time::ClockId;
use watchbell_sandbox::gate::{COUNTS_EVERY_NS, Decided, End, Ended, Notice, Target, Verdict};

use super::connections::Connection;
use super::{Gate, Timer, nanos};
use crate::choice::Refused;
use crate::tally;

/// What may wait for a spawner that does not read; beyond, it is counted.
const WAITING_MAX: usize = 1 << 20;
/// Refused names of one pod that are told apart, and for how long each is not told again.
const NAMES_MAX: usize = 256;
const NAME_AGAIN_NS: i64 = 60 * 1_000_000_000;
/// What a notice says of why.
const WHY_MAX: usize = 512;

impl Gate {
    /// Tells a decision, or counts it; whether it was told.
    pub(super) fn tell(&mut self, pod: u128, connection: u64, target: Target, verdict: Verdict) -> bool {
        let has_room = self.outbox.len() < WAITING_MAX;
        let Some(of) = self.pods.get_mut(&pod) else { return false };
        if has_room && tally::is_told(&verdict, &mut of.told, &mut self.told, self.now) {
            let at = nanos(ClockId::Realtime);
            self.outbox.push(&Notice::Decided(Decided { at, pod, connection, target, verdict }), []);
            return true;
        }
        tally::count(&mut of.counted, target, &verdict);
        self.tell_counts_later();
        false
    }

    pub(super) fn tell_refused(&mut self, pod: u128, target: Target, refused: Refused) {
        let id = self.next_id();
        let verdict = Verdict::Refused { reason: refused.reason.to_owned(), why: shortened(refused.why) };
        self.tell(pod, id, target, verdict);
    }

    /// A name that no rule allows: programs ask for it again and again, and for each of its kinds.
    pub(super) fn tell_refused_name(&mut self, pod: u128, name: Option<&str>) {
        let Some(of) = self.pods.get_mut(&pod) else { return };
        let key = name.unwrap_or_default();
        let now = self.now;
        if of.told_names.get(key).is_some_and(|told| now < told + NAME_AGAIN_NS) {
            return;
        }
        if of.told_names.len() >= NAMES_MAX {
            of.told_names.retain(|_, told| now < *told + NAME_AGAIN_NS);
        }
        if of.told_names.len() < NAMES_MAX {
            of.told_names.insert(key.to_owned(), now);
        }
        let why = match name {
            Some(_) => "no policy allows the name",
            None => "no host has a name of such letters",
        };
        let target = Target { name: name.map(str::to_owned), address: None, port: None };
        self.tell_refused(pod, target, Refused::new("Name", why));
    }

    /// Tells the end of a connection whose beginning was told, or counts it.
    pub(super) fn tell_end(&mut self, id: u64, connection: &Connection, how: End) {
        let pod = connection.pod;
        let [sent, received] = connection.bytes();
        let Some(of) = self.pods.get_mut(&pod) else { return };
        if connection.is_told && self.outbox.len() < WAITING_MAX {
            let how = match how {
                End::NotReached { why } => End::NotReached { why: shortened(why) },
                other => other,
            };
            let lasted_ns = self.now.saturating_sub(connection.began).unsigned_abs();
            let at = nanos(ClockId::Realtime);
            let target = connection.target();
            let ended = Ended { at, pod, connection: id, target, sent, received, lasted_ns, how };
            return self.outbox.push(&Notice::Ended(ended), []);
        }
        let beyond = &mut of.counted.beyond;
        beyond.ended += 1;
        beyond.sent += sent;
        beyond.received += received;
        self.tell_counts_later();
    }

    fn tell_counts_later(&mut self) {
        if !std::mem::replace(&mut self.counts_are_due, true) {
            self.timers.insert((self.now + COUNTS_EVERY_NS, Timer::Counts));
        }
    }

    pub(super) fn tell_counts(&mut self) {
        self.counts_are_due = false;
        if self.outbox.len() >= WAITING_MAX {
            return self.tell_counts_later();
        }
        let pods: Vec<u128> = self.pods.keys().copied().collect();
        pods.into_iter().for_each(|pod| self.tell_count(pod));
    }

    /// What happened to a pod beyond the rates, if anything did.
    pub(super) fn tell_count(&mut self, pod: u128) {
        let Some(pod) = self.pods.get_mut(&pod) else { return };
        if let Some(mut counted) = tally::take(&mut pod.counted) {
            counted.beyond.at = nanos(ClockId::Realtime);
            self.outbox.push(&Notice::Counted(counted), []);
        }
    }
}

fn shortened(mut why: String) -> String {
    why.truncate(why.floor_char_boundary(WHY_MAX));
    why
}
