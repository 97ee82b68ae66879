//! The options of Kubernetes' meta/v1: `ListOptions`, `CreateOptions`, `PatchOptions`, `DeleteOptions`.

use serde_json::Value;
use watchbell_api::error::FieldErrorClass;
use watchbell_api::{ApiError, Cause, FieldError, Reason};
use watchbell_core::request::{
    DeleteOptions, DryRun, FieldValidation, Force, PatchKind, Propagation, WriteOptions,
};

use super::Query;

/// How long the name of a manager may be.
pub(crate) const FIELD_MANAGER_BYTES_MAX: usize = 128;

/// What a list or a watch is restricted to and starts from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ListOptions {
    pub(crate) label_selector: String,
    pub(crate) field_selector: String,
    /// 0: all.
    pub(crate) limit: usize,
    pub(crate) continue_token: Option<String>,
    pub(crate) version: Version,
    pub(crate) is_exact: bool,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial_events: Option<bool>,
    pub(crate) timeout_seconds: Option<u64>,
}

/// `resourceVersion`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Version {
    /// Not given: the newest.
    #[default]
    Unset,
    /// `0`: any.
    Any,
    At(u64),
}

fn invalid(kind: &str, errors: &[FieldError]) -> ApiError {
    let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let text = if list.len() == 1 { list.concat() } else { format!("[{}]", list.join(", ")) };
    let message = format!("{kind}.meta.k8s.io \"\" is invalid: {text}");
    let mut error = ApiError::new(Reason::Invalid, message).about(kind, "meta.k8s.io", "");
    error.causes = errors
        .iter()
        .map(|e| Cause { reason: e.class.cause_reason().into(), message: e.body(), field: e.field.clone() })
        .collect();
    error
}

fn forbidden(field: &str, detail: &str) -> FieldError {
    FieldError::new(FieldErrorClass::Forbidden, field, "", detail)
}

/// A version as clients hand it back; they never make one up.
pub(crate) fn read_version(text: Option<&str>) -> Result<Version, ApiError> {
    match text {
        None => Ok(Version::Unset),
        Some("0") => Ok(Version::Any),
        Some(text) => text.parse().map(Version::At).map_err(|_| {
            ApiError::bad_request(format!(
                "invalid resource version {text:?}: use one that this server gave, or leave it out"
            ))
        }),
    }
}

