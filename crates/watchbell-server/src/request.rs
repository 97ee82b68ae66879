//! What a request line asks for, read without any I/O: path, query, and which form of answer the client takes.
//!
//! ```text
//!  GET /apis/batch/v1/namespaces/ml/jobs/train/status?pretty=true      Accept: application/json;as=Table;…
//!       └──────────── path::Route ───────────────┘    query::Query             accept::Answer
//! ```

pub(crate) mod accept;
pub(crate) mod content;
pub(crate) mod options;
pub(crate) mod path;
pub(crate) mod query;

use hyper::Method;
use watchbell_api::{ApiError, Reason};

pub(crate) use path::{ImagePath, KeysPath, ObjectPath, Probe, ReviewPath, Route, Sub};
pub(crate) use query::{Query, percent_decode};

/// Kubernetes' word for what a request does to a resource; what authorization and audit speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }

    /// The verb of a method on an object (with a name) or a collection (without).
    pub(crate) fn of(method: &Method, path: &ObjectPath, query: &Query) -> Result<Verb, ApiError> {
        let named = path.name.is_some();
        let verb = match *method {
            Method::GET | Method::HEAD if query.flag("watch") && path.sub == Sub::None => Verb::Watch,
            Method::GET | Method::HEAD if named => Verb::Get,
            Method::GET | Method::HEAD => Verb::List,
            Method::POST if !named || path.sub.is_posted() => Verb::Create,
            Method::PUT if named => Verb::Update,
            Method::PATCH if named => Verb::Patch,
            Method::DELETE if named => Verb::Delete,
            Method::DELETE => Verb::DeleteCollection,
            _ => return Err(method_not_allowed()),
        };
        let serves = match path.sub {
            // Objects of namespaced kinds are made and swept namespace by namespace.
            Sub::None => match verb {
                Verb::Create | Verb::DeleteCollection if path.resource.is_namespaced() => {
                    path.namespace.is_some()
                }
                _ => true,
            },
            Sub::Status => matches!(verb, Verb::Get | Verb::Update | Verb::Patch),
            Sub::Log => verb == Verb::Get,
            Sub::Eviction | Sub::Token | Sub::Trigger | Sub::Rerun | Sub::Rollback => verb == Verb::Create,
            Sub::Suspend => verb == Verb::Patch,
            Sub::Exec | Sub::Attach | Sub::Sandbox | Sub::Admission => {
                matches!(verb, Verb::Get | Verb::Create)
            }
        };
        if serves { Ok(verb) } else { Err(method_not_allowed()) }
    }
}

pub(crate) fn method_not_allowed() -> ApiError {
    ApiError::new(Reason::MethodNotAllowed, "the server does not allow this method on the requested resource")
}

/// What Kubernetes says of paths that lead nowhere.
pub(crate) fn no_such_path() -> ApiError {
    ApiError::new(Reason::NotFound, "the server could not find the requested resource")
}

#[cfg(test)]
mod tests;
