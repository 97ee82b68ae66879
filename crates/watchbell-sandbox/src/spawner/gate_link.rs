//! The spawner's end of the gate: starts it, hands it doors, starts it again when it dies.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::gate::{COUNTS_EVERY_NS, DoorSocket, GateArgs, NOTICE_MAX, Order};
use crate::start::DoorSockets;
use crate::wire::{Filled, Inbox, Outbox};
use crate::{UnixNanos, clock, oom, part};

/// A gate that has taken nothing of its orders for so long is ended and started again, with all doors.
const STUCK_NS: i64 = 30_000_000_000;
/// Orders of one turn of the loop.
const A_TURN: usize = 256;
/// As many as C libraries ask.
const RESOLVERS_MAX: usize = 3;
/// More is no file of resolvers.
pub(crate) const RESOLV_CONF_MAX: u64 = 64 << 10;

pub(crate) struct GateLink {
    child: Child,
    socket: OwnedFd,
    inbox: Inbox,
    orders: Orders,
    /// As it was told last.
    resolvers: Vec<SocketAddr>,
    started_at: UnixNanos,
    heard_at: UnixNanos,
}

/// What the gate is to be told of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Add(u128),
    Change(u128),
    Remove(u128),
}

/// An order, and what goes beside it.
pub(crate) type Made = (Order, Vec<OwnedFd>);

/// Orders on their way. One is made of its word when the socket takes it: what waits is small, however many doors there are, and
/// says what holds then.
#[derive(Default)]
struct Orders {
    outbox: Outbox,
    words: VecDeque<Word>,
    /// Pods of whose egress an order will be made.
    awaited: HashSet<u128>,
    /// Pods whose doors could not be handed over, for want of descriptors.
    late: Vec<u128>,
    stuck_since: Option<i64>,
}

impl Orders {
    fn push(&mut self, word: Word) {
        match word {
            Word::Change(pod) if self.awaited.contains(&pod) => return,
            Word::Add(pod) | Word::Change(pod) => self.awaited.insert(pod),
            Word::Remove(pod) => {
                self.late.retain(|late| *late != pod);
                self.awaited.remove(&pod)
            }
        };
        self.words.push_back(word);
    }

    fn pop(&mut self) -> Option<Word> {
        let word = self.words.pop_front()?;
        if let Word::Add(pod) | Word::Change(pod) = word {
            self.awaited.remove(&pod);
        }
        Some(word)
    }

    /// What could not be said is said again.
    fn try_late(&mut self) {
        for pod in std::mem::take(&mut self.late) {
            self.push(Word::Add(pod));
        }
    }

    /// Sends what the socket takes; `false` when something waits. `make`: `None` where there is nothing to be said any more, an error
    /// where it cannot be said now.
    fn flush(
        &mut self,
        socket: BorrowedFd<'_>,
        now: i64,
        make: impl Fn(Word) -> io::Result<Option<Made>>,
    ) -> io::Result<bool> {
        let before = self.outbox.len();
        let mut all = self.outbox.flush(socket)?;
        let is_stuck = !all && self.outbox.len() == before;
        for _ in 0..A_TURN {
            let Some(word) = all.then(|| self.pop()).flatten() else { break };
            match (make(word), word) {
                (Ok(Some((order, fds))), _) => {
                    self.outbox.push(&order, fds);
                    all = self.outbox.flush(socket)?;
                }
                (Err(_), Word::Add(pod)) => self.late.push(pod),
                _ => {}
            }
        }
        self.stuck_since = is_stuck.then(|| self.stuck_since.unwrap_or(now));
        if self.stuck_since.is_some_and(|since| now - since > STUCK_NS) {
            return Err(io::Error::other("it takes no orders"));
        }
        Ok(all && self.words.is_empty())
    }
}

impl GateLink {
    pub(crate) fn start(args: GateArgs) -> io::Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let child = part::start("gate", args.write(), theirs, oom::EARLY)?;
        let now = clock::now();
        Ok(Self {
            child,
            socket: ours,
            inbox: Inbox::new(NOTICE_MAX),
            orders: Orders::default(),
            resolvers: Vec::new(),
            started_at: now,
            heard_at: now,
        })
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn tell(&mut self, word: Word) {
        self.orders.push(word);
    }

