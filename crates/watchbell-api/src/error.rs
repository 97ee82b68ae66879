//! Refusals as Kubernetes words them: one error type that becomes a `Status` object.
//!
//! Source: `k8s.io/apimachinery/pkg/api/errors` and `metav1.Status` of the API reference.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Value, json};

/// The machine-readable reason of a `Status`, with its HTTP code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    Invalid,
    MethodNotAllowed,
    NotAcceptable,
    UnsupportedMediaType,
    RequestEntityTooLarge,
    TooManyRequests,
    InternalError,
    ServiceUnavailable,
    Timeout,
    InsufficientStorage,
}

impl Reason {
    /// The HTTP status code that carries this reason.
    pub fn code(self) -> u16 {
        match self {
            Reason::BadRequest => 400,
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Gone | Reason::Expired => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::InternalError => 500,
            Reason::ServiceUnavailable => 503,
            Reason::Timeout => 504,
            Reason::InsufficientStorage => 507,
        }
    }

    /// The word in `status.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::BadRequest => "BadRequest",
            Reason::Unauthorized => "Unauthorized",
            Reason::Forbidden => "Forbidden",
            Reason::NotFound => "NotFound",
            Reason::AlreadyExists => "AlreadyExists",
            Reason::Conflict => "Conflict",
            Reason::Gone => "Gone",
            Reason::Expired => "Expired",
            Reason::Invalid => "Invalid",
            Reason::MethodNotAllowed => "MethodNotAllowed",
            Reason::NotAcceptable => "NotAcceptable",
            Reason::UnsupportedMediaType => "UnsupportedMediaType",
            Reason::RequestEntityTooLarge => "RequestEntityTooLarge",
            Reason::TooManyRequests => "TooManyRequests",
            Reason::InternalError => "InternalError",
            Reason::ServiceUnavailable => "ServiceUnavailable",
            Reason::Timeout => "Timeout",
            Reason::InsufficientStorage => "InsufficientStorage",
        }
    }
}

/// One wrong field: where, of which class, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// `spec.template.spec.containers[0].image`
    pub field: String,
    pub class: FieldErrorClass,
    /// What follows the class and the value: `must be no more than 52 characters`.
    pub detail: String,
    /// The offending value as Kubernetes prints it, already shortened; empty when none is shown.
    pub value: String,
}

/// `field.ErrorType` of apimachinery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldErrorClass {
    Required,
    Invalid,
    Duplicate,
    Forbidden,
    NotSupported,
    TooLong,
    TooMany,
    TypeInvalid,
    NotFound,
    Internal,
}

impl FieldErrorClass {
    /// The `reason` of the cause.
    pub fn cause_reason(self) -> &'static str {
        match self {
            FieldErrorClass::Required => "FieldValueRequired",
            FieldErrorClass::Invalid => "FieldValueInvalid",
            FieldErrorClass::Duplicate => "FieldValueDuplicate",
            FieldErrorClass::Forbidden => "FieldValueForbidden",
            FieldErrorClass::NotSupported => "FieldValueNotSupported",
            FieldErrorClass::TooLong => "FieldValueTooLong",
            FieldErrorClass::TooMany => "FieldValueTooMany",
            FieldErrorClass::TypeInvalid => "FieldValueTypeInvalid",
            FieldErrorClass::NotFound => "FieldValueNotFound",
            FieldErrorClass::Internal => "InternalError",
        }
    }

    fn words(self) -> &'static str {
        match self {
            FieldErrorClass::Required => "Required value",
            FieldErrorClass::Invalid | FieldErrorClass::TypeInvalid => "Invalid value",
            FieldErrorClass::Duplicate => "Duplicate value",
            FieldErrorClass::Forbidden => "Forbidden",
            FieldErrorClass::NotSupported => "Unsupported value",
            FieldErrorClass::TooLong => "Too long",
            FieldErrorClass::TooMany => "Too many",
            FieldErrorClass::NotFound => "Not found",
            FieldErrorClass::Internal => "Internal error",
        }
    }
}

impl FieldError {
    pub fn new(
        class: FieldErrorClass,
        field: impl Into<String>,
        value: impl Into<String>,
        detail: impl Into<String>,
    ) -> FieldError {
        FieldError { field: field.into(), class, detail: detail.into(), value: value.into() }
    }

    /// The text without the field's path, as it stands in a cause's `message`.
    pub fn body(&self) -> String {
        self.words([&self.value, &self.detail])
    }

    /// All of it but the value, which may be a secret.
    fn without_value(&self) -> String {
        format!("{}: {}", self.field, self.words(["", &self.detail]))
    }

    fn words(&self, parts: [&str; 2]) -> String {
        let mut text = String::from(self.class.words());
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            text.push_str(": ");
            text.push_str(part);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// A cause in `status.details.causes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

/// What a client is told when a request is refused.
///
/// `message` is for the outside; what must stay inside (host paths, secrets) goes to the server's own log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub reason: Reason,
    pub message: String,
    /// `details.name`, `details.kind` (the plural resource or the kind, as Kubernetes does it) and `details.group`.
    pub name: String,
    pub kind: String,
    pub group: String,
    pub causes: Vec<Cause>,
    /// The message without the values that were refused.
    valueless: Option<Box<str>>,
    pub retry_after_seconds: Option<u32>,
    /// `metadata.continue`: where a list may go on that cannot go on as it began.
    pub list_continue: Option<String>,
}

impl ApiError {
    pub fn new(reason: Reason, message: impl Into<String>) -> ApiError {
        ApiError {
            reason,
            message: message.into(),
            name: String::new(),
            kind: String::new(),
            group: String::new(),
            causes: Vec::new(),
            valueless: None,
            retry_after_seconds: None,
            list_continue: None,
        }
    }

