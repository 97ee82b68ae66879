//! Which rights a request needs, and whether who asks has them. What a right is, `watchbell_core::access` decides, over the
//! roles and bindings that are committed.
//!
//! A request may stand for more than one deed: all must be allowed, before anything but its line is looked at. So a name
//! that is not there is refused as one that is.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::Method;
use watchbell_api::selector::Fields;
use watchbell_api::{ApiError, Resource, ResourceInfo};
use watchbell_core::access::{Decision, Deed, Impersonation, Rbac};
use watchbell_core::request::User;

use crate::request::{ImagePath, ObjectPath, Query, ReviewPath, Route, Sub, Verb, percent_decode};
use crate::verbs::{images, keys};

/// A deed that outlives the line of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Right {
    Resource {
        verb: &'static str,
        group: Cow<'static, str>,
        resource: Cow<'static, str>,
        subresource: Cow<'static, str>,
        /// Empty: at the cluster scope, or in all namespaces.
        namespace: String,
        name: String,
    },
    /// Everything that is no resource: discovery, metrics, documents.
    Path { verb: &'static str, path: String },
}

impl Right {
    pub(crate) fn deed(&self) -> Deed<'_> {
        match self {
            Right::Resource { verb, group, resource, subresource, namespace, name } => {
                Deed::Resource { verb, group, resource, subresource, namespace, name }
            }
            Right::Path { verb, path } => Deed::Path { verb, path },
        }
    }

    fn of(
        verb: &'static str,
        group: &'static str,
        resource: &'static str,
        subresource: &'static str,
        namespace: &str,
        name: &str,
    ) -> Right {
        Right::Resource {
            verb,
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn object(verb: &'static str, path: &ObjectPath, name: &str) -> Right {
        let ResourceInfo { group, plural, .. } = path.resource.info();
        let namespace = match (path.resource, &path.name) {
            // As in Kubernetes a namespace lies in itself: a role in it may be about it.
            (Resource::Namespace, Some(name)) => name,
            _ => path.namespace.as_deref().unwrap_or_default(),
        };
        Right::of(verb, group, plural, path.sub.as_str(), namespace, name)
    }

    /// # Errors
    /// The refusal.
    fn require(&self, rbac: &Rbac, user: &User) -> Result<(), ApiError> {
        rbac.decide(user, &self.deed()).require(user, &self.deed())
    }
}

/// The rights that a request needs; none: it is open to everybody.
pub(crate) fn needed(
    method: &Method,
    path: &str,
    route: &Result<Route, ApiError>,
    query: &Query,
) -> Vec<Right> {
    match route {
        Ok(Route::Probe(_)) => Vec::new(),
        Ok(Route::Object(object)) => of_object(method, object, query),
        Ok(Route::Review(ReviewPath { asked, namespace })) => {
            let namespace = namespace.as_deref().unwrap_or_default();
            vec![Right::of(verb_of(method, Named::No), asked.group, asked.plural, "", namespace, "")]
        }
        Ok(Route::Images(image)) => {
            let named = if matches!(image, ImagePath::One(_)) { Named::Yes } else { Named::No };
            let verb = images::verb(method, image).unwrap_or_else(|_| verb_of(method, named));
            vec![Right::of(verb, "watchbell.dev", "images", "", "", images::name(image, query))]
        }
        Ok(Route::SigningKeys(path)) => {
            let verb = keys::verb(method, *path).unwrap_or_else(|_| verb_of(method, Named::No));
            vec![Right::of(verb, "watchbell.dev", "tokenkeys", "", "", "")]
        }
        Ok(Route::Definitions) => {
            let verb = if query.flag("watch") { "watch" } else { verb_of(method, Named::No) };
            vec![Right::of(verb, "apiextensions.k8s.io", "customresourcedefinitions", "", "", "")]
        }
        Ok(
            Route::Version
            | Route::Metrics
            | Route::Root
            | Route::OpenIdConfiguration
            | Route::TokenKeys
            | Route::OpenApiV2
            | Route::OpenApiIndex
            | Route::OpenApi { .. }
            | Route::CoreVersions
            | Route::Groups
            | Route::Group(_)
            | Route::Resources { .. },
        ) => vec![Right::Path { verb: path_verb(method), path: path.into() }],
        Err(_) => vec![unserved(method, path)],
    }
}

fn of_object(method: &Method, path: &ObjectPath, query: &Query) -> Vec<Right> {
    let named = if path.name.is_some() { Named::Yes } else { Named::No };
    let name = path.name.as_deref().unwrap_or_default();
    // What is not served is refused for want of the right first, and then for what it is.
    let Ok(verb) = Verb::of(method, path, query) else {
        return vec![Right::object(verb_of(method, named), path, name)];
    };
    match (verb, path.sub) {
        (Verb::List | Verb::Watch, _) if path.name.is_none() => {
            // A role that names objects allows to list and to watch those alone, by this selector.
            let selector = query.get("fieldSelector").unwrap_or_default();
            let fields = Fields::parse(path.resource, selector).unwrap_or_default();
            vec![Right::object(verb.as_str(), path, fields.name().unwrap_or_default())]
        }
        // A WebSocket can only be asked for with GET, and is no less of a deed for it.
        (Verb::Get, Sub::Exec | Sub::Attach) => {
            vec![Right::object("get", path, name), Right::object("create", path, name)]
        }
        // A rollback is a verb of its own on the array itself.
        (Verb::Create, Sub::Rollback) => {
            let array = ObjectPath { sub: Sub::None, ..path.clone() };
            vec![Right::object("rollback", &array, name)]
        }
        // What admission would make of it is what somebody learns who may create it.
        (Verb::Create, Sub::Sandbox | Sub::Admission) => {
            let pods = ObjectPath { name: None, sub: Sub::None, ..path.clone() };
            vec![Right::object("create", path, name), Right::object("create", &pods, "")]
        }
        _ => vec![Right::object(verb.as_str(), path, name)],
    }
}

/// Whether a path names one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    No,
    Yes,
}

