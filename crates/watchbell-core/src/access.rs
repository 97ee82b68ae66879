//! Who may do what: Kubernetes' role-based access control (`rbac.authorization.k8s.io/v1`).
//!
//! ```text
//!   Role, ClusterRole ───────────────▶ Rbac: roles by name
//!   RoleBinding, ClusterRoleBinding ─▶ Rbac: by place and subject, the roles that are held, and by which bindings
//!
//!   decide(user, deed): the user's name and groups ─▶ roles held ─▶ a rule that allows it, or what was missing
//! ```
//!
//! The index is kept in step with the objects of a [`crate::world::Snapshot`], which carries it: a decision is a function of
//! a snapshot. Rules only ever add: there is no rule that forbids.

mod aggregation;
mod binding;
mod covers;
mod decision;
mod deed;
pub mod default_roles;
mod escalation;
mod impersonation;
mod rbac;
mod refusal;
mod role;
mod rule;
mod sieve;

#[cfg(test)]
mod tests;

pub use aggregation::{Labelled, aggregate};
pub use binding::{Binding, Subject};
pub use covers::{Uncovered, covers};
pub use decision::{By, Decision, Grant, Lack, NearMiss, Part};
pub use deed::Deed;
pub use impersonation::{Impersonation, Wish};
pub use rbac::{Rbac, Rights};
pub use role::{Role, RoleRef, not_found};
pub use rule::Rule;

/// The group of those who may do everything, whatever the rules say (Kubernetes' `user.SystemPrivilegedGroup`).
pub const MASTERS: &str = "system:masters";

/// The API group of roles and bindings.
pub const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
