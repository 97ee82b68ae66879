//! The gate as the loop sees it: started with the first door, started again with all of them when it dies.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::{EventLoop, GATE};
use crate::gate::{DEFAULT_UID, GateArgs, Order};
use crate::spawner::gate_link::{self, GateLink, Made, RESOLV_CONF_MAX, Word, resolvers};
use crate::spawner::machine::Machine;
use crate::start::Host;
use crate::{Event, UnixNanos, clock};

/// One that died sooner than this after its start is not started again at once.
const LIFE_MIN_NS: i64 = 1_000_000_000;
/// What is kept of connections until a server says that it has it.
const HELD_MAX: usize = 16_384;
/// And in bytes: what it says is bounded one by one, and it may have been taken over.
const HELD_BYTES_MAX: usize = 16 << 20;
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What is known of connections and no server has made durable yet.
#[derive(Default)]
pub(super) struct Notices {
    held: VecDeque<Event>,
    bytes: usize,
    last: u64,
    /// Notices that found no room.
    lost: u64,
    /// Gates that died when there was no room.
    unknown: Option<(UnixNanos, UnixNanos)>,
}

fn serial_of(event: &Event) -> u64 {
    match event {
        Event::Connections { serial, .. } | Event::GateLost { serial, .. } => *serial,
        _ => 0,
    }
}

impl Notices {
    fn has_room(&self, bytes: usize) -> bool {
        self.held.len() < HELD_MAX && self.bytes + bytes <= HELD_BYTES_MAX
    }

    /// Holds what `make` makes with its number.
    fn push(&mut self, make: impl FnOnce(u64) -> Event) -> Event {
        self.last += 1;
        let event = make(self.last);
        self.held.push_back(event.clone());
        event
    }

    /// `None`: there is no room. It is counted, and told as soon as there is some.
    fn hold(&mut self, notice: Vec<u8>) -> Option<Event> {
        if !self.has_room(notice.len()) {
            self.lost += 1;
            return None;
        }
        self.bytes += notice.len();
        let lost = std::mem::take(&mut self.lost);
        Some(self.push(|serial| Event::Connections { serial, lost, notice }))
    }

    /// A gate died that may have left unsaid what happened from then on.
    fn lose(&mut self, from: UnixNanos, until: UnixNanos) {
        let (first, last) = self.unknown.unwrap_or((from, until));
        self.unknown = Some((first.min(from), last.max(until)));
    }

    /// Holds what found no room, if there is some now.
    pub(super) fn make_up(&mut self) -> Vec<Event> {
        let mut made = Vec::new();
        if self.has_room(0)
            && let Some((from, until)) = self.unknown.take()
        {
            made.push(self.push(|serial| Event::GateLost { serial, from, until }));
        }
        if self.lost > 0 && self.has_room(0) {
            made.extend(self.hold(Vec::new()));
        }
        made
    }

    /// The server has made all up to this one durable.
    pub(super) fn heard(&mut self, serial: u64) {
        while let Some(event) = self.held.pop_front_if(|held| serial_of(held) <= serial) {
            if let Event::Connections { notice, .. } = event {
                self.bytes -= notice.len();
            }
        }
    }

    /// For a server that connects.
    pub(super) fn all(&self) -> impl Iterator<Item = &Event> {
        self.held.iter()
    }
}

impl EventLoop {
    /// A pod may reach this from now on. One that has no door does not get one while it runs.
    pub(super) fn set_egress(&mut self, pod: u128, egress: Vec<u8>) {
        self.parts.machine.set_egress(pod, egress.into());
        if self.parts.host.has_door(pod)
            && let Some(gate) = &mut self.gate
        {
            gate.tell(Word::Change(pod));
        }
    }

    /// Gives the gate the doors that were opened, and takes back those that were closed.
    pub(super) fn tell_gate_of_doors(&mut self) {
        for pod in self.parts.host.closed_doors() {
            if let Some(gate) = &mut self.gate {
                gate.tell(Word::Remove(pod));
            }
        }
        let opened = self.parts.host.opened_doors();
        if opened.is_empty() {
            return;
        }
        if self.gate.is_none() {
            return self.retry_gate();
        }
        self.hand_over(opened);
    }

