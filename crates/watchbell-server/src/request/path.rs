//! The path of a request.

use watchbell_api::{ApiError, Reason, Resource};
use watchbell_core::request::Subresource;

use super::no_such_path;
use crate::verbs::asked::Asked;

/// Longest segment that is looked at; Kubernetes' names end at 253.
const SEGMENT_BYTES_MAX: usize = 253;
/// Image references may be longer: a registry, a path, a tag and a digest.
const IMAGE_BYTES_MAX: usize = 1024;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/healthz`, `/livez`, `/readyz`: the only ones open to everybody.
    Probe(Probe),
    Version,
    Metrics,
    /// `/`: the list of paths.
    Root,
    /// `/.well-known/openid-configuration`: where others find the keys of service accounts' tokens.
    OpenIdConfiguration,
    /// `/openid/v1/jwks`
    TokenKeys,
    /// `/apis/watchbell.dev/v1alpha1/tokenkeys`: which keys sign and verify tokens of service accounts.
    SigningKeys(KeysPath),
    /// `/openapi/v2`
    OpenApiV2,
    /// `/openapi/v3`
    OpenApiIndex,
    /// `/openapi/v3/api/v1`, `/openapi/v3/apis/batch/v1`
    OpenApi {
        group: String,
        version: String,
    },
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/batch`
    Group(String),
    /// `/api/v1`, `/apis/batch/v1`
    Resources {
        group: String,
        version: String,
    },
    /// `/apis/apiextensions.k8s.io/v1/customresourcedefinitions`: clients look there before they say that a kind is unknown.
    Definitions,
    Object(ObjectPath),
    /// `/apis/authorization.k8s.io/v1/selfsubjectaccessreviews`
    Review(ReviewPath),
    Images(ImagePath),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    Health,
    Live,
    Ready,
}

/// An object or a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectPath {
    pub(crate) resource: Resource,
    /// `None`: of all namespaces, or of none.
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) sub: Sub,
}

/// Where a review is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReviewPath {
    pub(crate) asked: &'static Asked,
    pub(crate) namespace: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sub {
    None,
    Status,
    Log,
    Exec,
    Attach,
    Eviction,
    /// Of a service account.
    Token,
    /// How its containers are started; of a pod that is sent, with POST.
    Sandbox,
    /// What admission makes of a pod (of one that is sent, with POST); what a Job's indexes get of arrays; what holds a CronJob.
    Admission,
    /// Of a CronJob: its Job is made now.
    Trigger,
    /// Of a CronJob: its `spec.suspend`.
    Suspend,
    /// Of a Job: it runs again, as a new one.
    Rerun,
    /// Of a data array: its head becomes what an older snapshot was.
    Rollback,
}

impl Sub {
    /// Whether it is a thing to do, which is asked for with POST.
    pub(crate) fn is_posted(self) -> bool {
        match self {
            Sub::Exec
            | Sub::Attach
            | Sub::Eviction
            | Sub::Token
            | Sub::Sandbox
            | Sub::Admission
            | Sub::Trigger
            | Sub::Rerun
            | Sub::Rollback => true,
            Sub::None | Sub::Status | Sub::Log | Sub::Suspend => false,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Sub::None => "",
            Sub::Status => "status",
            Sub::Log => "log",
            Sub::Exec => "exec",
            Sub::Attach => "attach",
            Sub::Eviction => "eviction",
            Sub::Token => "token",
            Sub::Sandbox => "sandbox",
            Sub::Admission => "admission",
            Sub::Trigger => Subresource::Trigger.as_str(),
            Sub::Suspend => Subresource::Suspend.as_str(),
            Sub::Rerun => Subresource::Rerun.as_str(),
            Sub::Rollback => Subresource::Rollback.as_str(),
        }
    }
}

/// The image store under `/apis/watchbell.dev/v1alpha1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImagePath {
    /// `images`
    All,
    /// `images/docker.io/library/busybox:1.36`
    One(String),
    /// `images:pull`
    Pull,
    /// `images:import`
    Import,
    /// `images:prune`
    Prune,
}

