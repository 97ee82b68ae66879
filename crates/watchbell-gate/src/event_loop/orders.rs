//! What the spawner says: which pods have doors, and what they may reach.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

use rustix::event::epoll::{self, EventFlags};
use watchbell_core::egress::Egress;
use watchbell_sandbox::gate::{Beyond, Counted, DoorSocket, End, Filled, Frame, Order, decode};

use super::{Gate, Pod, Token};
use crate::names::Names;
use crate::tally::Told;

/// Those that are asked; more are of no use within the time of a question.
const RESOLVERS_MAX: usize = 3;

impl Gate {
    pub(super) fn take_orders(&mut self) {
        let Some(spawner) = &self.spawner else { return };
        let filled = self.inbox.fill(spawner.as_fd());
        loop {
            match self.inbox.next() {
                Ok(Some(frame)) => self.carry_out(frame),
                Ok(None) => break,
                Err(error) => return self.leave_spawner(&error.to_string()),
            }
        }
        match filled {
            Ok(Filled::End) => self.leave_spawner("its end of the socket is closed"),
            Ok(Filled::Bytes(_) | Filled::WouldBlock) => {}
            Err(error) => self.leave_spawner(&error.to_string()),
        }
    }

    fn carry_out(&mut self, frame: Frame) {
        match decode::<Order>(&frame.body) {
            Ok(Order::Resolvers { addresses }) => {
                self.resolvers = addresses;
                self.resolvers.truncate(RESOLVERS_MAX);
            }
            Ok(Order::Add { pod, namespace, egress, sockets }) => {
                self.add(pod, &namespace, &egress, &sockets, frame.fds);
            }
            Ok(Order::Change { pod, egress }) => self.change(pod, &egress),
            Ok(Order::Remove { pod }) => self.remove(pod),
            Err(error) => tracing::error!("an order to the gate cannot be read: {error}"),
        }
    }

    pub(super) fn add(
        &mut self,
        id: u128,
        namespace: &str,
        egress: &[u8],
        kinds: &[DoorSocket],
        sockets: Vec<OwnedFd>,
    ) {
        self.remove(id);
        if sockets.len() != kinds.len() {
            return tracing::error!("a door came without its sockets");
        }
        self.last_door += 1;
        let door = self.last_door;
        let sockets: Vec<(OwnedFd, DoorSocket)> = sockets.into_iter().zip(kinds.iter().copied()).collect();
        for (index, (socket, _)) in sockets.iter().enumerate() {
            let token = Token::Door { door, index: index as u8 };
            let watched = rustix::io::ioctl_fionbio(socket, true)
                .and_then(|()| epoll::add(&self.epoll, socket, token.data(), EventFlags::IN));
            if let Err(error) = watched {
                tracing::error!("a socket of a door cannot be watched: {error}");
            }
        }
        self.doors.insert(door, id);
        let pod = Pod {
            door,
            namespace: self.places.enter(namespace),
            egress: self.egresses.read(egress),
            sockets,
            names: Names::default(),
            connections: HashSet::new(),
            lookups: 0,
            told: Told::default(),
            counted: Counted { beyond: Beyond { pod: id, ..Beyond::default() }, ..Counted::default() },
            told_names: HashMap::new(),
        };
        self.pods.insert(id, pod);
    }

    pub(super) fn change(&mut self, id: u128, egress: &[u8]) {
        let Some(pod) = self.pods.get_mut(&id) else { return };
        pod.egress = self.egresses.read(egress);
        let pod = &self.pods[&id];
        let is_withdrawn = |connection: &u64| {
            self.connections.get(connection).is_some_and(|connection| !connection.is_allowed(&pod.egress))
        };
        let withdrawn: Vec<u64> = pod.connections.iter().copied().filter(is_withdrawn).collect();
        for connection in withdrawn {
            self.end(connection, End::Withdrawn);
        }
    }

    pub(super) fn remove(&mut self, id: u128) {
        let Some(pod) = self.pods.get(&id) else { return };
        let connections: Vec<u64> = pod.connections.iter().copied().collect();
        for connection in connections {
            self.end(connection, End::PodEnded);
        }
        self.forget_lookups(id);
        self.tell_count(id);
        // Closing takes its sockets out of the epoll set, unless the spawner still holds them.
        if let Some(pod) = self.pods.remove(&id) {
            self.doors.remove(&pod.door);
            self.places.change(&pod.namespace, |held| held.names -= pod.names.len());
            self.places.leave(&pod.namespace);
            for (socket, _) in &pod.sockets {
                let _ = epoll::delete(&self.epoll, socket);
            }
        }
    }
}

/// What pods may reach, by a hash of how it came. The pods of an array may reach the same, and it is held once.
#[derive(Default)]
pub(super) struct Egresses {
    held: HashMap<u64, Weak<Egress>>,
    hasher: RandomState,
}

impl Egresses {
    /// What cannot be read opens nothing.
    fn read(&mut self, wire: &[u8]) -> Arc<Egress> {
        let egress = Egress::from_wire(wire).unwrap_or_else(|error| {
            tracing::error!("{error}, so it connects to nothing");
            Egress::default()
        });
        let hash = self.hasher.hash_one(wire);
        if let Some(held) = self.held.get(&hash).and_then(Weak::upgrade).filter(|held| **held == egress) {
            return held;
        }
        let egress = Arc::new(egress);
        self.held.retain(|_, held| held.strong_count() > 0);
        self.held.insert(hash, Arc::downgrade(&egress));
        egress
    }
}
