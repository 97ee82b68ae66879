//! Where a pod may connect to.
//!
//! ```text
//!   NetworkPolicies that select the pod ─▶ Egress ─┐
//!                                                  ├─ decide ─▶ Verdict
//!   name?, address, port of a connection ─▶ Target ┘
//! ```
//!
//! A connection is allowed if one rule of one policy allows it. No rule opens what is never reached ([`Class`]) or an address of
//! the machine itself, and a rule by name opens globally routable addresses only: what a name resolves to, its owner decides.

mod address;
mod rules;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use watchbell_api::network::{Block, NamePattern, check_host_name};

pub use address::Class;
pub use rules::{EgressPolicy, Weight};

/// All that one pod may connect to. Without a rule: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// NAMESPACE/NAME of the NetworkPolicy that it is of.
    pub policy: Arc<str>,
    pub to: To,
    /// TCP alone. Empty: any.
    pub ports: Arc<[RangeInclusive<u16>]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum To {
    Anything,
    Block { block: Block, except: Vec<Block> },
    Name(NamePattern),
}

/// What a task wants to connect to. Where it asked for a name, the address is one that the name was resolved to.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub name: Option<&'a str>,
    pub address: IpAddr,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<'a> {
    Allowed(&'a Rule),
    Refused(Refusal),
}

/// Why a connection is refused. What is said of it goes with the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// No policy opens it.
    Never(Class),
    /// An address of the machine.
    Own,
    /// The policy allows the name, which resolved to what is not reached by name.
    NotGlobal(Arc<str>),
    /// The policy allows it on other ports.
    Port(Arc<str>),
    NoRule,
}

impl Refusal {
    /// One word, for counters and searches.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Never(class) => class.reason(),
            Refusal::Own => "MachineAddress",
            Refusal::NotGlobal(_) => "PrivateAddressOfName",
            Refusal::Port(_) => "Port",
            Refusal::NoRule => "NoRule",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Never(class) => write!(f, "it is {class}, which no policy opens"),
            Refusal::Own => f.write_str("it is an address of this machine itself, which no policy opens"),
            Refusal::NotGlobal(policy) => write!(
                f,
                "policy {policy} allows the name, but its address is not globally routable: that takes an ipBlock as well"
            ),
            Refusal::Port(policy) => write!(f, "policy {policy} allows it on other ports"),
            Refusal::NoRule => f.write_str("no policy allows it"),
        }
    }
}

/// What goes to the gate for one pod is no longer; it comes from the policies of one namespace, which are bounded by it.
pub const WIRE_BYTES_MAX: usize = 256 << 10;

/// The form in which it goes to the gate was made by another version, or is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("where a pod may connect to cannot be read")]
pub struct Unreadable;

impl Rule {
    fn allows_port(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|range| range.contains(&port))
    }
}

/// What a rule says of a target, its port left aside.
enum Said {
    Allowed,
    NotGlobal,
    Nothing,
}

impl To {
    fn says(&self, name: Option<&str>, address: IpAddr, class: Class) -> Said {
        let is_meant = match self {
            To::Anything => true,
            To::Block { block, except } => {
                block.contains(address) && !except.iter().any(|part| part.contains(address))
            }
            To::Name(pattern) => name.is_some_and(|name| pattern.matches(name)),
        };
        match self {
            _ if !is_meant => Said::Nothing,
            To::Name(_) if class != Class::Global => Said::NotGlobal,
            _ => Said::Allowed,
        }
    }
}

impl Egress {
    /// As it goes to the gate.
    pub fn to_wire(&self) -> Vec<u8> {
        // Texts and numbers in memory: nothing of it can fail.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// # Errors
    /// It is not what [`Egress::to_wire`] makes.
    pub fn from_wire(bytes: &[u8]) -> Result<Egress, Unreadable> {
        postcard::from_bytes(bytes).map_err(|_| Unreadable)
    }

    /// Whether a connection to some address of the name could be allowed; if not, nobody is asked for its addresses. The name of a
    /// host, with the dot of the root or without.
    pub fn may_resolve(&self, name: &str) -> bool {
        if check_host_name(name.strip_suffix('.').unwrap_or(name)).is_err() {
            return false;
        }
        self.rules.iter().any(|rule| match &rule.to {
            To::Anything | To::Block { .. } => true,
            To::Name(pattern) => pattern.matches(name),
        })
    }

    /// `is_own` tells addresses that lead to the machine itself. One that leads to another, as through a gateway, leads here if
    /// that one does.
    pub fn decide(&self, target: &Target<'_>, is_own: impl Fn(IpAddr) -> bool) -> Verdict<'_> {
        // The kernel takes an IPv4 address that is written as an IPv6 one for what it is.
        let address = target.address.to_canonical();
        let class = Class::of(address);
        if class.is_never_reached() {
            return Verdict::Refused(Refusal::Never(class));
        }
        if address::forms(address).any(is_own) {
            return Verdict::Refused(Refusal::Own);
        }
        let mut refusal = Refusal::NoRule;
        for rule in &self.rules {
            match (rule.to.says(target.name, address, class), rule.allows_port(target.port)) {
                (Said::Allowed, true) => return Verdict::Allowed(rule),
                (Said::NotGlobal, true) => refusal = Refusal::NotGlobal(rule.policy.clone()),
                (Said::Allowed, false) if refusal == Refusal::NoRule => {
                    refusal = Refusal::Port(rule.policy.clone());
                }
                _ => {}
            }
        }
        Verdict::Refused(refusal)
    }
}
