//! What a request's body is.

use serde_json::Value;
use watchbell_api::decode::Nodes;
use watchbell_api::{ApiError, Reason, decode, protobuf};
use watchbell_core::request::PatchKind;

const PATCHES: &str = "application/json-patch+json, application/merge-patch+json, \
application/strategic-merge-patch+json, application/apply-patch+yaml";

/// The media type without its parameters, in lower case.
fn media(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Decodes an object by its content type. None given means JSON, as in Kubernetes.
pub(crate) fn object(content_type: &str, bytes: &[u8], nodes: &Nodes) -> Result<Value, ApiError> {
    match media(content_type).as_str() {
        "" | "application/json" => decode::json_within(bytes, nodes),
        "application/yaml" | "application/x-yaml" | "text/yaml" => one_document(bytes, nodes),
        // kubectl sends some objects only so (`create job --from`, `create secret`).
        protobuf::MEDIA_TYPE => protobuf::decode_within(bytes, nodes),
        other => Err(ApiError::new(
            Reason::UnsupportedMediaType,
            format!(
                "the body of the request was in an unknown format ({other}) - accepted media types include: \
                 application/json, application/yaml, application/vnd.kubernetes.protobuf"
            ),
        )),
    }
}

/// The kind of a patch is its content type.
pub(crate) fn patch(content_type: &str, bytes: &[u8], nodes: &Nodes) -> Result<(PatchKind, Value), ApiError> {
    let json = || decode::json_within(bytes, nodes);
    Ok(match media(content_type).as_str() {
        "application/json-patch+json" => (PatchKind::Json, json()?),
        "application/merge-patch+json" => (PatchKind::Merge, json()?),
        "application/strategic-merge-patch+json" => (PatchKind::StrategicMerge, json()?),
        "application/apply-patch+yaml" => (PatchKind::Apply, one_document(bytes, nodes)?),
        other => {
            return Err(ApiError::new(
                Reason::UnsupportedMediaType,
                format!(
                    "the body of the request was in an unknown format ({other}) - accepted media types include: {PATCHES}"
                ),
            ));
        }
    })
}

fn one_document(bytes: &[u8], nodes: &Nodes) -> Result<Value, ApiError> {
    let mut documents = decode::yaml_within(bytes, nodes)?;
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => Ok(document),
        (None, _) => Err(ApiError::bad_request("the body is empty: one document is needed")),
        (Some(_), false) => {
            Err(ApiError::bad_request("the body holds several documents: send one a request"))
        }
    }
}
