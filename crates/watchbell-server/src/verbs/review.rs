//! The reviews: who asks, what he may, and what others may. They are answered by the one decision in [`crate::access`].

use std::collections::BTreeMap;

use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use watchbell_api::error::FieldErrorClass;
use watchbell_api::{ApiError, FieldError};
use watchbell_core::access::Deed;
use watchbell_core::request::User;

use super::asked::{self, Asked};
use super::write::body_object;
use crate::access;
use crate::app::Call;
use crate::body::{self, Arriving, Body};
use crate::request::ReviewPath;
use crate::request::accept::Answer;
use crate::request::options::write_options;
use crate::respond;

pub(crate) async fn review(
    call: &Call,
    user: &User,
    path: &ReviewPath,
    incoming: &mut Arriving,
) -> Result<Response<Body>, ApiError> {
    let answer = Answer::negotiate(&call.accept, &[])?;
    let mut object = body_object(call, body::read(incoming).await?).await?;
    let warnings = asked::check(&mut object, path.asked, &write_options(&call.query, None)?)?;
    let errors = errors(path, &object);
    if !errors.is_empty() {
        return Err(path.asked.invalid(&errors));
    }
    if path.asked.is_namespaced {
        object["metadata"]["namespace"] = path.namespace.clone().into();
    }
    object["status"] = status(path.asked, user, &object["spec"]);
    let mut response = respond::document(StatusCode::CREATED, answer, &object, call.gzip)?;
    respond::warn(&mut response, &warnings);
    Ok(response)
}

/// Whether any user that is known may ask this, as Kubernetes' role `system:basic-user` has it: it is about himself.
pub(crate) fn is_of_oneself(asked: &Asked) -> bool {
    asked.kind.starts_with("SelfSubject")
}

fn status(asked: &Asked, user: &User, spec: &Value) -> Value {
    match asked.kind {
        "SelfSubjectReview" => {
            json!({"userInfo": user.info()})
        }
        "SelfSubjectRulesReview" => access::rules(user),
        "SelfSubjectAccessReview" => decision(user, spec),
        _ => decision(&subject(spec), spec),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn subject(spec: &Value) -> User {
    let groups = spec["groups"].as_array().into_iter().flatten().filter_map(Value::as_str);
    User {
        name: text(spec, "user").into(),
        uid: text(spec, "uid").into(),
        groups: groups.map(str::to_owned).collect(),
        extra: extra(&spec["extra"]),
    }
}

fn extra(spec: &Value) -> BTreeMap<String, Vec<String>> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    spec.as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.to_ascii_lowercase(), texts(value)))
        .collect()
}

fn decision(user: &User, spec: &Value) -> Value {
    let attributes = &spec["resourceAttributes"];
    let deed = if attributes.is_object() {
        Deed::Resource {
            verb: text(attributes, "verb"),
            group: text(attributes, "group"),
            resource: text(attributes, "resource"),
            subresource: text(attributes, "subresource"),
            namespace: text(attributes, "namespace"),
            name: text(attributes, "name"),
        }
    } else {
        let attributes = &spec["nonResourceAttributes"];
        Deed::Path { verb: text(attributes, "verb"), path: text(attributes, "path") }
    };
    match access::decide(user, &deed) {
        Ok(()) => json!({"allowed": true}),
        Err(reason) => json!({"allowed": false, "reason": reason}),
    }
}

/// What Kubernetes' own validation says.
fn errors(path: &ReviewPath, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut invalid = |field: &str, value: &Value, detail: &str| {
        let value = if value.is_null() { "null".into() } else { value.to_string() };
        errors.push(FieldError::new(FieldErrorClass::Invalid, field, value, detail));
    };
    let spec = &object["spec"];
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let is_access = path.asked.kind.ends_with("AccessReview");
    if is_access {
        match (resource.is_null(), other.is_null()) {
            (false, false) => invalid(
                "spec.nonResourceAttributes",
                other,
                "cannot be specified in combination with resourceAttributes",
            ),
            (true, true) => invalid(
                "spec.resourceAttributes",
                &Value::Null,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ),
            _ => {}
        }
        let has_groups = spec["groups"].as_array().is_some_and(|list| !list.is_empty());
        if !is_of_oneself(path.asked) && text(spec, "user").is_empty() && !has_groups {
            invalid("spec.user", &"".into(), "at least one of user or group must be specified");
        }
    }
    if path.asked.is_namespaced {
        if !other.is_null() {
            invalid("spec.nonResourceAttributes", other, "disallowed on this kind of request");
        }
        let namespace = path.namespace.as_deref().unwrap_or_default();
        if text(resource, "namespace") != namespace {
            invalid(
                "spec.resourceAttributes.namespace",
                &resource["namespace"],
                "must match metadata.namespace",
            );
        }
    }
    if path.asked.kind == "SelfSubjectRulesReview" && text(spec, "namespace").is_empty() {
        errors.push(FieldError::new(
            FieldErrorClass::Required,
            "spec.namespace",
            "",
            "namespace is required",
        ));
    }
    errors
}
