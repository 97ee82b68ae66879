//! Bindings: who holds which role, and where.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::RoleRef;

/// What a RoleBinding or ClusterRoleBinding says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Where the role is held; empty: everywhere, by a ClusterRoleBinding.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub role: RoleRef,
    pub subjects: Vec<Subject>,
}

/// Who holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    User(Arc<str>),
    Group(Arc<str>),
    ServiceAccount { namespace: Arc<str>, name: Arc<str> },
}

impl Binding {
    /// Of an object that passed the schema and was defaulted. Subjects of unknown kinds are nobody.
    pub fn read(object: &Value) -> Result<Binding, String> {
        let text = |value: &Value| -> Arc<str> { value.as_str().unwrap_or_default().into() };
        let metadata = &object["metadata"];
        let namespace = text(&metadata["namespace"]);
        let name = text(&object["roleRef"]["name"]);
        let role = match object["roleRef"]["kind"].as_str() {
            Some("ClusterRole") => RoleRef::ClusterRole(name),
            Some("Role") if !namespace.is_empty() => RoleRef::Role { namespace: namespace.clone(), name },
            kind => return Err(format!("roleRef: unsupported role reference kind: {kind:?}")),
        };
        let subject = |subject: &Value| {
            let name = text(&subject["name"]);
            match subject["kind"].as_str() {
                Some("User") => Some(Subject::User(name)),
                Some("Group") => Some(Subject::Group(name)),
                Some("ServiceAccount") => {
                    let own = text(&subject["namespace"]);
                    let namespace = if own.is_empty() { namespace.clone() } else { own };
                    (!namespace.is_empty()).then_some(Subject::ServiceAccount { namespace, name })
                }
                _ => None,
            }
        };
        let subjects = object["subjects"].as_array().into_iter().flatten().filter_map(subject).collect();
        Ok(Binding { name: text(&metadata["name"]), role, subjects, namespace })
    }

    pub fn kind(&self) -> &'static str {
        if self.namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" }
    }
}

/// `ClusterRoleBinding "x" of ClusterRole "y"`; a RoleBinding's name is followed by its namespace, as in Kubernetes.
impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Binding { namespace, name, role, .. } = self;
        if namespace.is_empty() {
            write!(f, "ClusterRoleBinding {name:?} of {role}")
        } else {
            write!(f, "RoleBinding {:?} of {role}", format!("{name}/{namespace}"))
        }
    }
}

/// `User "ada"`, `ServiceAccount "default/ml"`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::User(name) => write!(f, "User {name:?}"),
            Subject::Group(name) => write!(f, "Group {name:?}"),
            Subject::ServiceAccount { namespace, name } => {
                write!(f, "ServiceAccount {:?}", format!("{name}/{namespace}"))
            }
        }
    }
}
