//! Addresses and routes of the loopback interface, by rtnetlink(7): two kinds of messages, written by hand.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// Of every network namespace's loopback.
const LOOPBACK: u32 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
// linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h.
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Nobody else can have the address: it is used at once.
const IFA_F_NODAD: u8 = 2;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;

pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        // Without a protocol: NETLINK_ROUTE, which is 0.
        Ok(Self(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?))
    }

    /// Gives loopback one address more.
    pub(super) fn add_address(&self, address: IpAddr) -> io::Result<()> {
        self.ask(RTM_NEWADDR, &address_body(address)).map_err(|e| named("give loopback", address, e))
    }

    /// Makes every address the namespace's own (AnyIP). Programs that do not say otherwise speak from `source`.
    pub(super) fn add_local_default(&self, source: IpAddr) -> io::Result<()> {
        self.ask(RTM_NEWROUTE, &route_body(source)).map_err(|e| named("route to loopback, from", source, e))
    }

    fn ask(&self, kind: u16, body: &[u8]) -> io::Result<()> {
        send(&self.0, &message(kind, body), SendFlags::empty())?;
        let mut answer = [0u8; 1024];
        let (length, _) = recv(&self.0, &mut answer, RecvFlags::empty())?;
        acknowledged(&answer[..length])
    }
}

fn named(what: &str, address: IpAddr, error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        // The caller asks which it was.
        Some(errno) if is_without_v6(errno) && address.is_ipv6() => error,
        _ => io::Error::new(error.kind(), format!("cannot {what} {address}: {error}")),
    }
}

/// What a kernel says that has no IPv6, or has it switched off.
pub(super) fn is_without_v6(errno: Errno) -> bool {
    matches!(errno, Errno::OPNOTSUPP | Errno::ACCESS | Errno::AFNOSUPPORT)
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = (16 + body.len()) as u32;
    let mut out = Vec::with_capacity(length as usize);
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend((NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL).to_ne_bytes());
    // Sequence and port: one question at a time, on a socket of its own.
    out.extend([0; 8]);
    out.extend(body);
    out
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend((4 + value.len() as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
}

fn parts(address: IpAddr) -> (u8, u8, Vec<u8>) {
    match address {
        IpAddr::V4(v4) => (AF_INET, 32, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AF_INET6, 128, v6.octets().to_vec()),
    }
}

/// `struct ifaddrmsg` and its attributes.
fn address_body(address: IpAddr) -> Vec<u8> {
    let (family, bits, octets) = parts(address);
    // To the outside, to all appearances: the resolvers of C libraries ask for addresses of a family of which there is one that is
    // not loopback's.
    let mut out = vec![family, bits, IFA_F_NODAD, RT_SCOPE_UNIVERSE];
    out.extend(LOOPBACK.to_ne_bytes());
    attribute(&mut out, IFA_LOCAL, &octets);
    attribute(&mut out, IFA_ADDRESS, &octets);
    out
}

/// `struct rtmsg` and its attributes: `ip route add local default dev lo src SOURCE`.
fn route_body(source: IpAddr) -> Vec<u8> {
    let (family, _, octets) = parts(source);
    let scope = if source.is_ipv4() { RT_SCOPE_HOST } else { RT_SCOPE_UNIVERSE };
    let mut out = vec![family, 0, 0, 0, RT_TABLE_LOCAL, RTPROT_STATIC, scope, RTN_LOCAL];
    out.extend([0; 4]);
    attribute(&mut out, RTA_OIF, &LOOPBACK.to_ne_bytes());
    attribute(&mut out, RTA_PREFSRC, &octets);
    out
}

/// `struct nlmsgerr`: 0, or the error.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let field = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    match (kind, field(16).map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(io::Error::from_raw_os_error(error.wrapping_neg())),
        _ => Err(io::Error::other("the kernel's answer about routes cannot be read")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{RTM_NEWROUTE, acknowledged, message, route_body};

    #[test]
    fn a_message_is_what_the_ip_program_sends() {
        let bytes = message(RTM_NEWROUTE, &route_body(IpAddr::from([198, 18, 0, 1])));
        let expected: &[&[u8]] = &[
            &44u32.to_ne_bytes(),
            &24u16.to_ne_bytes(),
            &0x605u16.to_ne_bytes(),
            &[0; 8],
            &[2, 0, 0, 0, 255, 4, 254, 2, 0, 0, 0, 0],
            &8u16.to_ne_bytes(),
            &4u16.to_ne_bytes(),
            &1u32.to_ne_bytes(),
            &8u16.to_ne_bytes(),
            &7u16.to_ne_bytes(),
            &[198, 18, 0, 1],
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn an_answer_is_an_acknowledgement_or_the_error() {
        let answer = |error: i32| [message(2, &error.to_ne_bytes()), vec![0; 16]].concat();
        assert!(acknowledged(&answer(0)).is_ok());
        assert_eq!(acknowledged(&answer(-17)).err().and_then(|e| e.raw_os_error()), Some(17));
        for short in [&[][..], &answer(0)[..19]] {
            assert!(acknowledged(short).is_err());
        }
    }
}
