//! Who may do what.

use watchbell_api::{ApiError, Reason};
use watchbell_core::request::User;

use crate::request::{ObjectPath, Sub, Verb};

/// The group of those who may do everything.
const MASTERS: &str = "system:masters";

/// What a request would do, as far as rights are concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Attributes<'a> {
    Object {
        verb: Verb,
        path: &'a ObjectPath,
    },
    /// Images of this machine.
    Images {
        verb: &'a str,
        name: &'a str,
    },
    /// Everything that is no resource: discovery, metrics, documents.
    Path {
        verb: &'a str,
        path: &'a str,
    },
}

/// Decides whether the user may. Only members of `system:masters` may anything; their rights need no rule.
pub(crate) fn authorize(user: &User, attributes: Attributes<'_>) -> Result<(), ApiError> {
    if user.groups.iter().any(|group| group == MASTERS) {
        return Ok(());
    }
    let name = &user.name;
    Err(match attributes {
        Attributes::Object { verb, path } => {
            let info = path.resource.info();
            let resource = match path.sub {
                Sub::None => info.plural.to_owned(),
                sub => format!("{}/{}", info.plural, sub.as_str()),
            };
            let place = match &path.namespace {
                Some(namespace) => format!("in the namespace {namespace:?}"),
                None => "at the cluster scope".into(),
            };
            let detail = format!(
                "User {name:?} cannot {} resource {resource:?} in API group {:?} {place}",
                verb.as_str(),
                info.group
            );
            refusal(&info.qualified(), path.name.as_deref().unwrap_or_default(), &detail).about(
                info.plural,
                info.group,
                path.name.as_deref().unwrap_or_default(),
            )
        }
        Attributes::Images { verb, name: image } => {
            let detail = format!(
                "User {name:?} cannot {verb} resource \"images\" in API group \"watchbell.dev\" at the cluster scope"
            );
            refusal("images.watchbell.dev", image, &detail).about("images", "watchbell.dev", image)
        }
        Attributes::Path { verb, path } => {
            ApiError::new(Reason::Forbidden, format!("forbidden: User {name:?} cannot {verb} path {path:?}"))
        }
    })
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

    fn check(groups: &[&str], name: Option<&str>, sub: Sub, expect: Result<(), &str>) {
        let user = User {
            name: "ada".into(),
            uid: String::new(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
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
}
