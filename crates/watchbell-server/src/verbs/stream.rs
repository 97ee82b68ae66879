//! `pods/exec` and `pods/attach`: a WebSocket between a client and a process in a container.
//!
//! ```text
//!  client ── WebSocket ──▶ channels ──▶ pump ──▶ pipes or a terminal ──▶ process      opened by the node's Sessions
//!         ◀──────────────           ◀──      ◀──
//! ```
//!
//! All that can be refused before the upgrade is, as a `Status`; what goes wrong later is told on the error channel.

mod channels;
mod end;
mod options;
mod pipe;
mod pump;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Response, StatusCode};
use tokio::sync::oneshot;
use watchbell_api::node::{SessionAction, SessionRequest};
use watchbell_api::types::pod_status::{ContainerState, ContainerStatus};
use watchbell_api::{ApiError, Resource};
use watchbell_core::world::Stored;

pub(crate) use self::end::Outcome;

use self::channels::Channels;
use self::options::SessionOptions;
use self::pump::Pump;
use super::log::{container, container_status};
use crate::app::{App, Call};
use crate::blocking::{blocking, ending};
use crate::body::{Body, whole};
use crate::connection::Peer;
use crate::notes::{Note, SessionNote};
use crate::request::{ObjectPath, Sub, Verb};
use crate::websocket;

const KEY: &str = "sec-websocket-key";
const VERSION: &str = "sec-websocket-version";
const PROTOCOL: &str = "sec-websocket-protocol";
const ACCEPT: &str = "sec-websocket-accept";

/// What of a request's head an upgrade needs.
pub(crate) struct Upgrade<'a> {
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) on: OnUpgrade,
}

