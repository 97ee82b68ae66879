//! What kind of address one is, whatever it is written as.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// From what is never reached to what every rule may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// Of a cloud: who asks it gets the credentials of the machine.
    Metadata,
    Loopback,
    LinkLocal,
    Unspecified,
    Multicast,
    Broadcast,
    /// Private, shared or of a special purpose: reached by a block, never by name.
    NotGlobal,
    Global,
}

/// Addresses outside the link-local ranges under which clouds tell a machine its credentials, or steer it.
const METADATA_V4: [Ipv4Addr; 3] = [
    // Azure's WireServer.
    Ipv4Addr::new(168, 63, 129, 16),
    // Alibaba Cloud.
    Ipv4Addr::new(100, 100, 100, 200),
    // Oracle Cloud.
    Ipv4Addr::new(192, 0, 0, 192),
];

/// Of IPv6: first bits, and how many. Each cloud has its own beside 169.254.169.254, most of them unique local ones.
const METADATA_V6: [(Ipv6Addr, u8); 6] = [
    // Amazon: metadata ::254, pods' credentials ::23, names ::253, time ::123.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    // Google.
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
    // Scaleway.
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128),
    // Oracle Cloud, as in its SDKs' signers for instances.
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128),
    // Akamai (Linode), as in cloud-init's Akamai data source.
    (Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1), 128),
    // Alibaba Cloud, as in cloud-init's AliYun data source.
    (Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200), 128),
];

/// IANA's registry of special-purpose addresses: those that are not globally reachable.
const SPECIAL_V4: [(Ipv4Addr, u8); 12] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // Benchmarks; the gate's own answers to tasks are of it.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The same within 2000::/3, outside which nothing is global but [`NAT64`].
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    // Protocols, Teredo among them.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// A translator makes an IPv4 connection of it: it is what the IPv4 address is.
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
/// The same, of a network's own translator.
const NAT64_LOCAL: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48);
const TEREDO: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32);
const SIX_TO_FOUR: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);
/// `::a.b.c.d`, which was given up.
const COMPATIBLE: (Ipv6Addr, u8) = (Ipv6Addr::UNSPECIFIED, 96);
/// `::ffff:0:a.b.c.d`, of stateless translation.
const TRANSLATED: (Ipv6Addr, u8) = (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96);

impl Class {
    /// Of an address, and of the IPv4 address that stands in it: the one that is less open.
    pub fn of(address: IpAddr) -> Class {
        forms(address).map(of_form).min().unwrap_or(Class::NotGlobal)
    }

    pub fn is_never_reached(self) -> bool {
        self < Class::NotGlobal
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Class::Metadata => "MetadataAddress",
            Class::Loopback => "LoopbackAddress",
            Class::LinkLocal => "LinkLocalAddress",
            Class::Unspecified => "UnspecifiedAddress",
            Class::Multicast => "MulticastAddress",
            Class::Broadcast => "BroadcastAddress",
            Class::NotGlobal => "PrivateAddress",
            Class::Global => "GlobalAddress",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Metadata => "an address where a cloud tells a machine its credentials",
            Class::Loopback => "a loopback address",
            Class::LinkLocal => "a link-local address",
            Class::Unspecified => "an address of this host by no address",
            Class::Multicast => "a multicast address",
            Class::Broadcast => "a broadcast address",
            Class::NotGlobal => "a private address",
            Class::Global => "a global address",
        })
    }
}

/// An address and, behind it, what it means to whoever translates it.
pub(super) fn forms(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let address = address.to_canonical();
    let inside = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => inside(v6).map(IpAddr::V4),
    };
    std::iter::once(address).chain(inside)
}

/// The IPv4 address in an IPv6 one.
fn inside(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let is_of = |range: (Ipv6Addr, u8)| is_in_v6(address, range);
    let bits = address.to_bits();
    let low = Ipv4Addr::from_bits(bits as u32);
    let is_compatible = is_of(COMPATIBLE) && !address.is_unspecified() && !address.is_loopback();
    if is_of(NAT64) || is_of(NAT64_LOCAL) || is_of(TRANSLATED) || is_compatible {
        Some(low)
    } else if is_of(SIX_TO_FOUR) {
        Some(Ipv4Addr::from_bits((bits >> 80) as u32))
    } else if is_of(TEREDO) {
        // The client's, with every bit turned.
        Some(Ipv4Addr::from_bits(!low.to_bits()))
    } else {
        None
    }
}

fn of_form(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => of_v4(address),
        IpAddr::V6(address) => of_v6(address),
    }
}

fn of_v4(address: Ipv4Addr) -> Class {
    let is_in = |(first, prefix): (Ipv4Addr, u8)| (address.to_bits() ^ first.to_bits()) >> (32 - prefix) == 0;
    if METADATA_V4.contains(&address) {
        Class::Metadata
    } else if address.is_loopback() {
        Class::Loopback
    } else if address.is_link_local() {
        Class::LinkLocal
    } else if address.octets()[0] == 0 {
        Class::Unspecified
    } else if address.is_multicast() {
        Class::Multicast
    } else if address.is_broadcast() {
        Class::Broadcast
    } else if SPECIAL_V4.into_iter().any(is_in) {
        Class::NotGlobal
    } else {
        Class::Global
    }
}

fn of_v6(address: Ipv6Addr) -> Class {
    let is_of = |range| is_in_v6(address, range);
    if METADATA_V6.into_iter().any(is_of) {
        Class::Metadata
    } else if address.is_loopback() {
        Class::Loopback
    } else if address.is_unicast_link_local() {
        Class::LinkLocal
    } else if address.is_unspecified() {
        Class::Unspecified
    } else if address.is_multicast() {
        Class::Multicast
    } else if is_of(NAT64) || address.segments()[0] >> 13 == 1 && !SPECIAL_V6.into_iter().any(is_of) {
        Class::Global
    } else {
        Class::NotGlobal
    }
}

fn is_in_v6(address: Ipv6Addr, (first, prefix): (Ipv6Addr, u8)) -> bool {
    (address.to_bits() ^ first.to_bits()) >> (128 - prefix) == 0
}
