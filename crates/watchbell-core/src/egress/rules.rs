//! What a NetworkPolicy lets its pods connect to.

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::Value;
use watchbell_api::network::{Block, EGRESS_NAMES, egress_names};
use watchbell_api::selector::Labels;

use super::{Egress, Rule, To};

/// A policy whose `policyTypes` hold Egress, read.
#[derive(Debug, Clone, PartialEq)]
pub struct EgressPolicy {
    /// Which pods of its namespace it is for.
    pub pods: Labels,
    pub rules: Arc<[Rule]>,
}

/// What a policy, or all of a namespace, adds to what connections are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weight {
    /// Each peer once for each of its ports, each exception, each name.
    pub destinations: usize,
    /// On the way to the gate.
    pub bytes: usize,
}

impl EgressPolicy {
    pub fn weight(&self) -> Weight {
        let of = |rule: &Rule| {
            let exceptions = match &rule.to {
                To::Block { except, .. } => except.len(),
                To::Anything | To::Name(_) => 0,
            };
            rule.ports.len().max(1) + exceptions
        };
        let wire = Egress { rules: self.rules.to_vec() }.to_wire();
        Weight { destinations: self.rules.iter().map(of).sum(), bytes: wire.len() }
    }

    /// Reads a policy that passed validation and was defaulted. `None`: it says nothing of egress.
    ///
    /// # Errors
    /// What validation should have refused.
    pub fn read(object: &Value) -> Result<Option<EgressPolicy>, String> {
        let (metadata, spec) = (&object["metadata"], &object["spec"]);
        if !items(&spec["policyTypes"]).any(|kind| kind == "Egress") {
            return Ok(None);
        }
        let policy: Arc<str> = format!("{}/{}", text(&metadata["namespace"]), text(&metadata["name"])).into();
        let pods = Labels::from_object(&spec["podSelector"])
            .map_err(|e| format!("spec.podSelector: {}", e.message))?;
        let mut rules = Vec::new();
        for egress in items(&spec["egress"]) {
            let Some(ports) = ports(&egress["ports"]) else { continue };
            for to in destinations(&egress["to"])? {
                rules.push(Rule { policy: policy.clone(), to, ports: ports.clone() });
            }
        }
        if let Some(names) = metadata["annotations"][EGRESS_NAMES].as_str() {
            let names = egress_names(names).map_err(|why| format!("metadata.annotations: {why}"))?;
            rules.extend(names.into_iter().map(|named| Rule {
                policy: policy.clone(),
                to: To::Name(named.name),
                ports: [named.ports].into(),
            }));
        }
        Ok(Some(EgressPolicy { pods, rules: rules.into() }))
    }
}

/// Those of TCP that have a number. Empty: any. `None`: not one of those that the rule names.
fn ports(ports: &Value) -> Option<Arc<[RangeInclusive<u16>]>> {
    let mut ranges = Vec::new();
    for port in
        items(ports).filter(|port| matches!(&port["protocol"], Value::Null) || port["protocol"] == "TCP")
    {
        let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
        match (&port["port"], number(&port["port"])) {
            (Value::Null, _) => return Some([].into()),
            (_, Some(first)) => ranges.push(first..=number(&port["endPort"]).unwrap_or(first)),
            _ => {}
        }
    }
    (!ranges.is_empty() || items(ports).next().is_none()).then(|| ranges.into())
}

/// Pods and namespaces are no destinations: nothing gets into a pod.
fn destinations(peers: &Value) -> Result<Vec<To>, String> {
    if items(peers).next().is_none() {
        return Ok(vec![To::Anything]);
    }
    let block = |value: &Value| {
        Block::parse(text(value)).ok_or_else(|| format!("spec.egress: {value} is no block of addresses"))
    };
    let blocks = items(peers).map(|peer| &peer["ipBlock"]).filter(|block| block.is_object());
    let to = |of: &Value| {
        let except = items(&of["except"]).map(block).collect::<Result<Vec<Block>, String>>()?;
        Ok(To::Block { block: block(&of["cidr"])?, except })
    };
    blocks.map(to).collect()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
