//! Who may do what.

use hyper::HeaderMap;
use serde_json::{Value, json};
use watchbell_api::{ApiError, Reason};
use watchbell_core::access::{Deed, MASTERS};
use watchbell_core::request::User;

use crate::request::{ObjectPath, ReviewPath, Verb};

/// Decides whether the user may; if not, why. Only members of `system:masters` may anything; their rights need no rule.
pub(crate) fn decide(user: &User, _deed: &Deed<'_>) -> Result<(), String> {
    if user.groups.iter().any(|group| group == MASTERS) {
        return Ok(());
    }
    Err(format!("only members of the group {MASTERS:?} have rights here"))
}

/// All that a user may: the status of a `SelfSubjectRulesReview`.
pub(crate) fn rules(user: &User) -> Value {
    let mut rules = json!({
        "resourceRules": [
            {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
             "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
            {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
        ],
        "nonResourceRules": [
            {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz"]},
        ],
        "incomplete": false,
    });
    if user.groups.iter().any(|group| group == MASTERS) {
        let insert = |list: &mut Value, rule: Value| {
            if let Some(list) = list.as_array_mut() {
                list.insert(0, rule);
            }
        };
        let all = json!(["*"]);
        insert(&mut rules["resourceRules"], json!({"verbs": all, "apiGroups": all, "resources": all}));
        insert(&mut rules["nonResourceRules"], json!({"verbs": all, "nonResourceURLs": all}));
    }
    rules
}

/// What a request would do, as far as rights are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Attributes<'a> {
    Object {
        verb: Verb,
        path: &'a ObjectPath,
    },
    /// A question about the rights of others.
    Review(&'a ReviewPath),
    /// Images of this machine.
    Images {
        verb: &'a str,
        name: &'a str,
    },
    /// To act as another: `users` or `groups`, and which.
    Impersonate {
        resource: &'a str,
        name: &'a str,
    },
    /// Everything that is no resource: discovery, metrics, documents.
    Path {
        verb: &'a str,
        path: &'a str,
    },
}

impl<'a> Attributes<'a> {
    fn deed(self) -> Deed<'a> {
        match self {
            Attributes::Object { verb, path } => {
                let info = path.resource.info();
                Deed::Resource {
                    verb: verb.as_str(),
                    group: info.group,
                    resource: info.plural,
                    subresource: path.sub.as_str(),
                    namespace: path.namespace.as_deref().unwrap_or_default(),
                    name: path.name.as_deref().unwrap_or_default(),
                }
            }
            Attributes::Review(path) => Deed::Resource {
                verb: "create",
                group: path.asked.group,
                resource: path.asked.plural,
                subresource: "",
                namespace: path.namespace.as_deref().unwrap_or_default(),
                name: "",
            },
            Attributes::Images { verb, name } => Deed::Resource {
                verb,
                group: "watchbell.dev",
                resource: "images",
                subresource: "",
                namespace: "",
                name,
            },
            Attributes::Impersonate { resource, name } => Deed::Resource {
                verb: "impersonate",
                group: "",
                resource,
                subresource: "",
                namespace: "",
                name,
            },
            Attributes::Path { verb, path } => Deed::Path { verb, path },
        }
    }
}

/// Refuses what the user may not, in Kubernetes' words.
pub(crate) fn authorize(user: &User, attributes: Attributes<'_>) -> Result<(), ApiError> {
    let deed = attributes.deed();
    if decide(user, &deed).is_ok() {
        return Ok(());
    }
    let user = &user.name;
    Err(match deed {
        Deed::Resource { verb, group, resource, subresource, namespace, name } => {
            let whole = if subresource.is_empty() {
                resource.to_owned()
            } else {
                format!("{resource}/{subresource}")
            };
            let place = if namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace {namespace:?}")
            };
            let detail =
                format!("User {user:?} cannot {verb} resource {whole:?} in API group {group:?} {place}");
            let qualified =
                if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
            refusal(&qualified, name, &detail).about(resource, group, name)
        }
        Deed::Path { verb, path } => {
            ApiError::new(Reason::Forbidden, format!("forbidden: User {user:?} cannot {verb} path {path:?}"))
        }
    })
}

/// Nobody acts as another here. A request that asks for it (`kubectl --as`) must not be answered with the caller's own rights.
pub(crate) fn refuse_impersonation(user: &User, headers: &HeaderMap) -> Result<(), ApiError> {
    for (header, value) in headers {
        let Some(what) = header.as_str().strip_prefix("impersonate-") else { continue };
        let resource = match what {
            "group" => "groups",
            "uid" => "uids",
            extra if extra.starts_with("extra-") => "userextras",
            _ => "users",
        };
        let detail = format!(
            "User {:?} cannot impersonate resource {resource:?} in API group \"\" at the cluster scope: this server lets nobody \
             act as another",
            user.name
        );
        let name = String::from_utf8_lossy(value.as_bytes());
        return Err(refusal(resource, &name, &detail).about(resource, "", &name));
    }
    Ok(())
}

/// `jobs.batch "x" is forbidden: …`, and without a name `jobs.batch is forbidden: …`, as Kubernetes has it.
fn refusal(resource: &str, name: &str, detail: &str) -> ApiError {
    let what = if name.is_empty() { resource.to_owned() } else { format!("{resource} {name:?}") };
    ApiError::new(Reason::Forbidden, format!("{what} is forbidden: {detail}"))
}

#[cfg(test)]
mod tests {
    use watchbell_api::Resource;

    use super::*;
    use crate::request::Sub;

    fn check(groups: &[&str], name: Option<&str>, sub: Sub, expect: Result<(), &str>) {
        let user = User {
            name: "ada".into(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            ..User::default()
        };
        let path = ObjectPath {
            resource: Resource::Job,
            namespace: Some("ml".into()),
            name: name.map(str::to_owned),
            sub,
        };
        let verb = if name.is_some() { Verb::Get } else { Verb::List };
        let got = authorize(&user, Attributes::Object { verb, path: &path });
        assert_eq!(
            got.as_ref().map_err(|e| e.message.as_str()),
            expect.as_ref().map(|()| &()).map_err(|e| *e)
        );
        if let Err(error) = got {
            assert_eq!(error.reason.code(), 403);
        }
    }

    #[test]
    fn only_masters_may() {
        check(&["system:authenticated", "system:masters"], None, Sub::None, Ok(()));
        check(
            &["system:authenticated"],
            None,
            Sub::None,
            Err(
                "jobs.batch is forbidden: User \"ada\" cannot list resource \"jobs\" in API group \"batch\" in the \
                 namespace \"ml\"",
            ),
        );
        check(
            &["system:Masters", "system:masters "],
            Some("x"),
            Sub::Status,
            Err(
                "jobs.batch \"x\" is forbidden: User \"ada\" cannot get resource \"jobs/status\" in API group \"batch\" \
                 in the namespace \"ml\"",
            ),
        );
    }

    #[test]
    fn paths_are_guarded_too() {
        let user = User { name: "ada".into(), ..User::default() };
        let refused = authorize(&user, Attributes::Path { verb: "get", path: "/metrics" }).unwrap_err();
        assert_eq!(refused.message, "forbidden: User \"ada\" cannot get path \"/metrics\"");
    }

    #[test]
    fn nobody_acts_as_another() {
        let user = User { name: "ada".into(), groups: vec![MASTERS.into()], ..User::default() };
        let check = |header: &'static str, expect: Option<&str>| {
            let headers = HeaderMap::from_iter([(
                hyper::header::HeaderName::from_static(header),
                hyper::header::HeaderValue::from_static("bob"),
            )]);
            let got = refuse_impersonation(&user, &headers).err().map(|e| e.message);
            assert_eq!(
                got.as_deref().map(|m| m.split(" is forbidden: ").next().unwrap()),
                expect,
                "{header}"
            );
        };
        check("accept", None);
        check("impersonate-user", Some("users \"bob\""));
        check("impersonate-group", Some("groups \"bob\""));
        check("impersonate-uid", Some("uids \"bob\""));
        check("impersonate-extra-scopes", Some("userextras \"bob\""));
    }
}
