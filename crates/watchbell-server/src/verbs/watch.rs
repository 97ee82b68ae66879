//! WATCH: what is there, if asked for, then what changes, for as long as the client listens.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Response;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};
use watchbell_api::{ApiError, Reason, Resource, protobuf, table};
use watchbell_core::world::{Snapshot, Stored};

use super::Selection;
use crate::app::{App, Call};
use crate::body::{self, Body, ClientGone, Flow};
use crate::hub::{self, Event, Heard, Watch};
use crate::metrics::Metrics;
use crate::present::{self, Include};
use crate::request::ObjectPath;
use crate::request::accept::{Answer, Encoding, Shape};
use crate::request::options::{ListOptions, Version};
use crate::respond;
use crate::state::WatchFrom;
use crate::view::View;

/// How often a client that takes bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A watch without `timeoutSeconds` ends after half an hour to an hour, so that clients spread over time.
const SHORTEST: u64 = 1800;
/// Events that are ready go out together up to so many bytes.
const PIECE_BYTES: usize = 64 << 10;
/// How many objects are looked at before other tasks of the thread get their turn.
const PIECE_OBJECTS: usize = 256;

pub(crate) fn watch(app: &Arc<App>, call: &Call, path: &ObjectPath) -> Result<Response<Body>, ApiError> {
    let mut answer = Answer::negotiate(&call.accept, &[Shape::Table, Shape::Metadata, Shape::MetadataList])?;
    if answer.encoding == Encoding::Yaml {
        // A stream of YAML documents is nobody's habit.
        answer.encoding = Encoding::Json;
    }
    let options = ListOptions::read(&call.query, true)?;
    let selection = Selection::read(path.resource, &options, path.name.clone())?;
    let snapshot = app.state.snapshot();
    let (from, initial) = match (options.send_initial_events, options.version) {
        (Some(true), Version::At(version)) => {
            hub::require_reached(version, snapshot.resource_version())?;
            (snapshot.resource_version(), Initial::EndMarked)
        }
        (Some(true), _) => (snapshot.resource_version(), Initial::EndMarked),
        (Some(false), Version::Unset | Version::Any) => (snapshot.resource_version(), Initial::None),
        (None, Version::Unset | Version::Any) => (snapshot.resource_version(), Initial::Plain),
        (_, Version::At(version)) => (version, Initial::None),
    };
    let namespace = path.namespace.as_deref().map(Arc::from);
    let watch = app.state.watch(path.resource.stored(), namespace, WatchFrom::Version(from))?;
    let seconds =
        options.timeout_seconds.unwrap_or_else(|| SHORTEST + u64::from(call.spread) * SHORTEST / 255);
    let (flow, body) = body::flowing();
    let mut watcher = Watcher {
        resource: path.resource,
        namespace: path.namespace.clone(),
        selection,
        writer: EventWriter {
            resource: path.resource,
            view: View::of(answer, Include::read(&call.query)?),
            columns_sent: false,
        },
        bookmarks: options.bookmarks,
        flow,
        out: Vec::new(),
    };
    // Far enough to be never; a sum that overflows would be none.
    let end = Instant::now() + Duration::from_secs(seconds.min(7 * 24 * 3600));
    let (app, tenure) = (app.clone(), call.tenure.clone());
    tokio::spawn(async move {
        let _counted = app.metrics.watcher();
        let served = async {
            if initial != Initial::None {
                watcher.tell_all(&snapshot, initial).await?;
            }
            drop(snapshot);
            watcher.follow(&app, watch, end).await
        };
        let served = async {
            tokio::select! {
                // Looked at first: who is no longer known hears no more of what came with it.
                biased;
                error = tenure.over() => Err(Broken::Over(error)),
                served = Box::pin(served) => served,
            }
        };
        match Box::pin(served).await {
            // When the client went away there is nobody to tell.
            Ok(()) | Err(Broken::Gone) => {}
            Err(Broken::Over(error)) => {
                // What was begun is not finished, but an event is never cut in its middle.
                watcher.out.clear();
                watcher.tell_error(&error).await;
            }
            Err(Broken::Failed(error)) => {
                tracing::error!("a watch of {} broke off: {error}", watcher.resource.info().qualified());
                watcher.tell_error(&error).await;
            }
        }
    });
    Ok(respond::stream(&answer.stream_type(), body))
}

