//! Kinds that are asked and answered, and never stored: evictions, tokens, and the reviews of who is who and may what.

use serde_json::Value;
use watchbell_api::resource::Scope;
use watchbell_api::schema::{Prune, Table, check_type};
use watchbell_api::{ApiError, FieldError, openapi};
use watchbell_core::request::{FieldValidation, WriteOptions};

/// One kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    /// As the path has it; empty for a subresource of another.
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) is_namespaced: bool,
}

impl Asked {
    const fn cluster(
        group: &'static str,
        kind: &'static str,
        plural: &'static str,
        singular: &'static str,
    ) -> Asked {
        Asked { group, version: "v1", kind, plural, singular, is_namespaced: false }
    }

    pub(crate) fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// The kind at a path.
    pub(crate) fn at(group: &str, version: &str, plural: &str) -> Option<&'static Asked> {
        REVIEWS.iter().find(|a| (a.group, a.version, a.plural) == (group, version, plural))
    }

    /// As OpenAPI tells it.
    pub(crate) fn described(&self) -> openapi::Asked {
        let Asked { group, version, kind, plural, .. } = *self;
        let scope = if self.is_namespaced { Scope::Namespaced } else { Scope::Cluster };
        openapi::Asked { group, version, kind, plural, scope }
    }

    /// A refusal for fields that are wrong.
    pub(crate) fn invalid(&self, errors: &[FieldError]) -> ApiError {
        ApiError::invalid_kind(self.kind, self.group, "", errors)
    }
}

pub(crate) const EVICTION: Asked =
    Asked { group: "policy", version: "v1", kind: "Eviction", plural: "", singular: "", is_namespaced: true };

/// What `serviceaccounts/token` takes.
pub(crate) const TOKEN_REQUEST: Asked = Asked {
    group: AUTHENTICATION,
    version: "v1",
    kind: "TokenRequest",
    plural: "",
    singular: "",
    is_namespaced: true,
};

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

pub(crate) const REVIEWS: [Asked; 6] = [
    Asked::cluster(AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview"),
    Asked::cluster(AUTHENTICATION, "TokenReview", "tokenreviews", "tokenreview"),
    Asked {
        is_namespaced: true,
        ..Asked::cluster(
            AUTHORIZATION,
            "LocalSubjectAccessReview",
            "localsubjectaccessreviews",
            "localsubjectaccessreview",
        )
    },
    Asked::cluster(
        AUTHORIZATION,
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
    ),
    Asked::cluster(
        AUTHORIZATION,
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
    ),
    Asked::cluster(AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview"),
];

/// Looks whether a body is what its path asks for. What it does not say of itself is filled in; what to warn about comes
/// back.
pub(crate) fn check(
    object: &mut Value,
    asked: &Asked,
    options: &WriteOptions,
) -> Result<Vec<String>, ApiError> {
    let Asked { kind, version, .. } = asked;
    let api_version = asked.api_version();
    let map = object.as_object_mut().ok_or_else(|| ApiError::bad_request("the body is not a JSON object"))?;
    for (field, expect) in [("kind", *kind), ("apiVersion", &api_version)] {
        let value = map.entry(field).or_insert(Value::Null);
        if value.is_null() || value == "" {
            *value = expect.into();
        }
        if value != expect {
            return Err(ApiError::bad_request(format!(
                "the {field} in the body is {value}, and the path takes {kind} of {api_version}"
            )));
        }
    }
    let id = Table::get()
        .find_kind(asked.group, version, kind)
        .ok_or_else(|| ApiError::internal(format!("the schema lacks {kind} of {api_version}")))?;
    let report = check_type(id, object, Prune::Unknown);
    if !report.type_errors.is_empty() {
        let list: Vec<String> = report.type_errors.iter().map(ToString::to_string).collect();
        return Err(ApiError::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {}",
            list.join("; ")
        )));
    }
    let unknown: Vec<String> = report.unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
    match options.field_validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(unknown),
        FieldValidation::Strict if unknown.is_empty() => Ok(Vec::new()),
        FieldValidation::Strict => {
            Err(ApiError::bad_request(format!("strict decoding error: {}", unknown.join(", "))))
        }
    }
}
