//! Roles and bindings by hand, and by law.

mod cases;
mod covers;
pub(super) mod law;
mod slow;

use std::sync::Arc;

use serde_json::Value;

use super::{Binding, Rbac, Role, RoleRef};
use crate::request::User;

fn user(name: &str, groups: &[&str]) -> User {
    User { name: name.into(), groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..User::default() }
}

fn text(object: &Value, field: &str) -> Arc<str> {
    object["metadata"][field].as_str().unwrap_or_default().into()
}

fn role_ref(object: &Value) -> RoleRef {
    match object["kind"] == "Role" {
        true => RoleRef::Role { namespace: text(object, "namespace"), name: text(object, "name") },
        false => RoleRef::ClusterRole(text(object, "name")),
    }
}

fn insert(rbac: &mut Rbac, object: &Value) {
    if object.get("roleRef").is_some() {
        rbac.insert_binding(&Arc::new(Binding::read(object).unwrap()));
    } else {
        rbac.insert_role(role_ref(object), Arc::new(Role::read(object).unwrap()));
    }
}

fn remove(rbac: &mut Rbac, object: &Value) {
    if object.get("roleRef").is_some() {
        rbac.remove_binding(&Binding::read(object).unwrap());
    } else {
        rbac.remove_role(&role_ref(object));
    }
}

fn index(objects: &[Value]) -> Rbac {
    let mut rbac = Rbac::default();
    objects.iter().for_each(|object| insert(&mut rbac, object));
    rbac
}
