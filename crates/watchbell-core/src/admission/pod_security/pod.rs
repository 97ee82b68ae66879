//! A pod as the checks see it, and the words they share.

use std::collections::BTreeSet;

use serde_json::Value;

/// A pod or a pod template.
pub(super) struct Pod<'a> {
    pub(super) annotations: &'a Value,
    pub(super) spec: &'a Value,
    /// Init containers first, then the others: the order in which Kubernetes names them.
    pub(super) containers: Vec<Container<'a>>,
}

pub(super) struct Container<'a> {
    list: &'static str,
    index: usize,
    pub(super) name: &'a str,
    pub(super) value: &'a Value,
}

impl<'a> Pod<'a> {
    pub(super) fn new(annotations: &'a Value, spec: &'a Value) -> Pod<'a> {
        let mut containers = Vec::new();
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            for (index, value) in spec[list].as_array().into_iter().flatten().enumerate() {
                let name = value["name"].as_str().unwrap_or_default();
                containers.push(Container { list, index, name, value });
            }
        }
        Pod { annotations, spec, containers }
    }

    /// A field of the pod's own security context; `null` when it is not there.
    pub(super) fn context(&self, field: &str) -> &'a Value {
        &self.spec["securityContext"][field]
    }

    pub(super) fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let map = self.annotations.as_object().into_iter().flatten();
        map.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// The kernel's means do not exist for pods that say so (`spec.os`, from 1.25 on).
    pub(super) fn is_for_windows(&self) -> bool {
        self.spec["os"]["name"] == "windows"
    }

    /// Its users are none of the host's (KEP-127).
    pub(super) fn is_in_user_namespace(&self) -> bool {
        self.spec["hostUsers"] == false
    }
}

impl<'a> Container<'a> {
    pub(super) fn context(&self, field: &str) -> &'a Value {
        &self.value["securityContext"][field]
    }

    /// `spec.containers[0].FIELD`
    pub(super) fn path(&self, field: &str) -> String {
        format!("spec.{}[{}].{field}", self.list, self.index)
    }

    pub(super) fn context_path(&self, field: &str) -> String {
        self.path(&format!("securityContext.{field}"))
    }
}

/// The path of a field in the pod's own security context.
pub(super) fn pod_context_path(field: &str) -> String {
    format!("spec.securityContext.{field}")
}

pub(super) fn annotation_path(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

/// Who broke a check: the pod as a whole, and containers by their names.
#[derive(Default)]
pub(super) struct Setters<'a> {
    pub(super) pod: bool,
    pub(super) containers: Vec<&'a str>,
    pub(super) fields: Vec<String>,
}

impl<'a> Setters<'a> {
    pub(super) fn add_pod(&mut self, field: &str) {
        self.pod = true;
        self.fields.push(pod_context_path(field));
    }

    pub(super) fn add(&mut self, container: &Container<'a>, field: &str) {
        self.containers.push(container.name);
        self.fields.push(container.context_path(field));
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.pod && self.containers.is_empty()
    }

    /// `pod and containers "a", "b"`
    pub(super) fn words(&self) -> String {
        let mut words = Vec::new();
        if self.pod {
            words.push("pod".to_owned());
        }
        if !self.containers.is_empty() {
            words.push(containers(&self.containers));
        }
        words.join(" and ")
    }
}

/// `container "a"`, `containers "a", "b"`
pub(super) fn containers(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names.iter()))
}

pub(super) fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// `"a", "b"`: the quotes are put around, nothing is escaped.
pub(super) fn quoted<T: AsRef<str>>(items: impl Iterator<Item = T>) -> String {
    let list: Vec<String> = items.map(|item| format!("\"{}\"", item.as_ref())).collect();
    list.join(", ")
}

/// Sorted, each once.
pub(super) type Words<'a> = BTreeSet<&'a str>;

/// `key="value"`, as Kubernetes shows a wrong annotation.
pub(super) fn shown(key: &str, value: &str) -> String {
    format!("{key}={value:?}")
}
