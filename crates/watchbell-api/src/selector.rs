//! Label selectors (equality and set-based) and the field selectors that Kubernetes supports for each kind.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{ApiError, Resource};

/// A parsed `labelSelector`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {}

impl Labels {
    pub fn parse(text: &str) -> Result<Labels, ApiError> {
        let _ = text;
        unimplemented!("bodies follow")
    }

    pub fn is_empty(&self) -> bool {
        unimplemented!("bodies follow")
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let _ = labels;
        unimplemented!("bodies follow")
    }
}

/// A parsed `fieldSelector`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields {}

impl Fields {
    pub fn parse(resource: Resource, text: &str) -> Result<Fields, ApiError> {
        let _ = (resource, text);
        unimplemented!("bodies follow")
    }

    pub fn is_empty(&self) -> bool {
        unimplemented!("bodies follow")
    }

    pub fn matches(&self, object: &Value) -> bool {
        let _ = object;
        unimplemented!("bodies follow")
    }
}
