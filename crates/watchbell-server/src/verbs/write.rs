//! POST, PUT, PATCH, DELETE: read the body, hand the change to the writer, answer when it is durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use watchbell_api::{ApiError, Reason, Resource};
use watchbell_core::request::{
    DeleteOptions, DryRun, Outcome, Page, PatchKind, Request, Subresource, Write, WriteOptions, Written,
};

use super::{asked, issue, run};
use crate::app::{App, Call};
use crate::body::{Arriving, Body};
use crate::hub;
use crate::pins::Token;
use crate::present::{self, Include};
use crate::request::accept::{Answer, Shape};
use crate::request::options::{FIELD_MANAGER_BYTES_MAX, ListOptions, Version, delete_options, write_options};
use crate::request::{ObjectPath, Sub, Verb, content};
use crate::respond;

pub(crate) async fn write(
    app: &Arc<App>,
    call: &Call,
    verb: Verb,
    path: &ObjectPath,
    incoming: &mut Arriving,
) -> Result<Response<Body>, ApiError> {
    let user = call.held.user.clone();
    let answer = Answer::negotiate(&call.accept, &[Shape::Table, Shape::Metadata])?;
    let include = Include::read(&call.query)?;
    if let Some(coding) = &call.content_encoding {
        return Err(ApiError::new(
            Reason::UnsupportedMediaType,
            format!("the body is encoded as {coding:?}: send it as it is"),
        ));
    }
    let bytes = whole_body(call, incoming).await?;
    let body_hash = app.state.body_hash(path, &call.audit_id, &bytes);
    let mut body_warnings = Vec::new();
    let mut secret = None;
    let is_revocation = path.resource == Resource::CertificateRevocation;
    if let (true, Some(name)) = (is_revocation, &path.name) {
        // By an apply that makes it.
        issue::refuse_own_revocation(call, name)?;
    }
    let (write, options) = match verb {
        Verb::Create if path.sub == Sub::Eviction => {
            let object = body_object(call, bytes).await?;
            eviction(call, path, object, &mut body_warnings)?
        }
        Verb::Create if path.resource.is_issued() => {
            let mut object = body_object(call, bytes).await?;
            fill_kind(path, &mut object);
            let made = issue::make(app, &user, path.resource, &object)?;
            secret = made.secret;
            (Write::Issue { object, issued: made.kept }, write_options(&call.query, None)?)
        }
        Verb::Create if path.sub == Sub::Trigger => {
            let object = optional_object(call, bytes).await?;
            (run::trigger(object.as_ref())?, write_options(&call.query, None)?)
        }
        Verb::Create if path.sub == Sub::Rerun => {
            let object = optional_object(call, bytes).await?;
            (run::rerun(object.as_ref())?, write_options(&call.query, None)?)
        }
        Verb::Create if path.sub == Sub::Rollback => {
            let object = optional_object(call, bytes).await?;
            (run::rollback(object.as_ref())?, write_options(&call.query, None)?)
        }
        Verb::Patch if path.sub == Sub::Suspend => {
            let (kind, body) = patch(call, bytes).await?;
            (run::suspend(kind, &body)?, write_options(&call.query, None)?)
        }
        Verb::Create | Verb::Update => {
            let mut object = body_object(call, bytes).await?;
            fill_kind(path, &mut object);
            if is_revocation {
                issue::refuse_own_revocation(call, issue::name(&object))?;
            }
            let write = if verb == Verb::Create { Write::Create(object) } else { Write::Update(object) };
            (write, write_options(&call.query, None)?)
        }
        Verb::Patch => {
            let (kind, body) = patch(call, bytes).await?;
            (Write::Patch { kind, body }, write_options(&call.query, Some(kind))?)
        }
        Verb::Delete | Verb::DeleteCollection => {
            let body = optional_object(call, bytes).await?;
            let (options, dry_run) = delete_options(&call.query, body.as_ref())?;
            let write = if verb == Verb::Delete {
                Write::Delete(options)
            } else {
                let list = ListOptions::read(&call.query, false)?;
                Write::DeleteCollection {
                    options,
                    page: page(app, &list)?,
                    label_selector: list.label_selector,
                    field_selector: list.field_selector,
                }
            };
            (write, WriteOptions { dry_run, ..WriteOptions::default() })
        }
        Verb::Get | Verb::List | Verb::Watch => return Err(crate::request::method_not_allowed()),
    };
    let options = WriteOptions {
        field_manager: match options.field_manager {
            manager if manager.is_empty() => manager_of_agent(&call.user_agent),
            manager => manager,
        },
        ..options
    };
    let request = Request {
        user,
        resource: path.resource,
        namespace: path.namespace.clone().unwrap_or_default(),
        name: path.name.clone().unwrap_or_default(),
        subresource: match path.sub {
            Sub::Status => Subresource::Status,
            Sub::Eviction => Subresource::Eviction,
            Sub::Trigger => Subresource::Trigger,
            Sub::Suspend => Subresource::Suspend,
            Sub::Rerun => Subresource::Rerun,
            Sub::Rollback => Subresource::Rollback,
            Sub::None | Sub::Log | Sub::Token | Sub::Exec | Sub::Attach | Sub::Sandbox | Sub::Admission => {
                Subresource::None
            }
        },
        write,
        options,
        audit_id: call.audit_id.clone(),
        impersonation: call.held.impersonation.clone(),
        body_hash,
        received: Some(call.received),
    };
    call.recorded.store(true, Ordering::Relaxed);
    let dry_run = request.options.dry_run;
    let Written { mut object, outcome, warnings } = app.state.write_with(request, &call.intake).await?;
    if let Some(secret) = secret
        && dry_run == DryRun::No
    {
        // The only time that anybody sees it.
        object["status"]["token"] = secret.token(issue::name(&object)).into();
    }
    if dry_run == DryRun::All
        && outcome == Outcome::Created
        && path.resource.is_issued()
        && let Some(object) = object.as_object_mut()
    {
        // Nothing is recorded of it, so nothing is given out.
        object.shift_remove("status");
    }
    if verb == Verb::DeleteCollection {
        set_continue(&mut object);
    }
    let code = match outcome {
        Outcome::Created => StatusCode::CREATED,
        Outcome::Done => StatusCode::OK,
    };
    // A trigger and a rerun answer with the Job that they made.
    let made = if matches!(path.sub, Sub::Trigger | Sub::Rerun) { Resource::Job } else { path.resource };
    let shown = present::one(made, answer.shape, include, object, Timestamp::now().as_second());
    let mut response = respond::document(code, answer, &shown, call.gzip)?;
    respond::warn(&mut response, &[body_warnings, warnings].concat());
    Ok(response)
}

