//! Connections of pods: decided, dialled, relayed, ended.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use watchbell_core::egress::{self, Egress};
use watchbell_sandbox::gate::{End, Target, Verdict};

use super::work::OF_ROUTE;
use super::{Gate, Timer, Token};
use crate::choice::{Choice, Refused, choose};
use crate::relay::{Gone, Half, reset};
use crate::share::{NEAR, far};

/// A side that says nothing for so long is asked whether it is there; four times, then it is not.
const SILENT: Duration = Duration::from_secs(60);
const ASKED_EVERY: Duration = Duration::from_secs(15);
const ASKED: u32 = 4;

/// A connection that a task has made.
pub(super) struct Arrival {
    pub(super) pod: u128,
    pub(super) client: OwnedFd,
    pub(super) to: SocketAddr,
}

pub(super) struct Connection {
    pub(super) pod: u128,
    name: Option<Arc<str>>,
    port: u16,
    /// Decided, and dialled or about to be.
    address: Option<IpAddr>,
    pub(super) is_told: bool,
    pub(super) began: i64,
    client: Side,
    /// The task had said all, and is not there any more for what is said to it.
    is_gone: bool,
    stage: Stage,
}

enum Stage {
    /// Its name is being resolved.
    Waits,
    Dials {
        peer: Side,
        deadline: i64,
        rest: Vec<IpAddr>,
    },
    Relays {
        peer: Side,
        out: Half,
        back: Half,
    },
}

/// One end, and what is watched of it.
struct Side {
    socket: OwnedFd,
    watched: EventFlags,
}

impl Side {
    fn new(socket: OwnedFd) -> Self {
        Self { socket, watched: EventFlags::empty() }
    }

    /// One that nothing is awaited of may fail, which is named once, and not again and again.
    fn watch(&mut self, epoll: &OwnedFd, token: Token, wanted: EventFlags) -> io::Result<()> {
        let wanted = if wanted.is_empty() { EventFlags::ET } else { wanted };
        let before = std::mem::replace(&mut self.watched, wanted);
        match before {
            _ if before == wanted => {}
            _ if before.is_empty() => epoll::add(epoll, &self.socket, token.data(), wanted)?,
            _ => epoll::modify(epoll, &self.socket, token.data(), wanted)?,
        }
        Ok(())
    }
}

impl Connection {
    pub(super) fn target(&self) -> Target {
        let name = self.name.as_deref().map(str::to_owned);
        Target { name, address: self.address, port: Some(self.port) }
    }

    /// Whether it would be allowed now. One that waits for its name is judged when that is known.
    pub(super) fn is_allowed(&self, egress: &Egress) -> bool {
        self.address.is_none_or(|address| self.may_reach(address, egress, |_| false))
    }

    fn may_reach(&self, address: IpAddr, egress: &Egress, is_own: impl Fn(IpAddr) -> bool) -> bool {
        let target = egress::Target { name: self.name.as_deref(), address, port: self.port };
        matches!(egress.decide(&target, is_own), egress::Verdict::Allowed(_))
    }

    /// As if it dialled the address by that socket.
    #[cfg(test)]
    pub(super) fn dials(&mut self, address: IpAddr, peer: OwnedFd, rest: Vec<IpAddr>) {
        (self.address, self.is_told) = (Some(address), true);
        self.stage = Stage::Dials { peer: Side::new(peer), deadline: i64::MAX, rest };
    }

    /// Out of the pod and into it.
    pub(super) fn bytes(&self) -> [u64; 2] {
        match &self.stage {
            Stage::Waits | Stage::Dials { .. } => [0, 0],
            Stage::Relays { out, back, .. } => [out.bytes, back.bytes],
        }
    }
}

impl Gate {
    /// Ends an arrival that nothing else is known of.
    pub(super) fn refuse(&mut self, arrival: Arrival, target: Target, refused: Refused) {
        break_off(&arrival.client);
        self.tell_refused(arrival.pod, target, refused);
    }