/// Why a watch ends early.
enum Broken {
    Gone,
    /// What the watch was opened with no longer counts, or its user no longer may watch.
    Over(ApiError),
    Failed(ApiError),
}

impl From<ClientGone> for Broken {
    fn from(_: ClientGone) -> Broken {
        Broken::Gone
    }
}

impl From<ApiError> for Broken {
    fn from(error: ApiError) -> Broken {
        Broken::Failed(error)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Initial {
    None,
    /// All that is there, as ADDED.
    Plain,
    /// The same, closed by a bookmark that says so (KEP-3157).
    EndMarked,
}

struct Watcher {
    resource: Resource,
    namespace: Option<String>,
    selection: Selection,
    writer: EventWriter,
    bookmarks: bool,
    flow: Flow,
    out: Vec<u8>,
}

impl Watcher {
    async fn tell_all(&mut self, snapshot: &Snapshot, initial: Initial) -> Result<(), Broken> {
        let mut cursor: Option<(Arc<str>, Arc<str>)> = None;
        loop {
            let start_after = cursor.as_ref().map(|(ns, name)| (&**ns, &**name));
            let mut objects = snapshot.list(self.resource.stored(), self.namespace.as_deref(), start_after);
            let mut last = None;
            for stored in objects.by_ref().take(PIECE_OBJECTS) {
                last = Some((stored.namespace.clone(), stored.name.clone()));
                if self.selection.matches(stored) {
                    self.writer.stored(&mut self.out, "ADDED", stored)?;
                    if self.out.len() >= PIECE_BYTES {
                        break;
                    }
                }
            }
            drop(objects);
            self.flush().await?;
            if last.is_none() {
                break;
            }
            cursor = last;
        }
        if initial == Initial::EndMarked && self.bookmarks {
            self.writer.bookmark(&mut self.out, snapshot.resource_version(), InitialEnd::Here)?;
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ClientGone> {
        if self.out.is_empty() {
            // Other tasks of this thread get their turn.
            tokio::task::yield_now().await;
            return Ok(());
        }
        self.flow.send(Bytes::from(std::mem::take(&mut self.out))).await
    }

    async fn follow(&mut self, app: &App, mut watch: Watch, end: Instant) -> Result<(), Broken> {
        let mut bookmark = tokio::time::interval_at(Instant::now() + BOOKMARK_EVERY, BOOKMARK_EVERY);
        bookmark.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = 0;
        loop {
            tokio::select! {
                heard = watch.hear() => match heard {
                    Some(Heard::Change(event)) => {
                        self.tell(&event, &app.metrics)?;
                        while self.out.len() < PIECE_BYTES
                            && let Some(event) = watch.ready()
                        {
                            self.tell(&event, &app.metrics)?;
                        }
                        self.flush().await?;
                    }
                    Some(Heard::UpTo) => {}
                    None => {
                        if !app.state.is_closed() {
                            self.tell_error(&too_slow()).await;
                        }
                        return Ok(());
                    }
                },
                _ = bookmark.tick() => {
                    let version = watch.handed_out();
                    if self.bookmarks && version > told {
                        told = version;
                        self.writer.bookmark(&mut self.out, version, InitialEnd::No)?;
                        self.flush().await?;
                    }
                }
                () = tokio::time::sleep_until(end) => return Ok(()),
                () = self.flow.gone() => return Err(Broken::Gone),
            }
        }
    }

    /// Tells a change as it looks through the selection: what enters it is ADDED, what leaves it DELETED.
    fn tell(&mut self, event: &Event, metrics: &Metrics) -> Result<(), Broken> {
        let matches = |stored: Option<&Arc<Stored>>| stored.is_some_and(|s| self.selection.matches(s));
        let all = self.selection.is_all();
        let change = &event.change;
        let was = if all { change.old.is_some() } else { matches(change.old.as_ref()) };
        let is = if all { change.new.is_some() } else { matches(change.new.as_ref()) };
        let kind = match (was, is) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return Ok(()),
        };
        metrics.watch_event();
        let version = change.resource_version;
        match (&change.old, &change.new) {
            // It left the selection and lives on: shown as it was, at the version that took it out.
            (Some(old), Some(_)) if kind == "DELETED" => {
                let mut object = old.render();
                object["metadata"]["resourceVersion"] = version.to_string().into();
                let mut bytes = Vec::new();
                self.writer.view.rendered(self.resource, object, &mut bytes)?;
                self.writer.event(&mut self.out, kind, version, &bytes);
            }
            _ => {
                let object = event.encoded(self.resource, self.writer.view, metrics)?;
                self.writer.event(&mut self.out, kind, version, &object);
            }
        }
        Ok(())
    }

    /// The last that the client hears.
    async fn tell_error(&mut self, error: &ApiError) {
        if self.writer.document(&mut self.out, "ERROR", &error.to_status()).is_ok() {
            // A client that went away needs no news.
            let _ = self.flush().await;
        }
    }
}

fn too_slow() -> ApiError {
    ApiError::new(
        Reason::Expired,
        "too old resource version: this watch fell behind what the server remembers; list again and watch from there",
    )
}

/// Whether a bookmark closes the initial events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InitialEnd {
    Here,
    No,
}

/// Puts events into their frames.
struct EventWriter {
    resource: Resource,
    view: View,
    /// The columns of a Table stand in its first event only.
    columns_sent: bool,
}

impl EventWriter {
    /// An event about an object in the bytes of the view; `version` is that of the object.
    fn event(&mut self, out: &mut Vec<u8>, kind: &str, version: u64, object: &[u8]) {
        if self.view.is_protobuf() {
            protobuf::watch_event(kind, object, out);
            return;
        }
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        if matches!(self.view, View::Row(_)) {
            let columns = if self.columns_sent { Value::Null } else { table::columns(self.resource) };
            self.columns_sent = true;
            let head = format!(
                "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{{\"resourceVersion\":\"{version}\"}},\
                 \"columnDefinitions\":{columns},\"rows\":["
            );
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(object);
            out.extend_from_slice(b"]}");
        } else {
            out.extend_from_slice(object);
        }
        out.extend_from_slice(b"}\n");
    }

    /// An object as it stands.
    fn stored(&mut self, out: &mut Vec<u8>, kind: &str, stored: &Stored) -> Result<(), ApiError> {
        let mut object = Vec::with_capacity(2048);
        self.view.stored(self.resource, stored, &mut object)?;
        self.event(out, kind, stored.resource_version, &object);
        Ok(())
    }

    /// A whole document of another kind.
    fn document(&self, out: &mut Vec<u8>, kind: &str, document: &Value) -> Result<(), ApiError> {
        if self.view.is_protobuf() {
            protobuf::watch_event(kind, &protobuf::encode(document)?, out);
        } else {
            out.extend_from_slice(format!("{{\"type\":\"{kind}\",\"object\":{document}}}\n").as_bytes());
        }
        Ok(())
    }

    /// The empty list, in the form of the answer: clients put the initial events into it.
    fn blueprint(&self) -> Result<Vec<u8>, ApiError> {
        let shape = match self.view {
            View::Row(_) => Shape::Table,
            View::MetadataJson | View::MetadataProtobuf => Shape::MetadataList,
            View::Json | View::Protobuf => Shape::Object,
        };
        let (kind, api_version, elements) = present::list_frame(self.resource, shape);
        let list = json!({"kind": kind, "apiVersion": api_version, "metadata": {}, elements: []});
        if self.view.is_protobuf() { protobuf::encode(&list) } else { Ok(list.to_string().into_bytes()) }
    }

    fn bookmark(&mut self, out: &mut Vec<u8>, version: u64, end: InitialEnd) -> Result<(), ApiError> {
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if end == InitialEnd::Here {
            metadata["annotations"] = json!({
                "k8s.io/initial-events-end": "true",
                "kubernetes.io/initial-events-list-blueprint": STANDARD.encode(self.blueprint()?),
            });
        }
        let partial = |metadata: Value| json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
        match self.view {
            View::Row(_) => {
                let width = table::columns(self.resource).as_array().map_or(0, Vec::len);
                let row = json!({"cells": vec![""; width], "object": partial(metadata)});
                self.event(out, "BOOKMARK", version, row.to_string().as_bytes());
                Ok(())
            }
            View::MetadataJson | View::MetadataProtobuf => self.document(out, "BOOKMARK", &partial(metadata)),
            View::Json | View::Protobuf => {
                let info = self.resource.info();
                let object =
                    json!({"kind": info.kind, "apiVersion": info.api_version(), "metadata": metadata});
                self.document(out, "BOOKMARK", &object)
            }
        }
    }
}
