//! What the expressions of a policy see of a request.

use std::sync::Arc;

use serde_json::{Value, json};
use watchbell_cel::{Authorizer, Check, Opaque, Subject, Value as Cel, Verdict};

use super::{Attributes, Surroundings};
use crate::access::Deed;
use crate::request::{DryRun, User};

pub(super) struct Host<'a> {
    pub attributes: &'a Attributes<'a>,
    pub surroundings: &'a dyn Surroundings,
    pub request: &'a Value,
    pub params: Option<&'a Value>,
    pub namespace: Option<&'a Value>,
}

impl<'a> watchbell_cel::Host<'a> for Host<'a> {
    fn variable(&self, name: &str) -> Option<Cel<'a>> {
        let or_null = |value: Option<&'a Value>| Some(value.map_or(Cel::Null, Cel::from));
        match name {
            "object" => or_null(self.attributes.object),
            "oldObject" => or_null(self.attributes.old),
            "request" => Some(Cel::from(self.request)),
            "params" => or_null(self.params),
            "namespaceObject" => or_null(self.namespace),
            "authorizer" => Some(Cel::Opaque(Opaque::Authorizer(Authorizer::Of(Subject::Requester)))),
            "authorizer.requestResource" => {
                let info = self.attributes.resource.info();
                Some(Cel::Opaque(Opaque::Authorizer(Authorizer::Check(Arc::new(Check::Resource {
                    subject: Subject::Requester,
                    group: info.group.into(),
                    resource: info.plural.into(),
                    subresource: self.attributes.subresource.into(),
                    namespace: self.attributes.namespace.into(),
                    name: self.attributes.name.into(),
                    verb: "".into(),
                })))))
            }
            _ => None,
        }
    }

    fn decide(&self, check: &Check) -> Verdict {
        let (subject, deed) = match check {
            Check::Path { subject, path, verb } => (subject, Deed::Path { verb, path }),
            Check::Resource { subject, group, resource, subresource, namespace, name, verb } => {
                (subject, Deed::Resource { verb, group, resource, subresource, namespace, name })
            }
        };
        let account;
        let user = match subject {
            Subject::Requester => self.attributes.user,
            Subject::ServiceAccount { namespace, name } => {
                account = User::service_account(namespace, name);
                &account
            }
        };
        let (allowed, reason) = self.surroundings.decide(user, &deed);
        Verdict { allowed, reason, error: String::new() }
    }
}

/// `AdmissionRequest` without the objects, which have names of their own.
pub(super) fn request(attributes: &Attributes<'_>) -> Value {
    let info = attributes.resource.info();
    let [group, version, kind] = attributes.kind;
    let kind = json!({"group": group, "version": version, "kind": kind});
    let resource = json!({"group": info.group, "version": info.version, "resource": info.plural});
    let mut request = json!({
        "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
        "operation": attributes.operation.as_str(),
        "userInfo": attributes.user.info(),
        "dryRun": attributes.dry_run == DryRun::All,
        "options": attributes.options,
    });
    for (field, value) in [
        ("subResource", attributes.subresource),
        ("requestSubResource", attributes.subresource),
        ("name", attributes.name),
        ("namespace", attributes.namespace),
    ] {
        if !value.is_empty() {
            request[field] = value.into();
        }
    }
    request
}

/// A namespace without what Kubernetes does not show of it.
pub(super) fn namespace(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.shift_remove("managedFields");
        metadata.shift_remove("ownerReferences");
    }
    object
}
