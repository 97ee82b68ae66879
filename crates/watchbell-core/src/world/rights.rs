//! Roles and bindings: the defaults, what ClusterRoles take from each other, and who may write them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use watchbell_api::error::FieldErrorClass;
use watchbell_api::{ApiError, FieldError, Resource, Uid};

use super::World;
use super::object::{Key, Stored};
use crate::access::default_roles::{self, Reconciled};
use crate::access::{self, Binding, Deed, MASTERS, RBAC_GROUP, Role, RoleRef, Rule};
use crate::request::{
    DeleteOptions, FieldValidation, Force, PatchKind, Request, Subresource, User, Write, WriteOptions,
    Written,
};

/// The manager of the rules of aggregating ClusterRoles, as in Kubernetes.
const AGGREGATOR: &str = "clusterrole-aggregation-controller";

/// All aggregating ClusterRoles are looked at together. No role has an empty name.
pub(super) fn aggregation_key() -> Key {
    Key::new(Resource::ClusterRole, "", "")
}

impl World {
    /// Makes the default roles and bindings, and gives back what was taken from them.
    pub(super) fn furnish_rights(&mut self, now: Timestamp) {
        let roles = default_roles::cluster_roles().into_iter().map(|role| (Resource::ClusterRole, role));
        let bindings = default_roles::cluster_role_bindings().into_iter();
        for (resource, wanted) in roles.chain(bindings.map(|binding| (Resource::ClusterRoleBinding, binding)))
        {
            self.furnish_right(resource, wanted, now);
        }
        self.aggregate_roles(now);
    }