/// What is asked of the keys of service accounts' tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeysPath {
    /// `tokenkeys`
    All,
    /// `tokenkeys:rotate`
    Rotate,
    /// `tokenkeys:revoke`
    Revoke,
}

impl Route {
    /// Reads the path of a URI, still percent-encoded.
    pub(crate) fn parse(path: &str) -> Result<Route, ApiError> {
        let rest = path.strip_prefix('/').ok_or_else(no_such_path)?;
        // Client libraries write `/api/` and `/version/`.
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if let Some(images) = rest.strip_prefix("apis/watchbell.dev/v1alpha1/images") {
            return image_path(images).map(Route::Images);
        }
        if path == "/" {
            return Ok(Route::Root);
        }
        let segments = rest.split('/').map(segment).collect::<Result<Vec<String>, ApiError>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        Ok(match segments.as_slice() {
            ["healthz"] => Route::Probe(Probe::Health),
            ["livez"] => Route::Probe(Probe::Live),
            ["readyz"] => Route::Probe(Probe::Ready),
            ["version"] => Route::Version,
            ["metrics"] => Route::Metrics,
            ["apis", "watchbell.dev", "v1alpha1", "tokenkeys"] => Route::SigningKeys(KeysPath::All),
            ["apis", "watchbell.dev", "v1alpha1", "tokenkeys:rotate"] => Route::SigningKeys(KeysPath::Rotate),
            ["apis", "watchbell.dev", "v1alpha1", "tokenkeys:revoke"] => Route::SigningKeys(KeysPath::Revoke),
            [".well-known", "openid-configuration"] => Route::OpenIdConfiguration,
            ["openid", "v1", "jwks"] => Route::TokenKeys,
            ["openapi", "v2"] => Route::OpenApiV2,
            ["openapi", "v3"] => Route::OpenApiIndex,
            ["openapi", "v3", "api", version] => {
                Route::OpenApi { group: String::new(), version: (*version).into() }
            }
            ["openapi", "v3", "apis", group, version] => {
                Route::OpenApi { group: (*group).into(), version: (*version).into() }
            }
            ["api"] => Route::CoreVersions,
            ["apis"] => Route::Groups,
            ["api", version] => Route::Resources { group: String::new(), version: (*version).into() },
            ["apis", group] => Route::Group((*group).into()),
            ["apis", group, version] => {
                Route::Resources { group: (*group).into(), version: (*version).into() }
            }
            ["apis", "apiextensions.k8s.io", "v1", "customresourcedefinitions"] => Route::Definitions,
            ["apis", group, version, plural]
                if let Some(asked) = Asked::at(group, version, plural)
                    && !asked.is_namespaced =>
            {
                Route::Review(ReviewPath { asked, namespace: None })
            }
            ["apis", group, version, "namespaces", namespace, plural]
                if let Some(asked) = Asked::at(group, version, plural)
                    && asked.is_namespaced =>
            {
                Route::Review(ReviewPath { asked, namespace: Some((*namespace).to_owned()) })
            }
            ["api", version, object @ ..] => Route::Object(object_path("", version, object)?),
            ["apis", group, version, object @ ..] if !group.is_empty() => {
                Route::Object(object_path(group, version, object)?)
            }
            _ => return Err(no_such_path()),
        })
    }
}