    fn hand_over(&mut self, pods: Vec<u128>) {
        let Some(gate) = &mut self.gate else { return };
        gate.resolve_by(host_resolvers());
        pods.into_iter().for_each(|pod| gate.tell(Word::Add(pod)));
    }

    /// Starts it, if there is a door.
    pub(super) fn retry_gate(&mut self) {
        let doors = self.parts.host.doors();
        if self.gate.is_some() || doors.is_empty() {
            return;
        }
        let now = clock::monotonic();
        if now.saturating_sub(self.gate_started) < LIFE_MIN_NS {
            return self.timers.retry_gate(now);
        }
        self.gate_started = now;
        let started = GateLink::start(GateArgs { uid: DEFAULT_UID }).and_then(|gate| {
            epoll::add(&self.epoll, gate.socket(), EventData::new_u64(GATE), EventFlags::IN)?;
            Ok(gate)
        });
        match started {
            Ok(gate) => {
                self.gate = Some(gate);
                self.gate_waits = false;
                self.hand_over(doors);
                self.timers.look_for_resolvers(now);
            }
            Err(error) => {
                tracing::error!("nobody lets connections of pods through: {error}");
                self.timers.retry_gate(now);
            }
        }
    }

    /// Machines move between networks.
    pub(super) fn look_for_resolvers(&mut self) {
        if let Some(gate) = &mut self.gate {
            gate.resolve_by(host_resolvers());
            gate.try_late();
            self.timers.look_for_resolvers(clock::monotonic());
        }
    }

    pub(super) fn take_gate_notices(&mut self) {
        let Some(gate) = &mut self.gate else { return };
        let mut notices = Vec::new();
        let taken = gate.take(&mut notices);
        for notice in notices {
            if let Some(event) = self.notices.hold(notice) {
                self.tell_of_connections(event);
            }
        }
        if let Err(error) = taken {
            self.gate_died(&error);
        }
    }

    fn tell_of_connections(&mut self, event: Event) {
        if let Some(client) = &mut self.client {
            client.tell(event);
        }
    }

    /// What found no room before.
    pub(super) fn tell_what_waited(&mut self) {
        for event in self.notices.make_up() {
            self.tell_of_connections(event);
        }
    }

    fn gate_died(&mut self, error: &io::Error) {
        tracing::error!("the gate is gone, and with it the connections of pods: {error}");
        if let Some(gate) = self.gate.take() {
            let now = clock::now();
            self.notices.lose(gate.unknown_from(now), now);
            gate.discard();
            self.tell_what_waited();
        }
        self.retry_gate();
    }

    pub(super) fn flush_gate(&mut self) {
        // One that is started anew has to be told of its doors. Within a second of its start it is not started again.
        while let Some(gate) = &mut self.gate {
            let (parts, waits) = (&self.parts, &mut self.gate_waits);
            let sent = gate
                .flush(|word| order(&parts.host, &parts.machine, word))
                .and_then(|all| Self::watch_sends(&self.epoll, gate.socket(), GATE, waits, all));
            match sent {
                Ok(()) => return,
                Err(error) => self.gate_died(&error),
            }
        }
    }
}

/// What a word says now. `None`: the pod or its door went meanwhile.
fn order(host: &Host, machine: &Machine, word: Word) -> io::Result<Option<Made>> {
    match word {
        Word::Remove(pod) => Ok(Some((Order::Remove { pod }, Vec::new()))),
        Word::Change(pod) => {
            Ok(machine.egress(pod).map(|egress| (Order::Change { pod, egress: egress.to_vec() }, Vec::new())))
        }
        Word::Add(pod) => {
            let Some(door) = host.door(pod) else { return Ok(None) };
            let namespace = machine.pod(pod).map_or("", |pod| pod.namespace());
            let made = gate_link::add(pod, namespace, machine.egress(pod).unwrap_or_default(), door);
            made.map(Some).inspect_err(|error| {
                // Its connections wait, and nothing gets out.
                tracing::error!("the door of pod {pod:032x} is not open yet: {error}");
            })
        }
    }
}