    /// What may be kept for ever: the message, but of what is wrong in an object the fields without their values.
    pub fn to_keep(&self) -> Cow<'_, str> {
        if let Some(message) = &self.valueless {
            return Cow::Borrowed(message);
        }
        let is_about_content = matches!(self.reason, Reason::BadRequest | Reason::Invalid);
        if !is_about_content || self.causes.is_empty() {
            return Cow::Borrowed(&self.message);
        }
        let fields: Vec<&str> = self.causes.iter().map(|cause| &*cause.field).collect();
        Cow::Owned(format!("{} {:?} is wrong in {}", self.kind, self.name, fields.join(", ")))
    }

    /// Names the object: `details.kind` and `details.group` in the words of the resource.
    #[must_use]
    pub fn about(mut self, kind: &str, group: &str, name: &str) -> ApiError {
        self.kind = kind.into();
        self.group = group.into();
        self.name = short(name).into();
        self
    }

    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(Reason::BadRequest, message)
    }

    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(Reason::InternalError, message)
    }

    /// `jobs.batch "x" not found`
    pub fn not_found(resource: crate::Resource, name: &str) -> ApiError {
        let (info, name) = (resource.info(), &*short(name));
        ApiError::new(Reason::NotFound, format!("{} {name:?} not found", info.qualified())).about(
            info.plural,
            info.group,
            name,
        )
    }

    /// `jobs.batch "x" already exists`
    pub fn already_exists(resource: crate::Resource, name: &str) -> ApiError {
        let (info, name) = (resource.info(), &*short(name));
        ApiError::new(Reason::AlreadyExists, format!("{} {name:?} already exists", info.qualified())).about(
            info.plural,
            info.group,
            name,
        )
    }

    /// `Operation cannot be fulfilled on jobs.batch "x": …`
    pub fn conflict(resource: crate::Resource, name: &str, detail: &str) -> ApiError {
        let (info, name) = (resource.info(), &*short(name));
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {detail}", info.qualified());
        ApiError::new(Reason::Conflict, message).about(info.plural, info.group, name)
    }

    /// `jobs.batch "x" is forbidden: …`
    pub fn forbidden(resource: crate::Resource, name: &str, detail: &str) -> ApiError {
        let (info, name) = (resource.info(), &*short(name));
        ApiError::new(Reason::Forbidden, format!("{} {name:?} is forbidden: {detail}", info.qualified()))
            .about(info.plural, info.group, name)
    }

    /// `Job.batch "x" is invalid: spec.completions: Invalid value: -1: must be greater than or equal to 0`
    pub fn invalid(resource: crate::Resource, name: &str, errors: &[FieldError]) -> ApiError {
        let info = resource.info();
        ApiError::invalid_kind(info.kind, info.group, &short(name), errors)
    }

    /// As [`ApiError::invalid`], of a kind that is no resource of its own.
    pub fn invalid_kind(kind: &str, group: &str, name: &str, errors: &[FieldError]) -> ApiError {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let message = |told: fn(&FieldError) -> String| {
            let list = match errors {
                [one] => told(one),
                many => format!("[{}]", many.iter().map(told).collect::<Vec<String>>().join(", ")),
            };
            format!("{qualified} {name:?} is invalid: {list}")
        };
        let mut error =
            ApiError::new(Reason::Invalid, message(FieldError::to_string)).about(kind, group, name);
        error.valueless = Some(message(FieldError::without_value).into());
        error.causes = errors
            .iter()
            .map(|e| Cause {
                reason: e.class.cause_reason().into(),
                message: e.body(),
                field: e.field.clone(),
            })
            .collect();
        error
    }

    /// The `Status` object of the wire.
    pub fn to_status(&self) -> Value {
        let mut details = serde_json::Map::new();
        for (key, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind)] {
            if !text.is_empty() {
                details.insert(key.into(), Value::String(text.clone()));
            }
        }
        if !self.causes.is_empty() {
            let causes = self
                .causes
                .iter()
                .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
                .collect();
            details.insert("causes".into(), Value::Array(causes));
        }
        if let Some(seconds) = self.retry_after_seconds {
            details.insert("retryAfterSeconds".into(), seconds.into());
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason.as_str(),
        });
        if let Some(token) = &self.list_continue {
            status["metadata"]["continue"] = token.clone().into();
        }
        if !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status["code"] = self.reason.code().into();
        status
    }
}

/// A name as it is shown: no valid one is longer, and a hostile one need not fill the answer.
fn short(name: &str) -> Cow<'_, str> {
    const SHOWN_MAX: usize = crate::name::SUBDOMAIN_LENGTH_MAX;
    match name.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &name[..end]).into(),
        None => name.into(),
    }
}
