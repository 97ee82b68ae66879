//! Bodies: bounded ones in, whole and flowing ones out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

use crate::limits::Share;

/// As much as Kubernetes' API server takes in a request.
pub(crate) const BODY_BYTES_MAX: usize = 3 << 20;
/// A client that sends nothing, or takes nothing, for so long has gone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// As long is the body of a request waited for that is refused whatever it says.
const REFUSED_PATIENCE: Duration = Duration::from_secs(5);

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that flows: what is sent into the [`Flow`] goes to the client. The body ends when the flow is dropped.
pub(crate) fn flowing() -> (Flow, Body) {
    flow(None)
}

/// The same of a body of so many bytes. What sends others breaks the connection.
pub(crate) fn flowing_exactly(bytes: u64) -> (Flow, Body) {
    flow(Some(bytes))
}

fn flow(left: Option<u64>) -> (Flow, Body) {
    let (sender, receiver) = mpsc::channel(4);
    (Flow { sender }, Flowing { receiver, left }.boxed_unsync())
}

/// The sending end of a flowing body.
pub(crate) struct Flow {
    sender: mpsc::Sender<io::Result<Bytes>>,
}

/// The client went away, or takes nothing any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientGone;

impl Flow {
    pub(crate) async fn send(&self, bytes: Bytes) -> Result<(), ClientGone> {
        match tokio::time::timeout(PATIENCE, self.sender.send(Ok(bytes))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ClientGone),
        }
    }

    /// Breaks the body off, so that the client cannot take it for whole.
    pub(crate) async fn fail(&self, error: io::Error) {
        // A client that went away needs no news.
        let _ = tokio::time::timeout(PATIENCE, self.sender.send(Err(error))).await;
    }

    /// Waits until the client has gone.
    pub(crate) async fn gone(&self) {
        self.sender.closed().await;
    }
}

/// A body that holds something until it was taken or given up.
pub(crate) fn holding(body: Body, held: Share) -> Body {
    Holding { body, _held: held }.boxed_unsync()
}

struct Holding {
    body: Body,
    _held: Share,
}

impl HttpBody for Holding {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    /// Never said ahead: who is told that the last frame was the last lets go of the body while all of its bytes still wait to
    /// be written.
    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Flowing {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    /// How much is to come, where it is known.
    left: Option<u64>,
}

impl HttpBody for Flowing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let item = ready!(self.receiver.poll_recv(cx));
        if let (Some(left), Some(Ok(bytes))) = (&mut self.left, &item) {
            *left = left.saturating_sub(bytes.len() as u64);
        }
        Poll::Ready(item.map(|result| result.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The body of a request, until somebody takes it.
pub(crate) struct Arriving(Option<Incoming>);

impl Arriving {
    pub(crate) fn new(body: Incoming) -> Arriving {
        Arriving(Some(body))
    }

    /// How long it says that it is, at least.
    pub(crate) fn expected(&self) -> u64 {
        self.0.as_ref().map_or(0, |body| body.size_hint().lower())
    }

    /// Nothing of it is to come, or somebody took it.
    pub(crate) fn is_over(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    /// `None`: it was taken before.
    pub(crate) fn take(&mut self) -> Option<Incoming> {
        self.0.take()
    }

    /// Throws away what nobody took, so that the connection can be used again. Gives whether it can: a body that is large
    /// or slow is not waited for.
    pub(crate) async fn discard(mut self) -> bool {
        let Some(mut body) = self.take().filter(|body| !body.is_end_stream()) else { return true };
        let mut taken = 0;
        let rest = async {
            while let Some(frame) = body.frame().await {
                match frame.map(Frame::into_data) {
                    Ok(Ok(piece)) => taken += piece.len(),
                    Ok(Err(_)) => {}
                    Err(_) => return false,
                }
                if taken > BODY_BYTES_MAX {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(REFUSED_PATIENCE, rest).await.unwrap_or(false)
    }
}
