//! Where pods may connect to, as NetworkPolicies say it: blocks of addresses, names, ports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decode;

/// Of a NetworkPolicy: a list of `NAME:PORT` or `NAME:FIRST-LAST` that its pods may connect to as well.
pub const EGRESS_NAMES: &str = "watchbell.dev/egress-names";

/// All that the egress of one policy may name, and of all policies of a namespace: each peer once for each of its ports, each
/// exception of a block, each name. A connection is judged by all of it.
pub const DESTINATIONS_MAX: usize = 1024;
/// NetworkPolicies in a namespace.
pub const NETWORK_POLICIES_MAX: usize = 128;

const NAME_LENGTH_MAX: usize = 253;
const LABEL_LENGTH_MAX: usize = 63;

/// Where a pod may connect to, as it goes to the gate: between server and gate nobody reads it.
pub type EgressWire = Arc<[u8]>;

/// What the gate says of a pod's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionNews {
    Allowed {
        at: ConnectionAt,
        /// NAMESPACE/NAME of the NetworkPolicy that allowed it.
        policy: Box<str>,
    },
    Refused {
        at: ConnectionAt,
        /// One word.
        reason: Box<str>,
        why: Box<str>,
    },
    /// Of one that was allowed.
    Ended { at: ConnectionAt, how: ConnectionEnd, traffic: Traffic, nanos: u64 },
    /// What else there was, beyond the rate at which it is told one by one.
    Counted {
        allowed: u64,
        /// Connections and names.
        refused: u64,
        ended: u64,
        /// Of those that ended.
        traffic: Traffic,
        /// Where those went that were allowed, as far as there was room.
        reached: Box<[Reached]>,
        /// Those that were allowed and went elsewhere.
        others: u64,
    },
}

/// So many connections went to one port of a name, or of an address that was asked for by none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    pub name: Option<Box<str>>,
    /// Of a name: of the first of them.
    pub address: Option<IpAddr>,
    pub port: Option<u16>,
    pub count: u64,
}

/// Which connection, when and where to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionAt {
    pub unix_nanos: i64,
    /// Names it among those of the pod.
    pub connection: u64,
    /// If it was asked for by name.
    pub name: Option<Box<str>>,
    /// `None`: the name was never resolved.
    pub address: Option<IpAddr>,
    /// `None`: only the name was asked for.
    pub port: Option<u16>,
}

/// Bytes out of the pod and into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    pub sent: u64,
    pub received: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// Both sides had said all.
    Closed,
    ByPod,
    ByPeer,
    /// No address that is allowed answered.
    NotReached(Box<str>),
    /// Policies do not allow it any more.
    Withdrawn,
    PodEnded,
}

/// A block of addresses in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Block {
    /// The lowest of it.
    first: IpAddr,
    prefix: u8,
}

impl Block {
    /// `None`: it is no block.
    pub fn parse(text: &str) -> Option<Block> {
        let (address, prefix) = text.split_once('/')?;
        let is_number = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix: u8 = is_number.then(|| prefix.parse().ok()).flatten()?;
        let first = match address.parse().ok()? {
            IpAddr::V4(v4) if prefix <= 32 => {
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !low_bits_v4(prefix)))
            }
            IpAddr::V6(v6) if prefix <= 128 => {
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !low_bits_v6(prefix)))
            }
            _ => return None,
        };
        Some(Block { first, prefix })
    }

    /// As it is: an IPv4 address written as an IPv6 one is in no block of IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                first.to_bits() == address.to_bits() & !low_bits_v4(self.prefix)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                first.to_bits() == address.to_bits() & !low_bits_v6(self.prefix)
            }
            _ => false,
        }
    }

    /// Whether another block is a real part of this one.
    pub fn holds(&self, other: &Block) -> bool {
        self.prefix < other.prefix && self.contains(other.first)
    }
}

/// The bits behind a prefix.
fn low_bits_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shr(prefix.into()).unwrap_or(0)
}

fn low_bits_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shr(prefix.into()).unwrap_or(0)
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl From<Block> for String {
    fn from(block: Block) -> String {
        block.to_string()
    }
}

impl TryFrom<String> for Block {
    type Error = String;

    fn try_from(text: String) -> Result<Block, String> {
        Block::parse(&text).ok_or_else(|| format!("{text:?} is no block of addresses"))
    }
}

/// A name of a host, or all names below one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern {
    /// In small letters.
    name: Box<str>,
    /// `*.` stands before it, for one label or more.
    is_below: bool,
}

