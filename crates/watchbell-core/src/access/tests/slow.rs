//! The second implementation: no index, every object looked at for every question, texts put together and compared as the
//! documentation of RBAC says it. It reads the objects as they are sent, and shares no line with the one that decides.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::Deed;
use crate::request::User;

/// What is asked of a rule: `pods/log`, or a path.
fn whole_resource(resource: &str, subresource: &str) -> String {
    if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") }
}

fn list<'a>(object: &'a Value, field: &str) -> Vec<&'a str> {
    object[field]
        .as_array()
        .map(|items| items.iter().map(|i| i.as_str().unwrap()).collect())
        .unwrap_or_default()
}

pub(super) fn rule_allows(rule: &Value, deed: &Deed<'_>) -> bool {
    let verb = |verb: &str| list(rule, "verbs").iter().any(|v| *v == "*" || *v == verb);
    match deed {
        Deed::Resource { verb: v, group, resource, subresource, name, .. } => {
            let mut names_that_match = vec!["*".to_owned(), whole_resource(resource, subresource)];
            if !subresource.is_empty() {
                names_that_match.push(format!("*/{subresource}"));
            }
            let names = list(rule, "resourceNames");
            verb(v)
                && list(rule, "apiGroups").iter().any(|g| *g == "*" || g == group)
                && list(rule, "resources").iter().any(|r| names_that_match.iter().any(|m| m == r))
                && (names.is_empty() || names.contains(name))
        }
        Deed::Path { verb: v, path } => {
            verb(v)
                && list(rule, "nonResourceURLs").iter().any(|url| {
                    url == path || url.ends_with('*') && path.starts_with(url.trim_end_matches('*'))
                })
        }
    }
}

fn is_subject(user: &User, subject: &Value, binding: &Value) -> bool {
    let name = subject["name"].as_str().unwrap();
    match subject["kind"].as_str().unwrap() {
        "User" => user.name == name,
        "Group" => user.groups.iter().any(|g| g == name),
        "ServiceAccount" => {
            let namespace = subject["namespace"].as_str().or(binding["metadata"]["namespace"].as_str());
            namespace
                .is_some_and(|namespace| user.name == format!("system:serviceaccount:{namespace}:{name}"))
        }
        _ => false,
    }
}

/// Bindings that have a say for the user at a place, and the role each names if it is there.
pub(super) fn applying<'a>(
    objects: &'a [Value],
    user: &User,
    namespace: &str,
) -> Vec<(&'a Value, Option<&'a Value>)> {
    let mut found = Vec::new();
    for binding in objects {
        let at = &binding["metadata"]["namespace"];
        let has_a_say = match binding["kind"].as_str().unwrap() {
            "ClusterRoleBinding" => true,
            "RoleBinding" => at == namespace,
            _ => false,
        };
        if !has_a_say {
            continue;
        }
        let subjects = binding["subjects"].as_array().unwrap();
        if !subjects.iter().any(|subject| is_subject(user, subject, binding)) {
            continue;
        }
        let wanted = &binding["roleRef"];
        let role = objects.iter().find(|object| {
            object["kind"] == wanted["kind"]
                && object["metadata"]["name"] == wanted["name"]
                && (object["kind"] == "ClusterRole" || object["metadata"]["namespace"] == *at)
        });
        found.push((binding, role));
    }
    found
}

pub(super) fn allows(objects: &[Value], user: &User, deed: &Deed<'_>) -> bool {
    user.groups.iter().any(|group| group == "system:masters")
        || applying(objects, user, deed.namespace()).iter().any(|(_, role)| {
            let rules = role.and_then(|role| role["rules"].as_array());
            rules.is_some_and(|rules| rules.iter().any(|rule| rule_allows(rule, deed)))
        })
}

/// Names of roles that a user's bindings name and that are not there.
pub(super) fn missing(objects: &[Value], user: &User, namespace: &str) -> BTreeSet<String> {
    applying(objects, user, namespace)
        .iter()
        .filter(|(_, role)| role.is_none())
        .map(|(binding, _)| format!("{}/{}", binding["roleRef"]["kind"], binding["roleRef"]["name"]))
        .collect()
}