    pub(super) fn begin(&mut self, arrival: Arrival, name: Option<Arc<str>>) -> u64 {
        let id = self.next_id();
        if let Err(error) = bound(&arrival.client, NEAR) {
            tracing::error!("the kernel holds of a connection what it likes: {error}");
        }
        // So that a task that vanished after its end is noticed, though nobody says anything to it.
        if let Err(error) = prepare(&arrival.client) {
            tracing::debug!("a task that vanishes may go unnoticed: {error}");
        }
        let connection = Connection {
            pod: arrival.pod,
            name,
            port: arrival.to.port(),
            address: None,
            is_told: false,
            began: self.now,
            client: Side::new(arrival.client),
            is_gone: false,
            stage: Stage::Waits,
        };
        self.connections.insert(id, connection);
        if let Some(pod) = self.pods.get_mut(&arrival.pod) {
            pod.connections.insert(id);
            self.places.change(&pod.namespace, |held| held.connections += 1);
        }
        id
    }

    /// Judges a connection by the addresses that its name has, or by the one that it was made to.
    pub(super) fn decide(&mut self, id: u64, addresses: &[IpAddr]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(pod) = self.pods.get(&connection.pod) else { return };
        let (name, port) = (connection.name.as_deref(), connection.port);
        let is_own = |address| self.routes.is_own(address);
        self.work += addresses.len() as u64 * (pod.egress.rules.len() as u64 + OF_ROUTE);
        match choose(&pod.egress, name, addresses, port, is_own) {
            Choice::Dial { policy, mut addresses } => {
                addresses.reverse();
                connection.address = addresses.last().copied();
                let (pod, target) = (connection.pod, connection.target());
                let is_told = self.tell(pod, id, target, Verdict::Allowed { policy: policy.to_string() });
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.is_told = is_told;
                }
                self.dial(id, addresses, String::new());
            }
            Choice::Refused { address, refused } => {
                connection.address = address;
                let (pod, target) = (connection.pod, connection.target());
                self.take(id);
                self.tell_refused(pod, target, refused);
            }
        }
    }

    /// Dials the last of `rest`, which may be reached; none is left when all have failed.
    fn dial(&mut self, id: u64, mut rest: Vec<IpAddr>, mut last_failure: String) {
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            let Some(address) = rest.pop() else {
                return self.end(id, End::NotReached { why: last_failure });
            };
            connection.address = Some(address);
            let Some(pod) = self.pods.get(&connection.pod) else { return };
            let buffers = far(self.places.connections_of(&pod.namespace));
            let dialled = start_dial(SocketAddr::new(address, connection.port), buffers).and_then(|socket| {
                let mut peer = Side::new(socket);
                peer.watch(&self.epoll, Token::Peer(id), EventFlags::OUT)?;
                Ok(peer)
            });
            match dialled {
                Ok(peer) => {
                    let deadline = self.now + self.limits.dial_ns;
                    self.timers.insert((deadline, Timer::Dial(id)));
                    connection.stage = Stage::Dials { peer, deadline, rest };
                    return;
                }
                Err(error) => last_failure = error.to_string(),
            }
        }
    }

    pub(super) fn dial_took_too_long(&mut self, id: u64) {
        self.dial_failed(id, "it did not answer in time".to_owned());
    }

    fn dial_failed(&mut self, id: u64, why: String) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(pod) = self.pods.get(&connection.pod) else { return };
        let Stage::Dials { deadline, rest, .. } = &mut connection.stage else { return };
        self.timers.remove(&(*deadline, Timer::Dial(id)));
        let mut rest = std::mem::take(rest);
        // What was allowed when the first one was dialled may not be any more.
        rest.retain(|address| connection.may_reach(*address, &pod.egress, |own| self.routes.is_own(own)));
        self.dial(id, rest, why);
    }

    pub(super) fn serve_connection(&mut self, id: u64, token: Token, flags: EventFlags) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match &mut connection.stage {
            Stage::Waits => {}
            Stage::Dials { peer, .. } => match sockopt::socket_error(&peer.socket) {
                Ok(Ok(())) => self.relay_from_now_on(id),
                Ok(Err(error)) | Err(error) => self.dial_failed(id, io::Error::from(error).to_string()),
            },
            Stage::Relays { peer, out, back } => {
                let ends = EventFlags::HUP | EventFlags::ERR;
                let (reads, writes) =
                    (flags.intersects(EventFlags::IN | ends), flags.intersects(EventFlags::OUT | ends));
                let of_client = matches!(token, Token::Client(_));
                let (client, peer) = (&connection.client.socket, &peer.socket);
                let pumps_out = if of_client { reads } else { writes };
                let pumps_back = if of_client { writes } else { reads };
                // A task that has said all is not read any more, so nothing else tells that it is gone.
                connection.is_gone |= of_client && flags.contains(EventFlags::ERR) && out.has_ended();
                let mut ended = None;
                if pumps_out && let Err(gone) = out.pump(client, peer, &mut self.piece) {
                    ended = Some(if gone == Gone::From { End::ByPod } else { End::ByPeer });
                }
                if ended.is_none()
                    && pumps_back
                    && let Err(gone) = back.pump(peer, client, &mut self.piece)
                {
                    ended = Some(if gone == Gone::From { End::ByPeer } else { End::ByPod });
                }
                if ended.is_none() && out.is_shut() {
                    ended = if back.is_shut() {
                        Some(End::Closed)
                    } else {
                        connection.is_gone.then_some(End::ByPod)
                    };
                }
                match ended {
                    Some(how) => self.end(id, how),
                    None => self.watch_connection(id),
                }
            }
        }
    }

    fn relay_from_now_on(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match std::mem::replace(&mut connection.stage, Stage::Waits) {
            Stage::Dials { peer, deadline, .. } => {
                self.timers.remove(&(deadline, Timer::Dial(id)));
                let (out, back) = (Half::default(), Half::default());
                connection.stage = Stage::Relays { peer, out, back };
                self.watch_connection(id);
            }
            other => connection.stage = other,
        }
    }

    fn watch_connection(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Stage::Relays { peer, out, back } = &mut connection.stage else { return };
        let wanted = |reads: bool, writes: bool| {
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, reads);
            flags.set(EventFlags::OUT, writes);
            flags
        };
        let watched = connection
            .client
            .watch(&self.epoll, Token::Client(id), wanted(out.reads(), back.writes()))
            .and_then(|()| peer.watch(&self.epoll, Token::Peer(id), wanted(back.reads(), out.writes())));
        if let Err(error) = watched {
            tracing::error!("a connection cannot be watched: {error}");
            self.end(id, End::ByPeer);
        }
    }

    /// Ends a connection that was allowed. One that is over because both sides said so ends in order; any other is reset.
    pub(super) fn end(&mut self, id: u64, how: End) {
        let Some(connection) = self.forget_connection(id) else { return };
        match &connection.stage {
            Stage::Waits => {}
            Stage::Dials { deadline, .. } => {
                self.timers.remove(&(*deadline, Timer::Dial(id)));
            }
            Stage::Relays { peer, .. } if how != End::Closed => break_off(&peer.socket),
            Stage::Relays { .. } => {}
        }
        if how != End::Closed {
            break_off(&connection.client.socket);
        }
        if connection.address.is_some() {
            self.tell_end(id, &connection, how);
        }
    }

    /// Ends a connection that was refused.
    fn take(&mut self, id: u64) {
        if let Some(connection) = self.forget_connection(id) {
            break_off(&connection.client.socket);
        }
    }

    fn forget_connection(&mut self, id: u64) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        if let Some(pod) = self.pods.get_mut(&connection.pod) {
            pod.connections.remove(&id);
            self.places.change(&pod.namespace, |held| held.connections -= 1);
        }
        Some(connection)
    }
}

/// Its closing, which follows, tells the other end that it failed. One that is gone already needs no telling.
fn break_off(socket: impl AsFd) {
    if let Err(error) = reset(socket) {
        tracing::debug!("a connection ends in order, which should end by a reset: {error}");
    }
}

fn start_dial(to: SocketAddr, buffers: Option<usize>) -> io::Result<OwnedFd> {
    let domain = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(domain, SocketType::STREAM, flags, None)?;
    prepare(&socket)?;
    // Before the other side is told how much may come at once.
    buffers.map_or(Ok(()), |bytes| bound(&socket, bytes))?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Bounds what the kernel holds for a side that does not read, which it would else tune to megabytes. It is memory of the gate: no
/// control group of the pod's counts it.
fn bound(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    Ok(sockopt::set_socket_send_buffer_size(&socket, bytes)?)
}

/// What is small goes at once, and a side that vanished is noticed.
fn prepare(socket: impl AsFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, SILENT)?;
    sockopt::set_tcp_keepintvl(&socket, ASKED_EVERY)?;
    sockopt::set_tcp_keepcnt(&socket, ASKED)?;
    Ok(sockopt::set_socket_keepalive(&socket, true)?)
}