    /// Doors that could not be handed over may be now.
    pub(crate) fn try_late(&mut self) {
        self.orders.try_late();
    }

    /// Tells who answers for names, where that has changed.
    pub(crate) fn resolve_by(&mut self, addresses: Vec<SocketAddr>) {
        if self.resolvers != addresses {
            self.resolvers.clone_from(&addresses);
            self.orders.outbox.push(&Order::Resolvers { addresses }, []);
        }
    }

    /// Sends what waits, of which `make` makes orders; `false` when something still waits.
    pub(crate) fn flush(&mut self, make: impl Fn(Word) -> io::Result<Option<Made>>) -> io::Result<bool> {
        self.orders.flush(self.socket.as_fd(), clock::monotonic(), make)
    }

    /// Now that it is dead: from when on it may have left something unsaid.
    pub(crate) fn unknown_from(&self, now: UnixNanos) -> UnixNanos {
        unknown_from(self.started_at, self.heard_at, now)
    }

    /// Takes notices, which are not read here: it may have been taken over. An error or the end means that it died.
    pub(crate) fn take(&mut self, out: &mut Vec<Vec<u8>>) -> io::Result<()> {
        let filled = self.inbox.fill(self.socket.as_fd())?;
        let before = out.len();
        while let Some(frame) = self.inbox.next().map_err(io::Error::other)? {
            out.push(frame.body);
        }
        if out.len() > before {
            self.heard_at = clock::now();
        }
        match filled {
            Filled::End => Err(io::ErrorKind::UnexpectedEof.into()),
            Filled::Bytes(_) | Filled::WouldBlock => Ok(()),
        }
    }

