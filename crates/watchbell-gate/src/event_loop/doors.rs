//! What arrives at a pod's door: connections, and questions for names.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendFlags, SocketAddrAny, SocketFlags, accept_with, getsockname, recvfrom, sendto, sockopt,
};
use watchbell_sandbox::gate::{DoorSocket, Target};

use super::connections::Arrival;
use super::lookups::Waiter;
use super::work::{A_TURN, OF_ARRIVAL};
use super::{Gate, Pod, Timer, Token};
use crate::choice::Refused;
use crate::dns::{Asked, MESSAGE_MAX, Query, Reply, read_query};
use crate::names::Meant;
use crate::share::Places;

/// After a failure that may pass, such as a full table of files.
const TRY_AGAIN_NS: i64 = 100_000_000;

impl Gate {
    pub(super) fn serve_door(&mut self, door: u32, index: u8) {
        let Some((pod, kind)) = self.door(door, index) else { return };
        let ends = self.work + A_TURN;
        while self.work < ends {
            self.work += OF_ARRIVAL;
            let served = match kind {
                DoorSocket::Tcp => self.accept(pod, index),
                DoorSocket::Dns => self.take_query(pod, index),
            };
            match served {
                Ok(()) | Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => {
                    tracing::error!("a door cannot be served: {error}");
                    return self.leave_door_for_a_while(door, index);
                }
            }
        }
    }

    fn door(&self, door: u32, index: u8) -> Option<(u128, DoorSocket)> {
        let pod = *self.doors.get(&door)?;
        Some((pod, self.pods.get(&pod)?.sockets.get(usize::from(index))?.1))
    }

    fn socket(&self, pod: u128, index: u8) -> Result<&OwnedFd, Errno> {
        let socket = self.pods.get(&pod).and_then(|pod| pod.sockets.get(usize::from(index)));
        // A pod that went away meanwhile has nothing more to say.
        socket.map(|(socket, _)| socket).ok_or(Errno::AGAIN)
    }

    fn leave_door_for_a_while(&mut self, door: u32, index: u8) {
        let Some((pod, _)) = self.door(door, index) else { return };
        if let Ok(socket) = self.socket(pod, index) {
            // Out of the set: it would be named again and again.
            let _ = epoll::delete(&self.epoll, socket);
            self.timers.insert((self.now + TRY_AGAIN_NS, Timer::Door { door, index }));
        }
    }

    pub(super) fn watch_door_again(&mut self, door: u32, index: u8) {
        let Some((pod, _)) = self.door(door, index) else { return };
        let Ok(socket) = self.socket(pod, index) else { return };
        if let Err(error) =
            epoll::add(&self.epoll, socket, Token::Door { door, index }.data(), EventFlags::IN)
        {
            tracing::error!("a door cannot be watched again: {error}");
            self.leave_door_for_a_while(door, index);
        }
    }