pub(crate) async fn open(
    app: &Arc<App>,
    call: &Call,
    peer: &Arc<Peer>,
    verb: Verb,
    path: &ObjectPath,
    upgrade: Upgrade<'_>,
) -> Result<Response<Body>, ApiError> {
    let options = SessionOptions::read(&call.query, path.sub == Sub::Exec)?;
    let name = path.name.as_deref().unwrap_or_default();
    let snapshot = app.state.snapshot();
    let pod = snapshot
        .get(Resource::Pod, path.namespace.as_deref().unwrap_or_default(), name)
        .ok_or_else(|| ApiError::not_found(Resource::Pod, name))?;
    let (request, container) = request(pod, options)?;
    // Who may have no more sessions has no more of them judged either.
    let share =
        app.sessions_open.take(&call.holder, 1).map_err(|short| short.refusal("sessions in containers"))?;
    let judged = {
        // Whom the caller acts as, as everywhere else.
        let (user, sub) = (call.held.user.clone(), path.sub);
        let (namespace, name) = (path.namespace.clone().unwrap_or_default(), name.to_owned());
        let object = SessionOptions::object(&request, &container);
        // Expressions may take a while, and the thread has other connections.
        blocking(move || snapshot.judge_connection(&user, sub.as_str(), &namespace, &name, &object)).await??
    };
    // Last of the checks: kubectl tries SPDY after whatever refusal, and shows the answer to that.
    let (channels, protocol) = negotiate(upgrade.method, upgrade.headers)?;
    let key = upgrade.headers.get(KEY).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut response = Response::new(whole(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&websocket::accept(key))
        .map_err(|_| ApiError::internal("the WebSocket key has no answer"))?;
    headers.insert(HeaderName::from_static(ACCEPT), accept);
    if let Some(protocol) = protocol {
        headers.insert(HeaderName::from_static(PROTOCOL), HeaderValue::from_static(protocol));
    }

    crate::respond::warn(&mut response, &judged.warnings);

    let asked = (&*call.audit_id, call.received);
    let hash = |command: &[u8]| app.state.command_hash(&call.audit_id, command);
    let note = SessionNote::new(&call.trail, verb, path, &container, peer.ip(), asked)
        .with_command(&request.action, hash)
        .with_annotations(judged.annotations);
    let begun = note.begun(jiff::Timestamp::now());
    let (app, peer, tenure) = (app.clone(), peer.clone(), call.tenure.clone());
    let on = upgrade.on;
    let (told, is_recorded) = oneshot::channel();
    // Goes on when the client goes away: what began has an end.
    tokio::spawn(async move {
        peer.is_session();
        let _held = (share, peer);
        let state = app.state.clone();
        if !blocking(move || state.begins(begun, told)).await.unwrap_or(false) {
            return;
        }
        let outcome = match on.await {
            Ok(io) => Pump::new(io, channels).run(&app, &tenure, request).await,
            Err(error) => {
                tracing::debug!("a session's connection broke before it began: {error}");
                Outcome::ClientGone
            }
        };
        app.state.note(Note::Event(note.ended(jiff::Timestamp::now(), &outcome)));
    });
    // That it begins is durable before its first byte.
    is_recorded.await.map_err(|_| ending())??;
    call.recorded.store(true, Ordering::Relaxed);
    Ok(response)
}

/// What the node is asked, and the container's name; or in Kubernetes' words why it cannot be.
fn request(pod: &Stored, options: SessionOptions) -> Result<(SessionRequest, String), ApiError> {
    let name = &*pod.name;
    let (Some(spec), Some(status)) = (pod.pod_spec(), pod.pod_status()) else {
        return Err(ApiError::internal(format!("pod {name:?} has no spec")));
    };
    let (ordinal, container) = container(name, spec, options.container.as_deref())?;
    if status.scheduled_at.is_none() {
        return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
    }
    if status.phase.is_terminal() {
        let phase = status.phase.as_str();
        return Err(ApiError::bad_request(format!(
            "cannot {} a container in a completed pod; current phase is {phase}",
            if options.command.is_some() { "exec into" } else { "attach to" }
        )));
    }
    require_running(name, container, container_status(spec, status, ordinal))?;
    // A terminal joins both outputs; clients ask for standard error with one all the same, and Kubernetes lets them.
    let stderr = options.stderr && !options.tty;
    let request = SessionRequest {
        pod_uid: pod.uid,
        container: ordinal,
        stdin: options.stdin,
        stdout: options.stdout,
        stderr,
        tty: options.tty,
        action: match options.command {
            Some(command) => SessionAction::Exec { command },
            None => SessionAction::Attach,
        },
    };
    Ok((request, container.to_owned()))
}

fn require_running(pod: &str, container: &str, status: Option<&ContainerStatus>) -> Result<(), ApiError> {
    let why = match status.map(|s| &s.state) {
        Some(ContainerState::Running { .. }) => return Ok(()),
        None => "it has not started".to_owned(),
        Some(ContainerState::Waiting { reason, .. }) if reason.is_empty() => "it has not started".to_owned(),
        Some(ContainerState::Waiting { reason, .. }) => format!("it waits: {reason}"),
        Some(ContainerState::Terminated(end)) => format!("it ended with exit code {}", end.exit_code),
    };
    Err(ApiError::bad_request(format!("container {container:?} in pod {pod:?} is not running: {why}")))
}

/// Which channels the client speaks, and the name that it is answered.
fn negotiate(method: &Method, headers: &HeaderMap) -> Result<(Channels, Option<&'static str>), ApiError> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let has = |name: &str, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .any(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
    };
    if has("upgrade", "SPDY/3.1") {
        return Err(ApiError::bad_request(
            "this server speaks WebSocket and not SPDY: use kubectl 1.31 or newer, leave \
             KUBECTL_REMOTE_COMMAND_WEBSOCKETS unset, or use `watchbell exec`",
        ));
    }
    if !has("connection", "upgrade") || !has("upgrade", "websocket") {
        return Err(ApiError::bad_request(
            "Upgrade request required: this is answered over a WebSocket, as kubectl exec and client libraries ask",
        ));
    }
    if *method != Method::GET {
        return Err(ApiError::bad_request("a WebSocket is asked for with GET"));
    }
    if text(VERSION) != "13" {
        return Err(ApiError::bad_request(format!(
            "{VERSION} is {:?}: version 13 is spoken here",
            text(VERSION)
        )));
    }
    if !websocket::is_key(text(KEY)) {
        return Err(ApiError::bad_request(format!("{KEY} must be 16 bytes in base64")));
    }
    let offered: Vec<&str> = headers
        .get_all(PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .collect();
    channels::choose(&offered).ok_or_else(|| {
        ApiError::bad_request(format!(
            "none of the subprotocols {offered:?} is spoken here: offer one of {:?}",
            channels::names()
        ))
    })
}
