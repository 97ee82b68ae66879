//! LIST: walks through a snapshot in pieces, so that a hundred thousand objects neither fill the memory nor hold up a
//! thread that others need.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use serde_json::json;
use watchbell_api::protobuf::Encoder;
use watchbell_api::{ApiError, Reason, Resource, decode, table};
use watchbell_core::world::Snapshot;

use super::Selection;
use crate::app::{App, Call};
use crate::blocking::blocking;
use crate::body::{self, Body};
use crate::hub;
use crate::pins::Token;
use crate::present::{self, Include};
use crate::request::ObjectPath;
use crate::request::accept::{Answer, Encoding, Shape};
use crate::request::options::{ListOptions, Version};
use crate::respond::{self, GZIP_FROM_BYTES, Gzip};
use crate::view::View;

/// How many objects are looked at in one go on a blocking thread.
const PIECE_OBJECTS: usize = 2048;
/// A piece ends when it has grown to this.
const PIECE_BYTES: usize = GZIP_FROM_BYTES;

pub(crate) async fn list(app: &Arc<App>, call: &Call, path: &ObjectPath) -> Result<Response<Body>, ApiError> {
    let answer = Answer::negotiate(&call.accept, &[Shape::Table, Shape::MetadataList])?;
    let options = ListOptions::read(&call.query, false)?;
    let selection = Selection::read(path.resource, &options, None)?;
    let mut start_after = None;
    let snapshot = match &options.continue_token {
        Some(text) => {
            let token = Token::decode(text)?;
            let snapshot = token.snapshot(&app.pins, app.state.snapshot())?;
            start_after = Some((token.namespace, token.name));
            snapshot
        }
        None => newest_or_exact(app, &options)?,
    };
    let mut walk = Walk {
        is_paged: options.limit > 0,
        left: if options.limit == 0 { usize::MAX } else { options.limit },
        resource: path.resource,
        namespace: path.namespace.clone(),
        selection,
        shape: answer.shape,
        view: View::of(answer, Include::read(&call.query)?),
        encoder: None,
        metadata: Vec::new(),
        cursor: start_after,
        stage: WalkStage::Head,
        has_elements: false,
        continues: false,
        snapshot,
    };
    match answer.encoding {
        Encoding::Yaml => return whole_as_yaml(app, walk, answer, call.gzip).await,
        Encoding::Protobuf => return whole_as_protobuf(app, walk, answer, call.gzip).await,
        Encoding::Json => {}
    }
    let (walk_again, first) = blocking(move || {
        let first = walk.piece();
        (walk, first)
    })
    .await?;
    walk = walk_again;
    let first = first?;
    if walk.stage == WalkStage::Done {
        walk.pin(app);
        let content = Bytes::from(first);
        return Ok(respond::bytes(StatusCode::OK, &answer.content_type(), content, call.gzip));
    }
    let (flow, body) = body::flowing();
    let mut encoder = match call.gzip {
        Gzip::Taken => Some(GzEncoder::new(Vec::new(), Compression::fast())),
        Gzip::No => None,
    };
    let response = match call.gzip {
        Gzip::Taken => respond::zipped(&answer.content_type(), body),
        Gzip::No => respond::stream(&answer.content_type(), body),
    };
    let (app, tenure) = (app.clone(), call.tenure.clone());
    tokio::spawn(async move {
        let mut piece = first;
        loop {
            let is_last = walk.stage == WalkStage::Done;
            let made = blocking(move || {
                let out = match (encoder.take(), is_last) {
                    (None, _) => piece,
                    (Some(mut gz), false) => {
                        // Writing to memory does not fail.
                        let _ = gz.write_all(&piece);
                        let out = std::mem::take(gz.get_mut());
                        encoder = Some(gz);
                        out
                    }
                    (Some(mut gz), true) => {
                        let _ = gz.write_all(&piece);
                        gz.finish().unwrap_or_default()
                    }
                };
                let next = if is_last { Ok(Vec::new()) } else { walk.piece() };
                next.map(|next| (walk, encoder, out, next))
            })
            .await;
            let (walk_again, encoder_again, out, next) = match made.flatten() {
                Ok(made) => made,
                Err(error) => {
                    // Most likely the thread ended: the server does too.
                    flow.fail(std::io::Error::other(error.message)).await;
                    return;
                }
            };
            (walk, encoder, piece) = (walk_again, encoder_again, next);
            if is_last {
                // Before the client can ask for the next page.
                walk.pin(&app);
            }
            // A client that reads slowly may have been sent away since the last piece.
            if let Err(refusal) = tenure.confirm() {
                flow.fail(std::io::Error::other(refusal.message)).await;
                return;
            }
            if !out.is_empty() && flow.send(Bytes::from(out)).await.is_err() {
                return;
            }
            if is_last {
                return;
            }
        }
    });
    Ok(response)
}

