//! The quality-of-service class, which Kubernetes derives from requests and limits.

use serde_json::Value;

use crate::quantity::Quantity;
use crate::types::pod::PodSpec;

/// `Guaranteed`: every container limits cpu and memory and requests as much; `BestEffort`: none asks for anything.
pub(super) fn class(spec: &PodSpec) -> &'static str {
    let mut is_guaranteed = true;
    let mut is_best_effort = true;
    for container in spec.init_containers.iter().chain(&spec.containers) {
        for resource in ["cpu", "memory"] {
            let limit = amount(container.resources.limits.get(resource));
            // A request that is not stated is the limit.
            let request = amount(container.resources.requests.get(resource)).or(limit);
            is_best_effort &= limit.is_none() && request.is_none();
            is_guaranteed &= limit.is_some() && limit == request;
        }
    }
    match (is_guaranteed, is_best_effort) {
        (_, true) => "BestEffort",
        (true, false) => "Guaranteed",
        (false, false) => "Burstable",
    }
}

/// An amount that counts: nothing asks for 0.
fn amount(value: Option<&Value>) -> Option<Quantity> {
    Quantity::from_value(value?).ok().filter(|q| !q.is_zero())
}
