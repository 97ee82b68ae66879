//! Which of a pod's devices each of its containers gets.
//!
//! A pod holds as many of a kind as it ever uses at once. Sidecars have theirs for good, the containers theirs behind them;
//! an init container uses what is not a sidecar's yet, because it has ended before anybody else begins.

use std::sync::Arc;

use crate::quantity::Quantity;
use crate::types::pod::{Container, PodSpec};

/// The devices of a container (by ordinal, init containers first), of those that the pod holds by their full names
/// (`vendor.com/class=name`).
pub fn of_container(spec: &PodSpec, held: &[Arc<str>], ordinal: usize) -> Vec<Arc<str>> {
    if held.is_empty() {
        return Vec::new();
    }
    let inits = spec.init_containers.len();
    let mut all = spec.init_containers.iter().chain(&spec.containers);
    let Some(own) = all.nth(ordinal) else { return Vec::new() };
    let before = spec.init_containers.iter().take(ordinal).filter(|c| PodSpec::is_sidecar(c));
    let before: Vec<&Container> = match ordinal.checked_sub(inits) {
        None => before.collect(),
        Some(place) => before.chain(&spec.containers[..place]).collect(),
    };
    let mut given = Vec::new();
    let mut last: &str = "";
    for name in held {
        let kind = kind_of(name);
        if kind == last {
            continue;
        }
        last = kind;
        let of_kind = held.iter().filter(|name| kind_of(name) == kind);
        let skipped = before.iter().map(|container| count(container, kind)).sum();
        given.extend(of_kind.skip(skipped).take(count(own, kind)).cloned());
    }
    given
}

/// `vendor.com/class`
pub fn kind_of(name: &str) -> &str {
    name.split_once('=').map_or(name, |(kind, _)| kind)
}

/// How many a container asks for. Of what cannot be promised twice, the limit is the request.
fn count(container: &Container, kind: &str) -> usize {
    let resources = &container.resources;
    let value = resources.requests.get(kind).or_else(|| resources.limits.get(kind));
    let quantity = value.and_then(|value| Quantity::from_value(value).ok());
    quantity.and_then(|quantity| usize::try_from(quantity.as_bytes()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::of_container;
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn nobody_has_what_another_has_at_the_same_time() {
        let asks = |count: u32| json!({"limits": {"a.com/gpu": count}});
        let spec = json!({
            "initContainers": [
                {"name": "first", "resources": asks(3)},
                {"name": "sidecar", "restartPolicy": "Always", "resources": asks(1)},
                {"name": "second", "resources": asks(2)},
            ],
            "containers": [
                {"name": "a", "resources": asks(1)},
                {"name": "none"},
                {"name": "b", "resources": {"limits": {"a.com/gpu": 1, "b.com/nic": 1}}},
            ],
        });
        let spec = serde_json::from_value(spec).unwrap();
        let held: Vec<Arc<str>> =
            ["a.com/gpu=0", "a.com/gpu=1", "a.com/gpu=2", "b.com/nic=x"].map(Arc::from).into();
        let given = |ordinal: usize| -> Vec<String> {
            of_container(&spec, &held, ordinal)
                .iter()
                .map(|name| name.rsplit('=').next().unwrap().to_owned())
                .collect()
        };
        assert_eq!(given(0), ["0", "1", "2"]);
        assert_eq!(given(1), ["0"]);
        assert_eq!(given(2), ["1", "2"]);
        assert_eq!(given(3), ["1"]);
        assert_eq!(given(4), [""; 0]);
        assert_eq!(given(5), ["2", "x"]);
        assert_eq!(given(6), [""; 0]);
    }
}
