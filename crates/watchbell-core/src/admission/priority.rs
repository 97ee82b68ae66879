//! A pod's priority, as Kubernetes' admission computes it. PriorityClass objects are not served, so the names are the two
//! that every cluster has.

use serde_json::Value;

const CLASSES: [(&str, i32); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// The priority that a pod spec's class gives, 0 without one.
pub(super) fn priority(spec: &Value) -> Result<i32, String> {
    let name = spec["priorityClassName"].as_str().unwrap_or_default();
    let priority = match CLASSES.into_iter().find(|(class, _)| *class == name) {
        Some((_, priority)) => priority,
        None if name.is_empty() => 0,
        None => {
            return Err(format!(
                "no PriorityClass with name {name} was found: PriorityClass objects are not served; leave \
                 priorityClassName out, or name system-cluster-critical or system-node-critical"
            ));
        }
    };
    match spec["priority"].as_i64() {
        Some(given) if given != i64::from(priority) => Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {priority} from the given PriorityClass name"
        )),
        _ => Ok(priority),
    }
}
