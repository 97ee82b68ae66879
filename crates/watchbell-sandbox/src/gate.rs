//! What the spawner and the gate say to each other, and how the gate gives up what it does not need.
//!
//! ```text
//!  spawner ── Order: Add(pod, egress, sockets) · Change · Remove ─▶ gate ══ sockets of the pod's network ══ task
//!          ◀── Notice: Decided · Ended · Counted ──────────────────   ╚════ sockets of the host's network ══ elsewhere
//! ```
//!
//! Policy passes the spawner unread: what may leave is bytes to the process that has all rights, and is read by the one that
//! has none. Frames are those of [`Inbox`] and [`Outbox`]; variants are only ever added at the end.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::UnixNanos;
pub use crate::start::confine_gate as confine;
pub use crate::wire::{Filled, Frame, Inbox, Outbox, WireError, decode};

/// The gate's user and group: an id that owns nothing, below the unpacker's.
pub const DEFAULT_UID: u32 = crate::DEFAULT_KEEPER_UID - 2;
/// What a pod may reach, in its wire form.
pub const EGRESS_BYTES_MAX: usize = 256 << 10;
/// The frame of an order.
pub const ORDER_MAX: u32 = EGRESS_BYTES_MAX as u32 + 4096;
/// The frame of a notice: a name, a policy's name, a reason.
pub const NOTICE_MAX: u32 = 8192;
/// How often what is beyond the rates is told.
pub const COUNTS_EVERY_NS: i64 = 10_000_000_000;
/// Where counted connections went: so many places are told, which a frame has room for.
pub const REACHED_MAX: usize = 24;
/// Where a pod asks for names, on port 53: the nameserver of its resolv.conf. Of 198.18.0.0/15, which the gate's answers are
/// from; it is never one of them.
pub use crate::start::DOOR_V4 as STUB;
/// Sockets of one door.
pub const SOCKETS_MAX: usize = 8;

/// Spawner to gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Who answers for names, best first: those of the host's resolv.conf. Before the first door, and when they change.
    Resolvers { addresses: Vec<SocketAddr> },
    /// A pod gets a door. Beside it are its sockets, made in the pod's network, one for each of `sockets`. `egress` is
    /// `watchbell_core::egress::Egress` by postcard. Pods of one `namespace` share what it may have of the gate.
    Add { pod: u128, namespace: String, egress: Vec<u8>, sockets: Vec<DoorSocket> },
    /// What it may reach is something else: connections that it may no longer have are cut.
    Change { pod: u128, egress: Vec<u8> },
    /// It has ended: its sockets are closed and its connections cut.
    Remove { pod: u128 },
}

/// What arrives at a socket of a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DoorSocket {
    /// Connections: it listens, of either family. Where they were to go says the NAT of the pod's network
    /// (`SO_ORIGINAL_DST`), or, without one, the address that they arrived at.
    Tcp,
    /// Questions for names: a UDP socket that is bound to the address in the pod's resolv.conf.
    Dns,
}

/// Gate to spawner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    Decided(Decided),
    Ended(Ended),
    /// Of older gates: the next one without where to.
    Beyond(Beyond),
    Counted(Counted),
}

/// A connection was allowed or refused, or a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    pub at: UnixNanos,
    pub pod: u128,
    /// Never twice in the life of a gate.
    pub connection: u64,
    pub target: Target,
    pub verdict: Verdict,
}

/// What a pod asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// If it asked by name.
    pub name: Option<String>,
    /// None where the name was never resolved.
    pub address: Option<IpAddr>,
    /// None where only the name was asked for.
    pub port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// By the policy `NAMESPACE/NAME`.
    Allowed { policy: String },
    /// `reason` is one word, for counters and searches; `why` a sentence about the target.
    Refused { reason: String, why: String },
}

/// The end of a connection of which [`Notice::Decided`] told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub at: UnixNanos,
    pub pod: u128,
    pub connection: u64,
    pub target: Target,
    /// Bytes out of the pod and into it.
    pub sent: u64,
    pub received: u64,
    pub lasted_ns: u64,
    pub how: End,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Both sides had said all.
    Closed,
    /// The pod broke it off.
    ByPod,
    /// The other side did, or is not there any more.
    ByPeer,
    /// Nobody answered at any address that is allowed.
    NotReached { why: String },
    /// The pod may no longer reach it.
    Withdrawn,
    /// The pod has ended.
    PodEnded,
}