/// Kubernetes' word for a method on a resource; empty, which only a rule for all verbs allows, for what has none.
fn verb_of(method: &Method, named: Named) -> &'static str {
    match (method, named) {
        (&Method::GET | &Method::HEAD, Named::Yes) => "get",
        (&Method::GET | &Method::HEAD, Named::No) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, Named::Yes) => "delete",
        (&Method::DELETE, Named::No) => "deletecollection",
        _ => "",
    }
}

fn path_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        Method::CONNECT => "connect",
        Method::TRACE => "trace",
        _ => "",
    }
}

/// What a path stands for that leads nowhere here: as Kubernetes reads it, so that who may not look hears the same
/// whether a kind is served or not (`k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`).
fn unserved(method: &Method, path: &str) -> Right {
    let decode = |text: &str| percent_decode(text.as_bytes()).unwrap_or_else(|| text.to_owned());
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (group, rest) = match segments.as_slice() {
        ["api", _, rest @ ..] if !rest.is_empty() => ("", rest),
        ["apis", group, _, rest @ ..] if !rest.is_empty() => (*group, rest),
        _ => return Right::Path { verb: path_verb(method), path: path.into() },
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, sub, more @ ..] if !matches!(*sub, "status" | "finalize") => {
            (*namespace, [&[*sub], more].concat())
        }
        ["namespaces", namespace, ..] => (*namespace, rest.to_vec()),
        _ => ("", rest.to_vec()),
    };
    let part = |place: usize| rest.get(place).map(|text| decode(text)).unwrap_or_default();
    let named = if rest.len() > 1 { Named::Yes } else { Named::No };
    Right::Resource {
        verb: verb_of(method, named),
        group: decode(group).into(),
        resource: part(0).into(),
        subresource: part(2).into(),
        namespace: decode(namespace),
        name: part(1),
    }
}

/// What somebody may, for as long as something hangs on it.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) user: User,
    pub(crate) impersonation: Option<Impersonation>,
    pub(crate) rights: Arc<[Right]>,
}

