//! What the one who may not is told, and what the audit journal says of a decision. In Kubernetes' words
//! (`k8s.io/apiserver/pkg/endpoints/handlers/responsewriters` and `…/endpoints/filters/authorization.go`).

use serde_json::{Map, Value};
use watchbell_api::{ApiError, Reason};

use super::{Decision, Deed, Grant, Lack};
use crate::request::User;

/// The annotation of an audit event that says how a request was decided: `allow` or `forbid`.
const DECISION: &str = "authorization.k8s.io/decision";
/// And why.
const REASON: &str = "authorization.k8s.io/reason";

impl Lack {
    /// The refusal of a deed: 403, whether what it is about is there or not.
    pub fn refusal(&self, user: &User, deed: &Deed<'_>) -> ApiError {
        let mut detail = cannot(user, deed);
        let reason = self.reason();
        if !reason.is_empty() {
            detail.push_str(": ");
            detail.push_str(&reason);
        }
        match deed {
            Deed::Resource { group, resource, name, .. } => {
                let qualified = match *group {
                    "" => (*resource).to_owned(),
                    group => format!("{resource}.{group}"),
                };
                let what = match *name {
                    "" => qualified,
                    name => format!("{qualified} {name:?}"),
                };
                ApiError::new(Reason::Forbidden, format!("{what} is forbidden: {detail}"))
                    .about(resource, group, name)
            }
            Deed::Path { .. } => ApiError::new(Reason::Forbidden, format!("forbidden: {detail}")),
        }
    }
}

/// `User "ada" cannot list resource "jobs" in API group "batch" in the namespace "ml"`
fn cannot(user: &User, deed: &Deed<'_>) -> String {
    let user = &user.name;
    let text = match deed {
        Deed::Path { verb, path } => format!("User {user:?} cannot {verb} path {path:?}"),
        Deed::Resource { verb, group, resource, subresource, namespace, .. } => {
            let whole = match *subresource {
                "" => (*resource).to_owned(),
                subresource => format!("{resource}/{subresource}"),
            };
            let place = match *namespace {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace {namespace:?}"),
            };
            format!("User {user:?} cannot {verb} resource {whole:?} in API group {group:?} {place}")
        }
    };
    // Some clients show answers as HTML.
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Decision {
    /// # Errors
    /// The refusal, if it is one.
    pub fn require(&self, user: &User, deed: &Deed<'_>) -> Result<(), ApiError> {
        match self {
            Decision::Allowed(_) => Ok(()),
            Decision::Denied(lack) => Err(lack.refusal(user, deed)),
        }
    }

    /// Why it fell so, for who is to know: a review, the audit journal.
    pub fn reason(&self) -> String {
        match self {
            // As in Kubernetes: no rule is behind it.
            Decision::Allowed(Grant::Masters) => String::new(),
            Decision::Allowed(grant) => grant.to_string(),
            Decision::Denied(lack) => lack.to_string(),
        }
    }

    /// Writes it into the annotations of an audit event.
    pub fn annotate(&self, annotations: &mut Map<String, Value>) {
        let word = if self.is_allowed() { "allow" } else { "forbid" };
        annotations.insert(DECISION.into(), word.into());
        annotations.insert(REASON.into(), self.reason().into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::access::{Rbac, Role, RoleRef, Rule};

    fn job<'a>(verb: &'a str, subresource: &'a str, namespace: &'a str, name: &'a str) -> Deed<'a> {
        Deed::Resource { verb, group: "batch", resource: "jobs", subresource, namespace, name }
    }

    #[test]
    fn a_refusal_says_who_cannot_do_what_and_where() {
        let check = |user: &str, deed: Deed<'_>, expect: &str| {
            let user = User { name: user.into(), ..User::default() };
            let error = Rbac::default().decide(&user, &deed).require(&user, &deed).unwrap_err();
            assert_eq!((error.message.as_str(), error.reason.code()), (expect, 403));
        };
        check(
            "x",
            job("list", "", "ml", ""),
            "jobs.batch is forbidden: User \"x\" cannot list resource \"jobs\" in API group \"batch\" in the namespace \"ml\"",
        );
        check(
            "x",
            job("list", "", "", ""),
            "jobs.batch is forbidden: User \"x\" cannot list resource \"jobs\" in API group \"batch\" at the cluster scope",
        );
        check(
            "x",
            job("create", "rerun", "ml", "train"),
            "jobs.batch \"train\" is forbidden: User \"x\" cannot create resource \"jobs/rerun\" in API group \"batch\" in \
             the namespace \"ml\"",
        );
        let secret = Deed::Resource {
            verb: "get",
            group: "",
            resource: "secrets",
            subresource: "",
            namespace: "ml",
            name: "key",
        };
        check(
            "<b>&",
            secret,
            "secrets \"key\" is forbidden: User \"&lt;b&gt;&amp;\" cannot get resource \"secrets\" in API group \"\" in the \
             namespace \"ml\"",
        );
        check(
            "x",
            Deed::Path { verb: "get", path: "/metrics" },
            "forbidden: User \"x\" cannot get path \"/metrics\"",
        );
    }

    #[test]
    fn a_role_that_is_not_there_is_named() {
        let binding = json!({
            "metadata": {"name": "b", "namespace": "ml"},
            "roleRef": {"kind": "ClusterRole", "name": "gone"}, "subjects": [{"kind": "User", "name": "x"}],
        });
        let mut rbac = Rbac::default();
        rbac.insert_binding(&std::sync::Arc::new(crate::access::Binding::read(&binding).unwrap()));
        let user = User { name: "x".into(), ..User::default() };
        let deed = job("get", "", "ml", "a");
        let decision = rbac.decide(&user, &deed);
        let error = decision.require(&user, &deed).unwrap_err();
        assert!(
            error.message.ends_with(
                "in the namespace \"ml\": RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found"
            ),
            "{error}"
        );
        let mut annotations = Map::new();
        decision.annotate(&mut annotations);
        assert_eq!(annotations[DECISION], "forbid");
        let rule = Rule {
            verbs: vec!["get".into()],
            api_groups: vec!["batch".into()],
            resources: vec!["jobs".into()],
            ..Rule::default()
        };
        let role = Role { rules: vec![rule], ..Role::default() };
        rbac.insert_role(RoleRef::ClusterRole("gone".into()), std::sync::Arc::new(role));
        let decision = rbac.decide(&user, &deed);
        decision.annotate(&mut annotations);
        assert_eq!(annotations[DECISION], "allow");
        assert_eq!(
            annotations[REASON],
            "RBAC: allowed by RoleBinding \"b/ml\" of ClusterRole \"gone\" to User \"x\""
        );
        let master = User { groups: vec![crate::access::MASTERS.into()], ..user };
        assert_eq!(rbac.decide(&master, &job("delete", "", "", "")).reason(), "");
    }
}
