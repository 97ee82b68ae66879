//! RuntimeClass: a pod that names one gets its overhead and where it may run (Kubernetes' RuntimeClass admission). Whether
//! this machine can run the handler is for the node to say, as in Kubernetes.

use std::sync::Arc;

use serde_json::{Value, json};

/// What a RuntimeClass object says.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeClass {
    pub name: String,
    pub handler: String,
    overhead: Value,
    node_selector: Value,
    tolerations: Vec<Value>,
}

impl RuntimeClass {
    /// Of an object that passed validation.
    pub fn read(object: &Value) -> RuntimeClass {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        RuntimeClass {
            name: text(&object["metadata"]["name"]),
            handler: text(&object["handler"]),
            overhead: object["overhead"]["podFixed"].clone(),
            node_selector: object["scheduling"]["nodeSelector"].clone(),
            tolerations: object["scheduling"]["tolerations"].as_array().cloned().unwrap_or_default(),
        }
    }
}

/// Writes into a pod spec what its class gives.
pub(super) fn fill(spec: &mut Value, classes: &[Arc<RuntimeClass>]) -> Result<(), String> {
    let named = spec["runtimeClassName"].as_str().filter(|name| !name.is_empty());
    let class = match named {
        None => None,
        Some(name) => match classes.iter().find(|class| class.name == name) {
            Some(class) => Some(class),
            None => return Err(format!("pod rejected: RuntimeClass {name:?} not found")),
        },
    };
    let given = spec["overhead"].as_object().is_some_and(|overhead| !overhead.is_empty());
    match class.map(|class| &class.overhead).filter(|overhead| overhead.is_object()) {
        Some(overhead) if given && spec["overhead"] != *overhead => {
            return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into());
        }
        Some(overhead) => spec["overhead"] = overhead.clone(),
        None if given => {
            return Err(
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".into()
            );
        }
        None => {}
    }
    let Some(class) = class else { return Ok(()) };
    for (key, value) in class.node_selector.as_object().into_iter().flatten() {
        if !spec["nodeSelector"].is_object() {
            spec["nodeSelector"] = json!({});
        }
        let own = &mut spec["nodeSelector"][key];
        if !own.is_null() && own != value {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                text(value),
                text(own)
            ));
        }
        *own = value.clone();
    }
    if !class.tolerations.is_empty() {
        let mut list = spec["tolerations"].as_array().cloned().unwrap_or_default();
        let new: Vec<Value> = class.tolerations.iter().filter(|t| !list.contains(t)).cloned().collect();
        list.extend(new);
        spec["tolerations"] = list.into();
    }
    Ok(())
}
