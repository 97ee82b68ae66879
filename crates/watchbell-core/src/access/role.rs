//! Roles, and how bindings refer to them.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use watchbell_api::selector::Labels;

use super::{RBAC_GROUP, Rule};

/// What a Role or ClusterRole says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Role {
    pub rules: Vec<Rule>,
    /// Of a ClusterRole whose rules are those of others: whom it takes them from.
    pub aggregation: Option<Vec<Labels>>,
}

impl Role {
    /// Of an object that passed the schema.
    pub fn read(object: &Value) -> Result<Role, String> {
        let rules = match &object["rules"] {
            Value::Null => Vec::new(),
            rules => Vec::<Rule>::deserialize(rules).map_err(|e| format!("rules: {e}"))?,
        };
        let selectors = object["aggregationRule"]["clusterRoleSelectors"].as_array();
        let aggregation = match selectors {
            Some(selectors) if !selectors.is_empty() => {
                let read = selectors.iter().map(Labels::from_object).collect::<Result<Vec<Labels>, _>>();
                Some(read.map_err(|e| format!("aggregationRule.clusterRoleSelectors: {}", e.message))?)
            }
            _ => None,
        };
        Ok(Role { rules, aggregation })
    }
}

/// Names a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleRef {
    ClusterRole(Arc<str>),
    Role { namespace: Arc<str>, name: Arc<str> },
}

impl RoleRef {
    pub fn kind(&self) -> &'static str {
        match self {
            RoleRef::ClusterRole(_) => "ClusterRole",
            RoleRef::Role { .. } => "Role",
        }
    }

    pub fn name(&self) -> &Arc<str> {
        match self {
            RoleRef::ClusterRole(name) | RoleRef::Role { name, .. } => name,
        }
    }

    /// How Kubernetes says that it is not there.
    pub fn not_found(&self) -> String {
        format!("{}.{RBAC_GROUP} {:?} not found", self.kind().to_lowercase(), self.name())
    }
}

/// So many roles that are not there are told of.
pub(super) const MISSING_MAX: usize = 16;

/// How Kubernetes says it of several, in brackets; of many the first ones and how many more there are.
pub fn not_found<'a>(roles: impl ExactSizeIterator<Item = &'a RoleRef>) -> String {
    let more = roles.len().saturating_sub(MISSING_MAX);
    let mut list: Vec<String> = roles.take(MISSING_MAX).map(RoleRef::not_found).collect();
    if more > 0 {
        list.push(format!("and {more} more"));
    }
    if list.len() == 1 { list.remove(0) } else { format!("[{}]", list.join(", ")) }
}

/// `ClusterRole "view"`.
impl fmt::Display for RoleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind(), self.name())
    }
}
