//! Addresses and their ranges. As in Kubernetes an IPv4 address in IPv6 form, or one with a zone, is none.

use std::fmt;
use std::net::IpAddr;

use super::{Cost, Row, global, member};
use crate::error::EvalError;
use crate::eval::{Evaluator, Outcome};
use crate::value::{Opaque, Value};

pub(super) const TABLE: &[Row] = &[
    global("ip", &["(string) -> net.IP"], ip, Cost::Traverse),
    global("isIP", &["(string) -> bool"], is_ip, Cost::Traverse),
    global("ip.isCanonical", &["(string) -> bool"], is_canonical, Cost::TraverseTwice),
    global("cidr", &["(string) -> net.CIDR"], cidr, Cost::Traverse),
    global("isCIDR", &["(string) -> bool"], is_cidr, Cost::Traverse),
    member("family", &["(net.IP) -> int"], family, Cost::One),
    member("isUnspecified", &["(net.IP) -> bool"], is_unspecified, Cost::One),
    member("isLoopback", &["(net.IP) -> bool"], is_loopback, Cost::One),
    member("isLinkLocalMulticast", &["(net.IP) -> bool"], is_link_local_multicast, Cost::One),
    member("isLinkLocalUnicast", &["(net.IP) -> bool"], is_link_local_unicast, Cost::One),
    member("isGlobalUnicast", &["(net.IP) -> bool"], is_global_unicast, Cost::One),
    member(
        "containsIP",
        &["(net.CIDR, net.IP) -> bool", "(net.CIDR, string) -> bool"],
        contains_ip,
        Cost::ContainsIp,
    ),
    member(
        "containsCIDR",
        &["(net.CIDR, net.CIDR) -> bool", "(net.CIDR, string) -> bool"],
        contains_cidr,
        Cost::ContainsCidr,
    ),
    member("ip", &["(net.CIDR) -> net.IP"], cidr_ip, Cost::One),
    member("masked", &["(net.CIDR) -> net.CIDR"], masked, Cost::One),
    member("prefixLength", &["(net.CIDR) -> int"], prefix_length, Cost::One),
];

/// A range of addresses, with the address that it was written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    pub(crate) address: IpAddr,
    pub(crate) length: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Cidr {
    /// The bits of an address that count, as a number with the first bit foremost.
    fn prefix(self, address: IpAddr) -> u128 {
        let (bits, width) = match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        bits.checked_shr(width - u32::from(self.length)).unwrap_or(0)
    }

    fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && self.prefix(self.address) == self.prefix(address)
    }

    fn masked(self) -> Cidr {
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        let bits = self.prefix(self.address).checked_shl(width - u32::from(self.length)).unwrap_or(0);
        let address = match self.address {
            IpAddr::V4(_) => IpAddr::V4((bits as u32).into()),
            IpAddr::V6(_) => IpAddr::V6(bits.into()),
        };
        Cidr { address, length: self.length }
    }
}

pub(super) fn is_same(a: &Cidr, b: &Cidr) -> bool {
    a == b
}

fn parse_ip(text: &str) -> Result<IpAddr, String> {
    let ip: IpAddr = text.parse().map_err(|_| {
        let shown: String = text.chars().take(64).collect();
        format!("IP Address {shown:?} parse error during conversion from string: unable to parse IP")
    })?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        ip => Ok(ip),
    }
}

fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let wrong = || {
        let shown: String = text.chars().take(64).collect();
        format!("network address parse error during conversion from string: {shown:?} is no CIDR")
    };
    let (address, length) = text.split_once('/').ok_or_else(wrong)?;
    let address = parse_ip(address)?;
    let is_plain = length.bytes().all(|b| b.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
    let length: u8 = if is_plain { length.parse().map_err(|_| wrong())? } else { return Err(wrong()) };
    match u32::from(length) <= if address.is_ipv4() { 32 } else { 128 } {
        true => Ok(Cidr { address, length }),
        false => Err(wrong()),
    }
}

fn text<'v>(args: &'v [Value<'_>]) -> Result<&'v str, EvalError> {
    args[0].as_str().ok_or_else(EvalError::no_overload)
}

fn address(value: Option<&Value<'_>>) -> Result<IpAddr, EvalError> {
    match value {
        Some(Value::Opaque(Opaque::Ip(ip))) => Ok(*ip),
        Some(Value::String(text)) => parse_ip(text).map_err(EvalError::failed),
        _ => Err(EvalError::no_overload()),
    }
}

fn range(value: Option<&Value<'_>>) -> Result<Cidr, EvalError> {
    match value {
        Some(Value::Opaque(Opaque::Cidr(cidr))) => Ok(*cidr),
        Some(Value::String(text)) => parse_cidr(text).map_err(EvalError::failed),
        _ => Err(EvalError::no_overload()),
    }
}

fn ip<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Opaque(Opaque::Ip(parse_ip(text(args)?).map_err(EvalError::failed)?)))
}

fn is_ip<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(parse_ip(text(args)?).is_ok()))
}

fn is_canonical<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let text = text(args)?;
    Ok(Value::Bool(parse_ip(text).map_err(EvalError::failed)?.to_string() == text))
}

fn cidr<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Opaque(Opaque::Cidr(parse_cidr(text(args)?).map_err(EvalError::failed)?)))
}

fn is_cidr<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(parse_cidr(text(args)?).is_ok()))
}

fn family<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(if address(args.first())?.is_ipv4() { 4 } else { 6 }))
}

fn is_unspecified<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(address(args.first())?.is_unspecified()))
}

fn is_loopback<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(address(args.first())?.is_loopback()))
}

fn link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.octets()[0] == 0xff && v6.octets()[1] & 0x0f == 0x02,
    }
}

fn link_local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_link_local_multicast<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(link_local_multicast(address(args.first())?)))
}

fn is_link_local_unicast<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(link_local_unicast(address(args.first())?)))
}

fn is_global_unicast<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let ip = address(args.first())?;
    let is_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    let is_other = is_broadcast
        || ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_multicast()
        || link_local_unicast(ip);
    Ok(Value::Bool(!is_other))
}

fn contains_ip<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(range(args.first())?.contains(address(args.get(1))?)))
}

fn contains_cidr<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    let (outer, inner) = (range(args.first())?, range(args.get(1))?);
    Ok(Value::Bool(outer.length <= inner.length && outer.contains(inner.address)))
}

fn cidr_ip<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Opaque(Opaque::Ip(range(args.first())?.address)))
}

fn masked<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Opaque(Opaque::Cidr(range(args.first())?.masked())))
}

fn prefix_length<'a>(_: &mut Evaluator<'a, '_>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(i64::from(range(args.first())?.length)))
}