    fn furnish_right(&mut self, resource: Resource, wanted: Value, now: Timestamp) {
        let name = wanted["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let found = self.get(resource, "", &name).map(|found| found.render());
        let written = match found.map(|found| default_roles::reconcile(&found, &wanted)) {
            None => self.create_own(resource, "", wanted, now).map(drop),
            Some(Reconciled::Kept) => Ok(()),
            Some(Reconciled::Changed(next)) => {
                self.write_own(resource, &name, Write::Update(next), super::CONTROLLER_MANAGER, now).map(drop)
            }
            Some(Reconciled::Replaced) => {
                let delete = Write::Delete(DeleteOptions::default());
                self.write_own(resource, &name, delete, super::CONTROLLER_MANAGER, now)
                    .and_then(|_| self.create_own(resource, "", wanted, now).map(drop))
            }
        };
        // A finalizer that somebody put there can keep a binding; the audit journal has what became of it.
        debug_assert!(written.is_ok(), "a default passes the server's own checks: {written:?}");
    }

    /// Fills in the rules of aggregating ClusterRoles.
    pub(super) fn aggregate_roles(&mut self, now: Timestamp) {
        let changed: Vec<(Arc<str>, Vec<Rule>)> = {
            let all: Vec<&Arc<Stored>> = self.state.list(Resource::ClusterRole, None, None).collect();
            let labels: Vec<_> = all.iter().map(|role| role.labels()).collect();
            let roles: Vec<access::Labelled<'_>> = all
                .iter()
                .zip(&labels)
                .filter_map(|(role, labels)| Some((&role.name, &**labels, &**role.facts().role()?)))
                .collect();
            let by_name: BTreeMap<&Arc<str>, &Role> =
                roles.iter().map(|(name, _, role)| (*name, *role)).collect();
            access::aggregate(&roles)
                .into_iter()
                .filter(|(name, rules)| by_name.get(name).is_none_or(|role| role.rules != *rules))
                .map(|(name, rules)| (name.clone(), rules))
                .collect()
        };
        for (name, rules) in changed {
            let body = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": &*name},
                "rules": rules,
            });
            let apply = Write::Patch { kind: PatchKind::Apply, body };
            // Rules of other roles are good rules, but together they may be more than an object holds. Then it keeps those
            // that it has, and the refusal stands in the audit journal as any other does.
            drop(self.write_own(Resource::ClusterRole, &name, apply, AGGREGATOR, now));
        }
    }

    /// A write of the server's own, which stands in the audit journal as any other does.
    fn write_own(
        &mut self,
        resource: Resource,
        name: &str,
        write: Write,
        manager: &str,
        now: Timestamp,
    ) -> Result<Written, ApiError> {
        let request = Request {
            user: User::controller(),
            resource,
            namespace: String::new(),
            name: name.to_owned(),
            subresource: Subresource::None,
            write,
            options: WriteOptions {
                field_manager: manager.into(),
                field_validation: FieldValidation::Ignore,
                force: Force::Yes,
                ..WriteOptions::default()
            },
            audit_id: Uid::from_random(self.random.bytes()).to_string(),
            impersonation: None,
            body_hash: None,
            received: None,
        };
        self.write(request, now)
    }

    /// Refuses a role or binding by which somebody would give away what they do not have (Kubernetes' privilege escalation
    /// prevention). `object` is the whole object as it would be stored, however the request put it together.
    pub(super) fn check_escalation(
        &self,
        request: &Request,
        before: Option<&Value>,
        object: &Value,
    ) -> Result<(), ApiError> {
        let resource = request.resource;
        if resource == Resource::ValidatingAdmissionPolicy
            || resource == Resource::ValidatingAdmissionPolicyBinding
        {
            return self.check_params(request, before, object);
        }
        let is_binding = match resource {
            Resource::Role | Resource::ClusterRole => false,
            Resource::RoleBinding | Resource::ClusterRoleBinding => true,
            _ => return Ok(()),
        };
        if request.user.groups.iter().any(|group| group == MASTERS) {
            return Ok(());
        }
        // Whoever is to collect garbage need not hold what the garbage gave.
        if before.is_some_and(|before| without_collectors_fields(before) == without_collectors_fields(object))
        {
            return Ok(());
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let forbid = |why: &str| ApiError::forbidden(resource, name, why);
        if is_binding {
            let binding = Binding::read(object).map_err(ApiError::bad_request)?;
            self.check_binding(request, &binding)?.map_err(|why| forbid(&why))
        } else {
            self.check_role(request, before, object)?.map_err(|why| forbid(&why))
        }
    }

    /// Refuses a policy or a binding whose author may not read what its expressions would: their messages tell of it.
    /// Source: `authorize` of Kubernetes' strategies of both kinds.
    fn check_params(
        &self,
        request: &Request,
        before: Option<&Value>,
        object: &Value,
    ) -> Result<(), ApiError> {
        let (resource, user) = (request.resource, &request.user);
        let of_binding = resource == Resource::ValidatingAdmissionPolicyBinding;
        let (field, same) = match of_binding {
            true => ("paramRef", ["paramRef", "policyName"]),
            false => ("paramKind", ["paramKind", "paramKind"]),
        };
        let spec = &object["spec"];
        let is_same = |before: &Value| same.iter().all(|field| before["spec"].get(field) == spec.get(field));
        if !spec[field].is_object()
            || before.is_some_and(is_same)
            || user.groups.iter().any(|group| group == MASTERS)
        {
            return Ok(());
        }
        let policy = match of_binding {
            true => self
                .get(Resource::ValidatingAdmissionPolicy, "", spec["policyName"].as_str().unwrap_or_default())
                .map(|policy| policy.render()),
            false => None,
        };
        let kind = match of_binding {
            true => policy.as_ref().map_or(&Value::Null, |policy| &policy["spec"]["paramKind"]),
            false => &spec["paramKind"],
        };
        let (api_version, kind) =
            (kind["apiVersion"].as_str().unwrap_or_default(), kind["kind"].as_str().unwrap_or_default());
        let params = Resource::from_kind(api_version, kind).map(Resource::info);
        // Of what is not known everything is asked for.
        let group = match (params, api_version.split_once('/')) {
            (Some(info), _) => info.group,
            (None, Some((group, _))) => group,
            (None, None) if api_version.is_empty() => "*",
            (None, None) => "",
        };
        let of = |field: &str| spec["paramRef"][field].as_str().unwrap_or_default();
        // Whom a selector finds, nobody named.
        let verb = if of_binding && of("name").is_empty() { "list" } else { "get" };
        let read = Deed::Resource {
            verb,
            group,
            resource: params.map_or("*", |info| info.plural),
            subresource: "",
            namespace: if of_binding { of("namespace") } else { "*" },
            name: if of_binding { of("name") } else { "*" },
        };
        if self.state.rbac().decide(user, &read).is_allowed() {
            return Ok(());
        }
        let why = match of_binding {
            true => format!(
                "user {:?} does not have \"{verb}\" permission on the object referenced by paramRef",
                user.name
            ),
            false => format!(
                "user {:?} must have \"get\" permission on all objects of the referenced paramKind (kind={kind}, \
                 apiVersion={api_version})",
                user.name
            ),
        };
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let error = FieldError::new(FieldErrorClass::Forbidden, format!("spec.{field}"), "", why);
        Err(ApiError::invalid(resource, name, &[error]))
    }

    fn check_role(
        &self,
        request: &Request,
        before: Option<&Value>,
        object: &Value,
    ) -> Result<Result<(), String>, ApiError> {
        let (user, namespace) = (&request.user, request.namespace.as_str());
        let escalate = Deed::Resource {
            verb: "escalate",
            group: RBAC_GROUP,
            resource: request.resource.info().plural,
            subresource: "",
            namespace,
            name: &request.name,
        };
        let rbac = self.state.rbac();
        if rbac.decide(user, &escalate).is_allowed() {
            return Ok(Ok(()));
        }
        let role = Role::read(object).map_err(ApiError::bad_request)?;
        if let Err(why) = rbac.confirm_no_escalation(user, namespace, &role.rules) {
            return Ok(Err(why));
        }
        // It can gather anything, and what it gathers cannot be narrowed.
        let aggregated_before =
            before.is_some_and(|before| Role::read(before).is_ok_and(|r| r.aggregation.is_some()));
        let gathers = role.aggregation.is_some() || aggregated_before;
        if gathers && rbac.confirm_no_escalation(user, namespace, &Rule::everything()).is_err() {
            return Ok(Err("must have cluster-admin privileges to use the aggregationRule".into()));
        }
        Ok(Ok(()))
    }

    fn check_binding(&self, request: &Request, binding: &Binding) -> Result<Result<(), String>, ApiError> {
        let (user, namespace) = (&request.user, request.namespace.as_str());
        let role_resource = match &binding.role {
            RoleRef::ClusterRole(_) => Resource::ClusterRole,
            RoleRef::Role { .. } => Resource::Role,
        };
        let bind = Deed::Resource {
            verb: "bind",
            group: RBAC_GROUP,
            resource: role_resource.info().plural,
            subresource: "",
            namespace,
            name: binding.role.name(),
        };
        let rbac = self.state.rbac();
        if rbac.decide(user, &bind).is_allowed() {
            return Ok(Ok(()));
        }
        let role = rbac
            .role(&binding.role)
            .ok_or_else(|| ApiError::not_found(role_resource, binding.role.name()))?;
        Ok(rbac.confirm_no_escalation(user, namespace, &role.rules))
    }
}

/// The object without the fields that decide only when it goes.
fn without_collectors_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["ownerReferences", "finalizers", "managedFields", "selfLink"] {
            metadata.shift_remove(field);
        }
    }
    object
}