fn host_resolvers() -> Vec<SocketAddr> {
    let read = || {
        let mut text = String::new();
        File::open(RESOLV_CONF)?.take(RESOLV_CONF_MAX).read_to_string(&mut text)?;
        io::Result::Ok(text)
    };
    resolvers(&read().unwrap_or_else(|error| {
        tracing::warn!("cannot read {RESOLV_CONF}, names are asked of this machine: {error}");
        String::new()
    }))
}

#[cfg(test)]
mod tests {
    use super::{HELD_BYTES_MAX, HELD_MAX, Notices};
    use crate::Event;

    fn lost(event: Option<Event>) -> Option<(u64, u64)> {
        match event {
            Some(Event::Connections { serial, lost, .. }) => Some((serial, lost)),
            _ => None,
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let mut notices = Notices::default();
        for serial in 1..=HELD_MAX as u64 {
            assert_eq!(lost(notices.hold(vec![1])), Some((serial, 0)));
        }
        assert_eq!(lost(notices.hold(vec![2])), None);
        assert_eq!(lost(notices.hold(vec![3])), None);
        notices.heard(2);
        let next = HELD_MAX as u64 + 1;
        assert_eq!(lost(notices.hold(vec![4])), Some((next, 2)));
        assert_eq!(lost(notices.hold(vec![5])), Some((next + 1, 0)));
        assert_eq!(lost(notices.all().next().cloned()), Some((3, 0)));
        assert_eq!(notices.all().count(), HELD_MAX);
        notices.heard(u64::MAX);
        assert_eq!((notices.all().count(), notices.bytes), (0, 0));
        assert_eq!(lost(notices.hold(vec![0; HELD_BYTES_MAX])), Some((next + 2, 0)));
        assert_eq!(lost(notices.hold(vec![0])), None, "nor for so many bytes");
    }

    #[test]
    fn what_found_no_room_is_told_though_nothing_follows() {
        let mut notices = Notices::default();
        while notices.hold(vec![1]).is_some() {}
        assert_eq!(notices.make_up(), []);
        notices.heard(1);
        let count = Event::Connections { serial: HELD_MAX as u64 + 1, lost: 1, notice: Vec::new() };
        assert_eq!(notices.make_up(), std::slice::from_ref(&count));
        assert_eq!((notices.make_up(), notices.all().last()), (Vec::new(), Some(&count)));
        // One that was too long for what is left.
        let mut notices = Notices::default();
        notices.hold(vec![0; HELD_BYTES_MAX]);
        notices.hold(vec![0]);
        assert_eq!(notices.make_up(), [Event::Connections { serial: 2, lost: 1, notice: Vec::new() }]);
    }

    #[test]
    fn the_death_of_a_gate_is_held_until_it_is_heard() {
        let mut notices = Notices::default();
        notices.hold(vec![1]);
        notices.lose(5, 9);
        let told = Event::GateLost { serial: 2, from: 5, until: 9 };
        assert_eq!(notices.make_up(), std::slice::from_ref(&told));
        assert_eq!(told.since(), 10);
        notices.heard(1);
        assert_eq!(notices.all().collect::<Vec<_>>(), [&told]);
        notices.heard(2);
        assert_eq!((notices.all().count(), notices.bytes), (0, 0));
        // Where there is no room, those that died meanwhile are one.
        while notices.hold(vec![1]).is_some() {}
        notices.lose(20, 30);
        notices.lose(31, 40);
        assert_eq!(notices.make_up(), []);
        notices.heard(u64::MAX);
        let made = notices.make_up();
        assert!(matches!(
            made[..],
            [Event::GateLost { from: 20, until: 40, .. }, Event::Connections { lost: 1, .. }]
        ));
    }
}
