//! Roles, and how bindings refer to them.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::Rule;

/// What a Role or ClusterRole says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Role {
    pub rules: Vec<Rule>,
}

impl Role {
    /// Of an object that passed the schema.
    pub fn read(object: &Value) -> Result<Role, String> {
        let rules = match &object["rules"] {
            Value::Null => Vec::new(),
            rules => Vec::<Rule>::deserialize(rules).map_err(|e| format!("rules: {e}"))?,
        };
        Ok(Role { rules })
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
}

/// `ClusterRole "view"`.
impl fmt::Display for RoleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind(), self.name())
    }
}
