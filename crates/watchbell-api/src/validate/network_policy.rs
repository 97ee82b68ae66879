//! NetworkPolicies.

use super::at::At;
use super::findings::Findings;
use super::selector;
use crate::name;
use crate::network::{Block, EGRESS_NAMES, egress_names};

const TYPES: [&str; 2] = ["Egress", "Ingress"];
const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";
const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

pub(super) fn check(f: &mut Findings, policy: &At<'_, '_>) {
    let (metadata, spec) = (policy.field("metadata"), policy.field("spec"));
    let annotations = metadata.field("annotations");
    let names = annotations.key(EGRESS_NAMES);
    if names.is_set()
        && let Err(why) = egress_names(names.text())
    {
        f.invalid(&names, why);
    }
    selector::check(f, &spec.field("podSelector"));
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        let rules = spec.field(rules);
        for rule in rules.items() {
            for port_at in rule.field("ports").items() {
                port(f, &port_at);
            }
            for peer_at in rule.field(peers).items() {
                peer(f, &peer_at);
            }
        }
    }
    let types = spec.field("policyTypes");
    if types.len() > TYPES.len() {
        f.invalid(&types, "may not specify more than two policyTypes");
        return;
    }
    for kind in types.items() {
        if !TYPES.contains(&kind.text()) {
            f.not_supported(&kind, &TYPES);
        }
    }
}

fn port(f: &mut Findings, port: &At<'_, '_>) {
    f.one_of_if_set(&port.field("protocol"), &["SCTP", "TCP", "UDP"]);
    let (first, last) = (port.field("port"), port.field("endPort"));
    match first.int() {
        Some(number) => {
            if !(1..=65535).contains(&number) {
                f.invalid(&first, PORT_RANGE);
            }
            if let Some(end) = last.int() {
                if end < number {
                    f.invalid(&last, "must be greater than or equal to `port`");
                }
                if !(1..=65535).contains(&end) {
                    f.invalid(&last, PORT_RANGE);
                }
            }
        }
        None if first.is_set() => {
            if last.is_set() {
                f.invalid(&last, "may not be specified when `port` is non-numeric");
            }
            f.all_invalid(&first, name::port(first.text()));
        }
        None if last.is_set() => f.invalid(&last, "may not be specified when `port` is not specified"),
        None => {}
    }
}

fn peer(f: &mut Findings, peer: &At<'_, '_>) {
    let (pods, namespaces) = (peer.field("podSelector"), peer.field("namespaceSelector"));
    let block = peer.field("ipBlock");
    for selector_at in [&pods, &namespaces] {
        selector::check(f, selector_at);
    }
    if block.is_set() {
        ip_block(f, &block);
        if pods.is_set() || namespaces.is_set() {
            f.forbidden(peer, "may not specify both ipBlock and another peer");
        }
    } else if !pods.is_set() && !namespaces.is_set() {
        f.required(peer, "must specify a peer");
    }
}

fn ip_block(f: &mut Findings, block: &At<'_, '_>) {
    let cidr = block.field("cidr");
    if !f.present(&cidr) {
        return;
    }
    let Some(whole) = Block::parse(cidr.text()) else {
        f.invalid(&cidr, CIDR);
        return;
    };
    for except in block.field("except").items() {
        match Block::parse(except.text()) {
            None => f.invalid(&except, CIDR),
            Some(part) if !whole.holds(&part) => f.invalid(&except, "must be a strict subset of `cidr`"),
            Some(_) => {}
        }
    }
}