fn newest_or_exact(app: &App, options: &ListOptions) -> Result<Arc<Snapshot>, ApiError> {
    let snapshot = app.state.snapshot();
    let Version::At(version) = options.version else { return Ok(snapshot) };
    hub::require_reached(version, snapshot.resource_version())?;
    if options.is_exact && version != snapshot.resource_version() {
        return app.pins.at(version).ok_or_else(|| {
            ApiError::new(
                Reason::Expired,
                format!("The resourceVersion for the provided list is too old: {version}: leave out Exact"),
            )
        });
    }
    Ok(snapshot)
}

async fn whole_as_yaml(
    app: &Arc<App>,
    mut walk: Walk,
    answer: Answer,
    gzip: Gzip,
) -> Result<Response<Body>, ApiError> {
    let (walk, text) = blocking(move || {
        let json = walk.all()?.concat();
        let failed = |cause: String| ApiError::internal(format!("cannot make YAML: {cause}"));
        let value = serde_json::from_slice(&json).map_err(|e| failed(e.to_string()))?;
        decode::to_yaml(&value).map(|text| (walk, text)).map_err(|e| failed(e.to_string()))
    })
    .await
    .flatten()?;
    walk.pin(app);
    Ok(respond::bytes(StatusCode::OK, &answer.content_type(), Bytes::from(text), gzip))
}

/// The envelope says how long the list is before it begins: the pieces wait for the last of them.
async fn whole_as_protobuf(
    app: &Arc<App>,
    mut walk: Walk,
    answer: Answer,
    gzip: Gzip,
) -> Result<Response<Body>, ApiError> {
    let (kind, api_version, _) = present::list_frame(walk.resource, walk.shape);
    let encoder = Encoder::of(&api_version, &kind)?;
    walk.encoder = Some(encoder.clone());
    let (walk, pieces) = blocking(move || {
        let elements = walk.all()?;
        let length = walk.metadata.len() + elements.iter().map(Vec::len).sum::<usize>();
        let head = [encoder.head(length), std::mem::take(&mut walk.metadata)].concat();
        let mut pieces = vec![Bytes::from(head)];
        pieces.extend(elements.into_iter().map(Bytes::from));
        pieces.push(Bytes::from_static(Encoder::tail()));
        let pieces = match gzip {
            Gzip::Taken if pieces.iter().map(Bytes::len).sum::<usize>() >= GZIP_FROM_BYTES => {
                let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
                // Writing to memory does not fail.
                pieces.iter().for_each(|piece| drop(gz.write_all(piece)));
                Zipped::Yes(Bytes::from(gz.finish().unwrap_or_default()))
            }
            Gzip::Taken | Gzip::No => Zipped::No(pieces),
        };
        Ok((walk, pieces))
    })
    .await
    .flatten()?;
    walk.pin(app);
    Ok(match pieces {
        Zipped::No(pieces) => respond::stream(&answer.content_type(), body::pieces(pieces)),
        Zipped::Yes(whole) => respond::zipped(&answer.content_type(), body::whole(whole)),
    })
}

enum Zipped {
    No(Vec<Bytes>),
    Yes(Bytes),
}

