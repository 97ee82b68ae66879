//! The gate's one loop: orders in, doors served, notices out.

mod connections;
mod doors;
mod lookups;
mod namespaces;
mod orders;
#[cfg(test)]
mod tests;
mod told;
mod work;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use watchbell_core::egress::Egress;
use watchbell_sandbox::gate::{Counted, DoorSocket, Inbox, ORDER_MAX, Outbox};

use crate::dns::Family;
use crate::names::Names;
use crate::relay::PIECE;
use crate::tally::Told;
use crate::{GateOptions, Limits, Routes};
use connections::Connection;
use lookups::Lookup;
use namespaces::Namespaces;
use orders::Egresses;

/// The gate's state. What it says to the kernel stands in the modules below, a concern each.
pub(crate) struct Gate {
    epoll: OwnedFd,
    routes: Routes,
    limits: Limits,
    /// None once the spawner is gone.
    spawner: Option<OwnedFd>,
    inbox: Inbox,
    outbox: Outbox,
    waits_to_send: bool,
    resolvers: Vec<SocketAddr>,
    pods: HashMap<u128, Pod>,
    /// Which pod has the door of this number.
    doors: HashMap<u32, u128>,
    connections: HashMap<u64, Connection>,
    lookups: HashMap<u64, Lookup>,
    /// What is being asked for, by which lookup.
    asked: HashMap<(u128, Arc<str>, Family), u64>,
    timers: BTreeSet<(i64, Timer)>,
    counts_are_due: bool,
    told: Told,
    places: Namespaces,
    egresses: Egresses,
    /// Of connections and lookups; none comes twice.
    last_id: u64,
    last_door: u32,
    piece: Vec<u8>,
    /// What was done, as [`work`] counts it.
    work: u64,
    /// By the monotonic clock, at the beginning of the turn.
    now: i64,
}

/// A pod with a door.
struct Pod {
    door: u32,
    namespace: Arc<str>,
    egress: Arc<Egress>,
    sockets: Vec<(OwnedFd, DoorSocket)>,
    names: Names,
    connections: HashSet<u64>,
    lookups: usize,
    told: Told,
    counted: Counted,
    /// Refused names that were told, and when.
    told_names: HashMap<String, i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Nobody answered a dialled address.
    Dial(u64),
    /// No resolver answered.
    Lookup(u64),
    /// A socket of a door that had failed is tried again.
    Door { door: u32, index: u8 },
    /// What was beyond the rates is told.
    Counts,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Spawner,
    Door {
        door: u32,
        index: u8,
    },
    /// The side of a connection that is the pod's, and the other one.
    Client(u64),
    Peer(u64),
    Lookup(u64),
}

impl Token {
    fn data(self) -> EventData {
        let (kind, rest) = match self {
            Token::Spawner => (0, 0),
            Token::Door { door, index } => (1, u64::from(door) << 8 | u64::from(index)),
            Token::Client(id) => (2, id),
            Token::Peer(id) => (3, id),
            Token::Lookup(id) => (4, id),
        };
        EventData::new_u64(kind << 60 | rest)
    }

    fn of(data: EventData) -> Self {
        let rest = data.u64() & (u64::MAX >> 4);
        match data.u64() >> 60 {
            1 => Token::Door { door: (rest >> 8) as u32, index: rest as u8 },
            2 => Token::Client(rest),
            3 => Token::Peer(rest),
            4 => Token::Lookup(rest),
            _ => Token::Spawner,
        }
    }
}

fn nanos(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

/// Where a gate begins to count: connections of one that came before it have other numbers. Programs that read JSON hold numbers
/// up to 2^53 exactly.
fn first_id() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u64::from_ne_bytes(bytes) >> (64 - 52))
}

impl Gate {
    pub(crate) fn new(options: GateOptions) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&options.socket, true)?;
        epoll::add(&epoll, &options.socket, Token::Spawner.data(), EventFlags::IN)?;
        Ok(Self {
            epoll,
            routes: options.routes,
            limits: options.limits,
            spawner: Some(options.socket),
            inbox: Inbox::new(ORDER_MAX),
            outbox: Outbox::default(),
            waits_to_send: false,
            resolvers: Vec::new(),
            pods: HashMap::new(),
            doors: HashMap::new(),
            connections: HashMap::new(),
            lookups: HashMap::new(),
            asked: HashMap::new(),
            timers: BTreeSet::new(),
            counts_are_due: false,
            told: Told::default(),
            places: Namespaces::default(),
            egresses: Egresses::default(),
            last_id: first_id()?,
            last_door: 0,
            piece: vec![0; PIECE],
            work: 0,
            now: nanos(ClockId::Monotonic),
        })
    }

    /// Ends with the spawner: nobody would hear any more what leaves.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        while self.spawner.is_some() {
            events.clear();
            let timeout = self.timeout();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            self.now = nanos(ClockId::Monotonic);
            // Orders first: what arrives after them is judged by them.
            events.sort_by_key(|event| Token::of(event.data) != Token::Spawner);
            for event in &events {
                self.serve(Token::of(event.data), event.flags);
            }
            self.pass_time();
            self.flush();
        }
        Ok(())
    }

    fn timeout(&self) -> Option<Timespec> {
        let now = nanos(ClockId::Monotonic);
        let wait = self.timers.first()?.0.saturating_sub(now).max(0);
        Some(Timespec { tv_sec: wait / 1_000_000_000, tv_nsec: wait % 1_000_000_000 })
    }

    fn serve(&mut self, token: Token, flags: EventFlags) {
        match token {
            Token::Spawner => self.take_orders(),
            Token::Door { door, index } => self.serve_door(door, index),
            Token::Client(id) | Token::Peer(id) => self.serve_connection(id, token, flags),
            Token::Lookup(id) => self.hear_resolver(id),
        }
    }

    fn pass_time(&mut self) {
        while let Some(&(at, timer)) = self.timers.first()
            && at <= self.now
        {
            self.timers.pop_first();
            match timer {
                Timer::Dial(id) => self.dial_took_too_long(id),
                Timer::Lookup(id) => self.ask_next(id),
                Timer::Door { door, index } => self.watch_door_again(door, index),
                Timer::Counts => self.tell_counts(),
            }
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn flush(&mut self) {
        let Some(spawner) = &self.spawner else { return };
        let sent = self.outbox.flush(spawner.as_fd()).and_then(|all| {
            if all == self.waits_to_send {
                let interest = if all { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
                epoll::modify(&self.epoll, spawner, Token::Spawner.data(), interest)?;
            }
            Ok(all)
        });
        match sent {
            Ok(all) => self.waits_to_send = !all,
            Err(error) => self.leave_spawner(&error.to_string()),
        }
    }

    fn leave_spawner(&mut self, why: &str) {
        tracing::info!("the spawner is gone: {why}");
        self.spawner = None;
    }
}
