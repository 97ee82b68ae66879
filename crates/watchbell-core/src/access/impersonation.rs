//! Acting as another: who may take on which name, group, uid and extra (Kubernetes' user impersonation,
//! `k8s.io/apiserver/pkg/endpoints/filters/impersonation.go`). Each is a deed of its own, with the verb `impersonate`.

use std::collections::BTreeMap;

use watchbell_api::ApiError;

use super::{Decision, Deed, Rbac};
use crate::request::User;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const ANONYMOUS: &str = "system:anonymous";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Whom somebody wants to be, as the headers of a request say it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    /// Empty: not said.
    pub name: String,
    pub groups: Vec<String>,
    pub uid: String,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Somebody who acts as another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impersonation {
    /// Who it really is.
    pub by: User,
    assumed: Vec<Assumed>,
}

/// One thing that is taken on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Assumed {
    group: &'static str,
    resource: &'static str,
    subresource: String,
    namespace: String,
    name: String,
}

impl Wish {
    /// The user that somebody becomes, and what he takes on for it; what he may of that is not decided here. `None`: he
    /// stays who he is.
    ///
    /// # Errors
    /// Groups, uid or extra without a name.
    pub fn grant(self, by: User) -> Result<Option<(User, Impersonation)>, ApiError> {
        let Wish { name, groups, uid, extra } = self;
        if name.is_empty() {
            if groups.is_empty() && uid.is_empty() && extra.is_empty() {
                return Ok(None);
            }
            return Err(ApiError::bad_request(
                "the request impersonates a group, a uid or an extra without impersonating a user: name one by the header \
                 Impersonate-User (kubectl: --as)",
            ));
        }
        let assume = |group, resource, subresource: &str, namespace: &str, name: &str| Assumed {
            group,
            resource,
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
        };
        let account = service_account(&name);
        let mut assumed = vec![match account {
            Some((namespace, account)) => assume("", "serviceaccounts", "", namespace, account),
            None => assume("", "users", "", "", &name),
        }];
        assumed.extend(groups.iter().map(|group| assume("", "groups", "", "", group)));
        for (key, values) in &extra {
            assumed.extend(values.iter().map(|value| assume(AUTHENTICATION, "userextras", key, "", value)));
        }
        if !uid.is_empty() {
            assumed.push(assume(AUTHENTICATION, "uids", "", "", &uid));
        }
        let groups = groups_of(&name, account, groups);
        Ok(Some((User { name, uid, groups, extra }, Impersonation { by, assumed })))
    }
}

/// The groups of whom somebody becomes: those that were named, or a service account's own, and what tells the known from
/// the unknown.
fn groups_of(name: &str, account: Option<(&str, &str)>, mut groups: Vec<String>) -> Vec<String> {
    if let (Some((namespace, _)), true) = (account, groups.is_empty()) {
        groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let has = |wanted: &str| groups.iter().any(|group| group == wanted);
    let missing = match name {
        ANONYMOUS => (!has(UNAUTHENTICATED)).then_some(UNAUTHENTICATED),
        _ => (!has(AUTHENTICATED) && !has(UNAUTHENTICATED)).then_some(AUTHENTICATED),
    };
    groups.extend(missing.map(str::to_owned));
    groups
}

/// Namespace and name of a service account's user name.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    let is_name = |text: &str, wrong: fn(&str) -> Vec<String>| !text.is_empty() && wrong(text).is_empty();
    (is_name(namespace, watchbell_api::name::label) && is_name(name, watchbell_api::name::subdomain))
        .then_some((namespace, name))
}

impl Impersonation {
    /// Whether all that is taken on may be.
    ///
    /// # Errors
    /// The refusal, with the decision about what may not be taken on.
    pub fn decide(&self, rbac: &Rbac) -> Result<(), (Decision, ApiError)> {
        for assumed in &self.assumed {
            let deed = assumed.deed();
            let decision = rbac.decide(&self.by, &deed);
            if let Err(refusal) = decision.require(&self.by, &deed) {
                return Err((decision, refusal));
            }
        }
        Ok(())
    }
}