/// Which part of a collection goes. It is chosen from the newest state, and who wants an older one is refused: what came
/// since would go too.
fn page(app: &App, list: &ListOptions) -> Result<Page, ApiError> {
    if let Version::At(version) = list.version {
        if list.is_exact {
            return Err(ApiError::bad_request(
                "resourceVersionMatch=Exact is not supported for the deletion of a collection: leave it out, or delete the \
                 objects one by one with preconditions",
            ));
        }
        hub::require_reached(version, app.state.snapshot().resource_version())?;
    }
    let start_after = match list.continue_token.as_deref().map(Token::decode).transpose()? {
        None => None,
        Some(Token { version: None, namespace, name }) => Some((namespace, name)),
        Some(Token { version: Some(_), .. }) => {
            return Err(ApiError::bad_request(
                "this continue token is of a list, whose state may be an older one: use the token that the deletion of a \
                 collection gave, or leave it out",
            ));
        }
    };
    Ok(Page { limit: list.limit, start_after })
}

/// The token with which the rest of a collection is deleted, if there is a rest.
fn set_continue(list: &mut Value) {
    let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
    if list["metadata"]["remainingItemCount"].is_u64()
        && let Some(last) = list["items"].as_array().and_then(|items| items.last())
    {
        let last = &last["metadata"];
        let token = Token { version: None, namespace: text(last, "namespace"), name: text(last, "name") };
        list["metadata"]["continue"] = token.encode().into();
    }
}

/// What an `Eviction` of policy/v1 asks for.
fn eviction(
    call: &Call,
    path: &ObjectPath,
    mut object: Value,
    warnings: &mut Vec<String>,
) -> Result<(Write, WriteOptions), ApiError> {
    let mut options = write_options(&call.query, None)?;
    warnings.extend(asked::check(&mut object, &asked::EVICTION, &options)?);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if path.name.as_deref() != Some(name) {
        return Err(ApiError::bad_request(format!(
            "name in URL does not match name in Eviction object: {name:?}"
        )));
    }
    let (delete, dry_run) = match object.get("deleteOptions") {
        None | Some(Value::Null) => (DeleteOptions::default(), DryRun::No),
        Some(body) => delete_options(&call.query, Some(body))?,
    };
    if dry_run == DryRun::All {
        options.dry_run = DryRun::All;
    }
    Ok((Write::Evict(delete), options))
}

/// The manager of who names none: the program's name, `kubectl-create` of `kubectl-create/v1.32 (linux/amd64)`.
fn manager_of_agent(user_agent: &str) -> String {
    let name = user_agent.split('/').next().unwrap_or_default();
    let mut manager: String = name.chars().filter(|c| !c.is_control()).collect();
    manager.truncate(manager.floor_char_boundary(FIELD_MANAGER_BYTES_MAX));
    manager
}

/// The path says what an object is that does not say it itself, as typed clients leave it.
fn fill_kind(path: &ObjectPath, object: &mut Value) {
    let info = path.resource.info();
    let Some(map) = object.as_object_mut() else { return };
    for (field, text) in [("kind", info.kind.to_owned()), ("apiVersion", info.api_version())] {
        let value = map.entry(field).or_insert(Value::Null);
        if value.is_null() || value == "" {
            *value = text.into();
        }
    }
}

/// The same where there may be none.
pub(super) async fn optional_object(call: &Call, bytes: Bytes) -> Result<Option<Value>, ApiError> {
    if bytes.is_empty() { Ok(None) } else { body_object(call, bytes).await.map(Some) }
}

/// A body may take its time to come: who sends it may have been sent away meanwhile.
async fn whole_body(call: &Call, incoming: &mut Arriving) -> Result<Bytes, ApiError> {
    let bytes = call.intake.read(incoming).await?;
    call.tenure.confirm()?;
    Ok(bytes)
}

/// The body as an object, by its content type.
async fn body_object(call: &Call, bytes: Bytes) -> Result<Value, ApiError> {
    let content_type = call.content_type.clone();
    call.intake.decode(bytes, move |bytes, nodes| content::object(&content_type, bytes, nodes)).await
}

async fn patch(call: &Call, bytes: Bytes) -> Result<(PatchKind, Value), ApiError> {
    let content_type = call.content_type.clone();
    call.intake.decode(bytes, move |bytes, nodes| content::patch(&content_type, bytes, nodes)).await
}

/// The object that a request brings.
pub(super) async fn sent(call: &Call, incoming: &mut Arriving) -> Result<Value, ApiError> {
    body_object(call, whole_body(call, incoming).await?).await
}
