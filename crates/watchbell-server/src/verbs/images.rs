//! The image store of this machine, while the server holds its data directory.
//!
//! | request | answer |
//! |---|---|
//! | `GET /apis/watchbell.dev/v1alpha1/images` | what [`ImageRequest::List`] gives |
//! | `GET …/images/REFERENCE` | what [`ImageRequest::Inspect`] gives |
//! | `DELETE …/images/REFERENCE` | what [`ImageRequest::Remove`] gives |
//! | `POST …/images:prune` | what [`ImageRequest::Prune`] gives |
//! | `POST …/images:pull?name=REFERENCE[&platform=linux/arm64][&plainHTTP=true]` | JSON lines |
//! | `POST …/images:import[?name=REFERENCE]`, the archive as the body | JSON lines |
//!
//! A line is `{"progress": …}`; the last one is `{"result": …}` or `{"error": Status}`. A stream that ends without one of
//! these was cut. Slashes in a reference may stand as they are. There is no `dryRun` of these.

use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use watchbell_api::node::ImageRequest;
use watchbell_api::{ApiError, Reason};
use watchbell_core::request::DryRun;

use crate::app::{App, Call};
use crate::blocking::{blocking, ending};
use crate::body::{self, Arriving, Body, PATIENCE};
use crate::notes::{ChangeNote, IMAGES, Note};
use crate::request::accept::Answer;
use crate::request::options::{delete_options, no_dry_run, refuse_dry_run};
use crate::request::{ImagePath, Query, method_not_allowed};
use crate::respond;
use crate::verbs::write::optional_object;

/// The verb that authorization and audit speak of, and the image.
pub(crate) fn verb(method: &Method, path: &ImagePath) -> Result<&'static str, ApiError> {
    Ok(match (path, method) {
        (ImagePath::All, &Method::GET | &Method::HEAD) => "list",
        (ImagePath::One(_), &Method::GET | &Method::HEAD) => "get",
        (ImagePath::One(_), &Method::DELETE) => "delete",
        (ImagePath::Pull, &Method::POST) => "pull",
        (ImagePath::Import, &Method::POST) => "import",
        (ImagePath::Prune, &Method::POST) => "prune",
        _ => return Err(method_not_allowed()),
    })
}

/// The name that the path or the query gives.
pub(crate) fn name<'a>(path: &'a ImagePath, query: &'a Query) -> &'a str {
    match path {
        ImagePath::One(name) => name,
        ImagePath::Pull | ImagePath::Import => query.get("name").unwrap_or_default(),
        ImagePath::All | ImagePath::Prune => "",
    }
}

pub(crate) async fn serve(
    app: &Arc<App>,
    call: &Call,
    source: Option<IpAddr>,
    head: &Parts,
    path: &ImagePath,
    incoming: &mut Arriving,
) -> Result<Response<Body>, ApiError> {
    let method = &head.method;
    let verb = verb(method, path)?;
    let request = match path {
        ImagePath::All => ImageRequest::List,
        ImagePath::One(name) if *method == Method::DELETE => ImageRequest::Remove { name: name.clone() },
        ImagePath::One(name) => ImageRequest::Inspect { name: name.clone() },
        ImagePath::Prune => ImageRequest::Prune,
        ImagePath::Pull => {
            let name = call.query.get("name").ok_or_else(|| {
                ApiError::bad_request("the query parameter name is missing: say which image to pull")
            })?;
            ImageRequest::Pull {
                name: name.into(),
                platform: call.query.get("platform").map(str::to_owned),
                plain_http: call.query.flag("plainHTTP"),
            }
        }
        ImagePath::Import => ImageRequest::Import { name: call.query.get("name").map(str::to_owned) },
    };
    if !matches!(request, ImageRequest::List | ImageRequest::Inspect { .. }) {
        refuse_dry_run(&call.query, &format!("the verb {verb} of {IMAGES}"))?;
    }
    let note = call.change(IMAGES, verb, name(path, &call.query), head, source);
    match path {
        // The answer begins before the work is done.
        ImagePath::Pull | ImagePath::Import => flowing(app, call, request, incoming, note).await,
        ImagePath::All | ImagePath::One(_) | ImagePath::Prune => {
            let answer = Answer::text(&call.accept)?;
            // Even where nothing of it counts: a client that still sends when the answer comes may lose the answer.
            let bytes = call.intake.read(incoming).await?;
            if matches!(request, ImageRequest::Remove { .. })
                && let (_, DryRun::All) =
                    delete_options(&call.query, optional_object(call, bytes).await?.as_ref())?
            {
                return Err(no_dry_run(&format!("the verb {verb} of {IMAGES}")));
            }
            let (images, state, recorded) = (app.images.clone(), app.state.clone(), call.recorded.clone());
            let removes = matches!(request, ImageRequest::Remove { .. } | ImageRequest::Prune);
            let value = blocking(move || {
                let carry_out = || images.call(&request, &mut io::empty(), &mut |_| {});
                if removes { state.change(&note, &recorded, carry_out) } else { carry_out() }
            })
            .await??;
            respond::document(StatusCode::OK, answer, &value, call.gzip)
        }
    }
}

async fn flowing(
    app: &Arc<App>,
    call: &Call,
    request: ImageRequest,
    incoming: &mut Arriving,
    note: ChangeNote,
) -> Result<Response<Body>, ApiError> {
    let Ok(permit) = app.image_slots.clone().try_acquire_owned() else {
        let mut error = ApiError::new(
            Reason::TooManyRequests,
            "too many images are being fetched at once: try again later",
        );
        error.retry_after_seconds = Some(5);
        return Err(error);
    };
    let (flow, out) = body::flowing();
    // The reader's thread pulls the body through a channel of one piece, so that nothing piles up.
    let (pieces, receiver) = mpsc::channel::<io::Result<Bytes>>(1);
    let (told, is_recorded) = oneshot::channel();
    let (images, state) = (app.images.clone(), app.state.clone());
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        // That it begins is durable before anything of it is done.
        if !state.begins(note.begun(Timestamp::now()), told) {
            return;
        }
        let mut archive = Archive { receiver, piece: Bytes::new() };
        // A client that went away hears nothing more; the image arrives all the same.
        let mut listens = true;
        let mut tell = |line: &Value| {
            let mut text = line.to_string();
            text.push('\n');
            listens = listens && handle.block_on(flow.send(Bytes::from(text))).is_ok();
        };
        let result =
            images.call(&request, &mut archive, &mut |progress| tell(&json!({"progress": progress})));
        state.note(Note::Event(note.ended(Timestamp::now(), result.as_ref())));
        match result {
            Ok(value) => tell(&json!({"result": value})),
            Err(error) => tell(&json!({"error": error.to_status()})),
        }
    });
    is_recorded.await.map_err(|_| ending())??;
    call.recorded.store(true, Ordering::Relaxed);
    if let Some(incoming) = incoming.take() {
        tokio::spawn(feed(incoming, pieces));
    }
    Ok(respond::stream("application/x-ndjson", out))
}

async fn feed(mut incoming: Incoming, pieces: mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let piece = match tokio::time::timeout(PATIENCE, incoming.frame()).await {
            Ok(None) => return,
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => Ok(bytes),
                Err(_) => continue,
            },
            Ok(Some(Err(error))) => Err(io::Error::other(error)),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the archive stopped coming")),
        };
        let failed = piece.is_err();
        if pieces.send(piece).await.is_err() || failed {
            return;
        }
    }
}

/// The body of a request as a reader.
struct Archive {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