/// What happened beyond the rate at which notices are given, since the last of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Beyond {
    pub at: UnixNanos,
    pub pod: u128,
    pub allowed: u64,
    /// Connections and names.
    pub refused: u64,
    pub ended: u64,
    /// By those that ended.
    pub sent: u64,
    pub received: u64,
}

/// What happened beyond the rate, and where the connections went that were allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counted {
    pub beyond: Beyond,
    /// At most [`REACHED_MAX`].
    pub reached: Vec<Reached>,
    /// Allowed connections to still others.
    pub others: u64,
}

/// A name, or an address that was asked for by none, and a port. Of a name the address is that of the first connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    pub target: Target,
    pub count: u64,
}

/// The command line, as the spawner writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateArgs {
    pub uid: u32,
}

impl GateArgs {
    pub fn write(self) -> [OsString; 1] {
        [self.uid.to_string().into()]
    }

    pub fn parse(args: impl Iterator<Item = OsString>) -> io::Result<Self> {
        let args: Vec<OsString> = args.collect();
        let wrong = || io::Error::other("the gate is started by the spawner alone");
        let [uid] = args.as_slice() else { return Err(wrong()) };
        Ok(Self { uid: uid.to_str().and_then(|uid| uid.parse().ok()).ok_or_else(wrong)? })
    }
}

/// Takes the socket to the spawner, which is standard input, and closes all else that was inherited. Called before anything
/// is opened.
pub fn take_socket() -> io::Result<OwnedFd> {
    let socket = crate::fds::take_stdin()?;
    crate::fds::close_all_but(&[&socket])?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    /// The longest of what the gate says.
    fn longest() -> Ended {
        Ended {
            at: i64::MIN,
            pod: u128::MAX,
            connection: u64::MAX,
            target: Target {
                name: Some("n".repeat(1024)),
                address: Some(IpAddr::from([0xff; 16])),
                port: Some(u16::MAX),
            },
            sent: u64::MAX,
            received: u64::MAX,
            lasted_ns: u64::MAX,
            how: End::NotReached { why: "w".repeat(1024) },
        }
    }

    /// The most that it counts; a name has at most 253 bytes.
    fn most() -> Counted {
        let target = Target { name: Some("n".repeat(253)), ..longest().target };
        let max = u64::MAX;
        Counted {
            beyond: Beyond {
                at: i64::MIN,
                pod: u128::MAX,
                allowed: max,
                refused: max,
                ended: max,
                sent: max,
                received: max,
            },
            reached: vec![Reached { target, count: max }; REACHED_MAX],
            others: max,
        }
    }

    #[test]
    fn orders_and_notices_cross_with_their_sockets() -> io::Result<()> {
        let (spawner, gate) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
        let add = Order::Add {
            pod: 7,
            namespace: "n".repeat(63),
            egress: vec![9; EGRESS_BYTES_MAX],
            sockets: vec![DoorSocket::Tcp; SOCKETS_MAX],
        };
        let sockets =
            || -> io::Result<Vec<OwnedFd>> { (0..SOCKETS_MAX).map(|_| spawner.try_clone()).collect() };
        let mut outbox = Outbox::default();
        outbox.push(&add, sockets()?);
        outbox.push(&Order::Remove { pod: 7 }, []);
        let (mut inbox, mut frames) = (Inbox::new(ORDER_MAX), Vec::new());
        while frames.len() < 2 {
            outbox.flush(spawner.as_fd())?;
            inbox.fill(gate.as_fd())?;
            while let Some(frame) = inbox.next().map_err(io::Error::other)? {
                frames.push(frame);
            }
        }
        assert_eq!(decode::<Order>(&frames[0].body).map_err(io::Error::other)?, add);
        assert_eq!((frames[0].fds.len(), frames[1].fds.len()), (SOCKETS_MAX, 0));

        let mut inbox = Inbox::new(NOTICE_MAX);
        for notice in [Notice::Ended(longest()), Notice::Counted(most())] {
            outbox.push(&notice, []);
            outbox.flush(gate.as_fd())?;
            inbox.fill(spawner.as_fd())?;
            let frame = inbox.next().map_err(io::Error::other)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            assert_eq!(decode::<Notice>(&frame.body).map_err(io::Error::other)?, notice);
        }
        Ok(())
    }

    #[test]
    fn the_command_line_reads_back() {
        let args = GateArgs { uid: DEFAULT_UID };
        assert_eq!(GateArgs::parse(args.write().into_iter()).unwrap(), args);
        assert!(GateArgs::parse([OsString::from("-1")].into_iter()).is_err());
        assert!(GateArgs::parse(std::iter::empty()).is_err());
    }
}
