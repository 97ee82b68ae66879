//! What is asked for in a `TokenRequest`, and what becomes of it.

use serde_json::{Value, json};
use watchbell_api::error::FieldErrorClass;
use watchbell_api::{ApiError, FieldError, Resource, Uid};

use super::{Binding, BoundKind, Named, TokenIssuer, account_of};
use crate::world::{NODE_NAME, Snapshot, Stored, rfc3339};

/// What is asked for when nothing is said: an hour.
pub const LIFE_SECONDS_DEFAULT: i64 = 3600;
/// The longest that a token lives here. Whoever asks for more gets so much, and is told.
pub const LIFE_SECONDS_MAX: i64 = 24 * 3600;
const LIFE_SECONDS_MIN: i64 = 600;
/// Kubernetes' own bound of what may be asked for.
const ASKED_SECONDS_MAX: i64 = 1 << 32;
const AUDIENCES_MAX: usize = 32;
const AUDIENCE_BYTES_MAX: usize = 1024;

/// A token that may be signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Issue {
    pub binding: Binding,
    pub claims: Value,
    /// `jti`: names the token in the audit journal.
    pub id: Uid,
    /// Unix seconds.
    pub expires_at: i64,
    /// The `TokenRequest` as it is answered, but for the token itself.
    pub object: Value,
    pub warnings: Vec<String>,
}

/// Judges a `TokenRequest` for an account. The body passed the schema. `id` is fresh and random.
///
/// # Errors
/// `NotFound`, `Invalid`, `BadRequest` and `Conflict` in Kubernetes' words.
pub fn issue(
    state: &Snapshot,
    (namespace, name): (&str, &str),
    mut request: Value,
    issuer: &TokenIssuer,
    now: i64,
    id: Uid,
) -> Result<Issue, ApiError> {
    let metadata = &request["metadata"];
    for (field, expect, detail) in [
        ("name", name, "must match the service account name if specified"),
        ("namespace", namespace, "must match the service account namespace if specified"),
    ] {
        let said = metadata[field].as_str().unwrap_or_default();
        if !said.is_empty() && said != expect {
            return Err(invalid(name, &format!("metadata.{field}"), &said.into(), detail));
        }
    }
    let account = state
        .get(Resource::ServiceAccount, namespace, name)
        .filter(|account| account.deletion.is_none())
        .ok_or_else(|| ApiError::not_found(Resource::ServiceAccount, name))?;
    let spec = &request["spec"];
    let audiences = audiences(spec, issuer)?;
    let mut seconds = spec["expirationSeconds"].as_i64().unwrap_or(LIFE_SECONDS_DEFAULT);
    let wrong = |detail| Err(invalid("", "spec.expirationSeconds", &seconds.into(), detail));
    if seconds < LIFE_SECONDS_MIN {
        return wrong("may not specify a duration less than 10 minutes");
    }
    if seconds > ASKED_SECONDS_MAX {
        return wrong("may not specify a duration larger than 2^32 seconds");
    }
    let (object, node) = match spec.get("boundObjectRef") {
        Some(reference) if reference.is_object() => bound(state, (namespace, name), reference)?,
        _ => (None, None),
    };
    let mut warnings = Vec::new();
    if seconds > LIFE_SECONDS_MAX {
        warnings.push(format!(
            "requested expiration of {seconds} seconds shortened to {LIFE_SECONDS_MAX} seconds"
        ));
        seconds = LIFE_SECONDS_MAX;
    }
    let binding = Binding {
        namespace: namespace.into(),
        account: Named { name: name.into(), uid: account.uid },
        object,
        node,
    };
    let expires_at = now.saturating_add(seconds);
    let claims = claims(&binding, &issuer.url, &audiences, (now, expires_at), id);
    let metadata = &mut request["metadata"];
    if !metadata.is_object() {
        *metadata = json!({});
    }
    metadata["name"] = name.into();
    metadata["namespace"] = namespace.into();
    metadata["creationTimestamp"] = rfc3339(now).into();
    request["spec"]["audiences"] = json!(audiences);
    request["spec"]["expirationSeconds"] = seconds.into();
    request["status"] = json!({"expirationTimestamp": rfc3339(expires_at)});
    Ok(Issue { binding, claims, id, expires_at, object: request, warnings })
}