/// A list on its way: what was written so far ends at the cursor.
struct Walk {
    snapshot: Arc<Snapshot>,
    resource: Resource,
    namespace: Option<String>,
    selection: Selection,
    shape: Shape,
    view: View,
    /// Of a list in protobuf.
    encoder: Option<Encoder>,
    /// The metadata of such a list, which stand first though they are known last.
    metadata: Vec<u8>,
    is_paged: bool,
    left: usize,
    cursor: Option<(String, String)>,
    stage: WalkStage,
    has_elements: bool,
    continues: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WalkStage {
    Head,
    Elements,
    Done,
}

impl Walk {
    /// What is left of the list.
    fn all(&mut self) -> Result<Vec<Vec<u8>>, ApiError> {
        let mut pieces = Vec::new();
        while self.stage != WalkStage::Done {
            pieces.push(self.piece()?);
        }
        Ok(pieces)
    }

    /// The next bytes of the list.
    fn piece(&mut self) -> Result<Vec<u8>, ApiError> {
        let mut out = Vec::new();
        if self.stage == WalkStage::Head {
            self.head(&mut out);
            self.stage = WalkStage::Elements;
        }
        let snapshot = self.snapshot.clone();
        let namespace = self.namespace.clone();
        let cursor = self.cursor.clone();
        let start_after = cursor.as_ref().map(|(ns, name)| (ns.as_str(), name.as_str()));
        let mut objects = snapshot.list(self.resource.stored(), namespace.as_deref(), start_after);
        for _ in 0..PIECE_OBJECTS {
            if self.left == 0 {
                self.continues = objects.next().is_some();
                self.tail(&mut out)?;
                return Ok(out);
            }
            let Some(stored) = objects.next() else {
                self.tail(&mut out)?;
                return Ok(out);
            };
            self.cursor = Some((stored.namespace.to_string(), stored.name.to_string()));
            if !self.selection.matches(stored) {
                continue;
            }
            self.left -= 1;
            match &self.encoder {
                Some(encoder) => encoder.item(&present::shown(self.resource, stored), &mut out)?,
                None => {
                    if self.has_elements {
                        out.push(b',');
                    }
                    self.has_elements = true;
                    self.view.stored(self.resource, stored, &mut out)?;
                }
            }
            if out.len() >= PIECE_BYTES {
                break;
            }
        }
        Ok(out)
    }

    fn head(&self, out: &mut Vec<u8>) {
        if self.encoder.is_some() {
            return;
        }
        let (kind, api_version, elements) = present::list_frame(self.resource, self.shape);
        let mut head = json!({"kind": kind, "apiVersion": api_version});
        if self.shape == Shape::Table {
            head["columnDefinitions"] = table::columns(self.resource);
        }
        let text = head.to_string();
        out.extend_from_slice(text.strip_suffix('}').unwrap_or(&text).as_bytes());
        out.extend_from_slice(format!(",\"{elements}\":[").as_bytes());
    }

    /// The metadata come last: only now is it known whether the list continues.
    fn tail(&mut self, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let mut metadata = json!({"resourceVersion": self.snapshot.resource_version().to_string()});
        if self.continues
            && let Some((namespace, name)) = &self.cursor
        {
            let token = Token {
                version: Some(self.snapshot.resource_version()),
                namespace: namespace.clone(),
                name: name.clone(),
            };
            metadata["continue"] = token.encode().into();
            if self.selection.is_all() {
                let rest = self.snapshot.list(
                    self.resource.stored(),
                    self.namespace.as_deref(),
                    Some((namespace, name)),
                );
                metadata["remainingItemCount"] = rest.count().into();
            }
        }
        match &self.encoder {
            Some(encoder) => encoder.message(&json!({"metadata": metadata}), &mut self.metadata)?,
            None => out.extend_from_slice(format!("],\"metadata\":{metadata}}}\n").as_bytes()),
        }
        self.stage = WalkStage::Done;
        Ok(())
    }

    /// Keeps the snapshot for the next page.
    fn pin(&self, app: &App) {
        if self.is_paged && self.continues {
            app.pins.keep(&self.snapshot, Instant::now());
        }
    }
}
