//! The quality of service of a pod, and what it means when memory runs out.

use watchbell_api::node::Capacity;
use watchbell_api::quantity::Quantity;
use watchbell_api::types::pod::{Container, PodSpec};

use super::resource_amount;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

/// Guaranteed: every container has limits of cpu and memory, and requests equal to them. BestEffort: none has any.
pub fn qos(spec: &PodSpec) -> Qos {
    let amount = |value: Option<&serde_json::Value>| {
        value.and_then(|v| Quantity::from_value(v).ok()).filter(|q| !q.is_zero())
    };
    let mut any = false;
    let mut all = true;
    for container in spec.init_containers.iter().chain(&spec.containers) {
        for resource in ["cpu", "memory"] {
            let limit = amount(container.resources.limits.get(resource));
            let request = amount(container.resources.requests.get(resource)).or(limit);
            any |= limit.is_some() || request.is_some();
            all &= match (limit, request) {
                (Some(limit), Some(request)) => limit.as_millis() == request.as_millis(),
                _ => false,
            };
        }
    }
    match (any, all) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

/// kubelet's choice of who is killed first: what asked for nothing, then what uses most of what it asked for.
pub fn oom_score_adj(qos: Qos, container: &Container, capacity: &Capacity) -> i16 {
    match qos {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let request = resource_amount(container, false, "memory", capacity).map_or(0, |q| q.as_bytes());
            let share = u128::from(request) * 1000 / u128::from(capacity.memory_bytes.max(1));
            let adjust = 1000 - i16::try_from(share.min(1000)).unwrap_or(1000);
            // Above Guaranteed's, below BestEffort's.
            adjust.clamp(3, 999)
        }
    }
}
