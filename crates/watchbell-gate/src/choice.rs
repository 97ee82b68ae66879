//! Which addresses of those that a name has are dialled, or why none is.

use std::net::IpAddr;
use std::sync::Arc;

use watchbell_core::egress::{Egress, Target, Verdict};

/// Addresses that are tried one after another.
const ADDRESSES_MAX: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// In this order.
    Dial {
        policy: Arc<str>,
        addresses: Vec<IpAddr>,
    },
    Refused {
        address: Option<IpAddr>,
        refused: Refused,
    },
}

/// Why not, in a word and in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) reason: &'static str,
    pub(crate) why: String,
}

impl Refused {
    pub(crate) fn new(reason: &'static str, why: &str) -> Self {
        Self { reason, why: why.to_owned() }
    }
}

/// `is_own` tells addresses that lead to this machine itself.
pub(crate) fn choose(
    egress: &Egress,
    name: Option<&str>,
    addresses: &[IpAddr],
    port: u16,
    is_own: impl Fn(IpAddr) -> bool,
) -> Choice {
    let (mut policy, mut allowed, mut refusal) = (None, Vec::new(), None);
    for &address in addresses {
        if allowed.len() == ADDRESSES_MAX {
            break;
        }
        match egress.decide(&Target { name, address, port }, &is_own) {
            Verdict::Allowed(rule) => {
                policy.get_or_insert_with(|| rule.policy.clone());
                allowed.push(address);
            }
            Verdict::Refused(why) => {
                refusal.get_or_insert((address, why));
            }
        }
    }
    match (policy, refusal) {
        (Some(policy), _) => Choice::Dial { policy, addresses: allowed },
        (None, Some((address, why))) => Choice::Refused {
            address: Some(address),
            refused: Refused { reason: why.reason(), why: why.to_string() },
        },
        (None, None) => {
            Choice::Refused { address: None, refused: Refused::new("Unresolved", "its name has no address") }
        }
    }
}
