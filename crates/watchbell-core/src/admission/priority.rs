//! A pod's priority, as Kubernetes' admission computes it.

use std::sync::Arc;

use serde_json::Value;

/// The classes that every cluster has.
const SYSTEM: [(&str, i32); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// What a PriorityClass object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriorityClass {
    pub name: String,
    pub value: i32,
    pub preemption_policy: Option<String>,
    pub global_default: bool,
}

impl PriorityClass {
    /// Of an object that passed validation.
    pub fn read(object: &Value) -> PriorityClass {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        PriorityClass {
            name: text(&object["metadata"]["name"]).unwrap_or_default(),
            value: object["value"].as_i64().and_then(|v| i32::try_from(v).ok()).unwrap_or(0),
            preemption_policy: text(&object["preemptionPolicy"]),
            global_default: object["globalDefault"] == true,
        }
    }
}

impl PriorityClass {
    /// One of those that every cluster has: what it gives stands in this program.
    pub fn is_system(&self) -> bool {
        SYSTEM.iter().any(|(name, _)| *name == self.name)
    }
}

/// Writes into a pod spec what its class gives: `priority`, `preemptionPolicy`, and the class' name where it is the
/// default of all.
pub(super) fn fill(spec: &mut Value, classes: &[Arc<PriorityClass>]) -> Result<(), String> {
    let named = spec["priorityClassName"].as_str().unwrap_or_default();
    let system = |name: &str| SYSTEM.into_iter().find(|(class, _)| *class == name);
    let class = match named {
        // Two defaults can only come from before one of them was refused: the lower one, as in Kubernetes.
        "" => classes.iter().filter(|class| class.global_default).min_by_key(|class| class.value),
        named => classes.iter().find(|class| class.name == named),
    };
    let (priority, policy) = match (class, system(named)) {
        (_, Some((_, priority))) => (priority, None),
        (Some(class), None) => (class.value, class.preemption_policy.clone()),
        (None, None) if named.is_empty() => (0, None),
        (None, None) => return Err(format!("no PriorityClass with name {named} was found")),
    };
    if let Some(given) = spec["priority"].as_i64()
        && given != i64::from(priority)
    {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {priority} from the given PriorityClass name"
        ));
    }
    let policy = policy.unwrap_or_else(|| "PreemptLowerPriority".to_owned());
    if let Some(given) = spec["preemptionPolicy"].as_str()
        && given != policy
    {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        ));
    }
    let default = class.filter(|_| named.is_empty()).map(|class| class.name.clone());
    let Some(spec) = spec.as_object_mut() else { return Ok(()) };
    if let Some(name) = default {
        spec.insert("priorityClassName".into(), name.into());
    }
    spec.insert("priority".into(), priority.into());
    spec.insert("preemptionPolicy".into(), policy.into());
    Ok(())
}

/// Why a PriorityClass may not be `class`, beside `others`.
pub fn refuse(class: &PriorityClass, others: &[Arc<PriorityClass>]) -> Option<String> {
    let default = others.iter().find(|other| other.global_default && other.name != class.name);
    match default {
        Some(default) if class.global_default => Some(format!(
            "PriorityClass {} is already marked as default. Only one default can exist",
            default.name
        )),
        _ => None,
    }
}