impl NamePattern {
    /// # Errors
    /// Why it is none, as a fragment.
    pub fn parse(text: &str) -> Result<NamePattern, String> {
        let (name, is_below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if text == "*" {
            return Err(
                "any name is what a rule with an ipBlock of 0.0.0.0/0 says; `*.` needs a name behind it"
                    .into(),
            );
        }
        check_host_name(name)?;
        // A name that matches has at least one letter and a dot more.
        if is_below && name.len() + 2 > NAME_LENGTH_MAX {
            return Err(format!("no name below it has at most {NAME_LENGTH_MAX} characters"));
        }
        Ok(NamePattern { name: name.to_ascii_lowercase().into(), is_below })
    }

    /// Whether it means a name of a host, in small or capital letters, with the dot of the root or without.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        if !self.is_below {
            return name.eq_ignore_ascii_case(&self.name);
        }
        let Some(at) = name.len().checked_sub(self.name.len()) else { return false };
        let Some((before, end)) = name.split_at_checked(at) else { return false };
        end.eq_ignore_ascii_case(&self.name) && before.len() > 1 && before.ends_with('.')
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_below { "*." } else { "" }, self.name)
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> String {
        pattern.to_string()
    }
}

impl TryFrom<String> for NamePattern {
    type Error = String;

    fn try_from(text: String) -> Result<NamePattern, String> {
        NamePattern::parse(&text).map_err(|why| format!("{text:?}: {why}"))
    }
}

/// Whether a text is the name of a host: letters, digits and hyphens, in labels.
///
/// # Errors
/// Why not, as a fragment.
pub fn check_host_name(name: &str) -> Result<(), String> {
    if !name.is_ascii() {
        return Err("write it in its ASCII form, with labels that begin with xn--".into());
    }
    if name.is_empty() || name.len() > NAME_LENGTH_MAX {
        return Err(format!("a name has 1 to {NAME_LENGTH_MAX} characters"));
    }
    for label in name.split('.') {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if label.is_empty() || label.len() > LABEL_LENGTH_MAX {
            return Err(format!("between its dots stand 1 to {LABEL_LENGTH_MAX} characters"));
        }
        if !label.bytes().all(is_plain) || label.starts_with('-') || label.ends_with('-') {
            return Err("it is made of letters, digits and, not first or last, hyphens".into());
        }
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    // What resolvers take for an address though it is not written as one: 127.1, 0x7f000001.
    if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X") {
        return Err("it reads as an address, which an ipBlock is for".into());
    }
    Ok(())
}

/// A destination by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAndPorts {
    pub name: NamePattern,
    pub ports: RangeInclusive<u16>,
}

/// What the annotation [`EGRESS_NAMES`] holds.
///
/// # Errors
/// Why it cannot be read: which item, and what it must be.
pub fn egress_names(annotation: &str) -> Result<Vec<NameAndPorts>, String> {
    let list = || -> Option<Vec<Value>> {
        let nodes = decode::Nodes::new(DESTINATIONS_MAX + 1);
        match decode::yaml_within(annotation.as_bytes(), &nodes).ok()?.pop()? {
            Value::Array(list) => Some(list),
            _ => None,
        }
    };
    let Some(list) = list() else {
        return Err(format!(
            "must be a list of at most {DESTINATIONS_MAX} names with ports, such as [\"data.example:443\", \"*.example.org:8000-8010\"]"
        ));
    };
    let item = |(n, item): (usize, &Value)| {
        let text = item.as_str().ok_or("must be a text, such as \"data.example:443\"".to_owned());
        text.and_then(name_and_ports).map_err(|why| format!("item {n}: {why}"))
    };
    list.iter().enumerate().map(item).collect()
}

