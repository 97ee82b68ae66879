//! What keeps pods away from the node: its taints, and `kubectl cordon`, which is one more.

use serde_json::Value;
use watchbell_api::types::pod::Toleration;

/// What a node that was cordoned is tainted with.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// A taint with an effect on pods that do not run yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: String,
}

impl Taint {
    /// Of a Node. `PreferNoSchedule` prefers other nodes, of which there is none.
    pub fn of_node(node: &Value) -> Vec<Taint> {
        let text = |taint: &Value, field: &str| taint[field].as_str().unwrap_or_default().to_owned();
        let mut taints: Vec<Taint> = node["spec"]["taints"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|t| Taint { key: text(t, "key"), value: text(t, "value"), effect: text(t, "effect") })
            .filter(|t| matches!(&*t.effect, "NoSchedule" | "NoExecute"))
            .collect();
        if node["spec"]["unschedulable"] == true {
            taints.insert(
                0,
                Taint { key: UNSCHEDULABLE.into(), value: String::new(), effect: "NoSchedule".into() },
            );
        }
        taints
    }

    pub(super) fn is_cordon(&self) -> bool {
        self.key == UNSCHEDULABLE
    }

    pub(super) fn is_tolerated_by(&self, tolerations: &[Toleration]) -> bool {
        tolerations.iter().any(|t| {
            let has_effect = t.effect.is_empty() || t.effect == self.effect;
            let has_key = t.key.is_empty() || t.key == self.key;
            let has_value = match &*t.operator {
                "Exists" => true,
                "" | "Equal" => t.value == self.value,
                _ => false,
            };
            has_effect && has_key && has_value
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use watchbell_api::types::pod::Toleration;

    use super::Taint;

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        Toleration { key: key.into(), operator: operator.into(), value: value.into(), effect: effect.into() }
    }

    #[test]
    fn taints_of_a_node() {
        let check = |spec, expect: &[&str]| {
            let found = Taint::of_node(&json!({"spec": spec}));
            let shown: Vec<String> =
                found.iter().map(|t| format!("{}={}:{}", t.key, t.value, t.effect)).collect();
            assert_eq!(shown, expect);
        };
        check(json!({}), &[]);
        check(json!({"unschedulable": true}), &["node.kubernetes.io/unschedulable=:NoSchedule"]);
        check(
            json!({"taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}, {"key": "c", "effect": "PreferNoSchedule"},
                   {"key": "d", "effect": "NoExecute"}]}),
            &["a=b:NoSchedule", "d=:NoExecute"],
        );
    }

    #[test]
    fn tolerations_match_key_value_and_effect() {
        let taint = Taint { key: "gpu".into(), value: "a".into(), effect: "NoSchedule".into() };
        let check = |t: Toleration, expect| {
            assert_eq!(taint.is_tolerated_by(std::slice::from_ref(&t)), expect, "{t:?}");
        };
        check(toleration("gpu", "", "a", ""), true);
        check(toleration("gpu", "Equal", "a", "NoSchedule"), true);
        check(toleration("gpu", "Equal", "b", ""), false);
        check(toleration("gpu", "Exists", "", ""), true);
        check(toleration("", "Exists", "", ""), true);
        check(toleration("gpu", "Exists", "", "NoExecute"), false);
        check(toleration("cpu", "Exists", "", ""), false);
        check(toleration("gpu", "Lt", "9", ""), false);
        assert!(!taint.is_tolerated_by(&[]));
    }
}