impl ListOptions {
    pub(crate) fn read(query: &Query, is_watch: bool) -> Result<ListOptions, ApiError> {
        let text = |key: &str| query.get(key).unwrap_or_default().to_owned();
        let version = read_version(query.get("resourceVersion"))?;
        let matching = query.get("resourceVersionMatch");
        let send_initial_events = query.switch("sendInitialEvents");
        let continue_token = query.get("continue").map(str::to_owned);
        let mut errors = Vec::new();
        match matching {
            None | Some("Exact" | "NotOlderThan") => {}
            Some(other) => errors.push(FieldError::new(
                FieldErrorClass::NotSupported,
                "resourceVersionMatch",
                format!("{other:?}"),
                "supported values: \"Exact\", \"NotOlderThan\"",
            )),
        }
        if is_watch {
            match (send_initial_events, matching) {
                (Some(_), Some("NotOlderThan")) => {}
                (Some(_), _) => errors.push(forbidden(
                    "resourceVersionMatch",
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                )),
                (None, Some(_)) => errors.push(forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                )),
                (None, None) => {}
            }
        } else {
            if send_initial_events.is_some() {
                errors.push(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
            }
            if matching.is_some() && version == Version::Unset {
                errors.push(forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            if matching.is_some() && continue_token.is_some() {
                errors.push(forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
            if matching == Some("Exact") && version == Version::Any {
                errors.push(forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
        }
        if !errors.is_empty() {
            return Err(invalid("ListOptions", &errors));
        }
        if continue_token.is_some() && matches!(version, Version::At(_)) {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let limit = query.integer("limit")?.unwrap_or(0);
        Ok(ListOptions {
            label_selector: text("labelSelector"),
            field_selector: text("fieldSelector"),
            limit: usize::try_from(limit).unwrap_or(0),
            continue_token,
            version,
            is_exact: matching == Some("Exact"),
            bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events,
            timeout_seconds: query
                .integer("timeoutSeconds")?
                .and_then(|s| u64::try_from(s).ok())
                .filter(|s| *s > 0),
        })
    }
}

/// The options of a change. `patch` is set for a patch.
pub(crate) fn write_options(query: &Query, patch: Option<PatchKind>) -> Result<WriteOptions, ApiError> {
    let kind = if patch.is_some() { "PatchOptions" } else { "CreateOptions" };
    let mut errors = Vec::new();
    let dry_run = read_dry_run(query.all("dryRun"), &mut errors);
    let field_validation = match query.get("fieldValidation") {
        None | Some("Warn") => FieldValidation::Warn,
        Some("Strict") => FieldValidation::Strict,
        Some("Ignore") => FieldValidation::Ignore,
        Some(other) => {
            errors.push(FieldError::new(
                FieldErrorClass::NotSupported,
                "fieldValidation",
                format!("{other:?}"),
                "supported values: \"Ignore\", \"Strict\", \"Warn\"",
            ));
            FieldValidation::Warn
        }
    };
    let manager = query.get("fieldManager").unwrap_or_default();
    if manager.len() > FIELD_MANAGER_BYTES_MAX {
        errors.push(FieldError::new(
            FieldErrorClass::TooLong,
            "fieldManager",
            "",
            "may not be more than 128 bytes",
        ));
    }
    if manager.chars().any(char::is_control) {
        errors.push(FieldError::new(
            FieldErrorClass::Invalid,
            "fieldManager",
            format!("{manager:?}"),
            "should only contain printable characters",
        ));
    }
    let force = query.switch("force");
    match patch {
        Some(PatchKind::Apply) if manager.is_empty() => errors.push(FieldError::new(
            FieldErrorClass::Required,
            "fieldManager",
            "",
            "is required for apply patch",
        )),
        Some(PatchKind::Apply) => {}
        _ if force.is_some() => errors.push(forbidden("force", "may not be specified for non-apply patch")),
        _ => {}
    }
    if !errors.is_empty() {
        return Err(invalid(kind, &errors));
    }
    Ok(WriteOptions {
        dry_run,
        field_manager: manager.into(),
        field_validation,
        force: if force == Some(true) { Force::Yes } else { Force::No },
    })
}

/// Refuses a trial of what has none: nobody who asks for one may find that it was done. `what` is it.
pub(crate) fn refuse_dry_run(query: &Query, what: &str) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    let dry_run = read_dry_run(query.all("dryRun"), &mut errors);
    if !errors.is_empty() {
        return Err(invalid("CreateOptions", &errors));
    }
    match dry_run {
        DryRun::No => Ok(()),
        DryRun::All => Err(no_dry_run(what)),
    }
}

pub(crate) fn no_dry_run(what: &str) -> ApiError {
    ApiError::bad_request(format!(
        "dryRun is not supported for {what}, and nothing was done: leave dryRun out to do it"
    ))
}

fn read_dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut Vec<FieldError>) -> DryRun {
    let mut dry_run = DryRun::No;
    for value in values {
        if value == "All" {
            dry_run = DryRun::All;
        } else {
            errors.push(FieldError::new(
                FieldErrorClass::NotSupported,
                "dryRun",
                format!("{value:?}"),
                "supported values: \"All\"",
            ));
        }
    }
    dry_run
}

/// The options of a deletion: the body's when there is one, else the query's.
pub(crate) fn delete_options(
    query: &Query,
    body: Option<&Value>,
) -> Result<(DeleteOptions, DryRun), ApiError> {
    match body {
        Some(body) => delete_options_of_body(body),
        None => {
            let mut errors = Vec::new();
            let dry_run = read_dry_run(query.all("dryRun"), &mut errors);
            let propagation = read_propagation(
                query.get("propagationPolicy"),
                query.switch("orphanDependents"),
                &mut errors,
            );
            if !errors.is_empty() {
                return Err(invalid("DeleteOptions", &errors));
            }
            let options = DeleteOptions {
                grace_period_seconds: query.integer("gracePeriodSeconds")?,
                propagation_policy: propagation,
                ..DeleteOptions::default()
            };
            check_grace(options.grace_period_seconds)?;
            Ok((options, dry_run))
        }
    }
}

fn delete_options_of_body(body: &Value) -> Result<(DeleteOptions, DryRun), ApiError> {
    let wrong = |field: &str, needed: &str| {
        ApiError::bad_request(format!("DeleteOptions cannot be handled: {field} must be {needed}"))
    };
    let map = body.as_object().ok_or_else(|| wrong("the body", "a JSON object"))?;
    if let Some(kind) = map.get("kind").and_then(Value::as_str)
        && kind != "DeleteOptions"
    {
        return Err(ApiError::bad_request(format!("the body of a deletion is DeleteOptions, not {kind:?}")));
    }
    let given = |field: &str| map.get(field).filter(|v| !v.is_null());
    let grace_period_seconds = match given("gracePeriodSeconds") {
        None => None,
        Some(value) => Some(value.as_i64().ok_or_else(|| wrong("gracePeriodSeconds", "a whole number"))?),
    };
    check_grace(grace_period_seconds)?;
    let mut errors = Vec::new();
    let policy = match given("propagationPolicy") {
        None => None,
        Some(value) => Some(value.as_str().ok_or_else(|| wrong("propagationPolicy", "a string"))?),
    };
    let orphan = match given("orphanDependents") {
        None => None,
        Some(value) => Some(value.as_bool().ok_or_else(|| wrong("orphanDependents", "true or false"))?),
    };
    let propagation_policy = read_propagation(policy, orphan, &mut errors);
    let dry_run = match given("dryRun") {
        None => DryRun::No,
        Some(value) => {
            let list = value.as_array().ok_or_else(|| wrong("dryRun", "a list"))?;
            let list = list
                .iter()
                .map(|v| v.as_str().ok_or_else(|| wrong("dryRun", "a list of strings")))
                .collect::<Result<Vec<&str>, ApiError>>()?;
            read_dry_run(list.into_iter(), &mut errors)
        }
    };
    let precondition = |field: &str| match given("preconditions").and_then(|p| p.get(field)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(&format!("preconditions.{field}"), "a string")),
    };
    let (precondition_uid, precondition_resource_version) =
        (precondition("uid")?, precondition("resourceVersion")?);
    if !errors.is_empty() {
        return Err(invalid("DeleteOptions", &errors));
    }
    let options = DeleteOptions {
        grace_period_seconds,
        propagation_policy,
        precondition_uid,
        precondition_resource_version,
    };
    Ok((options, dry_run))
}

fn check_grace(seconds: Option<i64>) -> Result<(), ApiError> {
    match seconds {
        // Kubernetes takes a negative period as one second.
        Some(s) if s > i64::from(u32::MAX) => {
            Err(ApiError::bad_request(format!("gracePeriodSeconds is {s}: at most {} are taken", u32::MAX)))
        }
        _ => Ok(()),
    }
}

fn read_propagation(
    policy: Option<&str>,
    orphan: Option<bool>,
    errors: &mut Vec<FieldError>,
) -> Option<Propagation> {
    if policy.is_some() && orphan.is_some() {
        errors.push(FieldError::new(
            FieldErrorClass::Invalid,
            "propagationPolicy",
            format!("{:?}", policy.unwrap_or_default()),
            "orphanDependents and deletionPropagation cannot be both set",
        ));
    }
    match (policy, orphan) {
        (Some("Background"), _) => Some(Propagation::Background),
        (Some("Foreground"), _) => Some(Propagation::Foreground),
        (Some("Orphan"), _) => Some(Propagation::Orphan),
        (Some(other), _) => {
            errors.push(FieldError::new(
                FieldErrorClass::NotSupported,
                "propagationPolicy",
                format!("{other:?}"),
                "supported values: \"Background\", \"Foreground\", \"Orphan\"",
            ));
            None
        }
        (None, Some(true)) => Some(Propagation::Orphan),
        (None, Some(false)) => Some(Propagation::Background),
        (None, None) => None,
    }
}
