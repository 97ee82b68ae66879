//! Asks the kernel where an address leads: what it would deliver to this machine itself is no place outside.
//!
//! Not a list of the interfaces' addresses, which would have to be kept up to date, and would not know of the whole networks
//! that may be routed to this machine.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

// linux/netlink.h and linux/rtnetlink.h.
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTN_UNICAST: u8 = 1;
const HEADER: usize = 16;
const ROUTE: usize = 12;
/// Of `rtm_type`, behind the header.
const KIND_AT: usize = HEADER + 7;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// What the kernel answers of an address to which there is no way: none at all, none to its host, one that is forbidden, and
/// that it has no such family. Any other error says nothing of the address.
const NOWHERE: [i32; 4] = [
    Errno::NETUNREACH.raw_os_error(),
    Errno::HOSTUNREACH.raw_os_error(),
    Errno::ACCESS.raw_os_error(),
    Errno::OPNOTSUPP.raw_os_error(),
];

/// A socket to the kernel's tables.
#[derive(Debug)]
pub struct Routes(OwnedFd);

impl Routes {
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Protocol 0 is NETLINK_ROUTE.
        Ok(Self(socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?))
    }

    /// Whether a connection to it would end at this machine. Also where the kernel does not say: then it is not made.
    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        let said = self.ask(address);
        if let Err(error) = &said {
            tracing::error!("the kernel does not say where {address} leads: {error}");
        }
        !matches!(said, Ok(Leads::Elsewhere | Leads::Nowhere))
    }

    /// Whether there is no way to it, as to all of IPv6 from many a machine. A task that is told such an address of a name would
    /// not try another: it has a connection, to the gate.
    pub(crate) fn leads_nowhere(&self, address: IpAddr) -> bool {
        matches!(self.ask(address), Ok(Leads::Nowhere))
    }

    fn ask(&self, address: IpAddr) -> io::Result<Leads> {
        // An answer that nobody waited for, to a question that failed.
        let mut buffer = [0; 4096];
        loop {
            match recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok(_) | Err(Errno::INTR | Errno::NOBUFS) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        send(&self.0, &question(address), SendFlags::empty())?;
        // The kernel answers before it lets go of the question.
        let (length, _) = recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT)?;
        read(&buffer[..length])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leads {
    Elsewhere,
    Here,
    Nowhere,
}

fn question(address: IpAddr) -> Vec<u8> {
    let (family, bytes) = match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    let attribute = 4 + bytes.len();
    let mut message = Vec::with_capacity(HEADER + ROUTE + attribute);
    message.extend(((HEADER + ROUTE + attribute) as u32).to_ne_bytes());
    message.extend([RTM_GETROUTE, NLM_F_REQUEST].map(u16::to_ne_bytes).concat());
    message.extend([0; 8]);
    message.extend([family, bytes.len() as u8 * 8]);
    message.extend([0; ROUTE - 2]);
    message.extend([attribute as u16, RTA_DST].map(u16::to_ne_bytes).concat());
    message.extend(bytes);
    message
}

fn read(answer: &[u8]) -> io::Result<Leads> {
    let unread = || io::Error::other("it says what cannot be read");
    let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
    match kind {
        Some(RTM_NEWROUTE) => match *answer.get(KIND_AT).ok_or_else(unread)? {
            RTN_UNICAST => Ok(Leads::Elsewhere),
            _ => Ok(Leads::Here),
        },
        Some(NLMSG_ERROR) => {
            let number = answer.get(HEADER..HEADER + 4).and_then(|number| number.try_into().ok());
            match number.map(i32::from_ne_bytes).and_then(i32::checked_neg).ok_or_else(unread)? {
                number if NOWHERE.contains(&number) => Ok(Leads::Nowhere),
                number => Err(io::Error::from_raw_os_error(number)),
            }
        }
        _ => Err(unread()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_leads_here_and_what_cannot_be_read_is_not_believed() {
        let routes = Routes::open().unwrap();
        for address in ["127.0.0.1", "127.9.9.9", "255.255.255.255", "224.0.0.1"] {
            assert!(routes.is_own(address.parse().unwrap()), "{address}");
        }
        assert!(read(&[]).is_err());
        assert!(read(&[0; 64]).is_err());
        let mut answer = [0; HEADER + ROUTE];
        answer[4..6].copy_from_slice(&RTM_NEWROUTE.to_ne_bytes());
        assert_eq!(read(&answer).unwrap(), Leads::Here, "a kind that is none");
        assert!(read(&answer[..KIND_AT]).is_err());
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        let mut error = |number: Errno| {
            answer[HEADER..HEADER + 4].copy_from_slice(&(-number.raw_os_error()).to_ne_bytes());
            read(&answer)
        };
        for number in [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::ACCESS, Errno::OPNOTSUPP] {
            assert_eq!(error(number).unwrap(), Leads::Nowhere);
        }
        for number in [Errno::NOBUFS, Errno::NOMEM, Errno::INVAL, Errno::PERM] {
            assert!(error(number).is_err(), "{number}");
        }
        answer[HEADER..HEADER + 4].fill(0);
        assert!(read(&answer).is_err(), "an acknowledgement");
        assert!(read(&answer[..HEADER + 2]).is_err());
        answer[4..6].copy_from_slice(&RTM_NEWROUTE.to_ne_bytes());
        answer[KIND_AT] = RTN_UNICAST;
        assert_eq!(read(&answer).unwrap(), Leads::Elsewhere);
    }
}