impl Assumed {
    fn deed(&self) -> Deed<'_> {
        Deed::Resource {
            verb: "impersonate",
            group: self.group,
            resource: self.resource,
            subresource: &self.subresource,
            namespace: &self.namespace,
            name: &self.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::access::{Binding, Role, RoleRef};

    fn wish(name: &str, groups: &[&str]) -> Wish {
        Wish { name: name.into(), groups: groups.iter().map(|g| (*g).into()).collect(), ..Wish::default() }
    }

    #[test]
    fn one_becomes_a_user_with_the_groups_that_go_with_it() {
        let check = |wanted: Wish, expect: Option<&[&str]>| {
            let text = format!("{wanted:?}");
            let granted = wanted.grant(User::default()).ok().flatten();
            assert_eq!(
                granted.map(|(user, _)| user.groups),
                expect.map(|g| g.iter().map(|g| (*g).into()).collect()),
                "{text}"
            );
        };
        check(wish("", &[]), None);
        check(wish("", &["dev"]), None);
        check(wish("ada", &[]), Some(&["system:authenticated"]));
        check(wish("ada", &["dev"]), Some(&["dev", "system:authenticated"]));
        check(wish("ada", &["system:authenticated", "dev"]), Some(&["system:authenticated", "dev"]));
        check(wish("ada", &["system:unauthenticated"]), Some(&["system:unauthenticated"]));
        check(wish("system:anonymous", &[]), Some(&["system:unauthenticated"]));
        check(
            wish("system:serviceaccount:ml:bot", &[]),
            Some(&["system:serviceaccounts", "system:serviceaccounts:ml", "system:authenticated"]),
        );
        check(wish("system:serviceaccount:ml:bot", &["dev"]), Some(&["dev", "system:authenticated"]));
        assert!(wish("", &["dev"]).grant(User::default()).is_err());
        assert!(wish("", &[]).grant(User::default()).unwrap().is_none());
    }

    /// Each part of the wish is refused unless a rule allows it.
    #[test]
    fn each_part_needs_its_right() {
        let whole = Wish {
            name: "ada".into(),
            groups: vec!["dev".into()],
            uid: "u1".into(),
            extra: BTreeMap::from([("scopes".to_owned(), vec!["a".to_owned(), "b".to_owned()])]),
        };
        let check = |wanted: &Wish, rules: Value, expect: Option<&str>| {
            let mut rbac = Rbac::default();
            let role = Role::read(&json!({"rules": rules})).unwrap();
            rbac.insert_role(RoleRef::ClusterRole("r".into()), Arc::new(role));
            let binding = json!({
                "metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"},
                "subjects": [{"kind": "User", "name": "root"}],
            });
            rbac.insert_binding(&Arc::new(Binding::read(&binding).unwrap()));
            let by = User { name: "root".into(), ..User::default() };
            let (_, impersonation) = wanted.clone().grant(by).unwrap().unwrap();
            let refused = impersonation.decide(&rbac).err().map(|(_, refusal)| refusal.message);
            match (refused, expect) {
                (None, None) => {}
                (Some(message), Some(words)) => assert!(message.contains(words), "{message}"),
                (found, expect) => panic!("{found:?} is not {expect:?}"),
            }
        };
        let core = json!({"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users", "groups"]});
        let rest = json!({"verbs": ["impersonate"], "apiGroups": [AUTHENTICATION], "resources": ["uids", "userextras/scopes"]});
        check(&whole, json!([core, rest]), None);
        check(
            &whole,
            json!([]),
            Some("users \"ada\" is forbidden: User \"root\" cannot impersonate resource \"users\""),
        );
        check(
            &whole,
            json!([{"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"]}]),
            Some("groups \"dev\" is forbidden: User \"root\" cannot impersonate resource \"groups\""),
        );
        check(
            &whole,
            json!([core]),
            Some("cannot impersonate resource \"userextras/scopes\" in API group \"authentication.k8s.io\""),
        );
        let one = json!({
            "verbs": ["impersonate"], "apiGroups": [AUTHENTICATION], "resources": ["userextras/scopes"], "resourceNames": ["a"]
        });
        check(&whole, json!([core, one]), Some("userextras.authentication.k8s.io \"b\" is forbidden"));
        let no_uid = json!({"verbs": ["impersonate"], "apiGroups": [AUTHENTICATION], "resources": ["userextras/*", "*/scopes"]});
        check(&whole, json!([core, no_uid]), Some("uids.authentication.k8s.io \"u1\" is forbidden"));
        // A service account is one, and no user.
        let account = wish("system:serviceaccount:ml:bot", &[]);
        check(&account, json!([core]), Some("serviceaccounts \"bot\" is forbidden"));
        check(
            &account,
            json!([{"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]}]),
            None,
        );
    }
}