fn object_path(group: &str, version: &str, rest: &[&str]) -> Result<ObjectPath, ApiError> {
    let find = |plural: &str| Resource::from_path(group, version, plural).ok_or_else(no_such_path);
    let (resource, namespace, rest) = match rest {
        // `namespaces/ml` and `namespaces/ml/status` are the namespace itself.
        ["namespaces"] | ["namespaces", _] | ["namespaces", _, "status"] if group.is_empty() => {
            (find("namespaces")?, None, &rest[1..])
        }
        ["namespaces", namespace, plural, rest @ ..] => {
            let resource = find(plural)?;
            if !resource.is_namespaced() {
                return Err(no_such_path());
            }
            (resource, Some((*namespace).to_owned()), rest)
        }
        [plural, rest @ ..] => {
            let resource = find(plural)?;
            // One object of a namespaced kind is named within its namespace.
            if resource.is_namespaced() && !rest.is_empty() {
                return Err(no_such_path());
            }
            (resource, None, rest)
        }
        [] => return Err(no_such_path()),
    };
    let (name, sub) = match rest {
        [] => (None, Sub::None),
        [name] => (Some((*name).to_owned()), Sub::None),
        [name, "status"] if resource.info().has_status => (Some((*name).to_owned()), Sub::Status),
        [name, "log"] if resource == Resource::Pod => (Some((*name).to_owned()), Sub::Log),
        [name, "exec"] if resource == Resource::Pod => (Some((*name).to_owned()), Sub::Exec),
        [name, "eviction"] if resource == Resource::Pod => (Some((*name).to_owned()), Sub::Eviction),
        [name, "token"] if resource == Resource::ServiceAccount => (Some((*name).to_owned()), Sub::Token),
        [name, "sandbox"] if resource == Resource::Pod => (Some((*name).to_owned()), Sub::Sandbox),
        [name, "admission"] if matches!(resource, Resource::Pod | Resource::Job | Resource::CronJob) => {
            (Some((*name).to_owned()), Sub::Admission)
        }
        [name, "attach"] if resource == Resource::Pod => (Some((*name).to_owned()), Sub::Attach),
        [name, "trigger"] if resource == Resource::CronJob => (Some((*name).to_owned()), Sub::Trigger),
        [name, "suspend"] if resource == Resource::CronJob => (Some((*name).to_owned()), Sub::Suspend),
        [name, "rollback"] if resource == Resource::DataArray => (Some((*name).to_owned()), Sub::Rollback),
        [name, "rerun"] if resource == Resource::Job => (Some((*name).to_owned()), Sub::Rerun),
        [_, sub, ..] => return Err(not_served(resource, sub).unwrap_or_else(no_such_path)),
    };
    Ok(ObjectPath { resource, namespace, name, sub })
}

/// Why a subresource that Kubernetes has is not served here, and what to do instead.
fn not_served(resource: Resource, sub: &str) -> Option<ApiError> {
    let why = match (resource, sub) {
        (Resource::Pod, "binding") => "this server binds pods itself, as there is one machine",
        (Resource::Pod, "ephemeralcontainers") => {
            "a pod takes no containers once it is made; look into it with `kubectl exec`"
        }
        (Resource::Pod, "resize") => "a pod keeps the resources it was made with; make a new one",
        (Resource::Pod, "portforward" | "proxy") => {
            "no connections are carried to pods; use `kubectl exec`, `attach` or `logs`"
        }
        (Resource::Node, "proxy") => {
            "the node has no interface of its own; ask for its pods, their logs and events"
        }
        _ => return None,
    };
    let plural = resource.info().plural;
    Some(ApiError::new(Reason::MethodNotAllowed, format!("{plural}/{sub} is not served: {why}")))
}

fn image_path(rest: &str) -> Result<ImagePath, ApiError> {
    Ok(match rest {
        "" => ImagePath::All,
        ":pull" => ImagePath::Pull,
        ":import" => ImagePath::Import,
        ":prune" => ImagePath::Prune,
        // A reference has slashes of its own, encoded or not.
        _ => match rest.strip_prefix('/').map(decode) {
            Some(Some(name)) if !name.is_empty() && name.len() <= IMAGE_BYTES_MAX => ImagePath::One(name),
            _ => return Err(no_such_path()),
        },
    })
}

/// One segment, decoded. What would not be one segment again is refused, so that no name climbs or splits.
fn segment(encoded: &str) -> Result<String, ApiError> {
    match decode(encoded) {
        Some(text)
            if !text.is_empty()
                && text.len() <= SEGMENT_BYTES_MAX
                && text != "."
                && text != ".."
                && !text.contains(['/', '%']) =>
        {
            Ok(text)
        }
        _ => Err(no_such_path()),
    }
}

/// Percent-decoding; `None` for a broken escape, for what is not UTF-8, and for control characters.
fn decode(encoded: &str) -> Option<String> {
    let text = super::query::percent_decode(encoded.as_bytes())?;
    if text.chars().any(char::is_control) { None } else { Some(text) }
}
