//! A pod's door: the one way out of its network namespace, which has no other interface than loopback.
//!
//! ```text
//!  program ── connect(203.0.113.5:443) ──▶ `local default dev lo`: every address is the namespace's own
//!                                             └─ sk_lookup program: any port ──▶ listener ══ descriptor ══▶ gate
//!  program ── resolver ──▶ 198.18.0.1:53, UDP ─────────────────────────────▶ socket ════ descriptor ══▶ gate
//! ```
//!
//! No packet leaves the namespace: a connection ends at a listener in it, and the gate, which holds that listener, sees by its
//! local address where the program wanted to go. What goes to loopback is the pod's own, as ever.

mod netlink;
mod steering;

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, bind, listen, recvmsg, sendmsg, socket_with,
    sockopt,
};

use netlink::Netlink;
use steering::Steering;

/// The pod's address, and its resolver's: of the range for tests of networks (RFC 2544), which nobody routes.
pub const DOOR_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Of a unique local prefix.
pub const DOOR_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x6174, 0x6368, 0, 0, 0, 0, 1);
/// Where the listeners are: a port that no program asks for, on an address of their own.
const LISTENER_PORT: u16 = 1;
const DNS_PORT: u16 = 53;
/// Connections that wait until the gate takes them; while it is started anew, for one.
const BACKLOG: i32 = 256;
/// Of a socket's buffer for questions: some hundred of them.
const DNS_BUFFER: usize = 256 << 10;

/// What the gate is given of a pod.
#[derive(Debug)]
pub(crate) struct DoorSockets {
    /// Bound to [`DOOR_V4`], port 53.
    pub(crate) dns: OwnedFd,
    pub(crate) tcp4: OwnedFd,
    /// `None`: this kernel has no IPv6.
    pub(crate) tcp6: Option<OwnedFd>,
}

impl DoorSockets {
    /// In the namespace that the calling process is in and has rights over: every address becomes its own.
    pub(super) fn make() -> io::Result<Self> {
        let netlink = Netlink::open()?;
        netlink.add_address(DOOR_V4.into())?;
        netlink.add_local_default(DOOR_V4.into())?;
        let dns = bound(SocketType::DGRAM, (DOOR_V4, DNS_PORT).into())?;
        sockopt::set_socket_recv_buffer_size(&dns, DNS_BUFFER)?;
        let tcp4 = listener((DOOR_V4, LISTENER_PORT).into())?;
        let tcp6 = match netlink.add_address(DOOR_V6.into()) {
            Ok(()) => {
                netlink.add_local_default(DOOR_V6.into())?;
                Some(listener((DOOR_V6, LISTENER_PORT).into())?)
            }
            // Switched off at boot, or for every new interface.
            Err(error) if Errno::from_io_error(&error).is_some_and(netlink::is_without_v6) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { dns, tcp4, tcp6 })
    }

    /// Sends them to who waits for them in [`DoorSockets::receive`].
    pub(super) fn hand_out(&self, way: BorrowedFd<'_>) -> io::Result<()> {
        let fds: Vec<BorrowedFd<'_>> = self.each().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(way, &[IoSlice::new(b"d")], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// What was sent already.
    pub(super) fn receive(way: BorrowedFd<'_>) -> io::Result<Self> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        recvmsg(way, &mut [IoSliceMut::new(&mut [0])], &mut control, flags)?;
        let mut fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let mut fds = fds.next().into_iter().flatten();
        match (fds.next(), fds.next(), fds.next()) {
            (Some(dns), Some(tcp4), tcp6) => Ok(Self { dns, tcp4, tcp6 }),
            _ => Err(io::Error::other("the process that made the namespaces handed out no sockets")),
        }
    }

    fn each(&self) -> impl Iterator<Item = &OwnedFd> {
        [&self.dns, &self.tcp4].into_iter().chain(&self.tcp6)
    }

    /// The same sockets once more.
    pub(crate) fn try_clone(&self) -> io::Result<Vec<OwnedFd>> {
        self.each().map(OwnedFd::try_clone).collect()
    }
}

/// A door that stands open, as long as this is held.
pub(super) struct Door {
    pub(super) sockets: DoorSockets,
    _steering: Steering,
}

impl Door {
    /// Leads every connection of the namespace to the sockets, which are in it.
    pub(super) fn open(sockets: DoorSockets, namespace: BorrowedFd<'_>) -> io::Result<Self> {
        let listeners = [Some(sockets.tcp4.as_fd()), sockets.tcp6.as_ref().map(AsFd::as_fd)];
        let _steering = Steering::attach(listeners, namespace)?;
        Ok(Self { sockets, _steering })
    }
}

fn listener(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = bound(SocketType::STREAM, address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn bound(kind: SocketType, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match address {
        SocketAddr::V4(v4) => bind(&socket, &v4)?,
        SocketAddr::V6(v6) => {
            sockopt::set_ipv6_v6only(&socket, true)?;
            bind(&socket, &v6)?;
        }
    }
    Ok(socket)
}