fn name_and_ports(text: &str) -> Result<NameAndPorts, String> {
    let Some((name, ports)) = text.rsplit_once(':') else {
        return Err(format!("{:?} has no port: write NAME:PORT or NAME:FIRST-LAST", shown(text)));
    };
    let number = |text: &str| {
        let is_plain = text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
        is_plain.then(|| text.parse::<u16>().ok()).flatten().filter(|port| *port > 0)
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (Some(first), Some(last)) = (number(first), number(last)) else {
        return Err(format!("{:?}: a port is a number from 1 to 65535", shown(text)));
    };
    if last < first {
        return Err(format!("{:?}: the last port is before the first", shown(text)));
    }
    let name = NamePattern::parse(name).map_err(|why| format!("{:?}: {why}", shown(name)))?;
    Ok(NameAndPorts { name, ports: first..=last })
}

/// As much of a text as an error shows.
fn shown(text: &str) -> &str {
    const SHOWN_MAX: usize = 100;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks() {
        let check = |block: &str, address: &str, is_in: bool| {
            let block = Block::parse(block).unwrap_or_else(|| panic!("{block}"));
            assert_eq!(block.contains(address.parse().unwrap()), is_in, "{block} {address}");
        };
        check("10.0.0.0/8", "10.255.255.255", true);
        check("10.1.2.3/8", "10.0.0.0", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("0.0.0.0/0", "255.255.255.255", true);
        check("0.0.0.0/0", "::1", false);
        check("0.0.0.0/0", "::ffff:1.2.3.4", false);
        check("1.2.3.4/32", "1.2.3.4", true);
        check("1.2.3.4/32", "1.2.3.5", false);
        check("::/0", "2001:db8::1", true);
        check("::/0", "1.2.3.4", false);
        check("2001:db8::/127", "2001:db8::1", true);
        check("2001:db8::/127", "2001:db8::2", false);
        check("2001:db8::1/128", "2001:db8::1", true);
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "10.0.0/8",
            "a/8",
            "10.0.0.0/256",
        ] {
            assert_eq!(Block::parse(text), None, "{text}");
        }
        assert_eq!(Block::parse("10.1.2.3/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(Block::parse("2001:DB8::7/32").unwrap().to_string(), "2001:db8::/32");
    }

    #[test]
    fn what_a_pattern_means() {
        let check = |pattern: &str, name: &str, is_match: bool| {
            let pattern = NamePattern::parse(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}"));
            assert_eq!(pattern.matches(name), is_match, "{pattern} {name}");
        };
        check("data.example", "data.example", true);
        check("Data.example", "data.EXAMPLE.", true);
        check("data.example", "www.data.example", false);
        check("data.example", "data.example..", false);
        check("data.example", "data.exampleanic", false);
        check("data.example", "notdata.example", false);
        check("data.example", "", false);
        check("*.example.org", "a.example.org", true);
        check("*.example.org", "a.b.Example.org.", true);
        check("*.example.org", "example.org", false);
        check("*.example.org", ".example.org", false);
        check("*.example.org", "aexample.org", false);
        check("*.example.org", "a.example.org.evil.net", false);
        check("*.example.org", "é.example.org", true);
        check("xn--bcher-kva.example", "xn--bcher-kva.example", true);
        check("registry", "registry", true);
    }

    #[test]
    fn what_is_no_pattern() {
        let check = |pattern: &str, why: &str| match NamePattern::parse(pattern) {
            Ok(read) => panic!("{pattern}: {read}"),
            Err(said) => assert!(said.contains(why), "{pattern}: {said}"),
        };
        check("", "1 to 253");
        check("*", "0.0.0.0/0");
        check("*.", "1 to 253");
        check("a.*.org", "letters, digits");
        check("**.org", "letters, digits");
        check("*a.org", "letters, digits");
        check("a..org", "between its dots");
        check("data.example.", "between its dots");
        check("-a.org", "not first or last");
        check("a-.org", "not first or last");
        check("a_b.org", "letters, digits");
        check("bücher.example", "xn--");
        check("127.0.0.1", "an address");
        check("127.1", "an address");
        check("a.0x7f", "an address");
        check("0x7f000001", "an address");
        check("*.1", "an address");
        check("::1", "letters, digits");
        check(&format!("{}.org", "a".repeat(64)), "1 to 63");
        check(&format!("{}org", "a.".repeat(126)), "1 to 253");
        check(&format!("*.{}", "a.".repeat(127).trim_end_matches('.')), "below it");
    }

    #[test]
    fn the_annotation() {
        let read = |text: &str| {
            egress_names(text).map(|list| {
                let shown = |item: &NameAndPorts| format!("{}:{:?}", item.name, item.ports);
                list.iter().map(shown).collect::<Vec<String>>()
            })
        };
        assert_eq!(
            read(r#"["data.example:443", "*.example.org:8000-8010"]"#).unwrap(),
            ["data.example:443..=443", "*.example.org:8000..=8010"]
        );
        assert_eq!(
            read("- Data.EXAMPLE:1\n- a.b:65535\n").unwrap(),
            ["data.example:1..=1", "a.b:65535..=65535"]
        );
        assert_eq!(read("[]").unwrap(), Vec::<String>::new());
        let check = |text: &str, why: &str| match read(text) {
            Ok(read) => panic!("{text}: {read:?}"),
            Err(said) => assert!(said.contains(why), "{text}: {said}"),
        };
        check("", "must be a list");
        check("data.example:443", "must be a list");
        check("{a: b}", "must be a list");
        check("[\"a", "must be a list");
        check("[443]", "item 0: must be a text");
        check("[a.b]", "item 0: \"a.b\" has no port");
        check("[\"a.b:443\", \"a.b:\"]", "item 1: \"a.b:\": a port is a number");
        check("[\"a.b:0\"]", "a port is a number from 1 to 65535");
        check("[\"a.b:65536\"]", "a port is a number from 1 to 65535");
        check("[\"a.b:+1\"]", "a port is a number");
        check("[\"a.b:2-1\"]", "before the first");
        check("[\"a.b:https\"]", "a port is a number");
        check("[\"*:443\"]", "0.0.0.0/0");
        check("[\"10.0.0.1:443\"]", "an ipBlock is for");
        check("[\"[::1]:443\"]", "letters, digits");
        let many = |n: usize| format!("[{}]", "\"a.b:1\",".repeat(n));
        assert_eq!(read(&many(DESTINATIONS_MAX)).unwrap().len(), DESTINATIONS_MAX);
        check(&many(DESTINATIONS_MAX + 1), "at most 1024");
        // An alias that stands for many is as many.
        check(&format!("[&a {}, *a, *a]", many(900)), "must be a list");
    }
}