impl Held {
    /// # Errors
    /// The first of the rights that is not held, or no longer.
    pub(crate) fn check(&self, rbac: &Rbac) -> Result<(), ApiError> {
        if let Some(impersonation) = &self.impersonation {
            impersonation.decide(rbac).map_err(|(_, refusal)| refusal)?;
        }
        self.rights.iter().try_for_each(|right| right.require(rbac, &self.user))
    }

    /// The same, and the decision that the audit journal tells: the one that refused, else the first.
    pub(crate) fn decide(&self, rbac: &Rbac) -> (Option<Decision>, Result<(), ApiError>) {
        let mut first = None;
        for right in self.rights.iter() {
            let decision = rbac.decide(&self.user, &right.deed());
            if let Err(refusal) = decision.require(&self.user, &right.deed()) {
                return (Some(decision), Err(refusal));
            }
            first.get_or_insert(decision);
        }
        (first, Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `verb group resource[/sub] namespace name`, a right a line; `-` is nothing.
    fn told(right: &Right) -> String {
        let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        match right.deed() {
            Deed::Path { verb, path } => format!("{} {path}", dash(verb)),
            Deed::Resource { verb, group, resource, subresource, namespace, name } => {
                let sub = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
                format!("{} {} {resource}{sub} {} {}", dash(verb), dash(group), dash(namespace), dash(name))
            }
        }
    }

    #[test]
    fn each_request_needs_its_rights() {
        let check = |line: &str, expect: &[&str]| {
            let (method, uri) = line.split_once(' ').unwrap();
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let query = Query::parse(query).unwrap();
            let rights = needed(&method, path, &Route::parse(path), &query);
            assert_eq!(rights.iter().map(told).collect::<Vec<_>>(), expect, "{line}");
        };
        check("GET /healthz", &[]);
        check("GET /version", &["get /version"]);
        check("POST /version", &["post /version"]);
        check("BREW /metrics", &["- /metrics"]);
        check("GET /apis/batch/v1", &["get /apis/batch/v1"]);
        check("GET /openapi/v3/apis/batch/v1", &["get /openapi/v3/apis/batch/v1"]);
        let jobs = "/apis/batch/v1/namespaces/ml/jobs";
        check(&format!("GET {jobs}"), &["list batch jobs ml -"]);
        check("GET /apis/batch/v1/jobs", &["list batch jobs - -"]);
        check("GET /apis/batch/v1/jobs?watch=1", &["watch batch jobs - -"]);
        check(&format!("GET {jobs}?fieldSelector=metadata.name%3Da"), &["list batch jobs ml a"]);
        check(&format!("GET {jobs}?watch=true&fieldSelector=metadata.name=a"), &["watch batch jobs ml a"]);
        check(&format!("GET {jobs}?fieldSelector=metadata.name!%3Da"), &["list batch jobs ml -"]);
        check(&format!("GET {jobs}?fieldSelector=nonsense"), &["list batch jobs ml -"]);
        check(&format!("GET {jobs}/a"), &["get batch jobs ml a"]);
        check(&format!("GET {jobs}/a?watch=1"), &["watch batch jobs ml a"]);
        check(&format!("POST {jobs}"), &["create batch jobs ml -"]);
        check("POST /apis/batch/v1/jobs", &["create batch jobs - -"]);
        check(&format!("PUT {jobs}/a"), &["update batch jobs ml a"]);
        check(&format!("PATCH {jobs}/a/status"), &["patch batch jobs/status ml a"]);
        check(&format!("DELETE {jobs}/a"), &["delete batch jobs ml a"]);
        check(&format!("DELETE {jobs}?fieldSelector=metadata.name=a"), &["deletecollection batch jobs ml -"]);
        check(&format!("POST {jobs}/a/rerun"), &["create batch jobs/rerun ml a"]);
        check(&format!("GET {jobs}/a/rerun"), &["get batch jobs/rerun ml a"]);
        check(&format!("GET {jobs}/a/admission"), &["get batch jobs/admission ml a"]);
        let array = "/apis/watchbell.dev/v1alpha1/namespaces/ml/dataarrays/a";
        check(&format!("POST {array}/rollback"), &["rollback watchbell.dev dataarrays ml a"]);
        check(&format!("GET {array}/rollback"), &["get watchbell.dev dataarrays/rollback ml a"]);
        let crons = "/apis/batch/v1/namespaces/ml/cronjobs";
        check(&format!("POST {crons}/n/trigger"), &["create batch cronjobs/trigger ml n"]);
        check(&format!("PATCH {crons}/n/suspend"), &["patch batch cronjobs/suspend ml n"]);
        let pod = "/api/v1/namespaces/ml/pods/p";
        check(&format!("GET {pod}/log"), &["get - pods/log ml p"]);
        check(&format!("GET {pod}/exec"), &["get - pods/exec ml p", "create - pods/exec ml p"]);
        check(&format!("POST {pod}/attach"), &["create - pods/attach ml p"]);
        check(&format!("GET {pod}/attach"), &["get - pods/attach ml p", "create - pods/attach ml p"]);
        check(&format!("POST {pod}/eviction"), &["create - pods/eviction ml p"]);
        check(&format!("GET {pod}/sandbox"), &["get - pods/sandbox ml p"]);
        check(&format!("GET {pod}/admission"), &["get - pods/admission ml p"]);
        check(&format!("POST {pod}/admission"), &["create - pods/admission ml p", "create - pods ml -"]);
        check(&format!("POST {pod}/sandbox"), &["create - pods/sandbox ml p", "create - pods ml -"]);
        check("GET /api/v1/namespaces", &["list - namespaces - -"]);
        check("GET /api/v1/namespaces/ml", &["get - namespaces ml ml"]);
        check("PUT /api/v1/namespaces/ml/status", &["update - namespaces/status ml ml"]);
        check("POST /api/v1/namespaces", &["create - namespaces - -"]);
        check("GET /api/v1/nodes/watchbell", &["get - nodes - watchbell"]);
        let reviews = "/apis/authorization.k8s.io/v1";
        check(
            &format!("POST {reviews}/selfsubjectaccessreviews"),
            &["create authorization.k8s.io selfsubjectaccessreviews - -"],
        );
        check(
            &format!("POST {reviews}/namespaces/ml/localsubjectaccessreviews"),
            &["create authorization.k8s.io localsubjectaccessreviews ml -"],
        );
        let images = "/apis/watchbell.dev/v1alpha1/images";
        check(&format!("GET {images}"), &["list watchbell.dev images - -"]);
        check(
            &format!("GET {images}/docker.io/library/a:1"),
            &["get watchbell.dev images - docker.io/library/a:1"],
        );
        check(&format!("DELETE {images}/a"), &["delete watchbell.dev images - a"]);
        check(&format!("POST {images}:pull?name=a"), &["pull watchbell.dev images - a"]);
        check(&format!("POST {images}:prune"), &["prune watchbell.dev images - -"]);
        check(&format!("PATCH {images}/a"), &["patch watchbell.dev images - a"]);
        let keys = "/apis/watchbell.dev/v1alpha1/tokenkeys";
        check(&format!("GET {keys}"), &["list watchbell.dev tokenkeys - -"]);
        check(&format!("POST {keys}:rotate"), &["rotate watchbell.dev tokenkeys - -"]);
        check(&format!("POST {keys}:revoke"), &["revoke watchbell.dev tokenkeys - -"]);
        check(&format!("DELETE {keys}:revoke"), &["deletecollection watchbell.dev tokenkeys - -"]);
        check(
            "GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            &["list apiextensions.k8s.io customresourcedefinitions - -"],
        );
        // What is not served is read as Kubernetes reads it.
        check("GET /apis/x.example/v1/namespaces/ml/things/a/sub", &["get x.example things/sub ml a"]);
        check("GET /apis/x.example/v1/things", &["list x.example things - -"]);
        check("DELETE /api/v1/namespaces/ml/things", &["deletecollection - things ml -"]);
        check("GET /api/v1/namespaces/ml/finalize", &["get - namespaces/finalize ml ml"]);
        check("GET /api/v1/namespaces/ml/pods/p/portforward", &["get - pods/portforward ml p"]);
        check("GET /logs/x", &["get /logs/x"]);
        check("GET /apis/x.example/v1/%2e%2e", &["list x.example .. - -"]);
    }
}
