//! `fieldRef` and `resourceFieldRef`: what a pod learns of itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use watchbell_api::node::Capacity;
use watchbell_api::quantity::Quantity;
use watchbell_api::types::pod::{Container, ResourceFieldRef};

use super::{ConfigError, PodFacts};

impl PodFacts<'_> {
    /// The value of a field path. `metadata.labels` and `metadata.annotations` as a whole are for files only; API
    /// validation refuses them in a variable.
    pub(super) fn field(&self, path: &str) -> Result<String, ConfigError> {
        if let Some((map, key)) = subscript(path) {
            let found = match map {
                "metadata.labels" => self.labels.get(key),
                "metadata.annotations" => self.annotations.get(key),
                _ => return Err(unsupported(path)),
            };
            return Ok(found.cloned().unwrap_or_default());
        }
        Ok(match path {
            "metadata.name" => self.name.to_owned(),
            "metadata.namespace" => self.namespace.to_owned(),
            "metadata.uid" => self.uid.to_string(),
            "metadata.labels" => lines(self.labels),
            "metadata.annotations" => lines(self.annotations),
            "spec.nodeName" => self.node_name.to_owned(),
            "spec.serviceAccountName" => {
                self.spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned())
            }
            "status.hostIP" | "status.hostIPs" => self.host_ip.to_owned(),
            "status.podIP" | "status.podIPs" => self.pod_ip.to_owned(),
            _ => return Err(unsupported(path)),
        })
    }

    /// The value of `limits.cpu` and the like, in units of the divisor, rounded up.
    pub(super) fn resource(
        &self,
        field: &ResourceFieldRef,
        own: Option<&Container>,
    ) -> Result<String, ConfigError> {
        let container = match &field.container_name {
            Some(name) if !name.is_empty() => {
                let mut all = self.spec.init_containers.iter().chain(&self.spec.containers);
                all.find(|c| c.name == *name)
                    .ok_or_else(|| ConfigError(format!("container {name} not found")))?
            }
            _ => own.ok_or_else(|| ConfigError("resourceFieldRef needs a containerName here".to_owned()))?,
        };
        let (kind, resource) = field
            .resource
            .split_once('.')
            .filter(|(kind, _)| matches!(*kind, "limits" | "requests"))
            .ok_or_else(|| ConfigError(format!("unsupported container resource: {}", field.resource)))?;
        let amount = resource_amount(container, kind == "limits", resource, self.capacity)?;
        let divisor = match &field.divisor {
            None | Some(Value::Null) => Quantity::from_millis(1000),
            Some(value) => quantity(value, "the divisor")?,
        };
        let divisor = if divisor.is_zero() { Quantity::from_millis(1000) } else { divisor };
        let (amount, divisor) = match resource {
            "cpu" => (amount.as_millis(), divisor.as_millis()),
            _ => (amount.as_units(), divisor.as_units()),
        };
        let quotient = (i128::from(amount) + i128::from(divisor) - 1) / i128::from(divisor.max(1));
        Ok(quotient.to_string())
    }
}

/// A container's limit or request. A limit unsaid is what the machine offers; a request unsaid is the limit, or none.
pub fn resource_amount(
    container: &Container,
    is_limit: bool,
    resource: &str,
    capacity: &Capacity,
) -> Result<Quantity, ConfigError> {
    let resources = &container.resources;
    let (first, then) =
        if is_limit { (&resources.limits, None) } else { (&resources.requests, Some(&resources.limits)) };
    let stated = first.get(resource).or_else(|| then.and_then(|t| t.get(resource)));
    if let Some(value) = stated {
        return quantity(value, resource);
    }
    let bytes = |n: u64| {
        Quantity::from_units(i64::try_from(n).unwrap_or(i64::MAX), watchbell_api::quantity::Format::BinarySi)
    };
    Ok(match resource {
        _ if !is_limit => Quantity::ZERO,
        "cpu" => Quantity::from_millis(i64::try_from(capacity.cpu_millis).unwrap_or(i64::MAX)),
        "memory" => bytes(capacity.memory_bytes),
        "ephemeral-storage" => bytes(capacity.ephemeral_storage_bytes),
        _ => Quantity::ZERO,
    })
}

fn quantity(value: &Value, what: &str) -> Result<Quantity, ConfigError> {
    Quantity::from_value(value).map_err(|e| ConfigError(format!("{what} {value}: {e}")))
}

fn unsupported(path: &str) -> ConfigError {
    ConfigError(format!("unsupported fieldPath: {path}"))
}

/// `metadata.labels['key']` → (`metadata.labels`, `key`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// `key="value"` lines, sorted, values escaped as Go's `%q` does for what labels hold.
fn lines(map: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (key, value) in map {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = write!(text, "{key}={value:?}");
    }
    text
}