    fn accept(&mut self, pod: u128, index: u8) -> Result<(), Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let client = accept_with(self.socket(pod, index)?, flags)?;
        match destination(&client) {
            Ok(to) => self.arrive(Arrival { pod, client, to }),
            // It may be gone already.
            Err(error) => tracing::debug!("where a connection was to go is not known: {error}"),
        }
        Ok(())
    }

    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let (now, to) = (self.now, arrival.to);
        let Some(pod) = self.pods.get_mut(&arrival.pod) else { return };
        let of = Places { of_all: self.limits.connections, of_pod: self.limits.connections_of_pod };
        let is_full =
            !self.places.has_one(of, &pod.namespace, pod.connections.len(), |held| held.connections);
        let meant = pod.names.meant_by(to.ip(), now);
        if is_full {
            let name = match meant {
                Meant::Name { name, .. } => Some(name.to_string()),
                Meant::Address | Meant::Nothing => None,
            };
            let address = name.is_none().then_some(to.ip());
            let target = Target { name, address, port: Some(to.port()) };
            let why = "the pod, its namespace, or all pods together have as many connections as they may";
            return self.refuse(arrival, target, Refused::new("TooMany", why));
        }
        match meant {
            Meant::Address => {
                let connection = self.begin(arrival, None);
                self.decide(connection, &[to.ip()]);
            }
            Meant::Nothing => {
                let target = Target { name: None, address: Some(to.ip()), port: Some(to.port()) };
                let why = "the address stands for no name that this pod asked for since its door was made";
                self.refuse(arrival, target, Refused::new("NoName", why));
            }
            Meant::Name { name, addresses, .. } if !addresses.is_empty() => {
                let connection = self.begin(arrival, Some(name));
                self.decide(connection, &addresses);
            }
            Meant::Name { name, .. } if !may_resolve(pod, &mut self.work, &name) => {
                let target = Target { name: Some(name.to_string()), address: None, port: Some(to.port()) };
                self.refuse(arrival, target, Refused::new("Name", "no policy allows the name"));
            }
            Meant::Name { name, family, .. } => {
                let pod = arrival.pod;
                let connection = self.begin(arrival, Some(name.clone()));
                self.look_up(pod, name, family, Waiter::Connection(connection));
            }
        }
    }

    fn take_query(&mut self, pod: u128, index: u8) -> Result<(), Errno> {
        let mut buffer = [0; MESSAGE_MAX + 1];
        let socket = self.socket(pod, index)?;
        let (length, _, from) = recvfrom(socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
        let Some(from) = from else { return Ok(()) };
        match read_query(&buffer[..length]) {
            Asked::Query(query) => self.answer(pod, index, from, query),
            Asked::Wrong(reply) => self.send_reply(pod, index, &from, &reply),
            Asked::Nothing => {}
        }
        Ok(())
    }

    fn answer(&mut self, id: u128, index: u8, from: SocketAddrAny, query: Query) {
        let Some(pod) = self.pods.get_mut(&id) else { return };
        let allowed = query.name.as_deref().filter(|name| may_resolve(pod, &mut self.work, name));
        let reply = match (allowed, query.family) {
            (None, _) => {
                self.tell_refused_name(id, query.name.as_deref());
                Reply::NoSuchName
            }
            (Some(_), None) => Reply::Empty,
            (Some(name), Some(family)) => match pod.names.known(name, family, self.now) {
                Some(address) => Reply::Address(address),
                None => {
                    let name = name.into();
                    let waiter = Waiter::Task { index, from, query };
                    return self.look_up(id, name, family, waiter);
                }
            },
        };
        self.send_reply(id, index, &from, &query.reply(reply));
    }

    /// What does not arrive is asked for again.
    pub(super) fn send_reply(&self, pod: u128, index: u8, to: &SocketAddrAny, reply: &[u8]) {
        let Ok(socket) = self.socket(pod, index) else { return };
        if let Err(error) = sendto(socket, reply, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, to) {
            tracing::debug!("a task does not hear the answer to its question: {error}");
        }
    }
}

fn may_resolve(pod: &Pod, work: &mut u64, name: &str) -> bool {
    *work += pod.egress.rules.len() as u64;
    pod.egress.may_resolve(name)
}

/// Where a task wanted to go. The kernel's table of translations knows if the connection was redirected; if not, it arrived at
/// that address itself.
fn destination(client: impl AsFd) -> io::Result<SocketAddr> {
    let arrived = SocketAddr::try_from(getsockname(&client)?)?;
    let arrived = SocketAddr::new(arrived.ip().to_canonical(), arrived.port());
    let original = match arrived {
        SocketAddr::V4(_) => sockopt::ip_original_dst(&client).map(SocketAddr::V4),
        SocketAddr::V6(_) => sockopt::ipv6_original_dst(&client).map(SocketAddr::V6),
    };
    match original {
        Ok(original) => Ok(original),
        // No translation, or none in this kernel.
        Err(Errno::NOENT | Errno::NOPROTOOPT | Errno::OPNOTSUPP | Errno::INVAL) => Ok(arrived),
        Err(error) => Err(error.into()),
    }
}
