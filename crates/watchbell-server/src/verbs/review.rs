//! The reviews: who asks, what he may, and what others may. They are answered by the one decision that guards
//! requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use watchbell_api::error::FieldErrorClass;
use watchbell_api::{ApiError, FieldError};
use watchbell_core::access::{Decision, Deed, Rbac, not_found};
use watchbell_core::request::User;

use super::asked::{self, Asked};
use super::token;
use super::write::sent;
use crate::app::{App, Call};
use crate::body::{Arriving, Body};
use crate::request::ReviewPath;
use crate::request::accept::Answer;
use crate::request::options::write_options;
use crate::respond;

pub(crate) async fn review(
    app: &Arc<App>,
    call: &Call,
    path: &ReviewPath,
    incoming: &mut Arriving,
) -> Result<Response<Body>, ApiError> {
    let answer = Answer::negotiate(&call.accept, &[])?;
    let mut object = sent(call, incoming).await?;
    let warnings = asked::check(&mut object, path.asked, &write_options(&call.query, None)?)?;
    let errors = errors(path, &object);
    if !errors.is_empty() {
        return Err(path.asked.invalid(&errors));
    }
    if path.asked.kind == RULES && text(&object["spec"], "namespace").is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    if path.asked.is_namespaced {
        object["metadata"]["namespace"] = path.namespace.clone().into();
    }
    let snapshot = app.state.snapshot();
    object["status"] = match path.asked.kind {
        "TokenReview" => token::review(app, &object["spec"]).await,
        _ => status(path.asked, snapshot.rbac(), &call.held.user, &object["spec"]),
    };
    let mut response = respond::document(StatusCode::CREATED, answer, &object, call.gzip)?;
    respond::warn(&mut response, &warnings);
    Ok(response)
}

const RULES: &str = "SelfSubjectRulesReview";

fn status(asked: &Asked, rbac: &Rbac, user: &User, spec: &Value) -> Value {
    match asked.kind {
        "SelfSubjectReview" => json!({"userInfo": user.info()}),
        RULES => rules(rbac, user, text(spec, "namespace")),
        "SelfSubjectAccessReview" => decision(rbac, user, spec),
        _ => decision(rbac, &subject(spec), spec),
    }
}

/// As much of somebody's rules is told: as much as a large object.
const TOLD_BYTES_MAX: usize = 2 << 20;

/// All that a user may in a namespace.
fn rules(rbac: &Rbac, user: &User, namespace: &str) -> Value {
    let rights = rbac.rules_for(user, namespace, TOLD_BYTES_MAX);
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for rule in &rights.rules {
        if !rule.resources.is_empty() {
            let mut told =
                json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
            if !rule.resource_names.is_empty() {
                told["resourceNames"] = json!(rule.resource_names);
            }
            resources.push(told);
        }
        if !rule.non_resource_urls.is_empty() {
            paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
        }
    }
    let mut status =
        json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": rights.is_cut});
    let cut = rights.is_cut.then(|| "there are more rules than are told".to_owned());
    let missing = (!rights.missing.is_empty()).then(|| not_found(rights.missing.iter()));
    let errors: Vec<String> = [missing, cut].into_iter().flatten().collect();
    if !errors.is_empty() {
        status["evaluationError"] = errors.join("; ").into();
    }
    status
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

fn decision(rbac: &Rbac, user: &User, spec: &Value) -> Value {
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
    let decision = rbac.decide(user, &deed);
    let mut status = json!({"allowed": decision.is_allowed()});
    let mut add = |field: &str, text: String| {
        if !text.is_empty() {
            status[field] = text.into();
        }
    };
    add("reason", decision.reason());
    if let Decision::Denied(lack) = &decision {
        add("evaluationError", lack.reason());
    }
    status
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
        if !path.asked.kind.starts_with("SelfSubject") && text(spec, "user").is_empty() && !has_groups {
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
    if path.asked.kind == "TokenReview" && text(spec, "token").is_empty() {
        let detail = "token is required for TokenReview in authentication";
        errors.push(FieldError::new(FieldErrorClass::Required, "spec.token", "", detail));
    }
    errors.extend(selector_errors(&resource["fieldSelector"], "spec.resourceAttributes.fieldSelector"));
    errors.extend(selector_errors(&resource["labelSelector"], "spec.resourceAttributes.labelSelector"));
    errors
}

/// Selectors of a review (KEP-4601) are checked and do not widen a right: rules here know no selectors, so a deed within one is
/// decided as one without. Operators that are not known are let pass, as in Kubernetes.
fn selector_errors(selector: &Value, path: &str) -> Vec<FieldError> {
    if !selector.is_object() {
        return Vec::new();
    }
    let raw = text(selector, "rawSelector");
    let requirements = selector["requirements"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut errors = Vec::new();
    let mut add = |class, field: String, value: String, detail: String| {
        errors.push(FieldError::new(class, format!("{path}.{field}"), value, detail));
    };
    match (raw.is_empty(), requirements.is_empty()) {
        (false, false) => add(
            FieldErrorClass::Invalid,
            "rawSelector".into(),
            format!("{raw:?}"),
            "may not specified at the same time as requirements".into(),
        ),
        (true, true) => add(
            FieldErrorClass::Required,
            "requirements".into(),
            String::new(),
            format!("when {path} is specified, requirements or rawSelector is required"),
        ),
        _ => {}
    }
    for (place, requirement) in requirements.iter().enumerate() {
        let has_values = requirement["values"].as_array().is_some_and(|list| !list.is_empty());
        if text(requirement, "key").is_empty() {
            let field = format!("requirements[{place}].key");
            add(FieldErrorClass::Required, field, String::new(), "must be specified".into());
        }
        let values = format!("requirements[{place}].values");
        match text(requirement, "operator") {
            "In" | "NotIn" if !has_values => add(
                FieldErrorClass::Required,
                values,
                String::new(),
                "must be specified when `operator` is 'In' or 'NotIn'".into(),
            ),
            "Exists" | "DoesNotExist" if has_values => add(
                FieldErrorClass::Forbidden,
                values,
                String::new(),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'".into(),
            ),
            _ => {}
        }
    }
    errors
}