/// A token for the volume of a pod that runs here: bound to the pod, for one audience (empty: this server).
///
/// # Errors
/// As [`issue`]; `Conflict` also where the pod has ended.
pub fn issue_for_pod(
    state: &Snapshot,
    pod: (&str, &str, Uid),
    audience: &str,
    seconds: i64,
    issuer: &TokenIssuer,
    now: i64,
    id: Uid,
) -> Result<Issue, ApiError> {
    let (namespace, name, uid) = pod;
    let found = state.get(Resource::Pod, namespace, name).filter(|found| found.uid == uid);
    let found = found.ok_or_else(|| ApiError::not_found(Resource::Pod, name))?;
    super::pod_counts(found, now)
        .map_err(|ended| ApiError::conflict(Resource::Pod, name, &ended.to_string()))?;
    let account = found.pod_spec().map_or("default", |spec| account_of(spec)).to_owned();
    let audiences = if audience.is_empty() { json!([]) } else { json!([audience]) };
    let request = json!({"metadata": {}, "spec": {
        "audiences": audiences, "expirationSeconds": seconds,
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid.to_string()},
    }});
    issue(state, (namespace, &account), request, issuer, now, id)
}

fn claims(
    binding: &Binding,
    issuer: &str,
    audiences: &[String],
    (now, expires_at): (i64, i64),
    id: Uid,
) -> Value {
    json!({
        "aud": audiences, "exp": expires_at, "iat": now, "iss": issuer, "jti": id.to_string(),
        "kubernetes.io": binding.private(), "nbf": now, "sub": binding.username(),
    })
}

fn audiences(spec: &Value, issuer: &TokenIssuer) -> Result<Vec<String>, ApiError> {
    let list = spec["audiences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let list: Vec<String> = list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if list.is_empty() {
        return Ok(issuer.audiences.clone());
    }
    if list.len() > AUDIENCES_MAX {
        let detail = format!("must have at most {AUDIENCES_MAX} items");
        return Err(invalid("", "spec.audiences", &list.len().into(), &detail));
    }
    if let Some((n, wrong)) =
        list.iter().enumerate().find(|(_, one)| one.is_empty() || one.len() > AUDIENCE_BYTES_MAX)
    {
        let detail = format!("must be between 1 and {AUDIENCE_BYTES_MAX} bytes long");
        return Err(invalid("", &format!("spec.audiences[{n}]"), &wrong.len().into(), &detail));
    }
    Ok(list)
}

type Bound = (Option<(BoundKind, Named)>, Option<Named>);

/// The object of a `boundObjectRef`, and the node of a pod.
fn bound(state: &Snapshot, (namespace, account): (&str, &str), reference: &Value) -> Result<Bound, ApiError> {
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let (version, name, uid) = (text("apiVersion"), text("name"), text("uid"));
    let kind = match (version, text("kind")) {
        ("" | "v1", "Pod") => BoundKind::Pod,
        ("" | "v1", "Secret") => BoundKind::Secret,
        ("" | "v1", "Node") => BoundKind::Node,
        (_, kind) => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            return Err(ApiError::bad_request(format!(
                "cannot bind token to object of type {group}/{version}, Kind={kind}"
            )));
        }
    };
    let resource = kind.resource();
    let place = if kind == BoundKind::Node { "" } else { namespace };
    let object = state.get(resource, place, name).ok_or_else(|| ApiError::not_found(resource, name))?;
    if kind == BoundKind::Pod && object.pod_spec().is_none_or(|spec| account_of(spec) != account) {
        return Err(ApiError::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    if !uid.is_empty() && uid != object.uid.to_string() {
        let detail = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(ApiError::conflict(resource, name, &detail));
    }
    let runs = kind == BoundKind::Pod && object.pod_status().is_some_and(|s| s.scheduled_at.is_some());
    let node = if runs { state.get(Resource::Node, "", NODE_NAME) } else { None };
    Ok((Some((kind, named(object))), node.map(|node| named(node))))
}

fn named(object: &Stored) -> Named {
    Named { name: object.name.to_string(), uid: object.uid }
}

fn invalid(name: &str, field: &str, value: &Value, detail: &str) -> ApiError {
    let error = FieldError::new(FieldErrorClass::Invalid, field, value.to_string(), detail);
    ApiError::invalid_kind("TokenRequest", "authentication.k8s.io", name, &[error])
}
