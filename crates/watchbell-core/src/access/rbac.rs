//! The index over all roles and bindings.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;

use super::{Binding, MASTERS, Role, RoleRef, Rule, Subject};
use crate::request::User;

/// Roles by name, and who holds them. A copy costs a few pointers.
#[derive(Debug, Clone, Default)]
pub struct Rbac {
    cluster_roles: OrdMap<Arc<str>, Arc<Role>>,
    /// By namespace and name.
    roles: OrdMap<Arc<str>, OrdMap<Arc<str>, Arc<Role>>>,
    everywhere: Holders,
    /// By namespace.
    inside: OrdMap<Arc<str>, Holders>,
}

/// Who holds roles at one place.
#[derive(Debug, Clone, Default)]
struct Holders {
    /// Users by name; service accounts by their user names.
    users: OrdMap<Arc<str>, Held>,
    groups: OrdMap<Arc<str>, Held>,
}

/// The roles that one subject holds at one place. Many bindings of one role count as one.
type Held = OrdMap<RoleRef, OrdMap<Arc<str>, Holding>>;

/// By which of a binding's subjects a role is held.
#[derive(Debug, Clone)]
pub(super) struct Holding {
    pub binding: Arc<Binding>,
    pub subject: usize,
}

/// What a user may at one place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    pub rules: Vec<Rule>,
    /// Roles that the user's bindings name and that are not there: what they would allow is not known.
    pub missing: Vec<RoleRef>,
}

impl Rbac {
    pub fn insert_role(&mut self, at: RoleRef, role: Arc<Role>) {
        match at {
            RoleRef::ClusterRole(name) => self.cluster_roles.insert(name, role),
            RoleRef::Role { namespace, name } => self.roles.entry(namespace).or_default().insert(name, role),
        };
    }

    pub fn remove_role(&mut self, at: &RoleRef) {
        match at {
            RoleRef::ClusterRole(name) => {
                self.cluster_roles.remove(name);
            }
            RoleRef::Role { namespace, name } => {
                let Some(roles) = self.roles.get_mut(namespace) else { return };
                roles.remove(name);
                if roles.is_empty() {
                    self.roles.remove(namespace);
                }
            }
        }
    }

    pub fn role(&self, at: &RoleRef) -> Option<&Arc<Role>> {
        match at {
            RoleRef::ClusterRole(name) => self.cluster_roles.get(name),
            RoleRef::Role { namespace, name } => self.roles.get(namespace)?.get(name),
        }
    }

    /// A binding of that name must not be in the index: whoever changes one removes it first.
    pub fn insert_binding(&mut self, binding: &Arc<Binding>) {
        let holders = match &*binding.namespace {
            "" => &mut self.everywhere,
            _ => self.inside.entry(binding.namespace.clone()).or_default(),
        };
        // The last one first, so that the first of equal subjects stays.
        for (subject, who) in binding.subjects.iter().enumerate().rev() {
            let held = match who.key() {
                Holder::User(name) => holders.users.entry(name).or_default(),
                Holder::Group(name) => holders.groups.entry(name).or_default(),
            };
            let holding = Holding { binding: binding.clone(), subject };
            held.entry(binding.role.clone()).or_default().insert(binding.name.clone(), holding);
        }
    }

    pub fn remove_binding(&mut self, binding: &Binding) {
        let holders = match &*binding.namespace {
            "" => &mut self.everywhere,
            namespace => match self.inside.get_mut(namespace) {
                Some(holders) => holders,
                None => return,
            },
        };
        for who in &binding.subjects {
            let (map, name) = match who.key() {
                Holder::User(name) => (&mut holders.users, name),
                Holder::Group(name) => (&mut holders.groups, name),
            };
            let Some(held) = map.get_mut(&name) else { continue };
            if let Some(bindings) = held.get_mut(&binding.role) {
                bindings.remove(&binding.name);
                if bindings.is_empty() {
                    held.remove(&binding.role);
                }
            }
            if held.is_empty() {
                map.remove(&name);
            }
        }
        if holders.users.is_empty() && holders.groups.is_empty() && !binding.namespace.is_empty() {
            self.inside.remove(&binding.namespace);
        }
    }

    /// The roles that a user holds in a namespace (empty: at the cluster scope), those of the cluster first. One comes more
    /// than once if the user holds it in more than one way.
    pub(super) fn held<'a>(
        &'a self,
        user: &'a User,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a RoleRef, &'a Holding)> {
        let here = if namespace.is_empty() { None } else { self.inside.get(namespace) };
        [Some(&self.everywhere), here].into_iter().flatten().flat_map(move |holders| {
            let own = holders.users.get(user.name.as_str());
            let groups = user.groups.iter().filter_map(|group| holders.groups.get(group.as_str()));
            own.into_iter().chain(groups).flatten().filter_map(|(role, bindings)| {
                // Any of them does; the first by name, so that the answer is always the same.
                bindings.get_min().map(|(_, holding)| (role, holding))
            })
        })
    }

    /// All that a user may in a namespace (empty: at the cluster scope), each role's rules once.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Rights {
        let mut rights = Rights::default();
        if user.groups.iter().any(|group| group == MASTERS) {
            rights.rules.extend(Rule::everything());
        }
        let mut seen = BTreeSet::new();
        for (at, _) in self.held(user, namespace) {
            if !seen.insert(at) {
                continue;
            }
            match self.role(at) {
                Some(role) => rights.rules.extend(role.rules.iter().cloned()),
                None => rights.missing.push(at.clone()),
            }
        }
        rights
    }
}

/// How the index knows a subject.
enum Holder {
    User(Arc<str>),
    Group(Arc<str>),
}

impl Subject {
    fn key(&self) -> Holder {
        match self {
            Subject::User(name) => Holder::User(name.clone()),
            Subject::Group(name) => Holder::Group(name.clone()),
            Subject::ServiceAccount { namespace, name } => {
                Holder::User(format!("system:serviceaccount:{namespace}:{name}").into())
            }
        }
    }
}
