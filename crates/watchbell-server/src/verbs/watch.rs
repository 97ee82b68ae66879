//! WATCH: what is there, if asked for, then what changes, for as long as the client listens.

use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};
use watchbell_api::{ApiError, Reason, Resource, convert, table};
use watchbell_core::world::{Snapshot, Stored};

use super::Selection;
use crate::app::{App, Call};
use crate::body::{self, Body, ClientGone, Flow};
use crate::hub::{Event, Heard, Watch};
use crate::present::{self, Include};
use crate::render;
use crate::request::ObjectPath;
use crate::request::accept::{Answer, Encoding, Shape};
use crate::request::options::{ListOptions, Version};
use crate::respond;
use crate::state::WatchFrom;

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
    // A stream of YAML documents is nobody's habit.
    answer.encoding = Encoding::Json;
    let options = ListOptions::read(&call.query, true)?;
    let selection = Selection::read(path.resource, &options, path.name.clone())?;
    let snapshot = app.state.snapshot();
    let (from, initial) = match (options.send_initial_events, options.version) {
        (Some(true), Version::At(version)) => {
            super::list::require_reached(version, snapshot.resource_version())?;
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
            shape: answer.shape,
            include: Include::read(&call.query)?,
            columns_sent: false,
        },
        bookmarks: options.bookmarks,
        flow,
        out: Vec::new(),
    };
    // Far enough to be never; a sum that overflows would be none.
    let end = Instant::now() + Duration::from_secs(seconds.min(7 * 24 * 3600));
    let app = app.clone();
    tokio::spawn(async move {
        let _counted = app.metrics.watcher();
        let served = async {
            if initial != Initial::None {
                watcher.tell_all(&snapshot, initial).await?;
            }
            drop(snapshot);
            watcher.follow(&app, watch, end).await
        };
        // The client went away; there is nobody to tell.
        let _: Result<(), ClientGone> = Box::pin(served).await;
    });
    Ok(respond::stream(&answer.content_type(), body))
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
    async fn tell_all(&mut self, snapshot: &Snapshot, initial: Initial) -> Result<(), ClientGone> {
        let mut cursor: Option<(Arc<str>, Arc<str>)> = None;
        loop {
            let start_after = cursor.as_ref().map(|(ns, name)| (&**ns, &**name));
            let mut objects = snapshot.list(self.resource.stored(), self.namespace.as_deref(), start_after);
            let mut last = None;
            for stored in objects.by_ref().take(PIECE_OBJECTS) {
                last = Some((stored.namespace.clone(), stored.name.clone()));
                if self.selection.matches(stored) {
                    self.writer.stored(&mut self.out, "ADDED", stored);
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
            self.writer.bookmark(&mut self.out, snapshot.resource_version(), InitialEnd::Here);
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

    async fn follow(&mut self, app: &App, mut watch: Watch, end: Instant) -> Result<(), ClientGone> {
        let mut bookmark = tokio::time::interval_at(Instant::now() + BOOKMARK_EVERY, BOOKMARK_EVERY);
        bookmark.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = 0;
        loop {
            tokio::select! {
                heard = watch.hear() => match heard {
                    Some(Heard::Change(event)) => {
                        self.tell(&event);
                        while self.out.len() < PIECE_BYTES
                            && let Some(event) = watch.ready()
                        {
                            self.tell(&event);
                        }
                        self.flush().await?;
                    }
                    Some(Heard::UpTo) => {}
                    None => {
                        if !app.state.is_closed() {
                            self.tell_too_slow();
                            self.flush().await?;
                        }
                        return Ok(());
                    }
                },
                _ = bookmark.tick() => {
                    let version = watch.cursor();
                    if self.bookmarks && version > told {
                        told = version;
                        self.writer.bookmark(&mut self.out, version, InitialEnd::No);
                        self.flush().await?;
                    }
                }
                () = tokio::time::sleep_until(end) => return Ok(()),
                () = self.flow.gone() => return Err(ClientGone),
            }
        }
    }

    /// Tells a change as it looks through the selection: what enters it is ADDED, what leaves it DELETED.
    fn tell(&mut self, event: &Event) {
        let matches = |stored: Option<&Arc<Stored>>| stored.is_some_and(|s| self.selection.matches(s));
        let all = self.selection.is_all();
        let change = &event.change;
        let was = if all { change.old.is_some() } else { matches(change.old.as_ref()) };
        let is = if all { change.new.is_some() } else { matches(change.new.as_ref()) };
        let kind = match (was, is) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return,
        };
        match (&change.old, &change.new) {
            // It left the selection and lives on: shown as it was, at the version that took it out.
            (Some(old), Some(_)) if kind == "DELETED" => {
                let mut object = old.render();
                object["metadata"]["resourceVersion"] = change.resource_version.to_string().into();
                self.writer.object(&mut self.out, kind, object);
            }
            _ if self.writer.shape == Shape::Object && self.resource.stored() == self.resource => {
                EventWriter::raw(&mut self.out, kind, &event.json())
            }
            _ => self.writer.object(&mut self.out, kind, event.object()),
        }
    }

    fn tell_too_slow(&mut self) {
        let error = ApiError::new(
            Reason::Expired,
            "too old resource version: this watch fell behind what the server remembers; list again and watch from there",
        );
        EventWriter::raw(&mut self.out, "ERROR", error.to_status().to_string().as_bytes());
    }
}

/// Whether a bookmark closes the initial events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InitialEnd {
    Here,
    No,
}

const EVENT_END: &[u8] = b"}\n";

struct EventWriter {
    resource: Resource,
    shape: Shape,
    include: Include,
    /// The columns of a Table stand in its first event only.
    columns_sent: bool,
}

impl EventWriter {
    fn raw(out: &mut Vec<u8>, kind: &str, object: &[u8]) {
        EventWriter::begin(out, kind);
        out.extend_from_slice(object);
        out.extend_from_slice(EVENT_END);
    }

    fn begin(out: &mut Vec<u8>, kind: &str) {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
    }

    /// An object as it stands.
    fn stored(&mut self, out: &mut Vec<u8>, kind: &str, stored: &Stored) {
        if self.shape != Shape::Object || self.resource != stored.resource {
            return self.object(out, kind, stored.render());
        }
        EventWriter::begin(out, kind);
        render::json(stored, out);
        out.extend_from_slice(EVENT_END);
    }

    fn object(&mut self, out: &mut Vec<u8>, kind: &str, object: Value) {
        let object = convert::from_stored(self.resource, object);
        let shown = match self.shape {
            Shape::Table => {
                let version = object["metadata"]["resourceVersion"].clone();
                let now = Timestamp::now().as_second();
                let row = present::row(self.resource, self.include, object, now);
                self.table(version, row)
            }
            Shape::Metadata | Shape::MetadataList => present::metadata_only(object),
            _ => object,
        };
        EventWriter::raw(out, kind, shown.to_string().as_bytes());
    }

    fn bookmark(&mut self, out: &mut Vec<u8>, version: u64, end: InitialEnd) {
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if end == InitialEnd::Here {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let info = self.resource.info();
        let shown = match self.shape {
            Shape::Table => {
                let object = json!({
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                });
                let width = table::columns(self.resource).as_array().map_or(0, Vec::len);
                self.table(version.to_string().into(), json!({"cells": vec![""; width], "object": object}))
            }
            Shape::Metadata | Shape::MetadataList => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            _ => json!({"kind": info.kind, "apiVersion": info.api_version(), "metadata": metadata}),
        };
        EventWriter::raw(out, "BOOKMARK", shown.to_string().as_bytes());
    }

    fn table(&mut self, version: Value, row: Value) -> Value {
        let columns = if self.columns_sent { Value::Null } else { table::columns(self.resource) };
        self.columns_sent = true;
        json!({
            "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version},
            "columnDefinitions": columns, "rows": [row],
        })
    }
}
