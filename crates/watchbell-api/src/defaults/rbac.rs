//! Bindings: the API group of the role and of the subjects.

use super::{Object, child, fill, items};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn binding(object: &mut Object) {
    if let Some(role) = child(object, "roleRef") {
        fill(role, "apiGroup", || GROUP.into());
    }
    for subject in items(object, "subjects") {
        if subject.get("kind").is_some_and(|kind| kind == "User" || kind == "Group") {
            fill(subject, "apiGroup", || GROUP.into());
        }
    }
}
