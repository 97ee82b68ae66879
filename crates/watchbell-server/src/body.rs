//! Bodies: bounded ones in, whole and flowing ones out.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

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

/// A body in pieces that lie ready.
pub(crate) fn pieces(pieces: Vec<Bytes>) -> Body {
    Pieces { left: pieces.into() }.map_err(|never: std::convert::Infallible| match never {}).boxed_unsync()
}

struct Pieces {
    left: VecDeque<Bytes>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.left.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// A body that flows: what is sent into the [`Flow`] goes to the client. The body ends when the flow is dropped.
pub(crate) fn flowing() -> (Flow, Body) {
    let (sender, receiver) = mpsc::channel(4);
    (Flow { sender }, Flowing { receiver }.boxed_unsync())
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

struct Flowing {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
}

impl HttpBody for Flowing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.receiver.poll_recv(cx).map(|item| item.map(|result| result.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
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
