//! Which updates of a pod are judged anew. The rest of a pod cannot be changed, or is no matter of the standards.

use serde_json::Value;

use super::baseline::SECCOMP_CONTAINER_ANNOTATION;

/// Whether an update changes what the standards look at: an image, a container more or less, a seccomp annotation.
pub fn is_significant(before: &Value, after: &Value) -> bool {
    let list = |pod: &Value, field: &str| pod["spec"][field].as_array().cloned().unwrap_or_default();
    for field in ["containers", "initContainers"] {
        let (old, new) = (list(before, field), list(after, field));
        if old.len() != new.len() || old.iter().zip(&new).any(|(old, new)| differ(before, after, old, new)) {
            return true;
        }
    }
    let old = list(before, "ephemeralContainers");
    list(after, "ephemeralContainers").iter().any(|new| {
        let known = old.iter().find(|old| old["name"] == new["name"]);
        known.is_none_or(|old| differ(before, after, old, new))
    })
}

fn differ(before: &Value, after: &Value, old: &Value, new: &Value) -> bool {
    let key = format!("{SECCOMP_CONTAINER_ANNOTATION}{}", new["name"].as_str().unwrap_or_default());
    old["image"] != new["image"]
        || before["metadata"]["annotations"][&key] != after["metadata"]["annotations"][&key]
}