    /// Makes sure that it is gone. Its connections end with it.
    pub(crate) fn discard(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The order that hands a door over.
pub(crate) fn add(pod: u128, namespace: &str, egress: &[u8], door: &DoorSockets) -> io::Result<Made> {
    let fds = door.try_clone()?;
    let sockets =
        std::iter::once(DoorSocket::Dns).chain(std::iter::repeat(DoorSocket::Tcp)).take(fds.len()).collect();
    let (namespace, egress) = (namespace.to_owned(), egress.to_vec());
    Ok((Order::Add { pod, namespace, egress, sockets }, fds))
}

/// What it counts it says some seconds later, whatever else it said meanwhile.
fn unknown_from(started_at: UnixNanos, heard_at: UnixNanos, now: UnixNanos) -> UnixNanos {
    heard_at.min(now.saturating_sub(COUNTS_EVERY_NS)).max(started_at).min(now)
}

/// Who answers for names by a resolv.conf; by none: this machine, as C libraries have it.
pub(crate) fn resolvers(resolv_conf: &str) -> Vec<SocketAddr> {
    let named = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, 53))
    });
    let found: Vec<SocketAddr> = named.take(RESOLVERS_MAX).collect();
    if found.is_empty() { vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53)] } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{EGRESS_BYTES_MAX, ORDER_MAX};
    use crate::wire::decode;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap()
    }

    fn add(pod: u128) -> Order {
        let egress = vec![9; EGRESS_BYTES_MAX];
        Order::Add { pod, namespace: "ml".to_owned(), egress, sockets: Vec::new() }
    }

    #[test]
    fn a_door_that_could_not_be_handed_over_is_tried_again() {
        let (ours, _gate) = pair();
        let mut orders = Orders::default();
        [1, 2].into_iter().for_each(|pod| orders.push(Word::Add(pod)));
        let no_descriptor = |_| Err(io::Error::from_raw_os_error(libc::EMFILE));
        assert!(orders.flush(ours.as_fd(), 0, no_descriptor).unwrap());
        orders.push(Word::Remove(1));
        let said = std::cell::RefCell::new(Vec::new());
        let make = |word| {
            said.borrow_mut().push(word);
            Ok(None)
        };
        orders.flush(ours.as_fd(), 0, make).unwrap();
        orders.try_late();
        orders.flush(ours.as_fd(), 0, make).unwrap();
        assert_eq!(*said.borrow(), [Word::Remove(1), Word::Add(2)]);
    }

    #[test]
    fn doors_that_weigh_a_lot_are_handed_over_one_by_one() {
        const DOORS: u128 = 40;
        let (ours, gate) = pair();
        let mut orders = Orders::default();
        (0..DOORS).for_each(|pod| orders.push(Word::Add(pod)));
        let make = |word| match word {
            Word::Add(pod) => Ok(Some((add(pod), Vec::new()))),
            _ => Ok(None),
        };
        let (mut inbox, mut next) = (Inbox::new(ORDER_MAX), 0);
        while next < DOORS {
            orders.flush(ours.as_fd(), 0, make).unwrap();
            assert!(orders.outbox.len() < 2 * EGRESS_BYTES_MAX);
            inbox.fill(gate.as_fd()).unwrap();
            while let Some(frame) = inbox.next().unwrap() {
                assert_eq!(decode::<Order>(&frame.body).unwrap(), add(next));
                next += 1;
            }
        }
        assert!(orders.flush(ours.as_fd(), 0, make).unwrap());
    }

    #[test]
    fn what_is_said_of_a_pod_is_said_once_and_in_order() {
        let mut orders = Orders::default();
        let words = [
            Word::Change(1),
            Word::Add(2),
            Word::Change(2),
            Word::Change(1),
            Word::Remove(2),
            Word::Add(2),
            Word::Change(2),
        ];
        words.into_iter().for_each(|word| orders.push(word));
        let mut popped = || std::iter::from_fn(|| orders.pop()).collect::<Vec<_>>();
        assert_eq!(popped(), [Word::Change(1), Word::Add(2), Word::Remove(2), Word::Add(2)]);
        orders.push(Word::Change(2));
        assert_eq!(orders.pop(), Some(Word::Change(2)));
    }

    #[test]
    fn a_gate_that_takes_nothing_for_long_is_given_up() {
        let (ours, gate) = pair();
        let mut orders = Orders::default();
        (0..100).for_each(|pod| orders.push(Word::Add(pod)));
        let make = |word| match word {
            Word::Add(pod) => Ok(Some((add(pod), Vec::new()))),
            _ => Ok(None),
        };
        let mut flush = |now| orders.flush(ours.as_fd(), now, make);
        assert!(!flush(0).unwrap());
        assert!(!flush(1).unwrap() && !flush(1 + STUCK_NS).unwrap());
        // It takes some, and its time begins anew.
        Inbox::new(ORDER_MAX).fill(gate.as_fd()).unwrap();
        assert!(!flush(2 + STUCK_NS).unwrap() && !flush(3 + STUCK_NS).unwrap());
        assert!(flush(4 + 2 * STUCK_NS).is_err());
    }

    #[test]
    fn what_a_dead_gate_had_counted_is_unknown_too() {
        let second = 1_000_000_000;
        let from =
            |started, heard, now| unknown_from(started * second, heard * second, now * second) / second;
        assert_eq!(from(100, 130, 200), 130, "silent for long");
        assert_eq!(from(100, 199, 200), 190, "it may have counted before it spoke");
        assert_eq!(from(195, 199, 200), 195);
        assert_eq!(from(100, 100, 90), 90, "the clock was set");
    }

    #[test]
    fn resolvers_are_those_of_the_file() {
        let check = |text: &str, expect: &[&str]| {
            let found: Vec<String> = resolvers(text).iter().map(ToString::to_string).collect();
            assert_eq!(found, expect, "{text:?}");
        };
        check("", &["127.0.0.1:53"]);
        check(
            "# nameserver 9.9.9.9\nsearch example.org\nnameserver\t192.0.2.1 # first\n nameserver ::1\n",
            &["192.0.2.1:53", "[::1]:53"],
        );
        check("nameserver example.org\nnameservers 192.0.2.1\nnameserver", &["127.0.0.1:53"]);
        let four = "nameserver 192.0.2.1\n".repeat(4);
        check(&four, &["192.0.2.1:53"; 3]);
    }
}
